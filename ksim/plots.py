"""Pictures of runs and sweeps, as SVG or PNG by the ending of the name.

Drawn with matplotlib.figure alone, without pyplot and without a clock: the same bytes each time.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ksim.runs import Run
from ksim.table import Table
from ksim_models.facts import Acked, Failed, Fault, Offered, PartitionChanged, Retried
from ksim_models.units import SECOND, Micros

STYLE: Any = {"svg.hashsalt": "ksim", "font.family": "DejaVu Sans", "path.simplify": False}
TITLE_WIDTH = 110


def title_of(run: Run) -> str:
    """In lines that the picture is wide enough for."""
    return textwrap.fill(f"{run.plan.title}  (seed {run.plan.seed}: {run.verdict.verdict})", TITLE_WIDTH)


def save_timeline(run: Run, path: str | Path) -> None:
    """One run over time: records offered, acknowledged and failed, retries, elections, and the faults as shaded spans.

    ImportError where matplotlib is missing.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 5), facecolor="white")
        axes = figure.add_axes((0.08, 0.14, 0.89, 0.74))
        for label, colour, points in (
            ("offered", "#777777", _offered(run)),
            ("acknowledged", "#3d7a66", _ended(run, Acked)),
            ("failed", "#c8412f", _ended(run, Failed)),
        ):
            if len(points) > 1 or label != "failed":
                axes.step([at for at, _ in points], [count for _, count in points], where="post", label=label, color=colour, linewidth=1.6)
        shade_faults(run, axes)
        retries = [at / SECOND for at, _ in run.history.of(Retried)]
        axes.plot(retries, [0] * len(retries), "|", color="#e0a030", markersize=12, label=f"retries ({len(retries)})")
        for at, leaders in _new_leaders(run).items():
            axes.axvline(at / SECOND, color="#4060a0", linestyle=":", linewidth=1.2)
            told = f" {', '.join(leaders)} {'leads' if len(leaders) == 1 else 'lead'}"
            axes.annotate(told, (at / SECOND, 0.03), xycoords=("data", "axes fraction"), fontsize=8, color="#4060a0")
        axes.set_xlim(0, run.simulated_us / SECOND)
        axes.set_xlabel("simulated seconds" if run.history.run.get("how") == "simulated" else "seconds")
        axes.set_ylabel("records")
        axes.set_title(title_of(run), loc="left", fontsize=12)
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, -0.185), ncol=4, frameon=False)  # Below the picture: inside it labels would stand under it.
        figure.savefig(str(path), dpi=130, metadata=None if str(path).endswith(".png") else {"Date": None})


def _new_leaders(run: Run) -> dict[Micros, list[str]]:
    """By moment: one decision of the controller may give several partitions new leaders, which share a line and its label."""
    found: dict[Micros, dict[str, None]] = {}
    for at, fact in run.history.of(PartitionChanged):
        if fact.leader and fact.why.startswith(("fenced", "unfenced", "shut")):
            found.setdefault(at, {})[fact.leader] = None
    return {at: sorted(leaders) for at, leaders in found.items()}


def save_rates(table: Table, path: str | Path, of: Sequence[str] = ("lost", "duplicated"), by: Sequence[str] | None = None) -> None:
    """Per configuration the share of runs with at least one such record, with its interval. ImportError where matplotlib is missing."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        groups = [table.rates(by=by, of=name) for name in of]
        height = 1.2 + 0.5 * len(groups[0])
        figure = Figure(figsize=(10, height), facecolor="white")
        axes = figure.add_axes((0.34, 0.9 / height, 0.62, 1 - 1.5 / height))
        colours = ("#c8412f", "#e0a030", "#4060a0", "#3d7a66")
        for number, (name, rates) in enumerate(zip(of, groups, strict=True)):
            for row, rate in enumerate(rates):
                if rate.share is None:
                    axes.annotate("refused by Kafka" if rate.refused else "failed", (0.0, row), fontsize=9, color="#777777", va="center")
                    continue
                where = row + 0.18 * (number - (len(of) - 1) / 2)
                axes.plot([rate.share_low, rate.share_high], [where, where], color=colours[number % 4], linewidth=2)
                axes.plot([rate.share], [where], "o", color=colours[number % 4], label=name if row == 0 else None)
        axes.set_yticks(
            range(len(groups[0])),
            [", ".join(f"{key.rpartition('.config.')[2]}={str(value).lower()}" for key, value in rate.configuration.items()) for rate in groups[0]],
        )
        axes.set_ylim(len(groups[0]) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("share of runs with at least one such record, 95 % interval")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(of), frameon=False)
        figure.savefig(str(path), dpi=130, metadata=None if str(path).endswith(".png") else {"Date": None})


def _offered(run: Run) -> list[tuple[float, int]]:
    moments = sorted(at for _, fact in run.history.of(Offered) for at in fact.moments())
    return [(0.0, 0), *((at / SECOND, count) for count, at in enumerate(moments, 1))]


def _ended(run: Run, kind: type[Acked | Failed]) -> list[tuple[float, int]]:
    points, total = [(0.0, 0)], 0
    for at, fact in run.history.of(kind):
        assert isinstance(fact, kind)
        total += len(fact.records)
        points.append((at / SECOND, total))
    return points


def shade_faults(run: Run, axes: Any, *, named: bool = True, at_height: tuple[float, float] = (0.95, -0.06)) -> None:
    """at_height: where the first name stands, and how much higher each of the next ones, in heights of the panel."""
    began: dict[str, int] = {}
    told: list[str] = []

    def tell(name: str, at: Micros) -> None:
        """Each once, where it first struck."""
        if not named or name in told:
            return
        told.append(name)
        place = at / SECOND, at_height[0] + at_height[1] * (len(told) % 8)
        axes.annotate(f" {name}", place, xycoords=("data", "axes fraction"), fontsize=9, color="#c8412f")

    for at, fact in run.history.of(Fault):
        if fact.phase == "begin":
            began[fact.name] = at
        elif fact.phase == "hit":
            axes.axvline(at / SECOND, color="#c8412f", linewidth=0.8, alpha=0.6)
            tell(fact.name, at)
        elif fact.name in began and fact.phase in ("end", "summary"):
            begin = began.pop(fact.name)
            axes.axvspan(begin / SECOND, at / SECOND, color="#c8412f", alpha=0.08)
            tell(fact.name, begin)
