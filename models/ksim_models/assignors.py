"""Who reads what in a group: the leader divides the partitions among the members.

Kafka: RangeAssignor, RoundRobinAssignor; AbstractPartitionAssignor.MemberInfo (the order of members); the sticky ones are in `sticky_assignors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ksim_models.profiles import ClientProfile
from ksim_models.sticky_assignors import NO_GENERATION, Claim, Rules, assign_cooperatively, assign_stickily
from ksim_models.transaction_messages import Held, JoinGroupResponse

Subscribed = tuple[str, str, tuple[str, ...]]
"""A member, its group.instance.id or nothing, the topics that it subscribes to."""
Assignment = dict[str, tuple[str, ...]]


def _in_order(members: Sequence[Subscribed]) -> list[Subscribed]:
    """By instance, where a member has one; those come first."""
    return sorted(members, key=lambda member: (not member[1], member[1] or member[0]))


def assign_ranges(members: Sequence[Subscribed], partitions: Mapping[str, Sequence[str]]) -> Assignment:
    """Topic by topic, in slices: the first members have one more where they do not come out even."""
    found: dict[str, list[str]] = {member: [] for member, _, _ in members}
    ordered = _in_order(members)
    for topic in sorted({topic: None for _, _, topics in members for topic in topics}):
        readers = [member for member, _, topics in ordered if topic in topics]
        each, more = divmod(len(partitions.get(topic, ())), len(readers))
        start = 0
        for place, member in enumerate(readers):
            stop = start + each + (place < more)
            found[member] += partitions[topic][start:stop] if stop > start else ()
            start = stop
    return {member: tuple(assigned) for member, assigned in found.items()}


def assign_in_turn(members: Sequence[Subscribed], partitions: Mapping[str, Sequence[str]]) -> Assignment:
    """One partition to each, round and round."""
    found: dict[str, list[str]] = {member: [] for member, _, _ in members}
    ordered = _in_order(members)
    turn = 0
    for topic in sorted({topic: None for _, _, topics in members for topic in topics}):
        for partition in partitions.get(topic, ()):
            while topic not in ordered[turn % len(ordered)][2]:
                turn += 1
            found[ordered[turn % len(ordered)][0]].append(partition)
            turn += 1
    return {member: tuple(assigned) for member, assigned in found.items()}


ASSIGNORS: dict[str, Callable[[Sequence[Subscribed], Mapping[str, Sequence[str]]], Assignment]] = {"range": assign_ranges, "roundrobin": assign_in_turn}
"""Those that remember nothing."""
STICKY, COOPERATIVE = "sticky", "cooperative-sticky"


class MemberAssignors:
    """The assignors of one consumer, and what they remember of what they gave it."""

    def __init__(self, names: Sequence[str], profile: ClientProfile) -> None:
        self.names = tuple(names)
        self.profile = profile
        self.sticky: tuple[str, ...] | None = None
        self.generations = {STICKY: NO_GENERATION, COOPERATIVE: NO_GENERATION}
        self.newest = {STICKY: NO_GENERATION, COOPERATIVE: NO_GENERATION}
        """Of all that this leader has ever been told of."""

    @property
    def is_cooperative(self) -> bool:
        """A member keeps its partitions while it joins if every one of its assignors can do with that; the others have to be free to give all away."""
        return self.names == (COOPERATIVE,)

    def held(self, partitions: tuple[str, ...], generation: int) -> Held:
        """What a JoinGroup says."""
        sticky, cooperative = (name in self.names for name in (STICKY, COOPERATIVE))
        return Held(
            partitions,
            generation if self.profile.generation_in_subscription else NO_GENERATION,
            self.sticky if sticky else None,
            self.generations[STICKY] if sticky else NO_GENERATION,
            self.generations[COOPERATIVE] if cooperative else NO_GENERATION,
        )

    def assigned(self, protocol: str, partitions: tuple[str, ...], generation: int) -> None:
        """onAssignment."""
        if protocol in self.generations:
            self.generations[protocol] = generation
        if protocol == STICKY:
            self.sticky = partitions

    def assign(self, joined: JoinGroupResponse, partitions: Mapping[str, Sequence[str]]) -> Assignment:
        """The leader's work. Topics that do not exist are nobody's."""
        if joined.protocol in ASSIGNORS:
            return ASSIGNORS[joined.protocol](joined.members, partitions)
        assert joined.protocol in self.newest
        subscribed = dict.fromkeys(topic for _, _, topics in joined.members for topic in topics)
        there = {topic: partitions[topic] for topic in subscribed if partitions.get(topic)}
        claim = _claim_by_data if joined.protocol == STICKY else _claim_by_subscription
        claims = [claim(member, topics, held) for (member, _, topics), held in zip(joined.members, joined.held, strict=True)]
        rules = Rules(self.newest[joined.protocol], not self.profile.compares_claims)
        if joined.protocol == STICKY:
            found, _, newest = assign_stickily(claims, there, rules)
        else:
            found, newest = assign_cooperatively(claims, there, rules)
        self.newest[joined.protocol] = newest
        return {member: tuple(assigned) for member, assigned in found.items()}


def _claim_by_data(member: str, topics: tuple[str, ...], held: Held) -> Claim:
    """StickyAssignor.memberData: what it was given last, as it has none now."""
    return Claim(member, topics, held.sticky or (), None if held.sticky is None else held.sticky_generation, held.generation)


def _claim_by_subscription(member: str, topics: tuple[str, ...], held: Held) -> Claim:
    """CooperativeStickyAssignor.memberData: the generation of the subscription, or where an older client tells none, of the assignor."""
    return Claim(member, topics, held.partitions, held.generation if held.generation >= 0 else held.cooperative_generation, held.generation)
