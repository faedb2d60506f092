"""The live world: what a fault is inflicted on when the brokers are real processes and the wire is the proxy's.

The schedule is that of the simulation (`ksim.faults`); only the hands are others. Deeds that take a while (a broker starts for seconds) go on by themselves.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from ksim.faults import Answered, Frames, Resolve
from ksim.live.ask import Ask, Refused
from ksim.live.book import Book
from ksim.live.errors import LiveError
from ksim.live.exchange import NoAnswer
from ksim.live.naming import Naming
from ksim.plan import FaultPlan, FrameTrigger, Plan
from ksim_models.facts import Fault
from ksim_models.units import SECOND, Micros

if TYPE_CHECKING:
    from ksim.live.proxy import Proxy

MACHINE_FAULTS = ("crash", "restart", "pause", "shutdown")
NOT_HERE = {
    "power-loss": "brokers are processes here, and the system under them keeps their page cache (crash is kill -9): only a machine can be switched off",
    "delete-records": "a replay does not send DeleteRecords yet",
    "recreate-topic": "a replay does not create topics again",
    "disk-full": "a replay leaves the disks alone",
    "disk-error": "a replay leaves the disks alone",
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
        self.down: set[str] = set()
        self.frozen: set[str] = set()
        self.deeds: set[asyncio.Task[object]] = set()
        self.failed: list[BaseException] = []
        self.leader_of, self.isr_of, self.active_controller = sight.leader_of, sight.isr_of, sight.active_controller
        self._replicas = {partition: replicas for topic in plan.topics for partition, replicas in zip(topic.partitions, topic.assignment)}

    @property
    def now(self) -> Micros:
        return self.book.clock.now()

    def call_at(self, at: Micros, do: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(max(0, at - self.now) / SECOND, do)

    def note(self, fact: Fault) -> None:
        self.book.note(fact)

    def replicas_of(self, partition: str) -> tuple[str, ...]:
        return self._replicas[partition]

    def slow_machine(self, name: str, part: str, factor: Fraction) -> None:
        raise AssertionError("refused before: see why_not")

    def fail_disk(self, name: str, partition: str) -> None:
        raise AssertionError("refused before: disks are not broken here")

    def repair_disk(self, name: str) -> None:
        raise AssertionError("refused before: disks are not broken here")

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
        raise AssertionError("refused before: topics are not created again here")

    def _real(self, partition: str) -> tuple[str, int]:
        topic, _, number = partition.rpartition("-")
        return self.naming.real(topic), int(number)

    async def _administer(self, deed: Callable[[Ask, str], Coroutine[Any, Any, None]], answered: Answered) -> None:
        """By a broker that answers."""
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
        answered(why)

    def why_not(self, fault: FaultPlan) -> str:
        if fault.do in NOT_HERE:
            return NOT_HERE[fault.do]
        if fault.do in MACHINE_FAULTS:
            named = [who.argument if who.kind == "machine" else who.kind for who in fault.who]
            return next((why for name in named if name not in self.clients and (why := self.cluster.why_not(fault.do, name))), "")
        return ""

    # Machines.

    def is_down(self, name: str) -> bool:
        return name in self.down

    def is_frozen(self, name: str) -> bool:
        return name in self.frozen

    def crash(self, name: str) -> None:
        if name not in self.down:
            self.down.add(name)
            self.frozen.discard(name)
            self._do(self.clients[name].kill() if name in self.clients else self.cluster.crash(name))

    def power_off(self, name: str) -> None:
        raise AssertionError("refused before: see why_not")

    def delete_records(self, partition: str, before: int) -> tuple[str, ...]:
        raise AssertionError("refused before: see why_not")

    def shutdown(self, name: str, within: Micros | None = None) -> None:
        if name not in self.down:
            self.down.add(name)
            if name in self.frozen:
                self.resume(name)  # What is stopped cannot end orderly.
            self._do(self.clients[name].shut_down(within) if name in self.clients else self.cluster.shutdown(name))

    def restart(self, name: str) -> None:
        if name in self.down:
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

    def slow_down(self, sender: str, receiver: str, by: Micros) -> None:
        self.proxy.slow(sender, receiver, by)

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


async def _named(deed: Coroutine[Any, Any, object]) -> object:
    return await deed
