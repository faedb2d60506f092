"""librdkafka's producer: what leaves when, what comes back, and who hears what (section 7 of the client's rule book)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Disconnected, Learned, ProducerId, Refused, Retried, Sent
from ksim_models.librdkafka_errors import action_of, name_of
from ksim_models.machine import Closed, Crashed, Resumed
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse, MetadataResponse, TopicMetadata
from ksim_models.units import ms
from scripted import Librdkafka


def facts(client: Librdkafka, *kinds: type) -> list[Any]:
    return [fact for _, fact in client.facts if isinstance(fact, kinds)]


def idempotent(**config: Any) -> Librdkafka:
    """With its producer id, which it asks for half a second after it was made."""
    client = Librdkafka(enable_idempotence=True, max_in_flight_requests_per_connection=5, **config)
    client.at(501)
    return client


# Batches.


def test_linger_counts_from_the_first_message_and_what_came_meanwhile_goes_along() -> None:
    client = Librdkafka(linger_ms=5)
    client.send()
    client.at(3)
    client.send()
    client.at(4.9)
    assert client.records() == []
    client.at(5)

    assert client.records() == [[0, 1]]


def test_a_linger_of_half_a_millisecond_is_half_a_millisecond() -> None:
    client = Librdkafka(linger_ms=0.5)
    client.at(100)
    client.send()
    client.at(100.499)
    assert client.records() == []
    client.at(100.5)

    assert client.records() == [[0]]


def test_a_batch_is_cut_at_batch_num_messages_before_its_linger_is_over_and_the_rest_lingers_on() -> None:
    client = Librdkafka(linger_ms=50, batch_num_messages=3)
    client.send(count=4)

    assert client.records() == [[0, 1, 2]]
    client.at(50)

    assert client.records() == [[0, 1, 2], [3]]


def test_batch_size_bounds_the_bytes_of_a_batch_and_one_message_always_fits() -> None:
    client = Librdkafka(batch_size=1)
    client.send(count=2)

    assert client.records() == [[0], [1]]


def test_a_request_carries_one_partition() -> None:
    client = Librdkafka(linger_ms=5)
    client.send(0)
    client.send(1)
    client.at(5)

    assert [[batch.partition for batch in request.batches] for _, request in client.requests] == [["t-0"], ["t-1"]]


def test_a_request_that_waits_for_room_is_made_already_and_what_comes_meanwhile_makes_the_next_batch_larger() -> None:
    """queue.buffering.backpressure.threshold."""
    client = Librdkafka(max_in_flight_requests_per_connection=1)
    for _ in range(4):
        client.send()
        client.at(client.now / 1000 + 1)
    assert client.records() == [[0]]
    client.answer(offset=0)
    client.answer(offset=1)

    assert client.records() == [[0], [1], [2, 3]]


def test_a_higher_threshold_makes_more_requests_ahead() -> None:
    client = Librdkafka(max_in_flight_requests_per_connection=1, queue_buffering_backpressure_threshold=2)
    for _ in range(4):
        client.send()
        client.at(client.now / 1000 + 1)
    for offset in range(3):
        client.answer(offset=offset)

    assert client.records() == [[0], [1], [2], [3]]


# produce().


def test_produce_never_blocks_what_does_not_fit_is_refused() -> None:
    client = Librdkafka(queue_buffering_max_messages=2)
    client.send(count=3)

    assert [(list(fact.records), fact.error) for fact in facts(client, Refused)] == [([2], "_QUEUE_FULL")]
    client.answer(offset=0)
    client.send()

    assert client.records()[-1] == [3], "what was answered has made room"


def test_messages_in_flight_count_against_the_queue_until_their_delivery_report() -> None:
    client = Librdkafka(queue_buffering_max_kbytes=1)
    client.calls[0].size = 600
    client.send()
    client.send()

    assert [list(fact.records) for fact in facts(client, Refused)] == [[1]]


def test_a_message_above_message_max_bytes_is_refused_at_once() -> None:
    client = Librdkafka(message_max_bytes=1000)
    client.calls[0].size = 1000
    client.send()

    assert [fact.error for fact in facts(client, Refused)] == ["MSG_SIZE_TOO_LARGE"]


def test_a_message_for_a_topic_that_is_not_known_yet_waits_for_it_without_a_partition() -> None:
    client = Librdkafka()
    client.producer.sending.topics["t"].partitions = []
    client.producer.metadata.topics.clear()
    client.send()
    waited = list(client.producer.sending.unassigned)
    client.at(1_000)

    assert [message.id for message in waited] == [1], "it had none while it waited, and got the first of its partition"
    assert client.records() == [[0]]


def test_a_topic_that_nobody_knows_for_30_seconds_fails_its_messages_and_refuses_more() -> None:
    """topic.metadata.propagation.max.ms."""
    client = Librdkafka()
    client.producer.sending.topics["t"].partitions = []
    client.producer.metadata.topics.clear()
    client._answer_at_once = unknown_topic(client)  # type: ignore[method-assign]
    client.send()
    client.at(29_900)
    assert client.outcomes() == []
    client.at(31_100)
    client.send()

    assert client.outcomes() == [([0], "UNKNOWN_TOPIC_OR_PART")], "who waited hears what the brokers said (measured)"
    assert [fact.error for fact in facts(client, Refused)] == ["_UNKNOWN_TOPIC"]


def unknown_topic(client: Librdkafka) -> Any:
    answer = client._answer_at_once
    nobody = MetadataResponse(("b1", "b2"), (TopicMetadata("t", E.UNKNOWN_TOPIC_OR_PARTITION, ()),))
    return lambda message: nobody if type(message).__name__ == "MetadataRequest" else answer(message)


# What comes back (L4).


def test_a_lost_connection_repeats_all_that_was_in_flight_in_order() -> None:
    """L4; Java would repeat it in reverse."""
    client = Librdkafka(batch_num_messages=1)
    client.send(count=3)
    client.disconnect()
    client.at(150)

    assert client.records() == [[0], [1], [2]] * 2


def test_messages_are_batched_anew_when_they_are_sent_again() -> None:
    """Without sequence numbers what was sent together need not stay together."""
    client = Librdkafka()
    client.send()
    client.send()
    client.disconnect()
    client.at(150)

    assert client.records() == [[0], [1], [0, 1]]


def test_nothing_behind_a_message_overtakes_it_while_it_backs_off() -> None:
    client = Librdkafka()
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.send()
    client.at(99)
    assert client.records() == [[0]]
    client.at(101)

    assert client.records() == [[0], [0, 1]]


def test_the_request_that_was_made_already_overtakes_the_one_that_was_refused() -> None:
    """Section 3.6: with one in flight too, where Java keeps the order."""
    client = Librdkafka(max_in_flight_requests_per_connection=1)
    client.send()
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)

    assert client.records() == [[0], [1]]


def test_the_backoff_doubles_up_to_its_maximum() -> None:
    client = Librdkafka(retry_backoff_max_ms=300)
    client.send()
    for _ in range(4):
        client.answer(E.NOT_ENOUGH_REPLICAS)
        client.at(client.now / 1000 + 400)

    assert [fact.backoff_us for fact in facts(client, Retried)] == [ms(100), ms(200), ms(300), ms(300)]


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (E.NOT_ENOUGH_REPLICAS, True),
        (E.REQUEST_TIMED_OUT, True),
        (E.KAFKA_STORAGE_ERROR, True),
        (E.NOT_LEADER_OR_FOLLOWER, False),
        (E.UNKNOWN_TOPIC_OR_PARTITION, False),
        (E.LEADER_NOT_AVAILABLE, False),
    ],
)
def test_whether_a_retry_counts_depends_on_whether_the_message_may_have_been_written(error: E, counts: bool) -> None:
    """7.2."""
    client = Librdkafka(retries=1)
    client.send()
    client.answer(error)
    client.at(client.now / 1000 + 250)
    client.answer(error)

    assert client.outcomes() == ([([0], name_of(error))] if counts else [])


def test_a_lost_connection_counts_as_a_retry() -> None:
    client = Librdkafka(retries=0)
    client.send()
    client.disconnect()

    assert client.outcomes() == [([0], "_TRANSPORT")]


@pytest.mark.parametrize("error", [E.FENCED_LEADER_EPOCH, E.UNKNOWN_TOPIC_ID, E.THROTTLING_QUOTA_EXCEEDED, E.UNKNOWN_SERVER_ERROR, E.MESSAGE_TOO_LARGE])
def test_what_librdkafka_does_not_know_is_permanent(error: E) -> None:
    """L12: some of them Java would retry."""
    client = Librdkafka()
    client.send()
    client.answer(error)

    assert client.outcomes() == [([0], name_of(error))]


def test_broker_not_available_is_tried_again() -> None:
    """L12: Java gives up."""
    assert action_of("BROKER_NOT_AVAILABLE") is action_of("NOT_LEADER_FOR_PARTITION")


# Time.


def test_message_timeout_counts_from_produce_and_is_noticed_at_the_next_full_second_of_the_connection() -> None:
    """S6: 4 s became 4.0 to 4.6 s, 8 s became 8.15 to 8.98 s."""
    client = Librdkafka(delivery_timeout_ms=4_000)
    client.at(300)
    client.send()  # Connected at 300: looked at at 1300, 2300 ...
    client.at(350)
    client.send()
    for _ in range(6):
        for _ in list(client.requests):
            client.answer(E.NOT_ENOUGH_REPLICAS)
        client.at(client.now / 1000 + 650)
    client.at(4_299)
    assert client.outcomes() == []
    client.at(4_300)
    assert client.outcomes() == [([0], "_MSG_TIMED_OUT")]
    client.at(5_300)

    assert client.outcomes() == [([0], "_MSG_TIMED_OUT"), ([1], "_MSG_TIMED_OUT")]


def test_without_a_leader_a_message_times_out_to_the_moment() -> None:
    client = Librdkafka(delivery_timeout_ms=1_500)
    client.leaders["t-0"] = ("", 101)
    client.send(1)
    client.answer(E.NOT_LEADER_OR_FOLLOWER)
    client.at(150)
    client.send(0)
    client.at(1_649)
    assert client.outcomes() == []
    client.at(1_650)

    assert client.outcomes() == [([1], "_MSG_TIMED_OUT")]


def test_a_request_times_out_with_its_first_message_and_takes_its_connection_with_it() -> None:
    """L2: socket.max.fails = 1; the message was on the way, and is reported as failed."""
    client = Librdkafka(delivery_timeout_ms=1_500)
    client.send()
    client.at(2_000)

    assert client.outcomes() == [([0], "_MSG_TIMED_OUT")]
    assert [fact.why for fact in facts(client, Disconnected) if fact.requests] == ["request timed out"]


def test_socket_timeout_repeats_every_request_of_the_connection() -> None:
    """S1d."""
    client = Librdkafka(socket_timeout_ms=1_000)
    client.send()
    client.at(500)
    client.send()
    client.at(1_150)

    assert client.records() == [[0], [1], [0, 1]]


def test_with_more_socket_max_fails_the_connection_outlives_a_timeout_and_the_late_answer_is_for_nobody() -> None:
    client = Librdkafka(socket_timeout_ms=1_000, socket_max_fails=2)
    client.send()
    client.at(1_100)
    assert client.records() == [[0], [0]]
    client.answer(offset=0)
    assert client.outcomes() == []
    client.answer(offset=1)

    assert client.outcomes() == [([0], "acked")]


def test_a_request_of_a_message_that_ran_out_of_time_has_100_ms() -> None:
    client = Librdkafka(delivery_timeout_ms=600, retry_backoff_ms=100)
    client.send()
    client.at(550)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(660)
    deadline = client.producer.brokers.threads["b1"].next_deadline

    assert client.records() == [[0], [0]]
    assert deadline == ms(650 + 100)


def test_acks_0_is_success_as_soon_as_it_is_sent() -> None:
    """L11."""
    client = Librdkafka(acks=0)
    client.send()

    assert client.outcomes() == [([0], "acked")]


# Leaders.


def test_when_the_leader_moves_what_waits_goes_to_the_new_one_and_what_is_in_flight_does_not_hold_it_back() -> None:
    client = Librdkafka(batch_num_messages=1)
    client.send(count=2)
    client.leaders["t-0"] = ("b2", 101)
    client.answer(E.NOT_LEADER_OR_FOLLOWER, leader="b2", leader_epoch=101)
    client.at(101)

    assert [(list(fact.records), fact.broker) for fact in facts(client, Sent)] == [([0], "b1"), ([1], "b1"), ([0], "b2")]


def test_the_leader_named_by_a_refusal_is_believed() -> None:
    """KIP-951."""
    client = Librdkafka()
    client.send()
    client.leaders["t-0"] = ("b2", 101)
    client.answer(E.NOT_LEADER_OR_FOLLOWER, leader="b2", leader_epoch=101)
    client.at(150)

    assert [fact.broker for fact in facts(client, Sent)] == ["b1", "b2"]


def test_a_broker_that_metadata_does_not_name_any_more_is_given_up_with_all_that_was_on_the_way() -> None:
    client = Librdkafka()
    client.send()
    client.leaders["t-0"] = ("b2", 101)
    without = MetadataResponse(("b2",), client._answer_at_once(_metadata_request()).topics)  # type: ignore[attr-defined]
    client.producer._on_metadata(without, client.now, [])
    client.at(150)

    assert client.records() == [[0], [0]]
    assert [fact.broker for fact in facts(client, Sent)] == ["b1", "b2"]


def _metadata_request() -> Any:
    from ksim_models.messages import MetadataRequest

    return MetadataRequest(("t",))


def test_older_metadata_is_not_believed() -> None:
    client = Librdkafka()
    client.send()
    client.leaders["t-0"] = ("b2", 99)
    client.disconnect()
    client.at(200)

    assert [fact.leader for fact in facts(client, Learned) if fact.partition == "t-0"] == ["b1"]


def test_a_broken_connection_is_made_again_at_once_and_one_that_fails_after_a_growing_wait() -> None:
    client = Librdkafka()
    client.send()
    client.at(20_000)
    client.refusing = ["b1"]
    client.disconnect()
    client.at(20_000 + 7_000)
    moments = [at - ms(20_000) for at, fact in client.facts if isinstance(fact, Disconnected) and fact.broker == "b1" and at >= ms(20_000)]

    # The attempt doubles the wait, and its failure once more: around 100, 200, then 400, 800, 1600 ...
    assert moments[:2] == [0, 0]
    assert [round((after - before) / 1000) for before, after in itertools.pairwise(moments[1:])][:2] == [225, 900]


# Idempotence (L5 to L8).


def test_nothing_is_sent_without_a_producer_id_which_is_asked_for_after_half_a_second() -> None:
    client = Librdkafka(enable_idempotence=True)
    client.send()
    client.at(499)
    assert client.records() == []
    client.at(500)

    assert client.records() == [[0]]
    assert [fact.why for fact in facts(client, ProducerId)] == ["InitProducerId"]


def test_a_producer_id_that_is_not_given_is_asked_for_again_half_a_second_later() -> None:
    client = Librdkafka(enable_idempotence=True)
    answer = client._answer_at_once
    client._answer_at_once = lambda message: (  # type: ignore[method-assign]
        InitProducerIdResponse(E.COORDINATOR_LOAD_IN_PROGRESS, -1, -1)
        if isinstance(message, InitProducerIdRequest) and client.now < ms(900)
        else answer(message)
    )
    client.at(1_100)

    assert [at for at, fact in client.facts if isinstance(fact, ProducerId)] == [ms(1_000)]


@pytest.mark.parametrize(("messages", "requests"), [(1, 5), (2, 3), (3, 2), (4, 2), (5, 1)])
def test_five_in_flight_are_counted_in_messages(messages: int, requests: int) -> None:
    """Section 7.1, measured."""
    client = idempotent(batch_num_messages=messages)
    client.send(count=30)

    assert len(client.requests) == requests


def test_sequences_are_message_ids_and_survive_a_retry() -> None:
    client = idempotent(batch_num_messages=2)
    client.send(count=4)
    client.disconnect()
    client.at(700)

    assert client.bases() == [(0, 0), (0, 2), (0, 0), (0, 2)]
    assert client.records() == [[0, 1], [2, 3]] * 2


def test_a_batch_is_built_again_as_it_was_even_if_more_could_join() -> None:
    client = idempotent()
    client.send()
    client.send()
    client.disconnect()
    client.at(700)

    assert client.records() == [[0], [1], [0], [1]]


def test_after_an_error_everything_in_flight_is_answered_before_anything_is_sent_again() -> None:
    """L5."""
    client = idempotent(batch_num_messages=1)
    client.send(count=2)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(700)
    assert client.records() == [[0], [1]]
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(900)

    assert client.records() == [[0], [1], [0], [1]]


def test_the_success_of_a_later_batch_says_that_the_earlier_one_was_written_and_it_is_acknowledged_without_an_offset() -> None:
    """S6c, measured: nothing is sent again."""
    client = idempotent(batch_num_messages=1)
    client.send(count=2)
    client.answer(E.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    client.answer(offset=1)
    client.at(2_000)

    assert client.outcomes() == [([0], "acked"), ([1], "acked")]
    assert client.records() == [[0], [1]]


def test_out_of_order_behind_a_refused_batch_raises_the_epoch_and_both_are_sent_again_in_order() -> None:
    client = idempotent(batch_num_messages=1)
    client.send(count=2)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)
    client.at(800)

    assert [(fact.epoch if hasattr(fact, "epoch") else fact.producer_epoch) for fact in facts(client, ProducerId)] == [0, 1]
    assert client.records() == [[0], [1], [0], [1]]
    assert client.bases() == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_out_of_order_on_the_first_in_flight_is_fatal_what_waits_is_purged_and_nothing_more_is_taken() -> None:
    """L5, L7; Java would raise its epoch."""
    client = idempotent(batch_num_messages=1, linger_ms=0)
    client.send(count=7)
    client.answer(E.OUT_OF_ORDER_SEQUENCE_NUMBER)
    client.send()

    assert client.outcomes()[:2] == [([5, 6], "_PURGE_QUEUE"), ([0], "OUT_OF_ORDER_SEQUENCE_NUMBER")]
    assert [(list(fact.records), fact.error) for fact in facts(client, Refused)] == [([7], "_FATAL")]


def test_a_duplicate_is_success() -> None:
    client = idempotent()
    client.send()
    client.answer(E.DUPLICATE_SEQUENCE_NUMBER)

    assert client.outcomes() == [([0], "acked")]


def test_a_message_that_times_out_leaves_a_gap_and_a_new_epoch() -> None:
    client = idempotent(delivery_timeout_ms=1_000)
    client.send()
    client.answer(offset=0)
    client.at(600)
    client.send()
    client.answer(E.NOT_ENOUGH_REPLICAS)
    for _ in range(3):
        client.at(client.now / 1000 + 350)
        for _ in list(client.requests):
            client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(2_600)
    client.send()

    assert client.outcomes() == [([0], "acked"), ([1], "_MSG_TIMED_OUT")]
    assert client.bases()[-1] == (1, 0)


def test_a_permanent_failure_raises_the_epoch_or_ends_the_producer_where_gaps_are_not_allowed() -> None:
    """L6."""
    plain, gapless = idempotent(), idempotent(enable_gapless_guarantee=True)
    for client in (plain, gapless):
        client.send()
        client.answer(E.MESSAGE_TOO_LARGE)
        client.send()

    assert plain.bases() == [(0, 0), (1, 0)]
    assert [fact.error for fact in facts(gapless, Refused)] == ["_FATAL"]


def test_a_new_leader_gets_nothing_before_the_old_one_has_answered() -> None:
    """L5."""
    client = idempotent(batch_num_messages=1)
    client.send(count=2)
    client.leaders["t-0"] = ("b2", 101)
    client.answer(E.NOT_LEADER_OR_FOLLOWER, leader="b2", leader_epoch=101)
    client.at(800)
    assert client.records() == [[0], [1]]
    client.answer(E.NOT_LEADER_OR_FOLLOWER)
    client.at(1_000)

    assert client.records() == [[0], [1], [0], [1]]


# The process.


def test_a_frozen_client_looks_at_the_clock_when_it_goes_on() -> None:
    client = Librdkafka(delivery_timeout_ms=2_000)
    client.send()
    client.now = ms(5_000)
    client._handle(Resumed())

    assert client.outcomes() == [([0], "_MSG_TIMED_OUT")]


def test_a_crashed_client_says_nothing_more() -> None:
    client = Librdkafka()
    client.send()
    connection = client.requests[0][0]
    client._handle(Crashed())
    before = len(client.facts)
    client._handle(Closed(connection))

    assert (client.producer.wake_at, client.producer.is_done, len(client.facts)) == (None, True, before)
