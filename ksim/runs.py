"""A run: what a simulation, or a replay on a live cluster, left behind.

Not Kafka's. Both roads end here, so that both are judged, reported, explained and drawn by the same code.
"""

from __future__ import annotations

from ksim.history import History
from ksim.metrics import Metrics, measure
from ksim.plan import Plan
from ksim.verdict import Verdict, judge
from ksim_models.units import Micros


class Run:
    """The history of one run, its plan, and how long it took."""

    __slots__ = ("_metrics", "_verdict", "events", "history", "plan", "simulated_us", "wall_ms")

    def __init__(self, plan: Plan, history: History, events: int, simulated_us: Micros, wall_ms: float) -> None:
        self.plan = plan
        self.history = history
        self.events = events
        self.simulated_us = simulated_us
        self.wall_ms = wall_ms
        self._verdict: Verdict | None = None
        self._metrics: Metrics | None = None

    @property
    def verdict(self) -> Verdict:
        """Judged when first asked for, from outside facts only."""
        if self._verdict is None:
            self._verdict = judge(self.history)
        return self._verdict

    @property
    def metrics(self) -> Metrics:
        if self._metrics is None:
            self._metrics = measure(self.history)
        return self._metrics
