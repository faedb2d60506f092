"""Every setting that a Java consumer knows: its type, range and defaults, and which of them play no part here.

Kafka: ConsumerConfig, CommonClientConfigs.
"""

from __future__ import annotations

from ksim_models.profiles import Release
from ksim_models.settings import ALWAYS, INT_MAX, LONG_MAX, ConfigKey, Kind, Unit, playing_no_part


def _int(name: str, default: int, *, unit: Unit = Unit.NONE, low: int = 0) -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, INT_MAX)


def _ms(name: str, default: int, *, kind: Kind = Kind.INT, low: int = 0, since: Release = ALWAYS) -> ConfigKey:
    return ConfigKey(name, kind, ((ALWAYS, default),), Unit.MS, low, INT_MAX if kind is Kind.INT else LONG_MAX, since=since)


SECURITY = "connections are neither encrypted nor authenticated here"
SIMULATED_NETWORK = "the network is simulated"
THE_BROKERS_ARE_THERE = "the brokers are those of the scenario"
METRICS = "metrics are taken over the whole run"
NO_RANGE = "Kafka checks no range here, but a connection attempt that may not last would never succeed"
RANGE_ASSIGNOR = "org.apache.kafka.clients.consumer.RangeAssignor"
ROUND_ROBIN_ASSIGNOR = "org.apache.kafka.clients.consumer.RoundRobinAssignor"
COOPERATIVE_ASSIGNOR = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
STICKY_ASSIGNOR = "org.apache.kafka.clients.consumer.StickyAssignor"

_KEYS = (
    ConfigKey("group.id", Kind.TEXT, ((ALWAYS, None),)),
    ConfigKey("group.instance.id", Kind.TEXT, ((ALWAYS, None),)),
    ConfigKey("isolation.level", Kind.TEXT, ((ALWAYS, "read_uncommitted"),), choices=("read_committed", "read_uncommitted")),
    ConfigKey("auto.offset.reset", Kind.TEXT, ((ALWAYS, "latest"),), choices=("latest", "earliest", "none"), form=r"by_duration:.*"),
    ConfigKey("enable.auto.commit", Kind.BOOLEAN, ((ALWAYS, True),)),
    _ms("auto.commit.interval.ms", 5_000),
    ConfigKey("session.timeout.ms", Kind.INT, ((ALWAYS, 10_000), ((3, 0, 0), 45_000)), Unit.MS, 0, INT_MAX),
    _ms("heartbeat.interval.ms", 3_000),
    _ms("max.poll.interval.ms", 300_000, low=1),
    _int("max.poll.records", 500, low=1),
    _int("fetch.min.bytes", 1, unit=Unit.BYTES),
    _int("fetch.max.bytes", 52_428_800, unit=Unit.BYTES),
    _ms("fetch.max.wait.ms", 500),
    _int("max.partition.fetch.bytes", 1_048_576, unit=Unit.BYTES),
    ConfigKey(
        "partition.assignment.strategy",
        Kind.TEXT,
        ((ALWAYS, RANGE_ASSIGNOR), ((3, 0, 0), f"{RANGE_ASSIGNOR},{COOPERATIVE_ASSIGNOR}")),
        is_list=True,
    ),
    ConfigKey(
        "group.protocol",
        Kind.TEXT,
        ((ALWAYS, "classic"),),
        choices=("classic", "consumer"),
        any_case=True,
        since=(3, 7, 0),
    ),
    ConfigKey("group.remote.assignor", Kind.TEXT, ((ALWAYS, None),), since=(3, 7, 0)),
    ConfigKey("allow.auto.create.topics", Kind.BOOLEAN, ((ALWAYS, True),)),
    _ms("request.timeout.ms", 30_000),
    _ms("default.api.timeout.ms", 60_000),
    _ms("retry.backoff.ms", 100, kind=Kind.LONG),
    _ms("retry.backoff.max.ms", 1_000, kind=Kind.LONG, since=(3, 7, 0)),
    _ms("reconnect.backoff.ms", 50, kind=Kind.LONG),
    _ms("reconnect.backoff.max.ms", 1_000, kind=Kind.LONG),
    ConfigKey("socket.connection.setup.timeout.ms", Kind.LONG, ((ALWAYS, 10_000),), Unit.MS, stricter=NO_RANGE),
    ConfigKey("socket.connection.setup.timeout.max.ms", Kind.LONG, ((ALWAYS, 30_000),), Unit.MS, stricter=NO_RANGE),
    _ms("connections.max.idle.ms", 540_000, kind=Kind.LONG, low=-LONG_MAX - 1),
    _ms("metadata.max.age.ms", 300_000, kind=Kind.LONG),
    ConfigKey(
        "metadata.recovery.strategy",
        Kind.TEXT,
        ((ALWAYS, "none"), ((4, 0, 0), "rebootstrap")),
        choices=("rebootstrap", "none"),
        any_case=True,
        since=(3, 8, 0),
    ),
    _ms("metadata.recovery.rebootstrap.trigger.ms", 300_000, kind=Kind.LONG, since=(4, 0, 0)),
    ConfigKey("send.buffer.bytes", Kind.INT, ((ALWAYS, 131_072),), Unit.BYTES, -1, INT_MAX, no_part=SIMULATED_NETWORK),
    ConfigKey("receive.buffer.bytes", Kind.INT, ((ALWAYS, 65_536),), Unit.BYTES, -1, INT_MAX, no_part=SIMULATED_NETWORK),
    *playing_no_part(THE_BROKERS_ARE_THERE, "bootstrap.servers", "client.dns.lookup"),
    *playing_no_part("clients go by the names that the scenario gives them", "client.id"),
    *playing_no_part("brokers have no racks here", "client.rack"),
    *playing_no_part("records have sizes here, not contents", "key.deserializer", "value.deserializer", "check.crcs"),
    *playing_no_part("an interceptor changes no position", "interceptor.classes"),
    *playing_no_part("topics are subscribed to by their names", "exclude.internal.topics"),
    *playing_no_part(METRICS, "metric.reporters", "metrics.num.samples", "metrics.sample.window.ms", "metrics.recording.level"),
    *playing_no_part(METRICS, "enable.metrics.push", since=(3, 7, 0)),
    *playing_no_part(METRICS, "auto.include.jmx.reporter", since=(3, 4, 0), until=(4, 0, 0)),
    *playing_no_part("it changes nothing in what becomes of a record", "security.providers", "config.providers"),
    *playing_no_part(SECURITY, "security.protocol"),
    *playing_no_part("the client closes as it is told to", "internal.leave.group.on.close", "internal.throw.on.fetch.stable.offset.unsupported"),
)

CONSUMER_KEYS: dict[str, ConfigKey] = {key.name: key for key in _KEYS}
DESERIALIZER = "a deserializer's own setting, and records have sizes here, not contents"

OWN_FAMILIES = (
    *((prefix, SECURITY) for prefix in ("security.", "sasl.", "ssl.")),
    *(
        (prefix, DESERIALIZER)
        for prefix in ("schema.registry.", "basic.auth.", "bearer.auth.", "specific.avro.reader", "key.deserializer.", "value.deserializer.")
    ),
    ("metrics.context.", METRICS),
    ("config.providers.", "it changes nothing in what becomes of a record"),
    ("confluent.", "a setting of a vendor's interceptors or reporters"),
)
"""Families of names that a production file has for other parts than the client itself."""

PRODUCER_FAMILIES = tuple(
    (name, "a producer's setting, which a consumer ignores")
    for name in (
        *("acks", "enable.idempotence", "retries", "delivery.timeout.ms", "linger.ms", "batch.size", "buffer.memory", "max.block.ms", "max.request.size"),
        *("max.in.flight.requests.per.connection", "metadata.max.idle.ms", "transactional.id", "transaction.", "compression.", "partitioner."),
        *("key.serializer", "value.serializer"),
    )
)
"""A file shared by a program's producer and consumer has these too."""
