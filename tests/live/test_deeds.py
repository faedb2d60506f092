"""What is done to topics and disks on real brokers: a topic created again, records deleted, a log directory lost."""

from __future__ import annotations

from typing import Any

import pytest

from ksim import Live, Run, Scenario
from ksim.live import disks
from ksim.live.processes import home, own_folder
from ksim_models.facts import BrokerChanged, Fault, LogStartMoved, PartitionChanged, TopicChanged

pytestmark = pytest.mark.slow  # `make live ARGS="-m live"` runs these too.


def play(live: Live, *faults: dict[str, Any], topic: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, records: int = 300) -> Run:
    scenario = Scenario(
        format=1,
        kafka="4.3",
        seed=1,
        cluster={"config": {"broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500, **(cluster or {})}},
        topics={"payments": topic or {}},
        producers={"p1": {}},
        workload=[{"topic": "payments", "records": records, "every": "20ms"}],
        fault=list(faults),
    )
    return live.replay(scenario)


def facts(run: Run, *kinds: type) -> list[Any]:
    return [fact for _, fact in run.history.of(*kinds)]


def test_a_topic_is_deleted_and_created_again(live: Live) -> None:
    run = play(live, {"do": "recreate-topic", "at": "2s", "topic": "payments"})
    records = run.verdict.records

    assert [fact.state for fact in facts(run, TopicChanged)] == ["deleted", "created"]
    assert [fact.phase for fact in facts(run, Fault)] == ["begin", "end", "summary"]
    assert (records["acked"], records["lost"]) == (300, 0)
    assert 0 < records["removed"] == 300 - records["ok"]


def test_the_leader_deletes_records(live: Live) -> None:
    run = play(live, {"do": "delete-records", "at": "2s", "partition": "payments-0", "before": 50})

    assert facts(run, LogStartMoved)[0] == LogStartMoved("broker-1", "payments-0", 50, "delete-records")
    assert {kind: run.verdict.records[kind] for kind in ("ok", "removed", "lost")} == {"ok": 250, "removed": 50, "lost": 0}
    assert next(fact.touched for fact in facts(run, Fault) if fact.phase == "summary") > 0


@pytest.mark.parametrize(("before", "why"), [(10_000, "OFFSET_OUT_OF_RANGE"), (0, "the log starts at 0 already")])
def test_what_cannot_be_deleted_is_not_and_the_history_says_why(live: Live, before: int, why: str) -> None:
    run = play(live, {"do": "delete-records", "at": "1s", "partition": "payments-0", "before": before}, records=100)

    assert [why in fact.why for fact in facts(run, Fault) if fact.phase == "not-injected"] == [True]
    assert run.verdict.records["ok"] == 100


@pytest.mark.parametrize("do", ["disk-error", "disk-full"])
def test_a_broker_without_a_disk_ends_and_comes_back_when_it_is_repaired(live: Live, do: str) -> None:
    run = play(live, {"do": do, "at": "2s", "who": "broker-1", "for": "8s"}, topic={"config": {"min.insync.replicas": 2}})
    states = [fact.state for fact in facts(run, BrokerChanged) if fact.broker == "broker-1"]

    assert states[0] == "fenced"
    assert states[-1] == "unfenced"
    assert facts(run, PartitionChanged)[0].leader == "broker-2"
    assert run.verdict.records["ok"] == 300


def test_a_broker_that_loses_one_of_two_log_directories_lives_on_with_the_other(live: Live) -> None:
    own_folder(home())
    if why := disks.why_not(2, home()):
        pytest.skip(why)
    fault = {"do": "disk-error", "at": "2s", "who": "broker-1", "partition": "payments-1"}
    run = play(live, fault, topic={"assignment": [[1, 2, 3], [1, 2, 3]], "config": {"min.insync.replicas": 2}}, cluster={"log.dirs": "/one,/two"})
    moved = [fact for fact in facts(run, PartitionChanged) if fact.why == "election"]

    assert [(fact.partition, fact.leader) for fact in moved[:1]] == [("payments-1", "broker-2")]
    assert run.verdict.records["ok"] == 300
