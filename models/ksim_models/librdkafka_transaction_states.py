"""The states of a transactional producer of librdkafka, which may follow which, and what an error of each request means for the transaction.

Kafka: rd_kafka_txn_state_t, rd_kafka_txn_state_transition_is_valid and the rd_kafka_txn_handle_... functions of librdkafka's rdkafka_txnmgr.c
(L9 of the client's rule book): all of its requests are of the protocol before KIP-890 part 2 (TV1), whatever the brokers speak.
"""

from __future__ import annotations

from enum import Enum, Flag, auto

from ksim_models.errors import ErrorCode
from ksim_models.librdkafka_errors import FENCED, OUTDATED, TIMED_OUT, TIMED_OUT_QUEUE, TRANSPORT, name_of
from ksim_models.machine import message


class State(Enum):
    """By the names that its errors have."""

    INIT = "Init"
    WAIT_PID = "WaitPID"
    READY_NOT_ACKED = "ReadyNotAcked"
    READY = "Ready"
    IN_TRANSACTION = "InTransaction"
    BEGIN_COMMIT = "BeginCommit"
    COMMITTING_TRANSACTION = "CommittingTransaction"
    COMMIT_NOT_ACKED = "CommitNotAcked"
    BEGIN_ABORT = "BeginAbort"
    ABORTING_TRANSACTION = "AbortingTransaction"
    ABORT_NOT_ACKED = "AbortedNotAcked"
    ABORTABLE_ERROR = "AbortableError"
    FATAL_ERROR = "FatalError"


# To -> from. FATAL_ERROR is entered from anywhere and never left.
LEGAL: dict[State, frozenset[State]] = {
    State.INIT: frozenset(),
    State.WAIT_PID: frozenset({State.INIT}),
    State.READY_NOT_ACKED: frozenset({State.WAIT_PID}),
    State.READY: frozenset({State.READY_NOT_ACKED, State.COMMIT_NOT_ACKED, State.ABORT_NOT_ACKED}),
    State.IN_TRANSACTION: frozenset({State.READY}),
    State.BEGIN_COMMIT: frozenset({State.IN_TRANSACTION}),
    State.COMMITTING_TRANSACTION: frozenset({State.BEGIN_COMMIT}),
    State.COMMIT_NOT_ACKED: frozenset({State.BEGIN_COMMIT, State.COMMITTING_TRANSACTION}),
    State.BEGIN_ABORT: frozenset({State.IN_TRANSACTION, State.ABORTING_TRANSACTION, State.ABORTABLE_ERROR}),
    State.ABORTING_TRANSACTION: frozenset({State.BEGIN_ABORT}),
    State.ABORT_NOT_ACKED: frozenset({State.BEGIN_ABORT, State.ABORTING_TRANSACTION}),
    State.ABORTABLE_ERROR: frozenset({State.IN_TRANSACTION, State.BEGIN_COMMIT, State.COMMITTING_TRANSACTION}),
    State.FATAL_ERROR: frozenset(State),
}
IGNORED: dict[State, frozenset[State]] = {State.ABORTABLE_ERROR: frozenset({State.BEGIN_ABORT, State.ABORTING_TRANSACTION, State.FATAL_ERROR})}
"""To -> from, where nothing happens: what is being aborted is aborted."""


class Then(Flag):
    """What an error of a transactional request leads to (rd_kafka_err_action flags, and what the handlers do beside)."""

    NOTHING = 0
    RETRY = auto()
    REFRESH = auto()
    """The coordinator is asked for again, 50 ms later."""
    FORGET = auto()
    """The coordinator is another one, or none: it is not known any more."""
    ABORT = auto()
    """RD_KAFKA_ERR_ACTION_PERMANENT: this transaction must be aborted."""
    BUMP = auto()
    """Behind the abort the coordinator raises the epoch (KIP-360)."""
    FATAL = auto()


FATAL_FOR_ALL = dict.fromkeys(
    ("INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "INVALID_TXN_STATE"), Then.FATAL
)
ID_IS_GONE = dict.fromkeys(("UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING"), Then.ABORT | Then.BUMP)
ANOTHER_COORDINATOR = ("COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR")
LOST = (TRANSPORT, TIMED_OUT, TIMED_OUT_QUEUE)

# Of each request: its errors; every other one means Then.ABORT, and in AddPartitionsToTxn it is of one partition, where these are of the whole request.
ADD_PARTITIONS = {
    **FATAL_FOR_ALL,
    **ID_IS_GONE,
    **dict.fromkeys(ANOTHER_COORDINATOR, Then.RETRY | Then.FORGET),
    **dict.fromkeys((*LOST, "CONCURRENT_TRANSACTIONS", "COORDINATOR_LOAD_IN_PROGRESS", "UNKNOWN_TOPIC_OR_PART"), Then.RETRY),
}
ADD_OFFSETS = {
    **{error: Then.FATAL for error in FATAL_FOR_ALL if error != "PRODUCER_FENCED"},
    "UNSUPPORTED_FOR_MESSAGE_FORMAT": Then.FATAL,
    **dict.fromkeys((*LOST, *ANOTHER_COORDINATOR, "REQUEST_TIMED_OUT"), Then.RETRY | Then.REFRESH),
    **dict.fromkeys(("UNKNOWN_TOPIC_OR_PART", "COORDINATOR_LOAD_IN_PROGRESS", "CONCURRENT_TRANSACTIONS"), Then.RETRY),
    OUTDATED: Then.NOTHING,
}
OFFSET_COMMIT = {
    **{error: Then.FATAL for error in FATAL_FOR_ALL if error != "PRODUCER_FENCED"},
    **dict.fromkeys(("INVALID_PRODUCER_ID_MAPPING", "UNSUPPORTED_FOR_MESSAGE_FORMAT"), Then.FATAL),
    **dict.fromkeys((*LOST, *ANOTHER_COORDINATOR, "REQUEST_TIMED_OUT"), Then.RETRY | Then.FORGET),  # The group's coordinator.
    **dict.fromkeys(("CONCURRENT_TRANSACTIONS", "COORDINATOR_LOAD_IN_PROGRESS", "UNKNOWN_TOPIC_OR_PART"), Then.RETRY),
}
END_TXN = {
    **FATAL_FOR_ALL,
    **ID_IS_GONE,
    **dict.fromkeys(LOST, Then.RETRY | Then.REFRESH),
    **dict.fromkeys(ANOTHER_COORDINATOR, Then.RETRY | Then.FORGET),
    **dict.fromkeys(("COORDINATOR_LOAD_IN_PROGRESS", "CONCURRENT_TRANSACTIONS"), Then.RETRY),
    OUTDATED: Then.NOTHING,
}
FATAL_WITHOUT_AN_ID = (
    "INVALID_TRANSACTION_TIMEOUT",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "INVALID_PRODUCER_EPOCH",
    "PRODUCER_FENCED",
)
"""Of InitProducerId (rd_kafka_idemp_check_error); after any other error it is asked for again, half a second later."""


def normalized(error: str) -> str:
    """rd_kafka_txn_normalize_err: one name for all that says that somebody else is the producer now."""
    if error in ("INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"):
        return FENCED
    return TIMED_OUT if error == TIMED_OUT_QUEUE else error


def old_name_of(error: ErrorCode) -> str:
    """As a request of that age is answered: AddPartitionsToTxn v0, AddOffsetsToTxn v0, EndTxn v1 do not know PRODUCER_FENCED (KIP-588)."""
    return name_of(ErrorCode.INVALID_PRODUCER_EPOCH if error is ErrorCode.PRODUCER_FENCED else error)


@message
class TransactionError:
    """What a call returns (rd_kafka_error_t): a code's name, its text, and which of the three kinds it is of, if any."""

    code: str
    text: str
    retriable: bool = False
    """The same call may be made again; where it timed out, it goes on with what it began."""
    requires_abort: bool = False
    fatal: bool = False


def flagged(code: str, text: str, then: Then) -> TransactionError:
    """rd_kafka_txn_curr_api_set_result0."""
    fatal, abort = Then.FATAL in then, Then.ABORT in then
    return TransactionError(code, text, retriable=Then.RETRY in then and not (fatal or abort), requires_abort=abort and not fatal, fatal=fatal)
