"""An application that reads records, makes one of each, and writes them: what its one thread is at, between its consumer and its producer.

Not Kafka's: the consume-transform-produce loop of its documentation (KIP-98, KIP-447; ExactlyOnceMessageProcessor among its examples).
The offsets go into the transaction where the producer is transactional; else they are committed when everything is flushed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ksim_models.arrivals import Flaw, InTransactions, Outbox
from ksim_models.completed_fetch import Slice
from ksim_models.compression import DEFAULT_RATIO
from ksim_models.machine import Effect, Rouse
from ksim_models.on_failure import REPORT
from ksim_models.units import MILLISECOND, Micros

IDLE: Micros = 100 * MILLISECOND
"""As long as the application's poll() lasts: where it brings nothing, what is open is ended."""
NO_USE = "The application's producer is of no use any more."
ALL_IN_ONE = InTransactions(2**62)
"""How many records a transaction has is this application's own affair."""


@dataclass(frozen=True, slots=True)
class CopyHabits:
    name: str
    reads: str
    writes: str
    consumer: str
    producer: str
    commit_every: int = 1
    """After the poll() with which so many records have been read since the last commit."""
    size: int = 100
    transactional: bool = False
    group_metadata: bool = True
    """KIP-447: the offsets come with the consumer's place in its group, so that a member which the group has given up is fenced."""
    leader_epochs: bool = True
    """KIP-320: the offsets come with the leader epoch of the last record read, as those of commitSync() and ConsumerRecords.nextOffsets() do."""
    per_partition: tuple[tuple[str, str], ...] = ()
    """Each input partition and the producer that writes what comes of it, where each has one of its own; `producer` is then no machine."""

    @property
    def writers(self) -> tuple[str, ...]:
        return tuple(writer for _, writer in self.per_partition) or (self.producer,)


class Turn(Enum):
    CONSUMER = "it polls, or commits"
    PRODUCER = "it sends, or ends a transaction"


class Then(Enum):
    """What the consumer is to do when its turn comes."""

    POLL = "read on"
    COMMIT = "commitSync() of what was written"
    REWIND = "back to the committed offsets"
    END = "the application ends"


class Fed:
    """The records that the application makes: handed to send() when it has made them."""

    def __init__(self, habits: CopyHabits, workload: int) -> None:
        self.topic = habits.writes
        self.total = 0
        self.window: int | None = None
        self.size: int | None = habits.size
        self.compression_ratio = DEFAULT_RATIO
        self.compression_spread = 0
        self.partition: int | None = None
        self.keyed = False
        self.warm_up = False
        self.workload = workload
        self.on_failure = REPORT
        self.transaction = ALL_IN_ONE if habits.transactional else None
        self.outbox: Outbox | None = None
        self.flaws: dict[int, Flaw] = {}
        self.firsts: list[int] = []
        self.times: list[Micros] = []
        self.copying: Copying

    def feed(self, count: int, now: Micros) -> range:
        """So many more, now."""
        self.firsts.append(self.total)
        self.times.append(now)
        made = range(self.total, self.total + count)
        self.total += count
        return made

    def forget_after(self, count: int) -> None:
        """What a process had made and not handed over is gone with it."""
        self.total = count
        while self.firsts and self.firsts[-1] >= count:
            self.firsts.pop()
            self.times.pop()

    def time_of(self, index: int) -> Micros:
        return self.times[bisect_right(self.firsts, index) - 1]

    def count_until(self, now: Micros) -> int:
        place = bisect_right(self.times, now)
        return self.total if place == len(self.times) else self.firsts[place]

    def step_of(self, index: int, count: int) -> Micros | None:
        return 0 if self.time_of(index) == self.time_of(index + count - 1) else None

    def size_of(self, index: int) -> int:
        del index
        assert self.size is not None
        return self.size

    def key_of(self, index: int) -> int:
        raise AssertionError("no record has a key")

    def key_hash_of(self, index: int) -> int:
        raise AssertionError("no record has a key")


class Copying:
    """What the two halves of the process share."""

    def __init__(self, habits: CopyHabits, workload: int) -> None:
        self.habits = habits
        self.fed = Fed(habits, workload)
        self.fed.copying = self
        self.holds: dict[tuple[int, str], Micros] = {}
        """So long the step of a transaction lasts, by its number and what the step is called, where a fault strikes it from outside."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """A process starts: nothing is read, nothing is open."""
        self.turn = Turn.CONSUMER
        self.then = Then.POLL
        self.to_send: list[Slice] = []
        self.count = 0
        """Records read since the last commit."""
        self.offsets: dict[str, int] = {}
        """Of these: the next one of each partition."""
        self.epochs: dict[str, int] = {}
        self.ends_now = False
        """What is open is to be committed, however little it is."""
        self.aborts_now = False
        """Or given up: the partitions are another's already."""
        self.member = ""
        self.generation = -1
        self.instance = ""
        self.group = ""
        self.reader_closed = False
        """Asked to end, the process closes its consumer first, then its producer, and is gone when both are done."""
        self.writer_closed = False

    @property
    def is_open(self) -> bool:
        """Something was read that is not committed."""
        return self.count > 0

    def take(self, read: Sequence[Slice], epochs: dict[str, int]) -> None:
        """poll() returned these."""
        for one in read:
            self.count += len(one.records)
            self.offsets[one.partition] = one.base_offset + len(one.records)
        if self.habits.leader_epochs:
            self.epochs.update(epochs)
        self.to_send = list(read)
        self.turn = Turn.PRODUCER

    def finish(self, *, lost: bool) -> None:
        """Nothing more comes for now, or the partitions go to somebody else."""
        self.ends_now, self.aborts_now = not lost, lost
        self.turn = Turn.PRODUCER

    @property
    def is_due(self) -> bool:
        return self.ends_now or self.count >= self.habits.commit_every

    def over(self) -> None:
        """Committed, or given up."""
        self.count = 0
        self.offsets, self.epochs = {}, {}
        self.ends_now = self.aborts_now = False

    def hand_back(self, then: Then) -> None:
        self.turn, self.then = Turn.CONSUMER, then

    @property
    def reader_may_rest(self) -> bool:
        """The consumer's half has nothing open, and it is its turn."""
        return not self.is_open and self.turn is Turn.CONSUMER

    def reader_leaves(self, out: list[Effect]) -> bool:
        """Whether the process is gone with it: else the producer has to be closed too, and is told."""
        self.reader_closed = True
        if not self.writer_closed:
            out.append(Rouse(self.habits.producer))
        return self.writer_closed
