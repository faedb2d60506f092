"""What an append that failed is to those who asked the coordinator of a group for something.

Kafka: GroupMetadataManager and GroupCoordinator up to 3.9; CoordinatorOperationExceptionHelper, GroupCoordinatorService since 4.0 (GC-6).
"""

from __future__ import annotations

from collections.abc import Mapping

from ksim_models.errors import ErrorCode
from ksim_models.profiles import BrokerProfile

OLD_ERRORS = {
    ErrorCode.NETWORK_EXCEPTION: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.INVALID_COMMIT_OFFSET_SIZE,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.INVALID_COMMIT_OFFSET_SIZE,
}
"""GC-6, up to 3.9: what an append of offsets ran into, as the client is told. A time-out stays REQUEST_TIMED_OUT."""
NEW_ERRORS = OLD_ERRORS | {
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
}
"""Since 4.0."""
FETCH_ERRORS = NEW_ERRORS | dict.fromkeys(
    (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.REQUEST_TIMED_OUT), ErrorCode.NOT_COORDINATOR
)
"""Of a fetch of offsets that waited (4.0): the one answer after which older consumers look for the coordinator again."""
OLD_GROUP_ERRORS = OLD_ERRORS | {
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.REBALANCE_IN_PROGRESS,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
}
"""Of a group that is written down, up to 3.9."""


def commit_errors(profile: BrokerProfile) -> Mapping[ErrorCode, ErrorCode]:
    """Of a commit of offsets. What asking for a transaction's runs into is told as it is before 3.7.1 (KAFKA-16386)."""
    if profile.offsets_append_acks_1:
        return NEW_ERRORS
    return OLD_ERRORS if profile.hides_lost_questions else {error: told for error, told in OLD_ERRORS.items() if error is not ErrorCode.NETWORK_EXCEPTION}
