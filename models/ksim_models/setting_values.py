"""A value as somebody wrote it: the value in Kafka's own unit and type, or what is wrong with it, in Kafka's own words too.

Kafka: ConfigDef.parseType and its validators, whose texts are quoted (C2): all of them are ConfigExceptions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ksim_models.quantities import DURATIONS, has_unit, parse_duration_us, parse_size, show_given
from ksim_models.setting_types import INT_MAX, LONG_MAX, ConfigKey, Kind, Unit, Value

INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)  # 20 digits: one more than a long has.
DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
NUMBER_OF_A_PROGRAM = re.compile(r"(?P<digits>[+-]?[0-9]{1,3}(?:[_,' ]?[0-9]{3})*)(?:\.0+)?[lL]?", re.ASCII)
"""1_000, 1,000, 5L or 5.0: a bare integer was meant."""
LONGEST_GUESSED_AT = 40  # Characters: what is longer is a mistake of another kind.
NUMBERS_BY_NAME = {"Integer.MAX_VALUE": INT_MAX, "Long.MAX_VALUE": LONG_MAX}
BOOLEANS_OF_OTHERS = {
    **dict.fromkeys(("yes", "y", "on", "1", "t", "enable", "enabled"), "true"),
    **dict.fromkeys(("no", "n", "off", "0", "f", "disable", "disabled"), "false"),
}
WITH_UNIT = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(?P<unit>[A-Za-z]{1,12})", re.ASCII)
UNITS_OF_OTHERS = {
    Unit.MS: {
        **dict.fromkeys(("msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
        **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
        **dict.fromkeys(("m", "mins", "minute", "minutes"), "min"),
        **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
        **dict.fromkeys(("day", "days"), "d"),
    },
    Unit.BYTES: {
        **dict.fromkeys(("byte", "bytes"), "B"),
        **dict.fromkeys(("k", "kb", "kib"), "KiB"),
        **dict.fromkeys(("m", "mb", "mib"), "MiB"),
        **dict.fromkeys(("g", "gb", "gib"), "GiB"),
    },
}
TAIL = re.compile(r"(?P<value>.*?)\s*(?:\s[#!]|//|;|,$).*", re.DOTALL)
QUOTES = "\"'`\u201c\u201d\u2018\u2019"


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value cannot be read."""

    because: str
    nearest: str | None = None


def parse_value(key: ConfigKey, given: object) -> Value | Wrong:
    """The value in Kafka's own unit and type, or what is wrong with it."""
    text = given.strip() if isinstance(given, str) else None
    spelt = show_given(given) if isinstance(given, int) and not isinstance(given, bool) else text
    for spelling, value in key.also:
        if spelt is not None and spelt.lower() == spelling:
            return value
    match key.kind:
        case Kind.ANYTHING:
            return None
        case Kind.BOOLEAN:
            if isinstance(given, bool):
                return given
            if text is not None and text.lower() in ("true", "false"):
                return text.lower() == "true"
            return _wrong(key, spelt, "it is no boolean")
        case Kind.TEXT:
            text = spelt if spelt is not None and INTEGER.fullmatch(spelt) else text
            if key.is_list:
                given_list = given if isinstance(given, list) else (text or "").split(",")
                text = ",".join(str(element).strip() for element in given_list)
            if text is None:
                return Wrong("it is no text")
            chosen = text.lower() if key.any_case else text
            if key.choices and chosen not in key.choices and not (key.form and re.fullmatch(key.form, chosen)):
                return _wrong(key, text, "there is no such value")
            return chosen or Wrong("it is empty")
        case Kind.INT | Kind.LONG:
            return _parse_integer(key, text if text is not None else given)
        case Kind.NUMBER:
            return _parse_number(key, text if text is not None else given)


def kafka_says(key: ConfigKey, given: object) -> str:
    """How the Java client, or a broker, refuses a value that `parse_value` cannot read. Empty where Kafka would take it."""
    text = as_kafka_reads(given)
    match key.kind:
        case Kind.BOOLEAN:
            reason = "Expected value to be either true or false"
        case Kind.INT | Kind.LONG:
            largest = INT_MAX if key.kind is Kind.INT else LONG_MAX
            if INTEGER.fullmatch(text.strip()) is None or not -largest - 1 <= int(text) <= largest:
                reason = f"Not a number of type {key.kind.name}"
            elif key.stricter:
                return key.stricter
            elif int(text) < key.low:
                reason = f"Value must be at least {key.low}"
            elif int(text) > key.most:
                reason = f"Value must be no more than {key.most}"
            else:
                return ""
        case _ if key.choices:
            kind = " (case insensitive)" if key.any_case else ""
            reason = f"String must be one of{kind}: {', '.join(choice.upper() if key.any_case else choice for choice in key.choices)}"
        case _:
            reason = "String must be non-empty"
    return f"Kafka says: ConfigException: Invalid value {text.strip() if key.kind is Kind.TEXT else text} for configuration {key.name}: {reason}"


def kafka_reads(key: ConfigKey, given: object) -> str:
    """What becomes of a value with a unit, which ksim takes."""
    del key, given
    return "Kafka itself takes a bare integer only"


def as_kafka_reads(given: object) -> str:
    """The text that a .properties file would hand on."""
    shown = show_given(given)
    text = shown[1:-1] if isinstance(given, str) and shown.endswith('"') else shown.strip('"')
    return text if len(text) <= LONGEST_GUESSED_AT else f"{text[:20]}..."


def nearest_of(given: str, names: Iterable[str]) -> str | None:
    """The name most like the given one, if any is like it. Only its beginning is looked at, as comparing endless names takes endless time."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(given[:100].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def without_ornament(key: ConfigKey, given: object) -> tuple[str, str] | None:
    """The value within quotes or before a comment, neither of which a .properties file has, and a sentence about it. None where that is not the mistake."""
    if not isinstance(given, str):
        return None
    plain = given.strip().strip(QUOTES).strip()
    if plain != given.strip() and not isinstance(parse_value(key, plain), Wrong):
        return plain, f"In a .properties file quotes are part of the value: write {plain}."
    tail = TAIL.fullmatch(given.strip())
    value = tail["value"].strip(QUOTES) if tail else ""
    if value and not isinstance(parse_value(key, value), Wrong):
        return value, f"In a .properties file a value goes to the end of its line, and a comment needs a line of its own: write {value}."
    return None


def _parse_integer(key: ConfigKey, given: object) -> int | Wrong:
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        return Wrong("it is no integer", str(int(given)) if isinstance(given, float) and given.is_integer() else None)
    if isinstance(given, int) or INTEGER.fullmatch(given):
        number = int(given)
    elif not has_unit(given):
        return _wrong(key, given, "it is no integer")
    elif key.unit is Unit.NONE:
        return Wrong("it is a plain number, without a unit")
    else:
        try:
            exact = parse_size(given) if key.unit is Unit.BYTES else parse_duration_us(given)
        except ValueError as error:
            return Wrong(str(error), _in_known_units(key, given))
        number, rest = divmod(exact, 1 if key.unit is Unit.BYTES else DURATIONS[key.unit.value])
        if rest:
            return Wrong(f"it is no whole number of {key.unit.value}")
    if not key.low <= number <= key.most:
        return Wrong("it is out of range")
    return number


def _parse_number(key: ConfigKey, given: object) -> int | float | Wrong:
    """The nearest double, as strtod() has it; without a fraction it is an integer."""
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        return Wrong("it is no number")
    if not isinstance(given, str):
        number = given
    elif DECIMAL.fullmatch(given):
        number = float(given)
    elif not has_unit(given):
        return _wrong(key, given, "it is no number")
    else:
        try:
            number = parse_duration_us(given) / DURATIONS[key.unit.value]
        except ValueError as error:
            return Wrong(str(error), _in_known_units(key, given))
    if not key.low <= number <= key.high:
        return Wrong("it is out of range")
    return int(number) if number == int(number) else number


def _in_known_units(key: ConfigKey, given: str) -> str | None:
    """The same quantity in a unit that is known."""
    match = WITH_UNIT.fullmatch(given.strip())
    units = UNITS_OF_OTHERS.get(key.unit, {})
    return f"{match['number']}{units[match['unit'].lower()]}" if match and match["unit"].lower() in units else None


def _wrong(key: ConfigKey, text: str | None, because: str) -> Wrong:
    """With the value that was probably meant."""
    text = (text or "")[: LONGEST_GUESSED_AT + 1].strip(QUOTES)
    meant = dict(key.meant).get(text.lower())
    if meant is None and key.kind is Kind.BOOLEAN:
        meant = BOOLEANS_OF_OTHERS.get(text.lower()) or nearest_of(text, ("true", "false"))
    elif meant is None and key.kind is Kind.TEXT:
        meant = nearest_of(text, key.choices)
    elif meant is None:
        written = NUMBER_OF_A_PROGRAM.fullmatch(text)
        number = NUMBERS_BY_NAME.get(text) if written is None else int(re.sub("[_,' ]", "", written["digits"]))
        meant = str(number) if number is not None and key.low <= number <= key.most else None
    return Wrong(because, meant)
