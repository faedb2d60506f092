"""The leader's view of its followers, the ISR and the high watermark: vectors BV-130 to BV-167 (section E), and the leader's answers (section F)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ksim_models.config import BrokerConfig, TopicConfig
from ksim_models.directories import Directories
from ksim_models.errors import ErrorCode
from ksim_models.image import Image
from ksim_models.isr import LONG_AGO, Follower, Leadership
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.machine import Effect
from ksim_models.messages import (
    BrokerRecord,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    PartitionRecord,
    ProduceRequest,
    ProduceResponse,
    RecordBatch,
    TopicRecord,
)
from ksim_models.profiles import broker_profile
from ksim_models.replica import Replica
from ksim_models.units import ms, s

T0 = s(1000)
"""Kafka's clock is wall time: "never" lies further back than the lag limit."""


class Stage:
    """A leader b1 of t-0 with followers b2 and b3, without a network."""

    def __init__(self, *, isr: tuple[str, ...] = ("b1", "b2", "b3"), min_isr: int = 1, kafka: str = "4.3", lag_ms: int = 30_000, epoch: int = 5) -> None:
        image = Image()
        image.apply([BrokerRecord(name, number, False) for number, name in enumerate(("b1", "b2", "b3"), 1)])
        image.apply([TopicRecord("t", 1, ()), PartitionRecord("t-0", ("b1", "b2", "b3"), isr, (), (), "b1", epoch, 0, False)])
        self.image = image
        self.config = replace(BrokerConfig(), replica_lag_time_max_ms=lag_ms)
        profile = broker_profile(kafka)
        self.replica = Replica("t-0", Log(), ("b1", "b2", "b3"), TopicConfig(min_insync_replicas=min_isr), min_isr_capped=profile.min_isr_capped_by_replication)
        self.replica.leader, self.replica.leader_epoch = "b1", epoch
        self.replica.log.epochs.assign(epoch, 0)
        self.leadership = self.replica.leadership = Leadership("b1", ("b1", "b2", "b3"), isr, epoch, 0, False, 0, T0)
        self.leading = Leading("b1", profile, self.config, {"t-0": self.replica}, image, Directories(1, 0))
        self.leading.watch(self.replica)
        self.out: list[Effect] = []
        self.sequence = 0

    def produce(self, count: int = 1, *, acks: int = -1, now: int = T0, timeout_ms: int = 30_000, client: str = "c1") -> ProduceResponse | None:
        batch = RecordBatch("t-0", "p1", range(self.sequence, self.sequence + count), 100)
        self.sequence += count
        return self.leading.produce(client, ProduceRequest(acks, timeout_ms, (batch,)), now, self.out)

    def fetch(
        self, follower: str, offset: int, *, now: int = T0, epoch: int | None = None, last_epoch: int | None = None, broker_epoch: int | None = None
    ) -> None:
        epoch = self.replica.leader_epoch if epoch is None else epoch
        at = FetchPartition("t-0", offset, epoch, (epoch if offset else -1) if last_epoch is None else last_epoch)
        number = int(follower[1]) if broker_epoch is None else broker_epoch
        self.leading.fetch(f"{follower}->b1", FetchRequest(follower, number, f"{follower}->b1" not in self.leading.sessions, (at,), (), 500), now, self.out)

    def answers(self) -> list[object]:
        found, self.leading.answers = [response for _, response in self.leading.answers], []
        return found

    def codes(self) -> list[ErrorCode]:
        return [result.error for response in self.answers() if isinstance(response, ProduceResponse) for result in response.results]

    @property
    def high_watermark(self) -> int:
        return self.replica.log.high_watermark


def test_bv_136_a_follower_was_last_caught_up_when_a_fetch_reached_the_end_of_the_fetch_before() -> None:
    follower = Follower()
    follower.fetched(5, 10, T0, -1)
    assert follower.last_caught_up <= LONG_AGO
    follower.fetched(10, 15, T0 + 1, -1)
    assert follower.last_caught_up == T0
    follower.fetched(15, 15, T0 + 2, -1)
    assert follower.last_caught_up == T0 + 2


@pytest.mark.parametrize(
    ("wait", "leader_end", "caught_up"),
    [
        pytest.param(s(31), 10, True, id="BV-137 BV-152 at the log end"),
        pytest.param(s(31), 11, False, id="RP-16 behind for too long"),
        pytest.param(s(29), 11, True, id="RP-16 behind, but not for long"),
    ],
)
def test_a_follower_is_caught_up_at_the_log_end_or_for_a_while_behind_it(wait: int, leader_end: int, caught_up: bool) -> None:
    follower = Follower()
    follower.fetched(10, 10, T0, -1)

    assert follower.is_caught_up(leader_end, T0 + wait, s(30)) is caught_up


def test_bv_139_the_same_leader_keeps_what_it_knew_under_a_higher_epoch() -> None:
    stage = Stage()
    stage.produce(11)
    stage.fetch("b2", 10)
    stage.leadership.lead_again(("b1", "b2"), 6, 1, False, 11, T0 + s(50))

    assert stage.leadership.followers["b2"].log_end_offset == 10
    assert (stage.leadership.followers["b2"].last_caught_up, stage.leadership.followers["b3"].last_caught_up) == (T0 + s(50), LONG_AGO)


def test_bv_140_a_follower_joins_the_isr_at_the_high_watermark_and_for_admission_only_when_the_controller_agrees() -> None:
    stage = Stage(isr=("b1",))
    stage.produce(10)
    assert stage.high_watermark == 10, "RP-28: alone in the ISR"

    stage.fetch("b2", 3)
    assert stage.leading.proposals == []
    stage.fetch("b2", 10, now=T0 + 1)

    assert (stage.leadership.committed, stage.leadership.maximal) == (("b1",), ("b1", "b2"))
    stage.leadership.settle(("b1", "b2"), 1, False)
    assert stage.leadership.committed == ("b1", "b2")


def test_bv_133_bv_134_a_follower_must_reach_the_start_of_the_current_epoch() -> None:
    stage = Stage(isr=("b1", "b2"))
    stage.produce(5)
    stage.fetch("b2", 2)
    stage.leadership.lead_again(("b1", "b2"), 5, 1, False, 5, T0)

    stage.fetch("b3", 2)
    assert stage.leading.proposals == [], "at the high watermark, but before the epoch's start (KAFKA-7128)"
    stage.fetch("b3", 5)
    assert stage.leading.proposals == [stage.replica]


def test_bv_143_a_fenced_follower_is_not_proposed() -> None:
    """KIP-841; and an older incarnation neither (KIP-903)."""
    stage = Stage(isr=("b1",))
    stage.image.apply([BrokerRecord("b2", 2, True)])
    stage.fetch("b2", 0)
    stage.image.apply([BrokerRecord("b3", 9, False)])
    stage.fetch("b3", 0)

    assert stage.leading.proposals == []


def test_bv_145_bv_146_a_shrink_counts_for_the_high_watermark_only_when_it_is_committed() -> None:
    stage = Stage()
    stage.produce(10)
    stage.fetch("b2", 10)
    stage.leading.check_isr(T0)
    assert stage.leading.proposals == []

    stage.leading.check_isr(T0 + s(30) + 1)

    assert stage.leadership.proposed_isr() == ("b1", "b2")
    assert (len(stage.leadership.maximal), stage.high_watermark) == (3, 0)
    stage.leadership.settle(("b1", "b2"), 1, False)
    stage.leading.advance(stage.replica, T0 + s(31), stage.out)
    assert stage.high_watermark == 10


def test_bv_151_bv_155_a_follower_that_reached_the_previous_end_is_not_out_of_sync() -> None:
    stage = Stage(isr=("b1", "b2"), lag_ms=10_000)
    stage.fetch("b2", 0)
    stage.produce(10)
    stage.fetch("b2", 5, now=T0 + s(5))
    stage.produce(5, now=T0 + ms(10_001))
    stage.fetch("b2", 10, now=T0 + ms(10_001))

    assert stage.leadership.out_of_sync(15, T0 + ms(10_001), s(10)) == ()
    assert stage.leadership.followers["b2"].last_caught_up == T0 + s(5)


def test_bv_154_a_follower_that_never_fetches_falls_out() -> None:
    stage = Stage(lag_ms=100)
    stage.produce(20)

    assert stage.leadership.out_of_sync(20, T0 + ms(150), ms(100)) == ("b2", "b3")


def test_an_idle_partition_is_caught_up_as_of_the_sessions_last_fetch() -> None:
    """KIP-227: no fetch names it, and yet each finds it at the end."""
    stage = Stage(isr=("b1", "b2"), lag_ms=1_000)
    stage.fetch("b2", 0)
    stage.leading.wake(T0 + ms(500), stage.out)
    stage.leading.fetch("b2->b1", FetchRequest("b2", 2, False, (), (), 500), T0 + s(60), stage.out)
    stage.produce(1, now=T0 + s(60) + ms(400))

    assert stage.leadership.out_of_sync(1, T0 + s(60) + ms(900), s(1)) == ()
    assert stage.leadership.out_of_sync(1, T0 + s(62), s(1)) == ("b2",)


def test_rp_22_a_replica_outside_the_isr_that_keeps_up_holds_the_high_watermark_back() -> None:
    stage = Stage(isr=("b1", "b2"))
    stage.fetch("b3", 0)
    stage.leadership.give_up()
    stage.produce(10)
    stage.fetch("b2", 10)

    assert stage.high_watermark == 0
    stage.fetch("b3", 10)
    assert stage.high_watermark == 10


@pytest.mark.parametrize(("kafka", "moved"), [("4.3", 0), ("3.6", 3)])
def test_rp_23_below_min_isr_the_high_watermark_stands_still_since_3_7(kafka: str, moved: int) -> None:
    stage = Stage(min_isr=2, kafka=kafka)
    stage.produce(3)
    stage.leadership.settle(("b1",), 1, False)

    stage.leading.advance(stage.replica, T0 + s(60), stage.out)

    assert stage.high_watermark == moved


@pytest.mark.parametrize(("kafka", "codes"), [("4.3", []), ("3.6", [ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND])])
def test_bp_46_a_request_caught_by_a_shrink_below_min_isr(kafka: str, codes: list[ErrorCode]) -> None:
    """Up to 3.6 the shrink itself commits the record and reports it failed; since 3.7 the request waits for its own time-out (live facts S6)."""
    stage = Stage(min_isr=2, kafka=kafka)
    assert stage.produce(3, timeout_ms=6_000) is None
    stage.leadership.settle(("b1",), 1, False)
    stage.leading.advance(stage.replica, T0 + s(60), stage.out)
    assert stage.codes() == codes

    stage.leading.wake(T0 + s(60), stage.out)

    assert stage.codes() == ([] if codes else [ErrorCode.REQUEST_TIMED_OUT])


def test_bp_24_below_min_isr_acks_all_is_refused_before_the_append_and_the_others_are_not() -> None:
    stage = Stage(isr=("b1",), min_isr=2)
    refused = stage.produce(1)
    accepted = [stage.produce(1, acks=acks) for acks in (0, 1)]

    assert refused is not None
    assert refused.results[0].error is ErrorCode.NOT_ENOUGH_REPLICAS
    assert [response.results[0].error for response in accepted if response] == [ErrorCode.NONE, ErrorCode.NONE]
    assert stage.replica.log.log_end_offset == 2


def test_bp_26_min_isr_is_capped_by_the_replication_factor_since_3_7() -> None:
    assert [Stage(min_isr=5, kafka=kafka).replica.min_isr for kafka in ("4.3", "3.6")] == [3, 5]


def test_bp_44_at_its_time_out_a_parked_request_is_answered_with_its_base_offset_and_the_records_stay() -> None:
    stage = Stage()
    stage.produce(2, timeout_ms=1_000)
    stage.produce(3, timeout_ms=1_000, client="c2")

    stage.leading.wake(T0 + s(1), stage.out)
    answers = [response for response in stage.answers() if isinstance(response, ProduceResponse)]

    assert [(answer.results[0].error, answer.results[0].base_offset) for answer in answers] == [
        (ErrorCode.REQUEST_TIMED_OUT, 0),
        (ErrorCode.REQUEST_TIMED_OUT, 2),
    ]
    assert stage.replica.log.log_end_offset == 5


def test_bp_27_a_duplicate_waits_for_the_original_to_be_committed() -> None:
    stage = Stage(isr=("b1", "b2"))
    batch = RecordBatch("t-0", "p1", range(2), 100, 7, 0, 0)
    for client in ("c1", "c2"):
        assert stage.leading.produce(client, ProduceRequest(-1, 30_000, (batch,)), T0, stage.out) is None

    stage.fetch("b2", 2)

    assert stage.codes() == [ErrorCode.NONE, ErrorCode.NONE]
    assert stage.replica.log.log_end_offset == 2


def test_bp_47_who_loses_the_leadership_answers_all_that_waits() -> None:
    stage = Stage()
    stage.produce(1)

    stage.replica.leadership = None
    stage.leading.abandon(stage.replica)

    assert stage.codes() == [ErrorCode.NOT_LEADER_OR_FOLLOWER]


def test_bp_14_a_stale_leader_names_the_new_one() -> None:
    """KIP-951."""
    stage = Stage()
    stage.replica.leadership = None
    stage.image.apply([PartitionRecord("t-0", ("b1", "b2", "b3"), ("b2", "b3"), (), (), "b2", 6, 1, False)])
    response = stage.produce(1)

    assert response is not None
    assert (response.results[0].error, response.results[0].leader, response.results[0].leader_epoch) == (ErrorCode.NOT_LEADER_OR_FOLLOWER, "b2", 6)


@pytest.mark.parametrize(
    ("epoch", "error"),
    [(4, ErrorCode.FENCED_LEADER_EPOCH), (6, ErrorCode.UNKNOWN_LEADER_EPOCH)],
    ids=["BV-164 BV-176 an older epoch", "BV-164 a newer epoch"],
)
def test_a_fetch_under_another_epoch_is_refused_and_moves_nothing(epoch: int, error: ErrorCode) -> None:
    stage = Stage()
    stage.produce(5)
    stage.fetch("b2", 0)
    stage.answers()

    stage.fetch("b2", 3, epoch=epoch)

    (answer,) = stage.answers()
    assert isinstance(answer, FetchResponse)
    assert answer.partitions[0].error is error
    assert stage.leadership.followers["b2"].log_end_offset == 0, "RP-14"


def test_bv_163_a_fetch_from_a_broker_outside_the_assignment_is_refused() -> None:
    stage = Stage()
    stage.fetch("b4", 0, broker_epoch=-1)

    (answer,) = stage.answers()
    assert isinstance(answer, FetchResponse)
    assert answer.partitions[0].error is ErrorCode.UNKNOWN_LEADER_EPOCH


def test_rp_12_a_fetch_of_an_older_incarnation_counts_for_nothing() -> None:
    stage = Stage()
    stage.produce(5)
    stage.image.apply([BrokerRecord("b2", 9, False)])
    stage.fetch("b2", 5, broker_epoch=2)

    (answer,) = stage.answers()
    assert isinstance(answer, FetchResponse)
    assert answer.partitions[0].error is ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert stage.leadership.followers["b2"].log_end_offset == -1


def test_rp_5_a_follower_learns_one_fetch_later_that_its_records_are_committed() -> None:
    stage = Stage(isr=("b1", "b2"))
    stage.produce(1)
    stage.fetch("b2", 0)
    stage.fetch("b2", 1)
    first = [response for response in stage.answers() if isinstance(response, FetchResponse)]
    assert [response.partitions[0].high_watermark for response in first] == [0]
    assert stage.high_watermark == 1, "the second fetch says so, and is parked: news of the high watermark wakes nobody (RP-6)"

    stage.leading.wake(T0 + ms(500), stage.out)

    (late,) = (response for response in stage.answers() if isinstance(response, FetchResponse))
    assert late.partitions[0].high_watermark == 1


def test_bv_173_a_parked_fetch_is_answered_when_its_leader_steps_down() -> None:
    stage = Stage()
    stage.fetch("b2", 0)
    assert stage.answers() == []

    stage.replica.leadership, stage.replica.leader_epoch = None, 6
    stage.leading.tell_followers(("t-0",))

    (answer,) = stage.answers()
    assert isinstance(answer, FetchResponse)
    assert answer.partitions[0].error is ErrorCode.FENCED_LEADER_EPOCH
