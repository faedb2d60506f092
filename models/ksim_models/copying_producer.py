"""The producer's half of a copying application: it sends what was read, and ends transactions, or flushes.

Not Kafka's. What it does about errors is what a careful program does: a call that timed out is repeated; whatever else goes wrong in a transaction
ends it with an abort, and what was read is read again; a producer that is fenced, or of no use any more, ends the application.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim_models.application import TransactionalThread
from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableProducer, Flush
from ksim_models.config import ProducerConfig
from ksim_models.consumer_facts import CommittedOffset, Processed
from ksim_models.copying import Copying, Fed, Then, Turn
from ksim_models.facts import Failed, Refused
from ksim_models.machine import Dice, Effect, Event, Exit, Note, Restarted, Rouse, Terminated, Wake
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_pending import Group
from ksim_models.transaction_states import Failure, Result
from ksim_models.transactional_calls import At, CallingThread
from ksim_models.transactional_send import API_EXCEPTIONS
from ksim_models.units import Micros


class CopyingSession(CallingThread):
    """What its thread does while it is the producer's turn."""

    def __init__(self, producer: CopyingProducer, copying: Copying) -> None:
        super().__init__(producer.name, producer.transactions, producer.config.max_block_ms)
        self.client = producer
        self.copying = copying
        self.thread = producer.sending.threads[-1]
        if isinstance(self.thread, TransactionalThread):
            self.thread.is_over = True  # Between two transactions nothing is left to do, as far as anybody can tell.
        self.flush: Flush | None = None
        self.has_begun = False
        """A transaction is open."""
        self.has_failed = False
        """A send has, since the last commit."""

    @property
    def is_over(self) -> bool:
        return self.at is At.OVER or (self.at in (At.START, At.WAITING) and self.copying.turn is Turn.CONSUMER and not self.copying.is_open)

    # Its steps.

    def _go_on(self, now: Micros, out: list[Effect]) -> bool:
        match self.at:
            case At.WAITING if self.copying.turn is Turn.PRODUCER:
                self._take_turn(now, out)
                return True
            case At.SENDING:
                return self._look_at_sends(now, out)
            case At.FLUSHING:
                return self._look_at_flush(out)
            case _:
                return False

    def _take_turn(self, now: Micros, out: list[Effect]) -> None:
        """Records to send, or an end to make."""
        copying = self.copying
        if copying.aborts_now and self.has_begun:
            self._abort(now, out)
        elif copying.aborts_now:
            self._hand_back(Then.POLL, out)
        elif not copying.to_send:
            self._end(now, out)
        elif self.manager is None or self.has_begun:
            self._send(now, out)
        elif self._begin(out):
            self.has_begun = True
            self._pause("send", now)

    def _beginning_of(self, name: str, manager: TransactionManager) -> Callable[[], Result]:
        if name != "send-offsets":
            return super()._beginning_of(name, manager)
        copying = self.copying
        place = (copying.member, copying.generation, copying.instance) if copying.habits.group_metadata else ("", -1, "")
        offsets, epochs = dict(sorted(copying.offsets.items())), dict(copying.epochs)
        return lambda: manager.send_offsets(offsets, Group(copying.group, *place), epochs)

    def _send(self, now: Micros, out: list[Effect]) -> None:
        copying = self.copying
        self.thread.refusal = "", ""
        before = self.client.sending.offered
        for one in copying.to_send:
            made = range(before, before + len(one.records))
            before = made.stop
            copying.fed.feed(len(made), now)
            if one.producer:
                name = copying.habits.name
                out.append(Note(Processed(name, one.partition, one.base_offset, one.producer, one.records, self.producer, made)))
        if isinstance(self.thread, TransactionalThread):
            self.thread.open(sum(len(one.records) for one in copying.to_send))
        copying.to_send = []
        self.at = At.SENDING

    def _look_at_sends(self, now: Micros, out: list[Effect]) -> bool:
        thread = self.thread
        if thread.blocked_on:
            return False
        error = thread.refusal[0]
        if self.manager is not None and error and error not in API_EXCEPTIONS:  # Thrown: the thread has left its loop.
            self._forget_unsent()
            self._abort(now, out)
            return True
        if thread.next < thread.arrivals.total:
            return False
        if self.copying.is_due:
            self._end(now, out)
        else:
            self._hand_back(Then.POLL, out)
        return True

    def _forget_unsent(self) -> None:
        self.copying.fed.forget_after(self.thread.next)
        if isinstance(self.thread, TransactionalThread):
            self.thread.open(0)

    def _end(self, now: Micros, out: list[Effect]) -> None:
        if self.manager is None:
            self.at, self.flush = At.FLUSHING, self.client.flush()
        else:
            self._tell("send-offsets", out, offsets=tuple(sorted(self.copying.offsets.items())), group=self.copying.group)
            self._pause("send-offsets", now)

    def _look_at_flush(self, out: list[Effect]) -> bool:
        assert self.flush is not None
        if not self.flush.is_over:
            return False
        failed, self.has_failed = self.has_failed, False
        self._hand_back(Then.REWIND if failed else Then.COMMIT, out)
        return True

    def _give_up(self, failure: Failure, now: Micros, out: list[Effect]) -> None:
        self._tell_offsets(failure.exception, out)
        super()._give_up(failure, now, out)

    def _succeeded(self, name: str, now: Micros, out: list[Effect]) -> None:
        match name:
            case "init":
                self.at = At.WAITING
            case "send-offsets":
                self._tell("commit", out)
                self._pause("commit", now)
            case "commit":
                self._tell("committed", out)
                self._tell_offsets("", out)
                self._close_transaction(Then.POLL, out)
            case _:
                self._tell("aborted", out)
                self._close_transaction(Then.POLL if self.copying.aborts_now else Then.REWIND, out)

    def _close_transaction(self, then: Then, out: list[Effect]) -> None:
        self.has_begun = self.has_failed = False
        self.copying.over()
        self._hand_back(then, out)

    def _hand_back(self, then: Then, out: list[Effect]) -> None:
        self.at = At.WAITING
        self.copying.hand_back(then)
        out.append(Rouse(self.copying.habits.consumer))

    def _come_to_an_end(self, out: list[Effect]) -> None:
        """So neither is the application of any use: whoever runs it starts it again, or not."""
        self._forget_unsent()
        self._hand_back(Then.END, out)
        self.at = At.OVER

    def _tell_offsets(self, error: str, out: list[Effect]) -> None:
        assert self.manager is not None
        copying = self.copying
        out.append(Note(CommittedOffset(copying.habits.consumer, copying.group, tuple(sorted(copying.offsets.items())), error, self.manager.number)))


class CopyingProducer(ClosableProducer):
    def __init__(self, name: str, profile: ClientProfile, config: ProducerConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        super().__init__(name, profile, config, bootstrap, workloads, dice)
        self.asked_to_end: Terminated | None = None
        fed = workloads[-1]
        assert isinstance(fed, Fed)
        self.copying_session = CopyingSession(self, fed.copying)
        self.session = self.copying_session

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if type(event) is Restarted and not self.alive:
            copying = self.copying_session.copying
            copying.fed.forget_after(self.sending.threads[-1].next)
            copying.begin_anew()
        out = super().handle(self._in_turn(event), now)
        if not self.alive and any(isinstance(effect, Exit) for effect in out):
            self.copying_session.copying.writer_closed = True
            out.insert(0, Rouse(self.copying_session.copying.habits.consumer))
        if any(isinstance(effect, Note) and isinstance(effect.fact, Failed | Refused) for effect in out):
            self.copying_session.has_failed = True
        return out

    def _in_turn(self, event: Event) -> Event:
        """The consumer is closed first."""
        if isinstance(event, Terminated):
            self.asked_to_end, event = event, Wake()
        if self.asked_to_end is not None and self.copying_session.copying.reader_closed and isinstance(event, Wake):
            event, self.asked_to_end = self.asked_to_end, None
        return event
