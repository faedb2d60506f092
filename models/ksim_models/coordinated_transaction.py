"""What a coordinator knows of one transactional id: its state, which states may follow which, and what each step changes.

Kafka: TransactionState, TransactionMetadata, TxnTransitMetadata, TransactionLog (TC-9 to TC-11).
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from ksim_models.machine import message
from ksim_models.messages import NO_PRODUCER_ID

NO_EPOCH = -1
LAST_EPOCH = 32_767
"""Never a client's: it is kept for fencing the one before."""
NO_TIME = -1
EPOCH_PER_TRANSACTION = 2
"""The transaction version from which on every end of a transaction raises the epoch (KIP-890 part 2)."""


class State(Enum):
    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"
    DEAD = "Dead"
    PREPARE_EPOCH_FENCE = "PrepareEpochFence"


_IDLE = (State.EMPTY, State.COMPLETE_COMMIT, State.COMPLETE_ABORT)
BEFORE: dict[State, tuple[State, ...]] = {
    State.EMPTY: _IDLE,
    State.ONGOING: (State.ONGOING, *_IDLE),
    State.PREPARE_COMMIT: (State.ONGOING,),
    State.PREPARE_ABORT: (State.ONGOING, State.PREPARE_EPOCH_FENCE, *_IDLE),  # An abort of nothing: transaction version 2 only.
    State.COMPLETE_COMMIT: (State.PREPARE_COMMIT,),
    State.COMPLETE_ABORT: (State.PREPARE_ABORT,),
    State.DEAD: _IDLE,
    State.PREPARE_EPOCH_FENCE: (State.ONGOING,),
}
"""State -> the states from which it may be reached."""


@message
class Transaction:
    """The value of a record of __transaction_state, and what is not written but remembered with it."""

    transactional_id: str
    producer_id: int
    timeout_ms: int
    update_ms: int
    """When it changed last: it expires by this (TC-63)."""
    state: State = State.EMPTY
    producer_epoch: int = NO_EPOCH
    last_producer_epoch: int = NO_EPOCH
    """Before it was raised: a client that missed the answer may ask again. Not written (TC-9)."""
    previous_producer_id: int = NO_PRODUCER_ID
    next_producer_id: int = NO_PRODUCER_ID
    """What the client will be once this transaction is complete, as its epochs are used up (TC-43)."""
    partitions: tuple[str, ...] = ()
    start_ms: int = NO_TIME
    """When the first partition was added: the time-out counts from there (TC-60)."""
    client_version: int = 0
    """The transaction version in whose form its last request came."""

    @property
    def is_exhausted(self) -> bool:
        """TC-10."""
        return is_exhausted(self.producer_epoch)


def is_exhausted(epoch: int) -> bool:
    return epoch >= LAST_EPOCH - 1


@message
class Tombstone:
    """The record of a transactional id that has expired."""

    transactional_id: str


def as_loaded(written: Transaction, version: int, *, other_ids_written: bool) -> Transaction:
    """What another coordinator reads: the last epoch is not in the record, before transaction version 1 nor is the client's version (TC-9).

    other_ids_written: from 4.3 with version 1 the producer ids of before and after are (KAFKA-20310).
    """
    loaded = replace(written, last_producer_epoch=NO_EPOCH, client_version=written.client_version if version >= 1 else 0)
    if version >= 1 and other_ids_written:
        return loaded
    return replace(loaded, previous_producer_id=NO_PRODUCER_ID, next_producer_id=NO_PRODUCER_ID)


def size_of(record: Transaction | Tombstone) -> int:
    """Bytes in the log, roughly."""
    size = 80 + len(record.transactional_id)
    return size if isinstance(record, Tombstone) else size + 33 + sum(len(partition) + 6 for partition in record.partitions)


# Steps. Each answers what is to be written; the producer id of before is always kept.


def _step(before: Transaction, state: State, now_ms: int, **changes: object) -> Transaction:
    return replace(before, state=state, previous_producer_id=before.producer_id, update_ms=now_ms, **changes)  # type: ignore[arg-type]


def with_next_epoch(before: Transaction, epoch: int, last_epoch: int, timeout_ms: int, now_ms: int) -> Transaction:
    return _step(before, State.EMPTY, now_ms, producer_epoch=epoch, last_producer_epoch=last_epoch, timeout_ms=timeout_ms, partitions=(), start_ms=NO_TIME)


def with_new_id(before: Transaction, producer_id: int, last_epoch: int, timeout_ms: int, now_ms: int) -> Transaction:
    return replace(with_next_epoch(before, 0, last_epoch, timeout_ms, now_ms), producer_id=producer_id)


def with_partitions(before: Transaction, partitions: tuple[str, ...], version: int, now_ms: int) -> Transaction:
    start_ms = before.start_ms if before.state is State.ONGOING else now_ms
    union = tuple(dict.fromkeys(before.partitions + partitions))
    return _step(before, State.ONGOING, now_ms, partitions=union, start_ms=start_ms, client_version=version)


def decided(before: Transaction, state: State, version: int, next_producer_id: int, now_ms: int) -> Transaction:
    """PrepareCommit or PrepareAbort. In version 2 the epoch is raised, so that nothing of this transaction can reach the next one (TC-43, TC-44)."""
    epoch, last = before.producer_epoch, before.last_producer_epoch
    if version >= EPOCH_PER_TRANSACTION:
        epoch, last = min(epoch + 1, LAST_EPOCH), epoch
    start_ms = before.start_ms if before.state is State.ONGOING else now_ms
    return _step(
        before,
        state,
        now_ms,
        producer_epoch=epoch,
        last_producer_epoch=last,
        next_producer_id=next_producer_id,
        start_ms=start_ms,
        client_version=version,
    )


def completed(before: Transaction, now_ms: int) -> Transaction:
    """All markers are written. Where the epochs were used up the client goes on with another producer id (TC-43)."""
    state = State.COMPLETE_COMMIT if before.state is State.PREPARE_COMMIT else State.COMPLETE_ABORT
    after = _step(before, state, now_ms, next_producer_id=NO_PRODUCER_ID, partitions=())
    if before.client_version >= EPOCH_PER_TRANSACTION and before.next_producer_id != NO_PRODUCER_ID:
        return replace(after, producer_id=before.next_producer_id, producer_epoch=0)
    return after
