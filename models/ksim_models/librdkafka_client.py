"""What a consumer of librdkafka asks, over which connections, and where the answers go.

Kafka: rdkafka_broker.c, rd_kafka_buf_retry, rd_kafka_1s_tmr_cb, rd_kafka_metadata_leader_query_tmr_cb in librdkafka, as `librdkafka_producer` has them for
the other side. What its application does is `librdkafka_consumer`'s affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.librdkafka_assignment import Assignment, CommittedQuery
from ksim_models.librdkafka_broker_thread import BrokerThread, Request, State
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_commits import CommitRequest, LibrdkafkaCommits
from ksim_models.librdkafka_connections import Connections
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_errors import DESTROY_BROKER, TRANSPORT
from ksim_models.librdkafka_fetching import AboutToppar, FetchOf, LibrdkafkaFetching
from ksim_models.librdkafka_group import AssignorMetadata, LibrdkafkaGroup
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.machine import Close, Dice, Effect, Event
from ksim_models.messages import NO_LEADER, ApiVersionsResponse, MetadataResponse
from ksim_models.transaction_messages import (
    ConsumerFetchResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    ListOffsetsResponse,
    OffsetCommitResponse,
    OffsetFetchResponse,
    OffsetForLeaderEpochResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from ksim_models.units import NEVER, SECOND, Micros, ms

RETRY_JITTER_PERCENT = 20


class LibrdkafkaClient(Connections):
    def __init__(self, name: str, config: LibrdkafkaConsumerConfig, bootstrap: Sequence[str], topics: Sequence[str], dice: Dice) -> None:
        self.name = name
        self.config = config
        self.max_fails = config.socket_max_fails
        self.bootstrap = tuple(bootstrap)
        self.topics = tuple(topics)
        self.dice = dice
        self._be_born(0)

    def _be_born(self, now: Micros) -> None:
        """A new process knows nothing."""
        name, config, dice = self.name, self.config, self.dice
        self.alive = True
        self.began = False
        self.born_at = now
        self.brokers = Brokers(name, config, self.bootstrap, dice, now)
        self.metadata = LibrdkafkaMetadata(name, config, dice, now)
        self.fetching = LibrdkafkaFetching(config, self.brokers, self.metadata, lambda error, text: None)
        self.group = LibrdkafkaGroup(name, self.topics, config, self.brokers, self.metadata, dice, now)
        self.commits = LibrdkafkaCommits(name, config, self.group, self.fetching.toppars, now)
        self.assignment = Assignment(config, self.group, self.commits, self.fetching)
        self.commits.ended = self.assignment.serve
        self.commits.retry = self.assignment.retry = self._retry
        self.group.came_up = self._coordinator_came
        self.up_again = False
        self.retries: list[tuple[Micros, Request]] = []
        """Requests to the coordinator that wait for their backoff."""
        self.retried = 0
        self.tick_at: Micros = NEVER
        self.wake_at: Micros | None = now

    def _be_born_again(self, now: Micros) -> None:
        connections = self.brokers.connections_made
        self._be_born(now)
        self.brokers.connections_made = connections

    @property
    def threads(self) -> list[BrokerThread]:
        return [*self.brokers, self.group.coordinator]

    # Events.

    def meet(self, event: Event, now: Micros, out: list[Effect]) -> None:
        if not self.began:
            self.began = True
            for topic in self.topics:
                self.metadata.want(topic, now)
            self.brokers.connect_any(now)  # To one of the bootstrap servers.
        self._hear(event, now, out)

    def turn(self, now: Micros, out: list[Effect]) -> bool:
        """Whatever is due in any of the library's threads; True if something moved."""
        moved = self._look_at_the_clock(now, out)
        moved = self.group.serve(now) or moved
        if self.up_again:
            self.up_again, moved = False, True
            self.commits.coordinator_came(now, out)
            self.assignment.serve(now, out)
        for thread in self.threads:
            moved = self._serve(thread, now, out) or moved
        if not moved:
            self._settle(now)
        return moved

    def _coordinator_came(self, now: Micros) -> None:
        self.up_again = True

    def _on_response(self, thread: BrokerThread, message: object, now: Micros, out: list[Effect]) -> None:
        request = thread.answered()
        if request.given_up:
            return
        match message:
            case ConsumerFetchResponse() if isinstance(request, FetchOf):
                self.fetching.fetched(thread, request, message, now, out)
            case MetadataResponse():
                self._on_metadata(request, message, now, out)
            case ApiVersionsResponse():
                self._on_up(thread, now, out)
            case ListOffsetsResponse() if isinstance(request, AboutToppar):
                self.fetching.offset_listed(request, message, now)
            case OffsetForLeaderEpochResponse() if isinstance(request, AboutToppar):
                self.fetching.epoch_came(request, message, now)
            case OffsetCommitResponse() if isinstance(request, CommitRequest):
                error = next((error for _, error in message.results if error), message.results[0][1])
                self.commits.answered(request, error, now, out)
            case OffsetFetchResponse() if isinstance(request, CommittedQuery):
                self.assignment.offsets_came(request, message, now, out)
            case OffsetFetchResponse():
                self._on_offsets(request, message, now)
            case FindCoordinatorResponse():
                self.group.found(message, now)
            case JoinGroupResponse():
                self.group.answered_join(message, now)
            case SyncGroupResponse():
                self.group.answered_sync(message, now)
            case HeartbeatResponse():
                self.group.answered_heartbeat(message, now)
            case LeaveGroupResponse():
                self.group.leaving = False

    def _on_offsets(self, request: Request, response: OffsetFetchResponse, now: Micros) -> None:
        raise AssertionError("the application of a plain consumer asks for no committed offsets")

    def _give_up(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        super()._give_up(request, error, now, out)
        match request:
            case FetchOf():
                self.fetching.lost(request)
            case AboutToppar():
                self.fetching.asked_in_vain(request, now)
            case CommitRequest():
                self.commits.lost(request, error, now, out)
            case CommittedQuery():
                self.assignment.query_lost(request, now)
            case AssignorMetadata():
                self.group.assignor_failed(now)
        match request.message:
            case FindCoordinatorRequest():
                self.group.not_found()
                if error == DESTROY_BROKER:
                    self.group.query_at = now  # It happens once: asked again at once.
            case JoinGroupRequest():
                self.group.lost_join(now)
            case SyncGroupRequest():
                self.group.lost_sync(now)
            case HeartbeatRequest():
                self.group.lost_heartbeat(now)
            case LeaveGroupRequest():
                self.group.leaving = False

    def _retry(self, request: Request, attempts: int, now: Micros) -> None:
        """rd_kafka_broker_buf_retry: retry.backoff.ms, doubled each time, +-20 %, up to retry.backoff.max.ms; to whoever is the coordinator then."""
        self.retried += 1
        percent = 100 - RETRY_JITTER_PERCENT + int(self.dice.at("retry", self.name, self.retried) * (2 * RETRY_JITTER_PERCENT + 1))
        backoff = (self.config.retry_backoff_ms << min(max(attempts - 1, 0), 30)) * percent * 10
        self.retries.append((now + min(backoff, ms(self.config.retry_backoff_max_ms)), request))

    # What falls due.

    def _look_at_the_clock(self, now: Micros, out: list[Effect]) -> bool:
        seen = False
        for thread in self.threads:
            seen = self._look_at_connection(thread, now, out) or seen
            if thread.connect_at <= now:
                seen = True
                self._connect(thread, now, out)
        for due, request in [one for one in self.retries if one[0] <= now]:
            seen = True
            self.retries.remove((due, request))
            request.sent = False
            request.deadline = now + self.brokers.socket_timeout
            self.group.coordinator.enqueue(request)
        metadata = self.metadata
        if metadata.query_at <= now:
            seen = True
            topics = metadata.due_topics()
            if topics:
                self.brokers.ask_for(topics, now)
                metadata.queried(now)
            else:
                metadata.query_at = NEVER
        if metadata.refresh_at <= now:
            seen = True
            metadata.refresh_at = now + metadata.refresh_every
            self.brokers.ask_for(list(metadata.wanted), now)
        if self.brokers.connect_any_at <= now:
            seen = True
            self.brokers.connect_any_at = NEVER
            self.brokers.connect_any(now)
        if self.tick_at <= now:
            seen = True
            self.tick_at = NEVER
            if topics := self._without_leader():
                self.brokers.ask_for(topics, now)
            self.brokers.connect_any(now)
        seen = self.fetching.look_at_the_clock(now) or seen
        return self.commits.look_at_the_clock(self.assignment.all, now, out) or seen

    def _without_leader(self) -> list[str]:
        """Not known, without a leader, or with one that is being connected to."""
        return [topic for topic in self.metadata.wanted if self._needs_query(topic)]

    def _needs_query(self, topic: str) -> bool:
        partitions = self.metadata.topics.get(topic)
        if not partitions:
            return True
        for partition in partitions:
            leader, _ = self.metadata.leader_of(partition)
            thread = self.brokers.get(leader) if leader != NO_LEADER else None
            if thread is None or thread.state not in (State.INIT, State.UP):
                return True
        return False

    def _settle(self, now: Micros) -> None:
        """The look around, once a second, where there is something to look for."""
        if self.brokers.any_up and not self._without_leader():
            self.tick_at = NEVER
        elif self.tick_at == NEVER:
            self.tick_at = self.born_at + ((now - self.born_at) // SECOND + 1) * SECOND

    def client_wakes_at(self, now: Micros) -> Micros:
        metadata = self.metadata
        at = min(metadata.query_at, metadata.refresh_at, self.brokers.connect_any_at, self.tick_at)
        for thread in self.threads:
            at = min(at, thread.connect_at, thread.setup_ends_at, thread.look_at(thread.next_deadline))
        for due, _ in self.retries:
            at = min(at, due)
        return min(at, self.group.wake_at, self.commits.wake_at, self.fetching.wake_at(now))

    # Connections.

    def _connect(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        if thread.broker:
            self.brokers.connect(thread, now, out)
        else:
            thread.connect_at = NEVER  # The coordinator's: it is nobody's connection meanwhile.
            thread.set_state(State.INIT, now)

    def _serve(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> bool:
        coordinates = thread is self.group.coordinator
        if coordinates and thread.connection is not None and thread.connected_to != thread.broker:
            self._lose(thread, TRANSPORT, "closed by the client", now, out, close=True)
            return True
        wanted = bool(thread.broker) if coordinates else bool(thread.out) or self.fetching.wants(thread)
        if wanted and thread.state is State.INIT:
            thread.try_connect(now)
            return True
        moved = self.fetching.fetch(thread, now)
        while thread.can_send:
            self._transmit(thread, thread.out.popleft(), now, out)
            moved = True
        return moved

    def close_connections(self, now: Micros, out: list[Effect]) -> None:
        for thread in self.threads:
            if thread.connection is not None:
                out.append(Close(thread.connection))
                thread.connection = None
        self.brokers.by_connection.clear()

    # Metadata.

    def _on_metadata(self, request: Request, response: MetadataResponse, now: Micros, out: list[Effect]) -> None:
        gone = self.brokers.learn(response.brokers, now)
        self.metadata.learn(response, now, out)
        for thread in gone:
            self._decommission(thread, now, out)
        self.fetching.leaders_came([partition.partition for topic in response.topics for partition in topic.partitions], now)
        self.group.metadata_came(now)
        if isinstance(request, AssignorMetadata):
            self.group.run_assignor(now)
