"""Windows of 30 seconds, read as Kafka reads them: X1, X2, and the cases of Kafka's own RateTest, SampledStatTest and MetricsTest."""

from __future__ import annotations

from collections import deque
from math import isnan, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksim.metrics_windows import AVG, COUNT_RATE, COUNT_TOTAL, MAX, RATE, RATIO, TOTAL, WindowedSum, Windows

KAFKA = Windows()
BEFORE_3_8 = Windows(overlapping_are_kept=False)
SECONDS_2 = Windows(samples=2, window_ms=1_000)


def test_a_burst_of_n_reads_n_thirtieths_at_once_and_less_as_its_window_fills() -> None:
    """X1: one full window is always assumed."""
    rate = RATE(KAFKA)
    rate.record(90, 0)

    assert [rate.measure(at) for at in (0, 1_000, 15_000)] == [90 / 30, 90 / 31, 90 / 45]
    assert rate.measure(29_999) == 90 / 59.999
    assert rate.measure(30_000) == 90 / 30
    assert rate.measure(45_000) == 90 / 45


def test_after_two_windows_of_silence_a_rate_is_zero_and_an_average_and_a_maximum_are_nan() -> None:
    """X2"""
    rate, average, most = RATE(KAFKA), AVG(KAFKA), MAX(KAFKA)
    for stat in (rate, average, most):
        stat.record(5, 1_000)

    assert [stat.measure(60_999) for stat in (average, most)] == [5, 5]
    assert rate.measure(60_999) > 0
    assert rate.measure(61_000) == 0
    assert all(isnan(stat.measure(61_000)) for stat in (average, most))


def test_nothing_recorded_is_a_rate_of_zero_and_no_average() -> None:
    assert RATE(KAFKA).measure(0) == 0
    assert isnan(AVG(KAFKA).measure(0))
    assert isnan(MAX(KAFKA).measure(0))


def test_who_reads_early_opens_the_window() -> None:
    """Rate.windowSize asks for the oldest window, and makes one: a reading changes what later readings say."""
    read_before, not_read = RATE(KAFKA), RATE(KAFKA)
    read_before.measure(0)
    for rate in (read_before, not_read):
        rate.record(10, 20_000)

    assert read_before.measure(31_000) == 10 / 31
    assert not_read.measure(31_000) == 10 / 41


def test_a_ratio_is_time_by_time() -> None:
    """bufferpool-wait-ratio: nanoseconds waited per nanosecond."""
    ratio = RATIO(KAFKA)
    ratio.record(3_000_000_000, 0)

    assert ratio.measure(0) == pytest.approx(0.1)


def test_a_count_counts_recordings_and_a_sum_their_values() -> None:
    """request-rate and outgoing-byte-rate."""
    count, total, counted, summed = COUNT_RATE(KAFKA), RATE(KAFKA), COUNT_TOTAL(KAFKA), TOTAL(KAFKA)
    for stat in (count, total, counted, summed):
        for _ in range(3):
            stat.record(100, 0)

    assert [stat.measure(0) for stat in (count, total, counted, summed)] == [0.1, 10, 3, 300]


@pytest.mark.parametrize(("samples", "window_s"), [(1, 1), (1, 11), (11, 1), (11, 11)])
def test_windows_that_were_not_there_are_taken_as_full_and_empty(samples: int, window_s: int) -> None:
    """RateTest.testRateWithNoPriorAvailableSamples"""
    rate = RATE(Windows(samples, window_s * 1_000))
    rate.record(50, 0)
    at = window_s * 1_000 - 1

    assert rate.measure(at) == pytest.approx(50 / (at / 1_000 + (samples - 1) * window_s))


def test_a_steady_rate_reads_steadily_from_the_second_window_on() -> None:
    """RateTest.testRateIsConsistentAfterTheFirstWindow (3.8); reading twice in one instant says the same."""
    rate = RATE(SECONDS_2)
    for at in (0, *range(99, 1_000, 100)):
        rate.record(1, at)
    for at in (1_100, *range(1_199, 2_100, 100)):
        rate.record(1, at)
        seen = rate.measure(at)

        assert 10 <= seen <= 11
        assert rate.measure(at) == seen


def test_before_3_8_the_same_rate_jumps_when_the_third_window_takes_the_place_of_the_first() -> None:
    """Pull request 15889, "Fix rate metric spikes": a ring of two windows forgot what still overlapped the time looked at."""
    seen = []
    for windows in (Windows(2, 1_000, overlapping_are_kept=False), SECONDS_2):
        rate = RATE(windows)
        for at in range(0, 2_101, 100):
            rate.record(1, at)
        seen.append(rate.measure(2_100))

    before, now = seen
    assert before == pytest.approx(12 / 1.1)
    assert now == pytest.approx(22 / 2.1)


@pytest.mark.parametrize(("waited", "kept"), [(2_500, 0), (1_500, 2)])
def test_a_window_counts_while_its_last_event_is_in_the_time_looked_at(waited: int, kept: int) -> None:
    """SampledStatTest.testSampleIsPurgedIfDoesntOverlap, testSampleIsKeptIfOverlaps"""
    stat = WindowedSum(SECONDS_2)
    stat.record(1, 0)
    stat.record(1, 999)

    assert stat.measure(1_000 + waited) == kept


def test_one_window_more_than_configured_is_kept_while_it_overlaps() -> None:
    """SampledStatTest.testSampleIsKeptIfOverlapsAndExtra: 2.2 s after the beginning all five events count."""
    stat = WindowedSum(SECONDS_2)
    for at in (0, 999, 1_100, 2_099, 2_200):
        stat.record(1, at)

    assert stat.measure(2_200) == 5


def test_rates_expire_and_totals_stay() -> None:
    """MetricsTest.testRateWindowing, with three windows of 30 s."""
    windows = Windows(samples=3)
    rate, count, total = RATE(windows), COUNT_RATE(windows), TOTAL(windows)
    for at in (0, 30_000):
        for stat in (rate, count, total):
            stat.record(100, at)

    assert rate.measure(75_000) == pytest.approx(200 / 75)
    assert count.measure(75_000) == pytest.approx(2 / 75)
    assert (rate.measure(165_000), count.measure(165_000), total.measure(165_000)) == (0, 0, 200)


class Oracle:
    """The same rule by another road: every event is kept in the window it fell into, and every figure is made from events."""

    def __init__(self, overlap: bool) -> None:
        self.overlap = overlap
        self.windows: deque[list[int]] = deque()
        """Moments of each window: its beginning first, then its events, oldest window first as they were opened."""
        self.events: deque[list[float]] = deque()

    def _open(self, now: int) -> None:
        self.windows.append([now])
        self.events.append([])

    def record(self, value: float, now: int) -> None:
        if not self.windows:
            self._open(now)
        if now - self.windows[-1][0] >= 30_000:
            if len(self.windows) == (3 if self.overlap else 2):
                self.windows.popleft()
                self.events.popleft()
            self._open(now)
        self.windows[-1].append(now)
        self.events[-1].append(value)

    def _forget(self, now: int) -> None:
        for place, moments in enumerate(self.windows):
            if now - (moments[-1] if self.overlap else moments[0]) >= 60_000:
                self.windows[place], self.events[place] = [now], []

    def read(self, now: int) -> tuple[float, float, float]:
        """Rate, average, maximum."""
        self._forget(now)
        values = [value for window in self.events for value in window]
        if not self.windows:
            self._open(now)
        elapsed = now - min(moments[0] for moments in self.windows)
        covered = elapsed + 30_000 if elapsed < 30_000 else elapsed
        return sum(values) / (covered / 1_000), sum(values) / len(values) if values else nan, max(values, default=nan)


@pytest.mark.parametrize("windows", [KAFKA, BEFORE_3_8], ids=["3.8 and later", "before 3.8"])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["record", "read"]), st.sampled_from([0, 1, 999, 7_000, 29_999, 30_000, 61_000]), st.integers(0, 9)), max_size=60)
)
@settings(max_examples=200, deadline=None)
def test_windows_agree_with_an_oracle_that_keeps_every_event(windows: Windows, steps: list[tuple[str, int, int]]) -> None:
    """Whatever is recorded and read, in whatever order."""
    rate, average, most = RATE(windows), AVG(windows), MAX(windows)
    oracle, averages = Oracle(windows.overlapping_are_kept), Oracle(windows.overlapping_are_kept)
    now = 0
    for what, later, value in steps:
        now += later
        if what == "record":
            for stat in (rate, average, most, oracle, averages):
                stat.record(value, now)
            continue
        expected = oracle.read(now)
        averages._forget(now)  # Only a rate makes a window by being read.
        values = [number for window in averages.events for number in window]

        assert rate.measure(now) == pytest.approx(expected[0])
        assert average.measure(now) == pytest.approx(sum(values) / len(values) if values else nan, nan_ok=True)
        assert most.measure(now) == pytest.approx(max(values, default=nan), nan_ok=True)
