"""The active controller of a quorum: it decides as a lone one does, but what it has decided counts when a majority has it.

Kafka: QuorumController (claim, renounce, deferred events), PeriodicTaskControlManager's no-op records. KC-3, KC-80, KC-84.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksim_models.config import BrokerConfig
from ksim_models.controller import Controller
from ksim_models.errors import ErrorCode
from ksim_models.machine import Dice, Effect, Send
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    MetadataRecord,
    NoOpRecord,
)
from ksim_models.metadata_log import Change, MetadataLog
from ksim_models.profiles import BrokerProfile
from ksim_models.units import NEVER, Micros, ms

Lingering = tuple[MetadataRecord, Sequence[Change]]


class ReplicatedMetadataLog(MetadataLog):
    """Records are drained when they have lingered, and committed one majority later."""

    drained = 0
    """So many of the uncommitted ones are under way to the other voters."""

    def drain(self, now: Micros) -> list[Lingering]:
        if self.commit_at > now:
            return []
        batch, self.drained, self.commit_at = self.uncommitted[self.drained :], len(self.uncommitted), NEVER
        return batch

    def commit_to(self, offset: int) -> None:
        count = offset - len(self.committed)
        if count > 0:
            self.committed.extend(record for record, _ in self.uncommitted[:count])
            del self.uncommitted[:count]
            self.drained -= count


class ActiveController(Controller):
    def __init__(
        self, name: str, profile: BrokerProfile, config: BrokerConfig, dice: Dice, log: ReplicatedMetadataLog, contacts: Mapping[str, Micros], now: Micros
    ) -> None:
        """contacts: when each broker was last heard of; of a controller that has just been elected: now (KC-3)."""
        self._take_office(name, profile, config, dice, log, contacts, now)
        self._replicated = log
        self._idle_interval = ms(config.metadata_max_idle_interval_ms)
        self._no_op_at = now + self._idle_interval if self._idle_interval else NEVER

    @classmethod
    def claim(cls, name: str, profile: BrokerProfile, config: BrokerConfig, dice: Dice, records: Sequence[MetadataRecord], now: Micros) -> ActiveController:
        """KC-3: it has heard of nobody yet, so every living broker gets a full session."""
        log = ReplicatedMetadataLog(records, config)
        new = cls(name, profile, config, dice, log, dict.fromkeys(log.unfenced(), now), now)
        new._sessions.restart(log.unfenced(), now)
        return new

    @property
    def settled(self) -> bool:
        return all(isinstance(record, NoOpRecord) for record, _ in self._log.uncommitted)

    @property
    def wake_at(self) -> Micros | None:
        at = super().wake_at
        return min(self._no_op_at, NEVER if at is None else at)

    def _on_wake(self, now: Micros) -> None:
        super()._on_wake(now)
        if self._no_op_at <= now:
            self._log.append(NoOpRecord(), (), now)
            self._no_op_at = now + self._idle_interval

    def drain(self, now: Micros) -> list[Lingering]:
        return self._replicated.drain(now)

    def commit_to(self, offset: int, out: list[Effect]) -> None:
        self._replicated.commit_to(offset)
        self._answer_what_is_committed(out)

    def renounce(self, out: list[Effect]) -> None:
        """Whoever waits is told that this is no controller any more; what was not committed is another one's affair."""
        out.extend(Send(answer.connection, refusal(answer.message)) for _, answer in self._answers)
        self._answers = []

    def _commit(self, now: Micros, out: list[Effect]) -> None:
        """Not here: `commit_to`, when a majority has it."""


def refusal(message: object) -> object:
    """What a controller says to a request that is not the active one, or instead of a response that did not come true."""
    match message:
        case BrokerHeartbeatRequest() | BrokerHeartbeatResponse():
            return BrokerHeartbeatResponse(ErrorCode.NOT_CONTROLLER, is_caught_up=False, is_fenced=True)
        case BrokerRegistrationRequest() | BrokerRegistrationResponse():
            return BrokerRegistrationResponse(ErrorCode.NOT_CONTROLLER, -1)
        case AlterPartitionRequest() | AlterPartitionResponse():
            return AlterPartitionResponse(ErrorCode.NOT_CONTROLLER, ())
        case CreateTopicsRequest() | CreateTopicsResponse():
            return CreateTopicsResponse(message.topics, ErrorCode.NOT_CONTROLLER)
        case _:
            raise AssertionError(f"no broker asks a controller for, or waits for {message!r}")
