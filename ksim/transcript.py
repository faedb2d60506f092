"""The story of a run: one line for each thing that matters, in the order of time.

Not Kafka's: after the transcripts of etcd's raft. What goes as it always goes is told once and then summed up, so that a student can read the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ksim.classification import classify
from ksim.history import History
from ksim.ranges import both
from ksim.transcript_sentences import Sentences, records
from ksim_models.facts import (
    Acked,
    Appended,
    Became,
    Blocked,
    BrokerChanged,
    CacheLost,
    Connected,
    ControllerChanged,
    Deduplicated,
    Disconnected,
    Ended,
    Failed,
    Fault,
    FinalLog,
    GaveUp,
    HighWatermark,
    Learned,
    LogStartMoved,
    Offered,
    PartitionChanged,
    Rejected,
    ReplicasChanged,
    Replicated,
    Retried,
    Sent,
    Split,
    TimedOut,
    TopicChanged,
    Truncated,
)
from ksim_models.units import Micros, show

MOST_LINES = 40
"""Between two turns of the story; beyond that lines of one kind are summed up, whichever batch they tell of."""
MOST_ALIKE = 3
"""Lines that say the same of the same batch are summed up beyond that, however few lines there are."""
FATES = {
    "lost": "acknowledged, and not in the final log: lost",
    "ghost": "reported as failed, and yet in the final log",
    "duplicated": "more than once in the final log: duplicated",
    "reordered": "behind records that were offered later: reordered",
    "misrouted": "in a partition that they were not bound for: misrouted",
    "hidden": "in the log, but no consumer can read them: hidden",
    "removed": "removed from the log by retention or on request",
}

TURNS = (Fault, PartitionChanged, BrokerChanged, ControllerChanged, ReplicasChanged, TopicChanged, Truncated, CacheLost, GaveUp, LogStartMoved, FinalLog, Ended)
"""After each of these the story goes on differently."""
INTERNAL = "__"
"""What coordinators write is told by what they decide, not by what becomes of their partitions."""
OF_A_BATCH = (Sent, Appended, Deduplicated, Rejected, TimedOut, Retried, Split, Acked, Failed)
TROUBLE = (Deduplicated, Rejected, TimedOut, Retried, Split, Failed)

Key = tuple[str, str, int, int, int]
"""A batch: producer, partition, first and last record, how many."""


@dataclass(slots=True)
class Batch:
    """The life of one batch, as far as the story needs it."""

    sent_at: Micros = -1
    sends: int = 0
    appended: int = 0
    end_offset: int = -1
    done_at: Micros = -1
    troubled: bool = False
    copied: bool = False
    """Some follower had it while its leader led."""
    lost: bool = False
    first: bool = False
    """The first one of its producer: told in full, so that the reader knows what is summed up later."""

    @property
    def is_plain(self) -> bool:
        return not (self.troubled or self.first) and self.sends == 1 and self.appended == 1 and self.done_at >= 0


@dataclass(slots=True)
class Entry:
    """One line, or many that are alike."""

    at: Micros
    text: str
    fact: Any = None
    kind: tuple[object, ...] = ()
    """Entries of one kind may be summed up."""
    until: Micros = 0
    numbers: list[int] = field(default_factory=list)


def story(history: History) -> str:
    return "".join(f"{line}\n" for line in tell(history))


def tell(history: History) -> Iterator[str]:
    """Line by line. Raises HistoryError where the history contradicts itself."""
    for entry in Story(history).entries():
        yield f"{show(entry.at):>14}  {entry.text}"


class Story:
    def __init__(self, history: History) -> None:
        self.history = history
        self.batches: dict[Key, Batch] = {}
        self.sentences = Sentences(several_partitions=len({log.partition for _, log in history.of(FinalLog)}) > 1)
        self._read()
        self.classes = classify(history).classes
        self._find_lost()
        self.told_ends = {(partition, batch.end_offset) for (_, partition, *_), batch in self.batches.items() if batch.appended and not batch.is_plain}
        """Where the high watermark is news: a batch waits for it of which the story tells more than its end."""

    def entries(self) -> Iterator[Entry]:
        part: list[Entry] = []
        for at, fact in self.history:
            entry = self._entry(at, fact)
            if entry is None:
                continue
            if isinstance(fact, TURNS):
                yield from self._condensed(part)
                part = []
                if isinstance(fact, Ended):
                    yield from self._fates(at)
                yield entry
            else:
                part.append(entry)
        yield from self._condensed(part)

    def _fates(self, at: Micros) -> Iterator[Entry]:
        """What the reader should now be able to say himself."""
        for name, fate in FATES.items():
            for producer, runs in self.classes[name].items():
                numbers = [number for first, stop in runs for number in range(first, stop)]
                yield Entry(at, f"{records(_as_range(numbers))} of {producer}: {fate}")

    # What became of each batch.

    def _read(self) -> None:
        under_way: dict[Key, Batch] = {}
        uncopied: dict[str, list[Batch]] = {}
        known: set[str] = set()
        for at, fact in self.history:
            if isinstance(fact, (Fault, PartitionChanged)) or (isinstance(fact, Disconnected) and fact.requests):
                for batch in under_way.values():
                    batch.troubled = True
            elif isinstance(fact, OF_A_BATCH):
                key = _key(fact)
                batch = self.batches.setdefault(key, Batch())
                batch.troubled = batch.troubled or isinstance(fact, TROUBLE)
                if isinstance(fact, Sent):
                    batch.first = batch.first or fact.producer not in known
                    known.add(fact.producer)
                    batch.sends += 1
                    batch.sent_at = at
                    under_way[key] = batch
                elif isinstance(fact, Appended):
                    batch.appended += 1
                    batch.end_offset = fact.base_offset + len(fact.records)
                    uncopied.setdefault(fact.partition, []).append(batch)
                elif isinstance(fact, (Acked, Failed)):
                    batch.done_at = at
                    under_way.pop(key, None)
            elif isinstance(fact, Replicated):
                waiting = uncopied.get(fact.partition, [])
                for batch in waiting:
                    batch.copied = batch.copied or batch.end_offset <= fact.log_end_offset
                uncopied[fact.partition] = [batch for batch in waiting if not batch.copied]
            elif isinstance(fact, Became) and fact.role == "leader":
                uncopied[fact.partition] = []

    def _find_lost(self) -> None:
        lost = self.classes["lost"]
        for (producer, _, first, last, _), batch in self.batches.items():
            batch.lost = bool(lost.get(producer) and both(lost[producer], [(first, last + 1)]))

    # One fact, one entry at most.

    def _entry(self, at: Micros, fact: object) -> Entry | None:
        if isinstance(fact, (Offered, Replicated)) or getattr(fact, "partition", "").startswith(INTERNAL):
            return None
        if isinstance(fact, HighWatermark) and (fact.partition, fact.offset) not in self.told_ends:
            return None
        if isinstance(fact, OF_A_BATCH):
            batch = self.batches[_key(fact)]
            if batch.is_plain:
                return self._plain(at, fact, batch) if isinstance(fact, Sent) else None
        text = self.sentences.of(fact)
        return Entry(at, text, fact, _kind(fact, text), until=at) if text else None

    def _condensed(self, part: list[Entry]) -> Iterator[Entry]:
        """The lines between two turns of the story; those alike are one, at the moment of the first."""
        many = sum(1 for entry in part if entry.kind[0] != "plain") > MOST_LINES
        alike: dict[tuple[object, ...], list[Entry]] = {}
        for entry in part:
            batch = _key(entry.fact) if not many and entry.kind[0] != "plain" and isinstance(entry.fact, OF_A_BATCH) else ()
            alike.setdefault((*entry.kind, *batch), []).append(entry)
        told: list[Entry] = []
        for kind, entries in alike.items():
            if kind[0] == "plain":
                told.append(_stretch(entries))
            elif len(entries) > (1 if many else MOST_ALIKE):
                told.append(self._summed(entries))
            else:
                told += entries
        return iter(sorted(told, key=lambda entry: entry.at))

    def _summed(self, entries: list[Entry]) -> Entry:
        first = entries[0]
        text = first.text
        if not isinstance(first.fact, (Connected, Disconnected, Learned, Blocked)):
            numbers = sorted({number for entry in entries for number in getattr(entry.fact, "records", ())})
            fact = replace(first.fact, records=_as_range(numbers)) if numbers else first.fact
            text = Sentences(self.sentences.several_partitions, roughly=True).of(fact)
        return Entry(first.at, f"{text}; {len(entries)} times, until {show(entries[-1].at)}")

    def _plain(self, at: Micros, fact: Sent, batch: Batch) -> Entry:
        copied = "appended, copied by the followers and acknowledged" if batch.copied else "appended and acknowledged, but copied by no follower"
        fate = "; they will be lost" if batch.lost else ""
        kind = ("plain", fact.producer, fact.partition, fact.broker, batch.copied, batch.lost)
        return Entry(at, f"{copied}{fate}", fact, kind, until=batch.done_at, numbers=list(fact.records))


def _stretch(entries: list[Entry]) -> Entry:
    sent: Sent = entries[0].fact
    numbers = sorted(number for entry in entries for number in entry.numbers)
    count = f"in {len(entries)} batches" if len(entries) > 1 else "in one batch"
    until = f", until {show(entries[-1].until)}" if len(entries) > 1 else ""
    return Entry(entries[0].at, f"{sent.producer} sends {records(_as_range(numbers))} to {sent.broker} {count}: {entries[0].text}{until}")


def _as_range(numbers: list[int]) -> range | tuple[int, ...]:
    return range(numbers[0], numbers[-1] + 1) if numbers[-1] - numbers[0] + 1 == len(numbers) else tuple(numbers)


def _key(fact: Any) -> Key:
    return fact.producer, fact.partition, fact.records[0], fact.records[-1], len(fact.records)


def _kind(fact: Any, text: str) -> tuple[object, ...]:
    """What must be the same for two lines to be alike."""
    if isinstance(fact, (Connected, Disconnected, Learned)):
        return (text,)
    names = ("producer", "partition", "broker", "error", "why")
    return (type(fact).__name__, *(getattr(fact, name, None) for name in names), isinstance(fact, Sent) and fact.attempt > 1)
