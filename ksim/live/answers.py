"""Answers that differ from what a broker said: with an error in them, or with addresses that lead back to the proxy.

Kafka: the error answers are those of a broker that refused (base offset -1, no leader hints); KIP-951 puts addresses of new leaders into Produce and
Fetch responses too.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from kio.schema.errors import ErrorCode as WireError

from ksim.live.coordination import COORDINATORS, refusal, replaced
from ksim.live.wire import API_VERSIONS, DESCRIBE_CLUSTER, FETCH, FIND_COORDINATOR, INIT_PRODUCER_ID, METADATA, PRODUCE, Codec, known_versions
from ksim_models.errors import ErrorCode

Address = tuple[str, int]
Place = Callable[[int, str, int], Address]
"""(node id, host, port) -> where a client is to find that node."""
Concerns = Callable[[Any, int], bool]
"""(entry of a topic, partition) -> is it meant?"""

NO_TIME = datetime.timedelta(0)
WITH_ADDRESSES = (PRODUCE, FETCH, METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER)


class NotPossible(Exception):
    """This answer cannot be made; why."""


def error_answer(api_key: int, codec: Codec, request: Any, error: ErrorCode, concerns: Concerns) -> Any:
    """As a broker that refused would have answered this request: nothing was done. Raises NotPossible."""
    code = _wire_error(error)
    match api_key:
        case 0:  # Produce.
            if not all(concerns(topic, partition.index) for topic in request.topic_data for partition in topic.partition_data):
                raise NotPossible("the request carries other partitions too, and cannot be passed on without this one")
            topics = tuple(
                _make(
                    codec,
                    "TopicProduceResponse",
                    name=getattr(topic, "name", None),
                    topic_id=getattr(topic, "topic_id", None),
                    partition_responses=tuple(
                        _make(
                            codec,
                            "PartitionProduceResponse",
                            index=partition.index,
                            error_code=code,
                            base_offset=-1,
                            record_errors=(),
                        )
                        for partition in topic.partition_data
                    ),
                )
                for topic in request.topic_data
            )
            return _make(codec, "ProduceResponse", responses=topics, throttle_time=NO_TIME)
        case 1:  # Fetch.
            fetched = tuple(
                _make(
                    codec,
                    "FetchableTopicResponse",
                    topic=getattr(topic, "topic", None),
                    topic_id=getattr(topic, "topic_id", None),
                    partitions=tuple(_fetched(codec, partition.partition, code) for partition in topic.partitions),
                )
                for topic in request.topics
            )
            # A fetch within a session may name no partition: then the answer as a whole is refused.
            whole = WireError.none if fetched else code
            return _make(codec, "FetchResponse", responses=fetched, throttle_time=NO_TIME, error_code=whole, session_id=0)
        case 3:  # Metadata.
            described = tuple(
                _make(
                    codec,
                    "MetadataResponseTopic",
                    error_code=code,
                    name=topic.name,
                    topic_id=getattr(topic, "topic_id", None),
                    is_internal=False,
                    partitions=(),
                )
                for topic in request.topics or ()
            )
            whole = code if error is ErrorCode.REBOOTSTRAP_REQUIRED else WireError.none
            return _make(codec, "MetadataResponse", throttle_time=NO_TIME, brokers=(), controller_id=-1, topics=described, error_code=whole)
        case 18:
            return _make(codec, "ApiVersionsResponse", error_code=code, api_keys=(), throttle_time=NO_TIME)
        case 22:
            return _make(codec, "InitProducerIdResponse", throttle_time=NO_TIME, error_code=code, producer_id=-1, producer_epoch=-1)
    if api_key in COORDINATORS:
        return refusal(api_key, request, code, lambda part, **values: _make(codec, part, **values))
    raise NotPossible(f"no error answer is known for API {api_key}")


def with_error(api_key: int, response: Any, codec: Codec, error: ErrorCode, concerns: Concerns) -> Any:
    """The broker did the work; the client is told otherwise. Raises NotPossible."""
    code = _wire_error(error)
    if api_key == PRODUCE:
        topics = tuple(
            replace(
                topic,
                partition_responses=tuple(
                    replace(partition, error_code=code) if concerns(topic, partition.index) else partition for partition in topic.partition_responses
                ),
            )
            for topic in response.responses
        )
        return replace(response, responses=topics)
    if api_key == FETCH:
        fetched = tuple(
            replace(topic, partitions=tuple(_fetched(codec, partition.partition_index, code) for partition in topic.partitions)) for topic in response.responses
        )
        return replace(response, responses=fetched) if fetched else replace(response, error_code=code)
    if api_key == METADATA and error is ErrorCode.REBOOTSTRAP_REQUIRED and hasattr(response, "error_code"):
        return replace(response, error_code=code)
    if api_key == METADATA:
        return replace(response, topics=tuple(replace(topic, error_code=code, partitions=()) for topic in response.topics))
    if api_key == INIT_PRODUCER_ID:
        return replace(response, error_code=code, producer_id=-1, producer_epoch=-1)
    if api_key == API_VERSIONS:
        return replace(response, error_code=code, api_keys=())
    if api_key in COORDINATORS:
        return replaced(api_key, response, code)
    raise NotPossible(f"no error answer is known for API {api_key}")


def _fetched(codec: Codec, partition: int, code: Any) -> Any:
    return _make(
        codec,
        "PartitionData",
        partition_index=partition,
        error_code=code,
        high_watermark=-1,
        last_stable_offset=-1,
        log_start_offset=-1,
        aborted_transactions=(),
        records=b"",
    )


def _wire_error(error: ErrorCode) -> Any:
    try:
        return WireError(int(error))
    except ValueError:
        raise NotPossible(f"{error.name} cannot be written") from None


def _make(codec: Codec, part_name: str, /, **values: Any) -> Any:
    """A part of this version's response, of those values that the version has."""
    part = getattr(sys.modules[codec.response.__module__], part_name)
    known = {field.name for field in fields(part)}
    return part(**{key: value for key, value in values.items() if key in known})


# Addresses.


def readdressed(api_key: int, response: Any, place: Place) -> Any:
    """The same response with every address replaced; the very same object where there is none in it."""
    if api_key in (PRODUCE, FETCH):
        endpoints = getattr(response, "node_endpoints", ())
        return replace(response, node_endpoints=_moved(endpoints, "node_id", place)) if endpoints else response
    if api_key in (METADATA, DESCRIBE_CLUSTER):
        return replace(response, brokers=_moved(response.brokers, "node_id" if api_key == METADATA else "broker_id", place)) if response.brokers else response
    if api_key == FIND_COORDINATOR:
        if hasattr(response, "coordinators"):
            return replace(response, coordinators=_moved(response.coordinators, "node_id", place))
        return _moved((response,), "node_id", place)[0]
    return response


def _moved(entries: tuple[Any, ...], key: str, place: Place) -> tuple[Any, ...]:
    moved = []
    for entry in entries:
        if entry.port >= 0 and entry.host:  # A coordinator that is not known has neither.
            host, port = place(int(getattr(entry, key)), str(entry.host), int(entry.port))
            entry = replace(entry, host=host, port=port)
        moved.append(entry)
    return tuple(moved)


def within_reach(response: Any) -> Any:
    """ApiVersions without those versions of APIs with addresses that cannot be read: a client must not learn of a way around the proxy."""
    lowered = []
    for api in response.api_keys:
        newest = max(known_versions(int(api.api_key)), default=-1)
        if api.api_key in WITH_ADDRESSES and api.min_version <= newest < api.max_version:
            api = replace(api, max_version=newest)
        lowered.append(api)
    return replace(response, api_keys=tuple(lowered)) if any(now is not then for now, then in zip(lowered, response.api_keys)) else response
