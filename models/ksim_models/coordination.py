"""The part of a broker that coordinates: transactions and groups, each in a topic of its own, and the requests that have to do with them.

Kafka: BrokerServer, KafkaApis.handle, BrokerMetadataPublisher.updateCoordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ksim_models.config import BrokerConfig
from ksim_models.image import Image
from ksim_models.internal_topics import Coordinator, InternalTopics
from ksim_models.leading import Leading
from ksim_models.machine import Effect
from ksim_models.messages import CreateTopicsRequest, topic_of
from ksim_models.profiles import BrokerProfile
from ksim_models.transaction_messages import FindCoordinatorRequest, FindCoordinatorResponse
from ksim_models.units import NEVER, Micros

Handler = Callable[[str, Any, Micros, list[Effect]], object | None]
"""(connection, request, now, effects): the response, or None where it comes later, through `reply`."""


class Coordination:
    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        image: Image,
        leading: Leading,
        ask_for: Callable[[CreateTopicsRequest, list[Effect]], None],
        reply: Callable[[str, object], None],
    ) -> None:
        """reply: (connection, response) for a request that was not answered at once. It is sent after the event at hand."""
        self.broker = broker
        self.leading = leading
        self.reply = reply
        self.topics = InternalTopics(config, image, ask_for)
        self.coordinators: dict[str, Coordinator] = {}
        """By the internal topic whose partitions they follow."""
        self.apis: dict[type, Handler] = {FindCoordinatorRequest: self._find_coordinator}
        """Every kind of request that ends up here."""
        self.in_use = False
        """False on a broker that coordinates nothing: then nobody need ask for `wake_at`."""

    @property
    def wake_at(self) -> Micros:
        return NEVER

    def wake(self, now: Micros, out: list[Effect]) -> None:
        pass

    # What becomes of the partitions of internal topics.

    def led(self, partition: str, leader_epoch: int, now: Micros, out: list[Effect]) -> None:
        if coordinator := self.coordinators.get(topic_of(partition)):
            self.in_use = True
            coordinator.elected(partition, leader_epoch, now, out)

    def led_no_more(self, partition: str, now: Micros, out: list[Effect]) -> None:
        if coordinator := self.coordinators.get(topic_of(partition)):
            coordinator.resigned(partition, now, out)

    # Requests.

    def _find_coordinator(self, connection: str, request: FindCoordinatorRequest, now: Micros, out: list[Effect]) -> FindCoordinatorResponse:
        return self.topics.find(request, out)
