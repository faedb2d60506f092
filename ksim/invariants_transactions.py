"""What must hold of transactions: INV-10, INV-11 and INV-12 of the broker's rule book, section 13.

Excepted: what a machine without power or an unclean election has taken from a partition; topics that were deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ksim_models.broker import Broker
from ksim_models.coordinated_transaction import Transaction
from ksim_models.coordination_facts import TransactionState
from ksim_models.log import Log
from ksim_models.messages import Marker, RecordBatch, topic_of
from ksim_models.transaction_messages import TRANSACTION_STATE, ConsumerFetchRequest, ConsumerFetchResponse

COMMIT = "PrepareCommit"
DECIDED = {COMMIT: "CompleteCommit", "PrepareAbort": "CompleteAbort"}


@dataclass(slots=True)
class Scan:
    """One replica's log, read as far as this: what is open in it."""

    start: int = 0
    counted: int = 0
    last: RecordBatch | None = None
    open: dict[int, int] = field(default_factory=dict)
    """Producer id -> where its transaction began."""

    def read(self, log: Log) -> None:
        """A log that was cut, at its end or at its beginning, is read again."""
        if self.start != log.log_start_offset or (self.counted and not (self.counted <= len(log.batches) and log.batches[self.counted - 1] is self.last)):
            self.start, self.counted = log.log_start_offset, 0
            self.open.clear()
        for batch in log.batches[self.counted :]:
            if batch.marker is not None:
                self.open.pop(batch.producer_id, None)
            elif batch.transactional:
                self.open.setdefault(batch.producer_id, batch.base_offset)
        self.counted = len(log.batches)
        self.last = log.batches[-1] if log.batches else None


@dataclass(slots=True)
class Decision:
    """A coordinator has decided, and a majority knows it."""

    state: str
    producer_id: int
    ends: dict[str, int]
    """Where the logs of its partitions ended then: what the transaction has written stands before."""


class TransactionInvariants:
    def __init__(
        self,
        broken: Callable[[str, str], None],
        led: Callable[[str], Log | None],
        is_excused: Callable[[str], bool],
        logs_of: Callable[[str], Mapping[str, Log]],
    ) -> None:
        """broken: hears the rule and what was seen; led: the log of a partition's leader that runs; logs_of: all of a broker.

        is_excused: whether something may be missing from a partition, or from a topic.
        """
        self.broken = broken
        self.led = led
        self.logs_of = logs_of
        self.is_excused = is_excused
        self.scans: dict[tuple[str, str], Scan] = {}
        self.decisions: dict[str, Decision] = {}
        """By transactional id."""
        self.epochs: dict[tuple[str, int], int] = {}
        """Per transactional id and producer id: the newest."""

    def look(self, broker: Broker, partition: str, log: Log) -> None:
        """INV-10: each transactional record is committed, aborted, or open, and no producer has two transactions open in one partition.

        Whose records were all deleted stays open until its marker comes (ProducerStateManager.onLogStartOffsetIncremented leaves ongoingTxns alone).
        Who has forgotten all its producers (PS-50) and cuts off a marker does not know that the transaction is open again (UnifiedLog.rebuildProducerState).
        """
        if not broker.running or partition not in broker.replicas:
            return
        scan = self.scans.setdefault((broker.name, partition), Scan())
        scan.read(log)
        known = log.producers.transactions.open
        here = {pid for pid, first in known.items() if first >= log.log_start_offset}
        told = {pid: first for pid, first in scan.open.items() if first >= log.producers.unread_below}
        if not here <= scan.open.keys() or not told.keys() <= known.keys() or any(first != known[pid] for pid, first in told.items() if pid in here):
            self.broken("INV-10", f"{partition} on {broker.name}: {known} are taken for open, and {scan.open} are")

    def follow_coordinator(self, fact: TransactionState) -> None:
        """INV-11: a decision is never reversed, and complete only when every marker is written; the epoch of a producer id never decreases.

        Excepted: a coordinator that dies when its last record is replicated tells nobody; its successor has read it (TransactionStateManager.loadTransactions).
        What the transaction log itself has lost, by a power loss or an unclean election, is forgotten. Who has been replaced and does not know it yet
        may tell late of what its successor has read and gone on from.
        """
        if self._forgot(fact) or self._was_replaced(fact):
            return
        key = fact.transactional_id, fact.producer_id
        if fact.producer_epoch < self.epochs.get(key, -1):
            self.broken("INV-11", f"{fact.transactional_id}: epoch {fact.producer_epoch} of producer id {fact.producer_id} after {self.epochs[key]}")
        self.epochs[key] = fact.producer_epoch
        decision = self.decisions.get(fact.transactional_id)
        if decision is not None and fact.state not in (decision.state, DECIDED[decision.state]) and not self._was_completed(fact, decision):
            self.broken("INV-11", f"{fact.transactional_id}: {fact.state} after {decision.state}")
        if decision is not None and fact.state != decision.state:  # Complete, or what follows: a coordinator that died may have left that to be read only.
            del self.decisions[fact.transactional_id]
            for partition, end in decision.ends.items():
                self._look_for_markers(fact, decision, partition, end)
        if fact.state in DECIDED:
            logs = {partition: log for partition in fact.partitions if (log := self.led(partition)) is not None}
            self.decisions[fact.transactional_id] = Decision(fact.state, fact.producer_id, {partition: log.log_end_offset for partition, log in logs.items()})

    def _look_for_markers(self, fact: TransactionState, decision: Decision, partition: str, end: int) -> None:
        log, producer_id = self.led(partition), decision.producer_id
        if log is None or self.is_excused(partition):
            return
        first = log.producers.transactions.open.get(producer_id, end)
        if first < end:
            self.broken("INV-11", f"{fact.transactional_id}: {fact.state}, and on {partition} it is open from {first} on")
        marker = _marker(log, producer_id, end, log.log_end_offset)
        if marker is not None and marker.committed != (decision.state == COMMIT):
            self.broken("INV-11", f"{fact.transactional_id}: {decision.state}, and on {partition} the marker says otherwise")

    def _forgot(self, fact: TransactionState) -> bool:
        """What was known of this id may be gone with its partition of the transaction log."""
        if not self.is_excused(TRANSACTION_STATE) or not any(self.is_excused(partition) for partition, _ in self._written(fact)):
            return False
        self.decisions.pop(fact.transactional_id, None)
        self.epochs = {key: epoch for key, epoch in self.epochs.items() if key[0] != fact.transactional_id}
        return True

    def _was_replaced(self, fact: TransactionState) -> bool:
        own = self.logs_of(fact.broker)
        return any(self.led(partition) is not own[partition] for partition, _ in self._written(fact))

    def _was_completed(self, fact: TransactionState, decision: Decision) -> bool:
        """It stands in the transaction log behind the decision, whoever wrote it."""
        states = [state for _, state in self._written(fact)]
        behind = states[len(states) - states[::-1].index(decision.state) :] if decision.state in states else states
        return DECIDED[decision.state] in behind

    def _written(self, fact: TransactionState) -> list[tuple[str, str]]:
        """What stands of this transactional id in the log of its coordinator, in order: partition, state."""
        logs = [(partition, log) for partition, log in self.logs_of(fact.broker).items() if topic_of(partition) == TRANSACTION_STATE]
        records = [(partition, record) for partition, log in logs for batch in log.batches for record in batch.payload if isinstance(record, Transaction)]
        return [(partition, record.state.value) for partition, record in records if record.transactional_id == fact.transactional_id]

    def follow_reader(self, broker: Broker, request: ConsumerFetchRequest, response: ConsumerFetchResponse) -> None:
        """INV-12: who reads what is committed is given nothing that is open, and is told what of it was aborted. TC-46 and TC-47 only change whose it is."""
        for told in response.partitions if request.read_committed else ():
            log = broker.logs.get(told.partition)
            for batch in told.batches if log is not None else ():
                if batch.next_offset > told.last_stable_offset:
                    self.broken("INV-12", f"{broker.name} gives {told.partition} up to {batch.next_offset}, and {told.last_stable_offset} is stable")
                if log is not None and batch.transactional and batch.marker is None:
                    self._look_for_end(log, batch, told.partition, told.aborted)

    def _look_for_end(self, log: Log, batch: RecordBatch, partition: str, aborted: Sequence[tuple[int, int]]) -> None:
        """A reader takes what comes behind the first offset of an aborted transaction for aborted, up to the next marker (CompletedFetch)."""
        marker = _marker(log, batch.producer_id, batch.next_offset, log.log_end_offset)
        begun = max((first for producer_id, first in aborted if producer_id == batch.producer_id and first <= batch.base_offset), default=None)
        taken_for_aborted = begun is not None and _marker(log, batch.producer_id, begun, batch.base_offset) is None
        if marker is None:
            self.broken("INV-12", f"{partition}: the transaction of offset {batch.base_offset} is open, and it is read")
        elif marker.committed == taken_for_aborted:
            became, told = ("committed", "it is told of as aborted") if marker.committed else ("aborted", "nobody says so")
            self.broken("INV-12", f"{partition}: the transaction of offset {batch.base_offset} was {became}, and {told}")


def _marker(log: Log, producer_id: int, start: int, end: int) -> Marker | None:
    """The first of this producer in these offsets."""
    return next((one.marker for one in log.between(start, end) if one.marker is not None and one.producer_id == producer_id), None)
