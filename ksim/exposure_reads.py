"""What a fault did to those who read: batches that waited to be read while a consumer or its path was away, or that were read and not yet committed.

Not Kafka's: "touched" of scenario.md, section 2, for the readers. Counted in what poll() returned: records of one batch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ksim.history import History
from ksim.plan import DEADLY, Plan
from ksim_models.consumer_facts import CommittedOffset, Read
from ksim_models.facts import Appended
from ksim_models.units import NEVER, Micros


@dataclass(slots=True)
class Taken:
    """Records of one batch, as a consumer was given them."""

    consumer: str
    partition: str
    start: int
    stop: int
    at: Micros
    written: Micros
    """When they were appended."""
    owner: str
    """Who of the group had read this partition last before."""
    settled: Micros = NEVER
    """When the group had committed offsets behind them."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A reader was away, or its path was."""

    name: str
    begin: Micros
    end: Micros
    dies: bool
    """With all that it had read and not committed."""


class Readings:
    def __init__(self, history: History, plan: Plan) -> None:
        self.groups = {one.name: one.config.group_id or one.name for one in plan.consumers}
        self.commits = {one.config.group_id for one in plan.consumers if one.config.group_id}
        self.taken: list[Taken] = []
        if self.groups:
            self._read(history)

    def _read(self, history: History) -> None:
        appends: dict[str, tuple[list[int], list[Micros]]] = {}
        owners: dict[tuple[str, str], str] = {}
        open_ones: dict[tuple[str, str], list[Taken]] = {}
        for at, fact in history.of(Appended, Read, CommittedOffset):
            match fact:
                case Appended():
                    offsets, times = appends.setdefault(fact.partition, ([], []))
                    while offsets and offsets[-1] >= fact.base_offset:  # What stood there was cut off.
                        offsets.pop()
                        times.pop()
                    offsets.append(fact.base_offset)
                    times.append(at)
                case Read():
                    group = self.groups[fact.consumer]
                    offsets, times = appends.get(fact.partition, ([], []))
                    place = bisect_right(offsets, fact.base_offset) - 1
                    written = times[place] if place >= 0 else at
                    owner = owners.get((group, fact.partition), fact.consumer)
                    owners[group, fact.partition] = fact.consumer
                    one = Taken(fact.consumer, fact.partition, fact.base_offset, fact.base_offset + len(fact.records), at, written, owner)
                    self.taken.append(one)
                    if group in self.commits:
                        open_ones.setdefault((group, fact.partition), []).append(one)
                    else:
                        one.settled = at
                case CommittedOffset() if not fact.error:
                    for partition, offset in fact.offsets:
                        waiting = open_ones.get((fact.group, partition), [])
                        for one in waiting:
                            if one.stop <= offset:
                                one.settled = at
                        open_ones[fact.group, partition] = [one for one in waiting if one.settled == NEVER]

    def touched(self, absences: Sequence[Absence]) -> int:
        rules = [self._rule(absence) for absence in absences]
        return sum(any(rule(one) for rule in rules) for one in self.taken) if rules else 0

    def absences(self, do: str, begin: Micros, end: Micros, resolved: Iterable[str]) -> list[Absence]:
        """Of one stretch of a fault. Simplified: a path that is cut to one broker counts for whatever its consumer reads meanwhile."""
        names = (part for name in resolved for part in name.replace("<->", "->").split(" -> "))
        return [Absence(name, begin, end, do in DEADLY) for name in names if name in self.groups]

    def _rule(self, absence: Absence) -> Callable[[Taken], bool]:
        name, begin, end = absence.name, absence.begin, absence.end

        def strikes(one: Taken) -> bool:
            if name in (one.consumer, one.owner) and one.written <= end and begin < one.at:
                return True  # It had to wait.
            return absence.dies and one.consumer == name and one.at <= begin < one.settled

        return strikes
