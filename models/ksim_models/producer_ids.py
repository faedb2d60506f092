"""Producer ids, each given once, in blocks that a broker has from the controller (KIP-730, TC-20).

Kafka: RPCProducerIdManager. Simplified: a block is there at once where the controller is connected, and there are no two for one incarnation's thousand.
"""

from __future__ import annotations

from collections.abc import Callable

from ksim_models.messages import NO_PRODUCER_ID

IDS_PER_BLOCK = 1000


class ProducerIds:
    def __init__(self, broker: int, incarnation: int, controller_is_there: Callable[[], bool]) -> None:
        self.block = incarnation * 1000 + broker
        self.given = 0
        self.controller_is_there = controller_is_there

    def next(self) -> int:
        """NO_PRODUCER_ID while there is nobody to have the next block from: COORDINATOR_LOAD_IN_PROGRESS to whoever asks."""
        if self.given % IDS_PER_BLOCK == 0 and not self.controller_is_there():
            return NO_PRODUCER_ID
        self.given += 1
        return self.block * IDS_PER_BLOCK + self.given - 1
