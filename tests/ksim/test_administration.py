"""What an operator does to brokers and topics, as a simulation carries it out."""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import BrokerChanged, Fault, PartitionChanged

HEADER = 'title = "t"\nkafka = "{kafka}"\nseed = 1\n'
PRODUCER = '[producers.p1]\nconfig.acks = "{acks}"\nconfig.enable.idempotence = {idempotence}\n'
WORKLOAD = '[[workload]]\ntopic = "t"\nfor = "{length}"\nevery = "5ms"\n'


def run(faults: str, *, kafka: str = "4.3", acks: str = "all", topic: str = "", length: str = "10s", cluster: str = "") -> Run:
    idempotence = "true" if acks == "all" else "false"
    text = HEADER.format(kafka=kafka) + f"[cluster]\n{cluster}[topics.t]\n{topic}" + PRODUCER.format(acks=acks, idempotence=idempotence)
    return simulate(Scenario.loads(text + WORKLOAD.format(length=length) + faults))


def phases(run: Run, name: str) -> list[tuple[float, str, tuple[str, ...]]]:
    return [(at / 1000, fact.phase, fact.resolved) for at, fact in run.history.of(Fault) if fact.name == name]


def states(run: Run, broker: str) -> list[tuple[float, str]]:
    return [(at / 1000, fact.state) for at, fact in run.history.of(BrokerChanged) if fact.broker == broker]


def leaders(run: Run, partition: str = "t-0") -> list[str]:
    found: list[str] = []
    for _, fact in run.history.of(PartitionChanged):
        if fact.partition == partition and found[-1:] != [fact.leader]:
            found.append(fact.leader)
    return found


def touched(run: Run, name: str) -> int:
    return max(fact.touched for _, fact in run.history.of(Fault) if fact.name == name)


# An orderly shutdown.

SHUTDOWN = '[[fault]]\nat = "2s"\ndo = "shutdown"\nwho = "leader(t-0)"\nfor = "5s"\n'


@pytest.mark.parametrize("kafka", ["3.3", "3.9", "4.3"])
def test_an_orderly_shutdown_with_acks_all_loses_nothing_and_interrupts_for_less_than_a_second(kafka: str) -> None:
    """KC-23: the leader moves at once, so nobody waits for a session to end."""
    found = run(SHUTDOWN, kafka=kafka)

    assert found.verdict.verdict == "held"
    assert found.metrics.unavailable_ms < 1_000
    (leaving, going, *_, back) = states(found, "broker-1")
    assert (leaving[1], going[1], back[1]) == ("shutting-down", "shut-down", "unfenced")
    assert going[0] - leaving[0] > 50, "the others' next heartbeats say that they have applied the moves (KC-18)"
    assert touched(found, "shutdown") > 0


def test_h_049_a_broker_that_is_not_demoted_takes_records_that_nobody_will_have() -> None:
    """KAFKA-14296: 3.3.0 and 3.3.1; with acks=1 what it acknowledged to the end of its life is lost."""
    assert run(SHUTDOWN, kafka="3.3.1", acks="1").verdict.records["lost"] > 100
    assert run(SHUTDOWN, kafka="3.3.2", acks="1").verdict.records["lost"] == 0


def test_a_restart_that_comes_while_a_broker_shuts_down_waits_for_its_end() -> None:
    found = run('[[fault]]\nat = "2s"\ndo = "shutdown"\nwho = "broker-1"\nfor = "100ms"\n')

    assert [state for _, state in states(found, "broker-1")] == ["shutting-down", "shut-down", "registered", "unfenced"]
    assert found.verdict.verdict == "held"


def test_kc_13_a_restart_after_a_shutdown_waits_for_the_old_session_in_4_x_only() -> None:
    def away_ms(kafka: str) -> float:
        known = {state: at for at, state in states(run(SHUTDOWN, kafka=kafka), "broker-1")}
        return known["registered"] - known["shut-down"]

    assert away_ms("3.9") < 6_000
    assert away_ms("4.3") > 8_900


def test_a_whole_cluster_can_be_shut_down_one_after_another() -> None:
    """A rolling restart under load: nothing is lost with acks=all."""
    faults = "".join(f'[[fault]]\nname = "{n}"\nat = "{1 + 15 * n}s"\ndo = "shutdown"\nwho = "broker-{n + 1}"\nfor = "3s"\n' for n in range(3))
    found = run(faults, length="50s", topic="config.min.insync.replicas = 2\n")

    assert found.verdict.verdict == "held"
    assert all(phases(found, str(n))[0][2] == (f"broker-{n + 1}",) for n in range(3))


def test_a_broker_that_is_shutting_down_is_not_struck_again() -> None:
    found = run(SHUTDOWN + '[[fault]]\nname = "late"\nat = "2001ms"\ndo = "crash"\nwho = "broker-1"\n')

    assert phases(found, "late")[0][1] == "not-injected"


def test_a_controller_that_is_shut_down_elects_nobody_until_it_is_back() -> None:
    found = run(
        '[[fault]]\nat = "1s"\ndo = "shutdown"\nwho = "controller"\nfor = "3s"\n[[fault]]\nat = "1500ms"\ndo = "crash"\nwho = "broker-1"\nfor = "20s"\n'
    )

    assert all(at > 4_000 for at, _ in states(found, "broker-1"))
