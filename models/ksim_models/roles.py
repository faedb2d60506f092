"""The controller's word carried out on one broker: which replicas it hosts, which it leads, which it follows, and under which settings.

Kafka: BrokerMetadataPublisher, ReplicaManager.applyDelta, Partition.makeLeader and makeFollower, TopicConfigHandler.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.config import BrokerConfig, TopicConfig, altered, overlaid, topic_config
from ksim_models.coordination import Coordination
from ksim_models.directories import Directories
from ksim_models.errors import ErrorCode
from ksim_models.facts import Became
from ksim_models.following import Following
from ksim_models.image import Image
from ksim_models.isr import Leadership
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.log_tasks import LogTasks
from ksim_models.machine import Effect, Note
from ksim_models.membership import Membership
from ksim_models.messages import NO_LEADER, AlterPartitionItem, AlterPartitionResult, MetadataRecord, PartitionRecord, topic_of
from ksim_models.page_cache import PageCache
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
        page_cache: PageCache,
        logs: dict[str, Log],
        topic_ids: dict[str, int],
        directories: Directories,
        image: Image,
        replicas: dict[str, Replica],
        leading: Leading,
        following: Following,
        membership: Membership,
        tasks: LogTasks,
        coordination: Coordination,
    ) -> None:
        self.broker = broker
        self.profile = profile
        self.given_config = config
        self.config = config
        """With what was altered while the cluster runs."""
        self.page_cache = page_cache
        self.logs = logs
        self.topic_ids = topic_ids
        """Of every log: the id of the topic it belongs to, as its partition.metadata file has it."""
        self.directories = directories
        self.image = image
        self.replicas = replicas
        self.leading = leading
        self.following = following
        self.membership = membership
        self.tasks = tasks
        self.coordination = coordination
        self.shutting_down = False
        self.is_first = True
        """Nothing was applied since the broker started."""

    # What the metadata log says.

    def apply(self, records: Sequence[MetadataRecord], now: Micros, out: list[Effect]) -> None:
        """First the image, then the roles, then the settings (RP-73). What is deleted goes first: the same name may be there again."""
        delta = self.image.apply(records)
        strays = self._strays() if self.is_first and not self.profile.deletes_strays_first else []
        self.is_first = False
        for partition, topic_id in delta.removed.items():
            if self.topic_ids.get(partition) == topic_id and partition not in strays:
                self._drop(partition, now, out)
        for record in delta.partitions.values():
            if record.partition in strays:
                continue  # InconsistentTopicIdException.
            if self.directories.is_offline(record.partition):
                if record.leader != self.broker:
                    self.coordination.led_no_more(record.partition, now, out)
                continue  # HostedPartition.Offline: it has no role until the broker starts again with that directory.
            if self.broker in record.replicas:
                self._take_role(record, now, out)
            elif record.partition in self.logs:
                self._drop(record.partition, now, out)
        if delta.removed:
            self.coordination.topics_deleted(delta.removed, now, out)
        for partition in strays:
            self._drop(partition, now, out)
        if delta.reconfigured:
            self._reconfigure(now)

    def _strays(self) -> list[str]:
        """KAFKA-14616: logs of topics deleted while this broker was away. One that was created again is not hosted until it is spoken of anew."""
        topics = self.image.topics
        return [partition for partition, topic_id in self.topic_ids.items() if (topic := topics.get(topic_of(partition))) is None or topic.topic_id != topic_id]

    def _drop(self, partition: str, now: Micros, out: list[Effect]) -> None:
        """The replica is none any more: its log is deleted, who waits for it is told (BP-47, BV-172)."""
        self.following.stop(partition)
        replica = self.replicas.pop(partition, None)
        del self.logs[partition], self.topic_ids[partition]
        self.directories.forget(partition)
        if replica is not None:
            replica.leadership = None
            self.leading.abandon(replica)
            self.leading.tell_all(partition)
            self.coordination.led_no_more(partition, now, out)

    def go_offline(self) -> None:
        """ReplicaManager.handleLogDirFailure: these replicas neither lead nor follow here; requests that wait for them run into their time-outs."""
        for partition in self.directories.offline():
            self.following.stop(partition)
            replica = self.replicas.pop(partition, None)
            if replica is not None:
                replica.leadership = None
                self.leading.short.pop(partition, None)

    def _reconfigure(self, now: Micros) -> None:
        """TopicConfigHandler, BrokerConfigHandler: nothing is decided anew until something else asks for it."""
        settings = self.image.broker_settings
        self.config = altered(self.given_config, overlaid(settings.get("", ()), settings.get(self.broker, ())))
        for replica in self.replicas.values():
            replica.configure(replica.replicas, self._topic_config(replica.partition))
            replica.log.config = replica.config
            self.tasks.watch(replica.log, now)

    def _topic_config(self, partition: str) -> TopicConfig:
        return topic_config(self.image.topics[topic_of(partition)].config, self.config)

    def _take_role(self, record: PartitionRecord, now: Micros, out: list[Effect]) -> None:
        topic_id = self.image.topics[topic_of(record.partition)].topic_id
        if self.topic_ids.get(record.partition, topic_id) != topic_id:
            self._drop(record.partition, now, out)  # It was deleted and made again while this broker was away.
        replica = self.replicas.get(record.partition) or self._host(record, topic_id, now)
        leads_on = record.leader == self.broker and record.leader_epoch == replica.leader_epoch and replica.leadership is not None
        if replica.is_news(record):
            self._take_news(replica, record, now, out)
        if leads_on:
            self.coordination.isr_changed(record.partition, record.leader_epoch, now, out)

    def _take_news(self, replica: Replica, record: PartitionRecord, now: Micros, out: list[Effect]) -> None:
        if replica.replicas != record.replicas:
            replica.configure(record.replicas, replica.config)
            if replica.leadership is not None:
                replica.leadership.assign(record.replicas)
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
            self.leading.tell_all(record.partition)
            if leads:
                self.coordination.led(record.partition, record.leader_epoch, now, out)
            else:
                self.coordination.led_no_more(record.partition, now, out)

    def _host(self, record: PartitionRecord, topic_id: int, now: Micros) -> Replica:
        config = self._topic_config(record.partition)
        log = self.logs.get(record.partition)
        if log is None:
            log = self.logs[record.partition] = Log(
                ms(self.config.replica_high_watermark_checkpoint_interval_ms),
                config=config,
                page_cache=self.page_cache,
                recovery_points_every=ms(self.config.log_flush_offset_checkpoint_interval_ms),
                starts_every=ms(self.config.log_flush_start_offset_checkpoint_interval_ms),
                forget_producers_after=ms(self.config.producer_id_expiration_ms),
            )
        self.tasks.watch(log, now)
        self.topic_ids[record.partition] = topic_id
        self.directories.place(record.partition)
        replica = self.replicas[record.partition] = Replica(
            record.partition, log, record.replicas, config, min_isr_capped=self.profile.min_isr_capped_by_replication, topic_id=topic_id
        )
        return replica

    def _lead(self, replica: Replica, record: PartitionRecord, new_epoch: bool, now: Micros, out: list[Effect]) -> None:
        """RP-70: the new epoch begins at the log end, the high watermark stays what this replica last knew (RP-26). Nothing is written to mark it (RP-71)."""
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
        """RP-72: also how a leader learns that it was deposed (KC-74, BP-48). An ISR that changed interrupts no fetcher (RP-8).

        Nobody to follow while the partition has no leader; who is leaving follows only where it still is in sync (KC-23).
        """
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
        item = AlterPartitionItem(replica.partition, leadership.leader_epoch, leadership.partition_epoch, new_isr, False, replica.topic_id)
        if not self.membership.propose(item, now):  # An unclean leader calls itself recovered in the first change it asks for (RP-70).
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
