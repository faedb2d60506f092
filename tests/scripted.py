"""A producer without a simulation: connections open at once, metadata and producer ids are answered at once, Produce requests wait for what the test says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ksim_models.arrivals import Arrivals, Flaw
from ksim_models.config import LibrdkafkaConfig, ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Acked, Failed
from ksim_models.idempotence import Sequence as Numbers
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.machine import Close, Closed, Effect, Event, Machine, Note, Open, Opened, Received, Send, Wake
from ksim_models.messages import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataRequest,
    MetadataResponse,
    PartitionMetadata,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
    RecordBatch,
    TopicMetadata,
)
from ksim_models.on_failure import REPORT
from ksim_models.producer import Producer
from ksim_models.profiles import client_profile
from ksim_models.units import Micros


class Half:
    """Dice that always fall in the middle: no jitter."""

    def at(self, *what: str | int) -> float:
        return 0.5


class Calls:
    """send() calls as the test makes them."""

    def __init__(self, partition: int, size: int = 100) -> None:
        self.topic = "t"
        self.total = 0
        self.keyed = False
        self.warm_up = False
        self.window: int | None = None
        self.partition: int | None = partition
        self.size: int | None = size
        self.times: list[Micros] = []
        self.workload = partition
        self.on_failure = REPORT
        self.flaws: dict[int, Flaw] = {}

    def time_of(self, index: int) -> Micros:
        return self.times[index]

    def count_until(self, now: Micros) -> int:
        return sum(time <= now for time in self.times)

    def step_of(self, index: int, count: int) -> Micros | None:
        return None

    def size_of(self, index: int) -> int:
        assert self.size is not None
        return self.size

    def key_of(self, index: int) -> int:
        return 0

    def key_hash_of(self, index: int) -> int:
        raise AssertionError("no keys here")


class Script:
    """Partitions t-0 and t-1, led by b1 (or as `leaders` says), epoch as `epochs` says."""

    def __init__(self, calls: tuple[Calls, Calls], machine: Machine) -> None:
        self.calls = calls
        self.machine = machine
        self.now: Micros = 0
        self.leaders = {"t-0": ("b1", 100), "t-1": ("b1", 100)}
        self.topic_error = ErrorCode.NONE
        """What the brokers say of every topic they are asked for."""
        self.refusing: list[str] = []
        """Brokers that refuse a connection."""
        self.pending: list[tuple[str, object]] = []
        """(connection, request) without an answer, oldest first."""
        self.sent: list[RecordBatch] = []
        self.facts: list[tuple[Micros, object]] = []
        self.asked_for_metadata = 0
        self.asked_for_id = 0

    def at(self, milliseconds: float) -> None:
        """Let time pass until then: alarms ring on the way."""
        until = int(milliseconds * 1000)
        while (wake := self.machine.wake_at) is not None and wake <= until:
            self.now = max(self.now, wake)
            self._handle(Wake())
        self.now = until

    def send(self, partition: int = 0, count: int = 1) -> None:
        """`count` calls of send(), then one turn."""
        self.calls[partition].times.extend([self.now] * count)
        self.calls[partition].total += count
        self._handle(Wake())

    def answer(self, error: ErrorCode = ErrorCode.NONE, offset: int = -1, *, nth: int = 0, **more: Any) -> None:
        """Answer the nth unanswered request, all its partitions alike."""
        connection, request = self.requests[nth]
        self.pending.remove((connection, request))
        self._handle(Received(connection, ProduceResponse(tuple(ProduceResult(batch.partition, error, offset, **more) for batch in request.batches))))

    def disconnect(self) -> None:
        for connection in dict.fromkeys(connection for connection, _ in self.requests):
            self.pending = [request for request in self.pending if request[0] != connection]
            self._handle(Closed(connection))

    @property
    def requests(self) -> list[tuple[str, ProduceRequest]]:
        """Produce requests without an answer, oldest first."""
        return [(connection, request) for connection, request in self.pending if isinstance(request, ProduceRequest)]

    def _handle(self, event: Event) -> None:
        waiting: list[Event] = [event]
        while waiting:
            for effect in self.machine.handle(waiting.pop(0), self.now):
                waiting.extend(self._carry_out(effect))
            if not waiting:
                waiting.extend(self._next_answer())

    def _carry_out(self, effect: Effect) -> list[Event]:
        if isinstance(effect, Note):
            self.facts.append((self.now, effect.fact))
        elif isinstance(effect, Close):
            self.pending = [request for request in self.pending if request[0] != effect.connection]
        elif isinstance(effect, Open):
            return [Closed(effect.connection)] if effect.peer in self.refusing else [Opened(effect.connection, effect.peer, False)]
        elif isinstance(effect, Send):
            self.pending.append((effect.connection, effect.message))
            if isinstance(effect.message, ProduceRequest):
                self.sent.extend(effect.message.batches)
        return []

    def _next_answer(self) -> list[Event]:
        """A broker answers the requests of a connection in order (BP-1): what stands behind a Produce request waits for the test."""
        held: list[str] = []
        for connection, request in self.pending:
            if isinstance(request, ProduceRequest):
                held.append(connection)
            elif connection not in held:
                self.pending.remove((connection, request))
                return [Received(connection, self._answer_at_once(request))]
        return []

    def _answer_at_once(self, message: object) -> object:
        match message:
            case ApiVersionsRequest():
                return ApiVersionsResponse()
            case MetadataRequest():
                self.asked_for_metadata += 1
                if self.topic_error:
                    return MetadataResponse(("b1", "b2"), tuple(TopicMetadata(topic, self.topic_error, ()) for topic in message.topics))
                found = tuple(PartitionMetadata(name, ErrorCode.NONE, leader, epoch) for name, (leader, epoch) in self.leaders.items())
                return MetadataResponse(("b1", "b2"), tuple(TopicMetadata(topic, ErrorCode.NONE, found) for topic in message.topics))
            case _:
                assert isinstance(message, InitProducerIdRequest)
                self.asked_for_id += 1
                return InitProducerIdResponse(ErrorCode.NONE, 343434, 0)

    # What a test looks at.

    def bases(self) -> list[tuple[int, int]]:
        """(epoch, base sequence) of everything sent, in order."""
        return [(batch.producer_epoch, batch.base_sequence) for batch in self.sent]

    def records(self) -> list[list[int]]:
        return [list(batch.records) for batch in self.sent]

    def outcomes(self) -> list[tuple[list[int], str]]:
        return [(list(fact.records), fact.error if isinstance(fact, Failed) else "acked") for _, fact in self.facts if isinstance(fact, (Acked, Failed))]


class Client(Script):
    """The Java client."""

    def __init__(self, *, kafka: str = "4.3", **config: Any) -> None:
        settings: dict[str, Any] = {"linger_ms": 0, "enable_idempotence": False, "retry_backoff_ms": 0, "retry_backoff_max_ms": 0} | config
        self.config = replace(ProducerConfig(), **settings)
        calls = Calls(0), Calls(1)
        self.producer = Producer("p1", client_profile(kafka), self.config, ["b1", "b2"], list[Arrivals](calls), Half())
        super().__init__(calls, self.producer)

    def numbers(self, partition: str = "t-0") -> Numbers:
        assert self.producer.idempotence is not None
        return self.producer.idempotence.partitions[partition]

    def queued(self, partition: str = "t-0") -> list[tuple[int, int]]:
        """(first record, base sequence) of what waits."""
        return [(batch.first, batch.base_sequence) for batch in self.producer.accumulator.queues.get(partition, ())]


class Librdkafka(Script):
    """librdkafka, without linger unless asked for; every retry waits exactly retry.backoff.ms, every reconnect 113 ms."""

    def __init__(self, **config: Any) -> None:
        calls = Calls(0), Calls(1)
        self.producer = LibrdkafkaProducer("p1", LibrdkafkaConfig(**({"linger_ms": 0} | config)), ["b1", "b2"], list[Arrivals](calls), Half())
        super().__init__(calls, self.producer)
        self.producer.sending.topic_of("t", 0)  # The topic is known before the test begins.
        self._handle(Wake())

    def queued(self, partition: str = "t-0") -> list[int]:
        return [message.number for message in self.producer.queues[partition].messages]
