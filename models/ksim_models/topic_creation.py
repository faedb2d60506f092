"""Topics that come into being because a client asks for them (auto.create.topics.enable), and names that no topic can have.

Kafka: DefaultAutoTopicCreationManager, ReplicationControlManager.createTopic, Topic.validate (KC-83).
The client is told UNKNOWN_TOPIC_OR_PARTITION meanwhile, and asks again after its backoff: how long that takes is the delay of a creation (A3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ksim_models.facts import PartitionChanged, TopicChanged
from ksim_models.machine import Dice
from ksim_models.messages import CreateTopicsRequest, PartitionRecord, TopicRecord
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE

LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")
CREATED = "created on demand"
INTERNAL_TOPICS = (CONSUMER_OFFSETS, TRANSACTION_STATE)
"""Not for clients to write (Topic.isInternal)."""


def is_legal(topic: str) -> bool:
    return LEGAL.fullmatch(topic) is not None and topic not in (".", "..")


def created(
    topic: str, request: CreateTopicsRequest, living: Sequence[str], dice: Dice, topic_id: int
) -> Iterator[tuple[TopicRecord | PartitionRecord, PartitionChanged | TopicChanged | None]]:
    """Nothing where there are too few brokers (InvalidReplicationFactorException, which only the asking broker hears of).

    topic_id: one that was never used, as a topic of that name may have been deleted.

    Replicas go round the living brokers from one that is drawn. Simplified: StripedReplicaPlacer shuffles them, and shifts the followers from round to round.
    """
    if request.replication > len(living):
        return
    is_internal = topic in INTERNAL_TOPICS  # Of so many partitions nobody wants to hear one by one.
    record = TopicRecord(topic, request.partitions, request.settings, 0 if is_internal else topic_id)  # Nobody deletes those.
    yield record, TopicChanged(topic, 0, "created") if is_internal else None
    start = int(dice.at("placement", topic) * len(living))
    for number in range(request.partitions):
        replicas = tuple(living[(start + number + position) % len(living)] for position in range(request.replication))
        partition = f"{topic}-{number}"
        yield (
            PartitionRecord(partition, replicas, replicas, (), (), replicas[0], 0, 0, False),
            None if is_internal else PartitionChanged(partition, replicas[0], 0, replicas, (), 0, False, CREATED),
        )
