"""Rebuild README.md, results.csv and figure.svg: `python experiments/q6-what-acks-cost/run.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import BLUE, COLOURS, Check, Page, in_range, options, whiskers  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim.statistics import mean_interval  # noqa: E402
from ksim_models.facts import Acked  # noqa: E402

PUBLISHED = {
    (1, 100_000): (510, 550, 586),
    (2, 100_000): (505, 554, 615),
    (3, 100_000): (515, 631, 726),
    (2, 1_000_000): (2_689, 3_405, 4_960),
    (3, 1_000_000): (3_701, 4_060, 8_475),
}
"""(replication, records) -> ms with acks = 0, 1, all; one laptop, everything in containers, a disk and a CPU for all (nikokelx, tests 01 and 07)."""
ACKS: tuple[object, ...] = (0, 1, "all")
SEEDS = {100_000: 10, 1_000_000: 2}
FACTOR = 1.5
SPREAD = 1.2
SCENARIO = Scenario.load(HERE / "scenario.toml")

Times = dict[tuple[int, int], dict[object, list[float]]]
"""(replication, records) -> acks -> ms."""


def observe(task: tuple[int, int, object, int]) -> float:
    """Until the last record is acknowledged, in ms."""
    replication, records, acks, seed = task
    scenario = SCENARIO.at("topics.payments.replication", replication).at("workload.0.records", records).at("producers.p1.config.acks", acks)
    return max(at for at, _ in simulate(scenario, seed=seed).history.of(Acked)) / 1000


def ratios(slower: Sequence[float], faster: Sequence[float]) -> list[float]:
    """Seed by seed: the same network for both."""
    return [one / other for one, other in zip(slower, faster, strict=True)]


def checks_of(times: Times) -> list[Check]:
    checks = []
    for (replication, records), of in times.items():
        zero, one, every = (of[acks] for acks in ACKS)
        row = f"RF {replication}, {records:,} records"
        published = PUBLISHED[replication, records]
        table = published[2] / published[0]
        checks.append(in_range(row, "acks=all over acks=0", table, ratios(every, zero), table / FACTOR, table * FACTOR))
        if replication == 1:
            spread = max(published) / min(published)
            checks.append(in_range(row, "slowest over fastest acks", spread, ratios([max(values) for values in zip(zero, one, every)], zero), 1, SPREAD))
        else:  # Strictly slower, whatever the seed: the least of the ratios is what counts.
            checks.append(slower(row, "acks=1 over acks=0, least", published[1] / published[0], ratios(one, zero)))
            checks.append(slower(row, "acks=all over acks=1, least", published[2] / published[1], ratios(every, one)))
    for fewer, more in ((1, 2), (2, 3)):
        if (fewer, 100_000) in times and (more, 100_000) in times:
            table = PUBLISHED[more, 100_000][2] / PUBLISHED[fewer, 100_000][2]
            found = ratios(times[more, 100_000]["all"], times[fewer, 100_000]["all"])
            checks.append(slower(f"RF {more} over RF {fewer}, 100,000 records", "acks=all, least", table, found))
    return checks


def slower(row: str, quantity: str, table: float, found: Sequence[float]) -> Check:
    return Check(row, quantity, table, min(found), min(found), max(found), 1 + 1e-9, float("inf"), len(found))


def draw(figure: Any, checks: Sequence[Check]) -> None:
    axes = figure.subplots()
    of = [check for check in checks if check.quantity == "acks=all over acks=0"]
    for place, check in enumerate(of):
        label = "table, times and by 1.5" if place == 0 else None
        axes.bar(place, check.most - check.least, bottom=check.least, width=0.5, color="#777777", alpha=0.25, label=label)
        axes.plot([place - 0.25, place + 0.25], [check.table, check.table], color=COLOURS[3], linewidth=1.5, label="table" if place == 0 else None)
    whiskers(axes, list(range(len(of))), of, BLUE, "ksim")
    axes.set_xticks(range(len(of)), [check.row.replace(", ", "\n") for check in of])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("time with acks=all over acks=0")
    axes.legend(frameon=False, loc="upper left")


PAGE = Page(
    HERE,
    draw=draw,
    size=(8, 4),
    decimals=3,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    cells = [(1, 100_000), (2, 100_000)] if given.quick else list(PUBLISHED)
    tasks = [(*cell, acks, seed) for cell in cells for acks in ACKS for seed in range(2 if given.quick else SEEDS[cell[1]])]
    times: Times = {cell: {acks: [] for acks in ACKS} for cell in cells}
    for (replication, records, acks, _), taken in zip(tasks, given.each(observe, tasks), strict=True):
        times[replication, records][acks].append(taken)
    for (replication, records), of in times.items():
        told = ", ".join(f"acks={acks} {mean_interval(of[acks])[0]:,.0f} ms" for acks in ACKS)
        sys.stdout.write(f"RF {replication}, {records:,} records: {told}\n")
    return PAGE.finish(checks_of(times), given)


if __name__ == "__main__":
    sys.exit(main())
