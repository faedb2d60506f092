"""Which exchanges a frame fault counts, and which of those it hits: the same arithmetic for the simulation and the live twin.

Not Kafka's: section 2 of the fault language. Matching exchanges are counted from 1, retries included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim.dice import Dice
from ksim.plan import FRAME_FAULTS, FaultPlan, FrameTrigger, Who
from ksim_models.units import Micros

Carried = tuple[Sequence[str], Sequence[str]]
"""What an exchange is about: topics (of those that name topics only), and partitions."""

HITS_THE_REQUEST = ("lose-request",)


class FrameFault:
    """One fault of the scenario, with its count."""

    def __init__(self, plan: FaultPlan, trigger: FrameTrigger, dice: Dice, resolve: Callable[[Who, FaultPlan], tuple[str, ...]]) -> None:
        self.plan = plan
        self.trigger = trigger
        self.seen = 0
        self.hits = 0
        self.over = False
        self.active_from: Micros = plan.at if plan.at is not None else 0
        self.first_hit_at: Micros | None = None
        self.strike: Callable[[FaultPlan], None] | None = None
        """Of a fault of machines or paths, which only waits for this exchange: how it is inflicted."""
        self._dice = dice
        self._resolve = resolve

    @property
    def hits_frames(self) -> bool:
        return self.plan.do in FRAME_FAULTS

    @property
    def counts_responses(self) -> bool:
        return self.trigger.side == "response" and self.plan.do not in HITS_THE_REQUEST and not (self.plan.do == "answer" and not self.plan.processed)

    def fires(self, api: str, client: str, broker: str, connection: str, carried: Callable[[], Carried], now: Micros) -> bool:
        """Count this exchange if it matches, and say whether the fault hits it."""
        trigger = self.trigger
        if self.over or api != trigger.api or now < self.active_from + trigger.after:
            return False
        if self.hits_frames and self.plan.duration is not None and self.first_hit_at is not None and now >= self.first_hit_at + self.plan.duration:
            return False
        if not (self._names(trigger.sender, client) and self._names(trigger.receiver, broker)):  # Whichever of the two frames is hit.
            return False
        if trigger.connection is not None and trigger.connection != connection:
            return False
        if not self._concerns(carried):
            return False
        self.seen += 1
        if not self._chosen():
            return False
        self.hits += 1
        if self.first_hit_at is None:
            self.first_hit_at = now
        return True

    def deed(self, *, answered: bool) -> str | None:
        """What it does to the exchange that it hits; None where there is nothing to hit, because acks=0 has no answer."""
        do = self.plan.do
        if answered:
            return do
        if self.counts_responses or do == "lose-response" or self.plan.processed:
            return None
        return "lose-request" if do == "answer" else do  # What a broker does that refuses: it closes the connection (BP-13).

    def heal(self) -> None:
        """A fault without end is over. One that is still to hit a certain number of exchanges may yet do so: it ends by itself."""
        if self.trigger.times is None and (self.trigger.every is not None or self.trigger.probability is not None):
            self.over = True

    def _names(self, who: Who | None, name: str) -> bool:
        return who is None or name in self._resolve(who, self.plan)

    def _concerns(self, carried: Callable[[], Carried]) -> bool:
        trigger, answered_for = self.trigger, self.plan.partition
        if trigger.topic is None and trigger.partition is None and answered_for is None:
            return True
        topics, partitions = carried()
        if answered_for is not None and answered_for not in partitions:
            return False  # An answer for one partition only has nothing to say to a request without it.
        if trigger.topic is None and trigger.partition is None:
            return True
        if trigger.partition is None and trigger.topic in topics:
            return True
        return any(
            (trigger.partition is None or partition == trigger.partition) and (trigger.topic is None or partition.rpartition("-")[0] == trigger.topic)
            for partition in partitions
        )

    def _chosen(self) -> bool:
        trigger = self.trigger
        if trigger.probability is not None:
            chosen = self._dice.at("fault", self.plan.index, self.seen) < trigger.probability and self.seen >= trigger.nth
        elif trigger.every is not None:
            chosen = self.seen % trigger.every == 0
        else:
            return trigger.nth <= self.seen < trigger.nth + (trigger.times or 1)
        return chosen and (trigger.times is None or self.hits < trigger.times)


def fired(
    faults: Sequence[FrameFault],
    api: str,
    client: str,
    broker: str,
    connection: str,
    carried: Callable[[], Carried],
    now: Micros,
    *,
    responses: bool,
) -> list[FrameFault]:
    """Every fault counts what passes by, whichever of them strikes first; those that only wait for an exchange let it pass."""
    found = [fault for fault in faults if fault.counts_responses == responses and fault.fires(api, client, broker, connection, carried, now)]
    for fault in found:
        if not fault.hits_frames:
            assert fault.strike is not None
            fault.strike(fault.plan)
    return [fault for fault in found if fault.hits_frames]
