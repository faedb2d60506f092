"""Sequence numbers: how a partition tells a retry from a new batch.

Kafka: ProducerStateManager, ProducerStateEntry, ProducerAppendInfo.checkSequence; KIP-98, KIP-360.
"""

from __future__ import annotations

from enum import Enum

from ksim_models.messages import RecordBatch
from ksim_models.sequences import LAST_SEQUENCE, next_sequence

REMEMBERED_BATCHES = 5  # This is why idempotence caps max.in.flight.requests.per.connection at 5 (PS-2).


class Answer(Enum):
    APPEND = "new and next in line"
    DUPLICATE = "already in the log: acknowledge, append nothing"
    OUT_OF_ORDER = "an earlier batch is missing: refuse"
    OLD_EPOCH = "a newer epoch of this producer has written: refuse"


class ProducerEntry:
    """What one partition remembers of one producer id: its epoch and the last five batches, oldest first, as (first sequence, last sequence, base offset)."""

    __slots__ = ("batches", "epoch")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: list[tuple[int, int, int]] = []


class ProducerState:
    """Per producer id; rebuilt from the log, so a new leader knows what the old one knew (PS-54)."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[int, ProducerEntry] = {}

    def judge(self, batch: RecordBatch) -> tuple[Answer, int]:
        """What a leader does with a client's batch (PS-10, PS-12, PS-13), and the base offset of the original where it is a duplicate."""
        entry = self.entries.get(batch.producer_id)
        if entry is None:
            return Answer.APPEND, -1  # A producer never heard of may start anywhere (KIP-360).
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
        entry = self.entries.get(batch.producer_id)
        if entry is None or entry.epoch != batch.producer_epoch:
            entry = self.entries[batch.producer_id] = ProducerEntry(batch.producer_epoch)
        known = entry.batches
        last = batch.base_sequence + len(batch.records) - 1
        if last > LAST_SEQUENCE:
            last = next_sequence(batch.base_sequence, len(batch.records) - 1)
        known.append((batch.base_sequence, last, batch.base_offset))
        if len(known) > REMEMBERED_BATCHES:
            del known[0]
