"""A replica's log: what a leader stamps, what a follower takes, and what is read back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim_models.checkpoint import Checkpoint
from ksim_models.config import TopicConfig
from ksim_models.epoch_cache import EpochCache
from ksim_models.log import Log
from ksim_models.messages import Marker, RecordBatch
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


def test_all_that_a_batch_says_is_written() -> None:
    """BP-29: only offset and leader epoch are the leader's; whether it came compressed is seen in its size."""
    log = Log()
    log.append_as_leader(batch(2), 1)
    marker = RecordBatch("t-0", "", range(1), 78, 7, 3, -1, max_timestamp=5, transactional=True, marker=Marker(True, 4), payload=("x",), raw_bytes=90)

    assert log.append_as_leader(marker, 4) == replace(marker, base_offset=2, leader_epoch=4, raw_bytes=0)


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
    assert Log().read(0, limit) == ()


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


SMALL = TopicConfig(segment_bytes=200, segment_ms=10_000)
"""Two batches of 100 bytes to a segment."""


@pytest.mark.parametrize(
    ("times", "segments"),
    [
        pytest.param([5, 40], [0], id="it is exactly full, also where the system has saved the file meanwhile"),
        pytest.param([0, 0, 0], [0, 2], id="one byte more is too much"),
        pytest.param([20, 30], [0], id="segment.ms after its first record, whenever that was"),
        pytest.param([20, 31], [0, 1], id="later than that"),
        pytest.param([20, 31, 41], [0, 1], id="the next one counts from its own first record"),
        pytest.param([20, 31, 42], [0, 1, 2], id="the next one, later than that"),
    ],
)
def test_when_a_segment_is_full_or_old(times: list[int], segments: list[int]) -> None:
    """LR-1: by its bytes, and by the time-stamps of its records."""
    log = Log(config=replace(SMALL, segment_ms=40_000) if 40 in times else SMALL)
    for second in times:
        log.append_as_leader(replace(batch(), max_timestamp=s(second)), 0, s(second))

    assert [segment.base_offset for segment in log.segments] == segments


@pytest.mark.parametrize(("to", "segments"), [(4, [0, 2, 4]), (3, [0, 2]), (2, [0, 2]), (1, [0]), (0, [0])])
def test_a_cut_takes_the_segments_that_begin_behind_it(to: int, segments: list[int]) -> None:
    """RP-34 (LocalLog.truncateTo): the one that begins there stays, and is empty."""
    log = Log(config=SMALL)
    for _ in range(5):
        log.append_as_leader(batch(), 0)
    log.truncate_to(to)

    assert [segment.base_offset for segment in log.segments] == segments
    assert log.active is log.segments[-1]
    assert [segment.size_bytes for segment in log.segments] == [100 * (min(base + 2, to) - base) for base in segments]


def test_an_aborted_transaction_is_known_as_long_as_its_segment() -> None:
    """PS-43: a segment's index of aborted transactions goes with it."""
    log = Log(config=SMALL)
    for _ in range(2):
        log.append_as_leader(replace(batch(producer_id=7, sequence=0), transactional=True), 0)
        log.append_as_leader(RecordBatch("t-0", "", range(1), 100, 7, 0, -1, transactional=True, marker=Marker(False, 0)), 0)
    log.advance_high_watermark(4, 0)
    assert log.aborted(0, 4) == ((7, 0), (7, 2))
    log.remove_segments(1, 0)

    assert (log.log_start_offset, log.aborted(0, 4)) == (2, ((7, 2),))


@pytest.mark.parametrize(
    ("first", "set_at", "read_at", "says"),
    [
        pytest.param(5, 3, 4, 0, id="before the first run"),
        pytest.param(5, 3, 5, 7, id="at the first run"),
        pytest.param(5, 5, 14, 0, id="set behind a run: not before the next one"),
        pytest.param(5, 5, 15, 7, id="the next one"),
        pytest.param(5, 14, 15, 7, id="set just before a run"),
    ],
)
def test_a_checkpoint_says_what_was_true_when_it_was_written_last(first: int, set_at: int, read_at: int, says: int) -> None:
    """LR-5, LR-6: every 10, for the first time at `first`."""
    file = Checkpoint(10)
    file.boot(0, 0, first)
    file.set(7, set_at)

    assert file.read(read_at) == says


@pytest.mark.parametrize(("stops_at", "says"), [(14, 0), (15, 7)])
def test_a_checkpoint_is_not_written_while_its_process_is_gone(stops_at: int, says: int) -> None:
    """LR-5, LR-6, LR-9."""
    file = Checkpoint(10)
    file.boot(0, 0, 5)
    file.set(7, 5)
    file.stop(stops_at)
    assert [file.read(now) for now in (15, 95)] == [says] * 2
    file.boot(says, 95, 125)
    file.set(9, 96)

    assert [file.read(now) for now in (124, 125)] == [says, 9]


def test_a_clean_stop_writes_its_checkpoints_at_once() -> None:
    """LR-7; a new process reads what was written, whatever it set itself to at its start."""
    file = Checkpoint(10)
    assert file.read(1_000) == 0
    file.set(7, 12)
    file.write(13)
    assert file.read(13) == 7
    file.set(9, 14)
    file.boot(8, 15, 40)
    assert [file.read(now) for now in (15, 39, 40)] == [7, 7, 8]

    assert Checkpoint(0).read(10**15) == 0, "a period of nothing: there was nothing yet at the only run"


def test_who_was_idle_for_too_long_is_not_known_after_a_crash() -> None:
    """PS-50, PS-55, LR-5: segments that were flushed, as the checkpoint says, are not read again; what their last snapshot says of the idle counts no more."""
    log = Log(config=SMALL, forget_producers_after=s(100))
    for producer_id, at in ((7, 0), (7, 0), (8, 50), (8, 50), (9, 50)):
        log.append_as_leader(replace(batch(producer_id=producer_id, sequence=0), max_timestamp=s(at)), 0, s(at))
    log.come_back(s(100), s(130))

    assert [segment.base_offset for segment in log.segments] == [0, 2, 4]
    assert list(log.producers.entries) == [8, 9]


def test_where_snapshots_are_missing_those_of_the_last_two_segments_are_taken_again() -> None:
    """PS-53: DeleteRecords and a cut took them, and behind a crash the log starts as long ago as its checkpoint says (LR-9)."""
    log = Log(config=SMALL)
    for number in range(7):
        log.append_as_leader(batch(producer_id=number % 2, sequence=number // 2), 0)
    log.advance_high_watermark(6, 0)
    log.move_start(5, 0)
    log.truncate_to(6)
    assert [snapshot.offset for snapshot in log.producers.snapshots] == [6]
    log.come_back(1, 1)
    log.producers.drop_snapshots([2, 4, 6])
    log.truncate_to(5)

    assert (log.log_start_offset, [segment.base_offset for segment in log.segments]) == (0, [0, 2, 4])
    assert [snapshot.offset for snapshot in log.producers.snapshots] == [2, 4, 5]
    assert [[known[2] for known in entry.batches] for entry in log.producers.entries.values()] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize(
    ("remembered", "committed", "open_again"),
    [
        pytest.param(True, 2, {7: 0}, id="the producer is remembered"),
        pytest.param(False, 1, {7: 0}, id="the marker was not committed, so somebody is known (unreplicatedTxns)"),
        pytest.param(False, 2, {}, id="nobody is remembered, so nobody is looked for"),
    ],
)
def test_whose_marker_is_cut_off_has_an_open_transaction_again(*, remembered: bool, committed: int, open_again: dict[int, int]) -> None:
    """PS-50, PS-53: UnifiedLog.rebuildProducerState reads nothing where isEmptyBeforeTruncation."""
    log = Log()
    log.append_as_leader(replace(batch(producer_id=7, sequence=0), transactional=True, producer_epoch=0), 0)
    log.append_as_leader(RecordBatch("t-0", "", range(1), 78, 7, 0, transactional=True, marker=Marker(True, 0)), 0)
    log.advance_high_watermark(committed, 0)
    if not remembered:
        log.producers.expire(s(100), s(1))
    log.truncate_to(1)

    assert log.producers.transactions.open == open_again
