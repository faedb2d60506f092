"""send(): from the application's threads into the accumulator, one record after another or a whole range at once.

Kafka: KafkaProducer.doSend, RecordAccumulator.append, BufferPool (A1 to A25).
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.accumulator import Accumulator
from ksim_models.application import Application, Thread
from ksim_models.arrivals import Arrivals
from ksim_models.batch import BATCH_OVERHEAD, Batch, room_in, upper_bound_bytes
from ksim_models.callbacks import Callbacks
from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Blocked
from ksim_models.flaws import UNSERIALIZABLE, UNSERIALIZABLE_TEXT, struck
from ksim_models.handover import send_range, send_uneventful
from ksim_models.lookahead import Lookahead
from ksim_models.machine import Dice, Effect, Note
from ksim_models.partitioners import BuiltIn, partitioner_of
from ksim_models.profiles import ClientProfile
from ksim_models.reactions import Reactions
from ksim_models.refusals import CLOSED_BEFORE, CLOSED_MEANWHILE, CLOSED_WHILE_ALLOCATING, larger_than_the_buffer, no_memory, no_metadata, too_large
from ksim_models.transaction_manager import PARTITION, TransactionManager
from ksim_models.transactional_send import refused_by_send, why_not_sending
from ksim_models.units import LONG_AGO, NEVER, Micros, ms


class Sending(Application):
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
        super().__init__(producer, workloads)
        self.config = config
        self.profile = profile
        self.accumulator = accumulator
        self.metadata = metadata
        self.dice = dice
        self.max_block = ms(config.max_block_ms)
        self.reactions = Reactions(self.threads)
        self.partitioner = partitioner_of(producer, config, profile, metadata, dice)
        if isinstance(self.partitioner, BuiltIn) and self.partitioner.adapts:
            accumulator.partitioner = self.partitioner
        self.begun = False
        """The client has had something to do."""
        self.blocked = 0
        """Threads whose send() has not returned."""
        self.overdue_from: Micros = NEVER
        """When a request that has no answer may be timed out."""
        self.in_error_state = ""
        """The exception of a fatal error: send() throws from then on (A8, T3)."""
        self.lookahead = Lookahead(config.max_request_size, accumulator, metadata, self.partitioner)
        self.callbacks = Callbacks(self)
        self.closed = False
        """close() has begun."""
        self.transactions: TransactionManager | None = None
        """Of a transactional producer."""
        self._zero_is_endless = config.batch_size == 0 and profile.uniform_sticky and not profile.batch_size_at_least_one
        """3.3.0 and 3.3.1 (KAFKA-14303): the sticky partition changes before every append, and append looks again for ever."""

    def send_in_transactions(self, transactions: TransactionManager) -> None:
        """Each record may bring a partition to the transaction, or be refused by its state."""
        self.transactions = transactions
        for thread in self.threads:
            thread.steady, thread.one_by_one = False, True

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
            if at == NEVER or thread.one_by_one or (self._zero_is_endless and self._turns_for_ever(thread.arrivals)):
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
        upper = upper_bound_bytes(size)
        if upper > self.lookahead.largest_record:
            return at  # send() will throw (A7).
        batch = self.accumulator.open_batch(partition)
        if batch is None:
            capacity = max(self.accumulator.batch_size, upper)
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
        if (
            not thread.steady
            or self.closed
            or (self._zero_is_endless and self._turns_for_ever(thread.arrivals))
            or (len(self.awake) > 1 and any(other is not thread and not other.is_done for other in self.awake))
        ):
            return None
        partitions = self.metadata.topics.get(thread.arrivals.topic)
        if not partitions:
            return None
        if thread.arrivals.partition is not None:
            return partitions[thread.arrivals.partition] if thread.arrivals.partition < len(partitions) else None
        return partitions[0] if len(partitions) == 1 else None

    def last_use(self, topic: str, now: Micros) -> Micros:
        """When a record for this topic was last handed over, or waits to be: what metadata.max.idle.ms counts from (M1)."""
        at = LONG_AGO
        for thread in self.threads:
            if thread.arrivals.topic == topic:
                called = thread.arrivals.count_until(now)
                at = max(at, now if thread.blocked_on else thread.arrivals.time_of(called - 1) if called else LONG_AGO)
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
            self.let_sleep()
        for outbox in self.outboxes:
            outbox.go_on(now, out)
        alone = len(self.awake) == 1 and self.awake[0].steady and self.awake[0].arrivals.partition is None and not self.awake[0].arrivals.warm_up
        while (first := self.first_due(now)) is not None:
            thread, at = first
            self.begun = True
            partition = self._only_partition(thread)
            if partition is not None and not thread.arrivals.warm_up:
                send_range(self, thread, partition, now, out)
                return  # It is the only thread that has anything to send.
            if alone and send_uneventful(self, thread, now):
                continue
            self.call(thread, at)
            if self.lets_through(thread, at, out):
                self.send_one(thread, at, out)

    def call(self, thread: Thread, at: Micros) -> None:
        super().call(thread, at)
        thread.patience_ends = at + self.max_block

    def _try_again(self, thread: Thread, now: Micros, out: list[Effect]) -> None:
        """A send() that was blocked: has what it waits for come, or its patience ended? What comes at the last moment still counts."""
        in_line = thread.blocked_on == "memory"
        self.unblock(thread)
        self.send_one(thread, now, out, blocked_before=True, in_line=in_line)
        if thread.blocked_on and now >= thread.patience_ends:
            self._give_up(thread, now, out)
        if not thread.blocked_on:
            thread.free_at = now
            self.accumulator.claimed = self.accumulator.claimed or in_line  # What it leaves is for the next one.

    def _give_up(self, thread: Thread, now: Micros, out: list[Effect]) -> None:
        self.refuse(thread, *self.impatience(thread), now, out)
        self.accumulator.claimed = self.accumulator.claimed or thread.blocked_on == "memory"
        self.unblock(thread)
        thread.chosen, thread.free_at = "", now

    def impatience(self, thread: Thread) -> tuple[str, str]:
        """A3, A22."""
        topic, waited = thread.arrivals.topic, self.config.max_block_ms
        if thread.blocked_on == "memory":
            accumulator = self.accumulator
            available = 0 if accumulator.claimed else accumulator.free_memory
            pool = accumulator.total_memory, available, accumulator.batch_size
            return no_memory(*thread.asks_for, *pool, tells_pool=self.profile.memory_text_tells_pool)
        known = self.metadata.topics.get(topic, ()) if self.profile.metadata_timeout_names_partition else ()
        error = self.metadata.errors.get(topic) if self.profile.metadata_timeout_has_cause else None
        return no_metadata(topic, thread.arrivals.partition, len(known), waited, error)

    def refuse(self, thread: Thread, error: str, text: str, now: Micros, out: list[Effect]) -> None:
        self.tell_refused(thread, error, text, out)
        if thread.reacts:
            self.reactions.refused(thread, thread.number, now, out)
        if self.transactions is not None:
            thread.refusal = error, text
            refused_by_send(self.transactions, error, text)

    def unblock(self, thread: Thread) -> None:
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

    def send_one(self, thread: Thread, now: Micros, out: list[Effect], *, blocked_before: bool = False, in_line: bool = False) -> None:
        """in_line: it has waited for memory, and there is nobody before it."""
        arrivals = thread.arrivals
        flaw = arrivals.flaws.get(thread.record) if arrivals.flaws else None
        if flaw is not None and not blocked_before:
            out.append(struck(flaw, self.producer, thread.number))
        partitions = self.metadata.topics.get(arrivals.topic, ())
        has_partition = len(partitions) > (arrivals.partition or 0)
        if self.closed and (not blocked_before or has_partition):
            self.refuse(thread, *(CLOSED_MEANWHILE if blocked_before else CLOSED_BEFORE), now, out)
            return
        if not has_partition:
            if self._is_refused_by_metadata(thread, now, out, blocked_before=blocked_before):
                return
            self.metadata.want(arrivals.topic, now)
            self._block(thread, "metadata", out, known=blocked_before)
            return
        if flaw is not None and flaw.do == UNSERIALIZABLE:
            self.refuse(thread, "SerializationException", UNSERIALIZABLE_TEXT, now, out)  # A5: thrown, before anything else is looked at.
            return
        size = arrivals.size_of(thread.record)
        if self._is_too_large(thread, size, now, out):
            return
        if self.in_error_state:  # Kafka appends the record first (A11), and fails it in the next turn: it is sent in no case.
            fenced = self.in_error_state == "ProducerFencedException"
            text = "Cannot execute transactional method because we are in an error state"
            self.refuse(thread, self.in_error_state if fenced else "KafkaException", text, now, out)
            return
        if self.transactions is not None and (failure := why_not_sending(self.transactions)) is not None:
            text = failure.text.replace(PARTITION, self._partition_for(thread, partitions)) if PARTITION in failure.text else failure.text
            self.refuse(thread, failure.exception, text, now, out)
            return
        if self._turns_for_ever(arrivals):
            thread.stopped = True
            thread.patience_ends = NEVER
            self._block(thread, "partitioner", out, known=blocked_before)
            return
        sticks = len(partitions) > 1 and self._sticks(thread)
        batch, opened = self._room_for(thread, partitions, size, now, sticks=sticks, in_line=in_line)
        if batch is None:
            capacity = max(self.accumulator.batch_size, upper_bound_bytes(size))
            if capacity > self.accumulator.total_memory:  # C8: nobody looked at construction.
                thread.chosen = ""
                self.refuse(thread, *larger_than_the_buffer(capacity, self.accumulator.total_memory), now, out)
                return
            if not in_line:
                thread.asks_for = capacity, (thread.patience_ends - now) // 1000
                self.accumulator.claimed = self.accumulator.claimed and self.accumulator.waiters > 0
            self._block(thread, "memory", out, known=blocked_before)
            return
        thread.chosen = ""
        before = batch.estimated_bytes if sticks and not opened else 0
        batch.offered(thread.sent_at, 0, 1)
        self.add(thread, batch, thread.number, 1, size)
        if thread.reacts:
            self.reactions.sent(thread, thread.number, thread.record)
        if self.transactions is not None:
            self.transactions.add_partition(batch.partition)
        if arrivals.warm_up:
            batch.closed = True  # It goes at once, and alone.
        if arrivals.window is not None:
            batch.belongs_to(thread.index)
            thread.outstanding += 1
        if sticks:
            self.partitioner.appended(arrivals.topic, batch.estimated_bytes - before, partitions, last_is_full=batch.is_full)

    def add(self, thread: Thread, batch: Batch, number: int, count: int, size: int) -> None:
        if not batch.estimate:
            batch.add(number, count, size)
            return
        before = batch.size_bytes
        batch.add(number, count, size)
        batch.compresses(batch.size_bytes - before, thread.arrivals.compression_ratio, thread.arrivals.compression_spread)

    def _room_for(self, thread: Thread, partitions: Sequence[str], size: int, now: Micros, *, sticks: bool, in_line: bool) -> tuple[Batch | None, bool]:
        """The batch that the record joins, and whether it was opened for that (A12, A15, A46); None while there is no memory for one (A20).

        Who comes while others wait for memory is served if there is enough for it, unless the first of them has been woken:
        what there is belongs to that one then, bit by bit (A21).
        """
        topic = thread.arrivals.topic
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
        accumulator = self.accumulator
        if accumulator.waiters and accumulator.claimed and not in_line:
            return None, True
        opened = accumulator.new_batch(partition, upper_bound_bytes(size), now)
        accumulator.claimed = accumulator.claimed or (opened is not None and accumulator.waiters > 0)  # What it leaves wakes the first of them.
        return opened, True

    def _sticks(self, thread: Thread) -> bool:
        """Its partition is the built-in choice, which goes by bytes."""
        return self.partitioner.by_bytes and thread.arrivals.partition is None and not (thread.arrivals.keyed and self.partitioner.places_keys)

    def _is_refused_by_metadata(self, thread: Thread, now: Micros, out: list[Effect], *, blocked_before: bool) -> bool:
        """A3: an invalid name is remembered; that a topic is not for this client shows again with every answer of the brokers."""
        topic = thread.arrivals.topic
        error = self.metadata.errors.get(topic)
        if error is ErrorCode.INVALID_TOPIC_EXCEPTION:
            self.refuse(thread, error.exception, f"Invalid topics: [{topic}]", now, out)
            return True
        if error is ErrorCode.TOPIC_AUTHORIZATION_FAILED:
            if blocked_before:
                self.refuse(thread, error.exception, f"Not authorized to access topics: [{topic}]", now, out)
                return True
            del self.metadata.errors[topic]
        return False

    def _is_too_large(self, thread: Thread, size: int, now: Micros, out: list[Effect]) -> bool:
        """A7: judged by the upper bound of the record's size, before anything is appended."""
        upper = upper_bound_bytes(size)
        if upper <= self.lookahead.largest_record:
            return False
        for limit, name in ((self.config.max_request_size, "max.request.size"), (self.accumulator.total_memory, "buffer.memory")):
            if upper > limit:
                self.refuse(thread, *too_large(upper, limit, name), now, out)
                return True
        return False

    def _turns_for_ever(self, arrivals: Arrivals) -> bool:
        return self._zero_is_endless and not arrivals.keyed and arrivals.partition is None

    def _partition_for(self, thread: Thread, partitions: Sequence[str]) -> str:
        """A6: the record's own, else by key over all partitions, else what the partitioner says."""
        arrivals = thread.arrivals
        if arrivals.partition is not None:
            return partitions[arrivals.partition]
        if arrivals.keyed and self.partitioner.places_keys:
            return partitions[arrivals.key_hash_of(thread.record) % len(partitions)]
        return self.partitioner.choose(arrivals.topic, partitions) if len(partitions) > 1 else partitions[0]

    # Outcomes.

    def failed(self, batch: Batch, now: Micros, out: list[Effect]) -> None:
        """The callbacks of its records, in their order (S18)."""
        for number in batch.records:
            kept = self.reactions.failed(number, now, out)
            if kept is not None:
                self.callbacks.send_again(*kept, number, now, out)

    def close(self, now: Micros, out: list[Effect]) -> None:
        """close() begins: the application sends nothing more, and who waits for memory is told so (A54)."""
        self.closed = True
        self.stop()
        self.callbacks.close(now)
        for thread in self.threads:
            if thread.blocked_on == "memory":
                self.unblock(thread)
                self.refuse(thread, *CLOSED_WHILE_ALLOCATING, now, out)

    def end(self, now: Micros, out: list[Effect]) -> None:
        """The I/O thread has ended, and the metadata is closed: who waits for it is told so (A54)."""
        for thread in self.threads:
            if thread.blocked_on == "metadata":
                self.unblock(thread)
                self.refuse(thread, *CLOSED_MEANWHILE, now, out)
        self.close_books(out)

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
        self.callbacks.close_books(out)
        for thread in self.threads:
            if thread.blocked_on:
                self.tell_offered(thread, out)
