"""Settings: defaults per release, cross checks, and a table of mistakes with what each of them is told."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim_models import settings
from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.config import (
    BrokerConfig,
    Origin,
    Problem,
    ProducerConfig,
    ProducerResolution,
    Setting,
    TopicConfig,
    resolve_broker,
    resolve_producer,
    resolve_topic,
    topic_config,
)
from ksim_models.partitioner_names import DEFAULT, ROUND_ROBIN
from ksim_models.producer_keys import LIBRDKAFKA_NAMES, PRODUCER_KEYS
from ksim_models.profiles import KAFKA_VERSIONS, broker_profile, client_profile

NEWEST_CLIENT, NEWEST_BROKERS = client_profile("4.3"), broker_profile("4.3")


def written(values: dict[str, object], file: str = "scenario.toml") -> list[Setting]:
    return [Setting(name, value, Origin(file, line)) for line, (name, value) in enumerate(values.items(), start=1)]


def resolve(values: dict[str, object], version: str = "4.3") -> ProducerResolution:
    return resolve_producer(written(values), client_profile(version))


def config(values: dict[str, object], version: str = "4.3") -> ProducerConfig:
    resolution = resolve(values, version)
    assert resolution.config is not None, resolution.problems
    return resolution.config


def only_problem(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


# Defaults.


@pytest.mark.parametrize("version", KAFKA_VERSIONS)
def test_acks_idempotence_and_linger_have_the_defaults_of_the_release(version: str) -> None:
    """Table 1.1; VP-1"""
    major = int(version[0])
    made = config({}, version)

    assert made.acks == (1 if major == 2 else -1)
    assert made.enable_idempotence is (major > 2)
    assert made.linger_ms == (5 if major == 4 else 0)


@pytest.mark.parametrize(("version", "strategy"), [("3.7", "none"), ("3.8", "none"), ("3.9", "none"), ("4.0", "rebootstrap"), ("4.3", "rebootstrap")])
def test_a_client_returns_to_its_bootstrap_servers_by_default_since_4_0(version: str, strategy: str) -> None:
    """M6"""
    assert config({}, version).metadata_recovery_strategy == strategy


def test_the_defaults_of_the_dataclasses_are_those_of_4_3() -> None:
    assert config({}) == ProducerConfig()
    assert resolve_broker([], NEWEST_BROKERS).config == BrokerConfig()
    assert topic_config((), BrokerConfig()) == TopicConfig()


def test_every_field_of_a_configuration_is_a_setting_of_kafkas() -> None:
    assert {made.name for made in fields(ProducerConfig)} <= {key.field for key in PRODUCER_KEYS.values()}
    assert {made.name for made in fields(BrokerConfig)} <= {key.field for key in BROKER_KEYS.values()}
    assert {made.name for made in fields(TopicConfig)} <= {key.field for key in TOPIC_KEYS.values()}


def test_no_setting_that_counts_is_left_out_of_the_configuration_in_silence() -> None:
    """What has no field is refused by name, or comes with the reason why it plays no part."""
    for keys, kind in ((PRODUCER_KEYS, ProducerConfig), (BROKER_KEYS, BrokerConfig), (TOPIC_KEYS, TopicConfig)):
        for key in keys.values():
            assert key.field in kind.__slots__ or key.not_yet or key.no_part, key.name


def test_no_setting_is_accepted_that_no_machine_reads() -> None:
    """A setting with a field is read by some machine, or refused by name unless it is the default, or comes with a note, or bounds another."""
    sources = sorted(Path(settings.__file__).parent.glob("*.py"))
    bounds = re.compile(r"group_consumer_(min|max)_\w+")
    read = {node.attr for source in sources for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)}

    for keys, kind in ((PRODUCER_KEYS, ProducerConfig), (BROKER_KEYS, BrokerConfig), (TOPIC_KEYS, TopicConfig)):
        ignored = [
            key.name
            for key in keys.values()
            if key.field in kind.__slots__ and not (key.not_yet or key.no_part or key.field in read or bounds.fullmatch(key.field))
        ]
        assert ignored == []


@pytest.mark.parametrize("name", LIBRDKAFKA_NAMES)
def test_every_name_of_librdkafka_leads_to_one_of_the_java_client(name: str) -> None:
    assert LIBRDKAFKA_NAMES[name] in PRODUCER_KEYS
    assert name not in PRODUCER_KEYS


# Values.


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("linger.ms", "1.5s", "linger_ms", 1_500),
        ("linger.ms", "5000us", "linger_ms", 5),
        ("linger.ms", " 7 ", "linger_ms", 7),
        ("batch.size", "16KiB", "batch_size", 16_384),
        ("retries", "3", "retries", 3),
        ("enable.idempotence", " FALSE ", "enable_idempotence", False),
        ("acks", " all ", "acks", -1),
        ("acks", -1, "acks", -1),
        ("acks", "1", "acks", 1),
        ("acks", 0, "acks", 0),
        ("metadata.max.age.ms", 9_223_372_036_854_775_807, "metadata_max_age_ms", 9_223_372_036_854_775_807),
    ],
)
def test_a_value_is_taken_as_toml_or_a_properties_file_gives_it(name: str, value: object, field: str, expected: object) -> None:
    assert getattr(config({name: value}), field) == expected


# Mistakes: (name, value, what `possible` contains, nearest, what the sentence contains).

MISTAKES: list[tuple[str, object, str, str | None, str]] = [
    ("acks", 2, "all, -1, 0, 1", None, "acks = 2"),
    ("acks", "2", "all, -1, 0, 1", None, 'acks = "2"'),
    ("acks", True, "all, -1, 0, 1", None, "acks = true is not possible: it is no text"),
    ("acks", "ALL", "all, -1, 0, 1", "all", "Did you mean all?"),
    ("acks", "al", "all, -1, 0, 1", "all", "Did you mean all?"),
    ("acks", "", "all, -1, 0, 1", None, "acks"),
    ("acks", 1.0, "all, -1, 0, 1", None, "it is no text"),
    ("retries", "three", "an integer from 0 to 2147483647", None, "it is no integer"),
    ("retries", 1.5, "an integer from 0", None, "it is no integer"),
    ("retries", "1.5", "an integer from 0", None, "it is no integer"),
    ("retries", -1, "an integer from 0", None, "out of range"),
    ("retries", 2_147_483_648, "to 2147483647", None, "out of range"),
    ("retries", "3s", "an integer from 0", None, "without a unit"),
    ("retries", "1_000", "an integer from 0", "1000", "it is no integer"),
    ("retries", "٣", "an integer from 0", None, "it is no integer"),
    ("retries", False, "an integer from 0", None, "retries = false"),
    ("linger.ms", "0.5ms", "(ms)", None, "no whole number of ms"),
    ("linger.ms", "-5ms", "(ms)", None, "negative"),
    ("linger.ms", "5sec", "(ms)", "5s", '"sec"'),
    ("linger.ms", "nan", "(ms)", None, "it is no integer"),
    ("linger.ms", float("inf"), "(ms)", None, "it is no integer"),
    ("linger.ms", "16KiB", "(ms)", None, '"KiB"'),
    ("batch.size", "16K", "(bytes)", "16KiB", '"K"'),
    ("batch.size", "5ms", "(bytes)", None, '"ms"'),
    ("max.in.flight.requests.per.connection", 0, "an integer from 1", None, "out of range"),
    ("metadata.max.idle.ms", 4_999, "an integer from 5000", None, "out of range"),
    ("request.timeout.ms", 10**30, "to 2147483647", None, "out of range"),
    ("enable.idempotence", "ture", "true or false", "true", "Did you mean true?"),
    ("enable.idempotence", "yes", "true or false", "true", "no boolean"),
    ("enable.idempotence", 1, "true or false", "true", "no boolean"),
    ("compression.type", "gzipp", "none, gzip", "gzip", "Did you mean gzip?"),
    ("partitioner.class", "RoundRobinPartitioner", "RoundRobinPartitioner", ROUND_ROBIN, f"Did you mean {ROUND_ROBIN}?"),
    ("partitioner.class", "com.example.MyPartitioner", "leave it out", None, "no class of Kafka's own has this name"),
    ("partitioner.class", DEFAULT, "leave it out", None, "removed in 4.0"),
    ("metadata.recovery.strategy", "reboostrap", "rebootstrap, none", "rebootstrap", "Did you mean"),
    ("send.buffer.bytes", -2, "an integer from -1", None, "out of range"),  # PV-220
    ("retires", 3, "producer setting", "retries", "Did you mean retries?"),
    ("ack", "all", "producer setting", "acks", "Did you mean acks?"),
    ("enable.idempotance", "true", "producer setting", "enable.idempotence", "Did you mean"),
    ("enable_idempotence", "true", "producer setting", "enable.idempotence", "Did you mean"),
    ("Linger.MS", 5, "producer setting", "linger.ms", "Did you mean linger.ms?"),
    ("delivery.timeout", 5, "producer setting", "delivery.timeout.ms", "Did you mean"),
    ("max.in.flight.requests", 5, "producer setting", "max.in.flight.requests.per.connection", "Did you mean"),
    ("queue.buffering.max.ms", 5, "producer setting", "linger.ms", "librdkafka's name"),
    ("message.timeout.ms", 5, "producer setting", "delivery.timeout.ms", "librdkafka's name"),
    ("request.required.acks", 1, "producer setting", "acks", "librdkafka's name"),
    ("message.send.max.retries", 1, "producer setting", "retries", "librdkafka's name"),
    ("max.in.flight", 1, "producer setting", "max.in.flight.requests.per.connection", "librdkafka's name"),
    ("socket.timeout.ms", 1, "producer setting", "request.timeout.ms", "librdkafka's name"),
    ("mesage.timeout.ms", 1, "producer setting", "delivery.timeout.ms", "Did you mean delivery.timeout.ms?"),
    ("min.insync.replicas", 2, "[topics.NAME]", None, "not a producer's setting"),
    ("replica.lag.time.max.ms", 2, "[cluster]", None, "it is a broker's"),
    ("zzzz", 2, "producer setting", None, "zzzz is not a setting that a producer knows"),
    ("", 2, "producer setting", None, "not a setting"),
]


@pytest.mark.parametrize(("name", "value", "possible", "nearest", "sentence"), MISTAKES)
def test_a_mistake_is_told_with_what_is_possible_and_what_is_near(name: str, value: object, possible: str, nearest: str | None, sentence: str) -> None:
    problem = only_problem(resolve({name: value}).problems)

    assert possible in problem.possible
    assert problem.nearest == nearest
    assert sentence in problem.message
    assert problem.origin == Origin("scenario.toml", 1)
    assert problem.given.startswith(name)


def test_all_mistakes_are_told_at_once_and_none_is_built_on_another() -> None:
    """C3 is not complained about while one of its three settings is unreadable."""
    resolution = resolve({"acks": "2", "request.timeout.ms": "abc", "delivery.timeout.ms": 1_000, "retires": 1})

    assert [problem.origin.line for problem in resolution.problems] == [1, 2, 4]
    assert resolution.config is None


def test_an_unreadable_flag_is_not_taken_for_idempotence_and_blamed_on_others() -> None:
    """Section 1.3: more than five in flight would be refused by 4.x only if the flag were true."""
    problem = only_problem(resolve({"enable.idempotence": "fals", "max.in.flight.requests.per.connection": 6}).problems)

    assert (problem.origin.line, problem.nearest) == (1, "false")


def test_an_endless_value_is_told_in_few_words() -> None:
    problem = only_problem(resolve({"retries": "9" * 10_000}).problems)

    assert len(problem.message) < 300


# Order, origins, notes.


def test_a_later_setting_wins_and_an_overridden_mistake_does_not_count() -> None:
    weak = [Setting("acks", "2", Origin("producer.properties", 4)), Setting("retries", "3", Origin("producer.properties", 5))]
    strong = [Setting("acks", "1", Origin("-X"))]

    resolution = resolve_producer(weak + strong, NEWEST_CLIENT)

    origins = {line.name: line.origin for line in resolution.effective}
    assert resolution.problems == ()
    assert (origins["acks"], origins["retries"], origins["batch.size"]) == ("-X", "producer.properties:5", "default of 4.3")


def test_a_production_file_runs_with_notes_on_what_plays_no_part() -> None:
    resolution = resolve(
        {
            "bootstrap.servers": "localhost:9092",
            "key.serializer": "StringSerializer",
            "value.serializer": "StringSerializer",
            "security.protocol": "SASL_SSL",
            "sasl.jaas.config": "secret",
            "ssl.truststore.location": "trust.jks",
            "client.id": "p",
            "interceptor.classes": "a.B",
            "schema.registry.url": "there",
            "transaction.timeout.ms": "60000",
            "group.id": "g",
            "acks": "all",
            "retries": "3",
            "enable.idempotence": "true",
        }
    )
    notes = " ".join(resolution.notes)

    assert resolution.config == ProducerConfig(retries=3)
    for name in (
        "bootstrap.servers",
        "key.serializer, value.serializer",
        "security.protocol, sasl.jaas.config, ssl.truststore.location",
        "interceptor.classes",
    ):
        assert name in notes
    assert "secret" not in notes
    assert "transaction.timeout.ms plays no part: without transactional.id nothing asks for it." in resolution.notes


def test_a_setting_of_a_later_release_is_ignored_with_a_note() -> None:
    """KIP-580"""
    resolution = resolve({"retry.backoff.max.ms": 5_000}, "3.6")

    assert resolution.notes[0] == "retry.backoff.max.ms came with Kafka 3.7: 3.6 does not know it and ignores it."
    assert resolution.config is not None
    assert resolution.config.retry_backoff_max_ms == resolution.config.retry_backoff_ms == 100


def test_a_unit_in_a_properties_file_is_read_with_a_note_that_kafka_would_not() -> None:
    resolution = resolve_producer([Setting("linger.ms", "10ms", Origin("producer.properties", 1, own_file=True))], NEWEST_CLIENT)

    assert resolution.config is not None
    assert resolution.config.linger_ms == 10
    assert any("bare integer" in note for note in resolution.notes)


@pytest.mark.parametrize("name", ["transactional.id", "connections.max.idle.ms"])
def test_what_is_not_yet_supported_may_be_written_with_its_default(name: str) -> None:
    default = PRODUCER_KEYS[name].default(NEWEST_CLIENT.release)

    assert resolve({} if default is None else {name: default}).problems == ()


# Cross checks.


@pytest.mark.parametrize(("delivery", "refused"), [(30_004, True), (30_005, False), (30_006, False)])
def test_an_explicit_delivery_timeout_must_hold_linger_and_one_request(delivery: int, refused: bool) -> None:
    """C3, KIP-91: equality is legal."""
    resolution = resolve({"delivery.timeout.ms": delivery, "linger.ms": 5})

    assert (resolution.config is None) is refused
    if refused:
        problem = only_problem(resolution.problems)
        assert "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms" in problem.message
        assert "30005" in problem.possible


def test_a_default_delivery_timeout_is_raised_in_silence() -> None:
    """C3"""
    resolution = resolve({"request.timeout.ms": "3min"})

    assert resolution.config is not None
    assert resolution.config.delivery_timeout_ms == 180_005
    assert any("raised from 120000" in note for note in resolution.notes)


def test_a_delivery_timeout_never_exceeds_an_int_however_long_the_linger() -> None:
    """C3: the sum saturates."""
    assert config({"linger.ms": 9_223_372_036_854_775_807}).delivery_timeout_ms == 2_147_483_647


def test_a_retry_backoff_above_its_maximum_is_a_note_only() -> None:
    """C4"""
    resolution = resolve({"retry.backoff.ms": 2_000})

    assert resolution.config is not None
    assert any("(C4, KIP-580)" in note for note in resolution.notes)


def test_a_reconnect_backoff_set_alone_becomes_constant() -> None:
    """C5"""
    assert config({"reconnect.backoff.ms": 200}).reconnect_backoff_max_ms == 200
    assert config({"reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 900}).reconnect_backoff_max_ms == 900
    assert config({"reconnect.backoff.max.ms": 900}).reconnect_backoff_ms == 50


def test_a_setup_timeout_above_its_maximum_is_a_note_only() -> None:
    """C5"""
    assert any("lasts 30000 ms at most (C5" in note for note in resolve({"socket.connection.setup.timeout.ms": "1min"}).notes)
    assert any("lasts 60000 ms at most (C5" in note for note in resolve({"socket.connection.setup.timeout.ms": "1min"}, "3.6").notes)


def test_a_buffer_smaller_than_a_batch_is_noticed_only_by_send() -> None:
    """C8"""
    resolution = resolve({"buffer.memory": "8KiB"})

    assert resolution.config is not None
    assert any("(C8)" in note for note in resolution.notes)


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_one_request_in_flight_guarantees_order_whatever_else_is_set(acks: object) -> None:
    """C13"""
    assert config({"acks": acks, "max.in.flight.requests.per.connection": 1}).guarantees_message_order
    assert not config({"acks": acks, "max.in.flight.requests.per.connection": 2}).guarantees_message_order


# Whatever is written.

NAMES = st.one_of(st.sampled_from([*PRODUCER_KEYS, *BROKER_KEYS, *TOPIC_KEYS, *LIBRDKAFKA_NAMES]), st.text(max_size=30))
VALUES = st.one_of(
    st.text(),
    st.from_regex(r"[+-]?[0-9]{1,25}(\.[0-9]{1,25})?(us|ms|s|h|B|KiB|GB)?", fullmatch=True),
    st.sampled_from(["all", "0", "1", "true", "false", "none", "9" * 5_000]),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)
WRITTEN = st.lists(st.builds(Setting, NAMES, VALUES, st.just(Origin("producer.properties", 1))), max_size=8)


@given(WRITTEN, st.sampled_from(KAFKA_VERSIONS))
def test_no_setting_whatever_raises_and_there_is_a_configuration_or_a_problem(written_settings: list[Setting], version: str) -> None:
    producer = resolve_producer(written_settings, client_profile(version))
    broker = resolve_broker(written_settings, broker_profile(version))
    topic = resolve_topic(written_settings, broker_profile(version))

    assert (producer.config is None) is bool(producer.problems)
    assert (broker.config is None) is bool(broker.problems)
    assert topic.problems or topic_config(topic.given, BrokerConfig())


@given(WRITTEN, st.sampled_from(KAFKA_VERSIONS))
def test_an_accepted_producer_keeps_kafkas_promises_to_itself(written_settings: list[Setting], version: str) -> None:
    """C3 and section 1.3"""
    made = resolve_producer(written_settings, client_profile(version)).config
    if made is None:
        return

    assert made.delivery_timeout_ms >= min(min(made.linger_ms, 2**31 - 1) + made.request_timeout_ms, 2**31 - 1)
    assert made.acks in (-1, 0, 1)
    if made.enable_idempotence:
        assert (made.acks, made.retries > 0, made.max_in_flight_requests_per_connection <= 5) == (-1, True, True)
