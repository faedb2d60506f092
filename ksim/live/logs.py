"""What happens inside the cluster during a play: appends, copies, truncations, elections, fencing.

Kafka: the segment files of our own brokers and the metadata log of our own controllers, read while they are written; of a cluster that is not ours, what a
living broker answers. These facts serve triggers, exposure and explanations; the verdict reads none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from ksim.live.ask import Ask, ClusterState, Partition
from ksim.live.batches import WARM, Batch, batches_in, with_records
from ksim.live.book import Book
from ksim.live.cluster import KraftCluster
from ksim.live.compressed import NotReadable
from ksim.live.exchange import NoAnswer
from ksim.live.metadata_log import FOLDER, MetadataImage
from ksim.live.naming import Naming
from ksim.live.segments import Change, Tail
from ksim.plan import Plan
from ksim_models.facts import Appended, BrokerChanged, PartitionChanged, Replicated, TopicChanged, Truncated
from ksim_models.internal_topics import place_of
from ksim_models.messages import NO_LEADER
from ksim_models.units import Micros

LOOK_S = 0.005
NEW_SEGMENTS_EVERY = 20
"""Looks. A new segment is rare, and to list a folder costs more than to ask a file for its size."""
ASK_S = 0.05
FIND_CONTROLLER_EVERY = 200
"""Looks; where there are several controllers."""


class Scene(Protocol):
    """A cluster, ours or not."""

    @property
    def ask(self) -> Ask: ...
    @property
    def brokers(self) -> Sequence[str]: ...


class Watchers:
    """`start` before time zero, when the topics are there; `begin` when the clock runs; facts are noted from then on."""

    def __init__(self, scene: Scene, plan: Plan, naming: Naming, book: Book) -> None:
        partitions = {(naming.real(topic.name), number) for topic in plan.topics if topic.exists for number in range(len(topic.assignment))}
        told = {partition: f"{naming.told(partition[0])}-{partition[1]}" for partition in sorted(partitions)}
        self.sight: Inside | Outside
        if isinstance(scene, KraftCluster):
            self.sight = Inside(scene, told, [producer.name for producer in plan.producers], book)
        else:
            self.sight = Outside(scene, told, [producer.name for producer in plan.producers], book)
        self._real = {name: partition for partition, name in told.items()}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.sight.start()

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.sight.watch())

    async def stop(self) -> None:
        """What was written up to now is still noted."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.sight.last_look()

    def check(self) -> None:
        """Raises what ended the watching, if anything did."""
        if self._task is not None and self._task.done() and not self._task.cancelled() and (error := self._task.exception()):
            raise error

    def leader_of(self, partition: str) -> str:
        return self.sight.leader_of(self._real[partition])

    def isr_of(self, partition: str) -> tuple[str, ...]:
        return self.sight.isr_of(self._real[partition])

    def active_controller(self) -> str:
        return self.sight.active_controller()

    def leader_in(self, topic: str, key: str) -> str:
        return self.sight.leader_in(topic, key)


class Replicas:
    """Notes what became of the logs of all replicas."""

    def __init__(self, told: dict[Partition, str], producers: list[str], book: Book, led: Callable[[Partition, int], str | None]) -> None:
        """`led`: who led a partition in a leader epoch, None where that is not known yet."""
        self.told = told
        self.producers = producers
        self.book = book
        self.led = led
        self._unclear: list[tuple[Micros, str, Partition, str, Batch, bytes]] = []
        """Batches of a leader epoch that nobody has told us of yet."""
        self._appended_to: dict[tuple[Partition, str, int], int] = {}
        """Per topic id and leader epoch: up to where appends were noted."""

    def note(self, broker: str, partition: Partition, change: Change, at: Micros) -> None:
        if change.truncated is not None:
            before, after = change.truncated
            self.book.note(Truncated(broker, self.told[partition], after, before), at)
        copied = 0
        for batch, data in change.batches:
            if not self._stored(at, broker, partition, change.topic_id, batch, data):
                copied = batch.last_offset + 1
        if copied:
            self.book.note(Replicated(broker, self.told[partition], copied), at)

    def look_again(self) -> None:
        """Now that more is known of who led."""
        unclear, self._unclear = self._unclear, []
        for at, broker, partition, topic_id, batch, data in unclear:
            if not self._stored(at, broker, partition, topic_id, batch, data):
                self.book.note(Replicated(broker, self.told[partition], batch.last_offset + 1), at)

    def settle(self) -> None:
        """Nobody will tell any more: who had a batch first is taken for its leader."""
        for at, broker, partition, topic_id, batch, data in self._unclear:
            self._appended(at, broker, partition, topic_id, batch, data)
        self._unclear = []

    def _stored(self, at: Micros, broker: str, partition: Partition, topic_id: str, batch: Batch, data: bytes) -> bool:
        """True where the broker led, or where that is not known yet."""
        leader = self.led(partition, batch.leader_epoch)
        if leader is None:
            self._unclear.append((at, broker, partition, topic_id, batch, data))
        else:
            self._appended(at, leader, partition, topic_id, batch, data)
        return leader in (None, broker)

    def _appended(self, at: Micros, broker: str, partition: Partition, topic_id: str, batch: Batch, data: bytes) -> None:
        """Once per batch, in whichever log it is seen first: what a follower has its leader had before."""
        epoch = partition, topic_id, batch.leader_epoch
        if batch.base_offset < self._appended_to.get(epoch, 0):
            return
        self._appended_to[epoch] = batch.last_offset + 1
        try:
            facts = with_records(batch, data).logged(self.producers)
        except NotReadable:
            return  # What was compressed so that we cannot read it is known at the end, from the dump.
        for fact in facts:
            if fact.producer != WARM:
                self.book.note(Appended(broker, self.told[partition], fact.producer, fact.records, fact.base_offset, fact.leader_epoch), at)


class Inside:
    """A cluster of our own: its files."""

    def __init__(self, cluster: KraftCluster, told: dict[Partition, str], producers: list[str], book: Book) -> None:
        self.cluster = cluster
        self.told = told
        self.book = book
        self.image = MetadataImage({number: name for name, number in cluster.ids.items()})
        self.replicas = Replicas(told, producers, book, self._led)
        self.tails = {
            (broker, partition): Tail(*(folder / "{}-{}".format(*partition) for folder in cluster.directories(broker)))
            for partition in told
            for broker in cluster.brokers
        }
        self.controller = cluster.controllers[0]
        self._metadata: dict[str, Tail] = {}
        self._read_to = 0
        """The metadata log's records before this offset were read, from whichever controller."""
        self._looks = 0
        self._last: Micros = 0

    async def start(self) -> None:
        """What stands in the logs already is known, and no news."""
        self._read_metadata(note=False)
        for tail in self.tails.values():
            tail.look()
        await self._find_controller()

    async def watch(self) -> None:
        self._last = self.book.clock.now()
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()
            if self._looks % FIND_CONTROLLER_EVERY == 0:
                await self._find_controller()

    def look(self) -> None:
        self._looks += 1
        for_segments = self._looks % NEW_SEGMENTS_EVERY == 0
        now = self.book.clock.now()
        self._read_metadata(note=True, for_segments=for_segments)
        for (broker, partition), tail in self.tails.items():
            if change := tail.look(for_segments=for_segments):
                self.replicas.note(broker, partition, change, self._moment(change, now))
        self._last = now

    async def last_look(self) -> None:
        self._looks = -1
        self.look()
        self.replicas.settle()

    def leader_of(self, partition: Partition) -> str:
        known = self.image.partitions.get(partition)
        return self.image.names.get(known.leader, NO_LEADER) if known else NO_LEADER

    def isr_of(self, partition: Partition) -> tuple[str, ...]:
        known = self.image.partitions.get(partition)
        return tuple(self.image.names[number] for number in known.isr) if known else ()

    def active_controller(self) -> str:
        return self.controller

    def leader_in(self, topic: str, key: str) -> str:
        partitions = sum(name == topic for name, _ in self.image.partitions)
        return self.leader_of((topic, place_of(key, partitions))) if partitions else NO_LEADER

    async def _find_controller(self) -> None:
        if len(self.cluster.controllers) > 1:
            self.controller = await self.cluster.active_controller() or self.controller

    def _led(self, partition: Partition, epoch: int) -> str | None:
        leader = self.image.leaders.get((*partition, epoch))
        return None if leader is None else self.image.names.get(leader)

    def _read_metadata(self, *, note: bool, for_segments: bool = True) -> None:
        """The log of the controller that leads; of another one when that is down, since all have the same."""
        name = self.controller
        if not self.cluster.is_running(name):
            name = next((other for other in self.cluster.controllers if self.cluster.is_running(other)), name)
        tail = self._metadata.setdefault(name, Tail(self.cluster.data(name) / FOLDER))
        change = tail.look(for_segments=for_segments)
        if change is None:
            return
        at = self._moment(change, self.book.clock.now())
        for batch, data in change.batches:
            if batch.control or batch.base_offset < self._read_to:
                continue
            self._read_to = batch.last_offset + 1
            for fact in self.image.read(data):
                if note:
                    self._decided(fact, at)
        self.replicas.look_again()

    def _decided(self, fact: tuple[str, int, PartitionChanged] | BrokerChanged | TopicChanged, at: Micros) -> None:
        if isinstance(fact, BrokerChanged):
            self.book.note(fact, at)
        elif isinstance(fact, TopicChanged):
            if told := self.told.get((fact.topic, 0)):
                self.book.note(replace(fact, topic=told.rpartition("-")[0]), at)
        elif told := self.told.get(fact[:2]):
            self.book.note(replace(fact[2], partition=told), at)

    def _moment(self, change: Change, now: Micros) -> Micros:
        """When the file was written to, as the file system has it; between the last look and this one in any case."""
        written = self.book.clock.of(change.written_ns - (time.time_ns() - time.monotonic_ns()))
        return min(now, max(self._last, written))


class Outside:
    """A cluster that is not ours: what its brokers answer. Moments are those of the answers, so twenty a second."""

    def __init__(self, scene: Scene, told: dict[Partition, str], producers: list[str], book: Book) -> None:
        self.scene = scene
        self.told = told
        self.book = book
        self.state = ClusterState((), (), {}, {})
        self.replicas = Replicas(told, producers, book, self._led)
        self._leaders: dict[tuple[Partition, int], str] = {}
        self._ends: dict[tuple[Partition, str], tuple[str, int]] = {}
        """Of which topic, by its id, and up to where it was read."""
        self._asked = scene.brokers[0]

    async def start(self) -> None:
        await self._ask(note=False)

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(ASK_S)
            await self._look()

    async def last_look(self) -> None:
        await self._look()
        self.replicas.settle()

    def leader_of(self, partition: Partition) -> str:
        return self.state.partitions[partition].leader if partition in self.state.partitions else NO_LEADER

    def isr_of(self, partition: Partition) -> tuple[str, ...]:
        return self.state.partitions[partition].isr if partition in self.state.partitions else ()

    def active_controller(self) -> str:
        return ""

    def leader_in(self, topic: str, key: str) -> str:
        return NO_LEADER  # Only topics of the scenario are asked for.

    def _led(self, partition: Partition, epoch: int) -> str | None:
        return self._leaders.get((partition, epoch))

    async def _look(self) -> None:
        await self._ask(note=True)
        await asyncio.gather(*(self._read(partition, broker) for partition, state in self.state.partitions.items() for broker in state.replicas))
        self.replicas.look_again()

    async def _ask(self, *, note: bool) -> None:
        """The broker that answered last, or the next one that does."""
        for name in [self._asked, *(name for name in self.scene.brokers if name != self._asked)]:
            try:
                state = await self.scene.ask.metadata(name, sorted({topic for topic, _ in self.told}))
            except NoAnswer:
                continue
            self._asked = name
            if note:
                self._note(state)
            self.state = state
            self._leaders |= {(partition, one.leader_epoch): one.leader for partition, one in state.partitions.items() if one.leader != NO_LEADER}
            return

    def _note(self, state: ClusterState) -> None:
        for broker in self.scene.brokers:
            if (broker in state.brokers) != (broker in self.state.brokers):
                self.book.note(BrokerChanged(broker, -1, "unfenced" if broker in state.brokers else "fenced"))
        for partition, told in self.told.items():
            before, now = self.state.partitions.get(partition), state.partitions.get(partition)
            if before is None or now is None or now.leader_epoch < before.leader_epoch:
                continue
            if (now.leader, now.leader_epoch, now.isr) != (before.leader, before.leader_epoch, before.isr):
                unclean = now.leader not in (NO_LEADER, before.leader, *before.isr)
                self.book.note(PartitionChanged(told, now.leader, now.leader_epoch, now.isr, (), -1, unclean, ""))

    async def _read(self, partition: Partition, broker: str) -> None:
        """What is new in the log of one replica."""
        if broker not in self.state.brokers or partition not in self.told:
            return
        topic_id = self.state.topic_ids[partition[0]]
        known, before = self._ends.get((partition, broker), (topic_id, 0))
        if known != topic_id:
            before = 0  # Created again.
        change = Change(0, topic_id=topic_id)
        with contextlib.suppress(NoAnswer):
            end = (await self.scene.ask.offsets(broker, [partition], of_log=True)).get(partition)
            if end is None or end == before:
                return
            if end < before:
                change.truncated = before, end
            reading = await self.scene.ask.read(broker, partition, topic_id, min(before, end))
            change.batches = [entry for entry in batches_in(reading.records) if entry[0].last_offset >= before] if reading else []
            change.end = change.batches[-1][0].last_offset + 1 if change.batches else end
            self._ends[partition, broker] = topic_id, change.end
            self.replicas.note(broker, partition, change, self.book.clock.now())
