"""Several controllers in a simulation: fail-over, and what the brokers do without a controller."""

from __future__ import annotations

import pytest

from ksim.explanation import explain
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Acked, BrokerChanged, ControllerChanged, PartitionChanged
from ksim_models.messages import NoOpRecord
from ksim_models.raft_roles import Role
from ksim_models.units import ms, s
from quorum import LivingQuorum

SLOW = """
kafka = "4.1"
seed = 3
cluster.controllers = 3
[topics.t]
replication = 3
[[workload]]
topic = "t"
records = 100
every = "200ms"
[[fault]]
at = "1s"
do = "slow"
between = ["controller-1", "controller-2"]
latency = "{latency}"
[[fault]]
at = "1s"
do = "slow"
between = ["controller-1", "controller-3"]
latency = "{latency}"
[[fault]]
at = "2s"
do = "crash"
who = "broker-3"
"""


@pytest.mark.parametrize("kafka", ["3.3", "3.7", "3.9", "4.0", "4.1", "4.3"])
@pytest.mark.parametrize("controllers", [3, 5])
def test_another_controller_takes_over_within_seconds_when_the_active_one_crashes(kafka: str, controllers: int) -> None:  # KC-85
    quorum = LivingQuorum(kafka, controllers=controllers)
    quorum.until(s(1))
    assert quorum.active == "controller-1"

    quorum.loop.crash("controller-1")
    quorum.until(s(2))
    assert quorum.active == ""
    quorum.until(s(16))

    assert quorum.active in [f"controller-{number}" for number in range(2, controllers + 1)]
    ((at, change),) = list(quorum.changes())
    assert (change.state, change.controller) == ("active", quorum.active)
    assert s(1) + s(2) - ms(600) <= at
    assert all(broker.membership.observer.leader == quorum.active for broker in quorum.simulation.brokers)  # type: ignore[attr-defined]


def test_after_a_fail_over_a_dead_broker_gets_a_full_session() -> None:  # KC-3
    quorum = LivingQuorum("4.1")
    quorum.until(s(1))
    quorum.loop.crash("controller-1")
    quorum.loop.crash("broker-1")
    quorum.until(s(30))

    ((elected, _),) = list(quorum.changes())
    fenced = [at for at, fact in quorum.simulation.history.of(BrokerChanged) if fact.state == "fenced" and fact.broker == "broker-1"]
    assert len(fenced) == 1
    assert elected + s(9) <= fenced[0] <= elected + s(9) + ms(1_300)


def test_without_a_controller_nothing_is_decided_and_the_brokers_go_on() -> None:  # KC-16, KC-84
    quorum = LivingQuorum("4.1", records=400)
    quorum.until(s(1))
    for name in ("controller-1", "controller-2"):
        quorum.loop.crash(name)
    quorum.loop.crash("broker-3")  # A follower.
    quorum.until(s(30))

    assert quorum.active == ""
    assert [fact for _, fact in quorum.simulation.history.of(BrokerChanged, PartitionChanged)] == []
    assert all(broker.image.is_alive("broker-3") for broker in quorum.simulation.brokers if broker.running)
    quorum.loop.restart("controller-2")
    quorum.until(s(60))
    assert quorum.active in ("controller-2", "controller-3")
    assert quorum.quorum.book.isr_of("t-0") == ("broker-1", "broker-2")


def test_a_shutdown_hands_over_at_once() -> None:
    quorum = LivingQuorum("4.1")
    quorum.until(s(1))

    quorum.loop.terminate("controller-1")
    quorum.for_another(200)

    assert quorum.active in ("controller-2", "controller-3")
    assert quorum.loop.cells["controller-1"].down
    assert [(fact.controller, fact.state) for _, fact in quorum.changes()] == [("controller-1", "resigned"), (quorum.active, "active")]


@pytest.mark.parametrize(("kafka", "resigns"), [("3.6", False), ("4.1", True)])
def test_an_active_controller_that_is_cut_off_resigns_since_3_7_and_its_writes_never_count(kafka: str, resigns: bool) -> None:  # KC-86
    quorum = LivingQuorum(kafka)
    quorum.until(s(1))
    old = quorum.leader
    with quorum.isolated("controller-1"):
        quorum.until(s(12))
        assert (old.active is None) is resigns
        assert quorum.active != "controller-1"
        written = old.raft.log.end_offset
        committed = len(quorum.quorum.book.entries)
        assert written > old.raft.high_watermark, "it went on for a while"
    quorum.until(s(20))

    assert old.raft.role is Role.FOLLOWER
    assert old.raft.log.entries[:committed] == quorum.quorum.book.entries[:committed]


@pytest.mark.parametrize("kafka", ["3.9", "4.1"])
def test_a_voter_that_was_cut_off_disturbs_the_others_when_it_is_back_only_before_pre_votes(kafka: str) -> None:  # KC-85, KIP-996
    quorum = LivingQuorum(kafka)
    quorum.until(s(1))
    with quorum.isolated("controller-3"):
        quorum.until(s(20))
    quorum.until(s(40))

    disturbed = bool(list(quorum.changes()))
    assert disturbed is (kafka == "3.9")
    assert quorum.active


def test_a_frozen_controller_is_succeeded_and_follows_when_it_goes_on() -> None:
    quorum = LivingQuorum("4.1")
    quorum.until(s(1))
    quorum.loop.pause("controller-1")
    quorum.until(s(10))
    successor = quorum.active
    assert successor != "controller-1"
    quorum.loop.resume("controller-1")
    quorum.until(s(15))

    assert quorum.active == successor
    assert quorum.voters["controller-1"].raft.role is Role.FOLLOWER


def test_a_broker_that_restarts_without_a_controller_waits_for_one() -> None:  # KC-15
    quorum = LivingQuorum("4.1")
    quorum.until(s(1))
    for name in ("controller-1", "controller-2", "controller-3"):
        quorum.loop.power_off(name)
    quorum.loop.crash("broker-2")
    quorum.until(s(2))
    quorum.loop.restart("broker-2")
    quorum.until(s(20))
    assert quorum.simulation.broker_by_name["broker-2"].membership.epoch == -1
    for name in ("controller-1", "controller-2", "controller-3"):
        quorum.loop.restart(name)
    quorum.until(s(50))

    assert quorum.active
    assert not quorum.simulation.broker_by_name["broker-2"].membership.fenced


def test_a_slow_path_between_the_controllers_delays_what_they_commit_and_elects_nobody() -> None:
    """400 ms each way are within the fetch timeout: a broker's request is answered later, and the active controller stays."""
    quick, slow = (simulate(Scenario.loads(SLOW.format(latency=latency))) for latency in ("1ms", "400ms"))

    def fenced(run: Run) -> int:
        history = run.history
        assert not list(history.of(ControllerChanged))
        return next(at for at, fact in history.of(BrokerChanged) if fact.state == "fenced")

    assert fenced(slow) - fenced(quick) >= ms(350)


@pytest.mark.parametrize(("interval", "written"), [(500, 8), (1_000, 4), (0, 0)])
def test_the_active_controller_writes_a_no_op_record_every_metadata_max_idle_interval_ms(interval: int, written: int) -> None:  # KIP-835
    quorum = LivingQuorum("4.1", config={"metadata.max.idle.interval.ms": interval})
    quorum.until(s(1))
    before = sum(isinstance(entry.record, NoOpRecord) for entry in quorum.quorum.book.entries)
    quorum.until(s(5))

    assert sum(isinstance(entry.record, NoOpRecord) for entry in quorum.quorum.book.entries) - before == written


def test_a_new_active_controller_is_a_step_of_a_record_that_waited_for_it() -> None:  # KC-3, KC-85
    run = simulate(Scenario.load("controller-and-leader-crash"))
    ((at, change),) = list(run.history.of(ControllerChanged))
    waiting = next(fact.records[0] for moment, fact in run.history.of(Acked) if moment > at)

    steps = explain(run, int(waiting)).steps

    assert [(step.at, step.rule) for step in steps if change.controller in step.text] == [(at, "KC-3, KC-85")]


def test_of_several_controllers_the_active_one_alone_counts_as_active_and_none_until_another_is_elected() -> None:
    run = simulate(Scenario.load("controller-and-leader-crash"), measured=True)
    ((elected, change),) = list(run.history.of(ControllerChanged))
    found = run.series("500ms")
    active = {name: found.line("ActiveControllerCount", node=name) for name in ("controller-1", "controller-2", "controller-3")}
    later = elected // 1_000 + 500

    assert [line.at(4_500) for line in active.values()] == [1, 0, 0]
    assert [active[name].at(5_500) for name in ("controller-2", "controller-3")] == [0, 0]
    assert {name: active[name].at(later) for name in ("controller-2", "controller-3")} == {
        name: int(name == change.controller) for name in ("controller-2", "controller-3")
    }


CUT_OFF = """
kafka = "{kafka}"
seed = 1
cluster.controllers = 3
[topics.t]
[[workload]]
topic = "t"
for = "30s"
rate = 10
[[fault]]
at = "5s"
do = "cut"
between = ["controller-1", "controller-2"]
for = "15s"
[[fault]]
at = "5s"
do = "cut"
between = ["controller-1", "controller-3"]
for = "15s"
"""


@pytest.mark.parametrize("kafka", ["3.6", "4.3"])
def test_a_broker_whose_heartbeat_is_refused_when_it_is_too_old_to_be_repeated_sends_another(kafka: str) -> None:
    """KC-15: NodeToControllerRequestThread gives it up (onTimeout). A controller that resigns may say NOT_CONTROLLER as late as that."""
    found = simulate(Scenario.loads(CUT_OFF.format(kafka=kafka)))

    states = {fact.broker: fact.state for _, fact in found.history.of(BrokerChanged)}
    assert set(states.values()) <= {"unfenced"}
    assert found.history.of(ControllerChanged)
    assert found.verdict.records["ok"] == 300


@pytest.mark.parametrize("controllers", [1, 3])
def test_brokers_of_a_quorum_have_producer_ids_to_give_while_they_know_who_leads(controllers: int) -> None:  # TC-20, KIP-730
    text = 'kafka = "4.3"\nseed = 7\ncluster.controllers = {}\n[topics.t]\n[producers.p1]\n{}\n[[workload]]\ntopic = "t"\nrecords = 10\nevery = "5ms"\n{}'
    plain = simulate(Scenario.loads(text.format(controllers, "", "")))
    transactional = simulate(Scenario.loads(text.format(controllers, 'config.transactional.id = "a"', "transaction = { records = 5 }\n")))

    assert (plain.verdict.records["ok"], transactional.verdict.records["ok"]) == (10, 10)
