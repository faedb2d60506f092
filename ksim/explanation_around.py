"""What an explanation says of the transaction that a record is in, and of those who read it.

Kafka: TransactionManager, TransactionCoordinator, TransactionMarkerChannelManager (T, TC); OffsetCommit and TxnOffsetCommit (GC).
Beside `explanation_steps`, which follows the record itself into the logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ksim.atomicity import isolation
from ksim.explanation_steps import Record, Step
from ksim.history import History, configured
from ksim.transcript_sentences import Sentences
from ksim_models.consumer_facts import CommittedOffset, Processed, Read
from ksim_models.coordination_facts import MarkerWritten, TransactionState
from ksim_models.facts import Ended, Offered, Transaction
from ksim_models.units import Micros

CALLS = {
    "begin": "T3",
    "send-offsets": "T3, GC-3",
    "commit": "T23",
    "commit-sent": "T20",
    "committed": "TC-41",
    "abort": "T23",
    "aborted": "TC-41",
    "failed": "T3, T9",
}
OFFSETS_TOPIC = "__consumer_offsets-"


def around(history: History, record: Record, partition: str) -> Iterator[Step]:
    """Its transactions, and its readers, in the order of time."""
    yield from Within(history, record, partition).steps
    yield from read_by(history, record)


@dataclass(slots=True)
class One:
    """A transaction of its producer."""

    steps: list[Step] = field(default_factory=list)
    has_it: bool = False
    partitions: tuple[str, ...] = ()
    is_decided: bool = False
    has_marker: bool = False


class Within:
    """The transaction in which it was handed to send(); the last of them, and those before, where it was sent again."""

    def __init__(self, history: History, record: Record, partition: str) -> None:
        self.record = record
        self.partition = partition
        self.transactional_id = str(configured(history.run, "producers", record.producer).get("transactional.id") or "")
        self.sentences = Sentences(True)
        self.current: One | None = None
        self.ending: One | None = None
        """The application has begun the next one; this one's end is still to be written."""
        self.producer_id = -1
        self.steps: list[Step] = []
        for at, fact in history.of(Transaction, Offered, TransactionState, MarkerWritten, Ended) if self.transactional_id else ():
            self._see(at, fact)

    def _see(self, at: Micros, fact: object) -> None:
        match fact:
            case Transaction() if fact.producer == self.record.producer:
                self._called(at, fact)
            case Offered() if fact.producer == self.record.producer and self.record.number in fact.records and self.current is not None:
                self.current.has_it = True
            case TransactionState() if fact.transactional_id == self.transactional_id:
                self._decided(at, fact)
            case MarkerWritten() if fact.producer_id == self.producer_id and fact.partition == self.partition:
                self._marked(at, fact)
            case Ended():
                self._end(at)

    def _called(self, at: Micros, fact: Transaction) -> None:
        if fact.phase == "begin":
            self._keep(self.ending)
            self.ending, self.current = self.current, One()
        if self.current is not None:
            self.current.steps.append(Step(at, self.sentences.of(fact), CALLS.get(fact.phase, "T3")))

    def _decided(self, at: Micros, fact: TransactionState) -> None:
        """A coordinator's word: it counts once it is written and replicated."""
        self.producer_id = fact.producer_id
        who = f"producer id {fact.producer_id}, epoch {fact.producer_epoch}"
        if fact.state == "Ongoing":
            self._keep(self.ending)
            self.ending = None
            for partition in fact.partitions if self.current is not None else ():
                self._added(at, fact, partition, who)
            return
        one = self._at_its_coordinator()
        if one is None or not one.partitions:
            return
        if fact.state.startswith("Prepare") and not one.is_decided:
            one.is_decided = True
            one.steps.append(Step(at, f"{fact.broker} decides: {fact.state} ({who}); whatever happens now, so it ends", "TC-40, TC-42"))
        elif fact.state.startswith("Complete") and one.is_decided:
            one.steps.append(Step(at, f"{fact.broker}: {fact.state}, the markers are written everywhere", "TC-55"))
            self._keep(one)
            self.ending, self.current = None, None if one is self.current else self.current

    def _at_its_coordinator(self) -> One | None:
        """The one that is still to be ended goes before the one that has begun."""
        return self.ending if self.ending is not None and self.ending.partitions else self.current

    def _added(self, at: Micros, fact: TransactionState, partition: str, who: str) -> None:
        one = self.current
        assert one is not None
        if partition in one.partitions:
            return
        one.partitions = (*one.partitions, partition)
        if partition == self.partition:
            one.steps.append(Step(at, f"{fact.broker}, coordinator of {fact.transactional_id}, has {partition} in the transaction ({who})", "T5, T6"))
        elif partition.startswith(OFFSETS_TOPIC):
            one.steps.append(Step(at, f"{fact.broker} has the offsets of its group in the transaction, too ({partition})", "TC-32"))

    def _marked(self, at: Micros, fact: MarkerWritten) -> None:
        one = self._at_its_coordinator()
        if one is None or one.has_marker or self.partition not in one.partitions:
            return
        one.has_marker = True
        what, then = ("commit", "visible to who reads what is committed") if fact.committed else ("abort", "left out by who reads what is committed")
        one.steps.append(
            Step(at, f"{fact.broker} writes the {what} marker of {fact.partition} at offset {fact.offset}: from here on it is {then}", "TC-51, TC-56")
        )

    def _end(self, at: Micros) -> None:
        for one in (self.ending, self.current):
            if one is not None and one.partitions and not one.has_marker:
                one.steps.append(Step(at, "no marker stands behind it: who reads what is committed gets no further", "TC-47", order=-1))
            self._keep(one)

    def _keep(self, one: One | None) -> None:
        if one is not None and one.has_it:
            self.steps += one.steps
            one.has_it = False


def read_by(history: History, record: Record) -> Iterator[Step]:
    """Who was given it, what was made of it, and the first commit of an offset behind it; and of what it was made itself."""
    stands: dict[tuple[str, str], int] = {}
    """Per consumer and partition: its offset, while no commit of that consumer has passed it."""
    for at, fact in history.of(Read, Processed, CommittedOffset):
        match fact:
            case Read() if fact.producer == record.producer and record.number in fact.records:
                offset = fact.base_offset + fact.records.index(record.number)
                stands[fact.consumer, fact.partition] = offset
                yield Step(at, f"{fact.consumer} is given it, at offset {offset} of {fact.partition}", isolation(history.run, fact.consumer))
            case Processed() if fact.producer == record.producer and record.number in fact.records:
                made = fact.made[fact.records.index(record.number)]
                yield Step(at, f"{fact.application} makes {fact.writer}/{made} of it", "the application")
            case Processed() if fact.writer == record.producer and record.number in fact.made:
                place = fact.made.index(record.number)
                of = f"{fact.producer}/{fact.records[place]}, which stands at offset {fact.base_offset + place} of {fact.partition}"
                yield Step(at, f"{fact.application} makes it of {of}", "the application", order=-2)
            case CommittedOffset():
                yield from _committed(at, fact, stands)


def _committed(at: Micros, fact: CommittedOffset, stands: dict[tuple[str, str], int]) -> Iterator[Step]:
    for partition, offset in fact.offsets:
        if offset <= stands.get((fact.client, partition), offset):
            continue
        within = f" with transaction {fact.transaction}" if fact.transaction else ""
        what = f"{fact.client} commits offset {offset} of {partition} for {fact.group}{within}"
        if fact.error:
            yield Step(at, f"{what}: it fails, {fact.error}", "GC-3" if fact.transaction else "GC-2")
            continue
        del stands[fact.client, partition]
        yield Step(at, f"{what}: the group has passed it", "GC-4" if fact.transaction else "GC-1")
