"""Scenarios with transactions, from the file to the verdict: feature levels, coordinators as targets, lost requests between brokers."""

from __future__ import annotations

import pytest

from ksim import Scenario, ScenarioError, simulate
from ksim_models.facts import Fault, FinalLog, MarkerWritten, TransactionState

TEXT = """
format = 1
kafka = "{kafka}"
seed = 3
{cluster}
[topics.payments]
partitions = 2
replication = 3
[producers.p1]
config.transactional.id = "copy-1"
[[workload]]
topic = "payments"
records = 300
every = "15ms"
partition = 0
transaction = {{ records = 10, end = "commit", abort_every = 5 }}
{fault}
"""


def scenario(*, kafka: str = "4.3", cluster: str = "", fault: str = "") -> Scenario:
    return Scenario.loads(TEXT.format(kafka=kafka, cluster=cluster, fault=fault))


def levels(given: str, kafka: str = "4.3") -> int:
    return scenario(kafka=kafka, cluster=f"[cluster]\nfeatures = {given}").plan(None).broker_profile.transaction_version


def test_a_cluster_has_the_transaction_version_of_its_release_or_the_one_that_is_asked_for() -> None:
    """VP-2."""
    assert scenario().plan(None).broker_profile.transaction_version == 2
    assert scenario(kafka="3.9").plan(None).broker_profile.transaction_version == 0
    assert levels('{ "transaction.version" = 1 }') == 1
    assert levels("{ transaction.version = 0 }") == 0
    assert levels('{ "transaction.version" = 0 }', "3.9") == 0


@pytest.mark.parametrize(
    ("given", "kafka", "words"),
    [
        ('{ "transaction.version" = 3 }', "4.3", "transaction.version = 3"),
        ('{ "transaction.version" = true }', "4.3", "transaction.version = True"),
        ('{ "transaction.version" = 2 }', "3.9", "brokers of 3.9 know no other"),
        ('{ "transaction.versio" = 2 }', "4.3", "there is no feature transaction.versio"),
        ('{ "group.version" = 1 }', "4.3", "group.version is not yet supported"),
        ("2", "4.3", "a table of feature levels"),
    ],
)
def test_a_level_that_cannot_be_is_refused(given: str, kafka: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        levels(given, kafka)


@pytest.mark.parametrize("level", [0, 2])
def test_the_level_decides_under_which_epochs_transactions_end(level: int) -> None:
    run = simulate(scenario(cluster=f'[cluster]\nfeatures = {{ "transaction.version" = {level} }}'))

    epochs = {fact.producer_epoch for _, fact in run.history.of(MarkerWritten)}
    assert (min(epochs), max(epochs)) == ((0, 0) if level == 0 else (1, 30))


@pytest.mark.parametrize("kafka", ["3.5", "3.9", "4.3"])
def test_the_coordinator_dies_and_no_transaction_is_torn(kafka: str) -> None:
    """TC-7: what was decided is carried out by the next one."""
    run = simulate(scenario(kafka=kafka, fault='[[fault]]\nat = "3s"\ndo = "crash"\nwho = "coordinator(copy-1)"\nfor = "5s"'))

    struck = [fact for _, fact in run.history.of(Fault) if fact.phase == "begin"]
    assert struck[0].resolved[0].startswith("broker-")
    assert run.verdict.records["ok"] == 240
    assert run.verdict.records["torn"] == run.verdict.records["lost"] == run.verdict.records["hidden"] == 0
    assert len({fact.broker for _, fact in run.history.of(TransactionState)}) == 2


def test_a_coordinator_that_nothing_in_the_scenario_has_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"transactional\.id"):
        scenario(fault='[[fault]]\nat = "1s"\ndo = "crash"\nwho = "coordinator(copy-2)"').plan(None)


@pytest.mark.parametrize("deed", ["lose-request", "lose-response"])
def test_markers_that_are_lost_are_written_again(deed: str) -> None:
    """TC-53, TC-54: a marker may stand twice."""
    run = simulate(scenario(fault=f'[[fault]]\nwhen = {{ request = "WriteTxnMarkers", nth = 3, times = 2 }}\ndo = "{deed}"'))

    assert [fact.phase for _, fact in run.history.of(Fault) if fact.phase == "hit"] == ["hit", "hit"]
    assert run.verdict.records["ok"] == 240
    finals = [fact for _, fact in run.history.of(FinalLog) if fact.leader]
    assert all(fact.last_stable_offset == fact.log_end_offset for fact in finals)


@pytest.mark.parametrize("api", ["FindCoordinator", "InitProducerId", "AddPartitionsToTxn", "EndTxn"])
@pytest.mark.parametrize("deed", ["lose-request", "lose-response", 'answer"\nerror = "NOT_COORDINATOR'])
@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_what_is_lost_between_producer_and_coordinator_is_asked_again(kafka: str, deed: str, api: str) -> None:
    run = simulate(scenario(kafka=kafka, fault=f'[[fault]]\nwhen = {{ request = "{api}", nth = 1 }}\ndo = "{deed}"'))

    assert run.verdict.records["ok"] == 240
    assert run.verdict.records["torn"] == 0
