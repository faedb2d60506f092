"""The grid: every combination of the values of the axes, each as a plan to run or as the reason why Kafka refuses it.

Not Kafka's: scenario.md, section 5.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from numbers import Integral, Real

from ksim.plan import Plan
from ksim.problems import ScenarioError, shown
from ksim.scenario import Scenario
from ksim.scenario_file import failure
from ksim.table import Cell
from ksim_models.config import Problem

PLAYS_NO_PART = ("seed", "title", "expect")
"""In what happens to the records: two scenarios that differ only here are one configuration."""
MOST_CONFIGURATIONS = 1_000_000

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One path, or several that move together: names[i] takes value[i] of each value."""

    names: Names
    values: tuple[tuple[object, ...], ...]
    drawn: bool = False
    """The points of a design: nobody has written them one by one."""


@dataclass(frozen=True, slots=True)
class Configuration:
    cells: dict[str, Cell]
    """Per axis: what stands in its column."""
    hash: str
    plan: Plan | None
    error: str | None
    """Why it is refused."""


def axes_of(over: Mapping[str | Names, Sequence[object]], where: str) -> list[Axis]:
    """Of a mapping in Python: a path to its values, or a tuple of paths to tuples of values that move together."""
    axes = []
    for key, given in over.items():
        names = (key,) if isinstance(key, str) else tuple(key)
        if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
            raise failure(where, None, f"the axis {key} = {shown(given)} is not a list of values.", given=shown(given), possible="[1, 2, 3]")
        values = [value if len(names) > 1 else (value,) for value in given]
        if any(not isinstance(value, (tuple, list)) or len(value) != len(names) for value in values):
            message = f"the axes {', '.join(names)} move together: each value must be a tuple of {len(names)}."
            raise failure(where, None, message, given=shown(list(given)), possible=f"tuples of {len(names)} values")
        axes.append(checked(Axis(names, tuple(tuple(value) for value in values if isinstance(value, (tuple, list)))), where, None))
    return distinct(axes, where)


def checked(axis: Axis, where: str, line: int | None) -> Axis:
    label = ", ".join(axis.names)
    for name in axis.names:
        refuse_idle(name, where, line)
    if not axis.values:
        raise failure(where, line, f"the axis {label} is empty: a grid over nothing has no rows.", given="[]", possible="one value or more")
    seen = [json.dumps([cell(value) for value in values]) for values in axis.values]
    for place, value in enumerate(seen):
        if value in seen[:place]:
            twice = shown(axis.values[place][0] if len(axis.names) == 1 else list(axis.values[place]))
            raise failure(where, line, f"the axis {label} has the value {twice} twice.", given=twice, possible="each value once")
    return axis


def refuse_idle(name: str, where: str, line: int | None) -> None:
    if (head := name.partition(".")[0]) in PLAYS_NO_PART:
        why = "the seeds are those of `seeds`" if head == "seed" else "it changes nothing in what becomes of a record"
        raise failure(where, line, f"{name} is no axis: {why}.", given=name, possible="a setting, or another value that a run depends on")


def distinct(axes: list[Axis], where: str) -> list[Axis]:
    names = [name for axis in axes for name in axis.names]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise failure(where, None, f"{name} is the name of two axes.", given=name, possible="each axis once")
    return axes


def configurations(scenario: Scenario, axes: Sequence[Axis]) -> list[Configuration]:
    """In the order of the axes, the last one moving fastest. Raises ScenarioError for a path that leads nowhere and for a value that no scenario can have."""
    size = 1
    for axis in axes:
        size *= len(axis.values)
    if size > MOST_CONFIGURATIONS:
        message = f"{size:_} configurations are too many for one grid."
        raise failure(scenario.file, None, message, given=f"{size:_}", possible=f"at most {MOST_CONFIGURATIONS:_}")
    found: list[Configuration] = []
    problems: list[Problem] = []
    for values in product(*(axis.values for axis in axes)):
        try:
            found.append(_configuration(scenario, axes, values))
        except ScenarioError as mistake:
            problems += mistake.problems
    if problems:
        drawn = {name for axis in axes if axis.drawn for name in axis.names}
        raise ScenarioError(_one_of_each(problems, drawn))
    if all(configuration.plan is None for configuration in found):
        scenario.check()  # No axis could mend it: then it is the scenario's own mistake.
    return found


def _one_of_each(problems: Sequence[Problem], drawn: Container[str]) -> list[Problem]:
    """The same mistake once, and of all the values of a drawn axis the first that is none."""
    found: dict[object, Problem] = {}
    for problem in problems:
        found.setdefault(problem.origin.file if problem.origin.file in drawn else problem, problem)
    return list(found.values())


def _configuration(base: Scenario, axes: Sequence[Axis], values: Sequence[tuple[object, ...]]) -> Configuration:
    scenario = base
    cells: dict[str, Cell] = {}
    for axis, together in zip(axes, values):
        for name, value in zip(axis.names, together):
            scenario = scenario.at(name, value)
            cells[name] = cell(value)
    identity = config_hash(scenario)
    try:
        plan = scenario.plan(0)
    except ScenarioError as refusal:
        ours = [problem for problem in refusal.problems if problem.origin.file in cells and ".config." not in problem.origin.file]
        if ours:
            raise ScenarioError(ours) from None
        return Configuration(cells, identity, None, "; ".join(problem.message for problem in refusal.problems))
    return Configuration(cells, identity, plan, None)


def config_hash(scenario: Scenario) -> str:
    """Of everything that decides what happens, but the seed: the scenario, and the settings that come out of a user's own file."""
    data = {key: value for key, value in scenario.data.items() if key not in PLAYS_NO_PART}
    effective = {producer: {setting.name: str(setting.value) for setting in settings} for producer, settings in scenario.effective().items()}
    text = json.dumps([data, effective], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def seeded(plan: Plan, seed: int) -> Plan:
    return replace(plan, seed=seed, data={**plan.data, "seed": seed})


def cell(value: object) -> Cell:
    """What stands in the column of an axis: the value itself, a table or an array as JSON."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Integral, Real)):
        return int(value) if isinstance(value, Integral) else float(value)  # numpy's numbers, as a notebook hands them over.
    return json.dumps(value, sort_keys=True, default=str)
