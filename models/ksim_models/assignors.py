"""Who reads what in a group: the leader divides the partitions among the members.

Kafka: RangeAssignor, RoundRobinAssignor; AbstractPartitionAssignor.MemberInfo (the order of members).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
