"""Vectors of the transactional client: errors, and calls that time out (sections 5 and 6 of the client's vectors)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from ksim_models.errors import ErrorCode
from ksim_models.transaction_states import Failure, IllegalState
from scripted import row
from scripted_transactions import Transactional

Script = list[tuple[str, str]]
UNWRAPPED = {"kafka": "4.0"}
"""Before a failed batch leaves a TransactionAbortableException behind (T12)."""
OLD = {"bumps": False}
FIRST_RECORD = (("start", ""), ("send p0", "AddPartitions t-0"), ("reply AddPartitions", "sent 0 e1s0"))
ACKED = (*FIRST_RECORD, ("answer 0 NONE 0", "acked 0"))
ABORTING = ("abort", "EndTxn abort; [ABORTING_TRANSACTION]")
COMMITTING = ("commit", "[COMMITTING_TRANSACTION]")
BUMPED = (
    ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
    ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
    ("begin", "[IN_TRANSACTION]"),
)
FATAL_SEND = ("send p0", "refused 1 KafkaException")


ERRORS = [
    row("PV-130 initialized twice", {}, ("start", ""), ("init", "init throws IllegalStateException"), ("send p0", "AddPartitions t-0")),
    row(
        "C6 a transaction.timeout.ms that is none: the request is lost in the client",
        {"transaction_timeout_ms": 0, "max_block_ms": 500},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 500", "init throws TimeoutException"),
        ("init", ""),
        ("pass 500", "init throws TimeoutException"),
    ),
    row("PV-131 send() before init", {}, ("send p0", "refused 0 IllegalStateException")),
    row(
        "PV-131 send() before begin, and between transactions",
        {},
        *ACKED,
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("send p0", "refused 1 IllegalStateException"),
        ("reply EndTxn", "commit returns; [READY]"),
        ("send p0", "refused 2 IllegalStateException"),
    ),
    row(
        "PV-131 send() behind an abortable error",
        {},
        *FIRST_RECORD,
        ("answer 0 INVALID_TXN_STATE", "failed 0 InvalidTxnStateException; [ABORTABLE_ERROR: TransactionAbortableException(InvalidTxnStateException)]"),
        FATAL_SEND,
    ),
    row(
        "PV-131 send() behind a fatal error",
        {},
        *FIRST_RECORD,
        ("answer 0 CLUSTER_AUTHORIZATION_FAILED", "failed 0 ClusterAuthorizationException; [FATAL_ERROR: ClusterAuthorizationException]"),
        FATAL_SEND,
        ("commit", "commit throws KafkaException(ClusterAuthorizationException)"),
        ("abort", "abort throws KafkaException(ClusterAuthorizationException)"),
    ),
    row(
        "PV-131 before 3.1.1 send() said so in other words, and never that it was fenced",
        {"kafka": "3.1.0"},
        ("send p0", "refused 0 IllegalStateException"),
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions PRODUCER_FENCED", "failed 1 ProducerFencedException; [FATAL_ERROR: ProducerFencedException]"),
        ("send p0", "refused 2 KafkaException"),
        ("commit", "commit throws ProducerFencedException"),
    ),
    row(
        "PV-133 FindCoordinator of an unknown version",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator UNSUPPORTED_VERSION", "init throws KafkaException; [FATAL_ERROR: KafkaException]"),
    ),
    row(
        "PV-134 no permission for the id, says FindCoordinator",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        (
            "reply FindCoordinator TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
            "init throws TransactionalIdAuthorizationException; [FATAL_ERROR: TransactionalIdAuthorizationException]",
        ),
    ),
    row(
        "PV-135 no permission for the id, says InitProducerId: it may be called again",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "init throws TransactionalIdAuthorizationException; [UNINITIALIZED]"),
        ("init", "InitProducerId; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    row(
        "PV-136 nor for the cluster",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId CLUSTER_AUTHORIZATION_FAILED", "init throws ClusterAuthorizationException; [UNINITIALIZED]"),
        ("init", "InitProducerId; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    row(
        "PV-135 up to 3.5 that was the end",
        {"kafka": "3.5"},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        (
            "reply InitProducerId TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
            "init throws TransactionalIdAuthorizationException; [FATAL_ERROR: TransactionalIdAuthorizationException]",
        ),
    ),
    *(
        row(
            f"PV-137 {error} for a partition is fatal",
            {},
            ("start", ""),
            ("send p0", "AddPartitions t-0"),
            (f"reply AddPartitions {error}", f"failed 0 {exception}; [FATAL_ERROR: {exception}]"),
            ("commit", f"commit throws KafkaException({exception})"),
        )
        for error, exception in (
            ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TransactionalIdAuthorizationException"),
            ("INVALID_TXN_STATE", "InvalidTxnStateException"),
        )
    ),
    *(
        row(
            f"PV-137 {error} for offsets is fatal",
            {},
            ("start", ""),
            ("send-offsets t-1=1", "AddOffsets g"),
            (f"reply AddOffsets {error}", f"send-offsets throws {exception}; [FATAL_ERROR: {exception}]"),
        )
        for error, exception in (
            ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TransactionalIdAuthorizationException"),
            ("INVALID_TXN_STATE", "InvalidTxnStateException"),
        )
    ),
    row(
        "PV-138 no permission for one topic: none of the partitions was added",
        {},
        ("start", ""),
        ("append p0", ""),
        ("send p1", "AddPartitions t-0,t-1"),
        (
            "reply AddPartitions t-0=TOPIC_AUTHORIZATION_FAILED t-1=OPERATION_NOT_ATTEMPTED",
            "failed 0 TopicAuthorizationException; failed 1 TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]",
        ),
        ("abort", "abort returns; [READY]"),
    ),
    row(
        "PV-139 the same while a commit waits",
        {},
        ("start", ""),
        ("append p0", ""),
        ("append p1", ""),
        ("commit", "AddPartitions t-0,t-1; [COMMITTING_TRANSACTION]"),
        (
            "reply AddPartitions t-0=TOPIC_AUTHORIZATION_FAILED t-1=OPERATION_NOT_ATTEMPTED",
            "failed 0 TopicAuthorizationException; failed 1 TopicAuthorizationException;"
            " commit throws TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]",
        ),
    ),
    row(
        "PV-140 nothing had begun: no end is sent",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions TOPIC_AUTHORIZATION_FAILED", "failed 0 TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]"),
        ("abort", "abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p1", "AddPartitions t-1"),
        ("reply AddPartitions", "sent 1 e1s0"),
    ),
    row(
        "PV-142 a batch that is tried again goes on behind an abortable error",
        {},
        *FIRST_RECORD,
        ("send p1", "AddPartitions t-1"),
        ("answer 0 REQUEST_TIMED_OUT", ""),
        (
            "reply AddPartitions TOPIC_AUTHORIZATION_FAILED",
            "failed 1 TopicAuthorizationException; sent 0 e1s0; [ABORTABLE_ERROR: TopicAuthorizationException]",
        ),
        ("answer 0 NONE 0", "acked 0"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
    ),
    row(
        "PV-143 and so does one that is refused behind it",
        {},
        *FIRST_RECORD,
        ("send p1", "AddPartitions t-1"),
        ("reply AddPartitions TOPIC_AUTHORIZATION_FAILED", "failed 1 TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]"),
        ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
    ),
    row(
        "PV-145 no permission for the group, says FindCoordinator",
        {},
        ("start", ""),
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
        (
            "reply FindCoordinator GROUP_AUTHORIZATION_FAILED",
            "send-offsets throws GroupAuthorizationException; [ABORTABLE_ERROR: GroupAuthorizationException]",
        ),
    ),
    *(
        row(
            f"PV-{number} {error} for the offsets can be aborted",
            {},
            ("start", ""),
            ("send-offsets t-1=1", "AddOffsets g"),
            ("reply AddOffsets", "FindCoordinator group"),
            ("reply FindCoordinator", ""),
            ("pass 100", "TxnOffsetCommit t-1=1"),
            (f"reply TxnOffsetCommit {error}", f"send-offsets throws {exception}; [ABORTABLE_ERROR: {exception}]"),
            ABORTING,
            ("reply EndTxn", "abort returns; [READY]"),
        )
        for number, error, exception in (
            (145, "GROUP_AUTHORIZATION_FAILED", "GroupAuthorizationException"),
            (146, "FENCED_INSTANCE_ID", "FencedInstanceIdException"),
            (146, "UNKNOWN_MEMBER_ID", "CommitFailedException"),
            (146, "ILLEGAL_GENERATION", "CommitFailedException"),
        )
    ),
    *(
        row(
            f"PV-148 {error} for one of the offsets is fatal",
            {},
            ("start", ""),
            ("send-offsets t-0=1 t-1=1", "AddOffsets g"),
            ("reply AddOffsets", "FindCoordinator group"),
            ("reply FindCoordinator", ""),
            ("pass 100", "TxnOffsetCommit t-0=1,t-1=1"),
            (f"reply TxnOffsetCommit t-1={error}", f"send-offsets throws {exception}; [FATAL_ERROR: {exception}]"),
        )
        for error, exception in (
            ("PRODUCER_FENCED", "ProducerFencedException"),
            ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TransactionalIdAuthorizationException"),
            ("INVALID_PRODUCER_EPOCH", "ProducerFencedException"),
            ("UNSUPPORTED_FOR_MESSAGE_FORMAT", "UnsupportedForMessageFormatException"),
        )
    ),
    row(
        "PV-151 an old epoch, says EndTxn: fenced",
        {},
        *ACKED,
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("reply EndTxn INVALID_PRODUCER_EPOCH", "commit throws ProducerFencedException; [FATAL_ERROR: ProducerFencedException]"),
        ("send p0", "refused 1 ProducerFencedException"),
        ("commit", "commit throws ProducerFencedException"),
        ("abort", "abort throws ProducerFencedException"),
        ("begin", "begin throws ProducerFencedException"),
    ),
    row(
        "PV-152 an old epoch, says Produce: it may be aborted (KIP-588)",
        {},
        *FIRST_RECORD,
        ("answer 0 INVALID_PRODUCER_EPOCH", "failed 0 InvalidProducerEpochException; [ABORTABLE_ERROR: InvalidProducerEpochException]"),
        ABORTING,
        *BUMPED,
    ),
    row(
        "PV-154 a batch fails while the commit waits: it is not sent, and no epoch is raised",
        {},
        *FIRST_RECORD,
        COMMITTING,
        (
            "answer 0 OUT_OF_ORDER_SEQUENCE_NUMBER",
            "failed 0 OutOfOrderSequenceException; commit throws OutOfOrderSequenceException; [ABORTABLE_ERROR: OutOfOrderSequenceException]",
        ),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
        ("epoch", "13131/1"),
        ("next t-0", "0"),
    ),
    row(
        "PV-155 a batch fails before: the abort brings another epoch",
        {},
        *FIRST_RECORD,
        ("answer 0 OUT_OF_ORDER_SEQUENCE_NUMBER", "failed 0 OutOfOrderSequenceException; [ABORTABLE_ERROR: OutOfOrderSequenceException]"),
        ABORTING,
        *BUMPED,
    ),
    row(
        "PV-157 the coordinator is sought also behind an abortable error",
        {},
        *FIRST_RECORD,
        ("send p1", "AddPartitions t-1"),
        ("answer 0 INVALID_TXN_STATE", "failed 0 InvalidTxnStateException; [ABORTABLE_ERROR: TransactionAbortableException(InvalidTxnStateException)]"),
        (
            "reply AddPartitions NOT_COORDINATOR",
            "failed 1 TransactionAbortableException; FindCoordinator transaction",
        ),
        ("reply FindCoordinator", ""),
    ),
    row(
        "PV-158 aborted before anything was sent",
        {},
        ("start", ""),
        ("append p0", ""),
        ("abort", "failed 0 TransactionAbortedException; abort returns; [READY]"),
    ),
    row(
        "PV-160 a batch that is tried again is sent, and succeeds, before the abort",
        {},
        *FIRST_RECORD,
        ("answer 0 REQUEST_TIMED_OUT", "sent 0 e1s0"),
        ("abort", "[ABORTING_TRANSACTION]"),
        ("answer 0 NONE 0", "acked 0; EndTxn abort"),
        ("reply EndTxn", "abort returns; [READY]"),
    ),
    row(
        "PV-161 only adds that failed: no end is sent",
        {},
        ("start", ""),
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets GROUP_AUTHORIZATION_FAILED", "send-offsets throws GroupAuthorizationException; [ABORTABLE_ERROR: GroupAuthorizationException]"),
        ("abort", "abort returns; [READY]"),
    ),
    row(
        "PV-163 a batch expires in the queue",
        {},
        *ACKED,
        ("down b1 b2", ""),
        ("send p0", ""),
        ("pass 3000", "failed 1 TimeoutException; [ABORTABLE_ERROR: TransactionAbortableException(TimeoutException)]"),
    ),
    row(
        "PV-163 before 4.1 the reason is the time-out itself",
        UNWRAPPED,
        *ACKED,
        ("down b1 b2", ""),
        ("send p0", ""),
        ("pass 3000", "failed 1 TimeoutException; [ABORTABLE_ERROR: TimeoutException]"),
    ),
    row(
        "PV-168 without epochs on request the number of a failed batch is used again",
        OLD,
        *ACKED,
        ("send p0", "sent 1 e1s1"),
        ("answer 1 NONE 1", "acked 1"),
        ("send p0", "sent 2 e1s2"),
        ("answer 2 TOPIC_AUTHORIZATION_FAILED", "failed 2 TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
        ("next t-0", "2"),
        ("epoch", "13131/1"),
    ),
    row(
        "PV-169 and where the broker forgot the producer they begin with 0",
        OLD,
        *ACKED,
        ("send p0", "sent 1 e1s1"),
        ("answer 1 NONE 1", "acked 1"),
        ("send p0", "sent 2 e1s2"),
        ("answer 2 UNKNOWN_PRODUCER_ID lso=0", "failed 2 UnknownProducerIdException; [ABORTABLE_ERROR: UnknownProducerIdException]"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
        ("next t-0", "0"),
    ),
    *(
        row(
            f"PV-170 {error}: the abort brings another epoch",
            {},
            *ACKED,
            ("send p0", "sent 1 e1s1"),
            ("answer 1 NONE 1", "acked 1"),
            ("send p0", "sent 2 e1s2"),
            (f"answer 2 {error} lso=0", f"failed 2 {exception}; [ABORTABLE_ERROR: {exception}]"),
            ABORTING,
            *BUMPED,
            ("next t-0", "0"),
        )
        for error, exception in (
            ("TOPIC_AUTHORIZATION_FAILED", "TopicAuthorizationException"),
            ("UNKNOWN_PRODUCER_ID", "UnknownProducerIdException"),
        )
    ),
    row(
        "PV-172 the coordinator forgot the producer: no end, but another epoch",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions UNKNOWN_PRODUCER_ID", "failed 0 UnknownProducerIdException; [ABORTABLE_ERROR: UnknownProducerIdException]"),
        ("abort", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
    ),
    row(
        "PV-173 so for offsets",
        {},
        *ACKED,
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets UNKNOWN_PRODUCER_ID", "send-offsets throws UnknownProducerIdException; [ABORTABLE_ERROR: UnknownProducerIdException]"),
        ABORTING,
        *BUMPED,
    ),
    row(
        "PV-175 TRANSACTION_ABORTABLE, says Produce",
        {},
        *FIRST_RECORD,
        ("answer 0 TRANSACTION_ABORTABLE", "failed 0 TransactionAbortableException; [ABORTABLE_ERROR: TransactionAbortableException]"),
        ABORTING,
        *BUMPED,
    ),
    row(
        "PV-176 INVALID_TXN_STATE, says Produce",
        {},
        *FIRST_RECORD,
        ("answer 0 INVALID_TXN_STATE", "failed 0 InvalidTxnStateException; [ABORTABLE_ERROR: TransactionAbortableException(InvalidTxnStateException)]"),
        ABORTING,
        *BUMPED,
    ),
    *(
        row(
            f"PV-178 {error}: what waits fails too, and so does the commit",
            {"retries": 1},
            *FIRST_RECORD,
            *script,
            ("commit", "commit throws KafkaException(TransactionAbortableException)"),
        )
        for error, script in (
            (
                "COORDINATOR_LOAD_IN_PROGRESS",
                (
                    ("answer 0 COORDINATOR_LOAD_IN_PROGRESS", "sent 0 e1s0"),
                    ("append p0", ""),
                    (
                        "answer 0 COORDINATOR_LOAD_IN_PROGRESS",
                        "failed 0 CoordinatorLoadInProgressException; failed 1 TransactionAbortableException;"
                        " [ABORTABLE_ERROR: TransactionAbortableException(CoordinatorLoadInProgressException)]",
                    ),
                ),
            ),
            (
                "INVALID_TXN_STATE",
                (
                    ("append p0", ""),
                    (
                        "answer 0 INVALID_TXN_STATE",
                        "failed 0 InvalidTxnStateException; failed 1 TransactionAbortableException;"
                        " [ABORTABLE_ERROR: TransactionAbortableException(InvalidTxnStateException)]",
                    ),
                ),
            ),
        )
    ),
    row(
        "PV-164 a batch expires while the commit waits: it is failed and sent all the same (A38)",
        {"request_timeout_ms": 5000, "delivery_timeout_ms": 5000},
        *ACKED,
        ("send p1", "AddPartitions t-1"),
        COMMITTING,
        ("pass 5000", ""),
        (
            "reply AddPartitions",
            "failed 1 TimeoutException; sent 1 e1s0; commit throws TransactionAbortableException(TimeoutException);"
            " [ABORTABLE_ERROR: TransactionAbortableException(TimeoutException)]",
        ),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
        ("epoch", "13131/1"),
        ("next t-1", "1"),
    ),
    *(
        row(
            f"PV-166 a batch that was tried again expires: {title}",
            config,
            *FIRST_RECORD,
            ("down b1 b2", ""),
            ("pass 3000", outcome),
        )
        for title, config, outcome in (
            ("the transaction can be aborted", {}, "failed 0 TimeoutException; [ABORTABLE_ERROR: KafkaException]"),
            ("without epochs on request that is the end", OLD, "failed 0 TimeoutException; [FATAL_ERROR: KafkaException]"),
        )
    ),
    row(
        "PV-167 while another one is outstanding nothing is resolved",
        {},
        *FIRST_RECORD,
        ("pass 1000", ""),
        ("send p0", "sent 1 e1s1"),
        ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0 e1s0"),
        ("down b1 b2", ""),
        ("pass 2000", "failed 0 TimeoutException; [ABORTABLE_ERROR: TransactionAbortableException(TimeoutException)]"),
        ("pass 100", ""),
    ),
    row(
        "PV-179 a late answer of a batch that has expired changes nothing",
        {"request_timeout_ms": 5000, "delivery_timeout_ms": 5000},
        *FIRST_RECORD,
        ("pass 5000", "failed 0 TimeoutException; [ABORTABLE_ERROR: TransactionAbortableException(TimeoutException)]"),
        ("answer 0 INVALID_TXN_STATE", ""),
        ABORTING,
        *BUMPED,
    ),
    row(
        "PV-184 that the coordinator raises epochs is remembered while it is away",
        {},
        *FIRST_RECORD,
        ("drop b2", ""),
        ("answer 0 INVALID_PRODUCER_EPOCH", "failed 0 InvalidProducerEpochException; [ABORTABLE_ERROR: InvalidProducerEpochException]"),
        ("abort", "FindCoordinator transaction; [ABORTING_TRANSACTION]"),
        ("reply FindCoordinator b1", ""),
        ("pass 100", "EndTxn abort"),
        *BUMPED,
    ),
    row(
        "PV-229 a record too large makes the commit fail",
        {"max_request_size": 90},
        ("start", ""),
        ("send p0", "refused 0 RecordTooLargeException; [ABORTABLE_ERROR: RecordTooLargeException]"),
        ("commit", "commit throws KafkaException(RecordTooLargeException)"),
        ("abort", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
    ),
    row(
        "PV-229 before 3.2 it was committed without that record (A10)",
        {"max_request_size": 90, "kafka": "3.1.0"},
        ("start", ""),
        ("send p0", "refused 0 RecordTooLargeException"),
        ("commit", "commit returns; [READY]"),
    ),
    row(
        "PV-075 retention took all that the broker knew: the numbers begin with 0 again under the same epoch",
        {},
        *ACKED,
        ("send p0", "sent 1 e1s1"),
        ("answer 1 UNKNOWN_PRODUCER_ID lso=10", "sent 1 e1s0"),
        ("answer 1 NONE 11", "acked 1"),
    ),
    row(
        "PV-182 an abort before anything began",
        {},
        ("abort", "abort throws IllegalStateException"),
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
    ),
]
TIMED_OUT = [
    row(
        "PV-190 an abort that timed out must be repeated",
        {"max_block_ms": 500},
        *ACKED,
        ABORTING,
        ("pass 500", "abort throws TimeoutException"),
        ("reply EndTxn", "[READY]"),
        ("init", "init throws IllegalStateException"),
        ("begin", "begin throws IllegalStateException"),
        ("commit", "commit throws IllegalStateException"),
        ("send p0", "refused 1 IllegalStateException"),
        ("abort", "abort returns"),
        ("begin", "[IN_TRANSACTION]"),
    ),
    row(
        "PV-191 so must a commit",
        {"max_block_ms": 500},
        *ACKED,
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("pass 500", "commit throws TimeoutException"),
        ("reply EndTxn", "[READY]"),
        ("init", "init throws IllegalStateException"),
        ("begin", "begin throws IllegalStateException"),
        ("abort", "abort throws IllegalStateException"),
        ("send p0", "refused 1 IllegalStateException"),
        ("commit", "commit returns"),
        ("begin", "[IN_TRANSACTION]"),
    ),
    row(
        "PV-192 and initTransactions",
        {"max_block_ms": 500},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("pass 400", "init throws TimeoutException"),
        ("reply InitProducerId", "epoch 1; [READY]"),
        ("begin", "begin throws IllegalStateException"),
        ("abort", "abort throws IllegalStateException"),
        ("commit", "commit throws IllegalStateException"),
        ("send p0", "refused 0 IllegalStateException"),
        ("init", "init returns"),
        ("init", "init throws IllegalStateException"),
        ("begin", "[IN_TRANSACTION]"),
    ),
    *(
        row(
            f"PV-193 {call}: the request is sent again, the call gets what it began",
            {"max_block_ms": 500},
            *ACKED,
            (call, f"EndTxn {call}; [{state}]"),
            ("pass 500", f"{call} throws TimeoutException"),
            ("drop b2", "FindCoordinator transaction"),
            (call, ""),
            ("reply FindCoordinator b1", ""),
            ("pass 100", f"EndTxn {call}"),
            ("reply EndTxn", f"{call} returns; [READY]"),
        )
        for call, state in (("commit", "COMMITTING_TRANSACTION"), ("abort", "ABORTING_TRANSACTION"))
    ),
    *(
        row(
            f"PV-194 {other} behind a {call} that timed out",
            {"max_block_ms": 500},
            *ACKED,
            (call, f"EndTxn {call}; [{state}]"),
            ("pass 500", f"{call} throws TimeoutException"),
            (other, f"{other} throws IllegalStateException"),
        )
        for call, other, state in (("commit", "abort", "COMMITTING_TRANSACTION"), ("abort", "commit", "ABORTING_TRANSACTION"))
    ),
    row(
        "PV-196 begin behind an initTransactions that timed out",
        {"max_block_ms": 5},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("pass 5", "init throws TimeoutException"),
        ("begin", "begin throws IllegalStateException"),
    ),
    row(
        "PV-194 before 3.1.1 an operation that came to its end in the background need not be repeated",
        {"max_block_ms": 500, "kafka": "3.1.0"},
        *ACKED,
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("pass 500", "commit throws TimeoutException"),
        ("abort", "abort throws KafkaException"),
        ("reply EndTxn", "[READY]"),
        ("begin", "[IN_TRANSACTION]"),
    ),
]

CLOSED = [
    row(
        "PV-197 a commit that waits is sent before the client ends",
        {},
        *FIRST_RECORD,
        COMMITTING,
        ("close", ""),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn", "exits; commit returns; [READY]"),
    ),
    row(
        "PV-197 an open transaction is aborted (A51, T10)",
        {},
        *FIRST_RECORD,
        ("close", ""),
        ("answer 0 NONE 0", "acked 0; EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "exits; [READY]"),
    ),
    row(
        "PV-199 by force: the commit that waits fails",
        {},
        *FIRST_RECORD,
        COMMITTING,
        ("close 0", "failed 0 KafkaException; exits; commit throws KafkaException"),
    ),
    row(
        "PV-200 what cannot be aborted is left as it is",
        {"max_block_ms": 500},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("pass 400", "init throws TimeoutException"),
        ("reply InitProducerId", "epoch 1; [READY]"),
        ("close", "exits"),
    ),
    *(
        row(
            f"PV-200 testSenderShouldCloseWhenTransactionManagerInErrorState a commit that timed out stands before the abort, {kafka}",
            {"max_block_ms": 500, "kafka": kafka},
            *FIRST_RECORD,
            COMMITTING,
            ("pass 500", "commit throws TimeoutException"),
            ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; [ABORTABLE_ERROR: InvalidRecordException]"),
            *ends,
        )
        for kafka, *ends in (
            ("3.5", ("close", "exits")),
            ("3.6", ("close 60000000", ""), ("pass 59999", ""), ("pass 1", "exits")),
            ("3.7.0", ("close", ""), ("pass 600000", "")),
            ("3.7.1", ("close", "exits")),
        )
    ),
    row("PV-202 behind close() every call throws", {}, ("start", ""), ("close", "exits; [READY]"), ("init", "init throws IllegalStateException")),
]


@pytest.mark.parametrize(("config", "script"), [*ERRORS, *TIMED_OUT, *CLOSED])
def test_an_error_or_a_time_out(config: dict[str, Any], script: Script) -> None:
    """Among them, whose titles say one of several errors: PV-137, PV-145, PV-146, PV-148, PV-166, PV-170, PV-178, PV-193, PV-194."""
    Transactional(**config).play(script)


def test_pv_181_an_illegal_step_of_the_io_thread_is_the_end_and_before_3_6_it_is_logged() -> None:
    """A batch fails while no transaction is open."""
    for kafka, after in (("3.6", "begin throws IllegalStateException"), ("3.5", "[IN_TRANSACTION]")):
        client = Transactional(kafka=kafka)
        client.play([*ACKED, ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"), ("reply EndTxn", "commit returns; [READY]")])
        batch = client.producer.accumulator.new_batch("t-0", 100, client.now)
        assert batch is not None
        with suppress(IllegalState):
            client.manager.failed(Failure("NetworkException", ""), in_background=True)
        assert client.manager.is_fatal is (kafka == "3.6")
        client.happened()
        client.play([("begin", after)])


def test_pv_230_a_send_without_metadata_makes_the_commit_fail() -> None:
    client = Transactional(max_block_ms=500)
    client.play([("start", "")])
    client.calls[0].topic = "absent"
    client.topic_error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    client.play(
        [
            ("send p0", ""),
            ("pass 500", "refused 0 TimeoutException; [ABORTABLE_ERROR: TransactionAbortableException(TimeoutException)]"),
            ("commit", "commit throws KafkaException(TransactionAbortableException)"),
        ]
    )


INEXPRESSIBLE = {
    "PV-206": "a commit between two turns of a close(), which is one step here",
    "PV-149": "every broker here knows TxnOffsetCommit v3",
    "PV-124": "a throttled coordinator is the connection's affair; see test_a_coordinator_that_is_not_ready_in_time",
}


def test_a_coordinator_that_is_not_ready_in_time() -> None:
    """S2: after request.timeout.ms without a connection the coordinator is sought again."""
    client = Transactional()
    client.play([*ACKED, ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]")])
    client.silent.append("b2")
    client.play(
        [
            ("drop b2", "FindCoordinator transaction"),
            ("pass 100", ""),
            ("reply FindCoordinator b2", ""),
            ("pass 999", ""),
            ("pass 1", "FindCoordinator transaction"),
            ("reply FindCoordinator b1", ""),
            ("pass 100", "EndTxn commit"),
        ]
    )


def test_s2_while_a_transactional_request_waits_no_poll_is_longer_than_its_backoff() -> None:
    """S2, N14: so its time-out is noticed at once, although a poll began half-way."""
    client = Transactional()
    client.play(
        [
            *ACKED,
            ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
            ("pass 500", ""),
            ("drop b1", ""),
            ("pass 500", ""),
            ("pass 1", "FindCoordinator transaction"),
        ]
    )


def test_only_clients_of_3_8_say_that_they_know_transaction_abortable() -> None:
    """GC-7, PS-66: an older one is told INVALID_TXN_STATE instead."""
    for kafka, knows in (("3.7", False), ("3.8", True)):
        client = Transactional(kafka=kafka)
        client.play([*FIRST_RECORD])
        assert [request.knows_abortable for _, request in client.requests] == [knows]
