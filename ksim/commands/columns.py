"""Columns of a text table, paragraphs of a page, and large numbers in words.

Not Kafka's, whose settings are bare integers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

Row = tuple[str, ...]

WIDTH = 120


def columns(rows: Iterable[Row]) -> list[str]:
    """A line per row, indented by two."""
    rows = list(rows)
    places = max((len(row) for row in rows), default=0)
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(places)]
    return [("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))).rstrip() for row in rows]


def paragraph(text: str, first: str = "", others: str | None = None) -> str:
    """Cut into lines as a page would be; a word, such as the name of a setting, stays whole."""
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=first if others is None else others, break_long_words=False, break_on_hyphens=False
    )


def in_words(name: str, value: object) -> str:
    """Milliseconds and bytes as people say them, where that is shorter: 120000 is 2 min, 33554432 is 32 MiB. Empty for the rest."""
    from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
    from ksim_models.consumer_keys import CONSUMER_KEYS
    from ksim_models.librdkafka_consumer_keys import LIBRDKAFKA_CONSUMER_KEYS
    from ksim_models.librdkafka_keys import LIBRDKAFKA_KEYS
    from ksim_models.producer_keys import PRODUCER_KEYS
    from ksim_models.settings import INT_MAX, Unit

    catalogues = PRODUCER_KEYS, LIBRDKAFKA_KEYS, BROKER_KEYS, TOPIC_KEYS, CONSUMER_KEYS, LIBRDKAFKA_CONSUMER_KEYS
    key = next((keys[name] for keys in catalogues if name in keys), None)
    if key is None or isinstance(value, bool) or not isinstance(value, int):
        return ""
    if value == INT_MAX:
        return "the largest"
    units = {Unit.MS: DURATIONS, Unit.SECONDS: SECONDS, Unit.BYTES: SIZES}.get(key.unit, ())
    return next((f"{value // size} {unit}" for unit, size in units if value >= size and value % size == 0), "")


DURATIONS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
SECONDS = (("d", 86_400), ("h", 3_600), ("min", 60))
SIZES = (("GiB", 1_073_741_824), ("MiB", 1_048_576), ("KiB", 1_024), ("MB", 1_000_000), ("kB", 1_000))
