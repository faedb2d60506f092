"""What became of every record: the population laid beside the final logs of the leaders.

Not Kafka's: the classes are those of scenario.md, section 3. All of it is arithmetic on ranges, so a million records cost what their batches cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from ksim.atomicity import AbortedReads, Copied, Copies, Copy, Told, aborted_reads, copied, fate, not_initialized, torn, transactions
from ksim.history import History, HistoryError
from ksim.plan import DEADLY
from ksim.population import Population, Producer, count
from ksim.ranges import Run, Runs, both, latest, minus, repeated, runs_of, union
from ksim_models.facts import Acked, Ended, Failed, Fault, FinalLog, Refused, Sent
from ksim_models.units import Micros

ANOMALIES = ("lost", "ghost", "duplicated", "reordered", "misrouted", "hidden", "torn", "aborted_read", "removed")
CLASSES = ("ok", "absent", *ANOMALIES)
"""torn and aborted_read need transactions: without them no record falls under these."""


class Bound:
    """To which partitions the records of each producer were bound, at some send."""

    def __init__(self, history: History, population: Population) -> None:
        self.history = history
        self.outcomes: dict[tuple[str, str], list[Run]] = {}
        for producer in population.producers.values():
            for first, stop, (_, fact) in producer.ended:
                if isinstance(fact, (Acked, Failed)):
                    self.outcomes.setdefault((producer.name, fact.partition), []).append((first, stop))
        self._sent: dict[tuple[str, str], list[Run]] | None = None

    def astray(self, producer: str, partition: str, runs: Runs) -> Runs:
        """Those of `runs` that were never bound for this partition. The Sent facts are read only where the outcomes do not say it already."""
        rest = minus(runs, union(self.outcomes.get((producer, partition), [])))
        return minus(rest, union(self.sent().get((producer, partition), []))) if rest else rest

    def sent_anywhere(self, producer: str) -> Runs:
        return union([run for (name, _), runs in self.sent().items() if name == producer for run in runs])

    def sent(self) -> dict[tuple[str, str], list[Run]]:
        if self._sent is None:
            self._sent = {}
            for _, fact in self.history.of(Sent):
                self._sent.setdefault((fact.producer, fact.partition), []).extend(runs_of(fact.records))
        return self._sent


@dataclass(slots=True)
class Classified:
    population: Population
    bound: Bound
    logs: dict[str, FinalLog]
    """Per partition: its leader's readable log."""
    unreadable: list[str]
    """Partitions whose final log nobody could read."""
    replicas: dict[str, int]
    copied: Copied
    transactions: dict[str, list[Told]]
    """Per producer that has any."""
    not_initialized: list[str]
    """Producers for which initTransactions() has failed to the end."""
    aborted_reads: dict[str, AbortedReads] = field(default_factory=dict)
    told: list[Fault | Ended] = field(default_factory=list)
    recreated: dict[str, Micros] = field(default_factory=dict)
    """Per topic: until when what was acknowledged may have been of a topic that was deleted, and created again."""
    deaths: dict[str, Micros] = field(default_factory=dict)
    """When each machine was taken down last."""
    classes: dict[str, dict[str, Runs]] = field(default_factory=dict)
    """Per class and producer."""
    where: dict[tuple[str, str], dict[str, Runs]] = field(default_factory=dict)
    """Per (class, producer): the partition to which the records were bound, where that matters for what the configuration allows."""

    @property
    def copies(self) -> Copies:
        """Those that count."""
        return self.copied.counted


def classify(history: History) -> Classified:
    """Reads outside facts only. Raises HistoryError where the history contradicts itself."""
    population = count(history)
    result = _lay_out(history, population)
    result.classes = {name: {} for name in CLASSES}
    for producer in population.producers.values():
        for name, runs in _classes_of(producer, result).items():
            if runs:
                result.classes[name][producer.name] = runs
    return result


def _lay_out(history: History, population: Population) -> Classified:
    result = Classified(population, Bound(history, population), {}, [], {}, Copied(), transactions(history), not_initialized(history))
    for at, log in history.of(FinalLog, Fault, Ended):
        if not isinstance(log, FinalLog):
            result.told.append(log)
            if isinstance(log, Fault) and log.do == "recreate-topic" and log.phase in ("begin", "end"):
                result.recreated.update(dict.fromkeys(log.resolved, at))
            if isinstance(log, Fault) and log.phase == "begin" and log.do in DEADLY:
                result.deaths.update(dict.fromkeys(log.resolved, at))
            continue
        result.replicas[log.partition] = result.replicas.get(log.partition, 0) + 1
        if log.leader and log.readable:
            if log.partition in result.logs:
                raise HistoryError(history.source, 0, f"{log.partition} has two leaders' final logs: the history contradicts itself")
            result.logs[log.partition] = log
    result.copied = copied(result.logs)
    result.aborted_reads = aborted_reads(history, result.copied.aborted)
    for (name, partition), copies in [item for of in (result.copied.counted, result.copied.aborted, result.copied.open) for item in of.items()]:
        if name not in population.producers:
            raise HistoryError(history.source, 0, f"{partition} holds records of {name!r}, which offered none: the history contradicts itself")
        if strange := minus(union([(first, stop) for first, stop, _ in copies]), population.producers[name].offered):
            raise HistoryError(history.source, 0, f"{partition} holds {name}/{strange[0][0]}, which was never offered: the history contradicts itself")
    told = [piece[2][1].partition for one in population.producers.values() for piece in one.pieces if not isinstance(piece[2][1], Refused)]
    result.unreadable = [
        partition for partition in sorted({*result.replicas, *filter(None, told)}) if partition not in result.logs and _may_hold_records(partition, result)
    ]
    return result


def _may_hold_records(partition: str, result: Classified) -> bool:
    """There was such a partition, or something was sent to it: a send may fail because its topic does not exist."""
    if partition in result.replicas or any(to == partition for _, to in result.bound.sent()):
        return True
    facts = (fact for one in result.population.producers.values() for _, _, (_, fact) in one.pieces)
    return any(isinstance(fact, Acked) and fact.partition == partition for fact in facts)


def _classes_of(producer: Producer, result: Classified) -> dict[str, Runs]:
    name = producer.name
    copies = {partition: result.copies[name, partition] for partition in result.logs if (name, partition) in result.copies}
    in_log = {partition: _runs(of) for partition, of in copies.items()}
    everywhere = _join(in_log.values())
    acked, failed, refused = producer.ended_as(Acked), producer.ended_as(Failed), producer.ended_as(Refused)
    not_acked = union([*failed, *refused])
    told = result.transactions.get(name, [])
    aborted = fate(told, "aborted")
    promised = minus(minus(acked, aborted), fate(told, "unknown"))
    """An acknowledgement within a transaction promises nothing before the commit has."""
    open_in = {partition: _runs(of) for (of_whom, partition), of in result.copied.open.items() if of_whom == name}
    unmarked = _join(open_in.values())

    missing, removed, unread = {}, {}, {}
    for partition, pieces in _by_partition(producer).items():
        runs = both(union([(first, stop) for first, stop, fact in pieces if isinstance(fact, Acked)]), promised)
        if partition not in result.logs and partition not in result.unreadable:
            continue
        if partition not in result.logs:
            unread[partition] = union([(first, stop) for first, stop, _ in pieces])
            continue
        gone = minus(runs, in_log.get(partition, []))
        removed[partition] = both(gone, _before(pieces, result.logs[partition].log_start_offset)) if gone else []
        if gone and (until := result.recreated.get(partition.rpartition("-")[0])) is not None:
            removed[partition] = both(gone, union([*removed[partition], *_acked_until(producer, partition, until)]))
        missing[partition] = minus(minus(gone, removed[partition]), unmarked)
    lost, unreadable = _join(missing.values()), _join(unread.values())

    astray = {partition: result.bound.astray(name, partition, runs) for partition, runs in in_log.items()}
    misrouted = _join(astray.values())
    duplicated = repeated([(first, stop) for of in copies.values() for first, stop, _ in of])
    reordered = union([run for partition, of in copies.items() for run in _behind_later(of, astray[partition])])
    visible = _join(_below(of, min(result.logs[partition].high_watermark, result.logs[partition].last_stable_offset)) for partition, of in copies.items())
    hidden = both(minus(union([*everywhere, *unmarked]), visible), union([*promised, *not_acked]))
    reads = result.aborted_reads.get(name, AbortedReads())
    anomalies = {
        "lost": lost,
        "ghost": both(minus(not_acked, aborted), everywhere),
        "duplicated": duplicated,
        "reordered": reordered,
        "misrouted": misrouted,
        "hidden": hidden,
        "torn": torn(told, everywhere, union([*refused, *unmarked, *_join(removed.values()), *unreadable])),
        "aborted_read": union([*both(aborted, everywhere), *reads.by_anyone]),
        "removed": _join(removed.values()),
    }
    result.where["lost", name] = missing
    result.where["hidden", name] = {
        partition: both(hidden, union([*in_log.get(partition, []), *open_in.get(partition, [])])) for partition in sorted(in_log.keys() | open_in.keys())
    }
    result.where["reordered", name] = {partition: both(reordered, runs) for partition, runs in in_log.items()}
    troubled = union([run for runs in anomalies.values() for run in runs])
    elsewhere = union([*everywhere, *unreadable, *hidden, *anomalies["torn"], *anomalies["aborted_read"]])
    absent = minus(union([*not_acked, *both(aborted, acked)]), elsewhere)
    return {"ok": minus(minus(promised, troubled), unreadable), "absent": absent, **anomalies}


def _runs(copies: list[Copy]) -> Runs:
    return union([(first, stop) for first, stop, _ in copies])


def _join(many: Iterable[Runs]) -> Runs:
    return union([run for runs in many for run in runs])


def _by_partition(producer: Producer) -> dict[str, list[tuple[int, int, Acked | Failed]]]:
    result: dict[str, list[tuple[int, int, Acked | Failed]]] = {}
    for first, stop, (_, fact) in producer.pieces:
        if not isinstance(fact, Refused) and fact.partition:  # A send may fail before it has a partition.
            result.setdefault(fact.partition, []).append((first, stop, fact))
    return result


def acked_before_the_start(result: Classified, producer: Producer, partition: str) -> Runs:
    """Its records whose acknowledged place has been removed since, whether they stand elsewhere or not."""
    return _before(_by_partition(producer).get(partition, []), result.logs[partition].log_start_offset)


def _before(pieces: list[tuple[int, int, Acked | Failed]], log_start: int) -> Runs:
    """Records that were acknowledged at an offset below the start of the log."""
    below = []
    for _, _, fact in pieces:
        if isinstance(fact, Acked) and 0 <= fact.offset < log_start:
            offset = fact.offset
            for start, end in runs_of(fact.records):
                below.append((start, min(end, start + max(0, log_start - offset))))
                offset += end - start
    return union(below)


def _acked_until(producer: Producer, partition: str, until: Micros) -> Runs:
    pieces = producer.pieces
    return union([(first, stop) for first, stop, (at, fact) in pieces if isinstance(fact, Acked) and fact.partition == partition and at <= until])


def _below(copies: list[Copy], end: int) -> Runs:
    """Records of which a copy stands below this offset."""
    if not copies or copies[-1][2] + copies[-1][1] - copies[-1][0] <= end:
        return union([(first, stop) for first, stop, _ in copies])
    return union([(first, min(stop, first + end - offset)) for first, stop, offset in copies if offset < end])


def _behind_later(copies: list[Copy], astray: Runs) -> Runs:
    """Records whose first copy stands behind the first copy of a record that was offered later."""
    if all(before[1] <= after[0] for before, after in pairwise(copies)):
        return []
    backwards = [(first, stop, place) for place, (first, stop, _) in reversed(list(enumerate(copies)))]
    first_copies: dict[int, Runs] = {}
    for first, stop, place in latest(backwards):  # Read backwards, the first copy is the last word.
        first_copies.setdefault(place, []).append((first, stop))
    behind: list[Run] = []
    highest = 0
    for place in sorted(first_copies):
        runs = minus(first_copies[place], astray)
        behind += both(runs, [(0, highest)])
        highest = max([highest, *(stop for _, stop in runs)])
    return union(behind)
