"""Transactional producers on simulated brokers, end to end: what goes wrong at each step, and what becomes of the records."""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import FinalLog, Transaction

RELEASES = ("4.3", "3.9", "3.3", "2.8")


def run(kafka: str, *, faults: str = "", workload: str = "", transaction: str = "records = 10", more: str = "", producer: str = "", seed: int = 3) -> Run:
    return simulate(
        Scenario.loads(f"""
format = 1
title = "in transactions"
kafka = "{kafka}"
seed = {seed}
[topics.payments]
partitions = 2
[producers.p1]
config.transactional.id = "t-1"
{producer}
[[workload]]
producer = "p1"
topic = "payments"
records = 50
every = "10ms"
transaction = {{ {transaction} }}
{workload}
{more}
{faults}
""")
    )


def phases(found: Run, producer: str = "p1") -> list[str]:
    return [f"{fact.number} {fact.phase}" for _, fact in found.history.of(Transaction) if fact.producer == producer]


def ends(found: Run) -> dict[str, int]:
    """How many markers of each kind stand in the logs of leaders."""
    counts: dict[str, int] = {}
    for _, log in found.history.of(FinalLog):
        if log.leader and log.partition.startswith("payments"):
            for batch in log.batches:
                if batch.marker:
                    counts[batch.marker] = counts.get(batch.marker, 0) + 1
    return counts


@pytest.mark.parametrize("kafka", RELEASES)
def test_all_is_committed_and_nothing_is_left_open(kafka: str) -> None:
    found = run(kafka)

    assert found.verdict.verdict == "held"
    assert found.verdict.records["ok"] == 50
    assert [phase for phase in phases(found) if "ted" in phase] == [f"{number} committed" for number in range(1, 6)]
    assert all(log.last_stable_offset == log.high_watermark for _, log in found.history.of(FinalLog) if log.leader)


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_every_second_transaction_is_aborted_on_purpose(kafka: str) -> None:
    found = run(kafka, transaction='records = 10, abort_every = 2, think = "20ms"')

    assert [phase for phase in phases(found) if "ted" in phase] == ["1 committed", "2 aborted", "3 committed", "4 aborted", "5 committed"]
    assert (found.verdict.records["ok"], found.verdict.records["absent"]) == (30, 20)
    assert set(ends(found)) == {"abort", "commit"}


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
@pytest.mark.parametrize("api", ["FindCoordinator", "InitProducerId", "AddPartitionsToTxn", "Produce", "EndTxn"])
@pytest.mark.parametrize("do", ["lose-request", "lose-response"])
def test_whatever_is_lost_is_asked_again(kafka: str, api: str, do: str) -> None:
    """S3, S4: without a limit to the attempts, and of whoever is the coordinator then; T25a."""
    if kafka == "4.3" and api == "AddPartitionsToTxn":
        pytest.skip("version 2 has no such requests")
    found = run(kafka, faults=f'[[fault]]\nwhen = {{ request = "{api}", from = "p1" }}\ndo = "{do}"')

    assert found.verdict.verdict == "held"
    assert found.verdict.records["ok"] == 50


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
@pytest.mark.parametrize("phase", ["after-begin", "before-commit", "after-commit-sent"])
def test_a_client_that_dies_takes_its_transaction_with_it_and_its_successor_goes_on(kafka: str, phase: str) -> None:
    found = run(kafka, faults=f'[[fault]]\nwhen = {{ transaction = 3, phase = "{phase}" }}\ndo = "crash"\nwho = "p1"\nfor = "300ms"')

    records, told = found.verdict.records, phases(found)
    assert not found.verdict.anomalies
    assert "3 committed" not in told
    assert told[-1] == told[-2].replace("commit-sent", "committed")
    assert records["ok"] == (50 if phase == "after-begin" else 40)
    assert all(log.last_stable_offset == log.high_watermark for _, log in found.history.of(FinalLog) if log.leader)


@pytest.mark.parametrize(("kafka", "error"), [("4.3", "InvalidProducerEpochException"), ("3.9", "ProducerFencedException")])
def test_another_producer_of_the_same_id_fences_the_first(kafka: str, error: str) -> None:
    """T30, TC-24. With version 1 it may be the other way round: the old one, whose transaction was aborted, asks for the next epoch, and gets it (TC-28)."""
    found = run(
        kafka,
        producer='[producers.p2]\nconfig.transactional.id = "t-1"',
        more='[[workload]]\nproducer = "p2"\ntopic = "payments"\nrecords = 20\nevery = "10ms"\nstart = "1200ms"\ntransaction = { records = 10 }',
        workload='start = "1s"',
    )

    assert not found.verdict.anomalies
    assert error in found.metrics.errors
    fenced = [
        name for name in ("p1", "p2") if any(fact.producer == name and fact.error == "ProducerFencedException" for _, fact in found.history.of(Transaction))
    ]
    assert ("2 committed" in phases(found, "p2")) is ("p2" not in fenced)
    assert kafka == "4.3" or len(fenced) == 1


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
@pytest.mark.parametrize("error", ["INVALID_TXN_STATE", "INVALID_PRODUCER_EPOCH", "UNKNOWN_SERVER_ERROR"])
@pytest.mark.parametrize("on_failure", ["report", "resend", "stop"])
def test_what_the_application_does_about_an_error_that_can_be_aborted(kafka: str, error: str, on_failure: str) -> None:
    found = run(
        kafka, workload=f'on_failure = "{on_failure}"', faults=f'[[fault]]\nwhen = {{ request = "Produce", nth = 3 }}\ndo = "answer"\nerror = "{error}"'
    )

    records, told = found.verdict.records, phases(found)
    assert not found.verdict.anomalies
    assert any(phase.endswith("aborted") for phase in told)
    if on_failure == "resend":
        assert records["ok"] == 50
    elif on_failure == "report":
        assert 20 <= records["ok"] < 50
        assert records["offered"] == 50
    else:
        assert records["offered"] < 50
        assert told[-1].endswith("aborted")


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_a_fatal_error_is_the_end_and_all_else_is_refused(kafka: str) -> None:
    found = run(kafka, faults='[[fault]]\nwhen = { request = "EndTxn", nth = 3 }\ndo = "answer"\nerror = "PRODUCER_FENCED"')

    assert phases(found)[-1] == "3 failed"
    assert found.verdict.records["refused"] == 20
    assert found.metrics.errors["ProducerFencedException"] == 20


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_a_commit_that_times_out_is_repeated(kafka: str) -> None:
    """T9: its coordinator does not answer for longer than max.block.ms."""
    found = run(
        kafka,
        producer="config.max.block.ms = 2000\nconfig.request.timeout.ms = 5000",
        faults='[[fault]]\nwhen = { response = "EndTxn", nth = 3 }\ndo = "delay"\nby = "3s"',
    )

    told = phases(found)
    assert found.verdict.records["ok"] == 50
    assert told[told.index("3 commit") :][:4] == ["3 commit", "3 commit-sent", "3 failed", "3 committed"]


def test_a_warm_transactional_producer_has_its_id_at_time_zero() -> None:
    cold, warm = run("4.3"), run("4.3", more="[tail]\nwarm = true")

    began = [next(at for at, fact in found.history.of(Transaction) if fact.phase == "begin") for found in (cold, warm)]
    assert began[0] > 200_000
    assert began[1] == 0
    assert warm.verdict.records["ok"] == 50


def test_without_a_transaction_in_the_workload_every_send_is_refused() -> None:
    scenario = Scenario.loads("""
format = 1
title = "begins nothing"
seed = 1
[topics.payments]
[producers.p1]
config.transactional.id = "t-1"
[[workload]]
topic = "payments"
records = 3
every = "10ms"
""")
    found = simulate(scenario)

    assert any("begins no transaction" in note for note in scenario.notes)
    assert found.metrics.errors == {"IllegalStateException": 3}
