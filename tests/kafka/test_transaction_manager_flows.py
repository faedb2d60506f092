"""More methods of TransactionManagerTest, SenderTest and KafkaProducerTest: what goes well, what is repeated, and what close() does in the midst of it."""

from __future__ import annotations

from typing import Any

import pytest

from scripted import row
from scripted_transactions import Transactional

STARTED = (("start", ""), ("send p0", "AddPartitions t-0"), ("reply AddPartitions", "sent 0 e1s0"))
TOPIC_REFUSED = "[ABORTABLE_ERROR: TopicAuthorizationException]"
FINDING = ("init", "FindCoordinator transaction; [INITIALIZING]")
ASKING = (FINDING, ("reply FindCoordinator", ""), ("pass 100", "InitProducerId"))
FORCED = "exits; init throws KafkaException"


METHODS = [
    row(
        "shouldNotAddPartitionsToTransactionWhenTopicAuthorizationFailed",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions TOPIC_AUTHORIZATION_FAILED", f"failed 0 TopicAuthorizationException; {TOPIC_REFUSED}"),
        ("abort", "abort returns; [READY]"),
    ),
    row(
        "shouldNotSendAbortTxnRequestWhenOnlyAddOffsetsRequestFailed",
        {},
        ("start", ""),
        ("send-offsets t-1=1", "AddOffsets g"),
        ("abort", "[ABORTING_TRANSACTION]"),
        ("reply AddOffsets GROUP_AUTHORIZATION_FAILED", "send-offsets throws GroupAuthorizationException; abort returns; [READY]"),
    ),
    row(
        "testCommitTransactionWithInFlightProduceRequest",
        {},
        *STARTED,
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("pass 500", ""),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    row(
        "testCommitTransactionWithUnsentProduceRequest",
        {},
        ("start", ""),
        ("append p0", ""),
        ("commit", "AddPartitions t-0; [COMMITTING_TRANSACTION]"),
        ("reply AddPartitions", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    row(
        "testDisconnectAndRetry",
        {},
        FINDING,
        ("drop b2", ""),
        ("pass 300", "FindCoordinator transaction"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    row(
        "testCoordinatorNotAvailable",
        {},
        FINDING,
        ("reply FindCoordinator COORDINATOR_NOT_AVAILABLE", ""),
        ("pass 100", "FindCoordinator transaction"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    row(
        "testTransitionToAbortableErrorOnMultipleBatchExpiry",
        {},
        ("start", ""),
        ("append p0", ""),
        ("send p1", "AddPartitions t-0,t-1"),
        ("refuse b1", ""),
        ("drop b1", ""),
        ("reply AddPartitions", ""),
        ("pass 10000", "failed 0 TimeoutException; failed 1 TimeoutException; [ABORTABLE_ERROR: TransactionAbortableException(TimeoutException)]"),
    ),
    row(
        "testRecoveryFromAbortableErrorTransactionStarted",
        {},
        *STARTED,
        ("send p1", "AddPartitions t-1"),
        ("append p0", ""),
        ("reply AddPartitions TOPIC_AUTHORIZATION_FAILED", f"failed 2 TopicAuthorizationException; failed 1 TopicAuthorizationException; {TOPIC_REFUSED}"),
        ("answer 0 NONE 0", "acked 0"),
        ("abort", "EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 3 e1s1"),
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("answer 3 NONE 5", "acked 3; EndTxn commit"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    row(
        "testTransactionAbortableExceptionInInitProducerId",
        {},
        *ASKING,
        ("reply InitProducerId TRANSACTION_ABORTABLE", "init throws TransactionAbortableException; [ABORTABLE_ERROR: TransactionAbortableException]"),
    ),
    row(
        "testTransactionAbortableExceptionInEndTxn",
        {},
        *STARTED,
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn TRANSACTION_ABORTABLE", "commit throws TransactionAbortableException; [ABORTABLE_ERROR: TransactionAbortableException]"),
        ("begin", "begin throws KafkaException"),
    ),
    *(
        row(
            f"testInvalidProducerEpochConvertToProducerFencedInAddPartitionToTxn {error}",
            {},
            ("start", ""),
            ("send p0", "AddPartitions t-0"),
            (f"reply AddPartitions {error}", "failed 0 ProducerFencedException; [FATAL_ERROR: ProducerFencedException]"),
            ("abort", "abort throws ProducerFencedException"),
        )
        for error in ("INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED")
    ),
    row(
        "testMaybeAddPartitionToTransactionInTransactionV2 nothing is asked for",
        {"v2": True},
        ("start", ""),
        ("send p0", "sent 0 e1s0"),
        ("send p0", "sent 1 e1s1"),
        ("answer 0 NONE 0", "acked 0"),
        ("answer 1 NONE 1", "acked 1"),
    ),
    row(
        "testTransactionalIdAuthorizationFailureInAddPartitions and what was acknowledged stays",
        {},
        *STARTED,
        ("answer 0 NONE 0", "acked 0"),
        ("send p1", "AddPartitions t-1"),
        (
            "reply AddPartitions TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
            "failed 1 TransactionalIdAuthorizationException; [FATAL_ERROR: TransactionalIdAuthorizationException]",
        ),
    ),
    row(
        "testTooLargeBatchesAreSafelyRemoved its parts are sent under its numbers, and nothing expires later",
        {"batch_size": 16_384},
        ("start", ""),
        ("append p0 x2", ""),
        ("turn", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0-1 e1s0"),
        ("answer 0 MESSAGE_TOO_LARGE", "sent 0-1 e1s0"),
        ("answer 0 NONE 0", "acked 0-1"),
        ("pass 4000", ""),
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
    ),
    row(
        "testIncompleteTransactionAbortOnShutdown a partition was added, and nothing was sent",
        {},
        *STARTED,
        ("answer 0 NONE 0", "acked 0"),
        ("close", "EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "exits; [READY]"),
    ),
    row("testCloseIsForcedOnPendingFindCoordinator", {"request_timeout_ms": 30_000}, FINDING, ("close 1000000", ""), ("pass 999", ""), ("pass 1", FORCED)),
    row(
        "testCloseIsForcedOnPendingInitProducerId",
        {"request_timeout_ms": 30_000},
        *ASKING,
        ("close 1000000", ""),
        ("pass 999", ""),
        ("pass 1", FORCED),
    ),
    row(
        "testCloseIsForcedOnPendingAddOffsetRequest what is under way and no end of a transaction has no outcome",
        {"request_timeout_ms": 30_000},
        ("start", ""),
        ("send-offsets t-0=1", "AddOffsets g"),
        ("close 1000000", ""),
        ("pass 999", ""),
        ("pass 1", "exits"),
    ),
    row(
        "testInitTransactionTimeout, and once more",
        {"max_block_ms": 500},
        *ASKING,
        ("pass 399", ""),
        ("pass 1", "init throws TimeoutException"),
        ("init", ""),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    row(
        "testInitTransactionsResponseAfterTimeout",
        {"max_block_ms": 500},
        *ASKING,
        ("pass 400", "init throws TimeoutException"),
        ("reply InitProducerId e5", "epoch 5; [READY]"),
        ("init", "init returns"),
        ("begin", "[IN_TRANSACTION]"),
    ),
]


@pytest.mark.parametrize(("config", "script"), METHODS)
def test_a_flow_of_kafkas_tests(config: dict[str, Any], script: list[tuple[str, str]]) -> None:
    Transactional(**config).play(script)
