"""How a run is shown, simulated or live: the report, its story, its picture, its history in a file.

Not Kafka's: section 4 of the public contract.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ksim.commands.files import check_free, unwritable

if TYPE_CHECKING:
    from ksim.runs import Run

PICTURES = (".svg", ".png", ".pdf")
TABLES = (".csv", ".jsonl")
OVERVIEW = "overview"


@dataclass(frozen=True, slots=True)
class MetricsWanted:
    """--metrics, --of and --step."""

    out: str | None
    of: tuple[str, ...]
    step: str

    @property
    def any(self) -> bool:
        return bool(self.out or self.of)


def check_presentation(*, as_json: bool, history: str | None, story: bool, plot: str | None, metrics: MetricsWanted, quiet: bool, force: bool) -> None:
    """Before the work begins."""
    if as_json:
        refuse_beside("--json", {"--story": story, "--quiet": quiet})
    check_free(history, force=force)
    check_free(plot, force=force)
    check_free(metrics.out, force=force)
    if metrics.out is not None and not metrics.out.lower().endswith(TABLES):
        raise click.UsageError(f"{metrics.out}: the name of a file of metrics ends in {' or '.join(TABLES)}.")
    if metrics.of:
        _check_names(metrics.of, plot)
    if plot is not None and not plot.lower().endswith(PICTURES):
        raise click.UsageError(f"{plot}: the name of a picture ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")


def _check_names(of: tuple[str, ...], plot: str | None) -> None:
    from ksim.metrics_names import NAMES
    from ksim.problems import nearest

    if plot is None:
        raise click.UsageError(f"--of {of[0]} says what to draw: it needs --plot OUT.svg.")
    for name in of:
        if name not in (*NAMES, OVERVIEW):
            close = nearest(name, [*NAMES, OVERVIEW])
            hint = f" Did you mean {close}?" if close else ""
            raise click.UsageError(f"--of {name} is not a metric that has a series.{hint} Possible: {OVERVIEW}, {', '.join(NAMES)}.")


def refuse_beside(option: str, others: dict[str, object]) -> None:
    for other, given in others.items():
        if given:
            raise click.UsageError(f"{option} does not go with {other}.")


def present(run: Run, *, as_json: bool, history: str | None, story: bool, plot: str | None, metrics: MetricsWanted, quiet: bool) -> int:
    """Write and print what was asked for; the exit code says the verdict."""
    from ksim.report import report_on

    if history is not None:
        _write_history(run, history)
    if metrics.out is not None:
        _write_metrics(run, metrics.out, metrics.step)
    if plot is not None:
        _draw(run, plot, metrics)
    told = report_on(run)
    if as_json:
        click.echo(json.dumps(told.data))
        return told.exit_code
    from ksim.report_text import show, verdict_line

    if story:
        from ksim.transcript import tell

        for line in tell(run.history):
            click.echo(line)
        click.echo()
    if quiet:
        click.echo(verdict_line(told))
    else:
        show(told, sys.stdout)
    return told.exit_code


def _write_history(run: Run, path: str) -> None:
    try:
        run.history.write(path)
    except OSError as error:
        raise unwritable(path, error) from None


def _write_metrics(run: Run, path: str, step: str) -> None:
    try:
        run.series(step).write(path, form="jsonl" if path.lower().endswith(".jsonl") else "csv")
    except OSError as error:
        raise unwritable(path, error) from None


def _draw(run: Run, path: str, metrics: MetricsWanted) -> None:
    try:
        if metrics.of:
            from ksim.plots_metrics import save_metrics

            save_metrics(run, path, [name for name in metrics.of if name != OVERVIEW], metrics.step)
        else:
            from ksim.plots import save_timeline

            save_timeline(run, path)
    except KeyError as error:
        raise click.UsageError(f"--of: {error.args[0]}") from None
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise click.UsageError("--plot needs matplotlib, which is not installed: pip install 'ksim-kafka[plot]'.") from None
    except OSError as error:
        raise unwritable(path, error) from None
