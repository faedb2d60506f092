"""A setting: what Kafka allows for it, what somebody wrote, and what is wrong with that.

Kafka: ConfigDef.parseType and its validators. Stricter than the Java client on purpose in one point: a name nobody knows is a mistake, where Java only logs it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ksim_models.profiles import Release
from ksim_models.quantities import DURATIONS, has_unit, parse_duration_us, parse_size, show_given

INT_MAX = 2_147_483_647
LONG_MAX = 9_223_372_036_854_775_807
ALWAYS: Release = (0, 0, 0)

Value = int | bool | str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting was written: a file and a line, "-X", "[defaults]"."""

    file: str
    line: int | None = None
    own_file: bool = field(default=False, compare=False)
    """A user's own .properties file, in which other parts of the program may have settings too."""

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as somebody wrote it: an int, bool, str or list of str out of TOML or Python, always a str out of a .properties file."""

    name: str
    value: object
    origin: Origin


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: what was given, what is possible, the nearest that would do, and all of it in a sentence."""

    given: str
    possible: str
    nearest: str | None
    message: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it holds in the end, and where it came from."""

    name: str
    value: Value
    origin: str
    """"producer.properties:4", "default of 4.3", or "forced by ..."."""
    changed_by: str = ""
    """The rule that changed it, empty where none did."""


class Kind(Enum):
    INT = "an integer"
    LONG = "a long integer"
    BOOLEAN = "a boolean"
    TEXT = "a text"
    ANYTHING = "anything: it plays no part"


class Unit(Enum):
    NONE = ""
    MS = "ms"
    SECONDS = "s"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """What Kafka knows of one setting, and what we make of it."""

    name: str
    kind: Kind
    defaults: tuple[tuple[Release, Value], ...]
    """From which release on which default, oldest first."""
    unit: Unit = Unit.NONE
    low: int = 0
    high: int = LONG_MAX
    choices: tuple[str, ...] = ()
    since: Release = ALWAYS
    """An older release does not know it, and ignores it."""
    no_part: str = ""
    """Why it changes nothing here: accepted with a note."""
    not_yet: str = ""
    """What is missing here for another value than the default: refused by name."""

    @property
    def most(self) -> int:
        """The largest value that both the setting's range and its Java type allow."""
        return min(self.high, INT_MAX) if self.kind is Kind.INT else self.high

    @property
    def field(self) -> str:
        return self.name.replace(".", "_")

    @property
    def possible(self) -> str:
        match self.kind:
            case Kind.BOOLEAN:
                return "true or false"
            case Kind.INT | Kind.LONG:
                if self.unit is Unit.NONE:
                    return f"an integer from {self.low} to {self.most}"
                example = '"16KiB"' if self.unit is Unit.BYTES else '"1.5s"'
                return f"an integer from {self.low} to {self.most} ({self.unit.value}), or a text with a unit such as {example}"
            case _ if self.choices:
                return ", ".join(self.choices)
            case _:
                return "a text that is not empty"

    def default(self, release: Release) -> Value:
        chosen = self.defaults[0][1]
        for since, value in self.defaults:
            chosen = value if release >= since else chosen
        return chosen


def playing_no_part(reason: str, *names: str) -> tuple[ConfigKey, ...]:
    """Settings of which any value is accepted, with the reason as a note."""
    return tuple(ConfigKey(name, Kind.ANYTHING, ((ALWAYS, None),), no_part=reason) for name in names)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All the settings that one kind of machine has, and what to say about a name that is not among them."""

    whose: str
    """"producer", "broker" or "topic"."""
    keys: Mapping[str, ConfigKey]
    no_part_prefixes: tuple[tuple[str, str], ...]
    """Families of names that play no part, with the reason."""
    elsewhere: Mapping[str, str]
    """Names that are settings of something else: what to do with them."""
    other_names: Mapping[str, str]
    """Names that another client has for the same thing."""
    unknown: str
    """What Kafka itself does with a name that it does not know."""
    client: str = "the Java client"
    """Whose settings these are."""
    other_client: str = "librdkafka"
    """Whose the other names are."""
    foreign: str = ""
    """Why a name like none of its own plays no part, where a user's own file has it; empty: no name may be unknown."""
    aliases: Collection[str] = ()
    """Second names of its settings: only to suggest them, as they have been replaced before."""


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

    def force(self, name: str, value: Value, because: str, rule: str) -> None:
        self.changed[name] = (value, f"forced by {because}", rule)

    def refuse(self, name: str, possible: str, message: str, nearest: str | None = None) -> None:
        """A setting, valid by itself, does not go with the others."""
        self.problems.append(Problem(f"{name} = {show_given(self.written.get(name))}", possible, nearest, message, self.origins[name]))

    def effective(self) -> tuple[Effective, ...]:
        lines = []
        for key in self.catalogue.keys.values():
            if key.kind is Kind.ANYTHING or self.release < key.since:
                continue
            origin = str(self.origins[key.name]) if key.name in self.written else f"default of {self.version}"
            _, forced_by, rule = self.changed.get(key.name, (None, origin, ""))
            lines.append(Effective(key.name, self.value(key.name), forced_by, rule))
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value cannot be read."""

    because: str
    nearest: str | None = None


def read_settings(settings: Sequence[Setting], catalogue: Catalogue, release: Release, version: str) -> Reading:
    """Read settings, weakest first: the last one of a name wins, and only that one is parsed, as in Java's map."""
    reading = Reading(catalogue, release, version)
    winners = {setting.name: setting for setting in settings}
    no_part: dict[str, list[str]] = {}
    for name, setting in winners.items():
        key = catalogue.keys.get(name)
        reason = (key.no_part if key else "") or _reason_of_family(name, catalogue)
        if key is None and reason:
            no_part.setdefault(reason, []).append(name)
        elif key is None and setting.origin.own_file and catalogue.foreign and not _is_meant_for_kafka(name, catalogue):
            no_part.setdefault(catalogue.foreign, []).append(name)
        elif key is None:
            reading.problems.append(_unknown(setting, catalogue))
        elif release < key.since:
            since = ".".join(str(number) for number in key.since[:2])
            reading.notes.append(f"{name} came with Kafka {since}: {version} does not know it and ignores it.")
        else:
            _read_one(setting, key, reading)
            if reason and name in reading.written:
                no_part.setdefault(reason, []).append(name)
    reading.notes += [f"{', '.join(names)} {'plays' if len(names) == 1 else 'play'} no part: {reason}." for reason, names in no_part.items()]
    return reading


def _read_one(setting: Setting, key: ConfigKey, reading: Reading) -> None:
    parsed = parse_value(key, setting.value)
    given = f"{key.name} = {show_given(setting.value)}"
    if isinstance(parsed, Wrong):
        hint = f" Did you mean {parsed.nearest}?" if parsed.nearest else ""
        message = f"{given} is not possible: {parsed.because}. Possible: {key.possible}.{hint}"
        reading.problems.append(Problem(given, key.possible, parsed.nearest, message, setting.origin))
        reading.unreadable.append(key.name)
        return
    if key.not_yet and parsed != key.default(reading.release):
        default = key.default(reading.release)
        possible = "leave it out" if default is None else f"{show_given(default)} (the default)"
        message = f"{given}: {key.not_yet}: not yet supported. Possible: {possible}."
        reading.problems.append(Problem(given, possible, None, message, setting.origin))
    if setting.origin.own_file and has_unit(setting.value) and key.kind in (Kind.INT, Kind.LONG):
        reading.notes.append(f"{setting.origin}: {given} is read as {parsed}; Kafka itself takes a bare integer only.")
    reading.written[key.name] = parsed
    reading.origins[key.name] = setting.origin


def in_kafka_spelling(settings: Iterable[Setting], keys: Mapping[str, ConfigKey]) -> tuple[tuple[str, str], ...]:
    """What was written, as Kafka's own files would say it: units resolved, the strongest of each name; a name unknown here is kept."""
    found: dict[str, str] = {}
    for setting in settings:
        key = keys.get(setting.name)
        value = parse_value(key, setting.value) if key is not None and key.kind is not Kind.ANYTHING else None
        plain = setting.value if value is None or isinstance(value, Wrong) else value
        found[setting.name] = str(plain).lower() if isinstance(plain, bool) else str(plain)
    return tuple(found.items())


PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
WRAPPINGS = ("producer.", "producer.override.", "kafka.", "kafka.producer.", "spring.kafka.", "spring.kafka.producer.", "spring.kafka.producer.properties.")
"""Where Connect and Spring keep a producer's settings: the client itself would ignore them."""
INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)  # 20 digits: one more than a long has.


def parse_value(key: ConfigKey, given: object) -> Value | Wrong:
    """The value in Kafka's own unit and type, or what is wrong with it."""
    text = given.strip() if isinstance(given, str) else None
    match key.kind:
        case Kind.ANYTHING:
            return None
        case Kind.BOOLEAN:
            if isinstance(given, bool):
                return given
            if text is not None and text.lower() in ("true", "false"):
                return text.lower() == "true"
            return Wrong("it is no boolean", nearest_of(text or "", ("true", "false")))
        case Kind.TEXT:
            text = str(given) if isinstance(given, int) and not isinstance(given, bool) and INTEGER.fullmatch(show_given(given)) else text
            if isinstance(given, list) and any("," in choice for choice in key.choices):
                text = ",".join(str(element) for element in given)  # Kafka's lists are texts with commas.
            if text is None:
                return Wrong("it is no text")
            if key.choices and text not in key.choices:
                return Wrong("Kafka takes no such value", nearest_of(text, key.choices))
            return text or Wrong("it is empty")
        case Kind.INT | Kind.LONG:
            return _parse_integer(key, text if text is not None else given)


def _parse_integer(key: ConfigKey, given: object) -> int | Wrong:
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        return Wrong("it is no integer")
    if isinstance(given, int) or INTEGER.fullmatch(given):
        number = int(given)
    elif not has_unit(given):
        return Wrong("it is no integer")
    elif key.unit is Unit.NONE:
        return Wrong("it is a plain number, without a unit")
    else:
        try:
            exact = parse_size(given) if key.unit is Unit.BYTES else parse_duration_us(given)
        except ValueError as error:
            return Wrong(str(error))
        number, rest = divmod(exact, 1 if key.unit is Unit.BYTES else DURATIONS[key.unit.value])
        if rest:
            return Wrong(f"it is no whole number of {key.unit.value}")
    if not key.low <= number <= key.most:
        return Wrong("it is out of range")
    return number


def nearest_of(given: str, names: Iterable[str]) -> str | None:
    """The name most like the given one, if any is like it. Only its beginning is looked at, as comparing endless names takes endless time."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(given[:100].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def _reason_of_family(name: str, catalogue: Catalogue) -> str:
    return next((reason for prefix, reason in catalogue.no_part_prefixes if name.startswith(prefix)), "")


def _is_meant_for_kafka(name: str, catalogue: Catalogue) -> bool:
    """A name of Kafka's misspelt, shortened, or in another program's wrapping; all others belong to that program. Odd letters: no such file is meant."""
    plain = name.lower().replace("_", ".").replace("-", ".")
    known = [*catalogue.keys, *catalogue.other_names, *catalogue.elsewhere]
    if not PLAIN_NAME.fullmatch(name) or plain in known or any(plain.startswith(prefix) and plain.removeprefix(prefix) in known for prefix in WRAPPINGS):
        return True
    words = plain.split(".")
    return any(
        plain.startswith(f"{key}.")
        or all(difflib.get_close_matches(word, key.split("."), n=1, cutoff=0.75) for word in words)
        or difflib.SequenceMatcher(None, plain, key).ratio() >= 0.82
        for key in catalogue.keys
    )


def _unknown(setting: Setting, catalogue: Catalogue) -> Problem:
    name = show_given(setting.name).strip('"')
    given = f"{name} = {show_given(setting.value)}"
    if setting.name in catalogue.elsewhere:
        advice = catalogue.elsewhere[setting.name]
        return Problem(given, advice, None, f"{name} is not a {catalogue.whose}'s setting: {advice}.", setting.origin)
    possible = f"a {catalogue.whose} setting by Kafka's own name"
    dotted = setting.name[:100].strip().lower().replace("_", ".").replace("-", ".")
    if dotted in catalogue.other_names:
        nearest = catalogue.other_names[dotted]
        message = f"{name} is {catalogue.other_client}'s name: {catalogue.client}'s is {nearest}. {catalogue.unknown}"
        return Problem(given, possible, nearest, message, setting.origin)
    dotted = next((dotted.removeprefix(prefix) for prefix in WRAPPINGS if dotted.startswith(prefix) and dotted.removeprefix(prefix) in catalogue.keys), dotted)
    near = dotted if dotted in catalogue.keys else nearest_of(dotted, [*catalogue.keys, *catalogue.aliases, *catalogue.other_names])
    near = catalogue.other_names.get(near, near) if near else None
    hint = f" Did you mean {near}?" if near else ""
    return Problem(given, possible, near, f"{name} is not a setting that a {catalogue.whose} knows.{hint} {catalogue.unknown}", setting.origin)
