"""One direction of a proxied connection: bytes in order, late if they are to be, held while a cut stands, gone if it hangs.

TCP's own promises are kept: nothing overtakes, nothing is lost in the middle, and a close comes behind what was sent before it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from ksim_models.units import SECOND, Micros

MOST_HELD = 4 * 1024 * 1024
"""Bytes that wait here; beyond, they wait where they are: in the sender's system."""
NO_LINGER = struct.pack("ii", 1, 0)


class Close(Enum):
    ORDERLY = "FIN: behind all that was sent"
    RESET = "RST: at once"


Item = bytes | Close | Callable[[], None]
"""What travels: bytes, the end, or something to be done when all before it has arrived."""


class Pipe:
    """Bytes read at one end, on their way to `out`, the transport at the other."""

    __slots__ = (
        "_blocked", "_busy_until", "_due", "_free_at", "_held", "_loop", "_on_close", "_timer", "_waiting_bytes",
        "bandwidth", "dead", "is_cut", "latency", "out", "source",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, latency: Callable[[], Micros], on_close: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self.latency = latency
        self._on_close = on_close
        self.out: asyncio.Transport | None = None
        self.source: asyncio.Transport | None = None
        self.bandwidth: float | None = None
        """Bytes per microsecond."""
        self.is_cut = False
        self.dead = False
        """Nothing more will ever arrive but a close (a hang)."""
        self._held: deque[tuple[Item, Micros]] = deque()
        self._due: deque[tuple[float, Item]] = deque()
        self._free_at = 0.0
        self._busy_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._blocked = False

    def send(self, item: Item, extra: Micros = 0) -> None:
        """`extra`: later by that much, and what stands behind it too."""
        if self.dead and isinstance(item, bytes):
            return
        if self.is_cut:
            self._held.append((item, extra))
            self._count(item, 1)
            return
        delay = self.latency() + extra
        if not delay and not self._due and self.bandwidth is None:
            self._deliver(item)  # The plain case costs nothing.
            return
        now = self._loop.time()
        if self.bandwidth is not None and isinstance(item, bytes):
            self._busy_until = max(self._busy_until, now) + len(item) / self.bandwidth / SECOND
        self._free_at = max(self._free_at, now + delay / SECOND, self._busy_until + delay / SECOND)
        self._due.append((self._free_at, item))
        self._count(item, 1)
        self._arm()

    def cut(self) -> None:
        self.is_cut = True

    def mend(self) -> None:
        """What was held arrives now, in order."""
        self.is_cut = False
        held, self._held = self._held, deque()
        for item, extra in held:
            self._count(item, -1)
            self.send(item, extra)

    def forget(self) -> None:
        """What a cut holds is gone, and nothing follows but a close."""
        for item, _ in self._held:
            self._count(item, -1)
        self._held.clear()
        self.dead = True

    def block(self, *, blocked: bool) -> None:
        """The receiver does not keep up: what it has not taken must wait at the sender."""
        self._blocked = blocked
        self._regulate()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due.clear()
        self._held.clear()

    def _arm(self) -> None:
        if self._timer is None and self._due:
            self._timer = self._loop.call_at(self._due[0][0], self._release)

    def _release(self) -> None:
        """One timer for all: equal moments of many would come in any order."""
        self._timer = None
        now = self._loop.time()
        while self._due and self._due[0][0] <= now:
            _, item = self._due.popleft()
            self._count(item, -1)
            self._deliver(item)
        self._arm()

    def _deliver(self, item: Item) -> None:
        out = self.out
        if isinstance(item, Close):
            if out is not None:
                shut(out, item)
            self._on_close()
        elif not isinstance(item, bytes):
            item()
        elif out is not None and not out.is_closing():
            out.write(item)

    def _count(self, item: Item, sign: int) -> None:
        if isinstance(item, bytes):
            self._waiting_bytes += sign * len(item)
            self._regulate()

    def _regulate(self) -> None:
        source = self.source
        if source is None or source.is_closing():
            return
        wanted = self._waiting_bytes < MOST_HELD and not self._blocked
        if wanted and not source.is_reading():
            source.resume_reading()
        elif not wanted and source.is_reading():
            source.pause_reading()


def shut(transport: asyncio.Transport, how: Close) -> None:
    if how is Close.ORDERLY:
        transport.close()
        return
    own: socket.socket | None = transport.get_extra_info("socket")
    if own is not None:
        with suppress(OSError):  # It may be gone already.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()
