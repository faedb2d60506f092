"""The connections of a client of librdkafka, whichever side it is: how they come up, what is asked at once, and what becomes of requests when they go down.

Kafka: rdkafka_broker.c in librdkafka: rd_kafka_broker_connect_up, rd_kafka_broker_timeout_scan, rd_kafka_broker_fail.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from ksim_models.facts import Connected, Disconnected
from ksim_models.librdkafka_broker_thread import API_VERSIONS_WITHIN, BrokerThread, Request, State
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_errors import DESTROY_BROKER, TIMED_OUT, TIMED_OUT_QUEUE, TRANSPORT
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.machine import Close, Closed, Effect, Event, Note, Opened, Received, Send
from ksim_models.messages import ApiVersionsRequest, MetadataRequest
from ksim_models.units import Micros


class Connections(ABC):
    """What a producer and a consumer have in common. Each says what an answer means to it, and what it does about a request that gets none."""

    name: str
    max_fails: int
    """socket.max.fails."""
    brokers: Brokers
    metadata: LibrdkafkaMetadata

    @property
    def threads(self) -> Iterable[BrokerThread]:
        return self.brokers

    @abstractmethod
    def _on_response(self, thread: BrokerThread, message: object, now: Micros, out: list[Effect]) -> None: ...

    def _give_up(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        """A request that gets no answer. Simplified: Metadata is not repeated to the same broker; the timers ask again."""
        if isinstance(request.message, MetadataRequest):
            for topic in request.message.topics:
                self.metadata.hinted.pop(topic, None)

    # What comes from the network.

    def _hear(self, event: Event, now: Micros, out: list[Effect]) -> None:
        """What belongs to a connection that is there no more is for nobody."""
        match event:
            case Received():
                thread = self.brokers.by_connection.get(event.connection)
                if thread is not None:
                    self._on_response(thread, event.message, now, out)
            case Opened():
                thread = self.brokers.by_connection.get(event.connection)
                if thread is not None:
                    thread.set_state(State.APIVERSION_QUERY, now)
                    self._transmit(thread, Request(ApiVersionsRequest(), now + API_VERSIONS_WITHIN), now, out)
            case Closed():
                thread = self.brokers.by_connection.get(event.connection)
                if thread is not None:
                    self._lose(thread, TRANSPORT, "closed by the other side", now, out)
            case _:
                pass

    def _on_up(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        thread.set_state(State.UP, now)
        assert thread.connection is not None
        out.append(Note(Connected(self.name, thread.broker, thread.connection)))
        topics = self.metadata.new_connection_asks()
        if topics or not self.metadata.wanted:
            self.brokers.ask(thread, topics, now)

    # What falls due.

    def _look_at_connection(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> bool:
        """True if a request or the set-up was out of time."""
        seen = False
        if thread.look_at(thread.next_deadline) <= now:
            seen = True
            self._time_out(thread, now, out)
        if thread.setup_ends_at <= now:
            seen = True
            self._lose(thread, TRANSPORT, "connection set-up timed out", now, out, close=True)
        return seen

    def _time_out(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        """Requests out of time; after socket.max.fails of them the connection is given up (L2)."""
        late = thread.take_late(now)
        thread.timeouts += len(late)
        checking = thread.state is State.APIVERSION_QUERY
        for request in late:
            self._give_up(request, TIMED_OUT if request.sent else TIMED_OUT_QUEUE, now, out)
        most = self.max_fails
        if checking:
            self._lose(thread, TRANSPORT, "ApiVersions timed out", now, out, close=True)
        elif thread.is_up and most and thread.timeouts >= most:
            self._lose(thread, TIMED_OUT, "request timed out", now, out, close=True, more=len(late))

    # Sending, and the end of a connection.

    def _transmit(self, thread: BrokerThread, request: Request, now: Micros, out: list[Effect]) -> None:
        assert thread.connection is not None
        request.sent = True
        thread.last_sent_at = now
        out.append(Send(thread.connection, request.message))
        self._await(thread, request, now, out)

    def _await(self, thread: BrokerThread, request: Request, now: Micros, out: list[Effect]) -> None:
        thread.wait_for(request)

    def _lose(self, thread: BrokerThread, error: str, why: str, now: Micros, out: list[Effect], *, close: bool = False, more: int = 0) -> None:
        """rd_kafka_broker_fail: every request comes back, the answered ones never; then it is asked who leads now.

        more: requests that have come back already.
        """
        connection, state = thread.connection, thread.state
        assert connection is not None
        if close:
            out.append(Close(connection))
        waiting, made = thread.take_all()
        thread.connection = None
        thread.timeouts = 0
        del self.brokers.by_connection[connection]
        thread.set_state(State.INIT, now)
        if state is not State.UP:
            thread.back_off(now)
        out.append(Note(Disconnected(self.name, thread.connected_to, connection, len(waiting) + more, why)))
        for request in waiting:
            self._give_up(request, error, now, out)
        for request in made:
            self._give_up(request, TIMED_OUT_QUEUE if error == TIMED_OUT else error, now, out)
        if state is State.UP and error != DESTROY_BROKER and self.metadata.wanted:
            self.brokers.ask_for(list(self.metadata.wanted), now)

    def _decommission(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        """Metadata names this broker no longer: it is given up with whatever was on the way."""
        if thread.connection is not None:
            self._lose(thread, DESTROY_BROKER, "closed by the client", now, out, close=True)
