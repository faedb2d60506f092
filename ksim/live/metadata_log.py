"""What the controllers decide, read from the metadata log as it is written: who leads, who is in sync, which brokers are fenced.

Kafka: the records of metadata/src/main/resources/common/metadata, PartitionRegistration.merge, MetadataRecordSerde; topic __cluster_metadata of KRaft.
No broker has to be asked, so nothing depends on one that is stopped, cut off or behind.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ksim.live.batches import content_of, count_of
from ksim.live.wire import varint
from ksim_models.facts import BrokerChanged, PartitionChanged, TopicChanged
from ksim_models.messages import NO_LEADER
from ksim_models.topic_creation import CREATED

FOLDER = "__cluster_metadata-0"
REGISTER_BROKER, UNREGISTER_BROKER, TOPIC, PARTITION, PARTITION_CHANGE, FENCE, UNFENCE, REMOVE_TOPIC, REGISTRATION_CHANGE = 0, 1, 2, 3, 5, 7, 8, 9, 17
LEADER_UNCHANGED = -2
RECOVERING = 1

Members = tuple[int, ...]
News = Iterator[tuple[str, int, PartitionChanged] | BrokerChanged | TopicChanged]
"""A partition's with its topic, as the cluster calls it, and its number."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One partition as the controller knows it; brokers by their ids."""

    topic: str
    number: int
    replicas: Members
    isr: Members
    leader: int
    leader_epoch: int
    partition_epoch: int
    elr: Members = ()


class MetadataImage:
    """`names`: node ids to the scenario's names. Told batch by batch; answers with facts about topics as the cluster calls them."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self.partitions: dict[tuple[str, int], Registered] = {}
        self.leaders: dict[tuple[str, int, int], int] = {}
        """(topic, partition, leader epoch) to the broker that led in it."""
        self.unfenced: dict[int, bool] = {}
        self.topics: dict[uuid.UUID, str] = {}
        self.removed: dict[str, int] = {}
        """How many topics of this name there were before."""

    def read(self, batch: bytes) -> News:
        """Facts of one batch of the metadata log."""
        news = [fact for key, version, reader in records_of(batch) if (deed := DEEDS.get(key)) for fact in deed(self, reader, version)]
        left = {fact.broker: f"{fact.state} {fact.broker}" for fact in news if isinstance(fact, BrokerChanged) and fact.state != "unfenced"}
        for fact in news:
            if isinstance(fact, tuple):
                topic, number, change = fact
                why = next((left[broker] for broker in left if broker not in change.isr), change.why)
                yield topic, number, replace(change, why=why)
            else:
                yield fact

    def _topic(self, reader: Reader, version: int) -> News:
        """Where one of this name was deleted before, that it is there again is news."""
        name = reader.string()
        self.topics[reader.uuid()] = name
        if name in self.removed:
            yield TopicChanged(name, self.removed[name], "created")

    def _remove_topic(self, reader: Reader, version: int) -> News:
        gone = self.topics.pop(reader.uuid(), None)
        self.partitions = {partition: known for partition, known in self.partitions.items() if partition[0] != gone}
        if gone is not None:
            before = self.removed.get(gone, 0)
            self.removed[gone] = before + 1
            yield TopicChanged(gone, before, "deleted")

    def _partition(self, reader: Reader, version: int) -> News:
        """A new partition is no change, so no fact, unless its topic is created again."""
        number, topic = reader.int32(), self.topics.get(reader.uuid())
        replicas, isr = reader.int32s(), reader.int32s()
        reader.int32s(), reader.int32s()
        leader, leader_epoch, partition_epoch = reader.int32(), reader.int32(), reader.int32()
        if topic is not None:
            new = Registered(topic, number, replicas, isr, leader, leader_epoch, partition_epoch)
            self._keep(new)
            if topic in self.removed:
                yield topic, number, replace(self._fact(new, new, unclean=False), why=CREATED)

    def _partition_change(self, reader: Reader, version: int) -> News:
        number, topic = reader.int32(), self.topics.get(reader.uuid())
        known = self.partitions.get((topic or "", number))
        if known is None:
            return
        tags = reader.tags()
        new = replace(
            known,
            partition_epoch=known.partition_epoch + 1,
            isr=tags[0].int32s() if 0 in tags else known.isr,
            replicas=tags[2].int32s() if 2 in tags else known.replicas,
            elr=tags[6].int32s() if 6 in tags else known.elr,
        )
        if 1 in tags and (leader := tags[1].int32()) != LEADER_UNCHANGED:
            new = replace(new, leader=leader, leader_epoch=known.leader_epoch + 1)
        recovering = 5 in tags and tags[5].int8() == RECOVERING
        self._keep(new)
        yield new.topic, number, self._fact(known, new, unclean=recovering or self._is_unclean(known, new))

    def _keep(self, new: Registered) -> None:
        self.partitions[new.topic, new.number] = new
        if new.leader >= 0:
            self.leaders[new.topic, new.number, new.leader_epoch] = new.leader

    def _is_unclean(self, known: Registered, new: Registered) -> bool:
        return new.leader >= 0 and new.leader != known.leader and new.leader not in {*known.isr, *known.elr}

    def _fact(self, known: Registered, new: Registered, *, unclean: bool) -> PartitionChanged:
        moved = new.leader_epoch != known.leader_epoch
        return PartitionChanged(
            partition="",
            leader=self._name(new.leader),
            leader_epoch=new.leader_epoch,
            isr=self._named(new.isr),
            elr=self._named(new.elr),
            partition_epoch=new.partition_epoch,
            unclean=unclean,
            why="election" if moved else f"AlterPartition by {self._name(new.leader)}" if new.isr != known.isr else "",
        )

    def _register(self, reader: Reader, version: int) -> News:
        broker = reader.int32()
        if version >= 2:
            reader.int8()
        reader.uuid()
        epoch = reader.int64()
        self.unfenced[broker] = False
        yield BrokerChanged(self._name(broker), epoch, "registered")

    def _unregister(self, reader: Reader, version: int) -> News:
        yield from self._turn(reader.int32(), reader.int64(), unfenced=False)

    def _fence(self, reader: Reader, version: int) -> News:
        yield from self._turn(reader.int32(), reader.int64(), unfenced=False)

    def _unfence(self, reader: Reader, version: int) -> News:
        yield from self._turn(reader.int32(), reader.int64(), unfenced=True)

    def _registration_change(self, reader: Reader, version: int) -> News:
        broker, epoch, tags = reader.int32(), reader.int64(), reader.tags()
        fenced = tags[0].int8() if 0 in tags else 0
        if fenced:
            yield from self._turn(broker, epoch, unfenced=fenced < 0)

    def _turn(self, broker: int, epoch: int, *, unfenced: bool) -> Iterator[BrokerChanged]:
        if self.unfenced.get(broker) != unfenced:
            self.unfenced[broker] = unfenced
            yield BrokerChanged(self._name(broker), epoch, "unfenced" if unfenced else "fenced")

    def _named(self, ids: Members) -> tuple[str, ...]:
        return tuple(self._name(number) for number in ids)

    def _name(self, number: int) -> str:
        return self.names.get(number, f"node-{number}") if number >= 0 else NO_LEADER


class Reader:
    """Kafka's compact encoding."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise IndexError(f"{self.at} of {len(self.data)} bytes")
        return self.data[self.at - size : self.at]

    def int8(self) -> int:
        return int.from_bytes(self.take(1), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def int64(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.take(16))

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def string(self) -> str:
        return self.take(self.unsigned() - 1).decode("utf-8", "replace")

    def int32s(self) -> Members:
        """None and empty are alike."""
        count = max(0, self.unsigned() - 1)
        return struct.unpack(f">{count}i", self.take(4 * count))

    def tags(self) -> dict[int, Reader]:
        return {self.unsigned(): Reader(self.take(self.unsigned())) for _ in range(self.unsigned())}


def records_of(batch: bytes) -> Iterator[tuple[int, int, Reader]]:
    """Each record's API key, version and content: ApiMessageAndVersion in the frame of AbstractApiMessageSerde."""
    content, at = content_of(batch), 0
    for _ in range(count_of(batch)):
        length, at = varint(content, at)
        end = at + length
        _, at = varint(content, at + 1)  # Behind the attributes: the timestamp's delta,
        _, at = varint(content, at)  # the offset's delta,
        size, at = varint(content, at)  # the key.
        size, at = varint(content, at + max(size, 0))
        reader = Reader(content[at : at + max(size, 0)])
        at = end
        if reader.data:
            reader.unsigned()  # The frame's version.
            yield reader.unsigned(), reader.unsigned(), reader


Deed = Callable[[MetadataImage, Reader, int], News]
DEEDS: dict[int, Deed] = {
    REGISTER_BROKER: MetadataImage._register,
    UNREGISTER_BROKER: MetadataImage._unregister,
    TOPIC: MetadataImage._topic,
    PARTITION: MetadataImage._partition,
    PARTITION_CHANGE: MetadataImage._partition_change,
    FENCE: MetadataImage._fence,
    UNFENCE: MetadataImage._unfence,
    REMOVE_TOPIC: MetadataImage._remove_topic,
    REGISTRATION_CHANGE: MetadataImage._registration_change,
}
