"""What the loop moves things between: processes, and the connections of TCP between them.

Not Kafka's. A connection is two wires, each an ordered stream of its own.
"""

from __future__ import annotations

from collections import deque

from ksim_models.machine import Event, Machine
from ksim_models.units import Micros


class BreaksOff:
    """Where it arrives, the connection breaks for both sides."""


class Cell:
    """A machine in its process: running, frozen, about to end or gone."""

    __slots__ = ("alarm_at", "callers", "comes_back", "connections", "dark", "down", "frozen", "inbox", "leaving", "machine", "name")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.name = machine.name
        self.alarm_at: Micros | None = None
        self.down = False
        self.dark = False
        """Its machine has no power: nobody answers for it, not even to refuse."""
        self.callers: list[Connection] = []
        """Who called meanwhile: their systems go on trying."""
        self.frozen = False
        self.leaving = False
        """It was asked to end, and has not yet."""
        self.comes_back = False
        """It was asked to start again meanwhile: it does so once it is gone."""
        self.inbox: deque[Event] = deque()
        self.connections: dict[str, Connection] = {}


class Wire:
    """One direction of a connection."""

    __slots__ = ("connection", "dead", "free_at", "held", "path", "receiver", "sender")

    def __init__(self, connection: Connection, sender: Cell, receiver: Cell) -> None:
        self.connection = connection
        self.sender = sender
        self.receiver = receiver
        self.path = sender.name, receiver.name
        self.free_at: Micros = -(2**62)
        """When the last thing sent arrives: nothing sent later arrives before."""
        self.held: list[Event | BreaksOff] = []
        """Sent into a cut: TCP repeats it until the cut is mended."""
        self.dead = False
        """Nothing more will ever arrive (a hang)."""


class Connection:
    __slots__ = ("back", "forgotten_by", "forth", "name", "open_at_acceptor", "open_at_opener", "unheard")

    def __init__(self, name: str, opener: Cell, acceptor: Cell) -> None:
        self.name = name
        self.forth = Wire(self, opener, acceptor)
        self.back = Wire(self, acceptor, opener)
        self.open_at_opener = True
        self.open_at_acceptor = True
        self.forgotten_by: Cell | None = None
        """Its machine lost its power: when it is back, its system knows nothing of this connection."""
        self.unheard = False
        """Something was sent to it since, and is sent again and again."""

    def wire_from(self, cell: Cell) -> Wire:
        return self.forth if cell is self.forth.sender else self.back

    def close_at(self, cell: Cell) -> None:
        if cell is self.forth.sender:
            self.open_at_opener = False
        else:
            self.open_at_acceptor = False

    def is_open_at(self, cell: Cell) -> bool:
        return self.open_at_opener if cell is self.forth.sender else self.open_at_acceptor
