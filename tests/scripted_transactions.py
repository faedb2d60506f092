"""A scripted transactional producer: what the application, the brokers and the coordinators do is written line by line, and all that comes of it beside.

The settings are those of Kafka's TransactionManagerTest: request.timeout.ms 1000, delivery.timeout.ms 3000, transactional requests retried after 100 ms,
batches at once, no linger; producer id 13131, epoch 1. b1 leads all partitions, b2 coordinates from "start" on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ksim_models.closing import ClosableProducer
from ksim_models.errors import ErrorCode
from ksim_models.facts import Acked, Failed, ProducerId, Refused, Sent
from ksim_models.machine import Closed, Effect, Event, Exit, Received, Send, Terminated, Wake
from ksim_models.messages import ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from ksim_models.transaction_pending import Group
from ksim_models.transaction_states import IllegalState, Result
from ksim_models.transactional_calls import Call
from scripted import Client, _span

APIS: dict[type, str] = {
    FindCoordinatorRequest: "FindCoordinator",
    InitProducerIdRequest: "InitProducerId",
    AddPartitionsToTxnRequest: "AddPartitions",
    AddOffsetsToTxnRequest: "AddOffsets",
    TxnOffsetCommitRequest: "TxnOffsetCommit",
    EndTxnRequest: "EndTxn",
}
PID = 13131
T_SET: dict[str, Any] = {
    "enable_idempotence": True,
    "transactional_id": "t",
    "transaction_timeout_ms": 1121,
    "retry_backoff_ms": 100,
    "retry_backoff_max_ms": 100,
    "request_timeout_ms": 1000,
    "delivery_timeout_ms": 3000,
    "max_in_flight_requests_per_connection": 100,
}


class Left:
    """A transactional request has left."""

    def __init__(self, text: str) -> None:
        self.text = text


class Transactional(Client):
    kind = ClosableProducer

    def __init__(self, *, v2: bool = False, bumps: bool = True, **config: Any) -> None:
        """v2: the cluster has transaction.version 2. bumps: its coordinators know InitProducerId v3 (T11)."""
        self.v2 = v2
        self.features_epoch = 1
        self.bumps = bumps
        self.producer_id = PID
        self.calls_made: list[Call] = []
        self._state = "UNINITIALIZED"
        super().__init__(**(T_SET | config))
        self.holding = (ProduceRequest, *APIS)
        self.producer.accumulator.backoff_ms = self.producer.accumulator.backoff_max_ms = 0
        assert self.producer.transactions is not None
        self.manager: TransactionManager = self.producer.transactions

    # The network.

    def _carry_out(self, effect: Effect) -> list[Event]:
        if isinstance(effect, Exit):
            self.facts.append((self.now, Left("exits")))
        if isinstance(effect, Send) and type(effect.message) in APIS:
            self.facts.append((self.now, Left(_described(effect.message))))
        return super()._carry_out(effect)

    def _answer_at_once(self, message: object) -> object:
        if isinstance(message, ApiVersionsRequest):
            return ApiVersionsResponse(features_epoch=self.features_epoch, transaction_version=2 if self.v2 else 1)
        return super()._answer_at_once(message)

    def _handle(self, event: Event) -> None:
        if not self.bumps:
            self.manager.coordinator_bumps = False
        super()._handle(event)

    def reply(self, api: str, words: Sequence[str]) -> None:
        """Answer the oldest request of this API: nothing, an error, or "t-0=ERROR" for single partitions; "b2" (who coordinates), "e7" (an epoch)."""
        connection, request = next((connection, request) for connection, request in self.pending if APIS.get(type(request)) == api)
        assert request is next(other for name, other in self.pending if name == connection), "a connection answers in order (BP-1)"
        self.pending.remove((connection, request))
        single = {word.split("=")[0]: ErrorCode[word.split("=")[1]] for word in words if "=" in word}
        error = next((ErrorCode[word] for word in words if word in ErrorCode.__members__), ErrorCode.NONE)
        node = next((word for word in words if word in ("b1", "b2")), "b1")
        told = next((int(word[1:]) for word in words if word[0] == "e" and word[1:].isdigit()), None)
        response: object
        match request:
            case FindCoordinatorRequest():
                response = FindCoordinatorResponse(error, node)
            case InitProducerIdRequest():
                epoch = request.producer_epoch + 1 if request.producer_epoch >= 0 else 1
                response = InitProducerIdResponse(error, self.producer_id, told if told is not None else epoch)
            case AddPartitionsToTxnRequest():
                response = AddPartitionsToTxnResponse(tuple((name, single.get(name, error)) for name in request.partitions))
            case AddOffsetsToTxnRequest():
                response = AddOffsetsToTxnResponse(error)
            case TxnOffsetCommitRequest():
                response = TxnOffsetCommitResponse(tuple((name, single.get(name, error)) for name, _ in request.offsets))
            case _:
                assert isinstance(request, EndTxnRequest)
                bumped = request.transaction_version >= 2 and not error
                epoch = told if told is not None else request.producer_epoch + 1
                response = EndTxnResponse(error, self.producer_id, epoch) if bumped else EndTxnResponse(error)
        self._handle(Received(connection, response))

    # The application.

    def _call(self, name: str, text: str) -> None:
        offsets = {word.split("=")[0]: int(word.split("=")[1]) for word in text.split()}
        manager = self.manager
        begin = {
            "init": manager.initialize,
            "commit": manager.commit,
            "abort": manager.abort,
            "send-offsets": lambda: manager.send_offsets(offsets, Group("g", "m", 5)),
        }[name]
        self.calls_made.append(Call(manager, name, begin, self.now, self.config.max_block_ms))

    def _do(self, line: str) -> str | None:
        verb, _, rest = line.partition(" ")
        words = rest.split()
        match verb:
            case "start":  # From nothing to the first transaction.
                self.producer.metadata.want("t", self.now)
                for step in ("init", "reply FindCoordinator b2", "pass 100", "reply InitProducerId", "begin"):
                    self._do(step)
                    self.happened()
            case "init" | "commit" | "abort" | "send-offsets" as name:
                self._call(name, rest)
                if words != ["quietly"]:
                    self._handle(Wake())
            case "begin":
                try:
                    self.manager.begin()
                except IllegalState as illegal:
                    return f"begin throws {illegal.failure.exception}"
            case "close":  # "close 0": by force.
                self._handle(Terminated(int(rest) if rest else None))
            case "append":  # No turn follows.
                super()._do(line)
                self.producer.sending.take(self.now, [])
            case "turn":
                self._handle(Wake())
            case "pass":
                self.at(self.now / 1000 + float(rest))
            case "reply":
                self.reply(words[0], words[1:])
            case "refuse":  # Its next connection.
                self.refusing.append(rest)
            case "upgrade":
                self.v2, self.features_epoch = True, 2
                self.manager.features = (2, 2)
            case "drop":  # The connection to this broker.
                for connection in [name for name in self.producer.network.by_connection if name.split("->")[1].split("#")[0] == rest]:
                    self.pending = [request for request in self.pending if request[0] != connection]
                    self._handle(Closed(connection))
            case "epoch":
                return f"{self.manager.producer_id}/{self.manager.epoch}"
            case "next":
                numbers = self.producer.idempotence.partitions.get(rest) if self.producer.idempotence is not None else None
                return str(numbers.next_sequence if numbers is not None else 0)
            case _:
                return super()._do(line)
        return None

    def happened(self) -> str:
        said = []
        for _, fact in self.facts[self._told :]:
            match fact:
                case Left():
                    said.append(fact.text)
                case Sent():
                    batch = self.sent[self._sends]
                    self._sends += 1
                    said.append(
                        f"sent {_span(fact.records)} e{batch.producer_epoch}s{batch.base_sequence}{'' if fact.broker == 'b1' else ' to ' + fact.broker}"
                    )
                case Acked():
                    said.append(f"acked {_span(fact.records)}")
                case Failed():
                    said.append(f"failed {_span(fact.records)} {fact.error}")
                case Refused():
                    said.append(f"refused {_span(fact.records)} {fact.error}")
                case ProducerId():
                    said.append(f"epoch {fact.producer_epoch}")
                case _:
                    pass
        self._told = len(self.facts)
        for call in list(self.calls_made):
            if call.look(self.now, []):
                self.calls_made.remove(call)
                said.append(f"{call.name} {'returns' if call.failure is None else f'throws {_shown(call.failure)}'}")
        state = self.manager.state.value
        if state != self._state:
            self._state = state
            error = self.manager.last_error
            said.append(f"[{state}{f': {_shown(error)}' if error is not None else ''}]")
        return "; ".join(said)


def _shown(failure: Any) -> str:
    return f"{failure.exception}({failure.cause})" if failure.cause else str(failure.exception)


def _described(message: object) -> str:
    name = APIS[type(message)]
    match message:
        case FindCoordinatorRequest():
            return f"{name} {message.kind}"
        case InitProducerIdRequest():
            return name if message.producer_id < 0 else f"{name} {message.producer_id}/{message.producer_epoch}"
        case AddPartitionsToTxnRequest():
            return f"{name} {','.join(message.partitions)}"
        case AddOffsetsToTxnRequest():
            return f"{name} {message.group}"
        case TxnOffsetCommitRequest():
            return f"{name} {','.join(f'{partition}={offset}' for partition, offset in message.offsets)}"
        case _:
            assert isinstance(message, EndTxnRequest)
            return f"{name} {'commit' if message.committed else 'abort'}"


def result_of(result: Result) -> str:
    if not result.is_completed:
        return "pending"
    return "done" if result.failure is None else result.failure.exception
