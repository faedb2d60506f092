"""Intervals and tests against numbers that others computed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ksim.statistics import Paired, interval, mean_interval, median, paired, sign_test, upper_bound_of_none, wilson


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        pytest.param(81, 263, 0.2553, 0.3662, id="Newcombe 1998, table I, 81 of 263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="Newcombe 1998, table I, 15 of 148"),
        pytest.param(0, 20, 0.0000, 0.1611, id="Newcombe 1998, table I, 0 of 20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="Newcombe 1998, table I, 1 of 29"),
    ],
)
def test_wilsons_interval_is_that_of_the_textbook(count: int, n: int, low: float, high: float) -> None:
    assert wilson(count, n) == pytest.approx((low, high), abs=5e-5)


def test_none_of_n_has_an_exact_upper_bound_near_three_by_n() -> None:
    bound = upper_bound_of_none(100)

    assert bound == pytest.approx(0.029513, abs=1e-6)
    assert (1 - bound) ** 100 == pytest.approx(0.05)


def test_nothing_seen_is_never_reported_as_nothing() -> None:
    assert interval(0, 50) == (0.0, upper_bound_of_none(50))
    assert interval(50, 50) == (1 - upper_bound_of_none(50), 1.0)
    assert interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_the_rate_that_was_seen(seen: tuple[int, int]) -> None:
    count, n = seen
    low, high = interval(count, n)

    assert 0 <= low <= count / n <= high <= 1
    assert low < high


@given(st.integers(0, 60), st.integers(1, 60))
def test_the_statisticians_library_agrees(count: int, more: int) -> None:
    n = count + more
    expected = stats.binomtest(count, n).proportion_ci(method="wilson")

    assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert upper_bound_of_none(n) == pytest.approx(stats.binomtest(0, n, alternative="less").proportion_ci(method="exact").high, abs=1e-9)
    assert sign_test(count, more) == pytest.approx(stats.binomtest(count, n, 0.5).pvalue, abs=1e-12)


@pytest.mark.parametrize(
    ("fewer", "more", "p"),
    [
        pytest.param(0, 0, 1.0, id="no pair differs"),
        pytest.param(5, 5, 1.0, id="as often one way as the other"),
        pytest.param(0, 5, 2 / 32, id="five of five"),
        pytest.param(1, 9, 2 * 11 / 1024, id="one against nine"),
        pytest.param(9, 1, 2 * 11 / 1024, id="both sides count"),
    ],
)
def test_the_sign_test_is_exact(fewer: int, more: int, p: float) -> None:
    assert sign_test(fewer, more) == p


def test_equal_pairs_are_counted_but_decide_nothing() -> None:
    assert paired([0, 0, 3, 1], [2, 0, 1, 4]) == Paired(fewer=2, more=1, equal=1, p=1.0)


def test_the_interval_of_a_median_lies_between_two_of_the_values() -> None:
    """For n = 10 the 2nd and the 9th value hold the median in 97.9 % of all samples, the 3rd and the 8th in 89.1 %: any table of order statistics."""
    assert median([float(value) for value in range(1, 11)]) == (5.5, 2.0, 9.0)


def test_five_values_are_too_few_for_an_interval_of_the_median() -> None:
    assert median([3.0, 1.0, 2.0, 5.0, 4.0]) == (3.0, None, None)
    assert median([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]) == (3.5, 1.0, 6.0)


@pytest.mark.parametrize(("count", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0), (1, 5, 0.0)])
def test_an_impossible_rate_is_refused(count: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="is not possible"):
        wilson(count, n, confidence)


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (6, 2.571), (31, 2.042), (200, 1.972)])
def test_the_interval_of_a_mean_is_students(n: int, quantile: float) -> None:
    values = [float(number % 2) for number in range(n)]
    middle, low, high = mean_interval(values)
    error = (sum((value - middle) ** 2 for value in values) / (n - 1) / n) ** 0.5

    assert high - middle == pytest.approx(quantile * error, rel=3e-4)
    assert middle - low == pytest.approx(high - middle)


def test_one_value_says_nothing_of_the_mean() -> None:
    assert mean_interval([5.0]) == (5.0, float("-inf"), float("inf"))


def test_equal_values_leave_no_doubt_of_the_mean() -> None:
    assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
