"""A replica's log: batches one behind another, which leader epoch began where, and how much of it is committed.

Kafka: UnifiedLog, LeaderEpochFileCache, LogLoader; KIP-101, KIP-279.
Offsets are exclusive ends: the log end is the next offset to be written, the high watermark the first not known to be committed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ksim_models.messages import RecordBatch
from ksim_models.producer_state import ProducerState
from ksim_models.units import NEVER, Micros

UNDEFINED = -1


class EpochCache:
    """(epoch, start offset), both strictly increasing (RP-30)."""

    __slots__ = ("entries", "latest")

    def __init__(self, entries: Sequence[tuple[int, int]] = ()) -> None:
        self.entries: list[tuple[int, int]] = list(entries)
        self.latest = UNDEFINED
        """The epoch of the last entry: each fetch asks for it, and it hardly ever changes."""
        self._changed()

    def _changed(self) -> None:
        self.latest = self.entries[-1][0] if self.entries else UNDEFINED

    def assign(self, epoch: int, start: int) -> None:
        """The last writer wins; a start never moves later."""
        entries = self.entries
        if entries and entries[-1][0] == epoch and entries[-1][1] <= start:
            return
        while entries and (entries[-1][0] >= epoch or entries[-1][1] >= start):
            entries.pop()
        entries.append((epoch, start))
        self._changed()

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
        self._changed()

    def truncate_from_start(self, start: int) -> None:
        """The log now starts at `start`: the epoch that covers it begins there."""
        gone = [entry for entry in self.entries if entry[1] <= start]
        if gone:
            self.entries = [(gone[-1][0], start), *self.entries[len(gone) :]]
            self._changed()


class Log:
    """One replica of one partition. Survives the crash of its broker's process, but for the high watermark (LR-3)."""

    __slots__ = ("batches", "checkpoint_every", "checkpointed", "epochs", "high_watermark", "log_end_offset", "log_start_offset", "producers", "touched_at")

    def __init__(self, checkpoint_every: Micros = 5_000_000) -> None:
        self.batches: list[RecordBatch] = []
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.high_watermark = 0
        self.epochs = EpochCache()
        self.producers = ProducerState()
        self.checkpoint_every = checkpoint_every or NEVER  # KafkaScheduler runs a period of 0 once, when there is nothing yet.
        self.checkpointed = 0
        self.touched_at: Micros | None = None

    def append_as_leader(self, batch: RecordBatch, leader_epoch: int) -> RecordBatch:
        """Stamp offset and leader epoch, remember the producer's sequence, write (BP-29). The caller has judged the sequence."""
        stamped = RecordBatch(
            batch.partition,
            batch.producer,
            batch.records,
            batch.size_bytes,
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence,
            self.log_end_offset,
            leader_epoch,
        )
        self.append_as_follower(stamped)
        return stamped

    def append_as_follower(self, batch: RecordBatch) -> None:
        """No checks but the offset: a follower takes what its leader has (PS-4)."""
        assert batch.base_offset == self.log_end_offset, "a follower fetches from its own log end (RP-4)"
        if self.epochs.latest != batch.leader_epoch:
            self.epochs.assign(batch.leader_epoch, batch.base_offset)
        self.batches.append(batch)
        self.log_end_offset = batch.base_offset + len(batch.records)
        if batch.producer_id >= 0:
            self.producers.remember(batch)

    def read(self, offset: int, limit_bytes: int) -> tuple[RecordBatch, ...]:
        """Batches from `offset` on, at most `limit_bytes`, but at least one (RP-2)."""
        batches = self.batches
        if offset >= self.log_end_offset:
            return ()
        last = batches[-1]
        if last.base_offset == offset:  # A follower that keeps up asks for the batch just written.
            return (last,)
        first = bisect_left(batches, offset, key=lambda batch: batch.next_offset - 1)
        taken, size = first, 0
        while taken < len(batches) and (taken == first or size + batches[taken].size_bytes <= limit_bytes):
            size += batches[taken].size_bytes
            taken += 1
        return tuple(batches[first:taken])

    def truncate_to(self, offset: int) -> None:
        """Forget what stands at `offset` and behind (RP-34): records, epochs, and what the producers were remembered for."""
        if offset < self.log_end_offset:
            keep = bisect_left(self.batches, offset, key=lambda batch: batch.next_offset - 1)
            offset = min(offset, self.batches[keep].base_offset)  # A batch is cut whole.
            del self.batches[keep:]
            self.log_end_offset = offset
            self.high_watermark = min(self.high_watermark, offset)
            self.rebuild_producers()
        self.epochs.truncate_from_end(offset)

    def rebuild_producers(self) -> None:
        """PS-53. Simplified: from the whole log; Kafka starts at a snapshot, which forgets all but each producer's last batch before it."""
        self.producers = ProducerState()
        for batch in self.batches:
            if batch.producer_id >= 0:
                self.producers.remember(batch)

    def advance_high_watermark(self, to: int, now: Micros) -> None:
        """Move it, remembering what the checkpoint of every `checkpoint_every` would hold (LR-6): the value as the last checkpoint moment passed."""
        if self.touched_at is None or now // self.checkpoint_every != self.touched_at // self.checkpoint_every:
            self.checkpointed = self.high_watermark
            self.touched_at = now
        self.high_watermark = to

    def come_back_after_a_crash(self, now: Micros) -> None:
        """The page cache survives the process: every appended record is still here; the high watermark falls back to its checkpoint (LR-3, LR-6)."""
        if self.touched_at is not None and now // self.checkpoint_every != self.touched_at // self.checkpoint_every:
            self.checkpointed = self.high_watermark
        self.high_watermark = max(self.log_start_offset, min(self.checkpointed, self.log_end_offset))
        self.rebuild_producers()
