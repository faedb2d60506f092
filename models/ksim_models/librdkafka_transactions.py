"""The transactions of a producer of librdkafka: which partitions are registered, what the main thread does for each call, what each answer changes.

Kafka: librdkafka's rdkafka_txnmgr.c (L9 of the client's rule book). Whom a request goes to, and when, is `librdkafka_coordinators`' affair;
the calls, as an application sees them, are those of `librdkafka_calls`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ksim_models.librdkafka_broker_thread import Request
from ksim_models.librdkafka_coordinators import OffsetCommit
from ksim_models.librdkafka_errors import FENCED, INCONSISTENT, OUTDATED, STATE, TIMED_OUT, TRANSPORT, name_of, text_of
from ksim_models.librdkafka_idempotence import State as IdState
from ksim_models.librdkafka_transaction_core import ASK_SOON, TransactionCore
from ksim_models.librdkafka_transaction_states import (
    ADD_OFFSETS,
    ADD_PARTITIONS,
    END_TXN,
    OFFSET_COMMIT,
    State,
    Then,
    TransactionError,
    flagged,
    normalized,
    old_name_of,
)
from ksim_models.machine import Effect
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    TxnOffsetCommitResponse,
)
from ksim_models.transaction_pending import Group
from ksim_models.units import MILLISECOND, NEVER, Micros, ms

SOON: Micros = 1
"""A timer of the main thread that is to go off at once: all that comes in the same instant is seen by it."""
REGISTER_AGAIN: Micros = 500 * MILLISECOND
REGISTER_AGAIN_BEHIND_ANOTHER: Micros = 20 * MILLISECOND
"""The coordinator is still ending the transaction before."""


class LibrdkafkaTransactions(TransactionCore):
    # Timers.

    def look_at_the_clock(self, now: Micros, out: list[Effect]) -> bool:
        """True if something was due."""
        seen = False
        if self.purges:
            seen, self.purges = True, False
            self.answers.purge_queues(now, out)
        if self.register_at <= now:
            seen, self.register_at = True, NEVER
            self._register(now)
        if self.ask_at <= now:
            seen, self.ask_at = True, NEVER
            self.ask_for_id(now, out)
        return self.coordinators.look_at_the_clock(self, now, out) or seen

    @property
    def wake_at(self) -> Micros:
        return min(self.register_at, self.ask_at, self.coordinators.wake_at)

    # Partitions.

    def add_partition(self, partition: str, now: Micros) -> None:
        """A message for it stands in its queue. The main thread registers all that have come when its timer goes off."""
        if partition in self.registered or partition in self.asked or partition in self.pending:
            return
        if not self.pending:
            self._schedule(now + SOON)
        self.pending[partition] = None

    def _schedule(self, at: Micros) -> None:
        if self.register_at == NEVER:
            self.register_at = at

    def _register(self, now: Micros) -> None:
        """AddPartitionsToTxn, one at a time, and only while the coordinator can be reached."""
        if self.state not in (State.IN_TRANSACTION, State.BEGIN_COMMIT) or not self.coordinators.is_up:
            return
        if not self.pending or self.asked or not self.idempotence.is_assigned:
            return
        names = tuple(sorted(self.pending))
        self.coordinators.send(AddPartitionsToTxnRequest(self.transactional_id, *self._id, names), now)
        self.asked.update(self.pending)
        self.pending.clear()
        self.requests += 1

    @property
    def _id(self) -> tuple[int, int]:
        return self.idempotence.producer_id, self.idempotence.epoch

    def partitions_answered(self, response: AddPartitionsToTxnResponse, now: Micros, out: list[Effect]) -> None:
        if self.state not in (State.IN_TRANSACTION, State.BEGIN_COMMIT):
            self.requests -= 1  # Out of date: it was counted for a transaction that is being aborted.
            return
        error, then = "", Then.NOTHING
        for partition, code in response.results:
            if not code:
                if partition in self.asked:
                    del self.asked[partition]
                    self.registered[partition] = None
                continue
            name = old_name_of(code)
            then |= ADD_PARTITIONS.get(name, Then.ABORT)
            error = error if name == "OPERATION_NOT_ATTEMPTED" and error else name
            if name in ADD_PARTITIONS:
                break  # It is one of the whole request, not of a partition.
        self._partitions_settled(error, then, now, out)

    def partitions_lost(self, error: str, now: Micros, out: list[Effect]) -> None:
        self._partitions_settled(error, ADD_PARTITIONS[error], now, out)

    def _partitions_settled(self, error: str, then: Then, now: Micros, out: list[Effect]) -> None:
        if Then.FORGET in then:
            self.coordinators.set_transaction("", self, now, out)
        self.pending = self.asked | self.pending
        self.asked = {}
        code = normalized(error)
        if Then.FATAL in then:
            self.set_fatal(code, f"Failed to add partitions to transaction: {text_of(code)}", now, out)
        elif Then.BUMP in then:
            self.drain_and_bump(code, f"Failed to add partition(s) to transaction: {text_of(code)}", now, out)
        elif Then.ABORT in then:
            self.set_abortable(code, f"Failed to add partition(s) to transaction: {text_of(code)}")
        elif Then.RETRY in then:
            self._schedule(now + (REGISTER_AGAIN_BEHIND_ANOTHER if error == "CONCURRENT_TRANSACTIONS" else REGISTER_AGAIN))
        else:
            self._schedule(now + SOON)

    def coordinator_is_up(self, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_txn_coord_monitor_cb."""
        if self.idempotence.is_assigned:
            self._schedule(now + SOON)
        elif self.idempotence.state in (IdState.REQ_PID, IdState.WAIT_TRANSPORT):
            self.ask_for_id(now, out)

    # Messages.

    def produce_failed(self, error: str, now: Micros, out: list[Effect]) -> None:
        """For good. Simplified: the numbers and names of librdkafka's text are left out."""
        if error == "INVALID_PRODUCER_EPOCH":
            self.set_fatal(FENCED, f"ProduceRequest failed: {text_of(error)}: transactional producer fenced by newer producer instance", now, out)
            self.idempotence.state = IdState.DRAIN_RESET
        else:
            self.set_abortable(error, f"ProduceRequest failed: {text_of(error)}: current transaction must be aborted")

    # What the main thread does for a call: rd_kafka_txn_op_...

    def initialize(self, now: Micros, out: list[Effect]) -> None:
        error = self.wrong_state(State.INIT, State.WAIT_PID, State.READY_NOT_ACKED)
        if error is not None:
            self.set_result(error)
        elif self.state is not State.READY_NOT_ACKED:
            self._go(State.WAIT_PID)
            self.init_error = ""
            if self.idempotence.state is not IdState.WAIT_PID:
                self.idempotence.state = IdState.REQ_PID
            self.ask_at = now + ASK_SOON

    def acknowledge(self, now: Micros, out: list[Effect]) -> None:
        """The application has heard how its call ended; only then another one is possible."""
        expected = {"init": State.READY_NOT_ACKED, "commit": State.COMMIT_NOT_ACKED, "abort": State.ABORT_NOT_ACKED}[self.current.name]
        error = self.wrong_state(expected)
        if error is None:
            self._go(State.READY)
            if expected is not State.READY_NOT_ACKED:
                self.pending, self.asked, self.registered = {}, {}, {}
                self.requires_bump, self.requests = False, 0
        self.set_result(error)

    def begin_transaction(self, now: Micros, out: list[Effect]) -> None:
        error = self.wrong_state(State.READY)
        if error is None:
            self._go(State.IN_TRANSACTION)
            self.failures_before = self.answers.reports.failures
            self.problem = "", ""
            self.number += 1
        self.set_result(error)

    def begin_commit(self, now: Micros, out: list[Effect]) -> None:
        error = self.wrong_state(State.IN_TRANSACTION, State.BEGIN_COMMIT, State.COMMITTING_TRANSACTION, State.COMMIT_NOT_ACKED)
        if error is None and self.state is State.IN_TRANSACTION:
            self._go(State.BEGIN_COMMIT)
        self.set_result(error)

    def commit(self, now: Micros, out: list[Effect]) -> None:
        """Everything has its report by now."""
        error = self.wrong_state(State.BEGIN_COMMIT, State.COMMITTING_TRANSACTION, State.COMMIT_NOT_ACKED)
        if error is None and self.state is State.COMMITTING_TRANSACTION:
            return  # A call before has begun it.
        if error is None and self.state is State.BEGIN_COMMIT:
            if self.failed_messages:
                text = f"{self.failed_messages} message(s) failed delivery (see individual delivery reports)"
                error = TransactionError(INCONSISTENT, text, requires_abort=True)
            elif not self.requests:
                self._ended(now, out)  # Nobody has heard of this transaction.
                return
            else:
                self._end(now, committed=True)
                return
        if error is not None and error.requires_abort:
            self.set_abortable(error.code, error.text)
        self.set_result(error)

    def begin_abort(self, now: Micros, out: list[Effect]) -> None:
        states = State.IN_TRANSACTION, State.BEGIN_ABORT, State.ABORTING_TRANSACTION, State.ABORTABLE_ERROR, State.ABORT_NOT_ACKED
        error = self.wrong_state(*states)
        if error is None and self.state in (State.IN_TRANSACTION, State.ABORTABLE_ERROR):
            self._go(State.BEGIN_ABORT)
            self.pending, self.asked = {}, {}
        self.set_result(error)

    def abort(self, now: Micros, out: list[Effect]) -> None:
        error = self.wrong_state(State.BEGIN_ABORT, State.ABORTING_TRANSACTION, State.ABORT_NOT_ACKED)
        if error is None and self.state is State.ABORTING_TRANSACTION:
            return
        if error is not None or self.state is State.ABORT_NOT_ACKED:
            self.set_result(error)
        elif not self.requests:
            self._ended(now, out)
        elif self.idempotence.state in (IdState.ASSIGNED, IdState.WAIT_TXN_ABORT):
            self._end(now, committed=False)
        # Else the producer id is being renewed, and that is the end of it too.

    def _end(self, now: Micros, *, committed: bool) -> None:
        self.coordinators.send(EndTxnRequest(self.transactional_id, *self._id, committed), now)
        self._go(State.COMMITTING_TRANSACTION if committed else State.ABORTING_TRANSACTION)

    def _ended(self, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_txn_endtxn_complete."""
        if self.requires_bump:
            self.drain_and_bump(self.problem[0], "Transaction aborted", now, out, aborts_first=False)
            return
        self._go(State.COMMIT_NOT_ACKED if self.current.name == "commit" else State.ABORT_NOT_ACKED)
        self.set_result()

    def end_answered(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        """error: "" where it went well."""
        assert isinstance(request.message, EndTxnRequest)
        commits = request.message.committed
        what = f"EndTxn {'commit' if commits else 'abort'} failed: "
        may_retry = self.state in (State.COMMITTING_TRANSACTION, State.ABORTING_TRANSACTION)
        if self.state is State.ABORTABLE_ERROR:
            self._ended_behind_an_error(error, commits=commits)
            return
        if not error and not may_retry:
            error = OUTDATED
        if not error:
            self._ended(now, out)
            return
        then, code = END_TXN.get(error, Then.ABORT), normalized(error)
        if Then.FORGET in then:
            self.coordinators.set_transaction("", self, now, out)
        if Then.FATAL in then:
            self.set_fatal(code, f"Failed to end transaction: {text_of(code)}", now, out)
        elif Then.REFRESH in then:
            self.coordinators.query_soon(now)
        if Then.ABORT in then:
            if Then.BUMP in then and not commits:
                self.drain_and_bump(code, what + text_of(code), now, out, aborts_first=False)
                return
            if self.state is State.ABORTING_TRANSACTION:
                self._go(State.BEGIN_ABORT)  # The abort can be tried again from its beginning.
            self.set_abortable(code, f"Failed to end transaction: {text_of(code)}", bump=Then.BUMP in then)
        elif Then.FATAL not in then and Then.RETRY in then and may_retry:
            self.coordinators.send_again(request, now)
            return
        self.set_result(flagged(code, what + text_of(code), then))

    def _ended_behind_an_error(self, error: str, *, commits: bool) -> None:
        """The transaction had failed here; the coordinator may have carried out what it was asked all the same."""
        code, text = self.problem
        if error:
            says = f"EndTxn failed with {error} but transaction had already failed due to: {text}"
            self.set_result(TransactionError(code, says, requires_abort=True))
        else:
            says = f"Transaction {'commit' if commits else 'abort'} succeeded on the broker but the transaction had already failed locally due to: {text}"
            self.set_result(TransactionError(code, says, requires_abort=not commits, fatal=commits))

    # Offsets.

    def send_offsets(self, offsets: Mapping[str, int], group: Group, epochs: Mapping[str, int], now: Micros, out: list[Effect]) -> None:
        error = self.wrong_state(State.IN_TRANSACTION)
        if error is None and not self.idempotence.is_assigned:
            error = TransactionError(STATE, "No PID available", retriable=True)
        if error is not None:
            self.set_result(error)
            return
        commit = OffsetCommit(group, tuple(offsets.items()), tuple(epochs.get(partition, -1) for partition in offsets), until=now + ms(self.timeout_ms))
        self.coordinators.send(AddOffsetsToTxnRequest(self.transactional_id, *self._id, group.name), now, about=commit)
        self.requests += 1

    def offsets_added(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        """AddOffsetsToTxn is answered, or lost; if it went well, the offsets themselves go to the group's coordinator."""
        commit = request.about
        assert isinstance(commit, OffsetCommit)
        is_late = now >= commit.until
        if error:
            self.requests -= 1
        elif is_late:
            error = TIMED_OUT
        if not error:
            self.coordinators.commit_offsets(commit, self, now, out)
            return
        then, code = ADD_OFFSETS.get(error, Then.ABORT), normalized(error)
        text = f"Failed to add offsets to transaction: {text_of(code)}"
        self.requests += error in (TIMED_OUT, TRANSPORT)  # The coordinator may have heard of it.
        if Then.FATAL in then:
            self.set_fatal(code, text, now, out)
        elif Then.REFRESH in then:
            self.coordinators.query_soon(now)
        if Then.FATAL not in then and Then.RETRY in then and not is_late:
            self.coordinators.send_again(request, now)
            self.requests += 1
            return
        if Then.ABORT in then:
            self.set_abortable(code, text)
        self.set_result(flagged(code, text, then))

    def offset_commit_of(self, commit: OffsetCommit) -> tuple[int, int] | None:
        """The producer id and epoch to commit with; None: the transaction is not the one it was."""
        return self._id if self.state is State.IN_TRANSACTION and self.idempotence.is_assigned else None

    def offsets_answered(self, commit: OffsetCommit, response: TxnOffsetCommitResponse, now: Micros, out: list[Effect]) -> None:
        self.offsets_committed(commit, next((name_of(error) for _, error in response.results if error), ""), now, out)

    def offsets_committed(self, commit: OffsetCommit, error: str, now: Micros, out: list[Effect]) -> None:
        if not error:
            self.set_result()
            return
        then, code = OFFSET_COMMIT.get(error, Then.ABORT), normalized(error)
        text = f"Failed to commit offsets to transaction: {text_of(code)}"
        if Then.FORGET in then:
            self.coordinators.forget_group(commit.group.name)
        if Then.FATAL in then:
            self.set_fatal(code, text, now, out)
        elif Then.RETRY in then:
            if now < commit.until:
                self.coordinators.commit_offsets_later(commit, now)
                return
            then |= Then.ABORT
        if Then.ABORT in then:
            self.set_abortable(code, text)
        self.set_result(flagged(code, text, then))
