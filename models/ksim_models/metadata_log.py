"""The metadata log of the active controller: what is committed, what waits for its commit, and the state that both add up to.

Kafka: QuorumController's write path (records are applied at once, answers wait for the commit), BatchAccumulator (append linger). KC-80.
Simplified: a quorum of one voter, so records are committed when their batch is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ksim_models.config import BrokerConfig, TopicConfig, altered, overlaid, topic_config
from ksim_models.elections import PartitionState, without_elr
from ksim_models.facts import BrokerChanged, PartitionChanged, ReplicasChanged, TopicChanged
from ksim_models.messages import BrokerRecord, ClearElrRecord, ConfigRecord, MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord, topic_of
from ksim_models.units import NEVER, Micros, ms

Change = BrokerChanged | PartitionChanged | ReplicasChanged | TopicChanged


class MetadataLog:
    def __init__(self, formed: Iterable[MetadataRecord], config: BrokerConfig) -> None:
        self.given_config = config
        self.committed: list[MetadataRecord] = [*formed]
        """Durable; the rest is volatile."""
        self.uncommitted: list[tuple[MetadataRecord, Sequence[Change]]] = []
        self.commit_at: Micros = NEVER
        self.replay()

    def replay(self) -> None:
        """The newest records by name, those that wait for their commit included: the controller decides on what it has decided."""
        self.config = self.given_config
        """With what was altered for the whole cluster."""
        self.brokers: dict[str, BrokerRecord] = {}
        self.topics: dict[str, TopicRecord] = {}
        self.topic_configs: dict[str, TopicConfig] = {}
        self.partitions: dict[str, PartitionState] = {}
        self.imbalanced: dict[str, None] = {}
        """Partitions that another than the preferred replica leads, or nobody."""
        self.leaderless: dict[str, None] = {}
        for record in self.committed:
            self._apply(record)

    @property
    def end_offset(self) -> int:
        """Of everything, committed or not."""
        return len(self.committed) + len(self.uncommitted)

    def append(self, record: MetadataRecord, told: Sequence[Change], now: Micros) -> None:
        """Changes within the linger are committed together (KC-1, KC-80); what is told of them is told then."""
        self._apply(record)
        self.uncommitted.append((record, told))
        if self.commit_at == NEVER:
            self.commit_at = now + ms(self.config.controller_quorum_append_linger_ms)

    def commit(self) -> list[Change]:
        """All that waited; what is to be told of it."""
        self.committed.extend(record for record, _ in self.uncommitted)
        facts = [fact for _, told in self.uncommitted for fact in told]
        self.uncommitted, self.commit_at = [], NEVER
        return facts

    def forget_uncommitted(self) -> None:
        """What was committed stands in the log; the rest is as if it had never been asked for."""
        self.uncommitted, self.commit_at = [], NEVER
        self.replay()

    def _apply(self, record: MetadataRecord) -> None:
        match record:
            case BrokerRecord():
                self.brokers[record.broker] = record
            case PartitionRecord():
                self._apply_partition(record)
            case TopicRecord():
                self.topics[record.topic] = record
                self.topic_configs[record.topic] = topic_config(record.config, self.config)
            case RemoveTopicRecord():
                del self.topics[record.topic], self.topic_configs[record.topic]
                for partition in self.partitions_of(record.topic):
                    del self.partitions[partition]
                    self.imbalanced.pop(partition, None)
                    self.leaderless.pop(partition, None)
            case ConfigRecord():
                self._apply_config(record)
            case ClearElrRecord():
                self.partitions.update(without_elr(self.partitions, record.topic))

    def _apply_partition(self, record: PartitionRecord) -> None:
        partition = record.partition
        self.partitions[partition] = record
        if record.leader == record.replicas[0]:
            self.imbalanced.pop(partition, None)
        else:
            self.imbalanced[partition] = None
        if record.leader:
            self.leaderless.pop(partition, None)
        else:
            self.leaderless[partition] = None

    def _apply_config(self, record: ConfigRecord) -> None:
        """What holds for one broker alone is that broker's affair."""
        if record.kind == "topic":
            topic = self.topics[record.name]
            self.topics[record.name] = replace(topic, config=overlaid(topic.config, record.settings))
        elif not record.name:
            self.config = altered(self.config, record.settings)
        for name, topic in self.topics.items():
            self.topic_configs[name] = topic_config(topic.config, self.config)

    def partitions_of(self, topic: str) -> list[str]:
        """All of them for ""."""
        return [partition for partition in self.partitions if not topic or topic_of(partition) == topic]

    # Who is what.

    def unfenced(self) -> list[str]:
        return [name for name, broker in self.brokers.items() if not broker.fenced]

    def is_active(self, broker: str) -> bool:
        """KC-40: registered, not fenced, not shutting down."""
        known = self.brokers.get(broker)
        return known is not None and not known.fenced and not known.in_controlled_shutdown

    def may_lead(self, broker: str, partition: str) -> bool:
        """KC-40: active, and with a log of this partition that is online."""
        return self.is_active(broker) and partition not in self.brokers[broker].offline_replicas

    def has_leaderships(self, broker: str) -> bool:
        return any(state.leader == broker for state in self.partitions.values())

    def config_of(self, partition: str) -> TopicConfig:
        return self.topic_configs[topic_of(partition)]

    def replication_factor(self, partition: str) -> int:
        """Of its topic, which is that of the first partition (getTopicEffectiveMinIsr), in the middle of a reassignment too."""
        return len(self.partitions[f"{topic_of(partition)}-0"].replicas)
