"""send(), flush() and close(): the vectors of sections 6 and 7 that need no transaction, and the rules A1 to A10, A50 to A54 and C8."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.config import Origin, ProducerConfig, Setting, resolve_producer
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Offered, Refused
from ksim_models.profiles import client_profile
from scripted import Client

INEXPRESSIBLE = {
    "PV-220": "the socket buffer sizes are noted as settings without effect here: a connection has no buffer of its own",
    "PV-226": "there are no interceptors; that the record is refused before it has a partition is tested",
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
    ("PV-223", {"max_block_ms": 30_000, "kafka": "3.9"}, 100, 0, 30_000, "TimeoutException", "(cause: UnknownTopicOrPartitionException)"),
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
    """PV-221, PV-222, PV-223, PV-224, PV-226; A3, A4, A7, A8, C8. Kafka's mock counts looks at the metadata, here there is a clock."""
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
    hangs.producer.close_books(effects := [])

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

CONFIG_MISTAKES = [
    ("PV-218", "compression.type", "abc"),
    ("PV-218", "metadata.recovery.strategy", "abc"),
]


@pytest.mark.parametrize(("vector", "key", "value"), CONFIG_MISTAKES, ids=[key for _, key, _ in CONFIG_MISTAKES])
def test_a_value_that_is_none_of_the_possible_ones(vector: str, key: str, value: str) -> None:
    """PV-218."""
    resolved = resolve_producer([Setting(key, value, Origin("test"))], client_profile("4.3"))

    assert resolved.config is None
    assert any(key in problem.message for problem in resolved.problems), vector
    assert ProducerConfig().acks == -1
