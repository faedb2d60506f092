"""Offsets, the high watermark, truncation, leader epochs: vectors BV-090 to BV-125 (section D)."""

from __future__ import annotations

import pytest

from ksim_models.config import TopicConfig
from ksim_models.epoch_cache import EpochCache
from ksim_models.log import Log
from ksim_models.messages import RecordBatch
from ksim_models.replica import Replica

FIVE_SIX_SEVEN = [(5, 11), (6, 12), (7, 13)]
ZERO_TWO_FOUR = [(0, 10), (2, 13), (4, 17)]


def log_of(*epochs: tuple[int, int]) -> Log:
    """A log with `count` one-record batches per (epoch, count)."""
    log = Log()
    for epoch, count in epochs:
        log.epochs.assign(epoch, log.log_end_offset)
        for _ in range(count):
            log.append_as_leader(RecordBatch("t-0", "p1", range(log.log_end_offset, log.log_end_offset + 1), 100), epoch)
    return log


def replica_of(*epochs: tuple[int, int]) -> Replica:
    return Replica("t-0", log_of(*epochs), ("b1", "b2"), TopicConfig(), min_isr_capped=True)


@pytest.mark.parametrize(
    ("end", "left"),
    [(8, [(2, 6)]), (9, [(2, 6), (3, 8)]), (12, [(2, 6), (3, 8), (4, 11)])],
    ids=["BV-095 at 8", "BV-095 at 9", "BV-095 behind all"],
)
def test_truncation_from_the_end_drops_epochs_that_began_there(end: int, left: list[tuple[int, int]]) -> None:
    cache = EpochCache([(2, 6), (3, 8), (4, 11)])

    cache.truncate_from_end(end)

    assert cache.entries == left


@pytest.mark.parametrize(
    ("start", "left"),
    [(8, [(3, 8), (4, 11)]), (9, [(3, 9), (4, 11)]), (15, [(4, 15)]), (6, [(2, 6), (3, 8), (4, 11)])],
    ids=["BV-096 at 8", "BV-096 at 9", "BV-096 at 15", "BV-096 at 6"],
)
def test_truncation_from_the_start_keeps_the_epoch_that_covers_it(start: int, left: list[tuple[int, int]]) -> None:
    cache = EpochCache([(2, 6), (3, 8), (4, 11)])

    cache.truncate_from_start(start)

    assert cache.entries == left


@pytest.mark.parametrize(
    ("entries", "epoch", "answer"),
    [
        pytest.param(FIVE_SIX_SEVEN, 4, (4, 11), id="BV-097 before the first"),
        pytest.param(ZERO_TWO_FOUR, 1, (0, 13), id="BV-098 between"),
        pytest.param(ZERO_TWO_FOUR, 2, (2, 17), id="BV-098 exact"),
        pytest.param(ZERO_TWO_FOUR, 3, (2, 17), id="BV-098 between again"),
        pytest.param(ZERO_TWO_FOUR, 4, (4, 20), id="RP-31 the latest ends at the log end"),
        pytest.param(ZERO_TWO_FOUR, 5, (-1, -1), id="RP-31 beyond the latest"),
        pytest.param([], 0, (-1, -1), id="RP-31 an empty cache"),
    ],
)
def test_where_an_epoch_ended(entries: list[tuple[int, int]], epoch: int, answer: tuple[int, int]) -> None:
    assert EpochCache(entries).end_offset_for(epoch, 20) == answer


@pytest.mark.parametrize(
    ("entries", "assigned", "left"),
    [
        pytest.param([(2, 9)], (2, 10), [(2, 9)], id="BV-100 a start never moves later"),
        pytest.param([(2, 9)], (3, 9), [(3, 9)], id="BV-100 the last writer wins"),
        pytest.param([(1, 5), (2, 6)], (1, 7), [(1, 7)], id="BV-101"),
        pytest.param(FIVE_SIX_SEVEN, (7, 12), [(5, 11), (7, 12)], id="BV-103"),
    ],
)
def test_epochs_and_starts_both_rise(entries: list[tuple[int, int]], assigned: tuple[int, int], left: list[tuple[int, int]]) -> None:
    cache = EpochCache(entries)

    cache.assign(*assigned)

    assert cache.entries == left


def test_bv_104_epochs_are_tracked_as_leaders_change_many_times() -> None:
    cache = EpochCache([(0, 0)])
    cache.assign(1, 0)

    assert (cache.end_offset_for(1, 0), cache.end_offset_for(0, 0)) == ((1, 0), (0, 0))
    cache.assign(2, 5)
    assert [cache.end_offset_for(epoch, 10) for epoch in (2, 1, 0)] == [(2, 10), (1, 5), (0, 0)]


def test_bv_090_bv_091_truncation_takes_the_high_watermark_along() -> None:
    log = log_of((0, 6))
    log.advance_high_watermark(6, 0)

    log.truncate_to(3)

    assert (log.log_end_offset, log.high_watermark) == (3, 3)
    log.truncate_to(5)
    assert log.log_end_offset == 3, "RP-34: nothing to do"


@pytest.mark.parametrize(
    ("last_epoch", "offset", "answer"),
    [
        pytest.param(4, 12, None, id="at the end"),
        pytest.param(0, 4, None, id="BV-106 inside the first"),
        pytest.param(0, 5, (0, 4), id="BV-108 past the end of its epoch"),
        pytest.param(3, 8, (2, 8), id="an epoch the leader never saw (KIP-279)"),
        pytest.param(9, 12, (-1, -1), id="BV-107 an epoch beyond the leader's"),
        pytest.param(-1, 0, None, id="an empty follower"),
    ],
)
def test_the_leader_says_where_a_follower_diverged(last_epoch: int, offset: int, answer: tuple[int, int] | None) -> None:
    """RP-32."""
    leader = replica_of((0, 4), (2, 4), (4, 4))

    assert leader.diverges(last_epoch, offset) == answer


def reconcile(follower: Replica, leader: Replica) -> None:
    """Fetches until the follower stands at the leader's end (KIP-595)."""
    for _ in range(20):
        log = follower.log
        diverging = leader.diverges(log.epochs.latest, log.log_end_offset)
        if diverging == (-1, -1):
            log.truncate_to(0)
        elif diverging is not None:
            follower.truncate_where_diverging(*diverging)
        else:
            for batch in leader.log.read(log.log_end_offset, 10**6):
                log.append_as_follower(batch)
    assert follower.log.batches == leader.log.batches
    assert follower.log.epochs.entries == leader.log.epochs.entries


@pytest.mark.parametrize(
    ("follower", "leader"),
    [
        pytest.param([(0, 1), (2, 1), (4, 1)], [(1, 1), (3, 1), (5, 1)], id="BV-110 no common batch"),
        pytest.param([(0, 3), (1, 4)], [(0, 3), (2, 2)], id="an old leader with an uncommitted tail"),
        pytest.param([(0, 5)], [(0, 3), (1, 0), (2, 4)], id="an epoch without records (RP-40)"),
        pytest.param([(0, 3), (1, 2), (3, 2)], [(0, 3), (1, 1), (2, 3), (4, 1)], id="KIP-279 two quick changes"),
        pytest.param([(0, 5)], [(0, 2)], id="the leader lost data"),
        pytest.param([], [(0, 4), (1, 2)], id="a new follower"),
    ],
)
def test_a_returning_replica_cuts_what_the_leader_does_not_have_and_fetches_the_rest(follower: list[tuple[int, int]], leader: list[tuple[int, int]]) -> None:
    """RP-33, RP-35. Where records are the same numbers under another epoch they are other records: the epoch decides."""
    common = replica_of(*leader)
    mine = replica_of(*follower)
    shared = 0
    for (mine_epoch, mine_count), (their_epoch, their_count) in zip(follower, leader, strict=False):
        if mine_epoch != their_epoch:
            break
        shared += min(mine_count, their_count)
        if mine_count != their_count:
            break
    mine.log.batches[:shared] = common.log.batches[:shared]  # What was replicated is the same batch.

    reconcile(mine, common)


def test_bv_125_the_high_watermark_of_a_restarted_broker_is_that_of_the_last_checkpoint() -> None:
    """LR-6: every 5 s."""
    log = log_of((0, 6))
    log.advance_high_watermark(2, 1_000_000)
    log.advance_high_watermark(4, 4_900_000)
    log.advance_high_watermark(6, 5_100_000)

    log.come_back(6_000_000, 6_000_000)

    assert (log.high_watermark, log.log_end_offset) == (4, 6)


def test_lr_3_a_process_crash_loses_no_appended_record() -> None:
    log = log_of((0, 6))

    log.come_back(100, 100)

    assert (log.log_end_offset, log.high_watermark) == (6, 0)
