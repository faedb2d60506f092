"""A broker and a client just large enough to speak through the proxy: real frames, written by kio, over real sockets."""

from __future__ import annotations

import asyncio
import datetime
import io
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from kio.records.schema import NewRecordBatch, Record, RecordHeader
from kio.records.writers import write_new_batch
from kio.schema.errors import ErrorCode
from kio.serial import entity_writer

from ksim.live.naming import content
from ksim.live.wire import API_VERSIONS, FETCH, INIT_PRODUCER_ID, LENGTH, METADATA, PRODUCE, REQUEST_START, Framer, Topics, batches_of, codec

NO_TIME = datetime.timedelta(0)
MOMENT: Any = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
TOPIC_ID = uuid.UUID(int=7)
PATIENCE_S = 20
"""Only a test that fails ever waits so long."""


def part(api_key: int, version: int, part_name: str, /, **values: Any) -> Any:
    """A message or a part of one, by the name it has in kio."""
    known = codec(api_key, version)
    assert known is not None
    for module in (sys.modules[known.response.__module__], sys.modules[known.request.__module__]):
        if hasattr(module, part_name):
            return getattr(module, part_name)(**values)
    raise KeyError(part_name)


def request_frame(request: Any, correlation: int) -> bytes:
    schema: Any = request.__header_schema__
    buffer = io.BytesIO()
    buffer.write(bytes(4))
    header = schema(request_api_key=request.__api_key__, request_api_version=request.__version__, correlation_id=correlation, client_id="toy")
    entity_writer(schema)(buffer, header)
    entity_writer(type(request))(buffer, request)
    frame = bytearray(buffer.getvalue())
    LENGTH.pack_into(frame, 0, len(frame) - 4)
    return bytes(frame)


def batch_bytes(records: Sequence[tuple[str, int]], *, producer_id: int = -1, epoch: int = -1, sequence: int = -1, in_header: bool = False) -> bytes:
    """Records by their identity text and size."""
    any_batch: Any = NewRecordBatch
    any_record: Any = Record
    any_header: Any = RecordHeader
    made = []
    for offset, (identity, size) in enumerate(records):
        value, headers = content(identity, 1 if in_header else size)
        made.append(
            any_record(
                attributes=0,
                timestamp=MOMENT,
                offset=offset,
                key=b"key-1",
                value=value,
                headers=tuple(any_header(key=key.encode(), value=text) for key, text in headers),
            )
        )
    buffer = io.BytesIO()
    write_new_batch(buffer, any_batch(producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, records=tuple(made), attributes=0))
    return buffer.getvalue()


def produce(topic: str, records: bytes, *, version: int = 9, acks: int = -1, partition: int = 0, topic_id: uuid.UUID | None = None) -> Any:
    data = part(PRODUCE, version, "PartitionProduceData", index=partition, records=records)
    named = {"name": topic} if version < 13 else {"topic_id": topic_id or TOPIC_ID}
    topics = (part(PRODUCE, version, "TopicProduceData", partition_data=(data,), **named),)
    return part(PRODUCE, version, "ProduceRequest", transactional_id=None, acks=acks, timeout=datetime.timedelta(seconds=30), topic_data=topics)


def metadata(*names: str, version: int = 12) -> Any:
    extra = {} if version >= 11 else {"include_cluster_authorized_operations": False}
    topics = tuple(part(METADATA, version, "MetadataRequestTopic", topic_id=None, name=name) for name in names)
    return part(METADATA, version, "MetadataRequest", topics=topics, include_topic_authorized_operations=False, **extra)


def init_producer_id(version: int = 4) -> Any:
    return part(
        INIT_PRODUCER_ID,
        version,
        "InitProducerIdRequest",
        transactional_id=None,
        transaction_timeout=datetime.timedelta(seconds=1),
        producer_id=-1,
        producer_epoch=-1,
    )


def fetch(*topic_ids: uuid.UUID, epoch: int = 0, forgotten: Sequence[uuid.UUID] = (), version: int = 17) -> Any:
    """A follower's, of partition 0 of each topic."""
    topics = tuple(
        part(
            FETCH,
            version,
            "FetchTopic",
            topic_id=topic_id,
            partitions=(part(FETCH, version, "FetchPartition", partition=0, fetch_offset=0, partition_max_bytes=1000),),
        )
        for topic_id in topic_ids
    )
    left = tuple(part(FETCH, version, "ForgottenTopic", topic_id=topic_id, partitions=(0,)) for topic_id in forgotten)
    values = {"max_wait": NO_TIME, "min_bytes": 1, "session_id": 1, "session_epoch": epoch, "rack_id": ""}
    return part(FETCH, version, "FetchRequest", topics=topics, forgotten_topics_data=left, **values)


class ToyBroker:
    """Answers in order, at once, unless `patient`: then each answer waits for `release`."""

    def __init__(self, node: int = 1, topic: str = "payments") -> None:
        self.node = node
        self.topic = topic
        self.address = ("127.0.0.1", 0)
        self.appended: list[int] = []
        """Record numbers, in the order in which they came."""
        self.requests: list[tuple[int, int]] = []
        """(API, version)"""
        self.errors: list[int] = []
        """Answers to the next Produce requests."""
        self.endpoint: tuple[int, str, int] | None = None
        """A new leader that Produce answers name (KIP-951)."""
        self.newest: dict[int, int] = {}
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        """How connections came to an end."""
        self.arrived: asyncio.Queue[int] = asyncio.Queue()
        """The APIs of requests, as they come."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._topics = Topics()
        self._topics.learn(TOPIC_ID, topic)

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """As when its process is killed."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        framer = Framer()
        how = "closed"
        try:
            while data := await reader.read(65536):
                for frame in framer.take(data):
                    answer = self._answer(frame)
                    if answer is not None:
                        writer.write(answer)
                        await writer.drain()
        except ConnectionError:
            how = "reset"
        finally:
            self._writers.discard(writer)
            writer.close()
            self.ended.put_nowait(how)

    def _answer(self, frame: bytes) -> bytes | None:
        api_key, version, correlation = REQUEST_START.unpack_from(frame, 4)
        self.requests.append((api_key, version))
        self.arrived.put_nowait(api_key)
        known = codec(api_key, version)
        assert known is not None
        request = known.read_request(frame)
        match api_key:
            case 0:
                payload = self._produced(request, version)
                if request.acks == 0:
                    return None
            case 1:
                values = {"throttle_time": NO_TIME, "error_code": ErrorCode.none, "session_id": 1, "responses": ()}
                payload = part(FETCH, version, "FetchResponse", **values)
            case 3:
                payload = self._metadata(version)
            case 18:
                keys = [(key, self.newest.get(key, 9)) for key in (PRODUCE, METADATA, API_VERSIONS)]
                apis = tuple(part(API_VERSIONS, version, "ApiVersion", api_key=key, min_version=0, max_version=newest) for key, newest in keys)
                payload = part(API_VERSIONS, version, "ApiVersionsResponse", error_code=ErrorCode.none, api_keys=apis, throttle_time=NO_TIME)
            case 22:
                given = {"throttle_time": NO_TIME, "error_code": ErrorCode.none, "producer_id": 4000, "producer_epoch": 2}
                payload = part(INIT_PRODUCER_ID, version, "InitProducerIdResponse", **given)
            case _:
                raise AssertionError(api_key)
        return known.write_response(correlation, payload)

    def _produced(self, request: Any, version: int) -> Any:
        error = self.errors.pop(0) if self.errors else 0
        base = len(self.appended)
        batches = batches_of(request, self._topics)
        if not error:
            self.appended += [record[1] for batch in batches for record in batch.records if record is not None]
        extra: dict[str, Any] = {"record_errors": ()} if version >= 8 else {}
        if self.endpoint is not None:
            extra["current_leader"] = part(PRODUCE, version, "LeaderIdAndEpoch", leader_id=self.endpoint[0], leader_epoch=5)
        topics = tuple(
            part(
                PRODUCE,
                version,
                "TopicProduceResponse",
                **({"name": topic.name} if version < 13 else {"topic_id": topic.topic_id}),
                partition_responses=tuple(
                    part(
                        PRODUCE,
                        version,
                        "PartitionProduceResponse",
                        index=partition.index,
                        error_code=ErrorCode(error),
                        base_offset=-1 if error else base,
                        **extra,
                    )
                    for partition in topic.partition_data
                ),
            )
            for topic in request.topic_data
        )
        ends: dict[str, Any] = {}
        if self.endpoint is not None:
            node, host, port = self.endpoint
            ends["node_endpoints"] = (part(PRODUCE, version, "NodeEndpoint", node_id=node, host=host, port=port),)
        return part(PRODUCE, version, "ProduceResponse", responses=topics, throttle_time=NO_TIME, **ends)

    def _metadata(self, version: int) -> Any:
        broker = part(METADATA, version, "MetadataResponseBroker", node_id=self.node, host=self.address[0], port=self.address[1])
        partition = part(METADATA, version, "MetadataResponsePartition", error_code=ErrorCode.none, partition_index=0, leader_id=self.node, leader_epoch=3)
        topic = part(
            METADATA,
            version,
            "MetadataResponseTopic",
            error_code=ErrorCode.none,
            name=self.topic,
            topic_id=TOPIC_ID,
            is_internal=False,
            partitions=(partition,),
        )
        return part(METADATA, version, "MetadataResponse", throttle_time=NO_TIME, brokers=(broker,), controller_id=self.node, topics=(topic,))


class ToyClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._framer = Framer()
        self._frames: list[bytes] = []
        self._correlation = 0
        self._asked: list[Any] = []

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> ToyClient:
        return cls(*await asyncio.open_connection(*address))

    def send(self, *requests: Any) -> None:
        """In one piece."""
        frames = []
        for request in requests:
            self._correlation += 1
            frames.append(request_frame(request, self._correlation))
            self._asked.append(request)
        self._writer.write(b"".join(frames))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> Any:
        """The next one, decoded; None where the connection was closed instead."""
        frame = await self.frame()
        if frame is None:
            return None
        asked = self._asked.pop(0)
        known = codec(asked.__api_key__, asked.__version__)
        assert known is not None
        return known.read_response(frame)

    async def frame(self) -> bytes | None:
        while not self._frames:
            try:
                data = await asyncio.wait_for(self._reader.read(65536), PATIENCE_S)
            except ConnectionError:
                return None
            if not data:
                return None
            self._frames += self._framer.take(data)
        return self._frames.pop(0)

    async def ask(self, request: Any) -> Any:
        self.send(request)
        return await self.answer()

    async def bytes(self, count: int) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(count), PATIENCE_S)

    def close(self) -> None:
        self._writer.close()
