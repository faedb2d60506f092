"""What ksim itself asks of a cluster: metadata, topics, offsets, settings; always of one broker that is named, and never for longer than a few seconds.

Kafka: KafkaApis, ControllerApis. Nodes and partitions have the scenario's names here, topics those on the cluster.
"""

from __future__ import annotations

import asyncio
import io
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kio.records.schema import NewRecordBatch, Record
from kio.records.writers import write_new_batch
from kio.static.primitive import Records, TZAwareMicros, i8, i16, i32, i64

from ksim.live.errors import LiveError
from ksim.live.exchange import Address, Exchange, NoAnswer
from ksim.live.naming import PREFIX
from ksim_models.messages import NO_LEADER

LATEST = -1
EARLIEST = -2
UNCOMMITTED, COMMITTED = 0, 1
CONSUMER = -1
DEBUGGING_CONSUMER = -2
"""A replica id to which followers answer as well, with their log's end."""
FUTURE_REPLICA = -3
"""A replica id that may fetch from followers as well, up to their log's end: FetchParams.fetchOnlyLeader, FetchIsolation."""
TOPIC_RESOURCE, BROKER_RESOURCE = 2, 4
SET, DELETE = 0, 1
DYNAMIC_BROKER, DYNAMIC_DEFAULT = 2, 3
"""Where a setting of a broker comes from: ConfigSource."""
ELECTIONS = {"preferred": 0, "unclean": 1}
READ_BYTES = 8 * 1024 * 1024
METADATA_TOPIC = "__cluster_metadata"
DEED_S = 15.0
"""For what a controller has to do."""
LOOK_S = 0.02

Partition = tuple[str, int]
"""A topic as the cluster calls it, and a number."""


class Refused(LiveError):
    """The cluster answered with an error."""

    def __init__(self, error: str, said: str) -> None:
        super().__init__(f"the cluster answered {error}: {said}")
        self.args = error, said
        self.error = error

    def __str__(self) -> str:
        return self.message


class TimedOut(Refused):
    """It was begun, and not over in time."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition as a broker knows it; nodes by the scenario's names."""

    leader: str
    leader_epoch: int
    replicas: tuple[str, ...]
    isr: tuple[str, ...]
    offline: tuple[str, ...]
    elr: tuple[str, ...] = ()
    last_known_elr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterState:
    brokers: tuple[str, ...]
    """Alive and unfenced."""
    topics: tuple[str, ...]
    partitions: dict[Partition, PartitionState]
    topic_ids: dict[str, str]
    """As text, of topics that have one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A piece of one replica's log, and what this replica knows of it."""

    records: bytes
    log_start: int
    high_watermark: int
    last_stable: int


@dataclass(frozen=True, slots=True)
class NewTopic:
    name: str
    assignment: tuple[tuple[str, ...], ...]
    """Per partition: the brokers that hold a replica, the preferred leader first."""
    config: tuple[tuple[str, str], ...] = ()


class Ask:
    """`addresses`: where a broker's clients' listener really is. `ids`: the node id of each."""

    def __init__(self, addresses: Mapping[str, Address], ids: Mapping[str, int], *, exchange: Exchange | None = None) -> None:
        self.addresses = addresses
        self.ids = ids
        self.names = {number: name for name, number in ids.items()}
        self.exchange = exchange or Exchange()

    async def metadata(self, broker: str, topics: Iterable[str] | None = None) -> ClusterState:
        """Of these topics (None: all; none: brokers only). A topic that this broker does not know is left out."""
        wanted = None if topics is None else [{"name": topic, "topic_id": None} for topic in topics]
        content: dict[str, object] = {"topics": wanted, "allow_auto_topic_creation": False}
        content |= {"include_topic_authorized_operations": False, "include_cluster_authorized_operations": False}
        answer = await self._send(broker, "metadata", content)
        partitions = {}
        known = [topic for topic in answer.topics if not topic.error_code]
        for topic in known:
            for partition in topic.partitions:
                partitions[topic.name, partition.partition_index] = PartitionState(
                    leader=self._leader(partition.leader_id),
                    leader_epoch=partition.leader_epoch,
                    replicas=self._told(partition.replica_nodes),
                    isr=self._told(partition.isr_nodes),
                    offline=self._told(partition.offline_replicas),
                )
        ids = {topic.name: str(topic.topic_id) for topic in known if getattr(topic, "topic_id", None)}
        return ClusterState(
            self._told(sorted(entry.node_id for entry in answer.brokers)), tuple(sorted(topic.name for topic in known)), dict(sorted(partitions.items())), ids
        )

    async def create_topics(self, broker: str, topics: Sequence[NewTopic], *, timeout_s: float = DEED_S) -> None:
        """Returns when every replica's broker knows the topics, leaders lead, and followers have begun to fetch. `Refused` where the cluster does."""
        await self.create(broker, topics, timeout_s=timeout_s)
        await self.until_known(topics, timeout_s)
        await self._until_followed(broker, topics, timeout_s)

    async def delete_topics(self, broker: str, names: Sequence[str], *, timeout_s: float = DEED_S) -> None:
        """Returns when no living broker knows them any more."""
        await self.delete(broker, names, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                for name in (await self.metadata(broker, topics=())).brokers:
                    while set(names) & set((await self.metadata(name)).topics):
                        await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise LiveError(f"{', '.join(names)}: still there {timeout_s:g} s after the topics were deleted.") from None

    async def delete(self, broker: str, names: Sequence[str], *, timeout_s: float = DEED_S) -> None:
        """Returns when the controller has committed it."""
        content = {
            "topics": [{"name": name, "topic_id": None} for name in names],
            "topic_names": list(names),
            "timeout": timedelta(seconds=timeout_s),
        }
        answer = await self._do(broker, "delete_topics", content, timeout_s)
        _raise_first((topic.error_code, getattr(topic, "error_message", None), f"topic {topic.name}") for topic in answer.responses)

    async def offsets(
        self, broker: str, partitions: Iterable[Partition], *, at: int = LATEST, isolation: int = UNCOMMITTED, of_log: bool = False
    ) -> dict[Partition, int]:
        """The high watermark (uncommitted), the last stable offset (committed) or the start (`at=EARLIEST`) of partitions that this broker leads.

        `of_log`: the end of its log instead, whether it leads or follows. A partition that it does not have is left out.
        """
        content = {
            "replica_id": DEBUGGING_CONSUMER if of_log else CONSUMER,
            "isolation_level": isolation,
            "timeout": timedelta(seconds=1),
            "topics": [
                {"name": topic, "partitions": [{"partition_index": number, "current_leader_epoch": -1, "timestamp": at} for number in numbers]}
                for topic, numbers in _by_topic(partitions).items()
            ],
        }
        answer = await self._send(broker, "list_offsets", content)
        return {
            (topic.name, partition.partition_index): partition.offset for topic in answer.topics for partition in topic.partitions if not partition.error_code
        }

    async def read(self, broker: str, partition: Partition, topic_id: str, offset: int) -> Reading | None:
        """Its log from there on, whether it leads or follows, up to the log's end. None: it has no such partition, or no such offset."""
        topic, number = partition
        content = {
            "replica_id": FUTURE_REPLICA,
            "replica_state": {"replica_id": FUTURE_REPLICA, "replica_epoch": -1},
            "max_wait": timedelta(0),
            "min_bytes": 0,
            "max_bytes": READ_BYTES,
            "topics": [
                {
                    "topic": topic,
                    "topic_id": uuid.UUID(topic_id),
                    "partitions": [{"partition": number, "fetch_offset": offset, "partition_max_bytes": READ_BYTES, "replica_directory_id": None}],
                }
            ],
            "forgotten_topics_data": (),
        }
        answer = await self._send(broker, "fetch", content, DEED_S)
        results = [one for topic in answer.responses for one in topic.partitions]
        if answer.error_code or not results or results[0].error_code:
            return None
        one = results[0]
        return Reading(bytes(one.records or b""), int(one.log_start_offset), int(one.high_watermark), int(one.last_stable_offset))

    async def elr(self, broker: str, topics: Sequence[str]) -> dict[Partition, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Eligible leader replicas and last known ones (KIP-966). NotSpoken by brokers before 4.0."""
        content = {"topics": [{"name": topic} for topic in sorted(topics)], "response_partition_limit": 2000, "cursor": None}
        answer = await self._send(broker, "describe_topic_partitions", content)
        return {
            (topic.name, partition.partition_index): (self._told(partition.eligible_leader_replicas or ()), self._told(partition.last_known_elr or ()))
            for topic in answer.topics
            if not topic.error_code
            for partition in topic.partitions
        }

    async def quorum_leader(self, broker: str) -> int:
        """The node id of the active controller, -1 where there is none; the broker asks the controllers."""
        content = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
        answer = await self._send(broker, "describe_quorum", content)
        results = [partition for topic in answer.topics for partition in topic.partitions]
        _raise_first([(answer.error_code, None, "describe-quorum"), *((one.error_code, None, "describe-quorum") for one in results)])
        return int(results[0].leader_id)

    async def alter_topic(self, broker: str, topic: str, changes: Mapping[str, str | None]) -> None:
        """None: back to the default."""
        await self._alter(broker, TOPIC_RESOURCE, topic, changes)

    async def alter_broker(self, broker: str, target: str | None, changes: Mapping[str, str | None]) -> None:
        """`target` None: the default of all brokers."""
        await self._alter(broker, BROKER_RESOURCE, "" if target is None else str(self.ids[target]), changes)

    async def dynamic_config(self, broker: str, target: str | None) -> dict[str, str | None]:
        """What was altered while running, of one broker or (None) for all of them. Asked of `target` itself, as only it knows."""
        name = "" if target is None else str(self.ids[target])
        content = {
            "resources": [{"resource_type": BROKER_RESOURCE, "resource_name": name, "configuration_keys": None}],
            "include_synonyms": False,
            "include_documentation": False,
        }
        answer = await self._send(broker if target is None else target, "describe_configs", content)
        _raise_first((one.error_code, one.error_message, name) for one in answer.results)
        dynamic = DYNAMIC_DEFAULT if target is None else DYNAMIC_BROKER
        return {one.name: one.value for result in answer.results for one in result.configs if one.config_source == dynamic and not one.is_sensitive}

    async def prefer_directories(self, broker: str, wanted: Mapping[Partition, str]) -> None:
        """Where replicas that do not exist yet are to stand: it answers that it has none, and remembers."""
        dirs = [
            {
                "path": path,
                "topics": [{"name": topic, "partitions": numbers} for topic, numbers in _by_topic(one for one in wanted if wanted[one] == path).items()],
            }
            for path in sorted(set(wanted.values()))
        ]
        await self._do(broker, "alter_replica_log_dirs", {"dirs": dirs})

    async def lost_directories(self, broker: str) -> list[str]:
        """Log directories that it has given up."""
        answer = await self._send(broker, "describe_log_dirs", {"topics": None})
        return [result.log_dir for result in answer.results if result.error_code]

    async def elect_leader(self, broker: str, partition: Partition, kind: str) -> None:
        topic, number = partition
        content = {
            "election_type": ELECTIONS[kind],
            "topic_partitions": [{"topic": topic, "partitions": [number]}],
            "timeout": timedelta(seconds=DEED_S),
        }
        answer = await self._do(broker, "elect_leaders", content)
        _raise_first([(answer.error_code, None, "election")])
        _raise_first((one.error_code, one.error_message, "election") for result in answer.replica_election_results for one in result.partition_result)

    async def reassign(self, broker: str, partition: Partition, to: Sequence[str] | None) -> None:
        """Begins to move the replicas; None: cancels a move."""
        topic, number = partition
        replicas = None if to is None else [self.ids[name] for name in to]
        content = {
            "timeout": timedelta(seconds=DEED_S),
            "allow_replication_factor_change": True,
            "topics": [{"name": topic, "partitions": [{"partition_index": number, "replicas": replicas}]}],
        }
        answer = await self._do(broker, "alter_partition_reassignments", content)
        _raise_first([(answer.error_code, answer.error_message, "reassignment")])
        _raise_first((one.error_code, one.error_message, "reassignment") for topic in answer.responses for one in topic.partitions)

    async def delete_records(self, leader: str, partition: Partition, before: int) -> int:
        """Returns the new low watermark. Only the leader does it."""
        topic, number = partition
        content = {"timeout": timedelta(seconds=DEED_S), "topics": [{"name": topic, "partitions": [{"partition_index": number, "offset": before}]}]}
        answer = await self._do(leader, "delete_records", content)
        results = [one for topic in answer.topics for one in topic.partitions]
        _raise_first((one.error_code, None, "delete-records") for one in results)
        return int(results[0].low_watermark)

    async def create(self, broker: str, topics: Sequence[NewTopic], *, timeout_s: float = DEED_S) -> None:
        """Returns when the controller has committed it."""
        content = [
            {
                "name": topic.name,
                "num_partitions": -1,
                "replication_factor": -1,
                "assignments": [
                    {"partition_index": number, "broker_ids": [self.ids[name] for name in replicas]} for number, replicas in enumerate(topic.assignment)
                ],
                "configs": [{"name": key, "value": value} for key, value in topic.config],
            }
            for topic in topics
        ]
        answer = await self._do(broker, "create_topics", {"topics": content, "timeout": timedelta(seconds=timeout_s)}, timeout_s)
        _raise_first((topic.error_code, topic.error_message, f"topic {topic.name}") for topic in answer.topics)

    async def append(self, leader: str, partition: Partition, topic_id: str, value: bytes, *, timeout_s: float = DEED_S) -> int:
        """One record with acks=all; its offset. `Refused` where the leader does."""
        topic, number = partition
        data = [{"index": number, "records": Records(_one_record(value))}]
        content = {
            "transactional_id": None,
            "acks": -1,
            "timeout": timedelta(seconds=timeout_s),
            "topic_data": [{"name": topic, "topic_id": uuid.UUID(topic_id), "partition_data": data}],
        }
        answer = await self._do(leader, "produce", content, timeout_s)
        results = [one for topic in answer.responses for one in topic.partition_responses]
        _raise_first((one.error_code, getattr(one, "error_message", None), "produce") for one in results)
        return int(results[0].base_offset)

    async def _until_followed(self, broker: str, topics: Sequence[NewTopic], timeout_s: float) -> None:
        """Until every follower fetches from its leader, which may be a second after it is in the ISR.

        An empty log does not tell. But a follower takes up partitions in the order in which they were made, and fetches all of one leader together: once it
        has copied a record of a partition made later, it fetches the earlier ones too.
        """
        pairs = sorted({(replicas[0], follower) for topic in topics for replicas in topic.assignment for follower in replicas[1:]})
        prefix = PREFIX.match(topics[0].name) if topics else None
        if not pairs or prefix is None:
            return
        scratch = NewTopic(f"{prefix[0]}followed-{secrets.token_hex(2)}", tuple(pairs), (("min.insync.replicas", "2"),))
        await self.create(broker, [scratch], timeout_s=timeout_s)
        await self.until_known([scratch], timeout_s)
        topic_id = (await self.metadata(broker, [scratch.name])).topic_ids[scratch.name]
        await asyncio.gather(*(self.append(leader, (scratch.name, number), topic_id, b"w ", timeout_s=timeout_s) for number, (leader, _) in enumerate(pairs)))

    async def until_known(self, topics: Sequence[NewTopic], timeout_s: float = DEED_S) -> None:
        """Every replica's broker has its replica, and all are in the ISR."""
        expected = {(topic.name, number): replicas for topic in topics for number, replicas in enumerate(topic.assignment)}
        names = [topic.name for topic in topics]
        holders = sorted({name for replicas in expected.values() for name in replicas})
        try:
            async with asyncio.timeout(timeout_s):
                for name in holders:
                    own = [partition for partition, replicas in expected.items() if name in replicas]
                    while not await self._knows(name, names, expected, own):
                        await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise LiveError(f"{', '.join(names)}: not every replica was there {timeout_s:g} s after the topics were created.") from None

    async def _knows(self, broker: str, names: Sequence[str], expected: Mapping[Partition, tuple[str, ...]], own: Sequence[Partition]) -> bool:
        try:
            seen = (await self.metadata(broker, names)).partitions
            if not all(partition in seen and set(seen[partition].isr) == set(replicas) for partition, replicas in expected.items()):
                return False
            return len(await self.offsets(broker, own, of_log=True)) == len(own)
        except NoAnswer:
            return False

    async def _alter(self, broker: str, kind: int, name: str, changes: Mapping[str, str | None]) -> None:
        configs = [{"name": key, "config_operation": DELETE if value is None else SET, "value": value} for key, value in changes.items()]
        content = {"validate_only": False, "resources": [{"resource_type": kind, "resource_name": name, "configs": configs}]}
        answer = await self._do(broker, "incremental_alter_configs", content)
        _raise_first((one.error_code, one.error_message, name) for one in answer.responses)

    async def _send(self, broker: str, api: str, content: Mapping[str, object], timeout_s: float | None = None) -> Any:
        return await self.exchange.ask(self.addresses[broker], api, content, timeout_s=timeout_s)

    async def _do(self, broker: str, api: str, content: Mapping[str, object], timeout_s: float = DEED_S) -> Any:
        """A deed takes the controller longer than a question takes a broker."""
        return await self._send(broker, api, content, timeout_s + 1)

    def _told(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.names.get(number, f"node-{number}") for number in numbers)

    def _leader(self, number: int) -> str:
        return self._told([number])[0] if number >= 0 else NO_LEADER


def _one_record(value: bytes) -> bytes:
    now = TZAwareMicros.parse(datetime.now(UTC))
    record = Record(attributes=i8(0), timestamp=now, offset=i64(0), key=None, value=value, headers=())
    batch = NewRecordBatch(producer_id=i64(-1), producer_epoch=i16(-1), base_sequence=i32(-1), records=(record,), attributes=i16(0))
    buffer = io.BytesIO()
    write_new_batch(buffer, batch)
    return buffer.getvalue()


def _by_topic(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        found.setdefault(topic, []).append(number)
    return found


def _raise_first(results: Iterable[tuple[Any, str | None, str]]) -> None:
    for code, message, what in results:
        if code:
            raise (TimedOut if code.name == "request_timed_out" else Refused)(code.name.upper(), message or what)
