"""Every setting that a Java producer knows: its type, range and defaults, and which of them play no part here.

Kafka: ProducerConfig, CommonClientConfigs (table 1.1 of the client's rule book); librdkafka's CONFIGURATION.md for the other names.
"""

from __future__ import annotations

from ksim_models.partitioner_names import DEFAULT
from ksim_models.profiles import Release
from ksim_models.settings import ALWAYS, INT_MAX, LONG_MAX, ConfigKey, Kind, Unit, Value, playing_no_part


def _int(name: str, default: int, *, unit: Unit = Unit.NONE, low: int = 0, since: Release = ALWAYS) -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, INT_MAX, since=since)


def _ms(name: str, default: int, *, kind: Kind = Kind.LONG, low: int = 0, since: Release = ALWAYS) -> ConfigKey:
    return ConfigKey(name, kind, ((ALWAYS, default),), Unit.MS, low, INT_MAX if kind is Kind.INT else LONG_MAX, since=since)


def _not_yet(
    name: str, kind: Kind, default: Value, missing: str, *, unit: Unit = Unit.NONE, low: int = 0, choices: tuple[str, ...] = (), since: Release = ALWAYS
) -> ConfigKey:
    return ConfigKey(name, kind, ((ALWAYS, default),), unit, low, choices=choices, since=since, not_yet=missing)


def _level(codec: str, default: int, low: int, high: int) -> ConfigKey:
    """Handed to a real client; here the workload says how well its records compress."""
    return ConfigKey(f"compression.{codec}.level", Kind.INT, ((ALWAYS, default),), Unit.NONE, low, high, since=(3, 8, 0), no_part=COMPRESSION_LEVEL)


COMPRESSION_LEVEL = "how well records compress is said by the workload (compression_ratio)"
WITHOUT_TRANSACTIONS = "without transactional.id nothing asks for it"
TWO_PHASES = "no release here sends it to a broker: transactions are ended by their coordinator's time-out as always"
SECURITY = "connections are neither encrypted nor authenticated here"
SIMULATED_NETWORK = "the network is simulated"
THE_BROKERS_ARE_THERE = "the brokers are those of the scenario"
KNOWN_BY_NAME = "only where it names brokers of the scenario (broker-1,broker-2) does it say which of them the client begins with"

ACKS_MEANT = (("none", "0"), ("zero", "0"), ("leader", "1"), ("one", "1"), ("any", "1"), ("quorum", "all"), ("majority", "all"), ("isr", "all"))
ACKS_ADVICE = "How many replicas must have a record is not the producer's to say: that is min.insync.replicas, of the topic."
NO_RANGE = "Kafka checks no range here, but a connection attempt that may not last would never succeed"

_KEYS = (
    # VP-1.
    ConfigKey("acks", Kind.TEXT, ((ALWAYS, "1"), ((3, 0, 0), "all")), choices=("all", "-1", "0", "1"), meant=ACKS_MEANT, advice=ACKS_ADVICE),
    ConfigKey("enable.idempotence", Kind.BOOLEAN, ((ALWAYS, False), ((3, 0, 0), True))),
    _int("retries", INT_MAX),
    _ms("delivery.timeout.ms", 120_000, kind=Kind.INT),
    _ms("request.timeout.ms", 30_000, kind=Kind.INT),
    ConfigKey("linger.ms", Kind.LONG, ((ALWAYS, 0), ((4, 0, 0), 5)), Unit.MS),
    _int("batch.size", 16_384, unit=Unit.BYTES),
    ConfigKey("buffer.memory", Kind.LONG, ((ALWAYS, 33_554_432),), Unit.BYTES),
    _ms("max.block.ms", 60_000),
    _int("max.request.size", 1_048_576, unit=Unit.BYTES),
    _int("max.in.flight.requests.per.connection", 5, low=1),
    _ms("retry.backoff.ms", 100),
    _ms("retry.backoff.max.ms", 1_000, since=(3, 7, 0)),
    _ms("reconnect.backoff.ms", 50),
    _ms("reconnect.backoff.max.ms", 1_000),
    ConfigKey("socket.connection.setup.timeout.ms", Kind.LONG, ((ALWAYS, 10_000),), Unit.MS, stricter=NO_RANGE),
    ConfigKey("socket.connection.setup.timeout.max.ms", Kind.LONG, ((ALWAYS, 30_000),), Unit.MS, stricter=NO_RANGE),
    _ms("connections.max.idle.ms", 540_000, low=-LONG_MAX - 1),  # No range: below 0 nothing is closed.
    _ms("metadata.max.age.ms", 300_000),
    _ms("metadata.max.idle.ms", 300_000, low=5_000),
    ConfigKey(
        "metadata.recovery.strategy",
        Kind.TEXT,
        ((ALWAYS, "none"), ((4, 0, 0), "rebootstrap")),
        choices=("rebootstrap", "none"),  # In the order of Java's HashSet, in which the client tells them.
        any_case=True,
        since=(3, 8, 0),
    ),
    _ms("metadata.recovery.rebootstrap.trigger.ms", 300_000, since=(4, 0, 0)),
    ConfigKey("transactional.id", Kind.TEXT, ((ALWAYS, None),)),
    ConfigKey("compression.type", Kind.TEXT, ((ALWAYS, "none"),), choices=("none", "gzip", "snappy", "lz4", "zstd")),
    ConfigKey("partitioner.class", Kind.TEXT, ((ALWAYS, DEFAULT), ((3, 3, 0), None))),
    ConfigKey("partitioner.ignore.keys", Kind.BOOLEAN, ((ALWAYS, False),), since=(3, 3, 0)),
    ConfigKey("partitioner.adaptive.partitioning.enable", Kind.BOOLEAN, ((ALWAYS, True),), since=(3, 3, 0)),
    _ms("partitioner.availability.timeout.ms", 0, since=(3, 3, 0)),
    ConfigKey("transaction.timeout.ms", Kind.INT, ((ALWAYS, 60_000),), Unit.MS, -INT_MAX - 1, INT_MAX),  # No range (C6).
    ConfigKey(  # Since 4.1 the client knows it, and does nothing with it: what it says goes over the wire in a later release only.
        "transaction.two.phase.commit.enable", Kind.BOOLEAN, ((ALWAYS, False),), since=(4, 1, 0), no_part=TWO_PHASES
    ),
    ConfigKey("send.buffer.bytes", Kind.INT, ((ALWAYS, 131_072),), Unit.BYTES, -1, INT_MAX, no_part=SIMULATED_NETWORK),
    ConfigKey("receive.buffer.bytes", Kind.INT, ((ALWAYS, 32_768),), Unit.BYTES, -1, INT_MAX, no_part=SIMULATED_NETWORK),
    *playing_no_part(KNOWN_BY_NAME, "bootstrap.servers"),
    *playing_no_part(THE_BROKERS_ARE_THERE, "client.dns.lookup"),
    *playing_no_part(THE_BROKERS_ARE_THERE, "bootstrap.resolve.timeout.ms", since=(4, 4, 0)),
    *playing_no_part(THE_BROKERS_ARE_THERE, "metadata.cluster.check.enable", since=(4, 5, 0)),
    *playing_no_part("clients go by the names that the scenario gives them", "client.id"),
    *playing_no_part("brokers have no racks here", "client.rack", "partitioner.rack.aware", since=(4, 4, 0)),
    *playing_no_part("records have sizes here, not contents", "key.serializer", "value.serializer"),
    *playing_no_part("an interceptor cannot fail a record: what it throws is swallowed and logged", "interceptor.classes"),
    *playing_no_part(
        "metrics are taken over the whole run",
        *("metric.reporters", "metrics.num.samples", "metrics.sample.window.ms", "metrics.recording.level"),
    ),
    *playing_no_part("metrics are taken over the whole run", "enable.metrics.push", since=(3, 7, 0)),
    *playing_no_part("metrics are taken over the whole run", "auto.include.jmx.reporter", since=(3, 4, 0), until=(4, 0, 0)),
    *playing_no_part("it changes nothing in what becomes of a record", "security.providers", "config.providers"),
    ConfigKey(  # Checked by its enumeration, in other words, before 3.3.
        "security.protocol",
        Kind.TEXT,
        ((ALWAYS, "plaintext"),),
        choices=("sasl_ssl", "plaintext", "ssl", "sasl_plaintext"),
        any_case=True,
        no_part=SECURITY,
    ),
    *playing_no_part(WITHOUT_TRANSACTIONS, "internal.auto.downgrade.txn.commit", until=(3, 0, 0)),
    _level("gzip", -1, -1, 9),
    _level("lz4", 9, 1, 17),
    _level("zstd", 3, -131_072, 22),
)

PRODUCER_KEYS: dict[str, ConfigKey] = {key.name: key for key in _KEYS}
SERIALIZER = "a serializer's own setting, and records have sizes here, not contents"

PRODUCER_FAMILIES = (
    *((prefix, SECURITY) for prefix in ("security.", "sasl.", "ssl.")),
    *(
        (prefix, SERIALIZER)
        for prefix in (
            *("schema.registry.", "basic.auth.", "bearer.auth.", "auto.register.schemas", "use.latest.version", "key.serializer.", "value.serializer."),
            *("key.subject.name.strategy", "value.subject.name.strategy"),
        )
    ),
    ("metrics.context.", "metrics are taken over the whole run"),
    ("config.providers.", "it changes nothing in what becomes of a record"),
    ("confluent.", "a setting of a vendor's interceptors or reporters"),
)
"""Families of names that a production file has for other parts than the client itself."""

CONSUMER_FAMILIES = tuple(
    (name, "a consumer's setting, which a producer ignores")
    for name in (
        *("group.id", "group.instance.id", "group.protocol", "group.remote.assignor", "auto.offset.reset", "enable.auto.commit", "auto.commit.interval.ms"),
        *(
            "isolation.level",
            "max.poll.",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "fetch.m",
            "max.partition.fetch.bytes",
            "partition.assignment.strategy",
        ),
        *("key.deserializer", "value.deserializer", "check.crcs", "exclude.internal.topics", "allow.auto.create.topics", "default.api.timeout.ms"),
    )
)
"""A file shared by a program's producer and consumer has these too."""

LIBRDKAFKA_NAMES = {
    "request.required.acks": "acks",
    "message.timeout.ms": "delivery.timeout.ms",
    "message.send.max.retries": "retries",
    "queue.buffering.max.ms": "linger.ms",
    "queue.buffering.max.kbytes": "buffer.memory",
    "queue.buffering.max.messages": "buffer.memory",
    "batch.num.messages": "batch.size",
    "message.max.bytes": "max.request.size",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "socket.timeout.ms": "request.timeout.ms",
    "socket.connection.setup.timeout": "socket.connection.setup.timeout.ms",
    "compression.codec": "compression.type",
    "compression.level": "compression.type",
    "partitioner": "partitioner.class",
    "metadata.broker.list": "bootstrap.servers",
    "topic.metadata.refresh.interval.ms": "metadata.max.age.ms",
    "topic.metadata.propagation.max.ms": "max.block.ms",
    "reconnect.backoff.jitter.ms": "reconnect.backoff.ms",
    "socket.send.buffer.bytes": "send.buffer.bytes",
    "socket.receive.buffer.bytes": "receive.buffer.bytes",
    "sticky.partitioning.linger.ms": "partitioner.class",
}
"""librdkafka's names (section 7.1) -> the Java client's name for the same thing, or the nearest to it."""
