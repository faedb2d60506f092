"""The process that runs librdkafka's consumer in a replay, against librdkafka's own mock of a cluster."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ksim.live.naming import content

pytest.importorskip("confluent_kafka")


def test_it_tells_what_it_read_where_it_stands_and_what_was_committed() -> None:
    from confluent_kafka import Producer

    from ksim.live.librdkafka_client import outcomes
    from ksim.live.librdkafka_reading import Reading

    producer = Producer({"test.mock.num.brokers": 1, "linger.ms": 0, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    for number in range(3):
        value, headers = content(f"0/{number}", 20)
        producer.produce("payments", value, partition=0, headers=[*headers])
    value, headers = content("0/3", 2)
    producer.produce("payments", value, partition=0, headers=[*headers])  # Too short for its identity: a header has it.
    producer.flush(10)
    settings = {"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "g", "auto.offset.reset": "earliest", "log_level": "0"}
    reading = Reading(settings, ["payments"], 0, "none")
    thread = threading.Thread(target=reading.run, daemon=True)
    thread.start()
    told: list[dict[str, Any]] = []
    while not any(event["event"] == "idle" and ["payments", 0, 4] in event["offsets"] for event in told):
        told.append(outcomes.get(timeout=30))
    reading.over.set()
    thread.join(30)
    while not outcomes.empty():
        told.append(outcomes.get())

    assert [(event["base"], event["producer"], event["first"], event["count"]) for event in told if event["event"] == "read"] == [
        (n, 0, n, 1) for n in range(4)
    ]
    assert [(event["offsets"], event["class"]) for event in told if event["event"] == "offsets"] == [([["payments", 0, 4]], "")]


@pytest.mark.parametrize("transactional", [True, False])
def test_an_application_writes_one_record_of_each_and_commits_where_it_stands(transactional: bool) -> None:
    from confluent_kafka import Consumer, Producer

    from ksim.live.librdkafka_client import Producing, Workload, outcomes
    from ksim.live.librdkafka_copying import Copying, Writes

    feed = Producer({"test.mock.num.brokers": 1, "linger.ms": 0, "log_level": 0})
    (broker,) = feed.list_topics(timeout=10).brokers.values()
    door = {"bootstrap.servers": f"{broker.host}:{broker.port}", "log_level": "0"}
    for number in range(5):
        value, headers = content(f"0/{number}", 20)
        feed.produce("orders", value, partition=0, headers=[*headers])
    feed.flush(10)
    producing = Producing(door | ({"transactional.id": "t"} if transactional else {}), [Workload(0, "payments", [], None, None)], 1)
    settings = door | {"group.id": "g", "auto.offset.reset": "earliest", "enable.auto.commit": "false"}
    copying = Copying(settings, ["orders"], 0, Writes("payments", 2, 30, leader_epochs=True), producing, transactional=transactional)
    thread = threading.Thread(target=copying.run, daemon=True)
    told: list[dict[str, Any]] = []

    def listen() -> None:
        while (event := outcomes.get())["event"] != "over":
            if "heard" in event:
                event.pop("heard").set()
            told.append(event)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    thread.start()
    auditor = Consumer(door | {"group.id": "a", "auto.offset.reset": "earliest"})
    auditor.subscribe(["payments"])
    written: list[bytes] = []
    while len(written) < 5 or not any(event["event"] == "idle" for event in told):
        message = auditor.poll(0.05)
        if message is not None and message.error() is None:
            written.append((message.value() or b"").split(b" ")[0])
    copying.over.set()
    thread.join(30)
    outcomes.put({"event": "over"})  # Else it would hear what the next test is told.
    listener.join(30)

    assert sorted(written) == [f"1/{number}".encode() for number in range(5)]
    assert [(event["first"], event["made"]) for event in told if event["event"] == "processed"] == [(n, n) for n in range(5)]
    assert [event["offsets"] for event in told if event["event"] == "offsets"] == [[["orders", 0, end]] for end in (2, 4, 5)]
    steps = [event["phase"] for event in told if event["event"] == "transaction"]
    assert steps == (["begin", "send-offsets", "commit", "committed"] * 3 if transactional else [])
