"""The controller under any sequence of requests, crashes and silences."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ksim_models.facts import PartitionChanged
from ksim_models.machine import Asked, Crashed, Received, Restarted, Wake
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionReassignmentsRequest,
    AlterPartitionRequest,
    BrokerHeartbeatRequest,
    BrokerRegistrationRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    MetadataFetchRequest,
)
from ksim_models.profiles import broker_profile
from ksim_models.units import s
from lone_controller import CAUGHT_UP, LoneController

NAMES = ["1", "2", "3", "4"]
BROKER = st.sampled_from(NAMES)
STEP = st.one_of(
    st.tuples(st.just("pass"), st.integers(0, 4_000_000)),
    st.tuples(st.just("heartbeat"), BROKER, st.booleans(), st.sampled_from([False, False, True]), st.sampled_from([(), (), ("t-0",)])),
    st.tuples(st.just("elect"), st.integers(0, 1), st.sampled_from(["preferred", "unclean"])),
    st.tuples(st.just("reassign"), st.integers(0, 1), st.permutations(NAMES), st.integers(1, 4)),
    st.tuples(st.just("configure"), st.sampled_from(["topic", "broker"]), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("register"), BROKER, st.booleans()),
    st.tuples(st.just("alter"), st.integers(0, 1), st.sets(BROKER), st.integers(-1, 1)),
    st.tuples(st.just("fetch"), BROKER, st.integers(0, 12)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("restart")),
)
VERSIONS = st.sampled_from(["3.5", "3.8", "3.9", "4.0", "4.3"])
SETTINGS = st.sampled_from([(), (("min.insync.replicas", "2"),), (("unclean.leader.election.enable", "true"),)])


def play(version: str, given: tuple[tuple[str, str], ...], steps: list[tuple[object, ...]], *, wakes: int) -> LoneController:
    """Nothing is awaited, so that requests meet uncommitted changes; `wakes` is how often an alarm rings for nothing before every step."""
    cluster = LoneController(version, brokers=NAMES, assignment=[("1", "2", "3"), ("2", "3", "1")], given=given)
    running = True
    for step in steps:
        for _ in range(wakes):
            cluster.tell(Wake())
        for name in cluster.epochs:  # What a broker knows of its epoch is what is committed or will be.
            cluster.epochs[name] = cluster.controller._log.brokers[name].broker_epoch
        match step:
            case ("pass", int(duration)):
                cluster.until(cluster.now + duration)
            case ("heartbeat", str(broker), bool(want_fence), bool(want_shut_down), tuple(offline)):
                beat = BrokerHeartbeatRequest(broker, cluster.epochs[broker], CAUGHT_UP, want_fence, want_shut_down, offline)
                cluster.tell(Received(f"{broker} -> controller", beat))
            case ("elect", int(number), str(kind)) if running:
                cluster.tell(Asked(ElectLeadersRequest(f"t-{number}", kind)))
            case ("reassign", int(number), list(order), int(count)) if running:
                cluster.tell(Asked(AlterPartitionReassignmentsRequest(f"t-{number}", tuple(order[:count]))))
            case ("configure", str(kind), str(minimum)) if running:
                name = "t" if kind == "topic" else ""
                cluster.tell(Asked(IncrementalAlterConfigsRequest(kind, name, (("min.insync.replicas", minimum),))))
            case ("register", str(broker), bool(clean)):
                cluster.incarnations[broker] += 1
                previous = cluster.epochs[broker] if clean else -1
                cluster.tell(Received(f"{broker} -> controller", BrokerRegistrationRequest(broker, cluster.incarnations[broker], previous)))
            case ("alter", int(number), set(members), int(behind)):
                state = cluster.controller.state_of(f"t-{number}")
                sender = state.leader or "1"
                isr = tuple((member, -1) for member in sorted({sender, *members}))
                item = AlterPartitionItem(state.partition, state.leader_epoch, state.partition_epoch + behind, isr, recovering=False)
                cluster.tell(Received(f"{sender} -> controller", AlterPartitionRequest(sender, cluster.epochs[sender], (item,))))
            case ("fetch", str(broker), int(offset)):
                cluster.tell(Received(f"{broker} -> controller", MetadataFetchRequest(broker, offset)))
            case ("crash",) if running:
                cluster.tell(Crashed())
                running = False
            case ("restart",) if not running:
                cluster.tell(Restarted())
                running = True
    cluster.until(cluster.now + s(1))
    return cluster


@given(VERSIONS, SETTINGS, st.lists(STEP, max_size=30))
def test_the_committed_states_of_every_partition_keep_the_invariants(version: str, given: tuple[tuple[str, str], ...], steps: list[tuple[object, ...]]) -> None:
    """INV-6, INV-7."""
    elr_is_on = broker_profile(version).eligible_leader_replicas

    cluster = play(version, given, steps, wakes=0)

    for name in ("t-0", "t-1"):
        changes = [fact for _, fact in cluster.facts if isinstance(fact, PartitionChanged) and fact.partition == name]
        assert [change.partition_epoch for change in changes] == list(range(1, len(changes) + 1))
        assert all(first.leader_epoch <= second.leader_epoch for first, second in itertools.pairwise(changes))
        for change in changes:
            assert set(change.isr) <= set(NAMES)
            assert change.leader in ("", *change.isr)
            assert change.isr or elr_is_on
            assert not set(change.isr) & set(change.elr)
            assert not change.elr or len(change.isr) < 3
        state = cluster.controller.state_of(name)
        assert {*state.isr, *state.adding, *state.removing} <= set(state.replicas)
        assert len(state.replicas) == len(set(state.replicas)) > len(state.removing)
        assert not state.leader or cluster.controller._log.may_lead(state.leader, name)


@given(VERSIONS, SETTINGS, st.lists(STEP, max_size=30))
def test_an_alarm_that_rings_for_nothing_changes_no_fact(version: str, given: tuple[tuple[str, str], ...], steps: list[tuple[object, ...]]) -> None:
    """The promise of `wake_at`, which `until` also asserts after every alarm."""
    calm, woken = play(version, given, steps, wakes=0), play(version, given, steps, wakes=2)

    assert calm.facts == woken.facts
    assert calm.sent == woken.sent
