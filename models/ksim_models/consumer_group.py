"""A consumer as a member of its group: it finds the coordinator, joins, beats, and joins again when it must.

Kafka: AbstractCoordinator, ConsumerCoordinator, Heartbeat. With the eager protocol a member gives up all its partitions before it joins again; with the
cooperative one (KIP-429) it keeps them, gives up what it is no longer assigned, and joins once more for that to be given to somebody else.
Simplified: a heartbeat goes when it is due; Java's thread looks every retry.backoff.ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksim_models.assignors import MemberAssignors
from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_coordinator import COMMIT_FAILED, COMMIT_REFUSALS, NO_GENERATION, REBALANCING, CoordinatorClient, MemberState
from ksim_models.consumer_fetching import Thrown
from ksim_models.errors import NONE, ErrorCode
from ksim_models.machine import Dice, Effect
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_messages import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    OffsetCommitRequest,
    SyncGroupRequest,
    SyncGroupResponse,
)
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

JOIN_GROUP_TIMEOUT_LAPSE: Micros = ms(5_000)
REFUSALS = (
    ErrorCode.FENCED_INSTANCE_ID,
    ErrorCode.INCONSISTENT_GROUP_PROTOCOL,
    ErrorCode.INVALID_SESSION_TIMEOUT,
    ErrorCode.INVALID_GROUP_ID,
    ErrorCode.GROUP_AUTHORIZATION_FAILED,
    ErrorCode.GROUP_MAX_SIZE_REACHED,
    ErrorCode.UNSUPPORTED_VERSION,
)
"""Of a JoinGroup: thrown by their own names. Whatever else Java does not expect is a KafkaException, retriable or not."""
GIVEN_UP = (ErrorCode.ILLEGAL_GENERATION, ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID)
"""Of a Heartbeat: the group has gone on without it, unless it has a new place there already."""


class GroupMember(CoordinatorClient):
    def __init__(
        self,
        name: str,
        topics: Sequence[str],
        config: ConsumerConfig,
        network: ClientNetwork,
        metadata: ClientMetadata,
        dice: Dice,
        profile: ClientProfile,
    ) -> None:
        super().__init__(name, topics, config, network, metadata, dice)
        self.profile = profile
        self.assignors = MemberAssignors(config.assignors, profile)
        self.is_cooperative = self.assignors.is_cooperative
        self.state = MemberState.UNJOINED
        self.member = ""
        self.generation = NO_GENERATION
        self.rejoin_needed = True
        self.needs_prepare = True
        """Partitions have to be given up before the next JoinGroup."""
        self.under_way = False
        """A JoinGroup or SyncGroup."""
        self.join_again_at: Micros = LONG_AGO
        self.to_assign: JoinGroupResponse | None = None
        """The leader's part, for which it needs metadata."""
        self.assigned_for: Mapping[str, int] | None = None
        """How many partitions each topic had when this leader assigned them: where that changes the group is to be assigned anew."""
        self.protocol = ""
        """The assignor of this generation."""
        self.assignment: tuple[str, ...] | None = None
        """What SyncGroup brought, until it is taken."""
        self.beat_at: Micros = NEVER
        self.beats_in_vain = 0
        self.session_until: Micros = NEVER
        self.poll_until: Micros = NEVER
        """max.poll.interval.ms, while the application is outside poll()."""

    # Joining.

    @property
    def rejoins(self) -> bool:
        return self.rejoin_needed or self.under_way or self.to_assign is not None

    def notice_metadata(self) -> None:
        """The leader watches how many partitions its topics have."""
        if self.assigned_for is not None and self.state is MemberState.STABLE and self.assigned_for != self._sizes(self.assigned_for):
            self.rejoin_needed = True

    def _sizes(self, topics: Mapping[str, int]) -> dict[str, int]:
        return {topic: len(self.metadata.topics.get(topic, ())) for topic in topics}

    def join(self, now: Micros, out: list[Effect]) -> None:
        """One step further, if it is not waited for something."""
        if self.to_assign is not None:
            self._assign(self.to_assign, now, out)
        elif not self.under_way and self.join_again_at <= now and self.may_send(now, out):
            self.state = MemberState.PREPARING_REBALANCE
            self.beat_at = self.poll_until = NEVER
            self.under_way = True
            config = self.config
            request = JoinGroupRequest(
                *(self.group, self.member, self.name, self.instance, self.topics, config.session_timeout_ms, config.max_poll_interval_ms),
                protocols=config.assignors,
                held=self.assignors.held(self.owned, self.generation),
            )
            patience = max(ms(config.request_timeout_ms), ms(config.max_poll_interval_ms) + JOIN_GROUP_TIMEOUT_LAPSE)
            self._send(request, now, out, patience)

    def _joined(self, request: JoinGroupRequest, response: JoinGroupResponse, now: Micros, out: list[Effect]) -> None:
        error = response.error
        if error is NONE:
            if self.state is not MemberState.PREPARING_REBALANCE:
                self._failed_to_join(now)  # UnjoinedGroupException: it has left meanwhile.
                return
            self.state = MemberState.COMPLETING_REBALANCE
            self.generation, self.member, self.protocol = response.generation, response.member, response.protocol
            self._begin_to_beat(now)
            self.under_way = False
            if response.leader == response.member:
                self.to_assign = response
                self._assign(response, now, out)
            else:
                self.assigned_for = None
                self._sync((), now, out)
            return
        match error:
            case ErrorCode.MEMBER_ID_REQUIRED:
                self.member, self.generation = response.member, NO_GENERATION
                self._failed_to_join(now, at_once=True)
            case ErrorCode.UNKNOWN_MEMBER_ID:
                if (request.member, self.generation) == (self.member, self.generation):
                    self._reset(forget_member=True)
                self._failed_to_join(now, at_once=True)
            case ErrorCode.REBALANCE_IN_PROGRESS:
                self._failed_to_join(now, at_once=True)
            case ErrorCode.COORDINATOR_NOT_AVAILABLE | ErrorCode.NOT_COORDINATOR:
                self.mark_unknown()
                self._failed_to_join(now)
            case ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                self._failed_to_join(now)
            case _ if error in REFUSALS:
                raise Thrown(error.exception, error.meaning)
            case _:
                raise Thrown("KafkaException", f"Unexpected error in join group response: {error.meaning}")

    def _failed_to_join(self, now: Micros, *, at_once: bool = False) -> None:
        self.under_way = False
        self.to_assign = None
        self.rejoin_needed = True
        if not at_once:
            self.join_again_at = now + ms(self.config.retry_backoff_ms)

    def _assign(self, joined: JoinGroupResponse, now: Micros, out: list[Effect]) -> None:
        """The leader's work. It needs to know the topics of all members."""
        topics = dict.fromkeys(topic for _, _, topics in joined.members for topic in topics)
        for topic in topics:
            if topic not in self.metadata.wanted:
                self.metadata.add(topic, now)
        if self.metadata.new_topics or (self.metadata.update_requested and not self.metadata.asking) or not self.may_send(now, out):
            return
        self.to_assign = None
        self.assigned_for = self._sizes(dict.fromkeys(topics, 0))
        if joined.skip_assignment:
            self._sync((), now, out)
        else:
            self._sync(tuple(self.assignors.assign(joined, self.metadata.topics).items()), now, out)

    def _sync(self, assignments: tuple[tuple[str, tuple[str, ...]], ...], now: Micros, out: list[Effect]) -> None:
        if not self.may_send(now, out):
            self._failed_to_join(now)
            return
        self.under_way = True
        self._send(SyncGroupRequest(self.group, self.member, self.generation, self.instance, assignments), now, out)

    def _synced(self, request: SyncGroupRequest, response: SyncGroupResponse, now: Micros, out: list[Effect]) -> None:
        error = response.error
        self.under_way = False
        if error is NONE:
            if self.generation == NO_GENERATION or self.state is not MemberState.COMPLETING_REBALANCE:
                self._failed_to_join(now, at_once=True)
                return
            self.state = MemberState.STABLE
            self.rejoin_needed = False
            self.needs_prepare = True
            self.assignment = response.partitions
            return
        match error:
            case ErrorCode.REBALANCE_IN_PROGRESS:
                if self.profile.failed_sync_loses_partitions:
                    self._reset(forget_member=False)
                self._failed_to_join(now, at_once=True)
            case ErrorCode.UNKNOWN_MEMBER_ID | ErrorCode.ILLEGAL_GENERATION:
                if (request.member, request.generation) == (self.member, self.generation):
                    self._reset(forget_member=self._loses_its_id(error))
                self._failed_to_join(now, at_once=True)
            case ErrorCode.COORDINATOR_NOT_AVAILABLE | ErrorCode.NOT_COORDINATOR:
                self.mark_unknown()
                self._failed_to_join(now)
            case ErrorCode.FENCED_INSTANCE_ID | ErrorCode.GROUP_AUTHORIZATION_FAILED:
                raise Thrown(error.exception, error.meaning)
            case _:
                raise Thrown("KafkaException", f"Unexpected error from SyncGroup: {error.meaning}")

    def take_assignment(self, *, gives_up: bool) -> None:
        """onJoinComplete: the application has it now. Who gave up partitions for it joins again, so that somebody else may have them."""
        assert self.assignment is not None
        self.metadata_told = self.member, self.generation
        self.assignors.assigned(self.protocol, self.assignment, self.generation)
        self.assignment = None
        self.rejoin_needed = self.rejoin_needed or gives_up

    @property
    def has_lost_its_partitions(self) -> bool:
        """The group has gone on without it, or it has left: what it had may be another's already."""
        return self.generation == NO_GENERATION or not self.member

    def _loses_its_id(self, error: ErrorCode) -> bool:
        return error is not ErrorCode.ILLEGAL_GENERATION or not self.profile.keeps_member_id

    def _reset(self, *, forget_member: bool) -> None:
        """resetStateAndRejoin."""
        self.state = MemberState.UNJOINED
        self.assignment = None
        self.generation = NO_GENERATION
        self.member = "" if forget_member else self.member
        self.rejoin_needed = self.needs_prepare = True
        self.beat_at = self.session_until = self.poll_until = NEVER

    @property
    def belongs(self) -> bool:
        return self.state is MemberState.STABLE

    @property
    def is_settled(self) -> bool:
        return self.state is MemberState.STABLE and not self.rejoins and self.assignment is None

    @property
    def place(self) -> tuple[str, int]:
        """Nobody asks a classic member for it with an OffsetFetch."""
        return "", NO_GENERATION

    @property
    def commit_refusal(self) -> str:
        """What a commit fails with before it is sent. Whoever takes part in a rebalance may commit when it is complete."""
        if self.state is MemberState.STABLE:
            return ""
        return COMMIT_FAILED if self.state is MemberState.UNJOINED else REBALANCING

    def commit_failure(self, request: OffsetCommitRequest, error: ErrorCode) -> tuple[str, bool]:
        """Kafka's class for an error that the coordinator answered, and whether the commit may be tried again."""
        unchanged = (request.member, request.generation) == (self.member, self.generation)
        moved_on = REBALANCING if self.state is MemberState.PREPARING_REBALANCE else COMMIT_FAILED
        match error:
            case ErrorCode.REBALANCE_IN_PROGRESS:
                self.rejoin_needed = True
                return REBALANCING, False
            case ErrorCode.UNKNOWN_MEMBER_ID | ErrorCode.ILLEGAL_GENERATION:
                if not unchanged and self.state is MemberState.PREPARING_REBALANCE:
                    return REBALANCING, False
                self._reset(forget_member=self._loses_its_id(error))
                return COMMIT_FAILED, False
            case ErrorCode.FENCED_INSTANCE_ID:
                return (error.exception if unchanged else moved_on), False
            case ErrorCode.COORDINATOR_LOAD_IN_PROGRESS | ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                return error.exception, True
            case _ if error in COMMIT_REFUSALS:
                return error.exception, False
        return "KafkaException", False

    def leave(self, now: Micros, out: list[Effect]) -> None:
        """A dynamic member says so; a static one is waited for (KIP-345)."""
        belongs = self.state is not MemberState.UNJOINED and self.member and not self.instance
        if belongs and self.coordinator and self.network.ready(self.coordinator, now, out):
            self._send(LeaveGroupRequest(self.group, self.member), now, out)
        self._reset(forget_member=True)

    # The heartbeat thread.

    def _begin_to_beat(self, now: Micros) -> None:
        self.beat_at = now + ms(self.config.heartbeat_interval_ms)
        self.session_until = now + ms(self.config.session_timeout_ms)

    @property
    def beats(self) -> bool:
        return self.state in (MemberState.COMPLETING_REBALANCE, MemberState.STABLE)

    def beat(self, now: Micros, out: list[Effect]) -> None:
        """What the heartbeat thread does, whatever the application does. A member that does not poll() in time leaves by itself."""
        if not self.beats:
            return
        if not self.knows_coordinator(now, out):
            pass
        elif self.session_until <= now:
            self.mark_unknown()  # Nothing was heard of it for a whole session.
            self.session_until = now + ms(self.config.session_timeout_ms)
        elif self.poll_until <= now:
            self.leave(now, out)
        elif self.beat_at <= now and self.may_send(now, out):
            self.beat_at = now + ms(self.config.heartbeat_interval_ms)
            self._send(HeartbeatRequest(self.group, self.member, self.generation, self.instance), now, out)

    def _beaten(self, request: HeartbeatRequest, response: HeartbeatResponse, now: Micros, out: list[Effect]) -> None:
        error = response.error
        is_of_before = (request.member, request.generation) != (self.member, self.generation)
        if error is NONE or error is ErrorCode.REBALANCE_IN_PROGRESS or (error in GIVEN_UP and is_of_before):
            if error is ErrorCode.REBALANCE_IN_PROGRESS and self.state is MemberState.STABLE:
                self.rejoin_needed = True
            self.beats_in_vain = 0
            if self.beats:
                self.session_until = now + ms(self.config.session_timeout_ms)
            return
        if error in (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR):
            self.mark_unknown()
        elif error in GIVEN_UP:
            self._reset(forget_member=self._loses_its_id(error))
            if error is ErrorCode.FENCED_INSTANCE_ID:
                self.thrown = Thrown(error.exception, error.meaning)
        self._beat_in_vain(now)

    def _beat_in_vain(self, now: Micros) -> None:
        """Heartbeat.failHeartbeat: from 3.7 on it waits longer each time (KIP-580)."""
        wait = self.backoff(self.beats_in_vain, "heartbeat")
        self.beats_in_vain += 1
        if self.beats:
            self.beat_at = now + wait

    # Answers.

    def answered(self, request: object, response: object, now: Micros, out: list[Effect]) -> None:
        match request, response:
            case FindCoordinatorRequest(), FindCoordinatorResponse():
                self._found(response, now)
            case JoinGroupRequest(), JoinGroupResponse():
                self._joined(request, response, now, out)
            case SyncGroupRequest(), SyncGroupResponse():
                self._synced(request, response, now, out)
            case HeartbeatRequest(), HeartbeatResponse():
                self._beaten(request, response, now, out)

    def lost(self, node: str, requests: Sequence[object], now: Micros) -> None:
        super().lost(node, requests, now)
        for request in requests:
            match request:
                case JoinGroupRequest() | SyncGroupRequest():
                    self._failed_to_join(now)
                case HeartbeatRequest():
                    self._beat_in_vain(now)

    # The clock.

    def wake_after(self, looked_at: Micros, *, polls: bool) -> Micros:
        at = NEVER
        for due in (self.beat_at, self.session_until, self.poll_until) if self.beats else ():
            if looked_at < due < at:  # What is due already waits for a connection.
                at = due
        at = min(at, self.looks_at(looked_at))
        if polls and self.rejoin_needed and not self.under_way and looked_at < self.join_again_at < at:
            at = self.join_again_at
        return at
