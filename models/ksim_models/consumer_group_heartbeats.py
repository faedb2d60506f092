"""The coordinator's answers to members of the consumer protocol (KIP-848): joining, going towards the target, leaving, being taken for dead.

Kafka: GroupMetadataManager.consumerGroupHeartbeat, consumerGroupLeave, consumerGroupFenceMember; its session and rebalance time-outs.
Simplified: a group is of one protocol (in Kafka classic members and new ones may share one, while it is migrated); no regular expressions, no limit of members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ksim_models.config import BrokerConfig
from ksim_models.consumer_groups import LEAVES, LEAVES_FOR_A_WHILE, ConsumerGroup, ConsumerMember
from ksim_models.errors import NONE, ErrorCode
from ksim_models.profiles import BrokerProfile
from ksim_models.server_assignors import SERVER_ASSIGNORS
from ksim_models.transaction_messages import ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse
from ksim_models.units import NEVER, Micros, ms

Groups = dict[str, ConsumerGroup]
"""Of one partition of __consumer_offsets."""


class Refused(Exception):
    def __init__(self, error: ErrorCode) -> None:
        super().__init__(error)
        self.error = error


class ConsumerGroupMembership:
    def __init__(self, profile: BrokerProfile, config: BrokerConfig, size_of: Callable[[str], int]) -> None:
        self.profile = profile
        self.config = config
        self.size_of = size_of
        """How many partitions a topic has, as this broker knows."""

    def heartbeat(self, groups: Groups, request: ConsumerGroupHeartbeatRequest, now: Micros) -> tuple[ConsumerGroupHeartbeatResponse, ConsumerGroup | None]:
        """The answer, to be given when all that was written is committed; the group, where it has to be written down first."""
        try:
            if not self.profile.consumer_groups:
                raise Refused(ErrorCode.UNSUPPORTED_VERSION)
            if request.assignor and request.assignor not in SERVER_ASSIGNORS:
                raise Refused(ErrorCode.UNSUPPORTED_ASSIGNOR)
            if request.epoch in (LEAVES, LEAVES_FOR_A_WHILE):
                group = self._leave(groups, request)
                return ConsumerGroupHeartbeatResponse(NONE, request.epoch), group
            return self._beat(groups, request, now)
        except Refused as refused:
            return ConsumerGroupHeartbeatResponse(refused.error), None

    def _beat(self, groups: Groups, request: ConsumerGroupHeartbeatRequest, now: Micros) -> tuple[ConsumerGroupHeartbeatResponse, ConsumerGroup | None]:
        group = groups.get(request.group)
        if group is None:
            if request.epoch != 0:
                raise Refused(ErrorCode.GROUP_ID_NOT_FOUND)
            group = groups[request.group] = ConsumerGroup(request.group)
        member, is_new = self._member(group, request)
        described = member.topics, member.assignor, member.rebalance_timeout_ms
        if request.rebalance_timeout_ms >= 0:
            member.rebalance_timeout_ms = request.rebalance_timeout_ms
        member.assignor = request.assignor or member.assignor
        if request.topics is not None:
            member.topics = request.topics
        changed = is_new or described != (member.topics, member.assignor, member.rebalance_timeout_ms)
        if group.notice_sizes(self.size_of) | (described[0] != member.topics):
            group.epoch += 1
            changed = True
        if group.target_epoch < group.epoch and self._may_assign(group, now):
            group.assign(now)
            changed = True
        before, had = member.written, member.assigned
        group.reconcile(self.profile, member, request.owned, now)
        member.expires_at = now + self.session
        is_full = request.rebalance_timeout_ms >= 0 and request.topics is not None and request.owned is not None
        tells = request.epoch == 0 or is_full or member.assigned != had
        answer = ConsumerGroupHeartbeatResponse(
            NONE, member.epoch, self.config.group_consumer_heartbeat_interval_ms, tuple(sorted(member.assigned)) if tells else None
        )
        return answer, group if changed or member.written != before else None

    @property
    def session(self) -> Micros:
        return ms(self.config.group_consumer_session_timeout_ms)

    def _may_assign(self, group: ConsumerGroup, now: Micros) -> bool:
        if not self.profile.paces_assignments or not group.assigned_at:
            return True
        return now >= group.assigned_at + ms(self.config.group_consumer_assignment_interval_ms)

    def _member(self, group: ConsumerGroup, request: ConsumerGroupHeartbeatRequest) -> tuple[ConsumerMember, bool]:
        """Who beats, and whether it is new."""
        joins = request.epoch == 0
        known = group.members.get(request.member)
        if request.instance:
            of_instance = group.members.get(group.static.get(request.instance, ""))
            if joins and of_instance is not None:
                if of_instance.epoch != LEAVES_FOR_A_WHILE:
                    raise Refused(ErrorCode.UNRELEASED_INSTANCE_ID)
                return group.replace_static(of_instance, request.member), True
            if not joins and of_instance is None:
                raise Refused(ErrorCode.UNKNOWN_MEMBER_ID)
            if of_instance is not None and of_instance.member != request.member:
                raise Refused(ErrorCode.FENCED_INSTANCE_ID)
            known = of_instance
        if known is None:
            if not joins:
                raise Refused(ErrorCode.UNKNOWN_MEMBER_ID)
            member = ConsumerMember(request.member, request.instance)
            group.add(member)
            return member, True
        if error := known.epoch_error(request.epoch, request.owned, rejoins=self.profile.fenced_members_rejoin):
            raise Refused(error)
        return known, False

    def _leave(self, groups: Groups, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroup:
        group = groups.get(request.group)
        if group is None:
            raise Refused(ErrorCode.GROUP_ID_NOT_FOUND)
        name = group.static.get(request.instance, "") if request.instance else request.member
        member = group.members.get(name)
        if member is None:
            raise Refused(ErrorCode.UNKNOWN_MEMBER_ID)
        if member.member != request.member:
            raise Refused(ErrorCode.FENCED_INSTANCE_ID)
        if request.instance and request.epoch == LEAVES_FOR_A_WHILE:
            member.become(member.state, LEAVES_FOR_A_WHILE, dict.fromkeys(member.assigned, 0), {})
        else:
            group.remove(member)
        return group

    # Offsets.

    def commit_errors(
        self, group: ConsumerGroup, member: str, instance: str, epoch: int, partitions: Sequence[str], *, anonymous: bool
    ) -> Mapping[str, ErrorCode]:
        """GC-10: partitions that this member may not commit, and why. `anonymous`: who says nothing about itself may."""
        if (epoch < 0 and not group.members) or (anonymous and epoch < 0 and not member and not instance):
            return {}
        known = group.members.get(member)
        if known is None:
            return dict.fromkeys(partitions, ErrorCode.UNKNOWN_MEMBER_ID)
        by_partition = self.profile.commits_by_partition_epoch
        errors = {partition: known.commit_error(epoch, partition, by_partition=by_partition) for partition in partitions}
        return {partition: error for partition, error in errors.items() if error}

    def fetch_error(self, group: ConsumerGroup, member: str, epoch: int) -> ErrorCode:
        if not member and epoch < 0:
            return NONE
        known = group.members.get(member)
        if known is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return NONE if known.epoch == epoch else ErrorCode.STALE_MEMBER_EPOCH

    # The clock.

    def next_at(self, group: ConsumerGroup) -> Micros:
        return min((min(member.expires_at, member.revoke_until) for member in group.members.values()), default=NEVER)

    def wake(self, group: ConsumerGroup, now: Micros) -> bool:
        """Whether somebody is out: it was not heard of for its session, or has not given up in time what it had to."""
        gone = [member for member in group.members.values() if member.expires_at <= now or member.revoke_until <= now]
        for member in gone:
            group.remove(member)
        return bool(gone)
