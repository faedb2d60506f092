"""What a consumer is configured with, once every default is filled in and every conflict is settled or refused.

Kafka: ConsumerConfig.postProcessParsedConfig, maybeOverrideEnableAutoCommit; the constructors of KafkaConsumer and Heartbeat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.consumer_keys import (
    CONSUMER_KEYS,
    COOPERATIVE_ASSIGNOR,
    OWN_FAMILIES,
    PRODUCER_FAMILIES,
    RANGE_ASSIGNOR,
    ROUND_ROBIN_ASSIGNOR,
    STICKY_ASSIGNOR,
)
from ksim_models.profiles import ClientProfile
from ksim_models.settings import Catalogue, Effective, Problem, Reading, Setting, read_settings
from ksim_models.units import Micros

NEVER_IDLE_MS = 2**50
ASSIGNOR_NAMES = {RANGE_ASSIGNOR: "range", ROUND_ROBIN_ASSIGNOR: "roundrobin", STICKY_ASSIGNOR: "sticky", COOPERATIVE_ASSIGNOR: "cooperative-sticky"}

REMOTE_ASSIGNORS = ("uniform", "range")
"""Of the brokers: group.consumer.assignors."""
GENERAL_AVAILABILITY = (4, 0, 0)
"""Of the consumer protocol; and by_duration came with it."""
BY_DURATION = "by_duration:"
ISO_8601 = re.compile(r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d{0,9}))?S)?)?", re.IGNORECASE)
INSTEAD = {
    "partition.assignment.strategy": "write group.remote.assignor = uniform or range",
    "heartbeat.interval.ms": "write group.consumer.heartbeat.interval.ms under [cluster] config",
    "session.timeout.ms": "write group.consumer.session.timeout.ms under [cluster] config",
}


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """The settings that play a part, by Kafka's names, in Kafka's units; the defaults are those of 4.3."""

    group_id: str | None = None
    """None: the consumer assigns its partitions itself, and commits nothing."""
    group_instance_id: str | None = None
    isolation_level: str = "read_uncommitted"
    auto_offset_reset: str = "latest"
    enable_auto_commit: bool = True
    """As resolved: without a group there is nothing to commit to."""
    auto_commit_interval_ms: int = 5_000
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 300_000
    max_poll_records: int = 500
    fetch_min_bytes: int = 1
    fetch_max_bytes: int = 52_428_800
    fetch_max_wait_ms: int = 500
    max_partition_fetch_bytes: int = 1_048_576
    partition_assignment_strategy: str = f"{RANGE_ASSIGNOR},{COOPERATIVE_ASSIGNOR}"
    group_protocol: str = "classic"
    group_remote_assignor: str | None = None
    allow_auto_create_topics: bool = True
    request_timeout_ms: int = 30_000
    default_api_timeout_ms: int = 60_000
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000
    reconnect_backoff_ms: int = 50
    reconnect_backoff_max_ms: int = 1_000
    socket_connection_setup_timeout_ms: int = 10_000
    socket_connection_setup_timeout_max_ms: int = 30_000
    connections_max_idle_ms: int = 540_000
    metadata_max_age_ms: int = 300_000
    metadata_recovery_strategy: str = "rebootstrap"
    metadata_recovery_rebootstrap_trigger_ms: int = 300_000

    @property
    def max_in_flight_requests_per_connection(self) -> int:
        """No setting of a consumer (ConsumerUtils.CONSUMER_MAX_INFLIGHT_REQUESTS_PER_CONNECTION)."""
        return 100

    @property
    def metadata_max_idle_ms(self) -> int:
        """A consumer forgets no topic that it is subscribed to."""
        return NEVER_IDLE_MS

    @property
    def assignors(self) -> tuple[str, ...]:
        """By the names that members tell each other."""
        return tuple(ASSIGNOR_NAMES[one] for one in self.partition_assignment_strategy.split(","))

    @property
    def resets_to(self) -> str:
        """earliest, latest or none, or "since": what is not older than `resets_back`."""
        return "since" if self.auto_offset_reset.startswith(BY_DURATION) else self.auto_offset_reset

    @property
    def resets_back(self) -> Micros:
        return duration_of(self.auto_offset_reset) or 0

    @property
    def read_committed(self) -> bool:
        return self.isolation_level == "read_committed"


@dataclass(frozen=True, slots=True)
class ConsumerResolution:
    """A configuration without gaps, or None and every problem there is."""

    config: ConsumerConfig | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    effective: tuple[Effective, ...]


def resolve_consumer(settings: Sequence[Setting], profile: ClientProfile) -> ConsumerResolution:
    """Settle a consumer's settings, weakest first, as this client would when it is constructed. Never raises."""
    reading = read_settings(settings, CONSUMER, profile.release, profile.version)
    if not profile.exponential_backoff:
        reading.force("retry.backoff.max.ms", reading.number("retry.backoff.ms"), f"the client of {profile.version}", "KIP-580: constant before 3.7")
    if "reconnect.backoff.ms" in reading.written and "reconnect.backoff.max.ms" not in reading.written:
        reading.force("reconnect.backoff.max.ms", reading.number("reconnect.backoff.ms"), "reconnect.backoff.ms", "C5")
    _check_auto_commit(reading)
    _check_reset(reading)
    if reading.value("group.protocol") == "consumer":
        _check_consumer_protocol(reading)
    else:
        _check_classic_protocol(reading)
        _check_heartbeat(reading)
        _check_assignors(reading)
    problems, notes = tuple(reading.problems), tuple(reading.notes)
    fields: dict[str, Any] = {key.field: reading.value(key.name) for key in CONSUMER_KEYS.values() if key.field in ConsumerConfig.__slots__}
    return ConsumerResolution(None if problems else ConsumerConfig(**fields), problems, notes, reading.effective())


def _check_reset(reading: Reading) -> None:
    """KIP-1106: back to what is not older than so long (AutoOffsetResetStrategy)."""
    name = "auto.offset.reset"
    policy = str(reading.value(name))
    if not policy.startswith(BY_DURATION):
        return
    if reading.release < GENERAL_AVAILABILITY:
        reading.refuse(
            name,
            "latest, earliest or none",
            f"{name} = {policy}: by_duration came with 4.0 (KIP-1106). Kafka refuses it: ConfigException: Invalid value {policy} for configuration {name}.",
        )
    elif duration_of(policy) is None:
        reading.refuse(
            name,
            "by_duration:PnDTnHnMn.nS, such as by_duration:PT1H",
            f"{name} = {policy}: that is no duration of ISO 8601, such as by_duration:PT1H or by_duration:P1DT30M. Kafka refuses it: ConfigException.",
        )


def duration_of(policy: str) -> Micros | None:
    """Of auto.offset.reset = "by_duration:PT1H30M"; None where that is none."""
    found = ISO_8601.fullmatch(policy.removeprefix(BY_DURATION))
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds, fraction = (part or "0" for part in found.groups())
    whole = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * 1_000_000 + int(fraction.ljust(6, "0")[:6])


def _check_auto_commit(reading: Reading) -> None:
    """Without a group there is nobody to commit to: the default gives way, what was written is an error (ConsumerConfig.maybeOverrideEnableAutoCommit)."""
    name = "enable.auto.commit"
    if reading.value("group.id") is not None:
        return
    if reading.written.get(name) is True:
        reading.refuse(
            name,
            "a group.id, or enable.auto.commit = false",
            f"{name} = true does not go without a group.id. Kafka refuses it: InvalidConfigurationException:"
            f" {name} cannot be set to true when default group id (null) is used. Choose a group.id, or {name} = false.",
        )
    else:
        reading.force(name, False, "the missing group.id", "ConsumerConfig")


OF_THE_CLASSIC_PROTOCOL = ("partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms")


def _check_consumer_protocol(reading: Reading) -> None:
    """KIP-848. What the coordinator decides now may not be written, even where it says the default (ConsumerConfig.checkUnsupportedConfigsPostProcess)."""
    name = "group.protocol"
    if reading.release < GENERAL_AVAILABILITY:
        reading.refuse(
            name,
            "classic",
            f"{name} = consumer was to be tried out only in 3.7 to 3.9, and is not simulated for these releases. Possible: classic, or a release from 4.0 on.",
        )
    for other in OF_THE_CLASSIC_PROTOCOL:
        if other in reading.written:
            reading.refuse(
                other,
                f"a broker's group.consumer.*, or {name} = classic",
                f"{other} does not go with {name} = consumer. Kafka refuses it: ConfigException: {other} cannot be set when group.protocol=CONSUMER."
                f" The coordinator decides that: {INSTEAD[other]}.",
            )
    if reading.value("group.id") is None:
        return
    assignor = reading.value("group.remote.assignor")
    if assignor is not None and assignor not in REMOTE_ASSIGNORS:
        reading.refuse(
            "group.remote.assignor",
            " or ".join(REMOTE_ASSIGNORS),
            f"group.remote.assignor = {assignor}: brokers have no such assignor; the consumer would end with UnsupportedAssignorException.",
        )


def _check_classic_protocol(reading: Reading) -> None:
    """Since 4.0 refused, before not looked at (CLASSIC_PROTOCOL_UNSUPPORTED_CONFIGS)."""
    name = "group.remote.assignor"
    if name in reading.written and reading.release >= GENERAL_AVAILABILITY:
        reading.refuse(
            name,
            "group.protocol = consumer",
            f"{name} goes with group.protocol = consumer only. Kafka refuses it: ConfigException: {name} cannot be set when group.protocol=CLASSIC.",
        )


def _check_heartbeat(reading: Reading) -> None:
    """The constructor of Heartbeat, which only a member of a group has."""
    beat, session = "heartbeat.interval.ms", "session.timeout.ms"
    if reading.value("group.id") is None or not reading.can_compare(beat, session) or reading.number(beat) < reading.number(session):
        return
    name = beat if beat in reading.written else session
    reading.refuse(
        name,
        f"less than {session} = {reading.number(session)}",
        f"{beat} = {reading.number(beat)} is not less than {session} = {reading.number(session)}."
        " Kafka refuses it: IllegalArgumentException: Heartbeat must be set lower than the session timeout.",
    )


def _check_assignors(reading: Reading) -> None:
    """A list, the preferred one first (ConsumerPartitionAssignor.getAssignorInstances)."""
    name = "partition.assignment.strategy"
    if name not in reading.written:
        return
    named = str(reading.value(name)).split(",")
    possible = f"one or several of {', '.join(ASSIGNOR_NAMES)}, each once, with commas between them"
    unknown = next((one for one in named if one not in ASSIGNOR_NAMES), None)
    twice = next((one for one in named if named.count(one) > 1), None)
    if unknown is not None:
        short = {known: of_class for of_class, known in ASSIGNOR_NAMES.items()}.get(unknown)
        own = f"Possible: {possible}. A class of one's own cannot be simulated."
        advice = f'"{unknown}" is what members call it among themselves: write {short}.' if short else own
        reading.refuse(name, possible, f"{name} = {reading.written[name]}: there is no such assignor. {advice}")
    elif twice is not None:
        reading.refuse(
            name,
            possible,
            f"{name} = {reading.written[name]} names one assignor twice."
            f" Kafka refuses it: KafkaException: The assignor name: '{ASSIGNOR_NAMES[twice]}' is used in more than one assignor.",
        )


CONSUMER = Catalogue(
    whose="consumer",
    keys=CONSUMER_KEYS,
    no_part_prefixes=OWN_FAMILIES + PRODUCER_FAMILIES,
    elsewhere={
        **{name: "it is a broker's; write it under [cluster] config" for name in BROKER_KEYS if name not in CONSUMER_KEYS},
        **{name: "it is a topic's or a broker's; write it under [topics.NAME] config" for name in TOPIC_KEYS if name not in CONSUMER_KEYS},
    },
    other_names={
        "socket.timeout.ms": "request.timeout.ms",
        "fetch.wait.max.ms": "fetch.max.wait.ms",
        "fetch.message.max.bytes": "max.partition.fetch.bytes",
        "enable.auto.offset.store": "enable.auto.commit",
        "auto.commit.enable": "enable.auto.commit",
    },
    unknown="The Java client would log that it does not know it, and run without it.",
    foreign="a name that no Kafka client knows is left to the rest of the program",
)
