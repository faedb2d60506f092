"""Exposure: which fault touched which batch (scenario.md section 2, "touched")."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ksim.exposure import expose
from ksim.history import History
from ksim.plan import BrokerPlan, FaultPlan, TopicPlan
from ksim_models.config import BrokerConfig
from ksim_models.facts import (
    Acked,
    Appended,
    BrokerChanged,
    Ended,
    Failed,
    Fault,
    FinalLog,
    Learned,
    Offered,
    PartitionChanged,
    Refused,
    Rejected,
    Replicated,
    Retried,
    Sent,
)

MS = 1_000
BROKERS = "broker-1", "broker-2", "broker-3"


def plan_of(*names_and_deeds: Any) -> Any:
    faults = tuple(FaultPlan(index, name, do, None, None, None) for index, (name, do) in enumerate(names_and_deeds))
    topics = (TopicPlan("payments", (BROKERS,), True, ()),)
    brokers = tuple(BrokerPlan(name, BrokerConfig()) for name in (*BROKERS, "broker-4"))
    return SimpleNamespace(
        faults=faults, told_faults=faults, topics=topics, brokers=brokers, controllers=("controller-1",), producers=(), consumers=(), workloads=()
    )


def touched(do: Any, resolved: Any, begin: Any, end: Any, *lines: Any) -> Any:
    """One fault `do` on `resolved` from `begin` to `end` (ms), beside these lines (ms, fact)."""
    told = [*lines, (begin, Fault("the fault", do, "begin", resolved, 0))]
    if end is not None:
        told.append((end, Fault("the fault", do, "end", resolved, 0)))
    return expose(history_of(*told), plan_of(("the fault", do)))[0]


def history_of(*lines: Any) -> Any:
    history = History({})
    for at, fact in sorted(lines, key=lambda line: line[0]):
        history.add(at * MS, fact)
    history.add(10_000 * MS, Ended(True, ("p1",), 0))
    return history


def batch(number: Any, at: Any, leader: Any = "broker-1", answered: Any = 6, copied: Any = 4) -> Any:
    """One record offered and sent at `at`, appended 1 ms, copied `copied` ms and acknowledged `answered` ms later (None: never)."""
    records = range(number, number + 1)
    lines = [
        (at, Offered("p1", records, at * MS, 0)),
        (at, Sent("p1", "payments-0", records, leader, "c", 1)),
        (at + 1, Appended(leader, "payments-0", "p1", records, number, 0)),
    ]
    if copied is not None:
        lines += [(at + copied, Replicated(broker, "payments-0", number + 1)) for broker in BROKERS if broker != leader]
    if answered is not None:
        lines.append((at + answered, Acked("p1", "payments-0", records, number)))
    return lines


def leads(at: Any, leader: Any, isr: Any = BROKERS) -> Any:
    return at, PartitionChanged("payments-0", leader, 1, isr, (), 1, False, "")


THREE = [*batch(0, 100), *batch(1, 200), *batch(2, 300)]


@pytest.mark.parametrize("do", ["lose-request", "lose-response", "hang", "delay", "answer"])
def test_a_frame_fault_touches_the_frames_it_hit(do: Any) -> None:
    hits = [(number, Fault("frames", do, "hit", ("broker-1 -> p1",), number)) for number in (1, 2)]

    assert expose(history_of(*hits), plan_of(("frames", do), ("other", do))) == {0: 2, 1: 0}


def test_without_faults_there_is_nothing_to_tell() -> None:
    assert expose(history_of(*THREE), plan_of()) == {}


def test_a_fault_that_never_began_touches_nothing() -> None:
    assert expose(history_of(*THREE), plan_of(("the fault", "crash"))) == {0: 0}


@pytest.mark.parametrize("do", ["crash", "pause", "power-loss"])
@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_that_is_away_touches_the_batches_that_wait_for_it_meanwhile(do: Any, broker: Any) -> None:
    assert touched(do, (broker,), 202, 280, *THREE) == 1
    assert touched(do, (broker,), 102, 302, *THREE) == 3
    assert touched(do, (broker,), 250, 290, *THREE) == 0


def test_a_broker_without_a_replica_touches_nothing() -> None:
    assert touched("crash", ("broker-4",), 0, 9_000, *THREE) == 0


def test_a_crash_after_the_acknowledgement_but_before_the_copy_touches_the_batch() -> None:
    """acks=1: acknowledged at the local append."""
    acknowledged_early = batch(0, 100, answered=2, copied=500)

    assert touched("crash", ("broker-1",), 110, 300, *acknowledged_early) == 1
    assert touched("crash", ("broker-3",), 110, 300, *acknowledged_early) == 1
    assert touched("crash", ("broker-1",), 700, 800, *acknowledged_early) == 0


def test_a_batch_sent_with_acks_0_that_the_crash_swallowed_is_touched() -> None:
    """S22: the application was told before the leader had it."""
    swallowed = [
        (100, Offered("p1", range(1), 100 * MS, 0)),
        (100, Sent("p1", "payments-0", range(1), "broker-1", "c", 1)),
        (100, Acked("p1", "payments-0", range(1), -1)),
    ]

    assert touched("crash", ("broker-1",), 101, 300, *swallowed) == 1


def test_a_batch_that_waits_for_the_old_leader_is_touched_until_its_client_knows_the_new_one() -> None:
    learned = [(0, Learned("p1", "payments-0", "broker-1", 0)), leads(150, "broker-2"), (250, Learned("p1", "payments-0", "broker-2", 1))]
    waits_in_the_client = (
        (200, Offered("p1", range(7, 8), 200 * MS, 0)),
        (260, Sent("p1", "payments-0", range(7, 8), "broker-2", "d", 1)),
        (262, Acked("p1", "payments-0", range(7, 8), 7)),
    )

    assert touched("crash", ("broker-1",), 100, 400, *learned, *waits_in_the_client) == 1
    assert touched("crash", ("broker-1",), 255, 400, *learned, *waits_in_the_client) == 0


def test_a_broker_is_away_until_the_controller_has_unfenced_it() -> None:
    states = [(at, BrokerChanged("broker-1", 2, state)) for at, state in ((110, "fenced"), (150, "registered"), (220, "unfenced"))]

    assert touched("crash", ("broker-1",), 108, 150, *THREE, *states) == 1
    assert touched("crash", ("broker-1",), 108, 150, *THREE) == 0
    assert touched("crash", ("broker-1",), 230, 250, *THREE, *states) == 0


def test_a_batch_refused_because_the_isr_is_too_small_is_touched_by_what_took_the_follower_away() -> None:
    refused = [
        (5_000, Offered("p1", range(1), 5_000 * MS, 0)),
        (5_000, Sent("p1", "payments-0", range(1), "broker-1", "c", 1)),
        (5_001, Rejected("broker-1", "payments-0", "p1", range(1), "NOT_ENOUGH_REPLICAS")),
        (5_002, Failed("p1", "payments-0", range(1), "NotEnoughReplicasException", "")),
        leads(4_000, "broker-1", ("broker-1",)),
        leads(6_000, "broker-1", ("broker-1", "broker-2")),
    ]

    assert touched("pause", ("broker-2",), 1_000, 5_500, *refused) == 1
    assert touched("pause", ("broker-2",), 6_100, 6_500, *refused) == 0


def test_a_producers_crash_touches_what_it_had_not_been_told_the_outcome_of() -> None:
    told = batch(0, 100)
    sent = batch(1, 200, answered=None)
    waiting = [(205, Offered("p1", range(2, 9), 203 * MS, 0))]

    assert touched("crash", ("p1",), 206, None, *told, *sent, *waiting) == 2
    assert touched("crash", ("p1",), 150, None, *told) == 0
    assert touched("crash", ("p2",), 206, None, *told, *sent, *waiting) == 0


def test_a_producers_pause_touches_what_was_pending_or_offered_meanwhile() -> None:
    refused = [(250, Offered("p1", range(9, 10), 250 * MS, 0)), (251, Refused("p1", range(9, 10), "TimeoutException", ""))]

    assert touched("pause", ("p1",), 103, 290, *THREE, *refused) == 3
    assert touched("pause", ("p1",), 107, 190, *THREE) == 0


@pytest.mark.parametrize("resolved", [("p1 <-> broker-1",), ("p1 -> broker-1",), ("broker-1 -> p1",), ("p1", "broker-1")])
def test_a_cut_between_client_and_leader_touches_the_batches_that_wait_for_it(resolved: Any) -> None:
    assert touched("cut", resolved, 202, 250, *THREE) == 1
    assert touched("cut", resolved, 210, 250, *THREE) == 0


def test_a_cut_between_client_and_a_follower_touches_nothing() -> None:
    assert touched("cut", ("p1 <-> broker-2",), 0, 900, *THREE) == 0
    assert touched("cut", ("p2 <-> broker-1",), 0, 900, *THREE) == 0


def test_a_cut_touches_a_batch_that_was_sent_to_a_broker_which_no_longer_leads() -> None:
    stale = [leads(50, "broker-2"), (60, Learned("p1", "payments-0", "broker-2", 1)), *batch(0, 100)]

    assert touched("cut", ("p1 <-> broker-1",), 102, 150, *stale) == 1
    assert touched("cut", ("p1 <-> broker-1",), 107, 150, *stale) == 0


def test_a_cut_between_two_brokers_touches_what_one_of_them_copies_from_the_other() -> None:
    assert touched("cut", ("broker-1 <-> broker-2",), 202, 250, *THREE) == 1
    assert touched("cut", ("broker-2 <-> broker-3",), 0, 900, *THREE) == 0
    assert touched("cut", ("broker-1 <-> broker-2",), 205, 250, *THREE) == 0


def test_a_new_leader_is_copied_from_instead_of_the_old_one() -> None:
    copied = [(at, Replicated(broker, "payments-0", 1)) for at, broker in ((104, "broker-2"), (400, "broker-3"))]
    lines = [*batch(0, 100, copied=None), *copied, leads(150, "broker-2")]

    assert touched("cut", ("broker-2 <-> broker-3",), 200, 300, *lines) == 1
    assert touched("cut", ("broker-1 <-> broker-3",), 200, 300, *lines) == 0


def test_what_a_new_leader_lacks_is_waited_for_no_more() -> None:
    lines = [*batch(0, 100, answered=2, copied=None), leads(150, "broker-2")]

    assert touched("crash", ("broker-3",), 200, 300, *lines) == 0
    assert touched("crash", ("broker-1",), 120, 300, *lines) == 1


def test_a_cut_between_broker_and_controller_touches_nothing_unless_leadership_moves() -> None:
    """KC: a broker that the controller does not hear is fenced after its session."""
    cut = ("broker-1 <-> controller-1",)
    moved = [*batch(1, 9_000, answered=900), leads(9_100, "broker-2")]

    assert touched("cut", cut, 90, 320, *THREE) == 0
    assert touched("cut", cut, 500, 9_500, *THREE, *moved) == 1
    assert touched("cut", cut, 500, 1_000, *THREE, *moved) == 1
    assert touched("cut", ("broker-3 <-> controller-1",), 500, 9_500, *THREE, *moved) == 0
    assert touched("cut", ("p1 <-> controller-1",), 500, 9_500, *THREE, *moved) == 0


def test_a_reset_touches_what_is_in_flight_at_that_instant() -> None:
    assert touched("reset", ("p1 <-> broker-1",), 203, None, *THREE) == 1
    assert touched("reset", ("p1 <-> broker-1",), 207, None, *THREE) == 0
    assert touched("reset", ("broker-1 <-> broker-3",), 202, None, *THREE) == 1
    assert touched("reset", ("broker-1 <-> broker-3",), 205, None, *THREE) == 0


def test_a_batch_put_back_into_the_queue_is_not_in_flight() -> None:
    lines = [*batch(0, 100, answered=900), (120, Retried("p1", "payments-0", range(1), "NETWORK_EXCEPTION", 1, 0))]

    assert touched("reset", ("p1 <-> broker-1",), 119, None, *lines) == 1
    assert touched("reset", ("p1 <-> broker-1",), 130, None, *lines) == 0


def test_a_controller_that_is_away_touches_the_batches_of_a_partition_without_leader() -> None:
    leaderless = [leads(150, ""), leads(250, "broker-2")]

    assert touched("crash", ("controller-1",), 160, 320, *THREE, *leaderless) == 1
    assert touched("crash", ("controller-1",), 90, 320, *THREE) == 0


def test_a_controller_that_is_away_touches_the_batches_of_a_partition_with_a_broker_down() -> None:
    down = [(190, Fault("down", "crash", "begin", ("broker-1",), 0)), (240, Fault("down", "crash", "end", ("broker-1",), 0))]
    lines = [*THREE, *down, (195, Fault("c", "pause", "begin", ("controller-1",), 0)), (290, Fault("c", "pause", "end", ("controller-1",), 0))]

    assert expose(history_of(*lines), plan_of(("down", "crash"), ("c", "pause"))) == {0: 1, 1: 1}


def test_a_fault_that_struck_a_batch_twice_touched_it_once() -> None:
    strokes = [(at, Fault("the fault", "crash", phase, ("broker-2",), 0)) for at, phase in ((102, "begin"), (103, "end"))]

    assert touched("crash", ("broker-2",), 101, 102, *THREE, *strokes) == 1


def test_a_partition_that_the_plan_does_not_know_has_no_replicas_to_wait_for() -> None:
    log = FinalLog("other-0", "broker-1", True, True, 0, 0, 0, 0, ())

    assert touched("crash", ("broker-1",), 250, 290, *THREE, (9_999, log)) == 0
