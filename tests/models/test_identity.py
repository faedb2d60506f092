"""Who an idempotent producer is to the brokers: which answers to InitProducerId end it, and when it asks again."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import ProducerId
from ksim_models.machine import Closed
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse, ProduceRequest
from scripted import Client


class Asking(Client):
    """Brokers that answer InitProducerId with these errors, one after another, and then with an id; or not at all, where `silent_about_ids`."""

    def __init__(self, *errors: E, silent_about_ids: bool = False, **config: Any) -> None:
        self.errors = list(errors)
        self.asked_at: list[float] = []
        super().__init__(**{"enable_idempotence": True, "reconnect_backoff_ms": 50, "reconnect_backoff_max_ms": 50} | config)
        if silent_about_ids:
            self.holding = (ProduceRequest, InitProducerIdRequest)

    def _carry_out(self, effect: Any) -> Any:
        if isinstance(getattr(effect, "message", None), InitProducerIdRequest):
            self.asked_at.append(self.now / 1_000)
        return super()._carry_out(effect)

    def _answer_at_once(self, message: object) -> object:
        if isinstance(message, InitProducerIdRequest) and self.errors:
            return InitProducerIdResponse(self.errors.pop(0), -1, -1)
        return super()._answer_at_once(message)


AGAIN = "acked"


@pytest.mark.parametrize(
    ("kafka", "error", "outcome"),
    [
        ("3.3.1", E.COORDINATOR_LOAD_IN_PROGRESS, AGAIN),
        ("3.3.1", E.COORDINATOR_NOT_AVAILABLE, AGAIN),
        ("3.3.1", E.NOT_COORDINATOR, AGAIN),
        ("3.3.1", E.CONCURRENT_TRANSACTIONS, AGAIN),
        ("3.3.1", E.REQUEST_TIMED_OUT, "KafkaException"),
        ("3.3.2", E.REQUEST_TIMED_OUT, AGAIN),
        ("4.3", E.COORDINATOR_LOAD_IN_PROGRESS, AGAIN),
        ("4.3", E.UNSUPPORTED_VERSION, "KafkaException"),
        ("4.3", E.PRODUCER_FENCED, "ProducerFencedException"),
        ("4.3", E.INVALID_PRODUCER_EPOCH, "ProducerFencedException"),
        ("3.5", E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "TransactionalIdAuthorizationException"),
        ("3.6", E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "TransactionalIdAuthorizationException"),
    ],
)
def test_i1_what_an_error_of_init_producer_id_makes_of_a_record_that_waits(kafka: str, error: E, outcome: str) -> None:
    """I1, KAFKA-14417: before 3.3.2 only errors of a coordinator were tried again, though there is none without a transactional id."""
    client = Asking(error, kafka=kafka)
    client.send()
    client.at(10)
    if client.requests:
        client.answer(offset=0)

    assert client.outcomes() == [([0], outcome)]


@pytest.mark.parametrize(("kafka", "dies"), [("3.5", True), ("3.6", False)])
def test_i1_who_is_not_authorized_lives_on_from_3_6_and_asks_at_once_when_it_is_needed_again(kafka: str, dies: bool) -> None:
    client = Asking(E.CLUSTER_AUTHORIZATION_FAILED, kafka=kafka, retry_backoff_ms=100, retry_backoff_max_ms=100)
    client.send()
    client.at(1)

    assert client.asked_at == ([0] if dies else [0, 0]), "it is no retry, so nobody sleeps"


@pytest.mark.parametrize(("backoff_ms", "asked_at"), [(0, [0, 0, 0]), (100, [0, 100, 200])])
def test_s1_the_thread_sleeps_retry_backoff_ms_before_it_asks_again(backoff_ms: int, asked_at: list[float]) -> None:
    """Sender.maybeSendAndPollTransactionalRequest: time.sleep(nextRequestHandler.retryBackoffMs())."""
    client = Asking(E.COORDINATOR_LOAD_IN_PROGRESS, E.COORDINATOR_LOAD_IN_PROGRESS, retry_backoff_ms=backoff_ms, retry_backoff_max_ms=1_000)
    client.send()
    client.at(1_000)

    assert client.asked_at == asked_at
    assert client.records() == [[0]]


def test_s1_a_request_that_is_lost_is_sent_again_after_the_reconnect_backoff_and_a_sleep() -> None:
    client = Asking(silent_about_ids=True, retry_backoff_ms=100, retry_backoff_max_ms=100)
    client.brokers = ("b1",)
    client.at(10)
    client._handle(Closed(next(connection for connection, request in client.pending if isinstance(request, InitProducerIdRequest))))
    client.at(1_000)

    assert client.asked_at[0] == 0
    assert client.asked_at[1:] == [110], "another bootstrap server is ready at once; the sleep is before the request"


def test_s1_a_node_lost_before_it_was_asked_makes_the_thread_sleep_before_it_looks_for_another_one() -> None:
    client = Asking(retry_backoff_ms=100, retry_backoff_max_ms=100)
    client.refusing = ["b1", "b2"]
    client.at(10)
    client.refusing = []
    client.at(1_000)

    assert client.asked_at == [200], "once before it connects again, once before it sends what is a retry now"


def test_a_lost_connection_to_anyone_else_changes_nothing() -> None:
    client = Asking(silent_about_ids=True, retry_backoff_ms=100, retry_backoff_max_ms=100)
    client.send()
    client.at(10)
    identity = client.producer.identity
    assert identity is not None
    identity.lost("nobody", client.now)
    client.at(100)

    assert client.asked_at == [0]


def test_i12_an_id_and_each_new_epoch_are_told() -> None:
    client = Asking()
    client.send()
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)

    told = [(fact.producer_id, fact.producer_epoch, fact.why) for _, fact in client.facts if isinstance(fact, ProducerId)]
    assert told == [(343434, 0, "InitProducerId"), (343434, 1, "epoch bump")]
