"""Section G of the behavioural vectors, controlled shutdown: who may go when, by one row each;

and the shutdown as controller and broker play it (KC-17 to KC-23).
"""

from __future__ import annotations

import pytest

from ksim_models.broker_states import CONTROLLED_SHUTDOWN, FENCED, NOBODY, SHUTDOWN_NOW, UNFENCED, BrokerState, BrokerStates
from ksim_models.errors import ErrorCode
from ksim_models.facts import BrokerChanged
from ksim_models.machine import Closed, Crashed, Exit, Received, Restarted, Terminated, Wake
from ksim_models.messages import (
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRecord,
    BrokerRegistrationRequest,
    FetchRequest,
)
from ksim_models.units import ms, s
from lone_broker import LoneBroker, partition
from lone_controller import LoneController

FENCED_ONES = ("B0", "B4")
UNFENCED_ONES = ("B1", "B2", "B3", "B5")
REGISTERED_AT = 100


def states() -> BrokerStates:
    """BV-235: B5 is in controlled shutdown."""
    them = BrokerStates()
    for broker, offset in {"B0": 100, "B1": 98, "B2": 100, "B3": 100, "B4": 100, "B5": 99}.items():
        them.touch(broker, fenced=broker in FENCED_ONES, metadata_offset=offset)
    them.begin_shutdown("B5", 99)
    return them


def test_the_lowest_active_offset_is_that_of_the_brokers_that_stay() -> None:
    """BV-235."""
    assert states().lowest_active_offset(UNFENCED_ONES) == 98
    assert BrokerStates().lowest_active_offset(()) == NOBODY


ROWS = [
    ("BV-236 B0 wantShutDown", "B0", (False, True), 100, False, SHUTDOWN_NOW),
    ("BV-236 B0 unfence at 100", "B0", (False, False), 100, False, UNFENCED),
    ("BV-236 B0 unfence at 50", "B0", (False, False), 50, False, FENCED),
    ("BV-236 B0 wantFence", "B0", (True, False), 100, False, FENCED),
    ("BV-237 B1 wantShutDown, leads", "B1", (False, True), 98, True, CONTROLLED_SHUTDOWN),
    ("BV-237 B1 wantShutDown, leads nothing", "B1", (False, True), 98, False, SHUTDOWN_NOW),
    ("BV-237 B1 plain", "B1", (False, False), 98, False, UNFENCED),
    ("BV-237 B5 leads", "B5", (False, True), 99, True, CONTROLLED_SHUTDOWN),
    ("BV-237 B5 leads nothing, B1 is behind", "B5", (False, True), 99, False, CONTROLLED_SHUTDOWN),
    ("KC-17 unfenced, wantFence", "B1", (True, False), 98, True, FENCED),
    ("KC-17 unfenced, wantFence and wantShutDown", "B1", (True, True), 98, True, SHUTDOWN_NOW),
]


@pytest.mark.parametrize(("broker", "wants", "offset", "leads", "then"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_a_heartbeat_leads_to(broker: str, wants: tuple[bool, bool], offset: int, leads: bool, then: BrokerState) -> None:
    them = states()
    request = BrokerHeartbeatRequest(broker, REGISTERED_AT + 1, offset, *wants)

    assert them.next(request, them.current(broker, fenced=broker in FENCED_ONES), UNFENCED_ONES, lambda _: leads) is then


def test_a_broker_goes_once_all_that_stay_have_applied_the_moves() -> None:
    """BV-237, last row: B1, which was behind, is fenced."""
    them = states()
    request = BrokerHeartbeatRequest("B5", REGISTERED_AT + 1, 99, False, True)

    assert them.next(request, CONTROLLED_SHUTDOWN, ("B2", "B3", "B5"), lambda _: False) is SHUTDOWN_NOW


def test_the_offset_of_a_controlled_shutdown_is_set_once() -> None:
    """BV-238, KC-19."""
    them = states()
    them.begin_shutdown("B2", 98)
    them.begin_shutdown("B2", 99)

    assert them.shutdown_offsets["B2"] == 98
    them.fence("B2")
    assert them.current("B2", fenced=True) is FENCED


def test_who_shuts_down_does_not_hold_others_back() -> None:
    """BV-239."""
    them = BrokerStates()
    for number, offset in enumerate((100, 100, 98, 100, 100)):
        them.touch(f"B{number}", fenced=number == 4, metadata_offset=offset)
    staying = ("B0", "B1", "B2", "B3")

    assert them.lowest_active_offset(staying) == 98
    them.begin_shutdown("B2", 100)
    assert them.lowest_active_offset(staying) == 100


# The controller.


def cluster(version: str = "4.3", *assignment: str, min_isr: int = 1) -> LoneController:
    given = (("min.insync.replicas", str(min_isr)),)
    replicas = [tuple(replicas) for replicas in assignment or ("123", "231")]
    return LoneController(version, brokers=("1", "2", "3"), assignment=replicas, given=given)


def test_a_broker_that_wants_to_go_loses_its_leaderships_and_its_place_in_every_isr_at_once() -> None:
    """KC-23."""
    them = cluster()
    response = them.heartbeat("1", want_shut_down=True)

    assert not response.should_shut_down
    assert [them.shape(number) for number in range(2)] == [("2", "23"), ("2", "23")]
    assert not them.controller.is_fenced("1")
    assert them.facts[0][1] == BrokerChanged("1", 1, "shutting-down")


def test_kc_18_it_may_go_when_the_others_have_applied_that() -> None:
    them = cluster()
    for broker in ("2", "3"):
        them.heartbeat(broker, offset=len(them.controller.metadata_log))
    them.heartbeat("1", want_shut_down=True)
    end = len(them.controller.metadata_log)

    assert not them.heartbeat("1", want_shut_down=True).should_shut_down
    them.heartbeat("2", offset=end)
    assert not them.heartbeat("1", want_shut_down=True).should_shut_down
    them.heartbeat("3", offset=end)
    assert them.heartbeat("1", want_shut_down=True).should_shut_down
    assert them.controller.is_fenced("1")
    assert them.facts[-1][1] == BrokerChanged("1", 1, "shut-down")


def test_a_broker_that_leads_nothing_may_go_at_once() -> None:
    """KC-17."""
    them = cluster()
    response = them.heartbeat("3", want_shut_down=True)

    assert (response.should_shut_down, response.is_fenced) == (True, True)
    assert [them.shape(number) for number in range(2)] == [("1", "12"), ("2", "21")]


@pytest.mark.parametrize(("version", "isr", "elr"), [("3.9", "1", ""), ("4.3", "", "1")])
def test_the_only_member_of_an_isr_takes_the_partition_with_it_and_is_not_held_back(version: str, isr: str, elr: str) -> None:
    """KC-23: leaderless in the same change; leaderless partitions are no leaderships."""
    them = cluster(version, "123")
    them.alter("1")
    response = them.heartbeat("1", want_shut_down=True)

    assert (them.shape(), them.elr()[0]) == (("", isr), elr)
    assert not response.should_shut_down
    for broker in ("2", "3"):
        them.heartbeat(broker)
    assert them.heartbeat("1", want_shut_down=True).should_shut_down


def test_a_broker_that_is_leaving_may_neither_lead_nor_join_an_isr() -> None:
    """KC-40, KC-64."""
    them = cluster()
    them.heartbeat("1", want_shut_down=True)

    assert them.alter("231", partition="t-1").error is ErrorCode.INELIGIBLE_REPLICA
    them.fence("2", "3")
    assert [them.shape(number)[0] for number in range(2)] == ["", ""]


@pytest.mark.parametrize(("version", "refused"), [("3.9", False), ("4.3", True)])
def test_a_restart_soon_after_a_shutdown_waits_for_the_old_session_from_4_0_on(version: str, refused: bool) -> None:
    """KC-13."""
    them = cluster(version)
    assert them.heartbeat("3", want_shut_down=True).should_shut_down

    assert (them.register("3", previous=3) is ErrorCode.DUPLICATE_BROKER_REGISTRATION) is refused


def test_a_clean_restart_leaves_the_elr_as_it_is() -> None:
    """KC-54, KC-57, KC-58: it has lost nothing."""
    them = cluster("4.3", "123", min_isr=2)
    them.fence("2")
    them.heartbeat("1", want_shut_down=True)
    for broker in ("3",):
        them.heartbeat(broker)
    assert them.heartbeat("1", want_shut_down=True).should_shut_down
    assert (them.shape(), them.elr()[0]) == (("3", "3"), "1")
    them.silence("1")

    assert them.register("1", previous=1) is ErrorCode.NONE
    assert them.elr()[0] == "1"
    them.silence("1")
    assert them.register("1") is ErrorCode.NONE
    assert them.elr()[0] == ""


# The broker.


def beat(alone: LoneBroker, *, may_go: bool = False, error: ErrorCode = ErrorCode.NONE) -> list[object]:
    return list(alone.tell(Received(alone.controller, BrokerHeartbeatResponse(error, True, may_go, should_shut_down=may_go))))


def wishes(alone: LoneBroker) -> list[bool]:
    return [request.want_shut_down for request in alone.asked(BrokerHeartbeatRequest)]


def test_a_broker_asks_again_after_50_ms_and_then_with_every_heartbeat() -> None:
    """KC-23, BrokerLifecycleManager: a heartbeat is under way when the broker is asked to end, so the first wish follows its answer at once."""
    alone = LoneBroker()
    alone.tell(Terminated())
    assert wishes(alone) == [False]
    beat(alone)
    alone.until(alone.now)
    assert wishes(alone) == [False, True]
    beat(alone)
    alone.until(s(2) - 1)
    assert wishes(alone) == [False, True]
    alone.until(s(2))
    assert wishes(alone) == [False, True, True]

    assert Exit() in beat(alone, may_go=True)
    assert not alone.broker.running


def test_the_first_answer_to_a_wish_is_followed_by_the_next_after_50_ms() -> None:
    """KC-23."""
    alone = LoneBroker()
    beat(alone)
    alone.until(s(1))
    alone.tell(Terminated())
    assert wishes(alone) == [False, True]
    beat(alone)
    alone.until(s(1) + ms(50) - 1)
    assert wishes(alone) == [False, True]
    alone.until(s(1) + ms(50))

    assert wishes(alone) == [False, True, True]


def test_a_broker_that_no_controller_answers_goes_after_five_minutes() -> None:
    """KC-23."""
    alone = LoneBroker()
    alone.tell(Closed(alone.controller))
    alone.tell(Terminated())
    alone.until(s(300) - 1)
    assert alone.broker.running
    alone.now = s(300)

    assert Exit() in alone.tell(Wake())


def test_without_controlled_shutdown_a_broker_goes_at_once() -> None:
    """controlled.shutdown.enable = false (KC-23)."""
    assert Exit() in LoneBroker(controlled_shutdown_enable=False).tell(Terminated())


def test_a_broker_whose_partition_was_given_away_says_so_while_it_shuts_down() -> None:
    """KC-23; H-049: before 3.3.2 it stayed leader to the end."""
    for version, codes in (("3.3.1", [ErrorCode.NONE]), ("3.3.2", [ErrorCode.NOT_LEADER_OR_FOLLOWER]), ("4.3", [ErrorCode.NOT_LEADER_OR_FOLLOWER])):
        alone = LoneBroker(kafka=version)
        client = alone.client()
        alone.tell(Terminated())
        alone.learn(BrokerRecord("b1", 1, False, True), partition("b2", epoch=1, partition_epoch=1, isr=("b2", "b3")))
        alone.produce(client, acks=1)

        assert alone.codes(client) == codes
        assert alone.asked(FetchRequest) == [], "it is out of the ISR, so it follows nobody"


def test_a_follower_that_shuts_down_stops_fetching_when_it_is_out_of_the_isr() -> None:
    """KC-23: also without a new leader epoch."""
    alone = LoneBroker(partition("b2"))
    alone.accept_opens()
    (fetcher,) = alone.broker.following.fetchers.values()
    assert "t-0" in fetcher.asked_epochs
    alone.tell(Terminated())
    alone.learn(partition("b2", partition_epoch=1, isr=("b2", "b3")))

    assert "t-0" not in fetcher.asked_epochs


@pytest.mark.parametrize(("version", "previous"), [("3.6", -1), ("3.7", 1), ("4.3", 1)])
def test_the_epoch_of_a_clean_shutdown_comes_with_the_next_registration(version: str, previous: int) -> None:
    """KC-58; BV-178: the high watermark is checkpointed at shutdown."""
    alone = LoneBroker(kafka=version)
    client = alone.client()
    alone.produce(client, 3, acks=1)
    end = alone.replica.log.high_watermark
    alone.tell(Terminated())
    beat(alone)
    alone.until(alone.now)
    beat(alone, may_go=True)
    alone.sent.clear()
    alone.opened.clear()

    alone.tell(Restarted())
    alone.until(alone.now + s(3))
    alone.accept_opens()
    assert [request.previous_broker_epoch for request in alone.asked(BrokerRegistrationRequest)] == [previous]
    assert alone.broker.logs["t-0"].high_watermark == end
    alone.tell(Crashed())
    alone.tell(Restarted())
    alone.sent.clear()
    alone.opened.clear()
    alone.until(alone.now + s(3))
    alone.accept_opens()

    assert [request.previous_broker_epoch for request in alone.asked(BrokerRegistrationRequest)] == [-1], "the mark is used up"


def test_a_broker_that_has_never_served_just_ends() -> None:
    alone = LoneBroker()
    alone.tell(Crashed())
    alone.tell(Restarted())

    assert Exit() in alone.tell(Terminated())
    assert alone.broker.clean_shutdown_epoch is None
