"""librdkafka's main thread: timers that look for leaders, for connections where there is none, and for a producer id.

Kafka: rd_kafka_thread_main, rd_kafka_1s_tmr_cb, rd_kafka_topic_scan_all, rd_kafka_metadata_leader_query_tmr_cb, rd_kafka_idemp_pid_fsm in librdkafka.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ksim_models.librdkafka_broker_thread import Request, State
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_errors import MSG_TIMED_OUT
from ksim_models.librdkafka_idempotence import LibrdkafkaIdempotence
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.librdkafka_queue import PartitionQueue
from ksim_models.librdkafka_reports import Reports
from ksim_models.librdkafka_sending import LibrdkafkaSending
from ksim_models.machine import Effect
from ksim_models.messages import InitProducerIdRequest
from ksim_models.units import NEVER, SECOND, Micros


class MainThread:
    def __init__(
        self,
        born_at: Micros,
        brokers: Brokers,
        queues: Mapping[str, PartitionQueue],
        metadata: LibrdkafkaMetadata,
        sending: LibrdkafkaSending,
        reports: Reports,
        idempotence: LibrdkafkaIdempotence | None,
    ) -> None:
        self.born_at = born_at
        self.brokers = brokers
        self.queues = queues
        self.metadata = metadata
        self.sending = sending
        self.reports = reports
        self.idempotence = idempotence
        self.tick_at: Micros = NEVER
        """The look around, once a second, where there is something to see."""

    @property
    def wake_at(self) -> Micros:
        asks = self.idempotence.ask_at if self.idempotence is not None else NEVER
        return min(self.metadata.query_at, self.metadata.refresh_at, self.brokers.connect_any_at, self.tick_at, asks)

    def look_at_the_clock(self, now: Micros, out: list[Effect]) -> bool:
        """True if something was due."""
        seen = False
        if self.tick_at <= now:
            seen = True
            self.tick_at = NEVER
            self._tick(now, out)
        if self.metadata.query_at <= now:
            seen = True
            self._query_leaders(now)
        if self.metadata.refresh_at <= now:
            seen = True
            self.metadata.refresh_at = now + self.metadata.refresh_every
            self.brokers.ask_for(list(self.metadata.wanted), now)
        if self.brokers.connect_any_at <= now:
            seen = True
            self.brokers.connect_any_at = NEVER
            self.brokers.connect_any(now)
        if self.idempotence is not None and self.idempotence.ask_at <= now:
            seen = True
            self.ask_for_producer_id(self.idempotence, now)
        return seen

    def settle(self, now: Micros) -> None:
        """When an event has been dealt with: is there something to look around for?"""
        if not self._has_to_look_around():
            self.tick_at = NEVER
        elif self.tick_at == NEVER:
            self.tick_at = self.born_at + ((now - self.born_at) // SECOND + 1) * SECOND

    def _has_to_look_around(self) -> bool:
        if self.sending.has_unassigned or not self.brokers.any_up:
            return True
        return any(self._needs_query(topic) for topic in self.metadata.wanted)

    def _needs_query(self, topic: str) -> bool:
        """Not known, without a leader, or with one that is being connected to."""
        partitions = self.metadata.topics.get(topic)
        if not partitions:
            return True
        for partition in partitions:
            thread = self.brokers.get(self.queues[partition].broker)
            if thread is None or thread.state not in (State.INIT, State.UP):
                return True
        return False

    def _tick(self, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_1s_tmr_cb."""
        topics = [topic for topic in self.metadata.wanted if self._needs_query(topic)]
        for topic in self.sending.topics.values():
            late = [message for message, _ in topic.unassigned if message.timeout_at <= now]
            if late:
                topic.unassigned = deque(entry for entry in topic.unassigned if entry[0].timeout_at > now)
                self.reports.failed_unassigned(topic.name, late, MSG_TIMED_OUT, now, out)
        if topics:
            self.brokers.ask_for(topics, now)
        self.brokers.connect_any(now)

    def _query_leaders(self, now: Micros) -> None:
        """The timer of the fast leader query."""
        topics = self.metadata.due_topics()
        if not topics:
            self.metadata.query_at = NEVER
            return
        self.brokers.ask_for(topics, now)
        self.metadata.queried(now)

    def ask_for_producer_id(self, idempotence: LibrdkafkaIdempotence, now: Micros) -> None:
        up = [thread for thread in self.brokers if thread.is_up]
        if up:
            self.brokers.choose("producer-id", up).enqueue(Request(InitProducerIdRequest(), now + self.brokers.socket_timeout))
            idempotence.asked()
        else:
            self.brokers.connect_any(now)
            idempotence.not_given(now)
