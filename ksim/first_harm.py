"""When the first harm was done: the moment from which a record was lost, doubled, out of order, or its application told of a failure.

Not Kafka's: what an alert is held against. Outside facts say what became of a record; internal facts, where there are any, say more exactly when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ksim.classification import ANOMALIES, Classified, classify
from ksim.history import History
from ksim.population import Producer
from ksim.ranges import Runs, both, runs_of, total, union
from ksim_models.facts import Acked, Appended, Became, Failed, Refused
from ksim_models.units import Micros

HARMS = (*ANOMALIES, "failed", "refused")
OF_AN_APPEND = ("duplicated", "reordered", "misrouted")


@dataclass(frozen=True, slots=True)
class Harm:
    """The first of its kind: lost, duplicated ... failed or refused; and how many records it came to in the end."""

    name: str
    at: Micros
    records: int


def harms(history: History) -> tuple[Harm, ...]:
    """The first harm of each kind, earliest first. Raises HistoryError where the history contradicts itself."""
    result = classify(history)
    found = [*_anomalies(history, result)]
    for name, kind in (("failed", Failed), ("refused", Refused)):
        pieces = [(at, stop - first) for producer in result.population.producers.values() for first, stop, (at, fact) in producer.pieces if type(fact) is kind]
        if pieces:
            found.append(Harm(name, min(at for at, _ in pieces), sum(count for _, count in pieces)))
    return tuple(sorted(found, key=lambda harm: (harm.at, HARMS.index(harm.name))))


def _anomalies(history: History, result: Classified) -> Iterator[Harm]:
    appends: dict[str, list[tuple[Micros, Appended]]] | None = None
    for name in ANOMALIES:
        moments: list[Micros] = []
        records = 0
        for producer, runs in result.classes[name].items():
            records += total(runs)
            told = result.population.producers[producer]
            if name in OF_AN_APPEND:
                if appends is None:
                    appends = _appends(history)
                at = _appended_at(name, appends.get(producer, []), runs)
                moments += [at] if at is not None else _ended_at(told, runs)
            else:
                moments += _lost_at(history, told, runs) if name == "lost" else _ended_at(told, runs)
        if moments:
            yield Harm(name, min(moments), records)


def _ended_at(producer: Producer, runs: Runs) -> list[Micros]:
    return [at for first, stop, (at, _) in producer.pieces if both([(first, stop)], runs)]


def _lost_at(history: History, producer: Producer, runs: Runs) -> list[Micros]:
    """When somebody took the lead who did not have it; where that was before it was acknowledged, or cannot be told, when it was acknowledged."""
    leaders: dict[str, list[tuple[Micros, int]]] = {}
    for at, became in history.of(Became):
        if became.role == "leader":
            leaders.setdefault(became.partition, []).append((at, became.log_end_offset))
    moments = []
    for first, stop, (at, fact) in producer.pieces:
        lost = both([(first, stop)], runs)
        if lost and isinstance(fact, Acked):
            offset = fact.offset + list(fact.records).index(lost[0][0]) if fact.offset >= 0 else None
            later = [moment for moment, end in leaders.get(fact.partition, []) if offset is not None and moment >= at and end <= offset]
            moments.append(later[0] if later else at)
    return moments


def _appends(history: History) -> dict[str, list[tuple[Micros, Appended]]]:
    found: dict[str, list[tuple[Micros, Appended]]] = {}
    for at, fact in history.of(Appended):
        found.setdefault(fact.producer, []).append((at, fact))
    return found


def _appended_at(name: str, appends: Iterable[tuple[Micros, Appended]], runs: Runs) -> Micros | None:
    """When the first of these records was appended; the second time, where being there twice is the harm."""
    seen: Runs = []
    for at, fact in appends:
        batch = both(union(runs_of(fact.records)), runs)
        if batch and (name != "duplicated" or both(batch, seen)):
            return at
        seen = union([*seen, *batch])
    return None
