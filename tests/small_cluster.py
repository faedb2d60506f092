"""A small cluster that runs, and a client played by hand: it asks a broker something and waits for the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ksim.dice import Dice
from ksim.loop import Loop
from ksim.network import LinkDelays
from ksim.plan import Latency, NetworkPlan
from ksim_models.broker import Broker
from ksim_models.config import BrokerConfig
from ksim_models.controller import Controller, NewTopic
from ksim_models.errors import ErrorCode
from ksim_models.machine import Closed, Effect, Event, Open, Opened, Received, Send
from ksim_models.profiles import broker_profile
from ksim_models.transaction_messages import FindCoordinatorRequest, FindCoordinatorResponse
from ksim_models.units import MILLISECOND, SECOND, Micros


class Caller:
    """A machine that says what it is told to say, and remembers what it is told."""

    def __init__(self, name: str = "caller") -> None:
        self.name = name
        self.wake_at: Micros | None = None
        self.open: dict[str, bool] = {}
        self.answers: dict[str, list[object]] = {}

    def handle(self, event: Event, now: Micros) -> Sequence[Effect]:
        match event:
            case Opened(connection):
                self.open[connection] = True
            case Received(connection, message):
                self.answers[connection].append(message)
            case Closed(connection):
                self.open[connection] = False
        return ()


class SmallCluster:
    def __init__(
        self, *, brokers: int = 3, kafka: str = "4.3", topics: dict[str, int] | None = None, seed: int = 1, load: Micros | None = None, **config: Any
    ) -> None:
        """topics: how many partitions each has; one replica on every broker. load: how long a coordinator reads a partition."""
        self.dice = Dice(seed)
        self.facts: list[tuple[Micros, object]] = []
        self.loop = Loop(LinkDelays(NetworkPlan(Latency(500, 500), None, ()), self.dice), lambda at, fact: self.facts.append((at, fact)), 0)
        self.names = [f"broker-{number}" for number in range(1, brokers + 1)]
        profile, settings = broker_profile(kafka), replace(BrokerConfig(), **config)
        formed = [
            NewTopic(name, tuple(tuple(self.names[(number + position) % brokers] for position in range(brokers)) for number in range(count)), ())
            for name, count in (topics or {"t": 1}).items()
        ]
        self.controller = Controller(
            "controller-1", profile, settings, self.dice, self.names, formed, first_contact=dict.fromkeys(self.names, 0), active_since=0
        )
        self.loop.add(self.controller)
        self.brokers: dict[str, Broker] = {}
        for number, name in enumerate(self.names, 1):
            member = (number, tuple(self.controller.metadata_log))
            self.brokers[name] = Broker(name, number, profile, settings, "controller-1", self.dice, start_at=0, member=member, loading_takes=load)
            self.loop.add(self.brokers[name])
        self.caller = Caller()
        self.loop.add(self.caller)
        self.connections = 0
        self.loop.may_end = True
        self.run_for(1000)

    @property
    def now(self) -> Micros:
        return self.loop.now

    def run_for(self, milliseconds: float) -> None:
        end = self.now + int(milliseconds * 1000)
        self.loop.call_at(end, lambda: None)
        self.loop.run(lambda: self.now >= end)

    def until(self, is_so: Callable[[], bool], *, within: Micros = 60 * SECOND) -> None:
        end = self.now + within
        self.loop.call_at(end, lambda: None)
        self.loop.run(lambda: is_so() or self.now >= end)
        assert is_so(), f"not so within {within} us"

    def connect(self, broker: str) -> str:
        self.connections += 1
        connection = f"caller->{broker}#{self.connections}"
        self.caller.answers[connection] = []
        self.loop._carry_out(self.loop.cells["caller"], [Open(connection, broker)], self.now)
        self.until(lambda: connection in self.caller.open)
        return connection

    def send(self, connection: str, request: object) -> None:
        self.loop._carry_out(self.loop.cells["caller"], [Send(connection, request)], self.now)

    def ask(self, broker: str, request: object, *, within: Micros = 60 * SECOND) -> Any:
        """On a connection of its own."""
        connection = self.connect(broker)
        self.send(connection, request)
        self.until(lambda: bool(self.caller.answers[connection]), within=within)
        return self.caller.answers[connection][0]

    def find(self, kind: str, key: str, *, ask: str = "broker-1") -> str:
        """The coordinator's name, asked for until there is one."""
        for _ in range(100):
            answer = self.ask(ask, FindCoordinatorRequest(kind, key))
            assert isinstance(answer, FindCoordinatorResponse)
            if answer.error is ErrorCode.NONE:
                return answer.node
            assert answer.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
            self.run_for(20)
        raise AssertionError("no coordinator")

    def crash(self, name: str) -> None:
        self.loop.crash(name)

    def all_facts(self, kind: type) -> list[Any]:
        return [fact for _, fact in self.facts if type(fact) is kind]


def ms(milliseconds: float) -> Micros:
    return int(milliseconds * MILLISECOND)
