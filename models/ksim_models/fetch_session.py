"""A follower's fetch session at the leader: what the follower has, what is new for it, and its fetch that waits.

Kafka: FetchSession, DelayedFetch; KIP-227. The request names only what moved, the answer only what has something to say: idle partitions cost nothing.
"""

from __future__ import annotations

from ksim_models.messages import FetchPartition, FetchRequest
from ksim_models.units import NEVER, Micros


class FetchSession:
    __slots__ = ("broker_epoch", "connection", "fetched_at", "follower", "high_watermarks", "news", "parked_until", "positions")

    def __init__(self, connection: str, request: FetchRequest) -> None:
        self.connection = connection
        self.follower = request.replica
        self.broker_epoch = request.broker_epoch
        self.positions: dict[str, FetchPartition] = {}
        self.news: dict[str, None] = {}
        """Partitions that may have data, an error or a divergence to tell: these wake a parked fetch (RP-80)."""
        self.high_watermarks: dict[str, None] = {}
        """Partitions of which only the high watermark moved: told with the next answer, never the reason for one (RP-5, RP-6)."""
        self.fetched_at: Micros = 0
        self.parked_until: Micros = NEVER

    def take(self, request: FetchRequest, now: Micros) -> None:
        if request.full:
            self.positions.clear()
            self.news.clear()
            self.high_watermarks.clear()
        for partition in request.forgotten:
            self.positions.pop(partition, None)
            self.news.pop(partition, None)
            self.high_watermarks.pop(partition, None)
        for position in request.partitions:
            self.positions[position.partition] = position
            self.news[position.partition] = None
        self.fetched_at = now
