"""Batches that the client compressed: gzip, snappy and lz4 are read here, zstd where Python has it (3.14).

Kafka: CompressionType. Only to learn which records a batch holds; what goes over the wire stays as it is.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
XERIAL = b"\x82SNAPPY\x00"
"""How Java's snappy marks its stream of blocks; librdkafka sends one bare block."""
LARGEST = 64 * 1024 * 1024


class NotReadable(Exception):
    """Compressed by something that cannot be undone here, or damaged."""


def decompress(kind: int, data: bytes) -> bytes:
    """Raises NotReadable."""
    reader = READERS.get(kind)
    if reader is None:
        raise NotReadable(f"compression {kind} is unknown")
    try:
        return reader(data)
    except (zlib.error, IndexError, ValueError, EOFError) as problem:
        raise NotReadable(f"damaged: {problem}") from problem


def _gzip(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, LARGEST)


def _snappy(data: bytes) -> bytes:
    if not data.startswith(XERIAL):
        return _snappy_block(data)
    whole, at = bytearray(), 16
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        whole += _snappy_block(data[at + 4 : at + 4 + length])
        at += 4 + length
    return bytes(whole)


def _snappy_block(data: bytes) -> bytes:
    at = shift = size = 0
    while True:
        byte = data[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:  # A literal.
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            out += data[at : at + length]
            at += length
        elif tag & 3 == 1:
            _repeat(out, (tag >> 5) << 8 | data[at], ((tag >> 2) & 7) + 4)
            at += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            _repeat(out, int.from_bytes(data[at : at + width], "little"), (tag >> 2) + 1)
            at += width
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes for {size}")
    return bytes(out)


def _repeat(out: bytearray, distance: int, length: int) -> None:
    """Copy from what was written; it may run into itself."""
    start = len(out) - distance
    if distance <= 0 or start < 0 or len(out) + length > LARGEST:
        raise ValueError("a copy from nowhere")
    while length > 0:
        piece = out[start : start + length]
        out += piece
        length -= len(piece)


def _lz4(data: bytes) -> bytes:
    """The frame format: magic, descriptor, blocks, each with its length."""
    flags = data[4]
    at = 7 + (8 if flags & 0x08 else 0)
    out = bytearray()
    while True:
        length = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if length == 0:
            return bytes(out)
        plain, length = length >> 31, length & 0x7FFFFFFF
        if at + length > len(data):
            raise ValueError("a block is cut off")
        block = data[at : at + length]
        at += length + (4 if flags & 0x10 else 0)
        if plain:
            out += block
        else:
            _lz4_block(block, out)


def _lz4_block(data: bytes, out: bytearray) -> None:
    at = 0
    while True:
        token = data[at]
        length, at = _lz4_length(data, at + 1, token >> 4)
        out += data[at : at + length]
        at += length
        if at >= len(data):
            return
        distance = int.from_bytes(data[at : at + 2], "little")
        length, at = _lz4_length(data, at + 2, token & 15)
        _repeat(out, distance, length + 4)


def _lz4_length(data: bytes, at: int, length: int) -> tuple[int, int]:
    if length < 15:
        return length, at
    while True:
        byte = data[at]
        length, at = length + byte, at + 1
        if byte < 255:
            return length, at


def _zstd(data: bytes) -> bytes:
    try:
        library = importlib.import_module("compression.zstd")
    except ImportError:
        raise NotReadable("zstd needs Python 3.14") from None
    content: bytes = library.decompress(data)
    return content


READERS: dict[int, Callable[[bytes], bytes]] = {GZIP: _gzip, SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd}
