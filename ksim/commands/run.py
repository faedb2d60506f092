"""`ksim run`: the main job. One scenario, one verdict; or many seeds, one line each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ksim.commands.options import Seeds, WithSettings, changed, examples, presentation_options, scenario_options, seed_option
from ksim.commands.presentation import MetricsWanted, check_presentation, present, refuse_beside

if TYPE_CHECKING:
    from ksim.plan import Plan
    from ksim.report import Report
    from ksim.runs import Run
    from ksim.scenario import Scenario


@click.command(
    cls=WithSettings,
    short_help="Simulate a scenario, judge it, print what became of every record.",
    epilog=examples("ksim run leader-crash -X acks=1 -X enable.idempotence=false", "ksim run lost-ack --seeds 0..9"),
)
@click.argument("file")
@seed_option
@click.option("--seeds", type=Seeds(), help="A run for each of these seeds, both ends included.")
@scenario_options
@click.option("--check", is_flag=True, help="Look at every invariant of the cluster after every step: a run two to three times as long.")
@click.option("--check-only", is_flag=True, help="Find the mistakes, run nothing.")
@presentation_options
def command(
    file: str,
    seed: int | None,
    seeds: range | None,
    settings: tuple[tuple[str, str], ...],
    producer_config: str | None,
    producer_props: tuple[tuple[str, str], ...],
    kafka: str | None,
    client: str | None,
    check: bool,
    check_only: bool,
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
    """Simulate FILE, judge it, print what became of every record.

    FILE is a scenario file, the name of a built-in scenario (`ksim scenarios`), or - for standard input.
    The exit code says the verdict: 0 held, 1 violated, 4 inconclusive; where the scenario says what it expects, 0 means that it came so.
    """
    from ksim.scenario import Scenario

    if seeds is not None:
        refuse_beside("--seeds", {"--seed": seed is not None, "--history": history, "--story": story, "--plot": plot, "--metrics": metrics})
    wanted = MetricsWanted(metrics, of, step)
    check_presentation(as_json=as_json, history=history, story=story, plot=plot, metrics=wanted, quiet=quiet, force=force)
    scenario = changed(Scenario.load(file, check=False), settings, producer_config, producer_props, kafka, client)
    if check_only:
        return _check(scenario, seed, as_json=as_json, quiet=quiet)
    if seeds is not None:
        return _run_many(scenario, seeds, check=check, as_json=as_json, quiet=quiet)
    plan = scenario.plan(seed)
    return present(_simulate(wanted, plan, check=check), as_json=as_json, history=history, story=story, plot=plot, metrics=wanted, quiet=quiet)


def _check(scenario: Scenario, seed: int | None, *, as_json: bool, quiet: bool) -> int:
    """A missing seed is no mistake here: nothing is run."""
    notes = scenario.check().notes if seed is None else scenario.plan(seed).notes
    if as_json:
        click.echo(json.dumps({"schema": 1, "error": None, "problems": []}))
    elif not quiet:
        click.echo(f"{scenario.title}: no mistakes")
        for note in notes:
            click.echo(f"note: {note}")
    return 0


def _simulate(wanted: MetricsWanted, plan: Plan, *, check: bool) -> Run:
    from ksim.simulation import simulate

    return simulate(plan, measured=wanted.any, check_every=int(check) or None)


def _run_many(scenario: Scenario, seeds: range, *, check: bool, as_json: bool, quiet: bool) -> int:
    from ksim.report import combined_exit_code, report_on
    from ksim.simulation import simulate

    codes: list[int] = []
    verdicts: dict[str, int] = {}
    for seed in seeds:
        told = report_on(simulate(scenario.plan(seed), check_every=int(check) or None))
        codes.append(told.exit_code)
        verdicts[told.verdict.verdict] = verdicts.get(told.verdict.verdict, 0) + 1
        if as_json:
            click.echo(json.dumps(told.data))
        elif not quiet:
            _one_line(told, first=len(codes) == 1)
    if not as_json:
        click.echo(f"{len(codes)} runs: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))
    return combined_exit_code(codes)


def _one_line(told: Report, *, first: bool) -> None:
    from ksim.report_text import seed_line

    if first:
        click.echo(told.data["scenario"])
        for note in told.notes:
            click.echo(f"note: {note}")
    click.echo(seed_line(told))
