"""The producer's half of a copying application: it sends what was read, and ends transactions, or flushes.

Not Kafka's. What it does about errors is what a careful program does: a call that timed out is repeated; whatever else goes wrong in a transaction
ends it with an abort, and what was read is read again; a producer that is fenced, or of no use any more, ends the application.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ksim_models.application import Application, TransactionalThread
from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableProducer
from ksim_models.config import ProducerConfig
from ksim_models.consumer_facts import CommittedOffset, Processed
from ksim_models.copying import Copying, Fed, Then, Turn
from ksim_models.facts import Failed, Refused
from ksim_models.machine import Dice, Effect, Event, Exit, Note, Restarted, Rouse, Terminated, Wake
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_pending import Group
from ksim_models.transaction_states import Failure
from ksim_models.transactional_calls import At, BlockingCall, CallingThread, JavaClient, TransactionalClient
from ksim_models.transactional_send import API_EXCEPTIONS
from ksim_models.units import Micros


class Flushing(Protocol):
    @property
    def is_over(self) -> bool: ...


class Writer(Protocol):
    """A producer of either client, as this application has it."""

    name: str

    @property
    def sending(self) -> Application: ...

    def flush(self) -> Flushing: ...


class CopyingSession(CallingThread):
    """What its thread does while it is the producer's turn."""

    def __init__(self, producer: Writer, client: TransactionalClient | None, copying: Copying) -> None:
        """client: None where the producer is not transactional."""
        super().__init__(producer.name, client)
        self.writer = producer
        self.copying = copying
        self.thread = producer.sending.threads[-1]
        if isinstance(self.thread, TransactionalThread):
            self.thread.is_over = True  # Between two transactions nothing is left to do, as far as anybody can tell.
        self.flush: Flushing | None = None
        self.has_begun = False
        """A transaction is open."""
        self.has_failed = False
        """A send has, since the last commit."""

    @property
    def is_over(self) -> bool:
        return self.at is At.OVER or (self.at in (At.START, At.WAITING) and self.copying.turn is Turn.CONSUMER and not self.copying.is_open)

    # Its steps.

    def _held(self, about_to: str) -> Micros:
        return self.copying.holds.get((self.client.number if self.client is not None else 0, "begin" if about_to == "send" else about_to), 0)

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
            copying.over()  # Nothing to take back: what was written stays written, and is written again by whoever has the partitions now.
            self._hand_back(Then.POLL, out)
        elif not copying.to_send:
            self._end(now, out)
        elif self.client is None or self.has_begun:
            self._send(now, out)
        elif self._begin(out):
            self.has_begun = True
            self._pause("send", now)

    def _make_call(self, client: TransactionalClient, name: str, now: Micros) -> BlockingCall:
        if name != "send-offsets":
            return super()._make_call(client, name, now)
        copying = self.copying
        place = (copying.member, copying.generation, copying.instance) if copying.habits.group_metadata else ("", -1, "")
        return client.call(name, now, dict(sorted(copying.offsets.items())), Group(copying.group, *place), dict(copying.epochs))

    def _send(self, now: Micros, out: list[Effect]) -> None:
        copying = self.copying
        self.thread.refusal = "", ""
        before = self.writer.sending.offered
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
        if self.client is not None and error and error not in API_EXCEPTIONS:  # Thrown: the thread has left its loop.
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
        if self.client is None:
            self.at, self.flush = At.FLUSHING, self.writer.flush()
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
        assert self.client is not None
        copying, number = self.copying, self.client.number
        out.append(Note(CommittedOffset(copying.habits.consumer, copying.group, tuple(sorted(copying.offsets.items())), error, number)))


class Half(Writer, Protocol):
    """The producer's half of the process, of either client."""

    alive: bool
    copying_session: CopyingSession


class CopyingProcess:
    """What there is to be done around the producer's own handling of an event: it shares its process with a consumer."""

    def __init__(self, workloads: Sequence[Arrivals]) -> None:
        fed = workloads[-1]
        assert isinstance(fed, Fed)
        self.copying = fed.copying
        self.asked_to_end: Terminated | None = None

    def handle(self, half: Half, event: Event, now: Micros, handle: Callable[[Event, Micros], list[Effect]]) -> list[Effect]:
        copying = self.copying
        if type(event) is Restarted and not half.alive:
            copying.fed.forget_after(half.sending.threads[-1].next)
            copying.begin_anew()
        out = handle(self._in_turn(event), now)
        if not half.alive and any(isinstance(effect, Exit) for effect in out):
            copying.writer_closed = True
            out.insert(0, Rouse(copying.habits.consumer))
        self.notice_failures(half, out)
        return out

    def notice_failures(self, half: Half, out: Sequence[Effect]) -> None:
        if any(isinstance(effect, Note) and isinstance(effect.fact, Failed | Refused) for effect in out):
            half.copying_session.has_failed = True

    def _in_turn(self, event: Event) -> Event:
        """The consumer is closed first."""
        if isinstance(event, Terminated):
            self.asked_to_end, event = event, Wake()
        if self.asked_to_end is not None and self.copying.reader_closed and isinstance(event, Wake):
            event, self.asked_to_end = self.asked_to_end, None
        return event


class CopyingProducer(ClosableProducer):
    def __init__(self, name: str, profile: ClientProfile, config: ProducerConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        super().__init__(name, profile, config, bootstrap, workloads, dice)
        self.process = CopyingProcess(workloads)
        client = JavaClient(self.transactions, config.max_block_ms) if self.transactions is not None else None
        self.copying_session = CopyingSession(self, client, self.process.copying)
        self.session = self.copying_session

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        return self.process.handle(self, event, now, super().handle)
