"""What a log is after a crash, a power loss, a clean stop: vectors BV-023, BV-028, BV-094, BV-106 to BV-109, BV-122, BV-124, BV-178, rules LR-1 to LR-10."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ksim_models.config import TopicConfig
from ksim_models.epoch_cache import EpochCache
from ksim_models.log import Log
from ksim_models.messages import RecordBatch
from ksim_models.page_cache import PageCache
from ksim_models.producer_state import Answer, ProducerState
from ksim_models.replica import Replica
from ksim_models.retention import clean_up
from ksim_models.units import ms, s

P = 7
DAY = s(86_400)
NO_CACHE = PageCache(expire=s(30), scan=s(5))
SMALL = TopicConfig(segment_bytes=250)
"""Two batches of 100 bytes to a segment."""


def one(sequence: int = -1, *, at: int = 0, producer: int = P, size: int = 100) -> RecordBatch:
    """A batch of one record."""
    pid = producer if sequence >= 0 else -1
    return RecordBatch("t-0", "p1", range(1), size, pid, 0 if pid >= 0 else -1, sequence, max_timestamp=at)


def log_of(count: int, config: TopicConfig | None = None, *, committed: bool = True, every: int = 0) -> Log:
    log = Log(config=config, page_cache=NO_CACHE)
    for number in range(count):
        log.append_as_leader(one(number, at=number * every), 0, number * every)
    if committed:
        log.advance_high_watermark(count, count * every)
    return log


# Producers.


def test_bv_023_a_snapshot_beyond_the_end_is_dropped_and_its_producer_forgotten() -> None:
    """PS-53."""
    state = ProducerState()
    for sequence in (0, 1):
        state.remember(replace(one(sequence, at=sequence * 1000), base_offset=sequence))
    state.take_snapshot(2)

    assert state.reload(0, 1, s(70), DAY) == 0
    assert (state.entries, state.snapshots) == ({}, [])
    assert state.judge(one(2)) == (Answer.APPEND, -1)


def test_bv_028_a_truncation_that_cuts_nothing_reloads_nothing() -> None:
    """Also who stands below the log start only stays known, until a restart."""
    log = Log()
    for producer in (1, 2):
        log.append_as_leader(one(0, producer=producer), 0)
    log.advance_high_watermark(2, 0)
    log.move_start(1, 0)

    log.truncate_to(2)

    assert set(log.producers.entries) == {1, 2}


@pytest.mark.parametrize("clean", [True, False])
def test_ps_52_a_restart_leaves_of_each_producer_its_last_batch(clean: bool) -> None:
    """Clean or not: a snapshot is taken at the log end, and holds one batch of each."""
    log = log_of(5)
    if clean:
        log.close(0)
    log.come_back(0, 0)

    assert log.producers.judge(one(4)) == (Answer.DUPLICATE, 4)
    assert log.producers.judge(one(3)) == (Answer.OUT_OF_ORDER, -1)
    assert log.producers.judge(one(5)) == (Answer.APPEND, -1)


def test_ps_53_a_truncation_replays_what_stands_behind_the_snapshot_that_is_left() -> None:
    log = log_of(7, SMALL)  # Snapshots at 2, 4 and 6.
    log.truncate_to(5)

    assert log.producers.entries[P].batches == [(3, 3, 3), (4, 4, 4)]
    assert [snapshot.offset for snapshot in log.producers.snapshots] == [2, 4, 5]


def test_ps_50_ps_53_who_was_silent_for_too_long_is_forgotten_and_may_start_anywhere() -> None:
    """By the time-stamps of the records; PS-19: its retry is a duplicate that nobody sees."""
    log = log_of(3, every=s(1))
    log.producers.expire(s(2) + DAY - 1, DAY)
    assert log.producers.judge(one(2))[0] is Answer.DUPLICATE
    log.producers.expire(s(2) + DAY, DAY)

    assert log.producers.judge(one(2)) == (Answer.APPEND, -1)


def test_ps_51_records_that_are_deleted_leave_the_state_in_memory_and_none_after_a_restart() -> None:
    log = Log(config=SMALL, page_cache=NO_CACHE)
    for sequence in range(4):
        log.append_as_leader(one(sequence, producer=1), 0)
    log.advance_high_watermark(4, 0)
    log.move_start(4, 0)
    clean_up(log, 0)
    assert log.producers.judge(one(3, producer=1)) == (Answer.DUPLICATE, 3)

    log.close(0)
    log.come_back(0, 0)

    assert log.producers.judge(one(3, producer=1)) == (Answer.APPEND, -1), "its snapshot stands at the log start, not behind it"


def test_ps_55_without_a_snapshot_the_log_is_read_from_its_start() -> None:
    log = log_of(5)
    assert log.producers.snapshots == []
    log.come_back(0, 0)

    assert log.producers.entries[P].batches == [(4, 4, 4)]


# Offsets.


def test_bv_094_the_log_start_may_not_pass_the_high_watermark() -> None:
    log = log_of(100, committed=False)
    log.advance_high_watermark(25, 0)

    with pytest.raises(AssertionError):
        log.move_start(26, 0)
    log.move_start(25, 0)
    assert log.log_start_offset == 25


@pytest.mark.parametrize(
    ("start", "last_epoch", "offset", "answer"),
    [
        pytest.param(0, 2, 5, (0, 2), id="an epoch the leader never saw"),
        pytest.param(0, 0, 4, (0, 2), id="beyond the end of its epoch"),
        pytest.param(0, 6, 6, (4, 13), id="between two epochs"),
        pytest.param(0, 10, 18, (10, 17), id="beyond the log end"),
        pytest.param(0, 0, 2, None, id="BV-106 the end of an epoch"),
        pytest.param(0, 7, 14, None, id="BV-106 so too"),
        pytest.param(0, 9, 17, None, id="BV-106 the log end, before the epoch of now"),
        pytest.param(0, 10, 17, None, id="BV-106 the log end"),
        pytest.param(0, 11, 5, (-1, -1), id="BV-107 an epoch beyond the leader's"),
        pytest.param(5, 2, 8, (2, 5), id="BV-108 before the first epoch that is left"),
        pytest.param(5, 0, 5, None, id="BV-108 at the log start"),
        pytest.param(5, 3, 5, None, id="BV-108 in the epoch that covers the log start"),
        pytest.param(5, 0, 0, (-1, -1), id="BV-108 below the log start"),
        pytest.param(10, 5, 6, (-1, -1), id="BV-109 below the log start, though it diverges"),
        pytest.param(10, 3, 6, (-1, -1), id="BV-109 below the log start, and does not diverge"),
    ],
)
def test_where_a_follower_diverged_and_where_that_cannot_be_told(start: int, last_epoch: int, offset: int, answer: tuple[int, int] | None) -> None:
    """RP-32; PT.testLastFetchedOffsetValidation as it stands: (-1, -1) is OFFSET_OUT_OF_RANGE."""
    log = Log()
    for epoch, count in ((0, 2), (3, 3), (3, 3), (4, 5), (7, 1), (9, 3)):
        log.append_as_leader(RecordBatch("t-0", "p1", range(count), 100), epoch)
    log.epochs.assign(10, 17)
    log.advance_high_watermark(17, 0)
    if start:
        log.move_start(start, 0)
    leader = Replica("t-0", log, ("b1", "b2"), TopicConfig(), min_isr_capped=True)

    assert leader.diverges(last_epoch, offset) == answer


# The disk.


def test_bv_122_the_recovery_point_stays_until_a_flush() -> None:
    """LR-5, LR-8."""
    log = log_of(100)
    log.recovery_points.set(10, 0)
    log.recovery_points.write(0)
    log.come_back(0, 0)
    assert (log.log_end_offset, log.recovery_point) == (100, 10)

    log.flush(0)

    assert log.recovery_point == 100


def test_bv_124_the_epochs_are_read_from_the_batches_again() -> None:
    """LR-8."""
    log = Log()
    for epoch, count in ((1, 1), (2, 2), (3, 1)):
        for _ in range(count):
            log.append_as_leader(one(), epoch)
    log.epochs = EpochCache([(1, 0), (2, 1)])
    log.come_back(0, 0)

    assert log.epochs.entries == [(1, 0), (2, 1), (3, 3)]


def test_lr_10_an_epoch_that_wrote_nothing_is_gone_after_a_restart() -> None:
    log = log_of(3)
    log.epochs.assign(1, 3)
    log.come_back(0, 0)

    assert log.epochs.entries == [(0, 0)]


def test_bv_178_lr_7_a_clean_stop_checkpoints_the_high_watermark_and_flushes_everything() -> None:
    log = log_of(6)
    log.close(ms(1))
    assert log.lose_power(ms(1)) == 6
    log.come_back(ms(2), 0)

    assert (log.log_end_offset, log.high_watermark, log.recovery_point) == (6, 6, 6)


def test_lr_3_lr_4_a_crash_leaves_everything_and_a_power_loss_what_is_on_the_disk() -> None:
    """LR-1, LR-2: nothing is ever flushed by default."""
    crashed, dark = log_of(6), log_of(6)
    crashed.come_back(0, 0)
    dark.lose_power(ms(100))
    dark.come_back(ms(200), 0)

    assert (crashed.log_end_offset, dark.log_end_offset) == (6, 0)
    assert (dark.high_watermark, dark.batches, dark.epochs.entries, dark.producers.entries) == (0, [], [], {})


@pytest.mark.parametrize(
    ("dark_at", "left"),
    [
        pytest.param(s(30) - 1, 0, id="not yet old enough"),
        pytest.param(s(34), 0, id="old enough, and nobody has looked"),
        pytest.param(s(35), 35, id="all of the file, also what is young"),
        pytest.param(s(64), 35, id="dirty again since then"),
    ],
)
def test_lr_4_the_system_saves_a_file_that_was_dirty_for_30_s_when_it_looks_the_next_time(dark_at: int, left: int) -> None:
    """vm.dirty_expire_centisecs and vm.dirty_writeback_centisecs: a loss goes back 35 s at most."""
    log = Log(page_cache=PageCache(expire=s(30), scan=s(5)))
    for second in range(65):
        at = ms(100) + s(second)
        if at < dark_at:
            log.append_as_leader(one(), 0, at)

    assert log.lose_power(dark_at) == left


@pytest.mark.parametrize(("share", "kept", "torn"), [(0.0, 0, 0), (0.25, 1, 50), (0.5, 3, 0), (0.99, 5, 94)])
def test_lr_8_what_is_left_of_a_torn_batch_is_cut_off(share: float, kept: int, torn: int) -> None:
    """Of six batches of 100 bytes that were not saved a share had got to the disk."""
    log = log_of(6)

    assert (log.lose_power(ms(1), share), log.torn_bytes) == (kept, torn)
    log.come_back(ms(2), 0)
    assert (log.log_end_offset, log.torn_bytes) == (kept, 0)


@pytest.mark.parametrize(("flush_messages", "left"), [(1, 7), (3, 6), (10, 0)])
def test_lr_1_flush_messages_saves_so_many_at_a_time(flush_messages: int, left: int) -> None:
    log = log_of(7, TopicConfig(flush_messages=flush_messages))

    assert log.lose_power(ms(1)) == left


def test_lr_1_a_segment_that_is_full_or_old_is_flushed_when_the_next_one_begins() -> None:
    """PS-52: with a snapshot of the producers."""
    full = log_of(5, SMALL)
    old = log_of(5, TopicConfig(segment_ms=1000), every=ms(400))

    assert [segment.base_offset for segment in full.segments] == [0, 2, 4]
    assert [segment.base_offset for segment in old.segments] == [0, 3]
    assert [snapshot.offset for snapshot in full.producers.snapshots] == [2, 4]
    assert (full.lose_power(ms(1)), old.lose_power(s(2))) == (4, 3)


def test_lr_9_a_log_that_ends_before_its_own_start_begins_there_anew() -> None:
    log = log_of(6)
    log.move_start(4, 0)
    log.starts.write(0)
    log.lose_power(ms(1))
    log.come_back(ms(2), 0)

    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (4, 4, 4)


@pytest.mark.parametrize(("crash_at", "start"), [(s(29), 0), (s(31), 4), (s(119), 4)])
def test_a_deletion_that_no_checkpoint_knows_is_undone_by_a_crash(crash_at: int, start: int) -> None:
    """log.flush.start.offset.checkpoint.interval.ms: 60 s, and 30 s after a start for the first time (section 9)."""
    log = Log()
    log.come_back(0, s(30))
    for _ in range(6):
        log.append_as_leader(one(), 0, 0)
    log.advance_high_watermark(6, 0)
    log.move_start(4, s(1))
    log.stop(crash_at)
    back_at = crash_at + s(300)  # Nobody writes it meanwhile.
    log.come_back(back_at, back_at + s(30))

    assert log.log_start_offset == start


# Retention.


@pytest.mark.parametrize(
    ("config", "at", "why", "start"),
    [
        pytest.param(TopicConfig(segment_bytes=250, retention_ms=3000), s(5), "retention.ms", 2, id="the newest record of a segment is too old"),
        pytest.param(TopicConfig(segment_bytes=250, retention_ms=3000), s(4), "", 0, id="not yet: it must be older than that"),
        pytest.param(TopicConfig(segment_bytes=250, retention_ms=3000), s(60), "retention.ms", 6, id="the last segment goes too, a new one begins"),
        pytest.param(TopicConfig(segment_bytes=250, retention_ms=-1), s(600), "", 0, id="for ever"),
        pytest.param(TopicConfig(segment_bytes=250, retention_bytes=399), s(5), "retention.bytes", 2, id="larger by a whole segment"),
        pytest.param(TopicConfig(segment_bytes=250, retention_bytes=401), s(5), "", 0, id="not by a whole segment"),
    ],
)
def test_old_segments_are_deleted_whole(config: TopicConfig, at: int, why: str, start: int) -> None:
    log = log_of(6, config, every=s(1))

    assert (clean_up(log, at), log.log_start_offset) == (why, start)
    assert log.batches == [] or log.batches[0].base_offset == start


def test_what_is_not_committed_is_not_deleted() -> None:
    log = log_of(6, TopicConfig(segment_bytes=250, retention_ms=0), committed=False, every=s(1))
    log.advance_high_watermark(3, s(6))

    assert (clean_up(log, s(60)), log.log_start_offset) == ("retention.ms", 2)


INEXPRESSIBLE = {
    **dict.fromkeys(("BV-005", "BV-006", "BV-007", "BV-008", "BV-013", "BV-014", "BV-015", "BV-016", "BV-017"), "transactions: not yet simulated"),
    **dict.fromkeys(("BV-019", "BV-020", "BV-025", "BV-026", "BV-037"), "transactions: not yet simulated"),
    **{
        f"BV-{number:03}": "section B: transactions are not yet simulated"
        for number in (40, 41, 43, 44, 45, 46, 47, 49, 50, 51, 52, 53, 55, 56, 58, 59, 61, 62)
    },
    **{f"BV-{number:03}": "section C: transactions are not yet simulated" for number in (70, 71, 73, 74, 76, 77, 79, 80, 82, 83)},
}
