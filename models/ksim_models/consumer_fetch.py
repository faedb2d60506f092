"""What a broker does for consumers: fetches that wait for committed records, where logs begin and end, whether they still hold what was read.

Kafka: KafkaApis.handleFetchRequest, ReplicaManager.fetchMessages, DelayedFetch, Partition.fetchOffsetForTimestamp, lastOffsetForLeaderEpoch.
A consumer reads below the high watermark (read_committed: below the last stable offset), and leaves out by itself what was aborted (CV-1 to CV-4).
What its producer was told about it does not matter (CV-13), and only what was committed may be lost again (CV-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ksim_models.errors import NONE, ErrorCode
from ksim_models.image import Image
from ksim_models.log import Log
from ksim_models.machine import message
from ksim_models.messages import NO_LEADER, NO_OFFSET, topic_of
from ksim_models.replica import Replica
from ksim_models.transaction_messages import (
    NO_TOPIC_ID,
    ConsumerFetchedPartition,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from ksim_models.units import MILLISECOND, NEVER, Micros

Answer = Callable[[str, object], None]
"""Sends a response over a connection, when its turn has come."""


@message
class ParkedFetch:
    """A fetch that waits for fetch.min.bytes, or for the end of fetch.max.wait.ms."""

    connection: str
    request: ConsumerFetchRequest
    deadline: Micros


class Readers:
    """The consumers that read from one broker."""

    def __init__(
        self, replicas: Mapping[str, Replica], image: Image, absence: Callable[[str], ErrorCode], answer: Answer, *, names_leaders: bool = True
    ) -> None:
        self.replicas = replicas
        self.image = image
        self.absence = absence
        self.answer = answer
        self.names_leaders = names_leaders
        self.parked: dict[str, ParkedFetch] = {}
        self.waiting: dict[str, dict[str, None]] = {}
        """Partition -> connections whose fetches wait for it."""

    @property
    def wake_at(self) -> Micros:
        return min((parked.deadline for parked in self.parked.values()), default=NEVER)

    def wake(self, now: Micros) -> None:
        for parked in [parked for parked in self.parked.values() if parked.deadline <= now]:
            self._unpark(parked)
            self.answer(parked.connection, ConsumerFetchResponse(tuple(self._read(parked.request))))

    # Fetch.

    def fetch(self, connection: str, request: ConsumerFetchRequest, now: Micros) -> None:
        """Answered at once where there are enough bytes, or an error; else parked."""
        told = self._read(request)
        if request.max_wait_ms <= 0 or not request.partitions or self._is_enough(request, told):
            self.answer(connection, ConsumerFetchResponse(tuple(told)))
            return
        self.parked[connection] = ParkedFetch(connection, request, now + request.max_wait_ms * MILLISECOND)
        for position in request.partitions:
            self.waiting.setdefault(position.partition, {})[connection] = None

    def tell(self, partition: str) -> None:
        """Something happened here that a fetch may be waiting for: more is committed or stable, another role or epoch, a log that is gone (DelayedFetch)."""
        for connection in list(self.waiting.get(partition, ())):
            parked = self.parked[connection]
            told = self._read(parked.request)
            if self._is_enough(parked.request, told):
                self._unpark(parked)
                self.answer(connection, ConsumerFetchResponse(tuple(told)))

    def _unpark(self, parked: ParkedFetch) -> None:
        del self.parked[parked.connection]
        for position in parked.request.partitions:
            waiting = self.waiting[position.partition]
            waiting.pop(parked.connection, None)
            if not waiting:
                del self.waiting[position.partition]

    def _is_enough(self, request: ConsumerFetchRequest, told: list[ConsumerFetchedPartition]) -> bool:
        size = 0
        for entry in told:
            if entry.error:
                return True
            for batch in entry.batches:
                size += batch.size_bytes
        return size >= request.min_bytes

    def _read(self, request: ConsumerFetchRequest) -> list[ConsumerFetchedPartition]:
        """In the order in which the consumer named them, as far as fetch.max.bytes goes; the first partition with records gives a batch of any size."""
        told = []
        room = request.max_bytes
        first = True
        for position in request.partitions:
            replica = self.replicas.get(position.partition)
            error = self._gate(position.partition, replica, position.current_leader_epoch, position.topic_id)
            if error or replica is None:
                leader, epoch = self._leader(position.partition, error)
                told.append(ConsumerFetchedPartition(position.partition, error, leader=leader, leader_epoch=epoch))
                continue
            entry = self._read_partition(position, replica, request, room, first=first)
            told.append(entry)
            for batch in entry.batches:
                room -= batch.size_bytes
                first = False
        return told

    def _read_partition(
        self, position: ConsumerFetchPartition, replica: Replica, request: ConsumerFetchRequest, room: int, *, first: bool
    ) -> ConsumerFetchedPartition:
        log = replica.log
        offsets = log.high_watermark, log.last_stable_offset, log.log_start_offset
        if not log.log_start_offset <= position.fetch_offset <= log.log_end_offset:
            return ConsumerFetchedPartition(position.partition, ErrorCode.OFFSET_OUT_OF_RANGE, *offsets)  # CV-6, RP-82
        end = log.last_stable_offset if request.read_committed else log.high_watermark  # RP-81
        if position.fetch_offset >= end:
            return ConsumerFetchedPartition(position.partition, NONE, *offsets)
        batches = log.read_until(position.fetch_offset, end, min(room, request.max_partition_bytes), at_least_one=first)
        aborted = log.aborted(position.fetch_offset, batches[-1].next_offset) if request.read_committed and batches else ()
        return ConsumerFetchedPartition(position.partition, NONE, *offsets, batches, aborted)

    def _gate(self, partition: str, replica: Replica | None, leader_epoch: int, topic_id: int = NO_TOPIC_ID) -> ErrorCode:
        """Before any read, in Kafka's order: is it here, is it that topic, is it the same epoch, does this broker lead it?"""
        if topic_id != NO_TOPIC_ID and self.image.knows_deletions:
            topic = self.image.topics.get(topic_of(partition))
            if topic is None or topic.topic_id != topic_id:
                return ErrorCode.UNKNOWN_TOPIC_ID
            if replica is not None and replica.topic_id != topic_id:
                return ErrorCode.INCONSISTENT_TOPIC_ID
        if replica is None:
            return self.absence(partition)
        if -1 < leader_epoch < replica.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if leader_epoch > replica.leader_epoch:
            return ErrorCode.UNKNOWN_LEADER_EPOCH
        return NONE if replica.leadership is not None else ErrorCode.NOT_LEADER_OR_FOLLOWER

    def _leader(self, partition: str, error: ErrorCode) -> tuple[str, int]:
        """KIP-951, from 3.7 on: the leader that this broker knows."""
        known = self.image.partitions.get(partition) if self.names_leaders else None
        if known is None or error not in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH):
            return NO_LEADER, -1
        return known.leader, known.leader_epoch

    # Where logs begin and end.

    def list_offsets(self, request: ListOffsetsRequest) -> ListOffsetsResponse:
        results = []
        for partition, leader_epoch in request.partitions:
            replica = self.replicas.get(partition)
            error = self._gate(partition, replica, leader_epoch)
            offset, epoch = NO_OFFSET, -1
            if not error and replica is not None and replica.leadership is not None:
                log = replica.log
                end = log.last_stable_offset if request.read_committed else log.high_watermark
                if request.at == "earliest":
                    offset, epoch = log.log_start_offset, log.epochs.entries[0][0] if log.epochs.entries else -1
                else:
                    offset, epoch = _first_since(request.since, log, end) if request.at == "since" else (end, replica.leader_epoch)
                    if replica.leadership.epoch_start_offset > log.high_watermark and (request.at != "since" or offset == NO_OFFSET):
                        error, offset, epoch = ErrorCode.OFFSET_NOT_AVAILABLE, NO_OFFSET, -1  # RP-27
            results.append((partition, error, offset, epoch))
        return ListOffsetsResponse(tuple(results))

    def end_of_epochs(self, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse:
        """CV-8: where the epoch of a consumer's position ended in this log."""
        results = []
        for partition, leader_epoch, epoch in request.partitions:
            replica = self.replicas.get(partition)
            error = self._gate(partition, replica, leader_epoch)
            found = (-1, -1) if error or replica is None else replica.log.epochs.end_offset_for(epoch, replica.log.log_end_offset)
            results.append((partition, error, *found))
        return OffsetForLeaderEpochResponse(tuple(results))


def _first_since(moment: Micros, log: Log, end: int) -> tuple[int, int]:
    """UnifiedLog.fetchOffsetByTimestamp: -1 where nothing that may be read is so young. Simplified: the first record of the batch that holds it."""
    found = next((batch for batch in log.batches if batch.max_timestamp >= moment and batch.marker is None), None)
    return (NO_OFFSET, -1) if found is None or found.base_offset >= end else (max(found.base_offset, log.log_start_offset), found.leader_epoch)
