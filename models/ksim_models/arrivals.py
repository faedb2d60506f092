"""When the application hands over its records: a schedule, not events.

A producer takes all records whose time has come whenever it wakes. Exact, and many times cheaper than an event per record.
"""

from __future__ import annotations

from typing import Protocol

from ksim_models.units import Micros


class Arrivals(Protocol):
    """The records of one workload, numbered from 0. `ksim.workload` makes them."""

    topic: str
    total: int
    window: int | None
    """At most so many unacknowledged records: the next send() waits (1 = send().get())."""
    size: int | None
    """Bytes of key + value, where all records have the same; else None."""
    compression_ratio: int
    """Compressed / uncompressed bytes, in millionths: only where the producer compresses."""
    compression_spread: int
    """A batch's ratio is at most so much above or below that."""
    partition: int | None
    """The partition that every record names itself; else None."""
    keyed: bool
    warm_up: bool
    """Outside every count: it only makes the client connect before time zero."""

    def time_of(self, index: int) -> Micros:
        """When record `index` is handed over, if the application is not held up."""
        ...

    def count_until(self, now: Micros) -> int:
        """How many records have a time at or before `now`."""
        ...

    def step_of(self, index: int, count: int) -> Micros | None:
        """The distance between records, where `count` records from `index` on are equally far apart; else None."""
        ...

    def size_of(self, index: int) -> int: ...

    def key_of(self, index: int) -> int:
        """The number of its key, which is `key-NUMBER`. Only asked where `keyed`."""
        ...

    def key_hash_of(self, index: int) -> int:
        """murmur2 of the record's key, positive (A6). Only asked where `keyed`."""
        ...
