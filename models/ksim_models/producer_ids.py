"""Producer ids, each given once.

Kafka: ProducerIdManager. Simplified: its brokers ask the controller for blocks of 1000 ids (KIP-730); here each incarnation has a block of its own.
"""

from __future__ import annotations

IDS_PER_BLOCK = 1000


class ProducerIds:
    def __init__(self, broker: int, incarnation: int) -> None:
        self.block = incarnation * 1000 + broker
        self.given = 0

    def next(self) -> int:
        self.given += 1
        return self.block * IDS_PER_BLOCK + self.given - 1
