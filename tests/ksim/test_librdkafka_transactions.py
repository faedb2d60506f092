"""Transactions of librdkafka, from the scenario to the verdict: applications that write with it, and what it does that the Java client does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim import Scenario, simulate
from ksim.report import report_on
from ksim_models.consumer_facts import CommittedOffset, Processed
from ksim_models.facts import MarkerWritten, Transaction
from orders import orders

COPY = """
[producers.writer]
client = "librdkafka"
{setting}
[consumers.reader]
config.auto.offset.reset = "earliest"
config.group.id = "g"
config.enable.auto.commit = false
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
[applications.copy]
reads = "orders"
writes = "payments"
producer = "writer"
consumer = "reader"
commit_every = {{ records = 20 }}
"""
TRANSACTIONAL, PLAIN = 'config.transactional.id = "copy-1"', 'config.acks = "all"'
CRASH = '[[fault]]\nat = "2s"\ndo = "crash"\nwho = "{who}"\nfor = "1s"\n'
SCENARIOS = Path(__file__).parents[2] / "experiments" / "agreement" / "scenarios"
OWN = ("t-numbers-used-again", "t-aborted-too-early", "t-abort-waits", "t-abort-third", "t-lost-end-response", "t-batch-expires", "t-end-abortable")


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
@pytest.mark.parametrize("name", OWN)
def test_it_ends_as_it_did_on_a_real_cluster(name: str, kafka: str) -> None:
    """experiments/agreement: the same scenarios with librdkafka, on 3.9.1 and 4.3.0."""
    run = simulate(Scenario.load(str(SCENARIOS / f"{name}.toml")).override([], kafka=kafka, client="librdkafka"))

    assert report_on(run).met


def test_a_committed_record_that_is_lost_is_allowed_to_it_by_name() -> None:
    """The numbers of an aborted batch in doubt are the next transaction's: its records are duplicates, as far as the leader can tell (PS-2)."""
    scenario = Scenario.load(str(SCENARIOS / "t-numbers-used-again.toml")).at("topics.payments.config.min.insync.replicas", 2)
    lost = next(one for one in simulate(scenario).verdict.anomalies if one.name == "lost")

    assert lost.allowed
    assert lost.because.startswith("librdkafka gives the sequence numbers")


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_all_its_transactions_share_an_epoch_whatever_the_brokers_speak(kafka: str) -> None:
    """L9: TV1."""
    run = simulate(Scenario.load(str(SCENARIOS / "t-ten.toml")).override([], kafka=kafka, client="librdkafka"))

    assert {fact.producer_epoch for _, fact in run.history.of(MarkerWritten)} == {0}


@pytest.mark.parametrize("struck", ["", "broker-2", "copy", "coordinator(copy-1)"])
def test_an_application_that_writes_with_it_makes_one_of_each_input(struck: str) -> None:
    """KIP-447 with rd_kafka_send_offsets_to_transaction, behind a Java consumer."""
    run = simulate(Scenario.loads(orders() + COPY.format(setting=TRANSACTIONAL) + (CRASH.format(who=struck) if struck else "")))

    one = run.verdict.processing[0]
    assert (one.processed_once, one.processed_twice, one.skipped) == (400, 0, 0)
    assert sum(len(fact.records) for _, fact in run.history.of(Processed)) >= 400
    assert all(not fact.error for _, fact in run.history.of(CommittedOffset) if not struck)
    assert {"send-offsets", "committed"} <= {fact.phase for _, fact in run.history.of(Transaction)}


def test_an_application_that_flushes_with_it_before_it_commits_makes_at_least_one_of_each_input() -> None:
    run = simulate(Scenario.loads(orders() + COPY.format(setting=PLAIN) + CRASH.format(who="copy")))

    one = run.verdict.processing[0]
    assert one.processed_once + one.processed_twice == 400
    assert one.skipped == 0
