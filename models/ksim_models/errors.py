"""Kafka's error codes, one table: the code, what a client does with it, the exception an application sees, what it means.

Kafka: org.apache.kafka.common.protocol.Errors and the exception classes behind it (ERR-0 to ERR-2); section 10 of the rule book.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class Then(Enum):
    """What a generic client does next. The Java producer has rules of its own on top (10 splits, 45 and 59 look at sequences, 46 is success)."""

    FAIL = "give up"
    RETRY = "try again"
    REFRESH = "ask for new metadata, then try again (InvalidMetadataException, ERR-1)"


FAIL, RETRY, REFRESH = Then.FAIL, Then.RETRY, Then.REFRESH


class ErrorCode(IntEnum):
    """An error as it stands in a response."""

    retriable: bool
    invalid_metadata: bool
    exception: str
    """Simple name of the Java class; empty for NONE."""
    meaning: str

    def __new__(cls, code: int, then: Then = FAIL, exception: str = "", meaning: str = "") -> ErrorCode:  # The defaults let type checkers accept ErrorCode(6).
        member = int.__new__(cls, code)
        member._value_ = code
        member.retriable = then is not Then.FAIL
        member.invalid_metadata = then is Then.REFRESH
        member.exception = exception
        member.meaning = meaning
        return member

    UNKNOWN_SERVER_ERROR = -1, FAIL, "UnknownServerException", "The server met an error it did not expect."
    NONE = 0, FAIL, "", "Success."
    OFFSET_OUT_OF_RANGE = 1, FAIL, "OffsetOutOfRangeException", "The offset asked for lies outside the log."
    CORRUPT_MESSAGE = 2, RETRY, "CorruptRecordException", "The batch fails its checksum, has an impossible size or is otherwise damaged."
    UNKNOWN_TOPIC_OR_PARTITION = 3, REFRESH, "UnknownTopicOrPartitionException", "This server does not host this topic-partition."
    LEADER_NOT_AVAILABLE = 5, REFRESH, "LeaderNotAvailableException", "The partition has no leader now: an election may be under way."
    NOT_LEADER_OR_FOLLOWER = 6, REFRESH, "NotLeaderOrFollowerException", "This broker is not, or no longer, the leader that the request is for."
    REQUEST_TIMED_OUT = 7, RETRY, "TimeoutException", "The request timed out."
    BROKER_NOT_AVAILABLE = 8, FAIL, "BrokerNotAvailableException", "The broker is not available."
    REPLICA_NOT_AVAILABLE = 9, REFRESH, "ReplicaNotAvailableException", "The replica asked for is not available on this broker."
    MESSAGE_TOO_LARGE = 10, FAIL, "RecordTooLargeException", "The batch is larger than the largest that the server accepts."
    STALE_CONTROLLER_EPOCH = 11, FAIL, "ControllerMovedException", "The controller has moved to another broker."
    OFFSET_METADATA_TOO_LARGE = 12, FAIL, "OffsetMetadataTooLarge", "The metadata beside the committed offset is too large."
    NETWORK_EXCEPTION = 13, REFRESH, "NetworkException", "The server disconnected before a response was received."
    COORDINATOR_LOAD_IN_PROGRESS = 14, RETRY, "CoordinatorLoadInProgressException", "The coordinator is still loading its state."
    COORDINATOR_NOT_AVAILABLE = 15, RETRY, "CoordinatorNotAvailableException", "The coordinator is not available."
    NOT_COORDINATOR = 16, RETRY, "NotCoordinatorException", "This broker is not the right coordinator: find it again."
    INVALID_TOPIC_EXCEPTION = 17, FAIL, "InvalidTopicException", "The topic's name is invalid, or the topic is not for clients to write."
    RECORD_LIST_TOO_LARGE = 18, FAIL, "RecordBatchTooLargeException", "The batches are larger than a log segment."
    NOT_ENOUGH_REPLICAS = 19, RETRY, "NotEnoughReplicasException", "Refused before the append: fewer in-sync replicas than required."
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, RETRY, "NotEnoughReplicasAfterAppendException", "Written to the log, but to fewer in-sync replicas than required."
    INVALID_REQUIRED_ACKS = 21, FAIL, "InvalidRequiredAcksException", "acks is neither 0, 1 nor all."
    ILLEGAL_GENERATION = 22, FAIL, "IllegalGenerationException", "The generation is not the group's current one."
    INCONSISTENT_GROUP_PROTOCOL = 23, FAIL, "InconsistentGroupProtocolException", "The member's protocols do not fit those of the group."
    INVALID_GROUP_ID = 24, FAIL, "InvalidGroupIdException", "The group id is invalid."
    UNKNOWN_MEMBER_ID = 25, FAIL, "UnknownMemberIdException", "The coordinator does not know this member."
    INVALID_COMMIT_OFFSET_SIZE = 28, FAIL, "InvalidCommitOffsetSizeException", "The offsets, with their metadata, are larger than the broker takes."
    INVALID_SESSION_TIMEOUT = 26, FAIL, "InvalidSessionTimeoutException", "The session time-out lies outside the range that the broker allows."
    REBALANCE_IN_PROGRESS = 27, FAIL, "RebalanceInProgressException", "The group is rebalancing: rejoin."
    TOPIC_AUTHORIZATION_FAILED = 29, FAIL, "TopicAuthorizationException", "No permission for the topic."
    GROUP_AUTHORIZATION_FAILED = 30, FAIL, "GroupAuthorizationException", "No permission for the group."
    CLUSTER_AUTHORIZATION_FAILED = 31, FAIL, "ClusterAuthorizationException", "No permission for the cluster."
    INVALID_TIMESTAMP = 32, FAIL, "InvalidTimestampException", "The record's timestamp lies outside the accepted window."
    UNSUPPORTED_VERSION = 35, FAIL, "UnsupportedVersionException", "The API's version is not supported."
    TOPIC_ALREADY_EXISTS = 36, FAIL, "TopicExistsException", "A topic of this name exists already."
    INVALID_REPLICATION_FACTOR = 38, FAIL, "InvalidReplicationFactorException", "The replication factor is below 1 or above the number of brokers."
    INVALID_REPLICA_ASSIGNMENT = 39, FAIL, "InvalidReplicaAssignmentException", "The assignment names a broker twice, or one that is not there."
    INVALID_CONFIG = 40, FAIL, "InvalidConfigurationException", "The setting cannot be changed so."
    NOT_CONTROLLER = 41, RETRY, "NotControllerException", "This is not the active controller."
    INVALID_REQUEST = 42, FAIL, "InvalidRequestException", "The request is malformed or makes no sense here."
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, FAIL, "UnsupportedForMessageFormatException", "The topic's message format does not support this."
    POLICY_VIOLATION = 44, FAIL, "PolicyViolationException", "The request violates a policy of the cluster."
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, FAIL, "OutOfOrderSequenceException", "The sequence number is not the next one of this producer."
    DUPLICATE_SEQUENCE_NUMBER = 46, FAIL, "DuplicateSequenceException", "The sequence number was seen before."
    INVALID_PRODUCER_EPOCH = 47, FAIL, "InvalidProducerEpochException", "The producer's epoch is older than the one known."
    INVALID_TXN_STATE = 48, FAIL, "InvalidTxnStateException", "The transaction is not in a state that allows this."
    INVALID_PRODUCER_ID_MAPPING = 49, FAIL, "InvalidPidMappingException", "The producer id is not the one assigned to this transactional id."
    INVALID_TRANSACTION_TIMEOUT = 50, FAIL, "InvalidTxnTimeoutException", "The transaction time-out is larger than the broker allows."
    CONCURRENT_TRANSACTIONS = 51, RETRY, "ConcurrentTransactionsException", "The previous transaction of this producer is not yet finished."
    TRANSACTION_COORDINATOR_FENCED = 52, FAIL, "TransactionCoordinatorFencedException", "A newer transaction coordinator has taken over."
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, FAIL, "TransactionalIdAuthorizationException", "No permission for the transactional id."
    OPERATION_NOT_ATTEMPTED = 55, FAIL, "OperationNotAttemptedException", "Not attempted, because another part of the request failed or is busy."
    KAFKA_STORAGE_ERROR = 56, REFRESH, "KafkaStorageException", "The broker's disk failed while it touched the log."
    LOG_DIR_NOT_FOUND = 57, FAIL, "LogDirNotFoundException", "The broker has no such log directory."
    UNKNOWN_PRODUCER_ID = 59, FAIL, "UnknownProducerIdException", "The broker remembers nothing of this producer id."
    REASSIGNMENT_IN_PROGRESS = 60, FAIL, "ReassignmentInProgressException", "The partition is being reassigned."
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64, FAIL, "UnsupportedByAuthenticationException", "Delegation tokens are not allowed on this connection."
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, FAIL, "DelegationTokenAuthorizationException", "No permission for the delegation token."
    FETCH_SESSION_ID_NOT_FOUND = 70, RETRY, "FetchSessionIdNotFoundException", "The fetch session is gone: begin a new one."
    INVALID_FETCH_SESSION_EPOCH = 71, RETRY, "InvalidFetchSessionEpochException", "The fetch session's epoch is wrong: begin a new one."
    LISTENER_NOT_FOUND = 72, REFRESH, "ListenerNotFoundException", "The leader has no listener of the name this request came by."
    GROUP_ID_NOT_FOUND = 69, FAIL, "GroupIdNotFoundException", "There is no group of this id."
    FENCED_LEADER_EPOCH = 74, REFRESH, "FencedLeaderEpochException", "The request's leader epoch is older than the broker's."
    UNKNOWN_LEADER_EPOCH = 75, RETRY, "UnknownLeaderEpochException", "The request's leader epoch is newer than the broker's."
    UNSUPPORTED_COMPRESSION_TYPE = 76, FAIL, "UnsupportedCompressionTypeException", "The requesting client does not support the compression type."
    STALE_BROKER_EPOCH = 77, FAIL, "StaleBrokerEpochException", "The broker epoch is not the one registered."
    OFFSET_NOT_AVAILABLE = 78, RETRY, "OffsetNotAvailableException", "The leader's high watermark has not caught up since its election."
    MEMBER_ID_REQUIRED = 79, FAIL, "MemberIdRequiredException", "The group member needs a member id first."
    PREFERRED_LEADER_NOT_AVAILABLE = 80, REFRESH, "PreferredLeaderNotAvailableException", "The preferred leader is not available."
    GROUP_MAX_SIZE_REACHED = 81, FAIL, "GroupMaxSizeReachedException", "The group is full."
    FENCED_INSTANCE_ID = 82, FAIL, "FencedInstanceIdException", "Another member has taken over this static instance id."
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, REFRESH, "EligibleLeadersNotAvailableException", "No replica that may lead is available."
    ELECTION_NOT_NEEDED = 84, REFRESH, "ElectionNotNeededException", "The partition has the leader it should have."
    NO_REASSIGNMENT_IN_PROGRESS = 85, FAIL, "NoReassignmentInProgressException", "No reassignment is under way."
    GROUP_SUBSCRIBED_TO_TOPIC = 86, FAIL, "GroupSubscribedToTopicException", "The group is subscribed to the topic, so its offsets cannot be deleted."
    INVALID_RECORD = 87, FAIL, "InvalidRecordException", "The broker's validation refused a record."
    UNSTABLE_OFFSET_COMMIT = 88, RETRY, "UnstableOffsetCommitException", "A transaction with offsets of this partition is still open."
    THROTTLING_QUOTA_EXCEEDED = 89, RETRY, "ThrottlingQuotaExceededException", "The quota of controller changes is used up for now."
    PRODUCER_FENCED = 90, FAIL, "ProducerFencedException", "A newer producer has the same transactional id."
    RESOURCE_NOT_FOUND = 91, FAIL, "ResourceNotFoundException", "The resource does not exist."
    DUPLICATE_RESOURCE = 92, FAIL, "DuplicateResourceException", "The resource was named twice, or exists already."
    UNACCEPTABLE_CREDENTIAL = 93, FAIL, "UnacceptableCredentialException", "The credential does not meet the requirements."
    INCONSISTENT_VOTER_SET = 94, FAIL, "InconsistentVoterSetException", "The sets of quorum voters do not agree."
    INVALID_UPDATE_VERSION = 95, FAIL, "InvalidUpdateVersionException", "The update was made from an old version of the state."
    FEATURE_UPDATE_FAILED = 96, FAIL, "FeatureUpdateFailedException", "The finalized features could not be changed."
    UNKNOWN_TOPIC_ID = 100, REFRESH, "UnknownTopicIdException", "This server does not host a topic of this id."
    DUPLICATE_BROKER_REGISTRATION = 101, FAIL, "DuplicateBrokerRegistrationException", "The broker id is in use by another living incarnation."
    BROKER_ID_NOT_REGISTERED = 102, FAIL, "BrokerIdNotRegisteredException", "No broker of this id is registered."
    INCONSISTENT_TOPIC_ID = 103, REFRESH, "InconsistentTopicIdException", "The log's topic id is another one: the topic was created again."
    TRANSACTIONAL_ID_NOT_FOUND = 105, FAIL, "TransactionalIdNotFoundException", "The coordinator does not know this transactional id."
    FETCH_SESSION_TOPIC_ID_ERROR = 106, RETRY, "FetchSessionTopicIdException", "The fetch session mixes topic ids and names."
    INELIGIBLE_REPLICA = 107, FAIL, "IneligibleReplicaException", "A proposed ISR member may not join: fenced, leaving, or restarted."
    NEW_LEADER_ELECTED = 108, FAIL, "NewLeaderElectedException", "The change completed a reassignment that elected another leader."
    FENCED_MEMBER_EPOCH = 110, FAIL, "FencedMemberEpochException", "The group coordinator has fenced this member epoch."
    UNRELEASED_INSTANCE_ID = 111, FAIL, "UnreleasedInstanceIdException", "Another member has this static instance id, and has not left."
    UNSUPPORTED_ASSIGNOR = 112, FAIL, "UnsupportedAssignorException", "The group coordinator knows no such assignor."
    STALE_MEMBER_EPOCH = 113, FAIL, "StaleMemberEpochException", "The member epoch is old: take the new one from the next heartbeat."
    TRANSACTION_ABORTABLE = 120, FAIL, "TransactionAbortableException", "The transaction cannot go on: abort it, then begin anew."
    REBOOTSTRAP_REQUIRED = 129, FAIL, "RebootstrapRequiredException", "The client's metadata is of no use: begin again from the bootstrap servers (M6)."


NONE = ErrorCode.NONE
"""By a name of its own: up to Python 3.11 looking up a member of an Enum costs as much as a call, and most answers say it."""

KNOWN_SINCE = {
    ErrorCode.TRANSACTIONAL_ID_NOT_FOUND: (3, 0, 0),
    ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR: (3, 1, 0),
    ErrorCode.INELIGIBLE_REPLICA: (3, 3, 0),
    ErrorCode.NEW_LEADER_ELECTED: (3, 3, 0),
    ErrorCode.FENCED_MEMBER_EPOCH: (3, 5, 0),
    ErrorCode.UNRELEASED_INSTANCE_ID: (3, 5, 0),
    ErrorCode.UNSUPPORTED_ASSIGNOR: (3, 5, 0),
    ErrorCode.STALE_MEMBER_EPOCH: (3, 6, 0),
    ErrorCode.TRANSACTION_ABORTABLE: (3, 8, 0),
    ErrorCode.REBOOTSTRAP_REQUIRED: (4, 0, 0),
}
"""Codes that are younger than 2.8."""


def known_to(release: tuple[int, int, int], error: ErrorCode) -> ErrorCode:
    """What a client of this release reads: a code it does not know is UNKNOWN_SERVER_ERROR, whatever it means (S19)."""
    return error if release >= KNOWN_SINCE.get(error, release) else ErrorCode.UNKNOWN_SERVER_ERROR
