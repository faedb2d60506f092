"""The facts of a replay as they come in, from several processes and not quite in order; a history at the end.

Whoever waits for something (a trigger that counts) is told of each fact at once.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim.history import History
from ksim.live.clock import Clock
from ksim_models.units import Micros


class Book:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.facts: list[tuple[Micros, object]] = []
        self.watchers: list[Callable[[Micros, object], None]] = []

    def note(self, fact: object, at: Micros | None = None) -> None:
        """`at`: when it happened, where another process told it; else now."""
        moment = self.clock.now() if at is None else at
        self.facts.append((moment, fact))
        for watcher in self.watchers:
            watcher(moment, fact)

    def watch(self, watcher: Callable[[Micros, object], None]) -> None:
        self.watchers.append(watcher)

    def history(self, run: dict[str, object]) -> History:
        """In the order of time; what happened in one microsecond in the order in which it was told."""
        history = History(run)
        for at, fact in sorted(self.facts, key=lambda entry: entry[0]):
            history.add(at, fact)
        return history
