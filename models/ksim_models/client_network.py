"""A client's connections: made, checked, used, throttled, timed out, left idle, made again.

Kafka: NetworkClient, ClusterConnectionStates, InFlightRequests, Selector. A request time-out closes the whole connection (N4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from ksim_models.backoff import exponential_backoff
from ksim_models.batch import Batch
from ksim_models.facts import Connected, Disconnected
from ksim_models.machine import Close, Dice, Effect, Note, Open, Send
from ksim_models.messages import ApiVersionsRequest
from ksim_models.profiles import ClientProfile
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, Micros, ms

BOOTSTRAP = "bootstrap/"
"""Bootstrap servers are nodes of their own until metadata has named the brokers, as in Kafka (ids -1, -2 ...)."""


COORDINATOR = "coordinator/"
"""A group's coordinator has a connection of its own, beside the one to the same broker as a leader (ids Integer.MAX_VALUE - n)."""


def broker_of(node: str) -> str:
    return node.rpartition("/")[2]


def _by_number(named: tuple[str, object]) -> tuple[int, str]:
    """InFlightRequests goes over a HashMap of node ids: in their order, as long as there are no more than ten."""
    return len(named[0]), named[0]


class ConnectionSettings(Protocol):
    """Of a producer or a consumer."""

    @property
    def max_in_flight_requests_per_connection(self) -> int: ...
    @property
    def request_timeout_ms(self) -> int: ...
    @property
    def reconnect_backoff_ms(self) -> int: ...
    @property
    def reconnect_backoff_max_ms(self) -> int: ...
    @property
    def socket_connection_setup_timeout_ms(self) -> int: ...
    @property
    def socket_connection_setup_timeout_max_ms(self) -> int: ...
    @property
    def connections_max_idle_ms(self) -> int: ...


def throttle_of(response: object) -> int:
    """Every answer to a client has one."""
    throttle: int = getattr(response, "throttle_ms", 0)
    return throttle


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
        """Moved on by the time for which the connection was throttled meanwhile (N11)."""


class NodeConnection:
    __slots__ = ("active_at", "attempted_at", "connection", "deadline", "failed_setups", "failures", "in_flight", "retry_at", "state", "throttled_until")

    def __init__(self) -> None:
        self.state = State.DISCONNECTED
        self.connection: str | None = None
        self.in_flight: deque[Request] = deque()
        self.failures = 0
        """Disconnects since it was last ready, or before 3.3 since it was last accepted (N7)."""
        self.failed_setups = 0
        self.attempted_at: Micros = LONG_AGO
        self.retry_at: Micros = LONG_AGO
        """Not before: the reconnect backoff."""
        self.deadline: Micros = NEVER
        """Of the connection set-up, while it lasts."""
        self.throttled_until: Micros = LONG_AGO
        """A broker's quota: nothing is sent before (N11). It outlives the connection."""
        self.active_at: Micros = LONG_AGO
        """When something last went over the connection (N10)."""

    def not_before(self) -> Micros:
        """When time alone may make it usable, or worth another attempt to connect."""
        if self.state is State.READY:
            return self.throttled_until
        return self.retry_at if self.state is State.DISCONNECTED else NEVER


class Lost:
    """A connection that is gone, with the requests that had no answer, oldest first."""

    __slots__ = ("node", "requests", "timed_out")

    def __init__(self, node: str, requests: Sequence[Request], *, timed_out: bool) -> None:
        self.node = node
        self.requests = requests
        self.timed_out = timed_out


class ClientNetwork:
    def __init__(self, client: str, config: ConnectionSettings, profile: ClientProfile, dice: Dice) -> None:
        self.client = client
        self.profile = profile
        self.dice = dice
        self.max_in_flight = config.max_in_flight_requests_per_connection
        self.request_timeout = ms(config.request_timeout_ms)
        self.reconnect_ms = config.reconnect_backoff_ms, config.reconnect_backoff_max_ms
        self.setup_ms = config.socket_connection_setup_timeout_ms, config.socket_connection_setup_timeout_max_ms
        self.nodes: dict[str, NodeConnection] = {}
        self.by_connection: dict[str, str] = {}
        self.connections_made = 0
        self.requests_made = 0
        self.max_idle: Micros = ms(config.connections_max_idle_ms) if config.connections_max_idle_ms >= 0 else NEVER
        self.idle_check_at: Micros = NEVER
        """No connection has been idle for too long before (N10)."""

    def node(self, name: str) -> NodeConnection:
        known = self.nodes.get(name)
        if known is None:
            known = self.nodes[name] = NodeConnection()
        return known

    def ready(self, name: str, now: Micros, out: list[Effect]) -> bool:
        """N1, S6: may I send to this node now? If it is not connected, the connection is begun, unless its backoff still runs.

        It must be READY, not throttled, with fewer than max.in.flight requests of any kind unanswered.
        Metadata that is due goes first (N2): the producer asks for it before it asks here.
        """
        node = self.nodes.get(name) or self.node(name)
        if node.state is State.READY:
            return len(node.in_flight) < self.max_in_flight and node.throttled_until <= now
        if node.state is State.DISCONNECTED and node.retry_at <= now:
            self._connect(name, node, now, out)
        return False

    def _connect(self, name: str, node: NodeConnection, now: Micros, out: list[Effect]) -> None:
        self.connections_made += 1
        node.connection = f"{self.client}->{broker_of(name)}#{self.connections_made}"
        node.state = State.CONNECTING
        node.attempted_at = now
        setup = exponential_backoff(
            *self.setup_ms, node.failed_setups, self.dice.at("setup", self.client, name, self.connections_made), capped=self.profile.backoff_is_capped
        )
        node.deadline = now + ms(setup) + MILLISECOND  # N8: strictly later than the time-out.
        self.by_connection[node.connection] = name
        out.append(Open(node.connection, broker_of(name)))

    def send(self, name: str, message: object, batches: Sequence[Batch], now: Micros, out: list[Effect], *, answered: bool = True) -> None:
        node = self.nodes[name]
        assert node.connection is not None
        self.requests_made += 1
        node.active_at = now
        out.append(Send(node.connection, message))
        if answered:
            node.in_flight.append(Request(message, batches, now))

    def opened(self, connection: str, now: Micros, out: list[Effect]) -> None:
        """The ApiVersions exchange comes first (N9)."""
        name = self.by_connection[connection]
        node = self.nodes[name]
        node.state, node.deadline = State.CHECKING, NEVER
        if not self.profile.backoff_lasts_until_usable:
            node.failures = 0
        if self.idle_check_at == NEVER and self.max_idle < NEVER:
            self.idle_check_at = now + self.max_idle
        self.send(name, ApiVersionsRequest(), (), now, out)

    def checked(self, name: str, out: list[Effect]) -> None:
        node = self.nodes[name]
        node.state = State.READY
        node.failures = node.failed_setups = 0
        assert node.connection is not None
        out.append(Note(Connected(self.client, broker_of(name), node.connection)))

    def answered(self, connection: str, now: Micros, throttle_ms: int = 0) -> tuple[str, Request]:
        """The response belongs to the oldest request of its connection (BP-1)."""
        name = self.by_connection[connection]
        node = self.nodes[name]
        node.active_at = now
        request = node.in_flight.popleft()
        if throttle_ms:
            self._throttle(node, throttle_ms, now)
        return name, request

    def _throttle(self, node: NodeConnection, throttle_ms: int, now: Micros) -> None:
        """N11: what is in flight has as much longer time (KAFKA-16083); before 3.8 it times out although the broker only made it wait (H-037)."""
        node.throttled_until = max(node.throttled_until, now + ms(throttle_ms))
        if self.profile.throttle_extends_time_out:
            for request in node.in_flight:
                request.sent_at += ms(throttle_ms)

    def lost(self, connection: str, now: Micros, why: str, out: list[Effect], *, timed_out: bool = False) -> Lost:
        """N5, N7: all unanswered requests are cancelled; the next attempt waits for the reconnect backoff."""
        name = self.by_connection.pop(connection)
        node = self.nodes[name]
        if node.state is State.CONNECTING:
            node.failed_setups += 1
        else:
            node.failed_setups = 0
        draw = self.dice.at("reconnect", self.client, name, self.connections_made)
        node.retry_at = now + ms(exponential_backoff(*self.reconnect_ms, node.failures, draw, capped=self.profile.backoff_is_capped))
        node.failures += 1
        node.state, node.deadline = State.DISCONNECTED, NEVER
        node.connection = None
        requests = tuple(node.in_flight)
        node.in_flight.clear()
        out.append(Note(Disconnected(self.client, broker_of(name), connection, len(requests), why)))
        return Lost(name, requests, timed_out=timed_out)

    def time_out(self, now: Micros, out: list[Effect], *, poll_ended: bool = True, setups: bool = True) -> list[Lost]:
        """Requests older than request.timeout.ms, and set-ups older than theirs, end their connection (N4, N8): requests only when a poll has ended (N14),
        and before KAFKA-12762 set-ups too.
        """
        gone: list[Lost] = []
        for _, node in sorted(self.nodes.items(), key=_by_number):
            connection = node.connection
            if connection is None:
                continue
            if poll_ended and node.in_flight and now > node.in_flight[0].sent_at + self.request_timeout:
                out.append(Close(connection))
                gone.append(self.lost(connection, now, "request timed out", out, timed_out=True))
            elif setups and now >= node.deadline:
                out.append(Close(connection))
                gone.append(self.lost(connection, now, "connection set-up timed out", out))
        while setups and now > self.idle_check_at and (connection := self._longest_idle(now)) is not None:
            out.append(Close(connection))
            gone.append(self.lost(connection, now, "idle", out))
        return gone

    def _longest_idle(self, now: Micros) -> str | None:
        """N10: the connection that has been idle longest, if that is longer than connections.max.idle.ms.

        Simplified: noticed at once; Java notices when a poll ends, up to request.timeout.ms later.
        """
        connected = [node for node in self.nodes.values() if node.state in (State.CHECKING, State.READY)]
        oldest = min(connected, key=lambda node: node.active_at, default=None)
        self.idle_check_at = oldest.active_at + self.max_idle if oldest is not None else NEVER
        return oldest.connection if oldest is not None and now > self.idle_check_at else None

    def close_all(self, names: Sequence[str], now: Micros, out: list[Effect], why: str = "rebootstrap") -> list[Lost]:
        """M6 (ii), (iii): a client that begins again from its bootstrap servers closes its connections to the brokers it knew."""
        gone: list[Lost] = []
        for name in names:
            connection = self.node(name).connection
            if connection is not None:
                out.append(Close(connection))
                gone.append(self.lost(connection, now, why, out))
        return gone

    @property
    def wake_at(self) -> Micros:
        """The earliest time-out: who wants to reconnect asks `retry_at`."""
        return min(self.deadlines())

    def deadlines(self) -> tuple[Micros, Micros]:
        """The earliest time-out of a request; and of a connection set-up, or of an idle connection."""
        requests = setups = NEVER
        if self.idle_check_at < NEVER:
            setups = self.idle_check_at + MILLISECOND
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
                if len(node.in_flight) >= self.max_in_flight or node.throttled_until > now:
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

    def any_ready(self, names: Sequence[str], now: Micros) -> bool:
        """Whether one of these connections is ready, though it may have no room for another request (M6)."""
        return any(self.node(name).state is State.READY and self.node(name).throttled_until <= now for name in names)
