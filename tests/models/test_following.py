"""What a follower does: fetch, append, cut, wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import LogStartMoved, Replicated, Truncated
from ksim_models.machine import Closed, Received
from ksim_models.messages import FetchedPartition, FetchRequest, FetchResponse, PartitionRecord, RecordBatch
from ksim_models.units import ms, s
from lone_broker import BROKERS, LoneBroker, partition


class Follower(LoneBroker):
    """b1 follows b2."""

    def __init__(self, *, epoch: int = 0, kafka: str = "4.3", **config: Any) -> None:
        super().__init__(partition("b2", epoch=epoch), kafka=kafka, **config)
        self.accept_opens()

    @property
    def fetches(self) -> list[FetchRequest]:
        return [message for _, message in self.sent if isinstance(message, FetchRequest)]

    @property
    def connection(self) -> str:
        """Of the last fetch."""
        return next(to for to, message in reversed(self.sent) if isinstance(message, FetchRequest))

    def answer(self, *entries: FetchedPartition) -> None:
        self.tell(Received(self.connection, FetchResponse(entries)))

    def data(self, count: int, *, epoch: int = 0, high_watermark: int = 0, producer_id: int = -1) -> None:
        """A batch for each record; where a producer has an id, the offsets are its sequences."""
        end = self.replica.log.log_end_offset
        batches = tuple(RecordBatch("t-0", "p1", range(n, n + 1), 100, producer_id, 0, n, n, epoch) for n in range(end, end + count))
        self.answer(FetchedPartition("t-0", E.NONE, high_watermark, 0, batches))

    def follow_too(self) -> None:
        """t-1, from the same leader."""
        self.learn(PartitionRecord("t-1", BROKERS, BROKERS, (), (), "b2", 0, 0, False))

    def named_from(self, number: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """What each fetch names, and what it forgets, from this one on."""
        return [(tuple(position.partition for position in fetch.partitions), fetch.forgotten) for fetch in self.fetches[number:]]


def test_one_fetch_at_a_time_from_the_log_end() -> None:
    """RP-1, RP-3, RP-4: the next goes as soon as the last is answered."""
    follower = Follower()
    assert len(follower.fetches) == 1
    follower.data(3)

    assert [[position.fetch_offset for position in fetch.partitions] for fetch in follower.fetches] == [[0], [3]]
    assert follower.facts[-1] == Replicated("b1", "t-0", 3)


def test_an_empty_answer_is_followed_by_a_fetch_that_names_nothing() -> None:
    """RP-2, KIP-227: the session knows the rest."""
    follower = Follower()
    follower.answer()

    assert (follower.fetches[-1].full, follower.fetches[-1].partitions) == (False, ())


@pytest.mark.parametrize(("leaders", "own"), [(2, 2), (9, 3), (0, 0)])
def test_the_high_watermark_is_the_leaders_but_not_beyond_the_own_log(leaders: int, own: int) -> None:
    """RP-4; RP-21: it may step back."""
    follower = Follower()
    follower.data(3, high_watermark=3)
    follower.answer(FetchedPartition("t-0", E.NONE, leaders, 0))

    assert follower.replica.log.high_watermark == own


@pytest.mark.parametrize("error", [E.NOT_LEADER_OR_FOLLOWER, E.UNKNOWN_LEADER_EPOCH, E.UNKNOWN_TOPIC_OR_PARTITION])
def test_an_error_of_a_partition_delays_only_its_next_fetch(error: E) -> None:
    """RP-7: by replica.fetch.backoff.ms."""
    follower = Follower()
    follower.answer(FetchedPartition("t-0", error))
    sent = len(follower.fetches)
    follower.until(ms(999))
    assert len(follower.fetches) == sent
    follower.until(ms(1000))

    assert [position.partition for position in follower.fetches[-1].partitions] == ["t-0"]
    assert follower.fetches[-1].broker_epoch == 1, "RP-11: under the epoch of its registration, also where time has sent it"


def test_an_error_of_one_partition_does_not_delay_the_others() -> None:
    """RP-7: they are fetched at once, and the session forgets the one that waits until its time has come."""
    follower = Follower()
    follower.follow_too()
    follower.answer(FetchedPartition("t-0", E.UNKNOWN_LEADER_EPOCH))
    assert follower.named_from(1) == [(("t-1",), ("t-0",))]
    follower.answer()
    assert len(follower.fetches) == 3
    follower.until(ms(1000))
    follower.answer()

    assert [position.partition for position in follower.fetches[-1].partitions] == ["t-0"]


def test_a_partition_that_waits_is_asked_for_at_once_under_a_new_epoch() -> None:
    """RP-7, RP-72: its backoff was the old leadership's; and what the session was not told to forget yet it need not be told."""
    follower = Follower()
    follower.follow_too()
    follower.answer(FetchedPartition("t-0", E.UNKNOWN_LEADER_EPOCH))
    follower.learn(partition("b2", epoch=1, partition_epoch=1))
    follower.answer()

    assert follower.named_from(2) == [(("t-0",), ())]


def test_a_lost_connection_delays_all_and_begins_a_new_session() -> None:
    """RP-3."""
    follower = Follower()
    follower.tell(Closed(next(to for to, message in follower.sent if isinstance(message, FetchRequest))))
    follower.until(ms(999))
    assert follower.opened == []
    follower.until(ms(1000))
    follower.accept_opens()

    assert follower.fetches[-1].full


def test_a_fetch_without_an_answer_ends_its_connection() -> None:
    """RP-3: replica.socket.timeout.ms."""
    follower = Follower()
    follower.until(s(30) - 1)
    assert follower.closed == []
    follower.until(s(30))

    assert [connection.partition("#")[0] for connection in follower.closed] == ["b1->b2"]


def test_it_cuts_where_the_leader_says_that_the_histories_part() -> None:
    """RP-33, RP-34; and fetches from there at once."""
    follower = Follower(epoch=1)
    follower.data(5, epoch=1, high_watermark=2)
    follower.answer(FetchedPartition("t-0", E.NONE, 2, 0, (), 1, 3))

    assert (follower.replica.log.log_end_offset, follower.replica.log.high_watermark) == (3, 2)
    assert follower.facts[-1] == Truncated("b1", "t-0", 3, 5)
    assert follower.fetches[-1].partitions[0].fetch_offset == 3


def test_it_cuts_everything_where_the_histories_part_at_the_very_beginning() -> None:
    """RP-34."""
    follower = Follower(epoch=1)
    follower.data(2, epoch=1)
    follower.answer(FetchedPartition("t-0", E.NONE, 0, 0, diverging_epoch=0, diverging_end_offset=0))

    assert follower.replica.log.log_end_offset == 0
    assert follower.fetches[-1].partitions[0].fetch_offset == 0


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda end: FetchedPartition("t-0", E.NONE, 0, 0, diverging_epoch=1, diverging_end_offset=end), id="where the histories part"),
        pytest.param(lambda end: FetchedPartition("t-0", E.OFFSET_OUT_OF_RANGE, -1, 0, log_end_offset=end), id="where the leader's log ends"),
    ],
)
def test_what_a_producer_is_remembered_for_goes_with_what_is_cut(cut: Callable[[int], FetchedPartition]) -> None:
    """PS-53, RP-34: a snapshot of the first cut is read for the second one, unless its producer has expired meanwhile (PS-50)."""
    follower = Follower(epoch=1)
    log = follower.replica.log
    for end, expired in ((3, False), (4, False), (3, True)):
        log.forget_producers_after = 0 if expired else s(1)
        follower.data(5 - log.log_end_offset, epoch=1, producer_id=7)
        follower.answer(cut(end))
        known = log.producers.entries[7].batches[-1] if log.producers.entries else None
        assert known == (None if expired else (end - 1, end - 1, end - 1))


def out_of_range(start: int, end: int) -> FetchedPartition:
    return FetchedPartition("t-0", E.OFFSET_OUT_OF_RANGE, -1, start, log_end_offset=end)


@pytest.mark.parametrize(
    ("case", "start", "end", "left", "next_offset"),
    [
        ("BV-112: the leader's log is suddenly empty", 0, 0, (0, 0), 0),
        ("RP-36: the leader's log is shorter", 0, 2, (0, 2), 2),
        ("BV-113: the leader's log starts behind our end", 5, 9, (5, 5), 5),
        ("RP-36: it overlaps: nothing is cut", 2, 9, (0, 3), 3),
    ],
)
def test_what_a_follower_does_when_its_offset_is_out_of_range(case: str, start: int, end: int, left: tuple[int, int], next_offset: int) -> None:
    """RP-36; met without a failure, the partition is not delayed."""
    follower = Follower()
    follower.data(3)
    follower.answer(out_of_range(start, end))
    log = follower.replica.log

    assert (log.log_start_offset, log.log_end_offset) == left
    assert log.high_watermark <= log.log_end_offset
    assert follower.fetches[-1].partitions[0].fetch_offset == next_offset
    moved = [fact for fact in follower.facts if isinstance(fact, LogStartMoved)]
    assert moved == ([LogStartMoved("b1", "t-0", left[0], "leader")] if left[0] else [])


def test_an_empty_log_begins_in_the_middle_of_a_batch_where_its_leaders_does() -> None:
    """RP-36: the batch is taken whole, and the log starts where it did."""
    follower = Follower()
    follower.answer(out_of_range(5, 9))
    follower.answer(FetchedPartition("t-0", E.NONE, 9, 5, (RecordBatch("t-0", "p1", range(6), 100, base_offset=3, leader_epoch=0),)))
    log = follower.replica.log

    assert (log.log_start_offset, log.log_end_offset, log.high_watermark, log.segments[0].base_offset) == (5, 9, 9, 3)


def test_what_a_follower_has_appended_the_system_saves_half_a_minute_later() -> None:
    """LR-4: counted from the moment at which it came."""
    follower = Follower()
    follower.until(s(7))
    follower.data(1)

    assert [follower.replica.log.durable_end(now) for now in (s(37), s(40) - 1, s(40))] == [0, 0, 1]


def test_a_follower_goes_along_with_its_leaders_log_start() -> None:
    """RP-4: in the same step as data and high watermark."""
    follower = Follower()
    follower.data(3, high_watermark=3)
    follower.answer(FetchedPartition("t-0", E.NONE, 3, 2))

    assert follower.replica.log.log_start_offset == 2
    assert follower.facts[-1] == LogStartMoved("b1", "t-0", 2, "leader")


@pytest.mark.parametrize(("kafka", "end"), [("3.9.0", 3), ("3.9.1", 0), ("4.0.0", 3), ("4.1", 0)])
def test_an_answer_to_a_fetch_of_an_older_epoch_is_ignored_from_3_9_1_on(kafka: str, end: int) -> None:
    """RP-38 (KAFKA-18991): what comes after the leader changed belongs to another history."""
    follower = Follower(kafka=kafka)
    old = follower.fetches[-1]
    assert old.partitions[0].current_leader_epoch == 0
    follower.learn(partition("b2", epoch=1, partition_epoch=1))
    follower.data(3)

    assert follower.replica.log.log_end_offset == end


@pytest.mark.parametrize(("kafka", "end"), [("3.9.0", 1), ("3.9.1", 3)])
def test_before_3_9_1_where_the_logs_parted_counts_in_a_later_epoch_too(kafka: str, end: int) -> None:
    """H-060 (KAFKA-18991): what follower and leader have in common again by then, committed or not, is cut off."""
    follower = Follower(kafka=kafka)
    follower.data(3)
    follower.learn(partition("b2", epoch=1, partition_epoch=1))
    follower.answer(FetchedPartition("t-0", E.NONE, 0, 0, diverging_epoch=0, diverging_end_offset=1))

    assert follower.replica.log.log_end_offset == end


@pytest.mark.parametrize("kafka", ["3.8", "4.3"])
def test_an_answer_to_a_fetch_of_another_offset_is_ignored_in_every_release(kafka: str) -> None:
    """RP-38: something was cut off meanwhile."""
    follower = Follower(kafka=kafka)
    follower.data(3)
    follower.replica.log.truncate_to(1, 0)
    follower.learn(partition("b2", epoch=1, partition_epoch=1))
    follower.data(2)

    assert follower.replica.log.log_end_offset == 1


@pytest.mark.parametrize(("kafka", "end"), [("3.8", 3), ("4.0", 0)])
def test_batches_of_a_newer_epoch_than_asked_for_are_dropped_from_3_9_1_on(kafka: str, end: int) -> None:
    """RP-39 (KAFKA-18723)."""
    follower = Follower(kafka=kafka)
    follower.data(3, epoch=2)

    assert follower.replica.log.log_end_offset == end


@pytest.mark.parametrize("kafka", ["3.3", "4.3"])
def test_a_partition_that_one_fetch_forgets_and_names_again_goes_on(kafka: str) -> None:
    """RP-7: its backoff was over before the leader was asked again, as the fetch between waited for that long."""
    follower = Follower(kafka=kafka)
    follower.answer(FetchedPartition("t-0", E.UNKNOWN_LEADER_EPOCH))
    fetcher = follower.broker.following.fetchers["b2"]
    fetcher.forgotten["t-0"] = None  # Not told yet.
    follower.until(ms(1000))
    follower.answer()
    follower.data(3)

    assert follower.replica.log.log_end_offset == 3


def test_an_isr_change_alone_does_not_interrupt_the_fetching() -> None:
    """RP-8."""
    follower = Follower()
    follower.learn(partition("b2", partition_epoch=1, isr=("b2",)))
    follower.data(1)

    assert follower.replica.log.log_end_offset == 1


def test_the_old_leader_is_asked_for_the_rest_and_again_when_it_is_back() -> None:
    """RP-8, RP-72: where nothing was left to ask for, the next fetch goes at once, in the same session."""
    follower = Follower()
    follower.follow_too()
    first = follower.connection
    follower.learn(partition("b3", epoch=1, partition_epoch=1))
    follower.tell(Received(first, FetchResponse(())))
    assert follower.named_from(1) == [(("t-1",), ("t-0",))]
    follower.learn(PartitionRecord("t-1", BROKERS, BROKERS, (), (), "b3", 1, 1, False))
    follower.tell(Received(first, FetchResponse(())))
    assert len(follower.fetches) == 2, "nothing is left"
    follower.learn(partition("b2", epoch=2, partition_epoch=2))

    assert follower.connection == first
    assert (follower.fetches[-1].full, follower.fetches[-1].broker_epoch, follower.named_from(2)) == (False, 1, [(("t-0",), ("t-1",))])


def test_what_cannot_be_written_takes_only_its_own_directory_offline() -> None:
    """KIP-112: what comes for the broken one is not written, and a cut is a write too."""
    for told in (
        FetchedPartition("t-1", E.NONE, 0, 0, (RecordBatch("t-1", "p1", range(1), 100, base_offset=1, leader_epoch=0),)),
        FetchedPartition("t-1", E.NONE, 0, 0, diverging_epoch=0, diverging_end_offset=0),
    ):
        follower = Follower(log_dirs="/d1,/d2")
        follower.follow_too()
        follower.answer()
        second = follower.broker.replicas["t-1"].log
        follower.answer(FetchedPartition("t-1", E.NONE, 0, 0, (RecordBatch("t-1", "p1", range(1), 100, base_offset=0, leader_epoch=0),)))
        follower.broker.directories.fail("t-1", follower.now)
        follower.data(1)
        assert (follower.replica.log.log_end_offset, list(follower.broker.replicas)) == (1, ["t-0", "t-1"])
        follower.answer(told)

        assert (second.log_end_offset, list(follower.broker.replicas)) == (1, ["t-0"])


def test_a_new_leader_is_fetched_from_under_its_epoch() -> None:
    """RP-72; and from the old one no more."""
    follower = Follower()
    follower.data(2)
    old = follower.connection
    follower.learn(partition("b3", epoch=1, partition_epoch=1, isr=("b3", "b1")))
    assert [connection.startswith("b1->b3#") for connection in follower.opened] == [True]
    follower.accept_opens()
    position = follower.fetches[-1].partitions[0]
    follower.tell(Received(old, FetchResponse(())))

    assert (position.fetch_offset, position.current_leader_epoch, position.last_fetched_epoch) == (2, 1, 0)
    assert follower.connection != old
