"""How long a message takes from one machine to another.

Latency is drawn per link, in the order of sending, so that two configurations under one seed meet the same network.
Bandwidth is that of each connection, in each direction: what is sent waits until all that was sent before it has left.
"""

from __future__ import annotations

from fractions import Fraction

from ksim.dice import Dice
from ksim.loop_connections import Wire
from ksim.plan import Latency, NetworkPlan
from ksim.workload import LatencyDraw
from ksim_models.machine import Received
from ksim_models.messages import FetchResponse, ProduceRequest
from ksim_models.transaction_messages import ConsumerFetchResponse
from ksim_models.units import Micros

FRAME_BYTES = 100
"""What a message without records takes, roughly: it matters on narrow links only."""


def message_bytes(message: object) -> int:
    if type(message) is ProduceRequest:
        return FRAME_BYTES + sum(batch.size_bytes for batch in message.batches)
    if isinstance(message, (FetchResponse, ConsumerFetchResponse)):
        return FRAME_BYTES + sum(batch.size_bytes for partition in message.partitions for batch in partition.batches)
    return FRAME_BYTES


class LinkDelays:
    """The general latency and bandwidth, what `links` add, and what `slow` faults change for a while."""

    def __init__(self, plan: NetworkPlan, dice: Dice) -> None:
        self._plan = plan
        self._dice = dice
        self._usual = plan.latency.median if plan.latency.median == plan.latency.p99 and not plan.links and plan.bandwidth is None else None
        self.constant = self._usual
        self._slow: dict[tuple[str, str], Micros] = {}
        self._narrow: dict[tuple[str, str], list[Fraction]] = {}
        self._links: dict[tuple[str, str], list[Latency]] = {}
        for link in plan.links:
            self._links.setdefault((link.sender, link.receiver), []).append(link.latency)

    def bandwidth(self, path: tuple[str, str]) -> Fraction | None:
        """Bytes per microsecond; None: unlimited. Of several `slow` faults the narrowest holds."""
        narrow = self._narrow.get(path)
        return min(narrow) if narrow else self._plan.bandwidth

    def arrival(self, wire: Wire, event: object, now: Micros) -> Micros:
        """Of what is sent now. A message takes its place on the wire; the end of a connection leaves behind what was sent before."""
        bandwidth = self.bandwidth(wire.path)
        if bandwidth is not None:
            now = max(now, wire.sent_at)
            if type(event) is Received:
                now = wire.sent_at = now + int(message_bytes(event.message) / bandwidth)
        return now + self.latency(wire.path)

    def latency(self, path: tuple[str, str]) -> Micros:
        total = self._slow.get(path, 0)
        for number, latency in enumerate((self._plan.latency, *self._links.get(path, ()))):
            if latency.median == latency.p99:
                total += latency.median
            else:
                total += LatencyDraw(latency).of(self._dice.stream(f"network/{number}/{path[0]}->{path[1]}").random())
        return total

    def slow_down(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        """by: added to the latency; bandwidth: in place of the general one. What is under way keeps its pace."""
        path = sender, receiver
        self._slow[path] = self._slow.get(path, 0) + by
        if bandwidth is not None:
            self._narrow.setdefault(path, []).append(bandwidth)
        self._settle(path)

    def speed_up(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        """What `slow_down` did is over."""
        path = sender, receiver
        self._slow[path] -= by
        if bandwidth is not None:
            self._narrow[path].remove(bandwidth)
        self._settle(path)

    def _settle(self, path: tuple[str, str]) -> None:
        if not self._slow[path] and not self._narrow.get(path):
            del self._slow[path]
            self._narrow.pop(path, None)
        self.constant = None if self._slow else self._usual
