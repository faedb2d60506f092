"""What the controller does to partitions: who leaves the ISR, who leads, what a leader may propose.

Kafka: ReplicationControlManager (generateLeaderAndIsrUpdates, alterPartition) of the KRaft controller.
"""

from __future__ import annotations

from ksim_models.elections import Assignment, Election, PartitionChangeBuilder, PartitionState
from ksim_models.errors import ErrorCode
from ksim_models.facts import PartitionChanged, ReplicasChanged
from ksim_models.messages import AlterPartitionItem, AlterPartitionResult, topic_of
from ksim_models.metadata_log import Change, MetadataLog
from ksim_models.profiles import BrokerProfile
from ksim_models.units import Micros


def change_of(new: PartitionState, why: str, *, unclean: bool = False) -> PartitionChanged:
    return PartitionChanged(new.partition, new.leader, new.leader_epoch, new.isr, new.elr, new.partition_epoch, unclean, why)


class ReplicationControl:
    def __init__(self, profile: BrokerProfile, log: MetadataLog) -> None:
        self._profile = profile
        self._log = log

    def broker_returns(self, broker: str, now: Micros) -> None:
        """KC-22: elections where nobody leads. Into the ISR it comes by its leaders' AlterPartition."""
        for state in [state for state in self._log.partitions.values() if not state.leader]:
            self.change(state, f"unfenced {broker}", now)

    def broker_leaves(self, broker: str, why: str, now: Micros, *, lost_records: bool = False) -> None:
        """Out of every ISR, and out of the ELR too where it may have lost records (KC-20, KC-23, KC-54)."""
        for state in list(self._log.partitions.values()):
            if broker in state.isr or (lost_records and broker in state.elr):
                self.change(state, why, now, leaving=broker, lost_records=lost_records)

    def replicas_go_offline(self, broker: str, partitions: tuple[str, ...], now: Micros) -> None:
        """KIP-858: out of the ISR and of office there, and only there."""
        for state in [self._log.partitions[partition] for partition in partitions if partition in self._log.partitions]:
            if broker in state.isr:
                self.change(state, f"directory of {broker} failed", now, leaving=broker)

    def balance(self, now: Micros) -> None:
        """KC-46: leadership goes back to the preferred replica where that is in sync. KRaft has no threshold of imbalance."""
        for partition in list(self._log.imbalanced):
            self.change(self._log.partitions[partition], "auto.leader.rebalance", now, election=Election.PREFERRED)

    def waits_for_unclean_election(self) -> bool:
        return any(self._log.config_of(partition).unclean_leader_election_enable for partition in self._log.leaderless)

    def elect_unclean_leaders(self, now: Micros) -> None:
        """KC-44: where nobody leads and unclean election has been enabled meanwhile."""
        for partition in list(self._log.leaderless):
            if self._log.config_of(partition).unclean_leader_election_enable:
                self.change(self._log.partitions[partition], "unclean.leader.election.enable", now)

    def change(
        self,
        state: PartitionState,
        why: str,
        now: Micros,
        *,
        target_isr: tuple[str, ...] | None = None,
        recovering: bool | None = None,
        leaving: str = "",
        lost_records: bool = False,
        assignment: Assignment | None = None,
        election: Election | None = None,
    ) -> bool:
        """True where there was something to change. leaving: a broker that goes out of the ISR, and may not lead."""
        if leaving:
            target_isr = tuple(replica for replica in state.isr if replica != leaving)
        config = self._log.config_of(state.partition)
        change = PartitionChangeBuilder(
            partition=state,
            profile=self._profile,
            is_acceptable=lambda replica: replica != leaving and self._log.may_lead(replica, state.partition),
            min_insync_replicas=min(config.min_insync_replicas, self._log.replication_factor(state.partition)),
            election=election or (Election.UNCLEAN if config.unclean_leader_election_enable else Election.ANY),  # KC-44.
            target_isr=target_isr,
            unclean_shutdown=(leaving,) if lost_records else (),
            recovering=recovering,
            assignment=assignment,
        ).build()
        if change is None:
            return False
        self.write(change.state, why, now, unclean=change.unclean)
        return True

    def write(self, new: PartitionState, why: str, now: Micros, *, unclean: bool = False) -> None:
        was = self._log.partitions.get(new.partition)
        facts: list[Change] = [change_of(new, why, unclean=unclean)]
        if was is not None and (was.replicas, was.adding, was.removing) != (new.replicas, new.adding, new.removing):
            facts.append(ReplicasChanged(new.partition, new.replicas, new.adding, new.removing))
        self._log.append(new, facts, now)

    # A leader's proposals.

    def alter_partition(self, sender: str, item: AlterPartitionItem, now: Micros) -> AlterPartitionResult:
        """What is accepted is answered with the new state (KC-66). Where it completes a reassignment, the asking leader may be among those that go (KC-65)."""
        topic = self._log.topics.get(topic_of(item.partition))
        if topic is None or topic.topic_id != item.topic_id:
            return AlterPartitionResult(item.partition, ErrorCode.UNKNOWN_TOPIC_ID)  # KC-60.
        state = self._log.partitions.get(item.partition)
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if state is None else self._refusal(state, sender, item)
        if state is None or error is not ErrorCode.NONE:
            return AlterPartitionResult(item.partition, error)
        self.change(state, f"AlterPartition by {sender}", now, target_isr=tuple(replica for replica, _ in item.new_isr), recovering=item.recovering)
        new = self._log.partitions[item.partition]
        if new.leader != sender:
            return AlterPartitionResult(item.partition, ErrorCode.NEW_LEADER_ELECTED)
        return AlterPartitionResult(item.partition, ErrorCode.NONE, new.leader, new.leader_epoch, new.isr, new.recovering, new.partition_epoch)

    def _refusal(self, state: PartitionState, sender: str, item: AlterPartitionItem) -> ErrorCode:
        """KC-61 to KC-64, in this order; NONE where the change is welcome."""
        members = [replica for replica, _ in item.new_isr]
        if item.leader_epoch > state.leader_epoch or item.partition_epoch > state.partition_epoch:
            return ErrorCode.NOT_CONTROLLER  # The broker knows more than this controller, which must be an old one.
        if item.leader_epoch < state.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if sender != state.leader:
            return ErrorCode.INVALID_REQUEST
        if item.partition_epoch < state.partition_epoch:
            return ErrorCode.INVALID_UPDATE_VERSION
        if any(replica not in state.replicas for replica in members) or state.leader not in members:
            return ErrorCode.INVALID_REQUEST
        if item.recovering and (len(members) > 1 or not state.recovering):
            return ErrorCode.INVALID_REQUEST
        brokers = self._log.brokers
        if not all(self._log.is_active(replica) and epoch in (-1, brokers[replica].broker_epoch) for replica, epoch in item.new_isr):
            return ErrorCode.INELIGIBLE_REPLICA
        return ErrorCode.NONE
