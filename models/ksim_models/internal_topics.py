"""The topics in which coordinators keep what they know: how they come into being, where a key belongs, who coordinates it, what a new leader reads.

Kafka: KafkaApis.getCoordinator, DefaultAutoTopicCreationManager, TransactionStateManager.partitionFor, BrokerMetadataPublisher.updateCoordinator (TC-1, TC-2).
Simplified: these topics are not compacted, and nothing of them is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Protocol

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE, ErrorCode
from ksim_models.image import Image
from ksim_models.log import Log
from ksim_models.machine import Effect
from ksim_models.messages import NO_LEADER, CreateTopicsRequest, RecordBatch
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE, FindCoordinatorRequest, FindCoordinatorResponse
from ksim_models.units import Micros

TOPIC_OF_KIND = {"transaction": TRANSACTION_STATE, "group": CONSUMER_OFFSETS}


class Coordinator(Protocol):
    """What a broker does for the partitions of one internal topic that it leads."""

    @property
    def wake_at(self) -> Micros: ...
    def wake(self, now: Micros, out: list[Effect]) -> None: ...
    def elected(self, partition: str, leader_epoch: int, now: Micros, out: list[Effect]) -> None:
        """This broker leads the partition in a new leader epoch; it may have led it before. What it knows stands in the log (`written`)."""
        ...

    def resigned(self, partition: str, now: Micros, out: list[Effect]) -> None:
        """It leads it no more, or has no such replica: whatever it knew is another's now."""
        ...


@lru_cache(maxsize=1024)  # A coordinator asks for the same few keys again and again.
def java_hash(text: str) -> int:
    """String.hashCode: of UTF-16 code units, a signed number of 32 bits."""
    units = text.encode("utf-16-be")
    value = 0
    for position in range(0, len(units), 2):
        value = (31 * value + (units[position] << 8 | units[position + 1])) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def place_of(key: str, partitions: int) -> int:
    """TC-1. The smallest number has no positive one: it counts as 0 (Utils.abs)."""
    value = java_hash(key)
    return (0 if value == -(1 << 31) else abs(value)) % partitions


def written(log: Log) -> Iterable[tuple[int, RecordBatch]]:
    """What a new leader reads: every batch up to the log end, committed or not, with the offset of its first record (TC-7)."""
    return ((batch.base_offset, batch) for batch in log.batches)


class InternalTopics:
    def __init__(self, config: BrokerConfig, image: Image, ask_for: Callable[[CreateTopicsRequest, list[Effect]], None]) -> None:
        """ask_for: the controller is asked for such a topic, unless it was already."""
        self.config = config
        self.image = image
        self.ask_for = ask_for

    def partition_of(self, topic: str, key: str) -> str:
        """Where the key belongs: by the number of partitions that there are, or else that there will be."""
        known = self.image.topics.get(topic)
        return f"{topic}-{place_of(key, known.partitions if known else self._request(topic).partitions)}"

    def find(self, request: FindCoordinatorRequest, out: list[Effect]) -> FindCoordinatorResponse:
        """COORDINATOR_NOT_AVAILABLE while nobody leads its partition, or there is no such topic yet: this request makes it come into being (TC-2)."""
        topic = TOPIC_OF_KIND[request.kind]
        if topic not in self.image.topics:
            self.ask_for(self._request(topic), out)
            return FindCoordinatorResponse(ErrorCode.COORDINATOR_NOT_AVAILABLE, NO_LEADER)
        leader = self.image.partitions[self.partition_of(topic, request.key)].leader
        if leader == NO_LEADER or not self.image.is_alive(leader):
            return FindCoordinatorResponse(ErrorCode.COORDINATOR_NOT_AVAILABLE, NO_LEADER)
        return FindCoordinatorResponse(NONE, leader)

    def _request(self, topic: str) -> CreateTopicsRequest:
        return request_of(topic, self.config)


def request_of(topic: str, config: BrokerConfig) -> CreateTopicsRequest:
    """What a broker with this configuration asks the controller for."""
    kept = ("retention.ms", "-1"), ("retention.bytes", "-1")
    if topic == TRANSACTION_STATE:
        settings = (
            *kept,
            ("min.insync.replicas", str(config.transaction_state_log_min_isr)),
            ("unclean.leader.election.enable", "false"),
            ("segment.bytes", str(config.transaction_state_log_segment_bytes)),
        )
        return CreateTopicsRequest((topic,), config.transaction_state_log_num_partitions, config.transaction_state_log_replication_factor, settings)
    return CreateTopicsRequest(
        (topic,),
        config.offsets_topic_num_partitions,
        config.offsets_topic_replication_factor,
        (*kept, ("segment.bytes", str(config.offsets_topic_segment_bytes))),
    )
