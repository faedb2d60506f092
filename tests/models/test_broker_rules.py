"""Rules of a broker that stand between its parts: what it refuses, for whom it waits, when it leaves by itself."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.errors import known_to
from ksim_models.facts import GaveUp
from ksim_models.isr import Leadership
from ksim_models.log import Log
from ksim_models.machine import Closed, Crashed, Exit, Received, Restarted, Terminated, Wake
from ksim_models.messages import (
    AlterPartitionRequest,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRecord,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    FetchRequest,
    MetadataRequest,
    MetadataResponse,
    PartitionRecord,
    ProduceRequest,
    RecordBatch,
    TopicRecord,
)
from ksim_models.producer_state import Answer
from ksim_models.units import ms, s
from lone_broker import BROKERS, LoneBroker, partition
from lone_controller import LoneController

TWO = (("min.insync.replicas", "2"),)


# What is refused.


@pytest.mark.parametrize("acks", [-2, 2, 1000])
def test_bp_20_a_number_of_acks_that_is_none_refuses_every_partition_and_appends_nothing(acks: int) -> None:
    alone = LoneBroker()
    client = alone.client()
    batches = tuple(RecordBatch(name, "p1", range(1), 100) for name in ("t-0", "t-7"))
    alone.tell(Received(client, ProduceRequest(acks, 30_000, batches)))

    assert alone.codes(client) == [E.INVALID_REQUIRED_ACKS, E.UNKNOWN_TOPIC_OR_PARTITION], "BP-11 comes before"
    assert alone.replica.log.log_end_offset == 0
    assert alone.answers(client)[0].results[0].log_start_offset == -1


@pytest.mark.parametrize("topic", ["__consumer_offsets", "__transaction_state"])
@pytest.mark.parametrize("leader", ["b1", "b2"])
def test_bp_21_an_internal_topic_is_not_for_clients_to_write(topic: str, leader: str) -> None:
    """Whoever leads it."""
    alone = LoneBroker()
    alone.learn(TopicRecord(topic, 1, ()), PartitionRecord(f"{topic}-0", BROKERS, BROKERS, (), (), leader, 0, 0, False))
    client = alone.client()
    alone.produce(client, name=f"{topic}-0", acks=1)
    alone.produce(client, name="__mine-0", acks=1)

    assert alone.codes(client) == [E.INVALID_TOPIC_EXCEPTION, E.UNKNOWN_TOPIC_OR_PARTITION]
    assert alone.broker.replicas[f"{topic}-0"].log.log_end_offset == 0


def test_bp_11_what_the_brokers_metadata_lacks_is_unknown_and_the_rest_goes_on() -> None:
    alone = LoneBroker()
    client = alone.client()
    alone.tell(Received(client, ProduceRequest(1, 30_000, tuple(RecordBatch(name, "p1", range(1), 100) for name in ("u-0", "t-0")))))

    assert alone.codes(client) == [E.UNKNOWN_TOPIC_OR_PARTITION, E.NONE]


# acks.


@pytest.mark.parametrize(("kafka", "seen"), [("3.6", 1), ("3.7", 0), ("4.3", 0)])
def test_bp_25_rp_28_a_lone_leader_takes_acks_1_below_the_minimum_and_commits_it_only_before_3_7(kafka: str, seen: int) -> None:
    alone = LoneBroker(partition(isr=("b1",)), kafka=kafka, topic=TWO)
    client = alone.client()
    alone.produce(client, acks=1)

    assert (alone.codes(client), alone.replica.log.high_watermark) == ([E.NONE], seen)


def test_rp_28_alone_in_the_isr_acks_all_is_no_more_than_acks_1() -> None:
    alone = LoneBroker(partition(isr=("b1",)))
    client = alone.client()
    alone.produce(client)

    assert (alone.codes(client), alone.replica.log.high_watermark) == ([E.NONE], 1)


def test_lr_2_an_acknowledged_record_need_not_be_on_any_disk() -> None:
    alone = LoneBroker(partition(isr=("b1",)))
    alone.produce(client := alone.client())

    assert alone.codes(client) == [E.NONE]
    assert alone.replica.log.durable_end(alone.now) == 0


def test_bp_46_rp_60_a_shrink_that_no_controller_confirms_fails_nobody_and_commits_nothing() -> None:
    """b2 and b3 are gone, and so is the controller: the waiting request runs into its time-out, not into NOT_ENOUGH_REPLICAS_AFTER_APPEND."""
    alone = LoneBroker(topic=TWO, replica_lag_time_max_ms=1000)
    client = alone.client()
    alone.tell(Closed(alone.controller))
    alone.produce(client, timeout_ms=30_000)
    alone.until(s(10))
    leadership = alone.replica.leadership
    assert leadership is not None
    assert (leadership.shrinking, leadership.maximal, alone.codes(client)) == (("b2", "b3"), BROKERS, [])
    alone.produce(other := alone.client("p2"), acks=1)
    alone.until(s(30))

    assert (alone.codes(client), alone.codes(other)) == ([E.REQUEST_TIMED_OUT], [E.NONE])
    assert alone.replica.log.high_watermark == 0


def test_bp_48_who_waits_at_a_broker_that_hands_over_is_told_when_another_leads() -> None:
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client)
    alone.tell(Terminated())
    assert alone.codes(client) == []
    alone.learn(BrokerRecord("b1", 1, False, True), partition("b2", epoch=1, partition_epoch=1, isr=("b2", "b3")))

    assert alone.codes(client) == [E.NOT_LEADER_OR_FOLLOWER]


def test_bp_12_kc_73_a_deposed_leader_takes_what_a_better_informed_producer_sends_and_fences_only_fetches() -> None:
    """b2 leads under epoch 1; b1 has not heard of it."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, acks=1)
    alone.fetch("b2", 0, epoch=1)

    assert alone.codes(client) == [E.NONE]
    assert [told.error for answer in alone.answers("b2->b1#1", object) for told in getattr(answer, "partitions", ())] == [E.UNKNOWN_LEADER_EPOCH]
    assert "leader_epoch" not in ProduceRequest.__annotations__


# Followers.


def test_rp_17_a_follower_that_waits_at_the_log_end_is_caught_up_however_long_nothing_comes() -> None:
    alone = LoneBroker(replica_lag_time_max_ms=1000)
    for follower in ("b2", "b3"):
        alone.fetch(follower, 0)
    alone.until(s(60))

    assert alone.asked(AlterPartitionRequest) == []


def test_rp_51_where_nothing_is_written_not_even_the_dead_fall_behind() -> None:
    leadership = Leadership("b1", BROKERS, BROKERS, 0, 0, False, 0, 0)
    for follower in leadership.followers.values():
        follower.fetched(7, 7, 0, -1)

    assert leadership.out_of_sync(7, s(3600), ms(1000)) == ()
    assert leadership.out_of_sync(8, s(3600), ms(1000)) == ("b2", "b3")


def test_rp_8_rp_71_a_new_leader_writes_nothing_and_a_new_isr_interrupts_no_fetcher() -> None:
    alone = LoneBroker(partition("b2"))
    alone.accept_opens()
    fetches = len(alone.asked(FetchRequest))
    alone.learn(partition("b2", partition_epoch=1, isr=("b1", "b2")))
    assert len(alone.asked(FetchRequest)) == fetches
    alone.learn(partition("b1", epoch=1, partition_epoch=2))

    assert alone.replica.log.log_end_offset == 0
    assert alone.replica.log.epochs.entries == [(1, 0)]


def test_rp_37_a_new_follower_asks_from_its_log_end_at_once_and_cuts_nothing_before() -> None:
    """From 2.7 on: the leader says where the histories part."""
    alone = LoneBroker()
    alone.produce(alone.client(), acks=1)
    alone.learn(partition("b2", epoch=1, partition_epoch=1))
    alone.accept_opens()
    (asked,) = alone.asked(FetchRequest)

    assert [(position.fetch_offset, position.last_fetched_epoch) for position in asked.partitions] == [(1, 0)]


def test_rp_35_kc_74_a_deposed_leader_cuts_even_below_its_high_watermark_where_the_new_one_has_less() -> None:
    """That is where acknowledged records are lost."""
    alone = LoneBroker(partition(isr=("b1",)))
    alone.produce(client := alone.client(), count=5)
    assert (alone.codes(client), alone.replica.log.high_watermark) == ([E.NONE], 5)
    alone.learn(partition("b2", epoch=1, partition_epoch=1, isr=("b2",)))
    assert alone.replica.leadership is None
    alone.replica.truncate_where_diverging(0, 0)

    assert (alone.replica.log.log_end_offset, alone.replica.log.high_watermark) == (0, 0)


# Metadata.


def test_kc_82_a_client_is_told_what_the_asked_broker_believes() -> None:
    alone = LoneBroker()
    client = alone.client()
    alone.tell(Received(client, MetadataRequest(("t",))))
    alone.learn(partition("b2", epoch=1, partition_epoch=1))
    alone.tell(Received(client, MetadataRequest(("t",))))

    assert [answer.topics[0].partitions[0].leader for answer in alone.answers(client, MetadataResponse)] == ["b1", "b2"]


# Connections.


def test_bp_6_what_is_answered_late_keeps_its_connection_and_what_waits_unread_does_not() -> None:
    """A muted connection is not read: only the answer counts (IdleExpiryManager)."""
    alone = LoneBroker(connections_max_idle_ms=20_000)
    client = alone.client()
    alone.produce(client, timeout_ms=15_000)
    alone.until(s(15))
    assert alone.codes(client) == [E.REQUEST_TIMED_OUT]
    alone.until(s(35))
    assert alone.closed == []
    alone.until(s(35) + ms(1))
    assert alone.closed == [client]
    alone.sequence = 0
    waiting = alone.client("p2")
    alone.produce(waiting, timeout_ms=60_000)
    alone.until(s(50))
    alone.produce(waiting)
    alone.until(s(55) + ms(1) + ms(1))

    assert alone.closed == [client, waiting]


# A broker's life.


@pytest.mark.parametrize(("kafka", "pauses"), [("3.9.1", [100, 200, 400, 800, 1600, 3200, 6400, 9000, 9000]), ("4.0.0", [100, 200]), ("4.0.1", [2000] * 9)])
def test_kc_15_a_registration_that_is_refused_is_repeated_ever_later_before_kafka_19294(kafka: str, pauses: list[int]) -> None:
    alone = LoneBroker(kafka=kafka)
    alone.tell(Crashed())
    alone.opened.clear()
    alone.tell(Restarted())
    alone.until(s(3))
    alone.accept_opens()
    found = []
    for _ in pauses:
        asked, refused_at = len(alone.asked(BrokerRegistrationRequest)), alone.now
        alone.tell(Received(alone.controller, BrokerRegistrationResponse(E.DUPLICATE_BROKER_REGISTRATION, -1)))
        while len(alone.asked(BrokerRegistrationRequest)) == asked:
            assert alone.broker.wake_at is not None
            alone.until(alone.broker.wake_at)
        found.append((alone.now - refused_at) // 1000)

    assert found == pauses, "the dice say a half: no jitter"


def test_kc_15_an_answer_without_an_error_begins_anew() -> None:
    alone = LoneBroker(kafka="3.9.1")
    beats = alone.asked(BrokerHeartbeatRequest)
    for error, pause in ((E.STALE_BROKER_EPOCH, 100), (E.STALE_BROKER_EPOCH, 200), (E.NONE, 2000), (E.STALE_BROKER_EPOCH, 100)):
        sent, answered_at = len(alone.asked(BrokerHeartbeatRequest)), alone.now
        alone.tell(Received(alone.controller, BrokerHeartbeatResponse(error, True, False)))
        alone.until(answered_at + ms(pause) - 1)
        assert len(alone.asked(BrokerHeartbeatRequest)) == sent
        alone.until(answered_at + ms(pause))
        assert len(alone.asked(BrokerHeartbeatRequest)) == sent + 1
    assert len(beats) == 1


def test_kc_1_a_broker_that_is_not_registered_within_a_minute_exits() -> None:
    """initial.broker.registration.timeout.ms."""
    alone = LoneBroker()
    alone.tell(Crashed())
    alone.opened.clear()
    alone.tell(Restarted())
    starts_at = alone.broker.booted_at
    alone.until(starts_at + s(60) - 1)
    assert alone.broker.running
    alone.now = starts_at + s(60)

    assert Exit() in alone.tell(Wake())
    assert alone.broker.wake_at is None
    assert alone.facts == [GaveUp("b1", "initial.broker.registration.timeout.ms")]


def test_kc_1_a_broker_that_is_registered_in_time_stays_whatever_comes_then() -> None:
    alone = LoneBroker()
    alone.tell(Crashed())
    alone.opened.clear()
    alone.tell(Restarted())
    alone.come_back()
    alone.tell(Closed(alone.controller))
    alone.until(s(600))

    assert alone.broker.running


@pytest.mark.parametrize(("kafka", "leaves"), [("3.7", False), ("3.8", True), ("4.3", True)])
def test_bp_30_a_broker_that_cannot_tell_of_a_failed_directory_shuts_down_from_3_8_on(kafka: str, leaves: bool) -> None:
    """KAFKA-15649, log.dir.failure.timeout.ms: in an orderly way, which ends after five minutes where nobody answers."""
    alone = LoneBroker(kafka=kafka, log_dirs="/d1,/d2")
    alone.learn(TopicRecord("t", 2, ()), PartitionRecord("t-1", BROKERS, BROKERS, (), (), "b1", 0, 0, False))
    alone.tell(Received(alone.controller, BrokerHeartbeatResponse(E.NONE, True, False)))
    alone.tell(Closed(alone.controller))
    alone.broker.directories.fail("t-1", alone.now)
    alone.produce(alone.client(), name="t-1", acks=1)
    alone.until(s(30) - 1)
    assert not alone.broker.roles.shutting_down
    alone.until(s(30))
    assert (alone.broker.roles.shutting_down, alone.broker.running) == (leaves, True)
    assert [fact for fact in alone.facts if isinstance(fact, GaveUp)] == ([GaveUp("b1", "log.dir.failure.timeout.ms")] if leaves else [])
    alone.until(s(330))

    assert alone.broker.running is not leaves


def test_bp_30_a_broker_whose_heartbeat_was_answered_meanwhile_stays() -> None:
    alone = LoneBroker(log_dirs="/d1,/d2")
    alone.learn(TopicRecord("t", 2, ()), PartitionRecord("t-1", BROKERS, BROKERS, (), (), "b1", 0, 0, False))
    alone.broker.directories.fail("t-1", alone.now)
    alone.produce(alone.client(), name="t-1", acks=1)
    alone.tell(Received(alone.controller, BrokerHeartbeatResponse(E.NONE, True, False)))
    alone.until(s(600))

    assert alone.broker.running
    assert not alone.broker.roles.shutting_down


def test_kc_11_lr_11_a_broker_starts_recovers_runs_and_leaves() -> None:
    """STARTING, RECOVERY, RUNNING, PENDING_CONTROLLED_SHUTDOWN; its logs are there before it asks to be registered."""
    alone = LoneBroker()
    alone.tell(Crashed())
    alone.opened.clear()
    alone.tell(Restarted())
    membership = alone.broker.membership
    assert (membership.epoch, membership.was_unfenced) == (-1, False)
    assert (alone.asked(BrokerRegistrationRequest), list(alone.broker.logs)) == ([], ["t-0"])
    alone.come_back()
    assert (membership.epoch, membership.was_unfenced, membership.leaving) == (alone.offset, True, False)
    alone.tell(Terminated())

    assert (membership.leaving, membership.may_stop) == (True, False)


def test_lr_12_after_a_crash_of_the_process_everything_appended_is_there_committed_or_not() -> None:
    alone = LoneBroker()
    alone.produce(alone.client(), count=5, acks=1)
    alone.tell(Crashed())
    alone.opened.clear()
    alone.tell(Restarted())
    alone.come_back()

    assert alone.broker.logs["t-0"].log_end_offset == 5


# Producers.


def idempotent(sequence: int, count: int = 1) -> RecordBatch:
    return RecordBatch("t-0", "p1", range(count), 100, 7, 0, sequence, max_timestamp=1000 * sequence)


def test_ps_1_ps_15_a_producer_is_remembered_by_its_last_five_batches_and_its_newest_time_stamp() -> None:
    log = Log()
    for number in range(7):
        log.append_as_leader(idempotent(2 * number, 2), 0)
    entry = log.producers.entries[7]

    assert entry.batches == [(first, first + 1, first) for first in (4, 6, 8, 10, 12)]
    assert (entry.epoch, entry.timestamp) == (0, 12_000)


@pytest.mark.parametrize(("first", "count"), [(0, 2), (4, 1), (4, 4), (5, 2), (15, 1)], ids=["older", "half", "two in one", "shifted", "a gap"])
def test_ps_16_ps_17_what_is_neither_next_nor_one_of_the_five_is_out_of_order(first: int, count: int) -> None:
    """Never DUPLICATE_SEQUENCE_NUMBER or UNKNOWN_PRODUCER_ID."""
    log = Log()
    for number in range(7):
        log.append_as_leader(idempotent(2 * number, 2), 0)

    assert log.producers.judge(idempotent(first, count))[0] is Answer.OUT_OF_ORDER


def test_ps_51_a_deleted_segment_takes_no_producer_out_of_memory() -> None:
    log = Log()
    log.append_as_leader(idempotent(0), 0)
    log.roll(0)
    log.append_as_leader(RecordBatch("t-0", "p2", range(1), 100), 0)
    log.advance_high_watermark(2, 0)
    log.remove_segments(1, 0)

    assert (log.log_start_offset, log.producers.judge(idempotent(0))[0]) == (1, Answer.DUPLICATE)


# The controller.


def test_kc_52_kc_56_the_last_member_of_an_isr_stays_in_it_or_goes_into_the_elr() -> None:
    """Without eligible leader replicas it is elected again, cleanly, whatever its disk has lost."""
    told: dict[str, tuple[object, ...]] = {}
    for version in ("4.0", "4.1"):
        cluster = LoneController(version, given=TWO)
        cluster.fence("2", "3", "1")
        told[version] = cluster.shape(), cluster.elr()[0]
        cluster.silence("1")
        assert cluster.register("1") is E.NONE
        cluster.unfence("1")
        told[version] = (*told[version], cluster.shape())

    assert told["4.0"] == (("", "1"), "", ("1", "1"))
    assert told["4.1"][:2] == (("", ""), "13"), "2 left while the ISR was large enough"
    assert told["4.1"][2] == ("", ""), "KC-54: it came back without a clean shutdown"


def test_kc_66_what_is_accepted_is_answered_with_the_new_state() -> None:
    cluster = LoneController()
    answer = cluster.alter("12")

    assert (answer.error, answer.leader, answer.leader_epoch, answer.isr, answer.recovering, answer.partition_epoch) == (E.NONE, "1", 0, ("1", "2"), False, 1)


def test_err_2_too_small_an_isr_sends_nobody_for_new_metadata() -> None:
    """Both are retriable."""
    errors = (E.NOT_ENOUGH_REPLICAS, E.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

    assert [(error.retriable, error.invalid_metadata) for error in errors] == [(True, False)] * 2
    assert known_to((2, 8, 0), errors[0]) is errors[0]
