"""What a broker tells consumers: how far they may read, when a fetch waits, where a log begins and ends, and what it no longer holds."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode
from ksim_models.machine import Received
from ksim_models.messages import NO_OFFSET, ProduceRequest, RecordBatch
from ksim_models.transaction_messages import (
    ConsumerFetchedPartition,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from ksim_models.units import ms
from lone_broker import LoneBroker, partition

MEGABYTE = 1_048_576


class Reader:
    """A consumer's connection, played by hand."""

    def __init__(self, alone: LoneBroker, name: str = "reader") -> None:
        self.alone = alone
        self.connection = alone.client(name)

    def fetch(self, offset: int, *, epoch: int = 0, partition: str = "t-0", **limits: Any) -> None:
        given = {"read_committed": False, "max_wait_ms": 500, "min_bytes": 1, "max_bytes": 50 * MEGABYTE, "max_partition_bytes": MEGABYTE} | limits
        self.alone.tell(Received(self.connection, ConsumerFetchRequest((ConsumerFetchPartition(partition, offset, epoch),), **given)))

    def fetched(self) -> list[ConsumerFetchedPartition]:
        return [answer.partitions[0] for answer in self.alone.answers(self.connection, ConsumerFetchResponse)]

    def ask(self, request: object, kind: type) -> Any:
        self.alone.tell(Received(self.connection, request))
        return self.alone.answers(self.connection, kind)[-1].results[0][1:]


def committed(alone: LoneBroker, offset: int) -> None:
    """Both followers have everything below it."""
    for follower in ("b2", "b3"):
        alone.fetch(follower, offset, last_epoch=0 if offset else -1, full=False)


def filled(batches: int, count: int = 1, size: int = 100, **config: Any) -> LoneBroker:
    """A leader whose log is committed to its end."""
    alone = LoneBroker(**config)
    client = alone.client()
    for follower in ("b2", "b3"):
        alone.fetch(follower, 0)
    for _ in range(batches):
        alone.produce(client, count, acks=1, size=size)
    committed(alone, batches * count)
    return alone


def test_a_consumer_is_told_what_lies_below_the_high_watermark_and_not_more() -> None:
    """CV-1, RP-81."""
    alone = filled(2)
    alone.produce(alone.client("p2"), acks=1)
    reader = Reader(alone)
    reader.fetch(0)

    (told,) = reader.fetched()
    assert [batch.base_offset for batch in told.batches] == [0, 1]
    assert (told.high_watermark, told.last_stable_offset, told.log_start_offset) == (2, 2, 0)


def test_a_fetch_between_high_watermark_and_log_end_waits_and_is_answered_without_an_error() -> None:
    """CV-6, RP-82."""
    alone = filled(1)
    alone.produce(alone.client("p2"), acks=1)
    reader = Reader(alone)
    reader.fetch(2)

    assert reader.fetched() == []
    alone.until(alone.now + ms(500))
    assert [(told.error, told.batches) for told in reader.fetched()] == [(ErrorCode.NONE, ())]


@pytest.mark.parametrize("offset", [-1, 3])
def test_a_fetch_outside_the_log_is_out_of_range(offset: int) -> None:
    """CV-6."""
    reader = Reader(filled(2))
    reader.fetch(offset)

    assert [told.error for told in reader.fetched()] == [ErrorCode.OFFSET_OUT_OF_RANGE]


def test_a_fetch_that_waits_is_answered_when_more_is_committed_not_when_it_is_appended() -> None:
    alone = filled(1)
    reader = Reader(alone)
    reader.fetch(1)
    alone.produce(alone.client("p2"), acks=1)

    assert reader.fetched() == []
    committed(alone, 2)
    assert [[batch.base_offset for batch in told.batches] for told in reader.fetched()] == [[1]]


def test_a_fetch_waits_for_fetch_min_bytes() -> None:
    alone = filled(1, size=100)
    reader = Reader(alone)
    reader.fetch(0, min_bytes=150)

    assert reader.fetched() == []
    alone.produce(alone.client("p2"), acks=1, size=100)
    committed(alone, 2)
    assert [len(told.batches) for told in reader.fetched()] == [2]


def test_the_first_batch_is_told_however_large_it_is() -> None:
    """KIP-74: or a consumer would stand still before it."""
    reader = Reader(filled(3, size=1000))
    reader.fetch(0, max_partition_bytes=10)
    reader.fetch(0, max_bytes=2000)

    assert [len(told.batches) for told in reader.fetched()] == [1, 2]


@pytest.mark.parametrize(("epoch", "error"), [(4, ErrorCode.FENCED_LEADER_EPOCH), (6, ErrorCode.UNKNOWN_LEADER_EPOCH), (5, ErrorCode.NONE)])
def test_a_fetch_names_the_leader_epoch_that_it_believes_in(epoch: int, error: ErrorCode) -> None:
    """CV-10."""
    alone = LoneBroker(partition(epoch=5))
    reader = Reader(alone)
    reader.fetch(0, epoch=epoch, max_wait_ms=0)

    assert [told.error for told in reader.fetched()] == [error]


@pytest.mark.parametrize(("kafka", "named"), [("3.6", ("", -1)), ("3.7", ("b2", 1))])
def test_who_does_not_lead_names_the_leader_that_it_knows_since_3_7(kafka: str, named: tuple[str, int]) -> None:
    """KIP-951, and for a fetch that waited too."""
    alone = LoneBroker(partition(), kafka=kafka)
    reader = Reader(alone)
    reader.fetch(0)
    alone.learn(partition("b2", epoch=1, partition_epoch=1))

    (told,) = reader.fetched()
    assert (told.error, told.leader, told.leader_epoch) == (ErrorCode.FENCED_LEADER_EPOCH, *named)


def test_a_partition_that_is_not_there() -> None:
    reader = Reader(LoneBroker())
    reader.fetch(0, partition="other-0")

    assert [told.error for told in reader.fetched()] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


def test_logs_begin_at_their_start_and_end_at_the_high_watermark() -> None:
    alone = filled(2)
    alone.produce(alone.client("p2"), acks=1)
    reader = Reader(alone)

    assert reader.ask(ListOffsetsRequest((("t-0", 0),), "earliest", False), ListOffsetsResponse) == (ErrorCode.NONE, 0, 0)
    assert reader.ask(ListOffsetsRequest((("t-0", 0),), "latest", False), ListOffsetsResponse) == (ErrorCode.NONE, 2, 0)


def test_bv_131_bv_132_a_new_leader_finds_by_time_what_it_knows_to_be_committed() -> None:
    """PartitionTest.testMonotonicOffsetsAfterLeaderChange: RP-27 holds for what would lie behind the high watermark, and for what is nowhere."""
    alone = LoneBroker(partition(epoch=8, isr=("b1", "b3")))
    written = []
    for count in (2, 3):
        alone.until(alone.now + ms(10))
        written.append(alone.now)
        batch = RecordBatch("t-0", "p1", range(count), 100, max_timestamp=alone.now)
        alone.tell(Received(alone.client(f"p{count}"), ProduceRequest(1, 30_000, (batch,))))
    for follower in ("b2", "b3"):
        for offset in (0, 2):
            alone.fetch(follower, offset, epoch=8, last_epoch=8 if offset else -1)
    alone.learn(partition("b3", epoch=9, partition_epoch=1, isr=("b1", "b3")))
    alone.learn(partition("b1", epoch=10, partition_epoch=2, isr=("b1", "b3")))
    reader = Reader(alone)

    def since(moment: int) -> object:
        return reader.ask(ListOffsetsRequest((("t-0", 10),), "since", False, moment), ListOffsetsResponse)

    too_early = (ErrorCode.OFFSET_NOT_AVAILABLE, NO_OFFSET, -1)
    assert [since(moment) for moment in (written[0], written[1], written[1] + 1)] == [(ErrorCode.NONE, 0, 8), too_early, too_early]
    for follower in ("b2", "b3"):
        alone.fetch(follower, 5, epoch=10, last_epoch=8)
    assert [since(moment) for moment in (written[0], written[1], written[1] + 1)] == [
        (ErrorCode.NONE, 0, 8),
        (ErrorCode.NONE, 2, 8),
        (ErrorCode.NONE, NO_OFFSET, -1),
    ]


def test_rp_27_a_new_leader_that_does_not_know_its_high_watermark_yet_says_so() -> None:
    """It may lie below what a consumer has been told before."""
    alone = filled(2)
    alone.produce(alone.client("p2"), acks=1)
    alone.learn(partition("b2", epoch=1, partition_epoch=1))
    alone.learn(partition("b1", epoch=2, partition_epoch=2))
    reader = Reader(alone)

    assert reader.ask(ListOffsetsRequest((("t-0", 2),), "latest", False), ListOffsetsResponse) == (ErrorCode.OFFSET_NOT_AVAILABLE, NO_OFFSET, -1)
    assert reader.ask(ListOffsetsRequest((("t-0", 2),), "earliest", False), ListOffsetsResponse) == (ErrorCode.NONE, 0, 0)


def test_where_an_epoch_ended_in_this_log() -> None:
    """CV-8."""
    alone = filled(2)
    alone.learn(partition("b1", epoch=3, partition_epoch=1))
    alone.produce(alone.client("p2"), acks=1)
    reader = Reader(alone)

    def ask(epoch: int) -> object:
        return reader.ask(OffsetForLeaderEpochRequest((("t-0", 3, epoch),)), OffsetForLeaderEpochResponse)

    assert ask(0) == (ErrorCode.NONE, 0, 2)
    assert ask(2) == (ErrorCode.NONE, 0, 2)
    assert ask(3) == (ErrorCode.NONE, 3, 3)
    assert ask(4) == (ErrorCode.NONE, -1, -1)
