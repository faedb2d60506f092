"""Which of the records to come is the next that makes a difference: the client need not wake for the others.

Not Kafka's: there every send() runs when it is called. A record makes a difference when it opens a batch, whose linger begins; when it fills one;
or when its send() would block, throw, or wait for a request that is overdue. All the others are handed over together, later, as if each had been in time.
What will be is foreseen by the same rules, from the batches as they are; a batch that leaves early makes that void.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.accumulator import Accumulator
from ksim_models.application import Thread
from ksim_models.arrivals import Arrivals
from ksim_models.batch import BATCH_OVERHEAD, estimated_bytes, record_bytes, uneventful, upper_bound_bytes
from ksim_models.client_metadata import ClientMetadata
from ksim_models.partitioners import BuiltIn, Partitioner
from ksim_models.units import LONG_AGO, NEVER, Micros


class Foreseen:
    """A batch as it will be: one that is there, or one that records to come will open."""

    __slots__ = ("capacity", "count", "estimate", "estimated", "used")

    def __init__(self, capacity: int, used: int, count: int, estimate: int) -> None:
        self.capacity = capacity
        self.used = used
        self.count = count
        self.estimate = estimate
        self.estimated = estimated_bytes(used, estimate)

    @property
    def is_full(self) -> bool:
        return self.estimated >= self.capacity

    def add(self, size: int) -> bool:
        """False where it has no room (A12)."""
        more = record_bytes(size, self.count)
        if self.count and self.estimated + more > self.capacity:
            return False
        self.used += more
        self.estimated = self.used if not self.estimate else estimated_bytes(self.used, self.estimate)
        self.count += 1
        return True

    def add_alike(self, count: int, size: int) -> None:
        """Records that have room, and whose offsets take equally many bytes."""
        self.used += count * record_bytes(size, self.count)
        self.estimated = estimated_bytes(self.used, self.estimate)
        self.count += count


class Lookahead:
    def __init__(self, max_request_size: int, accumulator: Accumulator, metadata: ClientMetadata, partitioner: Partitioner) -> None:
        self.largest_record = min(max_request_size, accumulator.total_memory)
        self.accumulator = accumulator
        self.metadata = metadata
        self.partitioner = partitioner
        self.overdue_from: Micros = NEVER
        self._begin([], ())

    def _begin(self, threads: list[Thread], known: tuple[object, ...]) -> None:
        self.known = known
        """What the foresight is built on; anything else makes it void."""
        self.at: Micros = NEVER
        """The next record that makes a difference, as far as was looked."""
        self.next = [thread.next for thread in threads]
        """Per thread, the first record that was not looked at yet."""
        self.batches: dict[str, Foreseen] = {}
        self.foreseen_partitioner: Partitioner | None = None
        self.memory_taken = self.accumulator.memory_taken
        self.lingering: deque[Micros] = deque()
        """When the batches that will be opened have lingered."""
        self.opens_at: Micros = LONG_AGO
        """When the last of them will be opened."""

    def next_difference(self, threads: Sequence[Thread], now: Micros, until: Micros, overdue_from: Micros) -> Micros:
        """Not before the records of `now` were handed over. `until`: the client wakes then anyway, so no look goes further.

        overdue_from: when a request that has no answer may be timed out.
        """
        one_by_one = any(thread.blocked_on or thread.one_by_one for thread in threads)
        bound = until
        free = []
        for thread in threads:
            if thread.blocked_on:
                bound = min(bound, thread.patience_ends)
            elif one_by_one or thread.arrivals.warm_up:
                bound = min(bound, thread.next_time())  # A blocked send() comes first once it can go on: each record must be there before.
            else:
                free.append(thread)
        if not free:
            return bound
        known = (self.accumulator.closings, self.metadata.learnt, self.partitioner.version, self.accumulator.ratios.changes, *(thread.index for thread in free))
        if (
            len(free) < len(threads)
            or known != self.known
            or overdue_from <= self.opens_at
            or any(following < thread.next for following, thread in zip(self.next, free, strict=True))
        ):
            self._begin(free, known)
        self.overdue_from = overdue_from
        return min(bound, self._look(free, now, bound))

    def _look(self, threads: list[Thread], now: Micros, bound: Micros) -> Micros:
        if self.at < NEVER:
            return self.at
        lingering = self.lingering
        while lingering and lingering[0] <= now:
            lingering.popleft()
        while True:
            if lingering and lingering[0] < bound:
                bound = lingering[0]
            first, at = -1, bound
            for place, thread in enumerate(threads):
                index = self.next[place]
                if index < thread.arrivals.total:
                    due = thread.arrivals.time_of(index)
                    if due < at:
                        first, at = place, due
            if first < 0:
                return bound
            if self._matters(threads[first], self.next[first], at):
                self.at = at
                return at
            self.next[first] += 1
            if len(threads) == 1 and threads[0].steady:
                self.next[first] += self._skip(threads[0].arrivals, self.next[first])

    def _skip(self, arrivals: Arrivals, index: int) -> int:
        """So many of the following records, which are alike, only join the batch that the built-in choice is filling."""
        built_in = self.foreseen_partitioner
        if not isinstance(built_in, BuiltIn) or arrivals.partition is not None or arrivals.topic not in built_in.places:
            return 0
        place, size = built_in.places[arrivals.topic], arrivals.size
        batch = self.batches.get(place.partition)
        if batch is None:
            return 0
        assert size is not None
        count = uneventful(batch.capacity, batch.used, batch.count, size, batch.estimate, built_in.bytes_left(arrivals.topic))
        count = max(0, min(count, arrivals.total - index))
        before = batch.estimated
        batch.add_alike(count, size)
        place.bytes += batch.estimated - before
        return count

    def _matters(self, thread: Thread, index: int, at: Micros) -> bool:
        """The record is handed over in thought; True where that is something to wake for."""
        arrivals, accumulator = thread.arrivals, self.accumulator
        partitions = self.metadata.topics.get(arrivals.topic)
        if not partitions or (arrivals.partition is not None and arrivals.partition >= len(partitions)):
            return True
        size = arrivals.size_of(index)
        upper = upper_bound_bytes(size)
        if upper > self.largest_record:
            return True
        partitioner = self.foreseen_partitioner
        if partitioner is None:
            partitioner = self.foreseen_partitioner = self.partitioner.fork()
        sticks = False
        if arrivals.partition is not None:
            partition = partitions[arrivals.partition]
        elif arrivals.keyed and partitioner.places_keys:
            partition = partitions[arrivals.key_hash_of(index) % len(partitions)]
        elif len(partitions) == 1:
            partition = partitions[0]
        else:
            partition, sticks = partitioner.choose(arrivals.topic, partitions), partitioner.by_bytes
        batch = self._batch(partition)
        if sticks and (batch is None or batch.is_full) and partitioner.completes_switch(arrivals.topic, partitions):
            if partitioner.adapts:
                return True  # It chooses by the queues as they are at that moment.
            partition = partitioner.choose(arrivals.topic, partitions)
            batch = self._batch(partition)
        before = 0
        if batch is not None:
            before = batch.estimated
            if not batch.add(size):
                return True  # It closes the one before.
        else:
            if partitioner.asks_again or partitioner.counts_queues_of(arrivals.topic):
                return True  # A choice of its own; or the turn that the new batch causes counts the queues.
            capacity = max(accumulator.batch_size, upper)
            self.memory_taken += capacity
            if self.memory_taken - accumulator.memory_taken > accumulator.free_memory or at >= self.overdue_from:
                return True
            self.lingering.append(at + accumulator.linger)
            self.opens_at = at
            batch = self.batches[partition] = Foreseen(capacity, BATCH_OVERHEAD, 0, accumulator.estimate_for(partition))
            batch.add(size)
        if batch.is_full:
            return True
        return sticks and partitioner.appended(arrivals.topic, batch.estimated - before, partitions, last_is_full=False) and partitioner.adapts

    def _batch(self, partition: str) -> Foreseen | None:
        batch = self.batches.get(partition)
        if batch is None:
            there = self.accumulator.open_batch(partition)
            if there is not None:
                batch = self.batches[partition] = Foreseen(there.capacity, there.size_bytes, there.count, there.estimate)
        return batch
