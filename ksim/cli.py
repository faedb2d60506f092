"""The command line: which commands there are, and how a command ends.

Not Kafka's. Commands are loaded when they are asked for, so that `ksim --help` loads nothing heavy; exit codes are those of the public contract
(0 held, 1 violated, 2 usage, 3 internal, 4 inconclusive, 130 interrupted; 141 where the reader of a pipe has gone, as a shell reports it).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from ksim import __version__

SUMMARY = {
    "demo": "One failure under three configurations: lost, duplicated, exactly once.",
    "scenarios": "List the built-in scenarios, or print one.",
    "run": "Simulate a scenario, judge it, print what became of every record.",
    "explain": "Tell what happened to one record, step by step, each with its rule.",
    "config": "Show every effective setting and where it came from.",
    "replay": "Carry a scenario out on real Kafka, judge it, print what became of every record.",
    "compare": "Simulate a scenario and carry it out on real Kafka: do they agree?",
    "judge": "Judge a recorded history.",
    "sweep": "Run a scenario over a grid of configurations and seeds.",
    "schema": "Print the JSON Schema of the scenario file.",
}
"""In the order in which a newcomer meets them."""

DISK_SAYS_NO = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
USAGE, INTERNAL, INTERRUPTED, NOBODY_LISTENS = 2, 3, 130, 141


class PipeClosedError(Exception):
    """Whoever read our output has gone: no reason to say anything."""


class NoSuchCommandError(click.UsageError):
    """Of what was given, what is possible and what is nearest, the object that --json prints tells too."""

    def __init__(self, name: str, ctx: click.Context) -> None:
        from ksim.problems import listed, nearest

        close = nearest(name, SUMMARY)
        hint = f" Did you mean {close}?" if close else ""
        super().__init__(f"there is no command {name!r}.{hint} Possible: {listed(SUMMARY)}.", ctx)
        self.given, self.possible, self.possibilities = name, listed(SUMMARY), [close]


class Commands(click.Group):
    """Loads a command when it is asked for, and turns whatever goes wrong into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUMMARY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUMMARY:
            return None
        command = getattr(import_module(f"ksim.commands.{cmd_name}"), "command")  # noqa: B009 (a module has no such attribute for the type checker)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in SUMMARY and not name.startswith("-"):
            raise NoSuchCommandError(name, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table: no command is loaded for its one line."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARY.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise PipeClosedError from None

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *others: Any, **extra: Any) -> NoReturn:
        """Always ends the program: with the exit code that the command answered."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # A title may hold what the terminal cannot show.
        try:
            code = super().main(given, prog_name or "ksim", *others, **extra)
            sys.stdout.flush()
        except (PipeClosedError, BrokenPipeError):
            _fall_silent()
            code = NOBODY_LISTENS
        except (click.Abort, KeyboardInterrupt):
            click.echo("ksim: interrupted", err=True)
            code = INTERRUPTED
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_SAYS_NO:  # What a command writes to a file it guards itself.
                _fall_silent()
                click.echo(f"ksim: standard output cannot be written: {error.strerror}.", err=True)
                sys.exit(USAGE)
            if os.environ.get("KSIM_DEBUG") == "1":
                raise
            code = _tell(error, given)
        sys.exit(code if isinstance(code, int) else 0)


def _fall_silent() -> None:
    """What is still in the buffers goes nowhere, so that the interpreter does not complain at its end."""
    with contextlib.suppress(OSError, ValueError):  # A stream may have no descriptor of its own, as in tests.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: Exception, words: Sequence[str]) -> int:
    """Every mistake with its place, on standard error; with --json as the contract's object, on standard output."""
    from ksim.history import HistoryError
    from ksim.live.errors import LiveError
    from ksim.problems import ScenarioError, row
    from ksim_models.config import Origin, Problem

    hint = ""
    kind, code = "usage", USAGE
    match error:
        case ScenarioError():
            problems = error.problems
        case LiveError():
            problems = (Problem("", "", None, str(error), Origin("ksim")),)
        case HistoryError():
            problems = (Problem(error.given or error.file, "a history that ksim wrote", None, error.message, Origin(error.file, error.line or None)),)
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return USAGE
        case click.ClickException():
            ctx = error.ctx if isinstance(error, click.UsageError) else None
            help_of = f"{ctx.command_path if ctx is not None else 'ksim'} --help"
            given, possible = getattr(error, "given", " ".join(["ksim", *words])), getattr(error, "possible", f"what `{help_of}` shows")
            close = getattr(error, "possibilities", None) or [None]
            problems = (Problem(given[:200], possible, close[0], error.format_message(), Origin("ksim")),)
            hint = f"Try '{help_of}'."
        case _:
            kind, code = "internal", INTERNAL
            text = f"internal error, {type(error).__name__}: {error}" if str(error) else f"internal error, {type(error).__name__}"
            problems = (Problem("", "", None, text, Origin("ksim")),)
            hint = "This is a mistake in ksim, not in what it was given. KSIM_DEBUG=1 shows where."
    if "--json" in words:
        click.echo(json.dumps({"schema": 1, "error": kind, "problems": [row(problem) for problem in problems]}))
        return code
    for problem in problems:
        click.echo(f"{problem.origin}: {problem.message}", err=True)
    if hint:
        click.echo(hint, err=True)
    return code


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  ksim demo\n  ksim run leader-crash --producer.config producer.properties\n\nWithout a cluster, without Docker, without Java.",
)
@click.version_option(__version__, prog_name="ksim")
def cli() -> None:
    """What becomes of every record? A deterministic simulator of Apache Kafka's producer and broker failure semantics."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    cli.main(args)
