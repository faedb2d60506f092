"""What any application does with its transactional producer: it says what it is about to call, calls, and waits until the call returns.

Not Kafka's: the loop that KafkaProducer's documentation shows (initTransactions, beginTransaction, send, commitTransaction, abortTransaction),
and what a careful program does about each error: a call that timed out is repeated (T9); any other error ends with an abort, unless abort itself throws:
then the producer is of no use any more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto

from ksim_models.facts import Transaction
from ksim_models.machine import Effect, Note
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_states import Failure, IllegalState, Result, State
from ksim_models.units import NEVER, Micros, ms

CANNOT_RECOVER = ("ProducerFencedException", "UnsupportedVersionException", "IllegalStateException")
TIMED_OUT = "Timeout expired after {}ms while awaiting {}"


class At(Enum):
    START = auto()
    WAITING = auto()
    """For its next transaction, or its turn."""
    SENDING = auto()
    THINKING = auto()
    FLUSHING = auto()
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


class CallingThread(ABC):
    """The thread of an application that makes these calls, between its send()s."""

    begins_at: Micros = 0
    """When it calls initTransactions."""

    def __init__(self, producer: str, manager: TransactionManager | None, max_block_ms: int) -> None:
        """manager: None where the producer is not transactional: then nothing is called here."""
        self.producer = producer
        self.manager = manager
        self.max_block_ms = max_block_ms
        self.at = At.WAITING if manager is None else At.START
        self.acts_from: Micros = NEVER
        self.about_to = ""
        self.call: Call | None = None

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Nothing is under way, and nothing is to come by itself."""

    @property
    def wake_at(self) -> Micros:
        match self.at:
            case At.START:
                return self.begins_at
            case At.ABOUT:
                return self.acts_from
            case At.CALLING if self.call is not None:
                return self.call.gives_up_at
            case _:
                return NEVER

    def close(self) -> None:
        """The application ends; what it waits for it still hears of, and its open transaction is left to close()."""
        if self.at is not At.CALLING:
            self.at = At.OVER

    def step(self, now: Micros, out: list[Effect]) -> bool:
        """What it does next, as far as nothing holds it up. True: there is something for the I/O thread to do."""
        acted = False
        while self._act(now, out):
            acted = True
        return acted

    def _act(self, now: Micros, out: list[Effect]) -> bool:
        match self.at:
            case At.START if now >= self.begins_at:
                self._call("init", now)
            case At.ABOUT if now >= self.acts_from and self.about_to == "send":
                self._send(now, out)
            case At.ABOUT if now >= self.acts_from:
                self._call(self.about_to, now)
            case At.CALLING if self.call is not None and self.call.look(now):
                self._returned(self.call, now, out)
            case _:
                return self._go_on(now, out)
        return True

    # Where the applications differ.

    @abstractmethod
    def _go_on(self, now: Micros, out: list[Effect]) -> bool:
        """Where it neither calls nor is about to: True if it did something."""

    @abstractmethod
    def _send(self, now: Micros, out: list[Effect]) -> None:
        """The transaction is open: now its records."""

    @abstractmethod
    def _succeeded(self, name: str, now: Micros, out: list[Effect]) -> None: ...

    @abstractmethod
    def _come_to_an_end(self, out: list[Effect]) -> None:
        """Nothing can be done with this producer any more."""

    # The calls.

    def _begin(self, out: list[Effect]) -> bool:
        """beginTransaction, which does not block. False: it threw."""
        assert self.manager is not None
        try:
            self.manager.begin()
        except IllegalState as illegal:
            self._tell("failed", out, call="begin", failure=illegal.failure)
            self._come_to_an_end(out)
            return False
        self._tell("begin", out)
        return True

    def _abort(self, now: Micros, out: list[Effect]) -> None:
        self._tell("abort", out)
        self._pause("abort", now)

    def _pause(self, about_to: str, now: Micros) -> None:
        self.at, self.about_to, self.acts_from = At.ABOUT, about_to, now + 1

    def _call(self, name: str, now: Micros) -> None:
        assert self.manager is not None
        self.at = At.CALLING
        self.call = Call(self.manager, name, self._beginning_of(name, self.manager), now, self.max_block_ms)

    def _beginning_of(self, name: str, manager: TransactionManager) -> Callable[[], Result]:
        return {"init": manager.initialize, "commit": manager.commit, "abort": manager.abort}[name]

    def _returned(self, call: Call, now: Micros, out: list[Effect]) -> None:
        assert self.manager is not None
        name, failure = call.name, call.failure
        if failure is None:
            self._succeeded(name, now, out)
            return
        self._tell("failed", out, call=name, failure=failure)
        if (call.timed_out and name != "send-offsets") or (name == "init" and self.manager.state is State.UNINITIALIZED):
            self._call(name, now)
        elif name in ("commit", "send-offsets") and failure.exception not in CANNOT_RECOVER:
            self._give_up(failure, now, out)
        else:
            self._come_to_an_end(out)

    def _give_up(self, failure: Failure, now: Micros, out: list[Effect]) -> None:
        """The transaction cannot be committed."""
        self._abort(now, out)

    def _tell(
        self,
        phase: str,
        out: list[Effect],
        *,
        call: str = "",
        failure: Failure | None = None,
        offsets: tuple[tuple[str, int], ...] = (),
        group: str = "",
    ) -> None:
        assert self.manager is not None
        error, text = (failure.exception, failure.text) if failure is not None else ("", "")
        out.append(Note(Transaction(self.producer, self.manager.number, phase, call, error, text, offsets, group)))
