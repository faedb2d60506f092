"""The topics in which coordinators keep what they know, with their replicas where a simulation of the same plan has them.

Kafka creates them when a client first asks for a coordinator, and places them by chance: then another broker would coordinate than in the simulation.
"""

from __future__ import annotations

from collections.abc import Iterator

from ksim.dice import Dice
from ksim.live.ask import NewTopic
from ksim.plan import Plan
from ksim_models.internal_topics import request_of
from ksim_models.messages import PartitionRecord
from ksim_models.topic_creation import created
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE

KEPT_BY_KEY = ("cleanup.policy", "compact"), ("compression.type", "uncompressed")


def internal_topics(plan: Plan, dice: Dice) -> list[NewTopic]:
    """Those that this plan needs."""
    brokers = [broker.name for broker in plan.brokers]
    needed = [TRANSACTION_STATE] if any(producer.config.transactional_id for producer in plan.producers) else []
    needed += [CONSUMER_OFFSETS] if any(consumer.config.group_id for consumer in plan.consumers) else []
    found = []
    for topic in needed:
        request = request_of(topic, plan.brokers[0].config)
        assignment = tuple(_replicas(topic, brokers, dice, plan))
        settings = [setting for setting in request.settings if not setting[0].startswith("retention.")]
        if assignment:  # Else there are too few brokers for it, and no client finds a coordinator.
            found.append(NewTopic(topic, assignment, (*settings, *KEPT_BY_KEY)))
    return found


def _replicas(topic: str, brokers: list[str], dice: Dice, plan: Plan) -> Iterator[tuple[str, ...]]:
    for record, _ in created(topic, request_of(topic, plan.brokers[0].config), brokers, dice, 0):
        if isinstance(record, PartitionRecord):
            yield record.replicas
