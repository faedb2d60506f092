"""A broker's dealings with the controller."""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.machine import Closed, Crashed, Received, Restarted
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    MetadataFetchRequest,
    TopicRecord,
)
from ksim_models.units import ms, s
from lone_broker import LoneBroker, partition


def restarted() -> LoneBroker:
    alone = LoneBroker()
    alone.tell(Crashed())
    alone.sent.clear()
    alone.opened.clear()
    alone.tell(Restarted())
    alone.until(s(3))
    alone.accept_opens()
    return alone


def test_a_member_sends_a_heartbeat_every_two_seconds_after_the_answer() -> None:
    """KC-1."""
    alone = LoneBroker()
    assert len(alone.asked(BrokerHeartbeatRequest)) == 1
    alone.until(s(5))
    assert len(alone.asked(BrokerHeartbeatRequest)) == 1, "one at a time"
    alone.tell(Received(alone.controller, BrokerHeartbeatResponse(E.NONE, True, False)))
    alone.until(s(7) - 1)
    assert len(alone.asked(BrokerHeartbeatRequest)) == 1
    alone.until(s(7))

    assert len(alone.asked(BrokerHeartbeatRequest)) == 2


def test_a_restarted_broker_registers_first_and_asks_to_be_unfenced_when_it_has_caught_up() -> None:
    """KC-10, KC-12: heartbeats every 10 ms until then."""
    alone = restarted()
    assert [type(message) for _, message in alone.sent] == [BrokerRegistrationRequest]
    alone.tell(Received(alone.controller, BrokerRegistrationResponse(E.NONE, 9)))
    alone.until(s(3))
    assert alone.asked(MetadataFetchRequest) == [MetadataFetchRequest("b1", 0)]
    assert [beat.want_fence for beat in alone.asked(BrokerHeartbeatRequest)] == [True]
    alone.tell(Received(alone.controller, BrokerHeartbeatResponse(E.NONE, False, True)))
    alone.offset = 9 - 2
    alone.learn(TopicRecord("t", 1, ()), partition("b2", epoch=1, partition_epoch=1, isr=("b2",)))
    alone.until(s(3) + ms(10))

    assert [beat.want_fence for beat in alone.asked(BrokerHeartbeatRequest)] == [True, False]
    assert not alone.broker.settled, "fenced until it is told otherwise"


def test_a_broker_whose_old_session_lives_tries_again() -> None:
    """KC-13, KC-15: after broker.heartbeat.interval.ms."""
    alone = restarted()
    alone.tell(Received(alone.controller, BrokerRegistrationResponse(E.DUPLICATE_BROKER_REGISTRATION, -1)))
    alone.until(s(5) - 1)
    assert len(alone.asked(BrokerRegistrationRequest)) == 1
    alone.until(s(5))

    assert len(alone.asked(BrokerRegistrationRequest)) == 2


def test_a_registration_that_was_not_answered_is_sent_again_on_the_next_connection() -> None:
    """KC-15; a pause that runs goes on."""
    alone = restarted()
    alone.tell(Closed(alone.controller))
    alone.until(s(3) + ms(50))
    alone.accept_opens()
    assert len(alone.asked(BrokerRegistrationRequest)) == 2
    alone.tell(Received(alone.controller, BrokerRegistrationResponse(E.DUPLICATE_BROKER_REGISTRATION, -1)))
    alone.tell(Closed(alone.controller))
    alone.until(s(5))
    alone.accept_opens()
    assert len(alone.asked(BrokerRegistrationRequest)) == 2
    alone.until(s(5) + ms(50))

    assert len(alone.asked(BrokerRegistrationRequest)) == 3


def test_a_broker_never_fences_itself() -> None:
    """KC-16: without a controller it goes on with what it last knew."""
    alone = LoneBroker(partition(isr=("b1",)))
    alone.tell(Closed(alone.controller))
    alone.until(s(600))
    client = alone.client()
    alone.produce(client)

    assert alone.codes(client) == [E.NONE]


def test_it_connects_again_later_and_later() -> None:
    alone = LoneBroker()
    tries = []
    connection = alone.controller
    for _ in range(7):
        alone.opened.clear()
        began = alone.now
        alone.tell(Closed(connection))
        while not alone.opened:
            alone.until(alone.now + ms(1))
        tries.append((alone.now - began) // 1000)
        connection = alone.opened[0]

    assert tries == [50, 100, 200, 400, 800, 1000, 1000]


@pytest.mark.parametrize(("error", "later"), [(E.STALE_BROKER_EPOCH, ms(50)), (None, 0)])
def test_one_proposal_is_under_way_and_an_error_of_the_whole_request_is_retried(error: E | None, later: int) -> None:
    """RP-56: for ever, after 50 ms; on a new connection at once."""
    alone = LoneBroker(partition(isr=("b1", "b2")))
    alone.fetch("b3", 0)
    alone.fetch("b3", 0, full=False)
    assert len(alone.asked(AlterPartitionRequest)) == 1
    if error is not None:
        alone.tell(Received(alone.controller, AlterPartitionResponse(error, ())))
    else:
        alone.tell(Closed(alone.controller))
        alone.until(ms(50))
        alone.accept_opens()
    alone.until(alone.now + later)

    first, second = alone.asked(AlterPartitionRequest)
    assert first.items == second.items
