"""A partition's queue in librdkafka: messages in the order of their ids, cut into a batch when enough have come or the first has waited long enough.

Kafka: rd_kafka_toppar_t, rd_kafka_msgq_allow_wakeup_at, rd_kafka_msgset_writer_write_msgq, rd_kafka_retry_msgq, rd_kafka_msgq_age_scan in librdkafka.
Batches do not exist while messages wait: what was sent together need not be sent together again, unless sequence numbers demand it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.application import Thread
from ksim_models.batch import BATCH_OVERHEAD, record_bytes
from ksim_models.compression import compressed_bytes
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.messages import RecordBatch, Records, topic_of
from ksim_models.units import LONG_AGO, NEVER, Micros

MOST_IN_FLIGHT_PER_PARTITION = 5
"""RD_KAFKA_IDEMP_MAX_INFLIGHT: with idempotence, counted in messages (section 7.1)."""
MESSAGE_OVERHEAD_AT_MOST = 36
"""RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD: what librdkafka reckons for a message when it decides whether one more fits."""
REQUEST_OVERHEAD = 60
"""The Produce request around a batch counts against batch.size too. Simplified: the same for every topic's and client's name."""
SEQUENCES = 2**31
WARM_UP = ""
"""The producer's name on batches of the warm-up, which belong to nobody."""


class Message:
    __slots__ = ("backoff_until", "id", "last_id", "number", "produced_at", "retries", "sends", "size", "thread", "timeout_at", "told")

    def __init__(self, number: int, size: int, produced_at: Micros, timeout_at: Micros, thread: Thread) -> None:
        self.number = number
        """The producer's number of the record; negative in the warm-up."""
        self.size = size
        self.produced_at = produced_at
        self.timeout_at = timeout_at
        """message.timeout.ms after produce()."""
        self.thread = thread
        self.id = 0
        """Of its partition, from 1; 0 while it has none."""
        self.retries = 0
        self.backoff_until: Micros = LONG_AGO
        self.last_id = 0
        """Of the batch it was the first of: with idempotence the same batch must be built again."""
        self.sends = 0
        self.told = False
        """The history knows that it was offered."""


def records_of(messages: Sequence[Message]) -> Records:
    first, count = messages[0].number, len(messages)
    numbers = [message.number for message in messages]
    if numbers == list(range(first, first + count)):
        return range(first, first + count)
    return tuple(numbers)


class MessageBatch:
    """What one Produce request carries."""

    __slots__ = ("epoch", "first_sequence", "messages", "producer_id", "queue", "raw_bytes", "size_bytes")

    def __init__(self, queue: PartitionQueue, messages: list[Message]) -> None:
        self.queue = queue
        self.messages = messages
        """Those that have no outcome, and were not put back."""
        self.raw_bytes = 0
        """Uncompressed, where it is compressed."""
        self.size_bytes = BATCH_OVERHEAD + sum(record_bytes(message.size, delta) for delta, message in enumerate(messages))
        self.producer_id, self.epoch, self.first_sequence = -1, -1, -1

    def compress(self, draw: float) -> None:
        """rd_kafka_msgset_writer_compress: all limits went by the size before; what compression would make larger goes as it is."""
        mean = spread = 0
        for delta, message in enumerate(self.messages):
            arrivals = message.thread.arrivals
            size = record_bytes(message.size, delta)
            mean += size * arrivals.compression_ratio
            spread += size * arrivals.compression_spread
        packed = BATCH_OVERHEAD + compressed_bytes(mean, spread, draw)
        if packed < self.size_bytes:
            self.raw_bytes, self.size_bytes = self.size_bytes, packed

    def on_wire(self, producer: str, *, transactional: bool) -> RecordBatch:
        messages = self.messages
        name, records = (producer, records_of(messages)) if messages[0].number >= 0 else (WARM_UP, range(len(messages)))
        numbers = self.producer_id, self.epoch, self.first_sequence
        return RecordBatch(
            self.queue.partition,
            name,
            records,
            self.size_bytes,
            *numbers,
            max_timestamp=messages[-1].produced_at,
            raw_bytes=self.raw_bytes,
            transactional=transactional,
        )

    @property
    def next_sequence(self) -> int:
        return (self.first_sequence + len(self.messages)) % SEQUENCES


class PartitionQueue:
    def __init__(self, partition: str, config: LibrdkafkaConfig) -> None:
        self.partition = partition
        self.topic = topic_of(partition)
        self.linger = config.linger_us
        self.batch_messages = config.batch_num_messages
        self.batch_bytes = config.batch_size
        self.most_bytes = min(config.batch_size, config.message_max_bytes)
        self.messages: deque[Message] = deque()
        """Sorted by id."""
        self.bytes = 0
        self.ids_given = 0
        self.in_flight = 0
        """Messages in requests that have no answer, sent or about to be."""
        self.broker = ""
        """Who serves it: its leader; "" while it has none, then only time-outs are looked for."""
        # With idempotence.
        self.producer_id = -1
        self.epoch = -1
        self.base_id = 0
        """The id whose message has sequence 0."""
        self.next_ack_sequence = 0
        self.next_error_sequence = 0
        self.acked_id = 0
        self.draining = False
        """Nothing is sent before everything in flight has its answer (L5)."""

    def put(self, message: Message) -> None:
        if not message.id:
            self.ids_given += 1
            message.id = self.ids_given
        self.messages.append(message)
        self.bytes += message.size

    def give_back(self, messages: Sequence[Message]) -> None:
        """L4: at their places by id."""
        if not messages:
            return
        self.bytes += sum(message.size for message in messages)
        queue = self.messages
        if not queue or messages[-1].id < queue[0].id:
            queue.extendleft(reversed(messages))
        elif messages[0].id > queue[-1].id:
            queue.extend(messages)
        else:
            self.messages = deque(sorted([*queue, *messages], key=lambda message: message.id))

    def ready_at(self, now: Micros) -> Micros:
        """When a batch may be cut: the first message's retry backoff is over, then its linger, unless the batch is full."""
        if not self.messages:
            return NEVER
        first = self.messages[0]
        if first.backoff_until > now:
            return first.backoff_until
        if len(self.messages) >= self.batch_messages or self.bytes >= self.batch_bytes or first.number < 0:
            return now  # The warm-up is flushed.
        due = first.produced_at + self.linger
        return due if due > now else now

    def take_batch(self, now: Micros) -> MessageBatch | None:
        """As many as fit, up to the first that still backs off; of a batch with sequence numbers exactly what it was before."""
        queue = self.messages
        taken: list[Message] = []
        used = REQUEST_OVERHEAD + BATCH_OVERHEAD
        last_id = queue[0].last_id
        is_warm_up = queue[0].number < 0
        while queue:
            message = queue[0]
            if (
                message.backoff_until > now
                or (last_id and message.id > last_id)
                or (taken and (len(taken) == self.batch_messages or used + MESSAGE_OVERHEAD_AT_MOST + message.size > self.most_bytes))
                or (message.number < 0) != is_warm_up
            ):
                break
            used += record_bytes(message.size, len(taken))
            taken.append(queue.popleft())
            self.bytes -= message.size
        return MessageBatch(self, taken) if taken else None

    def take_expired(self, now: Micros) -> list[Message]:
        """From the head, up to the first that still has time."""
        expired = []
        while self.messages and self.messages[0].timeout_at <= now:
            expired.append(self.messages.popleft())
            self.bytes -= expired[-1].size
        return expired

    def take_acked(self, last_id: int) -> list[Message]:
        """A later batch succeeded, so these had been written too (rd_kafka_dr_implicit_ack)."""
        acked = []
        while self.messages and self.messages[0].id <= last_id:
            acked.append(self.messages.popleft())
            self.bytes -= acked[-1].size
        return acked

    def take_all(self) -> list[Message]:
        taken = list(self.messages)
        self.messages.clear()
        self.bytes = 0
        return taken

    def number(self, batch: MessageBatch) -> None:
        """Sequences are message ids, counted from the first id of this producer id and epoch (L5)."""
        batch.producer_id, batch.epoch = self.producer_id, self.epoch
        batch.first_sequence = (batch.messages[0].id - self.base_id) % SEQUENCES

    def begin_epoch(self, producer_id: int, epoch: int) -> None:
        self.producer_id, self.epoch = producer_id, epoch
        self.base_id = self.messages[0].id
        self.next_ack_sequence = self.next_error_sequence = 0
