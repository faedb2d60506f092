"""What the exceptions of a transactional producer say, word for word (TransactionManager, TransactionalRequestResult): people search for it."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.facts import Refused
from ksim_models.transaction_states import Failure, IllegalState
from scripted_transactions import Transactional

WHO = "Producer with transactionalId 't' and (producerId=13131, epoch=1)"
IN_ERROR = "Cannot execute transactional method because we are in an error state"
REJECTED = "The producer has been rejected from the broker because it tried to use an old epoch with the transactionalId"
PINNED = "Cannot attempt operation `{}` because the previous call to `{}` timed out and must be retried"
ILLEGAL = "TransactionalId t: Invalid transition attempted from state {} to state {}"
UNACKNOWLEDGED = "The client hasn't received acknowledgment for some previously sent messages and can no longer retry them. "

SENT = ("start", "send p0", "reply AddPartitions")
ASKED = ("start", "send p0")
OFFSETS = ("start", "send-offsets t-1=1")
FOUND = (*OFFSETS, "reply AddOffsets", "reply FindCoordinator", "pass 100")
WRITTEN = (*SENT, "answer 0 NONE 0")
FENCED = (*OFFSETS, "reply AddOffsets PRODUCER_FENCED")
OLD_EPOCH = (*SENT, "answer 0 INVALID_PRODUCER_EPOCH")
EXPIRED = (*SENT, "answer 0 REQUEST_TIMED_OUT", "pass 2900", "pass 100")
TIMED_OUT = (*WRITTEN, "commit", "pass 500")


def thrown(client: Transactional, call: str) -> Failure:
    """By a call of the application that returns at once."""
    name, _, rest = call.partition(" ")
    if name == "send":
        client.send()
        refused = next(fact for _, fact in reversed(client.facts) if isinstance(fact, Refused))
        return Failure(refused.error, refused.message)
    if name == "begin":
        with pytest.raises(IllegalState) as illegal:
            client.manager.begin()
        return illegal.value.failure
    client._call(name, rest)
    failure = client.calls_made[-1].failure
    assert failure is not None
    return failure


CALLS: list[tuple[str, tuple[str, ...], str, str, str]] = [
    ("4.3", FENCED, "begin", "ProducerFencedException", f"{WHO} has been fenced by another producer with the same transactionalId"),
    ("3.0", FENCED, "begin", "ProducerFencedException", REJECTED),
    ("4.3", OLD_EPOCH, "commit", "InvalidProducerEpochException", f"{WHO} attempted to produce with an old epoch"),
    ("3.0", OLD_EPOCH, "commit", "InvalidProducerEpochException", "Producer attempted to produce with an old epoch (producerId=13131, epoch=1)"),
    ("4.3", EXPIRED, "commit", "KafkaException", IN_ERROR),
    ("4.3", ("start",), "init", "IllegalStateException", ILLEGAL.format("IN_TRANSACTION", "INITIALIZING")),
    ("3.1.0", ("start",), "init", "KafkaException", ILLEGAL.format("IN_TRANSACTION", "INITIALIZING")),
    ("4.3", ("start", "commit"), "abort", "IllegalStateException", ILLEGAL.format("READY", "ABORTING_TRANSACTION")),
    ("4.3", TIMED_OUT, "begin", "IllegalStateException", PINNED.format("beginTransaction", "commitTransaction")),
    ("4.3", TIMED_OUT, "abort", "IllegalStateException", PINNED.format("abortTransaction", "commitTransaction")),
    ("4.3", TIMED_OUT, "send", "IllegalStateException", PINNED.format("send", "commitTransaction")),
    ("4.3", TIMED_OUT, "send-offsets t-1=1", "IllegalStateException", PINNED.format("sendOffsetsToTransaction", "commitTransaction")),
    ("4.3", (*WRITTEN, "abort", "pass 500"), "commit", "IllegalStateException", PINNED.format("commitTransaction", "abortTransaction")),
    ("4.3", ("init", "pass 500"), "commit", "IllegalStateException", PINNED.format("commitTransaction", "initTransactions")),
    (
        "4.3",
        ("start", "commit"),
        "send-offsets t-1=1",
        "IllegalStateException",
        "Cannot send offsets if a transaction is not in progress (currentState= READY)",
    ),
    (
        "3.0",
        ("start", "commit"),
        "send-offsets t-1=1",
        "KafkaException",
        "Cannot send offsets to transaction either because the producer is not in an active transaction",
    ),
    ("4.3", ("start", "commit"), "send", "IllegalStateException", "Cannot add partition t-0 to transaction while in state  READY"),
    ("4.3", ("refresh",), "send", "IllegalStateException", "Cannot add partition t-0 to transaction before completing a call to initTransactions"),
    ("4.3", EXPIRED, "send", "KafkaException", IN_ERROR),
    ("3.0", ("start", "commit"), "send", "IllegalStateException", "Cannot call send in state READY"),
    (
        "3.0",
        ("refresh",),
        "send",
        "IllegalStateException",
        "Cannot perform a 'send' before completing a call to initTransactions when transactions are enabled.",
    ),
    (
        "3.0",
        EXPIRED,
        "send",
        "KafkaException",
        "Cannot perform send because at least one previous transactional or idempotent request has failed with errors.",
    ),
]


@pytest.mark.parametrize(("kafka", "script", "call", "exception", "text"), CALLS)
def test_t3_t9_what_a_call_throws_says(kafka: str, script: tuple[str, ...], call: str, exception: str, text: str) -> None:
    client = Transactional(kafka=kafka, max_block_ms=500)
    client.producer.metadata.want("t", 0)
    for line in script:
        client._do(line)
        client.happened()

    failure = thrown(client, call)

    assert (failure.exception, failure.text) == (exception, text)


ERRORS: list[tuple[dict[str, Any], tuple[str, ...], str, str]] = [
    ({}, ("init", "reply FindCoordinator UNKNOWN_SERVER_ERROR"), "KafkaException", "Could not find a coordinator with type TRANSACTION with key t due to"),
    (
        {},
        (*OFFSETS, "reply AddOffsets", "reply FindCoordinator UNKNOWN_SERVER_ERROR"),
        "KafkaException",
        "Could not find a coordinator with type GROUP with key g",
    ),
    (
        {},
        (*OFFSETS, "reply AddOffsets", "reply FindCoordinator GROUP_AUTHORIZATION_FAILED"),
        "GroupAuthorizationException",
        "Not authorized to access group: g",
    ),
    (
        {},
        ("init", "reply FindCoordinator", "pass 100", "reply InitProducerId INVALID_REQUEST"),
        "KafkaException",
        "Unexpected error in InitProducerIdResponse; ",
    ),
    ({}, (*ASKED, "reply AddPartitions TOPIC_AUTHORIZATION_FAILED"), "TopicAuthorizationException", "Not authorized to access topics: [t]"),
    (
        {},
        ("start", "append p0", "append p1", "turn", "reply AddPartitions t-0=OPERATION_NOT_ATTEMPTED t-1=UNKNOWN_SERVER_ERROR"),
        "KafkaException",
        "Could not add partitions to transaction due to errors: {t-0=OPERATION_NOT_ATTEMPTED, t-1=UNKNOWN_SERVER_ERROR}",
    ),
    ({}, (*OFFSETS, "reply AddOffsets UNKNOWN_SERVER_ERROR"), "KafkaException", "Unexpected error in AddOffsetsToTxnResponse: The server "),
    ({}, (*FOUND, "reply TxnOffsetCommit UNKNOWN_SERVER_ERROR"), "KafkaException", "Unexpected error in TxnOffsetCommitResponse: The server "),
    (
        {},
        (*FOUND, "reply TxnOffsetCommit ILLEGAL_GENERATION"),
        "CommitFailedException",
        "Transaction offset Commit failed due to consumer group metadata mismatch: The generation is not the group's current one",
    ),
    ({}, (*WRITTEN, "commit", "reply EndTxn UNKNOWN_SERVER_ERROR"), "KafkaException", "Unhandled error in EndTxnResponse: The server "),
    ({}, (*WRITTEN, "abort", "reply EndTxn TRANSACTION_ABORTABLE"), "KafkaException", "Failed to abort transaction"),
    ({}, EXPIRED, "KafkaException", f"{UNACKNOWLEDGED}It is safe to abort the transaction and continue."),
    ({"bumps": False}, EXPIRED, "KafkaException", f"{UNACKNOWLEDGED}It isn't safe to continue."),
]


@pytest.mark.parametrize(("config", "script", "exception", "text"), ERRORS)
def test_what_an_error_of_the_transaction_says(config: dict[str, Any], script: tuple[str, ...], exception: str, text: str) -> None:
    """5.5, I11."""
    client = Transactional(**config)
    for line in script:
        client._do(line)

    failure = client.manager.last_error

    assert failure is not None
    assert (failure.exception, failure.text[: len(text)]) == (exception, text)


@pytest.mark.parametrize(
    ("script", "operation"),
    [
        (("init",), "InitProducerId"),
        ((*WRITTEN, "commit"), "EndTxn(true)"),
        ((*WRITTEN, "abort"), "EndTxn(false)"),
        (OFFSETS, "AddOffsetsToTxn"),
        ((*SENT, "answer 0 INVALID_RECORD", "abort"), "InitProducerId"),
    ],
)
def test_a_call_that_times_out_says_what_it_waited_for(script: tuple[str, ...], operation: str) -> None:
    """T28."""
    client = Transactional(max_block_ms=500)
    for line in script:
        client._do(line)
    call = client.calls_made[-1]
    client._do("pass 500")

    assert call.look(client.now, [])
    assert call.failure == Failure("TimeoutException", f"Timeout expired after 500ms while awaiting {operation}", retriable=True)
