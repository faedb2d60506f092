"""What a broker believes about the cluster."""

from __future__ import annotations

from ksim_models.errors import ErrorCode as E
from ksim_models.image import Image
from ksim_models.messages import BrokerRecord, MetadataRecord, PartitionMetadata, TopicRecord
from lone_broker import partition

FORMED: list[MetadataRecord] = [BrokerRecord("b1", 1, False), BrokerRecord("b2", 2, False), BrokerRecord("b3", 3, False), TopicRecord("t", 1, ()), partition()]


def test_two_brokers_that_stand_at_different_places_of_the_log_name_two_leaders() -> None:
    """KC-81."""
    ahead, behind = Image(), Image()
    ahead.apply([*FORMED, partition("b2", epoch=1, partition_epoch=1)])
    behind.apply(FORMED)

    assert [image.describe(["t"]).topics[0].partitions[0].leader for image in (ahead, behind)] == ["b2", "b1"]


def test_of_several_records_about_a_partition_only_the_last_is_acted_upon() -> None:
    changed = Image().apply([*FORMED, partition("b2", epoch=1), partition("b3", epoch=2)])

    assert [record.leader for record in changed.partitions.values()] == ["b3"]


def test_what_a_client_is_told() -> None:
    """KC-83: fenced brokers are not named; a leader that is none, or fenced, is LEADER_NOT_AVAILABLE with its epoch; a topic nobody knows is unknown."""
    image = Image()
    image.apply(FORMED)
    fenced = BrokerRecord("b1", 1, fenced=True)
    image.apply([fenced])
    answer = image.describe(["t", "u"])
    assert answer.brokers == ("b2", "b3")
    assert answer.topics[0].partitions == (PartitionMetadata("t-0", E.LEADER_NOT_AVAILABLE, "", 0),)
    assert answer.topics[1].error is E.UNKNOWN_TOPIC_OR_PARTITION

    image.apply([partition("", epoch=1)])
    assert image.describe(["t"]).topics[0].partitions == (PartitionMetadata("t-0", E.LEADER_NOT_AVAILABLE, "", 1),)


def test_only_the_incarnation_it_knows_may_join_an_isr() -> None:
    """RP-22 (KIP-841, KIP-903): -1 is a follower too old to tell its epoch."""
    image = Image()
    image.apply(FORMED)

    assert [image.is_isr_eligible("b2", epoch) for epoch in (2, 1, 3, -1)] == [True, False, False, True]
    assert not image.is_isr_eligible("b9", -1)
