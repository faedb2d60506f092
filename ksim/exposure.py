"""Exposure: how many batches each fault touched. A fault that touched nothing proves nothing.

Not Kafka's: defined in scenario.md, section 2 ("touched"). Computed after the run from all facts of a simulation.
A batch counts when, while the fault lasted, its request, its answer or its copying to a replica had to wait for a machine or a path that the fault took away,
or when it went out of a log by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from ksim.exposure_reads import Readings
from ksim.exposure_transactions import Transactions
from ksim.history import History
from ksim.lives import Batch, Lives, Timeline
from ksim.plan import DEADLY, DISK_FAULTS, FRAME_FAULTS, RECORD_FAULTS, SLOW_PARTS, Plan
from ksim_models.facts import Fault, Marked, PartitionChanged
from ksim_models.topic_creation import CREATED
from ksim_models.units import NEVER, Micros, s

PATH_FAULTS = ("cut", "reset", "slow")
DOWN = (*DEADLY, "pause", "restart", *DISK_FAULTS)
INSTANT = ("reset", "restart", "delete-records")
ADMINISTERED = ("elect", "alter", "reassign")
"""They count 1 when they took effect."""
AFTERMATH: Micros = s(10)
"""A broker that the controller does not hear loses its partitions within a session (9 s), and that may be after the fault has ended."""


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of a fault: from when to when, and whom it struck."""

    do: str
    begin: Micros
    end: Micros
    resolved: tuple[str, ...]


def expose(history: History, plan: Plan) -> dict[int, int]:
    """Per fault of the plan (by its index), or [[chaos]] table: frames or records hit, or batches touched.

    The `resolved` of a fault that begins names machines ("broker-1"), or for a path its two ends ("p1 <-> broker-1", one way "p1 -> broker-1").
    A fault is known by its name, so names are unique.
    """
    if not plan.told_faults:
        return {}
    told = list(history.of(Fault))
    hits = Counter(fact.name for _, fact in told if fact.phase == "hit")
    windows = _windows(told)
    result = {fault.index: hits[fault.name] for fault in plan.told_faults}
    if any(windows.get(fault.name) for fault in plan.told_faults if fault.do not in (*FRAME_FAULTS, *RECORD_FAULTS)):
        replicas = {partition: brokers for topic in plan.topics for partition, brokers in zip(topic.partitions, topic.assignment)}
        if any(not topic.exists for topic in plan.topics):
            replicas.update((fact.partition, fact.isr) for _, fact in history.of(PartitionChanged) if fact.why == CREATED)
        ids = {producer.name: producer.config.transactional_id for producer in plan.producers if producer.config.transactional_id}
        lives, transactions = Lives(history, replicas), Transactions(history, ids)
        marks = {
            workload.producer: [at for at, fact in history.of(Marked) if fact.producer == workload.producer] for workload in plan.workloads if workload.outbox
        }
        exposure = Exposure(lives, transactions, [*plan.controllers], [broker.name for broker in plan.brokers], windows, marks)
        readings = Readings(history, plan)
        for fault in plan.told_faults:
            if fault.do in ADMINISTERED:
                result[fault.index] = min(1, len(windows.get(fault.name, [])))
            elif fault.do in SLOW_PARTS and not plan.model.costs.of(SLOW_PARTS[fault.do]):
                result[fault.index] = 0  # What takes no time takes none on a slow machine either.
            elif fault.do not in (*FRAME_FAULTS, *RECORD_FAULTS):
                struck = windows.get(fault.name, [])
                away = [one for window in struck for one in readings.absences(window.do, window.begin, window.end, window.resolved)]
                result[fault.index] = exposure.touched(struck) + readings.touched(away)
    return result


def records_hit(history: History, plan: Plan) -> dict[str, list[str]]:
    """Per fault of records that struck: "p1/2"."""
    found: dict[str, list[str]] = {}
    if any(fault.do in RECORD_FAULTS for fault in plan.faults):
        for _, fact in history.of(Fault):
            if fact.phase == "hit" and fact.do in RECORD_FAULTS:
                found.setdefault(fact.name, []).extend(fact.resolved)
    return found


def _windows(told: Iterable[tuple[Micros, Fault]]) -> dict[str, list[Window]]:
    """Per name of a fault: what began, until it was undone; a fault without end lasts to the end of the run."""
    found: dict[str, list[Window]] = {}
    for at, fact in told:
        if fact.phase == "begin":
            end = at if fact.do in INSTANT else NEVER
            found.setdefault(fact.name, []).append(Window(fact.do, at, end, fact.resolved))
        elif fact.phase == "end":
            of = found.get(fact.name, [])
            open_ones = [place for place, window in enumerate(of) if window.end == NEVER]
            same = [place for place in open_ones if of[place].resolved == fact.resolved]
            for place in (same or open_ones)[:1]:
                of[place] = replace(of[place], end=at)
    return found


class Exposure:
    def __init__(
        self,
        lives: Lives,
        transactions: Transactions,
        controllers: list[str],
        brokers: list[str],
        windows: dict[str, list[Window]],
        marks: dict[str, list[Micros]],
    ) -> None:
        """marks: per relay of an outbox, when rows were marked as sent."""
        self.lives = lives
        self.transactions = transactions
        self.marks = marks
        self.controllers = controllers
        self.brokers = brokers
        self.down: dict[str, list[tuple[Micros, Micros]]] = {}
        """Per broker: when a fault had taken it away."""
        for window in (window for of in windows.values() for window in of if window.do in DOWN):
            for name in window.resolved:
                if name in brokers:
                    self.down.setdefault(name, []).append((window.begin, self._back(name, window)))

    def touched(self, windows: list[Window]) -> int:
        """Each batch counts once, however often the fault struck it."""
        rules = [rule for window in windows for rule in self._rules(window)]
        return sum(any(rule(batch) for rule in rules) for batch in self.lives.every())

    def _rules(self, window: Window) -> Iterable[Callable[[Batch], bool]]:
        if window.do == "recreate-topic":  # What the old topic held, or was to hold.
            return [lambda batch: batch.partition.rpartition("-")[0] in window.resolved and batch.start <= window.end]
        if window.do in PATH_FAULTS:
            return [rule for one, other in _ends(window.resolved) for rule in self._path(window, one, other)]
        if window.do in SLOW_PARTS:
            return [self._slow(window, name) for name in window.resolved]
        return [self._machine(window, name) for name in window.resolved]

    def _machine(self, window: Window, name: str) -> Callable[[Batch], bool]:
        if window.do == "delete-records":
            return lambda batch: (window.begin, name) in batch.removed
        if name in self.brokers:
            until = self._back(name, window)
            return lambda batch: (
                self._needs_broker(batch, name, window.begin, until)
                or self._short(batch, name, window.begin, until)
                or (window.begin, name) in batch.removed  # With the power.
            )
        if name in self.controllers:
            return lambda batch: self._needs_controller(batch, window)
        until = window.end if window.do == "pause" else window.begin
        return lambda batch: batch.producer == name and _overlap(batch.start, self._done_with(batch), window.begin, until)

    def _done_with(self, batch: Batch) -> Micros:
        """When its application needed to know no more: it has been told, or has marked its rows."""
        marks = self.marks.get(batch.producer)
        return self.transactions.stop(batch) if marks is None else next((at for at in marks if at >= batch.stop), NEVER)

    def _slow(self, window: Window, name: str) -> Callable[[Batch], bool]:
        """Its answer or its copy had to wait for this machine's work; a disk's work is to write, also what others have read."""
        begin, end = window.begin, window.end
        if name not in self.brokers:
            return lambda batch: self._needs_controller(batch, window)
        reads = window.do != "slow-disk"
        return lambda batch: (
            _in_flight(batch, name, begin, end)
            or any((wait.follower == name or (reads and wait.leader == name)) and _overlap(wait.start, wait.stop, begin, end) for wait in batch.waits)
        )

    def _path(self, window: Window, one: str, other: str) -> list[Callable[[Batch], bool]]:
        begin, end = window.begin, window.end
        if one in self.brokers and other in self.brokers:
            pair = {one, other}
            return [lambda batch: any({wait.leader, wait.follower} == pair and _overlap(wait.start, wait.stop, begin, end) for wait in batch.waits)]
        if one in self.brokers:
            one, other = other, one
        if one in self.controllers:
            return [lambda batch: self._deposed(batch, other, window)] if other in self.brokers else []
        if other not in self.brokers:
            return []
        if window.do == "reset":
            return [lambda batch: batch.producer == one and _in_flight(batch, other, begin, end)]
        return [lambda batch: batch.producer == one and (_in_flight(batch, other, begin, end) or self._waits_for_leader(batch, other, begin, end))]

    def _needs_broker(self, batch: Batch, broker: str, begin: Micros, end: Micros) -> bool:
        """An answer of this broker, its leadership, or a copy on it or from it was outstanding."""
        if _in_flight(batch, broker, begin, end) or self._waits_for_leader(batch, broker, begin, end):
            return True
        if self.transactions.waits_for(batch, broker, begin, end):
            return True
        if self.transactions.ends_while(batch, begin, end) and _held(self.lives.leaders.get(batch.partition, []), broker, begin, begin):
            return True
        return any(broker in (wait.leader, wait.follower) and _overlap(wait.start, wait.stop, begin, end) for wait in batch.waits)

    def _waits_for_leader(self, batch: Batch, broker: str, begin: Micros, end: Micros) -> bool:
        """The batch had no outcome yet while this broker led its partition, or its client took it for the leader."""
        start, stop = max(begin, batch.start), min(end, batch.stop)
        if start > stop or not _overlap(batch.start, batch.stop, begin, end):
            return False
        views = self.lives.views.get((batch.producer, batch.partition), [])
        return _held(self.lives.leaders.get(batch.partition, []), broker, start, stop) or _held(views, broker, start, stop)

    def _short(self, batch: Batch, broker: str, begin: Micros, until: Micros) -> bool:
        """The batch was refused for want of replicas while this one was out of the ISR, because the fault had taken it away."""
        isr = self.lives.isr.get(batch.partition, [])
        rejoined = next((at for at, members in isr if at >= until and broker in members), NEVER)
        return any(begin <= at <= rejoined and broker not in _last(isr, at) for at in batch.short_of_replicas)

    def _needs_controller(self, batch: Batch, window: Window) -> bool:
        """Its partition waited for the controller: nobody led it, or one of its replicas was down."""
        gaps = [*self.lives.leaderless.get(batch.partition, [])]
        for broker in self.lives.replicas.get(batch.partition, ()):
            gaps += self.down.get(broker, [])
        begin, end = window.begin, window.end
        return any(_overlap(start, stop, begin, end) and _overlap(batch.start, batch.stop, max(start, begin), min(stop, end)) for start, stop in gaps)

    def _deposed(self, batch: Batch, broker: str, window: Window) -> bool:
        """The controller gave this broker's partition to another because it no longer heard it, and the batch was waiting or being appended meanwhile."""
        leaders = self.lives.leaders.get(batch.partition, [])
        gaps = self.lives.leaderless.get(batch.partition, [])
        moments = [after[0] for before, after in pairwise(leaders) if before[1] == broker]
        moments += [start for start, _ in gaps if _held(leaders, broker, start, start)]
        for moment in moments:
            if window.begin <= moment <= window.end + AFTERMATH:
                until = self._known(batch, broker, moment)
                if _overlap(batch.start, batch.stop, moment, until) or _in_flight(batch, broker, moment, until):
                    return True
        return False

    def _known(self, batch: Batch, broker: str, moment: Micros) -> Micros:
        """When the partition had another leader and the batch's client knew it."""
        views = self.lives.views.get((batch.producer, batch.partition), [])
        learned = next((at for at, leader in views if at >= moment and leader not in ("", broker)), moment)
        led = next((stop for start, stop in self.lives.leaderless.get(batch.partition, []) if start == moment), moment)
        return max(learned, led)

    def _back(self, broker: str, window: Window) -> Micros:
        """A broker that was fenced meanwhile is away until the controller has unfenced it."""
        away = False
        for at, state in self.lives.registrations.get(broker, []):
            if at < window.begin:
                continue
            if state != "unfenced":
                away = away or at <= window.end + AFTERMATH
            elif away and at >= window.end:
                return at
            else:
                away = False
        return window.end


def _ends(resolved: tuple[str, ...]) -> list[tuple[str, str]]:
    """The two ends of each path: "p1 <-> broker-1", "p1 -> broker-1", or the names of two machines."""
    paths = [tuple(name.replace("<->", "->").split(" -> ")) for name in resolved if "->" in name]
    if paths:
        return [(path[0], path[1]) for path in paths]
    return list(combinations(resolved, 2))


def _overlap(start: Micros, stop: Micros, begin: Micros, end: Micros) -> bool:
    """What was over when the fault began is not touched."""
    return start <= end and begin < stop


def _in_flight(batch: Batch, broker: str, begin: Micros, end: Micros) -> bool:
    return any(flight.broker == broker and _overlap(flight.start, flight.stop, begin, end) for flight in batch.flights)


def _held(timeline: Timeline, name: str, start: Micros, stop: Micros) -> bool:
    """Whether `name` stood in the timeline at some moment from start to stop."""
    ends = [at for at, _ in timeline[1:]] + [NEVER]
    return any(who == name and since <= stop and start < until for (since, who), until in zip(timeline, ends))


def _last(timeline: list[tuple[Micros, tuple[str, ...]]], now: Micros) -> tuple[str, ...]:
    return next((members for at, members in reversed(timeline) if at <= now), ())
