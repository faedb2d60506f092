"""A stage: real brokers with the proxy before them, on which scenarios are played one after another.

The course of a play is that of a simulation: clients start cold at time zero, faults strike, all that is wrong is mended, and when all is quiet the logs are
read. What is told of it are the same facts; the verdict is by the same code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Protocol

from ksim.dice import Dice
from ksim.exposure import expose
from ksim.faults import Faults, Resolve
from ksim.history import History
from ksim.live.ask import COMMITTED, UNCOMMITTED, Ask, ClusterState, NewTopic
from ksim.live.book import Book
from ksim.live.clients import LiveClient, librdkafka_command, librdkafka_reader_command
from ksim.live.clock import Clock
from ksim.live.exchange import Address, NoAnswer
from ksim.live.final_logs import FinalTruth, final_logs
from ksim.live.frame_faults import FrameFaults
from ksim.live.in_batches import in_batches
from ksim.live.internal_topics import internal_topics
from ksim.live.java_client import compile_client, java_command
from ksim.live.kafka import installed_clients
from ksim.live.logs import Watchers
from ksim.live.naming import Naming
from ksim.live.processes import Workplace
from ksim.live.proxy import Proxy
from ksim.live.readers import Elsewhere, LiveReader
from ksim.live.world import Cluster, LiveWorld, Process
from ksim.network import LinkDelays
from ksim.plan import FaultPlan, FrameTrigger, Plan, ProducerPlan
from ksim.runs import Run, run_line
from ksim_models.facts import Ended, Fault
from ksim_models.topic_creation import is_legal
from ksim_models.units import Micros

LEAD_NS = 400_000_000
WARM_LEAD_NS = 2_200_000_000
"""From "go" to time zero: with a warm-up the real client is constructed a second before."""
LOOK_S = 0.02
CONVERGED_EVERY_S = 0.25
PRACTISE = "practise"
BUFFER_MEMORY = 32 * 1024 * 1024


class Scene(Cluster, Protocol):
    """A cluster, as far as a play needs it."""

    ask: Ask

    @property
    def version(self) -> str: ...
    @property
    def brokers(self) -> Sequence[str]: ...
    @property
    def addresses(self) -> dict[str, Address]: ...
    @property
    def ids(self) -> dict[str, int]: ...
    def check(self) -> None:
        """LiveError where a broker is gone that nobody took away."""
        ...

    async def place(self, topics: Sequence[NewTopic]) -> None:
        """Before they are created: in which log directories they are to stand."""
        ...

    async def coordinate(self, topics: Sequence[NewTopic]) -> bool:
        """Before time zero: the topics of coordinators, as a simulation makes them. False: they are there already, and others use them."""
        ...

    async def leave(self, prefix: str) -> None:
        """A play is over: the topics with this prefix were made for it."""
        ...


class Play:
    """One scenario on one scene."""

    def __init__(self, plan: Plan, scene: Scene, proxy: Proxy, workplace: Workplace) -> None:
        self.plan = plan
        self.scene = scene
        self.proxy = proxy
        self.workplace = workplace
        self.clock = Clock()
        self.naming = Naming()
        self.book = Book(self.clock)
        self.dice = Dice(plan.seed)
        self.clients: dict[str, LiveClient] = {}
        self.processes: dict[str, Process] = {}
        """By every name by which a fault can strike them."""
        self.watchers = Watchers(scene, plan, self.naming, self.book)
        self.world = LiveWorld(plan, self.book, self.naming, scene, proxy, self.processes, self.watchers, self._frames)

    async def run(self) -> Run:
        began = time.perf_counter()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._strike_the_set)
            await self._create_topics()
            self.naming.keeps_ids = await self.scene.coordinate(internal_topics(self.plan, self.dice))
            self._prepare_the_proxy()
            await self._start_clients()
            await self.watchers.start()
            faults = await self._begin()
            quiet = await self._until_over(faults)
            ended_at = self.clock.now()
            await self._end_clients(quiet=quiet)
            await self.watchers.stop()
            truth = await final_logs(self.scene, await self._with_created_topics(), self.naming)
            history = self._close_books(faults, truth, ended_at, quiet=quiet)
        plan = replace(self.plan, notes=(*self.plan.notes, *self._notes(truth)))
        return Run(plan, history, 0, ended_at, (time.perf_counter() - began) * 1000)

    # Before time zero.

    async def _create_topics(self) -> None:
        topics = [NewTopic(self.naming.real(topic.name), topic.assignment, topic.given) for topic in self.plan.topics if topic.exists]
        await self.scene.place(topics)
        topics.append(NewTopic(self.naming.real(PRACTISE), ((self.scene.brokers[0],),), ()))
        await self.scene.ask.create_topics(self.scene.brokers[0], topics)
        self.proxy.learn_topics((await self.scene.ask.metadata(self.scene.brokers[0], [topic.name for topic in topics])).topic_ids)

    def _prepare_the_proxy(self) -> None:
        delays = LinkDelays(self.plan.network, self.dice) if "network" in self.plan.data else None
        self.proxy.prepare(self.clock, self.book, self.naming, [producer.name for producer in self.plan.producers], delays)

    async def _start_clients(self) -> None:
        real = ",".join(f"{host}:{port}" for host, port in self.scene.addresses.values())
        writers = {application.producer: application for application in self.plan.applications}
        readers = {application.consumer: application for application in self.plan.applications}
        for index, producer in enumerate(self.plan.producers):
            if producer.name not in writers:
                client = LiveClient(self.plan, index, await self._command(producer), naming=self.naming, book=self.book, workplace=self.workplace)
                await self._start_client(client, producer.name, real)
        for consumer in self.plan.consumers:
            application = readers.get(consumer.name)
            command = await self._java_command(BUFFER_MEMORY) if consumer.client == "java" else librdkafka_reader_command()
            reader = LiveReader(self.plan, consumer, application, command, naming=self.naming, book=self.book, workplace=self.workplace)
            reader.consumer_doors = await self._doors(consumer.name)
            if application is not None:
                self.processes[consumer.name] = Elsewhere()
            await self._start_client(reader, application.producer if application is not None else consumer.name, real)

    async def _start_client(self, client: LiveClient, name: str, real: str) -> None:
        self.clients[name] = self.processes[name] = client
        await client.start(await self._doors(name), (real, self.naming.real(PRACTISE)))

    async def _doors(self, name: str) -> list[str]:
        doors = [await self.proxy.open_door(name, broker, self.scene.addresses[broker], self.scene.ids[broker]) for broker in self.scene.brokers]
        return [f"{host}:{port}" for host, port in doors]

    async def _command(self, producer: ProducerPlan) -> list[str]:
        if producer.client != "java":
            return librdkafka_command()
        return await self._java_command(producer.config.buffer_memory)

    async def _java_command(self, buffer_memory: int) -> list[str]:
        found = await asyncio.to_thread(installed_clients, self.plan.client_version, self.workplace)
        classes = await asyncio.to_thread(compile_client, found.java, found.classpath)
        return java_command(found.java, found.classpath, classes, buffer_memory=buffer_memory)

    async def _begin(self) -> Faults:
        self.clock.start_at(time.monotonic_ns() + (WARM_LEAD_NS if self.plan.warm else LEAD_NS))
        self.watchers.begin()
        faults = Faults(self.plan, self.world, self.dice)
        if faults.frames is None:
            self.proxy.begin()
        for client in self.clients.values():
            client.go(self.clock.zero_ns)
        watchers = faults.watchers()

        def watch(at: Micros, fact: object) -> None:
            for counter in watchers.get(type(fact), ()):
                counter.see(at, fact)

        self.book.watch(watch)
        return faults

    def _frames(self, faults: Sequence[tuple[FaultPlan, FrameTrigger]], resolve: Resolve, note: Callable[[Fault], None]) -> FrameFaults:
        frames = FrameFaults([fault for fault, _ in faults], self.dice, resolve, note)
        self.proxy.begin(frames)
        return frames

    # The course of a play.

    async def _until_over(self, faults: Faults) -> bool:
        """Until all is quiet (True), or the limit strikes."""
        while self.clock.now() < max(0, faults.last_known_end) or not all(self._has_offered(name) for name in self.clients):
            await self._look()
        if self.plan.heal:
            faults.heal()
        healed_at = self.clock.now()
        while self.clock.now() < healed_at + self.plan.limit:
            if not faults.at_work and not self.world.deeds and self._are_done() and await self._has_converged() and self._are_done():
                return True  # Nor has anybody sent something again meanwhile.
            await self._look()
        return False

    def _are_done(self) -> bool:
        return all(client.is_done for client in self.clients.values())

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_S)
        self.world.raise_failures()
        self.scene.check()
        self.watchers.check()
        for client in self.clients.values():
            client.check()

    def _has_offered(self, name: str) -> bool:
        """A process that is frozen until the heal offers nothing more before it."""
        return self.clients[name].all_offered or self.world.is_frozen(name)

    async def _has_converged(self) -> bool:
        """Every broker is back, every replica has caught up, and the ISR is whole."""
        if not self.plan.heal:
            return True
        transactional = any(producer.config.transactional_id for producer in self.plan.producers)
        await asyncio.sleep(CONVERGED_EVERY_S)
        ask = self.scene.ask
        expected = {
            (self.naming.real(topic.name), number): self.world.replicas_of(partition)
            for topic in self.plan.topics
            if topic.exists
            for number, partition in enumerate(topic.partitions)
        }
        try:
            state = await ask.metadata(self.scene.brokers[0], sorted({topic for topic, _ in expected}))
            if set(state.brokers) != set(self.scene.brokers):
                return False
            for partition, replicas in expected.items():
                found = state.partitions.get(partition)
                if found is None or not found.leader or set(found.isr) != set(replicas):
                    return False
                ends = {(await ask.offsets(name, [partition], of_log=True)).get(partition) for name in replicas}
                watermark = (await ask.offsets(found.leader, [partition])).get(partition)
                if ends != {watermark}:
                    return False
                if transactional and (await ask.offsets(found.leader, [partition], isolation=COMMITTED)).get(partition) != watermark:
                    return False  # A transaction is open, and its coordinator will end it in time.
            return await self._have_read(state)
        except NoAnswer:
            return False

    async def _have_read(self, state: ClusterState) -> bool:
        """Of each group somebody that runs has read all there is to read."""
        groups: dict[str, list[LiveReader]] = {}
        for reader in self.clients.values():
            if isinstance(reader, LiveReader) and reader.reads and not self.world.is_frozen(reader.name):
                groups.setdefault(f"group {reader.consumer.config.group_id}" if reader.consumer.config.group_id else reader.name, []).append(reader)
        for readers in groups.values():
            isolation = COMMITTED if readers[0].consumer.config.read_committed else UNCOMMITTED
            for (topic, number), known in state.partitions.items():
                told = self.naming.told(topic)
                takers = [reader for reader in readers if told in reader.consumer.topics]
                if takers:
                    end = (await self.scene.ask.offsets(known.leader, [(topic, number)], isolation=isolation)).get((topic, number))
                    if not any(end is not None and (reader.positions or {}).get(f"{told}-{number}", -1) >= end for reader in takers):
                        return False
        return True

    # The end.

    async def _with_created_topics(self) -> Plan:
        """Topics that were absent at time zero and have been created on demand are read too."""
        absent = {self.naming.real(topic.name): topic for topic in self.plan.topics if not topic.exists}
        if not absent:
            return self.plan
        state = await self.scene.ask.metadata(self.scene.brokers[0], [name for name in absent if is_legal(name)])
        found: dict[str, list[tuple[str, ...]]] = {}
        for (name, _), partition in state.partitions.items():
            found.setdefault(absent[name].name, []).append(partition.replicas)
        topics = [replace(topic, exists=True, assignment=tuple(found[topic.name])) if topic.name in found else topic for topic in self.plan.topics]
        return replace(self.plan, topics=tuple(topics))

    async def _end_clients(self, *, quiet: bool) -> None:
        """What is still pending at the limit has no outcome: nobody waits for one."""
        for client in self.clients.values():
            if not quiet:
                client.kill()
            await client.close()

    def _close_books(self, faults: Faults, truth: FinalTruth, now: Micros, *, quiet: bool) -> History:
        plan = self.plan
        self.book.facts = in_batches([(at, fact) for at, fact in self.book.facts if at <= now])  # Behind it the clients were closed.
        for log in truth.logs:
            doubted = any(reason.startswith((f"{log.partition}:", f"{log.partition} ")) for reason in truth.reasons)
            self.book.note(replace(log, readable=log.readable and not doubted), now)
        history = self.book.history(run_line(plan, how="live", kafka=self._versions(), client=self._clients()))
        touched = expose(history, plan)
        for fault in plan.told_faults:
            resolved = dict.fromkeys(
                name for _, fact in history.of(Fault) if fact.name == fault.name and fact.phase in ("begin", "hit") for name in fact.resolved
            )
            history.add(now, Fault(fault.name, fault.do, "summary", tuple(resolved), touched[fault.index]))
        producers = {producer.name for producer in plan.producers}
        history.add(now, Ended(quiet, tuple(name for name in self.clients if name in producers and not self.world.is_down(name)), 0))
        return history

    def _notes(self, truth: FinalTruth) -> Iterator[str]:
        """What the reader of the report should know besides."""
        for client in self.clients.values():
            library, kind = (client.consumer.client, "consumer") if isinstance(client, LiveReader) else (client.plan.client, "producer")
            yield f"{client.name} was the real {library} {kind}, {client.version}"
        yield from truth.reasons
        yield from dict.fromkeys(f"the proxy passed bytes on unread: {why}" for why in self.proxy.not_read)

    def _versions(self) -> object:
        brokers, clients = self.scene.version, self.plan.client_version
        return brokers if brokers == clients or brokers.startswith(f"{clients}.") else {"brokers": brokers, "clients": clients}

    def _clients(self) -> object:
        names = {producer.name: producer.client for producer in self.plan.producers}
        return next(iter(names.values())) if len(set(names.values())) == 1 else names

    async def _strike_the_set(self) -> None:
        """Also where the play was broken off: nobody stays down or frozen, and nothing of ours stays behind."""
        for client in self.clients.values():
            client.kill()
        self.world.mend_all()
        while self.world.deeds:
            await asyncio.sleep(LOOK_S)
        await self.watchers.stop()
        await self.proxy.clear()
        await self.scene.leave(self.naming.prefix)
