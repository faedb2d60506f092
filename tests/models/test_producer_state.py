"""Sequence numbers at the broker: what a partition remembers of a producer."""

from __future__ import annotations

import pytest

from ksim_models.log import Log
from ksim_models.messages import RecordBatch
from ksim_models.producer_state import REMEMBERED_BATCHES, Answer
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

    assert log.producers.judge(given)[0] is answer


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
