"""Internal topics: where a key belongs, how the topic comes into being, what a coordinator writes into it."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode
from ksim_models.internal_topics import java_hash, place_of, written
from ksim_models.machine import Effect
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE, FindCoordinatorRequest
from ksim_models.units import Micros
from small_cluster import SmallCluster


@pytest.mark.parametrize(("text", "expected"), [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", -(1 << 31)), ("\U0001f600", 1772899)])
def test_a_key_is_hashed_as_java_hashes_a_string(text: str, expected: int) -> None:
    assert java_hash(text) == expected


def test_tc_1_the_smallest_hash_belongs_to_the_first_partition() -> None:
    assert place_of("polygenelubricants", 50) == 0
    assert place_of("hello", 50) == 22


@pytest.mark.parametrize(("kind", "topic"), [("transaction", TRANSACTION_STATE), ("group", CONSUMER_OFFSETS)])
def test_tc_2_the_first_request_for_a_coordinator_makes_the_topic_come_into_being(kind: str, topic: str) -> None:
    cluster = SmallCluster()

    first = cluster.ask("broker-2", FindCoordinatorRequest(kind, "hello"))
    cluster.run_for(500)

    assert first.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert cluster.find(kind, "hello") == cluster.controller.leader_of(f"{topic}-22")
    assert len(cluster.controller.partitions_of(topic)) == 50
    assert {len(cluster.controller.isr_of(partition)) for partition in cluster.controller.partitions_of(topic)} == {3}


def test_tc_2_with_too_few_brokers_there_never_is_a_coordinator() -> None:
    cluster = SmallCluster(brokers=1)

    answers = []
    for _ in range(5):
        answers.append(cluster.ask("broker-1", FindCoordinatorRequest("transaction", "hello")).error)
        cluster.run_for(500)

    assert answers == [ErrorCode.COORDINATOR_NOT_AVAILABLE] * 5


class Book:
    """What became of own appends."""

    def __init__(self, cluster: SmallCluster) -> None:
        self.cluster = cluster
        self.told: list[tuple[ErrorCode, int, Micros]] = []
        self.partition = f"{TRANSACTION_STATE}-{place_of('hello', 50)}"
        self.leader = cluster.find("transaction", "hello")

    def tell(self, error: ErrorCode, offset: int, now: Micros, out: list[Effect]) -> None:
        self.told.append((error, offset, now))

    def append(self, what: str, *, acks: int = -1, timeout_ms: int = 5_000) -> None:
        """By who led the partition at first, as if something had just happened to it."""
        cell = self.cluster.loop.cells[self.leader]
        broker = self.cluster.brokers[self.leader]
        out: list[Effect] = []
        broker.leading.append_internal(self.partition, (what,), 100, acks=acks, timeout_ms=timeout_ms, then=self.tell, now=self.cluster.now, out=out)
        broker._settle(self.cluster.now, out)
        self.cluster.loop._carry_out(cell, out, self.cluster.now)

    @property
    def followers(self) -> list[str]:
        return [name for name in self.cluster.names if name != self.leader]


@pytest.mark.parametrize("acks", [-1, 1])
def test_tc_3_an_own_append_is_told_when_it_is_replicated_and_stands_in_every_log(acks: int) -> None:
    book = Book(SmallCluster())

    book.append("first", acks=acks)
    book.append("second", acks=acks)
    began = book.cluster.now
    book.cluster.run_for(1_500)

    assert [(error, offset) for error, offset, _ in book.told] == [(ErrorCode.NONE, 0), (ErrorCode.NONE, 1)]
    assert book.told[0][2] > began
    for broker in book.cluster.brokers.values():
        assert [(offset, batch.payload) for offset, batch in written(broker.logs[book.partition])] == [(0, ("first",)), (1, ("second",))]


def test_tc_4_below_min_isr_an_own_append_with_acks_all_is_refused_and_one_with_acks_1_waits() -> None:
    """GC-9: it times out after all, but stands in the log, and is committed once the ISR is back."""
    book = Book(SmallCluster(offsets_topic_replication_factor=3))
    for name in book.followers:
        book.cluster.crash(name)
    book.cluster.run_for(12_000)

    book.append("refused")
    book.append("waits", acks=1)
    book.cluster.run_for(6_000)

    assert [(error, offset) for error, offset, _ in book.told] == [(ErrorCode.NOT_ENOUGH_REPLICAS, -1), (ErrorCode.REQUEST_TIMED_OUT, 0)]
    assert book.told[1][2] - book.told[0][2] == 5_000_000
    assert [batch.payload for _, batch in written(book.cluster.brokers[book.leader].logs[book.partition])] == [("waits",)]


def test_tc_4_who_loses_the_leadership_is_told_for_its_own_appends_too() -> None:
    book = Book(SmallCluster())
    cluster = book.cluster
    for name in cluster.names:
        if name != book.leader:
            cluster.loop.cut(name, book.leader)
            cluster.loop.cut(book.leader, name)
    book.append("alone", timeout_ms=120_000)

    cluster.controller._replication.broker_leaves(book.leader, "test", cluster.now)
    cluster.loop.wake("controller-1")
    cluster.run_for(3_000)

    assert [error for error, _, _ in book.told] == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
