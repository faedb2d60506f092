"""Idempotence in the client: which sequence number a batch gets, whether it may go now, and what a failure does to those behind it.

Kafka: TransactionManager without a transactional id, TxnPartitionMap, TxnPartitionEntry; KIP-98, KIP-360.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim_models.batch import Batch
from ksim_models.errors import ErrorCode
from ksim_models.sequences import next_sequence

LAST_EPOCH = 32_767
FATAL = (
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ErrorCode.UNSUPPORTED_VERSION,
    ErrorCode.PRODUCER_FENCED,
)
"""Errors of a batch after which only close() works (I14)."""


class Sequence:
    """The client's numbers for one partition."""

    __slots__ = ("epoch", "in_flight", "last_acked_offset", "last_acked_sequence", "next_sequence", "producer_id", "unresolved_until")

    def __init__(self, producer_id: int, epoch: int) -> None:
        self.producer_id = producer_id
        self.epoch = epoch
        self.next_sequence = 0
        self.last_acked_sequence = -1
        self.last_acked_offset = -1
        self.in_flight: list[Batch] = []
        """Batches that have a sequence and no outcome, in the order of their sequences; those that wait for a retry included."""
        self.unresolved_until: int | None = None
        """A retried batch expired: the broker may have it or not, so nothing new may follow until the others told (I10). The sequence behind it."""


class Idempotence:
    def __init__(self, *, id_mapping_is_fatal: bool = True, tells_epochs_apart: bool = True) -> None:
        self.tells_epochs_apart = tells_epochs_apart
        self.fatal_errors = (*FATAL, ErrorCode.INVALID_PRODUCER_ID_MAPPING) if id_mapping_is_fatal else FATAL
        self.producer_id = -1
        self.epoch = -1
        self.partitions: dict[str, Sequence] = {}
        self.to_bump: dict[str, None] = {}
        self.unresolved: dict[str, None] = {}
        """Partitions that may have an `unresolved_until`."""
        self.fatal = ""
        """The exception that put an end to it."""
        self.fatal_text = ""

    @property
    def has_id(self) -> bool:
        return self.producer_id >= 0

    def given(self, producer_id: int, epoch: int) -> None:
        self.producer_id, self.epoch = producer_id, epoch

    def _is_stale(self, sequence: Sequence) -> bool:
        return sequence.producer_id != self.producer_id or sequence.epoch != self.epoch

    def may_drain(self, batch: Batch) -> bool:
        """A33 (b) to (e)."""
        if not self.has_id or self.fatal:
            return False
        sequence = self.partitions.get(batch.partition)
        if sequence is None:
            return True
        if batch.base_sequence < 0:
            return not (sequence.in_flight and self._is_stale(sequence)) and sequence.unresolved_until is None
        return not sequence.in_flight or sequence.in_flight[0] is batch  # Retries go one at a time, in order (I7).

    def number(self, batch: Batch) -> None:
        """I4: a batch gets its sequence as it leaves the queue for the first time, and keeps it."""
        if batch.base_sequence >= 0:
            return
        sequence = self.partitions.get(batch.partition)
        if sequence is None:
            sequence = self.partitions[batch.partition] = Sequence(self.producer_id, self.epoch)
        elif self._is_stale(sequence) and not sequence.in_flight:
            sequence.producer_id, sequence.epoch, sequence.next_sequence, sequence.last_acked_sequence = self.producer_id, self.epoch, 0, -1
        self._assign(sequence, batch)
        sequence.in_flight.append(batch)

    def _assign(self, sequence: Sequence, batch: Batch) -> None:
        batch.producer_id, batch.epoch, batch.base_sequence = sequence.producer_id, sequence.epoch, sequence.next_sequence
        sequence.next_sequence = next_sequence(sequence.next_sequence, batch.count)

    def succeeded(self, batch: Batch, base_offset: int) -> None:
        """I6."""
        sequence = self.partitions[batch.partition]
        sequence.last_acked_sequence = max(sequence.last_acked_sequence, batch.last_sequence)
        if base_offset >= 0:
            sequence.last_acked_offset = max(sequence.last_acked_offset, base_offset + batch.count - 1)
        self._forget(sequence, batch)

    def _forget(self, sequence: Sequence, batch: Batch) -> None:
        """A batch that expired is forgotten then, and again when its answer comes; before KAFKA-13794 that took away another one with its base sequence."""
        if batch in sequence.in_flight:
            sequence.in_flight.remove(batch)
        elif not self.tells_epochs_apart:
            sequence.in_flight = [other for other in sequence.in_flight if other.base_sequence != batch.base_sequence]

    def may_return(self, batch: Batch) -> bool:
        """Whether Java puts it back into its queue: where nothing is known to be in flight it throws an IllegalStateException (see KAFKA-13794)."""
        return batch.base_sequence >= 0 and bool(self.partitions[batch.partition].in_flight)

    def split(self, batch: Batch, parts: list[Batch]) -> None:
        """A43: the parts have the numbers of the whole between them."""
        sequence = self.partitions[batch.partition]
        if batch not in sequence.in_flight:  # It was lost sight of (KAFKA-13794).
            self._forget(sequence, batch)
            sequence.in_flight = sorted([*sequence.in_flight, *parts], key=lambda one: one.base_sequence)
            return
        place = sequence.in_flight.index(batch)
        sequence.in_flight[place : place + 1] = parts

    def may_retry(self, batch: Batch, error: ErrorCode, log_start_offset: int) -> bool:
        """I8; it may ask for an epoch bump.

        The next one in line, refused as out of order, means that the broker lost what it had acknowledged: it is sent again under a new epoch,
        and no error tells the application of the gap (I9).
        """
        sequence = self.partitions[batch.partition]
        if error is ErrorCode.UNKNOWN_PRODUCER_ID:
            if log_start_offset != -1 and not batch.rewritten:
                self.to_bump[batch.partition] = None
            return True
        if error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
            is_next = batch.base_sequence == sequence.last_acked_sequence + 1
            unresolved = sequence.unresolved_until
            if unresolved is None and (batch.rewritten or not is_next):
                return True  # An earlier batch is presumably the problem.
            if unresolved is None or batch.base_sequence == unresolved:
                self.to_bump[batch.partition] = None
            return True
        return error.retriable

    def failed(self, batch: Batch, error: ErrorCode, text: str, *, adjust: bool) -> None:
        """I14: a final failure leaves a gap; a new epoch lets those behind it start from 0. The application sees record k failed, k+1 persisted (I18).

        adjust: retries were left (I15). Whether the broker had appended the batch all the same is not asked: what was in flight behind it and had been
        appended too, its answer lost, is sent again under the new epoch, and no broker knows it again.
        """
        sequence = self.partitions.get(batch.partition)
        if error in self.fatal_errors and not self.fatal:
            self.fatal, self.fatal_text = error.exception, text
        if sequence is None or batch.base_sequence < 0:
            return
        self._forget(sequence, batch)
        if not self.fatal and (adjust or error in (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.UNKNOWN_PRODUCER_ID)):
            self.to_bump[batch.partition] = None

    def expired(self, batch: Batch) -> None:
        """A40, I10: only a batch that had been tried again leaves its partition unresolved."""
        sequence = self.partitions.get(batch.partition)
        if sequence is not None and batch.base_sequence >= 0 and batch.retried:
            sequence.unresolved_until = max(sequence.unresolved_until or 0, next_sequence(batch.last_sequence, 1))
            self.unresolved[batch.partition] = None

    def resolve(self) -> None:
        """I11: once nothing of an unresolved partition is in flight, either its numbers close up or a new epoch is needed."""
        for partition in list(self.unresolved):
            sequence = self.partitions[partition]
            if not sequence.in_flight:
                if sequence.unresolved_until is not None and sequence.next_sequence != sequence.last_acked_sequence + 1:
                    self.to_bump[partition] = None
                sequence.unresolved_until = None
                del self.unresolved[partition]

    def bump(self, on_wire: Callable[[Batch], bool]) -> bool:
        """I12: the next epoch, chosen locally, for the partitions that asked; the others keep theirs until nothing of them is in flight (I13).

        False where the epochs of this producer id are used up and a new id is needed: what was in flight then goes out without any.
        """
        marked, self.to_bump = self.to_bump, {}
        overflow = self.epoch == LAST_EPOCH
        if overflow:
            self.producer_id = self.epoch = -1
        else:
            self.epoch += 1
        for partition in marked:
            sequence = self.partitions.get(partition)
            if sequence is None:
                continue
            sequence.producer_id, sequence.epoch, sequence.next_sequence, sequence.last_acked_sequence = self.producer_id, self.epoch, 0, -1
            sequence.unresolved_until = None
            for batch in sequence.in_flight:
                self._assign(sequence, batch)
                batch.rewritten = on_wire(batch)
        return not overflow
