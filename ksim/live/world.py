"""The live world: what a fault is inflicted on when the brokers are real processes and the wire is the proxy's.

The schedule is that of the simulation (`ksim.faults`); only the hands are others. Deeds that take a while (a broker starts for seconds) go on by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from ksim.faults import Answered, Frames, Resolve
from ksim.live.ask import EARLIEST, Ask, ClusterState, NewTopic, Partition, Refused, TimedOut
from ksim.live.book import Book
from ksim.live.errors import LiveError
from ksim.live.exchange import NoAnswer
from ksim.live.naming import Naming
from ksim.plan import DISK_FAULTS, FaultPlan, FrameTrigger, Plan
from ksim_models.facts import Fault, LogStartMoved
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE
from ksim_models.units import SECOND, Micros

if TYPE_CHECKING:
    from ksim.live.proxy import Proxy

DELETED = "delete-records"
EXISTS = "the cluster answered TOPIC_ALREADY_EXISTS"
LOOK_S = 0.005
ENDS_WITHIN_S = 1.0
MACHINE_FAULTS = ("crash", "restart", "pause", "shutdown", *DISK_FAULTS)
NOT_HERE = {
    "power-loss": "brokers are processes here, and the system under them keeps their page cache (crash is kill -9): only a machine can be switched off",
    "slow-disk": "a replay does not slow down a real disk",
    "slow-cpu": "a replay does not slow down a real processor",
}
"""What no live cluster of ours can be done to, and why."""


class Cluster(Protocol):
    """Real brokers: of our own (`ksim.live.cluster`), or somebody else's (`ksim.live.external`)."""

    @property
    def ask(self) -> Ask: ...
    @property
    def brokers(self) -> Sequence[str]: ...

    def crash(self, name: str) -> object: ...
    def shutdown(self, name: str) -> object: ...
    def restart(self, name: str) -> object: ...
    def pause(self, name: str) -> object: ...
    def resume(self, name: str) -> object: ...
    def why_not(self, do: str, name: str) -> str:
        """Why this cannot be done to this broker or controller here; "" where it can."""
        ...

    def fail_disk(self, name: str, partition: Partition | None) -> None: ...
    def repair_disk(self, name: str) -> None: ...
    def has_fallen(self, name: str) -> bool:
        """It ended by itself, for want of a disk."""
        ...

    async def has_lost_a_directory(self, name: str) -> bool: ...


class Process(Protocol):
    """A client in a process of its own (`ksim.live.clients.LiveClient`)."""

    def kill(self) -> object: ...
    def shut_down(self, within: Micros | None = None) -> object:
        """As an application ends: what was sent gets its outcome, if there is time for that."""
        ...

    def start_again(self, zero_ns: int) -> object: ...

    def pause(self) -> object: ...
    def resume(self) -> object: ...


class Sight(Protocol):
    """What a living broker says of the partitions (`ksim.live.logs.MetadataWatcher`)."""

    def leader_of(self, partition: str) -> str: ...
    def isr_of(self, partition: str) -> tuple[str, ...]: ...
    def active_controller(self) -> str: ...
    def leader_in(self, topic: str, key: str) -> str:
        """Of the partition of an internal topic to which this key belongs; "" for none."""
        ...


class LiveWorld:
    """`ksim.faults.World`, carried out."""

    def __init__(
        self,
        plan: Plan,
        book: Book,
        naming: Naming,
        cluster: Cluster,
        proxy: Proxy,
        clients: Mapping[str, Process],
        sight: Sight,
        make_frames: Callable[[Sequence[tuple[FaultPlan, FrameTrigger]], Resolve, Callable[[Fault], None]], Frames],
    ) -> None:
        self.plan = plan
        self.book = book
        self.naming = naming
        self.cluster = cluster
        self.proxy = proxy
        self.clients = clients
        self.sight = sight
        self.frames = make_frames
        self.altered: dict[str, dict[str, str | None]] = {}
        """Settings of brokers to be put back, by the broker's name, or "" for all."""
        self.failing: set[str] = set()
        """Brokers whose disk takes no writes."""
        self.down: set[str] = set()
        self.frozen: set[str] = set()
        self._noting_at: Micros | None = None
        """The moment of what is told only now that the cluster has answered."""
        self.deeds: set[asyncio.Task[object]] = set()
        self.failed: list[BaseException] = []
        self.leader_of, self.isr_of, self.active_controller = sight.leader_of, sight.isr_of, sight.active_controller
        self._replicas = {partition: replicas for topic in plan.topics for partition, replicas in zip(topic.partitions, topic.assignment)}

    def coordinator_of(self, name: str) -> str:
        """Of a transactional id or a group; "" while there is none. A name that is both is taken for the former."""
        is_transactional = any(producer.config.transactional_id == name for producer in self.plan.producers)
        return self.sight.leader_in(TRANSACTION_STATE if is_transactional else CONSUMER_OFFSETS, self.naming.real_id(name))

    @property
    def now(self) -> Micros:
        return self.book.clock.now()

    def call_at(self, at: Micros, do: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(max(0, at - self.now) / SECOND, do)

    def note(self, fact: Fault) -> None:
        self.book.note(fact, self._noting_at)

    def replicas_of(self, partition: str) -> tuple[str, ...]:
        return self._replicas[partition]

    def slow_machine(self, name: str, part: str, factor: Fraction) -> None:
        raise AssertionError("refused before: see why_not")

    # Disks.

    def fail_disk(self, name: str, partition: str) -> None:
        self.failing.add(name)
        self.cluster.fail_disk(name, self._real(partition) if partition else None)

    def repair_disk(self, name: str) -> None:
        """A broker takes a directory back when it starts, so one that has lost it is started again, orderly if it runs."""
        self.failing.discard(name)
        self._do(self._repair_disk(name))

    async def _repair_disk(self, name: str) -> None:
        runs = not self.is_down(name)
        lost = not runs or await self.cluster.has_lost_a_directory(name)
        self.cluster.repair_disk(name)
        if runs and not lost:
            await asyncio.sleep(ENDS_WITHIN_S)  # It may have met the failure a moment ago.
            lost = self.cluster.has_fallen(name)
        if lost:
            self.down.add(name)
            await _over(self.cluster.shutdown(name))
            self.restart(name)

    # An administrator's deeds.

    def elect(self, partition: str, kind: str, answered: Answered) -> None:
        self._do(self._administer(lambda ask, broker: ask.elect_leader(broker, self._real(partition), kind), answered))

    def reassign(self, partition: str, to: tuple[str, ...], answered: Answered) -> None:
        async def move(ask: Ask, broker: str) -> None:
            await ask.reassign(broker, self._real(partition), to)
            self._replicas[partition] = to

        self._do(self._administer(move, answered))

    def alter(self, kind: str, name: str, settings: tuple[tuple[str, str], ...], answered: Answered) -> None:
        """What is altered of brokers is put back when the play is over; a topic is deleted then."""
        changes = dict(settings)
        if kind == "topic":
            self._do(self._administer(lambda ask, broker: ask.alter_topic(broker, self.naming.real(name), changes), answered))
        else:
            self.altered.setdefault(name, {}).update(dict.fromkeys(changes))
            self._alter_broker(name, changes, answered)

    def _alter_broker(self, name: str, changes: Mapping[str, str | None], answered: Answered) -> None:
        self._do(self._administer(lambda ask, broker: ask.alter_broker(broker, name or None, changes), answered))

    def recreate_topic(self, topic: str, answered: Answered, over: Callable[[], None]) -> None:
        """As an operator does it: deleted, and once that is committed created again with the same settings; tried again until it works."""
        self._do(self._recreate(topic, answered, over))

    async def _recreate(self, topic: str, answered: Answered, over: Callable[[], None]) -> None:
        plan = next(plan for plan in self.plan.topics if plan.name == topic)
        new = NewTopic(self.naming.real(topic), plan.assignment, plan.given)
        why = await self._done(lambda ask, broker: ask.delete(broker, [new.name]))
        answered(why)
        if why:
            return
        while (why := await self._done(lambda ask, broker: ask.create(broker, [new]))) and not why.startswith(EXISTS):  # A client may have been quicker.
            await asyncio.sleep(LOOK_S)
        while not (known := await self._known_everywhere(new.name)):
            await asyncio.sleep(LOOK_S)
        self._replicas |= {f"{topic}-{number}": state.replicas for (_, number), state in known.partitions.items()}
        self.proxy.learn_topics(known.topic_ids)
        over()

    def delete_records(self, partition: str, before: int, answered: Answered) -> None:
        self._do(self._delete_records(partition, before, answered))

    async def _delete_records(self, partition: str, before: int, answered: Answered) -> None:
        leader, real, asked_at = self.leader_of(partition), self._real(partition), self.now
        if not leader or self.is_down(leader):
            answered(f"nobody leads {partition} at that moment")
            return
        try:
            started = await self._log_start(leader, real)
            with contextlib.suppress(TimedOut):  # A follower lags behind; the leader has done it.
                await self.cluster.ask.delete_records(leader, real, before)
            start = await self._log_start(leader, real)
        except (NoAnswer, Refused) as refusal:
            answered(str(refusal))
            return
        if start == started:
            answered(f"the log starts at {start} already")
            return
        self.book.note(LogStartMoved(leader, partition, start, DELETED), asked_at)
        self._noting_at = asked_at
        answered("")
        self._noting_at = None

    async def _log_start(self, leader: str, partition: Partition) -> int:
        return (await self.cluster.ask.offsets(leader, [partition], at=EARLIEST))[partition]

    async def _known_everywhere(self, topic: str) -> ClusterState | None:
        """What the brokers that run say of it; None until all know it under one id."""
        running = [name for name in self.cluster.brokers if not self.is_down(name) and name not in self.frozen]
        try:
            states = [await self.cluster.ask.metadata(name, [topic]) for name in running]
        except NoAnswer:
            return None
        return states[0] if states and states[0].topic_ids and all(state.topic_ids == states[0].topic_ids for state in states) else None

    def _real(self, partition: str) -> tuple[str, int]:
        topic, _, number = partition.rpartition("-")
        return self.naming.real(topic), int(number)

    async def _administer(self, deed: Callable[[Ask, str], Coroutine[Any, Any, None]], answered: Answered) -> None:
        answered(await self._done(deed))

    async def _done(self, deed: Callable[[Ask, str], Coroutine[Any, Any, None]]) -> str:
        """By a broker that answers. Why it did not take effect; "" where it did."""
        why = "no broker answers"
        for broker in (name for name in self.cluster.brokers if name not in self.down | self.frozen):
            try:
                await deed(self.cluster.ask, broker)
                why = ""
            except NoAnswer:
                continue
            except Refused as refusal:
                why = str(refusal)
            break
        return why

    def why_not(self, fault: FaultPlan) -> str:
        if fault.do in NOT_HERE:
            return NOT_HERE[fault.do]
        if fault.do in MACHINE_FAULTS:
            named = [who.argument if who.kind == "machine" else who.kind for who in fault.who]
            return next((why for name in named if name not in self.clients and (why := self.cluster.why_not(fault.do, name))), "")
        return ""

    # Machines.

    def is_down(self, name: str) -> bool:
        return name in self.down or (name not in self.clients and self.cluster.has_fallen(name))

    def is_frozen(self, name: str) -> bool:
        return name in self.frozen

    def crash(self, name: str) -> None:
        if name not in self.down:
            self.down.add(name)
            self.frozen.discard(name)
            self._do(self.clients[name].kill() if name in self.clients else self.cluster.crash(name))

    def power_off(self, name: str) -> None:
        raise AssertionError("refused before: see why_not")

    def shutdown(self, name: str, within: Micros | None = None) -> None:
        if name not in self.down:
            self.down.add(name)
            if name in self.frozen:
                self.resume(name)  # What is stopped cannot end orderly.
            self._do(self.clients[name].shut_down(within) if name in self.clients else self.cluster.shutdown(name))

    def restart(self, name: str) -> None:
        if self.is_down(name):
            self.down.discard(name)
            self._do(self.clients[name].start_again(self.book.clock.zero_ns) if name in self.clients else self.cluster.restart(name))

    def pause(self, name: str) -> None:
        self.frozen.add(name)
        self._do(self.clients[name].pause() if name in self.clients else self.cluster.pause(name))

    def resume(self, name: str) -> None:
        if name in self.frozen:
            self.frozen.discard(name)
            self._do(self.clients[name].resume() if name in self.clients else self.cluster.resume(name))

    def mend_all(self) -> None:
        for name in sorted(self.frozen - self.clients.keys()):
            self.resume(name)
        for name in sorted(self.failing):
            self.repair_disk(name)
        for name in sorted(self.down - self.clients.keys()):
            self.restart(name)
        altered, self.altered = self.altered, {}
        for name, changes in altered.items():
            self._alter_broker(name, changes, lambda why: None)

    # Paths.

    def cut(self, sender: str, receiver: str) -> None:
        self.proxy.cut(sender, receiver)

    def mend(self, sender: str, receiver: str) -> None:
        self.proxy.mend(sender, receiver)

    def slow_down(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        self.proxy.slow_down(sender, receiver, by, bandwidth)

    def speed_up(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        self.proxy.speed_up(sender, receiver, by, bandwidth)

    def reset(self, one: str, other: str) -> int:
        return self.proxy.reset(one, other)

    def _do(self, deed: object) -> None:
        if inspect.iscoroutine(deed):
            task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(_named(deed))
            self.deeds.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[object]) -> None:
        self.deeds.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed.append(error)

    def raise_failures(self) -> None:
        """A broker that did not come back, a command of the user's that failed: nobody waits for the limit to be told."""
        if self.failed:
            error = self.failed[0]
            raise error if isinstance(error, LiveError) else LiveError(f"{type(error).__name__}: {error}") from error


async def _over(deed: object) -> None:
    """Waits for it, where that takes a while."""
    if inspect.isawaitable(deed):
        await deed


async def _named(deed: Coroutine[Any, Any, object]) -> object:
    return await deed
