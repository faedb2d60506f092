"""A consumer's positions and fetches, with answers made by hand: CV-2, CV-7, CV-8."""

from __future__ import annotations

import pytest

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.completed_fetch import CompletedFetch
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_fetching import Fetching, Thrown
from ksim_models.consumer_positions import FetchState, Position, Positions
from ksim_models.errors import NONE, ErrorCode
from ksim_models.messages import Marker, RecordBatch
from ksim_models.profiles import client_profile
from ksim_models.transaction_messages import (
    ConsumerFetchedPartition,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from scripted import Half

T0 = "t-0"


class Alone:
    """What a consumer fetches by, and one partition that stands at offset 10, read under epoch 0."""

    def __init__(self, reset: str = "earliest", *, read_committed: bool = False, max_poll_records: int = 500) -> None:
        isolation = "read_committed" if read_committed else "read_uncommitted"
        config = ConsumerConfig(auto_offset_reset=reset, isolation_level=isolation, max_poll_records=max_poll_records)
        profile, dice = client_profile("4.3"), Half()
        self.positions = Positions()
        network, metadata = ClientNetwork("c", config, profile, dice), ClientMetadata("c", ["b1"], config, profile, dice)
        self.fetching = Fetching(config, self.positions, network, metadata)
        self.positions.assign([T0])
        self.position.seek(10, 0, ("b1", 0))

    @property
    def position(self) -> Position:
        return self.positions.by_partition[T0]

    def validated(self, epoch: int, end: int, error: ErrorCode = NONE) -> None:
        """Another leader says where epoch 0 ended in its log."""
        self.position.meet_leader(("b2", 1))
        self.fetching.epochs_came(OffsetForLeaderEpochRequest(((T0, 1, 0),)), OffsetForLeaderEpochResponse(((T0, error, epoch, end),)), 0)

    def fetched(self, *batches: RecordBatch, error: ErrorCode = NONE, aborted: tuple[tuple[int, int], ...] = ()) -> None:
        request = ConsumerFetchRequest((ConsumerFetchPartition(T0, self.position.offset, 0),), False, 500, 1, 1 << 20, 1 << 20)
        self.fetching.fetched("b1", request, ConsumerFetchResponse((ConsumerFetchedPartition(T0, error, 99, 99, 0, batches, aborted),)), 0, [])

    def polled(self) -> list[tuple[int, int]]:
        """(offset of the first, how many), as poll() returns them."""
        return [(one.base_offset, len(one.records)) for one in self.fetching.collect()]


def batch(base: int, count: int, *, producer_id: int = -1, marker: Marker | None = None) -> RecordBatch:
    return RecordBatch(T0, "p", range(base, base + count), 100, producer_id, 0, base_offset=base, leader_epoch=0, transactional=producer_id >= 0, marker=marker)


COMMIT, ABORT = Marker(True, 0), Marker(False, 0)


def test_cv_8_a_log_that_holds_what_was_read_is_read_on() -> None:
    alone = Alone()
    alone.validated(0, 10)

    assert (alone.position.state, alone.position.offset) == (FetchState.FETCHING, 10)


def test_cv_8_a_log_that_parted_earlier_is_read_again_from_there() -> None:
    alone = Alone()
    alone.validated(0, 7)

    assert (alone.position.state, alone.position.offset) == (FetchState.FETCHING, 7)


def test_cv_8_a_log_that_does_not_know_the_epoch_means_a_reset() -> None:
    alone = Alone("latest")
    alone.validated(-1, -1)

    assert (alone.position.state, alone.position.reset_to) == (FetchState.AWAIT_RESET, "latest")


@pytest.mark.parametrize("answer", [(0, 7), (-1, -1)])
def test_cv_8_without_a_reset_policy_the_application_hears_of_it(answer: tuple[int, int]) -> None:
    with pytest.raises(Thrown) as thrown:
        Alone("none").validated(*answer)

    assert thrown.value.error == "LogTruncationException"


def test_cv_8_an_error_is_asked_again_later() -> None:
    alone = Alone()
    alone.validated(-1, -1, ErrorCode.NOT_LEADER_OR_FOLLOWER)

    assert alone.position.state is FetchState.AWAIT_VALIDATION
    assert alone.position.asked_until == 100_000


def test_cv_7_out_of_range_is_a_reset_or_an_exception() -> None:
    resets, throws = Alone(), Alone("none")
    resets.fetched(error=ErrorCode.OFFSET_OUT_OF_RANGE)
    throws.fetched(error=ErrorCode.OFFSET_OUT_OF_RANGE)

    assert resets.polled() == []
    assert resets.position.state is FetchState.AWAIT_RESET
    with pytest.raises(Thrown) as thrown:
        throws.polled()
    assert thrown.value.error == "OffsetOutOfRangeException"


def test_cv_7_of_an_offset_that_is_not_the_position_any_more_it_says_nothing() -> None:
    alone = Alone("none")
    alone.fetched(error=ErrorCode.OFFSET_OUT_OF_RANGE)
    alone.position.seek(11, 0, ("b1", 0))

    assert alone.polled() == []


E = ErrorCode
REFRESHED = (
    *(E.NOT_LEADER_OR_FOLLOWER, E.REPLICA_NOT_AVAILABLE, E.KAFKA_STORAGE_ERROR, E.FENCED_LEADER_EPOCH, E.OFFSET_NOT_AVAILABLE),
    *(E.UNKNOWN_TOPIC_OR_PARTITION, E.UNKNOWN_TOPIC_ID, E.INCONSISTENT_TOPIC_ID),
)
T1 = "t-1"


@pytest.mark.parametrize(
    ("error", "thrown", "refreshes"),
    [
        *((error, None, True) for error in REFRESHED),
        *((error, None, False) for error in (E.UNKNOWN_LEADER_EPOCH, E.UNKNOWN_SERVER_ERROR)),
        (E.TOPIC_AUTHORIZATION_FAILED, ("TopicAuthorizationException", "Not authorized to access topics: [t]"), False),
        (E.CORRUPT_MESSAGE, ("KafkaException", "Encountered corrupt message when fetching offset 10 for topic-partition t-0"), False),
        (E.INVALID_REQUEST, ("IllegalStateException", "Unexpected error code 42 while fetching at offset 10 from topic-partition t-0"), False),
    ],
)
def test_cv_10_what_an_error_of_a_fetch_means(error: ErrorCode, thrown: tuple[str, str] | None, refreshes: bool) -> None:
    """FetchCollector.handleInitializeErrors; and the partition is fetched behind the others."""
    alone = Alone()
    alone.positions.assign([T0, T1])
    alone.fetched(error=error)
    found = None
    try:
        assert alone.polled() == []
    except Thrown as threw:
        found = threw.error, threw.text

    assert (found, alone.fetching.metadata.update_requested) == (thrown, refreshes)
    assert list(alone.positions.by_partition) == [T1, T0]
    assert (alone.position.state, alone.position.offset) == (FetchState.FETCHING, 10)


@pytest.mark.parametrize("change", ["meets another leader", "is about to be given up"])
def test_an_error_puts_its_partition_behind_the_others_whatever_became_of_it_meanwhile(change: str) -> None:
    """FetchCollector.initialize: in its finally."""
    alone = Alone()
    alone.positions.assign([T0, T1])
    alone.fetched(error=E.NOT_LEADER_OR_FOLLOWER)
    if change == "meets another leader":
        alone.position.meet_leader(("b2", 1))
    else:
        alone.position.revoked = True

    assert alone.polled() == []
    assert list(alone.positions.by_partition) == [T1, T0]
    assert alone.fetching.metadata.update_requested is (change == "is about to be given up"), "where it is still read its error counts"


def test_poll_gives_max_poll_records_and_the_next_one_the_rest() -> None:
    alone = Alone(max_poll_records=3)
    alone.fetched(batch(8, 4), batch(12, 2))

    assert alone.polled() == [(10, 2), (12, 1)]  # The batch is told whole; what stands before the position is left out.
    assert alone.position.offset == 13
    assert alone.polled() == [(13, 1)]
    assert alone.position.offset == 14


def test_cv_2_markers_are_never_delivered_but_passed() -> None:
    alone = Alone()
    alone.fetched(batch(10, 2, producer_id=1), batch(12, 1, producer_id=1, marker=COMMIT))

    assert alone.polled() == [(10, 2)]
    assert alone.position.offset == 13


def test_cv_2_read_committed_leaves_out_what_was_aborted_up_to_its_marker() -> None:
    alone = Alone(read_committed=True)
    alone.fetched(
        batch(10, 1, producer_id=1),
        batch(11, 1),
        batch(12, 1, producer_id=2),
        batch(13, 1, producer_id=1, marker=ABORT),
        batch(14, 1, producer_id=1),
        aborted=((1, 5),),
    )

    assert alone.polled() == [(11, 1), (12, 1), (14, 1)]


def test_cv_1_read_uncommitted_is_told_of_aborted_transactions_too() -> None:
    alone = Alone()
    alone.fetched(batch(10, 1, producer_id=1), batch(11, 1, producer_id=1, marker=ABORT))

    assert alone.polled() == [(10, 1)]


def test_what_comes_of_a_partition_that_was_given_up_meanwhile_is_dropped() -> None:
    alone = Alone()
    alone.fetched(batch(10, 2))
    alone.positions.assign([])

    assert alone.polled() == []


def test_an_empty_fetch_moves_nothing() -> None:
    fetch = CompletedFetch(ConsumerFetchedPartition(T0, NONE), 10, read_committed=True)

    assert fetch.take(10) == []
    assert (fetch.drained, fetch.next_offset) == (True, 10)
