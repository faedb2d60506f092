"""What Kafka's own tests of a partition's leader say beyond the vectors of sections E and F: one row, one fact.

Kafka: PartitionTest, ReplicaTest, IsrExpirationTest, ReplicaManagerTest, AlterPartitionManagerTest.
"""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import LogStartMoved
from ksim_models.isr import LONG_AGO, Leadership
from ksim_models.machine import Asked, Received
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResult,
    BrokerRecord,
    DeleteRecordsRequest,
    PartitionRecord,
    RemoveTopicRecord,
)
from ksim_models.transaction_messages import ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse
from ksim_models.units import ms, s
from lone_broker import LoneBroker, partition


def leadership(alone: LoneBroker) -> Leadership:
    assert alone.replica.leadership is not None
    return alone.replica.leadership


def proposed(alone: LoneBroker) -> list[tuple[str, ...]]:
    return [tuple(name for name, _ in item.new_isr) for request in alone.asked(AlterPartitionRequest) for item in request.items]


def test_a_leader_that_is_elected_again_does_not_wait_for_an_outsider_that_has_not_caught_up_anew() -> None:
    """ReplicaTest.testResetReplicaStateWhenLeaderIsReelectedAndReplicaIsNotInSync: its last fetch, and where the leader stood then, count for nothing."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.learn(BrokerRecord("b3", 3, False, in_controlled_shutdown=True))  # So that it is not taken in at once.
    client = alone.client()
    alone.produce(client, 5, acks=1)
    for follower in ("b2", "b3"):
        alone.fetch(follower, 5, last_epoch=0)
    alone.produce(client, 2, acks=1)
    alone.until(s(1))
    alone.learn(partition(isr=("b1", "b2"), epoch=1, partition_epoch=1), BrokerRecord("b3", 3, False))
    alone.produce(client, 2, acks=1)

    alone.fetch("b3", 5, epoch=1, last_epoch=0)
    alone.fetch("b2", 9, epoch=1, last_epoch=1)

    assert (leadership(alone).followers["b3"].last_caught_up, alone.replica.log.high_watermark) == (LONG_AGO, 9)


def test_a_fetch_that_is_refused_brings_nobody_into_the_isr() -> None:
    """PartitionTest.testFetchOffsetSnapshotEpochValidationForLeader, ReplicaManagerTest.testFollowerStateNotUpdatedIfLogReadFails."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.learn(BrokerRecord("b3", 3, fenced=True))
    alone.fetch("b3", 0)
    assert proposed(alone) == []
    alone.learn(partition(isr=("b1", "b2"), epoch=1, partition_epoch=1), BrokerRecord("b3", 3, False))

    alone.fetch("b3", 0)

    assert proposed(alone) == []
    alone.fetch("b3", 0, epoch=1)
    assert proposed(alone) == [("b1", "b2", "b3")]


def test_a_follower_that_has_not_heard_of_the_new_epoch_is_caught_up_as_of_the_election_only() -> None:
    """ReplicaTest.testResetReplicaStateWhenLeaderIsReelectedAndReplicaIsInSync: what it fetches under the old epoch is refused."""
    alone = LoneBroker(partition(isr=("b1", "b2")), replica_lag_time_max_ms=10_000)
    client = alone.client()
    alone.fetch("b2", 0)
    alone.until(s(1))
    alone.learn(partition(isr=("b1", "b2"), epoch=1, partition_epoch=1))
    for second in range(2, 9):
        alone.until(s(second))
        alone.fetch("b2", 0, full=False)
    alone.produce(client, 1, acks=1)

    assert leadership(alone).followers["b2"].last_caught_up == s(1)
    assert leadership(alone).out_of_sync(1, s(11) + 1, s(10)) == ("b2",)


@pytest.mark.parametrize(
    ("kafka", "state", "high_watermark"),
    [
        pytest.param("4.3", {}, 10, id="unfenced: it may come back in, so it is waited for"),
        pytest.param("4.3", {"fenced": True}, 20, id="fenced"),
        pytest.param("4.3", {"in_controlled_shutdown": True}, 20, id="shutdown"),
        pytest.param("3.6", {"fenced": True}, 20, id="fenced, 3.6"),
        pytest.param("3.5", {"fenced": True}, 10, id="fenced, 3.5: waited for as long as it was caught up lately"),
    ],
)
def test_the_high_watermark_when_the_controller_takes_a_follower_out_of_the_isr(kafka: str, state: dict[str, bool], high_watermark: int) -> None:
    """PartitionTest.testHighWatermarkIncreasesWithFencedOrShutdownFollower (3.6 and later): RP-22."""
    alone = LoneBroker(partition(isr=("b1", "b2")), kafka=kafka)
    client = alone.client()
    alone.produce(client, 10, acks=1)
    alone.fetch("b2", 10, last_epoch=0)
    assert alone.replica.log.high_watermark == 10
    alone.learn(BrokerRecord("b2", 2, **{"fenced": False, **state}))  # type: ignore[arg-type]
    alone.produce(client, 10, acks=1)

    alone.learn(partition(isr=("b1",), partition_epoch=1))

    assert leadership(alone).maximal == ("b1",)
    assert alone.replica.log.high_watermark == high_watermark


def test_a_lone_leader_below_the_minimum_commits_when_the_isr_is_large_enough_again() -> None:
    """PartitionTest.testHighWatermarkAdvanceShouldNotAdvanceWhenUnderMinISR: RP-23; a proposal alone is not enough."""
    alone = LoneBroker(partition(isr=("b1",)), topic=(("min.insync.replicas", "2"),))
    alone.produce(alone.client(), 10, acks=1)
    alone.fetch("b2", 10, last_epoch=0)
    assert (leadership(alone).maximal, alone.replica.log.high_watermark) == (("b1", "b2"), 0)

    alone.learn(partition(isr=("b1", "b2"), partition_epoch=1))

    assert alone.replica.log.high_watermark == 10


def test_when_a_follower_was_last_caught_up() -> None:
    """PartitionTest.testUpdateFollowerFetchState."""
    alone = LoneBroker(partition(leader="b2", isr=("b1", "b2")))
    alone.until(s(1))
    alone.learn(partition(isr=("b1", "b2"), epoch=1, partition_epoch=1))
    alone.produce(alone.client(), 6, acks=1)
    follower = leadership(alone).followers["b2"]
    found = [(follower.log_end_offset, follower.last_caught_up)]
    for offset, at in ((3, ms(1500)), (6, s(2))):
        alone.until(at)
        alone.fetch("b2", offset, epoch=1, last_epoch=1)
        found.append((follower.log_end_offset, follower.last_caught_up))

    assert found == [(-1, s(1)), (3, s(1)), (6, s(2))]


@pytest.mark.parametrize(
    ("known", "fetches", "offered"),
    [
        pytest.param({}, 3, True, id="testIsrCanExpandedIfBrokerEpochsMatchWithKraftMetadataCache"),
        pytest.param({"in_controlled_shutdown": True}, 3, False, id="testIsrNotExpandedIfReplicaIsInControlledShutdown"),
        pytest.param({"fenced": True}, 3, False, id="testIsrNotExpandedIfReplicaIsFencedOrShutdown"),
        pytest.param({"broker_epoch": 9}, 3, False, id="testFenceFollowerFetchWithStaleBrokerEpoch: the old incarnation"),
        pytest.param({"broker_epoch": 2}, 3, False, id="an incarnation that this broker has not heard of yet"),
    ],
)
def test_who_is_offered_a_place_in_the_isr(known: dict[str, int | bool], fetches: int, offered: bool) -> None:
    """PartitionTest, KIP-841, KIP-903: b3 fetches as the incarnation of broker epoch 3."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    record = {"broker": "b3", "broker_epoch": fetches, "fenced": False, **known}
    alone.learn(BrokerRecord(**record))  # type: ignore[arg-type]

    alone.fetch("b3", 0)

    assert proposed(alone) == ([("b1", "b2", "b3")] if offered else [])


def test_one_proposal_at_a_time() -> None:
    """PartitionTest.testSingleInFlightAlterIsr: who falls behind meanwhile is proposed out later."""
    alone = LoneBroker(partition(isr=("b1", "b2")), replica_lag_time_max_ms=1_000)
    alone.fetch("b3", 0)
    assert proposed(alone) == [("b1", "b2", "b3")]
    alone.produce(alone.client(), 1, acks=1)
    alone.until(s(10))
    assert proposed(alone) == [("b1", "b2", "b3")]

    alone.learn(partition(partition_epoch=1))
    alone.until(s(11))
    assert proposed(alone) == [("b1", "b2", "b3")], "AlterPartitionManagerTest.testOneInFlight: not while the first is unanswered"
    alone.tell(Received(alone.controller, AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", E.INVALID_UPDATE_VERSION),))))
    alone.until(s(12))

    assert proposed(alone)[1:] == [("b1",)]


def test_a_leader_begins_its_epoch_at_its_log_end_and_no_partition_epoch_moves_that() -> None:
    """PartitionTest.testMakeLeaderUpdatesEpochCache, testDoNotUpdateEpochStartOffsetIfLeaderEpochIsNotBumped."""
    alone = LoneBroker(partition(epoch=4))
    client = alone.client()
    alone.produce(client, 3, acks=1)
    alone.learn(partition(epoch=8, partition_epoch=1))
    assert (alone.replica.log.epochs.entries, leadership(alone).epoch_start_offset) == ([(4, 0), (8, 3)], 3)
    alone.produce(client, 2, acks=1)

    alone.learn(partition(epoch=8, partition_epoch=2, isr=("b1", "b2")))

    assert (alone.replica.log.epochs.entries, leadership(alone).epoch_start_offset) == ([(4, 0), (8, 3)], 3)


def test_a_leader_that_steps_down_knows_nothing_of_its_followers_any_more() -> None:
    """PartitionTest.testFollowerShouldNotHaveAnyRemoteReplicaStates, testIgnoreFollowerPartitionStateChangeWithOlderPartitionEpoch."""
    alone = LoneBroker(partition(partition_epoch=1))
    alone.fetch("b2", 0)
    alone.learn(partition("b2", epoch=1, partition_epoch=3))
    assert alone.replica.leadership is None
    alone.learn(partition("b1", epoch=1, partition_epoch=2))
    assert (alone.replica.leader, alone.replica.leadership) == ("b2", None)

    alone.learn(partition("b1", epoch=2, partition_epoch=4))

    assert {name: follower.log_end_offset for name, follower in leadership(alone).followers.items()} == {"b2": -1, "b3": -1}


@pytest.mark.parametrize(
    ("before", "then", "moved"),
    [
        pytest.param(3, 3, True, id="up to the high watermark"),
        pytest.param(-1, 3, True, id="-1: the high watermark"),
        pytest.param(4, 0, False, id="beyond it: OFFSET_OUT_OF_RANGE"),
        pytest.param(0, 0, False, id="where it begins already"),
    ],
)
def test_records_are_deleted_up_to_the_high_watermark_only(before: int, then: int, moved: bool) -> None:
    """PartitionTest.testDeleteRecordsOnLeaderWithEmptyPolicy, UnifiedLogTest.testCannotIncrementLogStartOffsetPastHighWatermark."""
    alone = LoneBroker()
    alone.produce(alone.client(), 5, acks=1)
    for follower in ("b2", "b3"):
        alone.fetch(follower, 3, last_epoch=0)
    alone.tell(Asked(DeleteRecordsRequest("t-0", before)))

    assert alone.replica.log.log_start_offset == then
    assert any(isinstance(fact, LogStartMoved) for fact in alone.facts) is moved


@pytest.mark.parametrize(
    ("leads", "epoch", "error"),
    [
        pytest.param(True, 4, E.FENCED_LEADER_EPOCH, id="leader, older"),
        pytest.param(True, 6, E.UNKNOWN_LEADER_EPOCH, id="leader, newer"),
        pytest.param(True, 5, E.NONE, id="leader, equal"),
        pytest.param(True, -1, E.NONE, id="leader, none given"),
        pytest.param(False, 4, E.FENCED_LEADER_EPOCH, id="follower, older"),
        pytest.param(False, 6, E.UNKNOWN_LEADER_EPOCH, id="follower, newer"),
        pytest.param(False, 5, E.NOT_LEADER_OR_FOLLOWER, id="follower, equal"),
        pytest.param(False, -1, E.NOT_LEADER_OR_FOLLOWER, id="follower, none given"),
    ],
)
def test_the_leader_epoch_is_tested_before_the_role(leads: bool, epoch: int, error: E) -> None:
    """PartitionTest.testFetchOffsetSnapshotEpochValidationFor..., testOffsetForLeaderEpochValidationFor...: RP-10."""
    alone = LoneBroker(partition("b1" if leads else "b2", epoch=5))
    client = alone.client("reader")
    alone.tell(Received(client, ListOffsetsRequest((("t-0", epoch),), "earliest", False)))
    alone.tell(Received(client, OffsetForLeaderEpochRequest((("t-0", epoch, 5),))))
    answers = [*alone.answers(client, ListOffsetsResponse), *alone.answers(client, OffsetForLeaderEpochResponse)]

    assert [answer.results[0][1] for answer in answers] == [error, error]


@pytest.mark.parametrize(
    ("now_is", "code"),
    [
        pytest.param(partition("b2", epoch=1, partition_epoch=1), E.NOT_LEADER_OR_FOLLOWER, id="testDeltaToFollowerCompletesProduce"),
        pytest.param(partition("", epoch=1, partition_epoch=1), E.NOT_LEADER_OR_FOLLOWER, id="testClearPurgatoryOnBecomingFollower, of nobody"),
        pytest.param(partition("b1", epoch=1, partition_epoch=1), None, id="elected again: they wait on"),
        pytest.param(PartitionRecord("t-0", ("b2", "b3"), ("b2", "b3"), (), (), "b2", 1, 1, False), E.NOT_LEADER_OR_FOLLOWER, id="testDeltaLeaderToNotReplica"),
        pytest.param(RemoveTopicRecord("t", 0), E.UNKNOWN_TOPIC_OR_PARTITION, id="testDeltaLeaderToRemovedTopic"),
    ],
)
def test_what_becomes_of_requests_that_wait_for_replicas(now_is: PartitionRecord | RemoveTopicRecord, code: E | None) -> None:
    """ReplicaManagerTest: BP-47."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, 2)
    assert alone.codes(client) == []

    alone.learn(now_is)

    assert alone.codes(client) == ([] if code is None else [code])
    if code is None:
        for follower in ("b2", "b3"):
            alone.fetch(follower, 2, epoch=1, last_epoch=0)
        assert alone.codes(client) == [E.NONE]
