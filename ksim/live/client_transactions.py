"""Transactions of a client in a process of its own: what it is told of them before time zero, and what it says of each step.

Not Kafka's. The language is described in ksim.live.clients; the course of events is that of `ksim_models.transactional_application`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ksim.faults import steps_struck
from ksim.live.book import Book
from ksim.plan import Plan
from ksim_models.arrivals import Arrivals
from ksim_models.facts import Transaction
from ksim_models.units import Micros

HELD_S = 0.1
"""How long a step is held at which a fault strikes: a killed process closes its sockets only when the system has cleared it away."""
SEEN_ON_THE_WIRE = "commit-sent"


class ClientTransactions:
    def __init__(self, plan: Plan, producer: str, workloads: Sequence[Arrivals], book: Book) -> None:
        self.producer = producer
        self.workloads = workloads
        self.book = book
        self.number = 0
        """Of the transaction at hand, or the last one, from 1."""
        self.under_way = any(workload.transaction is not None for workload in workloads)
        """Its application has not come to the end of its transactions."""
        self._is_transactional = any(one.name == producer and bool(one.config.transactional_id) for one in plan.producers)
        self._held = [(number, phase) for number, phase in dict.fromkeys(steps_struck(plan, producer)) if phase != SEEN_ON_THE_WIRE]

    def words(self) -> Iterator[tuple[str, ...]]:
        """What the process is to be told."""
        for index, workload in enumerate(self.workloads):
            habits = workload.transaction
            if habits is not None:
                times = str(habits.think), str(habits.begins_at)
                end = "commit" if habits.commits else "abort"
                yield "transaction", str(index), str(habits.records), end, str(habits.abort_every), *times, workload.on_failure.reaction.value
        if self._is_transactional:
            yield "transactions", str(self.number)
            for number, phase in self._held:
                yield "hold", str(number), phase

    def heard(self, event: dict[str, Any], at: Micros, plain: Callable[[str], str], offsets: tuple[tuple[str, int], ...] = (), group: str = "") -> bool:
        """True: the process waits until it is told to proceed."""
        self.number = event["number"]
        step = Transaction(
            self.producer, self.number, event["phase"], event.get("call", ""), event.get("class", ""), plain(event.get("message", "")), offsets, group
        )
        self.book.note(step, at)
        return (self.number, step.phase) in self._held
