"""Frames: where they end, what a Produce request carries, and answers that say something else than the broker did."""

from __future__ import annotations

import contextlib
import gzip
import struct
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode as WireError

from ksim.live.answers import NotPossible, error_answer, readdressed, with_error, within_reach
from ksim.live.compressed import GZIP, LZ4, SNAPPY, XERIAL, NotReadable, decompress
from ksim.live.wire import (
    API_VERSIONS,
    BATCH_HEADER,
    DESCRIBE_CLUSTER,
    FETCH,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    Codec,
    Framer,
    Topics,
    Unreadable,
    batches_of,
    codec,
    identities,
    known_versions,
    numbers,
)
from ksim_models.errors import ErrorCode
from toy_kafka import NO_TIME, TOPIC_ID, batch_bytes, init_producer_id, metadata, part, produce, request_frame

PRODUCE_VERSIONS = range(3, 14)


def known(api_key: int, version: int) -> Codec:
    found = codec(api_key, version)
    assert found is not None
    return found


def everybody(topic: Any, partition: int) -> bool:
    return True


def read(data: bytes, topics: Topics | None = None, *, version: int = 9) -> Any:
    request = produce("payments", data, version=version)
    return batches_of(known(PRODUCE, version).read_request(request_frame(request, 1)), topics or Topics())


# Frames.


@given(st.lists(st.binary(min_size=4, max_size=40), max_size=6), st.data())
def test_frames_are_the_same_however_the_network_cuts_the_stream(contents: list[bytes], data: st.DataObject) -> None:
    frames = [struct.pack(">i", len(content)) + content for content in contents]
    stream = b"".join(frames)
    framer, found, at = Framer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        found += framer.take(stream[at : at + step])
        at += step

    assert found == frames
    assert (framer.rest, framer.why_not) == (b"", "")


def test_bytes_that_are_no_frames_are_kept_to_be_passed_on() -> None:
    framer = Framer()
    hello = b"\x16\x03\x01\x02\x00 a TLS hello"

    assert framer.take(hello[:3]) == []
    assert framer.take(hello[3:]) == []
    assert framer.why_not
    assert framer.rest == hello


# Produce requests.


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_every_version_of_produce_tells_its_batches_and_records(version: int) -> None:
    topics = Topics()
    topics.learn(TOPIC_ID, "payments")
    (batch,) = read(batch_bytes([("0/17", 100), ("0/18", 100)], producer_id=4000, epoch=2, sequence=17), topics, version=version)

    assert (batch.topic, batch.partition, batch.producer_id, batch.producer_epoch, batch.base_sequence) == ("payments", 0, 4000, 2, 17)
    assert batch.records == ((0, 17), (0, 18))


def test_a_topic_id_that_nobody_explained_is_said_to_be_unknown() -> None:
    (batch,) = read(batch_bytes([("0/1", 50)]), version=13)

    assert batch.topic == "?"


def test_a_value_that_is_too_short_leaves_the_identity_to_a_header() -> None:
    (batch,) = read(batch_bytes([("1/123456", 3)], in_header=True))

    assert batch.records == ((1, 123456),)


def test_two_batches_for_one_partition_are_both_found() -> None:
    first, second = read(batch_bytes([("0/1", 50)]) + batch_bytes([("0/2", 50)], sequence=4))

    assert (first.records, second.records, second.base_sequence) == (((0, 1),), ((0, 2),), 4)


def test_a_warm_up_record_is_nobodys() -> None:
    (batch,) = read(batch_bytes([("w", 50)]))

    assert batch.records == (None,)
    assert numbers(batch.records) is None


def test_record_numbers_are_a_range_where_they_are_consecutive() -> None:
    assert numbers([(0, 3), (0, 4), (0, 5)]) == range(3, 6)
    assert numbers([(0, 3), (0, 5), (0, 4)]) == (3, 5, 4)
    assert numbers([(0, 3), (0, 5)]) == (3, 5)


def compressed(data: bytes, kind: int, content: bytes) -> bytes:
    header = list(BATCH_HEADER.unpack_from(data, 0))
    header[1] = len(content) + BATCH_HEADER.size - 12
    header[5] |= kind
    return BATCH_HEADER.pack(*header) + content


def snappy(data: bytes) -> bytes:
    """Literals only, but for one copy at the end."""
    size, length = b"", len(data)
    while True:
        size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            break
    body, copied = data[:-4], data[-4:]
    assert body.endswith(copied), "the test's data ends in a repetition"
    return size + bytes([61 << 2]) + (len(body) - 1).to_bytes(2, "little") + body + bytes([3 << 2 | 2, 4, 0])


def lz4(data: bytes) -> bytes:
    """One block: literals, a copy that runs into itself, literals."""
    body = data[:-13]
    assert data[-13:-5] == body[-1:] * 8, "the test's data ends in a repetition"
    length = len(body) - 15
    extra = b"\xff" * (length // 255) + bytes([length % 255])
    block = bytes([0xF0 | 4]) + extra + body + b"\x01\x00" + bytes([5 << 4]) + data[-5:]
    return b"\x04\x22\x4d\x18\x60\x40\x00" + struct.pack("<I", len(block)) + block + bytes(4)


@pytest.mark.parametrize(
    ("kind", "pack"),
    [
        (GZIP, gzip.compress),
        (SNAPPY, snappy),
        (SNAPPY, lambda data: XERIAL + bytes(8) + len(snappy(data)).to_bytes(4, "big") + snappy(data)),
        (LZ4, lz4),
        (LZ4, lambda data: b"\x04\x22\x4d\x18\x60\x40\x00" + struct.pack("<I", len(data) | 1 << 31) + data + bytes(4)),
    ],
    ids=["gzip", "snappy", "snappy of Java", "lz4", "lz4 of what does not shrink"],
)
def test_a_compressed_batch_tells_its_records_too(kind: int, pack: Any) -> None:
    plain = batch_bytes([("0/5", 100), ("0/6", 300)])
    content = plain[BATCH_HEADER.size :]
    padded = content[:-1] + b"." * 13  # Behind the last record; it ends in a repetition.
    (batch,) = read(compressed(plain, kind, pack(padded)))

    assert decompress(kind, pack(padded)) == padded
    assert batch.records == ((0, 5), (0, 6))


@pytest.mark.parametrize("kind", [GZIP, SNAPPY, LZ4, 7])
@given(data=st.binary(max_size=60))
def test_a_damaged_batch_is_said_to_be_unreadable(kind: int, data: bytes) -> None:
    with contextlib.suppress(NotReadable):
        assert isinstance(decompress(kind, data), bytes)


def test_a_batch_that_cannot_be_read_says_why() -> None:
    (batch,) = read(compressed(batch_bytes([("0/5", 100)]), SNAPPY, b"\xff\xff\xff"))

    assert batch.records == ()
    assert "damaged" in batch.unreadable


@given(content=st.binary(max_size=60), count=st.integers(0, 2**31 - 1))
def test_damaged_records_come_to_an_end(content: bytes, count: int) -> None:
    with contextlib.suppress(IndexError):
        assert len(list(identities(content, count))) == count


@pytest.mark.parametrize("api_key", [PRODUCE, METADATA, FETCH])
def test_a_frame_that_is_cut_short_is_unreadable(api_key: int) -> None:
    version = known_versions(api_key)[-1]

    with pytest.raises(Unreadable):
        known(api_key, version).read_request(bytes(8))
    with pytest.raises(Unreadable):
        known(api_key, version).read_response(bytes(9))


# Answers with an error.


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_a_refusal_of_produce_names_every_partition_and_no_offset(version: int) -> None:
    known_version = known(PRODUCE, version)
    request = known_version.read_request(request_frame(produce("payments", batch_bytes([("0/1", 50)]), version=version), 9))
    frame = known_version.write_response(9, error_answer(PRODUCE, known_version, request, ErrorCode.NOT_ENOUGH_REPLICAS, everybody))
    (topic,) = known_version.read_response(frame).responses
    (partition,) = topic.partition_responses

    assert (partition.index, partition.error_code, partition.base_offset) == (0, 19, -1)
    assert frame[4:8] == (9).to_bytes(4, "big")
    assert topic.topic_id == TOPIC_ID if version >= 13 else topic.name == "payments"


def test_a_refusal_of_one_partition_is_no_acknowledgement_of_the_others() -> None:
    """They would count as written, and nobody would have written them."""
    request = produce("payments", batch_bytes([("0/1", 50)]), partition=3)

    with pytest.raises(NotPossible, match="other partitions"):
        error_answer(PRODUCE, known(PRODUCE, 9), request, ErrorCode.NOT_ENOUGH_REPLICAS, lambda topic, partition: partition != 3)


@pytest.mark.parametrize("version", known_versions(METADATA)[4:])
def test_a_refusal_of_metadata_names_the_topics_that_were_asked_for(version: int) -> None:
    known_version = known(METADATA, version)
    topics = (part(METADATA, version, "MetadataRequestTopic", **({"topic_id": None} if version >= 10 else {}), name="payments"),)
    values = {field: False for field in known_version.request.__dataclass_fields__ if field.startswith("include")}
    request = known_version.request(topics=topics, **values)
    answer = known_version.read_response(
        known_version.write_response(1, error_answer(METADATA, known_version, request, ErrorCode.LEADER_NOT_AVAILABLE, everybody))
    )

    assert [(topic.name, topic.error_code, topic.partitions) for topic in answer.topics] == [("payments", 5, ())]


def test_rebootstrap_required_is_said_of_the_whole_metadata_answer() -> None:
    """KIP-1102, Metadata v13."""
    known_version = known(METADATA, 13)
    request = known_version.request(topics=(), **{field: False for field in known_version.request.__dataclass_fields__ if field.startswith("include")})
    refused = error_answer(METADATA, known_version, request, ErrorCode.REBOOTSTRAP_REQUIRED, everybody)
    told = with_error(METADATA, known_version.read_response(known_version.write_response(1, refused)), known_version, ErrorCode.REBOOTSTRAP_REQUIRED, everybody)

    assert (int(refused.error_code), int(told.error_code)) == (129, 129)


@pytest.mark.parametrize("version", known_versions(INIT_PRODUCER_ID))
def test_a_refusal_of_a_producer_id_gives_none(version: int) -> None:
    known_version = known(INIT_PRODUCER_ID, version)
    answer = known_version.read_response(
        known_version.write_response(1, error_answer(INIT_PRODUCER_ID, known_version, init_producer_id(), ErrorCode.COORDINATOR_NOT_AVAILABLE, everybody))
    )

    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (15, -1, -1)


@pytest.mark.parametrize("version", known_versions(FETCH))
def test_a_refusal_of_fetch_brings_no_records(version: int) -> None:
    known_version = known(FETCH, version)
    wanted = type("Wanted", (), {"partition": 2})()
    topic = type("Topic", (), {"topic": "payments", "topic_id": TOPIC_ID, "partitions": (wanted,)})()
    request = type("Request", (), {"topics": (topic,)})()
    answer = known_version.read_response(
        known_version.write_response(1, error_answer(FETCH, known_version, request, ErrorCode.NOT_LEADER_OR_FOLLOWER, everybody))
    )
    (partition,) = answer.responses[0].partitions

    assert (partition.partition_index, partition.error_code, partition.records) == (2, 6, b"")


@pytest.mark.parametrize("version", known_versions(API_VERSIONS))
def test_a_refusal_of_api_versions_lists_nothing(version: int) -> None:
    known_version = known(API_VERSIONS, version)
    answer = known_version.read_response(
        known_version.write_response(1, error_answer(API_VERSIONS, known_version, None, ErrorCode.UNSUPPORTED_VERSION, everybody))
    )

    assert (answer.error_code, answer.api_keys) == (35, ())


def test_an_answer_of_another_api_cannot_be_refused() -> None:
    with pytest.raises(NotPossible):
        error_answer(DESCRIBE_CLUSTER, known(DESCRIBE_CLUSTER, 1), None, ErrorCode.NOT_COORDINATOR, everybody)


def test_an_answer_after_the_work_was_done_keeps_the_offset() -> None:
    known_version = known(PRODUCE, 9)
    partition = part(PRODUCE, 9, "PartitionProduceResponse", index=0, error_code=0, base_offset=5, record_errors=())
    response = part(PRODUCE, 9, "ProduceResponse", responses=(part(PRODUCE, 9, "TopicProduceResponse", name="t", partition_responses=(partition,)),))
    changed = with_error(PRODUCE, response, known_version, ErrorCode.REQUEST_TIMED_OUT, everybody).responses[0].partition_responses[0]

    assert (changed.error_code, changed.base_offset) == (7, 5)


# Addresses.


def moved(node: int, host: str, port: int) -> tuple[str, int]:
    return "door", port + 10_000 * node


@pytest.mark.parametrize("version", known_versions(METADATA))
def test_metadata_names_doors_instead_of_brokers(version: int) -> None:
    broker = part(METADATA, version, "MetadataResponseBroker", node_id=2, host="broker", port=9092)
    fields = known(METADATA, version).response.__dataclass_fields__
    values: dict[str, Any] = {"throttle_time": NO_TIME, "error_code": WireError.none}
    response = part(METADATA, version, "MetadataResponse", brokers=(broker,), topics=(), **{key: value for key, value in values.items() if key in fields})
    codec_ = known(METADATA, version)
    told = codec_.read_response(codec_.write_response(1, readdressed(METADATA, response, moved)))

    assert [(told.node_id, told.host, told.port) for told in told.brokers] == [(2, "door", 29092)]


@pytest.mark.parametrize(("api_key", "version"), [(PRODUCE, 10), (PRODUCE, 13), (FETCH, 16), (FETCH, 18)])
def test_the_address_of_a_new_leader_is_a_door_too(api_key: int, version: int) -> None:
    name = "ProduceResponse" if api_key == PRODUCE else "FetchResponse"
    endpoint = part(api_key, version, "NodeEndpoint", node_id=3, host="broker", port=9092)
    response = part(
        api_key,
        version,
        name,
        responses=(),
        throttle_time=NO_TIME,
        node_endpoints=(endpoint,),
        **({"error_code": WireError.none, "session_id": 0} if api_key else {}),
    )
    codec_ = known(api_key, version)
    told = codec_.read_response(codec_.write_response(1, readdressed(api_key, response, moved)))

    assert [(end.node_id, end.host, end.port) for end in told.node_endpoints] == [(3, "door", 39092)]


def test_an_answer_without_addresses_stays_the_very_same() -> None:
    response = part(PRODUCE, 13, "ProduceResponse", responses=(), throttle_time=NO_TIME)

    assert readdressed(PRODUCE, response, moved) is response


@pytest.mark.parametrize("version", known_versions(FIND_COORDINATOR))
def test_a_coordinator_is_found_behind_its_door(version: int) -> None:
    values: dict[str, Any] = {"node_id": 1, "host": "broker", "port": 9092, "error_code": 0, "error_message": None}
    if version >= 4:
        found = part(FIND_COORDINATOR, version, "Coordinator", key="group", **values)
        response = part(FIND_COORDINATOR, version, "FindCoordinatorResponse", throttle_time=NO_TIME, coordinators=(found,))
    else:
        fields = known(FIND_COORDINATOR, version).response.__dataclass_fields__
        values["throttle_time"] = NO_TIME
        response = part(FIND_COORDINATOR, version, "FindCoordinatorResponse", **{key: value for key, value in values.items() if key in fields})
    told = readdressed(FIND_COORDINATOR, response, moved)
    place = told.coordinators[0] if version >= 4 else told

    assert (place.host, place.port) == ("door", 19092)


def test_a_coordinator_that_is_not_known_has_no_address_to_change() -> None:
    values: dict[str, Any] = {"node_id": -1, "host": "", "port": -1, "error_code": 15, "error_message": None}
    response = part(FIND_COORDINATOR, 3, "FindCoordinatorResponse", throttle_time=NO_TIME, **values)

    assert readdressed(FIND_COORDINATOR, response, moved) == response


def test_the_brokers_of_describe_cluster_are_doors_too() -> None:
    broker = part(DESCRIBE_CLUSTER, 1, "DescribeClusterBroker", broker_id=2, host="broker", port=9092, rack=None)
    values = {"throttle_time": NO_TIME, "error_code": 0, "error_message": None, "cluster_id": "c", "controller_id": 1}
    response = part(DESCRIBE_CLUSTER, 1, "DescribeClusterResponse", brokers=(broker,), **values)

    assert readdressed(DESCRIBE_CLUSTER, response, moved).brokers[0].port == 29092


def test_a_client_does_not_learn_of_a_version_with_addresses_that_cannot_be_read() -> None:
    def api(key: int, newest: int) -> Any:
        return part(API_VERSIONS, 4, "ApiVersion", api_key=key, min_version=0, max_version=newest)

    response = part(API_VERSIONS, 4, "ApiVersionsResponse", error_code=0, api_keys=(api(METADATA, 99), api(PRODUCE, 9), api(42, 99)), throttle_time=NO_TIME)
    told = within_reach(response)

    assert [(api.api_key, api.max_version) for api in told.api_keys] == [(METADATA, known_versions(METADATA)[-1]), (PRODUCE, 9), (42, 99)]
    assert within_reach(told) is told


def test_an_unknown_version_has_no_codec() -> None:
    assert codec(PRODUCE, 99) is None
    assert codec(9999, 0) is None
    assert known_versions(9999) == ()


def test_a_topic_is_named_by_its_id_where_the_message_has_no_name() -> None:
    topics = Topics()
    topics.learn(uuid.UUID(int=3), "orders")
    asked = metadata("payments").topics[0]

    assert topics.name_of(asked) == "payments"
    assert topics.name_of(type("Entry", (), {"topic_id": uuid.UUID(int=3)})()) == "orders"
    assert topics.name_of(type("Entry", (), {"topic_id": uuid.UUID(int=4)})()) is None
