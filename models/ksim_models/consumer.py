"""A consumer and the application above it: poll(), work, commit, poll() again.

Kafka: ClassicKafkaConsumer, ConsumerNetworkClient. One thread: while the application works nobody polls, but the answers that come are taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork, Lost
from ksim_models.completed_fetch import Slice
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_facts import PollFailed, Read
from ksim_models.consumer_fetching import Fetching, Thrown
from ksim_models.consumer_positions import FetchState, Positions
from ksim_models.machine import Closed, Crashed, Dice, Effect, Event, Note, Opened, Paused, Received, Resumed
from ksim_models.messages import ApiVersionsResponse, MetadataRequest, MetadataResponse
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_messages import (
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from ksim_models.units import NEVER, Micros

CONSTRUCTED_AT: Micros = 0


@dataclass(frozen=True, slots=True)
class Habits:
    """What the application does with its records."""

    work: Micros = 0
    """So long it works on each."""


class Does(Enum):
    POLLS = "inside poll()"
    WORKS = "on the records that poll() returned"
    ENDED = "it was thrown an exception, or has closed its consumer"


class Consumer:
    def __init__(
        self, name: str, profile: ClientProfile, config: ConsumerConfig, bootstrap: Sequence[str], topics: Sequence[str], dice: Dice, habits: Habits
    ) -> None:
        self.name = name
        self.profile = profile
        self.config = config
        self.topics = tuple(topics)
        self.habits = habits
        self.alive = True
        self.begun = False
        self.does = Does.POLLS
        self.network = ClientNetwork(name, config, profile, dice)
        self.metadata = ClientMetadata(name, bootstrap, config, profile, dice)
        self.positions = Positions()
        self.fetching = Fetching(config, self.positions, self.network, self.metadata)
        self.busy_until: Micros = NEVER
        self.paused_at: Micros = 0
        self.looked_at: Micros = CONSTRUCTED_AT - 1
        self.metadata_seen = -1
        self.wake_at: Micros | None = CONSTRUCTED_AT

    # The clock.

    def _next_wake(self) -> Micros | None:
        if not self.begun:
            return CONSTRUCTED_AT
        if self.does is Does.ENDED:
            return None
        at = self.network.wake_at
        if self.does is Does.WORKS:
            at = min(at, self.busy_until)
        else:
            at = min(at, self.fetching.wake_after(self.looked_at), self._wants_a_node_at())
        return None if at >= NEVER else at

    def _wants_a_node_at(self) -> Micros:
        """When a connection may be tried or used again: for metadata that is due, or for what could not be sent at the last turn."""
        metadata, looked_at = self.metadata, self.looked_at
        at = min(metadata.due_at if metadata.due_at > looked_at else NEVER, metadata.rebootstrap_at)
        nodes = [*self.fetching.waiting_for, *(metadata.nodes if metadata.due_at <= looked_at else ())]
        for name in nodes:
            node = self.network.nodes.get(name)
            if node is not None and looked_at < (not_before := node.not_before()) < at:
                at = not_before
        return at

    # Events.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if not self.alive:
            return out
        if now >= CONSTRUCTED_AT and not self.begun:
            self.begun = True
            for topic in self.topics:
                self.metadata.add(topic, now)
        try:
            self._meet(event, now, out)
            if self.alive and self.begun:
                self._go_on(now, out)
        except Thrown as thrown:
            self._end(thrown, out)
        self.wake_at = self._next_wake() if self.alive else None
        return out

    def _meet(self, event: Event, now: Micros, out: list[Effect]) -> None:
        match event:
            case Received():
                if event.connection in self.network.by_connection:
                    self._on_response(event.connection, event.message, now, out)
            case Opened():
                if event.connection in self.network.by_connection:
                    self.network.opened(event.connection, now, out)
            case Closed():
                if event.connection in self.network.by_connection:
                    self._on_lost(self.network.lost(event.connection, now, "closed by the other side", out), now)
            case Crashed():
                self.alive = False
                return
            case Paused():
                self.paused_at = now
            case Resumed():
                if self.does is Does.WORKS:
                    self.busy_until += now - self.paused_at
        for lost in self.network.time_out(now, out):
            self._on_lost(lost, now)

    def _on_response(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        throttle_ms = getattr(message, "throttle_ms", 0)
        node, request = self.network.answered(connection, now, throttle_ms)
        match message, request.message:
            case ConsumerFetchResponse(), ConsumerFetchRequest():
                self.fetching.fetched(node, request.message, message, now, out)
            case ListOffsetsResponse(), ListOffsetsRequest():
                self.fetching.offsets_listed(request.message, message, now)
            case OffsetForLeaderEpochResponse(), OffsetForLeaderEpochRequest():
                self.fetching.epochs_came(request.message, message, now)
            case MetadataResponse(), _:
                self.metadata.learn(message, now, out)
            case ApiVersionsResponse(), _:
                self.network.checked(node, out)

    def _on_lost(self, lost: Lost, now: Micros) -> None:
        """What was asked there is asked again; metadata first (N6)."""
        was_due = self.metadata.due_at <= now
        self.metadata.request_update()
        requests = [request.message for request in lost.requests]
        if any(isinstance(request, MetadataRequest) for request in requests) or (was_due and not self.metadata.asking):
            self.metadata.failed(now)
        self.fetching.lost(lost.node, requests, now)

    # The application's thread.

    def _go_on(self, now: Micros, out: list[Effect]) -> None:
        self.looked_at = now
        while True:
            if self.does is Does.WORKS:
                if self.busy_until > now:
                    return
                self.does, self.busy_until = Does.POLLS, NEVER
            if self.does is not Does.POLLS or not self._poll(now, out):
                return

    def _poll(self, now: Micros, out: list[Effect]) -> bool:
        """True if it returned records."""
        self.fetching.turned()
        self._update_metadata(now, out)
        self._update_assignment()
        self.fetching.update_positions(now, out)
        taken = self.fetching.collect()
        self.fetching.send_fetches(now, out)
        if not taken:
            return False
        for one in taken:
            if one.records[0] >= 0 and one.producer:  # Else of a warm-up, or nobody's.
                out.append(Note(Read(self.name, one.partition, one.producer, one.records, one.base_offset)))
        self._work_on(taken, now)
        return True

    def _work_on(self, taken: Sequence[Slice], now: Micros) -> None:
        if self.habits.work:
            self.does, self.busy_until = Does.WORKS, now + self.habits.work * sum(len(one.records) for one in taken)

    def _update_assignment(self) -> None:
        """Without a group: all partitions of the topics, as metadata names them (assign())."""
        if self.metadata_seen != self.metadata.learnt:
            self.metadata_seen = self.metadata.learnt
            self.positions.assign(partition for topic in self.topics for partition in self.metadata.topics.get(topic, ()))

    def _update_metadata(self, now: Micros, out: list[Effect]) -> None:
        """As a producer's (N2, M6)."""
        metadata, network = self.metadata, self.network
        if metadata.tried_since < NEVER and metadata.rebootstrap_at <= now:
            for lost in network.close_all(metadata.nodes, now, out):
                self._on_lost(lost, now)
            metadata.rebootstrap(now)
        if metadata.due_at > now:
            return
        if metadata.tried_since == NEVER:
            metadata.tried_since = now
        node = network.least_loaded(metadata.nodes, now)
        if node is None and metadata.rebootstraps and not network.any_ready(metadata.nodes, now):
            metadata.rebootstrap(now)
            node = network.least_loaded(metadata.nodes, now)
        if node is not None and network.ready(node, now, out):
            network.send(node, MetadataRequest(metadata.asked(now)), (), now, out)

    def _end(self, thrown: Thrown, out: list[Effect]) -> None:
        out.append(Note(PollFailed(self.name, thrown.error, thrown.text)))
        self.does = Does.ENDED

    # For the simulation's own questions.

    @property
    def reads(self) -> bool:
        """It has not ended, and nothing keeps it from reading but what it waits for."""
        return self.alive and self.does is not Does.ENDED

    def has_read(self, partition: str, end: int) -> bool:
        """Everything below `end` of this partition, and its application has done with it."""
        position = self.positions.get(partition)
        return position is not None and position.state is FetchState.FETCHING and position.offset >= end and self.does is Does.POLLS
