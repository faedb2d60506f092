"""When the application hands over its records: a schedule, not events.

A producer takes all records whose time has come whenever it wakes. Exact, and many times cheaper than an event per record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ksim_models.on_failure import OnFailure
from ksim_models.units import Micros


@dataclass(frozen=True, slots=True)
class Flaw:
    """What a fault did to one record of a workload: its serializer throws (A5), or it is larger than the others."""

    fault: str
    """The fault's name."""
    do: str
    """"unserializable" or "oversize"."""


@dataclass(frozen=True, slots=True)
class InTransactions:
    """`transaction` of a workload: how its application puts its records into transactions."""

    records: int
    """So many each; the last may have fewer."""
    commits: bool = True
    """They end with a commit; else with an abort."""
    abort_every: int = 0
    """Every so-manyth is aborted all the same; 0: none."""
    think: Micros = 0
    """So long the application has to do between its last send() and the end."""
    begins_at: Micros = 0
    """When it calls initTransactions."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """`outbox` of a workload: its records are rows of a table, which a relay polls, sends, and marks as sent."""

    every: Micros
    """From the end of one round to the next look at the table."""
    batch: int
    """So many rows at most in one round."""
    mark: Micros
    """How long the database takes to commit that they are sent."""


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

    workload: int
    """Its place in the scenario, from 0."""
    on_failure: OnFailure
    transaction: InTransactions | None
    outbox: Outbox | None
    flaws: dict[int, Flaw]
    """Per index: what is wrong with a record."""

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
