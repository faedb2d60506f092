"""A run in a notebook: what became of the records, as a table.

Not Kafka's. The whole report is `ksim run`'s; here stands what a reader looks at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ksim.metrics import Metrics
from ksim.verdict import Verdict

OUTCOMES = ("offered", "acked", "failed", "unknown", "ok")
HARMS = ("lost", "duplicated", "reordered")


def headline(run: Mapping[str, object]) -> str:
    """Of a run line: `The acknowledgement is lost (Kafka 4.3, client java, seed 7, simulated)`."""
    title = f"{run['title']} " if run.get("title") else ""
    return f"{title}(Kafka {_versions(run.get('kafka'))}, client {_versions(run.get('client'))}, seed {run.get('seed')}, {run.get('how')})"


def as_html(run: Mapping[str, object], verdict: Verdict, metrics: Metrics, digest: str) -> str:
    records = verdict.records
    names = [name for name in records if name in (*OUTCOMES, *HARMS) or records[name]]
    counts = _table(("records", ""), [(name, str(records[name])) for name in names])
    anomalies = [(one.name, str(one.count), one.because if one.allowed else "not allowed", f"record {one.witness.record}") for one in verdict.anomalies]
    latency = [(f"ack_{name}_ms", f"{value:g}") for name, value in metrics.latency_ms.items()]
    parts = [
        f"<p><b>{escape(headline(run))}</b></p>",
        f"<p>verdict: <b>{escape(verdict.verdict)}</b></p>",
        *(f"<p>inconclusive because {escape(reason)}</p>" for reason in verdict.reasons),
        counts,
        *([_table(("anomaly", "records", "allowed by", "witness"), anomalies)] if anomalies else []),
        _table(("latency", "ms"), [*latency, ("unavailable_ms", f"{metrics.unavailable_ms:g}")]),
        f"<p>digest {escape(digest)}</p>",
    ]
    return "".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f"<table><tr>{head}</tr>{''.join('<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>' for row in rows)}</table>"


def _versions(given: object) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items()) if isinstance(given, dict) else str(given)
