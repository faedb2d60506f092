"""The event loop: machines on a network of TCP connections, in simulated time. The only file that knows SimPy.

Within one instant the application sends first (machines take their arrivals before anything else), the network and the faults speak next, patience ends last.
A connection is an ordered byte stream: a lost packet is a delay, never a message missing in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import simpy
from simpy.core import EmptySchedule

from ksim.loop_connections import BreaksOff, Cell, Connection, Wire
from ksim_models.machine import (
    Close,
    Closed,
    Crashed,
    Effect,
    Event,
    Exit,
    Machine,
    Note,
    Open,
    Opened,
    Paused,
    Received,
    Restarted,
    Resumed,
    Rouse,
    Send,
    Terminated,
    Wake,
)
from ksim_models.units import Micros

NETWORK: Any = 1
PATIENCE: Any = 2
"""SimPy's priorities: what happens first within one instant."""


class Happening:
    """A lean event: the stock Environment asks for `callbacks` and `_ok` only."""

    __slots__ = ("_ok", "callbacks", "what")

    def __init__(self, callback: Callable[[Any], None], what: Any) -> None:
        self.callbacks: Any = (callback,)
        self._ok = True
        self.what = what


class Network(Protocol):
    """How long a message takes: `ksim.network`."""

    constant: Micros | None
    """The same for every message, as long as this is not None: then nobody has to ask for each."""

    def arrival(self, wire: Wire, event: object, now: Micros) -> Micros:
        """When what is sent on it now is at the other end."""
        ...

    def latency(self, path: tuple[str, str]) -> Micros:
        """From the first of these two machines to the second."""
        ...


class Work(Protocol):
    """How long a message is worked on until it counts as received: `ksim.costs`."""

    def takes(self, path: tuple[str, str], asks: bool, message: object) -> Micros:
        """asks: it is a request, else an answer."""
        ...


class Interceptor(Protocol):
    """What frame faults do to a message (`ksim.frames`): None lets it pass unharmed."""

    def meet(self, connection: Connection, wire: Wire, message: object, now: Micros) -> bool:
        """True if the message was dealt with and must not be sent on."""
        ...


class Loop:
    def __init__(self, network: Network, note: Callable[[Micros, object], None], start: Micros) -> None:
        self.environment: Any = simpy.Environment(initial_time=start)  # Its time stays an int: all that is ever added are ints.
        self.network = network
        self.note = note
        self.cells: dict[str, Cell] = {}
        self.cuts: dict[tuple[str, str], int] = {}
        """(from, to) -> how many cuts stand in the way."""
        self.interceptor: Interceptor | None = None
        self.work: Work | None = None
        """None: whatever is asked for is done at once."""
        self.events = 0
        self.may_end = False
        """Before this is set nobody asks whether the run is over."""
        self._schedule: Any = self.environment.schedule

    @property
    def now(self) -> Micros:
        now: Micros = self.environment.now
        return now

    def add(self, machine: Machine, *, is_client: bool = False) -> None:
        cell = self.cells[machine.name] = Cell(machine, is_client=is_client)
        cell.wants_at = machine.wake_at
        self._arm(cell, self.now)

    def run(self, until: Callable[[], bool]) -> None:
        """Step until it may end and `until()` is true, or until nothing is left to happen."""
        step = self.environment.step
        try:
            while not (self.may_end and until()):
                step()
                self.events += 1
        except EmptySchedule:
            pass

    def call_at(self, at: Micros, do: Callable[[], None]) -> None:
        """Faults speak with the network's voice."""
        self._schedule(Happening(lambda happening: do(), None), NETWORK, max(0, at - self.now))

    # Machines.

    def _arm(self, cell: Cell, now: Micros) -> None:
        """One lazily re-armed alarm per machine: earlier than the one that stands, or the next. A machine is asked once after each event, never in between."""
        at = cell.wants_at
        if at is not None and (cell.alarm_at is None or at < cell.alarm_at):
            cell.alarm_at = at if at > now else now
            self._schedule(Happening(self._ring, (cell, cell.alarm_at)), PATIENCE, cell.alarm_at - now)

    def _ring(self, happening: Happening) -> None:
        cell, now = happening.what
        if cell.alarm_at != now:
            return  # An earlier alarm took its place.
        cell.alarm_at = None
        if cell.down or cell.frozen:
            return
        at = cell.wants_at
        if at is not None and at <= now:
            self._carry_out(cell, cell.machine.handle(Wake(), now), now)
        else:
            self._arm(cell, now)
        assert cell.alarm_at is None or cell.alarm_at > now, f"{cell.name} wants to be woken at {now} again and again"

    def tell(self, cell: Cell, event: Event, now: Micros) -> None:
        """An event reaches a machine, or its inbox while it is frozen."""
        if cell.down:
            return
        if cell.frozen:
            cell.inbox.append(event)
            return
        self._carry_out(cell, cell.machine.handle(event, now), now)

    def wake(self, name: str) -> None:
        """A spurious wake: it changes nothing but makes a machine take what has come. No alarm rings for a frozen process."""
        if not self.cells[name].frozen:
            self.tell(self.cells[name], Wake(), self.now)

    def _carry_out(self, cell: Cell, effects: Sequence[Effect], now: Micros) -> None:
        """What the machine wants done, and then its next alarm, as in `_arm`."""
        for effect in effects:
            if type(effect) is Send:
                connection = cell.connections.get(effect.connection)
                if connection is not None:
                    wire = connection.forth if cell is connection.forth.sender else connection.back
                    if self.interceptor is None or not self.interceptor.meet(connection, wire, effect.message, now):
                        self._put(wire, Received(effect.connection, effect.message), now)
            elif type(effect) is Note:
                self.note(now, effect.fact)
            elif type(effect) is Open:
                self._open(cell, effect.connection, effect.peer, now)
            elif type(effect) is Close:
                connection = cell.connections.get(effect.connection)
                if connection is not None:
                    self.hang_up(connection, cell)
            elif type(effect) is Exit:
                self._end(cell, now)
            elif type(effect) is Rouse:
                self.call_at(now, partial(self.wake, effect.machine))
        at = cell.wants_at = cell.machine.wake_at
        if at is not None and (cell.alarm_at is None or at < cell.alarm_at):
            self._arm(cell, now)

    # Connections.

    def _open(self, cell: Cell, name: str, peer: str, now: Micros) -> None:
        connection = Connection(name, cell, self.cells[peer], now)
        connection.open_at_acceptor = False
        cell.connections[name] = connection
        self._put(connection.forth, Opened(name, cell.name, True), now)

    def send_late(self, wire: Wire, message: object, by: Micros) -> None:
        """Later by that much; what stands behind it is later too."""
        self._put(wire, Received(wire.connection.name, message), self.now, by)

    def _put(self, wire: Wire, event: Event | BreaksOff, now: Micros, extra: Micros = 0) -> None:
        if wire.dead and type(event) is Received:
            return
        if wire.held or (self.cuts and wire.path in self.cuts):
            wire.held.append(event)
            return
        delay = self.network.constant
        arrives = now + extra + delay if delay is not None else self.network.arrival(wire, event, now + extra)
        if arrives < wire.free_at:
            arrives = wire.free_at
        if self.work is not None and type(event) is Received:
            arrives += self.work.takes(wire.path, wire is wire.connection.forth, event.message)
        wire.free_at = arrives
        self._schedule(Happening(self._arrive, (wire, event, arrives)), NETWORK, arrives - now)

    def _arrive(self, happening: Happening) -> None:
        wire, event, now = happening.what
        connection, receiver = wire.connection, wire.receiver
        kind = type(event)
        if kind is Received:
            if receiver.connections.get(connection.name) is connection:
                if receiver.down or receiver.frozen:
                    self.tell(receiver, event, now)
                else:
                    self._carry_out(receiver, receiver.machine.handle(event, now), now)
            elif connection.forgotten_by is receiver:
                self._meet_the_forgetful(connection, receiver)
        elif kind is Closed:
            self._lose(connection, receiver, now)
        elif kind is BreaksOff:
            self.break_connection(connection)
        elif wire is connection.forth:
            self._accept(connection, receiver, now)
        elif connection.open_at_opener:  # The other side has accepted.
            self.tell(receiver, event, now)

    def _accept(self, connection: Connection, acceptor: Cell, now: Micros) -> None:
        """The other side's system accepts at once, even for a frozen process; nobody listens where the process is gone, and it refuses."""
        if not connection.open_at_opener:
            return
        if acceptor.dark:
            acceptor.callers.append(connection)
            return
        if acceptor.down:
            self._put(connection.back, Closed(connection.name), now)
            return
        connection.open_at_acceptor = True
        acceptor.connections[connection.name] = connection
        self.tell(acceptor, Opened(connection.name, connection.forth.sender.name, True), now)
        self._put(connection.back, Opened(connection.name, acceptor.name, False), now)

    def _lose(self, connection: Connection, cell: Cell, now: Micros) -> None:
        """This end learns that the connection is gone."""
        if cell.connections.pop(connection.name, None) is not None:
            connection.close_at(cell)
            self.tell(cell, Closed(connection.name), now)

    def hang_up(self, connection: Connection, cell: Cell) -> None:
        """`cell` closes: it hears no more of it; the other side learns behind all that was sent before.

        Closing takes back nothing: what a cut holds is repeated by the closer's system, and arrives before the end does when the cut is mended.
        """
        cell.connections.pop(connection.name, None)
        connection.close_at(cell)
        self._put(connection.wire_from(cell), Closed(connection.name), self.now)

    def break_connection(self, connection: Connection) -> None:
        """A reset from outside: both sides learn, each behind what was under way to it."""
        for wire in (connection.forth, connection.back):
            wire.held.clear()
            self._put(wire, Closed(connection.name), self.now)
            wire.dead = True

    def break_in_turn(self, wire: Wire) -> None:
        """Broken where the next message would have arrived, behind all that is on its way; nothing follows."""
        self._put(wire, BreaksOff(), self.now)
        wire.dead = True

    def _meet_the_forgetful(self, connection: Connection, cell: Cell) -> None:
        """A system that knows nothing of this connection says so (RST); one without power says nothing, and hears of it again when it is back."""
        if cell.dark:
            connection.unheard = True
        else:
            connection.forgotten_by = None
            self._put(connection.wire_from(cell), Closed(connection.name), self.now)

    # Faults.

    def power_off(self, name: str, *, tells_when_back: bool = False) -> None:
        """The machine is gone, and nobody is told: its peers learn by their time-outs, or when they send to it after it is back.

        tells_when_back: those who wait without a time-out of their own learn when it is back, whether they have sent or not.
        """
        cell = self.cells[name]
        if cell.down:
            return
        cell.frozen = False
        cell.inbox.clear()
        self.tell(cell, Crashed(power_lost=True), self.now)
        cell.down, cell.dark, cell.leaving = True, True, False
        for connection in cell.connections.values():
            connection.forgotten_by = cell
            away = connection.wire_from(cell)
            towards = connection.wire_from(away.receiver)
            away.held.clear()  # Nobody repeats it.
            connection.unheard = tells_when_back or bool(towards.held)
            connection.close_at(cell)
            cell.callers.append(connection)
        cell.connections.clear()

    def _power_on(self, cell: Cell) -> None:
        """Simplified: what is repeated into the dark is repeated at the very moment of the return; TCP waits longer and longer."""
        cell.dark = False
        callers, cell.callers = cell.callers, []
        for connection in callers:
            if connection.forgotten_by is not cell:
                self._accept(connection, cell, self.now)
            elif connection.unheard:
                self._meet_the_forgetful(connection, cell)

    def crash(self, name: str) -> None:
        """kill -9: the process is gone, its sockets are closed by the system."""
        cell = self.cells[name]
        if cell.down:
            return
        cell.frozen = False
        cell.inbox.clear()
        self.tell(cell, Crashed(), self.now)
        self._take_down(cell)

    def _take_down(self, cell: Cell) -> None:
        cell.down, cell.leaving = True, False
        for connection in list(cell.connections.values()):
            self.hang_up(connection, cell)

    def terminate(self, name: str, within: Micros | None = None) -> None:
        """SIGTERM: the process ends when it is ready to. What is stopped cannot end orderly, so it goes on first."""
        cell = self.cells[name]
        if not cell.down:
            cell.leaving = True
            self.resume(name)
            self.tell(cell, Terminated(within), self.now)

    def _end(self, cell: Cell, now: Micros) -> None:
        """It has ended by itself."""
        self._take_down(cell)
        if cell.comes_back:
            cell.comes_back = False
            self.call_at(now, lambda: self.restart(cell.name))

    def restart(self, name: str) -> None:
        """Nothing for what runs; what is about to end starts again when it has."""
        cell = self.cells[name]
        if cell.down:
            cell.down = cell.comes_back = False
            self.tell(cell, Restarted(), self.now)
            if cell.dark:
                self._power_on(cell)
        elif cell.leaving:
            cell.comes_back = True

    def pause(self, name: str) -> None:
        cell = self.cells[name]
        if not cell.down and not cell.frozen:
            self.tell(cell, Paused(), self.now)
            cell.frozen = True

    def resume(self, name: str) -> None:
        cell = self.cells[name]
        if not cell.frozen:
            return
        cell.frozen = False
        now = self.now
        self.tell(cell, Resumed(), now)
        while cell.inbox and not cell.frozen:
            self.tell(cell, cell.inbox.popleft(), now)
        self._arm(cell, now)

    def cut(self, sender: str, receiver: str) -> None:
        self.cuts[sender, receiver] = self.cuts.get((sender, receiver), 0) + 1

    def mend(self, sender: str, receiver: str) -> None:
        """What was sent into the cut arrives now, in order, also where the sender closed the connection meanwhile.

        But a client that was connecting is heard only when its system calls again. Simplified: brokers that were are heard now.
        """
        left = self.cuts.pop((sender, receiver)) - 1
        if left:
            self.cuts[sender, receiver] = left
            return
        for wire in self._wires_between(sender, receiver):
            held, wire.held = wire.held, []
            for event in held:
                waits = type(event) is Opened and wire.connection.forth.sender.is_client
                self._put(wire, event, self.now, wire.connection.calls_again(self.now) - self.now if waits else 0)

    def reset(self, one: str, other: str) -> int:
        """Close all connections between two machines; how many there were."""
        connections = [
            connection for connection in self.cells[one].connections.values() if other in (connection.forth.sender.name, connection.forth.receiver.name)
        ]
        for connection in connections:
            self.break_connection(connection)
        return len(connections)

    def is_carrying(self, kind: type) -> bool:
        """Is a message of this kind still on its way to somebody who will read it?"""
        for _, _, _, happening in self.environment._queue:
            if isinstance(happening, Happening) and isinstance(happening.what, tuple) and isinstance(happening.what[0], Wire):
                wire, event, _ = happening.what
                if type(event) is Received and type(event.message) is kind and wire.connection.is_open_at(wire.receiver):
                    return True
        cells = self.cells.values()
        held = (event for cell in cells for connection in cell.connections.values() for wire in (connection.forth, connection.back) for event in wire.held)
        return any(type(event) is Received and type(event.message) is kind for event in (*held, *(event for cell in cells for event in cell.inbox)))

    def _wires_between(self, sender: str, receiver: str) -> list[Wire]:
        found: dict[int, Wire] = {}
        for cell in (self.cells[sender], self.cells[receiver]):
            for connection in cell.connections.values():
                for wire in (connection.forth, connection.back):
                    if wire.path == (sender, receiver):
                        found[id(wire)] = wire
        return list(found.values())
