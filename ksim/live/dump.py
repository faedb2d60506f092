"""Logs as Kafka's own tool prints them, read into batches of records by their identity.

Kafka: DumpLogSegments --deep-iteration --print-data-log; in org.apache.kafka.tools since 4.0, before in kafka.tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksim.live.batches import Batch
from ksim.live.errors import LiveError
from ksim.live.kafka import Installation
from ksim.live.naming import identity
from ksim.live.processes import Workplace
from ksim_models.profiles import parse_release

FILE = re.compile(r"Dumping (.+)$")
START = re.compile(r"Log starting offset: (\d+)$")
BATCH = re.compile(
    r"baseOffset: (?P<base>-?\d+) lastOffset: (?P<last>-?\d+) count: (?P<count>\d+) baseSequence: (?P<sequence>-?\d+) lastSequence: -?\d+"
    r" producerId: (?P<pid>-?\d+) producerEpoch: (?P<epoch>-?\d+) partitionLeaderEpoch: (?P<leader_epoch>-?\d+)"
    r" isTransactional: (?P<transactional>true|false) isControl: (?P<control>true|false) "
)
MARKER = re.compile(r"\| offset: \d+ .*? endTxnMarker: (COMMIT|ABORT) ")
RECORD = re.compile(r"\| offset: (\d+) .*? headerKeys: \[(.*?)\](?: key: .*?)?(?: payload: (.*))?$")
ARGUMENT_BYTES_MAX = 100_000
"""Linux allows 128 KiB for one argument."""


@dataclass(slots=True)
class DumpedLog:
    """All segments of one replica, in order."""

    start: int
    batches: list[Batch] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.batches[-1].last_offset + 1 if self.batches else self.start


async def dump(installation: Installation, workplace: Workplace, folders: Sequence[Path]) -> dict[Path, DumpedLog]:
    """The logs in these folders (one per replica); of as few starts of Java as the length of a command line allows."""
    segments = {str(segment): folder for folder in folders for segment in sorted(folder.glob("*.log"))}
    logs: dict[Path, DumpedLog] = {}
    for names in _chunks(list(segments)):
        path = workplace.folder / "dump.txt"
        main_class = ("org.apache.kafka" if parse_release(installation.version) >= (4, 0, 0) else "kafka") + ".tools.DumpLogSegments"
        command = installation.command(main_class, "--deep-iteration", "--print-data-log", "--files", ",".join(names))
        with path.open("wb") as sink:
            child = workplace.start("dump", command, stdout=sink.fileno())
        if await child.ended() != 0:
            raise LiveError(f"DumpLogSegments of Kafka {installation.version} failed. Its last lines:\n{child.last_lines()}")
        with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            for name, log in parse(lines).items():
                folder = segments[name]
                logs.setdefault(folder, DumpedLog(log.start)).batches.extend(log.batches)
        path.unlink()
    return logs


def parse(lines: Iterable[str]) -> dict[str, DumpedLog]:
    """By segment file. Lines that say something else are passed over."""
    logs: dict[str, DumpedLog] = {}
    log = DumpedLog(0)
    for line in lines:
        text = line.rstrip("\n")
        if found := MARKER.match(text):
            log.batches[-1].marker = found[1].lower()
        elif found := RECORD.match(text):
            if log.batches and not log.batches[-1].control:
                headers = [(key, b"") for key in found[2].split(",") if key]
                log.batches[-1].records.append((int(found[1]), identity((found[3] or "").encode(), headers)))
        elif found := BATCH.match(text):
            log.batches.append(
                Batch(
                    base_offset=int(found["base"]),
                    last_offset=int(found["last"]),
                    leader_epoch=int(found["leader_epoch"]),
                    producer_id=int(found["pid"]),
                    producer_epoch=int(found["epoch"]),
                    base_sequence=int(found["sequence"]),
                    control=found["control"] == "true",
                    transactional=found["transactional"] == "true",
                )
            )
        elif found := FILE.match(text):
            log = logs.setdefault(found[1], DumpedLog(0))
        elif found := START.match(text):
            log.start = int(found[1])
    return logs


def _chunks(names: Sequence[str]) -> list[list[str]]:
    chunks: list[list[str]] = []
    size = 0
    for name in names:
        if not chunks or size + len(name) + 1 > ARGUMENT_BYTES_MAX:
            chunks.append([])
            size = 0
        chunks[-1].append(name)
        size += len(name) + 1
    return chunks
