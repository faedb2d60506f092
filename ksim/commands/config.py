"""`ksim config`: what a configuration comes to. Every setting with its value, where that came from, and what the client changed.

Kafka: the lines that a Java client logs at its start ("ProducerConfig values"), which do not say where a value came from.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from ksim.commands.options import WithSettings, changed, examples, json_option, scenario_options

if TYPE_CHECKING:
    from ksim.scenario import Scenario
    from ksim_models.settings import Effective

Row = tuple[str, ...]

A_PRODUCER = """
title = "A producer with the defaults"
[topics.any]
[producers.p1]
[[workload]]
topic = "any"
records = 1
every = "0ms"
"""


@click.command(
    cls=WithSettings,
    short_help="Show every effective setting and where it came from.",
    epilog=examples("ksim config lost-ack -X linger.ms=20", "ksim config --diff 3.9 4.3"),
)
@click.argument("file", required=False)
@click.option("--diff", nargs=2, metavar="X.Y X.Y", help="Only what differs between two releases.")
@scenario_options
@json_option
def command(
    file: str | None,
    diff: tuple[str, str] | None,
    settings: tuple[tuple[str, str], ...],
    producer_config: str | None,
    producer_props: tuple[tuple[str, str], ...],
    kafka: str | None,
    client: str | None,
    as_json: bool,
) -> None:
    """Show every effective setting, its value, where it came from, and what the client forced.

    Without FILE: a producer with the defaults of the release.
    """
    from ksim.scenario import Scenario
    from ksim_models.profiles import NEWEST

    if diff is not None and kafka is not None:
        raise click.UsageError("--diff does not go with --kafka: it names both releases.")
    if file is None:
        scenario, kafka = Scenario.loads(A_PRODUCER, "ksim config"), kafka or (None if diff else NEWEST)
    else:
        scenario = Scenario.load(file, check=False)
    if diff is not None:
        one, other = _of_both([changed(scenario, settings, producer_config, producer_props, release, client) for release in diff])
        _show_difference(_producers(one), _producers(other), diff, as_json=as_json)
        return
    scenario = changed(scenario, settings, producer_config, producer_props, kafka, client).check()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "schema": 1,
                    "producers": _as_data(scenario.effective()),
                    "topics": _topics(scenario),
                    "brokers": _brokers(scenario),
                    "notes": list(scenario.notes),
                }
            )
        )
        return
    for name, lines in scenario.effective().items():
        _show(f"producer {name}", [(line.name, shown(line.value), line.origin + (f" ({line.changed_by})" if line.changed_by else "")) for line in lines])
    if file is not None:
        for name, given in _topics(scenario).items():
            _show(
                f"topic {name}",
                [(setting, value, "the scenario") for setting, value in given.items()] or [("(none of its own)", "", "its brokers' settings hold")],
            )
        for names, rows in _groups(_brokers(scenario)):
            _show(names, rows)
    for note in scenario.notes:
        click.echo(f"note: {note}")


def _of_both(scenarios: list[Scenario]) -> list[Scenario]:
    """The mistakes of both releases at once, said of the option that was typed."""
    from ksim.problems import ScenarioError, in_order
    from ksim_models.config import Origin

    problems = []
    for scenario in scenarios:
        try:
            scenario.check()
        except ScenarioError as mistakes:
            problems += [
                dataclasses.replace(problem, origin=Origin("--diff")) if str(problem.origin) == "--kafka" else problem for problem in mistakes.problems
            ]
    if problems:
        raise ScenarioError(in_order(problems))
    return scenarios


def shown(value: object) -> str:
    """As a .properties file would have it."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case _:
            return str(value)


def _show(title: str, rows: Iterable[Row]) -> None:
    click.echo(title)
    _columns(rows)
    click.echo()


def _columns(rows: Iterable[Row]) -> None:
    rows = list(rows)
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(2)]
    for row in rows:
        click.echo(f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip())


def _show_difference(one: Mapping[str, str], other: Mapping[str, str], releases: tuple[str, str], *, as_json: bool) -> None:
    absent = "(not known)"
    names = [*one, *(name for name in other if name not in one)]
    differing = [(name, one.get(name, absent), other.get(name, absent)) for name in names if one.get(name, absent) != other.get(name, absent)]
    if as_json:
        click.echo(
            json.dumps({"schema": 1, "releases": list(releases), "differing": [{"name": name, "values": [before, after]} for name, before, after in differing]})
        )
    elif not differing:
        click.echo(f"no setting differs between {releases[0]} and {releases[1]}")
    else:
        _columns([("setting", releases[0], releases[1]), *differing])


def _producers(scenario: Scenario) -> dict[str, str]:
    """The name of the producer stands before the setting where there are several."""
    effective = scenario.effective()
    return {(line.name if len(effective) == 1 else f"{name}.{line.name}"): shown(line.value) for name, lines in effective.items() for line in lines}


def _as_data(effective: Mapping[str, tuple[Effective, ...]]) -> dict[str, list[dict[str, object]]]:
    return {
        name: [{"name": line.name, "value": line.value, "origin": line.origin, "changed_by": line.changed_by or None} for line in lines]
        for name, lines in effective.items()
    }


def _topics(scenario: Scenario) -> dict[str, dict[str, str]]:
    return {topic.name: dict(topic.given) for topic in scenario.plan(0).topics}


def _brokers(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Those that play a part, by Kafka's names."""
    return {
        broker.name: {field.name.replace("_", "."): shown(getattr(broker.config, field.name)) for field in dataclasses.fields(broker.config)}
        for broker in scenario.plan(0).brokers
    }


def _groups(brokers: Mapping[str, Mapping[str, str]]) -> list[tuple[str, list[Row]]]:
    """Brokers with the same settings are shown once; what was not left at 4.3's default is marked."""
    from ksim_models.config import BrokerConfig

    usual = {field.name.replace("_", "."): shown(field.default) for field in dataclasses.fields(BrokerConfig)}
    together: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, settings in brokers.items():
        together.setdefault(tuple(settings.items()), []).append(name)
    return [
        (", ".join(names), [(setting, value, "" if value == usual[setting] else f"not the default of 4.3, {usual[setting]}") for setting, value in settings])
        for settings, names in together.items()
    ]
