"""A producer: it takes records from its application, sends them in batches, and tries again until each has an outcome.

Kafka: KafkaProducer, Sender, NetworkClient. One turn of the I/O thread follows each event:
metadata, producer id, ready, drain, expire, send (8.2 of the rule book).
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.accumulator import Accumulator
from ksim_models.arrivals import Arrivals
from ksim_models.batch import Batch
from ksim_models.client_metadata import LONG_AGO, ClientMetadata
from ksim_models.client_network import ClientNetwork, Lost, Request, broker_of
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Acked, Failed, Offered, ProducerId, Retried, Sent
from ksim_models.idempotence import Idempotence
from ksim_models.machine import Closed, Crashed, Dice, Effect, Event, Note, Opened, Received, Resumed, Wake
from ksim_models.messages import (
    ApiVersionsResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataRequest,
    MetadataResponse,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
    RecordBatch,
)
from ksim_models.polling import Poll
from ksim_models.profiles import ClientProfile
from ksim_models.sending import Sending
from ksim_models.units import NEVER, Micros, ms

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
        self.network = ClientNetwork(name, config, dice)
        self.metadata = ClientMetadata(name, bootstrap, config, profile, dice)
        self.accumulator = Accumulator(name, config, profile, dice)
        self.sending = Sending(name, config, profile, self.accumulator, self.metadata, workloads, dice)
        self.idempotence = Idempotence(id_mapping_is_fatal=profile.id_mapping_error_is_fatal) if config.enable_idempotence else None
        self.in_flight: dict[str, list[Batch]] = {}
        """Per partition, in the order of draining: where expiry looks (A37)."""
        self.look_again_at: Micros = NEVER
        """When a queued batch falls due, as of the last turn."""
        self.looked_at: Micros = LONG_AGO
        """When the last turn was."""
        self.waiting_for: tuple[str, ...] = ()
        """Leaders of due batches that were not connected at the last turn."""
        self.id_asked_at: str | None = None
        self.id_retry_at: Micros = LONG_AGO
        self.one_at_a_time = config.max_in_flight_requests_per_connection == 1
        self.arrivals_matter_at: Micros = 0
        """The next moment at which a record makes a difference; before it, an answer need not wait for the records that came meanwhile."""
        self.nothing_expires_before: Micros = 0
        """A lower bound, so that not every event has to look at every batch."""
        self.nothing_times_out_before: Micros = NEVER
        """As of the last event: what was sent since times out later."""
        self.poll = Poll(self.accumulator.linger, self.network.request_timeout)
        self.wake_at: Micros | None = self._next_wake()

    # The clock.

    def _next_wake(self) -> Micros | None:
        """Every moment at which something here may change by itself; asked once, when an event has been dealt with."""
        requests, setups = self.network.deadlines()
        self.nothing_times_out_before = requests if requests < setups else setups
        self.sending.overdue_from = requests
        at = self.arrivals_matter_at = self.sending.wake_at
        if not self.sending.begun:
            return min(at, CONSTRUCTED_AT)
        if self.idempotence is None or self.idempotence.producer_id >= 0:  # Without a producer id nothing is drained and nothing expires (A41).
            if self.look_again_at < at:
                at = self.look_again_at
            if self.nothing_expires_before < at:
                at = self.nothing_expires_before
        node = self._wants_a_node_at()
        if node < at:
            at = node
        self.poll.timer_at = node if node < self.look_again_at else self.look_again_at
        if setups < at:
            at = setups
        if requests < NEVER:
            noticed = self.poll.ends_at(self.accumulator.newest_at, self.looked_at)
            if noticed < requests:
                noticed = requests
            if noticed < at:
                at = noticed
        return None if at >= NEVER else at

    def _wants_a_node_at(self) -> Micros:
        """When a connection may be tried again for metadata that is due, for a producer id, or for batches whose leader is not connected."""
        at = self.metadata.due_at
        asks_for_id = self.idempotence is not None and self.idempotence.producer_id < 0 and self.id_asked_at is None
        if at > self.looked_at and not asks_for_id and not self.waiting_for:
            return at
        nodes: list[str] = []
        if at <= self.looked_at:
            at = NEVER
            nodes = list(self.metadata.nodes)
        if asks_for_id:
            nodes = list(self.metadata.nodes)
        nodes += self.waiting_for
        for name in nodes:
            node = self.network.node(name)
            if node.connection is None and self.looked_at < node.retry_at < at:
                at = node.retry_at
        if self.looked_at < self.id_retry_at < at:
            at = self.id_retry_at
        return at

    # Events.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if not self.alive:
            return out
        if type(event) is Resumed:
            self.sending.resumed(now)
        if now >= CONSTRUCTED_AT:
            self.sending.begun = True
        if type(event) is not Received or self.arrivals_matter_at <= now:
            self.sending.take(now, out)
        poll_ended = type(event) is not Wake or self.poll.has_ended(self.accumulator.newest_at, now)
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
            case _:
                pass
        if self.nothing_times_out_before <= now:
            for lost in self.network.time_out(now, out, poll_ended=poll_ended):
                self._on_lost(lost, now, out)
        self._turn(now, out)
        if poll_ended or self.accumulator.newest_at == now or any(type(effect) is not Note for effect in out):
            self.poll.began_at = now
        self.wake_at = self._next_wake()
        while type(event) is Wake and self.arrivals_matter_at <= now:
            self.sending.take(now, out)  # A batch got its outcome in this very turn, by acks=0 or by expiry: who waited for it calls send() again at once.
            self._turn(now, out)
            self.wake_at = self._next_wake()
        return out

    def _on_response(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        node, request = self.network.answered(connection)
        match message:
            case ProduceResponse():
                self._on_produced(node, request, message, now, out)
            case MetadataResponse():
                self.metadata.learn(message, now, out)
            case ApiVersionsResponse():
                self.network.checked(node, out)
            case InitProducerIdResponse():
                self._on_producer_id(message, now, out)

    def _on_lost(self, lost: Lost, now: Micros, out: list[Effect]) -> None:
        """Oldest first (N5); and metadata is asked for (N6)."""
        error = ErrorCode.REQUEST_TIMED_OUT if lost.timed_out and self.profile.request_timeout_is_timed_out else ErrorCode.NETWORK_EXCEPTION
        text = f"Disconnected from node {broker_of(lost.node)} due to timeout" if error is ErrorCode.REQUEST_TIMED_OUT else error.meaning
        was_due = self.metadata.due_at <= now
        self.metadata.request_update()
        asked = False
        for request in lost.requests:
            if isinstance(request.message, MetadataRequest):
                asked = True
            elif isinstance(request.message, InitProducerIdRequest):
                self.id_asked_at = None
            for batch in request.batches:
                self._complete(batch, ProduceResult(batch.partition, error), text, now, out)
        if asked or (was_due and not self.metadata.asking):
            self.metadata.failed(now)
        if self.id_asked_at == lost.node:
            self.id_asked_at = None

    def _on_producer_id(self, response: InitProducerIdResponse, now: Micros, out: list[Effect]) -> None:
        """I1. Errors that are not retriable are fatal for the producer, but for authorization since 3.6."""
        self.id_asked_at = None
        error = response.error
        idempotence = self.idempotence
        if idempotence is None or idempotence.has_id:
            return
        if not error:
            idempotence.given(response.producer_id, response.producer_epoch)
            out.append(Note(ProducerId(self.name, response.producer_id, response.producer_epoch, "InitProducerId")))
        elif error.retriable:
            self.id_retry_at = now + ms(self.config.retry_backoff_ms)
        elif error not in (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED):
            idempotence.fatal = "ProducerFencedException" if error in (ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_PRODUCER_EPOCH) else "KafkaException"
            idempotence.fatal_text = f"Unexpected error in InitProducerIdResponse; {error.meaning}"
        elif self.profile.authorization_errors_end_no_producer:
            self._abort_all(error.exception, error.meaning, now, out)
        else:
            idempotence.fatal, idempotence.fatal_text = error.exception, error.meaning

    def _on_produced(self, node: str, request: Request, response: ProduceResponse, now: Micros, out: list[Effect]) -> None:
        results = {result.partition: result for result in response.results}
        for batch in request.batches:
            result = results.get(batch.partition) or ProduceResult(batch.partition, ErrorCode.UNKNOWN_SERVER_ERROR)
            self._complete(batch, result, result.error.meaning, now, out)

    # Outcomes (S11 to S15).

    def _complete(self, batch: Batch, result: ProduceResult, text: str, now: Micros, out: list[Effect]) -> None:
        waiting = self.in_flight.get(batch.partition)
        if waiting and batch in waiting:
            waiting.remove(batch)
        error = result.error
        if not error or (error is ErrorCode.DUPLICATE_SEQUENCE_NUMBER and not self._may_retry(batch, result, now)):
            self._succeed(batch, result.base_offset, now, out)
        elif self._may_retry(batch, result, now):
            self.accumulator.put_back(batch, now)
            self._tell(batch, out, Retried(self.name, batch.partition, batch.records, error.name, batch.attempts, batch.retry_at - now))
        else:
            self._fail(batch, error, error.exception, text, now, out, adjust=batch.attempts < self.config.retries)
        if error.invalid_metadata:
            self.metadata.request_update()
            if error in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH) and self.profile.leader_hint_in_produce:
                self.metadata.take_hint(batch.partition, result.leader, result.leader_epoch, out)
        self.accumulator.muted.pop(batch.partition, None)

    def _may_retry(self, batch: Batch, result: ProduceResult, now: Micros) -> bool:
        """S12."""
        if batch.done or batch.attempts >= self.config.retries or now - batch.created_at >= self.accumulator.delivery_timeout:
            return False
        if self.idempotence is not None:
            return self.idempotence.may_retry(batch, result.error, result.log_start_offset)
        return result.error.retriable

    def _succeed(self, batch: Batch, base_offset: int, now: Micros, out: list[Effect]) -> None:
        if self.idempotence is not None:
            self.idempotence.succeeded(batch, base_offset)
        if not batch.done:
            self._tell(batch, out, Acked(self.name, batch.partition, batch.records, base_offset))
        self._finish(batch, now, answered=True)

    def _fail(self, batch: Batch, error: ErrorCode, exception: str, text: str, now: Micros, out: list[Effect], *, adjust: bool, answered: bool = True) -> None:
        """S13: the first final state wins; a late answer only returns the memory (S15, A24)."""
        if not batch.done:
            self._offer(batch, out)
            self._tell(batch, out, Failed(self.name, batch.partition, batch.records, exception, text))
            if self.idempotence is not None:
                self.idempotence.failed(batch, error, adjust=adjust)
        self._finish(batch, now, answered=answered)

    def _finish(self, batch: Batch, now: Micros, *, answered: bool) -> None:
        if answered or not self.profile.memory_kept_until_answer:
            self.accumulator.release(batch)
            batch.capacity = 0
        if not batch.done:
            batch.done = True
            self.sending.finished(batch, now)

    def _offer(self, batch: Batch, out: list[Effect]) -> None:
        """The history learns of the records when their batch leaves the queue for the first time.

        That is one fact per batch, however often the client woke meanwhile.
        """
        if not batch.drained:
            batch.drained = True
            step = batch.offer_step if batch.count > 1 and not batch.offer_times else 0
            self._tell(batch, out, Offered(self.name, batch.records, batch.offer_at, step, tuple(batch.offer_times or ())))

    def _tell(self, batch: Batch, out: list[Effect], fact: object) -> None:
        """The warm-up is no part of the history."""
        if batch.first >= 0:
            out.append(Note(fact))

    # One turn of the I/O thread.

    def _turn(self, now: Micros, out: list[Effect]) -> None:
        self.looked_at = now
        self.waiting_for = ()
        self.look_again_at = NEVER
        if not self.sending.begun:
            return
        self._maybe_update_metadata(now, out)
        has_id = self.idempotence is None or self._has_producer_id(self.idempotence, now, out)
        while True:
            offered = self.sending.offered
            if self.sending.blocked:
                self.sending.take(now, out)  # What a send() waited for may have come: metadata, or memory.
            if has_id:
                while self._send_what_is_due(now, out):
                    pass
            if not self.sending.blocked or self.sending.offered == offered:
                return

    def _send_what_is_due(self, now: Micros, out: list[Effect]) -> bool:
        """Ready, drain, expire, send (S5); True if something went and more stands behind it: one batch per partition and request (A31)."""
        if now >= self.nothing_expires_before:
            self.sending.take(now, out)  # An open batch expires with all that has come.
        drained: list[tuple[str, list[Batch]]] = []
        nodes, unknown, self.look_again_at = self.accumulator.look(now, self.metadata.leader_of)
        if unknown:
            self.metadata.request_update()
            self._maybe_update_metadata(now, out)
        taken = more = False
        for node in nodes:
            if self.network.ready(node, now, out):
                if not taken:
                    self.sending.take(now, out)  # An open batch leaves with all that has come.
                    taken = True
                led = self.metadata.partitions_led_by(node)
                batches = self.accumulator.drain(node, led, now, self._may_drain)
                if batches:
                    drained.append((node, batches))
                    more = more or len(batches) < len(led)
            elif self.network.node(node).connection is None:
                self.waiting_for = (*self.waiting_for, node)
        for _, batches in drained:
            for batch in batches:
                self._depart(batch, out)
        self._expire(now, out)
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

    def _maybe_update_metadata(self, now: Micros, out: list[Effect]) -> None:
        if self.metadata.due_at > now:
            return
        node = self.network.least_loaded(self.metadata.nodes, now)
        if node is not None and self.network.ready(node, now, out):
            self.network.send(node, MetadataRequest(self.metadata.asked()), (), now, out)

    def _has_producer_id(self, idempotence: Idempotence, now: Micros, out: list[Effect]) -> bool:
        """S1, I1, I11, I12. Without an id nothing is drained and nothing expires (A41)."""
        if idempotence.fatal:
            self._abort_all(idempotence.fatal, idempotence.fatal_text, now, out)
            self.sending.in_error_state = idempotence.fatal if self.profile.send_refuses_after_fatal_error else ""
            return False
        if idempotence.unresolved:
            idempotence.resolve()
        if idempotence.to_bump and idempotence.has_id:
            idempotence.bump(lambda batch: batch in self.in_flight.get(batch.partition, ()))
            if idempotence.has_id:
                out.append(Note(ProducerId(self.name, idempotence.producer_id, idempotence.epoch, "epoch bump")))
        if idempotence.has_id:
            return True
        if self.id_asked_at is None and self.id_retry_at <= now:
            node = self.network.least_loaded(self.metadata.nodes, now)
            if node is not None and self.network.ready(node, now, out):
                self.network.send(node, InitProducerIdRequest(), (), now, out)
                self.id_asked_at = node
        return False

    def _abort_all(self, exception: str, text: str, now: Micros, out: list[Effect]) -> None:
        """S1.2: in a fatal state every incomplete batch fails with the error that caused it."""
        for batch in [*self.accumulator.waiting(), *(batch for batches in self.in_flight.values() for batch in batches)]:
            if not batch.done:
                self._fail(batch, ErrorCode.UNKNOWN_SERVER_ERROR, exception, text, now, out, adjust=False, answered=False)
        for queue in self.accumulator.queues.values():
            queue.clear()

    def _depart(self, batch: Batch, out: list[Effect]) -> None:
        """The batch leaves the queue: it gets its sequence (A35), its partition is muted where only one may be in flight (A36)."""
        self._offer(batch, out)
        if self.idempotence is not None:
            self.idempotence.number(batch)
        self.in_flight.setdefault(batch.partition, []).append(batch)
        if self.one_at_a_time:
            self.accumulator.muted[batch.partition] = None

    def _expire(self, now: Micros, out: list[Effect]) -> None:
        """A37 to A40: after the drain and before the sending, so that a batch may be failed and sent all the same (A38)."""
        if now < self.nothing_expires_before:
            return
        queued = self.accumulator.take_expired(now)
        flying: list[Batch] = []
        for waiting in self.in_flight.values():
            while waiting and now - waiting[0].created_at >= self.accumulator.delivery_timeout:
                flying.append(waiting.pop(0))
        for batch in (*queued, *flying):
            age_ms = (now - batch.created_at) // 1000
            text = f"Expiring {batch.count} record(s) for {batch.partition}:{age_ms} ms has passed since batch creation"
            if self.profile.expired_text_says_not_sent:
                text += ". The request has not been sent, or no server response has been received yet."
            if self.idempotence is not None:
                self.idempotence.expired(batch)
            self._fail(batch, ErrorCode.REQUEST_TIMED_OUT, "TimeoutException", text, now, out, adjust=False, answered=batch in queued)
        self.nothing_expires_before = min(self.accumulator.next_expiry(self.in_flight), now + max(1, self.accumulator.delivery_timeout))

    def _send(self, node: str, batches: list[Batch], now: Micros, out: list[Effect]) -> None:
        """One Produce request per node with all its batches (S5). With acks=0 that is the outcome (S22)."""
        acks = self.config.acks
        broker, connection = broker_of(node), self.network.nodes[node].connection
        assert connection is not None
        on_wire = []
        for batch in batches:
            name, records = (self.name, batch.records) if batch.first >= 0 else (WARM_UP, range(batch.count))
            on_wire.append(RecordBatch(batch.partition, name, records, batch.size_bytes, batch.producer_id, batch.epoch, batch.base_sequence))
            self._tell(batch, out, Sent(self.name, batch.partition, records, broker, connection, batch.attempts + 1))
        topic_ids = self.metadata.topic_ids if self.profile.produces_by_topic_id else ()
        self.network.send(node, ProduceRequest(acks, self.config.request_timeout_ms, tuple(on_wire), topic_ids), batches, now, out, answered=acks != 0)
        if acks == 0:
            for batch in batches:
                self._complete(batch, ProduceResult(batch.partition, ErrorCode.NONE), "", now, out)

    # The end.

    def close_books(self, out: list[Effect]) -> None:
        """The run, or the client's life, is over: what was offered and never left the queue is told."""
        for batch in self.accumulator.waiting():
            self._offer(batch, out)
        self.sending.close_books(out)

    @property
    def is_done(self) -> bool:
        """Everything was offered and has an outcome."""
        return not self.alive or (self.sending.is_done and not self.accumulator_holds())

    def accumulator_holds(self) -> bool:
        return any(self.accumulator.queues.values()) or any(self.in_flight.values())
