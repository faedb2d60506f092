"""Python's search for cycles, put off while a simulation runs.

Not Kafka's. A run makes values by the million and hardly a cycle among them, but the search walks all that lives again and again: a tenth of a long run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 200_000
"""So many more containers must have been made than given back, before anybody looks for cycles: some 20 MB."""


@contextmanager
def seldom() -> Iterator[None]:
    """Afterwards all is as it was. Who has switched the search off, or made it rarer already, is left alone."""
    before = gc.get_threshold()
    if not 0 < before[0] < SELDOM:
        yield
        return
    gc.set_threshold(SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
