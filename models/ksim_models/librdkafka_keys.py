"""Every setting that a producer of librdkafka 2 knows and that bears on what becomes of a record: type, range, default. The rest is known by its name.

Kafka: librdkafka's CONFIGURATION.md and rdkafka_conf.c (section 7.1 of the client's rule book).
"""

from __future__ import annotations

from ksim_models.producer_keys import ACKS_ADVICE, ACKS_MEANT
from ksim_models.settings import ALWAYS, INT_MAX, ConfigKey, Kind, Unit, Value, playing_no_part

LIBRDKAFKA = "librdkafka"

ALIASES = {
    "request.required.acks": "acks",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "message.send.max.retries": "retries",
    "queue.buffering.max.ms": "linger.ms",
    "message.timeout.ms": "delivery.timeout.ms",
    "compression.codec": "compression.type",
    "metadata.broker.list": "bootstrap.servers",
}
"""Two names of one setting: librdkafka's own, and the one that Java's client has too, by which it goes here."""


def _number(name: str, default: int, low: int, high: int, unit: Unit = Unit.NONE, *, not_yet: str = "") -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, high, not_yet=not_yet)


def _ms(name: str, default: int, low: int, high: int) -> ConfigKey:
    return _number(name, default, low, high, Unit.MS)


def _choice(name: str, default: Value, *choices: str, not_yet: str = "", any_case: bool = True) -> ConfigKey:
    return ConfigKey(name, Kind.TEXT, ((ALWAYS, default),), choices=choices, any_case=any_case, not_yet=not_yet)


def _flag(name: str, default: bool, *, not_yet: str = "") -> ConfigKey:
    return ConfigKey(name, Kind.BOOLEAN, ((ALWAYS, default),), also=(("t", True), ("1", True), ("f", False), ("0", False)), not_yet=not_yet)


HOUR = 3_600_000
PARTITIONERS = "random consistent consistent_random murmur2 murmur2_random fnv1a fnv1a_random".split()
CODECS = "none gzip snappy lz4 zstd".split()
HANDED_ON = "the real client gets it as it is written"

_KEYS = (
    ConfigKey(
        "acks",
        Kind.TEXT,
        ((ALWAYS, "all"),),
        choices=("all", "-1", "0", "1"),
        any_case=True,
        meant=ACKS_MEANT,
        advice=ACKS_ADVICE,
        stricter="librdkafka takes any number up to 1000, and a broker refuses all but these: INVALID_REQUIRED_ACKS",
    ),
    _flag("enable.idempotence", False),
    _flag("enable.gapless.guarantee", False),
    _number("retries", INT_MAX, 0, INT_MAX),
    _ms("delivery.timeout.ms", 300_000, 0, INT_MAX),
    _ms("request.timeout.ms", 30_000, 1, 900_000),
    _ms("socket.timeout.ms", 60_000, 10, 300_000),
    _number("socket.max.fails", 1, 0, 1_000_000),
    ConfigKey("linger.ms", Kind.NUMBER, ((ALWAYS, 5),), Unit.MS, 0, 900_000),
    _number("batch.size", 1_000_000, 1, INT_MAX, Unit.BYTES),
    _number("batch.num.messages", 10_000, 1, 1_000_000),
    _number("queue.buffering.max.messages", 100_000, 0, INT_MAX),
    _number("queue.buffering.max.kbytes", 1_048_576, 1, INT_MAX),
    _number("queue.buffering.backpressure.threshold", 1, 1, 1_000_000),
    _choice("queuing.strategy", "fifo", "fifo", "lifo"),
    _number("message.max.bytes", 1_000_000, 1_000, 1_000_000_000, Unit.BYTES),
    _number("max.in.flight.requests.per.connection", 1_000_000, 1, 1_000_000),
    _ms("retry.backoff.ms", 100, 1, 300_000),
    _ms("retry.backoff.max.ms", 1_000, 1, 300_000),
    _ms("reconnect.backoff.ms", 100, 0, HOUR),
    _ms("reconnect.backoff.max.ms", 10_000, 0, HOUR),
    _ms("socket.connection.setup.timeout.ms", 30_000, 1_000, INT_MAX),
    _ms("connections.max.idle.ms", 0, 0, INT_MAX),
    ConfigKey("topic.metadata.refresh.interval.ms", Kind.INT, ((ALWAYS, 300_000),), Unit.MS, -1, HOUR),
    _ms("topic.metadata.refresh.fast.interval.ms", 100, 1, 60_000),
    _ms("topic.metadata.propagation.max.ms", 30_000, 0, HOUR),
    _ms("metadata.max.age.ms", 900_000, 1, 86_400_000),
    _choice("metadata.recovery.strategy", "rebootstrap", "none", "rebootstrap"),
    _ms("metadata.recovery.rebootstrap.trigger.ms", 300_000, 0, INT_MAX),
    _choice("partitioner", "consistent_random", *PARTITIONERS, any_case=False),
    _ms("sticky.partitioning.linger.ms", 10, 0, 900_000),
    _choice("compression.type", "none", *CODECS),
    _number("compression.level", -1, -1, 12),
    ConfigKey("transactional.id", Kind.TEXT, ((ALWAYS, None),)),
    _ms("transaction.timeout.ms", 60_000, 1_000, INT_MAX),
    _flag("delivery.report.only.error", False, not_yet="leaving out the reports of what went well"),
    *playing_no_part("only where it names brokers of the scenario (broker-1,broker-2) does it say which of them the client begins with", "bootstrap.servers"),
    *playing_no_part("the brokers are those of the scenario", "client.dns.lookup"),
    *playing_no_part("clients go by the names that the scenario gives them", "client.id", "client.rack"),
    *playing_no_part(
        HANDED_ON,
        *("message.copy.max.bytes", "receive.message.max.bytes", "topic.metadata.refresh.fast.cnt", "topic.metadata.refresh.sparse", "topic.blacklist"),
        *("socket.blocking.max.ms", "socket.send.buffer.bytes", "socket.receive.buffer.bytes", "socket.keepalive.enable", "socket.nagle.disable"),
        *("broker.address.ttl", "broker.address.family", "reconnect.backoff.jitter.ms", "statistics.interval.ms", "enabled_events"),
        *("debug", "log_level", "log.queue", "log.thread.name", "log.connection.close", "enable.random.seed", "internal.termination.signal"),
        *("api.version.request", "api.version.request.timeout.ms", "api.version.fallback.ms", "broker.version.fallback", "allow.auto.create.topics"),
        *("enable.metrics.push", "produce.offset.report", "builtin.features", "plugin.library.paths"),
    ),
)

LIBRDKAFKA_KEYS: dict[str, ConfigKey] = {key.name: key for key in _KEYS}

LIBRDKAFKA_FAMILIES = tuple((prefix, HANDED_ON) for prefix in ("security.", "sasl.", "ssl.", "enable.ssl.", "enable.sasl.", "https."))

CONSUMER_NAMES = tuple(
    (name, "a consumer's setting, which a producer ignores")
    for name in (
        *("group.", "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms", "coordinator.query.interval.ms", "max.poll."),
        *("enable.auto.", "auto.commit.", "auto.offset.reset", "queued.m", "fetch.", "max.partition.fetch.bytes", "offset.store.", "isolation.level"),
        *("enable.partition.eof", "check.crcs", "share.acknowledgement.mode", "consume.callback.max.messages"),
    )
)

CALLBACKS = (
    *("error_cb", "throttle_cb", "stats_cb", "log_cb", "background_event_cb", "socket_cb", "connect_cb", "closesocket_cb", "open_cb", "resolve_cb"),
    *("dr_cb", "dr_msg_cb", "partitioner_cb", "msg_order_cmp", "opaque", "default_topic_conf", "oauthbearer_token_refresh_cb", "interceptors"),
    *("on_delivery", "logger", "consume_cb", "rebalance_cb", "offset_commit_cb", "ssl_engine_callback_data", "ssl_certificate", "ssl_key", "ssl_ca"),
)
"""What a program sets with a function, not with a text (rd_kafka_conf_set: must be set through dedicated .._set_..() function); two are Python's."""

JAVA_NAMES = {
    "buffer.memory": "queue.buffering.max.kbytes",
    "max.block.ms": "queue.buffering.max.messages",
    "max.request.size": "message.max.bytes",
    "partitioner.class": "partitioner",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "socket.connection.setup.timeout.max.ms": "socket.connection.setup.timeout.ms",
    "metadata.max.idle.ms": "metadata.max.age.ms",
    "compression.gzip.level": "compression.level",
    "compression.lz4.level": "compression.level",
    "compression.zstd.level": "compression.level",
    "partitioner.ignore.keys": "partitioner",
    "partitioner.adaptive.partitioning.enable": "partitioner",
    "partitioner.availability.timeout.ms": "partitioner",
}
"""The Java client's names -> librdkafka's for the same thing, or the nearest to it."""
