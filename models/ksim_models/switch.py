"""One switch of a release: what differs, what each of its positions does, and when it cannot matter.

Kafka: the KIPs and issues of its tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ksim_models.config import ProducerConfig, TopicConfig


@dataclass(frozen=True, slots=True)
class ProducerUse:
    """One producer, as far as it decides whether a switch can matter to it."""

    config: ProducerConfig
    written: Mapping[str, str]
    """Its settings as they were written, by Kafka's names and spelling."""
    spreads: bool
    """It sends records without a key to a topic of several partitions, and lets the client choose."""


@dataclass(frozen=True, slots=True)
class TopicUse:
    """One topic, likewise."""

    config: TopicConfig
    replicas: int
    in_transactions: bool = False
    """A transactional producer writes to it, or a group reads it."""
    controllers: int = 1


def _never_idle(_: object) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Switch:
    """A difference between two releases of the client or of the brokers."""

    name: str
    about: str
    """What differs: the subject of the sentence."""
    does: Mapping[object, str]
    """A value of the switch -> what such a release does: the rest of the sentence."""
    cited: str
    idle: Callable[[ProducerUse], str] = _never_idle
    """Of the client's switches: why it cannot matter to this producer; empty where it can, or where nobody can say."""
    idle_topic: Callable[[TopicUse], str] = _never_idle
    """Of the brokers' switches: why it cannot matter to this topic."""

    def sentence(self, before: object, after: object, releases: tuple[str, str]) -> str:
        subject = self.about[0].lower() + self.about[1:]
        return f"In {releases[0]} {subject} {self.does[before]}; in {releases[1]} it {self.does[after]} ({self.cited})."
