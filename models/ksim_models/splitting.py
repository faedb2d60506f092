"""A batch that is too large for the broker is cut into smaller ones, which go at once and cost no retry (A43, A44).

Kafka: Sender.completeBatch on MESSAGE_TOO_LARGE, RecordAccumulator.splitAndReenqueue, ProducerBatch.split; KAFKA-3995, KAFKA-8350.
"""

from __future__ import annotations

from ksim_models.accumulator import Accumulator
from ksim_models.batch import BATCH_OVERHEAD, Batch, upper_bound_bytes
from ksim_models.errors import ErrorCode
from ksim_models.facts import Split
from ksim_models.idempotence import Idempotence
from ksim_models.messages import topic_of
from ksim_models.sequences import next_sequence


def is_to_be_split(batch: Batch, error: ErrorCode) -> bool:
    """A single record cannot be cut (A45), and what has its outcome is left alone."""
    return error is ErrorCode.MESSAGE_TOO_LARGE and batch.count > 1 and not batch.done


def split(batch: Batch, accumulator: Accumulator, idempotence: Idempotence | None) -> Split:
    """The parts take the place of the whole in the queue and among the sequence numbers; its memory is given back, and they take none (A23)."""
    topic = topic_of(batch.partition)
    accumulator.ratios.refused(topic, batch.ratio)
    parts = _cut(batch, _target(batch, accumulator), accumulator.ratios.of(topic))
    for part in parts:
        accumulator.batches_made += 1
        part.number = accumulator.batches_made
    batch.parts = parts
    if idempotence is not None:
        idempotence.split(batch, parts)
    for part in reversed(parts):
        accumulator.insert(part)
    accumulator.release(batch)
    return Split(accumulator.producer, batch.partition, batch.records, tuple(part.count for part in parts))


def _target(batch: Batch, accumulator: Accumulator) -> int:
    """batch.size; since 4.2 half of it where the batch is itself such a part. Before, one that fits batch.size came out as it was, again and again (A45)."""
    if batch.is_split and accumulator.profile.splits_parts_in_halves:
        return max(upper_bound_bytes(max(_sizes(batch))), batch.estimated_bytes // 2)
    return accumulator.batch_size


def _sizes(batch: Batch) -> list[int]:
    return batch.record_sizes or [batch.record_size] * batch.count


def _cut(batch: Batch, target: int, estimate: int) -> list[Batch]:
    """Record by record, as they would be sent for the first time."""
    parts: list[Batch] = []
    owners = dict(batch.owners)
    raw = 0
    for position, (number, size) in enumerate(zip(batch.records, _sizes(batch), strict=True)):
        if not parts or not parts[-1].room_for(size)[0]:
            parts.append(_part_of(batch, position, max(target, upper_bound_bytes(size)), estimate))
        parts[-1].offered(batch.timestamp_of(position), 0, 1)  # Each record keeps its time-stamp.
        parts[-1].add(number, 1, size)
        if position in owners:
            parts[-1].belongs_to(owners[position])
    for part in parts:
        part.closed = True
        raw += part.size_bytes - BATCH_OVERHEAD
    for part in parts:  # Simplified: the records of a batch compress alike.
        part.packed_mean = batch.packed_mean * (part.size_bytes - BATCH_OVERHEAD) // raw
        part.packed_spread = batch.packed_spread * (part.size_bytes - BATCH_OVERHEAD) // raw
    return parts


def _part_of(batch: Batch, position: int, capacity: int, estimate: int) -> Batch:
    """A44: as old as the whole, and never tried yet."""
    part = Batch(0, batch.partition, capacity, batch.created_at, estimate)
    part.is_split = part.drained = True
    part.content = batch.content
    if batch.base_sequence >= 0:
        part.producer_id, part.epoch = batch.producer_id, batch.epoch
        part.base_sequence = next_sequence(batch.base_sequence, position)
    return part
