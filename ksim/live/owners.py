"""Who is at the other end of a connection on this machine: the process that holds the socket with this local port.

Not Kafka's. Peers do not say who they are when they connect to a link, and a cut concerns two nodes only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

LISTENING = "0A"
TABLES = ("/proc/net/tcp6", "/proc/net/tcp")
"""Java's sockets are IPv6 ones, with IPv4 addresses inside."""


def owner(local_port: int, pids: Iterable[int]) -> int | None:
    """Of these processes. Listening sockets with this port do not count: on a link they are our own."""
    if not Path(TABLES[0]).exists():
        return next((pid for pid in pids if _holds(pid, local_port)), None)
    wanted = {f"socket:[{inode}]" for inode in _inodes(local_port)}
    return next((pid for pid in pids if not wanted.isdisjoint(_open_files(pid))), None) if wanted else None


def _inodes(local_port: int) -> list[str]:
    """Of the sockets that are connected from this port."""
    ending, found = f":{local_port:04X}", []
    for table in TABLES:
        try:
            with open(table, encoding="ascii") as lines:
                found += [fields[9] for line in lines if (fields := line.split())[1].endswith(ending) and fields[3] != LISTENING]
        except OSError:
            continue  # Without IPv6 there is no such table.
    return [inode for inode in found if inode != "0"]


def _open_files(pid: int) -> Iterable[str]:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                yield os.readlink(f"{folder}/{name}")
            except OSError:
                continue  # Closed meanwhile.
    except OSError:
        return  # Gone meanwhile.


def _holds(pid: int, local_port: int) -> bool:
    try:
        return any(connection.laddr.port == local_port and connection.raddr for connection in psutil.Process(pid).net_connections("tcp"))
    except psutil.Error:
        return False
