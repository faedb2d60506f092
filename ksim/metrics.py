"""Figures of a run: how long acknowledgements took, how long there were none, and Kafka's own producer totals.

Kafka: the producer-metrics group (section 6.2 of the client's rule book). Latency and unavailability: scenario.md, section 3. Reads outside facts only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from ksim.breakers import breaker_figures
from ksim.history import History
from ksim.plan import DEADLY
from ksim.population import Population, Producer, count
from ksim.ranges import latest
from ksim_models.facts import Acked, Ended, Failed, Fault, Offered, Refused, Sent
from ksim_models.on_failure import BREAKER_OPEN
from ksim_models.units import MILLISECOND, Micros

T = TypeVar("T")

BETWEEN_CALLS: Micros = 5 * MILLISECOND
"""On a cluster an application that was held up needs a moment for its next call. Here it needs none."""
MANY = 20_000  # From here on numpy is worth its import.
QUANTILES = {"p50": 500, "p95": 950, "p99": 990, "p999": 999}  # In thousandths.
NOT_COUNTED = frozenset({BREAKER_OPEN, "IllegalArgumentException", "IllegalStateException", "NullPointerException"})
"""What send() throws without counting it: only ApiException, KafkaException and InterruptException are (A8); and what never came as far as send()."""


@dataclass(frozen=True, slots=True)
class Metrics:
    latency_ms: dict[str, float]
    """avg, p50, p95, p99, p999 and max of acknowledgement minus (last) offer, per acknowledged record; nearest rank; 0 where nothing was acknowledged."""
    unavailable_ms: float
    """The longest time in which some producer had a pending record and got no acknowledgement."""
    metrics: dict[str, int]
    """record-send-total, record-retry-total and record-error-total, summed over producers; with circuit breakers theirs too (`ksim.breakers`)."""
    errors: dict[str, int]
    """Records by the exception class with which their last send was refused or failed, in the order of the alphabet."""


def measure(history: History) -> Metrics:
    """Raises HistoryError where the history contradicts itself."""
    population = count(history)
    return Metrics(_latency(population), _unavailable(history, population) / MILLISECOND, _totals(history) | breaker_figures(history), _errors(population))


Offers = list[tuple[int, int, Micros, int]]
"""Records first ... stop - 1 were offered at `at`, `at + step`, ...; sorted by record."""
Matched = tuple[T, int, Micros, int]
"""What became of them, how many records, when the first of them was offered, and the distance of the next ones."""


def _offers(producer: Producer, *, first_time: bool = False) -> Offers:
    """When each record was offered; where it was offered again, the last time (or the first)."""
    found: Offers = []
    for first, stop, (_, fact) in latest(producer.offers[::-1] if first_time else producer.offers):
        assert isinstance(fact, Offered)
        place = fact.records.index(first)
        if fact.times:
            found += [(number, number + 1, fact.times[place + number - first], 0) for number in range(first, stop)]
        else:
            found.append((first, stop, fact.first_at + place * fact.step, fact.step))
    return found


def _matched(offers: Offers, pieces: Iterable[tuple[int, int, T]]) -> Iterator[Matched[T]]:
    """Pieces laid beside offers, both sorted: every record of a piece was offered."""
    place = 0
    for first, stop, what in pieces:
        while first < stop:
            start, end, at, step = offers[place]
            if end <= first:
                place += 1
                continue
            yield what, min(stop, end) - first, at + (first - start) * step, step
            first = min(stop, end)


def _latency(population: Population) -> dict[str, float]:
    waits = [
        (at - offered, records, step)  # The first of them waited so long, each next one `step` less.
        for producer in population.producers.values()
        for (at, fact), records, offered, step in _matched(_offers(producer), producer.pieces)
        if isinstance(fact, Acked)
    ]
    records = sum(records for _, records, _ in waits)
    if not records:
        return dict.fromkeys(("avg", *QUANTILES, "max"), 0.0)
    whole = sum(records * wait - step * (records * (records - 1) // 2) for wait, records, step in waits)
    ranks = [(thousandths * records + 999) // 1000 - 1 for thousandths in QUANTILES.values()]
    quantiles = _at_ranks_of_many(waits, ranks) if records > MANY else _at_ranks(waits, ranks)
    figures = [(2 * whole + records) // (2 * records), *quantiles, max(wait for wait, _, _ in waits)]
    return {name: figure / MILLISECOND for name, figure in zip(("avg", *QUANTILES, "max"), figures)}


def _at_ranks(waits: Sequence[tuple[int, int, int]], ranks: Sequence[int]) -> list[int]:
    every = sorted(wait - step * place for wait, records, step in waits for place in range(records))
    return [every[rank] for rank in ranks]


def _at_ranks_of_many(waits: Sequence[tuple[int, int, int]], ranks: Sequence[int]) -> list[int]:
    import numpy  # Only here: a small run should not pay for it.

    table = numpy.array(waits, dtype=numpy.int64)
    first, records, step = table[:, 0], table[:, 1], table[:, 2]
    place = numpy.arange(int(records.sum())) - numpy.repeat(numpy.cumsum(records) - records, records)
    every = numpy.repeat(first, records) - place * numpy.repeat(step, records)
    every.partition(sorted(set(ranks)))
    return [int(every[rank]) for rank in ranks]


def _unavailable(history: History, population: Population) -> Micros:
    deaths: dict[str, Micros] = {}
    over: Micros = 0
    living: tuple[str, ...] = ()
    for at, fact in history.of(Fault, Ended):
        if isinstance(fact, Ended):
            over, living = at, fact.living_producers
        elif fact.phase == "begin" and fact.do in DEADLY:
            deaths.update(dict.fromkeys(fact.resolved, at))
    worst: Micros = 0
    pause = BETWEEN_CALLS if history.run.get("how") == "live" else 0
    for producer in population.producers.values():
        end = over if producer.name in living else min(over, deaths.get(producer.name, over))
        worst = max(worst, _longest_silence(producer, end, deaths.get(producer.name, -1), pause))
    return worst


def _longest_silence(producer: Producer, end: Micros, died_at: Micros, pause: Micros) -> Micros:
    """Records that end together were pending from the offer of the first of them on: one stretch of time. One within `pause` of the last goes on with it."""
    offers = _offers(producer, first_time=True)
    pending = [(offered, at) for (at, _), _, offered, _ in _matched(offers, producer.pieces)]
    pending += [
        (offered, died_at if offered <= died_at else end) for _, _, offered, _ in _matched(offers, [(first, stop, None) for first, stop in producer.unknown])
    ]
    acknowledged = sorted({at for _, _, (at, fact) in producer.ended if isinstance(fact, Acked)})
    worst: Micros = 0
    begun = until = -pause - 1
    for start, stop in sorted(pending):
        if start > until + pause:
            worst = max(worst, _longest_gap(begun, until, acknowledged))
            begun, until = start, stop
        else:
            until = max(until, stop)
    return max(worst, _longest_gap(begun, until, acknowledged))


def _longest_gap(begun: Micros, until: Micros, acknowledged: list[Micros]) -> Micros:
    within = acknowledged[bisect_right(acknowledged, begun) : bisect_left(acknowledged, until)]
    return max(after - before for before, after in pairwise([begun, *within, until]))


def _totals(history: History) -> dict[str, int]:
    sent = retried = errors = 0
    for _, fact in history.of(Sent, Failed, Refused):
        records = len(fact.records)
        if not isinstance(fact, Sent):
            errors += 0 if fact.error in NOT_COUNTED else records
        else:
            sent += records
            # Kafka counts a retry when it is put back into the queue; from outside it shows when it leaves again.
            retried += records if fact.attempt > 1 else 0
    return {"record-send-total": sent, "record-retry-total": retried, "record-error-total": errors}


def _errors(population: Population) -> dict[str, int]:
    found: dict[str, int] = {}
    for producer in population.producers.values():
        for first, stop, (_, fact) in producer.pieces:
            if not isinstance(fact, Acked):
                found[fact.error] = found.get(fact.error, 0) + stop - first
    return dict(sorted(found.items()))
