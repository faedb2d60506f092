"""librdkafka's consumer, as confluent-kafka has it, and the application above it, in a process of its own: the counterpart of Reading.java.

Kafka: confluent-kafka's Consumer: poll(), commit(), store_offsets(), close(). Both languages, in and out, are described in ksim.live.readers.
Run as `python -m ksim.live.librdkafka_reader`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any
from urllib.parse import unquote

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition, libversion

from ksim.live.librdkafka_client import SECURITY, break_down, described, in_background, outcomes, tell, tell_outcomes, wait_until
from ksim.live.naming import identity

IDLE_S = 0.1
ENDING = ("_AUTO_OFFSET_RESET", "_FATAL")
"""What the simulated application does not know what to do about either (ksim_models.librdkafka_consumer)."""


class Reading:
    def __init__(self, settings: dict[str, str], topics: list[str], work_us: int, commit: str) -> None:
        self.topics = topics
        self.work_us = work_us
        self.commit = commit
        self.stores = settings.get("enable.auto.offset.store", "true").lower() in ("true", "t", "1")
        self.consumer = Consumer({**settings, "on_commit": self._on_commit})
        self.over = threading.Event()
        self.ended = threading.Event()
        self.idle: list[list[Any]] = []

    def run(self) -> None:
        self.consumer.subscribe(self.topics)
        failed = ""
        while not self.over.is_set() and not failed:
            message = self.consumer.poll(IDLE_S)
            if message is None:
                self._tell_idle()
            elif (error := message.error()) is not None:
                failed = self._met(error)
            else:
                self._take(message)
        if failed != "_FATAL":
            self.consumer.close()
        self.ended.set()

    def _met(self, error: KafkaError) -> str:
        """Empty for what goes into a log."""
        name = "_FATAL" if error.fatal() else str(error.name())
        if name not in ENDING:
            print(f"poll(): {error}", file=sys.stderr, flush=True)
            return ""
        say("ended", **{**described(error), "class": name})
        return name

    def _take(self, message: Message) -> None:
        self.idle = []
        who = identity(message.value(), [(str(header[0]), b"") for header in message.headers() or ()])
        if who is not None:
            producer, first = who
            say("read", topic=message.topic(), partition=message.partition(), base=message.offset(), producer=producer, first=first, count=1)
        if self.work_us:
            wait_until(time.monotonic_ns() + self.work_us * 1000)
        try:
            if not self.stores:
                self.consumer.store_offsets(message)
            if self.commit == "sync":
                self.consumer.commit(asynchronous=False)
            elif self.commit == "async":
                self.consumer.commit(asynchronous=True)
        except KafkaException as problem:
            error = problem.args[0]  # A reason to poll() again; on_commit tells of it, unless nothing was asked of anybody.
            if error.name() == "_ASSIGNMENT_LOST":
                offsets = [[message.topic(), message.partition(), (message.offset() or 0) + 1]]
                say("offsets", offsets=offsets, transaction=0, **{"class": str(error.name())})

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Of every commit, whoever asked for it."""
        offsets = sorted([one.topic, one.partition, one.offset] for one in partitions if one.offset >= 0)
        why = error or next((one.error for one in partitions if one.error is not None), None)
        if offsets:
            say("offsets", offsets=offsets, transaction=0, **{"class": "" if why is None else str(why.name())})

    def _tell_idle(self) -> None:
        """Nothing more was there: up to where it has read. Where it was given nothing yet, the end of the last answer is as far as it has come."""
        found = []
        for one in self.consumer.position(self.consumer.assignment()):
            end = self.consumer.get_watermark_offsets(one, cached=True)
            offset = one.offset if one.offset >= 0 else (end[1] if end is not None else -1)
            if offset >= 0:
                found.append([one.topic, one.partition, offset])
        found.sort()
        if found != self.idle:
            say("idle", offsets=found)
            self.idle = found


def say(event: str, **details: Any) -> None:
    outcomes.put({"event": event, "at": time.monotonic_ns(), **details})


class Process:
    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.topics: list[str] = []
        self.habits = (0, "none")
        self.reading: Reading | None = None

    def listen(self) -> None:
        for line in sys.stdin:
            word, *words = (unquote(word) for word in line.rstrip("\n").split(" "))
            match word, words:
                case "consumer-setting", [name, value]:
                    self.settings[name] = value
                case "reads", topics:
                    self.topics = topics
                case "works", [work_us, commit, _]:
                    self.habits = int(work_us), commit
                case "practise", [bootstrap, topic]:
                    own = {name: value for name, value in self.settings.items() if name.startswith(SECURITY)}
                    Consumer({**own, "bootstrap.servers": bootstrap, "group.id": "ksim-practice"}).list_topics(topic, timeout=30)
                case "ready", []:
                    tell({"event": "ready", "at": time.monotonic_ns(), "version": libversion()[0]})
                case "go", [zero]:
                    in_background("go", self.go, int(zero))
                case "close", [patience_ms]:
                    in_background("close", self.close, None if patience_ms == "-" else int(patience_ms) / 1000)
                case (("producer" | "setting" | "from" | "warm-up"), _):
                    pass  # A producer's.
                case _:
                    raise ValueError(f"no such command: {word}")

    def go(self, zero: int) -> None:
        wait_until(zero)
        self.reading = Reading(self.settings, self.topics, *self.habits)
        tell({"event": "constructed", "at": time.monotonic_ns()})
        self.reading.run()

    def close(self, patience_s: float | None) -> None:
        if self.reading is not None:
            self.reading.over.set()
            self.reading.ended.wait(patience_s)
        while not outcomes.empty():
            time.sleep(0.001)
        tell({"event": "closed", "at": time.monotonic_ns()})
        os._exit(0)


def main() -> None:
    in_background("outcomes", tell_outcomes)
    try:
        Process().listen()
    except BaseException as problem:
        break_down(problem)
    os._exit(1)  # Whoever started this process is gone, and so is the reason for it.


if __name__ == "__main__":
    main()
