"""The faults of a scenario, inflicted on a world, simulated or live: when each begins, whom it strikes, when it ends.

Names are resolved at the instant when a fault begins, and the history says to what. What resolves to nothing is not injected, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Protocol

from ksim.dice import Dice
from ksim.plan import DEADLY, SLOW_PARTS, CountTrigger, FaultPlan, FrameTrigger, Plan, Who
from ksim_models.facts import Acked, Appended, Fault, PartitionChanged, Transaction
from ksim_models.units import Micros

DOWN = (*DEADLY, "pause")

TRANSACTION_PHASES = {
    "after-begin": "begin",
    "before-produce": "begin",
    "before-offsets": "send-offsets",
    "before-commit": "commit",
    "after-commit-sent": "commit-sent",
    "before-abort": "abort",
}
"""The fact that stands for each moment: it is told before the application calls."""

ADMINISTERED = ("elect", "alter", "reassign", "recreate-topic", "delete-records")
Answered = Callable[[str], None]

Resolve = Callable[[Who, FaultPlan], tuple[str, ...]]


class FrameFault(Protocol):
    plan: FaultPlan
    first_hit_at: Micros | None
    strike: Callable[[FaultPlan], None] | None


class Frames(Protocol):
    """The faults of single frames: they watch the wire by themselves."""

    @property
    def faults(self) -> Sequence[FrameFault]: ...
    def heal(self) -> None:
        """Faults without end are over."""
        ...


class World(Protocol):
    """What faults are inflicted on. Names are those of the plan; directions are from the first to the second."""

    @property
    def now(self) -> Micros: ...
    def call_at(self, at: Micros, do: Callable[[], None]) -> None: ...
    def note(self, fact: Fault) -> None: ...
    def frames(self, faults: Sequence[tuple[FaultPlan, FrameTrigger]], resolve: Resolve, note: Callable[[Fault], None]) -> Frames: ...

    def is_down(self, name: str) -> bool: ...
    def is_frozen(self, name: str) -> bool: ...
    def crash(self, name: str) -> None: ...
    def power_off(self, name: str) -> None:
        """The machine is gone, and nobody is told."""
        ...

    def shutdown(self, name: str, within: Micros | None = None) -> None:
        """Orderly: a broker hands its leaderships over, a client is closed, and may take so long for that (None: as long as it takes)."""
        ...

    def restart(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...

    def cut(self, sender: str, receiver: str) -> None: ...
    def mend(self, sender: str, receiver: str) -> None: ...
    def slow_down(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        """by: added to the latency; bandwidth: of each connection, in bytes per microsecond (None: as it is)."""
        ...

    def speed_up(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        """One such slowing is over."""
        ...

    def slow_machine(self, name: str, part: str, factor: Fraction) -> None:
        """The work of its "disk" or its "cpu" takes so many times as long as now."""
        ...

    def reset(self, one: str, other: str) -> int:
        """How many connections there were."""
        ...

    def fail_disk(self, name: str, partition: str) -> None:
        """The log directory of this broker that holds the partition ("": its first) takes no more writes."""
        ...

    def repair_disk(self, name: str) -> None:
        """It works again, with what stood in it, and the broker that lost it is started again."""
        ...

    # An administrator's deeds: each answers, at once or later, why it did not take effect; "" where it did.

    def elect(self, partition: str, kind: str, answered: Answered) -> None: ...
    def reassign(self, partition: str, to: tuple[str, ...], answered: Answered) -> None: ...
    def alter(self, kind: str, name: str, settings: tuple[tuple[str, str], ...], answered: Answered) -> None:
        """kind "topic", or "broker"; a broker without name: all of them."""
        ...

    def recreate_topic(self, topic: str, answered: Answered, over: Callable[[], None]) -> None:
        """Deleted, and created again; `over` is called when every running broker has the new one."""
        ...

    def delete_records(self, partition: str, before: int, answered: Answered) -> None:
        """By the leader; before -1: up to the high watermark."""
        ...

    def coordinator_of(self, name: str) -> str:
        """Of a transactional id or a group; "" while there is none."""
        ...

    def leader_of(self, partition: str) -> str:
        """As the controller has it; "" for none."""
        ...

    def replicas_of(self, partition: str) -> tuple[str, ...]: ...
    def isr_of(self, partition: str) -> tuple[str, ...]: ...
    def active_controller(self) -> str: ...
    def why_not(self, fault: FaultPlan) -> str:
        """Why this fault cannot be inflicted here at all; "" where it can."""
        ...


class Faults:
    def __init__(self, plan: Plan, world: World, dice: Dice) -> None:
        self.plan = plan
        self.world = world
        self.dice = dice
        self.standing: dict[int, Callable[[], None]] = {}
        """Faults that have begun and not ended: how each is undone."""
        self.struck: dict[str, dict[str, None]] = {}
        """Per name of a fault: the machines, paths or frames it has struck so far."""
        self.busy_until: Micros = 0
        """Every `at` and `for` known so far has passed then."""
        self.healed = False
        self.firing = 0
        self.begun: dict[int, int] = {}
        self.counters = [Counter(fault, fault.when, self) for fault in plan.faults if isinstance(fault.when, CountTrigger)]
        frames = [(fault, fault.when) for fault in plan.faults if isinstance(fault.when, FrameTrigger)]
        self.frames = world.frames(frames, self.resolve, self._note) if frames else None
        for waiting in self.frames.faults if self.frames else ():
            waiting.strike = self.fire
        for chaos in plan.chaos:
            self.busy_until = max(self.busy_until, chaos.end)
        for fault in plan.faults:
            if fault.at is not None:
                self.busy_until = max(self.busy_until, fault.at + (fault.duration or 0))
                if fault.when is None:
                    world.call_at(fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]

    def watchers(self) -> Mapping[type, list[Counter]]:
        """Which facts the counting triggers wait for."""
        kinds = {"acked": Acked, "appended": Appended, "isr": PartitionChanged, "transaction": Transaction}
        found: dict[type, list[Counter]] = {}
        for counter in self.counters:
            found.setdefault(kinds[counter.trigger.kind], []).append(counter)
        return found

    # Who.

    def resolve(self, who: Who, fault: FaultPlan) -> tuple[str, ...]:
        match who.kind:
            case "machine":
                process = next((one for one in self.plan.applications if who.argument in (one.name, one.consumer, *one.writers)), None)
                if process is None or (process.name != who.argument and fault.do not in (*DOWN, "restart")):
                    return (who.argument,)
                return process.consumer, *process.writers  # What strikes a part of a process strikes the whole of it.
            case "leader":
                leader = self.world.leader_of(who.argument)
                return (leader,) if leader else ()
            case "followers":
                leader = self.world.leader_of(who.argument)
                return tuple(name for name in self.world.replicas_of(who.argument) if name != leader)
            case "replica":
                return self.world.replicas_of(who.argument)[who.index : who.index + 1]
            case "isr":
                return self.world.isr_of(who.argument)
            case "coordinator":
                coordinator = self.world.coordinator_of(who.argument)
                return (coordinator,) if coordinator else ()
            case "controller":
                active = self.world.active_controller()
                return (active,) if active else ()
            case "any-broker":
                brokers = self.plan.brokers
                return (brokers[int(self.dice.at("any-broker", fault.index, self.begun.get(fault.index, 0)) * len(brokers))].name,)
            case "rack":
                return tuple(broker.name for broker in self.plan.brokers if broker.rack == who.argument)
            case "brokers":
                return tuple(broker.name for broker in self.plan.brokers)
            case _:
                raise AssertionError(f"the scenario was checked: {who}")

    def _all(self, whos: Iterable[Who], fault: FaultPlan) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for who in whos for name in self.resolve(who, fault)))

    def _pairs(self, fault: FaultPlan) -> list[tuple[str, str]]:
        """Both ends; a set that holds the other end leaves it out."""
        one, other = (self._all(end, fault) for end in fault.between)
        return [(a, b) for a, b in product(one, other) if a != b]

    # Begin and end.

    def _begin(self, fault: FaultPlan) -> None:
        if fault.index in self.standing:
            return
        now = self.world.now
        impossible = self.world.why_not(fault)
        if fault.do in ADMINISTERED and not impossible:
            self._administer(fault)
            return
        resolved, undo = ((), None) if impossible else self._inflict(fault)
        if not resolved:
            self._note(Fault(fault.name, fault.do, "not-injected", (), 0, impossible or self._why_not(fault)))
            return
        self.begun[fault.index] = self.begun.get(fault.index, 0) + 1
        self._note(Fault(fault.name, fault.do, "begin", resolved, 0))
        if undo is not None:
            self.standing[fault.index] = lambda: self._end(fault, resolved, undo)
            if fault.duration is not None or self.healed:  # What strikes after the heal and has no end of its own is mended at once.
                until = now + (fault.duration or 0)
                self.busy_until = max(self.busy_until, until)
                self.world.call_at(until, lambda: self._end_in_time(fault))

    def fire(self, fault: FaultPlan) -> None:
        """Its trigger has come: at this instant, behind what the machine at hand still does."""
        self.firing += 1
        late = self.plan.late if isinstance(fault.when, CountTrigger) and fault.when.kind == "transaction" else 0
        self.world.call_at(self.world.now + late, lambda: self._begin_fired(fault))

    def _begin_fired(self, fault: FaultPlan) -> None:
        self.firing -= 1
        self._begin(fault)

    def _end_in_time(self, fault: FaultPlan) -> None:
        if fault.index in self.standing:
            self.standing.pop(fault.index)()

    def _end(self, fault: FaultPlan, resolved: tuple[str, ...], undo: Callable[[], None]) -> None:
        undo()
        self._note(Fault(fault.name, fault.do, "end", resolved, 0))

    def _inflict(self, fault: FaultPlan) -> tuple[tuple[str, ...], Callable[[], None] | None]:
        """Do it. Answers to what it resolved, and how it is undone (None: it is over at once)."""
        world = self.world
        match fault.do:
            case "crash" | "power-loss" | "shutdown":
                living = tuple(name for name in self._all(fault.who, fault) if not world.is_down(name))
                downs: dict[str, Callable[[str], None]] = {
                    "crash": world.crash,
                    "power-loss": world.power_off,
                    "shutdown": lambda name: world.shutdown(name, fault.timeout),
                }
                self._for_each(living, downs[fault.do])
                return living, lambda: self._restart(living, clients=fault.duration is not None)
            case "pause":
                awake = tuple(name for name in self._all(fault.who, fault) if not world.is_down(name) and not world.is_frozen(name))
                self._for_each(awake, world.pause)
                return awake, lambda: self._for_each(awake, world.resume)
            case "restart":
                dead = tuple(name for name in self._all(fault.who, fault) if world.is_down(name))
                self._restart(dead, clients=True)
                return dead, None
            case "cut":
                pairs = self._directed(fault)
                self._for_pairs(pairs, world.cut)
                return self._paths(fault), lambda: self._for_pairs(pairs, world.mend)
            case "reset":
                touched = tuple(f"{a} <-> {b}" for a, b in self._pairs(fault) if world.reset(a, b))
                return touched, None
            case "slow":
                pairs = self._directed(fault)
                self._for_pairs(pairs, lambda a, b: world.slow_down(a, b, fault.latency, fault.bandwidth))
                return self._paths(fault), lambda: self._for_pairs(pairs, lambda a, b: world.speed_up(a, b, fault.latency, fault.bandwidth))
            case "slow-disk" | "slow-cpu":
                struck, part = self._all(fault.who, fault), SLOW_PARTS[fault.do]
                self._for_each(struck, lambda name: world.slow_machine(name, part, fault.factor))
                return struck, lambda: self._for_each(struck, lambda name: world.slow_machine(name, part, 1 / fault.factor))
            case "disk-full" | "disk-error":
                running = tuple(name for name in self._all(fault.who, fault) if not world.is_down(name))
                self._for_each(running, lambda name: world.fail_disk(name, fault.partition or ""))
                return running, lambda: self._for_each(running, world.repair_disk)
            case _:
                raise AssertionError(f"the scenario was checked: {fault.do}")

    def _administer(self, fault: FaultPlan) -> None:
        """What an administrator asks for: begun when the cluster has answered."""
        self.firing += 1
        world, partition = self.world, fault.partition or ""
        match fault.do:
            case "elect":
                world.elect(partition, fault.kind, partial(self._answered, fault, partition))
            case "reassign":
                world.reassign(partition, fault.to, partial(self._answered, fault, partition))
            case "delete-records":
                world.delete_records(partition, fault.before, partial(self._answered, fault, world.leader_of(partition)))
            case "alter":
                kind, name = ("topic", fault.topic) if fault.topic else ("broker", fault.who[0].argument if fault.who else "")
                world.alter(kind, name, fault.settings, partial(self._answered, fault, name or "brokers"))
            case _:
                world.recreate_topic(fault.topic, partial(self._answered, fault, fault.topic), partial(self._recreated, fault))

    def _answered(self, fault: FaultPlan, what: str, why_not: str) -> None:
        if why_not or fault.do != "recreate-topic":
            self.firing -= 1
        if why_not:
            self._note(Fault(fault.name, fault.do, "not-injected", (), 0, why_not))
        else:
            self._note(Fault(fault.name, fault.do, "begin", (what,), 0))

    def _recreated(self, fault: FaultPlan) -> None:
        """The new topic stands: what was acknowledged before was of the old one."""
        self.firing -= 1
        self._note(Fault(fault.name, fault.do, "end", (fault.topic,), 0))

    def _directed(self, fault: FaultPlan) -> list[tuple[str, str]]:
        pairs = self._pairs(fault)
        return pairs if fault.one_way else [direction for a, b in pairs for direction in ((a, b), (b, a))]

    def _paths(self, fault: FaultPlan) -> tuple[str, ...]:
        arrow = "->" if fault.one_way else "<->"
        return tuple(f"{a} {arrow} {b}" for a, b in self._pairs(fault))

    def _restart(self, names: tuple[str, ...], *, clients: bool) -> None:
        """A client comes back where the scenario says so; the heal brings none back."""
        names_of_clients = [client.name for client in self.plan.producers] + [client.name for client in self.plan.consumers]
        producers = set() if clients else set(names_of_clients)
        self._for_each(tuple(name for name in names if name not in producers), self.world.restart)

    def _for_each(self, names: tuple[str, ...], do: Callable[[str], None]) -> None:
        for name in names:
            do(name)

    def _for_pairs(self, pairs: list[tuple[str, str]], do: Callable[[str, str], None]) -> None:
        for a, b in pairs:
            do(a, b)

    def _why_not(self, fault: FaultPlan) -> str:
        if fault.do in DOWN:
            return f"{', '.join(map(str, fault.who))}: nobody that it could strike at that moment"
        if fault.do == "restart":
            return f"{', '.join(map(str, fault.who))} is running"
        return "there was no connection between the two" if fault.do == "reset" else "it names nobody at that moment"

    # The end of chaos.

    @property
    def at_work(self) -> bool:
        """Something has begun and not ended, or is about to begin, or takes its time."""
        return bool(self.standing) or self.firing > 0

    @property
    def last_known_end(self) -> Micros:
        """Every `at`, `for` and, of frame faults that have fired, `for` has passed."""
        ends = [
            fault.first_hit_at + fault.plan.duration
            for fault in (self.frames.faults if self.frames else ())
            if fault.first_hit_at is not None and fault.plan.duration is not None
        ]
        return max([self.busy_until, *ends])

    def heal(self) -> None:
        """All that is still wrong is repaired."""
        self.healed = True
        for undo in [self.standing.pop(index) for index in sorted(self.standing)]:
            undo()
        if self.frames is not None:
            self.frames.heal()
        for name in (*(broker.name for broker in self.plan.brokers), *self.plan.controllers):
            self.world.restart(name)

    def _note(self, fact: Fault) -> None:
        if fact.phase in ("begin", "hit"):
            self.struck.setdefault(fact.name, {}).update(dict.fromkeys(fact.resolved))
        self.world.note(fact)


def steps_struck(plan: Plan, producer: str) -> list[tuple[int, str]]:
    """Number and step of those transactions of a producer at which a fault strikes."""
    triggers = [fault.when for fault in plan.faults if isinstance(fault.when, CountTrigger) and fault.when.kind == "transaction"]
    return [(trigger.count, TRANSACTION_PHASES[trigger.phase]) for trigger in triggers if trigger.producer in ("", producer)]


class Counter:
    """A fault that waits for a count: acknowledged records, a log end, the size of an ISR."""

    def __init__(self, fault: FaultPlan, trigger: CountTrigger, faults: Faults) -> None:
        self.fault = fault
        self.trigger = trigger
        self.faults = faults
        self.acked = 0
        self.was_larger = trigger.kind == "isr" and len(faults.world.isr_of(trigger.partition)) > trigger.count
        self.over = False

    def see(self, now: Micros, fact: object) -> None:
        if self.over or (self.fault.at is not None and now < self.fault.at):
            return
        if self._reached(fact):
            self.over = True
            self.faults.fire(self.fault)

    def _reached(self, fact: object) -> bool:
        trigger = self.trigger
        if isinstance(fact, Acked):
            self.acked += len(fact.records)
            return self.acked >= trigger.count
        if isinstance(fact, Transaction):
            its = fact.number == trigger.count and trigger.producer in ("", fact.producer)
            return its and fact.phase == TRANSACTION_PHASES[trigger.phase]
        if isinstance(fact, Appended):
            return fact.partition == trigger.partition and fact.base_offset + len(fact.records) >= trigger.count
        if isinstance(fact, PartitionChanged) and fact.partition == trigger.partition:
            self.was_larger = self.was_larger or len(fact.isr) > trigger.count
            return self.was_larger and len(fact.isr) <= trigger.count
        return False
