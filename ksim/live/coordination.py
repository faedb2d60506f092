"""What requests to coordinators, and between them, are about; and an answer with an error in the place of theirs.

Kafka: the requests' getErrorResponse. What a broker says of every partition is said of every one of them here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ksim.live.wire import ADD_OFFSETS, ADD_PARTITIONS, COMMIT_OFFSETS, END_TXN, FIND_COORDINATOR, WRITE_MARKERS

NO_TIME = timedelta(0)
COORDINATORS = (FIND_COORDINATOR, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, WRITE_MARKERS, COMMIT_OFFSETS)
NO_NODE = {"node_id": -1, "host": "", "port": -1}
Make = Callable[..., Any]
"""A part of the response, by its name and values."""


def partitions_in_transactions(api_key: int, request: Any) -> Iterator[tuple[Any, int]]:
    """Entries of topics, each with a partition."""
    if api_key == ADD_PARTITIONS:
        for topic in _added(request):
            yield from ((topic, int(number)) for number in topic.partitions)
    elif api_key == WRITE_MARKERS:
        for marker in request.markers:
            for topic in marker.topics:
                yield from ((topic, int(number)) for number in topic.partition_indexes)
    elif api_key == COMMIT_OFFSETS:
        for topic in request.topics:
            yield from ((topic, int(partition.partition_index)) for partition in topic.partitions)


def _added(request: Any) -> Iterator[Any]:
    if hasattr(request, "transactions"):
        for transaction in request.transactions:
            yield from transaction.topics
    else:
        yield from request.v3_and_below_topics


def refusal(api_key: int, request: Any, code: Any, make: Make) -> Any:
    """As a broker would have answered that refused."""
    if api_key == FIND_COORDINATOR:
        if hasattr(request, "coordinator_keys"):
            found = tuple(make("Coordinator", key=key, error_code=code, error_message=None, **NO_NODE) for key in request.coordinator_keys)
            return make("FindCoordinatorResponse", throttle_time=NO_TIME, coordinators=found)
        return make("FindCoordinatorResponse", throttle_time=NO_TIME, error_code=code, error_message=None, **NO_NODE)
    if api_key == ADD_PARTITIONS:
        return _refused_partitions(request, code, make)
    if api_key == COMMIT_OFFSETS:
        topics = tuple(
            make(
                "TxnOffsetCommitResponseTopic",
                name=topic.name,
                partitions=tuple(make("TxnOffsetCommitResponsePartition", partition_index=one.partition_index, error_code=code) for one in topic.partitions),
            )
            for topic in request.topics
        )
        return make("TxnOffsetCommitResponse", throttle_time=NO_TIME, topics=topics)
    if api_key == WRITE_MARKERS:
        markers = tuple(
            make(
                "WritableTxnMarkerResult",
                producer_id=marker.producer_id,
                topics=tuple(
                    make(
                        "WritableTxnMarkerTopicResult",
                        name=topic.name,
                        partitions=tuple(
                            make("WritableTxnMarkerPartitionResult", partition_index=number, error_code=code) for number in topic.partition_indexes
                        ),
                    )
                    for topic in marker.topics
                ),
            )
            for marker in request.markers
        )
        return make("WriteTxnMarkersResponse", markers=markers)
    name = "EndTxnResponse" if api_key == END_TXN else "AddOffsetsToTxnResponse"
    return make(name, throttle_time=NO_TIME, error_code=code, producer_id=-1, producer_epoch=-1)


def _refused_partitions(request: Any, code: Any, make: Make) -> Any:
    def of(topics: Any) -> tuple[Any, ...]:
        return tuple(
            make(
                "AddPartitionsToTxnTopicResult",
                name=topic.name,
                results_by_partition=tuple(
                    make("AddPartitionsToTxnPartitionResult", partition_index=number, partition_error_code=code) for number in topic.partitions
                ),
            )
            for topic in topics
        )

    if not hasattr(request, "transactions"):
        return make("AddPartitionsToTxnResponse", throttle_time=NO_TIME, results_by_topic_v3_and_below=of(request.v3_and_below_topics))
    told = tuple(make("AddPartitionsToTxnResult", transactional_id=one.transactional_id, topic_results=of(one.topics)) for one in request.transactions)
    return make("AddPartitionsToTxnResponse", throttle_time=NO_TIME, error_code=type(code).none, results_by_transaction=told)


def replaced(api_key: int, response: Any, code: Any) -> Any:
    """The broker did the work; who asked is told otherwise."""
    if api_key == FIND_COORDINATOR and hasattr(response, "coordinators"):
        return replace(response, coordinators=tuple(replace(one, error_code=code, **NO_NODE) for one in response.coordinators))
    if api_key == FIND_COORDINATOR:
        return replace(response, error_code=code, **NO_NODE)
    if api_key == ADD_PARTITIONS and hasattr(response, "results_by_transaction"):
        told = tuple(replace(one, topic_results=_with_errors(one.topic_results, code)) for one in response.results_by_transaction)
        return replace(response, results_by_transaction=told)
    if api_key == ADD_PARTITIONS:
        return replace(response, results_by_topic_v3_and_below=_with_errors(response.results_by_topic_v3_and_below, code))
    if api_key == COMMIT_OFFSETS:
        return replace(response, topics=_each_partition(response.topics, code))
    if api_key == WRITE_MARKERS:
        return replace(response, markers=tuple(replace(marker, topics=_each_partition(marker.topics, code)) for marker in response.markers))
    without_id = {"producer_id": -1, "producer_epoch": -1} if hasattr(response, "producer_id") else {}
    return replace(response, error_code=code, **without_id)


def _with_errors(topics: Any, code: Any) -> tuple[Any, ...]:
    return tuple(replace(topic, results_by_partition=tuple(replace(one, partition_error_code=code) for one in topic.results_by_partition)) for topic in topics)


def _each_partition(topics: Any, code: Any) -> tuple[Any, ...]:
    return tuple(replace(topic, partitions=tuple(replace(one, error_code=code) for one in topic.partitions)) for topic in topics)
