"""Balancing what members had, where they do not all subscribe to the same topics.

Kafka: AbstractStickyAssignor's GeneralAssignmentBuilder and PartitionMovements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Movements:
    """Between whom partitions of a topic have moved: one that would move against the stream is left, and one that came that way goes back instead."""

    def __init__(self) -> None:
        self.pair_of: dict[str, tuple[str, str]] = {}
        self.by_topic: dict[str, dict[tuple[str, str], dict[str, None]]] = {}

    def move(self, partition: str, topic: str, source: str, target: str) -> None:
        before = self.pair_of.pop(partition, None)
        if before is not None:
            del self.by_topic[topic][before][partition]
            if not self.by_topic[topic][before]:
                del self.by_topic[topic][before]
            source = before[0]
        if source != target:
            self.pair_of[partition] = source, target
            self.by_topic.setdefault(topic, {}).setdefault((source, target), {})[partition] = None

    def instead_of(self, partition: str, topic: str, source: str, target: str) -> str:
        if partition in self.pair_of:
            source = self.pair_of[partition][0]
        against = self.by_topic.get(topic, {}).get((target, source))
        return next(iter(against)) if against else partition


class Balancing:
    def __init__(
        self, owned: Mapping[str, list[str]], subscribed: Mapping[str, Sequence[str]], topics: Mapping[str, Sequence[str]], previous: Mapping[str, str]
    ) -> None:
        """previous: who had a partition in an older generation."""
        self.topics = topics
        self.previous = previous
        self.subscribed = {member: [topic for topic in named if topic in topics] for member, named in subscribed.items()}
        self.readers = {topic: [member for member, named in self.subscribed.items() if topic in named] for topic in topics}
        self.topic_of = {partition: topic for topic, partitions in topics.items() for partition in partitions}
        self.current = {member: list(partitions) for member, partitions in owned.items()}
        self.reader_of = {partition: member for member, partitions in self.current.items() for partition in partitions}
        self.movements = Movements()

    def assign(self) -> dict[str, list[str]]:
        must_revoke = False
        for member, partitions in self.current.items():
            mine = [partition for partition in partitions if self.topic_of[partition] in self.subscribed[member]]
            must_revoke = must_revoke or len(mine) < len(partitions)
            self.current[member] = mine
        kept = {partition: None for partitions in self.current.values() for partition in partitions}
        every = [partition for topic in sorted(self.topics, key=lambda topic: (len(self.readers[topic]), topic)) for partition in self.topics[topic]]
        unassigned = [partition for partition in every if partition not in kept]
        was_empty = not kept
        for partition in unassigned:
            reader = next((member for member in self._by_size() if self.topic_of[partition] in self.subscribed[member]), None)
            if reader is not None:
                self._give(partition, reader)
        fixed = {member: self.current.pop(member) for member in [member for member in self.current if not self._can_change(member)]}
        before = {member: list(partitions) for member, partitions in self.current.items()}
        if not must_revoke:
            self._reassign(self._shared(unassigned))
        if self._reassign(self._shared(every)) and not was_empty and _score(self.current) >= _score(before):
            self.current = before
        self.current.update(fixed)
        return self.current

    def _by_size(self) -> list[str]:
        return sorted(self.current, key=lambda member: (len(self.current[member]), member))

    def _give(self, partition: str, member: str) -> None:
        self.current[member].append(partition)
        self.reader_of[partition] = member

    def _shared(self, partitions: Iterable[str]) -> list[str]:
        """Those that more than one could read."""
        return [partition for partition in partitions if len(self.readers[self.topic_of[partition]]) > 1]

    def _room(self, member: str) -> int:
        return sum(len(self.topics[topic]) for topic in self.subscribed[member])

    def _can_change(self, member: str) -> bool:
        return len(self.current[member]) < self._room(member) or bool(self._shared(self.current[member]))

    def _is_balanced(self) -> bool:
        sizes = {member: len(partitions) for member, partitions in self.current.items()}
        if min(sizes.values()) >= max(sizes.values()) - 1:
            return True
        for member in self._by_size():
            if sizes[member] == self._room(member):
                continue
            for topic in self.subscribed[member]:
                for partition in self.topics[topic]:
                    other = self.reader_of[partition]
                    if other != member and sizes[member] + 1 < sizes[other]:
                        return False
        return True

    def _reassign(self, partitions: Sequence[str]) -> bool:
        """Again and again, until nothing moves any more."""
        has_moved = False
        moves = True
        while moves:
            moves = False
            for partition in partitions:
                if self._is_balanced():
                    break
                size = len(self.current[self.reader_of[partition]])
                before = self.previous.get(partition)
                if before is not None and before in self.current and size > len(self.current[before]) + 1:
                    self._move(partition, before)
                    has_moved = moves = True
                elif any(size > len(self.current[other]) + 1 for other in self.readers[self.topic_of[partition]]):
                    self._move(partition, next(one for one in self._by_size() if self.topic_of[partition] in self.subscribed[one]))
                    has_moved = moves = True
        return has_moved

    def _move(self, partition: str, target: str) -> None:
        topic = self.topic_of[partition]
        moved = self.movements.instead_of(partition, topic, self.reader_of[partition], target)
        source = self.reader_of[moved]
        self.movements.move(moved, topic, source, target)
        self.current[source].remove(moved)
        self._give(moved, target)


def _score(assignment: Mapping[str, Sequence[str]]) -> int:
    """How uneven it is: the differences of all pairs."""
    sizes = [len(partitions) for partitions in assignment.values()]
    return sum(abs(one - other) for place, one in enumerate(sizes) for other in sizes[:place])
