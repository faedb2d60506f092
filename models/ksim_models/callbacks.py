"""send() called by a callback, on the I/O thread: where it has to wait for memory, the whole client waits, for nobody else gives memory back.

Kafka: Sender.failBatch runs the callbacks of a batch before it returns the batch's memory (S13, S18); BufferPool.allocate blocks whoever calls it (A20, A22).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from ksim_models.application import Thread
from ksim_models.machine import Effect
from ksim_models.refusals import CLOSED_BEFORE, CLOSED_WHILE_ALLOCATING, Refusal
from ksim_models.units import NEVER, Micros


class Sending(Protocol):
    producer: str
    max_block: Micros

    def send_one(self, thread: Thread, now: Micros, out: list[Effect], *, blocked_before: bool = False) -> None: ...
    def unblock(self, thread: Thread) -> None: ...
    def refuse(self, thread: Thread, error: str, text: str, now: Micros, out: list[Effect]) -> None: ...
    def impatience(self, thread: Thread) -> tuple[str, str]: ...
    def tell_offered(self, thread: Thread, out: list[Effect]) -> None: ...


@dataclass(slots=True)
class Held:
    """A send() inside a callback that will end in vain."""

    thread: Thread
    waits_for: str
    refusal: Refusal


class Callbacks:
    """Simplified: the failures of one turn are told at its moment, and what else the turn sends is sent, before the thread is held up."""

    def __init__(self, sending: Sending) -> None:
        self.sending = sending
        self.held: deque[Held] = deque()

    @property
    def held_until(self) -> Micros:
        """The next moment at which a held-up send() gives up; NEVER while the I/O thread is free."""
        return self.held[0].thread.patience_ends if self.held else NEVER

    def send_again(self, thread: Thread, index: int, number: int, now: Micros, out: list[Effect]) -> None:
        """By the callback of this record's failed send. The callbacks behind one that is held up come when it has given up."""
        at = self.held[-1].thread.patience_ends if self.held else now
        caller = Thread(thread.index, thread.arrivals, self.sending.producer)
        caller.number, caller.record = number, index
        caller.sent_at, caller.patience_ends = at, at + self.sending.max_block
        self.sending.send_one(caller, at, out)
        thread.outstanding += caller.outstanding
        if caller.blocked_on:
            self.held.append(Held(caller, caller.blocked_on, self.sending.impatience(caller)))
            self.sending.unblock(caller)

    def release(self, now: Micros, out: list[Effect]) -> None:
        """Those whose patience has ended."""
        while self.held and self.held[0].thread.patience_ends <= now:
            held = self.held.popleft()
            self.sending.refuse(held.thread, *held.refusal, now, out)

    def close(self, now: Micros) -> None:
        """A54: close() ends the wait for memory at once, and the callbacks behind it find the producer closed (A2)."""
        ends = now
        for place, held in enumerate(self.held):
            if place:
                held.thread.sent_at = held.thread.patience_ends = ends
                held.refusal = CLOSED_BEFORE
            elif held.waits_for == "memory":
                held.thread.patience_ends = now
                held.refusal = CLOSED_WHILE_ALLOCATING
            ends = held.thread.patience_ends

    def close_books(self, out: list[Effect]) -> None:
        for held in list(self.held)[:1]:  # Those behind it had not been called.
            self.sending.tell_offered(held.thread, out)
