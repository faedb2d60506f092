"""A broker alone: b1 of three, with replicas of t-0; the controller, the other brokers and the clients are played by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ksim_models.broker import Broker
from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode
from ksim_models.machine import Close, Effect, Event, Note, Open, Opened, Received, Send, Wake
from ksim_models.messages import (
    BrokerHeartbeatResponse,
    BrokerRecord,
    BrokerRegistrationResponse,
    FetchPartition,
    FetchRequest,
    MetadataFetchResponse,
    MetadataRecord,
    PartitionRecord,
    ProduceRequest,
    ProduceResponse,
    RecordBatch,
    TopicRecord,
)
from ksim_models.profiles import broker_profile
from ksim_models.replica import Replica
from ksim_models.units import Micros
from scripted import Half

BROKERS = ("b1", "b2", "b3")


def partition(leader: str = "b1", *, epoch: int = 0, partition_epoch: int = 0, isr: tuple[str, ...] = BROKERS, recovering: bool = False) -> PartitionRecord:
    return PartitionRecord("t-0", BROKERS, isr, (), (), leader, epoch, partition_epoch, recovering)


class LoneBroker:
    def __init__(self, first: PartitionRecord | None = None, *, kafka: str = "4.3", topic: tuple[tuple[str, str], ...] = (), **config: Any) -> None:
        formed: list[MetadataRecord] = [BrokerRecord(name, number, False) for number, name in enumerate(BROKERS, 1)]
        formed += [TopicRecord("t", 1, topic), first or partition()]
        settings = replace(BrokerConfig(), **config)
        self.broker = Broker("b1", 1, broker_profile(kafka), settings, "controller-1", Half(), start_at=0, member=(1, formed))
        self.offset = len(formed)
        self.now: Micros = 0
        self.sequence = 0
        self.sent: list[tuple[str, object]] = []
        """(connection, message), in order."""
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.facts: list[object] = []
        self.tell(Wake())
        self.accept_opens()

    def tell(self, event: Event) -> list[Effect]:
        effects = list(self.broker.handle(event, self.now))
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append((effect.connection, effect.message))
            elif isinstance(effect, Note):
                self.facts.append(effect.fact)
            elif isinstance(effect, Open):
                self.opened.append(effect.connection)
            elif isinstance(effect, Close):
                self.closed.append(effect.connection)
        return effects

    def accept_opens(self) -> None:
        while self.opened:
            connection = self.opened.pop(0)
            self.tell(Opened(connection, connection.partition("->")[2].partition("#")[0], False))

    def until(self, now: Micros) -> None:
        """Alarms ring on the way."""
        while (at := self.broker.wake_at) is not None and at <= now:
            self.now = max(self.now, at)
            self.tell(Wake())
        self.now = now

    def learn(self, *records: MetadataRecord) -> None:
        """The controller committed these."""
        self.offset += len(records)
        self.tell(Received(self.controller, MetadataFetchResponse(self.offset, records)))

    def come_back(self) -> None:
        """After a restart: start up, be registered, catch up, be unfenced."""
        assert self.broker.wake_at is not None
        self.until(self.broker.wake_at)
        self.accept_opens()
        self.tell(Received(self.controller, BrokerRegistrationResponse(ErrorCode.NONE, self.offset + 1)))
        self.learn(BrokerRecord("b1", self.offset + 1, fenced=True))
        self.tell(Received(self.controller, BrokerHeartbeatResponse(ErrorCode.NONE, is_caught_up=True, is_fenced=False)))

    @property
    def controller(self) -> str:
        return next(connection for connection, _ in reversed(self.sent) if "->controller-1#" in connection)

    def client(self, name: str = "p1") -> str:
        connection = f"{name}->b1#1"
        self.tell(Opened(connection, name, True))
        return connection

    def produce(self, connection: str, count: int = 1, *, acks: int = -1, name: str = "t-0", timeout_ms: int = 30_000, size: int = 100) -> None:
        batch = RecordBatch(name, "p1", range(self.sequence, self.sequence + count), size)
        self.sequence += count
        self.tell(Received(connection, ProduceRequest(acks, timeout_ms, (batch,))))

    def fetch(self, follower: str, offset: int, *, epoch: int = 0, last_epoch: int = -1, full: bool = True) -> None:
        connection = f"{follower}->b1#1"
        if connection not in self.broker.inbound:
            self.tell(Opened(connection, follower, True))
        position = FetchPartition("t-0", offset, epoch, last_epoch)
        self.tell(Received(connection, FetchRequest(follower, int(follower[1]), full, (position,), (), 500)))

    # What a test looks at.

    def answers(self, connection: str, kind: type = ProduceResponse) -> list[Any]:
        return [message for to, message in self.sent if to == connection and isinstance(message, kind)]

    def codes(self, connection: str) -> list[ErrorCode]:
        return [result.error for response in self.answers(connection) for result in response.results]

    def asked(self, kind: type) -> list[Any]:
        """What this broker asked of others."""
        return [message for _, message in self.sent if isinstance(message, kind)]

    @property
    def replica(self) -> Replica:
        return self.broker.replicas["t-0"]
