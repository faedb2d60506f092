"""A producer's batch: records that will be sent together, and everything that has happened to them so far.

Kafka: ProducerBatch, MemoryRecordsBuilder, DefaultRecord. Sizes are those of message format v2, uncompressed.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from ksim_models.messages import NO_SEQUENCE, Records
from ksim_models.units import Micros

BATCH_OVERHEAD = 61
RECORD_OVERHEAD_AT_MOST = 21
TIERS = (64, 8192, 1_048_576)
"""Offset deltas below these take one, two, three bytes (zig-zag varints)."""


def varint_bytes(value: int) -> int:
    """Bytes of a non-negative number as a zig-zag varint."""
    return 1 + bisect_right(TIERS, value)


@lru_cache(maxsize=4096)
def record_bytes(size: int, offset_delta: int) -> int:
    """One record of `size` bytes of key and value. Simplified:
    its timestamp delta is counted as one byte (true for batches younger than 64 ms), its key's length as one byte.
    """
    body = 1 + 1 + varint_bytes(offset_delta) + 1 + varint_bytes(size) + size + 1
    return varint_bytes(body) + body


def upper_bound_bytes(size: int) -> int:
    """A7: what a record of this size can take at most, as a batch of its own."""
    return BATCH_OVERHEAD + RECORD_OVERHEAD_AT_MOST + 1 + varint_bytes(size) + size


@lru_cache(maxsize=4096)
def room_in(capacity: int, used: int, count: int, size: int) -> tuple[int, int]:
    """How many records of `size` bytes fit behind `count` records in `used` of `capacity` bytes, and the bytes left then."""
    fits, delta = 0, count
    if delta == 0:
        fits, used, delta = 1, used + record_bytes(size, 0), 1
    for tier in TIERS:
        if delta >= tier:
            continue
        each = record_bytes(size, delta)
        more = min((capacity - used) // each, tier - delta)
        if more <= 0:
            break
        fits, used, delta = fits + more, used + more * each, delta + more
        if delta < tier:
            break
    return fits, capacity - used


class Batch:
    __slots__ = (
        "attempts",
        "attempts_at_leader_change",
        "base_sequence",
        "capacity",
        "closed",
        "count",
        "created_at",
        "done",
        "drained",
        "epoch",
        "first",
        "last_attempt_at",
        "leader_epoch",
        "number",
        "numbers",
        "offer_at",
        "offer_step",
        "offer_times",
        "partition",
        "producer_id",
        "retried",
        "retry_at",
        "rewritten",
        "size_bytes",
        "threads",
    )

    def __init__(self, number: int, partition: str, capacity: int, created_at: Micros) -> None:
        self.number = number
        """Ordinal among the batches of its producer."""
        self.partition = partition
        self.capacity = capacity
        """Bytes it may hold, and takes from buffer.memory."""
        self.created_at = created_at
        self.last_attempt_at = created_at
        self.attempts = 0
        self.retried = False
        self.retry_at: Micros = 0
        """When the backoff after its last attempt ends."""
        self.rewritten = False
        """Its sequence was reassigned by an epoch bump while it was on the wire (I8), and it has not been sent since."""
        self.closed = False
        self.drained = False
        self.done = False
        self.size_bytes = BATCH_OVERHEAD
        self.first = -1
        self.count = 0
        self.numbers: list[int] | None = None
        """The record numbers, once they are not consecutive."""
        self.offer_at: Micros = 0
        self.offer_step: Micros = 0
        self.offer_times: list[Micros] | None = None
        self.threads: dict[int, int] = {}
        """Records per application thread that waits for its sends (a workload with `wait`)."""
        self.base_sequence = NO_SEQUENCE
        self.producer_id = -1
        self.epoch = -1
        self.leader_epoch = -1
        self.attempts_at_leader_change = -1

    @property
    def records(self) -> Records:
        return range(self.first, self.first + self.count) if self.numbers is None else tuple(self.numbers)

    @property
    def last_sequence(self) -> int:
        return self.base_sequence + self.count - 1

    @property
    def max_timestamp(self) -> Micros:
        """When its newest record was handed to send(): the time-stamp that goes into the log (CreateTime)."""
        return self.offer_times[-1] if self.offer_times is not None else self.offer_at + (self.count - 1) * self.offer_step

    @property
    def is_full(self) -> bool:
        """A13."""
        return self.closed or (self.count > 0 and self.capacity <= self.size_bytes)

    def room_for(self, size: int) -> tuple[int, int]:
        """How many records of `size` bytes still fit (A12), and how many bytes are left then. The first always fits."""
        return (0, 0) if self.closed else room_in(self.capacity, self.size_bytes, self.count, size)

    def add(self, number: int, count: int, size: int) -> None:
        """`count` consecutive records from `number` on, of `size` bytes each."""
        if self.count == 0:
            self.first = number
        elif self.numbers is not None:
            self.numbers.extend(range(number, number + count))
        elif number != self.first + self.count:
            self.numbers = [*range(self.first, self.first + self.count), *range(number, number + count)]
        delta = self.count
        while count:
            some = min(count, (64 if delta < 64 else 8192 if delta < 8192 else TIERS[2]) - delta)
            self.size_bytes += some * record_bytes(size, delta)
            delta, count = delta + some, count - some
        self.count = delta

    def offered(self, at: Micros, step: Micros, count: int) -> None:
        """When the application handed over the `count` records just to be added: `at`, `at + step` ... Call before `add`."""
        if self.offer_times is None:
            if self.count == 0:
                self.offer_at, self.offer_step = at, step
                return
            if self.count == 1 and count == 1:
                self.offer_step = at - self.offer_at
                return
            if at == self.offer_at + self.count * self.offer_step and (count == 1 or step == self.offer_step):
                return
            if self.count == 1 and at - self.offer_at == step:
                self.offer_step = step
                return
            self.offer_times = [self.offer_at + i * self.offer_step for i in range(self.count)]
        self.offer_times.extend(range(at, at + count * step, step) if step else [at] * count)
