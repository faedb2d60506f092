"""The transaction coordinator in a small cluster: ids and epochs, partitions, ends and markers, time-outs, another coordinator taking over."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode
from ksim_models.messages import InitProducerIdRequest
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    OffsetFetchRequest,
    TxnMarker,
    TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
)
from small_cluster import SmallCluster
from transactional_client import ID, Client, markers

OLD, NEW = "3.9", "4.3"


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("kafka", ["3.5", OLD, NEW])
def test_a_transaction_of_version_1_is_written_marked_and_complete(kafka: str, commit: bool) -> None:
    cluster = SmallCluster(kafka=kafka, topics={"t": 2})
    client = Client(cluster)

    assert client.init() is ErrorCode.NONE
    assert client.add("t-0", "t-1") == [ErrorCode.NONE] * 2
    assert [client.produce("t-0", 3), client.produce("t-1")] == [ErrorCode.NONE] * 2
    log = cluster.brokers[cluster.controller.leader_of("t-0")].logs["t-0"]
    open_until = log.last_stable_offset
    assert client.end(commit=commit) is ErrorCode.NONE
    cluster.run_for(1_000)

    assert (open_until, log.last_stable_offset, log.log_end_offset) == (0, 4, 4)
    assert markers(cluster) == [(3, commit, 0)]
    assert markers(cluster, "t-1") == [(1, commit, 0)]
    assert client.states() == ["Empty", "Ongoing", *(["PrepareCommit", "CompleteCommit"] if commit else ["PrepareAbort", "CompleteAbort"])]
    assert log.aborted(0, 4) == (() if commit else ((client.producer_id, 0),))
    for broker in cluster.brokers.values():
        assert broker.logs["t-0"].last_stable_offset == 4
        assert broker.logs["t-0"].aborted(0, 4) == log.aborted(0, 4)


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_of_version_2_adds_its_partitions_by_itself_and_its_end_raises_the_epoch(commit: bool) -> None:
    """TC-43, TC-44: the markers have the epoch of the next transaction."""
    cluster = SmallCluster(topics={"t": 2})
    client = Client(cluster, version=2)
    client.init()

    assert [client.produce("t-0", 3), client.produce("t-1")] == [ErrorCode.NONE] * 2
    assert client.end(commit=commit) is ErrorCode.NONE
    cluster.run_for(1_000)

    assert client.epoch == 1
    assert markers(cluster) == [(3, commit, 1)]
    assert markers(cluster, "t-1") == [(1, commit, 1)]
    assert client.states() == ["Empty", "Ongoing", "Ongoing", *(["PrepareCommit", "CompleteCommit"] if commit else ["PrepareAbort", "CompleteAbort"])]
    assert client.produce("t-0") is ErrorCode.NONE


def test_who_has_no_transactional_id_gets_a_new_producer_id_each_time() -> None:
    """BV-250, TC-20."""
    cluster = SmallCluster()
    answers = [cluster.ask("broker-1", InitProducerIdRequest()) for _ in range(2)]

    assert [(answer.error, answer.producer_id, answer.producer_epoch) for answer in answers] == [(ErrorCode.NONE, 1000, 0), (ErrorCode.NONE, 1001, 0)]


def fetched(cluster: SmallCluster, *, min_bytes: int = 1) -> tuple[int, int, int, tuple[tuple[int, int], ...]]:
    """What a reader of committed records gets of t-0: high watermark, last stable offset, records, aborted transactions."""
    asked = ConsumerFetchPartition("t-0", 0, cluster.brokers[cluster.controller.leader_of("t-0")].replicas["t-0"].leader_epoch)
    request = ConsumerFetchRequest((asked,), True, 1_000, min_bytes, 1_000_000, 1_000_000)
    told = cluster.ask(cluster.controller.leader_of("t-0"), request).partitions[0]
    return told.high_watermark, told.last_stable_offset, sum(len(batch.records) for batch in told.batches), told.aborted


def test_readers_of_committed_records_wait_for_the_replication_of_the_marker() -> None:
    """BV-058, BV-059, CV-1, CV-4."""
    cluster = SmallCluster(kafka="3.9")
    client = Client(cluster)
    client.init()
    client.add("t-0")
    client.produce("t-0", 3)
    began = cluster.now
    assert fetched(cluster, min_bytes=1_000) == (3, 0, 0, ())
    assert 1_000_000 <= cluster.now - began < 1_010_000

    leader = cluster.controller.leader_of("t-0")
    followers = [name for name in cluster.names if name != leader]
    for name in followers:
        cluster.loop.cut(name, leader)
    marker = TxnMarker(client.producer_id, client.epoch, 0, True, ("t-0",))
    cluster.send(cluster.connect(leader), WriteTxnMarkersRequest((marker,)))
    cluster.run_for(100)
    assert markers(cluster) == [(3, True, 0)]
    assert fetched(cluster)[1:] == (0, 0, ())

    for name in followers:
        cluster.loop.mend(name, leader)
    cluster.until(lambda: cluster.brokers[leader].logs["t-0"].high_watermark == 4)
    assert fetched(cluster) == (4, 4, 4, ())


def test_a_partition_that_is_not_in_the_transaction_takes_no_record_of_it() -> None:
    """PS-65: verification, TRANSACTION_ABORTABLE for a client that knows it."""
    cluster = SmallCluster(topics={"t": 2})
    client = Client(cluster)
    client.init()
    client.add("t-0")

    assert client.produce("t-1") is ErrorCode.TRANSACTION_ABORTABLE
    assert client.produce("t-0") is ErrorCode.NONE


def test_before_3_6_a_partition_takes_what_the_coordinator_does_not_know() -> None:
    """TC-47: a hanging transaction."""
    cluster = SmallCluster(kafka="3.5", topics={"t": 2})
    client = Client(cluster)
    client.init()

    assert client.produce("t-1") is ErrorCode.NONE
    cluster.run_for(100_000)
    assert cluster.brokers[cluster.controller.leader_of("t-1")].logs["t-1"].last_stable_offset == 0


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("commit", [True, False])
def test_offsets_are_part_of_the_transaction(version: int, commit: bool) -> None:
    """TC-32, TC-58, GC-4, GC-7: with version 2 the group coordinator adds its partition by itself."""
    cluster = SmallCluster(offsets_topic_num_partitions=3)
    client = Client(cluster, version=version)
    client.init()
    groups = cluster.find("group", "g")
    cluster.run_for(1_000)
    if version == 1:
        assert cluster.ask(client.coordinator, AddOffsetsToTxnRequest(ID, client.producer_id, client.epoch, "g")).error is ErrorCode.NONE

    written = cluster.ask(groups, TxnOffsetCommitRequest(ID, "g", client.producer_id, client.epoch, (("t-0", 7),), transaction_version=version))
    while_open = cluster.ask(groups, OffsetFetchRequest("g", ("t-0",), True))
    assert client.end(commit=commit) is ErrorCode.NONE
    cluster.run_for(1_000)
    after = cluster.ask(groups, OffsetFetchRequest("g", ("t-0",), True))

    assert written.results == (("t-0", ErrorCode.NONE),)
    assert while_open.results[0][1] is ErrorCode.UNSTABLE_OFFSET_COMMIT
    assert after.results[0][1:3] == (ErrorCode.NONE, 7 if commit else -1)


def test_offsets_of_no_transaction_are_refused() -> None:
    """GC-7, PS-11: verification."""
    cluster = SmallCluster(offsets_topic_num_partitions=3)
    client = Client(cluster)
    client.init()
    groups = cluster.find("group", "g")
    cluster.run_for(1_000)

    written = cluster.ask(groups, TxnOffsetCommitRequest(ID, "g", client.producer_id, client.epoch, (("t-0", 7),)))

    assert written.results == (("t-0", ErrorCode.TRANSACTION_ABORTABLE),)
