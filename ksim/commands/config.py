"""`ksim config`: what a configuration comes to. Every setting with its value, where that came from, and what the client changed.

Kafka: the lines that a Java client logs at its start ("ProducerConfig values"), which do not say where a value came from.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from ksim.commands.columns import columns, in_words, paragraph
from ksim.commands.options import WithSettings, changed, examples, json_option, scenario_options

if TYPE_CHECKING:
    from ksim.plan import ConsumerPlan, ProducerPlan
    from ksim.scenario import Scenario
    from ksim.scenario_plan import Made
    from ksim_models.config import BrokerConfig, Effective
    from ksim_models.settings import ConfigKey

PROPERTIES = ".properties"
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
    epilog=examples("ksim config lost-ack -X linger.ms=20", "ksim config lost-ack --diff 2.8 4.3"),
)
@click.argument("file", required=False)
@click.option("--diff", nargs=2, metavar="X.Y X.Y", help="What two releases make of it: settings, refusals, behaviour.")
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

    FILE is a scenario, or a producer's .properties file. Without it: a producer with the defaults of the release.
    """
    from ksim.scenario import Scenario
    from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
    from ksim_models.consumer_keys import CONSUMER_KEYS
    from ksim_models.librdkafka_consumer_keys import LIBRDKAFKA_CONSUMER_KEYS
    from ksim_models.librdkafka_keys import LIBRDKAFKA_KEYS
    from ksim_models.producer_keys import PRODUCER_KEYS
    from ksim_models.profiles import NEWEST

    if file is not None and file.endswith(PROPERTIES) and producer_config is None:
        file, producer_config = None, file
    if diff is not None and kafka is not None:
        raise click.UsageError("--diff does not go with --kafka: it names both releases.")
    if file is None:
        scenario, kafka = Scenario.loads(A_PRODUCER, "ksim config"), kafka or (None if diff else NEWEST)
    else:
        scenario = Scenario.load(file, check=False)
    if diff is not None:
        one, other = (changed(scenario, settings, producer_config, producer_props, release, client) for release in diff)
        _show_difference(one, other, diff, as_json=as_json, only_producers=file is None)
        return
    scenario = changed(scenario, settings, producer_config, producer_props, kafka, client).check()
    made = scenario.examined()
    if as_json:
        click.echo(json.dumps(_as_data(made)))
        return
    for producer in made.plan.producers:
        keys = LIBRDKAFKA_KEYS if producer.librdkafka is not None else PRODUCER_KEYS
        _show(f"producer {producer.name}: {_client_of(producer)}", made.effective[producer.name], keys)
    for consumer in made.plan.consumers:
        keys = LIBRDKAFKA_CONSUMER_KEYS if consumer.librdkafka is not None else CONSUMER_KEYS
        _show(f"consumer {consumer.name}: {_client_of(consumer)}", made.effective[consumer.name], keys)
    if file is not None:
        for whose, lines in made.cluster.items():
            if whose.startswith("topic "):
                _show(whose, lines, TOPIC_KEYS, nothing="none of its own: its brokers' settings hold")
        for names, lines in _alike(made):
            _show(f"{names}: Kafka {made.plan.broker_version}", lines, BROKER_KEYS)
    for note in scenario.notes:
        click.echo(f"note: {note}")


def _show_difference(one: Scenario, other: Scenario, releases: tuple[str, str], *, as_json: bool, only_producers: bool) -> None:
    from ksim.commands import config_difference
    from ksim.release_difference import difference

    _check_both(one, other)
    found = difference(one, other, releases, only_producers=only_producers)
    if as_json:
        click.echo(config_difference.as_json(found))
    else:
        config_difference.show(found)


def _check_both(one: Scenario, other: Scenario) -> None:
    """A release that does not exist, said of the option that was typed; and the mistakes that both releases have, as nothing is left to compare then."""
    from ksim.problems import ScenarioError, in_order
    from ksim_models.config import Origin

    of_both = [scenario.examined().problems for scenario in (one, other)]
    unknown = [dataclasses.replace(problem, origin=Origin("--diff")) for problems in of_both for problem in problems if str(problem.origin) == "--kafka"]
    common = [problem for problem in of_both[0] if any(problem.given == other.given and problem.origin == other.origin for other in of_both[1])]
    if unknown or common:
        raise ScenarioError(in_order([*unknown, *(problem for problem in common if str(problem.origin) != "--kafka")]))


def _client_of(plan: ProducerPlan | ConsumerPlan) -> str:
    if plan.client != "java":
        return f"{plan.client} {plan.client_version}".strip()
    return f"Java client {plan.profile.version}"


def _show(title: str, lines: Sequence[Effective], keys: Mapping[str, ConfigKey], nothing: str = "") -> None:
    """What was written or changed stands first, and what can only be left at its default last, in few lines."""
    from ksim.release_difference import shown

    click.echo(title)
    own = [line for line in lines if not line.origin.startswith("default of ")]
    rest = [line for line in lines if line not in own and not (keys[line.name].not_yet or keys[line.name].no_part)]
    idle = [line for line in lines if line not in own and line not in rest]
    rows = [
        (line.name, shown(line.value), in_words(line.name, line.value), line.origin + (f" ({line.changed_by})" if line.changed_by else ""))
        for line in (*own, *rest)
    ]
    if not lines:
        click.echo(f"  {nothing}")
    for text in columns([*rows[: len(own)], *([()] if own and rest else []), *rows[len(own) :]]):
        click.echo(text)
    if idle:
        click.echo("\n" + paragraph(f"{idle[0].origin}, without effect here: {', '.join(f'{line.name}={shown(line.value)}' for line in idle)}", "  "))
    click.echo()


def _alike(made: Made) -> list[tuple[str, tuple[Effective, ...]]]:
    """Brokers with the same settings are shown once."""
    together: dict[tuple[Effective, ...], list[str]] = {}
    for broker in made.plan.brokers:
        together.setdefault(made.cluster[broker.name], []).append(broker.name)
    return [(", ".join(names), lines) for lines, names in together.items()]


def _as_data(made: Made) -> dict[str, object]:
    """`origins`: of what brokers and topics do not take from the defaults."""
    return {
        "schema": 1,
        "producers": {
            name: [{"name": line.name, "value": line.value, "origin": line.origin, "changed_by": line.changed_by or None} for line in lines]
            for name, lines in made.effective.items()
        },
        "topics": {topic.name: dict(topic.given) for topic in made.plan.topics},
        "brokers": {broker.name: _as_they_hold(broker.config) for broker in made.plan.brokers},
        "origins": {whose: {line.name: line.origin for line in lines if not line.origin.startswith("default of ")} for whose, lines in made.cluster.items()},
        "notes": list(made.plan.notes),
    }


def _as_they_hold(config: BrokerConfig) -> dict[str, str]:
    from ksim.release_difference import shown

    return {field.name.replace("_", "."): shown(getattr(config, field.name)) for field in dataclasses.fields(config)}
