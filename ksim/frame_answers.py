"""The exchanges that a frame fault may name, which partitions each is about, and an answer that says an error in the place of what a broker says.

Kafka: the requests' getErrorResponse. Produce is answered batch by batch, in `ksim.frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ksim_models.errors import ErrorCode
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ApiVersionsRequest,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    FetchedPartition,
    FetchRequest,
    FetchResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataRequest,
    MetadataResponse,
    ProduceRequest,
    TopicMetadata,
)
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnBatchRequest,
    AddPartitionsToTxnBatchResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    ConsumerFetchedPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
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
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

APIS: dict[type, str] = {
    ProduceRequest: "Produce",
    MetadataRequest: "Metadata",
    InitProducerIdRequest: "InitProducerId",
    ApiVersionsRequest: "ApiVersions",
    FetchRequest: "Fetch",
    FindCoordinatorRequest: "FindCoordinator",
    AddPartitionsToTxnRequest: "AddPartitionsToTxn",
    AddPartitionsToTxnBatchRequest: "AddPartitionsToTxn",
    AddOffsetsToTxnRequest: "AddOffsetsToTxn",
    TxnOffsetCommitRequest: "TxnOffsetCommit",
    EndTxnRequest: "EndTxn",
    WriteTxnMarkersRequest: "WriteTxnMarkers",
    ConsumerFetchRequest: "Fetch",
    ListOffsetsRequest: "ListOffsets",
    OffsetForLeaderEpochRequest: "OffsetForLeaderEpoch",
    JoinGroupRequest: "JoinGroup",
    SyncGroupRequest: "SyncGroup",
    HeartbeatRequest: "Heartbeat",
    ConsumerGroupHeartbeatRequest: "ConsumerGroupHeartbeat",
    LeaveGroupRequest: "LeaveGroup",
    OffsetCommitRequest: "OffsetCommit",
    OffsetFetchRequest: "OffsetFetch",
    BrokerHeartbeatRequest: "BrokerHeartbeat",
    BrokerRegistrationRequest: "BrokerRegistration",
    AlterPartitionRequest: "AlterPartition",
}
WHOLE: dict[type, type[Any]] = {
    InitProducerIdRequest: InitProducerIdResponse,
    FindCoordinatorRequest: FindCoordinatorResponse,
    AddOffsetsToTxnRequest: AddOffsetsToTxnResponse,
    EndTxnRequest: EndTxnResponse,
    JoinGroupRequest: JoinGroupResponse,
    SyncGroupRequest: SyncGroupResponse,
    HeartbeatRequest: HeartbeatResponse,
    ConsumerGroupHeartbeatRequest: ConsumerGroupHeartbeatResponse,
    LeaveGroupRequest: LeaveGroupResponse,
    OffsetFetchRequest: OffsetFetchResponse,
    BrokerHeartbeatRequest: BrokerHeartbeatResponse,
    BrokerRegistrationRequest: BrokerRegistrationResponse,
    AlterPartitionRequest: AlterPartitionResponse,
}
"""With one error for the whole, whatever was asked."""
BESIDE_THE_ERROR: dict[type, dict[str, Any]] = {
    InitProducerIdResponse: {"producer_id": -1, "producer_epoch": -1},
    FindCoordinatorResponse: {"node": ""},
    BrokerHeartbeatResponse: {"is_caught_up": False, "is_fenced": True},
    BrokerRegistrationResponse: {"broker_epoch": -1},
    AlterPartitionResponse: {"results": ()},
}
"""What such an answer has to say besides; the others have defaults."""


def _refused_as_a_whole(response: type[Any], error: ErrorCode) -> object:
    return response(error, **BESIDE_THE_ERROR.get(response, {}))


def refusal(request: object, error: ErrorCode) -> object:
    """As a broker would have answered that refused."""
    match request:
        case FetchRequest():
            return FetchResponse(tuple(FetchedPartition(position.partition, error) for position in request.partitions))
        case ConsumerFetchRequest():
            return ConsumerFetchResponse(tuple(ConsumerFetchedPartition(position.partition, error) for position in request.partitions))
        case MetadataRequest() if error is ErrorCode.REBOOTSTRAP_REQUIRED:  # Said of the whole answer, not of a topic (KIP-1102).
            return MetadataResponse((), (), error)
        case MetadataRequest():
            return MetadataResponse((), tuple(TopicMetadata(topic, error, ()) for topic in request.topics))
        case AddPartitionsToTxnRequest():
            return AddPartitionsToTxnResponse(tuple((partition, error) for partition in request.partitions))
        case AddPartitionsToTxnBatchRequest():
            asked = ((one.transactional_id, tuple((partition, error) for partition in one.partitions)) for one in request.transactions)
            return AddPartitionsToTxnBatchResponse(tuple(asked))
        case TxnOffsetCommitRequest():
            return TxnOffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
        case OffsetCommitRequest():
            return OffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
        case WriteTxnMarkersRequest():
            return WriteTxnMarkersResponse(tuple((marker.producer_id, partition, error) for marker in request.markers for partition in marker.partitions))
        case ListOffsetsRequest():
            return ListOffsetsResponse(tuple((partition, error, -1, -1) for partition, _ in request.partitions))
        case OffsetForLeaderEpochRequest():
            return OffsetForLeaderEpochResponse(tuple((partition, error, -1, -1) for partition, _, _ in request.partitions))
    assert type(request) in WHOLE, f"the scenario was checked: {request}"
    return _refused_as_a_whole(WHOLE[type(request)], error)


def replaced(response: object, error: ErrorCode) -> object:
    """The broker did the work; who asked is told otherwise."""
    match response:
        case FetchResponse():
            return FetchResponse(tuple(FetchedPartition(fetched.partition, error) for fetched in response.partitions))
        case ConsumerFetchResponse():
            return ConsumerFetchResponse(tuple(ConsumerFetchedPartition(fetched.partition, error) for fetched in response.partitions))
        case MetadataResponse() if error is ErrorCode.REBOOTSTRAP_REQUIRED:
            return MetadataResponse(response.brokers, response.topics, error)
        case MetadataResponse():
            return MetadataResponse(response.brokers, tuple(replace(topic, error=error, partitions=()) for topic in response.topics))
        case AddPartitionsToTxnResponse() | TxnOffsetCommitResponse() | OffsetCommitResponse():
            return replace(response, results=tuple((partition, error) for partition, _ in response.results))
        case AddPartitionsToTxnBatchResponse():
            told = ((whose, tuple((partition, error) for partition, _ in results)) for whose, results in response.results)
            return AddPartitionsToTxnBatchResponse(tuple(told))
        case WriteTxnMarkersResponse():
            return WriteTxnMarkersResponse(tuple((producer_id, partition, error) for producer_id, partition, _ in response.results))
        case ListOffsetsResponse() | OffsetForLeaderEpochResponse():
            return replace(response, results=tuple((result[0], error, -1, -1) for result in response.results))
    assert type(response) in WHOLE.values(), f"the scenario was checked: {response}"
    return _refused_as_a_whole(type(response), error)


def partitions_of(request: object) -> Sequence[str]:
    match request:
        case ProduceRequest():
            return [batch.partition for batch in request.batches]
        case AlterPartitionRequest():
            return [item.partition for item in request.items]
        case FetchRequest() | ConsumerFetchRequest():
            return [position.partition for position in request.partitions]
        case AddPartitionsToTxnRequest() | OffsetFetchRequest():
            return request.partitions
        case AddPartitionsToTxnBatchRequest():
            return [partition for one in request.transactions for partition in one.partitions]
        case TxnOffsetCommitRequest() | OffsetCommitRequest():
            return [partition for partition, _ in request.offsets]
        case WriteTxnMarkersRequest():
            return [partition for marker in request.markers for partition in marker.partitions]
        case ListOffsetsRequest():
            return [partition for partition, _ in request.partitions]
        case OffsetForLeaderEpochRequest():
            return [partition for partition, _, _ in request.partitions]
    return ()
