"""The proxy between a toy client and a toy broker: nothing goes around it, and frame faults do to real frames what they say."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest

from ksim import Scenario
from ksim.dice import Dice
from ksim.live.book import Book
from ksim.live.clock import Clock
from ksim.live.frame_faults import FrameFaults
from ksim.live.naming import Naming
from ksim.live.proxy import Proxy
from ksim.live.wire import API_VERSIONS, METADATA, PRODUCE, known_versions
from ksim.network import LinkDelays
from ksim.plan import Latency, NetworkPlan
from ksim_models.facts import Connected, Disconnected, Fault, Learned, ProducerId, Rejected, Sent
from toy_kafka import PATIENCE_S, TOPIC_ID, ToyBroker, ToyClient, batch_bytes, fetch, init_producer_id, metadata, part, produce

NAMING = Naming("0123abcd")
TOPIC = NAMING.real("payments")


@dataclass
class Stage:
    """A broker, a proxy in front of it, and what was noted."""

    broker: ToyBroker
    proxy: Proxy
    book: Book
    address: tuple[str, int] = ("", 0)
    clients: list[ToyClient] = field(default_factory=list)

    async def client(self) -> ToyClient:
        client = await ToyClient.connect(self.address)
        self.clients.append(client)
        return client

    def facts(self, kind: type) -> list[Any]:
        return [fact for _, fact in self.book.facts if isinstance(fact, kind)]

    def hits(self) -> list[tuple[str, tuple[str, ...], int]]:
        return [(fact.phase, fact.resolved, fact.touched) for fact in self.facts(Fault)]

    async def fact(self, kind: type) -> Any:
        """The next one of that kind, once it is there."""
        while not (found := self.facts(kind)):
            await asyncio.sleep(0)
        return found[-1]


def faults_of(*faults: dict[str, Any]) -> FrameFaults:
    scenario = Scenario(
        format=1,
        kafka="4.3",
        seed=1,
        topics={"payments": {"partitions": 2}},
        producers={"p1": {}},
        workload=[{"topic": "payments", "records": 10, "every": "1ms"}],
        fault=list(faults),
    )
    return FrameFaults(scenario.plan(1).faults, Dice(1), lambda who, fault: (who.argument,), lambda fact: None)


def on_stage(story: Callable[[Stage], Awaitable[None]], *faults: dict[str, Any], latency_us: int = 0, bandwidth: Fraction | None = None) -> None:
    async def told() -> None:
        clock = Clock()
        stage = Stage(ToyBroker(topic=TOPIC), Proxy(), Book(clock))
        await stage.broker.start()
        delays = LinkDelays(NetworkPlan(Latency(latency_us, latency_us), bandwidth), Dice(1)) if latency_us or bandwidth else None
        stage.proxy.prepare(clock, stage.book, NAMING, ["p1"], delays)
        stage.address = await stage.proxy.open_door("p1", "broker-1", stage.broker.address)
        frames = faults_of(*faults)
        frames._note = stage.book.note
        stage.proxy.begin(frames)
        try:
            await asyncio.wait_for(story(stage), PATIENCE_S)
        finally:
            for client in stage.clients:
                client.close()
            await stage.proxy.close()
            await stage.broker.stop()

    asyncio.run(told())


def one(number: int, *, acks: int = -1, version: int = 9, partition: int = 0, sequence: int = -1) -> Any:
    return produce(TOPIC, batch_bytes([(f"0/{number}", 60)], sequence=sequence), acks=acks, version=version, partition=partition)


def base_offset(answer: Any) -> int:
    return int(answer.responses[0].partition_responses[0].base_offset)


def error_of(answer: Any) -> int:
    return int(answer.responses[0].partition_responses[0].error_code)


# What passes.


def test_a_record_goes_through_and_is_seen() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        answer = await client.ask(one(7))

        assert base_offset(answer) == 0
        assert stage.broker.appended == [7]
        assert stage.facts(Sent) == [Sent("p1", "payments-0", range(7, 8), "broker-1", "p1->broker-1#1", 1)]
        assert stage.facts(Connected) == [Connected("p1", "broker-1", "p1->broker-1#1")]

    on_stage(story)


@pytest.mark.parametrize("version", range(3, 14))
def test_every_version_of_produce_goes_through(version: int) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(metadata(TOPIC))
        answer = await client.ask(one(1, version=version))

        assert base_offset(answer) == 0
        assert [fact.partition for fact in stage.facts(Sent)] == ["payments-0"]

    on_stage(story)


def test_an_attempt_is_counted_from_one_for_the_same_records() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        for number in (1, 2, 1):
            await client.ask(one(number))

        assert [(fact.records[0], fact.attempt) for fact in stage.facts(Sent)] == [(1, 1), (2, 1), (1, 2)]

    on_stage(story)


def test_the_parts_of_a_batch_that_was_too_large_are_first_attempts() -> None:
    async def story(stage: Stage) -> None:
        stage.broker.errors = [10]  # MESSAGE_TOO_LARGE
        client = await stage.client()
        await client.ask(produce(TOPIC, batch_bytes([("0/1", 60), ("0/2", 60)])))
        for number in (1, 2, 1):
            await client.ask(one(number))

        assert [(list(fact.records), fact.attempt) for fact in stage.facts(Sent)] == [([1, 2], 1), ([1], 1), ([2], 1), ([1], 2)]

    on_stage(story)


def test_warm_up_records_and_those_of_another_producer_leave_no_trace() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        for text in ("w", "5/1"):
            await client.ask(produce(TOPIC, batch_bytes([(text, 60)])))

        assert stage.facts(Sent) == []

    on_stage(story)


def test_metadata_leads_the_client_to_its_door_and_says_who_leads() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        first = await client.ask(metadata(TOPIC))
        await client.ask(metadata(TOPIC))

        assert [(broker.host, broker.port) for broker in first.brokers] == [stage.address]
        assert stage.facts(Learned) == [Learned("p1", "payments-0", "broker-1", 3)]

    on_stage(story)


def test_a_broker_that_nobody_spoke_of_gets_a_door_too() -> None:
    async def story(stage: Stage) -> None:
        other = ToyBroker(node=5)
        await other.start()
        stage.broker.endpoint = (5, *other.address)
        stage.broker.errors = [6]
        client = await stage.client()
        answer = await client.ask(one(1, version=10))
        (endpoint,) = answer.node_endpoints

        assert (endpoint.host, endpoint.port) not in (other.address, stage.address)

        stage.address = (endpoint.host, endpoint.port)
        around = await stage.client()
        await around.ask(one(1, version=10))
        await other.stop()

        assert other.appended == [1]
        assert [fact.broker for fact in stage.facts(Sent)] == ["broker-1", "broker-5"]

    on_stage(story)


def test_a_refusal_before_the_append_is_noted_with_the_leader_that_it_names() -> None:
    async def story(stage: Stage) -> None:
        stage.broker.endpoint = (1, *stage.broker.address)
        stage.broker.errors = [6]
        client = await stage.client()
        await client.ask(one(1, version=10))

        assert stage.facts(Rejected) == [Rejected("broker-1", "payments-0", "p1", range(1, 2), "NOT_LEADER_OR_FOLLOWER")]
        assert stage.facts(Learned) == [Learned("p1", "payments-0", "broker-1", 5)]

    on_stage(story)


def test_a_time_out_at_the_broker_is_no_refusal() -> None:
    async def story(stage: Stage) -> None:
        stage.broker.errors = [7]
        client = await stage.client()
        await client.ask(one(1))

        assert stage.facts(Rejected) == []

    on_stage(story)


def test_a_producer_id_is_noted() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(init_producer_id())

        assert stage.facts(ProducerId) == [ProducerId("p1", 4000, 2, "InitProducerId")]

    on_stage(story)


def test_the_client_hears_of_no_version_with_addresses_that_could_not_be_rewritten() -> None:
    async def story(stage: Stage) -> None:
        stage.broker.newest = {METADATA: 77}
        client = await stage.client()
        answer = await client.ask(part(API_VERSIONS, 3, "ApiVersionsRequest", client_software_name="toy", client_software_version="1"))

        assert {api.api_key: api.max_version for api in answer.api_keys}[METADATA] == known_versions(METADATA)[-1]

    on_stage(story)


async def echoing(stage: Stage) -> tuple[asyncio.Server, tuple[str, int]]:
    """Something that sends back what it hears, and the door to it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    return server, await stage.proxy.open_door("p1", "broker-9", server.sockets[0].getsockname()[:2])


def test_bytes_that_are_not_kafkas_pass_unread_and_it_is_said() -> None:
    async def story(stage: Stage) -> None:
        server, stage.address = await echoing(stage)
        client = await stage.client()
        client.send_bytes(b"\x16\x03\x01\x00\xff hello")

        assert await client.bytes(11) == b"\x16\x03\x01\x00\xff hello"
        assert len(stage.proxy.not_read) == 1

        server.close()

    on_stage(story)


def test_a_request_that_cannot_be_decoded_is_passed_on_and_it_is_said() -> None:
    async def story(stage: Stage) -> None:
        server, stage.address = await echoing(stage)
        client = await stage.client()
        # Produce v9, and nothing of what v9 has. The echo begins with what should be the correlation id.
        request = b"\x00\x00\x00\x09" * 2 + b"rest"
        client.send_bytes(len(request).to_bytes(4, "big") + request)

        assert (await client.bytes(len(request) + 4))[4:] == request
        assert "ProduceRequest v9" in stage.proxy.not_read[0]

        server.close()

    on_stage(story)


def test_answers_that_nobody_asked_for_pass_in_order() -> None:
    async def story(stage: Stage) -> None:
        server, stage.address = await echoing(stage)
        client = await stage.client()
        frames = b"".join(b"\x00\x00\x00\x0c\x00\x12\x00\x03\x00\x00\x00" + bytes([number]) + b"rest" for number in range(5)) + b"\x00\x00"
        client.send_bytes(frames)

        assert await client.bytes(len(frames) - 2) == frames[:-2]
        assert len(stage.proxy.not_read) == 1

        server.close()

    on_stage(story)


def test_a_broker_that_hangs_up_at_once_is_heard_to() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def story(stage: Stage) -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        stage.address = await stage.proxy.open_door("p1", "broker-9", server.sockets[0].getsockname()[:2])
        client = await stage.client()

        assert await client.frame() is None

        server.close()

    on_stage(story)


def test_facts_of_the_warm_up_come_before_zero() -> None:
    async def told() -> None:
        clock = Clock()
        stage = Stage(ToyBroker(topic=TOPIC), Proxy(), Book(clock))
        await stage.broker.start()
        stage.proxy.prepare(clock, stage.book, NAMING, ["p1"])
        stage.address = await stage.proxy.open_door("p1", "broker-1", stage.broker.address)
        client = await stage.client()
        await client.ask(metadata(TOPIC))

        assert stage.book.facts == []

        clock.start_at(clock.zero_ns + (clock.now() + 1) * 1000)
        stage.proxy.begin()
        client.close()
        await stage.proxy.close()
        await stage.broker.stop()

        assert [at < 0 for at, fact in stage.book.facts if isinstance(fact, (Connected, Learned))] == [True, True]

    asyncio.run(told())


# Frame faults.


LOSE_RESPONSE = {"do": "lose-response", "when": {"request": "Produce", "nth": 2}}


def test_a_lost_response_closes_the_connection_after_the_work_was_done() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(one(1))
        answer = await client.ask(one(2))

        assert answer is None
        assert stage.broker.appended == [1, 2]
        assert await stage.broker.ended.get() in ("closed", "reset")
        assert stage.hits() == [("hit", ("broker-1 -> p1",), 1)]
        assert stage.facts(Disconnected) == [Disconnected("p1", "broker-1", "p1->broker-1#1", 1, "lose-response")]

    on_stage(story, LOSE_RESPONSE)


def test_a_lost_response_takes_the_answers_behind_it_along() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.send(one(1), one(2), one(3))

        assert base_offset(await client.answer()) == 0
        assert await client.answer() is None
        assert stage.facts(Disconnected)[0].requests == 2

        again = await stage.client()
        assert error_of(await again.ask(one(2))) == 0
        assert [fact.connection for fact in stage.facts(Sent)][-1] == "p1->broker-1#2"

    on_stage(story, LOSE_RESPONSE)


def test_a_lost_request_never_reaches_the_broker() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.send(one(1), one(2), one(3))
        await stage.broker.ended.get()

        assert stage.broker.appended in ([], [1])
        assert stage.hits() == [("hit", ("p1 -> broker-1",), 1)]

    on_stage(story, {"do": "lose-request", "when": {"request": "Produce", "nth": 2}})


def test_a_hang_of_the_request_leaves_the_connection_open() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(one(1))
        client.send(one(2), one(3))
        other = await stage.client()
        await other.ask(one(4))
        client.close()
        lost = await stage.fact(Disconnected)

        assert stage.broker.appended == [1, 4]
        assert (lost.requests, lost.why) == (2, "closed by the client")

    on_stage(story, {"do": "hang", "when": {"request": "Produce", "nth": 2}})


def test_a_hang_of_the_response_leaves_the_work_done() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.send(one(1), one(2))
        assert [await stage.broker.arrived.get() for _ in range(2)] == [PRODUCE, PRODUCE]
        await stage.fact(Fault)
        client.close()
        lost = await stage.fact(Disconnected)

        assert stage.broker.appended == [1, 2]
        assert lost.requests == 2

    on_stage(story, {"do": "hang", "when": {"response": "Produce"}})


@pytest.mark.parametrize("side", ["request", "response"])
def test_a_delay_makes_what_stands_behind_it_late_too(side: str) -> None:
    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        client = await stage.client()
        await client.ask(metadata(TOPIC))
        began = loop.time()
        client.send(one(1), metadata(TOPIC))

        assert base_offset(await client.answer()) == 0
        assert len((await client.answer()).brokers) == 1
        assert loop.time() - began >= 0.03

    on_stage(story, {"do": "delay", "by": "30ms", "when": {side: "Produce"}})


def test_an_answer_that_a_broker_never_gave_takes_its_turn() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.send(one(1), one(2), one(3))
        answers = [await client.answer() for _ in range(3)]

        assert [error_of(answer) for answer in answers] == [0, 19, 0]
        assert base_offset(answers[1]) == -1
        assert stage.broker.appended == [1, 3]
        assert [(fact.records[0], fact.error) for fact in stage.facts(Rejected)] == [(2, "NOT_ENOUGH_REPLICAS")]

    on_stage(story, {"do": "answer", "error": "NOT_ENOUGH_REPLICAS", "when": {"request": "Produce", "nth": 2}})


def test_an_answer_after_the_work_was_done_tells_of_an_error() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        answer = await client.ask(one(1))

        assert (error_of(answer), base_offset(answer)) == (7, 0)
        assert stage.broker.appended == [1]

    on_stage(story, {"do": "answer", "error": "REQUEST_TIMED_OUT", "processed": True, "when": {"request": "Produce"}})


def test_a_producer_id_is_refused_and_not_noted() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        answer = await client.ask(init_producer_id())

        assert (answer.error_code, answer.producer_id) == (15, -1)
        assert stage.facts(ProducerId) == []

    on_stage(story, {"do": "answer", "error": "COORDINATOR_NOT_AVAILABLE", "when": {"request": "InitProducerId"}})


def test_acks_0_has_no_answer_to_wait_for() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.send(one(1, acks=0))
        client._asked.clear()

        assert (await client.ask(metadata(TOPIC))).brokers
        assert stage.broker.appended == [1]

    on_stage(story, LOSE_RESPONSE)


def test_a_refusal_of_acks_0_closes_the_connection() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.send(one(1, acks=0))

        assert await client.frame() is None
        assert stage.broker.appended == []

    on_stage(story, {"do": "answer", "error": "NOT_LEADER_OR_FOLLOWER", "when": {"request": "Produce"}})


def test_frames_are_counted_for_the_partition_that_the_fault_names() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        for number in (1, 2, 3):
            assert error_of(await client.ask(one(number, partition=0))) == 0
        errors = [error_of(await client.ask(one(number, partition=1))) for number in (4, 5)]

        assert errors == [0, 19]

    on_stage(story, {"do": "answer", "error": "NOT_ENOUGH_REPLICAS", "when": {"request": "Produce", "partition": "payments-1", "nth": 2}})


def test_a_fault_of_machines_strikes_when_its_exchange_passes_and_lets_it_pass() -> None:
    struck: list[str] = []

    async def story(stage: Stage) -> None:
        assert stage.proxy.frames is not None
        for fault in stage.proxy.frames.faults:
            fault.strike = lambda plan: struck.append(plan.do)
        client = await stage.client()
        answers = [base_offset(await client.ask(one(number))) for number in (1, 2, 3)]

        assert (answers, struck) == ([0, 1, 2], ["pause"])

    on_stage(story, {"do": "pause", "who": "broker-1", "when": {"request": "Produce", "nth": 2}})


def test_frames_before_time_zero_are_not_counted() -> None:
    async def story(stage: Stage) -> None:
        frames, stage.proxy.frames = stage.proxy.frames, None
        client = await stage.client()
        await client.ask(one(1))
        await client.ask(one(2))
        stage.proxy.frames = frames

        assert error_of(await client.ask(one(3))) == 0
        assert await client.ask(one(4)) is None

    on_stage(story, LOSE_RESPONSE)


@pytest.mark.parametrize(
    ("fault", "version"),
    [
        ({"do": "answer", "error": "NOT_ENOUGH_REPLICAS", "when": {"request": "Produce"}}, 99),
        ({"do": "lose-request", "when": {"request": "Produce", "topic": "payments"}}, 99),
    ],
)
def test_a_version_that_cannot_be_read_is_passed_on_and_said(fault: dict[str, Any], version: int) -> None:
    async def story(stage: Stage) -> None:
        server, stage.address = await echoing(stage)
        client = await stage.client()
        # The echo answers with the same bytes: they begin with the correlation id that is asked for.
        request = (b"\x00\x00" + version.to_bytes(2, "big")) * 2 + b"rest"
        client.send_bytes(len(request).to_bytes(4, "big") + request)
        echoed = await client.bytes(len(request) + 4)
        (noted,) = stage.facts(Fault)

        assert echoed[4:] == request
        assert (noted.phase, "version 99" in noted.why) == ("not-injected", True)

        server.close()

    on_stage(story, fault)


# The network.


def test_a_cut_holds_what_was_sent_until_it_is_mended() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(metadata(TOPIC))
        stage.proxy.cut("p1", "broker-1")
        client.send(one(1), one(2))
        await stage.fact(Sent)

        assert stage.broker.appended == []

        stage.proxy.mend("p1", "broker-1")

        assert [base_offset(await client.answer()) for _ in range(2)] == [0, 1]

    on_stage(story)


def test_what_a_client_sent_before_it_gave_up_arrives_when_the_cut_is_mended() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(metadata(TOPIC))
        stage.proxy.cut("p1", "broker-1")
        client.send(one(1))
        client.close()
        lost = await stage.fact(Disconnected)

        assert (lost.requests, lost.why, stage.broker.appended) == (1, "closed by the client", [])

        stage.proxy.mend("p1", "broker-1")
        await stage.broker.ended.get()

        assert stage.broker.appended == [1]

    on_stage(story)


def test_a_cut_one_way_lets_the_work_be_done_and_holds_the_answer() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(metadata(TOPIC))
        stage.proxy.cut("broker-1", "p1")
        client.send(one(1))
        while await stage.broker.arrived.get() != PRODUCE:
            pass

        assert stage.broker.appended == [1]

        stage.proxy.mend("broker-1", "p1")

        assert base_offset(await client.answer()) == 0

    on_stage(story)


def test_a_cut_that_was_made_twice_is_mended_twice() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(metadata(TOPIC))
        for _ in range(2):
            stage.proxy.cut("p1", "broker-1")
        client.send(one(1))
        await stage.fact(Sent)
        stage.proxy.mend("p1", "broker-1")

        assert stage.broker.appended == []

        stage.proxy.mend("p1", "broker-1")

        assert base_offset(await client.answer()) == 0

    on_stage(story)


def test_a_cut_concerns_one_client_only() -> None:
    async def story(stage: Stage) -> None:
        other_address = await stage.proxy.open_door("p2", "broker-1", stage.broker.address)
        stage.proxy.cut("p1", "broker-1")
        other = await ToyClient.connect(other_address)
        stage.clients.append(other)

        assert base_offset(await other.ask(one(1))) == 0

    on_stage(story)


def test_a_reset_is_learnt_at_both_ends() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(metadata(TOPIC))

        assert stage.proxy.reset("broker-1", "p1") == 1
        assert await client.frame() is None
        assert await stage.broker.ended.get() == "reset"
        assert stage.proxy.reset("broker-1", "p1") == 0

    on_stage(story)


def test_a_broker_that_is_gone_refuses_and_is_found_again() -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.ask(one(1))
        port = stage.broker.address[1]
        await stage.broker.stop()

        assert await client.frame() is None

        refused = False
        while not refused:  # Until the proxy has found out, a connection is made and closed again.
            try:
                early = await stage.client()
                assert await early.frame() is None
            except ConnectionRefusedError:
                refused = True

        await stage.broker.start(port)
        answer = None
        while answer is None:
            try:
                late = await stage.client()
                answer = await late.ask(one(2))
            except OSError:
                await asyncio.sleep(0)

        assert stage.broker.appended == [1, 2]

    on_stage(story)


def test_the_latency_of_the_scenario_is_added_both_ways() -> None:
    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        client = await stage.client()
        began = loop.time()
        await client.ask(metadata(TOPIC))

        assert loop.time() - began >= 0.04

    on_stage(story, latency_us=20_000)


def test_the_bandwidth_of_the_scenario_holds_for_every_connection() -> None:
    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        client = await stage.client()
        began = loop.time()
        await client.ask(one(1))

        assert loop.time() - began >= 0.1

    on_stage(story, bandwidth=Fraction(1, 1000))  # 1,000 bytes a second, for a record of 60 bytes.


def test_a_slow_path_is_slow_until_that_is_taken_back() -> None:
    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        client = await stage.client()
        stage.proxy.slow_down("p1", "broker-1", 30_000, None)
        began = loop.time()
        await client.ask(metadata(TOPIC))

        assert loop.time() - began >= 0.03

        stage.proxy.speed_up("p1", "broker-1", 30_000, None)

        assert stage.proxy._latency("p1", "broker-1") == 0

    on_stage(story)


def test_a_narrow_path_is_narrow_until_that_is_taken_back_also_for_who_connects_meanwhile() -> None:
    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        early = await stage.client()
        stage.proxy.slow_down("p1", "broker-1", 0, Fraction(1, 1000))  # 1,000 bytes a second, for a record of 60 bytes.
        late = await stage.client()
        for client in (early, late):
            began = loop.time()
            await client.ask(one(1))

            assert loop.time() - began >= 0.1

        stage.proxy.speed_up("p1", "broker-1", 0, Fraction(1, 1000))

        assert stage.proxy._bandwidth(("p1", "broker-1")) is None
        assert all(pipe.bandwidth is None for pipe in stage.proxy._pipes_between("p1", "broker-1"))

    on_stage(story)


# Links.


@dataclass(frozen=True)
class ToyLink:
    target: str
    host: str
    listen_port: int
    real_port: int


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def test_a_link_knows_its_peer_by_the_port_it_came_from_and_holds_what_is_cut() -> None:
    async def story(stage: Stage) -> None:
        port = free_port()
        peers: dict[int, str] = {}
        named = threading.Event()

        def owner_of(local_port: int) -> str | None:
            named.wait(PATIENCE_S)
            return peers.get(local_port)

        await stage.proxy.open_link(ToyLink("broker-1", "127.0.0.1", port, stage.broker.address[1]), owner_of)
        stage.address = ("127.0.0.1", port)
        stage.proxy.cut("broker-2", "broker-1")
        peer = await stage.client()
        peers[peer._writer.get_extra_info("sockname")[1]] = "broker-2"
        named.set()
        peer.send(metadata(TOPIC))
        stranger = await stage.client()
        await stranger.ask(metadata(TOPIC))

        assert [api for api, _ in stage.broker.requests] == [METADATA]

        stage.proxy.mend("broker-2", "broker-1")
        answer = await peer.answer()

        assert [(broker.host, broker.port) for broker in answer.brokers] == [stage.broker.address]
        assert stage.book.facts == []
        assert stage.proxy.reset("broker-1", "broker-2") == 1
        assert await peer.frame() is None

    on_stage(story)


def test_after_a_run_the_doors_are_gone_and_the_links_stay() -> None:
    async def story(stage: Stage) -> None:
        port = free_port()
        await stage.proxy.open_link(ToyLink("broker-1", "127.0.0.1", port, stage.broker.address[1]), lambda local_port: "broker-2")
        door, stage.address = stage.address, ("127.0.0.1", port)
        peer = await stage.client()
        await peer.ask(metadata(TOPIC))
        stage.proxy.cut("broker-2", "broker-1")
        peer.send(metadata(TOPIC))
        await stage.proxy.clear()

        assert (await peer.answer()).brokers

        with pytest.raises(ConnectionRefusedError):
            await ToyClient.connect(door)

    on_stage(story)


async def followed(stage: Stage) -> ToyClient:
    """A follower that came in by a link."""
    port = free_port()
    await stage.proxy.open_link(ToyLink("broker-1", "127.0.0.1", port, stage.broker.address[1]), lambda local_port: "broker-2")
    stage.proxy.learn_topics({TOPIC: str(TOPIC_ID), "__consumer_offsets": str(OTHER_ID)})
    stage.address = ("127.0.0.1", port)
    return await stage.client()


OTHER_ID = uuid.UUID(int=8)


def test_of_the_fetches_between_brokers_those_of_the_scenarios_topics_count() -> None:
    async def story(stage: Stage) -> None:
        follower = await followed(stage)
        for request in (fetch(OTHER_ID), fetch(epoch=1), fetch(TOPIC_ID, epoch=2), fetch(epoch=3, forgotten=[TOPIC_ID]), fetch(TOPIC_ID, epoch=4)):
            assert (await follower.ask(request)).error_code == 0

        # It names nothing, as nothing moved; the session has the scenario's topic in it all the same.
        assert await follower.ask(fetch(epoch=5)) is None
        assert stage.hits() == [("hit", ("broker-1 -> broker-2",), 1)]

    on_stage(story, {"do": "lose-response", "when": {"response": "Fetch", "nth": 3}})


def test_a_fetch_is_found_by_the_partition_that_it_names() -> None:
    async def story(stage: Stage) -> None:
        follower = await followed(stage)
        await follower.ask(fetch(TOPIC_ID, OTHER_ID))
        await follower.ask(fetch(OTHER_ID, epoch=1))

        assert await follower.ask(fetch(TOPIC_ID, epoch=2)) is None

    on_stage(story, {"do": "lose-request", "when": {"request": "Fetch", "partition": "payments-0", "nth": 2}})


def test_what_brokers_ask_of_each_other_besides_does_not_count() -> None:
    async def story(stage: Stage) -> None:
        follower = await followed(stage)

        assert (await follower.ask(metadata(TOPIC))).brokers
        assert stage.hits() == []

    on_stage(story, {"do": "lose-request", "when": {"request": "Metadata"}})
