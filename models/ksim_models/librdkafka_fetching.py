"""How a consumer of librdkafka gets its records: one fetch per broker under way, as long as the queue has room, whatever the application does.

Kafka: rdkafka_fetcher.c, rd_kafka_offset_reset, rd_kafka_offset_validate, rd_kafka_toppar_handle_Offset, rd_kafka_toppar_pause_resume in librdkafka.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ksim_models.errors import ErrorCode
from ksim_models.librdkafka_broker_thread import BrokerThread, Request
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_errors import name_of
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.librdkafka_toppar import NOWHERE, ConsumerQueue, FetchState, Place, Toppar, read_batches
from ksim_models.machine import Effect
from ksim_models.messages import NO_LEADER, topic_of
from ksim_models.transaction_messages import (
    NO_TOPIC_ID,
    ConsumerFetchedPartition,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from ksim_models.units import MILLISECOND, NEVER, Micros, ms

ASK_AGAIN: Micros = 500 * MILLISECOND
"""A query of offsets or epochs that failed, or has no leader to go to."""
RESET_AFTER_ERROR: Micros = 100 * MILLISECOND

REFRESHING = (
    *(ErrorCode.OFFSET_NOT_AVAILABLE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.LEADER_NOT_AVAILABLE, ErrorCode.NOT_LEADER_OR_FOLLOWER),
    *(ErrorCode.REPLICA_NOT_AVAILABLE, ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.UNKNOWN_LEADER_EPOCH, ErrorCode.FENCED_LEADER_EPOCH),
    ErrorCode.UNKNOWN_TOPIC_ID,
)
"""Errors of a fetch that librdkafka deals with itself: it asks who leads, and tries again. Of the others the application is told too."""

Report = Callable[[str, str], None]
"""An error that poll() hands to the application: its name, its text."""


class LibrdkafkaFetching:
    def __init__(self, config: LibrdkafkaConsumerConfig, brokers: Brokers, metadata: LibrdkafkaMetadata, report: Report) -> None:
        self.config = config
        self.brokers = brokers
        self.metadata = metadata
        self.report = report
        self.toppars: dict[str, Toppar] = {}
        self.queue = ConsumerQueue()
        self.asked: dict[str, None] = {}
        """Brokers with a fetch under way."""
        self.first: dict[str, int] = {}
        """With which of its partitions the next fetch of a broker begins: in turn."""

    def toppar(self, partition: str) -> Toppar:
        found = self.toppars.get(partition)
        if found is None:
            found = self.toppars[partition] = Toppar(partition)
            found.leader, found.leader_epoch = self.metadata.leader_of(partition)
            found.broker = self._serving(found.leader)
        return found

    def _serving(self, leader: str) -> str:
        return leader if leader != NO_LEADER and self.brokers.get(leader) is not None else ""

    # What the group, or the application, asks for.

    def start(self, toppar: Toppar, place: Place, now: Micros) -> None:
        """A committed offset is begun at as it is, even where its epoch is known. Without one: auto.offset.reset, a little later."""
        self._bar(toppar)
        toppar.started, toppar.paused = True, False
        if place[1] < 0:
            self._reset(toppar, "no previously committed offset available: Local: No offset stored", now)
        else:
            toppar.go_to(place)

    def stop(self, toppar: Toppar) -> None:
        self._bar(toppar)
        toppar.started = toppar.paused = False
        toppar.state = FetchState.NONE
        toppar.app = NOWHERE
        toppar.query_at = toppar.validate_at = NEVER

    def pause(self, toppar: Toppar) -> None:
        """What waits in the queue is thrown away: it is read again from behind what the application was given."""
        if toppar.app != NOWHERE:
            toppar.next_start = toppar.app
        self._bar(toppar)
        toppar.paused = True

    def _bar(self, toppar: Toppar) -> None:
        toppar.version += 1
        toppar.fetch = toppar.next_start
        self.queue.purge(toppar)

    def seek(self, toppar: Toppar, place: Place, now: Micros) -> None:
        """rd_kafka_toppar_seek, by the application: NOWHERE is the beginning. What carries an epoch is held against the leader's log first."""
        if not toppar.started:
            return  # ERR__STATE: it will begin at what is committed by itself.
        if place[1] > 0:
            toppar.next_start, toppar.app = place, NOWHERE
            self._bar(toppar)
            toppar.state, toppar.validation, toppar.query_at = FetchState.VALIDATE, place, NEVER
            self._validate(toppar, now)
        elif place[1] == 0 or toppar.log_start >= 0:
            self._seek(toppar, (-1, max(place[1], toppar.log_start)) if place[1] < 0 else place)
        else:
            toppar.app = NOWHERE
            self._bar(toppar)
            toppar.state, toppar.query, toppar.query_at = FetchState.OFFSET_QUERY, "earliest", now

    def _seek(self, toppar: Toppar, place: Place) -> None:
        toppar.next_start, toppar.app = place, NOWHERE
        self._bar(toppar)
        toppar.go_to(place)

    # Where to begin.

    def _reset(self, toppar: Toppar, why: str, now: Micros, *, after: Micros = RESET_AFTER_ERROR) -> None:
        policy = self.config.reset_to
        if policy == "none":
            toppar.state = FetchState.NONE
            self.report("_AUTO_OFFSET_RESET", why)
        elif policy == "earliest" and toppar.log_start >= 0:
            toppar.go_to((-1, toppar.log_start))
        else:
            toppar.state, toppar.query, toppar.query_at = FetchState.OFFSET_QUERY, policy, now + after

    def _query_later(self, toppar: Toppar, now: Micros) -> None:
        toppar.state, toppar.query_at = FetchState.OFFSET_QUERY, min(toppar.query_at, now + ASK_AGAIN)

    def _ask_for_offset(self, toppar: Toppar, now: Micros) -> None:
        thread = self.brokers.get(toppar.leader) if toppar.leader != NO_LEADER else None
        toppar.query_at = NEVER
        if thread is None:
            self._query_later(toppar, now)
            return
        toppar.state = FetchState.OFFSET_WAIT
        message = ListOffsetsRequest(((toppar.partition, toppar.leader_epoch),), toppar.query, self.config.read_committed)
        thread.enqueue(AboutToppar(message, now + self.brokers.socket_timeout, toppar, thread.name))

    def offset_listed(self, request: AboutToppar, response: ListOffsetsResponse, now: Micros) -> None:
        toppar = request.toppar
        if toppar.state is not FetchState.OFFSET_WAIT:
            return
        _, error, offset, _ = response.results[0]
        if request.version != toppar.version or request.thread != toppar.leader:
            self._query_later(toppar, now)
        elif error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            self._reset(toppar, f"failed to query logical offset: {name_of(error)}", now)
        elif error:
            self.metadata.leader_unavailable(topic_of(toppar.partition), now)
            self._query_later(toppar, now)
        else:
            toppar.go_to((-1, offset))

    # Does the log still hold it?

    def leaders_came(self, partitions: Iterable[str], now: Micros) -> None:
        """rd_kafka_toppar_leader_update: a newer epoch of a leader may have lost what was read, or will be (KIP-320)."""
        for partition in partitions:
            toppar = self.toppars.get(partition)
            if toppar is None:
                continue
            leader, epoch = self.metadata.leader_of(partition)
            if epoch != -1 and epoch < toppar.leader_epoch:
                continue
            newer = epoch > toppar.leader_epoch or toppar.state is FetchState.VALIDATE
            moved = self._serving(leader) != toppar.broker
            toppar.leader, toppar.leader_epoch, toppar.broker = leader, epoch, self._serving(leader)
            if moved and toppar.state is FetchState.OFFSET_WAIT:
                self._query_later(toppar, now)
            if newer:
                toppar.validation = toppar.fetch
                self._validate(toppar, now)

    def _validate(self, toppar: Toppar, now: Micros) -> None:
        thread = self.brokers.get(toppar.leader) if toppar.leader != NO_LEADER else None
        if toppar.state not in (FetchState.ACTIVE, FetchState.VALIDATE) or thread is None:
            return
        if toppar.validation[0] == -1:
            toppar.state = FetchState.ACTIVE  # What knows no epoch cannot be held against a log.
        elif not toppar.validating:
            toppar.state, toppar.validating, toppar.validate_at = FetchState.VALIDATE, True, NEVER
            message = OffsetForLeaderEpochRequest(((toppar.partition, toppar.leader_epoch, toppar.validation[0]),))
            thread.enqueue(AboutToppar(message, now + self.brokers.socket_timeout, toppar, thread.name))

    def epoch_came(self, request: AboutToppar, response: OffsetForLeaderEpochResponse, now: Micros) -> None:
        toppar = request.toppar
        toppar.validating = False
        if toppar.state is not FetchState.VALIDATE:
            return
        _, error, epoch, end = response.results[0]
        if error:
            self.metadata.leader_unavailable(topic_of(toppar.partition), now)
            toppar.validate_at = now + ASK_AGAIN
        elif end < 0 or epoch < 0:
            self._reset(toppar, "Local: Partition log truncation detected", now)
        elif end >= toppar.validation[1]:
            toppar.state = FetchState.ACTIVE
        elif self.config.reset_to == "none":
            self._reset(toppar, f"Partition log truncation detected: broker end offset is {end}: Reset to INVALID", now)
        else:
            self._seek(toppar, (epoch, end))

    def asked_in_vain(self, request: AboutToppar, now: Micros) -> None:
        """The connection is gone, or the time."""
        toppar = request.toppar
        if isinstance(request.message, OffsetForLeaderEpochRequest):
            toppar.validating = False
            if toppar.state is FetchState.VALIDATE:
                toppar.validate_at = now + ASK_AGAIN
        elif toppar.state is FetchState.OFFSET_WAIT:
            self._query_later(toppar, now)

    # Fetches.

    def decide(self, toppar: Toppar, now: Micros) -> Micros:
        """rd_kafka_toppar_fetch_decide: when it may be fetched; a full queue is looked at again after fetch.queue.backoff.ms."""
        if toppar.state is not FetchState.ACTIVE or toppar.paused or toppar.fetch[1] < 0:
            return NEVER
        if toppar.backoff_until > now:
            return toppar.backoff_until
        config, queue = self.config, self.queue
        if queue.messages >= config.queued_min_messages or queue.bytes >= config.queued_max_messages_kbytes * 1024:
            toppar.backoff_until = now + ms(config.fetch_queue_backoff_ms)
            return toppar.backoff_until if config.fetch_queue_backoff_ms else now
        return now

    def of(self, thread: BrokerThread) -> list[Toppar]:
        return [toppar for toppar in self.toppars.values() if toppar.started and toppar.broker == thread.name]

    def wants(self, thread: BrokerThread) -> bool:
        """There is something to fetch, so a connection is needed."""
        return any(toppar.state is FetchState.ACTIVE and not toppar.paused for toppar in self.of(thread))

    def fetch(self, thread: BrokerThread, now: Micros) -> bool:
        if not thread.is_up or thread.name in self.asked:
            return False
        ready = [toppar for toppar in self.of(thread) if self.decide(toppar, now) <= now]
        if not ready:
            return False
        first = self.first.get(thread.name, 0) % len(ready)
        self.first[thread.name] = first + 1
        named = [*ready[first:], *ready[:first]]
        ids, config = self.metadata.topic_ids, self.config
        partitions = tuple(
            ConsumerFetchPartition(one.partition, one.fetch[1], one.leader_epoch, ids.get(topic_of(one.partition), NO_TOPIC_ID)) for one in named
        )
        limits = config.fetch_wait_max_ms, config.fetch_min_bytes, config.fetch_max_bytes, config.max_partition_fetch_bytes
        message = ConsumerFetchRequest(partitions, config.read_committed, *limits)
        versions = {one.partition: one.version for one in named}
        thread.enqueue(FetchOf(message, now + self.brokers.socket_timeout + ms(config.fetch_wait_max_ms), thread.name, versions))
        self.asked[thread.name] = None
        return True

    def fetched(self, thread: BrokerThread, request: FetchOf, response: ConsumerFetchResponse, now: Micros, out: list[Effect]) -> None:
        self.asked.pop(thread.name, None)
        hinted = []
        for data in response.partitions:
            toppar = self.toppars.get(data.partition)
            if toppar is None:
                continue
            if toppar.broker == thread.name and request.versions.get(data.partition) == toppar.version:
                toppar.log_start = -1 if data.error else data.log_start_offset
                if data.error:
                    self._failed(toppar, data, now)
                else:
                    read_batches(toppar, data, self.queue, read_committed=self.config.read_committed)
            if data.leader and self.metadata.take_hint(data.partition, data.leader, data.leader_epoch, list(self.brokers.threads), out):
                hinted.append(data.partition)
        self.leaders_came(hinted, now)

    def _failed(self, toppar: Toppar, data: ConsumerFetchedPartition, now: Micros) -> None:
        error = data.error
        if error in REFRESHING:
            self.metadata.leader_unavailable(topic_of(toppar.partition), now)
        elif error is ErrorCode.OFFSET_OUT_OF_RANGE:
            toppar.fetch = NOWHERE
            self._reset(toppar, "fetch failed due to requested offset not available on the broker: Broker: Offset out of range", now)
        else:
            self.report(name_of(error), f"Fetch from broker {toppar.broker} failed: {error.meaning}")
        toppar.backoff_until = now + ms(self.config.fetch_error_backoff_ms)

    def lost(self, request: FetchOf) -> None:
        self.asked.pop(request.thread, None)

    # The clock.

    def look_at_the_clock(self, now: Micros) -> bool:
        seen = False
        for toppar in self.toppars.values():
            if toppar.query_at <= now and toppar.state is FetchState.OFFSET_QUERY:
                seen = True
                self._ask_for_offset(toppar, now)
            if toppar.validate_at <= now:
                seen = True
                toppar.validate_at = NEVER
                if toppar.state is FetchState.VALIDATE:
                    self._validate(toppar, now)
        return seen

    def wake_at(self, now: Micros) -> Micros:
        at = NEVER
        for toppar in self.toppars.values():
            if toppar.started:
                at = min(at, toppar.query_at, toppar.validate_at)
                if toppar.broker and toppar.broker not in self.asked and now < toppar.backoff_until and self.brokers.is_up(toppar.broker):
                    at = min(at, self.decide(toppar, now))
        return at


class AboutToppar(Request):
    """Asks about one partition."""

    __slots__ = ("thread", "toppar", "version")

    def __init__(self, message: object, deadline: Micros, toppar: Toppar, thread: str) -> None:
        super().__init__(message, deadline)
        self.toppar = toppar
        self.thread = thread
        self.version = toppar.version


class FetchOf(Request):
    __slots__ = ("thread", "versions")

    def __init__(self, message: object, deadline: Micros, thread: str, versions: dict[str, int]) -> None:
        super().__init__(message, deadline)
        self.thread = thread
        self.versions = versions
