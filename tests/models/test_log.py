"""A replica's log: what a leader stamps, what a follower takes, and what is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim_models.epoch_cache import EpochCache
from ksim_models.log import Log
from ksim_models.messages import RecordBatch
from ksim_models.units import s


def batch(count: int = 1, *, size: int = 100, producer_id: int = -1, sequence: int = -1) -> RecordBatch:
    return RecordBatch("t-0", "p1", range(count), size, producer_id, 0 if producer_id >= 0 else -1, sequence)


def test_a_leader_stamps_offset_and_epoch_and_a_follower_takes_them_unchecked() -> None:
    """BP-29, PS-4: a follower judges no sequences, so it has what its leader has, duplicates included."""
    leader, follower = Log(), Log()
    for _ in range(2):
        follower.append_as_follower(leader.append_as_leader(batch(3, producer_id=7, sequence=0), 4))

    assert [(entry.base_offset, entry.leader_epoch) for entry in follower.batches] == [(0, 4), (3, 4)]
    assert (follower.log_end_offset, follower.epochs.entries) == (6, [(4, 0)])
    assert follower.producers.entries.keys() == leader.producers.entries.keys()


def test_a_follower_appends_only_at_its_own_end() -> None:
    """RP-4."""
    leader = Log()
    leader.append_as_leader(batch(), 0)
    second = leader.append_as_leader(batch(), 0)

    with pytest.raises(AssertionError, match="RP-4"):
        Log().append_as_follower(second)


@pytest.mark.parametrize(("offset", "limit", "read"), [(0, 250, [0, 1]), (0, 10, [0]), (1, 1000, [1, 2]), (2, 0, [2]), (3, 1000, [])])
def test_a_read_has_at_least_one_batch_and_no_more_bytes_than_asked_for(offset: int, limit: int, read: list[int]) -> None:
    """RP-2: the first one also where it is larger."""
    log = Log()
    for _ in range(3):
        log.append_as_leader(batch(), 0)

    assert [entry.base_offset for entry in log.read(offset, limit)] == read


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 30)), max_size=12))
def test_epochs_and_their_starts_both_rise_whatever_is_assigned(assigned: list[tuple[int, int]]) -> None:
    """RP-30: the last writer wins."""
    cache = EpochCache()
    for epoch, start in assigned:
        cache.assign(epoch, start)
        assert cache.latest == epoch

    assert all(one[0] < other[0] and one[1] < other[1] for one, other in zip(cache.entries, cache.entries[1:]))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 45))
def test_a_log_is_cut_whole_batches_at_a_time_and_never_grows(counts: list[int], offset: int) -> None:
    """RP-34: the high watermark, the epochs and what producers are remembered for go with it."""
    log = Log()
    for number, count in enumerate(counts):
        log.append_as_leader(batch(count, producer_id=number, sequence=0), number)
    end = log.log_end_offset
    log.advance_high_watermark(end, 0)
    log.truncate_to(offset)

    assert log.log_end_offset <= min(offset, end) or log.log_end_offset == end <= offset
    assert log.high_watermark <= log.log_end_offset
    assert sum(len(entry.records) for entry in log.batches) == log.log_end_offset
    assert all(start < log.log_end_offset for _, start in log.epochs.entries)
    assert list(log.producers.entries) == list(range(len(log.batches)))


def test_the_high_watermark_of_a_restart_is_that_of_the_last_checkpoint() -> None:
    """LR-6: every 5 s; LR-3: the records are all there."""
    log = Log()
    for number, at in enumerate((s(1), s(4), s(6))):
        log.append_as_leader(batch(), 0)
        log.advance_high_watermark(number + 1, at)
    log.come_back(s(7), s(7))

    assert (log.high_watermark, log.log_end_offset) == (2, 3)


def test_a_checkpoint_interval_of_nothing_leaves_no_checkpoint() -> None:
    """LR-6; KafkaScheduler runs a period of 0 once, at the start."""
    log = Log(checkpoint_every=0)
    for number, at in enumerate((s(1), s(6))):
        log.append_as_leader(batch(), 0)
        log.advance_high_watermark(number + 1, at)
    log.come_back(s(7), s(7))

    assert (log.high_watermark, log.log_end_offset) == (0, 2)
