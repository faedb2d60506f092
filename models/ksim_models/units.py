"""Time is an integer of microseconds: ties are exact and sums do not drift."""

from __future__ import annotations

Micros = int

MILLISECOND: Micros = 1_000
SECOND: Micros = 1_000_000
NEVER: Micros = 2**61  # Not more: beyond 2**62 a compiled integer is an object of its own.
LONG_AGO: Micros = -NEVER
"""Before anything happened."""


def ms(count: int) -> Micros:
    """A duration of whole milliseconds, the unit of Kafka's settings."""
    return count * MILLISECOND


def s(count: int) -> Micros:
    """A duration of whole seconds."""
    return count * SECOND


def show(now: Micros) -> str:
    """A moment as a person reads it, in milliseconds: `show(495_800)` is `495.8 ms`."""
    whole, rest = divmod(abs(now), MILLISECOND)
    sign = "-" if now < 0 else ""
    digits = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{sign}{whole:,}{digits} ms".replace(",", "_")
