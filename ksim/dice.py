"""Chance from one seed: a stream of its own for every purpose and entity, so that one more draw here changes nothing there.

`random.Random(text).random()` is promised to be the same for ever; everything else is built on it with exact arithmetic (docs/decisions).
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache

DENOMINATOR = 2**53


class Dice:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._prefix = f"{seed}/"
        self._streams: dict[str, random.Random] = {}

    def stream(self, name: str) -> random.Random:
        """The stream of that name; only its `random()` may be used."""
        known = self._streams.get(name)
        if known is None:
            known = self._streams[name] = random.Random()
            known.seed(f"{self.seed}/{name}", version=2)
        return known

    def at(self, *what: str | int) -> float:
        """Uniform in [0, 1), as a function of `what` alone: asking twice draws nothing twice."""
        text = self._prefix + "/".join(map(str, what))
        return draw(text)


@lru_cache(maxsize=4096)
def draw(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / DENOMINATOR
