"""The report: one object that says how a run went, the same for a run that was simulated and for a history that was recorded.

Not Kafka's: the keys, their order and the exit codes are those of ksim's public contract (scenario.md, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING

from ksim import __version__
from ksim.history import History, HistoryError
from ksim.metrics import Metrics, measure
from ksim.metrics_alerts import Alarm
from ksim.plan import Expectation
from ksim.processing import FIGURES
from ksim.reading import READ_FIGURES
from ksim.scenario_data import normal
from ksim.scenario_reading import Reading, Source
from ksim.scenario_tail import read_expectations
from ksim.verdict import Verdict, judge
from ksim_models.facts import Acked, Ended, Fault, Offered
from ksim_models.units import MILLISECOND, Micros

if TYPE_CHECKING:
    from ksim.runs import Run

SCHEMA = 1
HELD, VIOLATED, USAGE, INTERNAL, INCONCLUSIVE = 0, 1, 2, 3, 4
VERDICT_CODES = {"held": HELD, "violated": VIOLATED, "inconclusive": INCONCLUSIVE}

COMPARISONS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


@dataclass(frozen=True, slots=True)
class Report:
    """What there is to say about one history, and the exit code that follows."""

    data: dict[str, object]
    """The contract's JSON object."""
    verdict: Verdict
    notes: tuple[str, ...] = ()
    """What the reader should know of the configuration; a recorded history does not hold them."""
    span_us: Micros = 0
    """From the first send() to the last acknowledgement."""
    record_bytes: Fraction | None = None
    """Of one record, on average; a recorded history does not tell it."""

    @property
    def met(self) -> bool:
        """Every line of [expect]."""
        return all(line["met"] for line in _lines(self.data["expect"]))

    @property
    def exit_code(self) -> int:
        """Without [expect] the verdict decides. With it the author's predictions do: an anomaly that was predicted is no failure."""
        if not self.data["expect"]:
            return VERDICT_CODES[self.verdict.verdict]
        if not self.met:
            return VIOLATED
        return INCONCLUSIVE if self.verdict.reasons else HELD


def combined_exit_code(codes: Iterable[int]) -> int:
    """Of many seeds: what is violated once is violated."""
    found = set(codes)
    return next((code for code in (VIOLATED, INCONCLUSIVE) if code in found), HELD)


def report(run: Run) -> dict[str, object]:
    """As `ksim run --json` prints it."""
    return report_on(run).data


def report_on(run: Run) -> Report:
    data = _data(run.history, run.verdict, run.metrics, run.plan.expect, run.alarms, wall_ms=round(run.wall_ms, 3))
    return Report(data, run.verdict, run.plan.notes, _span(run.history), _record_bytes(run))


def report_on_history(history: History) -> Report:
    """Raises HistoryError where the history contradicts itself."""
    verdict = judge(history)
    data = _data(history, verdict, measure(history), expectations_of(history), wall_ms=None)
    return Report(data, verdict, span_us=_span(history))


def expectations_of(history: History) -> tuple[Expectation, ...]:
    """What the author of the scenario predicted: the run line holds the scenario as data."""
    scenario = history.run.get("scenario")
    if not isinstance(scenario, dict) or "expect" not in scenario:
        return ()
    reading = Reading(Source(history.source, {}))
    expected = normal({"expect": scenario["expect"]}, reading, {}, underscored=False).get("expect")
    found = read_expectations(reading, expected)
    if reading.problems:
        raise HistoryError(history.source, 1, reading.problems[0].message)
    return tuple(found)


def _data(
    history: History, verdict: Verdict, metrics: Metrics, expected: Iterable[Expectation], alarms: Iterable[Alarm] = (), *, wall_ms: float | None
) -> dict[str, object]:
    run = history.run
    ended = next(((at, fact) for at, fact in history.of(Ended)), None)
    data: dict[str, object] = {
        "schema": SCHEMA,
        "ksim": __version__,
        "scenario": run.get("title", ""),
        "seed": run.get("seed"),
        "digest": history.digest,
        "kafka": run.get("kafka"),
        "client": run.get("client"),
        "how": run.get("how"),
        "verdict": verdict.verdict,
        "records": dict(verdict.records),
        "anomalies": [anomaly.as_data() for anomaly in verdict.anomalies],
        "errors": dict(metrics.errors),
        "latency_ms": {name: number(value) for name, value in metrics.latency_ms.items()},
        "unavailable_ms": number(metrics.unavailable_ms),
        "metrics": dict(metrics.metrics),
        "faults": faults(history),
    }
    if verdict.processing:
        data["processing"] = {one.application: one.as_data() for one in verdict.processing}
    if verdict.reading:
        data["reading"] = {one.readers: one.as_data() for one in verdict.reading}
    if "calibrated" in run and run.get("how") == "simulated":
        data["calibrated"] = run["calibrated"]
    if rows := [_alarm(alarm) for alarm in alarms]:
        data["alerts"] = rows
    return data | {
        "expect": {line.key: _compared(line, data) for line in expected},
        "simulated_ms": number(ended[0] / MILLISECOND) if ended else None,
        "wall_ms": wall_ms,
        "events": ended[1].events if ended else None,
    }


def number(value: float) -> int | float:
    """A whole number without a point: 12, not 12.0."""
    return int(value) if value == int(value) else value


def faults(history: History) -> list[dict[str, object]]:
    """One row per fault of the scenario, in its order: when it first had an effect, on whom, and what it touched."""
    found: dict[str, list[tuple[Micros, Fault]]] = {}
    for at, fact in history.of(Fault):
        found.setdefault(fact.name, []).append((at, fact))
    order = [name for name, facts in found.items() if any(fact.phase == "summary" for _, fact in facts)]
    random = frozenset(chaos if isinstance(chaos := history.run.get("chaos"), dict) else ())
    return [_fault(name, found[name], random) for name in [*order, *(name for name in found if name not in order)]]


def _fault(name: str, facts: list[tuple[Micros, Fault]], random: frozenset[str]) -> dict[str, object]:
    """random: the names of [[chaos]] tables, which strike more than once."""
    effects = [(at, fact) for at, fact in facts if fact.phase in ("begin", "hit")]
    resolved = dict.fromkeys(who for _, fact in effects for who in fact.resolved)
    touched = next((fact.touched for _, fact in facts if fact.phase == "summary"), 0)
    strikes = {"strikes": len(effects)} if name in random else {}
    return {
        "name": name,
        "do": facts[0][1].do,
        "at_ms": number(effects[0][0] / MILLISECOND) if effects else None,
        "resolved": list(resolved),
        "touched": touched,
        "injected": bool(effects),
        **strikes,
    }


def _alarm(alarm: Alarm) -> dict[str, object]:
    """One row per [[alert]]. blind: harm was done, and it never fired."""
    rule, harm = alarm.rule, alarm.harm
    after = alarm.after_harm_ms
    return {
        "metric": rule.metric,
        "above" if rule.above else "below": number(float(rule.limit)),
        "for_ms": number(rule.lasting / MILLISECOND),
        "read": alarm.read,
        "fired_at_ms": alarm.fired_at_ms,
        "of": alarm.of or None,
        "first_harm": None if harm is None else {"name": harm.name, "at_ms": number(harm.at / MILLISECOND)},
        "after_first_harm_ms": None if after is None else number(round(after, 3)),
        "blind": alarm.blind,
    }


# [expect]


def _compared(line: Expectation, data: Mapping[str, object]) -> dict[str, object]:
    got = _value(line.key, data)
    if isinstance(line.low, str):
        met = (got == line.low) is (line.operator == "=")
    else:
        assert isinstance(got, (int, float))
        exact = Fraction(str(got))  # As it is printed: 0.1 is a tenth.
        met = line.low <= exact <= line.high if line.high is not None else COMPARISONS[line.operator](exact, line.low)
    return {"wanted": line.wanted, "got": got, "met": met}


def _value(key: str, data: Mapping[str, object]) -> object:
    """What the report says under this name; 0 for an exception that no record ended with."""
    if key in ("verdict", "unavailable_ms"):
        return data[key]
    group, name = "records", key
    if key.startswith("errors."):
        group, name = "errors", key.removeprefix("errors.")
    elif key.startswith("ack_"):
        group, name = "latency_ms", key.removeprefix("ack_").removesuffix("_ms")
    elif key in (*FIGURES, *READ_FIGURES):
        found = "processing" if key in FIGURES and "processing" in data else "reading"  # What applications skip is worse.
        return sum(int(str(_table(one).get(key, 0))) for one in _table(data.get(found, {})).values())
    elif key not in _table(data["records"]):
        group = "metrics"
    return _table(data[group]).get(name, 0)


def _table(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _lines(value: object) -> list[dict[str, object]]:
    return [_table(line) for line in _table(value).values()]


def _span(history: History) -> Micros:
    offered = min((fact.times[0] if fact.times else fact.first_at for _, fact in history.of(Offered)), default=0)
    return max(0, max((at for at, _ in history.of(Acked)), default=0) - offered)


def _record_bytes(run: Run) -> Fraction:
    """The workloads say it: a record is as large as its workload makes them, on average."""
    workloads = run.plan.workloads
    records = sum(workload.records for workload in workloads)
    return Fraction(sum(workload.size_bytes * workload.records for workload in workloads), max(1, records))
