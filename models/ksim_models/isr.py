"""The in-sync replicas as their leader sees them: who keeps up, who is proposed in or out, and how far the high watermark may go.

Kafka: Partition, Replica, PartitionState (CommittedPartitionState, PendingExpandIsr, PendingShrinkIsr); KIP-497, KIP-841, KIP-903.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksim_models.units import Micros

UNKNOWN_END = -1
LONG_AGO: Micros = -(10**15)


class Follower:
    """What a leader knows of one follower (RP-15)."""

    __slots__ = ("broker_epoch", "last_caught_up", "last_fetch_at", "leader_end_at_last_fetch", "log_end_offset")

    def __init__(self) -> None:
        self.log_end_offset = UNKNOWN_END
        self.last_caught_up: Micros = LONG_AGO
        self.leader_end_at_last_fetch = 0
        self.last_fetch_at: Micros = LONG_AGO
        self.broker_epoch = -1

    def fetched(self, fetch_offset: int, leader_end: int, now: Micros, broker_epoch: int) -> None:
        if fetch_offset >= leader_end:
            self.last_caught_up = max(self.last_caught_up, now)
        elif fetch_offset >= self.leader_end_at_last_fetch:
            self.last_caught_up = max(self.last_caught_up, self.last_fetch_at)
        self.leader_end_at_last_fetch = leader_end
        self.last_fetch_at = now
        self.log_end_offset = fetch_offset
        self.broker_epoch = broker_epoch

    def idled(self, leader_end: int, session_fetch_at: Micros) -> None:
        """Before an append, where the follower stood at the log end:
        its session's fetches since have each found it caught up, though none named this partition (RP-17).
        """
        self.last_caught_up = max(self.last_caught_up, session_fetch_at)
        self.leader_end_at_last_fetch = leader_end
        self.last_fetch_at = max(self.last_fetch_at, session_fetch_at)

    def is_caught_up(self, leader_end: int, now: Micros, lag_limit: Micros) -> bool:
        """RP-16."""
        return self.log_end_offset == leader_end or now - self.last_caught_up <= lag_limit


class Leadership:
    """A leader's own state of one partition, from the moment it leads until it does not."""

    __slots__ = (
        "committed",
        "epoch_start_offset",
        "expanding",
        "followers",
        "in_flight",
        "leader",
        "leader_epoch",
        "maximal",
        "partition_epoch",
        "recovering",
        "shrinking",
    )

    def __init__(
        self,
        leader: str,
        replicas: Sequence[str],
        isr: tuple[str, ...],
        leader_epoch: int,
        partition_epoch: int,
        recovering: bool,
        epoch_start_offset: int,
        now: Micros,
    ) -> None:
        self.leader = leader
        self.followers: dict[str, Follower] = {replica: Follower() for replica in replicas if replica != leader}
        self.committed = isr
        """ISR as the controller acknowledged it: decides what is admitted (RP-54)."""
        self.maximal = isr
        """ISR while a change is in flight: decides what is committed (RP-54)."""
        self.expanding: str | None = None
        self.shrinking: tuple[str, ...] = ()
        self.in_flight = False
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch
        self.recovering = recovering
        self.epoch_start_offset = epoch_start_offset
        self._new_epoch(now)

    def _new_epoch(self, now: Micros) -> None:
        """RP-52: members of the ISR get a full period of patience, others none. What was fetched before tells how far they are, and not when."""
        for name, follower in self.followers.items():
            follower.last_caught_up = follower.last_fetch_at = now if name in self.committed else LONG_AGO
            follower.leader_end_at_last_fetch = self.epoch_start_offset

    def assign(self, replicas: Sequence[str]) -> None:
        """Others hold replicas now (KC-48): of those that stay all is known that was, of those that come nothing yet."""
        known = self.followers
        self.followers = {replica: known.get(replica) or Follower() for replica in replicas if replica != self.leader}

    def lead_again(self, isr: tuple[str, ...], leader_epoch: int, partition_epoch: int, recovering: bool, epoch_start_offset: int, now: Micros) -> None:
        """The same broker was elected under a higher epoch: what the followers had fetched stays known (RP-52)."""
        self.leader_epoch = leader_epoch
        self.epoch_start_offset = epoch_start_offset
        self.settle(isr, partition_epoch, recovering)
        self._new_epoch(now)

    def settle(self, isr: tuple[str, ...], partition_epoch: int, recovering: bool) -> None:
        """The controller's word: what was in flight is over (RP-57, RP-58)."""
        self.committed = self.maximal = isr
        self.partition_epoch = partition_epoch
        self.recovering = recovering
        self.expanding, self.shrinking, self.in_flight = None, (), False

    def give_up(self) -> None:
        """Back to the last committed ISR (INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED; RP-57)."""
        self.settle(self.committed, self.partition_epoch, self.recovering)

    def may_expand(self, name: str, high_watermark: int) -> bool:
        """RP-53, but for the eligibility that only the broker's metadata knows: at the high watermark and within the current epoch."""
        follower = self.followers[name]
        return not self.in_flight and name not in self.maximal and follower.log_end_offset >= max(high_watermark, self.epoch_start_offset)

    def propose_expand(self, name: str) -> None:
        self.expanding, self.in_flight = name, True
        self.maximal = tuple(replica for replica in (self.leader, *self.followers) if replica == name or replica in self.committed)

    def out_of_sync(self, leader_end: int, now: Micros, lag_limit: Micros) -> tuple[str, ...]:
        """RP-50: members that are neither at the log end nor were so within the lag limit. Without writes not even the dead fall behind (RP-51)."""
        if self.in_flight:
            return ()
        return tuple(name for name, follower in self.followers.items() if name in self.committed and not follower.is_caught_up(leader_end, now, lag_limit))

    def propose_shrink(self, out: tuple[str, ...]) -> None:
        """The maximal ISR keeps them until the controller agrees: who cannot reach it commits nothing any more (BP-46, RP-60)."""
        self.shrinking, self.in_flight = out, True

    def proposed_isr(self) -> tuple[str, ...]:
        return tuple(name for name in self.maximal if name not in self.shrinking)

    def committable(self, leader_end: int, now: Micros, lag_limit: Micros, eligible: Mapping[str, bool]) -> int:
        """How far the high watermark may go: the least log end of the maximal ISR, and of outsiders that keep up and may join (RP-20, RP-22)."""
        end = leader_end
        maximal = self.maximal
        for name, follower in self.followers.items():
            at = follower.log_end_offset
            if at < end and (name in maximal or (eligible.get(name, False) and follower.is_caught_up(leader_end, now, lag_limit))):
                end = at
        return end
