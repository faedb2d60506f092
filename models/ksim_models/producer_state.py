"""Sequence numbers: how a partition tells a retry from a new batch.

Kafka: ProducerStateManager, ProducerStateEntry, ProducerAppendInfo, SnapshotFile; KIP-98, KIP-360.
What is transactional stands in `producer_transactions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ksim_models.messages import RecordBatch
from ksim_models.producer_transactions import NOT_OPEN, PartitionTransactions, Verification
from ksim_models.sequences import LAST_SEQUENCE, next_sequence
from ksim_models.units import Micros

LAST_EPOCH = 32_767
REMEMBERED_BATCHES = 5  # This is why idempotence caps max.in.flight.requests.per.connection at 5 (PS-2).


class Answer(Enum):
    APPEND = "new and next in line"
    DUPLICATE = "already in the log: acknowledge, append nothing"
    OUT_OF_ORDER = "an earlier batch is missing: refuse"
    OLD_EPOCH = "a newer epoch of this producer has written: refuse"
    OLD_COORDINATOR = "a newer coordinator has written: refuse its marker"
    WRONG_TRANSACTION = "not part of the transaction that is open, or should be: refuse"


Known = tuple[int, int, int]
"""First sequence, last sequence, base offset."""


class ProducerEntry:
    """What one partition remembers of one producer id (PS-1): its epoch, the time-stamp of its newest record, and the last five batches, oldest first."""

    __slots__ = ("batches", "coordinator_epoch", "epoch", "open_from", "timestamp")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: list[Known] = []
        self.timestamp: Micros = 0
        self.coordinator_epoch = -1
        """Of the last marker."""
        self.open_from = NOT_OPEN
        """Where its open transaction began here."""


class Snapshot:
    """A file that holds of each producer only its last batch (PS-52): who reads it back remembers no more."""

    __slots__ = ("entries", "offset")

    def __init__(self, offset: int, entries: dict[int, ProducerEntry]) -> None:
        self.offset = offset
        self.entries = tuple(
            (pid, entry.epoch, tuple(entry.batches[-1:]), entry.timestamp, entry.coordinator_epoch, entry.open_from) for pid, entry in entries.items()
        )


class ProducerState:
    """Per producer id, and the snapshot files beside the log, oldest first. A new leader knows what the old one knew: it appended the same batches (PS-54)."""

    __slots__ = ("entries", "snapshots", "transactions", "unread_below")

    def __init__(self) -> None:
        self.entries: dict[int, ProducerEntry] = {}
        self.transactions = PartitionTransactions()
        self.snapshots: list[Snapshot] = []
        self.unread_below = 0
        """What stands before this offset was not read again, so a transaction that is open there may be unknown."""

    def judge(self, batch: RecordBatch) -> tuple[Answer, int]:
        """What a leader does with a client's batch (PS-10, PS-12, PS-13), and the base offset of the original where it is a duplicate.

        A retry of an older batch than these five, or one that was cut otherwise, is out of order (PS-16); no answer is UNKNOWN_PRODUCER_ID (PS-17).
        """
        entry = self.entries.get(batch.producer_id)
        if entry is None:
            return Answer.APPEND, -1  # A producer never heard of, or forgotten, may start anywhere (KIP-360, PS-19).
        first = batch.base_sequence
        if batch.producer_epoch == entry.epoch:
            expected = next_sequence(entry.batches[-1][1], 1) if entry.batches else 0
            if first == expected:
                return (Answer.APPEND if entry.open_from == NOT_OPEN or batch.transactional else Answer.WRONG_TRANSACTION), -1  # PS-14
            last = next_sequence(first, len(batch.records) - 1)
            for known_first, known_last, base_offset in entry.batches:
                if known_first == first and known_last == last:
                    return Answer.DUPLICATE, base_offset
            return Answer.OUT_OF_ORDER, -1
        if batch.producer_epoch < entry.epoch:
            return Answer.OLD_EPOCH, -1
        if first:
            return Answer.OUT_OF_ORDER, -1
        return (Answer.APPEND if entry.open_from == NOT_OPEN or batch.transactional else Answer.WRONG_TRANSACTION), -1

    def judge_transactional(
        self, batch: RecordBatch, proof: Verification | None, *, needs_proof: bool, same_epoch: bool, epoch_first: bool, strict_start: bool
    ) -> tuple[Answer, int]:
        """As `judge`, for a batch of a transaction (PS-11, PS-13). proof: the guard under which its coordinator said that it may begin one here.

        same_epoch: the open transaction must be of the batch's epoch. epoch_first: an old epoch is told before the lack of a proof is.
        strict_start: a producer whose epochs count transactions begins with its first sequence (PS-13a).
        """
        answer, known_offset = self.judge(batch) if not batch.payload else (self._judge_epoch(batch), -1)
        if answer is Answer.DUPLICATE:
            return answer, known_offset
        verification = self.transactions.verifying.get(batch.producer_id)
        if not self.is_open(batch.producer_id, batch.producer_epoch if same_epoch else None):
            if epoch_first and answer is Answer.OLD_EPOCH:
                return answer, -1
            if needs_proof and (proof is None or verification is not proof):
                return Answer.WRONG_TRANSACTION, -1
        if answer is Answer.OLD_EPOCH or verification is None or batch.payload:
            return answer, -1
        entry = self.entries.get(batch.producer_id)
        starts_late = strict_start and verification.bumps_epoch and batch.base_sequence != 0 and (entry is None or not entry.batches)
        if starts_late or batch.base_sequence > verification.lowest_sequence:
            return Answer.OUT_OF_ORDER, -1
        return answer, -1

    def _judge_epoch(self, batch: RecordBatch) -> Answer:
        """What a coordinator writes has no sequence."""
        entry = self.entries.get(batch.producer_id)
        return Answer.OLD_EPOCH if entry is not None and batch.producer_epoch < entry.epoch else Answer.APPEND

    def judge_marker(self, batch: RecordBatch, *, strictly: bool) -> Answer:
        """PS-30, PS-31. strictly: a marker of transaction version 2 has a higher epoch than anything before it, unless it is a repetition."""
        assert batch.marker is not None
        entry = self.entries.get(batch.producer_id)
        if entry is None:
            return Answer.APPEND
        if batch.producer_epoch < entry.epoch:
            return Answer.OLD_EPOCH
        if strictly and batch.producer_epoch == entry.epoch and entry.open_from != NOT_OPEN and entry.epoch != LAST_EPOCH:
            return Answer.OLD_EPOCH
        return Answer.OLD_COORDINATOR if batch.marker.coordinator_epoch < entry.coordinator_epoch else Answer.APPEND

    def is_open(self, producer_id: int, epoch: int | None) -> bool:
        """This producer has a transaction here, of this epoch where one is given (PS-11)."""
        entry = self.entries.get(producer_id)
        return entry is not None and entry.open_from != NOT_OPEN and epoch in (None, entry.epoch)

    def remember(self, batch: RecordBatch) -> None:
        """PS-15: the newest of five; the time-stamp is the largest in it."""
        entry = self.entries.get(batch.producer_id)
        if entry is None or entry.epoch != batch.producer_epoch:
            fresh = ProducerEntry(batch.producer_epoch)
            if entry is not None:  # A newer epoch of the same producer: only its batches are forgotten (PS-2).
                fresh.coordinator_epoch, fresh.open_from = entry.coordinator_epoch, entry.open_from
            entry = self.entries[batch.producer_id] = fresh
        if batch.transactional:
            self._remember_transaction(batch, entry)
            if batch.marker is not None:
                return
        known = entry.batches
        last = batch.base_sequence + len(batch.records) - 1
        if last > LAST_SEQUENCE:
            last = next_sequence(batch.base_sequence, len(batch.records) - 1)
        known.append((batch.base_sequence, last, batch.base_offset))
        entry.timestamp = batch.max_timestamp
        if len(known) > REMEMBERED_BATCHES:
            del known[0]

    def _remember_transaction(self, batch: RecordBatch, entry: ProducerEntry) -> None:
        """The first batch opens a transaction (PS-15), the marker ends it (PS-32)."""
        if batch.marker is None:
            if entry.open_from == NOT_OPEN:
                entry.open_from = batch.base_offset
                self.transactions.begin(batch.producer_id, batch.base_offset)
        else:
            if entry.open_from != NOT_OPEN:
                self.transactions.end(batch.producer_id, batch.base_offset, aborted=not batch.marker.committed)
            entry.open_from, entry.coordinator_epoch, entry.timestamp = NOT_OPEN, batch.marker.coordinator_epoch, batch.max_timestamp
        self.transactions.verifying.pop(batch.producer_id, None)

    def expire(self, now: Micros, after: Micros) -> None:
        """PS-50: who has written nothing for so long, by the time-stamps of the records, is forgotten; not while its transaction is open."""
        self.entries = {pid: entry for pid, entry in self.entries.items() if now - entry.timestamp < after or entry.open_from != NOT_OPEN}
        verifying = self.transactions.verifying
        self.transactions.verifying = {pid: guard for pid, guard in verifying.items() if now - guard.created_at < after}

    # Snapshots.

    def take_snapshot(self, offset: int) -> None:
        """PS-52. Not where one of this offset, or of a later one, is there."""
        if offset > (self.snapshots[-1].offset if self.snapshots else 0):
            self.snapshots.append(Snapshot(offset, self.entries))

    def drop_snapshots(self, offsets: Iterable[int]) -> None:
        """They go with the segments they stand before."""
        gone = set(offsets)
        self.snapshots = [snapshot for snapshot in self.snapshots if snapshot.offset not in gone]

    def reload(self, log_start: int, end: int, now: Micros, forget_after: Micros) -> int:
        """PS-53: back to the newest snapshot within the log. Answers from which offset on the log is to be read again."""
        self.snapshots = [snapshot for snapshot in self.snapshots if log_start < snapshot.offset <= end]
        self.entries = {}
        self.transactions.reload(end)
        if not self.snapshots:
            return log_start
        newest = self.snapshots[-1]
        for pid, epoch, batches, timestamp, coordinator_epoch, open_from in newest.entries:
            if now - timestamp < forget_after or open_from != NOT_OPEN:
                entry = self.entries[pid] = ProducerEntry(epoch)
                entry.batches, entry.timestamp, entry.coordinator_epoch, entry.open_from = list(batches), timestamp, coordinator_epoch, open_from
        for open_from, pid in sorted((entry.open_from, pid) for pid, entry in self.entries.items() if entry.open_from != NOT_OPEN):
            self.transactions.begin(pid, open_from)
        return newest.offset
