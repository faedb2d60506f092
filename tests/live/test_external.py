"""A cluster that is there already: found, used, left as it was; broker faults only by its owner's commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim import Live, LiveError, Scenario, replay
from ksim.live.ask import NewTopic
from ksim.live.cluster import KraftCluster

PLAIN = """
format = 1
title = "Somebody else's cluster"
kafka = "4.3"
seed = 1
[topics.t]
config.min.insync.replicas = 2
[producers.p1]
config.enable.idempotence = false
[[workload]]
topic = "t"
records = 20
every = "10ms"
"""
LOST = '[[fault]]\nwhen = { request = "Produce", nth = 2 }\ndo = "lose-response"\n'
CRASH = '[[fault]]\nname = "dies"\nat = "50ms"\ndo = "crash"\nwho = "broker-1"\nfor = "1s"\n'


@pytest.fixture(scope="module")
def address(live: Live) -> str:
    """Of a broker of a cluster that somebody started: here, a session of ksim that has played a scenario before."""
    live.replay(Scenario.loads(PLAIN))
    host, port = cluster_of(live).addresses["broker-2"]
    return f"{host}:{port}"


def cluster_of(live: Live) -> KraftCluster:
    assert live._cluster is not None
    return live._cluster


def topics_of(live: Live) -> tuple[str, ...]:
    return live._run(cluster_of(live).ask.metadata("broker-1")).topics


def test_client_side_and_proxy_faults_work_on_a_cluster_that_is_not_ours(address: str) -> None:
    run = replay(Scenario.loads(PLAIN + LOST), cluster=address)

    assert run.verdict.records["duplicated"] >= 1
    assert run.verdict.reasons == ()


def test_a_broker_fault_without_its_owners_commands_is_not_injected_and_said(address: str) -> None:
    run = replay(Scenario.loads(PLAIN + CRASH), cluster=address)

    assert run.verdict.verdict == "inconclusive"
    assert "--hooks" in run.verdict.reasons[0]
    assert run.verdict.records["ok"] == 20


def test_broker_faults_on_a_cluster_with_other_topics_are_refused_unless_they_are_meant(address: str, live: Live, tmp_path: Path) -> None:
    struck = tmp_path / "struck"
    hooks = tmp_path / "hooks.toml"
    hooks.write_text(f'crash = "echo {{broker}} {{id}} >> {struck}"\nrestart = "echo back >> {struck}"\n')
    live._run(cluster_of(live).ask.create_topics("broker-1", [NewTopic("not-ours", (("broker-1",),), ())]))

    with pytest.raises(LiveError, match="1 topic that ksim did not create"):
        replay(Scenario.loads(PLAIN + CRASH), cluster=address, hooks=str(hooks))
    assert not struck.exists()
    replay(Scenario.loads(PLAIN + CRASH), cluster=address, hooks=str(hooks), shared=True)

    assert struck.read_text() == "broker-1 1\nback\n"


def test_nothing_of_ours_is_left_on_a_cluster_that_is_not_ours(address: str, live: Live) -> None:
    before = topics_of(live)
    replay(Scenario.loads(PLAIN), cluster=address)

    assert topics_of(live) == before


def test_a_cluster_that_nobody_hears_from_is_told_so() -> None:
    with pytest.raises(LiveError, match=r"no Kafka broker answers at 127\.0\.0\.1:9"):
        replay(Scenario.loads(PLAIN), cluster="127.0.0.1:9")


def test_a_cluster_that_is_too_small_is_told_so(address: str) -> None:
    with pytest.raises(LiveError, match="has 3 brokers, and the scenario needs 5"):
        replay(Scenario.loads(PLAIN.replace("[topics.t]", "[cluster]\nbrokers = 5\n[topics.t]")), cluster=address)
