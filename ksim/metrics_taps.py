"""Which tap listens to which client.

Kafka: the Java client's sensors, or librdkafka's statistics.
"""

from __future__ import annotations

from ksim.metrics_consumers import TappedConsumer
from ksim.metrics_librdkafka import TappedLibrdkafka
from ksim.metrics_samples import Tapped
from ksim.metrics_sizes import RequestSizes
from ksim.metrics_windows import Windows
from ksim.plan import ConsumerPlan, ProducerPlan
from ksim_models.consumer import Consumer
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.producer import Producer
from ksim_models.profiles import BrokerProfile

Tap = Tapped | TappedLibrdkafka | TappedConsumer


def tap_consumer(consumer: Consumer, plan: ConsumerPlan) -> TappedConsumer:
    return TappedConsumer(consumer, Windows(overlapping_are_kept=plan.profile.metrics_keep_overlapping_windows))


def tap(producer: Producer | LibrdkafkaProducer, plan: ProducerPlan, brokers: BrokerProfile) -> Tap:
    if isinstance(producer, LibrdkafkaProducer):
        return TappedLibrdkafka(producer)
    sizes = RequestSizes(producer.name, plan.profile.release, brokers.release)
    return Tapped(producer, sizes, Windows(overlapping_are_kept=plan.profile.metrics_keep_overlapping_windows))
