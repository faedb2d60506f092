"""A history: everything that happened in one run, fact by fact, with its moment.

Not Kafka's: the shape follows Jepsen's histories. The digest is the SHA-256 of the packed facts (`ksim.packed`).
So it is a function of the facts alone, whether they are kept or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar, overload

from ksim.lines import SCHEMA, BadLine, HistoryError, canonical, read_fact, shown, write_line
from ksim.packed import PackedFacts
from ksim_models.units import Micros

__all__ = ["History", "HistoryError", "configured"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

RUN_KEYS = ("fact", "at", "schema")
GZIP = b"\x1f\x8b"
WHAT_IT_IS = "a history is JSON lines, as `ksim run --history` writes them"


class History(PackedFacts):
    """Facts in the order in which they happened. `run` is the run line as data: scenario, effective configuration, seed, how; the digest does not cover it."""

    __slots__ = ("run",)

    def __init__(self, run: dict[str, object], *, keep: bool = True) -> None:
        """keep=False: only the digest and the number of facts are remembered."""
        super().__init__(keep=keep)
        self.run = {key: value for key, value in run.items() if key not in RUN_KEYS}

    @overload
    def of(self, one: type[A], /) -> Iterator[tuple[Micros, A]]: ...
    @overload
    def of(self, one: type[A], two: type[B], /) -> Iterator[tuple[Micros, A | B]]: ...
    @overload
    def of(self, one: type[A], two: type[B], three: type[C], /) -> Iterator[tuple[Micros, A | B | C]]: ...
    @overload
    def of(self, *classes: type) -> Iterator[tuple[Micros, Any]]: ...
    def of(self, *classes: type) -> Iterator[tuple[Micros, Any]]:
        """The facts of these classes only; the others are stepped over without being unpacked."""
        return self._select(frozenset(classes))

    def write(self, to: str | Path | TextIO) -> None:
        """As JSON lines, the run line first."""
        if isinstance(to, (str, Path)):
            with open(to, "w", encoding="utf-8", newline="\n") as file:
                self.write(file)
            return
        to.write(canonical({"fact": "run", "at": 0, "schema": SCHEMA} | self.run) + "\n")
        for at, fact in self:
            to.write(write_line(at, fact) + "\n")

    @staticmethod
    def read(source: str | Path | Iterable[str]) -> History:
        """From a file or from lines. Raises HistoryError and nothing else, whatever stands there."""
        if not isinstance(source, (str, Path)):
            return _read_lines(source, str(getattr(source, "name", "history")))
        try:
            with open(source, encoding="utf-8") as file:
                return _read_lines(file, str(source))
        except UnicodeDecodeError as error:
            raise _no_text(Path(source)) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise HistoryError(str(source), 0, f"cannot be read: {reason}") from error


def _no_text(path: Path) -> HistoryError:
    """Where its first byte stands that is none of a text."""
    content = path.read_bytes()
    if content.startswith(GZIP):
        return HistoryError(str(path), 0, f"it is compressed: unpack it first, as in `gunzip -c {path.name} | ksim judge -`", "a gzip file")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        return HistoryError(str(path), line, f"byte {column} is not UTF-8: {WHAT_IT_IS}", f"byte 0x{content[error.start]:02x}")
    return HistoryError(str(path), 0, f"it changed while it was read: {WHAT_IT_IS}")


def configured(run: Mapping[str, object], *path: str) -> dict[str, object]:
    """What a run line says of the effective configuration, down this path; nothing where it does not: a history may be anybody's."""
    found = run.get("config")
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _read_lines(lines: Iterable[str], file: str) -> History:
    history: History | None = None
    number = 0
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _parse(text)
            if history is None:
                history = _first_line(line)
                history.source = file
            elif line.get("fact") == "run":
                raise BadLine('a second "run" line: one file holds one history')
            else:
                history.add(*read_fact(line))
        except BadLine as problem:
            raise HistoryError(file, number, str(problem), text.strip()[:80]) from problem
    if history is None:
        raise HistoryError(file, number, 'no line: the first line of a history is {"fact":"run",...}', "nothing")
    return history


def _parse(text: str) -> dict[str, object]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not JSON ({error}): {WHAT_IT_IS}") from error
    if not isinstance(line, dict):
        raise BadLine(f"given {shown(line)}, possible is one JSON object")
    return line


def _first_line(line: dict[str, object]) -> History:
    if line.get("fact") != "run":
        raise BadLine(f'the first line has fact = {shown(line.get("fact"))}, possible is "run"')
    if line.get("schema") != SCHEMA or isinstance(line.get("schema"), bool):
        raise BadLine(f"schema = {shown(line.get('schema'))}: this ksim reads schema {SCHEMA}")
    return History(line)
