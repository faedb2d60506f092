"""`ksim config --diff`: what changes for a scenario between two releases, for eyes and for programs.

Not Kafka's: section 4 of the public contract.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from ksim.commands.columns import columns

if TYPE_CHECKING:
    from ksim.release_difference import Behaviour, Change, Difference, Remark


def show(found: Difference) -> None:
    before, after = found.releases
    if found.is_empty:
        click.echo(f"nothing that ksim knows differs between {before} and {after}")
        return
    _settings(found.changes, found.releases)
    _remarks("only {} refuses", found.refused)
    _remarks("only {} says", found.noted)
    for of, title in (("client", "the producer behaves differently"), ("brokers", "the brokers behave differently")):
        _behaviour(title, [made for made in found.behaviour if made.of == of and not made.cannot_matter])
    idle = [made for made in found.behaviour if made.cannot_matter]
    if idle:
        click.echo("differs, and cannot matter here")
        for reason in dict.fromkeys(made.cannot_matter for made in idle):
            click.echo(f"  because {reason}:")
            for made in idle:
                if made.cannot_matter == reason:
                    _point(made.sentence, "  ")


def as_json(found: Difference) -> str:
    several = len({change.whose for change in found.changes if change.whose.startswith("producer ")}) > 1
    return json.dumps(
        {
            "schema": 1,
            "releases": list(found.releases),
            "differing": [
                {
                    "name": f"{change.whose.removeprefix('producer ')}.{change.name}" if several and change.whose.startswith("producer ") else change.name,
                    "values": list(change.values),
                    "whose": change.whose,
                    "origins": list(change.origins),
                }
                for change in found.changes
            ],
            "refused": [_row(remark) for remark in found.refused],
            "notes": [{"release": remark.release, "note": remark.text} for remark in found.noted],
            "behaviour": [
                {
                    "of": made.of,
                    "switch": made.switch,
                    "sentence": made.sentence,
                    "cited": made.cited,
                    "can_matter": not made.cannot_matter,
                    "because": made.cannot_matter or None,
                }
                for made in found.behaviour
            ],
        }
    )


def _row(remark: Remark) -> dict[str, object]:
    from ksim.problems import row

    assert remark.problem is not None
    return {"release": remark.release, **row(remark.problem)}


def _settings(changes: Sequence[Change], releases: tuple[str, str]) -> None:
    for whose in dict.fromkeys(change.whose for change in changes):
        click.echo(whose)
        rows = [(change.name, *_cells(change)) for change in changes if change.whose == whose]
        columns([("setting", *releases), *rows])
        click.echo()


def _cells(change: Change) -> tuple[str, str]:
    """The value, and where it came from unless it is the default."""

    def cell(value: str, origin: str) -> str:
        return value if not origin or origin.startswith("default of ") else f"{value}  ({origin})"

    return cell(change.values[0], change.origins[0]), cell(change.values[1], change.origins[1])


def _remarks(title: str, remarks: Iterable[Remark]) -> None:
    remarks = list(remarks)
    for release in dict.fromkeys(remark.release for remark in remarks):
        click.echo(title.format(release))
        for remark in remarks:
            if remark.release == release:
                place = f"{remark.problem.origin}: " if remark.problem is not None else ""
                _point(f"{place}{remark.text}")
        click.echo()


def _behaviour(title: str, found: Sequence[Behaviour]) -> None:
    if found:
        click.echo(title)
        for made in found:
            _point(made.sentence)
        click.echo()


def _point(sentence: str, indent: str = "") -> None:
    """Cut into lines as a page would be; a word, such as a name of a setting, stays whole."""
    click.echo(textwrap.fill(sentence, WIDTH, initial_indent=f"{indent}- ", subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False))


WIDTH = 120
