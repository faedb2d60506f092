"""The application above a producer: threads that call send() when their time comes, and wait where send() blocks.

Kafka: KafkaProducer.doSend (A1 to A8). One thread per workload.
"""

from __future__ import annotations

from collections import deque

from ksim_models.arrivals import Arrivals
from ksim_models.on_failure import Breaker, Reaction
from ksim_models.units import NEVER, Micros


class Thread:
    __slots__ = (
        "again",
        "arrivals",
        "blocked_on",
        "breaker",
        "chosen",
        "due_at",
        "due_of",
        "free_at",
        "gave_up",
        "index",
        "next",
        "number",
        "on_failure",
        "one_by_one",
        "outstanding",
        "patience_ends",
        "reacts",
        "record",
        "sent_at",
        "steady",
        "stopped",
        "waits_for_each",
    )

    def __init__(self, index: int, arrivals: Arrivals, producer: str = "") -> None:
        self.index = index
        self.arrivals = arrivals
        self.next = 0
        """The next record of its workload."""
        self.due_of = -1
        self.due_at: Micros = 0
        """When record `due_of` has its time: each turn asks for the same one several times."""
        self.free_at: Micros = -(2**62)
        """When the last send() returned."""
        self.outstanding = 0
        self.blocked_on = ""
        """"metadata" or "memory" while send() has not returned."""
        self.chosen = ""
        """The partition that was chosen for the record whose send() waits for memory; that choice stands (A6)."""
        self.number = -1
        """The producer's number of the record whose send() is blocked."""
        self.record = -1
        """The index in its workload of the record whose send() was called last."""
        self.sent_at: Micros = 0
        """When that send() was called."""
        self.patience_ends: Micros = 0
        """When it gives up: max.block.ms after the call (A4)."""
        self.on_failure = arrivals.on_failure
        self.reacts = self.on_failure.reaction is not Reaction.REPORT
        self.breaker = Breaker(producer, arrivals.workload, self.on_failure) if self.on_failure.reaction is Reaction.BREAK else None
        self.waits_for_each = arrivals.window == 1
        """send().get(): the thread itself learns the outcome, before its next record."""
        self.again: deque[tuple[int, int]] = deque()
        """Records whose send failed, by number and index: the next thing it sends."""
        self.stopped = False
        """It sends nothing more; what it had not handed over is never offered."""
        self.gave_up = False
        """It stopped because a send failed, so another process will not go on either."""
        self.one_by_one = arrivals.window is not None or self.reacts or bool(arrivals.flaws)
        """What becomes of one record bears on the next, or one of them is not like the others."""
        self.steady = arrivals.size is not None and not arrivals.keyed and not self.one_by_one
        """Its records are alike and depend on no outcome, so a whole range of them can be taken at once."""

    def next_time(self) -> Micros:
        """When the next send() is called; NEVER if there is none, or not before something else happens."""
        arrivals = self.arrivals
        if self.again and not self.blocked_on:
            return self.free_at
        if self.blocked_on or self.stopped or self.next >= arrivals.total or (arrivals.window is not None and self.outstanding >= arrivals.window):
            return NEVER
        if self.due_of != self.next:
            self.due_of, self.due_at = self.next, arrivals.time_of(self.next)
        return self.due_at if self.due_at > self.free_at else self.free_at

    @property
    def has_offered(self) -> bool:
        """Everything it will ever hand over."""
        return self.stopped or self.next >= self.arrivals.total

    @property
    def is_done(self) -> bool:
        return self.has_offered and not self.blocked_on and not self.again
