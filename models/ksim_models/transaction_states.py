"""The states of a transactional producer, which may follow which, and what goes wrong on the way.

Kafka: TransactionManager.State, TransactionManager.Priority, TransactionalRequestResult (section 5.1 of the client's rule book).
"""

from __future__ import annotations

from enum import Enum, IntEnum

from ksim_models.errors import ErrorCode
from ksim_models.machine import message
from ksim_models.profiles import ClientProfile


class State(Enum):
    UNINITIALIZED = "UNINITIALIZED"
    INITIALIZING = "INITIALIZING"
    READY = "READY"
    IN_TRANSACTION = "IN_TRANSACTION"
    COMMITTING = "COMMITTING_TRANSACTION"
    ABORTING = "ABORTING_TRANSACTION"
    ABORTABLE_ERROR = "ABORTABLE_ERROR"
    FATAL_ERROR = "FATAL_ERROR"


class Since(Enum):
    """Transitions that older releases lack."""

    ALWAYS = "always"
    AUTHORIZATION = "3.6"
    """With `authorization_errors_end_no_producer`."""
    TRANSACTION_V2 = "4.0"


# To -> from. FATAL_ERROR is entered from anywhere and never left.
LEGAL: dict[State, dict[State, Since]] = {
    State.UNINITIALIZED: {State.READY: Since.ALWAYS, State.ABORTABLE_ERROR: Since.AUTHORIZATION},
    State.INITIALIZING: {State.UNINITIALIZED: Since.ALWAYS, State.COMMITTING: Since.TRANSACTION_V2, State.ABORTING: Since.ALWAYS},
    State.READY: {State.INITIALIZING: Since.ALWAYS, State.COMMITTING: Since.ALWAYS, State.ABORTING: Since.ALWAYS},
    State.IN_TRANSACTION: {State.READY: Since.ALWAYS},
    State.COMMITTING: {State.IN_TRANSACTION: Since.ALWAYS},
    State.ABORTING: {State.IN_TRANSACTION: Since.ALWAYS, State.ABORTABLE_ERROR: Since.ALWAYS},
    State.ABORTABLE_ERROR: {
        State.INITIALIZING: Since.AUTHORIZATION,
        State.IN_TRANSACTION: Since.ALWAYS,
        State.COMMITTING: Since.ALWAYS,
        State.ABORTABLE_ERROR: Since.ALWAYS,
    },
}


def is_legal(source: State, target: State, profile: ClientProfile) -> bool:
    if target is State.FATAL_ERROR:
        return True
    since = LEGAL[target].get(source)
    if since is Since.AUTHORIZATION:
        return profile.authorization_errors_end_no_producer
    if since is Since.TRANSACTION_V2:
        return profile.transactions_v2
    return since is Since.ALWAYS


class Priority(IntEnum):
    """T20: which request goes first."""

    FIND_COORDINATOR = 0
    INIT_PRODUCER_ID = 1
    ADD_PARTITIONS_OR_OFFSETS = 2
    END_TXN = 3
    EPOCH_BUMP = 4


@message
class Failure:
    """An exception of the client: its class and text, and the exception that it wraps."""

    exception: str
    text: str
    cause: str = ""
    retriable: bool = False
    """Its class is a RetriableException."""


def failure_of(error: ErrorCode) -> Failure:
    return Failure(error.exception, error.meaning, retriable=error.retriable)


FENCED = failure_of(ErrorCode.PRODUCER_FENCED)


class IllegalState(Exception):
    """What a call of the application throws before anything is asked of a broker."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Result:
    """What a call waits for. A second failure replaces the first, as in Java."""

    __slots__ = ("failure", "is_acked", "is_completed", "operation")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.is_completed = False
        self.failure: Failure | None = None
        self.is_acked = False
        """The application has heard of it."""

    def done(self) -> None:
        self.is_completed = True

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self.is_completed = True
