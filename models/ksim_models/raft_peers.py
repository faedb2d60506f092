"""The members of the quorum that one asks something of: one request at a time to each, on a connection of its own, with time-outs and pauses.

Kafka: RequestManager, KafkaNetworkChannel (controller.quorum.request.timeout.ms, controller.quorum.retry.backoff.ms).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim_models.machine import Close, Effect, Open, Send
from ksim_models.quorum_messages import RaftRequest
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

RECONNECT_FIRST: Micros = ms(50)
RECONNECT_AT_MOST: Micros = ms(500)


class Peer:
    __slots__ = ("asked", "connection", "name", "open", "ready_at", "reconnect_after", "reconnect_at", "sent_until", "under_way", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connection: str | None = None
        self.open = False
        self.asked: RaftRequest | None = None
        """Whose answer is waited for; None: it may be asked something from `ready_at` on."""
        self.under_way: RaftRequest | None = None
        """On the wire; another than `asked` where nobody waits for its answer any more."""
        self.sent_until: Micros = NEVER
        """Whether anybody waits or not: a connection on which nothing has come by then is closed (NetworkClient.handleTimedOutRequests)."""
        self.until: Micros = NEVER
        self.ready_at: Micros = LONG_AGO
        self.reconnect_at: Micros = LONG_AGO
        self.reconnect_after: Micros = RECONNECT_FIRST


class Peers:
    def __init__(self, names: Sequence[str], name_connection: Callable[[str], str], request_timeout: Micros, retry_backoff: Micros) -> None:
        self.by_name = {name: Peer(name) for name in names}
        self.by_connection: dict[str, Peer] = {}
        self.name_connection = name_connection
        self.request_timeout = request_timeout
        self.retry_backoff = retry_backoff

    @property
    def wake_at(self) -> Micros:
        """When a request has waited long enough. The end of a pause is the asker's affair: `pause_ends`."""
        return min((min(peer.until, peer.sent_until) for peer in self.by_name.values()), default=NEVER)

    def is_ready(self, name: str, now: Micros) -> bool:
        peer = self.by_name[name]
        return peer.asked is None and peer.ready_at <= now

    def any_asked(self) -> bool:
        return any(peer.asked is not None for peer in self.by_name.values())

    def unconnected_at(self, whom: str, now: Micros) -> Micros:
        """From when on one of the others may be asked that there is no connection to: the question to it may take long."""
        others = [peer for name, peer in self.by_name.items() if name != whom and peer.connection is None and peer.asked is None]
        return min((max(now, peer.ready_at) for peer in others), default=NEVER)

    def pause_ends(self, names: Sequence[str]) -> Micros:
        """When the first of these may be asked again that failed just before."""
        peers = [self.by_name[name] for name in names]
        return min((peer.ready_at for peer in peers if peer.asked is None and peer.ready_at > LONG_AGO), default=NEVER)

    def ask(self, name: str, request: RaftRequest, now: Micros, out: list[Effect]) -> None:
        peer = self.by_name[name]
        peer.asked, peer.until = request, now + self.request_timeout
        if peer.reconnect_at > now:
            peer.until = min(peer.until, peer.reconnect_at)  # InterBrokerSendThread: it fails when it could connect at last, and only the next one does.
        elif peer.connection is None:
            peer.connection = self.name_connection(name)
            self.by_connection[peer.connection] = peer
            out.append(Open(peer.connection, name))
        else:
            self._send(peer, out)

    def _send(self, peer: Peer, out: list[Effect]) -> None:
        if peer.open and peer.under_way is None and peer.asked is not None and peer.connection is not None:
            peer.under_way, peer.sent_until = peer.asked, peer.until
            out.append(Send(peer.connection, peer.asked))

    def forget_questions(self) -> None:
        """KafkaRaftClient.resetConnections: in a new role nobody waits for the answers to the old one's requests."""
        for peer in self.by_name.values():
            peer.asked, peer.until, peer.ready_at = None, NEVER, LONG_AGO

    def opened(self, connection: str, out: list[Effect]) -> None:
        peer = self.by_connection[connection]
        peer.open, peer.reconnect_after = True, RECONNECT_FIRST
        self._send(peer, out)

    def answered(self, connection: str, out: list[Effect]) -> Peer | None:
        """Who answers; None where nobody waits for it any more."""
        peer = self.by_connection[connection]
        request, peer.under_way, peer.sent_until = peer.under_way, None, NEVER
        if request is None or request is not peer.asked:
            self._send(peer, out)
            return None
        peer.asked, peer.until, peer.ready_at = None, NEVER, LONG_AGO
        return peer

    def fail(self, peer: Peer, now: Micros) -> None:
        """No answer came: not again before a pause. An answer that is an error is none of that: whoever gave it may be asked at once."""
        peer.asked, peer.until = None, NEVER
        peer.ready_at = now + self.retry_backoff

    def closed(self, connection: str, now: Micros) -> None:
        peer = self.by_connection.pop(connection)
        peer.connection, peer.open, peer.under_way, peer.sent_until = None, False, None, NEVER
        if peer.asked is not None:
            self.fail(peer, now)
        peer.reconnect_at = now + peer.reconnect_after
        peer.reconnect_after = min(2 * peer.reconnect_after, RECONNECT_AT_MOST)

    def time_out(self, now: Micros, out: list[Effect]) -> list[str]:
        """Whose answer somebody waits for, and it has not come in time: the connection is closed, as is any other that has been silent for so long."""
        silent = [peer for peer in self.by_name.values() if min(peer.until, peer.sent_until) <= now]
        late = [peer for peer in silent if peer.asked is not None]
        for peer in silent:
            if peer.connection is None:
                self.fail(peer, now)
            else:
                out.append(Close(peer.connection))
                self.closed(peer.connection, now)
        return [peer.name for peer in late]

    def forget(self) -> None:
        """The process is gone."""
        self.by_name = {name: Peer(name) for name in self.by_name}
        self.by_connection = {}
