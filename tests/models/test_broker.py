"""A broker: one request of a connection at a time, roles as the metadata log gives them, and what a restart leaves."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Became
from ksim_models.machine import Closed, Crashed, Received, Restarted, Wake
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResult,
    ApiVersionsRequest,
    ApiVersionsResponse,
    BrokerRecord,
    BrokerRegistrationResponse,
    FetchedPartition,
    FetchRequest,
    FetchResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataRecord,
    MetadataRequest,
    MetadataResponse,
    PartitionRecord,
    ProduceRequest,
    RecordBatch,
    RemoveTopicRecord,
    TopicRecord,
)
from ksim_models.units import ms, s
from lone_broker import BROKERS, LoneBroker, partition


def test_the_next_request_of_a_connection_is_served_when_the_one_before_is_answered() -> None:
    """BP-1: also an ApiVersions request behind a parked Produce; another connection does not wait."""
    alone = LoneBroker()
    one, other = alone.client("p1"), alone.client("p2")
    alone.produce(one)
    alone.tell(Received(one, ApiVersionsRequest()))
    alone.tell(Received(other, ApiVersionsRequest()))
    assert alone.answers(one, ApiVersionsResponse) == []
    assert alone.answers(other, ApiVersionsResponse) == [ApiVersionsResponse(transaction_version=2, features_epoch=0)]

    for follower in ("b2", "b3"):
        alone.fetch(follower, 0)
        alone.fetch(follower, 1, last_epoch=0, full=False)

    assert [type(message).__name__ for to, message in alone.sent if to == one] == ["ProduceResponse", "ApiVersionsResponse"]


@pytest.mark.parametrize("limit_ms", [0, 1])
def test_a_lag_limit_without_a_half_is_not_looked_at_periodically(limit_ms: int) -> None:
    """ReplicaManager.startup: every replica.lag.time.max.ms / 2, whole milliseconds; KafkaScheduler runs a period of 0 once."""
    alone = LoneBroker(replica_lag_time_max_ms=limit_ms, replica_fetch_wait_max_ms=0)

    for _ in range(3):
        alone.tell(Wake())

    assert alone.broker.wake_at is not None
    assert alone.broker.wake_at > alone.now


def test_a_request_that_allows_no_time_is_answered_at_once_and_the_next_one_served() -> None:
    """BP-44: a delayed produce of 0 ms has expired when it is made."""
    alone = LoneBroker()
    client = alone.client()
    for _ in range(2):
        alone.produce(client, timeout_ms=0)

    assert [answer.results[0].error for answer in alone.answers(client)] == [E.REQUEST_TIMED_OUT] * 2
    assert alone.replica.log.log_end_offset == 2


def test_behind_a_dead_connection_two_requests_are_finished_and_the_rest_is_dropped() -> None:
    """BP-3, measured (live facts S1): the one at hand, and one more before the broker notices; their answers go nowhere."""
    alone = LoneBroker()
    client = alone.client()
    for _ in range(5):
        alone.produce(client)
    alone.sent.clear()
    alone.tell(Closed(client))
    for follower in ("b2", "b3"):
        alone.fetch(follower, 0)
    for end in range(1, 6):
        for follower in ("b2", "b3"):
            alone.fetch(follower, min(end, alone.replica.log.log_end_offset), last_epoch=0, full=False)

    assert alone.replica.log.log_end_offset == 2
    assert alone.answers(client) == []
    assert client not in alone.broker.inbound


def test_acks_0_has_no_answer_and_an_error_only_closes_the_connection() -> None:
    """BP-13."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, acks=0)
    assert (alone.answers(client), alone.closed) == ([], [])
    alone.produce(client, acks=0, size=2_000_000)

    assert (alone.answers(client), alone.closed) == ([], [client])


def test_a_new_leader_keeps_its_own_high_watermark_and_begins_its_epoch_at_its_log_end() -> None:
    """RP-26, RP-70, RP-40."""
    alone = LoneBroker(partition("b2"))
    alone.accept_opens()
    (fetch,) = [connection for connection, message in alone.sent if isinstance(message, FetchRequest)]
    log = alone.replica.log
    batches = tuple(RecordBatch("t-0", "p1", range(n, n + 1), 100, -1, -1, -1, n, 0) for n in range(5))
    alone.tell(Received(fetch, FetchResponse((FetchedPartition("t-0", E.NONE, 3, 0, batches),))))
    alone.learn(partition("b1", epoch=1, partition_epoch=1, isr=("b1", "b3")))

    assert (log.log_end_offset, log.high_watermark) == (5, 3)
    assert log.epochs.entries == [(0, 0), (1, 5)]
    assert alone.facts[-1] == Became("b1", "t-0", "leader", 1, 5, 3)


@pytest.mark.parametrize(("kafka", "epochs"), [("4.3", (2, 3)), ("3.5", (2, 3)), ("3.4", (-1, -1))])
def test_a_proposed_isr_names_the_broker_epochs_that_the_followers_fetches_gave(kafka: str, epochs: tuple[int, int]) -> None:
    """RP-55 (KIP-903, 3.5): before, fetches gave none, and the controller could not tell one incarnation from the next."""
    alone = LoneBroker(partition(isr=("b1", "b2")), kafka=kafka)
    alone.fetch("b2", 0)
    alone.fetch("b3", 0)
    (request,) = alone.asked(AlterPartitionRequest)

    assert request.broker_epoch == 1
    assert request.items[0].new_isr == (("b1", 1), ("b2", epochs[0]), ("b3", epochs[1]))


def test_a_late_answer_to_a_proposal_that_the_metadata_log_overtook_is_ignored() -> None:
    """RP-58."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.fetch("b3", 0)
    alone.learn(partition(isr=("b1",), partition_epoch=2))
    leadership = alone.replica.leadership
    assert leadership is not None
    assert (leadership.committed, leadership.in_flight) == (("b1",), False)
    late = AlterPartitionResult("t-0", E.NONE, "b1", 0, ("b1", "b2", "b3"), False, 1)
    alone.tell(Received(alone.controller, AlterPartitionResponse(E.NONE, (late,))))

    assert leadership.committed == ("b1",)


def test_answers_to_a_proposal() -> None:
    """RP-57: given up, waiting for the metadata log, or asked again at once."""
    for error, in_flight, asked in ((E.INELIGIBLE_REPLICA, False, 1), (E.INVALID_UPDATE_VERSION, True, 1), (E.UNKNOWN_SERVER_ERROR, True, 2)):
        alone = LoneBroker(partition(isr=("b1", "b2")))
        alone.fetch("b3", 0)
        alone.tell(Received(alone.controller, AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", error),))))
        leadership = alone.replica.leadership
        assert leadership is not None

        assert (leadership.in_flight, len(alone.asked(AlterPartitionRequest))) == (in_flight, asked), error


def test_a_second_proposal_for_a_partition_is_not_attempted_while_one_is_under_way() -> None:
    """RP-56, RP-57: it is given up until the next fetch asks for it again."""
    alone = LoneBroker(partition(isr=("b1",)))
    alone.fetch("b2", 0)
    alone.learn(partition(isr=("b1", "b2"), partition_epoch=1))
    alone.fetch("b3", 0)
    leadership = alone.replica.leadership
    assert leadership is not None
    assert (len(alone.asked(AlterPartitionRequest)), leadership.in_flight) == (1, False)
    alone.tell(Received(alone.controller, AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", E.NONE, "b1", 0, ("b1", "b2"), False, 1),))))
    alone.until(ms(500))
    alone.fetch("b3", 0, full=False)

    assert [replica for replica, _ in alone.asked(AlterPartitionRequest)[1].items[0].new_isr] == ["b1", "b2", "b3"]


def test_a_proposal_that_changed_nothing_is_settled_too() -> None:
    """Partition.handleAlterPartitionUpdate: an equal partition epoch is good enough."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.fetch("b3", 0)
    alone.tell(Received(alone.controller, AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", E.NONE, "b1", 0, ("b1", "b2"), False, 0),))))
    leadership = alone.replica.leadership

    assert leadership is not None
    assert (leadership.committed, leadership.in_flight) == (("b1", "b2"), False)


def test_an_unclean_leader_calls_itself_recovered_in_the_first_change_it_asks_for() -> None:
    """RP-70: it asks for none on its own account."""
    alone = LoneBroker(partition(isr=("b1",), epoch=1, recovering=True))
    assert alone.asked(AlterPartitionRequest) == []
    alone.fetch("b2", 0, epoch=1)

    assert [item.recovering for item in alone.asked(AlterPartitionRequest)[0].items] == [False]


def test_a_deposed_leader_answers_what_waits_and_follows_the_new_one() -> None:
    """RP-72, BP-47: the records stay in its log until the new leader's tell otherwise."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client)
    alone.learn(partition("b2", epoch=1, partition_epoch=1, isr=("b2", "b3")))
    alone.accept_opens()

    assert alone.codes(client) == [E.NOT_LEADER_OR_FOLLOWER]
    assert (alone.replica.leadership, alone.replica.log.log_end_offset) == (None, 1)
    assert alone.asked(FetchRequest)[-1].partitions[0].last_fetched_epoch == 0


def test_without_a_leader_nobody_is_followed() -> None:
    """RP-72."""
    alone = LoneBroker()
    alone.learn(partition("", epoch=1, partition_epoch=1, isr=("b1",)))

    assert alone.opened == []


def test_the_image_changes_before_the_role() -> None:
    """RP-73: one delta, first what it answers, then what it is; of several records about a partition only the last is acted upon."""
    alone = LoneBroker()
    client = alone.client()
    alone.learn(partition("b2", epoch=1, partition_epoch=1), partition("b1", epoch=2, partition_epoch=2), BrokerRecord("b3", 3, fenced=True))
    alone.tell(Received(client, MetadataRequest(("t",))))
    (answer,) = alone.answers(client, MetadataResponse)

    assert (answer.brokers, answer.topics[0].partitions[0].leader) == (("b1", "b2"), "b1")
    assert [fact.leader_epoch for fact in alone.facts if isinstance(fact, Became)] == [2]


def test_a_role_of_an_older_partition_epoch_is_ignored() -> None:
    """RP-59."""
    alone = LoneBroker(partition(partition_epoch=5))
    alone.learn(partition("b2", epoch=1, partition_epoch=4))

    assert alone.replica.leadership is not None


@pytest.mark.parametrize(
    ("kafka", "recreated", "hosted", "end"),
    [
        pytest.param("3.6", False, [], None, id="deleted meanwhile"),
        pytest.param("3.6", True, [], None, id="KAFKA-14616 before 3.7: created again too, it is hosted when it is next spoken of"),
        pytest.param("3.7", False, [], None, id="deleted meanwhile"),
        pytest.param("3.7", True, ["t-0"], 0, id="created again: another log"),
    ],
)
def test_a_log_whose_topic_was_deleted_while_its_broker_was_away_goes(kafka: str, recreated: bool, hosted: list[str], end: int | None) -> None:
    """KRaft's strays (ReplicaManager, BrokerMetadataPublisher): it reads the metadata log from its beginning."""
    alone = LoneBroker(partition(isr=("b1",)), kafka=kafka)
    alone.produce(alone.client(), 3)
    alone.tell(Crashed())
    alone.opened.clear()
    alone.tell(Restarted())
    alone.until(s(3))
    alone.accept_opens()
    alone.tell(Received(alone.controller, BrokerRegistrationResponse(E.NONE, 9)))
    topics: list[MetadataRecord] = [TopicRecord("t", 1, (), 5), partition(isr=("b1",))] if recreated else []
    alone.offset = 0
    brokers = (BrokerRecord(name, number, False) for number, name in enumerate(BROKERS, 1))
    alone.learn(*brokers, TopicRecord("t", 1, ()), partition(isr=("b1",)), RemoveTopicRecord("t", 0), *topics)

    assert list(alone.broker.replicas) == list(alone.broker.logs) == hosted
    assert [log.log_end_offset for log in alone.broker.logs.values()] == ([] if end is None else [end])
    if recreated:
        alone.learn(partition(isr=("b1",), partition_epoch=1))
        assert list(alone.broker.replicas) == ["t-0"]


def test_a_replica_that_is_taken_away_leaves_nothing_and_whoever_waits_for_it_hears_so() -> None:
    """BP-47, BV-172: a reassignment."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client)
    alone.fetch("b2", 1, last_epoch=0)
    alone.learn(PartitionRecord("t-0", ("b2", "b3"), ("b2", "b3"), (), (), "b2", 1, 1, False))

    assert (alone.broker.replicas, alone.broker.logs) == ({}, {})
    assert alone.codes(client) == [E.NOT_LEADER_OR_FOLLOWER]
    assert [entry.error for answer in alone.answers("b2->b1#1", FetchResponse) for entry in answer.partitions] == [E.NOT_LEADER_OR_FOLLOWER]


def test_producer_ids_are_unique_across_brokers_and_restarts() -> None:
    """I1, KIP-730, as far as it matters: no id is given twice."""
    alone = LoneBroker()
    found = []
    for _ in range(2):
        client = alone.client()
        for _ in range(2):
            alone.tell(Received(client, InitProducerIdRequest()))
        found += [answer.producer_id for answer in alone.answers(client, InitProducerIdResponse)]
        alone.sent.clear()
        alone.tell(Crashed())
        alone.tell(Restarted())
        alone.come_back()

    assert len(set(found)) == 4


def test_a_broker_without_a_controller_gives_producer_ids_of_the_block_that_it_has_and_no_more() -> None:
    """KIP-730, KAFKA-14417: COORDINATOR_LOAD_IN_PROGRESS, after which every client asks again."""
    alone = LoneBroker()
    client = alone.client()
    alone.tell(Closed(alone.controller))
    alone.tell(Received(client, InitProducerIdRequest()))
    alone.until(alone.now + s(1))
    alone.accept_opens()
    for _ in range(1_000):
        alone.tell(Received(client, InitProducerIdRequest()))
    alone.tell(Closed(alone.controller))
    alone.tell(Received(client, InitProducerIdRequest()))

    errors = [answer.error for answer in alone.answers(client, InitProducerIdResponse)]
    assert errors == [E.COORDINATOR_LOAD_IN_PROGRESS, *1_000 * [E.NONE], E.COORDINATOR_LOAD_IN_PROGRESS]


def test_a_restarted_broker_refuses_connections_until_it_has_been_unfenced() -> None:
    """KC-12, BrokerServer.startup: the port opens behind "the broker to be unfenced". A client that could get in would be told UNKNOWN_TOPIC_OR_PARTITION."""
    alone = LoneBroker()
    alone.tell(Crashed())
    alone.tell(Restarted())
    refused = alone.client()
    assert (alone.closed, alone.broker.inbound) == ([refused], {})
    alone.come_back()
    alone.client()

    assert (alone.closed, list(alone.broker.inbound)) == ([refused], [refused])


@pytest.mark.parametrize("for_s", [0, 60])
def test_a_restart_keeps_the_log_and_forgets_roles_connections_and_the_uncheckpointed_high_watermark(for_s: int) -> None:
    """LR-3, LR-6, BV-106: who is dead writes no checkpoint."""
    alone = LoneBroker(partition(isr=("b1",)))
    client = alone.client()
    for number in range(3):
        alone.until(s(6) * number)
        alone.produce(client)
    log = alone.replica.log
    assert (log.log_end_offset, log.high_watermark) == (3, 3)
    alone.now += ms(1)
    alone.tell(Crashed())
    assert alone.broker.wake_at is None
    alone.now += s(for_s)
    alone.tell(Restarted())

    assert (log.log_end_offset, log.high_watermark) == (3, 2)
    assert (alone.broker.replicas, alone.broker.inbound) == ({}, {})


def test_a_broker_is_serving_while_a_produce_request_is_parked_or_stands_behind_another() -> None:
    alone = LoneBroker()
    client = alone.client()
    assert not alone.broker.is_serving(ProduceRequest)
    alone.produce(client)

    assert alone.broker.is_serving(ProduceRequest)


def test_n10_a_connection_that_nobody_uses_is_closed_by_the_broker_too() -> None:
    """Strictly later than connections.max.idle.ms after the last request; -1: never."""
    alone, patient = LoneBroker(connections_max_idle_ms=20_000), LoneBroker(connections_max_idle_ms=-1)
    silent, busy = alone.client("p1"), alone.client("p2")
    patient.client("p1")
    for second in range(0, 20, 5):
        alone.until(s(second))
        alone.tell(Received(busy, ApiVersionsRequest()))
    alone.until(s(20))
    assert alone.closed == []

    for broker in (alone, patient):
        broker.until(s(20) + ms(1))

    assert (alone.closed, patient.closed) == ([silent], [])
    alone.until(s(36))
    assert alone.closed == [silent, busy]
