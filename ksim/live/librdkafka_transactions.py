"""The application of a transactional producer of librdkafka: it begins a transaction, sends its records, and ends it, again and again.

Not Kafka's. `ksim_models.transactional_application` is the same course of events, simulated: same order, same answer to each kind of error
(`ksim_models.librdkafka_calls`). Transactions.java is its counterpart. The time-outs of the calls are confluent-kafka's default, -1.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

PROCEED = threading.Semaphore(0)
"""A step that is held goes on when the other end has said so: a fault comes in between."""


class Habits:
    """How it puts its records into transactions."""

    def __init__(self, words: Sequence[str]) -> None:
        """words: RECORDS END ABORT_EVERY THINK BEGINS_AT ON_FAILURE; times in us."""
        records, end, abort_every, think, begins_at, self.on_failure = words
        self.records, self.abort_every = int(records), int(abort_every)
        self.commits = end == "commit"
        self.think_ns, self.begins_at_ns = int(think) * 1000, int(begins_at) * 1000


class Sends(Protocol):
    """The producer's half: it hands one record over, with the number it has, or (-1) its next one."""

    producer: Producer

    def is_over(self) -> bool:
        """The application was asked to end."""

    def call(self, place: int, number: int) -> Sent: ...


class Sent:
    """What the application sees of one record that it has sent."""

    def __init__(self, number: int, place: int, *, refused: bool, has_failed: Callable[[], bool]) -> None:
        self.number = number
        self.place = place
        self.refused = refused
        """produce() threw."""
        self.has_failed = has_failed
        """Waits for its report."""


class Calls:
    """The calls of a transactional producer, each told of, and repeated as its errors say."""

    def __init__(self, producer: Producer, *, say: Callable[[dict[str, Any]], None], begun: int, holds: frozenset[tuple[int, str]]) -> None:
        """begun: so many transactions an earlier process has begun; say: what must have been told when it returns."""
        self.producer = producer
        self.say = say
        self.number = begun
        self.holds = holds
        self.plain = {"init": producer.init_transactions, "commit": producer.commit_transaction, "abort": producer.abort_transaction}

    def begin(self) -> bool:
        try:
            self.producer.begin_transaction()
        except KafkaException as problem:
            self.tell_failed("begin", problem.args[0])
            return False
        self.number += 1
        self.tell("begin")
        return True

    def call(self, name: str, how: Callable[[], None] | None = None) -> KafkaError | None:
        """Repeated for as long as its error says that it may be. What else it threw; None where it returned."""
        make = how or self.plain[name]
        while True:
            try:
                make()
            except KafkaException as problem:
                error: KafkaError = problem.args[0]
                self.tell_failed(name, error)
                if error.fatal() or not (error.retriable() or (name == "abort" and error.txn_requires_abort())):
                    return error
            else:
                return None

    def tell_failed(self, call: str, error: KafkaError) -> None:
        self.tell("failed", **{"call": call, "class": error.name(), "message": error.str()})

    def tell(self, phase: str, **details: object) -> None:
        self.say({"event": "transaction", "at": time.monotonic_ns(), "number": self.number, "phase": phase, **details})
        if (self.number, phase) in self.holds:
            PROCEED.acquire()


class Transactions:
    def __init__(
        self,
        sends: Sends,
        times_us: Sequence[int],
        habits: Habits,
        *,
        zero: int,
        waits: bool,
        say: Callable[[dict[str, Any]], None],
        wait_until: Callable[[int], None],
        begun: int,
        holds: frozenset[tuple[int, str]],
    ) -> None:
        """begun: so many transactions an earlier process has begun; say: what must have been told when it returns."""
        self.sends = sends
        self.times_us = times_us
        self.habits = habits
        self.zero = zero
        self.waits = waits
        self.calls = Calls(sends.producer, say=say, begun=begun, holds=holds)
        self.wait_until = wait_until
        self.next = 0
        self.again: deque[Sent] = deque()
        """Records of an aborted transaction that are sent again."""
        self.mine: list[Sent] = []
        self.stopped = False

    @property
    def left(self) -> int:
        """Records that will never be offered."""
        return len(self.times_us) - self.next if self.stopped else 0

    def run(self) -> None:
        self.wait_until(self.zero + self.habits.begins_at_ns)
        if self.sends.is_over() or self._go_through() or self.sends.is_over():
            return
        self.again.clear()
        while self.next < len(self.times_us) and not self.sends.is_over():  # The producer is of no use any more: these are refused.
            self.wait_until(self._due())
            if not self.sends.is_over():
                self._send()

    def _go_through(self) -> bool:
        """False: the producer is of no use any more."""
        if self.calls.call("init") is not None:
            return False
        while not self.sends.is_over() and not self.stopped and self._has_records():
            if not self.again:
                self.wait_until(self._due())
            if self.sends.is_over():
                break
            if not self.calls.begin():
                return False
            fine = self._send_all()
            if fine and self.habits.think_ns:
                self.wait_until(time.monotonic_ns() + self.habits.think_ns)
            if self.sends.is_over():
                break
            if not self._end(fine=fine):
                return False
        return True

    def _has_records(self) -> bool:
        return bool(self.again) or self.next < len(self.times_us)

    def _due(self) -> int:
        return self.zero + self.times_us[self.next] * 1000

    def _send_all(self) -> bool:
        """False where it is to be aborted: produce() threw, or whoever waits for each outcome has had a bad one."""
        self.mine = []
        while len(self.mine) < self.habits.records and self._has_records() and not self.sends.is_over():
            if not self.again:
                self.wait_until(self._due())
            if self.sends.is_over():
                break
            sent = self._send()
            if sent.refused or (self.waits and sent.has_failed()):
                return False
        return True

    def _send(self) -> Sent:
        if self.again:
            known = self.again.popleft()
            sent = self.sends.call(known.place, known.number)
        else:
            self.next += 1
            sent = self.sends.call(self.next - 1, -1)
        self.mine.append(sent)
        return sent

    def _end(self, *, fine: bool) -> bool:
        """By commit or abort. False: the producer is of no use any more."""
        every = self.habits.abort_every
        wanted = not self.habits.commits or (every > 0 and self.calls.number % every == 0)
        if fine and not wanted:
            self.calls.tell("commit")
            problem = self.calls.call("commit")
            if problem is None:
                self.calls.tell("committed")
                return True
            if problem.fatal() or not problem.txn_requires_abort():
                return False
        self.calls.tell("abort")
        if self.calls.call("abort") is not None:
            return False
        self.calls.tell("aborted")
        if fine and wanted:
            return True
        self.stopped = self.habits.on_failure == "stop"
        if self.habits.on_failure == "resend":
            self.again.extendleft(reversed(self.mine))
        return True
