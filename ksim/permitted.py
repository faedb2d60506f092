"""What a configuration allows: the anomalies that are not a bug of Kafka's but the price of a setting, each with its source.

Kafka: the matrix of ordering, duplication and loss of the client's rule book (section 3.6) and the ack semantics of the broker's (section 1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ksim.history import configured
from ksim_models.profiles import Release, parse_release

ALL = -1
A_DAY_MS = 86_400_000
NEWEST = parse_release("4.3")


@dataclass(frozen=True, slots=True)
class Effective:
    """The effective settings that bear on one producer's records in one partition."""

    acks: int
    idempotence: bool
    retries: int
    in_flight: int
    client: str
    min_insync_replicas: int
    """As the broker takes it: never more than there are replicas."""
    unclean_election: bool
    """Allowed by the configuration, from the start or at some time."""
    unclean_on_request: bool
    """An administrator asked for one of this partition."""
    unflushed_power_loss: bool
    """The scenario lets a machine lose its power, and some broker does not flush every record before it answers."""
    forgets_producers: bool
    """A broker may have forgotten a producer when it retries: producer.id.expiration.ms is shorter than its delivery time-out."""
    threads: int
    """Workloads of this producer that write to this topic: each is a thread of its own."""
    transaction_version: int = 2
    """2 where client and brokers both speak KIP-890 part 2: each transaction has an epoch of its own. 1: none has."""
    commits_in_spite_of_failures: bool = False
    """The client's commit succeeds although a send of the transaction has failed."""
    transactions_may_hang: bool = False
    """Whoever writes here: some transactions share an epoch, and a leader appends their batches without asking the coordinator."""
    forgets_transactions: bool = False
    """Somebody has transactions, a machine loses its power, and what coordinators have written, here or in their log, may not be on its disk."""
    elects_uncleanly: bool = False
    """Somebody has transactions, and somewhere an unclean election is allowed or asked for: a transaction has parts in several partitions."""


@dataclass(frozen=True, slots=True)
class Permission:
    anomaly: str
    because: str
    holds: Callable[[Effective], bool]
    source: str


FORGOTTEN = "producer.id.expiration.ms is shorter than the producer's delivery time-out"


def _shares_its_epoch(config: Effective) -> bool:
    return config.transaction_version < 2


PERMITTED = (
    Permission("lost", "acks=0", lambda c: c.acks == 0, "client S22, broker section 1.5"),
    Permission("lost", "acks=1", lambda c: c.acks == 1, "broker section 1.5: the leader fails before a follower fetched it"),
    Permission("lost", "unclean.leader.election.enable=true", lambda c: c.unclean_election, "broker section 1.5, measured in S5 (b)"),
    Permission("lost", "an unclean election was asked for", lambda c: c.unclean_on_request, "broker KC-45"),
    Permission("lost", "min.insync.replicas=1", lambda c: c.acks == ALL and c.min_insync_replicas == 1, "client section 3.6, KC-56: the last replica standing"),
    Permission("lost", "a power loss: no acknowledgement waits for a flush (flush.messages > 1)", lambda c: c.unflushed_power_loss, "LR-2, LR-4; H-094"),
    Permission("ghost", "a failed send says nothing about the log", lambda c: True, "client S21"),
    Permission("duplicated", "enable.idempotence=false", lambda c: not c.idempotence and c.retries > 0 and c.acks != 0, "client section 3.6"),
    Permission("duplicated", FORGOTTEN, lambda c: c.forgets_producers, "broker PS-19, PS-50"),
    Permission("reordered", FORGOTTEN, lambda c: c.forgets_producers, "broker PS-13, PS-50: who is not remembered may start anywhere"),
    Permission("reordered", "acks=0", lambda c: c.acks == 0, "client section 3.6: unread bytes of an old connection are served beside those of the new one"),
    Permission(
        "reordered",
        "max.in.flight.requests.per.connection > 1 with enable.idempotence=false",
        lambda c: not c.idempotence and c.retries > 0 and c.in_flight > 1,
        "client A42, S23",
    ),
    Permission(
        "reordered",
        "librdkafka with enable.idempotence=false",
        lambda c: not c.idempotence and c.retries > 0 and c.client.startswith("librdkafka"),
        "client section 3.6: the next message is sent during the retry backoff",
    ),
    Permission(
        "reordered",
        "several workloads of one producer: while a send() is blocked, another thread's may pass it",
        lambda c: c.threads > 1,
        "client A12, A20: a smaller record finds room in an open batch",
    ),
    Permission("hidden", "acks=0", lambda c: c.acks == 0, "broker section 1.5: nothing is waited for"),
    Permission("hidden", "acks=1", lambda c: c.acks == 1, "broker section 1.5: acknowledged at the local append"),
    Permission(
        "hidden",
        "brokers that do not verify transactions (before 3.6, or transaction.partition.verification.enable=false): a late batch opens one that nobody ends",
        lambda c: c.transactions_may_hang,
        "broker TC-47; H-123",
    ),
    *(
        Permission(name, "a power loss: neither the transaction log nor a marker waits for a flush", lambda c: c.forgets_transactions, "LR-2, LR-4")
        for name in ("hidden", "torn", "aborted_read")
    ),
    *(
        Permission(
            name,
            "an unclean election may take a marker, or records of a transaction",
            lambda c: c.elects_uncleanly,
            "KC-45; but TC-2",
        )
        for name in ("hidden", "torn", "aborted_read")
    ),
    Permission("torn", "a client before 3.2 commits although a send has failed", lambda c: c.commits_in_spite_of_failures, "KAFKA-9279; H-133"),
    Permission(
        "lost",
        "librdkafka gives the sequence numbers of an aborted transaction's batch, of which it is not known whether it was written, to the next transaction",
        lambda c: c.client.startswith("librdkafka") and c.transaction_version < 2,
        "rd_kafka_toppar_purge_queues; the leader takes what has these numbers for duplicates (PS-2)",
    ),
    *(
        Permission(
            name,
            "transaction.version < 2: what is late of one transaction may strike the next, which has the same epoch",
            _shares_its_epoch,
            "TC-46; KAFKA-17754",
        )
        for name in ("torn", "aborted_read", "lost")
    ),
    Permission("removed", "the log's start moved, by retention or on request, or the topic was deleted", lambda c: True, "scenario.md section 3"),
)

JEPSEN = {
    "lost": "lost-write",
    "ghost": "G1a",  # Its aborted read: a write that was reported failed is seen.
    "duplicated": "duplicate",
    "reordered": "nonmonotonic-send",
    "misrouted": "inconsistent-offsets",  # The closest: a value stands where it does not belong.
    "hidden": "unseen",
    "torn": "G1b",  # Its intermediate read.
    "aborted_read": "G1a",
    "removed": "poll-skip",  # The closest: a consumer's next offset jumps.
}
"""The name of Jepsen's Kafka checker that comes closest."""


def permission(anomaly: str, config: Effective) -> Permission | None:
    """The first setting that allows this anomaly."""
    return next((permission for permission in PERMITTED if permission.anomaly == anomaly and permission.holds(config)), None)


def effective(run: Mapping[str, object], producer: str, partition: str, replicas: int) -> Effective | None:
    """From the run line: config = {"producers": {name: {setting: value}}, "topics": ..., "brokers": ...}, Kafka's names. None where the producer is absent."""
    own = configured(run, "producers").get(producer)
    if not isinstance(own, dict):
        return None
    topic = configured(run, "topics").get(partition.rpartition("-")[0])
    brokers = [settings for settings in configured(run, "brokers").values() if isinstance(settings, dict)]

    def of_topic(setting: str) -> list[object]:
        """The topic's own value, else those of all brokers: any of them may lead. And what it was altered to on the way."""
        altered = _altered(run, partition.rpartition("-")[0], setting)
        if isinstance(topic, dict) and setting in topic:
            return [topic[setting], *altered]
        return [settings[setting] for settings in brokers if setting in settings] + altered

    acks = own.get("acks", ALL)
    client = _client(run, producer)
    brokers_release, clients_release = _releases(run)
    is_transactional = bool(own.get("transactional.id"))
    everywhere = [of for kind in ("topics", "brokers") for of in configured(run, kind).values() if isinstance(of, dict)]
    altered = [_dotted(fault.get("config"), "unclean.leader.election.enable") for fault in _faults(run, "alter")]
    return Effective(
        acks=ALL if acks == "all" else _number(acks, ALL),
        idempotence=_flag(own.get("enable.idempotence", True)),
        retries=_number(own.get("retries"), 2**31 - 1),
        in_flight=_number(own.get("max.in.flight.requests.per.connection"), 5),
        client=client,
        min_insync_replicas=min([_number(value, 1) for value in of_topic("min.insync.replicas")] or [1], default=1) if replicas != 1 else 1,
        unclean_election=any(_flag(value) for value in of_topic("unclean.leader.election.enable")),
        unclean_on_request=any(fault.get("kind") == "unclean" and fault.get("partition") == partition for fault in _faults(run, "elect")),
        unflushed_power_loss=bool(_faults(run, "power-loss")) and any(_number(value, 2) > 1 for value in of_topic("flush.messages") or [2]),
        forgets_producers=any(_number(value, A_DAY_MS) < _patience(own) for value in of_topic("producer.id.expiration.ms")),
        threads=_threads(run, producer, partition.rpartition("-")[0]),
        transaction_version=_transaction_version(run, producer) if is_transactional else 2,
        commits_in_spite_of_failures=is_transactional and not client.startswith("librdkafka") and clients_release < (3, 2, 0),
        transactions_may_hang=(brokers_release < (3, 6, 0) or not all(_flag(value) for value in of_topic("transaction.partition.verification.enable")))
        and any(_transaction_version(run, name) < 2 for name in _transactional(run)),
        forgets_transactions=bool(_faults(run, "power-loss"))
        and bool(_transactional(run))
        and any(_number(value, 2) > 1 for value in [*of_topic("flush.messages"), *(settings.get("log.flush.interval.messages") for settings in brokers)]),
        elects_uncleanly=bool(_transactional(run))
        and (
            any(fault.get("kind") == "unclean" for fault in _faults(run, "elect"))
            or any(_flag(value) for value in [*(of.get("unclean.leader.election.enable") for of in everywhere), *altered])
        ),
    )


def _patience(producer: Mapping[str, object]) -> int:
    """Java's delivery.timeout.ms, or what of librdkafka's settings stands for it."""
    return _number(producer.get("delivery.timeout.ms"), 120_000)


def _client(run: Mapping[str, object], producer: str) -> str:
    own, client = configured(run, "producers").get(producer), run.get("client", "java")
    told = own.get("client") if isinstance(own, dict) else None
    return str(told or (client.get(producer, "java") if isinstance(client, dict) else client))


def _transactional(run: Mapping[str, object]) -> list[str]:
    return [name for name, own in configured(run, "producers").items() if isinstance(own, dict) and own.get("transactional.id")]


def _transaction_version(run: Mapping[str, object], producer: str) -> int:
    """T40: the protocol belongs to the pair of client and brokers; librdkafka speaks the older one."""
    scenario = run.get("scenario")
    cluster = scenario.get("cluster") if isinstance(scenario, dict) else None
    features = cluster.get("features") if isinstance(cluster, dict) else None
    brokers, clients = _releases(run)
    level = _number(_dotted(features, "transaction.version"), 2 if brokers >= (4, 0, 0) else 0)
    return level if clients >= (4, 0, 0) and not _client(run, producer).startswith("librdkafka") else min(level, 1)


def _releases(run: Mapping[str, object]) -> tuple[Release, Release]:
    """Of brokers and clients."""
    kafka = run.get("kafka", "4.0")
    brokers, clients = (kafka["brokers"], kafka["clients"]) if isinstance(kafka, dict) else (kafka, kafka)
    return _release(brokers), _release(clients)


def _release(version: object) -> Release:
    try:
        return parse_release(str(version))
    except ValueError:
        return NEWEST


def _threads(run: Mapping[str, object], producer: str, topic: str) -> int:
    scenario = run.get("scenario")
    workloads = scenario.get("workload") if isinstance(scenario, dict) else None
    tables = [workload for workload in workloads if isinstance(workload, dict)] if isinstance(workloads, list) else []
    return sum(workload.get("topic") == topic and workload.get("producer", producer) == producer for workload in tables)


def _faults(run: Mapping[str, object], do: str) -> list[dict[str, object]]:
    scenario = run.get("scenario")
    faults = scenario.get("fault") if isinstance(scenario, dict) else None
    return [fault for fault in faults if isinstance(fault, dict) and fault.get("do") == do] if isinstance(faults, list) else []


def _altered(run: Mapping[str, object], topic: str, setting: str) -> list[object]:
    """What the scenario's faults set it to, of this topic or of brokers."""
    concerned = [fault for fault in _faults(run, "alter") if fault.get("target") == topic or fault.get("target") not in configured(run, "topics")]
    return [value for fault in concerned if (value := _dotted(fault.get("config"), setting)) is not None]


def _dotted(table: object, name: str) -> object:
    """As TOML writes it: config.min.insync.replicas is a table in a table in a table."""
    if not isinstance(table, dict) or name in table:
        return table[name] if isinstance(table, dict) else None
    head, _, rest = name.partition(".")
    return _dotted(table.get(head), rest)


def _number(value: object, default: int) -> int:
    try:
        return int(str(value))
    except ValueError:
        return default


def _flag(value: object) -> bool:
    return str(value).lower() == "true"
