"""Rebuild README.md, results.csv and figure.svg: `python experiments/q2-reordering-by-retry/run.py`."""

from __future__ import annotations

import random
import sys
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import COLOURS, GREY, Check, Page, exactly, mean, options, whiskers  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim_models.facts import FinalLog  # noqa: E402

PUBLISHED = {(0.01, 2): (0.00995, 0.0101), (0.01, 5): (0.00997, 0.0393), (0.05, 5): (0.0471, 0.174), (0.1, 2): (0.0820, 0.0903), (0.1, 5): (0.0917, 0.326)}
"""(f, w) -> share overtaken, overtakers per batch: the table gives what its author's program found, for want of a formula."""
TOLERANCE = 0.1
QUANTITIES = ("share overtaken", "overtakers per batch")
REPLAYED = "in order, replayed"
"""Not ksim: the process that the table must have meant."""
BATCHES, BLOCK = 20_000, 500
SEEDS = {0.01: 12, 0.05: 4, 0.1: 3}
SCENARIO = Scenario.load(HERE / "scenario.toml")

Task = tuple[float, int, bool, int, int]
"""f, w, idempotence, batches, seed."""
Overtaken = list[int]
"""Per batch, in the order of offering: how many later ones stand before it in the log."""


def bounds(f: float, window: int) -> tuple[float, float]:
    """Of the share: a batch that never fails is never overtaken. Of the mean: each of its f / (1 - f) failures lets at most w - 1 others past."""
    return f, f / (1 - f) * (window - 1)


def overtaken(log: Sequence[int]) -> Overtaken:
    seen: list[int] = []
    found = [0] * len(log)
    for number in log:
        found[number] = len(seen) - bisect_right(seen, number)
        insort(seen, number)
    return found


def play(f: float, window: int, batches: int, seed: int, *, in_order: bool = False) -> Overtaken:
    """The process itself, without Kafka: what failed goes to the front of the queue, and while the front waits, nothing is sent.

    `in_order`: to its old place instead, as with idempotence, and as the table has it.
    """
    dice = random.Random(seed)
    trip, wait = 1, 100
    queue: deque[tuple[int, int]] = deque((0, number) for number in range(batches))
    flying: deque[tuple[int, int]] = deque()
    log: list[int] = []
    now = 0
    while queue or flying:
        while queue and len(flying) < window and queue[0][0] <= now:
            flying.append((now + trip, queue.popleft()[1]))
        if not flying:
            now = queue[0][0]
            continue
        now, number = flying.popleft()
        if dice.random() < f:
            passed = []
            while in_order and queue and queue[0][1] < number:
                passed.append(queue.popleft())
            queue.appendleft((now + wait, number))
            queue.extendleft(reversed(passed))
        else:
            log.append(number)
    return overtaken(log)


def observe(task: Task) -> Overtaken:
    f, window, idempotent, batches, seed = task
    scenario = SCENARIO.at("workload.0.records", batches).at("fault.0.when.probability", f)
    scenario = scenario.at("producers.p1.config.max.in.flight.requests.per.connection", window).at("producers.p1.config.enable.idempotence", idempotent)
    run = simulate(scenario, seed=seed)
    log = [number for _, fact in run.history.of(FinalLog) if fact.leader for batch in fact.batches for number in batch.records]
    assert sorted(log) == list(range(batches)), "nothing is lost here, and nothing is there twice"
    found = overtaken(log)
    assert sum(count > 0 for count in found) == run.verdict.records["reordered"], "the verdict counts the same"
    return found


def blocks(found: Sequence[Overtaken]) -> tuple[list[float], list[float]]:
    """Neighbours share a stall: means of blocks are independent of each other, single batches are not."""
    parts = [run[start : start + BLOCK] for run in found for start in range(0, len(run), BLOCK)]
    return [sum(count > 0 for count in part) / len(part) for part in parts], [sum(part) / len(part) for part in parts]


def checks_of(f: float, window: int, found: Sequence[Overtaken], *, quick: bool) -> list[Check]:
    row = f"f={f}, w={window}"
    runs, batches = (1, 3_000) if quick else (5, 100_000)
    in_front, in_order = (blocks([play(f, window, batches, seed, in_order=kept) for seed in range(runs)]) for kept in (False, True))
    checks = []
    for place, quantity in enumerate(QUANTITIES):
        values, played, kept = blocks(found)[place], in_front[place], in_order[place]
        checks.append(per_batch(mean(row, quantity, sum(played) / len(played), values, tolerance=TOLERANCE, chance=quick)))
        checks.append(per_batch(mean(f"{row}, {REPLAYED}", quantity, PUBLISHED[f, window][place], kept, tolerance=TOLERANCE, chance=quick)))
    return checks


def per_batch(check: Check) -> Check:
    return replace(check, n=check.n * BLOCK)


def draw(figure: Any, checks: Sequence[Check]) -> None:
    many = [number / 400 for number in range(1, 49)]
    for place, (panel, quantity) in enumerate(zip(figure.subplots(1, 2), QUANTITIES, strict=True)):
        for colour, window in zip(COLOURS, (2, 5), strict=False):
            panel.plot(many, [bounds(f, window)[place] for f in many], color=colour, linewidth=1, linestyle="--", label=f"bound, w = {window}")
            of = [check for check in checks if check.row.endswith(f"w={window}") and check.quantity == quantity and check.table > 0]
            whiskers(panel, [float(check.row.split(",")[0][2:]) for check in of], of, colour, f"ksim, w = {window}")
            panel.plot([float(check.row.split(",")[0][2:]) for check in of], [check.table for check in of], "_", color="black", markersize=14, zorder=4)
        panel.plot([], [], "_", color="black", markersize=14, label="replayed")
        panel.plot([0.01, 0.05, 0.1], [0, 0, 0], "s", color=GREY, markersize=5, label="w = 1, or idempotence", clip_on=False)
        panel.set_title(quantity, loc="left", fontsize=11)
        panel.set_xlabel("share of requests that the broker refuses, f")
        panel.set_ylim(bottom=0)
        panel.set_xlim(0, 0.12)
    figure.axes[1].legend(frameon=False, fontsize=9)


def compared(checks: Sequence[Check]) -> str:
    told = {(check.row, check.quantity): check for check in checks}
    lines = ["| f, w | quantity | the table | replayed, kept in order | replayed, put in front | ksim | ksim over the table |", "|---|---|---|---|---|---|---|"]
    for f, window in PUBLISHED:
        row = f"f={f}, w={window}"
        for quantity in QUANTITIES:
            ours, theirs = told[row, quantity], told[f"{row}, {REPLAYED}", quantity]
            numbers = f"{theirs.table:.4f} | {theirs.ksim:.4f} | {ours.table:.4f} | {ours.ksim:.4f}"
            lines.append(f"| {row} | {quantity} | {numbers} | {100 * (ours.ksim / theirs.table - 1):+.1f} % |")
    return "\n".join(lines)


PAGE = Page(
    HERE,
    blocks={"compared": compared},
    draw=draw,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    cells = [(f, window, False) for f, window in PUBLISHED]
    ordered = [(f, 1, False) for f in (0.01, 0.1)] + [(0.1, window, True) for window in range(1, 6)]
    if given.quick:
        cells, ordered = [(0.1, 5, False)], [(0.1, 1, False), (0.1, 5, True)]
    tasks: list[Task] = [(*cell, 3_000 if given.quick else BATCHES, seed) for cell in cells for seed in range(1 if given.quick else SEEDS[cell[0]])]
    tasks += [(*cell, 1_000 if given.quick else BATCHES, 0) for cell in ordered]
    found = dict(zip(tasks, given.each(observe, tasks), strict=True))
    checks: list[Check] = []
    for f, window, _ in cells:
        checks += checks_of(f, window, [of for task, of in found.items() if task[:3] == (f, window, False)], quick=given.quick)
    for f, window, idempotent in ordered:
        of = next(of for task, of in found.items() if task[:3] == (f, window, idempotent))
        checks.append(exactly(f"f={f}, w={window}, idempotence {'on' if idempotent else 'off'}", "overtaken", 0, sum(count > 0 for count in of), len(of)))
    return PAGE.finish(checks, given)


if __name__ == "__main__":
    sys.exit(main())
