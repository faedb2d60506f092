"""The sweep file: a scenario, axes, seeds and metrics as TOML, with every mistake at its line.

Not Kafka's: scenario.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from ksim.problems import ScenarioError, in_order, listed, nearest, shown
from ksim.scenario import Scenario
from ksim.scenario_change import resolve_path
from ksim.scenario_file import built_in_names, find, parse
from ksim.scenario_values import MOST_SEEDS, read_seeds
from ksim.sweeps_design import DESIGN_KEYS, is_range, read_design
from ksim.sweeps_grid import Axis, checked, distinct, refuse_idle
from ksim.toml_lines import Path
from ksim_models.config import Origin, Problem

KEYS = ("scenario", "seeds", "metrics", "sweep", "format")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class SweepFile:
    scenario: Scenario
    axes: list[Axis]
    seeds: range
    metrics: tuple[str, ...] | None
    """As written; whether they exist is for the sweep to say."""
    file: str
    metrics_line: int | None
    lines: Mapping[str, int | None]
    """Axis -> where it was written."""

    def placed(self, mistake: ScenarioError) -> ScenarioError:
        """What an axis has brought into the scenario is a mistake of the line of that axis."""
        return ScenarioError(
            in_order(
                replace(problem, origin=Origin(self.file, self.lines[problem.origin.file])) if problem.origin.file in self.lines else problem
                for problem in mistake.problems
            )
        )


def read_sweep(path: str | FilePath) -> SweepFile:
    """Raises ScenarioError with all mistakes of the file, or with those of the scenario it names."""
    text = find(str(path) if "/" in str(path) or str(path).endswith(".toml") or str(path) == "-" else f"./{path}")
    data, origins = parse(text.text, text.file)
    reading = _Reading(text.file, origins)
    reading.keys(data)
    scenario = reading.scenario(data.get("scenario"), text.folder)
    seeds = reading.seeds(data.get("seeds"))
    axes = reading.axes(data.get("sweep"))
    metrics = reading.metrics(data.get("metrics"))
    if scenario is not None:
        reading.paths(axes, scenario)
    if reading.problems:
        raise ScenarioError(in_order(reading.problems))
    assert scenario is not None
    assert seeds is not None
    return SweepFile(scenario, axes, seeds, metrics, text.file, reading.line(("metrics",)), reading.lines)


class _Reading:
    def __init__(self, file: str, origins: Mapping[Path, Origin]) -> None:
        self.file = file
        self.origins = origins
        self.problems: list[Problem] = []
        self.lines: dict[str, int | None] = {}
        self.ranges: dict[str, tuple[Path, object]] = {}
        """Of the design, by dotted name: where each stands, and what."""

    def line(self, path: Path) -> int | None:
        origin = self.origins.get(path)
        return origin.line if origin else None

    def problem(self, path: Path, message: str, given: object, possible: str, close: str | None = None) -> None:
        hint = f" Did you mean {close}?" if close else ""
        self.problems.append(Problem(shown(given), possible, close, f"{message} Possible: {possible}.{hint}", Origin(self.file, self.line(path))))

    def keys(self, data: Mapping[str, object]) -> None:
        for key in data:
            if key not in KEYS:
                self.problem((key,), f"there is no {shown(key)} in a sweep file.", key, listed(KEYS), nearest(key, KEYS))
        if data.get("format", FORMAT) != FORMAT or isinstance(data.get("format"), bool):
            self.problem(("format",), f"format = {shown(data['format'])}: this ksim reads format {FORMAT}.", data["format"], str(FORMAT))

    def scenario(self, given: object, folder: FilePath | None) -> Scenario | None:
        if not isinstance(given, str) or not given:
            message = "a sweep needs a scenario." if given is None else f"scenario = {shown(given)} is not a name."
            self.problem(("scenario",), message, given if given is not None else "nothing", "the path of a file, relative to this one, or a built-in name")
            return None
        if "/" not in given and not given.endswith(".toml"):
            if given not in built_in_names():
                message = f"there is no built-in scenario {shown(given)} (a file has a / in its name or ends in .toml)."
                self.problem(("scenario",), message, given, listed(built_in_names()), nearest(given, built_in_names()))
                return None
            return Scenario.load(given, check=False)
        path = (folder / given) if folder is not None else FilePath(given)
        if not path.is_file():
            self.problem(("scenario",), f"the file {path} does not exist.", given, "the path of a scenario, relative to this file")
            return None
        return Scenario.load(path, check=False)

    def seeds(self, given: object) -> range | None:
        found = read_seeds(given) if isinstance(given, str) else None
        if found is None:
            message = "a sweep needs seeds." if given is None else f"seeds = {shown(given)} is not possible."
            self.problem(("seeds",), message, given if given is not None else "nothing", f'"0..99" (both included, at most {MOST_SEEDS:_} seeds)')
        return found

    def metrics(self, given: object) -> tuple[str, ...] | None:
        if given is None:
            return None
        if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
            self.problem(("metrics",), f"metrics = {shown(given)} is not a list of names.", given, 'metrics = ["lost", "ack_p99_ms"]')
            return None
        return tuple(given)

    def paths(self, axes: Sequence[Axis], scenario: Scenario) -> None:
        """Does each axis lead somewhere?"""
        for name in (name for axis in axes for name in axis.names):
            try:
                resolve_path(scenario.data, name)
            except ScenarioError as mistake:
                place = Origin(self.file, self.lines.get(name))
                self.problems += [replace(problem, message=f"{name}: {problem.message}", origin=place) for problem in mistake.problems]

    def axes(self, given: object) -> list[Axis]:
        if given is None:
            return []
        if not isinstance(given, dict):
            self.problem(("sweep",), f"sweep = {shown(given)} is not a table of axes.", given, "[sweep] and one line per axis")
            return []
        axes: list[Axis] = []
        for key, value in given.items():
            if key == "design":
                self._design_table(value)
            elif key == "zip":
                axes += self._zipped(value)
            else:
                axes += self._nested(value, ("sweep", key))
        axes += self._design(given.get("design"))
        try:
            return distinct(axes, self.file)
        except ScenarioError as mistake:
            self.problems += mistake.problems
            return []

    def _design_table(self, given: object) -> None:
        if not isinstance(given, dict):
            self.problem(("sweep", "design"), f"design = {shown(given)} is not a table.", given, '[sweep.design] with kind = "sobol" and points = 64')
            return
        for key, value in given.items():
            if key not in DESIGN_KEYS:
                self._ranges(value, ("sweep", "design", key))

    def _ranges(self, value: object, path: Path) -> None:
        if isinstance(value, dict) and value and not is_range(value):
            for key, inner in value.items():
                self._ranges(inner, (*path, key))
        else:
            self.ranges[_dotted(path)] = (path, value)

    def _design(self, given: object) -> list[Axis]:
        """The axes with a range, wherever they stand: their values move together, point by point."""
        if given is None:
            for name, (path, value) in self.ranges.items():
                message = f"{name}: an axis from ... to ... is one of a design."
                self.problem(path, message, value, '[sweep.design] with kind = "sobol" and points = 64; or a list of values, [1, 10, 100]')
            return []
        if not isinstance(given, dict):
            return []
        head = {key: value for key, value in given.items() if key in DESIGN_KEYS}
        axis, mistakes = read_design(head, [(name, value) for name, (_, value) in self.ranges.items()])
        for mistake in mistakes:
            place: Path = self.ranges[mistake.key][0] if mistake.key in self.ranges else ("sweep", "design", *([mistake.key] if mistake.key else []))
            self.problem(place, f"design: {mistake.message}", mistake.given, mistake.possible, mistake.close)
        if axis is None:
            return []
        self.lines.update((name, self.line(path)) for name, (path, _) in self.ranges.items())
        for name in axis.names:
            try:
                refuse_idle(name, self.file, self.lines[name])
            except ScenarioError as mistake:
                self.problems += mistake.problems
        return [axis]

    def _nested(self, value: object, path: Path) -> list[Axis]:
        """TOML makes tables of dotted paths: they are made flat again here."""
        if is_range(value) and path[:2] != ("sweep", "zip"):
            self.ranges[_dotted(path)] = (path, value)
            return []
        if isinstance(value, dict) and value and not is_range(value):
            return [axis for key, inner in value.items() for axis in self._nested(inner, (*path, key))]
        if not isinstance(value, list):
            possible = "[1, 10, 100]; a range is for [sweep.design]" if isinstance(value, dict) else f"[{shown(value)}]"
            self.problem(path, f"{_dotted(path)} = {shown(value)} is not a list of values.", value, possible)
            return []
        self.lines[_dotted(path)] = self.line(path)
        try:
            return [checked(Axis((_dotted(path),), tuple((element,) for element in value)), self.file, self.line(path))]
        except ScenarioError as mistake:
            self.problems += mistake.problems
            return []

    def _zipped(self, given: object) -> list[Axis]:
        """Each [[sweep.zip]] is one axis of several names."""
        if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
            self.problem(("sweep", "zip"), "zip is not an array of tables.", given, "[[sweep.zip]] and below it axes of equal length")
            return []
        axes = []
        for number, table in enumerate(given):
            path: Path = ("sweep", "zip", number)
            before = len(self.problems)
            parts = [axis for key, value in table.items() for axis in self._nested(value, (*path, key))]
            if len(self.problems) > before:
                continue
            lengths = {axis.names[0]: len(axis.values) for axis in parts}
            if not parts or len(set(lengths.values())) > 1:
                told = ", ".join(f"{name} has {length}" for name, length in lengths.items()) or "there is none"
                self.problem(path, f"axes that move together have the same number of values: {told}.", "[[sweep.zip]]", "axes of equal length")
                continue
            values = tuple(tuple(value for (value,) in together) for together in zip(*(axis.values for axis in parts)))
            axes.append(Axis(tuple(axis.names[0] for axis in parts), values))
        return axes


def _dotted(path: Path) -> str:
    """As the columns are called: without [sweep], [sweep.design] or [[sweep.zip]]; a part with dots outside of a setting is quoted."""
    inside = path[3:] if path[:2] == ("sweep", "zip") else path[2:] if path[:2] == ("sweep", "design") else path[1:]
    in_config = inside.index("config") if "config" in inside else len(inside)
    return ".".join(f'"{part}"' if "." in str(part) and place < in_config else str(part) for place, part in enumerate(inside))
