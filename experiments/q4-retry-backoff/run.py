"""Rebuild README.md, results.csv and figure.svg: `python experiments/q4-retry-backoff/run.py`."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tables import BLUE, GREEN, GREY, RED, Check, Page, exactly, in_range, mean, options, share  # noqa: E402

from ksim import Scenario, simulate  # noqa: E402
from ksim_models.facts import Failed, Retried, Sent  # noqa: E402

INITIAL_MS, MAX_MS, JITTER = 100, 1000, 0.2
DELIVERY_MS = 120_000
RETRIES = 6
"""Shown one by one: from the fifth on (k = 4) all waits have the same distribution."""
TOLERANCE = 0.005
SCENARIO = Scenario.load(HERE / "scenario.toml")

Waits = dict[int, Counter[int]]
"""k -> ms -> how often."""


def distribution(k: int) -> dict[int, float]:
    """KIP-580: min(max, U(0.8, 1.2) * initial * 2^k), the power limited to max / initial, cut to whole ms."""
    middle = min(MAX_MS, INITIAL_MS * 2**k)
    least, most = (round(middle * (1 + sign * JITTER)) for sign in (-1, 1))
    chances: dict[int, float] = {}
    for wait in range(least, most):  # Each whole ms below the upper end is as likely as any other.
        chances[min(MAX_MS, wait)] = chances.get(min(MAX_MS, wait), 0.0) + 1 / (most - least)
    return chances


def mean_of(chances: Mapping[int, float]) -> float:
    return sum(wait * chance for wait, chance in chances.items())


def attempts_in(limit_ms: int) -> float:
    """1 for the first, and the chance of each further one that its waits add up to less than the limit: by adding the distributions, ms by ms."""
    total, elapsed, k = 1.0, numpy.zeros(limit_ms), 0
    elapsed[0] = 1.0
    while True:
        chances = distribution(k)
        kernel = numpy.zeros(max(chances) + 1)
        for wait, chance in chances.items():
            kernel[wait] = chance
        elapsed = numpy.convolve(elapsed, kernel)[:limit_ms]
        inside = float(elapsed.sum())
        if inside < 1e-9:
            return total
        total, k = total + inside, k + 1


def observe_waits(task: tuple[int, int]) -> Waits:
    records, seed = task
    run = simulate(SCENARIO.at("workload.0.records", records).at("producers.p1.config.retries", RETRIES), seed=seed)
    waits: Waits = {k: Counter() for k in range(RETRIES)}
    for _, fact in run.history.of(Retried):
        assert fact.backoff_us % 1000 == 0
        waits[fact.attempt - 1][fact.backoff_us // 1000] += 1
    return waits


def observe_attempts(task: tuple[str, int, int]) -> list[int]:
    """Of records that are tried until delivery.timeout.ms ends it."""
    clients, records, seed = task
    scenario = SCENARIO.at("kafka", {"brokers": "4.3", "clients": clients}).at("producers.p1.config.retries", 2**31 - 1)
    run = simulate(scenario.at("workload.0.records", records), seed=seed)
    assert run.verdict.records["failed"] == records
    sent: Counter[int] = Counter()
    for _, fact in run.history.of(Sent):
        sent[fact.records[0]] += 1
    return list(sent.values())


def observe_exhaustion(task: tuple[int, int]) -> list[float]:
    """How long three retries last, in s."""
    records, seed = task
    run = simulate(SCENARIO.at("workload.0.records", records).at("producers.p1.config.retries", 3), seed=seed)
    began: dict[int, int] = {}
    lasted = []
    for at, fact in run.history.of(Sent, Failed):
        if isinstance(fact, Failed):
            lasted.append((at - began[fact.records[0]]) / 1e6)
        else:
            began.setdefault(fact.records[0], at)
    return lasted


def java_wait(k: int, dice: random.Random, looks_every_ms: float | None) -> float:
    """How long Java waits: it draws at each look. `looks_every_ms`: something else wakes the I/O thread that often (None: nothing does).

    RecordAccumulator.partitionReady draws once to ask whether the batch still backs off, and if so once more for how long to sleep at most (batchReady);
    drain draws a third time. Where drain says "not yet", or the sleep comes out as none, the thread looks again at once.
    """
    turn_ms = 0.02  # One turn of the thread that sleeps not at all. Anything from 1 us to 0.1 ms gives the same.

    def drawn() -> int:
        return min(MAX_MS, int(dice.uniform(1 - JITTER, 1 + JITTER) * min(MAX_MS, INITIAL_MS * 2**k)))

    began = now = dice.random()  # The clock shows whole ms, and they do not begin when the attempt failed.
    woken = began + dice.random() * looks_every_ms if looks_every_ms else float("inf")
    while True:
        waited = int(now)
        if waited >= drawn():
            if waited >= drawn():
                return now - began
            now += turn_ms
            continue
        sleep_until = now + max(drawn() - waited, turn_ms)
        while looks_every_ms and woken <= now:
            woken += looks_every_ms
        now = min(sleep_until, max(woken, now + turn_ms))


LOOKS = (None, 100.0, 10.0, 1.0)


def redrawn(checks: Sequence[Check], n: int = 4_000) -> str:
    """The bias that drawing once leaves out."""
    lines = ["| retry k | drawn once | Java, nothing else happens | woken every 100 ms | every 10 ms | every 1 ms |", "|---|---|---|---|---|---|"]
    for k in range(RETRIES - 1):
        once = mean_of(distribution(k))
        means = [sum(java_wait(k, random.Random(f"{k} {looks} {number}"), looks) for number in range(n)) / n for looks in LOOKS]
        lines.append(f"| {k if k < 4 else '>= 4'} | {once:.1f} | {' | '.join(f'{value:.0f} ({value - once:+.0f})' for value in means)} |")
    told = f"A quiet Java client fits {redrawn_attempts():.1f} attempts into 120 s where ksim has {attempts_in(DELIVERY_MS):.1f}."
    return "\n".join([*lines, "", told])


def redrawn_attempts(n: int = 100) -> float:
    """How many attempts a quiet Java client fits into delivery.timeout.ms, if each fails at once."""
    total = 0
    for number in range(n):
        dice, now, k = random.Random(f"attempts {number}"), 0.0, 0
        while now < DELIVERY_MS:
            total += 1
            now, k = now + java_wait(k, dice, None), k + 1
    return total / n


def checks_of(waits: Waits) -> list[Check]:
    checks = []
    for k in range(RETRIES):
        row = f"retry k={k}"
        seen, chances = waits[k], distribution(k)
        n = seen.total()
        checks.append(exactly(row, "least wait, ms", min(chances), min(seen), n))
        checks.append(exactly(row, "longest wait, ms", max(chances), max(seen), n))
        checks.append(mean(row, "mean wait, ms", mean_of(chances), list(seen.elements()), tolerance=TOLERANCE))
        if MAX_MS in chances:
            checks.append(share(row, f"share of exactly {MAX_MS} ms", chances[MAX_MS], seen[MAX_MS], n))
        else:
            checks.append(exactly(row, f"share of exactly {MAX_MS} ms", 0, seen[MAX_MS], n))
    return checks


def draw(figure: Any, checks: Sequence[Check]) -> None:
    axes = figure.subplots()
    for k in range(RETRIES):
        of = {check.quantity: check for check in checks if check.row == f"retry k={k}"}
        least, most, middle = of["least wait, ms"], of["longest wait, ms"], of["mean wait, ms"]
        axes.plot([k, k], [least.table, most.table], color=GREY, linewidth=9, alpha=0.35, solid_capstyle="butt", label="range of the table" if k == 0 else None)
        axes.plot([k - 0.12, k + 0.12], [middle.table, middle.table], color=GREY, linewidth=2, label="mean of the table" if k == 0 else None)
        below, above = middle.ksim - least.ksim, most.ksim - middle.ksim
        label = "ksim: mean, least and longest" if k == 0 else None
        axes.errorbar([k], [middle.ksim], yerr=[[below], [above]], fmt="o", color=BLUE, capsize=4, label=label)
        for looks, colour, label in ((None, RED, "Java, nothing else happens"), (1.0, GREEN, "Java, looks every ms")):
            value = sum(java_wait(k, random.Random(f"{k} {looks} {number}"), looks) for number in range(1_000)) / 1_000
            axes.plot([k + 0.16], [value], "D", color=colour, markersize=4, label=label if k == 0 else None)
    axes.set_xlabel("retry k (0 = the first)")
    axes.set_ylabel("wait, ms")
    axes.set_ylim(0, 1_050)
    axes.legend(frameon=False, loc="upper left", fontsize=9)


PAGE = Page(
    HERE,
    blocks={"redrawn": redrawn},
    draw=draw,
    size=(10, 4.6),
    decimals=3,
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(HERE, arguments)
    records, seeds = (3_000, 1) if given.quick else (5_000, 4)
    waits: Waits = {k: Counter() for k in range(RETRIES)}
    for found in given.each(observe_waits, [(records, seed) for seed in range(seeds)]):
        for k, of in found.items():
            waits[k] += of
    checks = checks_of(waits)
    new, old = (10, 1) if given.quick else (100, 2)
    attempts = [given.each(observe_attempts, [(clients, many, seed) for seed in range(4)]) for clients, many in (("4.3", new), ("3.6", old))]
    exponential, fixed = ([count for counts in found for count in counts] for found in attempts)
    checks.append(mean("tried for 120 s", "attempts", attempts_in(DELIVERY_MS), exponential, tolerance=TOLERANCE))
    checks.append(mean("tried for 120 s, clients 3.6 (fixed 100 ms)", "attempts", DELIVERY_MS / INITIAL_MS, fixed, tolerance=0))
    lasted = [value for found in given.each(observe_exhaustion, [(records // 10, 0)]) for value in found]
    expected = sum(mean_of(distribution(k)) for k in range(3)) / 1000
    checks.append(mean("retries=3", "lasts, s", expected, lasted, tolerance=TOLERANCE, chance=True))
    checks.append(in_range("retries=3, shortest", "lasts, s", 0.8 * 0.7, [min(lasted)] * 2, 0.8 * 0.7, 1.2 * 0.7))
    checks.append(in_range("retries=3, longest", "lasts, s", 1.2 * 0.7, [max(lasted)] * 2, 0.8 * 0.7, 1.2 * 0.7))
    return PAGE.finish(checks, given)


if __name__ == "__main__":
    sys.exit(main())
