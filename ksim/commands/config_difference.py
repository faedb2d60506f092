"""`ksim config --diff`: what changes for a scenario between two releases, for eyes and for programs.

Not Kafka's: section 4 of the public contract.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from ksim.commands.columns import columns, paragraph

if TYPE_CHECKING:
    from ksim.release_difference import Behaviour, Change, Difference, Remark


def show(found: Difference) -> None:
    before, after = found.releases
    if found.is_empty:
        click.echo(f"nothing that ksim knows differs between {before} and {after}")
        return
    sections = [
        *_settings(found.changes, found.releases),
        *_remarks("only {} refuses", found.refused),
        *_remarks("only {} says", found.noted),
        *_behaviour("the producer behaves differently", [made for made in found.behaviour if made.of == "client" and not made.cannot_matter]),
        *_behaviour("the brokers behave differently", [made for made in found.behaviour if made.of == "brokers" and not made.cannot_matter]),
        *_cannot_matter([made for made in found.behaviour if made.cannot_matter]),
    ]
    click.echo("\n\n".join(sections))


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


def _settings(changes: Sequence[Change], releases: tuple[str, str]) -> Iterable[str]:
    for whose in dict.fromkeys(change.whose for change in changes):
        rows = [(change.name, *_cells(change)) for change in changes if change.whose == whose]
        yield "\n".join([whose, *columns([("setting", *releases), *rows])])


def _cells(change: Change) -> tuple[str, str]:
    """The value, and where it came from unless it is the default."""

    def cell(value: str, origin: str) -> str:
        return value if not origin or origin.startswith("default of ") else f"{value}  ({origin})"

    return cell(change.values[0], change.origins[0]), cell(change.values[1], change.origins[1])


def _remarks(title: str, remarks: Sequence[Remark]) -> Iterable[str]:
    for release in dict.fromkeys(remark.release for remark in remarks):
        texts = [f"{remark.problem.origin}: {remark.text}" if remark.problem else remark.text for remark in remarks if remark.release == release]
        yield "\n".join([title.format(release), *(_point(text) for text in texts)])


def _behaviour(title: str, found: Sequence[Behaviour]) -> Iterable[str]:
    if found:
        yield "\n".join([title, *(_point(made.sentence) for made in found)])


def _cannot_matter(found: Sequence[Behaviour]) -> Iterable[str]:
    """By reason."""
    if found:
        lines = ["differs, and cannot matter here"]
        for reason in dict.fromkeys(made.cannot_matter for made in found):
            lines += [f"  because {reason}:", *(_point(made.sentence, "  ") for made in found if made.cannot_matter == reason)]
        yield "\n".join(lines)


def _point(sentence: str, indent: str = "") -> str:
    return paragraph(sentence, f"{indent}- ", f"{indent}  ")
