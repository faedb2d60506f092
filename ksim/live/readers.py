"""Consumers of a replay, and the applications that write what they have made of what they read: each a process of its own.

Kafka: the Java client's KafkaConsumer behind Reading.java, librdkafka's behind librdkafka_reader.py; in an application each with
its producer beside it.
The language is that of ksim.live.clients:

    consumer-setting NAME VALUE              in the client's own spelling
    reads TOPIC ...
    works MICROSECONDS COMMIT GROUP          on each record; then it commits: "sync", "async" or "none"; "-": no group
    writes TOPIC COMMIT_EVERY SIZE METADATA EPOCHS
                                         an application: one record for each, and a commit for so many
                                         METADATA, EPOCHS: "true" or "false" (KIP-447, KIP-320)

and what it says besides

    read, processed                          topic, partition, base, producer, first, count (and made): what poll() returned, what came of it
    offsets   offsets, class, transaction    a commit has its outcome
    idle      offsets                        poll() returned nothing, nothing is open; up to where it has read
    ended     class, message                 poll() or a commit threw this, or its producer is of no use any more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ksim.live.book import Book
from ksim.live.child import Workplace
from ksim.live.clients import REPLACED, LiveClient
from ksim.live.naming import Naming
from ksim.plan import ConsumerPlan, Plan, ProducerPlan
from ksim_models.config import ProducerConfig
from ksim_models.consumer_facts import CommittedOffset, PollFailed, Processed, Read
from ksim_models.copying import CopyHabits, Copying
from ksim_models.units import Micros

GROUP = "group.id"
OURS = REPLACED | {"key.deserializer", "value.deserializer", "client.rack"}


class LiveReader(LiveClient):
    """One consumer of the plan, with the producer of its application where it has one."""

    def __init__(
        self, plan: Plan, consumer: ConsumerPlan, application: CopyHabits | None, command: Sequence[str], *, naming: Naming, book: Book, workplace: Workplace
    ) -> None:
        names = [producer.name for producer in plan.producers]
        if application is None:  # A process that only reads has no producer; nothing is asked of this one.
            nobody = ProducerPlan(consumer.name, "java", consumer.profile, ProducerConfig())
            plan, index = replace(plan, producers=(*plan.producers, nobody)), len(names)
        else:
            index = names.index(application.producer)
        super().__init__(plan, index, command, naming=naming, book=book, workplace=workplace)
        self.consumer = consumer
        self.application = application
        self.names = names
        self.consumer_doors: Sequence[str] = ()
        self.positions: dict[str, int] | None = None
        """Up to where it has read, while nothing more comes; None while it is at work."""
        self.is_over = False
        """Its application has ended by itself."""
        if application is not None:
            self.workloads = [Copying(application, 0).fed]

    async def start_again(self, zero_ns: int) -> None:
        """Where the old one had come to is nobody's position any more."""
        self.positions, self.is_over = None, False
        await super().start_again(zero_ns)

    @property
    def all_offered(self) -> bool:
        self.check()
        return not self.returning

    @property
    def is_done(self) -> bool:
        self.check()
        if self.returning:
            return False
        return not self.alive or self.is_over or (self.positions is not None and self.ended == self.offered)

    @property
    def reads(self) -> bool:
        """It runs, and what there is it will read."""
        return self.alive and not self.is_over

    async def _tell_its_work(self, life: str) -> None:
        del life
        own = {name: value for name, value in self.consumer.given if name not in OURS}
        group = self.consumer.config.group_id
        if group is not None:
            own[GROUP] = self.naming.real_id(group)
        for name, value in (own | {"bootstrap.servers": ",".join(self.consumer_doors), "client.id": self.consumer.name}).items():
            self._say("consumer-setting", name, value)
        self._say("reads", *(self.naming.real(topic) for topic in self.consumer.topics))
        self._say("works", str(self.consumer.work), self.consumer.commit, own.get(GROUP, "-"))
        its = self.application
        if its is not None:
            self._say(
                "writes", self.naming.real(its.writes), str(its.commit_every), str(its.size), str(its.group_metadata).lower(), str(its.leader_epochs).lower()
            )
            for words in self.transactions.words():
                self._say(*words)

    def _count_offer(self, number: int, workload: int, at: Micros) -> None:
        """How many records there will be nobody knows."""
        del workload, at
        more = bytes(max(0, number + 1 - self.offered))
        self._known += more
        self._settled += more
        self._known[number] = 1
        self.offered += len(more)

    # What it says.

    def _on_read(self, events: list[dict[str, Any]]) -> None:
        self.positions = None
        for event in events:
            self.book.note(Read(self.consumer.name, self._place(event), *self._slice(event)), self._at(event))

    def _on_processed(self, events: list[dict[str, Any]]) -> None:
        assert self.application is not None
        for event in events:
            partition, (producer, records, base) = self._place(event), self._slice(event)
            made = range(event["made"], event["made"] + event["count"])
            self.book.note(Processed(self.application.name, partition, base, producer, records, self.name, made), self._at(event))

    def _on_offsets(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            offsets = tuple(sorted(self._offsets(event).items()))
            fact = CommittedOffset(self.consumer.name, str(self.consumer.config.group_id), offsets, event["class"], event["transaction"])
            self.book.note(fact, self._at(event))

    def _on_idle(self, events: list[dict[str, Any]]) -> None:
        self.positions = self._offsets(events[-1])

    def _on_ended(self, events: list[dict[str, Any]]) -> None:
        self.is_over = True
        event = events[0]
        self.book.note(PollFailed(self.consumer.name, event["class"], self._plain(event["message"])), self._at(event))

    def _sent_offsets(self, event: dict[str, Any]) -> tuple[tuple[tuple[str, int], ...], str]:
        return (tuple(sorted(self._offsets(event).items())), str(self.consumer.config.group_id)) if "offsets" in event else ((), "")

    def _place(self, event: dict[str, Any]) -> str:
        return f"{self.naming.told(event['topic'])}-{event['partition']}"

    def _slice(self, event: dict[str, Any]) -> tuple[str, range, int]:
        return self.names[event["producer"]], range(event["first"], event["first"] + event["count"]), event["base"]

    def _offsets(self, event: dict[str, Any]) -> dict[str, int]:
        return {f"{self.naming.told(topic)}-{number}": offset for topic, number, offset in event["offsets"]}


class Elsewhere:
    """A consumer in an application's process: what strikes the process strikes its producer by name."""

    def kill(self) -> None: ...
    def shut_down(self, within: Micros | None = None) -> None: ...
    def start_again(self, zero_ns: int) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
