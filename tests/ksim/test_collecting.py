"""Python's search for cycles while a simulation runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ksim.collecting import SELDOM, seldom


@pytest.fixture(autouse=True)
def threshold_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_cycles_are_searched_for_seldom_while_a_run_lasts_and_as_before_behind_it() -> None:
    gc.set_threshold(700, 10, 10)

    with seldom():
        assert gc.get_threshold()[0] == SELDOM

    assert gc.get_threshold() == (700, 10, 10)


def test_the_search_is_as_it_was_also_behind_a_run_that_breaks() -> None:
    gc.set_threshold(700, 10, 10)

    with pytest.raises(RuntimeError), seldom():
        raise RuntimeError

    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("theirs", [0, 2 * SELDOM], ids=["off", "rarer"])
def test_whoever_has_switched_the_search_off_or_made_it_rarer_is_left_alone(theirs: int) -> None:
    gc.set_threshold(theirs, 10, 10)

    with seldom():
        assert gc.get_threshold() == (theirs, 10, 10)
