"""Sweeps: one scenario under many configurations and seeds, and a table of what became of the records.

Not Kafka's: scenario.md, sections 5 and 6. The same rows in the same order, however many workers there are and wherever they stand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ksim.ledger import Key, Ledger, Result
from ksim.problems import ScenarioError, listed, nearest, shown
from ksim.scenario import Given, Scenario
from ksim.scenario_file import failure
from ksim.scenario_values import LARGEST_SEED, read_seeds
from ksim.sweeps_design import design_of
from ksim.sweeps_file import read_sweep
from ksim.sweeps_grid import Axis, Configuration, Names, axes_of, configurations, distinct
from ksim.sweeps_running import Task, results
from ksim.table import BEFORE_AXES, HEADLINES, RESULTS, Cell, Row, Table

FROM_PYTHON = "sweep()"
TOTALS = ("record-send-total", "record-retry-total", "record-error-total")
METRICS = (*RESULTS, *TOTALS)

Tell = Callable[[int], None]
"""So many more runs are known."""


def sweep(
    scenario: Given,
    over: Mapping[str | Names, Sequence[object]] | None = None,
    *,
    seeds: Iterable[int] | str,
    design: Mapping[str, object] | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    metrics: Sequence[str] | None = None,
    ledger: str | Path | None = None,
    progress: bool = False,
) -> Table:
    """Every combination of the values in `over`, under every seed.

    `over`: a dotted path to its values; a tuple of paths to tuples of values moves them together. `seeds`: numbers, or "0..99" (both included).
    `design`: points spread over ranges, {"kind": "sobol", "points": 64, "producers.p1.config.linger.ms": {"from": 1, "to": 100}}, under every such combination.
    `metrics`: what `Table.summary` shows; those that are not among a table's columns anyway become one (`record-retry-total`, `errors.TimeoutException`).
    `executor`: any concurrent.futures.Executor; without it `jobs` processes, and none at all for jobs=1.
    `ledger`: a file that remembers; what it knows is not run again.
    Raises ScenarioError for what no scenario can be. What Kafka refuses is a row of its own.
    """
    base = Scenario.load(scenario, check=False) if isinstance(scenario, (str, Path)) else Scenario.of(scenario)
    chosen = _metrics(metrics, FROM_PYTHON, None)
    axes = distinct([*axes_of(over or {}, FROM_PYTHON), *(design_of(design, FROM_PYTHON) if design is not None else ())], FROM_PYTHON)
    return _sweep(base, axes, _seeds(seeds), chosen, _jobs(jobs), executor, ledger, progress)


def sweep_file(path: str | Path, *, jobs: int = 1, executor: Executor | None = None, ledger: str | Path | None = None, progress: bool = False) -> Table:
    """The same, as a sweep file says it."""
    read = read_sweep(path)
    chosen = _metrics(read.metrics, read.file, read.metrics_line)
    try:
        return _sweep(read.scenario, read.axes, read.seeds, chosen, _jobs(jobs), executor, ledger, progress)
    except ScenarioError as mistake:
        raise read.placed(mistake) from None


def _sweep(
    scenario: Scenario,
    axes: Sequence[Axis],
    seeds: Sequence[int],
    metrics: tuple[str, ...],
    jobs: int,
    executor: Executor | None,
    ledger: str | Path | None,
    progress: bool,
) -> Table:
    grid = configurations(scenario, axes)
    found: dict[Key, Result] = {}
    wanted = {(configuration.hash, seed): (configuration, seed) for configuration in grid if configuration.plan is not None for seed in seeds}
    with Ledger(ledger) if ledger is not None else nullcontext() as book, _progress(len(wanted), progress) as tell:
        if book is not None:
            found.update(book.known(wanted))
            tell(len(found))
        keys = [key for key in wanted if key not in found]
        tasks: list[Task] = [
            (number, configuration.plan, seed) for number, key in enumerate(keys) for configuration, seed in [wanted[key]] if configuration.plan
        ]
        for batch in results(tasks, jobs, executor):
            told = [(keys[number], result) for number, result in batch]
            found.update(told)
            if book is not None:
                book.add((key, result) for key, result in told if result["status"] == "done")  # What failed is tried again next time.
            tell(len(told))
    names = tuple(name for axis in axes for name in axis.names)
    columns = (*BEFORE_AXES, *names, *RESULTS, *(name for name in metrics if name not in RESULTS), "digest")
    rows = tuple(_row(columns, configuration, seed, found) for configuration in grid for seed in seeds)
    return Table(columns, rows, names, metrics)


def _row(columns: Sequence[str], configuration: Configuration, seed: int, found: Mapping[Key, Result]) -> Row:
    if configuration.plan is None:
        result: Result = {"status": "refused", "error": configuration.error}
    else:
        result = found[configuration.hash, seed]
    known: dict[str, object] = {**result, "config_hash": configuration.hash, "seed": seed, **configuration.cells}
    nothing = 0 if result["status"] == "done" else None  # An exception class that no record ended with.
    return {name: _cell(known.get(name, nothing if name.startswith("errors.") else None)) for name in columns}


def _cell(value: object) -> Cell:
    assert value is None or isinstance(value, (str, int, float, bool))
    return value


def _metrics(names: Sequence[str] | None, where: str, line: int | None) -> tuple[str, ...]:
    if names is None:
        return HEADLINES
    if isinstance(names, str):
        raise failure(where, line, f"metrics = {shown(names)} is not a list of names.", given=shown(names), possible=f"[{shown(names)}]")
    for name in names:
        if name not in METRICS and not (isinstance(name, str) and name.startswith("errors.") and len(name) > len("errors.")):
            close = nearest(str(name), METRICS)
            hint = f" Did you mean {close}?" if close else ""
            possible = listed([*METRICS, "errors.CLASS"])
            raise failure(where, line, f"there is no metric {shown(name)}. Possible: {possible}.{hint}", given=shown(name), possible=possible, close=close)
    return tuple(dict.fromkeys(names))


def _seeds(given: Iterable[int] | str) -> Sequence[int]:
    possible = f'range(100), "0..99", or whole numbers from 0 to {LARGEST_SEED}, each once'
    seeds = read_seeds(given) if isinstance(given, str) else list(given)
    if not seeds:
        raise failure(FROM_PYTHON, None, f"seeds = {shown(given)} is not possible. Possible: {possible}.", given=shown(given), possible=possible)
    plain = [seed for seed in map(_whole, seeds) if seed is not None]
    if len(plain) < len(seeds) or len(set(plain)) < len(plain):
        raise failure(FROM_PYTHON, None, f"seeds = {shown(list(seeds))} are not possible. Possible: {possible}.", given=shown(list(seeds)), possible=possible)
    return plain


def _whole(seed: object) -> int | None:
    """numpy's integers are as good as any."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        return None
    number = seed.__index__()
    return number if isinstance(number, int) and 0 <= number <= LARGEST_SEED else None


def _jobs(jobs: int) -> int:
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise failure(FROM_PYTHON, None, f"jobs = {shown(jobs)} is not possible. Possible: 1 or more.", given=shown(jobs), possible="1 or more")
    return jobs


@contextmanager
def _progress(total: int, wanted: bool) -> Iterator[Tell]:
    """A bar with the time that is left, for a person at a terminal only."""
    if not wanted or not sys.stderr.isatty():
        yield lambda runs: None
        return
    from rich.console import Console  # Only here: nobody else waits for it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=total)
        yield lambda runs: bar.advance(task, runs)
