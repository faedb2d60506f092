"""A file that is written from time to time: what it says is what was true then.

Kafka: OffsetCheckpointFile, LogManager.checkpointLogRecoveryOffsets and checkpointLogStartOffsets.
"""

from __future__ import annotations

from ksim_models.units import NEVER, Micros


class Checkpoint:
    """A number that a task writes into a file every so often, and fsyncs: the file holds what it was when the last such moment passed."""

    __slots__ = ("changed_at", "every", "first", "now_is", "written")

    def __init__(self, every: Micros) -> None:
        self.every = every or NEVER
        self.first: Micros = 0
        self.now_is = 0
        self.written = 0
        self.changed_at: Micros = 0

    def _written_by(self, now: Micros) -> int:
        """How often the task has run."""
        return (now - self.first) // self.every

    def set(self, value: int, now: Micros) -> None:
        self.written = self.read(now)
        self.now_is, self.changed_at = value, now

    def read(self, now: Micros) -> int:
        """What the file says."""
        return self.now_is if max(-1, self._written_by(now)) > max(-1, self._written_by(self.changed_at)) else self.written

    def write(self, now: Micros) -> None:
        """As a clean shutdown does."""
        self.written, self.changed_at = self.now_is, now

    def stop(self, now: Micros) -> None:
        """The process is gone, and with it the task."""
        self.written, self.first = self.read(now), NEVER

    def boot(self, value: int, now: Micros, first: Micros) -> None:
        """A new process reads the file; its task runs for the first time at `first`."""
        self.written, self.now_is, self.changed_at, self.first = self.read(now), value, now, first
