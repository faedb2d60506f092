"""Outcomes told record by record become the outcomes of batches that were sent."""

from __future__ import annotations

from ksim.live.in_batches import in_batches
from ksim_models.facts import Acked, Failed, Offered, Sent


def sent(records: range, attempt: int = 1) -> Sent:
    return Sent("p1", "t-0", records, "broker-1", "c", attempt)


def test_acknowledgements_of_one_batch_become_one_at_the_moment_of_the_last() -> None:
    facts = [(1, sent(range(3))), (5, Acked("p1", "t-0", range(1), 10)), (6, Acked("p1", "t-0", range(1, 3), 11))]

    assert in_batches(facts) == [(1, sent(range(3))), (6, Acked("p1", "t-0", range(3), 10))]


def test_an_acknowledgement_that_spans_two_batches_becomes_two() -> None:
    facts = [(1, sent(range(2))), (1, sent(range(2, 4))), (5, Acked("p1", "t-0", range(4), 10))]

    assert in_batches(facts)[2:] == [(5, Acked("p1", "t-0", range(2), 10)), (5, Acked("p1", "t-0", range(2, 4), 12))]


def test_the_last_sending_says_which_records_went_together() -> None:
    facts = [(1, sent(range(2))), (2, sent(range(1), 2)), (3, sent(range(1, 2), 2)), (5, Acked("p1", "t-0", range(2), 10))]

    assert in_batches(facts)[3:] == [(5, Acked("p1", "t-0", range(1), 10)), (5, Acked("p1", "t-0", range(1, 2), 11))]


def test_records_of_a_batch_that_ended_otherwise_stay_apart() -> None:
    facts = [(1, sent(range(2))), (5, Acked("p1", "t-0", range(1), 10)), (6, Failed("p1", "t-0", range(1, 2), "TimeoutException", ""))]

    assert in_batches(facts)[1:] == facts[1:]


def test_what_never_left_the_client_stays_as_it_was_told() -> None:
    facts = [(1, Offered("p1", range(2), 1, 0)), (9, Failed("p1", "t-0", range(1), "TimeoutException", ""))]

    assert in_batches(facts) == facts
