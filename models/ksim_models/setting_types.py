"""What a setting is: what Kafka allows for it, what somebody wrote and where, how it holds in the end.

Kafka: ConfigDef.ConfigKey. Stricter than the Java client on purpose in one point: a name nobody knows is a mistake, where Java only logs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from ksim_models.profiles import Release

INT_MAX = 2_147_483_647
LONG_MAX = 9_223_372_036_854_775_807
ALWAYS: Release = (0, 0, 0)

Value = int | float | bool | str | None


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
    NUMBER = "a number"
    """With a fraction or without, as librdkafka has some. A whole one is an int here."""
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
    raised: tuple[Release, int] | None = None
    """From which release on the smallest value is larger."""
    choices: tuple[str, ...] = ()
    any_case: bool = False
    """The choices may be written in capitals too."""
    form: str = ""
    """Beside its choices: a pattern that the whole text may match too."""
    is_list: bool = False
    """A text with commas, as Kafka reads a list; blanks around its elements do not count."""
    also: tuple[tuple[str, Value], ...] = ()
    """Other spellings that this client takes for a value."""
    meant: tuple[tuple[str, str], ...] = ()
    """What people write -> what they mean: only to suggest it."""
    advice: str = ""
    """For whoever wrote a number that is not possible."""
    stricter: str = ""
    """Why less is possible here than Kafka itself would take."""
    since: Release = ALWAYS
    """An older release does not know it, and ignores it."""
    until: Release | None = None
    """The first release that does not know it any more."""
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
            case Kind.NUMBER:
                return f'a number from {self.low} to {self.high} ({self.unit.value}), or a text with a unit such as "1.5ms"'
            case _ if self.choices:
                return ", ".join(self.choices)
            case _:
                return "a text that is not empty"

    def at(self, release: Release) -> ConfigKey:
        """As this release has it."""
        return replace(self, low=self.raised[1]) if self.raised is not None and release >= self.raised[0] else self

    def is_known(self, release: Release) -> bool:
        return self.since <= release and (self.until is None or release < self.until)

    def default(self, release: Release) -> Value:
        chosen = self.defaults[0][1]
        for since, value in self.defaults:
            chosen = value if release >= since else chosen
        return chosen


def playing_no_part(reason: str, *names: str, since: Release = ALWAYS, until: Release | None = None) -> tuple[ConfigKey, ...]:
    """Settings of which any value is accepted, with the reason as a note."""
    return tuple(ConfigKey(name, Kind.ANYTHING, ((ALWAYS, None),), no_part=reason, since=since, until=until) for name in names)
