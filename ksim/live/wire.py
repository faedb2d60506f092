"""Kafka's frames: where one ends, which exchange it belongs to, and what a Produce request carries.

The protocol guide: four bytes of length, then a header. Only what is asked for is decoded, by kio; of a batch of records no more than its header
and the identities that ksim wrote into them.
"""

from __future__ import annotations

import io
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kio.index import KioIndexError, load_request_schema, load_response_schema
from kio.schema.index import api_key_map, schema_name_map
from kio.serial import entity_reader, entity_writer

from ksim.live.compressed import NotReadable, decompress
from ksim.live.naming import identity

PRODUCE, FETCH, METADATA, FIND_COORDINATOR, API_VERSIONS, INIT_PRODUCER_ID, DESCRIBE_CLUSTER = 0, 1, 3, 10, 18, 22, 60
ADD_PARTITIONS, ADD_OFFSETS, END_TXN, WRITE_MARKERS, COMMIT_OFFSETS = 24, 25, 26, 27, 28
API_NAMES = {
    PRODUCE: "Produce",
    FETCH: "Fetch",
    METADATA: "Metadata",
    FIND_COORDINATOR: "FindCoordinator",
    API_VERSIONS: "ApiVersions",
    INIT_PRODUCER_ID: "InitProducerId",
    ADD_PARTITIONS: "AddPartitionsToTxn",
    ADD_OFFSETS: "AddOffsetsToTxn",
    END_TXN: "EndTxn",
    WRITE_MARKERS: "WriteTxnMarkers",
    COMMIT_OFFSETS: "TxnOffsetCommit",
}
"""Those that a fault can name."""

LENGTH = struct.Struct(">i")
REQUEST_START = struct.Struct(">hhi")
CORRELATION = struct.Struct(">i")
BATCH_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, two timestamps, producer id, epoch, base sequence, count: 61 bytes."""
LARGEST_FRAME = 256 * 1024 * 1024
COMPRESSION, TRANSACTIONAL, CONTROL = 0x07, 0x10, 0x20


class Framer:
    """Cuts a stream of bytes into frames, each with its four bytes of length."""

    __slots__ = ("rest", "why_not")

    def __init__(self) -> None:
        self.rest = b""
        """The beginning of a frame that has not come whole."""
        self.why_not = ""
        """These bytes are no frames of Kafka's protocol (encrypted, or something else altogether): all of them are in `rest`."""

    def take(self, data: bytes) -> list[bytes]:
        if self.rest:
            data = self.rest + data
        frames = []
        at, end = 0, len(data)
        while end - at >= 4:
            (length,) = LENGTH.unpack_from(data, at)
            if not 4 <= length <= LARGEST_FRAME:
                self.why_not = f"a frame of {length} bytes"
                break
            if end - at < 4 + length:
                break
            frames.append(data if at == 0 and end == 4 + length else data[at : at + 4 + length])
            at += 4 + length
        self.rest = data[at:]
        return frames


class Unreadable(Exception):
    """A frame that does not say what its version says it says."""


@dataclass(slots=True)
class Codec:
    """One version of one API, as kio knows it."""

    request: Any
    response: Any
    _read_request: Callable[[bytes, int], tuple[Any, int]]
    _read_request_header: Callable[[bytes, int], tuple[Any, int]]
    _read_response: Callable[[bytes, int], tuple[Any, int]]
    _write_response: Callable[[Any, Any], None]
    _response_header: bytes
    """What follows the correlation id."""

    def read_request(self, frame: bytes) -> Any:
        """Raises Unreadable."""
        try:
            _, size = self._read_request_header(frame, 4)
            return self._read_request(frame, 4 + size)[0]
        except Exception as problem:  # Whatever kio meets in bytes that are not what they should be.
            raise Unreadable(f"{self.request.__name__} v{self.request.__version__}: {problem}") from problem

    def read_response(self, frame: bytes) -> Any:
        """Raises Unreadable."""
        try:
            return self._read_response(frame, 8 + len(self._response_header))[0]
        except Exception as problem:
            raise Unreadable(f"{self.response.__name__} v{self.response.__version__}: {problem}") from problem

    def write_response(self, correlation: int, payload: Any) -> bytes:
        buffer = io.BytesIO()
        buffer.write(bytes(4) + CORRELATION.pack(correlation) + self._response_header)
        self._write_response(buffer, payload)
        frame = bytearray(buffer.getvalue())
        LENGTH.pack_into(frame, 0, len(frame) - 4)
        return bytes(frame)


@cache
def codec(api_key: int, version: int) -> Codec | None:
    """None: kio does not know it, so its bytes can only be passed on."""
    try:
        request, response = load_request_schema(api_key, version), load_response_schema(api_key, version)
    except KioIndexError:
        return None
    header = response.__header_schema__
    return Codec(
        request,
        response,
        entity_reader(request),
        entity_reader(request.__header_schema__),
        entity_reader(response),
        entity_writer(response),
        b"\0" if header.__flexible__ else b"",
    )


def known_versions(api_key: int) -> Sequence[int]:
    """Of this API, oldest first."""
    name = api_key_map.get(api_key)
    return sorted(schema_name_map[name]) if name is not None else ()


class Topics:
    """Topic ids: requests from Produce v13 and Fetch v13 on name topics by them; metadata tells which is which."""

    def __init__(self) -> None:
        self._names: dict[uuid.UUID, str] = {}

    def learn(self, topic_id: uuid.UUID | None, name: str | None) -> None:
        if topic_id is not None and name is not None:
            self._names[topic_id] = name

    def name_by_id(self, topic_id: uuid.UUID) -> str | None:
        return self._names.get(topic_id)

    def name_of(self, topic: Any) -> str | None:
        """Of an entry of a request or response: by name, or by id; None for an id never heard of."""
        name = getattr(topic, "name", None) or getattr(topic, "topic", None)
        return str(name) if name is not None else self._names.get(getattr(topic, "topic_id", None))  # type: ignore[arg-type]


@dataclass(slots=True)
class WireBatch:
    """One batch of a Produce request. `records` in the order they stand; None for a warm-up, or what is not of a ksim workload."""

    topic: str
    partition: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int
    records: tuple[tuple[int, int] | None, ...] = field(default=())
    unreadable: str = ""
    """Why the records could not be told, where they could not."""


def batches_of(request: Any, topics: Topics) -> list[WireBatch]:
    """The batches of a Produce request (v3 and later)."""
    found = []
    for topic in request.topic_data:
        name = topics.name_of(topic) or "?"
        for partition in topic.partition_data:
            found += [_batch(name, partition.index, partition.records, at) for at in _starts(partition.records or b"")]
    return found


def _starts(data: bytes) -> Iterator[int]:
    at = 0
    while len(data) - at >= BATCH_HEADER.size:
        yield at
        at += 12 + max(0, LENGTH.unpack_from(data, at + 8)[0])


def _batch(topic: str, partition: int, data: bytes, at: int) -> WireBatch:
    _, length, _, magic, _, attributes, _, _, _, producer_id, epoch, sequence, count = BATCH_HEADER.unpack_from(data, at)
    if magic != 2:
        return WireBatch(topic, partition, -1, -1, -1, 0, unreadable=f"records of magic {magic}")
    batch = WireBatch(topic, partition, producer_id, epoch, sequence, count)
    content = data[at + BATCH_HEADER.size : at + 12 + length]
    try:
        if attributes & COMPRESSION:
            content = decompress(attributes & COMPRESSION, content)
        batch.records = tuple(identities(content, count))
    except (NotReadable, IndexError) as problem:
        batch.unreadable = str(problem)
    return batch


def identities(content: bytes, count: int) -> Iterator[tuple[int, int] | None]:
    """Who each of the records is, from its value or its headers; the rest is stepped over."""
    at = 0
    for _ in range(count):
        length, at = varint(content, at)
        if length <= 0:
            raise IndexError(f"a record of {length} bytes")
        end = at + length
        _, at = varint(content, at + 1)  # Behind the attributes: the timestamp's delta,
        _, at = varint(content, at)  # the offset's delta,
        size, at = varint(content, at)  # the key.
        at += max(size, 0)
        size, at = varint(content, at)
        value = content[at : at + max(size, 0)]
        at += max(size, 0)
        yield identity(value) or identity(None, _headers(content, at))
        at = end


def _headers(content: bytes, at: int) -> list[tuple[str, bytes]]:
    headers = []
    count, at = varint(content, at)
    for _ in range(count):
        size, at = varint(content, at)
        key = content[at : at + size]
        at += size
        size, at = varint(content, at)
        at += max(size, 0)
        headers.append((key.decode("utf-8", "replace"), b""))
    return headers


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + 1
        shift += 7


def numbers(records: Sequence[tuple[int, int] | None]) -> Sequence[int] | None:
    """The record numbers of a batch as facts name them; None where a record is not of the workload."""
    found = [record[1] for record in records if record is not None]
    if not found or len(found) < len(records):
        return None
    whole = range(found[0], found[0] + len(found))
    return whole if found == list(whole) else tuple(found)
