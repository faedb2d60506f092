"""A controller alone, its brokers played by hand: verbs for the tests of the controller."""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.config import BrokerConfig
from ksim_models.controller import Controller, NewTopic
from ksim_models.errors import ErrorCode
from ksim_models.facts import BrokerChanged
from ksim_models.machine import Asked, Event, Note, Received, Send, Wake
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionReassignmentsRequest,
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResult,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    MetadataFetchRequest,
)
from ksim_models.profiles import BrokerProfile, broker_profile
from ksim_models.units import Micros, ms
from scripted import Half

CAUGHT_UP = 1_000_000
SESSION_GONE = ms(9_001)


class LoneController:
    """Time moves only in `until`, `commit` and `silence`; everything it sends and notes is kept with its moment."""

    def __init__(
        self,
        version: str | BrokerProfile = "4.3",
        *,
        brokers: Sequence[str] = ("1", "2", "3"),
        assignment: Sequence[tuple[str, ...]] = (("1", "2", "3"),),
        given: tuple[tuple[str, str], ...] = (),
        config: BrokerConfig | None = None,
        first_contact: dict[str, Micros] | None = None,
    ) -> None:
        profile = broker_profile(version) if isinstance(version, str) else version
        topic = NewTopic("t", tuple(assignment), given)
        contact = first_contact or dict.fromkeys(brokers, 0)
        self.controller = Controller("controller-1", profile, config or BrokerConfig(), Half(), brokers, [topic], first_contact=contact)
        self.now: Micros = 0
        self.epochs = {broker: number for number, broker in enumerate(brokers, start=1)}
        self.incarnations = dict.fromkeys(brokers, 0)
        self.facts: list[tuple[Micros, object]] = []
        self.sent: list[tuple[Micros, str, object]] = []

    def tell(self, event: Event) -> None:
        for effect in self.controller.handle(event, self.now):
            if isinstance(effect, Note):
                self.facts.append((self.now, effect.fact))
            elif isinstance(effect, Send):
                self.sent.append((self.now, effect.connection, effect.message))

    def until(self, moment: Micros) -> None:
        """Every alarm up to this moment rings; after each of them the next is later (the promise of `wake_at`)."""
        while (wake_at := self.controller.wake_at) is not None and wake_at <= moment:
            self.now = max(self.now, wake_at)
            self.tell(Wake())
            assert self.controller.wake_at is None or self.controller.wake_at > self.now
        self.now = max(self.now, moment)

    def commit(self) -> None:
        if not self.controller.settled:
            self.until(self.now + ms(25))

    def last_sent(self, connection: str) -> object:
        return [message for _, to, message in self.sent if to == connection][-1]

    def ask(self, broker: str, message: object) -> object:
        """Sends it and waits for the commit."""
        self.tell(Received(f"{broker} -> controller", message))
        self.commit()
        return self.last_sent(f"{broker} -> controller")

    def heartbeat(
        self, broker: str, *, want_fence: bool = False, want_shut_down: bool = False, offset: int = CAUGHT_UP, epoch: int | None = None
    ) -> BrokerHeartbeatResponse:
        broker_epoch = self.epochs.get(broker, -1) if epoch is None else epoch
        response = self.ask(broker, BrokerHeartbeatRequest(broker, broker_epoch, offset, want_fence, want_shut_down))
        assert isinstance(response, BrokerHeartbeatResponse)
        return response

    def fence(self, *brokers: str) -> None:
        for broker in brokers:
            assert self.heartbeat(broker, want_fence=True).is_fenced

    def unfence(self, *brokers: str) -> None:
        for broker in brokers:
            assert not self.heartbeat(broker).is_fenced

    def register(self, broker: str, *, previous: int = -1) -> ErrorCode:
        """A new incarnation asks; where it is accepted, the broker goes on under the new epoch."""
        incarnation = self.incarnations.get(broker, 0) + 1
        response = self.ask(broker, BrokerRegistrationRequest(broker, incarnation, previous))
        assert isinstance(response, BrokerRegistrationResponse)
        if response.error is ErrorCode.NONE:
            self.epochs[broker], self.incarnations[broker] = response.broker_epoch, incarnation
        return response.error

    def silence(self, broker: str, duration: Micros = SESSION_GONE) -> None:
        """All but this broker are heard of at the end of the silence; no alarm rings."""
        self.now += duration
        for other in self.epochs:
            if other != broker and not self.controller.is_fenced(other):
                self.tell(Received(f"{other} -> controller", BrokerHeartbeatRequest(other, self.epochs[other], CAUGHT_UP, want_fence=False)))

    def alter(
        self,
        isr: Sequence[str],
        *,
        partition: str = "t-0",
        by: str | None = None,
        leader_epoch: int | None = None,
        partition_epoch: int | None = None,
        broker_epoch: int | None = None,
        member_epochs: dict[str, int] | None = None,
        recovering: bool = False,
    ) -> AlterPartitionResult:
        """What is not given is as the leader would have it. A request-level error comes as a result."""
        state = self.controller.state_of(partition)
        sender = by or state.leader
        epochs = {member: self.epochs.get(member, -1) for member in isr} | (member_epochs or {})
        item = AlterPartitionItem(
            partition=partition,
            leader_epoch=state.leader_epoch if leader_epoch is None else leader_epoch,
            partition_epoch=state.partition_epoch if partition_epoch is None else partition_epoch,
            new_isr=tuple((member, epochs[member]) for member in isr),
            recovering=recovering,
        )
        response = self.ask(sender, AlterPartitionRequest(sender, self.epochs[sender] if broker_epoch is None else broker_epoch, (item,)))
        assert isinstance(response, AlterPartitionResponse)
        return response.results[0] if response.results else AlterPartitionResult(partition, response.error)

    def administer(self, request: object) -> ErrorCode:
        self.tell(Asked(request))
        answer = self.controller.answered
        self.commit()
        return answer

    def elect(self, kind: str, number: int = 0) -> ErrorCode:
        return self.administer(ElectLeadersRequest(f"t-{number}", kind))

    def reassign(self, to: str, number: int = 0) -> ErrorCode:
        return self.administer(AlterPartitionReassignmentsRequest(f"t-{number}", tuple(to)))

    def configure(self, kind: str, name: str, **settings: str) -> ErrorCode:
        """Underscores stand for dots."""
        return self.administer(IncrementalAlterConfigsRequest(kind, name, tuple((key.replace("_", "."), value) for key, value in settings.items())))

    def fetch(self, broker: str, offset: int) -> None:
        self.tell(Received(f"{broker} -> controller", MetadataFetchRequest(broker, offset)))

    def shape(self, number: int = 0) -> tuple[str, str]:
        """Leader and ISR of a partition, one letter per broker: ("1", "123")."""
        state = self.controller.state_of(f"t-{number}")
        return state.leader, "".join(state.isr)

    def elr(self, number: int = 0) -> tuple[str, str]:
        """ELR and last known ELR, one letter per broker."""
        state = self.controller.state_of(f"t-{number}")
        return "".join(state.elr), "".join(state.last_known_elr)


def heartbeat_of(cluster: LoneController, broker: str, *, want_fence: bool = False) -> Received:
    return Received(f"{broker} -> controller", BrokerHeartbeatRequest(broker, cluster.epochs[broker], CAUGHT_UP, want_fence))


def fenced_at(cluster: LoneController) -> list[tuple[str, int]]:
    return [(fact.broker, at) for at, fact in cluster.facts if isinstance(fact, BrokerChanged) and fact.state == "fenced"]
