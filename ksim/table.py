"""A table of runs: one row per configuration and seed, plain values, and what can be said of the rates in it.

Not Kafka's: columns as in scenario.md, section 5. A DataFrame is one call away, never required.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ksim.classification import CLASSES
from ksim.problems import listed, nearest
from ksim.statistics import CONFIDENCE, Paired, interval, median, paired

if TYPE_CHECKING:
    import pandas

Cell = str | int | float | bool | None
Row = dict[str, Cell]

RECORDS = ("offered", "refused", "accepted", "acked", "failed", "unknown", "sends", *CLASSES)
LATENCIES = ("ack_avg_ms", "ack_p50_ms", "ack_p95_ms", "ack_p99_ms", "ack_p999_ms", "ack_max_ms")
BEFORE_AXES = ("config_hash", "seed", "status", "error", "verdict")
RESULTS = (*RECORDS, *LATENCIES, "unavailable_ms")
COUNTED = tuple(name for name in RECORDS if name not in ("offered", "sends"))
"""What is a share of the records offered."""
HEADLINES = ("lost", "duplicated", "reordered")


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened under one configuration, per run and per record.

    `share` (of runs with at least one such record) is the headline: runs under different seeds are independent of each other, so its interval is honest.
    `rate` (of records) is what a record meets on average. Records of one run share its fate (one crash loses them together), so its interval is too narrow:
    read it as a lower limit of the uncertainty.
    """

    configuration: dict[str, Cell]
    of: str
    runs: int
    """That were carried out; refused and failed ones are counted apart and are part of no rate."""
    refused: int
    failed: int
    runs_with: int
    share: float | None
    share_low: float
    share_high: float
    offered: int
    count: int
    rate: float | None
    rate_low: float
    rate_high: float

    def row(self) -> Row:
        numbers: Row = {name: getattr(self, name) for name in self.__slots__ if name != "configuration"}
        return self.configuration | numbers


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """`rows` in the order of configurations, then seeds: always the same for the same sweep."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    axes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = HEADLINES
    """What `summary` shows."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def column(self, name: str) -> list[Cell]:
        return [row[self._known(name, self.columns)] for row in self.rows]

    def to_pandas(self) -> pandas.DataFrame:
        """As a pandas DataFrame."""
        try:
            import pandas
        except ImportError as missing:
            raise ImportError(
                'pandas is not installed: pip install pandas, or pip install "ksim-kafka[notebook]". Without it: to_csv(), to_json(), rows.'
            ) from missing
        return pandas.DataFrame([dict(row) for row in self.rows], columns=list(self.columns))

    def to_csv(self, to: str | Path | TextIO | None = None) -> str:
        """The text, which is written to a path or a stream as well. Nothing stands for None."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if row[name] is None else _word(row[name]) for name in self.columns] for row in self.rows)
        return _deliver(stream.getvalue(), to)

    def to_json(self, to: str | Path | TextIO | None = None) -> str:
        """An array with one object per row."""
        lines = ",\n".join(self.json_lines())
        return _deliver(f"[\n{lines}\n]\n" if lines else "[]\n", to)

    def json_lines(self) -> Iterator[str]:
        """One object per row."""
        return (json.dumps({name: row[name] for name in self.columns}, ensure_ascii=False, allow_nan=False) for row in self.rows)

    def rates(self, by: Sequence[str] | None = None, of: str | Sequence[str] = HEADLINES, confidence: float = CONFIDENCE) -> tuple[Rate, ...]:
        """Per configuration (the values of the axes `by`, default all): how often, with intervals. See `Rate` for which of the two rates to believe."""
        names = [self._known(name, COUNTED) for name in ([of] if isinstance(of, str) else of)]
        return tuple(_rate(configuration, rows, name, confidence) for configuration, rows in self.groups(by) for name in names)

    def paired(self, first: Mapping[str, Cell], second: Mapping[str, Cell], of: str) -> Paired:
        """Two configurations, seed by seed: the same seed is the same world, so each pair differs by its configuration alone.

        `first` and `second` name values of axes, such as {"producers.p1.config.acks": 1}; what they leave out must decide nothing (one row per seed).
        """
        one, other = self._by_seed(first), self._by_seed(second)
        seeds = [seed for seed in one if seed in other]
        name = self._known(of, self.columns)
        return paired([_number(one[seed][name]) for seed in seeds], [_number(other[seed][name]) for seed in seeds])

    def groups(self, by: Sequence[str] | None = None) -> list[tuple[dict[str, Cell], list[Row]]]:
        """The rows of each configuration, in the order of first appearance."""
        axes = [self._known(name, self.axes) for name in (self.axes if by is None else by)]
        found: dict[str, tuple[dict[str, Cell], list[Row]]] = {}
        for row in self.rows:
            configuration = {name: row[name] for name in axes}
            key = json.dumps(list(configuration.values()))  # 1 and true are equal to Python, but not to Kafka.
            found.setdefault(key, (configuration, []))[1].append(row)
        return list(found.values())

    def summary(self, by: Sequence[str] | None = None, confidence: float = CONFIDENCE) -> str:
        """A text: per configuration the share of runs with at least one such record, and medians, each with its interval."""
        header, lines = self._summary(by, confidence)
        widths = [max(len(line[place]) for line in [header, *lines]) for place in range(len(header))]
        text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in [header, *lines])
        return f"{text}\n{_legend(confidence)}"

    def __repr__(self) -> str:
        return (
            f"<Table: {len(self.rows)} rows, {len(self.groups())} configurations, axes {listed(self.axes)}>" if self.axes else f"<Table: {len(self.rows)} rows>"
        )

    def _repr_html_(self) -> str:
        header, lines = self._summary(None, CONFIDENCE)
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(_legend(CONFIDENCE))}</p>"

    def _summary(self, by: Sequence[str] | None, confidence: float) -> tuple[list[str], list[list[str]]]:
        groups = self.groups(by)
        axes = list(groups[0][0]) if groups else []
        header = [*short_names(axes), "runs", *self.metrics]
        lines = []
        for configuration, rows in groups:
            done = [row for row in rows if row["status"] == "done"]
            cells = [_word(value) for value in configuration.values()]
            if done:
                cells += [_how_many(rows, done), *(_shown(name, configuration, rows, done, confidence) for name in self.metrics)]
            else:
                cells += [_how_many(rows, done), *("-" for _ in self.metrics)]
            lines.append(cells)
        return header, lines

    def _by_seed(self, wanted: Mapping[str, Cell]) -> dict[int, Row]:
        axes = [self._known(name, self.axes) for name in wanted]
        values = json.dumps(list(wanted.values()))
        rows = [row for row in self.rows if row["status"] == "done" and json.dumps([row[name] for name in axes]) == values]
        found = {int(_number(row["seed"])): row for row in rows}
        if not rows or len(found) < len(rows):
            reason = "no run was carried out" if not rows else "several rows have the same seed: name a value of each axis"
            raise ValueError(f"{dict(wanted)} does not name one configuration: {reason}. Axes: {listed(self.axes)}.")
        return found

    @staticmethod
    def _known(name: str, names: Sequence[str]) -> str:
        if name in names:
            return name
        close = nearest(name, names)
        raise ValueError(f'there is no "{name}" here.{f" Did you mean {close}?" if close else ""} Possible: {listed(names)}.')


def short_names(axes: Sequence[str]) -> list[str]:
    """Each axis without what stands before its setting, where that stays unambiguous: producers.p1.config.acks is acks."""
    short = [name.partition(".config.")[2] or name for name in axes]
    return [name if short.count(name) == 1 else axis for name, axis in zip(short, axes)]


def percent(share: float) -> str:
    """A share as a person reads it, and nothing that is above zero as 0 %."""
    figure = share * 100
    text = f"{figure:.0f}" if figure in (0, 100) else f"{figure:.1f}" if 0.1 <= figure <= 99.9 else f"{figure:.2g}" if figure < 0.1 else f"{figure:.4g}"
    return f"{text} %"


def words(rate: Rate) -> str:
    """`12 % [8.0 % .. 18 %]`; where nothing was seen, `none, at most 3 %`."""
    if rate.share is None:
        return "-"
    if rate.runs_with == 0:
        return f"none, at most {percent(rate.share_high)}"
    if rate.runs_with == rate.runs:
        return f"all, at least {percent(rate.share_low)}"
    return f"{percent(rate.share)} [{percent(rate.share_low)} .. {percent(rate.share_high)}]"


def _rate(configuration: dict[str, Cell], rows: Sequence[Row], of: str, confidence: float) -> Rate:
    done = [row for row in rows if row["status"] == "done"]
    refused = sum(row["status"] == "refused" for row in rows)
    offered = sum(int(_number(row["offered"])) for row in done)
    counts = [int(_number(row[of])) for row in done]
    hit, count = sum(number > 0 for number in counts), sum(counts)
    share = hit / len(done) if done else None
    rate = count / offered if offered else None
    by_run, by_record = interval(hit, len(done), confidence), interval(count, offered, confidence)
    return Rate(configuration, of, len(done), refused, len(rows) - len(done) - refused, hit, share, *by_run, offered, count, rate, *by_record)


def _shown(name: str, configuration: dict[str, Cell], rows: Sequence[Row], done: Sequence[Row], confidence: float) -> str:
    if name in COUNTED:
        return words(_rate(configuration, rows, name, confidence))
    values = [_number(row[name]) for row in done]
    middle, low, high = median(values, confidence)
    return f"{middle:g} [{low:g} .. {high:g}]" if low is not None and high is not None else f"{middle:g} (too few runs for an interval)"


def _how_many(rows: Sequence[Row], done: Sequence[Row]) -> str:
    refused = sum(row["status"] == "refused" for row in rows)
    failed = len(rows) - len(done) - refused
    parts = [str(len(done))] if done else []
    parts += [f"{refused} refused" if done or failed else "refused by Kafka"] if refused else []
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)


def _legend(confidence: float) -> str:
    return (
        f"Records: share of runs with at least one, and its {percent(confidence)} interval; none or all: exact one-sided bound. "
        "Other figures: median over runs, with an exact interval."
    )


def _number(cell: Cell) -> float:
    assert isinstance(cell, (int, float)), f"{cell!r} is no number"
    return cell


def _word(cell: Cell) -> str:
    return ("true" if cell else "false") if isinstance(cell, bool) else str(cell)


def _deliver(text: str, to: str | Path | TextIO | None) -> str:
    if isinstance(to, (str, Path)):
        Path(to).write_text(text, encoding="utf-8", newline="\n")
    elif to is not None:
        to.write(text)
    return text
