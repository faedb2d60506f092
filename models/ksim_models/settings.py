"""Settings as somebody wrote them, read: what is valid, what holds in the end, and everything there is to say about the rest.

Kafka: AbstractConfig's constructor, ConfigDef.parse. `setting_types`, `setting_values` and `setting_names` are its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ksim_models.profiles import Release
from ksim_models.quantities import has_unit, show_given
from ksim_models.setting_names import Catalogue, is_meant_for_kafka, reason_of_family, unknown
from ksim_models.setting_types import ALWAYS, INT_MAX, LONG_MAX, ConfigKey, Effective, Kind, Origin, Problem, Setting, Unit, Value, playing_no_part
from ksim_models.setting_values import INTEGER, Wrong, nearest_of, parse_value, without_ornament

__all__ = [
    "ALWAYS",
    "INT_MAX",
    "LONG_MAX",
    "Catalogue",
    "ConfigKey",
    "Effective",
    "Kind",
    "Origin",
    "Problem",
    "Reading",
    "Setting",
    "Unit",
    "Value",
    "Wrong",
    "in_kafka_spelling",
    "nearest_of",
    "parse_value",
    "playing_no_part",
    "read_settings",
    "spelt",
]


@dataclass(slots=True)
class Reading:
    """What could be read: the settings that were written and are valid, and everything there is to say about the others."""

    catalogue: Catalogue
    release: Release
    version: str
    written: dict[str, Value] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    """What was written and is no value: the default stands in for it, and no conflict may be built on that."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changed: dict[str, tuple[Value, str, str]] = field(default_factory=dict)
    """Name -> (value, "forced by ...", rule)."""

    def can_compare(self, *names: str) -> bool:
        return not any(name in self.unreadable for name in names)

    def value(self, name: str) -> Value:
        """As it holds now: forced, written, or the default."""
        if name in self.changed:
            return self.changed[name][0]
        return self.written[name] if name in self.written else self.catalogue.keys[name].default(self.release)

    def number(self, name: str) -> int:
        value = self.value(name)
        assert isinstance(value, int)
        return value

    def quantity(self, name: str) -> int | float:
        """With a fraction, where it has one."""
        value = self.value(name)
        assert isinstance(value, (int, float))
        return value

    def force(self, name: str, value: Value, because: str, rule: str) -> None:
        self.changed[name] = (value, f"forced by {because}", rule)

    def refuse(self, name: str, possible: str, message: str, nearest: str | None = None) -> None:
        """A setting, valid by itself, does not go with the others."""
        self.problems.append(Problem(f"{name} = {show_given(self.written.get(name))}", possible, nearest, message, self.origins[name]))

    def effective(self) -> tuple[Effective, ...]:
        lines = []
        for key in self.catalogue.keys.values():
            if key.kind is Kind.ANYTHING or not key.is_known(self.release):
                continue
            origin = str(self.origins[key.name]) if key.name in self.written else f"default of {self.version}"
            _, forced_by, rule = self.changed.get(key.name, (None, origin, ""))
            lines.append(Effective(key.name, self.value(key.name), forced_by, rule))
        return tuple(lines)


def read_settings(settings: Sequence[Setting], catalogue: Catalogue, release: Release, version: str) -> Reading:
    """Read settings, weakest first: the last one of a name wins, and only that one is parsed, as in Java's map."""
    reading = Reading(catalogue, release, version)
    winners = {setting.name: setting for setting in settings}
    no_part: dict[str, list[str]] = {}
    for name, setting in winners.items():
        key = catalogue.keys.get(name)
        if key is not None and not key.is_known(release):
            lifetime = f"{name} {_lifetime(key, release)}: {version} does not know it and"
            if catalogue.refuses_unknown:
                given = f"{name} = {show_given(setting.value)}"
                reading.problems.append(Problem(given, "leave it out", None, f"{lifetime} refuses it. {catalogue.unknown}", setting.origin))
            else:
                reading.notes.append(f"{lifetime} ignores it.")
            continue
        reason = key.no_part if key else reason_of_family(name, catalogue)
        if key is None and reason:
            no_part.setdefault(reason, []).append(name)
        elif key is None and setting.origin.own_file and catalogue.foreign and not is_meant_for_kafka(name, catalogue):
            no_part.setdefault(catalogue.foreign, []).append(name)
        elif key is None:
            reading.problems.append(unknown(setting, catalogue))
        else:
            _read_one(setting, key.at(release), reading)
            if reason and name in reading.written:
                no_part.setdefault(reason, []).append(name)
    reading.notes += [f"{', '.join(names)} {'plays' if len(names) == 1 else 'play'} no part: {reason}." for reason, names in no_part.items()]
    return reading


def _read_one(setting: Setting, key: ConfigKey, reading: Reading) -> None:
    parsed = parse_value(key, setting.value)
    given = f"{key.name} = {show_given(setting.value)}"
    if isinstance(parsed, Wrong):
        bare = without_ornament(key, setting.value) if setting.origin.own_file else None
        message = " ".join(_why_not(setting, key, parsed, bare[1] if bare else "", reading.catalogue))
        reading.problems.append(Problem(given, key.possible, bare[0] if bare else parsed.nearest, message, setting.origin))
        reading.unreadable.append(key.name)
        return
    if key.not_yet and parsed != key.default(reading.release):
        default = key.default(reading.release)
        possible = "leave it out" if default is None else f"{show_given(default)} (the default)"
        message = f"{given}: {key.not_yet}: not yet supported. Possible: {possible}."
        reading.problems.append(Problem(given, possible, None, message, setting.origin))
    if setting.origin.own_file and has_unit(setting.value) and key.kind in (Kind.INT, Kind.LONG, Kind.NUMBER):
        reading.notes.append(f"{setting.origin}: {given} is read as {parsed}; {reading.catalogue.reads(key, setting.value)}.")
    reading.written[key.name] = parsed
    reading.origins[key.name] = setting.origin


def _why_not(setting: Setting, key: ConfigKey, wrong: Wrong, ornament: str, catalogue: Catalogue) -> Iterable[str]:
    """What is wrong with a value, what is possible, what was probably meant, and how the client itself would put it."""
    yield f"{key.name} = {show_given(setting.value)} is not possible: {wrong.because}. Possible: {key.possible}."
    if ornament:
        yield ornament
    elif wrong.nearest:
        yield f"Did you mean {wrong.nearest}?"
    elif key.advice and INTEGER.fullmatch(show_given(setting.value).strip('"')):
        yield key.advice
    if says := catalogue.says(key, setting.value):
        yield f"{says}."


def _lifetime(key: ConfigKey, release: Release) -> str:
    came = release < key.since
    number = ".".join(str(part) for part in ((key.since if came else key.until) or ALWAYS)[:2])
    return f"came with Kafka {number}" if came else f"went with Kafka {number}"


def in_kafka_spelling(settings: Iterable[Setting], keys: Mapping[str, ConfigKey]) -> tuple[tuple[str, str], ...]:
    """What was written, as Kafka's own files would say it: units resolved, the strongest of each name; a name unknown here is kept."""
    found: dict[str, str] = {}
    for setting in settings:
        key = keys.get(setting.name)
        value = parse_value(key, setting.value) if key is not None and key.kind is not Kind.ANYTHING else None
        found[setting.name] = spelt(setting.value if value is None or isinstance(value, Wrong) else value)
    return tuple(found.items())


def spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
