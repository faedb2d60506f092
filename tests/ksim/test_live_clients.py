"""A client of a replay: what it is told, what it says, and the facts that become of it. librdkafka speaks to the broker that it has built in."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ksim.dice import Dice
from ksim.live import columns
from ksim.live.book import Book
from ksim.live.clients import LiveClient, librdkafka_command
from ksim.live.clock import Clock
from ksim.live.errors import LiveError
from ksim.live.naming import Naming
from ksim.plan import Plan
from ksim.scenario import Scenario
from ksim.workload import murmur2, schedule
from ksim_models.facts import Acked, Failed, Offered, Refused

pytest.importorskip("psutil", reason="psutil is not installed")
from ksim.live.processes import Workplace

TWO_TOPICS = """
kafka = "4.3"
seed = 7
[topics.payments]
[topics.orders]
partitions = 3
[producers.p0]
[producers.p1]
config.acks = "all"
config.client.id = "mine"
config.sasl.password = "hush-hush"
[[workload]]
producer = "p1"
topic = "payments"
records = 10
every = "5ms"
[[workload]]
producer = "p1"
topic = "orders"
records = 5
every = "2ms"
key = { distinct = 3 }
wait = 2
"""
PATIENCE_S = 30


def plan_of(text: str, **given: str) -> Plan:
    """The plan, its last producer with further settings that no scenario may have."""
    plan = Scenario.loads(text).plan()
    last = plan.producers[-1]
    return replace(
        plan, producers=(*plan.producers[:-1], replace(last, given=(*last.given, *((name.replace("_", "."), value) for name, value in given.items()))))
    )


def client_of(plan: Plan, workplace: Workplace, command: Sequence[str] = ()) -> LiveClient:
    clock = Clock()
    clock.start_at(0)
    return LiveClient(plan, len(plan.producers) - 1, command, naming=Naming("0123abcd"), book=Book(clock), workplace=workplace)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with Workplace(root=tmp_path_factory.mktemp("live") / "workplaces") as workplace:
        yield workplace


# What it says.


@pytest.fixture
def client(workplace: Workplace) -> LiveClient:
    return client_of(plan_of(TWO_TOPICS), workplace)


def heard(client: LiveClient, *events: dict[str, Any]) -> list[tuple[int, object]]:
    """The facts that come of lines in one go; `at` in us."""
    before = len(client.book.facts)
    client.hear([json.dumps(event | {"at": event["at"] * 1000}).encode() for event in events])
    return client.book.facts[before:]


def offered(record: int, at: int = 0) -> dict[str, Any]:
    return {"event": "offered", "record": record, "workload": 0, "at": at}


def acked(record: int, offset: int, at: int = 0, partition: int = 0) -> dict[str, Any]:
    return {"event": "acked", "record": record, "at": at, "workload": 0, "partition": partition, "offset": offset}


def failed(record: int, text: str = "", at: int = 0) -> dict[str, Any]:
    return {"event": "failed", "record": record, "at": at, "workload": 1, "partition": 2, "class": "TimeoutException", "message": text}


def test_records_that_were_offered_one_after_another_are_one_fact_with_their_moments(client: LiveClient) -> None:
    facts = heard(client, offered(0, 100), offered(1, 130), offered(2, 190))

    assert facts == [(100, Offered("p1", range(3), 100, 0, (100, 130, 190)))]
    assert client.offered == 3


def test_a_record_that_was_offered_alone_has_one_moment(client: LiveClient) -> None:
    assert heard(client, offered(0, 100), offered(1, 5100)) == [(100, Offered("p1", range(1), 100, 0)), (5100, Offered("p1", range(1, 2), 5100, 0))]


def test_the_records_of_a_batch_are_acknowledged_in_one_fact(client: LiveClient) -> None:
    assert heard(client, acked(0, 7, 100), acked(1, 8, 103), acked(2, 9, 105)) == [(100, Acked("p1", "payments-0", range(3), 7))]


def test_without_offsets_too(client: LiveClient) -> None:
    assert heard(client, acked(0, -1, 100), acked(1, -1, 103)) == [(100, Acked("p1", "payments-0", range(2), -1))]


@pytest.mark.parametrize(
    "second",
    [acked(2, 8, 103), acked(1, 9, 103), acked(1, 8, 103, partition=1), acked(1, -1, 103), acked(1, 8, 1_200), failed(1, "", 103), offered(1, 103)],
    ids=["a record is missing", "an offset is missing", "another partition", "no offset", "later", "failed", "offered"],
)
def test_what_differs_is_another_fact(client: LiveClient, second: dict[str, Any]) -> None:
    assert len(heard(client, acked(0, 7, 100), second)) == 2


def test_a_failure_is_told_in_the_scenarios_names_and_without_secrets(client: LiveClient) -> None:
    ((_, fact),) = heard(client, failed(3, "Expiring 1 record(s) for ksim-0123abcd-orders-2:1500 ms; hush-hush"))

    assert fact == Failed("p1", "orders-2", range(3, 4), "TimeoutException", "Expiring 1 record(s) for orders-2:1500 ms; [hidden]")


def test_a_refused_record_is_offered_and_has_its_outcome(client: LiveClient) -> None:
    refusal = {"event": "refused", "record": 0, "at": 60, "workload": 0, "class": "RecordTooLargeException", "message": "too large"}

    assert heard(client, offered(0, 50), refusal) == [
        (50, Offered("p1", range(1), 50, 0)),
        (60, Refused("p1", range(1), "RecordTooLargeException", "too large")),
    ]
    assert client.ended == 1


def test_a_client_is_done_when_every_record_has_its_outcome(client: LiveClient) -> None:
    client.alive = True
    heard(client, *(offered(number, number) for number in range(15)))
    assert client.all_offered
    assert not client.is_done

    heard(client, *(acked(number, number, 100) for number in range(12)), *(failed(number, "", 200) for number in range(12, 15)))
    assert client.is_done


def test_whatever_else_stands_on_its_output_is_no_event(client: LiveClient) -> None:
    client.hear([b"SLF4J: No SLF4J providers were found.", b"", json.dumps(offered(0, 1)).encode()])

    assert client.offered == 1


# What it is told.


PUPPET = """
import json, pathlib, sys, time
told = pathlib.Path(sys.argv[1])
def tell(**event):
    print(json.dumps(event | {"at": time.monotonic_ns()}), flush=True)
for line in sys.stdin:
    with told.open("a") as file:
        file.write(line)
    word, *words = line.split()
    if word == "ready":
        tell(event="ready", version="2.16.1")
    if word == "go":
        exec(sys.argv[2])
    if word == "close":
        tell(event="closed")
        break
"""
OFFERS = "tell(event='offered', record=0, workload=0); tell(event='announced', until=3, workload=0); tell(event='offered', record=1, workload=0)"
DIES = "print('out of patience', file=sys.stderr); sys.exit(5)"
BREAKS = "tell(**{'event': 'broken', 'class': 'ConfigException', 'message': 'no hush-hush in ksim-0123abcd-payments'}); sys.exit(3)"


def puppet(workplace: Workplace, told: Path, text: str = TWO_TOPICS, deed: str = "") -> LiveClient:
    return client_of(plan_of(text), workplace, [sys.executable, "-c", PUPPET, str(told), deed])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_client_is_told_its_settings_its_workloads_and_where_to_practise(workplace: Workplace, tmp_path: Path) -> None:
    client = puppet(workplace, tmp_path / "told")

    async def story() -> None:
        await client.start(["127.0.0.1:20001", "127.0.0.1:20002"], ("127.0.0.1:20009", "ksim-0123abcd-practise"))
        client.go(123456789)
        await client.close()

    asyncio.run(story())
    assert client.version == "2.16.1"
    folder = str(workplace.folder / "workloads").replace("/", "%2F")
    assert (tmp_path / "told").read_text().splitlines() == [
        "producer 1",
        "from 0",
        "setting acks all",
        "setting sasl.password hush-hush",
        "setting bootstrap.servers 127.0.0.1%3A20001%2C127.0.0.1%3A20002",
        "setting client.id p1",
        f"workload ksim-0123abcd-payments {folder}%2Fp1-0 - - report",
        f"workload ksim-0123abcd-orders {folder}%2Fp1-1 - 2 report",
        "practise 127.0.0.1%3A20009 ksim-0123abcd-practise",
        "ready",
        "go 123456789",
        "close -",
    ]


def test_where_the_producer_compresses_its_client_is_told_how_much_of_a_record_is_noise(workplace: Workplace, tmp_path: Path) -> None:
    text = TWO_TOPICS.replace("[[workload]]", "[[workload]]\ncompression_ratio = 0.4", 1).replace("acks", '"compression.type" = "lz4"\nconfig.acks', 1)
    client = puppet(workplace, tmp_path / "told", text)

    async def story() -> None:
        await client.start(["127.0.0.1:20001"], None)
        await client.close()

    asyncio.run(story())
    told = (tmp_path / "told").read_text().splitlines()

    assert [line for line in told if line.startswith("content")] == ["content 0 400000", "content 1 500000"]
    assert "setting compression.type lz4" in told


def test_in_a_warm_scenario_a_record_goes_to_every_partition_of_its_topics_first(workplace: Workplace, tmp_path: Path) -> None:
    client = puppet(workplace, tmp_path / "told", TWO_TOPICS + "[tail]\nwarm = true\n")

    async def story() -> None:
        await client.start(["127.0.0.1:20001"])
        await client.close()

    asyncio.run(story())
    told = [line for line in (tmp_path / "told").read_text().splitlines() if line.startswith("warm-up")]
    assert told == ["warm-up ksim-0123abcd-payments 0", *(f"warm-up ksim-0123abcd-orders {number}" for number in range(3))]


def test_a_client_that_ends_by_itself_ends_the_replay_with_its_last_words(workplace: Workplace, tmp_path: Path) -> None:
    client = puppet(workplace, tmp_path / "told", deed=DIES)

    async def story() -> None:
        await client.start(["127.0.0.1:20001"])
        client.go(0)
        await until(lambda: not client.alive)

    asyncio.run(story())
    with pytest.raises(LiveError, match=r"producer p1: its process ended by itself with exit code 5(.|\n)*out of patience"):
        client.check()


def test_settings_that_the_client_refuses_end_the_replay_without_their_secrets(workplace: Workplace, tmp_path: Path) -> None:
    client = puppet(workplace, tmp_path / "told", deed=BREAKS)

    async def story() -> None:
        await client.start(["127.0.0.1:20001"])
        client.go(0)
        await until(lambda: not client.alive)

    asyncio.run(story())
    with pytest.raises(LiveError, match=r"producer p1: ConfigException: no \[hidden\] in payments"):
        client.check()


def test_what_a_killed_client_announced_counts_as_offered(workplace: Workplace, tmp_path: Path) -> None:
    """It may stand in a log, and nobody knows its outcome."""
    client = puppet(workplace, tmp_path / "told", deed=OFFERS)

    async def story() -> None:
        await client.start(["127.0.0.1:20001"])
        client.go(0)
        await until(lambda: client.offered == 2)
        client.kill()
        await client.close()

    asyncio.run(story())
    assert sorted(number for _, fact in client.book.facts if isinstance(fact, Offered) for number in fact.records) == [0, 1, 2]
    assert client.is_done


def test_another_version_of_the_library_than_asked_for_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    other = 'client = "librdkafka:2.1"\n' + TWO_TOPICS.replace('config.acks = "all"', "")
    client = puppet(workplace, tmp_path / "told", other)

    async def story() -> None:
        with pytest.raises(LiveError, match=r"librdkafka 2.1 is asked for, and 2.16.1 is installed: pip install 'confluent-kafka==2.1.\*'"):
            await client.start(["127.0.0.1:20001"])
        await client.close()

    asyncio.run(story())


# The records.


def test_a_client_gets_the_moments_sizes_and_keys_of_the_simulation(tmp_path: Path) -> None:
    plan = Scenario.loads(TWO_TOPICS.replace('every = "2ms"', "rate = 500\narrivals = 'poisson'\nsize = { mean = 100, spread = 50 }")).plan()
    simulated = schedule(plan.workloads[1], Dice(plan.seed))
    columns.write(tmp_path / "rows", columns.rows(simulated))

    rows = columns.read(tmp_path / "rows")
    assert [at for at, _, _ in rows] == [simulated.time_of(number) for number in range(5)]
    assert [size for _, size, _ in rows] == [simulated.size_of(number) for number in range(5)]
    assert [murmur2(f"key-{key}".encode()) for _, _, key in rows] == [simulated.key_hash_of(number) for number in range(5)]
    assert all(key == columns.NO_KEY for _, _, key in columns.rows(schedule(plan.workloads[0], Dice(plan.seed))))


# librdkafka, with the broker that it has built in for tests.

RDKAFKA = """
kafka = "4.3"
client = "librdkafka"
seed = 7
[topics.payments]
[topics.orders]
partitions = 3
"""


def replayed(workplace: Workplace, text: str, meanwhile: Callable[[LiveClient], Awaitable[None]] | None = None, **given: str) -> LiveClient:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    client = client_of(plan_of(RDKAFKA + text, test_mock_num_brokers="1", **given), workplace, librdkafka_command())

    async def story() -> None:
        await client.start(["127.0.0.1:9"])
        client.book.clock.start_at(time.monotonic_ns() + 20_000_000)
        client.go(client.book.clock.zero_ns)
        async with asyncio.timeout(PATIENCE_S):
            if meanwhile is not None:
                await meanwhile(client)
            await until(lambda: client.is_done)
        await client.close()

    asyncio.run(story())
    return client


def told(client: LiveClient, kind: type[Offered] | type[Acked]) -> list[int]:
    return sorted(number for _, fact in client.book.facts if isinstance(fact, kind) for number in fact.records)


def test_librdkafka_offers_every_record_and_tells_its_offset(workplace: Workplace) -> None:
    client = replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 100\nevery = '1ms'\n")

    assert told(client, Offered) == list(range(100))
    assert told(client, Acked) == list(range(100))
    acks = [fact for _, fact in client.book.facts if isinstance(fact, Acked)]
    for partition in {fact.partition for fact in acks}:  # As many as its built-in broker gives a topic.
        assert partition.startswith("payments-")
        log = sorted((fact.offset + place, number) for fact in acks if fact.partition == partition for place, number in enumerate(fact.records))
        assert [offset for offset, _ in log] == list(range(len(log)))
        assert all(one < other for (_, one), (_, other) in pairwise(log))


def test_no_record_is_offered_before_its_time(workplace: Workplace) -> None:
    client = replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 50\nevery = '5ms'\nstart = '20ms'\n")
    moments = {number: at for _, fact in client.book.facts if isinstance(fact, Offered) for number, at in zip(fact.records, fact.times or (fact.first_at,))}

    assert client.constructed_at is not None
    assert client.constructed_at >= 0
    assert all(moments[number] >= 20_000 + 5_000 * number for number in range(50))


@pytest.mark.parametrize(("wait", "most"), [("'each'", 1), ("3", 3)])
def test_a_closed_loop_has_so_many_records_unacknowledged_at_most(workplace: Workplace, wait: str, most: int) -> None:
    client = replayed(workplace, f"[[workload]]\ntopic = 'payments'\nrecords = 60\nevery = '0ms'\nwait = {wait}\n", linger_ms="0")
    steps = []
    for at, fact in client.book.facts:
        if isinstance(fact, Offered):
            steps += [(moment, 1) for moment in fact.times or (fact.first_at,)]
        elif isinstance(fact, Acked):
            steps += [(at, -1) for _ in fact.records]
    outstanding = [sum(step for _, step in sorted(steps)[:place]) for place in range(len(steps) + 1)]

    assert max(outstanding) == most


def test_several_workloads_of_a_producer_share_its_numbers_in_the_order_of_their_calls(workplace: Workplace) -> None:
    client = replayed(
        workplace,
        "[[workload]]\ntopic = 'payments'\nrecords = 200\nevery = '0ms'\nwait = 4\n"
        "[[workload]]\ntopic = 'orders'\nrecords = 200\nevery = '0ms'\npartition = 1\n"
        "[[workload]]\ntopic = 'orders'\nrecords = 50\nevery = '0ms'\nkey = 'fixed'\nsize = 1\nwait = 'each'\n",
    )
    calls = [(at, number) for _, fact in client.book.facts if isinstance(fact, Offered) for number, at in zip(fact.records, fact.times or (fact.first_at,))]

    assert told(client, Acked) == list(range(450))
    assert all(one <= other for one, other in pairwise(number for _, number in sorted(calls)))
    assert {fact.partition for _, fact in client.book.facts if isinstance(fact, Acked)} > {"payments-0", "orders-1"}


def test_a_full_queue_and_a_message_too_large_are_refusals_by_librdkafkas_names(workplace: Workplace) -> None:
    client = replayed(
        workplace,
        "[[workload]]\ntopic = 'payments'\nrecords = 1\nevery = '0ms'\nsize = '2MiB'\n"
        "[[workload]]\ntopic = 'payments'\nrecords = 12\nevery = '0ms'\nstart = '5ms'\n",
        queue_buffering_max_messages="10",
        linger_ms="200",
        acks="0",
    )
    refusals = [fact for _, fact in sorted(client.book.facts, key=lambda entry: entry[0]) if isinstance(fact, Refused)]

    assert [(fact.error, fact.message) for fact in refusals] == [
        ("MSG_SIZE_TOO_LARGE", "Broker: Message size too large"),
        *[("_QUEUE_FULL", "Local: Queue full")] * (len(refusals) - 1),
    ]
    assert [number for fact in refusals for number in fact.records] == [0, 11, 12]
    assert told(client, Acked) == list(range(1, 11))
    assert {fact.offset for _, fact in client.book.facts if isinstance(fact, Acked)} == {-1}


def test_a_message_that_is_not_acknowledged_in_time_fails_by_librdkafkas_name(workplace: Workplace) -> None:
    client = replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 3\nevery = '0ms'\n", message_timeout_ms="300", test_mock_broker_rtt="20000")
    failed = [fact for _, fact in client.book.facts if isinstance(fact, Failed)]

    assert [number for fact in failed for number in fact.records] == [0, 1, 2]
    assert {(fact.producer, fact.partition, fact.error, fact.message) for fact in failed} == {
        ("p1", "payments-0", "_MSG_TIMED_OUT", "Local: Message timed out")
    }


def test_a_client_that_is_closed_offers_nothing_more_and_waits_for_what_was_sent(workplace: Workplace) -> None:
    async def meanwhile(client: LiveClient) -> None:
        await until(lambda: client.offered >= 5)
        await client.close()

    client = replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 1000\nevery = '5ms'\n", meanwhile)

    assert 5 <= client.offered < 1000
    assert told(client, Acked) == list(range(client.offered))


def test_a_client_that_is_killed_is_heard_to_its_last_line(workplace: Workplace) -> None:
    async def meanwhile(client: LiveClient) -> None:
        await until(lambda: client.ended >= 5)
        client.kill()

    client = replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 10000\nevery = '1ms'\n", meanwhile)

    assert told(client, Offered) == list(range(client.offered))
    assert client.trouble is None


def test_a_client_that_is_frozen_goes_on_where_it_was(workplace: Workplace) -> None:
    async def meanwhile(client: LiveClient) -> None:
        await until(lambda: client.offered >= 5)
        client.pause()
        client.resume()

    client = replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 100\nevery = '1ms'\n", meanwhile)

    assert told(client, Acked) == list(range(100))


def test_a_setting_that_librdkafka_refuses_ends_the_replay_with_its_own_words(workplace: Workplace) -> None:
    with pytest.raises(LiveError, match=r"producer p1: _INVALID_ARG: .*No such configuration property"):
        replayed(workplace, "[[workload]]\ntopic = 'payments'\nrecords = 1\nevery = '0ms'\n", buffer_memory="5")


def test_a_client_whose_ksim_is_gone_ends_by_itself() -> None:
    """Nobody writes to it any more: its input ends."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

    assert subprocess.run(librdkafka_command(), input=b"producer 0\n", timeout=PATIENCE_S, check=False).returncode == 1
