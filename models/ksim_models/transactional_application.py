"""The application of a transactional producer: it begins a transaction, sends its records, and ends it, again and again.

Not Kafka's: the loop that KafkaProducer's documentation shows (initTransactions, beginTransaction, send, commitTransaction, abortTransaction),
and what a careful program does about each error: a call that timed out is repeated (T9); any other error ends with an abort, unless abort itself throws:
then the producer is of no use any more, and whatever else is sent with it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from ksim_models.application import Application, TransactionalThread
from ksim_models.config import ProducerConfig
from ksim_models.facts import Transaction
from ksim_models.machine import Effect, Note
from ksim_models.on_failure import Reaction
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_states import Failure, IllegalState, Result, State
from ksim_models.transactional_send import API_EXCEPTIONS
from ksim_models.units import NEVER, Micros, ms

CANNOT_RECOVER = ("ProducerFencedException", "UnsupportedVersionException", "IllegalStateException")
TIMED_OUT = "Timeout expired after {}ms while awaiting {}"


class At(Enum):
    START = auto()
    BETWEEN = auto()
    SENDING = auto()
    THINKING = auto()
    ABOUT = auto()
    """It has said what it is about to call; it calls a microsecond later: a fault that waits for this moment comes in between."""
    CALLING = auto()
    OVER = auto()


class Call:
    """One blocking call: it returns when its result is there, or throws a TimeoutException after max.block.ms, and what it began goes on (T9)."""

    __slots__ = ("failure", "gives_up_at", "is_over", "manager", "max_block_ms", "name", "result")

    def __init__(self, manager: TransactionManager, name: str, begin: Callable[[], Result], now: Micros, max_block_ms: int) -> None:
        """name: "init", "commit", "abort" or "send-offsets". Whoever makes it sees to a turn of the I/O thread."""
        self.manager = manager
        self.name = name
        self.max_block_ms = max_block_ms
        self.gives_up_at = now + ms(max_block_ms)
        self.failure: Failure | None = None
        self.is_over = False
        self.result: Result | None = None
        try:
            self.result = begin()
        except IllegalState as illegal:
            self.failure = illegal.failure
            self.is_over = True

    def look(self, now: Micros) -> bool:
        """Has it returned?"""
        result = self.result
        if self.is_over or result is None:
            return True
        if result.is_completed:
            result.is_acked = self.is_over = True
            self.failure = result.failure
            if self.name == "init" and self.failure is None:
                self.manager.read_features(at_first=True)
        elif now >= self.gives_up_at:
            self.is_over = True
            self.failure = Failure("TimeoutException", TIMED_OUT.format(self.max_block_ms, result.operation), retriable=True)
        return self.is_over

    @property
    def timed_out(self) -> bool:
        """It may still come to its end, and must be repeated."""
        return self.failure is not None and self.result is not None and not self.result.is_completed


class AnySession(Protocol):
    """What an application does with its producer between its send()s."""

    @property
    def is_over(self) -> bool: ...
    @property
    def wake_at(self) -> Micros: ...
    def step(self, now: Micros, out: list[Effect]) -> bool:
        """What it does next, as far as nothing holds it up. True: there is something for the I/O thread to do."""
        ...

    def close(self) -> None: ...


class Session:
    """One thread of the application, and the transactions that it goes through."""

    def __init__(self, producer: str, thread: TransactionalThread, manager: TransactionManager, config: ProducerConfig) -> None:
        plan = thread.arrivals.transaction
        assert plan is not None
        self.producer = producer
        self.thread = thread
        self.manager = manager
        self.plan = plan
        self.max_block_ms = config.max_block_ms
        self.at = At.START
        self.acts_from: Micros = NEVER
        self.about_to = ""
        self.call: Call | None = None
        self.thinks_until: Micros = NEVER
        self.wanted_abort = False
        self.offered_from = 0
        self.resent: list[tuple[int, int]] = []

    @property
    def is_over(self) -> bool:
        return self.thread.is_done

    @property
    def wake_at(self) -> Micros:
        match self.at:
            case At.START:
                return self.plan.begins_at
            case At.BETWEEN:
                return self.thread.is_due_at()
            case At.THINKING:
                return self.thinks_until
            case At.ABOUT:
                return self.acts_from
            case At.CALLING:
                return self.call.gives_up_at if self.call is not None else NEVER
            case _:
                return NEVER

    def step(self, now: Micros, out: list[Effect]) -> bool:
        """What the application does next, as far as nothing holds it up. True: there is something for the I/O thread to do."""
        acted = False
        while self._act(now, out):
            acted = True
        return acted

    def _act(self, now: Micros, out: list[Effect]) -> bool:
        match self.at:
            case At.START:
                if now < self.plan.begins_at:
                    return False
                self._call("init", now)
                return True
            case At.BETWEEN:
                return self._begin_if_due(now, out)
            case At.SENDING:
                return self._look_at_sends(now, out)
            case At.THINKING:
                if now < self.thinks_until:
                    return False
                self._end(now, out)
                return True
            case At.ABOUT:
                if now < self.acts_from:
                    return False
                if self.about_to == "send":
                    self.at = At.SENDING
                    self.thread.open(self.plan.records)
                else:
                    self._call(self.about_to, now)
                return True
            case At.CALLING:
                assert self.call is not None
                if not self.call.look(now):
                    return False
                self._returned(self.call, now, out)
                return True
            case _:
                return False

    def close(self) -> None:
        """The application ends; what it waits for it still hears of, and its open transaction is left to close()."""
        if self.at is not At.CALLING:
            self.at = At.OVER
        self.thread.is_over = True
        self.thread.quota = 0

    # Its steps.

    def _begin_if_due(self, now: Micros, out: list[Effect]) -> bool:
        thread = self.thread
        if thread.is_over:
            return False
        if thread.is_due_at() > now:
            thread.is_over = thread.is_over or (thread.has_offered and not thread.again)
            return False
        try:
            self.manager.begin()
        except IllegalState as illegal:
            self._tell("failed", out, call="begin", failure=illegal.failure)
            self._come_to_an_end()
            return True
        self._tell("begin", out)
        self.offered_from = thread.next
        self.resent = list(thread.again)
        thread.refusal = "", ""
        self._pause("send", now)
        return True

    def _look_at_sends(self, now: Micros, out: list[Effect]) -> bool:
        thread = self.thread
        if thread.blocked_on:
            return False
        error = thread.refusal[0]
        if error and error not in API_EXCEPTIONS:  # Thrown: the thread has left its loop.
            self._abort(now, out)
            return True
        if thread.waits_for_each and (self.manager.has_error or error):  # So has one that waits for the outcome of each.
            self._abort(now, out)
            return True
        if thread.sends < thread.quota and not (thread.has_offered and not thread.again):
            return False
        if thread.waits_for_each and thread.outstanding:
            return False
        self.at, self.thinks_until = At.THINKING, now + self.plan.think
        return True

    def _end(self, now: Micros, out: list[Effect]) -> None:
        every = self.plan.abort_every
        if self.plan.commits and not (every and self.manager.number % every == 0):
            self._tell("commit", out)
            self._pause("commit", now)
        else:
            self._abort(now, out, wanted=True)

    def _abort(self, now: Micros, out: list[Effect], *, wanted: bool = False) -> None:
        self.wanted_abort = wanted
        self.thread.quota = 0
        self._tell("abort", out)
        self._pause("abort", now)

    def _pause(self, about_to: str, now: Micros) -> None:
        self.at, self.about_to, self.acts_from = At.ABOUT, about_to, now + 1

    def _call(self, name: str, now: Micros) -> None:
        begin = {"init": self.manager.initialize, "commit": self.manager.commit, "abort": self.manager.abort}[name]
        self.thread.quota = 0
        self.at = At.CALLING
        self.call = Call(self.manager, name, begin, now, self.max_block_ms)

    def _returned(self, call: Call, now: Micros, out: list[Effect]) -> None:
        thread = self.thread
        thread.free_at = now
        failure = call.failure
        if failure is None:
            self.at = At.BETWEEN
            if call.name == "commit":
                self._tell("committed", out)
            elif call.name == "abort":
                self._tell("aborted", out)
                self._go_on_behind_an_abort()
            return
        self._tell("failed", out, call=call.name, failure=failure)
        if call.timed_out:
            self._call(call.name, now)
        elif call.name == "commit" and failure.exception not in CANNOT_RECOVER:
            self._abort(now, out)
        elif call.name == "init" and self.manager.state is State.UNINITIALIZED:
            self._call("init", now)
        else:
            self._come_to_an_end()

    def _go_on_behind_an_abort(self) -> None:
        thread = self.thread
        if self.wanted_abort or thread.on_failure.reaction is Reaction.REPORT:
            return
        if thread.on_failure.reaction is Reaction.STOP:
            thread.stopped = thread.gave_up = True
        elif thread.on_failure.reaction is Reaction.RESEND:
            mine = range(self.offered_from, thread.next)
            thread.again.clear()
            thread.again.extend([*self.resent, *((number, number) for number in mine)])

    def _come_to_an_end(self) -> None:
        """Nothing can be done with this producer any more: what the application sends with it is refused."""
        self.at = At.OVER
        self.thread.is_over = True
        self.thread.again.clear()
        self.thread.open(self.thread.arrivals.total + 1)

    def _tell(self, phase: str, out: list[Effect], *, call: str = "", failure: Failure | None = None) -> None:
        error, text = (failure.exception, failure.text) if failure is not None else ("", "")
        out.append(Note(Transaction(self.producer, self.manager.number, phase, call, error, text)))


def session_of(application: Application, manager: TransactionManager, config: ProducerConfig) -> Session | None:
    """A producer's application has one thread that goes through transactions, or none."""
    for thread in application.threads:
        if isinstance(thread, TransactionalThread):
            return Session(application.producer, thread, manager, config)
    return None
