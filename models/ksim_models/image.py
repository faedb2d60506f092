"""What a broker believes about the cluster: the metadata records it has applied, in log order.

Kafka: MetadataImage, KRaftMetadataCache, BrokerMetadataPublisher. Brokers apply the same log at different moments (KC-81), so two brokers may name two leaders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ksim_models.config import overlaid
from ksim_models.elections import without_elr
from ksim_models.errors import ErrorCode
from ksim_models.messages import (
    NO_LEADER,
    BrokerRecord,
    ClearElrRecord,
    ConfigRecord,
    LeaderChangeRecord,
    MetadataRecord,
    MetadataResponse,
    NoOpRecord,
    PartitionMetadata,
    PartitionRecord,
    RemoveTopicRecord,
    TopicMetadata,
    TopicRecord,
)
from ksim_models.topic_creation import is_legal


class Delta:
    """What some records changed: of several about one partition only the last is acted upon."""

    __slots__ = ("partitions", "reconfigured", "removed")

    def __init__(self) -> None:
        self.partitions: dict[str, PartitionRecord] = {}
        self.removed: dict[str, int] = {}
        """Partitions whose topic was deleted, and its id: another of that name may be there again."""
        self.reconfigured = False
        """Settings of topics or brokers changed."""


class Image:
    __slots__ = ("broker_epochs", "broker_settings", "brokers", "knows_deletions", "partitions", "topics")

    def __init__(self) -> None:
        self.brokers: dict[str, BrokerRecord] = {}
        self.broker_epochs: dict[str, int] = {}
        """The same records' epochs: each fetch is held against one."""
        self.topics: dict[str, TopicRecord] = {}
        self.partitions: dict[str, PartitionRecord] = {}
        self.broker_settings: dict[str, tuple[tuple[str, str], ...]] = {}
        """Altered while the cluster runs: of a broker by its name, of all brokers by ""."""
        self.knows_deletions = False
        """A topic was deleted once: from then on a topic's id may be another than a client's."""

    def apply(self, records: Iterable[MetadataRecord]) -> Delta:
        delta = Delta()
        for record in records:
            match record:
                case PartitionRecord():
                    self.partitions[record.partition] = delta.partitions[record.partition] = record
                case BrokerRecord():
                    self.brokers[record.broker] = record
                    self.broker_epochs[record.broker] = record.broker_epoch
                case TopicRecord():
                    self.topics[record.topic] = record
                case RemoveTopicRecord():
                    self.knows_deletions = True
                    for number in range(self.topics.pop(record.topic).partitions):
                        partition = f"{record.topic}-{number}"
                        delta.removed[partition] = record.topic_id
                        delta.partitions.pop(partition, None)
                        del self.partitions[partition]
                case ConfigRecord():
                    self._configure(record)
                    delta.reconfigured = True
                case ClearElrRecord():
                    cleared = without_elr(self.partitions, record.topic)
                    self.partitions.update(cleared)
                    delta.partitions.update(cleared)
                case LeaderChangeRecord() | NoOpRecord():
                    pass  # The quorum's own records are none of a broker's business.
        return delta

    def _configure(self, record: ConfigRecord) -> None:
        if record.kind == "topic":
            topic = self.topics[record.name]
            self.topics[record.name] = replace(topic, config=overlaid(topic.config, record.settings))
        else:
            self.broker_settings[record.name] = overlaid(self.broker_settings.get(record.name, ()), record.settings)

    def is_alive(self, broker: str) -> bool:
        record = self.brokers.get(broker)
        return record is not None and not record.fenced

    def is_isr_eligible(self, broker: str, broker_epoch: int) -> bool:
        """Neither fenced nor leaving, and the incarnation this image knows (RP-22; KIP-841, KIP-903)."""
        record = self.brokers.get(broker)
        return record is not None and not record.fenced and not record.in_controlled_shutdown and broker_epoch in (-1, record.broker_epoch)

    def describe(self, topics: Iterable[str]) -> MetadataResponse:
        """The answer to a client's Metadata request (KC-83): fenced brokers are not named, a leader that is none or not alive is LEADER_NOT_AVAILABLE.

        It may be old news: a client knows no more than the broker that it asks (KC-82).
        """
        described = []
        for topic in topics:
            record = self.topics.get(topic)
            if record is None:
                error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if is_legal(topic) else ErrorCode.INVALID_TOPIC_EXCEPTION
                described.append(TopicMetadata(topic, error, ()))
                continue
            partitions = [self._describe_partition(f"{topic}-{number}") for number in range(record.partitions)]
            described.append(TopicMetadata(topic, ErrorCode.NONE, tuple(partitions), record.topic_id))
        return MetadataResponse(tuple(name for name in self.brokers if self.is_alive(name)), tuple(described))

    def _describe_partition(self, partition: str) -> PartitionMetadata:
        record = self.partitions[partition]
        if record.leader == NO_LEADER or not self.is_alive(record.leader):
            return PartitionMetadata(partition, ErrorCode.LEADER_NOT_AVAILABLE, NO_LEADER, record.leader_epoch)
        return PartitionMetadata(partition, ErrorCode.NONE, record.leader, record.leader_epoch)
