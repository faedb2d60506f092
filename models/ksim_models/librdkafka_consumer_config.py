"""What a consumer of librdkafka is configured with: its own names and defaults, its own conflicts, seen as a ConsumerConfig too.

Kafka: rd_kafka_conf_finalize's consumer branch in librdkafka's rdkafka_conf.c, rd_kafka_assignors_init.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.consumer_config import ASSIGNOR_NAMES, ConsumerConfig, ConsumerResolution
from ksim_models.consumer_keys import CONSUMER_KEYS
from ksim_models.librdkafka_config import RELEASE, LibrdkafkaConfig, librdkafka_reads, librdkafka_says
from ksim_models.librdkafka_consumer_keys import CONSUMER_ALIASES, CONSUMER_FAMILIES, JAVA_CONSUMER_NAMES, LIBRDKAFKA_CONSUMER_KEYS, RESETS
from ksim_models.librdkafka_keys import CALLBACKS, LIBRDKAFKA
from ksim_models.setting_values import as_kafka_reads
from ksim_models.settings import Catalogue, ConfigKey, Origin, Problem, Reading, Setting, read_settings

MISSING_GROUP = (
    "group.id is missing: librdkafka reads as a member of a group only."
    " confluent-kafka refuses it: ValueError: Failed to create consumer: group.id must be set."
)
CLASS_OF = {name: cls for cls, name in ASSIGNOR_NAMES.items()}


@dataclass(frozen=True, slots=True)
class LibrdkafkaConsumerConfig:
    """The settings that play a part, by the names they go by here; the defaults are those of librdkafka 2."""

    group_id: str = ""
    group_instance_id: str | None = None
    isolation_level: str = "read_committed"
    auto_offset_reset: str = "largest"
    enable_auto_commit: bool = True
    auto_commit_interval_ms: int = 5_000
    """0: no timer; what is stored is committed when partitions are given up."""
    enable_auto_offset_store: bool = True
    """An offset is stored, for the next commit, when its record is handed to the application; else the application stores it when it has done with it."""
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 300_000
    partition_assignment_strategy: str = "range,roundrobin"
    coordinator_query_interval_ms: int = 600_000
    queued_min_messages: int = 100_000
    queued_max_messages_kbytes: int = 65_536
    fetch_wait_max_ms: int = 500
    fetch_queue_backoff_ms: int = 1_000
    fetch_error_backoff_ms: int = 500
    max_partition_fetch_bytes: int = 1_048_576
    """fetch.message.max.bytes."""
    fetch_max_bytes: int = 52_428_800
    fetch_min_bytes: int = 1
    socket_timeout_ms: int = 60_000
    socket_max_fails: int = 1
    max_in_flight_requests_per_connection: int = 1_000_000
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000
    reconnect_backoff_ms: int = 100
    reconnect_backoff_max_ms: int = 10_000
    socket_connection_setup_timeout_ms: int = 30_000
    topic_metadata_refresh_interval_ms: int = 300_000
    topic_metadata_refresh_fast_interval_ms: int = 100
    topic_metadata_propagation_max_ms: int = 30_000

    @property
    def queue_buffering_backpressure_threshold(self) -> int:
        """A producer's: a consumer's requests wait for nothing."""
        return 1

    @property
    def reset_to(self) -> str:
        """ "earliest", "latest" or "none": an error for the application."""
        return RESETS[self.auto_offset_reset]

    @property
    def assignors(self) -> tuple[str, ...]:
        return tuple(self.partition_assignment_strategy.split(","))

    @property
    def read_committed(self) -> bool:
        return self.isolation_level == "read_committed"


AnyLibrdkafkaConfig = LibrdkafkaConfig | LibrdkafkaConsumerConfig
"""Of either side: what connections and metadata go by is the same."""


@dataclass(frozen=True, slots=True)
class LibrdkafkaConsumerResolution(ConsumerResolution):
    """`config` is what a judge sees of it, by the names that both clients have."""

    own: LibrdkafkaConsumerConfig | None = None


def consumer_by_one_name(settings: Sequence[Setting]) -> list[Setting]:
    """The settings, each by the name it goes by here."""
    return [replace(setting, name=CONSUMER_ALIASES.get(setting.name, setting.name)) for setting in settings]


def resolve_librdkafka_consumer(settings: Sequence[Setting], where: Origin) -> LibrdkafkaConsumerResolution:
    """Settle a consumer's settings, weakest first, as librdkafka would when it is constructed. Never raises. `where`: where the consumer itself is written."""
    reading = read_settings(consumer_by_one_name(settings), LIBRDKAFKA_CONSUMER, RELEASE, LIBRDKAFKA)
    _follow_others(reading)
    _check_group(reading, where)
    _check_sizes(reading)
    _check_reconnect_backoff(reading)
    problems, notes = tuple(reading.problems), tuple(reading.notes)
    if problems:
        return LibrdkafkaConsumerResolution(None, problems, notes, reading.effective())
    fields: dict[str, Any] = {
        key.field: reading.value(key.name) for key in LIBRDKAFKA_CONSUMER_KEYS.values() if key.field in LibrdkafkaConsumerConfig.__slots__
    }
    own = LibrdkafkaConsumerConfig(**fields)
    return LibrdkafkaConsumerResolution(_view(own), (), notes, reading.effective(), own)


def _view(own: LibrdkafkaConsumerConfig) -> ConsumerConfig:
    """As whoever knows only the Java client's names sees it."""
    shared: dict[str, Any] = {name: getattr(own, name) for name in ConsumerConfig.__slots__ if name in LibrdkafkaConsumerConfig.__slots__}
    assignors = ",".join(CLASS_OF[name] for name in own.assignors)
    as_java = {"auto_offset_reset": own.reset_to, "partition_assignment_strategy": assignors, "fetch_max_wait_ms": own.fetch_wait_max_ms}
    return ConsumerConfig(**{**shared, **as_java}, allow_auto_create_topics=False)


def _follow_others(reading: Reading) -> None:
    refresh = reading.number("topic.metadata.refresh.interval.ms")
    for name, value, leader in (
        ("topic.metadata.refresh.fast.interval.ms", reading.number("retry.backoff.ms"), "retry.backoff.ms"),
        ("metadata.max.age.ms", 3 * refresh if refresh > 0 else reading.number("metadata.max.age.ms"), "topic.metadata.refresh.interval.ms"),
    ):
        if name not in reading.written and reading.number(name) != value:
            reading.force(name, value, leader, "L1")


def _check_group(reading: Reading, where: Origin) -> None:
    poll, session, strategy = "max.poll.interval.ms", "session.timeout.ms", "partition.assignment.strategy"
    if reading.value("group.id") is None and reading.can_compare("group.id"):
        reading.problems.append(Problem("no group.id", 'config.group.id = "NAME"', None, MISSING_GROUP, where))
    if reading.can_compare(poll, session) and reading.number(poll) < reading.number(session):
        name = session if session in reading.written else poll
        _refuse(reading, name, f"a {poll} of at least {session}", "`max.poll.interval.ms`must be >= `session.timeout.ms`")
    if reading.written.get(strategy) == "cooperative-sticky":
        reading.refuse(strategy, "range, roundrobin, or both", f"{strategy} = cooperative-sticky: not yet supported. Possible: range, roundrobin, or both.")


def _check_sizes(reading: Reading) -> None:
    """fetch.max.bytes keeps to the sizes around it, where it is not set."""
    fetch, message, receive = "fetch.max.bytes", "message.max.bytes", "receive.message.max.bytes"
    if fetch not in reading.written:
        queued = reading.number("queued.max.messages.kbytes") * 1024
        value = max(min(reading.number(fetch), queued), reading.number(message))
        if value != reading.number(fetch):
            reading.force(fetch, value, "queued.max.messages.kbytes" if value == queued else message, "rdkafka_conf.c")
    elif reading.can_compare(fetch, message) and reading.number(fetch) < reading.number(message):
        _refuse(reading, fetch, f"at least {message} = {reading.number(message)}", "`fetch.max.bytes` must be >= `message.max.bytes`")
    if receive in reading.written and reading.can_compare(fetch, receive) and reading.number(fetch) + 512 > reading.number(receive):
        _refuse(reading, receive, f"at least {reading.number(fetch) + 512}", "`receive.message.max.bytes` must be >= `fetch.max.bytes` + 512")


def _check_reconnect_backoff(reading: Reading) -> None:
    base, most = "reconnect.backoff.ms", "reconnect.backoff.max.ms"
    if reading.number(base) > reading.number(most) and reading.can_compare(base, most):
        _refuse(reading, most if most in reading.written else base, f"{base} of at most {most}", f"`{most}` must be >= `{base}`")


def _refuse(reading: Reading, name: str, possible: str, says: str) -> None:
    message = f"{name} = {reading.written[name]} does not go with the rest. librdkafka refuses it: {says}. Choose {possible}."
    reading.refuse(name, possible, message)


def _says(key: ConfigKey, given: object) -> str:
    if key.name == "partition.assignment.strategy":
        return f"librdkafka says: Unsupported partition.assignment.strategy: {as_kafka_reads(given)}"
    return librdkafka_says(key, given)


LIBRDKAFKA_CONSUMER = Catalogue(
    whose="consumer",
    keys=LIBRDKAFKA_CONSUMER_KEYS,
    no_part_prefixes=CONSUMER_FAMILIES,
    elsewhere={
        **{
            name: "it is a broker's; write it under [cluster] config"
            for name in BROKER_KEYS
            if name not in {*LIBRDKAFKA_CONSUMER_KEYS, *CONSUMER_ALIASES, *JAVA_CONSUMER_NAMES}
        },
        **{name: "it is a topic's or a broker's; write it under [topics.NAME] config" for name in TOPIC_KEYS if name not in LIBRDKAFKA_CONSUMER_KEYS},
        **dict.fromkeys(CALLBACKS, "a program sets it with a function of its own, and what it does is no part of a scenario; leave it out"),
        **dict.fromkeys(
            [name for name in CONSUMER_KEYS if name not in {*LIBRDKAFKA_CONSUMER_KEYS, *CONSUMER_ALIASES, *JAVA_CONSUMER_NAMES}],
            "it is the Java client's, and librdkafka has nothing like it; leave it out",
        ),
    },
    says=_says,
    reads=librdkafka_reads,
    other_names=JAVA_CONSUMER_NAMES,
    aliases=CONSUMER_ALIASES,
    other_client="the Java client",
    client="librdkafka",
    unknown="librdkafka refuses it: No such configuration property.",
)
