"""A follower's fetcher, and metadata that repeats itself: vectors BV-092, BV-115 to BV-121, BV-141 to BV-149, BV-160 to BV-167, BV-179 (sections D and E)."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Replicated, Truncated
from ksim_models.isr import Leadership
from ksim_models.machine import Received
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResult,
    FetchedPartition,
    FetchRequest,
    FetchResponse,
    RecordBatch,
)
from ksim_models.units import ms, s
from lone_broker import LoneBroker, partition


class Follower(LoneBroker):
    """b1 follows b2."""

    def __init__(self, *, epoch: int = 0) -> None:
        super().__init__(partition("b2", epoch=epoch))
        self.accept_opens()

    @property
    def fetches(self) -> list[FetchRequest]:
        return [message for _, message in self.sent if isinstance(message, FetchRequest)]

    def answer(self, entry: FetchedPartition) -> None:
        connection = next(to for to, message in reversed(self.sent) if isinstance(message, FetchRequest))
        self.tell(Received(connection, FetchResponse((entry,))))

    def data(self, count: int, *, epoch: int = 0) -> None:
        end = self.replica.log.log_end_offset
        batches = tuple(RecordBatch("t-0", "p1", range(n, n + 1), 100, -1, -1, -1, n, epoch) for n in range(end, end + count))
        self.answer(FetchedPartition("t-0", E.NONE, 0, 0, batches))

    @property
    def end(self) -> int:
        return self.replica.log.log_end_offset


@pytest.mark.parametrize("error", [pytest.param(E.UNKNOWN_LEADER_EPOCH, id="BV-115"), pytest.param(E.CORRUPT_MESSAGE, id="BV-116")])
def test_an_error_of_the_leader_delays_the_partition_and_the_next_fetch_goes_on(error: E) -> None:
    """RP-7: the leader has not heard of the epoch yet, or the batch was not whole."""
    follower = Follower(epoch=1)
    follower.answer(FetchedPartition("t-0", error))
    assert follower.end == 0
    follower.until(ms(999))
    assert follower.fetches[-1].partitions == () or len(follower.fetches) == 1
    follower.until(s(1))
    assert [position.fetch_offset for position in follower.fetches[-1].partitions] == [0]
    follower.data(2, epoch=1)

    assert follower.end == 2


def test_bv_092_a_follower_takes_its_leaders_high_watermark_as_far_as_its_log_goes() -> None:
    """RP-4."""
    follower = Follower()
    follower.data(100)
    found = []
    for told in (99, 99, 100, 100, 101):
        follower.answer(FetchedPartition("t-0", E.NONE, told, 0))
        found.append(follower.replica.log.high_watermark)

    assert found == [99, 99, 100, 100, 100]


def test_bv_120_an_isr_change_after_a_truncation_does_not_truncate_again() -> None:
    follower = Follower()
    follower.data(5)
    follower.answer(FetchedPartition("t-0", E.NONE, 0, 0, (), 0, 3))
    follower.learn(partition("b2", partition_epoch=1, isr=("b2",)))
    follower.data(1)

    assert [(fact.from_offset, fact.to_offset) for fact in follower.facts if isinstance(fact, Truncated)] == [(5, 3)]
    assert follower.facts[-1] == Replicated("b1", "t-0", 4)


def test_bv_121_a_divergence_told_after_the_partition_was_taken_from_the_fetcher_is_not_applied() -> None:
    follower = Follower()
    follower.data(5)
    follower.answer(FetchedPartition("t-0", E.NONE, 0, 0, (), 0, 3))
    assert (follower.end, follower.fetches[-1].partitions[0].fetch_offset) == (3, 3)
    follower.learn(partition("", epoch=1, partition_epoch=1))
    follower.answer(FetchedPartition("t-0", E.NONE, 0, 0, (), 0, 2))

    assert follower.end == 3


class Leading(LoneBroker):
    """b1 leads with b3 outside the ISR, which has just caught up: its return is proposed."""

    def __init__(self) -> None:
        super().__init__(partition(isr=("b1", "b2")))
        self.fetch("b3", 0)

    def answer(self, error: E = E.NONE, *, top: E = E.NONE, partition_epoch: int = 1) -> None:
        result = AlterPartitionResult("t-0", error, "b1", 0, ("b1", "b2", "b3"), False, partition_epoch)
        self.tell(Received(self.controller, AlterPartitionResponse(top, () if top else (result,))))

    @property
    def state(self) -> Leadership:
        assert self.replica.leadership is not None
        return self.replica.leadership

    @property
    def proposals(self) -> int:
        return len(self.asked(AlterPartitionRequest))


@pytest.mark.parametrize(
    ("error", "pending", "maximal", "asked"),
    [
        *(
            pytest.param(error, True, 3, 1, id=f"BV-141 BV-148 {error.name}")
            for error in (E.INVALID_UPDATE_VERSION, E.INVALID_REQUEST, E.NEW_LEADER_ELECTED, E.UNKNOWN_TOPIC_OR_PARTITION)
        ),
        pytest.param(E.UNKNOWN_SERVER_ERROR, True, 3, 2, id="BV-142 asked again at once"),
        pytest.param(E.INELIGIBLE_REPLICA, False, 2, 1, id="BV-143 given up"),
        pytest.param(E.NONE, False, 3, 1, id="BV-140 done"),
    ],
)
def test_what_becomes_of_a_proposal_that_is_answered(error: E, pending: bool, maximal: int, asked: int) -> None:
    """RP-57."""
    leader = Leading()
    leader.answer(error)

    assert (leader.state.in_flight, len(leader.state.maximal), leader.proposals) == (pending, maximal, asked)
    assert len(leader.state.committed) == (3 if error is E.NONE else 2)


@pytest.mark.parametrize("top", [E.STALE_BROKER_EPOCH, E.UNKNOWN_SERVER_ERROR, E.CLUSTER_AUTHORIZATION_FAILED, E.UNSUPPORTED_VERSION])
def test_bv_167_an_error_of_the_whole_request_is_retried_and_a_success_completes_it(top: E) -> None:
    """RP-56: after 50 ms."""
    leader = Leading()
    leader.answer(top=top)
    assert leader.proposals == 1
    leader.until(leader.now + ms(50))
    assert leader.proposals == 2
    leader.answer()

    assert leader.state.committed == ("b1", "b2", "b3")


def test_bv_149_metadata_of_the_same_leader_epoch_takes_the_place_of_a_pending_proposal() -> None:
    """RP-58: the old answer is ignored."""
    leader = Leading()
    leader.learn(partition(isr=("b1", "b2"), partition_epoch=2))
    assert (leader.state.in_flight, leader.state.maximal) == (False, ("b1", "b2"))
    leader.answer(partition_epoch=1)

    assert leader.state.committed == ("b1", "b2")


def test_bv_160_bv_161_a_record_of_the_same_epoch_resets_nothing_and_an_older_one_is_ignored() -> None:
    """RP-59, RP-52: the epoch began where it began, and what followers had fetched stays known."""
    leader = LoneBroker(partition(partition_epoch=1))
    leader.fetch("b2", 0)
    client = leader.client()
    leader.produce(client, 3)
    leader.learn(partition(partition_epoch=2))
    leadership = leader.replica.leadership
    assert leadership is not None
    assert (leadership.epoch_start_offset, leadership.followers["b2"].log_end_offset) == (0, 0)
    leader.learn(partition(isr=("b1",), partition_epoch=1))

    assert (leadership.committed, leadership.partition_epoch) == (("b1", "b2", "b3"), 2)


def test_bv_166_bv_179_only_a_new_leader_epoch_starts_the_fetching_anew() -> None:
    """RP-8, RP-72."""
    follower = Follower()
    follower.learn(partition("b2", isr=("b2",), partition_epoch=1))
    assert (len(follower.fetches), follower.opened) == (1, [])
    follower.learn(partition("b3", epoch=1, partition_epoch=2))
    assert [connection.startswith("b1->b3#") for connection in follower.opened] == [True]
    follower.accept_opens()

    assert follower.fetches[-1].partitions[0].current_leader_epoch == 1


INEXPRESSIBLE = {
    "BV-118": "an append that throws for one partition alone: a disk fails as a whole directory here (tests/models/test_directories.py)",
    "BV-119": "OffsetsForLeaderEpoch is the protocol before 2.7 (RP-37); brokers here are of 3.3 or newer",
    "BV-158": "a gauge of a broker that no rule reads",
    "BV-170": "acks=3 is refused by the client's configuration, so no broker ever meets it",
}
