"""Rebuild README.md, results.csv and figure.svg: `python experiments/q8-batching-under-poisson-arrivals/run.py`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import COLOURS, Check, Page, mean, options, share, whiskers  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim_models.facts import Offered, Sent  # noqa: E402

ROWS = ((200, 20, 16), (200, 100, 16), (1_000, 5, 16), (1_000, 20, 16), (1_000, 100, 164), (5_000, 5, 16), (5_000, 100, 164), (20_000, 20, 164))
"""Records per second, linger in ms, records that fill a batch."""
TOLERANCE = 0.01
BATCHES = {16: 10_000, 164: 2_500}
SEEDS = 4
RECORD_BYTES = 96
COLD = 5
"""The first batches, while the client connects."""
SCENARIO = Scenario.load(HERE / "scenario.toml")

Found = tuple[list[int], list[float]]
"""Sizes, and how long the first record of each was held, in ms."""


def poisson(mean_count: float, count: int) -> float:
    return math.exp(count * math.log(mean_count) - mean_count - math.lgamma(count + 1))


def more_than(mean_count: float, count: int) -> float:
    """P(Pois > count)."""
    return max(0.0, 1.0 - sum(poisson(mean_count, fewer) for fewer in range(count + 1)))


def expected(rate: float, linger_ms: float, full: int) -> tuple[float, float, float]:
    """P(full), E[size], E[hold of the first record] in ms.

    The timer starts with the first record; the batch leaves with record `full`, or when the timer ends.
    """
    arrivals = rate * linger_ms / 1000
    beyond = [more_than(arrivals, count) for count in range(full - 1)]
    return beyond[full - 2], 1 + sum(beyond), sum(beyond) * 1000 / rate


def batch_bytes(records: int) -> int:
    """Message format v2: 61 bytes, and per record the lengths and deltas as varints. One byte holds up to 63, two up to 8191."""
    bodies = [1 + 1 + _varint(number) + 1 + _varint(RECORD_BYTES) + RECORD_BYTES + 1 for number in range(records)]
    return 61 + sum(_varint(body) + body for body in bodies)


def _varint(value: int) -> int:
    return 1 if value < 64 else 2


def observe(task: tuple[int, int, int, int, int]) -> Found:
    rate, linger_ms, full, batches, seed = task
    records = int(batches * expected(rate, linger_ms, full)[1])
    scenario = SCENARIO.at("workload.0.rate", rate).at("workload.0.records", records)
    scenario = scenario.at("producers.p1.config.linger.ms", linger_ms).at("producers.p1.config.batch.size", batch_bytes(full))
    began: dict[int, int] = {}
    sizes, holds = [], []
    for at, fact in simulate(scenario, seed=seed).history.of(Offered, Sent):
        if isinstance(fact, Offered):
            began[fact.records[0]] = fact.moments()[0]
        else:
            assert fact.attempt == 1
            sizes.append(len(fact.records))
            holds.append((at - began[fact.records[0]]) / 1000)
    return sizes[COLD:-1], holds[COLD:-1]  # Without the last, which ends because nothing more comes.


def checks_of(rate: int, linger_ms: int, full: int, found: Found, *, quick: bool) -> list[Check]:
    row = f"{rate:,}/s, linger {linger_ms} ms, N={full}"
    sizes, holds = found
    chance, size, hold = expected(rate, linger_ms, full)
    assert max(sizes) <= full
    return [
        share(row, "share full", chance, sum(count == full for count in sizes), len(sizes)),
        mean(row, "records per batch", size, sizes, tolerance=TOLERANCE, chance=quick),
        mean(row, "first record held, ms", hold, holds, tolerance=TOLERANCE, chance=quick),
    ]


def draw(figure: Any, checks: Sequence[Check]) -> None:
    left, right = figure.subplots(1, 2)
    for place, full in enumerate((16, 164)):
        many = [10 ** (step / 40) * 0.1 for step in range(81)]
        rows = [(number, row) for number, row in enumerate(ROWS) if row[2] == full]
        xs = [rate * linger / 1000 / full for _, (rate, linger, _) in rows]
        for panel, offset, of_full in ((left, 1, full), (right, 2, 1.0)):
            lines = [expected(1000 * arrivals * full, 1, full) for arrivals in many]
            value = [line[1] / full if offset == 1 else line[2] for line in lines]
            panel.plot(many, value, color=COLOURS[place], linewidth=1.2)
            scale = [of_full if offset == 1 else linger for _, (_, linger, _) in rows]
            of = [checks[3 * number + offset] for number, _ in rows]
            scaled = [Check(c.row, c.quantity, c.table / s, c.ksim / s, c.low / s, c.high / s, 0, 0, c.n) for c, s in zip(of, scale, strict=True)]
            whiskers(panel, xs, scaled, COLOURS[place], f"N = {full}")
    for panel, label in ((left, "records per batch / N"), (right, "hold of the first record / linger.ms")):
        panel.set_xscale("log")
        panel.set_xlabel("records that come within linger.ms / N")
        panel.set_title(label, loc="left", fontsize=11)
        panel.set_ylim(0, 1.08)
    right.legend(frameon=False)


PAGE = Page(
    HERE,
    draw=draw,
    decimals=4,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    rows = ROWS[3:4] if given.quick else ROWS
    seeds = 1 if given.quick else SEEDS
    tasks = [(*row, 1_500 if given.quick else BATCHES[row[2]], seed) for row in rows for seed in range(seeds)]
    found = given.each(observe, tasks)
    checks: list[Check] = []
    for number, row in enumerate(rows):
        of = found[number * seeds : (number + 1) * seeds]
        together = [size for sizes, _ in of for size in sizes], [hold for _, holds in of for hold in holds]
        checks += checks_of(*row, together, quick=given.quick)
    return PAGE.finish(checks, given)


if __name__ == "__main__":
    sys.exit(main())
