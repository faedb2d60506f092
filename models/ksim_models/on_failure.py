"""What the application does when a send of its fails: it reports, sends the record again, stops, or opens a circuit breaker.

Not Kafka's: what programs do in the callback of send(), or behind send().get() (scenario.md section 1, `on_failure`). Callbacks come in order (S18).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ksim_models.facts import BreakerChanged
from ksim_models.machine import Effect, Note
from ksim_models.units import Micros

BREAKER_OPEN = "CircuitBreakerOpenException"
BREAKER_OPEN_TEXT = "The application's circuit breaker is open."
NOBODY = -(2**62)


class Reaction(Enum):
    REPORT = "report"
    RESEND = "resend"
    STOP = "stop"
    BREAK = "break"


@dataclass(frozen=True, slots=True)
class OnFailure:
    """`on_failure` of a workload."""

    reaction: Reaction = Reaction.REPORT
    open_after: int = 0
    """So many failures in a row open the breaker."""
    half_open: Micros = 0
    """So long it is open before one record is tried."""


REPORT = OnFailure()


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """A circuit breaker around the send() of one workload.

    Closed: all passes, and failures in a row are counted, refusals by the client among them. Open: nothing reaches the client.
    Half-open: one record is tried; its outcome closes the breaker or opens it again. What was sent before the breaker opened decides nothing any more.
    """

    __slots__ = ("failures", "half_open", "open_after", "producer", "state", "trial", "until", "workload")

    def __init__(self, producer: str, workload: int, on_failure: OnFailure) -> None:
        self.producer = producer
        self.workload = workload
        self.open_after = on_failure.open_after
        self.half_open = on_failure.half_open
        self.state = State.CLOSED
        self.failures = 0
        self.until: Micros = 0
        """When an open breaker lets one record through."""
        self.trial = NOBODY
        """The record that is tried."""

    def lets_through(self, number: int, now: Micros, out: list[Effect]) -> bool:
        if self.state is State.CLOSED:
            return True
        if self.state is State.HALF_OPEN or now < self.until:
            return False
        self.trial = number
        self._become(State.HALF_OPEN, out)
        return True

    def succeeded(self, number: int, out: list[Effect]) -> None:
        if self.state is State.CLOSED:
            self.failures = 0
        elif number == self.trial:
            self.failures = 0
            self.trial = NOBODY
            self._become(State.CLOSED, out)

    def failed(self, number: int, now: Micros, out: list[Effect]) -> None:
        if self.state is State.CLOSED:
            self.failures += 1
            if self.failures < self.open_after:
                return
        elif number == self.trial:
            self.failures += 1
        else:
            return
        self.trial = NOBODY
        self.until = now + self.half_open
        self._become(State.OPEN, out)

    def _become(self, state: State, out: list[Effect]) -> None:
        self.state = state
        out.append(Note(BreakerChanged(self.producer, self.workload, state.value, self.failures)))
