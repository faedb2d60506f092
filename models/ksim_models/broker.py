"""A broker: one request of a connection at a time, for the partitions it leads; fetches for those it follows; the controller's word for who does which.

Kafka: SocketServer, KafkaApis, ReplicaManager, BrokerServer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.config import BrokerConfig, topic_config
from ksim_models.errors import ErrorCode
from ksim_models.facts import Became
from ksim_models.following import Following
from ksim_models.image import Image
from ksim_models.isr import Leadership
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.machine import Close, Closed, Crashed, Dice, Effect, Event, Note, Opened, Received, Restarted, Send, Wake
from ksim_models.membership import Membership
from ksim_models.messages import (
    NO_LEADER,
    AlterPartitionItem,
    AlterPartitionResponse,
    AlterPartitionResult,
    ApiVersionsRequest,
    ApiVersionsResponse,
    BrokerHeartbeatResponse,
    BrokerRegistrationResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    FetchRequest,
    FetchResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataFetchResponse,
    MetadataRecord,
    MetadataRequest,
    PartitionRecord,
    ProduceRequest,
)
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.topic_creation import is_legal
from ksim_models.units import MILLISECOND, NEVER, Micros, ms

SERVED_ON_A_CLOSED_CONNECTION = 2
"""Requests a broker still serves of a connection that is gone: the first lost answer goes unnoticed and one more request is read before the second fails.
Measured: of four requests behind a closed connection exactly two more were executed, 12 of 12 runs (BP-3, live facts S1)."""
PRODUCER_IDS_PER_BLOCK = 1000
STAY_PENDING = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.INVALID_UPDATE_VERSION,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.NEW_LEADER_ELECTED,
)
"""Answers to a proposed ISR after which the leader waits for the metadata log (RP-57)."""


class Inbound:
    """A connection somebody opened to this broker (BP-1)."""

    __slots__ = ("active_at", "answers_lost", "busy", "closed", "peer", "queue")

    def __init__(self, peer: str, active_at: Micros) -> None:
        self.peer = peer
        self.active_at = active_at
        """When something last came over it (N10)."""
        self.queue: deque[object] = deque()
        self.busy = False
        self.closed = False
        self.answers_lost = 0


class Broker:
    def __init__(
        self,
        name: str,
        number: int,
        profile: BrokerProfile,
        config: BrokerConfig,
        controller: str,
        dice: Dice,
        *,
        start_at: Micros,
        member: tuple[int, Sequence[MetadataRecord]] | None = None,
    ) -> None:
        """number: from 1, unique. member: the broker's epoch and the committed metadata log, if it belongs to the cluster from the start."""
        self.name = name
        self.number = number
        self.profile = profile
        self.config = config
        self.controller = controller
        self.dice = dice
        self.logs: dict[str, Log] = {}
        """What survives a crash of the process (LR-3)."""
        self.incarnation = 0
        self.connections_made = 0
        self.lag_check_every = ms(config.replica_lag_time_max_ms // 2) or NEVER
        """A period of nothing is no period: KafkaScheduler runs such a task once."""
        self._boot(start_at)
        if member is not None:
            epoch, records = member
            self.membership.already_a_member(epoch, len(records), start_at)
            self.given_records: Sequence[MetadataRecord] = records
        else:
            self.given_records = ()
        self.wake_at: Micros | None = self._next_wake()

    def _boot(self, start_at: Micros) -> None:
        """Everything volatile begins anew."""
        self.running = True
        self.booted_at = start_at
        self.producer_ids_given = 0
        self.image = Image()
        self.creating: dict[str, str] = {}
        """Topics that the controller was asked to create, and on which connection."""
        self.replicas: dict[str, Replica] = {}
        self.inbound: dict[str, Inbound] = {}
        self.unmuted: deque[str] = deque()
        self.leading = Leading(self.name, self.profile, self.config, self.replicas, self.image)
        self.following = Following(self.name, self.profile, self.config, self.replicas, self._name_connection)
        self.membership = Membership(self.name, self.config, self.controller, self._name_connection, self.incarnation, start_at)
        self.isr_check_at = start_at + self.lag_check_every
        self.idle_check_at: Micros = NEVER
        """No connection has been idle for too long before."""

    def _name_connection(self, peer: str) -> str:
        self.connections_made += 1
        return f"{self.name}->{peer}#{self.connections_made}"

    def _next_wake(self) -> Micros | None:
        """Asked once, when an event has been dealt with."""
        if not self.running:
            return None
        leading, following = self.leading, self.following
        at = min(self.isr_check_at, self.membership.wake_at, self.idle_check_at)
        if leading.parked or leading.sessions:  # Else nobody waits for anything here; below the same for who follows nobody.
            at = min(at, leading.wake_at)
        return min(at, following.wake_at) if following.fetchers else at

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        match event:
            case Received():
                inbound = self.inbound.get(event.connection)
                if inbound is None:
                    self._on_response(event.connection, event.message, now, out)
                else:
                    inbound.active_at = now
                    if inbound.busy:
                        inbound.queue.append(event.message)
                    else:
                        self._serve(event.connection, inbound, event.message, now, out)
            case Wake():
                self._on_wake(now, out)
            case Opened():
                self._on_opened(event, now, out)
            case Closed():
                self._on_closed(event.connection, now)
            case Crashed():
                self.running = False
            case Restarted():
                self._on_restarted(now)
        leading = self.leading
        if leading.answers or self.unmuted or leading.proposals:
            self._settle(now, out)
        self.wake_at = self._next_wake()
        return out

    def _on_restarted(self, now: Micros) -> None:
        """The process needs some time until it asks to be registered; its logs are as the crash left them."""
        self.incarnation += 1
        for log in self.logs.values():
            log.come_back_after_a_crash(now)
        self._boot(now + ms(self.profile.start_up_ms))

    def _on_wake(self, now: Micros, out: list[Effect]) -> None:
        if now < self.booted_at:
            return
        if self.given_records:
            self._apply(self.given_records, now, out)
            self.given_records = ()
            out[:] = [effect for effect in out if type(effect) is not Note]  # The cluster was formed before the run: that is no news.
        self.membership.wake(now, out)
        self.following.wake(self.membership.epoch, now, out)
        self.leading.wake(now, out)
        if self.isr_check_at <= now:
            self.leading.check_isr(now)
            self.isr_check_at = now + self.lag_check_every
        if self.idle_check_at <= now:
            self._close_idle(now, out)

    def _close_idle(self, now: Micros, out: list[Effect]) -> None:
        """The broker's own connections.max.idle.ms (N10): whoever sent nothing for longer is cut off."""
        max_idle = ms(self.config.connections_max_idle_ms)
        for connection, inbound in list(self.inbound.items()):
            if not inbound.closed and inbound.active_at + max_idle < now:
                out.append(Close(connection))
                self._on_closed(connection, now)
        active = [inbound.active_at for inbound in self.inbound.values() if not inbound.closed]
        self.idle_check_at = min(active) + max_idle + MILLISECOND if active else NEVER

    def _on_opened(self, event: Opened, now: Micros, out: list[Effect]) -> None:
        if event.accepted and self.membership.was_unfenced:
            self.inbound[event.connection] = Inbound(event.peer, now)
            if self.idle_check_at == NEVER and self.config.connections_max_idle_ms >= 0:
                self.idle_check_at = now + ms(self.config.connections_max_idle_ms) + MILLISECOND
        elif event.accepted:
            out.append(Close(event.connection))  # Refused: a broker opens its port once the controller has unfenced it (BrokerServer.startup, KC-12).
        elif event.connection == self.membership.connection:
            self.membership.opened(now, out)
        elif event.connection in self.following.by_connection:
            self.following.opened(event.connection, self.membership.epoch, now, out)

    def _on_closed(self, connection: str, now: Micros) -> None:
        inbound = self.inbound.get(connection)
        if inbound is not None:
            inbound.closed = True  # The request at hand is finished all the same (BP-3).
            if self.leading.forget(connection) or not inbound.busy:
                del self.inbound[connection]
        elif connection == self.membership.connection:
            self.membership.closed(now)
        else:
            self.following.closed(connection, now)

    # Requests.

    def _serve(self, connection: str, inbound: Inbound, request: object, now: Micros, out: list[Effect]) -> None:
        inbound.busy = True
        match request:
            case ProduceRequest():
                response = self.leading.produce(connection, request, now, out)
                if request.acks == 0:
                    self._finish_unanswered(connection, inbound, any(result.error for result in response.results) if response else False, out)
                elif response is not None:
                    self._answer(connection, response, out)
            case FetchRequest():
                self.leading.fetch(connection, request, now, out)
            case MetadataRequest():
                self._answer(connection, self.image.describe(request.topics), out)
                if self.config.auto_create_topics_enable:
                    self._create_what_is_missing(request.topics, out)
            case ApiVersionsRequest():
                self._answer(connection, ApiVersionsResponse(), out)
            case InitProducerIdRequest():
                self._answer(connection, self._new_producer_id(), out)

    def _create_what_is_missing(self, topics: Sequence[str], out: list[Effect]) -> None:
        """The controller is asked, once for each topic while it has not answered."""
        connection = self.membership.connection
        missing = tuple(topic for topic in topics if topic not in self.image.topics and is_legal(topic) and self.creating.get(topic) != connection)
        if missing and connection is not None and self.membership.open:
            self.creating.update(dict.fromkeys(missing, connection))
            out.append(Send(connection, CreateTopicsRequest(missing, self.config.num_partitions, self.config.default_replication_factor)))

    def _new_producer_id(self) -> InitProducerIdResponse:
        """Simplified: Kafka's brokers ask the controller for blocks of 1000 ids; here each incarnation has a block of its own."""
        block = self.incarnation * 1000 + self.number
        self.producer_ids_given += 1
        return InitProducerIdResponse(ErrorCode.NONE, block * PRODUCER_IDS_PER_BLOCK + self.producer_ids_given - 1, 0)

    def _answer(self, connection: str, response: object, out: list[Effect]) -> None:
        inbound = self.inbound.get(connection)
        if inbound is None:
            return
        if not inbound.closed:
            out.append(Send(connection, response))
            if not inbound.queue:
                inbound.busy = False  # All that `_finish` would do: the next request has not come yet.
                return
        else:
            inbound.answers_lost += 1
        self._finish(connection, inbound)

    def _finish_unanswered(self, connection: str, inbound: Inbound, refused: bool, out: list[Effect]) -> None:
        """acks=0 has no answer; an error shows only as a closed connection (BP-13)."""
        if refused:
            out.append(Close(connection))
            del self.inbound[connection]
        else:
            self._finish(connection, inbound)

    def _finish(self, connection: str, inbound: Inbound) -> None:
        """The request is done: the connection is unmuted (BP-1)."""
        inbound.busy = False
        if inbound.answers_lost >= SERVED_ON_A_CLOSED_CONNECTION:
            inbound.queue.clear()
        if inbound.queue:
            self.unmuted.append(connection)
        elif inbound.closed:
            del self.inbound[connection]

    def _settle(self, now: Micros, out: list[Effect]) -> None:
        """What the event set free: answers, the requests behind them, proposals to the controller. A loop, not recursion: a pipeline may be long."""
        leading = self.leading
        while leading.answers or self.unmuted or leading.proposals:
            if leading.answers:
                answers, leading.answers = leading.answers, []
                for connection, response in answers:
                    self._answer(connection, response, out)
            if self.unmuted:
                connection = self.unmuted.popleft()
                inbound = self.inbound[connection]
                self._serve(connection, inbound, inbound.queue.popleft(), now, out)
            if leading.proposals:
                proposals, leading.proposals = leading.proposals, []
                for replica in proposals:
                    self._propose(replica, now)
                self.membership.wake(now, out)

    # The controller.

    def _propose(self, replica: Replica, now: Micros) -> None:
        """RP-55: with the broker epochs that the followers' own fetches gave (KIP-903)."""
        leadership = replica.leadership
        if leadership is None:
            return
        new_isr = tuple((name, self.membership.epoch if name == self.name else leadership.followers[name].broker_epoch) for name in leadership.proposed_isr())
        item = AlterPartitionItem(replica.partition, leadership.leader_epoch, leadership.partition_epoch, new_isr, False)  # An unclean leader calls itself
        if not self.membership.propose(item, now):  # recovered in the first change it asks for (RP-70).
            leadership.give_up()

    def _on_response(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        match message:
            case FetchResponse():
                self.following.received(connection, message, self.membership.epoch, now, out)
            case _ if connection != self.membership.connection:
                pass  # It came behind our own closing.
            case BrokerHeartbeatResponse():
                self.membership.heartbeat_answered(message, now)
            case MetadataFetchResponse():
                self.membership.metadata_came(message, out)
                self._apply(message.records, now, out)
            case CreateTopicsResponse():
                for topic in message.topics:
                    self.creating.pop(topic, None)
            case AlterPartitionResponse():
                self.membership.altered(message, now)
                for result in message.results:
                    self._on_altered(result, now, out)
                self.membership.wake(now, out)
            case BrokerRegistrationResponse():
                self.membership.registered(message, now, out)

    def _on_altered(self, result: AlterPartitionResult, now: Micros, out: list[Effect]) -> None:
        """RP-57. A late answer to a proposal that the metadata log has overtaken is ignored (RP-58)."""
        replica = self.replicas.get(result.partition)
        if replica is None or replica.leadership is None or not replica.leadership.in_flight:
            return
        if result.error is ErrorCode.NONE:
            if result.leader_epoch == replica.leader_epoch and result.partition_epoch >= replica.partition_epoch:
                self._new_isr(replica, result.isr, result.partition_epoch, result.recovering, now, out)
        elif result.error in (ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.INELIGIBLE_REPLICA):
            replica.leadership.give_up()
        elif result.error not in STAY_PENDING:
            self.leading.proposals.append(replica)

    def _new_isr(self, replica: Replica, isr: tuple[str, ...], partition_epoch: int, recovering: bool, now: Micros, out: list[Effect]) -> None:
        assert replica.leadership is not None
        replica.partition_epoch = partition_epoch
        replica.leadership.settle(isr, partition_epoch, recovering)
        self.leading.watch(replica)
        self.leading.advance(replica, now, out)

    def _apply(self, records: Sequence[MetadataRecord], now: Micros, out: list[Effect]) -> None:
        """First the image, then the roles (RP-73)."""
        for record in self.image.apply(records).values():
            if self.name in record.replicas:
                self._take_role(record, now, out)

    def _take_role(self, record: PartitionRecord, now: Micros, out: list[Effect]) -> None:
        replica = self.replicas.get(record.partition) or self._host(record)
        if not replica.is_news(record):
            return
        new_epoch = record.leader_epoch > replica.leader_epoch
        replica.leader, replica.leader_epoch, replica.partition_epoch = record.leader, record.leader_epoch, record.partition_epoch
        if record.leader == self.name:
            self._lead(replica, record, new_epoch, now, out)
        elif new_epoch:
            self._follow(replica, record, now, out)
        if new_epoch:
            role = "leader" if record.leader == self.name else "follower"
            out.append(Note(Became(self.name, record.partition, role, record.leader_epoch, replica.log.log_end_offset, replica.log.high_watermark)))
            self.leading.tell_followers(record.partition, now)

    def _host(self, record: PartitionRecord) -> Replica:
        topic = self.image.topics[record.partition.rpartition("-")[0]]
        log = self.logs.get(record.partition)
        if log is None:
            log = self.logs[record.partition] = Log(ms(self.config.replica_high_watermark_checkpoint_interval_ms))
        replica = self.replicas[record.partition] = Replica(
            record.partition, log, record.replicas, topic_config(topic.config, self.config), min_isr_capped=self.profile.min_isr_capped_by_replication
        )
        return replica

    def _lead(self, replica: Replica, record: PartitionRecord, new_epoch: bool, now: Micros, out: list[Effect]) -> None:
        """RP-70: the new epoch begins at the log end, the high watermark stays what this replica last knew (RP-26)."""
        log = replica.log
        if not new_epoch and replica.leadership is not None:
            self._new_isr(replica, record.isr, record.partition_epoch, record.recovering, now, out)
            return
        self.following.stop(record.partition)
        log.epochs.assign(record.leader_epoch, log.log_end_offset)  # RP-40
        if replica.leadership is None:
            replica.leadership = Leadership(
                self.name, record.replicas, record.isr, record.leader_epoch, record.partition_epoch, record.recovering, log.log_end_offset, now
            )
        else:
            replica.leadership.lead_again(record.isr, record.leader_epoch, record.partition_epoch, record.recovering, log.log_end_offset, now)
        self.leading.watch(replica)
        self.leading.advance(replica, now, out)

    def _follow(self, replica: Replica, record: PartitionRecord, now: Micros, out: list[Effect]) -> None:
        """RP-72. Nobody to follow while the partition has no leader."""
        replica.leadership = None
        self.leading.abandon(replica)
        if record.leader == NO_LEADER:
            self.following.stop(record.partition)
        else:
            self.following.follow(record.partition, record.leader, self.membership.epoch, now, out)

    # For the simulation's own questions.

    def is_serving(self, kind: type) -> bool:
        """A request of this kind is parked, or stands behind another."""
        return (kind is ProduceRequest and bool(self.leading.parked)) or any(
            type(request) is kind for inbound in self.inbound.values() for request in inbound.queue
        )

    @property
    def settled(self) -> bool:
        """Running, unfenced, nothing asked of the controller."""
        return self.running and not self.membership.fenced and not self.membership.items and not self.membership.asked_items
