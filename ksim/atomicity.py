"""What transactions promised, and what became of it: how each ended for its application, and which copies in the logs count.

Not Kafka's: the classes are those of scenario.md, section 3. What a transaction wrote counts once its marker says "commit" (KIP-98):
a copy of an aborted one is as good as not there, and one without any marker is hidden from whoever reads what is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ksim.history import History, configured
from ksim.ranges import Runs, both, latest, minus, runs_of, union
from ksim_models.consumer_facts import Read
from ksim_models.facts import FinalLog, LoggedBatch, Offered, Transaction

Copy = tuple[int, int, int]
"""Records first ... stop - 1 stand one behind the other in a log; the offset of the first."""
Copies = dict[tuple[str, str], list[Copy]]
"""Per (producer, partition), in the order of the log."""

FATES = {"committed": "commit", "aborted": "abort"}
"""The phases that end a transaction for its application, and the markers that should say the same."""


@dataclass(slots=True)
class Told:
    """One transaction as its application knows it."""

    number: int
    fate: str = "unknown"
    """"committed" or "aborted" as the application was told; "unknown" where nobody told it: the call failed, or the application died."""
    records: Runs = field(default_factory=list)
    """Handed to send() in it, and not again in a later one."""


def transactions(history: History) -> dict[str, list[Told]]:
    """Per producer that has any, in their order."""
    told: dict[str, list[Told]] = {}
    within: dict[str, Told] = {}
    offers: dict[str, list[tuple[int, int, Told]]] = {}
    for _, fact in history.of(Transaction, Offered):
        if isinstance(fact, Offered):
            if (current := within.get(fact.producer)) is not None:
                offers.setdefault(fact.producer, []).extend((first, stop, current) for first, stop in runs_of(fact.records))
        elif fact.phase == "begin":
            within[fact.producer] = Told(fact.number)
            told.setdefault(fact.producer, []).append(within[fact.producer])
        elif fact.phase in FATES and (current := within.pop(fact.producer, None)) is not None:
            current.fate = fact.phase
    for pieces in offers.values():
        for first, stop, one in latest(pieces):
            one.records.append((first, stop))
    for one in (one for of in told.values() for one in of):
        one.records = union(one.records)
    return told


def not_initialized(history: History) -> list[str]:
    """Producers whose last word about transactions is that initTransactions() failed."""
    last = {fact.producer: fact for _, fact in history.of(Transaction)}
    return [name for name, fact in last.items() if fact.phase == "failed" and fact.call == "init"]


def fate(told: list[Told], name: str) -> Runs:
    return union([run for one in told if one.fate == name for run in one.records])


@dataclass(slots=True)
class Copied:
    """The copies in the leaders' logs, by what the markers say of them."""

    counted: Copies = field(default_factory=dict)
    """Of committed transactions, and of none."""
    aborted: Copies = field(default_factory=dict)
    open: Copies = field(default_factory=dict)
    """No marker stands behind them."""


def copied(logs: Mapping[str, FinalLog]) -> Copied:
    """A marker ends what its producer id has written to this partition since the one before."""
    result = Copied()
    for partition, log in logs.items():
        ends: dict[int, str] = {}
        where: list[tuple[Copies, LoggedBatch]] = []
        for batch in reversed(log.batches):
            if batch.marker:
                ends[batch.producer_id] = batch.marker
            elif batch.producer:  # Without a name: a record of the warm-up, outside every count.
                end = ends.get(batch.producer_id, "") if batch.transactional else "commit"
                where.append((result.counted if end == "commit" else result.aborted if end else result.open, batch))
        for copies, batch in reversed(where):
            of = copies.setdefault((batch.producer, partition), [])
            offset = batch.base_offset
            for first, stop in runs_of(batch.records):
                of.append((first, stop, offset))
                offset += stop - first
    return result


def torn(told: list[Told], visible: Runs, excused: Runs) -> Runs:
    """Records of transactions of which a part is visible and a part is not, `excused` (refused, removed, still open) left out."""
    found: Runs = []
    for one in told:
        parts = minus(one.records, excused)
        if both(parts, visible) and minus(parts, visible):
            found += parts
    return union(found)


@dataclass(slots=True)
class AbortedReads:
    """Records of aborted transactions that a consumer was given."""

    by_anyone: Runs = field(default_factory=list)
    by_read_committed: Runs = field(default_factory=list)


def aborted_reads(history: History, aborted: Copies) -> dict[str, AbortedReads]:
    """Per producer. A copy was read where the offsets are the same, too: another copy of the record may count."""
    found: dict[str, AbortedReads] = {}
    if not aborted:
        return found
    for _, fact in history.of(Read):
        offset = fact.base_offset
        for first, stop in runs_of(fact.records):
            here = [(lo, hi) for lo, hi, at in aborted.get((fact.producer, fact.partition), ()) if at - lo == offset - first]
            if seen := both([(first, stop)], union(here)):
                reads = found.setdefault(fact.producer, AbortedReads())
                reads.by_anyone = union([*reads.by_anyone, *seen])
                if isolation(history.run, fact.consumer) == "read_committed":
                    reads.by_read_committed = union([*reads.by_read_committed, *seen])
            offset += stop - first
    return found


def isolation(run: Mapping[str, object], consumer: str) -> str:
    """A consumer's isolation.level, from the run line."""
    return str(configured(run, "consumers", consumer).get("isolation.level", "read_uncommitted"))
