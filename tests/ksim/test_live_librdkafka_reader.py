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
    from ksim.live.librdkafka_reader import Reading

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
