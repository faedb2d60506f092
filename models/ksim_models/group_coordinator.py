"""The coordinator of groups: their membership and offsets, kept in __consumer_offsets.

Kafka: GroupCoordinator, GroupMetadataManager up to 3.9; GroupCoordinatorService, OffsetMetadataManager since 4.0; GC-1 to GC-10.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from ksim_models.config import BrokerConfig
from ksim_models.consumer_group_heartbeats import ConsumerGroupMembership
from ksim_models.consumer_groups import ConsumerGroup
from ksim_models.errors import NONE, ErrorCode
from ksim_models.group_errors import FETCH_ERRORS, NEW_ERRORS, OLD_GROUP_ERRORS, commit_errors
from ksim_models.group_membership import GroupMembership, Reply
from ksim_models.group_offsets import NOTHING, GroupOffsets, OffsetRecord
from ksim_models.group_records import MEMBER_BYTES, OFFSET_BYTES, GroupRecord, MemberRecord, Shard, offset_records
from ksim_models.groups import Group, GroupState
from ksim_models.internal_topics import InternalTopics
from ksim_models.leading import Leading
from ksim_models.machine import Effect
from ksim_models.producer_transactions import Verification
from ksim_models.profiles import BrokerProfile
from ksim_models.transaction_messages import (
    CONSUMER_OFFSETS,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    SyncGroupRequest,
    SyncGroupResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from ksim_models.units import NEVER, Micros

Verified = Callable[[ErrorCode, Verification | None, Micros, list[Effect]], None]
Verify = Callable[[str, TxnOffsetCommitRequest, Verified, Micros, list[Effect]], None]
"""(partition of __consumer_offsets, request, told): asks the transaction's coordinator whether it is part of the transaction (GC-7)."""


class GroupCoordinator:
    """On one broker, for the partitions of __consumer_offsets that it leads."""

    def __init__(
        self, profile: BrokerProfile, config: BrokerConfig, topics: InternalTopics, leading: Leading, verify: Verify, reply: Reply, loading_takes: Micros = 0
    ) -> None:
        self.config = config
        self.topics = topics
        self.leading = leading
        self.reply = reply
        self.is_new = profile.offsets_append_acks_1
        self.offset_errors = commit_errors(profile)
        self.membership = GroupMembership(config, reply, self._store_group, is_new=self.is_new)
        self.consumer_groups = ConsumerGroupMembership(profile, config, self._size_of)
        self.shards: dict[str, Shard] = {}
        self.loading_takes = loading_takes
        self.loading: dict[str, tuple[Micros, int]] = {}
        """Partition -> when it is loaded, and in which leader epoch (GC-1)."""
        self.next_look: Micros = NEVER
        self.verify = verify
        self.out: list[Effect] = []
        """Of the event at hand."""
        self.apis: dict[type, Callable[[str, Any, Micros, list[Effect]], object | None]] = {
            JoinGroupRequest: self._join,
            SyncGroupRequest: self._sync,
            HeartbeatRequest: self._heartbeat,
            LeaveGroupRequest: self._leave,
            ConsumerGroupHeartbeatRequest: self._beat,
            OffsetCommitRequest: self._commit,
            OffsetFetchRequest: self._fetch,
            TxnOffsetCommitRequest: self._commit_in_transaction,
        }

    # Elections.

    def elected(self, partition: str, leader_epoch: int, now: Micros, out: list[Effect]) -> None:
        self.out = out
        self._unload(partition)
        if self.loading_takes:
            self.loading[partition] = now + self.loading_takes, leader_epoch
            self._schedule()
        else:
            self._load(partition, leader_epoch, now)

    def _load(self, partition: str, leader_epoch: int, now: Micros) -> None:
        shard = self.shards[partition] = Shard(leader_epoch, visible_at_once=not self.is_new)
        shard.read(self.leading.replicas[partition].log, now, self.consumer_groups.session)
        for group in shard.groups.values():
            self.membership.loaded(group, now)
        self._schedule()

    def resigned(self, partition: str, now: Micros, out: list[Effect]) -> None:
        self.out = out
        self._unload(partition)

    def _unload(self, partition: str) -> None:
        self.loading.pop(partition, None)
        shard = self.shards.pop(partition, None)
        for group in shard.groups.values() if shard is not None else ():
            self.membership.unload(group)

    def transaction_ended(self, partition: str, producer_id: int, *, committed: bool) -> None:
        """Its marker stands in this partition of __consumer_offsets, and is committed (GC-4)."""
        if partition in self.shards:
            self.shards[partition].offsets.end(producer_id, committed=committed)

    def topics_deleted(self, partitions: Container[str], now: Micros, out: list[Effect]) -> None:
        """Offsets that groups have committed for them go with them: another topic of that name may be there already."""
        self.out = out
        for place, shard in self.shards.items():
            if tombstones := shard.offsets.delete(partitions):
                if self.is_new:
                    self._write_offsets(shard, tombstones, lambda error: None, now)
                else:
                    self._append(place, tombstones, OFFSET_BYTES * len(tombstones), lambda *told: None, now)

    # The clock.

    @property
    def wake_at(self) -> Micros:
        return self.next_look

    def wake(self, now: Micros, out: list[Effect]) -> None:
        if self.next_look <= now:
            self.out = out
            for partition in [one for one, (at, _) in self.loading.items() if at <= now]:
                self._load(partition, self.loading.pop(partition)[1], now)
            for shard in list(self.shards.values()):
                for group in list(shard.groups.values()):
                    self.membership.wake(group, now)
                for one in list(shard.consumer_groups.values()):
                    if self.consumer_groups.wake(one, now):
                        self._store_consumer_group(one, lambda error: None, now)
            self._schedule()

    def _schedule(self) -> None:
        self.next_look = min((at for at, _ in self.loading.values()), default=NEVER)
        for shard in self.shards.values():
            for group in shard.groups.values():
                self.next_look = min(self.next_look, self.membership.next_at(group))
            for one in shard.consumer_groups.values():
                self.next_look = min(self.next_look, self.consumer_groups.next_at(one))

    # Groups.

    def partition_of(self, group: str) -> str:
        return self.topics.partition_of(CONSUMER_OFFSETS, group)

    def _group(self, name: str) -> tuple[ErrorCode, Shard | None, Group | None]:
        """Is it this coordinator's, and is there such a group?"""
        if not name:
            return ErrorCode.INVALID_GROUP_ID, None, None
        partition = self.partition_of(name)
        if partition in self.loading:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, None, None
        shard = self.shards.get(partition)
        if shard is None:
            return ErrorCode.NOT_COORDINATOR, None, None
        return NONE, shard, shard.groups.get(name)

    def _join(self, connection: str, request: JoinGroupRequest, now: Micros, out: list[Effect]) -> JoinGroupResponse | None:
        self.out = out
        error, shard, group = self._group(request.group)
        if not error and not self.config.group_min_session_timeout_ms <= request.session_timeout_ms <= self.config.group_max_session_timeout_ms:
            error = ErrorCode.INVALID_SESSION_TIMEOUT
        if not error and group is None and request.member:
            error = ErrorCode.UNKNOWN_MEMBER_ID
        if error or shard is None:
            return JoinGroupResponse(error, member=request.member)
        if group is None:
            group = shard.groups[request.group] = Group(request.group)
        group.given_ids += 1
        self.membership.join(group, connection, request, f"{request.instance or request.client}-{shard.epoch}.{group.given_ids}", now)
        self._schedule()
        return None

    def _sync(self, connection: str, request: SyncGroupRequest, now: Micros, out: list[Effect]) -> SyncGroupResponse | None:
        self.out = out
        error, _, group = self._group(request.group)
        if error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS and not self.is_new:
            error = ErrorCode.REBALANCE_IN_PROGRESS  # The rebalance is lost with the coordinator before; 4.0 says what it is, which Java does not expect.
        if error or group is None:
            return SyncGroupResponse(error or ErrorCode.UNKNOWN_MEMBER_ID)
        self.membership.sync(group, connection, request, now)
        self._schedule()
        return None

    def _heartbeat(self, connection: str, request: HeartbeatRequest, now: Micros, out: list[Effect]) -> HeartbeatResponse:
        error, _, group = self._group(request.group)
        if error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            return HeartbeatResponse(NONE)  # Blindly: it may be a member.
        if error or group is None:
            return HeartbeatResponse(error or ErrorCode.UNKNOWN_MEMBER_ID)
        return HeartbeatResponse(self.membership.heartbeat(group, request, now))

    def _leave(self, connection: str, request: LeaveGroupRequest, now: Micros, out: list[Effect]) -> LeaveGroupResponse:
        self.out = out
        error, _, group = self._group(request.group)
        if error or group is None:
            return LeaveGroupResponse(error or ErrorCode.UNKNOWN_MEMBER_ID)
        answer = LeaveGroupResponse(self.membership.leave(group, request, now))
        self._schedule()
        return answer

    def _beat(self, connection: str, request: ConsumerGroupHeartbeatRequest, now: Micros, out: list[Effect]) -> ConsumerGroupHeartbeatResponse | None:
        """Answered when all that was written before, and by this, is committed."""
        self.out = out
        error, shard, _ = self._group(request.group)
        if error or shard is None:
            return ConsumerGroupHeartbeatResponse(error)
        answer, changed = self.consumer_groups.heartbeat(shard.consumer_groups, request, now)
        self._schedule()
        if answer.error:
            return answer

        def told(error: ErrorCode) -> None:
            error = self.offset_errors.get(error, error)
            self.reply(connection, ConsumerGroupHeartbeatResponse(error) if error else answer)

        place = self.partition_of(request.group)
        log = self.leading.replicas[place].log
        if changed is not None:
            self._store_consumer_group(changed, told, now)
        elif log.high_watermark < log.log_end_offset:
            self.leading.await_commit(place, self.config.offsets_commit_timeout_ms, lambda error, offset, at, out: told(error), now, out)
        else:
            return answer
        return None

    def _store_consumer_group(self, group: ConsumerGroup, told: Callable[[ErrorCode], None], now: Micros) -> None:
        size = OFFSET_BYTES + MEMBER_BYTES * len(group.members)
        self._append(self.partition_of(group.name), (group.record(),), size, lambda error, offset, at, out: told(error), now)

    def _size_of(self, topic: str) -> int:
        known = self.topics.image.topics.get(topic)
        return known.partitions if known is not None else 0

    def _store_group(self, group: Group, then: Callable[[ErrorCode, Micros], None], now: Micros) -> None:
        members = tuple(
            MemberRecord(
                *(one.member, one.instance, one.client, one.topics, one.protocols, one.session_timeout_ms, one.rebalance_timeout_ms),
                assignment=one.assignment,
                held=one.held,
            )
            for one in group.members.values()
        )
        record = GroupRecord(group.name, group.generation, group.protocol, group.leader, members)
        errors = NEW_ERRORS if self.is_new else OLD_GROUP_ERRORS

        def told(error: ErrorCode, offset: int, at: Micros, out: list[Effect]) -> None:
            self.out = out
            then(errors.get(error, error), at)
            self._schedule()

        self._append(self.partition_of(group.name), (record,), OFFSET_BYTES + MEMBER_BYTES * len(members), told, now)

    def _append(
        self,
        partition: str,
        records: tuple[object, ...],
        size: int,
        told: Callable[[ErrorCode, int, Micros, list[Effect]], None],
        now: Micros,
        producer: tuple[int, int] | None = None,
        proof: Verification | None = None,
    ) -> None:
        """GC-1, GC-9: up to 3.9 with acks=-1, since 4.0 with acks=1 and a wait for the high watermark."""
        acks, timeout_ms = 1 if self.is_new else -1, self.config.offsets_commit_timeout_ms
        self.leading.append_internal(
            partition, records, size, acks=acks, timeout_ms=timeout_ms, then=told, now=now, out=self.out, producer=producer, proof=proof
        )

    # Offsets.

    def _commit(self, connection: str, request: OffsetCommitRequest, now: Micros, out: list[Effect]) -> OffsetCommitResponse | None:
        self.out = out
        error, shard, group = self._group(request.group)
        if shard is not None and request.group in shard.consumer_groups:
            return self._commit_of_consumer(connection, request, shard, now)
        if not error and group is None and request.generation >= 0:
            error = ErrorCode.GROUP_ID_NOT_FOUND if self.is_new else ErrorCode.ILLEGAL_GENERATION  # GC-10
        if not error and group is not None:
            error = self._refusal(group, request.member, request.generation, request.instance, in_transaction=False)
        if error or shard is None:
            return _committed(request, error)
        if group is None:
            group = shard.groups[request.group] = Group(request.group)
        if group.state in (GroupState.STABLE, GroupState.PREPARING_REBALANCE):
            self.membership.heard_of(group, request.member, now)
            self._schedule()
        records = offset_records(request.group, request.offsets, request.epochs)
        self._write_offsets(shard, records, lambda code: self.reply(connection, _committed(request, code)), now)
        return None

    def _commit_of_consumer(self, connection: str, request: OffsetCommitRequest, shard: Shard, now: Micros) -> OffsetCommitResponse | None:
        """GC-10: what the member's epoch allows, partition by partition. It does not keep a session alive."""
        group, partitions = shard.consumer_groups[request.group], [partition for partition, _ in request.offsets]
        refused = self.consumer_groups.commit_errors(group, request.member, request.instance, request.generation, partitions, anonymous=False)
        records = tuple(one for one in offset_records(request.group, request.offsets, request.epochs) if one.partition not in refused)
        if not records:
            return OffsetCommitResponse(tuple((partition, refused[partition]) for partition in partitions))

        def told(code: ErrorCode) -> None:
            self.reply(connection, OffsetCommitResponse(tuple((partition, refused.get(partition, code)) for partition in partitions)))

        self._write_offsets(shard, records, told, now)
        return None

    def _refusal(self, group: Group, member: str, generation: int, instance: str, *, in_transaction: bool) -> ErrorCode:
        """GC-2, GC-3."""
        if generation < 0 and group.state is GroupState.EMPTY:
            return NONE
        if generation >= 0 or member or instance:
            error = self.membership.generation_error(group, member, instance, generation)
            if error:
                return error
        elif not in_transaction and group.state is not GroupState.EMPTY:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if not in_transaction and group.state is GroupState.COMPLETING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return NONE

    def _write_offsets(
        self,
        shard: Shard,
        records: tuple[OffsetRecord, ...],
        respond: Callable[[ErrorCode], None],
        now: Micros,
        producer: tuple[int, int] | None = None,
        proof: Verification | None = None,
    ) -> None:
        """Since 4.0 what is written counts at once for whoever writes next, and for readers when it is committed; up to 3.9 when it is committed."""
        offsets, is_new = shard.offsets, self.is_new
        partition = self.partition_of(records[0].group)
        before = self.leading.replicas[partition].log.log_end_offset

        def take(base: int) -> None:
            for place, record in enumerate(records):
                if producer is not None:
                    offsets.hold(producer[0], record, base + place)
                else:
                    offsets.put(record, base + place)

        def told(error: ErrorCode, base: int, at: Micros, out: list[Effect]) -> None:
            if not is_new:
                for record in records:
                    offsets.writes(record.group, record.partition, -1)
                if error:
                    self._let_go(offsets, records, producer)
                elif self.shards.get(partition) is shard:
                    take(base)
            respond(self.offset_errors.get(error, error))

        self._append(partition, records, OFFSET_BYTES * len(records), told, now, producer, proof)
        if not is_new:
            for record in records:
                offsets.writes(record.group, record.partition, 1)
        elif self.leading.replicas[partition].log.log_end_offset > before:
            take(before)

    def _let_go(self, offsets: GroupOffsets, records: tuple[OffsetRecord, ...], producer: tuple[int, int] | None) -> None:
        """Up to 3.9 nothing of a failed commit is remembered, though it may stand in the log (GC-9)."""
        if producer is not None:
            for record in records:
                offsets.pending.get(producer[0], {}).pop((record.group, record.partition), None)

    def _fetch(self, connection: str, request: OffsetFetchRequest, now: Micros, out: list[Effect]) -> OffsetFetchResponse | None:
        """GC-5. Since 4.0 a fetch of stable offsets waits, like a commit, until all that was written before it is committed."""
        error, shard, _ = self._group(request.group)
        if not error and shard is not None and request.group in shard.consumer_groups:
            error = self.consumer_groups.fetch_error(shard.consumer_groups[request.group], request.member, request.epoch)
        if error or shard is None:
            return OffsetFetchResponse(error)
        place = self.partition_of(request.group)
        log = self.leading.replicas[place].log
        waits = self.is_new and request.require_stable
        results = []
        for partition in request.partitions:
            if request.require_stable and shard.offsets.is_unstable(request.group, partition):
                results.append((partition, ErrorCode.UNSTABLE_OFFSET_COMMIT, NOTHING, NOTHING))
                continue
            if waits:
                stored = shard.offsets.newest(request.group, partition)
            else:
                stored = shard.offsets.read(request.group, partition, log.high_watermark)
            results.append((partition, NONE, stored.offset if stored else NOTHING, stored.leader_epoch if stored else NOTHING))
        answer = OffsetFetchResponse(NONE, tuple(results))
        if not waits or log.high_watermark >= log.log_end_offset:
            return answer

        def told(error: ErrorCode, offset: int, at: Micros, out: list[Effect]) -> None:
            self.reply(connection, OffsetFetchResponse(FETCH_ERRORS.get(error, error)) if error else answer)

        self.leading.await_commit(place, self.config.offsets_commit_timeout_ms, told, now, out)
        return None

    def _commit_in_transaction(self, connection: str, request: TxnOffsetCommitRequest, now: Micros, out: list[Effect]) -> TxnOffsetCommitResponse | None:
        """GC-3, GC-7: first it is made sure that this partition is part of the transaction."""
        error, _, _ = self._group(request.group)
        if error:
            return _in_transaction(request, error)
        place = self.partition_of(request.group)
        self.verify(place, request, lambda error, proof, at, out: self._verified(connection, request, error, proof, at, out), now, out)
        return None

    def _verified(self, connection: str, request: TxnOffsetCommitRequest, error: ErrorCode, proof: Verification | None, now: Micros, out: list[Effect]) -> None:
        self.out = out
        if error:
            self.reply(connection, _in_transaction(request, self.offset_errors.get(error, error)))
            return
        error, shard, group = self._group(request.group)
        refused: Mapping[str, ErrorCode] = {}
        partitions = [partition for partition, _ in request.offsets]
        if shard is not None and request.group in shard.consumer_groups:
            of_group = shard.consumer_groups[request.group]
            refused = self.consumer_groups.commit_errors(of_group, request.member, request.instance, request.generation, partitions, anonymous=True)
            refused = {one: ErrorCode.ILLEGAL_GENERATION if code is ErrorCode.STALE_MEMBER_EPOCH else code for one, code in refused.items()}  # GC-3
        else:
            if not error and group is None and request.generation >= 0 and self.is_new:
                error = ErrorCode.ILLEGAL_GENERATION
            if not error and shard is not None:
                group = group or shard.groups.setdefault(request.group, Group(request.group))
                error = self._refusal(group, request.member, request.generation, request.instance, in_transaction=True)
        records = tuple(one for one in offset_records(request.group, request.offsets, request.epochs) if one.partition not in refused)

        def told(code: ErrorCode) -> None:
            self.reply(connection, TxnOffsetCommitResponse(tuple((partition, refused.get(partition, code)) for partition in partitions)))

        if error or shard is None or not records:
            told(error)
        else:
            self._write_offsets(shard, records, told, now, (request.producer_id, request.producer_epoch), proof)


def _committed(request: OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse:
    return OffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))


def _in_transaction(request: TxnOffsetCommitRequest, error: ErrorCode) -> TxnOffsetCommitResponse:
    return TxnOffsetCommitResponse(tuple((partition, error) for partition, _ in request.offsets))
