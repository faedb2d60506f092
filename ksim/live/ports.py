"""Ports for brokers, and for the proxies before them: free, and kept free until they are listened on.

Not Kafka's. Below the ephemeral range, or an outgoing connection of anybody takes the port at random before the broker does.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from ksim.live.errors import LiveError

HOST = "127.0.0.1"
LOWEST = 10_000
EPHEMERAL = 32_768
TRIES = 2_000


class Ports:
    """Holds what it gives out, while the machines behind it are down too.

    Each is bound, not listened on: nobody else gets it, connections are refused, and a listener with SO_REUSEADDR (Kafka's and asyncio's are) may still
    take its place. That is Linux; elsewhere a port is only known to have been free.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self._taken: set[int] = set()

    def take(self) -> int:
        for _ in range(TRIES):
            port = LOWEST + secrets.randbelow(_ephemeral() - LOWEST)
            if port not in self._taken and self._hold(port):
                self._taken.add(port)
                return port
        raise LiveError(f"no free port was found between {LOWEST} and {_ephemeral()} on {HOST}: end something that listens there.")

    def close(self) -> None:
        for held in self._held:
            held.close()
        self._held = []

    def _hold(self, port: int) -> bool:
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.bind((HOST, port))
        except OSError:
            held.close()
            return False
        if _is_linux():
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Now that nobody else has it.
            self._held.append(held)
        else:
            held.close()
        return True


def _ephemeral() -> int:
    """Where the range of outgoing ports begins."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL
    return min(lowest, EPHEMERAL) if lowest > LOWEST + 1000 else EPHEMERAL


def _is_linux() -> bool:
    return Path("/proc/sys/net/ipv4").is_dir()
