"""What the controller has decided, for whoever asks: who leads, who is in sync, which brokers are fenced. The faults and the end of a simulation do.

Kafka: the state of ReplicationControlManager and ClusterControlManager.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.elections import PartitionState
from ksim_models.messages import NO_LEADER, MetadataRecord
from ksim_models.metadata_log import MetadataLog


class Decisions:
    _log: MetadataLog
    """Of a lone controller changes count at once, as in its own decisions; of a quorum when they are committed."""

    @property
    def metadata_log(self) -> Sequence[MetadataRecord]:
        """What is committed."""
        return self._log.committed

    def state_of(self, partition: str) -> PartitionState:
        return self._log.partitions[partition]

    def replicas_of(self, partition: str) -> tuple[str, ...]:
        """() where the topic has just been deleted; so too below."""
        state = self._log.partitions.get(partition)
        return () if state is None else state.replicas

    def leader_of(self, partition: str) -> str:
        state = self._log.partitions.get(partition)
        return NO_LEADER if state is None else state.leader

    def isr_of(self, partition: str) -> tuple[str, ...]:
        state = self._log.partitions.get(partition)
        return () if state is None else state.isr

    def topic_id_of(self, topic: str) -> int:
        """-1 where it is gone."""
        record = self._log.topics.get(topic)
        return -1 if record is None else record.topic_id

    def partitions_of(self, topic: str) -> list[str]:
        """Of a topic that was created on demand, too."""
        return self._log.partitions_of(topic)

    def is_fenced(self, broker: str) -> bool:
        return self._log.brokers[broker].fenced
