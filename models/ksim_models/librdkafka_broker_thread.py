"""librdkafka's connection to one broker: one thread, two queues of requests, and a clock that looks at time-outs once a second.

Kafka: rd_kafka_broker_t, rd_kafka_broker_thread_main, rd_kafka_broker_timeout_scan, rd_kafka_broker_fail, rd_kafka_broker_update_reconnect_backoff.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from ksim_models.librdkafka_consumer_config import AnyLibrdkafkaConfig
from ksim_models.librdkafka_queue import MessageBatch, PartitionQueue
from ksim_models.machine import Dice
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, SECOND, Micros, ms

API_VERSIONS_WITHIN: Micros = 10 * SECOND
"""api.version.request.timeout.ms."""


class State(Enum):
    INIT = "no connection, and none wanted"
    TRY_CONNECT = "about to connect"
    CONNECT = "waiting for the other side"
    APIVERSION_QUERY = "waiting for ApiVersions"
    UP = "usable"


class Request:
    __slots__ = ("about", "batch", "deadline", "given_up", "message", "retries", "sent")

    def __init__(self, message: object, deadline: Micros, batch: MessageBatch | None = None, *, about: object = None) -> None:
        """about: what it is a step of."""
        self.message = message
        self.batch = batch
        self.about = about
        self.retries = 0
        self.deadline = deadline
        self.sent = False
        self.given_up = False
        """Out of time, on a connection that goes on (socket.max.fails > 1): its answer is for nobody."""

    def give_up(self) -> None:
        self.given_up = True
        self.deadline = NEVER


class BrokerThread:
    def __init__(self, name: str, broker: str, client: str, config: AnyLibrdkafkaConfig, dice: Dice, now: Micros, *, learned: bool) -> None:
        self.name = name
        """The broker's, or that of a bootstrap address, which is somebody else until metadata names the brokers."""
        self.broker = broker
        self.client = client
        self.learned = learned
        self.is_logical = False
        """A connection for one purpose: to whoever coordinates."""
        self.dice = dice
        self.max_in_flight = config.max_in_flight_requests_per_connection
        self.space = config.queue_buffering_backpressure_threshold
        self.setup_timeout = ms(config.socket_connection_setup_timeout_ms)
        self.backoff_ms = config.reconnect_backoff_ms
        self.backoff_max_ms = config.reconnect_backoff_max_ms
        self.state = State.INIT
        self.state_since = now
        """Time-outs are looked at when the state changes, and every second from then on."""
        self.connection: str | None = None
        self.connected_to = ""
        """The broker behind it: of a logical one `broker` may be another one by now."""
        self.out: deque[Request] = deque()
        """Made, and not sent: the limit of requests in flight is reached (rkb_outbufs)."""
        self.waiting: deque[Request] = deque()
        """Sent, not answered (rkb_waitresps)."""
        self._next_deadline: Micros | None = NEVER
        """None: to be looked for."""
        self.queues: list[PartitionQueue] = []
        """The partitions this broker leads."""
        self.next_queue = 0
        self.connects = 0
        self.draws = 0
        self.next_backoff_ms = config.reconnect_backoff_ms
        self.reconnect_at: Micros = LONG_AGO
        self.connect_at: Micros = NEVER
        self.attempted_at: Micros = 0
        self.last_sent_at: Micros | None = None
        self.timeouts = 0

    @property
    def is_up(self) -> bool:
        return self.state is State.UP

    def set_state(self, state: State, now: Micros) -> None:
        self.state = state
        self.state_since = now

    def look_at(self, moment: Micros) -> Micros:
        """When the thread notices what falls due at `moment`: at the next full second since its state changed.

        Simplified: real seconds are a little longer, and traffic moves the moments at which requests are looked at.
        """
        if moment >= NEVER:
            return moment
        return self.state_since + max(0, -(-(moment - self.state_since) // SECOND)) * SECOND

    # Connecting.

    def back_off(self, now: Micros) -> None:
        """When the next attempt may be made: -25 to +50 % around a backoff that doubles. Counted from the attempt, and once more when it fails."""
        if self.reconnect_at + ms(self.backoff_max_ms) < now:
            self.next_backoff_ms = self.backoff_ms
        low, high = int(self.next_backoff_ms * 0.75), int(self.next_backoff_ms * 1.5)
        self.draws += 1
        wait = low + int(self.dice.at("reconnect", self.client, self.name, self.draws) * (high - low + 1))
        self.reconnect_at = now + ms(min(wait, self.backoff_max_ms))
        self.next_backoff_ms = min(self.next_backoff_ms * 2, self.backoff_max_ms)

    def try_connect(self, now: Micros) -> None:
        """After the backoff, in whole milliseconds."""
        self.set_state(State.TRY_CONNECT, now)
        self.connect_at = now + max(0, self.reconnect_at - now) // MILLISECOND * MILLISECOND

    def attempt(self, connection: str, now: Micros) -> None:
        self.connection, self.connected_to = connection, self.broker
        self.connects += 1
        self.attempted_at = now
        self.connect_at = NEVER
        self.back_off(now)
        self.set_state(State.CONNECT, now)

    @property
    def setup_ends_at(self) -> Micros:
        if self.state in (State.CONNECT, State.APIVERSION_QUERY):
            return self.look_at(self.attempted_at + self.setup_timeout)
        return NEVER

    # Requests.

    @property
    def room(self) -> int:
        """How many more requests may be made (queue.buffering.backpressure.threshold)."""
        return self.space - len(self.out)

    def enqueue(self, request: Request) -> None:
        """Produce requests stand in line; the others go before them."""
        if self._next_deadline is not None and request.deadline < self._next_deadline:
            self._next_deadline = request.deadline
        if request.batch is not None:
            self.out.append(request)
            return
        place = 0
        while place < len(self.out) and self.out[place].batch is None:
            place += 1
        self.out.insert(place, request)

    @property
    def can_send(self) -> bool:
        if not self.out or not self.is_up:
            return False
        return len(self.waiting) < self.max_in_flight or sum(not request.given_up for request in self.waiting) < self.max_in_flight

    @property
    def next_deadline(self) -> Micros:
        if self._next_deadline is None:
            self._next_deadline = min((request.deadline for request in (*self.waiting, *self.out)), default=NEVER)
        return self._next_deadline

    def answered(self) -> Request:
        """The response belongs to the oldest request (BP-1)."""
        request = self.waiting.popleft()
        if request.deadline == self._next_deadline:
            self._next_deadline = None
        return request

    def wait_for(self, request: Request) -> None:
        self.waiting.append(request)
        if self._next_deadline is not None and request.deadline < self._next_deadline:
            self._next_deadline = request.deadline

    def take_late(self, now: Micros) -> list[Request]:
        """Requests out of time. Those that were sent keep their place in the line of answers."""
        late = [request for request in (*self.waiting, *self.out) if request.deadline <= now]
        for request in late:
            request.give_up()
        self.out = deque(request for request in self.out if not request.given_up)
        self._next_deadline = None
        return late

    def take_all(self) -> tuple[list[Request], list[Request]]:
        """Those that were sent, and those that were not."""
        waiting, made = [request for request in self.waiting if not request.given_up], list(self.out)
        self.waiting.clear()
        self.out.clear()
        self._next_deadline = None
        return waiting, made

    def purge(self, queue: PartitionQueue) -> list[Request]:
        """Requests of this partition that were made and not sent."""
        purged = [request for request in self.out if request.batch is not None and request.batch.queue is queue]
        if purged:
            self.out = deque(request for request in self.out if request not in purged)
            self._next_deadline = None
        return purged

    def is_idle_for(self, now: Micros) -> int:
        """Whole seconds since it last sent something."""
        since = self.last_sent_at if self.last_sent_at is not None else self.state_since
        return (now - since) // SECOND
