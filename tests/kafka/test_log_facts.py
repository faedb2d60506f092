"""What Kafka's own tests of a log and its producers say beyond the vectors of sections A and D: one row, one fact.

Kafka: ProducerStateManagerTest, UnifiedLogTest, LogLoaderTest, LeaderEpochFileCacheTest, LocalLogTest, ReplicaFetcherThreadTest.
"""

from __future__ import annotations

import pytest

from ksim_models.config import TopicConfig
from ksim_models.epoch_cache import EpochCache
from ksim_models.log import Log
from ksim_models.messages import RecordBatch
from ksim_models.producer_state import Answer
from ksim_models.replica import Replica
from ksim_models.retention import clean_up
from ksim_models.units import ms, s

ROLLS = TopicConfig(segment_bytes=100)
"""Every batch has a segment of its own."""


def batch(sequence: int = -1, *, producer: int = 1, count: int = 1, epoch: int = 0, at: int = 0) -> RecordBatch:
    known = producer if sequence >= 0 else -1
    return RecordBatch("t-0", "p1", range(count), 100, known, epoch if known >= 0 else -1, sequence, max_timestamp=at)


def filled(*batches: RecordBatch, config: TopicConfig | None = None, leader_epoch: int = 0, committed: bool = True) -> Log:
    log = Log(config=config)
    for given in batches:
        log.append_as_leader(given, leader_epoch, given.max_timestamp)
    if committed:
        log.advance_high_watermark(log.log_end_offset, 0)
    return log


def snapshots(log: Log) -> list[int]:
    return [snapshot.offset for snapshot in log.producers.snapshots]


# Producers.


@pytest.mark.parametrize(
    ("written", "given", "answer"),
    [
        pytest.param([(0, 0), (0, 1)], (0, 5), Answer.OUT_OF_ORDER, id="PSM.testBasicIdMapping"),
        pytest.param([(1, 0)], (0, 0), Answer.OLD_EPOCH, id="UL.testOldProducerEpoch"),
        pytest.param([(0, 0), (0, 1), (0, 2)], (1, 5), Answer.OUT_OF_ORDER, id="PSM.testRejectNonZeroSequenceForDirectEpochBump"),
        pytest.param([(0, 0), (0, 1), (0, 2)], (1, 0), Answer.APPEND, id="PSM.testRejectNonZeroSequenceForDirectEpochBump: from 0"),
        pytest.param([(5, 16)], (5, 17), Answer.APPEND, id="PSM.testNoValidationOnFirstEntryWhenLoadingLog: a replica takes what it is given"),
        pytest.param([(0, 0), (0, 1)], (0, 0), Answer.DUPLICATE, id="UL.testDuplicateAppends: an older one of the five"),
    ],
)
def test_whether_a_batch_of_a_known_producer_is_taken(written: list[tuple[int, int]], given: tuple[int, int], answer: Answer) -> None:
    """PS-10, PS-12, PS-13."""
    log = filled(*(batch(sequence, epoch=epoch) for epoch, sequence in written))

    assert log.producers.judge(batch(given[1], epoch=given[0]))[0] is answer


def test_what_a_replica_was_given_without_knowing_the_producer_is_all_that_it_knows() -> None:
    """PSM.testAcceptAppendWithoutProducerStateOnReplica, testNoValidationOnFirstEntryWhenLoadingLog."""
    log = filled(batch(2))

    assert log.producers.entries[1].batches == [(2, 2, 0)]
    assert log.producers.judge(batch(1))[0] is Answer.OUT_OF_ORDER


def test_followers_take_duplicates_of_several_producers_mixed() -> None:
    """UL.testMultipleProducersWithDuplicatesInSingleAppend, testMultipleProducerIdsPerMemoryRecord."""
    log = filled(*(batch(sequence, producer=producer) for producer, sequence in ((1, 0), (2, 0), (1, 1), (2, 1), (1, 1))))

    assert log.log_end_offset == 5
    assert {producer: entry.batches[-1][1] for producer, entry in log.producers.entries.items()} == {1: 1, 2: 1}


def test_a_producer_that_is_forgotten_is_one_never_heard_of() -> None:
    """PSM.testPidExpirationTimeout: PS-50, and its next sequence is accepted as the first."""
    log = filled(batch(0, epoch=5))
    log.producers.expire(s(86_401), s(86_400))

    assert log.producers.judge(batch(1, epoch=5)) == (Answer.APPEND, -1)
    log.append_as_leader(batch(1, epoch=5), 0)
    assert log.producers.entries[1].batches == [(1, 1, 1)]


@pytest.mark.parametrize(
    ("to", "left", "last"),
    [(4, [1, 2, 3, 4], 3), (3, [1, 2, 3], 2), (1, [1], 0), (0, [], None)],
    ids=["UL.testProducerIdMapTruncateTo at a snapshot", "one less", "to the first", "to nothing"],
)
def test_a_truncation_goes_back_to_the_snapshot_before(to: int, left: list[int], last: int | None) -> None:
    """PSM.testTruncateAndReloadRemovesOutOfRangeSnapshots, UL.testProducerIdMapTruncateTo."""
    log = filled(*(batch(sequence) for sequence in range(5)), config=ROLLS)
    assert snapshots(log) == [1, 2, 3, 4]

    log.truncate_to(to)

    assert snapshots(log) == left
    assert (log.producers.entries[1].batches[-1][1] if log.producers.entries else None) == last


def test_without_snapshots_a_truncation_reads_the_log_again() -> None:
    """UL.testProducerIdMapTruncateToWithNoSnapshots."""
    log = filled(batch(0), batch(1))
    log.truncate_to(1)

    assert log.producers.entries[1].batches == [(0, 0, 0)]


def test_a_log_that_is_begun_anew_knows_nobody_and_has_no_snapshot() -> None:
    """UL.testProducerIdMapTruncateFullyAndStartAt, PSM.testTruncateFullyAndStartAt."""
    log = filled(*(batch(sequence) for sequence in range(3)), config=ROLLS)
    log.start_anew_at(29)

    assert (log.log_start_offset, log.log_end_offset, log.high_watermark, snapshots(log), log.producers.entries) == (29, 29, 29, [], {})
    log.append_as_leader(batch(0), 1)
    log.roll(0)
    assert snapshots(log) == [30]


@pytest.mark.parametrize("empty_active", [False, True])
def test_retention_takes_the_snapshots_of_the_segments_along_but_nobody_out_of_memory(empty_active: bool) -> None:
    """UL.testRetentionDeletesProducerStateSnapshots, testProducerIdExpirationOnSegmentDeletion: all of it is old, one snapshot is left, at the end."""
    config = TopicConfig(segment_bytes=100, retention_ms=60_000)
    log = filled(*(batch(sequence) for sequence in range(3)), config=config)
    if empty_active:
        log.roll(0)
    assert snapshots(log) == ([1, 2, 3] if empty_active else [1, 2])

    assert clean_up(log, ms(60_001)) == "retention.ms"
    assert (log.log_start_offset, snapshots(log)) == (3, [3])
    assert log.producers.judge(batch(2))[0] is Answer.DUPLICATE


def test_deleted_records_let_go_of_the_snapshots_before_them() -> None:
    """UL.testLogStartOffsetMovementDeletesSnapshots, testDeleteSnapshotsOnIncrementLogStartOffset."""
    log = filled(*(batch(sequence) for sequence in range(3)), config=ROLLS)
    log.move_start(2, 0)
    clean_up(log, 0)

    assert (snapshots(log), [segment.base_offset for segment in log.segments]) == ([2], [2])
    assert log.producers.judge(batch(2))[0] is Answer.DUPLICATE


def test_a_record_from_the_future_holds_back_older_ones_until_deleted_records_let_them_go() -> None:
    """UL.testRetentionIdempotency: segments go from the front only, by age as by the log start, in one run."""
    log = filled(*(batch(at=at) for at in (ms(100), 0, ms(100))), config=TopicConfig(segment_bytes=100, retention_ms=900))
    assert clean_up(log, ms(901)) == ""
    log.move_start(1, ms(901))

    clean_up(log, ms(901))
    assert (log.log_start_offset, [segment.base_offset for segment in log.segments]) == (2, [2])
    assert clean_up(log, ms(901)) == ""


@pytest.mark.parametrize(
    ("clean", "segments", "known"),
    [
        pytest.param(False, False, {1, 2}, id="LL.testLoadProducersAfterDeleteRecordsMidSegment"),
        pytest.param(False, True, {2}, id="LL.testLoadProducersAfterDeleteRecordsOnSegment"),
        pytest.param(True, True, {1, 2}, id="the same after a clean stop: its snapshot stands at the end"),
    ],
)
def test_who_is_known_after_a_restart_behind_deleted_records(clean: bool, segments: bool, known: set[int]) -> None:
    """PS-51, PS-53, PS-55. Without a clean stop the log is read from its file's beginning, so also what was deleted in the middle of a segment."""
    log = filled(batch(0), batch(0, producer=2), config=ROLLS if segments else None)
    log.move_start(1, 0)
    log.starts.write(0)
    clean_up(log, 0)
    assert set(log.producers.entries) == {1, 2}
    if clean:
        log.close(0)
    log.come_back(0, 0)

    assert set(log.producers.entries) == known


# Offsets and epochs.


@pytest.mark.parametrize(
    ("epochs", "left"),
    [
        pytest.param([(0, 0), (1, 5), (2, 10)], [(1, 5), (2, 10)], id="UL.shouldTruncateLeaderEpochsWhenDeletingSegments"),
        pytest.param([(0, 0), (1, 7), (2, 10)], [(0, 5), (1, 7), (2, 10)], id="UL.shouldUpdateOffsetForLeaderEpochsWhenDeletingSegments"),
    ],
)
def test_epochs_go_with_their_segments(epochs: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    log = filled(*(batch() for _ in range(15)), config=TopicConfig(segment_bytes=500, retention_bytes=1000))
    log.epochs = EpochCache(epochs)
    clean_up(log, 0)

    assert (log.log_start_offset, log.epochs.entries) == (5, left)


def test_the_newest_epoch_outlives_all_records() -> None:
    """UL.testDeleteOldSegments."""
    log = filled(*(batch() for _ in range(100)), config=TopicConfig(segment_bytes=500, retention_ms=999))
    log.epochs = EpochCache([(0, 40), (1, 90)])
    clean_up(log, s(2))

    assert (log.epochs.entries, log.log_start_offset, len(log.segments)) == ([(1, 100)], 100, 1)


def test_nothing_behind_the_high_watermark_is_deleted() -> None:
    """UL.testDeleteOldSegments, testCannotDeleteSegmentsAtOrAboveHighWatermark: a segment goes when its last record is committed."""
    log = filled(*(batch() for _ in range(100)), config=TopicConfig(segment_bytes=500, retention_ms=999), committed=False)
    found = []
    for committed in (0, 24, 25, 29, 30):
        log.advance_high_watermark(committed, 0)
        clean_up(log, s(2))
        found.append(log.log_start_offset)

    assert found == [0, 20, 25, 25, 30]


@pytest.mark.parametrize(
    ("epochs", "to", "left"),
    [
        pytest.param([(1, 10), (2, 10), (3, 5)], 30, [(1, 0), (2, 10), (3, 20)], id="UL.testTruncateToEndOffsetClearsEpochCache: beyond the end"),
        pytest.param([(1, 10), (2, 10), (3, 5)], 20, [(1, 0), (2, 10)], id="UL.shouldTruncateLeaderEpochCheckpointFileWhenTruncatingLog at an epoch"),
        pytest.param([(1, 10), (2, 10), (3, 5)], 13, [(1, 0), (2, 10)], id="in the middle of one"),
        pytest.param([(1, 10), (2, 10), (3, 5)], 0, [], id="to nothing"),
        pytest.param([(1, 10), (2, 0)], 10, [(1, 0)], id="UL.testTruncateToEndOffsetClearsEpochCache: an epoch without records, at the end"),
    ],
)
def test_epochs_are_cut_with_the_log(epochs: list[tuple[int, int]], to: int, left: list[tuple[int, int]]) -> None:
    log = Log()
    for epoch, count in epochs:
        log.epochs.assign(epoch, log.log_end_offset)
        for _ in range(count):
            log.append_as_leader(batch(), epoch)

    log.truncate_to(to)

    assert log.epochs.entries == left


def test_epochs_as_a_follower_receives_many_messages() -> None:
    """LE.shouldIncreaseAndTrackEpochsAsFollowerReceivesManyMessages."""
    cache = EpochCache()
    for epoch, start in ((0, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)):
        cache.assign(epoch, start)

    assert cache.entries == [(0, 0), (1, 1), (2, 3)]
    assert [cache.end_offset_for(epoch, 6) for epoch in (0, 1, 2)] == [(0, 1), (1, 3), (2, 6)]


@pytest.mark.parametrize(
    ("told", "cut_to"),
    [
        pytest.param((4, 140), 140, id="the leader's end of an epoch that is known here"),
        pytest.param((4, 160), 149, id="this log's own end of it, where that is earlier"),
        pytest.param((3, 135), 129, id="an epoch that is not known: the one before it ends here"),
        pytest.param((0, 50), 50, id="an epoch before all: nothing of this log is left"),
    ],
)
def test_where_a_follower_is_cut(told: tuple[int, int], cut_to: int) -> None:
    """ReplicaFetcherThreadTest.shouldTruncateIfLeaderRepliesWithDivergingEpochNotKnownToFollower: RP-33."""
    log = Log()
    log.start_anew_at(100)
    for epoch, end in ((1, 119), (2, 129), (4, 149), (5, 200)):
        while log.log_end_offset < end:
            log.append_as_leader(batch(), epoch)
    replica = Replica("t-0", log, ("b1", "b2"), TopicConfig(), min_isr_capped=True)
    replica.truncate_where_diverging(*told)

    assert log.log_end_offset == cut_to


def test_a_cut_behind_the_high_watermark_leaves_it_alone() -> None:
    """ReplicaFetcherThreadTest.testTruncateOnFetchDoesNotUpdateHighWatermark."""
    log = filled(*(batch() for _ in range(150)), committed=False)
    log.advance_high_watermark(130, 0)
    log.truncate_to(140)
    assert (log.log_end_offset, log.high_watermark) == (140, 130)


def test_a_log_cut_below_its_start_starts_there() -> None:
    """UL.truncateTo: the log start goes back with the end, to the file's beginning or before it."""
    log = filled(*(batch() for _ in range(10)))
    log.move_start(6, 0)
    log.truncate_to(4)
    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (4, 4, 4)
    rolled = filled(*(batch() for _ in range(10)), config=ROLLS)
    rolled.move_start(6, 0)
    clean_up(rolled, 0)
    rolled.truncate_to(4)
    assert (rolled.log_start_offset, rolled.log_end_offset, [segment.base_offset for segment in rolled.segments]) == (4, 4, [4])


@pytest.mark.parametrize(("crash_at", "kept"), [pytest.param(s(59), (6, 6), id="the file still says 6"), pytest.param(s(61), (4, 5), id="the file says 4")])
def test_a_checkpoint_of_the_log_start_goes_back_with_it(crash_at: int, kept: tuple[int, int]) -> None:
    """LogManager.checkpointLogStartOffsets writes what is true then, every minute; LL.testLogEndLessThanStartAfterReopen where the log ends before it."""
    log = filled(*(batch() for _ in range(10)))
    log.move_start(6, 0)
    log.starts.write(0)
    log.truncate_to(4, s(1))
    log.append_as_leader(batch(), 1, s(2))
    log.come_back(crash_at, crash_at)

    assert (log.log_start_offset, log.log_end_offset) == kept


@pytest.mark.parametrize(
    ("stamps", "bases"),
    [
        pytest.param([0, 900, 1000], [0], id="UL.testTimeBasedLogRollDuringAppend: no older than segment.ms"),
        pytest.param([0, 1001], [0, 1], id="older by a millisecond"),
        pytest.param([0, 1001, 1500, 2002], [0, 1, 3], id="counted from the first record of the segment: 2002 - 1001 is 1001"),
        pytest.param([5000, 0, 1001], [0], id="by time-stamps, not by the clock: an old record rolls nothing"),
    ],
)
def test_segments_roll_by_the_time_stamps_of_records(stamps: list[int], bases: list[int]) -> None:
    log = filled(*(batch(at=ms(at)) for at in stamps), config=TopicConfig(segment_ms=1000))

    assert [segment.base_offset for segment in log.segments] == bases
