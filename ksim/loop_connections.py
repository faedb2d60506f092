"""What the loop moves things between: processes, and the connections of TCP between them.

Not Kafka's. A connection is two wires, each an ordered stream of its own.
"""

from __future__ import annotations

from collections import deque

from ksim_models.machine import Event, Machine
from ksim_models.units import Micros, s

CALLS_EVERY_SECOND = 5
"""tcp_syn_linear_timeouts of Linux 6.5 and later; then each pause is twice the one before: 1, 2, 3, 4, 5, 7, 11, 19, 35 s (measured)."""


class BreaksOff:
    """Where it arrives, the connection breaks for both sides."""


class Cell:
    """A machine in its process: running, frozen, about to end or gone."""

    __slots__ = ("alarm_at", "callers", "comes_back", "connections", "dark", "down", "frozen", "inbox", "is_client", "leaving", "machine", "name", "wants_at")

    def __init__(self, machine: Machine, *, is_client: bool = False) -> None:
        self.machine = machine
        self.name = machine.name
        self.is_client = is_client
        self.alarm_at: Micros | None = None
        self.wants_at: Micros | None = None
        """When the machine wants to be woken, as it said after its last event."""
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

    __slots__ = ("connection", "dead", "free_at", "held", "path", "receiver", "sender", "sent_at")

    def __init__(self, connection: Connection, sender: Cell, receiver: Cell) -> None:
        self.connection = connection
        self.sender = sender
        self.receiver = receiver
        self.path = sender.name, receiver.name
        self.free_at: Micros = -(2**62)
        """When the last thing sent arrives: nothing sent later arrives before."""
        self.sent_at: Micros = -(2**62)
        """When the last byte sent has left, where the bandwidth is limited."""
        self.held: list[Event | BreaksOff] = []
        """Sent into a cut: TCP repeats it until the cut is mended."""
        self.dead = False
        """Nothing more will ever arrive (a hang)."""


class Connection:
    __slots__ = ("back", "called_at", "forgotten_by", "forth", "name", "open_at_acceptor", "open_at_opener", "unheard")

    def __init__(self, name: str, opener: Cell, acceptor: Cell, called_at: Micros = 0) -> None:
        self.name = name
        self.called_at = called_at
        """When the opener first called (SYN)."""
        self.forth = Wire(self, opener, acceptor)
        self.back = Wire(self, acceptor, opener)
        self.open_at_opener = True
        self.open_at_acceptor = True
        self.forgotten_by: Cell | None = None
        """Its machine lost its power: when it is back, its system knows nothing of this connection."""
        self.unheard = False
        """Something was sent to it since, and is sent again and again."""

    def calls_again(self, now: Micros) -> Micros:
        """When the opener's system calls next, while nobody answers."""
        at, pause, calls = self.called_at, s(1), 0
        while at < now:
            at += pause
            calls += 1
            if calls >= CALLS_EVERY_SECOND:
                pause *= 2
        return at

    def wire_from(self, cell: Cell) -> Wire:
        return self.forth if cell is self.forth.sender else self.back

    def close_at(self, cell: Cell) -> None:
        if cell is self.forth.sender:
            self.open_at_opener = False
        else:
            self.open_at_acceptor = False

    def is_open_at(self, cell: Cell) -> bool:
        return self.open_at_opener if cell is self.forth.sender else self.open_at_acceptor
