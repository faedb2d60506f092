"""The controller's word carried out on one broker: which replicas it hosts, which it leads, which it follows, and under which settings.

Kafka: BrokerMetadataPublisher, ReplicaManager.applyDelta, Partition.makeLeader and makeFollower, TopicConfigHandler.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.config import BrokerConfig, topic_config
from ksim_models.errors import ErrorCode
from ksim_models.facts import Became
from ksim_models.following import Following
from ksim_models.image import Image
from ksim_models.isr import Leadership
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.machine import Effect, Note
from ksim_models.membership import Membership
from ksim_models.messages import NO_LEADER, AlterPartitionItem, AlterPartitionResult, MetadataRecord, PartitionRecord
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.units import Micros, ms

STAY_PENDING = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.INVALID_UPDATE_VERSION,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.NEW_LEADER_ELECTED,
)
"""Answers to a proposed ISR after which the leader waits for the metadata log (RP-57)."""


class Roles:
    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        logs: dict[str, Log],
        image: Image,
        replicas: dict[str, Replica],
        leading: Leading,
        following: Following,
        membership: Membership,
    ) -> None:
        self.broker = broker
        self.profile = profile
        self.config = config
        self.logs = logs
        self.image = image
        self.replicas = replicas
        self.leading = leading
        self.following = following
        self.membership = membership
        self.shutting_down = False

    # What the metadata log says.

    def apply(self, records: Sequence[MetadataRecord], now: Micros, out: list[Effect]) -> None:
        """First the image, then the roles (RP-73)."""
        for record in self.image.apply(records).values():
            if self.broker in record.replicas:
                self._take_role(record, now, out)

    def _take_role(self, record: PartitionRecord, now: Micros, out: list[Effect]) -> None:
        replica = self.replicas.get(record.partition) or self._host(record)
        if not replica.is_news(record):
            return
        leads = record.leader == self.broker
        if self.shutting_down and not leads and not self.profile.demoted_while_shutting_down:
            return
        new_epoch = record.leader_epoch > replica.leader_epoch
        replica.leader, replica.leader_epoch, replica.partition_epoch = record.leader, record.leader_epoch, record.partition_epoch
        if leads:
            self._lead(replica, record, new_epoch, now, out)
        elif new_epoch or self.shutting_down:
            self._follow(replica, record, new_epoch, now, out)
        if new_epoch:
            role = "leader" if leads else "follower"
            out.append(Note(Became(self.broker, record.partition, role, record.leader_epoch, replica.log.log_end_offset, replica.log.high_watermark)))
            self.leading.tell_followers(record.partition, now)

    def _host(self, record: PartitionRecord) -> Replica:
        topic = self.image.topics[record.partition.rpartition("-")[0]]
        log = self.logs.get(record.partition)
        if log is None:
            log = self.logs[record.partition] = Log(ms(self.config.replica_high_watermark_checkpoint_interval_ms))
        replica = self.replicas[record.partition] = Replica(
            record.partition, log, record.replicas, topic_config(topic.config, self.config), min_isr_capped=self.profile.min_isr_capped_by_replication
        )
        return replica

    def _lead(self, replica: Replica, record: PartitionRecord, new_epoch: bool, now: Micros, out: list[Effect]) -> None:
        """RP-70: the new epoch begins at the log end, the high watermark stays what this replica last knew (RP-26)."""
        log = replica.log
        if not new_epoch and replica.leadership is not None:
            self._new_isr(replica, record.isr, record.partition_epoch, record.recovering, now, out)
            return
        self.following.stop(record.partition)
        log.epochs.assign(record.leader_epoch, log.log_end_offset)  # RP-40
        if replica.leadership is None:
            replica.leadership = Leadership(
                self.broker, record.replicas, record.isr, record.leader_epoch, record.partition_epoch, record.recovering, log.log_end_offset, now
            )
        else:
            replica.leadership.lead_again(record.isr, record.leader_epoch, record.partition_epoch, record.recovering, log.log_end_offset, now)
        self.leading.watch(replica)
        self.leading.advance(replica, now, out)

    def _follow(self, replica: Replica, record: PartitionRecord, new_epoch: bool, now: Micros, out: list[Effect]) -> None:
        """RP-72. Nobody to follow while the partition has no leader; who is leaving follows only where it still is in sync (KC-23)."""
        replica.leadership = None
        self.leading.abandon(replica)
        if record.leader == NO_LEADER or (self.shutting_down and self.broker not in record.isr):
            self.following.stop(record.partition)
        elif new_epoch:
            self.following.follow(record.partition, record.leader, self.membership.epoch, now, out)

    # ISR changes.

    def propose(self, replica: Replica, now: Micros) -> None:
        """RP-55: with the broker epochs that the followers' own fetches gave (KIP-903)."""
        leadership = replica.leadership
        if leadership is None:
            return
        new_isr = tuple((name, self.membership.epoch if name == self.broker else leadership.followers[name].broker_epoch) for name in leadership.proposed_isr())
        item = AlterPartitionItem(replica.partition, leadership.leader_epoch, leadership.partition_epoch, new_isr, False)  # An unclean leader calls itself
        if not self.membership.propose(item, now):  # recovered in the first change it asks for (RP-70).
            leadership.give_up()

    def altered(self, result: AlterPartitionResult, now: Micros, out: list[Effect]) -> None:
        """RP-57. A late answer to a proposal that the metadata log has overtaken is ignored (RP-58)."""
        replica = self.replicas.get(result.partition)
        if replica is None or replica.leadership is None or not replica.leadership.in_flight:
            return
        if result.error is ErrorCode.NONE:
            if result.leader_epoch == replica.leader_epoch and result.partition_epoch >= replica.partition_epoch:
                self._new_isr(replica, result.isr, result.partition_epoch, result.recovering, now, out)
        elif result.error in (ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.INELIGIBLE_REPLICA):
            replica.leadership.give_up()
        elif result.error not in STAY_PENDING:
            self.leading.proposals.append(replica)

    def _new_isr(self, replica: Replica, isr: tuple[str, ...], partition_epoch: int, recovering: bool, now: Micros, out: list[Effect]) -> None:
        assert replica.leadership is not None
        replica.partition_epoch = partition_epoch
        replica.leadership.settle(isr, partition_epoch, recovering)
        self.leading.watch(replica)
        self.leading.advance(replica, now, out)
