"""One turn of the producer's I/O thread: what leaves when, and who hears what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.arrivals import Arrivals, InTransactions
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Disconnected, Failed, Offered, ProducerId, Refused, Retried, Sent
from ksim_models.machine import Closed, Crashed, Note, Resumed, Wake
from ksim_models.measurements import Drained
from ksim_models.messages import ApiVersionsResponse, InitProducerIdResponse, MetadataResponse
from ksim_models.producer import Producer
from ksim_models.profiles import client_profile
from ksim_models.units import ms
from scripted import PATIENT, Calls, Client, Half
from scripted_transactions import Transactional


def kinds(client: Client, *wanted: type) -> list[tuple[int, object]]:
    return [(at, fact) for at, fact in client.facts if isinstance(fact, wanted)]


def test_a_batch_is_numbered_and_closed_when_it_leaves_and_not_before() -> None:
    """A35, I4: so records may join until then."""
    client = Client(enable_idempotence=True, linger_ms=5, request_timeout_ms=1000, delivery_timeout_ms=5000)
    client.send()
    client.at(4)
    client.send()
    client.at(5)

    assert client.records() == [[0, 1]]
    assert client.bases() == [(0, 0)]


def test_one_in_flight_mutes_the_partition_until_the_answer_even_if_the_batch_expired() -> None:
    """A36: the late answer unmutes, the expiry does not."""
    client = Client(max_in_flight_requests_per_connection=1, request_timeout_ms=5000, delivery_timeout_ms=1000)
    client.send()
    client.at(500)
    client.send()
    client.at(1200)
    assert client.outcomes() == [([0], "TimeoutException")]
    assert client.records() == [[0]]
    client.answer(offset=0)

    assert client.records() == [[0], [1]]


def test_a_batch_that_falls_due_and_expires_in_the_same_turn_is_failed_and_sent_all_the_same() -> None:
    """A38: drained before expiry, sent after it: persisted, yet reported as failed."""
    client = Client(request_timeout_ms=300, delivery_timeout_ms=1000, retry_backoff_ms=700, retry_backoff_max_ms=700)
    client.send()
    client.at(300)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(1000)

    assert client.outcomes() == [([0], "TimeoutException")]
    assert client.records() == [[0], [0]]


def test_a_batch_that_expires_in_the_queue_returns_its_memory() -> None:
    """A40, A23."""
    client = Client(request_timeout_ms=300, delivery_timeout_ms=1000, linger_ms=5, reconnect_backoff_ms=50, metadata_recovery_strategy="none")
    client.send()
    client.at(10)
    client.answer(offset=0)
    client.refusing = ["b1", "b2"]
    client.disconnect()
    for connection in list(client.producer.network.by_connection):
        client._handle(Closed(connection))
    client.send()
    assert client.producer.accumulator.free_memory < client.producer.accumulator.total_memory
    client.at(1011)

    assert client.outcomes()[-1] == ([1], "TimeoutException")
    assert client.producer.accumulator.free_memory == client.producer.accumulator.total_memory


def test_without_a_producer_id_nothing_expires() -> None:
    """A41, S1: the futures hang until a broker gives one."""
    client = Client(enable_idempotence=True, request_timeout_ms=300, delivery_timeout_ms=1000, retry_backoff_ms=100, retry_backoff_max_ms=100)
    answer = client._answer_at_once
    client._answer_at_once = lambda message: (  # type: ignore[method-assign]
        InitProducerIdResponse(E.COORDINATOR_LOAD_IN_PROGRESS, -1, -1) if type(message).__name__ == "InitProducerIdRequest" else answer(message)
    )
    client.send()
    client.at(5000)
    assert (client.records(), client.outcomes()) == ([], [])
    assert client.asked_for_id == 0
    client._answer_at_once = answer  # type: ignore[method-assign]
    client.at(5200)

    assert client.outcomes() == [([0], "TimeoutException")]


def test_the_producer_id_is_told_when_it_is_given_and_when_its_epoch_is_bumped() -> None:
    """I1, I12."""
    client = Client(enable_idempotence=True, request_timeout_ms=1000, delivery_timeout_ms=5000)
    client.send()
    client.answer(E.INVALID_RECORD)
    client.send()

    assert [fact for _, fact in kinds(client, ProducerId)] == [
        ProducerId("p1", 343434, 0, "InitProducerId"),
        ProducerId("p1", 343434, 1, "epoch bump"),
    ]
    assert client.bases() == [(0, 0), (1, 0)]


def test_an_unresolved_partition_is_resolved_at_the_next_turn() -> None:
    """I11, I10: a batch that expired after a retry, with nothing behind it: the next one goes under a new epoch."""
    client = Client(enable_idempotence=True, request_timeout_ms=300, delivery_timeout_ms=1000, retry_backoff_ms=100, retry_backoff_max_ms=100)
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(1001)
    client.send()
    client.at(1400)

    assert client.outcomes() == [([0], "TimeoutException")]
    assert client.sent[-1].producer_epoch == 1


def test_the_late_answer_of_an_expired_batch_changes_no_outcome() -> None:
    """S15."""
    client = Client(request_timeout_ms=5000, delivery_timeout_ms=1000)
    client.send()
    client.at(1000)
    client.answer(offset=3)

    assert client.outcomes() == [([0], "TimeoutException")]
    assert not client.producer.accumulator_holds()


def test_acks_0_is_its_own_outcome_without_an_offset() -> None:
    """S22."""
    client = Client(acks=0)
    client.send()

    assert client.outcomes() == [([0], "acked")]
    assert client.producer.network.nodes["b1"].in_flight == type(client.producer.network.nodes["b1"].in_flight)()


def test_with_acks_0_who_waits_for_each_send_sends_all_that_is_due_in_one_wake() -> None:
    """S22: sending is the outcome, so the alarm has nothing left to ring for."""
    client = Client(acks=0)
    client.calls[0].window = 1
    client.producer.sending.threads[0].steady = False
    client.send()
    client.send(count=3)

    assert client.records() == [[0], [1], [2], [3]]
    assert client.producer.wake_at is None or client.producer.wake_at > client.now


def test_who_waits_for_each_send_calls_again_in_the_moment_in_which_a_batch_expires() -> None:
    """A37: the expiry comes last in a turn, and the alarm that brought it does not ring twice."""
    client = Client(request_timeout_ms=5000, delivery_timeout_ms=1000)
    client.calls[0].window = 1
    client.producer.sending.threads[0].one_by_one = True
    client.producer.sending.threads[0].steady = False
    client.send(count=2)
    client.at(999)

    effects = client.producer.handle(Wake(), ms(1000))

    assert [effect.fact.records for effect in effects if isinstance(effect, Note) and isinstance(effect.fact, Failed)] == [range(1)]
    assert [effect.fact.records for effect in effects if isinstance(effect, Note) and isinstance(effect.fact, Sent)] == [range(1, 2)]
    assert client.producer.wake_at is not None
    assert client.producer.wake_at > ms(1000)


def test_a_delivery_time_out_of_nothing_ends_each_batch_at_once() -> None:
    """A37: and the alarm does not ring again in the same instant."""
    client = Client(request_timeout_ms=1000, delivery_timeout_ms=0)
    client.send()
    assert client.producer.wake_at is None or client.producer.wake_at > client.now
    client.at(1)

    assert client.outcomes() == [([0], "TimeoutException")]


def test_attempts_and_waits_are_told() -> None:
    """S12, A28."""
    client = Client(retry_backoff_ms=100, retry_backoff_max_ms=100, request_timeout_ms=1000, delivery_timeout_ms=5000)
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(100)

    assert [(fact.error, fact.attempt, fact.backoff_us) for _, fact in kinds(client, Retried) if isinstance(fact, Retried)] == [
        ("NOT_ENOUGH_REPLICAS", 1, ms(100))
    ]
    assert [(at, fact.attempt) for at, fact in kinds(client, Sent) if isinstance(fact, Sent)] == [(0, 1), (ms(100), 2)]


def test_a_crash_tells_what_was_offered_and_gives_no_outcome() -> None:
    client = Client(linger_ms=50)
    client.send()
    client._handle(Crashed())
    client.at(10_000)

    assert [fact for _, fact in kinds(client, Offered)] == [Offered("p1", range(1), 0, 0)]
    assert client.outcomes() == []
    assert (client.producer.is_done, client.producer.wake_at) == (True, None)


def test_a_frozen_process_finds_its_requests_timed_out_when_it_goes_on() -> None:
    """N4, A37: what fell due meanwhile happens at once."""
    client = Client(request_timeout_ms=300, delivery_timeout_ms=1000)
    client.send()
    client.now = ms(9000)
    client._handle(Resumed())

    assert client.outcomes() == [([0], "TimeoutException")]


def refused_an_id(kafka: str, error: E) -> Client:
    """Brokers refuse the first InitProducerId with `error`; a record is sent before, another one after."""
    client = Client(kafka=kafka, enable_idempotence=True, request_timeout_ms=300, delivery_timeout_ms=1000)
    answer, refusals = client._answer_at_once, [InitProducerIdResponse(error, -1, -1)]
    client._answer_at_once = lambda message: (  # type: ignore[method-assign]
        refusals.pop() if refusals and type(message).__name__ == "InitProducerIdRequest" else answer(message)
    )
    client.send()
    client.at(10)
    client.send()
    client.at(20)
    return client


@pytest.mark.parametrize(
    ("kafka", "error", "first"),
    [
        pytest.param("4.3", E.UNKNOWN_SERVER_ERROR, "KafkaException", id="I1 an unexpected error has no exception of its own"),
        pytest.param("4.3", E.PRODUCER_FENCED, "ProducerFencedException", id="I1 fenced"),
        pytest.param("3.5", E.CLUSTER_AUTHORIZATION_FAILED, "ClusterAuthorizationException", id="I1 not authorized, before 3.6"),
    ],
)
def test_an_error_about_the_producer_id_is_fatal_and_every_later_send_throws(kafka: str, error: E, first: str) -> None:
    """A8, T3: send() throws a KafkaException, or fails with a ProducerFencedException of its own."""
    client = refused_an_id(kafka, error)

    assert client.outcomes() == [([0], first)]
    assert [(list(fact.records), fact.error) for _, fact in kinds(client, Refused)] == [  # type: ignore[attr-defined]
        ([1], first if error is E.PRODUCER_FENCED else "KafkaException")
    ]
    assert client.sent == []


def test_a_producer_that_is_not_authorized_asks_again_from_3_6_on() -> None:
    """I1, Sender.shouldHandleAuthorizationError: what waits has failed, the producer lives."""
    client = refused_an_id("3.6", E.CLUSTER_AUTHORIZATION_FAILED)

    assert client.outcomes() == [([0], "ClusterAuthorizationException")]
    assert client.records() == [[1]]


def test_before_3_1_1_send_goes_on_after_a_fatal_error_and_the_records_fail_behind_it() -> None:
    """A8: failIfNotReadyForSend was asked by transactional producers only."""
    client = refused_an_id("3.0", E.UNKNOWN_SERVER_ERROR)

    assert client.outcomes() == [([0], "KafkaException"), ([1], "KafkaException")]


@pytest.mark.parametrize(("kafka", "sent"), [("3.9", [(0, 0), (1, 0)]), ("4.0", [(0, 0)])])
def test_a_wrong_producer_id_mapping_is_fatal_from_4_0_on_and_asked_for_a_new_epoch_before(kafka: str, sent: list[tuple[int, int]]) -> None:
    """I14, TransactionManager.maybeTransitionToErrorState."""
    client = Client(kafka=kafka, enable_idempotence=True)
    client.send()
    client.answer(E.INVALID_PRODUCER_ID_MAPPING)
    client.send()

    assert client.bases() == sent


def test_a_batch_that_was_renumbered_on_the_wire_and_sent_again_may_ask_for_the_next_epoch() -> None:
    """I8: it counts as renumbered only until it is drained again (ProducerBatch.close)."""
    client = Client(enable_idempotence=True)
    client.send()
    client.send()
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)
    client.answer(offset=0)
    assert client.bases() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)

    assert client.bases()[4:] == [(2, 0)]


@pytest.mark.parametrize("idempotence", [False, True])
def test_a_client_asks_for_metadata_and_an_id_when_it_is_constructed(idempotence: bool) -> None:
    """S1.4, Metadata.bootstrap: its I/O thread does not wait for a record; the topic is asked for when the first record names it."""
    client = Client(enable_idempotence=idempotence)
    client.at(0)
    assert (client.asked_for_metadata, client.asked_for_id) == (1, int(idempotence))
    client.at(50)
    client.send()

    assert (client.asked_for_metadata, client.asked_for_id, client.records()) == (2, int(idempotence), [[0]])


def test_a_request_time_out_is_noticed_when_a_poll_ends() -> None:
    """N14, as measured with the 4.3.0 client: requests of 0, 1.5 and 3 s with request.timeout.ms = 4000 are all given up 4 s after the last."""
    client = Client(request_timeout_ms=4000, delivery_timeout_ms=20_000, retries=0)
    for moment in (0, 1500, 3000):
        client.at(moment)
        client.send()
    client.at(7000)
    assert client.outcomes() == []
    client.at(7001)

    assert [error for _, error in client.outcomes()] == ["TimeoutException"] * 3


def test_a_new_batch_wakes_the_io_thread_and_a_record_that_joins_one_does_not() -> None:
    """A1, N14."""
    client = Client(request_timeout_ms=1000, delivery_timeout_ms=20_000, retries=0, max_in_flight_requests_per_connection=1)
    client.send()
    for moment in (600, 900):
        client.at(moment)
        client.send()
    client.at(1600)
    assert client.outcomes() == [], "the poll that began at 600 ms, with a new batch, still runs"
    client.at(1601)

    assert client.outcomes() == [([0], "TimeoutException")]


def test_a_new_batch_finds_an_overdue_request_at_once() -> None:
    """A1, N14."""
    client = Client(request_timeout_ms=1000, delivery_timeout_ms=20_000, retries=0, max_in_flight_requests_per_connection=1, batch_size=1)
    for moment in (0, 900):
        client.at(moment)
        client.send()
    client.at(1099)
    assert client.outcomes() == []
    client.at(1100)
    client.send()

    assert client.outcomes() == [([0], "TimeoutException")]


def connecting_to_a_silent_leader(kafka: str) -> Client:
    """Since 100 ms."""
    client = Client(kafka=kafka, request_timeout_ms=1_200, socket_connection_setup_timeout_ms=100, reconnect_backoff_ms=60_000)
    client.leaders["t-0"] = ("b2", 100)
    client.send(partition=1)
    client.answer(offset=0)
    client.silent = ["b2"]
    client.at(100)
    client.send()
    return client


@pytest.mark.parametrize(("kafka", "given_up"), [("3.0.0", [1_301]), ("3.0.1", [201]), ("4.3", [201])])
def test_a_connection_set_up_that_takes_too_long_is_given_up_when_the_poll_ends(kafka: str, given_up: list[float]) -> None:
    """N8, KAFKA-12762: it was noticed when something else ended the poll, after request.timeout.ms at the latest."""
    client = connecting_to_a_silent_leader(kafka)
    client.at(1_350)

    assert [at / 1_000 for at, fact in client.facts if isinstance(fact, Disconnected)] == given_up


@pytest.mark.parametrize("kafka", ["3.0.0", "3.0.1"])
def test_a_new_batch_ends_the_poll_and_the_connection_set_up(kafka: str) -> None:
    """N8, KAFKA-12762: where much is sent, the time-out is noticed a little later, or not at all."""
    client = connecting_to_a_silent_leader(kafka)
    client.at(220)
    client.send(partition=1)

    assert [at / 1_000 for at, fact in client.facts if isinstance(fact, Disconnected)] == [220 if kafka == "3.0.0" else 201]


def confused(kafka: str) -> Client:
    """Record 0 expired in flight after a retry, so record 1 has the same sequence in the next epoch; then the late answer of record 0 comes."""
    client = Client(kafka=kafka, enable_idempotence=True, request_timeout_ms=30_000, delivery_timeout_ms=1_000)
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(1_000)
    client.send(count=1)
    assert (client.records(), client.bases()) == ([[0], [0], [1]], [(0, 0), (0, 0), (1, 0)])
    client.answer(offset=0)
    return client


@pytest.mark.parametrize(
    ("kafka", "outcome"), [("3.0.1", "TimeoutException"), ("3.0.2", "acked"), ("3.1.0", "TimeoutException"), ("3.1.1", "acked"), ("4.3", "acked")]
)
def test_a_late_answer_of_an_old_epoch_takes_no_batch_of_the_new_one_out_of_sight(kafka: str, outcome: str) -> None:
    """KAFKA-13794: where it did, a retry of the new batch ended in an IllegalStateException, and the batch waited for nothing until it expired."""
    client = confused(kafka)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(1_500)
    if outcome == "acked":
        client.answer(offset=1)
    client.at(3_000)

    assert client.requests == []
    assert client.outcomes() == [([0], "TimeoutException"), ([1], outcome)]


def test_a_batch_out_of_sight_can_be_acknowledged_and_split_all_the_same() -> None:
    """KAFKA-13794: only its retry needs it to be known as in flight."""
    client = confused("3.1.0")
    client.answer(offset=1)
    assert client.outcomes()[-1] == ([1], "acked")

    client = confused("3.1.0")
    batch = client.producer.outcomes.in_flight["t-0"][0]
    batch.add(2, 1, 100)
    client.answer(E.MESSAGE_TOO_LARGE)
    client.answer(offset=1)

    assert client.outcomes()[-1] == ([1, 2], "acked")


def test_before_3_0_1_an_idle_connection_too_is_closed_when_the_poll_ends() -> None:
    """N8, N10, KAFKA-12762: a wake that Java's thread does not have closes nothing."""
    client = Client(kafka="3.0.0", request_timeout_ms=1_200, connections_max_idle_ms=100)
    client.send()
    client.answer(offset=0)
    client.at(200)
    client._handle(Wake())
    assert not [fact for _, fact in client.facts if isinstance(fact, Disconnected)]
    client.at(1_201)

    assert [at / 1_000 for at, fact in client.facts if isinstance(fact, Disconnected)][:1] == [1_201]


@pytest.mark.parametrize("kind", [MetadataResponse, ApiVersionsResponse, InitProducerIdResponse])
def test_n11_an_answer_of_any_kind_may_throttle_its_connection(kind: type[Any]) -> None:
    """KIP-219: the client sends nothing over it for so long."""
    client = Client(enable_idempotence=True, request_timeout_ms=300, delivery_timeout_ms=5_000)
    answer = client._answer_at_once

    def throttled(message: object) -> Any:
        response: Any = answer(message)
        return replace(response, throttle_ms=50) if isinstance(response, kind) else response

    client._answer_at_once = throttled  # type: ignore[method-assign]
    client.at(10)
    client.send()
    throttled_until = [node.throttled_until for name, node in client.producer.network.nodes.items() if node.throttled_until > 0]

    assert throttled_until
    assert all(until in (50_000, 60_000) for until in throttled_until)


@pytest.mark.parametrize(("transactional_id", "in_transactions", "has_session"), [("t", True, True), ("t", False, False), (None, False, False)])
def test_an_application_goes_through_transactions_where_its_workload_says_so(transactional_id: str | None, in_transactions: bool, has_session: bool) -> None:
    calls = Calls(0)
    calls.transaction = InTransactions(3) if in_transactions else None
    config = replace(ProducerConfig(), transactional_id=transactional_id or "", enable_idempotence=True)
    producer = Producer("p1", client_profile("4.3"), config, ["b1"], list[Arrivals]([calls]), Half())

    assert (producer.session is not None) is has_session
    assert (producer.transactions is not None) is (transactional_id is not None)


def test_records_are_counted_at_each_attempt() -> None:
    """record-send-total: what is sent again counts again."""
    client = Client()
    assert client.producer.records_sent == 0
    client.send(count=3)
    client.answer(E.NOT_ENOUGH_REPLICAS)

    assert client.producer.records_sent == 6


def test_a_lost_connection_is_told_of_by_the_number_of_its_broker() -> None:
    """S10: Kafka names a node by its id, and says where a time-out was the reason."""
    client = Client(kafka="4.3", request_timeout_ms=300, delivery_timeout_ms=5_000, retries=0)
    client.leaders["t-0"] = ("broker-2", 100)
    client.brokers = ("b1", "broker-2")
    client.send()
    client.disconnect()
    client.send()
    client.at(1_000)

    assert [fact.message for _, fact in client.facts if isinstance(fact, Failed)] == ["Disconnected from node 2", "Disconnected from node 2 due to timeout"]


def test_a_closed_connection_is_told_of() -> None:
    """N5."""
    client = Client(**PATIENT)
    client.send()
    client.disconnect()

    assert [(fact.broker, fact.requests, fact.why) for _, fact in client.facts if isinstance(fact, Disconnected)] == [("b1", 1, "closed by the other side")]


@pytest.mark.parametrize(
    ("kafka", "v2", "whose"),
    [
        pytest.param("3.7", False, ("t", 1, False), id="T42 before 3.8 nobody knew TRANSACTION_ABORTABLE"),
        pytest.param("4.0", False, ("t", 1, True), id="T42 the cluster has transaction.version 1"),
        pytest.param("4.0", True, ("t", 2, True), id="T42 the request itself adds its partition to the transaction"),
    ],
)
def test_a_produce_request_says_whose_transaction_its_batches_are_of(kafka: str, v2: bool, whose: tuple[str, int, bool]) -> None:
    """T42, T43: its version, and with it whether the broker may answer TRANSACTION_ABORTABLE."""
    client = Transactional(kafka=kafka, v2=v2)
    for line in ("start", "send p0", *([] if v2 else ["reply AddPartitions"])):
        client._do(line)
    ((_, request),) = client.requests

    assert (request.transactional_id, request.transaction_version, request.knows_abortable) == whose
    assert [batch.transactional for batch in request.batches] == [True]


@pytest.mark.parametrize(("kafka", "ids"), [("4.0", ()), ("4.1", (("t", 0),))])
def test_a_produce_request_of_no_transaction_says_only_what_its_topics_are(kafka: str, ids: tuple[tuple[str, int], ...]) -> None:
    """BP-16, KIP-516; and how much its records took before they were compressed (A14)."""
    client = Client(kafka=kafka, compression_type="lz4")
    client.send(count=3)
    ((_, request),) = client.requests

    assert (request.topic_ids, request.transactional_id, request.transaction_version, request.knows_abortable) == (ids, "", 1, True)
    assert [(batch.size_bytes, batch.raw_bytes, batch.transactional) for batch in request.batches] == [(224, 388, False)]


def test_n11_an_answer_to_a_produce_request_may_throttle_its_connection() -> None:
    """KIP-219."""
    client = Client(**PATIENT)
    client.send()
    client.answer(offset=0, throttle_ms=50)
    client.send()
    assert client.records() == [[0]]
    client.at(50)

    assert client.records() == [[0], [1]]


def test_what_leaves_is_measured_where_somebody_asks() -> None:
    """Kafka's batch-size and records-per-request sensors: batch and node."""
    client = Client(**PATIENT)
    client.producer.outcomes.measured = True
    client.send(count=2)
    (found,) = [fact for _, fact in client.facts if isinstance(fact, Drained)]

    assert (found.partition, found.node, found.records, found.size_bytes) == ("t-0", "b1", 2, client.sent[0].size_bytes)
