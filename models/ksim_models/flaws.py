"""Records with a flaw: the serializer throws, or the record is larger than the others of its workload.

Kafka: Serializer.serialize in KafkaProducer.doSend (A5); ValueSerializationError in confluent-kafka, before librdkafka sees the record.
"""

from __future__ import annotations

from ksim_models.arrivals import Flaw
from ksim_models.facts import Fault
from ksim_models.machine import Note

UNSERIALIZABLE = "unserializable"
UNSERIALIZABLE_TEXT = "This record cannot be serialized."


def struck(flaw: Flaw, producer: str, number: int) -> Note:
    """The record was handed to send()."""
    return Note(Fault(flaw.fault, flaw.do, "hit", (f"{producer}/{number}",), 1))
