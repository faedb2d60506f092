"""Retry, expiry and order in the Java client without idempotence: section 1 of the vectors.

A script's line: what the test does, and everything that then happens (`scripted.Client.play`).
"""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.batch import Batch
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Failed, Retried
from ksim_models.messages import ProduceResult
from ksim_models.outcomes import _failures
from ksim_models.units import ms
from scripted import IN_ORDER, PATIENT, S_SET, Client, Lines, vector


@pytest.mark.parametrize(
    ("config", "script"),
    [
        vector(
            "PV-001 an acknowledged batch is out of flight",
            {},
            ("send", "sent 0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
        ),
        vector(
            "PV-002 a disconnect costs one attempt, and the batch is sent again",
            {"retries": 1},
            ("send", "sent 0"),
            ("disconnect", ""),
            ("at 100", "sent 0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
        ),
        vector(
            "PV-004 one in flight holds the next batch back, although the leader moves to another connection",
            IN_ORDER | {"retries": 1},
            ("leader t-1 b2 100", ""),
            ("send p1", "sent 0 to b2"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1"),
            ("at 900", ""),
            ("leader t-0 b2 101", ""),
            ("refresh", ""),
            ("send", ""),
            ("answer 1 NONE 0", "acked 1 at 0; sent 2 to b2"),
        ),
        vector(
            "PV-007 a late retriable error does not bring an expired batch back",
            {},
            ("send", "sent 0"),
            ("at 1500", "failed 0 TimeoutException"),
            ("answer 0 NOT_LEADER_OR_FOLLOWER", ""),
            ("at 3000", ""),
        ),
        vector(
            "PV-008 an expired batch is not split either",
            {},
            ("send x2", "sent 0-1"),
            ("at 1500", "failed 0-1 TimeoutException"),
            ("answer 0 MESSAGE_TOO_LARGE", ""),
            ("at 3000", ""),
        ),
        vector(
            "PV-010 PV-011 the late answer of an expired batch unmutes its partition, the expiry does not",
            IN_ORDER,
            ("send", "sent 0"),
            ("at 750", ""),
            ("send", ""),
            ("at 1500", "failed 0 TimeoutException"),
            ("answer 0 NONE 0", "sent 1"),
        ),
        vector(
            "S12 with the retries used up, the exception is that of the last error",
            {"retries": 1},
            ("send", "sent 0"),
            ("answer 0 NOT_ENOUGH_REPLICAS", "sent 0"),
            ("answer 0 NOT_LEADER_OR_FOLLOWER", "failed 0 NotLeaderOrFollowerException"),
        ),
        vector(
            "A42 cancelled requests come back in reverse order",
            {},
            ("send", "sent 0"),
            ("send", "sent 1"),
            ("send", "sent 2"),
            ("disconnect", ""),
            ("at 100", "sent 2; sent 1; sent 0"),
        ),
        vector(
            "A37 and so the oldest record expires last: behind the younger one at the head of the queue",
            {"retry_backoff_ms": 400, "retry_backoff_max_ms": 400},
            ("send", "sent 0"),
            ("at 1000", ""),
            ("send", "sent 1"),
            ("down b1 b2", ""),
            ("at 2499", ""),
            ("at 2500", "failed 1 TimeoutException; failed 0 TimeoutException"),
        ),
        vector(
            "S23 a leader moves with a batch outstanding: the next one goes to the new leader at once, and is there first",
            PATIENT,
            ("leader t-1 b2 100", ""),
            ("send p1", "sent 0 to b2"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1"),
            ("leader t-0 b2 101", ""),
            ("refresh", ""),
            ("send", "sent 2 to b2"),
            ("answer 2 NONE 5", "acked 2 at 5"),
            ("answer 1 NOT_LEADER_OR_FOLLOWER", "sent 1 to b2"),
            ("answer 1 NONE 6", "acked 1 at 6"),
        ),
    ],
)
def test_retry_expiry_and_order(config: dict[str, Any], script: Lines) -> None:
    Client(**config).play(script)


def test_pv_005_callbacks_of_an_expired_batch_send_into_a_new_one() -> None:
    """Ten records at most are unacknowledged: every failing callback lets the application send another. A turn that finds no node sends nothing."""
    client = Client(**S_SET, window=10)
    client.play([("send p1", "sent 0"), ("answer 0 NONE 0", "acked 0 at 0"), ("down b1 b2", ""), ("send x20", ""), ("at 1500", "failed 1-10 TimeoutException")])

    failed = [fact for _, fact in client.facts if isinstance(fact, Failed)]
    assert failed[0].message.endswith(". The request has not been sent, or no server response has been received yet.")
    assert [list(batch.records) for batch in client.producer.accumulator.queues["t-0"]] == [list(range(11, 21))]


@pytest.mark.parametrize(("kafka", "free"), [("4.3", 0), ("4.0.1", 1)])
def test_pv_013_the_memory_of_a_batch_that_expired_in_flight_is_kept_until_its_answer(kafka: str, free: int) -> None:
    """KAFKA-19012, A24."""
    client = Client(kafka=kafka, **S_SET | {"buffer_memory": 16_384})
    client.send()
    client.at(1_600)

    assert client.producer.accumulator.free_memory == free * 16_384
    client.answer(offset=0)
    assert client.producer.accumulator.free_memory == 16_384


def test_pv_014_the_next_expiry_drives_the_sleep() -> None:
    """S5: with nothing left to wait for, the thread sleeps on."""
    client = Client(**S_SET)
    client.send()
    assert client.producer.wake_at == ms(1_500)
    client.at(1_501)

    assert client.producer.wake_at is not None
    assert client.producer.wake_at > ms(1_501)


@pytest.mark.parametrize("message", [None, "no such luck"], ids=["PV-016 the default text", "PV-016 the broker's own text"])
def test_the_text_of_a_refusal(message: str | None) -> None:
    client = Client(**S_SET)
    client.send()
    client.answer(E.INVALID_REQUEST, error_message=message)

    assert [(fact.error, fact.message) for _, fact in client.facts if isinstance(fact, Failed)] == [
        ("InvalidRequestException", message or E.INVALID_REQUEST.meaning)
    ]


@pytest.mark.parametrize(
    ("error", "records", "told"),
    [
        pytest.param(
            E.INVALID_RECORD,
            ((0, "0"), (2, "2"), (3, None)),
            [
                ([0], "InvalidRecordException", "0"),
                ([1], "KafkaException", "Failed to append record because it was part of a batch which had one more more invalid records"),
                ([2], "InvalidRecordException", "2"),
                ([3], "InvalidRecordException", E.INVALID_RECORD.meaning),
                ([4], "KafkaException", "Failed to append record because it was part of a batch which had one more more invalid records"),
            ],
            id="PV-017 several records are named: each is invalid, the rest are bystanders",
        ),
        pytest.param(
            E.INVALID_TIMESTAMP,
            ((1, "too old"),),
            [
                ([0], "KafkaException", "Failed to append record because it was part of a batch which had one more more invalid records"),
                ([1], "InvalidTimestampException", "too old"),
                ([2, 3, 4], "KafkaException", "Failed to append record because it was part of a batch which had one more more invalid records"),
            ],
            id="S16 one record is named: the code is its own",
        ),
        pytest.param(
            E.INVALID_TIMESTAMP,
            ((0, "a"), (1, "b")),
            [
                ([0], "InvalidRecordException", "a"),
                ([1], "InvalidRecordException", "b"),
                ([2, 3, 4], "KafkaException", "Failed to append record because it was part of a batch which had one more more invalid records"),
            ],
            id="S16 two are named: the code may be that of either",
        ),
        pytest.param(E.TOPIC_AUTHORIZATION_FAILED, (), [([0, 1, 2, 3, 4], "TopicAuthorizationException", "Not authorized to access topics: [t]")], id="S17"),
        pytest.param(
            E.CLUSTER_AUTHORIZATION_FAILED,
            (),
            [([0, 1, 2, 3, 4], "ClusterAuthorizationException", "The producer is not authorized to do idempotent sends")],
            id="S17 of the cluster",
        ),
    ],
)
def test_the_whole_batch_is_refused_and_every_record_is_told_why(error: E, records: tuple[tuple[int, str | None], ...], told: list[object]) -> None:
    """S18: in the order of the records."""
    client = Client(**S_SET)
    client.send(count=5)
    client.answer(error, record_errors=records)

    assert [(list(fact.records), fact.error, fact.message) for _, fact in client.facts if isinstance(fact, Failed)] == told


def test_s16_before_3_0_what_the_broker_said_of_single_records_was_not_heard() -> None:
    """KAFKA-12548."""
    client = Client(kafka="2.8", **S_SET)
    client.send(count=3)
    client.answer(E.INVALID_RECORD, record_errors=((1, "no key"),), error_message="one is bad")

    assert [(list(fact.records), fact.error, fact.message) for _, fact in client.facts if isinstance(fact, Failed)] == [
        ([0, 1, 2], "InvalidRecordException", "one is bad")
    ]


def test_s12_an_error_that_comes_at_the_deadline_itself_comes_too_late_for_a_retry() -> None:
    """And in time to name the exception: the turn that would have expired the batch comes after the poll that brought the answer."""
    client = Client(**S_SET)
    client.send()
    client.now = ms(1_500)
    client.answer(E.NOT_ENOUGH_REPLICAS)

    assert client.outcomes() == [([0], "NotEnoughReplicasException")]


def test_a_retry_tells_how_long_it_waits() -> None:
    client = Client(**S_SET | {"retry_backoff_ms": 70, "retry_backoff_max_ms": 70})
    client.at(500)
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)

    assert [fact.backoff_us for _, fact in client.facts if isinstance(fact, Retried)] == [ms(70)]


def test_s17_the_topic_is_what_stands_before_the_last_dash() -> None:
    batch = Batch(1, "my-topic-7", 100, 0)
    batch.add(0, 1, 10)
    ((_, _, text),) = _failures(batch, E.TOPIC_AUTHORIZATION_FAILED, ProduceResult("my-topic-7", E.TOPIC_AUTHORIZATION_FAILED), "")

    assert text == "Not authorized to access topics: [my-topic]"


def test_s13_a_late_error_of_an_expired_batch_is_counted_again() -> None:
    """And only counted (S15)."""
    client = Client(**S_SET)
    client.play([("send x2", "sent 0-1"), ("at 1500", "failed 0-1 TimeoutException"), ("answer 0 NOT_ENOUGH_REPLICAS", "")])

    assert client.producer.outcomes.records_failed == 4


@pytest.mark.parametrize(
    ("kafka", "error", "told"),
    [
        pytest.param("3.7", E.TRANSACTION_ABORTABLE, "UnknownServerException", id="S19 a code younger than the client"),
        pytest.param("3.8", E.TRANSACTION_ABORTABLE, "TransactionAbortableException", id="S19 known since 3.8"),
        pytest.param("3.3.1", E.CONCURRENT_TRANSACTIONS, "ConcurrentTransactionsException", id="KAFKA-14417 not retriable"),
        pytest.param("3.4", E.CONCURRENT_TRANSACTIONS, "", id="KAFKA-14417 retriable"),
    ],
)
def test_what_an_error_means_depends_on_the_clients_release(kafka: str, error: E, told: str) -> None:
    client = Client(kafka=kafka, **S_SET)
    client.send()
    client.answer(error)

    assert client.outcomes() == ([([0], told)] if told else [])


@pytest.mark.parametrize(
    ("kafka", "timed_out", "error", "text"),
    [
        pytest.param("4.3", True, "TimeoutException", "Disconnected from node b1 due to timeout", id="timed out"),
        pytest.param("3.4", True, "NetworkException", "Disconnected from node b1", id="timed out, before 3.5"),
        pytest.param("4.3", False, "NetworkException", "Disconnected from node b1", id="closed"),
    ],
)
def test_s10_what_a_lost_request_becomes(kafka: str, timed_out: bool, error: str, text: str) -> None:
    client = Client(kafka=kafka, **S_SET | PATIENT | {"request_timeout_ms": 1_000, "retries": 0})
    client.send()
    if timed_out:
        client.at(1_101)
    else:
        client.disconnect()

    assert [(fact.error, fact.message) for _, fact in client.facts if isinstance(fact, Failed)] == [(error, text)]


def test_a39_the_text_of_an_expiry_names_count_partition_and_age() -> None:
    texts = {}
    for kafka in ("4.3", "3.9"):
        client = Client(kafka=kafka, **S_SET)
        client.at(700)
        client.send()
        client.at(2_200)
        texts[kafka] = next(fact.message for _, fact in client.facts if isinstance(fact, Failed))

    assert texts["3.9"] == "Expiring 1 record(s) for t-0:1500 ms has passed since batch creation"
    assert texts["4.3"] == texts["3.9"] + ". The request has not been sent, or no server response has been received yet."


def test_8_4_no_attempt_is_consumed_while_connecting_fails() -> None:
    client = Client(**S_SET | PATIENT, retries=3)
    client.play([("send", "sent 0"), ("down b1", ""), ("at 20000", ""), ("up b1", ""), ("at 22000", "sent 0"), ("answer 0 NONE 0", "acked 0 at 0")])


INEXPRESSIBLE = {
    "PV-020": "the metric produce-throttle-time is no output of ksim; that every API may throttle is tested with PV-037 (N11)",
}
