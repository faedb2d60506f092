"""What a leader tells its followers: the gates before a read, what an answer holds, and what waits for the next one."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.fetch_session import FetchSession
from ksim_models.machine import Closed, Opened, Received
from ksim_models.messages import BrokerRecord, FetchedPartition, FetchPartition, FetchRequest, FetchResponse, PartitionRecord
from ksim_models.units import ms
from lone_broker import BROKERS, LoneBroker, partition

B2 = "b2->b1#1"


def told(leader: LoneBroker) -> list[FetchedPartition]:
    """What the last answer says."""
    answer = leader.answers(B2, FetchResponse)[-1]
    assert isinstance(answer, FetchResponse)
    return list(answer.partitions)


def ask(leader: LoneBroker, *positions: tuple[str, int], full: bool = False, forgotten: tuple[str, ...] = (), last_epoch: int = 0) -> int:
    """Answers so far, behind a fetch of b2."""
    if B2 not in leader.broker.inbound:
        leader.tell(Opened(B2, "b2", True))
    at = tuple(FetchPartition(name, offset, 0, last_epoch if offset else -1) for name, offset in positions)
    leader.tell(Received(B2, FetchRequest("b2", 2, full, at, forgotten, 500)))
    return len(leader.answers(B2, FetchResponse))


def test_nothing_is_told_of_a_partition_that_a_fetch_forgets() -> None:
    """KIP-227: neither what is new in it nor that its high watermark moved."""
    session = FetchSession(B2, FetchRequest("b2", 2, True, (), (), 500))
    positions = tuple(FetchPartition(f"t-{number}", 0, 0, -1) for number in range(2))
    session.take(FetchRequest("b2", 2, True, positions, (), 500), 7)
    session.high_watermarks.update(dict.fromkeys(("t-0", "t-1")))
    session.take(FetchRequest("b2", 2, False, (), ("t-0",), 500), 9)

    assert (list(session.positions), list(session.news), list(session.high_watermarks)) == (["t-1"], ["t-1"], ["t-1"])
    assert session.fetched_at == 9
    session.take(FetchRequest("b2", 2, True, (), (), 500), 9)
    assert [*session.positions, *session.news, *session.high_watermarks] == []


def two_epochs() -> LoneBroker:
    """b1 led epoch 0 up to offset 3 and epoch 2 up to 5."""
    leader = LoneBroker()
    client = leader.client()
    for _ in range(3):
        leader.produce(client, acks=1)
    leader.learn(partition(epoch=2, partition_epoch=1))
    for _ in range(2):
        leader.produce(client, acks=1)
    return leader


@pytest.mark.parametrize(
    ("offset", "last_epoch", "says"),
    [
        pytest.param(5, 2, None, id="RP-80 at the end: nothing yet"),
        pytest.param(4, 2, (E.NONE, [4], -1, -1), id="RP-2 behind it"),
        pytest.param(6, 2, (E.NONE, [], 2, 5), id="RP-32 beyond it in the newest epoch: it parts there"),
        pytest.param(3, 0, (E.NONE, [3, 4], -1, -1), id="RP-32 where the older epoch ended"),
        pytest.param(4, 0, (E.NONE, [], 0, 3), id="RP-32 past that"),
        pytest.param(4, 1, (E.NONE, [], 0, 3), id="RP-32 an epoch that never was here"),
        pytest.param(4, 3, (E.OFFSET_OUT_OF_RANGE, [], -1, -1), id="RP-32 an epoch newer than all here"),
        pytest.param(9, -1, (E.OFFSET_OUT_OF_RANGE, [], -1, -1), id="RP-12 beyond the end, without an epoch"),
    ],
)
def test_what_a_fetch_finds(offset: int, last_epoch: int, says: tuple[E, list[int], int, int] | None) -> None:
    leader = two_epochs()
    leader.fetch("b2", offset, epoch=2, last_epoch=last_epoch)
    if says is None:
        assert leader.answers(B2, FetchResponse) == []
        return

    (entry,) = told(leader)
    offsets = [batch.base_offset for batch in entry.batches]
    assert (entry.error, offsets, entry.diverging_epoch, entry.diverging_end_offset) == says
    refused = entry.error is not E.NONE
    assert (entry.high_watermark, entry.log_start_offset, entry.log_end_offset) == ((-1, 0, 5) if refused else (0, 0, -1)), "RP-36"


@pytest.mark.parametrize(
    ("position", "broker_epoch", "error"),
    [
        pytest.param(FetchPartition("t-0", 0, 1, -1), 2, E.FENCED_LEADER_EPOCH, id="RP-10 an older leader epoch"),
        pytest.param(FetchPartition("t-0", 0, 3, -1), 2, E.UNKNOWN_LEADER_EPOCH, id="RP-10 a newer one"),
        pytest.param(FetchPartition("t-0", 0, 2, -1, 9), 2, E.INCONSISTENT_TOPIC_ID, id="KC-73 another topic of this name"),
        pytest.param(FetchPartition("t-0", 0, 2, -1), 1, E.NOT_LEADER_OR_FOLLOWER, id="RP-11 an earlier life of the follower"),
        pytest.param(FetchPartition("t-0", 9, 2, -1), 1, E.OFFSET_OUT_OF_RANGE, id="RP-12 an earlier life, behind the end: what the log says comes first"),
        pytest.param(FetchPartition("t-0", 4, 2, 0), 1, E.NONE, id="RP-12 an earlier life whose log is another: told where they part"),
        pytest.param(FetchPartition("t-0", 0, 2, -1), 3, E.NONE, id="RP-11 one that this broker has not heard of yet"),
        pytest.param(FetchPartition("t-0", 0, 2, -1), -1, E.NONE, id="RP-11 a follower that names no epoch"),
        pytest.param(FetchPartition("t-9", 0, 2, -1), 2, E.UNKNOWN_TOPIC_OR_PARTITION, id="BP-22 no such partition"),
    ],
)
def test_the_gates_before_a_read(position: FetchPartition, broker_epoch: int, error: E) -> None:
    leader = two_epochs()
    leader.tell(Opened(B2, "b2", True))
    leader.tell(Received(B2, FetchRequest("b2", broker_epoch, True, (position,), (), 500)))

    assert [entry.error for entry in told(leader)] == [error]


@pytest.mark.parametrize(("kafka", "error", "high_watermark"), [("3.6", [], 1), ("3.7", [E.NOT_LEADER_OR_FOLLOWER], 0)])
def test_rp_12_a_fetch_of_an_earlier_life_counts_before_3_7(kafka: str, error: list[E], high_watermark: int) -> None:
    """KAFKA-15221: it was sent before the follower lost what it had."""
    leader = LoneBroker(partition(isr=("b1", "b2")), kafka=kafka)
    leader.produce(leader.client(), acks=1)
    leader.learn(BrokerRecord("b2", 9, fenced=False))
    leader.fetch("b2", 1)

    assert [entry.error for answer in leader.answers(B2, FetchResponse) for entry in answer.partitions] == error
    assert leader.replica.log.high_watermark == high_watermark


def test_who_holds_no_replica_is_told_that_the_epoch_is_unknown() -> None:
    """RP-10: the broker may not have heard of it yet."""
    leader = LoneBroker()
    leader.tell(Opened("b9->b1#1", "b9", True))
    leader.tell(Received("b9->b1#1", FetchRequest("b9", 9, True, (FetchPartition("t-0", 0, 0, -1),), (), 500)))

    assert [entry.error for answer in leader.answers("b9->b1#1", FetchResponse) for entry in answer.partitions] == [E.UNKNOWN_LEADER_EPOCH]


def two_partitions(**config: Any) -> tuple[LoneBroker, str]:
    leader = LoneBroker(**config)
    leader.learn(PartitionRecord("t-1", BROKERS, BROKERS, (), (), "b1", 0, 0, False))
    return leader, leader.client()


def test_what_found_no_room_is_told_with_the_next_answer() -> None:
    """RP-2, RP-80: the first partition may fill an answer alone."""
    leader, client = two_partitions(replica_fetch_response_max_bytes=100)
    leader.produce(client, acks=1)
    leader.produce(client, acks=1, name="t-1")
    assert ask(leader, ("t-0", 0), ("t-1", 0), full=True) == 1
    assert [entry.partition for entry in told(leader)] == ["t-0"]
    assert ask(leader, ("t-0", 1)) == 2
    assert [entry.partition for entry in told(leader)] == ["t-1"]

    assert ask(leader, ("t-1", 1)) == 2, "and then there is nothing more"


def test_a_byte_of_room_is_room_for_a_batch() -> None:
    """RP-2: with 101 bytes the second partition has its batch in the same answer."""
    leader, client = two_partitions(replica_fetch_response_max_bytes=101)
    leader.produce(client, acks=1)
    leader.produce(client, acks=1, name="t-1")
    ask(leader, ("t-0", 0), ("t-1", 0), full=True)

    assert [entry.partition for entry in told(leader)] == ["t-0", "t-1"]


def test_a_high_watermark_that_moved_is_told_with_the_next_answer_and_is_no_reason_for_one() -> None:
    """RP-5, RP-6, RP-80."""
    leader, client = two_partitions()
    leader.produce(client, acks=1)
    assert ask(leader, ("t-0", 0), ("t-1", 0), full=True) == 1
    assert ask(leader, ("t-0", 1)) == 1, "b2 is at the end and waits"
    leader.fetch("b3", 1, last_epoch=0)
    assert leader.replica.log.high_watermark == 1
    assert len(leader.answers(B2, FetchResponse)) == 1, "the high watermark moved: b2 waits on"
    leader.produce(client, acks=1, name="t-1")

    assert [(entry.partition, entry.high_watermark, entry.log_start_offset, len(entry.batches)) for entry in told(leader)] == [
        ("t-1", 0, 0, 1),
        ("t-0", 1, 0, 0),
    ]


def test_a_parked_fetch_is_answered_with_nothing_when_its_time_is_over() -> None:
    """RP-80: replica.fetch.wait.max.ms, to the moment; and once."""
    leader = LoneBroker()
    ask(leader, ("t-0", 0), full=True)
    leader.until(ms(499))
    assert leader.answers(B2, FetchResponse) == []
    leader.until(ms(500))
    assert [answer.partitions for answer in leader.answers(B2, FetchResponse)] == [()]
    leader.produce(leader.client(), acks=1)

    assert len(leader.answers(B2, FetchResponse)) == 1, "what came since is told to the next fetch"
    assert ask(leader) == 2
    assert [len(entry.batches) for entry in told(leader)] == [1]


def test_a_partition_that_is_forgotten_is_told_of_no_more() -> None:
    """KIP-227."""
    leader, client = two_partitions()
    ask(leader, ("t-0", 0), ("t-1", 0), full=True)
    leader.until(ms(500))
    assert ask(leader, forgotten=("t-0",)) == 1
    leader.produce(client, acks=1)
    assert len(leader.answers(B2, FetchResponse)) == 1
    leader.produce(client, acks=1, name="t-1")

    assert [entry.partition for entry in told(leader)] == ["t-1"]


def test_a_session_ends_with_its_connection() -> None:
    leader = LoneBroker()
    ask(leader, ("t-0", 0), full=True)
    assert list(leader.broker.leading.sessions) == [B2]
    leader.tell(Closed(B2))
    assert not leader.broker.leading.sessions
    leader.produce(leader.client(), acks=1)

    assert leader.answers(B2, FetchResponse) == []


def test_a_follower_that_registered_anew_is_fenced_off_from_its_earlier_life() -> None:
    """RP-11, KIP-903."""
    leader = LoneBroker()
    ask(leader, ("t-0", 0), full=True)
    leader.learn(BrokerRecord("b2", 7, fenced=False))
    leader.produce(leader.client(), acks=1)

    assert [entry.error for entry in told(leader)] == [E.NOT_LEADER_OR_FOLLOWER]
