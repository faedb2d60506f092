"""One question to one broker: in the newest version that both sides speak, and never for longer than the time that was given."""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode

from ksim.live.ask import Ask, PartitionState, Refused
from ksim.live.exchange import API_KEYS, Address, Exchange, NoAnswer, NotSpoken, filled, request_frame, response_of
from ksim.live.wire import codec

T = TypeVar("T")
METADATA = API_KEYS["metadata"]
API_VERSIONS = API_KEYS["api_versions"]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(api_key: int, version: int, **content: object) -> bytes:
    found = codec(api_key, version)
    assert found is not None
    return found.write_response(1, filled(load_response_schema(api_key, version), content))


class Broker:
    """Speaks Metadata in the versions given, and writes down which one it was asked in."""

    def __init__(self, lowest: int, highest: int) -> None:
        self.versions = [{"api_key": METADATA, "min_version": lowest, "max_version": highest}]
        self.asked: list[tuple[int, int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = struct.unpack(">i", await reader.readexactly(4))[0]
                api_key, version = struct.unpack_from(">hh", await reader.readexactly(size))
                self.asked.append((api_key, version))
                writer.write(self.answer(api_key, version))
        except asyncio.IncompleteReadError:
            return

    def answer(self, api_key: int, version: int) -> bytes:
        if api_key == API_VERSIONS:
            return answer(api_key, version, error_code=ErrorCode.none, api_keys=self.versions, throttle_time=ZERO, supported_features=(), finalized_features=())
        partition = {
            "error_code": ErrorCode.none,
            "partition_index": 0,
            "leader_id": 2,
            "leader_epoch": 5,
            "replica_nodes": (1, 2),
            "isr_nodes": (2,),
            "offline_replicas": (1,),
        }
        topic = {"error_code": ErrorCode.none, "name": "payments", "topic_id": None, "partitions": [partition]}
        brokers = [{"node_id": number, "host": "h", "port": 1} for number in (2,)]
        return answer(api_key, version, throttle_time=ZERO, brokers=brokers, topics=[topic], cluster_id="c", error_code=ErrorCode.none)


ZERO = timedelta(0)


def with_server(handler: Handler, ask: Callable[[Address], Awaitable[T]]) -> T:
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        writer.transport.abort()

    async def story() -> T:
        server = await asyncio.start_server(lambda *ends: served.append(asyncio.ensure_future(serve(*ends))), "127.0.0.1", 0)
        try:
            return await ask(server.sockets[0].getsockname())
        finally:
            server.close()
            await asyncio.gather(*served)

    return asyncio.run(story())


CONTENT = {
    "topics": (),
    "allow_auto_topic_creation": False,
    "include_topic_authorized_operations": False,
    "include_cluster_authorized_operations": False,
}


async def metadata(address: Address) -> Any:
    return await Exchange().ask(address, "metadata", CONTENT)


@pytest.mark.parametrize(("lowest", "highest", "spoken"), [(0, 12, 12), (0, 9, 9), (0, 99, 13)])
def test_the_newest_version_that_both_know_is_spoken(lowest: int, highest: int, spoken: int) -> None:
    broker = Broker(lowest, highest)
    with_server(broker.serve, metadata)

    assert broker.asked == [(API_VERSIONS, 3), (METADATA, spoken)]


def test_a_broker_is_asked_for_its_versions_once() -> None:
    broker, exchange = Broker(0, 12), Exchange()

    async def twice(address: Address) -> None:
        await exchange.ask(address, "metadata", CONTENT)
        await exchange.ask(address, "metadata", CONTENT)

    with_server(broker.serve, twice)

    assert broker.asked == [(API_VERSIONS, 3), (METADATA, 12), (METADATA, 12)]


def test_an_api_that_a_broker_does_not_know_is_said_so() -> None:
    with pytest.raises(NotSpoken, match="does not speak describe_topic_partitions"):
        with_server(Broker(0, 12).serve, lambda address: Exchange().ask(address, "describe_topic_partitions", {}))


def test_a_broker_that_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(NoAnswer, match=r"no answer to metadata from .* within 0\.05 s"):
        with_server(silent, lambda address: Exchange(timeout_s=0.05).ask(address, "metadata", {}))


def test_a_broker_that_hangs_up_is_no_answer() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)

    with pytest.raises(NoAnswer):
        with_server(rude, metadata)


def test_a_broker_that_is_down_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="no answer to metadata from 127"):
        asyncio.run(metadata(("127.0.0.1", 1)))


def test_metadata_has_the_names_of_the_scenario() -> None:
    async def ask(address: Address) -> tuple[tuple[str, ...], dict[tuple[str, int], PartitionState]]:
        state = await Ask({"broker-1": address}, {"broker-1": 1, "broker-2": 2}).metadata("broker-1")
        return state.brokers, state.partitions

    brokers, partitions = with_server(Broker(0, 12).serve, ask)

    assert brokers == ("broker-2",)
    assert partitions == {("payments", 0): PartitionState("broker-2", 5, ("broker-1", "broker-2"), ("broker-2",), ("broker-1",))}


@pytest.mark.parametrize("version", range(2, 8))
def test_a_message_takes_what_its_version_has_and_leaves_the_rest(version: int) -> None:
    topic = {"name": "payments", "num_partitions": 1, "replication_factor": 1, "assignments": (), "configs": [{"name": "a", "value": None}], "nonsense": 1}
    request = filled(load_request_schema(API_KEYS["create_topics"], version), {"topics": [topic]})
    frame = request_frame(request, API_KEYS["create_topics"], version)
    found = codec(API_KEYS["create_topics"], version)

    assert found is not None
    assert found.read_request(frame) == request


def test_an_answer_is_read_behind_its_header() -> None:
    frame = Broker(0, 12).answer(METADATA, 12)

    assert [topic.name for topic in response_of(frame[4:], METADATA, 12).topics] == ["payments"]


def test_a_refusal_says_what_the_cluster_said_and_survives_a_pickle() -> None:
    refused = Refused("INVALID_CONFIG", "min.insync.replicas must be at least 1")

    assert str(refused) == "the cluster answered INVALID_CONFIG: min.insync.replicas must be at least 1"
    assert str(pickle.loads(pickle.dumps(refused))) == str(refused)
