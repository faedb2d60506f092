"""Commit and abort markers: from the coordinator to the leaders of every partition of the transaction, until all have written theirs.

Kafka: TransactionMarkerChannelManager, TransactionMarkerRequestCompletionHandler (TC-50 to TC-59).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ksim_models.coordinated_transaction import State, Transaction
from ksim_models.errors import NONE, ErrorCode
from ksim_models.image import Image
from ksim_models.machine import Effect
from ksim_models.messages import NO_LEADER
from ksim_models.peers import Peers
from ksim_models.profiles import BrokerProfile
from ksim_models.transaction_messages import TxnMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse
from ksim_models.units import Micros

DONE = (NONE, ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, ErrorCode.UNSUPPORTED_VERSION)
AGAIN = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.KAFKA_STORAGE_ERROR,
)
"""TC-52: sent again at once, to whoever leads by then."""
GIVEN_UP = (ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTION_COORDINATOR_FENCED)
"""TC-52: somebody newer has written there. The transaction stays as it is until another coordinator loads it."""


class UnexpectedError(Exception):
    """An IllegalStateException of TransactionMarkerRequestCompletionHandler. NetworkClient writes it into a log; nobody reads what is left of the answer."""


class Ending:
    """A transaction that was decided, and whose markers are on their way."""

    __slots__ = ("coordinator_epoch", "transaction", "transactional_id", "waiting_for", "when_done")

    def __init__(self, transaction: Transaction, coordinator_epoch: int, when_done: Callable[[Micros, list[Effect]], None]) -> None:
        self.transactional_id = transaction.transactional_id
        self.transaction = transaction
        self.coordinator_epoch = coordinator_epoch
        self.waiting_for = dict.fromkeys(transaction.partitions)
        """Partitions without a marker."""
        self.when_done = when_done


class Owner(Protocol):
    """The coordinator, as far as markers ask it."""

    def still_coordinates(self, transactional_id: str, coordinator_epoch: int) -> bool: ...


class TransactionMarkers:
    def __init__(self, profile: BrokerProfile, image: Image, peers: Peers, owner: Owner) -> None:
        self.profile = profile
        self.image = image
        self.peers = peers
        self.owner = owner
        self.endings: dict[str, Ending] = {}
        """By transactional id."""
        self.without_leader: list[tuple[Ending, TxnMarker]] = []
        """Looked at again whenever the metadata changes: Kafka's thread goes round and round meanwhile (TC-50)."""

    def write(
        self, transaction: Transaction, coordinator_epoch: int, when_done: Callable[[Micros, list[Effect]], None], now: Micros, out: list[Effect]
    ) -> None:
        ending = self.endings[transaction.transactional_id] = Ending(transaction, coordinator_epoch, when_done)
        marker = TxnMarker(
            transaction.producer_id,
            transaction.producer_epoch,
            coordinator_epoch,
            transaction.state is State.PREPARE_COMMIT,
            transaction.partitions,
            transaction.client_version,
        )
        self._route([(ending, marker)], now, out)
        self._maybe_done(ending, now, out)

    def metadata_changed(self, now: Micros, out: list[Effect]) -> None:
        if self.without_leader:
            waiting, self.without_leader = self.without_leader, []
            self._route(waiting, now, out)

    def forget(self, is_gone: Callable[[str], bool]) -> None:
        """TC-8. What is on its way gets there all the same; nobody waits for the answer."""
        self.endings = {name: ending for name, ending in self.endings.items() if not is_gone(name)}
        self.without_leader = [(ending, marker) for ending, marker in self.without_leader if not is_gone(ending.transactional_id)]

    def _route(self, markers: list[tuple[Ending, TxnMarker]], now: Micros, out: list[Effect]) -> None:
        """To each leader all that is for it, in one request (TC-59)."""
        by_leader: dict[str, list[tuple[Ending, TxnMarker]]] = {}
        for ending, marker in markers:
            for leader, partitions in self._by_leader(ending, marker).items():
                part = replace(marker, partitions=tuple(partitions))
                if leader == NO_LEADER:
                    self.without_leader.append((ending, part))
                else:
                    by_leader.setdefault(leader, []).append((ending, part))
        for leader, parts in by_leader.items():
            self._send(leader, parts, now, out)

    def _by_leader(self, ending: Ending, marker: TxnMarker) -> dict[str, list[str]]:
        """A partition that was deleted needs no marker (TC-50)."""
        found: dict[str, list[str]] = {}
        for partition in marker.partitions:
            record = self.image.partitions.get(partition)
            if record is None:
                ending.waiting_for.pop(partition, None)
            else:
                leader = record.leader if self.image.is_alive(record.leader) else NO_LEADER
                found.setdefault(leader, []).append(partition)
        return found

    def _send(self, leader: str, parts: list[tuple[Ending, TxnMarker]], now: Micros, out: list[Effect]) -> None:
        def told(response: object | None, now: Micros, out: list[Effect]) -> None:
            self._on_answer(parts, response, now, out)

        self.peers.send(leader, WriteTxnMarkersRequest(tuple(marker for _, marker in parts)), told, now, out)

    def _on_answer(self, parts: list[tuple[Ending, TxnMarker]], response: object | None, now: Micros, out: list[Effect]) -> None:
        assert response is None or isinstance(response, WriteTxnMarkersResponse)
        errors = {(pid, partition): error for pid, partition, error in response.results} if response is not None else None
        again: list[tuple[Ending, TxnMarker]] = []
        for ending, marker in parts:
            if not self.owner.still_coordinates(ending.transactional_id, ending.coordinator_epoch):
                self._cancel(ending)  # TC-53
            elif errors is None:
                again.append((ending, marker))
            else:
                try:
                    retried = self._take(ending, marker, errors)
                except UnexpectedError:
                    break  # The transaction stays as it is until another coordinator loads it, and so do those behind it.
                if retried:
                    again.append((ending, retried))
        self._route(again, now, out)
        for ending, _ in parts:
            self._maybe_done(ending, now, out)

    def _take(self, ending: Ending, marker: TxnMarker, errors: dict[tuple[int, str], ErrorCode]) -> TxnMarker | None:
        """What is to be sent again."""
        retried = []
        for partition in marker.partitions:
            error = errors[marker.producer_id, partition]
            if error in DONE:
                ending.waiting_for.pop(partition, None)
            elif error in AGAIN:
                retried.append(partition)
            elif error in GIVEN_UP:
                self._cancel(ending)
                return None
            else:
                raise UnexpectedError
        return replace(marker, partitions=tuple(retried)) if retried else None

    def _cancel(self, ending: Ending) -> None:
        """Whoever cancels before 3.8 does so by the name (KAFKA-16352): it may be the next coordinator epoch's ending, which then never ends."""
        current = self.endings.get(ending.transactional_id)
        if current is ending or (current is not None and not self.profile.cancels_its_own_markers):
            del self.endings[ending.transactional_id]

    def _maybe_done(self, ending: Ending, now: Micros, out: list[Effect]) -> None:
        if not ending.waiting_for and self.endings.get(ending.transactional_id) is ending:
            del self.endings[ending.transactional_id]
            ending.when_done(now, out)
