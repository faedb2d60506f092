"""Methods of TransactionManagerTest, SenderTest and KafkaProducerTest that no vector is named after: what becomes of state, epoch and records."""

from __future__ import annotations

from typing import Any

import pytest

from scripted_transactions import Transactional

OFFSETS = (
    ("start", ""),
    ("send-offsets t-0=1 t-1=2", "AddOffsets g"),
    ("reply AddOffsets", "FindCoordinator group"),
    ("reply FindCoordinator b1", ""),
    ("pass 100", "TxnOffsetCommit t-0=1,t-1=2"),
)
ADDED = (("start", ""), ("send p0", "AddPartitions t-0"), ("reply AddPartitions", "sent 0 e1s0"))
ACKED = (*ADDED, ("answer 0 NONE 0", "acked 0"))


def method(name: str, config: dict[str, Any], *script: tuple[str, str]) -> Any:
    return pytest.param(config, list(script), id=f"{name} {' '.join(map(str, config.values()))}".strip())


def fatal(exception: str) -> str:
    return f"failed 0 {exception}; [FATAL_ERROR: {exception}]"


METHODS = [
    *(
        method(
            "testFatalErrorWhenProduceResponseWithInvalidPidMapping",
            {"kafka": kafka, "v2": True},
            ("start", ""),
            ("send p0", "sent 0 e1s0"),
            ("answer 0 INVALID_PRODUCER_ID_MAPPING", fatal("InvalidPidMappingException")),
            ("begin", "begin throws KafkaException"),
        )
        for kafka in ("4.0", "4.3")
    ),
    method(
        "testFatalErrorWhenProduceResponseWithInvalidPidMapping: up to 3.9 it may be aborted",
        {"kafka": "3.9"},
        *ADDED,
        ("answer 0 INVALID_PRODUCER_ID_MAPPING", "failed 0 InvalidPidMappingException; [ABORTABLE_ERROR: InvalidPidMappingException]"),
        ("abort", "EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
    ),
    method(
        "testAbortableErrorWhileAbortInProgress",
        {},
        *ADDED,
        ("abort", "[ABORTING_TRANSACTION]"),
        ("answer 0 OUT_OF_ORDER_SEQUENCE_NUMBER", "failed 0 OutOfOrderSequenceException; EndTxn abort"),
        ("reply EndTxn", "abort returns; [READY]"),
        ("epoch", "13131/1"),
    ),
    method(
        "testAbortResendsAddPartitionErrorIfRetried",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions UNKNOWN_TOPIC_OR_PARTITION", ""),
        ("abort", "[ABORTING_TRANSACTION]"),
        ("pass 100", "AddPartitions t-0"),
        ("reply AddPartitions", "failed 0 TransactionAbortedException; EndTxn abort"),
        ("reply EndTxn", "abort returns; [READY]"),
    ),
    *(
        method(
            f"testHandlingOf{error}OnTxnOffsetCommit",
            {"kafka": kafka},
            *OFFSETS,
            (f"reply TxnOffsetCommit t-0=NONE t-1={error}", ""),
            ("pass 100", "TxnOffsetCommit t-0=1,t-1=2"),
            ("reply TxnOffsetCommit", "send-offsets returns"),
        )
        for kafka in ("2.8", "4.3")
        for error in ("COORDINATOR_LOAD_IN_PROGRESS", "UNKNOWN_TOPIC_OR_PARTITION")
    ),
    *(
        method(
            f"testHandlingOfNetworkExceptionOnTxnOffsetCommit with {error}",
            {"kafka": kafka},
            *OFFSETS,
            (f"reply TxnOffsetCommit t-0=NONE t-1={error}", "" if retried else "send-offsets throws KafkaException; [FATAL_ERROR: KafkaException]"),
        )
        for kafka, retried in (("3.7", False), ("3.8", True))
        for error in ("NETWORK_EXCEPTION", "CONCURRENT_TRANSACTIONS")
    ),
    method(
        "shouldFailAbortIfAddOffsetsFailsWithFatalError",
        {},
        ("start", ""),
        ("send-offsets t-1=1", "AddOffsets g"),
        ("abort", "[ABORTING_TRANSACTION]"),
        ("reply AddOffsets UNKNOWN_SERVER_ERROR", "send-offsets throws KafkaException; abort throws KafkaException; [FATAL_ERROR: KafkaException]"),
    ),
    method(
        "testTransitionToFatalErrorWhenRetriedBatchIsExpired",
        {"bumps": False},
        *ADDED,
        ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0 e1s0"),
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("refuse b1", ""),
        ("pass 10000", "failed 0 TimeoutException; commit throws KafkaException; [FATAL_ERROR: KafkaException]"),
    ),
    method(
        "testBumpTransactionalEpochOnTimeout",
        {},
        *ACKED,
        ("send p0", "sent 1 e1s1"),
        ("answer 1 NONE 1", "acked 1"),
        ("send p0", "sent 2 e1s2"),
        ("down b1", ""),
        ("pass 10000", "failed 2 TimeoutException; [ABORTABLE_ERROR: KafkaException]"),
        ("abort", "EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
        ("next t-0", "0"),
    ),
    method(
        "testProducerIdAndEpochUpdateAfterOverflowFromEndTxnResponseInV2",
        {"v2": True},
        ("start", ""),
        ("send p0", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("reply EndTxn e0", "epoch 0; commit returns; [READY]"),
        ("epoch", "13131/0"),
        ("next t-0", "0"),
    ),
    method(
        "testAbortableErrorIsConvertedToFatalErrorDuringAbort",
        {},
        *ACKED,
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("reply EndTxn TRANSACTION_ABORTABLE", "commit throws TransactionAbortableException; [ABORTABLE_ERROR: TransactionAbortableException]"),
        ("abort", "EndTxn abort; [ABORTING_TRANSACTION]"),
        (
            "reply EndTxn TRANSACTION_ABORTABLE",
            "abort throws KafkaException(TransactionAbortableException); [FATAL_ERROR: KafkaException(TransactionAbortableException)]",
        ),
    ),
    *(
        method(
            f"testTransactionAbortableExceptionIn{name}",
            {},
            *before,
            (f"reply {api} TRANSACTION_ABORTABLE", f"{call}[ABORTABLE_ERROR: TransactionAbortableException]"),
        )
        for name, api, before, call in (
            ("AddOffsetsToTxn", "AddOffsets", OFFSETS[:2], "send-offsets throws TransactionAbortableException; "),
            ("FindCoordinator", "FindCoordinator", OFFSETS[:3], "send-offsets throws TransactionAbortableException; "),
            ("TxnOffsetCommit", "TxnOffsetCommit", OFFSETS, "send-offsets throws TransactionAbortableException; "),
            ("AddPartitions", "AddPartitions", ADDED[:2], "failed 0 TransactionAbortableException; "),
        )
    ),
    *(
        method(
            f"test{error}In{name}",
            {},
            *before,
            (f"reply {api} {error}", f"{call} throws ProducerFencedException; [FATAL_ERROR: ProducerFencedException]"),
        )
        for error in ("PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
        for name, api, before, call in (
            ("AddOffSetsToTxn", "AddOffsets", OFFSETS[:2], "send-offsets"),
            ("TxnOffsetCommit", "TxnOffsetCommit", OFFSETS, "send-offsets"),
        )
    ),
    *(
        method(
            f"test{error}InInitProducerId",
            {},
            ("init", "FindCoordinator transaction; [INITIALIZING]"),
            ("reply FindCoordinator", ""),
            ("pass 100", "InitProducerId"),
            (f"reply InitProducerId {error}", "init throws ProducerFencedException; [FATAL_ERROR: ProducerFencedException]"),
        )
        for error in ("PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
    ),
    method(
        "testTransactionAbortedExceptionOnAbortWithoutError",
        {},
        *ACKED,
        ("append p0", ""),
        ("abort", "failed 1 TransactionAbortedException; EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "abort returns; [READY]"),
    ),
]


@pytest.mark.parametrize(("config", "script"), METHODS)
def test_a_method_of_kafkas_tests(config: dict[str, Any], script: list[tuple[str, str]]) -> None:
    Transactional(**config).play(script)
