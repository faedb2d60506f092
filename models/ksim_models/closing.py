"""Clients that are closed, and that come back: close() sends what it can in the time it has; a new process is another producer.

Kafka: KafkaProducer.close, Sender.run behind its main loop, RecordAccumulator.abortIncompleteBatches (A50 to A54); rd_kafka_flush in librdkafka.
The application ends in order: it hands over nothing more, closes its producer, and the process ends. Whoever starts it again goes on with the next record.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.batch import Batch
from ksim_models.config import LibrdkafkaConfig, ProducerConfig
from ksim_models.held_up import HeldUp
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.machine import Crashed, Dice, Effect, Event, Exit, Restarted, Terminated, Wake
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_states import Failure, IllegalState
from ksim_models.transaction_step import TransactionStep
from ksim_models.units import NEVER, Micros

FORCED = "Producer is closed forcefully."
FORCED_TRANSACTION = "The producer closed forcefully"
FLUSH_IN_CALLBACK = "KafkaProducer.flush() invocation inside a callback is not permitted because it may lead to deadlock."


class Flush:
    """One call of flush(): it returns when every batch that was incomplete at its beginning has its outcome, whichever that is (A19, A50)."""

    def __init__(self, batches: Sequence[Batch], error: str = "", *, waits_for_parts: bool = True) -> None:
        self.batches = batches
        self.error = error
        """What it throws: it has not begun."""
        self.waits_for_parts = waits_for_parts

    @property
    def is_over(self) -> bool:
        """A batch that was split is complete for those who wait for it; since KAFKA-19479 flush() goes on to its parts, and to theirs."""
        awaited = list(self.batches)
        for batch in awaited:
            if batch.parts and self.waits_for_parts:
                awaited.extend(batch.parts)
            elif not batch.parts and not batch.done:
                return False
        return True


class ClosableProducer(HeldUp):
    """The Java client. flush() and close() make every batch due at once (A27), and close() ends what still waits in send() (A54)."""

    def __init__(self, name: str, profile: ClientProfile, config: ProducerConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        self.bootstrap = bootstrap
        self.workloads = workloads
        self.closing = False
        self.gives_up_at: Micros = NEVER
        self.flushes: list[Flush] = []
        self.waits_for_itself = False
        """flush() in a callback, up to 4.0: the I/O thread waits for what only it can do (H-016)."""
        super().__init__(name, profile, config, bootstrap, workloads, dice)

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if type(event) is Restarted and not self.alive:
            self._begin_again(now)
            event = Wake()
        out: list[Effect] = []
        if self.waits_for_itself and type(event) is not Crashed:
            self.sending.take(now, out)
            self.wake_at = self.sending.wake_at(now, NEVER)
            return out
        if type(event) is Terminated and self.alive and not self.closing:
            self._begin_to_close(event.within, now, out)
            event = Wake()
        out += super().handle(event, now)
        while self.flushes and self.flushes[0].is_over:
            self.flushes.pop(0)
            self.accumulator.hurried -= 1
        if self.closing and self.alive:
            self._end_if_possible(now, out)
        return out

    def flush(self, *, in_callback: bool = False) -> Flush:
        """Called by the application, which then waits until the flush is over; whoever calls sees to a turn of the I/O thread."""
        if in_callback and self.profile.flush_in_callback_throws:
            return Flush((), FLUSH_IN_CALLBACK)
        self.waits_for_itself = in_callback
        flush = Flush(self.outcomes.incomplete, waits_for_parts=self.profile.flush_waits_for_parts)
        if not flush.is_over:
            self.flushes.append(flush)
            self.accumulator.hurried += 1
        return flush

    def _begin_to_close(self, within: Micros | None, now: Micros, out: list[Effect]) -> None:
        self.sending.take(now, out)  # Within one instant the application sends first.
        self.closing = True
        self.gives_up_at = NEVER if within is None else now + within
        self.accumulator.hurried += 1
        self.sending.close(now, out)
        if self.session is not None:
            self.session.close()
        if self.transactions is not None:
            self.transactions.is_closed = True

    def _end_if_possible(self, now: Micros, out: list[Effect]) -> None:
        """A51, A52: nothing queued and nothing unanswered, or the time is over: then every incomplete batch fails, whatever the brokers make of it."""
        is_late = now >= self.gives_up_at
        if not is_late and (self.sending.callbacks.held or self._ends_its_transaction(now, out) or self._has_work()):
            self.wake_at = min(NEVER if self.wake_at is None else self.wake_at, self.gives_up_at)
            return
        if is_late:
            if self.transactions is not None:
                self.transactions.fail_pending(Failure("KafkaException", FORCED_TRANSACTION))
            self.outcomes.abort_all("KafkaException", FORCED, now, out)
        self.sending.end(now, out)
        self.alive = False
        self.wake_at = None
        out.append(Exit())

    def _has_work(self) -> bool:
        return any(self.accumulator.queues.values()) or any(node.in_flight for node in self.network.nodes.values())

    def _ends_its_transaction(self, now: Micros, out: list[Effect]) -> bool:
        """A51: what the application waits for comes to its end, then a transaction that is still open is aborted. False: there is nothing to wait for."""
        step, manager = self.identity, self.transactions
        if manager is None or not isinstance(step, TransactionStep):
            return False
        if not step.is_free or manager.queue:
            return not manager.is_fatal
        if not manager.is_ongoing or manager.is_completing or self._has_work():
            return False
        try:
            manager.abort_while_closing()
        except IllegalState:
            return self.profile.close_repeats_abort
        self._turn(now, out)
        self.wake_at = self._next_wake()
        return manager.is_ongoing

    def _begin_again(self, now: Micros) -> None:
        """Another process: nothing is left of the old one but how far its application had come. It has no producer id, so it is another producer (I2)."""
        old, transactions, connections, batches = self.sending, self.transactions, self.network.connections_made, self.accumulator.batches_made
        self.__init__(self.name, self.profile, self.config, self.bootstrap, self.workloads, self.sending.dice)  # type: ignore[misc]
        self.network.connections_made = connections
        self.accumulator.batches_made = batches
        if self.transactions is not None and transactions is not None:
            self.transactions.number = transactions.number
        self.sending.go_on_from(old, now)


class ClosableLibrdkafka(LibrdkafkaProducer):
    """flush(), then the end: what has no report by then gets none."""

    def __init__(self, name: str, config: LibrdkafkaConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        self.bootstrap = bootstrap
        self.workloads = workloads
        self.closing = False
        self.gives_up_at: Micros = NEVER
        super().__init__(name, config, bootstrap, workloads, dice)

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if type(event) is Restarted and not self.alive:
            self._begin_again(now)
            event = Wake()
        out: list[Effect] = []
        if type(event) is Terminated and self.alive and not self.closing:
            self.sending.take(now, out)
            self.closing = True
            self.gives_up_at = NEVER if event.within is None else now + event.within
            self.sending.stop()
            for queue in self.queues.values():
                queue.linger = 0
            event = Wake()
        out += super().handle(event, now)
        if self.closing and self.alive:
            if not self.may_end and now < self.gives_up_at:
                self.wake_at = min(NEVER if self.wake_at is None else self.wake_at, self.gives_up_at)
            else:
                self.close_books(out)
                self.alive = False
                self.wake_at = None
                out.append(Exit())
        return out

    @property
    def may_end(self) -> bool:
        """Everything has its report."""
        return not self.sending.messages_held

    def _delegate(self, partition: str, now: Micros, out: list[Effect]) -> None:
        super()._delegate(partition, now, out)
        if self.closing:
            self.queues[partition].linger = 0

    def _begin_again(self, now: Micros) -> None:
        old, connections = self.sending, self.brokers.connections_made
        self._be_born(now, self.bootstrap, self.workloads)
        self.alive, self.closing, self.gives_up_at = True, False, NEVER
        self.brokers.connections_made = connections
        self.sending.go_on_from(old, now)
