"""Kafka's behavioural vectors of transactions inside a partition: markers, open and aborted transactions, how far readers may go (sections A and B)."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.log import Log
from ksim_models.messages import Marker, RecordBatch
from ksim_models.producer_state import Answer
from ksim_models.producer_transactions import NOT_OPEN, Aborted
from ksim_models.sequences import LAST_SEQUENCE

ONE_DAY = 86_400_000_000
APPEND, OUT_OF_ORDER, OLD_EPOCH = Answer.APPEND, Answer.OUT_OF_ORDER, Answer.OLD_EPOCH


class Partition:
    """A leader's log, without a broker: what is judged fit is appended."""

    def __init__(self, start: int = 0) -> None:
        self.log = Log()
        if start:
            self.log.start_anew_at(start)
        self.sequences: dict[tuple[int, int], int] = {}

    def data(self, producer_id: int = 1, count: int = 1, *, epoch: int = 0, sequence: int | None = None, plain: bool = False, at: int | None = None) -> Answer:
        """Of a transaction, or `plain`; `sequence`: the next one where it is not said."""
        self.gap_to(at)
        key = producer_id, epoch
        first = self.sequences.get(key, 0) if sequence is None else sequence
        batch = RecordBatch("t-0", "p", range(count), 100, producer_id, epoch, first, transactional=not plain)
        answer, _ = self.log.producers.judge(batch)
        if answer is APPEND:
            self.log.append_as_leader(batch, 0)
            self.sequences[key] = first + count
        return answer

    def marker(
        self, producer_id: int = 1, *, commit: bool = True, epoch: int = 0, coordinator_epoch: int = 0, strictly: bool = False, at: int | None = None
    ) -> Answer:
        self.gap_to(at)
        batch = RecordBatch("t-0", "", range(1), 78, producer_id, epoch, -1, transactional=True, marker=Marker(commit, coordinator_epoch))
        answer = self.log.producers.judge_marker(batch, strictly=strictly)
        if answer is APPEND:
            self.log.append_as_leader(batch, 0)
        return answer

    def others(self, count: int) -> None:
        """Records without a producer id."""
        self.log.append_as_leader(RecordBatch("t-0", "q", range(count), 100), 0)

    def gap_to(self, at: int | None) -> None:
        if at is not None and at > self.log.log_end_offset:
            self.others(at - self.log.log_end_offset)

    def high_watermark(self, to: int | None = None) -> None:
        self.log.advance_high_watermark(self.log.log_end_offset if to is None else to, 0)

    def entry(self, producer_id: int = 1) -> Any:
        return self.log.producers.entries[producer_id]

    @property
    def undecided(self) -> int | None:
        return next(iter(self.log.producers.transactions.open.values()), None)

    @property
    def unstable(self) -> int | None:
        return self.log.producers.transactions.first_unstable_offset

    @property
    def stable(self) -> int:
        return self.log.last_stable_offset


# A. Producer state and markers.


@pytest.mark.parametrize(
    ("epoch", "sequence", "answer"),
    [
        pytest.param(0, 0, OLD_EPOCH, id="BV-006"),
        pytest.param(2, 17, OUT_OF_ORDER, id="BV-007"),
        pytest.param(2, 0, APPEND, id="BV-008"),
    ],
)
def test_behind_a_marker_of_a_producer_never_heard_of(epoch: int, sequence: int, answer: Answer) -> None:
    """BV-005: its epoch is known, and no batch: only sequence 0 is next (PS-13d, PS-33)."""
    partition = Partition(27)
    assert partition.marker(epoch=2) is APPEND
    assert (partition.entry().epoch, partition.entry().batches) == (2, [])

    assert partition.data(epoch=epoch, sequence=sequence) is answer


def test_a_marker_of_a_higher_epoch_empties_the_window() -> None:
    """BV-013, PS-32."""
    partition = Partition()
    partition.data(plain=True)

    partition.marker(commit=False, epoch=1)

    assert (partition.entry().epoch, partition.entry().batches, partition.entry().open_from) == (1, [], NOT_OPEN)
    assert partition.data(epoch=1, sequence=0) is APPEND


@pytest.mark.parametrize(
    ("epoch", "sequence", "answer"),
    [
        pytest.param(1, 2, OUT_OF_ORDER, id="BV-014"),
        pytest.param(2, 2, OUT_OF_ORDER, id="BV-015 another epoch"),
        pytest.param(1, 0, APPEND, id="BV-015 from the beginning"),
    ],
)
def test_sequences_begin_anew_behind_a_marker_of_a_higher_epoch(epoch: int, sequence: int, answer: Answer) -> None:
    partition = Partition()
    partition.data(sequence=0)
    partition.data(sequence=1)
    partition.marker(commit=False, epoch=1)

    assert partition.data(epoch=epoch, sequence=sequence) is answer


def test_a_record_outside_the_open_transaction_of_its_producer_is_refused() -> None:
    """BV-016, PS-14."""
    partition = Partition()
    partition.data()

    assert partition.data(plain=True) is Answer.WRONG_TRANSACTION


def test_the_first_batch_of_a_transaction_says_where_it_began_until_its_marker() -> None:
    """BV-017, PS-15, PS-1."""
    partition = Partition(9)
    partition.data(plain=True)
    partition.data(count=5, at=16)
    partition.data(count=5, at=26)
    began = partition.entry().open_from

    partition.marker(coordinator_epoch=15, at=40)

    assert (began, partition.entry().open_from, partition.entry().coordinator_epoch) == (16, NOT_OPEN, 15)
    assert partition.log.producers.transactions.undecided == {16: 40}
    assert partition.log.aborted(0, 100) == ()
    assert partition.entry().batches == [(0, 0, 9), (1, 5, 16), (6, 10, 26)]


def test_a_producer_with_an_open_transaction_is_not_forgotten() -> None:
    """BV-019, PS-50."""
    partition = Partition(99)
    partition.data()

    partition.log.producers.expire(ONE_DAY + 1, ONE_DAY)
    partition.log.producers.expire(2 * ONE_DAY, ONE_DAY)

    assert partition.undecided == 99
    assert 1 in partition.log.producers.entries


def test_the_epoch_of_a_fencing_marker_is_kept() -> None:
    """BV-020."""
    partition = Partition()
    partition.data()
    partition.marker(commit=False, epoch=1)

    partition.log.producers.expire(0, ONE_DAY)

    assert (partition.entry().epoch, partition.entry().batches) == (1, [])


@pytest.mark.parametrize(("ended", "open_from"), [pytest.param(False, 0, id="BV-025"), pytest.param(True, NOT_OPEN, id="BV-026")])
def test_a_snapshot_knows_the_last_batch_and_the_open_transaction(ended: bool, open_from: int) -> None:
    """PS-52."""
    partition = Partition()
    partition.data(sequence=0)
    partition.data(sequence=1)
    if ended:
        partition.marker(commit=False)
    log = partition.log
    log.producers.take_snapshot(log.log_end_offset)

    log.producers.reload(0, 3, 0, ONE_DAY)

    assert partition.entry().batches == [(1, 1, 1)]
    assert (partition.entry().open_from, partition.undecided) == (open_from, None if ended else 0)
    assert partition.data(sequence=2) is APPEND


@pytest.mark.parametrize(
    ("kafka", "bumps", "answer"),
    [("4.0", True, APPEND), ("4.1", True, OUT_OF_ORDER), ("4.1", False, APPEND)],
    ids=["BV-037 4.0", "BV-037 4.1, version 2", "BV-037 4.1, before"],
)
def test_whether_an_unknown_producer_may_begin_anywhere(kafka: str, bumps: bool, answer: Answer) -> None:
    """PS-13a."""
    producers = Log().producers
    guard = producers.transactions.verify(1, 1, 3, 0, bumps_epoch=bumps)
    batch = RecordBatch("t-0", "p", range(1), 100, 1, 1, 3, transactional=True)

    judged, _ = producers.judge_transactional(batch, guard, needs_proof=True, same_epoch=True, epoch_first=True, strict_start=kafka != "4.0")

    assert judged is answer


# B. Transactions inside a partition.


@pytest.mark.parametrize(
    ("epoch", "strictly", "answer"),
    [
        pytest.param(3, False, OLD_EPOCH, id="BV-040"),
        pytest.param(5, True, OLD_EPOCH, id="BV-040 version 2"),
        pytest.param(5, False, APPEND, id="PS-30 the same epoch"),
        pytest.param(6, True, APPEND, id="PS-31 the next one"),
    ],
)
def test_a_marker_needs_an_epoch_that_is_not_old(epoch: int, strictly: bool, answer: Answer) -> None:
    partition = Partition(99)
    partition.data(epoch=5)

    assert partition.marker(epoch=epoch, strictly=strictly) is answer


def test_ps_31_a_marker_of_version_2_may_be_repeated_once_the_transaction_is_over() -> None:
    partition = Partition()
    partition.data(epoch=5)
    partition.marker(epoch=6, strictly=True)

    assert partition.marker(epoch=6, strictly=True) is APPEND


def test_a_marker_of_an_older_coordinator_is_refused() -> None:
    """BV-041, PS-30, TC-54: a repetition is not."""
    partition = Partition(99)
    partition.data()

    answers = [partition.marker(coordinator_epoch=epoch) for epoch in (1, 1, 2, 1)]

    assert answers == [APPEND, APPEND, APPEND, Answer.OLD_COORDINATOR]


def test_readers_wait_until_a_marker_is_committed() -> None:
    """BV-043 to BV-046, PS-40, PS-41."""
    partition = Partition(99)
    partition.data(1, epoch=5)
    partition.data(2, epoch=5, at=105)
    assert (partition.undecided, partition.unstable) == (99, 99)  # BV-043

    partition.marker(1, epoch=5, at=109)
    assert (partition.undecided, partition.unstable) == (105, 99)  # BV-044

    partition.high_watermark(100)
    assert partition.unstable == 99
    partition.high_watermark(110)
    assert partition.unstable == 105  # BV-045

    partition.marker(2, commit=False, epoch=5, at=112)
    assert (partition.undecided, partition.unstable) == (None, 105)
    partition.high_watermark(113)
    assert partition.unstable is None  # BV-046


def test_a_truncation_opens_the_transaction_again() -> None:
    """BV-047, PS-53."""
    partition = Partition(99)
    partition.data(1)
    log = partition.log
    log.producers.take_snapshot(100)
    partition.marker(1, at=105)
    partition.high_watermark(106)
    log.producers.take_snapshot(106)
    partition.data(2, plain=True)

    log.truncate_to(106)
    assert partition.unstable is None
    log.truncate_to(100)
    assert partition.unstable == 99


def test_the_last_stable_offset_when_transactions_end_in_another_order() -> None:
    """BV-049, PS-42, PS-43."""
    partition = Partition(0)
    first, second, third = 0, 25, 57
    partition.data(1)
    partition.data(2, at=second)
    partition.data(3, at=third)
    marks = [(1, third + 15, second), (3, third + 35, second), (2, third + 113, None)]

    for producer_id, at, unstable in marks:
        partition.marker(producer_id, commit=False, at=at)
        partition.high_watermark(at + 1)
        assert partition.unstable == unstable

    assert [entry.last_stable_offset for entry in partition.log.producers.transactions.aborted] == [second, second, third + 114]
    assert first == 0


def test_a_committed_transaction_is_readable_up_to_the_next_open_one() -> None:
    """BV-050 to BV-052, CV-3, CV-4."""
    partition = Partition()
    partition.data(1, 5)
    partition.others(3)
    partition.data(2, 2)
    partition.data(1, 4)
    partition.others(2)
    partition.data(1, 10)
    assert partition.stable == 0
    partition.high_watermark()
    assert (partition.stable, partition.log.high_watermark) == (0, 26)  # BV-050

    partition.marker(1)
    assert partition.stable == 0
    partition.high_watermark()
    assert partition.stable == 8  # BV-051

    partition.marker(2, commit=False)
    assert partition.stable == 8
    partition.high_watermark()
    assert partition.stable == partition.log.log_end_offset == 28  # BV-052
    assert partition.log.aborted(0, 28) == ((2, 8),)


def test_the_index_of_aborted_transactions() -> None:
    """BV-053, CV-5."""
    partition = Partition()
    for producer_id, count in ((1, 5), (0, 3), (2, 2), (1, 4), (3, 3), (0, 2), (1, 10)):
        partition.data(producer_id, count) if producer_id else partition.others(count)
    partition.marker(1, commit=False)
    for producer_id, count in ((2, 6), (4, 3), (0, 10), (3, 9)):
        partition.data(producer_id, count) if producer_id else partition.others(count)
    partition.marker(3)
    partition.data(4, 8)
    partition.data(2, 7)
    partition.marker(2, commit=False)
    partition.others(10)
    partition.data(4, 4)
    partition.marker(4)
    unstable = []
    for to in (30, 75, 90):
        partition.high_watermark(to)
        unstable.append(partition.unstable)

    assert partition.log.producers.transactions.aborted == [Aborted(1, 0, 29, 8), Aborted(2, 8, 74, 36)]
    assert unstable == [8, 36, None]
    assert partition.log.aborted(0, 8) == ((1, 0),)
    assert partition.log.aborted(30, 90) == ((2, 8),)


def test_a_marker_behind_a_newer_one_is_refused() -> None:
    """BV-055."""
    partition = Partition()
    partition.marker(commit=False, epoch=5)

    assert partition.marker(commit=False, epoch=4) is OLD_EPOCH


def test_readers_never_stand_before_the_start_of_the_log() -> None:
    """BV-056, PS-42."""
    partition = Partition()
    partition.data(1, 5)
    partition.others(3)
    partition.log.roll(0)
    partition.data(1, 5)
    partition.high_watermark()

    partition.log.move_start(5, 0)

    assert partition.stable == 5


def test_where_readers_of_each_kind_end() -> None:
    """BV-061: the log end, the high watermark, the last stable offset."""
    partition = Partition()
    for _ in range(3):
        partition.data()
    ends = [(partition.log.log_end_offset, partition.log.high_watermark, partition.stable)]
    partition.high_watermark(1)

    assert [*ends, (partition.log.log_end_offset, partition.log.high_watermark, partition.stable)] == [(3, 0, 0), (3, 1, 0)]


# What a broker finds when it starts.


@pytest.mark.parametrize("clean", [True, False])
def test_an_open_and_an_aborted_transaction_outlive_the_process(clean: bool) -> None:
    """PS-53, PS-55: in snapshots, in the log, and in the index that recovery writes again."""
    partition = Partition()
    partition.data(1, 3)
    partition.data(2, 2)
    partition.marker(1, commit=False)
    partition.high_watermark()
    log = partition.log
    before = log.last_stable_offset, log.aborted(0, 10), log.producers.transactions.open
    if clean:
        log.close(0)

    log.come_back(0, 0)
    log.advance_high_watermark(6, 0)

    assert (log.last_stable_offset, log.aborted(0, 10), log.producers.transactions.open) == before == (3, ((1, 0),), {2: 3})


def test_a_power_loss_takes_a_marker_and_its_entry_with_it() -> None:
    partition = Partition()
    partition.data(1, 3)
    partition.high_watermark()
    partition.log.flush(0)
    partition.marker(1, commit=False)
    partition.high_watermark()

    partition.log.lose_power(1)
    partition.log.come_back(1, 1)

    assert partition.log.aborted(0, 10) == ()
    assert partition.undecided == 0


def test_the_last_sequence_is_followed_by_zero_in_a_transaction_too() -> None:
    partition = Partition()
    partition.data(sequence=LAST_SEQUENCE)

    assert partition.data(sequence=0) is APPEND


INEXPRESSIBLE = {"BV-062": "PartitionsWithLateTransactionsCount is not measured here (PS-45)"}
