"""send(): from the application's threads into the accumulator, one record after another or a whole range at once.

Kafka: KafkaProducer.doSend, RecordAccumulator.append, BufferPool (A1 to A25).
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.accumulator import Accumulator
from ksim_models.application import Sticky, Thread
from ksim_models.arrivals import Arrivals
from ksim_models.batch import BATCH_OVERHEAD, Batch, room_in, upper_bound_bytes
from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.facts import Blocked, Offered, Refused
from ksim_models.machine import Dice, Effect, Note
from ksim_models.profiles import ClientProfile
from ksim_models.units import NEVER, Micros, ms


class Sending:
    def __init__(
        self,
        producer: str,
        config: ProducerConfig,
        profile: ClientProfile,
        accumulator: Accumulator,
        metadata: ClientMetadata,
        workloads: Sequence[Arrivals],
        dice: Dice,
    ) -> None:
        self.producer = producer
        self.config = config
        self.profile = profile
        self.accumulator = accumulator
        self.metadata = metadata
        self.dice = dice
        self.max_block = ms(config.max_block_ms)
        self.threads = [Thread(index, arrivals) for index, arrivals in enumerate(workloads)]
        self.awake = list(self.threads)
        """All but those whose warm-up is over."""
        self.sticky: dict[str, Sticky] = {}
        self.offered = 0
        """Records handed over so far: the number of the next one. Those of the warm-up have negative numbers and are no part of the history."""
        self.warmed_up = 0
        self.begun = False
        """The client has had something to do."""
        self.blocked = 0
        """Threads whose send() has not returned."""
        self.overdue_from: Micros = NEVER
        """When a request that has no answer may be timed out."""
        self.in_error_state = ""
        """The exception of a fatal error: send() throws from then on (A8, T3)."""

    @property
    def is_done(self) -> bool:
        return all(thread.is_done for thread in self.threads)

    @property
    def all_offered(self) -> bool:
        return all(thread.next >= thread.arrivals.total for thread in self.threads)

    # When.

    @property
    def wake_at(self) -> Micros:
        """The next moment at which a record makes a difference: it opens a batch whose linger begins, fills one, or finds send() blocked.

        Its opening a batch matters by itself once a request is overdue: that wakes the I/O thread (N14).
        """
        at = NEVER
        for thread in self.awake:
            due = thread.patience_ends if thread.blocked_on else self._difference_at(thread)
            if due < at:
                at = due
        return at

    def _difference_at(self, thread: Thread) -> Micros:
        at = thread.next_time()
        if at == NEVER:
            return NEVER
        partition = self._only_partition(thread)
        if partition is None or self.in_error_state:
            return at
        size = thread.arrivals.size
        assert size is not None
        batch = self.accumulator.open_batch(partition)
        if batch is None:
            capacity = max(self.accumulator.batch_size, upper_bound_bytes(size))
            if capacity > self.accumulator.free_memory:
                return at  # send() will block.
            lingers_until = at + self.accumulator.linger if at < self.overdue_from else at
            room, left = room_in(capacity, BATCH_OVERHEAD, 0, size)
        else:
            lingers_until = NEVER
            room, left = batch.room_for(size)
        filled_by = thread.next + (room - 1 if left == 0 else room)
        if filled_by >= thread.arrivals.total:
            return lingers_until
        return min(lingers_until, max(thread.arrivals.time_of(filled_by), thread.free_at))

    def _only_partition(self, thread: Thread) -> str | None:
        """The one partition that all records of this thread go to, where a range of them can be taken at once."""
        if not thread.steady or (len(self.awake) > 1 and any(other is not thread and not other.is_done for other in self.awake)):
            return None
        partitions = self.metadata.topics.get(thread.arrivals.topic)
        if not partitions:
            return None
        if thread.arrivals.partition is not None:
            return partitions[thread.arrivals.partition] if thread.arrivals.partition < len(partitions) else None
        return partitions[0] if len(partitions) == 1 else None

    def last_use(self, topic: str, now: Micros) -> Micros:
        """When a record for this topic was last handed over, or waits to be: what metadata.max.idle.ms counts from (M1)."""
        at = -NEVER
        for thread in self.threads:
            if thread.arrivals.topic == topic:
                called = thread.arrivals.count_until(now)
                at = max(at, now if thread.blocked_on else thread.arrivals.time_of(called - 1) if called else -NEVER)
        return at

    # Take.

    def take(self, now: Micros, out: list[Effect]) -> None:
        """Hand over all records whose time has come, in the order of their times; blocked calls first, in the order they were blocked (A21)."""
        if self.blocked:
            for thread in sorted((thread for thread in self.threads if thread.blocked_on), key=lambda thread: thread.sent_at):
                self._try_again(thread, now, out)
            self.awake = [thread for thread in self.awake if not (thread.arrivals.warm_up and thread.is_done)]
        while (first := self._first_due(now)) is not None:
            thread, at = first
            self.begun = True
            partition = self._only_partition(thread)
            if partition is not None and not thread.arrivals.warm_up:
                self._send_range(thread, partition, now, out)
                return  # It is the only thread that has anything to send.
            self._call(thread, at)
            self._send_one(thread, at, out)

    def _first_due(self, now: Micros) -> tuple[Thread, Micros] | None:
        first: tuple[Thread, Micros] | None = None
        for thread in self.awake:
            due = thread.next_time()
            if due <= now and (first is None or due < first[1]):
                first = thread, due
        return first

    def _call(self, thread: Thread, at: Micros) -> None:
        """send() is called: the record gets its number."""
        thread.next += 1
        thread.sent_at, thread.patience_ends = at, at + self.max_block
        if thread.arrivals.warm_up:
            self.warmed_up += 1
            thread.number = -self.warmed_up
        else:
            thread.number = self.offered
            self.offered += 1

    def _try_again(self, thread: Thread, now: Micros, out: list[Effect]) -> None:
        """A send() that was blocked: has what it waits for come, or its patience ended? What comes at the last moment still counts."""
        self._unblock(thread)
        self._send_one(thread, now, out, blocked_before=True)
        if thread.blocked_on and now >= thread.patience_ends:
            self._refuse(thread, *self._impatience(thread), out)
            self._unblock(thread)
        if not thread.blocked_on:
            thread.free_at = now

    def _impatience(self, thread: Thread) -> tuple[str, str]:
        """A3, A22."""
        topic, waited = thread.arrivals.topic, self.config.max_block_ms
        if thread.blocked_on == "memory":
            return (
                "BufferExhaustedException",
                f"Failed to allocate memory within the configured max blocking time {waited} ms. Total memory: {self.accumulator.total_memory} bytes.",
            )
        partitions = self.metadata.topics.get(topic)
        if partitions:
            return (
                "TimeoutException",
                f"Partition {thread.arrivals.partition} of topic {topic} with partition count {len(partitions)} is not present in metadata after {waited} ms.",
            )
        return "TimeoutException", f"Topic {topic} not present in metadata after {waited} ms."

    def _refuse(self, thread: Thread, error: str, text: str, out: list[Effect]) -> None:
        if thread.number < 0:
            return
        records = range(thread.number, thread.number + 1)
        out.append(Note(Offered(self.producer, records, thread.sent_at, 0)))
        out.append(Note(Refused(self.producer, records, error, text)))

    def _unblock(self, thread: Thread) -> None:
        self.blocked -= 1
        if thread.blocked_on == "memory":
            self.accumulator.waiters -= 1
        thread.blocked_on = ""

    def _block(self, thread: Thread, why: str, out: list[Effect], *, known: bool) -> None:
        thread.blocked_on = why
        self.blocked += 1
        if why == "memory":
            self.accumulator.waiters += 1
        if not known and thread.number >= 0:
            out.append(Note(Blocked(self.producer, thread.number, why, thread.patience_ends)))

    # One record.

    def _send_one(self, thread: Thread, now: Micros, out: list[Effect], *, blocked_before: bool = False) -> None:
        arrivals = thread.arrivals
        partitions = self.metadata.topics.get(arrivals.topic)
        if not partitions or (arrivals.partition is not None and arrivals.partition >= len(partitions)):
            self.metadata.want(arrivals.topic, now)
            self._block(thread, "metadata", out, known=blocked_before)
            return
        size = arrivals.size_of(thread.next - 1)
        if self._is_too_large(thread, size, out):
            return
        if self.in_error_state:  # Kafka appends the record first (A11), and fails it in the next turn: it is sent in no case.
            fenced = self.in_error_state == "ProducerFencedException"
            text = "Cannot execute transactional method because we are in an error state"
            self._refuse(thread, self.in_error_state if fenced else "KafkaException", text, out)
            return
        partition = self._partition_for(thread, partitions)
        batch = self.accumulator.open_batch(partition)
        if batch is None or batch.room_for(size)[0] == 0:
            if not arrivals.keyed and arrivals.partition is None and not self.profile.uniform_sticky and len(partitions) > 1:
                partition = self._sticky(arrivals.topic).switch([name for name in self._choices(partitions) if name != partition] or partitions)  # A47
            batch = self.accumulator.new_batch(partition, upper_bound_bytes(size), now)
        if batch is None:
            self._block(thread, "memory", out, known=blocked_before)
            return
        batch.offered(thread.sent_at, 0, 1)
        batch.add(thread.number, 1, size)
        if arrivals.warm_up:
            batch.closed = True  # It goes at once, and alone.
        if arrivals.window is not None:
            batch.threads[thread.index] = batch.threads.get(thread.index, 0) + 1
            thread.outstanding += 1
        if not arrivals.keyed and arrivals.partition is None and self.profile.uniform_sticky and len(partitions) > 1:
            self._sticky(arrivals.topic).appended(size, self.accumulator.batch_size, last_is_full=batch.is_full, choices=self._choices(partitions))

    def _is_too_large(self, thread: Thread, size: int, out: list[Effect]) -> bool:
        """A7: judged by the upper bound of the record's size, before anything is appended."""
        upper = upper_bound_bytes(size)
        for limit, name in ((self.config.max_request_size, "max.request.size"), (self.accumulator.total_memory, "buffer.memory")):
            if upper > limit:
                self._refuse(
                    thread,
                    "RecordTooLargeException",
                    f"The message is {upper} bytes when serialized which is larger than {limit}, which is the value of the {name} configuration.",
                    out,
                )
                return True
        return False

    def _partition_for(self, thread: Thread, partitions: Sequence[str]) -> str:
        """A6: the record's own, else by key over all partitions, else the sticky one."""
        arrivals = thread.arrivals
        if arrivals.partition is not None:
            return partitions[arrivals.partition]
        if arrivals.keyed:
            return partitions[arrivals.key_hash_of(thread.next - 1) % len(partitions)]
        sticky = self._sticky(arrivals.topic)
        return sticky.partition or sticky.switch(self._choices(partitions))

    def _sticky(self, topic: str) -> Sticky:
        known = self.sticky.get(topic)
        if known is None:
            known = self.sticky[topic] = Sticky(self.producer, topic, self.dice)
        return known

    def _choices(self, partitions: Sequence[str]) -> Sequence[str]:
        return [name for name in partitions if self.metadata.leader_of(name)[0]] or partitions

    # Many records.

    def _send_range(self, thread: Thread, partition: str, now: Micros, out: list[Effect]) -> None:
        """The same as one record after another, for all that are due: they are alike and go to one partition, so whole batches are filled by arithmetic."""
        arrivals = thread.arrivals
        size = arrivals.size
        assert size is not None
        due = arrivals.count_until(now)
        upper = upper_bound_bytes(size)
        while thread.next < due:
            batch = None if self.in_error_state else self.accumulator.open_batch(partition)
            room = batch.room_for(size)[0] if batch is not None else 0
            if batch is None or not room:
                at = max(arrivals.time_of(thread.next), thread.free_at)
                fits = upper <= min(self.config.max_request_size, self.accumulator.total_memory) and not self.in_error_state
                batch = self.accumulator.new_batch(partition, upper, at) if fits else None
                if batch is None:  # Too large, or no memory: that is one record's affair.
                    self._call(thread, at)
                    self._send_one(thread, at, out)
                    if thread.blocked_on:
                        return
                    continue
                room = batch.room_for(size)[0]
            count = min(room, due - thread.next)
            self._hand_over(thread, batch, count)
            batch.add(self.offered, count, size)
            self.offered += count
            thread.next += count

    def _hand_over(self, thread: Thread, batch: Batch, count: int) -> None:
        """Note when each of the next `count` records was offered. Those that were due while send() was blocked all came when it returned."""
        first, free_at = thread.next, thread.free_at
        late = 0
        if thread.arrivals.time_of(first) < free_at:
            late = min(count, thread.arrivals.count_until(free_at) - first)
            batch_count = batch.count
            batch.offered(free_at, 0, late)
            batch.count += late  # Only while the times are noted.
            self._hand_over_in_time(thread, batch, first + late, count - late)
            batch.count = batch_count
        else:
            self._hand_over_in_time(thread, batch, first, count)

    def _hand_over_in_time(self, thread: Thread, batch: Batch, first: int, count: int) -> None:
        if not count:
            return
        arrivals = thread.arrivals
        step = arrivals.step_of(first, count)
        if step is not None:
            batch.offered(arrivals.time_of(first), step, count)
            return
        before = batch.count
        for index in range(first, first + count):
            batch.offered(arrivals.time_of(index), 0, 1)
            batch.count += 1
        batch.count = before

    # Outcomes, and a pause of the whole process.

    def resumed(self, now: Micros) -> None:
        """The application's threads were frozen too: what they had to send meanwhile they send now."""
        for thread in self.threads:
            thread.free_at = now

    def finished(self, batch: Batch, now: Micros) -> None:
        """A batch has its outcome: threads that waited for their sends go on now."""
        for index, count in batch.threads.items():
            thread = self.threads[index]
            if thread.arrivals.window is not None and thread.outstanding >= thread.arrivals.window:
                thread.free_at = now
            thread.outstanding -= count

    def close_books(self, out: list[Effect]) -> None:
        """A record whose send() never returned was offered; it has no outcome."""
        for thread in self.threads:
            if thread.blocked_on and thread.number >= 0:
                out.append(Note(Offered(self.producer, range(thread.number, thread.number + 1), thread.sent_at, 0)))
