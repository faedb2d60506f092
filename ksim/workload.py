"""Workloads as schedules: when each record is handed over, how large it is, which key it has.

Everything is a function of the record's number and the seed, computed with exact arithmetic, so every machine and Python version sees the same records.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from ksim.dice import Dice
from ksim.plan import Burst, FaultPlan, Keys, Latency, WorkloadPlan
from ksim_models.arrivals import Flaw, Outbox
from ksim_models.units import Micros

WARM_UP_AT: Micros = -1_000_000
WARM_UP_BYTES = 100
LN_2 = 0.6931471805599453
LN_100 = 4.605170185988092
SERIES = tuple(1.0 / n for n in range(41, 0, -2))
WEIGHT_BITS = 48
MOST_AHEAD = 10_000


def natural_log(x: float) -> float:
    """ln x for x > 0 by a series of + - * / alone: `math.log` may differ in the last bit between platforms."""
    mantissa, exponent = math.frexp(x)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = 0.0
    for coefficient in SERIES:
        total = total * square + coefficient
    return 2.0 * ratio * total + exponent * LN_2


def exponential(draw: float) -> float:
    """Of mean 1, from a uniform draw in [0, 1)."""
    return -natural_log(1.0 - draw)


class LatencyDraw:
    """One-way latency in whole us: constant, or an exponential tail above a floor, fitted to median and p99."""

    __slots__ = ("floor", "scale")

    def __init__(self, latency: Latency) -> None:
        self.scale = (latency.p99 - latency.median) / (LN_100 - LN_2)
        self.floor = latency.median - self.scale * LN_2

    def of(self, draw: float) -> Micros:
        return max(0, int(self.floor + self.scale * exponential(draw) + 0.5))


def murmur2(key: bytes) -> int:
    """The 32-bit MurmurHash2 with Kafka's seed, made positive: what the default partitioner takes of a key (A6)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    length = len(key)
    value = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = (value * multiplier & mask) ^ word
    rest = key[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return (value ^ (value >> 15)) & 0x7FFFFFFF


def key_weights(keys: Keys) -> list[int]:
    """Cumulative weights 1 / (k + 1)^skew in whole units, by integer roots: exact on every machine."""
    power, root = keys.skew.numerator, keys.skew.denominator
    total, weights = 0, []
    for number in range(1, keys.distinct + 1):
        total += _integer_root((1 << (WEIGHT_BITS * root)) // number**power, root)
        weights.append(total)
    return weights


def _integer_root(value: int, root: int) -> int:
    """The largest integer whose `root`-th power is at most `value` (Newton)."""
    if root == 1 or value < 2:
        return value
    guess = 1 << -(-value.bit_length() // root)
    while True:
        better = ((root - 1) * guess + value // guess ** (root - 1)) // root
        if better >= guess:
            return guess
        guess = better


class Schedule:
    """The records of one workload (see `ksim_models.arrivals.Arrivals`)."""

    def __init__(self, plan: WorkloadPlan, dice: Dice) -> None:
        self.topic = plan.topic
        self.sizes: dict[int, int] = {}
        """Of records that a fault made larger."""
        self.total = plan.records
        self.window = plan.window
        self.size = plan.size_bytes if plan.size_spread == 0 else None
        self.compression_ratio, self.compression_spread = plan.compression_ratio, plan.compression_spread
        self.partition = plan.partition
        self.workload = plan.index
        self.on_failure = plan.on_failure
        self.transaction = plan.transaction
        self.outbox: Outbox | None = plan.outbox
        self.flaws: dict[int, Flaw] = {}
        self.warm_up = False
        self.keyed = plan.keys.distinct > 0 and plan.partition is None
        self._plan = plan
        self._dice = dice
        self._keys = plan.keys
        self._weights = key_weights(plan.keys) if plan.keys.distinct > 1 else []
        self._hashes: dict[int, int] = {}
        self._ahead: dict[int, int] = {}
        """Record -> hash of its key, where it was asked for once."""

    def initialize_early(self) -> None:
        """The application of a transactional producer that starts at time zero has called initTransactions by then: that is all its warm-up."""
        if self.transaction is not None and self.transaction.begins_at == 0:
            self.transaction = replace(self.transaction, begins_at=WARM_UP_AT)

    def time_of(self, index: int) -> Micros:
        raise TypeError("a schedule is steady, bursty or random: use schedule()")

    def count_until(self, now: Micros) -> int:
        raise TypeError("a schedule is steady, bursty or random: use schedule()")

    def step_of(self, index: int, count: int) -> Micros | None:
        return None

    def strike(self, faults: Sequence[FaultPlan]) -> None:
        """Those of them that strike records of this workload."""
        for fault in faults:
            if fault.workload == self.workload:
                self.flaws[fault.nth - 1] = Flaw(fault.name, fault.do)
                if fault.do == "oversize":
                    self.sizes[fault.nth - 1] = fault.size_bytes

    def size_of(self, index: int) -> int:
        plan = self._plan
        if self.sizes and index in self.sizes:
            return self.sizes[index]
        if plan.size_spread == 0:
            return plan.size_bytes
        return plan.size_bytes - plan.size_spread + int(self._dice.at("size", plan.index, index) * (2 * plan.size_spread + 1))

    def key_of(self, index: int) -> int:
        """The number of its key, which is `key-NUMBER`. Only asked where `keyed`."""
        if not self._weights:
            return 0
        return bisect_right(self._weights, int(self._dice.at("key", self._plan.index, index) * self._weights[-1]))

    def key_hash_of(self, index: int) -> int:
        """A client asks twice: when it looks ahead, and when it hands the record over."""
        asked_before = self._ahead.pop(index, None)
        if asked_before is not None:
            return asked_before
        number = self.key_of(index)
        known = self._hashes.get(number)
        if known is None:
            known = self._hashes[number] = murmur2(f"key-{number}".encode())
        if len(self._ahead) >= MOST_AHEAD:
            self._ahead.clear()
        self._ahead[index] = known
        return known


class Steady(Schedule):
    """Record k at start + k * gap, cut to whole us."""

    def __init__(self, plan: WorkloadPlan, dice: Dice) -> None:
        super().__init__(plan, dice)
        self._start, self._gap, self._parts = plan.start, plan.gap.numerator, plan.gap.denominator

    def time_of(self, index: int) -> Micros:
        return self._start + index * self._gap // self._parts

    def count_until(self, now: Micros) -> int:
        since = now - self._start
        if since < 0:
            return 0
        if self._gap == 0:
            return self.total
        return min(self.total, ((since + 1) * self._parts - 1) // self._gap + 1)

    def step_of(self, index: int, count: int) -> Micros | None:
        return self._gap if self._parts == 1 else None


class Bursts(Schedule):
    def __init__(self, plan: WorkloadPlan, burst: Burst, dice: Dice) -> None:
        super().__init__(plan, dice)
        self._start, self._burst = plan.start, burst

    def time_of(self, index: int) -> Micros:
        return self._start + index // self._burst.size * self._burst.every

    def count_until(self, now: Micros) -> int:
        since = now - self._start
        if since < 0:
            return 0
        return min(self.total, (since // self._burst.every + 1) * self._burst.size) if self._burst.every else self.total

    def step_of(self, index: int, count: int) -> Micros | None:
        return 0 if index // self._burst.size == (index + count - 1) // self._burst.size else None


class Poisson(Schedule):
    """Independent exponential distances, drawn in order from one stream and kept."""

    def __init__(self, plan: WorkloadPlan, dice: Dice) -> None:
        super().__init__(plan, dice)
        self._times = list(self._draw(plan.start, plan.gap, dice))

    def _draw(self, start: Micros, gap: Fraction, dice: Dice) -> Iterator[Micros]:
        stream = dice.stream(f"arrivals/{self._plan.index}")
        mean = gap.numerator / gap.denominator
        at = float(start)
        for _ in range(self.total):
            at += mean * exponential(stream.random())
            yield int(at)

    def time_of(self, index: int) -> Micros:
        return self._times[index]

    def count_until(self, now: Micros) -> int:
        return bisect_right(self._times, now)


class WarmUp(Schedule):
    """One record to one partition, a second before time zero, outside every count."""

    def __init__(self, topic: str, partition: int, dice: Dice) -> None:
        super().__init__(WorkloadPlan(-1, "", topic, 1, WARM_UP_AT, Fraction(0), "steady", WARM_UP_BYTES, 0, Keys(), partition, None), dice)
        self.warm_up = True

    def time_of(self, index: int) -> Micros:
        return WARM_UP_AT

    def count_until(self, now: Micros) -> int:
        return int(now >= WARM_UP_AT)


def schedule(plan: WorkloadPlan, dice: Dice, faults: Sequence[FaultPlan] = ()) -> Schedule:
    """`faults`: of the scenario; some of them strike records."""
    made = Bursts(plan, plan.arrivals, dice) if isinstance(plan.arrivals, Burst) else Poisson(plan, dice) if plan.arrivals == "poisson" else Steady(plan, dice)
    made.strike(faults)
    return made
