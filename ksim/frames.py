"""Faults of single frames: this Produce response is lost, that request is answered with an error.

The exchanges of an API are counted where the frame that the fault names passes by;
a broker answers in order, so the oldest unanswered request of a connection is the one a response belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ksim.dice import Dice
from ksim.loop import Connection, Loop, Wire
from ksim.plan import FaultPlan, FrameTrigger, Who
from ksim_models.errors import ErrorCode
from ksim_models.facts import Fault
from ksim_models.messages import (
    NO_OFFSET,
    ApiVersionsRequest,
    FetchedPartition,
    FetchRequest,
    FetchResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    MetadataRequest,
    MetadataResponse,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
    TopicMetadata,
)
from ksim_models.units import Micros

APIS: dict[type, str] = {
    ProduceRequest: "Produce",
    MetadataRequest: "Metadata",
    InitProducerIdRequest: "InitProducerId",
    ApiVersionsRequest: "ApiVersions",
    FetchRequest: "Fetch",
}
HITS_THE_REQUEST = ("lose-request",)


class Exchange:
    """A request on its way through a connection, and what faults want of it."""

    __slots__ = ("answer", "api", "fault", "request", "ready")

    def __init__(self, api: str, request: object) -> None:
        self.api = api
        self.request = request
        self.fault: FrameFault | None = None
        """Hits the response when it comes."""
        self.ready = False
        """Never forwarded: `answer` goes back once all before it are answered."""
        self.answer: object = None


class FrameFault:
    """One fault of the scenario, with its count."""

    def __init__(self, plan: FaultPlan, trigger: FrameTrigger, frames: Frames) -> None:
        self.plan = plan
        self.trigger = trigger
        self.frames = frames
        self.seen = 0
        self.hits = 0
        self.over = False
        self.active_from: Micros = plan.at if plan.at is not None else 0
        self.first_hit_at: Micros | None = None

    @property
    def counts_responses(self) -> bool:
        return self.trigger.side == "response" and self.plan.do not in HITS_THE_REQUEST and not (self.plan.do == "answer" and not self.plan.processed)

    def fires(self, api: str, client: str, broker: str, connection: str, message: object, now: Micros) -> bool:
        """Count this exchange if it matches, and say whether the fault hits it."""
        trigger = self.trigger
        if self.over or api != trigger.api or now < self.active_from + trigger.after:
            return False
        if self.plan.duration is not None and self.first_hit_at is not None and now >= self.first_hit_at + self.plan.duration:
            return False
        sender, receiver = (broker, client) if trigger.side == "response" else (client, broker)
        if not (self._names(trigger.sender, sender) and self._names(trigger.receiver, receiver)):
            return False
        if trigger.connection is not None and trigger.connection != connection:
            return False
        if not self._carries(message):
            return False
        self.seen += 1
        if not self._chosen():
            return False
        self.hits += 1
        if self.first_hit_at is None:
            self.first_hit_at = now
        return True

    def _names(self, who: Who | None, name: str) -> bool:
        return who is None or name in self.frames.resolve(who, self.plan)

    def _carries(self, message: object) -> bool:
        trigger = self.trigger
        if trigger.topic is None and trigger.partition is None:
            return True
        partitions: tuple[str, ...] = ()
        if isinstance(message, ProduceRequest):
            partitions = tuple(batch.partition for batch in message.batches)
        elif isinstance(message, FetchRequest):
            partitions = tuple(position.partition for position in message.partitions)
        elif isinstance(message, MetadataRequest) and trigger.partition is None:
            return trigger.topic in message.topics
        return any(
            (trigger.partition is None or partition == trigger.partition) and (trigger.topic is None or partition.rpartition("-")[0] == trigger.topic)
            for partition in partitions
        )

    def _chosen(self) -> bool:
        trigger = self.trigger
        if trigger.probability is not None:
            chosen = self.frames.dice.at("fault", self.plan.index, self.seen) < trigger.probability and self.seen >= trigger.nth
        elif trigger.every is not None:
            chosen = self.seen % trigger.every == 0
        else:
            return trigger.nth <= self.seen < trigger.nth + (trigger.times or 1)
        return chosen and (trigger.times is None or self.hits < trigger.times)


class Frames:
    """All frame faults of a run: asked about every message that a machine sends."""

    def __init__(
        self,
        faults: list[tuple[FaultPlan, FrameTrigger]],
        loop: Loop,
        dice: Dice,
        resolve: Callable[[Who, FaultPlan], tuple[str, ...]],
        note: Callable[[Fault], None],
    ) -> None:
        self.loop = loop
        self.dice = dice
        self.resolve = resolve
        self.note = note
        self.faults = [FrameFault(plan, trigger, self) for plan, trigger in faults]
        self.exchanges: dict[str, deque[Exchange]] = {}

    def meet(self, connection: Connection, wire: Wire, message: object, now: Micros) -> bool:
        api = APIS.get(type(message))
        if wire is connection.forth:
            return api is not None and self._meet_request(connection, wire, api, message, now)
        waiting = self.exchanges.get(connection.name)
        return bool(waiting) and self._meet_response(connection, wire, message, now)

    def _meet_request(self, connection: Connection, wire: Wire, api: str, message: object, now: Micros) -> bool:
        client, broker = wire.sender.name, wire.receiver.name
        exchange = Exchange(api, message)
        for fault in self._fired(exchange, client, broker, connection.name, now, responses=False):
            do = fault.plan.do
            frame = f"{client} -> {broker}"
            if isinstance(message, ProduceRequest) and message.acks == 0:
                if fault.counts_responses or do == "lose-response" or fault.plan.processed:
                    continue  # There is no answer that it could hit.
                if do == "answer":
                    do = "lose-request"  # What a broker does that refuses: it closes the connection (BP-13).
            if do == "lose-request":
                self._hit(fault, frame)
                self._break(connection)
                return True
            if do == "hang" and fault.trigger.side == "request":
                self._hit(fault, frame)
                wire.dead = True
                return True
            if do == "delay" and fault.trigger.side == "request":
                self._hit(fault, frame)
                self._expect(connection, exchange, message)
                self.loop.send_late(wire, message, fault.plan.by)
                return True
            if do == "answer" and not fault.plan.processed:
                self._hit(fault, f"{broker} -> {client}")
                exchange.ready, exchange.answer = True, self._error_answer(fault, message)
                self._expect(connection, exchange, message)
                self._send_ready(connection)
                return True
            exchange.fault = fault  # It waits for the response.
        self._expect(connection, exchange, message)
        return False

    def _fired(self, exchange: Exchange, client: str, broker: str, connection: str, now: Micros, *, responses: bool) -> list[FrameFault]:
        """Every fault counts what passes by, whichever of them strikes first."""
        faults = [fault for fault in self.faults if fault.counts_responses == responses]
        return [fault for fault in faults if fault.fires(exchange.api, client, broker, connection, exchange.request, now)]

    def _expect(self, connection: Connection, exchange: Exchange, message: object) -> None:
        if not (isinstance(message, ProduceRequest) and message.acks == 0):
            self.exchanges.setdefault(connection.name, deque()).append(exchange)

    def _meet_response(self, connection: Connection, wire: Wire, message: object, now: Micros) -> bool:
        waiting = self.exchanges[connection.name]
        exchange = waiting.popleft()
        client, broker = wire.receiver.name, wire.sender.name
        fault = next(iter([*([exchange.fault] if exchange.fault else []), *self._fired(exchange, client, broker, connection.name, now, responses=True)]), None)
        dealt_with = fault is not None and self._hit_response(fault, connection, wire, message)
        if not dealt_with and waiting and waiting[0].ready:
            self.loop.send_late(wire, message, 0)
            self._send_ready(connection)
            return True
        return dealt_with

    def _hit_response(self, fault: FrameFault, connection: Connection, wire: Wire, message: object) -> bool:
        frame = f"{wire.sender.name} -> {wire.receiver.name}"
        self._hit(fault, frame)
        match fault.plan.do:
            case "lose-response":
                self._break(connection)
            case "hang":
                wire.dead = True
            case "delay":
                self.loop.send_late(wire, message, fault.plan.by)
            case "answer":
                self.loop.send_late(wire, self._replaced(fault, message), 0)
        return True

    def _send_ready(self, connection: Connection) -> None:
        """Answers that a broker never gave take their turn behind those it did."""
        waiting = self.exchanges.get(connection.name)
        while waiting and waiting[0].ready:
            self.loop.send_late(connection.back, waiting.popleft().answer, self.loop.network.delay(connection.forth.path, None))

    def _break(self, connection: Connection) -> None:
        self.exchanges.pop(connection.name, None)
        self.loop.break_connection(connection)

    def _hit(self, fault: FrameFault, frame: str) -> None:
        self.note(Fault(fault.plan.name, fault.plan.do, "hit", (frame,), fault.hits))

    def heal(self) -> None:
        """Faults without end are over. One that is still to hit a certain number of exchanges may yet do so: it ends by itself."""
        for fault in self.faults:
            if fault.trigger.times is None and (fault.trigger.every is not None or fault.trigger.probability is not None):
                fault.over = True

    # Answers with an error.

    def _error_answer(self, fault: FrameFault, request: object) -> object:
        """As a broker would have answered that refused: for every partition, or for the one the fault names."""
        error = self._error(fault)
        match request:
            case ProduceRequest():
                return ProduceResponse(tuple(self._result(fault, ProduceResult(batch.partition, ErrorCode.NONE, NO_OFFSET, -1)) for batch in request.batches))
            case InitProducerIdRequest():
                return InitProducerIdResponse(error, -1, -1)
            case FetchRequest():
                return FetchResponse(tuple(FetchedPartition(position.partition, error) for position in request.partitions))
            case MetadataRequest():
                return MetadataResponse((), tuple(TopicMetadata(topic, error, ()) for topic in request.topics))
            case _:
                raise AssertionError(f"no error answer to {request}")

    def _replaced(self, fault: FrameFault, response: object) -> object:
        """The broker did the work; the client is told otherwise."""
        error = self._error(fault)
        match response:
            case ProduceResponse():
                return ProduceResponse(tuple(self._result(fault, result) for result in response.results))
            case InitProducerIdResponse():
                return InitProducerIdResponse(error, -1, -1)
            case FetchResponse():
                return FetchResponse(tuple(FetchedPartition(fetched.partition, error) for fetched in response.partitions))
            case MetadataResponse():
                return MetadataResponse(response.brokers, tuple(replace(topic, error=error, partitions=()) for topic in response.topics))
            case _:
                return response

    def _result(self, fault: FrameFault, result: ProduceResult) -> ProduceResult:
        if fault.plan.partition is not None and result.partition != fault.plan.partition:
            return result
        return ProduceResult(result.partition, self._error(fault), NO_OFFSET if not fault.plan.processed else result.base_offset, result.log_start_offset)

    def _error(self, fault: FrameFault) -> ErrorCode:
        error = fault.plan.error
        assert error is not None, "the scenario was checked: an answer names its error"
        return error
