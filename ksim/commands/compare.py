"""`ksim compare`: a scenario simulated and on real Kafka, side by side, and whether they agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ksim.commands.live_options import live_options, opened
from ksim.commands.options import WithSettings, changed, examples, json_option, scenario_options, seed_option

if TYPE_CHECKING:
    from ksim.comparison import Comparison
    from ksim.plan import Plan
    from ksim.runs import Run


@click.command(
    cls=WithSettings,
    short_help="Simulate a scenario and carry it out on real Kafka: do they agree?",
    epilog=examples("ksim compare reorder --cluster kraft", "ksim compare reorder --cluster kraft:3.9.1 --runs 2"),
)
@click.argument("file")
@live_options
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Live runs: where the outcome is a race, its interval.")
@seed_option
@scenario_options
@json_option
def command(
    file: str,
    cluster: str,
    hooks: str | None,
    shared: bool,
    runs: int,
    seed: int | None,
    settings: tuple[tuple[str, str], ...],
    producer_config: str | None,
    producer_props: tuple[tuple[str, str], ...],
    kafka: str | None,
    client: str | None,
    as_json: bool,
) -> int:
    """Simulate FILE and carry it out on real Kafka; print, per guarantee and per class of records, where the two agree, and the first record where they part.

    The exit code is 0 where they agree, 1 where they differ, 4 where they cannot be compared.
    """
    from ksim.scenario import Scenario

    plan = changed(Scenario.load(file, check=False), settings, producer_config, producer_props, kafka, client).plan(seed)
    with opened(cluster, hooks, shared) as live:
        found = _compared(plan, [live.replay(plan) for _ in range(runs)])
    click.echo(json.dumps(found.as_data()) if as_json else str(found))
    return found.exit_code


def _compared(plan: Plan, twins: list[Run]) -> Comparison:
    from ksim.comparison import compare, not_simulated
    from ksim.problems import ScenarioError
    from ksim.simulation import simulate

    try:
        simulated = simulate(plan)
    except ScenarioError as reason:
        return not_simulated(twins, reason.problems[0].message)
    return compare(simulated, twins)
