"""The proxy before real brokers: no client goes around it, every frame of both clients can be read, links can be cut, and a cut swallows new connections."""

from __future__ import annotations

from typing import Any

import pytest

from ksim import Live, Run, Scenario
from ksim_models.facts import Connected, Disconnected, Fault, PartitionChanged, Sent
from ksim_models.units import s

pytestmark = pytest.mark.slow  # `make live ARGS="-m live"` runs these too.

CLIENTS = ("java", "librdkafka")


def play(live: Live, *faults: dict[str, Any], client: str = "java", records: int = 40) -> Run:
    scenario = Scenario(
        format=1,
        kafka="4.3",
        client=client,
        seed=1,
        cluster={"config": {"replica.lag.time.max.ms": 1500, "broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500}},
        topics={"payments": {"replication": 3, "config": {"min.insync.replicas": 1}}},
        producers={"p1": {"config": {"enable.idempotence": True}}},
        workload=[{"topic": "payments", "records": records, "every": "20ms", "size": 100}],
        fault=list(faults),
    )
    return live.replay(scenario)


def facts(run: Run, *kinds: type) -> list[Any]:
    return [fact for _, fact in run.history.of(*kinds)]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_frame_of_a_client_can_be_read(live: Live, client: str) -> None:
    run = play(live, {"do": "answer", "error": "NOT_LEADER_OR_FOLLOWER", "when": {"request": "Produce", "topic": "payments"}}, client=client)

    assert {kind: run.verdict.records[kind] for kind in ("acked", "ok")} == {"acked": 40, "ok": 40}
    assert [fact.phase for fact in facts(run, Fault)] == ["hit", "summary"]
    assert sum(len(fact.records) for fact in facts(run, Sent) if fact.attempt == 1) == 40


@pytest.mark.parametrize("client", CLIENTS)
def test_the_exchanges_before_the_first_record_can_be_hit_too(live: Live, client: str) -> None:
    apis = ("ApiVersions", "InitProducerId")
    run = play(live, *({"name": api, "do": "lose-response", "when": {"request": api}} for api in apis), client=client, records=5)

    assert run.verdict.records["ok"] == 5
    assert {fact.why for fact in facts(run, Disconnected)} >= set(apis)


@pytest.mark.parametrize("client", CLIENTS)
def test_who_connects_in_a_cut_hears_nothing_until_it_is_mended(live: Live, client: str) -> None:
    run = play(live, {"do": "cut", "at": "0s", "for": "2s", "between": ["p1", "brokers"]}, client=client)
    moments = [at for at, _ in run.history.of(Connected)]

    assert moments
    assert min(moments) >= s(2)
    assert run.verdict.records["ok"] == 40


def test_a_cut_between_two_brokers_takes_the_follower_out_of_the_isr(live: Live) -> None:
    run = play(live, {"do": "cut", "at": "200ms", "for": "3s", "between": ["leader(payments-0)", "replica(payments-0, 1)"]})
    sizes = [len(fact.isr) for fact in facts(run, PartitionChanged) if fact.partition == "payments-0"]

    assert 2 in sizes
    assert sizes[-1] == 3
    assert run.verdict.records["ok"] == 40


def test_a_fetch_of_a_follower_can_be_lost(live: Live) -> None:
    run = play(live, {"do": "lose-response", "when": {"response": "Fetch", "to": "leader(payments-0)", "nth": 2}})

    assert len([fact for fact in facts(run, Fault) if fact.phase == "hit"]) == 1
    assert run.verdict.records["ok"] == 40


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_goes_around_the_proxy_to_a_new_leader(live: Live, client: str) -> None:
    """It is told of it in a refusal (KIP-951) or in metadata, while records flow."""
    run = play(live, {"do": "cut", "at": "500ms", "for": "5s", "between": ["leader(payments-0)", "controller"]}, client=client, records=250)
    sent = facts(run, Sent)
    leaders = dict.fromkeys(fact.leader for fact in facts(run, PartitionChanged) if fact.partition == "payments-0")

    assert run.verdict.records["ok"] == 250
    assert {number for fact in sent for number in fact.records} == set(range(250))
    assert dict.fromkeys(fact.broker for fact in sent) == dict.fromkeys(["broker-1", *leaders])
    assert len(leaders) == 1
