"""`ksim demo`: no arguments, a few seconds, and the reader has seen the point."""

from __future__ import annotations

import os

import click

from ksim.commands.files import unwritable
from ksim.commands.options import examples, force_option, json_option

PICTURE = "ksim-demo.svg"


@click.command(short_help="One failure under three configurations: lost, duplicated, exactly once.", epilog=examples("ksim demo", "ksim demo --force"))
@json_option
@force_option
def command(as_json: bool, force: bool) -> None:
    """One failure under three configurations, side by side: lost, duplicated, exactly once.

    A table, and a picture in ksim-demo.svg.
    """
    import json

    from ksim.demo import outcomes, table

    found = outcomes()
    if as_json:
        from ksim.report import report

        click.echo(
            json.dumps(
                {"schema": 1, "runs": [{"line": outcome.variant.line, "command": outcome.variant.command, "report": report(outcome.run)} for outcome in found]}
            )
        )
        return
    click.echo(f"{found[0].run.plan.title}: the same records, the same failure, three configurations.")
    click.echo()
    for line in table(found):
        click.echo(line)
    click.echo()
    for outcome in found:
        click.echo(f"{outcome.variant.line}: {outcome.variant.why}")
        click.echo(f"  {outcome.variant.command} --story")
    click.echo()
    if os.path.lexists(PICTURE) and not force:
        click.echo(f"{PICTURE} exists and is left alone; --force draws it anew.")
        return
    try:
        from ksim.demo_picture import save

        save(found, PICTURE)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        click.echo("No picture: matplotlib is not installed. To get it: pip install 'ksim-kafka[plot]'")
    except OSError as error:
        raise unwritable(PICTURE, error) from None
    else:
        click.echo(f"The picture of it: {PICTURE}")
