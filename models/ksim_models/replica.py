"""One replica on one broker: its log, and whether it leads or follows.

Kafka: Partition. The log outlives the process, the role does not.
"""

from __future__ import annotations

from ksim_models.config import TopicConfig
from ksim_models.isr import Leadership
from ksim_models.log import Log
from ksim_models.messages import NO_LEADER, NO_OFFSET, PartitionRecord
from ksim_models.units import Micros


class Replica:
    __slots__ = (
        "config",
        "leader",
        "leader_epoch",
        "leadership",
        "is_internal",
        "log",
        "min_isr",
        "min_isr_capped",
        "partition",
        "partition_epoch",
        "replicas",
        "topic_id",
    )

    def __init__(self, partition: str, log: Log, replicas: tuple[str, ...], config: TopicConfig, *, min_isr_capped: bool, topic_id: int = 0) -> None:
        self.partition = partition
        self.topic_id = topic_id
        self.log = log
        self.is_internal = partition.startswith("__")
        """Nobody is told what becomes of its records: coordinators tell what they decide."""
        self.min_isr_capped = min_isr_capped
        self.configure(replicas, config)
        self.leadership: Leadership | None = None
        self.leader = NO_LEADER
        self.leader_epoch = -1
        self.partition_epoch = -1

    def configure(self, replicas: tuple[str, ...], config: TopicConfig) -> None:
        self.replicas = replicas
        self.config = config
        self.min_isr = min(config.min_insync_replicas, len(replicas)) if self.min_isr_capped else config.min_insync_replicas  # BP-26

    def is_news(self, record: PartitionRecord) -> bool:
        """Older partition epochs are ignored (RP-59)."""
        return record.partition_epoch >= self.partition_epoch

    def diverges(self, last_fetched_epoch: int, fetch_offset: int) -> tuple[int, int] | None:
        """RP-32: where the follower's log left this one, as (epoch, end offset); (-1, -1) where that cannot be told; None where it did not.

        (-1, -1) too where the follower stands before the start of this log: there is nothing to compare.
        """
        log = self.log
        if fetch_offset < log.log_start_offset:
            return -1, -1
        if last_fetched_epoch < 0:
            return None
        if last_fetched_epoch == log.epochs.latest and fetch_offset <= log.log_end_offset:
            return None
        epoch, end = log.epochs.end_offset_for(last_fetched_epoch, log.log_end_offset)
        if end == NO_OFFSET:
            return -1, -1
        return (epoch, end) if epoch < last_fetched_epoch or end < fetch_offset else None

    def truncate_where_diverging(self, diverging_epoch: int, diverging_end: int, now: Micros = 0) -> None:
        """RP-33: a follower cuts its log where the leader says that the histories part.

        Asks again where it does not know the epoch itself: the next fetch does. Below its high watermark it cuts only where the leader lost records (RP-35).
        """
        log = self.log
        epoch, end = log.epochs.end_offset_for(diverging_epoch, log.log_end_offset)
        if end == NO_OFFSET:
            log.truncate_to(min(diverging_end, log.log_end_offset), now)
        elif epoch != diverging_epoch:
            log.truncate_to(min(end, log.log_end_offset), now)
        else:
            log.truncate_to(min(end, diverging_end, log.log_end_offset), now)
