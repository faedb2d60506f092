"""An explanation: what happened to one record, step by step, each step with the rule that it rests on.

The rules are those of the client's rule book (A: accumulator, S: sender, N: network, M: metadata, I: idempotence) and of the broker's
(BP: produce, PS: producer state, RP: replication, KC: controller); the machines in models/ksim_models cite the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ksim.classification import CLASSES
from ksim.explanation_around import around
from ksim.explanation_steps import Record, Step, in_time, partition_of, steps_of
from ksim.history import History
from ksim.population import Population, count
from ksim.problems import ScenarioError
from ksim.runs import Run
from ksim.scenario import Given
from ksim.simulation import simulate
from ksim.verdict import Verdict, classes, judge
from ksim_models.config import Origin, Problem
from ksim_models.facts import FinalLog
from ksim_models.units import show

MOST_DIGITS = 18
WITHOUT_OUTCOME = "without an outcome"


@dataclass(frozen=True, slots=True)
class Explanation:
    record: str
    """As a person writes it: the bare number where there is one producer."""
    full_name: str
    """"p1/2"."""
    fate: str
    """"ok", or the names of what is wrong with it."""
    because: str
    """Whether the configuration allows that; "" where nothing is wrong."""
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        lines = [f"record {self.record}: {self.fate}" + (f" ({self.because})" if self.because else "")]
        width = max((len(step.text) for step in self.steps), default=0)
        lines += [f"{show(step.at):>14}  {step.text:<{min(width, 110)}}  [{step.rule}]" for step in self.steps]
        return "\n".join(lines)

    def as_data(self) -> dict[str, object]:
        steps = [{"at_us": step.at, "text": step.text, "rule": step.rule} for step in self.steps]
        return {"schema": 1, "record": self.full_name, "fate": self.fate, "because": self.because, "steps": steps}


def explain(run: Run | History | Given, record: int | str | None = None) -> Explanation:
    """Of a run, of a recorded history, or of what `simulate` takes.

    `record`: 2, "2" or "p1/2"; by default the first that is not ok, else the first. Raises ScenarioError where there is no such record.
    """
    if not isinstance(run, (Run, History)):
        run = simulate(run)
    history = run.history if isinstance(run, Run) else run
    verdict = run.verdict if isinstance(run, Run) else judge(history)
    population = count(history)
    found = _find(population, verdict, record)
    names = [name for name in CLASSES if any(first <= found.number < stop for first, stop in classes(history)[name].get(found.producer, []))]
    steps = tuple(sorted([*around(history, found, partition_of(history, found)), *steps_of(history, found, _end_of(history, found, names))], key=in_time))
    return Explanation(population.name(found.producer, found.number), str(found), ", ".join(names) or WITHOUT_OUTCOME, _because(verdict, names), steps)


def _find(population: Population, verdict: Verdict, record: int | str | None) -> Record:
    producers = population.producers
    if record is None:
        record = verdict.first_not_ok() or next((f"{name}/{producer.offered[0][0]}" for name, producer in producers.items() if producer.offered), "0")
    name, slash, digits = str(record).rpartition("/")
    if not slash and len(producers) == 1:
        name = next(iter(producers))
    if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS and name in producers:
        number = int(digits)
        if any(first <= number < stop for first, stop in producers[name].offered):
            return Record(name, number)
    possible = ", ".join(f"{name}/{first} to {name}/{stop - 1}" for name, producer in producers.items() for first, stop in producer.offered[:3])
    given = str(record)[:80] or "nothing"
    message = f"there is no record {given!r} in this run. Possible: {possible}." if possible else "this run offered no record: there is nothing to explain."
    raise ScenarioError([Problem(given, possible or "a run that offers records", None, message, Origin("RECORD"))])


def _end_of(history: History, record: Record, names: list[str]) -> Iterator[tuple[str, str]]:
    """What the final logs say of it: text and rule."""
    for _, log in history.of(FinalLog):
        if not log.leader:
            continue
        offsets = [
            batch.base_offset + batch.records.index(record.number)
            for batch in log.batches
            if batch.producer == record.producer and record.number in batch.records
        ]
        if offsets:
            where = f"at offset{'s' * (len(offsets) > 1)} {', '.join(map(str, offsets))} of the final log of {log.partition}, on {log.replica}"
            readable = "" if max(offsets) < log.high_watermark else ", above the high watermark: no consumer can read it"
            yield f"it stands {where}{readable}", "the final log"
            return
    yield "it stands in no leader's final log", "the final log"


def _because(verdict: Verdict, names: list[str]) -> str:
    told = [anomaly for anomaly in verdict.anomalies if anomaly.name in names]
    return "; ".join(f"{'allowed' if anomaly.allowed else 'NOT allowed'}: {anomaly.because}" for anomaly in told)
