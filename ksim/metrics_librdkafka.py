"""Statistics of librdkafka, by its names: a tap on its wire and its queues, and how they are read.

Kafka: librdkafka's STATISTICS.md, rd_kafka_stats_emit_all. An interval of its statistics (statistics.interval.ms) is a step of the series.
Left out: txerrs and rxerrs (sockets whose calls fail are not simulated), txretries and req_timeouts (no request is repeated as such here), int_latency and
outbuf_latency, byte counts, windows of histograms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import nan

from ksim.metrics_names import LIBRDKAFKA_GAUGES, LIBRDKAFKA_TOTALS
from ksim.metrics_samples import LONG_AGO, ClientSamples, Level
from ksim.metrics_series import Line, levels_at
from ksim_models.facts import Acked, Disconnected, Failed, Offered, Refused, Sent
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.machine import Closed, Effect, Event, Note, Open, Received, Send
from ksim_models.messages import ProduceRequest
from ksim_models.units import MILLISECOND, Micros


class TappedLibrdkafka:
    """A producer of librdkafka that is listened to. What it does is not changed."""

    def __init__(self, producer: LibrdkafkaProducer) -> None:
        self.producer = producer
        self.name = producer.name
        self.lives: list[ClientSamples] = []
        self._begin_life(LONG_AGO)

    def _begin_life(self, now: Micros) -> None:
        """Another process: its statistics begin at nothing."""
        self.brokers = self.producer.brokers
        self.taken = ClientSamples(self.name, "librdkafka", born_at=now)
        self.lives.append(self.taken)
        """Round trips are its only samples; what is counted are levels that rise."""
        for name in ("tx", "rx"):  # Of each broker, and summed up over all of them.
            self.taken.levels[name, ""] = []
        self.nodes: dict[str, str] = {}
        """Connection -> its broker."""
        self.unanswered: dict[str, deque[Micros]] = {}
        self.held: Level = []
        """Changes of the number of messages, in no order: records are told of late, with the moments at which they were produced."""

    @property
    def wake_at(self) -> Micros | None:
        return self.producer.wake_at

    def handle(self, event: Event, now: Micros) -> Sequence[Effect]:
        effects = self.producer.handle(event, now)
        if self.producer.brokers is not self.brokers:
            self._close_life()
            self._begin_life(now)
        if type(event) is Received and self.unanswered.get(event.connection):
            sent_at = self.unanswered[event.connection].popleft()
            self._count(now, "rx", "", self.nodes[event.connection])
            self.taken.samples.append((now, "rtt", self.nodes[event.connection], now - sent_at))
        elif type(event) is Closed:
            self.unanswered.pop(event.connection, None)
        for effect in effects:
            if type(effect) is Note:
                self._see(effect.fact, now)
            elif type(effect) is Open:
                self.nodes[effect.connection] = self.producer.brokers.by_connection[effect.connection].name
                self._count(now, "connects", self.nodes[effect.connection])
            elif type(effect) is Send:
                self._count(now, "tx", "", self.nodes[effect.connection])
                if not (type(effect.message) is ProduceRequest and not effect.message.acks):
                    self.unanswered.setdefault(effect.connection, deque()).append(now)
        for thread in self.producer.brokers:
            self._stands(now, "outbuf_cnt", thread.name, len(thread.out))
            self._stands(now, "waitresp_cnt", thread.name, len(thread.waiting))
        if not self.producer.alive and self.taken.ended_at is None:
            self.taken.ended_at = now
        return effects

    def _see(self, fact: object, now: Micros) -> None:
        match fact:
            case Offered():
                self.held += [(at, 1) for at in fact.moments()]
            case Acked() | Failed() | Refused():
                self.held.append((now, -len(fact.records)))
            case Sent():
                self._count(now, "txmsgs", "", by=len(fact.records))
            case Disconnected():
                self.unanswered.pop(fact.connection, None)
                self._count(now, "disconnects", self.nodes[fact.connection])

    def _count(self, now: Micros, name: str, *nodes: str, by: int = 1) -> None:
        for node in nodes:
            level = self.taken.levels.setdefault((name, node), [])
            level.append((now, (level[-1][1] if level else 0) + by))

    def _stands(self, now: Micros, name: str, node: str, value: int) -> None:
        level = self.taken.levels.setdefault((name, node), [])
        if (level[-1][1] if level else 0) != value:
            level.append((now, value))

    def samples(self) -> list[ClientSamples]:
        """When the run is over: one for each life of the client."""
        self._close_life()
        return self.lives

    def _close_life(self) -> None:
        held = 0.0
        level = self.taken.levels["msg_cnt", ""] = []
        for at, change in sorted(self.held):
            held += change
            level.append((at, held))


def read_librdkafka(taken: ClientSamples, at: Sequence[Micros]) -> list[Line]:
    alive = [moment for moment in at if taken.lived_at(moment)]
    at_ms = tuple(moment // MILLISECOND for moment in alive)
    lines = [
        Line(name, taken.client, node, "", at_ms, tuple(levels_at(level, alive)))
        for name in (*LIBRDKAFKA_GAUGES, *LIBRDKAFKA_TOTALS)
        for (of, node), level in taken.levels.items()
        if of == name
    ]
    return [*lines, *_round_trips(taken, alive, at_ms)]


def _round_trips(taken: ClientSamples, alive: Sequence[Micros], at_ms: tuple[int, ...]) -> list[Line]:
    """In microseconds, of the answers that came since the reading before; NaN where none did (librdkafka says 0)."""
    found: dict[str, list[tuple[Micros, float]]] = {}
    for moment, _, node, value in taken.samples:
        found.setdefault(node, []).append((moment, value))
    lines = []
    for node, trips in found.items():
        averages, most, place = [], [], 0
        for moment in alive:
            since = place
            while place < len(trips) and trips[place][0] <= moment:
                place += 1
            values = [value for _, value in trips[since:place]]
            averages.append(sum(values) / len(values) if values else nan)
            most.append(max(values) if values else nan)
        lines.append(Line("rtt.avg", taken.client, node, "", at_ms, tuple(averages)))
        lines.append(Line("rtt.max", taken.client, node, "", at_ms, tuple(most)))
    return lines
