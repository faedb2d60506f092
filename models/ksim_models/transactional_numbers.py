"""Sequence numbers of a transactional producer: what differs from those of one that is only idempotent.

Kafka: TransactionManager.canRetry, handleFailedBatch, maybeResolveSequences, isSendToPartitionAllowed with a transactional id.
No epoch is chosen by the client: what cannot be told apart any more ends with an abort, and with the epoch that comes of it (I8, I11, I14).
"""

from __future__ import annotations

from ksim_models.batch import Batch
from ksim_models.errors import ErrorCode
from ksim_models.idempotence import Idempotence, Sequence
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_states import Failure

UNACKNOWLEDGED = "The client hasn't received acknowledgment for some previously sent messages and can no longer retry them. "


class TransactionalNumbers(Idempotence):
    def __init__(self, manager: TransactionManager, profile: ClientProfile) -> None:
        super().__init__(id_mapping_is_fatal=profile.id_mapping_error_is_fatal, tells_epochs_apart=profile.tells_batches_apart_by_epoch)
        self.manager = manager
        manager.on_reset = self.begin_again
        self.is_open = False
        """The I/O thread has come so far that it may send records: no transactional request holds it up (S2)."""

    @property
    def has_id(self) -> bool:
        """Records may go, and may expire (A41)."""
        return self.is_open

    def take_over(self) -> None:
        """The manager says who the producer is, and whether it has come to an end."""
        manager = self.manager
        self.producer_id, self.epoch = manager.producer_id, manager.epoch
        if manager.is_fatal and manager.last_error is not None:
            self.fatal, self.fatal_text = manager.last_error.exception, manager.last_error.text

    def begin_again(self) -> None:
        """Every partition begins with 0 under the new epoch."""
        self.partitions.clear()
        self.unresolved.clear()

    def may_drain(self, batch: Batch) -> bool:
        """A33 (a): its partition must have been added."""
        return self.producer_id >= 0 and batch.partition in self.manager.partitions and super().may_drain(batch)

    def may_retry(self, batch: Batch, error: ErrorCode, log_start_offset: int) -> bool:
        """I8."""
        sequence = self.partitions.get(batch.partition)
        if sequence is None:  # It was dropped, or all were reset, while the batch was under way.
            sequence = self.partitions[batch.partition] = Sequence(self.producer_id, self.epoch)
        if error is ErrorCode.UNKNOWN_PRODUCER_ID:
            if log_start_offset == -1 or batch.rewritten:
                return True
            if sequence.last_acked_offset < log_start_offset:
                self._renumber(sequence)
                return True
            return False
        if error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
            is_next = batch.base_sequence == sequence.last_acked_sequence + 1
            return sequence.unresolved_until is None and (batch.rewritten or not is_next)
        return error.retriable

    def _renumber(self, sequence: Sequence) -> None:
        """I8 a: retention deleted all that the broker knew of this producer; what is in flight begins with 0 again, under the same epoch."""
        sequence.producer_id, sequence.epoch, sequence.next_sequence, sequence.last_acked_sequence = self.producer_id, self.epoch, 0, -1
        for batch in sequence.in_flight:
            self._assign(sequence, batch)
            batch.rewritten = True

    def succeeded(self, batch: Batch, base_offset: int) -> None:
        if batch.partition in self.partitions:
            super().succeeded(batch, base_offset)

    def failed(self, batch: Batch, error: ErrorCode, text: str, *, adjust: bool) -> None:
        """I14, T12. IllegalState where a late error comes between two transactions."""
        try:
            self.manager.failed(Failure(error.exception, text, retriable=error.retriable), in_background=True)
        finally:
            self.take_over()
        sequence = self.partitions.get(batch.partition)
        if sequence is None or batch.base_sequence < 0:
            return
        self._forget(sequence, batch)
        if self.fatal:
            return
        if error is ErrorCode.UNKNOWN_PRODUCER_ID:
            self.unresolved.pop(batch.partition, None)
            del self.partitions[batch.partition]
        elif adjust:
            self._close_up(sequence, batch)

    def _close_up(self, sequence: Sequence, failed: Batch) -> None:
        """Those behind it take the numbers that it leaves. Below 0 Java throws an IllegalStateException, and leaves the rest as it is."""
        if sequence.next_sequence < failed.count:
            return
        sequence.next_sequence -= failed.count
        for batch in sequence.in_flight:
            if batch.base_sequence >= failed.base_sequence:
                if batch.base_sequence < failed.count:
                    return
                batch.base_sequence -= failed.count
                batch.rewritten = True

    @property
    def has_to_resolve(self) -> bool:
        return bool(self.unresolved) and any(not self.partitions[partition].in_flight for partition in self.unresolved)

    def resolve(self) -> None:
        """I11: what may or may not have been written ends with the transaction."""
        for partition in list(self.unresolved):
            sequence = self.partitions[partition]
            if sequence.in_flight:
                continue
            closed_up = sequence.unresolved_until is None or sequence.next_sequence == sequence.last_acked_sequence + 1
            sequence.unresolved_until = None
            del self.unresolved[partition]
            if not closed_up:
                safe = Failure("KafkaException", UNACKNOWLEDGED + "It is safe to abort the transaction and continue.")
                self.manager.abortable_if_possible(safe, Failure("KafkaException", UNACKNOWLEDGED + "It isn't safe to continue."))
                self.take_over()
