"""One clock for all processes of a replay: microseconds since time zero, on the machine's monotonic clock.

Python's time.monotonic_ns() and Java's System.nanoTime() both read CLOCK_MONOTONIC on Linux, so moments told by a client need no translation.
"""

from __future__ import annotations

import time

from ksim_models.units import Micros


class Clock:
    """Before `start_at` there is no time zero, and moments count from the making of the clock."""

    __slots__ = ("zero_ns",)

    def __init__(self) -> None:
        self.zero_ns = time.monotonic_ns()

    def start_at(self, zero_ns: int) -> None:
        self.zero_ns = zero_ns

    def now(self) -> Micros:
        return self.of(time.monotonic_ns())

    def of(self, monotonic_ns: int) -> Micros:
        return (monotonic_ns - self.zero_ns) // 1000
