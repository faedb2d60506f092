"""[cluster] racks: where replicas are placed, and whom rack(name) names."""

from __future__ import annotations

import pytest

from ksim import Scenario, ScenarioError, simulate
from ksim_models.facts import Fault

TEXT = """
kafka = "4.3"
seed = 1
[cluster]
brokers = 4
{racks}
[topics.payments]
partitions = 2
replication = 2
[[workload]]
topic = "payments"
records = 100
every = "10ms"
{fault}
"""
CRASH = '[[fault]]\nat = "300ms"\ndo = "crash"\nwho = "rack({})"\nfor = "1s"'


def scenario(racks: str, fault: str = "") -> Scenario:
    return Scenario.loads(TEXT.format(racks=racks, fault=fault))


def test_the_replicas_of_a_partition_stand_in_different_racks() -> None:
    plan = scenario('racks = ["a", "a", "b", "b"]').plan(None)

    assert plan.topics[0].assignment == (("broker-1", "broker-3"), ("broker-3", "broker-2"))
    assert [dict(broker.given)["broker.rack"] for broker in plan.brokers] == ["a", "a", "b", "b"]
    assert scenario("").plan(None).topics[0].assignment == (("broker-1", "broker-2"), ("broker-2", "broker-3"))


def test_a_fault_strikes_all_brokers_of_a_rack() -> None:
    run = simulate(scenario('racks = ["a", "a", "b", "b"]', CRASH.format("b")))

    begun = next(fact for _, fact in run.history.of(Fault) if fact.phase == "begin")
    assert begun.resolved == ("broker-3", "broker-4")


@pytest.mark.parametrize(
    ("racks", "fault", "words"),
    [
        ('racks = ["a", "b"]', "", "one name for each of the 4 brokers"),
        ('racks = "a"', "", "one name for each of the 4 brokers"),
        ('racks = ["a", "a", "b", "b"]', CRASH.format("c"), "no broker stands in this rack"),
        ("", CRASH.format("a"), "no broker stands in this rack"),
    ],
)
def test_racks_that_cannot_be_are_refused(racks: str, fault: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scenario(racks, fault).plan(None)
