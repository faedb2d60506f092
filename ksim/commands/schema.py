"""`ksim schema`: for editors that complete and check TOML."""

from __future__ import annotations

import json

import click

from ksim.commands.options import examples


@click.command(short_help="Print the JSON Schema of the scenario file.", epilog=examples("ksim schema", "ksim schema > scenario.schema.json"))
def command() -> None:
    """Print the JSON Schema of the scenario file."""
    from ksim.scenario_schema import schema

    click.echo(json.dumps(schema(), indent=2))
