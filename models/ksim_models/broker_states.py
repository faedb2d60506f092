"""What the active controller makes of a broker's heartbeat: stay, be fenced or unfenced, hand over and go.

Kafka: BrokerHeartbeatManager (calculateNextBrokerState, lowestActiveOffset), BrokerControlState. KC-12, KC-17 to KC-19.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from ksim_models.messages import BrokerHeartbeatRequest

NOT_HEARD = -1
NOBODY = 2**63 - 1


class BrokerState(Enum):
    FENCED = "fenced"
    UNFENCED = "unfenced"
    CONTROLLED_SHUTDOWN = "hands its leaderships over"
    SHUTDOWN_NOW = "may go"


FENCED, UNFENCED, CONTROLLED_SHUTDOWN, SHUTDOWN_NOW = BrokerState


class BrokerStates:
    """How far each broker has applied the metadata log, as it said last, and who is leaving. It lives in memory only."""

    __slots__ = ("metadata_offsets", "shutdown_offsets")

    def __init__(self) -> None:
        self.metadata_offsets: dict[str, int] = {}
        self.shutdown_offsets: dict[str, int] = {}
        """Of brokers in controlled shutdown: the end of the log with the changes that took their leaderships away."""

    def forget(self) -> None:
        """Another controller, or another life of this one, has heard nobody yet."""
        self.metadata_offsets, self.shutdown_offsets = {}, {}

    def touch(self, broker: str, *, fenced: bool, metadata_offset: int) -> None:
        self.metadata_offsets[broker] = metadata_offset
        if fenced:
            self.shutdown_offsets.pop(broker, None)

    def fence(self, broker: str) -> None:
        self.shutdown_offsets.pop(broker, None)

    def begin_shutdown(self, broker: str, offset: int) -> None:
        """KC-19: set once; later heartbeats do not move it."""
        self.shutdown_offsets.setdefault(broker, offset)

    def lowest_active_offset(self, unfenced: Iterable[str]) -> int:
        """KC-18: of the brokers that stay."""
        return min((self.metadata_offsets.get(broker, NOT_HEARD) for broker in unfenced if broker not in self.shutdown_offsets), default=NOBODY)

    def current(self, broker: str, *, fenced: bool) -> BrokerState:
        if broker in self.shutdown_offsets:
            return CONTROLLED_SHUTDOWN
        return FENCED if fenced else UNFENCED

    def next(self, request: BrokerHeartbeatRequest, current: BrokerState, unfenced: Iterable[str], has_leaderships: Callable[[str], bool]) -> BrokerState:
        """KC-17, the whole table."""
        match current:
            case BrokerState.FENCED:
                if request.want_shut_down:
                    return SHUTDOWN_NOW
                caught_up = request.current_metadata_offset >= request.broker_epoch - 1  # The offset of its registration.
                return UNFENCED if caught_up and not request.want_fence else FENCED
            case BrokerState.UNFENCED:
                if request.want_fence:
                    return SHUTDOWN_NOW if request.want_shut_down else FENCED
                if not request.want_shut_down:
                    return UNFENCED
                return CONTROLLED_SHUTDOWN if has_leaderships(request.broker) else SHUTDOWN_NOW
            case _:
                gone = self.shutdown_offsets[request.broker] <= self.lowest_active_offset(unfenced)
                return SHUTDOWN_NOW if gone and not has_leaderships(request.broker) else CONTROLLED_SHUTDOWN
