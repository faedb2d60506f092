"""`ksim judge`: a verdict on a history that somebody recorded, by the same code that judges a run."""

from __future__ import annotations

import json
import sys

import click

from ksim.commands.options import examples, json_option


@click.command(
    short_help="Judge a recorded history.",
    epilog=examples(
        "ksim run lost-ack --history run.jsonl --force; ksim judge run.jsonl", "ksim run lost-ack --history run.jsonl --force; ksim judge run.jsonl --json"
    ),
)
@click.argument("history")
@json_option
@click.option("--quiet", is_flag=True, help="The verdict alone.")
def command(history: str, as_json: bool, quiet: bool) -> int:
    """Judge HISTORY, a file of JSON lines as `ksim run --history` writes it; `-` is standard input."""
    from ksim.history import History
    from ksim.report import report_on_history

    told = report_on_history(History.read(sys.stdin if history == "-" else history))
    if as_json:
        click.echo(json.dumps(told.data))
    else:
        from ksim.report_text import show, verdict_line

        if quiet:
            click.echo(verdict_line(told))
        else:
            show(told, sys.stdout)
    return told.exit_code
