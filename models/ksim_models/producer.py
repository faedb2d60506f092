"""A producer: it takes records from its application, sends them in batches, and tries again until each has an outcome.

Kafka: KafkaProducer, Sender, NetworkClient. One turn of the I/O thread follows each event:
metadata, producer id, ready, drain, expire, send (8.2 of the rule book). Requests and answers have the fields of the newest version:
every release here speaks one that names the log start and single records (S20), and none meets a broker that does not (N13).
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.accumulator import Accumulator
from ksim_models.arrivals import Arrivals
from ksim_models.batch import Batch
from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork, Lost, Request, broker_of, throttle_of
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Sent
from ksim_models.idempotence import Idempotence
from ksim_models.identity import Identity
from ksim_models.machine import Closed, Crashed, Dice, Effect, Event, Note, Opened, Received, Resumed, Wake
from ksim_models.measurements import drained
from ksim_models.messages import (
    ApiVersionsResponse,
    InitProducerIdResponse,
    MetadataRequest,
    MetadataResponse,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
    RecordBatch,
    topic_of,
)
from ksim_models.outcomes import Outcomes
from ksim_models.polling import Poll
from ksim_models.profiles import ClientProfile
from ksim_models.sending import Sending
from ksim_models.transaction_manager import TransactionManager
from ksim_models.transaction_step import TransactionStep
from ksim_models.transactional_application import session_of
from ksim_models.transactional_calls import CallingThread, JavaClient
from ksim_models.transactional_numbers import TransactionalNumbers
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, Micros

CONSTRUCTED_AT: Micros = 0
"""From then on the I/O thread runs: it asks for metadata and for a producer id, whether there is a record or not (S1.4, Metadata.bootstrap)."""
WARM_UP = ""
"""The producer's name on batches of the warm-up, which belong to nobody."""


class Producer:
    def __init__(self, name: str, profile: ClientProfile, config: ProducerConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        self.name = name
        self.profile = profile
        self.config = config
        self.alive = True
        self.network = ClientNetwork(name, config, profile, dice)
        self.metadata = ClientMetadata(name, bootstrap, config, profile, dice)
        self.accumulator = Accumulator(name, config, profile, dice)
        self.sending = Sending(name, config, profile, self.accumulator, self.metadata, workloads, dice)
        self.metadata.last_use = self.sending.last_use
        self.transactions = TransactionManager(config, profile) if config.transactional_id else None
        if self.transactions is not None:
            self.sending.send_in_transactions(self.transactions)
            self.transactions.hurry = self.accumulator.hurry
        self.idempotence = self._numbers()
        self.outcomes = Outcomes(name, config, profile, self.accumulator, self.metadata, self.sending, self.idempotence)
        self.identity = self._identity()
        self.session: CallingThread | None = self._session(self.transactions) if self.transactions is not None else None
        """The application, where it is one that goes from transaction to transaction."""
        self.look_again_at: Micros = NEVER
        """When a queued batch falls due, as of the last turn."""
        self.looked_at: Micros = LONG_AGO
        """When the last turn was."""
        self.waiting_for: tuple[str, ...] = ()
        """Leaders of due batches that could not be sent to at the last turn."""
        self.turns_again = False
        """Something expired while a node was ready: the poll behind such a turn lasts no time (S5), and what stood behind it may go now."""
        self.one_at_a_time = config.max_in_flight_requests_per_connection == 1
        self.arrivals_matter_at: Micros = 0
        """The next moment at which a record makes a difference; before it, an answer need not wait for the records that came meanwhile."""
        self.nothing_times_out_before: Micros = NEVER
        """As of the last event: what was sent since times out later."""
        self.records_sent = 0
        """The total of Kafka's record-send sensor."""
        self.poll = Poll(self.accumulator.linger, self.network.request_timeout)
        self.wake_at: Micros | None = self._next_wake()

    def _session(self, manager: TransactionManager) -> CallingThread | None:
        return session_of(self.sending, JavaClient(manager, self.config.max_block_ms))

    def _numbers(self) -> Idempotence | None:
        profile = self.profile
        if self.transactions is not None:
            return TransactionalNumbers(self.transactions, profile)
        if not self.config.enable_idempotence:
            return None
        return Idempotence(id_mapping_is_fatal=profile.id_mapping_error_is_fatal, tells_epochs_apart=profile.tells_batches_apart_by_epoch)

    def _identity(self) -> Identity | TransactionStep | None:
        parts = self.network, self.metadata, self.outcomes
        if self.transactions is not None:
            assert isinstance(self.idempotence, TransactionalNumbers)
            return TransactionStep(self.name, self.config, self.transactions, self.idempotence, *parts)
        return Identity(self.name, self.config, self.profile, self.idempotence, *parts, self.sending) if self.idempotence is not None else None

    # The clock.

    def _next_wake(self) -> Micros | None:
        """Every moment at which something here may change by itself; asked once, when an event has been dealt with."""
        requests, setups = self.network.deadlines()
        self.nothing_times_out_before = requests if requests < setups else setups
        self.sending.overdue_from = requests
        at = self.arrivals_matter_at = self.sending.wake_at(self.looked_at, self.look_again_at)
        if not self.sending.begun:
            return min(at, CONSTRUCTED_AT, NEVER if self.session is None else self.session.wake_at)
        if self.session is not None and self.session.wake_at < at:
            at = self.session.wake_at
        if self.idempotence is None or self.idempotence.has_id:  # Without a producer id nothing is drained and nothing expires (A41).
            if self.look_again_at < at:
                at = self.look_again_at
            if self.outcomes.nothing_expires_before < at:
                at = self.outcomes.nothing_expires_before
        node = self._wants_a_node_at()
        if node < at:
            at = node
        self.poll.timer_at = node if node < self.look_again_at else self.look_again_at
        if setups < at:
            if self._sleeps_over_setups():
                requests = min(requests, setups)
            else:
                at = setups
        if requests < NEVER:
            noticed = self.poll.ends_at(self.accumulator.newest_at, self.looked_at)
            if noticed < requests:
                noticed = requests
            if noticed < at:
                at = noticed
        return None if at >= NEVER else at

    def _sleeps_over_setups(self) -> bool:
        """N8: before KAFKA-12762 a poll did not end for them, unless metadata was due: then it lasted reconnect.backoff.ms only."""
        if self.profile.setup_time_out_ends_poll or self.poll.is_busy:
            return False
        return self.metadata.due_at > self.looked_at and (self.idempotence is None or self.idempotence.has_id)

    def _wants_a_node_at(self) -> Micros:
        """When a connection may be tried or used again: for metadata that is due, for a producer id, for batches whose leader could not be sent to."""
        metadata, identity, looked_at = self.metadata, self.identity, self.looked_at
        at = metadata.due_at
        if identity is not None and not identity.idempotence.has_id:
            nodes = list(metadata.nodes)
            if looked_at < identity.sleeps_until < at:
                at = identity.sleeps_until
        elif at > looked_at and not self.waiting_for and metadata.tried_since == NEVER:
            return at
        else:
            nodes = []
        if at <= looked_at:
            at = NEVER
            nodes = list(metadata.nodes)
        if metadata.rebootstrap_at < at:
            at = metadata.rebootstrap_at
        nodes += self.waiting_for
        for name in nodes:
            node = self.network.nodes.get(name)
            if node is not None and looked_at < (not_before := node.not_before()) < at:
                at = not_before
        return at

    # Events.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if not self.alive:
            return out
        kind = type(event)
        if kind is Resumed:
            self.sending.resumed(now)
        if now >= CONSTRUCTED_AT or (self.session is not None and self.session.wake_at <= now):
            self.sending.begun = True
        if kind is not Received or self.arrivals_matter_at <= now or self.sending.reactions.wanted:
            self.sending.take(now, out)  # Before an answer whose callback may send a record again.
        poll_ended = kind is not Wake or self.poll.has_ended(self.accumulator.newest_at, now) or self.outcomes.something_expires(now)
        match event:
            case Received():
                if event.connection in self.network.by_connection:
                    self._on_response(event.connection, event.message, now, out)
            case Opened():
                if event.connection in self.network.by_connection:
                    self.network.opened(event.connection, now, out)
            case Closed():
                if event.connection in self.network.by_connection:
                    self._on_lost(self.network.lost(event.connection, now, "closed by the other side", out), now, out)
            case Crashed():
                self.close_books(out)
                self.alive = False
                self.wake_at = None
                return out
        if self.nothing_times_out_before <= now:
            for lost in self.network.time_out(now, out, poll_ended=poll_ended, setups=poll_ended or not self._sleeps_over_setups()):
                self._on_lost(lost, now, out)
        self._turn(now, out)
        if self.transactions is not None or self.session is not None:
            self._turn_again(now, out)
        if poll_ended or self.accumulator.newest_at == now or any(type(effect) is not Note for effect in out):
            self.poll.began_at = now
        self.wake_at = self._next_wake()
        while kind is Wake and self.arrivals_matter_at <= now:
            self.sending.take(now, out)  # A batch got its outcome in this very turn, by acks=0 or by expiry: who waited for it calls send() again at once.
            self._turn(now, out)
            if self.transactions is not None or self.session is not None:
                self._turn_again(now, out)
            self.wake_at = self._next_wake()
        return out

    def _turn_again(self, now: Micros, out: list[Effect]) -> None:
        """What a turn has brought, the application goes on with; what it did, and a partition that a send() brought late in the turn, is for the next turn."""
        step = self.identity
        while (isinstance(step, TransactionStep) and step.wants_a_turn) or (self.session is not None and self.session.step(now, out)):
            self.sending.take(now, out)
            self._turn(now, out)
        if isinstance(step, TransactionStep):
            self.poll.longest = step.backoff if not step.is_free else self.network.request_timeout + MILLISECOND
            if self.poll.began_at + self.poll.longest <= now:  # It sleeps from this turn on.
                self.poll.began_at = now

    def _on_response(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        """Java takes in all that one poll brought before its next turn, metadata first (N3). Here every answer comes alone."""
        match message:
            case ProduceResponse():
                _, request = self.network.answered(connection, now, message.throttle_ms)
                self._on_produced(request, message, now, out)
            case MetadataResponse():
                self.network.answered(connection, now, message.throttle_ms)
                self.metadata.learn(message, now, out)
            case ApiVersionsResponse():
                node, _ = self.network.answered(connection, now, message.throttle_ms)
                self.network.checked(node, out)
                if isinstance(self.identity, TransactionStep):
                    self.identity.checked(message)
            case InitProducerIdResponse():
                self.network.answered(connection, now, message.throttle_ms)
                if self.identity is not None:
                    self.identity.answered(message, now, out)
            case _ if isinstance(self.identity, TransactionStep):
                self.network.answered(connection, now, throttle_of(message))
                self.identity.answered(message, now, out)

    def _on_lost(self, lost: Lost, now: Micros, out: list[Effect]) -> None:
        """Oldest first (N5), with the error of S10; and metadata is asked for (N6)."""
        timed_out = lost.timed_out and self.profile.request_timeout_is_timed_out
        error = ErrorCode.REQUEST_TIMED_OUT if timed_out else ErrorCode.NETWORK_EXCEPTION
        text = f"Disconnected from node {broker_of(lost.node).rpartition('-')[2]}{' due to timeout' if timed_out else ''}"  # Kafka names a node by its id.
        was_due = self.metadata.is_due_still(now)
        self.metadata.request_update()
        asked = False
        for request in lost.requests:
            asked = asked or isinstance(request.message, MetadataRequest)
            for batch in request.batches:
                if not self.outcomes.complete(batch, ProduceResult(batch.partition, error), text, now, out):
                    break
        if asked or (was_due and not self.metadata.asking):
            self.metadata.failed(now)
        if self.identity is not None:
            self.identity.lost(lost.node, now)

    def _on_produced(self, request: Request, response: ProduceResponse, now: Micros, out: list[Effect]) -> None:
        results = {result.partition: result for result in response.results}
        for batch in request.batches:
            result = results[batch.partition]  # A broker answers for every batch of a request.
            if not self.outcomes.complete(batch, result, result.error.meaning, now, out):
                break

    # One turn of the I/O thread.

    def _turn(self, now: Micros, out: list[Effect]) -> None:
        self.looked_at = now
        self.waiting_for = ()
        self.look_again_at = NEVER
        self.poll.is_busy = False
        if not self.sending.begun:
            return
        if self.metadata.due_at <= now or self.metadata.tried_since < NEVER:
            self.metadata.ask_if_due(self.network, self._on_lost, now, out)
        self.turns_again = True
        while self.turns_again:
            self.turns_again = False
            self.accumulator.in_vain.clear()
            has_id = self.identity is None or self.identity.may_go_on(now, out)
            while True:
                offered = self.sending.offered
                if self.sending.blocked:
                    self.sending.take(now, out)  # What a send() waited for may have come: metadata, or memory.
                if has_id:
                    while self._send_what_is_due(now, out):
                        pass
                if not self.sending.blocked or self.sending.offered == offered:
                    break

    def _send_what_is_due(self, now: Micros, out: list[Effect]) -> bool:
        """Ready, drain, expire, send (S5); True if something went and more stands behind it: one batch per partition and request (A31)."""
        if now >= self.outcomes.nothing_expires_before:
            self.sending.take(now, out)  # An open batch expires with all that has come.
        drained: list[tuple[str, list[Batch]]] = []
        nodes, unknown, self.look_again_at = self.accumulator.look(now, self.metadata.leader_of)
        if unknown:
            for partition, queue in self.accumulator.queues.items():
                if queue and not self.metadata.leader_of(partition)[0]:
                    self.metadata.add(topic_of(partition), now)
            self.metadata.request_update()
            self.metadata.ask_if_due(self.network, self._on_lost, now, out)
        taken = more = blocked = False
        for node in nodes:
            drains = self.network.ready(node, now, out)
            self.accumulator.node_looked_at(node, now, drains=drains)
            if drains:
                if not taken:
                    made = self.accumulator.batches_made
                    self.sending.take(now, out)  # An open batch leaves with all that has come.
                    taken = True
                    more = self.accumulator.batches_made > made  # Another partition's first record opened one, which this look did not see.
                led = self.metadata.partitions_led_by(node)
                batches = self.accumulator.drain(node, led, now, self._may_drain)
                more = more or self.accumulator.goes_on_behind
                if batches:
                    drained.append((node, batches))
                    more = more or len(batches) < len(led)
                else:
                    blocked = True
            elif self.network.node(node).not_before() > now:
                self.waiting_for = (*self.waiting_for, node)
        self.poll.is_busy = blocked
        for _, batches in drained:
            for batch in batches:
                self._depart(batch, out)
                self.outcomes.stands_first(self.accumulator.queues[batch.partition])
        if now >= self.outcomes.nothing_expires_before and self.outcomes.expire(now, out):
            self.turns_again = self.turns_again or taken
        for node, batches in drained:
            self._send(node, batches, now, out)
            for batch in batches:
                due = self.accumulator.next_due(batch.partition, now)
                more = more or due <= now
                if due < self.look_again_at:
                    self.look_again_at = due
        return more

    def _may_drain(self, batch: Batch) -> bool:
        return self.idempotence is None or self.idempotence.may_drain(batch)

    def _depart(self, batch: Batch, out: list[Effect]) -> None:
        """The batch leaves the queue: it gets its sequence (A35), its partition is muted where only one may be in flight (A36)."""
        self.outcomes.offer(batch, out)
        if self.idempotence is not None:
            self.idempotence.number(batch)
        self.outcomes.in_flight.setdefault(batch.partition, []).append(batch)
        if self.one_at_a_time:
            self.accumulator.muted[batch.partition] = None

    def _send(self, node: str, batches: list[Batch], now: Micros, out: list[Effect]) -> None:
        """One Produce request per node with all its batches (S5). With acks=0 that is the outcome (S22)."""
        acks = self.config.acks
        broker, connection = broker_of(node), self.network.nodes[node].connection
        assert connection is not None
        on_wire = []
        transactions = self.transactions
        for batch in batches:
            name, records = (self.name, batch.records) if batch.first >= 0 else (WARM_UP, range(batch.count))
            numbers = batch.producer_id, batch.epoch, batch.base_sequence
            size = batch.size_bytes
            on_wire.append(
                RecordBatch(
                    batch.partition,
                    name,
                    records,
                    size,
                    *numbers,
                    max_timestamp=batch.max_timestamp,
                    raw_bytes=batch.raw_bytes,
                    transactional=transactions is not None,
                )
            )
            self.records_sent += batch.count
            if batch.first >= 0:
                out.append(Note(Sent(self.name, batch.partition, records, broker, connection, batch.attempts + 1)))
                if self.outcomes.measured:
                    out.append(Note(drained(batch, node)))
        topic_ids = self.metadata.topic_ids if self.profile.produces_by_topic_id else ()
        whose = () if transactions is None else (transactions.transactional_id, 2 if transactions.is_v2 else 1, transactions.knows_abortable)
        request = ProduceRequest(acks, self.config.request_timeout_ms, tuple(on_wire), topic_ids, *whose)
        self.network.send(node, request, batches, now, out, answered=acks != 0)
        if acks == 0:
            for batch in batches:
                self.outcomes.complete(batch, ProduceResult(batch.partition, ErrorCode.NONE), "", now, out)

    # The end.

    def close_books(self, out: list[Effect]) -> None:
        """The run, or the client's life, is over: what was offered and never left the queue is told."""
        for batch in self.accumulator.waiting():
            self.outcomes.offer(batch, out)
        self.sending.close_books(out)

    @property
    def is_done(self) -> bool:
        """Everything was offered and has an outcome."""
        return not self.alive or (self.sending.is_done and not self.accumulator_holds() and (self.session is None or self.session.is_over))

    def accumulator_holds(self) -> bool:
        return self.outcomes.has_incomplete
