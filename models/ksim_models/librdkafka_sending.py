"""produce() in librdkafka: from the application's threads into the partitions' queues. It never blocks: what does not fit is refused.

Kafka: rd_kafka_produce, rd_kafka_curr_msgs_add, rd_kafka_msg_partitioner, rd_kafka_msg_sticky_partition (section 7.1 of the client's rule book).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ksim_models.application import Application, Thread, TransactionalThread
from ksim_models.arrivals import Arrivals
from ksim_models.flaws import UNSERIALIZABLE, UNSERIALIZABLE_TEXT, struck
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_errors import FATAL, MSG_SIZE_TOO_LARGE, QUEUE_FULL, STATE, UNKNOWN_PARTITION, UNKNOWN_TOPIC, VALUE_SERIALIZATION, text_of
from ksim_models.librdkafka_queue import MESSAGE_OVERHEAD_AT_MOST, Message, PartitionQueue
from ksim_models.machine import Dice, Effect
from ksim_models.reactions import Reactions
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

MURMUR2_OF_NOTHING = 0x106E08D9
FNV_PRIME = 16_777_619
FNV_OFFSET = 2_166_136_261


def crc32(key: bytes) -> int:
    return zlib.crc32(key)


def fnv1a(key: bytes) -> int:
    """As Sarama has it: the absolute value of the signed 32 bits."""
    value = FNV_OFFSET
    for byte in key:
        value = (value ^ byte) * FNV_PRIME & 0xFFFFFFFF
    return 2**32 - value if value >= 2**31 else value


class Transactions(Protocol):
    """Of a transactional producer: whether it takes messages, and what a message means for its transaction."""

    @property
    def takes_messages(self) -> bool: ...

    def add_partition(self, partition: str, now: Micros) -> None: ...


class Topic:
    """A topic as produce() sees it."""

    __slots__ = ("missing", "name", "partitions", "sticky", "sticky_draws", "sticky_since", "unassigned")

    def __init__(self, name: str) -> None:
        self.name = name
        self.partitions: list[PartitionQueue] = []
        self.missing = False
        """The brokers said for topic.metadata.propagation.max.ms that there is no such topic."""
        self.unassigned: deque[tuple[Message, int]] = deque()
        """Produced before the topic was known, with their index in their workload: no partition and no id yet."""
        self.sticky: PartitionQueue | None = None
        self.sticky_since: Micros = LONG_AGO
        self.sticky_draws = 0


class LibrdkafkaSending(Application):
    def __init__(self, producer: str, config: LibrdkafkaConfig, workloads: Sequence[Arrivals], dice: Dice, want_topic: Callable[[str, Micros], None]) -> None:
        """want_topic: called when a topic is produced to for the first time."""
        super().__init__(producer, workloads)
        self.config = config
        self.dice = dice
        self.want_topic = want_topic
        self.reactions = Reactions(self.threads)
        self.topics: dict[str, Topic] = {}
        self.linger = config.linger_us
        self.patience = ms(config.delivery_timeout_ms) if config.delivery_timeout_ms else NEVER
        self.sticky_linger = ms(config.sticky_partitioning_linger_ms)
        self.most_messages = config.queue_buffering_max_messages or NEVER
        self.most_bytes = config.queue_buffering_max_kbytes * 1024
        self.messages_held = 0
        self.bytes_held = 0
        """In queues and in flight: until the delivery report."""
        self.fatal = ""
        """The error after which nothing more is taken (L7)."""
        self.transactions: Transactions | None = None
        self.is_up: Callable[[str], bool] = lambda broker: False
        """Whether there is a connection to a broker."""

    # When.

    @property
    def wake_at(self) -> Micros:
        """The next moment at which a record makes a difference: a queue is no longer empty, a batch is full, or there is no room."""
        return min(map(self._difference_at, self.awake), default=NEVER)

    def _difference_at(self, thread: Thread) -> Micros:
        at = thread.next_time()
        queue = self._only_queue(thread)
        if at == NEVER or queue is None:
            return at
        arrivals = thread.arrivals
        assert arrivals.size is not None
        size = max(arrivals.size, 1)
        room = min(self.most_messages - self.messages_held, (self.most_bytes - self.bytes_held) // size)  # The record behind it is refused.
        lingers_until = NEVER
        if not queue.messages:
            if not self._flows(queue):
                return at
            lingers_until = at + self.linger
        missing = min(queue.batch_messages - len(queue.messages), -(-(queue.batch_bytes - queue.bytes) // size))
        if missing > 0:
            room = min(room, missing - 1)
        index = thread.next + room
        if index >= arrivals.total:
            return lingers_until
        return min(lingers_until, max(arrivals.time_of(index), thread.free_at))

    def _flows(self, queue: PartitionQueue) -> bool:
        """Its broker is there already: a first message need not ask for a connection."""
        return bool(queue.broker) and self.is_up(queue.broker)

    def _only_queue(self, thread: Thread) -> PartitionQueue | None:
        """The one partition that all records of this thread go to, where not each of them has to be looked at."""
        if not thread.steady or self.fatal or (len(self.awake) > 1 and any(other is not thread and not other.is_done for other in self.awake)):
            return None
        topic = self.topics.get(thread.arrivals.topic)
        if topic is None or not topic.partitions:
            return None
        partition = thread.arrivals.partition
        if partition is not None:
            return topic.partitions[partition] if partition < len(topic.partitions) else None
        return topic.partitions[0] if len(topic.partitions) == 1 else None

    # Take.

    def take(self, now: Micros, out: list[Effect]) -> bool:
        """Hand over all records whose time has come, in the order of their times. True if there were any."""
        called = False
        for outbox in self.outboxes:
            outbox.go_on(now, out)
        while (first := self.first_due(now)) is not None:
            thread, at = first
            called = True
            self.call(thread, at)
            if self.lets_through(thread, at, out):
                self._produce(thread, at, out)
            if thread.arrivals.warm_up and thread.is_done:
                self.awake.remove(thread)
        return called

    def _produce(self, thread: Thread, at: Micros, out: list[Effect], waiter: Thread | None = None) -> None:
        """waiter: the thread whose window the record counts in, where another one calls."""
        index = thread.record
        flaw = thread.arrivals.flaws.get(index) if thread.arrivals.flaws else None
        if flaw is not None:
            out.append(struck(flaw, self.producer, thread.number))
            if flaw.do == UNSERIALIZABLE:
                self._refuse(thread, at, VALUE_SERIALIZATION, out)
                return
        size = thread.arrivals.size_of(index)
        refusal = self._refusal(size)
        topic = self.topic_of(thread.arrivals.topic, at)
        if not refusal and topic.missing:
            refusal = UNKNOWN_TOPIC
        queue = None
        if not refusal and topic.partitions:
            queue = self._partition_for(thread, index, topic, at)
            if queue is None:
                refusal = UNKNOWN_PARTITION
        if refusal:
            self._refuse(thread, at, refusal, out)
            return
        message = Message(thread.number, size, at, at + self.patience if self.patience != NEVER else NEVER, waiter or thread)
        self.messages_held += 1
        self.bytes_held += size
        if thread.arrivals.window is not None:
            message.thread.outstanding += 1
        if queue is None:
            topic.unassigned.append((message, index))
        else:
            self._put(queue, message, at)
        if thread.reacts:
            self.reactions.sent(thread, thread.number, index)

    def _put(self, queue: PartitionQueue, message: Message, now: Micros) -> None:
        queue.put(message)
        if self.transactions is not None:
            self.transactions.add_partition(queue.partition, now)

    def _refusal(self, size: int) -> str:
        """In the order in which produce() looks. Simplified: bytes of keys count against the limits too."""
        if self.fatal:
            return FATAL
        if self.transactions is not None and not self.transactions.takes_messages:
            return STATE
        if size + MESSAGE_OVERHEAD_AT_MOST > self.config.message_max_bytes:
            return MSG_SIZE_TOO_LARGE
        if self.messages_held + 1 > self.most_messages or self.bytes_held + size > self.most_bytes:
            return QUEUE_FULL
        return ""

    def _refuse(self, thread: Thread, at: Micros, error: str, out: list[Effect]) -> None:
        self.tell_refused(thread, error, UNSERIALIZABLE_TEXT if error == VALUE_SERIALIZATION else text_of(error), out)
        if thread.reacts:
            self.reactions.refused(thread, thread.number, at, out)
        if isinstance(thread, TransactionalThread):
            thread.leave_loop(error, text_of(error))

    def topic_of(self, name: str, now: Micros) -> Topic:
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(name)
            self.want_topic(name, now)
        return topic

    # Partitions.

    def _partition_for(self, thread: Thread, index: int, topic: Topic, at: Micros) -> PartitionQueue | None:
        """The record's own, else by its key, else the sticky one; None where there is no such partition.

        Without a key the plain partitioners hash nothing, the others (`random`, `..._random`) stick.
        """
        arrivals, partitions = thread.arrivals, topic.partitions
        if arrivals.partition is not None:
            return partitions[arrivals.partition] if arrivals.partition < len(partitions) else None
        partitioner = self.config.partitioner
        if not arrivals.keyed and self.sticky_linger and partitioner.endswith("random"):
            return self._sticky(topic, at)
        if partitioner == "random" or (not arrivals.keyed and partitioner.endswith("random")):
            return self._random(topic, "random", thread.index * 2**40 + index)
        if partitioner.startswith("murmur2"):
            return partitions[(arrivals.key_hash_of(index) if arrivals.keyed else MURMUR2_OF_NOTHING) % len(partitions)]
        key = f"key-{arrivals.key_of(index)}".encode() if arrivals.keyed else b""
        return partitions[(fnv1a(key) if partitioner.startswith("fnv1a") else crc32(key)) % len(partitions)]

    def _sticky(self, topic: Topic, at: Micros) -> PartitionQueue:
        """By time: sticky.partitioning.linger.ms after the last change the next message changes it again; at once where its partition has no leader."""
        if topic.sticky is None or not topic.sticky.broker or at > topic.sticky_since + self.sticky_linger:
            topic.sticky_since = at
            topic.sticky_draws += 1
            topic.sticky = self._random(topic, "sticky", topic.sticky_draws)
        return topic.sticky

    def _random(self, topic: Topic, why: str, ordinal: int) -> PartitionQueue:
        """Any; if that has no leader, any once more (rd_kafka_msg_partitioner_random)."""
        for attempt in range(2):
            draw = self.dice.at("partition", self.producer, topic.name, why, ordinal, attempt)
            queue = topic.partitions[int(draw * len(topic.partitions))]
            if queue.broker:
                break
        return queue

    def assign(self, topic: Topic, now: Micros) -> list[Message]:
        """The topic has become known: what waited for it gets its partition. Returns those whose partition does not exist."""
        waiting, topic.unassigned = topic.unassigned, deque()
        failed = []
        for message, index in waiting:
            queue = None if topic.missing else self._partition_for(message.thread, index, topic, now)
            if queue is None:
                failed.append(message)
            else:
                self._put(queue, message, now)
        return failed

    # Outcomes.

    def finished(self, messages: Sequence[Message], now: Micros) -> None:
        for message in messages:
            self.messages_held -= 1
            self.bytes_held -= message.size
            thread = message.thread
            window = thread.arrivals.window
            if window is not None:
                if thread.outstanding >= window:
                    thread.free_at = now
                thread.outstanding -= 1

    def failed(self, message: Message, now: Micros, out: list[Effect]) -> None:
        """Its delivery report is served: a produce() in it never waits. The message still counts against the limits of the queue."""
        kept = self.reactions.failed(message.number, now, out)
        if kept is None:
            return
        thread, index = kept
        caller = Thread(thread.index, thread.arrivals, self.producer)
        caller.number, caller.record, caller.sent_at = message.number, index, now
        self._produce(caller, now, out, thread)

    @property
    def has_unassigned(self) -> bool:
        return any(topic.unassigned for topic in self.topics.values())

    @property
    def unassigned(self) -> list[Message]:
        return [message for topic in self.topics.values() for message, _ in topic.unassigned]
