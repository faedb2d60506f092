"""A client's connections: made, checked, used, timed out, made again.

Kafka: NetworkClient, ClusterConnectionStates, InFlightRequests. A request time-out closes the whole connection (N4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

from ksim_models.backoff import exponential_backoff
from ksim_models.batch import Batch
from ksim_models.config import ProducerConfig
from ksim_models.facts import Connected, Disconnected
from ksim_models.machine import Close, Dice, Effect, Note, Open, Send
from ksim_models.messages import ApiVersionsRequest
from ksim_models.units import MILLISECOND, NEVER, Micros, ms

BOOTSTRAP = "bootstrap/"
"""Bootstrap servers are nodes of their own until metadata has named the brokers, as in Kafka (ids -1, -2 ...)."""


def broker_of(node: str) -> str:
    return node.removeprefix(BOOTSTRAP)


class State(Enum):
    DISCONNECTED = "no connection"
    CONNECTING = "waiting for the other side"
    CHECKING = "waiting for ApiVersions"
    READY = "usable"


class Request:
    """One that waits for its response. `batches`: what a Produce request carried."""

    __slots__ = ("batches", "message", "sent_at")

    def __init__(self, message: object, batches: Sequence[Batch], sent_at: Micros) -> None:
        self.message = message
        self.batches = batches
        self.sent_at = sent_at


class NodeConnection:
    __slots__ = ("attempted_at", "connection", "deadline", "failed_setups", "failures", "in_flight", "retry_at", "state")

    def __init__(self) -> None:
        self.state = State.DISCONNECTED
        self.connection: str | None = None
        self.in_flight: deque[Request] = deque()
        self.failures = 0
        """Disconnects since it was last ready (N7)."""
        self.failed_setups = 0
        self.attempted_at: Micros = -(2**62)
        self.retry_at: Micros = -(2**62)
        """Not before: the reconnect backoff."""
        self.deadline: Micros = NEVER
        """Of the connection set-up, while it lasts."""


class Lost:
    """A connection that is gone, with the requests that had no answer, oldest first."""

    __slots__ = ("node", "requests", "timed_out")

    def __init__(self, node: str, requests: Sequence[Request], *, timed_out: bool) -> None:
        self.node = node
        self.requests = requests
        self.timed_out = timed_out


class ClientNetwork:
    def __init__(self, client: str, config: ProducerConfig, dice: Dice, *, backoff_is_capped: bool = True) -> None:
        self.client = client
        self.dice = dice
        self.backoff_is_capped = backoff_is_capped
        self.max_in_flight = config.max_in_flight_requests_per_connection
        self.request_timeout = ms(config.request_timeout_ms)
        self.reconnect_ms = config.reconnect_backoff_ms, config.reconnect_backoff_max_ms
        self.setup_ms = config.socket_connection_setup_timeout_ms, config.socket_connection_setup_timeout_max_ms
        self.nodes: dict[str, NodeConnection] = {}
        self.by_connection: dict[str, str] = {}
        self.connections_made = 0
        self.requests_made = 0

    def node(self, name: str) -> NodeConnection:
        known = self.nodes.get(name)
        if known is None:
            known = self.nodes[name] = NodeConnection()
        return known

    def can_send(self, name: str) -> bool:
        """N1: ready, and fewer than max.in.flight requests of any kind unanswered."""
        node = self.nodes.get(name)
        return node is not None and node.state is State.READY and len(node.in_flight) < self.max_in_flight

    def ready(self, name: str, now: Micros, out: list[Effect]) -> bool:
        """N1, S6: may I send to this node now? If it is not connected, the connection is begun, unless its backoff still runs."""
        node = self.node(name)
        if node.state is State.READY:
            return len(node.in_flight) < self.max_in_flight
        if node.state is State.DISCONNECTED and node.retry_at <= now:
            self._connect(name, node, now, out)
        return False

    def _connect(self, name: str, node: NodeConnection, now: Micros, out: list[Effect]) -> None:
        self.connections_made += 1
        node.connection = f"{self.client}->{broker_of(name)}#{self.connections_made}"
        node.state = State.CONNECTING
        node.attempted_at = now
        setup = exponential_backoff(
            *self.setup_ms, node.failed_setups, self.dice.at("setup", self.client, name, self.connections_made), capped=self.backoff_is_capped
        )
        node.deadline = now + ms(setup) + MILLISECOND  # N8: strictly later than the time-out.
        self.by_connection[node.connection] = name
        out.append(Open(node.connection, broker_of(name)))

    def send(self, name: str, message: object, batches: Sequence[Batch], now: Micros, out: list[Effect], *, answered: bool = True) -> None:
        node = self.nodes[name]
        assert node.connection is not None
        self.requests_made += 1
        out.append(Send(node.connection, message))
        if answered:
            node.in_flight.append(Request(message, batches, now))

    def opened(self, connection: str, now: Micros, out: list[Effect]) -> None:
        """The ApiVersions exchange comes first (N9)."""
        name = self.by_connection[connection]
        node = self.nodes[name]
        node.state, node.deadline = State.CHECKING, NEVER
        self.send(name, ApiVersionsRequest(), (), now, out)

    def checked(self, name: str, out: list[Effect]) -> None:
        node = self.nodes[name]
        node.state = State.READY
        node.failures = node.failed_setups = 0
        assert node.connection is not None
        out.append(Note(Connected(self.client, broker_of(name), node.connection)))

    def answered(self, connection: str) -> tuple[str, Request]:
        """The response belongs to the oldest request of its connection (BP-1)."""
        name = self.by_connection[connection]
        return name, self.nodes[name].in_flight.popleft()

    def lost(self, connection: str, now: Micros, why: str, out: list[Effect], *, timed_out: bool = False) -> Lost:
        """N5, N7: all unanswered requests are cancelled; the next attempt waits for the reconnect backoff."""
        name = self.by_connection.pop(connection)
        node = self.nodes[name]
        if node.state is State.CONNECTING:
            node.failed_setups += 1
        else:
            node.failed_setups = 0
        draw = self.dice.at("reconnect", self.client, name, self.connections_made)
        node.retry_at = now + ms(exponential_backoff(*self.reconnect_ms, node.failures, draw, capped=self.backoff_is_capped))
        node.failures += 1
        node.state, node.deadline = State.DISCONNECTED, NEVER
        node.connection = None
        requests = tuple(node.in_flight)
        node.in_flight.clear()
        out.append(Note(Disconnected(self.client, broker_of(name), connection, len(requests), why)))
        return Lost(name, requests, timed_out=timed_out)

    def time_out(self, now: Micros, out: list[Effect], *, poll_ended: bool = True) -> list[Lost]:
        """Requests older than request.timeout.ms, and set-ups older than theirs, end their connection (N4, N8): requests only when a poll has ended (N14)."""
        gone: list[Lost] = []
        for node in list(self.nodes.values()):
            connection = node.connection
            if connection is None:
                continue
            if poll_ended and node.in_flight and now > node.in_flight[0].sent_at + self.request_timeout:
                out.append(Close(connection))
                gone.append(self.lost(connection, now, "request timed out", out, timed_out=True))
            elif now >= node.deadline:
                out.append(Close(connection))
                gone.append(self.lost(connection, now, "connection set-up timed out", out))
        return gone

    @property
    def wake_at(self) -> Micros:
        """The earliest time-out: who wants to reconnect asks `retry_at`."""
        return min(self.deadlines())

    def deadlines(self) -> tuple[Micros, Micros]:
        """The earliest time-out of a request, and of a connection set-up."""
        requests = setups = NEVER
        for node in self.nodes.values():
            if node.in_flight:
                due = node.in_flight[0].sent_at + self.request_timeout + MILLISECOND
                if due < requests:
                    requests = due
            elif node.deadline < setups:
                setups = node.deadline
        return requests, setups

    def least_loaded(self, names: Sequence[str], now: Micros) -> str | None:
        """N12: ready and idle wins; else the least busy ready one; else one that is connecting; else the one that may connect and was tried longest ago.

        Java draws where to begin at each look. Here a look that led to nothing leaves no trace: the next one begins at the same node.
        """
        start = int(self.dice.at("least-loaded", self.client, self.connections_made, self.requests_made) * len(names)) if names else 0
        best: str | None = None
        rank: tuple[int, int] = (4, 0)
        for step in range(len(names)):
            name = names[(start + step) % len(names)]
            node = self.node(name)
            if node.state is State.READY:
                if len(node.in_flight) >= self.max_in_flight:
                    continue
                mine = (0, len(node.in_flight))
            elif node.state is not State.DISCONNECTED:
                mine = (1, 0)
            elif node.retry_at <= now:
                mine = (2, node.attempted_at)
            else:
                continue
            if mine < rank:
                best, rank = name, mine
        return best
