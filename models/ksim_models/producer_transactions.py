"""The transactions of one partition: which are open, which are decided but not yet committed, which were aborted; and up to where readers may go.

Kafka: ProducerStateManager (ongoingTxns, unreplicatedTxns, verificationStates), TransactionIndex, UnifiedLog.lastStableOffset (PS-32, PS-40 to PS-43).
"""

from __future__ import annotations

from typing import NamedTuple

from ksim_models.errors import ErrorCode

NOT_OPEN = -1


class Aborted(NamedTuple):
    """An entry of the index of aborted transactions."""

    producer_id: int
    first_offset: int
    last_offset: int
    """Of its marker."""
    last_stable_offset: int
    """When it was written: a reader that stands behind it needs no later entry."""


class Verification:
    """A producer whose right to begin a transaction here is being asked of its coordinator (PS-3). The entry itself is the guard."""

    __slots__ = ("bumps_epoch", "created_at", "epoch", "lowest_sequence")

    def __init__(self, epoch: int, sequence: int, created_at: int, *, bumps_epoch: bool) -> None:
        self.epoch = epoch
        self.lowest_sequence = sequence
        self.created_at = created_at
        self.bumps_epoch = bumps_epoch
        """It speaks transaction version 2."""


class Checked(NamedTuple):
    """What a transaction's coordinator said of its partitions (`verification`)."""

    errors: dict[str, ErrorCode]
    proofs: dict[str, Verification]


class PartitionTransactions:
    __slots__ = ("aborted", "open", "undecided", "verifying")

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        """Producer id -> where its transaction began, in this order."""
        self.undecided: dict[int, int] = {}
        """Where a transaction began -> where its marker stands, as long as that may not be committed."""
        self.aborted: list[Aborted] = []
        self.verifying: dict[int, Verification] = {}

    def begin(self, producer_id: int, offset: int) -> None:
        self.open[producer_id] = offset

    def end(self, producer_id: int, marker_offset: int, *, aborted: bool) -> None:
        """PS-43. Until the marker is committed readers stay before the transaction (PS-41)."""
        first = self.open.pop(producer_id)
        if aborted and (not self.aborted or self.aborted[-1].last_offset < marker_offset):  # Else the log is read again.
            self.aborted.append(Aborted(producer_id, first, marker_offset, next(iter(self.open.values()), marker_offset + 1)))
        self.undecided[first] = marker_offset

    @property
    def first_unstable_offset(self) -> int | None:
        """PS-40."""
        first_open = next(iter(self.open.values()), None)
        if not self.undecided:
            return first_open
        first_undecided = min(self.undecided)
        return first_undecided if first_open is None else min(first_open, first_undecided)

    def high_watermark_moved(self, to: int) -> None:
        self.undecided = {first: marker for first, marker in self.undecided.items() if marker >= to}

    def verify(self, producer_id: int, epoch: int, sequence: int, now: int, *, bumps_epoch: bool) -> Verification:
        """The guard of this producer, a new one or the one that is there: with the lowest sequence that was seen in the newest epoch (PS-62)."""
        entry = self.verifying.get(producer_id)
        if entry is None:
            entry = self.verifying[producer_id] = Verification(epoch, sequence, now, bumps_epoch=bumps_epoch)
        elif epoch > entry.epoch:
            entry.epoch, entry.lowest_sequence = epoch, sequence
        elif epoch == entry.epoch:
            entry.lowest_sequence = min(entry.lowest_sequence, sequence)
        return entry

    def drop_before(self, offset: int) -> None:
        """The index goes with its segments."""
        self.aborted = [entry for entry in self.aborted if entry.last_offset >= offset]

    def reload(self, end: int) -> None:
        """PS-53: what the log says is read again. The index has its own file, which is cut where the log is."""
        self.open.clear()
        self.undecided.clear()
        self.aborted = [entry for entry in self.aborted if entry.last_offset < end]
        self.verifying.clear()

    def aborted_between(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """CV-2, CV-5: (producer id, first offset) of the aborted transactions that overlap [start, end)."""
        found = []
        for entry in self.aborted:
            if entry.last_offset >= start and entry.first_offset < end:
                found.append((entry.producer_id, entry.first_offset))
            if entry.last_stable_offset >= end:
                break
        return tuple(found)
