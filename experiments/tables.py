"""One table of known numbers, held against the simulation: rows with a tolerance, a page, a picture, an exit code.

Each `experiments/q*/run.py` computes what its table says from a formula, asks the simulation, and writes both down through a `Page`.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, field, fields
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

from ksim.statistics import interval, mean_interval

Task = TypeVar("Task")
Result = TypeVar("Result")

FALSE_ALARM = 4.0
"""Standard errors: chance alone leaves such a band less than once in ten thousand cells."""
GREY, GREEN, BLUE, ORANGE, RED, VIOLET = "#777777", "#3d7a66", "#4060a0", "#e0a030", "#c8412f", "#7d4f9e"
COLOURS = (BLUE, GREEN, ORANGE, RED, VIOLET)


@dataclass(frozen=True, slots=True)
class Check:
    """One number of a table, and what the simulation says to it."""

    row: str
    quantity: str
    table: float
    ksim: float
    low: float
    high: float
    """The 95 % interval of what was simulated."""
    least: float
    most: float
    """What the tolerance admits."""
    n: int
    """So many batches, kills or waits stand behind it."""

    @property
    def within(self) -> bool:
        return self.least <= self.ksim <= self.most


def share(row: str, quantity: str, table: float, count: int, n: int) -> Check:
    """A probability: as far from the table as chance takes it once in ten thousand cells (four standard errors; exact, so that rare events may be rare)."""
    least, most = band(table, n)
    return Check(row, quantity, table, count / n, *interval(count, n), least / n, most / n, n)


def band(p: float, n: int) -> tuple[int, int]:
    """The counts of n that leave the chance of a false alarm in each tail of the binomial distribution."""
    if not 0 < p < 1:
        return round(p * n), round(p * n)
    chance = NormalDist().cdf(-FALSE_ALARM)
    counts = range(n + 1)
    lower = next(count for count, below in zip(counts, accumulate(_binomial(count, n, p) for count in counts)) if below > chance)
    upper = next(count for count, below in zip(counts, accumulate(_binomial(n - count, n, p) for count in counts)) if below > chance)
    return lower, n - upper


def _binomial(count: int, n: int, p: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
    return math.exp(ways + count * math.log(p) + (n - count) * math.log1p(-p))


def mean(row: str, quantity: str, table: float, values: Sequence[float], *, tolerance: float, chance: bool = False) -> Check:
    """A mean within `tolerance` (relative), or with `chance` within four standard errors where those are wider, as after a quick run."""
    middle, low, high = mean_interval(values)
    around = max(tolerance * abs(table), FALSE_ALARM * (high - low) / 2 / 1.96 if chance else 0.0)
    return Check(row, quantity, table, middle, low, high, table - around, table + around, len(values))


def exactly(row: str, quantity: str, table: float, found: float, n: int) -> Check:
    return Check(row, quantity, table, found, found, found, table, table, n)


def in_range(row: str, quantity: str, table: float, values: Sequence[float], least: float, most: float) -> Check:
    """A mean that has to lie in a window which is given as such."""
    middle, low, high = mean_interval(values)
    return Check(row, quantity, table, middle, low, high, least, most, len(values))


@dataclass(frozen=True, slots=True)
class Options:
    quick: bool
    jobs: int

    @property
    def writes(self) -> bool:
        return not self.quick

    def each(self, do: Callable[[Task], Result], tasks: Iterable[Task]) -> list[Result]:
        """In the order of the tasks, whoever did them."""
        listed = list(tasks)
        if self.jobs == 1:
            return [do(task) for task in listed]
        with ProcessPoolExecutor(self.jobs) as pool:
            return list(pool.map(do, listed))


def options(here: Path, arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=f"Rebuild README.md, results.csv and figure.svg of {here.name}; 1 where a row is out of its tolerance.")
    parser.add_argument("--quick", action="store_true", help="a few seconds; wider bands; writes nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    given = parser.parse_args(arguments)
    return Options(given.quick, given.jobs)


Drawing = Callable[[Any, Sequence[Check]], None]


@dataclass(frozen=True, slots=True)
class Page:
    """README.md is written by hand, but for what stands between `<!-- NAME -->` and `<!-- end of NAME -->`: the numbers, and the blocks of the experiment."""

    here: Path
    draw: Drawing
    size: tuple[float, float] = (10, 4)
    decimals: int = 5
    blocks: Mapping[str, Callable[[Sequence[Check]], str]] = field(default_factory=dict)

    def finish(self, checks: Sequence[Check], given: Options) -> int:
        out_of_range = [check for check in checks if not check.within]
        sys.stdout.write(f"{self.here.name}: {len(checks) - len(out_of_range)} of {len(checks)} within tolerance\n")
        for check in checks if given.writes else out_of_range:
            sys.stdout.write(f"{'ok ' if check.within else 'OUT'} {' | '.join(self._cells(check))}\n")
        if given.writes:
            save_checks(checks, self.here / "results.csv")
            checks = load_checks(self.here / "results.csv")  # The page shows what is written down.
            readme = self.here / "README.md"
            readme.write_text(self.filled(readme.read_text(encoding="utf-8"), checks), encoding="utf-8")
            self._save_figure(checks, self.here / "figure.svg")
        return 1 if out_of_range else 0

    def filled(self, text: str, checks: Sequence[Check]) -> str:
        for name, block in {"numbers": self.numbers, **self.blocks}.items():
            begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
            before, _, rest = text.partition(begin)
            _, found, after = rest.partition(end)
            assert found, f"README.md has no place for {name}"
            told = block(checks)
            text = f"{before}{begin}{told}{end}{after}" if not told else f"{before}{begin}\n{told}\n\n{end}{after}"
        return text

    def numbers(self, checks: Sequence[Check]) -> str:
        head = "| row | quantity | table | ksim (95 % interval) | admitted | n | within tolerance |\n|---|---|---|---|---|---|---|\n"
        rows = "".join(f"| {' | '.join(self._cells(check))} |\n" for check in checks)
        return f"{head}{rows}\n{sum(check.within for check in checks)} of {len(checks)} within tolerance."

    def _cells(self, check: Check) -> list[str]:
        number = self._number
        admitted = number(check.table) if check.least == check.most else f"{number(check.least)} to {number(check.most)}"
        if math.isinf(check.most):
            admitted = f"more than {number(check.least)}"
        told = f"{number(check.ksim)} ({number(check.low)} to {number(check.high)})" if check.low < check.high else number(check.ksim)
        return [check.row, check.quantity, number(check.table), told, admitted, f"{check.n:,}", "yes" if check.within else "**no**"]

    def _number(self, value: float) -> str:
        if math.isinf(value):
            return "any"
        digits = max(0, min(self.decimals, self.decimals - (math.floor(math.log10(abs(value))) if abs(value) >= 1 else 0)))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def _save_figure(self, checks: Sequence[Check], path: Path) -> None:
        import matplotlib
        from matplotlib.figure import Figure

        from ksim.plots import STYLE

        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=self.size, facecolor="white", layout="constrained")
            self.draw(figure, checks)
            for axes in figure.axes:
                axes.spines[["top", "right"]].set_visible(False)
            figure.savefig(str(path), metadata={"Date": None})


def whiskers(axes: Any, x: Sequence[float], checks: Sequence[Check], colour: str, label: str = "") -> None:
    """Points with their intervals."""
    y = [check.ksim for check in checks]
    below, above = [check.ksim - check.low for check in checks], [check.high - check.ksim for check in checks]
    axes.errorbar(x, y, yerr=[below, above], fmt="o", color=colour, markersize=5, capsize=3, label=label or None, zorder=3)


def save_checks(checks: Sequence[Check], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(column.name for column in fields(Check)), "within"])
        writer.writerows([*map(_cell, astuple(check)), "yes" if check.within else "no"] for check in checks)


def _cell(value: object) -> object:
    """Ten digits: what the last bits of a logarithm are is the platform's affair."""
    return f"{value:.10g}" if isinstance(value, float) else value


def load_checks(path: Path) -> list[Check]:
    with open(path, encoding="utf-8", newline="") as file:
        return [_read(row) for row in csv.DictReader(file)]


def _read(row: Mapping[str, str]) -> Check:
    table, ksim, low, high, least, most = (float(row[name]) for name in ("table", "ksim", "low", "high", "least", "most"))
    return Check(row["row"], row["quantity"], table, ksim, low, high, least, most, int(row["n"]))
