"""How a broker asks the active controller of a quorum, wherever that is at the moment.

Kafka: NodeToControllerChannelManager (NodeToControllerRequestThread). The controller's address is kept until a request fails or is answered by NOT_CONTROLLER;
then the broker's own raft client is asked who leads.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim_models.errors import ErrorCode
from ksim_models.machine import Close, Effect, Open, Send
from ksim_models.messages import AlterPartitionResponse, BrokerHeartbeatResponse, BrokerRegistrationResponse, CreateTopicsResponse
from ksim_models.units import NEVER, Micros, ms

LOOKS_FOR_A_CONTROLLER_EVERY: Micros = ms(100)
RECONNECT_AFTER: Micros = ms(50)

Answer = AlterPartitionResponse | BrokerHeartbeatResponse | BrokerRegistrationResponse | CreateTopicsResponse


class ControllerChannel:
    def __init__(self, leader: Callable[[], str], name_connection: Callable[[str], str], attempt_timeout: Micros, retry_timeout: Micros) -> None:
        """An attempt may take so long; a request is given up when it is so old and no attempt is under way."""
        self.leader = leader
        self.name_connection = name_connection
        self.attempt_timeout = attempt_timeout
        self.retry_timeout = retry_timeout
        self.controller = ""
        self.connection: str | None = None
        self.open = False
        self.connect_at: Micros = -NEVER
        self.request: object = None
        self.sent = False
        self.give_up_at: Micros = NEVER
        self.attempt_until: Micros = NEVER
        self.look_at: Micros = NEVER
        """While there is no controller."""

    @property
    def is_idle(self) -> bool:
        return self.request is None

    @property
    def wake_at(self) -> Micros:
        if self.request is None:
            return NEVER
        if not self.controller:
            return min(self.look_at, self.give_up_at)
        return min(self.attempt_until, self.connect_at if self.connection is None else NEVER)

    def ask(self, request: object, now: Micros, out: list[Effect]) -> None:
        assert self.request is None
        self.request, self.sent = request, False
        self.give_up_at = min(now + self.retry_timeout, NEVER)
        self.look_at = now
        self.attempt_until = now + self.attempt_timeout
        self.wake(now, out)

    def wake(self, now: Micros, out: list[Effect]) -> bool:
        """False where the request was given up."""
        if self.request is None:
            return True
        if self.controller and self.attempt_until <= now:
            self._drop(now, out)
        if not self.controller:
            if self.give_up_at <= now:
                self.request = None
                return False
            if self.look_at <= now:
                self._look(now)
        if self.controller and self.connection is None and self.connect_at <= now:
            self.connection = self.name_connection(self.controller)
            out.append(Open(self.connection, self.controller))
        if self.open and not self.sent and self.connection is not None:
            self.sent = True
            out.append(Send(self.connection, self.request))
        return True

    def _look(self, now: Micros) -> None:
        self.controller = self.leader()
        self.attempt_until = now + self.attempt_timeout if self.controller else NEVER
        self.look_at = NEVER if self.controller else now + LOOKS_FOR_A_CONTROLLER_EVERY

    def _drop(self, now: Micros, out: list[Effect]) -> None:
        """It is not that controller, or not any more."""
        if self.connection is not None:
            out.append(Close(self.connection))
            self.closed(now)
        self.controller, self.look_at = "", now

    def opened(self, now: Micros, out: list[Effect]) -> None:
        self.open = True
        self.wake(now, out)

    def closed(self, now: Micros) -> None:
        self.connection, self.open, self.sent = None, False, False
        self.controller, self.look_at, self.connect_at = "", now, now + RECONNECT_AFTER

    def received(self, answer: Answer, now: Micros, out: list[Effect]) -> bool:
        """False where the answer is none: the request goes to another controller."""
        errors = [answer.error, *(result.error for result in answer.results)] if isinstance(answer, AlterPartitionResponse) else [answer.error]
        if ErrorCode.NOT_CONTROLLER in errors:
            self._drop(now, out)
            self.wake(now, out)
            return False
        self.request = None
        return True
