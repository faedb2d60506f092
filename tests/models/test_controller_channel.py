"""How a broker asks the active controller of a quorum: whom, how long, and when it asks another one."""

from __future__ import annotations

import pytest

from ksim_models.controller_channel import Answer, ControllerChannel
from ksim_models.errors import ErrorCode as E
from ksim_models.machine import Close, Effect, Open, Send
from ksim_models.messages import AlterPartitionResponse, AlterPartitionResult, BrokerHeartbeatResponse, BrokerRegistrationResponse, CreateTopicsResponse
from ksim_models.units import NEVER, Micros, ms

ATTEMPT, PATIENCE = ms(2_000), ms(4_500)


class Channel:
    """Its broker knows a leader, or none; connections are named by controller and number."""

    def __init__(self, leader: str = "c1") -> None:
        self.leader = leader
        self.names = 0
        self.now: Micros = 0
        self.machine = ControllerChannel(lambda: self.leader, self._name, ATTEMPT, PATIENCE)

    def _name(self, controller: str) -> str:
        self.names += 1
        return f"{controller}#{self.names}"

    def ask(self) -> list[Effect]:
        out: list[Effect] = []
        self.machine.ask("a request", self.now, out)
        return out

    def opened(self) -> list[Effect]:
        out: list[Effect] = []
        self.machine.opened(self.now, out)
        return out

    def received(self, answer: Answer) -> tuple[bool, list[Effect]]:
        out: list[Effect] = []
        return self.machine.received(answer, self.now, out), out

    def wake(self, at: Micros) -> tuple[bool, list[Effect]]:
        self.now = at
        out: list[Effect] = []
        return self.machine.wake(at, out), out


def asking(leader: str = "c1") -> Channel:
    """Its request is under way."""
    channel = Channel(leader)
    assert channel.machine.wake_at == NEVER
    assert channel.ask() == [Open("c1#1", "c1")]
    assert channel.opened() == [Send("c1#1", "a request")]
    return channel


HEARD = BrokerHeartbeatResponse(E.NONE, is_caught_up=True, is_fenced=False)
REFUSED = BrokerHeartbeatResponse(E.NOT_CONTROLLER, is_caught_up=False, is_fenced=True)


def test_one_connection_serves_one_request_after_the_other() -> None:
    channel = asking()
    assert not channel.machine.is_idle
    assert channel.received(HEARD) == (True, [])
    assert (channel.machine.is_idle, channel.machine.wake_at, channel.wake(ms(10))) == (True, NEVER, (True, []))

    assert channel.ask() == [Send("c1#1", "a request")]


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        pytest.param(HEARD, False, id="an answer"),
        pytest.param(REFUSED, True, id="NOT_CONTROLLER"),
        pytest.param(BrokerRegistrationResponse(E.DUPLICATE_BROKER_REGISTRATION, -1), False, id="another error is an answer"),
        pytest.param(CreateTopicsResponse(("t",), E.NOT_CONTROLLER), True, id="NOT_CONTROLLER to a topic"),
        pytest.param(AlterPartitionResponse(E.NOT_CONTROLLER, ()), True, id="NOT_CONTROLLER to the whole"),
        pytest.param(AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", E.NOT_CONTROLLER),)), True, id="NOT_CONTROLLER of one partition (KC-61)"),
        pytest.param(AlterPartitionResponse(E.NONE, (AlterPartitionResult("t-0", E.FENCED_LEADER_EPOCH),)), False, id="another error of one partition"),
    ],
)
def test_who_is_not_the_controller_is_left_for_the_one_that_leads_now(answer: Answer, again: bool) -> None:
    """NodeToControllerRequestThread.handleResponse: at once, and with the same request."""
    channel = asking()
    channel.leader = "c2"
    taken, effects = channel.received(answer)

    assert taken is not again
    assert effects == ([Close("c1#1")] if again else [])
    if again:
        assert channel.machine.wake_at == ms(50)
        assert channel.wake(ms(50)) == (True, [Open("c2#2", "c2")])
        assert channel.opened() == [Send("c2#2", "a request")]


def test_while_nobody_leads_it_looks_every_100_ms_until_the_request_is_too_old() -> None:
    """KC-15: the request is given up, and the broker told so."""
    channel = Channel("")
    assert channel.ask() == []
    looks = []
    while channel.machine.request is not None:
        looks.append(channel.machine.wake_at)
        given_up = not channel.wake(channel.machine.wake_at)[0]

    assert looks == [*(ms(100 * number) for number in range(1, 46))]
    assert given_up
    assert channel.machine.is_idle


def test_a_controller_that_is_found_is_asked_at_once() -> None:
    channel = Channel("")
    channel.ask()
    channel.leader = "c1"

    assert channel.wake(ms(100) - 1) == (True, [])
    assert channel.wake(ms(100)) == (True, [Open("c1#1", "c1")])


def test_an_attempt_that_takes_too_long_is_ended_and_the_leader_asked_who_is_known_now() -> None:
    """controller.socket.timeout.ms, or the request's patience."""
    channel = asking()
    channel.leader = "c3"
    assert channel.machine.wake_at == ATTEMPT
    assert channel.wake(ATTEMPT - 1) == (True, [])
    assert channel.wake(ATTEMPT) == (True, [Close("c1#1")])
    assert channel.wake(ATTEMPT + ms(50)) == (True, [Open("c3#2", "c3")])

    assert channel.machine.attempt_until == ATTEMPT + ATTEMPT


def test_a_connection_that_is_lost_takes_its_request_to_another_one() -> None:
    channel = asking()
    channel.now = ms(7)
    channel.machine.closed(channel.now)
    assert (channel.machine.open, channel.machine.wake_at) == (False, ms(7))
    assert channel.wake(ms(7)) == (True, [])
    assert channel.machine.wake_at == ms(57)
    assert channel.wake(ms(57)) == (True, [Open("c1#2", "c1")])
    assert channel.opened() == [Send("c1#2", "a request")]

    channel.machine.closed(ms(60))
    channel.leader = ""
    channel.wake(ms(60))
    assert channel.machine.wake_at == ms(160), "nobody leads"
    assert channel.wake(PATIENCE) == (False, []), "and the request is too old"
