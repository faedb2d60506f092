"""How a partition tells a retry from a new batch: vectors BV-001 to BV-038 without transactions (section A).

Those of snapshots and expiry are in test_recovery_vectors.py.
"""

from __future__ import annotations

import pytest

from ksim_models.log import Log
from ksim_models.messages import RecordBatch
from ksim_models.producer_state import Answer

P = 7


def batch(first: int, last: int | None = None, *, epoch: int = 0) -> RecordBatch:
    """Sequences first..last of producer P; they may wrap."""
    count = ((first if last is None else last) - first) % 2**31 + 1
    return RecordBatch("t-0", "p1", range(count), 100, P, epoch, first)


class Leader:
    """A log whose clients' batches are judged before they are appended, as a leader does."""

    def __init__(self) -> None:
        self.log = Log()

    def produce(self, given: RecordBatch) -> tuple[str, int]:
        """What is answered, and the base offset."""
        answer, known = self.log.producers.judge(given)
        if answer is Answer.APPEND:
            return answer.name, self.log.append_as_leader(given, 0).base_offset
        return answer.name, known

    def replicate(self, given: RecordBatch) -> None:
        self.log.append_as_follower(
            RecordBatch(
                given.partition, given.producer, given.records, 100, given.producer_id, given.producer_epoch, given.base_sequence, self.log.log_end_offset, 0
            )
        )


def test_bv_001_consecutive_sequences_are_accepted() -> None:
    leader = Leader()

    assert [leader.produce(batch(0)), leader.produce(batch(1))] == [("APPEND", 0), ("APPEND", 1)]


def test_bv_002_the_same_batch_again_is_a_duplicate_answered_with_the_original_offset() -> None:
    leader = Leader()
    for sequence in (0, 1):
        leader.produce(batch(sequence))

    assert leader.produce(batch(1)) == ("DUPLICATE", 1)


def test_bv_004_a_higher_epoch_starts_at_zero_and_fences_the_lower() -> None:
    leader = Leader()
    for sequence in (0, 1):
        leader.produce(batch(sequence))

    assert leader.produce(batch(2, epoch=1))[0] == "OUT_OF_ORDER"
    assert leader.produce(batch(0, epoch=1)) == ("APPEND", 2)
    assert leader.produce(batch(0, epoch=0))[0] == "OLD_EPOCH"


@pytest.mark.parametrize(("first", "answer"), [pytest.param(0, "APPEND", id="BV-009"), pytest.param(1, "OUT_OF_ORDER", id="BV-010")])
def test_after_the_last_sequence_comes_zero(first: int, answer: str) -> None:
    leader = Leader()
    leader.replicate(batch(2**31 - 1, epoch=15))

    assert leader.produce(batch(first, epoch=15))[0] == answer


def test_bv_011_a_batch_may_straddle_the_wrap() -> None:
    leader = Leader()
    leader.replicate(batch(2_147_483_637, 9))

    assert leader.log.producers.entries[P].batches == [(2_147_483_637, 9, 0)]
    assert leader.produce(batch(10))[0] == "APPEND"


def test_bv_022_a_gap_is_refused_from_a_client_and_taken_from_a_leader() -> None:
    leader = Leader()
    leader.produce(batch(0))

    assert leader.produce(batch(3))[0] == "OUT_OF_ORDER"
    leader.replicate(batch(3))
    assert leader.produce(batch(4))[0] == "APPEND"


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        pytest.param(batch(6, 8), ("DUPLICATE", 6), id="BV-029"),
        pytest.param(batch(7, 8), ("OUT_OF_ORDER", -1), id="BV-030 partial overlap"),
        pytest.param(batch(2), ("DUPLICATE", 2), id="BV-031 oldest of the five"),
        pytest.param(batch(1), ("OUT_OF_ORDER", -1), id="BV-032 older than five"),
        pytest.param(batch(9), ("APPEND", 9), id="PS-13d next in line"),
        pytest.param(batch(11), ("OUT_OF_ORDER", -1), id="BV-034 BV-038 a gap"),
    ],
)
def test_the_last_five_batches_are_remembered(given: RecordBatch, answer: tuple[str, int]) -> None:
    leader = Leader()
    for sequence in range(6):
        leader.produce(batch(sequence))
    leader.produce(batch(6, 8))
    end = leader.log.log_end_offset

    assert leader.produce(given) == answer
    assert (leader.log.log_end_offset > end) == (answer[0] == "APPEND")


def test_bv_035_a_follower_does_not_filter_duplicates() -> None:
    leader = Leader()
    for _ in range(2):
        leader.replicate(batch(0, 1))

    assert leader.log.log_end_offset == 4


def test_ps_13c_a_producer_never_heard_of_may_start_anywhere() -> None:
    """KIP-360; so a retry whose state was lost is appended again (PS-19)."""
    assert Leader().produce(batch(17)) == ("APPEND", 0)


def test_ps_53_truncation_forgets_the_batches_that_were_cut() -> None:
    leader = Leader()
    for sequence in range(4):
        leader.produce(batch(sequence))

    leader.log.truncate_to(2)

    assert leader.produce(batch(3))[0] == "OUT_OF_ORDER"
    assert leader.produce(batch(2)) == ("APPEND", 2)
