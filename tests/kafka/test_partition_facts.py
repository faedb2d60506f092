"""What Kafka's own tests of a partition's leader say beyond the vectors of sections E and F: one row, one fact.

Kafka: PartitionTest, ReplicaTest, IsrExpirationTest, ReplicaManagerTest, AlterPartitionManagerTest.
"""

from __future__ import annotations

from ksim_models.isr import LONG_AGO, Leadership
from ksim_models.messages import AlterPartitionRequest, BrokerRecord
from ksim_models.units import s
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
