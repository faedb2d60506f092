"""Read, process, write, end to end: did each input take effect exactly once?

Not Kafka's. An input is what stands at one offset of the topic that an application reads, if it counts (it is of no transaction, or of a committed one).
It took effect as often as records made from it count in the logs written to; what was made from another record that stood there, and was cut off since, is no
effect of it. Offsets that were committed beyond an input without any effect have skipped it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from ksim.atomicity import Copied
from ksim.history import History, configured
from ksim.ranges import Runs, both, minus, repeated, runs_of, total, union
from ksim_models.consumer_facts import CommittedOffset, Processed
from ksim_models.messages import Records

FIGURES = ("processed_once", "processed_twice", "skipped", "unprocessed")

Made = tuple[int, int, str, int, str, int]
"""Records first ... stop - 1 of a writer were made from what stood in this partition from this offset on: records of this producer, from this number on."""
Standing = dict[tuple[str, str, int], Runs]
"""Where records of a producer stand in a partition, by how far their offsets are ahead of their numbers."""


@dataclass(frozen=True, slots=True)
class Processing:
    application: str
    inputs: int
    processed_once: int
    processed_twice: int
    """Took effect more than once."""
    skipped: int
    unprocessed: int
    """Took no effect, and the committed offsets have not passed them: they would be processed yet."""
    witness: str
    """The first input that was skipped or took effect more than once, as partition@offset."""

    @property
    def verdict(self) -> str:
        return "violated" if self.processed_twice or self.skipped else "inconclusive" if self.unprocessed else "held"

    def as_data(self) -> dict[str, object]:
        return {"inputs": self.inputs, **{name: getattr(self, name) for name in FIGURES}, "verdict": self.verdict, "witness": self.witness or None}


def processings(history: History, copied: Copied) -> tuple[Processing, ...]:
    """One for each application of the scenario, or for those of one group together; reads outside facts only."""
    together = _together(history)
    if not together:
        return ()
    made = _made(history)
    standing = standing_in(copied)
    committed = committed_by_group(history)
    found = []
    for reads, group, names in together:
        pieces = {writer: of for name in names for writer, of in made.get(name, {}).items()}
        found.append(_of(", ".join(names), reads, committed.get(group, {}), pieces, copied, standing))
    return tuple(found)


def _together(history: History) -> list[tuple[str, str, list[str]]]:
    """What they read, their group, the applications: those of one group divide their inputs among them."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in configured(history.run, "applications"):
        its = configured(history.run, "applications", name)
        own = configured(history.run, "consumers", str(its.get("consumer")))
        if own:
            found.setdefault((str(its.get("reads")), str(own.get("group.id"))), []).append(name)
    return [(reads, group, names) for (reads, group), names in found.items()]


def _of(name: str, reads: str, told: Mapping[str, int], made: Mapping[str, list[Made]], copied: Copied, standing: Standing) -> Processing:
    effects: dict[str, Runs] = {}
    for (writer, _), copies in copied.counted.items():
        pieces = made.get(writer, [])
        for first, stop, _ in copies:
            for low, high, partition, offset, source, number in pieces[
                bisect_right(pieces, first, key=itemgetter(1)) : bisect_left(pieces, stop, key=itemgetter(0))
            ]:
                made_of = [(offset + max(first, low) - low, offset + min(stop, high) - low)]
                effects.setdefault(partition, []).extend(both(made_of, standing.get((source, partition, offset - number), [])))
    inputs = once = twice = skipped = behind = 0
    worst: list[tuple[str, int]] = []
    for partition, there in sorted(inputs_of(reads, copied).items()):
        doubled = both(repeated(effects.get(partition, [])), there)
        without = minus(there, union(effects.get(partition, [])))
        passed = both(without, [(0, told.get(partition, 0))])
        worst += [(partition, runs[0][0]) for runs in (doubled, passed) if runs]
        inputs += total(there)
        twice += total(doubled)
        skipped += total(passed)
        behind += total(without) - total(passed)
        once += total(there) - total(doubled) - total(without)
    return Processing(name, inputs, once, twice, skipped, behind, "{}@{}".format(*min(worst)) if worst else "")


def inputs_of(topic: str, copied: Copied) -> dict[str, Runs]:
    """Per partition: the offsets at which something stands that counts."""
    found: dict[str, Runs] = {}
    for (_, partition), copies in copied.counted.items():
        if partition.rpartition("-")[0] == topic:
            found[partition] = union([*found.get(partition, []), *((offset, offset + stop - first) for first, stop, offset in copies)])
    return found


def _made(history: History) -> dict[str, dict[str, list[Made]]]:
    """Per application and writer, by number. What was made and never handed to send() is made anew: the later fact counts."""
    found: dict[str, dict[str, list[Made]]] = {}
    for _, fact in history.of(Processed):
        pieces = found.setdefault(fact.application, {}).setdefault(fact.writer, [])
        offset = fact.base_offset
        for first, stop, number in _in_step(fact.made, fact.records):
            while pieces and pieces[-1][1] > first:
                low, _, partition, at, source, from_number = pieces.pop()
                if low < first:
                    pieces.append((low, first, partition, at, source, from_number))
            pieces.append((first, stop, fact.partition, offset, fact.producer, number))
            offset += stop - first
    return found


def _in_step(made: Records, read: Records) -> Iterator[tuple[int, int, int]]:
    """Runs of what was made, cut where what they were made of does not go on, each with the first number of that."""
    sources = deque(runs_of(read))
    for first, stop in runs_of(made):
        at = first
        while at < stop:
            number, end = sources.popleft()
            count = min(stop - at, end - number)
            yield at, at + count, number
            at += count
            if number + count < end:
                sources.appendleft((number + count, end))


def standing_in(copied: Copied) -> Standing:
    found: Standing = {}
    for (producer, partition), copies in copied.counted.items():
        for first, stop, offset in copies:
            found.setdefault((producer, partition, offset - first), []).append((offset, offset + stop - first))
    return {where: union(runs) for where, runs in found.items()}


def committed_by_group(history: History) -> dict[str, dict[str, int]]:
    """Per group and partition: the next offset to read, by the last commit that succeeded."""
    last: dict[str, dict[str, int]] = {}
    for _, fact in history.of(CommittedOffset):
        if not fact.error:
            last.setdefault(fact.group, {}).update(fact.offsets)
    return last
