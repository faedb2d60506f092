"""Metrics over time: what somebody sees who reads every metric of every client and broker once per step.

Kafka: JmxReporter, whose attributes are measured when they are read; JMX names (sections 6.2 and 6.3 of the client's rule book).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from io import StringIO
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ksim.metrics_names import CLIENT, CONSUMER, CONSUMER_GAUGES, CONSUMER_TOPIC, GAUGES, NODE, TOPIC, Stats
from ksim.metrics_samples import ClientSamples, Level
from ksim.metrics_windows import Stat
from ksim_models.units import MILLISECOND, SECOND, Micros

if TYPE_CHECKING:
    from rich.table import Table as RichTable

COLUMNS = ("at_ms", "client", "metric", "node", "topic", "value")
GROUPS: Mapping[str, tuple[Mapping[str, Stats], Mapping[str, Mapping[str, Stats]]]] = {
    "java": (CLIENT, {"topic.records-per-batch": TOPIC, "node.requests-sent": NODE}),
    "consumer": (CONSUMER, {"topic.records-fetched": CONSUMER_TOPIC}),
}
"""Per dialect: the sensors of the client itself, and those that are registered with the first sample of one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of one client (or, without a client, of the broker `node`) over time."""

    metric: str
    client: str
    node: str
    topic: str
    at_ms: tuple[int, ...]
    """When it was read; not before it existed, and not after its process was gone."""
    values: tuple[float, ...]
    """nan where Kafka says NaN: an average or a maximum of nothing."""

    @property
    def of(self) -> str:
        """Whose it is, in one word: "p1", "p1 payments", "p1 broker-2", "broker-1"."""
        return " ".join(part for part in (self.client, self.topic, self.node) if part)

    def at(self, at_ms: int) -> float:
        """What was read at that moment, or at the last one before."""
        index = sum(moment <= at_ms for moment in self.at_ms) - 1
        return self.values[index] if index >= 0 else nan


@dataclass(frozen=True, slots=True)
class Series:
    """Every metric over time. `series["record-send-rate"]` are its lines; `to_pandas()` is one row per reading."""

    lines: tuple[Line, ...]
    step_ms: int
    title: str = ""

    def __getitem__(self, metric: str) -> tuple[Line, ...]:
        """KeyError, with the nearest name, for a name that no line has."""
        found = tuple(line for line in self.lines if line.metric == metric)
        if not found:
            close = get_close_matches(metric, self.names, 1)
            raise KeyError(f"{metric} has no series here{f': did you mean {close[0]}?' if close else ', see .names'}")
        return found

    def line(self, metric: str, *, client: str = "", node: str = "", topic: str = "") -> Line:
        """The one with these labels; without a client's name the only client's."""
        found = [line for line in self[metric] if (line.node, line.topic) == (node, topic) and client in ("", line.client)]
        if len(found) != 1:
            raise KeyError(f"{metric} of {client or 'any client'}, {node or 'no node'}, {topic or 'no topic'}: {len(found)} lines")
        return found[0]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line.metric for line in self.lines))

    def rows(self) -> Iterator[tuple[int, str, str, str, str, float]]:
        """In the order of COLUMNS: line by line, each in the order of time."""
        for line in self.lines:
            for at_ms, value in zip(line.at_ms, line.values, strict=True):
                yield at_ms, line.client, line.metric, line.node, line.topic, value

    def to_pandas(self) -> Any:
        """One row per reading: at_ms, client, metric, node, topic, value. ImportError where pandas is missing."""
        import pandas

        return pandas.DataFrame(list(self.rows()), columns=list(COLUMNS))

    def write(self, to: str | Path | TextIO, *, form: str = "csv") -> None:
        """As "csv", or as JSON lines ("jsonl"), where NaN is null."""
        if isinstance(to, (str, Path)):
            with open(to, "w", encoding="utf-8", newline="") as file:
                self.write(file, form=form)
        elif form == "csv":
            writer = csv.writer(to, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((*labels, shown(value)) for *labels, value in self.rows())
        else:
            for *labels, value in self.rows():
                line = {name: label for name, label in zip(COLUMNS, labels) if label != ""}
                to.write(json.dumps(line | {"value": None if isnan(value) else plain(value)}) + "\n")

    def __str__(self) -> str:
        text = StringIO()
        text.write(f"{self.title or 'metrics'}: {len(self.names)} metrics, {len(self.lines)} lines, read every {self.step_ms} ms\n")
        for metric, of, *figures in self._summary():
            text.write(f"{metric:<32} {of:<28} {' '.join(f'{figure:>12}' for figure in figures)}\n")
        return text.getvalue()

    __repr__ = __str__

    def __rich__(self) -> RichTable:
        from rich.table import Table

        table = Table("metric", "of", "least", "most", "last", title=f"{self.title or 'metrics'}, read every {self.step_ms} ms")
        for row in self._summary():
            table.add_row(*row)
        return table

    def _repr_html_(self) -> str:
        cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self._summary())
        return f"<table><tr><th>metric</th><th>of</th><th>least</th><th>most</th><th>last</th></tr>{cells}</table>"

    def _summary(self) -> Iterator[tuple[str, str, str, str, str]]:
        for line in self.lines:
            numbers = [value for value in line.values if not isnan(value)]
            if numbers:
                yield line.metric, line.of, shown(min(numbers)), shown(max(numbers)), shown(line.values[-1])


def shown(value: float) -> str:
    """Six digits behind the point at most; NaN as Kafka writes it."""
    return "NaN" if isnan(value) else str(plain(value))


def plain(value: float) -> int | float:
    rounded = round(value, 6)
    return int(rounded) if rounded == int(rounded) else rounded


# Reading.


def moments(until: Micros, step: Micros) -> list[Micros]:
    """0, step, 2 * step ... and the end of the run."""
    return [*range(0, until, step), until]


def read_client(taken: ClientSamples, at: Sequence[Micros]) -> list[Line]:
    """The metrics of one life of a Java producer or consumer, read at these moments."""
    alive = [moment for moment in at if taken.lived_at(moment)]
    reader = _Reader(taken)
    for moment in alive:
        reader.read(moment)
    lines = reader.lines(alive)
    if taken.told:
        return [line for line in lines if line.metric in taken.told]
    at_ms = tuple(moment // MILLISECOND for moment in alive)
    for gauge in CONSUMER_GAUGES if taken.dialect == "consumer" else GAUGES:
        values = _ages(taken, alive) if gauge == "metadata-age" else levels_at(taken.levels.get((gauge, ""), []), alive)
        lines.append(Line(gauge, taken.client, "", "", at_ms, tuple(values)))
    return lines


class _Reader:
    """The sensors of one client, told in the order of time, and read in between."""

    def __init__(self, taken: ClientSamples) -> None:
        self.taken = taken
        self.next = 0
        self.stats: dict[tuple[str, str], list[tuple[str, Stat]]] = {}
        """(sensor, label) -> its metrics."""
        self.values: dict[tuple[str, str, str], list[float]] = {}
        """(group, metric, label) -> what was read since it is there."""
        client, self.groups = GROUPS[taken.dialect]
        for sensor in client:
            self._register(client, sensor, "")

    def _register(self, group: Mapping[str, Any], sensor: str, label: str) -> None:
        self.stats[sensor, label] = [(name, make(self.taken.windows)) for name, make in group[sensor].items()]

    def read(self, moment: Micros) -> None:
        samples = self.taken.samples
        while self.next < len(samples) and samples[self.next][0] <= moment:
            self._record(*samples[self.next])
            self.next += 1
        now_ms = moment // MILLISECOND
        for (sensor, label), stats in self.stats.items():
            group = sensor.partition(".")[0] if label else ""
            for name, stat in stats:
                self.values.setdefault((group, name, label), []).append(stat.measure(now_ms))

    def _record(self, at: Micros, sensor: str, label: str, value: float) -> None:
        stats = self.stats.get((sensor, label))
        if stats is None:
            if (group := self.groups.get(sensor)) is not None:
                for name in group:
                    self._register(group, name, label)
            stats = self.stats.get((sensor, label), [])  # A topic's retries and errors before its first drain are not counted for it (6.3).
        for _, stat in stats:
            stat.record(value, at // MILLISECOND)

    def lines(self, alive: Sequence[Micros]) -> list[Line]:
        found = []
        for (group, name, label), values in self.values.items():
            at_ms = tuple(moment // MILLISECOND for moment in alive[len(alive) - len(values) :])
            node, topic = (label, "") if group == "node" else ("", label)
            found.append(Line(name, self.taken.client, node, topic, at_ms, tuple(values)))
        return found


def one_after_another(lines: Iterable[Line]) -> list[Line]:
    """Of a client that came back: one line for all its lives, with nothing between them. Each life's totals begin at nothing."""
    found: dict[tuple[str, str, str, str], Line] = {}
    for line in lines:
        key = line.metric, line.client, line.node, line.topic
        before = found.get(key)
        found[key] = line if before is None else replace(before, at_ms=before.at_ms + line.at_ms, values=before.values + line.values)
    return list(found.values())


def levels_at(level: Level, at: Iterable[Micros], before: float = 0.0) -> list[float]:
    """What stood at each of these moments; `before` the first change."""
    values: list[float] = []
    place, value = 0, before
    for moment in at:
        while place < len(level) and level[place][0] <= moment:
            value = level[place][1]
            place += 1
        values.append(value)
    return values


def _ages(taken: ClientSamples, alive: Sequence[Micros]) -> list[float]:
    """In seconds; NaN before the first answer, where Kafka says how long ago 1970 was."""
    refreshed = levels_at([(at, at // MILLISECOND) for at in taken.refreshed], alive, before=nan)
    return [(moment // MILLISECOND - since_ms) * MILLISECOND / SECOND for moment, since_ms in zip(alive, refreshed, strict=True)]
