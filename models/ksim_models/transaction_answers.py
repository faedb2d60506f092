"""Answers to a transactional producer, carried out by the tables of `transaction_replies`.

Kafka: handleResponse of the handlers of TransactionManager.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksim_models.errors import ErrorCode, known_to
from ksim_models.messages import InitProducerIdResponse, topic_of
from ksim_models.transaction_manager import FIRST_ADD_BACKOFF_MS, GROUP, TRANSACTION, TransactionManager
from ksim_models.transaction_messages import (
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    TxnOffsetCommitResponse,
)
from ksim_models.transaction_pending import Pending
from ksim_models.transaction_replies import UNEXPECTED, Then, reaction
from ksim_models.transaction_states import FENCED, Failure, failure_of
from ksim_models.units import ms


def answered(manager: TransactionManager, request: Pending, response: object) -> None:
    """What the coordinator, or whoever was asked for it, says."""
    match response:
        case FindCoordinatorResponse():
            if _goes_well(manager, request, response.error):
                assert isinstance(request.message, FindCoordinatorRequest)
                manager.coordinators[request.message.kind] = response.node
                request.result.done()
        case InitProducerIdResponse():
            if _goes_well(manager, request, response.error):
                manager.given(response.producer_id, response.producer_epoch, request)
        case AddPartitionsToTxnResponse():
            _partitions_answered(manager, request, response.results)
        case AddOffsetsToTxnResponse():
            if _goes_well(manager, request, response.error):
                manager.remember_offsets(request)
        case TxnOffsetCommitResponse():
            _offsets_answered(manager, request, response.results)
        case EndTxnResponse():
            if _goes_well(manager, request, response.error):
                manager.ended(response.producer_id, response.producer_epoch, request)
        case _:
            raise AssertionError(f"no answer to a transactional request: {response}")


def lost(manager: TransactionManager, request: Pending) -> None:
    """S4: it is asked again, whoever is the coordinator then."""
    if request.coordinator:
        manager.find(request.coordinator, request.key)
    manager.retry(request)


def _goes_well(manager: TransactionManager, request: Pending, error: ErrorCode) -> bool:
    then = reaction(request.api, known_to(manager.profile.release, error), manager.profile)
    if then is Then.DONE:
        return True
    _react(manager, request, error, then)
    return False


def _react(manager: TransactionManager, request: Pending, code: ErrorCode, then: Then) -> None:
    error = known_to(manager.profile.release, code)
    failure = failure_of(error)
    match then:
        case Then.FIND:
            manager.find(TRANSACTION, manager.transactional_id)
            manager.retry(request)
        case Then.RETRY | Then.CONCURRENT:
            manager.retry(request)
        case Then.FENCED:
            _fatal(manager, request, FENCED)
        case Then.FATAL:
            _fatal(manager, request, failure)
        case Then.FATAL_UNEXPECTED:
            kind = request.message.kind.upper() if isinstance(request.message, FindCoordinatorRequest) else ""
            _fatal(manager, request, Failure("KafkaException", UNEXPECTED[request.api].format(error.meaning, kind=kind, key=request.key)))
        case Then.FATAL_WRAPPED:
            text = f"org.apache.kafka.common.errors.{failure.exception}: {failure.text}"
            _fatal(manager, request, Failure("KafkaException", text, cause=failure.exception))
        case Then.ABORTABLE_IF_POSSIBLE:
            request.result.fail(failure)
            manager.abortable_if_possible(failure)
        case Then.ABORTABLE if isinstance(request.message, EndTxnRequest) and not request.message.committed and manager.profile.failed_abort_is_fatal:
            _fatal(manager, request, Failure("KafkaException", "Failed to abort transaction", cause=failure.exception))
        case Then.UNAUTHORIZED_GROUP:
            _abortable(manager, request, Failure(failure.exception, f"Not authorized to access group: {request.key}"))
        case Then.COMMIT_FAILED:
            text = f"Transaction offset Commit failed due to consumer group metadata mismatch: {failure.text}"
            _abortable(manager, request, Failure("CommitFailedException", text))
        case _:
            _abortable(manager, request, failure)


def _fatal(manager: TransactionManager, request: Pending, failure: Failure) -> None:
    request.result.fail(failure)
    manager.fatal(failure)


def _abortable(manager: TransactionManager, request: Pending, failure: Failure) -> None:
    request.result.fail(failure)
    manager.abortable(failure)


def _partitions_answered(manager: TransactionManager, request: Pending, results: Iterable[tuple[str, ErrorCode]]) -> None:
    """T26: the first error that is not a partition's own decides; else none is added where one may not be."""
    results = tuple(results)
    request.backoff = manager.backoff
    forbidden: list[str] = []
    has_failed = False
    for partition, code in results:
        error = known_to(manager.profile.release, code)
        then = reaction(request.api, error, manager.profile)
        if then is Then.UNAUTHORIZED_TOPIC:
            forbidden.append(topic_of(partition))
        elif then is Then.PARTITION:
            has_failed = True
        elif then is not Then.DONE:
            if then is Then.CONCURRENT and not manager.partitions:
                request.backoff = min(ms(FIRST_ADD_BACKOFF_MS), manager.backoff)
            _react(manager, request, error, then)
            return
    for partition, _ in results:
        manager.pending_partitions.pop(partition, None)
    if forbidden:
        text = f"Not authorized to access topics: [{', '.join(dict.fromkeys(forbidden))}]"
        _abortable(manager, request, Failure(ErrorCode.TOPIC_AUTHORIZATION_FAILED.exception, text))
    elif has_failed:
        errors = ", ".join(f"{partition}={known_to(manager.profile.release, code).name}" for partition, code in results)
        _abortable(manager, request, Failure("KafkaException", f"Could not add partitions to transaction due to errors: {{{errors}}}"))
    else:
        manager.added(tuple(partition for partition, _ in results), request)


def _offsets_answered(manager: TransactionManager, request: Pending, results: Iterable[tuple[str, ErrorCode]]) -> None:
    found = False
    for partition, code in results:
        error = known_to(manager.profile.release, code)
        then = reaction(request.api, error, manager.profile)
        if then is Then.DONE:
            manager.pending_offsets.pop(partition, None)
        elif then is Then.FIND:
            if not found:
                manager.find(GROUP, request.key)
            found = True
        elif then is not Then.RETRY:
            _react(manager, request, error, then)
            break
    manager.offsets_left(request)
