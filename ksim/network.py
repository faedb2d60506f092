"""How long a message takes from one machine to another.

Latency is drawn per link, in the order of sending, so that two configurations under one seed meet the same network.
"""

from __future__ import annotations

from fractions import Fraction

from ksim.dice import Dice
from ksim.plan import Latency, NetworkPlan
from ksim.workload import LatencyDraw
from ksim_models.machine import Received
from ksim_models.messages import FetchResponse, ProduceRequest
from ksim_models.units import Micros

FRAME_BYTES = 100
"""What a message without records takes, roughly: it matters on narrow links only."""


def message_bytes(message: object) -> int:
    if type(message) is ProduceRequest:
        return FRAME_BYTES + sum(batch.size_bytes for batch in message.batches)
    if type(message) is FetchResponse:
        return FRAME_BYTES + sum(batch.size_bytes for partition in message.partitions for batch in partition.batches)
    return FRAME_BYTES


class LinkDelays:
    """The general latency, what `links` add to it, and what `slow` faults add for a while."""

    def __init__(self, plan: NetworkPlan, dice: Dice) -> None:
        self._plan = plan
        self._dice = dice
        self._usual = plan.latency.median if plan.latency.median == plan.latency.p99 and not plan.links and plan.bandwidth is None else None
        self.constant = self._usual
        self._slow: dict[tuple[str, str], Micros] = {}
        self._links: dict[tuple[str, str], list[Latency]] = {}
        for link in plan.links:
            self._links.setdefault((link.sender, link.receiver), []).append(link.latency)

    @property
    def bandwidth(self) -> Fraction | None:
        """Bytes per microsecond; None: unlimited."""
        return self._plan.bandwidth

    def delay(self, path: tuple[str, str], event: object) -> Micros:
        total = self._slow.get(path, 0)
        for number, latency in enumerate((self._plan.latency, *self._links.get(path, ()))):
            if latency.median == latency.p99:
                total += latency.median
            else:
                total += LatencyDraw(latency).of(self._dice.stream(f"network/{number}/{path[0]}->{path[1]}").random())
        if self._plan.bandwidth is not None and type(event) is Received:
            total += int(message_bytes(event.message) / self._plan.bandwidth)
        return total

    def slow_down(self, sender: str, receiver: str, by: Micros) -> None:
        self._slow[sender, receiver] = self._slow.get((sender, receiver), 0) + by
        if not self._slow[sender, receiver]:
            del self._slow[sender, receiver]
        self.constant = None if self._slow else self._usual
