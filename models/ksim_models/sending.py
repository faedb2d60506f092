"""send(): from the application's threads into the accumulator, one record after another or a whole range at once.

Kafka: KafkaProducer.doSend, RecordAccumulator.append, BufferPool (A1 to A25).
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.accumulator import Accumulator
from ksim_models.application import Thread
from ksim_models.arrivals import Arrivals
from ksim_models.batch import BATCH_OVERHEAD, Batch, room_in, uneventful, upper_bound_bytes
from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.facts import Blocked, Offered, Refused
from ksim_models.lookahead import Lookahead
from ksim_models.machine import Dice, Effect, Note
from ksim_models.partitioners import BuiltIn, partitioner_of
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
        self.partitioner = partitioner_of(producer, config, profile, metadata, dice)
        if isinstance(self.partitioner, BuiltIn) and self.partitioner.adapts:
            accumulator.partitioner = self.partitioner
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
        self.lookahead = Lookahead(config.max_request_size, accumulator, metadata, self.partitioner)

    @property
    def is_done(self) -> bool:
        return all(thread.is_done for thread in self.threads)

    @property
    def all_offered(self) -> bool:
        return all(thread.next >= thread.arrivals.total for thread in self.threads)

    # When.

    def wake_at(self, now: Micros, until: Micros) -> Micros:
        """The next moment at which a record makes a difference: it opens a batch whose linger begins, fills one, or finds send() blocked.

        Its opening a batch matters by itself once a request is overdue: that wakes the I/O thread (N14). `until`: the client wakes then in any case.
        """
        if len(self.awake) == 1:
            thread = self.awake[0]
            if thread.blocked_on:
                return thread.patience_ends
            at = thread.next_time()
            if at == NEVER or thread.arrivals.window is not None:
                return at
            partition = self._only_partition(thread)
            if partition is not None and not self.in_error_state:
                return self._filled_at(thread, at, partition)
        threads = [thread for thread in self.awake if not thread.is_done]
        if self.in_error_state:
            return min([thread.patience_ends if thread.blocked_on else thread.next_time() for thread in threads], default=NEVER)
        return self.lookahead.next_difference(threads, now, until, self.overdue_from)

    def _filled_at(self, thread: Thread, at: Micros, partition: str) -> Micros:
        """The same for records that are alike and go to one partition, by arithmetic."""
        size = thread.arrivals.size
        assert size is not None
        batch = self.accumulator.open_batch(partition)
        if batch is None:
            capacity = max(self.accumulator.batch_size, upper_bound_bytes(size))
            if capacity > self.accumulator.free_memory:
                return at  # send() will block.
            lingers_until = at + self.accumulator.linger if at < self.overdue_from else at
            room, left = room_in(capacity, BATCH_OVERHEAD, 0, size, self.accumulator.estimate_for(partition))
        else:
            lingers_until = NEVER
            room, left = batch.room_for(size)
        filled_by = thread.next + max(0, room - 1 if left == 0 else room)
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
            first_waits = False
            for thread in sorted((thread for thread in self.threads if thread.blocked_on), key=lambda thread: thread.sent_at):
                if not (first_waits and thread.blocked_on == "memory"):
                    self._try_again(thread, now, out)
                elif now >= thread.patience_ends:
                    self._give_up(thread, now, out)
                first_waits = first_waits or thread.blocked_on == "memory"
            self.awake = [thread for thread in self.awake if not (thread.arrivals.warm_up and thread.is_done)]
        alone = len(self.awake) == 1 and self.awake[0].steady and self.awake[0].arrivals.partition is None and not self.awake[0].arrivals.warm_up
        while (first := self._first_due(now)) is not None:
            thread, at = first
            self.begun = True
            partition = self._only_partition(thread)
            if partition is not None and not thread.arrivals.warm_up:
                self._send_range(thread, partition, now, out)
                return  # It is the only thread that has anything to send.
            if alone and self._send_uneventful(thread, now):
                continue
            self._call(thread, at)
            self._send_one(thread, at, out)

    def _send_uneventful(self, thread: Thread, now: Micros) -> bool:
        """As many records as join the present batch of the built-in choice and neither fill it nor make it switch: like one after another, by arithmetic."""
        arrivals, built_in = thread.arrivals, self.partitioner
        if not isinstance(built_in, BuiltIn) or arrivals.topic not in built_in.places or self.in_error_state:
            return False
        batch = self.accumulator.open_batch(built_in.places[arrivals.topic].partition)
        if batch is None or batch.is_full:
            return False
        size = arrivals.size
        assert size is not None
        count = uneventful(batch.capacity, batch.size_bytes, batch.count, size, batch.estimate, built_in.bytes_left(arrivals.topic))
        count = min(count, arrivals.count_until(now) - thread.next)
        if count < 2:
            return False
        before = batch.estimated_bytes
        self._hand_over(thread, batch, count)
        self._add(thread, batch, self.offered, count, size)
        self.offered += count
        thread.next += count
        built_in.appended(arrivals.topic, batch.estimated_bytes - before, (), last_is_full=False)
        return True

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
            self._give_up(thread, now, out)
        if not thread.blocked_on:
            thread.free_at = now

    def _give_up(self, thread: Thread, now: Micros, out: list[Effect]) -> None:
        self._refuse(thread, *self._impatience(thread), out)
        self._unblock(thread)
        thread.chosen, thread.free_at = "", now

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
        batch, opened = self._room_for(thread, partitions, size, now, waited=blocked_before)
        if batch is None:
            self._block(thread, "memory", out, known=blocked_before)
            return
        thread.chosen = ""
        before = batch.estimated_bytes if not opened else 0
        batch.offered(thread.sent_at, 0, 1)
        self._add(thread, batch, thread.number, 1, size)
        if arrivals.warm_up:
            batch.closed = True  # It goes at once, and alone.
        if arrivals.window is not None:
            batch.belongs_to(thread.index)
            thread.outstanding += 1
        if self._sticks(thread) and len(partitions) > 1:
            self.partitioner.appended(arrivals.topic, batch.estimated_bytes - before, partitions, last_is_full=batch.is_full)

    def _add(self, thread: Thread, batch: Batch, number: int, count: int, size: int) -> None:
        if not batch.estimate:
            batch.add(number, count, size)
            return
        before = batch.size_bytes
        batch.add(number, count, size)
        batch.compresses(batch.size_bytes - before, thread.arrivals.compression_ratio, thread.arrivals.compression_spread)

    def _room_for(self, thread: Thread, partitions: Sequence[str], size: int, now: Micros, *, waited: bool) -> tuple[Batch | None, bool]:
        """The batch that the record joins, and whether it was opened for that (A12, A15, A46); None while there is no memory for one (A20).

        Who comes while others wait for memory waits behind them: what there is belongs to the first of them, bit by bit (A21).
        """
        topic, sticks = thread.arrivals.topic, self._sticks(thread) and len(partitions) > 1
        asks_again = self.partitioner.asks_again and not thread.chosen
        partition = thread.chosen or self._partition_for(thread, partitions)
        while True:
            batch = self.accumulator.open_batch(partition)
            if sticks and (batch is None or batch.is_full) and self.partitioner.completes_switch(topic, partitions):
                partition = self._partition_for(thread, partitions)
                continue
            if batch is not None and batch.room_for(size)[0]:
                return batch, False
            if batch is not None:
                batch.closed = True
                if sticks:
                    continue
            if not asks_again:
                break
            asks_again = False
            self.partitioner.new_batch(topic, partition, partitions)
            partition = self._partition_for(thread, partitions)
        if not sticks:
            thread.chosen = partition
        if self.accumulator.waiters and not waited:
            return None, True
        return self.accumulator.new_batch(partition, upper_bound_bytes(size), now), True

    def _sticks(self, thread: Thread) -> bool:
        """Its partition is the built-in choice, which goes by bytes."""
        return self.partitioner.by_bytes and thread.arrivals.partition is None and not (thread.arrivals.keyed and self.partitioner.places_keys)

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
        """A6: the record's own, else by key over all partitions, else what the partitioner says."""
        arrivals = thread.arrivals
        if arrivals.partition is not None:
            return partitions[arrivals.partition]
        if arrivals.keyed and self.partitioner.places_keys:
            return partitions[arrivals.key_hash_of(thread.next - 1) % len(partitions)]
        return self.partitioner.choose(arrivals.topic, partitions) if len(partitions) > 1 else partitions[0]

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
            self._add(thread, batch, self.offered, count, size)
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
        if not batch.closed:
            self.accumulator.closings += 1
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
