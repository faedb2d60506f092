"""Settings by Kafka's names: from what a user wrote to a configuration without gaps, or to all the mistakes in it at once.

Kafka: ProducerConfig, KafkaConfig, TopicConfig. This is the one place from which the rest of the project takes them.
"""

from __future__ import annotations

from ksim_models.broker_config import (
    BrokerConfig,
    BrokerResolution,
    TopicConfig,
    TopicResolution,
    altered,
    overlaid,
    resolve_broker,
    resolve_broker_change,
    resolve_topic,
    topic_config,
)
from ksim_models.consumer_config import ConsumerConfig, ConsumerResolution, resolve_consumer
from ksim_models.librdkafka_config import LibrdkafkaConfig, LibrdkafkaResolution, by_one_name, resolve_librdkafka
from ksim_models.librdkafka_consumer_config import (
    LibrdkafkaConsumerConfig,
    LibrdkafkaConsumerResolution,
    consumer_by_one_name,
    resolve_librdkafka_consumer,
)
from ksim_models.producer_config import ACKS_ALL, ProducerConfig, ProducerResolution, resolve_producer
from ksim_models.quantities import parse_duration_us, parse_size, show_given
from ksim_models.settings import Effective, Origin, Problem, Setting, nearest_of

__all__ = [
    "ACKS_ALL",
    "BrokerConfig",
    "BrokerResolution",
    "ConsumerConfig",
    "ConsumerResolution",
    "Effective",
    "LibrdkafkaConfig",
    "LibrdkafkaConsumerConfig",
    "LibrdkafkaConsumerResolution",
    "LibrdkafkaResolution",
    "Origin",
    "Problem",
    "ProducerConfig",
    "ProducerResolution",
    "Setting",
    "TopicConfig",
    "TopicResolution",
    "altered",
    "by_one_name",
    "consumer_by_one_name",
    "nearest_of",
    "overlaid",
    "parse_duration_us",
    "parse_size",
    "resolve_broker",
    "resolve_broker_change",
    "resolve_consumer",
    "resolve_librdkafka",
    "resolve_librdkafka_consumer",
    "resolve_producer",
    "resolve_topic",
    "show_given",
    "topic_config",
]
