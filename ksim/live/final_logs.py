"""The final truth: every replica's log by Kafka's own dump tool, and the leader's log as consumers read it.

Kafka: DumpLogSegments; a consumer with isolation.level read_uncommitted and read_committed. Where the two differ, the run says so and is not judged as if
nothing had been seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import confluent_kafka

from ksim.live.ask import COMMITTED, EARLIEST, Ask, NoAnswer, Partition, PartitionState
from ksim.live.batches import Batch, Identity
from ksim.live.cluster import KraftCluster
from ksim.live.dump import DumpedLog, dump
from ksim.live.naming import Naming, identity
from ksim.plan import Plan
from ksim_models.facts import FinalLog
from ksim_models.messages import NO_LEADER

READING_S = 30.0
ISOLATION = {"read_uncommitted": "high watermark", "read_committed": "last stable offset"}


@dataclass(slots=True)
class FinalTruth:
    """The final logs of all replicas, and what is wrong with them: a reason each why the run cannot be judged."""

    logs: list[FinalLog] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Offsets:
    """What a leader tells of its log."""

    start: int
    high_watermark: int
    last_stable: int


async def final_logs(cluster: KraftCluster, plan: Plan, naming: Naming) -> FinalTruth:
    """When all is quiet: nothing may be written while this reads."""
    truth = FinalTruth()
    producers = [producer.name for producer in plan.producers]
    topics = [naming.real(topic.name) for topic in plan.topics if topic.exists]
    states = await states_of(cluster, topics)
    told = {partition: told_partition(naming, partition) for partition in states}
    replicas = [(partition, replica) for partition, state in states.items() for replica in state.replicas if replica in cluster.brokers]
    folders = {(partition, replica): cluster.data(replica) / f"{partition[0]}-{partition[1]}" for partition, replica in replicas}
    folders = {replica: folder for replica, folder in folders.items() if folder.is_dir()}
    dumped = await dump(cluster.installation, cluster.workplace, list(folders.values()))
    for partition, state in states.items():
        leads = cluster.is_running(state.leader) and state.leader not in cluster.paused
        offsets = await leaders_offsets(cluster.ask, state.leader, partition) if leads else None
        if offsets is None:
            truth.reasons.append(f"{told[partition]} could not be read at the end: it has no leader that answers")
        for replica in state.replicas:
            if (partition, replica) not in folders:
                continue
            log = dumped.get(folders[partition, replica], DumpedLog(0))
            leader = replica == state.leader and offsets is not None
            truth.logs.append(_fact(told[partition], replica, log, offsets, leader=leader, producers=producers))
            if leader and offsets is not None:
                truth.reasons += await asyncio.to_thread(compare_with_consumers, cluster.ask, partition, told[partition], log.batches, offsets)
    return truth


async def states_of(cluster: KraftCluster, topics: Sequence[str]) -> dict[Partition, PartitionState]:
    """As the brokers that answer know them; the highest leader epoch is right, since some may lag behind."""
    states: dict[Partition, PartitionState] = {}
    for broker in cluster.brokers:
        if not cluster.is_running(broker) or broker in cluster.paused:
            continue
        try:
            seen = (await cluster.ask.metadata(broker, topics)).partitions
        except NoAnswer:
            continue
        for partition, state in seen.items():
            if partition not in states or state.leader_epoch > states[partition].leader_epoch:
                states[partition] = state
    return states


async def leaders_offsets(ask: Ask, leader: str, partition: Partition) -> Offsets | None:
    """None: it does not answer, or leads no longer."""
    if leader == NO_LEADER:
        return None
    try:
        start = await ask.offsets(leader, [partition], at=EARLIEST)
        high = await ask.offsets(leader, [partition])
        stable = await ask.offsets(leader, [partition], isolation=COMMITTED)
    except NoAnswer:
        return None
    if not (partition in start and partition in high and partition in stable):
        return None
    return Offsets(start[partition], high[partition], stable[partition])


def told_partition(naming: Naming, partition: Partition) -> str:
    return f"{naming.told(partition[0])}-{partition[1]}"


def _fact(partition: str, replica: str, log: DumpedLog, offsets: Offsets | None, *, leader: bool, producers: Sequence[str]) -> FinalLog:
    """A follower does not tell its high watermark: at best it is the leader's, and never beyond its log."""
    start = max(log.start, offsets.start if offsets else 0)
    end = max(log.end, start)
    return FinalLog(
        partition=partition,
        replica=replica,
        leader=leader,
        readable=leader,
        log_start_offset=start,
        high_watermark=min(offsets.high_watermark, end) if offsets else end,
        last_stable_offset=min(offsets.last_stable, end) if offsets else end,
        log_end_offset=end,
        batches=tuple(fact for batch in log.batches if batch.last_offset >= start for fact in batch.logged(producers)),
    )


def compare_with_consumers(ask: Ask, partition: Partition, told: str, batches: Sequence[Batch], offsets: Offsets) -> list[str]:
    """What two real consumers read must be what the dump shows. Blocks."""
    reasons = []
    for isolation, limit_name in ISOLATION.items():
        limit = offsets.high_watermark if isolation == "read_uncommitted" else offsets.last_stable
        expected = [(offset, own) for batch in batches for offset, own in batch.records if offsets.start <= offset < limit]
        read = consume(ask, partition, isolation, offsets.start, limit)
        if isinstance(read, str):
            reasons.append(f"{told}: the {isolation} consumer failed: {read}")
        elif isolation == "read_uncommitted" and read != expected:
            reasons.append(f"{told}: the {isolation} consumer and the dump differ below the {limit_name} {limit}: {_first_difference(read, expected)}")
        elif not set(read) <= set(expected):
            reasons.append(f"{told}: the {isolation} consumer read what the dump does not show: {_first_difference(read, expected)}")
    return reasons


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
