"""The verdict: what became of every record, whether this configuration allows it, and a witness for each accusation.

Not Kafka's: after Jepsen's Kafka checker. Defined in scenario.md, section 3.
Reads outside facts only, so a history of the simulation and one of a live cluster are judged by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ksim.atomicity import fate
from ksim.classification import ANOMALIES, CLASSES, Classified, acked_before_the_start, classify
from ksim.history import History
from ksim.permitted import JEPSEN, effective, permission
from ksim.population import Producer
from ksim.processing import Processing, processings
from ksim.ranges import Runs, both, minus, repeated, runs_of, total, union
from ksim.reading import Reading, readings
from ksim_models.facts import Acked, Ended, Failed, Fault, FinalLog, Offered, Refused

MOST_OFFSETS = 20  # A witness is read by a person.
KILLS = ("crash", "power-loss", "disk-full", "disk-error")
"""What a process does not end in order by."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One record that shows the anomaly: the partition, and the offsets of its copies in all logs of leaders."""

    record: str
    """As a person writes it: the bare number where there is one producer."""
    partition: str
    offsets: tuple[int, ...]
    full_name: str = field(default="", compare=False)
    """"p1/2", whatever the number of producers: the name for machines to read."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    name: str
    jepsen: str
    """What Jepsen's Kafka checker calls the closest thing it knows."""
    count: int
    allowed: bool
    """Every single one of them is allowed by the configuration."""
    because: str
    witness: Witness

    def as_data(self) -> dict[str, object]:
        witness = {"record": self.witness.full_name, "partition": self.witness.partition, "offsets": list(self.witness.offsets)}
        return {"name": self.name, "jepsen": self.jepsen, "count": self.count, "allowed": self.allowed, "because": self.because, "witness": witness}


@dataclass(frozen=True, slots=True)
class Verdict:
    records: dict[str, int]
    """How many records fell under each name of the contract."""
    anomalies: tuple[Anomaly, ...]
    verdict: str
    """"violated", "inconclusive" or "held"."""
    reasons: tuple[str, ...]
    """Why it would be inconclusive; they stand beside a violation too."""
    first: str | None
    processing: tuple[Processing, ...] = ()
    """One for each application: whether each of its inputs took effect exactly once."""
    reading: tuple[Reading, ...] = ()
    """One for each group of other consumers: whether each record was read. No part of the verdict."""

    def first_not_ok(self) -> str | None:
        """The name of the record offered first among those that are not ok; None where all are."""
        return self.first


def judge(history: History | str | Path) -> Verdict:
    """history: or the path of a file that holds one. Raises HistoryError where it contradicts itself, or cannot be read."""
    if isinstance(history, (str, Path)):
        history = History.read(history)
    if not isinstance(history, History):
        raise TypeError(f"{type(history).__name__} is no history: give a History, such as run.history, or the path of a file.")
    result = classify(history)
    records = _records(result)
    anomalies = tuple(_anomaly(history, result, name) for name in ANOMALIES if result.classes[name])
    processing = processings(history, result.copied)
    behind = [f"{one.application} has yet to process {one.unprocessed} inputs" for one in processing if one.unprocessed]
    reasons = (*_reasons(result), *behind)
    violated = anomalies or any(one.verdict == "violated" for one in processing)
    verdict = "violated" if violated else "inconclusive" if reasons else "held"
    return Verdict(records, anomalies, verdict, reasons, _first_not_ok(result), processing, readings(history, result.copied))


def classes(history: History) -> dict[str, dict[str, Runs]]:
    """Per class of records (ok, absent, lost ...) and producer: the records as sorted runs (first, stop)."""
    return classify(history).classes


def _records(result: Classified) -> dict[str, int]:
    producers = result.population.producers.values()
    offered = sum(total(producer.offered) for producer in producers)
    ended = {kind: sum(total(producer.ended_as(kind)) for producer in producers) for kind in (Acked, Failed, Refused)}
    unknown = sum(total(producer.unknown) for producer in producers)
    accepted = offered - ended[Refused]
    assert accepted == ended[Acked] + ended[Failed] + unknown
    counts = {name: sum(total(runs) for runs in result.classes[name].values()) for name in CLASSES}
    told = {"offered": offered, "refused": ended[Refused], "accepted": accepted, "acked": ended[Acked], "failed": ended[Failed], "unknown": unknown}
    return told | {"sends": result.population.sends} | counts


def _anomaly(history: History, result: Classified, name: str) -> Anomaly:
    found = result.classes[name]
    worst: tuple[str, int] | None = None
    because = ""
    for producer, runs in found.items():
        for partition, group in _groups(result, name, producer, runs).items():
            why, rest = _allowance(history, result, name, producer, partition, group)
            if rest and worst is None:
                worst, because = (producer, rest[0][0]), why
            elif not because:
                because = why
    first = next(iter(found))
    producer, number = worst or (first, found[first][0][0])
    count = sum(total(runs) for runs in found.values())
    return Anomaly(name, JEPSEN[name], count, worst is None, because, _witness(result, producer, number))


def _groups(result: Classified, name: str, producer: str, runs: Runs) -> dict[str, Runs]:
    """By partition, where the topic's settings bear on what is allowed."""
    return {partition: group for partition, group in result.where.get((name, producer), {"": runs}).items() if group}


def _allowance(history: History, result: Classified, name: str, producer: str, partition: str, runs: Runs) -> tuple[str, Runs]:
    """Why these records may show the anomaly, and those that may not."""
    population = result.population.producers[producer]
    if name == "ghost" and (never_sent := minus(both(runs, population.ended_as(Refused)), result.bound.sent_anywhere(producer))):
        return "a refused record was never sent", never_sent
    if name == "hidden":
        runs = minus(runs, union([*population.ended_as(Failed), *population.ended_as(Refused)]))
        if not runs:
            return "a failed send says nothing about the log", []
        if any(isinstance(fact, Ended) and not fact.quiet for fact in result.told):
            return "the run ended at its limit, before the replicas had caught up", []
    if name == "aborted_read" and not (runs := _read_as_committed(result, producer, runs)):
        return "isolation.level=read_uncommitted", []
    config = effective(history.run, producer, partition, result.replicas.get(partition, 0))
    allowed = permission(name, config) if config else None
    if allowed:
        return allowed.because, []
    if name == "reordered" and config and not config.idempotence:
        if not (runs := minus(runs, union(population.ended_as(Failed)))):
            return "enable.idempotence=false: a send that was given up may still arrive, behind what was sent since", []
        if not (runs := minus(runs, acked_before_the_start(result, population, partition))):
            return "enable.idempotence=false: it stood in the log twice, and its first place has been removed", []
    if name == "torn" and not (runs := minus(runs, _with_a_lost_part(history, result, producer))):
        return "a part of the transaction is lost, which is allowed", []
    if name in ("duplicated", "reordered") and not (runs := minus(runs, population.resent)):
        return "the application sent the record again", []
    if name == "duplicated" and config and config.client.startswith("librdkafka") and not both(runs, _doubled_in_one_epoch(result, producer)):
        return "librdkafka raises its epoch while a batch is in doubt, and what was in it is sent again under the new one", []
    if name == "duplicated" and config and config.idempotence and not (runs := minus(runs, _sent_again_under_a_new_epoch(result, population))):
        return "a batch failed for good, so the client raised its epoch: what was in flight behind it was sent again under the new one", []
    if name == "duplicated" and config and config.idempotence and config.in_flight > 1:
        runs = minus(runs, _unknown_to_who_was_killed(history, result, producer))
        if not runs:
            return "a broker that was killed remembers one batch of each producer, so an earlier one is sent again under a new epoch", []
    return "nothing in this configuration allows it" if config else "the history does not tell the configuration", runs


def _read_as_committed(result: Classified, producer: str, runs: Runs) -> Runs:
    """Those of an aborted transaction that count as committed, or that a consumer was given although it wanted none such."""
    given = result.aborted_reads[producer].by_read_committed if producer in result.aborted_reads else []
    counted = union([(first, stop) for (name, _), of in result.copies.items() if name == producer for first, stop, _ in of])
    aborted = fate(result.transactions.get(producer, []), "aborted")
    return both(runs, union([*given, *both(counted, aborted)]))


def _with_a_lost_part(history: History, result: Classified, producer: str) -> Runs:
    """Records of the transactions of which some are lost, where the configuration allows that."""
    lost: Runs = []
    for partition, runs in _groups(result, "lost", producer, result.classes["lost"].get(producer, [])).items():
        lost = union([*lost, *minus(runs, _allowance(history, result, "lost", producer, partition, runs)[1])])
    return union([run for told in result.transactions.get(producer, []) if both(told.records, lost) for run in told.records])


def _sent_again_under_a_new_epoch(result: Classified, producer: Producer) -> Runs:
    """Records of partitions in which the Java client had reason to raise its epoch, less those that stand twice under one.

    A batch that the broker refuses for good leaves a gap in the sequences (client I14). The client then numbers what is in flight behind it anew (I12),
    also what the broker has appended already and whose answer is lost: under the new epoch no broker knows it again. Expiry alone does not do that (I15),
    but an error that comes for a batch which expired in flight does: it is handled as the failure of that batch (Sender.completeBatch).
    A fabricated answer may say without cause that the sequences have a gap, and has the same effect.
    """
    sent = result.bound.sent_anywhere(producer.name)
    failed = [(fact, both([(first, stop)], sent)) for first, stop, (_, fact) in producer.pieces if isinstance(fact, Failed)]
    partitions = {fact.partition for fact, was_sent in failed if was_sent or not fact.message.startswith("Expiring ")}
    if any(isinstance(fact, Fault) and fact.do == "answer" and fact.phase == "hit" for fact in result.told):
        partitions.update(result.logs)
    here = union([(first, stop) for partition in partitions for first, stop, _ in result.copies.get((producer.name, partition), ())])
    return minus(here, _doubled_in_one_epoch(result, producer.name))


def _unknown_to_who_was_killed(history: History, result: Classified, producer: str) -> Runs:
    """Records of partitions of which a replica did not end in order, less those that stand twice under one epoch.

    It comes back with a snapshot that holds the last batch of each producer (broker PS-52, PS-55). If it leads, an earlier batch whose answer was lost
    is out of order to it (PS-13), and the client raises its epoch (I12): seen on 3.9.2 and 4.3.0.
    """
    killed = {name for fact in result.told if isinstance(fact, Fault) and fact.do in KILLS and fact.phase == "begin" for name in fact.resolved}
    partitions = {fact.partition for _, fact in history.of(FinalLog) if fact.replica in killed}
    here = union([(first, stop) for partition in partitions for first, stop, _ in result.copies.get((producer, partition), ())])
    return minus(here, _doubled_in_one_epoch(result, producer))


def _doubled_in_one_epoch(result: Classified, producer: str) -> Runs:
    """Records that stand twice under one producer id and epoch, where a broker would have known them again."""
    doubled: list[Runs] = []
    for log in result.logs.values():
        epochs: dict[tuple[int, int], Runs] = {}
        for batch in log.batches:
            if batch.producer == producer:
                epochs.setdefault((batch.producer_id, batch.producer_epoch), []).extend(runs_of(batch.records))
        doubled += [repeated(runs) for runs in epochs.values()]
    return union([run for runs in doubled for run in runs])


def _witness(result: Classified, producer: str, number: int) -> Witness:
    offsets = []
    partition = ""
    for (name, log), copies in (*result.copies.items(), *result.copied.aborted.items(), *result.copied.open.items()):
        if name == producer:
            here = [offset + number - first for first, stop, offset in copies if first <= number < stop]
            partition = partition or (log if here else "")
            offsets += here
    for first, stop, (_, fact) in result.population.producers[producer].pieces:
        if first <= number < stop and not isinstance(fact, Refused) and fact.partition:
            partition = fact.partition
    return Witness(result.population.name(producer, number), partition, tuple(offsets[:MOST_OFFSETS]), f"{producer}/{number}")


def _reasons(result: Classified) -> list[str]:
    """Everything that makes a run without anomalies prove nothing."""
    reasons = [f"the final log of {partition} could not be read" for partition in result.unreadable]
    phases: dict[str, dict[str, Fault]] = {}
    end: Ended | None = None
    for fact in result.told:
        if isinstance(fact, Ended):
            end = fact
        else:
            phases.setdefault(fact.name, {})[fact.phase] = fact
    reasons += [f"fault {name}: {why}" for name, of in phases.items() if (why := _exposure(of))]
    if end is None:
        return [*reasons, "the history does not tell the end of the run"]
    for producer in result.population.producers.values():
        pending = producer.unknown if producer.name in end.living_producers else []
        if pending and producer.name in result.deaths:  # What an earlier life of it had sent nobody waits for.
            pending = both(pending, producer.offered_after(result.deaths[producer.name]))
        if pending:
            reasons.append(f"{total(pending)} records of {producer.name} are still pending at the limit")
    if not end.quiet:
        waiting = (name for name in result.not_initialized if name in end.living_producers)
        reasons += [f"{name} was still within initTransactions() at the limit, and what it was to send was not offered" for name in waiting]
    return reasons


def _exposure(phases: dict[str, Fault]) -> str:
    """What speaks against a fault: "" where it hit something."""
    happened = "begin" in phases or "hit" in phases
    if not happened and "not-injected" in phases:
        return f"not injected: {phases['not-injected'].why}"
    if not happened:
        return "never triggered"
    if "summary" not in phases:
        return "the history does not tell what it touched"
    return "" if phases["summary"].touched else "touched nothing"


def _first_not_ok(result: Classified) -> str | None:
    candidates = []
    for place, producer in enumerate(result.population.producers.values()):
        for first, _ in minus(producer.offered, result.classes["ok"].get(producer.name, []))[:1]:
            candidates.append((_offered_at(producer, first), place, result.population.name(producer.name, first)))
    return min(candidates)[2] if candidates else None


def _offered_at(producer: Producer, number: int) -> int:
    for first, stop, (_, fact) in producer.offers:
        if first <= number < stop and isinstance(fact, Offered):
            return fact.moment_of(number)
    raise AssertionError(f"{producer.name}/{number} was never offered")
