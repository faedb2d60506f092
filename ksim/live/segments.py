"""A replica's log on disk, followed while a broker writes it: new batches, and batches that were cut off again.

Kafka: LogSegment, DefaultRecordBatch; `log.dirs/TOPIC-PARTITION/BASE_OFFSET.log`. Read with no harm to the broker: what is there has been written, flushed
or not, and a batch that is not there whole is left for the next look.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ksim.live.batches import Batch, read_batch
from ksim.live.wire import BATCH_HEADER

TOPIC_ID_FILE = "partition.metadata"
LENGTH_END = 12
"""A batch is this much longer than its length field says."""
PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch stands, and how it begins, so that another one in its place is noticed."""

    segment: str
    position: int
    header: bytes
    batch_end: int
    """The offset behind its last record."""


@dataclass(slots=True)
class Change:
    """What a look found since the last one."""

    written_ns: int
    """When the newest segment was last written to, by the wall clock."""
    truncated: tuple[int, int] | None = None
    """The log's end before, and after batches were cut off."""
    batches: list[tuple[Batch, bytes]] = field(default_factory=list)
    """Each with its bytes."""
    end: int = 0
    """The log's end now."""
    topic_id: str = ""
    """A topic that was created again has another one."""


class Tail:
    """Follows the log in one folder, which need not exist yet; of several the one that exists."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.folder = folders[0]
        self._inode = 0
        self._topic_id = ""
        self.end = 0
        self._places: list[Place] = []
        self._segment = ""
        self._position = 0
        self._seen: tuple[int, int] | None = None
        self._segments: list[str] = []

    def look(self, *, for_segments: bool = True) -> Change | None:
        """None: nothing new. `for_segments`: look also for a new segment file, which costs more than to see whether the known one has grown."""
        try:
            if for_segments or not self._segments:
                if len(self.folders) > 1:
                    self.folder = next((folder for folder in self.folders if folder.is_dir()), self.folders[0])
                self._segments = sorted(name for name in os.listdir(self.folder) if name.endswith(".log"))
            if not self._segments:
                return None
            status = os.stat(self.folder / self._segments[-1])
        except FileNotFoundError:
            self._segments = []
            return None
        seen = (status.st_size, status.st_mtime_ns)
        if seen == self._seen and self._segment == self._segments[-1]:
            return None
        try:
            self._begin_anew()
            change = Change(status.st_mtime_ns, topic_id=self._topic_id)
            self._walk_back(change)
            self._walk_on(change)
        except FileNotFoundError:
            return None  # The folder is being taken away: the next look will tell.
        self._seen = seen if self._segment == self._segments[-1] and self._position == seen[0] else None
        change.end = self.end
        return change if change.batches or change.truncated else None

    def _begin_anew(self) -> None:
        """Where the folder is another one by now: its topic was deleted, and created again."""
        inode = os.stat(self.folder).st_ino
        if inode == self._inode and self._topic_id:
            return
        self._inode = inode
        topic_id = _topic_id(self.folder)
        if topic_id != self._topic_id:
            self._topic_id = topic_id
            self.end = 0
            self._places = []
            self._segments = sorted(name for name in os.listdir(self.folder) if name.endswith(".log"))

    def _walk_back(self, change: Change) -> None:
        """Over what is not there any more; segments that were deleted at the front do not count."""
        before = self.end
        start = int(self._segments[0].removesuffix(".log"))
        while self._places and self._places[-1].batch_end > start and not self._stands(self._places[-1]):
            self._places.pop()
        last = self._places[-1] if self._places else None
        if last is None or last.segment not in self._segments:
            self._segment, self._position, self.end = self._segments[0], 0, max(start, last.batch_end if last else 0)
        else:
            self._segment, self._position, self.end = last.segment, last.position + len_of(last.header), last.batch_end
        if self.end < before:
            change.truncated = (before, self.end)

    def _stands(self, place: Place) -> bool:
        try:
            with open(self.folder / place.segment, "rb") as file:
                file.seek(place.position)
                return file.read(len(place.header)) == place.header
        except FileNotFoundError:
            return False

    def _walk_on(self, change: Change) -> None:
        for segment in self._segments[self._segments.index(self._segment) :]:
            if segment != self._segment:
                self._segment, self._position = segment, 0
            with open(self.folder / segment, "rb") as file:
                while self._take(self._piece(file), change):
                    pass

    def _piece(self, file: BinaryIO) -> bytes:
        """From where we are; one batch at least, if it is there whole."""
        file.seek(self._position)
        data = file.read(PIECE_BYTES)
        missing = len_of(data) - len(data) if len(data) == PIECE_BYTES else 0
        return data + file.read(missing) if missing > 0 else data

    def _take(self, data: bytes, change: Change) -> bool:
        """False: no whole batch was there."""
        at = 0
        while len(data) - at >= BATCH_HEADER.size:
            header = data[at : at + BATCH_HEADER.size]
            size = len_of(header)
            if header[16] != 2 or size < BATCH_HEADER.size or len(data) - at < size:
                break  # Zeros, or not whole yet.
            batch = read_batch(header)
            self._places.append(Place(self._segment, self._position, header, batch.last_offset + 1))
            self.end = batch.last_offset + 1
            change.batches.append((batch, data[at : at + size]))
            at += size
            self._position += size
        return at > 0


def len_of(header: bytes) -> int:
    return int.from_bytes(header[8:12], "big") + LENGTH_END


def _topic_id(folder: Path) -> str:
    """Written before the first batch is; "" where there is none, as of the metadata log."""
    try:
        lines = (folder / TOPIC_ID_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((value for key, _, value in (line.partition(": ") for line in lines) if key == "topic_id"), "")
