"""Many records at once: those that are alike, are due, and go to one partition, whose batches are filled by arithmetic.

Not Kafka's: there every send() runs for itself. The outcome is that of one record after another.
"""

from __future__ import annotations

from typing import Protocol

from ksim_models.accumulator import Accumulator
from ksim_models.application import Thread
from ksim_models.batch import Batch, uneventful, upper_bound_bytes
from ksim_models.lookahead import Lookahead
from ksim_models.machine import Effect
from ksim_models.partitioners import BuiltIn, Partitioner
from ksim_models.units import Micros


class Sending(Protocol):
    """send() for one record, which this does many times at once."""

    accumulator: Accumulator
    lookahead: Lookahead
    partitioner: Partitioner
    offered: int
    in_error_state: str

    def call(self, thread: Thread, at: Micros) -> None: ...

    def send_one(self, thread: Thread, now: Micros, out: list[Effect]) -> None: ...

    def add(self, thread: Thread, batch: Batch, number: int, count: int, size: int) -> None: ...


def send_uneventful(sending: Sending, thread: Thread, now: Micros) -> bool:
    """As many records as join the present batch of the built-in choice and neither fill it nor make it switch: like one after another, by arithmetic."""
    arrivals, built_in = thread.arrivals, sending.partitioner
    if not isinstance(built_in, BuiltIn) or arrivals.topic not in built_in.places or sending.in_error_state:
        return False
    batch = sending.accumulator.open_batch(built_in.places[arrivals.topic].partition)
    if batch is None or batch.is_full:
        return False
    size = arrivals.size
    assert size is not None
    count = uneventful(batch.capacity, batch.size_bytes, batch.count, size, batch.estimate, built_in.bytes_left(arrivals.topic))
    count = min(count, arrivals.count_until(now) - thread.next)
    if count < 2:
        return False
    before = batch.estimated_bytes
    _hand_over(thread, batch, count)
    sending.add(thread, batch, sending.offered, count, size)
    sending.offered += count
    thread.next += count
    built_in.appended(arrivals.topic, batch.estimated_bytes - before, (), last_is_full=False)
    return True


def send_range(sending: Sending, thread: Thread, partition: str, now: Micros, out: list[Effect]) -> None:
    """The same as one record after another, for all that are due: they are alike and go to one partition, so whole batches are filled by arithmetic."""
    arrivals = thread.arrivals
    size = arrivals.size
    assert size is not None
    due = arrivals.count_until(now)
    upper = upper_bound_bytes(size)
    fits = upper <= sending.lookahead.largest_record and not sending.in_error_state
    while thread.next < due:
        batch = sending.accumulator.open_batch(partition) if fits else None
        room = batch.room_for(size)[0] if batch is not None else 0
        if batch is None or not room:
            at = max(arrivals.time_of(thread.next), thread.free_at)
            batch = sending.accumulator.new_batch(partition, upper, at) if fits else None
            if batch is None:  # Too large, or no memory: that is one record's affair.
                sending.call(thread, at)
                sending.send_one(thread, at, out)
                if thread.blocked_on:
                    return
                continue
            room = batch.room_for(size)[0]
        count = min(room, due - thread.next)
        _hand_over(thread, batch, count)
        sending.add(thread, batch, sending.offered, count, size)
        sending.offered += count
        thread.next += count


def _hand_over(thread: Thread, batch: Batch, count: int) -> None:
    """Note when each of the next `count` records was offered. Those that were due while send() was blocked all came when it returned."""
    arrivals, first, last, before = thread.arrivals, thread.next, thread.next + count, batch.count
    at = arrivals.time_of(first)
    if at < thread.free_at:
        late = min(count, arrivals.count_until(thread.free_at) - first)
        batch.offered(thread.free_at, 0, late)
        batch.count += late  # Only while the times are noted.
        first += late
        at = arrivals.time_of(first) if first < last else at
    if first < last:
        step = arrivals.step_of(first, last - first)
        if step is not None:
            batch.offered(at, step, last - first)
        else:
            for index in range(first, last):
                batch.offered(arrivals.time_of(index), 0, 1)
                batch.count += 1
    batch.count = before
