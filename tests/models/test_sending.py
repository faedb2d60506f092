"""send(): metadata, size, partition, memory; who waits, for how long, and who is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ksim_models.batch import upper_bound_bytes
from ksim_models.facts import Blocked, Offered, Refused
from scripted import Client


def refusals(client: Client) -> list[tuple[int, str, str]]:
    return [(at // 1000, fact.error, fact.message) for at, fact in client.facts if isinstance(fact, Refused)]


def blocked(client: Client) -> list[tuple[int, str]]:
    return [(fact.record, fact.why) for _, fact in client.facts if isinstance(fact, Blocked)]


def unconnected(**config: Any) -> Client:
    client = Client(**config)
    client.refusing = ["b1", "b2"]
    return client


def test_send_waits_for_metadata_and_gives_up_after_max_block_ms() -> None:
    """A3, A4: counted from the call, not from when the thread noticed."""
    client = unconnected(max_block_ms=500, reconnect_backoff_ms=50)
    client.at(7)
    client.send()
    assert blocked(client) == [(0, "metadata")]
    client.at(506)
    assert refusals(client) == []
    client.at(508)

    assert refusals(client) == [(507, "TimeoutException", "Topic t not present in metadata after 500 ms.")]


def test_what_send_waited_for_metadata_is_part_of_what_it_may_wait_for_memory() -> None:
    """A4: one budget of max.block.ms for both."""
    client = unconnected(max_block_ms=500, buffer_memory=400, batch_size=300, delivery_timeout_ms=60_000)
    client.send()
    client.at(300)
    client.refusing = []
    client.at(400)
    assert client.records() == [[0]]
    client.send(1)
    client.at(899)
    assert refusals(client) == []
    client.at(901)

    assert [(at, error) for at, error, _ in refusals(client)] == [(900, "BufferExhaustedException")], "A22"


def test_a_record_whose_partition_does_not_exist_waits_like_one_whose_topic_does_not() -> None:
    """A6, A3."""
    client = Client(max_block_ms=100)
    client.calls[1].partition = 7
    client.send(1)
    client.at(101)

    assert refusals(client)[0][2] == "Partition 7 of topic t with partition count 2 is not present in metadata after 100 ms."


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_request_size": 150}, "the value of the max.request.size configuration."),
        ({"buffer_memory": 150, "batch_size": 100}, "the value of the buffer.memory configuration."),
    ],
    ids=["max.request.size", "buffer.memory"],
)
def test_a_record_too_large_is_refused_by_its_upper_bound(setting: dict[str, Any], message: str) -> None:
    """A7: `upper > limit`, before anything is appended."""
    assert upper_bound_bytes(64) == 150
    fits = Client(**setting)
    fits.calls[0].size = 64
    fits.send()
    fits.at(1)
    refused = Client(**setting)
    refused.calls[0].size = 65
    refused.send()
    refused.at(1)

    assert (fits.records(), refusals(fits)) == ([[0]], [])
    assert refusals(refused)[0][1:] == ("RecordTooLargeException", f"The message is 151 bytes when serialized which is larger than 150, which is {message}")
    assert any(isinstance(fact, Offered) for _, fact in refused.facts), "it was offered: the population counts it"


def test_senders_that_wait_for_memory_get_it_in_the_order_of_their_calls() -> None:
    """A21: fair; A25: while they wait nothing lingers."""
    client = Client(buffer_memory=300, batch_size=300, linger_ms=1000, delivery_timeout_ms=60_000)
    client.send(1)
    client.at(2)
    assert client.records() == [], "it lingers"
    client.send(0)
    assert client.records() == [[0]], "A25: memory pressure cancels linger"
    client.at(5)
    client.send(1)
    assert blocked(client)[-2:] == [(1, "memory"), (2, "memory")]
    client.answer(offset=0)
    assert client.records() == [[0], [1]]
    client.answer(offset=0)
    client.at(1005)

    assert client.records() == [[0], [1], [2]], "nobody waited behind it, so it lingered"


def test_a_batch_is_as_young_as_its_memory() -> None:
    """A16: what send() waited is no part of the delivery time-out."""
    client = Client(buffer_memory=300, batch_size=300, linger_ms=0, request_timeout_ms=3_000, delivery_timeout_ms=4_000)
    client.calls[0].size = 200
    client.send(count=2)
    client.at(2_000)
    client.answer(offset=0)
    assert client.records() == [[0], [1]]
    client.at(5_500)
    assert client.outcomes() == [([0], "acked")]
    client.at(6_000)

    assert client.outcomes() == [([0], "acked"), ([1], "TimeoutException")]


def test_a_new_batch_wakes_the_io_thread_and_a_record_that_joins_one_does_not() -> None:
    """A17, A1: seen in what is asked for when."""
    client = Client(linger_ms=100, delivery_timeout_ms=60_000)
    client.send()
    client.at(50)
    client.send()
    assert (client.producer.accumulator.newest_at, client.producer.sending.threads[0].next) == (0, 2)
    client.at(100)

    assert client.records() == [[0, 1]]


def test_a_small_record_does_not_overtake_a_large_one_that_waits_for_memory() -> None:
    """A21: what is given back is kept for the first, until it is enough."""
    client = Client(buffer_memory=900, batch_size=300, linger_ms=0, delivery_timeout_ms=60_000)
    client.send(0, count=1)
    client.calls[0].size = 200
    client.send(0, count=2)
    assert client.producer.accumulator.free_memory == 0
    client.calls[0].size = 600
    client.send(0)
    client.calls[1].size = 10
    client.send(1)
    assert blocked(client)[-2:] == [(3, "memory"), (4, "memory")]
    client.answer(offset=0)
    assert client.records() == [[0], [1], [2]]
    client.answer(offset=0)
    client.answer(offset=0)

    assert client.records()[3:] == [[3]], "and the small one has its turn when there is memory again"
    client.answer(offset=0)
    assert client.records()[4:] == [[4]]


@pytest.mark.parametrize("kafka", ["3.2", "3.9"])
def test_a_new_batch_switches_the_sticky_partition_before_3_3(kafka: str) -> None:
    """A47 (KIP-480): never to the same one, where there is another; from 3.3 on bytes decide (A46)."""
    client = Client(kafka=kafka, batch_size=250, linger_ms=1000, delivery_timeout_ms=60_000)
    client.calls[0].partition = None
    client.send(0, count=8)
    client.at(2000)
    partitions = [batch.partition for batch in sorted(client.sent, key=lambda batch: batch.records[0])]

    if kafka == "3.2":
        assert all(one != following for one, following in pairwise(partitions))
    else:
        assert partitions[0] == partitions[1]
