"""One replica: its settings, and where two logs part; and the appends that wait for their commit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ksim_models.config import TopicConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.log import Log
from ksim_models.messages import PartitionRecord, ProduceRequest, ProduceResult, RecordBatch
from ksim_models.parked import OwnAppend, ParkedProduce, own_batch
from ksim_models.replica import Replica


def replica_of(*epochs: tuple[int, int], start: int = 0, topic: str = "t-0", min_isr: int = 1, capped: bool = True) -> Replica:
    """A log of so many records in each epoch."""
    log = Log()
    for epoch, count in epochs:
        for _ in range(count):
            log.append_as_leader(RecordBatch(topic, "p1", range(1), 100), epoch)
    log.log_start_offset = start
    return Replica(topic, log, ("b1", "b2", "b3"), replace(TopicConfig(), min_insync_replicas=min_isr), min_isr_capped=capped)


@pytest.mark.parametrize(("min_isr", "capped", "counts"), [(2, True, 2), (4, True, 3), (4, False, 4)])
def test_min_insync_replicas_is_at_most_the_number_of_replicas_where_the_release_says_so(min_isr: int, capped: bool, counts: int) -> None:
    """BP-26."""
    replica = replica_of(min_isr=min_isr, capped=capped)
    assert replica.min_isr == counts
    replica.configure(("b1",), replica.config)

    assert (replica.min_isr, replica.replicas) == (1 if capped else min_isr, ("b1",))


def test_a_new_replica_has_no_role_and_takes_every_word_that_is_not_older() -> None:
    """RP-59."""
    replica = replica_of()
    assert (replica.leader, replica.leader_epoch, replica.partition_epoch, replica.leadership, replica.topic_id) == ("", -1, -1, None, 0)
    replica.partition_epoch = 4
    records = [PartitionRecord("t-0", ("b1",), ("b1",), (), (), "b1", 0, epoch, False) for epoch in (3, 4, 5)]

    assert [replica.is_news(record) for record in records] == [False, True, True]


@pytest.mark.parametrize(("topic", "internal"), [("t-0", False), ("__consumer_offsets-0", True), ("_schemas-0", False)])
def test_only_the_topics_of_the_coordinators_are_internal(topic: str, internal: bool) -> None:
    assert replica_of(topic=topic).is_internal is internal


@pytest.mark.parametrize(
    ("last_epoch", "offset", "told"),
    [
        pytest.param(5, 7, None, id="RP-32 at the end, in the newest epoch"),
        pytest.param(5, 6, None, id="RP-32 behind it"),
        pytest.param(5, 8, (5, 7), id="RP-32 beyond the end"),
        pytest.param(3, 4, None, id="RP-32 where its epoch ended here"),
        pytest.param(3, 5, (3, 4), id="RP-32 past that"),
        pytest.param(4, 4, (3, 4), id="RP-32 an epoch that is not here: the one before it"),
        pytest.param(4, 2, (3, 4), id="RP-32 however little of it there is"),
        pytest.param(6, 4, (-1, -1), id="RP-32 an epoch newer than all here"),
        pytest.param(-1, 4, None, id="RP-32 it has no epochs"),
        pytest.param(5, 1, (-1, -1), id="RP-32 before the start of this log"),
        pytest.param(-1, 1, (-1, -1), id="RP-32 whatever its epoch"),
        pytest.param(3, 2, None, id="RP-32 at the start of this log"),
    ],
)
def test_where_a_followers_log_left_this_one(last_epoch: int, offset: int, told: tuple[int, int] | None) -> None:
    """Here: epoch 3 up to offset 4, epoch 5 up to 7; the log starts at 2."""
    assert replica_of((3, 4), (5, 3), start=2).diverges(last_epoch, offset) == told


@pytest.mark.parametrize(
    ("epoch", "end", "cut_to"),
    [
        pytest.param(3, 2, 2, id="RP-33 an epoch that is here too: the smaller of both ends"),
        pytest.param(3, 9, 4, id="RP-33 where it ended here"),
        pytest.param(5, 6, 6, id="RP-33 the newest epoch"),
        pytest.param(5, 9, 7, id="RP-33 longer than this log: nothing is cut"),
        pytest.param(4, 6, 4, id="RP-33 an epoch that is not here: where the one before it ended"),
        pytest.param(6, 5, 5, id="RP-33 newer than all here: what the leader says"),
        pytest.param(6, 9, 7, id="RP-33 but not past the end"),
    ],
)
def test_where_a_follower_cuts_its_log(epoch: int, end: int, cut_to: int) -> None:
    replica = replica_of((3, 4), (5, 3))
    replica.truncate_where_diverging(epoch, end)

    assert replica.log.log_end_offset == cut_to


def parked(kind: type[ParkedProduce], acks: int = -1) -> ParkedProduce:
    batches = tuple(RecordBatch(partition, "p1", range(1), 100) for partition in ("t-0", "t-1", "t-2"))
    request = kind("c#1", ProduceRequest(acks, 30_000, batches), 99)
    request.waiting.update({"t-0": (5, 1), "t-1": (6, 2)})
    return request


def test_the_slowest_partition_holds_the_whole_answer() -> None:
    """BP-43: in the order in which they were asked, each with what was known when it was appended."""
    request = parked(ParkedProduce)
    request.results["t-2"] = ProduceResult("t-2", E.NOT_LEADER_OR_FOLLOWER)
    assert request.settle("t-1", E.NONE) is False
    assert request.settle("t-0", E.NOT_LEADER_OR_FOLLOWER, "b2", 7) is True

    assert (request.connection, request.deadline) == ("c#1", 99)
    assert request.response().results == (
        ProduceResult("t-0", E.NOT_LEADER_OR_FOLLOWER, 5, 1, "b2", 7),
        ProduceResult("t-1", E.NONE, 6, 2),
        ProduceResult("t-2", E.NOT_LEADER_OR_FOLLOWER),
    )


@pytest.mark.parametrize(
    ("acks", "given", "told"),
    [
        pytest.param(1, E.NOT_ENOUGH_REPLICAS_AFTER_APPEND, E.NONE, id="GC-9 acks=1: committed is committed"),
        pytest.param(-1, E.NOT_ENOUGH_REPLICAS_AFTER_APPEND, E.NOT_ENOUGH_REPLICAS_AFTER_APPEND, id="GC-9 acks=all"),
        pytest.param(1, E.NOT_LEADER_OR_FOLLOWER, E.NOT_LEADER_OR_FOLLOWER, id="GC-9 another error"),
    ],
)
def test_what_a_brokers_own_append_makes_of_min_insync_replicas(acks: int, given: E, told: E) -> None:
    request = parked(OwnAppend, acks)
    assert request.settle("t-0", given, "b2", 7) is False

    assert request.results["t-0"] == ProduceResult("t-0", told, 5, 1, "b2", 7)
    assert isinstance(request, OwnAppend)
    request.refuse("t-2", E.UNKNOWN_TOPIC_OR_PARTITION)
    assert request.results["t-2"] == ProduceResult("t-2", E.UNKNOWN_TOPIC_OR_PARTITION, -1)


def test_a_coordinators_records_belong_to_no_producer_but_to_a_transaction_where_there_is_one() -> None:
    """GC-9."""
    plain, transactional = (own_batch("__x-0", ("a", "b"), 70, 5, producer) for producer in (None, (7, 3)))

    assert plain == RecordBatch("__x-0", "", range(2), 70, -1, -1, -1, max_timestamp=5, payload=("a", "b"))
    assert transactional == RecordBatch("__x-0", "", range(2), 70, 7, 3, 0, max_timestamp=5, transactional=True, payload=("a", "b"))
