"""Pictures of metrics over time: one panel per group of metrics that share a unit, the faults as bands behind them.

Drawn as `ksim.plots` draws: without a clock, the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ksim.metrics_alerts import watched
from ksim.metrics_series import Line, Series
from ksim.plots import STYLE, shade_faults, title_of
from ksim.runs import Run
from ksim_models.units import SECOND

MS, US, PER_SECOND = "ms", "us", "per second"
PANELS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "records": (PER_SECOND, ("record-send-rate", "record-retry-rate", "record-error-rate")),
    "time": (MS, ("record-queue-time-max", "record-queue-time-avg", "request-latency-max", "request-latency-avg", "produce-throttle-time-avg")),
    "buffer": ("MiB", ("buffer-available-bytes", "buffer-total-bytes")),
    "waiting": ("threads", ("waiting-threads",)),
    "in flight": ("requests, connections", ("requests-in-flight", "connection-count")),
    "outbuf": ("requests", ("waitresp_cnt", "outbuf_cnt")),
    "messages": ("messages held", ("msg_cnt",)),
    "round trips": (US, ("rtt.avg", "rtt.max")),
    "brokers": ("partitions", ("UnderReplicatedPartitions", "UnderMinIsrPartitionCount", "OfflinePartitionsCount")),
    "isr": (PER_SECOND, ("IsrShrinksPerSec", "IsrExpandsPerSec")),
    "batches": ("bytes", ("batch-size-avg", "batch-size-max", "record-size-avg", "record-size-max")),
    "totals": ("records", ("record-send-total", "record-retry-total", "record-error-total")),
}
"""Panel -> its unit, and the metrics that share it; any other metric has a panel of its own."""
OVERVIEW = (
    "record-send-rate record-retry-rate record-error-rate record-queue-time-max record-queue-time-avg request-latency-max request-latency-avg "
    "buffer-available-bytes requests-in-flight connection-count UnderReplicatedPartitions UnderMinIsrPartitionCount OfflinePartitionsCount"
).split()
OVERVIEW_OF_LIBRDKAFKA = "msg_cnt waitresp_cnt outbuf_cnt rtt.avg rtt.max".split()
COLOURS = ("#3d7a66", "#e0a030", "#c8412f", "#4060a0", "#8a5a9e", "#777777")
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
FEW_LINES, MOST_LINES = 4, 6
"""In one panel, for the legend to stay readable: of more than few those that move, and at most so many."""
MIB = 2**20
LOG_FROM = 50
"""Times whose largest is this many times their smallest are drawn on a scale of powers of ten."""


def save_metrics(run: Run, path: str | Path, names: Sequence[str] = (), step: str | int = "1s") -> None:
    """These metrics (default: an overview) over simulated time. KeyError for a name that has no series; ImportError where matplotlib is missing."""
    import matplotlib
    from matplotlib.figure import Figure

    series = run.series(step)
    panels = chosen(series, names)
    with matplotlib.rc_context(STYLE):
        height = 1.3 + 1.65 * len(panels)
        figure = Figure(figsize=(11, height), facecolor="white")
        above, below = 0.8 / height, 0.55 / height
        each = (1 - above - below) / len(panels)
        for number, (unit, lines) in enumerate(panels):
            axes = figure.add_axes((0.09, 1 - above - each * (number + 1) + 0.1 * each, 0.62, 0.8 * each))
            _draw(axes, unit, lines)
            shade_faults(run, axes, named=number == 0, at_height=(0.92, 0.13))
            axes.set_xlim(0, 1.01 * max(run.simulated_us, 1) / SECOND)
            if number < len(panels) - 1:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel("simulated seconds" if run.history.run.get("how") == "simulated" else "seconds")
        figure.text(0.09, 1 - 0.12 / height, title_of(run), fontsize=12, verticalalignment="top")
        figure.savefig(str(path), dpi=130, metadata=None if str(path).endswith(".png") else {"Date": None})


def chosen(series: Series, names: Sequence[str]) -> list[tuple[str, list[Line]]]:
    """Panels as (unit, lines), in the order of PANELS; then the metrics that have a panel of their own."""
    if not names:
        names = [name for name in (*OVERVIEW, *OVERVIEW_OF_LIBRDKAFKA) if name in series.names]
    wanted = {name: watched(series[name], name) for name in dict.fromkeys(names)}
    panels = []
    for unit, metrics in PANELS.values():
        lines = [line for name in metrics if name in wanted for line in wanted.pop(name)]
        if lines:
            panels.append((unit, lines))
    return [*panels, *((name, lines) for name, lines in wanted.items())]


def _draw(axes: Any, unit: str, lines: Sequence[Line]) -> None:
    shown, left = _most_moving(lines)
    steps = "steps-post" if all(value == int(value) for line in shown for value in line.values if value == value) else "default"
    metrics = list(dict.fromkeys(line.metric for line in shown))
    owners = list(dict.fromkeys(line.of for line in shown))
    scale = MIB if unit == "MiB" else 1
    for place, line in enumerate(shown):
        label = line.metric if len({other.of for other in lines}) == 1 and line.client else f"{line.metric} {line.of}"
        colour = COLOURS[metrics.index(line.metric) % len(COLOURS)] if len(metrics) > 1 else COLOURS[owners.index(line.of) % len(COLOURS)]
        values = [value / scale for value in line.values]
        dash = DASHES[owners.index(line.of) % len(DASHES)] if len(metrics) > 1 else "-"
        axes.plot([at / 1000 for at in line.at_ms], values, color=colour, linestyle=dash, linewidth=max(1.2, 3.0 - 0.7 * place), drawstyle=steps, label=label)
    numbers = [value / scale for line in shown for value in line.values if value == value]
    if unit in (MS, US) and numbers and max(numbers) > LOG_FROM * max(1, min(numbers)):
        axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel(unit, fontsize=9)
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if unit != "MiB" and axes.get_yscale() == "linear":
        low = min(low, 0.0)
    space = max((high - low) * 0.1, 0.05 if high <= 1 else high * 0.01)
    if not low and not high:
        axes.set_ylim(-0.05, 1)  # Nothing happened: a flat line on the ground, and no scale of hundredths.
    elif axes.get_yscale() == "linear":
        axes.set_ylim(low - space, high + space)
    else:
        axes.set_ylim(0, high * 3)
    if axes.get_yscale() == "linear" and steps != "default":
        axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    heading = f"{left} that move {'less' if high > low else 'no more'} are left out" if left else None
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, title=heading, title_fontsize=8)


def _most_moving(lines: Sequence[Line]) -> tuple[list[Line], int]:
    """All of them where they are few; else those that move, and of them those that move most."""
    if len(lines) <= FEW_LINES:
        return list(lines), 0
    spans = [max(numbers) - min(numbers) if (numbers := [value for value in line.values if value == value]) else 0.0 for line in lines]
    best = sorted(range(len(lines)), key=lambda place: (-spans[place], place))[:MOST_LINES]
    drawn = [place for place in sorted(best) if spans[place]] or [best[0]]
    return [lines[place] for place in drawn], len(lines) - len(drawn)
