"""Transactional requests on the I/O thread: one at a time, to the coordinator that must be found first; records wait meanwhile.

Kafka: Sender.runOnce and maybeSendAndPollTransactionalRequest with a transactional id, NetworkClientUtils.awaitReady (S1 to S4).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.client_network import State as Connection
from ksim_models.config import ProducerConfig
from ksim_models.facts import ProducerId, Transaction
from ksim_models.machine import Effect, Note
from ksim_models.messages import ApiVersionsResponse, InitProducerIdRequest
from ksim_models.outcomes import Outcomes
from ksim_models.transaction_answers import answered, lost
from ksim_models.transaction_manager import TRANSACTION, TransactionManager
from ksim_models.transaction_messages import EndTxnRequest
from ksim_models.transaction_pending import Pending
from ksim_models.transaction_states import IllegalState, State
from ksim_models.transactional_numbers import TransactionalNumbers
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

# Up to 3.5 they are fatal, so no transaction is abortable for them.
AUTHORIZATION = ("TransactionalIdAuthorizationException", "ClusterAuthorizationException")
ABORTED = "TransactionAbortedException", "Failing batch since transaction was aborted"


class TransactionStep:
    """In the place of `identity.Identity`, which is for producers without a transactional id."""

    def __init__(
        self,
        producer: str,
        config: ProducerConfig,
        manager: TransactionManager,
        numbers: TransactionalNumbers,
        network: ClientNetwork,
        metadata: ClientMetadata,
        outcomes: Outcomes,
    ) -> None:
        self.producer = producer
        self.manager = manager
        self.idempotence = numbers
        self.network = network
        self.metadata = metadata
        self.outcomes = outcomes
        self.backoff = ms(config.retry_backoff_ms)
        self.patience = ms(config.request_timeout_ms)
        self.waiting: Pending | None = None
        """Taken from the queue; its node is not ready yet, or its backoff runs: Java's whole I/O thread waits here (awaitNodeReady, sleep)."""
        self.target = ""
        self.gives_up_at: Micros = NEVER
        """When its node must be ready."""
        self.sleeping_until: Micros = LONG_AGO
        """Simplified: Java's whole I/O thread sleeps, here answers are taken in meanwhile."""
        self.slept = False
        self.told = (-1, -1)
        """The producer id and epoch that the history knows."""

    @property
    def sleeps_until(self) -> Micros:
        """The next moment at which something changes by itself."""
        return self.sleeping_until if self.waiting is None or not self.target or self.slept else self.gives_up_at

    @property
    def is_free(self) -> bool:
        """No request is under way."""
        return self.manager.in_flight is None and self.waiting is None and not self.manager.is_fatal

    @property
    def wants_a_turn(self) -> bool:
        """The turn that is over has left something that the next one does, without waiting for anything.

        Simplified: Java's next turn comes when its poll ends, which may be a while later.
        """
        manager = self.manager
        if not self.is_free:
            return False
        fails_now = manager.has_error and manager.has_a_request_for_now(has_incomplete=self.outcomes.has_incomplete)
        return bool(manager.new_partitions) or fails_now or self.idempotence.has_to_resolve

    def may_go_on(self, now: Micros, out: list[Effect]) -> bool:
        """S1. True: records may be sent in this turn."""
        manager, numbers = self.manager, self.idempotence
        if numbers.unresolved:
            _on_io_thread(numbers.resolve)
        numbers.is_open = False
        if self._died(now, out):
            return False
        failure = manager.last_error
        if manager.state is State.ABORTABLE_ERROR and failure is not None and failure.exception in AUTHORIZATION:
            self.outcomes.abort_all(failure.exception, failure.text, now, out)
            _on_io_thread(manager.initialize_again)
            return False
        numbers.is_open = self._step(now, out)
        numbers.take_over()
        return not self._died(now, out) and numbers.is_open

    def _died(self, now: Micros, out: list[Effect]) -> bool:
        """S1.2."""
        failure = self.manager.last_error
        if not self.manager.is_fatal or failure is None:
            return False
        self.idempotence.take_over()
        self.outcomes.abort_all(failure.exception, failure.text, now, out)
        return True

    def _tell(self, api: str, out: list[Effect]) -> None:
        known = self.manager.producer_id, self.manager.epoch
        if known != self.told:
            self.told = known
            out.append(Note(ProducerId(self.producer, *known, api)))

    def _step(self, now: Micros, out: list[Effect]) -> bool:
        """S2. False: this turn ends without records."""
        manager = self.manager
        while manager.in_flight is None:
            waiting = self.waiting
            if waiting is not None:
                self._go_on_waiting(waiting, now, out)
                if self.waiting is waiting:
                    return False
                continue
            if manager.state is State.ABORTABLE_ERROR and manager.last_error is not None:
                self.outcomes.abort_undrained(manager.last_error.exception, manager.last_error.text, now, out)
            elif manager.state is State.ABORTING:
                self.outcomes.abort_undrained(*ABORTED, now, out)
            request = manager.next_request(has_incomplete=self.outcomes.has_incomplete)
            if request is None:
                return True
            self._wait_for_its_node(request, now)
        return False

    def _wait_for_its_node(self, request: Pending, now: Micros) -> None:
        self.waiting, self.slept, self.gives_up_at = request, False, now + self.patience
        self.target = self.manager.coordinators.get(request.coordinator, "")
        if request.coordinator and not self.target:
            self._put_back(now)

    def _go_on_waiting(self, request: Pending, now: Micros, out: list[Effect]) -> None:
        """It is sent, or put back, or waits on."""
        if now < self.sleeping_until:
            return
        if not self.target:  # Anybody will do.
            self.target = self.network.least_loaded(self.metadata.nodes, now) or ""
            self.gives_up_at = now + self.patience
            if not self.target:
                self.sleeping_until = now + max(1, self.backoff)
                return
        if not self.network.ready(self.target, now, out):
            if self.network.node(self.target).state is Connection.DISCONNECTED or now >= self.gives_up_at:
                self._put_back(now)
            return
        if request.coordinator == TRANSACTION:
            self.manager.coordinator_bumps = True  # Every broker here knows InitProducerId v3.
        if request.is_retry and not self.slept and request.backoff:
            self.slept, self.sleeping_until = True, now + request.backoff
            return
        if isinstance(request.message, InitProducerIdRequest) and request.message.transaction_timeout_ms <= 0:
            self.waiting = None  # Building it throws on this thread, which is logged: the call waits for ever (table 1.1, C6).
            return
        self.waiting, self.manager.in_flight = None, request
        if isinstance(request.message, EndTxnRequest) and request.message.committed:
            out.append(Note(Transaction(self.producer, self.manager.number, "commit-sent")))
        self.network.send(self.target, request.message, (), now, out)

    def _put_back(self, now: Micros) -> None:
        """maybeFindCoordinatorAndRetry."""
        request, self.waiting = self.waiting, None
        assert request is not None
        if request.coordinator:
            self.manager.find(request.coordinator, request.key)
            self.manager.retry(request)
            return
        request.is_retry = True
        self.waiting, self.target = request, ""
        self.sleeping_until = now + self.backoff
        self.metadata.request_update()

    # What comes in.

    def answered(self, response: object, now: Micros, out: list[Effect]) -> None:
        request, self.manager.in_flight = self.manager.in_flight, None
        assert request is not None
        _on_io_thread(lambda: answered(self.manager, request, response))
        self.idempotence.take_over()
        self._tell(request.api, out)

    def checked(self, response: ApiVersionsResponse) -> None:
        """T40."""
        features = response.features_epoch, response.transaction_version
        if features > self.manager.features:
            self.manager.features = features

    def lost(self, node: str, now: Micros) -> None:
        """S4."""
        request = self.manager.in_flight
        if request is not None and node == self.target:
            self.manager.in_flight = None
            lost(self.manager, request)
        elif self.waiting is not None and node == self.target:
            self._put_back(now)


def _on_io_thread(do: Callable[[], object]) -> None:
    """An illegal transition on this thread has poisoned the manager already (T1); what it throws is logged."""
    with suppress(IllegalState):
        do()
