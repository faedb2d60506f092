"""The controllers of a simulation: a lone one, or a quorum; who is active, what is decided, whether all is said.

Not Kafka's: what the simulation itself asks of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ksim.dice import Dice
from ksim.loop import Loop
from ksim.plan import FaultPlan, FrameTrigger, Plan
from ksim.scenario_shape import TO_CONTROLLERS
from ksim_models.broker import Broker
from ksim_models.commit_book import CommitBook
from ksim_models.controller import Controller, NewTopic, formed_cluster
from ksim_models.decisions import Decisions
from ksim_models.errors import ErrorCode
from ksim_models.machine import Machine
from ksim_models.quorum_controller import QuorumController
from ksim_models.quorum_messages import MetadataEntry
from ksim_models.raft_log import RaftDisk, RaftLog
from ksim_models.units import Micros


class Controllers(Protocol):
    observers: Sequence[Broker]
    """The brokers, once there are some."""

    @property
    def decisions(self) -> Decisions: ...
    @property
    def machines(self) -> Sequence[Machine]: ...
    @property
    def settled(self) -> bool:
        """Everything decided is committed, and told to all that run."""
        ...

    @property
    def voters(self) -> Sequence[QuorumController]:
        """Of several."""
        ...

    @property
    def metadata(self) -> Sequence[MetadataEntry]:
        """What several have committed."""
        ...

    def active(self) -> str:
        """ "" while there is none."""
        ...

    def answered(self, name: str) -> ErrorCode:
        """To an administrator's last request."""
        ...

    def for_an_observer(self) -> tuple[Sequence[str], RaftDisk] | None:
        """What a new broker needs that fetches from a quorum."""
        ...

    def is_waited_for_patiently(self, name: str) -> bool:
        """By brokers that have no time-out of their own."""
        ...


class Lone:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.observers: Sequence[Broker] = ()

    @property
    def decisions(self) -> Decisions:
        return self.controller

    @property
    def machines(self) -> Sequence[Machine]:
        return (self.controller,)

    @property
    def settled(self) -> bool:
        return self.controller.settled

    @property
    def voters(self) -> Sequence[QuorumController]:
        return ()

    @property
    def metadata(self) -> Sequence[MetadataEntry]:
        return ()

    def active(self) -> str:
        return self.controller.name

    def answered(self, name: str) -> ErrorCode:
        return self.controller.answered

    def for_an_observer(self) -> None:
        return None

    def is_waited_for_patiently(self, name: str) -> bool:
        return name == self.controller.name


class Quorum:
    def __init__(self, voters: Sequence[QuorumController], book: CommitBook) -> None:
        self.voters = voters
        self.book = book
        self.metadata = book.entries
        self.observers: Sequence[Broker] = ()

    @property
    def decisions(self) -> Decisions:
        return self.book

    @property
    def machines(self) -> Sequence[Machine]:
        return self.voters

    def _leader(self) -> QuorumController | None:
        """One that was cut off or frozen may still believe that it is active: the newest epoch counts."""
        return max((voter for voter in self.voters if voter.active is not None), key=lambda voter: voter.disk.epoch, default=None)

    @property
    def settled(self) -> bool:
        leader = self._leader()
        if leader is None or leader.active is None or not leader.active.settled:
            return False
        return all(broker.membership.metadata_offset >= self.book.news_end for broker in self.observers if broker.running)

    def active(self) -> str:
        leader = self._leader()
        return "" if leader is None else leader.name

    def answered(self, name: str) -> ErrorCode:
        return next(voter.answered for voter in self.voters if voter.name == name)

    def for_an_observer(self) -> tuple[Sequence[str], RaftDisk]:
        names = [voter.name for voter in self.voters]
        return names, RaftDisk(RaftLog(self.book.entries), self.book.entries[-1].epoch, names[0])

    def is_waited_for_patiently(self, name: str) -> bool:
        return False


def _names_a_controller(fault: FaultPlan) -> bool:
    return any(str(who).startswith("controller") for end in fault.between for who in end)


def _strikes_what_brokers_ask(plan: Plan) -> bool:
    """Heartbeats and AlterPartition, each with a connection and a time-out of its own: only brokers of a quorum have these. One voter is a quorum, too."""
    return any(isinstance(fault.when, FrameTrigger) and fault.when.api in TO_CONTROLLERS for fault in plan.faults)


def add_controllers(plan: Plan, loop: Loop, dice: Dice, heartbeats: Mapping[str, Micros], now: Micros) -> Controllers:
    topics = [NewTopic(topic.name, topic.assignment, topic.given) for topic in plan.topics if topic.exists]
    names = [broker.name for broker in plan.brokers]
    profile, config = plan.broker_profile, plan.brokers[0].config
    if len(plan.controllers) == 1 and not _strikes_what_brokers_ask(plan):
        controller = Controller(plan.controllers[0], profile, config, dice, names, topics, first_contact=heartbeats, active_since=now)
        controller.answers_idle_fetches = any(fault.one_way and _names_a_controller(fault) for fault in plan.faults)
        loop.add(controller)
        return Lone(controller)
    book = CommitBook(formed_cluster(names, topics), plan.controllers[0], config)
    voters = [QuorumController(name, plan.controllers, profile, config, dice, book, first_contact=heartbeats, now=now) for name in plan.controllers]
    for voter in voters:
        loop.add(voter)
    return Quorum(voters, book)
