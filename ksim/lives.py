"""The life of every batch: when it waited for its outcome, for an answer of which broker, and for its copy on which follower.

Not Kafka's: read from all facts of a simulation, internal ones included, after the run. `ksim.exposure` lays the faults beside it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ksim.history import History
from ksim.ranges import Run, minus, runs_of, union
from ksim_models.facts import (
    Acked,
    Appended,
    BrokerChanged,
    CacheLost,
    Failed,
    Learned,
    LogStartMoved,
    Offered,
    PartitionChanged,
    Refused,
    Rejected,
    ReplicasChanged,
    Replicated,
    Retried,
    Sent,
    Split,
)
from ksim_models.messages import NO_LEADER, NO_OFFSET
from ksim_models.units import NEVER, Micros, s

Timeline = list[tuple[Micros, str]]
"""Who led from when on, or whom a client took for the leader."""

UNHEARD: Micros = s(10)
"""A batch sent with acks=0 that no broker appends was on its way for this long, at most."""


@dataclass(slots=True)
class Flight:
    """A Produce request with this batch, until the client heard of it or gave it up."""

    broker: str
    start: Micros
    stop: Micros = NEVER


@dataclass(slots=True)
class Wait:
    """The leader has the batch, this follower has not."""

    leader: str
    follower: str
    start: Micros
    stop: Micros = NEVER


@dataclass(slots=True)
class Batch:
    """Records that were sent together; records that never left the client count as one batch per offer."""

    producer: str
    partition: str
    start: Micros
    """When its first record was offered."""
    stop: Micros = NEVER
    """When the application was told the outcome."""
    flights: list[Flight] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    short_of_replicas: list[Micros] = field(default_factory=list)
    """When a leader refused it because the ISR was too small."""
    removed: list[tuple[Micros, str]] = field(default_factory=list)
    """When its copy went out of a broker's log, with the power or by DeleteRecords."""


Copy = tuple[int, Batch, Wait]
"""A leader's copy of a batch that a follower still lacks: its end offset, the batch, the follower's wait."""


class Lives:
    def __init__(self, history: History, replicas: dict[str, tuple[str, ...]]) -> None:
        """`replicas`: per partition the brokers that hold one, the preferred leader first."""
        self.replicas = {**replicas}
        self.batches: dict[tuple[str, str, int, int], Batch] = {}
        self.others: list[Batch] = []
        """Records that were offered and never sent, and batches whose records the application sent again."""
        self.leaders: dict[str, Timeline] = {partition: [(-NEVER, of[0])] for partition, of in replicas.items() if of}
        self.leaderless: dict[str, list[tuple[Micros, Micros]]] = {}
        """Per partition: from when to when nobody led."""
        self.views: dict[tuple[str, str], Timeline] = {}
        """Per client and partition: the leader in its metadata."""
        self.isr: dict[str, list[tuple[Micros, tuple[str, ...]]]] = {partition: [(-NEVER, of)] for partition, of in replicas.items()}
        self.registrations: dict[str, Timeline] = {}
        """Per broker: "registered", "fenced", "unfenced"."""
        self._offers: dict[str, list[Offered]] = {}
        self._named: dict[str, list[Run]] = {}
        """Per producer: the records that were sent, refused, or had another outcome."""
        self._appends: defaultdict[str, list[tuple[int, int, Batch]]] = defaultdict(list)
        """Per partition, in order of time: from which offset to which."""
        self._lacking: defaultdict[tuple[str, str], deque[Copy]] = defaultdict(deque)
        """Per partition and follower."""
        self._read(history)
        self._never_sent()
        self._settle_flights()

    def every(self) -> Iterable[Batch]:
        return [*self.batches.values(), *self.others]

    def _read(self, history: History) -> None:
        wanted = (
            *(Acked, Appended, BrokerChanged, CacheLost, Failed, Learned, LogStartMoved, Offered, PartitionChanged),
            *(Refused, Rejected, ReplicasChanged, Replicated, Retried, Sent, Split),
        )
        for at, fact in history.of(*wanted):
            match fact:
                case Replicated():
                    self._replicated(at, fact)
                case Offered():
                    self._offers.setdefault(fact.producer, []).append(fact)
                case Sent():
                    batch = self._batch(at, fact)
                    self._heard(batch, at)
                    batch.flights.append(Flight(fact.broker, at))
                case Appended():
                    self._appended(at, fact)
                case Acked() | Failed():
                    batch = self._batch(at, fact)
                    batch.stop = at
                    if isinstance(fact, Failed) or fact.offset != NO_OFFSET:
                        self._heard(batch, at)
                case Retried():
                    self._heard(self._batch(at, fact), at)
                case Split():
                    batch = self._batch(at, fact)
                    self._heard(batch, at)
                    batch.stop = at  # Its parts live on.
                case Refused():
                    self.others.append(Batch(fact.producer, "", self._offered_at(fact.producer, fact.records[0], at), at))
                    self._named.setdefault(fact.producer, []).extend(runs_of(fact.records))
                case Rejected():
                    if fact.error.startswith("NOT_ENOUGH_REPLICAS"):
                        self._batch(at, fact).short_of_replicas.append(at)
                case PartitionChanged():
                    self._partition_changed(at, fact)
                case CacheLost():
                    self._removed(at, fact.broker, fact.partition, fact.to_offset, fact.from_offset)
                case LogStartMoved():
                    if fact.why == "delete-records":
                        self._removed(at, fact.broker, fact.partition, 0, fact.offset)
                case Learned():
                    self.views.setdefault((fact.client, fact.partition), []).append((at, fact.leader))
                case ReplicasChanged():
                    self._replicas_changed(at, fact)
                case BrokerChanged():
                    self.registrations.setdefault(fact.broker, []).append((at, fact.state))

    def _batch(self, at: Micros, fact: Sent | Acked | Failed | Appended | Rejected | Retried | Split) -> Batch:
        first = fact.records[0] if fact.records else -1
        key = fact.producer, fact.partition, first, len(fact.records)
        batch = self.batches.get(key)
        if batch is not None and batch.stop != NEVER and type(fact) is Sent and self._offered_at(fact.producer, first, -NEVER) >= batch.stop:
            self.others.append(batch)  # The application has sent the same records again: another batch.
            batch = None
        if batch is None:
            batch = self.batches[key] = Batch(fact.producer, fact.partition, min(at, self._offered_at(fact.producer, first, at)))
            self._named.setdefault(fact.producer, []).extend(runs_of(fact.records))
        return batch

    def _offered_at(self, producer: str, number: int, otherwise: Micros) -> Micros:
        for offer in reversed(self._offers.get(producer, ())):  # It is told just before the batch is sent, so this is one of the last.
            if number in offer.records:
                return offer.moment_of(number)
        return otherwise

    def _heard(self, batch: Batch, at: Micros) -> None:
        """The client heard of its last request, or sends the batch again."""
        if batch.flights and batch.flights[-1].stop == NEVER:
            batch.flights[-1].stop = at

    def _appended(self, at: Micros, fact: Appended) -> None:
        batch = self._batch(at, fact)
        if batch.stop <= at and batch.flights and batch.flights[-1].stop == NEVER:
            batch.flights[-1].stop = at  # acks=0: the application was told before the leader had it.
        self._appends[fact.partition].append((fact.base_offset, fact.base_offset + len(fact.records), batch))
        for follower in self.replicas.get(fact.partition, ()):
            if follower != fact.broker:
                wait = Wait(fact.broker, follower, at)
                batch.waits.append(wait)
                self._lacking[fact.partition, follower].append((fact.base_offset + len(fact.records), batch, wait))

    def _replicated(self, at: Micros, fact: Replicated) -> None:
        lacking = self._lacking.get((fact.partition, fact.broker))
        while lacking and lacking[0][0] <= fact.log_end_offset:
            _, _, wait = lacking.popleft()
            wait.stop = at

    def _removed(self, at: Micros, broker: str, partition: str, start: int, end: int) -> None:
        """What was last appended at these offsets; what stood there before was cut off long ago."""
        lowest = NEVER
        for base, stop, batch in reversed(self._appends[partition]):
            if base < end and stop > start and stop <= lowest:
                batch.removed.append((at, broker))
            lowest = min(lowest, base)
            if lowest <= start:
                break

    def _partition_changed(self, at: Micros, fact: PartitionChanged) -> None:
        self.isr.setdefault(fact.partition, []).append((at, fact.isr))
        gaps = self.leaderless.setdefault(fact.partition, [])
        if gaps and gaps[-1][1] == NEVER:
            gaps[-1] = gaps[-1][0], at
        if fact.leader == NO_LEADER:
            gaps.append((at, NEVER))
            return
        leaders = self.leaders.setdefault(fact.partition, [])
        if not leaders or leaders[-1][1] != fact.leader:
            leaders.append((at, fact.leader))
            self._new_leader(at, fact.partition, fact.leader)

    def _replicas_changed(self, at: Micros, fact: ReplicasChanged) -> None:
        """Nobody waits for the copy of a replica that is none any more."""
        gone = [follower for follower in self.replicas.get(fact.partition, ()) if follower not in fact.replicas]
        self.replicas[fact.partition] = fact.replicas
        for follower in gone:
            for _, _, wait in self._lacking.pop((fact.partition, follower), deque()):
                wait.stop = at

    def _new_leader(self, at: Micros, partition: str, leader: str) -> None:
        """What the new leader lacks is gone for good: nobody waits for it any more. The rest comes from the new leader now."""
        gone = self._lacking.pop((partition, leader), deque())
        doomed = {(id(batch), end_offset) for end_offset, batch, _ in gone}  # Only asked for membership, so no order comes from it.
        for _, _, wait in gone:
            wait.stop = at
        for follower in self.replicas.get(partition, ()):
            lacking = self._lacking.pop((partition, follower), deque())
            for end_offset, batch, wait in lacking:
                wait.stop = at
                if (id(batch), end_offset) not in doomed:
                    again = Wait(leader, follower, at)
                    batch.waits.append(again)
                    self._lacking[partition, follower].append((end_offset, batch, again))

    def _never_sent(self) -> None:
        """Records that nobody heard of again."""
        for producer, offers in self._offers.items():
            seen = union(self._named.get(producer, ()))
            for offer in offers:
                self.others += [Batch(producer, "", offer.moment_of(first)) for first, _ in minus(runs_of(offer.records), seen)]

    def _settle_flights(self) -> None:
        for batch in self.batches.values():
            for flight in batch.flights:
                if flight.stop == NEVER and batch.stop != NEVER:
                    flight.stop = flight.start + UNHEARD
