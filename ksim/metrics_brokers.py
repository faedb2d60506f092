"""The brokers' and the controller's metrics over time, from the facts that tell what the controller committed.

Kafka: ReplicaManager, Partition.isUnderReplicated and isUnderMinIsr, ControllerMetadataMetrics; the meters are Yammer's, read as their OneMinuteRate.
Simplified: a broker knows what was committed at once; of a process that is down nothing is read, until it has registered again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

from ksim.history import History
from ksim.metrics_series import Line
from ksim.plan import DEADLY, Plan
from ksim_models.config import topic_config
from ksim_models.facts import BrokerChanged, ControllerChanged, Fault, PartitionChanged, ReplicasChanged
from ksim_models.units import MILLISECOND, SECOND, Micros

CHANGED_BY_ITS_LEADER = "AlterPartition"
"""Only these are marked: what the controller takes out of an ISR when it fences a broker is not (AlterPartitionListener)."""
TICK: Micros = 5 * SECOND
ONE_MINUTE_DECAY = 1 - exp(-5 / 60)


class OneMinuteRate:
    """Yammer's exponentially weighted average: what was marked is counted every five seconds, the first count is taken as it is."""

    def __init__(self, born_at: Micros) -> None:
        self.next_tick = born_at + TICK
        self.uncounted = 0
        self.rate: float | None = None

    def read(self, now: Micros) -> float:
        while self.next_tick <= now:
            instant = self.uncounted * SECOND / TICK
            self.uncounted = 0
            self.rate = instant if self.rate is None else self.rate + ONE_MINUTE_DECAY * (instant - self.rate)
            self.next_tick += TICK
        return self.rate or 0.0

    def mark(self, now: Micros) -> None:
        self.read(now)
        self.uncounted += 1


@dataclass(slots=True)
class _Partition:
    leader: str
    isr: tuple[str, ...]
    replicas: int
    """Those being added do not count before they are there (OngoingReassignmentState.replicationFactor)."""
    minimum: int


@dataclass(slots=True)
class _Broker:
    shrinks: OneMinuteRate
    expands: OneMinuteRate
    up: bool = True


@dataclass(slots=True)
class _Cluster:
    partitions: dict[str, _Partition]
    brokers: dict[str, _Broker]
    controllers: dict[str, bool]
    active: str
    """The active controller: of several the one that was elected last, and has not resigned or died since."""
    capped: bool
    """No more replicas must be in sync than there are."""
    values: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)

    def see(self, at: Micros, fact: Fault | PartitionChanged | ReplicasChanged | BrokerChanged | ControllerChanged) -> None:
        match fact:
            case PartitionChanged():
                partition = self.partitions.get(fact.partition)
                if partition is not None:
                    if fact.why.startswith(CHANGED_BY_ITS_LEADER) and fact.leader in self.brokers:
                        meters = self.brokers[fact.leader]
                        if len(fact.isr) != len(partition.isr):
                            (meters.shrinks if len(fact.isr) < len(partition.isr) else meters.expands).mark(at)
                    partition.leader, partition.isr = fact.leader, fact.isr
            case ReplicasChanged():
                if fact.partition in self.partitions:
                    self.partitions[fact.partition].replicas = len(fact.replicas) - len(fact.adding)
            case BrokerChanged():
                if fact.state in ("registered", "unfenced") and fact.broker in self.brokers and not self.brokers[fact.broker].up:
                    self.brokers[fact.broker] = _Broker(OneMinuteRate(at), OneMinuteRate(at))
            case ControllerChanged():
                if fact.state == "active":
                    self.active = fact.controller
                elif self.active == fact.controller:
                    self.active = ""
            case Fault():
                if fact.do in (*DEADLY, "restart") and fact.phase in ("begin", "end"):
                    for name in fact.resolved:
                        if name in self.controllers:
                            self.controllers[name] = fact.do == "restart" or fact.phase == "end"
                            if len(self.controllers) > 1 and name == self.active and not self.controllers[name]:
                                self.active = ""
                        elif name in self.brokers and fact.phase == "begin" and fact.do in DEADLY:
                            self.brokers[name].up = False

    def read(self, at: Micros) -> None:
        for name, up in self.controllers.items():
            if up:
                self._say("OfflinePartitionsCount", name, at, sum(not partition.leader for partition in self.partitions.values()))
                self._say("ActiveControllerCount", name, at, int(name == self.active))
        for name, broker in self.brokers.items():
            if broker.up:
                led = [partition for partition in self.partitions.values() if partition.leader == name]
                self._say("UnderReplicatedPartitions", name, at, sum(len(partition.isr) < partition.replicas for partition in led))
                self._say("UnderMinIsrPartitionCount", name, at, sum(len(partition.isr) < self._least(partition) for partition in led))
                self._say("IsrShrinksPerSec", name, at, broker.shrinks.read(at))
                self._say("IsrExpandsPerSec", name, at, broker.expands.read(at))

    def _least(self, partition: _Partition) -> int:
        return min(partition.minimum, partition.replicas) if self.capped else partition.minimum

    def _say(self, metric: str, node: str, at: Micros, value: float) -> None:
        self.values.setdefault((metric, node), []).append((at // MILLISECOND, value))


def read_brokers(plan: Plan, history: History, at: Sequence[Micros]) -> list[Line]:
    facts = list(history.of(Fault, PartitionChanged, ReplicasChanged, BrokerChanged, ControllerChanged))
    simulated = history.run.get("how", "simulated") == "simulated"
    if not simulated and not any(isinstance(fact, PartitionChanged) for _, fact in facts):
        return []  # Nobody looked inside.
    began = min([0, *(moment for moment, _ in facts)])
    cluster = _Cluster(
        _partitions(plan),
        {broker.name: _Broker(OneMinuteRate(began), OneMinuteRate(began)) for broker in plan.brokers},
        dict.fromkeys(plan.controllers if simulated else plan.controllers[:1], True),
        plan.controllers[0],
        plan.broker_profile.min_isr_capped_by_replication,
    )
    place = 0
    for moment in at:
        while place < len(facts) and facts[place][0] <= moment:
            cluster.see(*facts[place])
            place += 1
        cluster.read(moment)
    return [
        Line(metric, "", node, "", tuple(at_ms for at_ms, _ in values), tuple(value for _, value in values))
        for (metric, node), values in cluster.values.items()
    ]


def _partitions(plan: Plan) -> dict[str, _Partition]:
    """As they are at time zero: led by their preferred leaders, every replica in sync."""
    found: dict[str, _Partition] = {}
    for topic in plan.topics:
        if topic.exists:
            for name, replicas in zip(topic.partitions, topic.assignment, strict=True):
                minimum = topic_config(topic.given, plan.brokers[0].config).min_insync_replicas
                found[name] = _Partition(replicas[0], replicas, len(replicas), minimum)
    return found
