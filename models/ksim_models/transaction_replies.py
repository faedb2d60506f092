"""What each answer of a coordinator means to a transactional producer: one table per request, a row per error.

Kafka: the handlers of TransactionManager (section 5.5 of the client's rule book, T25a for older releases).
"""

from __future__ import annotations

from enum import Enum, auto

from ksim_models.errors import ErrorCode
from ksim_models.profiles import ClientProfile


class Then(Enum):
    DONE = auto()
    RETRY = auto()
    FIND = auto()
    """Find the coordinator, and ask again."""
    CONCURRENT = auto()
    """Ask again, soon where this is the transaction's first partition (T24)."""
    FENCED = auto()
    """Fatal, as ProducerFencedException, whichever of the two codes came."""
    FATAL = auto()
    """With the exception of the code."""
    FATAL_UNEXPECTED = auto()
    """With a KafkaException that says what was unexpected."""
    FATAL_WRAPPED = auto()
    """With the exception of the code in a KafkaException."""
    ABORTABLE = auto()
    ABORTABLE_IF_POSSIBLE = auto()
    """Fatal where neither the coordinator raises epochs on request nor the transactions are of version 2 (T11)."""
    COMMIT_FAILED = auto()
    """Abortable, as CommitFailedException: the consumer's group has moved on."""
    UNAUTHORIZED_GROUP = auto()
    UNAUTHORIZED_TOPIC = auto()
    """Of one partition: the others are looked at too (T26)."""
    PARTITION = auto()
    """An error of one partition: the others are looked at too, and the transaction must be aborted."""
    AUTHORIZATION = auto()
    """Abortable, and the producer may be initialized again (S1.3); up to 3.5 fatal."""


FIND_COORDINATOR, INIT_PRODUCER_ID, ADD_PARTITIONS, ADD_OFFSETS, OFFSET_COMMIT, END_TXN = (
    "FindCoordinator",
    "InitProducerId",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "TxnOffsetCommit",
    "EndTxn",
)

E = ErrorCode
LOST_COORDINATOR = dict.fromkeys((E.COORDINATOR_NOT_AVAILABLE, E.NOT_COORDINATOR), Then.FIND)
FENCING = dict.fromkeys((E.INVALID_PRODUCER_EPOCH, E.PRODUCER_FENCED), Then.FENCED)

ROWS: dict[str, dict[ErrorCode, Then]] = {
    FIND_COORDINATOR: {
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Then.FATAL,
        E.GROUP_AUTHORIZATION_FAILED: Then.UNAUTHORIZED_GROUP,
        E.TRANSACTION_ABORTABLE: Then.ABORTABLE,
    },
    INIT_PRODUCER_ID: {
        **LOST_COORDINATOR,
        **FENCING,
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Then.AUTHORIZATION,
        E.CLUSTER_AUTHORIZATION_FAILED: Then.AUTHORIZATION,
        E.TRANSACTION_ABORTABLE: Then.ABORTABLE,
    },
    ADD_PARTITIONS: {
        **LOST_COORDINATOR,
        **FENCING,
        E.CONCURRENT_TRANSACTIONS: Then.CONCURRENT,
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Then.FATAL,
        E.INVALID_TXN_STATE: Then.FATAL,
        E.INVALID_PRODUCER_ID_MAPPING: Then.FATAL,
        E.TOPIC_AUTHORIZATION_FAILED: Then.UNAUTHORIZED_TOPIC,
        E.UNKNOWN_PRODUCER_ID: Then.ABORTABLE_IF_POSSIBLE,
        E.TRANSACTION_ABORTABLE: Then.ABORTABLE,
    },
    ADD_OFFSETS: {
        **LOST_COORDINATOR,
        **FENCING,
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Then.FATAL,
        E.INVALID_TXN_STATE: Then.FATAL,
        E.INVALID_PRODUCER_ID_MAPPING: Then.FATAL,
        E.GROUP_AUTHORIZATION_FAILED: Then.UNAUTHORIZED_GROUP,
        E.UNKNOWN_PRODUCER_ID: Then.ABORTABLE_IF_POSSIBLE,
        E.TRANSACTION_ABORTABLE: Then.ABORTABLE,
    },
    OFFSET_COMMIT: {
        **LOST_COORDINATOR,
        **FENCING,
        E.REQUEST_TIMED_OUT: Then.FIND,
        E.GROUP_AUTHORIZATION_FAILED: Then.UNAUTHORIZED_GROUP,
        E.FENCED_INSTANCE_ID: Then.ABORTABLE,
        E.TRANSACTION_ABORTABLE: Then.ABORTABLE,
        E.UNKNOWN_MEMBER_ID: Then.COMMIT_FAILED,
        E.ILLEGAL_GENERATION: Then.COMMIT_FAILED,
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Then.FATAL,
        E.UNSUPPORTED_FOR_MESSAGE_FORMAT: Then.FATAL,
    },
    END_TXN: {
        **LOST_COORDINATOR,
        **FENCING,
        E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Then.FATAL,
        E.INVALID_TXN_STATE: Then.FATAL,
        E.INVALID_PRODUCER_ID_MAPPING: Then.FATAL,
        E.UNKNOWN_PRODUCER_ID: Then.ABORTABLE_IF_POSSIBLE,
        E.TRANSACTION_ABORTABLE: Then.ABORTABLE,
    },
}
OTHERWISE = {ADD_PARTITIONS: Then.PARTITION}
"""Errors without a row that are not retriable; of the other requests they are fatal."""

RETRIED_BY_NAME: dict[str, tuple[ErrorCode, ...]] = {
    FIND_COORDINATOR: (E.COORDINATOR_NOT_AVAILABLE,),
    INIT_PRODUCER_ID: (E.COORDINATOR_LOAD_IN_PROGRESS, E.CONCURRENT_TRANSACTIONS),
    ADD_PARTITIONS: (E.COORDINATOR_LOAD_IN_PROGRESS, E.UNKNOWN_TOPIC_OR_PARTITION),
    ADD_OFFSETS: (E.COORDINATOR_LOAD_IN_PROGRESS, E.CONCURRENT_TRANSACTIONS),
    OFFSET_COMMIT: (E.COORDINATOR_LOAD_IN_PROGRESS, E.UNKNOWN_TOPIC_OR_PARTITION),
    END_TXN: (E.COORDINATOR_LOAD_IN_PROGRESS, E.CONCURRENT_TRANSACTIONS),
}
"""T25a: what was retried before whatever is retriable was (3.3.2, KAFKA-14417)."""


OTHER_NAMES: dict[tuple[str, ErrorCode], Then] = {
    (ADD_PARTITIONS, E.INVALID_TXN_STATE): Then.FATAL_WRAPPED,
    (ADD_OFFSETS, E.INVALID_TXN_STATE): Then.FATAL_UNEXPECTED,
    (OFFSET_COMMIT, E.INVALID_PRODUCER_EPOCH): Then.FATAL,
    (OFFSET_COMMIT, E.PRODUCER_FENCED): Then.FATAL,
}
"""T25a: rows of releases before 3.6 (KAFKA-14278)."""


def reaction(api: str, error: ErrorCode, profile: ClientProfile) -> Then:
    """The row of this error. `error` is one that the client's release knows (S19)."""
    if not error:
        return Then.DONE
    row = ROWS[api].get(error)
    if not profile.transaction_errors_keep_their_names:
        row = OTHER_NAMES.get((api, error), row)
    if error is ErrorCode.INVALID_PRODUCER_ID_MAPPING and row is Then.FATAL and not profile.id_mapping_error_is_fatal:
        return Then.ABORTABLE_IF_POSSIBLE
    if row is Then.AUTHORIZATION and not profile.authorization_errors_end_no_producer:
        return Then.FATAL
    if row is not None:
        return row
    retries_all = profile.offset_commit_retries_all if api == OFFSET_COMMIT else profile.retries_more_errors
    if error.retriable if retries_all else error in RETRIED_BY_NAME[api]:
        return Then.RETRY
    return OTHERWISE.get(api, Then.FATAL_UNEXPECTED)


UNEXPECTED = {
    FIND_COORDINATOR: "Could not find a coordinator with type {kind} with key {key} due to unexpected error: {}",
    INIT_PRODUCER_ID: "Unexpected error in InitProducerIdResponse; {}",
    ADD_OFFSETS: "Unexpected error in AddOffsetsToTxnResponse: {}",
    OFFSET_COMMIT: "Unexpected error in TxnOffsetCommitResponse: {}",
    END_TXN: "Unhandled error in EndTxnResponse: {}",
}
