"""Consumers and applications of a replay: what their processes are told, what they say, and the facts that become of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kio", reason="kio is not installed")
pytest.importorskip("psutil", reason="psutil is not installed")
from ksim import Scenario
from ksim.live.book import Book
from ksim.live.clock import Clock
from ksim.live.naming import Naming
from ksim.live.processes import Workplace
from ksim.live.readers import LiveReader
from ksim.plan import Plan
from ksim_models.consumer_facts import CommittedOffset, PollFailed, Processed, Read
from ksim_models.facts import Acked, Offered, Transaction

COPY = """
kafka = "4.3"
seed = 7
[topics.orders]
partitions = 2
[topics.payments]
[producers.feed]
[producers.copier]
config.transactional.id = "copy-1"
[consumers.reader]
config.group.id = "copy"
config.enable.auto.commit = false
[[workload]]
producer = "feed"
topic = "orders"
records = 30
every = "1ms"
[applications.copy]
reads = "orders"
writes = "payments"
producer = "copier"
consumer = "reader"
commit_every = { records = 20 }
"""
ALONE = """
kafka = "4.3"
seed = 7
[topics.orders]
[producers.feed]
[consumers.reader]
topics = ["orders"]
config.group.id = "readers"
config.enable.auto.commit = false
work = "2ms"
commit = "sync"
[[workload]]
topic = "orders"
records = 30
every = "1ms"
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    with Workplace(root=tmp_path / "workplaces") as workplace:
        yield workplace


def reader_of(text: str, workplace: Workplace) -> LiveReader:
    plan: Plan = Scenario.loads(text).plan()
    clock = Clock()
    clock.start_at(0)
    application = plan.applications[0] if plan.applications else None
    reader = LiveReader(plan, plan.consumers[0], application, [], naming=Naming("0123abcd"), book=Book(clock), workplace=workplace)
    reader.alive = True
    return reader


def heard(reader: LiveReader, *events: dict[str, Any]) -> list[object]:
    before = len(reader.book.facts)
    reader.hear([json.dumps({"at": 1000, **event}).encode() for event in events])
    return [fact for _, fact in reader.book.facts[before:]]


def done(reader: LiveReader) -> bool:
    return reader.is_done


def told(reader: LiveReader) -> list[tuple[str, ...]]:
    said: list[tuple[str, ...]] = []
    reader._say = lambda *words: said.append(words)  # type: ignore[method-assign]
    reader.consumer_doors = ["localhost:1", "localhost:2"]
    asyncio.run(reader._tell_its_work("1"))
    return said


SLICE = {"topic": "ksim-0123abcd-orders", "partition": 1, "base": 7, "producer": 0, "first": 4, "count": 3}


def test_an_application_is_told_what_it_reads_and_writes(workplace: Workplace) -> None:
    said = told(reader_of(COPY, workplace))

    assert ("consumer-setting", "group.id", "ksim-0123abcd-copy") in said
    assert ("consumer-setting", "bootstrap.servers", "localhost:1,localhost:2") in said
    assert ("consumer-setting", "client.id", "reader") in said
    assert ("reads", "ksim-0123abcd-orders") in said
    assert ("works", "0", "sync", "ksim-0123abcd-copy") in said
    assert ("writes", "ksim-0123abcd-payments", "20", "100", "true", "true") in said


def test_a_consumer_alone_writes_nothing(workplace: Workplace) -> None:
    said = told(reader_of(ALONE, workplace))

    assert ("works", "2000", "sync", "ksim-0123abcd-readers") in said
    assert "writes" not in [words[0] for words in said]


def test_what_it_reads_and_makes_become_facts(workplace: Workplace) -> None:
    reader = reader_of(COPY, workplace)

    assert heard(reader, {"event": "read", **SLICE}, {"event": "processed", **SLICE, "made": 10}) == [
        Read("reader", "orders-1", "feed", range(4, 7), 7),
        Processed("copy", "orders-1", 7, "feed", range(4, 7), "copier", range(10, 13)),
    ]


def test_commits_become_facts(workplace: Workplace) -> None:
    offsets = [["ksim-0123abcd-orders", 1, 10], ["ksim-0123abcd-orders", 0, 4]]
    facts = heard(
        reader_of(COPY, workplace),
        {"event": "transaction", "number": 1, "phase": "send-offsets", "group": "ksim-0123abcd-copy", "offsets": offsets},
        {"event": "offsets", "offsets": offsets, "class": "", "transaction": 1},
        {"event": "ended", "class": "KafkaException", "message": "no more of ksim-0123abcd-orders"},
    )

    assert facts == [
        Transaction("copier", 1, "send-offsets", offsets=(("orders-0", 4), ("orders-1", 10)), group="copy"),
        CommittedOffset("reader", "copy", (("orders-0", 4), ("orders-1", 10)), "", 1),
        PollFailed("reader", "KafkaException", "no more of orders"),
    ]


def test_it_is_done_when_nothing_more_comes_and_all_it_made_has_its_outcome(workplace: Workplace) -> None:
    reader = reader_of(COPY, workplace)
    idle = {"event": "idle", "offsets": [["ksim-0123abcd-orders", 1, 10]]}
    facts = heard(reader, {"event": "offered", "record": 0, "workload": 0}, idle)
    assert facts == [Offered("copier", range(1), 1, 0)]
    assert not done(reader)

    assert heard(reader, {"event": "acked", "record": 0, "workload": 0, "partition": 0, "offset": 3}) == [Acked("copier", "payments-0", range(1), 3)]
    assert done(reader)
    assert reader.positions == {"orders-1": 10}

    heard(reader, {"event": "read", **SLICE})
    assert not done(reader)


def test_an_application_that_has_ended_waits_for_nothing(workplace: Workplace) -> None:
    reader = reader_of(COPY, workplace)
    heard(reader, {"event": "read", **SLICE}, {"event": "ended", "class": "KafkaException", "message": ""})

    assert reader.is_done
    assert not reader.reads
