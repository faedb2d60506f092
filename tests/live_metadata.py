"""Records of the metadata log in bytes, as controllers write them."""

from __future__ import annotations

import struct
import uuid

TOPIC_ID = uuid.UUID(int=7)
NO_TAGS = b"\x00"


def ints(*numbers: int) -> bytes:
    return bytes([len(numbers) + 1]) + struct.pack(f">{len(numbers)}i", *numbers)


def record(key: int, version: int, content: bytes) -> bytes:
    return bytes([1, key, version]) + content


def tags(**given: bytes) -> bytes:
    """tag_N=content, in the order of N."""
    return bytes([len(given)]) + b"".join(bytes([int(name.removeprefix("tag_")), len(content)]) + content for name, content in given.items())


def topic(name: str = "payments") -> bytes:
    return record(2, 0, bytes([len(name) + 1]) + name.encode() + TOPIC_ID.bytes + NO_TAGS)


def removed(topic_id: uuid.UUID = TOPIC_ID) -> bytes:
    return record(9, 0, topic_id.bytes + NO_TAGS)


def partition(version: int = 0) -> bytes:
    """Partition 0 on 1, 2 and 3, led by 1."""
    directories = b"\x01" if version else b""
    body = struct.pack(">i", 0) + TOPIC_ID.bytes + ints(1, 2, 3) + ints(1, 2, 3) + ints() + ints() + struct.pack(">iii", 1, 0, 0) + directories + NO_TAGS
    return record(3, version, body)


def change(version: int = 0, *, leader: int | None = None, isr: bytes | None = None, **given: bytes) -> bytes:
    first = {"tag_0": isr} if isr is not None else {}
    second = {"tag_1": struct.pack(">i", leader)} if leader is not None else {}
    return record(5, version, struct.pack(">i", 0) + TOPIC_ID.bytes + tags(**first, **second, **given))


def registration_change(broker: int, fenced: int) -> bytes:
    return record(17, 0, struct.pack(">iq", broker, 50) + tags(tag_0=struct.pack(">b", fenced)))


def registered(broker: int, version: int) -> bytes:
    migrating = b"\x00" if version >= 2 else b""
    body = struct.pack(">i", broker) + migrating + uuid.uuid4().bytes + struct.pack(">q", 51) + b"\x01\x01\x00\x01" + b"\x00" * (version >= 1) + NO_TAGS
    return record(0, version, body)
