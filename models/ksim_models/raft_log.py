"""What a member of the quorum has on its disk: the replicated metadata log, and for whom it has voted.

Kafka: KafkaRaftLog (ReplicatedLog), LeaderEpochFileCache, the file quorum-state. Both are flushed before anybody is answered, so they outlive a power loss.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksim_models.quorum_messages import MetadataEntry


class RaftLog:
    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[MetadataEntry] = ()) -> None:
        self.entries: list[MetadataEntry] = [*entries]

    @property
    def end_offset(self) -> int:
        return len(self.entries)

    @property
    def last_epoch(self) -> int:
        return self.entries[-1].epoch if self.entries else 0

    def is_up_to_date(self, last_epoch: int, end_offset: int) -> bool:
        """Would a candidate with that log take nothing away from this one?"""
        return (last_epoch, end_offset) >= (self.last_epoch, self.end_offset)

    def end_of(self, epoch: int) -> tuple[int, int]:
        """The largest epoch in the log that is not above this one, and where it ends."""
        end = len(self.entries)
        while end and self.entries[end - 1].epoch > epoch:
            end -= 1
        return (self.entries[end - 1].epoch if end else 0), end

    def diverges(self, offset: int, last_epoch: int) -> tuple[int, int] | None:
        """Of a follower whose log ends so: where it has to cut it, or None where it is a beginning of this one."""
        if offset == 0 and last_epoch == 0:
            return None
        epoch, end = self.end_of(last_epoch)
        return None if epoch == last_epoch and end >= offset else (epoch, end)

    def truncate(self, diverging: tuple[int, int]) -> None:
        """ReplicatedLog.truncateToEndOffset."""
        epoch, theirs = diverging
        mine_epoch, mine = self.end_of(epoch)
        offset = min(mine, theirs) if mine_epoch == epoch or not epoch else mine
        del self.entries[offset:]


class RaftDisk:
    __slots__ = ("epoch", "leader", "log", "voted")

    def __init__(self, log: RaftLog, epoch: int, leader: str) -> None:
        self.log = log
        self.epoch = epoch
        self.leader = leader
        """Of that epoch, "" while it is not known."""
        self.voted = ""
        """Who got this voter's vote in that epoch."""
