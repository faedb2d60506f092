"""Sequence numbers in the client: who gets which, what may go, and when a new epoch begins."""

from __future__ import annotations

import pytest

from ksim_models.batch import Batch
from ksim_models.errors import ErrorCode as E
from ksim_models.idempotence import LAST_EPOCH, Idempotence


def with_id(producer_id: int = 7, epoch: int = 0) -> Idempotence:
    idempotence = Idempotence()
    idempotence.given(producer_id, epoch)
    return idempotence


def batch_of(count: int = 1, partition: str = "t-0") -> Batch:
    batch = Batch(1, partition, 1000, 0)
    batch.add(0, count, 10)
    return batch


def sent(idempotence: Idempotence, *counts: int, partition: str = "t-0") -> list[Batch]:
    batches = [batch_of(count, partition) for count in counts]
    for batch in batches:
        assert idempotence.may_drain(batch)
        idempotence.number(batch)
    return batches


def on_wire(batch: Batch) -> bool:
    return False


def test_nothing_leaves_without_a_producer_id() -> None:
    """I1, A33 (b)."""
    assert not Idempotence().may_drain(batch_of())
    assert with_id().may_drain(batch_of())


def test_sequences_count_records_and_are_kept() -> None:
    """I4, I5: per partition, from 0; a batch that has its number keeps it."""
    idempotence = with_id()
    batches = sent(idempotence, 3, 2, 1)
    (other,) = sent(idempotence, 4, partition="t-1")
    for batch in batches:
        idempotence.number(batch)

    assert [batch.base_sequence for batch in batches] == [0, 3, 5]
    assert (other.base_sequence, other.producer_id, other.epoch) == (0, 7, 0)


def test_success_remembers_the_last_acknowledged_sequence_and_offset() -> None:
    """I6: both only rise; an offset that was not told (-1) is none."""
    idempotence = with_id()
    first, second = sent(idempotence, 3, 2)
    idempotence.succeeded(second, 13)
    idempotence.succeeded(first, -1)
    numbers = idempotence.partitions["t-0"]

    assert (numbers.last_acked_sequence, numbers.last_acked_offset, numbers.in_flight) == (4, 14, [])


def test_retries_go_one_at_a_time_in_order() -> None:
    """I7, A33 (e)."""
    idempotence = with_id()
    first, second = sent(idempotence, 1, 1)

    assert idempotence.may_drain(first)
    assert not idempotence.may_drain(second)
    idempotence.succeeded(first, 0)
    assert idempotence.may_drain(second)


@pytest.mark.parametrize(
    ("error", "prepare", "retry", "bump"),
    [
        pytest.param(E.NOT_ENOUGH_REPLICAS, "", True, False, id="I8 a retriable one"),
        pytest.param(E.INVALID_RECORD, "", False, False, id="I8 one that is not"),
        pytest.param(E.OUT_OF_ORDER_SEQUENCE_NUMBER, "", True, False, id="I8 an earlier batch is the problem"),
        pytest.param(E.OUT_OF_ORDER_SEQUENCE_NUMBER, "next in line", True, True, id="I8 the next in line: the broker forgot, a new epoch"),
        pytest.param(E.OUT_OF_ORDER_SEQUENCE_NUMBER, "next, rewritten", True, False, id="I8 rewritten on the wire"),
        pytest.param(E.UNKNOWN_PRODUCER_ID, "", True, True, id="I8 unknown with a log start: a new epoch"),
        pytest.param(E.UNKNOWN_PRODUCER_ID, "no log start", True, False, id="I8 unknown without a log start: as it is"),
    ],
)
def test_what_is_tried_again_and_what_asks_for_a_new_epoch(error: E, prepare: str, retry: bool, bump: bool) -> None:
    idempotence = with_id()
    first, second = sent(idempotence, 1, 1)
    if prepare.startswith("next"):
        idempotence.succeeded(first, 0)
    second.rewritten = "rewritten" in prepare

    assert idempotence.may_retry(second, error, -1 if prepare == "no log start" else 0) is retry
    assert ("t-0" in idempotence.to_bump) is bump


@pytest.mark.parametrize(("retried", "unresolved"), [(False, None), (True, 3)])
def test_only_a_batch_that_had_been_tried_again_leaves_its_partition_unresolved(retried: bool, unresolved: int | None) -> None:
    """I10, A40: up to the sequence behind it."""
    idempotence = with_id()
    (batch,) = sent(idempotence, 3)
    batch.retried = retried
    idempotence.expired(batch)

    assert idempotence.partitions["t-0"].unresolved_until == unresolved
    assert idempotence.may_drain(batch_of()) is (unresolved is None), "A33 (d)"


@pytest.mark.parametrize(("acknowledged", "bump"), [(True, False), (False, True)])
def test_an_unresolved_partition_resolves_when_nothing_of_it_is_in_flight(acknowledged: bool, bump: bool) -> None:
    """I11: with the numbers closed up by a late success nothing is missing; else a new epoch is needed."""
    idempotence = with_id()
    first, second = sent(idempotence, 1, 1)
    first.retried = True
    idempotence.expired(first)
    idempotence.failed(first, E.REQUEST_TIMED_OUT, "why", adjust=False)
    idempotence.resolve()
    assert idempotence.partitions["t-0"].unresolved_until == 1, "the second one is still in flight"

    if acknowledged:
        idempotence.succeeded(second, 5)
    else:
        idempotence.failed(second, E.REQUEST_TIMED_OUT, "why", adjust=False)
    idempotence.resolve()

    assert ("t-0" in idempotence.to_bump) is bump
    assert idempotence.may_drain(batch_of())


def test_a_new_epoch_renumbers_what_is_in_flight_from_zero() -> None:
    """I12: only the partitions that asked; what is on the wire is marked as rewritten."""
    idempotence = with_id()
    first, second = sent(idempotence, 2, 3)
    (other,) = sent(idempotence, 4, partition="t-1")
    idempotence.failed(first, E.INVALID_RECORD, "why", adjust=True)
    assert idempotence.bump(lambda batch: batch is second)

    assert (second.epoch, second.base_sequence, second.rewritten) == (1, 0, True)
    assert (other.epoch, other.base_sequence) == (0, 0)
    assert not idempotence.may_drain(batch_of(1, "t-1")), "A33 (c): of the old epoch while its batch is in flight"
    idempotence.succeeded(other, 0)
    later = batch_of(1, "t-1")
    idempotence.number(later)
    assert (later.epoch, later.base_sequence) == (1, 0)


def test_when_the_epochs_are_used_up_a_new_id_is_needed() -> None:
    """I12."""
    idempotence = with_id(epoch=LAST_EPOCH)
    (first,) = sent(idempotence, 1)
    idempotence.failed(first, E.INVALID_RECORD, "why", adjust=True)

    assert not idempotence.bump(on_wire)
    assert not idempotence.has_id


@pytest.mark.parametrize(
    ("error", "adjust", "bump", "fatal"),
    [
        pytest.param(E.INVALID_RECORD, True, True, False, id="I14 a gap: a new epoch"),
        pytest.param(E.NOT_ENOUGH_REPLICAS, False, False, False, id="I14 retries used up: no gap is closed"),
        pytest.param(E.OUT_OF_ORDER_SEQUENCE_NUMBER, False, True, False, id="I14 out of order: in any case"),
        pytest.param(E.CLUSTER_AUTHORIZATION_FAILED, True, False, True, id="I14 fatal"),
        pytest.param(E.UNSUPPORTED_VERSION, True, False, True, id="I14 fatal too"),
    ],
)
def test_a_final_failure(error: E, adjust: bool, bump: bool, fatal: bool) -> None:
    idempotence = with_id()
    first, _ = sent(idempotence, 1, 1)
    idempotence.failed(first, error, "why", adjust=adjust)

    assert (bool(idempotence.to_bump), bool(idempotence.fatal)) == (bump, fatal)
    assert first not in idempotence.partitions["t-0"].in_flight
    assert idempotence.may_drain(batch_of(1, "t-9")) is not fatal, "A33 (a)"


def test_a_batch_that_never_had_a_number_leaves_no_gap() -> None:
    """I14."""
    idempotence = with_id()
    idempotence.failed(batch_of(), E.REQUEST_TIMED_OUT, "why", adjust=True)

    assert not idempotence.to_bump
