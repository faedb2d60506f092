"""Who belongs to a group: joining, assigning, beating, leaving, being taken for dead. The classic protocol, by generations.

Kafka: GroupCoordinator up to 3.9, GroupMetadataManager's classic part since 4.0: the same rules. KIP-62, KIP-345 (static members), KIP-394, KIP-814.
Simplified: no limit on the number of members (group.max.size); what a member leaves without an answer on a closed connection is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE, ErrorCode
from ksim_models.groups import UNKNOWN_MEMBER, Group, GroupState, Member
from ksim_models.transaction_messages import (
    HeartbeatRequest,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
    SyncGroupResponse,
)
from ksim_models.units import NEVER, Micros, ms

NEW_MEMBER_JOIN_TIMEOUT: Micros = ms(300_000)

Reply = Callable[[str, object], None]
Store = Callable[[Group, Callable[[ErrorCode, Micros], None], Micros], None]
"""Writes the group down, with what its members are assigned; told when that is committed, or why it is not."""


class GroupMembership:
    """Of all groups of one coordinator."""

    def __init__(self, config: BrokerConfig, reply: Reply, store: Store, *, is_new: bool) -> None:
        """is_new: the coordinator of 4.0, which differs in how long it waits before the first generation."""
        self.config = config
        self.is_new = is_new
        self.reply = reply
        self.store = store

    # JoinGroup.

    def join(self, group: Group, connection: str, request: JoinGroupRequest, member_id: str, now: Micros) -> None:
        """`member_id`: for a member that is new."""
        if not group.supports(request.protocols):
            self._refuse_join(connection, request.member, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        elif request.member == UNKNOWN_MEMBER and request.instance:
            self._join_static(group, connection, request, member_id, now)
        elif request.member == UNKNOWN_MEMBER:
            group.pending[member_id] = now + ms(request.session_timeout_ms)  # KIP-394
            self._refuse_join(connection, member_id, ErrorCode.MEMBER_ID_REQUIRED)
        elif request.member in group.pending:
            self._add(group, connection, request, request.member, now)
        else:
            self._join_again(group, connection, request, now)
        self._try_complete_join(group, now)

    def _refuse_join(self, connection: str, member: str, error: ErrorCode) -> None:
        self.reply(connection, JoinGroupResponse(error, member=member))

    def _join_static(self, group: Group, connection: str, request: JoinGroupRequest, member_id: str, now: Micros) -> None:
        old = group.static.get(request.instance)
        if old is None:
            self._add(group, connection, request, member_id, now)
            return
        former = group.members[old]
        if former.joining is not None:
            self._refuse_join(former.joining, old, ErrorCode.FENCED_INSTANCE_ID)
        if former.syncing is not None:
            self.reply(former.syncing, SyncGroupResponse(ErrorCode.FENCED_INSTANCE_ID))
        member = group.replace_static(request.instance, old, member_id)
        member.joining, member.syncing = connection, None
        self._expect(member, now)
        member.update(request)
        if group.state is GroupState.STABLE and group.protocol == group.select_protocol():
            self.store(group, lambda error, at: self._static_stored(group, member, error), now)
        elif group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
            self._prepare(group, now)

    def _static_stored(self, group: Group, member: Member, error: ErrorCode) -> None:
        """It goes on with what it had: no rebalance. Simplified: where that cannot be written down, Kafka gives the instance its old member id back."""
        if member.joining is None:
            return  # A generation has begun meanwhile. Where one is only prepared it is told of the old one all the same, and has to join again.
        connection, member.joining = member.joining, None
        if error:
            self._refuse_join(connection, UNKNOWN_MEMBER, error)
        else:
            leads = group.leader == member.member
            self.reply(connection, self._joined(group, member, skip_assignment=leads))

    def _add(self, group: Group, connection: str, request: JoinGroupRequest, name: str, now: Micros) -> None:
        member = Member(name, request)
        if group.state is GroupState.PREPARING_REBALANCE and (group.is_initial if self.is_new else group.generation == 0):
            group.new_member_added = True  # Up to 3.9 only the first generation of all waits again for more of them.
        group.add(member)
        member.joining = connection
        member.expires_at = now + NEW_MEMBER_JOIN_TIMEOUT
        self._maybe_prepare(group, now)

    def _join_again(self, group: Group, connection: str, request: JoinGroupRequest, now: Micros) -> None:
        error = self.member_error(group, request.member, request.instance)
        if error or group.state is GroupState.EMPTY:
            self._refuse_join(connection, request.member, error or ErrorCode.UNKNOWN_MEMBER_ID)
            return
        member = group.members[request.member]
        is_leader_of_stable = group.state is GroupState.STABLE and group.leader == member.member
        if group.state is not GroupState.PREPARING_REBALANCE and member.matches(request) and not is_leader_of_stable:
            self.reply(connection, self._joined(group, member))  # It did not get the answer, or has nothing new to say.
            return
        member.update(request)
        member.joining = connection
        self._maybe_prepare(group, now)

    def _joined(self, group: Group, member: Member, *, skip_assignment: bool = False) -> JoinGroupResponse:
        leads = group.leader == member.member
        members = tuple((one.member, one.instance, one.topics) for one in group.members.values()) if leads else ()
        held = tuple(one.held for one in group.members.values()) if leads else ()
        return JoinGroupResponse(NONE, group.generation, group.leader, member.member, members, group.protocol, skip_assignment, held)

    # Rebalances.

    def _maybe_prepare(self, group: Group, now: Micros) -> None:
        if group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY):
            self._prepare(group, now)

    def _prepare(self, group: Group, now: Micros) -> None:
        if group.state is GroupState.COMPLETING_REBALANCE:
            self._propagate(group, ErrorCode.REBALANCE_IN_PROGRESS, now)
        group.to_sync.clear()
        group.sync_until = NEVER
        group.is_initial = group.state is GroupState.EMPTY
        if group.is_initial:
            delay_ms = self.config.group_initial_rebalance_delay_ms
            group.initial_rest_ms = max(group.rebalance_timeout_ms - delay_ms, 0)
            group.join_until = now + ms(delay_ms)
        else:
            group.join_until = now + ms(group.rebalance_timeout_ms)
        group.become(GroupState.PREPARING_REBALANCE)

    def _try_complete_join(self, group: Group, now: Micros, *, somebody_expired: bool = False) -> None:
        """An empty group waits its delay out, but in 4.0 no longer than until it has taken somebody for dead."""
        if group.state is not GroupState.PREPARING_REBALANCE:
            return
        waits = group.is_initial and not (somebody_expired and self.is_new)
        if (not waits and group.all_have_joined) or (group.join_until <= now and not self._waits_for_more(group, now)):
            self._complete_join(group, now)

    def _waits_for_more(self, group: Group, now: Micros) -> bool:
        """The delay of an empty group is over, and somebody new came in it."""
        if not (group.is_initial and group.new_member_added and group.initial_rest_ms):
            return False
        delay_ms = min(self.config.group_initial_rebalance_delay_ms, group.initial_rest_ms)
        group.new_member_added = False
        group.initial_rest_ms -= delay_ms
        group.join_until = now + ms(delay_ms)
        return delay_ms > 0

    def _complete_join(self, group: Group, now: Micros) -> None:
        for member in [member for member in group.members.values() if member.joining is None and not member.instance]:
            group.remove(member.member)
        if group.members and not group.elect_a_leader_that_joined():
            group.is_initial, group.join_until = False, now + ms(group.rebalance_timeout_ms)  # Only static members, and none is back yet.
            return
        group.join_until = NEVER
        group.generation += 1
        group.new_member_added = False
        if not group.members:
            group.protocol = ""
            group.become(GroupState.EMPTY)
            self.store(group, lambda error, at: None, now)
            return
        group.protocol = group.select_protocol()
        group.become(GroupState.COMPLETING_REBALANCE)
        for member in group.members.values():
            if member.joining is not None:
                self.reply(member.joining, self._joined(group, member))
                member.joining = None
            self._expect(member, now)
            member.is_new = False
            group.to_sync[member.member] = None
        group.sync_until = now + ms(group.rebalance_timeout_ms)

    # SyncGroup.

    def sync(self, group: Group, connection: str, request: SyncGroupRequest, now: Micros) -> None:
        error = self.generation_error(group, request.member, request.instance, request.generation)
        if not error and group.state is GroupState.EMPTY:
            error = ErrorCode.UNKNOWN_MEMBER_ID
        if not error and group.state is GroupState.PREPARING_REBALANCE:
            error = ErrorCode.REBALANCE_IN_PROGRESS
        if error:
            self.reply(connection, SyncGroupResponse(error))
            return
        member = group.members[request.member]
        group.to_sync.pop(request.member, None)
        if not group.to_sync:
            group.sync_until = NEVER
        if group.state is GroupState.STABLE:
            self.reply(connection, SyncGroupResponse(NONE, member.assignment))
            self._expect(member, now)
            return
        member.syncing = connection
        if group.leader == member.member:
            assigned, generation = dict(request.assignments), group.generation
            before = {one.member: one.assignment for one in group.members.values()}
            for one in group.members.values():
                one.assignment = assigned.get(one.member, ())
            self.store(group, lambda error, at: self._assignment_stored(group, generation, before, error, at), now)

    def _assignment_stored(self, group: Group, generation: int, before: dict[str, tuple[str, ...]], error: ErrorCode, now: Micros) -> None:
        """Another member may have joined while it was written: then nothing comes of it."""
        if group.state is not GroupState.COMPLETING_REBALANCE or group.generation != generation:
            return
        if error:
            for member in group.members.values():
                member.assignment = before.get(member.member, ())
            self._propagate(group, error, now)
            self._maybe_prepare(group, now)
        else:
            self._propagate(group, NONE, now)
            group.become(GroupState.STABLE)

    def _propagate(self, group: Group, error: ErrorCode, now: Micros) -> None:
        for member in group.members.values():
            if error:
                member.assignment = ()
            if member.syncing is not None:
                self.reply(member.syncing, SyncGroupResponse(error, () if error else member.assignment))
                member.syncing = None
                self._expect(member, now)

    # Heartbeats, and what becomes of who has none.

    def heartbeat(self, group: Group, request: HeartbeatRequest, now: Micros) -> ErrorCode:
        error = self.generation_error(group, request.member, request.instance, request.generation)
        if error or group.state is GroupState.EMPTY:
            return error or ErrorCode.UNKNOWN_MEMBER_ID
        self._expect(group.members[request.member], now)
        return ErrorCode.REBALANCE_IN_PROGRESS if group.state is GroupState.PREPARING_REBALANCE else NONE

    def leave(self, group: Group, request: LeaveGroupRequest, now: Micros) -> ErrorCode:
        if request.member in group.pending:
            del group.pending[request.member]
            self._try_complete_join(group, now)
            return NONE
        error = self.member_error(group, request.member, request.instance)
        if not error:
            self._remove(group, group.members[request.member], now)
        return error

    def member_error(self, group: Group, member: str, instance: str) -> ErrorCode:
        """KIP-345: an instance is whoever joined last under its id. Then: is there such a member?"""
        if instance:
            known = group.static.get(instance)
            if known is not None and known != member:
                return ErrorCode.FENCED_INSTANCE_ID
            if known is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
        return NONE if member in group.members else ErrorCode.UNKNOWN_MEMBER_ID

    def generation_error(self, group: Group, member: str, instance: str, generation: int) -> ErrorCode:
        return self.member_error(group, member, instance) or (NONE if generation == group.generation else ErrorCode.ILLEGAL_GENERATION)

    def heard_of(self, group: Group, member: str, now: Micros) -> None:
        """A commit of offsets keeps a session alive, as a heartbeat does."""
        if member in group.members:
            self._expect(group.members[member], now)

    def _expect(self, member: Member, now: Micros) -> None:
        member.expires_at = now + ms(member.session_timeout_ms)

    def _remove(self, group: Group, member: Member, now: Micros, *, expired: bool = False) -> None:
        if member.joining is not None:
            self._refuse_join(member.joining, UNKNOWN_MEMBER, ErrorCode.UNKNOWN_MEMBER_ID)
        group.remove(member.member)
        self._maybe_prepare(group, now)
        self._try_complete_join(group, now, somebody_expired=expired)

    # The clock.

    def next_at(self, group: Group) -> Micros:
        at = min(group.join_until, group.sync_until)
        for member in group.members.values():
            if member.expires_at < at:
                at = member.expires_at
        for until in group.pending.values():
            at = min(at, until)
        return at

    def wake(self, group: Group, now: Micros) -> None:
        late = [name for name, until in group.pending.items() if until <= now]
        for name in late:
            del group.pending[name]
        for member in [member for member in group.members.values() if member.expires_at <= now]:
            if group.members.get(member.member) is not member:
                continue
            if member.waits and not member.is_new:
                member.expires_at = NEVER  # It will be expected again when it has its answer.
            else:
                self._remove(group, member, now, expired=True)
        if group.sync_until <= now:
            for name in list(group.to_sync):
                group.remove(name)
            self._maybe_prepare(group, now)
        self._try_complete_join(group, now, somebody_expired=bool(late))

    def unload(self, group: Group) -> None:
        """The partition is another coordinator's: who waits is told so."""
        for member in group.members.values():
            if member.joining is not None:
                self._refuse_join(member.joining, member.member, ErrorCode.NOT_COORDINATOR)
            if member.syncing is not None:
                self.reply(member.syncing, SyncGroupResponse(ErrorCode.NOT_COORDINATOR))
            member.joining = member.syncing = None
        group.become(GroupState.DEAD)

    def loaded(self, group: Group, now: Micros) -> None:
        """Each has a whole session again."""
        for member in group.members.values():
            self._expect(member, now)
