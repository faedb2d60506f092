"""What a consumer of librdkafka asks, over which connections, and where the answers go.

Kafka: rdkafka_broker.c, rd_kafka_buf_retry, rd_kafka_1s_tmr_cb, rd_kafka_metadata_leader_query_tmr_cb in librdkafka, as `librdkafka_producer` has them for
the other side. What its application does is `librdkafka_consumer`'s affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.facts import Connected, Disconnected
from ksim_models.librdkafka_assignment import Assignment, CommittedQuery
from ksim_models.librdkafka_broker_thread import API_VERSIONS_WITHIN, BrokerThread, Request, State
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_commits import CommitRequest, LibrdkafkaCommits
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_errors import DESTROY_BROKER, TIMED_OUT, TIMED_OUT_QUEUE, TRANSPORT
from ksim_models.librdkafka_fetching import AboutToppar, FetchOf, LibrdkafkaFetching
from ksim_models.librdkafka_group import AssignorMetadata, LibrdkafkaGroup
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.machine import Close, Closed, Dice, Effect, Event, Note, Opened, Received, Send
from ksim_models.messages import NO_LEADER, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse
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


class LibrdkafkaClient:
    def __init__(self, name: str, config: LibrdkafkaConsumerConfig, bootstrap: Sequence[str], topics: Sequence[str], dice: Dice) -> None:
        self.name = name
        self.config = config
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
        self.connected_to = ""
        """Where the coordinator's connection goes."""
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
        match event:
            case Received():
                thread = self.brokers.by_connection.get(event.connection)
                if thread is not None:
                    self._on_response(thread, event.message, now, out)
            case Opened():
                thread = self.brokers.by_connection.get(event.connection)
                if thread is not None:
                    thread.set_state(State.APIVERSION_QUERY, now)
                    self._transmit(thread, Request(ApiVersionsRequest(), now + API_VERSIONS_WITHIN), out, now)
            case Closed():
                thread = self.brokers.by_connection.get(event.connection)
                if thread is not None:
                    self._lose(thread, TRANSPORT, "closed by the other side", now, out)
            case _:
                pass

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

    def _give_up(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        """A request that gets no answer. Simplified: Metadata is not repeated to the same broker; the timers ask again."""
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
            case MetadataRequest():
                for topic in request.message.topics:
                    self.metadata.hinted.pop(topic, None)
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
            if thread.look_at(thread.next_deadline) <= now:
                seen = True
                self._time_out(thread, now, out)
            if thread.setup_ends_at <= now:
                seen = True
                self._lose(thread, TRANSPORT, "connection set-up timed out", now, out, close=True)
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

    def _time_out(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        """Requests out of time; after socket.max.fails of them the connection is given up (L2)."""
        late = thread.take_late(now)
        thread.timeouts += len(late)
        checking = thread.state is State.APIVERSION_QUERY
        for request in late:
            self._give_up(request, TIMED_OUT if request.sent else TIMED_OUT_QUEUE, now, out)
        most = self.config.socket_max_fails
        if checking:
            self._lose(thread, TRANSPORT, "ApiVersions timed out", now, out, close=True)
        elif thread.is_up and most and thread.timeouts >= most:
            self._lose(thread, TIMED_OUT, "request timed out", now, out, close=True, more=len(late))

    # Connections.

    def _connect(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        if thread is self.group.coordinator:
            self.connected_to = thread.broker
            if not thread.broker:
                thread.connect_at = NEVER  # It is nobody's connection meanwhile.
                thread.set_state(State.INIT, now)
                return
        self.brokers.connect(thread, now, out)

    def _on_up(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        thread.set_state(State.UP, now)
        assert thread.connection is not None
        out.append(Note(Connected(self.name, thread.broker, thread.connection)))
        topics = self.metadata.new_connection_asks()
        if topics:
            self.brokers.ask(thread, topics, now)

    def _lose(self, thread: BrokerThread, error: str, why: str, now: Micros, out: list[Effect], *, close: bool = False, more: int = 0) -> None:
        """rd_kafka_broker_fail: every request comes back; then it is asked who leads now. more: requests that have come back already."""
        connection, state = thread.connection, thread.state
        assert connection is not None
        if close:
            out.append(Close(connection))
        waiting, made = thread.take_all()
        thread.connection = None
        thread.timeouts = 0
        del self.brokers.by_connection[connection]
        thread.set_state(State.INIT, now)
        if state is not State.UP:
            thread.back_off(now)
        out.append(
            Note(Disconnected(self.name, self.connected_to if thread is self.group.coordinator else thread.broker, connection, len(waiting) + more, why))
        )
        for request in waiting:
            self._give_up(request, error, now, out)
        for request in made:
            self._give_up(request, TIMED_OUT_QUEUE if error == TIMED_OUT else error, now, out)
        if state is State.UP and error != DESTROY_BROKER and self.metadata.wanted:
            self.brokers.ask_for(list(self.metadata.wanted), now)

    def _serve(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> bool:
        coordinates = thread is self.group.coordinator
        if coordinates and thread.connection is not None and self.connected_to != thread.broker:
            self._lose(thread, TRANSPORT, "closed by the client", now, out, close=True)
            return True
        wanted = bool(thread.broker) if coordinates else bool(thread.out) or self.fetching.wants(thread)
        if wanted and thread.state is State.INIT:
            thread.try_connect(now)
            return True
        moved = self.fetching.fetch(thread, now)
        while thread.can_send:
            self._transmit(thread, thread.out.popleft(), out, now)
            moved = True
        return moved

    def _transmit(self, thread: BrokerThread, request: Request, out: list[Effect], now: Micros) -> None:
        assert thread.connection is not None
        request.sent = True
        thread.last_sent_at = now
        out.append(Send(thread.connection, request.message))
        thread.wait_for(request)

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
            if thread.connection is not None:
                self._lose(thread, DESTROY_BROKER, "closed by the client", now, out, close=True)
        self.fetching.leaders_came([partition.partition for topic in response.topics for partition in topic.partitions], now)
        self.group.metadata_came(now)
        if isinstance(request, AssignorMetadata):
            self.group.run_assignor(now)
