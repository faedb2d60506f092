"""The part of a broker that coordinates: transactions and groups, each in a topic of its own, and the requests that have to do with them.

Kafka: BrokerServer, KafkaApis.handle, BrokerMetadataPublisher.updateCoordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE, ErrorCode
from ksim_models.group_coordinator import GroupCoordinator, Verified
from ksim_models.image import Image
from ksim_models.internal_topics import Coordinator, InternalTopics
from ksim_models.leading import Leading
from ksim_models.machine import Effect
from ksim_models.marker_writing import MarkerWriting
from ksim_models.messages import NO_PRODUCER_ID, CreateTopicsRequest, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, topic_of
from ksim_models.peers import Peers, Told
from ksim_models.producer_transactions import Checked
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.transaction_cache import LOADING_TAKES, TransactionCache
from ksim_models.transaction_coordinator import TransactionCoordinator
from ksim_models.transaction_markers import TransactionMarkers
from ksim_models.transaction_messages import (
    CONSUMER_OFFSETS,
    TRANSACTION_STATE,
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnBatchRequest,
    AddPartitionsToTxnBatchResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    ConsumerFetchRequest,
    EndTxnRequest,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
)
from ksim_models.units import Micros, ms
from ksim_models.verification import Verifying

Handler = Callable[[str, Any, Micros, list[Effect]], object | None]
"""(connection, request, now, effects): the response, or None where it comes later, through `reply`."""
Results = tuple[tuple[str, ErrorCode], ...]


class Coordination:
    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        image: Image,
        replicas: Mapping[str, Replica],
        leading: Leading,
        ask_for: Callable[[CreateTopicsRequest, list[Effect]], None],
        reply: Callable[[str, object], None],
        name_connection: Callable[[str], str],
        next_producer_id: Callable[[], int],
        booted_at: Micros,
        is_open: Callable[[], bool],
        loading_takes: Micros | None = None,
    ) -> None:
        """reply: (connection, response) for a request that was not answered at once. It is sent after the event at hand.

        is_open: this broker serves (KC-12).
        loading_takes: how long a partition of an internal topic is read before it is coordinated. None: a millisecond for transactions, nothing for groups.
        """
        self.profile = profile
        self.image = image
        self.leading = leading
        self.reply = reply
        self.topics = InternalTopics(config, image, ask_for)
        patience = ms(config.request_timeout_ms)
        self.marker_peers = Peers(broker, patience, name_connection, self._serve_myself, is_open)
        cache = TransactionCache(broker, profile, self.topics, replicas, leading, LOADING_TAKES if loading_takes is None else loading_takes)
        self.verification_peers = Peers(broker, patience, name_connection, self._serve_myself, is_open)
        self.verifying = Verifying(profile, config, image, self.topics, replicas, leading, self.verification_peers)
        self.markers = TransactionMarkers(profile, image, self.marker_peers, cache)
        self.transactions = TransactionCoordinator(profile, config, cache, self.markers, next_producer_id, booted_at)
        self.groups = GroupCoordinator(profile, config, self.topics, leading, self._check_offsets, reply, loading_takes or 0)
        self.marker_writing = MarkerWriting(profile, config, replicas, leading, self.groups)
        self.coordinators: dict[str, Coordinator] = {TRANSACTION_STATE: self.transactions, CONSUMER_OFFSETS: self.groups}
        """By the internal topic whose partitions they follow."""
        self.apis: dict[type, Handler] = {
            FindCoordinatorRequest: self._find_coordinator,
            InitProducerIdRequest: self._init_producer_id,
            AddPartitionsToTxnRequest: self._add_partitions,
            AddPartitionsToTxnBatchRequest: self._add_partitions_of_several,
            AddOffsetsToTxnRequest: self._add_offsets,
            EndTxnRequest: self._end_transaction,
            WriteTxnMarkersRequest: self._write_markers,
            ConsumerFetchRequest: self._fetch,
            ListOffsetsRequest: self._list_offsets,
            OffsetForLeaderEpochRequest: self._end_of_epochs,
            **self.groups.apis,
        }
        """Every kind of request that ends up here."""
        self.peers = self.marker_peers, self.verification_peers
        self.clocks = (self.transactions, self.groups, *self.peers, self.verifying)
        self.in_use = False
        """False on a broker that coordinates nothing: then nobody need ask for `wake_at`."""

    @property
    def wake_at(self) -> Micros:
        at = min(self.transactions.wake_at, self.groups.wake_at)
        if self.verifying.retries:
            at = min(at, self.verifying.wake_at)
        for peers in self.peers:
            if peers.unanswered or peers.to_itself:  # Else nothing is waited for there.
                at = min(at, peers.wake_at)
        return at

    def wake(self, now: Micros, out: list[Effect]) -> None:
        for part in self.clocks:
            part.wake(now, out)

    # What becomes of the partitions of internal topics.

    def led(self, partition: str, leader_epoch: int, now: Micros, out: list[Effect]) -> None:
        if coordinator := self.coordinators.get(topic_of(partition)):
            self.in_use = True
            coordinator.elected(partition, leader_epoch, now, out)

    def isr_changed(self, partition: str, leader_epoch: int, now: Micros, out: list[Effect]) -> None:
        """KAFKA-15468: before 3.8 whatever happened to a partition that it led made the transaction coordinator load it again."""
        if not self.profile.loads_only_when_elected and topic_of(partition) == TRANSACTION_STATE:
            self.transactions.elected(partition, leader_epoch, now, out)

    def led_no_more(self, partition: str, now: Micros, out: list[Effect]) -> None:
        if coordinator := self.coordinators.get(topic_of(partition)):
            coordinator.resigned(partition, now, out)

    def topics_deleted(self, partitions: Container[str], now: Micros, out: list[Effect]) -> None:
        if self.in_use:
            self.groups.topics_deleted(partitions, now, out)

    def metadata_changed(self, now: Micros, out: list[Effect]) -> None:
        if self.in_use:
            self.markers.metadata_changed(now, out)

    @property
    def is_settled(self) -> bool:
        return self.transactions.is_settled

    # Connections to other brokers.

    def opened(self, connection: str, now: Micros, out: list[Effect]) -> None:
        for peers in self.peers:
            if connection in peers.by_connection:
                peers.opened(connection, now, out)

    def received(self, connection: str, response: object, now: Micros, out: list[Effect]) -> None:
        """Or it came behind our own closing."""
        if connection in self.marker_peers.by_connection:
            self.marker_peers.received(connection, response, now, out)
            self.transactions.go_round(now, out)
        elif connection in self.verification_peers.by_connection:
            self.verification_peers.received(connection, response, now, out)

    def closed(self, connection: str, now: Micros, out: list[Effect]) -> None:
        for peers in self.peers:
            if connection in peers.by_connection:
                peers.closed(connection, now, out)

    def _serve_myself(self, request: object, told: Told, now: Micros, out: list[Effect]) -> None:
        name = self.leading.call_itself(told)
        response = self.apis[type(request)](name, request, now, out)
        if response is not None:
            self.reply(name, response)

    # Requests.

    def check(self, connection: str, request: ProduceRequest, now: Micros, out: list[Effect]) -> bool:
        """A transactional producer's: True where its coordinator is asked first, and then the leader carries on."""
        if not self.verifying.concerns(request):
            return False
        self.in_use = True

        def told(checked: Checked, now: Micros, out: list[Effect]) -> None:
            response = self.leading.produce(connection, request, now, out, checked)
            if response is not None:
                self.reply(connection, response)

        self.verifying.check(request, told, now, out)
        return True

    def _check_offsets(self, partition: str, request: TxnOffsetCommitRequest, told: Verified, now: Micros, out: list[Effect]) -> None:
        self.in_use = True
        self.verifying.check_offsets(partition, request, told, now, out)

    def _fetch(self, connection: str, request: ConsumerFetchRequest, now: Micros, out: list[Effect]) -> None:
        self.leading.read().fetch(connection, request, now)

    def _list_offsets(self, connection: str, request: ListOffsetsRequest, now: Micros, out: list[Effect]) -> ListOffsetsResponse:
        return self.leading.read().list_offsets(request)

    def _end_of_epochs(self, connection: str, request: OffsetForLeaderEpochRequest, now: Micros, out: list[Effect]) -> OffsetForLeaderEpochResponse:
        return self.leading.read().end_of_epochs(request)

    def _find_coordinator(self, connection: str, request: FindCoordinatorRequest, now: Micros, out: list[Effect]) -> FindCoordinatorResponse:
        return self.topics.find(request, out)

    def _init_producer_id(self, connection: str, request: InitProducerIdRequest, now: Micros, out: list[Effect]) -> object | None:
        if not request.transactional_id:
            producer_id = self.transactions.next_producer_id()  # TC-20
            if producer_id == NO_PRODUCER_ID:
                return InitProducerIdResponse(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, NO_PRODUCER_ID, -1)
            return InitProducerIdResponse(NONE, producer_id, 0)
        if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == -1):
            return InitProducerIdResponse(ErrorCode.INVALID_REQUEST, NO_PRODUCER_ID, -1)
        self.transactions.init_producer_id(request, lambda response, at, out: self.reply(connection, response), now, out)
        return None

    def _add_partitions(self, connection: str, request: AddPartitionsToTxnRequest, now: Micros, out: list[Effect]) -> None:
        def told(results: Results) -> None:
            self.reply(connection, AddPartitionsToTxnResponse(results))

        self._add_or_verify(request, 1, told, now, out)

    def _add_partitions_of_several(self, connection: str, request: AddPartitionsToTxnBatchRequest, now: Micros, out: list[Effect]) -> None:
        """Answered when all are."""
        answers: dict[str, Results] = {}

        def told(transactional_id: str, results: Results) -> None:
            answers[transactional_id] = results
            if len(answers) == len(request.transactions):
                self.reply(connection, AddPartitionsToTxnBatchResponse(tuple(answers.items())))

        for one in request.transactions:
            self._add_or_verify(one, 2, lambda results, name=one.transactional_id: told(name, results), now, out)  # type: ignore[misc]

    def _add_or_verify(self, request: AddPartitionsToTxnRequest, version: int, told: Callable[[Results], None], now: Micros, out: list[Effect]) -> None:
        """TC-31: a partition that does not exist spoils the whole."""
        if any(partition not in self.image.partitions for partition in request.partitions):
            told(
                tuple(
                    (partition, ErrorCode.OPERATION_NOT_ATTEMPTED if partition in self.image.partitions else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                    for partition in request.partitions
                )
            )
        elif request.verify_only:
            told(self.transactions.verify(request.transactional_id, request.producer_id, request.producer_epoch, request.partitions))
        else:

            def added(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
                told(tuple((partition, error) for partition in request.partitions))

            self.transactions.add_partitions(
                request.transactional_id, request.producer_id, request.producer_epoch, request.partitions, version, added, now, out
            )

    def _add_offsets(self, connection: str, request: AddOffsetsToTxnRequest, now: Micros, out: list[Effect]) -> None:
        """TC-32."""
        partition = self.topics.partition_of(CONSUMER_OFFSETS, request.group)

        def added(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
            self.reply(connection, AddOffsetsToTxnResponse(error))

        self.transactions.add_partitions(request.transactional_id, request.producer_id, request.producer_epoch, (partition,), 1, added, now, out)

    def _end_transaction(self, connection: str, request: EndTxnRequest, now: Micros, out: list[Effect]) -> None:
        self.transactions.end(request, lambda response, at, out: self.reply(connection, response), now, out)

    def _write_markers(self, connection: str, request: WriteTxnMarkersRequest, now: Micros, out: list[Effect]) -> None:
        self.marker_writing.write(request, lambda response, at, out: self.reply(connection, response), now, out)
