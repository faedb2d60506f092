"""A producer of librdkafka: a queue per partition, a thread per broker, a main thread that knows the topics.

Kafka: librdkafka's rdkafka_broker.c, rdkafka_request.c, rdkafka_partition.c, rdkafka_idempotence.c (section 7 of the client's rule book, L1 to L12).
All its threads are one machine here: what one thread wakes another for happens at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.errors import ErrorCode
from ksim_models.facts import ProducerId
from ksim_models.librdkafka_answers import Answers
from ksim_models.librdkafka_broker_thread import BrokerThread, Request, State
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_connections import Connections
from ksim_models.librdkafka_errors import (
    MSG_TIMED_OUT,
    RETRY,
    UNKNOWN_PARTITION,
    name_of,
)
from ksim_models.librdkafka_idempotence import LibrdkafkaIdempotence
from ksim_models.librdkafka_main_thread import MainThread
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.librdkafka_queue import MOST_IN_FLIGHT_PER_PARTITION, MessageBatch, PartitionQueue
from ksim_models.librdkafka_reports import Reports
from ksim_models.librdkafka_sending import LibrdkafkaSending
from ksim_models.machine import Crashed, Dice, Effect, Event, Note, Received, Resumed
from ksim_models.messages import (
    NO_LEADER,
    ApiVersionsResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataResponse,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
)
from ksim_models.units import MILLISECOND, NEVER, Micros

PRODUCED_ANYWAY: Micros = 100 * MILLISECOND
"""What a request may take whose first message has run out of time."""


class LibrdkafkaProducer(Connections):
    def __init__(self, name: str, config: LibrdkafkaConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        self.name = name
        self.config = config
        self.max_fails = config.socket_max_fails
        self.dice = dice
        self.alive = True
        begins = (workload.transaction.begins_at for workload in workloads if workload.transaction is not None)
        self._be_born(min([0, *begins, *(workload.time_of(0) for workload in workloads if workload.total)]), bootstrap, workloads)

    def _be_born(self, now: Micros, bootstrap: Sequence[str], workloads: Sequence[Arrivals]) -> None:
        name, config, dice = self.name, self.config, self.dice
        self.born_at = now
        self.brokers = Brokers(name, config, bootstrap, dice, self.born_at)
        self.metadata = LibrdkafkaMetadata(name, config, dice, self.born_at)
        self.sending = LibrdkafkaSending(name, config, workloads, dice, self.metadata.want)
        self.sending.is_up = self.brokers.is_up
        self.reports = Reports(name, self.sending)
        self.idempotence = LibrdkafkaIdempotence(self.born_at) if config.enable_idempotence else None
        self.queues: dict[str, PartitionQueue] = {}
        self.answers = Answers(name, config, self.brokers, self.queues, self.metadata, self.sending, self.reports, self.idempotence, dice)
        self.main_thread = MainThread(self.born_at, self.brokers, self.queues, self.metadata, self.sending, self.reports, self.idempotence)
        self.arrivals_matter_at: Micros = 0
        self.began = False
        self.now: Micros = 0
        """When the last event was."""
        self.wake_at: Micros | None = self.born_at

    # The clock.

    def _next_wake(self) -> Micros | None:
        """Every moment at which something here may change by itself; asked once, when an event has been dealt with."""
        self.arrivals_matter_at = self.sending.wake_at
        at = min(self.arrivals_matter_at, self.main_thread.wake_at)
        for thread in self.brokers:
            at = min(at, self._thread_wakes_at(thread))
        for queue in self.queues.values():
            if not queue.broker and queue.messages and queue.messages[0].timeout_at < at:
                at = queue.messages[0].timeout_at
        return None if at >= NEVER else at

    def _thread_wakes_at(self, thread: BrokerThread) -> Micros:
        at = min(thread.connect_at, thread.setup_ends_at, thread.look_at(thread.next_deadline))
        for queue in thread.queues:
            if queue.messages:
                expires = thread.look_at(queue.messages[0].timeout_at)
                if expires < at:
                    at = expires
                if thread.is_up and self._may_send(thread, queue):
                    due = queue.ready_at(self.now)
                    if due < at:
                        at = due
        return at

    # Events.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if not self.alive or (now < self.born_at and type(event) is not Crashed):
            return out
        self.now = now
        if not self.began:
            self.began = True
            self.brokers.connect_any(now)  # To one of the bootstrap servers.
        if type(event) is Resumed:
            self.sending.resumed(now)
        if type(event) is not Received or self.arrivals_matter_at <= now:
            self.sending.take(now, out)
        if type(event) is Crashed:
            self.close_books(out)
            self.alive = False
            self.wake_at = None
            return out
        self._hear(event, now, out)
        while self._look_at_the_clock(now, out) or self._work(now, out) or self._go_on(now, out) or self.sending.take(now, out):
            pass  # An outcome may have let the application go on.
        self.main_thread.settle(now)
        self.wake_at = self._next_wake()
        return out

    def _go_on(self, now: Micros, out: list[Effect]) -> bool:
        """True if the application has done something beside its send()s."""
        return False

    def _on_response(self, thread: BrokerThread, message: object, now: Micros, out: list[Effect]) -> None:
        request = thread.answered()
        if request.given_up:
            return
        match message:
            case ProduceResponse():
                assert request.batch is not None
                self._on_produced(thread, request, request.batch, message, now, out)
            case MetadataResponse():
                self._on_metadata(message, now, out)
            case ApiVersionsResponse():
                self._on_up(thread, now, out)
            case InitProducerIdResponse():
                self._on_producer_id(message, now, out)
            case _:
                self._on_other(thread, request, message, now, out)

    def _on_other(self, thread: BrokerThread, request: Request, message: object, now: Micros, out: list[Effect]) -> None: ...

    # What falls due.

    def _look_at_the_clock(self, now: Micros, out: list[Effect]) -> bool:
        """True if something was due: then look again, for it may have made other things due."""
        seen = False
        for thread in self.brokers:
            seen = self._look_at_connection(thread, now, out) or seen
            for queue in thread.queues:
                if queue.messages and thread.look_at(queue.messages[0].timeout_at) <= now:
                    seen = True
                    self._expire(queue, now, out)
            if thread.connect_at <= now:
                seen = True
                self.brokers.connect(thread, now, out)
        for queue in self.queues.values():
            if not queue.broker and queue.messages and queue.messages[0].timeout_at <= now:
                seen = True
                self._expire(queue, now, out)
        return self.main_thread.look_at_the_clock(now, out) or seen

    def _expire(self, queue: PartitionQueue, now: Micros, out: list[Effect]) -> None:
        """message.timeout.ms. With sequence numbers a gap would follow, so the epoch is raised once all is drained."""
        self.reports.failed(queue.partition, queue.take_expired(now), MSG_TIMED_OUT, now, out)
        if self.idempotence is not None and queue.broker and self.idempotence.is_assigned:
            self.answers.drain_and_bump(self.idempotence, now, out)

    # Requests.

    def _give_up(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        if request.batch is not None:
            self.answers.failed(request, request.batch, error, -1, now, out)
        elif isinstance(request.message, InitProducerIdRequest) and self.idempotence is not None:
            self.idempotence.not_given(now)
        else:
            super()._give_up(request, error, now, out)

    def _await(self, thread: BrokerThread, request: Request, now: Micros, out: list[Effect]) -> None:
        if request.batch is None or self.config.acks != 0:
            super()._await(thread, request, now, out)
        else:
            self.answers.succeeded(request.batch, -1, now, out)

    # Metadata.

    def _on_metadata(self, response: MetadataResponse, now: Micros, out: list[Effect]) -> None:
        """Brokers first: those that are named no longer are given up, the bootstrap addresses among them, with whatever was on the way."""
        gone = self.brokers.learn(response.brokers, now)
        settled = self.metadata.learn(response, now, out)
        for thread in gone:
            self._decommission(thread, now, out)
        for topic in response.topics:
            for partition in topic.partitions:
                self._delegate(partition.partition, now, out)
        for name in settled:
            self._settle_topic(name, now, out)
        if self.idempotence is not None and self.idempotence.wants_an_id:
            self._ask_for_producer_id(self.idempotence, now, out)

    def _ask_for_producer_id(self, idempotence: LibrdkafkaIdempotence, now: Micros, out: list[Effect]) -> None:
        self.main_thread.ask_for_producer_id(idempotence, now)

    def _decommission(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        for queue in list(thread.queues):
            self._move(queue, None, now, out)
        super()._decommission(thread, now, out)

    def _settle_topic(self, name: str, now: Micros, out: list[Effect]) -> None:
        """Known now, or missing for good: what was produced to it meanwhile gets its partition, or fails."""
        topic = self.sending.topics.get(name)
        if topic is None:
            return
        topic.missing = name in self.metadata.missing
        topic.partitions = [self.queues[partition] for partition in self.metadata.topics.get(name, ())]
        failed = self.sending.assign(topic, now)
        error = name_of(self.metadata.missing[name]) if topic.missing else UNKNOWN_PARTITION  # Who waited hears the broker's error (rd_kafka_topic_assign_uas).
        self.reports.failed_unassigned(name, failed, error, now, out)

    def _delegate(self, partition: str, now: Micros, out: list[Effect]) -> None:
        """A partition is served by the thread of its leader."""
        queue = self.queues.get(partition)
        if queue is None:
            queue = self.queues[partition] = PartitionQueue(partition, self.config)
        leader, _ = self.metadata.leader_of(partition)
        thread = self.brokers.get(leader) if leader != NO_LEADER else None
        if (thread.name if thread is not None else "") != queue.broker:
            self._move(queue, thread, now, out)

    def _move(self, queue: PartitionQueue, thread: BrokerThread | None, now: Micros, out: list[Effect]) -> None:
        """What was made for the old leader and not sent comes back; with idempotence the new one gets nothing before the old one has answered (L5)."""
        old = self.brokers.get(queue.broker)
        if old is not None:
            self._take_back(old, queue, now, out)
            old.queues.remove(queue)
            old.next_queue = 0
        queue.broker = thread.name if thread is not None else ""
        if thread is not None:
            thread.queues.append(queue)
        queue.draining = self.idempotence is not None

    def _take_back(self, thread: BrokerThread, queue: PartitionQueue, now: Micros, out: list[Effect]) -> bool:
        purged = thread.purge(queue)
        for request in purged:
            assert request.batch is not None
            self.answers.failed(request, request.batch, RETRY, -1, now, out)
        return bool(purged)

    # Sending.

    def _may_send(self, thread: BrokerThread, queue: PartitionQueue) -> bool:
        if thread.room <= 0 or self.sending.fatal:
            return False
        idempotence = self.idempotence
        if idempotence is None:
            return True
        if not idempotence.is_assigned or queue.in_flight >= MOST_IN_FLIGHT_PER_PARTITION:
            return False
        return not queue.in_flight or not (queue.draining or idempotence.is_stale(queue))

    def _work(self, now: Micros, out: list[Effect]) -> bool:
        """One pass of every broker's thread; True if something moved, for then another pass follows."""
        moved = False
        for thread in self.brokers:
            moved = self._serve(thread, now, out) or moved
        return moved

    def _serve(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> bool:
        """rd_kafka_broker_produce_toppars, then rd_kafka_send: a request for one partition at a time, round robin."""
        moved = False
        wanted = bool(thread.out)
        count = len(thread.queues)
        for step in range(count):
            index = (thread.next_queue + step) % count
            queue = thread.queues[index]
            if self.idempotence is not None and self.idempotence.is_assigned and self._must_drain(self.idempotence, thread, queue):
                moved = self._take_back(thread, queue, now, out) or moved
            if not queue.messages or not self._may_send(thread, queue):
                continue
            if not thread.is_up:
                wanted = True
            elif queue.ready_at(now) <= now and self._make_requests(thread, queue, now, out):
                thread.next_queue = (index + 1) % count
                moved = True
                break
        if wanted and thread.state is State.INIT and not self.sending.fatal:
            thread.try_connect(now)
            return True
        while thread.can_send:
            request = thread.out.popleft()
            if request.batch is not None:
                self.reports.sent(thread, request.batch, out)
            self._transmit(thread, request, now, out)
            moved = True
        return moved

    def _must_drain(self, idempotence: LibrdkafkaIdempotence, thread: BrokerThread, queue: PartitionQueue) -> bool:
        return bool(queue.in_flight) and (queue.draining or idempotence.is_stale(queue))

    def _make_requests(self, thread: BrokerThread, queue: PartitionQueue, now: Micros, out: list[Effect]) -> bool:
        """One partition's batch each (rd_kafka_ProduceRequest)."""
        self.sending.take(now, out)  # A batch leaves with all that has come.
        idempotence = self.idempotence
        most = thread.room
        if idempotence is not None:
            queue.draining = False
            most = min(most, MOST_IN_FLIGHT_PER_PARTITION - queue.in_flight)
            if idempotence.is_stale(queue):
                queue.begin_epoch(idempotence.producer_id, idempotence.epoch)
        in_transaction = ((), self.config.transactional_id, 1, False) if self.config.transactional_id else ()  # L9: Produce v10, to whatever broker.
        made = 0
        while made < most and queue.messages:
            batch = queue.take_batch(now)
            if batch is None:
                break
            if self.config.compression_type != "none":
                batch.compress(self.dice.at("compression", self.name, queue.partition, batch.messages[0].id))
            if idempotence is not None:
                queue.number(batch)
            made += 1
            self.reports.offered(batch.messages, out)
            queue.in_flight += len(batch.messages)
            until = max(batch.messages[0].timeout_at, now + PRODUCED_ANYWAY) if batch.messages[0].timeout_at <= now else batch.messages[0].timeout_at
            on_wire = batch.on_wire(self.name, transactional=bool(in_transaction))
            message = ProduceRequest(self.config.acks, self.config.request_timeout_ms, (on_wire,), *in_transaction)
            thread.enqueue(Request(message, min(until, now + self.brokers.socket_timeout), batch))
        return made > 0

    # Answers.

    def _on_produced(self, thread: BrokerThread, request: Request, batch: MessageBatch, response: ProduceResponse, now: Micros, out: list[Effect]) -> None:
        partition = batch.queue.partition
        result = next((result for result in response.results if result.partition == partition), ProduceResult(partition, ErrorCode.UNKNOWN_SERVER_ERROR))
        if not result.error:
            self.answers.succeeded(batch, result.base_offset, now, out)
            return
        self.answers.failed(request, batch, name_of(result.error), result.base_offset, now, out)
        if self.metadata.take_hint(partition, result.leader, result.leader_epoch, list(self.brokers.threads), out):
            self._delegate(partition, now, out)

    # Idempotence.

    def _on_producer_id(self, response: InitProducerIdResponse, now: Micros, out: list[Effect]) -> None:
        idempotence = self.idempotence
        if idempotence is None:
            return
        if not response.error:
            idempotence.given(response.producer_id, response.producer_epoch)
            out.append(Note(ProducerId(self.name, response.producer_id, response.producer_epoch, "InitProducerId")))
        elif response.error in (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.PRODUCER_FENCED):
            self.answers.become_fatal(name_of(response.error), now, out)
        else:
            idempotence.not_given(now)

    # The end.

    def close_books(self, out: list[Effect]) -> None:
        """The run, or the client's life, is over: what was offered and never left the queue is told."""
        for queue in self.queues.values():
            if queue.messages:
                self.reports.offered(list(queue.messages), out)
        self.reports.offered(self.sending.unassigned, out)

    @property
    def is_done(self) -> bool:
        """Everything was offered and has an outcome."""
        return not self.alive or (self.sending.is_done and self.sending.messages_held == 0)
