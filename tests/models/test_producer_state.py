"""Sequence numbers at the broker: what a partition remembers of a producer."""

from __future__ import annotations

import pytest

from ksim_models.log import Log
from ksim_models.messages import Marker, RecordBatch
from ksim_models.producer_state import LAST_EPOCH, REMEMBERED_BATCHES, Answer, ProducerState
from ksim_models.sequences import LAST_SEQUENCE, next_sequence


def batch(sequence: int, count: int = 1, *, epoch: int = 0, producer_id: int = 7) -> RecordBatch:
    return RecordBatch("t-0", "p1", range(count), 100, producer_id, epoch, sequence)


def log_of(*given: RecordBatch) -> Log:
    log = Log()
    for entry in given:
        log.append_as_leader(entry, 0)
    return log


@pytest.mark.parametrize(
    ("sequence", "count", "following"),
    [(0, 3, 3), (LAST_SEQUENCE, 1, 0), (LAST_SEQUENCE - 10, 21, 10)],
    ids=["I5", "PS-18 the last is followed by zero", "PS-18 a batch across the wrap"],
)
def test_sequences_go_on_from_zero_behind_the_last(sequence: int, count: int, following: int) -> None:
    assert next_sequence(sequence, count) == following


def test_the_last_five_batches_of_a_producer_are_remembered() -> None:
    """PS-2: a sixth pushes the oldest out, and its retry is out of order then (PS-16)."""
    log = log_of(*(batch(n) for n in range(REMEMBERED_BATCHES + 1)))

    assert log.producers.judge(batch(1)) == (Answer.DUPLICATE, 1)
    assert log.producers.judge(batch(0))[0] is Answer.OUT_OF_ORDER


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        pytest.param(batch(0, epoch=1), Answer.OLD_EPOCH, id="PS-12 an older epoch"),
        pytest.param(batch(0, epoch=3), Answer.APPEND, id="PS-13c a newer one begins at zero"),
        pytest.param(batch(1, epoch=3), Answer.OUT_OF_ORDER, id="PS-13c and nowhere else"),
        pytest.param(batch(5, epoch=2), Answer.APPEND, id="PS-13d the next in line"),
        pytest.param(batch(6, epoch=2), Answer.OUT_OF_ORDER, id="PS-13d a gap"),
        pytest.param(batch(2, 3, epoch=2), Answer.DUPLICATE, id="PS-10 the same range"),
        pytest.param(batch(2, 2, epoch=2), Answer.OUT_OF_ORDER, id="PS-16 a part of it"),
        pytest.param(batch(3, producer_id=8), Answer.APPEND, id="PS-13c a producer never heard of (KIP-360)"),
    ],
)
def test_what_a_leader_answers(given: RecordBatch, answer: Answer) -> None:
    log = log_of(batch(0, 2, epoch=2), batch(2, 3, epoch=2))

    assert log.producers.judge(given) == (answer, 2 if answer is Answer.DUPLICATE else -1)


def test_a_follower_knows_what_its_leader_knew() -> None:
    """PS-54: so de-duplication survives a change of leaders."""
    leader = log_of(*(batch(n) for n in range(9)))
    follower = Log()
    for entry in leader.batches:
        follower.append_as_follower(entry)

    for sequence in range(11):
        assert follower.producers.judge(batch(sequence)) == leader.producers.judge(batch(sequence))


def test_a_new_epoch_forgets_the_batches_of_the_old_one() -> None:
    """PS-2, PS-12."""
    log = log_of(batch(0), batch(1), batch(0, epoch=1))

    assert log.producers.judge(batch(1))[0] is Answer.OLD_EPOCH
    assert log.producers.judge(batch(0, epoch=1)) == (Answer.DUPLICATE, 2)


def written(
    offset: int, sequence: int = 0, *, epoch: int = 0, at: int = 0, pid: int = 7, in_transaction: bool = False, marker: Marker | None = None
) -> RecordBatch:
    """A batch of one record as it stands in the log."""
    first, transactional = -1 if marker else sequence, in_transaction or marker is not None
    return RecordBatch("t-0", "p1", range(1), 100, pid, epoch, first, offset, max_timestamp=at, transactional=transactional, marker=marker)


def state_of(*batches: RecordBatch) -> ProducerState:
    state = ProducerState()
    for entry in batches:
        state.remember(entry)
    return state


@pytest.mark.parametrize(
    ("epoch", "coordinator_epoch", "open_epoch", "strictly", "answer"),
    [
        pytest.param(3, 5, 3, False, Answer.APPEND, id="PS-30 of the open transaction"),
        pytest.param(2, 5, 3, False, Answer.OLD_EPOCH, id="PS-30 of an older epoch"),
        pytest.param(4, 5, 3, False, Answer.APPEND, id="PS-30 of a newer one"),
        pytest.param(3, 4, 3, False, Answer.OLD_COORDINATOR, id="PS-31 by an older coordinator"),
        pytest.param(3, 6, 3, False, Answer.APPEND, id="PS-31 by a newer one"),
        pytest.param(3, 5, 3, True, Answer.OLD_EPOCH, id="PS-30 version 2 has bumped the epoch"),
        pytest.param(4, 5, 3, True, Answer.APPEND, id="PS-30 as here"),
        pytest.param(LAST_EPOCH, 5, LAST_EPOCH, True, Answer.APPEND, id="PS-30 the last epoch cannot be bumped"),
        pytest.param(3, 5, None, True, Answer.APPEND, id="PS-30 a repetition: nothing is open"),
    ],
)
def test_which_marker_ends_a_transaction(epoch: int, coordinator_epoch: int, open_epoch: int | None, strictly: bool, answer: Answer) -> None:
    """The last marker came from coordinator epoch 5."""
    before = open_epoch or 3
    state = state_of(written(0, epoch=before, in_transaction=True), written(1, epoch=before, marker=Marker(True, 5)))
    if open_epoch is not None:
        state.remember(written(2, 1, epoch=before, in_transaction=True))

    assert state.judge_marker(written(3, epoch=epoch, marker=Marker(True, coordinator_epoch)), strictly=strictly) is answer


def test_a_marker_of_a_producer_never_heard_of_is_written() -> None:
    """PS-30."""
    assert ProducerState().judge_marker(written(0, epoch=1, marker=Marker(True, 0)), strictly=True) is Answer.APPEND


def test_a_transaction_begins_with_its_first_batch_and_ends_with_its_marker() -> None:
    """PS-15, PS-32: the batches of its producer stay known, and the marker is none of them."""
    state = state_of(written(0, 0, in_transaction=True, at=10), written(1, 1, in_transaction=True, at=20))
    assert [(state.entries[7].open_from, state.is_open(7, epoch)) for epoch in (None, 0, 1)] == [(0, True), (0, True), (0, False)]
    assert state.judge(written(-1, 2))[0] is Answer.WRONG_TRANSACTION, "PS-14"
    assert state.judge(written(-1, 0, epoch=1))[0] is Answer.WRONG_TRANSACTION, "PS-14, in whatever epoch"
    assert state.judge(written(-1, 2, in_transaction=True))[0] is Answer.APPEND
    state.remember(written(2, marker=Marker(False, 4), at=30))

    entry = state.entries[7]
    assert (state.is_open(7, None), entry.coordinator_epoch, entry.timestamp) == (False, 4, 30)
    assert entry.batches == [(0, 0, 0), (1, 1, 1)]
    assert state.is_open(8, None) is False


def test_a_new_epoch_keeps_the_transaction_and_forgets_the_batches() -> None:
    """PS-2."""
    state = state_of(
        written(0, in_transaction=True), written(1, marker=Marker(True, 4)), written(2, 1, in_transaction=True), written(3, epoch=1, in_transaction=True)
    )

    entry = state.entries[7]
    assert (entry.epoch, entry.open_from, entry.coordinator_epoch, entry.batches) == (1, 2, 4, [(0, 0, 3)])


@pytest.mark.parametrize(("now", "remembered"), [(109, [7, 8, 9]), (110, [8, 9]), (115, [8, 9]), (120, [8]), (10_000, [8])])
def test_a_producer_is_forgotten_a_while_after_its_newest_record(now: int, remembered: list[int]) -> None:
    """PS-50: to the moment; never while its transaction is open."""
    state = state_of(written(0, at=10), written(1, at=10, pid=8, in_transaction=True), written(2, at=20, pid=9))
    guard = state.transactions.verify(5, 0, 0, 15, bumps_epoch=False)
    state.expire(now, 100)

    assert list(state.entries) == remembered
    assert state.transactions.verifying == ({5: guard} if now < 115 else {})


def test_a_snapshot_is_taken_once_per_offset_and_goes_with_its_segment() -> None:
    """PS-52."""
    state = state_of(written(0))
    for offset in (0, 1, 3, 3, 2, 5):
        state.take_snapshot(offset)
    assert [snapshot.offset for snapshot in state.snapshots] == [1, 3, 5]
    state.drop_snapshots(iter([5, 9]))

    assert [snapshot.offset for snapshot in state.snapshots] == [1, 3]


def test_a_snapshot_holds_the_last_batch_of_each_producer_and_all_else() -> None:
    """PS-52, PS-53."""
    state = state_of(written(0, 0, at=10), written(1, 1, at=20), written(2, at=20, pid=8, in_transaction=True), written(3, at=20, pid=9, in_transaction=True))
    state.remember(written(4, at=30, pid=9, marker=Marker(True, 6)))
    state.take_snapshot(5)
    state.remember(written(5, 2, at=40))
    assert state.reload(0, 6, 50, 100) == 5

    entries = {pid: (entry.epoch, entry.batches, entry.timestamp, entry.coordinator_epoch, entry.open_from) for pid, entry in state.entries.items()}
    assert entries == {7: (0, [(1, 1, 1)], 20, -1, -1), 8: (0, [(0, 0, 2)], 20, -1, 2), 9: (0, [(0, 0, 3)], 30, 6, -1)}
    assert state.transactions.first_unstable_offset == 2


@pytest.mark.parametrize(
    ("log_start", "end", "read_from"),
    [
        pytest.param(0, 9, 6, id="PS-53 the newest"),
        pytest.param(0, 6, 6, id="PS-53 at the very end of the log"),
        pytest.param(0, 5, 3, id="PS-53 one beyond it is none"),
        pytest.param(2, 5, 3, id="PS-53 behind the start"),
        pytest.param(3, 5, 3, id="PS-53 at the start there is nothing before it: from the start"),
        pytest.param(0, 2, 0, id="PS-53 none: from the start"),
    ],
)
def test_from_where_a_log_is_read_again(log_start: int, end: int, read_from: int) -> None:
    state = ProducerState()
    for offset in (3, 6):
        state.take_snapshot(offset)

    assert state.reload(log_start, end, 0, 100) == read_from


@pytest.mark.parametrize(("now", "remembered"), [(109, [7, 8]), (110, [8])])
def test_who_has_expired_meanwhile_is_not_read_back(now: int, remembered: list[int]) -> None:
    """PS-50, PS-53."""
    state = state_of(written(0, at=10), written(1, at=10, pid=8, in_transaction=True))
    state.take_snapshot(2)
    state.reload(0, 2, now, 100)

    assert list(state.entries) == remembered


@pytest.mark.parametrize(
    ("epoch", "payload", "same_epoch", "needs_proof", "answer"),
    [
        pytest.param(0, (), True, True, Answer.OUT_OF_ORDER, id="PS-13 a client's batch has its sequence"),
        pytest.param(0, ("x",), True, True, Answer.APPEND, id="PS-13 what a coordinator writes has none"),
        pytest.param(-1, ("x",), True, False, Answer.OLD_EPOCH, id="PS-12 but an epoch"),
        pytest.param(1, ("x",), True, True, Answer.WRONG_TRANSACTION, id="PS-11 the open transaction is of another epoch"),
        pytest.param(1, ("x",), False, True, Answer.APPEND, id="PS-11 where that does not matter"),
        pytest.param(1, ("x",), True, False, Answer.APPEND, id="PS-11 where nobody asks for a proof"),
    ],
)
def test_what_is_judged_of_a_batch_in_a_transaction(epoch: int, payload: tuple[str, ...], same_epoch: bool, needs_proof: bool, answer: Answer) -> None:
    """A transaction of epoch 0 is open."""
    state = state_of(written(0, 0, in_transaction=True))
    given = RecordBatch("t-0", "", range(1), 100, 7, epoch, 5, transactional=True, payload=payload)
    judged = state.judge_transactional(given, None, needs_proof=needs_proof, same_epoch=same_epoch, epoch_first=False, strict_start=True)

    assert judged == (answer, -1)


NOTHING: tuple[RecordBatch, ...] = ()
MARKER_ONLY = (written(0, epoch=1, marker=Marker(True, 0)),)
ONE_BATCH = (written(0, 0, epoch=1),)


@pytest.mark.parametrize(
    ("before", "epoch", "sequence", "payload", "strict_start", "answer"),
    [
        pytest.param(NOTHING, 1, 0, (), True, Answer.APPEND, id="PS-13a its first sequence"),
        pytest.param(NOTHING, 1, 1, (), True, Answer.OUT_OF_ORDER, id="PS-13a not its first, and nothing is known of it"),
        pytest.param(NOTHING, 1, 1, (), False, Answer.APPEND, id="PS-13a where that is not asked for"),
        pytest.param(MARKER_ONLY, 2, 0, (), True, Answer.APPEND, id="PS-13c a new epoch begins at zero"),
        pytest.param(ONE_BATCH, 1, 1, (), True, Answer.APPEND, id="PS-13a it goes on behind what it wrote"),
        pytest.param(ONE_BATCH, 1, 2, (), True, Answer.OUT_OF_ORDER, id="PS-62 not before the lowest that was seen"),
        pytest.param(ONE_BATCH, 0, 0, (), True, Answer.OLD_EPOCH, id="PS-12 an older epoch, told before the lack of a proof"),
        pytest.param(ONE_BATCH, 1, 0, ("x",), True, Answer.APPEND, id="PS-13 what a coordinator writes has no sequence"),
    ],
)
def test_with_which_sequence_a_transaction_begins(
    before: tuple[RecordBatch, ...], epoch: int, sequence: int, payload: tuple[str, ...], strict_start: bool, answer: Answer
) -> None:
    """Its producer speaks transaction version 2, and was verified when sequence 1 was seen."""
    state = state_of(*before)
    proof = state.transactions.verify(7, 1, 1, 0, bumps_epoch=True)
    given = RecordBatch("t-0", "", range(1), 100, 7, epoch, sequence, transactional=True, payload=payload)
    proven = None if answer is Answer.OLD_EPOCH else proof
    judged = state.judge_transactional(given, proven, needs_proof=True, same_epoch=True, epoch_first=True, strict_start=strict_start)

    assert judged == (answer, -1)
