"""Every broker, controller and topic setting that is known here: its type, range and default, and which of them play no part.

Kafka: KafkaConfig, ReplicationConfigs, KRaftConfigs, TopicConfig (section 9 of the broker's rule book; CFG-1).
"""

from __future__ import annotations

from dataclasses import replace

from ksim_models.coordinator_keys import COORDINATOR_KEYS
from ksim_models.profiles import Release
from ksim_models.settings import ALWAYS, INT_MAX, LONG_MAX, ConfigKey, Kind, Unit, Value, playing_no_part


def _int(name: str, default: int, *, unit: Unit = Unit.NONE, low: int = 0, since: Release = ALWAYS) -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, INT_MAX, since=since)


def _long_ms(name: str, default: int | None, *, low: int = 0) -> ConfigKey:
    return ConfigKey(name, Kind.LONG, ((ALWAYS, default),), Unit.MS, low, LONG_MAX)


def _long(name: str, default: int, *, unit: Unit = Unit.NONE, low: int = 0) -> ConfigKey:
    return ConfigKey(name, Kind.LONG, ((ALWAYS, default),), unit, low, LONG_MAX)


def _boolean(name: str, default: bool) -> ConfigKey:
    return ConfigKey(name, Kind.BOOLEAN, ((ALWAYS, default),))


def _not_yet(name: str, kind: Kind, default: Value, missing: str, *, unit: Unit = Unit.NONE, low: int = 0, choices: tuple[str, ...] = ()) -> ConfigKey:
    return ConfigKey(name, kind, ((ALWAYS, default),), unit, low, choices=choices, not_yet=missing)


def _after(name: str) -> ConfigKey:
    """How far ahead of the broker's clock a record may be (KIP-1030)."""
    return ConfigKey(name, Kind.LONG, ((ALWAYS, LONG_MAX), ((4, 0, 0), 3_600_000)), Unit.MS, 0, LONG_MAX)


def _no_part(reason: str, *keys: ConfigKey, since: Release = ALWAYS, until: Release | None = None) -> tuple[ConfigKey, ...]:
    """Checked as Kafka checks them, though they change nothing here."""
    return tuple(replace(key, no_part=reason, since=since, until=until) for key in keys)


NO_TRANSACTIONS = "two-phase commit with another coordinator is not simulated"
NO_CONSUMERS = "there are no consumer groups here yet"
NO_SERVICE_TIMES = "a broker's threads and queues take no time here"
NO_SECURITY = "connections are neither encrypted nor authenticated here"
ONE_FETCHER = "a follower has one fetcher per leader here, whose only limit is the size of a response"
ONE_CLOCK = "no record has a time-stamp from another clock here"
FORMATTED_BY_ITS_RELEASE = "a cluster here is formatted by its own release, and speaks to clients of its time"
THE_SCENARIO_SAYS = "the scenario says which brokers there are and how they reach each other"
ZOOKEEPER = "brokers run in KRaft mode here"
TIMESTAMPS = ("CreateTime", "LogAppendTime")
COMPRESSION = ("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")

_BROKER_KEYS = (
    _int("min.insync.replicas", 1, low=1),
    _boolean("unclean.leader.election.enable", False),
    _int("message.max.bytes", 1_048_588, unit=Unit.BYTES),
    _boolean("auto.create.topics.enable", True),
    _int("num.partitions", 1, low=1),
    _int("default.replication.factor", 1, low=1),
    _long_ms("replica.lag.time.max.ms", 30_000),
    _int("replica.fetch.wait.max.ms", 500, unit=Unit.MS),
    _not_yet("replica.fetch.min.bytes", Kind.INT, 1, "followers that wait for more bytes", unit=Unit.BYTES),
    _int("replica.fetch.backoff.ms", 1_000, unit=Unit.MS),
    _int("replica.fetch.max.bytes", 1_048_576, unit=Unit.BYTES),
    _int("replica.fetch.response.max.bytes", 10_485_760, unit=Unit.BYTES),
    _int("replica.socket.timeout.ms", 30_000, unit=Unit.MS),
    _long_ms("replica.high.watermark.checkpoint.interval.ms", 5_000),
    ConfigKey("num.replica.fetchers", Kind.INT, ((ALWAYS, 1),), low=1, high=INT_MAX, no_part=ONE_FETCHER),
    _int("broker.heartbeat.interval.ms", 2_000, unit=Unit.MS, low=1),
    _int("broker.session.timeout.ms", 9_000, unit=Unit.MS, low=1),
    _int("controller.quorum.append.linger.ms", 25, unit=Unit.MS),
    _int("controller.quorum.election.timeout.ms", 1_000, unit=Unit.MS),
    _int("controller.quorum.fetch.timeout.ms", 2_000, unit=Unit.MS),
    _int("controller.quorum.election.backoff.max.ms", 1_000, unit=Unit.MS),
    _int("controller.quorum.request.timeout.ms", 2_000, unit=Unit.MS),
    _int("controller.quorum.retry.backoff.ms", 20, unit=Unit.MS),
    _int("metadata.max.idle.interval.ms", 500, unit=Unit.MS),
    _boolean("auto.leader.rebalance.enable", True),
    ConfigKey("leader.imbalance.check.interval.seconds", Kind.LONG, ((ALWAYS, 300),), Unit.SECONDS, 1, LONG_MAX),
    ConfigKey("unclean.leader.election.interval.ms", Kind.LONG, ((ALWAYS, 300_000),), Unit.MS, 1, LONG_MAX, since=(3, 9, 0)),
    _boolean("controlled.shutdown.enable", True),
    _int("initial.broker.registration.timeout.ms", 60_000, unit=Unit.MS),
    ConfigKey("log.dir.failure.timeout.ms", Kind.LONG, ((ALWAYS, 30_000),), Unit.MS, 1, LONG_MAX, since=(3, 8, 0)),
    ConfigKey("log.dirs", Kind.TEXT, ((ALWAYS, None),)),
    _int("producer.id.expiration.ms", 86_400_000, unit=Unit.MS, low=1),
    _int("producer.id.expiration.check.interval.ms", 600_000, unit=Unit.MS, low=1),
    _int("request.timeout.ms", 30_000, unit=Unit.MS),
    _long_ms("connections.max.idle.ms", 600_000, low=-LONG_MAX - 1),  # No range: below 0 nothing is closed.
    _long_ms("log.retention.ms", None, low=-1),
    ConfigKey("log.retention.minutes", Kind.INT, ((ALWAYS, None),), low=-1, high=INT_MAX),
    _int("log.retention.hours", 168, low=-1),
    _long("log.retention.bytes", -1, unit=Unit.BYTES, low=-1),
    _long_ms("log.retention.check.interval.ms", 300_000, low=1),
    _int("log.segment.bytes", 1_073_741_824, unit=Unit.BYTES, low=14),
    _long_ms("log.roll.ms", None, low=1),
    _int("log.roll.hours", 168, low=1),
    _long("log.flush.interval.messages", LONG_MAX, low=1),
    _long_ms("log.flush.interval.ms", None),
    _long_ms("log.flush.scheduler.interval.ms", LONG_MAX, low=1),
    _int("log.flush.offset.checkpoint.interval.ms", 60_000, unit=Unit.MS),
    _int("log.flush.start.offset.checkpoint.interval.ms", 60_000, unit=Unit.MS),
    _not_yet("log.cleanup.policy", Kind.TEXT, "delete", "compaction", choices=("delete", "compact", "compact,delete", "delete,compact")),
    ConfigKey("compression.type", Kind.TEXT, ((ALWAYS, "producer"),), choices=COMPRESSION),
    _not_yet("socket.request.max.bytes", Kind.INT, 104_857_600, "a limit to the size of a request", unit=Unit.BYTES, low=1),
    _not_yet("max.connections", Kind.INT, INT_MAX, "a limit to the number of connections"),
    _not_yet("max.connections.per.ip", Kind.INT, INT_MAX, "a limit to the number of connections"),
    _not_yet("replica.selector.class", Kind.TEXT, None, "fetching from followers"),
    *_no_part(
        NO_SERVICE_TIMES,
        _int("num.io.threads", 8, low=1),
        _int("num.network.threads", 3, low=1),
        _int("queued.max.requests", 500, low=1),
        _int("background.threads", 10, low=1),
        ConfigKey("num.recovery.threads.per.data.dir", Kind.INT, ((ALWAYS, 1), ((4, 0, 0), 2)), low=1),
    ),
    *playing_no_part("segments roll without jitter here", "log.roll.jitter.ms", "log.roll.jitter.hours"),
    *_no_part(ONE_CLOCK, ConfigKey("log.message.timestamp.type", Kind.TEXT, ((ALWAYS, "CreateTime"),), choices=TIMESTAMPS)),
    *_no_part(ONE_CLOCK, _after("log.message.timestamp.after.max.ms"), _long_ms("log.message.timestamp.before.max.ms", LONG_MAX), since=(3, 6, 0)),
    *_no_part(ONE_CLOCK, _long_ms("log.message.timestamp.difference.max.ms", LONG_MAX), until=(4, 0, 0)),
    *playing_no_part(
        FORMATTED_BY_ITS_RELEASE, "inter.broker.protocol.version", "log.message.format.version", "log.message.downconversion.enable", until=(4, 0, 0)
    ),
    *_no_part("in KRaft mode Kafka ignores it (KC-46)", _int("leader.imbalance.per.broker.percentage", 10), until=(4, 0, 0)),
    *_no_part(ZOOKEEPER, _int("controlled.shutdown.max.retries", 3), _long_ms("controlled.shutdown.retry.backoff.ms", 5_000), until=(4, 0, 0)),
    *_no_part("an administrator deletes topics here whatever it says", _boolean("delete.topic.enable", True)),
    *playing_no_part(
        THE_SCENARIO_SAYS,
        "broker.id",
        "node.id",
        "process.roles",
        "listeners",
        "advertised.listeners",
        "broker.rack",
        "log.dir",
        "metadata.log.dir",
    ),
    *playing_no_part(
        THE_SCENARIO_SAYS,
        "inter.broker.listener.name",
        "controller.listener.names",
        "controller.quorum.voters",
    ),
    *playing_no_part(THE_SCENARIO_SAYS, "controller.quorum.bootstrap.servers", since=(3, 9, 0)),
    *playing_no_part(THE_SCENARIO_SAYS, "zookeeper.connect", until=(4, 0, 0)),
    *_no_part(NO_CONSUMERS, _int("fetch.max.bytes", 57_671_680, unit=Unit.BYTES, low=1024), _int("max.incremental.fetch.session.cache.slots", 1_000)),
    *COORDINATOR_KEYS,
)

NO_RANGE = "Kafka checks no range here, but nothing could run with this"
UNCHECKED = frozenset(
    (
        *("broker.heartbeat.interval.ms", "broker.session.timeout.ms", "default.replication.factor", "request.timeout.ms"),
        "initial.broker.registration.timeout.ms",
        *("log.retention.ms", "log.retention.minutes", "log.retention.hours", "log.retention.bytes", "retention.bytes"),
        *("replica.fetch.min.bytes", "replica.fetch.wait.max.ms", "replica.lag.time.max.ms", "replica.socket.timeout.ms", "num.replica.fetchers"),
        "replica.high.watermark.checkpoint.interval.ms",
    )
)
"""Numbers for which KafkaConfig and LogConfig have no validator."""

RAISED = {"log.segment.bytes": ((4, 0, 0), 1_048_576), "segment.bytes": ((4, 1, 0), 1_048_576)}
"""KIP-1030: from which release on a segment is at least how large."""


def _as_kafka_has_it(key: ConfigKey) -> ConfigKey:
    return replace(key, raised=RAISED.get(key.name), stricter=NO_RANGE if key.name in UNCHECKED else key.stricter)


BROKER_KEYS: dict[str, ConfigKey] = {key.name: _as_kafka_has_it(key) for key in _BROKER_KEYS}

DYNAMIC_BROKER_SETTINGS = frozenset(
    (
        *("min.insync.replicas", "unclean.leader.election.enable", "message.max.bytes", "compression.type", "producer.id.expiration.ms"),
        *("log.retention.ms", "log.retention.minutes", "log.retention.hours", "log.retention.bytes", "log.cleanup.policy", "log.segment.bytes"),
        *("log.roll.ms", "log.roll.hours", "log.roll.jitter.ms", "log.flush.interval.messages", "log.flush.interval.ms"),
        *("log.message.timestamp.type", "log.message.timestamp.after.max.ms", "log.message.timestamp.before.max.ms"),
        *("num.io.threads", "num.network.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads"),
        *("advertised.listeners", "max.connections", "max.connections.per.ip"),
    )
)
"""What may be altered while a broker runs (DynamicBrokerConfig). Of a topic every setting may."""

BROKER_FAMILIES = (
    ("security.", NO_SECURITY),
    ("sasl.", NO_SECURITY),
    ("ssl.", NO_SECURITY),
    ("authorizer.", NO_SECURITY),
    ("super.users", NO_SECURITY),
    ("delegation.token.", NO_SECURITY),
    ("listener.", THE_SCENARIO_SAYS),
    ("zookeeper.", ZOOKEEPER),
    ("offsets.", NO_CONSUMERS),
    ("group.", NO_CONSUMERS),
    ("share.", NO_CONSUMERS),
    ("transaction.two.phase.commit.", NO_TRANSACTIONS),
    ("log.cleaner.", "compaction is not simulated"),
    ("log.index.", "an index changes nothing in what becomes of a record"),
    ("socket.", "the network is simulated"),
    ("metric", "metrics are taken over the whole run"),
    ("kafka.metrics.", "metrics are taken over the whole run"),
    ("confluent.", "a setting of a vendor's distribution"),
)

_TOPIC_KEYS = (
    _int("min.insync.replicas", 1, low=1),
    _boolean("unclean.leader.election.enable", False),
    _int("max.message.bytes", 1_048_588, unit=Unit.BYTES),
    replace(_not_yet("cleanup.policy", Kind.TEXT, "delete", "compaction", choices=("delete", "compact", "compact,delete", "delete,compact")), is_list=True),
    _long_ms("retention.ms", 604_800_000, low=-1),
    _long("retention.bytes", -1, unit=Unit.BYTES, low=-1),
    _int("segment.bytes", 1_073_741_824, unit=Unit.BYTES, low=14),
    ConfigKey("internal.segment.bytes", Kind.INT, ((ALWAYS, None),), Unit.BYTES, 1, INT_MAX, since=(4, 1, 0)),
    _long_ms("segment.ms", 604_800_000, low=1),
    _long("flush.messages", LONG_MAX, low=1),
    _long_ms("flush.ms", LONG_MAX),
    ConfigKey("compression.type", Kind.TEXT, ((ALWAYS, "producer"),), choices=COMPRESSION),
    _not_yet("remote.storage.enable", Kind.BOOLEAN, False, "tiered storage"),
    *playing_no_part("segments roll without jitter here", "segment.jitter.ms"),
    *playing_no_part("a segment that is deleted is gone at once here", "file.delete.delay.ms"),
    *playing_no_part("an index changes nothing in what becomes of a record", "index.interval.bytes", "segment.index.bytes", "preallocate"),
    *playing_no_part("compaction is not simulated", "delete.retention.ms", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "max.compaction.lag.ms"),
    *_no_part(ONE_CLOCK, ConfigKey("message.timestamp.type", Kind.TEXT, ((ALWAYS, "CreateTime"),), choices=TIMESTAMPS)),
    *_no_part(ONE_CLOCK, _after("message.timestamp.after.max.ms"), _long_ms("message.timestamp.before.max.ms", LONG_MAX), since=(3, 6, 0)),
    *_no_part(ONE_CLOCK, _long_ms("message.timestamp.difference.max.ms", LONG_MAX), until=(4, 0, 0)),
    *playing_no_part(FORMATTED_BY_ITS_RELEASE, "message.format.version", "message.downconversion.enable", until=(4, 0, 0)),
    *playing_no_part("replication has no quota here", "leader.replication.throttled.replicas", "follower.replication.throttled.replicas"),
)

TOPIC_KEYS: dict[str, ConfigKey] = {key.name: _as_kafka_has_it(key) for key in _TOPIC_KEYS}
