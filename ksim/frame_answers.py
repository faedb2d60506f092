"""An answer that says an error, in the place of what a broker says: of every partition of the request, or of the whole.

Not Kafka's: `do = "answer"` of the fault language; the schemas are Kafka's.
"""

from __future__ import annotations

from dataclasses import replace

from ksim_models.errors import ErrorCode
from ksim_models.messages import (
    FetchedPartition,
    FetchRequest,
    FetchResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataRequest,
    MetadataResponse,
    TopicMetadata,
)
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
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)


def refusal_of(request: object, error: ErrorCode) -> object:
    """As a broker would have answered that refused. Produce requests are answered batch by batch, elsewhere."""
    match request:
        case InitProducerIdRequest():
            return InitProducerIdResponse(error, -1, -1)
        case FetchRequest():
            return FetchResponse(tuple(FetchedPartition(position.partition, error) for position in request.partitions))
        case MetadataRequest() if error is ErrorCode.REBOOTSTRAP_REQUIRED:  # Said of the whole answer, not of a topic (KIP-1102).
            return MetadataResponse((), (), error)
        case MetadataRequest():
            return MetadataResponse((), tuple(TopicMetadata(topic, error, ()) for topic in request.topics))
        case FindCoordinatorRequest():
            return FindCoordinatorResponse(error, "")
        case AddPartitionsToTxnRequest():
            return AddPartitionsToTxnResponse(tuple((partition, error) for partition in request.partitions))
        case AddPartitionsToTxnBatchRequest():
            asked = ((one.transactional_id, tuple((partition, error) for partition in one.partitions)) for one in request.transactions)
            return AddPartitionsToTxnBatchResponse(tuple(asked))
        case AddOffsetsToTxnRequest():
            return AddOffsetsToTxnResponse(error)
        case TxnOffsetCommitRequest():
            return TxnOffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
        case EndTxnRequest():
            return EndTxnResponse(error)
        case WriteTxnMarkersRequest():
            return WriteTxnMarkersResponse(tuple((marker.producer_id, partition, error) for marker in request.markers for partition in marker.partitions))
        case _:
            raise AssertionError(f"the scenario was checked: {request}")


def replaced(response: object, error: ErrorCode) -> object:
    """The broker did the work; the client is told otherwise."""
    match response:
        case InitProducerIdResponse():
            return InitProducerIdResponse(error, -1, -1)
        case FetchResponse():
            return FetchResponse(tuple(FetchedPartition(fetched.partition, error) for fetched in response.partitions))
        case MetadataResponse() if error is ErrorCode.REBOOTSTRAP_REQUIRED:
            return MetadataResponse(response.brokers, response.topics, error)
        case MetadataResponse():
            return MetadataResponse(response.brokers, tuple(replace(topic, error=error, partitions=()) for topic in response.topics))
        case FindCoordinatorResponse():
            return FindCoordinatorResponse(error, "")
        case AddPartitionsToTxnResponse() | TxnOffsetCommitResponse():
            return replace(response, results=tuple((partition, error) for partition, _ in response.results))
        case AddPartitionsToTxnBatchResponse():
            told = ((whose, tuple((partition, error) for partition, _ in results)) for whose, results in response.results)
            return AddPartitionsToTxnBatchResponse(tuple(told))
        case AddOffsetsToTxnResponse():
            return AddOffsetsToTxnResponse(error)
        case EndTxnResponse():
            return EndTxnResponse(error)
        case WriteTxnMarkersResponse():
            return WriteTxnMarkersResponse(tuple((producer_id, partition, error) for producer_id, partition, _ in response.results))
        case _:
            raise AssertionError(f"the scenario was checked: {response}")
