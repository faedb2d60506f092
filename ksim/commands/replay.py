"""`ksim replay`: a scenario on real Kafka, judged and shown like a simulation."""

from __future__ import annotations

import click

from ksim.commands.live_options import live_options, opened
from ksim.commands.options import WithSettings, changed, examples, presentation_options, scenario_options, seed_option
from ksim.commands.presentation import MetricsWanted, check_presentation, present


@click.command(
    cls=WithSettings,
    short_help="Carry a scenario out on real Kafka, judge it, print what became of every record.",
    epilog=examples("ksim replay reorder --cluster kraft", "ksim replay lost-ack --cluster kraft:3.9.1 --client librdkafka --story"),
)
@click.argument("file")
@live_options
@seed_option
@scenario_options
@presentation_options
def command(
    file: str,
    cluster: str,
    hooks: str | None,
    shared: bool,
    seed: int | None,
    settings: tuple[tuple[str, str], ...],
    producer_config: str | None,
    producer_props: tuple[tuple[str, str], ...],
    kafka: str | None,
    client: str | None,
    as_json: bool,
    history: str | None,
    story: bool,
    plot: str | None,
    metrics: str | None,
    of: tuple[str, ...],
    step: str,
    quiet: bool,
    force: bool,
) -> int:
    """Carry FILE out on real Kafka, judge it, print what became of every record.

    kraft starts the scenario's version of Kafka on this machine (Java 17 and Maven are needed), kraft:VERSION another one;
    HOST:PORT is a cluster that is there already. Whatever was started is ended, whatever was created is removed.
    """
    from ksim.scenario import Scenario

    wanted = MetricsWanted(metrics, of, step)
    check_presentation(as_json=as_json, history=history, story=story, plot=plot, metrics=wanted, quiet=quiet, force=force)
    plan = changed(Scenario.load(file, check=False), settings, producer_config, producer_props, kafka, client).plan(seed)
    with opened(cluster, hooks, shared) as live:
        run = live.replay(plan)
    return present(run, as_json=as_json, history=history, story=story, plot=plot, metrics=wanted, quiet=quiet)
