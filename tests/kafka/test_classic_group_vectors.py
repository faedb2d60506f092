"""Classic groups as Kafka's tests have them: GroupMetadataManagerTest since 4.0, GroupCoordinatorTest up to 3.9. How long a rebalance waits, and for whom."""

from __future__ import annotations

import pytest

from group_members import T0, T1, Members
from ksim_models.errors import NONE, ErrorCode
from ksim_models.transaction_messages import JoinGroupResponse, LeaveGroupRequest

DELAYED = {"group_initial_rebalance_delay_ms": 3000}


def seconds_until_joined(members: Members, connection: str) -> float:
    began = members.cluster.now
    while not members.answers(connection):
        members.cluster.run_for(50)
    return round((members.cluster.now - began) / 1e6, 1)


def emptied(members: Members) -> None:
    """One generation has been, and its only member left."""
    joined = members.join("c0")
    members.sync(joined, {joined.member: (T0, T1)})
    members.ask(LeaveGroupRequest("g", joined.member))
    members.cluster.run_for(100)


@pytest.mark.parametrize(("kafka", "again", "seconds"), [("3.9", False, 6), ("4.0", False, 6), ("3.9", True, 3), ("4.0", True, 6)])
def test_reset_rebalance_delay_when_a_new_member_joins_during_the_initial_rebalance(kafka: str, again: bool, seconds: int) -> None:
    """testResetRebalanceDelayWhenNewMemberJoinsGroupDuringInitialRebalance, shouldResetRebalanceDelayWhenNewMemberJoinsGroupInInitialRebalance.

    again: the group has had a generation before: up to 3.9 it waits once only then (the generation is not 0), since 4.0 as long as any empty group.
    """
    members = Members(kafka=kafka, **DELAYED)
    if again:
        emptied(members)
    first = members.send(members.request("c1", members.ask(members.request("c1")).member))
    members.send(members.request("c2", members.ask(members.request("c2")).member))

    assert seconds_until_joined(members, first) == pytest.approx(seconds, abs=0.3)


def test_an_initial_rebalance_is_delayed_up_to_the_rebalance_time_out() -> None:
    """testDelayRebalanceUptoRebalanceTimeout: 3 s, 3 s and the 1 s that are left of 7."""
    members = Members(**DELAYED)
    began = members.cluster.now
    waiting = []
    for number in range(8):
        name = f"c{number}"
        given = members.ask(members.request(name, rebalance_timeout_ms=7000)).member
        waiting.append(members.send(members.request(name, given, rebalance_timeout_ms=7000)))
        members.cluster.run_for(700)
    seconds_until_joined(members, waiting[0])

    assert (members.cluster.now - began) / 1e6 == pytest.approx(7, abs=0.3)
    assert len(members.answers(waiting[0])[0].members) == 8


@pytest.mark.parametrize(("kafka", "seconds"), [("3.9", 9), ("4.0", 6)])
def test_an_initial_rebalance_ends_with_a_member_that_is_taken_for_dead_since_4_0(kafka: str, seconds: int) -> None:
    """testJoinGroupCompletionWhenPendingMemberTimesOut, in a group that was empty: removePendingMemberAndUpdateClassicGroup completes it; a delayed operation
    of 3.9 (InitialDelayedJoin) is completed by its time only. The pending member has a session of 6 s.
    """
    members = Members(kafka=kafka, group_initial_rebalance_delay_ms=9000)
    waits = members.send(members.request("c1", members.ask(members.request("c1")).member))
    members.ask(members.request("c2", session_timeout_ms=6000))

    assert seconds_until_joined(members, waits) == pytest.approx(seconds, abs=0.3)


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_a_pending_member_is_waited_for_until_its_session_is_over(kafka: str) -> None:
    """testHeartbeatExpirationShouldRemovePendingMember, testSecondMemberPartiallyJoinAndTimeout: it counts as one that has not joined."""
    members = Members(kafka=kafka)
    one = members.stable()
    waits = members.send(members.request("c2", members.ask(members.request("c2")).member))
    members.ask(members.request("c3", session_timeout_ms=6000))
    again = members.send(members.request("c1", one.member))

    assert not members.answers(waits)
    assert seconds_until_joined(members, again) == pytest.approx(6, abs=0.3)
    assert len(members.answers(again)[0].members) == 2


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_a_pending_member_that_leaves_is_not_waited_for(kafka: str) -> None:
    """testPendingMembersLeaveGroup."""
    members = Members(kafka=kafka)
    one = members.stable()
    waits = members.send(members.request("c2", members.ask(members.request("c2")).member))
    pending = members.ask(members.request("c3")).member
    again = members.send(members.request("c1", one.member))
    assert not members.answers(again)
    members.ask(LeaveGroupRequest("g", pending))

    assert members.answers(again)[0].generation == members.answers(waits)[0].generation == 2


def with_two_static_members(members: Members) -> tuple[JoinGroupResponse, JoinGroupResponse]:
    """Generation 2 of a leader and a follower; nobody has asked for its partitions yet."""
    leader = members.join("c1", instance="one")
    members.sync(leader, {leader.member: (T0, T1)}, instance="one")
    waits = members.send(members.request("c2", instance="two"))
    again: JoinGroupResponse = members.ask(members.request("c1", leader.member, instance="one"))
    return again, members.answers(waits)[0]


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_a_static_member_that_comes_back_before_it_got_its_partitions_has_the_group_begin_anew_later(kafka: str) -> None:
    """testRebalanceTimesOutWhenSyncRequestIsNotReceivedFromFollowers with testReplaceStaticMemberInStableStateSucceeds: replaceStaticMember leaves the old
    member id among those that owe a SyncGroup. The new one has its partitions at once, and 20 s later (the rebalance time-out) all join again.
    """
    members = Members(kafka=kafka)
    leader, follower = with_two_static_members(members)
    members.sync(leader, {leader.member: (T0,), follower.member: (T1,)}, instance="one")
    back = members.join("c2", instance="two")

    assert (back.generation, members.sync(back, instance="two").partitions) == (2, (T1,))
    for _ in range(5):
        assert (members.beat(leader), members.beat(back)) == (NONE, NONE)
        members.cluster.run_for(3500)
    members.cluster.run_for(4000)
    assert members.beat(leader) is ErrorCode.REBALANCE_IN_PROGRESS
