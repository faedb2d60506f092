"""Reading a scenario's data: values out, every mistake collected with its place.

Not Kafka's: the reader of ksim's own file. It never stops at a mistake; what cannot be read is None and was reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ksim.problems import listed, nearest, shown
from ksim.scenario_shape import Shape
from ksim.scenario_values import Kind
from ksim.toml_lines import Path
from ksim_models.config import Effective, Origin, Problem, Setting

T = TypeVar("T")

MANY_NAMES = 16  # Of more than these the message shows the nearest only; `possible` has them all.


@dataclass(frozen=True, slots=True)
class Source:
    """Where each part of the data came from."""

    file: str
    origins: Mapping[Path, Origin]

    def of(self, path: Path) -> Origin:
        """The place of the key, or of the first thing in it, or of the nearest table around it."""
        if path and path not in self.origins:
            inside = (origin for other, origin in self.origins.items() if other[: len(path)] == path)
            if (first := next(inside, None)) is not None:
                return first
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return Origin(self.file)


@dataclass(slots=True)
class Reading:
    """All that was found out so far."""

    source: Source
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cluster: dict[str, tuple[Effective, ...]] = field(default_factory=dict)
    """Broker, or "topic NAME" -> its settings as they hold, each with its origin."""

    def problem(self, path: Path, message: str, *, given: str = "", possible: str = "", names: Iterable[str] = (), explained: bool = False) -> None:
        """`names`: those that are possible; the nearest one is suggested. `explained`: the message itself says what is possible."""
        possible_names = list(names)
        close = nearest(given.strip('"'), possible_names) if possible_names else None
        if possible_names and not possible:
            possible = listed(possible_names)
        hint = f" Did you mean {close}?" if close else ""
        endless = close is not None and len(possible_names) > MANY_NAMES
        if possible and possible not in message and not endless and not explained:
            message = f"{message} Possible: {possible}."
        self.problems.append(Problem(given=given, possible=possible, nearest=close, message=message + hint, origin=self.source.of(path)))

    def table(self, path: Path, content: object, shape: Shape) -> Table | None:
        """The table, its unknown keys reported; None if it is no table."""
        if not isinstance(content, dict):
            self.problem(path, f"{name_of(path)} = {shown(content)} is not a table of keys.", given=shown(content), possible=listed(shape))
            return None
        table = Table(self, path, content, shape)
        table.check_keys()
        return table

    def tables(self, path: Path, content: object) -> dict[str, tuple[Path, object]]:
        """A table of tables, such as [topics]: name -> (path, content)."""
        if content is None:
            return {}
        if not isinstance(content, dict):
            self.problem(path, f"{name_of(path)} = {shown(content)} is not a table: write [{name_of(path)}.NAME].", given=shown(content), possible="a table")
            return {}
        return {name: ((*path, name), value) for name, value in content.items()}

    def array(self, path: Path, content: object) -> list[tuple[Path, object]]:
        """An array of tables, such as [[fault]]: (path, content) of each."""
        if content is None:
            return []
        if not isinstance(content, list):
            self.problem(path, f"{name_of(path)} is not an array of tables: write [[{name_of(path)}]].", given=shown(content), possible=f"[[{name_of(path)}]]")
            return []
        return [((*path, number), value) for number, value in enumerate(content)]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file."""

    reading: Reading
    path: Path
    content: Mapping[str, object]
    shape: Shape

    def check_keys(self) -> None:
        for name in self.content:
            if name not in self.shape:
                self.problem(name, f"{self._where()}{name} is not a key that is known here.", given=name, names=list(self.shape))

    def has(self, *names: str) -> bool:
        return any(name in self.content for name in names)

    def inner(self, name: str, shape: Shape, needed: Iterable[str], example: str) -> Table | None:
        """The table that may stand in place of a bare value; None where none does."""
        given = self.content.get(name)
        if not isinstance(given, dict):
            return None
        inner = self.reading.table((*self.path, name), given, shape)
        assert inner is not None
        for key in needed:
            if not inner.has(key):
                inner.problem("", f"{name_of(inner.path)}: {key} is missing.", given=shown(given), possible=example)
        return inner

    def take(self, name: str, kind: Kind[T]) -> T | None:
        """The value, or None where it is absent or was reported."""
        if name not in self.content:
            return None
        return self.read(name, self.content[name], kind)

    def read(self, name: str, value: object, kind: Kind[T]) -> T | None:
        try:
            return kind.read(value)
        except ValueError as reason:
            sentence = str(reason) or f"{shown(value)} is not possible. Possible: {kind.possible}"
            self.reading.problem((*self.path, name), f"{self._where()}{name}: {sentence}.", given=shown(value), possible=kind.possible, explained=True)
            return None

    def choose(self, name: str, names: Iterable[str], what: str) -> str | None:
        """One of these names; the nearest one is suggested."""
        value = self.content.get(name)
        possible = list(names)
        if isinstance(value, str) and value in possible:
            return value
        if value is not None:
            self.problem(name, f"{self._where()}{name}: {shown(value)} is not {what}.", given=shown(value), names=possible)
        return None

    def problem(self, name: str, message: str, *, given: str = "", possible: str = "", names: Iterable[str] = ()) -> None:
        self.reading.problem((*self.path, name), message, given=given or shown(self.content.get(name, "")), possible=possible, names=names)

    def exactly_one(self, first: str, second: str) -> bool:
        """Reports both, and neither."""
        if self.has(first) and self.has(second):
            self.problem(
                second,
                f"{self._where()}{first} and {second} are both given: exactly one is possible.",
                given=f"{first} and {second}",
                possible=f"{first} or {second}",
            )
        elif not self.has(first, second):
            self.problem("", f"{self._where()}neither {first} nor {second} is given: exactly one is needed.", given="neither", possible=f"{first} or {second}")
        return self.has(first) != self.has(second)

    def settings(self) -> list[Setting]:
        """The settings under `config`, in the order of the file, their names flat (`ksim.scenario_data`)."""
        config = self.content.get("config")
        if config is None:
            return []
        path = (*self.path, "config")
        if not isinstance(config, dict):
            self.problem("config", f"{self._where()}config is not a table of settings.", given=shown(config), possible='config.acks = "all"')
            return []
        settings = []
        for name, value in config.items():
            if isinstance(value, bool | int | float | str) or (isinstance(value, list) and all(isinstance(element, str) for element in value)):
                settings.append(Setting(name, value, self.reading.source.of((*path, name))))
            else:
                self.reading.problem(
                    (*path, name), f"{name} = {shown(value)} is not a value of a Kafka setting.", given=shown(value), possible="a text, a number, true or false"
                )
        return settings

    def _where(self) -> str:
        return f"{name_of(self.path)}: " if self.path else ""


def name_of(path: Path) -> str:
    """`workload.0` or `topics.payments`: as a sweep writes it."""
    return ".".join(str(part) for part in path)
