"""A listening socket in front of a broker: open, refusing as a broker that is down refuses, or a black hole that answers nothing.

TCP: a SYN to a port where nobody listens is answered with RST; a SYN to a listener whose queue is full is not answered at all, as if it were lost.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from collections.abc import Callable

from ksim.live.errors import LiveError

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below the ephemeral ports: there an outgoing connection may sit on any of them."""
BACKLOG = 128
FILLERS = 4
PATIENCE_MS = 3
"""How long a connection over loopback is given: it is made at once or not at all."""


class Door:
    """`on_connection` is called with every socket that came in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_connection: Callable[[socket.socket], None], port: int | None = None) -> None:
        self._loop = loop
        self._on_connection = on_connection
        self._socket = _listening_at(port)
        self.port: int = self._socket.getsockname()[1]
        self._listening = False
        self._fillers: list[socket.socket] = []
        self.refuses = False
        self.is_black_hole = False
        self._settle()

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def refuse(self) -> None:
        """Nobody is at home: whoever knocks is told at once."""
        self.refuses = True
        self._settle()

    def welcome(self) -> None:
        self.refuses = False
        self._settle()

    def swallow(self) -> None:
        """Whoever knocks hears nothing."""
        self.is_black_hole = True
        self._settle()

    def answer_again(self) -> None:
        self.is_black_hole = False
        self._settle()

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._drop_fillers()
        self._socket.close()

    def _settle(self) -> None:
        if self._fillers and not self.is_black_hole:
            self._take_all()  # Our own are among them, and perhaps one that came as the queue was filled.
            self._drop_fillers()
        if self.is_black_hole:
            if not self._fillers:
                self._fill()
        elif self.refuses:
            self._stop_listening()
        else:
            self._socket.listen(BACKLOG)
            self._listening = True
            self._loop.add_reader(self._socket, self._take_all)

    def _stop_listening(self) -> None:
        """The port stays ours. Where a listener cannot be silenced (not Linux), connections are made and closed again by whoever takes them."""
        if self._listening and sys.platform == "linux":
            self._take_all()
            self._loop.remove_reader(self._socket)
            self._socket.shutdown(socket.SHUT_RD)
            self._listening = False

    def _fill(self) -> None:
        """As many connections of our own as the queue takes. What knocks behind them gets no answer."""
        if self._listening:
            self._take_all()
        self._loop.remove_reader(self._socket)
        self._socket.listen(0)
        self._listening = True
        for _ in range(FILLERS):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex(self.address)
            self._fillers.append(filler)
            if not _is_made(filler):
                return  # The queue is full. This one keeps knocking in vain, and is closed with the others.

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _take_all(self) -> None:
        ours = {filler.getsockname() for filler in self._fillers}
        while True:
            try:
                taken, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return  # It was gone before it was taken.
            taken.setblocking(False)
            if peer in ours:
                taken.close()
            else:
                self._on_connection(taken)


def _is_made(filler: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(filler, select.POLLOUT)
    return bool(waiting.poll(PATIENCE_MS))


def _listening_at(port: int | None) -> socket.socket:
    """A port of our own choice must be nobody else's, so it is asked for without SO_REUSEADDR."""
    first = PORTS.start + os.getpid() * 61 % len(PORTS)
    candidates = [port] if port is not None else [*range(first, PORTS.stop), *range(PORTS.start, first)]
    for candidate in candidates:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setblocking(False)
        if port is not None:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, candidate))
            bound.listen(BACKLOG)  # Two sockets that do not listen may share a port: only now is it certain to be ours.
        except OSError:
            bound.close()
            continue
        # From here on it is, whatever connections are left at this port: a door that refused must be able to open again.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return bound
    raise LiveError(f"Port {port} on {HOST} is taken: end whatever listens there." if port else f"No port of {PORTS} on {HOST} is free.")
