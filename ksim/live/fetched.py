"""What a follower fetches over one connection: a request names only what moved, the fetch session keeps the rest.

Kafka: FetchSession; KIP-227.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Fetched:
    """Topics by id (since Fetch v13) or by name, with their partitions."""

    def __init__(self) -> None:
        self._session: set[tuple[Any, int]] = set()

    def take(self, request: Any) -> None:
        if getattr(request, "session_epoch", -1) <= 0:  # A full one.
            self._session.clear()
        for topic in getattr(request, "forgotten_topics_data", ()):
            self._session.difference_update((_key(topic), partition) for partition in topic.partitions)
        self._session.update((_key(topic), partition.partition) for topic in request.topics for partition in topic.partitions)

    @property
    def topics(self) -> Iterable[Any]:
        return {topic for topic, _ in self._session}


def _key(topic: Any) -> Any:
    return getattr(topic, "topic_id", None) or getattr(topic, "topic", None)
