"""One turn of the producer's I/O thread: what leaves when, and who hears what."""

from __future__ import annotations

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Offered, ProducerId, Retried, Sent
from ksim_models.machine import Closed, Crashed, Resumed
from ksim_models.messages import InitProducerIdResponse
from ksim_models.units import ms
from scripted import Client


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
    client = Client(request_timeout_ms=300, delivery_timeout_ms=1000, linger_ms=5, reconnect_backoff_ms=50)
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
