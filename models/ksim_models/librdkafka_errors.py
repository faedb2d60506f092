"""What librdkafka makes of an error: its own names, what the application reads, and whether a message is tried again.

Kafka: rd_kafka_err_action in librdkafka's rdkafka_request.c and the list in rd_kafka_handle_Produce_error (section 7.2, L12, of the client's rule book).
"""

from __future__ import annotations

from enum import Enum

from ksim_models.errors import ErrorCode

TRANSPORT = "_TRANSPORT"
TIMED_OUT = "_TIMED_OUT"
TIMED_OUT_QUEUE = "_TIMED_OUT_QUEUE"
RETRY = "_RETRY"
DESTROY_BROKER = "_DESTROY_BROKER"
MSG_TIMED_OUT = "_MSG_TIMED_OUT"
PURGE_QUEUE = "_PURGE_QUEUE"
QUEUE_FULL = "_QUEUE_FULL"
UNKNOWN_TOPIC = "_UNKNOWN_TOPIC"
UNKNOWN_PARTITION = "_UNKNOWN_PARTITION"
FATAL = "_FATAL"
STATE = "_STATE"
CONFLICT = "_CONFLICT"
INCONSISTENT = "_INCONSISTENT"
FENCED = "_FENCED"
OUTDATED = "_OUTDATED"
MSG_SIZE_TOO_LARGE = "MSG_SIZE_TOO_LARGE"
VALUE_SERIALIZATION = "_VALUE_SERIALIZATION"
"""confluent-kafka's: its serializer threw, librdkafka never saw the record."""


class Then(Enum):
    RETRY = "try again"
    REFRESH = "ask who leads, then try again"
    FAIL = "give up"


OTHER_NAMES = {
    ErrorCode.UNKNOWN_SERVER_ERROR: "UNKNOWN",
    ErrorCode.CORRUPT_MESSAGE: "INVALID_MSG",
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "UNKNOWN_TOPIC_OR_PART",
    ErrorCode.NOT_LEADER_OR_FOLLOWER: "NOT_LEADER_FOR_PARTITION",
    ErrorCode.MESSAGE_TOO_LARGE: MSG_SIZE_TOO_LARGE,
    ErrorCode.INVALID_TOPIC_EXCEPTION: "TOPIC_EXCEPTION",
    ErrorCode.RECORD_LIST_TOO_LARGE: "RECORD_LIST_TOO_LARGE",
}
"""Where librdkafka spells an error of the protocol differently."""

ACTIONS = {
    TRANSPORT: Then.REFRESH,
    DESTROY_BROKER: Then.REFRESH,
    TIMED_OUT: Then.RETRY,
    TIMED_OUT_QUEUE: Then.RETRY,
    RETRY: Then.RETRY,
    "UNKNOWN_TOPIC_OR_PART": Then.REFRESH,
    "LEADER_NOT_AVAILABLE": Then.REFRESH,
    "NOT_LEADER_FOR_PARTITION": Then.REFRESH,
    "BROKER_NOT_AVAILABLE": Then.REFRESH,
    "REPLICA_NOT_AVAILABLE": Then.REFRESH,
    "COORDINATOR_NOT_AVAILABLE": Then.REFRESH,
    "NOT_COORDINATOR": Then.REFRESH,
    "KAFKA_STORAGE_ERROR": Then.REFRESH,
    "REQUEST_TIMED_OUT": Then.RETRY,
    "NOT_ENOUGH_REPLICAS": Then.RETRY,
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": Then.RETRY,
    "INVALID_MSG": Then.RETRY,
    "COORDINATOR_LOAD_IN_PROGRESS": Then.RETRY,
}
"""Everything else fails at once: also FENCED_LEADER_EPOCH and its like, which Java would retry (L12)."""

REFRESHED_AND_COUNTED = (TRANSPORT, "KAFKA_STORAGE_ERROR")
"""After the other errors of stale metadata a retry does not count against `retries`: the request cannot have been carried out."""

TEXTS = {
    TRANSPORT: "Local: Broker transport failure",
    TIMED_OUT: "Local: Timed out",
    TIMED_OUT_QUEUE: "Local: Timed out in queue",
    RETRY: "Local: Retry operation",
    DESTROY_BROKER: "Local: Broker handle destroyed without termination",
    MSG_TIMED_OUT: "Local: Message timed out",
    PURGE_QUEUE: "Local: Purged in queue",
    QUEUE_FULL: "Local: Queue full",
    UNKNOWN_TOPIC: "Local: Unknown topic",
    UNKNOWN_PARTITION: "Local: Unknown partition",
    FATAL: "Local: Fatal error",
    STATE: "Local: Erroneous state",
    CONFLICT: "Local: Conflicting use",
    INCONSISTENT: "Local: Inconsistent state",
    FENCED: "Local: This instance has been fenced by a newer instance",
    OUTDATED: "Local: Outdated",
    "NOT_ENOUGH_REPLICAS": "Broker: Not enough in-sync replicas",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": "Broker: Message(s) written to insufficient number of in-sync replicas",
    "REQUEST_TIMED_OUT": "Broker: Request timed out",
    MSG_SIZE_TOO_LARGE: "Broker: Message size too large",
    "OUT_OF_ORDER_SEQUENCE_NUMBER": "Broker: Broker received an out of order sequence number",
    "INVALID_PRODUCER_EPOCH": "Broker: Producer attempted an operation with an old epoch",
    "UNKNOWN_PRODUCER_ID": "Broker: Unknown Producer Id",
    "INVALID_MSG": "Broker: Invalid message",
    "UNKNOWN_TOPIC_OR_PART": "Broker: Unknown topic or partition",
    "TOPIC_EXCEPTION": "Broker: Invalid topic",
    "UNKNOWN": "Unknown broker error",
}


def name_of(error: ErrorCode) -> str:
    return OTHER_NAMES.get(error, error.name)


def text_of(name: str) -> str:
    known = TEXTS.get(name)
    if known is not None:
        return known
    return f"Broker: {ErrorCode[name].meaning}" if name in ErrorCode.__members__ else name


def action_of(name: str) -> Then:
    return ACTIONS.get(name, Then.FAIL)
