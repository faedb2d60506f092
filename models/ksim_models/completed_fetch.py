"""What a fetch brought of one partition, given out record by record: aborted transactions and control batches are left out here, not by the broker.

Kafka: CompletedFetch, FetchCollector (CV-2).
"""

from __future__ import annotations

from ksim_models.errors import ErrorCode
from ksim_models.machine import message
from ksim_models.messages import Records
from ksim_models.transaction_messages import ConsumerFetchedPartition


@message
class Slice:
    """Records of one batch that poll() returns: the first stands at `base_offset`."""

    partition: str
    producer: str
    records: Records
    base_offset: int


class CompletedFetch:
    __slots__ = (
        "aborted",
        "aborted_producers",
        "answer",
        "batches",
        "data",
        "drained",
        "error",
        "fetch_offset",
        "initialized",
        "last_epoch",
        "next_offset",
        "partition",
        "place",
        "read",
    )

    def __init__(self, data: ConsumerFetchedPartition, fetch_offset: int, *, read_committed: bool, answer: int = 0) -> None:
        """answer: the number of the answer that brought it."""
        self.data = data
        self.answer = answer
        self.read = 0
        """Records that were given out, where that is measured."""
        self.partition = data.partition
        self.error: ErrorCode = data.error
        self.batches = data.batches
        self.fetch_offset = self.next_offset = fetch_offset
        self.last_epoch = -1
        self.place = 0
        self.initialized = False
        self.drained = False
        self.aborted = sorted(data.aborted, key=lambda one: (one[1], one[0])) if read_committed else None
        """Those whose first record has not been met, oldest first; None: everything is returned."""
        self.aborted_producers: dict[int, None] = {}

    def take(self, most: int) -> list[Slice]:
        """At most so many records; the position behind them is `next_offset` then. Where nothing is left it is drained."""
        taken: list[Slice] = []
        while most > 0:
            if self.place == len(self.batches):
                if self.batches:
                    self.next_offset = max(self.next_offset, self.batches[-1].next_offset)
                self.drained = True
                break
            batch = self.batches[self.place]
            self.last_epoch = batch.leader_epoch
            if batch.marker is not None or (self.aborted is not None and self._is_aborted(batch.producer_id, batch.next_offset, batch.transactional)):
                if batch.marker is not None and self.aborted is not None:
                    self._meet_marker(batch.producer_id, batch.next_offset, committed=batch.marker.committed)
                self.next_offset = max(self.next_offset, batch.next_offset)
                self.place += 1
                continue
            skipped = max(0, self.next_offset - batch.base_offset)
            records = batch.records[skipped : skipped + most]
            if records:
                taken.append(Slice(self.partition, batch.producer, records, batch.base_offset + skipped))
                most -= len(records)
                self.next_offset = batch.base_offset + skipped + len(records)
            if self.next_offset >= batch.next_offset:
                self.place += 1
        return taken

    def _is_aborted(self, producer_id: int, end: int, transactional: bool) -> bool:
        self._begin_aborted_up_to(end)
        return transactional and producer_id in self.aborted_producers

    def _meet_marker(self, producer_id: int, end: int, *, committed: bool) -> None:
        self._begin_aborted_up_to(end)
        if not committed:
            self.aborted_producers.pop(producer_id, None)

    def _begin_aborted_up_to(self, end: int) -> None:
        while self.aborted and self.aborted[0][1] < end:
            self.aborted_producers[self.aborted.pop(0)[0]] = None
