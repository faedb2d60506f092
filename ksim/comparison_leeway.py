"""Leeway: what a live machine may do otherwise than the simulation, measured where it can be.

Not Kafka's. A fault strikes some milliseconds early or late among the records, messages take longer, processes that are killed take a moment to be gone.
So the simulation has neighbours (other seeds, shifted faults, slower networks), and counts may differ by what was offered while the cluster was behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil

from ksim.faults import steps_struck
from ksim.plan import Plan
from ksim.runs import Run
from ksim.simulation import simulate
from ksim_models.config import ACKS_ALL
from ksim_models.facts import Acked, Appended, Disconnected, Fault, Offered, Replicated
from ksim_models.units import NEVER, Micros, ms

NOISE: Micros = ms(50)
"""What a machine that also runs the cluster adds to any moment, at least (measured: delays below it are noise)."""
MOST_NOISE: Micros = ms(500)
TOO_FAR_BEHIND: Micros = ms(200)
"""A cluster that lags more than this tells nothing about how many records a fault by the clock should have hit."""
SHIFTS: tuple[Micros, ...] = (0, ms(-20), ms(-10), ms(10), ms(20))
LATE: tuple[Micros, ...] = (500, ms(2))
"""How much later than in a simulation a process is struck at a step of its transaction: the step is heard of, then the signal comes (measured: 2 ms)."""
SEEDS = range(3)
MORE_SEEDS = range(3, 12)
"""Added where the first ones differ from the cluster: in which phase of its heartbeats a broker is struck moves a failover by two seconds."""
SLOWEST: Micros = ms(100)
UNMEASURED: tuple[Micros, ...] = (ms(5), ms(20))
"""How much slower a cluster may be that acknowledged nothing before the first fault."""


def neighbours(run: Run, slower: Sequence[Micros] = (), seeds: range = SEEDS) -> list[Run]:
    """The run itself, where its seed is among them; then what a live machine may do just as well: other seeds, faults somewhat earlier and later, networks
    slower by so much. `seeds` are counted from that of the run.
    """
    found = [run] if 0 in seeds else []
    shifts = SHIFTS if any(fault.at is not None for fault in run.plan.faults) else (0,)
    lates = (0, *LATE) if any(steps_struck(run.plan, application.producer) for application in run.plan.applications) else (0,)
    for latency in sorted({0, *slower}):
        for seed in (run.plan.seed + more for more in seeds):
            for shift, late in [*((shift, 0) for shift in shifts), *((0, late) for late in lates if late)]:
                if (latency, seed, shift, late) != (0, run.plan.seed, 0, 0):
                    found.append(simulate(_slowed(_shifted(replace(run.plan, seed=seed, late=late), shift), latency)))
    return found


def slowness(base: Run, twins: Sequence[Run]) -> list[Micros]:
    """One way: what the quickest acknowledgement, and the median one, took longer on the cluster before anything struck, for each message that it waits for."""
    waits = [_waits(run) for run in (base, *twins)]
    if not all(waits):
        return list(UNMEASURED)
    messages = 4 if all(producer.config.acks == ACKS_ALL for producer in base.plan.producers) else 2
    of_live = [min(wait[0] for wait in waits[1:]), max(wait[len(wait) // 2] for wait in waits[1:])]
    return [min(SLOWEST, max(0, wait - waits[0][0]) // messages) for wait in of_live]


def _waits(run: Run) -> list[Micros]:
    """Of acknowledgements before the first fault struck, the quickest first."""
    struck = min((at for _, at in beginnings(run)), default=NEVER)
    offered = offered_at(run)
    return sorted(at - offered[fact.producer, number] for at, fact in run.history.of(Acked) if at < struck and fact.offset >= 0 for number in fact.records)


def _slowed(plan: Plan, by: Micros) -> Plan:
    latency = plan.network.latency
    return replace(plan, network=replace(plan.network, latency=replace(latency, median=latency.median + by, p99=latency.p99 + by)))


def _shifted(plan: Plan, by: Micros) -> Plan:
    """Faults that follow each other keep their distances."""
    first = min((fault.at for fault in plan.faults if fault.at), default=0)
    by = max(by, -first)
    return replace(plan, faults=tuple(replace(fault, at=fault.at + by) if fault.at else fault for fault in plan.faults))


def noise(twins: Sequence[Run]) -> Micros:
    """How far behind the clusters were: the age of the oldest record that was not yet on every replica when something first struck, and how long a client
    did not notice that a broker had been killed. At least NOISE.
    """
    return min(MOST_NOISE, max([NOISE, *(_behind(twin) for twin in twins), *(late for twin in twins for late in _unnoticed(twin))]))


def _unnoticed(twin: Run) -> Iterator[Micros]:
    """A killed process closes its sockets when the system has cleared it away."""
    for at, fact in twin.history.of(Fault):
        if (fact.do, fact.phase) == ("crash", "begin"):
            lost = (moment for moment, gone in twin.history.of(Disconnected) if moment >= at and gone.broker in fact.resolved)
            if (noticed := next(lost, None)) is not None:
                yield noticed - at


def _behind(twin: Run) -> Micros:
    struck = min((at for _, at in beginnings(twin)), default=NEVER)
    offered = {record: at for record, at in offered_at(twin).items() if at <= struck}
    ends: dict[str, dict[str, int]] = {}
    for at, copied in twin.history.of(Replicated):
        if at <= struck:
            ends.setdefault(copied.partition, {})[copied.broker] = copied.log_end_offset
    for at, fact in twin.history.of(Appended):
        if at <= struck and fact.base_offset + len(fact.records) <= min(ends.get(fact.partition, {}).values(), default=0):
            for number in fact.records:
                offered.pop((fact.producer, number), None)
    return struck - min(offered.values()) if offered and struck != NEVER else 0


def slack(plan: Plan, noise: Micros) -> int:
    """As many records as are offered while the machine's noise lasts."""
    return sum(ceil(noise / workload.gap) if workload.gap else 0 for workload in plan.workloads)


def beginnings(run: Run) -> Iterator[tuple[str, Micros]]:
    seen = set()
    for at, fact in run.history.of(Fault):
        if fact.phase in ("begin", "hit") and fact.name not in seen:
            seen.add(fact.name)
            yield fact.name, at


def offered_at(run: Run) -> dict[tuple[str, int], Micros]:
    return {(fact.producer, number): at for _, fact in run.history.of(Offered) for number, at in zip(fact.records, fact.moments(), strict=True)}
