"""Rebuild README.md, results.csv and figure.svg: `python experiments/q1-lost-acknowledgements/run.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import COLOURS, Check, Page, exactly, mean, options, share, whiskers  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim_models.facts import FinalLog  # noqa: E402

CELLS = ((0.01, 0), (0.01, 1), (0.05, 0), (0.05, 1), (0.05, 3), (0.1, 0), (0.1, 1), (0.1, 3), (0.1, 10), (0.2, 1), (0.2, 3), (0.2, 10))
"""p = q, and retries: the rows of the table."""
WITHOUT_ANSWER = (0.01, 0.05, 0.2)
SCENARIO = Scenario.load(HERE / "scenario.toml")

Task = tuple[float, int, str, int, int]
"""p, retries, "off" | "on" (idempotence) | "acks=0", records, seed."""
Counts = tuple[int, int, int, list[int]]
"""absent, ghost, duplicated; and the copies of each record."""


def expected(p: float, retries: int, mode: str) -> dict[str, float]:
    """The closed form. An attempt succeeds when neither the request (p) nor its answer (q = p) is lost.

    With idempotence a batch that never arrived and has used up its retries leaves a gap in the sequence. The client keeps the sequence
    (Sender: "it is not safe to reassign"), so the next batch is refused with OUT_OF_ORDER_SEQUENCE_NUMBER until its own retries are used up;
    if its last attempt was answered, the epoch is raised and the gap is over, else the one behind it goes the same way.
    """
    q, tries = p, retries + 1
    if mode == "acks=0":
        return {"absent": p, "ghost": 0.0, "duplicated": 0.0, "copies": 1 - p}
    success = (1 - p) * (1 - q)
    never, unanswered = p**tries, (1 - success) ** tries
    if mode == "on":
        clean = success / (never + success)
        absent = clean * never + (1 - clean)
        return {"absent": absent, "ghost": clean * (unanswered - never), "duplicated": 0.0, "copies": 1 - absent}
    once = (1 - q) * (1 - never) + tries * (1 - p) * q * p**retries
    return {"absent": never, "ghost": unanswered - never, "duplicated": 1 - never - once, "copies": (1 - p) * unanswered_sum(success, tries)}


def unanswered_sum(success: float, tries: int) -> float:
    """How many attempts are made in the mean: each with the chance that all before it went unanswered."""
    return sum((1 - success) ** number for number in range(tries))


def observe(task: Task) -> Counts:
    p, retries, mode, records, seed = task
    scenario = SCENARIO.at("workload.0.records", records).at("fault.0.when.probability", p).at("fault.1.when.probability", p)
    scenario = scenario.at("producers.p1.config.retries", retries).at("producers.p1.config.enable.idempotence", mode == "on")
    if mode == "acks=0":  # Nothing to wait for, so it is time that keeps the records apart: the next one finds a new connection.
        scenario = scenario.at("producers.p1.config.acks", 0).at("workload.0.every", "2ms").at("workload.0.wait", "none")
    run = simulate(scenario, seed=seed)
    told = run.verdict.records
    copies = [0] * records
    for _, log in run.history.of(FinalLog):
        for batch in log.batches if log.leader else ():
            for number in batch.records:
                copies[number] += 1
    assert told["unknown"] == 0
    return told["absent"] + told["lost"], told["ghost"], told["duplicated"], copies


def checks_of(p: float, retries: int, mode: str, counts: Counts, n: int) -> list[Check]:
    table = expected(p, retries, mode)
    row = f"p=q={p}, acks=0" if mode == "acks=0" else f"p=q={p}, retries={retries}, idempotence {mode}"
    absent, ghost, duplicated, copies = counts
    found = [share(row, "never arrived", table["absent"], absent, n), share(row, "failed, yet there", table["ghost"], ghost, n)]
    found.append(share(row, "twice or more", table["duplicated"], duplicated, n) if table["duplicated"] else exactly(row, "twice or more", 0, duplicated, n))
    if mode == "off":
        found.append(mean(row, "copies per record", table["copies"], copies, tolerance=0, chance=True))
    return found


def draw(figure: Any, checks: Sequence[Check]) -> None:
    axes = figure.subplots(1, 3, sharex=True)
    for panel, quantity, key in zip(axes, ("never arrived", "failed, yet there", "twice or more"), ("absent", "ghost", "duplicated"), strict=True):
        for colour, p in zip(COLOURS, (0.01, 0.05, 0.1, 0.2), strict=False):
            many = range(11)
            line = [expected(p, retries, "off")[key] for retries in many]
            panel.plot(many, [value if value > 1e-7 else float("nan") for value in line], color=colour, linewidth=1.2)
            rows = [check for check in checks if check.row.startswith(f"p=q={p},") and check.row.endswith("off")]
            of = [check for check in rows if check.quantity == quantity and check.ksim > 0]
            whiskers(panel, [int(check.row.split("retries=")[1].split(",")[0]) for check in of], of, colour, f"p = q = {p}")
        panel.set_yscale("log")
        panel.set_ylim(1e-5, 0.6)
        panel.set_title(quantity, loc="left", fontsize=11)
        panel.set_xlabel("retries")
    axes[0].set_ylabel("share of records")
    axes[0].legend(frameon=False, fontsize=9)


PAGE = Page(
    HERE,
    draw=draw,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    records, seeds = (1_500, 1) if given.quick else (10_000, 2)
    cells = [(p, retries, mode) for p, retries in CELLS for mode in ("off", "on") if not (mode == "on" and retries == 0)]
    cells += [(p, 0, "acks=0") for p in WITHOUT_ANSWER]
    if given.quick:
        cells = [(0.1, 1, "off"), (0.2, 1, "on"), (0.2, 0, "acks=0")]
    tasks = [(*cell, records, seed) for cell in cells for seed in range(seeds)]
    found = given.each(observe, tasks)
    checks: list[Check] = []
    for number, cell in enumerate(cells):
        absent, ghost, duplicated, copies = zip(*found[number * seeds : (number + 1) * seeds], strict=True)
        counts = sum(absent), sum(ghost), sum(duplicated), list(chain.from_iterable(copies))
        checks += checks_of(*cell, counts, records * seeds)
    return PAGE.finish(checks, given)


if __name__ == "__main__":
    sys.exit(main())
