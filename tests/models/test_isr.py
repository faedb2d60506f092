"""The in-sync replicas as their leader sees them."""

from __future__ import annotations

import pytest

from ksim_models.isr import LONG_AGO, Follower, Leadership
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


@pytest.mark.parametrize(
    ("offset", "end", "caught_up"),
    [
        pytest.param(20, 20, s(7), id="RP-15 at the log end: now"),
        pytest.param(21, 20, s(7), id="RP-15 or beyond it"),
        pytest.param(19, 20, s(3), id="RP-15 past the end of the time before: then"),
        pytest.param(10, 20, s(3), id="RP-15 exactly there"),
        pytest.param(9, 20, s(1), id="RP-15 not even there: as before"),
    ],
)
def test_when_a_follower_was_caught_up_last(offset: int, end: int, caught_up: int) -> None:
    """Its fetch before, at 3 s, came when the leader's log ended at 10."""
    follower = Follower()
    follower.last_caught_up = s(1)
    follower.fetched(5, 10, s(3), 4)
    follower.fetched(offset, end, s(7), 6)

    assert follower.last_caught_up == caught_up
    assert (follower.log_end_offset, follower.leader_end_at_last_fetch, follower.last_fetch_at, follower.broker_epoch) == (offset, end, s(7), 6)


@pytest.mark.parametrize(("before", "after"), [(s(2), s(5)), (s(9), s(9))])
def test_the_fetches_of_a_session_that_name_no_partition_count_for_it(before: int, after: int) -> None:
    """RP-17: the follower stood at the log end all the time; nothing goes back."""
    follower = Follower()
    follower.fetched(10, 10, before, 1)
    follower.idled(10, s(5))

    assert (follower.last_caught_up, follower.last_fetch_at, follower.leader_end_at_last_fetch, follower.log_end_offset) == (after, after, 10, 10)


@pytest.mark.parametrize(
    ("offset", "since", "caught_up"),
    [
        pytest.param(10, 10 * LAG, True, id="RP-16 at the log end, whenever it fetched"),
        pytest.param(9, LAG, True, id="RP-16 behind it for exactly as long as it may"),
        pytest.param(9, LAG + 1, False, id="RP-16 and longer"),
        pytest.param(11, LAG + 1, False, id="RP-16 beyond the log end is not at it"),
    ],
)
def test_who_keeps_up(offset: int, since: int, caught_up: bool) -> None:
    follower = Follower()
    follower.log_end_offset, follower.last_caught_up = offset, s(1)

    assert follower.is_caught_up(10, s(1) + since, LAG) is caught_up


def test_other_replicas_change_nothing_for_those_that_stay() -> None:
    """KC-48."""
    leadership = leading()
    leadership.followers["b2"].fetched(7, 10, 0, -1)
    stays = leadership.followers["b2"]
    leadership.assign(("b4", "b2", "b1"))

    assert list(leadership.followers) == ["b4", "b2"]
    assert leadership.followers["b2"] is stays
    assert leadership.followers["b4"].log_end_offset == -1


def test_the_controllers_word_ends_what_was_in_flight() -> None:
    """RP-57, RP-58: and who leads again knows what was fetched."""
    leadership = leading(("b1", "b2"))
    leadership.followers["b2"].fetched(9, 10, 0, -1)
    leadership.propose_expand("b3")
    leadership.lead_again(("b1", "b3"), 6, 4, True, 12, s(5))

    state = (leadership.committed, leadership.maximal, leadership.expanding, leadership.shrinking, leadership.in_flight)
    assert state == (("b1", "b3"), ("b1", "b3"), None, (), False)
    assert (leadership.leader_epoch, leadership.partition_epoch, leadership.recovering, leadership.epoch_start_offset) == (6, 4, True, 12)
    assert [follower.log_end_offset for follower in leadership.followers.values()] == [9, -1]


def test_a_change_that_is_given_up_leaves_what_was_committed() -> None:
    """RP-57: its epoch and its recovery too."""
    leadership = Leadership("b1", ("b1", "b2", "b3"), ("b1", "b2"), 5, 8, True, 0, 0)
    leadership.propose_shrink(("b2",))
    leadership.give_up()

    assert (leadership.committed, leadership.partition_epoch, leadership.recovering, leadership.shrinking) == (("b1", "b2"), 8, True, ())


def test_the_isr_is_proposed_in_the_order_of_the_replicas() -> None:
    """RP-54: and of more than one that is out, all go at once."""
    leadership = Leadership("b2", ("b3", "b2", "b4", "b1"), ("b1", "b2"), 5, 0, False, 0, 0)
    leadership.propose_expand("b3")
    assert leadership.proposed_isr() == ("b2", "b3", "b1")
    leadership.give_up()
    assert leadership.out_of_sync(10, LAG + 1, LAG) == ("b1",)
    leadership.settle(("b2", "b3", "b4", "b1"), 1, False)
    leadership.propose_shrink(("b4", "b3"))

    assert (leadership.proposed_isr(), leadership.in_flight) == (("b2", "b1"), True)


@pytest.mark.parametrize(
    ("eligible", "caught_up", "committable"),
    [
        pytest.param({"b3": True}, True, 4, id="RP-22 one that keeps up and may join"),
        pytest.param({"b3": False}, True, 8, id="RP-22 one that may not"),
        pytest.param({}, True, 8, id="RP-22 one that the broker knows nothing of"),
        pytest.param({"b3": True}, False, 8, id="RP-22 one that does not keep up"),
    ],
)
def test_an_outsider_that_keeps_up_holds_the_high_watermark(eligible: dict[str, bool], caught_up: bool, committable: int) -> None:
    leadership = leading(("b1", "b2"))
    leadership.followers["b2"].log_end_offset = 8
    leadership.followers["b3"].log_end_offset = 4
    leadership.followers["b3"].last_caught_up = 0 if caught_up else -1

    assert leadership.committable(10, LAG, LAG, eligible) == committable
