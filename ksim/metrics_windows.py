"""Windows: what a rate, an average or a maximum reads at one moment, for a client that samples in windows of 30 seconds.

Kafka: org.apache.kafka.common.metrics.stats: SampledStat, Rate, Avg, Max, WindowedSum, WindowedCount, CumulativeSum (X1 to X3 of the client's rule book).
Moments are whole milliseconds, as Kafka's clock gives them. Reading purges what is over, as in Kafka: what is read depends on when it was read before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan
from typing import Protocol

NANOSECONDS = 1_000_000
MILLISECONDS_OF_A_SECOND = 1_000
MILLISECONDS_OF_AN_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Windows:
    """metrics.num.samples windows of metrics.sample.window.ms."""

    samples: int = 2
    window_ms: int = 30_000
    overlapping_are_kept: bool = True
    """3.8 (pull request 15889): a window counts until its last event is too old; before, until its first moment is."""


class Stat(Protocol):
    def record(self, value: float, now: int) -> None: ...

    def measure(self, now: int) -> float: ...


class Window:
    __slots__ = ("events", "last_event", "start", "value")

    def __init__(self, initial: float, now: int) -> None:
        self.reset(initial, now)

    def reset(self, initial: float, now: int) -> None:
        self.events = 0
        self.start = self.last_event = now
        self.value = initial


class Sampled(ABC):
    """SampledStat: a ring of windows, a new one when the newest is over and something is to be recorded."""

    initial = 0.0

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self.ring: list[Window] = []
        self.most = windows.samples + 1 if windows.overlapping_are_kept else windows.samples
        self.current = 0

    def record(self, value: float, now: int) -> None:
        if not self.ring:
            self.ring.append(Window(self.initial, now))
        window = self.ring[self.current]
        if now - window.start >= self.windows.window_ms:
            window = self._advance(now)
        window.value = self.updated(window.value, value)
        window.events += 1
        window.last_event = now

    def _advance(self, now: int) -> Window:
        self.current = (self.current + 1) % self.most
        if self.current >= len(self.ring):
            self.ring.append(Window(self.initial, now))
        else:
            self.ring[self.current].reset(self.initial, now)
        return self.ring[self.current]

    def measure(self, now: int) -> float:
        self.purge(now)
        return self.combined()

    def purge(self, now: int) -> None:
        expired_after = self.windows.samples * self.windows.window_ms
        for window in self.ring:
            if now - (window.last_event if self.windows.overlapping_are_kept else window.start) >= expired_after:
                window.reset(self.initial, now)

    def oldest(self, now: int) -> int:
        """The first moment of the oldest window."""
        if not self.ring:
            self.ring.append(Window(self.initial, now))
        return min(window.start for window in self.ring)

    @abstractmethod
    def updated(self, total: float, value: float) -> float:
        """The value of a window in which this is recorded too."""

    @abstractmethod
    def combined(self) -> float:
        """What all windows together say."""


class WindowedSum(Sampled):
    def updated(self, total: float, value: float) -> float:
        return total + value

    def combined(self) -> float:
        return sum(window.value for window in self.ring)


class WindowedCount(WindowedSum):
    def updated(self, total: float, value: float) -> float:
        return total + 1


class Avg(WindowedSum):
    """NaN where nothing was recorded (X2)."""

    def combined(self) -> float:
        events = sum(window.events for window in self.ring)
        return super().combined() / events if events else nan


class Max(Sampled):
    initial = -inf

    def updated(self, total: float, value: float) -> float:
        return max(total, value)

    def combined(self) -> float:
        return max((window.value for window in self.ring if window.events), default=nan)


class Min(Sampled):
    initial = inf

    def updated(self, total: float, value: float) -> float:
        return min(total, value)

    def combined(self) -> float:
        return min((window.value for window in self.ring if window.events), default=nan)


class Rate:
    """Per second, or per nanosecond: the sum in the live windows by the time they cover, all but one of them taken as full at least (X1)."""

    def __init__(self, stat: Sampled, units_of_a_ms: float = 1 / MILLISECONDS_OF_A_SECOND) -> None:
        self.stat = stat
        self.units_of_a_ms = units_of_a_ms

    def record(self, value: float, now: int) -> None:
        self.stat.record(value, now)

    def measure(self, now: int) -> float:
        value = self.stat.measure(now)
        return value / (self._covered_ms(now) * self.units_of_a_ms)

    def _covered_ms(self, now: int) -> int:
        windows = self.stat.windows
        elapsed = now - self.stat.oldest(now)
        missing = windows.samples - 1 - elapsed // windows.window_ms
        if missing > 0:
            elapsed += missing * windows.window_ms
        return max(elapsed, 1)


class Total:
    """CumulativeSum."""

    def __init__(self) -> None:
        self.value = 0.0

    def record(self, value: float, now: int) -> None:
        self.value += value

    def measure(self, now: int) -> float:
        return self.value


class Count(Total):
    """Of a meter that counts: each recording is one, whatever it says."""

    def record(self, value: float, now: int) -> None:
        self.value += 1


Make = Callable[[Windows], Stat]

AVG: Make = Avg
MAX: Make = Max
MIN: Make = Min
RATE: Make = lambda windows: Rate(WindowedSum(windows))  # noqa: E731  # A table of makers reads better than four functions.
COUNT_RATE: Make = lambda windows: Rate(WindowedCount(windows))  # noqa: E731
RATIO: Make = lambda windows: Rate(WindowedSum(windows), NANOSECONDS)  # noqa: E731
PER_HOUR: Make = lambda windows: Rate(WindowedCount(windows), 1 / MILLISECONDS_OF_AN_HOUR)  # noqa: E731
TOTAL: Make = lambda windows: Total()  # noqa: E731
COUNT_TOTAL: Make = lambda windows: Count()  # noqa: E731
