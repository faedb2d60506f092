"""What can be known of a run from the frames that pass: batches sent, refusals, producer ids, leaders learned, connections made and lost.

Everything in the scenario's names. What is not of the scenario's workloads (warm-up records) leaves no trace.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ksim.live.book import Book
from ksim.live.clock import Clock
from ksim.live.naming import Naming
from ksim.live.wire import END_TXN, INIT_PRODUCER_ID, METADATA, PRODUCE, Topics, WireBatch, numbers
from ksim_models.errors import ErrorCode
from ksim_models.facts import Connected, Disconnected, Learned, ProducerId, Rejected, Sent, Transaction
from ksim_models.messages import NO_LEADER
from ksim_models.units import Micros

AFTER_APPEND = (ErrorCode.NONE, ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, ErrorCode.DUPLICATE_SEQUENCE_NUMBER)
"""Answers to a batch that is in the log, or may be."""


class Sightings:
    """Facts of the time before zero are kept until there is a zero: `begin`."""

    def __init__(self, clock: Clock, book: Book, naming: Naming, producers: Sequence[str], topics: Topics) -> None:
        self._clock = clock
        self._book = book
        self._naming = naming
        self._producers = producers
        self._topics = topics
        self._early: list[tuple[int, object]] | None = []
        self._attempts: dict[tuple[str, str, int], int] = {}
        self._leaders: dict[tuple[str, str], tuple[str, int]] = {}
        self._nodes: dict[int, str] = {}
        self._transactions: dict[str, int] = {}
        """Per producer: the transaction at hand, as its application has told."""
        self._ids: dict[str, tuple[int, int]] = {}

    def begin(self) -> None:
        """The clock has its zero."""
        early, self._early = self._early, None
        self._book.watch(self._hear)
        for moment, fact in early or ():
            self._book.note(fact, self._clock.of(moment))

    def _hear(self, at: Micros, fact: object) -> None:
        if isinstance(fact, Transaction):
            self._transactions[fact.producer] = fact.number

    @property
    def has_begun(self) -> bool:
        return self._early is None

    def name_node(self, node: int, name: str) -> None:
        self._nodes[node] = name

    def node_name(self, node: int) -> str:
        return NO_LEADER if node < 0 else self._nodes.get(node, f"broker-{node}")

    def told(self, topic: Any) -> str | None:
        """The scenario's name of the topic that an entry of a request or response is about; the real one where it is none of the scenario's."""
        real = self._topics.name_of(topic)
        return real if real is None else self._naming.told(real) or real

    def is_ours(self, topic: Any) -> bool:
        """A topic of the scenario, by real name or by topic id."""
        real = topic if isinstance(topic, str) else self._topics.name_by_id(topic)
        return real is not None and self._naming.told(real) is not None

    def partition_of(self, batch: WireBatch) -> str:
        return f"{self._naming.told(batch.topic) or batch.topic}-{batch.partition}"

    # Facts.

    def sent(self, client: str, broker: str, connection: str, batches: Sequence[WireBatch]) -> None:
        for batch in batches:
            records = self._records(client, batch)
            if records is None:
                continue
            partition = self.partition_of(batch)
            before = [self._attempts.get((client, partition, number), 0) for number in records]
            attempt = 1 + max(before, default=0)  # librdkafka may put other records together when it sends again.
            self._attempts.update(dict.fromkeys(((client, partition, number) for number in records), attempt))
            self._note(Sent(client, partition, records, broker, connection, attempt))

    def answered(self, api_key: int, client: str, broker: str, batches: Sequence[WireBatch], response: Any) -> None:
        if api_key == PRODUCE:
            self._produced(client, broker, batches, response)
        elif api_key == INIT_PRODUCER_ID:
            self._has_id(client, response, "InitProducerId")
        elif api_key == END_TXN:
            self._has_id(client, response, "EndTxn")
        elif api_key == METADATA:
            for topic in response.topics:
                self._topics.learn(getattr(topic, "topic_id", None), getattr(topic, "name", None))
                for partition in topic.partitions:
                    self._learned(client, topic, partition.partition_index, int(partition.leader_id), int(getattr(partition, "leader_epoch", -1)))

    def commits(self, client: str) -> None:
        """It asks for the end of its transaction."""
        self._note(Transaction(client, self._transactions.get(client, 0), "commit-sent"))

    def _has_id(self, client: str, response: Any, why: str) -> None:
        """EndTxn v5 answers with the id and epoch of the next transaction; before, with none."""
        known = int(getattr(response, "producer_id", -1)), int(getattr(response, "producer_epoch", -1))
        if response.error_code == 0 and known[0] >= 0 and self._ids.get(client) != known:
            self._ids[client] = known
            self._note(ProducerId(client, *known, why))

    def connected(self, client: str, broker: str, connection: str) -> None:
        self._note(Connected(client, broker, connection))

    def disconnected(self, client: str, broker: str, connection: str, requests: int, why: str) -> None:
        self._note(Disconnected(client, broker, connection, requests, why))

    def _produced(self, client: str, broker: str, batches: Sequence[WireBatch], response: Any) -> None:
        for topic in response.responses:
            for partition in topic.partition_responses:
                if partition.error_code == 0:
                    continue
                error = _error(partition.error_code)
                name = f"{self.told(topic)}-{partition.index}"
                if error not in AFTER_APPEND:
                    for batch in batches:
                        records = self._records(client, batch) if self.partition_of(batch) == name else None
                        if records is not None:
                            self._note(Rejected(broker, name, client, records, error.name))
                            if error is ErrorCode.MESSAGE_TOO_LARGE:
                                self._count_anew(client, name, records)
                hint = getattr(partition, "current_leader", None)
                if hint is not None and hint.leader_id >= 0:
                    self._learned(client, topic, partition.index, int(hint.leader_id), int(hint.leader_epoch))

    def _count_anew(self, client: str, partition: str, records: Sequence[int]) -> None:
        """What they are cut into are other batches, each with a first attempt (A43)."""
        for number in records:
            self._attempts.pop((client, partition, number), None)

    def _learned(self, client: str, topic: Any, partition: int, leader: int, leader_epoch: int) -> None:
        real = self._topics.name_of(topic)
        told = self._naming.told(real) if real is not None else None
        if told is None:
            return
        name = f"{told}-{partition}"
        known = self._leaders.get((client, name))
        new = (self.node_name(leader), leader_epoch)
        if known is None or (leader_epoch >= known[1] and known != new):  # Clients take no step back either.
            self._leaders[client, name] = new
            self._note(Learned(client, name, *new))

    def _records(self, client: str, batch: WireBatch) -> Sequence[int] | None:
        """None for a warm-up, and for what another than this producer sends."""
        mine = all(record is not None and record[0] < len(self._producers) and self._producers[record[0]] == client for record in batch.records)
        return numbers(batch.records) if mine else None

    def _note(self, fact: object) -> None:
        if self._early is not None:
            self._early.append((time.monotonic_ns(), fact))
        else:
            self._book.note(fact)


def _error(code: int) -> ErrorCode:
    try:
        return ErrorCode(int(code))
    except ValueError:
        return ErrorCode.UNKNOWN_SERVER_ERROR
