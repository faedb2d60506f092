"""A scenario: what is configured, what is sent and what goes wrong, as data; from a file, from Python, and from there to a plan.

Not Kafka's: the public contract of ksim (docs of the scenario file). A scenario never contains code, and never changes: every change is a new one.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from ksim.chaos import struck, written_out
from ksim.plan import Plan
from ksim.problems import ScenarioError, shown
from ksim.scenario_change import Change, change_at, changes_of, once_each, placed
from ksim.scenario_data import Data, normal, with_setting, without_secrets
from ksim.scenario_file import built_in, built_in_names, find, parse, properties
from ksim.scenario_plan import Made, make_plan
from ksim.scenario_reading import Reading, Source
from ksim.scenario_values import LARGEST_SEED, SEED
from ksim.toml_lines import Path
from ksim_models.config import Effective, Origin, Problem, Setting

FROM_PYTHON = "<Scenario>"


Given: TypeAlias = "Scenario | str | FilePath | Mapping[str, Any]"
"""What may stand for a scenario in Python."""


class Scenario:
    """The scenario as data. Two are equal when their data is, however they were written.

    `Scenario(title=..., topics={...}, producers={...}, workload=[...], fault=[...])` takes the file's own keys.
    Where Python reserves a word it takes an underscore: `for_`, `from_`.
    """

    _data: Data
    _source: Source
    _folder: FilePath | None
    _found: tuple[Problem, ...]
    _made: Made | None

    def __init__(self, **tables: object) -> None:
        self._fill(tables, {}, FROM_PYTHON, None, underscored=True)
        self.check()

    @classmethod
    def load(cls, name_or_path: str | FilePath, *, check: bool = True) -> Scenario:
        """A NAME is a built-in scenario; with `/` or ending in `.toml` it is a file; `-` is standard input. `check=False` leaves all mistakes to `plan`."""
        found = find(name_or_path if isinstance(name_or_path, str) else _as_file(name_or_path))
        return cls._from_text(found.text, found.file, found.folder, check)

    @classmethod
    def loads(cls, text: str, file: str = "<string>", *, check: bool = True) -> Scenario:
        """From the text of a scenario file."""
        return cls._from_text(text, file, None, check)

    @classmethod
    def of(cls, given: Given) -> Scenario:
        """Whatever stands for one: itself, a NAME or a file as of `load`, or a dict in the file's own spelling."""
        if isinstance(given, Scenario):
            return given
        if isinstance(given, (str, FilePath)):
            return cls.load(given)
        if isinstance(given, Mapping):
            return cls(**given)
        raise TypeError(f"{type(given).__name__} is no scenario: give a Scenario, the name of a built-in one, the path of a file, or a dict.")

    def check(self) -> Scenario:
        """Raises ScenarioError with all mistakes; a missing seed is none yet."""
        if problems := self._make().problems:
            raise ScenarioError(problems)
        return self

    def examined(self) -> Made:
        """The plan without a seed, and all there is to say about it, mistakes included: for whoever compares what may not be possible."""
        return self._make()

    def plan(self, seed: int | None = None) -> Plan:
        """Everything filled in and resolved. Raises ScenarioError with all mistakes, a missing seed among them."""
        made = self._make()
        problems = list(made.problems)
        chosen = made.seed if seed is None else seed
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED):
            message = f"seed = {shown(seed)} is not possible. Possible: {SEED.possible}."
            problems.append(Problem(given=shown(seed), possible=SEED.possible, nearest=None, message=message, origin=Origin("seed")))
        if chosen is None and "seed" not in self._data:
            message = "no seed is given, and there is no default: "
            message += "write seed = 7 in the scenario, --seed 7 on the command line, or simulate(scenario, seed=7) in Python."
            problems.append(Problem(given="no seed", possible="a whole number from 0", nearest=None, message=message, origin=Origin(self._source.file)))
        if problems:
            raise ScenarioError(problems)
        assert chosen is not None
        return struck(replace(made.plan, seed=chosen, data={**without_secrets(self._data), "seed": chosen}))

    def plain(self, seed: int | None = None) -> Scenario:
        """With every strike of its [[chaos]] as a [[fault]] of its own, as this seed draws it: to be replayed, changed, or shrunk."""
        plan = self.plan(seed)
        data = {name: value for name, value in self.data.items() if name != "chaos"} | {"seed": plan.seed}
        faults = data.get("fault", [])
        assert isinstance(faults, list)
        if plan.chaos:
            data["fault"] = [*faults, *(fault for strikes in written_out(plan).values() for fault in strikes)]
        changed = Scenario.__new__(Scenario)
        changed._fill(data, {}, self._source.file, self._folder, underscored=True)
        return changed

    def override(
        self,
        settings: Sequence[tuple[str, str]] = (),
        *,
        producer_config: str | None = None,
        producer_props: Sequence[tuple[str, str]] = (),
        kafka: str | None = None,
        client: str | None = None,
        seed: int | None = None,
    ) -> Scenario:
        """What the command line says, stronger than the file: -X, --producer.config, --producer-props, --kafka, --client, --seed. Mistakes show in `plan`."""
        problems: list[Problem] = []
        changes = [Change((key,), value, Origin(f"--{key}")) for key, value in (("kafka", kafka), ("client", client), ("seed", seed)) if value is not None]
        if producer_config is not None:
            try:
                changes += self._for_every_producer(properties(producer_config, problems))
            except ScenarioError as mistake:
                problems += mistake.problems
        props = once_each(producer_props, "--producer-props", problems)
        changes += self._for_every_producer([Setting(key, value, Origin(f"--producer-props {key}={value}")) for key, value in props])
        changes += changes_of(settings, self._data, problems)
        return self._changed(changes, problems)

    def at(self, path: str | Path, value: object) -> Scenario:
        """With another value at this path: "producers.p1.config.acks", "workload.0.rate", "fault.leader-dies.at".

        A name with dots is quoted: 'topics."a.b".partitions'. Raises ScenarioError for a path that leads nowhere.
        """
        return self._changed(change_at(self._data, path, value), [])

    def effective(self) -> dict[str, tuple[Effective, ...]]:
        """Producer -> its settings as they hold in the end, each with its origin."""
        return dict(self._make().effective)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader should know: what plays no part, which defaults were taken."""
        return self._make().plan.notes

    @property
    def title(self) -> str:
        return self._make().plan.title

    @property
    def data(self) -> Data:
        """A copy of the scenario as plain data, in the file's own words."""
        return copy.deepcopy(self._data)

    @property
    def file(self) -> str:
        return self._source.file

    def __eq__(self, other: object) -> bool:
        return self._data == other._data if isinstance(other, Scenario) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        if all(key.isidentifier() for key in self._data):
            return f"Scenario({', '.join(f'{key}={value!r}' for key, value in self._data.items())})"
        return f"Scenario(**{self._data!r})"

    @classmethod
    def _from_text(cls, text: str, file: str, folder: FilePath | None, check: bool) -> Scenario:
        data, origins = parse(text, file)
        scenario = cls.__new__(cls)
        scenario._fill(data, origins, file, folder, underscored=False)
        return scenario.check() if check else scenario

    def _fill(self, tables: Mapping[str, object], origins: Mapping[Path, Origin], file: str, folder: FilePath | None, *, underscored: bool) -> None:
        known = dict(origins)
        reading = Reading(Source(file, known))
        self._data = normal(tables, reading, known, underscored=underscored)
        self._source = reading.source
        self._folder = folder
        self._found = tuple(reading.problems)
        self._made = None

    def _make(self) -> Made:
        if self._made is None:
            self._made = make_plan(self._data, self._source, self._folder, self._found)
        return self._made

    def _for_every_producer(self, settings: Sequence[Setting]) -> list[Change]:
        return [change for setting in settings for change in placed(self._data, setting)]

    def _changed(self, changes: Sequence[Change], problems: Sequence[Problem]) -> Scenario:
        data, origins = self._data, dict(self._source.origins)
        for change in changes:
            data = with_setting(data, change.path, change.value)
            origins[change.path] = change.origin
        changed = Scenario.__new__(Scenario)
        changed._fill(data, origins, self._source.file, self._folder, underscored=True)
        changed._found = (*self._found, *changed._found, *problems)
        return changed


def names() -> list[tuple[str, str]]:
    """The built-in scenarios: (name, title)."""
    return [(name, str(tomllib.loads(built_in(name))["title"])) for name in built_in_names()]


def _as_file(path: FilePath) -> str:
    """A Path is always a file, also without a slash."""
    text = str(path)
    return text if "/" in text or text.endswith(".toml") else f"./{text}"
