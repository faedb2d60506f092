"""The cluster of a scenario: releases, brokers, controllers and topics, with every default filled in.

Kafka: defaults of kafka-storage format and kafka-topics --create, except replication 3 instead of 1; scenario.md section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksim.plan import BrokerPlan, TopicPlan
from ksim.problems import listed, shown
from ksim.scenario_features import read_features
from ksim.scenario_reading import Reading, Table
from ksim.scenario_shape import BROKER, CLUSTER, TOPIC, VERSIONS
from ksim.scenario_values import FLAG, MOST_BROKERS, MOST_PARTITIONS, TEXT, whole
from ksim_models.broker_keys import BROKER_KEYS
from ksim_models.config import BrokerConfig, Setting, resolve_broker, resolve_topic, topic_config
from ksim_models.profiles import KAFKA_VERSIONS, NEWEST, OLDEST_BROKERS, BrokerProfile, ClientProfile, broker_profile, client_profile, parse_release
from ksim_models.settings import in_kafka_spelling
from ksim_models.topic_creation import is_legal

DEFAULT_BROKERS = 3
DEFAULT_REPLICATION = 3


@dataclass(frozen=True, slots=True)
class Releases:
    brokers: BrokerProfile
    clients: ClientProfile


def read_releases(scenario: Table) -> Releases:
    """Of brokers and clients. A problem leaves the newest in place, so that reading goes on."""
    given = scenario.content.get("kafka")
    reading = scenario.reading
    if given is None:
        reading.notes.append(f"warning: the scenario names no Kafka release; the newest known, {NEWEST}, is taken")
        return Releases(broker_profile(NEWEST), client_profile(NEWEST))
    if isinstance(given, dict):
        table = reading.table(("kafka",), given, VERSIONS)
        assert table is not None
        brokers, clients = table.take("brokers", TEXT) or NEWEST, table.take("clients", TEXT) or NEWEST
        for name in ("brokers", "clients"):
            if not table.has(name):
                reading.notes.append(f"warning: kafka names no release for the {name}; the newest known, {NEWEST}, is taken")
        return Releases(broker_profile(_known(table, "brokers", brokers, brokers_only=True)), client_profile(_known(table, "clients", clients)))
    version = _known(scenario, "kafka", given)
    return Releases(broker_profile(_known(scenario, "kafka", version, brokers_only=True)), client_profile(version))


def _known(table: Table, key: str, version: object, *, brokers_only: bool = False) -> str:
    try:
        release = parse_release(version if isinstance(version, str) else "")
    except ValueError as reason:
        sentence = str(reason) if isinstance(version, str) else f"{shown(version)} is not a Kafka release: write it as a text."
        path, possible = (*table.path, key), listed(f'"{name}"' for name in KAFKA_VERSIONS)
        table.reading.problem(path, f"{key}: {sentence}", given=shown(version), possible=possible, names=KAFKA_VERSIONS, explained=isinstance(version, str))
        return NEWEST
    assert isinstance(version, str)
    if brokers_only and release < parse_release(OLDEST_BROKERS)[:2] + (0,):
        table.reading.notes.append(
            f"brokers of {version} are not known in KRaft mode: those of {OLDEST_BROKERS} are simulated, with clients of the release asked for"
        )
        return OLDEST_BROKERS
    return version


def read_brokers(reading: Reading, content: object, profile: BrokerProfile) -> tuple[list[BrokerPlan], list[str], BrokerProfile]:
    """Brokers and controllers, and what the cluster was formatted as. [cluster.broker-N] is stronger than [cluster]."""
    numbered = {name: value for name, value in content.items() if _is_broker_table(name, value)} if isinstance(content, dict) else {}
    plain = {name: value for name, value in content.items() if name not in numbered} if isinstance(content, dict) else content
    table = reading.table(("cluster",), {} if plain is None else plain, CLUSTER)
    if table is None:
        table = Table(reading, ("cluster",), {}, CLUSTER)
    count = table.take("brokers", whole(1, MOST_BROKERS)) or DEFAULT_BROKERS
    controllers = table.take("controllers", whole(1, 9)) or 1
    names = [f"broker-{number}" for number in range(1, count + 1)]
    own: dict[str, list[Setting]] = {}
    for name, value in numbered.items():
        broker = reading.table(("cluster", name), value, BROKER)
        if name not in names:
            reading.problem(("cluster", name), f"there is no {name} in this cluster of {count}.", given=name, names=names)
        elif broker is not None:
            own[name] = broker.settings()
    racks = _racks(table, count)
    shared = table.settings()
    general = resolve_broker(shared, profile)
    reading.problems.extend(general.problems)
    reading.notes.extend(general.notes)
    brokers = []
    for name, rack in zip(names, racks, strict=True):
        resolved = resolve_broker([*shared, *own[name]], profile) if name in own else general
        reading.problems.extend(problem for problem in resolved.problems if problem not in general.problems)
        reading.notes.extend(f"{name}: {note}" for note in resolved.notes if note not in general.notes)
        reading.cluster[name] = resolved.effective
        given = in_kafka_spelling([*shared, *own.get(name, [])], BROKER_KEYS)
        given = (*given, ("broker.rack", rack)) if rack else given
        brokers.append(BrokerPlan(name, resolved.config or BrokerConfig(), given, rack))  # The plan is not used where there are problems.
    return brokers, [f"controller-{number}" for number in range(1, controllers + 1)], read_features(reading, table, profile)


def _racks(table: Table, count: int) -> list[str]:
    """Of each broker; "" where nothing is said."""
    given = table.content.get("racks")
    if given is None:
        return [""] * count
    if not isinstance(given, list) or len(given) != count or not all(isinstance(rack, str) and rack for rack in given):
        table.problem("racks", f"racks = {shown(given)}: one name for each of the {count} brokers is wanted.", possible='racks = ["a", "b", "c"]')
        return [""] * count
    return given


def over_racks(brokers: list[BrokerPlan]) -> list[str]:
    """One of each rack in turn (StripedReplicaPlacer), so that neighbours stand in different ones where that is possible."""
    racks: dict[str, list[str]] = {}
    for broker in brokers:
        racks.setdefault(broker.rack, []).append(broker.name)
    return [names[place] for place in range(len(brokers)) for names in racks.values() if place < len(names)]


def _is_broker_table(name: str, value: object) -> bool:
    return isinstance(value, dict) and name not in CLUSTER


def read_topics(reading: Reading, content: object, brokers: list[BrokerPlan], profile: BrokerProfile) -> list[TopicPlan]:
    topics = []
    for name, (path, value) in reading.tables(("topics",), content).items():
        table = reading.table(path, value, TOPIC)
        absent = isinstance(value, dict) and value.get("exists") is False
        if not is_legal(name) and not absent:
            reading.problem(path, f"{shown(name)} is not a topic's name (InvalidTopicException).", given=name, possible="up to 249 of a-z A-Z 0-9 . _ -")
        if table is not None:
            topics.append(_topic(table, name, brokers, profile))
    return topics


def too_large_a_minimum(minimum: int, replicas: int, profile: BrokerProfile) -> str:
    """What min.insync.replicas above the number of replicas comes to, which Kafka allows; "" where it is not above."""
    if minimum <= replicas:
        return ""
    effect = f"{replicas} count{'s' if replicas == 1 else ''} instead" if profile.min_isr_capped_by_replication else "every write with acks=all is refused"
    return f"min.insync.replicas={minimum} is larger than its {replicas} replica{'s' if replicas > 1 else ''}: {effect} (BP-26)"


def _topic(table: Table, name: str, brokers: list[BrokerPlan], profile: BrokerProfile) -> TopicPlan:
    if table.take("exists", FLAG) is False:
        return _absent(table, name, brokers[0].config, len(brokers))
    assignment = _assignment(table, name, over_racks(brokers))
    resolved = resolve_topic(table.settings(), profile)
    table.reading.cluster[f"topic {name}"] = resolved.effective
    table.reading.problems.extend(resolved.problems)
    table.reading.notes.extend(f"topic {name}: {note}" for note in resolved.notes)
    topic = TopicPlan(name=name, assignment=assignment, exists=True, given=resolved.given)
    if told := too_large_a_minimum(topic_config(topic.given, brokers[0].config).min_insync_replicas, len(assignment[0]), profile):
        table.reading.notes.append(f"topic {name}: {told}")
    return topic


def _absent(table: Table, name: str, config: BrokerConfig, brokers: int) -> TopicPlan:
    """Absent on purpose: a client that asks for it makes the brokers create it, or waits in vain."""
    for key in ("partitions", "replication", "assignment", "config"):
        if table.has(key):
            possible = "exists = false alone; num.partitions and default.replication.factor of the brokers say what is created on demand"
            table.problem(key, f"topics.{name}: a topic that does not exist has no {key}.", possible=possible)
    if not is_legal(name):
        fate = "no topic can have this name (InvalidTopicException)"
    elif config.auto_create_topics_enable and config.default_replication_factor > brokers:
        fate = f"nobody can create it: default.replication.factor={config.default_replication_factor} is more than {brokers}"
        fate += f" broker{'s' if brokers > 1 else ''} can hold (InvalidReplicationFactorException), so every send() to it waits for max.block.ms in vain"
    elif config.auto_create_topics_enable:
        fate = f"the first client that asks for it has it created, with num.partitions={config.num_partitions} and"
        fate += f" default.replication.factor={config.default_replication_factor} (auto.create.topics.enable=true)"
    else:
        fate = "every send() to it waits for max.block.ms in vain (auto.create.topics.enable=false)"
    table.reading.notes.append(f"topic {name} does not exist at time zero: {fate}")
    return TopicPlan(name=name, assignment=(), exists=False, given=())


def _assignment(table: Table, name: str, brokers: list[str]) -> tuple[tuple[str, ...], ...]:
    """As given, or like Kafka's own: round robin over the racks, partition 0 beginning with broker-1."""
    partitions = table.take("partitions", whole(1, MOST_PARTITIONS))
    replication = table.take("replication", whole(1, 32_767))
    if table.has("assignment"):
        given = _given_assignment(table, brokers)
        if given is not None:
            if partitions not in (None, len(given)):
                table.problem("partitions", f"topics.{name}: partitions = {partitions}, but the assignment has {len(given)}.", possible=str(len(given)))
            if replication not in (None, len(given[0])):
                table.problem(
                    "replication", f"topics.{name}: replication = {replication}, but the assignment has {len(given[0])} replicas.", possible=str(len(given[0]))
                )
            return given
    if replication is not None and replication > len(brokers):
        table.problem(
            "replication",
            f"topics.{name}: replication = {replication} is more than {len(brokers)} broker{'s' if len(brokers) > 1 else ''} can hold:"
            " Kafka refuses it (InvalidReplicationFactorException).",
            possible=f"1 to {len(brokers)}, or more brokers",
        )
        replication = None
    replicas = replication or min(DEFAULT_REPLICATION, len(brokers))
    return tuple(tuple(brokers[(partition + position) % len(brokers)] for position in range(replicas)) for partition in range(partitions or 1))


def _given_assignment(table: Table, brokers: list[str]) -> tuple[tuple[str, ...], ...] | None:
    possible = "brokers by number per partition, such as [[1, 2, 3], [2, 3, 1]]"
    lists = table.content["assignment"]
    if not isinstance(lists, list) or not lists or not all(isinstance(replicas, list) and replicas for replicas in lists) or len(lists) > MOST_PARTITIONS:
        table.problem("assignment", f"assignment = {shown(lists)} is not possible.", possible=possible)
        return None
    named = tuple(tuple(replica if isinstance(replica, str) else f"broker-{shown(replica)}" for replica in replicas) for replicas in lists)
    mistakes = len(table.reading.problems)
    for number, replicas in enumerate(named):
        for replica in dict.fromkeys(replicas):
            if replica not in brokers:
                table.problem("assignment", f"assignment of partition {number}: there is no {replica}.", given=replica, names=brokers)
            elif replicas.count(replica) > 1:
                table.problem(
                    "assignment",
                    f"assignment of partition {number}: {replica} is named twice (InvalidReplicaAssignmentException).",
                    given=replica,
                    possible=possible,
                )
    if len({len(replicas) for replicas in named}) > 1:
        table.problem("assignment", "assignment: all partitions need equally many replicas (InvalidReplicaAssignmentException).", possible=possible)
    return named if len(table.reading.problems) == mistakes else None
