"""Every setting that a consumer of librdkafka 2 knows and that bears on what it reads and commits: type, range, default. The rest is known by its name.

Kafka: librdkafka's CONFIGURATION.md and rdkafka_conf.c, the properties of C and of both sides.
"""

from __future__ import annotations

from ksim_models.consumer_keys import COOPERATIVE_ASSIGNOR, RANGE_ASSIGNOR, ROUND_ROBIN_ASSIGNOR
from ksim_models.librdkafka_keys import HANDED_ON, HOUR, LIBRDKAFKA_FAMILIES, LIBRDKAFKA_KEYS
from ksim_models.settings import ALWAYS, INT_MAX, ConfigKey, Kind, Unit, Value, playing_no_part

CONSUMER_ALIASES = {
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "metadata.broker.list": "bootstrap.servers",
}
"""Two names of one setting: librdkafka's own, and the one that Java's client has too, by which it goes here."""

DAY = 24 * HOUR
RESETS = {
    "smallest": "earliest",
    "earliest": "earliest",
    "beginning": "earliest",
    "largest": "latest",
    "latest": "latest",
    "end": "latest",
    "error": "none",
}
"""What auto.offset.reset may say -> the Java client's word for it."""
JAVA_ASSIGNORS = ((RANGE_ASSIGNOR, "range"), (ROUND_ROBIN_ASSIGNOR, "roundrobin"), (COOPERATIVE_ASSIGNOR, "cooperative-sticky"))
ASSIGNOR_LISTS = ("range", "roundrobin", "range,roundrobin", "roundrobin,range", "cooperative-sticky")


def _number(name: str, default: int, low: int, high: int, unit: Unit = Unit.NONE) -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, high)


def _ms(name: str, default: int, low: int, high: int) -> ConfigKey:
    return _number(name, default, low, high, Unit.MS)


def _choice(name: str, default: Value, *choices: str, not_yet: str = "", any_case: bool = True) -> ConfigKey:
    return ConfigKey(name, Kind.TEXT, ((ALWAYS, default),), choices=choices, any_case=any_case, not_yet=not_yet)


def _flag(name: str, default: bool) -> ConfigKey:
    return ConfigKey(name, Kind.BOOLEAN, ((ALWAYS, default),), also=(("t", True), ("1", True), ("f", False), ("0", False)))


_OF_BOTH_SIDES = (
    *("socket.timeout.ms", "socket.max.fails", "message.max.bytes", "max.in.flight.requests.per.connection", "retry.backoff.ms", "retry.backoff.max.ms"),
    *("reconnect.backoff.ms", "reconnect.backoff.max.ms", "socket.connection.setup.timeout.ms", "connections.max.idle.ms"),
    *("topic.metadata.refresh.interval.ms", "topic.metadata.refresh.fast.interval.ms", "topic.metadata.propagation.max.ms", "metadata.max.age.ms"),
    *("metadata.recovery.strategy", "metadata.recovery.rebootstrap.trigger.ms", "client.dns.lookup", "client.id", "client.rack"),
)
_NOT_A_CONSUMERS = ("produce.offset.report", "receive.message.max.bytes")
_HANDED_ON = tuple(name for name, key in LIBRDKAFKA_KEYS.items() if key.no_part == HANDED_ON and name not in _NOT_A_CONSUMERS)

_KEYS = (
    _choice("group.id", None, any_case=False),
    _choice("group.instance.id", None, any_case=False),
    _choice("isolation.level", "read_committed", "read_uncommitted", "read_committed"),
    ConfigKey("auto.offset.reset", Kind.TEXT, ((ALWAYS, "largest"),), choices=tuple(RESETS), any_case=True, meant=(("none", "error"),)),
    _flag("enable.auto.commit", True),
    _ms("auto.commit.interval.ms", 5_000, 0, DAY),
    _flag("enable.auto.offset.store", True),
    _ms("session.timeout.ms", 45_000, 1, HOUR),
    _ms("heartbeat.interval.ms", 3_000, 1, HOUR),
    _ms("max.poll.interval.ms", 300_000, 1, DAY),
    ConfigKey("partition.assignment.strategy", Kind.TEXT, ((ALWAYS, "range,roundrobin"),), choices=ASSIGNOR_LISTS, meant=JAVA_ASSIGNORS),
    _choice("group.protocol", "classic", "classic", "consumer", not_yet="the consumer group protocol of KIP-848"),
    _choice("offset.store.method", "broker", "none", "file", "broker", not_yet="offsets in files"),
    _ms("coordinator.query.interval.ms", 600_000, 1, HOUR),
    _number("queued.min.messages", 100_000, 1, 10_000_000),
    _number("queued.max.messages.kbytes", 65_536, 1, 2_097_151),
    _ms("fetch.wait.max.ms", 500, 0, 300_000),
    _ms("fetch.queue.backoff.ms", 1_000, 0, 300_000),
    _ms("fetch.error.backoff.ms", 500, 0, 300_000),
    _number("max.partition.fetch.bytes", 1_048_576, 1, 1_000_000_000, Unit.BYTES),
    _number("fetch.max.bytes", 52_428_800, 0, 2_147_483_135, Unit.BYTES),
    _number("fetch.min.bytes", 1, 1, 100_000_000, Unit.BYTES),
    _number("receive.message.max.bytes", 100_000_000, 1_000, INT_MAX, Unit.BYTES),
    *(LIBRDKAFKA_KEYS[name] for name in _OF_BOTH_SIDES),
    *playing_no_part("the brokers are those of the scenario", "bootstrap.servers"),
    *playing_no_part("the end of a partition is no record", "enable.partition.eof"),
    *playing_no_part("records have sizes here, not contents", "check.crcs"),
    *playing_no_part("only the legacy consumer, which has no group, looks at it", "auto.commit.enable", "consume.callback.max.messages"),
    *playing_no_part("only with offset.store.method = file does anything come of it", "offset.store.path", "offset.store.sync.interval.ms"),
    *playing_no_part("only share consumers (KIP-932) look at it", "max.poll.records", "share.acknowledgement.mode"),
    *playing_no_part("only the consumer group protocol of KIP-848 asks for it", "group.remote.assignor"),
    *playing_no_part("every group here has it", "group.protocol.type"),
    *playing_no_part(HANDED_ON, *_HANDED_ON),
)

LIBRDKAFKA_CONSUMER_KEYS: dict[str, ConfigKey] = {key.name: key for key in _KEYS}

PRODUCER_NAMES = tuple(
    (name, "a producer's setting, which a consumer ignores")
    for name in (
        *("acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee", "retries", "message.send.max.retries", "request.timeout.ms"),
        *("delivery.timeout.ms", "message.timeout.ms", "linger.ms", "batch.", "queue.buffering.", "queuing.strategy", "transactional.id", "transaction."),
        *("compression.", "partitioner", "sticky.partitioning.", "delivery.report.only.error", "produce.offset.report"),
    )
)

CONSUMER_FAMILIES = LIBRDKAFKA_FAMILIES + PRODUCER_NAMES

JAVA_CONSUMER_NAMES = {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "request.timeout.ms": "socket.timeout.ms",
    "default.api.timeout.ms": "socket.timeout.ms",
    "metadata.max.idle.ms": "metadata.max.age.ms",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "socket.connection.setup.timeout.max.ms": "socket.connection.setup.timeout.ms",
}
"""The Java client's names -> librdkafka's for the same thing, or the nearest to it."""
