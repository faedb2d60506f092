"""Options of the commands that need real Kafka, and what is said where its libraries are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ksim.live.replays import Live

F = TypeVar("F", bound=Callable[..., Any])

LIBRARIES = ("kio", "confluent_kafka", "psutil", "crc32c")


def live_options(function: F) -> F:
    for option in reversed(
        (
            click.option("--cluster", metavar="WHERE", required=True, help="kraft, kraft:VERSION, or HOST:PORT of a cluster that is there already."),
            click.option("--hooks", metavar="FILE", help="Commands that crash, restart, pause and resume the brokers at HOST:PORT."),
            click.option("--on-shared-cluster", "shared", is_flag=True, help="Broker faults although HOST:PORT holds topics that ksim did not create."),
        )
    ):
        function = option(function)
    return function


def opened(cluster: str, hooks: str | None, shared: bool) -> Live:
    """The cluster that the options name; nothing is started before it is entered."""
    from importlib.util import find_spec

    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise click.UsageError(f"real Kafka needs {', '.join(missing)}: pip install 'ksim-kafka[live]'.")
    from ksim.live.replays import Live

    return Live(cluster, hooks=hooks, shared=shared, say=lambda line: click.echo(line, err=True))
