"""`ksim explain`: what happened to one record, and by which rules."""

from __future__ import annotations

import json

import click

from ksim.commands.options import WithSettings, changed, examples, json_option, scenario_options, seed_option


@click.command(
    cls=WithSettings,
    short_help="Tell what happened to one record, step by step, each with its rule.",
    epilog=examples("ksim explain lost-ack", "ksim explain leader-crash 99"),
)
@click.argument("file")
@click.argument("record", required=False)
@seed_option
@scenario_options
@json_option
def command(
    file: str,
    record: str | None,
    seed: int | None,
    settings: tuple[tuple[str, str], ...],
    producer_config: str | None,
    producer_props: tuple[tuple[str, str], ...],
    kafka: str | None,
    client: str | None,
    as_json: bool,
) -> None:
    """Tell what happened to RECORD of the scenario FILE, step by step, each with the rule that it rests on.

    RECORD is a number (`2`) or, where there are several producers, `p1/2`. By default the first record that is not ok, else the first one.
    """
    from ksim.explanation import explain
    from ksim.scenario import Scenario
    from ksim.simulation import simulate

    scenario = changed(Scenario.load(file, check=False), settings, producer_config, producer_props, kafka, client)
    explanation = explain(simulate(scenario.plan(seed)), record)
    click.echo(json.dumps(explanation.as_data()) if as_json else str(explanation))
