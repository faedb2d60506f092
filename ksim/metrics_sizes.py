"""How many bytes a Java producer's requests take on the wire, their four bytes of length included.

Kafka: RequestHeader version 2, and the schemas of ApiVersions 3, Metadata 11, InitProducerId 4 and Produce 9 or newer in common/message: every release from 2.8
on speaks these or later ones of the same length; Produce 13 (4.1, KIP-516) names a topic by its id.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.messages import ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, topic_of
from ksim_models.profiles import Release
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    FindCoordinatorRequest,
    TxnOffsetCommitRequest,
)

LENGTH, TAGS, UUID_BYTES = 4, 1, 16
SOFTWARE = "apache-kafka-java"
TOPICS_BY_ID: Release = (4, 1, 0)


def unsigned_varint_bytes(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)


def compact(length: int) -> int:
    """A compact string, or bytes, or the count of a compact array: its length plus one as an unsigned varint stands before it."""
    return unsigned_varint_bytes(length + 1) + length


def _text(text: str) -> int:
    """An empty one is none, which takes a byte as well."""
    return compact(len(text.encode()))


def _partitions(partitions: Sequence[str], each: int) -> int:
    counts: dict[str, int] = {}
    for partition in partitions:
        counts[topic_of(partition)] = counts.get(topic_of(partition), 0) + 1
    topics = (compact(len(topic.encode())) + unsigned_varint_bytes(count + 1) + count * each + TAGS for topic, count in counts.items())
    return unsigned_varint_bytes(len(counts) + 1) + sum(topics)


class RequestSizes:
    def __init__(self, client_id: str, client: Release, brokers: Release) -> None:
        self.header = LENGTH + 2 + 2 + 4 + 2 + len(client_id.encode()) + TAGS
        self.version = ".".join(map(str, client))
        self.topics_by_id = client >= TOPICS_BY_ID and brokers >= TOPICS_BY_ID

    def of(self, message: object) -> int:
        return self.header + self._body(message) + TAGS

    def _body(self, message: object) -> int:
        match message:
            case ProduceRequest():
                return self._produce(message)
            case MetadataRequest():
                topics = sum(UUID_BYTES + compact(len(topic.encode())) + TAGS for topic in message.topics)
                return unsigned_varint_bytes(len(message.topics) + 1) + topics + 1 + 1
            case ApiVersionsRequest():
                return compact(len(SOFTWARE)) + compact(len(self.version))
            case InitProducerIdRequest():
                return _text(message.transactional_id) + 4 + 8 + 2
            case FindCoordinatorRequest():
                return 1 + 1 + _text(message.key)
            case AddPartitionsToTxnRequest():
                return _text(message.transactional_id) + 8 + 2 + _partitions(message.partitions, 4)
            case AddOffsetsToTxnRequest():
                return _text(message.transactional_id) + 8 + 2 + _text(message.group)
            case TxnOffsetCommitRequest():
                offsets = _partitions([partition for partition, _ in message.offsets], 4 + 8 + 4 + 1 + TAGS)
                return _text(message.transactional_id) + _text(message.group) + 8 + 2 + 4 + _text(message.member) + 1 + offsets
            case EndTxnRequest():
                return _text(message.transactional_id) + 8 + 2 + 1
        raise AssertionError(f"no producer sends {message}")

    def _produce(self, request: ProduceRequest) -> int:
        topics: dict[str, int] = {}
        partitions: dict[str, int] = {}
        for batch in request.batches:
            topic = batch.partition.rpartition("-")[0]
            partitions[topic] = partitions.get(topic, 0) + 1
            topics[topic] = topics.get(topic, 0) + 4 + compact(batch.size_bytes) + TAGS
        total = _text(request.transactional_id) + 2 + 4 + unsigned_varint_bytes(len(topics) + 1)
        for topic, size in topics.items():
            name = UUID_BYTES if self.topics_by_id else compact(len(topic.encode()))
            total += name + unsigned_varint_bytes(partitions[topic] + 1) + size + TAGS
        return total
