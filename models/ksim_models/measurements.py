"""Measurements: what a client's sensors are told and no fact of the history says. Noted only where somebody measures; they are no part of a history.

Kafka: Sender.SenderMetrics (section 6.2 of the client's rule book).
"""

from __future__ import annotations

from ksim_models.batch import Batch, upper_bound_bytes
from ksim_models.compression import WHOLE
from ksim_models.machine import message


@message
class Drained:
    """A batch was handed over to be sent, for the first time or again. Its attempt may yet fail."""

    partition: str
    node: str
    records: int
    size_bytes: int
    largest_record_bytes: int
    """The upper bound of its largest record: what a batch of this record alone would take."""
    created_at: int
    compression_ratio: float = 1.0
    """Compressed by uncompressed."""


@message
class Errored:
    """A batch failed by an answer, by a time-out or by the loss of its connection.

    Once more where it had expired before its answer came: Kafka counts it at both. Not where a fatal error or a forced close aborts it.
    """

    partition: str
    records: int


MEASUREMENTS = (Drained, Errored)


def drained(batch: Batch, node: str) -> Drained:
    """Of a batch that leaves for this node."""
    largest = upper_bound_bytes(max(batch.record_sizes or [batch.record_size]))
    return Drained(batch.partition, node, batch.count, batch.size_bytes, largest, batch.created_at, batch.ratio / WHOLE)
