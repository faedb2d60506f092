"""The metadata log of the active controller: what is committed, what waits for its commit, and the state that both add up to.

Kafka: QuorumController's write path (records are applied at once, answers wait for the commit), BatchAccumulator (append linger). KC-80.
Simplified: a quorum of one voter, so records are committed when their batch is written.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksim_models.config import BrokerConfig, TopicConfig, topic_config
from ksim_models.elections import PartitionState
from ksim_models.facts import BrokerChanged, PartitionChanged
from ksim_models.messages import BrokerRecord, MetadataRecord, PartitionRecord, TopicRecord
from ksim_models.units import NEVER, Micros, ms

Change = BrokerChanged | PartitionChanged


class MetadataLog:
    def __init__(self, formed: Iterable[MetadataRecord], config: BrokerConfig) -> None:
        self.config = config
        self.committed: list[MetadataRecord] = [*formed]
        """Durable; the rest is volatile."""
        self.uncommitted: list[tuple[MetadataRecord, Change | None]] = []
        self.commit_at: Micros = NEVER
        # The newest records by name, those that wait for their commit included: the controller decides on what it has decided.
        self.brokers: dict[str, BrokerRecord] = {}
        self.topics: dict[str, TopicConfig] = {}
        self.partitions: dict[str, PartitionState] = {}
        self.replay()

    @property
    def end_offset(self) -> int:
        """Of everything, committed or not."""
        return len(self.committed) + len(self.uncommitted)

    def append(self, record: MetadataRecord, fact: Change | None, now: Micros) -> None:
        """Changes within the linger are committed together (KC-1, KC-80)."""
        self._apply(record)
        self.uncommitted.append((record, fact))
        if self.commit_at == NEVER:
            self.commit_at = now + ms(self.config.controller_quorum_append_linger_ms)

    def commit(self) -> list[Change]:
        """All that waited; what is to be told of it."""
        self.committed.extend(record for record, _ in self.uncommitted)
        facts = [fact for _, fact in self.uncommitted if fact is not None]
        self.uncommitted, self.commit_at = [], NEVER
        return facts

    def forget_uncommitted(self) -> None:
        """What was committed stands in the log; the rest is as if it had never been asked for."""
        self.uncommitted, self.commit_at = [], NEVER
        self.replay()

    def replay(self) -> None:
        self.brokers, self.topics, self.partitions = {}, {}, {}
        for record in self.committed:
            self._apply(record)

    def _apply(self, record: MetadataRecord) -> None:
        match record:
            case BrokerRecord():
                self.brokers[record.broker] = record
            case PartitionRecord():
                self.partitions[record.partition] = record
            case TopicRecord():
                self.topics[record.topic] = topic_config(record.config, self.config)

    # Who is what.

    def unfenced(self) -> list[str]:
        return [name for name, broker in self.brokers.items() if not broker.fenced]

    def is_active(self, broker: str) -> bool:
        """KC-40: registered, not fenced, not shutting down."""
        known = self.brokers.get(broker)
        return known is not None and not known.fenced and not known.in_controlled_shutdown

    def has_leaderships(self, broker: str) -> bool:
        return any(state.leader == broker for state in self.partitions.values())

    def config_of(self, partition: str) -> TopicConfig:
        return self.topics[partition.rpartition("-")[0]]
