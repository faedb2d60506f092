"""The proxy between clients and brokers, and between brokers: every byte passes here, and what a scenario's network does is done here.

A client reaches a broker through a door of its own, so a cut concerns one client; addresses in answers are rewritten so that no client finds a way around.
Brokers and controllers reach one another through links, one per target; who connected is told by the port that it came from.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

from ksim.dice import Dice
from ksim.frame_triggers import Carried
from ksim.live.answers import WITH_ADDRESSES, readdressed, within_reach
from ksim.live.book import Book
from ksim.live.clock import Clock
from ksim.live.conversations import Conversation, Exchange, carried_by
from ksim.live.doors import Door
from ksim.live.entrances import Address, Entrance, Link
from ksim.live.frame_faults import FrameFaults
from ksim.live.naming import Naming
from ksim.live.pipes import NO_LINGER, Close, Pipe
from ksim.live.sightings import Sightings
from ksim.live.wire import (
    ADD_PARTITIONS,
    API_NAMES,
    API_VERSIONS,
    END_TXN,
    FETCH,
    INIT_PRODUCER_ID,
    PRODUCE,
    WRITE_MARKERS,
    Topics,
    Unreadable,
    batches_of,
    codec,
    known_versions,
)
from ksim.network import LinkDelays
from ksim.plan import Latency, NetworkPlan
from ksim_models.units import Micros

PROBE_EVERY_S = 0.02
"""How often a door asks whether its broker is back."""
NEWEST = 4
"""Decoders are made before they are needed: for the newest few versions of what clients speak."""


class Proxy:
    """One for a cluster. `prepare` for each run, `begin` at its time zero, `clear` behind it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.frames: FrameFaults | None = None
        self.not_read: list[str] = []
        """Connections whose bytes were passed on unread, each with the reason."""
        self._topics = Topics()
        self._sightings: Sightings | None = None
        self._clock = Clock()
        self._delays = no_delays()
        self._doors: dict[tuple[str, str], Entrance] = {}
        self._links: list[Entrance] = []
        self._nodes: dict[int, str] = {}
        self._conversations: dict[Conversation, None] = {}
        self._kept_waiting: list[tuple[str, str, Callable[[], None]]] = []
        """Connections that came to a link in the middle of a cut."""
        self._taken: set[socket.socket] = set()
        """Came in, and are not yet connected with anything."""
        self._cuts: dict[tuple[str, str], int] = {}
        self._made: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        _load_decoders()

    # A run.

    def prepare(self, clock: Clock, book: Book, naming: Naming, producers: Sequence[str], delays: LinkDelays | None = None) -> None:
        """`delays`: only where the scenario says something about its network; without, nothing is added to what the machine takes."""
        self._clock = clock
        self._sightings = Sightings(clock, book, naming, producers, self._topics)
        for node, name in self._nodes.items():
            self._sightings.name_node(node, name)
        self._set_delays(delays or no_delays())
        self._made.clear()
        self.not_read.clear()

    def learn_topics(self, ids: Mapping[str, str]) -> None:
        """Real name -> topic id as text. Clients tell by asking for metadata; followers never do."""
        for name, topic_id in ids.items():
            self._topics.learn(uuid.UUID(topic_id), name)

    def begin(self, frames: FrameFaults | None = None) -> None:
        """Time zero, after the clock was told: from now on frames are counted."""
        assert self._sightings is not None
        self._sightings.begin()
        self.frames = frames

    async def clear(self) -> None:
        """The run is over: its doors go, links stay, whole and fast."""
        self.frames = None
        self._sightings = None
        for pair in list(self._cuts):
            self._cuts[pair] = 1
            self.mend(*pair)
        self._set_delays(no_delays())
        for conversation in [conversation for conversation in self._conversations if (conversation.client, conversation.broker) in self._doors]:
            conversation.abandon()
        for entrance in self._doors.values():
            entrance.close()
        self._doors.clear()
        await asyncio.sleep(0)

    async def close(self) -> None:
        await self.clear()
        for entrance in self._links:
            entrance.close()
        self._links.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for taken in list(self._taken):
            self._let_go(taken)
        for conversation in list(self._conversations):
            conversation.abandon()
        await asyncio.sleep(0)

    # Doors and links.

    async def open_door(self, client: str, broker: str, real: Address, node: int | None = None) -> Address:
        """Where `client` is to find `broker`. `node`: its id, where the name does not say it."""
        number = node if node is not None else int(broker.rpartition("-")[2])
        return self._door(client, broker, real, number)

    def _door(self, client: str, broker: str, real: Address, node: int) -> Address:
        self._nodes[node] = broker
        if self._sightings is not None:
            self._sightings.name_node(node, broker)
        entrance = self._doors.get((client, broker))
        if entrance is None:
            entrance = self._doors[client, broker] = Entrance(client, broker, real)
            self._open(entrance)
            if self._is_cut(client, broker) and entrance.door is not None:
                entrance.door.swallow()
        entrance.real = real
        assert entrance.door is not None
        return entrance.door.address

    async def open_link(self, link: Link, owner_of: Callable[[int], str | None]) -> None:
        """`owner_of`: whose outgoing connection has this local port; asked in a thread."""
        entrance = Entrance(None, link.target, (link.host, link.real_port), owner_of)
        self._links.append(entrance)
        self._open(entrance, link.listen_port)

    def _open(self, entrance: Entrance, port: int | None = None) -> None:
        entrance.door = Door(self.loop, lambda taken: self._take(entrance, taken), port)

    def _place(self, client: str, node: int, host: str, port: int) -> Address:
        """The door of this client to that node. A node that nobody spoke of gets one now: no client goes around the proxy."""
        return self._door(client, self._nodes.get(node, f"broker-{node}"), (host, port), node)

    # Connections.

    def _take(self, entrance: Entrance, taken: socket.socket) -> None:
        self._taken.add(taken)
        self._start(self._serve(entrance, taken))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, entrance: Entrance, taken: socket.socket) -> None:
        client = entrance.client
        if client is None:
            assert entrance.owner_of is not None
            try:
                client = await asyncio.to_thread(entrance.owner_of, taken.getpeername()[1]) or "?"
            except OSError:
                self._let_go(taken)
                return
            except asyncio.CancelledError:
                taken.close()
                raise
            if self._is_cut(client, entrance.target):
                self._kept_waiting.append((client, entrance.target, lambda: self._start(self._connect(entrance, client, taken))))
                return
        await self._connect(entrance, client, taken)

    async def _connect(self, entrance: Entrance, client: str, taken: socket.socket) -> None:
        self._made[client] = self._made.get(client, 0) + 1
        name = f"{client}->{entrance.target}#{self._made[client]}"
        conversation = Conversation(name, client, entrance.target, self, self.loop, self._latency)
        self._adjust(conversation)
        self._conversations[conversation] = None
        try:
            await self.loop.create_connection(lambda: conversation.far, *entrance.real)
            await self.loop.connect_accepted_socket(lambda: conversation.near, taken)
        except OSError:
            self._let_go(taken)
            conversation.abandon()
            self.ended(conversation)
            self._broker_may_be_gone(entrance)
        else:
            self._taken.discard(taken)
            conversation.begin()

    def _let_go(self, taken: socket.socket) -> None:
        """Closed as by a system where nobody listens."""
        self._taken.discard(taken)
        with suppress(OSError):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        taken.close()

    def _adjust(self, conversation: Conversation) -> None:
        """To the cuts and speeds that hold now."""
        for pipe, pair in _pipes(conversation):
            pipe.bandwidth = self._bandwidth(pair)
            if pair in self._cuts:
                pipe.cut()

    def _latency(self, sender: str, receiver: str) -> Micros:
        return self._delays.latency((sender, receiver))

    def _bandwidth(self, path: tuple[str, str]) -> float | None:
        bandwidth = self._delays.bandwidth(path)
        return None if bandwidth is None else float(bandwidth)

    def _broker_may_be_gone(self, entrance: Entrance) -> None:
        """Where nobody listens any more, the door refuses until somebody does."""
        if not entrance.probing and entrance.door is not None:
            entrance.probing = True
            self._start(self._probe(entrance))

    async def _probe(self, entrance: Entrance) -> None:
        try:
            while (door := entrance.door) is not None:
                if await _listens(entrance.real):
                    door.welcome()
                    return
                if not door.refuses:
                    door.refuse()
                await asyncio.sleep(PROBE_EVERY_S)
        finally:
            entrance.probing = False

    # What the network does.

    def cut(self, sender: str, receiver: str) -> None:
        """From one to the other, until it is mended as often as it was cut."""
        self._cuts[sender, receiver] = self._cuts.get((sender, receiver), 0) + 1
        for pipe in self._pipes_between(sender, receiver):
            pipe.cut()
        self._set_doors(sender, receiver)

    def mend(self, sender: str, receiver: str) -> None:
        """What was sent into the cut arrives now, in order."""
        left = self._cuts.pop((sender, receiver)) - 1
        if left:
            self._cuts[sender, receiver] = left
            return
        for pipe in self._pipes_between(sender, receiver):
            pipe.mend()
        self._set_doors(sender, receiver)
        waiting, self._kept_waiting = self._kept_waiting, []
        for client, target, connect in waiting:
            if self._is_cut(client, target):
                self._kept_waiting.append((client, target, connect))
            else:
                connect()

    def reset(self, one: str, other: str, why: str = "reset") -> int:
        """Close all connections between two machines; how many there were."""
        found = [conversation for conversation in self._conversations if {conversation.client, conversation.broker} == {one, other}]
        for conversation in found:
            conversation.break_off(why, Close.RESET)
        return len(found)

    def slow_down(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        """by: added to the latency; bandwidth: of each connection, in bytes per microsecond, in place of what it was."""
        self._delays.slow_down(sender, receiver, by, bandwidth)
        self._set_bandwidth(sender, receiver)

    def speed_up(self, sender: str, receiver: str, by: Micros, bandwidth: Fraction | None) -> None:
        self._delays.speed_up(sender, receiver, by, bandwidth)
        self._set_bandwidth(sender, receiver)

    def _set_bandwidth(self, sender: str, receiver: str) -> None:
        for pipe in self._pipes_between(sender, receiver):
            pipe.bandwidth = self._bandwidth((sender, receiver))

    def _set_delays(self, delays: LinkDelays) -> None:
        self._delays = delays
        for conversation in self._conversations:
            for pipe, pair in _pipes(conversation):
                pipe.bandwidth = self._bandwidth(pair)

    def _is_cut(self, one: str, other: str) -> bool:
        return (one, other) in self._cuts or (other, one) in self._cuts

    def _pipes_between(self, sender: str, receiver: str) -> list[Pipe]:
        return [pipe for conversation in self._conversations for pipe, pair in _pipes(conversation) if pair == (sender, receiver)]

    def _set_doors(self, one: str, other: str) -> None:
        """A connection needs both directions: the way to a door is a black hole when either is cut."""
        for client, broker in ((one, other), (other, one)):
            entrance = self._doors.get((client, broker))
            if entrance is None or entrance.door is None:
                continue
            if self._is_cut(client, broker):
                entrance.door.swallow()
            else:
                entrance.door.answer_again()

    # What passes (Onlooker).

    def read_request(self, conversation: Conversation, exchange: Exchange) -> None:
        if self._is_between_brokers(conversation):
            of_coordinators = exchange.api_key in (WRITE_MARKERS, ADD_PARTITIONS)
            exchange.counts = of_coordinators or (exchange.api_key == FETCH and self._is_fetch_of_ours(conversation, exchange))
            return
        if exchange.api_key == END_TXN and exchange.codec is not None and self._sightings is not None and exchange.request.committed:
            self._sightings.commits(conversation.client)
        if exchange.api_key != PRODUCE or exchange.codec is None:
            return
        request = exchange.request
        exchange.answered = request.acks != 0
        exchange.batches = batches_of(request, self._topics)
        for batch in exchange.batches:
            if batch.unreadable:
                self.unreadable(conversation, batch.unreadable)
        if self._sightings is not None:
            self._sightings.sent(conversation.client, conversation.broker, conversation.name, exchange.batches)

    def meet_request(self, conversation: Conversation, exchange: Exchange) -> bool:
        frames = self.frames
        if frames is None or exchange.api is None or not exchange.counts:
            return False
        return frames.meet_request(conversation, exchange, self._told, self._clock.now())

    def meet_response(self, conversation: Conversation, exchange: Exchange, frame: bytes) -> bool:
        frames = self.frames
        if frames is None or exchange.api is None or not exchange.counts:
            return False
        return frames.meet_response(conversation, exchange, frame, self._told, self._clock.now())

    def seen(self, conversation: Conversation, exchange: Exchange, frame: bytes) -> bytes:
        """A client is told this: note what it learns, and let it find nobody but through the proxy."""
        if self._is_between_brokers(conversation):
            return frame
        sightings, codec_ = self._sightings, exchange.codec
        if sightings is not None and not conversation.is_ready:
            sightings.connected(conversation.client, conversation.broker, conversation.name)
        if codec_ is None or not self._is_of_interest(exchange):
            return frame
        try:
            response = codec_.read_response(frame)
        except Unreadable as problem:
            self.unreadable(conversation, str(problem))
            return frame
        if sightings is not None:
            sightings.answered(exchange.api_key, conversation.client, conversation.broker, exchange.batches, response)
        told = within_reach(response) if exchange.api_key == API_VERSIONS else response
        if exchange.api_key in WITH_ADDRESSES:
            told = readdressed(exchange.api_key, response, lambda node, host, port: self._place(conversation.client, node, host, port))
        return frame if told is response else codec_.write_response(exchange.correlation, told)

    def _is_between_brokers(self, conversation: Conversation) -> bool:
        return (conversation.client, conversation.broker) not in self._doors

    def _is_fetch_of_ours(self, conversation: Conversation, exchange: Exchange) -> bool:
        """Of followers, and of partitions of the scenario; the metadata log and Kafka's own topics are fetched in the same way."""
        if exchange.codec is None or self._sightings is None:
            return False
        conversation.fetched.take(exchange.request)
        return any(self._sightings.is_ours(topic) for topic in conversation.fetched.topics)

    def _is_of_interest(self, exchange: Exchange) -> bool:
        if exchange.api_key == FETCH:
            return exchange.version >= 16  # Since KIP-951 it may name a new leader's address.
        return exchange.api_key in WITH_ADDRESSES or exchange.api_key in (API_VERSIONS, INIT_PRODUCER_ID, END_TXN)

    def carried(self, conversation: Conversation, exchange: Exchange) -> Carried:
        return carried_by(exchange, self._told)

    def _told(self, topic: Any) -> str | None:
        return self._sightings.told(topic) if self._sightings is not None else self._topics.name_of(topic)

    def unreadable(self, conversation: Conversation, why: str) -> None:
        told = f"{conversation.name}: {why}"
        if told not in self.not_read:
            self.not_read.append(told)

    def disconnected(self, conversation: Conversation, requests: int, why: str) -> None:
        if (entrance := self._doors.get((conversation.client, conversation.broker))) is not None:
            if self._sightings is not None:
                self._sightings.disconnected(conversation.client, conversation.broker, conversation.name, requests, why)
            self._broker_may_be_gone(entrance)

    def ended(self, conversation: Conversation) -> None:
        self._conversations.pop(conversation, None)


def no_delays() -> LinkDelays:
    return LinkDelays(NetworkPlan(Latency(0, 0)), Dice(0))


def _pipes(conversation: Conversation) -> tuple[tuple[Pipe, tuple[str, str]], tuple[Pipe, tuple[str, str]]]:
    client, broker = conversation.client, conversation.broker
    return (conversation.forth, (client, broker)), (conversation.back, (broker, client))


async def _listens(real: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(*real)
    except OSError:
        return False
    writer.close()
    return True


def _load_decoders() -> None:
    for api_key in API_NAMES:
        for version in known_versions(api_key)[-NEWEST:]:
            codec(api_key, version)
