"""Elections that the controller holds from time to time: leaders back to where they are preferred, and leaders where unclean election has been enabled.

Kafka: QuorumController with PeriodicTaskControlManager (4.0; before, maybeScheduleNextBalancePartitionLeaders and its like). KC-44, KC-46.
A turn that would find nothing is not taken, so an idle cluster costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim_models.units import NEVER, Micros


class PeriodicElection:
    __slots__ = ("every", "has_work", "hold", "next_at", "on_a_grid")

    def __init__(self, every: Micros, on_a_grid: bool, has_work: Callable[[], bool], hold: Callable[[Micros], None]) -> None:
        self.every = every
        self.on_a_grid = on_a_grid
        """From 4.0 the turns follow the start of the controller; before, the first moment at which there is something to do."""
        self.has_work = has_work
        self.hold = hold
        self.next_at: Micros = NEVER

    def begin(self, now: Micros) -> None:
        """This controller has become the active one."""
        self.next_at = now + self.every if self.on_a_grid else NEVER

    @property
    def wake_at(self) -> Micros:
        return self.next_at if self.next_at < NEVER and (not self.on_a_grid or self.has_work()) else NEVER

    def turn(self, now: Micros) -> None:
        """Before anything else of this moment."""
        if self.next_at <= now:
            self.hold(now)
            if self.on_a_grid:
                self.next_at += ((now - self.next_at) // self.every + 1) * self.every
            else:
                self.next_at = NEVER

    def look(self, now: Micros) -> None:
        """After everything of this moment: where there is something to do now, before 4.0 its turn comes an interval later."""
        if not self.on_a_grid and self.next_at == NEVER and self.has_work():
            self.next_at = now + self.every
