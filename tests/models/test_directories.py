"""Log directories of a broker: where logs are placed, and how a failure is noticed."""

from __future__ import annotations

import pytest

from ksim_models.directories import Directories
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import PartitionChanged
from ksim_models.machine import Crashed, Exit, Received, Restarted, Wake
from ksim_models.messages import BrokerHeartbeatRequest, BrokerHeartbeatResponse, PartitionRecord, TopicRecord
from ksim_models.units import NEVER, ms, s
from lone_broker import BROKERS, LoneBroker
from lone_controller import LoneController


def test_a_new_log_goes_where_the_fewest_are() -> None:
    two = Directories(2, ms(5_000))

    assert [two.place(f"t-{number}") for number in range(4)] == [0, 1, 0, 1]
    two.forget("t-1")
    two.forget("t-1")
    assert [two.place(name) for name in ("u-0", "t-0", "u-1", "u-2")] == [1, 0, 0, 1], "t-0 stays where it is"


def test_a_failure_is_noticed_with_the_next_checkpoint_at_the_latest() -> None:
    two = Directories(2, ms(5_000))
    two.place("t-0"), two.place("t-1")
    two.fail("t-1", ms(6_000))

    assert (two.look_at, two.is_broken("t-1"), two.is_broken("t-0"), two.offline()) == (ms(10_000), True, False, ())
    assert (two.notice(), two.look_at, two.offline()) == ([1], NEVER, ("t-1",))
    assert two.start(), "the metadata log stands in the first"
    two.repair()
    assert (two.start(), two.offline()) == (True, ())
    two.fail("", 0)
    assert not two.start()


def test_the_metadata_log_is_written_more_often_than_the_checkpoint() -> None:
    """metadata.max.idle.interval.ms: the controller's no-op records. It stands in the first directory; 0: there are none."""
    first, second, quiet = (Directories(2, ms(5_000), ms(interval)) for interval in (500, 500, 0))
    for two in (first, second, quiet):
        two.place("t-0"), two.place("t-1")
    first.fail("t-0", ms(6_100))
    second.fail("t-1", ms(6_100))
    quiet.fail("t-0", ms(6_100))

    assert (first.look_at, second.look_at, quiet.look_at) == (ms(6_500), ms(10_000), ms(10_000))


def broker(kafka: str = "4.3") -> LoneBroker:
    """t-0 in the first directory, t-1 in the second, which fails."""
    alone = LoneBroker(kafka=kafka, log_dirs="/d1,/d2")
    alone.learn(TopicRecord("t", 2, ()), PartitionRecord("t-1", BROKERS, BROKERS, (), (), "b1", 0, 0, False))
    alone.broker.directories.fail("t-1", alone.now)
    alone.tell(Wake())
    return alone


def test_a_write_into_a_failed_directory_is_a_storage_error_and_the_replicas_there_go_offline() -> None:
    """KIP-112."""
    alone = broker()
    client = alone.client()
    alone.produce(client, name="t-1", acks=1)
    alone.produce(client, name="t-1", acks=1)
    alone.produce(client, name="t-0", acks=1)

    assert alone.codes(client) == [E.KAFKA_STORAGE_ERROR, E.KAFKA_STORAGE_ERROR, E.NONE]
    assert list(alone.broker.replicas) == ["t-0"]


@pytest.mark.parametrize(("kafka", "told"), [("3.6", []), ("3.7", ["t-1"]), ("4.3", ["t-1"])])
def test_the_controller_is_told_at_once_from_3_7_on(kafka: str, told: list[str]) -> None:
    """KIP-858."""
    alone = broker(kafka)
    alone.tell(Received(alone.controller, BrokerHeartbeatResponse(E.NONE, True, False)))
    alone.until(ms(10))
    before = len(alone.asked(BrokerHeartbeatRequest))
    alone.produce(alone.client(), name="t-1", acks=1)
    beats = alone.asked(BrokerHeartbeatRequest)[before:]

    assert [partition for beat in beats for partition in beat.offline_replicas] == told


def test_a_broker_halts_with_the_directory_of_the_metadata_log() -> None:
    alone = LoneBroker(log_dirs="/d1,/d2")
    alone.broker.directories.fail("", alone.now)
    alone.produce(alone.client(), acks=1)
    assert not alone.broker.running
    alone.tell(Crashed())

    assert Exit() in alone.tell(Restarted()), "it does not start either"


def test_kc_40_a_replica_in_a_failed_directory_may_not_lead() -> None:
    them = LoneController("4.3", brokers=tuple("123"), assignment=[tuple("123"), tuple("123")])
    response = them.ask("1", BrokerHeartbeatRequest("1", 1, 1_000_000, False, False, ("t-1",)))

    assert not getattr(response, "is_fenced", True)
    assert [them.shape(number) for number in range(2)] == [("1", "123"), ("2", "23")]
    them.fence("2", "3")
    assert [them.shape(number)[0] for number in range(2)] == ["1", ""]


def test_a_replica_in_a_failed_directory_has_what_was_committed() -> None:
    """KC-50, KIP-858: handleDirectoriesOffline is no unclean shutdown, so below the minimum it is eligible."""
    them = LoneController("4.3", brokers=tuple("123"), assignment=[tuple("12")], given=(("min.insync.replicas", "2"),))
    them.ask("2", BrokerHeartbeatRequest("2", 2, 1_000_000, False, False, ("t-0",)))

    assert (them.shape(), them.elr()) == (("1", "1"), ("2", ""))
    assert [fact.why for _, fact in them.facts if isinstance(fact, PartitionChanged)] == ["directory of 2 failed"]


def test_a_directory_that_is_back_counts_again_after_a_new_registration() -> None:
    them = LoneController("4.3", brokers=tuple("123"), assignment=[tuple("123")])
    them.ask("1", BrokerHeartbeatRequest("1", 1, 1_000_000, False, False, ("t-0",)))
    them.silence("1", s(10))
    assert them.register("1") is E.NONE
    them.unfence("1")
    assert them.alter("231").error is E.NONE
    them.fence("2", "3")

    assert them.shape() == ("1", "1")
