"""send() of a transactional producer: what the state of the transaction makes of it, and what its errors make of the transaction.

Kafka: KafkaProducer.doSend, TransactionManager.maybeAddPartition, maybeTransitionToErrorState (A8, A10, A11).
"""

from __future__ import annotations

from contextlib import suppress

from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_states import Failure, IllegalState

RETURNED = ("TimeoutException", "BufferExhaustedException")
API_EXCEPTIONS = (
    *RETURNED,
    "RecordTooLargeException",
    "InvalidTopicException",
    "TopicAuthorizationException",
    "ProducerFencedException",
    "InvalidProducerEpochException",
)
"""A8: what comes in the future; all else is thrown."""


def why_not_sending(manager: TransactionManager) -> Failure | None:
    """What send() throws. Kafka finds it when the record is in the accumulator already (A11), from where it is not sent unless its partition
    is in the transaction at hand; here it does not get there.
    """
    try:
        manager.throw_if_not_sending()
    except IllegalState as illegal:
        return illegal.failure
    return None


def refused_by_send(manager: TransactionManager, error: str, text: str) -> None:
    """A10: an error that send() answers in the future makes the transaction one to be aborted."""
    if manager.profile.failed_sends_abort and error in API_EXCEPTIONS:
        with suppress(IllegalState):
            manager.failed(Failure(error, text, retriable=error in RETURNED), in_background=False)
