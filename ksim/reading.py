"""Reading, end to end: did a group of consumers, or one by itself, see each record? Applications that write, too, are for `processing`.

Not Kafka's. What counts is what stands in the logs at the end (of no transaction, or of a committed one). It was read if poll() gave it to a member of the
group, and not another record that stood there and was cut off since. What was not, and lies below where the group has come, by reading or by its committed
offsets, is skipped: no member will ask for it again. Kafka promises nobody that he reads every record, so this is counted, and no part of the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ksim.atomicity import Copied
from ksim.history import History, configured
from ksim.processing import Standing, committed_by_group, inputs_of, standing_in
from ksim.ranges import Runs, both, minus, repeated, runs_of, total, union
from ksim_models.consumer_facts import Read

READ_FIGURES = ("read_once", "read_twice", "skipped", "unread")
TO_THE_BEGINNING = ("earliest", "smallest", "beginning", "none", "error")


@dataclass(frozen=True, slots=True)
class Missed:
    """A record that nobody of the group was given: "p1/0"."""

    record: str
    partition: str
    offset: int

    def as_data(self) -> dict[str, object]:
        return {"record": self.record, "partition": self.partition, "offset": self.offset}


@dataclass(frozen=True, slots=True)
class Reading:
    readers: str
    """The members of one group, or a consumer without one."""
    inputs: int
    read_once: int
    read_twice: int
    """Was given to the group more than once."""
    skipped: int
    unread: int
    """The group has not come so far."""
    because: str
    """What explains the first one skipped; "" for nothing that is known."""
    witness: Missed | None
    """The first that was skipped."""

    def as_data(self) -> dict[str, object]:
        figures = {name: getattr(self, name) for name in READ_FIGURES}
        return {"inputs": self.inputs, **figures, "because": self.because or None, "witness": self.witness.as_data() if self.witness else None}


def readings(history: History, copied: Copied) -> tuple[Reading, ...]:
    """One for each group, in the order of the scenario; reads outside facts only."""
    groups = _groups(history)
    if not groups:
        return ()
    given = _given(history)
    standing, committed = standing_in(copied), committed_by_group(history)
    return tuple(
        _of(members, topics, policy, {name: given.get(name, {}) for name in members}, committed.get(group, {}), copied, standing)
        for group, members, topics, policy in groups
    )


def _groups(history: History) -> list[tuple[str, list[str], list[str], str]]:
    """The group ("" for none), its members, what they read, and where they begin."""
    scenario = history.run.get("scenario")
    tables = scenario.get("consumers") if isinstance(scenario, dict) else None
    applied = {str(configured(history.run, "applications", name).get("consumer")) for name in configured(history.run, "applications")}
    found: dict[str, tuple[str, list[str], list[str], str]] = {}
    for name in configured(history.run, "consumers"):
        table = tables.get(name) if isinstance(tables, dict) else None
        topics = table.get("topics") if isinstance(table, dict) else None
        if name not in applied and isinstance(topics, list):
            own = configured(history.run, "consumers", name)
            group = str(own.get("group.id") or "")
            _, members, read, _ = found.setdefault(f"group {group}" if group else name, (group, [], [], str(own.get("auto.offset.reset", ""))))
            members.append(name)
            read += [str(topic) for topic in topics if str(topic) not in read]
    return list(found.values())


Given = dict[tuple[str, str, int], Runs]
"""Offsets that poll() gave, as in `Standing`: by producer, partition, and how far offsets are ahead of numbers."""


def _given(history: History) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for _, fact in history.of(Read):
        of, offset = found.setdefault(fact.consumer, {}), fact.base_offset
        for first, stop in runs_of(fact.records):
            of.setdefault((fact.producer, fact.partition, offset - first), []).append((offset, offset + stop - first))
            offset += stop - first
    return found


def _of(
    members: list[str], topics: list[str], policy: str, given: Mapping[str, Given], committed: Mapping[str, int], copied: Copied, standing: Standing
) -> Reading:
    together: Given = {}
    for of in given.values():
        for where, runs in of.items():
            together.setdefault(where, []).extend(runs)
    inputs = once = twice = skipped = unread = 0
    first: tuple[str, int] | None = None
    because = ""
    for partition, there in sorted((partition, runs) for topic in topics for partition, runs in inputs_of(topic, copied).items()):
        here = {where: runs for where, runs in together.items() if where[1] == partition}
        seen = union(run for where, runs in here.items() for run in both(union(runs), standing.get(where, [])))
        again = union(run for where, runs in here.items() for run in both(repeated(runs), standing.get(where, [])))
        anything = union(run for runs in here.values() for run in runs)
        come_to = max([committed.get(partition, 0), *(stop for _, stop in anything)])
        without = minus(there, seen)
        passed = both(without, [(0, come_to)])
        if passed and first is None:
            first = partition, passed[0][0]
            because = _because(policy, passed[0][0], anything)
        inputs += total(there)
        once += total(there) - total(without) - total(both(again, there))
        twice += total(both(again, there))
        skipped += total(passed)
        unread += total(without) - total(passed)
    return Reading(", ".join(members), inputs, once, twice, skipped, unread, because, _missed(first, copied) if first else None)


def _because(policy: str, offset: int, anything: Runs) -> str:
    if both(anything, [(offset, offset + 1)]):
        return "another record stood there when it was read: the log was cut off since"
    return f"auto.offset.reset={policy}" if policy and policy not in TO_THE_BEGINNING else ""


def _missed(where: tuple[str, int], copied: Copied) -> Missed:
    partition, offset = where
    record = next(
        f"{producer}/{first + offset - base}"
        for (producer, of), copies in copied.counted.items()
        if of == partition
        for first, stop, base in copies
        if base <= offset < base + stop - first
    )
    return Missed(record, partition, offset)
