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


def test_a_partition_of_an_old_epoch_begins_again_from_zero_and_keeps_its_last_offset() -> None:
    """I4: sequences from 0, nothing of them acknowledged; only dropping the entry would clear the offset."""
    idempotence = with_id()
    (old,) = sent(idempotence, 3)
    idempotence.succeeded(old, 10)
    idempotence.given(8, 0)  # Another id, the same epoch: as stale as another epoch.
    (new,) = sent(idempotence, 2)
    numbers = idempotence.partitions["t-0"]

    assert (new.producer_id, new.epoch, new.base_sequence) == (8, 0, 0)
    assert (numbers.next_sequence, numbers.last_acked_sequence, numbers.last_acked_offset) == (2, -1, 12)


def test_offsets_and_sequences_of_an_answer_are_those_of_its_last_record() -> None:
    """I6: base + count - 1, offset 0 included; an older answer lowers neither."""
    idempotence = with_id()
    first, second = sent(idempotence, 3, 2)
    numbers = idempotence.partitions["t-0"]
    assert (numbers.last_acked_sequence, numbers.last_acked_offset) == (-1, -1)
    idempotence.succeeded(first, 0)
    assert (numbers.last_acked_sequence, numbers.last_acked_offset, numbers.in_flight) == (2, 2, [second])
    idempotence.succeeded(second, 3)
    idempotence.succeeded(first, 0)  # A late one.

    assert (numbers.last_acked_sequence, numbers.last_acked_offset) == (4, 4)


def test_a_retry_goes_on_while_its_partition_is_unresolved_and_nothing_new_does() -> None:
    """I10, A33 (d)."""
    idempotence = with_id()
    first, second = sent(idempotence, 1, 1)
    first.retried = True
    idempotence.expired(first)
    idempotence.failed(first, E.REQUEST_TIMED_OUT, "why", adjust=False)

    assert idempotence.may_drain(second)
    assert not idempotence.may_drain(batch_of())
    assert idempotence.may_drain(batch_of(1, "t-1"))


@pytest.mark.parametrize(("place", "bump"), [(1, False), (2, True)])
def test_out_of_order_in_an_unresolved_partition_asks_for_a_new_epoch_only_right_behind_the_gap(place: int, bump: bool) -> None:
    """I8b: `unresolved and base == the stored sequence`, whatever was acknowledged last."""
    idempotence = with_id()
    batches = sent(idempotence, 2, 2, 2)
    batches[1].retried = True
    idempotence.expired(batches[1])
    assert idempotence.partitions["t-0"].unresolved_until == 4

    assert idempotence.may_retry(batches[place], E.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert ("t-0" in idempotence.to_bump) is bump


def test_an_unknown_producer_id_about_a_batch_that_was_renumbered_on_the_wire_asks_for_nothing() -> None:
    """I8a: it is sent again as it is."""
    idempotence = with_id()
    (batch,) = sent(idempotence, 1)
    batch.rewritten = True

    assert idempotence.may_retry(batch, E.UNKNOWN_PRODUCER_ID, 0)
    assert not idempotence.to_bump


def test_the_sequence_up_to_which_a_partition_is_unresolved_only_rises() -> None:
    """I10: max(stored, last sequence + 1), for batches that have a sequence."""
    idempotence = with_id()
    first, second = sent(idempotence, 3, 2)
    unnumbered = batch_of()
    for batch in (second, first, unnumbered):
        batch.retried = True
        idempotence.expired(batch)
    idempotence.expired(batch_of(1, "t-9"))

    assert idempotence.partitions["t-0"].unresolved_until == 5
    assert list(idempotence.unresolved) == ["t-0"]


def test_a_partition_without_numbers_cannot_be_unresolved() -> None:
    """I10: its first batch expired before it was drained."""
    idempotence = with_id()
    batch = batch_of()
    batch.retried = True
    idempotence.expired(batch)

    assert (idempotence.unresolved, idempotence.partitions) == ({}, {})


def test_the_first_fatal_error_stays_and_nothing_is_renumbered_behind_it() -> None:
    """I14."""
    idempotence = with_id()
    first, second, third = sent(idempotence, 1, 1, 1)
    idempotence.failed(first, E.CLUSTER_AUTHORIZATION_FAILED, "one", adjust=True)
    idempotence.failed(second, E.UNSUPPORTED_VERSION, "two", adjust=True)
    idempotence.failed(third, E.OUT_OF_ORDER_SEQUENCE_NUMBER, "three", adjust=False)

    assert (idempotence.fatal, idempotence.fatal_text) == ("ClusterAuthorizationException", "one")
    assert (idempotence.to_bump, idempotence.partitions["t-0"].in_flight) == ({}, [])


def test_an_unknown_producer_id_that_is_final_asks_for_a_new_epoch_too() -> None:
    """I14: it is an out-of-order error for the client (UnknownProducerIdException extends it)."""
    idempotence = with_id()
    first, second = sent(idempotence, 1, 1)
    idempotence.failed(first, E.UNKNOWN_PRODUCER_ID, "why", adjust=False)

    assert list(idempotence.to_bump) == ["t-0"]
    assert idempotence.bump(on_wire)
    assert (second.epoch, second.base_sequence, second.rewritten) == (1, 0, False)


def test_a_new_epoch_forgets_what_was_acknowledged_and_what_was_unresolved() -> None:
    """I12: next sequence = the total of what is in flight, last acknowledged -1, no longer unresolved; asked once, bumped once."""
    idempotence = with_id()
    first, second, third = sent(idempotence, 1, 2, 3)
    idempotence.succeeded(first, 0)
    second.retried = True
    idempotence.expired(second)
    idempotence.failed(second, E.INVALID_RECORD, "why", adjust=True)
    assert idempotence.bump(on_wire)
    numbers = idempotence.partitions["t-0"]

    assert (numbers.producer_id, numbers.epoch, numbers.next_sequence, numbers.last_acked_sequence) == (7, 1, 3, -1)
    assert (numbers.unresolved_until, numbers.last_acked_offset, third.base_sequence) == (None, 0, 0)
    assert (idempotence.to_bump, idempotence.fatal) == ({}, "")


@pytest.mark.parametrize(("epoch", "after"), [(LAST_EPOCH - 1, (7, LAST_EPOCH)), (LAST_EPOCH, (-1, -1))])
def test_the_last_epoch_is_used_before_a_new_id_is_needed(epoch: int, after: tuple[int, int]) -> None:
    """I12: 32767 is an epoch like any other; behind it what is in flight has no id at all until there is a new one."""
    idempotence = with_id(epoch=epoch)
    first, second = sent(idempotence, 1, 1)
    idempotence.failed(first, E.INVALID_RECORD, "why", adjust=True)

    assert idempotence.bump(on_wire) is (epoch < LAST_EPOCH)
    assert (idempotence.producer_id, idempotence.epoch) == (second.producer_id, second.epoch) == after


def test_a_partition_that_asked_and_has_no_numbers_is_passed_over() -> None:
    """I12: the epoch rises all the same, and the partitions behind it are renumbered."""
    idempotence = with_id()
    (batch,) = sent(idempotence, 1)
    idempotence.to_bump = {"t-9": None, "t-0": None}

    assert idempotence.bump(on_wire)
    assert (batch.epoch, "t-9" in idempotence.partitions) == (1, False)


def test_the_parts_of_a_batch_stand_where_it_stood() -> None:
    """A43: between the one before and the one behind."""
    idempotence = with_id()
    first, whole, last = sent(idempotence, 1, 2, 1)
    parts = [batch_of(), batch_of()]
    idempotence.split(whole, parts)

    assert idempotence.partitions["t-0"].in_flight == [first, *parts, last]


def test_only_partitions_with_nothing_in_flight_are_resolved_and_each_in_its_own_way() -> None:
    """I11: one is closed up, one has a gap, one still waits."""
    idempotence = with_id()
    for partition in ("t-0", "t-1", "t-2"):
        first, second = sent(idempotence, 1, 2, partition=partition)
        first.retried = True
        idempotence.expired(first)
        idempotence.failed(first, E.REQUEST_TIMED_OUT, "why", adjust=False)
        if partition == "t-0":
            idempotence.succeeded(second, 5)
        elif partition == "t-1":
            idempotence.failed(second, E.REQUEST_TIMED_OUT, "why", adjust=False)
    idempotence.resolve()

    assert (list(idempotence.to_bump), list(idempotence.unresolved)) == (["t-1"], ["t-2"])
    assert [idempotence.partitions[partition].unresolved_until for partition in ("t-0", "t-1", "t-2")] == [None, None, 1]


def test_before_there_is_an_id_there_is_none() -> None:
    """RecordBatch.NO_PRODUCER_ID, NO_PRODUCER_EPOCH; an id of 0 is one."""
    idempotence = Idempotence()
    assert (idempotence.producer_id, idempotence.epoch, idempotence.has_id) == (-1, -1, False)
    idempotence.given(0, 0)

    assert idempotence.has_id


@pytest.mark.parametrize("fatal", [True, False])
def test_a_wrong_id_mapping_is_fatal_where_the_release_says_so(fatal: bool) -> None:
    """I14: from 4.0 on, and so by default."""
    idempotence = Idempotence(id_mapping_is_fatal=fatal)
    idempotence.given(7, 0)
    (batch,) = sent(idempotence, 1)
    idempotence.failed(batch, E.INVALID_PRODUCER_ID_MAPPING, "why", adjust=True)

    assert bool(idempotence.fatal) is fatal
    assert E.INVALID_PRODUCER_ID_MAPPING in Idempotence().fatal_errors


def test_a_batch_that_never_had_a_number_leaves_no_gap_among_those_that_have() -> None:
    """I14: it expired in the queue, behind others of its partition."""
    idempotence = with_id()
    (numbered,) = sent(idempotence, 1)
    idempotence.failed(batch_of(), E.REQUEST_TIMED_OUT, "why", adjust=True)

    assert idempotence.to_bump == {}
    assert idempotence.partitions["t-0"].in_flight == [numbered]
