"""A transactional producer of librdkafka, and the application above it: a producer with a connection to its coordinator besides, and calls that wait.

Kafka: librdkafka's rdkafka_txnmgr.c on top of rdkafka_broker.c and rdkafka_idempotence.c (INTRODUCTION.md, "Transactional Producer").
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableLibrdkafka
from ksim_models.facts import Transaction
from ksim_models.librdkafka_broker_thread import BrokerThread, Request, State
from ksim_models.librdkafka_calls import Flushing, LibrdkafkaClient
from ksim_models.librdkafka_coordinators import GROUP, Coordinators, OffsetCommit
from ksim_models.librdkafka_errors import TRANSPORT
from ksim_models.librdkafka_idempotence import LibrdkafkaIdempotence
from ksim_models.librdkafka_idempotence import State as IdState
from ksim_models.librdkafka_queue import PartitionQueue
from ksim_models.librdkafka_transaction_states import old_name_of
from ksim_models.librdkafka_transactions import LibrdkafkaTransactions
from ksim_models.machine import Effect, Event, Note, Terminated
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from ksim_models.transactional_application import session_of
from ksim_models.transactional_calls import At, CallingThread
from ksim_models.units import NEVER, Micros

COORDINATOR = "TxnCoordinator"
"""Its connection's name, whoever the broker is."""


class CallingLibrdkafka(ClosableLibrdkafka):
    """One whose application does more than call produce(): `session` says what. Without a transactional.id it has no transactions."""

    def _be_born(self, now: Micros, bootstrap: Sequence[str], workloads: Sequence[Arrivals]) -> None:
        super()._be_born(now, bootstrap, workloads)
        self.transactions = self._make_transactions(now)
        self.client = LibrdkafkaClient(self.transactions, self.answers, self.config.linger_us) if self.transactions is not None else None
        self.flushing = self.client.flushing if self.client is not None else Flushing(self.sending, self.queues, self.config.linger_us)
        self.session = self._make_session()

    def _make_transactions(self, now: Micros) -> LibrdkafkaTransactions | None:
        if not self.config.transactional_id:
            return None
        thread = self.brokers.add_logical(COORDINATOR, now)
        coordinators = Coordinators(self.name, self.config, self.brokers, thread, self.dice, lambda at, out: self._drop(thread, at, out))
        assert self.idempotence is not None
        transactions = LibrdkafkaTransactions(self.name, self.config, self.idempotence, self.answers, coordinators)
        self.idempotence.state, self.idempotence.ask_at = IdState.INIT, NEVER
        self.main_thread.idempotence = None  # It is the coordinator that gives the id.
        self.answers.transactions = self.sending.transactions = transactions
        return transactions

    def _make_session(self) -> CallingThread | None:
        return session_of(self.sending, self.client) if self.client is not None else None

    def flush(self) -> Flushing:
        """Called by the application, which then waits until it is over."""
        self.flushing.switch(on=True)
        return self.flushing

    # The clock, and the application.

    def _next_wake(self) -> Micros | None:
        at = super()._next_wake()
        soonest = min(
            NEVER if at is None else at,
            NEVER if self.transactions is None else self.transactions.wake_at,
            NEVER if self.session is None else self.session.wake_at,
        )
        return None if soonest >= NEVER else soonest

    def _look_at_the_clock(self, now: Micros, out: list[Effect]) -> bool:
        seen = super()._look_at_the_clock(now, out)
        return (self.transactions is not None and self.transactions.look_at_the_clock(now, out)) or seen

    def _go_on(self, now: Micros, out: list[Effect]) -> bool:
        if self.session is None:
            return False
        before = self._progress()
        return self.session.step(now, out) or self._progress() != before

    def _progress(self) -> tuple[object, ...]:
        """What a call that has not returned yet may have changed all the same."""
        transactions = self.transactions
        return (self.flushing.is_on, *((transactions.state, transactions.coordinators.sent) if transactions is not None else ()))

    @property
    def is_done(self) -> bool:
        return super().is_done and (not self.alive or self.session is None or self.session.is_over)

    # Sending.

    def _may_send(self, thread: BrokerThread, queue: PartitionQueue) -> bool:
        if self.transactions is not None and not self.transactions.may_send(queue.partition):
            return False
        return super()._may_send(thread, queue)

    def _delegate(self, partition: str, now: Micros, out: list[Effect]) -> None:
        super()._delegate(partition, now, out)
        if self.flushing.is_on:
            self.flushing.settle(self.queues[partition])

    def _transmit(self, thread: BrokerThread, request: Request, now: Micros, out: list[Effect]) -> None:
        if isinstance(request.message, EndTxnRequest) and request.message.committed and self.transactions is not None:
            out.append(Note(Transaction(self.name, self.transactions.number, "commit-sent")))
        super()._transmit(thread, request, now, out)

    # Connections.

    def _serve(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> bool:
        """The coordinator's connection is made again and again, whether somebody needs it or not."""
        if not thread.is_logical:
            return super()._serve(thread, now, out)
        if not thread.broker:
            return False
        if thread.state is State.INIT and not self.sending.fatal:
            thread.try_connect(now)
            return True
        return super()._serve(thread, now, out)

    def _drop(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        self._lose(thread, TRANSPORT, "the coordinator is another one", now, out, close=True)

    def _on_up(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        super()._on_up(thread, now, out)
        if self.transactions is not None and thread.is_logical:
            self.transactions.coordinator_is_up(now, out)
        if self.transactions is not None:
            self.transactions.coordinators.connection_changed(self.transactions, now, out)

    def _lose(self, thread: BrokerThread, error: str, why: str, now: Micros, out: list[Effect], *, close: bool = False, more: int = 0) -> None:
        """rd_kafka_broker_set_state: an attempt that fails is news only to who waits for this connection."""
        is_news = thread.is_up or (self.transactions is not None and thread in self.transactions.coordinators.wanted_brokers)
        super()._lose(thread, error, why, now, out, close=close, more=more)
        if self.transactions is None:
            return
        if thread.is_logical:
            self.transactions.coordinators.went_down(now)
        if is_news:
            self.transactions.coordinators.connection_changed(self.transactions, now, out)

    def _decommission(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        has_connection = thread.connection is not None
        super()._decommission(thread, now, out)
        if self.transactions is not None and not has_connection and thread in self.transactions.coordinators.wanted_brokers:
            self.transactions.coordinators.connection_changed(self.transactions, now, out)

    def _work(self, now: Micros, out: list[Effect]) -> bool:
        for thread in self.transactions.coordinators.wanted_brokers if self.transactions is not None else ():
            if thread.state is State.INIT and self.brokers.get(thread.name) is thread and not self.sending.fatal:
                thread.try_connect(now)
        return super()._work(now, out)

    # Answers.

    def _ask_for_producer_id(self, idempotence: LibrdkafkaIdempotence, now: Micros, out: list[Effect]) -> None:
        if self.transactions is None:
            super()._ask_for_producer_id(idempotence, now, out)
        else:
            self.transactions.ask_for_id(now, out)

    def _on_producer_id(self, response: InitProducerIdResponse, now: Micros, out: list[Effect]) -> None:
        if self.transactions is None:
            super()._on_producer_id(response, now, out)
        else:
            self.transactions.got_id(response, now, out)

    def _on_other(self, thread: BrokerThread, request: Request, message: object, now: Micros, out: list[Effect]) -> None:
        transactions = self.transactions
        assert transactions is not None
        match message:
            case FindCoordinatorResponse() if request.about is None:
                transactions.coordinators.found(message, transactions, now, out)
            case FindCoordinatorResponse():
                transactions.coordinators.found_group(request, thread, message, transactions, now, out)
            case AddPartitionsToTxnResponse():
                transactions.partitions_answered(message, now, out)
            case AddOffsetsToTxnResponse():
                transactions.offsets_added(request, old_name_of(message.error) if message.error else "", now, out)
            case TxnOffsetCommitResponse() if isinstance(request.about, OffsetCommit):
                transactions.offsets_answered(request.about, message, now, out)
            case EndTxnResponse():
                transactions.end_answered(request, old_name_of(message.error) if message.error else "", now, out)

    def _give_up(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        transactions = self.transactions
        if transactions is None:
            super()._give_up(request, error, now, out)
            return
        match request.message:
            case InitProducerIdRequest():
                transactions.no_id(error, now, out)
            case FindCoordinatorRequest(kind=kind):
                if kind != GROUP:
                    transactions.coordinators.not_found(transactions, now, out)
            case AddPartitionsToTxnRequest():
                transactions.partitions_lost(error, now, out)
            case AddOffsetsToTxnRequest():
                transactions.offsets_added(request, error, now, out)
            case TxnOffsetCommitRequest() if isinstance(request.about, OffsetCommit):
                transactions.offsets_committed(request.about, error, now, out)
            case EndTxnRequest():
                transactions.end_answered(request, error, now, out)
            case _:
                super()._give_up(request, error, now, out)

    # The end, and another life.

    def _begin_again(self, now: Micros) -> None:
        number = 0 if self.transactions is None else self.transactions.number
        super()._begin_again(now)
        if self.transactions is not None:
            self.transactions.number = number

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        """Asked to end, the application leaves an open transaction to its time-out: rd_kafka_destroy aborts nothing."""
        if type(event) is Terminated and self.alive and not self.closing and self.session is not None:
            self.session.close()
        return super().handle(event, now)

    @property
    def may_end(self) -> bool:
        """A call that is under way is waited for."""
        return super().may_end and (self.session is None or self.session.at is not At.CALLING)
