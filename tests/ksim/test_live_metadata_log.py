"""The metadata log tells elections, the ISR and fencing, in every version of its records that brokers of 3.3 to 4.3 write."""

from __future__ import annotations

import struct

import pytest

from ksim.live.metadata_log import MetadataImage
from ksim_models.facts import BrokerChanged, PartitionChanged, TopicChanged
from live_batches import batch
from live_metadata import NO_TAGS, TOPIC_ID, change, ints, partition, record, registered, registration_change, removed, tags, topic

NAMES = {1: "broker-1", 2: "broker-2", 3: "broker-3"}


@pytest.fixture
def image() -> MetadataImage:
    image = MetadataImage(NAMES)
    assert list(image.read(batch([topic(), partition()]))) == []
    return image


def told(image: MetadataImage, *records: bytes) -> list[PartitionChanged | BrokerChanged | TopicChanged]:
    return [fact[2] if isinstance(fact, tuple) else fact for fact in image.read(batch(records))]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_new_partition_is_known_with_its_leader(version: int) -> None:
    image = MetadataImage(NAMES)
    list(image.read(batch([topic(), partition(version)])))

    known = image.partitions["payments", 0]
    assert (known.leader, known.isr, known.replicas) == (1, (1, 2, 3), (1, 2, 3))
    assert image.leaders == {("payments", 0, 0): 1}


def test_a_topic_that_is_created_again_is_news(image: MetadataImage) -> None:
    gone = told(image, removed())
    there = told(image, topic(), partition())

    assert gone == [TopicChanged("payments", 0, "deleted")]
    assert there == [
        TopicChanged("payments", 1, "created"),
        PartitionChanged("", "broker-1", 0, ("broker-1", "broker-2", "broker-3"), (), 0, False, "created on demand"),
    ]


def test_a_shrinking_isr_raises_the_partition_epoch_only(image: MetadataImage) -> None:
    expected = PartitionChanged("", "broker-1", 0, ("broker-1", "broker-2"), (), 1, False, "AlterPartition by broker-1")

    assert told(image, change(isr=ints(1, 2))) == [expected]


def test_an_election_raises_the_leader_epoch_too(image: MetadataImage) -> None:
    expected = PartitionChanged("", "broker-2", 1, ("broker-2", "broker-3"), (), 1, False, "election")

    assert told(image, change(isr=ints(2, 3), leader=2)) == [expected]
    assert image.leaders["payments", 0, 1] == 2


def test_a_partition_may_be_without_a_leader(image: MetadataImage) -> None:
    (fact,) = told(image, change(isr=ints(1), leader=-1))

    assert isinstance(fact, PartitionChanged)
    assert (fact.leader, fact.leader_epoch) == ("", 1)


def test_a_leader_from_outside_the_isr_is_unclean(image: MetadataImage) -> None:
    told(image, change(isr=ints(1)))
    (fact,) = told(image, change(isr=ints(3), leader=3, tag_5=b"\x01"))

    assert isinstance(fact, PartitionChanged)
    assert fact.unclean


def test_a_leader_out_of_the_elr_is_clean(image: MetadataImage) -> None:
    told(image, change(2, isr=ints(1), tag_6=ints(2, 3)))
    (fact,) = told(image, change(2, isr=ints(2), leader=2, tag_6=ints(3)))

    assert isinstance(fact, PartitionChanged)
    assert (fact.unclean, fact.elr) == (False, ("broker-3",))


def test_the_return_of_the_last_known_leader_is_unclean(image: MetadataImage) -> None:
    told(image, change(2, isr=ints(), leader=-1, tag_7=ints(1)))
    (fact,) = told(image, change(2, isr=ints(1), leader=1, tag_5=b"\x01", tag_7=ints()))

    assert isinstance(fact, PartitionChanged)
    assert (fact.unclean, fact.leader, fact.isr) == (True, "broker-1", ("broker-1",))


def test_who_leaves_the_isr_because_it_is_fenced_is_named(image: MetadataImage) -> None:
    told(image, record(8, 0, struct.pack(">iq", 1, 50) + NO_TAGS))
    facts = told(image, change(isr=ints(2, 3), leader=2), registration_change(1, 1))

    assert [fact.why for fact in facts if isinstance(fact, PartitionChanged)] == ["fenced broker-1"]
    assert [fact for fact in facts if isinstance(fact, BrokerChanged)] == [BrokerChanged("broker-1", 50, "fenced")]


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_a_broker_registers_and_is_unfenced(image: MetadataImage, version: int) -> None:
    facts = told(image, registered(2, version)) + told(image, registration_change(2, -1))

    assert facts == [BrokerChanged("broker-2", 51, "registered"), BrokerChanged("broker-2", 50, "unfenced")]


def test_a_controlled_shutdown_alone_fences_nobody(image: MetadataImage) -> None:
    shutting_down = record(17, 1, struct.pack(">iq", 2, 50) + tags(tag_1=b"\x01"))

    assert told(image, shutting_down) == []


def test_a_topic_that_was_removed_is_forgotten(image: MetadataImage) -> None:
    told(image, record(9, 0, TOPIC_ID.bytes + NO_TAGS))

    assert image.partitions == {}
    assert told(image, change(isr=ints(1))) == []


def test_records_of_other_kinds_are_passed_over(image: MetadataImage) -> None:
    assert told(image, record(20, 0, NO_TAGS), record(12, 0, b"\x11" * 40)) == []
