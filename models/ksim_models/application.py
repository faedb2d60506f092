"""The application above a producer: threads that call send() when their time comes, and wait where send() blocks.

Kafka: KafkaProducer.doSend (A1 to A8), BuiltInPartitioner (KIP-794), DefaultPartitioner up to 3.2 (KIP-480). One thread per workload.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.machine import Dice
from ksim_models.on_failure import Breaker, Reaction
from ksim_models.units import NEVER, Micros


class Thread:
    __slots__ = (
        "again",
        "arrivals",
        "blocked_on",
        "breaker",
        "free_at",
        "gave_up",
        "index",
        "next",
        "number",
        "on_failure",
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
        self.free_at: Micros = -(2**62)
        """When the last send() returned."""
        self.outstanding = 0
        self.blocked_on = ""
        """"metadata" or "memory" while send() has not returned."""
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
        self.steady = arrivals.size is not None and arrivals.window is None and not arrivals.keyed and not self.reacts and not arrivals.flaws
        """Its records are alike and depend on no outcome, so a whole range of them can be taken at once."""

    def next_time(self) -> Micros:
        """When the next send() is called; NEVER if there is none, or not before something else happens."""
        arrivals = self.arrivals
        if self.again and not self.blocked_on:
            return self.free_at
        if self.blocked_on or self.has_offered or (arrivals.window is not None and self.outstanding >= arrivals.window):
            return NEVER
        at = arrivals.time_of(self.next)
        return at if at > self.free_at else self.free_at

    @property
    def has_offered(self) -> bool:
        """Everything it will ever hand over."""
        return self.stopped or self.next >= self.arrivals.total

    @property
    def is_done(self) -> bool:
        return self.has_offered and not self.blocked_on and not self.again


class Sticky:
    """Records without a key stick to one partition of their topic for a while."""

    __slots__ = ("bytes", "dice", "partition", "producer", "switches", "topic")

    def __init__(self, producer: str, topic: str, dice: Dice) -> None:
        self.producer = producer
        self.topic = topic
        self.dice = dice
        self.partition = ""
        self.bytes = 0
        self.switches = 0

    def switch(self, choices: Sequence[str]) -> str:
        """Uniform over the partitions with a leader, over all if none has one (A46). The draw may give the same again.

        Simplified: without the weights by queue size of adaptive partitioning (A46a).
        """
        draw = self.dice.at("sticky", self.producer, self.topic, self.switches)
        self.switches += 1
        self.bytes = 0
        self.partition = choices[int(draw * len(choices))]
        return self.partition

    def appended(self, size: int, batch_size: int, *, last_is_full: bool, choices: Sequence[str]) -> None:
        """By bytes: after batch.size of them once the batch is full, after twice as many in any case (KIP-794)."""
        self.bytes += size
        if (self.bytes >= batch_size and last_is_full) or self.bytes >= 2 * batch_size:
            self.switch(choices)
