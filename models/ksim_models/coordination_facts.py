"""Facts about transactions inside the brokers.

Kafka: TransactionStateManager, ProducerAppendInfo.appendEndTxnMarker.
"""

from __future__ import annotations

from ksim_models.machine import message


@message
class MarkerWritten:
    """A leader appended the end of a producer id's transaction on this partition."""

    broker: str
    partition: str
    producer_id: int
    producer_epoch: int
    committed: bool
    offset: int


@message
class TransactionState:
    """A coordinator's word on a transactional id, written and replicated. `state`: Kafka's name, as "PrepareCommit"."""

    broker: str
    transactional_id: str
    state: str
    producer_id: int
    producer_epoch: int
    partitions: tuple[str, ...]
