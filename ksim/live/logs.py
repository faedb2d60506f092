"""What happens inside the cluster during a play: appends, copies, truncations, elections, fencing.

Kafka: the segment files of our own brokers and the metadata log of our own controllers, read while they are written; of a cluster that is not ours, what a
living broker answers. These facts serve triggers, exposure and explanations; the verdict reads none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ksim.live.ask import Ask, ClusterState, Partition
from ksim.live.batches import WARM, Batch, with_records
from ksim.live.book import Book
from ksim.live.cluster import KraftCluster
from ksim.live.compressed import NotReadable
from ksim.live.exchange import NoAnswer
from ksim.live.metadata_log import FOLDER, MetadataImage
from ksim.live.naming import Naming
from ksim.live.segments import Change, Tail
from ksim.plan import Plan
from ksim_models.facts import Appended, PartitionChanged, Replicated, Truncated
from ksim_models.messages import NO_LEADER
from ksim_models.units import Micros

LOOK_S = 0.005
NEW_SEGMENTS_EVERY = 20
"""Looks. A new segment is rare, and to list a folder costs more than to ask a file for its size."""
ASK_S = 0.05
QUORUM_EVERY = 10
"""Asks of who the active controller is, where there are several."""


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
            self.sight = Outside(scene, told, book)
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
            self.sight.last_look()

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


class Inside:
    """A cluster of our own: its files."""

    def __init__(self, cluster: KraftCluster, told: dict[Partition, str], producers: list[str], book: Book) -> None:
        self.cluster = cluster
        self.told = told
        self.producers = producers
        self.book = book
        self.image = MetadataImage({number: name for name, number in cluster.ids.items()})
        self.tails = {(broker, partition): Tail(cluster.data(broker) / f"{partition[0]}-{partition[1]}") for partition in told for broker in cluster.brokers}
        self.controller = cluster.controllers[0]
        self._metadata: dict[str, Tail] = {}
        self._read_to = 0
        """The metadata log's records before this offset were read, from whichever controller."""
        self._looks = 0
        self._last: Micros = 0
        self._unclear: list[tuple[Micros, str, Partition, Batch, bytes]] = []
        """Batches of a leader epoch that the metadata log has not told us of yet."""

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
            if self._looks % (QUORUM_EVERY * NEW_SEGMENTS_EVERY) == 0:
                await self._find_controller()

    def look(self) -> None:
        self._looks += 1
        for_segments = self._looks % NEW_SEGMENTS_EVERY == 0
        now = self.book.clock.now()
        self._read_metadata(note=True, for_segments=for_segments)
        for (broker, partition), tail in self.tails.items():
            if change := tail.look(for_segments=for_segments):
                self._note(broker, partition, change, now)
        self._last = now

    def last_look(self) -> None:
        self._looks = -1
        self.look()
        for at, broker, partition, batch, data in self._unclear:
            self._appended(at, broker, partition, batch, data)
        self._unclear = []

    def leader_of(self, partition: Partition) -> str:
        known = self.image.partitions.get(partition)
        return self.image.names.get(known.leader, NO_LEADER) if known else NO_LEADER

    def isr_of(self, partition: Partition) -> tuple[str, ...]:
        known = self.image.partitions.get(partition)
        return tuple(self.image.names[number] for number in known.isr) if known else ()

    def active_controller(self) -> str:
        return self.controller

    async def _find_controller(self) -> None:
        if len(self.cluster.controllers) > 1:
            self.controller = await self.cluster.active_controller() or self.controller

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
                if not note:
                    continue
                if isinstance(fact, tuple):
                    topic, number, changed = fact
                    if (topic, number) in self.told:
                        self.book.note(replace(changed, partition=self.told[topic, number]), at)
                else:
                    self.book.note(fact, at)
        unclear, self._unclear = self._unclear, []
        for at, broker, partition, batch, data in unclear:
            if not self._stored(at, broker, partition, batch, data):
                self.book.note(Replicated(broker, self.told[partition], batch.last_offset + 1), at)

    def _note(self, broker: str, partition: Partition, change: Change, now: Micros) -> None:
        at = self._moment(change, now)
        if change.truncated is not None:
            before, after = change.truncated
            self.book.note(Truncated(broker, self.told[partition], after, before), at)
        copied = 0
        for batch, data in change.batches:
            if not self._stored(at, broker, partition, batch, data):
                copied = batch.last_offset + 1
        if copied:
            self.book.note(Replicated(broker, self.told[partition], copied), at)

    def _stored(self, at: Micros, broker: str, partition: Partition, batch: Batch, data: bytes) -> bool:
        """True where the broker led, or where that is not known yet."""
        leader = self.image.leaders.get((*partition, batch.leader_epoch))
        if leader is None:
            self._unclear.append((at, broker, partition, batch, data))
            return True
        if self.image.names.get(leader) != broker:
            return False
        self._appended(at, broker, partition, batch, data)
        return True

    def _appended(self, at: Micros, broker: str, partition: Partition, batch: Batch, data: bytes) -> None:
        try:
            facts = with_records(batch, data).logged(self.producers)
        except NotReadable:
            return  # What was compressed so that we cannot read it is known at the end, from the dump.
        for fact in facts:
            if fact.producer != WARM:
                self.book.note(Appended(broker, self.told[partition], fact.producer, fact.records, fact.base_offset, fact.leader_epoch), at)

    def _moment(self, change: Change, now: Micros) -> Micros:
        """When the file was written to, as the file system has it; between the last look and this one in any case."""
        written = self.book.clock.of(change.written_ns - (time.time_ns() - time.monotonic_ns()))
        return min(now, max(self._last, written))


class Outside:
    """A cluster that is not ours: what its brokers answer, one after another until one does."""

    def __init__(self, scene: Scene, told: dict[Partition, str], book: Book) -> None:
        self.scene = scene
        self.told = told
        self.book = book
        self.state = ClusterState((), (), {}, {})
        self._asked = scene.brokers[0]

    async def start(self) -> None:
        await self._ask()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(ASK_S)
            await self._ask(note=True)

    def last_look(self) -> None:
        """Nothing is left behind where every answer was noted."""

    def leader_of(self, partition: Partition) -> str:
        return self.state.partitions[partition].leader if partition in self.state.partitions else NO_LEADER

    def isr_of(self, partition: Partition) -> tuple[str, ...]:
        return self.state.partitions[partition].isr if partition in self.state.partitions else ()

    def active_controller(self) -> str:
        return ""

    async def _ask(self, *, note: bool = False) -> None:
        order = [self._asked, *(name for name in self.scene.brokers if name != self._asked)]
        for name in order:
            try:
                state = await self.scene.ask.metadata(name, sorted({topic for topic, _ in self.told}))
            except NoAnswer:
                continue
            self._asked = name
            if note:
                self._note(state)
            self.state = state
            return

    def _note(self, state: ClusterState) -> None:
        for partition, told in self.told.items():
            before, now = self.state.partitions.get(partition), state.partitions.get(partition)
            if before is None or now is None or now.leader_epoch < before.leader_epoch:
                continue
            if (now.leader, now.leader_epoch, now.isr) != (before.leader, before.leader_epoch, before.isr):
                unclean = now.leader not in ("", before.leader, *before.isr)
                self.book.note(PartitionChanged(told, now.leader, now.leader_epoch, now.isr, (), -1, unclean, ""))
