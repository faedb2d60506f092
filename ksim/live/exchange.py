"""One request and its answer, over a fresh socket, with a time-out.

Kafka: the request and response schemas, in kio's classes. A stopped broker still accepts connections, so a client that chooses its broker itself may hang
on that one for its whole time-out: here the broker is named, and two seconds are enough.
"""

from __future__ import annotations

import asyncio
import io
import struct
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.schema.index import api_key_map, schema_name_map
from kio.serial import entity_reader, entity_writer

from ksim.live.errors import LiveError

Address = tuple[str, int]
Entity = Any
"""A message of kio's: a frozen dataclass whose fields depend on its version."""

TIMEOUT_S = 2.0
CLIENT_ID = "ksim"
API_KEYS = {name: key for key, name in api_key_map.items()}
API_VERSIONS_VERSION = 3
"""Every broker in KRaft mode speaks it."""


class NoAnswer(LiveError):
    """The broker refused the connection, closed it, or said nothing in time."""


class NotSpoken(LiveError):
    """The broker does not know this API in any version that kio knows."""


class Exchange:
    """Asks brokers by their addresses; remembers which versions each of them speaks."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self._spoken: dict[Address, dict[int, tuple[int, int]]] = {}

    async def ask(self, address: Address, api: str, content: Mapping[str, object], *, timeout_s: float | None = None) -> Entity:
        """`content`: fields by kio's names, messages inside as mappings; what the version that is spoken does not have is left out."""
        patience = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection(*address)
                try:
                    if address not in self._spoken:
                        self._spoken[address] = await _versions(reader, writer)
                    return await _call(reader, writer, api, self.version(address, api), content)
                finally:
                    writer.transport.abort()
        except TimeoutError:
            raise NoAnswer(f"no answer to {api} from {_shown(address)} within {patience:g} s") from None
        except (OSError, EOFError) as error:
            raise NoAnswer(f"no answer to {api} from {_shown(address)}: {error}") from error

    def version(self, address: Address, api: str) -> int:
        """The newest that both sides know."""
        lowest, highest = self._spoken[address].get(API_KEYS[api], (0, -1))
        known = [version for version in schema_name_map[api] if lowest <= version <= highest]
        if not known:
            raise NotSpoken(f"{_shown(address)} does not speak {api}")
        return max(known)


async def _versions(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[int, tuple[int, int]]:
    content = {"client_software_name": CLIENT_ID, "client_software_version": "1"}
    answer = await _call(reader, writer, "api_versions", API_VERSIONS_VERSION, content)
    return {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, api: str, version: int, content: Mapping[str, object]) -> Entity:
    request = filled(load_request_schema(API_KEYS[api], version), content)
    writer.write(request_frame(request, API_KEYS[api], version))
    await writer.drain()
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    return response_of(await reader.readexactly(size), API_KEYS[api], version)


def request_frame(request: Entity, api_key: int, version: int, correlation_id: int = 1) -> bytes:
    header = request.__header_schema__
    values: dict[str, object] = {"request_api_key": api_key, "request_api_version": version, "correlation_id": correlation_id, "client_id": CLIENT_ID}
    buffer = io.BytesIO()
    entity_writer(header)(buffer, filled(header, values))
    entity_writer(type(request))(buffer, request)
    body = buffer.getvalue()
    return struct.pack(">i", len(body)) + body


def response_of(body: bytes, api_key: int, version: int) -> Entity:
    schema = load_response_schema(api_key, version)
    _, size = entity_reader(schema.__header_schema__)(body, 0)
    return entity_reader(schema)(body, size)[0]


def filled(schema: type, content: Mapping[str, object]) -> Entity:
    """A message from plain mappings and sequences; what this version's schema does not have is left out."""
    hints = _hints(schema)
    values = {name: _value(hints[name], content[name]) for name in hints if name in content}
    return schema(**values)


@cache
def _hints(schema: type) -> dict[str, Any]:
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in fields(schema)}


def _value(hint: Any, value: object) -> object:
    if isinstance(value, Mapping):
        return filled(_message_in(hint), value)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(_value(hint, item) for item in value)
    return value


def _message_in(hint: Any) -> type:
    """Of `tuple[Topic, ...] | None` it is Topic."""
    while typing.get_origin(hint) is not None or isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part not in (type(None), ...))
    assert isinstance(hint, type)
    return hint


def _shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
