"""Settings by Kafka's names: from what a user wrote to a configuration without gaps, or to all the mistakes in it at once.

Kafka: ProducerConfig, KafkaConfig, TopicConfig.
"""

from __future__ import annotations

from ksim_models.broker_config import BrokerConfig, TopicConfig
from ksim_models.producer_config import ProducerConfig

__all__ = ["BrokerConfig", "ProducerConfig", "TopicConfig"]
