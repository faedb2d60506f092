"""The exchanges with coordinators, and between them, that a frame fault may name, and what an answer with an error is for each.

Kafka: the requests' getErrorResponse. What a broker says of every partition is said of every one of them here too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ksim_models.errors import ErrorCode
from ksim_models.messages import NO_LEADER
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnBatchRequest,
    AddPartitionsToTxnBatchResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    SyncGroupRequest,
    SyncGroupResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

APIS: dict[type, str] = {
    FindCoordinatorRequest: "FindCoordinator",
    AddPartitionsToTxnRequest: "AddPartitionsToTxn",
    AddPartitionsToTxnBatchRequest: "AddPartitionsToTxn",
    AddOffsetsToTxnRequest: "AddOffsetsToTxn",
    EndTxnRequest: "EndTxn",
    TxnOffsetCommitRequest: "TxnOffsetCommit",
    WriteTxnMarkersRequest: "WriteTxnMarkers",
    JoinGroupRequest: "JoinGroup",
    SyncGroupRequest: "SyncGroup",
    HeartbeatRequest: "Heartbeat",
    LeaveGroupRequest: "LeaveGroup",
    OffsetCommitRequest: "OffsetCommit",
    OffsetFetchRequest: "OffsetFetch",
}
SHORT: dict[type, type[Any]] = {
    AddOffsetsToTxnRequest: AddOffsetsToTxnResponse,
    EndTxnRequest: EndTxnResponse,
    JoinGroupRequest: JoinGroupResponse,
    SyncGroupRequest: SyncGroupResponse,
    HeartbeatRequest: HeartbeatResponse,
    LeaveGroupRequest: LeaveGroupResponse,
    OffsetFetchRequest: OffsetFetchResponse,
}
"""Answers that have one error for all."""


def refusal(request: object, error: ErrorCode) -> object:
    """As a broker would have answered that refused."""
    match request:
        case FindCoordinatorRequest():
            return FindCoordinatorResponse(error, NO_LEADER)
        case AddPartitionsToTxnRequest():
            return AddPartitionsToTxnResponse(tuple((partition, error) for partition in request.partitions))
        case AddPartitionsToTxnBatchRequest():
            return AddPartitionsToTxnBatchResponse(
                tuple((one.transactional_id, tuple((partition, error) for partition in one.partitions)) for one in request.transactions)
            )
        case TxnOffsetCommitRequest():
            return TxnOffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
        case OffsetCommitRequest():
            return OffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
        case WriteTxnMarkersRequest():
            return WriteTxnMarkersResponse(tuple((marker.producer_id, partition, error) for marker in request.markers for partition in marker.partitions))
        case _:
            return SHORT[type(request)](error)


def replaced(response: object, error: ErrorCode) -> object:
    """The broker did the work; who asked is told otherwise."""
    match response:
        case AddPartitionsToTxnResponse() | TxnOffsetCommitResponse() | OffsetCommitResponse():
            return replace(response, results=tuple((partition, error) for partition, _ in response.results))
        case AddPartitionsToTxnBatchResponse():
            return replace(response, results=tuple((name, tuple((partition, error) for partition, _ in told)) for name, told in response.results))
        case WriteTxnMarkersResponse():
            return replace(response, results=tuple((producer_id, partition, error) for producer_id, partition, _ in response.results))
        case FindCoordinatorResponse():
            return FindCoordinatorResponse(error, NO_LEADER)
        case _:
            return type(response)(error)  # type: ignore[call-arg]


def partitions_of(request: object) -> list[str]:
    """What it is about."""
    match request:
        case AddPartitionsToTxnRequest():
            return list(request.partitions)
        case AddPartitionsToTxnBatchRequest():
            return [partition for one in request.transactions for partition in one.partitions]
        case TxnOffsetCommitRequest() | OffsetCommitRequest():
            return [partition for partition, _ in request.offsets]
        case WriteTxnMarkersRequest():
            return [partition for marker in request.markers for partition in marker.partitions]
        case _:
            return []
