"""A broker asks the controller for topics that somebody needs: clients by naming them, coordinators for what they keep.

Kafka: DefaultAutoTopicCreationManager.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.config import BrokerConfig
from ksim_models.image import Image
from ksim_models.machine import Effect
from ksim_models.membership import Membership
from ksim_models.messages import CreateTopicsRequest
from ksim_models.topic_creation import is_legal


class TopicAsking:
    def __init__(self, config: BrokerConfig, image: Image, membership: Membership) -> None:
        self.config = config
        self.image = image
        self.membership = membership
        self.asked: dict[str, str] = {}
        """Topics that the controller was asked to create, and on which connection."""

    def ask_for_what_is_missing(self, topics: Sequence[str], out: list[Effect]) -> None:
        missing = tuple(topic for topic in topics if topic not in self.image.topics and is_legal(topic))
        if missing:
            self.ask(CreateTopicsRequest(missing, self.config.num_partitions, self.config.default_replication_factor), out)

    def ask(self, request: CreateTopicsRequest, out: list[Effect]) -> None:
        """Once for each topic, while the controller has not answered."""
        connection = self.membership.connection_for_topics
        missing = tuple(topic for topic in request.topics if self.asked.get(topic) != connection)
        if missing and connection is not None:
            self.asked.update(dict.fromkeys(missing, connection))
            self.membership.send_for_topics(CreateTopicsRequest(missing, request.partitions, request.replication, request.settings), out)

    def answered(self, topics: Sequence[str]) -> None:
        for topic in topics:
            self.asked.pop(topic, None)
