"""What any application does with its transactional producer: it says what it is about to call, calls, and waits until the call returns.

Not Kafka's: the loop that KafkaProducer's documentation shows (initTransactions, beginTransaction, send, commitTransaction, abortTransaction),
and what a careful program does about each error: a call that timed out is repeated (T9); any other error ends with an abort, unless abort itself throws:
then the producer is of no use any more. librdkafka's errors say themselves which of the three it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Protocol

from ksim_models.facts import Transaction
from ksim_models.machine import Effect, Note
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_pending import Group
from ksim_models.transaction_states import Failure, IllegalState, Result, State
from ksim_models.units import NEVER, Micros, ms

CANNOT_RECOVER = ("ProducerFencedException", "UnsupportedVersionException", "IllegalStateException")
NONE: Mapping[str, int] = {}
NO_GROUP = Group("")
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


class Next(Enum):
    """What a careful program does about a call that failed."""

    REPEAT = auto()
    ABORT = auto()
    END = auto()
    """With this producer: it is of no use any more."""


class BlockingCall(ABC):
    """A call of either client that the application waits for. Whoever makes it sees to a turn of the client's thread."""

    def __init__(self, name: str) -> None:
        """name: "init", "commit", "abort" or "send-offsets"."""
        self.name = name
        self.gives_up_at: Micros = NEVER
        self.failure: Failure | None = None
        self.is_over = False

    @abstractmethod
    def look(self, now: Micros, out: list[Effect]) -> bool:
        """Has it returned?"""

    @property
    @abstractmethod
    def next(self) -> Next:
        """Where it failed."""


class TransactionalClient(Protocol):
    """A transactional producer of either client, as its application has it."""

    @property
    def number(self) -> int:
        """Of the transaction at hand, or the last one, from 1."""

    @property
    def has_error(self) -> bool: ...

    def begin(self) -> None:
        """Throws `IllegalState`."""

    def call(self, name: str, now: Micros, offsets: Mapping[str, int] = NONE, group: Group = NO_GROUP, epochs: Mapping[str, int] = NONE) -> BlockingCall: ...


class Call(BlockingCall):
    """Java's: it returns when its result is there, or throws a TimeoutException after max.block.ms, and what it began goes on (T9)."""

    def __init__(self, manager: TransactionManager, name: str, begin: Callable[[], Result], now: Micros, max_block_ms: int) -> None:
        super().__init__(name)
        self.manager = manager
        self.max_block_ms = max_block_ms
        self.gives_up_at = now + ms(max_block_ms)
        self.result: Result | None = None
        try:
            self.result = begin()
        except IllegalState as illegal:
            self.failure = illegal.failure
            self.is_over = True

    def look(self, now: Micros, out: list[Effect]) -> bool:
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

    @property
    def next(self) -> Next:
        failure, name = self.failure, self.name
        if (self.timed_out and name != "send-offsets") or (name == "init" and self.manager.state is State.UNINITIALIZED):
            return Next.REPEAT
        recovers = name in ("commit", "send-offsets") and failure is not None and failure.exception not in CANNOT_RECOVER
        return Next.ABORT if recovers else Next.END


class JavaClient:
    """The Java client's producer, as its application has it."""

    def __init__(self, manager: TransactionManager, max_block_ms: int) -> None:
        self.manager = manager
        self.max_block_ms = max_block_ms

    @property
    def number(self) -> int:
        return self.manager.number

    @property
    def has_error(self) -> bool:
        return self.manager.has_error

    def begin(self) -> None:
        self.manager.begin()

    def call(self, name: str, now: Micros, offsets: Mapping[str, int] = NONE, group: Group = NO_GROUP, epochs: Mapping[str, int] = NONE) -> Call:
        return Call(self.manager, name, self._beginning_of(name, offsets, group, epochs), now, self.max_block_ms)

    def _beginning_of(self, name: str, offsets: Mapping[str, int], group: Group, epochs: Mapping[str, int]) -> Callable[[], Result]:
        manager = self.manager
        calls = {"init": manager.initialize, "commit": manager.commit, "abort": manager.abort}
        return calls[name] if name in calls else lambda: manager.send_offsets(offsets, group, epochs)


class CallingThread(ABC):
    """The thread of an application that makes these calls, between its send()s."""

    begins_at: Micros = 0
    """When it calls initTransactions."""

    def __init__(self, producer: str, client: TransactionalClient | None) -> None:
        """client: None where the producer is not transactional: then nothing is called here."""
        self.producer = producer
        self.client = client
        self.at = At.WAITING if client is None else At.START
        self.acts_from: Micros = NEVER
        self.about_to = ""
        self.call: BlockingCall | None = None

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
            case At.CALLING if self.call is not None and self.call.look(now, out):
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
        assert self.client is not None
        try:
            self.client.begin()
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
        self.at, self.about_to, self.acts_from = At.ABOUT, about_to, now + 1 + self._held(about_to)

    def _held(self, about_to: str) -> Micros:
        """How long it is kept from that by whoever is about to strike it."""
        del about_to
        return 0

    def _call(self, name: str, now: Micros) -> None:
        assert self.client is not None
        self.at = At.CALLING
        self.call = self._make_call(self.client, name, now)

    def _make_call(self, client: TransactionalClient, name: str, now: Micros) -> BlockingCall:
        return client.call(name, now)

    def _returned(self, call: BlockingCall, now: Micros, out: list[Effect]) -> None:
        name, failure = call.name, call.failure
        if failure is None:
            self._succeeded(name, now, out)
            return
        self._tell("failed", out, call=name, failure=failure)
        match call.next:
            case Next.REPEAT:
                self._call(name, now)
            case Next.ABORT:
                self._give_up(failure, now, out)
            case Next.END:
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
        assert self.client is not None
        error, text = (failure.exception, failure.text) if failure is not None else ("", "")
        out.append(Note(Transaction(self.producer, self.client.number, phase, call, error, text, offsets, group)))
