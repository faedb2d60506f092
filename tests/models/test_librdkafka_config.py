"""librdkafka's settings: its own names, defaults and conflicts, held against the library itself where it is installed."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.config import LibrdkafkaResolution, Origin, ProducerConfig, Setting, by_one_name, resolve_librdkafka
from ksim_models.librdkafka_config import RELEASE
from ksim_models.librdkafka_keys import ALIASES, JAVA_NAMES, LIBRDKAFKA_KEYS
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.settings import INT_MAX, Kind, in_kafka_spelling


def written(values: dict[str, object], file: str = "scenario.toml") -> list[Setting]:
    return [Setting(name, value, Origin(file, line)) for line, (name, value) in enumerate(values.items(), start=1)]


def resolve(values: dict[str, object]) -> LibrdkafkaResolution:
    return resolve_librdkafka(written(values))


def config(values: dict[str, object]) -> ProducerConfig:
    resolution = resolve(values)
    assert resolution.config is not None, resolution.problems
    return resolution.config


def test_by_default_librdkafka_waits_for_all_is_not_idempotent_and_has_any_number_in_flight() -> None:
    """Section 7.1"""
    made = config({})

    assert made.acks == -1
    assert made.enable_idempotence is False
    assert made.max_in_flight_requests_per_connection == 1_000_000
    assert made.retries == INT_MAX
    assert made.delivery_timeout_ms == 300_000
    assert made.linger_ms == 5
    assert made.max_block_ms == 0


def test_idempotence_brings_the_requests_in_flight_down_to_five() -> None:
    """L1"""
    resolution = resolve({"enable.idempotence": True})

    assert resolution.config is not None
    assert resolution.config.max_in_flight_requests_per_connection == 5
    assert next(line for line in resolution.effective if line.name == "max.in.flight.requests.per.connection").changed_by


def test_a_message_time_out_of_zero_is_none() -> None:
    assert config({"message.timeout.ms": 0}).delivery_timeout_ms == INT_MAX


def test_a_default_linger_gives_way_to_a_short_message_time_out() -> None:
    resolution = resolve({"message.timeout.ms": 4})

    assert resolution.config is not None
    assert resolution.own is not None
    assert resolution.own.linger_us == 3_900, "0.1 ms less"
    assert any("linger.ms" in note for note in resolution.notes)


@pytest.mark.parametrize(
    ("given", "linger_us", "sticky_ms", "shown"),
    [
        (0.5, 500, 1, "0.5"),
        ("0.5", 500, 1, "0.5"),
        ("500us", 500, 1, "0.5"),
        ("0.29", 290, 0, "0.29"),
        ("2.0", 2_000, 4, "2"),
        (7, 7_000, 14, "7"),
        ("0.0009", 0, 0, "0.0009"),
    ],
)
def test_linger_ms_may_have_a_fraction(given: object, linger_us: int, sticky_ms: int, shown: str) -> None:
    """queue.buffering.max.ms is a double in librdkafka, and cut to microseconds; twice as much, cut to milliseconds, is the sticky partition's time."""
    resolution = resolve({"linger.ms": given})

    assert resolution.own is not None
    assert (resolution.own.linger_us, resolution.own.sticky_partitioning_linger_ms) == (linger_us, sticky_ms)
    assert [str(line.value) for line in resolution.effective if line.name == "linger.ms"] == [shown]
    assert in_kafka_spelling([Setting("linger.ms", given, Origin("test"))], LIBRDKAFKA_KEYS) == (("linger.ms", shown),)


def test_a_fraction_with_a_unit_is_cut_off_behind_the_number() -> None:
    """strtod."""
    resolution = resolve_librdkafka([Setting("linger.ms", "0.5s", Origin("p.properties", 1, own_file=True))])

    assert resolution.own is not None
    assert resolution.own.linger_us == 500_000
    assert any("is read as 500; librdkafka itself would take it for 0.5" in note for note in resolution.notes)


@pytest.mark.parametrize("given", [True, float("nan"), float("inf"), "", "900000.5", "-1"])
def test_what_is_no_linger(given: object) -> None:
    assert len(resolve({"linger.ms": given}).problems) == 1


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_a_setting_may_be_written_by_either_of_its_names(alias: str, name: str) -> None:
    value = {"acks": "1", "compression.type": "lz4", "bootstrap.servers": "x:1"}.get(name, "7")

    assert resolve({alias: value}).config == resolve({name: value}).config
    assert in_kafka_spelling(by_one_name(written({alias: value})), LIBRDKAFKA_KEYS) == ((name, value),)


def test_the_stronger_place_wins_whichever_name_it_uses() -> None:
    settings = (
        written({"delivery.timeout.ms": 1000}, "producer.properties") + written({"message.timeout.ms": 2000}) + written({"delivery.timeout.ms": 3000}, "-X")
    )

    made = resolve_librdkafka(settings).config
    assert made is not None
    assert made.delivery_timeout_ms == 3000
    assert in_kafka_spelling(by_one_name(settings), LIBRDKAFKA_KEYS) == (("delivery.timeout.ms", "3000"),)


def test_both_names_of_a_setting_in_one_place_are_one_too_many() -> None:
    (problem,) = resolve({"acks": "all", "request.required.acks": 1}).problems

    assert "two names of one setting" in problem.message


FOLLOWING: list[tuple[dict[str, object], str, int]] = [
    ({}, "sticky.partitioning.linger.ms", 10),
    ({"linger.ms": 50}, "sticky.partitioning.linger.ms", 100),
    ({"queue.buffering.max.ms": 0}, "sticky.partitioning.linger.ms", 0),
    ({"linger.ms": 900_000, "message.timeout.ms": 0}, "sticky.partitioning.linger.ms", 900_000),
    ({"linger.ms": 50, "sticky.partitioning.linger.ms": 10}, "sticky.partitioning.linger.ms", 10),
    ({"message.timeout.ms": 4}, "sticky.partitioning.linger.ms", 10),  # linger.ms gives way later.
    ({"retry.backoff.ms": 250}, "topic.metadata.refresh.fast.interval.ms", 250),
    ({"retry.backoff.ms": 250, "topic.metadata.refresh.fast.interval.ms": 5}, "topic.metadata.refresh.fast.interval.ms", 5),
    ({"topic.metadata.refresh.interval.ms": 1_000}, "metadata.max.age.ms", 3_000),
    ({"topic.metadata.refresh.interval.ms": -1}, "metadata.max.age.ms", 900_000),
    ({"topic.metadata.refresh.interval.ms": 1_000, "metadata.max.age.ms": 7}, "metadata.max.age.ms", 7),
]


@pytest.mark.parametrize(("values", "name", "value"), FOLLOWING)
def test_what_is_not_set_may_take_after_something_that_is(values: dict[str, object], name: str, value: int) -> None:
    """L1: rd_kafka_conf_finalize; sticky.partitioning.linger.ms is twice linger.ms, not 10."""
    effective = {line.name: line for line in resolve(values).effective}

    assert effective[name].value == value
    assert bool(effective[name].changed_by) is (value != LIBRDKAFKA_KEYS[name].default(RELEASE) and name not in values)


SPELLINGS: list[tuple[str, object, object]] = [
    ("acks", "ALL", -1),
    ("enable.idempotence", "T", True),
    ("enable.idempotence", 1, True),
    ("enable.idempotence", "0", False),
]


@pytest.mark.parametrize(("name", "value", "meaning"), SPELLINGS)
def test_librdkafka_takes_more_spellings_than_the_java_client(name: str, value: object, meaning: object) -> None:
    """rd_kafka_anyconf_set_prop: names of values in any case; booleans as t, 1, f, 0."""
    assert getattr(config({name: value}), name.replace(".", "_")) == meaning
    assert refusal_of({name: value}) is None


REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({"enable.idempotence": True, "acks": 1}, "acks", "`acks` must be set to `all`"),
    ({"enable.idempotence": True, "max.in.flight": 6}, "max.in.flight.requests.per.connection", "`max.in.flight` must be set <= 5"),
    ({"enable.idempotence": True, "retries": 0}, "retries", "`retries` must be set >= 1"),
    ({"enable.idempotence": True, "queue.buffering.backpressure.threshold": 2}, "queue.buffering.backpressure.threshold", "must be set to 1"),
    ({"enable.idempotence": True, "queuing.strategy": "lifo"}, "queuing.strategy", "must be set to `fifo`"),
    ({"enable.gapless.guarantee": True}, "enable.gapless.guarantee", "requires `enable.idempotence`"),
    ({"message.timeout.ms": 100, "linger.ms": 100}, "linger.ms", "must be greater than `linger.ms`"),
    ({"message.timeout.ms": 100, "linger.ms": "100.5"}, "linger.ms", "must be greater than `linger.ms`"),
    ({"reconnect.backoff.ms": 20_000}, "reconnect.backoff.ms", "`reconnect.backoff.max.ms` must be >="),
]
ACCEPTED: list[dict[str, object]] = [
    {},
    {"enable.idempotence": True, "acks": "all", "max.in.flight": 5, "retries": 1},
    {"acks": 0, "max.in.flight": 1_000_000},
    {"message.timeout.ms": 101, "linger.ms": 100},
    {"message.timeout.ms": 0, "linger.ms": 100},
    {"message.timeout.ms": 4},
    {"message.timeout.ms": 4, "linger.ms": "3.9"},
    {"reconnect.backoff.ms": 20_000, "reconnect.backoff.max.ms": 20_000},
    {"acks": 1, "enable.idempotence": False, "queuing.strategy": "lifo"},
]


@pytest.mark.parametrize(("values", "name", "words"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_does_not_go_with_the_rest_is_refused_never_switched_off_in_silence(values: dict[str, object], name: str, words: str) -> None:
    """L1"""
    (problem,) = resolve(values).problems

    assert problem.given.startswith(f"{name} = ")
    assert words in problem.message


MISTAKES: list[tuple[dict[str, object], str | None, str]] = [
    ({"buffer.memory": 5}, "queue.buffering.max.kbytes", "the Java client's name: librdkafka's is queue.buffering.max.kbytes"),
    ({"message.timeot.ms": 5}, "message.timeout.ms", "Did you mean message.timeout.ms?"),
    ({"linger": 5}, "linger.ms", "Did you mean linger.ms?"),
    ({"partitioner": "murmur3"}, "murmur2", "Did you mean murmur2?"),
    ({"acks": 2}, None, "Possible: all, -1, 0, 1"),
    ({"message.timeout.ms": -1}, None, "message.timeout.ms is another name of delivery.timeout.ms"),
    ({"socket.timeout.ms": "1h"}, None, "from 10 to 300000"),
    ({"transactional.id": "t", "enable.idempotence": False}, None, "`transactional.id` requires `enable.idempotence=true`"),
    ({"transactional.id": "t", "message.timeout.ms": 60_001}, None, "`message.timeout.ms` must be set <= `transaction.timeout.ms`"),
    ({"transactional.id": "t", "socket.timeout.ms": 60_101}, None, "`socket.timeout.ms` must be set <= `transaction.timeout.ms` + 100"),
    ({"transaction.timeout.ms": 999}, None, "outside allowed range 1000..2147483647"),
    ({"delivery.report.only.error": True}, None, "not yet supported"),
    ({"min.insync.replicas": 2}, None, "[topics.NAME] config"),
    ({"no.such.name": "f"}, None, "No such configuration property"),
]


@pytest.mark.parametrize(("values", "near", "words"), MISTAKES, ids=[" ".join(case[0]) for case in MISTAKES])
def test_a_mistake_is_told_with_the_nearest_name(values: dict[str, object], near: str | None, words: str) -> None:
    (problem,) = resolve(values).problems

    assert words in problem.message
    assert near is None or problem.nearest == near


@pytest.mark.parametrize("name", ["debug", "sasl.password", "ssl.ca.location", "statistics.interval.ms", "client.id", "auto.offset.reset"])
def test_what_bears_on_no_record_is_accepted_with_a_note(name: str) -> None:
    resolution = resolve({name: "something"})

    assert resolution.problems == ()
    (note,) = resolution.notes
    assert name in note
    assert "something" not in note


def test_the_names_of_the_two_clients_are_told_apart() -> None:
    assert set(JAVA_NAMES) <= set(PRODUCER_KEYS)
    assert set(JAVA_NAMES) & set(LIBRDKAFKA_KEYS) == set()
    assert set(JAVA_NAMES.values()) <= set(LIBRDKAFKA_KEYS)
    assert set(ALIASES.values()) <= set(LIBRDKAFKA_KEYS)
    assert all(key.no_part for name, key in PRODUCER_KEYS.items() if name not in {*LIBRDKAFKA_KEYS, *JAVA_NAMES})


WORDS: list[tuple[str, str, str]] = [
    ("max.in.flight", "0", 'Configuration property "max.in.flight.requests.per.connection" value 0 is outside allowed range 1..1000000'),
    ("socket.timeout.ms", "900001", 'Configuration property "socket.timeout.ms" value 900001 is outside allowed range 10..300000'),
    ("message.send.max.retries", "-1", 'Configuration property "message.send.max.retries" value -1 is outside allowed range 0..2147483647'),
    ("retries", "three", "Invalid value"),
    ("enable.idempotence", "yes", 'Expected bool value for "enable.idempotence": true or false'),
    ("partitioner", "murmur3", "Invalid value"),
    ("linger.ms", "-0.5", 'Configuration property "queue.buffering.max.ms" value -0.5 is outside allowed range 0..900000'),
    ("queue.buffering.max.ms", "soon", 'Invalid value for configuration property "queue.buffering.max.ms"'),
]


@pytest.mark.parametrize(("name", "value", "words"), WORDS)
def test_a_value_is_refused_in_librdkafkas_words(name: str, value: str, words: str) -> None:
    (problem,) = resolve({name: value}).problems

    assert f"librdkafka says: {words}" in problem.message
    assert words in str(refusal_of({name: value}))


@pytest.mark.parametrize(("value", "taken"), [("5s", 5), ("16KiB", 16), ("1min", 1)])
def test_a_unit_is_read_here_and_cut_off_by_librdkafka(value: str, taken: int) -> None:
    """Its numbers end where their digits end: strtol."""
    name = "batch.size" if value.endswith("B") else "socket.timeout.ms" if value == "1min" else "message.timeout.ms"
    resolution = resolve_librdkafka([Setting(name, value, Origin("p.properties", 1, own_file=True))])

    assert any(f"librdkafka itself would take it for {taken}" in note for note in resolution.notes)


# What the library itself says.


def refusal_of(settings: dict[str, object]) -> str | None:
    """librdkafka's own words, None where it takes them. Nothing is connected: nobody listens there."""
    library = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    given: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0} | {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()
    }
    try:
        library.Producer(given)
    except library.KafkaException as refusal:
        return str(refusal.args[0].str())
    return None


@pytest.mark.parametrize("key", [key for key in LIBRDKAFKA_KEYS.values() if key.kind is Kind.INT], ids=lambda key: key.name)
def test_librdkafka_has_the_ranges_of_the_table(key: Any) -> None:
    together: dict[str, object] = {"linger.ms": 0, "reconnect.backoff.ms": 0, "reconnect.backoff.max.ms": 3_600_000}

    for value in (key.low, key.most):
        with_others = {name: other for name, other in together.items() if name != key.name} | {key.name: value}
        if key.name == "reconnect.backoff.max.ms" or (key.name, value) != ("linger.ms", key.most):
            assert refusal_of(with_others) is None
    assert "outside allowed range" in str(refusal_of({key.name: key.low - 1}))
    if key.most < INT_MAX:
        assert "outside allowed range" in str(refusal_of({key.name: key.most + 1}))


@pytest.mark.parametrize("key", [key for key in LIBRDKAFKA_KEYS.values() if key.choices and key.name != "acks"], ids=lambda key: key.name)
def test_librdkafka_has_the_choices_of_the_table(key: Any) -> None:
    for choice in key.choices:
        assert refusal_of({key.name: choice}) is None
    assert refusal_of({key.name: "no such thing"}) is not None


@pytest.mark.parametrize("name", [*(name for name in LIBRDKAFKA_KEYS if name != "delivery.report.only.error"), *ALIASES])  # confluent-kafka's own.
def test_librdkafka_knows_the_names_of_the_table(name: str) -> None:
    assert "No such configuration property" not in str(refusal_of({name: "no such thing"}))


@pytest.mark.parametrize("name", JAVA_NAMES)
def test_librdkafka_does_not_know_the_names_of_the_java_client_alone(name: str) -> None:
    assert "No such configuration property" in str(refusal_of({name: "1"}))


@pytest.mark.parametrize("values", [*(case[0] for case in REFUSED), *ACCEPTED], ids=" ".join)
def test_librdkafka_refuses_what_is_refused_here_and_nothing_else(values: dict[str, object]) -> None:
    assert (refusal_of(values) is None) is (resolve(values).problems == ())
