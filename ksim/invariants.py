"""Invariants: what must hold of a simulated cluster after every step, whatever strikes it; the first one that does not ends the run.

Kafka: section 13 of the broker's rule book (INV-1 to INV-14), and the properties of the TLA+ model of its replication (Vanlightly, kip-966), on real state.
Each stands in `ksim.invariants_rules` with the exception that Kafka really allows. What was committed is followed here, from the facts of leaders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ksim.invariants_transactions import TransactionInvariants
from ksim_models.broker import Broker
from ksim_models.coordination_facts import TransactionState
from ksim_models.decisions import Decisions
from ksim_models.elections import without_elr
from ksim_models.errors import ErrorCode
from ksim_models.facts import CacheLost, HighWatermark, PartitionChanged
from ksim_models.log import Log
from ksim_models.machine import Closed, Crashed, Effect, Event, Machine, Note, Received, Restarted, Send
from ksim_models.messages import (
    ClearElrRecord,
    ConfigRecord,
    MetadataRecord,
    PartitionRecord,
    ProduceRequest,
    ProduceResponse,
    RecordBatch,
    RemoveTopicRecord,
    topic_of,
)
from ksim_models.quorum_controller import QuorumController
from ksim_models.quorum_messages import MetadataEntry
from ksim_models.transaction_messages import ConsumerFetchRequest, ConsumerFetchResponse
from ksim_models.units import Micros, show


class InvariantBroken(AssertionError):
    """A rule of ours lets happen what Kafka's cannot: ours to mend, never the user's mistake."""

    def __init__(self, name: str, at: Micros, what: str) -> None:
        super().__init__(name, at, what)
        self.name, self.at, self.what = name, at, what

    def __str__(self) -> str:
        return f"{self.name} does not hold at {show(self.at)}: {self.what}"


@dataclass(slots=True)
class Committed:
    """What some leader's high watermark has passed, batch by batch: nothing of it may ever be lost or changed."""

    batches: list[RecordBatch] = field(default_factory=list)
    end: int = 0
    excused: str = ""
    """Why this partition may have lost some of it."""


@dataclass(slots=True)
class Seen:
    """One replica as it was at the last look: what is known to be right is not compared again."""

    key: tuple[object, ...] = ()
    """Its incarnation and leader epoch."""
    high_watermark: int = 0
    matched: int = 0
    """Its log is what was committed, up to here."""
    led: tuple[int, int] = (-1, -1)
    """The incarnation and epoch in which it was found leading: a new leader is compared from its beginning."""
    counted: int = 0
    """Its first so many batches have been looked through for sequences and epochs."""
    last: RecordBatch | None = None
    """The last of these."""
    sequences: dict[int, RecordBatch] = field(default_factory=dict)
    """Per producer id its last batch."""


@dataclass(slots=True)
class Learned:
    """A broker's metadata log: how far it has come, and what it must believe then."""

    incarnation: int = -1
    offset: int = 0
    partitions: dict[str, PartitionRecord] = field(default_factory=dict)


@dataclass(slots=True)
class QuorumSeen:
    """What was found right at the last look."""

    matched: dict[str, int] = field(default_factory=dict)
    """Per voter: its log is the committed one, up to here, and stays so, whatever happens to its process."""
    written: dict[tuple[int, int], MetadataEntry] = field(default_factory=dict)
    """Per epoch and offset: what stands there, on any disk."""
    scanned: dict[str, list[MetadataEntry]] = field(default_factory=dict)
    """Per voter: its log as it was."""
    led: dict[int, str] = field(default_factory=dict)
    """Who has led an epoch."""
    complete: dict[tuple[str, int], int] = field(default_factory=dict)
    """Per leader and epoch: so much of what is committed was found in its log."""


Rule = Callable[["Invariants"], None]


class Invariants:
    """The state of a simulation, looked at by the rules after every `every`-th step (and told every fact)."""

    def __init__(self, controller: Decisions, brokers: Sequence[Broker], min_isr: Callable[[str], int], rules: Iterable[Rule], *, every: int = 1) -> None:
        """min_isr: of a partition, as its brokers take it. rules: `ksim.invariants_rules`."""
        self.controller = controller
        self.brokers = brokers
        self.by_name = {broker.name: broker for broker in brokers}
        self.min_isr = min_isr
        self.every = every
        self.rules: Sequence[Rule] = list(rules)
        self.now: Micros = 0
        self.lossy = False
        """Some machine has lost its power."""
        self.cut_by_power_loss: set[str] = set()
        """Partitions of which some replica lost records so."""
        self.steps = 0
        self.committed: dict[str, Committed] = {}
        self.silently: dict[str, Committed] = {}
        """Of internal partitions that have lost something: only how far it went."""
        self.seen: dict[tuple[str, str], Seen] = {}
        self.learned: dict[str, Learned] = {broker.name: Learned() for broker in brokers}
        self.of_epoch: dict[tuple[str, int], str] = {}
        """Who led a partition under an epoch."""
        self.written: dict[tuple[str, int, int], RecordBatch] = {}
        """Per partition, leader epoch and offset: the batch that stands there."""
        self.records_seen = 0
        """Of the controller's log."""
        self.newest: dict[str, PartitionRecord] = {}
        self.left_alone: dict[str, None] = {}
        """Partitions of topics that were deleted: what comes under the same name is another topic, and is not followed."""
        self.minimum_altered = False
        """min.insync.replicas is another than at the start."""
        self.asked: dict[tuple[str, str], deque[object]] = {}
        """Per broker and connection: requests without an answer."""
        self.voters: Sequence[QuorumController] = ()
        self.metadata: Sequence[MetadataEntry] = ()
        """Of several controllers: themselves, and what they have committed."""
        self.quorum_seen = QuorumSeen()
        self.transactions = TransactionInvariants(self.broken, self._led, self._may_miss_some, lambda broker: self.by_name[broker].logs)

    def watched(self, machine: Machine) -> Machine:
        """The same machine, with a look at the cluster after everything it does."""
        return Watched(machine, self)

    def broken(self, name: str, what: str) -> None:
        raise InvariantBroken(name, self.now, what)

    def look(self) -> None:
        for rule in self.rules:
            rule(self)

    # What the rules ask.

    def log_of(self, broker: str, partition: str) -> Log | None:
        return self.by_name[broker].logs.get(partition)

    def replicas(self) -> list[tuple[Broker, str, Log]]:
        """On disks, whether their broker runs or not."""
        return [(broker, partition, log) for broker in self.brokers for partition, log in broker.logs.items() if partition not in self.left_alone]

    def leaders(self) -> list[tuple[Broker, str]]:
        """Who takes itself for the leader."""
        return [
            (broker, partition)
            for broker in self.brokers
            if broker.running
            for partition, replica in broker.replicas.items()
            if replica.leadership is not None and partition in self.newest
        ]

    def current_leaders(self) -> list[tuple[Broker, str]]:
        """Those of them whose epoch is the controller's."""
        return [(broker, partition) for broker, partition in self.leaders() if broker.replicas[partition].leader_epoch == self.newest[partition].leader_epoch]

    def takes_part(self, broker: str) -> bool:
        """Running, and let in by the controller in this life."""
        member = self.by_name[broker]
        return member.running and member.membership.was_unfenced

    # What happens.

    def saw(self, machine: Machine, event: Event, effects: Sequence[Effect], now: Micros) -> None:
        self.now = now
        for effect in effects:
            if type(effect) is Note:
                self._heard(effect.fact)
        if isinstance(machine, Broker):
            self._follow_requests(machine, event, effects)
        self._follow_controller()
        self.steps += 1
        if self.steps % self.every == 0:
            self.look()

    def _heard(self, fact: object) -> None:
        match fact:
            case HighWatermark():
                self._commit(fact)
            case PartitionChanged() if fact.unclean:
                self.excuse(fact.partition, "unclean election (KC-43, KC-55)")
            case CacheLost():
                self._meet_loss(fact)
            case TransactionState():
                self.transactions.follow_coordinator(fact)

    def _led(self, partition: str) -> Log | None:
        """The log of the partition's leader, if that runs."""
        record = self.newest.get(partition)
        broker = self.by_name.get(record.leader) if record is not None else None
        return broker.logs.get(partition) if broker is not None and broker.running else None

    def _may_miss_some(self, name: str) -> bool:
        """A partition, or any of a topic."""
        return any(committed.excused for partition, committed in self.committed.items() if name in (partition, topic_of(partition)))

    def _commit(self, fact: HighWatermark) -> None:
        if fact.partition in self.left_alone:
            return
        committed = self.committed.setdefault(fact.partition, Committed())
        log = self.log_of(fact.broker, fact.partition)
        if log is not None and fact.offset > committed.end and not committed.excused:
            committed.batches += log.between(committed.end, fact.offset)
            committed.end = fact.offset

    def excuse(self, partition: str, why: str) -> None:
        committed = self.committed.setdefault(partition, Committed())
        committed.excused = committed.excused or why

    def _meet_loss(self, fact: CacheLost) -> None:
        """A power loss is no excuse as long as somebody who may lead has everything."""
        self.lossy = True
        self.cut_by_power_loss.add(fact.partition)
        committed = self.committed.get(fact.partition) or self._committed_silently(fact)
        if fact.to_offset >= committed.end:
            return
        if not any(log.log_end_offset >= committed.end for _, partition, log in self.replicas() if partition == fact.partition):
            self.excuse(fact.partition, "every replica that had it lost its power (LR-4)")
        elif not self.by_name[fact.broker].profile.refuses_stale_fetches:
            self.excuse(fact.partition, "before 3.7 a fetch of an older incarnation counts (KAFKA-15221)")
        if fact.partition in self.newest:
            self._meet_last_replica_standing(self.newest[fact.partition])

    def _committed_silently(self, fact: CacheLost) -> Committed:
        """No fact tells of the high watermarks of internal topics: what another replica knows is the least that is committed, and all that who is alone has."""
        committed = self.silently.setdefault(fact.partition, Committed())
        record = self.newest.get(fact.partition)
        others = [log.high_watermark for broker, name, log in self.replicas() if name == fact.partition and broker.name != fact.broker]
        alone = not others or (record is not None and record.isr == (fact.broker,))
        committed.end = max(committed.end, fact.from_offset if alone else max(others))
        return committed

    def _meet_last_replica_standing(self, record: PartitionRecord) -> None:
        """KC-56: without eligible leader replicas whoever is last in the ISR stays there, whatever its disk has lost."""
        committed = self.committed.get(record.partition) or self.silently.get(record.partition)
        if committed is None or not record.isr or self.brokers[0].profile.eligible_leader_replicas:
            return
        logs = [self.log_of(name, record.partition) for name in record.isr]
        if all(log is not None and log.log_end_offset < committed.end for log in logs):
            self.excuse(record.partition, "the last replica standing had lost its power, and there are no eligible leader replicas (KC-56)")

    def _follow_controller(self) -> None:
        log: Sequence[MetadataRecord] = self.controller.metadata_log
        for record in log[self.records_seen :] if len(log) > self.records_seen else ():
            if isinstance(record, RemoveTopicRecord):
                for partition in [name for name in self.newest if topic_of(name) == record.topic]:
                    self.left_alone[partition] = None
                    del self.newest[partition]
                    self.committed.pop(partition, None)
            elif isinstance(record, ConfigRecord):
                self.minimum_altered = self.minimum_altered or any(name == "min.insync.replicas" for name, _ in record.settings)
            elif isinstance(record, ClearElrRecord):
                self.newest.update(without_elr(self.newest, record.topic))
            elif isinstance(record, PartitionRecord) and record.partition not in self.left_alone:
                before = self.newest.get(record.partition)
                if before is not None and (record.leader_epoch < before.leader_epoch or record.partition_epoch <= before.partition_epoch):
                    self.broken("INV-6", f"{record.partition}: epochs step back from {before} to {record}")
                self.newest[record.partition] = record
                if self.lossy:
                    self._meet_last_replica_standing(record)
        self.records_seen = len(log)

    def _follow_requests(self, broker: Broker, event: Event, effects: Sequence[Effect]) -> None:
        """INV-13, INV-14: answers in the order of requests, and no success of acks=all before its records are committed."""
        match event:
            case Received(connection, message) if connection in broker.inbound or (broker.name, connection) in self.asked:
                self.asked.setdefault((broker.name, connection), deque()).append(message)
            case Closed(connection):
                self.asked.pop((broker.name, connection), None)
            case Crashed() | Restarted():
                for key in [key for key in self.asked if key[0] == broker.name]:
                    del self.asked[key]
        for effect in effects:
            if type(effect) is Send and (waiting := self.asked.get((broker.name, effect.connection))):
                while waiting and isinstance(waiting[0], ProduceRequest) and waiting[0].acks == 0:
                    waiting.popleft()  # It has no answer.
                self._answered(broker, waiting.popleft() if waiting else None, effect.message)

    def _answered(self, broker: Broker, request: object, response: object) -> None:
        expected = type(request).__name__.replace("Request", "Response")
        if expected != type(response).__name__:
            self.broken("INV-14", f"{broker.name} answers {expected} with {response}")
        if isinstance(request, ConsumerFetchRequest) and isinstance(response, ConsumerFetchResponse):
            self.transactions.follow_reader(broker, request, response)
        if not isinstance(request, ProduceRequest) or not isinstance(response, ProduceResponse):
            return
        if [batch.partition for batch in request.batches] != [result.partition for result in response.results]:
            self.broken("INV-14", f"{broker.name} answers {request} with {response}")
        for batch, result in zip(request.batches, response.results, strict=True):
            log = self.log_of(broker.name, batch.partition)
            if request.acks == -1 and result.error is ErrorCode.NONE and log is not None and log.high_watermark < result.base_offset + len(batch.records):
                self.broken("INV-13", f"{broker.name} acknowledges {batch.partition} at {result.base_offset}, and its high watermark is {log.high_watermark}")


class Watched:
    """A machine that somebody looks at."""

    def __init__(self, machine: Machine, by: Invariants) -> None:
        self.machine = machine
        self.name = machine.name
        self.by = by

    @property
    def wake_at(self) -> Micros | None:
        return self.machine.wake_at

    def handle(self, event: Event, now: Micros) -> Sequence[Effect]:
        effects = self.machine.handle(event, now)
        self.by.saw(self.machine, event, effects, now)
        return effects
