"""Samples: what the sensors of one client were told, and when; taken beside a run, on the wire and from the client's measurements.

Kafka: Sender.SenderMetrics, Selector.SelectorMetrics, NetworkClient, BufferPool (section 6.2 of the client's rule book).
A run that is measured has the same facts as one that is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ksim.metrics import NOT_COUNTED
from ksim.metrics_sizes import RequestSizes
from ksim.metrics_windows import Windows
from ksim_models.client_network import throttle_of
from ksim_models.facts import Refused, Retried, Split
from ksim_models.machine import Close, Closed, Effect, Event, Note, Open, Opened, Received, Send
from ksim_models.measurements import MEASUREMENTS, Drained, Errored
from ksim_models.messages import MetadataResponse, ProduceRequest, ProduceResponse
from ksim_models.producer import Producer
from ksim_models.units import MILLISECOND, Micros

NANOSECONDS_OF_A_MICRO = 1_000
LONG_AGO: Micros = -(2**62)

Sample = tuple[Micros, str, str, float]
"""When, the sensor, the topic or node of it ("" for the client itself), the value."""
Level = list[tuple[Micros, float]]
"""From then on it stood so."""


@dataclass(slots=True)
class ClientSamples:
    """Of one client. `samples` in the order of time; `levels` by (gauge, node)."""

    client: str
    dialect: str
    """"java" or "librdkafka"; "consumer" is the Java client's."""
    windows: Windows = field(default_factory=Windows)
    samples: list[Sample] = field(default_factory=list)
    levels: dict[tuple[str, str], Level] = field(default_factory=dict)
    refreshed: list[Micros] = field(default_factory=list)
    """When metadata was answered in full (metadata-age)."""
    born_at: Micros = LONG_AGO
    ended_at: Micros | None = None
    """The client is gone, and with it what it would tell."""
    told: frozenset[str] = frozenset()
    """The only metrics that can be told; empty: all of them."""

    def lived_at(self, moment: Micros) -> bool:
        return self.born_at <= moment and (self.ended_at is None or moment < self.ended_at)


@dataclass(slots=True)
class Exchange:
    """A connection, as its client sees it: to which node, and when the requests were sent that have no answer."""

    node: str
    unanswered: deque[Micros] = field(default_factory=deque)


class Tapped:
    """A Java producer whose wire and measurements are listened to. What it does is not changed; its measurements end here."""

    def __init__(self, producer: Producer, sizes: RequestSizes, windows: Windows) -> None:
        self.producer = producer
        self.name = producer.name
        self.sizes = sizes
        self.windows = windows
        self.lives: list[ClientSamples] = []
        self._begin_life(LONG_AGO)

    def _begin_life(self, now: Micros) -> None:
        """Another process, or another KafkaProducer in it: its sensors know nothing of what was before."""
        self.accumulator = self.producer.accumulator
        self.producer.outcomes.measured = True
        self.memory_log: list[tuple[Micros | None, int]] = []
        self.accumulator.memory_log = self.memory_log
        self.taken = ClientSamples(self.name, "java", self.windows, born_at=now)
        self.lives.append(self.taken)
        self.exchanges: dict[str, Exchange] = {}
        self.memory: Level = []
        """Changes, in no order: records are taken in late, with the moments at which they came."""
        self.waiting: dict[tuple[int, int], Micros] = {}
        """(thread, its call) -> since when that send() waits for memory."""

    @property
    def wake_at(self) -> Micros | None:
        return self.producer.wake_at

    def handle(self, event: Event, now: Micros) -> Sequence[Effect]:
        effects = self.producer.handle(event, now)
        if self.producer.accumulator is not self.accumulator:
            self._close_life()
            self._begin_life(now)
        self._see_event(event, now)
        drained: dict[str, float] = {}
        passed_on: list[Effect] = []
        for effect in effects:
            if type(effect) is Note:
                if type(effect.fact) in MEASUREMENTS:
                    self._measure(effect.fact, now, drained)
                    continue
                self._see_fact(effect.fact, now)
            else:
                self._see_effect(effect, now, drained)
            passed_on.append(effect)
        self._look_at_waiters(now)
        self.memory += [(now if at is None else at, change) for at, change in self.memory_log]
        self.memory_log.clear()
        if not self.producer.alive and self.taken.ended_at is None:
            self.taken.ended_at = now
        return passed_on

    # What comes.

    def _see_event(self, event: Event, now: Micros) -> None:
        if type(event) is Received:
            exchange = self.exchanges.get(event.connection)
            if exchange is not None and exchange.unanswered:
                self._answered(exchange, event.message, now)
        elif type(event) is Opened:
            if event.connection in self.exchanges:
                self._take(now, "connections-created", 1)
        elif type(event) is Closed:
            self._gone(event.connection, now)

    def _answered(self, exchange: Exchange, message: object, now: Micros) -> None:
        sent_at = exchange.unanswered.popleft()
        self._take(now, "responses-received", 1)
        self._take(now, "node.responses-received", 1, exchange.node)
        self._take(now, "produce-throttle-time", throttle_of(message))  # Of every answer, of whatever kind (6.2).
        if type(message) is ProduceResponse:
            latency = now // MILLISECOND - sent_at // MILLISECOND
            self._take(now, "request-time", latency)
            self._take(now, "node.latency", latency, exchange.node)
        elif type(message) is MetadataResponse and self.producer.metadata.succeeded_at == now:
            self.taken.refreshed.append(now)
        self._level(now, "requests-in-flight", -1)

    def _gone(self, connection: str, now: Micros) -> None:
        exchange = self.exchanges.pop(connection, None)
        if exchange is not None:
            self._take(now, "connections-closed", 1)
            self._level(now, "connection-count", -1)
            if exchange.unanswered:
                self._level(now, "requests-in-flight", -len(exchange.unanswered))

    # What goes.

    def _see_effect(self, effect: Effect, now: Micros, drained: dict[str, float]) -> None:
        if type(effect) is Send:
            self._sent(effect, now, drained)
        elif type(effect) is Open:
            node = self.producer.network.by_connection.get(effect.connection, effect.peer)
            self.exchanges[effect.connection] = Exchange(node)
            self._level(now, "connection-count", 1)
        elif type(effect) is Close:
            self._gone(effect.connection, now)

    def _sent(self, effect: Send, now: Micros, drained: dict[str, float]) -> None:
        exchange = self.exchanges[effect.connection]
        message = effect.message
        size = self.sizes.of(message)
        for sensor in ("requests-sent", "bytes-sent"):
            self._take(now, sensor, size)
            self._take(now, f"node.{sensor}", size, exchange.node)
        if type(message) is ProduceRequest:
            if exchange.node in drained:
                self._take(now, "records-per-request", drained.pop(exchange.node))
            if not message.acks:
                return
        exchange.unanswered.append(now)
        self._level(now, "requests-in-flight", 1)

    # What is measured.

    def _measure(self, fact: object, now: Micros, drained: dict[str, float]) -> None:
        match fact:
            case Drained():
                topic = fact.partition.rpartition("-")[0]
                drained[fact.node] = drained.get(fact.node, 0) + fact.records
                self._take(now, "topic.records-per-batch", fact.records, topic)
                self._take(now, "topic.bytes", fact.size_bytes, topic)
                self._take(now, "topic.compression-rate", fact.compression_ratio, topic)
                self._take(now, "batch-size", fact.size_bytes)
                self._take(now, "queue-time", now // MILLISECOND - fact.created_at // MILLISECOND)
                self._take(now, "compression-rate", fact.compression_ratio)
                self._take(now, "record-size", fact.largest_record_bytes)
            case Errored():
                self._of_partition(now, "errors", "topic.record-errors", fact.partition, fact.records)

    def _see_fact(self, fact: object, now: Micros) -> None:
        if type(fact) is Retried:
            self._of_partition(now, "record-retries", "topic.record-retries", fact.partition, len(fact.records))
        elif type(fact) is Split:
            self._take(now, "batch-split-rate", 1)
        elif type(fact) is Refused and fact.error not in NOT_COUNTED:
            self._take(now, "errors", len(fact.records))
            if fact.error == "BufferExhaustedException":
                self._take(now, "buffer-exhausted-records", len(fact.records))

    def _look_at_waiters(self, now: Micros) -> None:
        """BufferPool.allocate: the wait is recorded when it is over."""
        before = len(self.waiting)
        still: dict[tuple[int, int], Micros] = {}
        for thread in self.producer.sending.threads:
            if thread.blocked_on == "memory":
                call = thread.index, thread.next
                still[call] = self.waiting.pop(call, now)
        for since in self.waiting.values():
            self._take(now, "bufferpool-wait-time", (now - since) * NANOSECONDS_OF_A_MICRO)
        if len(still) != before:
            self._level(now, "waiting-threads", len(still) - before)
        self.waiting = still

    # The books.

    def _take(self, now: Micros, sensor: str, value: float, label: str = "") -> None:
        self.taken.samples.append((now, sensor, label, value))

    def _of_partition(self, now: Micros, sensor: str, topic_sensor: str, partition: str, records: int) -> None:
        self._take(now, sensor, records)
        self._take(now, topic_sensor, records, partition.rpartition("-")[0])

    def _level(self, now: Micros, gauge: str, by: int) -> None:
        level = self.taken.levels.setdefault((gauge, ""), [])
        level.append((now, (level[-1][1] if level else 0) + by))

    def samples(self) -> list[ClientSamples]:
        """When the run is over: one for each life of the client."""
        self._close_life()
        return self.lives

    def _close_life(self) -> None:
        total = self.accumulator.total_memory
        free = float(total)
        available: Level = [(LONG_AGO, free)]
        for at, change in sorted(self.memory):
            free += change
            available.append((at, free))
        self.taken.levels["buffer-available-bytes", ""] = available
        self.taken.levels["buffer-total-bytes", ""] = [(LONG_AGO, float(total))]
