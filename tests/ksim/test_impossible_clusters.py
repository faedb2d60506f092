"""Clusters that Kafka would refuse, and those that it takes though they will not do what one expects: both are said."""

from __future__ import annotations

import pytest

from ksim.problems import ScenarioError
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.transcript import tell
from ksim_models.facts import Fault, GaveUp
from ksim_models.units import ms, s

HEAD = 'title = "a test"\nkafka = "4.3"\nseed = 7\n'
WORKLOAD = '[[workload]]\ntopic = "t"\nrecords = 5\nevery = "1ms"\n'


def notes(text: str, kafka: str = "4.3") -> list[str]:
    return [note for note in Scenario.loads(HEAD.replace("4.3", kafka) + text).check().notes if "BP-26" in note]


def alter(target: str, minimum: int) -> str:
    return f'[[fault]]\nname = "{target}"\ndo = "alter"\ntarget = "{target}"\nconfig.min.insync.replicas = {minimum}\nat = "1s"\n'


@pytest.mark.parametrize(("kafka", "effect"), [("3.6", "every write with acks=all is refused"), ("3.7", "3 count instead")])
def test_bp_26_a_minimum_above_the_replicas_is_legal_and_said_also_where_it_is_altered(kafka: str, effect: str) -> None:
    told = notes("[topics.t]\n" + WORKLOAD + alter("t", 4), kafka)

    assert told == [f"fault t: topic t: min.insync.replicas=4 is larger than its 3 replicas: {effect} (BP-26)"]
    assert notes("[topics.t]\n" + WORKLOAD + alter("t", 3), kafka) == []


def test_bp_26_an_alteration_of_all_brokers_concerns_the_topics_that_have_no_minimum_of_their_own() -> None:
    text = "[topics.t]\nreplication = 2\n[topics.u]\nconfig.min.insync.replicas = 1\n" + WORKLOAD + alter("brokers", 3)

    assert notes(text) == ["fault brokers: topic t: min.insync.replicas=3 is larger than its 2 replicas: 2 count instead (BP-26)"]


def absent(replication: int) -> Run:
    text = f"[cluster]\nbrokers = 2\nconfig.default.replication.factor = {replication}\n[topics.t]\nexists = false\n[producers.p1]\nconfig.max.block.ms = 500\n"
    return simulate(Scenario.loads(HEAD + text + WORKLOAD))


def test_a_topic_that_would_need_more_brokers_than_there_are_is_never_created() -> None:
    """InvalidReplicationFactorException, which only the asking broker hears of."""
    two, three = absent(2), absent(3)

    assert (two.verdict.records["ok"], three.verdict.records["refused"]) == (5, 5)
    assert any("nobody can create it: default.replication.factor=3 is more than 2 brokers can hold" in note for note in three.plan.notes)
    assert not any("nobody can create it" in note for note in two.plan.notes)


RESTART = '[[fault]]\nname = "again"\ndo = "restart"\nwho = "broker-1"\nat = "90s"\n'
CRASH = '[[fault]]\nname = "crash"\ndo = "crash"\nwho = "broker-1"\nat = "1s"\nfor = "5s"\n'


def test_a_broker_that_is_back_cannot_restart_unless_something_may_keep_it_down() -> None:
    """KC-1: without a controller it ends again after a minute."""
    away = '[[fault]]\nname = "away"\ndo = "crash"\nwho = "controller-1"\nat = "1s"\nfor = "80s"\n'
    with pytest.raises(ScenarioError, match="broker-1 runs again at that moment"):
        Scenario.loads(HEAD + "[topics.t]\n" + WORKLOAD + CRASH + RESTART)

    found = simulate(Scenario.loads(HEAD + "[topics.t]\n" + WORKLOAD + CRASH + away + RESTART))

    assert [fact.phase for _, fact in found.history.of(Fault) if fact.name == "again"] == ["begin", "summary"]
    assert [at for at, _ in found.history.of(GaveUp)] == [s(6) + ms(2_500) + s(60)]
    assert any("broker-1 could not reach the controller for initial.broker.registration.timeout.ms, and ends by itself" in line for line in tell(found.history))
