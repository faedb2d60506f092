"""A batch: how many records fit, what they take, and when each of them was offered."""

from __future__ import annotations

import pytest

from ksim_models.batch import BATCH_OVERHEAD, Batch, record_bytes, room_in, upper_bound_bytes, varint_bytes


@pytest.mark.parametrize(("value", "length"), [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3), (1_048_575, 3), (1_048_576, 4)])
def test_varints_are_zig_zag(value: int, length: int) -> None:
    """A13: the bytes of message format v2."""
    assert varint_bytes(value) == length


def test_the_first_record_always_fits_and_an_upper_bound_makes_room_for_it() -> None:
    """A12, A7."""
    size = 5000
    batch = Batch(1, "t-0", upper_bound_bytes(size), 0)

    assert batch.room_for(size)[0] >= 1
    assert BATCH_OVERHEAD + record_bytes(size, 0) <= upper_bound_bytes(size)
    assert room_in(1, 0, 0, size)[0] == 1


def test_the_upper_bound_of_a_record_counts_the_byte_that_says_that_there_are_no_headers() -> None:
    """A7: DefaultRecord.sizeOf: 61 + 21, no key, two bytes for the length of the value, the value, no headers."""
    assert upper_bound_bytes(100) == 61 + 21 + 1 + 2 + 100 + 1


@pytest.mark.parametrize("size", [1, 50, 100, 900])
def test_room_is_what_one_record_after_another_would_find(size: int) -> None:
    """A12: `writeLimit >= written + this record`, over the steps where offset deltas take another byte."""
    capacity, used, fits = 16_384, BATCH_OVERHEAD, 0
    while not fits or used + record_bytes(size, fits) <= capacity:
        used, fits = used + record_bytes(size, fits), fits + 1

    assert room_in(capacity, BATCH_OVERHEAD, 0, size) == (fits, capacity - used)


def test_a_batch_is_full_when_closed_or_when_its_bytes_reach_its_capacity() -> None:
    """A13."""
    batch, empty = (Batch(1, "t-0", BATCH_OVERHEAD + record_bytes(10, 0), 0) for _ in range(2))
    batch.add(0, 1, 10)
    assert (batch.is_full, empty.is_full) == (True, False)

    closed = Batch(2, "t-0", 1000, 0)
    closed.closed = True
    assert closed.is_full


def test_records_that_do_not_follow_each_other_keep_their_numbers() -> None:
    batch = Batch(1, "t-0", 1000, 0)
    for number in (4, 5, 9):
        batch.add(number, 1, 10)

    assert tuple(batch.records) == (4, 5, 9)
    assert batch.count == 3


@pytest.mark.parametrize(
    ("offers", "told"),
    [
        ([(10, 5, 4)], (10, 5, None)),
        ([(10, 0, 1), (15, 0, 1), (20, 0, 1)], (10, 5, None)),
        ([(10, 0, 1), (15, 5, 3)], (10, 5, None)),
        ([(10, 5, 3), (26, 0, 1)], (10, 5, [10, 15, 20, 26])),
    ],
    ids=["a range", "one by one", "one, then a range", "an uneven one"],
)
def test_the_moments_of_offering_are_kept_however_they_came(offers: list[tuple[int, int, int]], told: tuple[int, int, list[int] | None]) -> None:
    batch = Batch(1, "t-0", 1000, 0)
    for at, step, count in offers:
        batch.offered(at, step, count)
        batch.add(batch.count, count, 10)

    assert (batch.offer_at, batch.offer_step, batch.offer_times) == told
