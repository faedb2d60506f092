"""What happens inside a cluster is told by its files: who appended, who copied, what was cut off, who was elected. No broker is needed to write them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ksim.live.book import Book
from ksim.live.clock import Clock
from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.kafka import Installation
from ksim.live.logs import Inside
from ksim.live.processes import Workplace
from ksim_models.facts import Appended, PartitionChanged, Replicated, TopicChanged, Truncated
from live_batches import batch, numbered
from live_metadata import change, ints, partition, removed, topic

BROKERS = ("broker-1", "broker-2", "broker-3")
TO_BROKER_2 = change(leader=2, isr=ints(2, 3))


class Disks:
    """The log directories of a cluster that does not run."""

    def __init__(self, folder: Path) -> None:
        spec = ClusterSpec("4.3.0", tuple((name, ()) for name in BROKERS), ("controller-1",))
        self.cluster = KraftCluster(spec, Installation("4.3.0", "java", folder), Workplace(root=folder))
        self.book = Book(Clock())
        for name in (*BROKERS, "controller-1"):
            self.file(name).parent.mkdir(parents=True)
        self.metadata = b""
        self.decide(topic(), partition())
        self.inside = Inside(self.cluster, {("payments", 0): "payments-0"}, ["p1", "p2"], self.book)
        self.inside.look()

    def file(self, name: str) -> Path:
        folder = "__cluster_metadata-0" if name.startswith("controller") else "payments-0"
        return self.cluster.data(name) / folder / "00000000000000000000.log"

    def decide(self, *records: bytes) -> None:
        """Every batch of the metadata log has an offset of its own."""
        self.metadata += batch(records, base=len(self.metadata))
        self.file("controller-1").write_bytes(self.metadata)

    def write(self, broker: str, *batches: bytes) -> None:
        self.file(broker).write_bytes(b"".join(batches))

    def topic_id(self, broker: str, topic_id: str) -> None:
        (self.file(broker).parent / "partition.metadata").write_text(f"version: 0\ntopic_id: {topic_id}", encoding="utf-8")

    def facts(self) -> list[object]:
        self.inside.look()
        noted = [fact for _, fact in self.book.facts]
        self.book.facts.clear()
        return noted


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    disks = Disks(tmp_path)
    disks.cluster._ports.close()
    disks.book.facts.clear()
    return disks


def test_the_leader_appends_and_the_followers_copy(disks: Disks) -> None:
    for broker in BROKERS:
        disks.write(broker, numbered(0, 1))

    assert disks.facts() == [
        Appended("broker-1", "payments-0", "p1", range(2), 0, 0),
        Replicated("broker-2", "payments-0", 2),
        Replicated("broker-3", "payments-0", 2),
    ]


def test_what_is_seen_on_a_follower_first_was_appended_by_the_leader_before(disks: Disks) -> None:
    disks.write("broker-3", numbered(0))
    early = disks.facts()
    disks.write("broker-1", numbered(0))

    assert early == [Appended("broker-1", "payments-0", "p1", range(1), 0, 0), Replicated("broker-3", "payments-0", 1)]
    assert disks.facts() == []


def test_warm_up_records_are_outside_every_count(disks: Disks) -> None:
    disks.write("broker-1", batch([b"w "]), numbered(0, base=1))

    assert disks.facts() == [Appended("broker-1", "payments-0", "p1", range(1), 1, 0)]


def test_an_election_comes_before_what_the_new_leader_appends(disks: Disks) -> None:
    disks.write("broker-2", numbered(0, epoch=1))
    disks.decide(TO_BROKER_2)

    assert [type(fact) for fact in disks.facts()] == [PartitionChanged, Appended]


def test_a_batch_of_an_epoch_not_heard_of_yet_waits_until_it_is(disks: Disks) -> None:
    disks.write("broker-3", numbered(0, epoch=1))
    early = disks.facts()
    disks.decide(TO_BROKER_2)

    assert early == []
    assert [fact for fact in disks.facts() if not isinstance(fact, PartitionChanged)] == [
        Appended("broker-2", "payments-0", "p1", range(1), 0, 1),
        Replicated("broker-3", "payments-0", 1),
    ]


def test_what_a_follower_cuts_off_is_told(disks: Disks) -> None:
    disks.write("broker-1", numbered(0), numbered(1, base=1))
    disks.facts()
    disks.decide(TO_BROKER_2)
    disks.write("broker-1", numbered(0), numbered(5, base=1, epoch=1))

    facts = disks.facts()

    assert [fact for fact in facts if isinstance(fact, (Truncated, Replicated))] == [
        Truncated("broker-1", "payments-0", 1, 2),
        Replicated("broker-1", "payments-0", 2),
    ]


def test_what_is_appended_to_a_topic_created_again_is_told_from_its_first_offset_on(disks: Disks) -> None:
    for broker in BROKERS[:2]:
        disks.topic_id(broker, "old")
        disks.write(broker, numbered(0), numbered(1, base=1))
    disks.facts()
    disks.decide(removed())
    disks.decide(topic(), partition())
    for broker in BROKERS[:2]:
        folder = disks.file(broker).parent
        folder.rename(folder.with_name("payments-0.1234-delete"))
        folder.mkdir()
        disks.topic_id(broker, "new")
        disks.write(broker, numbered(2))

    facts = disks.facts()

    assert [fact for fact in facts if not isinstance(fact, PartitionChanged)] == [
        TopicChanged("payments", 0, "deleted"),
        TopicChanged("payments", 1, "created"),
        Appended("broker-1", "payments-0", "p1", range(2, 3), 0, 0),
        Replicated("broker-2", "payments-0", 1),
    ]


def test_leader_and_isr_are_those_of_the_metadata_log(disks: Disks) -> None:
    before = disks.inside.leader_of(("payments", 0)), disks.inside.isr_of(("payments", 0))
    disks.decide(TO_BROKER_2)
    disks.facts()

    assert before == ("broker-1", BROKERS)
    assert (disks.inside.leader_of(("payments", 0)), disks.inside.isr_of(("payments", 0))) == ("broker-2", ("broker-2", "broker-3"))


def test_the_last_look_misses_nothing(disks: Disks) -> None:
    disks.write("broker-2", numbered(0, epoch=9))
    asyncio.run(disks.inside.last_look())

    assert [fact for _, fact in disks.book.facts] == [Appended("broker-2", "payments-0", "p1", range(1), 0, 9)]
