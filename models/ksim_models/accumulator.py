"""The accumulator: records wait here until their batch is full, has lingered, or may be tried again.

Kafka: RecordAccumulator, BufferPool; KIP-91, KIP-580, KIP-951.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ksim_models.backoff import exponential_backoff
from ksim_models.batch import Batch
from ksim_models.config import ProducerConfig
from ksim_models.machine import Dice
from ksim_models.profiles import ClientProfile
from ksim_models.units import NEVER, Micros, ms


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
        self.total_memory = self.free_memory = config.buffer_memory
        self.queues: dict[str, deque[Batch]] = {}
        self.muted: dict[str, None] = {}
        """Partitions with a batch in flight, where max.in.flight is 1 (A36)."""
        self.waiters = 0
        """send() calls that wait for memory: they cancel linger (A25)."""
        self.batches_made = 0
        self.newest_at: Micros = -(2**62)
        """When the newest batch was created: that wakes the I/O thread (A1)."""
        self.drain_index: dict[str, int] = {}

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
        self.batches_made += 1
        self.newest_at = now
        batch = Batch(self.batches_made, partition, capacity, now)
        queue = self.queues.get(partition)
        if queue is None:
            queue = self.queues[partition] = deque()
        if queue:
            queue[-1].closed = True
        queue.append(batch)
        return batch

    def release(self, batch: Batch) -> None:
        self.free_memory += batch.capacity

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
        if len(queue) > 1 or batch.is_full or self.waiters:
            return batch.last_attempt_at
        return batch.last_attempt_at + self.linger

    def see_leader_epoch(self, batch: Batch, leader_epoch: int) -> None:
        """A30: a retry does not wait for its backoff while a newer leader is known than the one that failed."""
        batch.leader_epoch = leader_epoch
        if self.profile.new_epoch_skips_backoff:
            batch.attempts_at_leader_change = batch.attempts

    def look(self, now: Micros, leader_of: Callable[[str], tuple[str, int]]) -> tuple[dict[str, None], bool, Micros]:
        """Which nodes have something due, whether a leader is unknown, and when to look again (A26, A27)."""
        nodes: dict[str, None] = {}
        unknown = False
        again = NEVER
        for partition, queue in self.queues.items():
            if not queue:
                continue
            leader, leader_epoch = leader_of(partition)
            if not leader:
                unknown = True
                continue
            if leader_epoch > queue[0].leader_epoch:
                self.see_leader_epoch(queue[0], leader_epoch)
            if partition in self.muted:
                continue
            due = self.due_at(queue)
            if due <= now:
                nodes[leader] = None
            elif due < again:
                again = due
        return nodes, unknown, again

    def next_due(self, partition: str, now: Micros) -> Micros:
        """When the batch behind one just drained is due; `now` where that takes another look: a retry may know of a newer leader."""
        queue = self.queues[partition]
        if not queue or partition in self.muted:
            return NEVER
        return now if queue[0].attempts else self.due_at(queue)

    # Drain.

    def drain(self, node: str, partitions: list[str], now: Micros, may_drain: Callable[[Batch], bool]) -> list[Batch]:
        """A31 to A36: at most one batch per partition, starting where the last drain of this node stopped; `may_drain` false ends the node's drain (A33)."""
        taken: list[Batch] = []
        size = 0
        start = self.drain_index.get(node, 0) % len(partitions)
        for step in range(len(partitions)):
            index = (start + step) % len(partitions)
            self.drain_index[node] = index
            partition = partitions[index]
            queue = self.queues.get(partition)
            if not queue or partition in self.muted:
                continue
            batch = queue[0]
            if batch.attempts and self._is_backing_off(batch, now):
                continue
            if not may_drain(batch) or (taken and size + batch.size_bytes > self.max_request_size):
                break
            queue.popleft()
            batch.closed = True
            batch.rewritten = False  # From now on what is on the wire has the new numbers (ProducerBatch.close).
            size += batch.size_bytes
            taken.append(batch)
        return taken

    def _is_backing_off(self, batch: Batch, now: Micros) -> bool:
        return batch.attempts != batch.attempts_at_leader_change and now < batch.retry_at

    # Give back.

    def put_back(self, batch: Batch, now: Micros) -> None:
        """A42: by sequence where there is one; else in front, so that several cancelled requests come back in reverse order."""
        batch.attempts += 1
        batch.last_attempt_at = now
        batch.retry_at = now + self.backoff_of(batch)
        batch.retried = True
        queue = self.queues[batch.partition]
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
        for queue in self.queues.values():
            while queue and now - queue[0].created_at >= self.delivery_timeout:
                expired.append(queue.popleft())
        return expired

    def next_expiry(self, in_flight: Mapping[str, Iterable[Batch]]) -> Micros:
        at = NEVER
        for queue in self.queues.values():
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
