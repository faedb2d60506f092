"""Faults of single frames on real connections: this Produce response is lost, that request is answered with an error.

The exchanges are counted as in the simulation (`ksim.frame_triggers`); what cannot be done to a real frame is said in the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ksim.dice import Dice
from ksim.frame_triggers import FrameFault, fired
from ksim.live.answers import NotPossible, error_answer, with_error
from ksim.live.conversations import Conversation, Exchange
from ksim.live.wire import Unreadable
from ksim.plan import FaultPlan, FrameTrigger, Who
from ksim_models.facts import Fault
from ksim_models.units import Micros

Told = Callable[[Any], str | None]
"""The scenario's name of the topic that an entry of a request or response is about."""


class FrameFaults:
    """All frame faults of a replay: asked about every exchange that passes through the proxy."""

    def __init__(
        self,
        faults: Iterable[FaultPlan],
        dice: Dice,
        resolve: Callable[[Who, FaultPlan], tuple[str, ...]],
        note: Callable[[Fault], None],
    ) -> None:
        self.faults = [FrameFault(plan, plan.when, dice, resolve) for plan in faults if isinstance(plan.when, FrameTrigger)]
        self._note = note
        self._said: set[tuple[int, str]] = set()

    def meet_request(self, conversation: Conversation, exchange: Exchange, told: Told, now: Micros) -> bool:
        """True: dealt with, not to be forwarded."""
        client, broker, frame = conversation.client, conversation.broker, exchange.frame
        for fault in self._fired(conversation, exchange, now, responses=False):
            at_request = fault.trigger.side == "request"
            match fault.deed(answered=exchange.answered):
                case None:
                    continue
                case "lose-request":
                    self._hit(fault, f"{client} -> {broker}")
                    conversation.expect(exchange)
                    conversation.break_in_turn(fault.plan.name)
                    return True
                case "hang" if at_request:
                    self._hit(fault, f"{client} -> {broker}")
                    conversation.expect(exchange)
                    conversation.forth.dead = True
                    return True
                case "delay" if at_request:
                    self._hit(fault, f"{client} -> {broker}")
                    conversation.expect(exchange)
                    conversation.forth.send(frame, fault.plan.by)
                    return True
                case "answer" if not fault.plan.processed:
                    answer = self._refusal(fault, exchange, told)
                    if answer is None:
                        continue
                    self._hit(fault, f"{broker} -> {client}")
                    exchange.answer = answer
                    conversation.expect(exchange)
                    conversation.answer_those_ready()
                    return True
                case _:
                    exchange.fault = fault  # It waits for the response.
        return False

    def meet_response(self, conversation: Conversation, exchange: Exchange, frame: bytes, told: Told, now: Micros) -> bool:
        """True: dealt with, not to be sent on."""
        counted = self._fired(conversation, exchange, now, responses=True)
        fault = exchange.fault or next(iter(counted), None)
        if fault is None:
            return False
        path = f"{conversation.broker} -> {conversation.client}"
        match fault.plan.do:
            case "lose-response":
                self._hit(fault, path)
                conversation.unheard += 1
                conversation.break_off(fault.plan.name)
            case "hang":
                self._hit(fault, path)
                conversation.unheard += 1
                conversation.back.dead = True
            case "delay":
                self._hit(fault, path)
                conversation.answer(exchange, frame, fault.plan.by)
            case "answer":
                changed = self._changed(fault, exchange, frame, told)
                if changed is None:
                    return False
                self._hit(fault, path)
                conversation.answer(exchange, changed)
        return True

    def heal(self) -> None:
        for fault in self.faults:
            fault.heal()

    def _fired(self, conversation: Conversation, exchange: Exchange, now: Micros, *, responses: bool) -> list[FrameFault]:
        api = exchange.api
        if api is None:
            return []
        if exchange.codec is None and not responses:
            self._complain_of_filters(exchange, api)
        return fired(
            self.faults,
            api,
            conversation.client,
            conversation.broker,
            conversation.name,
            lambda: conversation.carried(exchange),
            now,
            responses=responses,
        )

    def _complain_of_filters(self, exchange: Exchange, api: str) -> None:
        """Which topic it is about stands in the part that cannot be read."""
        for fault in self.faults:
            if fault.trigger.api == api and (fault.trigger.topic is not None or fault.trigger.partition is not None):
                self._not_injected(fault, _unreadable(exchange))

    def _refusal(self, fault: FrameFault, exchange: Exchange, told: Told) -> bytes | None:
        error = fault.plan.error
        assert error is not None, "the scenario was checked: an answer names its error"
        try:
            if exchange.codec is None:
                raise NotPossible(_unreadable(exchange))
            payload = error_answer(exchange.api_key, exchange.codec, exchange.request, error, _concerns(fault, told))
            return exchange.codec.write_response(exchange.correlation, payload)
        except (NotPossible, Unreadable) as problem:
            self._take_back(fault, str(problem))
            return None

    def _changed(self, fault: FrameFault, exchange: Exchange, frame: bytes, told: Told) -> bytes | None:
        error = fault.plan.error
        assert error is not None, "the scenario was checked: an answer names its error"
        try:
            if exchange.codec is None:
                raise NotPossible(_unreadable(exchange))
            payload = with_error(exchange.api_key, exchange.codec.read_response(frame), exchange.codec, error, _concerns(fault, told))
            return exchange.codec.write_response(exchange.correlation, payload)
        except (NotPossible, Unreadable) as problem:
            self._take_back(fault, str(problem))
            return None

    def _take_back(self, fault: FrameFault, why: str) -> None:
        """It was counted as a hit, but it could not be done."""
        fault.hits -= 1
        if not fault.hits:
            fault.first_hit_at = None
        self._not_injected(fault, why)

    def _not_injected(self, fault: FrameFault, why: str) -> None:
        """Once for each reason."""
        if (fault.plan.index, why) not in self._said:
            self._said.add((fault.plan.index, why))
            self._note(Fault(fault.plan.name, fault.plan.do, "not-injected", (), 0, why))

    def _hit(self, fault: FrameFault, frame: str) -> None:
        self._note(Fault(fault.plan.name, fault.plan.do, "hit", (frame,), fault.hits))


def _concerns(fault: FrameFault, told: Told) -> Callable[[Any, int], bool]:
    """For every partition, or for the one that the fault names."""
    return lambda topic, partition: fault.plan.partition is None or f"{told(topic)}-{partition}" == fault.plan.partition


def _unreadable(exchange: Exchange) -> str:
    return f"{exchange.api} version {exchange.version} cannot be read by this ksim"
