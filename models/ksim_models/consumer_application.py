"""What the program above a consumer does, whichever client it has: poll(), work, commit.

Kafka: KafkaConsumer's and confluent-kafka's loop, as their examples have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ksim_models.units import Micros, ms

CLOSE_WITHIN: Micros = ms(30_000)
"""KafkaConsumer.close() without an argument; librdkafka's takes as long as it takes, and gets as long here."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What the application does with its records."""

    work: Micros = 0
    """So long it works on each."""
    commit: str = "none"
    """After the work on what a poll() returned: "sync", "async", or "none" (or automatically, by enable.auto.commit)."""


class Does(Enum):
    POLLS = "inside poll()"
    WORKS = "on the records that poll() returned"
    COMMITS = "inside commitSync()"
    WAITS = "for another part of the application"
    CLOSES = "inside close()"
    ENDED = "it was thrown an exception, or has closed its consumer"
