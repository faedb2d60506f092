"""A group of the consumer protocol as its coordinator knows it (KIP-848): who is to have what, who has what, and in which epoch.

Kafka: ConsumerGroup, ConsumerGroupMember, CurrentAssignmentBuilder, TargetAssignmentBuilder. Every member goes to the target by itself: first it gives up
what is no longer its own, then it is in the epoch of the target, then it gets what nobody else has any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from ksim_models.errors import NONE, ErrorCode
from ksim_models.machine import message
from ksim_models.profiles import BrokerProfile
from ksim_models.server_assignors import DEFAULT, SERVER_ASSIGNORS, Target
from ksim_models.units import NEVER, Micros

LEAVES, LEAVES_FOR_A_WHILE = -1, -2
"""As a member epoch: the second is a static member's, that will be back within its session."""


class Reconciling(Enum):
    STABLE = "it has what it is to have in this epoch, or has been told so"
    UNREVOKED = "it has to give up partitions before it is let into the epoch of the target"
    UNRELEASED = "some of its partitions are others' still"


@message
class ConsumerMemberRecord:
    member: str
    instance: str
    topics: tuple[str, ...]
    assignor: str
    rebalance_timeout_ms: int
    epoch: int
    previous_epoch: int
    state: Reconciling
    assigned: tuple[tuple[str, int], ...]
    revoking: tuple[tuple[str, int], ...]


@message
class ConsumerGroupRecord:
    """Of __consumer_offsets. Simplified: the whole group; Kafka writes a record for each thing that changed."""

    group: str
    epoch: int
    target_epoch: int
    target: tuple[tuple[str, tuple[str, ...]], ...]
    assigned_at: Micros
    sizes: tuple[tuple[str, int], ...]
    members: tuple[ConsumerMemberRecord, ...]


class ConsumerMember:
    __slots__ = (
        *("assigned", "assignor", "epoch", "expires_at", "instance", "member", "previous_epoch", "rebalance_timeout_ms"),
        *("revoke_until", "revoking", "state", "topics"),
    )

    def __init__(self, member: str, instance: str) -> None:
        self.member = member
        self.instance = instance
        self.topics: tuple[str, ...] = ()
        self.assignor = ""
        self.rebalance_timeout_ms = -1
        self.epoch = 0
        self.previous_epoch = 0
        self.state = Reconciling.STABLE
        self.assigned: dict[str, int] = {}
        """What it has or may take, and the epoch in which it was given."""
        self.revoking: dict[str, int] = {}
        """What it has still, and is to give up."""
        self.expires_at: Micros = NEVER
        self.revoke_until: Micros = NEVER

    def become(self, state: Reconciling, epoch: int, assigned: dict[str, int], revoking: dict[str, int]) -> None:
        self.state, self.previous_epoch, self.epoch, self.assigned, self.revoking = state, self.epoch, epoch, assigned, revoking

    @property
    def written(self) -> tuple[object, ...]:
        return self.epoch, self.previous_epoch, self.state, self.assigned, self.revoking

    def epoch_error(self, epoch: int, owned: Sequence[str] | None, *, rejoins: bool) -> ErrorCode:
        """The epoch before is good enough where the answer with the new one may have been lost. rejoins: so is 0, with which a fenced member joins anew."""
        if epoch == self.epoch or (epoch == 0 and rejoins):
            return NONE
        may_have_missed_it = epoch == self.previous_epoch and owned is not None and all(partition in self.assigned for partition in owned)
        return NONE if epoch < self.epoch and may_have_missed_it else ErrorCode.FENCED_MEMBER_EPOCH

    def commit_error(self, epoch: int, partition: str, *, by_partition: bool) -> ErrorCode:
        """GC-10. `by_partition`, since 4.3: an older epoch will do for what the member has had since then."""
        if epoch == self.epoch:
            return NONE
        given_in = self.assigned.get(partition, self.revoking.get(partition))
        return NONE if by_partition and epoch < self.epoch and given_in is not None and given_in <= epoch else ErrorCode.STALE_MEMBER_EPOCH


class ConsumerGroup:
    __slots__ = ("assigned_at", "epoch", "members", "name", "sizes", "static", "target", "target_epoch")

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0
        self.target_epoch = 0
        self.target: Target = {}
        self.assigned_at: Micros = 0
        """When the target was made; 0: there is none."""
        self.sizes: dict[str, int] = {}
        """How many partitions each topic had when the epoch began: where that changes a new one does."""
        self.members: dict[str, ConsumerMember] = {}
        self.static: dict[str, str] = {}

    def add(self, member: ConsumerMember) -> None:
        self.members[member.member] = member
        if member.instance:
            self.static[member.instance] = member.member

    def remove(self, member: ConsumerMember) -> None:
        """It is out, and what it had is free. The others are told when they beat."""
        del self.members[member.member]
        self.target.pop(member.member, None)
        if member.instance and self.static.get(member.instance) == member.member:
            del self.static[member.instance]
        self.epoch += 1

    def replace_static(self, old: ConsumerMember, name: str) -> ConsumerMember:
        """The same instance under another member id; it has what the other one had."""
        member = ConsumerMember(name, old.instance)
        member.topics, member.assignor, member.rebalance_timeout_ms = old.topics, old.assignor, old.rebalance_timeout_ms
        member.state, member.assigned, member.revoking = old.state, old.assigned, old.revoking
        self.members = {name if known == old.member else known: member if known == old.member else one for known, one in self.members.items()}
        self.static[old.instance] = name
        if old.member in self.target:
            self.target[name] = self.target.pop(old.member)
        return member

    def notice_sizes(self, size_of: Callable[[str], int]) -> bool:
        """Topics came, went or grew since the epoch began: another one begins."""
        sizes = {topic: size_of(topic) for topic in sorted({topic: None for member in self.members.values() for topic in member.topics})}
        sizes = {topic: size for topic, size in sizes.items() if size}
        if sizes == self.sizes:
            return False
        self.sizes = sizes
        return True

    def assign(self, now: Micros) -> None:
        """A target for the newest epoch, by the assignor that most members prefer."""
        topics = {topic: [f"{topic}-{number}" for number in range(size)] for topic, size in self.sizes.items()}
        votes = [member.assignor for member in self.members.values() if member.assignor]
        assignor = max(dict.fromkeys(votes), key=votes.count) if votes else DEFAULT
        members = [(one.member, one.instance, tuple(topic for topic in one.topics if topic in topics)) for one in self.members.values()]
        self.target = SERVER_ASSIGNORS[assignor](members, topics, self.target)
        self.target_epoch, self.assigned_at = self.epoch, now

    def reconcile(self, profile: BrokerProfile, member: ConsumerMember, owned: Sequence[str] | None, now: Micros) -> None:
        """One step further towards the target, as far as that is possible. `owned`: what the member says that it has, if it says so."""
        if member.state is Reconciling.STABLE and member.epoch == self.target_epoch:
            return
        if member.state is Reconciling.UNREVOKED and _owns(member.revoking, owned):
            return
        target = self.target.get(member.member, ())
        assigned = {partition: epoch for partition, epoch in member.assigned.items() if partition in target}
        revoking = {partition: epoch for partition, epoch in member.assigned.items() if partition not in target}
        to_come = [partition for partition in target if partition not in assigned]
        its_own = member.revoking if profile.takes_its_own_for_free else {}
        free = [partition for partition in to_come if partition in its_own or not self._is_held(partition)]
        if revoking and _owns(revoking, owned):
            gave_up = member.state is Reconciling.UNREVOKED and not profile.epoch_waits_for_revocations
            member.become(Reconciling.UNREVOKED, min(member.epoch + gave_up, self.target_epoch), assigned, revoking)
            member.revoke_until = now + member.rebalance_timeout_ms * 1_000
            return
        assigned.update(dict.fromkeys(free, self.target_epoch))
        state = Reconciling.UNRELEASED if len(free) < len(to_come) else Reconciling.STABLE
        member.become(state, self.target_epoch, assigned, {})  # Also where that is what it was: the epoch before is no longer good enough then.
        member.revoke_until = NEVER

    def _is_held(self, partition: str) -> bool:
        return any(partition in member.assigned or partition in member.revoking for member in self.members.values())

    # What outlives the coordinator.

    def record(self) -> ConsumerGroupRecord:
        members = tuple(
            ConsumerMemberRecord(
                *(one.member, one.instance, one.topics, one.assignor, one.rebalance_timeout_ms, one.epoch, one.previous_epoch, one.state),
                assigned=tuple(one.assigned.items()),
                revoking=tuple(one.revoking.items()),
            )
            for one in self.members.values()
        )
        target, sizes = tuple(self.target.items()), tuple(self.sizes.items())
        return ConsumerGroupRecord(self.name, self.epoch, self.target_epoch, target, self.assigned_at, sizes, members)


def as_written(record: ConsumerGroupRecord, now: Micros, session: Micros) -> ConsumerGroup:
    """Whoever is to give up partitions has as long for it as ever, and everybody a whole session."""
    group = ConsumerGroup(record.group)
    group.epoch, group.target_epoch, group.assigned_at = record.epoch, record.target_epoch, record.assigned_at
    group.target, group.sizes = dict(record.target), dict(record.sizes)
    for one in record.members:
        member = ConsumerMember(one.member, one.instance)
        member.topics, member.assignor, member.rebalance_timeout_ms = one.topics, one.assignor, one.rebalance_timeout_ms
        member.epoch, member.previous_epoch, member.state = one.epoch, one.previous_epoch, one.state
        member.assigned, member.revoking = dict(one.assigned), dict(one.revoking)
        member.expires_at = now + session
        if member.state is Reconciling.UNREVOKED:
            member.revoke_until = now + member.rebalance_timeout_ms * 1_000
        group.add(member)
    return group


def _owns(revoking: Mapping[str, int], owned: Sequence[str] | None) -> bool:
    return owned is None or any(partition in revoking for partition in owned)
