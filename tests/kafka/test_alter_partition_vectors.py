"""Sections E and F of the behavioural vectors, where a leader deals with the controller: proposals and their answers, metadata that overtakes them."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.isr import Leadership
from ksim_models.machine import Received
from ksim_models.messages import AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResult, FetchResponse
from ksim_models.units import ms, s
from lone_broker import BROKERS, LoneBroker, partition


def alone_in_the_isr() -> LoneBroker:
    """BV-140 up to the proposal: ten records, b2 has fetched all of them."""
    alone = LoneBroker(partition(isr=("b1",)))
    alone.produce(alone.client(), 10, acks=1)
    alone.fetch("b2", 10, last_epoch=0)
    return alone


def leadership(alone: LoneBroker) -> Leadership:
    assert alone.replica.leadership is not None
    return alone.replica.leadership


def asked(alone: LoneBroker) -> list[tuple[str, ...]]:
    return [tuple(name for name, _ in item.new_isr) for request in alone.asked(AlterPartitionRequest) for item in request.items]


def answer(alone: LoneBroker, error: E = E.NONE, *, isr: tuple[str, ...] = (), partition_epoch: int = 1, of_all: E = E.NONE) -> None:
    result = AlterPartitionResult("t-0", error, "b1", 0, isr, False, partition_epoch)
    alone.tell(Received(alone.controller, AlterPartitionResponse(of_all, () if of_all else (result,))))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(E.INVALID_UPDATE_VERSION, id="BV-141 INVALID_UPDATE_VERSION"),
        pytest.param(E.INVALID_REQUEST, id="BV-141 INVALID_REQUEST"),
        pytest.param(E.NEW_LEADER_ELECTED, id="BV-141 NEW_LEADER_ELECTED"),
        pytest.param(E.UNKNOWN_TOPIC_OR_PARTITION, id="BV-141 UNKNOWN_TOPIC_OR_PARTITION"),
    ],
)
def test_a_leader_whose_proposal_is_refused_waits_for_the_metadata(error: E) -> None:
    alone = alone_in_the_isr()
    assert asked(alone) == [("b1", "b2")]

    answer(alone, error)
    alone.until(s(2))

    assert (leadership(alone).committed, leadership(alone).maximal) == (("b1",), ("b1", "b2"))
    assert asked(alone) == [("b1", "b2")]


def test_bv_142_after_any_other_error_a_proposal_is_sent_again_at_once() -> None:
    alone = alone_in_the_isr()

    answer(alone, E.UNKNOWN_SERVER_ERROR)

    assert asked(alone) == [("b1", "b2"), ("b1", "b2")]


def behind(kafka: str = "4.3") -> LoneBroker:
    """A shrink is on its way: b2 never fetched."""
    alone = LoneBroker(partition(isr=("b1", "b2")), kafka=kafka)
    alone.produce(alone.client(), 10, acks=1)
    alone.until(s(60))
    assert asked(alone) == [("b1",)]
    return alone


def test_bv_148_a_shrink_that_is_refused_stays_pending() -> None:
    alone = behind()

    answer(alone, E.INVALID_UPDATE_VERSION)
    alone.until(s(120))

    assert (leadership(alone).committed, leadership(alone).maximal, alone.replica.log.high_watermark) == (("b1", "b2"), ("b1", "b2"), 0)
    assert asked(alone) == [("b1",)]


def test_bv_149_an_answer_that_the_metadata_has_overtaken_is_ignored() -> None:
    alone = behind()

    alone.learn(partition(isr=("b1", "b2"), partition_epoch=2))
    assert not leadership(alone).in_flight
    answer(alone, isr=("b1",), partition_epoch=1)

    assert (leadership(alone).committed, leadership(alone).partition_epoch) == (("b1", "b2"), 2)
    alone.until(s(120))
    assert asked(alone)[1:] == [("b1",)], "the next check proposes it anew"


@pytest.mark.parametrize("error", [E.STALE_BROKER_EPOCH, E.UNKNOWN_SERVER_ERROR, E.UNSUPPORTED_VERSION, E.CLUSTER_AUTHORIZATION_FAILED])
def test_bv_167_an_error_of_the_whole_request_is_tried_again_until_it_works(error: E) -> None:
    alone = alone_in_the_isr()

    answer(alone, of_all=error)
    alone.until(alone.now + ms(50))
    assert asked(alone) == [("b1", "b2"), ("b1", "b2")]
    answer(alone, isr=("b1", "b2"))

    assert leadership(alone).committed == ("b1", "b2")


def test_bv_157_below_the_minimum_a_leader_takes_no_more_writes() -> None:
    """BV-157 as a client meets it; the flag itself is a gauge."""
    for isr, code in ((("b1", "b2"), []), (("b1",), [E.NOT_ENOUGH_REPLICAS])):
        alone = LoneBroker(partition(isr=isr), topic=(("min.insync.replicas", "2"),))
        client = alone.client()
        alone.produce(client)

        assert alone.codes(client) == code


def test_bv_160_an_older_partition_epoch_is_ignored() -> None:
    alone = LoneBroker(partition(epoch=8, partition_epoch=1))

    alone.learn(partition(epoch=8, partition_epoch=0, isr=("b1",)))

    assert (alone.replica.partition_epoch, leadership(alone).committed) == (1, BROKERS)


def test_bv_130_to_bv_132_a_new_leader_keeps_the_high_watermark_until_its_followers_have_fetched() -> None:
    """BV-130, BV-131, BV-132: what ListOffsets would say of it needs consumers; the high watermark behind it is here (RP-26, RP-70)."""
    alone = LoneBroker(partition(epoch=8, isr=("b1", "b3")))
    client = alone.client()
    alone.produce(client, 2, acks=1)
    alone.produce(client, 3, acks=1)
    for follower in ("b2", "b3"):
        for offset in (0, 2):
            alone.fetch(follower, offset, epoch=8, last_epoch=8 if offset else -1)
    assert (alone.replica.log.high_watermark, alone.replica.log.log_end_offset) == (2, 5)

    alone.learn(partition("b3", epoch=9, partition_epoch=1, isr=("b1", "b3")))
    alone.learn(partition("b1", epoch=10, partition_epoch=2, isr=("b1", "b3")))
    assert (alone.replica.log.high_watermark, leadership(alone).epoch_start_offset) == (2, 5)
    for follower in ("b2", "b3"):
        alone.fetch(follower, 5, epoch=10, last_epoch=8)

    assert alone.replica.log.high_watermark == 5


def test_bv_166_the_same_leader_under_a_higher_epoch_is_followed_anew_and_under_the_same_one_not() -> None:
    alone = LoneBroker(partition("b2", epoch=1))
    (fetcher,) = alone.broker.following.fetchers.values()
    assert fetcher.asked_epochs["t-0"] == 1

    alone.learn(partition("b2", epoch=2, partition_epoch=1))
    assert (fetcher.asked_epochs["t-0"], "t-0" in fetcher.to_name) == (-1, True)
    fetcher.to_name.clear()
    alone.learn(partition("b2", epoch=2, partition_epoch=2))

    assert "t-0" not in fetcher.to_name


def test_bv_179_a_follower_goes_on_fetching_while_only_the_isr_changes() -> None:
    alone = LoneBroker(partition("b2"))
    fetchers = alone.broker.following.fetchers

    alone.learn(partition("b2", partition_epoch=1, isr=("b1", "b2")))
    assert fetchers["b2"].asked_epochs == {"t-0": 0}
    alone.learn(partition("b3", epoch=1, partition_epoch=2, isr=("b1", "b3")))

    assert (fetchers["b2"].asked_epochs, fetchers["b3"].asked_epochs) == ({}, {"t-0": -1})


def test_bv_175_a_follower_reads_beyond_the_high_watermark() -> None:
    """BV-175, the follower's half: a consumer would get nothing."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, acks=1)
    alone.produce(client, acks=1)
    alone.fetch("b2", 1, last_epoch=0)
    (told,) = alone.answers("b2->b1#1", FetchResponse)[0].partitions

    assert ([batch.base_offset for batch in told.batches], told.high_watermark) == ([1], 0)
