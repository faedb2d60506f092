"""Which leader epoch began at which offset of a log: how two replicas find out where their histories part.

Kafka: LeaderEpochFileCache; KIP-101, KIP-279. Its file is flushed with every change (LR-10), so it outlives a power loss.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

UNDEFINED = -1


class EpochCache:
    """(epoch, start offset), both strictly increasing (RP-30)."""

    __slots__ = ("entries",)

    def __init__(self, entries: Sequence[tuple[int, int]] = ()) -> None:
        self.entries: list[tuple[int, int]] = list(entries)

    @property
    def latest(self) -> int:
        return self.entries[-1][0] if self.entries else UNDEFINED

    def assign(self, epoch: int, start: int) -> None:
        """The last writer wins; a start never moves later."""
        entries = self.entries
        if entries and entries[-1][0] == epoch and entries[-1][1] <= start:
            return
        while entries and (entries[-1][0] >= epoch or entries[-1][1] >= start):
            entries.pop()
        entries.append((epoch, start))

    def end_offset_for(self, epoch: int, log_end: int) -> tuple[int, int]:
        """Where `epoch` ended here, as (epoch that answers, its end), or UNDEFINED twice (RP-31)."""
        entries = self.entries
        if epoch == UNDEFINED or not entries or epoch > entries[-1][0]:
            return UNDEFINED, UNDEFINED
        if epoch == entries[-1][0]:
            return epoch, log_end
        if epoch < entries[0][0]:
            return epoch, entries[0][1]
        floor = bisect_right(entries, epoch, key=lambda entry: entry[0]) - 1
        return entries[floor][0], entries[floor + 1][1]

    def truncate_from_end(self, end: int) -> None:
        while self.entries and self.entries[-1][1] >= end:
            self.entries.pop()

    def truncate_from_start(self, start: int) -> None:
        """The log now starts at `start`: the epoch that covers it begins there."""
        gone = [entry for entry in self.entries if entry[1] <= start]
        if gone:
            self.entries = [(gone[-1][0], start), *self.entries[len(gone) :]]
