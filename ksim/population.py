"""The population: which records were offered, and how the last send of each one ended.

Not Kafka's. The law that always holds: offered = refused + accepted, accepted = acked + failed + unknown (scenario.md, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ksim.history import History, HistoryError, configured
from ksim.ranges import Run, Runs, both, latest, minus, repeated, runs_of, total, union
from ksim_models.facts import Acked, Failed, Offered, Refused
from ksim_models.units import Micros

MOST_RECORDS = 10**8
LAST_MOMENT: Micros = 2**54

Ending = Acked | Failed | Refused
Piece = tuple[int, int, tuple[Micros, Ending]]
"""Records first ... stop - 1, and when and how their last send ended."""


@dataclass(slots=True)
class Producer:
    """The records of one producer."""

    name: str
    offers: list[tuple[int, int, tuple[Micros, Offered | Ending]]] = field(default_factory=list)
    """Records handed to send(), in the order of the history."""
    ended: list[tuple[int, int, tuple[Micros, Offered | Ending]]] = field(default_factory=list)
    order: list[tuple[int, int, tuple[Micros, Offered | Ending]]] = field(default_factory=list)
    """Offers and endings together, in the order of the history."""
    offered: Runs = field(default_factory=list)
    resent: Runs = field(default_factory=list)
    """Handed to send() more than once: each stays one record."""
    pieces: list[Piece] = field(default_factory=list)
    """Sorted and disjoint. A record in none of them has no outcome."""
    unknown: Runs = field(default_factory=list)

    def offered_after(self, moment: Micros) -> Runs:
        """Handed to send() later than that, for the last time."""
        runs: list[Run] = []
        for first, stop, (_, fact) in latest(self.offers):
            assert isinstance(fact, Offered)
            place = fact.records.index(first)
            for number in range(first, stop) if fact.times or fact.step else (first, stop - 1):
                at = fact.times[place + number - first] if fact.times else fact.first_at + (place + number - first) * fact.step
                if at > moment:  # Times do not go back.
                    runs.append((number, stop))
                    break
        return union(runs)

    def ended_as(self, kind: type[Ending]) -> Runs:
        return union([(first, stop) for first, stop, (_, fact) in self.pieces if type(fact) is kind])


@dataclass(slots=True)
class Population:
    producers: dict[str, Producer]
    """In the order in which they first offered a record."""
    sends: int
    alone: bool
    """There is one producer, also among those that never offered anything."""

    def name(self, producer: str, number: int) -> str:
        """A record's name: the bare number where there is one producer."""
        return str(number) if self.alone else f"{producer}/{number}"


def count(history: History) -> Population:
    """Reads outside facts only. Raises HistoryError where the history contradicts itself."""
    producers: dict[str, Producer] = {}
    for at, fact in history.of(Offered, Acked, Failed, Refused):
        producer = producers.get(fact.producer)
        if producer is None:
            producer = producers[fact.producer] = Producer(fact.producer)
        if type(fact) is Offered:
            _check_offer(history, fact)
        told = producer.offers if type(fact) is Offered else producer.ended
        for first, stop in runs_of(fact.records):
            piece = first, stop, (at, fact)
            told.append(piece)
            producer.order.append(piece)
    for producer in producers.values():
        _settle(history, producer)
    sends = sum(total((first, stop) for first, stop, _ in producer.offers) for producer in producers.values())
    return Population(producers, sends, len(producers.keys() | configured(history.run, "producers").keys()) == 1)


def _check_offer(history: History, fact: Offered) -> None:
    """What a file may say and no run can."""
    if fact.times and len(fact.times) != len(fact.records):
        raise HistoryError(history.source, 0, f"{fact.producer} offered {len(fact.records)} records at {len(fact.times)} times: each record has one time")
    if fact.step < 0 or len(fact.records) > MOST_RECORDS or fact.first_at + fact.step * len(fact.records) > LAST_MOMENT:
        raise HistoryError(history.source, 0, f"{fact.producer} offered {len(fact.records)} records, one each {fact.step} us: no run is that long")


def _settle(history: History, producer: Producer) -> None:
    offers = [(first, stop) for first, stop, _ in producer.offers]
    producer.offered = union(offers)
    if total(offers) > total(producer.offered):
        producer.resent = repeated(offers)
    # A record that is sent again is pending again: its new offer covers the outcome of the send before.
    layers = latest(producer.order if producer.resent else producer.ended)
    producer.pieces = [(first, stop, (at, fact)) for first, stop, (at, fact) in layers if not isinstance(fact, Offered)]
    told = union([(first, stop) for first, stop, _ in producer.pieces])
    if strange := minus(told, producer.offered):
        raise HistoryError(history.source, 0, f"{producer.name}/{strange[0][0]} has an outcome but was never offered: the history contradicts itself")
    producer.unknown = minus(producer.offered, told)
    assert total(producer.offered) == sum(stop - first for first, stop, _ in producer.pieces) + total(producer.unknown)
    assert not both(told, producer.unknown)
