"""What a client's process says, event by event, gathered into what makes one fact.

Not Kafka's. The language is described in ksim.live.clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ksim_models.units import Micros

TOGETHER_US: Micros = 1_000
"""Outcomes of neighbours within a millisecond make one fact: Kafka reports batch by batch."""


def records_of(events: Sequence[dict[str, Any]]) -> range:
    return range(events[0]["record"], events[-1]["record"] + 1)


ALIKE = {"offered": ("workload",), "acked": ("workload", "partition"), "failed": ("workload", "partition", "class", "message"), "refused": ("class", "message")}
"""What neighbours must have in common to make one fact, beside their consecutive numbers."""


def together(events: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Neighbours that say the same of the next record, or of the next offset."""
    group: list[dict[str, Any]] = []
    for event in events:
        if group and not _goes_on(group, event):
            yield group
            group = []
        group.append(event)
    if group:
        yield group


def _goes_on(group: list[dict[str, Any]], event: dict[str, Any]) -> bool:
    last, kind = group[-1], event["event"]
    if kind != last["event"] or kind not in ALIKE or event["record"] != last["record"] + 1 or event["at"] - group[0]["at"] >= TOGETHER_US * 1000:
        return False
    if kind == "acked" and event["offset"] != (last["offset"] + 1 if last["offset"] >= 0 else -1):
        return False
    return all(event[name] == last[name] for name in ALIKE[kind])
