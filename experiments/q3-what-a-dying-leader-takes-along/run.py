"""Rebuild README.md, results.csv and figure.svg: `python experiments/q3-what-a-dying-leader-takes-along/run.py`."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import BLUE, GREY, RED, Check, Page, exactly, mean, options, whiskers  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim_models.units import ms  # noqa: E402

ROWS = ((1_000, 1_000, 2_500), (10_000, 500, 800), (10_000, 20_000, 400), (50_000, 20_000, 200))
"""Records per second, one-way delay between the brokers in us, kills."""
KINDS = ("kill -9", "path and leader")
TOLERANCE = 0.05
STEADY_US = 40_000
"""By then, and four cycles more, the fetches have found their rhythm."""
STALLS = ((5, 1.0, 20), (20, 1.0, 10), (60, 0.0, 5))
"""Follower cut off for so many s before the kill; the share of the records of that time that is lost; kills."""
STALL_RATE = 200
SCENARIO = Scenario.load(HERE / "scenario.toml")


def expected(rate: int, delay_us: int, kind: str) -> float:
    """Records that the leader has appended, and that the follower has not got, at a random moment.

    The follower's fetch comes back to the leader every 2d, so on average d has passed since the last answer left: d λ. What is still under way to the
    follower, another d λ, is lost where the path goes with the leader. A fetch that finds nothing (chance e^-m, m = 2 d λ) waits for the next record.
    """
    arrivals = rate * delay_us / 1e6
    waits = math.exp(-2 * arrivals) / (2 * arrivals)
    return arrivals / (1 + waits) + (arrivals if kind == KINDS[1] else 0)


def observe(task: tuple[int, int, str, object, int, int]) -> int:
    """Acknowledged records that are gone."""
    rate, delay_us, kind, acks, kill_at, seed = task
    near = max(1, delay_us // 50)
    records = rate * kill_at / 1e6
    data: Any = SCENARIO.data
    data["network"]["latency"] = f"{near}us"
    for link in data["network"]["links"]:
        link["latency"] = f"{delay_us - near}us"
    data["producers"]["p1"]["config"]["acks"] = acks
    data["workload"][0] |= {"rate": rate, "records": int(records + 6 * records**0.5 + 20)}  # They do not end before the kill.
    path, leader = data["fault"]
    path["at"], leader["at"] = f"{kill_at - delay_us}us", f"{kill_at}us"  # What left within the last d before the kill goes with the path.
    data["fault"] = [path, leader] if kind == KINDS[1] else [leader]
    told = simulate(Scenario(**data), seed=seed).verdict.records
    assert told["unknown"] == told["failed"] == 0
    return told["lost"]


def observe_stall(task: tuple[int, int]) -> int:
    """The follower is cut off (from its leader alone, so its heartbeats go on), and after so many seconds the leader is killed."""
    seconds, seed = task
    cut_at = STEADY_US + random.Random(seed).randrange(10_000)
    kill_at = cut_at + ms(1000 * seconds)
    scenario = SCENARIO.at("workload.0.rate", STALL_RATE).at("workload.0.records", int(STALL_RATE * (kill_at / 1e6 + 5)))
    scenario = scenario.at("fault.0.at", f"{cut_at}us").at("fault.1.at", f"{kill_at}us").at("producers.p1.config.delivery.timeout.ms", "10min")
    return simulate(scenario, seed=seed).verdict.records["lost"]


def kills(delay_us: int, many: int) -> list[int]:
    """Moments spread evenly over whole cycles of the fetch, each drawn within its share: random, but no phase is left out."""
    dice = random.Random(delay_us)
    cycle = 2 * delay_us
    return [STEADY_US + 4 * cycle + int((number + dice.random()) * cycle / many) for number in range(many)]


def draw(figure: Any, checks: Sequence[Check]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    many = [10 ** (step / 20) * 0.5 for step in range(71)]
    for kind, colour, factor in ((KINDS[0], BLUE, "dλ"), (KINDS[1], RED, "2dλ")):
        left.plot(many, [expected(round(1_000_000 * x), 1, kind) for x in many], color=colour, linewidth=1.2, label=f"{kind}: {factor}")
        of = [check for check in checks if check.row.endswith(kind) and check.quantity == "mean lost"]
        whiskers(left, [rate * delay / 1e6 for rate, delay, _ in ROWS][: len(of)], of, colour)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("records per one-way delay, dλ")
    left.set_title("acknowledged records lost per kill", loc="left", fontsize=11)
    left.legend(frameon=False)
    of = [check for check in checks if check.row.startswith("follower cut off")]
    right.plot([0, 30], [0, 30 * STALL_RATE], color=BLUE, linewidth=1.2, label="Tλ while in the ISR")
    right.axvspan(30, 45, color=GREY, alpha=0.2, label="ISR shrinks")
    right.plot([45, 65], [0, 0], color=BLUE, linewidth=1.2)
    whiskers(right, [float(seconds) for seconds, *_ in STALLS], of, BLUE)
    right.set_xlabel("follower cut off for T seconds before the kill")
    right.set_title("the same, follower stalled", loc="left", fontsize=11)
    right.set_ylim(top=35 * STALL_RATE)
    right.legend(frameon=False, fontsize=9, loc="upper left")


PAGE = Page(
    HERE,
    draw=draw,
    decimals=3,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    rows = ((10_000, 500, 60),) if given.quick else ROWS
    checks: list[Check] = []
    for rate, delay_us, many in rows:
        moments = kills(delay_us, many)
        for kind in KINDS:
            lost = given.each(observe, [(rate, delay_us, kind, 1, at, seed) for seed, at in enumerate(moments)])
            row = f"{rate:,}/s, d={delay_us / 1000:g} ms, {kind}"
            checks.append(mean(row, "mean lost", expected(rate, delay_us, kind), lost, tolerance=TOLERANCE, chance=given.quick))
    rate, delay_us, many = (10_000, 500, 10) if given.quick else (10_000, 20_000, 100)
    for kind in KINDS:
        lost = given.each(observe, [(rate, delay_us, kind, "all", at, seed) for seed, at in enumerate(kills(delay_us, many))])
        checks.append(exactly(f"{rate:,}/s, d={delay_us / 1000:g} ms, {kind}, acks=all", "lost in all kills", 0, sum(lost), many))
    for seconds, portion, many in STALLS[2:] if given.quick else STALLS:
        lost = given.each(observe_stall, [(seconds, seed) for seed in range(1 if given.quick else many)])
        table = portion * seconds * STALL_RATE
        row = f"follower cut off {seconds} s before, {STALL_RATE}/s"
        checks.append(mean(row, "mean lost", table, lost, tolerance=TOLERANCE) if table else exactly(row, "mean lost", 0, sum(lost) / len(lost), len(lost)))
    return PAGE.finish(checks, given)


if __name__ == "__main__":
    sys.exit(main())
