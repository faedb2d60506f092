"""What the Java client checks, when, in which order and in which words: rules C1 to C13 (section 1.2 of the client's rule book).

Source: ProducerConfig.postProcessParsedConfig, KafkaProducer's constructor, ConfigDef.parseType and its validators, from 2.8 to 4.3.
"""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.config import ProducerResolution, Setting, resolve_producer
from ksim_models.profiles import client_profile
from ksim_models.settings import Origin
from scripted import Client

IN_FLIGHT = "max.in.flight.requests.per.connection"


def resolve(values: dict[str, object], version: str = "4.3") -> ProducerResolution:
    return resolve_producer(
        [Setting(name, value, Origin("p.properties", line)) for line, (name, value) in enumerate(values.items(), 1)], client_profile(version)
    )


def refused(resolution: ProducerResolution) -> list[str]:
    """The settings that are refused, in the order of the checks; without "not yet supported"."""
    return [problem.given.split(" = ")[0] for problem in resolution.problems if "not yet supported" not in problem.message]


EVERYTHING_WRONG: dict[str, object] = {
    "delivery.timeout.ms": 1,
    "transactional.id": "t",
    IN_FLIGHT: 6,
    "acks": 1,
    "retries": 0,
    "enable.idempotence": True,
}


@pytest.mark.parametrize(
    ("version", "order"),
    [
        ("2.8", ["retries", "acks", "delivery.timeout.ms", IN_FLIGHT]),
        ("3.0.0", ["retries", "acks", "delivery.timeout.ms", IN_FLIGHT]),
        ("3.9", ["retries", "acks", IN_FLIGHT, "delivery.timeout.ms"]),
        ("4.3", ["retries", "acks", IN_FLIGHT, "delivery.timeout.ms"]),
    ],
)
def test_c1_the_checks_come_in_the_order_of_the_client(version: str, order: list[str]) -> None:
    """C1: the client stops at the first; here all are told. Before 3.0.1 the requests in flight were looked at last, when the Sender was made."""
    assert refused(resolve(EVERYTHING_WRONG, version)) == order


def test_c1_idempotence_is_settled_before_transactions_and_these_before_the_delivery_time_out() -> None:
    """C1, C10, C12, C3"""
    values = {"delivery.timeout.ms": 1, "transactional.id": "t", "acks": 1, "transaction.two.phase.commit.enable": True, "transaction.timeout.ms": 5}

    assert refused(resolve(values)) == ["transactional.id", "transaction.timeout.ms", "delivery.timeout.ms"]


CONFIG_EXCEPTIONS = [
    # (setting, value, the text behind "Invalid value X for configuration NAME: ")
    ("acks", "2", "String must be one of: all, -1, 0, 1"),
    ("acks", "ALL", "String must be one of: all, -1, 0, 1"),
    ("retries", "-1", "Value must be at least 0"),
    ("retries", "2147483648", "Not a number of type INT"),
    ("retries", "three", "Not a number of type INT"),
    ("linger.ms", "9223372036854775808", "Not a number of type LONG"),
    ("linger.ms", "-1", "Value must be at least 0"),
    (IN_FLIGHT, "0", "Value must be at least 1"),
    ("metadata.max.idle.ms", "4999", "Value must be at least 5000"),
    ("enable.idempotence", "yes", "Expected value to be either true or false"),
    ("transactional.id", "", "String must be non-empty"),
]


@pytest.mark.parametrize(("name", "value", "text"), CONFIG_EXCEPTIONS)
def test_c2_a_value_is_refused_in_the_words_of_the_clients_config_exception(name: str, value: str, text: str) -> None:
    """C2: of the validator, for acks too; the text of the number parser behind it is never seen."""
    (problem,) = resolve({name: value}).problems

    assert f"Kafka says: ConfigException: Invalid value {value} for configuration {name}: {text}." in problem.message


@pytest.mark.parametrize("value", ["all", " all ", "-1", "0", "1"])
def test_c2_acks_are_trimmed_and_case_counts(value: str) -> None:
    assert resolve({"acks": value}).config is not None


@pytest.mark.parametrize(
    "values", [{"delivery.timeout.ms": 600_000}, {"max.block.ms": 600_000}, {"request.timeout.ms": 90_000}, {"transaction.timeout.ms": -5}]
)
def test_c6_the_transaction_time_out_is_checked_against_nothing(values: dict[str, object]) -> None:
    """C6: the coordinator may end a transaction whose batches are still retried; its time-out has no range either."""
    assert resolve({"transaction.timeout.ms": 60_000, **values}).problems == ()


def test_c7_a_batch_may_be_larger_than_a_request() -> None:
    """C7: not checked; such a batch is sent alone (A34)."""
    resolution = resolve({"batch.size": "2MiB", "max.request.size": "1MiB"})

    assert (resolution.problems, [note for note in resolution.notes if "max.request.size" in note]) == ((), [])


def test_c9_without_retries_the_time_outs_stay() -> None:
    """C9: retries=0 ends idempotence where it is a default, and nothing else."""
    config = resolve({"retries": 0}).config

    assert config is not None
    assert (config.retries, config.enable_idempotence) == (0, False)
    assert (config.delivery_timeout_ms, config.request_timeout_ms, config.retry_backoff_ms) == (120_000, 30_000, 100)


@pytest.mark.parametrize("idempotent", [True, False])
def test_c11_only_an_idempotent_producer_asks_for_a_producer_id(idempotent: bool) -> None:
    """C11: without idempotence there is no transaction manager at all."""
    client = Client(enable_idempotence=idempotent)
    client.send()

    assert client.asked_for_id == (1 if idempotent else 0)
    assert client.records() == [[0]]


C12: list[tuple[dict[str, object], str, bool]] = [
    ({"transaction.two.phase.commit.enable": True, "transaction.timeout.ms": 60_000}, "4.1", True),
    ({"transaction.two.phase.commit.enable": True, "transaction.timeout.ms": 60_000}, "4.3", True),
    ({"transaction.two.phase.commit.enable": True}, "4.3", False),
    ({"transaction.two.phase.commit.enable": False, "transaction.timeout.ms": 60_000}, "4.3", False),
    ({"transaction.two.phase.commit.enable": True, "transaction.timeout.ms": 60_000}, "4.0", False),
]


@pytest.mark.parametrize(("values", "version", "refuses"), C12)
def test_c12_two_phase_commit_takes_no_time_out_of_the_client(values: dict[str, object], version: str, refuses: bool) -> None:
    """C12, PV-217: since 4.1, which brought the setting; an older client ignores it."""
    resolution = resolve(values, version)

    assert (resolution.config is None) is refuses
    if refuses:
        assert "Cannot set transaction.timeout.ms when transaction.two.phase.commit.enable is set to true." in resolution.problems[0].message
    if version == "4.0":
        assert any("came with Kafka 4.1" in note for note in resolution.notes)


IN_FLIGHT_TEXTS = [
    ("2.8", f"Must set {IN_FLIGHT} to at most 5 to use the idempotent producer."),
    ("3.9", f"Must set {IN_FLIGHT} to at most 5 to use the idempotent producer."),
    ("4.0", f"To use the idempotent producer, {IN_FLIGHT} must be set to at most 5. Current value is 6."),
]


@pytest.mark.parametrize(("version", "text"), IN_FLIGHT_TEXTS)
def test_too_many_in_flight_are_refused_in_the_words_of_the_release(version: str, text: str) -> None:
    """Section 1.3"""
    (problem,) = resolve({IN_FLIGHT: 6, "enable.idempotence": True}, version).problems

    assert f"Kafka refuses it: {text}" in problem.message


def test_what_is_noticed_while_the_producer_is_made_says_so() -> None:
    """C3: the ConfigException arrives as the cause of a KafkaException."""
    (problem,) = resolve({"delivery.timeout.ms": 100}).problems

    assert "Failed to construct kafka producer" in problem.message


def test_the_checks_never_look_at_what_could_not_be_read() -> None:
    """One mistake, told once."""
    unreadable: dict[str, Any] = {"acks": "2", "enable.idempotence": True, "delivery.timeout.ms": "x", "linger.ms": 200_000}

    assert refused(resolve(unreadable)) == ["acks", "delivery.timeout.ms"]


@pytest.mark.parametrize(
    ("memory", "batch", "told"),
    [("999", "1000", True), ("1000", "1000", False), ("much", "50000000", False), ("1000", "large", False)],
)
def test_c8_too_little_memory_for_one_batch_is_noted_where_both_are_numbers(memory: str, batch: str, told: bool) -> None:
    """The client starts with that; a value that is none is a problem of its own, and is compared with nothing."""
    settings = [Setting("buffer.memory", memory, Origin("test")), Setting("batch.size", batch, Origin("test"))]

    assert any("(C8)" in note for note in resolve_producer(settings, client_profile("4.3")).notes) is told
