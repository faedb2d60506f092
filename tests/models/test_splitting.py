"""A batch too large for the broker: what its parts are, what they keep of the whole, and where the cutting ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.accumulator import Accumulator
from ksim_models.batch import BATCH_OVERHEAD, record_bytes, upper_bound_bytes
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Acked, Failed, Split
from ksim_models.profiles import client_profile
from ksim_models.splitting import split
from ksim_models.units import ms
from scripted import Client, Half

LARGE = ErrorCode.MESSAGE_TOO_LARGE


def client_with(*sizes: int, kafka: str = "4.3", **config: Any) -> Client:
    """All of them in one batch, sent and not answered."""
    client = Client(kafka=kafka, linger_ms=10, delivery_timeout_ms=60_000, **config)
    for size in sizes:
        client.calls[0].size = size
        client.send()
    client.at(10)
    assert client.records() == [list(range(len(sizes)))]
    return client


def splits(client: Client) -> list[tuple[int, ...]]:
    return [fact.counts for _, fact in client.facts if isinstance(fact, Split)]


def test_the_parts_go_at_once_in_order_and_cost_no_attempt() -> None:
    """A43, A44: with retries = 0, and without waiting for linger or a backoff. The estimate is 1 then, so 5 % less than batch.size fits."""
    client = Client(retries=0, batch_size=1_024, linger_ms=10, delivery_timeout_ms=60_000, compression_type="lz4")
    client.producer.accumulator.ratios.by_topic["t"] = 100_000
    client.calls[0].size = 400
    client.send(count=4)
    client.at(10)
    client.answer(LARGE)

    assert client.records() == [[0, 1, 2, 3], [0, 1], [2, 3]]
    assert client.now == 10_000
    for _ in range(2):
        client.answer(offset=0)
    assert client.outcomes() == [([0, 1], "acked"), ([2, 3], "acked")]


def test_a_batch_says_how_large_it_is_without_its_compression() -> None:
    """What a leader with compression.type = uncompressed writes; each part of a batch says it anew."""
    client = Client(batch_size=1_024, linger_ms=10, delivery_timeout_ms=60_000, compression_type="lz4")
    client.producer.accumulator.ratios.by_topic["t"] = 100_000
    client.calls[0].size = 400
    client.send(count=4)
    client.at(10)
    client.answer(LARGE)
    client.send(partition=1)
    plain = client_with(400, 400)

    assert [len(batch.records) * 400 < batch.raw_bytes < len(batch.records) * 450 + 61 for batch in client.sent] == [True] * len(client.sent)
    assert all(batch.size_bytes < batch.raw_bytes for batch in client.sent)
    assert [batch.raw_bytes for batch in plain.sent] == [0]


def test_a_single_record_that_is_too_large_fails() -> None:
    """A45."""
    client = client_with(400)
    client.answer(LARGE)

    assert (client.outcomes(), splits(client)) == ([([0], "RecordTooLargeException")], [])


def test_a_batch_that_has_its_outcome_is_not_split() -> None:
    """A43: PV-008. It expired, and the answer came later."""
    client = Client(request_timeout_ms=5_000, delivery_timeout_ms=1_500)
    client.send(count=2)
    client.at(1_500)
    assert client.outcomes() == [([0, 1], "TimeoutException")]
    client.answer(LARGE)
    client.at(3_000)

    assert (client.records(), splits(client), client.producer.accumulator.free_memory) == ([[0, 1]], [], 33_554_432)


def test_pv_008_the_answer_that_comes_with_the_expiry_does_not_split() -> None:
    client = Client(request_timeout_ms=5_000, delivery_timeout_ms=1_500)
    client.send(count=2)
    client.at(1_600)
    client.answer(LARGE)

    assert client.records() == [[0, 1]]


@pytest.mark.parametrize(
    ("kafka", "parts"),
    [
        pytest.param("4.1", [(5,), (5,), (5,)], id="A45 up to 4.1 a batch that fits batch.size comes out as it was"),
        pytest.param("4.3", [(5,), (2, 2, 1), (1, 1)], id="A43 since 4.2 the parts of a part are halves"),
    ],
)
def test_a_part_that_is_still_too_large(kafka: str, parts: list[tuple[int, ...]]) -> None:
    """KAFKA-8350."""
    client = client_with(*[3_000] * 5, kafka=kafka, compression_type="none")
    for _ in range(3):
        client.answer(LARGE)

    assert splits(client) == parts


def test_two_tiny_records_come_out_as_they_were_although_they_are_to_be_halved() -> None:
    """A45: the largest record is reckoned with the header that it would have alone, and into that both fit."""
    client = client_with(1, 1)
    for _ in range(4):
        client.answer(LARGE)

    assert splits(client) == [(2,)] * 4


def test_the_cutting_of_what_never_fits_ends_with_the_delivery_timeout() -> None:
    """A45: without an attempt, without a backoff. Java may run out of stack before."""
    client = client_with(*[3_000] * 5, kafka="4.1", request_timeout_ms=300)
    rounds = 0
    while client.requests:
        client.at(client.now / 1_000 + 100)
        client.answer(LARGE)
        rounds += 1

    assert client.outcomes() == [([0, 1, 2, 3, 4], "TimeoutException")]
    assert 590 < rounds < 610


def test_the_parts_are_as_old_as_the_whole() -> None:
    """A44."""
    client = Client(linger_ms=0, request_timeout_ms=20_000, delivery_timeout_ms=30_000, enable_idempotence=True)
    client.calls[0].size = 3_000
    client.send(count=5)
    client.at(15_000)
    client.answer(LARGE)
    client.at(29_999)
    assert client.outcomes() == []
    client.at(30_001)

    assert [error for _, error in client.outcomes()] == ["TimeoutException"]


def test_parts_stand_before_what_was_sent_after_the_whole() -> None:
    """A43, A42: by sequence; the second batch was refused for the gap, and goes last."""
    client = Client(enable_idempotence=True, batch_size=4_500, delivery_timeout_ms=120_000, compression_type="zstd")
    client.producer.accumulator.ratios.by_topic["t"] = 400_000
    client.calls[0].size = 3_000
    client.send(count=2)
    client.send(count=1)
    client.answer(LARGE)
    client.answer(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    for _ in range(3):
        client.answer(offset=0)

    assert client.bases() == [(0, 0), (0, 2), (0, 0), (0, 1), (0, 2)]
    assert client.records()[2:] == [[0], [1], [2]]
    assert client.numbers().in_flight == []


def test_a_thread_that_waits_for_its_sends_waits_for_the_parts() -> None:
    """A43: the futures of the records are those of the parts."""
    client = Client(linger_ms=10, batch_size=1_024, delivery_timeout_ms=60_000, compression_type="gzip")
    client.producer.accumulator.ratios.by_topic["t"] = 100_000
    client.calls[0].size, client.calls[0].window, client.producer.sending.threads[0].steady = 400, 4, False
    client.send(count=4)
    client.at(10)
    client.answer(LARGE)
    thread = client.producer.sending.threads[0]
    outstanding = [thread.outstanding]
    for _ in range(2):
        client.answer(offset=0)
        outstanding.append(thread.outstanding)

    assert outstanding == [4, 2, 0]
    assert [type(fact) for _, fact in client.facts if isinstance(fact, (Acked, Failed))] == [Acked, Acked]


def test_parts_of_unequal_records_are_filled_one_after_another() -> None:
    """A43: in order, and the largest may be alone in a batch larger than batch.size."""
    client = client_with(900, 100, 500, 300, 200, batch_size=2_200)
    client.producer.accumulator.batch_size = 700
    client.answer(LARGE)

    assert splits(client) == [(1, 2, 2)]
    assert client.producer.accumulator.free_memory == client.producer.accumulator.total_memory


def test_the_parts_are_new_batches_that_compress_as_the_whole_and_expect_what_was_seen() -> None:
    """A43: the estimate is max(1, the ratio that was seen), of their topic; each part has its share of what the whole took. Told with the whole's records."""
    settings = replace(ProducerConfig(), batch_size=2_500, compression_type="gzip")
    queues = Accumulator("p1", settings, client_profile("4.3"), Half())
    whole = queues.new_batch("my-topic-0", upper_bound_bytes(1_000), 7)
    assert whole is not None
    for number in range(4):
        whole.add(number, 1, 1_000)
    raw = whole.size_bytes - BATCH_OVERHEAD
    assert raw == 4 * record_bytes(1_000, 0)
    whole.compresses(raw, 1_200_000, 40_000)
    queues.new_batch("my-topic-1", 100, 8)
    queues.queues["my-topic-0"].clear()
    whole.pack(0.5)
    whole.ratio = 1_200_000

    told = split(whole, queues, None)
    parts = list(queues.queues["my-topic-0"])

    assert told == Split("p1", "my-topic-0", range(4), (2, 2))
    assert [(part.number, part.content, part.created_at, part.estimate, part.held) for part in parts] == [(3, 1, 7, 1_200_000, 0), (4, 1, 7, 1_200_000, 0)]
    assert [(part.packed_mean, part.packed_spread) for part in parts] == [(raw // 2 * 1_200_000, raw // 2 * 40_000)] * 2
    assert all(part.closed and part.is_full for part in parts), "A44: so they go at once"
    assert (queues.batches_made, queues.ratios.of("my-topic"), queues.memory_taken) == (4, 1_200_000, 5_000)


def test_every_record_of_a_part_keeps_its_time_stamp() -> None:
    """The log goes by it: retention and the forgetting of producers look at the newest of a batch."""
    client = Client(retries=0, batch_size=1_024, linger_ms=10, delivery_timeout_ms=60_000, compression_type="lz4")
    client.producer.accumulator.ratios.by_topic["t"] = 100_000
    client.calls[0].size = 400
    for at in (0, 2, 4, 6):
        client.at(at)
        client.send()
    client.at(20)
    (whole,) = [batch.max_timestamp for _, request in client.requests for batch in request.batches]
    client.answer(LARGE)
    parts = [batch.max_timestamp for _, request in client.requests for batch in request.batches]

    assert client.records() == [[0, 1, 2, 3], [0, 1], [2, 3]]
    assert (whole, parts) == (ms(6), [ms(2), ms(6)])
