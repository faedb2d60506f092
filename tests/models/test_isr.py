"""The in-sync replicas as their leader sees them."""

from __future__ import annotations

import pytest

from ksim_models.isr import LONG_AGO, Leadership
from ksim_models.units import s

LAG = s(30)


def leading(isr: tuple[str, ...] = ("b1", "b2", "b3"), *, start: int = 0) -> Leadership:
    return Leadership("b1", ("b1", "b2", "b3"), isr, 5, 0, False, start, 0)


def test_only_members_that_are_behind_for_longer_than_the_lag_limit_are_out_of_sync() -> None:
    """RP-50: the leader never; nobody who stands at the log end, however long ago it fetched (RP-51)."""
    leadership = leading()
    leadership.followers["b2"].fetched(10, 10, 0, -1)
    leadership.followers["b3"].fetched(9, 10, 0, -1)

    assert leadership.out_of_sync(10, LAG, LAG) == ()
    assert leadership.out_of_sync(10, LAG + 1, LAG) == ("b3",)
    assert leading(("b1", "b2")).out_of_sync(10, LAG + 1, LAG) == ("b2",), "b3 is out already"


def test_one_change_at_a_time() -> None:
    """RP-50, RP-54."""
    leadership = leading()
    leadership.propose_shrink(("b3",))

    assert leadership.out_of_sync(10, LAG + 1, LAG) == ()
    assert not leadership.may_expand("b2", 0)


def test_a_new_leader_gives_members_a_full_period_and_others_none() -> None:
    """RP-52: and knows nobody's log end."""
    leadership = leading(("b1", "b2"))
    leadership.lead_again(("b1", "b3"), 6, 1, False, 10, s(5))

    assert [follower.last_caught_up for follower in leadership.followers.values()] == [LONG_AGO, s(5)]
    assert [follower.log_end_offset for follower in leading().followers.values()] == [-1, -1]


@pytest.mark.parametrize(
    ("offset", "start", "high_watermark", "joins"),
    [
        pytest.param(7, 0, 7, True, id="RP-53 at the high watermark, not at the log end"),
        pytest.param(6, 0, 7, False, id="RP-53 below it"),
        pytest.param(7, 8, 7, False, id="RP-53 below the start of the leader's epoch"),
    ],
)
def test_who_may_join_the_isr(offset: int, start: int, high_watermark: int, joins: bool) -> None:
    leadership = leading(("b1", "b2"), start=start)
    leadership.followers["b3"].fetched(offset, 10, 0, -1)

    assert leadership.may_expand("b3", high_watermark) is joins
    assert not leadership.may_expand("b2", 0), "a member has nothing to join"


def test_an_expansion_counts_for_commits_before_it_is_confirmed_and_a_shrink_only_after() -> None:
    """RP-54: the larger set decides what is committed, the confirmed one what is admitted."""
    growing, shrinking = leading(("b1", "b2")), leading()
    growing.propose_expand("b3")
    shrinking.propose_shrink(("b3",))

    assert (growing.committed, growing.maximal, growing.proposed_isr()) == (("b1", "b2"), ("b1", "b2", "b3"), ("b1", "b2", "b3"))
    assert (shrinking.committed, shrinking.maximal, shrinking.proposed_isr()) == (("b1", "b2", "b3"), ("b1", "b2", "b3"), ("b1", "b2"))
    growing.give_up()
    shrinking.settle(("b1", "b2"), 1, False)
    assert (growing.maximal, growing.in_flight, shrinking.maximal, shrinking.in_flight) == (("b1", "b2"), False, ("b1", "b2"), False)


@pytest.mark.parametrize(
    ("ends", "committable"),
    [
        pytest.param({"b2": 8, "b3": 9}, 8, id="RP-20 the slowest member"),
        pytest.param({"b2": -1, "b3": 9}, -1, id="RP-52 a member that has not fetched yet holds it"),
        pytest.param({"b2": 12, "b3": 12}, 10, id="RP-20 not beyond the leader's own end"),
    ],
)
def test_how_far_the_high_watermark_may_go(ends: dict[str, int], committable: int) -> None:
    leadership = leading()
    for name, end in ends.items():
        leadership.followers[name].log_end_offset = end

    assert leadership.committable(10, 0, LAG, {}) == committable
