"""Intervals: what so many runs can say about a rate, and no more than that.

Not Kafka's: Wilson (1927) for rates, Clopper and Pearson (1934) where nothing or everything was seen, Student (1908) for means,
the sign test for pairs of runs that met the same world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import atan, comb, cos, exp, fsum, inf, lgamma, pi, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson(count: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval, both sides, without continuity correction. It stays within 0 and 1, and is honest for small n, where mean +- 2 s.e. is not."""
    _check(count, n, confidence)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if count == 0 else max(0.0, middle - half)), (1.0 if count == n else min(1.0, middle + half))


def upper_bound_of_none(n: int, confidence: float = CONFIDENCE) -> float:
    """None seen in n: the rate is at most this, exactly and one-sided. About 3 / n for 95 % ("the rule of three")."""
    _check(0, n, confidence)
    return 1.0 if n == 0 else float(1 - (1 - confidence) ** (1 / n))


def interval(count: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson; where nothing was seen from 0 to the exact upper bound, where everything was, from the exact lower bound to 1."""
    if count in (0, n):
        _check(count, n, confidence)
        bound = upper_bound_of_none(n, confidence)
        return (0.0, bound) if count == 0 else (1 - bound, 1.0)
    return wilson(count, n, confidence)


def sign_test(fewer: int, more: int) -> float:
    """Two-sided p of the exact sign test: so many pairs in which the first had fewer, so many in which it had more. Equal pairs are left out."""
    assert fewer >= 0
    assert more >= 0
    n = fewer + more
    tail = Fraction(sum(comb(n, k) for k in range(min(fewer, more) + 1)), 2**n)
    return float(min(Fraction(1), 2 * tail))


@dataclass(frozen=True, slots=True)
class Paired:
    """Two configurations under the same seeds, that is in the same world: in how many pairs the first had fewer, more, or as many."""

    fewer: int
    more: int
    equal: int
    p: float
    """Two-sided, exact: how often chance alone would be as lopsided as this. 1 where no pair differs."""


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Pair by pair, in the same order."""
    assert len(first) == len(second)
    fewer = sum(one < other for one, other in zip(first, second))
    more = sum(one > other for one, other in zip(first, second))
    return Paired(fewer, more, len(first) - fewer - more, sign_test(fewer, more))


def median(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float | None, float | None]:
    """The median, and an interval for it between two of the values themselves: exact for any distribution. None, None: too few values for it."""
    assert values
    ordered = sorted(values)
    n = len(ordered)
    middle = ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
    limit = Fraction(1 - confidence) / 2 * 2**n
    below = depth = 0
    while depth < n // 2 and below + comb(n, depth) <= limit:
        below += comb(n, depth)
        depth += 1
    return (middle, ordered[depth - 1], ordered[n - depth]) if depth else (middle, None, None)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The mean, and Student's interval for it: honest for means of many independent values, whatever their distribution. One value says nothing."""
    assert values
    n = len(values)
    middle = fsum(values) / n
    if n == 1:
        return middle, -inf, inf
    spread = sqrt(fsum((value - middle) ** 2 for value in values) / (n - 1))
    half = _student(0.5 + confidence / 2, n - 1) * spread / sqrt(n)
    return middle, middle - half, middle + half


def _student(level: float, freedom: int) -> float:
    """The quantile, by bisection of the distribution function, which is Simpson's rule over the density."""
    low, high = 0.0, 1.0
    while _student_below(high, freedom) < level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_below(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _student_below(t: float, freedom: int, steps: int = 400) -> float:
    """P(T < t) for t >= 0: with t = sqrt(freedom) tan(angle) the density is a power of a cosine."""
    end = atan(t / sqrt(freedom))
    scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(pi)
    step = end / steps
    weights = (1 if place in (0, steps) else 4 if place % 2 else 2 for place in range(steps + 1))
    return 0.5 + scale * step / 3 * fsum(weight * cos(place * step) ** (freedom - 1) for place, weight in enumerate(weights))


def _check(count: int, n: int, confidence: float) -> None:
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is not possible: choose 0 <= count <= n.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} is not possible: choose a number between 0 and 1, such as 0.95.")
