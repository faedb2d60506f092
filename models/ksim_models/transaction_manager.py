"""The client's side of transactions: what the application may call, which requests wait, what their answers change.

Kafka: TransactionManager with a transactional id (T1 to T14, T20 to T24, T26 to T34, T40 to T47, T50, T51; KIP-98, KIP-360, KIP-447, KIP-588, KIP-890).
Whom a request goes to, and when, is `transaction_step`'s affair; sequence numbers are those of `transactional_numbers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode, known_to
from ksim_models.messages import InitProducerIdRequest
from ksim_models.profiles import ClientProfile
from ksim_models.refusals import CLOSED_BEFORE
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    FindCoordinatorRequest,
    TxnOffsetCommitRequest,
)
from ksim_models.transaction_pending import NO_EPOCHS, Group, Pending
from ksim_models.transaction_replies import ADD_OFFSETS, ADD_PARTITIONS, END_TXN, FIND_COORDINATOR, INIT_PRODUCER_ID, OFFSET_COMMIT
from ksim_models.transaction_states import Failure, IllegalState, Priority, Result, State, is_legal
from ksim_models.units import ms

TRANSACTION, GROUP = "transaction", "group"
FATAL_FOR_EVERYONE = (
    "ClusterAuthorizationException",
    "TransactionalIdAuthorizationException",
    "ProducerFencedException",
    "UnsupportedVersionException",
)
"""I14: what a failed batch, or a failed send(), makes of the producer."""
FENCED_BEFORE = "The producer has been rejected from the broker because it tried to use an old epoch with the transactionalId"
NOT_IN_TRANSACTION_BEFORE = "Cannot send offsets to transaction either because the producer is not in an active transaction"
EXHAUSTED = "Transaction Request was aborted after exhausting retries."
PARTITION = "<partition>"
"""Stands in a text for that of the record whose send() throws: who asks knows it."""
FIRST_ADD_BACKOFF_MS = 20
"""T24."""


class TransactionManager:
    def __init__(self, config: ProducerConfig, profile: ClientProfile) -> None:
        self.transactional_id = config.transactional_id
        self.knows_abortable = known_to(profile.release, ErrorCode.TRANSACTION_ABORTABLE) is ErrorCode.TRANSACTION_ABORTABLE
        """3.8: Produce v11."""
        self.timeout_ms = config.transaction_timeout_ms
        self.profile = profile
        self.backoff = ms(config.retry_backoff_ms)
        self.state = State.UNINITIALIZED
        self.last_error: Failure | None = None
        self.producer_id = -1
        self.epoch = -1
        self.queue: list[Pending] = []
        """In the order of coming; `next_request` goes by priority. Simplified: equals go in that order, where Java's heap promises none (T20)."""
        self.in_flight: Pending | None = None
        self.new_partitions: dict[str, None] = {}
        self.pending_partitions: dict[str, None] = {}
        self.partitions: dict[str, None] = {}
        """Those that are in the transaction."""
        self.pending_offsets: dict[str, tuple[int, int]] = {}
        self.coordinators: dict[str, str] = {}
        """"transaction" and "group" -> the node."""
        self.coordinator_bumps = False
        """The coordinator raises epochs on request (InitProducerId v3); known once its connection was ready (T11, PV-184)."""
        self.started = False
        """The coordinator knows of the transaction (T22)."""
        self.bump_required = False
        self.is_v2 = False
        """T40: of the transaction at hand; read anew only between transactions."""
        self.features: tuple[int, int] = (-1, 0)
        """The newest (epoch of the features, transaction.version) that a broker told."""
        self.features_seen = -2
        self.number = 0
        """Of the transaction at hand, or the last one, from 1."""
        self.pinned: tuple[Result, State, str] | None = None
        """The last initTransactions, commit or abort: result, target, name; it must be heard of before another call (T9)."""
        self.on_reset: Callable[[], None] = lambda: None
        """All sequence numbers begin again."""
        self.is_closed = False
        """close() has begun."""
        self.hurry: Callable[[int], None] = lambda by: None
        """1: a commit or an abort has begun, and nothing lingers (A27); -1: it is over."""

    # States.

    @property
    def has_error(self) -> bool:
        return self.state in (State.ABORTABLE_ERROR, State.FATAL_ERROR)

    @property
    def is_fatal(self) -> bool:
        return self.state is State.FATAL_ERROR

    @property
    def is_completing(self) -> bool:
        return self.state in (State.COMMITTING, State.ABORTING)

    @property
    def is_ongoing(self) -> bool:
        return self.state in (State.IN_TRANSACTION, State.COMMITTING, State.ABORTING, State.ABORTABLE_ERROR)

    def _go(self, target: State, failure: Failure | None = None, *, in_background: bool = False) -> None:
        """T1. An illegal step leaves the state alone if the application took it, and poisons the producer where its I/O thread did (3.6)."""
        if not is_legal(self.state, target, self.profile):
            text = f"TransactionalId {self.transactional_id}: Invalid transition attempted from state {self.state.value} to state {target.value}"
            illegal = Failure("IllegalStateException" if self.profile.illegal_steps_are_illegal_states else "KafkaException", text)
            if in_background and self.profile.illegal_steps_poison:
                self._become(State.FATAL_ERROR, illegal)
            raise IllegalState(illegal)
        self._become(target, failure)

    def _become(self, target: State, failure: Failure | None) -> None:
        completed = self.is_completing
        self.state, self.last_error = target, failure
        if completed is not self.is_completing and (not completed or self.profile.linger_returns):
            self.hurry(-1 if completed else 1)

    def abortable(self, failure: Failure, *, in_background: bool = True) -> None:
        """T2: an abort that is under way goes on."""
        if self.state is not State.ABORTING:
            self._go(State.ABORTABLE_ERROR, failure, in_background=in_background)

    def fatal(self, failure: Failure) -> None:
        self._go(State.FATAL_ERROR, failure)
        if self.pinned is not None:
            self.pinned[0].fail(failure)

    @property
    def bumps_by_client(self) -> bool:
        return self.coordinator_bumps and not self.is_v2

    def abortable_if_possible(self, failure: Failure, fatal: Failure | None = None) -> None:
        """T11."""
        if not (self.coordinator_bumps or self.is_v2):
            self.fatal(fatal or failure)
            return
        if self.bumps_by_client:
            self.bump_required = True
        self.abortable(failure)

    def failed(self, failure: Failure, *, in_background: bool) -> None:
        """T12: a batch failed for good, or a send() did."""
        mapping = failure.exception == "InvalidPidMappingException" and self.profile.id_mapping_error_is_fatal
        if failure.exception in FATAL_FOR_EVERYONE or mapping:
            self.fatal(failure)
            return
        if self.profile.exhausted_retries_are_abortable and (failure.retriable or failure.exception == "InvalidTxnStateException"):
            failure = Failure("TransactionAbortableException", EXHAUSTED, cause=failure.exception)
        if self.bumps_by_client and not self.is_completing:
            self.bump_required = True
        self.abortable(failure, in_background=in_background)

    def throw_if_failed(self) -> None:
        """T3."""
        failure = self.last_error
        if not self.has_error or failure is None:
            return
        numbers = f"(producerId={self.producer_id}, epoch={self.epoch})"  # From 3.2 to 3.6 with "ProducerIdAndEpoch" before it.
        who = f"Producer with transactionalId '{self.transactional_id}' and {numbers}"
        is_old = not self.profile.pins_timed_out_calls
        match failure.exception:
            case "ProducerFencedException":
                text = FENCED_BEFORE if is_old else f"{who} has been fenced by another producer with the same transactionalId"
                raise IllegalState(Failure(failure.exception, text))
            case "InvalidProducerEpochException":
                text = f"Producer attempted to produce with an old epoch {numbers}" if is_old else f"{who} attempted to produce with an old epoch"
                raise IllegalState(Failure(failure.exception, text))
            case "IllegalStateException":
                text = f"{who} cannot execute transactional method because of previous invalid state transition attempt"
                raise IllegalState(Failure(failure.exception, text, failure.exception))
        raise IllegalState(Failure("KafkaException", "Cannot execute transactional method because we are in an error state", failure.exception))

    # What the application calls. Each throws `IllegalState`, or answers what it waits for.

    def initialize(self) -> Result:
        self._throw_if_closed()
        self.throw_if_failed()
        return self._once(self._initialize, State.INITIALIZING, "initTransactions")

    def _initialize(self) -> Result:
        self._go(State.INITIALIZING)
        return self._ask_for_id(Priority.INIT_PRODUCER_ID)

    def _ask_for_id(self, priority: Priority) -> Result:
        known = (self.producer_id, self.epoch) if priority is Priority.EPOCH_BUMP else (-1, -1)
        request = InitProducerIdRequest(self.transactional_id, self.timeout_ms, *known)
        return self._enqueue(INIT_PRODUCER_ID, request, priority)

    def begin(self) -> None:
        self._throw_if_closed()
        self._throw_if_pinned("beginTransaction")
        self.throw_if_failed()
        self._go(State.IN_TRANSACTION)
        self.number += 1

    def commit(self) -> Result:
        self._throw_if_closed()
        return self._once(lambda: self._complete(committed=True), State.COMMITTING, "commitTransaction")

    def abort(self) -> Result:
        self._throw_if_closed()
        return self.abort_while_closing()

    def abort_while_closing(self) -> Result:
        """A51: what close() does about an open transaction."""
        return self._once(lambda: self._complete(committed=False), State.ABORTING, "abortTransaction")

    def _complete(self, *, committed: bool) -> Result:
        """T23. The end is asked for with the version that the transaction began with; only then the features are read."""
        if committed or self.state is not State.ABORTABLE_ERROR:
            self.throw_if_failed()
        self._go(State.COMMITTING if committed else State.ABORTING)
        if not committed:
            self.new_partitions.clear()
        self._enqueue_new_partitions()
        request = EndTxnRequest(self.transactional_id, self.producer_id, self.epoch, committed, 2 if self.is_v2 else 1)
        result = self._enqueue(END_TXN, request, Priority.END_TXN, f"EndTxn({'true' if committed else 'false'})")
        self.read_features(at_first=False)
        return self._ask_for_id(Priority.EPOCH_BUMP) if self.bump_required else result

    def send_offsets(self, offsets: Mapping[str, int], group: Group, epochs: Mapping[str, int] = NO_EPOCHS) -> Result:
        """T29: it may be called again while the last one is still under way. epochs: the leader epoch of each OffsetAndMetadata that has one."""
        self._throw_if_closed()
        self._throw_if_pinned("sendOffsetsToTransaction")
        self.throw_if_failed()
        if self.state is not State.IN_TRANSACTION:
            if not self.profile.illegal_steps_are_illegal_states:
                raise IllegalState(Failure("KafkaException", NOT_IN_TRANSACTION_BEFORE))
            text = f"Cannot send offsets if a transaction is not in progress (currentState= {self.state.value})"
            raise IllegalState(Failure("IllegalStateException", text))
        if self.is_v2:
            self.started = True
            return self.enqueue_offset_commit(Result("TxnOffsetCommitHandler"), offsets, group, epochs)
        request = AddOffsetsToTxnRequest(self.transactional_id, self.producer_id, self.epoch, group.name)
        result = self._enqueue(ADD_OFFSETS, request, Priority.ADD_PARTITIONS_OR_OFFSETS)
        waiting = self.queue[-1]
        waiting.offsets, waiting.epochs, waiting.group = dict(offsets), dict(epochs), group
        return result

    def enqueue_offset_commit(self, result: Result, offsets: Mapping[str, int], group: Group, epochs: Mapping[str, int]) -> Result:
        self.pending_offsets.update({partition: (offset, epochs.get(partition, -1)) for partition, offset in offsets.items()})
        pending_offsets = self.pending_offsets.items()
        request = TxnOffsetCommitRequest(
            self.transactional_id,
            group.name,
            self.producer_id,
            self.epoch,
            tuple((partition, offset) for partition, (offset, _) in pending_offsets),
            group.member,
            group.generation,
            2 if self.is_v2 else 1,
            group.instance,
            tuple(epoch for _, (_, epoch) in pending_offsets),
        )
        pending = Pending(OFFSET_COMMIT, request, Priority.ADD_PARTITIONS_OR_OFFSETS, result, GROUP, group.name, self.backoff)
        self.queue.append(pending)
        return result

    def throw_if_not_sending(self) -> None:
        """What send() asks once the record is in the accumulator (A11); before 3.1.1 before that, in other words."""
        if not self.profile.pins_timed_out_calls:
            self._throw_if_not_ready_for_send()
            return
        self.throw_if_failed()
        self._throw_if_pinned("send")
        if self.producer_id < 0:
            text = f"Cannot add partition {PARTITION} to transaction before completing a call to initTransactions"
            raise IllegalState(Failure("IllegalStateException", text))
        if self.state is not State.IN_TRANSACTION:
            raise IllegalState(Failure("IllegalStateException", f"Cannot add partition {PARTITION} to transaction while in state  {self.state.value}"))

    def _throw_if_not_ready_for_send(self) -> None:
        if self.has_error and self.last_error is not None:
            text = "Cannot perform send because at least one previous transactional or idempotent request has failed with errors."
            raise IllegalState(Failure("KafkaException", text, self.last_error.exception))
        if self.producer_id < 0:
            text = "Cannot perform a 'send' before completing a call to initTransactions when transactions are enabled."
            raise IllegalState(Failure("IllegalStateException", text))
        if self.state is not State.IN_TRANSACTION:
            raise IllegalState(Failure("IllegalStateException", f"Cannot call send in state {self.state.value}"))

    def add_partition(self, partition: str) -> None:
        """T5, T6: send() has put a record for this partition into the accumulator."""
        if self.is_v2:
            self.partitions[partition] = None
            self.started = True
        elif partition not in self.partitions and partition not in self.pending_partitions:
            self.new_partitions[partition] = None

    def _once(self, call: Callable[[], Result], target: State, name: str) -> Result:
        """T9: a call that timed out goes on, and must be repeated: it answers with what it began."""
        if self.pinned is not None:
            result, state, operation = self.pinned
            pins = not result.is_acked if self.profile.pins_timed_out_calls else not result.is_acked and self.state is state
            if not pins:
                self.pinned = None
            elif state is target:
                return result
            elif self.profile.pins_timed_out_calls:
                raise IllegalState(self._pinned_failure(name, operation))
        result = call()
        self.pinned = result, target, name
        return result

    def _throw_if_closed(self) -> None:
        if self.is_closed:
            raise IllegalState(Failure(*CLOSED_BEFORE))

    def _throw_if_pinned(self, name: str) -> None:
        if self.pinned is not None and self.profile.pins_timed_out_calls:
            if not self.pinned[0].is_acked:
                raise IllegalState(self._pinned_failure(name, self.pinned[2]))
            self.pinned = None

    def _pinned_failure(self, name: str, before: str) -> Failure:
        text = f"Cannot attempt operation `{name}` because the previous call to `{before}` timed out and must be retried"
        return Failure("IllegalStateException", text)

    # The queue.

    def _enqueue(self, api: str, message: object, priority: Priority, operation: str = "") -> Result:
        """operation: what a call waits for, where that is not the name of the request."""
        result = Result(operation or api)
        self.queue.append(Pending(api, message, priority, result, TRANSACTION, self.transactional_id, self.backoff))
        return result

    def _enqueue_new_partitions(self) -> None:
        if self.new_partitions:
            self.pending_partitions.update(self.new_partitions)
            self.new_partitions.clear()
            request = AddPartitionsToTxnRequest(self.transactional_id, self.producer_id, self.epoch, tuple(self.pending_partitions))
            self._enqueue(ADD_PARTITIONS, request, Priority.ADD_PARTITIONS_OR_OFFSETS)

    def find(self, kind: str, key: str) -> None:
        """The coordinator is not known any more, and is asked for."""
        self.coordinators.pop(kind, None)
        request = FindCoordinatorRequest(kind, key)
        self.queue.append(Pending(FIND_COORDINATOR, request, Priority.FIND_COORDINATOR, Result(FIND_COORDINATOR), "", key, self.backoff))

    def retry(self, request: Pending) -> None:
        request.is_retry = True
        self.queue.append(request)

    def has_a_request_for_now(self, *, has_incomplete: bool) -> bool:
        """The end of a transaction waits until no batch is under way (T22)."""
        return bool(self.queue) and not (has_incomplete and min(self.queue, key=lambda one: one.priority).api == END_TXN)

    def next_request(self, *, has_incomplete: bool) -> Pending | None:
        """T21, T22, T13. None: nothing of this kind is to be sent now."""
        self._enqueue_new_partitions()
        while self.queue:
            request = min(self.queue, key=lambda one: one.priority)
            if request.api == END_TXN and has_incomplete:
                return None
            self.queue.remove(request)
            if self.has_error and not (self.state is State.ABORTABLE_ERROR and request.api == FIND_COORDINATOR):
                assert self.last_error is not None
                request.result.fail(self.last_error)
                continue
            if request.api != END_TXN or self.started:
                return request
            request.result.done()
            self._reset()
        return None

    def _reset(self) -> None:
        """The transaction is over."""
        self._go(State.INITIALIZING if self.bump_required else State.READY, in_background=True)
        self.bump_required = self.started = False
        self.new_partitions.clear()
        self.pending_partitions.clear()
        self.partitions.clear()

    def read_features(self, *, at_first: bool) -> None:
        """T40, T41: a version that was raised meanwhile holds from the next transaction on, which begins with another epoch."""
        epoch, version = self.features
        if not self.profile.transactions_v2 or epoch <= self.features_seen:
            return
        self.features_seen = epoch
        before, self.is_v2 = self.is_v2, version >= 2
        if self.is_v2 and not before and not at_first:
            self.bump_required = True

    # Answers that change more than a result.

    def given(self, producer_id: int, epoch: int, request: Pending) -> None:
        self.producer_id, self.epoch = producer_id, epoch
        self._go(State.READY, in_background=True)
        if request.is_epoch_bump:
            self.on_reset()
        request.result.done()

    def ended(self, producer_id: int, epoch: int, request: Pending) -> None:
        """T44: of version 2 every end brings another epoch."""
        if producer_id >= 0:
            self.producer_id, self.epoch = producer_id, epoch
            self.on_reset()
        self._reset()
        request.result.done()

    def added(self, partitions: tuple[str, ...], request: Pending) -> None:
        self.partitions.update(dict.fromkeys(partitions))
        self.started = True
        request.result.done()

    def remember_offsets(self, request: Pending) -> None:
        """AddOffsetsToTxn succeeded: the offsets themselves follow."""
        assert request.group is not None
        self.enqueue_offset_commit(request.result, request.offsets, request.group, request.epochs)
        self.started = True

    def offsets_left(self, request: Pending) -> None:
        """TxnOffsetCommit: while some had an error that is retriable, all are asked for again."""
        if request.result.is_completed:
            self.pending_offsets.clear()
        elif not self.pending_offsets:
            request.result.done()
        else:
            self.retry(request)

    def initialize_again(self) -> None:
        """S1.3: the producer is as if it had never been initialized. Only InitProducerId is refused so: nothing else waits, and its call has heard of it."""
        self._go(State.UNINITIALIZED)

    def fail_pending(self, failure: Failure) -> None:
        """A52: close() by force."""
        for request in self.queue:
            request.result.fail(failure)
        if self.pinned is not None:
            self.pinned[0].fail(failure)
