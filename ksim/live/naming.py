"""Names on a live cluster: topics under a prefix of this run, records that carry their number.

Nothing that ksim did not create is touched, so whatever it creates can be told by its prefix, and every record by the beginning of its value.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable

PREFIX = re.compile(r"ksim-[0-9a-f]{8}-")
IDENTITY = re.compile(rb"(\d+)/(\d+)(?: |$)")
WARM_UP = "w"
FILLER = b"."

Header = tuple[str, bytes]


class Naming:
    def __init__(self, token: str | None = None) -> None:
        self.prefix = f"ksim-{token or secrets.token_hex(4)}-"
        self.keeps_ids = False
        """Whoever coordinates has forgotten earlier runs, and nobody else has transactional ids or groups there."""

    def real(self, name: str) -> str:
        return self.prefix + name

    def real_id(self, name: str) -> str:
        """Of a transactional id or a group."""
        return name if self.keeps_ids else self.prefix + name

    def told(self, real: str) -> str | None:
        """The scenario's name; None for what is not of this run."""
        return real.removeprefix(self.prefix) if real.startswith(self.prefix) else None


def is_ours(real: str) -> bool:
    """Made by some run of ksim."""
    return PREFIX.match(real) is not None


def content(identity: str, size: int, noise: int = 0) -> tuple[bytes, list[Header]]:
    """Value and headers of a record of so many bytes. Where the value is too short for the identity, a header's key carries it.

    noise: so many millionths of the bytes are such that no codec makes them smaller, and a batch of such records compresses about to that.
    """
    text = identity.encode() + b" "
    if len(text) > size:
        return FILLER * size, [(identity, b"")]
    random = min(size - len(text), size * noise // 1_000_000)
    text += hashlib.shake_128(text).digest(random) if random else b""
    return text + FILLER * (size - len(text)), []


def identity(value: bytes | None, headers: Iterable[Header] = ()) -> tuple[int, int] | None:
    """(producer's place in the plan, record number); None for a warm-up and for what is not ours."""
    for text in (value or b"", *(key.encode() for key, _ in headers)):
        if found := IDENTITY.match(text):
            return int(found[1]), int(found[2])
    return None
