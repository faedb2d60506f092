"""Faults of what brokers ask of their controller: heartbeats, registrations, AlterPartition, each over a connection of its own."""

from __future__ import annotations

import pytest

from ksim import Run, Scenario, ScenarioError, simulate
from ksim.live.refusals import refuse_what_is_not_replayed
from ksim_models.facts import ControllerChanged, Fault, PartitionChanged

HEAD = 'kafka = "4.3"\nseed = 7\n[topics.t]\n[[workload]]\ntopic = "t"\nrecords = 100\nevery = "20ms"\n'
AWAY = '[[fault]]\nname = "away"\ndo = "pause"\nwho = "broker-3"\nat = "500ms"\nfor = "15s"\n'


def run(fault: str, head: str = HEAD) -> Run:
    return simulate(Scenario.loads(f'{head}[[fault]]\nname = "struck"\n{fault}\n'))


def hits(run: Run) -> list[tuple[int, tuple[str, ...]]]:
    return [(at // 1000, fact.resolved) for at, fact in run.history.of(Fault) if fact.name == "struck" and fact.phase in ("hit", "begin")]


def leaders(run: Run) -> list[str]:
    return [fact.leader for at, fact in run.history.of(PartitionChanged) if at > 0]


@pytest.mark.parametrize("kafka", ["3.3", "4.3"])
def test_a_broker_whose_heartbeats_are_lost_for_a_session_is_fenced(kafka: str) -> None:
    """KC-20: broker.session.timeout.ms, 9 s."""
    found = run('do = "lose-request"\nwhen = { request = "BrokerHeartbeat", from = "broker-1", every = 1 }\nfor = "12s"', HEAD.replace("4.3", kafka))

    assert leaders(found)[0] == "broker-2"
    assert {resolved for _, resolved in hits(found)} == {("broker-1 -> controller-1",)}
    assert found.verdict.records["ok"] == 100


def test_a_heartbeat_that_hangs_is_asked_again_in_time_and_nothing_else_waits_for_it() -> None:
    """KC-15: each channel has its own connection and time-out, so the broker keeps its session."""
    found = run('do = "hang"\nwhen = { request = "BrokerHeartbeat", from = "broker-1" }', HEAD.replace("20ms", "150ms"))

    assert len(hits(found)) == 1
    assert leaders(found) == []


def test_a_broker_that_is_told_of_an_error_beats_again_later() -> None:
    found = run(
        'do = "answer"\nerror = "STALE_BROKER_EPOCH"\nwhen = { request = "BrokerHeartbeat", from = "broker-1", times = 2 }', HEAD.replace("20ms", "60ms")
    )

    assert [resolved for _, resolved in hits(found)] == [("controller-1 -> broker-1",)] * 2
    assert leaders(found) == []


@pytest.mark.parametrize("deed", ['do = "lose-response"', 'do = "answer"\nerror = "UNKNOWN_SERVER_ERROR"\nprocessed = true', 'do = "lose-request"'])
def test_an_isr_change_whose_exchange_is_struck_is_asked_for_again(deed: str) -> None:
    """RP-56. broker-3 is fenced while it is away, and its leader asks for it when it has caught up."""
    found = run(f'{deed}\nwhen = {{ request = "AlterPartition", partition = "t-0" }}', HEAD + AWAY)

    (hit,) = hits(found)
    assert hit[0] > 15_000
    assert [fact.isr for _, fact in found.history.of(PartitionChanged)][-1] == ("broker-1", "broker-2", "broker-3")


def test_a_fault_may_wait_for_an_isr_change_to_be_asked_for() -> None:
    found = run('do = "crash"\nwho = "leader(t-0)"\nfor = "3s"\nwhen = { request = "AlterPartition" }', HEAD + AWAY)

    ((at, resolved),) = hits(found)
    assert at > 15_000
    assert resolved == ("broker-1",)


def test_a_registration_that_is_refused_is_tried_again() -> None:
    crash = '[[fault]]\nname = "dead"\ndo = "crash"\nwho = "broker-3"\nat = "500ms"\nfor = "1s"\n'
    found = run('do = "answer"\nerror = "DUPLICATE_BROKER_REGISTRATION"\nwhen = { request = "BrokerRegistration", times = 2 }', HEAD + crash)

    assert len(hits(found)) == 2
    assert [fact.isr for _, fact in found.history.of(PartitionChanged)][-1] == ("broker-1", "broker-2", "broker-3")


@pytest.mark.parametrize("kafka", ["3.3", "3.9", "4.3"])
def test_the_only_voter_leads_at_once_when_it_is_back(kafka: str) -> None:
    """KafkaRaftClient.initialize: when there is only a single voter, become leader immediately. And it never loses its quorum (KC-86)."""
    away = '[[fault]]\nname = "dead"\ndo = "crash"\nwho = "controller-1"\nat = "6s"\nfor = "2s"\n'
    found = run('do = "delay"\nby = "1ms"\nwhen = { request = "BrokerHeartbeat" }', HEAD.replace("4.3", kafka) + away)
    changes = [(at, fact.controller) for at, fact in found.history.of(ControllerChanged) if at > 0]

    assert all(at >= 8_000_000 for at, _ in changes)
    assert [name for at, name in changes if at < 11_000_000][-1] == "controller-1"


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ('{ request = "BrokerHeartbeat", from = "p1" }', "p1"),
        ('{ request = "AlterPartition", to = "broker-2" }', "broker-2"),
        ('{ request = "AlterPartitions" }', "Did you mean AlterPartition?"),
    ],
)
def test_who_takes_part_in_them_is_checked(when: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words.replace("?", r"\?")):
        run(f'do = "lose-request"\nwhen = {when}')


@pytest.mark.parametrize("api", ["BrokerHeartbeat", "AlterPartition", "OffsetCommit", "Heartbeat"])
def test_a_replay_refuses_by_name_what_its_proxy_does_not_know(api: str) -> None:
    plan = Scenario.loads(HEAD + f'[[fault]]\nname = "struck"\ndo = "lose-request"\nwhen = {{ request = "{api}" }}\n').plan()

    with pytest.raises(ScenarioError, match=f"struck: exchanges of {api} are simulated, and not replayed") as caught:
        refuse_what_is_not_replayed(plan)

    assert "WriteTxnMarkers" in caught.value.problems[0].possible


def test_a_replay_takes_what_its_proxy_knows() -> None:
    refuse_what_is_not_replayed(Scenario.loads(HEAD + '[[fault]]\ndo = "lose-request"\nwhen = { request = "EndTxn" }\n').plan())
