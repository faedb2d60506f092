"""Appends that wait for their commit: a client's, with acks=all, and those that the broker makes itself, as a coordinator or for one.

Kafka: DelayedProduce, ReplicaManager.appendRecords; TransactionStateManager.appendTransactionToLog, PartitionWriter.
"""

from __future__ import annotations

from ksim_models.errors import NONE, ErrorCode
from ksim_models.messages import NO_LEADER, NO_OFFSET, NO_PRODUCER_ID, NO_SEQUENCE, ProduceRequest, ProduceResponse, ProduceResult, RecordBatch
from ksim_models.units import Micros


class ParkedProduce:
    """An acks=all request that waits for its records to be committed (BP-41). One slow partition holds the whole answer (BP-43)."""

    __slots__ = ("connection", "deadline", "request", "results", "waiting")

    def __init__(self, connection: str, request: ProduceRequest, deadline: Micros) -> None:
        self.connection = connection
        self.request = request
        self.deadline = deadline
        self.results: dict[str, ProduceResult] = {}
        self.waiting: dict[str, tuple[int, int]] = {}
        """Partition -> base offset, and where the log started when it was appended."""

    def settle(self, partition: str, error: ErrorCode, leader: str = NO_LEADER, leader_epoch: int = -1) -> bool:
        """This partition has its result; True when it was the last."""
        self.results[partition] = ProduceResult(partition, error, *self.waiting.pop(partition), leader, leader_epoch)
        return not self.waiting

    def response(self) -> ProduceResponse:
        return ProduceResponse(tuple([self.results[batch.partition] for batch in self.request.batches]))


class OwnAppend(ParkedProduce):
    """The broker's own. With acks=1 it waits for the commit too, but min.insync.replicas does not count (GC-9)."""

    __slots__ = ()

    def settle(self, partition: str, error: ErrorCode, leader: str = NO_LEADER, leader_epoch: int = -1) -> bool:
        if error is ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND and self.request.acks == 1:
            error = NONE
        return super().settle(partition, error, leader, leader_epoch)

    def refuse(self, partition: str, error: ErrorCode) -> None:
        self.results[partition] = ProduceResult(partition, error, NO_OFFSET)


def own_batch(partition: str, payload: tuple[object, ...], size_bytes: int, now: Micros, producer: tuple[int, int] | None) -> RecordBatch:
    """A coordinator's records; of a transaction where there is a producer id and epoch."""
    pid, epoch = producer or (NO_PRODUCER_ID, -1)
    sequence = NO_SEQUENCE if producer is None else 0
    records = range(len(payload))
    return RecordBatch(partition, "", records, size_bytes, pid, epoch, sequence, max_timestamp=now, transactional=producer is not None, payload=payload)
