"""Sobol points: evenly spread in many dimensions, the same for ever; any first 2^k of them fall into every half, quarter ... of each axis equally often.

Not Kafka's. Direction numbers: S. Joe and F. Y. Kuo, Constructing Sobol sequences with better two-dimensional projections (2008), table new-joe-kuo-6;
order: by Gray code (Antonov and Saleev). Neither scrambled nor shifted, so the first point is the lower end of every axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

BITS = 32

PRIMITIVES: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
    (5, 4, (1, 1, 5, 5, 5)),
    (5, 7, (1, 1, 7, 11, 19)),
    (5, 11, (1, 1, 5, 1, 1)),
    (5, 13, (1, 1, 1, 3, 11)),
    (5, 14, (1, 3, 5, 5, 31)),
    (6, 1, (1, 3, 3, 9, 7, 49)),
    (6, 13, (1, 1, 1, 15, 21, 21)),
    (6, 16, (1, 3, 1, 13, 27, 49)),
    (6, 19, (1, 1, 1, 15, 7, 5)),
    (6, 22, (1, 3, 1, 15, 13, 25)),
    (6, 25, (1, 1, 5, 5, 19, 61)),
    (7, 1, (1, 3, 7, 11, 23, 15, 103)),
    (7, 4, (1, 3, 7, 13, 13, 15, 69)),
)
"""For the second axis and the following: degree and coefficients of a primitive polynomial, and the first direction numbers."""
MOST_AXES = 1 + len(PRIMITIVES)


def sobol(axes: int, points: int) -> Iterator[tuple[Fraction, ...]]:
    """Each in [0, 1)."""
    assert 1 <= axes <= MOST_AXES
    assert 0 <= points <= 2**BITS
    directions = [_directions(axis) for axis in range(axes)]
    at = [0] * axes
    for number in range(points):
        yield tuple(Fraction(place, 2**BITS) for place in at)
        changes = (~number & (number + 1)).bit_length() - 1  # The lowest bit that is 0: the one in which the Gray code changes.
        if changes < BITS:
            at = [place ^ direction[changes] for place, direction in zip(at, directions)]


def _directions(axis: int) -> list[int]:
    if axis == 0:
        return [1 << (BITS - 1 - place) for place in range(BITS)]
    degree, coefficients, first = PRIMITIVES[axis - 1]
    found = [number << (BITS - 1 - place) for place, number in enumerate(first)]
    for place in range(degree, BITS):
        number = found[place - degree] ^ (found[place - degree] >> degree)
        for back in range(1, degree):
            if coefficients >> (degree - 1 - back) & 1:
                number ^= found[place - back]
        found.append(number)
    return found
