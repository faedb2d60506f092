"""`ksim scenarios`: what is built in, and the text of one as a start for one's own."""

from __future__ import annotations

import click

from ksim.commands.options import examples


@click.command(short_help="List the built-in scenarios, or print one.", epilog=examples("ksim scenarios", "ksim scenarios lost-ack"))
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the built-in scenarios, or print one.

    Every command takes such a NAME where it takes a FILE.
    """
    if name is not None:
        from ksim.scenario_file import built_in

        click.echo(built_in(name), nl=False)
        return
    from ksim.scenario import names

    listed = names()
    width = max(len(known) for known, _ in listed)
    for known, title in listed:
        click.echo(f"{known:<{width}}  {title}")
