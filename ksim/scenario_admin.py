"""What an operator asks of a cluster: elect, alter, reassign, recreate-topic; their arguments read and checked.

Kafka: kafka-leader-election, kafka-configs, kafka-reassign-partitions, kafka-topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ksim.plan import FaultPlan, TopicPlan, Who
from ksim.problems import shown
from ksim.scenario_cluster import too_large_a_minimum
from ksim.scenario_names import Names
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_triggers import read_partition
from ksim_models.config import resolve_broker_change, resolve_topic
from ksim_models.profiles import BrokerProfile

ADMIN_FAULTS = ("elect", "alter", "reassign", "recreate-topic")
OF_A_PARTITION = ("elect", "reassign")
KINDS = ("preferred", "unclean")
ALL_BROKERS = "brokers"
MIN_ISR = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class Wish:
    """The arguments that only these faults have."""

    partition: str | None = None
    kind: str = ""
    to: tuple[str, ...] = ()
    topic: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    who: tuple[Who, ...] = ()


def read_wish(table: Table, do: str, names: Names, profile: BrokerProfile) -> Wish:
    if do not in ADMIN_FAULTS:
        return Wish()
    partition = read_partition(table, names, needed=True) if do in OF_A_PARTITION and names.all_partitions else None
    match do:
        case "elect":
            return Wish(partition, kind=table.choose("kind", KINDS, "a kind of election") or KINDS[0])
        case "reassign":
            return Wish(partition, to=_replicas(table, names))
        case "recreate-topic":
            return Wish(topic=_topic(table, names))
        case _:
            return _alteration(table, names, profile)


def _topic(table: Table, names: Names) -> str:
    topics = list(names.partitions)
    if table.has("topic"):
        return table.choose("topic", topics, "a topic of this scenario") or ""
    if len(topics) != 1:
        table.problem("do", f"{name_of(table.path)}: recreate-topic needs topic.", given="no topic", names=topics)
    return topics[0] if topics else ""


def _replicas(table: Table, names: Names) -> tuple[str, ...]:
    """Brokers by number or by name, the preferred leader first."""
    if not table.has("to"):
        return ()
    given = table.content["to"]
    possible = 'the brokers that shall hold it, the preferred leader first, such as [2, 3, 1] or ["broker-2", "broker-3"]'
    if not isinstance(given, list) or not given:
        table.problem("to", f"{name_of(table.path)}: to = {shown(given)} names nobody.", possible=possible)
        return ()
    replicas = []
    for element in given:
        name = f"broker-{element}" if isinstance(element, int) and not isinstance(element, bool) else element
        if name not in names.brokers:
            table.problem("to", f"{name_of(table.path)}: to: there is no {shown(element)} in this cluster.", given=shown(name), names=names.brokers)
            return ()
        replicas.append(str(name))
    if len(set(replicas)) < len(replicas):
        table.problem("to", f"{name_of(table.path)}: to names a broker twice (InvalidReplicaAssignmentException).", given=shown(given), possible=possible)
    return tuple(replicas)


def _alteration(table: Table, names: Names, profile: BrokerProfile) -> Wish:
    targets = [*names.partitions, *names.brokers, ALL_BROKERS]
    target = table.choose("target", targets, "a topic, a broker, or all of them")
    settings = table.settings()
    if not settings and table.has("config"):
        table.problem("config", f"{name_of(table.path)}: config sets nothing.", possible="config.min.insync.replicas = 1")
    if target is None:
        return Wish()
    of_a_topic = target in names.partitions
    resolved = resolve_topic(settings, profile) if of_a_topic else resolve_broker_change(settings, profile)
    table.reading.problems.extend(resolved.problems)
    table.reading.notes.extend(f"{name_of(table.path)}: {note}" for note in resolved.notes)
    who = (Who("machine", target),) if target in names.brokers and not of_a_topic else ()
    return Wish(topic=target if of_a_topic else "", settings=resolved.given, who=who)


def tell_of_the_minimum(reading: Reading, faults: Iterable[FaultPlan], topics: Sequence[TopicPlan], profile: BrokerProfile) -> None:
    """Kafka lets min.insync.replicas be altered to more than there are replicas: legal, and said."""
    for fault in faults:
        for name, value in fault.settings:
            for topic in topics if name == MIN_ISR else ():
                concerned = topic.name == fault.topic if fault.topic else MIN_ISR not in dict(topic.given)
                if topic.exists and concerned and (told := too_large_a_minimum(int(value), len(topic.assignment[0]), profile)):
                    reading.notes.append(f"fault {fault.name}: topic {topic.name}: {told}")
