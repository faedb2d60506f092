"""A connection that somebody opened to a broker: one request of it is served at a time, the others wait behind it.

Kafka: SocketServer, Processor, RequestChannel (BP-1 to BP-3).
"""

from __future__ import annotations

from collections import deque

from ksim_models.units import Micros

SERVED_ON_A_CLOSED_CONNECTION = 2
"""Requests a broker still serves of a connection that is gone: the first lost answer goes unnoticed and one more request is read before the second fails.
Measured: of four requests behind a closed connection exactly two more were executed, 12 of 12 runs (BP-3, live facts S1)."""


class Inbound:
    """A connection somebody opened to this broker (BP-1)."""

    __slots__ = ("active_at", "answers_lost", "busy", "closed", "peer", "queue")

    def __init__(self, peer: str, active_at: Micros) -> None:
        self.peer = peer
        self.active_at = active_at
        """When something was last read from it, or written to it (BP-6, N10)."""
        self.queue: deque[object] = deque()
        self.busy = False
        self.closed = False
        self.answers_lost = 0
