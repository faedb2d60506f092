"""A transactional producer in a small cluster, played by hand: one request after the other."""

from __future__ import annotations

from ksim_models.errors import ErrorCode
from ksim_models.facts import TransactionState
from ksim_models.messages import InitProducerIdRequest, ProduceRequest, RecordBatch
from ksim_models.transaction_messages import AddPartitionsToTxnRequest, EndTxnRequest
from small_cluster import SmallCluster

ID = "copy-1"


class Client:
    """A transactional producer that asks for one thing after the other."""

    def __init__(self, cluster: SmallCluster, *, version: int = 1, timeout_ms: int = 60_000, name: str = "p1") -> None:
        self.cluster = cluster
        self.version = version
        self.timeout_ms = timeout_ms
        self.name = name
        self.producer_id, self.epoch = -1, -1
        self.sequences: dict[str, int] = {}
        self.ask = "broker-1"

    @property
    def coordinator(self) -> str:
        return self.cluster.find("transaction", ID, ask=self.ask)

    def init(self, *, again: bool = True, expected: bool = False) -> ErrorCode:
        """again: as often as it takes."""
        while True:
            who = (self.producer_id, self.epoch) if expected else (-1, -1)
            answer = self.cluster.ask(self.coordinator, InitProducerIdRequest(ID, self.timeout_ms, *who))
            if answer.error.retriable and again:
                self.cluster.run_for(20)
                continue
            if answer.error is ErrorCode.NONE:
                self.producer_id, self.epoch = answer.producer_id, answer.producer_epoch
                self.sequences.clear()
            return ErrorCode(answer.error)

    def add(self, *partitions: str) -> list[ErrorCode]:
        answer = self.cluster.ask(self.coordinator, AddPartitionsToTxnRequest(ID, self.producer_id, self.epoch, partitions))
        return [error for _, error in answer.results]

    def produce(self, partition: str = "t-0", count: int = 1) -> ErrorCode:
        sequence = self.sequences.get(partition, 0)
        batch = RecordBatch(
            partition,
            self.name,
            range(sequence, sequence + count),
            100,
            self.producer_id,
            self.epoch,
            sequence,
            max_timestamp=self.cluster.now,
            transactional=True,
        )
        answer = self.cluster.ask(
            self.cluster.controller.leader_of(partition), ProduceRequest(-1, 30_000, (batch,), transactional_id=ID, transaction_version=self.version)
        )
        error: ErrorCode = answer.results[0].error
        if error is ErrorCode.NONE:
            self.sequences[partition] = sequence + count
        return error

    def end(self, *, commit: bool = True) -> ErrorCode:
        answer = self.cluster.ask(self.coordinator, EndTxnRequest(ID, self.producer_id, self.epoch, commit, self.version))
        if answer.error is ErrorCode.NONE and self.version == 2:
            self.producer_id, self.epoch = answer.producer_id, answer.producer_epoch
            self.sequences.clear()
        return ErrorCode(answer.error)

    def states(self) -> list[str]:
        return [fact.state for fact in self.cluster.all_facts(TransactionState)]


def markers(cluster: SmallCluster, partition: str = "t-0") -> list[tuple[int, bool, int]]:
    """(offset, committed, epoch) in the leader's log."""
    log = cluster.brokers[cluster.controller.leader_of(partition)].logs[partition]
    return [(batch.base_offset, batch.marker.committed, batch.producer_epoch) for batch in log.batches if batch.marker is not None]
