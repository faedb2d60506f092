"""Retry, expiry, order and idempotence in the client: vectors PV-001 to PV-095 (sections 1 to 3), without transactions."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Failed, Sent
from scripted import Client

S_SET: dict[str, Any] = {"request_timeout_ms": 5_000, "delivery_timeout_ms": 1_500}


def idempotent(**config: Any) -> Client:
    settings: dict[str, Any] = {"request_timeout_ms": 5_000, "delivery_timeout_ms": 120_000} | config
    return Client(enable_idempotence=True, **settings)


def test_pv_001_an_acknowledged_batch_is_out_of_flight() -> None:
    client = Client(**S_SET)
    client.send()
    client.answer(offset=0)

    assert client.outcomes() == [([0], "acked")]
    assert not client.producer.accumulator_holds()


def test_pv_002_a_disconnect_costs_one_attempt_and_the_batch_is_sent_again() -> None:
    client = Client(**S_SET, retries=1)
    client.send()
    client.disconnect()
    client.at(100)
    assert client.records() == [[0], [0]]
    client.answer(offset=0)

    assert client.outcomes() == [([0], "acked")]


def test_s12_retries_are_exhausted_with_the_exception_of_the_last_error() -> None:
    client = Client(**S_SET, retries=1)
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.answer(E.NOT_LEADER_OR_FOLLOWER)

    assert client.outcomes() == [([0], "NotLeaderOrFollowerException")]


def test_pv_004_one_in_flight_holds_the_next_batch_back_even_where_the_leader_moves() -> None:
    client = Client(**S_SET, max_in_flight_requests_per_connection=1)
    client.send()
    client.at(900)
    client.leaders["t-0"] = ("b2", 101)
    client.producer.metadata.request_update()
    client.send()
    client.at(1_000)

    assert client.records() == [[0]]
    client.answer(offset=0)
    assert client.records() == [[0], [1]]


def test_pv_007_a_late_retriable_error_does_not_bring_an_expired_batch_back() -> None:
    client = Client(**S_SET)
    client.send()
    client.at(1_500)
    assert client.outcomes() == [([0], "TimeoutException")]

    client.answer(E.NOT_LEADER_OR_FOLLOWER)
    client.at(3_000)

    assert (client.records(), len(client.outcomes())) == ([[0]], 1)


def test_a39_the_text_of_an_expiry_names_count_partition_and_age() -> None:
    texts = {}
    for kafka in ("4.3", "3.9"):
        client = Client(kafka=kafka, **S_SET)
        client.send()
        client.at(1_500)
        texts[kafka] = next(fact.message for _, fact in client.facts if isinstance(fact, Failed))

    assert texts["3.9"] == "Expiring 1 record(s) for t-0:1500 ms has passed since batch creation"
    assert texts["4.3"] == texts["3.9"] + ". The request has not been sent, or no server response has been received yet."


def test_pv_010_pv_011_the_late_answer_of_an_expired_batch_unmutes_its_partition() -> None:
    client = Client(**S_SET, max_in_flight_requests_per_connection=1)
    client.send()
    client.at(750)
    client.send()
    client.at(1_500)
    assert client.outcomes() == [([0], "TimeoutException")]
    assert client.records() == [[0]]

    client.answer(offset=0)

    assert client.records() == [[0], [1]]


@pytest.mark.parametrize(("kafka", "free"), [("4.3", 0), ("4.0.1", 1)])
def test_pv_013_the_memory_of_a_batch_that_expired_in_flight_is_kept_until_its_answer(kafka: str, free: int) -> None:
    """KAFKA-19012."""
    client = Client(kafka=kafka, **S_SET, buffer_memory=16_384)
    client.send()
    client.at(1_600)

    assert client.producer.accumulator.free_memory == free * 16_384
    client.answer(offset=0)
    assert client.producer.accumulator.free_memory == 16_384


def test_pv_014_the_next_expiry_is_a_moment_to_wake_at() -> None:
    client = Client(**S_SET)
    client.send()

    assert client.producer.wake_at == 1_500_000


def test_pv_025_pv_026_a_higher_leader_epoch_skips_the_backoff_once() -> None:
    client = Client(**S_SET | {"delivery_timeout_ms": 60_000}, retry_backoff_ms=10, retry_backoff_max_ms=100)
    client.send()
    client.leaders["t-0"] = ("b1", 101)
    client.at(50)
    client.answer(E.NOT_LEADER_OR_FOLLOWER)
    client.at(50)
    assert client.records() == [[0], [0]], "the refreshed metadata carries a higher epoch"

    client.answer(E.NOT_LEADER_OR_FOLLOWER)
    client.at(60)
    assert len(client.sent) == 2
    client.at(75)
    assert len(client.sent) == 3


def test_pv_027_pv_028_the_leader_named_in_the_answer_gets_the_retry_at_once() -> None:
    """KIP-951."""
    hinted, plain = (Client(**S_SET | {"delivery_timeout_ms": 60_000}, retry_backoff_ms=10, retry_backoff_max_ms=100) for _ in range(2))
    for client in (hinted, plain):
        client.at(500)
        client.send()
    hinted.answer(E.NOT_LEADER_OR_FOLLOWER, leader="b2", leader_epoch=101)
    plain.answer(E.NOT_LEADER_OR_FOLLOWER)

    assert [fact.broker for _, fact in hinted.facts if isinstance(fact, Sent)] == ["b1", "b2"]
    assert [fact.broker for _, fact in plain.facts if isinstance(fact, Sent)] == ["b1"]


@pytest.mark.parametrize("attempt", range(4))
def test_pv_031_the_backoff_doubles(attempt: int) -> None:
    """The dice fall in the middle here: exactly 100, 200, 400, 800 ms."""
    client = Client(retry_backoff_ms=100, retry_backoff_max_ms=1_000)
    client.send()
    for _ in range(attempt):
        client.answer(E.NOT_ENOUGH_REPLICAS)
        client.at(client.now / 1000 + 2_000)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    began, sent = client.now / 1000, len(client.sent)

    client.at(began + 100 * 2**attempt - 1)
    assert len(client.sent) == sent
    client.at(began + 100 * 2**attempt)
    assert len(client.sent) == sent + 1


def test_pv_032_another_node_without_a_higher_epoch_does_not_skip_the_backoff() -> None:
    client = Client(retry_backoff_ms=100, retry_backoff_max_ms=1_000)
    client.send()
    client.leaders["t-0"] = ("b2", 100)
    client.at(500)
    client.answer(E.NOT_LEADER_OR_FOLLOWER)
    client.at(598)

    assert len(client.sent) == 1


@pytest.mark.parametrize(("kafka", "error"), [("4.3", "TimeoutException"), ("3.4", "NetworkException")])
def test_pv_034_a_request_time_out_closes_the_connection_and_asks_for_metadata(kafka: str, error: str) -> None:
    client = Client(kafka=kafka, request_timeout_ms=1_000, delivery_timeout_ms=60_000, retries=0)
    client.send()
    asked = client.asked_for_metadata
    client.at(1_000)
    assert client.outcomes() == [], "strictly more than the time-out must have passed (N4)"

    client.at(1_101)

    assert client.outcomes() == [([0], error)]
    assert client.asked_for_metadata > asked


def test_pv_035_a42_cancelled_requests_come_back_in_reverse_order_without_idempotence() -> None:
    client = Client(**S_SET)
    for _ in range(3):
        client.send()
    client.disconnect()
    client.at(100)

    assert client.records()[3:] == [[2], [1], [0]]


def test_a42_with_idempotence_they_come_back_in_order_one_at_a_time() -> None:
    client = idempotent()
    for _ in range(3):
        client.send()
    client.disconnect()
    client.at(100)
    assert client.records()[3:] == [[0]]
    client.answer(offset=0)
    client.answer(offset=1)

    assert client.bases()[3:] == [(0, 0), (0, 1), (0, 2)]


def test_8_4_no_attempt_is_consumed_while_connecting_fails() -> None:
    client = Client(**S_SET | {"delivery_timeout_ms": 60_000}, retries=3)
    client.send()
    client.refusing = ["b1"]
    client.disconnect()
    client.at(20_000)
    assert len(client.sent) == 1
    client.refusing = []
    client.at(22_000)
    client.answer(offset=0)

    assert client.outcomes() == [([0], "acked")]


def test_pv_050_the_producer_id_is_asked_for_first() -> None:
    client = idempotent()
    client.send()

    assert (client.asked_for_id, client.sent[0].producer_id, client.bases()) == (1, 343434, [(0, 0)])


def test_pv_053_sequences_count_records() -> None:
    client = idempotent()
    client.send(count=3)
    client.answer(offset=0)
    client.send()

    assert client.bases() == [(0, 0), (0, 3)]
    assert (client.numbers().next_sequence, client.numbers().last_acked_sequence) == (4, 2)


def test_pv_055_with_several_in_flight_retries_go_in_order() -> None:
    client = idempotent()
    for _ in range(3):
        client.send()
    client.answer(E.LEADER_NOT_AVAILABLE)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER, nth=0)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER, nth=0)
    client.send()
    assert client.records()[3:] == [[0]], "only the lowest sequence is on its way"
    for offset in range(3):
        client.answer(offset=offset)
    client.answer(offset=3)

    assert client.bases()[3:] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert client.outcomes() == [([number], "acked") for number in range(4)]


def test_pv_056_a_final_failure_bumps_the_epoch_and_renumbers_what_stands_behind() -> None:
    client = idempotent()
    client.send()
    client.send()
    client.answer(E.MESSAGE_TOO_LARGE)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)
    client.answer(offset=0)

    assert client.bases() == [(0, 0), (0, 1), (1, 0)]
    assert client.outcomes() == [([0], "RecordTooLargeException"), ([1], "acked")]


def test_pv_058_another_partition_keeps_its_epoch_until_nothing_of_it_is_in_flight() -> None:
    client = idempotent()
    for partition in (0, 1):
        client.send(partition)
        client.answer(offset=0)
    client.send(0)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)
    assert (client.numbers("t-1").epoch, client.numbers("t-1").last_acked_sequence) == (0, 0)

    client.send(1)

    assert [(batch.partition, batch.producer_epoch, batch.base_sequence) for batch in client.sent[2:]] == [("t-0", 0, 1), ("t-0", 1, 0), ("t-1", 1, 0)]


def test_pv_062_a_batch_that_was_never_sent_leaves_nothing_unresolved() -> None:
    client = idempotent(delivery_timeout_ms=1_500)
    client.send()
    client.answer(offset=0)
    client.refusing = ["b1", "b2"]
    client.send(0)
    client.disconnect()
    client.send(0)
    client.at(1_600)

    assert [error for _, error in client.outcomes()] == ["acked", "TimeoutException", "TimeoutException"]


def test_pv_063_pv_064_an_expired_retry_holds_new_batches_back_until_those_in_flight_told() -> None:
    client = idempotent(delivery_timeout_ms=1_500)
    client.send()
    client.at(1_000)
    client.send()
    client.refusing = ["b1", "b2"]
    client.answer(E.REQUEST_TIMED_OUT)
    client.disconnect()
    client.at(1_600)
    assert client.outcomes() == [([0], "TimeoutException")]
    assert client.numbers().unresolved_until == 1

    client.refusing = []
    client.at(2_300)
    client.send()
    assert client.bases()[-1] == (0, 1), "b1 alone; b2 stays without sequence"
    assert client.queued()[-1] == (2, -1)
    client.answer(offset=1)

    assert client.numbers().unresolved_until is None
    assert client.bases()[-1] == (0, 2), "sequences close up: no bump"


def test_pv_066_when_all_that_was_sent_expired_the_epoch_is_bumped() -> None:
    client = idempotent(delivery_timeout_ms=1_500)
    client.send()
    client.refusing = ["b1", "b2"]
    client.disconnect()
    client.at(1_600)

    assert client.outcomes() == [([0], "TimeoutException")]
    assert (client.producer.idempotence.epoch, client.numbers().unresolved_until) == (1, None)  # type: ignore[union-attr]


def test_pv_071_a_disconnect_asks_for_no_bump() -> None:
    client = idempotent()
    client.send()
    client.disconnect()
    client.at(100)

    assert client.bases() == [(0, 0), (0, 0)]


def test_pv_074_unknown_producer_id_bumps_the_epoch() -> None:
    client = idempotent()
    client.send()
    client.answer(offset=1_000)
    client.send(count=2)
    client.answer(E.UNKNOWN_PRODUCER_ID, log_start_offset=1_010)

    assert client.bases() == [(0, 0), (0, 1), (1, 0)]


def test_pv_076_unknown_producer_id_without_a_log_start_is_retried_as_it_is() -> None:
    client = idempotent()
    client.send()
    client.answer(offset=1_000)
    client.send()
    client.answer(E.UNKNOWN_PRODUCER_ID)

    assert client.bases() == [(0, 0), (0, 1), (0, 1)]


def test_pv_079_an_authorization_failure_is_fatal_for_an_idempotent_producer() -> None:
    client = idempotent()
    client.send(count=1)
    client.send()
    client.answer(E.CLUSTER_AUTHORIZATION_FAILED)

    assert {error for _, error in client.outcomes()} == {"ClusterAuthorizationException"}
    assert len(client.outcomes()) == 2, "PV-080: what is in flight fails with it"


def test_pv_085_sequences_wrap() -> None:
    from ksim_models.sequences import next_sequence

    last = 2**31 - 1
    assert next_sequence(0, last) == last
    assert next_sequence(last, 100) == 99
    assert next_sequence(99, last) == 98


def test_duplicate_sequence_number_is_success_without_an_offset() -> None:
    """PV-073, S11."""
    client = idempotent(retries=2_147_483_647)
    client.send()
    client.answer(E.DUPLICATE_SEQUENCE_NUMBER)

    assert client.outcomes() == [([0], "acked")]


LATER = {
    "PV-005": "callbacks that send: applications are not yet supported",
    "PV-016, PV-017": "texts and record errors of a broker's answer: not yet supported",
    "PV-020, PV-037, PV-038": "metrics and throttling: not yet supported",
    "PV-040, PV-041": "rebootstrap: not yet supported",
    "PV-052": "InitProducerId errors: drawn scenarios with `answer`",
    "PV-059, PV-061, PV-065, PV-067 to PV-070, PV-077, PV-086, PV-088 to PV-095": "epoch exhaustion and rarer orders of answers: with the complete producer",
    "PV-082": "unsupported versions: not yet supported",
}
