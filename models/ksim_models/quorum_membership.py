"""A broker's dealings with a quorum of controllers: it fetches the metadata log as an observer, and asks whoever leads.

Kafka: KafkaRaftClient as an observer, BrokerLifecycleManager, DefaultAlterPartitionManager, each with a channel of its own. KC-15, KC-16, KC-84.
Simplified: requests for topics to create share the channel of AlterPartition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim_models.config import BrokerConfig
from ksim_models.controller_channel import Answer, ControllerChannel
from ksim_models.machine import Dice, Effect
from ksim_models.membership import Membership
from ksim_models.messages import CreateTopicsRequest, MetadataFetchResponse
from ksim_models.profiles import BrokerProfile
from ksim_models.raft_log import RaftDisk
from ksim_models.raft_observer import RaftObserver
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

SOCKET_TIMEOUT: Micros = ms(30_000)
"""controller.socket.timeout.ms"""


class QuorumMembership(Membership):
    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        controllers: Sequence[str],
        disk: RaftDisk,
        dice: Dice,
        name_connection: Callable[[str], str],
        incarnation: int,
        previous_epoch: int,
        start_at: Micros,
    ) -> None:
        super().__init__(broker, profile, config, "", dice, name_connection, incarnation, previous_epoch, start_at)
        self.start_at = start_at
        self.observer = RaftObserver(broker, controllers, profile, config, dice, name_connection, disk)
        self.observer.start(start_at)
        session, in_session = ms(self.session_timeout_ms), profile.retries_heartbeats_in_session  # KC-15
        patience = self.heartbeat_every if not self.retries_exponentially else session // 2 if in_session else session
        attempt = min(SOCKET_TIMEOUT, patience) if in_session else SOCKET_TIMEOUT
        self.lifecycle = ControllerChannel(self._leader, name_connection, attempt, patience)
        self.changes = ControllerChannel(self._leader, name_connection, SOCKET_TIMEOUT, NEVER)
        self.topics: list[CreateTopicsRequest] = []
        """To be created, when the channel is free."""

    def _leader(self) -> str:
        return self.observer.leader

    @property
    def has_controller(self) -> bool:
        return self.observer.leader != ""

    def already_a_member(self, epoch: int, metadata_offset: int, first_heartbeat_at: Micros) -> None:
        super().already_a_member(epoch, metadata_offset, first_heartbeat_at)
        self.observer.high_watermark = metadata_offset

    @property
    def wake_at(self) -> Micros:
        at = min(self.observer.wake_at, self.lifecycle.wake_at, self.changes.wake_at, self.gives_up_at)
        if self.lifecycle.is_idle:
            at = min(at, self.register_at, self.heartbeat_at)
        if self.changes.is_idle:
            at = LONG_AGO if self.topics else min(at, self.alter_at)
        return max(at, self.start_at)

    def wake(self, now: Micros, out: list[Effect]) -> None:
        if now < self.start_at:
            return
        self._maybe_give_up(now)
        self.observer.poll(now, out)
        if not self.lifecycle.wake(now, out):
            self._communication_failed(now)
        self.changes.wake(now, out)
        if self.lifecycle.is_idle and self.register_at <= now:
            self.lifecycle.ask(self._registration(), now, out)
        if self.lifecycle.is_idle and self.heartbeat_at <= now:
            self.lifecycle.ask(self._heartbeat(), now, out)
        if self.changes.is_idle and self.alter_at <= now:
            self.changes.ask(self._change(), now, out)
        elif self.changes.is_idle and self.topics:
            self.changes.ask(self.topics.pop(0), now, out)

    def _communication_failed(self, now: Micros) -> None:
        """KC-15: nobody took the request in time."""
        again = now + self._after_a_failure()
        if self.epoch < 0:
            self.register_at = again
        else:
            self.heartbeat_at, self.at_once = again, False

    # Connections.

    def owns(self, connection: str) -> bool:
        return connection in (self.lifecycle.connection, self.changes.connection) or connection in self.observer.peers.by_connection

    def opened(self, connection: str, now: Micros, out: list[Effect]) -> None:
        if connection in self.observer.peers.by_connection:
            self.observer.peers.opened(connection, out)
        else:
            self._channel(connection).opened(now, out)

    def closed(self, connection: str, now: Micros) -> None:
        if connection in self.observer.peers.by_connection:
            self.observer.peers.closed(connection, now)
        else:
            self._channel(connection).closed(now)

    def _channel(self, connection: str) -> ControllerChannel:
        return self.lifecycle if connection == self.lifecycle.connection else self.changes

    def received(self, connection: str, message: object, now: Micros, out: list[Effect]) -> object:
        if connection in self.observer.peers.by_connection:
            return self._fetched(connection, message, now, out)
        assert isinstance(message, Answer)
        channel = self._channel(connection)
        if channel.received(message, now, out):
            return message
        if channel is self.lifecycle and channel.is_idle:  # NOT_CONTROLLER, and too old to be asked of another one.
            self._communication_failed(now)
        return None

    def _fetched(self, connection: str, message: object, now: Micros, out: list[Effect]) -> MetadataFetchResponse | None:
        """What has become known to be committed, for the broker to apply."""
        observer = self.observer
        observer.received(connection, message, now, out)  # type: ignore[arg-type]
        observer.poll(now, out)
        if observer.high_watermark <= self.metadata_offset:
            return None
        records = tuple(entry.record for entry in observer.log.entries[self.metadata_offset : observer.high_watermark])
        return MetadataFetchResponse(observer.high_watermark, records)

    # Answers.

    def metadata_came(self, response: MetadataFetchResponse, out: list[Effect]) -> None:
        self.metadata_offset = response.offset

    def _ask_for_metadata(self, out: list[Effect]) -> None:
        """The observer does so all the time."""

    @property
    def connection_for_topics(self) -> str:
        """One question at a time, whoever will answer it."""
        return "the active controller"

    def send_for_topics(self, request: CreateTopicsRequest, out: list[Effect]) -> None:
        self.topics.append(request)
