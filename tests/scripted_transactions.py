"""A scripted transactional producer: what the coordinator, the brokers and the application do is written down, and so is all that crosses the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ksim_models.errors import ErrorCode
from ksim_models.facts import Acked, Failed, Refused, Transaction
from ksim_models.machine import Received, Wake
from ksim_models.messages import ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, ProduceRequest
from ksim_models.transaction_manager import Group, TransactionManager
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
from ksim_models.transaction_states import Failure, IllegalState, Result
from ksim_models.transactional_application import Call
from scripted import Client

APIS: dict[type, str] = {
    ProduceRequest: "Produce",
    FindCoordinatorRequest: "FindCoordinator",
    InitProducerIdRequest: "InitProducerId",
    AddPartitionsToTxnRequest: "AddPartitions",
    AddOffsetsToTxnRequest: "AddOffsets",
    TxnOffsetCommitRequest: "TxnOffsetCommit",
    EndTxnRequest: "EndTxn",
}
PID = 13131


class Transactional(Client):
    """transactional.id "t", pid 13131; v2: the cluster has transaction.version 2. Answers come when the test says, but for metadata and ApiVersions."""

    def __init__(self, *, v2: bool = False, **config: Any) -> None:
        self.v2 = v2
        self.features_epoch = 1
        self.wire: list[str] = []
        self.partitions_on_wire: list[tuple[str, ...]] = []
        self.epoch = 1
        self._seen: list[object] = []
        settings: dict[str, Any] = {"enable_idempotence": True, "transactional_id": "t", "retry_backoff_ms": 100, "retry_backoff_max_ms": 100}
        super().__init__(**(settings | config))
        self.holding = tuple(APIS)
        assert self.producer.transactions is not None
        self.manager: TransactionManager = self.producer.transactions

    # The network.

    def _answer_at_once(self, message: object) -> object:
        if isinstance(message, ApiVersionsRequest):
            return ApiVersionsResponse(features_epoch=self.features_epoch, transaction_version=2 if self.v2 else 1)
        assert isinstance(message, MetadataRequest)
        return super()._answer_at_once(message)

    def waiting(self) -> list[str]:
        """APIs of the requests without an answer, oldest first."""
        return [APIS[type(request)] for _, request in self.pending if type(request) in APIS]

    def asked(self, api: str) -> Any:
        return next(request for _, request in self.pending if APIS.get(type(request)) == api)

    def reply(self, api: str, *errors: ErrorCode, node: str = "b1", epoch: int | None = None, producer_id: int = PID) -> None:
        """Answer the oldest request of this API. Several errors: one per partition, the last for the rest."""
        connection, request = next((connection, request) for connection, request in self.pending if APIS.get(type(request)) == api)
        self.pending.remove((connection, request))
        error = errors[0] if errors else ErrorCode.NONE

        def each(names: Any) -> tuple[tuple[str, ErrorCode], ...]:
            return tuple((name, errors[min(place, len(errors) - 1)] if errors else error) for place, name in enumerate(names))

        response: object
        match request:
            case FindCoordinatorRequest():
                response = FindCoordinatorResponse(error, node)
            case InitProducerIdRequest():
                if not error:
                    self.epoch = epoch if epoch is not None else request.producer_epoch + 1 if request.producer_epoch >= 0 else 1
                response = InitProducerIdResponse(error, producer_id, self.epoch)
            case AddPartitionsToTxnRequest():
                response = AddPartitionsToTxnResponse(each(request.partitions))
            case AddOffsetsToTxnRequest():
                response = AddOffsetsToTxnResponse(error)
            case TxnOffsetCommitRequest():
                response = TxnOffsetCommitResponse(each(name for name, _ in request.offsets))
            case _:
                assert isinstance(request, EndTxnRequest)
                if request.transaction_version >= 2 and not error:
                    self.epoch = epoch if epoch is not None else request.producer_epoch + 1
                    response = EndTxnResponse(error, producer_id, self.epoch)
                else:
                    response = EndTxnResponse(error)
        self._handle(Received(connection, response))

    # The application.

    def call(self, name: str, *arguments: Any) -> Result:
        """A call that waits: begun, and the I/O thread woken."""
        result: Result = getattr(self.manager, name)(*arguments)
        self._handle(Wake())
        return result

    def init(self) -> None:
        call = Call(self.manager, "init", self.manager.initialize, self.now, self.config.max_block_ms)
        self._handle(Wake())
        self.reply("FindCoordinator")
        self.pass_by(100)  # It was put back while the coordinator was sought, so it is a retry.
        self.reply("InitProducerId")
        assert call.look(self.now)
        assert call.failure is None

    def pass_by(self, milliseconds: float) -> None:
        self.at(self.now / 1000 + milliseconds)

    def result(self, result: Result) -> str:
        """What became of a call: "pending", "done", or the exception."""
        if not result.is_completed:
            return "pending"
        return "done" if result.failure is None else result.failure.exception

    def begin(self) -> None:
        self.manager.begin()

    def throws(self, call: Callable[[], object]) -> Failure:
        try:
            call()
        except IllegalState as illegal:
            return illegal.failure
        raise AssertionError("it threw nothing")

    def offsets(self, **offsets: int) -> Result:
        return self.call("send_offsets", {name.replace("_", "-"): offset for name, offset in offsets.items()}, Group("g"))

    def ended(self) -> list[tuple[list[int], str]]:
        """What became of records, refusals included."""
        return [
            (list(fact.records), "acked" if isinstance(fact, Acked) else fact.error) for _, fact in self.facts if isinstance(fact, (Acked, Failed, Refused))
        ]

    def steps(self) -> list[str]:
        return [f"{fact.number} {fact.phase}{' ' + fact.error if fact.error else ''}" for _, fact in self.facts if isinstance(fact, Transaction)]
