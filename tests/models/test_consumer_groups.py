"""Groups of the consumer protocol (KIP-848) as their coordinator keeps them: epochs, who has what, who is refused what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksim_models.consumer_config import REMOTE_ASSIGNORS
from ksim_models.consumer_groups import ConsumerGroup, ConsumerMember, Reconciling
from ksim_models.errors import NONE, ErrorCode
from ksim_models.profiles import broker_profile
from ksim_models.server_assignors import SERVER_ASSIGNORS, assign_by_ranges, assign_uniformly
from ksim_models.transaction_messages import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    OffsetCommitRequest,
    OffsetFetchRequest,
    TxnOffsetCommitRequest,
)
from small_cluster import SmallCluster

GROUP = "g"


def t(*numbers: int) -> tuple[str, ...]:
    return tuple(f"t-{number}" for number in numbers)


class Members:
    """Of one group, played by hand."""

    def __init__(self, *, kafka: str = "4.2", partitions: int = 4, **config: Any) -> None:
        usual = {"offsets_topic_num_partitions": 3, "group_consumer_session_timeout_ms": 45_000, "transaction_partition_verification_enable": False}
        self.cluster = SmallCluster(kafka=kafka, topics={"t": partitions}, **(usual | config))
        self.coordinator = self.cluster.find("group", GROUP)
        self.cluster.run_for(1000)

    def ask(self, request: object) -> Any:
        return self.cluster.ask(self.coordinator, request)

    def join(self, member: str, **more: Any) -> ConsumerGroupHeartbeatResponse:
        full: dict[str, Any] = {"rebalance_timeout_ms": 30_000, "topics": ("t",), "owned": ()} | more
        answer: ConsumerGroupHeartbeatResponse = self.ask(ConsumerGroupHeartbeatRequest(GROUP, member, 0, **full))
        return answer

    def beat(self, member: str, epoch: int, owned: tuple[str, ...] | None = None, **more: Any) -> ConsumerGroupHeartbeatResponse:
        answer: ConsumerGroupHeartbeatResponse = self.ask(ConsumerGroupHeartbeatRequest(GROUP, member, epoch, owned=owned, **more))
        return answer

    def commit(self, member: str, epoch: int, *partitions: int) -> list[ErrorCode]:
        offsets = tuple((partition, 5) for partition in t(*(partitions or (0,))))
        return [error for _, error in self.ask(OffsetCommitRequest(GROUP, offsets, member, epoch)).results]

    def commit_in_transaction(self, member: str, epoch: int) -> ErrorCode:
        error: ErrorCode = self.ask(TxnOffsetCommitRequest("x", GROUP, 7, 0, (("t-0", 5),), member, epoch)).results[0][1]
        return error


def outcome(answer: ConsumerGroupHeartbeatResponse) -> tuple[int, tuple[str, ...] | None]:
    assert not answer.error
    return answer.epoch, answer.assignment


def test_the_first_member_gets_everything_at_once() -> None:
    members = Members()

    assert outcome(members.join("a")) == (1, t(0, 1, 2, 3))
    assert outcome(members.beat("a", 1, t(0, 1, 2, 3))) == (1, None)


def test_a_partition_is_another_members_only_when_its_owner_has_said_that_it_gave_it_up() -> None:
    """Reconciliation: revoke, acknowledge, assign. The owner stays in its epoch until then."""
    members = Members()
    members.join("a")

    assert outcome(members.join("b")) == (2, ())
    assert outcome(members.beat("a", 1)) == (1, t(0, 1))
    assert outcome(members.beat("b", 2)) == (2, None)
    assert outcome(members.beat("a", 1)) == (1, None)
    assert outcome(members.beat("a", 1, t(0, 1, 2, 3))) == (1, None)
    assert outcome(members.beat("a", 1, t(0, 1))) == (2, None)
    assert outcome(members.beat("b", 2)) == (2, t(2, 3))


def test_a_full_request_is_told_everything_again() -> None:
    members = Members()
    members.join("a")

    assert outcome(members.beat("a", 1, t(0, 1, 2, 3), rebalance_timeout_ms=30_000, topics=("t",))) == (1, t(0, 1, 2, 3))


@pytest.mark.parametrize(
    ("member", "epoch", "owned", "error"),
    [
        ("nobody", 1, None, ErrorCode.UNKNOWN_MEMBER_ID),
        ("a", 3, None, ErrorCode.FENCED_MEMBER_EPOCH),
        ("a", 1, None, ErrorCode.FENCED_MEMBER_EPOCH),
        ("a", 1, t(0, 2), ErrorCode.FENCED_MEMBER_EPOCH),
        ("a", 1, t(0, 1), NONE),
        ("a", 2, None, NONE),
        ("a", 0, (), NONE),
    ],
)
def test_a_member_is_fenced_by_its_epoch(member: str, epoch: int, owned: tuple[str, ...] | None, error: ErrorCode) -> None:
    """The epoch before is taken from who owns nothing that it should not: the answer may have been lost."""
    members = Members()
    members.join("a")
    members.join("b")
    members.beat("a", 1)
    members.beat("a", 1, t(0, 1))

    assert members.beat(member, epoch, owned).error is error


@pytest.mark.parametrize(("kafka", "answer"), [("4.1", ErrorCode.FENCED_MEMBER_EPOCH), ("4.2", NONE)])
def test_a_fenced_member_joins_anew_with_its_id_since_4_2(kafka: str, answer: ErrorCode) -> None:
    """KAFKA-19233: before, it is fenced again and again until its session is over, and what it had is nobody's so long."""
    members = Members(kafka=kafka)
    members.join("a")
    members.join("b")
    members.beat("a", 1)
    members.beat("a", 1, t(0, 1))
    assert members.beat("a", 9).error is ErrorCode.FENCED_MEMBER_EPOCH

    assert members.join("a").error is answer
    members.cluster.run_for(45_100)
    assert members.join("a").error is NONE


def test_the_epoch_before_is_no_longer_good_enough_once_the_new_one_was_used() -> None:
    """CurrentAssignmentBuilderTest.testUnreleasedPartitionsToUnreleasedPartitions: who waits may have missed one answer, not two."""
    group = ConsumerGroup(GROUP)
    waiting, owner = ConsumerMember("b", ""), ConsumerMember("a", "")
    owner.assigned, group.target, group.target_epoch = {"t-0": 1}, {"b": ("t-0",)}, 2
    waiting.epoch = 1
    group.add(owner)
    group.add(waiting)
    for before in (1, 2):
        group.reconcile(broker_profile("4.3"), waiting, (), 0)
        assert (waiting.state, waiting.epoch, waiting.previous_epoch) == (Reconciling.UNRELEASED, 2, before)


def giving_up(target: tuple[str, ...], kafka: str) -> ConsumerMember:
    """It had three partitions in epoch 1 and gave up t-0 for epoch 2; now it is to have these in epoch 3, and says that it has t-1 and t-2."""
    group, member = ConsumerGroup(GROUP), ConsumerMember("a", "")
    member.state, member.epoch, member.assigned, member.revoking = Reconciling.UNREVOKED, 1, {"t-1": 1, "t-2": 1}, {"t-0": 1}
    group.add(member)
    group.target, group.target_epoch = {"a": target}, 3
    group.reconcile(broker_profile(kafka), member, t(1, 2), 0)
    return member


@pytest.mark.parametrize(("kafka", "epoch"), [("4.1", 2), ("4.2", 1)])
def test_who_gives_up_more_than_before_keeps_its_epoch_since_4_2(kafka: str, epoch: int) -> None:
    """KAFKA-19974, CurrentAssignmentBuilderTest.testUnrevokedPartitionsToUnrevokedPartitions."""
    member = giving_up(t(1), kafka)

    assert (member.state, member.epoch, member.assigned, member.revoking) == (Reconciling.UNREVOKED, epoch, {"t-1": 1}, {"t-2": 1})


@pytest.mark.parametrize(
    ("kafka", "state", "assigned"),
    [
        ("4.0.1", Reconciling.UNRELEASED, {"t-1": 1, "t-2": 1}),
        ("4.0.2", Reconciling.STABLE, {"t-0": 3, "t-1": 1, "t-2": 1}),
        ("4.1.1", Reconciling.UNRELEASED, {"t-1": 1, "t-2": 1}),
        ("4.3", Reconciling.STABLE, {"t-0": 3, "t-1": 1, "t-2": 1}),
    ],
)
def test_what_comes_back_to_who_has_just_given_it_up_is_free(kafka: str, state: Reconciling, assigned: dict[str, int]) -> None:
    """KAFKA-19449, CurrentAssignmentBuilderTest.testUnrevokedPartitionsToStableWithReturnedPartitionsPendingRevocation."""
    member = giving_up(t(0, 1, 2), kafka)

    assert (member.state, member.epoch, member.assigned) == (state, 3, assigned)


def test_a_group_that_does_not_exist_is_not_found_by_a_heartbeat() -> None:
    assert Members().beat("a", 1).error is ErrorCode.GROUP_ID_NOT_FOUND


def test_who_is_not_heard_of_for_a_session_is_out_and_its_partitions_are_free() -> None:
    """The broker's own time-out: a member has none."""
    members = Members()
    members.join("a")
    members.join("b")
    members.cluster.run_for(40_000)
    members.beat("b", 2)
    members.cluster.run_for(6_000)

    assert outcome(members.beat("b", 2)) == (3, t(0, 1, 2, 3))
    assert members.beat("a", 1).error is ErrorCode.UNKNOWN_MEMBER_ID


def test_who_does_not_give_up_in_time_what_it_has_to_is_out() -> None:
    """max.poll.interval.ms of the member, from the moment when it was told."""
    members = Members()
    members.join("a", rebalance_timeout_ms=10_000)
    members.join("b")
    members.beat("a", 1)
    members.cluster.run_for(9_000)
    assert not members.beat("a", 1).error
    members.cluster.run_for(2_000)

    assert members.beat("a", 1).error is ErrorCode.UNKNOWN_MEMBER_ID
    assert outcome(members.beat("b", 2)) == (3, t(0, 1, 2, 3))


def test_who_leaves_frees_its_partitions_at_once() -> None:
    members = Members()
    members.join("a")
    members.join("b")
    members.beat("a", -1)

    assert outcome(members.beat("b", 2)) == (3, t(0, 1, 2, 3))


# Static members.


def test_a_static_member_that_left_for_a_while_finds_what_it_had_under_another_member_id() -> None:
    members = Members()
    members.join("a", instance="i")
    assert members.beat("a", -2, (), instance="i").epoch == -2

    assert outcome(members.join("a2", instance="i")) == (1, t(0, 1, 2, 3))
    assert members.beat("a", 1, instance="i").error is ErrorCode.FENCED_INSTANCE_ID


def test_a_static_member_that_did_not_say_that_it_leaves_blocks_its_successor() -> None:
    """Unlike the classic protocol: until its session is over."""
    members = Members()
    members.join("a", instance="i")

    assert members.join("a2", instance="i").error is ErrorCode.UNRELEASED_INSTANCE_ID
    members.cluster.run_for(46_000)
    assert outcome(members.join("a2", instance="i")) == (3, t(0, 1, 2, 3))


# Offsets: GC-3, GC-10.


@pytest.mark.parametrize(
    ("kafka", "member", "epoch", "errors"),
    [
        ("4.2", "a", 2, [NONE, NONE]),
        ("4.2", "a", 1, [ErrorCode.STALE_MEMBER_EPOCH] * 2),
        ("4.2", "a", 3, [ErrorCode.STALE_MEMBER_EPOCH] * 2),
        ("4.2", "a", -1, [ErrorCode.STALE_MEMBER_EPOCH] * 2),
        ("4.2", "nobody", 1, [ErrorCode.UNKNOWN_MEMBER_ID] * 2),
        ("4.2", "", -1, [ErrorCode.UNKNOWN_MEMBER_ID] * 2),
        ("4.3", "a", 1, [NONE, ErrorCode.STALE_MEMBER_EPOCH]),
        ("4.3", "a", 0, [ErrorCode.STALE_MEMBER_EPOCH] * 2),
        ("4.3", "a", 3, [ErrorCode.STALE_MEMBER_EPOCH] * 2),
    ],
)
def test_a_commit_is_held_against_the_members_epoch_since_4_3_partition_by_partition(kafka: str, member: str, epoch: int, errors: list[ErrorCode]) -> None:
    """GC-10: a has had t-0 since epoch 1; t-3 is no longer its own."""
    members = Members(kafka=kafka, group_consumer_assignment_interval_ms=0)
    members.join("a")
    members.join("b")
    members.beat("a", 1)
    members.beat("a", 1, t(0, 1))

    assert members.commit(member, epoch, 0, 3) == errors


def test_what_is_pending_revocation_may_be_committed_still() -> None:
    members = Members()
    members.join("a")
    members.join("b")
    members.beat("a", 1)

    assert members.commit("a", 1, 0, 3) == [NONE, NONE]


@pytest.mark.parametrize(
    ("member", "epoch", "error"),
    [("a", 1, NONE), ("a", 7, ErrorCode.ILLEGAL_GENERATION), ("nobody", 1, ErrorCode.UNKNOWN_MEMBER_ID), ("", -1, NONE)],
)
def test_a_transaction_is_told_of_a_stale_epoch_as_of_an_illegal_generation(member: str, epoch: int, error: ErrorCode) -> None:
    """GC-3; who says nothing about itself is fenced by nobody."""
    members = Members()
    members.join("a")

    assert members.commit_in_transaction(member, epoch) is error


@pytest.mark.parametrize(
    ("member", "epoch", "error"), [("a", 1, NONE), ("a", 2, ErrorCode.STALE_MEMBER_EPOCH), ("nobody", 1, ErrorCode.UNKNOWN_MEMBER_ID), ("", -1, NONE)]
)
def test_a_fetch_of_offsets_is_held_against_the_epoch_too(member: str, epoch: int, error: ErrorCode) -> None:
    members = Members()
    members.join("a")

    assert members.ask(OffsetFetchRequest(GROUP, ("t-0",), True, member, epoch)).error is error


def test_a_group_without_members_takes_commits_from_anybody() -> None:
    members = Members()
    members.join("a")
    members.beat("a", -1)

    assert members.commit("", -1) == [NONE]


# Releases, and what outlives a coordinator.


def test_brokers_before_4_0_do_not_know_the_protocol() -> None:
    assert Members(kafka="3.9").join("a").error is ErrorCode.UNSUPPORTED_VERSION


@pytest.mark.parametrize(("kafka", "assignment"), [("4.2", t(0, 1)), ("4.3", None)])
def test_since_4_3_a_target_is_made_once_in_an_interval(kafka: str, assignment: tuple[str, ...] | None) -> None:
    """group.consumer.assignment.interval.ms: until then the members go towards the target before."""
    members = Members(kafka=kafka, group_consumer_assignment_interval_ms=2_000)
    members.join("a")
    members.join("b")
    assert outcome(members.beat("a", 1)) == (1, assignment)

    members.cluster.run_for(2_000)
    assert outcome(members.beat("a", 1)) == (1, t(0, 1) if assignment is None else None)


def test_an_assignor_that_no_broker_has_is_refused() -> None:
    assert Members().join("a", assignor="mine").error is ErrorCode.UNSUPPORTED_ASSIGNOR


def test_the_next_coordinator_knows_the_group() -> None:
    """Its records are in the log before a member is told anything."""
    members = Members()
    members.join("a")
    members.join("b")
    members.cluster.crash(members.coordinator)
    members.cluster.run_for(20_000)
    members.coordinator = members.cluster.find("group", GROUP)

    assert outcome(members.beat("a", 1)) == (1, t(0, 1))
    assert outcome(members.beat("a", 1, t(0, 1))) == (2, None)
    assert outcome(members.beat("b", 2)) == (2, t(2, 3))


# Assignors.

ONE = {"t": list(t(0, 1, 2, 3, 4))}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, {"a": t(0, 1), "b": t(2, 3, 4)}),
        ({"a": t(0, 1, 2, 3, 4)}, {"a": t(0, 1, 2), "b": t(3, 4)}),
        ({"b": t(0, 1, 2, 3, 4)}, {"a": t(3, 4), "b": t(0, 1, 2)}),
        ({"a": t(4), "b": t(0, 2)}, {"a": t(4, 1), "b": t(0, 2, 3)}),
    ],
)
def test_the_uniform_assignor_lets_members_keep_what_they_had(before: dict[str, tuple[str, ...]], expected: dict[str, tuple[str, ...]]) -> None:
    assert assign_uniformly([("a", "", ("t",)), ("b", "", ("t",))], ONE, before) == expected


def test_a_consumer_may_ask_for_what_brokers_have() -> None:
    assert tuple(SERVER_ASSIGNORS) == REMOTE_ASSIGNORS


def test_the_range_assignor_deals_anew_by_instance_then_by_name() -> None:
    members = [("b", "", ("t",)), ("z", "i1", ("t",)), ("a", "", ("t", "u"))]

    assert assign_by_ranges(members, ONE | {"u": ["u-0"]}, {"b": t(0)}) == {"z": t(0, 1), "a": (*t(2, 3), "u-0"), "b": t(4)}


# Properties: members that do as they are told, in any order, and some that vanish.


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["4.0.1", "4.1.2", "4.2"]),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["join", "beat", "acknowledge", "vanish"]), st.integers(0, 3)), max_size=60),
)
def test_no_two_members_may_ever_have_the_same_partition_and_in_the_end_each_has_an_owner(kafka: str, size: int, steps: list[tuple[str, int]]) -> None:
    group, profile = ConsumerGroup(GROUP), broker_profile(kafka)
    owned: dict[str, tuple[str, ...]] = {}
    """What each really has: less at once, more when it hears so."""

    def beat(name: str, says: tuple[str, ...] | None) -> None:
        member = group.members.get(name)
        if member is None:
            member = ConsumerMember(name, "")
            member.topics, member.rebalance_timeout_ms, says = ("t",), 1_000, ()
            group.add(member)
            group.epoch += 1
        if group.notice_sizes(lambda topic: size):
            group.epoch += 1
        if group.target_epoch < group.epoch:
            group.assign(0)
        group.reconcile(profile, member, says, 0)
        owned[name] = tuple(member.assigned) if says is not None else tuple(p for p in owned[name] if p in member.assigned or p in member.revoking)

    def look() -> None:
        has = [partition for name, partitions in owned.items() for partition in partitions if name in group.members]
        assert len(has) == len(set(has)), owned

    for do, number in steps:
        name = f"m{number}"
        if do == "vanish" and name in group.members:
            group.remove(group.members[name])
            del owned[name]
        elif do == "join" or name in group.members:
            beat(name, owned.get(name) if do == "acknowledge" else None)
        look()
    for _ in range(4):
        for name in list(group.members):
            kept = tuple(partition for partition in owned[name] if partition in group.members[name].assigned)
            owned[name] = kept
            beat(name, kept)
            look()
    if group.members:
        assert sorted(p for partitions in owned.values() for p in partitions) == list(t(*range(size)))
        assert all(member.state is Reconciling.STABLE for member in group.members.values())
