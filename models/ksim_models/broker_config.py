"""What a broker and a topic are configured with, once every default is filled in and every conflict is refused.

Kafka: KafkaConfig.validateValues, LogConfig (section 9 of the broker's rule book; CFG-2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ksim_models.broker_keys import BROKER_FAMILIES, BROKER_KEYS, DYNAMIC_BROKER_SETTINGS, TOPIC_KEYS
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.profiles import BrokerProfile
from ksim_models.settings import LONG_MAX, Catalogue, ConfigKey, Effective, Kind, Problem, Reading, Setting, Wrong, parse_value, read_settings, spelt

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """The settings that play a part in what becomes of a record, by Kafka's names, in Kafka's units; the defaults are those of 4.3."""

    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False
    message_max_bytes: int = 1_048_588
    auto_create_topics_enable: bool = True
    num_partitions: int = 1
    default_replication_factor: int = 1
    replica_lag_time_max_ms: int = 30_000
    """A follower that has not caught up for this long leaves the ISR (RP-50)."""
    replica_fetch_wait_max_ms: int = 500
    replica_fetch_min_bytes: int = 1
    replica_fetch_backoff_ms: int = 1_000
    replica_fetch_max_bytes: int = 1_048_576
    replica_fetch_response_max_bytes: int = 10_485_760
    replica_socket_timeout_ms: int = 30_000
    replica_high_watermark_checkpoint_interval_ms: int = 5_000
    num_replica_fetchers: int = 1
    broker_heartbeat_interval_ms: int = 2_000
    broker_session_timeout_ms: int = 9_000
    """The controller fences a broker it has not heard of for this long (KC-2)."""
    controller_quorum_append_linger_ms: int = 25
    controller_quorum_election_timeout_ms: int = 1_000
    controller_quorum_fetch_timeout_ms: int = 2_000
    controller_quorum_election_backoff_max_ms: int = 1_000
    """Who has been elected, and heard by nobody of a majority, and so on: they play a part with several controllers only (KC-85)."""
    controller_quorum_request_timeout_ms: int = 2_000
    controller_quorum_retry_backoff_ms: int = 20
    metadata_max_idle_interval_ms: int = 500
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_seconds: int = 300
    unclean_leader_election_interval_ms: int = 300_000
    controlled_shutdown_enable: bool = True
    initial_broker_registration_timeout_ms: int = 60_000
    """A broker that starts and is not registered by then exits (KC-1)."""
    log_dir_failure_timeout_ms: int = 30_000
    """A broker that cannot tell the controller of a failed log directory for this long shuts down (BP-30)."""
    log_dirs: str | None = None
    """Several, with commas between them: a broker outlives the failure of any but the first, which also holds the metadata log."""
    producer_id_expiration_ms: int = 86_400_000
    producer_id_expiration_check_interval_ms: int = 600_000
    request_timeout_ms: int = 30_000
    connections_max_idle_ms: int = 600_000
    """-1: never closed for idleness."""
    log_retention_ms: int | None = None
    log_retention_minutes: int | None = None
    log_retention_hours: int = 168
    log_retention_bytes: int = -1
    log_retention_check_interval_ms: int = 300_000
    log_segment_bytes: int = 1_073_741_824
    compression_type: str = "producer"
    log_roll_ms: int | None = None
    log_roll_hours: int = 168
    log_flush_interval_messages: int = LONG_MAX
    log_flush_interval_ms: int | None = None
    log_flush_scheduler_interval_ms: int = LONG_MAX
    """How often somebody looks whether flush.ms has passed: by default once, 30 s after the start."""
    log_flush_offset_checkpoint_interval_ms: int = 60_000
    log_flush_start_offset_checkpoint_interval_ms: int = 60_000
    transaction_state_log_num_partitions: int = 50
    transaction_state_log_replication_factor: int = 3
    transaction_state_log_min_isr: int = 2
    transaction_state_log_segment_bytes: int = 104_857_600
    offsets_topic_num_partitions: int = 50
    offsets_topic_replication_factor: int = 3
    offsets_commit_timeout_ms: int = 5_000
    group_initial_rebalance_delay_ms: int = 3_000
    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 1_800_000
    group_consumer_session_timeout_ms: int = 45_000
    group_consumer_min_session_timeout_ms: int = 45_000
    group_consumer_max_session_timeout_ms: int = 60_000
    group_consumer_heartbeat_interval_ms: int = 5_000
    group_consumer_min_heartbeat_interval_ms: int = 5_000
    group_consumer_max_heartbeat_interval_ms: int = 15_000
    group_consumer_assignment_interval_ms: int = 1_000
    """KIP-848; the assignment interval since 4.3, a target at most so often."""
    offsets_topic_segment_bytes: int = 104_857_600
    transaction_max_timeout_ms: int = 900_000
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = 10_000
    transaction_remove_expired_transaction_cleanup_interval_ms: int = 3_600_000
    transactional_id_expiration_ms: int = 604_800_000
    transaction_partition_verification_enable: bool = True
    """3.6 (KIP-890 part 1): a leader asks the coordinator whether a partition is in the transaction."""
    add_partitions_to_txn_retry_backoff_ms: int = 20
    add_partitions_to_txn_retry_backoff_max_ms: int = 100


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic's settings as they hold on one broker: the topic's own, and the broker's where the topic has none."""

    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False
    max_message_bytes: int = 1_048_588
    compression_type: str = "producer"
    """"producer": batches stay as they came; "uncompressed", or a codec: the leader makes them so."""
    retention_ms: int = 604_800_000
    """-1: for ever."""
    retention_bytes: int = -1
    segment_bytes: int = 1_073_741_824
    segment_ms: int = 604_800_000
    flush_messages: int = LONG_MAX
    flush_ms: int = LONG_MAX
    internal_segment_bytes: int | None = None
    """From 4.1 on, stronger than segment.bytes and without its lower limit: Kafka has it for tests."""


@dataclass(frozen=True, slots=True)
class BrokerResolution:
    """A configuration without gaps, or None and every problem there is."""

    config: BrokerConfig | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    effective: tuple[Effective, ...]


@dataclass(frozen=True, slots=True)
class TopicResolution:
    """What was set, in Kafka's own spelling and units, for `topic_config` or `altered`; empty where there are problems."""

    given: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    effective: tuple[Effective, ...]


def resolve_broker(settings: Sequence[Setting], profile: BrokerProfile) -> BrokerResolution:
    """Settle a broker's settings, weakest first. Never raises."""
    reading = read_settings(settings, BROKER, profile.release, profile.version)
    _check_order(reading, "replica.fetch.wait.max.ms", "replica.lag.time.max.ms", "a follower would leave the ISR while its fetch is parked (CFG-2)")
    _check_order(reading, "replica.fetch.wait.max.ms", "replica.socket.timeout.ms", "a follower would hang up while its fetch is parked (CFG-2)")
    if reading.number("broker.heartbeat.interval.ms") >= reading.number("broker.session.timeout.ms"):
        reading.notes.append(
            "broker.heartbeat.interval.ms is not smaller than broker.session.timeout.ms: the controller will fence brokers that are well (KC-2)."
        )
    _note_flush(reading)
    _check_consumer_groups(reading)
    _note_compression(reading)
    problems, notes = tuple(reading.problems), tuple(reading.notes)
    fields: dict[str, Any] = {key.field: reading.value(key.name) for key in BROKER_KEYS.values() if key.field in BrokerConfig.__slots__}
    return BrokerResolution(None if problems else BrokerConfig(**fields), problems, notes, reading.effective())


def resolve_topic(settings: Sequence[Setting], profile: BrokerProfile) -> TopicResolution:
    """Settle a topic's own settings, weakest first. Its effective settings name only what was set: the rest is each broker's. Never raises."""
    reading = read_settings(settings, TOPIC, profile.release, profile.version)
    _note_compression(reading)
    return _what_was_set(reading)


def resolve_broker_change(settings: Sequence[Setting], profile: BrokerProfile) -> TopicResolution:
    """Settings that shall change while brokers run: only those that Kafka calls dynamic may. Never raises."""
    reading = read_settings(settings, BROKER, profile.release, profile.version)
    possible = ", ".join(sorted(name for name in DYNAMIC_BROKER_SETTINGS if BROKER_KEYS[name].kind is not Kind.ANYTHING))
    for setting in settings:
        if setting.name in BROKER_KEYS and setting.name not in DYNAMIC_BROKER_SETTINGS:
            message = f"{setting.name} is read-only: a broker takes it when it starts, so it cannot be altered. Possible: {possible}."
            reading.problems.append(Problem(setting.name, possible, None, message, setting.origin))
    return _what_was_set(reading)


def _what_was_set(reading: Reading) -> TopicResolution:
    effective = tuple(line for line in reading.effective() if line.name in reading.written)
    given = tuple((line.name, spelt(line.value)) for line in effective)
    return TopicResolution(() if reading.problems else given, tuple(reading.problems), tuple(reading.notes), effective)


def _note_compression(reading: Reading) -> None:
    codec = reading.written.get("compression.type", "producer")
    if codec not in ("producer", "uncompressed"):
        reading.notes.append(
            f"compression.type = {codec}: what a producer sends uncompressed keeps its size here, where Kafka's broker compresses it:"
            " segments are full and retention.bytes is reached sooner."
        )


def topic_config(given: Sequence[tuple[str, str]], broker: BrokerConfig) -> TopicConfig:
    """A topic's settings as they hold on this broker; `given` comes from `resolve_topic`, so what it names is valid."""
    fields: dict[str, Any] = {
        "min_insync_replicas": broker.min_insync_replicas,
        "unclean_leader_election_enable": broker.unclean_leader_election_enable,
        "max_message_bytes": broker.message_max_bytes,
        "compression_type": broker.compression_type,
        "retention_ms": _retention_ms(broker),
        "retention_bytes": broker.log_retention_bytes,
        "segment_bytes": broker.log_segment_bytes,
        "segment_ms": broker.log_roll_hours * HOUR_MS if broker.log_roll_ms is None else broker.log_roll_ms,
        "flush_messages": broker.log_flush_interval_messages,
        "flush_ms": broker.log_flush_scheduler_interval_ms if broker.log_flush_interval_ms is None else broker.log_flush_interval_ms,
    }
    config = TopicConfig(**fields | _fields(given, TOPIC_KEYS, TopicConfig))
    return config if config.internal_segment_bytes is None else replace(config, segment_bytes=config.internal_segment_bytes)


def _retention_ms(broker: BrokerConfig) -> int:
    """The finest unit that is set wins; what is negative means for ever."""
    if broker.log_retention_ms is not None:
        chosen = broker.log_retention_ms
    elif broker.log_retention_minutes is not None:
        chosen = broker.log_retention_minutes * 60_000
    else:
        chosen = broker.log_retention_hours * HOUR_MS
    return max(chosen, -1)


def altered(config: BrokerConfig, settings: Sequence[tuple[str, str]]) -> BrokerConfig:
    """The same with these settings, by Kafka's names, which were checked (`resolve_broker`); one that plays no part changes nothing."""
    fields = _fields(settings, BROKER_KEYS, BrokerConfig)
    return replace(config, **fields) if fields else config


def _fields(given: Sequence[tuple[str, str]], keys: Mapping[str, ConfigKey], config: type[BrokerConfig | TopicConfig]) -> dict[str, Any]:
    """What is valid already, as the fields of that configuration; what is none of them plays no part."""
    fields = {}
    for name, text in given:
        value = parse_value(keys[name], text)
        assert not isinstance(value, Wrong), f"{name}={text}"
        if keys[name].field in config.__slots__:
            fields[keys[name].field] = value
    return fields


def overlaid(given: Sequence[tuple[str, str]], changes: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Settings with changes on top."""
    return tuple((dict(given) | dict(changes)).items())


def _check_consumer_groups(reading: Reading) -> None:
    """KIP-848 (the constructor of GroupCoordinatorConfig)."""
    for what in ("heartbeat.interval", "session.timeout"):
        least, chosen, most = (f"group.consumer.{which}{what}.ms" for which in ("min.", "", "max."))
        _check_order(reading, least, chosen, "brokers would not start (IllegalArgumentException)")
        _check_order(reading, chosen, most, "brokers would not start (IllegalArgumentException)")
    beat, session = "group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"
    if reading.can_compare(beat, session) and reading.number(beat) >= reading.number(session):
        name = beat if beat in reading.written else session
        reading.refuse(
            name,
            f"{beat} less than {session}",
            f"{beat} = {reading.number(beat)} is not less than {session} = {reading.number(session)}: brokers would not start (IllegalArgumentException).",
        )


def _check_order(reading: Reading, smaller: str, larger: str, why: str) -> None:
    low, high = reading.number(smaller), reading.number(larger)
    if low <= high or not reading.can_compare(smaller, larger):
        return
    name = smaller if smaller in reading.written else larger
    possible = f"{smaller} of at most {larger} = {high}" if name == smaller else f"{larger} of at least {smaller} = {low}"
    reading.refuse(name, possible, f"{smaller} = {low} is larger than {larger} = {high}: {why}. Choose {possible}.")


def _note_flush(reading: Reading) -> None:
    """flush.ms alone does nothing: nobody looks (LR-1)."""
    if reading.value("log.flush.interval.ms") is not None and "log.flush.scheduler.interval.ms" not in reading.written:
        reading.notes.append(
            "log.flush.interval.ms is looked at every log.flush.scheduler.interval.ms, whose default is never (but for once, 30 s after a start):"
            " set that too, or nothing is flushed."
        )


UNKNOWN = "A name that nothing knows would change nothing, so it is taken for a mistake."

BROKER = Catalogue(
    whose="broker",
    keys=BROKER_KEYS,
    no_part_prefixes=BROKER_FAMILIES,
    elsewhere={
        **{name: "it is a producer's; write it under [producers.NAME] config" for name in PRODUCER_KEYS if name not in BROKER_KEYS},
        **{name: "it is a topic's; write it under [topics.NAME] config" for name in TOPIC_KEYS if name not in BROKER_KEYS},
        "replica.lag.max.messages": "it went with Kafka 0.9 (KIP-16); replica.lag.time.max.ms alone says who keeps up",
        "replication.factor": "it is a topic's; write it as replication under [topics.NAME]",
        "max.message.bytes": "it is a topic's, and a broker's name for it is message.max.bytes",
    },
    other_names={},
    unknown=UNKNOWN,
    client="Kafka",
)

TOPIC = Catalogue(
    whose="topic",
    keys=TOPIC_KEYS,
    no_part_prefixes=(),
    elsewhere={
        **{name: "it is a producer's; write it under [producers.NAME] config" for name in PRODUCER_KEYS if name not in TOPIC_KEYS},
        **{name: "it is a broker's; write it under [cluster] config" for name in BROKER_KEYS if name not in TOPIC_KEYS},
        "message.max.bytes": "it is a broker's, and a topic's name for it is max.message.bytes",
        "replication.factor": "write it as replication under [topics.NAME]",
        "replication": "write it under [topics.NAME] itself, not under its config",
        "partitions": "write it as partitions under [topics.NAME]",
    },
    other_names={},
    unknown="Kafka refuses it: Unknown topic config name.",
    client="Kafka",
    refuses_unknown=True,
)
