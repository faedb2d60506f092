"""Options that several commands share, and how their words are read.

Kafka: `--producer.config` and `--producer-props` as kafka-producer-perf-test spells them (`--command-config` and `--command-property` since 4.2).
`-X` is the spelling of librdkafka's programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ksim.scenario import Scenario

F = TypeVar("F", bound=Callable[..., Any])

MANY_WORDS = ("--producer-props", "--command-property")
"""Each takes all the k=v that follow it."""


class NotPossible(click.BadParameter):
    """A value that an option cannot take. `given` and `possible` are for the object that --json prints."""

    def __init__(self, message: str, given: str, possible: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        super().__init__(f"{given!r} {message}: write {possible}.", ctx, param)
        self.given = given
        self.possible = possible


class KeyValue(click.ParamType):  # type: ignore[type-arg]  # Generic for the type checker only.
    name = "k=v"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not equals or not key.strip():
            raise NotPossible("is no setting", str(value), "NAME=VALUE, as in acks=1", param, ctx)
        return key.strip(), rest.strip()


class Seeds(click.ParamType):  # type: ignore[type-arg]  # Generic for the type checker only.
    name = "A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        if isinstance(value, range):
            return value
        from ksim.scenario_values import SEEDS, read_seeds

        seeds = read_seeds(str(value))
        if seeds is None:
            raise NotPossible("is no range of seeds", str(value), SEEDS, param, ctx)
        return seeds


class Step(click.ParamType):  # type: ignore[type-arg]  # Generic for the type checker only.
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ksim.metrics_reading import step_of

        try:
            step_of(str(value))
        except ValueError:
            raise NotPossible("is no time between two readings", str(value), 'whole milliseconds, as in "250ms" or "1s"', param, ctx) from None
        return str(value)


class Seed(click.ParamType):  # type: ignore[type-arg]  # Generic for the type checker only.
    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from ksim.scenario_values import LARGEST_SEED, SEED

        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= LARGEST_SEED):
            raise NotPossible("is no seed", text, SEED.possible, param, ctx)
        return int(text)


class WithSettings(click.Command):
    """A command of which an option may be followed by several k=v, as Kafka's own tools have it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread(args))


def _spread(args: list[str]) -> list[str]:
    """`--producer-props a=1 b=2` becomes the option twice."""
    spread: list[str] = []
    option = ""
    for place, word in enumerate(args):
        if word == "--":
            return [*spread, *args[place:]]
        if word in MANY_WORDS:
            option = word
            if place + 1 == len(args) or not _is_setting(args[place + 1]):
                spread.append(word)  # Nothing follows: click says so.
        elif option and _is_setting(word):
            spread += [option, word]
        else:
            option = ""
            spread.append(word)
    return spread


def _is_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def scenario_options(function: F) -> F:
    """Settings from the command line, stronger than the file."""
    for option in reversed(
        (
            click.option(
                "-X", "settings", metavar="K=V", type=KeyValue(), multiple=True, help="A setting: acks=1, p1.acks=1, topic:NAME.k=v, broker.k=v. Repeatable."
            ),
            click.option("--producer.config", "--command-config", "producer_config", metavar="FILE", help="A .properties file, for every producer."),
            click.option(
                "--producer-props", "--command-property", "producer_props", metavar="K=V ...", type=KeyValue(), multiple=True, help="Producer settings."
            ),
            click.option("--kafka", metavar="X.Y", help="Rules and defaults of this release."),
            click.option("--client", metavar="NAME", help="The client library."),
        )
    ):
        function = option(function)
    return function


def seed_option(function: F) -> F:
    return click.option("--seed", type=Seed(), help="Instead of the seed in the file.")(function)


def presentation_options(function: F) -> F:
    """What is shown of a run, simulated or live."""
    for option in reversed(
        (
            json_option,
            click.option("--history", metavar="OUT", help="Write everything that happened, as JSON lines."),
            click.option("--story", is_flag=True, help="Tell what happened, line by line."),
            click.option("--plot", metavar="OUT.svg", help="Draw what happened over time."),
            click.option("--metrics", metavar="OUT.csv", help="Write every metric over time, as .csv or .jsonl."),
            click.option("--of", metavar="METRIC", multiple=True, help="With --plot: draw this metric over time; `overview` for the usual ones. Repeatable."),
            click.option("--step", type=Step(), default="1s", metavar="TIME", help="From reading to reading of the metrics (default 1s)."),
            click.option("--quiet", is_flag=True, help="The verdict alone."),
            force_option,
        )
    ):
        function = option(function)
    return function


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object.")(function)


def force_option(function: F) -> F:
    return click.option("--force", is_flag=True, help="Overwrite files that exist.")(function)


def changed(
    scenario: Scenario,
    settings: tuple[tuple[str, str], ...],
    producer_config: str | None,
    producer_props: tuple[tuple[str, str], ...],
    kafka: str | None,
    client: str | None,
) -> Scenario:
    return scenario.override(settings, producer_config=producer_config, producer_props=producer_props, kafka=kafka, client=client)


def examples(*lines: str) -> str:
    """For the end of a command's help; a test runs each of them."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
