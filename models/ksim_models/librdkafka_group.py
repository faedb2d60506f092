"""librdkafka as a member of its group: whom it asks, when it joins, what makes it join again. The eager protocol.

Kafka: rdkafka_cgrp.c in librdkafka: rd_kafka_cgrp_serve, _join_state_serve, _handle_JoinGroup, _handle_SyncGroup, _handle_Heartbeat, _revoke_all_rejoin.
All of it is its main thread's; only what partitions it has is told by the application, from within poll() (`librdkafka_assignment`).
Simplified: what is due is done at once; the main thread looks when something wakes it, and once a second.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from ksim_models.assignors import ASSIGNORS
from ksim_models.errors import NONE, ErrorCode
from ksim_models.librdkafka_broker_thread import BrokerThread, Request
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_errors import name_of
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.machine import Dice
from ksim_models.messages import MetadataRequest
from ksim_models.transaction_messages import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
    SyncGroupResponse,
)
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, SECOND, Micros, ms

QUERY_EVERY: Micros = 500 * MILLISECOND
QUERY_JITTER_PERCENT = 20
GRACE: Micros = 3 * SECOND
"""What JoinGroup may take beyond max.poll.interval.ms, and SyncGroup beyond session.timeout.ms."""
LEAVE_WITHIN: Micros = 5 * SECOND
JOIN_EVERY: Micros = SECOND
LOOK_AT_POLLS_EVERY: Micros = 500 * MILLISECOND


class State(Enum):
    QUERY_COORD = "asks for the coordinator"
    WAIT_COORD = "has asked"
    WAIT_BROKER = "does not know the broker that was named"
    WAIT_TRANSPORT = "waits for a connection"
    UP = "may ask the coordinator"


class Join(Enum):
    INIT = "is to join"
    WAIT_JOIN = "JoinGroup is under way"
    WAIT_METADATA = "the leader asks for the topics of all members"
    WAIT_SYNC = "SyncGroup is under way"
    WAIT_ASSIGN = "waits until the application's poll() takes its partitions"
    WAIT_UNASSIGN = "waits until the application's poll() gives them up"
    UNASSIGNING = "waits until its last offsets are committed"
    STEADY = "has its partitions"


class LibrdkafkaGroup:
    def __init__(
        self, name: str, topics: tuple[str, ...], config: LibrdkafkaConsumerConfig, brokers: Brokers, metadata: LibrdkafkaMetadata, dice: Dice, born_at: Micros
    ) -> None:
        self.name = name
        self.topics = topics
        self.config = config
        self.brokers = brokers
        self.metadata = metadata
        self.dice = dice
        self.instance = config.group_instance_id or ""
        self.coordinator = BrokerThread("GroupCoordinator", "", name, config, dice, born_at, learned=False)
        """A connection of its own: JoinGroup may hold it up for long."""
        self.state, self.join_state = State.QUERY_COORD, Join.INIT
        self.query_at: Micros = LONG_AGO
        self.queries = 0
        self.member = ""
        self.generation = -1
        self.subscribed: dict[str, int] = {}
        """The topics that there are, with the number of their partitions: another number, and it joins again."""
        self.awaits = False
        """A JoinGroup or SyncGroup."""
        self.join_at: Micros = LONG_AGO
        self.joined: JoinGroupResponse | None = None
        """The leader's part, for which it needs metadata."""
        self.has_assignment = False
        self.lost = False
        self.beats_at: Micros = NEVER
        self.beating = False
        self.session_until: Micros = NEVER
        self.look_at_polls_at: Micros = NEVER
        self.polled_at: Micros = NEVER
        """When the application's last poll() returned; NEVER: it is inside."""
        self.poll_exceeded = False
        self.closing = False
        self.leave_when_unassigned = False
        self.leaving = False
        self.fatal = ""
        self.rebalance: Callable[[str, tuple[str, ...]], None] = _nobody
        """Told the application, from within poll(): "assign" or "revoke"."""
        self.came_up: Callable[[Micros], None] = _nobody
        """The coordinator can be asked again: commits that waited for it go."""
        self.report: Callable[[str, str], None] = _nobody

    # The coordinator.

    def serve(self, now: Micros) -> bool:
        """One turn of the main thread; True if something moved."""
        up = self.coordinator.is_up
        if self.state is State.UP and not up:
            self.state, self.query_at = State.QUERY_COORD, now
        if self.join_state is Join.STEADY and self.session_until <= now:
            self._session_timed_out(now)
            return True
        if self.look_at_polls_at <= now:
            self._look_at_polls(now)
            return True
        if self.state is State.WAIT_BROKER and self.brokers.get(self.coordinator.broker) is not None:
            self.state = State.WAIT_TRANSPORT
        if self.state is State.WAIT_TRANSPORT and up:
            self.state = State.UP
            self.query_at = now + ms(self.config.coordinator_query_interval_ms)
            self.came_up(now)
            return True
        if self.state is not State.WAIT_COORD and self.query_at <= now:
            return self.query(now)
        return self.state is State.UP and not self.fatal and self._serve_join(now)

    def query(self, now: Micros) -> bool:
        """Any broker that can be asked is asked for the coordinator; where there is none, the first to come up."""
        thread = self.brokers.usable(now)
        if thread is None:
            self.query_at = LONG_AGO
            return False
        thread.enqueue(Request(FindCoordinatorRequest("group", self.config.group_id), now + self.brokers.socket_timeout))
        if self.state is State.QUERY_COORD:
            self.state = State.WAIT_COORD
        self.queries += 1
        percent = 100 - QUERY_JITTER_PERCENT + int(self.dice.at("coordinator-query", self.name, self.queries) * (2 * QUERY_JITTER_PERCENT + 1))
        self.query_at = now + (QUERY_EVERY * percent // 100 if self.state is not State.UP else ms(self.config.coordinator_query_interval_ms))
        return True

    def found(self, response: FindCoordinatorResponse, now: Micros) -> None:
        if response.error:
            if response.error is not ErrorCode.COORDINATOR_NOT_AVAILABLE and not response.error.retriable:
                self.report(name_of(response.error), f"FindCoordinator response error: {response.error.meaning}")
            elif response.error is ErrorCode.COORDINATOR_NOT_AVAILABLE:
                self._set_coordinator("", now)
            self.state = State.QUERY_COORD
            return
        if response.node != self.coordinator.broker:
            self._set_coordinator(response.node, now)
        if self.state is not State.UP:
            self.state = State.WAIT_TRANSPORT if self.brokers.get(response.node) is not None else State.WAIT_BROKER
            self.query_at = now + SECOND

    def not_found(self) -> None:
        """The question was lost."""
        if self.state is State.WAIT_COORD:
            self.state = State.QUERY_COORD

    def dead(self, now: Micros) -> None:
        """rd_kafka_cgrp_coord_dead: an answer said that it is not the coordinator."""
        self._set_coordinator("", now)
        self.state = State.QUERY_COORD
        self.query(now)

    def _set_coordinator(self, node: str, now: Micros) -> None:
        """Another address: its connection is closed, whatever is under way there fails (`LibrdkafkaConsumer` sees to it)."""
        self.coordinator.broker = node
        self.coordinator.reconnect_at = LONG_AGO
        if self.coordinator.connect_at < NEVER:
            self.coordinator.connect_at = now

    # Joining.

    @property
    def has_joined(self) -> bool:
        return bool(self.member)

    @property
    def is_rebalancing(self) -> bool:
        if self.join_state in (Join.WAIT_JOIN, Join.WAIT_METADATA):
            return self.has_joined
        return self.join_state not in (Join.INIT, Join.STEADY)

    @property
    def waits_for_application(self) -> bool:
        return self.join_state in (Join.WAIT_ASSIGN, Join.WAIT_UNASSIGN)

    def _serve_join(self, now: Micros) -> bool:
        if self.join_state is Join.INIT:
            if self.awaits or self.closing or self.join_at > now or not self.subscribed:
                return False
            self.join_at = now + JOIN_EVERY
            return self._join(now)
        if self.beats_at <= now and not self.beating and not self.poll_exceeded and (self.join_state is Join.STEADY or self.waits_for_application):
            self.beats_at = now + ms(self.config.heartbeat_interval_ms)
            self.beating = True
            message = HeartbeatRequest(self.config.group_id, self.member, self.generation, self.instance)
            self.coordinator.enqueue(Request(message, now + ms(self.config.session_timeout_ms)))
            return True
        return False

    def _join(self, now: Micros) -> bool:
        """After max.poll.interval.ms was exceeded: not before the application polls again."""
        if self.poll_exceeded and self._exceeds(now):
            return False
        self.poll_exceeded = False
        self.join_state, self.awaits = Join.WAIT_JOIN, True
        config = self.config
        timeouts = config.session_timeout_ms, config.max_poll_interval_ms
        message = JoinGroupRequest(config.group_id, self.member, self.name, self.instance, tuple(self.subscribed), *timeouts, protocols=config.assignors)
        self.coordinator.enqueue(Request(message, now + ms(config.max_poll_interval_ms) + GRACE))
        return True

    def rejoin(self, now: Micros, *, at_once: bool = False) -> None:
        if at_once:
            self.join_at = now
        self.join_state = Join.INIT
        self.joined = None

    def metadata_came(self, now: Micros) -> None:
        """Every member looks for itself whether there are other topics, or other numbers of partitions."""
        known = {topic: len(self.metadata.topics[topic]) for topic in self.topics if self.metadata.topics.get(topic)}
        if known != self.subscribed and not self.closing:
            self.subscribed = known
            self.revoke_all(now, lost=False)

    def answered_join(self, response: JoinGroupResponse, now: Micros) -> None:
        self.awaits = False
        if self.closing or self.join_state is not Join.WAIT_JOIN:
            return
        error = response.error
        if error is NONE:
            self.member, self.generation = response.member, response.generation
            if response.leader == response.member:
                self.joined, self.join_state = response, Join.WAIT_METADATA
                topics = dict.fromkeys(topic for _, _, its in response.members for topic in its)
                self.coordinator.enqueue(AssignorMetadata(MetadataRequest(tuple(topics)), now + self.brokers.socket_timeout))
            else:
                self._sync((), now)
            return
        self.join_at = now + JOIN_EVERY
        match error:
            case ErrorCode.MEMBER_ID_REQUIRED:
                self.member, self.join_at = response.member, now
            case ErrorCode.UNKNOWN_MEMBER_ID:
                self.member = ""
            case ErrorCode.ILLEGAL_GENERATION:
                self.generation = -1
            case ErrorCode.FENCED_INSTANCE_ID:
                self.become_fatal(error)
            case ErrorCode.COORDINATOR_NOT_AVAILABLE | ErrorCode.NOT_COORDINATOR:
                self.query(now)
            case _ if not error.retriable and error is not ErrorCode.REBALANCE_IN_PROGRESS:
                self.report(name_of(error), f"JoinGroup failed: {error.meaning}")
        self.rejoin(now)

    def lost_join(self, now: Micros) -> None:
        self.awaits = False
        if self.join_state is Join.WAIT_JOIN:
            self.join_at = now + JOIN_EVERY
            self.rejoin(now)

    def run_assignor(self, now: Micros) -> None:
        """The leader knows the topics of all members now."""
        joined = self.joined
        if joined is None or self.join_state is not Join.WAIT_METADATA:
            return
        self.joined = None
        self._sync(() if joined.skip_assignment else tuple(ASSIGNORS[joined.protocol](joined.members, self.metadata.topics).items()), now)

    def assignor_failed(self, now: Micros) -> None:
        if self.join_state is Join.WAIT_METADATA:
            self.rejoin(now)

    def _sync(self, assignments: tuple[tuple[str, tuple[str, ...]], ...], now: Micros) -> None:
        self.join_state, self.awaits = Join.WAIT_SYNC, True
        message = SyncGroupRequest(self.config.group_id, self.member, self.generation, self.instance, assignments)
        self.coordinator.enqueue(Request(message, now + ms(self.config.session_timeout_ms) + GRACE))

    def answered_sync(self, response: SyncGroupResponse, now: Micros) -> None:
        self.awaits = False
        if self.join_state is not Join.WAIT_SYNC:
            return
        error = response.error
        if error is NONE and not self.closing:
            self.session_until = now + ms(self.config.session_timeout_ms)
            self.beats_at = now + ms(self.config.heartbeat_interval_ms)
            self.join_state, self.has_assignment = Join.WAIT_ASSIGN, True
            self.rebalance("assign", response.partitions)
            return
        match error:
            case ErrorCode.FENCED_INSTANCE_ID:
                self.become_fatal(error)
            case ErrorCode.ILLEGAL_GENERATION:
                self.generation = -1
            case ErrorCode.UNKNOWN_MEMBER_ID:
                self.member = ""
            case ErrorCode.COORDINATOR_NOT_AVAILABLE | ErrorCode.NOT_COORDINATOR:
                self.query(now)
        self.rejoin(now)

    def lost_sync(self, now: Micros) -> None:
        self.awaits = False
        if self.join_state is Join.WAIT_SYNC:
            self.rejoin(now)

    # Beating.

    def answered_heartbeat(self, response: HeartbeatResponse, now: Micros) -> None:
        self.beating = False
        error = response.error
        if error is NONE:
            self._heard(now)
            return
        if self.join_state in (Join.INIT, Join.WAIT_JOIN, Join.WAIT_METADATA, Join.WAIT_SYNC):
            return
        match error:
            case ErrorCode.REBALANCE_IN_PROGRESS:
                self._heard(now)
                if not self.waits_for_application:
                    self.revoke_all(now, lost=False, maybe=True)
            case ErrorCode.UNKNOWN_MEMBER_ID:
                self.member = ""
                self.revoke_all(now, lost=True, maybe=True)
            case ErrorCode.ILLEGAL_GENERATION:
                self.generation = -1
                self.revoke_all(now, lost=True, maybe=True)
            case ErrorCode.FENCED_INSTANCE_ID:
                self.become_fatal(error)
                self.revoke_all(now, lost=True, maybe=True)
            case ErrorCode.COORDINATOR_NOT_AVAILABLE | ErrorCode.NOT_COORDINATOR:
                self.query(now)

    def lost_heartbeat(self, now: Micros) -> None:
        self.beating = False
        if self.join_state is Join.STEADY or self.waits_for_application:
            self.query(now)

    def _heard(self, now: Micros) -> None:
        if self.session_until < NEVER:
            self.session_until = now + ms(self.config.session_timeout_ms)

    def _session_timed_out(self, now: Micros) -> None:
        self.session_until = NEVER
        self.member = ""
        self.revoke_all(now, lost=True, maybe=True)

    # The application polls, or does not.

    def assigned(self, now: Micros) -> None:
        """It has taken its partitions."""
        self.join_state, self.lost = Join.STEADY, False
        self.look_at_polls_at = now + LOOK_AT_POLLS_EVERY

    def _exceeds(self, now: Micros) -> bool:
        return self.polled_at < NEVER and (now - self.polled_at) // MILLISECOND > self.config.max_poll_interval_ms

    def _look_at_polls(self, now: Micros) -> None:
        """max.poll.interval.ms: it leaves, and its partitions are given up as soon as the application polls again."""
        if not self._exceeds(now):
            self.look_at_polls_at = now + LOOK_AT_POLLS_EVERY
            return
        self.look_at_polls_at = NEVER
        self.poll_exceeded = True
        if not self.instance:
            self.leave(now)
        self.member = ""
        self.revoke_all(now, lost=True, maybe=True)

    # Giving up.

    def revoke_all(self, now: Micros, *, lost: bool, maybe: bool = False) -> None:
        """maybe: not where a rebalance is under way already."""
        if maybe and self.is_rebalancing:
            return
        self.lost = self.lost or (lost and self.has_assignment)
        if self.has_assignment and not self.waits_for_application:
            self.join_state, self.has_assignment = Join.WAIT_UNASSIGN, False
            self.rebalance("revoke", ())
        else:
            self.rejoin(now, at_once=True)
            if self.closing:
                self.leave_if_wanted(now)

    def unassigning(self) -> None:
        """The application has given them up. Of those that are lost nothing is committed (2.16.0, measured: the flag stays until this is done)."""
        if self.join_state is Join.WAIT_UNASSIGN:
            self.join_state = Join.UNASSIGNING

    def unassigned(self, now: Micros) -> None:
        """And their last offsets are committed, or will not be."""
        if self.join_state is Join.UNASSIGNING:
            self.lost = False
            self.leave_if_wanted(now)
            self.rejoin(now, at_once=True)

    def leave_if_wanted(self, now: Micros) -> None:
        """A static member is waited for (KIP-345)."""
        if self.leave_when_unassigned:
            self.leave_when_unassigned = False
            if not (self.instance and self.closing):
                self.leave(now)

    def leave(self, now: Micros) -> None:
        member, self.member = self.member, ""
        if not self.leaving and self.state is State.UP:
            self.leaving = True
            self.coordinator.enqueue(Request(LeaveGroupRequest(self.config.group_id, member), now + LEAVE_WITHIN))

    def close(self, now: Micros) -> None:
        """rd_kafka_cgrp_terminate: the subscription ends, so all partitions are given up, and then the group."""
        self.closing = True
        self.look_at_polls_at = NEVER
        self.leave_when_unassigned = self.has_joined
        if not self.lost:
            self.revoke_all(now, lost=False)

    def become_fatal(self, error: ErrorCode) -> None:
        if not self.fatal:
            self.fatal = name_of(error)
            self.report("_FATAL", f"Fatal consumer error: {error.meaning}")

    # The clock.

    @property
    def wake_at(self) -> Micros:
        at = min(self.query_at if self.state is not State.WAIT_COORD and self.query_at > LONG_AGO else NEVER, self.look_at_polls_at)
        if self.join_state is Join.STEADY:
            at = min(at, self.session_until)
        if self.state is State.UP and self.join_state is Join.INIT and not self.awaits and self.subscribed and not self.closing:
            at = min(at, self.join_at)
        if self.state is State.UP and not self.beating and not self.poll_exceeded and (self.join_state is Join.STEADY or self.waits_for_application):
            at = min(at, self.beats_at)
        return at


class AssignorMetadata(Request):
    """The leader's question for the topics of all members."""

    __slots__ = ()


def _nobody(*_: object) -> None:
    raise AssertionError("nobody is told")
