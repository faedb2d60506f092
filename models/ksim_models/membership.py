"""A broker's dealings with the controller: registration, heartbeats, the metadata log, ISR changes.

Kafka: BrokerLifecycleManager, DefaultAlterPartitionManager, NodeToControllerChannelManager, KafkaRaftClient as an observer.
Simplified: one connection carries what Kafka sends over three (heartbeats, AlterPartition, metadata fetches),
and a request waits as long as that connection stands.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim_models.backoff import exponential_backoff
from ksim_models.broker_variants import HeartbeatRetry
from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode
from ksim_models.machine import Dice, Effect, Open, Send
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionRequest,
    AlterPartitionResponse,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    CreateTopicsRequest,
    MetadataFetchRequest,
    MetadataFetchResponse,
)
from ksim_models.profiles import BrokerProfile
from ksim_models.units import NEVER, Micros, ms

STARTING_HEARTBEAT_EVERY: Micros = ms(10)  # KC-12
ALTER_PARTITION_RETRY: Micros = ms(50)  # RP-56
SECOND_SHUTDOWN_HEARTBEAT_AFTER: Micros = ms(50)
"""KC-23: so that a hand-over that is quick need not wait for the usual heartbeat."""
CONTROLLED_SHUTDOWN_AT_MOST: Micros = ms(300_000)
"""KC-23: whatever the controller says, or does not, the broker goes after five minutes."""
FIRST_RETRY_MS = 100
RETRY_JITTER = 0.02
RECONNECT_FIRST: Micros = ms(50)
RECONNECT_AT_MOST: Micros = ms(1000)


class Membership:
    """Nothing here stops a broker from serving: it never fences itself (KC-16).

    KC-11: STARTING is `epoch` -1, or behind its registration; RECOVERY is over when it registers (LR-11); RUNNING is `was_unfenced`;
    PENDING_CONTROLLED_SHUTDOWN is `leaving`.
    """

    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        controller: str,
        dice: Dice,
        name_connection: Callable[[str], str],
        incarnation: int,
        previous_epoch: int,
        start_at: Micros,
    ) -> None:
        """previous_epoch: the epoch in the clean-shutdown file, -1 after a crash (KC-58)."""
        self.broker = broker
        self.heartbeat_every = ms(config.broker_heartbeat_interval_ms)
        self.retries_exponentially = profile.heartbeat_retry is HeartbeatRetry.EXPONENTIAL
        self.session_timeout_ms = config.broker_session_timeout_ms
        self.directory_timeout = ms(config.log_dir_failure_timeout_ms) if profile.exits_with_untold_directories else NEVER
        self.failures = 0
        """Answers with an error since the last one without (KC-15)."""
        self.controller = controller
        self.dice = dice
        self.name_connection = name_connection
        self.incarnation = incarnation
        self.previous_epoch = previous_epoch
        self.epoch = -1
        """Broker epoch; -1 until registered."""
        self.fenced = True
        self.was_unfenced = False
        """At least once in this life of the process: from then on it serves (KC-12)."""
        self.connection: str | None = None
        self.open = False
        self.connect_at: Micros = start_at
        self.reconnect_after = RECONNECT_FIRST
        self.heartbeat_at: Micros = NEVER
        self.register_at: Micros = start_at
        self.metadata_offset = 0
        self.metadata_asked = False
        self.items: dict[str, AlterPartitionItem] = {}
        """Proposed ISR changes, one per partition (RP-56)."""
        self.asked_items: tuple[AlterPartitionItem, ...] = ()
        self.alter_at: Micros = NEVER
        self.leaving = False
        """A controlled shutdown has begun."""
        self.gives_up_at: Micros = start_at + ms(config.initial_broker_registration_timeout_ms)
        """Who is not registered by then exits (KC-1); who leaves goes then without the controller's leave (KC-23);
        who could not tell of a failed directory by then leaves (BP-30)."""
        self.given_up = False
        """The broker does what follows."""
        self.shutdown_answered = False
        self.at_once = False
        """The next heartbeat follows the answer to the one that is under way."""
        self.may_stop = False
        self.offline_replicas: tuple[str, ...] = ()
        """What the controller is to know (KIP-858)."""

    def already_a_member(self, epoch: int, metadata_offset: int, first_heartbeat_at: Micros) -> None:
        """The cluster was formed before the run: registered, unfenced, caught up."""
        self.epoch, self.metadata_offset, self.fenced, self.was_unfenced = epoch, metadata_offset, False, True
        self.register_at, self.heartbeat_at, self.gives_up_at = NEVER, first_heartbeat_at, NEVER

    @property
    def wake_at(self) -> Micros:
        if self.connection is None:
            return min(self.connect_at, self.gives_up_at)
        return min(self.register_at, self.heartbeat_at, self.alter_at, self.gives_up_at) if self.open else self.gives_up_at

    @property
    def has_controller(self) -> bool:
        """It would be answered now, as far as it knows."""
        return self.open

    @property
    def why_it_gave_up(self) -> str:
        """The setting that says how long it tries."""
        return "initial.broker.registration.timeout.ms" if self.epoch < 0 else "log.dir.failure.timeout.ms"

    def wake(self, now: Micros, out: list[Effect]) -> None:
        self._maybe_give_up(now)
        if self.connection is None:
            if self.connect_at <= now:
                self.connection = self.name_connection(self.controller)
                out.append(Open(self.connection, self.controller))
            return
        if not self.open:
            return
        if self.register_at <= now:
            out.append(Send(self.connection, self._registration()))
        if self.heartbeat_at <= now:
            out.append(Send(self.connection, self._heartbeat()))
        if self.alter_at <= now:
            out.append(Send(self.connection, self._change()))

    def _maybe_give_up(self, now: Micros) -> None:
        if self.gives_up_at <= now:
            self.given_up, self.may_stop, self.gives_up_at = True, self.leaving, NEVER

    def _registration(self) -> BrokerRegistrationRequest:
        self.register_at = NEVER
        return BrokerRegistrationRequest(self.broker, self.incarnation, self.previous_epoch)

    def _heartbeat(self) -> BrokerHeartbeatRequest:
        self.heartbeat_at = NEVER
        want_fence = self.metadata_offset < self.epoch
        return BrokerHeartbeatRequest(self.broker, self.epoch, self.metadata_offset, want_fence, self.leaving, self.offline_replicas)

    def _change(self) -> AlterPartitionRequest:
        self.alter_at = NEVER
        self.asked_items = tuple(self.items.values())
        self.items.clear()
        return AlterPartitionRequest(self.broker, self.epoch, self.asked_items)

    def owns(self, connection: str) -> bool:
        return connection == self.connection

    def received(self, connection: str, message: object, now: Micros, out: list[Effect]) -> object:
        """What the broker has to deal with of this answer; None: nothing."""
        return message

    def opened(self, connection: str, now: Micros, out: list[Effect]) -> None:
        assert self.connection is not None
        self.open = True
        self.reconnect_after = RECONNECT_FIRST
        if self.epoch >= 0:
            self._ask_for_metadata(out)
            self.heartbeat_at = now if self.heartbeat_at == NEVER else self.heartbeat_at  # One was under way when the last connection went.
        self.wake(now, out)

    def closed(self, connection: str, now: Micros) -> None:
        """What was asked and not answered is asked again on the next connection (KC-15, RP-56)."""
        if self.epoch < 0:
            self.register_at = now if self.register_at == NEVER else self.register_at
        for item in self.asked_items:
            self.items.setdefault(item.partition, item)
        self.asked_items = ()
        self.alter_at = now if self.items else NEVER
        self.connection, self.open, self.metadata_asked = None, False, False
        self.connect_at = now + self.reconnect_after
        self.reconnect_after = min(2 * self.reconnect_after, RECONNECT_AT_MOST)

    def registered(self, response: BrokerRegistrationResponse, now: Micros, out: list[Effect]) -> None:
        if response.error:  # DUPLICATE_BROKER_REGISTRATION: our own old session is still valid (KC-13).
            self.register_at = now + self._after_a_failure()
            return
        self.failures = 0
        self.gives_up_at = NEVER
        self.epoch = response.broker_epoch
        self.heartbeat_at = now
        self._ask_for_metadata(out)

    def report(self, offline_replicas: tuple[str, ...], now: Micros, out: list[Effect]) -> None:
        """With a heartbeat at once (OfflineDirEvent); where none is answered for too long, this broker leaves (OfflineDirBrokerFailureEvent)."""
        self.offline_replicas = offline_replicas
        if not self.leaving:
            self.gives_up_at = min(self.gives_up_at, now + self.directory_timeout)
        self._beat_at_once(now, out)

    def _beat_at_once(self, now: Micros, out: list[Effect]) -> None:
        """Behind the answer to the heartbeat that is under way, if one is."""
        self.at_once = self.heartbeat_at == NEVER
        if not self.at_once:
            self.heartbeat_at = min(self.heartbeat_at, now)
            self.wake(now, out)

    def begin_shutdown(self, now: Micros, out: list[Effect]) -> None:
        """KC-23: ask at once whether this broker may go."""
        self.leaving, self.given_up = True, False
        self.gives_up_at = now + CONTROLLED_SHUTDOWN_AT_MOST
        self._beat_at_once(now, out)

    def heartbeat_answered(self, response: BrokerHeartbeatResponse, now: Micros) -> None:
        if not response.error:
            self.failures = 0
        if self.leaving:
            self._told_whether_to_stop(response, now)
            return
        if response.error:
            self.heartbeat_at, self.at_once = now + self._after_a_failure(), False
            return
        self.gives_up_at = NEVER
        self.fenced = response.is_fenced
        self.was_unfenced = self.was_unfenced or not response.is_fenced
        self.heartbeat_at = now + (0 if self.at_once else STARTING_HEARTBEAT_EVERY if response.is_fenced else self.heartbeat_every)
        self.at_once = False

    def _told_whether_to_stop(self, response: BrokerHeartbeatResponse, now: Micros) -> None:
        """BrokerLifecycleManager in PENDING_CONTROLLED_SHUTDOWN."""
        pause = self._after_a_failure() if response.error else self.heartbeat_every
        if response.error is ErrorCode.NONE:
            if response.should_shut_down:
                self.given_up = self.may_stop = True
                return
            if self.at_once or not self.shutdown_answered:
                pause = 0 if self.at_once else SECOND_SHUTDOWN_HEARTBEAT_AFTER
            self.shutdown_answered = True
        self.at_once = False
        self.heartbeat_at = now + pause

    def _after_a_failure(self) -> Micros:
        """KC-15."""
        if not self.retries_exponentially:
            return self.heartbeat_every
        draw = self.dice.at("heartbeat retry", self.broker, self.incarnation, self.failures)
        self.failures += 1
        return ms(exponential_backoff(FIRST_RETRY_MS, self.session_timeout_ms, self.failures - 1, draw, jitter=RETRY_JITTER))

    def metadata_came(self, response: MetadataFetchResponse, out: list[Effect]) -> None:
        self.metadata_offset = response.offset
        self.metadata_asked = False
        self._ask_for_metadata(out)

    def _ask_for_metadata(self, out: list[Effect]) -> None:
        if self.connection is not None and not self.metadata_asked:
            self.metadata_asked = True
            out.append(Send(self.connection, MetadataFetchRequest(self.broker, self.metadata_offset)))

    # Topics that a client has named and nobody has created.

    @property
    def connection_for_topics(self) -> str | None:
        """On which the controller can be asked now."""
        return self.connection if self.open else None

    def send_for_topics(self, request: CreateTopicsRequest, out: list[Effect]) -> None:
        assert self.connection is not None
        out.append(Send(self.connection, request))

    # ISR changes.

    def propose(self, item: AlterPartitionItem, now: Micros) -> bool:
        """At most one request at a time; further items wait for its answer. False where this partition has one already (OPERATION_NOT_ATTEMPTED, RP-56)."""
        if item.partition in self.items or any(asked.partition == item.partition for asked in self.asked_items):
            return False
        self.items[item.partition] = item
        if not self.asked_items and self.alter_at == NEVER:
            self.alter_at = now
        return True

    def altered(self, response: AlterPartitionResponse, now: Micros) -> None:
        """A request-level error is retried for ever after 50 ms (RP-56)."""
        if response.error is not ErrorCode.NONE:
            for item in self.asked_items:
                self.items.setdefault(item.partition, item)
        self.asked_items = ()
        if self.items:
            self.alter_at = now + (ALTER_PARTITION_RETRY if response.error else 0)
