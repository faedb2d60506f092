"""What a broker believes about the cluster: the metadata records it has applied, in log order.

Kafka: MetadataImage, KRaftMetadataCache, BrokerMetadataPublisher. Brokers apply the same log at different moments (KC-81), so two brokers may name two leaders.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksim_models.errors import ErrorCode
from ksim_models.messages import (
    NO_LEADER,
    BrokerRecord,
    MetadataRecord,
    MetadataResponse,
    PartitionMetadata,
    PartitionRecord,
    TopicMetadata,
    TopicRecord,
)
from ksim_models.topic_creation import is_legal


class Image:
    __slots__ = ("broker_epochs", "brokers", "partitions", "topics")

    def __init__(self) -> None:
        self.brokers: dict[str, BrokerRecord] = {}
        self.broker_epochs: dict[str, int] = {}
        """The same records' epochs: each fetch is held against one."""
        self.topics: dict[str, TopicRecord] = {}
        self.partitions: dict[str, PartitionRecord] = {}

    def apply(self, records: Iterable[MetadataRecord]) -> dict[str, PartitionRecord]:
        """One delta: of several records about one partition only the last is acted upon. Answers the partitions that changed."""
        changed: dict[str, PartitionRecord] = {}
        for record in records:
            if isinstance(record, PartitionRecord):
                self.partitions[record.partition] = changed[record.partition] = record
            elif isinstance(record, BrokerRecord):
                self.brokers[record.broker] = record
                self.broker_epochs[record.broker] = record.broker_epoch
            else:
                self.topics[record.topic] = record
        return changed

    def is_alive(self, broker: str) -> bool:
        record = self.brokers.get(broker)
        return record is not None and not record.fenced

    def is_isr_eligible(self, broker: str, broker_epoch: int) -> bool:
        """Not fenced, and the incarnation this image knows (RP-22; KIP-841, KIP-903)."""
        return self.is_alive(broker) and broker_epoch in (-1, self.broker_epochs[broker])

    def describe(self, topics: Iterable[str]) -> MetadataResponse:
        """The answer to a client's Metadata request (KC-83): fenced brokers are not named, a leader that is none or not alive is LEADER_NOT_AVAILABLE."""
        described = []
        for topic in topics:
            record = self.topics.get(topic)
            if record is None:
                error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if is_legal(topic) else ErrorCode.INVALID_TOPIC_EXCEPTION
                described.append(TopicMetadata(topic, error, ()))
                continue
            partitions = [self._describe_partition(f"{topic}-{number}") for number in range(record.partitions)]
            described.append(TopicMetadata(topic, ErrorCode.NONE, tuple(partitions)))
        return MetadataResponse(tuple(name for name in self.brokers if self.is_alive(name)), tuple(described))

    def _describe_partition(self, partition: str) -> PartitionMetadata:
        record = self.partitions[partition]
        if record.leader == NO_LEADER or not self.is_alive(record.leader):
            return PartitionMetadata(partition, ErrorCode.LEADER_NOT_AVAILABLE, NO_LEADER, record.leader_epoch)
        return PartitionMetadata(partition, ErrorCode.NONE, record.leader, record.leader_epoch)
