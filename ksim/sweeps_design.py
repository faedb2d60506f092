"""The design of a sweep: points spread over ranges of values, instead of the grid of a few values of each.

Not Kafka's: scenario.md, section 5, `[sweep.design]`. The points are a function of the design alone: the same on every machine.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from importlib.util import find_spec

from ksim.dice import Dice
from ksim.problems import listed, nearest, shown
from ksim.scenario_file import failure
from ksim.scenario_values import BIT_RATE, BIT_RATE_UNITS, LARGEST_SEED, exact
from ksim.sweeps_grid import MOST_CONFIGURATIONS, Axis, refuse_idle
from ksim_models.quantities import has_unit, parse_duration_us, parse_size

KINDS = ("sobol", "random")
DESIGN_KEYS = ("kind", "points", "seed")
RANGE_KEYS = ("from", "to", "log")
RANGE = "{ from = 1, to = 100 }, with log = true to spread it over the orders of magnitude"
POINTS = f"a whole number from 1 to {MOST_CONFIGURATIONS:_}; of sobol best a power of two"
SEED = "a whole number from 0 to 2**64 - 1"
FIGURES = Context(prec=30)
KEPT = Context(prec=20)
SIGNIFICANT = Context(prec=6)
"""Digits of a number that is not whole: enough to tell any two configurations apart."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """key: of the design, or the dotted name of an axis; "" for the design as a whole."""

    key: str
    message: str
    given: object
    possible: str
    close: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """From one end to the other, both in `unit`."""

    low: Fraction
    high: Fraction
    unit: str
    """"" for a bare number, "number" for one that need not be whole."""
    log: bool

    def value(self, place: Fraction) -> object:
        """place: from 0, the lower end, to 1. Each whole value has the same share of it (with `log`, of its logarithm)."""
        if self.unit == "number":
            found = self._between(self.low, self.high, place)
            return float(SIGNIFICANT.divide(Decimal(found.numerator), Decimal(found.denominator)))
        whole = min(int(self._between(self.low, self.high + 1, place)), int(self.high))
        return f"{whole}{self.unit}" if self.unit else whole

    def _between(self, low: Fraction, high: Fraction, place: Fraction) -> Fraction:
        if not self.log:
            return low + place * (high - low)
        grown = FIGURES.ln(_decimal(high / low))
        return low * Fraction(KEPT.plus(FIGURES.exp(FIGURES.multiply(grown, _decimal(place)))))


def _decimal(number: Fraction) -> Decimal:
    return FIGURES.divide(Decimal(number.numerator), Decimal(number.denominator))


def is_range(given: object) -> bool:
    """A table that says from where to where, not one of further paths."""
    return isinstance(given, dict) and any(key in given and not isinstance(given[key], (dict, list)) for key in RANGE_KEYS)


def read_range(given: object) -> Range:
    """Raises ValueError with a sentence that goes behind the axis' name."""
    if not isinstance(given, Mapping):
        why = ": a list of values is an axis of the grid, and stands in [sweep]" if isinstance(given, list) else ""
        raise ValueError(f"= {shown(given)} is not a range{why}")
    for key in given:
        if key not in RANGE_KEYS:
            raise ValueError(f"has no {shown(key)}")
    for key in ("from", "to"):
        if key not in given:
            raise ValueError(f"= {shown(given)} has no {key}")
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"has log = {shown(log)}, which is neither true nor false")
    low, high, unit = _ends(given["from"], given["to"])
    if low >= high:
        raise ValueError(f"goes from {shown(given['from'])} to {shown(given['to'])}: the first must be smaller")
    if log and low <= 0:
        raise ValueError(f"goes from {shown(given['from'])}: with log = true it must begin above 0")
    return Range(low, high, unit, log)


def _ends(low: object, high: object) -> tuple[Fraction, Fraction, str]:
    """Both in one unit: whole milliseconds, bytes or kbit/s, and finer ones only where an end is."""
    if isinstance(low, str) and isinstance(high, str) and (first := BIT_RATE.fullmatch(low.strip())) and (last := BIT_RATE.fullmatch(high.strip())):
        return _kilobits(first), _kilobits(last), "kbit/s"
    if has_unit(low) or has_unit(high):
        for read, amount, unit, finer in ((parse_duration_us, 1000, "ms", "us"), (parse_size, 1, "", "")):
            try:
                ends = read(low), read(high)
            except ValueError:
                continue
            whole = all(end % amount == 0 for end in ends)
            return (Fraction(ends[0], amount), Fraction(ends[1], amount), unit) if whole else (Fraction(ends[0]), Fraction(ends[1]), finer)
    try:
        return exact(low), exact(high), "" if isinstance(low, int) and isinstance(high, int) else "number"
    except ValueError:
        what = "which are not two of a kind: numbers, durations, sizes or rates of bits"
        raise ValueError(f"goes from {shown(low)} to {shown(high)}, {what}") from None


def _kilobits(written: re.Match[str]) -> Fraction:
    return Fraction(f"{written[1]}.{written[2] or 0}") * BIT_RATE_UNITS[written[3]] / 1000


def read_design(design: Mapping[str, object], ranges: Iterable[tuple[str, object]]) -> tuple[Axis | None, list[Mistake]]:
    """design: its own keys; ranges: of each axis. None where there are mistakes."""
    mistakes: list[Mistake] = []
    kind, points, seed = design.get("kind"), design.get("points"), design.get("seed", 0)
    if not isinstance(kind, str) or kind not in KINDS:
        close = nearest(kind, KINDS) if isinstance(kind, str) else None
        message = f"kind = {shown(kind)} is not known." if "kind" in design else "a design needs a kind."
        mistakes.append(Mistake("kind" if "kind" in design else "", message, kind if "kind" in design else "no kind", listed(KINDS), close))
    if isinstance(points, bool) or not isinstance(points, int) or not 1 <= points <= MOST_CONFIGURATIONS:
        message = f"points = {shown(points)} is not possible." if "points" in design else "a design needs points."
        mistakes.append(Mistake("points" if "points" in design else "", message, points if "points" in design else "no points", POINTS))
        points = 1
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        mistakes.append(Mistake("seed", f"seed = {shown(seed)} is not possible.", seed, SEED))
        seed = 0
    elif "seed" in design and kind == "sobol":
        mistakes.append(Mistake("seed", "a sobol design has no seed: its points are always the same.", seed, 'no seed, or kind = "random"'))
    axes: dict[str, Range] = {}
    for name, given in ranges:
        try:
            axes[name] = read_range(given)
        except ValueError as wrong:
            mistakes.append(Mistake(name, f"{name} {wrong}.", given, RANGE, _close(name, given)))
    if not axes and not mistakes:
        mistakes.append(Mistake("", "a design without an axis has nothing to spread over.", "no axis", f"producers.p1.config.linger.ms = {RANGE}"))
    if kind == "sobol" and find_spec("scipy") is None:
        mistakes.append(Mistake("kind", "a sobol design needs scipy, which is not installed.", kind, "pip install 'ksim-kafka[sweep]', or kind = \"random\""))
    if mistakes:
        return None, mistakes
    assert isinstance(kind, str)
    found = _values(list(axes.values()), _places(kind, points, list(axes), seed))
    return Axis(tuple(axes), found, drawn=True), []


def _close(name: str, given: object) -> str | None:
    """The key that was probably meant, of a range or of the design."""
    if isinstance(given, Mapping):
        return next((nearest(str(key), RANGE_KEYS) for key in given if key not in RANGE_KEYS), None)
    return None if isinstance(given, list) else nearest(name, DESIGN_KEYS)


def _places(kind: str, points: int, names: Sequence[str], seed: int) -> Iterable[tuple[Fraction, ...]]:
    if kind == "sobol":
        return _sobol(len(names), points)
    dice = Dice(seed)  # By the axis' name: another axis changes nothing in this one.
    return (tuple(Fraction(dice.at("design", name, number)) for name in names) for number in range(points))


def _sobol(axes: int, points: int) -> list[tuple[Fraction, ...]]:
    """Each in [0, 1), in 2**-30ths; the first is the lower end of every axis."""
    from scipy.stats import qmc  # It takes a second, and belongs to the extra `sweep`.

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # That powers of two are better balanced: the reference says so.
        found = qmc.Sobol(axes, scramble=False).random(points)
    return [tuple(map(Fraction, point)) for point in found.tolist()]


def _values(axes: Sequence[Range], places: Iterable[tuple[Fraction, ...]]) -> tuple[tuple[object, ...], ...]:
    """Points that fall on the same values are one configuration."""
    return tuple(dict.fromkeys(tuple(axis.value(place) for axis, place in zip(axes, at)) for at in places))


def design_of(given: Mapping[str, object], where: str) -> list[Axis]:
    """Of a mapping in Python: kind, points, and a range for each path. Raises ScenarioError for its first mistake."""
    head = {key: value for key, value in given.items() if key in DESIGN_KEYS}
    ranges = [(key, _in_the_files_spelling(value)) for key, value in given.items() if key not in DESIGN_KEYS]
    axis, mistakes = read_design(head, ranges)
    for mistake in mistakes:
        hint = f" Did you mean {mistake.close}?" if mistake.close else ""
        message = f"design: {mistake.message} Possible: {mistake.possible}.{hint}"
        raise failure(where, None, message, given=shown(mistake.given), possible=mistake.possible, close=mistake.close)
    assert axis is not None
    for name in axis.names:
        refuse_idle(name, where, None)
    return [axis]


def _in_the_files_spelling(given: object) -> object:
    return {"from" if key == "from_" else key: value for key, value in given.items()} if isinstance(given, Mapping) else given
