"""Samples of a consumer: what its fetches brought, how far it is behind, its commits, and its life in the group; taken beside a run.

Kafka: FetchMetricsManager, FetchMetricsAggregator, FetchCollector; AbstractCoordinator.GroupCoordinatorMetrics, ConsumerCoordinator's (read in their source).
A run that is measured has the same facts as one that is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim.metrics_samples import ClientSamples
from ksim.metrics_windows import Windows
from ksim_models.consumer import Consumer
from ksim_models.consumer_coordinator import NO_GENERATION, MemberState
from ksim_models.consumer_fetching import Fetching, Logged
from ksim_models.consumer_group import GroupMember
from ksim_models.errors import NONE
from ksim_models.machine import Close, Closed, Effect, Event, Received, Send
from ksim_models.transaction_messages import (
    ConsumerFetchResponse,
    ConsumerGroupHeartbeatResponse,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    OffsetCommitResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from ksim_models.units import MILLISECOND, Micros

JOINING = (JoinGroupRequest, SyncGroupRequest)
Sent = tuple[object, Micros]
"""A request, and when it left."""


class TappedConsumer:
    """A Java consumer whose wire and fetches are listened to. What it does is not changed."""

    def __init__(self, consumer: Consumer, windows: Windows) -> None:
        self.consumer = consumer
        self.name = consumer.name
        self.windows = windows
        self.lives: list[ClientSamples] = []
        self._begin_life(0)

    def _begin_life(self, now: Micros) -> None:
        """A process knows nothing of the one before it."""
        self.taken = ClientSamples(self.name, "consumer", self.windows, born_at=now)
        self.lives.append(self.taken)
        self.fetching: Fetching = self.consumer.fetching
        self.log: list[Logged] = []
        self.fetching.log = self.log
        self.unanswered: dict[str, deque[Sent]] = {}
        self.unread: dict[int, tuple[int, dict[str, int]]] = {}
        """Per answer to a fetch: how many of its partitions are not read to their end, and the records so far by topic."""
        self.rebalances_since: Micros | None = None
        self.assigned = 0

    @property
    def wake_at(self) -> Micros | None:
        return self.consumer.wake_at

    def handle(self, event: Event, now: Micros) -> Sequence[Effect]:
        if type(event) is Received:
            self._answered(event, now)
        elif type(event) is Closed:
            self._lost(event.connection, now)
        effects = self.consumer.handle(event, now)
        if self.consumer.fetching is not self.fetching:
            self._begin_life(now)
        for effect in effects:
            if type(effect) is Send:
                self._sent(effect, now)
            elif type(effect) is Close:
                self._lost(effect.connection, now)
        self._read_log(now)
        if len(self.consumer.positions.by_partition) != self.assigned:
            self.assigned = len(self.consumer.positions.by_partition)
            self.taken.levels.setdefault(("assigned-partitions", ""), []).append((now, self.assigned))
        if not self.consumer.alive and self.taken.ended_at is None:
            self.taken.ended_at = now
        return effects

    # The wire.

    def _sent(self, effect: Send, now: Micros) -> None:
        self.unanswered.setdefault(effect.connection, deque()).append((effect.message, now))
        if type(effect.message) is JoinGroupRequest and self.rebalances_since is None:
            self.rebalances_since = now

    def _answered(self, event: Received, now: Micros) -> None:
        waiting = self.unanswered.get(event.connection)
        if not waiting:
            return
        _, sent_at = waiting.popleft()
        latency = now // MILLISECOND - sent_at // MILLISECOND
        group, answer = self.consumer.group, event.message
        match answer:
            case ConsumerFetchResponse():
                self._take(now, "fetch-latency", latency)
            case OffsetCommitResponse():
                self._take(now, "commit-latency", latency)
            case HeartbeatResponse() | ConsumerGroupHeartbeatResponse():
                self._take(now, "heartbeat-latency", latency)
            case JoinGroupResponse() if isinstance(group, GroupMember):
                if answer.error is NONE and group.state is MemberState.PREPARING_REBALANCE:
                    self._take(now, "join-latency", latency)
                else:
                    self._take(now, "failed-rebalance", 1)
            case SyncGroupResponse() if isinstance(group, GroupMember):
                if answer.error is NONE:
                    self._take(now, "sync-latency", latency)
                if answer.error is NONE and group.state is MemberState.COMPLETING_REBALANCE and group.generation != NO_GENERATION:
                    since = now if self.rebalances_since is None else self.rebalances_since
                    self._take(now, "rebalance-latency", now // MILLISECOND - since // MILLISECOND)
                    self.rebalances_since = None
                else:
                    self._take(now, "failed-rebalance", 1)

    def _lost(self, connection: str, now: Micros) -> None:
        for request, _ in self.unanswered.pop(connection, ()):
            if isinstance(request, JOINING):
                self._take(now, "failed-rebalance", 1)

    # What was fetched.

    def _read_log(self, now: Micros) -> None:
        """An answer counts when the last of its partitions has been read to its end (FetchMetricsAggregator)."""
        for what, answer, partition, count in self.log:
            if what == "lag":
                self._take(now, "records-lag", count)
            elif what == "lead":
                self._take(now, "records-lead", count)
            elif what == "answer":
                self.unread[answer] = count, {}
            else:
                left, by_topic = self.unread[answer]
                topic = partition.rpartition("-")[0]
                by_topic[topic] = by_topic.get(topic, 0) + count
                self.unread[answer] = left - 1, by_topic
                if left == 1:
                    self._count(self.unread.pop(answer)[1], now)
        self.log.clear()

    def _count(self, by_topic: dict[str, int], now: Micros) -> None:
        self._take(now, "records-fetched", sum(by_topic.values()))
        for topic, records in by_topic.items():
            self._take(now, "topic.records-fetched", records, topic)

    def _take(self, now: Micros, sensor: str, value: float, label: str = "") -> None:
        self.taken.samples.append((now, sensor, label, value))

    def samples(self) -> list[ClientSamples]:
        """When the run is over: one for each life of its process."""
        return self.lives
