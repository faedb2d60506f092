"""The picture of the demonstration: the final log, record by record, under three configurations.

Drawn with matplotlib.figure alone, without pyplot and without a clock: the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksim.demo import Outcome
from ksim_models.facts import Fault
from ksim_models.units import MILLISECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONCE, TWICE, NEVER, INK, FAINT = "#8fb8a8", "#e0a030", "#c8412f", "#222222", "#777777"
AROUND = 12
"""Records that are shown on either side of those that something happened to."""
SIZE = 0.84
"""Of a record's square: a little room stays between two."""
NAME = {"lost": NEVER, "duplicated": TWICE, "exactly once": "#3d7a66"}


def save(found: Sequence[Outcome], path: str) -> None:
    """As SVG or PNG, by the ending of the name. ImportError where matplotlib is missing, OSError where the file cannot be written."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "ksim", "font.family": "DejaVu Sans", "path.simplify": False}):
        picture = draw(found)
        picture.savefig(path, dpi=150, metadata=None if path.endswith(".png") else {"Date": None})


def draw(found: Sequence[Outcome]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), facecolor="white")
    figure.text(0.03, 0.955, "One failure, three configurations: what becomes of every record?", fontsize=16, weight="bold", color=INK)
    figure.text(
        0.03, 0.915, f"{found[0].run.plan.title}. All {found[0].counts['acked']} records were acknowledged, in each of the three.", fontsize=10.5, color=FAINT
    )
    first, last = _window(found)
    crash = _crashed_at(found[0])
    for row, outcome in enumerate(found):
        axes = figure.add_axes((0.03, 0.66 - 0.265 * row, 0.94, 0.17))
        _strip(axes, outcome, first, last, crash, with_label=row == 0)
    plan = found[0].run.plan
    footnote = (
        "Each square is one copy of a record in the final log; a crossed box is a record that is not in it. "
        f"Records {first} to {last}, in the order of send(), one per millisecond.\n"
        f"The others stand in it once. Kafka {plan.broker_version}, {len(plan.brokers)} brokers, min.insync.replicas=2, seed {plan.seed}; drawn by ksim demo."
    )
    figure.text(0.03, 0.03, footnote, fontsize=8.5, color=FAINT, linespacing=1.5)
    return figure


def _strip(axes: Axes, outcome: Outcome, first: int, last: int, crash: float, *, with_label: bool) -> None:
    from matplotlib.patches import Rectangle

    counts = outcome.counts
    axes.set_xlim(first - 0.6, last + 0.6)
    axes.set_ylim(-0.75, 2.75)
    axes.set_axis_off()
    for number in range(first, last + 1):
        copies = outcome.copies[number]
        for copy in range(copies):
            axes.add_patch(Rectangle((number - SIZE / 2, copy), SIZE, SIZE, color=ONCE if copies == 1 else TWICE, linewidth=0))
        if not copies:
            axes.add_patch(Rectangle((number - SIZE / 2, 0), SIZE, SIZE, facecolor="none", edgecolor=NEVER, linewidth=1.3))
            axes.plot([number - 0.2, number + 0.2], [0.22, 0.62], color=NEVER, linewidth=1.5)
            axes.plot([number - 0.2, number + 0.2], [0.62, 0.22], color=NEVER, linewidth=1.5)
        if number % 5 == 0:
            axes.text(number, -0.15, str(number), ha="center", va="top", fontsize=8, color=FAINT)
    axes.plot([crash, crash], [-0.1, 2.05], color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
    if with_label:
        axes.text(crash + 0.4, 2.02, f"the leader crashes, at {crash + 0.5:g} ms", fontsize=9, color=INK, va="top")
    name, number = next(((name, counts[name]) for name in ("lost", "duplicated") if counts[name]), ("exactly once", counts["ok"]))
    axes.text(0, 1.26, outcome.variant.line, transform=axes.transAxes, fontsize=12, family="DejaVu Sans Mono", weight="bold", color=INK, va="top")
    axes.text(1, 1.26, f"{number} {name}", transform=axes.transAxes, fontsize=13, weight="bold", color=NAME[name], ha="right", va="top")
    axes.text(0, 1.05, outcome.variant.why, transform=axes.transAxes, fontsize=9.5, color=INK, va="top")


def _window(found: Sequence[Outcome]) -> tuple[int, int]:
    """The records that something happened to in one of them, and some on either side."""
    touched = [number for outcome in found for number, copies in enumerate(outcome.copies) if copies != 1]
    last = len(found[0].copies) - 1
    if not touched:
        return 0, last
    return max(0, min(touched) - AROUND), min(last, max(touched) + AROUND)


def _crashed_at(outcome: Outcome) -> float:
    """Between which records, with one record per millisecond."""
    at = next(at for at, fact in outcome.run.history.of(Fault) if fact.phase == "begin")
    return at / MILLISECOND - 0.5
