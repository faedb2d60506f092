"""What a batch is expected to take compressed, what it takes in the end, and how the one learns from the other."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.batch import BATCH_OVERHEAD, Batch, record_bytes, room_in
from ksim_models.compression import RatioEstimates, compressed_bytes, expected_bytes
from scripted import Client, Librdkafka


def test_the_estimate_believes_bad_news_at_once_and_good_news_slowly() -> None:
    """A14: at least 0.05 up, at most 0.005 down, never past what was seen."""
    ratios = RatioEstimates("lz4")
    seen = []
    for observed in (400_000, 998_000, 400_000, 1_200_000, 1_198_000):
        ratios.observed("t", observed)
        seen.append(ratios.of("t"))

    assert seen == [995_000, 1_045_000, 1_040_000, 1_200_000, 1_198_000]
    assert ratios.of("another") == 1_000_000


def test_a_refused_batch_takes_all_hope() -> None:
    """A43: max(1, what was seen)."""
    ratios = RatioEstimates("gzip")
    ratios.observed("t", 300_000)
    ratios.refused("t", 300_000)
    assert ratios.of("t") == 1_000_000
    ratios.refused("t", 1_100_000)

    assert ratios.of("t") == 1_100_000
    assert RatioEstimates("none").of("t") == 0


@pytest.mark.parametrize(("raw", "estimate", "expected"), [(10_000, 1_000_000, 10_500), (10_000, 400_000, 4_200), (1_001, 333_333, 350)])
def test_five_per_cent_more_than_the_estimate_are_expected(raw: int, estimate: int, expected: int) -> None:
    """A13."""
    assert expected_bytes(raw, estimate) == expected


@pytest.mark.parametrize("estimate", [100_000, 300_000, 999_999, 1_000_000, 1_300_000])
@pytest.mark.parametrize("size", [1, 50, 100, 900])
def test_room_is_what_one_record_after_another_would_find(size: int, estimate: int) -> None:
    """A12, A13: each record must fit as if it were not compressed, behind the expected size of the others."""
    one_by_one = Batch(1, "t-0", 16_384, 0, estimate)
    one_by_one.add(0, 1, size)
    while not one_by_one.is_full and one_by_one.estimated_bytes + record_bytes(size, one_by_one.count) <= one_by_one.capacity:
        one_by_one.add(one_by_one.count, 1, size)
    fits, left = room_in(16_384, BATCH_OVERHEAD, 0, size, estimate)

    assert (fits, left) == (one_by_one.count, max(0, 16_384 - one_by_one.estimated_bytes))
    assert one_by_one.room_for(size)[0] == 0


@pytest.mark.parametrize(("draw", "packed"), [(0.0, 300), (0.5, 400), (0.999_999, 499)])
def test_the_ratio_of_a_batch_is_drawn_between_its_bounds(draw: float, packed: int) -> None:
    assert compressed_bytes(1_000 * 400_000, 1_000 * 100_000, draw) == packed


def test_a_batch_is_compressed_when_it_is_drained_and_keeps_that_size() -> None:
    """A14, A35: the estimate moves with each closing, a retry's too."""
    client = Client(linger_ms=10, delivery_timeout_ms=60_000, compression_type="snappy", retries=5)
    client.calls[0].compression_ratio = 250_000
    client.send(count=10)
    client.at(10)
    raw = sum(record_bytes(100, delta) for delta in range(10))
    client.disconnect()
    client.at(1_000)

    assert [batch.size_bytes for batch in client.sent] == [BATCH_OVERHEAD + raw // 4] * 2
    assert client.producer.accumulator.ratios.of("t") == 990_000


def test_batches_grow_as_the_estimate_falls() -> None:
    """A13, A14: until one batch is a little larger than expected, whatever the margin; then the estimate jumps by 0.05."""
    client = Client(linger_ms=10, delivery_timeout_ms=60_000, compression_type="zstd")
    client.calls[0].compression_ratio = 200_000
    counts, estimates = [], []
    for _ in range(60):
        before = len(client.sent)
        client.send(count=1_000)
        client.at(client.now / 1_000 + 10)
        while client.requests:
            client.answer(offset=0)
        counts.append(len(client.sent[before].records))
        estimates.append(client.producer.accumulator.ratios.of("t"))

    assert (counts[0], max(counts)) == (141, 703)
    assert (min(estimates) < 200_000, max(estimates[50:]) >= 240_000) == (True, True)
    assert all(batch.size_bytes <= 16_384 for batch in client.sent)


def test_the_batches_of_librdkafka_are_cut_by_their_uncompressed_size() -> None:
    """rd_kafka_msgset_create_ProduceRequest: and what would grow is sent as it is."""
    found = {}
    for ratio in (250_000, 1_500_000):
        client = Librdkafka(compression_type="lz4", batch_size=1_000, linger_ms=5)
        client.calls[0].compression_ratio = ratio
        client.send(count=20)
        client.at(10)
        found[ratio] = [(len(batch.records), batch.size_bytes) for batch in client.sent]
    plain: Any = Librdkafka(batch_size=1_000, linger_ms=5)
    plain.send(count=20)
    plain.at(10)
    sent = [(len(batch.records), batch.size_bytes) for batch in plain.sent]

    assert found[1_500_000] == sent
    assert found[250_000] == [(count, BATCH_OVERHEAD + (size - BATCH_OVERHEAD) // 4) for count, size in sent]


def test_what_was_expected_leaves_the_estimate_alone_and_every_change_is_counted() -> None:
    """A14: neither `r > est` nor `r < est`. What was foreseen of batches is void once the estimate has changed."""
    ratios = RatioEstimates("lz4")
    told = []
    for observed in (1_000_000, 400_000, 995_000, 996_000):
        ratios.observed("t", observed)
        told.append((ratios.of("t"), ratios.changes))

    assert told == [(1_000_000, 0), (995_000, 1), (995_000, 1), (1_045_000, 2)]


def test_what_is_compressed_takes_a_byte_at_least_and_never_more_than_its_bounds() -> None:
    assert compressed_bytes(0, 0, 0.5) == 1
    assert compressed_bytes(499_999_998, 1, 0.999_999) == 499, "at most mean + spread"
