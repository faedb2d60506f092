"""The offsets that groups have committed: what stands in the log, what is committed by it, what waits for the end of a transaction.

Kafka: GroupMetadataManager and GroupMetadata up to 3.9, OffsetMetadataManager since 4.0 (GC-1, GC-4, GC-5, GC-9).
"""

from __future__ import annotations

from collections.abc import Container

from ksim_models.machine import message

NOTHING = -1


@message
class OffsetRecord:
    """A record of __consumer_offsets: the next offset that this group is to read from a partition. Below 0: a tombstone."""

    group: str
    partition: str
    offset: int
    leader_epoch: int = -1


@message
class Stored:
    """As it stands in the log, at `at`."""

    at: int
    offset: int
    leader_epoch: int


Key = tuple[str, str]
"""Group and partition."""


class GroupOffsets:
    """Of one partition of __consumer_offsets. `visible_at_once`: up to 3.9 an offset is taken in when it is committed; since 4.0 when it is written,
    and read when the high watermark has passed it.
    """

    def __init__(self, *, visible_at_once: bool) -> None:
        self.visible_at_once = visible_at_once
        self.committed: dict[Key, list[Stored]] = {}
        """Oldest first; of those below the high watermark only the last counts."""
        self.pending: dict[int, dict[Key, Stored]] = {}
        """By producer id: what a transaction will commit (GC-4)."""
        self.writing: dict[Key, int] = {}
        """How many commits of it are under way, up to 3.9."""

    def put(self, record: OffsetRecord, at: int) -> None:
        """An older record never takes the place of a newer one."""
        known = self.committed.setdefault((record.group, record.partition), [])
        if not known or known[-1].at < at:
            known.append(Stored(at, record.offset, record.leader_epoch))

    def hold(self, producer_id: int, record: OffsetRecord, at: int) -> None:
        """Part of a transaction: pending until its end."""
        self.pending.setdefault(producer_id, {})[record.group, record.partition] = Stored(at, record.offset, record.leader_epoch)

    def end(self, producer_id: int, *, committed: bool) -> None:
        """GC-4: each is kept unless a newer one was committed otherwise. The end of a transaction that nobody knows is ignored."""
        held = self.pending.pop(producer_id, {})
        if committed:
            for (group, partition), stored in held.items():
                self.put(OffsetRecord(group, partition, stored.offset, stored.leader_epoch), stored.at)

    def delete(self, partitions: Container[str]) -> tuple[OffsetRecord, ...]:
        """Their topic is gone: what is to be written for it. What transactions have pending for them goes at once, as up to 3.9 all does."""
        keys = dict.fromkeys(key for key, known in self.committed.items() if key[1] in partitions and known[-1].offset >= 0)
        for held in self.pending.values():
            for key in [key for key in held if key[1] in partitions]:
                del held[key]
                if not self.visible_at_once:
                    keys[key] = None
        if self.visible_at_once:
            for key in keys:
                del self.committed[key]
        return tuple(OffsetRecord(*key, NOTHING) for key in keys)

    def replay(self, record: OffsetRecord, at: int) -> None:
        """Outside a transaction. Since 4.0 the end of a topic also takes what transactions have pending."""
        self.put(record, at)
        if record.offset < 0 and not self.visible_at_once:
            for held in self.pending.values():
                held.pop((record.group, record.partition), None)

    def read(self, group: str, partition: str, high_watermark: int) -> Stored | None:
        """What is committed."""
        known = self.committed.get((group, partition))
        if not known:
            return None
        if self.visible_at_once:
            return known[-1]
        while len(known) > 1 and known[1].at < high_watermark:
            known.pop(0)
        return known[0] if known[0].at < high_watermark else None

    def newest(self, group: str, partition: str) -> Stored | None:
        """What is written, committed or not."""
        known = self.committed.get((group, partition))
        return known[-1] if known else None

    def is_unstable(self, group: str, partition: str) -> bool:
        """GC-5: a transaction may change it."""
        key = group, partition
        return bool(self.writing.get(key)) or any(key in held for held in self.pending.values())

    def writes(self, group: str, partition: str, by: int) -> None:
        self.writing[group, partition] = self.writing.get((group, partition), 0) + by
