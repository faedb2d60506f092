"""Transactions as faults see them: from when to when each was open, waited for its coordinator, and had its end still to be written.

Not Kafka's; read from all facts of a simulation, after the run. `ksim.exposure` asks which batches were in them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from ksim.history import History
from ksim.lives import Batch, Timeline
from ksim_models.facts import Transaction, TransactionState
from ksim_models.units import NEVER, Micros

ASKED = {"send-offsets": ("commit", "abort", "failed"), "commit": ("committed", "failed"), "abort": ("aborted", "failed")}
"""What an application is about to call, and what it is told when the call has returned."""


@dataclass(slots=True)
class Span:
    """One transaction of a producer."""

    start: Micros
    stop: Micros = NEVER
    """When the application was told how it ended; NEVER where it was not told."""
    waits: list[list[Micros]] = field(default_factory=list)
    """From when to when it waited for its coordinator."""
    ends: list[list[Micros]] = field(default_factory=list)
    """From when to when its end was decided and not written everywhere."""


class Transactions:
    def __init__(self, history: History, ids: Mapping[str, str]) -> None:
        """ids: the transactional id of each producer that has one."""
        self.spans: dict[str, list[Span]] = {producer: [] for producer in ids}
        self.coordinators: dict[str, Timeline] = {producer: [] for producer in ids}
        if not ids:
            return
        of_id: dict[str, list[str]] = {}
        for producer, its in ids.items():
            of_id.setdefault(its, []).append(producer)
        for at, fact in history.of(Transaction, TransactionState):
            if isinstance(fact, TransactionState):
                for producer in of_id.get(fact.transactional_id, ()):
                    self._decided(producer, at, fact)
            elif fact.producer in self.spans:
                self._told(self.spans[fact.producer], at, fact)

    def _told(self, spans: list[Span], at: Micros, fact: Transaction) -> None:
        if fact.phase == "begin":
            spans.append(Span(at))
        if not spans:
            return
        span = spans[-1]
        if span.waits and span.waits[-1][1] == NEVER:
            span.waits[-1][1] = at
        if fact.phase in ASKED:
            span.waits.append([at, NEVER])
        elif fact.phase in ("committed", "aborted"):
            span.stop = at
        elif fact.phase == "commit-sent":  # Still waiting.
            span.waits.append([at, NEVER])

    def _decided(self, producer: str, at: Micros, fact: TransactionState) -> None:
        timeline = self.coordinators[producer]
        if not timeline or timeline[-1][1] != fact.broker:
            timeline.append((at, fact.broker))
        spans = self.spans[producer]
        if not spans:
            return
        if fact.state.startswith("Prepare"):
            spans[-1].ends.append([at, NEVER])
        elif fact.state.startswith("Complete"):
            for span in spans[-2:]:
                if span.ends and span.ends[-1][1] == NEVER:
                    span.ends[-1][1] = at

    def around(self, batch: Batch) -> Span | None:
        """The transaction in which it was sent."""
        spans = self.spans.get(batch.producer)
        place = bisect_right(spans, batch.start, key=attrgetter("start")) if spans else 0
        return spans[place - 1] if spans and place else None

    def waits_for(self, batch: Batch, broker: str, begin: Micros, end: Micros) -> bool:
        """Its transaction was waiting for this broker as its coordinator."""
        span = self.around(batch)
        if span is None:
            return False
        timeline = self.coordinators[batch.producer]
        until = [at for at, _ in timeline[1:]] + [NEVER]
        led = [(since, stop) for (since, who), stop in zip(timeline, until) if who == broker]
        return any(start <= end and begin < stop and any(since <= max(start, begin) < gone for since, gone in led) for start, stop in (*span.waits, *span.ends))

    def ends_while(self, batch: Batch, begin: Micros, end: Micros) -> bool:
        """The end of its transaction was being written."""
        span = self.around(batch)
        return span is not None and any(start <= end and begin < stop for start, stop in span.ends)

    def stop(self, batch: Batch) -> Micros:
        """When the application was told what became of it: of its transaction, where it is in one."""
        span = self.around(batch)
        return batch.stop if span is None else max(batch.stop, span.stop)
