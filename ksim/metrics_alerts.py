"""Alerts rehearsed: would the rule have fired, and how long after the first harm; or was it blind.

Not Kafka's: a rule is looked at every second, as a monitoring system does that reads JMX, and fires when every look of its `for` found it true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ksim.first_harm import Harm
from ksim.metrics_series import Line
from ksim.plan import AlertPlan
from ksim_models.units import MILLISECOND, SECOND, Micros

LOOKED_AT_EVERY: Micros = SECOND


@dataclass(frozen=True, slots=True)
class Alarm:
    """What became of one rule."""

    rule: AlertPlan
    read: bool
    """The metric could be read at all: of a live run few of a client's can."""
    fired_at_ms: int | None
    of: str
    """Whose metric it was that fired first."""
    harm: Harm | None
    """The first that was done."""

    @property
    def blind(self) -> bool:
        return self.read and self.fired_at_ms is None and self.harm is not None

    @property
    def after_harm_ms(self) -> float | None:
        """How long after the first harm it fired; less than 0: before it."""
        return None if self.fired_at_ms is None or self.harm is None else self.fired_at_ms - self.harm.at / MILLISECOND


def rehearse(rules: Sequence[AlertPlan], lines: Sequence[Line], until: Micros, first: Harm | None) -> list[Alarm]:
    """`lines` are read once per second, and past the end of the run: what is above its limit there may yet last long enough.

    What is below it there is not followed: that the producers have nothing left to send is no news.
    """
    return [_rehearse(rule, watched(lines, rule.metric), until // MILLISECOND, first) for rule in rules]


def watched(lines: Sequence[Line], metric: str) -> list[Line]:
    """Of a client's own metric not those of its topics and nodes besides."""
    found = [line for line in lines if line.metric == metric]
    return [line for line in found if line.client and not line.topic and not line.node] or found


def _rehearse(rule: AlertPlan, lines: Sequence[Line], until_ms: int, first: Harm | None) -> Alarm:
    fired = [(at_ms, line.of) for line in lines if (at_ms := fires_at(rule, line, until_ms)) is not None]
    at_ms, of = min(fired, default=(None, ""), key=lambda one: one[0])
    return Alarm(rule, bool(lines), at_ms, of, first)


def fires_at(rule: AlertPlan, line: Line, until_ms: int) -> int | None:
    """nan is neither above nor below."""
    since: int | None = None
    for at_ms, value in zip(line.at_ms, line.values, strict=True):
        true = value > rule.limit if rule.above else value < rule.limit
        if not true or (at_ms > until_ms and (not rule.above or since is None)):
            since = None
            continue
        since = at_ms if since is None else since
        if (at_ms - since) * MILLISECOND >= rule.lasting:
            return at_ms
    return None
