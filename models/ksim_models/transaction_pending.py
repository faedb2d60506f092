"""A transactional request that waits to be sent, or for its answer.

Kafka: TransactionManager.TxnRequestHandler and its kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ksim_models.transaction_states import Priority, Result
from ksim_models.units import Micros

NO_EPOCHS: Mapping[str, int] = {}
"""Of the leaders of committed offsets: none is known."""


@dataclass(slots=True)
class Group:
    """The consumer's place in its group (KIP-447)."""

    name: str
    member: str = ""
    generation: int = -1
    instance: str = ""


class Pending:
    """A request that waits to be sent, or for its answer."""

    __slots__ = ("api", "backoff", "coordinator", "epochs", "group", "is_epoch_bump", "is_retry", "key", "message", "offsets", "priority", "result")

    def __init__(self, api: str, message: object, priority: Priority, result: Result, coordinator: str, key: str, backoff: Micros) -> None:
        self.api = api
        self.message = message
        self.priority = priority
        self.result = result
        self.coordinator = coordinator
        """Who must answer: "transaction", "group", or "": anybody."""
        self.key = key
        """That coordinator's transactional id or group."""
        self.backoff = backoff
        self.is_retry = False
        self.is_epoch_bump = priority is Priority.EPOCH_BUMP
        self.offsets: dict[str, int] = {}
        self.epochs: dict[str, int] = {}
        self.group: Group | None = None
