"""A broker's requests to other brokers, as a coordinator or to one: a connection to each, one request on it at a time.

Kafka: InterBrokerSendThread with a NetworkClient of its own: TransactionMarkerChannelManager, AddPartitionsToTxnManager.
Simplified: to itself a broker speaks without a connection, which takes a millisecond; before it serves anybody it does not answer itself either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ksim_models.machine import Close, Effect, Open, Send
from ksim_models.units import NEVER, Micros, ms

RECONNECT_AFTER: Micros = ms(50)
"""Both its first and its longest backoff."""
SETUP_TIME_OUT: Micros = ms(10_000)
TO_ITSELF: Micros = ms(1)

Told = Callable[[object | None, Micros, list[Effect]], None]
"""What came back; None: the connection went, or never stood, or nothing came in time."""


class Link:
    """To one broker."""

    __slots__ = ("asked", "asked_at", "broker", "connection", "open", "opening_since", "queue", "retry_at")

    def __init__(self, broker: str) -> None:
        self.broker = broker
        self.connection: str | None = None
        self.open = False
        self.opening_since: Micros = 0
        self.retry_at: Micros = -NEVER
        self.queue: deque[tuple[object, Told]] = deque()
        self.asked: Told | None = None
        self.asked_at: Micros = NEVER


class Peers:
    def __init__(
        self,
        broker: str,
        request_timeout: Micros,
        name_connection: Callable[[str], str],
        serve_myself: Callable[[object, Told, Micros, list[Effect]], None],
        is_open: Callable[[], bool],
    ) -> None:
        """serve_myself: a request of this broker to itself, and who is to be told. is_open: this broker serves."""
        self.broker = broker
        self.patience = request_timeout
        self.name_connection = name_connection
        self.serve_myself = serve_myself
        self.is_open = is_open
        self.links: dict[str, Link] = {}
        self.by_connection: dict[str, Link] = {}
        self.to_itself: deque[tuple[Micros, object, Told]] = deque()
        self.unanswered = 0
        """Requests to others, sent or not: without any there is nothing to wait for."""

    @property
    def wake_at(self) -> Micros:
        if not self.unanswered and not self.to_itself:
            return NEVER
        at = self.to_itself[0][0] if self.to_itself else NEVER
        for link in self.links.values():
            at = min(at, self._due(link))
        return at

    def _due(self, link: Link) -> Micros:
        if link.connection is None:
            return link.retry_at if link.queue else NEVER
        if not link.open:
            return link.opening_since + SETUP_TIME_OUT
        return NEVER if link.asked is None else link.asked_at + self.patience

    def send(self, broker: str, request: object, told: Told, now: Micros, out: list[Effect]) -> None:
        if broker == self.broker:
            self.to_itself.append((now + TO_ITSELF, request, told))
            return
        link = self.links.get(broker)
        if link is None:
            link = self.links[broker] = Link(broker)
        link.queue.append((request, told))
        self.unanswered += 1
        self._go_on(link, now, out)

    def wake(self, now: Micros, out: list[Effect]) -> None:
        while self.to_itself and self.to_itself[0][0] <= now:
            _, request, told = self.to_itself.popleft()
            if self.is_open():
                self.serve_myself(request, told, now, out)
            else:
                self.to_itself.append((now + RECONNECT_AFTER, request, told))
        for link in list(self.links.values()):
            if self._due(link) <= now:
                if link.connection is None:
                    self._go_on(link, now, out)
                else:
                    out.append(Close(link.connection))
                    self.closed(link.connection, now, out)

    def _go_on(self, link: Link, now: Micros, out: list[Effect]) -> None:
        if not link.queue:
            return
        if link.connection is None:
            if link.retry_at <= now:
                link.connection = self.name_connection(link.broker)
                link.opening_since = now
                self.by_connection[link.connection] = link
                out.append(Open(link.connection, link.broker))
        elif link.open and link.asked is None:
            request, link.asked = link.queue.popleft()
            link.asked_at = now
            out.append(Send(link.connection, request))

    def opened(self, connection: str, now: Micros, out: list[Effect]) -> None:
        link = self.by_connection[connection]
        link.open = True
        self._go_on(link, now, out)

    def received(self, connection: str, response: object, now: Micros, out: list[Effect]) -> None:
        link = self.by_connection.get(connection)
        if link is None or link.asked is None:
            return
        told, link.asked = link.asked, None
        self.unanswered -= 1
        told(response, now, out)
        self._go_on(link, now, out)

    def closed(self, connection: str, now: Micros, out: list[Effect]) -> None:
        """What waits for this connection is lost with it (checkDisconnects), whether it was sent or not."""
        link = self.by_connection.pop(connection)
        lost = [*((link.asked,) if link.asked else ()), *(told for _, told in link.queue)]
        link.connection, link.open, link.asked = None, False, None
        link.queue.clear()
        self.unanswered -= len(lost)
        link.retry_at = now + RECONNECT_AFTER
        for told in lost:
            told(None, now, out)
