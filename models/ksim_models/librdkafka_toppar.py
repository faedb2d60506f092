"""A partition that librdkafka reads: where its fetcher stands, what the application was given, what it has stored to be committed.

Kafka: rd_kafka_toppar_t, rd_kafka_fetch_pos_t, rd_kafka_msgset_reader.c (aborted transactions), rd_kafka_update_app_pos in librdkafka.
Its fetcher is ahead of the application by what waits in the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

from ksim_models.messages import NO_LEADER, Records
from ksim_models.transaction_messages import ConsumerFetchedPartition
from ksim_models.units import LONG_AGO, NEVER, Micros

Place = tuple[int, int]
"""(leader epoch of the record before, offset): rd_kafka_fetch_pos_cmp compares them in this order."""
NOWHERE: Place = (-1, -1)


class FetchState(Enum):
    NONE = "not begun, given up, or without an offset to begin at"
    OFFSET_QUERY = "is to ask where the log begins or ends"
    OFFSET_WAIT = "asks"
    VALIDATE = "asks whether the log still holds what was read"
    ACTIVE = "may fetch"


class Toppar:
    """It stays when it is given up: it may come back."""

    __slots__ = (
        "app",
        "backoff_until",
        "broker",
        "committed",
        "fetch",
        "leader",
        "leader_epoch",
        "log_start",
        "next_start",
        "partition",
        "paused",
        "query",
        "query_at",
        "started",
        "state",
        "stored",
        "validate_at",
        "validating",
        "validation",
        "version",
    )

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.state = FetchState.NONE
        self.version = 0
        """Raised by whatever makes answers and queued records of no use: a start, a stop, a pause, a seek."""
        self.started = self.paused = False
        self.next_start: Place = NOWHERE
        self.fetch: Place = NOWHERE
        self.app: Place = NOWHERE
        """Behind the last record that the application was given."""
        self.stored: Place = NOWHERE
        """What the next commit without further words commits."""
        self.committed: Place = NOWHERE
        self.log_start = -1
        """As of the last answer to a fetch: a reset to the beginning asks nobody."""
        self.query = ""
        self.query_at: Micros = NEVER
        self.backoff_until: Micros = LONG_AGO
        self.leader, self.leader_epoch = NO_LEADER, -1
        self.broker = ""
        """Whose thread serves it."""
        self.validation: Place = NOWHERE
        self.validating = False
        self.validate_at: Micros = NEVER

    def go_to(self, place: Place) -> None:
        self.next_start = self.fetch = place
        self.state = FetchState.ACTIVE
        self.query_at = NEVER


class Received:
    """Records of one batch in the queue; a control batch has none, and its place is stored all the same."""

    __slots__ = ("base_offset", "bytes_each", "epoch", "end", "producer", "records", "taken", "toppar")

    def __init__(self, toppar: Toppar, producer: str, records: Records, base_offset: int, end: int, epoch: int, bytes_each: int) -> None:
        self.toppar = toppar
        self.producer = producer
        self.records = records
        self.base_offset = base_offset
        self.end = end
        """Behind its last offset."""
        self.epoch = epoch
        self.bytes_each = bytes_each
        self.taken = 0

    @property
    def left(self) -> int:
        return max(1, len(self.records)) - self.taken


class ConsumerQueue:
    """Of all partitions together, in the order in which the answers came: their queues are forwarded to it, and so is what they are measured by."""

    def __init__(self) -> None:
        self.entries: deque[Received] = deque()
        self.messages = 0
        self.bytes = 0

    def add(self, entry: Received) -> None:
        self.entries.append(entry)
        self.messages += entry.left
        self.bytes += entry.left * entry.bytes_each

    def take(self, most: int) -> tuple[Received, int, int] | None:
        """Of the first batch: which, from which of its records on, and how many. The application has been given them then."""
        if not self.entries:
            return None
        entry = self.entries[0]
        first, count = entry.taken, min(most, entry.left)
        entry.taken += count
        self.messages -= count
        self.bytes -= count * entry.bytes_each
        if not entry.left:
            self.entries.popleft()
        return entry, first, count

    def purge(self, toppar: Toppar) -> None:
        if any(entry.toppar is toppar for entry in self.entries):
            kept = [entry for entry in self.entries if entry.toppar is not toppar]
            self.entries = deque(kept)
            self.messages = sum(entry.left for entry in kept)
            self.bytes = sum(entry.left * entry.bytes_each for entry in kept)

    def holds(self, toppar: Toppar) -> bool:
        return any(entry.toppar is toppar for entry in self.entries)


class AbortedTransactions:
    """Of one answer: where each producer's aborted transactions begin. An abort marker ends the first of them."""

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self.starts: dict[int, deque[int]] = {}
        for producer_id, first_offset in sorted(aborted, key=lambda one: (one[1], one[0])):
            self.starts.setdefault(producer_id, deque()).append(first_offset)

    def has(self, producer_id: int, base_offset: int) -> bool:
        starts = self.starts.get(producer_id)
        return starts[0] <= base_offset if starts else False

    def end(self, producer_id: int, offset: int) -> None:
        starts = self.starts.get(producer_id)
        if starts and starts[0] <= offset:
            starts.popleft()


def read_batches(toppar: Toppar, data: ConsumerFetchedPartition, queue: ConsumerQueue, *, read_committed: bool) -> None:
    """rd_kafka_msgset_parse: all of an answer goes into the queue, but aborted records and what stands before the fetcher's place."""
    aborted = AbortedTransactions(data.aborted if read_committed else ())
    for batch in data.batches:
        at = toppar.fetch[1]
        if batch.next_offset <= at:
            continue
        count = len(batch.records)
        if batch.marker is not None:
            if not batch.marker.committed:
                aborted.end(batch.producer_id, batch.base_offset)
            queue.add(Received(toppar, "", range(0), batch.base_offset, batch.next_offset, batch.leader_epoch, 0))
        elif not (batch.transactional and aborted.has(batch.producer_id, batch.base_offset)):
            skipped = max(0, at - batch.base_offset)
            records = batch.records[skipped:] if skipped else batch.records
            each = batch.size_bytes // max(1, count)
            queue.add(Received(toppar, batch.producer, records, batch.base_offset + skipped, batch.next_offset, batch.leader_epoch, each))
        toppar.fetch = batch.leader_epoch, batch.next_offset
