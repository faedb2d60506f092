"""A broker's log directories: which log stands in which, and what happens when one fails.

Kafka: LogManager (nextLogDirs, handleLogDirFailure), LogDirFailureChannel, ReplicaManager.handleLogDirFailure; KIP-112, KIP-858.
The metadata log stands in the first; the controller writes a no-op record to it every metadata.max.idle.interval.ms (QuorumController, KIP-835), which every
broker copies, and one that cannot halts (SharedServer.raftManagerFaultHandler).
"""

from __future__ import annotations

from ksim_models.units import NEVER, Micros


class Directories:
    """Durable: which logs there are, and which directories are broken. A failure is noticed with the next write."""

    def __init__(self, count: int, checkpoint_every: Micros, metadata_every: Micros = 0) -> None:
        self.count = count
        self.checkpoint_every = checkpoint_every
        self.metadata_every = metadata_every
        self.of: dict[str, int] = {}
        """Per partition, from 0."""
        self.broken: dict[int, None] = {}
        self.noticed: dict[int, None] = {}
        """Those of which this life of the process knows; what stands there is offline."""
        self.look_at: Micros = NEVER
        """When a write fails next: of the high watermarks' checkpoint, which goes to every directory, of the metadata log, or one that was just tried."""

    def place(self, partition: str) -> int:
        """A new log goes where the fewest are, among the directories that work."""
        place = self.of.get(partition)
        if place is None:
            used = list(self.of.values())
            place = min((number for number in range(self.count) if number not in self.noticed), key=used.count)
            self.of[partition] = place
        return place

    def forget(self, partition: str) -> None:
        self.of.pop(partition, None)

    def is_broken(self, partition: str) -> bool:
        return self.of.get(partition) in self.broken

    def is_offline(self, partition: str) -> bool:
        return self.of.get(partition) in self.noticed

    def fail(self, partition: str, now: Micros) -> None:
        """That of this partition ("": the first) takes no more writes: it is full, or broken."""
        place = self.of.get(partition, 0)
        self.broken[place] = None
        intervals = (self.checkpoint_every, 0 if place else self.metadata_every)
        self.look_at = min([self.look_at, *((now // interval + 1) * interval for interval in intervals if interval)])

    def repair(self) -> None:
        """Every directory works again, with what stood in it. A broker finds out when it starts."""
        self.broken.clear()
        self.look_at = NEVER

    def start(self) -> bool:
        """A broker that starts tries every directory; False: none works, or that of the metadata log does not, so it does not start."""
        self.noticed = dict(self.broken)
        self.look_at = NEVER
        return 0 not in self.broken

    def notice(self) -> list[int]:
        """What is newly known to be broken."""
        found = [place for place in self.broken if place not in self.noticed]
        self.noticed.update(dict.fromkeys(found))
        self.look_at = NEVER
        return found

    def offline(self) -> tuple[str, ...]:
        return tuple(partition for partition, place in self.of.items() if place in self.noticed)
