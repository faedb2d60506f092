"""Durations and sizes as people write them: "250ms", "1.5s", "16KiB", or a bare integer in the unit that Kafka would take it in.

Not from Kafka, whose settings are bare integers; exact arithmetic, because a rounded setting would be another setting.
"""

from __future__ import annotations

import re
from fractions import Fraction

DURATIONS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
"""Microseconds in each unit."""

SIZES = {"B": 1, "kB": 1_000, "KiB": 1_024, "MB": 1_000_000, "MiB": 1_048_576, "GB": 1_000_000_000, "GiB": 1_073_741_824}
"""Bytes in each unit."""

MOST_DIGITS = 19  # Those of a Java long: what is longer is a mistake, not a quantity.

WRITTEN = re.compile(r"\s*(?P<sign>[+-]?)(?P<whole>[0-9][0-9_]*)(?:\.(?P<part>[0-9]+))?\s*(?P<unit>[A-Za-z]*)\s*", re.ASCII)


def parse_duration_us(given: object) -> int:
    """Microseconds. A bare integer, or a text of digits only, is milliseconds. ValueError says what is wrong and what is possible."""
    return _parse(given, units=DURATIONS, bare="ms", smallest="microsecond", example='"250ms" or "1.5s"', what="duration")


def parse_size(given: object) -> int:
    """Bytes. A bare integer, or a text of digits only, is bytes. ValueError says what is wrong and what is possible."""
    return _parse(given, units=SIZES, bare="B", smallest="byte", example='"16KiB" or "1.5MB"', what="size")


def has_unit(given: object) -> bool:
    """Is it a text that ends in a unit, and not just digits?"""
    match = WRITTEN.fullmatch(given) if isinstance(given, str) else None
    return match is not None and match["unit"] != ""


def show_given(given: object) -> str:
    """A value as it was written in TOML, cut where it is endless."""
    if isinstance(given, bool):
        return "true" if given else "false"
    try:
        text = f'"{given}"' if isinstance(given, str) else str(given)
    except ValueError:  # Python refuses to print an integer of thousands of digits.
        return "an endless integer"
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[:80])
    return printable if len(text) <= 80 else f"{printable}..."


def _parse(given: object, *, units: dict[str, int], bare: str, smallest: str, example: str, what: str) -> int:
    shown = show_given(given)
    possible = f"write an integer ({bare}) or a text with a unit ({' '.join(units)}) such as {example}"
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise ValueError(f"{shown} is no {what}: {possible}")
    if isinstance(given, int):
        whole, part, sign, unit = given, "", "", ""
    else:
        match = WRITTEN.fullmatch(given)
        if match is None or len(match["whole"]) > MOST_DIGITS or len(match["part"] or "") > MOST_DIGITS:
            raise ValueError(f"{shown} is no {what}: {possible}")
        whole, part, sign, unit = int(match["whole"].replace("_", "")), match["part"] or "", match["sign"], match["unit"]
    if whole < 0 or (sign == "-" and (whole or part.strip("0"))):
        raise ValueError(f"{shown} is negative, and a {what} is not: {possible}")
    if part and not unit:
        raise ValueError(f"{shown} has a fraction but no unit: {possible}")
    if unit and unit not in units:
        raise ValueError(f'"{unit}" in {shown} is no unit of a {what}: choose one of {" ".join(units)}, such as {example}')
    exact = (whole + Fraction(int(part or "0"), 10 ** len(part))) * units[unit or bare]
    if exact.denominator != 1:
        raise ValueError(f"{shown} is no whole {smallest}")
    if exact >= 10**MOST_DIGITS:
        raise ValueError(f"{shown} is longer than any {what} that can be simulated: {possible}")
    return int(exact)
