"""The coordinator of groups: who may join, commit and fetch offsets, what outlives it, by the rules GC-1 to GC-10."""

from __future__ import annotations

from typing import Any

import pytest

from group_members import GROUP, T0, T1, Members
from ksim_models.errors import NONE, ErrorCode
from ksim_models.group_errors import commit_errors
from ksim_models.profiles import broker_profile
from ksim_models.transaction_messages import (
    CONSUMER_OFFSETS,
    HeartbeatRequest,
    LeaveGroupRequest,
    OffsetFetchRequest,
    SyncGroupRequest,
)


def test_a_member_is_given_an_id_first_and_leads_the_group_if_it_is_alone() -> None:
    """KIP-394."""
    members = Members()
    first = members.ask(members.request("c1"))
    joined = members.ask(members.request("c1", first.member))

    assert first.error is ErrorCode.MEMBER_ID_REQUIRED
    assert (joined.error, joined.generation, joined.leader) == (NONE, 1, first.member)
    assert joined.members == ((first.member, "", ("t",)),)


def test_an_empty_group_waits_for_others_before_its_first_generation() -> None:
    """group.initial.rebalance.delay.ms, and once more where somebody came meanwhile."""
    members = Members(group_initial_rebalance_delay_ms=3000)
    began = members.cluster.now
    joined = members.join("c1")

    assert joined.error is NONE
    assert 3_000_000 <= members.cluster.now - began < 3_100_000


def test_another_member_makes_the_first_one_join_again() -> None:
    members = Members()
    one = members.stable()
    waits = members.send(members.request("c2", members.ask(members.request("c2")).member))
    members.cluster.run_for(10)

    assert members.beat(one) is ErrorCode.REBALANCE_IN_PROGRESS
    assert members.sync(one).error is ErrorCode.REBALANCE_IN_PROGRESS
    again = members.join("c1", one.member)
    (two,) = members.answers(waits)
    assert (again.generation, two.generation) == (2, 2)
    assert again.leader == one.member
    assert {member for member, _, _ in again.members} == {one.member, two.member}
    assert two.members == ()


def test_followers_wait_for_what_the_leader_assigns() -> None:
    members = Members()
    one = members.stable()
    waits = members.send(members.request("c2", members.ask(members.request("c2")).member))
    one = members.join("c1", one.member)
    (two,) = members.answers(waits)
    syncs = members.send(SyncGroupRequest(GROUP, two.member, two.generation))
    members.cluster.run_for(10)

    assert members.answers(syncs) == []
    assert members.sync(one, {one.member: (T0,), two.member: (T1,)}).partitions == (T0,)
    members.cluster.run_for(10)
    assert [answer.partitions for answer in members.answers(syncs)] == [(T1,)]
    assert members.beat(one) is NONE


def test_a_member_that_is_not_heard_of_is_out_after_its_session() -> None:
    members = Members()
    joined = members.stable()
    members.cluster.run_for(9_900)
    assert members.beat(joined) is NONE
    members.cluster.run_for(10_100)

    assert members.beat(joined) is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_commit_keeps_a_session_alive() -> None:
    members = Members()
    joined = members.stable()
    for _ in range(4):
        members.cluster.run_for(6_000)
        assert members.commit(1, joined.member, joined.generation) is NONE


def test_who_does_not_join_again_in_time_is_out() -> None:
    """The rebalance time-out, which is a Java consumer's max.poll.interval.ms."""
    members = Members()
    one = members.stable()
    waits = members.send(members.request("c2", members.ask(members.request("c2")).member))
    for _ in range(4):
        members.cluster.run_for(4_900)
        assert members.beat(one) is ErrorCode.REBALANCE_IN_PROGRESS
    members.cluster.run_for(900)

    (two,) = members.answers(waits)
    assert (two.generation, two.leader) == (2, two.member)
    assert members.beat(one) is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_member_that_leaves_leaves_at_once() -> None:
    members = Members()
    joined = members.stable()

    assert members.ask(LeaveGroupRequest(GROUP, joined.member)).error is NONE
    assert members.beat(joined) is ErrorCode.UNKNOWN_MEMBER_ID
    assert members.join("c2").generation == 3


@pytest.mark.parametrize("session_ms", [5_999, 1_800_001])
def test_a_session_time_out_has_to_be_one_that_the_broker_allows(session_ms: int) -> None:
    members = Members()

    assert members.join("c1", session_timeout_ms=session_ms).error is ErrorCode.INVALID_SESSION_TIMEOUT


def test_members_need_an_assignor_that_all_know() -> None:
    members = Members()
    members.stable(protocols=("range", "cooperative-sticky"))

    assert members.join("c2", protocols=("roundrobin",)).error is ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_a_broker_that_does_not_coordinate_says_so() -> None:
    members = Members()
    other = next(name for name in members.cluster.names if name != members.coordinator)

    assert members.cluster.ask(other, members.request("c1")).error is ErrorCode.NOT_COORDINATOR
    assert members.cluster.ask(other, OffsetFetchRequest(GROUP, (T0,), True)).error is ErrorCode.NOT_COORDINATOR


# Static members (KIP-345).


def test_a_static_member_that_comes_back_in_time_has_its_partitions_without_a_rebalance() -> None:
    """KIP-814: and is told that there is nothing to assign."""
    members = Members()
    before = members.stable(instance="i1")
    again = members.join("c1", instance="i1")

    assert again.error is NONE
    assert again.member != before.member
    assert (again.generation, again.skip_assignment, again.leader) == (before.generation, True, again.member)
    assert members.sync(again).partitions == (T0, T1)


def test_the_former_instance_is_fenced() -> None:
    members = Members()
    before = members.stable(instance="i1")
    members.join("c1", instance="i1")

    assert members.ask(HeartbeatRequest(GROUP, before.member, before.generation, "i1")).error is ErrorCode.FENCED_INSTANCE_ID
    assert members.commit(1, before.member, before.generation, instance="i1") is ErrorCode.FENCED_INSTANCE_ID
    assert members.beat(before) is ErrorCode.UNKNOWN_MEMBER_ID  # Without the name of its instance it is nobody.


# Offsets.


def test_gc_1_a_committed_offset_is_what_a_fetch_answers() -> None:
    members = Members()

    assert members.fetch() == (NONE, -1)
    assert members.commit(5) is NONE
    assert members.fetch() == (NONE, 5)


def test_gc_2_who_may_commit() -> None:
    members = Members()
    joined = members.stable()
    member, generation = joined.member, joined.generation

    assert members.commit(1, member, generation) is NONE
    assert members.commit(2, member, generation - 1) is ErrorCode.ILLEGAL_GENERATION
    assert members.commit(2, member, generation + 1) is ErrorCode.ILLEGAL_GENERATION
    assert members.commit(2, "nobody", generation) is ErrorCode.UNKNOWN_MEMBER_ID
    assert members.commit(2) is ErrorCode.UNKNOWN_MEMBER_ID  # Nobody in particular: only to an empty group.
    assert members.fetch() == (NONE, 1)


def test_gc_2_while_members_join_the_old_generation_may_commit_and_while_it_is_assigned_not() -> None:
    members = Members()
    one = members.stable()
    waits = members.send(members.request("c2", members.ask(members.request("c2")).member))
    members.cluster.run_for(10)
    preparing = members.commit(1, one.member, one.generation)
    one = members.join("c1", one.member)
    completing = members.commit(2, one.member, one.generation)

    assert members.answers(waits)
    assert (preparing, completing) == (NONE, ErrorCode.REBALANCE_IN_PROGRESS)
    assert members.fetch() == (NONE, 1)


def test_gc_3_a_transactional_commit_is_fenced_by_generation_but_not_by_a_rebalance() -> None:
    members = Members()
    one = members.stable()
    members.send(members.request("c2", members.ask(members.request("c2")).member))
    one_again = members.join("c1", one.member)

    assert members.commit_in_transaction(1, one_again.member, one_again.generation) is NONE  # CompletingRebalance.
    assert members.commit_in_transaction(1, one.member, one.generation) is ErrorCode.ILLEGAL_GENERATION
    assert members.commit_in_transaction(1, "nobody", one_again.generation) is ErrorCode.UNKNOWN_MEMBER_ID
    assert members.commit_in_transaction(1) is NONE  # One producer per input partition: nobody fences it here.


@pytest.mark.parametrize("committed", [True, False])
def test_gc_4_offsets_of_a_transaction_wait_for_its_end(committed: bool) -> None:
    """GC-5: and whoever asks for stable ones is told to come again."""
    members = Members()
    members.commit(3)
    members.commit_in_transaction(9)
    place = f"{CONSUMER_OFFSETS}-{ord('g') % 3}"

    assert members.fetch(stable=True) == (ErrorCode.UNSTABLE_OFFSET_COMMIT, -1)
    assert members.fetch(stable=False) == (NONE, 3)
    coordinator: Any = members.cluster.brokers[members.coordinator].coordination.coordinators[CONSUMER_OFFSETS]
    coordinator.transaction_ended(place, 7, committed=committed)
    assert members.fetch() == (NONE, 9 if committed else 3)


def test_gc_4_a_newer_commit_outside_the_transaction_stays() -> None:
    members = Members()
    members.commit_in_transaction(9)
    members.commit(4)
    place = f"{CONSUMER_OFFSETS}-{ord('g') % 3}"
    coordinator: Any = members.cluster.brokers[members.coordinator].coordination.coordinators[CONSUMER_OFFSETS]
    coordinator.transaction_ended(place, 7, committed=True)
    coordinator.transaction_ended(place, 8, committed=True)  # A producer that nobody knows.

    assert members.fetch() == (NONE, 4)


@pytest.mark.parametrize(("kafka", "error"), [("4.3", ErrorCode.GROUP_ID_NOT_FOUND), ("3.9", ErrorCode.ILLEGAL_GENERATION)])
def test_gc_10_a_commit_to_a_group_that_is_not_there(kafka: str, error: ErrorCode) -> None:
    assert Members(kafka=kafka).commit(1, "somebody", 1) is error


def below_min_isr(kafka: str) -> Members:
    """Both followers of the coordinator are gone, and out of the ISR."""
    members = Members(kafka=kafka, min_insync_replicas=2)
    members.commit(1)
    for name in members.cluster.names:
        if name != members.coordinator:
            members.cluster.loop.crash(name)
    members.cluster.run_for(15_000)
    return members


def test_gc_9_below_the_minimum_of_the_isr_a_commit_of_4_0_fails_and_counts_when_it_recovers() -> None:
    """GC-6: COORDINATOR_NOT_AVAILABLE, after offsets.commit.timeout.ms."""
    members = below_min_isr("4.3")
    began = members.cluster.now
    error = members.commit(2)

    assert (error, (members.cluster.now - began) // 1_000_000) == (ErrorCode.COORDINATOR_NOT_AVAILABLE, 5)
    assert members.fetch(stable=False) == (NONE, 1)
    for name in members.cluster.names:
        members.cluster.loop.restart(name)
    members.cluster.run_for(60_000)
    assert members.fetch() == (NONE, 2)


def test_gc_9_a_fetch_of_stable_offsets_waits_for_what_was_written_before_it() -> None:
    members = below_min_isr("4.3")
    members.commit(2)

    assert members.fetch(stable=True) is ErrorCode.NOT_COORDINATOR  # As older consumers know no other answer after which to look for it again.


def test_gc_9_below_the_minimum_of_the_isr_a_commit_of_3_9_is_refused_and_nothing_is_written() -> None:
    """GC-6."""
    members = below_min_isr("3.9")
    began = members.cluster.now
    error = members.commit(2)

    assert error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert members.cluster.now - began < 10_000
    for name in members.cluster.names:
        members.cluster.loop.restart(name)
    members.cluster.run_for(60_000)
    assert members.fetch() == (NONE, 1)


@pytest.mark.parametrize(
    ("kafka", "told"),
    [
        ("3.7.0", ErrorCode.NETWORK_EXCEPTION),
        ("3.7.1", ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
        ("4.3", ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
    ],
)
def test_gc_6_offsets_whose_transaction_could_not_be_asked_for_may_be_sent_again_since_3_7_1(kafka: str, told: ErrorCode) -> None:
    """KAFKA-16386: an older producer knows no NETWORK_EXCEPTION for offsets, and ends (T25a)."""
    errors = commit_errors(broker_profile(kafka))

    assert errors.get(ErrorCode.NETWORK_EXCEPTION, ErrorCode.NETWORK_EXCEPTION) is told


# What outlives a coordinator.


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_another_coordinator_knows_members_offsets_and_what_transactions_have_pending(kafka: str) -> None:
    members = Members(kafka=kafka)
    joined = members.stable()
    members.commit(5, joined.member, joined.generation)
    members.commit_in_transaction(9)
    members.cluster.loop.crash(members.coordinator)
    members.cluster.run_for(12_000)
    former = members.coordinator
    members.coordinator = members.cluster.find("group", GROUP, ask=next(name for name in members.cluster.names if name != former))
    members.cluster.run_for(1000)

    assert former != members.coordinator
    assert members.beat(joined) is NONE
    assert members.fetch(stable=False) == (NONE, 5)
    assert members.fetch(stable=True) == (ErrorCode.UNSTABLE_OFFSET_COMMIT, -1)
    assert members.commit(6, joined.member, joined.generation) is NONE


def test_offsets_in_a_transaction_of_a_static_member_that_another_has_replaced_are_fenced() -> None:
    """KIP-345, KIP-447: the instance id is part of the member's place in its group."""
    members = Members()
    first = members.join("c1", instance="one")
    members.sync(first, {first.member: (T0, T1)}, instance="one")
    members.join("c2", instance="one")

    assert members.commit_in_transaction(5, first.member, first.generation, instance="one") is ErrorCode.FENCED_INSTANCE_ID


def test_the_leader_epoch_of_an_offset_is_kept_when_its_transaction_commits() -> None:
    """KIP-320."""
    members = Members()
    assert members.commit_in_transaction(5, epochs=(3,)) is NONE
    coordinator: Any = members.cluster.brokers[members.coordinator].coordination.coordinators[CONSUMER_OFFSETS]
    coordinator.transaction_ended(f"{CONSUMER_OFFSETS}-{ord('g') % 3}", 7, committed=True)

    assert members.ask(OffsetFetchRequest(GROUP, (T0,), True)).results[0][2:] == (5, 3)
