"""A coordinator that reads its partition still: what it answers meanwhile, and that nothing is lost by it. TC-6, TC-7, TC-58, GC-1."""

from __future__ import annotations

from itertools import pairwise

import pytest

from group_members import T0, T1, Members
from group_stage import GROUP, LOAD, RECORDS, SYNC, member, times_read
from ksim import Scenario, simulate
from ksim_models.consumer_facts import CommittedOffset, PollFailed
from ksim_models.errors import NONE, ErrorCode
from ksim_models.messages import PartitionRecord, TopicRecord
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE, LeaveGroupRequest, TxnMarker, WriteTxnMarkersRequest
from lone_broker import BROKERS, LoneBroker
from small_cluster import SmallCluster
from transactional_client import Client, markers

LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


def moved(members: Members) -> None:
    """The coordinator's process is gone, and the next one has begun to read."""
    cluster, former = members.cluster, members.coordinator
    cluster.crash(former)
    others = [name for name in cluster.names if name != former]
    place = members.cluster.brokers[others[0]].coordination.topics.partition_of(CONSUMER_OFFSETS, "g")
    cluster.until(lambda: any(place in cluster.brokers[name].coordination.groups.loading for name in others))
    members.coordinator = next(name for name in others if place in cluster.brokers[name].coordination.groups.loading)


@pytest.mark.parametrize(("kafka", "sync"), [("3.9", ErrorCode.REBALANCE_IN_PROGRESS), ("4.3", LOADING)])
def test_what_members_of_a_group_are_told_while_their_coordinator_loads(kafka: str, sync: ErrorCode) -> None:
    """GroupCoordinatorTest.testRequestHandlingWhileLoadingInProgress; GroupCoordinatorServiceTest.testHeartbeatCoordinatorLoadInProgress: a heartbeat is
    taken blindly, SyncGroup had another answer up to 3.9.
    """
    members = Members(kafka=kafka, load=2_000_000)
    members.cluster.run_for(3000)
    joined = members.stable()
    assert members.commit(5, joined.member, joined.generation) is NONE
    moved(members)

    assert members.join("c2").error is LOADING
    assert members.beat(joined) is NONE
    assert members.sync(joined).error is sync
    assert members.commit(6, joined.member, joined.generation) is LOADING
    assert members.commit_in_transaction(6) is LOADING
    assert members.fetch() is LOADING
    assert members.ask(LeaveGroupRequest("g", joined.member)).error is LOADING
    members.cluster.run_for(2000)
    assert members.fetch() == (NONE, 5)
    assert (members.beat(joined), members.sync(joined).partitions) == (NONE, (T0, T1))


@pytest.mark.parametrize(("kafka", "answer"), [("3.9", NONE), ("4.3", ErrorCode.NOT_LEADER_OR_FOLLOWER)])
def test_a_marker_for_offsets_waits_since_4_0_until_their_coordinator_has_loaded(kafka: str, answer: ErrorCode) -> None:
    """KafkaApis.handleWriteTxnMarkersRequest, TC-58. Either way the offsets are there when it has."""
    members = Members(kafka=kafka, load=2_000_000)
    members.cluster.run_for(3000)
    assert members.commit_in_transaction(9) is NONE
    moved(members)
    place = members.cluster.brokers[members.coordinator].coordination.topics.partition_of(CONSUMER_OFFSETS, "g")
    request = WriteTxnMarkersRequest((TxnMarker(7, 0, 1, True, (place,), 1),))

    assert members.ask(request).results == ((7, place, answer),)
    members.cluster.run_for(2500)
    assert members.ask(request).results == ((7, place, NONE),)
    assert members.fetch() == (NONE, 9)


@pytest.mark.parametrize("version", [1, 2])
def test_a_transaction_waits_while_its_coordinator_loads(version: int) -> None:
    """TransactionCoordinatorTest.shouldRespondWithCoordinatorLoadInProgressOnEndTxnWhenCoordinatorIsLoading."""
    cluster = SmallCluster(topics={"t": 1}, load=3_000_000)
    client = Client(cluster, version=version)
    client.init()
    if version == 1:
        client.add("t-0")
    client.produce()
    former = client.coordinator
    cluster.crash(former)
    client.ask = next(name for name in cluster.names if name != former)
    cluster.until(lambda: client.coordinator != former)
    began = cluster.now
    told = client.end()
    while told.retriable:
        assert told is LOADING
        cluster.run_for(50)
        told = client.end()

    assert told is NONE
    assert 2_000_000 < cluster.now - began <= 3_200_000
    cluster.run_for(1000)
    assert [committed for _, committed, _ in markers(cluster)] == [True]


def longest_pause_of_commits(load: str) -> float:
    crash = '[[fault]]\nat = "{at}"\ndo = "crash"\nwho = "{who}"\nfor = "5s"\n'
    fault = crash.format(at="12s", who="broker-1") + crash.format(at="25s", who="broker-2") + f'[model]\nload = "{load}"\n'
    run = simulate(Scenario.loads(GROUP + member("r1", SYNC) + LOAD.format(records=RECORDS * 3) + fault))
    assert sorted(times_read(run)) == list(range(RECORDS * 3))
    assert not list(run.history.of(PollFailed))
    moments = [at for at, fact in run.history.of(CommittedOffset) if not fact.error]
    return max(after - before for before, after in pairwise(moments)) / 1e6


def test_a_group_commits_nothing_while_its_coordinator_loads_and_loses_nothing() -> None:
    """GC-1. [model] load."""
    assert longest_pause_of_commits("4s") > longest_pause_of_commits("0s") + 2


@pytest.mark.parametrize(("kafka", "loads"), [("3.7", 1), ("3.8", 0)])
def test_a_change_of_the_isr_makes_a_transaction_coordinator_load_anew_before_3_8(kafka: str, loads: int) -> None:
    """KAFKA-15468: also where its broker proposed the change and has it from the answer already. Groups do so unnoticed."""
    alone = LoneBroker(kafka=kafka)
    for topic in (TRANSACTION_STATE, CONSUMER_OFFSETS):
        alone.learn(TopicRecord(topic, 1, ()), PartitionRecord(f"{topic}-0", BROKERS, BROKERS, (), (), "b1", 0, 0, False))
    alone.until(alone.now + 5_000)
    coordination = alone.broker.coordination
    assert list(coordination.transactions.cache.caches) == [f"{TRANSACTION_STATE}-0"]
    shard = coordination.groups.shards[f"{CONSUMER_OFFSETS}-0"]

    for topic in (TRANSACTION_STATE, CONSUMER_OFFSETS):
        alone.broker.replicas[f"{topic}-0"].partition_epoch = 1
        alone.learn(PartitionRecord(f"{topic}-0", BROKERS, ("b1",), (), (), "b1", 0, 1, False))

    assert len(coordination.transactions.cache.loading) == loads
    assert coordination.groups.shards[f"{CONSUMER_OFFSETS}-0"] is shard
