"""Who reads what in a group of the consumer protocol (KIP-848): the coordinator divides, for members that only say what they subscribe to.

Kafka: UniformAssignor (UniformHomogeneousAssignmentBuilder), RangeAssignor of the group coordinator.
Simplified: members with different topics go by the range assignor only (its heterogeneous half); a scenario that would need the uniform one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Partitions = Mapping[str, Sequence[str]]
Target = dict[str, tuple[str, ...]]
Subscribed = tuple[str, str, tuple[str, ...]]
"""A member, its group.instance.id or nothing, topics."""


def assign_uniformly(members: Sequence[Subscribed], topics: Partitions, before: Target) -> Target:
    """Everybody keeps what it had, up to so many; one more for those that had it, as long as there are enough of them."""
    assert all(sorted(named) == sorted(members[0][2]) for _, _, named in members)
    every = [partition for topic in sorted(topics) for partition in topics[topic]]
    there = dict.fromkeys(every)
    given = {partition: None for member, _, _ in members for partition in before.get(member, ())}
    unassigned = [partition for partition in every if partition not in given]
    least, with_more = divmod(len(every), len(members))
    target: Target = {}
    unfilled: list[tuple[str, int]] = []
    for place, (member, _, _) in enumerate(members):
        room, has_more = least + (with_more > 0), with_more > 0
        kept: list[str] = []
        for partition in (partition for partition in before.get(member, ()) if partition in there):
            if room > 0:
                room -= 1
                kept.append(partition)
            else:
                unassigned.append(partition)
        if room > 0 and has_more and len(members) - place > with_more:
            room, has_more = room - 1, False
        if room > 0:
            unfilled.append((member, room))
        with_more -= has_more
        target[member] = tuple(kept)
    for member, room in unfilled:
        target[member] += tuple(unassigned[:room])
        del unassigned[:room]
    assert not unassigned
    return target


def assign_by_ranges(members: Sequence[Subscribed], topics: Partitions, before: Target) -> Target:
    """Topic by topic in slices, by instance where a member has one, whatever anybody had."""
    del before
    target: Target = {member: () for member, _, _ in members}
    ordered = sorted(members, key=lambda member: (not member[1], member[1] or member[0]))
    for topic in sorted(topics):
        readers = [member for member, _, named in ordered if topic in named]
        each, more = divmod(len(topics[topic]), len(readers))
        start = 0
        for place, member in enumerate(readers):
            stop = start + each + (place < more)
            target[member] += tuple(topics[topic][start:stop])
            start = stop
    return target


SERVER_ASSIGNORS: dict[str, Callable[[Sequence[Subscribed], Partitions, Target], Target]] = {"uniform": assign_uniformly, "range": assign_by_ranges}
"""By the names of group.remote.assignor. The first is the default of group.consumer.assignors."""
DEFAULT = "uniform"
