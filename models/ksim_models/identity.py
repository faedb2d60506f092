"""Who an idempotent producer is to the brokers: it asks for a producer id, raises its epoch, and says when it cannot go on.

Kafka: Sender.runOnce, maybeSendAndPollTransactionalRequest, TransactionManager.InitProducerIdHandler, all without a transactional id (S1, S2, I1, I12).
The id is kept nowhere and ends with its producer: one that starts again is another to the brokers, and what it sends again they do not know again (I2).
"""

from __future__ import annotations

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.config import ProducerConfig
from ksim_models.facts import ProducerId
from ksim_models.idempotence import Idempotence
from ksim_models.machine import Effect, Note
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse
from ksim_models.outcomes import Outcomes
from ksim_models.profiles import ClientProfile
from ksim_models.sending import Sending
from ksim_models.transaction_replies import INIT_PRODUCER_ID, UNEXPECTED, Then, reaction
from ksim_models.units import LONG_AGO, Micros, ms


class Identity:
    def __init__(
        self,
        producer: str,
        config: ProducerConfig,
        profile: ClientProfile,
        idempotence: Idempotence,
        network: ClientNetwork,
        metadata: ClientMetadata,
        outcomes: Outcomes,
        sending: Sending,
    ) -> None:
        self.producer = producer
        self.profile = profile
        self.idempotence = idempotence
        self.network = network
        self.metadata = metadata
        self.outcomes = outcomes
        self.sending = sending
        self.backoff = ms(config.retry_backoff_ms)
        self.target: str | None = None
        """The node that is to answer: waited for until it is ready, or lost, whoever else is ready meanwhile (awaitNodeReady)."""
        self.asked = False
        """The target has the request."""
        self.is_retry = False
        self.sleeps_until: Micros = LONG_AGO
        """Constant retry.backoff.ms. Simplified: Java's whole I/O thread sleeps, here only this request waits."""
        self.slept = False

    def may_go_on(self, now: Micros, out: list[Effect]) -> bool:
        """S1. Without an id nothing is drained and nothing expires (A41)."""
        idempotence = self.idempotence
        if idempotence.fatal:
            self.sending.in_error_state = idempotence.fatal if self.profile.send_refuses_after_fatal_error else ""
            self.outcomes.abort_all(idempotence.fatal, idempotence.fatal_text, now, out)
            return False
        if idempotence.unresolved:
            idempotence.resolve()
        if idempotence.to_bump:
            in_flight = self.outcomes.in_flight
            idempotence.bump(lambda batch: batch in in_flight.get(batch.partition, ()))
            if idempotence.has_id:
                out.append(Note(ProducerId(self.producer, idempotence.producer_id, idempotence.epoch, "epoch bump")))
        if idempotence.has_id:
            return True
        if not self.asked and self.sleeps_until <= now:
            self._ask(now, out)
        return False

    def _ask(self, now: Micros, out: list[Effect]) -> None:
        if self.target is None:
            self.target = self.network.least_loaded(self.metadata.nodes, now)
            self.slept = False
        if self.target is None or not self.network.ready(self.target, now, out):
            return
        if self.is_retry and not self.slept:
            self.slept, self.sleeps_until = True, now + self.backoff
            if self.backoff:
                return
        self.network.send(self.target, InitProducerIdRequest(), (), now, out)
        self.asked = True

    def lost(self, node: str, now: Micros) -> None:
        """A connection is gone. If it was waited for, the thread sleeps before it looks for a node again; and before it sends again, once one is ready."""
        if node != self.target:
            return
        if not self.asked:
            self.sleeps_until = now + self.backoff
        self._begin_again()

    def _begin_again(self) -> None:
        self.target, self.asked, self.is_retry = None, False, True

    def answered(self, response: InitProducerIdResponse, now: Micros, out: list[Effect]) -> None:
        """I1. Errors that are not retriable are fatal for the producer, but for authorization since 3.6. So is a broker that knows no InitProducerId (I3)."""
        self._begin_again()
        error = response.error
        idempotence = self.idempotence
        match reaction(INIT_PRODUCER_ID, error, self.profile):
            case Then.DONE:
                self.is_retry = False
                idempotence.given(response.producer_id, response.producer_epoch)
                out.append(Note(ProducerId(self.producer, response.producer_id, response.producer_epoch, "InitProducerId")))
            case Then.RETRY | Then.FIND:
                pass  # Anybody is asked: without a transactional id there is no coordinator.
            case Then.AUTHORIZATION:
                self.is_retry = False
                self.outcomes.abort_all(error.exception, error.meaning, now, out)
            case Then.FATAL:
                idempotence.fatal, idempotence.fatal_text = error.exception, error.meaning
            case then:
                idempotence.fatal = "ProducerFencedException" if then is Then.FENCED else "KafkaException"
                idempotence.fatal_text = UNEXPECTED[INIT_PRODUCER_ID].format(error.meaning)
