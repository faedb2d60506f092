"""Topics that do not exist at time zero: created on demand, waited for in vain, or impossible; with both clients. A3, KC-83."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Appended, Ended, FinalLog, PartitionChanged


def run(topic: str = "absent", *, client: str = "java", broker: dict[str, Any] | None = None, producer: dict[str, Any] | None = None, **workload: Any) -> Run:
    return simulate(
        Scenario(
            title="absent",
            kafka="4.3",
            client=client,
            seed=7,
            cluster={"config": broker or {}},
            topics={topic: {"exists": False}},
            producers={"p1": {"config": producer or {}}},
            workload=[{"topic": topic, "records": 5, "every": "20ms"} | workload],
        )
    )


@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_the_first_client_that_asks_has_the_topic_created(client: str) -> None:
    found = run(client=client, broker={"num.partitions": 3, "default.replication.factor": 2})

    assert (found.verdict.records["ok"], found.verdict.verdict) == (5, "held")
    created = [fact for _, fact in found.history.of(PartitionChanged) if fact.why == "created on demand"]
    assert [(fact.partition, len(fact.isr)) for fact in created] == [("absent-0", 2), ("absent-1", 2), ("absent-2", 2)]
    assert len([log for _, log in found.history.of(FinalLog)]) == 6
    assert found.metrics.latency_ms["max"] > 25, "the controller commits after its linger, and the client looks again after its backoff"


def test_a_topic_that_nobody_waits_for_any_more_is_created_all_the_same() -> None:
    """The run ends when its replicas are there."""
    workload = {"topic": "absent", "records": 1, "every": "0ms"}
    fault = {"do": "shutdown", "who": "p1", "at": "4ms"}
    config = {"max.block.ms": 0}
    scenario = Scenario(title="gone", seed=2, topics={"absent": {"exists": False}}, producers={"p1": {"config": config}}, workload=[workload], fault=[fault])

    found = simulate(scenario)

    assert found.metrics.errors == {"TimeoutException": 1}
    assert [log.partition for _, log in found.history.of(FinalLog)] == ["absent-0"]


def test_a_topic_is_created_once_however_often_it_is_asked_for() -> None:
    found = run(producer={"retry.backoff.ms": 1, "retry.backoff.max.ms": 1})

    assert len([fact for _, fact in found.history.of(PartitionChanged) if fact.why == "created on demand"]) == 1
    assert len(list(found.history.of(Appended))) > 0


@pytest.mark.parametrize(
    ("client", "producer", "error"),
    [("java", {"max.block.ms": 2_000}, "TimeoutException"), ("librdkafka", {}, "UNKNOWN_TOPIC_OR_PART")],
    ids=["java", "librdkafka"],
)
@pytest.mark.parametrize("broker", [{"auto.create.topics.enable": False}, {"default.replication.factor": 4}], ids=["not on demand", "too few brokers"])
def test_without_a_topic_every_record_ends_with_the_clients_own_error(client: str, producer: dict[str, Any], error: str, broker: dict[str, Any]) -> None:
    found = run(client=client, broker=broker, producer=producer)

    assert found.metrics.errors == {error: 5}
    assert (found.verdict.records["absent"], found.verdict.verdict) == (5, "held"), "nothing was lost, and nothing hangs"
    assert [fact.quiet for _, fact in found.history.of(Ended)] == [True]


@pytest.mark.parametrize(
    ("client", "errors"), [("java", {"InvalidTopicException": 5}), ("librdkafka", {"TOPIC_EXCEPTION": 1, "_UNKNOWN_TOPIC": 4})], ids=["java", "librdkafka"]
)
def test_a_name_that_no_topic_can_have_is_refused_without_waiting(client: str, errors: dict[str, int]) -> None:
    """As measured: librdkafka's first record waits for the topic and hears the broker's error, produce() refuses the others itself."""
    found = run("a b", client=client)

    assert found.metrics.errors == errors
    assert found.metrics.unavailable_ms < 1_000


def test_a_record_may_name_a_partition_that_the_created_topic_does_not_have() -> None:
    found = run(producer={"max.block.ms": 1_000}, partition=2)

    assert found.metrics.errors == {"TimeoutException": 5}
