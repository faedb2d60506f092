"""How a run is shown, simulated or live: the report, its story, its picture, its history in a file.

Not Kafka's: section 4 of the public contract.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ksim.commands.files import check_free, unwritable

if TYPE_CHECKING:
    from ksim.runs import Run

PICTURES = (".svg", ".png", ".pdf")


def check_presentation(*, as_json: bool, history: str | None, story: bool, plot: str | None, quiet: bool, force: bool) -> None:
    """Before the work begins."""
    if as_json:
        refuse_beside("--json", {"--story": story, "--quiet": quiet})
    check_free(history, force=force)
    check_free(plot, force=force)
    if plot is not None and not plot.lower().endswith(PICTURES):
        raise click.UsageError(f"{plot}: the name of a picture ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")


def refuse_beside(option: str, others: dict[str, object]) -> None:
    for other, given in others.items():
        if given:
            raise click.UsageError(f"{option} does not go with {other}.")


def present(run: Run, *, as_json: bool, history: str | None, story: bool, plot: str | None, quiet: bool) -> int:
    """Write and print what was asked for; the exit code says the verdict."""
    from ksim.report import report_on

    if history is not None:
        _write_history(run, history)
    if plot is not None:
        _draw(run, plot)
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


def _draw(run: Run, path: str) -> None:
    try:
        from ksim.plots import save_timeline

        save_timeline(run, path)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise click.UsageError("--plot needs matplotlib, which is not installed: pip install 'ksim-kafka[plot]'.") from None
    except OSError as error:
        raise unwritable(path, error) from None
