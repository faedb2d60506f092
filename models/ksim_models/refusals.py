"""What send() says when it says no: Kafka's exceptions and their texts.

Kafka: KafkaProducer.doSend, BufferPool.allocate (A2, A3, A7, A22, A54, C8). Those that are ApiExceptions come in the future, the others are thrown (A8).
"""

from __future__ import annotations

from ksim_models.errors import ErrorCode

Refusal = tuple[str, str]
"""Class and text."""

CLOSED_BEFORE: Refusal = "IllegalStateException", "Cannot perform operation after producer has been closed"
CLOSED_MEANWHILE: Refusal = "KafkaException", "Producer closed while send in progress"
"""Whatever a send() waited for: the accumulator takes nothing more (A18)."""
CLOSED_WHILE_ALLOCATING: Refusal = "KafkaException", "Producer closed while allocating memory"


def no_memory(wanted: int, waited_ms: int, total: int, available: int, poolable: int, *, tells_pool: bool) -> Refusal:
    """waited_ms: what the wait for metadata had left of max.block.ms (A4)."""
    what = f"{wanted} bytes" if tells_pool else "memory"
    pool = f" Total memory: {total} bytes. Available memory: {available} bytes. Poolable size: {poolable} bytes" if tells_pool else ""
    return "BufferExhaustedException", f"Failed to allocate {what} within the configured max blocking time {waited_ms} ms.{pool}"


def no_metadata(topic: str, partition: int | None, known: int, waited_ms: int, cause: ErrorCode | None) -> Refusal:
    """known: how many partitions the metadata names. cause: the last error of the topic."""
    missing = f"Partition {partition} of topic {topic} with partition count {known} is not" if known else f"Topic {topic} not"
    return "TimeoutException", f"{missing} present in metadata after {waited_ms} ms.{f' (cause: {cause.exception})' if cause else ''}"


def too_large(upper: int, limit: int, name: str) -> Refusal:
    text = f"The message is {upper} bytes when serialized which is larger than {limit}, which is the value of the {name} configuration."
    return "RecordTooLargeException", text


def larger_than_the_buffer(wanted: int, total: int) -> Refusal:
    return "IllegalArgumentException", f"Attempt to allocate {wanted} bytes, but there is a hard limit of {total} on memory allocations."
