"""The producer's half of a copying application: it sends what was read, and ends transactions, or flushes.

Not Kafka's. What it does about errors is what a careful program does: a call that timed out is repeated; whatever else goes wrong in a transaction
ends it with an abort, and what was read is read again; a producer that is fenced, or of no use any more, ends the application.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

from ksim_models.application import TransactionalThread
from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableProducer, Flush
from ksim_models.config import ProducerConfig
from ksim_models.consumer_facts import CommittedOffset, Processed
from ksim_models.copying import Copying, Fed, Then, Turn
from ksim_models.facts import Failed, Refused, Transaction
from ksim_models.machine import Dice, Effect, Event, Exit, Note, Restarted, Rouse, Terminated, Wake
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_pending import Group
from ksim_models.transaction_states import Failure, IllegalState, Result, State
from ksim_models.transactional_application import CANNOT_RECOVER, Call
from ksim_models.transactional_send import API_EXCEPTIONS
from ksim_models.units import NEVER, Micros


class At(Enum):
    START = auto()
    WAITING = auto()
    """For its turn."""
    ABOUT = auto()
    """It has said what it is about to call, and calls a microsecond later (as in `transactional_application`)."""
    SENDING = auto()
    FLUSHING = auto()
    CALLING = auto()
    OVER = auto()


class CopyingSession:
    """What its thread does while it is the producer's turn."""

    def __init__(self, producer: CopyingProducer, copying: Copying) -> None:
        self.producer = producer
        self.copying = copying
        self.thread = producer.sending.threads[-1]
        if isinstance(self.thread, TransactionalThread):
            self.thread.is_over = True  # Between two transactions nothing is left to do, as far as anybody can tell.
        self.manager = producer.transactions
        self.at = At.START if self.manager is not None else At.WAITING
        self.acts_from: Micros = NEVER
        self.about_to = ""
        self.call: Call | None = None
        self.flush: Flush | None = None
        self.has_begun = False
        """A transaction is open."""
        self.has_failed = False
        """A send has, since the last commit."""

    @property
    def is_over(self) -> bool:
        """Nothing is under way."""
        return self.at is At.OVER or (self.at in (At.START, At.WAITING) and self.copying.turn is Turn.CONSUMER and not self.copying.is_open)

    @property
    def wake_at(self) -> Micros:
        match self.at:
            case At.ABOUT:
                return self.acts_from
            case At.CALLING:
                return self.call.gives_up_at if self.call is not None else NEVER
            case _:
                return NEVER

    def close(self) -> None:
        if self.at is not At.CALLING:
            self.at = At.OVER

    def step(self, now: Micros, out: list[Effect]) -> bool:
        acted = False
        while self._act(now, out):
            acted = True
        return acted

    def _act(self, now: Micros, out: list[Effect]) -> bool:
        match self.at:
            case At.START:
                assert self.manager is not None
                self._call("init", self.manager.initialize, now)
                return True
            case At.WAITING:
                return self.copying.turn is Turn.PRODUCER and self._begin(now, out)
            case At.ABOUT:
                if now < self.acts_from:
                    return False
                self._do(now, out)
                return True
            case At.SENDING:
                return self._look_at_sends(now, out)
            case At.FLUSHING:
                return self._look_at_flush(now, out)
            case At.CALLING:
                assert self.call is not None
                if not self.call.look(now):
                    return False
                self._returned(self.call, now, out)
                return True
            case _:
                return False

    # Its steps.

    def _begin(self, now: Micros, out: list[Effect]) -> bool:
        """Its turn has come: records to send, or an end to make."""
        copying = self.copying
        if copying.aborts_now:
            if self.has_begun:
                self._abort(now, out)
            else:
                self._hand_back(Then.POLL, now, out)
            return True
        if not copying.to_send:
            self._end(now, out)
            return True
        if self.manager is not None and not self.has_begun:
            try:
                self.manager.begin()
            except IllegalState as illegal:
                self._tell("failed", out, call="begin", failure=illegal.failure)
                self._come_to_an_end(now, out)
                return True
            self.has_begun = True
            self._tell("begin", out)
            self._pause("send", now)
        else:
            self._send(now, out)
        return True

    def _do(self, now: Micros, out: list[Effect]) -> None:
        assert self.manager is not None
        copying, manager = self.copying, self.manager
        match self.about_to:
            case "send":
                self._send(now, out)
            case "send-offsets":
                place = (copying.member, copying.generation, copying.instance) if copying.habits.group_metadata else ("", -1, "")
                offsets = dict(sorted(copying.offsets.items()))
                self._call("send-offsets", lambda: manager.send_offsets(offsets, Group(copying.group, *place)), now)
            case "commit":
                self._call("commit", manager.commit, now)
            case _:
                self._call("abort", manager.abort, now)

    def _send(self, now: Micros, out: list[Effect]) -> None:
        copying = self.copying
        self.thread.refusal = "", ""
        before = self.producer.sending.offered
        for one in copying.to_send:
            made = range(before, before + len(one.records))
            before = made.stop
            copying.fed.feed(len(made), now)
            if one.producer:
                name = copying.habits.name
                out.append(Note(Processed(name, one.partition, one.base_offset, one.producer, one.records, self.producer.name, made)))
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
        self._end(now, out) if self.copying.is_due else self._hand_back(Then.POLL, now, out)
        return True

    def _forget_unsent(self) -> None:
        self.copying.fed.forget_after(self.thread.next)
        if isinstance(self.thread, TransactionalThread):
            self.thread.open(0)

    def _end(self, now: Micros, out: list[Effect]) -> None:
        if self.manager is None:
            self.at, self.flush = At.FLUSHING, self.producer.flush()
        else:
            self._tell("send-offsets", out)
            self._pause("send-offsets", now)

    def _look_at_flush(self, now: Micros, out: list[Effect]) -> bool:
        assert self.flush is not None
        if not self.flush.is_over:
            return False
        failed, self.has_failed = self.has_failed, False
        self._hand_back(Then.REWIND if failed else Then.COMMIT, now, out)
        return True

    def _abort(self, now: Micros, out: list[Effect]) -> None:
        self._tell("abort", out)
        self._pause("abort", now)

    def _pause(self, about_to: str, now: Micros) -> None:
        self.at, self.about_to, self.acts_from = At.ABOUT, about_to, now + 1

    def _call(self, name: str, begin: Callable[[], Result], now: Micros) -> None:
        assert self.manager is not None
        self.at = At.CALLING
        self.call = Call(self.manager, name, begin, now, self.producer.config.max_block_ms)

    def _returned(self, call: Call, now: Micros, out: list[Effect]) -> None:
        failure = call.failure
        if failure is None:
            self._succeeded(call.name, now, out)
            return
        self._tell("failed", out, call=call.name, failure=failure)
        assert self.manager is not None
        if call.name == "init":
            if call.timed_out or self.manager.state is State.UNINITIALIZED:
                self._call("init", self.manager.initialize, now)
            else:
                self._come_to_an_end(now, out)
        elif call.timed_out and call.name == "commit":
            self._call("commit", self.manager.commit, now)
        elif call.timed_out and call.name == "abort":
            self._call("abort", self.manager.abort, now)
        elif call.name != "abort" and failure.exception not in CANNOT_RECOVER:
            self._tell_offsets(failure.exception, out)
            self._abort(now, out)
        else:
            self._come_to_an_end(now, out)

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
                self._close_transaction(Then.POLL, now, out)
            case _:
                self._tell("aborted", out)
                self._close_transaction(Then.POLL if self.copying.aborts_now else Then.REWIND, now, out)

    def _close_transaction(self, then: Then, now: Micros, out: list[Effect]) -> None:
        self.has_begun = self.has_failed = False
        self.copying.over()
        self._hand_back(then, now, out)

    def _hand_back(self, then: Then, now: Micros, out: list[Effect]) -> None:
        del now
        self.at = At.WAITING
        self.copying.hand_back(then)
        out.append(Rouse(self.copying.habits.consumer))

    def _come_to_an_end(self, now: Micros, out: list[Effect]) -> None:
        """The producer is of no use any more, and so neither is the application: whoever runs it starts it again, or not."""
        self._forget_unsent()
        self._hand_back(Then.END, now, out)
        self.at = At.OVER

    def _tell(self, phase: str, out: list[Effect], *, call: str = "", failure: Failure | None = None) -> None:
        assert self.manager is not None
        error, text = (failure.exception, failure.text) if failure is not None else ("", "")
        offsets = tuple(sorted(self.copying.offsets.items())) if phase == "send-offsets" else ()
        group = self.copying.group if phase == "send-offsets" else ""
        out.append(Note(Transaction(self.producer.name, self.manager.number, phase, call, error, text, offsets, group)))

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
