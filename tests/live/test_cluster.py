"""The cluster of a replay, with real brokers: formed, struck, mended, read to the end, used again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil
import pytest

from ksim.live.ask import Ask, Refused
from ksim.live.cluster import ClusterSpec
from ksim.live.errors import LiveError
from ksim.live.final_logs import final_logs
from ksim.live.logs import Watchers
from ksim_models.facts import Appended, BrokerChanged, PartitionChanged, Replicated
from live_stand import Stand

pytestmark = pytest.mark.slow  # `make live ARGS="-m live"` runs these too.


@pytest.fixture(scope="module", params=["4.3.0", "3.9.1"])
def used(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with Stand(request.param) as stand:
        yield stand


@pytest.fixture
def stand(used: Stand) -> Stand:
    """Every broker is up, and no topic is left of the test before."""
    used.reset()
    return used


async def until_led_by(stand: Stand, leader: str, *, asked: str = "broker-3") -> tuple[str, ...]:
    while True:
        state = (await stand.cluster.ask.metadata(asked, [stand.topic])).partitions[stand.topic, 0]
        if state.leader == leader:
            return state.isr
        await asyncio.sleep(0.05)


def test_a_topic_that_is_ready_has_followers_that_fetch(stand: Stand) -> None:
    async def story() -> tuple[list[object], set[int]]:
        await stand.create_topics()
        answers = await stand.produce(range(5))
        ends = [(await stand.cluster.ask.offsets(name, [(stand.topic, 0)], of_log=True))[stand.topic, 0] for name in stand.cluster.brokers]
        return answers, set(ends)

    answers, ends = stand.run(story())

    assert answers == [0, 1, 2, 3, 4]
    assert ends == {5}


def test_every_replica_has_the_same_final_log_and_consumers_read_it(stand: Stand) -> None:
    async def story() -> None:
        await stand.create_topics()
        await stand.produce(range(3), enable_idempotence=True)
        await stand.produce(range(3), producer=1, compression_type="lz4")

    stand.run(story())
    truth = stand.run(final_logs(stand.cluster, stand.plan, stand.naming))
    logs = {log.replica: log for log in truth.logs if log.partition == "payments-0"}

    assert truth.reasons == []
    assert [name for name, log in logs.items() if log.leader] == ["broker-1"]
    assert set(logs) == {"broker-1", "broker-2", "broker-3"}
    for log in logs.values():
        assert [(batch.producer, list(batch.records)) for batch in log.batches] == [("p1", [0, 1, 2]), ("p2", [0, 1, 2])]
    assert logs["broker-1"].batches[0].producer_id >= 0
    assert (logs["broker-1"].batches[0].base_sequence, logs["broker-1"].batches[1].producer_id) == (0, -1)
    assert {log.log_end_offset for log in logs.values()} == {6}
    assert (logs["broker-1"].high_watermark, logs["broker-1"].last_stable_offset) == (6, 6)


@dataclass
class Foreign:
    """The same cluster as somebody sees it who does not own it."""

    ask: Ask
    brokers: tuple[str, ...]


def test_the_logs_read_over_the_protocol_are_those_on_the_disks(stand: Stand) -> None:
    async def story() -> None:
        await stand.create_topics()
        await stand.produce(range(50), compression_type="gzip", enable_idempotence=True)

    stand.run(story())

    foreign = Foreign(stand.cluster.ask, stand.cluster.brokers)
    over_the_protocol, from_the_disks = (stand.run(final_logs(scene, stand.plan, stand.naming)) for scene in (foreign, stand.cluster))

    assert over_the_protocol.reasons == from_the_disks.reasons == []
    assert [(log.replica, log.leader, log.batches) for log in over_the_protocol.logs] == [(log.replica, log.leader, log.batches) for log in from_the_disks.logs]
    assert len(over_the_protocol.logs) == 6


def test_a_crash_is_told_by_the_metadata_log_and_the_new_leader_appends(stand: Stand) -> None:
    async def story() -> list[object]:
        await stand.create_topics()
        watchers = await stand.watch()
        await stand.produce(range(2))
        stand.cluster.crash("broker-1")
        await until_led_by(stand, "broker-2")
        await stand.produce(range(2, 4))
        await stand.cluster.restart("broker-1")
        await stand.cluster.ready()
        await watchers.stop()
        return [fact for _, fact in stand.book.facts]

    facts = stand.run(story())
    appended = [(fact.broker, list(fact.records), fact.base_offset, fact.leader_epoch) for fact in facts if isinstance(fact, Appended)]
    led = [fact for fact in facts if isinstance(fact, PartitionChanged) and fact.partition == "payments-0"]
    states = [fact.state for fact in facts if isinstance(fact, BrokerChanged) and fact.broker == "broker-1"]

    assert appended == [("broker-1", [0, 1], 0, 0), ("broker-2", [2, 3], 2, 1)]
    assert (led[0].leader, led[0].leader_epoch, led[0].isr, led[0].unclean) == ("broker-2", 1, ("broker-2", "broker-3"), False)
    assert led[0].why == "fenced broker-1"
    assert states == ["fenced", "registered", "unfenced"]
    assert max(fact.log_end_offset for fact in facts if isinstance(fact, Replicated) and fact.broker == "broker-3") == 4


def test_who_does_not_own_a_cluster_is_told_the_same_by_its_brokers(stand: Stand) -> None:
    async def story() -> list[object]:
        await stand.create_topics()
        watchers = Watchers(Foreign(stand.cluster.ask, stand.cluster.brokers), stand.plan, stand.naming, stand.book)
        await watchers.start()
        watchers.begin()
        await stand.produce(range(2), linger_ms=100)
        stand.cluster.crash("broker-1")
        while watchers.leader_of("payments-0") != "broker-2":
            await asyncio.sleep(0.05)
        await stand.produce(range(2, 4), linger_ms=100)
        await watchers.stop()
        return [fact for _, fact in stand.book.facts if getattr(fact, "partition", "payments-0") == "payments-0"]

    facts = stand.run(story())
    appended = [(fact.broker, list(fact.records), fact.base_offset, fact.leader_epoch) for fact in facts if isinstance(fact, Appended)]

    assert appended == [("broker-1", [0, 1], 0, 0), ("broker-2", [2, 3], 2, 1)]
    assert {(fact.broker, fact.state) for fact in facts if isinstance(fact, BrokerChanged)} == {("broker-1", "fenced")}
    assert [(fact.leader, fact.leader_epoch) for fact in facts if isinstance(fact, PartitionChanged)] == [("broker-2", 1)]
    assert max(fact.log_end_offset for fact in facts if isinstance(fact, Replicated) and fact.broker == "broker-3") == 4


def test_paused_followers_leave_the_isr_and_come_back(stand: Stand) -> None:
    async def story() -> list[set[str]]:
        await stand.create_topics()
        watchers = await stand.watch()
        stand.cluster.pause("broker-2")
        seen = []
        while len(watchers.isr_of("payments-0")) == 3:
            await asyncio.sleep(0.05)
        seen.append(set(watchers.isr_of("payments-0")))
        stand.cluster.resume("broker-2")
        while len(watchers.isr_of("payments-0")) < 3:
            await asyncio.sleep(0.05)
        seen.append(set(watchers.isr_of("payments-0")))
        await watchers.stop()
        return seen

    assert stand.run(story()) == [{"broker-1", "broker-3"}, {"broker-1", "broker-2", "broker-3"}]


def test_an_orderly_shutdown_hands_leadership_over_at_once(stand: Stand) -> None:
    async def story() -> tuple[bool, tuple[str, ...]]:
        await stand.create_topics()
        orderly = await stand.cluster.shutdown("broker-1")
        return orderly, await until_led_by(stand, "broker-2")

    orderly, isr = stand.run(story())

    assert orderly
    assert "broker-1" not in isr


def test_what_an_administrator_does_can_be_asked_for(stand: Stand) -> None:
    ask = stand.cluster.ask
    partition = (stand.topic, 0)

    async def story() -> tuple[int, tuple[str, ...], str]:
        await stand.create_topics()
        await stand.produce(range(5))
        low = await ask.delete_records("broker-1", partition, 3)
        await ask.alter_topic("broker-2", stand.topic, {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"})
        await ask.reassign("broker-2", partition, ["broker-2", "broker-3"])
        while set((await ask.metadata("broker-3", [stand.topic])).partitions[partition].replicas) != {"broker-2", "broker-3"}:
            await asyncio.sleep(0.05)
        await until_led_by(stand, "broker-2")
        try:
            await ask.elect_leader("broker-2", partition, "preferred")
            refused = ""
        except Refused as error:
            refused = error.error
        return low, (await ask.metadata("broker-2", [stand.topic])).partitions[partition].isr, refused

    low, isr, refused = stand.run(story())

    assert (low, set(isr), refused) == (3, {"broker-2", "broker-3"}, "ELECTION_NOT_NEEDED")


def test_a_connection_to_a_link_is_known_by_the_node_it_comes_from(stand: Stand) -> None:
    links = {link.listen_port: link.target for link in stand.cluster.links}
    stand.run(stand.create_topics())
    connections = [(name, connection) for name, child in stand.cluster.children.items() for connection in psutil.Process(child.pid).net_connections("tcp")]
    outgoing = [
        (name, connection.laddr.port, links[connection.raddr.port]) for name, connection in connections if connection.raddr and connection.raddr.port in links
    ]

    assert {("broker-2", "broker-1"), ("broker-3", "broker-1"), ("broker-1", "controller-1")} <= {(name, target) for name, _, target in outgoing}
    assert [stand.cluster.owner_of(port) for _, port, _ in outgoing] == [name for name, _, _ in outgoing]


def test_a_used_cluster_carries_the_next_plan_if_it_asks_for_the_same(stand: Stand) -> None:
    ask = stand.cluster.ask

    async def story() -> tuple[tuple[str, ...], dict[str, str | None], dict[str, str | None]]:
        before = await ask.dynamic_config("broker-1", None)
        await stand.create_topics()
        await stand.produce(range(3))
        await ask.alter_broker("broker-1", None, {"log.retention.ms": "3600000"})
        stand.cluster.crash("broker-2")
        stand.cluster.pause("broker-3")
        await stand.cluster.reset()
        return (await ask.metadata("broker-2")).topics, before, await ask.dynamic_config("broker-1", None)

    spec = ClusterSpec.of(stand.plan)
    other = replace(spec, brokers=spec.brokers[:2])

    topics, before, after = stand.run(story())

    assert stand.cluster.can_carry(spec)
    assert not stand.cluster.can_carry(other)
    assert [topic for topic in topics if topic.startswith("ksim-")] == []
    assert before == after


def test_a_broker_that_dies_by_itself_is_noticed(stand: Stand) -> None:
    child = stand.cluster.children["broker-3"]
    os.kill(child.pid, signal.SIGKILL)

    async def story() -> str:
        await child.ended(10)
        try:
            stand.cluster.check()
        except LiveError as error:
            return error.message
        return ""

    said = stand.run(story())
    stand.cluster.crash("broker-3")

    assert "broker-3" in said
    assert "ended by itself" in said
