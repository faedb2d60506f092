"""What a leader does: append, park, commit, answer; and what it tells its followers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Appended, Deduplicated, HighWatermark, LogStartMoved, MarkerWritten, Rejected, TimedOut
from ksim_models.machine import Asked, Effect, Note, Opened, Received
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResult,
    BrokerRecord,
    DeleteRecordsRequest,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    Marker,
    PartitionRecord,
    ProduceRequest,
    ProduceResponse,
    RecordBatch,
    RemoveTopicRecord,
    TopicRecord,
)
from ksim_models.units import Micros, ms, s
from lone_broker import BROKERS, LoneBroker, partition


def fetched(alone: LoneBroker, follower: str = "b2") -> list[FetchResponse]:
    return alone.answers(f"{follower}->b1#1", FetchResponse)


@pytest.mark.parametrize(
    ("settings", "produce", "error"),
    [
        pytest.param({"first": partition("b2")}, {}, E.NOT_LEADER_OR_FOLLOWER, id="BP-22 another broker leads"),
        pytest.param({}, {"name": "t-7"}, E.UNKNOWN_TOPIC_OR_PARTITION, id="BP-22 there is no such partition"),
        pytest.param({"topic": (("min.insync.replicas", "2"),), "first": partition(isr=("b1",))}, {}, E.NOT_ENOUGH_REPLICAS, id="BP-24 the ISR is too small"),
        pytest.param({}, {"size": 1_048_589}, E.MESSAGE_TOO_LARGE, id="BP-28 one byte more than max.message.bytes"),
        pytest.param({"topic": (("max.message.bytes", "50"),)}, {"size": 51}, E.MESSAGE_TOO_LARGE, id="BP-28 as the topic says"),
    ],
)
def test_what_is_refused_is_not_appended_and_answered_at_once(settings: dict[str, object], produce: dict[str, object], error: E) -> None:
    alone = LoneBroker(**settings)  # type: ignore[arg-type]
    client = alone.client()
    alone.produce(client, **produce)  # type: ignore[arg-type]

    assert alone.codes(client) == [error]
    assert [result.base_offset for answer in alone.answers(client) for result in answer.results] == [-1]
    assert [type(fact) for fact in alone.facts] == [Rejected]


def test_a_batch_of_exactly_max_message_bytes_is_taken() -> None:
    """BP-28."""
    alone = LoneBroker(topic=(("max.message.bytes", "50"),))
    client = alone.client()
    alone.produce(client, acks=1, size=50)

    assert alone.codes(client) == [E.NONE]


@pytest.mark.parametrize(
    ("name", "ids", "error"),
    [
        pytest.param("t-0", (("t", 0),), E.NONE, id="a topic that is known"),
        pytest.param("t-7", (("t", 0),), E.UNKNOWN_TOPIC_OR_PARTITION, id="that has no such partition"),
        pytest.param("u-0", (("u", 9),), E.UNKNOWN_TOPIC_ID, id="KafkaApis.handleProduceRequest: a new one, of which this broker has not heard yet"),
        pytest.param("u-0", (), E.UNKNOWN_TOPIC_OR_PARTITION, id="named by a client before 4.1"),
        pytest.param("__consumer_offsets-0", (), E.UNKNOWN_TOPIC_OR_PARTITION, id="BP-21 an internal one that nobody has created yet"),
        pytest.param("__consumer_offsets-1", (), E.INVALID_TOPIC_EXCEPTION, id="BP-21 an internal one"),
        pytest.param("__own-0", (), E.NONE, id="BP-21 one that is only called so"),
    ],
)
def test_bp_16_what_is_said_of_a_topic(name: str, ids: tuple[tuple[str, int], ...], error: E) -> None:
    alone = LoneBroker(partition(isr=("b1",)))
    for topic in ("__consumer_offsets", "__own"):
        alone.learn(TopicRecord(topic, 2, (), 3))
    for led in ("__consumer_offsets-1", "__own-0"):
        alone.learn(PartitionRecord(led, ("b1",), ("b1",), (), (), "b1", 0, 0, False))
    client = alone.client()
    alone.tell(Received(client, ProduceRequest(1, 30_000, (RecordBatch(name, "p1", range(1), 100),), ids)))

    assert alone.codes(client) == [error]
    assert [fact.error for fact in alone.facts if isinstance(fact, Rejected)] == ([error.name] if error else [])


@pytest.mark.parametrize("acks", [0, 1])
def test_min_insync_replicas_concerns_acks_all_only(acks: int) -> None:
    """BP-24."""
    alone = LoneBroker(partition(isr=("b1",)), topic=(("min.insync.replicas", "2"),))
    client = alone.client()
    alone.produce(client, acks=acks)

    assert alone.replica.log.log_end_offset == 1


def test_acks_1_is_answered_when_the_leader_has_it() -> None:
    """BP-40."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, acks=1)

    assert alone.codes(client) == [E.NONE]
    assert alone.replica.log.high_watermark == 0


def both(acks: int = -1) -> ProduceRequest:
    batches = tuple(RecordBatch(name, "p1", range(1), size) for name, size in (("t-0", 100), ("t-7", 100)))
    return ProduceRequest(acks, 30_000, batches)


def test_partitions_of_one_request_fare_independently_and_one_slow_one_holds_the_answer() -> None:
    """BP-23, BP-41, BP-43."""
    alone = LoneBroker()
    client = alone.client()
    alone.tell(Received(client, both()))
    assert alone.answers(client) == [], "t-0 was appended and waits; t-7 failed at once"
    for follower in ("b2", "b3"):
        alone.fetch(follower, 0)
        alone.fetch(follower, 1, last_epoch=0, full=False)

    assert alone.codes(client) == [E.NONE, E.UNKNOWN_TOPIC_OR_PARTITION]


def test_where_nothing_was_appended_nothing_is_parked() -> None:
    """BP-41."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, name="t-7")

    assert not alone.broker.leading.parked


@pytest.mark.parametrize(("shrunk", "error"), [(False, E.NONE), (True, E.NOT_ENOUGH_REPLICAS_AFTER_APPEND)])
def test_committed_with_too_small_an_isr_is_reported_as_failed(shrunk: bool, error: E) -> None:
    """BP-42: the records are in the log either way. 3.6: the high watermark moves below the minimum too (RP-23)."""
    alone = LoneBroker(kafka="3.6", topic=(("min.insync.replicas", "2"),))
    client = alone.client()
    alone.produce(client)
    alone.fetch("b2", 0)
    alone.fetch("b2", 1, last_epoch=0, full=False)
    assert alone.codes(client) == []
    alone.learn(BrokerRecord("b3", 3, fenced=True), partition(isr=("b1",) if shrunk else ("b1", "b2"), partition_epoch=1))

    assert alone.codes(client) == [error]
    assert alone.replica.log.high_watermark == 1


def test_the_high_watermark_follows_the_slowest_of_the_isr_and_acknowledges_what_it_passes() -> None:
    """RP-24, RP-25, RP-20."""
    alone = LoneBroker()
    client = alone.client()
    alone.fetch("b2", 0)
    alone.fetch("b3", 0)
    alone.produce(client)
    alone.fetch("b2", 1, last_epoch=0, full=False)
    assert (alone.replica.log.high_watermark, alone.codes(client)) == (0, [])
    alone.fetch("b3", 1, last_epoch=0, full=False)

    assert (alone.replica.log.high_watermark, alone.codes(client)) == (1, [E.NONE])
    assert [type(fact) for fact in alone.facts] == [Appended, HighWatermark]


def test_time_alone_moves_no_high_watermark() -> None:
    """RP-24: an outsider that ceases to be caught up holds it back until somebody's fetch moves."""
    alone = LoneBroker(replica_lag_time_max_ms=1000)
    client = alone.client()
    alone.learn(partition(isr=("b1", "b2"), partition_epoch=1))
    alone.fetch("b2", 0)
    alone.produce(client)
    alone.fetch("b2", 1, last_epoch=0, full=False)
    alone.until(s(5))
    assert alone.replica.log.high_watermark == 0, "RP-22: b3 was in the ISR a moment ago"
    alone.produce(alone.client("p2"), acks=1)

    assert alone.replica.log.high_watermark == 1


@pytest.mark.parametrize(
    ("request_epoch", "error"), [(4, E.FENCED_LEADER_EPOCH), (6, E.UNKNOWN_LEADER_EPOCH)], ids=["RP-10 an older epoch", "RP-10 a newer epoch"]
)
def test_a_fetch_under_another_leader_epoch_is_refused_and_changes_nothing(request_epoch: int, error: E) -> None:
    alone = LoneBroker(partition(epoch=5))
    alone.fetch("b2", 0, epoch=request_epoch)
    leadership = alone.replica.leadership
    assert leadership is not None

    assert [entry.error for entry in fetched(alone)[0].partitions] == [error]
    assert leadership.followers["b2"].log_end_offset == -1, "RP-14"


def test_the_epoch_is_looked_at_before_the_role() -> None:
    """RP-10."""
    alone = LoneBroker(partition("b3", epoch=5))
    alone.fetch("b2", 0, epoch=4)
    alone.fetch("b2", 0, epoch=5)

    assert [entry.error for answer in fetched(alone) for entry in answer.partitions] == [E.FENCED_LEADER_EPOCH, E.NOT_LEADER_OR_FOLLOWER]


def test_a_broker_outside_the_assignment_is_told_to_wait_for_metadata() -> None:
    """RP-11."""
    alone = LoneBroker()
    alone.fetch("b9", 0)

    assert [entry.error for entry in fetched(alone, "b9")[0].partitions] == [E.UNKNOWN_LEADER_EPOCH]


@pytest.mark.parametrize(("name", "error"), [("t-1", E.NOT_LEADER_OR_FOLLOWER), ("t-7", E.UNKNOWN_TOPIC_OR_PARTITION)])
def test_a_follower_is_told_of_a_partition_that_others_have_or_nobody(name: str, error: E) -> None:
    """ReplicaManager.getPartitionOrError, as for everybody else."""
    alone = LoneBroker()
    alone.learn(PartitionRecord("t-1", ("b2", "b3"), ("b2", "b3"), (), (), "b2", 0, 0, False))
    alone.tell(Opened("b3->b1#1", "b3", True))
    alone.tell(Received("b3->b1#1", FetchRequest("b3", 3, True, (FetchPartition(name, 0, 0, -1),), (), 500)))

    assert [entry.error for entry in fetched(alone, "b3")[0].partitions] == [error]


def test_an_answer_carries_the_high_watermark_from_before_its_own_fetch() -> None:
    """RP-13, RP-5: so a follower learns one round later that its copy is committed."""
    alone = LoneBroker()
    client = alone.client()
    alone.fetch("b2", 0)
    alone.fetch("b3", 0)
    alone.produce(client)
    alone.fetch("b2", 1, last_epoch=0, full=False)
    alone.fetch("b3", 1, last_epoch=0, full=False)
    told = [entry.high_watermark for answer in fetched(alone, "b3") for entry in answer.partitions]
    assert told == [0]
    alone.until(ms(500))

    assert [entry.high_watermark for entry in fetched(alone, "b3")[-1].partitions] == [1], "RP-6: no earlier than its waiting ends"


@pytest.mark.parametrize("event", ["data", "another epoch", "500 ms"])
def test_what_ends_the_waiting_of_a_fetch(event: str) -> None:
    """RP-80: data at once, a new leader epoch at once, else replica.fetch.wait.max.ms."""
    alone = LoneBroker()
    client = alone.client()
    alone.fetch("b2", 0)
    alone.until(ms(499))
    assert fetched(alone) == []
    if event == "data":
        alone.produce(client)
    elif event == "another epoch":
        alone.learn(partition(epoch=1, partition_epoch=1))
    else:
        alone.until(ms(500))

    (answer,) = fetched(alone)
    assert {"data": [0], "another epoch": [], "500 ms": []}[event] == [batch.base_offset for entry in answer.partitions for batch in entry.batches]


def test_a_waiting_fetch_is_answered_with_all_that_one_request_appended() -> None:
    """RP-80: it is completed when the request has been handled (ReplicaManager.tryCompleteActions), not batch by batch."""
    alone = LoneBroker()
    alone.learn(dataclasses.replace(partition(), partition="t-1"))
    positions = tuple(FetchPartition(name, 0, 0, -1) for name in ("t-0", "t-1"))
    alone.tell(Opened("b2->b1#1", "b2", True))
    alone.tell(Received("b2->b1#1", FetchRequest("b2", 2, True, positions, (), 500)))
    batches = tuple(RecordBatch(name, "p1", range(1), 100) for name in ("t-0", "t-1"))
    alone.tell(Received(alone.client(), ProduceRequest(-1, 30_000, batches)))

    assert [[entry.partition for entry in answer.partitions if entry.batches] for answer in fetched(alone)] == [["t-0", "t-1"]]


def test_a_fetch_says_how_far_its_follower_is() -> None:
    """RP-15: caught up now, or as of the fetch before; it may step back."""
    alone = LoneBroker()
    client = alone.client()
    leadership = alone.replica.leadership
    assert leadership is not None
    follower = leadership.followers["b2"]
    alone.until(ms(100))
    alone.fetch("b2", 0)
    alone.until(ms(200))
    alone.produce(client)
    alone.produce(alone.client("p2"))
    alone.until(ms(300))
    alone.fetch("b2", 1, last_epoch=0, full=False)

    assert (follower.log_end_offset, follower.last_caught_up) == (1, ms(100))


def test_a_follower_without_news_stays_parked_at_the_log_end() -> None:
    alone = LoneBroker()
    alone.fetch("b2", 0)
    alone.tell(Received("b2->b1#1", FetchRequest("b2", 2, False, (), (), 500)))

    assert fetched(alone) == []
    assert set(BROKERS) == {"b1", "b2", "b3"}


def test_a_follower_whose_log_left_the_leaders_is_told_where() -> None:
    """RP-32."""
    alone = LoneBroker(partition(isr=("b1",)))
    client = alone.client()
    alone.produce(client, count=3)
    alone.learn(partition(epoch=4, partition_epoch=1, isr=("b1",)))
    position = FetchPartition("t-0", 5, 4, 2)
    alone.fetch("b2", 0, epoch=4)
    alone.sent.clear()
    alone.tell(Received("b2->b1#1", FetchRequest("b2", 2, False, (position,), (), 500)))

    assert [(entry.diverging_epoch, entry.diverging_end_offset, entry.batches) for entry in fetched(alone)[0].partitions] == [(0, 3, ())]


def test_what_the_history_is_told_of_a_produce_request() -> None:
    alone = LoneBroker(partition(isr=("b1",), epoch=3))
    client = alone.client()
    batch = RecordBatch("t-0", "p1", range(3, 5), 100, 7, 0, 0)
    for _ in range(2):
        alone.tell(Received(client, ProduceRequest(1, 30_000, (batch,))))
    alone.tell(Received(client, ProduceRequest(1, 30_000, (dataclasses.replace(batch, partition="t-7"),))))

    assert alone.facts == [
        Appended("b1", "t-0", "p1", range(3, 5), 0, 3),
        HighWatermark("b1", "t-0", 2),
        Deduplicated("b1", "t-0", "p1", range(3, 5), 0),
        Rejected("b1", "t-7", "p1", range(3, 5), "UNKNOWN_TOPIC_OR_PARTITION"),
    ]


@pytest.mark.parametrize(("kafka", "hint"), [("4.3", ("b2", 1)), ("3.6", ("", -1))])
def test_who_is_refused_is_told_who_leads(kafka: str, hint: tuple[str, int]) -> None:
    """BP-14 (KIP-951, 3.7)."""
    alone = LoneBroker(partition("b2", epoch=1), kafka=kafka)
    client = alone.client()
    alone.produce(client, acks=1)
    (result,) = alone.answers(client)[0].results

    assert (result.error, result.leader, result.leader_epoch) == (E.NOT_LEADER_OR_FOLLOWER, *hint)


@pytest.mark.parametrize(("kafka", "hint"), [("4.3", ("b2", 1)), ("3.6", ("", -1))])
def test_a_parked_request_that_fails_with_its_leader_is_told_who_leads_now(kafka: str, hint: tuple[str, int]) -> None:
    """BP-14, BP-47 (KIP-951, 3.7): the answer of a delayed produce passes the same place of KafkaApis as that of any other."""
    alone = LoneBroker(kafka=kafka)
    client = alone.client()
    alone.produce(client)
    alone.learn(partition("b2", epoch=1, partition_epoch=1, isr=("b2", "b3")))
    (result,) = alone.answers(client)[0].results

    assert (result.error, result.leader, result.leader_epoch) == (E.NOT_LEADER_OR_FOLLOWER, *hint)


def test_a_duplicate_is_acknowledged_with_its_original_though_more_was_appended_since() -> None:
    """BP-27: another producer's later batch does not hold it up."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    first, later, again = alone.client("p1"), alone.client("p2"), alone.client("p3")
    original = ProduceRequest(-1, 30_000, (RecordBatch("t-0", "p1", range(1), 100, 7, 0, 0),))
    alone.tell(Received(first, original))
    alone.produce(later)
    alone.tell(Received(again, original))
    alone.fetch("b2", 0)
    alone.fetch("b2", 1, last_epoch=0, full=False)

    assert [alone.codes(client) for client in (first, later, again)] == [[E.NONE], [], [E.NONE]]


def test_a_duplicate_goes_before_all_that_waits_for_more() -> None:
    """BP-27: its original was written with acks=1, and three others wait behind it."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    clients = [alone.client(f"p{number}") for number in range(5)]
    batch = RecordBatch("t-0", "p0", range(1), 100, 7, 0, 0)
    alone.tell(Received(clients[0], ProduceRequest(1, 30_000, (batch,))))
    for client in clients[1:4]:
        alone.produce(client)
    alone.tell(Received(clients[4], ProduceRequest(-1, 30_000, (batch,))))
    alone.fetch("b2", 0)
    alone.fetch("b2", 1, last_epoch=0, full=False)
    assert [alone.codes(client) for client in clients] == [[E.NONE], [], [], [], [E.NONE]]
    alone.fetch("b2", 3, last_epoch=0, full=False)

    assert [alone.codes(client) for client in clients] == [[E.NONE], [E.NONE], [E.NONE], [], [E.NONE]]


@pytest.mark.parametrize(
    ("kafka", "fenced", "high_watermark"),
    [
        pytest.param("3.5", True, 0, id="RP-22 before 3.6 for any that keeps up"),
        pytest.param("3.6", True, 1, id="RP-22 KAFKA-15021: only for one that may join"),
        pytest.param("3.6", False, 0, id="RP-22 which this one may"),
    ],
)
def test_whom_outside_the_isr_the_high_watermark_waits_for(kafka: str, fenced: bool, high_watermark: int) -> None:
    alone = LoneBroker(partition(isr=("b1", "b2")), kafka=kafka)
    alone.learn(BrokerRecord("b3", 3, fenced=fenced))
    alone.fetch("b2", 0)
    alone.fetch("b3", 0)
    alone.produce(alone.client(), acks=1)
    alone.fetch("b2", 1, last_epoch=0, full=False)

    assert alone.replica.log.high_watermark == high_watermark


@pytest.mark.parametrize(
    ("settle", "error"),
    [
        pytest.param(lambda alone: alone.fetch("b2", 1, last_epoch=0, full=False), E.NONE, id="committed"),
        pytest.param(lambda alone: alone.until(s(1)), E.REQUEST_TIMED_OUT, id="it has waited too long"),
        pytest.param(lambda alone: alone.learn(partition("b2", epoch=1, partition_epoch=1)), E.NOT_LEADER_OR_FOLLOWER, id="another leads"),
    ],
)
@pytest.mark.parametrize("way", ["append", "await"])
def test_the_broker_waits_for_a_commit_as_a_client_does(way: str, settle: Callable[[LoneBroker], None], error: E) -> None:
    """GC-9, TC-4: what a coordinator writes, or finds written, and nobody's record: no fact tells of it."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    leading, told = alone.broker.leading, list[tuple[E, int]]()

    def then(error: E, base_offset: int, now: Micros, out: list[Effect]) -> None:
        told.append((error, base_offset))

    if way == "append":
        leading.append_internal("t-0", ("an offset",), 100, acks=-1, timeout_ms=1_000, then=then, now=0, out=[])
    else:
        alone.produce(alone.client(), acks=1)
        leading.await_commit("t-0", 1_000, then, 0, [])
    alone.fetch("b2", 0)
    alone.until(s(1) - 1)
    assert told == []
    settle(alone)

    assert told == [(error, 0 if way == "append" else 1)]
    assert [type(fact) for fact in alone.facts if isinstance(fact, Appended | TimedOut)] == ([] if way == "append" else [Appended])


@pytest.mark.parametrize(("acks", "error"), [(-1, E.NOT_ENOUGH_REPLICAS_AFTER_APPEND), (1, E.NONE)])
def test_what_the_broker_writes_with_acks_1_needs_no_minimum_of_the_isr(acks: int, error: E) -> None:
    """GC-9, BP-42; 3.6: the high watermark moves below the minimum too (RP-23)."""
    alone = LoneBroker(partition(isr=("b1", "b2")), kafka="3.6", topic=(("min.insync.replicas", "2"),))
    told: list[E] = []
    alone.broker.leading.append_internal("t-0", ("an offset",), 100, acks=acks, timeout_ms=1_000, then=lambda error, *rest: told.append(error), now=0, out=[])
    alone.learn(BrokerRecord("b2", 2, fenced=True), partition(isr=("b1",), partition_epoch=1))

    assert told == [error]


def test_only_a_clients_records_are_told_to_have_waited_too_long() -> None:
    """BP-44: the base offset is filled in, the records stay."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    client = alone.client()
    marker = RecordBatch("t-0", "", range(1), 78, 0, 3, -1, transactional=True, marker=Marker(True, 4))
    alone.broker.leading.append_own((marker,), -1, 1_000, lambda response, now, out: None, 0, [])
    alone.produce(client, timeout_ms=1_000)
    alone.until(s(1))

    assert [(result.error, result.base_offset) for result in alone.answers(client)[0].results] == [(E.REQUEST_TIMED_OUT, 1)]
    assert [fact for fact in alone.facts if isinstance(fact, TimedOut)] == [TimedOut("b1", "t-0", "p1", range(1), "REQUEST_TIMED_OUT")]
    assert alone.replica.log.log_end_offset == 2


def test_a_fetch_may_bring_its_follower_into_the_isr_before_it_moves_the_high_watermark() -> None:
    """RP-53, Partition.updateFollowerFetchState. An outsider that holds the high watermark back joins at it, though it is no longer caught up."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.fetch("b2", 0)
    alone.fetch("b3", 0)
    alone.tell(Received(alone.controller, AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", E.OPERATION_NOT_ATTEMPTED),))))
    assert alone.replica.leadership is not None
    client = alone.client()
    for _ in range(3):
        alone.produce(client, acks=1)
    alone.fetch("b2", 3, last_epoch=0, full=False)
    assert alone.replica.log.high_watermark == 0, "b3 is caught up as far as it goes, and waited for"
    outsider = alone.replica.leadership.followers["b3"]
    outsider.last_caught_up = outsider.last_fetch_at = -s(31)
    alone.fetch("b3", 2, last_epoch=0, full=False)

    assert (alone.replica.leadership.maximal, alone.replica.log.high_watermark) == (("b1", "b2", "b3"), 2)


@pytest.mark.parametrize("acks", [1, -1])
def test_a_success_says_where_the_log_starts(acks: int) -> None:
    """BP-49."""
    alone = LoneBroker(partition(isr=("b1",)))
    client = alone.client()
    alone.produce(client, 3)
    alone.replica.log.move_start(2, 0)
    alone.produce(client, acks=acks)

    assert [result.log_start_offset for answer in alone.answers(client) for result in answer.results] == [0, 2]


def test_an_answer_says_where_the_log_starts() -> None:
    """BP-49, BV-038: with a success, a duplicate, and what the log itself refused; not where the broker does not lead, nor where the batch is too large."""
    alone = LoneBroker(partition(isr=("b1",)), topic=(("max.message.bytes", "500"),))
    client = alone.client()
    alone.produce(client, 3)
    log = alone.replica.log
    log.move_start(2, 0)
    cases = [(0, 100, 2), (0, 100, 2), (7, 100, 2), (1, 900, -1)]
    for sequence, size, _ in cases:
        alone.tell(Received(client, ProduceRequest(-1, 30_000, (RecordBatch("t-0", "p1", range(1), size, 7, 0, sequence),))))
    alone.learn(partition("b2", epoch=1, partition_epoch=1))
    alone.produce(client)
    results = [result for response in alone.answers(client) for result in response.results][1:]

    assert [result.error for result in results] == [E.NONE, E.NONE, E.OUT_OF_ORDER_SEQUENCE_NUMBER, E.MESSAGE_TOO_LARGE, E.NOT_LEADER_OR_FOLLOWER]
    assert [result.log_start_offset for result in results] == [*(start for _, _, start in cases), -1]


@pytest.mark.parametrize(
    ("compression", "raw", "error", "in_log"),
    [
        pytest.param("producer", 900, E.NONE, 400, id="it stays as it came"),
        pytest.param("uncompressed", 900, E.MESSAGE_TOO_LARGE, 0, id="too large once it is unpacked"),
        pytest.param("uncompressed", 500, E.NONE, 500, id="unpacked, and small enough"),
        pytest.param("uncompressed", 0, E.NONE, 400, id="it came uncompressed"),
        pytest.param("gzip", 900, E.NONE, 400, id="every codec is alike"),
    ],
)
def test_the_leader_unpacks_what_shall_not_be_compressed_and_looks_at_its_size_again(compression: str, raw: int, error: E, in_log: int) -> None:
    """BP-28: UnifiedLog.append, LogValidator (messageSizeMaybeChanged); the followers fetch what is in the log."""
    alone = LoneBroker(partition(isr=("b1",)), topic=(("max.message.bytes", "500"), ("compression.type", compression)))
    client = alone.client()
    alone.tell(Received(client, ProduceRequest(1, 30_000, (RecordBatch("t-0", "p1", range(1), 400, raw_bytes=raw),))))

    assert alone.codes(client) == [error]
    assert alone.replica.log.size_bytes == in_log


def test_a_batch_larger_than_a_segment_is_refused() -> None:
    """BP-28: RECORD_LIST_TOO_LARGE, which is no MESSAGE_TOO_LARGE: it is not split."""
    alone = LoneBroker(partition(isr=("b1",)), topic=(("internal.segment.bytes", "500"),))
    client = alone.client()
    alone.produce(client, size=501)
    alone.produce(client, size=500)

    assert alone.codes(client) == [E.RECORD_LIST_TOO_LARGE, E.NONE]


def test_bp_16_a_topic_of_another_id_is_another_topic() -> None:
    """KIP-516: one that was deleted and created again, or is not there at all; where the client names no id the name is enough."""
    alone = LoneBroker(partition(isr=("b1",)))
    client = alone.client()
    led = PartitionRecord("u-0", ("b1",), ("b1",), (), (), "b1", 0, 0, False)
    alone.learn(TopicRecord("u", 1, (), 7), led)
    alone.learn(RemoveTopicRecord("u", 7), TopicRecord("u", 1, (), 8), led)
    batches = tuple(RecordBatch(name, "p1", range(1), 100) for name in ("t-0", "u-0"))
    for ids in ((("t", 0), ("u", 8)), (("t", 0), ("u", 7)), (("t", 0), ("v", 7)), ()):
        alone.tell(Received(client, ProduceRequest(1, 30_000, batches, ids)))

    assert [tuple(result.error for result in answer.results) for answer in alone.answers(client)] == [
        (E.NONE, E.NONE),
        (E.NONE, E.UNKNOWN_TOPIC_ID),
        (E.NONE, E.NONE),
        (E.NONE, E.NONE),
    ]
    assert [fact.error for fact in alone.facts if isinstance(fact, Rejected)] == ["UNKNOWN_TOPIC_ID"]


@pytest.mark.parametrize(
    ("name", "before", "start"),
    [
        pytest.param("t-0", 2, 2, id="in the middle"),
        pytest.param("t-0", 4, 4, id="BV-094 up to the high watermark"),
        pytest.param("t-0", -1, 4, id="BV-094 -1: the high watermark"),
        pytest.param("t-0", 5, 1, id="BV-094 not beyond it"),
        pytest.param("t-0", 1, 1, id="it starts there already"),
        pytest.param("t-9", 2, 1, id="a partition that is not there"),
        pytest.param("t-1", 2, 1, id="one that another broker leads"),
    ],
)
def test_records_are_deleted_up_to_an_offset_that_is_committed(name: str, before: int, start: int) -> None:
    """BV-094; the followers hear of it with the next answer (RP-5)."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    client, log = alone.client(), alone.replica.log
    alone.learn(PartitionRecord("t-1", ("b1", "b2"), ("b1", "b2"), (), (), "b2", 0, 0, False))
    for _ in range(5):
        alone.produce(client, acks=1)
    alone.fetch("b2", 0)
    alone.fetch("b2", 4, last_epoch=0, full=False)
    log.move_start(1, 0)
    alone.tell(Asked(DeleteRecordsRequest(name, before)))

    assert (log.high_watermark, log.log_start_offset) == (4, start)
    assert [fact for fact in alone.facts if isinstance(fact, LogStartMoved)] == ([LogStartMoved("b1", "t-0", start, "delete-records")] if start > 1 else [])
    assert ("t-0" in alone.broker.leading.sessions["b2->b1#1"].high_watermarks) is (start > 1)


def test_a_fetch_that_leaves_the_leaders_log_at_its_very_beginning_is_no_progress() -> None:
    """RP-14, RP-32: no epoch of the follower's was ever here."""
    alone = LoneBroker(partition(epoch=4))
    alone.produce(alone.client())
    alone.tell(Opened("b2->b1#1", "b2", True))
    alone.tell(Received("b2->b1#1", FetchRequest("b2", 2, True, (FetchPartition("t-0", 1, 4, 2),), (), 500)))
    assert alone.replica.leadership is not None

    assert [(entry.diverging_epoch, entry.diverging_end_offset) for entry in fetched(alone)[0].partitions] == [(2, 0)]
    assert alone.replica.leadership.followers["b2"].log_end_offset == -1


def test_a_fetch_that_names_nothing_brings_its_follower_back_too() -> None:
    """RP-53: b3 stood at the log end all the time, and was fenced."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.learn(BrokerRecord("b3", 3, fenced=True))
    alone.fetch("b3", 0)
    alone.until(ms(500))
    assert (len(fetched(alone, "b3")), alone.asked(AlterPartitionRequest)) == (1, [])
    alone.learn(BrokerRecord("b3", 3, fenced=False))
    alone.tell(Received("b3->b1#1", FetchRequest("b3", 3, False, (), (), 500)))

    proposed = [item.new_isr for asked in alone.asked(AlterPartitionRequest) for item in asked.items]
    assert proposed == [(("b1", 1), ("b2", -1), ("b3", 3))], "b2 has not fetched yet, so its epoch is not known"


def test_a_marker_is_told_with_its_producer_and_is_nobodys_record() -> None:
    """PS-30, PS-32; producer ids begin at 0."""
    alone = LoneBroker(partition(isr=("b1",)))
    out: list[Effect] = []
    for epoch, committed in ((3, True), (2, True), (4, False)):
        marker = RecordBatch("t-0", "", range(1), 78, 0, epoch, -1, transactional=True, marker=Marker(committed, 4))
        alone.broker.leading.append_own((marker,), -1, 1_000, lambda response, now, out: None, 0, out)
    facts = [effect.fact for effect in out if isinstance(effect, Note)]

    assert [fact for fact in facts if not isinstance(fact, HighWatermark)] == [
        MarkerWritten("b1", "t-0", 0, 3, True, 0),
        MarkerWritten("b1", "t-0", 0, 4, False, 1),
    ], "the second one is of an older epoch"
    answers = [answer for _, answer in alone.broker.leading.answers if isinstance(answer, ProduceResponse)]
    assert [answer.results[0].error for answer in answers] == [E.NONE, E.INVALID_PRODUCER_EPOCH, E.NONE]
