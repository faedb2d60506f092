"""Rebuild README.md, results.csv and figure.svg: `python experiments/q7-how-long-is-the-failover-window/run.py`."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import BLUE, GREEN, GREY, ORANGE, Check, Page, mean, options  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim_models.facts import Acked, Disconnected, Fault, PartitionChanged  # noqa: E402

SESSION, HEARTBEAT, REQUEST, LAG = 9.0, 2.0, 30.0, 30.0
"""Kafka's defaults in s: broker.session.timeout.ms, broker.heartbeat.interval.ms, request.timeout.ms, replica.lag.time.max.ms."""
CHECK = SESSION / 8
"""How often the controller looks for stale brokers (QuorumController.maybeFenceStaleBrokerPeriodNs)."""
FENCED = (SESSION - HEARTBEAT, SESSION + CHECK)
SHRUNK = (LAG, LAG * 1.5)
"""The leader looks every half period for followers that fell behind (ReplicaManager: isr-expiration)."""
SEEDS = 40
SCENARIO = Scenario.load(HERE / "scenario.toml")

Fields = dict[str, object]
EVERYBODY = ["brokers", "controller-1", "p1"]
FAULTS: dict[str, Fields] = {
    "shutdown": {"do": "shutdown", "who": "broker-1", "for": "60s"},
    "kill -9": {"do": "crash", "who": "broker-1", "for": "60s"},
    "black hole": {"do": "cut", "between": ["broker-1", EVERYBODY], "for": "60s"},
    "leader stands still": {"do": "pause", "who": "broker-1", "for": "60s"},
    "follower stands still": {"do": "pause", "who": "broker-2", "for": "60s"},
    "follower does not fetch": {"do": "cut", "between": ["broker-2", "broker-1"], "for": "60s"},
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds after the fault; None: not at all."""

    moved: float | None
    """Another broker leads."""
    shrunk: float | None
    """The follower is out of the ISR."""
    noticed: float | None
    """The client loses a connection to the broker."""
    acked_again: float
    """The end of the longest time without an acknowledgement."""


@dataclass(frozen=True, slots=True)
class Row:
    fault: str
    what: str
    quantity: str
    """A field of Seen, or "after": how long after the leadership moved the client is served again."""
    window: tuple[float, float]
    leeway: float
    is_uniform: bool = False
    """Every moment of the cycles that make up the window is as likely, so the mean is known, too."""

    def value(self, seen: Seen) -> float:
        if self.quantity == "after":
            assert seen.moved is not None
            return seen.acked_again - seen.moved
        value = getattr(seen, self.quantity)
        assert isinstance(value, float), f"{self.fault}: {self.what} never happened"
        return value


ROWS = (
    Row("shutdown", "another broker leads", "moved", (0, 1), 0),
    Row("shutdown", "acknowledged again", "acked_again", (0, 1), 0),
    Row("kill -9", "the client knows", "noticed", (0, 0.01), 0),
    Row("kill -9", "another broker leads", "moved", FENCED, 0.05, is_uniform=True),
    Row("kill -9", "acknowledged again, after that", "after", (0, 1), 0.2),
    Row("black hole", "the client knows", "noticed", (REQUEST, REQUEST + 1), 0),
    Row("black hole", "another broker leads", "moved", FENCED, 0.05, is_uniform=True),
    Row("black hole", "acknowledged again", "acked_again", (REQUEST, REQUEST + 1), 0.2),
    Row("leader stands still", "another broker leads", "moved", FENCED, 0.05, is_uniform=True),
    Row("follower stands still", "acknowledged again", "acked_again", FENCED, 0.2, is_uniform=True),
    Row("follower does not fetch", "the ISR has shrunk", "shrunk", SHRUNK, 0.2, is_uniform=True),
    Row("follower does not fetch", "acknowledged again", "acked_again", SHRUNK, 0.5, is_uniform=True),
)
"""The windows follow from the defaults above; the leeway is for the records' distance, round trips and backoffs."""


def scenario_of(fault: str, seed: int) -> Scenario:
    """At a moment drawn from more than any cycle: heartbeats, the controller's checks, and the leader's every 15 s."""
    at_us = 10_000_000 + int(random.Random(seed).random() * LAG / 2 * 1e6)
    data = SCENARIO.data
    data["fault"] = [{"name": "the fault", "at": f"{at_us}us"} | FAULTS[fault]]
    return Scenario(**data)


def observe(fault: str, seed: int) -> Seen:
    history = simulate(scenario_of(fault, seed), seed=seed).history
    began = moved = shrunk = noticed = None
    acks: list[int] = []
    for at, fact in history.of(Fault, PartitionChanged, Disconnected, Acked):
        if isinstance(fact, Fault):
            began = at if fact.phase == "begin" else began
        elif isinstance(fact, Acked):
            acks.append(at)
        elif began is None:
            continue
        elif isinstance(fact, Disconnected):
            noticed = at if noticed is None and fact.client == "p1" and fact.broker == "broker-1" else noticed
        else:
            moved = at if moved is None and fact.leader not in ("", "broker-1") else moved
            shrunk = at if shrunk is None and "broker-2" not in fact.isr else shrunk
    assert began is not None
    gaps = [(later - earlier, later) for earlier, later in pairwise(acks) if later > began]
    moments = [None if at is None else (at - began) / 1e6 for at in (moved, shrunk, noticed)]
    return Seen(moments[0], moments[1], moments[2], (max(gaps)[1] - began) / 1e6)


def checks_of(row: Row, seen: Sequence[Seen]) -> list[Check]:
    values = [row.value(one) for one in seen]
    (least, most), name = row.window, f"{row.fault}: {row.what}"
    admitted = max(0.0, least - row.leeway), most + row.leeway
    earliest, latest = min(values), max(values)
    n = len(values)
    return [
        *([mean(name, "mean, s", (least + most) / 2, values, tolerance=0.02, chance=True)] if row.is_uniform else []),
        Check(name, "earliest, s", least, earliest, earliest, earliest, *admitted, n),
        Check(name, "latest, s", most, latest, latest, latest, *admitted, n),
    ]


def draw(figure: Any, checks: Sequence[Check]) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(check.row for check in checks))
    for place, name in enumerate(names):
        of = {check.quantity: check for check in checks if check.row == name}
        first, last = of["earliest, s"], of["latest, s"]
        axes.barh(place, last.table - first.table, left=first.table, height=0.55, color=GREY, alpha=0.35)
        axes.plot([first.table, last.table], [place, place], "|", color=GREY, markersize=14)
        colour = ORANGE if "client" in name or "acknowledged" in name else GREEN if "ISR" in name else BLUE
        axes.plot([first.ksim, last.ksim], [place, place], color=colour, linewidth=2, marker="|", markersize=10)
        if "mean, s" in of:
            middle = of["mean, s"]
            axes.errorbar([middle.ksim], [place], xerr=[[middle.ksim - middle.low], [middle.high - middle.ksim]], fmt="o", color=colour, capsize=3)
            axes.plot([middle.table], [place], "|", color="black", markersize=16)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(left=-0.5)
    axes.set_xlabel("seconds after the fault: earliest, mean, latest; grey and black: from Kafka's defaults")


PAGE = Page(
    HERE,
    draw=draw,
    size=(10, 5),
    decimals=3,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    wanted = ("kill -9", "follower does not fetch") if given.quick else FAULTS
    checks: list[Check] = []
    for fault in wanted:
        seen = given.each(partial(observe, fault), range(3 if given.quick else SEEDS))
        for row in ROWS:
            if row.fault == fault:
                checks += checks_of(row, seen)
    return PAGE.finish(checks, given)


if __name__ == "__main__":
    sys.exit(main())
