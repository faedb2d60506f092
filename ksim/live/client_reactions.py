"""What a replay's application does about a failed send, above librdkafka: send again, stop, or a circuit breaker.

Not Kafka's: ksim_models.on_failure says the same of the simulated one, Client.java of the Java client's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Reaction:
    """What the application does about a failed send."""

    def __init__(self, word: str = "report") -> None:
        """word: "report", "resend", "stop", or "break:FAILURES:MICROSECONDS"."""
        kind, *numbers = word.split(":")
        self.resends, self.stops = kind == "resend", kind == "stop"
        self.open_after, self.half_open_ns = (int(numbers[0]), int(numbers[1]) * 1000) if numbers else (0, 0)
        self.stopped = False
        self.state = "closed"
        self.failures = 0
        self.until = 0
        self.trial = -1
        self.lock = threading.Lock()

    def lets_through(self, number: int, say: Callable[[str, int], None]) -> bool:
        with self.lock:
            if not self.open_after or self.state == "closed":
                return True
            if self.state == "half-open" or time.monotonic_ns() < self.until:
                return False
            self.trial = number
            self._become("half-open", say)
            return True

    def succeeded(self, number: int, say: Callable[[str, int], None]) -> None:
        with self.lock:
            if self.open_after and (self.state == "closed" or number == self.trial):
                self.failures, self.trial = 0, -1
                if self.state != "closed":
                    self._become("closed", say)

    def failed(self, number: int, say: Callable[[str, int], None]) -> None:
        self.stopped = self.stopped or self.stops
        with self.lock:
            if not self.open_after or (self.state != "closed" and number != self.trial):
                return
            self.failures += 1
            if self.state == "closed" and self.failures < self.open_after:
                return
            self.trial, self.until = -1, time.monotonic_ns() + self.half_open_ns
            self._become("open", say)

    def _become(self, state: str, say: Callable[[str, int], None]) -> None:
        self.state = state
        say(state, self.failures)
