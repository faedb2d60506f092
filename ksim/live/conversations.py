"""One connection through the proxy: a client or a broker at one end, a broker or controller at the other, and the exchanges between them.

A broker answers in order (BP-1), so the oldest unanswered request of a connection is the one a response belongs to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ksim.frame_triggers import Carried, FrameFault
from ksim.live.coordination import partitions_in_transactions
from ksim.live.fetched import Fetched
from ksim.live.pipes import Close, Pipe, shut
from ksim.live.wire import API_NAMES, CORRELATION, FETCH, METADATA, PRODUCE, REQUEST_START, Codec, Framer, Unreadable, WireBatch, codec

BY_CLIENT = "closed by the client"
BY_OTHER_SIDE = "closed by the other side"
SHORTEST_REQUEST = 4 + REQUEST_START.size


@dataclass(slots=True)
class Exchange:
    """A request on its way through a connection, and what faults want of it."""

    api_key: int
    version: int
    correlation: int
    frame: bytes
    codec: Codec | None
    answered: bool = True
    """acks=0 has no answer."""
    counts: bool = True
    """False: none of those that faults speak of, such as a fetch of Kafka's own topics."""
    batches: list[WireBatch] = field(default_factory=list)
    fault: FrameFault | None = None
    """Hits the response when it comes."""
    answer: bytes | None = None
    """Never forwarded: this goes back once all before it are answered."""
    _request: Any = None

    @property
    def api(self) -> str | None:
        """None: no fault can name it."""
        return API_NAMES.get(self.api_key)

    @property
    def request(self) -> Any:
        """Decoded when first asked for. Raises Unreadable."""
        assert self.codec is not None
        if self._request is None:
            self._request = self.codec.read_request(self.frame)
        return self._request


class Onlooker(Protocol):
    """Who is told of what goes over a connection and may change it: the proxy."""

    def read_request(self, conversation: Conversation, exchange: Exchange) -> None:
        """A request has come whole: fill in what is to be known of it."""

    def meet_request(self, conversation: Conversation, exchange: Exchange) -> bool:
        """True: dealt with, not to be forwarded."""

    def meet_response(self, conversation: Conversation, exchange: Exchange, frame: bytes) -> bool:
        """True: dealt with, not to be sent on."""

    def seen(self, conversation: Conversation, exchange: Exchange, frame: bytes) -> bytes:
        """The client is told this. Answers to what it is to read."""

    def carried(self, conversation: Conversation, exchange: Exchange) -> Carried: ...

    def unreadable(self, conversation: Conversation, why: str) -> None: ...

    def disconnected(self, conversation: Conversation, requests: int, why: str) -> None: ...

    def ended(self, conversation: Conversation) -> None: ...


class End(asyncio.Protocol):
    """One of the two sockets."""

    def __init__(self, on_data: Callable[[bytes], None], on_close: Callable[[Close], None], on_lost: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_close = on_close
        self._on_lost = on_lost
        self.transport: asyncio.Transport | None = None
        self.incoming: Pipe | None = None
        """What flows towards this end."""
        self.silent = False
        """Nothing more comes from here."""
        self.is_lost = True
        """There is no socket, not yet or not any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def eof_received(self) -> bool:
        self._fall_silent(Close.ORDERLY)
        return True  # It may still be written to until the close has travelled.

    def connection_lost(self, error: Exception | None) -> None:
        self._fall_silent(Close.RESET if error is not None else Close.ORDERLY)
        self.is_lost = True
        self._on_lost()

    def pause_writing(self) -> None:
        if self.incoming is not None:
            self.incoming.block(blocked=True)

    def resume_writing(self) -> None:
        if self.incoming is not None:
            self.incoming.block(blocked=False)

    def _fall_silent(self, how: Close) -> None:
        if not self.silent:
            self.silent = True
            self._on_close(how)


class Conversation:
    """Two pipes between two ends. `forth` leads from the client to the broker, `back` from the broker to the client."""

    def __init__(self, name: str, client: str, broker: str, onlooker: Onlooker, loop: asyncio.AbstractEventLoop, latency: Callable[[str, str], int]) -> None:
        self.name = name
        self.client = client
        self.broker = broker
        self.is_ready = False
        """Something was answered."""
        self.is_broken_off = False
        self.waiting: deque[Exchange] = deque()
        self.fetched = Fetched()
        self.unheard = 0
        """Answers that the client will never see."""
        self._onlooker = onlooker
        self._requests: Framer | None = Framer()
        self._responses: Framer | None = Framer()
        self._why = ""
        self.lost = False
        """A request was: see `break_in_turn`."""
        self._told = False
        self.forth = Pipe(loop, lambda: latency(client, broker))
        self.back = Pipe(loop, lambda: latency(broker, client), self._reached_the_client)
        self.near = End(self._from_client, self._client_closed, self._lost)
        self.far = End(self._from_broker, self._broker_closed, self._lost)
        self.near.incoming, self.far.incoming = self.back, self.forth

    def begin(self) -> None:
        """Both ends are connected."""
        self.forth.source = self.back.out = self.near.transport
        self.back.source = self.forth.out = self.far.transport
        if self.far.silent:  # While the other was being connected.
            self.back.send(Close.RESET)

    # What comes in.

    def _from_client(self, data: bytes) -> None:
        if self._requests is None:
            self.forth.send(data)
            return
        for frame in self._requests.take(data):
            self._on_request(frame)
        if self._requests.why_not:
            self._pass_unread(self._requests.why_not)

    def _from_broker(self, data: bytes) -> None:
        if self._responses is None:
            self.back.send(data)
            return
        why_not = ""
        for frame in self._responses.take(data):
            if why_not:
                self.back.send(frame)
            else:
                why_not = self._on_response(frame)
        if why_not or self._responses.why_not:
            self._pass_unread(why_not or self._responses.why_not)

    def _pass_unread(self, why: str) -> None:
        """From here on bytes are bytes."""
        self._onlooker.unreadable(self, why)
        for framer, pipe in ((self._requests, self.forth), (self._responses, self.back)):
            if framer is not None and framer.rest:
                pipe.send(framer.rest)
        self._requests = self._responses = None
        self.waiting.clear()

    def _on_request(self, frame: bytes) -> None:
        if len(frame) < SHORTEST_REQUEST:
            self.forth.send(frame)
            return
        api_key, version, correlation = REQUEST_START.unpack_from(frame, 4)
        exchange = Exchange(api_key, version, correlation, frame, codec(api_key, version))
        try:
            self._onlooker.read_request(self, exchange)
        except Unreadable as problem:
            exchange.codec = None
            self._onlooker.unreadable(self, str(problem))
        if self.lost or self.is_broken_off:
            self.expect(exchange)  # The client sent it all the same.
        elif not self._onlooker.meet_request(self, exchange):
            self.expect(exchange)
            self.forth.send(frame)

    def _on_response(self, frame: bytes) -> str:
        """Why nothing that follows can be told apart; "" where it can."""
        if self.is_broken_off:
            return ""
        (correlation,) = CORRELATION.unpack_from(frame, 4)
        if not self.waiting or self.waiting[0].correlation != correlation:
            self.back.send(frame)
            return f"an answer to request {correlation}, which was not the next"
        exchange = self.waiting.popleft()
        if not self._onlooker.meet_response(self, exchange, frame):
            self.answer(exchange, frame)
        self.answer_those_ready()
        return ""

    # What goes out.

    def expect(self, exchange: Exchange) -> None:
        if exchange.answered:
            self.waiting.append(exchange)

    def answer(self, exchange: Exchange, frame: bytes, extra: int = 0) -> None:
        if self.back.dead:
            self.unheard += 1
            return
        self.back.send(self._onlooker.seen(self, exchange, frame), extra)
        self.is_ready = True

    def answer_those_ready(self) -> None:
        """Answers that a broker never gave take their turn behind those it did."""
        while self.waiting and self.waiting[0].answer is not None:
            exchange = self.waiting.popleft()
            assert exchange.answer is not None
            self.answer(exchange, exchange.answer, self.forth.latency())

    def carried(self, exchange: Exchange) -> Carried:
        return self._onlooker.carried(self, exchange)

    # How it ends.

    def break_off(self, why: str, how: Close = Close.ORDERLY) -> None:
        """From outside: both sides learn, each behind what was under way to it."""
        self._why = why
        self.is_broken_off = True
        for pipe in (self.forth, self.back):
            pipe.forget()
            pipe.send(how)

    def break_in_turn(self, why: str) -> None:
        """Where the next frame would have arrived, behind all that is on its way; what the client sends behind it passes nowhere."""
        self.lost = True
        self.forth.dead = True
        self.forth.send(lambda: self.break_off(why))

    def abandon(self) -> None:
        """The proxy itself goes away."""
        for pipe, end in ((self.forth, self.far), (self.back, self.near)):
            pipe.stop()
            end.silent = True
            if end.transport is not None and not end.is_lost:
                shut(end.transport, Close.RESET)

    def _client_closed(self, how: Close) -> None:
        self._tell(BY_CLIENT)
        self.forth.send(how)

    def _broker_closed(self, how: Close) -> None:
        self._why = self._why or BY_OTHER_SIDE
        self.back.send(how)

    def _reached_the_client(self) -> None:
        self._tell(self._why or BY_OTHER_SIDE)

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            self._onlooker.disconnected(self, len(self.waiting) + self.unheard, why)

    def _lost(self) -> None:
        if self.near.is_lost and self.far.is_lost:
            self.forth.stop()
            self.back.stop()
            self._onlooker.ended(self)


def carried_by(exchange: Exchange, told: Callable[[Any], str | None]) -> Carried:
    """Topics and partitions in the scenario's names; nothing where the request cannot be read."""
    if exchange.codec is None:
        return (), ()
    try:
        request = exchange.request
    except Unreadable:
        return (), ()
    if exchange.api_key == PRODUCE:
        return (), [f"{told(topic)}-{partition.index}" for topic in request.topic_data for partition in topic.partition_data]
    if exchange.api_key == FETCH:
        return (), [f"{told(topic)}-{partition.partition}" for topic in request.topics for partition in topic.partitions]
    if exchange.api_key == METADATA:
        return [name for topic in request.topics or () if (name := told(topic)) is not None], ()
    return (), [f"{told(topic)}-{partition}" for topic, partition in partitions_in_transactions(exchange.api_key, request)]
