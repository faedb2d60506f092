"""Outcomes as a producer's batches had them: a client reports record by record, and facts are per batch.

Which records were sent together is known from the wire. What never left the client stays as it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ksim_models.facts import Acked, Failed, Sent
from ksim_models.messages import NO_OFFSET, Records
from ksim_models.units import Micros

Entry = tuple[Micros, object]


def in_batches(facts: Sequence[Entry]) -> list[Entry]:
    """The same facts, with one outcome per batch where all its records ended alike, at the moment of the last of them."""
    sent: dict[tuple[str, str, int], Records] = {}
    for _, fact in sorted(facts, key=lambda entry: entry[0]):
        if isinstance(fact, Sent):
            sent.update(dict.fromkeys(((fact.producer, fact.partition, number) for number in fact.records), fact.records))
    pieces: dict[tuple[object, ...], list[tuple[Micros, Acked | Failed, int]]] = {}
    result: list[Entry] = []
    for at, fact in facts:
        if not isinstance(fact, (Acked, Failed)):
            result.append((at, fact))
            continue
        for place, number in enumerate(fact.records):
            together = sent.get((fact.producer, fact.partition, number), (number,))
            alike = (type(fact), fact.producer, fact.partition, tuple(together), getattr(fact, "error", ""), _base(fact, place, together.index(number)))
            pieces.setdefault(alike, []).append((at, fact, number))
    return result + [_as_one(piece) for piece in pieces.values()]


def _base(fact: Acked | Failed, place: int, offset_in_batch: int) -> int:
    """Where the batch begins, if this record stands where its batch has it."""
    return fact.offset + place - offset_in_batch if isinstance(fact, Acked) and fact.offset != NO_OFFSET else NO_OFFSET


def _as_one(piece: list[tuple[Micros, Acked | Failed, int]]) -> Entry:
    numbers = [number for _, _, number in piece]
    at = max(moment for moment, _, _ in piece)
    first = piece[0][1]
    records: Records = range(numbers[0], numbers[0] + len(numbers)) if numbers == list(range(numbers[0], numbers[0] + len(numbers))) else tuple(numbers)
    if isinstance(first, Acked):
        offset = first.offset if first.offset == NO_OFFSET else first.offset + first.records.index(numbers[0])
        return at, replace(first, records=records, offset=offset)
    return at, replace(first, records=records)
