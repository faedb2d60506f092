"""A batch: how many records fit, what they take, and when each of them was offered."""

from __future__ import annotations

import pytest

from ksim_models.batch import BATCH_OVERHEAD, Batch, estimated_bytes, record_bytes, room_in, uneventful, upper_bound_bytes, varint_bytes


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


@pytest.mark.parametrize(
    ("size", "delta", "length"),
    [
        pytest.param(0, 0, 7, id="attributes, two deltas, no key, a length, no headers, and the length of all that"),
        pytest.param(57, 0, 64, id="63 bytes: their length takes one"),
        pytest.param(58, 0, 66, id="64 bytes: their length takes two"),
        pytest.param(63, 0, 71, id="a value of 63 bytes: its length takes one"),
        pytest.param(64, 0, 73, id="a value of 64 bytes: its length takes two"),
        pytest.param(100, 63, 109, id="the 64th record"),
        pytest.param(100, 64, 110, id="the 65th: its offset takes two bytes"),
        pytest.param(100, 8_192, 111, id="the 8193rd: three"),
    ],
)
def test_what_a_record_takes(size: int, delta: int, length: int) -> None:
    """A13: DefaultRecord.sizeInBytes of message format v2, without a key and without headers."""
    assert record_bytes(size, delta) == length


@pytest.mark.parametrize(("size", "most"), [(0, 85), (63, 148), (64, 150), (8_191, 8_277), (8_192, 8_279)])
def test_what_a_record_takes_at_most(size: int, most: int) -> None:
    """A7: AbstractRecords.estimateSizeInBytesUpperBound."""
    assert upper_bound_bytes(size) == most


def one_by_one(capacity: int, count: int, size: int, estimate: int = 0) -> tuple[int, int]:
    """Kafka's loop: `writeLimit >= estimatedBytesWritten + this record`; how many more fit behind `count`, and what is left."""
    used = BATCH_OVERHEAD + sum(record_bytes(size, delta) for delta in range(count))
    fits = 0
    while not (count + fits) or estimated_bytes(used, estimate) + record_bytes(size, count + fits) <= capacity:
        if fits + count and estimated_bytes(used, estimate) >= capacity:
            break
        used, fits = used + record_bytes(size, count + fits), fits + 1
    return fits, max(0, capacity - estimated_bytes(used, estimate))


@pytest.mark.parametrize("estimate", [0, 400_000, 1_000_000, 1_300_000])
@pytest.mark.parametrize("count", [1, 2, 62, 63, 64, 65, 200])
@pytest.mark.parametrize("more", [0, 1, 108, 109, 110, 5_000, 20_000])
def test_room_behind_records_that_are_there_is_what_one_after_another_would_find(count: int, more: int, estimate: int) -> None:
    """A12, A13: over the steps where an offset takes another byte, and where not one more fits."""
    size = 100
    used = BATCH_OVERHEAD + sum(record_bytes(size, delta) for delta in range(count))
    capacity = estimated_bytes(used, estimate) + more

    assert room_in(capacity, used, count, size, estimate) == one_by_one(capacity, count, size, estimate)


def test_room_for_more_records_than_two_bytes_of_offset_can_count() -> None:
    """A12: the 8193rd record takes one byte more."""
    assert room_in(1_000_000, BATCH_OVERHEAD, 0, 1) == one_by_one(1_000_000, 0, 1)


@pytest.mark.parametrize("estimate", [0, 400_000, 1_000_000])
@pytest.mark.parametrize("count", [1, 60, 64, 8_190])
@pytest.mark.parametrize("left", [0, 108, 109, 110, 2_000, 10**6])
def test_records_that_may_be_taken_at_once_neither_fill_the_batch_nor_use_up_what_sticks(count: int, left: int, estimate: int) -> None:
    """A12, A46: one after another they would all join, and leave room for one more; so many that it is worth it."""
    size, capacity = 100, 2_000_000
    used = BATCH_OVERHEAD + count * record_bytes(size, count - 1)
    many = uneventful(capacity, used, count, size, estimate, left)
    each = record_bytes(size, count)
    grown = estimated_bytes(used + many * each, estimate)

    assert grown - estimated_bytes(used, estimate) <= left
    assert record_bytes(size, count + many - 1) == each or not many
    if estimate == 0:
        tier_ends = 64 if count < 64 else 8_192 if count < 8_192 else 1_048_576
        assert many == min(left // each, tier_ends - count, (capacity - used) // each - 1)


@pytest.mark.parametrize(("capacity", "many"), [(387, 0), (388, 1), (496, 1), (497, 2)])
def test_the_record_that_might_fill_a_batch_is_not_taken_with_others(capacity: int, many: int) -> None:
    """A12, A13: behind one record, which takes 170 bytes with the header; two more of 109 bytes fit into 388, and the second of them may fill it."""
    used = BATCH_OVERHEAD + record_bytes(100, 0)

    assert uneventful(capacity, used, 1, 100, 0, 10**6) == many


@pytest.mark.parametrize("at_once", [1, 3, 64, 65, 9_000])
def test_records_take_as_much_however_many_are_added_at_once(at_once: int) -> None:
    """A13."""
    batch, total = Batch(1, "t-0", 10**7, 0), 9_000
    for number in range(0, total, at_once):
        batch.add(number, min(at_once, total - number), 20)

    assert batch.size_bytes == BATCH_OVERHEAD + sum(record_bytes(20, delta) for delta in range(total))
    assert (batch.count, batch.records) == (total, range(total))


def test_records_of_several_sizes_keep_them() -> None:
    """A43: a batch that is split is filled again record by record."""
    batch = Batch(1, "t-0", 10_000, 0)
    batch.add(0, 2, 10)
    assert (batch.record_sizes, batch.record_size) == (None, 10)
    batch.add(2, 2, 20)
    batch.add(4, 1, 10)

    assert batch.record_sizes == [10, 10, 20, 20, 10]
    assert batch.size_bytes == BATCH_OVERHEAD + 3 * record_bytes(10, 0) + 2 * record_bytes(20, 0)


def test_records_behind_a_gap_go_on_with_their_own_numbers() -> None:
    batch = Batch(1, "t-0", 10_000, 0)
    for number, count in ((4, 2), (8, 2), (10, 1), (20, 2)):
        batch.add(number, count, 10)

    assert tuple(batch.records) == (4, 5, 8, 9, 10, 20, 21)


def test_a_new_batch_has_been_nowhere_and_is_nobodys() -> None:
    """RecordBatch.NO_PRODUCER_ID, NO_PRODUCER_EPOCH and NO_SEQUENCE are -1; A16: its age and its last attempt begin with its memory."""
    batch = Batch(3, "t-0", 1_000, 77)

    assert (batch.producer_id, batch.epoch, batch.base_sequence, batch.leader_epoch) == (-1, -1, -1, -1)
    assert (batch.created_at, batch.last_attempt_at, batch.attempts, batch.attempts_at_leader_change) == (77, 77, 0, 0)
    assert (batch.size_bytes, batch.count, batch.held, batch.number, batch.content) == (61, 0, 0, 3, 3)
    assert [batch.retried, batch.rewritten, batch.closed, batch.drained, batch.done, batch.is_split, batch.packed] == [False] * 7
    assert (batch.estimated_bytes, tuple(batch.records), batch.room_for(5_000)[0]) == (61, (), 1)


def test_who_waits_for_which_record_is_told_by_its_place() -> None:
    """S18: callbacks and futures are per record."""
    batch = Batch(1, "t-0", 1_000, 0)
    for number, thread in enumerate((2, 5, 2)):
        batch.add(number, 1, 10)
        batch.belongs_to(thread)

    assert batch.threads == {2: 2, 5: 1}
    assert batch.owners == [(0, 2), (1, 5), (2, 2)]


def test_compressed_its_records_take_their_share_and_its_header_stays() -> None:
    """A14: what the estimate learns from is the size of the records alone."""
    batch = Batch(1, "t-0", 10_000, 0, 1_000_000)
    for number, ratio in ((0, 200_000), (1, 600_000)):
        before = batch.size_bytes
        batch.add(number, 1, 993)
        batch.compresses(batch.size_bytes - before, ratio, 100_000)
    assert batch.size_bytes == BATCH_OVERHEAD + 2_004

    ratios = [batch.pack(0.0)]

    assert batch.size_bytes == BATCH_OVERHEAD + (1_002 * 200_000 + 1_002 * 600_000 - 2_004 * 100_000) // 1_000_000
    assert (ratios[0], batch.packed, batch.estimated_bytes) == (601 * 1_000_000 // 2_004, True, batch.size_bytes)


@pytest.mark.parametrize(
    ("capacity", "estimate", "full"),
    [(170, 0, True), (171, 0, False), (118, 500_000, True), (119, 500_000, False)],
)
def test_a_batch_is_full_by_what_it_is_expected_to_take(capacity: int, estimate: int, full: bool) -> None:
    """A13: `writeLimit <= estimatedBytesWritten`: 61 and 109 bytes, or 61 and half of them with 5 % more."""
    batch = Batch(1, "t-0", capacity, 0, estimate)
    batch.add(0, 1, 100)

    assert batch.is_full is full


@pytest.mark.parametrize(
    ("offers", "times"),
    [
        pytest.param([(10, 5, 2), (20, 5, 2)], [10, 15, 20, 25], id="a range goes on"),
        pytest.param([(10, 5, 2), (20, 7, 2)], [10, 15, 20, 27], id="with another step"),
        pytest.param([(10, 5, 2), (20, 9, 1)], [10, 15, 20], id="or with one record"),
        pytest.param([(10, 0, 2), (10, 0, 1)], [10, 10, 10], id="all at once"),
        pytest.param([(10, 0, 1), (17, 5, 3)], [10, 17, 22, 27], id="one, then a range elsewhere"),
        pytest.param([(10, 0, 1), (15, 5, 1), (21, 0, 2)], [10, 15, 21, 21], id="two at one moment"),
        pytest.param([(10, 0, 1), (10, 3, 2)], [10, 10, 13], id="a range that begins at the same moment"),
        pytest.param([(10, 4, 1), (10, 0, 1), (12, 2, 2)], [10, 10, 12, 14], id="no step, then one"),
    ],
)
def test_each_record_was_offered_when_it_was_offered(offers: list[tuple[int, int, int]], times: list[int]) -> None:
    batch = Batch(1, "t-0", 1_000, 0)
    for at, step, count in offers:
        batch.offered(at, step, count)
        batch.add(batch.count, count, 10)

    assert (batch.offer_times or [batch.offer_at + i * batch.offer_step for i in range(batch.count)]) == times
