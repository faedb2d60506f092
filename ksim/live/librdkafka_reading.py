"""librdkafka's consumer, as confluent-kafka has it, and the application above it: poll(), work, commit, as in Reading.java.

Kafka: confluent-kafka's Consumer: poll(), commit(), store_offsets(), close(). What it says is described in ksim.live.readers.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ksim.live.librdkafka_client import described, outcomes, wait_until
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
        self.group = settings.get("group.id")
        self.over = threading.Event()
        self.ended = threading.Event()
        self.idle: list[list[Any]] = []

    def run(self) -> None:
        self._subscribe()
        failed = ""
        while self._goes_on and not failed:
            message = self.consumer.poll(IDLE_S)
            if message is None:
                self._idle()
            elif (error := message.error()) is not None:
                failed = self._met(error)
            else:
                self._take(message)
        if failed != "_FATAL":
            self.consumer.close()
        self.ended.set()

    @property
    def _goes_on(self) -> bool:
        return not self.over.is_set()

    def _subscribe(self) -> None:
        self.consumer.subscribe(self.topics)

    def _met(self, error: KafkaError) -> str:
        """Empty for what goes into a log."""
        name = "_FATAL" if error.fatal() else str(error.name())
        if name not in ENDING:
            print(f"poll(): {error}", file=sys.stderr, flush=True)
            return ""
        say("ended", **{**described(error), "class": name})
        return name

    def _tell_read(self, message: Message) -> None:
        """And then work on it."""
        self.idle = []
        who = self._who(message)
        if who is not None:
            say("read", **self._slice(message, who))
        if self.work_us:
            wait_until(time.monotonic_ns() + self.work_us * 1000)

    def _take(self, message: Message) -> None:
        self._tell_read(message)
        if not self.stores:
            self.consumer.store_offsets(message)
        if self.commit in ("sync", "async"):
            self._commit([[message.topic(), message.partition(), (message.offset() or 0) + 1]], asynchronous=self.commit == "async")

    def _commit(self, about: list[list[Any]], **what: Any) -> None:
        """What fails is a reason to poll() again. on_commit hears nothing of a commit that was waited for (2.16.1, measured), or of one that asked nobody."""
        waits = not what["asynchronous"]
        try:
            done = self.consumer.commit(**what)
        except KafkaException as problem:
            error = str(problem.args[0].name())
            if error == "_ASSIGNMENT_LOST" or (waits and error != "_NO_OFFSET"):
                say("offsets", offsets=about, transaction=0, **{"class": error})
        else:
            if waits and done is not None:
                self._on_commit(None, done)

    @staticmethod
    def _who(message: Message) -> tuple[int, int] | None:
        return identity(message.value(), [(str(header[0]), b"") for header in message.headers() or ()])

    @staticmethod
    def _slice(message: Message, who: tuple[int, int]) -> dict[str, Any]:
        return {"topic": message.topic(), "partition": message.partition(), "base": message.offset(), "producer": who[0], "first": who[1], "count": 1}

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Of every commit that nobody waits for, whoever asked for it."""
        offsets = sorted([one.topic, one.partition, one.offset] for one in partitions if one.offset >= 0)
        why = error or next((one.error for one in partitions if one.error is not None), None)
        if offsets:
            say("offsets", offsets=offsets, transaction=0, **{"class": "" if why is None else str(why.name())})

    def _idle(self) -> None:
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
