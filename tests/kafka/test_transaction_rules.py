"""The rules of the transactional client, each as the shortest script that shows it: sections 5.2 to 5.8 of the client's rule book.

What the vectors of TransactionManagerTest pin in long scripts (test_transaction_vectors.py, test_transaction_error_vectors.py) stands here rule by rule.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ksim_models.facts import Disconnected, ProducerId, Transaction
from ksim_models.messages import InitProducerIdRequest, ProduceRequest
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    FindCoordinatorRequest,
    TxnOffsetCommitRequest,
)
from ksim_models.transaction_pending import Group
from ksim_models.transactional_calls import JavaClient
from ksim_models.units import ms
from scripted_transactions import APIS, Transactional

Script = list[tuple[str, str]]
STARTED = ("start", "")
BEGUN = (STARTED, ("send p0", "AddPartitions t-0"), ("reply AddPartitions", "sent 0 e1s0"))
WRITTEN = (*BEGUN, ("answer 0 NONE 0", "acked 0"))
FAILED = (*BEGUN, ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; [ABORTABLE_ERROR: InvalidRecordException]"))
VERSION_2: dict[str, Any] = {"v2": True}
WRITTEN_2 = (STARTED, ("send p0", "sent 0 e1s0"), ("answer 0 NONE 0", "acked 0"))
COMMITTING = ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]")
COMMITTED_LATE = ("reply TxnOffsetCommit NOT_COORDINATOR", "reply FindCoordinator", "pass 100", "reply TxnOffsetCommit")
ABORTING = ("abort", "EndTxn abort; [ABORTING_TRANSACTION]")


def rule(title: str, *script: tuple[str, str], **config: Any) -> Any:
    return pytest.param(config, list(script), id=title)


RULES = [
    rule(
        "T4 T22 nothing was sent: no request",
        STARTED,
        ("commit", "commit returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("abort", "abort returns; [READY]"),
    ),
    rule(
        "T5 nothing leaves before its partition was added",
        STARTED,
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions COORDINATOR_LOAD_IN_PROGRESS", ""),
        ("pass 99", ""),
        ("pass 1", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0 e1s0"),
    ),
    rule(
        "T6 T8 version 2: it leaves at once, and commit returns behind every acknowledgement",
        STARTED,
        ("send p0", "sent 0 e1s0"),
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn", "epoch 2; commit returns; [READY]"),
        **VERSION_2,
    ),
    rule(
        "T7 a batch has failed before the commit: it throws, with the error as its cause",
        *FAILED,
        ("send p1", "refused 1 KafkaException"),
        ("commit", "commit throws KafkaException(InvalidRecordException)"),
        ABORTING,
    ),
    rule(
        "T7 T12 a batch fails during the commit: the call ends with its error, and no epoch is raised for it",
        *BEGUN,
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; commit throws InvalidRecordException; [ABORTABLE_ERROR: InvalidRecordException]"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
    ),
    rule(
        "T13 behind an abortable error what is asked for is asked no more, and what waits fails with it",
        *BEGUN,
        ("send p1", "AddPartitions t-1"),
        ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; [ABORTABLE_ERROR: InvalidRecordException]"),
        ("reply AddPartitions COORDINATOR_LOAD_IN_PROGRESS", "failed 1 InvalidRecordException"),
        ("pass 100", ""),
        ABORTING,
    ),
    rule(
        "T13 offsets that were never sent stay behind an abort, and go with the next transaction's (pendingTxnOffsetCommits is cleared by answers only)",
        *BEGUN,
        ("send-offsets t-1=5", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
        ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; [ABORTABLE_ERROR: InvalidRecordException]"),
        ("reply FindCoordinator", "send-offsets throws InvalidRecordException"),
        ABORTING,
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send-offsets t-0=1", "AddOffsets g"),
        ("reply AddOffsets", "TxnOffsetCommit t-1=5,t-0=1"),
    ),
    rule(
        "T14 the last error is told: that of the sequences behind that of the batch",
        *BEGUN,
        ("answer 0 REQUEST_TIMED_OUT", "sent 0 e1s0"),
        ("pass 2900", "sent 0 e1s0; sent 0 e1s0"),
        ("pass 100", "failed 0 TimeoutException; [ABORTABLE_ERROR: KafkaException]"),
        ("commit", "commit throws KafkaException(KafkaException)"),
    ),
    rule(
        "T14 a commit that waits for a batch ends at the moment at which the batch runs out of time",
        *BEGUN,
        ("answer 0 REQUEST_TIMED_OUT", "sent 0 e1s0"),
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("pass 2900", "sent 0 e1s0; sent 0 e1s0"),
        ("pass 100", "failed 0 TimeoutException; commit throws KafkaException; [ABORTABLE_ERROR: KafkaException]"),
    ),
    rule(
        "T20 a coordinator that was lost, and could not be found again, is asked for by the next transaction",
        STARTED,
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
        ("reply FindCoordinator b1", ""),
        ("pass 100", "TxnOffsetCommit t-1=1"),
        ("reply TxnOffsetCommit NOT_COORDINATOR", "FindCoordinator group"),
        ("reply FindCoordinator GROUP_AUTHORIZATION_FAILED", "send-offsets throws GroupAuthorizationException; [ABORTABLE_ERROR: GroupAuthorizationException]"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
    ),
    rule(
        "T20 first who coordinates, then offsets, last the end",
        *WRITTEN,
        ("send-offsets t-1=1", "AddOffsets g"),
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("reply AddOffsets", "FindCoordinator group"),
        ("reply FindCoordinator", ""),
        ("pass 100", "TxnOffsetCommit t-1=1"),
        ("reply TxnOffsetCommit", "EndTxn commit; send-offsets returns"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    rule(
        "T21 all new partitions in one request",
        STARTED,
        ("append p0", ""),
        ("append p1", ""),
        ("turn", "AddPartitions t-0,t-1"),
        ("reply AddPartitions", "sent 0 e1s0; sent 1 e1s0"),
    ),
    rule(
        "T22 no partition could be added: the coordinator knows of nothing, and is not asked to end it",
        STARTED,
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions TOPIC_AUTHORIZATION_FAILED", "failed 0 TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]"),
        ("abort", "abort returns; [READY]"),
    ),
    rule(
        "T24 the first partition is asked for again soon, a later one after the backoff",
        STARTED,
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions CONCURRENT_TRANSACTIONS", ""),
        ("pass 19", ""),
        ("pass 1", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        ("send p1", "AddPartitions t-1"),
        ("reply AddPartitions CONCURRENT_TRANSACTIONS", ""),
        ("pass 99", ""),
        ("pass 1", "AddPartitions t-1"),
    ),
    rule(
        "T26 the first error that ends the scan decides: all are asked for again",
        STARTED,
        ("append p0", ""),
        ("append p1", ""),
        ("turn", "AddPartitions t-0,t-1"),
        ("reply AddPartitions t-0=COORDINATOR_LOAD_IN_PROGRESS t-1=TOPIC_AUTHORIZATION_FAILED", ""),
        ("pass 100", "AddPartitions t-0,t-1"),
    ),
    rule(
        "T26 one partition is not allowed: none is added",
        STARTED,
        ("append p0", ""),
        ("append p1", ""),
        ("turn", "AddPartitions t-0,t-1"),
        (
            "reply AddPartitions t-0=NONE t-1=TOPIC_AUTHORIZATION_FAILED",
            "failed 0 TopicAuthorizationException; failed 1 TopicAuthorizationException; [ABORTABLE_ERROR: TopicAuthorizationException]",
        ),
        ("abort", "abort returns; [READY]"),
    ),
    rule(
        "T27 an abortable error ends the call that waits for it, and the next one throws it again",
        STARTED,
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
        (
            "reply FindCoordinator GROUP_AUTHORIZATION_FAILED",
            "send-offsets throws GroupAuthorizationException; [ABORTABLE_ERROR: GroupAuthorizationException]",
        ),
        ("commit", "commit throws KafkaException(GroupAuthorizationException)"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
    ),
    rule(
        "T28 T9 a coordinator that does not answer holds up the commit for max.block.ms, and no longer",
        *WRITTEN,
        COMMITTING,
        ("pass 499", ""),
        ("pass 1", "commit throws TimeoutException"),
        ("reply EndTxn", "[READY]"),
        max_block_ms=500,
    ),
    rule(
        "T31 behind an error of a batch the abort brings another epoch, and sequences begin anew",
        *FAILED,
        ABORTING,
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 1 e2s0"),
    ),
    rule(
        "T32 a clean abort keeps the epoch; what was aborted before it left has used no sequence",
        *WRITTEN,
        ("append p0", ""),
        ("abort", "failed 1 TransactionAbortedException; EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 2 e1s1"),
    ),
    rule(
        "T33 T50 INVALID_PRODUCER_EPOCH of a batch can be aborted; who is really fenced learns it then",
        *BEGUN,
        ("answer 0 INVALID_PRODUCER_EPOCH", "failed 0 InvalidProducerEpochException; [ABORTABLE_ERROR: InvalidProducerEpochException]"),
        ABORTING,
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId PRODUCER_FENCED", "abort throws ProducerFencedException; [FATAL_ERROR: ProducerFencedException]"),
    ),
    rule(
        "T2 T34 an expiry during the abort is no error of the abort, and yet raises the flag too late: every later begin is illegal",
        *BEGUN,
        ("answer 0 REQUEST_TIMED_OUT", "sent 0 e1s0"),
        ("abort", "[ABORTING_TRANSACTION]"),
        ("pass 2900", "sent 0 e1s0; sent 0 e1s0"),
        ("pass 100", "failed 0 TimeoutException; EndTxn abort"),
        ("reply EndTxn", "abort returns; [INITIALIZING]"),
        ("begin", "begin throws IllegalStateException"),
    ),
    rule(
        "T23 T41 the end goes as the transaction began; the next one has the newer version, and another epoch before",
        *WRITTEN,
        ("upgrade", ""),
        COMMITTING,
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; commit returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "sent 1 e2s0"),
    ),
    rule(
        "T43 version 2: the leader's CONCURRENT_TRANSACTIONS is a retry like another",
        STARTED,
        ("send p0", "sent 0 e1s0"),
        ("answer 0 CONCURRENT_TRANSACTIONS", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        COMMITTING,
        ("reply EndTxn", "epoch 2; commit returns; [READY]"),
        **VERSION_2,
    ),
    rule(
        "T44 T45 version 2: every end brings the next epoch, an abort behind an error, too, and asks for no other",
        STARTED,
        ("send p0", "sent 0 e1s0"),
        ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; [ABORTABLE_ERROR: InvalidRecordException]"),
        ABORTING,
        ("reply EndTxn", "epoch 2; abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "sent 1 e2s0"),
        **VERSION_2,
    ),
    rule(
        "T46 version 2: an empty transaction ends without a request, and keeps its epoch",
        STARTED,
        ("commit", "commit returns; [READY]"),
        ("epoch", "13131/1"),
        **VERSION_2,
    ),
    rule(
        "T47 version 2: an end whose answer is lost is asked for again as it was, and the answer has the epoch",
        *WRITTEN_2,
        COMMITTING,
        ("drop b2", "FindCoordinator transaction"),
        ("pass 100", ""),
        ("reply FindCoordinator b2", ""),
        ("pass 100", "EndTxn commit"),
        ("reply EndTxn e2", "epoch 2; commit returns; [READY]"),
        **VERSION_2,
    ),
    rule(
        "T50 an illegal generation of offsets can be aborted",
        STARTED,
        ("send-offsets t-1=1", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
        ("reply FindCoordinator", ""),
        ("pass 100", "TxnOffsetCommit t-1=1"),
        ("reply TxnOffsetCommit ILLEGAL_GENERATION", "send-offsets throws CommitFailedException; [ABORTABLE_ERROR: CommitFailedException]"),
        ABORTING,
        ("reply EndTxn", "abort returns; [READY]"),
    ),
    rule(
        "T51 a record that is too large is an error like another",
        *BEGUN,
        ("answer 0 MESSAGE_TOO_LARGE", "failed 0 RecordTooLargeException; [ABORTABLE_ERROR: RecordTooLargeException]"),
        ABORTING,
    ),
]


@pytest.mark.parametrize(("config", "script"), RULES)
def test_the_rules_of_the_transactional_client(config: dict[str, Any], script: Script) -> None:
    Transactional(**config).play(script)


@pytest.mark.parametrize("backoff", [100, 0])
def test_s2_where_nobody_can_be_asked_for_the_coordinator_somebody_is_as_soon_as_there_is_a_connection(backoff: int) -> None:
    client = Transactional(retry_backoff_ms=backoff, reconnect_backoff_ms=50, reconnect_backoff_max_ms=50)

    client.play(
        [
            ("down b1 b2", ""),
            ("init", "[INITIALIZING]"),
            ("pass 2000", ""),
            ("up b1 b2", ""),
            ("pass 200", "FindCoordinator transaction"),
            ("down b1 b2", ""),  # So its answer is lost, and it is asked again.
            ("pass 2000", ""),
            ("up b1 b2", ""),
            ("pass 200", "FindCoordinator transaction"),
        ]
    )


@pytest.mark.parametrize(
    ("then", "noticed"),
    [
        pytest.param("send p1", 1_050, id="a transactional request is under way: a poll lasts retry.backoff.ms"),
        pytest.param("pass 0", 1_001, id="none is: the poll began when the batch was sent, and lasts request.timeout.ms"),
    ],
)
def test_s2_n14_when_it_is_noticed_that_a_batch_has_no_answer(then: str, noticed: int) -> None:
    client = Transactional()
    for line in ("start", "send p0", "reply AddPartitions"):
        client._do(line)
    sent_at = client.now
    client._do("pass 950")
    client._do(then)
    client._do("pass 1200")

    assert next(at for at, fact in client.facts if isinstance(fact, Disconnected)) - sent_at == ms(noticed)


@pytest.mark.parametrize("v2", [False, True])
def test_t29_offsets_go_with_the_place_of_their_consumer_and_the_leader_epochs_of_what_it_read(v2: bool) -> None:
    """KIP-447, KIP-320: what sendOffsetsToTransaction is given."""
    client = Transactional(v2=v2)
    client._do("start")
    group = Group("g", "m", 5, "i")
    JavaClient(client.manager, 60_000).call("send-offsets", client.now, {"t-1": 5, "t-0": 7}, group, {"t-1": 3})
    for line in ("turn", *(() if v2 else ("reply AddOffsets",)), "reply FindCoordinator", "pass 100"):
        client._do(line)
    asked = next(request for _, request in client.pending if isinstance(request, TxnOffsetCommitRequest))

    assert asked == TxnOffsetCommitRequest("t", "g", 13131, 1, (("t-1", 5), ("t-0", 7)), "m", 5, 2 if v2 else 1, "i", (3, -1))


@pytest.mark.parametrize(("call", "told"), [("commit", ["commit-sent"]), ("abort", [])])
def test_the_history_learns_of_the_producer_id_and_of_the_moment_at_which_a_commit_leaves(call: str, told: list[str]) -> None:
    client = Transactional()
    for line in ("start", "send p0", "reply AddPartitions", "answer 0 NONE 0"):
        client._do(line)
    at = client.now
    client._do(call)

    assert [fact for _, fact in client.facts if isinstance(fact, ProducerId)] == [ProducerId("p1", 13131, 1, "InitProducerId")]
    assert [(when, fact) for when, fact in client.facts if isinstance(fact, Transaction)] == [(at, Transaction("p1", 1, phase)) for phase in told]


@pytest.mark.parametrize(
    ("v2", "script"),
    [
        (False, ("append p0", "turn", "reply AddPartitions", "answer 0 NONE 0", "send-offsets t-1=1", "reply AddOffsets", "reply FindCoordinator")),
        (True, ("send p0", "answer 0 NONE 0", "send-offsets t-1=1", "reply FindCoordinator")),
    ],
)
def test_t42_every_request_says_whose_it_is_and_a_producer_id_of_0_is_one_like_another(v2: bool, script: tuple[str, ...]) -> None:
    client = Transactional(v2=v2)
    client.producer_id = 0
    asked: dict[int, object] = {}

    def note() -> None:
        asked.update({id(request): request for _, request in client.pending if type(request) in APIS})

    client.producer.metadata.want("t", 0)
    for line in ("init", "reply FindCoordinator b2", "pass 100", "reply InitProducerId", "begin", *script, "pass 100", *COMMITTED_LATE, "commit"):
        client._do(line)
        client.happened()
        note()
    client._do("drop b2")
    note()
    who = ("t", 0, 1)
    found = {
        (FindCoordinatorRequest, "transaction", "t"): 2,
        (FindCoordinatorRequest, "group", "g"): 2,
        (InitProducerIdRequest, "t", 1121, -1, -1): 1,
        (TxnOffsetCommitRequest, *who, "g", "m", 5): 1,
        (EndTxnRequest, *who, True): 1,
    } | ({} if v2 else {(AddPartitionsToTxnRequest, *who, ("t-0",)): 1, (AddOffsetsToTxnRequest, *who, "g"): 1})

    assert Counter(map(named, asked.values())) == found


def named(request: Any) -> tuple[Any, ...]:
    match request:
        case FindCoordinatorRequest():
            return FindCoordinatorRequest, request.kind, request.key
        case InitProducerIdRequest():
            return InitProducerIdRequest, request.transactional_id, request.transaction_timeout_ms, request.producer_id, request.producer_epoch
        case TxnOffsetCommitRequest():
            more: tuple[Any, ...] = (request.group, request.member, request.generation)
        case AddPartitionsToTxnRequest():
            more = (request.partitions,)
        case AddOffsetsToTxnRequest():
            more = (request.group,)
        case _:
            more = (request.committed,)
    return type(request), request.transactional_id, request.producer_id, request.producer_epoch, *more


@pytest.mark.parametrize(("v2", "version"), [(False, 1), (True, 2)])
def test_t42_every_request_of_a_transaction_has_the_form_of_its_version(v2: bool, version: int) -> None:
    client = Transactional(v2=v2)
    asked: list[Any] = []

    def pending(kind: type) -> Any:
        asked.extend(request for _, request in client.pending if isinstance(request, kind))
        return asked[-1]

    for line in ("start", "send p0") if v2 else ("start", "send p0", "reply AddPartitions"):
        client._do(line)
    assert pending(ProduceRequest).transaction_version == version
    for line in ("answer 0 NONE 0", "send-offsets t-1=1", *(() if v2 else ("reply AddOffsets",)), "reply FindCoordinator", "pass 100"):
        client._do(line)
    assert pending(TxnOffsetCommitRequest).transaction_version == version
    for line in ("reply TxnOffsetCommit", "commit"):
        client._do(line)
    assert pending(EndTxnRequest).transaction_version == version
