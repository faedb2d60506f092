"""Sequence numbers: how a partition tells a retry from a new batch.

Kafka: ProducerStateManager, ProducerStateEntry, ProducerAppendInfo.checkSequence, SnapshotFile; KIP-98, KIP-360.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ksim_models.messages import RecordBatch
from ksim_models.sequences import LAST_SEQUENCE, next_sequence
from ksim_models.units import Micros

REMEMBERED_BATCHES = 5  # This is why idempotence caps max.in.flight.requests.per.connection at 5 (PS-2).


class Answer(Enum):
    APPEND = "new and next in line"
    DUPLICATE = "already in the log: acknowledge, append nothing"
    OUT_OF_ORDER = "an earlier batch is missing: refuse"
    OLD_EPOCH = "a newer epoch of this producer has written: refuse"


Known = tuple[int, int, int]
"""First sequence, last sequence, base offset."""


class ProducerEntry:
    """What one partition remembers of one producer id (PS-1): its epoch, the time-stamp of its newest record, and the last five batches, oldest first."""

    __slots__ = ("batches", "epoch", "timestamp")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: list[Known] = []
        self.timestamp: Micros = 0


class Snapshot:
    """A file that holds of each producer only its last batch (PS-52): who reads it back remembers no more."""

    __slots__ = ("entries", "offset")

    def __init__(self, offset: int, entries: dict[int, ProducerEntry]) -> None:
        self.offset = offset
        self.entries = tuple((pid, entry.epoch, tuple(entry.batches[-1:]), entry.timestamp) for pid, entry in entries.items())


class ProducerState:
    """Per producer id, and the snapshot files beside the log, oldest first. A new leader knows what the old one knew: it appended the same batches (PS-54)."""

    __slots__ = ("entries", "snapshots")

    def __init__(self) -> None:
        self.entries: dict[int, ProducerEntry] = {}
        self.snapshots: list[Snapshot] = []

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
                return Answer.APPEND, -1
            last = next_sequence(first, len(batch.records) - 1)
            for known_first, known_last, base_offset in entry.batches:
                if known_first == first and known_last == last:
                    return Answer.DUPLICATE, base_offset
            return Answer.OUT_OF_ORDER, -1
        if batch.producer_epoch < entry.epoch:
            return Answer.OLD_EPOCH, -1
        return (Answer.APPEND, -1) if first == 0 else (Answer.OUT_OF_ORDER, -1)

    def remember(self, batch: RecordBatch) -> None:
        """PS-15: the newest of five; the time-stamp is the largest in it."""
        entry = self.entries.get(batch.producer_id)
        if entry is None or entry.epoch != batch.producer_epoch:
            entry = self.entries[batch.producer_id] = ProducerEntry(batch.producer_epoch)
        known = entry.batches
        last = batch.base_sequence + len(batch.records) - 1
        if last > LAST_SEQUENCE:
            last = next_sequence(batch.base_sequence, len(batch.records) - 1)
        known.append((batch.base_sequence, last, batch.base_offset))
        entry.timestamp = batch.max_timestamp
        if len(known) > REMEMBERED_BATCHES:
            del known[0]

    def expire(self, now: Micros, after: Micros) -> None:
        """PS-50: who has written nothing for so long, by the time-stamps of the records, is forgotten."""
        self.entries = {pid: entry for pid, entry in self.entries.items() if now - entry.timestamp < after}

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
        if not self.snapshots:
            return log_start
        newest = self.snapshots[-1]
        for pid, epoch, batches, timestamp in newest.entries:
            if now - timestamp < forget_after:
                entry = self.entries[pid] = ProducerEntry(epoch)
                entry.batches, entry.timestamp = list(batches), timestamp
        return newest.offset
