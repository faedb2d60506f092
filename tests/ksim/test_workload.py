"""Workloads: schedules are exact, and the same on every machine."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim.dice import Dice
from ksim.plan import Burst, Keys, Latency, WorkloadPlan
from ksim.workload import LatencyDraw, exponential, key_weights, murmur2, natural_log, schedule

NO_KEYS = Keys()
RECORDED = {"uniform": "24d08e1ae3fcc3b6", "exponential": "c38dc908d52e7c1e", "latency": "9d40e9845db5d138", "at": "297dfbe9da8da2c2"}


def plan(
    *,
    records: int = 100,
    start: int = 0,
    gap: Fraction = Fraction(5000),
    arrivals: str | Burst = "steady",
    size: int = 100,
    spread: int = 0,
    keys: Keys = NO_KEYS,
) -> WorkloadPlan:
    return WorkloadPlan(0, "p1", "t", records, start, gap, arrivals, size, spread, keys, None, None)


@given(
    gap=st.fractions(0, 10_000, max_denominator=7),
    start=st.integers(0, 1000),
    now=st.integers(-10, 200_000),
    burst=st.integers(1, 9),
    kind=st.sampled_from(["steady", "poisson", "burst"]),
)
def test_count_until_is_the_number_of_records_whose_time_has_come(gap: Fraction, start: int, now: int, burst: int, kind: str) -> None:
    arrivals = schedule(plan(start=start, gap=gap, arrivals=Burst(burst, int(gap)) if kind == "burst" else kind), Dice(1))
    times = [arrivals.time_of(index) for index in range(100)]

    assert times == sorted(times)
    assert arrivals.count_until(now) == sum(time <= now for time in times)


@given(first=st.integers(0, 90), count=st.integers(1, 10), gap=st.fractions(0, 50, max_denominator=3), burst=st.integers(1, 4))
def test_step_of_is_the_distance_of_records_that_are_equally_far_apart(first: int, count: int, gap: Fraction, burst: int) -> None:
    for arrivals in (schedule(plan(gap=gap), Dice(1)), schedule(plan(arrivals=Burst(burst, 70)), Dice(1))):
        step = arrivals.step_of(first, count)
        times = [arrivals.time_of(index) for index in range(first, first + count)]

        assert step is None or times == [times[0] + i * step for i in range(count)]


def test_murmur2_is_the_hash_that_decides_a_keys_partition_in_every_java_client() -> None:
    """A6. The values are those of Kafka's own unit test (UtilsTest.testMurmur2), made positive."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }

    assert {key: murmur2(key) for key in known} == {key: value & 0x7FFFFFFF for key, value in known.items()}


@given(st.floats(1e-12, 1e12))
def test_natural_log_agrees_with_the_platforms_but_for_the_last_bits(x: float) -> None:
    assert natural_log(x) == pytest.approx(math.log(x), rel=1e-14, abs=1e-14)


def test_ten_thousand_draws_of_each_transform_are_what_they_were() -> None:
    """Recorded once; the same on every platform and Python version, or histories would differ."""
    dice = Dice(2024)
    stream = dice.stream("recorded")
    draws = [stream.random() for _ in range(10_000)]
    latency = LatencyDraw(Latency(500, 3000))
    drawn = {
        "uniform": [draw.hex() for draw in draws],
        "exponential": [exponential(draw).hex() for draw in draws],
        "latency": [latency.of(draw) for draw in draws],
        "at": [dice.at("retry", "p1", number).hex() for number in range(10_000)],
    }

    assert {name: hashlib.sha256(repr(values).encode()).hexdigest()[:16] for name, values in drawn.items()} == RECORDED


def test_latency_has_the_median_and_the_99th_percentile_it_was_given() -> None:
    draw = LatencyDraw(Latency(500, 3000))

    assert (draw.of(0.5), draw.of(0.99)) == (500, 3000)


def test_zipf_weights_are_exact_and_fall_with_the_skew() -> None:
    weights = key_weights(Keys(4, Fraction(1)))

    assert weights == [2**48, 2**48 + 2**47, 2**48 + 2**47 + 2**48 // 3, 2**48 + 2**47 + 2**48 // 3 + 2**46]
    assert key_weights(Keys(3, Fraction(0))) == [2**48, 2**49, 3 * 2**48]


def test_sizes_spread_evenly_around_their_mean() -> None:
    arrivals = schedule(plan(records=2000, size=1000, spread=200), Dice(3))
    sizes = [arrivals.size_of(index) for index in range(2000)]

    assert (min(sizes) >= 800, max(sizes) <= 1200, 980 < sum(sizes) / 2000 < 1020) == (True, True, True)
    assert sizes == [arrivals.size_of(index) for index in range(2000)], "asking twice draws nothing twice"
