"""A broker's dealings with a quorum of controllers: three channels, one request at a time on each, and what it does when nobody takes one."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.machine import Effect, Open, Send
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionRequest,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    LeaderChangeRecord,
    MetadataFetchResponse,
    NoOpRecord,
)
from ksim_models.profiles import broker_profile
from ksim_models.quorum_membership import QuorumMembership
from ksim_models.quorum_messages import MetadataEntry, RaftFetchRequest, RaftFetchResponse
from ksim_models.raft_log import RaftDisk, RaftLog
from ksim_models.units import NEVER, Micros, ms, s
from scripted import Half

FORMED = MetadataEntry(1, LeaderChangeRecord("c1", 1))


class Alone:
    """b1, which starts at `start_at`; its connections stand at once, and the controllers are played by hand."""

    def __init__(self, *, version: str = "4.1", leader: str = "c1", start_at: Micros = 0, member: bool = False, **config: Any) -> None:
        self.names = 0
        disk = RaftDisk(RaftLog([FORMED]), 1, leader)
        settings = BrokerConfig(**config)
        self.machine = QuorumMembership("b1", broker_profile(version), settings, ("c1", "c2"), disk, Half(), self._name, 1, -1, start_at)
        if member:
            self.machine.already_a_member(7, 1, ms(300))
        self.now: Micros = start_at
        self.sent: list[tuple[str, object]] = []
        self.wake()

    def _name(self, controller: str) -> str:
        self.names += 1
        return f"->{controller}#{self.names}"

    def _take(self, out: list[Effect]) -> None:
        for effect in out:
            if isinstance(effect, Open):
                answer: list[Effect] = []
                self.machine.opened(effect.connection, self.now, answer)
                self._take(answer)
            elif isinstance(effect, Send):
                self.sent.append((effect.connection, effect.message))

    def wake(self) -> None:
        out: list[Effect] = []
        self.machine.wake(self.now, out)
        self._take(out)

    def until(self, now: Micros) -> None:
        while self.machine.wake_at <= now:
            self.now = max(self.now, self.machine.wake_at)
            self.wake()
        self.now = now

    def asked(self, kind: type) -> list[Any]:
        return [message for _, message in self.sent if isinstance(message, kind)]

    def answer(self, kind: type, response: object) -> object:
        """To the last question of this kind."""
        connection = [connection for connection, message in self.sent if isinstance(message, kind)][-1]
        out: list[Effect] = []
        told = self.machine.received(connection, response, self.now, out)
        self._take(out)
        return told


def topics(name: str) -> CreateTopicsRequest:
    return CreateTopicsRequest((name,), 1, 1)


def test_a_broker_that_starts_fetches_the_log_and_registers_with_the_leader_it_knows() -> None:
    """KC-10: on a connection of its own for each."""
    alone = Alone(start_at=s(3))
    assert alone.machine.wake_at >= s(3)

    assert [type(message) for _, message in alone.sent] == [RaftFetchRequest, BrokerRegistrationRequest]
    assert len({connection for connection, _ in alone.sent}) == 2
    assert all(alone.machine.owns(connection) for connection, _ in alone.sent)
    assert not alone.machine.owns("another")


def test_nothing_is_done_before_the_process_is_up() -> None:
    alone = Alone(start_at=s(3))
    out: list[Effect] = []
    alone.machine.register_at = 0
    alone.machine.wake(s(3) - 1, out)

    assert out == []


@pytest.mark.parametrize(("version", "given_up", "again"), [("3.4", ms(4_500), ms(100)), ("4.1", ms(2_000), ms(2_000))])
def test_a_registration_that_nobody_takes_is_asked_for_again(version: str, given_up: Micros, again: Micros) -> None:
    """KC-15: half a session and a pause that grows, or broker.heartbeat.interval.ms for both."""
    alone = Alone(version=version, leader="")
    assert alone.asked(BrokerRegistrationRequest) == []
    idle = []
    for at in (given_up - 1, given_up, given_up + again - 1, given_up + again):
        alone.until(at)
        idle.append(alone.machine.lifecycle.is_idle)

    assert idle == [False, True, True, False]


@pytest.mark.parametrize(("version", "again"), [("3.4", ms(100)), ("4.1", ms(2_000))])
def test_a_heartbeat_that_is_refused_when_it_is_too_old_is_followed_by_another(version: str, again: Micros) -> None:
    """KC-15: the channel has no leader to go to, and no time left."""
    alone = Alone(version=version, member=True)
    alone.until(ms(300))
    assert len(alone.asked(BrokerHeartbeatRequest)) == 1
    alone.now = alone.machine.lifecycle.give_up_at
    alone.machine.observer.disk.leader = ""
    told = alone.answer(BrokerHeartbeatRequest, BrokerHeartbeatResponse(E.NOT_CONTROLLER, is_caught_up=False, is_fenced=True))

    alone.now = alone.machine.lifecycle.give_up_at
    alone.wake()
    assert (told, alone.machine.lifecycle.is_idle) == (None, True)
    assert alone.machine.heartbeat_at == alone.now + again


def test_answers_go_to_the_broker_and_free_the_channel() -> None:
    alone = Alone()
    answer = BrokerRegistrationResponse(E.NONE, 9)

    assert alone.answer(BrokerRegistrationRequest, answer) is answer
    assert alone.machine.lifecycle.is_idle


@pytest.mark.parametrize(("version", "again"), [("3.3.1", 30_000), ("3.3.2", 4_500), ("4.1", 2_000)])
def test_a_heartbeat_that_hangs_is_repeated(version: str, again: int) -> None:
    """KC-15, KAFKA-14392, KAFKA-19294: when the time of one attempt is over."""
    alone = Alone(version=version, member=True)
    while not alone.asked(BrokerHeartbeatRequest):
        alone.now = alone.machine.wake_at
        alone.wake()
    began = alone.now
    while len(alone.asked(BrokerHeartbeatRequest)) == 1:
        alone.now = alone.machine.wake_at
        alone.wake()

    assert alone.now - began >= ms(again)
    assert alone.now - began <= ms(again + 2_200)  # Behind its backoff, or at the next interval.


def test_changes_of_the_isr_and_new_topics_are_asked_for_one_at_a_time() -> None:
    """Simplified: on one channel; changes go first."""
    alone = Alone(member=True)
    for name in ("t", "u"):
        alone.machine.send_for_topics(topics(name), [])
    assert alone.machine.wake_at <= alone.now
    alone.machine.propose(AlterPartitionItem("t-0", 0, 0, (), False), alone.now)
    alone.wake()
    assert ([len(alone.asked(kind)) for kind in (AlterPartitionRequest, CreateTopicsRequest)], alone.machine.alter_at) == ([1, 0], NEVER)
    alone.machine.changes.request = None
    for number in (1, 2):
        alone.wake()
        assert len(alone.asked(CreateTopicsRequest)) == number
        alone.answer(CreateTopicsRequest, CreateTopicsResponse(("t",)))
    alone.wake()

    assert alone.asked(CreateTopicsRequest) == [topics("t"), topics("u")]
    assert alone.machine.connection_for_topics


def test_what_has_become_committed_is_for_the_broker_to_apply() -> None:
    """KC-80: nothing before it is known to be, and nothing twice."""
    alone = Alone(member=True)
    entry = MetadataEntry(1, NoOpRecord())
    assert alone.answer(RaftFetchRequest, RaftFetchResponse(E.NONE, 1, "c1", (entry,), 1)) is None
    news = alone.answer(RaftFetchRequest, RaftFetchResponse(E.NONE, 1, "c1", (), 2))
    assert news == MetadataFetchResponse(2, (NoOpRecord(),))
    assert isinstance(news, MetadataFetchResponse)
    alone.machine.metadata_came(news, [])

    assert alone.answer(RaftFetchRequest, RaftFetchResponse(E.NONE, 1, "c1", (), 2)) is None


def test_a_connection_that_is_lost_is_that_channels_alone() -> None:
    alone = Alone()
    fetches, registers = (connection for connection, _ in alone.sent)
    alone.machine.closed(registers, alone.now)
    assert (alone.machine.lifecycle.connection, alone.machine.owns(fetches)) == (None, True)
    alone.machine.closed(fetches, alone.now)

    assert not alone.machine.owns(fetches)
    alone.until(ms(100))
    assert len(alone.asked(BrokerRegistrationRequest)) == 2
