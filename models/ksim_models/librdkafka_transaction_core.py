"""What every part of librdkafka's transactions rests on: the state, the one call that is under way, errors, and the producer id with its epoch.

Kafka: librdkafka's rdkafka_txnmgr.c (rd_kafka_txn_set_state, rd_kafka_txn_set_abortable_error0, rd_kafka_txn_curr_api_set_result0) and the producer id's
machine of rdkafka_idempotence.c as far as it is a transactional producer's (KIP-360; L9 of the client's rule book).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ksim_models.facts import ProducerId
from ksim_models.librdkafka_answers import Answers
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_coordinators import Coordinators, OffsetCommit
from ksim_models.librdkafka_errors import FENCED, STATE, name_of, text_of
from ksim_models.librdkafka_idempotence import LibrdkafkaIdempotence
from ksim_models.librdkafka_idempotence import State as IdState
from ksim_models.librdkafka_transaction_states import FATAL_WITHOUT_AN_ID, IGNORED, LEGAL, State, TransactionError, normalized
from ksim_models.machine import Effect, Note
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse
from ksim_models.units import MILLISECOND, NEVER, Micros

ASK_AGAIN: Micros = 500 * MILLISECOND
ASK_SOON: Micros = MILLISECOND
"""rd_kafka_idemp_pid_timer_restart."""


@dataclass(slots=True)
class CurrentCall:
    """rk_eos.txn_curr_api: the call that is made, or has to be made again; what it is told stays until it is."""

    name: str = ""
    has_result: bool = False
    error: TransactionError | None = None

    def take(self) -> TransactionError | None:
        error, self.error, self.has_result = self.error, None, False
        return error

    def end(self) -> None:
        self.name, self.error = "", None


class TransactionCore(ABC):
    def __init__(self, producer: str, config: LibrdkafkaConfig, idempotence: LibrdkafkaIdempotence, answers: Answers, coordinators: Coordinators) -> None:
        self.producer = producer
        self.transactional_id = config.transactional_id
        self.timeout_ms = config.transaction_timeout_ms
        self.idempotence = idempotence
        self.answers = answers
        self.coordinators = coordinators
        self.state = State.INIT
        self.problem = "", ""
        """What the transaction failed of: code and text, until the next one begins."""
        self.requires_bump = False
        self.requests = 0
        """That the coordinator knows, or may know, the transaction of: while there is none, its end is nobody's affair (txn_req_cnt)."""
        self.failures_before = 0
        """Messages that had failed when the transaction began."""
        self.pending: dict[str, None] = {}
        """Partitions that are to be registered; asked for; registered: only to those may messages go."""
        self.asked: dict[str, None] = {}
        self.registered: dict[str, None] = {}
        self.current = CurrentCall()
        self.init_error = ""
        self.number = 0
        """Of the transaction at hand, or the last one, from 1."""
        self.purges = False
        """The brokers' threads are told to throw away what waits, and do so when they are done with what they are at: a batch that is put back is among it."""
        self.register_at: Micros = NEVER
        self.ask_at: Micros = NEVER
        """For a producer id."""

    # What others look at.

    @property
    def failed_messages(self) -> int:
        return self.answers.reports.failures - self.failures_before

    @property
    def has_error(self) -> bool:
        return self.state in (State.ABORTABLE_ERROR, State.FATAL_ERROR) or self.failed_messages > 0

    @property
    def takes_messages(self) -> bool:
        return self.state is State.IN_TRANSACTION

    def may_send(self, partition: str) -> bool:
        return partition in self.registered and self.state in (State.IN_TRANSACTION, State.BEGIN_COMMIT)

    # States.

    def _go(self, target: State) -> None:
        if self.state is target or self.state in IGNORED.get(target, ()):
            return
        assert self.state in LEGAL[target], f"{self.state} -> {target}"  # librdkafka says so of itself too, and ends the process.
        self.state = target

    def set_fatal(self, code: str, text: str, now: Micros, out: list[Effect]) -> None:
        """No other error comes after it; a call that waits for another one is told of it."""
        self.answers.end_all(code, now, out)
        self.problem = code, text
        self._go(State.FATAL_ERROR)
        self.set_result(TransactionError(code, text, fatal=True))

    def set_abortable(self, code: str, text: str, *, bump: bool = False) -> None:
        """The first error is the one that is told; whatever waits to be sent is thrown away."""
        if self.answers.sending.fatal:
            return
        self.requires_bump = self.requires_bump or bump
        if self.problem[0]:
            return
        self.problem = code, text
        self._go(State.ABORTABLE_ERROR)
        self.purges = True

    def set_result(self, error: TransactionError | None = None) -> None:
        """For nobody, where no call is under way. Of two errors the first is told."""
        current = self.current
        if current.name:
            current.has_result = True
            current.error = current.error or error

    def wrong_state(self, *states: State) -> TransactionError | None:
        """What a call is told that is not for this state."""
        if self.state in states:
            return None
        if self.state is State.FATAL_ERROR:
            return TransactionError(*self.problem, fatal=True)
        if self.state is State.ABORTABLE_ERROR:
            return TransactionError(*self.problem, requires_abort=True)
        return TransactionError(STATE, f"Operation not valid in state {self.state.value}")

    # The producer id: rd_kafka_idemp_pid_fsm.

    def ask_for_id(self, now: Micros, out: list[Effect]) -> None:
        """As far as it can go: the coordinator must be known, and its connection be there."""
        idempotence, coordinators = self.idempotence, self.coordinators
        if self.answers.sending.fatal or idempotence.state not in (IdState.REQ_PID, IdState.WAIT_TRANSPORT):
            return
        if not coordinators.transaction:
            coordinators.query(now)
            return
        idempotence.state = IdState.WAIT_TRANSPORT
        if not coordinators.is_up:
            self.ask_at = now + ASK_AGAIN
            return
        known = (idempotence.producer_id, idempotence.epoch) if idempotence.producer_id >= 0 else (-1, -1)
        coordinators.send(InitProducerIdRequest(self.transactional_id, self.timeout_ms, *known), now)
        idempotence.state = IdState.WAIT_PID

    @abstractmethod
    def offset_commit_of(self, commit: OffsetCommit) -> tuple[int, int] | None: ...

    @abstractmethod
    def offsets_committed(self, commit: OffsetCommit, error: str, now: Micros, out: list[Effect]) -> None: ...

    def got_id(self, response: InitProducerIdResponse, now: Micros, out: list[Effect]) -> None:
        if response.error:
            self.no_id(name_of(response.error), now, out)
        elif self.idempotence.state is IdState.WAIT_PID:
            self.idempotence.given(response.producer_id, response.producer_epoch)
            out.append(Note(ProducerId(self.producer, response.producer_id, response.producer_epoch, "InitProducerId")))
            if self.state is State.WAIT_PID:
                self._go(State.READY_NOT_ACKED)
                self.set_result()
            elif self.state in (State.BEGIN_ABORT, State.ABORTING_TRANSACTION):
                self._go(State.ABORT_NOT_ACKED)
                self.set_result()

    def no_id(self, error: str, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_idemp_request_pid_failed."""
        if error in FATAL_WITHOUT_AN_ID:
            code = normalized(error)
            preface = "Producer fenced by newer instance: " if code == FENCED else ""
            self.set_fatal(code, f"{preface}Failed to acquire transactional PID: {text_of(error)}", now, out)
            self.idempotence.state = IdState.FATAL_ERROR
            return
        if error in ("NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE"):
            self.coordinators.set_transaction("", self, now, out)
        self.init_error = error
        self.idempotence.state = IdState.REQ_PID
        self.ask_at = now + ASK_AGAIN

    def drain_and_bump(self, error: str, text: str, now: Micros, out: list[Effect], *, aborts_first: bool = True) -> None:
        """rd_kafka_idemp_drain_epoch_bump0: the coordinator raises the epoch, but not in the middle of a transaction (H-142)."""
        fatal = bool(self.answers.sending.fatal)
        if aborts_first:
            self.idempotence.state = IdState.FATAL_ERROR if fatal else IdState.WAIT_TXN_ABORT
            self.set_abortable(error, text, bump=True)
        else:
            self.idempotence.state = IdState.DRAIN_BUMP
            self.answers.finish_drain(now, out)

    def drained(self, now: Micros) -> None:
        """Nothing is in flight any more."""
        self.idempotence.state = IdState.REQ_PID
        self.ask_at = now + ASK_SOON
