"""Transactions in a replay: what a client's process is told of them and says, markers in logs, and the exchanges with coordinators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("kio", reason="kio is not installed")
pytest.importorskip("psutil", reason="psutil is not installed")
from kio.schema.errors import ErrorCode as WireError

from ksim import Scenario, simulate
from ksim.dice import Dice
from ksim.live.answers import error_answer, with_error
from ksim.live.batches import batches_in, with_records
from ksim.live.book import Book
from ksim.live.clients import LiveClient
from ksim.live.clock import Clock
from ksim.live.cluster import ClusterSpec
from ksim.live.coordination import partitions_in_transactions
from ksim.live.final_logs import committed
from ksim.live.internal_topics import internal_topics
from ksim.live.naming import Naming
from ksim.live.processes import Workplace
from ksim.live.sightings import Sightings
from ksim.live.wire import ADD_OFFSETS, ADD_PARTITIONS, COMMIT_OFFSETS, END_TXN, FIND_COORDINATOR, INIT_PRODUCER_ID, WRITE_MARKERS, Topics, codec
from ksim.plan import Plan
from ksim_models.errors import ErrorCode
from ksim_models.facts import LoggedBatch, PartitionChanged, ProducerId, Transaction
from live_batches import batch, marker

SCENARIO = """
kafka = "4.3"
seed = 7
[topics.payments]
[producers.p1]
config.transactional.id = "pay-1"
[[workload]]
topic = "payments"
records = 30
every = "1ms"
on_failure = "resend"
start = "5ms"
transaction = { records = 10, abort_every = 3, think = "2ms" }
"""
HELD = """
[[fault]]
do = "crash"
who = "broker-1"
when = { transaction = 2, phase = "before-commit" }
"""


def plan_of(text: str = SCENARIO) -> Plan:
    return Scenario.loads(text).plan()


@pytest.fixture
def workplace(tmp_path: Any) -> Iterator[Workplace]:
    with Workplace(root=tmp_path / "workplaces") as workplace:
        yield workplace


def client_of(plan: Plan, workplace: Workplace) -> LiveClient:
    clock = Clock()
    clock.start_at(0)
    return LiveClient(plan, 0, [], naming=Naming("0123abcd"), book=Book(clock), workplace=workplace)


def step(number: int, phase: str, at: int, **more: str) -> bytes:
    return json.dumps({"event": "transaction", "number": number, "phase": phase, "at": at * 1000, **more}).encode()


# What its process is told.


def test_the_process_is_told_how_its_records_go_into_transactions(workplace: Workplace) -> None:
    assert list(client_of(plan_of(), workplace).transactions.words()) == [
        ("transaction", "0", "10", "commit", "3", "2000", "5000", "resend"),
        ("transactions", "0"),
    ]


def test_a_step_for_which_a_fault_waits_is_held(workplace: Workplace) -> None:
    assert ("hold", "2", "commit") in client_of(plan_of(SCENARIO + HELD), workplace).transactions.words()


def test_only_that_step_waits_to_be_told_to_proceed(workplace: Workplace) -> None:
    transactions = client_of(plan_of(SCENARIO + HELD), workplace).transactions
    steps = [(1, "commit"), (2, "begin"), (2, "commit"), (3, "commit")]

    assert [transactions.heard({"number": number, "phase": phase}, 0, str) for number, phase in steps] == [False, False, True, False]


def test_what_is_seen_on_the_wire_is_not_held(workplace: Workplace) -> None:
    words = client_of(plan_of(SCENARIO + HELD.replace("before-commit", "after-commit-sent")), workplace).transactions.words()

    assert [word for word, *_ in words] == ["transaction", "transactions"]


def test_a_second_life_goes_on_counting(workplace: Workplace) -> None:
    client = client_of(plan_of(), workplace)
    client.hear([step(4, "begin", 9)])

    assert ("transactions", "4") in client.transactions.words()


def test_the_transactional_id_is_the_plays_own_unless_nobody_else_has_ids_there(workplace: Workplace) -> None:
    client = client_of(plan_of(), workplace)
    assert client.settings(["a", "b", "c"])["transactional.id"] == "ksim-0123abcd-pay-1"

    client.naming.keeps_ids = True
    assert client.settings(["a", "b", "c"])["transactional.id"] == "pay-1"


def test_a_transactional_producer_is_not_warmed_with_a_record(workplace: Workplace) -> None:
    assert client_of(plan_of(SCENARIO + "[tail]\nwarm = true\n"), workplace).warm_ups == []


# What it says.


def test_its_steps_become_facts_in_the_scenarios_names(workplace: Workplace) -> None:
    client = client_of(plan_of(), workplace)
    client.hear([step(1, "begin", 7), step(1, "failed", 9, call="commit", message="of ksim-0123abcd-pay-1", **{"class": "KafkaException"})])

    assert client.book.facts == [
        (7, Transaction("p1", 1, "begin")),
        (9, Transaction("p1", 1, "failed", "commit", "KafkaException", "of pay-1")),
    ]


def test_a_client_is_done_when_its_application_has_come_to_the_end(workplace: Workplace) -> None:
    client = client_of(plan_of(), workplace)
    client.alive = True
    client.ended = client.total
    assert not client.is_done

    client.hear([b'{"event":"finished","at":1,"workload":0}'])
    assert client.is_done


# Logs.


def test_markers_tell_how_a_transaction_ended() -> None:
    data = (
        batch([b"0/1 "], producer_id=5, sequence=0, attributes=0x10) + marker(commit=True, base=1, producer_id=5) + marker(commit=False, base=2, producer_id=6)
    )
    told = [fact for one, content in batches_in(data) for fact in with_records(one, content).logged(["p1"])]

    assert told == [
        LoggedBatch(0, 0, "p1", range(1, 2), 5, 0, 0, True),
        LoggedBatch(1, 0, "", range(0), 5, 0, -1, True, "commit"),
        LoggedBatch(2, 0, "", range(0), 6, 0, -1, True, "abort"),
    ]


def test_a_reader_of_committed_data_is_not_given_what_a_marker_has_aborted() -> None:
    parts = [
        batch([b"0/1 "], producer_id=5, sequence=0, attributes=0x10),
        batch([b"0/2 "], base=1, producer_id=6, sequence=0, attributes=0x10),
        batch([b"0/3 "], base=2),
        marker(commit=False, base=3, producer_id=5),
        marker(commit=True, base=4, producer_id=6),
        batch([b"0/4 "], base=5, producer_id=5, sequence=1, attributes=0x10),
        marker(commit=True, base=6, producer_id=5),
    ]
    read = [with_records(one, content) for one, content in batches_in(b"".join(parts))]

    assert [own for one in committed(read) for _, own in one.records] == [(0, 2), (0, 3), (0, 4)]


def test_a_marker_before_the_start_of_the_log_is_gone() -> None:
    ((one, content),) = batches_in(marker(commit=True, base=3))

    assert with_records(one, content).since(4).logged(["p1"]) == []


# The cluster.


def test_coordinators_have_their_replicas_where_a_simulation_has_them() -> None:
    plan = plan_of()
    (topic,) = internal_topics(plan, Dice(plan.seed))
    history = simulate(plan).history
    simulated = {fact.partition: fact.isr for _, fact in history.of(PartitionChanged) if fact.partition.startswith("__transaction_state")}

    assert topic.name == "__transaction_state"
    assert len(topic.assignment) == 50
    assert all(topic.assignment[int(partition.rpartition("-")[2])] == isr for partition, isr in simulated.items())
    assert dict(topic.config)["min.insync.replicas"] == "2"


def test_without_a_transactional_producer_there_is_no_such_topic() -> None:
    plan = plan_of('kafka = "4.3"\nseed = 7\n[topics.payments]\n[[workload]]\ntopic = "payments"\nrecords = 1\nevery = "1ms"\n')

    assert internal_topics(plan, Dice(7)) == []


@pytest.mark.parametrize("features", ['{ "transaction.version" = 1 }', "{ transaction.version = 1 }"])
def test_a_cluster_is_formatted_with_the_features_of_the_scenario(features: str) -> None:
    assert ClusterSpec.of(plan_of(SCENARIO + f"[cluster]\nfeatures = {features}\n")).features == (("transaction.version", 1),)


# The wire.


def sightings() -> tuple[Sightings, Book]:
    clock = Clock()
    clock.start_at(0)
    book = Book(clock)
    seen = Sightings(clock, book, Naming("0123abcd"), ["p1"], Topics())
    seen.begin()
    return seen, book


def test_the_request_for_a_commit_belongs_to_the_transaction_at_hand() -> None:
    seen, book = sightings()
    book.note(Transaction("p1", 3, "begin"), 1)
    seen.commits("p1")

    assert [fact for _, fact in book.facts][1:] == [Transaction("p1", 3, "commit-sent")]


def test_an_answer_with_another_epoch_is_told_once() -> None:
    seen, book = sightings()
    for _ in range(2):
        seen.answered(END_TXN, "p1", "broker-1", [], SimpleNamespace(error_code=0, producer_id=7, producer_epoch=1))
    seen.answered(END_TXN, "p1", "broker-1", [], SimpleNamespace(error_code=0))
    seen.answered(INIT_PRODUCER_ID, "p1", "broker-1", [], SimpleNamespace(error_code=0, producer_id=7, producer_epoch=2))

    assert [fact for _, fact in book.facts] == [ProducerId("p1", 7, 1, "EndTxn"), ProducerId("p1", 7, 2, "InitProducerId")]


TOPIC = SimpleNamespace(name="t", partitions=(0, 2))
REQUESTS = {
    (FIND_COORDINATOR, 2): SimpleNamespace(key="x"),
    (FIND_COORDINATOR, 6): SimpleNamespace(coordinator_keys=("x",)),
    (ADD_PARTITIONS, 3): SimpleNamespace(v3_and_below_topics=(TOPIC,)),
    (ADD_PARTITIONS, 5): SimpleNamespace(transactions=(SimpleNamespace(transactional_id="x", topics=(TOPIC,)),)),
    (ADD_OFFSETS, 3): SimpleNamespace(),
    (END_TXN, 3): SimpleNamespace(),
    (END_TXN, 5): SimpleNamespace(),
    (WRITE_MARKERS, 1): SimpleNamespace(markers=(SimpleNamespace(producer_id=4, topics=(SimpleNamespace(name="t", partition_indexes=(0, 2)),)),)),
    (COMMIT_OFFSETS, 5): SimpleNamespace(
        topics=(SimpleNamespace(name="t", partitions=(SimpleNamespace(partition_index=0), SimpleNamespace(partition_index=2))),)
    ),
}


def errors_in(part: Any) -> list[int]:
    """All error codes in an answer, in the order in which they stand."""
    if isinstance(part, tuple):
        return [code for one in part for code in errors_in(one)]
    if not hasattr(part, "__dataclass_fields__"):
        return []
    found: list[int] = []
    for one in fields(part):
        value = getattr(part, one.name)
        found += [int(value)] if isinstance(value, WireError) else errors_in(value)
    return found


@pytest.mark.parametrize(("api", "version"), REQUESTS)
def test_every_answer_of_a_coordinator_can_be_an_error(api: int, version: int) -> None:
    known = codec(api, version)
    assert known is not None
    everybody = lambda topic, partition: True  # noqa: E731
    refused = error_answer(api, known, REQUESTS[api, version], ErrorCode.NOT_COORDINATOR, everybody)
    read = known.read_response(known.write_response(3, refused))
    changed = with_error(api, read, known, ErrorCode.INVALID_TXN_STATE, everybody)

    assert set(errors_in(read)) - {0} == {ErrorCode.NOT_COORDINATOR}
    assert set(errors_in(changed)) - {0} == {ErrorCode.INVALID_TXN_STATE}
    assert known.read_response(known.write_response(3, changed)) == changed


@pytest.mark.parametrize(("api", "version"), [(ADD_PARTITIONS, 3), (ADD_PARTITIONS, 5), (WRITE_MARKERS, 1), (COMMIT_OFFSETS, 5)])
def test_a_request_tells_the_partitions_it_is_about(api: int, version: int) -> None:
    assert [(topic.name, number) for topic, number in partitions_in_transactions(api, REQUESTS[api, version])] == [("t", 0), ("t", 2)]
