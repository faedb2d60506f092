"""The final truth: every replica's log by Kafka's own dump tool, and the leader's log as consumers read it.

Kafka: DumpLogSegments; a consumer with isolation.level read_uncommitted and read_committed. Where the two differ, the run says so and is not judged as if
nothing had been seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import confluent_kafka

from ksim.live.ask import EARLIEST, Ask, ClusterState, Partition, PartitionState, Reading
from ksim.live.batches import Batch, Identity, batches_in, with_records
from ksim.live.cluster import KraftCluster
from ksim.live.compressed import NotReadable
from ksim.live.dump import DumpedLog, dump
from ksim.live.exchange import NoAnswer
from ksim.live.naming import Naming, identity
from ksim.plan import Plan
from ksim_models.facts import FinalLog

READING_S = 30.0
Replica = tuple[Partition, str]
ISOLATION = {"read_uncommitted": "high watermark", "read_committed": "last stable offset"}


@dataclass(slots=True)
class FinalTruth:
    """The final logs of all replicas, and what is wrong with them: a reason each why the run cannot be judged."""

    logs: list[FinalLog] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class Scene(Protocol):
    """A cluster, ours or not."""

    @property
    def ask(self) -> Ask: ...
    @property
    def brokers(self) -> Sequence[str]: ...


async def final_logs(scene: Scene, plan: Plan, naming: Naming) -> FinalTruth:
    """When all is quiet: nothing may be written while this reads."""
    truth = FinalTruth()
    producers = [producer.name for producer in plan.producers]
    topics = [naming.real(topic.name) for topic in plan.topics if topic.exists]
    found = await states_of(scene, topics)
    replicas = [(partition, replica) for partition, state in found.partitions.items() for replica in state.replicas if replica in scene.brokers]
    offsets = {replica: await replicas_offsets(scene.ask, *replica, found.topic_ids) for replica in replicas}
    contents = await (_dumped(scene, replicas) if isinstance(scene, KraftCluster) else _fetched(scene, replicas, offsets, found, truth))
    for partition, replica in replicas:
        log, known = contents.get((partition, replica)), offsets[partition, replica]
        leader = found.partitions[partition].leader == replica and known is not None
        if log is not None:
            truth.logs.append(_fact(told_partition(naming, partition), replica, log, known, leader=leader, producers=producers))
        if leader and known is not None and log is not None:
            truth.reasons += await asyncio.to_thread(compare_with_consumers, scene.ask, partition, told_partition(naming, partition), log.batches, known)
    led = {log.partition for log in truth.logs if log.leader}
    everything = sorted(partition for topic in plan.topics if topic.exists for partition in topic.partitions)
    truth.reasons += [f"{partition} could not be read at the end: it has no leader that answers" for partition in everything if partition not in led]
    return truth


async def states_of(scene: Scene, topics: Sequence[str]) -> ClusterState:
    """As the brokers that answer know the partitions; the highest leader epoch is right, since some may lag behind."""
    states: dict[Partition, PartitionState] = {}
    ids: dict[str, str] = {}
    for broker in scene.brokers:
        try:
            seen = await scene.ask.metadata(broker, topics)
        except NoAnswer:
            continue
        ids |= seen.topic_ids
        for partition, state in seen.partitions.items():
            if partition not in states or state.leader_epoch > states[partition].leader_epoch:
                states[partition] = state
    return ClusterState((), tuple(topics), states, ids)


async def replicas_offsets(ask: Ask, partition: Partition, replica: str, topic_ids: Mapping[str, str]) -> Reading | None:
    """What a replica knows of its log; None where it does not answer or has none."""
    try:
        start = (await ask.offsets(replica, [partition], at=EARLIEST, of_log=True)).get(partition)
        return None if start is None else await ask.read(replica, partition, topic_ids[partition[0]], start)
    except NoAnswer:
        return None


async def _dumped(cluster: KraftCluster, replicas: Sequence[Replica]) -> dict[Replica, DumpedLog]:
    """From the disks of our own brokers, the dead ones included."""
    places = ((replica, folder / "{}-{}".format(*replica[0])) for replica in replicas for folder in cluster.directories(replica[1]))
    folders = {replica: folder for replica, folder in places if folder.is_dir()}
    logs = await dump(cluster.installation, cluster.workplace, list(folders.values()))
    return {replica: logs.get(folder, DumpedLog(0)) for replica, folder in folders.items()}


async def _fetched(
    scene: Scene, replicas: Sequence[Replica], known: Mapping[Replica, Reading | None], found: ClusterState, truth: FinalTruth
) -> dict[Replica, DumpedLog]:
    """Over the protocol, from every replica that answers."""
    logs: dict[Replica, DumpedLog] = {}
    for partition, replica in replicas:
        reading = known[partition, replica]
        if reading is None:
            continue
        log = logs[partition, replica] = DumpedLog(reading.log_start)
        while reading is not None and reading.records:
            for batch, data in batches_in(reading.records):
                try:
                    log.batches.append(with_records(batch, data))
                except NotReadable as why:
                    truth.reasons.append(f"{partition[0]}-{partition[1]} holds a batch at {batch.base_offset} that cannot be read: {why}")
                    return {}
            reading = await scene.ask.read(replica, partition, found.topic_ids[partition[0]], log.end)
    return logs


def told_partition(naming: Naming, partition: Partition) -> str:
    return f"{naming.told(partition[0])}-{partition[1]}"


def _fact(partition: str, replica: str, log: DumpedLog, known: Reading | None, *, leader: bool, producers: Sequence[str]) -> FinalLog:
    """A replica that does not answer does not tell its high watermark: all that is there counts."""
    start = max(log.start, known.log_start if known else 0)
    end = max(log.end, start)
    return FinalLog(
        partition=partition,
        replica=replica,
        leader=leader,
        readable=leader,
        log_start_offset=start,
        high_watermark=known.high_watermark if known else end,
        last_stable_offset=known.last_stable if known else end,
        log_end_offset=end,
        batches=tuple(fact for batch in log.batches for fact in batch.since(start).logged(producers)),
    )


def compare_with_consumers(ask: Ask, partition: Partition, told: str, batches: Sequence[Batch], known: Reading) -> list[str]:
    """What two real consumers read must be what the dump shows. Blocks."""
    reasons = []
    for isolation, limit_name in ISOLATION.items():
        limit = known.high_watermark if isolation == "read_uncommitted" else known.last_stable
        shown = batches if isolation == "read_uncommitted" else committed(batches)
        expected = [(offset, own) for batch in shown for offset, own in batch.records if known.log_start <= offset < limit]
        read = consume(ask, partition, isolation, known.log_start, limit)
        if isinstance(read, str):
            reasons.append(f"{told}: the {isolation} consumer failed: {read}")
        elif read != expected:
            reasons.append(f"{told}: the {isolation} consumer and the dump differ below the {limit_name} {limit}: {_first_difference(read, expected)}")
    return reasons


def committed(batches: Sequence[Batch]) -> list[Batch]:
    """Those that no marker has aborted: what a reader of committed data is given below the last stable offset."""
    ends: dict[int, str] = {}
    kept = []
    for batch in reversed(batches):
        if batch.marker:
            ends[batch.producer_id] = batch.marker
        elif not batch.transactional or ends.get(batch.producer_id) != "abort":
            kept.append(batch)
    return kept[::-1]


def consume(ask: Ask, partition: Partition, isolation: str, start: int, stop: int) -> list[tuple[int, Identity | None]] | str:
    """Offsets and identities from start to stop; a text where it failed."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": ",".join(f"{host}:{port}" for host, port in ask.addresses.values()),
            "group.id": "ksim",  # Never used: nothing is subscribed or committed.
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "check.crcs": True,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )
    read: list[tuple[int, Identity | None]] = []
    deadline = time.monotonic() + READING_S
    try:
        consumer.assign([confluent_kafka.TopicPartition(*partition, start)])
        position = start
        while position < stop:
            if time.monotonic() > deadline:
                return f"it had read up to {position} of {stop} after {READING_S:g} s"
            for message in consumer.consume(500, timeout=0.2):
                error = message.error()
                offset = message.offset()
                if error is None:
                    assert offset is not None
                    position = offset + 1
                    if offset < stop:
                        read.append((offset, identity(message.value(), [(str(header[0]), b"") for header in message.headers() or []])))
                elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    position = max(position, offset or 0)
                elif error.fatal() or not error.retriable():
                    return f"{error.name()}: {error.str()}"
    finally:
        consumer.close()
    return read


def _first_difference(read: Sequence[tuple[int, Identity | None]], expected: Sequence[tuple[int, Identity | None]]) -> str:
    for mine, theirs in zip(read, expected):
        if mine != theirs:
            return f"read {mine}, dumped {theirs}"
    return f"{len(read)} records read, {len(expected)} dumped"
