"""Sets of record numbers as sorted runs: what keeps a million records as cheap as their batches.

A run is (first, stop): the numbers first ... stop - 1. `Runs` are sorted, disjoint and never touch. Not Kafka's: plain arithmetic.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import itemgetter
from typing import TypeVar

from ksim_models.messages import Records

T = TypeVar("T")

Run = tuple[int, int]
Runs = list[Run]


def runs_of(records: Records) -> Runs:
    """The records of one batch as runs in the order of the batch: one for a range, several where the numbers do not follow each other."""
    if isinstance(records, range) and records.step == 1:
        return [(records.start, records.stop)] if records else []
    runs: Runs = []
    for number in records:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


def total(runs: Iterable[Run]) -> int:
    return sum(stop - first for first, stop in runs)


def union(runs: Iterable[Run]) -> Runs:
    """All numbers that stand in any of the runs, which may come in any order and overlap."""
    result: Runs = []
    current, end = 0, -1
    for first, stop in sorted(runs):
        if first > end:
            if end > current:
                result.append((current, end))
            current, end = first, stop
        elif stop > end:
            end = stop
    if end > current:
        result.append((current, end))
    return result


def repeated(runs: Iterable[Run]) -> Runs:
    """The numbers that stand in two or more of the runs."""
    twice: Runs = []
    end = -1
    for first, stop in sorted(runs):
        if first < end:
            twice.append((first, min(stop, end)))
        end = max(end, stop)
    return union(twice)


def minus(left: Runs, right: Runs) -> Runs:
    """The numbers of `left` that are not in `right`."""
    if not right:
        return left
    result: Runs = []
    position = 0
    for first, stop in left:
        while position < len(right) and right[position][1] <= first:
            position += 1
        ahead = position
        while ahead < len(right) and right[ahead][0] < stop:
            if right[ahead][0] > first:
                result.append((first, right[ahead][0]))
            first = right[ahead][1]
            ahead += 1
        if first < stop:
            result.append((first, stop))
        position = max(position, ahead - 1)
    return result


def both(left: Runs, right: Runs) -> Runs:
    """The numbers that are in `left` and in `right`."""
    result: Runs = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, stop = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first < stop:
            result.append((first, stop))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return result


def holds(runs: Runs, number: int) -> bool:
    return any(first <= number < stop for first, stop in runs)


def latest(pieces: list[tuple[int, int, T]]) -> list[tuple[int, int, T]]:
    """Pieces (first, stop, what) in the order of time, made disjoint and sorted: where they overlap the later one stands."""
    ordered = sorted(pieces, key=itemgetter(0))
    end = ordered[0][0] if ordered else 0
    for first, stop, _ in ordered:
        if first < end:
            return list(_sweep(pieces))
        end = stop
    return [piece for piece in ordered if piece[0] < piece[1]]  # Almost always they do not overlap, and this is all.


def _sweep(pieces: list[tuple[int, int, T]]) -> Iterator[tuple[int, int, T]]:
    order = sorted(range(len(pieces)), key=lambda number: pieces[number][0])
    edges = sorted({edge for first, stop, _ in pieces for edge in (first, stop)})
    alive: list[tuple[int, int]] = []  # (minus the place in time, stop): the newest piece that covers this stretch is on top.
    taken = 0
    for here, there in pairwise(edges):
        while taken < len(order) and pieces[order[taken]][0] <= here:
            heapq.heappush(alive, (-order[taken], pieces[order[taken]][1]))
            taken += 1
        while alive and alive[0][1] <= here:
            heapq.heappop(alive)
        if alive:
            yield here, there, pieces[-alive[0][0]][2]
