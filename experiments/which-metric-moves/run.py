"""Rebuild results.json, README.md and figure.svg: `python experiments/which-metric-moves/run.py`.

Every built-in scenario and every hazard with a fault is run twice: as it is, and without its faults. A metric moves where the two differ.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ksim.first_harm import harms
from ksim.metrics_alerts import watched
from ksim.metrics_series import Line, Series
from ksim.scenario import Scenario, names
from ksim.simulation import simulate
from ksim_models.units import MILLISECOND

HERE = Path(__file__).parent
HAZARDS = HERE.parent / "hazards" / "scenarios"
HANDBOOK = ("record-send-rate", "record-retry-rate", "record-error-rate")
CLIENT = ("record-queue-time-max", "request-latency-max", "buffer-available-bytes", "waiting-threads", "requests-in-flight", "connection-close-total")
BROKERS = ("UnderReplicatedPartitions", "UnderMinIsrPartitionCount", "OfflinePartitionsCount", "IsrShrinksPerSec")
METRICS = (*HANDBOOK, *CLIENT, *BROKERS)
SHORT = {
    "buffer-available-bytes": "buffer-available",
    "OfflinePartitionsCount": "OfflinePartitions",
    "UnderReplicatedPartitions": "UnderReplicated",
    "UnderMinIsrPartitionCount": "UnderMinIsr",
}
SHARE = 0.1
READ_ON_MS = 10_000
"""Both are read on when they are over, for nothing happens to them then, and a monitor reads on too."""
LEAST: Mapping[str, float] = {"buffer-available-bytes": 2 * 16_384, "requests-in-flight": 1, "record-queue-time-max": 10, "request-latency-max": 10}
"""What a difference must be larger than besides: two batches, a request, ten milliseconds."""

Moved = dict[str, int | None]
"""Metric -> the first reading at which it differs, in ms."""


def scenarios() -> list[tuple[str, Scenario]]:
    """By name: those of the Java client that have a fault, for without one there is nothing to compare."""
    found = [(name, Scenario.load(name)) for name, _ in names()]
    found += [(path.stem, Scenario.load(path)) for path in sorted(HAZARDS.glob("*.toml"))]
    return [(name, scenario) for name, scenario in found if "fault" in scenario.data and scenario.data.get("client", "java") == "java"]


def without_faults(scenario: Scenario) -> Scenario:
    data = {key: value for key, value in scenario.data.items() if key not in ("fault", "expect", "alert")}
    return Scenario(**data)


def measure(name: str, scenario: Scenario) -> dict[str, Any]:
    run = simulate(scenario, measured=True)
    done = harms(run.history)
    calm = simulate(without_faults(scenario), seed=run.plan.seed, measured=True)
    until = max(run.simulated_us, calm.simulated_us) // MILLISECOND + READ_ON_MS
    series, twin = (one.series(read_on=until - one.simulated_us // MILLISECOND) for one in (run, calm))
    return {
        "scenario": name,
        "title": run.plan.title,
        "unknown": run.verdict.records["unknown"],
        "harms": [{"name": harm.name, "at_ms": round(harm.at / 1000, 3), "records": harm.records} for harm in done],
        "moved_at_ms": {metric: moved_at(metric, series, twin) for metric in METRICS if metric in series.names},
    }


def moved_at(metric: str, series: Series, twin: Series) -> int | None:
    """The first full second at which it is another than in the twin: by a tenth of the largest value there, and by LEAST."""
    here, there = (summed(watched(of[metric], metric)) for of in (series, twin))
    enough = max(SHARE * max((abs(value) for value in there.values() if not math.isnan(value)), default=0.0), LEAST.get(metric, 0.0))
    if metric == "buffer-available-bytes":
        enough = LEAST[metric]
    for at_ms, value in here.items():
        other = there.get(at_ms, math.nan)
        if not at_ms % 1000 and not math.isnan(value) and abs(value - (0.0 if math.isnan(other) else other)) > enough:
            return at_ms
    return None


def summed(lines: Sequence[Line]) -> dict[int, float]:
    """Over all producers, or brokers; NaN only where all of them say so."""
    found: dict[int, float] = {}
    for line in lines:
        for at_ms, value in zip(line.at_ms, line.values, strict=True):
            before = found.get(at_ms, math.nan)
            found[at_ms] = value if math.isnan(before) else before if math.isnan(value) else before + value
    return dict(sorted(found.items()))


# The page.


def harm_of(row: Mapping[str, Any]) -> str:
    told = [f"{harm['records']} {harm['name']}" for harm in row["harms"]] + [f"{row['unknown']} unknown"] * bool(row["unknown"])
    return ", ".join(told) or "none"


def cell(row: Mapping[str, Any], metric: str) -> str:
    """When it moved, in seconds after the first harm, or since time zero where no harm was done; a point where it did not."""
    at_ms = row["moved_at_ms"].get(metric)
    if at_ms is None:
        return "·"
    if not row["harms"]:
        return f"{at_ms / 1000:.0f}"
    return f"{(at_ms - row['harms'][0]['at_ms']) / 1000:+.1f}"


PAGE = """# Which metric moves for which harm?

The handbook's advice is to watch record-send-rate, record-retry-rate and record-error-rate (claim 18). Every built-in scenario and every
[published hazard](../hazards/README.md) that has a fault is run twice under one seed, with its faults and without them. Each metric is read once per second in
both, and for ten seconds more. It *moves* where the two readings differ by more than a tenth of its largest value without faults (times by 10 ms at least, the
buffer by two batches, requests in flight by more than one). Rebuilt by `python experiments/which-metric-moves/run.py`.

{harmed} of {runs} scenarios do harm to some record.

- **record-error-rate never moves in {no_error} of them**: an acknowledged record that is lost, doubled or out of order is no error of its producer.
- Neither it nor record-retry-rate moves in {no_retry}.
- None of the handbook's three moves in {silent}.
- What fails is counted. What is lost without a failure shows, if at all, as a wait or at the brokers: the table counts the runs in which a metric moves, and
  those of the {untold} runs whose records neither failed nor were refused.

| metric | moves | moves where nothing failed |
|---|---|---|
{counts}

![A row per scenario, a column per metric: red or blue where it moves](figure.svg)

Each cell: the seconds from the first harm to the first reading that differs (less than 0: before it); for runs without harm, the second of the run.
connection-close-total tells most, for most faults take a connection with them; it tells as well where nothing was harmed.

| scenario | harm | {columns} |
|---|---|{rule}
{cells}

`unknown`: the client died with them, and its metrics with it. What moves then is that there are none.

Not seen here: hidden and misrouted records, torn transactions and LSO lag, for no scenario of today ends with them.
[results.json](results.json) holds the moments.
"""


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    harmed = [row for row in rows if row["harms"]]
    untold = [row for row in harmed if not {"failed", "refused"} & {harm["name"] for harm in row["harms"]}]
    counts = []
    for metric in METRICS:
        moves = [sum(row["moved_at_ms"].get(metric) is not None for row in group) for group in (harmed, untold)]
        counts.append(f"| {metric} | {moves[0]} of {len(harmed)} | {moves[1]} of {len(untold)} |")
    return PAGE.format(
        harmed=len(harmed),
        runs=len(rows),
        no_error=len(silent(harmed, ("record-error-rate",))),
        no_retry=len(silent(harmed, ("record-error-rate", "record-retry-rate"))),
        silent=f"{len(silent(harmed, HANDBOOK))}: {', '.join(f'`{name}`' for name in silent(harmed, HANDBOOK)) or 'none'}",
        untold=len(untold),
        counts="\n".join(counts),
        columns=" | ".join(SHORT.get(metric, metric) for metric in METRICS),
        rule="---|" * len(METRICS),
        cells="\n".join(f"| {row['scenario']} | {harm_of(row)} | " + " | ".join(cell(row, metric) for metric in METRICS) + " |" for row in ordered(rows)),
    )


def silent(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[str]:
    """The scenarios in which none of these metrics moves."""
    return [row["scenario"] for row in rows if all(row["moved_at_ms"].get(metric) is None for metric in metrics)]


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By harm: those that no metric tells first, those that do none last."""

    def key(row: Mapping[str, Any]) -> tuple[bool, int, str]:
        return not row["harms"], sum(at is not None for at in row["moved_at_ms"].values()), row["scenario"]

    return sorted(rows, key=key)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    from ksim.plots import STYLE

    rows = ordered(rows)
    with matplotlib.rc_context(STYLE):
        height = 2.6 + 0.27 * len(rows)
        figure = Figure(figsize=(13, height), facecolor="white")
        axes = figure.add_axes((0.36, 0.35 / height, 0.575, 1 - 2.35 / height))
        for place, row in enumerate(rows):
            for column, metric in enumerate(METRICS):
                moved = row["moved_at_ms"].get(metric) is not None
                colour = "#ededed" if not moved else "#c8412f" if row["harms"] else "#4060a0"
                axes.add_patch(matplotlib.patches.Rectangle((column - 0.46, place - 0.44), 0.92, 0.88, color=colour))
                if moved:
                    axes.annotate(cell(row, metric), (column, place), ha="center", va="center", fontsize=7, color="white")
        axes.set_xlim(-0.5, len(METRICS) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(METRICS)), [SHORT.get(metric, metric) for metric in METRICS], rotation=38, ha="left", fontsize=8)
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(rows)), [f"{shortened(row['scenario'])}   {shortened(harm_of(row))}" for row in rows], fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for edge in (len(HANDBOOK), len(HANDBOOK) + len(CLIENT)):
            axes.axvline(edge - 0.5, color="#777777", linewidth=0.8)
        figure.text(0.01, 1 - 0.35 / height, "Seconds from the first harm until a metric moves", fontsize=12)
        figure.text(0.01, 1 - 0.62 / height, "red: with harm; blue: no harm was done (second of the run); grey: it never moves", fontsize=9, color="#555555")
        figure.savefig(str(path), dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def shortened(text: str, most: int = 38) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


if __name__ == "__main__":
    rows = []
    for name, scenario in scenarios():
        rows.append(measure(name, scenario))
        sys.stdout.write(f"{name}: {harm_of(rows[-1])}\n")
        sys.stdout.flush()
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(page(rows), encoding="utf-8")
    draw(rows, HERE / "figure.svg")
