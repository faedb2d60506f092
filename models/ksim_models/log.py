"""A replica's log: batches one behind another, which leader epoch began where, how much of it is committed, and how much of it is on the disk.

Kafka: UnifiedLog, LocalLog, LogSegment, LogLoader; KIP-101, KIP-279.
Offsets are exclusive ends: the log end is the next offset to be written, the high watermark the first not known to be committed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from ksim_models.checkpoint import Checkpoint
from ksim_models.config import TopicConfig
from ksim_models.epoch_cache import EpochCache
from ksim_models.messages import RecordBatch
from ksim_models.page_cache import PageCache
from ksim_models.producer_state import ProducerState
from ksim_models.units import NEVER, Micros, ms

AT_ONCE: Micros = -NEVER
ONE_DAY: Micros = ms(86_400_000)


def bytes_in_log(batch: RecordBatch, config: TopicConfig) -> int:
    """A leader writes batches compressed as the topic wants them (LogValidator).

    Simplified: a codec that is not the client's changes no size (models/README.md).
    """
    return batch.raw_bytes if batch.raw_bytes and config.compression_type == "uncompressed" else batch.size_bytes


class Segment:
    """A file of the log. Its batches are those of the log from its base offset to the next segment's."""

    __slots__ = ("base_offset", "first_timestamp", "size_bytes")

    def __init__(self, base_offset: int) -> None:
        self.base_offset = base_offset
        self.size_bytes = 0
        self.first_timestamp: Micros = 0
        """Of its first batch: segment.ms counts from there."""


class Log:
    """One replica of one partition. Survives the crash of its broker's process, but for the high watermark (LR-3); a power loss it survives in part (LR-4)."""

    __slots__ = (
        "active",
        "attend_at",
        "batches",
        "checkpoint_every",
        "checkpointed",
        "closed",
        "config",
        "durable",
        "epochs",
        "flush_at",
        "flushed_at",
        "forget_producers_after",
        "high_watermark",
        "log_end_offset",
        "log_start_offset",
        "page_cache",
        "producers",
        "recovery_point",
        "recovery_points",
        "segments",
        "starts",
        "torn_bytes",
        "touched_at",
        "writeback_at",
    )

    def __init__(
        self,
        checkpoint_every: Micros = 5_000_000,
        *,
        config: TopicConfig | None = None,
        page_cache: PageCache | None = None,
        recovery_points_every: Micros = 60_000_000,
        starts_every: Micros = 60_000_000,
        forget_producers_after: Micros = ONE_DAY,
    ) -> None:
        self.config = config or TopicConfig()
        self.page_cache = page_cache or PageCache()
        self.batches: list[RecordBatch] = []
        self.segments = [Segment(0)]
        self.active = self.segments[0]
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.high_watermark = 0
        self.epochs = EpochCache()
        self.producers = ProducerState()
        self.forget_producers_after = forget_producers_after
        self.checkpoint_every = checkpoint_every or NEVER  # KafkaScheduler runs a period of 0 once, when there is nothing yet.
        self.checkpointed = 0
        self.touched_at: Micros | None = None
        # The disk.
        self.durable = 0
        """Up to here a power loss takes nothing, as far as was looked; `durable_end` says it for a moment."""
        self.recovery_point = 0
        """Up to here Kafka itself has flushed (LR-5)."""
        self.flushed_at: Micros = 0
        self.recovery_points = Checkpoint(recovery_points_every)
        self.starts = Checkpoint(starts_every)
        self.flush_at = self.config.flush_messages
        """The log end at which flush.messages strikes."""
        self.writeback_at: Micros = NEVER
        """When the system will save what is unsaved; NEVER where nothing is."""
        self.attend_at: Micros = AT_ONCE
        """From then on an append has more to look at than whether the segment is full."""
        self.torn_bytes = 0
        self.closed = False
        """Shut down cleanly: the marker file is there (LR-7)."""

    # Append and read.

    def append_as_leader(self, batch: RecordBatch, leader_epoch: int, now: Micros = 0) -> RecordBatch:
        """Stamp offset and leader epoch, remember the producer's sequence, write (BP-29). The caller has judged the sequence."""
        stamped = RecordBatch(
            batch.partition,
            batch.producer,
            batch.records,
            bytes_in_log(batch, self.config),
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence,
            self.log_end_offset,
            leader_epoch,
            batch.max_timestamp,
            0,
            batch.transactional,
            batch.marker,
            batch.payload,
        )
        self.append_as_follower(stamped, now)
        return stamped

    def append_as_follower(self, batch: RecordBatch, now: Micros = 0) -> None:
        """No checks but the offset: a follower takes what its leader has (PS-4)."""
        assert batch.base_offset == self.log_end_offset, "a follower fetches from its own log end (RP-4)"
        if now >= self.attend_at or self.active.size_bytes + batch.size_bytes > self.config.segment_bytes:
            self._attend(batch, now)
        self.active.size_bytes += batch.size_bytes
        if self.epochs.latest != batch.leader_epoch:
            self.epochs.assign(batch.leader_epoch, batch.base_offset)
        self.batches.append(batch)
        self.log_end_offset = end = batch.base_offset + len(batch.records)
        if batch.producer_id >= 0:
            self.producers.remember(batch)
        if end >= self.flush_at:
            self.flush(now)

    def read(self, offset: int, limit_bytes: int) -> tuple[RecordBatch, ...]:
        """Batches from `offset` on, at most `limit_bytes`, but at least one (RP-2)."""
        batches = self.batches
        if offset >= self.log_end_offset:
            return ()
        last = batches[-1]
        if last.base_offset == offset:  # A follower that keeps up asks for the batch just written.
            return (last,)
        first = self._position(offset)
        taken, size = first, 0
        while taken < len(batches) and (taken == first or size + batches[taken].size_bytes <= limit_bytes):
            size += batches[taken].size_bytes
            taken += 1
        return tuple(batches[first:taken])

    def read_until(self, offset: int, end: int, limit_bytes: int, *, at_least_one: bool) -> tuple[RecordBatch, ...]:
        """For a consumer: batches from `offset` on that end at `end` at the latest, at most `limit_bytes`, but one in any case where that is asked for."""
        taken: list[RecordBatch] = []
        size = 0
        for number in range(self._position(offset), len(self.batches)):
            batch = self.batches[number]
            size += batch.size_bytes
            if batch.next_offset > end or (size > limit_bytes and (taken or not at_least_one)):
                break
            taken.append(batch)
        return tuple(taken)

    def _position(self, offset: int) -> int:
        """Of the batch that holds this offset."""
        return bisect_left(self.batches, offset, key=lambda batch: batch.next_offset - 1)

    def between(self, start: int, end: int) -> Sequence[RecordBatch]:
        """The batches that hold offsets from `start` on and end at `end` at the latest."""
        return self.batches[self._position(start) : self._position(end)]

    # Segments.

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)

    def with_ends(self) -> Iterable[tuple[Segment, int]]:
        """Each segment with the base offset of the next, the last one with the log end."""
        return zip(self.segments, [*(segment.base_offset for segment in self.segments[1:]), self.log_end_offset], strict=True)

    def _attend(self, batch: RecordBatch, now: Micros) -> None:
        """Before an append: is the segment full or old, has the system saved the file meanwhile, when will it next?"""
        active, config = self.active, self.config
        full = active.size_bytes + batch.size_bytes > config.segment_bytes
        if active.size_bytes and (full or batch.max_timestamp - active.first_timestamp > ms(config.segment_ms)):
            self.roll(now)
            active = self.active
        if now >= self.writeback_at:
            self.durable, self.writeback_at = self.log_end_offset, NEVER
        if not active.size_bytes:
            active.first_timestamp = batch.max_timestamp
        if self.writeback_at == NEVER:
            self.writeback_at = self.page_cache.writeback_at(now)
        self.attend_at = min(self.writeback_at, active.first_timestamp + ms(config.segment_ms) + 1)

    def roll(self, now: Micros) -> None:
        """A new segment. The old one and a snapshot of the producers are flushed (LR-1, PS-52): here at once, in Kafka by a thread of its own."""
        if not self.active.size_bytes:
            return
        self.producers.take_snapshot(self.log_end_offset)
        self.flush(now)
        self.active = Segment(self.log_end_offset)
        self.segments.append(self.active)

    def truncate_to(self, offset: int, now: Micros = 0) -> None:
        """Forget what stands at `offset` and behind (RP-34): records, epochs, and what the producers were remembered for."""
        if offset < self.log_end_offset:
            if offset < self.log_start_offset:
                self.starts.set(offset, now)
            if self.segments[0].base_offset > offset:
                self.start_anew_at(offset)
                return
            keep = self._position(offset)
            offset = min(offset, self.batches[keep].base_offset)  # A batch is cut whole.
            self._cut(keep, offset)
            self.log_start_offset = min(self.log_start_offset, offset)
            self.high_watermark = min(self.high_watermark, offset)
            self.epochs.truncate_from_end(offset)
            self._reload_producers(now)
            self._settle_transactions()
        else:
            self.epochs.truncate_from_end(self.log_end_offset)

    def start_anew_at(self, offset: int) -> None:
        """truncateFullyAndStartAt: nothing of it is left (RP-34, RP-36)."""
        self.batches.clear()
        self.segments = [Segment(offset)]
        self.active = self.segments[0]
        self.log_start_offset = self.log_end_offset = self.high_watermark = self.durable = offset
        self.epochs.clear()
        self.producers = ProducerState()
        self._unflushed_from(offset)

    def make_room_for(self, batch: RecordBatch) -> None:
        """The leader's log starts in the middle of this batch, and this empty one there too: the file begins with the batch, the log where it did."""
        start = self.log_start_offset
        assert batch.base_offset < start == self.log_end_offset < batch.next_offset
        self.start_anew_at(batch.base_offset)
        self.log_start_offset = self.high_watermark = start

    def _cut(self, keep: int, end: int) -> None:
        """Only the first `keep` batches stay."""
        del self.batches[keep:]
        self.log_end_offset = end
        while len(self.segments) > 1 and self.segments[-1].base_offset > end:
            self.producers.drop_snapshots([self.segments.pop().base_offset])
        self.active = self.segments[-1]
        self.active.size_bytes = sum(batch.size_bytes for batch in self.between(self.active.base_offset, end))
        self.durable = min(self.durable, end)
        self._unflushed_from(min(self.recovery_point, end))

    def _unflushed_from(self, recovery_point: int) -> None:
        self.recovery_point = recovery_point
        self.flush_at = recovery_point + self.config.flush_messages
        self.attend_at = AT_ONCE

    # The start.

    def move_start(self, to: int, now: Micros) -> None:
        """Only what is committed may go (BV-094)."""
        assert self.log_start_offset < to <= self.high_watermark
        self.log_start_offset = to
        self.starts.set(to, now)
        self.epochs.truncate_from_start(to)

    def remove_segments(self, count: int, now: Micros) -> None:
        """The oldest `count` are deleted; the log starts at the next one's base offset, if it did not start later. No producer is forgotten (PS-51)."""
        if count == len(self.segments):
            self.roll(now)
        gone, self.segments = self.segments[:count], self.segments[count:]
        base = self.segments[0].base_offset
        if base > self.log_start_offset:
            self.move_start(base, now)
        del self.batches[: self._position(base)]
        self.producers.drop_snapshots(segment.base_offset for segment in gone)
        self.producers.transactions.drop_before(base)

    # Producers.

    def _remember(self, batches: Iterable[RecordBatch]) -> None:
        for batch in batches:
            if batch.producer_id >= 0:
                self.producers.remember(batch)

    def _reload_producers(self, now: Micros) -> None:
        """PS-53: from the newest snapshot that is left, and the log behind it.

        Where nobody was remembered nobody is looked for (rebuildProducerState), also whose transaction is open again because its marker was cut off.
        """
        producers, end = self.producers, self.log_end_offset
        had_any = bool(producers.entries or producers.transactions.undecided)
        start = producers.reload(self.log_start_offset, end, now, self.forget_producers_after)
        if had_any:
            for segment in self.segments[-2:]:
                if start < segment.base_offset:
                    self._remember(self.between(start, segment.base_offset))
                    start = segment.base_offset
                    producers.take_snapshot(start)
            self._remember(self.between(start, end))
        else:
            producers.unread_below = end
        producers.take_snapshot(end)

    def _recover_producers(self, now: Micros) -> None:
        """PS-52, PS-55: each segment that is scanned ends with a snapshot, and the last of these is what the broker starts with: one batch per producer.

        Scanned from its first record, also one that was deleted.
        """
        producers = self.producers
        for segment, end in self.with_ends():
            if end > self.recovery_point or segment is self.active:
                start = producers.reload(self.log_start_offset, segment.base_offset, now, self.forget_producers_after)
                self._remember(self.between(min(start, segment.base_offset), end))
                producers.take_snapshot(end)
        start = producers.reload(self.log_start_offset, self.log_end_offset, now, self.forget_producers_after)
        self._remember(self.between(start, self.log_end_offset))

    # Commit.

    def advance_high_watermark(self, to: int, now: Micros) -> None:
        """Move it, remembering what the checkpoint of every `checkpoint_every` would hold (LR-6): the value as the last checkpoint moment passed."""
        if self.touched_at is None or now // self.checkpoint_every != self.touched_at // self.checkpoint_every:
            self.checkpointed = self.high_watermark
            self.touched_at = now
        self.high_watermark = to
        if self.producers.transactions.undecided:
            self._settle_transactions()

    def _settle_transactions(self) -> None:
        self.producers.transactions.high_watermark_moved(self.high_watermark)

    @property
    def last_stable_offset(self) -> int:
        """PS-42: up to here a reader of committed records may go."""
        unstable = self.producers.transactions.first_unstable_offset
        return self.high_watermark if unstable is None else min(max(unstable, self.log_start_offset), self.high_watermark)

    def aborted(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """(producer id, first offset) of the aborted transactions a reader of these offsets must know of."""
        return self.producers.transactions.aborted_between(start, end)

    # The disk.

    def flush(self, now: Micros) -> None:
        """fsync (LR-1)."""
        if self.log_end_offset > self.recovery_point:
            self.durable = self.log_end_offset
            self.writeback_at = NEVER
            self.flushed_at = now
            self._unflushed_from(self.log_end_offset)
            self.recovery_points.set(self.log_end_offset, now)

    def durable_end(self, now: Micros) -> int:
        """What a power loss at this moment would leave, at least (LR-4)."""
        return self.log_end_offset if now >= self.writeback_at else self.durable

    def lose_power(self, now: Micros, kept_share: float = 0.0) -> int:
        """What was neither flushed nor saved by the system is gone; of that a share, from its beginning, may have been saved early.

        Answers where the log ends now. Whatever is left of the batch at the cut does not pass its check-sum: recovery cuts it off.
        """
        end = self.durable_end(now)
        unsaved = self.batches[self._position(end) :] if end < self.log_end_offset else []
        room = int(kept_share * sum(batch.size_bytes for batch in unsaved))
        for batch in unsaved:
            if batch.size_bytes > room:
                break
            room -= batch.size_bytes
            end = batch.next_offset
        if end < self.log_end_offset:
            self._cut(self._position(end), end)
            self.torn_bytes = room
            self.high_watermark = min(self.high_watermark, end)
        self.durable, self.writeback_at = end, NEVER
        return end

    def close(self, now: Micros) -> None:
        """A clean shutdown: everything is flushed and every checkpoint written (LR-1, LR-7)."""
        self.flush(now)
        self.producers.take_snapshot(self.log_end_offset)
        self.recovery_points.write(now)
        self.starts.write(now)
        self.checkpointed, self.touched_at = self.high_watermark, now
        self.closed = True

    def stop(self, now: Micros) -> None:
        """The process is gone: nobody writes its checkpoints until it is back (LR-6)."""
        if self.touched_at is not None and now // self.checkpoint_every != self.touched_at // self.checkpoint_every:
            self.checkpointed = self.high_watermark
        self.touched_at = None
        self.recovery_points.stop(now)
        self.starts.stop(now)

    def come_back(self, now: Micros, tasks_from: Micros) -> None:
        """The process loads it (LR-6 to LR-10). tasks_from: when its checkpoints are written for the first time.

        After a crash the page cache has every appended record (LR-3), so the same replica may lead again at once (LR-12);
        after a power loss the file ends where the disk had it.
        """
        self.stop(now)
        start = self.starts.read(now)
        clean, self.closed = self.closed, False
        self.torn_bytes = 0  # LR-8: the first batch that is not valid ends the log.
        if self.log_end_offset < start:
            self.start_anew_at(start)  # LR-9
        self._unflushed_from(self.log_end_offset if clean else min(self.recovery_points.read(now), self.log_end_offset))
        self.log_start_offset = max(start, self.segments[0].base_offset)
        self._recover_epochs(start)
        if clean:
            self._reload_producers(now)
        else:
            self._recover_producers(now)
        self.high_watermark = max(self.log_start_offset, min(self.checkpointed, self.log_end_offset))
        self._settle_transactions()
        self.recovery_points.boot(self.recovery_point, now, tasks_from)
        self.starts.boot(self.log_start_offset, now, tasks_from)

    def _recover_epochs(self, start: int) -> None:
        """LR-8, LR-10: what the batches say is added, what stands at the log end or behind is dropped."""
        for batch in self.between(self.recovery_point, self.log_end_offset):
            if batch.leader_epoch > self.epochs.latest:
                self.epochs.assign(batch.leader_epoch, batch.base_offset)
        self.epochs.truncate_from_end(self.log_end_offset)
        if start:
            self.epochs.truncate_from_start(start)
