"""A leader that is asked to mark the end of transactions: what it appends, how, and what it answers; its log and its group coordinator are played by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE
from ksim_models.errors import ErrorCode as E
from ksim_models.leading import Leading
from ksim_models.machine import Effect
from ksim_models.marker_writing import MarkerWriting
from ksim_models.messages import ProduceResponse, ProduceResult, RecordBatch
from ksim_models.profiles import broker_profile
from ksim_models.transaction_messages import TxnMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse
from ksim_models.units import Micros

OFFSETS = "__consumer_offsets-0"
LOADING = "__consumer_offsets-1"
HERE = dict.fromkeys(("t-0", "t-1", OFFSETS, LOADING))


class Hand:
    """Log and group coordinator."""

    def __init__(self, kafka: str) -> None:
        self.loading: dict[str, tuple[Micros, int]] = {LOADING: (9, 1)}
        self.appends: list[tuple[tuple[RecordBatch, ...], int, int, bool, Any]] = []
        self.ended: list[tuple[str, int, bool]] = []
        self.answers: list[WriteTxnMarkersResponse] = []
        self.machine = MarkerWriting(broker_profile(kafka), BrokerConfig(), cast(Any, HERE), cast(Leading, self), self)

    def append_own(
        self, batches: tuple[RecordBatch, ...], acks: int, timeout_ms: int, told: Any, now: Micros, out: list[Effect], *, strictly: bool = False
    ) -> None:
        self.appends.append((batches, acks, timeout_ms, strictly, told))

    def transaction_ended(self, partition: str, producer_id: int, *, committed: bool) -> None:
        self.ended.append((partition, producer_id, committed))

    def write(self, *markers: TxnMarker) -> None:
        self.machine.write(WriteTxnMarkersRequest(markers), lambda answer, now, out: self.answers.append(answer), 5, [])

    def settle(self, number: int, error: E = NONE) -> None:
        """This append."""
        batches, *_, told = self.appends[number]
        told(ProduceResponse(tuple(ProduceResult(batch.partition, error, 0) for batch in batches)), 7, [])

    @property
    def written(self) -> list[tuple[list[str], int, int]]:
        """Partitions, acks, time-out of each append."""
        return [([batch.partition for batch in batches], acks, timeout_ms) for batches, acks, timeout_ms, _, _ in self.appends]


def marker(*partitions: str, producer_id: int = 7, committed: bool = True, version: int = 2) -> TxnMarker:
    return TxnMarker(producer_id, 3, 4, committed, partitions, version)


@pytest.mark.parametrize(
    ("kafka", "partitions", "appends", "refused"),
    [
        pytest.param("3.9", ("t-0", "t-1", OFFSETS), [(["t-0", "t-1", OFFSETS], -1, 30_000)], {}, id="TC-54 all together with acks=all"),
        pytest.param("4.0", ("t-0", OFFSETS, "t-1"), [(["t-0", "t-1"], -1, 30_000), ([OFFSETS], 1, 5_000)], {}, id="GC-9 the group coordinator's by itself"),
        pytest.param("4.0", (LOADING,), [], {LOADING: E.NOT_LEADER_OR_FOLLOWER}, id="TC-58 not while it is read"),
        pytest.param("3.9", (LOADING,), [([LOADING], -1, 30_000)], {}, id="TC-58 up to 3.9 all the same"),
        pytest.param("4.0", ("u-0", "t-0"), [(["t-0"], -1, 30_000)], {"u-0": E.UNKNOWN_TOPIC_OR_PARTITION}, id="TC-51 what is not here"),
    ],
)
def test_how_markers_are_appended(kafka: str, partitions: tuple[str, ...], appends: list[Any], refused: dict[str, E]) -> None:
    hand = Hand(kafka)
    hand.write(marker(*partitions))
    assert hand.written == appends
    for number in range(len(appends)):
        assert hand.answers == []
        hand.settle(number)

    (answer,) = hand.answers
    assert {partition: error for _, partition, error in answer.results} == dict.fromkeys(partitions, NONE) | refused


def test_a_marker_is_a_batch_of_its_own_with_the_epochs_of_producer_and_coordinator() -> None:
    hand = Hand("4.3")
    hand.write(marker("t-0", committed=False))
    ((batches, *_),) = hand.appends
    (batch,) = batches

    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, len(batch.records), batch.max_timestamp) == (7, 3, -1, 1, 5)
    assert batch.transactional
    assert batch.marker is not None
    assert (batch.marker.committed, batch.marker.coordinator_epoch) == (False, 4)


@pytest.mark.parametrize(("error", "ended"), [(NONE, [(OFFSETS, 7, True)]), (E.NOT_LEADER_OR_FOLLOWER, [])])
def test_offsets_are_committed_when_their_marker_is(error: E, ended: list[tuple[str, int, bool]]) -> None:
    """GC-4."""
    hand = Hand("4.3")
    hand.write(marker("t-0", OFFSETS))
    hand.settle(0)
    assert hand.ended == []
    hand.settle(1, error)

    assert hand.ended == ended


@pytest.mark.parametrize(("kafka", "version", "strictly"), [("4.1", 2, False), ("4.2", 2, True), ("4.2", 1, False)])
def test_a_marker_of_version_2_must_have_a_newer_epoch_since_4_2(kafka: str, version: int, strictly: bool) -> None:
    """PS-31."""
    hand = Hand(kafka)
    hand.write(marker("t-0", version=version))

    assert hand.appends[0][3] is strictly


def test_one_answer_for_several_producers_comes_with_the_last() -> None:
    """TC-59."""
    hand = Hand("4.3")
    hand.write(marker("t-0"), marker("t-1", producer_id=8))
    hand.settle(1, E.INVALID_PRODUCER_EPOCH)
    assert hand.answers == []
    hand.settle(0)

    assert hand.answers == [WriteTxnMarkersResponse(((8, "t-1", E.INVALID_PRODUCER_EPOCH), (7, "t-0", NONE)))]


def test_where_there_is_nothing_to_append_the_answer_comes_at_once() -> None:
    hand = Hand("4.3")
    hand.write(marker("u-0"), marker("u-1", producer_id=8))

    assert hand.answers == [WriteTxnMarkersResponse(((7, "u-0", E.UNKNOWN_TOPIC_OR_PARTITION), (8, "u-1", E.UNKNOWN_TOPIC_OR_PARTITION)))]
