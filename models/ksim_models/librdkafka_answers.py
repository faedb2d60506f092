"""What becomes of the messages of a Produce request: acknowledged, tried again, failed; and what that means for those behind them.

Kafka: rd_kafka_handle_Produce_error, rd_kafka_handle_idempotent_Produce_error, rd_kafka_retry_msgq, rd_kafka_idemp_drain_epoch_bump in librdkafka
(sections 7.2 and 7.3 of the client's rule book, L4 to L8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ksim_models.facts import ProducerId
from ksim_models.librdkafka_broker_thread import Request
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_errors import (
    MSG_TIMED_OUT,
    PURGE_QUEUE,
    REFRESHED_AND_COUNTED,
    TIMED_OUT,
    TIMED_OUT_QUEUE,
    Then,
    action_of,
    text_of,
)
from ksim_models.librdkafka_idempotence import LibrdkafkaIdempotence, Verdict
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.librdkafka_queue import MessageBatch, PartitionQueue
from ksim_models.librdkafka_reports import Reports
from ksim_models.librdkafka_sending import LibrdkafkaSending
from ksim_models.machine import Dice, Effect, Note
from ksim_models.units import Micros, ms

UNKNOWN_PRODUCER_ID = "UNKNOWN_PRODUCER_ID"


class Transactional(Protocol):
    """Of a transactional producer: what an error of its messages means for its transaction."""

    def drain_and_bump(self, error: str, text: str, now: Micros, out: list[Effect]) -> None: ...

    def drained(self, now: Micros) -> None: ...

    def produce_failed(self, error: str, now: Micros, out: list[Effect]) -> None: ...

    def set_fatal(self, code: str, text: str, now: Micros, out: list[Effect]) -> None: ...


RETRY_JITTER_PERCENT = 20


class Answers:
    def __init__(
        self,
        producer: str,
        config: LibrdkafkaConfig,
        brokers: Brokers,
        queues: Mapping[str, PartitionQueue],
        metadata: LibrdkafkaMetadata,
        sending: LibrdkafkaSending,
        reports: Reports,
        idempotence: LibrdkafkaIdempotence | None,
        dice: Dice,
    ) -> None:
        self.producer = producer
        self.config = config
        self.brokers = brokers
        self.queues = queues
        self.metadata = metadata
        self.sending = sending
        self.reports = reports
        self.idempotence = idempotence
        self.dice = dice
        self.batches_failed = 0
        self.transactions: Transactional | None = None

    def succeeded(self, batch: MessageBatch, base_offset: int, now: Micros, out: list[Effect]) -> None:
        queue = batch.queue
        queue.in_flight -= len(batch.messages)
        if self.idempotence is not None:
            first_id, last_id = batch.messages[0].id, batch.messages[-1].id
            if queue.acked_id < first_id - 1:
                self.reports.acked(queue.partition, queue.take_acked(last_id), -1, now, out)
            elif queue.next_ack_sequence != batch.first_sequence == queue.next_error_sequence:
                self.become_fatal("_INCONSISTENT", now, out)
            self.idempotence.succeeded(batch)
            queue.acked_id = max(queue.acked_id, last_id)
        self.reports.acked(queue.partition, batch.messages, base_offset, now, out)
        self._answered(queue, now, out)

    def _answered(self, queue: PartitionQueue, now: Micros, out: list[Effect]) -> None:
        """With idempotence: the last answer of a drain lets the epoch rise."""
        if self.idempotence is not None and not queue.in_flight:
            self.finish_drain(now, out)

    def failed(self, request: Request, batch: MessageBatch, error: str, base_offset: int, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_handle_Produce_error (section 7.2)."""
        queue, idempotence = batch.queue, self.idempotence
        queue.in_flight -= len(batch.messages)
        next_sequence = batch.next_sequence
        then = action_of(error)
        counted = request.sent
        if idempotence is not None:
            batch.messages[0].last_id = batch.messages[-1].id
            verdict = idempotence.judge(batch, error)
            if self.transactions is not None and error == UNKNOWN_PRODUCER_ID:
                verdict = Verdict.ORDINARY  # The transaction is aborted, and the epoch rises behind it (KIP-360).
                self.drain_and_bump(idempotence, now, out, error)
            if verdict is Verdict.DUPLICATE:
                queue.next_ack_sequence = queue.next_error_sequence = next_sequence
                self.reports.acked(queue.partition, batch.messages, base_offset, now, out)
                self._answered(queue, now, out)
                return
            if verdict is Verdict.FATAL:
                then = Then.FAIL
                self.become_fatal(error, now, out)
            elif verdict is Verdict.BUMP_AND_RETRY:
                then, counted = Then.RETRY, False
                self.drain_and_bump(idempotence, now, out, error)
        if then is Then.REFRESH:
            self.metadata.leader_unavailable(queue.topic, now)
            counted = counted and error in REFRESHED_AND_COUNTED
        if then is not Then.FAIL:
            if idempotence is not None:
                queue.draining = True
            self._retry(batch, error, now, out, counted=counted)
        elif self.transactions is not None:
            self.transactions.produce_failed(error, now, out)
        elif idempotence is not None:
            if self.config.enable_gapless_guarantee and not self.sending.fatal:
                self.become_fatal("_GAPLESS_GUARANTEE", now, out)
            else:
                self.drain_and_bump(idempotence, now, out)
        if idempotence is not None:
            queue.next_error_sequence = next_sequence
        if batch.messages:
            self.reports.failed(queue.partition, batch.messages, MSG_TIMED_OUT if error in (TIMED_OUT, TIMED_OUT_QUEUE) else error, now, out)
        self._answered(queue, now, out)

    def _retry(self, batch: MessageBatch, error: str, now: Micros, out: list[Effect], *, counted: bool) -> None:
        """rd_kafka_retry_msgq: each message by its own count, all with the same jitter; those without retries left stay in the batch, and fail."""
        more = 1 if counted else 0
        self.batches_failed += 1
        percent = 100 - RETRY_JITTER_PERCENT + int(self.dice.at("retry", self.producer, self.batches_failed) * (2 * RETRY_JITTER_PERCENT + 1))
        again = [message for message in batch.messages if message.retries + more <= self.config.retries]
        batch.messages = [message for message in batch.messages if message.retries + more > self.config.retries]
        for message in again:
            message.retries += more
            backoff = min(self.config.retry_backoff_ms << min(max(message.retries - 1, 0), 30), 2**40) * percent * 10
            message.backoff_until = now + min(backoff, ms(self.config.retry_backoff_max_ms))
        batch.queue.give_back(again)
        self.reports.retried(batch.queue.partition, again, error, now, out)

    # Idempotence.

    def drain_and_bump(self, idempotence: LibrdkafkaIdempotence, now: Micros, out: list[Effect], error: str = TIMED_OUT) -> None:
        """error: why. In a transaction nothing is renumbered: it is aborted first (H-142)."""
        if self.transactions is not None:
            self.transactions.drain_and_bump(error, text_of(error), now, out)
        elif not self.sending.fatal:
            idempotence.drain()
            self.finish_drain(now, out)

    def finish_drain(self, now: Micros, out: list[Effect]) -> None:
        idempotence = self.idempotence
        if idempotence is None or not idempotence.is_draining or any(queue.in_flight for queue in self.queues.values()):
            return
        if self.transactions is not None:
            self.transactions.drained(now)
        else:
            idempotence.bump()
            out.append(Note(ProducerId(self.producer, idempotence.producer_id, idempotence.epoch, "epoch bump")))

    def become_fatal(self, error: str, now: Micros, out: list[Effect]) -> None:
        if self.transactions is not None:
            self.transactions.set_fatal(error, text_of(error), now, out)
        else:
            self.end_all(error, now, out)

    def end_all(self, error: str, now: Micros, out: list[Effect]) -> None:
        """L7: nothing more is produced; what waits is purged, what is on the way has its outcome."""
        if self.sending.fatal:
            return
        self.sending.fatal = error
        for thread in self.brokers:
            for queue in thread.queues:
                for request in thread.purge(queue):
                    assert request.batch is not None
                    queue.in_flight -= len(request.batch.messages)
                    self.reports.failed(queue.partition, request.batch.messages, PURGE_QUEUE, now, out)
        for queue in self.queues.values():
            self.reports.failed(queue.partition, queue.take_all(), PURGE_QUEUE, now, out)
        for topic in self.sending.topics.values():
            waiting = [message for message, _ in topic.unassigned]
            topic.unassigned.clear()
            self.reports.failed_unassigned(topic.name, waiting, PURGE_QUEUE, now, out)

    def purge_queues(self, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_purge with ABORT_TXN: what is not sent never will be, and leaves no gap in the sequences; what is on the way has its outcome."""
        for thread in self.brokers:
            for queue in thread.queues:
                for request in thread.purge(queue):
                    assert request.batch is not None
                    self.failed(request, request.batch, PURGE_QUEUE, -1, now, out)
        for queue in self.queues.values():
            purged = queue.take_all()
            queue.base_id += len(purged)
            self.reports.failed(queue.partition, purged, PURGE_QUEUE, now, out)
        for topic in self.sending.topics.values():
            waiting = [message for message, _ in topic.unassigned]
            topic.unassigned.clear()
            self.reports.failed_unassigned(topic.name, waiting, PURGE_QUEUE, now, out)
