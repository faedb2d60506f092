"""Which partition a record without one of its own goes to: the built-in choice, and the partitioner classes that a client may name.

Kafka: BuiltInPartitioner (KIP-794), DefaultPartitioner and UniformStickyPartitioner with their StickyPartitionCache (KIP-480), RoundRobinPartitioner.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Sized
from copy import copy
from typing import Self

from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.machine import Dice
from ksim_models.partitioner_names import ROUND_ROBIN, UNIFORM_STICKY
from ksim_models.profiles import ClientProfile

Queues = Mapping[str, Sized]


class Partitioner(ABC):
    """What all of them have in common. A topic is named by the names of its partitions."""

    places_keys = True
    """A record with a key goes where the key says (A6)."""
    by_bytes = False
    """It counts what is appended, and switches by that."""
    adapts = False
    """It chooses by the queues as the last look found them."""
    version = 0
    """How often that changed what it would choose."""

    def __init__(self, producer: str, metadata: ClientMetadata, dice: Dice, *, asks_again: bool) -> None:
        self.producer = producer
        self.metadata = metadata
        self.dice = dice
        self.asks_again = asks_again
        """Up to 3.9, for a class: where a new batch is needed it is told, and asked a second time."""

    def fork(self) -> Self:
        """To try out what it will do."""
        return copy(self)

    @abstractmethod
    def choose(self, topic: str, partitions: Sequence[str]) -> str:
        """Where the next record goes."""

    def new_batch(self, topic: str, previous: str, partitions: Sequence[str]) -> None:  # noqa: B027  # Who is never told has nothing to do.
        """Partitioner.onNewBatch, where it `asks_again`: the record that was meant for `previous` found no room there."""

    def completes_switch(self, topic: str, partitions: Sequence[str]) -> bool:
        """All batches of the present partition are full: is the switch made that was held back for that?"""
        return False

    def appended(self, topic: str, bytes_appended: int, partitions: Sequence[str], *, last_is_full: bool) -> bool:
        """So many bytes, the header of a new batch included, went to the present partition. True where that makes it switch."""
        return False

    def counts_queues_of(self, topic: str) -> bool:
        return False

    def available(self, partitions: Sequence[str]) -> Sequence[str]:
        """Those with a leader, or none."""
        leader_of = self.metadata.leader_of
        return [partition for partition in partitions if leader_of(partition)[0]]

    def anyone_of(self, topic: str, draws: int, partitions: Sequence[str]) -> str:
        return partitions[int(self.dice.at("sticky", self.producer, topic, draws) * len(partitions))]


class Place:
    """Where the records of one topic stick."""

    __slots__ = ("bytes", "partition", "switches")

    def __init__(self) -> None:
        self.partition = ""
        self.bytes = 0
        self.switches = 0
        """How often a new one was drawn."""


class Sticky(Partitioner):
    """To one partition per topic, until something makes it switch."""

    def __init__(self, producer: str, metadata: ClientMetadata, dice: Dice, *, asks_again: bool) -> None:
        super().__init__(producer, metadata, dice, asks_again=asks_again)
        self.places: dict[str, Place] = {}

    def fork(self) -> Self:
        other = super().fork()
        other.places = {topic: copy(place) for topic, place in self.places.items()}
        return other

    def choose(self, topic: str, partitions: Sequence[str]) -> str:
        place = self.places.get(topic)
        if place is None:
            place = self.places[topic] = Place()
            self._switch(topic, place, partitions)
        return place.partition

    @abstractmethod
    def _switch(self, topic: str, place: Place, partitions: Sequence[str]) -> None: ...


class BuiltIn(Sticky):
    """From 3.3 on, where no class is named (A46): by bytes, and rather to short queues than to long ones (A46a)."""

    by_bytes = True

    def __init__(self, producer: str, config: ProducerConfig, metadata: ClientMetadata, dice: Dice) -> None:
        super().__init__(producer, metadata, dice, asks_again=False)
        self.places_keys = not config.partitioner_ignore_keys
        self.adapts = config.partitioner_adaptive_partitioning_enable
        self.batch_size = max(1, config.batch_size)
        self.loads: dict[str, tuple[list[int], list[str]]] = {}
        """Topic -> cumulative weights, and whose they are; only where some partition is to be preferred."""

    def completes_switch(self, topic: str, partitions: Sequence[str]) -> bool:
        place = self.places[topic]
        if place.bytes < self.batch_size:
            return False
        self._switch(topic, place, partitions)
        return True

    def appended(self, topic: str, bytes_appended: int, partitions: Sequence[str], *, last_is_full: bool) -> bool:
        place = self.places[topic]
        place.bytes += bytes_appended
        if place.bytes < self.batch_size or not (last_is_full or place.bytes >= 2 * self.batch_size):
            return False
        self._switch(topic, place, partitions)
        return True

    def bytes_left(self, topic: str) -> int:
        """So many may still come before it switches even though the batch is not full."""
        return 2 * self.batch_size - 1 - self.places[topic].bytes

    def _switch(self, topic: str, place: Place, partitions: Sequence[str]) -> None:
        """The draw may give the same again."""
        load = self.loads.get(topic)
        if load is None:
            place.partition = self.anyone_of(topic, place.switches, self.available(partitions) or partitions)
        else:
            weights, names = load
            draw = int(self.dice.at("sticky", self.producer, topic, place.switches) * weights[-1])
            place.partition = names[bisect_right(weights, draw)]
        place.switches += 1
        place.bytes = 0

    def counts_queues_of(self, topic: str) -> bool:
        return self.adapts and topic in self.places

    def looked(self, queues: Queues, slow_nodes: frozenset[str]) -> None:
        """The I/O thread went over the queues."""
        if not self.adapts:
            return
        for topic in self.places:
            partitions = self.metadata.topics.get(topic, ())
            load = self._load_of(partitions, queues, slow_nodes)
            if load != self.loads.get(topic):
                self.version += 1
                self.loads = dict(self.loads)
                if load is None:
                    del self.loads[topic]
                else:
                    self.loads[topic] = load

    def _load_of(self, partitions: Sequence[str], queues: Queues, slow_nodes: frozenset[str]) -> tuple[list[int], list[str]] | None:
        """RecordAccumulator.partitionReady: the sizes of the queues, without those that have no leader, or whose leader takes nothing for too long (A46b)."""
        if len(partitions) < 2 or any(partition not in queues for partition in partitions):
            return None  # Only once a batch was made for each of them.
        sizes, names = [0] * len(partitions), [""] * len(partitions)
        count = 0
        for partition in partitions:
            leader = self.metadata.leader_of(partition)[0]
            if not leader:
                continue
            names[count] = partition
            size = len(queues[partition])
            if size:  # An empty queue is stepped over: it counts as what stands there, which is 0 but behind one that was left out.
                sizes[count] = size
                if leader in slow_nodes:
                    continue
            count += 1
        return frequencies(sizes, names, count)


def frequencies(sizes: Sequence[int], names: Sequence[str], count: int) -> tuple[list[int], list[str]] | None:
    """BuiltInPartitioner.updatePartitionLoadStats: of the first `count` queues each gets the longest + 1 - its own length; None for an even choice (A46a)."""
    if count < 1 or len(sizes) < 2:
        return None
    first = sizes[0]
    if count == len(sizes) and all(size == first for size in sizes):
        return None
    longest = max(sizes[:count]) + 1
    weights, total = [], 0
    for size in sizes[:count]:
        total += longest - size
        weights.append(total)
    return weights, list(names[:count])


class StickyByBatch(Sticky):
    """DefaultPartitioner and UniformStickyPartitioner (A47, A49): to one partition until a new batch is needed there, then to any other."""

    def __init__(self, producer: str, metadata: ClientMetadata, dice: Dice, *, places_keys: bool) -> None:
        super().__init__(producer, metadata, dice, asks_again=True)
        self.places_keys = places_keys

    def new_batch(self, topic: str, previous: str, partitions: Sequence[str]) -> None:
        """StickyPartitionCache.nextPartition; a record with a key may be the cause too."""
        place = self.places.get(topic)
        if place is None:
            place = self.places[topic] = Place()
        if place.partition in ("", previous):
            self._switch(topic, place, partitions)

    def _switch(self, topic: str, place: Place, partitions: Sequence[str]) -> None:
        available = self.available(partitions)
        if len(available) > 1:
            available = [partition for partition in available if partition != place.partition]
        place.partition = self.anyone_of(topic, place.switches, available or partitions)
        place.switches += 1


class RoundRobin(Partitioner):
    """RoundRobinPartitioner (A48): a counter per topic, over the partitions that have a leader, whatever the key."""

    places_keys = False

    def __init__(self, producer: str, metadata: ClientMetadata, dice: Dice, *, asks_again: bool, remembers: bool) -> None:
        super().__init__(producer, metadata, dice, asks_again=asks_again)
        self.remembers = remembers
        """3.9.2 (KAFKA-17632): asked a second time it gives the same; before, it skipped a partition with every new batch."""
        self.counters: dict[str, int] = {}
        self.previous: tuple[str, str] | None = None

    def fork(self) -> Self:
        other = super().fork()
        other.counters = dict(self.counters)
        return other

    def choose(self, topic: str, partitions: Sequence[str]) -> str:
        previous, self.previous = self.previous, None
        if previous is not None and previous[0] == topic:
            return previous[1]
        count = self.counters.get(topic, 0)
        self.counters[topic] = count + 1
        choices = self.available(partitions) or partitions
        return choices[count % len(choices)]

    def new_batch(self, topic: str, previous: str, partitions: Sequence[str]) -> None:
        if self.remembers:
            self.previous = topic, previous


def partitioner_of(producer: str, config: ProducerConfig, profile: ClientProfile, metadata: ClientMetadata, dice: Dice) -> Partitioner:
    """As the client would construct it: before 3.3 there is always a class, DefaultPartitioner if none is named."""
    name = config.partitioner_class
    if name == ROUND_ROBIN:
        return RoundRobin(producer, metadata, dice, asks_again=not profile.asks_partitioner_once, remembers=profile.round_robin_remembers)
    if name is None and profile.uniform_sticky:
        return BuiltIn(producer, config, metadata, dice)
    return StickyByBatch(producer, metadata, dice, places_keys=name != UNIFORM_STICKY)
