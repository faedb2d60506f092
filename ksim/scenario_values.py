"""Values of a scenario file: a duration, a size, a rate, a choice; each kind says what is possible, reads it, and describes itself for editors.

Not Kafka's own, but in Kafka's units: a bare integer is milliseconds or bytes. Everything is exact: Fractions, never floats.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from ksim.problems import shown
from ksim_models.quantities import parse_duration_us, parse_size
from ksim_models.units import Micros

T = TypeVar("T")

Schema = Mapping[str, object]

BIT_RATE_UNITS = {"kbit/s": 1_000, "Mbit/s": 1_000_000, "Gbit/s": 1_000_000_000}

LONGEST_US: Micros = 10 * 365 * 86_400_000_000  # Ten years: nobody simulates longer, and a typo of the unit is caught.
LARGEST_BYTES = 2_147_483_647  # Kafka's sizes are 32-bit integers.
MOST_RECORDS = 100_000_000
MOST_BROKERS = 100
MOST_PARTITIONS = 1_000
LARGEST_SEED = 2**64 - 1
MOST_SEEDS = 10_000_000

SEED_RANGE = re.compile(r"\s*([0-9]{1,20})\s*\.\.\s*([0-9]{1,20})\s*", re.ASCII)
BIT_RATE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,15}))?\s*([kMG]bit/s)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What may stand behind a key. `read` raises ValueError, with or without a sentence of its own."""

    possible: str
    read: Callable[[object], T]
    schema: Schema


def read_seeds(text: str) -> range | None:
    """`0..99`, both ends included."""
    match = SEED_RANGE.fullmatch(text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return range(first, last + 1) if first <= last <= LARGEST_SEED and last - first < MOST_SEEDS else None


def choice(*words: str) -> Kind[str]:
    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError

    return Kind(" or ".join(f'"{word}"' for word in words), read, {"enum": list(words)})


def whole(low: int, high: int, possible: str = "") -> Kind[int]:
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError

    return Kind(possible or f"a whole number from {low} to {high:_}", read, {"type": "integer", "minimum": low, "maximum": high})


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError


def exact(value: object) -> Fraction:
    """A number as it was written: 0.1 is one tenth. ValueError for nan, inf and what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{shown(value)}: nan and inf are not possible")
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def _duration(value: object) -> Micros:
    amount = parse_duration_us(value)
    if amount > LONGEST_US:
        raise ValueError(f"{shown(value)} is longer than ten years, which is the most")
    return amount


def _positive_duration(value: object) -> Micros:
    amount = _duration(value)
    if amount == 0:
        raise ValueError(f"{shown(value)} is nothing: write a duration above zero")
    return amount


def _size(value: object) -> int:
    amount = parse_size(value)
    if amount > LARGEST_BYTES:
        raise ValueError(f"{shown(value)} is more than {LARGEST_BYTES:_} bytes, which is the most")
    return amount


def _rate(value: object) -> Fraction:
    amount = exact(value)
    if not 0 < amount <= 1_000_000_000:
        raise ValueError(f"{shown(value)}: a rate lies above 0, and at most at 1e9 per second")
    return amount


def _factor(value: object) -> Fraction:
    amount = exact(value)
    if not 1 < amount <= 1_000_000:
        raise ValueError
    return amount


def _skew(value: object) -> Fraction:
    amount = exact(value)
    if not 0 <= amount <= 10:
        raise ValueError
    return amount


def _ratio(value: object) -> int:
    """In millionths."""
    amount = exact(value)
    if not 0 < amount <= 2:
        raise ValueError
    return max(1, round(amount * 1_000_000))


def _probability(value: object) -> float:
    amount = exact(value)
    if not 0 < amount <= 1:
        raise ValueError
    return float(amount)


def _bandwidth(value: object) -> Fraction:
    """In bytes per microsecond."""
    match = BIT_RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    bits_per_second = Fraction(f"{match[1]}.{match[2] or 0}") * BIT_RATE_UNITS[match[3]]
    if bits_per_second == 0:
        raise ValueError
    return bits_per_second / 8 / 1_000_000


QUANTITY_SCHEMA = {"type": ["string", "integer"]}

TEXT = Kind("a text in quotes", _text, {"type": "string", "minLength": 1})
FLAG = Kind("true or false", _flag, {"type": "boolean"})
DURATION = Kind('a duration: "250ms", "1.5s" (us, ms, s, min, h or d), or a bare number of ms', _duration, QUANTITY_SCHEMA)
POSITIVE_DURATION = Kind('a duration above zero: "250ms", "1.5s" (us, ms, s, min, h or d), or a bare number of ms', _positive_duration, QUANTITY_SCHEMA)
SIZE = Kind('a size: "16KiB", "1MB" (B, KiB, MiB, GiB, kB, MB or GB), or a bare number of bytes', _size, QUANTITY_SCHEMA)
RATE = Kind("a number of records per second, above 0", _rate, {"type": "number", "exclusiveMinimum": 0})
FIGURE = Kind("a number", exact, {"type": "number"})
FACTOR = Kind("a number above 1, at most 1_000_000", _factor, {"type": "number", "exclusiveMinimum": 1, "maximum": 1_000_000})
SKEW = Kind("a Zipf exponent from 0 to 10", _skew, {"type": "number", "minimum": 0, "maximum": 10})
RATIO = Kind("a ratio above 0, at most 2", _ratio, {"type": "number", "exclusiveMinimum": 0, "maximum": 2})
PROBABILITY = Kind("a number above 0, at most 1", _probability, {"type": "number", "exclusiveMinimum": 0, "maximum": 1})
BANDWIDTH = Kind('a rate of bits: "1Gbit/s", "10Mbit/s" or "64kbit/s"', _bandwidth, {"type": "string"})
COUNT = whole(1, MOST_RECORDS)
NUMBER = whole(0, MOST_RECORDS)
SEED = whole(0, LARGEST_SEED, "a whole number from 0 to 2**64 - 1")
SEEDS = f"FIRST..LAST, both included, at most {MOST_SEEDS:_} seeds, as in 0..99"
