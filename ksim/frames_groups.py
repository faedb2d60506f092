"""The exchanges of a group with its coordinator that a frame fault may name, and what an answer with an error is for each.

Kafka: the requests' getErrorResponse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ksim_models.errors import ErrorCode
from ksim_models.transaction_messages import (
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
)

APIS: dict[type, str] = {
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
    return ANSWERS[type(request)](error)


def replaced(response: object, error: ErrorCode) -> object:
    """The coordinator did the work; who asked is told otherwise."""
    if isinstance(response, OffsetCommitResponse):
        return replace(response, results=tuple((partition, error) for partition, _ in response.results))
    assert type(response) in ANSWERS.values(), f"the scenario was checked: {response}"
    return type(response)(error)  # type: ignore[call-arg]


def partitions_of(request: object) -> Sequence[str]:
    if isinstance(request, OffsetCommitRequest):
        return [partition for partition, _ in request.offsets]
    return request.partitions if isinstance(request, OffsetFetchRequest) else ()
