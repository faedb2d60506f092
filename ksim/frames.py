"""Faults of single frames: this Produce response is lost, that request is answered with an error.

The exchanges of an API are counted where the frame that the fault names passes by;
a broker answers in order, so the oldest unanswered request of a connection is the one a response belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ksim.dice import Dice
from ksim.frame_answers import APIS, partitions_of, refusal, replaced
from ksim.frame_triggers import Carried, FrameFault, fired
from ksim.loop import Loop
from ksim.loop_connections import Connection, Wire
from ksim.plan import FaultPlan, FrameTrigger, Who
from ksim_models.errors import ErrorCode
from ksim_models.facts import Fault
from ksim_models.messages import MetadataRequest, ProduceRequest, ProduceResponse, ProduceResult, RecordBatch
from ksim_models.units import Micros


class Exchange:
    """A request on its way through a connection, and what faults want of it."""

    __slots__ = ("answer", "api", "fault", "ready", "refused", "request")

    def __init__(self, api: str, request: object) -> None:
        self.api = api
        self.request = request
        self.fault: FrameFault | None = None
        """Hits the response when it comes."""
        self.ready = False
        """Never forwarded: `answer` goes back once all before it are answered."""
        self.answer: object = None
        self.refused: tuple[ProduceResult, ...] = ()
        """What the broker never saw of it: refused in its name, beside its own answer for the rest."""


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
        self.note = note
        self.faults = [FrameFault(plan, trigger, dice, resolve) for plan, trigger in faults]
        self.exchanges: dict[str, deque[Exchange]] = {}
        self.lost: set[str] = set()
        """Connections that break where a request is lost: what was sent behind it passes nowhere."""

    def meet(self, connection: Connection, wire: Wire, message: object, now: Micros) -> bool:
        api = APIS.get(type(message))
        if wire is connection.forth:
            return api is not None and self._meet_request(connection, wire, api, message, now)
        waiting = self.exchanges.get(connection.name)
        return bool(waiting) and self._meet_response(connection, wire, message, now)

    def _meet_request(self, connection: Connection, wire: Wire, api: str, message: object, now: Micros) -> bool:
        if connection.name in self.lost:
            return True
        client, broker = wire.sender.name, wire.receiver.name
        exchange = Exchange(api, message)
        for fault in self._fired(exchange, client, broker, connection.name, now, responses=False):
            do = fault.deed(answered=_is_answered(message))
            frame = f"{client} -> {broker}"
            if do is None:
                continue
            if do == "lose-request":
                self._hit(fault, frame)
                self.lost.add(connection.name)
                self.loop.break_in_turn(wire)
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
                if isinstance(message, ProduceRequest) and (others := _others(message, fault.plan.partition)):
                    exchange.refused = tuple(self._refusal(fault, batch) for batch in message.batches if batch not in others)
                    self._expect(connection, exchange, message)
                    self.loop.send_late(wire, replace(message, batches=others), 0)
                    return True
                exchange.ready, exchange.answer = True, self._error_answer(fault, message)
                self._expect(connection, exchange, message)
                self._send_ready(connection)
                return True
            exchange.fault = fault  # It waits for the response.
        self._expect(connection, exchange, message)
        return False

    def _fired(self, exchange: Exchange, client: str, broker: str, connection: str, now: Micros, *, responses: bool) -> list[FrameFault]:
        return fired(self.faults, exchange.api, client, broker, connection, lambda: _carried_by(exchange.request), now, responses=responses)

    def _expect(self, connection: Connection, exchange: Exchange, message: object) -> None:
        if _is_answered(message):
            self.exchanges.setdefault(connection.name, deque()).append(exchange)

    def _meet_response(self, connection: Connection, wire: Wire, message: object, now: Micros) -> bool:
        waiting = self.exchanges[connection.name]
        exchange = waiting.popleft()
        client, broker = wire.receiver.name, wire.sender.name
        if exchange.refused:
            assert isinstance(message, ProduceResponse)
            message = ProduceResponse((*message.results, *exchange.refused))
        fault = next(iter([*([exchange.fault] if exchange.fault else []), *self._fired(exchange, client, broker, connection.name, now, responses=True)]), None)
        if fault is not None:
            self._hit_response(fault, connection, wire, message)
        elif exchange.refused or (waiting and waiting[0].ready):
            self.loop.send_late(wire, message, 0)
        else:
            return False
        self._send_ready(connection)
        return True

    def _hit_response(self, fault: FrameFault, connection: Connection, wire: Wire, message: object) -> None:
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

    def _send_ready(self, connection: Connection) -> None:
        """Answers that a broker never gave take their turn behind those it did."""
        waiting = self.exchanges.get(connection.name)
        while waiting and waiting[0].ready:
            self.loop.send_late(connection.back, waiting.popleft().answer, self.loop.network.latency(connection.forth.path))

    def _break(self, connection: Connection) -> None:
        self.exchanges.pop(connection.name, None)
        self.loop.break_connection(connection)

    def _hit(self, fault: FrameFault, frame: str) -> None:
        self.note(Fault(fault.plan.name, fault.plan.do, "hit", (frame,), fault.hits))

    def heal(self) -> None:
        for fault in self.faults:
            fault.heal()

    # Answers with an error.

    def _refusal(self, fault: FrameFault, batch: RecordBatch) -> ProduceResult:
        return ProduceResult(batch.partition, self._error(fault))

    def _error_answer(self, fault: FrameFault, request: object) -> object:
        """As a broker would have answered that refused."""
        if isinstance(request, ProduceRequest):
            return ProduceResponse(tuple(self._refusal(fault, batch) for batch in request.batches))
        return refusal(request, self._error(fault))

    def _replaced(self, fault: FrameFault, response: object) -> object:
        """The broker did the work; the client is told otherwise: of every partition, or of the one the fault names."""
        if isinstance(response, ProduceResponse):
            return ProduceResponse(tuple(self._result(fault, result) for result in response.results))
        return replaced(response, self._error(fault))

    def _result(self, fault: FrameFault, result: ProduceResult) -> ProduceResult:
        if fault.plan.partition is not None and result.partition != fault.plan.partition:
            return result
        return ProduceResult(result.partition, self._error(fault), result.base_offset, result.log_start_offset)

    def _error(self, fault: FrameFault) -> ErrorCode:
        error = fault.plan.error
        assert error is not None, "the scenario was checked: an answer names its error"
        return error


def _others(request: ProduceRequest, partition: str | None) -> tuple[RecordBatch, ...]:
    """What the broker is to append all the same, where the error is for one partition only."""
    return tuple(batch for batch in request.batches if partition is not None and batch.partition != partition)


def _is_answered(message: object) -> bool:
    return not (isinstance(message, ProduceRequest) and message.acks == 0)


def _carried_by(message: object) -> Carried:
    return (message.topics, ()) if isinstance(message, MetadataRequest) else ((), partitions_of(message))
