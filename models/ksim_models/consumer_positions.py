"""Where a consumer stands in each of its partitions, and whether it may fetch from there.

Kafka: SubscriptionState. A position is the next offset to read, with the epoch of the last batch read: that tells whether the log still holds it (KIP-320).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ksim_models.messages import NO_LEADER, NO_OFFSET
from ksim_models.units import LONG_AGO, Micros

NO_EPOCH = -1


class FetchState(Enum):
    INITIALIZING = "no position yet"
    FETCHING = "may fetch"
    AWAIT_RESET = "asks where the log begins or ends"
    AWAIT_VALIDATION = "asks whether the log still holds what was read"


class Position:
    """Of one partition."""

    __slots__ = (
        "asked_until",
        "leader",
        "leader_epoch",
        "leader_known",
        "no_committed",
        "offset",
        "offset_epoch",
        "partition",
        "reset_to",
        "revoked",
        "rewound",
        "state",
    )

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.state = FetchState.INITIALIZING
        self.offset = NO_OFFSET
        self.offset_epoch = NO_EPOCH
        """Of the last batch read."""
        self.leader = NO_LEADER
        self.leader_epoch = NO_EPOCH
        """The leader that the position was last held against."""
        self.reset_to = ""
        """AWAIT_RESET: "earliest" or "latest"."""
        self.asked_until: Micros = LONG_AGO
        """No request about this partition before: one is under way, or its backoff runs."""
        self.no_committed = False
        """The group was asked, and has committed no offset of it."""
        self.rewound = False
        """The application went back to what is committed; where nothing is, to the beginning."""
        self.revoked = False
        """About to be given up: nothing is read of it any more."""
        self.leader_known = True
        """False: a backoff that ends is of no use, metadata is waited for."""

    @property
    def has_valid_position(self) -> bool:
        return self.state is FetchState.FETCHING and not self.revoked

    def seek(self, offset: int, epoch: int, leader: tuple[str, int]) -> None:
        """Without a question whether the log holds it."""
        self.offset, self.offset_epoch = offset, epoch
        self.leader, self.leader_epoch = leader
        self.state = FetchState.FETCHING
        self.asked_until = LONG_AGO

    def request_reset(self, to: str) -> None:
        self.state, self.reset_to, self.asked_until = FetchState.AWAIT_RESET, to, LONG_AGO

    def meet_leader(self, leader: tuple[str, int]) -> None:
        """CV-8: another leader, or another epoch of it, may have lost what was read. A position that knows no epoch cannot be held against it."""
        if self.state not in (FetchState.FETCHING, FetchState.AWAIT_VALIDATION) or leader == (self.leader, self.leader_epoch) or leader[0] == NO_LEADER:
            return
        self.leader, self.leader_epoch = leader
        self.asked_until = LONG_AGO
        self.state = FetchState.AWAIT_VALIDATION if self.offset_epoch != NO_EPOCH and self.leader_epoch != NO_EPOCH else FetchState.FETCHING


class Positions:
    """Of all partitions that are assigned, in the order in which they are fetched next."""

    def __init__(self) -> None:
        self.by_partition: dict[str, Position] = {}

    def assign(self, partitions: Iterable[str]) -> None:
        """Those that stay keep their position."""
        self.by_partition = {partition: self.by_partition.get(partition) or Position(partition) for partition in partitions}

    def rewind(self, only: str = "") -> None:
        """Back to the committed offsets, or to the beginning where there are none: what poll() returned since is read again (GC-8)."""
        for partition in list(self.by_partition):
            if only in ("", partition):
                self.by_partition[partition] = Position(partition)
                self.by_partition[partition].rewound = True

    def get(self, partition: str) -> Position | None:
        return self.by_partition.get(partition)

    def all(self) -> list[Position]:
        return list(self.by_partition.values())

    def in_state(self, state: FetchState) -> list[Position]:
        return [position for position in self.by_partition.values() if position.state is state]

    def move_to_end(self, partition: str) -> None:
        """After data, or an error: the others come first in the next fetch."""
        position = self.by_partition.pop(partition, None)
        if position is not None:
            self.by_partition[partition] = position

    def consumed(self) -> list[Position]:
        """What a commit without further words commits (allConsumed), by partition."""
        return sorted((one for one in self.by_partition.values() if one.state is FetchState.FETCHING), key=lambda one: one.partition)
