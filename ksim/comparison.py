"""A comparison: where a simulation and the same scenario on real Kafka agree, and the first record where they part.

Not Kafka's. A real cluster cannot place a fault better than some milliseconds among the records, and its machine has a latency of its own, so outcomes that
hang on either are intervals: the simulation is repeated under neighbouring seeds, with its faults a little earlier and later, and with the latency that was
measured on the cluster in this very run; the live run as often as was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from ksim.classification import ANOMALIES
from ksim.comparison_leeway import MORE_SEEDS, TOO_FAR_BEHIND, beginnings, neighbours, noise, offered_at, slack, slowness
from ksim.comparison_transactions import MARKERS, counts, markers_by_the_clock, thrown
from ksim.explanation import explain
from ksim.plan import FrameTrigger
from ksim.ranges import Runs, minus, union
from ksim.runs import Run
from ksim.verdict import classes
from ksim_models.facts import Acked, BrokerChanged, Connected, Failed, Fault, Offered, Sent
from ksim_models.units import MILLISECOND, Micros

TIMING_SHARE = 0.2
TIMING_FLOOR_MS = 250.0
RETRY_SHARE = 0.3
RETRY_FLOOR = 2.0
OUTCOMES = ("acked", "failed", "refused", "unknown", "absent")
HEADLINES = ("lost", "duplicated", "reordered")

AGREE, DIFFER, NOT_COMPARABLE = "agree", "differ", "not comparable"
CODES = {AGREE: 0, DIFFER: 1, NOT_COMPARABLE: 4}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was compared: smallest and largest value on each side."""

    what: str
    simulated: tuple[float, float] | str | None
    live: tuple[float, float] | str | None
    agreement: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Parting:
    """The first record where the two differ in a class, and what happened to it on both sides."""

    name: str
    record: str
    simulated: str
    live: str


@dataclass(frozen=True, slots=True)
class Comparison:
    title: str
    against: str
    """"Kafka 4.3.0, client java"."""
    guarantees: tuple[Row, ...]
    classes: tuple[Row, ...]
    timing: tuple[Row, ...]
    partings: tuple[Parting, ...]
    reasons: tuple[str, ...]
    """Why nothing can be said, where nothing can."""
    runs: tuple[int, int]
    """How many simulations, how many live runs."""
    wall_ms: tuple[float, float] = (0.0, 0.0)
    """Of one simulation, of one live run."""

    @property
    def rows(self) -> tuple[Row, ...]:
        return (*self.guarantees, *self.classes, *self.timing)

    @property
    def agreement(self) -> str:
        if self.reasons:
            return NOT_COMPARABLE
        if any(row.agreement == DIFFER for row in self.rows):
            return DIFFER
        return NOT_COMPARABLE if any(row.agreement == NOT_COMPARABLE for row in (*self.guarantees, *self.classes)) else AGREE

    @property
    def exit_code(self) -> int:
        return CODES[self.agreement]

    def __str__(self) -> str:
        return "\n".join(lines(self))

    def as_data(self) -> dict[str, object]:
        def rows(of: Iterable[Row]) -> list[dict[str, object]]:
            return [{"what": row.what, "simulated": row.simulated, "live": row.live, "agreement": row.agreement, "why": row.why} for row in of]

        return {
            "schema": 1,
            "scenario": self.title,
            "against": self.against,
            "agreement": self.agreement,
            "reasons": list(self.reasons),
            "runs": {"simulated": self.runs[0], "live": self.runs[1]},
            "guarantees": rows(self.guarantees),
            "classes": rows(self.classes),
            "timing": rows(self.timing),
            "partings": [{"class": one.name, "record": one.record, "simulated": one.simulated, "live": one.live} for one in self.partings],
            "wall_ms": {"simulated": self.wall_ms[0], "live": self.wall_ms[1]},
        }


def compare(simulated: Run | Sequence[Run], live: Run | Sequence[Run]) -> Comparison:
    """`simulated`: one run, whose neighbours are simulated too, or the runs to compare with. `live`: one or more replays of the same scenario."""
    given, twins = _runs(simulated), _runs(live)
    base = given[0]
    reasons = tuple(dict.fromkeys(reason for twin in twins for reason in _reasons(twin)))
    if reasons:
        return _summed_up(base, twins, reasons)
    if not isinstance(simulated, Run):
        return _compared(base, given, twins)
    slower = slowness(base, twins)
    models = neighbours(base, slower)
    found = _compared(base, models, twins)
    return found if found.agreement == AGREE else _compared(base, [*models, *neighbours(base, slower, MORE_SEEDS)], twins)


def _runs(given: Run | Sequence[Run]) -> list[Run]:
    runs = [given] if isinstance(given, Run) else list(given) if isinstance(given, Sequence) else []
    if not runs or not all(isinstance(run, Run) for run in runs):
        raise TypeError("compare() takes runs: compare(simulate(scenario), replay(scenario)), or a list of them on either side.")
    return runs


def _compared(base: Run, models: Sequence[Run], twins: Sequence[Run]) -> Comparison:
    lag = noise(twins)
    leeway = slack(base.plan, min(lag, TOO_FAR_BEHIND)), slack(base.plan, lag)
    by_the_clock = any(not isinstance(fault.when, FrameTrigger) for fault in base.plan.faults)
    shown = [name for name in (*OUTCOMES, *ANOMALIES) if name in HEADLINES or _ever(name, models, twins)]
    counted = tuple(_class_row(name, models, twins, leeway, by_the_clock=by_the_clock) for name in shown)
    guarantees = tuple(_guarantee(row, models, twins) for row in counted if row.what in ANOMALIES)
    errors = (*_errors(models, twins), *_transactions(models, twins))
    partings = tuple(_partings([row.what for row in counted if row.agreement == DIFFER], base, twins[0]))
    return replace(
        _summed_up(base, twins, ()),
        guarantees=guarantees,
        classes=(*counted, *errors),
        timing=tuple(_timing(models, twins)),
        partings=partings,
        runs=(len(models), len(twins)),
    )


def not_simulated(twins: Sequence[Run], reason: str) -> Comparison:
    """A live run that has nothing to be compared with."""
    return _summed_up(twins[0], twins, (reason,))


def _summed_up(base: Run, twins: Sequence[Run], reasons: tuple[str, ...]) -> Comparison:
    run = twins[0].history.run
    against = f"Kafka {_told(run.get('kafka'))}, client {_told(run.get('client'))}"
    walls = (0.0 if base is twins[0] else base.wall_ms, median(twin.wall_ms for twin in twins))
    return Comparison(base.plan.title, against, (), (), (), (), reasons, (0 if base is twins[0] else 1, len(twins)), walls)


def _told(value: object) -> str:
    return ", ".join(f"{name} {of}" for name, of in value.items()) if isinstance(value, dict) else str(value)


# Outcomes.


def _reasons(twin: Run) -> Iterator[str]:
    """What makes a live run prove nothing; a simulation of the same scenario may still have struck."""
    phases: dict[str, dict[str, Fault]] = {}
    for _, fact in twin.history.of(Fault):
        phases.setdefault(fact.name, {})[fact.phase] = fact
    for name, of in phases.items():
        if "not-injected" in of and not {"begin", "hit"} & of.keys():
            yield f"fault {name} was not injected on the cluster: {of['not-injected'].why}"
    yield from (reason for reason in twin.verdict.reasons if "final log" in reason or "end of the run" in reason)


def _ever(name: str, models: Sequence[Run], twins: Sequence[Run]) -> bool:
    return any(run.verdict.records[name] for run in (*models, *twins))


def _spread(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)


def _class_row(name: str, models: Sequence[Run], twins: Sequence[Run], leeway: tuple[int, int], *, by_the_clock: bool) -> Row:
    """`leeway`: by how many records a race may differ, and by how many the cluster was behind, which may be too many to say anything.

    `by_the_clock`: a fault struck at a moment, not at one exact frame, so whether any record was hit at all may be a race too.
    """
    simulated = _spread(run.verdict.records[name] for run in models)
    live = _spread(run.verdict.records[name] for run in twins)
    if live[0] >= simulated[0] and live[1] <= simulated[1]:
        return Row(name, simulated, live, AGREE, "" if simulated[0] == simulated[1] else "a race: within what the simulation allows")
    in_both = simulated[1] > 0 and live[1] > 0
    apart = max(simulated[0] - live[1], live[0] - simulated[1]) if in_both or by_the_clock else None
    if apart is not None and apart <= leeway[0]:
        return Row(name, simulated, live, AGREE, f"a race: within {leeway[0]} records, as many as were offered while the cluster was behind")
    if live[0] <= simulated[1] and simulated[0] <= live[1]:
        return Row(name, simulated, live, AGREE, "a race: both outcomes were seen on the cluster")
    if apart is not None and apart <= leeway[1]:
        return Row(name, simulated, live, NOT_COMPARABLE, f"the cluster was {leeway[1]} records behind: too slow for this workload")
    return Row(name, simulated, live, DIFFER)


def _guarantee(counted: Row, models: Sequence[Run], twins: Sequence[Run]) -> Row:
    name = counted.what
    simulated, live = (sorted({"broken" if run.verdict.records[name] else "kept" for run in runs}) for runs in (models, twins))
    agreement = AGREE if set(live) & set(simulated) else counted.agreement
    why = "a race" if agreement == AGREE and len({*simulated, *live}) > 1 else ""
    return Row(f"nothing {name}", " or ".join(simulated), " or ".join(live), agreement, why)


def _transactions(models: Sequence[Run], twins: Sequence[Run]) -> Iterator[Row]:
    triggers = [fault.when for fault in twins[0].plan.faults]
    alone = sum(bool(producer.config.transactional_id) for producer in twins[0].plan.producers) < 2  # Else the clock says who fences whom where.
    exact = alone and all(isinstance(when, FrameTrigger) or (when is not None and when.kind == "transaction") for when in triggers)
    here, there = [counts(run) for run in models], [counts(run) for run in twins]
    by_the_clock = markers_by_the_clock(twins[0])
    for name in here[0]:
        simulated, live = _spread(of[name] for of in here), _spread(of[name] for of in there)
        leeway: float = 0 if exact else 1  # The transaction at hand.
        if by_the_clock and name in MARKERS.values():
            leeway += simulated[1] + 1  # Each may have got one partition more.
        apart = max(simulated[0] - live[1], live[0] - simulated[1])
        agreement = AGREE if apart <= leeway else DIFFER
        why = "a race" if agreement == AGREE and (apart > 0 or simulated[0] != simulated[1]) else ""
        yield Row(name, simulated, live, agreement, why)
    yield from _names("exceptions of calls", [set(thrown(run)) for run in models], [set(thrown(run)) for run in twins])


def _errors(models: Sequence[Run], twins: Sequence[Run]) -> Iterator[Row]:
    return _names("exceptions", [set(run.metrics.errors) for run in models], [set(run.metrics.errors) for run in twins])


def _names(what: str, of_models: Sequence[set[str]], of_twins: Sequence[set[str]]) -> Iterator[Row]:
    simulated, live = (sorted({name for names in of for name in names}) for of in (of_models, of_twins))
    if simulated or live:
        agreement = AGREE if set(live) <= set(simulated) or (set(live) & set(simulated) and set(simulated) <= set(live)) else DIFFER
        yield Row(what, ", ".join(simulated) or "none", ", ".join(live) or "none", agreement)


def _partings(names: Sequence[str], base: Run, twin: Run) -> Iterator[Parting]:
    for name in names:
        for producer in dict.fromkeys([*_of_class(base, name), *_of_class(twin, name)]):
            here, there = _of_class(base, name).get(producer, []), _of_class(twin, name).get(producer, [])
            apart = union([*minus(here, there), *minus(there, here)])
            if apart:
                record = f"{producer}/{apart[0][0]}"
                yield Parting(name, record, *(str(explain(run, record)) if _offered(run, producer, apart[0][0]) else "never offered" for run in (base, twin)))
                break


def _of_class(run: Run, name: str) -> dict[str, Runs]:
    """Records by producer; for outcomes from what was reported, for classes from the verdict."""
    kinds: dict[str, type[Acked] | type[Failed]] = {"acked": Acked, "failed": Failed}
    if name not in kinds:
        return classes(run.history).get(name, {})
    found: dict[str, list[tuple[int, int]]] = {}
    for _, fact in run.history.of(kinds[name]):
        found.setdefault(fact.producer, []).extend((number, number + 1) for number in fact.records)
    return {producer: union(runs) for producer, runs in found.items()}


def _offered(run: Run, producer: str, number: int) -> bool:
    return any(fact.producer == producer and number in fact.records for _, fact in run.history.of(Offered))


# Timing.


@dataclass(slots=True)
class Moments:
    """What a run says of time, in milliseconds."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)


def _timing(models: Sequence[Run], twins: Sequence[Run]) -> Iterator[Row]:
    simulated, live = Moments(), Moments()
    for moments, runs in ((simulated, models), (live, twins)):
        for run in runs:
            for name, value in _moments(run):
                moments.add(name, value)
    slower_start = max(0.0, max(map(_start_ms, twins)) - max(map(_start_ms, models)))
    for name in simulated.values:
        if name not in live.values:
            yield Row(name, _rounded(simulated.values[name]), None, NOT_COMPARABLE, "it did not happen on the cluster")
            continue
        floor, share = (RETRY_FLOOR, RETRY_SHARE) if name.startswith("batches") else (TIMING_FLOOR_MS, TIMING_SHARE)
        (low, high), (least, most) = _spread(simulated.values[name]), _spread(live.values[name])
        tolerance = floor + share * max(high, most) + (0 if name.startswith("batches") else slower_start)
        agreement = AGREE if least <= high + tolerance and low <= most + tolerance else DIFFER
        unit = "" if name.startswith("batches") else " ms"
        yield Row(name, _rounded(simulated.values[name]), _rounded(live.values[name]), agreement, f"tolerance {tolerance:.0f}{unit}")


def _start_ms(run: Run) -> float:
    """The longest that a broker took from its start to its return, or a client to its first connection."""
    started: dict[str, Micros] = {}
    longest = 0
    clients = {producer.name for producer in run.plan.producers} | {consumer.name for consumer in run.plan.consumers}
    for at, fact in run.history.of(Fault, BrokerChanged, Connected):
        if isinstance(fact, Connected):
            if fact.client in clients:
                longest = max(longest, at - started.pop(fact.client, at))
        elif isinstance(fact, BrokerChanged):
            if fact.state == "unfenced" and fact.broker in started:
                longest = max(longest, at - started.pop(fact.broker))
        elif (fact.do, fact.phase) in (("crash", "end"), ("shutdown", "end"), ("restart", "begin")):
            started.update(dict.fromkeys(fact.resolved, at))
    return longest / MILLISECOND


def _rounded(values: Sequence[float]) -> tuple[float, float]:
    low, high = _spread(values)
    return round(low, 1), round(high, 1)


def _moments(run: Run) -> Iterator[tuple[str, float]]:
    offered = offered_at(run)
    for name, begun in beginnings(run):
        told = ((at, fact) for at, fact in run.history.of(Acked) if at >= begun and fact.offset >= 0)  # acks=0: nobody told anything.
        after = next((at for at, fact in told if offered[fact.producer, fact.records[-1]] >= begun), None)
        if after is not None:
            yield f"first acknowledgement of a record offered after {name}, ms", (after - begun) / MILLISECOND
    failed = sorted(at - offered[fact.producer, number] for at, fact in run.history.of(Failed) for number in fact.records)
    if failed:
        yield "from send() to failure, median, ms", median(failed) / MILLISECOND
    yield "longest silence, ms", run.metrics.unavailable_ms
    yield "slowest acknowledgement, ms", run.metrics.latency_ms["max"]
    yield "batches sent again", float(sum(fact.attempt > 1 for _, fact in run.history.of(Sent)))


# Words.


def lines(found: Comparison) -> Iterator[str]:
    yield found.title
    yield f"simulated ({_times(found.runs[0])}) against {found.against} ({_times(found.runs[1])})"
    for reason in found.reasons:
        yield f"not comparable: {reason}"
    for heading, rows in (("guarantees", found.guarantees), ("records", found.classes), ("timing", found.timing)):
        if rows:
            yield ""
            yield from _table(heading, rows)
    for parting in found.partings:
        yield ""
        yield f"{parting.name}: they part at record {parting.record}"
        yield "  simulated"
        yield from (f"    {line}" for line in parting.simulated.splitlines())
        yield "  live"
        yield from (f"    {line}" for line in parting.live.splitlines())
    yield ""
    if found.wall_ms[0] and found.wall_ms[1]:
        ratio = found.wall_ms[1] / found.wall_ms[0]
        yield f"wall time: simulated {found.wall_ms[0]:.0f} ms, live {found.wall_ms[1] / 1000:.1f} s: {ratio:,.0f} times faster simulated"
    yield f"comparison: {found.agreement}"


def _times(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _table(heading: str, rows: Sequence[Row]) -> Iterator[str]:
    shown = [(row.what, _side(row.simulated), _side(row.live), row.agreement + (f" ({row.why})" if row.why else "")) for row in rows]
    widths = [max(len(cells[column]) for cells in [(heading, "simulated", "live", ""), *shown]) for column in range(3)]
    for cells in [(heading, "simulated", "live", ""), *shown]:
        yield "  ".join([cells[0].ljust(widths[0]), cells[1].rjust(widths[1]), cells[2].rjust(widths[2]), cells[3]]).rstrip()


def _side(value: tuple[float, float] | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    low, high = (f"{bound:g}" if bound == int(bound) and abs(bound) < 1e6 else f"{bound:,.1f}" for bound in value)
    return low if low == high else f"{low}..{high}"
