"""The exchanges of consumers, with leaders and with the coordinator of their group, that a frame fault may name, and what an answer with an error is for each.

Kafka: the requests' getErrorResponse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ksim_models.errors import ErrorCode
from ksim_models.transaction_messages import (
    ConsumerFetchedPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)

APIS: dict[type, str] = {
    ConsumerFetchRequest: "Fetch",
    ListOffsetsRequest: "ListOffsets",
    OffsetForLeaderEpochRequest: "OffsetForLeaderEpoch",
    JoinGroupRequest: "JoinGroup",
    SyncGroupRequest: "SyncGroup",
    HeartbeatRequest: "Heartbeat",
    LeaveGroupRequest: "LeaveGroup",
    OffsetCommitRequest: "OffsetCommit",
    OffsetFetchRequest: "OffsetFetch",
}
ANSWERS: dict[type, type[Any]] = {
    JoinGroupRequest: JoinGroupResponse,
    SyncGroupRequest: SyncGroupResponse,
    HeartbeatRequest: HeartbeatResponse,
    LeaveGroupRequest: LeaveGroupResponse,
    OffsetFetchRequest: OffsetFetchResponse,
}
"""With one error for the whole."""


def refusal(request: object, error: ErrorCode) -> object:
    """As a coordinator would have answered that refused."""
    if isinstance(request, OffsetCommitRequest):
        return OffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
    match request:
        case ConsumerFetchRequest():
            return ConsumerFetchResponse(tuple(ConsumerFetchedPartition(position.partition, error) for position in request.partitions))
        case ListOffsetsRequest():
            return ListOffsetsResponse(tuple((partition, error, -1, -1) for partition, _ in request.partitions))
        case OffsetForLeaderEpochRequest():
            return OffsetForLeaderEpochResponse(tuple((partition, error, -1, -1) for partition, _, _ in request.partitions))
    return ANSWERS[type(request)](error)


def replaced(response: object, error: ErrorCode) -> object:
    """The coordinator did the work; who asked is told otherwise."""
    if isinstance(response, OffsetCommitResponse):
        return replace(response, results=tuple((partition, error) for partition, _ in response.results))
    match response:
        case ConsumerFetchResponse():
            return ConsumerFetchResponse(tuple(ConsumerFetchedPartition(told.partition, error) for told in response.partitions))
        case ListOffsetsResponse() | OffsetForLeaderEpochResponse():
            return replace(response, results=tuple((told[0], error, -1, -1) for told in response.results))
    assert type(response) in ANSWERS.values(), f"the scenario was checked: {response}"
    return type(response)(error)  # type: ignore[call-arg]


def partitions_of(request: object) -> Sequence[str]:
    if isinstance(request, OffsetCommitRequest):
        return [partition for partition, _ in request.offsets]
    match request:
        case OffsetFetchRequest():
            return request.partitions
        case ConsumerFetchRequest():
            return [position.partition for position in request.partitions]
        case ListOffsetsRequest():
            return [partition for partition, _ in request.partitions]
        case OffsetForLeaderEpochRequest():
            return [partition for partition, _, _ in request.partitions]
    return ()
