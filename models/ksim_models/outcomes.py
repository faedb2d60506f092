"""Outcomes: what an answer, or the lack of one, makes of a batch: acknowledged, tried again, or failed, and what the application is told.

Kafka: Sender.completeBatch, failBatch, failExpiredBatches, maybeAbortBatches (S10 to S19, A37 to A40).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ksim_models.accumulator import Accumulator
from ksim_models.batch import Batch
from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode, known_to
from ksim_models.facts import Acked, Failed, Offered, Retried
from ksim_models.idempotence import Idempotence
from ksim_models.machine import Effect, Note
from ksim_models.measurements import Errored
from ksim_models.messages import ProduceResult, Records, topic_of
from ksim_models.profiles import ClientProfile
from ksim_models.sending import Sending
from ksim_models.splitting import is_to_be_split, split
from ksim_models.transaction_states import IllegalState
from ksim_models.units import Micros

BYSTANDER = "KafkaException", "Failed to append record because it was part of a batch which had one more more invalid records"
"""What the application is told of a record that shares its batch with one that was refused (S16)."""


class Outcomes:
    def __init__(
        self,
        producer: str,
        config: ProducerConfig,
        profile: ClientProfile,
        accumulator: Accumulator,
        metadata: ClientMetadata,
        sending: Sending,
        idempotence: Idempotence | None,
    ) -> None:
        self.producer = producer
        self.profile = profile
        self.retries = config.retries
        self.accumulator = accumulator
        self.metadata = metadata
        self.sending = sending
        self.idempotence = idempotence
        self.measured = False
        """Somebody wants its measurements (`ksim_models.measurements`)."""
        self.in_flight: dict[str, list[Batch]] = {}
        """Per partition, in the order of draining: where expiry looks (A37)."""
        self.nothing_expires_before: Micros = 0
        """A lower bound, so that not every event has to look at every batch."""
        self.unfinished: list[tuple[Batch, bool]] = []
        """Batches whose callbacks hold the I/O thread up: their memory is given back behind them (S13)."""
        self.records_retried = self.records_failed = 0
        """The totals of Kafka's record-retry and record-error sensors (S13)."""

    @property
    def incomplete(self) -> list[Batch]:
        """Every batch without an outcome, queued or in flight (A50)."""
        return [*self.accumulator.waiting(), *(batch for batches in self.in_flight.values() for batch in batches)]

    @property
    def has_incomplete(self) -> bool:
        return any(self.accumulator.queues.values()) or any(self.in_flight.values())

    # An answer, or a request that will have none.

    def complete(self, batch: Batch, result: ProduceResult, text: str, now: Micros, out: list[Effect]) -> bool:
        """S11. A late answer of a batch that has its outcome changes nothing but the books (S15). False: the rest of the request hears of no answer."""
        waiting = self.in_flight.get(batch.partition)
        if waiting and batch in waiting:
            waiting.remove(batch)
            self.stands_first(waiting)
        error = result.error
        if is_to_be_split(batch, error):
            self._tell(batch, out, split(batch, self.accumulator, self.idempotence))
        elif not error or error is ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
            self._succeed(batch, result.base_offset, now, out)
        else:
            error = known_to(self.profile.release, error)
            if self._may_retry(batch, error, result.log_start_offset, now):
                if self.idempotence is not None and not self.idempotence.may_return(batch):
                    self._strand(batch)
                    return False
                self._try_again(batch, error, now, out)
            else:
                failures = _failures(batch, error, result, text, each=self.profile.tells_records_apart)
                try:
                    self._fail(batch, error, failures, now, out, adjust=batch.attempts < self.retries)
                except IllegalState:  # Up to 3.5: the handler of the answer dies of it ("Uncaught error in request completion").
                    return False
            if error.invalid_metadata:
                self.metadata.request_update()
                if error in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH) and self.profile.leader_hint_in_produce:
                    self.metadata.take_hint(batch.partition, result.leader, result.leader_epoch, out)
        self.accumulator.muted.pop(batch.partition, None)
        return True

    def _may_retry(self, batch: Batch, error: ErrorCode, log_start_offset: int, now: Micros) -> bool:
        """S12."""
        if batch.done or batch.attempts >= self.retries or now - batch.created_at >= self.accumulator.delivery_timeout:
            return False
        if error is ErrorCode.CONCURRENT_TRANSACTIONS and not self.profile.retries_more_errors:
            return False
        if self.idempotence is not None:
            return self.idempotence.may_retry(batch, error, log_start_offset)
        return error.retriable

    def _try_again(self, batch: Batch, error: ErrorCode, now: Micros, out: list[Effect]) -> None:
        self.records_retried += batch.count
        self.accumulator.put_back(batch, now)
        self.stands_first(self.accumulator.queues[batch.partition])
        self._tell(batch, out, Retried(self.producer, batch.partition, batch.records, error.name, batch.attempts, batch.retry_at - now))

    def _strand(self, batch: Batch) -> None:
        """KAFKA-13794: the handler of the answer dies of an exception, which is logged. The batch counts as in flight, and so do those behind it
        in the request, until they expire; where one request may be in flight their partitions stay muted for good.
        """
        batch.attempts += 1
        batch.retried = True
        waiting = self.in_flight[batch.partition]
        waiting.insert(sum(other.created_at <= batch.created_at for other in waiting), batch)

    def _succeed(self, batch: Batch, base_offset: int, now: Micros, out: list[Effect]) -> None:
        """S14. One fact per batch: its callbacks run in the order of its records, and batches come in the order of their answers (S18, S23)."""
        if self.idempotence is not None:
            self.idempotence.succeeded(batch, base_offset)
        if not batch.done:
            self._tell(batch, out, Acked(self.producer, batch.partition, batch.records, base_offset))
            if self.sending.reactions.wanted:
                self.sending.reactions.succeeded(batch.records, now, out)
        self._finish(batch, now, answered=True)

    def _fail(
        self,
        batch: Batch,
        error: ErrorCode,
        failures: Sequence[tuple[Records, str, str]],
        now: Micros,
        out: list[Effect],
        *,
        adjust: bool,
        answered: bool = True,
    ) -> None:
        """S13: the first final state wins, though a late error is counted again; a late answer only returns the memory (S15, A24).

        A failure says nothing about the log: a batch that timed out, or was cut off, may have been appended (S21).
        The sequences hear of it after the callbacks (I17), and once (I16); up to 3.5 before them, and of a late error too.
        """
        first = not batch.done
        after_callbacks = self.profile.sequences_hear_only_the_first_failure
        if not after_callbacks:
            self._tell_sequences(batch, error, failures[0][2], adjust=adjust)
        self.records_failed += batch.count
        if self.measured:
            self._tell(batch, out, Errored(batch.partition, batch.count))
        if first:
            self.offer(batch, out)
            for records, exception, text in failures:
                self._tell(batch, out, Failed(self.producer, batch.partition, records, exception, text))
            if self.sending.reactions.wanted:
                self.sending.failed(batch, now, out)
        self._finish(batch, now, answered=answered)
        if first and after_callbacks:
            with suppress(IllegalState):  # Logged, and the turn goes on.
                self._tell_sequences(batch, error, failures[0][2], adjust=adjust)

    def _tell_sequences(self, batch: Batch, error: ErrorCode, text: str, *, adjust: bool) -> None:
        if self.idempotence is not None:
            self.idempotence.failed(batch, error, text, adjust=adjust)
            if self.idempotence.fatal and self.profile.send_refuses_after_fatal_error:
                self.sending.in_error_state = self.idempotence.fatal

    def _finish(self, batch: Batch, now: Micros, *, answered: bool) -> None:
        if self.sending.callbacks.held:
            self.unfinished.append((batch, answered))
            batch.done = True
            return
        if answered or not self.profile.memory_kept_until_answer:
            self.accumulator.release(batch)
        if not batch.done:
            batch.done = True
            self.sending.finished(batch, now)

    def finish_the_unfinished(self, now: Micros) -> None:
        """The callbacks that held the I/O thread up are over."""
        unfinished, self.unfinished = self.unfinished, []
        for batch, answered in unfinished:
            batch.done = False
            self._finish(batch, now, answered=answered)

    # No answer in time, or never.

    def something_expires(self, now: Micros) -> bool:
        """The next expiry ends a poll, and what that poll finds overdue comes before it (S5, N14)."""
        return self.nothing_expires_before <= now and self.accumulator.next_expiry(self.in_flight) <= now

    def stands_first(self, batches: Sequence[Batch]) -> None:
        """Something else stands first in a queue or in flight now, and it may be older than what stood before it (A37)."""
        if batches and (at := batches[0].created_at + self.accumulator.delivery_timeout) < self.nothing_expires_before:
            self.nothing_expires_before = at

    def expire(self, now: Micros, out: list[Effect]) -> bool:
        """A37 to A40: after the drain and before the sending, so that a batch may be failed and sent all the same (A38). True if anything expired."""
        queued = self.accumulator.take_expired(now)
        flying: list[Batch] = []
        for waiting in self.in_flight.values():
            while waiting and now - waiting[0].created_at >= self.accumulator.delivery_timeout:
                flying.append(waiting.pop(0))
        for batch in (*queued, *flying):
            age_ms = (now - batch.created_at) // 1000
            text = f"Expiring {batch.count} record(s) for {batch.partition}:{age_ms} ms has passed since batch creation"
            if self.profile.expired_text_says_not_sent:
                text += ". The request has not been sent, or no server response has been received yet."
            failures = ((batch.records, "TimeoutException", text),)
            self._fail(batch, ErrorCode.REQUEST_TIMED_OUT, failures, now, out, adjust=False, answered=batch in queued)
            if self.idempotence is not None:
                self.idempotence.expired(batch)
        self.nothing_expires_before = min(self.accumulator.next_expiry(self.in_flight), now + max(1, self.accumulator.delivery_timeout))
        return bool(queued or flying)

    def abort_all(self, exception: str, text: str, now: Micros, out: list[Effect]) -> None:
        """S1.2, A53: in a fatal state every incomplete batch, in flight or not, fails with what caused it. It counts as no error, no sequence hears of it."""
        waiting, incomplete = self.accumulator.waiting(), self.incomplete
        for queue in self.accumulator.queues.values():
            queue.clear()
        self.in_flight.clear()
        for batch in incomplete:
            if not batch.done:
                self._abort(batch, exception, text, now, out, is_queued=batch in waiting)

    def abort_undrained(self, exception: str, text: str, now: Micros, out: list[Effect]) -> None:
        """S2, A53: a transaction that will be aborted takes with it what has no sequence yet. It counts as no error, and no sequence hears of it."""
        for rank in self.accumulator.filled:
            queue = self.accumulator.ranked[rank][1]
            undrained = [batch for batch in queue if batch.base_sequence < 0]
            if undrained:
                kept = [batch for batch in queue if batch.base_sequence >= 0]
                queue.clear()
                queue.extend(kept)
                for batch in undrained:
                    self._abort(batch, exception, text, now, out, is_queued=True)

    def _abort(self, batch: Batch, exception: str, text: str, now: Micros, out: list[Effect], *, is_queued: bool) -> None:
        self.offer(batch, out)
        self._tell(batch, out, Failed(self.producer, batch.partition, batch.records, exception, text))
        if self.sending.reactions.wanted:
            self.sending.failed(batch, now, out)
        self._finish(batch, now, answered=is_queued)

    # What the history is told.

    def offer(self, batch: Batch, out: list[Effect]) -> None:
        """The history learns of the records when their batch leaves the queue for the first time.

        That is one fact per batch, however often the client woke meanwhile.
        """
        if not batch.drained:
            batch.drained = True
            step = batch.offer_step if batch.count > 1 and not batch.offer_times else 0
            self._tell(batch, out, Offered(self.producer, batch.records, batch.offer_at, step, tuple(batch.offer_times or ())))

    def _tell(self, batch: Batch, out: list[Effect], fact: object) -> None:
        """The warm-up is no part of the history."""
        if batch.first >= 0:
            out.append(Note(fact))


def _failures(batch: Batch, error: ErrorCode, result: ProduceResult, text: str, *, each: bool = True) -> Sequence[tuple[Records, str, str]]:
    """Which records of a refused batch fail with which exception, in their order (S16, S17). each: the broker's word on single records counts."""
    text = result.error_message or text
    if not (result.record_errors and each):
        if error is ErrorCode.TOPIC_AUTHORIZATION_FAILED:
            text = f"Not authorized to access topics: [{topic_of(batch.partition)}]"
        elif error is ErrorCode.CLUSTER_AUTHORIZATION_FAILED:
            text = "The producer is not authorized to do idempotent sends"
        return ((batch.records, error.exception, text),)
    refused = error.exception if len(result.record_errors) == 1 else "InvalidRecordException"  # Of several, who knows which the code speaks of?
    why = {place: (refused, text if message is None else message) for place, message in result.record_errors}
    pieces: list[tuple[list[int], str, str]] = []
    for place, number in enumerate(batch.records):
        reason = why.get(place, BYSTANDER)
        if pieces and pieces[-1][1:] == reason:
            pieces[-1][0].append(number)
        else:
            pieces.append(([number], *reason))
    return [(tuple(numbers), exception, said) for numbers, exception, said in pieces]
