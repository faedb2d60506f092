"""What an administrator asks of the controller, and what the brokers do about it."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import ReplicasChanged, TopicChanged
from ksim_models.machine import Crashed, Received, Restarted
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionRequest,
    BrokerRecord,
    ConfigRecord,
    CreateTopicRequest,
    DeleteTopicRequest,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    PartitionRecord,
    ProduceRequest,
    RecordBatch,
    RemoveTopicRecord,
    TopicRecord,
)
from ksim_models.units import ms, s
from lone_broker import BROKERS, LoneBroker, partition
from lone_controller import LoneController


def cluster(version: str = "4.3", *assignment: str, min_isr: int = 1) -> LoneController:
    given = (("min.insync.replicas", str(min_isr)),)
    return LoneController(version, brokers=tuple("12345"), assignment=[tuple(replicas) for replicas in assignment or ("123",)], given=given)


# Reassignment.


@pytest.mark.parametrize(("version", "after"), [("3.7", "4"), ("3.8", "1"), ("4.2", "1"), ("4.3", "4")])
def test_kc_48_a_reassignment_may_shrink_the_isr_to_the_newcomer(version: str, after: str) -> None:
    """H-077: up to 3.7 it is complete as soon as those that are added are in sync; from 3.8 all must be; 4.3 wants that only where fewer come than go."""
    them = cluster(version, "123")
    them.fence("2", "3")
    assert them.reassign("234") is E.NONE
    them.alter("14")

    assert them.shape() == (after, after if after == "4" else "14")


@pytest.mark.parametrize(("version", "complete"), [("3.7", True), ("3.8", False), ("4.3", False)])
def test_kc_48_where_fewer_come_than_go_4_3_waits_for_all(version: str, complete: bool) -> None:
    them = cluster(version, "1235")
    them.fence("2")
    assert them.reassign("24") is E.NONE
    them.alter("1354")

    assert (them.controller.state_of("t-0").removing == ()) is complete


def test_removed_replicas_raise_the_leader_epoch_and_added_ones_do_not() -> None:
    """KC-47."""
    them = cluster("4.3", "123")
    them.reassign("1234")
    assert them.controller.state_of("t-0").leader_epoch == 0
    them.alter("1234")
    assert (them.controller.state_of("t-0").leader_epoch, them.controller.state_of("t-0").adding) == (0, ())
    them.reassign("12")

    assert (them.controller.state_of("t-0").leader_epoch, them.shape()) == (1, ("1", "12"))
    assert [fact for _, fact in them.facts if isinstance(fact, ReplicasChanged)][-1] == ReplicasChanged("t-0", ("1", "2"), (), ())


@pytest.mark.parametrize(("version", "complete"), [("3.7", False), ("3.8", True), ("4.2", True), ("4.3", False)])
def test_a_reassignment_that_is_turned_back_by_another_one_keeps_what_it_had_coming(version: str, complete: bool) -> None:
    """ReplicationControlManager.changePartitionReassignment sets only what is not empty: 4 and 5 come and go, and who waits for them waits for ever."""
    them = cluster(version, "123")
    them.reassign("145")
    assert them.controller.state_of("t-0").replicas == tuple("14523")
    them.reassign("123")
    if not complete:
        assert them.alter("12345").error is E.NONE

    state = them.controller.state_of("t-0")
    assert (state.replicas, state.adding, state.removing) == ((tuple("123"), (), ()) if complete else (tuple("12345"), tuple("45"), tuple("45")))
    assert them.shape() == ("1", "123" if complete else "12345")


def test_an_impossible_reassignment_is_refused() -> None:
    them = cluster()

    assert [them.reassign(to) for to in ("", "11", "129")] == [E.INVALID_REPLICA_ASSIGNMENT] * 3
    assert them.reassign("12", number=9) is E.UNKNOWN_TOPIC_OR_PARTITION


# Settings.


def test_kc_59_another_minimum_clears_the_elr() -> None:
    for kind, name in (("topic", "t"), ("broker", "")):
        them = cluster("4.3", "123", min_isr=3)
        them.fence("2")
        assert them.elr()[0] == "2"
        assert them.configure(kind, name, min_insync_replicas="2") is E.NONE

        assert them.elr()[0] == ""


def test_kc_59_a_minimum_for_one_broker_is_refused_with_elr() -> None:
    assert cluster("4.3").configure("broker", "1", min_insync_replicas="2") is E.INVALID_CONFIG
    assert cluster("3.9").configure("broker", "1", min_insync_replicas="2") is E.NONE


def test_the_minimum_of_a_topic_is_stronger_than_that_of_the_cluster() -> None:
    them = cluster("4.3", "123", min_isr=3)
    them.configure("broker", "", min_insync_replicas="1")
    them.fence("2")
    assert them.elr()[0] == "2"

    other = LoneController("4.3", brokers=tuple("123"), assignment=[tuple("123")])
    other.configure("broker", "", min_insync_replicas="3")
    other.fence("2")
    assert other.elr()[0] == "2"


def test_settings_of_a_topic_that_is_not_there() -> None:
    assert cluster().configure("topic", "nowhere", min_insync_replicas="2") is E.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (ConfigRecord("topic", "t", (("max.message.bytes", "50"),)), E.MESSAGE_TOO_LARGE),
        (ConfigRecord("broker", "", (("message.max.bytes", "50"),)), E.MESSAGE_TOO_LARGE),
        (ConfigRecord("broker", "b1", (("message.max.bytes", "50"),)), E.MESSAGE_TOO_LARGE),
        (ConfigRecord("broker", "b2", (("message.max.bytes", "50"),)), E.NONE),
        (ConfigRecord("topic", "t", (("min.insync.replicas", "3"),)), E.NONE),
    ],
)
def test_a_broker_takes_settings_over_while_it_runs(record: ConfigRecord, code: E) -> None:
    """RP-73: with the metadata log, behind the roles."""
    alone = LoneBroker()
    client = alone.client()
    alone.learn(record)
    alone.produce(client, acks=1)

    assert alone.codes(client) == [code]


def test_a_higher_minimum_refuses_the_next_write() -> None:
    alone = LoneBroker(partition(isr=("b1", "b2")))
    client = alone.client()
    alone.learn(ConfigRecord("topic", "t", (("min.insync.replicas", "3"),)))
    alone.produce(client)

    assert alone.codes(client) == [E.NOT_ENOUGH_REPLICAS]


# Replicas that come and go.


def grown(alone: LoneBroker) -> None:
    alone.learn(
        BrokerRecord("b4", 4, False),
        PartitionRecord("t-0", (*BROKERS, "b4"), BROKERS, (), (), "b1", 0, 1, False, ("b4",), ()),
    )


def test_bv_161_an_added_replica_may_fetch_and_what_the_others_had_stays_known() -> None:
    """BV-161, BV-163: the same leader epoch, so nothing is reset."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, acks=1)
    alone.fetch("b2", 1)
    alone.fetch("b4", 0)
    assert [told.error for told in alone.answers("b4->b1#1", FetchResponse)[0].partitions] == [E.UNKNOWN_LEADER_EPOCH]
    grown(alone)
    alone.until(ms(1))
    alone.fetch("b4", 0, full=False)

    leadership = alone.replica.leadership
    assert leadership is not None
    assert (leadership.followers["b2"].log_end_offset, leadership.followers["b4"].log_end_offset) == (1, 0)
    assert leadership.epoch_start_offset == 0


def test_a_replica_that_is_removed_is_deleted_and_its_clients_go_elsewhere() -> None:
    """BV-172: parked requests too."""
    alone = LoneBroker()
    client, other = alone.client(), alone.client("p2")
    alone.produce(client)
    alone.learn(PartitionRecord("t-0", ("b2", "b3"), ("b2", "b3"), (), (), "b2", 1, 1, False))
    alone.produce(other, acks=1)

    assert alone.codes(client) == [E.NOT_LEADER_OR_FOLLOWER]
    assert alone.codes(other) == [E.NOT_LEADER_OR_FOLLOWER]
    assert alone.broker.logs == {}


# Topics.


def test_a_topic_created_again_has_another_id_and_begins_anew() -> None:
    them = cluster("4.3", "123")
    them.fence("1")
    assert them.administer(DeleteTopicRequest("t")) is E.NONE
    assert them.administer(DeleteTopicRequest("t")) is E.UNKNOWN_TOPIC_OR_PARTITION
    assert them.administer(CreateTopicRequest("t", (tuple("123"),), ())) is E.NONE
    assert them.administer(CreateTopicRequest("t", (tuple("123"),), ())) is E.TOPIC_ALREADY_EXISTS
    state = them.controller.state_of("t-0")

    assert (state.leader, state.isr, state.leader_epoch) == ("2", tuple("23"), 0), "KC-24: 1 is fenced"
    assert [(fact.state, fact.topic_id) for _, fact in them.facts if isinstance(fact, TopicChanged)] == [
        ("deleted", 0),
        ("created", them.controller.topic_id_of("t")),
    ]


def test_a_topic_needs_a_living_replica_for_each_partition() -> None:
    them = cluster("4.3", "123")
    them.fence("4", "5")

    assert them.administer(CreateTopicRequest("u", (tuple("123"), tuple("45")), ())) is E.INVALID_REPLICA_ASSIGNMENT


def test_an_isr_of_the_old_topic_is_refused() -> None:
    """KC-60."""
    them = cluster("4.3", "123")
    them.administer(DeleteTopicRequest("t"))
    them.administer(CreateTopicRequest("t", (tuple("123"),), ()))
    item = AlterPartitionItem("t-0", 0, 0, (("1", 1),), recovering=False, topic_id=0)
    response = them.ask("1", AlterPartitionRequest("1", 1, (item,)))

    assert [result.error for result in getattr(response, "results", ())] == [E.UNKNOWN_TOPIC_ID]


def again(alone: LoneBroker) -> None:
    alone.learn(RemoveTopicRecord("t", 0), TopicRecord("t", 1, (), topic_id=7), partition())


def test_a_broker_deletes_the_old_log_before_it_makes_the_new_one() -> None:
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, 3)
    again(alone)

    assert alone.codes(client) == [E.NOT_LEADER_OR_FOLLOWER]
    assert (alone.replica.log.log_end_offset, alone.replica.topic_id) == (0, 7)


def test_waiting_for_a_topic_that_is_gone_ends_with_unknown_topic() -> None:
    """BV-172, its second half."""
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client)
    alone.learn(RemoveTopicRecord("t", 0))
    assert alone.codes(client) == [E.UNKNOWN_TOPIC_OR_PARTITION]
    alone.produce(client, acks=1)

    assert alone.codes(client) == [E.UNKNOWN_TOPIC_OR_PARTITION] * 2


def test_bp_16_a_client_that_means_the_old_topic_is_told_so() -> None:
    """4.1, Produce v13; by name it would write into the new one (H-090)."""
    for topic_ids, code in (((("t", 0),), E.UNKNOWN_TOPIC_ID), ((("t", 7),), E.NONE), ((), E.NONE)):
        alone = LoneBroker()
        client = alone.client()
        again(alone)
        alone.tell(Received(client, ProduceRequest(1, 30_000, (RecordBatch("t-0", "p1", range(1), 100),), topic_ids)))

        assert alone.codes(client) == [code]


def test_a_follower_of_the_old_topic_reads_nothing_of_the_new_one() -> None:
    alone = LoneBroker()
    again(alone)
    client = alone.client()
    alone.produce(client, acks=1)
    for topic_id, error in ((0, E.INCONSISTENT_TOPIC_ID), (7, E.NONE)):
        alone.fetch("b2", 0)  # Opens the connection.
        alone.tell(Received("b2->b1#1", FetchRequest("b2", 2, True, (FetchPartition("t-0", 0, 0, -1, topic_id),), (), 500)))
        told = alone.answers("b2->b1#1", FetchResponse)[-1].partitions
        assert [one.error for one in told] == [error]


def test_a_broker_that_was_away_meanwhile_drops_the_old_log() -> None:
    alone = LoneBroker()
    client = alone.client()
    alone.produce(client, 3, acks=1)
    alone.tell(Crashed())
    alone.tell(Restarted())
    alone.opened.clear()
    alone.sent.clear()
    alone.until(s(3))
    alone.accept_opens()
    alone.learn(BrokerRecord("b1", 9, False), TopicRecord("t", 1, (), topic_id=7), partition())

    assert (alone.replica.log.log_end_offset, alone.replica.topic_id) == (0, 7)
