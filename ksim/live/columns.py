"""The records of a workload in a file, 16 bytes each: what a client must know beforehand, as compact as it goes.

Not Kafka's. Client.java reads the same: big-endian, time in us (8 bytes), bytes of key + value (4), number of the key or -1, -2 (4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksim_models.arrivals import Arrivals

COLUMNS = struct.Struct(">qii")
NO_KEY = -1
UNSERIALIZABLE = -2
"""Instead of a key: a record that cannot be serialized."""

Row = tuple[int, int, int]


def rows(workload: Arrivals, first: int = 0) -> Iterator[Row]:
    """Those of the simulation, from `first` on."""
    for record in range(first, workload.total):
        key = workload.key_of(record) if workload.keyed else NO_KEY
        if record in workload.flaws and workload.flaws[record].do == "unserializable":
            key = UNSERIALIZABLE
        yield workload.time_of(record), workload.size_of(record), key


def write(file: Path, rows: Iterable[Row]) -> None:
    with file.open("wb") as columns:
        columns.writelines(COLUMNS.pack(*row) for row in rows)


def read(file: Path) -> list[Row]:
    return list(COLUMNS.iter_unpack(file.read_bytes()))
