"""Before the first batch of a transaction goes into a partition its leader asks the coordinator: is the partition part of it, or (version 2) shall it be?

Kafka: ReplicaManager.handleProduceAppend, AddPartitionsToTxnManager; KIP-890 (PS-60 to PS-68).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE, ErrorCode
from ksim_models.image import Image
from ksim_models.internal_topics import InternalTopics
from ksim_models.leading import Leading
from ksim_models.machine import Effect
from ksim_models.messages import NO_SEQUENCE, ProduceRequest
from ksim_models.peers import Peers
from ksim_models.producer_transactions import Checked, Verification
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.transaction_messages import (
    TRANSACTION_STATE,
    AddPartitionsToTxnBatchRequest,
    AddPartitionsToTxnBatchResponse,
    AddPartitionsToTxnRequest,
    TxnOffsetCommitRequest,
)
from ksim_models.units import NEVER, Micros, ms

RETRIABLE_IN_DISGUISE = (
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
)
"""PS-65: told as NOT_ENOUGH_REPLICAS, which every producer repeats, and without asking for metadata."""

Told = Callable[[Checked, Micros, list[Effect]], None]
Errors = dict[str, ErrorCode]


class Question:
    """One transaction's, on its way to the coordinator."""

    __slots__ = ("request", "told")

    def __init__(self, request: AddPartitionsToTxnRequest, told: Callable[[Errors, Micros, list[Effect]], None]) -> None:
        self.request = request
        self.told = told

    def refuse(self, error: ErrorCode, now: Micros, out: list[Effect]) -> None:
        self.told(dict.fromkeys(self.request.partitions, error), now, out)


class Verifying:
    def __init__(
        self,
        profile: BrokerProfile,
        config: BrokerConfig,
        image: Image,
        topics: InternalTopics,
        replicas: Mapping[str, Replica],
        leading: Leading,
        peers: Peers,
    ) -> None:
        self.profile = profile
        self.image = image
        self.topics = topics
        self.replicas = replicas
        self.leading = leading
        self.peers = peers
        self.enabled = profile.verifies_transactions and config.transaction_partition_verification_enable
        leading.verifies = self.enabled
        self.retry_after = ms(config.add_partitions_to_txn_retry_backoff_ms)
        self.retry_until = ms(min(config.add_partitions_to_txn_retry_backoff_max_ms, config.request_timeout_ms))
        self.asked: dict[str, None] = {}
        """Coordinators that have not answered yet: one request at a time (PS-63)."""
        self.waiting: dict[str, dict[str, Question]] = {}
        """Coordinator -> transactional id -> what it shall be asked next."""
        self.retries: list[tuple[Micros, Callable[[Micros, list[Effect]], None]]] = []

    @property
    def wake_at(self) -> Micros:
        return min(at for at, _ in self.retries) if self.retries else NEVER

    def wake(self, now: Micros, out: list[Effect]) -> None:
        due = [again for at, again in self.retries if at <= now]
        self.retries = [(at, again) for at, again in self.retries if at > now]
        for again in due:
            again(now, out)

    def concerns(self, request: ProduceRequest) -> bool:
        """PS-60."""
        return self.enabled or (request.transaction_version >= 2 and self.profile.verifies_transactions)

    def check(self, request: ProduceRequest, told: Told, now: Micros, out: list[Effect]) -> None:
        """Before a producer's batches are appended."""
        producers = dict.fromkeys((batch.producer_id, batch.producer_epoch) for batch in request.batches)
        if len(producers) > 1:  # PS-66
            told(Checked(dict.fromkeys((batch.partition for batch in request.batches), ErrorCode.INVALID_PRODUCER_ID_MAPPING), {}), now, out)
            return
        producer_id, epoch = next(iter(producers))
        first = {batch.partition: batch.base_sequence for batch in request.batches}
        adds = request.transaction_version >= 2

        def checked(result: Checked, now: Micros, out: list[Effect]) -> None:
            told(Checked({partition: self._in_disguise(error, adds=adds) for partition, error in result.errors.items()}, result.proofs), now, out)

        self.ask(request.transactional_id, producer_id, epoch, first, checked, now, out, adds=adds, knows_abortable=request.knows_abortable, repeats=adds)

    def check_offsets(
        self,
        partition: str,
        request: TxnOffsetCommitRequest,
        told: Callable[[ErrorCode, Verification | None, Micros, list[Effect]], None],
        now: Micros,
        out: list[Effect],
    ) -> None:
        """GC-7: before a group's offsets go into a partition of __consumer_offsets as part of a transaction."""
        adds = request.transaction_version >= 2 and self.profile.verifies_transactions
        if not adds and not (self.enabled and self.profile.verifies_offset_commits):
            told(NONE, None, now, out)
            return

        def checked(result: Checked, now: Micros, out: list[Effect]) -> None:
            told(result.errors.get(partition, NONE), result.proofs.get(partition), now, out)

        names = request.transactional_id, request.producer_id, request.producer_epoch
        self.ask(*names, {partition: NO_SEQUENCE}, checked, now, out, adds=adds, knows_abortable=True, repeats=False)

    def _in_disguise(self, error: ErrorCode, *, adds: bool) -> ErrorCode:
        if error is ErrorCode.NETWORK_EXCEPTION and self.profile.hides_lost_questions:
            return ErrorCode.NOT_ENOUGH_REPLICAS
        if error in RETRIABLE_IN_DISGUISE or (error is ErrorCode.CONCURRENT_TRANSACTIONS and not adds):
            return ErrorCode.NOT_ENOUGH_REPLICAS
        return error

    def ask(
        self,
        transactional_id: str,
        producer_id: int,
        epoch: int,
        first: Mapping[str, int],
        told: Told,
        now: Micros,
        out: list[Effect],
        *,
        adds: bool,
        knows_abortable: bool,
        repeats: bool,
    ) -> None:
        """first: partition -> the sequence of the batch that wants in, -1 for none.

        adds: as version 2 does. repeats: as long as the transaction before is not over (PS-68).
        """
        since = now

        def attempt(now: Micros, out: list[Effect]) -> None:
            errors, proofs = self._begin(producer_id, epoch, first, now, adds=adds)
            unknown = tuple(proofs)

            def answered(found: Errors, now: Micros, out: list[Effect]) -> None:
                result = Checked(errors | {name: self._for_a_producer(error, knows_abortable) for name, error in found.items() if error}, proofs)
                if repeats and now - since < self.retry_until and ErrorCode.CONCURRENT_TRANSACTIONS in result.errors.values():
                    self.retries.append((now + self.retry_after, attempt))
                else:
                    told(result, now, out)

            if unknown:
                self._send(Question(AddPartitionsToTxnRequest(transactional_id, producer_id, epoch, unknown, not adds), answered), now, out)
            else:
                answered({}, now, out)

        attempt(now, out)

    def _begin(self, producer_id: int, epoch: int, first: Mapping[str, int], now: Micros, *, adds: bool) -> tuple[Errors, dict[str, Verification]]:
        """PS-61, PS-62: what can be said without the coordinator, and a guard for each partition of which it is to be asked."""
        errors: Errors = {}
        proofs: dict[str, Verification] = {}
        for partition, sequence in first.items():
            replica = self.replicas.get(partition)
            if replica is None or replica.leadership is None:
                errors[partition] = self.leading.absence(partition)
                continue
            producers = replica.log.producers
            entry = producers.entries.get(producer_id)
            if self.profile.old_epoch_unasked and entry is not None and epoch < entry.epoch:
                errors[partition] = ErrorCode.INVALID_PRODUCER_EPOCH
            elif not producers.is_open(producer_id, epoch if self.profile.open_transaction_has_epoch else None):
                proofs[partition] = producers.transactions.verify(producer_id, epoch, sequence, now, bumps_epoch=adds)
        return errors, proofs

    def _for_a_producer(self, error: ErrorCode, knows_abortable: bool) -> ErrorCode:
        if error is ErrorCode.PRODUCER_FENCED:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        return ErrorCode.INVALID_TXN_STATE if error is ErrorCode.TRANSACTION_ABORTABLE and not knows_abortable else error

    def _send(self, question: Question, now: Micros, out: list[Effect]) -> None:
        transactional_id = question.request.transactional_id
        record = self.image.partitions.get(self.topics.partition_of(TRANSACTION_STATE, transactional_id))
        if record is None or not self.image.is_alive(record.leader):
            question.refuse(ErrorCode.COORDINATOR_NOT_AVAILABLE, now, out)
            return
        waiting = self.waiting.setdefault(record.leader, {})
        older = waiting.get(transactional_id)
        if older is not None:  # PS-64
            if question.request.producer_epoch < older.request.producer_epoch:
                question.refuse(ErrorCode.INVALID_PRODUCER_EPOCH, now, out)
                return
            same = question.request.producer_epoch == older.request.producer_epoch
            del waiting[transactional_id]
            older.refuse(ErrorCode.NETWORK_EXCEPTION if same else ErrorCode.INVALID_PRODUCER_EPOCH, now, out)
        waiting[transactional_id] = question
        self._go_on(record.leader, now, out)

    def _go_on(self, coordinator: str, now: Micros, out: list[Effect]) -> None:
        if coordinator in self.asked or not self.waiting.get(coordinator):
            return
        questions = self.waiting.pop(coordinator)
        self.asked[coordinator] = None

        def told(response: object | None, now: Micros, out: list[Effect]) -> None:
            del self.asked[coordinator]
            if response is None:
                for question in questions.values():
                    question.refuse(ErrorCode.NETWORK_EXCEPTION, now, out)
            else:
                assert isinstance(response, AddPartitionsToTxnBatchResponse)
                for transactional_id, results in response.results:
                    questions[transactional_id].told({partition: error for partition, error in results if error is not NONE}, now, out)
            self._go_on(coordinator, now, out)

        request = AddPartitionsToTxnBatchRequest(tuple(question.request for question in questions.values()))
        self.peers.send(coordinator, request, told, now, out)
