"""The page cache under a log: what the system has written to the disk by itself, and what a power loss leaves.

Linux, not Kafka: vm.dirty_expire_centisecs and vm.dirty_writeback_centisecs. A broker that never flushes relies on it (LR-1, LR-4).
Simplified: only these two timers; memory pressure, which writes earlier, and other file systems' own commit intervals are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ksim_models.units import SECOND, Micros


class PowerLossKeeps(Enum):
    """Of what the system has not saved when the power goes."""

    NOTHING = "nothing"
    """The worst case."""
    DRAWN = "drawn"
    """The pages at its beginning, a share drawn for every log: the system may have begun to write, and the batch at the cut is torn."""


@dataclass(frozen=True, slots=True)
class PageCache:
    """Of one machine."""

    expire: Micros = 30 * SECOND
    """How long a file may hold written and unsaved data (vm.dirty_expire_centisecs = 3000)."""
    scan: Micros = 5 * SECOND
    """How often the system looks for such files (vm.dirty_writeback_centisecs = 500)."""
    phase: Micros = 0
    """When it looked first: every machine has its own rhythm."""

    def writeback_at(self, dirty_since: Micros) -> Micros:
        """When a file written to at `dirty_since`, and saved before, will be saved: all of it, as Linux keeps one age per file."""
        if not self.scan:
            return dirty_since + self.expire
        due = dirty_since + self.expire - self.phase
        return self.phase + -(-due // self.scan) * self.scan
