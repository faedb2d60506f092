"""Problems: every mistake of a scenario at once, each with its place, what was given, what is possible and the nearest name.

Kafka's clients stop at the first mistake and only log a setting they do not know; nobody wants to learn of ten mistakes in ten runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, time
from difflib import get_close_matches

from ksim_models.config import Origin, Problem

SHOWN_CHARACTERS = 80


class ScenarioError(Exception):
    """A scenario, or a setting in it, that is not possible. `problems` holds all of them, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))  # Exceptions are rebuilt from their args, by pickle among others.

    @property
    def problems(self) -> tuple[Problem, ...]:
        found: tuple[Problem, ...] = self.args[0]
        return found

    def __str__(self) -> str:
        return "\n".join(f"{place(problem.origin)}: {problem.message}" for problem in self.problems)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """As a person reads: file by file, from top to bottom; the same mistake once."""
    return list(dict.fromkeys(sorted(problems, key=lambda problem: (problem.origin.file, problem.origin.line or 0))))


def row(problem: Problem) -> dict[str, object]:
    """The problem as `--json` prints it."""
    origin = problem.origin
    return {
        "file": origin.file,
        "line": origin.line,
        "given": problem.given,
        "possible": problem.possible,
        "nearest": problem.nearest,
        "message": problem.message,
    }


def place(origin: Origin) -> str:
    """`lost_ack.toml:12`; without a line where there is none, as on the command line."""
    return str(origin)


def nearest(given: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant. Case, and `_` for `-` or `.`, are easily confused and do not count."""
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(_plain(name), name)
    close = get_close_matches(_plain(given[:100]), list(by_plain), n=1, cutoff=0.5)
    return by_plain[close[0]] if close else None


def shown(value: object) -> str:
    """A value as it stands in a file: short, on one line, and printable whatever it is."""
    match value:
        case bool():
            text = "true" if value else "false"
        case int():
            text = str(value) if value.bit_length() < 1000 else f"a number of {value.bit_length()} bits"  # Longer ones Python refuses to print.
        case str():
            text = '"' + "".join(character if character.isprintable() else repr(character)[1:-1] for character in value[:SHOWN_CHARACTERS]) + '"'
        case dict():
            text = "{ " + ", ".join(str(key) for key in list(value)[:8]) + " }" if value else "{}"
        case list() | tuple():
            text = "[" + ", ".join(shown(element) for element in value[:8]) + (", ..." if len(value) > 8 else "") + "]"
        case float() | date() | time():
            text = str(value)
        case _:
            text = f"an object of type {type(value).__name__}"  # Its own text may hold an address in memory.
    return text if len(text) <= SHOWN_CHARACTERS + 2 else text[:SHOWN_CHARACTERS] + " ..."


def listed(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = [*names] or ["nothing"]
    return f"{', '.join(first)} or {last}" if first else last


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-").replace(".", "-").replace(" ", "-")
