"""The one formula of waiting longer after each failure."""

from __future__ import annotations

import pytest

from ksim_models.backoff import exponential_backoff


@pytest.mark.parametrize(
    ("initial", "most", "failures", "draw", "wait"),
    [
        pytest.param(100, 1000, 0, 0.5, 100, id="A28 the first wait is the initial one"),
        pytest.param(100, 1000, 3, 0.5, 800, id="A28 doubled each time"),
        pytest.param(100, 1000, 9, 0.5, 1000, id="A28 up to the maximum"),
        pytest.param(100, 1000, 9, 0.0, 800, id="A28 the clamp comes after the jitter: 0.8 of the maximum is possible"),
        pytest.param(100, 1000, 9, 0.99, 1000, id="A28 more than the maximum is not"),
        pytest.param(100, 1000, 0, 0.0, 80, id="N7 20 % less"),
        pytest.param(100, 1000, 0, 0.999, 119, id="N7 20 % more, cut to whole ms"),
        pytest.param(100, 100, 5, 0.0, 100, id="A28 maximum = initial: constant, without jitter"),
        pytest.param(100, 50, 5, 0.9, 50, id="A28 maximum < initial: the maximum"),
        pytest.param(10_000, 30_000, 2, 0.5, 30_000, id="N8 of connection set-up"),
    ],
)
def test_how_long_to_wait_after_so_many_failures(initial: int, most: int, failures: int, draw: float, wait: int) -> None:
    assert exponential_backoff(initial, most, failures, draw) == wait


@pytest.mark.parametrize(
    ("initial", "most", "failures", "draw", "wait"),
    [
        pytest.param(50, 1000, 9, 0.999, 1199, id="N7 before 3.7 the maximum bounds the doubling, not the wait"),
        pytest.param(50, 1000, 9, 0.0, 800, id="N7 20 % less than the maximum"),
        pytest.param(60_000, 30_000, 5, 0.9, 60_000, id="C5 before 3.7 an initial set-up time-out above its maximum holds"),
    ],
)
def test_before_3_7_a_wait_could_be_longer_than_its_maximum(initial: int, most: int, failures: int, draw: float, wait: int) -> None:
    """ExponentialBackoff of 2.8 to 3.6: no clamp of the result (KIP-580 brought it)."""
    assert exponential_backoff(initial, most, failures, draw, capped=False) == wait
