"""A member of a group of the consumer protocol (KIP-848): it beats, hears what it may have, gives up and takes, and says so with its next beat.

Kafka: ConsumerMembershipManager, AbstractHeartbeatRequestManager, ConsumerHeartbeatRequestManager. No session of its own: it is the coordinator that
takes it for dead, and only its answer tells a member so. Until then it reads on, and its commits are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_coordinator import COMMIT_FAILED, COMMIT_REFUSALS, NO_GENERATION, STALE, CoordinatorClient
from ksim_models.consumer_fetching import Thrown
from ksim_models.errors import ErrorCode
from ksim_models.machine import Dice, Effect
from ksim_models.transaction_messages import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    OffsetCommitRequest,
)
from ksim_models.units import LONG_AGO, Micros, ms

JOINS, LEAVES, LEAVES_FOR_A_WHILE = 0, -1, -2
NOT_SUPPORTED = (
    "The cluster does not support the new CONSUMER group protocol. Set group.protocol=classic on the consumer configs to revert to the CLASSIC protocol."
)
RETRIED_COMMITS = (
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
)


class Phase(Enum):
    JOINING = "its next beat joins"
    RECONCILING = "it has been told what to have, and has not got there"
    ACKNOWLEDGING = "its next beat says what it has"
    STABLE = "it has what it was told to have"
    FENCED = "the group has gone on without it: it releases all its partitions, then joins again"
    STALE = "it has left because nobody polled: so too, when somebody polls again"
    LEFT = "it has left for good"


Target = tuple[int, tuple[str, ...]]
"""A number of this member's own, and the partitions."""
NOTHING: Target = (-1, ())


class ConsumerProtocolMember(CoordinatorClient):
    is_cooperative = True

    def __init__(self, name: str, topics: Sequence[str], config: ConsumerConfig, network: ClientNetwork, metadata: ClientMetadata, dice: Dice) -> None:
        super().__init__(name, topics, config, network, metadata, dice)
        self.member = f"{name}-{network.connections_made}"
        """Its own choice, kept as long as the process lives (KIP-1082)."""
        self.epoch = JOINS
        self.phase = Phase.JOINING
        self.target = NOTHING
        self.current = NOTHING
        self.told_owned: Target | None = None
        """What the coordinator was told last that it has; None: everything is said again."""
        self.under_way: ConsumerGroupHeartbeatRequest | None = None
        self.interval: Micros = 0
        """As the coordinator says."""
        self.beat_at: Micros = LONG_AGO
        self.backs_off_until: Micros = LONG_AGO
        self.failed_in_a_row = 0
        self.is_fatal = False
        """It beats no more, and says nothing when it is closed: its group waits for its session (MemberState.FATAL)."""

    # What the consumer asks.

    @property
    def generation(self) -> int:
        return self.epoch if self.epoch > 0 else NO_GENERATION

    @property
    def belongs(self) -> bool:
        """So far as it knows."""
        return self.epoch > 0

    @property
    def is_settled(self) -> bool:
        return self.phase is Phase.STABLE

    @property
    def has_lost_its_partitions(self) -> bool:
        return self.phase in (Phase.FENCED, Phase.STALE, Phase.LEFT)

    @property
    def place(self) -> tuple[str, int]:
        """With which it asks for committed offsets."""
        return self.member, self.generation

    # The heartbeats, whatever the application does.

    def beat(self, now: Micros, out: list[Effect]) -> None:
        if self.poll_until <= now and self.phase not in (Phase.STALE, Phase.LEFT, Phase.FENCED):
            self._leave_because_nobody_polls(now, out)
        elif self._wants_to_beat(now) and self.may_send(now, out):
            self._beat(now, out)

    def _wants_to_beat(self, now: Micros) -> bool:
        if self.has_lost_its_partitions or self.is_fatal:
            return False
        if not self.knows(now):
            return True  # To look for it.
        at_once = self.phase in (Phase.JOINING, Phase.ACKNOWLEDGING)
        return self.under_way is None and self.backs_off_until <= now and (at_once or self.beat_at <= now)

    def knows(self, now: Micros) -> bool:
        return bool(self.coordinator)

    def _beat(self, now: Micros, out: list[Effect]) -> None:
        joins = self.phase is Phase.JOINING
        everything = joins or self.told_owned is None
        owned = self.current[1] if everything or self.told_owned != self.current else None
        patience, topics = (self.config.max_poll_interval_ms, self.topics) if everything else (-1, None)
        assignor = (self.config.group_remote_assignor or "") if everything else ""
        self.under_way = ConsumerGroupHeartbeatRequest(self.group, self.member, self.epoch, self.instance, patience, topics, assignor, owned)
        self.told_owned = self.current
        self.beat_at = now + self.interval
        self._send(self.under_way, now, out)
        if self.phase is Phase.ACKNOWLEDGING:
            self.phase = Phase.STABLE if self.current == self.target else Phase.RECONCILING

    def _leave_because_nobody_polls(self, now: Micros, out: list[Effect]) -> None:
        self._say_that_it_leaves(now, out)
        self._lose(Phase.STALE)
        self.told_owned, self.backs_off_until, self.under_way = None, LONG_AGO, None

    def _say_that_it_leaves(self, now: Micros, out: list[Effect]) -> None:
        """Once, if it can be said at all."""
        if self.coordinator and self.network.ready(self.coordinator, now, out):
            epoch = LEAVES_FOR_A_WHILE if self.instance else LEAVES
            self._send(ConsumerGroupHeartbeatRequest(self.group, self.member, epoch, self.instance, owned=()), now, out)

    def leave(self, now: Micros, out: list[Effect]) -> None:
        """close()."""
        if not self.has_lost_its_partitions and self.belongs and not self.is_fatal:
            self._say_that_it_leaves(now, out)
        self._lose(Phase.LEFT)

    def _lose(self, phase: Phase) -> None:
        self.phase, self.epoch, self.current, self.target = phase, JOINS, NOTHING, NOTHING
        if phase is Phase.FENCED and not self.owned:
            self.released()

    def released(self) -> None:
        """onPartitionsLost is over: the application has none of its partitions any more."""
        if self.phase in (Phase.FENCED, Phase.STALE):
            self.phase = Phase.JOINING
        self.owned = ()

    # What it is to have.

    @property
    def to_reconcile(self) -> Target | None:
        return self.target if self.phase is Phase.RECONCILING and self.target != self.current else None

    def reconciled(self, target: Target) -> None:
        """The application has this now. The next beat says so."""
        self.current, self.owned = target, target[1]
        self.phase = Phase.ACKNOWLEDGING

    # Answers.

    def answered(self, request: object, response: object, now: Micros, out: list[Effect]) -> None:
        match request, response:
            case FindCoordinatorRequest(), FindCoordinatorResponse():
                self._found(response, now)
            case ConsumerGroupHeartbeatRequest(), ConsumerGroupHeartbeatResponse() if request is self.under_way:
                self.under_way = None
                if response.error:
                    self._refused(response.error, now)
                else:
                    self._accepted(response, now)

    def _accepted(self, response: ConsumerGroupHeartbeatResponse, now: Micros) -> None:
        if self.interval != ms(response.interval_ms):
            self.beat_at += ms(response.interval_ms) - self.interval
            self.interval = ms(response.interval_ms)
        self.failed_in_a_row = 0
        if self.has_lost_its_partitions:
            return
        self.epoch = response.epoch
        self.metadata_told = self.member, self.epoch
        if response.assignment is None:
            return
        if self.target == NOTHING or self.target[1] != response.assignment:
            self.target = self.target[0] + 1, response.assignment
        if self.target != self.current:
            self.phase = Phase.RECONCILING
        elif self.phase in (Phase.RECONCILING, Phase.JOINING):
            self.phase = Phase.STABLE

    def _refused(self, error: ErrorCode, now: Micros) -> None:
        self.told_owned = None
        self._back_off(now)
        match error:
            case ErrorCode.NOT_COORDINATOR | ErrorCode.COORDINATOR_NOT_AVAILABLE:
                self.mark_unknown()
                self._beat_again_at_once(now)
            case ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                pass
            case ErrorCode.FENCED_MEMBER_EPOCH | ErrorCode.UNKNOWN_MEMBER_ID:
                self._beat_again_at_once(now)
                if not self.has_lost_its_partitions:
                    self._lose(Phase.FENCED)
            case _:
                self.is_fatal = error is not ErrorCode.TOPIC_AUTHORIZATION_FAILED
                self.thrown = Thrown(error.exception, NOT_SUPPORTED if error is ErrorCode.UNSUPPORTED_VERSION else error.meaning)

    def _beat_again_at_once(self, now: Micros) -> None:
        self.beat_at, self.backs_off_until, self.failed_in_a_row = now, LONG_AGO, 0

    def _back_off(self, now: Micros) -> None:
        """HeartbeatRequestState.onFailedAttempt: the next beat waits for this only, not for its interval."""
        self.beat_at = now
        self.backs_off_until = now + self.backoff(self.failed_in_a_row, "beat")
        self.failed_in_a_row += 1

    def lost(self, node: str, requests: Sequence[object], now: Micros) -> None:
        super().lost(node, requests, now)
        if any(request is self.under_way for request in requests):
            self.under_way = self.told_owned = None
            self._back_off(now)

    # Commits.

    @property
    def commit_refusal(self) -> str:
        """None is refused before it is sent: the coordinator knows who may."""
        return ""

    def commit_failure(self, request: OffsetCommitRequest, error: ErrorCode) -> tuple[str, bool]:
        del request
        if error is ErrorCode.UNKNOWN_MEMBER_ID:
            return COMMIT_FAILED, False
        if error is ErrorCode.STALE_MEMBER_EPOCH:
            return STALE, False
        if error in COMMIT_REFUSALS:
            return error.exception, False
        return (error.exception, True) if error in RETRIED_COMMITS else ("KafkaException", False)

    # The clock.

    def wake_after(self, looked_at: Micros, *, polls: bool) -> Micros:
        del polls
        at = self.looks_at(looked_at)
        for due in (self.beat_at, self.backs_off_until) if self.under_way is None and not self.has_lost_its_partitions else ():
            if looked_at < due < at:
                at = due
        return min(at, self.poll_until) if self.poll_until > looked_at and not self.has_lost_its_partitions else at
