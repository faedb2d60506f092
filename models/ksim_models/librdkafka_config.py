"""What a producer of librdkafka is configured with: its own names and defaults, its own conflicts, seen as a ProducerConfig.

Kafka: rd_kafka_conf_finalize and rd_kafka_topic_conf_finalize in librdkafka's rdkafka_conf.c (section 7.1, L1, of the client's rule book).
librdkafka never switches idempotence off in silence: what does not go with it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ksim_models.librdkafka_keys import ALIASES, CALLBACKS, CONSUMER_NAMES, JAVA_NAMES, LIBRDKAFKA, LIBRDKAFKA_FAMILIES, LIBRDKAFKA_KEYS
from ksim_models.producer_config import ACKS_ALL, ProducerConfig, ProducerResolution, settings_of_others
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.setting_values import as_kafka_reads
from ksim_models.settings import INT_MAX, LONG_MAX, Catalogue, ConfigKey, Kind, Problem, Reading, Setting, read_settings
from ksim_models.units import Micros

MOST_IN_FLIGHT = 5
IN_FLIGHT = "max.in.flight.requests.per.connection"
STICKY = "sticky.partitioning.linger.ms"
SOCKET_TIMEOUT = "socket.timeout.ms"
SHORTEST_SOCKET_TIMEOUT_MS = 900
PATIENCE = "delivery.timeout.ms"
BACKPRESSURE = "queue.buffering.backpressure.threshold"
DIGITS = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
DECIMAL = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
OWN_NAMES = {name: alias for alias, name in ALIASES.items() if name != IN_FLIGHT}
"""As librdkafka calls a setting of two names in what it says."""
RELEASE = (2, 16, 0)
"""Whose table this is; within librdkafka 2 its defaults are the same."""


@dataclass(frozen=True, slots=True)
class LibrdkafkaConfig:
    """The settings that play a part, by the names they go by here; the defaults are those of librdkafka 2."""

    acks: int = ACKS_ALL
    enable_idempotence: bool = False
    enable_gapless_guarantee: bool = False
    retries: int = INT_MAX
    """How often a message may be sent again after it may have reached the broker."""
    delivery_timeout_ms: int = 300_000
    """message.timeout.ms: from produce() of a message to acked or failed. 0: without end."""
    request_timeout_ms: int = 30_000
    """The broker's wait for the ISR; the client's own is socket_timeout_ms."""
    socket_timeout_ms: int = 60_000
    socket_max_fails: int = 1
    linger_ms: int | float = 5
    batch_size: int = 1_000_000
    batch_num_messages: int = 10_000
    queue_buffering_max_messages: int = 100_000
    """0: without limit."""
    queue_buffering_max_kbytes: int = 1_048_576
    queue_buffering_backpressure_threshold: int = 1
    message_max_bytes: int = 1_000_000
    max_in_flight_requests_per_connection: int = 1_000_000
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000
    reconnect_backoff_ms: int = 100
    reconnect_backoff_max_ms: int = 10_000
    socket_connection_setup_timeout_ms: int = 30_000
    topic_metadata_refresh_interval_ms: int = 300_000
    """-1: never."""
    topic_metadata_refresh_fast_interval_ms: int = 100
    topic_metadata_propagation_max_ms: int = 30_000
    partitioner: str = "consistent_random"
    sticky_partitioning_linger_ms: int = 10
    compression_type: str = "none"
    queuing_strategy: str = "fifo"
    transactional_id: str = ""
    transaction_timeout_ms: int = 60_000

    @property
    def linger_us(self) -> Micros:
        """buffering_max_us: cut to whole microseconds."""
        return int(self.linger_ms * 1_000)

    @property
    def not_simulated(self) -> tuple[str, ...]:
        """Settings that would change a verdict and have no rules here."""
        return ("queuing.strategy = lifo",) if self.queuing_strategy == "lifo" else ()


@dataclass(frozen=True, slots=True)
class LibrdkafkaResolution(ProducerResolution):
    """`config` is what a judge sees of it, by the names that both clients have."""

    own: LibrdkafkaConfig | None = None


def by_one_name(settings: Sequence[Setting]) -> list[Setting]:
    """The settings, each by the name it goes by here."""
    return [replace(setting, name=ALIASES.get(setting.name, setting.name)) for setting in settings]


def resolve_librdkafka(settings: Sequence[Setting]) -> LibrdkafkaResolution:
    """Settle a producer's settings, weakest first, as librdkafka would when it is constructed. Never raises."""
    reading = read_settings(by_one_name(settings), CATALOGUE, RELEASE, LIBRDKAFKA)
    _refuse_both_names(settings, reading)
    if reading.value("transactional.id") is not None:
        _settle_transactions(reading)
    if reading.can_compare("enable.idempotence"):
        _settle_idempotence(reading)
    _follow_others(reading)
    _check_linger(reading)
    _check_reconnect_backoff(reading)
    problems = tuple(_in_the_words_of(settings, problem) for problem in reading.problems)
    notes, effective = tuple(reading.notes), reading.effective()
    return LibrdkafkaResolution(None, problems, notes, effective) if problems else LibrdkafkaResolution(_view(reading), (), notes, effective, _own(reading))


def _acks(reading: Reading) -> int:
    acks = reading.value("acks")
    return ACKS_ALL if acks == "all" else int(str(acks))


def _own(reading: Reading) -> LibrdkafkaConfig:
    fields = {key.field: reading.value(key.name) for key in LIBRDKAFKA_KEYS.values() if key.field in LibrdkafkaConfig.__slots__}
    return LibrdkafkaConfig(**{**fields, "acks": _acks(reading), "transactional_id": fields["transactional_id"] or ""})  # type: ignore[arg-type]  # Names and types are those of the table.


def _view(reading: Reading) -> ProducerConfig:
    """As a judge sees it: what decides about guarantees, by the names that both clients have."""
    shared = {
        key.field: reading.value(key.name)
        for key in LIBRDKAFKA_KEYS.values()
        if key.field in ProducerConfig.__slots__ and key.name not in ("acks", "delivery.timeout.ms", "linger.ms", "transactional.id")
    }
    return ProducerConfig(
        **shared,  # type: ignore[arg-type]  # Names and types are those of the table.
        acks=_acks(reading),
        transactional_id=str(reading.value("transactional.id") or ""),
        delivery_timeout_ms=reading.number("delivery.timeout.ms") or INT_MAX,  # 0: without end.
        linger_ms=int(reading.quantity("linger.ms")),
        buffer_memory=reading.number("queue.buffering.max.kbytes") * 1024,
        max_block_ms=0,  # produce() never blocks.
        max_request_size=reading.number("message.max.bytes"),
    )


def _settle_transactions(reading: Reading) -> None:
    """Idempotence, unless it was switched off; a message, and a request, within a transaction's time."""
    if reading.value("enable.idempotence") is not True:
        if "enable.idempotence" in reading.written:
            _refuse(reading, "enable.idempotence", "true, or no transactional.id", "`transactional.id` requires `enable.idempotence=true`")
        else:
            reading.force("enable.idempotence", True, "transactional.id", "L1")
    if not reading.can_compare("transaction.timeout.ms"):
        return
    longest = reading.number("transaction.timeout.ms")
    if SOCKET_TIMEOUT not in reading.written:
        reading.force(SOCKET_TIMEOUT, max(longest - 100, SHORTEST_SOCKET_TIMEOUT_MS), "transaction.timeout.ms", "L1")
    elif reading.can_compare(SOCKET_TIMEOUT) and longest + 100 < reading.number(SOCKET_TIMEOUT):
        possible = f"at most {longest + 100}, or a larger transaction.timeout.ms"
        _refuse(reading, SOCKET_TIMEOUT, possible, "`socket.timeout.ms` must be set <= `transaction.timeout.ms` + 100")
    if PATIENCE not in reading.written:
        reading.force(PATIENCE, longest, "transaction.timeout.ms", "L1")
    elif reading.can_compare(PATIENCE) and reading.number(PATIENCE) > longest:
        possible = f"at most {longest}, or a larger transaction.timeout.ms"
        _refuse(reading, PATIENCE, possible, "`message.timeout.ms` must be set <= `transaction.timeout.ms`")


def _settle_idempotence(reading: Reading) -> None:
    if reading.value("enable.idempotence") is not True:
        if reading.value("enable.gapless.guarantee") is True:
            _refuse(reading, "enable.gapless.guarantee", "false, or enable.idempotence = true", "`enable.gapless.guarantee` requires `enable.idempotence`")
        return
    if reading.can_compare(IN_FLIGHT) and reading.number(IN_FLIGHT) > MOST_IN_FLIGHT:
        if IN_FLIGHT in reading.written:
            _refuse(reading, IN_FLIGHT, "1 to 5, or enable.idempotence = false", "`max.in.flight` must be set <= 5 when `enable.idempotence` is true")
        else:
            reading.force(IN_FLIGHT, MOST_IN_FLIGHT, "enable.idempotence", "L1")
    if reading.can_compare("retries") and reading.number("retries") < 1:
        _refuse(reading, "retries", "at least 1, or enable.idempotence = false", "`retries` must be set >= 1 when `enable.idempotence` is true")
    if reading.can_compare(BACKPRESSURE) and reading.number(BACKPRESSURE) > 1:
        _refuse(reading, BACKPRESSURE, "1, or enable.idempotence = false", f"`{BACKPRESSURE}` must be set to 1 when `enable.idempotence` is true")
    if reading.can_compare("acks") and reading.value("acks") not in ("all", "-1"):
        _refuse(reading, "acks", "all, or enable.idempotence = false", "`acks` must be set to `all` when `enable.idempotence` is true")
    if reading.can_compare("queuing.strategy") and reading.value("queuing.strategy") != "fifo":
        says = "`queuing.strategy` must be set to `fifo` when `enable.idempotence` is true"
        _refuse(reading, "queuing.strategy", "fifo, or enable.idempotence = false", says)


def _follow_others(reading: Reading) -> None:
    """What was not set and takes after something that was: rd_kafka_conf_finalize, before linger.ms gives way to the message time-out."""
    refresh, longest = reading.number("topic.metadata.refresh.interval.ms"), LIBRDKAFKA_KEYS[STICKY].high
    for name, value, leader in (
        (STICKY, min(longest, int(2 * reading.quantity("linger.ms"))), "linger.ms"),
        ("topic.metadata.refresh.fast.interval.ms", reading.number("retry.backoff.ms"), "retry.backoff.ms"),
        ("metadata.max.age.ms", 3 * refresh if refresh > 0 else reading.number("metadata.max.age.ms"), "topic.metadata.refresh.interval.ms"),
    ):
        if name not in reading.written and reading.number(name) != value:
            reading.force(name, value, leader, "L1")


def _check_linger(reading: Reading) -> None:
    patience, linger = reading.number("delivery.timeout.ms"), reading.quantity("linger.ms")
    if patience == 0 or patience > linger or not reading.can_compare("delivery.timeout.ms", "linger.ms"):
        return
    if "linger.ms" in reading.written:
        possible = "less than delivery.timeout.ms, or a larger delivery.timeout.ms"
        _refuse(reading, "linger.ms", possible, "`message.timeout.ms` must be greater than `linger.ms`")
    else:
        reading.force("linger.ms", patience - 0.1, "delivery.timeout.ms", "L1")
        reading.notes.append(f"linger.ms, not set, becomes a little less than delivery.timeout.ms = {patience}, as librdkafka does (section 7.1, L1).")


def _check_reconnect_backoff(reading: Reading) -> None:
    base, most = "reconnect.backoff.ms", "reconnect.backoff.max.ms"
    if reading.number(base) > reading.number(most) and reading.can_compare(base, most):
        written = most if most in reading.written else base
        _refuse(reading, written, f"{base} of at most {most}", f"`{most}` must be >= `{base}`")


def _refuse(reading: Reading, name: str, possible: str, says: str) -> None:
    value = reading.written[name]
    shown = str(value).lower() if isinstance(value, bool) else value
    reading.refuse(name, possible, f"{name} = {shown} does not go with the rest. librdkafka refuses it: {says}. Choose {possible}.")


def _refuse_both_names(settings: Sequence[Setting], reading: Reading) -> None:
    """One setting twice in one place, by its two names: librdkafka would take the later one."""
    for alias, name in ALIASES.items():
        for one in (setting for setting in settings if setting.name == alias):
            if any(other.name == name and other.origin.file == one.origin.file for other in settings):
                message = f"{alias} and {name} are two names of one setting, and both are given: exactly one is possible."
                reading.problems.append(Problem(alias, f"{alias} or {name}", None, message, one.origin))


def _in_the_words_of(settings: Sequence[Setting], problem: Problem) -> Problem:
    """Whoever wrote the other name of a setting is told which one is meant."""
    for setting in settings:
        name = ALIASES.get(setting.name)
        if name is not None and setting.origin == problem.origin and problem.given.startswith(f"{name} = "):
            return replace(problem, message=f"{problem.message} ({setting.name} is another name of {name}.)")
    return problem


JAVA_ALONE = [name for name in PRODUCER_KEYS if name not in {*LIBRDKAFKA_KEYS, *ALIASES, *JAVA_NAMES}]


def librdkafka_says(key: ConfigKey, given: object) -> str:
    """How librdkafka refuses a value that cannot be read here. Empty where it would take it: its numbers end where their digits do."""
    text = as_kafka_reads(given)
    own = OWN_NAMES.get(key.name, key.name)
    digits = DIGITS.match(text.strip())
    if key.stricter and digits:
        return key.stricter
    match key.kind:
        case Kind.BOOLEAN:
            return f'librdkafka says: Expected bool value for "{own}": true or false'
        case Kind.INT if digits and not key.low <= _as_c_int(digits[0]) <= key.high:
            return f'librdkafka says: Configuration property "{own}" value {_as_c_int(digits[0])} is outside allowed range {key.low}..{key.high}'
        case Kind.NUMBER if digits and not key.low <= _as_double(text) <= key.high:
            return f'librdkafka says: Configuration property "{own}" value {_as_double(text):g} is outside allowed range {key.low:g}..{key.high:g}'
        case Kind.INT | Kind.NUMBER if digits:
            return librdkafka_reads(key, given)
        case Kind.NUMBER:
            return f'librdkafka says: Invalid value for configuration property "{own}"'
        case _:
            return f'librdkafka says: Invalid value "{text}" for configuration property "{own}"'


def librdkafka_reads(key: ConfigKey, given: object) -> str:
    """What becomes of a value with a unit, which ksim takes."""
    text = as_kafka_reads(given)
    digits = DIGITS.match(text.strip())
    if digits is None:
        return "librdkafka itself takes a bare integer only"
    return f"librdkafka itself would take it for {f'{_as_double(text):g}' if key.kind is Kind.NUMBER else _as_c_int(digits[0])}"


def _as_double(text: str) -> float:
    """strtod(): it ends where the number does."""
    match = DECIMAL.match(text.strip())
    assert match is not None
    return float(match[0])


def _as_c_int(digits: str) -> int:
    """(int)strtol(): held between the ends of a long, then cut to its lower half."""
    number = max(min(int(digits), LONG_MAX), -LONG_MAX - 1)
    return (number + INT_MAX + 1) % (2 * (INT_MAX + 1)) - INT_MAX - 1


CATALOGUE = Catalogue(
    whose="producer",
    keys=LIBRDKAFKA_KEYS,
    no_part_prefixes=LIBRDKAFKA_FAMILIES + CONSUMER_NAMES,
    elsewhere={
        **settings_of_others({*LIBRDKAFKA_KEYS, *ALIASES, *JAVA_NAMES}),
        **dict.fromkeys(CALLBACKS, "a program sets it with a function of its own, and what it does is no part of a scenario; leave it out"),
        **dict.fromkeys(JAVA_ALONE, "it is the Java client's, and librdkafka has nothing like it; leave it out"),
        **dict.fromkeys(("key.serializer", "value.serializer"), "librdkafka sends bytes; the serializers of a binding are its own; leave it out"),
        **dict.fromkeys(("acks.timeout.ms", "timeout.ms"), "it is called request.timeout.ms"),
    },
    says=librdkafka_says,
    reads=librdkafka_reads,
    other_names=JAVA_NAMES,
    aliases=ALIASES,
    other_client="the Java client",
    client="librdkafka",
    unknown="librdkafka refuses it: No such configuration property.",
)
