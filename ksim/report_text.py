"""The readable report: what a person sees of a run, the verdict as its last line.

The line on latency has the fields of kafka-producer-perf-test, in its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TextIO

from ksim.classification import CLASSES
from ksim.plan import FRAME_FAULTS, RECORD_FAULTS
from ksim.report import Report
from ksim_models.units import SECOND

Line = tuple[str, str]
"""A line of text, and how it looks on a terminal ("" for plain)."""

DIGEST_CHARACTERS = 12
ALWAYS_SHOWN = ("ok", "lost", "duplicated")
HIT = dict.fromkeys(FRAME_FAULTS, "frame") | dict.fromkeys(RECORD_FAULTS, "record")
STYLE = {"held": "green", "violated": "red", "inconclusive": "yellow"}
MEANING = {
    "ok": "acknowledged, once in the log, in order, readable",
    "absent": "reported as failed, and not in the log",
    "lost": "acknowledged, and not in the log",
    "ghost": "reported as failed, and yet in the log",
    "duplicated": "two or more times in the log",
    "reordered": "behind a record that was offered later",
    "misrouted": "in a partition that it was not bound for",
    "hidden": "in the log, and no consumer can read it",
    "torn": "part of a transaction",
    "aborted_read": "of an aborted transaction, and read",
    "removed": "its place in the log was removed on request",
}


def text(report: Report) -> str:
    """Plain, every line with its end."""
    return "".join(f"{printable(line)}\n" for line, _ in lines(report))


def printable(line: str) -> str:
    """A title may hold what would move a terminal's cursor."""
    return line if line.isprintable() else "".join(character if character.isprintable() else "?" for character in line)


def show(report: Report, stream: TextIO) -> None:
    """In colours on a terminal that wants them."""
    write(lines(report), stream)


def write(lines: Iterator[Line], stream: TextIO) -> None:
    if not stream.isatty():
        stream.writelines(f"{printable(line)}\n" for line, _ in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)  # Honours NO_COLOR by itself.
    for line, style in lines:
        console.print(Text(printable(line), style=style), soft_wrap=True)


def lines(report: Report) -> Iterator[Line]:
    data = report.data
    yield str(data["scenario"]), "bold"
    yield f"Kafka {versions(data['kafka'])}, client {versions(data['client'])}, seed {data['seed']}, {data['how']}, digest {short(str(data['digest']))}", "dim"
    for note in report.notes:
        yield f"note: {note}", "dim"
    for part in (
        _records(report),
        _anomalies(report),
        _processing(report),
        _reading(report),
        _errors(data),
        _faults(data),
        _breakers(data),
        _latency(report),
        _calibrated(data),
        _alerts(data),
        _expectations(data),
    ):
        found = list(part)
        if found:
            yield "", ""
            yield from found
    yield "", ""
    yield from _verdict(report)


def verdict_line(report: Report) -> str:
    """The last line of the report."""
    return f"verdict: {report.verdict.verdict}{_predicted(report)}"


def seed_line(report: Report) -> str:
    """One run of many in one line: what was not zero, and the digest to compare it by."""
    counts = report.verdict.records
    told = ", ".join(f"{name} {counts[name]}" for name in ("offered", *CLASSES, "unknown") if counts[name] or name == "ok")
    return f"seed {report.data['seed']:>6}  {report.verdict.verdict + _predicted(report):<28}  {told}  [{short(str(report.data['digest']))}]"


def versions(value: object) -> str:
    return ", ".join(f"{name} {version}" for name, version in value.items()) if isinstance(value, dict) else str(value)


def short(digest: str) -> str:
    """Enough of it to compare two runs by eye."""
    return digest.removeprefix("sha256:")[:DIGEST_CHARACTERS]


def _records(report: Report) -> Iterator[Line]:
    counts = report.verdict.records
    yield f"records  offered {counts['offered']} = refused {counts['refused']} + accepted {counts['accepted']}", ""
    sends = f", {counts['sends']} sends" if counts["sends"] != counts["offered"] else ""
    yield f"         accepted {counts['accepted']} = acked {counts['acked']} + failed {counts['failed']} + unknown {counts['unknown']}{sends}", ""
    for name in CLASSES:
        if counts[name] or name in ALWAYS_SHOWN:
            bad = counts[name] and name not in ("ok", "absent")
            yield f"  {counts[name]:>9}  {name:<12}  {MEANING[name]}", "bold red" if bad else ""


def _anomalies(report: Report) -> Iterator[Line]:
    for anomaly in report.verdict.anomalies:
        allowed = f"allowed: {anomaly.because}" if anomaly.allowed else f"NOT allowed: {anomaly.because}"
        yield f"{anomaly.name} (Jepsen: {anomaly.jepsen}): {plural(anomaly.count, 'record')}; {allowed}", "yellow" if anomaly.allowed else "bold red"
        witness = anomaly.witness
        where = f"at offset{'s' * (len(witness.offsets) > 1)} {', '.join(map(str, witness.offsets))} of" if witness.offsets else "nowhere in"
        yield f"  witness: record {witness.record}, {where} {witness.partition or 'any log'}", ""


def _processing(report: Report) -> Iterator[Line]:
    for one in report.verdict.processing:
        told = f"{one.processed_once} took effect once, {one.processed_twice} more than once, {one.skipped} skipped"
        yield (
            f"{one.application}: of {plural(one.inputs, 'input')} {told}, {one.unprocessed} not yet processed",
            "bold red" if one.verdict == "violated" else "",
        )
        if one.witness:
            yield f"  witness: {one.witness}", ""


def _reading(report: Report) -> Iterator[Line]:
    for one in report.verdict.reading:
        told = f"{one.read_once} were read once, {one.read_twice} more than once, {one.skipped} skipped, {one.unread} not yet read"
        yield f"{one.readers}: of {plural(one.inputs, 'record')} {told}", "yellow" if one.skipped else ""
        if one.witness is not None:
            because = f"; {one.because}" if one.because else ""
            yield f"  witness: record {one.witness.record}, at offset {one.witness.offset} of {one.witness.partition}{because}", ""


def _errors(data: Mapping[str, object]) -> Iterator[Line]:
    for error, count in _pairs(data["errors"]):
        yield f"error    {error}: {plural(int(str(count)), 'record')}", ""


def _faults(data: Mapping[str, object]) -> Iterator[Line]:
    rows = data["faults"]
    assert isinstance(rows, list)
    for row in rows:
        if row["injected"]:
            touched = plural(int(row["touched"]), "batch", "batches") if row["touched"] else "nothing"
            of = HIT.get(str(row["do"]))
            what = f"hit {plural(int(row['touched']), of)}" if of else f"touched {touched}"
            when = f"at {row['at_ms']} ms" if "strikes" not in row else f"{plural(int(row['strikes']), 'time')}, from {row['at_ms']} ms on"
            yield f"fault    {row['name']}: {row['do']} {when}, {', '.join(row['resolved'])}; {what}", ""
        else:
            yield f"fault    {row['name']}: {row['do']} never struck", "yellow"


def _breakers(data: Mapping[str, object]) -> Iterator[Line]:
    figures = dict(_pairs(data["metrics"]))
    if "breaker-opened-total" in figures:
        opened = plural(int(str(figures["breaker-opened-total"])), "time")
        shed = plural(int(str(figures["breaker-shed-total"])), "record")
        told = f"opened {opened}, open for {figures['breaker-open-ms']} ms, {shed} shed, closed {figures['breaker-recovery-ms']} ms after the trouble"
        yield f"breaker  {told}", ""


def _latency(report: Report) -> Iterator[Line]:
    latency = dict(_pairs(report.data["latency_ms"]))
    acked = report.verdict.records["acked"]
    if acked:
        seconds = Fraction(max(1, report.span_us), SECOND)
        per_second = Fraction(acked) / seconds
        megabytes = "" if report.record_bytes is None else f" ({float(per_second * report.record_bytes / 2**20):.2f} MB/sec)"
        quantiles = ", ".join(f"{latency[name]} ms {said}" for name, said in (("p50", "50th"), ("p95", "95th"), ("p99", "99th"), ("p999", "99.9th")))
        rate = f"{acked} records sent, {float(per_second):.1f} records/sec{megabytes}"
        yield f"latency  {rate}, {latency['avg']} ms avg latency, {latency['max']} ms max latency, {quantiles}", ""
    yield f"silence  {report.data['unavailable_ms']} ms at most in which a record was pending and none was acknowledged", ""


def _calibrated(data: Mapping[str, object]) -> Iterator[Line]:
    if "calibrated" in data:
        yield f"work     calibrated on {data['calibrated']}: no promise of any latency", ""


def _alerts(data: Mapping[str, object]) -> Iterator[Line]:
    rows = data.get("alerts", [])
    assert isinstance(rows, list)
    for row in rows:
        above = "above" if "above" in row else "below"
        rule = f"{row['metric']} {above} {row[above]}" + (f" for {row['for_ms']} ms" if row["for_ms"] else "")
        yield f"alert    {rule}: {_alarm(row)}", "bold red" if row["blind"] else ""


def _alarm(row: Mapping[str, object]) -> str:
    harm, fired, after = row["first_harm"], row["fired_at_ms"], row["after_first_harm_ms"]
    if not row["read"]:
        return "cannot be told: nobody read this metric"
    if fired is None:
        return (
            f"BLIND: never fired, and the first record was {harm['name']} at {harm['at_ms']} ms" if isinstance(harm, dict) else "never fired; no harm was done"
        )
    told = f"fired at {fired} ms ({row['of']})"
    if not isinstance(harm, dict) or not isinstance(after, int | float):
        return f"{told}, and no harm was done"
    return f"{told}, {abs(after)} ms {'after' if after >= 0 else 'before'} the first record was {harm['name']}"


def _expectations(data: Mapping[str, object]) -> Iterator[Line]:
    for key, line in _pairs(data["expect"]):
        assert isinstance(line, dict)
        yield f"expect   {key} {line['wanted']}: {'met' if line['met'] else 'NOT met'}, it is {line['got']}", "" if line["met"] else "bold red"


def _verdict(report: Report) -> Iterator[Line]:
    verdict = report.verdict
    for reason in verdict.reasons:
        yield f"inconclusive because {reason}", "yellow"
    yield verdict_line(report), f"bold {STYLE[verdict.verdict]}"


def _predicted(report: Report) -> str:
    """Where the author predicted something, that decides the exit code."""
    expected = report.data["expect"]
    if not expected:
        return ""
    return ", as expected" if report.met else ", NOT as expected"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _pairs(value: object) -> list[tuple[str, object]]:
    assert isinstance(value, dict)
    return list(value.items())
