"""send(), flush() and close(): the vectors of sections 6 and 7 that need no transaction, and the rules A1 to A10, A50 to A54 and C8."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableProducer
from ksim_models.config import Origin, Setting, resolve_producer
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Failed, Offered, Refused
from ksim_models.machine import Crashed, Effect, Restarted, Terminated, Wake
from ksim_models.on_failure import REPORT, OnFailure, Reaction
from ksim_models.profiles import client_profile
from scripted import Client, Half, Script

INEXPRESSIBLE = {
    "PV-220": "the socket buffer sizes are noted as settings without effect here: a connection has no buffer of its own",
    "PV-227": "there are no custom partitioners: partitioner.class is refused by name",
}


def refusals(client: Client) -> list[tuple[float, str, str]]:
    return [(at / 1000, fact.error, fact.message) for at, fact in client.facts if isinstance(fact, Refused)]


def without_topic(error: E = E.UNKNOWN_TOPIC_OR_PARTITION, **config: Any) -> Client:
    client = Client(**{"retry_backoff_ms": 100, "retry_backoff_max_ms": 1000} | config)
    client.topic_error = error
    return client


# What happens to a send() that cannot succeed: settings, the record's size, its partition, when it is told, the exception, words of it.
LARGE = "RecordTooLargeException"
REFUSED = [
    ("PV-221", {"max_block_ms": 60_000}, 100, 0, 60_000, "TimeoutException", "Topic t not present in metadata after 60000 ms."),
    ("PV-222", {"max_block_ms": 60_000}, 100, 2, 60_000, "TimeoutException", "Partition 2 of topic t with partition count 2 is not present"),
    ("PV-222 before 3.9.1", {"max_block_ms": 60_000, "kafka": "3.9.0"}, 100, 2, 60_000, "TimeoutException", "Topic t not present in metadata after 60000 ms."),
    ("PV-223", {"max_block_ms": 30_000, "kafka": "3.9.0"}, 100, 0, 30_000, "TimeoutException", "(cause: UnknownTopicOrPartitionException)"),
    ("PV-223 before 3.9", {"max_block_ms": 30_000, "kafka": "3.8"}, 100, 0, 30_000, "TimeoutException", "after 30000 ms."),
    ("PV-224", {"max_block_ms": 60_000}, 100, 0, 0, "InvalidTopicException", "Invalid topics: [t]"),
    ("PV-226", {"max_request_size": 1}, 100, None, 0, LARGE, "larger than 1, which is the value of the max.request.size"),
    ("A3: no time for metadata", {"max_block_ms": 0}, 100, 0, 0, "TimeoutException", "after 0 ms."),
    ("A7", {"buffer_memory": 180, "batch_size": 100}, 100, 0, 0, LARGE, "larger than 180, which is the value of the buffer.memory"),
    ("C8", {"buffer_memory": 1000, "batch_size": 16384}, 100, 0, 0, "IllegalArgumentException", "Attempt to allocate 16384 bytes"),
]
UNKNOWN_TOPIC = ("PV-221", "PV-223", "PV-223 before 3.9", "A3: no time for metadata")


@pytest.mark.parametrize(("vector", "config", "size", "partition", "at", "error", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_send_that_cannot_succeed(vector: str, config: dict[str, Any], size: int, partition: int | None, at: int, error: str, words: str) -> None:
    """PV-221, PV-222, PV-223, PV-224, PV-226; A3, A4, A7, A8, C8. Kafka's mock counts looks at the metadata, here there is a clock;
    and its interceptor hears of PV-226 that no partition was chosen yet, here the refusal names none.
    """
    invalid = vector == "PV-224"
    client = without_topic(E.INVALID_TOPIC_EXCEPTION if invalid else E.UNKNOWN_TOPIC_OR_PARTITION, **config)
    if not invalid and vector not in UNKNOWN_TOPIC:
        client.topic_error = E.NONE
    client.calls[0].size, client.calls[0].partition = size, partition
    client.send()
    client.at(at + 1)

    ((told_at, told, text),) = refusals(client)
    assert (told_at, told) == (at, error)
    assert words in text
    assert client.records() == []
    assert client.producer.is_done


def test_a3_the_message_has_no_cause_before_3_9() -> None:
    client = without_topic(max_block_ms=100, kafka="3.8")
    client.send()
    client.at(101)

    assert refusals(client)[0][2] == "Topic t not present in metadata after 100 ms."


def test_a3_an_invalid_name_is_remembered_and_an_unauthorized_topic_is_asked_for_again() -> None:
    invalid, unauthorized = (without_topic(error, max_block_ms=60_000) for error in (E.INVALID_TOPIC_EXCEPTION, E.TOPIC_AUTHORIZATION_FAILED))
    for client in (invalid, unauthorized):
        client.send()
        client.at(1)
        client.send()
        client.at(500)

    assert [error for _, error, _ in refusals(invalid)] == ["InvalidTopicException"] * 2
    assert [error for _, error, _ in refusals(unauthorized)] == ["TopicAuthorizationException"] * 2
    assert (invalid.asked_for_metadata, unauthorized.asked_for_metadata) == (1, 2)


def test_a3_a_topic_that_comes_into_being_ends_the_wait() -> None:
    """UNKNOWN_TOPIC_OR_PARTITION is not thrown early: the topic may be about to be created."""
    client = without_topic(max_block_ms=60_000)
    client.send()
    client.at(2_000)
    client.topic_error = E.NONE
    client.at(4_000)

    assert client.records() == [[0]]
    assert refusals(client) == []


def test_h_014_batch_size_0_without_a_key_never_returns_in_3_3_1() -> None:
    """KAFKA-14303, fixed in 3.3.2: neither an exception nor a time-out; only this thread hangs."""
    hangs, cured = (Client(kafka=kafka, batch_size=0) for kafka in ("3.3.1", "3.3.2"))
    for client in (hangs, cured):
        client.calls[0].partition = None
        client.send(count=2)
        client.send(1)
        while client.requests:
            client.answer(offset=0)
        client.at(1_000_000)
    effects: list[Effect] = []
    hangs.producer.close_books(effects)

    assert hangs.records() == [[1]], "another thread, which names its partition, goes on"
    assert (hangs.producer.sending.all_offered, hangs.producer.is_done) == (True, False)
    assert len(effects) == 1, "its record was offered and has no outcome"
    assert sorted(record for records in cured.records() for record in records) == [0, 1, 2]


def test_a2_a_closed_producer_throws() -> None:
    client = Client()
    client.producer.sending.closed = True
    client.send()
    client.at(1)

    assert refusals(client) == [(0, "IllegalStateException", "Cannot perform operation after producer has been closed")]


def test_the_client_offers_in_any_case() -> None:
    client = Client(buffer_memory=1000, batch_size=16384)
    client.send(count=3)
    client.at(1)

    assert [list(fact.records) for _, fact in client.facts if isinstance(fact, Offered)] == [[0], [1], [2]]


# What the constructor refuses.


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("compression.type", "String must be one of: none, gzip, snappy, lz4, zstd"),
        ("security.protocol", "String must be one of (case insensitive): SASL_SSL, PLAINTEXT, SSL, SASL_PLAINTEXT"),
        ("metadata.recovery.strategy", "String must be one of (case insensitive): REBOOTSTRAP, NONE"),
    ],
)
def test_pv_218_a_value_that_is_none_of_the_possible_ones(key: str, says: str) -> None:
    resolved = resolve_producer([Setting(key, "abc", Origin("test"))], client_profile("4.3"))

    assert resolved.config is None
    assert [f"ConfigException: Invalid value abc for configuration {key}: {says}" in problem.message for problem in resolved.problems] == [True]


@pytest.mark.parametrize(("key", "value"), [("security.protocol", "Sasl_SSL"), ("metadata.recovery.strategy", "REBOOTSTRAP")])
def test_protocol_and_strategy_may_be_written_in_any_case(key: str, value: str) -> None:
    """ProducerConfigTest.testCaseInsensitiveSecurityProtocol."""
    assert resolve_producer([Setting(key, value, Origin("test"))], client_profile("4.3")).problems == ()


# flush() and close().


def closable(on_failure: OnFailure = REPORT, **config: Any) -> Client:
    """As `Client`, and it can be closed."""
    client = Client(**config)
    for call in client.calls:
        call.on_failure = on_failure
    machine = ClosableProducer("p1", client.producer.profile, client.config, ["b1", "b2"], list[Arrivals](client.calls), Half())
    Script.__init__(client, client.calls, machine)
    client.producer = machine
    return client


def close(client: Client, within_ms: float | None = None) -> None:
    client._handle(Terminated(None if within_ms is None else int(within_ms * 1000)))


def has_ended(client: Client) -> bool:
    return not client.producer.alive


def machine_of(client: Client) -> ClosableProducer:
    assert isinstance(client.producer, ClosableProducer)
    return client.producer


def test_pv_203_close_ends_a_send_that_waits_for_metadata_with_exactly_kafka_exception() -> None:
    """A54; with close(0) at once, with close() when nothing else is left to do."""
    for within in (0, None):
        client = closable(max_block_ms=2**40, retry_backoff_ms=100, retry_backoff_max_ms=1000)
        client.topic_error = E.UNKNOWN_TOPIC_OR_PARTITION
        client.send()
        client.at(1_000)
        close(client, within)
        client.at(1_001)

        assert refusals(client) == [(1_000, "KafkaException", "Producer closed while send in progress")]
        assert not client.producer.alive


def test_a54_close_ends_a_callback_that_waits_for_memory_and_the_next_one_finds_the_producer_closed() -> None:
    """The I/O thread is held up by the first of them; behind it both have the outcome that send() gave."""
    client = closable(OnFailure(Reaction.RESEND), retries=0, max_block_ms=300, buffer_memory=300, batch_size=300, linger_ms=5, delivery_timeout_ms=60_000)
    client.send(count=2)
    client.at(5)
    client.answer(E.INVALID_RECORD)
    client.at(10)
    assert refusals(client) == []
    close(client)

    assert [(at, error) for at, error, _ in refusals(client)] == [(10, "KafkaException"), (10, "IllegalStateException")]
    assert has_ended(client)
    assert client.producer.accumulator.free_memory == 300


@pytest.mark.parametrize(("kafka", "error"), [("4.1", "KafkaException"), ("4.0", ""), ("3.9", "")])
def test_pv_205_flush_in_a_callback_is_refused_from_4_1_on_and_waits_for_itself_before(kafka: str, error: str) -> None:
    """A50, H-016."""
    client = closable(kafka=kafka)
    client.send()
    flush = machine_of(client).flush(in_callback=True)
    client.answer(offset=0)
    client.at(1_000_000)

    assert bool(flush.error) is bool(error)
    assert "may lead to deadlock" in flush.error or not error
    assert [outcome for _, outcome in client.outcomes()] == (["acked"] if error else [])


def test_a50_flush_makes_batches_due_and_returns_when_those_of_its_beginning_are_complete() -> None:
    client = closable(linger_ms=10_000, delivery_timeout_ms=60_000, retries=0)
    client.send()
    client.at(10)
    flush = machine_of(client).flush()
    client.at(11)
    client._handle(Wake())
    client.send(1)
    assert (client.records(), flush.is_over) == ([[0], [1]], False), "meanwhile nothing lingers"
    client.answer(E.INVALID_RECORD)
    assert flush.is_over, "a failure is an outcome"
    client.answer(offset=0)
    client.send()
    client.at(12)

    assert client.records() == [[0], [1]], "afterwards everything lingers again"


@pytest.mark.parametrize(
    ("kafka", "waits"),
    [("3.9.1", False), ("3.9.2", True), ("4.0.1", False), ("4.0.2", True), ("4.1.0", False), ("4.1.1", True), ("4.3", True)],
)
def test_pv_259_flush_waits_for_the_parts_of_a_batch_and_for_theirs(kafka: str, waits: bool) -> None:
    """A50, KAFKA-19479: before, it returned while the records of a split batch were still under way."""
    client = closable(kafka=kafka, batch_size=1_000, linger_ms=10_000, delivery_timeout_ms=60_000, compression_type="gzip")
    client.producer.accumulator.ratios.by_topic["t"] = 100_000
    client.calls[0].size = 400
    client.send(count=4)
    flush = machine_of(client).flush()
    client._handle(Wake())
    over = [flush.is_over]
    client.answer(E.MESSAGE_TOO_LARGE)
    assert client.records() == [[0, 1, 2, 3], [0, 1], [2, 3]]
    over.append(flush.is_over)
    client.answer(E.MESSAGE_TOO_LARGE)
    while client.requests:
        over.append(flush.is_over)
        client.answer(offset=0)

    assert over == [False, *[not waits] * (len(over) - 1)]
    assert flush.is_over
    assert machine_of(client).accumulator.hurried == 0


def test_a51_close_sends_what_is_queued_and_waits_for_the_answers() -> None:
    client = closable(linger_ms=10_000, delivery_timeout_ms=60_000)
    client.send(count=2)
    client.at(10)
    assert client.records() == []
    close(client)
    assert client.records() == [[0, 1]], "A27: what waits is due at once"
    client.send()
    client.at(500)
    assert not has_ended(client)
    client.answer(offset=0)

    assert client.outcomes() == [([0, 1], "acked")]
    assert has_ended(client)
    assert client.producer.sending.offered == 2, "the application hands over nothing more"


def test_a52_when_its_time_is_over_close_fails_what_has_no_answer() -> None:
    """A53: the brokers may have it all the same."""
    client = closable(delivery_timeout_ms=60_000)
    client.send()
    close(client, 200)
    client.at(199)
    assert client.outcomes() == []
    client.at(200)

    assert client.outcomes() == [([0], "KafkaException")]
    assert [fact.message for _, fact in client.facts if isinstance(fact, Failed)] == ["Producer is closed forcefully."]
    assert not client.producer.alive


def test_a51_close_without_a_time_ends_by_the_delivery_time_out() -> None:
    client = closable(delivery_timeout_ms=31_000)
    client.send()
    client.refusing = ["b1", "b2"]
    client.disconnect()
    close(client)
    client.at(40_000)

    assert client.outcomes() == [([0], "TimeoutException")]
    assert not client.producer.alive


def test_a54_close_ends_a_send_that_waits_for_memory_at_once() -> None:
    client = closable(buffer_memory=300, batch_size=300, max_block_ms=60_000, delivery_timeout_ms=120_000)
    client.send()
    client.send(1)
    close(client)

    assert refusals(client) == [(0, "KafkaException", "Producer closed while allocating memory")]


def test_a54_metadata_that_comes_while_closing_is_too_late() -> None:
    """A18: the accumulator takes nothing more."""
    client = closable(max_block_ms=60_000, retry_backoff_ms=100, retry_backoff_max_ms=1000)
    client.leaders["t-0"] = ("b2", 100)
    client.send()
    client.calls[1].partition = 5
    client.send(1)
    close(client)
    client.leaders |= {f"t-{number}": ("b1", 100) for number in range(6)}
    client.at(2_000)
    client.answer(offset=0)

    assert [refusal[1:] for refusal in refusals(client)] == [("KafkaException", "Producer closed while send in progress")]
    assert client.records() == [[0]]


def test_a_client_that_comes_back_is_another_producer_and_goes_on_with_the_next_record() -> None:
    """I2."""
    client = closable(enable_idempotence=True, delivery_timeout_ms=60_000)
    client.send()
    client.send()
    client.answer(offset=0)
    client._handle(Crashed())
    client.pending.clear()
    client.calls[0].times.append(1_000)
    client.calls[0].total += 1
    client.at(5)
    client._handle(Restarted())
    client.at(6)
    client.answer(offset=2)

    assert client.records() == [[0], [1], [2]]
    assert client.outcomes() == [([0], "acked"), ([2], "acked")]
    assert client.asked_for_id == 2
    assert [connection for connection, _ in client.requests] == []
