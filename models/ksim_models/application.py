"""The application above a producer: threads that call send() when their time comes, and wait where send() blocks.

Kafka: KafkaProducer.doSend (A1 to A8); rd_kafka_produce in librdkafka. One thread per workload.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.arrivals import Arrivals, Outbox
from ksim_models.facts import Marked, Offered, Refused
from ksim_models.machine import Effect, Note
from ksim_models.on_failure import BREAKER_OPEN, BREAKER_OPEN_TEXT, Breaker, Reaction
from ksim_models.units import LONG_AGO, NEVER, Micros


class Thread:
    __slots__ = (
        "again",
        "arrivals",
        "asks_for",
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
        "refusal",
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
        self.free_at: Micros = LONG_AGO
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
        self.asks_for = 0, 0
        """Bytes that a send() waits for, and for how many milliseconds it waits for them."""
        self.refusal = "", ""
        """Of a transactional producer: what the last send() that failed by itself threw or returned, until its application has seen it."""
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


class TransactionalThread(Thread):
    """It sends so many records, and then waits for the end of their transaction."""

    __slots__ = ("again_at_first", "in_vain", "is_over", "next_at_first", "quota")

    def __init__(self, index: int, arrivals: Arrivals, producer: str = "") -> None:
        super().__init__(index, arrivals, producer)
        self.reacts = self.steady = False  # What it does about a failure it does about the whole transaction.
        self.breaker = None
        self.one_by_one = True
        self.quota = 0
        """How many records it may send: 0 while no transaction is open."""
        self.next_at_first = self.again_at_first = 0
        self.is_over = False
        """Its last transaction has ended."""
        self.in_vain = False
        """Its producer is of no use any more: whatever it sends is refused."""

    def open(self, quota: int) -> None:
        self.quota, self.next_at_first, self.again_at_first = quota, self.next, len(self.again)

    def leave_loop(self, error: str, text: str) -> None:
        """send() threw: no more of this transaction."""
        self.refusal = error, text
        if not self.in_vain:
            self.quota = self.sends

    @property
    def sends(self) -> int:
        """Since it was opened."""
        return self.next - self.next_at_first + self.again_at_first - len(self.again)

    def next_time(self) -> Micros:
        return super().next_time() if self.sends < self.quota else NEVER

    def is_due_at(self) -> Micros:
        """When it would send the next record, transaction or not."""
        return super().next_time()

    @property
    def is_done(self) -> bool:
        return super().is_done and (self.is_over or self.stopped)


class OutboxThread(Thread):
    """The relay of an outbox: it looks into the table, sends the rows that are not marked, waits for all outcomes, and marks those that were acknowledged.

    A row whose send failed stays unmarked, and is sent again in the next round; so is one that was acknowledged and not yet marked when the process died.
    Simplified: the look takes no time, and what the database was about to commit when the process died is not committed.
    """

    __slots__ = ("acked", "looks_at", "marks_at", "outbox", "producer", "rows", "upto", "waits_for")

    def __init__(self, index: int, arrivals: Arrivals, producer: str, outbox: Outbox) -> None:
        super().__init__(index, arrivals, producer)
        self.reacts = self.one_by_one = True
        self.steady = False
        self.producer = producer
        self.outbox = outbox
        self.rows: list[tuple[int, int]] = []
        """Those that were handed over and are not marked: the producer's number, and the row's index."""
        self.acked: list[int] = []
        """The numbers of those that this round is about to mark."""
        self.upto = 0
        """New rows of this round end here."""
        self.waits_for = 0
        """Rows of this round without an outcome."""
        self.looks_at: Micros = 0
        """When it looks next, between two rounds."""
        self.marks_at: Micros = NEVER
        """When the database will have committed the marks."""

    def next_time(self) -> Micros:
        if self.blocked_on or self.stopped:
            return NEVER
        if self.waits_for:
            return self.free_at if self.again or self.next < self.upto else NEVER
        return self.marks_at if self.marks_at < NEVER else self._finds_rows_at()

    def _finds_rows_at(self) -> Micros:
        if self.rows:
            return self.looks_at
        if self.next >= self.arrivals.total:
            return NEVER
        late = self.arrivals.time_of(self.next) - self.looks_at
        return self.looks_at + max(0, -(-late // self.outbox.every)) * self.outbox.every

    def go_on(self, now: Micros, out: list[Effect]) -> None:
        """The marks are committed; the table is looked into."""
        if self.marks_at <= now:
            self._mark(now, out)
        if self.stopped or self.waits_for or self.marks_at < NEVER:
            return
        at = max(self._finds_rows_at(), self.free_at)
        if at <= now:
            self.again.extend(self.rows[: self.outbox.batch])
            self.upto = max(self.next, min(self.next + self.outbox.batch - len(self.again), self.arrivals.count_until(at)))
            self.waits_for = len(self.again) + self.upto - self.next
            self.free_at = at

    def handed_over(self, number: int, index: int) -> None:
        if (number, index) not in self.rows:
            self.rows.append((number, index))

    def ended(self, number: int, now: Micros, out: list[Effect], *, acked: bool) -> None:
        """A row of this round has its outcome."""
        self.waits_for -= 1
        if acked:
            self.acked.append(number)
        if self.waits_for:
            return
        self.looks_at = now + self.outbox.every
        if self.acked and self.outbox.mark:
            self.marks_at = now + self.outbox.mark
        elif self.acked:
            self._mark(now, out)

    def _mark(self, now: Micros, out: list[Effect]) -> None:
        numbers = sorted(self.acked)
        records = range(numbers[0], numbers[-1] + 1) if numbers[-1] - numbers[0] < len(numbers) else tuple(numbers)
        out.append(Note(Marked(self.producer, self.arrivals.workload, records)))
        self._forget_acked()
        self.marks_at, self.looks_at = NEVER, now + self.outbox.every

    def _forget_acked(self) -> None:
        acked = frozenset(self.acked)
        self.rows = [row for row in self.rows if row[0] not in acked]
        self.acked = []

    def find_table_of(self, before: OutboxThread, now: Micros, *, ended_in_order: bool) -> None:
        """Another process, the same table. One that ends in order marks what it knows of first."""
        if ended_in_order:
            before._forget_acked()
        self.rows, self.looks_at = before.rows, now
        if before.blocked_on:
            self.handed_over(before.number, before.record)

    @property
    def is_done(self) -> bool:
        return self.stopped or (super().is_done and not self.rows)


def thread_of(index: int, arrivals: Arrivals, producer: str) -> Thread:
    if arrivals.outbox is not None:
        return OutboxThread(index, arrivals, producer, arrivals.outbox)
    return (Thread if arrivals.transaction is None else TransactionalThread)(index, arrivals, producer)


class Application:
    """The threads above one producer, of either client, and the numbers of the records that they hand over."""

    def __init__(self, producer: str, workloads: Sequence[Arrivals]) -> None:
        self.producer = producer
        self.threads = [thread_of(index, arrivals, producer) for index, arrivals in enumerate(workloads)]
        self.outboxes = [thread for thread in self.threads if isinstance(thread, OutboxThread)]
        self.ended_in_order = False
        """It was asked to stop."""
        self.awake = list(self.threads)
        """All but those whose warm-up is over."""
        self.offered = 0
        """Records handed over so far: the number of the next one. Those of the warm-up have negative numbers and are no part of the history."""
        self.warmed_up = 0

    @property
    def is_done(self) -> bool:
        return all(thread.is_done for thread in self.threads)

    @property
    def all_offered(self) -> bool:
        return all(thread.has_offered for thread in self.threads)

    def first_due(self, now: Micros) -> tuple[Thread, Micros] | None:
        first: tuple[Thread, Micros] | None = None
        for thread in self.awake:
            due = thread.next_time()
            if due <= now and (first is None or due < first[1]):
                first = thread, due
        return first

    def call(self, thread: Thread, at: Micros) -> None:
        """send() is called: the record gets its number, unless it had one before."""
        thread.sent_at = at
        if thread.again:
            thread.number, thread.record = thread.again.popleft()
            return
        thread.record = thread.next
        thread.next += 1
        if thread.arrivals.warm_up:
            self.warmed_up += 1
            thread.number = -self.warmed_up
        else:
            thread.number = self.offered
            self.offered += 1

    def lets_through(self, thread: Thread, at: Micros, out: list[Effect]) -> bool:
        """What the application's circuit breaker refuses never reaches the client."""
        if thread.breaker is None or thread.breaker.lets_through(thread.number, at, out):
            return True
        self.tell_refused(thread, BREAKER_OPEN, BREAKER_OPEN_TEXT, out)
        return False

    def tell_offered(self, thread: Thread, out: list[Effect]) -> None:
        """The record whose send() was called last, where it gets into no batch."""
        if thread.number >= 0:
            out.append(Note(Offered(self.producer, range(thread.number, thread.number + 1), thread.sent_at, 0)))

    def tell_refused(self, thread: Thread, error: str, text: str, out: list[Effect]) -> None:
        self.tell_offered(thread, out)
        if thread.number >= 0:
            out.append(Note(Refused(self.producer, range(thread.number, thread.number + 1), error, text)))

    def let_sleep(self) -> None:
        """Those whose warm-up is over."""
        self.awake = [thread for thread in self.awake if not (thread.arrivals.warm_up and thread.is_done)]

    def stop(self) -> None:
        """Nothing more is handed over."""
        self.ended_in_order = True
        for thread in self.threads:
            thread.stopped = True
            thread.again.clear()

    def resumed(self, now: Micros) -> None:
        """The threads were frozen too: what they had to send meanwhile they send now."""
        for thread in self.threads:
            thread.free_at = now

    def go_on_from(self, before: Application, now: Micros) -> None:
        """Another process goes on where this one's application had come to: what fell due meanwhile is handed over now, as after a pause."""
        self.offered, self.warmed_up = before.offered, before.warmed_up
        for old, thread in zip(before.threads, self.threads, strict=True):
            thread.next, thread.stopped, thread.free_at = old.next, old.gave_up, now
            if isinstance(thread, OutboxThread) and isinstance(old, OutboxThread):
                thread.find_table_of(old, now, ended_in_order=before.ended_in_order)
        self.let_sleep()
