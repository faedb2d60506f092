"""A producer without a simulation: connections open at once, metadata and producer ids are answered at once, Produce requests wait for what the test says.

`Client.play` runs a script of lines (what the test does, all that then happens): the language of the vectors in tests/kafka.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ksim_models.arrivals import Arrivals, Flaw, InTransactions, Outbox
from ksim_models.config import LibrdkafkaConfig, ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Acked, Failed, ProducerId, Refused, Sent
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

Lines = list[tuple[str, str]]
"""A script: what the test does, and everything that then happens."""
S_SET: dict[str, Any] = {"request_timeout_ms": 5_000, "delivery_timeout_ms": 1_500, "max_in_flight_requests_per_connection": 100, "buffer_memory": 1_048_576}
"""The settings of Kafka's SenderTest."""
IN_ORDER: dict[str, Any] = {"max_in_flight_requests_per_connection": 1}
PATIENT: dict[str, Any] = {"delivery_timeout_ms": 60_000}


def row(title: str, config: dict[str, Any], *script: tuple[str, str]) -> Any:
    """Of a table of scripts, each under its settings."""
    return pytest.param(config, list(script), id=title)


def vector(title: str, config: dict[str, Any], *script: tuple[str, str]) -> Any:
    """A row under the settings of Kafka's SenderTest but for `config`."""
    return row(title, S_SET | config, *script)


class Half:
    """Dice that always fall in the middle: no jitter."""

    def at(self, *what: str | int) -> float:
        return 0.5


class Drawn(Half):
    """Dice that fall as was told, one throw after the other."""

    def __init__(self, *falls: float) -> None:
        self.falls = list(falls)

    def at(self, *what: str | int) -> float:
        return self.falls.pop(0)


class Recording(Half):
    """Dice that always fall as low as they can, and remember what they were thrown for."""

    def __init__(self) -> None:
        self.drawn: list[tuple[str | int, ...]] = []

    def at(self, *what: str | int) -> float:
        self.drawn.append(what)
        return 0.0


class Calls:
    """send() calls as the test makes them."""

    def __init__(self, partition: int, size: int = 100) -> None:
        self.topic = "t"
        self.total = 0
        self.keyed = False
        self.warm_up = False
        self.compression_ratio = 500_000
        self.compression_spread = 0
        self.window: int | None = None
        self.partition: int | None = partition
        self.size: int | None = size
        self.times: list[Micros] = []
        self.workload = partition
        self.on_failure = REPORT
        self.transaction: InTransactions | None = None
        self.outbox: Outbox | None = None
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

    def __init__(self, calls: Sequence[Calls], machine: Machine) -> None:
        self.calls = calls
        self.machine = machine
        self.now: Micros = 0
        self.leaders = {"t-0": ("b1", 100), "t-1": ("b1", 100)}
        self.topic_error = ErrorCode.NONE
        """What the brokers say of every topic they are asked for."""
        self.brokers: tuple[str, ...] = ("b1", "b2")
        self.refusing: list[str] = []
        """Brokers that refuse a connection."""
        self.silent: list[str] = []
        """Brokers that do not even refuse one."""
        self.pending: list[tuple[str, object]] = []
        """(connection, request) without an answer, oldest first."""
        self.sent: list[RecordBatch] = []
        self.facts: list[tuple[Micros, object]] = []
        self.asked_for_metadata = 0
        self.asked_for_id = 0
        self.holding: tuple[type, ...] = (ProduceRequest,)
        """Requests that wait for what the test says; all others are answered at once."""

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

    def answer(self, error: ErrorCode = ErrorCode.NONE, offset: int = -1, *, nth: int = 0, throttle_ms: int = 0, **more: Any) -> None:
        """Answer the nth unanswered request, all its partitions alike."""
        connection, request = self.requests[nth]
        self.pending.remove((connection, request))
        results = tuple(ProduceResult(batch.partition, error, offset, **more) for batch in request.batches)
        self._handle(Received(connection, ProduceResponse(results, throttle_ms)))

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
        elif isinstance(effect, Open) and effect.peer in self.silent:
            return []
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
            if isinstance(request, self.holding):
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
                return MetadataResponse(self.brokers, tuple(TopicMetadata(topic, ErrorCode.NONE, found) for topic in message.topics))
            case _:
                assert isinstance(message, InitProducerIdRequest)
                self.asked_for_id += 1
                return InitProducerIdResponse(ErrorCode.NONE, 343433 + self.asked_for_id, 0)

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

    kind: type[Producer] = Producer

    def __init__(self, *, kafka: str = "4.3", partitions: int = 2, window: int | None = None, **config: Any) -> None:
        """window: so many unacknowledged records at most, in every partition; the next send() waits for a callback."""
        settings: dict[str, Any] = {"linger_ms": 0, "enable_idempotence": False, "retry_backoff_ms": 0, "retry_backoff_max_ms": 0}
        settings |= {"metadata_recovery_strategy": "none"} | config  # Kafka's mock client never begins again from its bootstrap servers.
        self.config = replace(ProducerConfig(), **settings)
        calls = [Calls(number) for number in range(partitions)]
        for call in calls:
            call.window = window
        self.producer = self.kind("p1", client_profile(kafka), self.config, ["b1", "b2"], list[Arrivals](calls), Half())
        super().__init__(calls, self.producer)
        self.leaders = {f"t-{number}": ("b1", 100) for number in range(partitions)}
        self._told = self._sends = 0

    def numbers(self, partition: str = "t-0") -> Numbers:
        assert self.producer.idempotence is not None
        return self.producer.idempotence.partitions[partition]

    def queued(self, partition: str = "t-0") -> list[tuple[int, int]]:
        """(first record, base sequence) of what waits."""
        return [(batch.first, batch.base_sequence) for batch in self.producer.accumulator.queues.get(partition, ())]

    # Scripts.

    def play(self, script: Sequence[tuple[str, str]]) -> None:
        """Do what each line says, and compare all that happens with what the line says of it."""
        for number, (line, expected) in enumerate(script):
            said = self._do(line)
            assert (said or self.happened()) == expected, f"line {number}: {line}"

    def _do(self, line: str) -> str | None:
        """One line of a script. An answer is for the request with the named record; with "inject" it comes out of turn, as no connection would give it."""
        verb, *rest = line.split()
        match verb:
            case "send" | "append":
                partition = next((int(word[1:]) for word in rest if word[0] == "p"), 0)
                count = next((int(word[1:]) for word in rest if word[0] == "x"), 1)
                if verb == "send":
                    self.send(partition, count)
                else:  # No turn follows.
                    self.calls[partition].times.extend([self.now] * count)
                    self.calls[partition].total += count
            case "at":
                self.at(float(rest[0]))
            case "answer" | "inject":
                self._answer_batches(" ".join(rest), out_of_turn=verb == "inject")
            case "disconnect":
                self.disconnect()
            case "down":  # Its requests are cancelled, and nobody listens.
                self.refusing.extend(rest)
                for connection in [name for name in self.producer.network.by_connection if name.split("->")[1].split("#")[0] in rest]:
                    self.pending = [request for request in self.pending if request[0] != connection]
                    self._handle(Closed(connection))
            case "up":
                self.refusing = [broker for broker in self.refusing if broker not in rest]
            case "leader":
                partition_name, leader, epoch = rest
                self.leaders[partition_name] = (leader, int(epoch))
            case "refresh":
                self.producer.metadata.request_update()
                self._handle(Wake())
            case _:
                assert verb == "state"
                return self.state(*rest)
        return None

    def _answer_batches(self, text: str, *, out_of_turn: bool) -> None:
        """ "0 NONE 5, 1 NOT_LEADER_OR_FOLLOWER lso=7": by first record of each batch; error, offset, and fields of the result."""
        results: dict[int, tuple[ErrorCode, int, dict[str, Any]]] = {}
        for part in text.split(","):
            first, error, *more = part.split()
            fields = dict(word.split("=") for word in more if "=" in word)
            extra: dict[str, Any] = {}
            if "lso" in fields:
                extra["log_start_offset"] = int(fields["lso"])
            if "leader" in fields:
                extra["leader"], epoch = fields["leader"].split("/")
                extra["leader_epoch"] = int(epoch)
            results[int(first)] = ErrorCode[error], next((int(word) for word in more if "=" not in word), -1), extra
        wanted = next(iter(results))
        carrying = [any(batch.records[0] == wanted for batch in request.batches) for _, request in self.requests]
        assert any(carrying), f"record {wanted} is in no request without an answer"
        connection, request = self.requests[carrying.index(True)]
        before = sum(name == connection for name, _ in self.requests[: carrying.index(True)])
        assert out_of_turn or not before, "a connection answers in order: inject it"
        if before:
            waiting = self.producer.network.nodes[self.producer.network.by_connection[connection]].in_flight
            asked = waiting[before]
            waiting.remove(asked)
            waiting.appendleft(asked)
        self.pending.remove((connection, request))
        answer = []
        for batch in request.batches:
            code, offset, extra = results[batch.records[0]]
            answer.append(ProduceResult(batch.partition, code, offset, **extra))
        self._handle(Received(connection, ProduceResponse(tuple(answer))))

    def happened(self) -> str:
        """What became of records since the last time, in order: "sent 0 e0s0; acked 0 at 5". A broker other than b1 is named."""
        said = []
        for _, fact in self.facts[self._told :]:
            match fact:
                case Sent():
                    batch = self.sent[self._sends]
                    self._sends += 1
                    numbered = f" e{batch.producer_epoch}s{batch.base_sequence}" if self.config.enable_idempotence else ""
                    said.append(f"sent {_span(fact.records)}{numbered}{'' if fact.broker == 'b1' else ' to ' + fact.broker}")
                case Acked():
                    said.append(f"acked {_span(fact.records)} at {fact.offset}")
                case Failed():
                    said.append(f"failed {_span(fact.records)} {fact.error}")
                case Refused():
                    said.append(f"refused {_span(fact.records)} {fact.error}")
                case ProducerId():
                    said.append(f"pid {fact.producer_id}" if fact.why == "InitProducerId" else f"epoch {fact.producer_epoch}")
                case _:
                    pass
        self._told = len(self.facts)
        return "; ".join(said)

    def state(self, partition: str = "t-0") -> str:
        """The numbers of a partition, and what waits in its queue: "e0 next 3 acked 1 (offset 1), queue 1 s1, 3": without s where there is no sequence."""
        numbers = self.numbers(partition)
        offset = f" (offset {numbers.last_acked_offset})" if numbers.last_acked_offset >= 0 else ""
        held = f", unresolved until {numbers.unresolved_until}" if numbers.unresolved_until is not None else ""
        waiting = "".join(f", {first}" + (f" s{base}" if base >= 0 else "") for first, base in self.queued(partition))
        queue = f", queue {waiting[2:]}" if waiting else ""
        return f"e{numbers.epoch} next {numbers.next_sequence} acked {numbers.last_acked_sequence}{offset}{held}{queue}"


def _span(records: Sequence[int]) -> str:
    return str(records[0]) if len(records) == 1 else f"{records[0]}-{records[-1]}"


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
