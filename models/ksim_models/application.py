"""The application above a producer: threads that call send() when their time comes, and wait where send() blocks.

Kafka: KafkaProducer.doSend (A1 to A8), BuiltInPartitioner (KIP-794), DefaultPartitioner up to 3.2 (KIP-480). One thread per workload.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.machine import Dice
from ksim_models.units import NEVER, Micros


class Thread:
    __slots__ = ("arrivals", "blocked_on", "free_at", "index", "next", "number", "outstanding", "patience_ends", "sent_at", "steady")

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

    def fork(self) -> Sticky:
        """To try out what it will do."""
        other = Sticky(self.producer, self.topic, self.dice)
        other.partition, other.bytes, other.switches = self.partition, self.bytes, self.switches
        return other

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
