"""Classic groups without a cluster: who joins, who is fenced, who is taken for dead, and what comes of it when the group cannot be written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE
from ksim_models.errors import ErrorCode as E
from ksim_models.group_membership import GroupMembership
from ksim_models.groups import Group, GroupState
from ksim_models.transaction_messages import (
    HeartbeatRequest,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
    SyncGroupResponse,
)
from ksim_models.units import NEVER, Micros, ms, s

REBALANCE_MS, SESSION_MS = 20_000, 10_000


class Coordinator:
    """Of one group; its log answers when the test says so. A connection for each member, called as it is."""

    def __init__(self, *, is_new: bool = True, delay_ms: int = 0) -> None:
        self.replies: list[tuple[str, object]] = []
        self.stored: list[Callable[[E, Micros], None]] = []
        self.now: Micros = 0
        self.group = Group("g")
        config = BrokerConfig(group_initial_rebalance_delay_ms=delay_ms)
        self.machine = GroupMembership(config, lambda to, answer: self.replies.append((to, answer)), self._store, is_new=is_new)

    def _store(self, group: Group, told: Callable[[E, Micros], None], now: Micros) -> None:
        self.stored.append(told)

    def write(self, error: E = NONE) -> None:
        """What waits for the log is written, or is not."""
        waiting, self.stored = self.stored, []
        for told in waiting:
            told(error, self.now)

    def join(self, who: str, member: str = "", *, instance: str = "", protocols: tuple[str, ...] = ("range",), topics: tuple[str, ...] = ("t",)) -> None:
        request = JoinGroupRequest("g", member, who, instance, topics, SESSION_MS, REBALANCE_MS, protocols)
        self.machine.join(self.group, who, request, f"id-{who}", self.now)

    def come(self, who: str, **more: Any) -> None:
        """With the id that it is given."""
        self.join(who, **more)
        if not more.get("instance"):
            self.join(who, f"id-{who}")

    def sync(self, who: str, *, generation: int | None = None, instance: str = "", **assigned: str) -> None:
        given = tuple((f"id-{name}", tuple(partitions.split())) for name, partitions in assigned.items())
        request = SyncGroupRequest("g", f"id-{who}", self.group.generation if generation is None else generation, instance, given)
        self.machine.sync(self.group, who, request, self.now)

    def beat(self, who: str, generation: int | None = None, *, instance: str = "") -> E:
        at = self.group.generation if generation is None else generation
        return self.machine.heartbeat(self.group, HeartbeatRequest("g", f"id-{who}", at, instance), self.now)

    def leave(self, who: str, *, instance: str = "") -> E:
        return self.machine.leave(self.group, LeaveGroupRequest("g", f"id-{who}", instance), self.now)

    def until(self, now: Micros) -> None:
        while (at := self.machine.next_at(self.group)) <= now:
            self.now = max(self.now, at)
            self.machine.wake(self.group, self.now)
        self.now = now

    def told(self) -> list[tuple[str, object]]:
        """Since the last time, in short: an error, the generation that was joined, or partitions."""
        told, self.replies = self.replies, []
        return [(to, _short(answer)) for to, answer in told]

    def stable(self, *names: str, instances: bool = False) -> None:
        """A generation of these members, the first of them leads; t-0 is the first's, t-1 the second's."""
        instance = {name: f"i-{name}" if instances else "" for name in names}
        for name in names:
            self.come(name, instance=instance[name])
        for name in names[:-1]:  # The first ones have to join again.
            if self.group.members[f"id-{name}"].joining is None:
                self.join(name, f"id-{name}", instance=instance[name])
        self.until(self.now)
        for name in reversed(names):
            assigned: dict[str, Any] = {one: f"t-{number}" for number, one in enumerate(names)}
            self.sync(name, instance=instance[name], **assigned)
        self.write()
        assert self.group.state is GroupState.STABLE
        self.told()


def _short(answer: object) -> object:
    assert isinstance(answer, JoinGroupResponse | SyncGroupResponse)
    if answer.error:
        return answer.error
    return answer.generation if isinstance(answer, JoinGroupResponse) else answer.partitions


# Joining again.


@pytest.mark.parametrize(
    ("who", "member", "instance", "answer"),
    [
        pytest.param("b", "id-b", "", 2, id="a follower that says what it said before: the generation that it is in"),
        pytest.param("a", "id-a", "", None, id="the leader: a rebalance"),
        pytest.param("b", "id-x", "", E.UNKNOWN_MEMBER_ID, id="somebody unknown"),
        pytest.param("b", "id-b", "i", E.UNKNOWN_MEMBER_ID, id="KIP-345 an instance that nobody knows"),
    ],
)
def test_who_joins_a_stable_group_again(who: str, member: str, instance: str, answer: object) -> None:
    """GroupMetadataManager.classicGroupJoinExistingMember."""
    group = Coordinator()
    group.stable("a", "b")
    group.join(who, member, instance=instance)

    assert group.told() == ([(who, answer)] if answer is not None else [])
    assert group.group.state is (GroupState.STABLE if answer is not None else GroupState.PREPARING_REBALANCE)


def test_a_follower_that_says_something_else_begins_a_rebalance() -> None:
    group = Coordinator()
    group.stable("a", "b")
    group.join("b", "id-b", topics=("u",))
    assert (group.told(), group.beat("a")) == ([], E.REBALANCE_IN_PROGRESS)
    group.join("a", "id-a")

    assert group.told() == [("a", 3), ("b", 3)]


def test_a_leader_that_did_not_get_its_answer_is_told_the_members_again() -> None:
    """While it is to assign, not when it has."""
    group = Coordinator()
    group.come("a")
    group.until(0)
    group.told()
    group.join("a", "id-a")

    ((_, answer),) = group.replies
    assert isinstance(answer, JoinGroupResponse)
    assert (answer.generation, answer.leader, answer.members) == (1, "id-a", (("id-a", "", ("t",)),))


def test_nobody_rejoins_a_group_that_is_empty() -> None:
    group = Coordinator()
    group.stable("a")
    group.leave("a")
    assert group.group.state is GroupState.EMPTY
    group.join("a", "id-a")
    group.sync("a")

    assert group.told() == [("a", E.UNKNOWN_MEMBER_ID)] * 2
    assert group.beat("a") is E.UNKNOWN_MEMBER_ID


# SyncGroup.


@pytest.mark.parametrize(
    ("state", "generation", "answer"),
    [
        pytest.param("stable", 2, ("t-1",), id="again"),
        pytest.param("stable", 1, E.ILLEGAL_GENERATION, id="of another generation"),
        pytest.param("preparing", 2, E.REBALANCE_IN_PROGRESS, id="members join"),
    ],
)
def test_what_a_member_is_told_that_asks_for_its_partitions(state: str, generation: int, answer: object) -> None:
    """GroupMetadataManager.classicGroupSync."""
    group = Coordinator()
    group.stable("a", "b")
    if state == "preparing":
        group.join("a", "id-a")
    group.sync("b", generation=generation)

    assert group.told() == [("b", answer)]


@pytest.mark.parametrize(
    ("error", "told", "state"), [(NONE, ("t-0",), GroupState.STABLE), (E.NOT_COORDINATOR, E.NOT_COORDINATOR, GroupState.PREPARING_REBALANCE)]
)
def test_an_assignment_counts_when_it_is_written(error: E, told: object, state: GroupState) -> None:
    """GroupMetadataManager.classicGroupSync: else all are told, and join again."""
    group = Coordinator()
    group.come("a")
    group.until(0)
    group.told()
    group.sync("a", a="t-0")
    assert group.told() == []
    group.write(error)

    assert group.told() == [("a", told)]
    assert group.group.state is state
    assert group.group.members["id-a"].assignment == (("t-0",) if error is NONE else ())


def test_an_assignment_that_is_written_when_another_has_joined_meanwhile_is_nobodys() -> None:
    group = Coordinator()
    group.come("a")
    group.until(0)
    group.sync("a", a="t-0 t-1")
    group.told()
    group.come("b")
    assert group.told() == [("b", E.MEMBER_ID_REQUIRED), ("a", E.REBALANCE_IN_PROGRESS)]
    group.write()

    assert (group.told(), group.group.state) == ([], GroupState.PREPARING_REBALANCE)


# Static members.


def test_a_static_member_that_comes_back_fences_the_one_that_still_waits() -> None:
    """KIP-345: it waits for a generation, or for its partitions."""
    group = Coordinator()
    group.come("a", instance="i")
    group.until(0)
    group.told()
    group.sync("a", instance="i", a="t-0")
    group.join("b", instance="i")
    assert group.told() == [("a", E.FENCED_INSTANCE_ID), ("b", 2)]
    group.write()

    assert (group.told(), group.group.state) == ([], GroupState.COMPLETING_REBALANCE)
    assert group.beat("a", instance="i") is E.FENCED_INSTANCE_ID


def test_a_static_member_that_comes_back_twice_while_members_join_fences_its_first_try() -> None:
    group = Coordinator(delay_ms=3_000)
    group.join("a", instance="i")
    group.join("b", instance="i")
    assert group.told() == [("a", E.FENCED_INSTANCE_ID)]
    group.until(s(3))

    assert group.told() == [("b", 1)]


def test_a_static_member_that_knows_another_assignor_begins_a_rebalance() -> None:
    """GroupMetadataManager.updateStaticMemberThenRebalanceOrCompleteJoin: its group would choose another one now."""
    group = Coordinator()
    group.join("a", instance="i", protocols=("range", "roundrobin"))
    group.until(0)
    group.sync("a", instance="i", a="t-0")
    group.write()
    group.told()
    group.join("b", instance="i", protocols=("roundrobin", "range"))

    assert group.told() == [("b", 2)]
    assert group.group.protocol == "roundrobin"


@pytest.mark.parametrize(
    ("happens", "error", "told"),
    [
        pytest.param(None, NONE, [("c", 2)], id="it goes on with what it had"),
        pytest.param(None, E.NOT_COORDINATOR, [("c", E.NOT_COORDINATOR)], id="it could not be written"),
        pytest.param("a joins", NONE, [("c", 2)], id="completeJoinFuture: members join meanwhile: it hears of the old generation, and has to join again"),
        pytest.param("all join", NONE, [("c", 3), ("a", 3)], id="a generation has begun meanwhile: it is in it"),
        pytest.param("unloaded", E.NOT_COORDINATOR, [("c", E.NOT_COORDINATOR)], id="the group is another coordinator's: it hears so once"),
    ],
)
def test_a_static_member_that_comes_back_is_answered_when_that_is_written(happens: str | None, error: E, told: list[tuple[str, object]]) -> None:
    """KIP-345, KIP-814."""
    group = Coordinator()
    group.stable("a", "b", instances=True)
    group.join("c", instance="i-b")
    assert group.told() == []
    match happens:
        case "a joins":
            group.come("d")
            group.told()
        case "all join":
            group.join("a", "id-a", instance="i-a")
        case "unloaded":
            group.machine.unload(group.group)
    group.write(error)

    assert sorted(group.told(), key=str) == sorted(told, key=str)


def test_a_rebalance_of_static_members_none_of_whom_is_back_waits_again() -> None:
    """completeClassicGroupJoin: they are members until their sessions end, so somebody has to have joined."""
    group = Coordinator()
    group.stable("a", "b", instances=True)
    group.machine._prepare(group.group, group.now)
    group.until(ms(SESSION_MS) - 1)
    for name in ("a", "b"):
        group.beat(name, instance=f"i-{name}")
    group.until(ms(SESSION_MS * 2) - 2)
    for name in ("a", "b"):
        group.beat(name, instance=f"i-{name}")
    group.until(ms(REBALANCE_MS))

    assert group.group.join_until == ms(2 * REBALANCE_MS)
    group.join("b", "id-b", instance="i-b")
    group.until(ms(2 * SESSION_MS + SESSION_MS) + s(5))
    assert group.told() == [("b", 3)], "a's session is over, b leads"


# Who is taken for dead.


def test_a_member_that_waits_is_not_taken_for_dead_unless_it_is_new() -> None:
    """ClassicGroupMember.hasSatisfiedHeartbeat; a new one may wait for 5 minutes."""
    group = Coordinator()
    group.stable("a", "b")
    group.join("a", "id-a")
    group.until(ms(SESSION_MS) - 1)
    group.beat("b")
    group.until(ms(SESSION_MS))
    assert (group.told(), group.group.members["id-a"].expires_at) == ([], NEVER)
    group.join("b", "id-b")

    assert group.told() == [("a", 3), ("b", 3)]
    assert group.group.members["id-a"].expires_at == group.now + ms(SESSION_MS)


def test_a_member_that_leaves_while_it_waits_is_told_that_it_is_unknown() -> None:
    """removeMemberAndUpdateClassicGroup."""
    group = Coordinator()
    group.stable("a", "b")
    group.join("a", "id-a")
    assert group.leave("a") is NONE
    assert group.told() == [("a", E.UNKNOWN_MEMBER_ID)]
    group.join("b", "id-b")

    assert group.told() == [("b", 3)]
    assert group.leave("a") is E.UNKNOWN_MEMBER_ID
    assert group.leave("b", instance="i") is E.UNKNOWN_MEMBER_ID


def test_who_does_not_ask_for_its_partitions_in_time_is_out() -> None:
    """expirePendingSync."""
    group = Coordinator()
    group.come("a")
    group.until(0)
    group.come("b")
    group.join("a", "id-a")
    group.sync("a", a="t-0", b="t-1")
    group.write()
    group.told()
    for second in (9, 18):
        group.until(s(second))
        assert (group.beat("a"), group.beat("b")) == (NONE, NONE)
    group.until(ms(REBALANCE_MS))

    assert list(group.group.members) == ["id-a"]
    assert group.beat("a") is E.REBALANCE_IN_PROGRESS
    group.join("a", "id-a")
    assert group.told() == [("a", 3)]


def test_the_last_member_that_is_taken_for_dead_leaves_an_empty_group_that_is_written() -> None:
    group = Coordinator()
    group.stable("a")
    group.until(ms(SESSION_MS))

    assert (group.group.state, group.group.generation, group.group.protocol, group.group.members) == (GroupState.EMPTY, 2, "", {})
    assert len(group.stored) == 1


def test_a_coordinator_that_loses_the_group_tells_who_waits() -> None:
    """NOT_COORDINATOR: they look for another."""
    joining, syncing = Coordinator(), Coordinator()
    joining.stable("a", "b")
    joining.join("a", "id-a")
    syncing.come("a")
    syncing.until(0)
    syncing.told()
    syncing.sync("a")
    for group in (joining, syncing):
        group.machine.unload(group.group)
        assert group.told() == [("a", E.NOT_COORDINATOR)]
        assert group.group.state is GroupState.DEAD


def test_a_coordinator_that_has_loaded_a_group_gives_each_member_a_session() -> None:
    group = Coordinator()
    group.stable("a", "b")
    group.machine.loaded(group.group, s(100))

    assert group.machine.next_at(group.group) == s(100) + ms(SESSION_MS)


def test_only_members_sessions_are_kept_alive_by_commits() -> None:
    group = Coordinator()
    group.stable("a")
    group.now = s(5)
    group.machine.heard_of(group.group, "id-x", group.now)
    group.machine.heard_of(group.group, "id-a", group.now)

    assert group.machine.next_at(group.group) == s(5) + ms(SESSION_MS)
