"""The application above a producer: threads that call send() when their time comes, and wait where send() blocks.

Kafka: KafkaProducer.doSend (A1 to A8). One thread per workload.
"""

from __future__ import annotations

from ksim_models.arrivals import Arrivals
from ksim_models.units import NEVER, Micros


class Thread:
    __slots__ = ("arrivals", "blocked_on", "chosen", "free_at", "index", "next", "number", "outstanding", "patience_ends", "sent_at", "steady")

    def __init__(self, index: int, arrivals: Arrivals) -> None:
        self.index = index
        self.arrivals = arrivals
        self.next = 0
        """The next record of its workload."""
        self.free_at: Micros = -(2**62)
        """When the last send() returned."""
        self.outstanding = 0
        self.blocked_on = ""
        """"metadata" or "memory" while send() has not returned."""
        self.chosen = ""
        """The partition that was chosen for the record whose send() waits for memory; that choice stands (A6)."""
        self.number = -1
        """The producer's number of the record whose send() is blocked."""
        self.sent_at: Micros = 0
        """When that send() was called."""
        self.patience_ends: Micros = 0
        """When it gives up: max.block.ms after the call (A4)."""
        self.steady = arrivals.size is not None and arrivals.window is None and not arrivals.keyed
        """Its records are alike and depend on no outcome, so a whole range of them can be taken at once."""

    def next_time(self) -> Micros:
        """When the next send() is called; NEVER if there is none, or not before something else happens."""
        arrivals = self.arrivals
        if self.blocked_on or self.next >= arrivals.total or (arrivals.window is not None and self.outstanding >= arrivals.window):
            return NEVER
        at = arrivals.time_of(self.next)
        return at if at > self.free_at else self.free_at

    @property
    def is_done(self) -> bool:
        return self.next >= self.arrivals.total and not self.blocked_on
