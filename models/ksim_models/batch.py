"""A producer's batch: records that will be sent together, and everything that has happened to them so far.

Kafka: ProducerBatch, MemoryRecordsBuilder, DefaultRecord. Sizes are those of message format v2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

from ksim_models.compression import NOT_COMPRESSED, WHOLE, compressed_bytes, expected_bytes
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


@lru_cache(maxsize=4096)
def upper_bound_bytes(size: int) -> int:
    """A7: what a record of this size can take at most, as a batch of its own; one byte each says that there is no key and that there are no headers."""
    return BATCH_OVERHEAD + RECORD_OVERHEAD_AT_MOST + 1 + varint_bytes(size) + size + 1


def estimated_bytes(size_bytes: int, estimate: int) -> int:
    """A13: header and records, as far as one knows before the batch is closed."""
    return size_bytes if estimate == NOT_COMPRESSED else BATCH_OVERHEAD + expected_bytes(size_bytes - BATCH_OVERHEAD, estimate)


@lru_cache(maxsize=4096)
def room_in(capacity: int, used: int, count: int, size: int, estimate: int = NOT_COMPRESSED) -> tuple[int, int]:
    """How many records of `size` bytes fit behind `count` records of `used` bytes, header included, in `capacity` bytes; and the bytes left then.

    A record fits if it did uncompressed, behind what the others are expected to take compressed (A12, A13).
    """
    fits, delta = 0, count
    if delta == 0:
        fits, used, delta = 1, used + record_bytes(size, 0), 1
    for tier in TIERS:
        if delta >= tier:
            continue
        each = record_bytes(size, delta)
        more = min(_room_for_alike(capacity, used, each, estimate), tier - delta)
        if more <= 0:
            break
        fits, used, delta = fits + more, used + more * each, delta + more
        if delta < tier:
            break
    return fits, max(0, capacity - estimated_bytes(used, estimate))


def uneventful(capacity: int, used: int, count: int, size: int, estimate: int, bytes_left: int) -> int:
    """How many more records of `size` bytes come before one may fill the batch, or all may take more than `bytes_left`: rather too few than too many."""
    room = room_in(capacity, used, count, size, estimate)[0] - 1
    tier = TIERS[bisect_right(TIERS, count)] - count
    each = record_bytes(size, count)
    return min(room, tier, bytes_left // (each if estimate == NOT_COMPRESSED else expected_bytes(each, estimate) + 1))


def _room_for_alike(capacity: int, used: int, each: int, estimate: int) -> int:
    """How many times `each` bytes: the last of them must fit behind the others."""
    if estimate == NOT_COMPRESSED:
        return (capacity - used) // each
    before = capacity - BATCH_OVERHEAD - each  # What the others may take at most, compressed.
    if before < 0:
        return 0
    raw_before = ((before + 1) * 100 * WHOLE - 1) // (estimate * 105)
    return (raw_before - (used - BATCH_OVERHEAD)) // each + 1


class Batch:
    __slots__ = (
        "attempts",
        "attempts_at_leader_change",
        "base_sequence",
        "capacity",
        "closed",
        "content",
        "count",
        "created_at",
        "done",
        "drained",
        "epoch",
        "estimate",
        "first",
        "held",
        "is_split",
        "last_attempt_at",
        "leader_epoch",
        "number",
        "numbers",
        "offer_at",
        "offer_step",
        "offer_times",
        "owners",
        "packed",
        "packed_mean",
        "packed_spread",
        "partition",
        "parts",
        "producer_id",
        "ratio",
        "raw_bytes",
        "record_size",
        "record_sizes",
        "retried",
        "retry_at",
        "rewritten",
        "size_bytes",
        "threads",
    )

    def __init__(self, number: int, partition: str, capacity: int, created_at: Micros, estimate: int = NOT_COMPRESSED) -> None:
        self.number = number
        """Ordinal among the batches of its producer."""
        self.partition = partition
        self.capacity = capacity
        """Bytes it may hold."""
        self.held = 0
        """Bytes that it takes from buffer.memory (A23)."""
        self.estimate = estimate
        """The ratio that was expected of its topic when it was created (A14); 0 without compression."""
        self.packed = False
        """It was closed for good: its size is known."""
        self.packed_mean = self.packed_spread = 0
        """What the records will take compressed, in the mean and at most more or less than that, in millionths of a byte."""
        self.ratio = WHOLE
        """Compressed / uncompressed, in millionths, once it is known."""
        self.content = number
        """Chance of its compression goes by this number: parts of a batch keep that of the whole."""
        self.is_split = False
        """It came out of a batch that was too large for the broker (A43)."""
        self.parts: Sequence[Batch] = ()
        """What it was split into."""
        self.created_at = created_at
        """When its memory was there (A16): what send() waited before is no part of linger and of the delivery time-out."""
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
        """Uncompressed, until it is closed for good; then as it goes over the wire."""
        self.raw_bytes = 0
        """Uncompressed, once it is compressed."""
        self.record_size = -1
        self.record_sizes: list[int] | None = None
        """Key and value of each record, once they are not all of `record_size`."""
        self.first = -1
        self.count = 0
        self.numbers: list[int] | None = None
        """The record numbers, once they are not consecutive."""
        self.offer_at: Micros = 0
        self.offer_step: Micros = 0
        self.offer_times: list[Micros] | None = None
        self.threads: dict[int, int] = {}
        """Records per application thread that waits for its sends (a workload with `wait`)."""
        self.owners: list[tuple[int, int]] = []
        """Which record, counted within the batch, is whose of these threads."""
        self.base_sequence = NO_SEQUENCE
        self.producer_id = -1
        self.epoch = -1
        self.leader_epoch = -1
        self.attempts_at_leader_change = 0

    @property
    def records(self) -> Records:
        return range(self.first, self.first + self.count) if self.numbers is None else tuple(self.numbers)

    @property
    def last_sequence(self) -> int:
        return self.base_sequence + self.count - 1

    @property
    def max_timestamp(self) -> Micros:
        """When its newest record was handed to send(): the time-stamp that goes into the log (CreateTime)."""
        return self.timestamp_of(self.count - 1)

    def timestamp_of(self, position: int) -> Micros:
        return self.offer_times[position] if self.offer_times is not None else self.offer_at + position * self.offer_step

    @property
    def estimated_bytes(self) -> int:
        """A13: exact once it is closed for good."""
        if self.packed or self.estimate == NOT_COMPRESSED:
            return self.size_bytes
        return estimated_bytes(self.size_bytes, self.estimate)

    @property
    def is_full(self) -> bool:
        """A13."""
        return self.closed or (self.count > 0 and self.capacity <= self.estimated_bytes)

    def room_for(self, size: int) -> tuple[int, int]:
        """How many records of `size` bytes still fit (A12), and how many bytes are left then. The first always fits."""
        if self.closed or (self.estimate and self.is_full):
            return 0, 0
        return room_in(self.capacity, self.size_bytes, self.count, size, self.estimate)

    def add(self, number: int, count: int, size: int) -> None:
        """`count` consecutive records from `number` on, of `size` bytes each."""
        if self.count == 0:
            self.first, self.record_size = number, size
        elif self.numbers is not None:
            self.numbers.extend(range(number, number + count))
        elif number != self.first + self.count:
            self.numbers = [*range(self.first, self.first + self.count), *range(number, number + count)]
        if self.record_sizes is not None:
            self.record_sizes.extend([size] * count)
        elif size != self.record_size:
            self.record_sizes = [self.record_size] * self.count + [size] * count
        delta = self.count
        while count:
            some = min(count, TIERS[bisect_right(TIERS, delta)] - delta)
            self.size_bytes += some * record_bytes(size, delta)
            delta, count = delta + some, count - some
        self.count = delta

    def belongs_to(self, thread: int) -> None:
        """The record just added is one whose outcome an application thread waits for."""
        self.threads[thread] = self.threads.get(thread, 0) + 1
        self.owners.append((self.count - 1, thread))

    def compresses(self, bytes_added: int, mean: int, spread: int) -> None:
        """The records just added take so much less, or more, once they are compressed (ratios in millionths)."""
        self.packed_mean += bytes_added * mean
        self.packed_spread += bytes_added * spread

    def pack(self, draw: float) -> int:
        """MemoryRecordsBuilder.close: the compressed size is known from now on. Returns the ratio, in millionths.

        Simplified: a ratio holds for batches of any size, where a codec needs some kilobytes to be at its best.
        """
        self.raw_bytes = self.size_bytes
        raw = self.size_bytes - BATCH_OVERHEAD
        packed = compressed_bytes(self.packed_mean, self.packed_spread, draw)
        self.size_bytes = BATCH_OVERHEAD + packed
        self.packed = True
        return packed * WHOLE // raw

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
