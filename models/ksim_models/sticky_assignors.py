"""Assignment that moves as little as it can: members keep what they had, as far as that is balanced.

Kafka: AbstractStickyAssignor (ConstrainedAssignmentBuilder, for members with equal subscriptions), StickyAssignor (KIP-54),
CooperativeStickyAssignor (KIP-429).
`sticky_general` is the other half. Simplified: consumers have no racks here (KIP-881).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksim_models.machine import message
from ksim_models.sticky_general import Balancing

Partitions = Mapping[str, Sequence[str]]
"""Of each topic, in their order."""
Assignment = dict[str, list[str]]
NO_GENERATION = -1


@message
class Claim:
    """What a member says that it had, and since when: the newest generation counts where two say so of one partition."""

    member: str
    topics: tuple[str, ...]
    partitions: tuple[str, ...]
    generation: int | None
    told_generation: int
    """As of its subscription (KIP-792), whatever its assignor adds to that: a claim is held against this one of the claim before."""


@message
class Rules:
    """Of one release and one leader."""

    newest: int = NO_GENERATION
    """The newest generation that this leader's assignor has heard of before."""
    only_the_newest: bool = False
    """Before 3.4.1: whoever is not of the newest generation is thought to have nothing; so it may be given away at once (KAFKA-14639)."""


class Claims:
    """Of all members, sorted out."""

    def __init__(self, claims: Sequence[Claim], topics: Partitions, rules: Rules) -> None:
        self.owned: Assignment = {one.member: [] for one in claims}
        self.twice: dict[str, None] = {}
        """Claimed by several members of one generation: none of them keeps it."""
        self.newest = max(rules.newest, *(_generation(one) for one in claims))
        self.are_equal = all(sorted(one.topics) == sorted(claims[0].topics) for one in claims)
        there = {partition: None for partitions in topics.values() for partition in partitions}
        if rules.only_the_newest:
            self._sort_out([(one, 0, 0) for one in claims if _generation(one) == self.newest], there)
        else:
            self._sort_out([(one, _generation(one), one.told_generation) for one in claims], there)

    def _sort_out(self, claims: Sequence[tuple[Claim, int, int]], there: Mapping[str, None]) -> None:
        owners: dict[str, tuple[str, int]] = {}
        for one, generation, told in claims:
            mine = self.owned[one.member]
            for partition in one.partitions:
                if partition not in there:
                    continue
                other, other_told = owners.get(partition, ("", NO_GENERATION))
                if other and generation < other_told:
                    continue
                if other and partition in self.owned[other]:
                    self.owned[other].remove(partition)
                if other and generation == other_told:
                    self.twice[partition] = None
                else:
                    mine.append(partition)
                owners[partition] = one.member, told


def _generation(claim: Claim) -> int:
    return NO_GENERATION if claim.generation is None else claim.generation


def assign_stickily(claims: Sequence[Claim], topics: Partitions, rules: Rules) -> tuple[Assignment, dict[str, str] | None, int]:
    """The assignment; who gets what another one has to give up first, or None where that is not known; the newest generation there is."""
    found = Claims(claims, topics, rules)
    if found.are_equal:
        assignment, moving = _assign_equals(found, topics)
        return assignment, moving, found.newest
    previous: dict[str, tuple[str, int]] = {}
    for one in claims:
        generation = _generation(one)
        for partition in one.partitions if generation < found.newest else ():
            if partition not in previous or generation > previous[partition][1]:
                previous[partition] = one.member, generation
    subscribed = {one.member: one.topics for one in claims}
    return Balancing(found.owned, subscribed, topics, {partition: owner for partition, (owner, _) in previous.items()}).assign(), None, found.newest


def assign_cooperatively(claims: Sequence[Claim], topics: Partitions, rules: Rules) -> tuple[Assignment, int]:
    """KIP-429: what one member has and another is to get is nobody's first. The next rebalance, when it has been given up, gives it."""
    assignment, moving, newest = assign_stickily(claims, topics, rules)
    if moving is None:
        added = {partition: one.member for one in claims for partition in assignment[one.member] if partition not in one.partitions}
        revoked = dict.fromkeys(partition for one in claims for partition in one.partitions if partition not in assignment[one.member])
        moving = {partition: member for partition, member in added.items() if partition in revoked}
    for partition, member in moving.items():
        assignment[member].remove(partition)
    return assignment, newest


def _assign_equals(found: Claims, topics: Partitions) -> tuple[Assignment, dict[str, str]]:
    """Everybody subscribes to the same: so many each, and one more for some."""
    every = [partition for topic in sorted(topics) for partition in topics[topic]]
    place = {partition: (number, topic) for topic in topics for number, partition in enumerate(topics[topic])}
    least, expected_more = divmod(len(every), len(found.owned))
    most = least + (expected_more > 0)
    have_more = 0
    assignment: Assignment = {member: [] for member in found.owned}
    given_up: dict[str, str] = {}
    hungry: list[str] = []
    content: list[str] = []
    """With the least that everybody gets, and room for one more."""
    for member, owned in found.owned.items():
        had = sorted((one for one in owned if one not in found.twice), key=place.__getitem__)
        keeps = len(had)
        if keeps < least:
            hungry.append(member)
        elif keeps >= most and have_more < expected_more:
            keeps = most
            have_more += 1
            if have_more == expected_more:
                content.clear()
        else:
            keeps = least
            if have_more < expected_more:
                content.append(member)
        assignment[member] = had[:keeps]
        given_up.update(dict.fromkeys(had[keeps:], member))
    hungry.sort()
    content.sort()
    kept = {partition: None for owned in assignment.values() for partition in owned}
    moving: dict[str, str] = {}
    turn = 0
    for partition in every:
        if partition in kept:
            continue
        if not hungry:
            member = content.pop(0)
        else:
            turn = turn if turn < len(hungry) else 0
            member = hungry[turn]
            turn += 1
        assignment[member].append(partition)
        if given_up.get(partition, member) != member or partition in found.twice:
            moving[partition] = member
        if len(assignment[member]) == least:
            turn -= 1
            del hungry[turn]
            content.append(member)
    return assignment, moving
