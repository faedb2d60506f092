"""The ways into a node through the proxy: a client's own door, or a link that its peers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ksim.live.doors import Door

Address = tuple[str, int]


class Link(Protocol):
    """A node's address as its peers know it, and the one it really listens at."""

    @property
    def target(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def listen_port(self) -> int: ...
    @property
    def real_port(self) -> int: ...


class Entrance:
    """A door, the node behind it, and how to tell who comes in. `client` is None where that must be asked (a link)."""

    __slots__ = ("client", "door", "owner_of", "probing", "real", "target")

    def __init__(self, client: str | None, target: str, real: Address, owner_of: Callable[[int], str | None] | None = None) -> None:
        self.client = client
        self.target = target
        self.real = real
        self.owner_of = owner_of
        self.door: Door | None = None
        self.probing = False

    def close(self) -> None:
        if self.door is not None:
            self.door.close()
            self.door = None
