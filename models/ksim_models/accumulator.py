"""The accumulator: records wait here until their batch is full, has lingered, or may be tried again.

Kafka: RecordAccumulator, BufferPool; KIP-91, KIP-580, KIP-951.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ksim_models.backoff import exponential_backoff
from ksim_models.batch import Batch
from ksim_models.compression import RatioEstimates
from ksim_models.config import ProducerConfig
from ksim_models.machine import Dice
from ksim_models.messages import topic_of
from ksim_models.partitioners import BuiltIn
from ksim_models.profiles import ClientProfile
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

NO_NODES: frozenset[str] = frozenset()


class Accumulator:
    def __init__(self, producer: str, config: ProducerConfig, profile: ClientProfile, dice: Dice) -> None:
        self.producer = producer
        self.profile = profile
        self.dice = dice
        self.batch_size = max(1, config.batch_size)
        self.linger = ms(config.linger_ms)
        self.backoff_ms = config.retry_backoff_ms
        self.backoff_max_ms = config.retry_backoff_max_ms if profile.exponential_backoff else config.retry_backoff_ms
        self.delivery_timeout = ms(config.delivery_timeout_ms)
        self.max_request_size = config.max_request_size
        self.ratios = RatioEstimates(config.compression_type)
        self.availability_timeout = ms(config.partitioner_availability_timeout_ms)
        self.node_times: dict[str, tuple[Micros, Micros]] = {}
        """Node -> when it last had something ready, and when it could last be drained; only with partitioner.availability.timeout.ms (A46b)."""
        self.partitioner: BuiltIn | None = None
        """Who chooses partitions by the length of their queues, if anyone does."""
        self.total_memory = self.free_memory = config.buffer_memory
        self.memory_log: list[tuple[Micros | None, int]] | None = None
        """Where somebody measures: what was taken (less than 0) and when, and what was given back, now."""
        self.queues: dict[str, deque[Batch]] = {}
        self.ranked: list[tuple[str, deque[Batch]]] = []
        """The queues in the order in which they came to be; a queue's place here is its rank."""
        self.ranks: dict[str, int] = {}
        self.filled: list[int] = []
        """The ranks of all queues that hold something, in order; those that were emptied since the last look too."""
        self.muted: dict[str, None] = {}
        """Partitions with a batch in flight, where max.in.flight is 1 (A36)."""
        self.waiters = 0
        """send() calls that wait for memory: they cancel linger (A25)."""
        self.claimed = False
        """The first of them has been woken since it began to wait: whatever is free is its own, though it may not be enough yet (A21)."""
        self.hurried = 0
        """How many flush(), close(), commits and aborts are under way: meanwhile nothing lingers (A27)."""
        self.batches_made = 0
        self.memory_taken = 0
        """Bytes of buffer.memory that batches ever took."""
        self.closings = 0
        """How many batches left while they still took records: what was foreseen of their partitions holds no longer."""
        self.newest_at: Micros = LONG_AGO
        """When the newest batch was created: that wakes the I/O thread (A1, A17)."""
        self.drain_index: dict[str, int] = {}
        """Node -> where its next drain begins; up to 3.2 one, that of no node, for all of them (KAFKA-13834)."""
        self.in_vain: dict[str, int] = {}
        """Node -> how many drains of this turn ended where they began (up to 3.2)."""
        self.goes_on_behind = False
        """Up to 3.2: the last drain ended at a batch that may not go, and the next one, which follows at once (S5), begins behind it."""
        self.places: dict[str, tuple[list[str], dict[str, int]]] = {}
        """Node -> the partitions it leads, as of its last drain, and where each stands among them."""

    # Append.

    def open_batch(self, partition: str) -> Batch | None:
        """The batch that takes further records: the last of the queue, unless it is closed (A12)."""
        queue = self.queues.get(partition)
        return queue[-1] if queue and not queue[-1].closed else None

    def new_batch(self, partition: str, upper_bound: int, now: Micros) -> Batch | None:
        """A15: of batch.size, or as large as its first record needs; None if buffer.memory has not that much (A20)."""
        capacity = max(self.batch_size, upper_bound)
        if capacity > self.free_memory:
            return None
        self.free_memory -= capacity
        if self.memory_log is not None:
            self.memory_log.append((now, -capacity))
        self.memory_taken += capacity
        self.batches_made += 1
        self.newest_at = now
        batch = Batch(self.batches_made, partition, capacity, now, self.estimate_for(partition))
        batch.held = capacity
        queue = self._queue(partition)
        if queue:
            queue[-1].closed = True
        queue.append(batch)
        return batch

    def estimate_for(self, partition: str) -> int:
        """A14."""
        return self.ratios.of(topic_of(partition))

    def _queue(self, partition: str) -> deque[Batch]:
        """The queue that something is about to be put into."""
        queue = self.queues.get(partition)
        if queue is None:
            queue = self.queues[partition] = deque()
            self.ranks[partition] = len(self.ranked)
            self.ranked.append((partition, queue))
        if not queue:
            rank = self.ranks[partition]
            place = bisect_left(self.filled, rank)
            if place == len(self.filled) or self.filled[place] != rank:
                self.filled.insert(place, rank)
        return queue

    def hurry(self, by: int) -> None:
        self.hurried += by

    def release(self, batch: Batch) -> None:
        """A23."""
        if self.memory_log is not None:
            self.memory_log.append((None, batch.held))
        self.free_memory += batch.held
        self.claimed = self.claimed or batch.held > 0
        batch.held = 0

    # Ready.

    def backoff_of(self, batch: Batch) -> Micros:
        """A28. Simplified: drawn once per batch and attempt; Java draws at each look, so its waits differ by some percent (A29; models/README.md)."""
        draw = self.dice.at("retry", self.producer, batch.number, batch.attempts)
        return ms(exponential_backoff(self.backoff_ms, self.backoff_max_ms, batch.attempts - 1, draw))

    def due_at(self, queue: deque[Batch]) -> Micros:
        """When the first batch of a queue may be drained: after its backoff, else at once if something is full, else after linger (A27)."""
        batch = queue[0]
        if batch.attempts and batch.attempts != batch.attempts_at_leader_change:
            return batch.retry_at
        if len(queue) > 1 or batch.is_full or self.waiters or self.hurried:
            return batch.last_attempt_at
        return batch.last_attempt_at + self.linger

    def see_leader_epoch(self, batch: Batch, leader_epoch: int) -> None:
        """A30: a retry does not wait for its backoff while a newer leader is known than the one that failed.

        3.6.1 and 3.7.0 took every other epoch for newer, also the lower one of a topic that was created again (KAFKA-16226).
        """
        if leader_epoch < batch.leader_epoch and not self.profile.any_epoch_change_skips_backoff:
            return
        batch.leader_epoch = leader_epoch
        if self.profile.new_epoch_skips_backoff:
            batch.attempts_at_leader_change = batch.attempts

    def look(self, now: Micros, leader_of: Callable[[str], tuple[str, int]]) -> tuple[dict[str, None], bool, Micros]:
        """Which nodes have something due, whether a leader is unknown, and when to look again (A26, A27)."""
        nodes: dict[str, None] = {}
        unknown = False
        again = NEVER
        emptied = False
        for rank in self.filled:
            partition, queue = self.ranked[rank]
            if not queue:
                emptied = True
                continue
            leader, leader_epoch = leader_of(partition)
            if not leader:
                unknown = True
                continue
            if leader_epoch != queue[0].leader_epoch:
                self.see_leader_epoch(queue[0], leader_epoch)
            if partition in self.muted:
                continue
            due = self.due_at(queue)
            if due <= now:
                nodes[leader] = None
            elif due < again:
                again = due
        if emptied:
            self.filled = [rank for rank in self.filled if self.ranked[rank][1]]
        if self.partitioner is not None and self.partitioner.places:
            self.partitioner.looked(self.queues, self.slow_nodes)
        return nodes, unknown, again

    def next_due(self, partition: str, now: Micros) -> Micros:
        """When the batch behind one just drained is due; `now` where that takes another look: a retry may know of a newer leader."""
        queue = self.queues[partition]
        if not queue or partition in self.muted:
            return NEVER
        return now if queue[0].attempts else self.due_at(queue)

    # Which nodes are slow.

    def node_looked_at(self, node: str, now: Micros, *, drains: bool) -> None:
        """A46b: a node has something ready, and can be drained or not (RecordAccumulator.updateNodeLatencyStats)."""
        if self.availability_timeout:
            self.node_times[node] = now, now if drains else self.node_times.get(node, (now, now))[1]

    @property
    def slow_nodes(self) -> frozenset[str]:
        if not self.node_times:
            return NO_NODES
        return frozenset(node for node, (ready, drained) in self.node_times.items() if ready - drained > self.availability_timeout)

    # Drain.

    def drain(self, node: str, partitions: list[str], now: Micros, may_drain: Callable[[Batch], bool]) -> list[Batch]:
        """A31, A32, A34 to A36: at most one batch per partition, from where the node's last drain stopped; `may_drain` false ends the node's drain (A33)."""
        taken: list[Batch] = []
        size = 0
        count = len(partitions)
        self.goes_on_behind = False
        if not count:
            return taken
        per_node = self.profile.drains_each_node_from_its_own_place
        whose = node if per_node else ""
        start = self.drain_index.get(whose, 0) % count
        for step in self._steps(node, partitions, start):
            index = (start + step) % count
            partition = partitions[index]
            queue = self.queues[partition]
            if not queue or partition in self.muted:
                continue
            batch = queue[0]
            if batch.attempts and self._is_backing_off(batch, now):
                continue
            if not may_drain(batch) or (taken and size + batch.estimated_bytes > self.max_request_size):
                self.drain_index[whose] = index if per_node else (index + 1) % count
                self.goes_on_behind = not per_node and self._goes_on(node, count, in_vain=not taken)
                break
            queue.popleft()
            if not batch.closed:
                batch.closed = True
                self.closings += 1
            batch.rewritten = False  # From now on what is on the wire has the new numbers (ProducerBatch.close).
            if batch.estimate:
                self._compress(batch)
            size += batch.size_bytes
            taken.append(batch)
        else:
            self.drain_index[whose] = (start + count - 1) % count if per_node else start  # It examined them all; the empty ones need no look.
        if taken and self.partitioner is not None and self.partitioner.places:
            self.partitioner.looked(self.queues, self.slow_nodes)  # The next turn follows at once, and finds the queues like this.
        return taken

    def _goes_on(self, node: str, count: int, *, in_vain: bool) -> bool:
        """Once round all partitions of a node in vain is enough: nothing has changed meanwhile."""
        self.in_vain[node] = self.in_vain.get(node, 0) + 1 if in_vain else 0
        return self.in_vain[node] < count

    def _steps(self, node: str, partitions: list[str], start: int) -> list[int]:
        """How far from `start` those of the node's partitions are that hold something, nearest first."""
        if len(partitions) == 1:
            return [0] if partitions[0] in self.queues else []
        known = self.places.get(node)
        if known is None or known[0] is not partitions:
            known = self.places[node] = partitions, {partition: place for place, partition in enumerate(partitions)}
        count, places = len(partitions), known[1]
        if len(self.filled) > count:
            return [step for step in range(count) if self.queues.get(partitions[(start + step) % count])]
        found = [places.get(self.ranked[rank][0], -1) for rank in self.filled]
        return sorted([(place - start) % count for place in found if place >= 0])

    def _compress(self, batch: Batch) -> None:
        """A14: every closing counts for the estimate, that of a retry too (ProducerBatch.close)."""
        if not batch.packed:
            batch.ratio = batch.pack(self.dice.at("compression", self.producer, batch.content))
        self.ratios.observed(topic_of(batch.partition), batch.ratio)

    def _is_backing_off(self, batch: Batch, now: Micros) -> bool:
        return batch.attempts != batch.attempts_at_leader_change and now < batch.retry_at

    # Give back.

    def put_back(self, batch: Batch, now: Micros) -> None:
        """A42: by sequence where there is one; else in front, so that several cancelled requests come back in reverse order."""
        batch.attempts += 1
        batch.last_attempt_at = now
        batch.retry_at = now + self.backoff_of(batch)
        batch.retried = True
        self.insert(batch)

    def insert(self, batch: Batch) -> None:
        queue = self._queue(batch.partition)
        if batch.base_sequence < 0:
            queue.appendleft(batch)
            return
        position = 0
        while position < len(queue) and 0 <= queue[position].base_sequence < batch.base_sequence:
            position += 1
        queue.insert(position, batch)

    def take_expired(self, now: Micros) -> list[Batch]:
        """A37: per queue, from the head until the first that is not past its delivery time-out."""
        expired = []
        for rank in self.filled:
            queue = self.ranked[rank][1]
            while queue and now - queue[0].created_at >= self.delivery_timeout:
                expired.append(queue.popleft())
        return expired

    def next_expiry(self, in_flight: Mapping[str, Iterable[Batch]]) -> Micros:
        at = NEVER
        for rank in self.filled:
            queue = self.ranked[rank][1]
            if queue and queue[0].created_at < at:
                at = queue[0].created_at
        for batches in in_flight.values():
            for batch in batches:
                if batch.created_at < at:
                    at = batch.created_at
                break
        return at + self.delivery_timeout if at != NEVER else NEVER

    def waiting(self) -> list[Batch]:
        return [batch for queue in self.queues.values() for batch in queue]
