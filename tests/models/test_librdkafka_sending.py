"""Which partition librdkafka puts a message into."""

from __future__ import annotations

import itertools

import pytest

from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.workload import murmur2
from ksim_models.facts import Acked, Sent
from ksim_models.librdkafka_sending import crc32, fnv1a


@pytest.mark.parametrize(
    ("key", "crc", "fnv"),
    [
        (b"23456", 0xB1B451D7, 0x27E6F469),
        (b"this is another string with more length to it perhaps", 0xB0150DF7, 0x155E3E5F),
        (b"hejsan", 0xD077037E, 0x17B1E27A),
        (b"", 0, 0x7EE3623B),
    ],
)
def test_keys_are_hashed_as_librdkafka_hashes_them(key: bytes, crc: int, fnv: int) -> None:
    """Its own vectors: tests/0048-partitioner.c."""
    assert (crc32(key), fnv1a(key)) == (crc, fnv)


def partitions_of(partitioner: str, *, keys: int = 0, every: str = "5ms", **more: int) -> dict[int, str]:
    """Record -> the partition it was acknowledged in."""
    config = {"partitioner": partitioner} | {name.replace("_", "."): value for name, value in more.items()}
    workload = {"topic": "t", "records": 60, "every": every} | ({"key": {"distinct": keys}} if keys else {})
    run = simulate(
        Scenario(title="partitions", client="librdkafka", topics={"t": {"partitions": 6}}, producers={"p1": {"config": config}}, workload=[workload], seed=5)
    )
    return {number: fact.partition for _, fact in run.history.of(Acked) for number in fact.records}


def test_consistent_random_goes_by_the_crc_of_the_key_and_murmur2_random_as_java() -> None:
    one_key = {f"t-{crc32(b'key-0') % 6}"}

    assert set(partitions_of("consistent_random", keys=1).values()) == one_key
    assert set(partitions_of("fnv1a_random", keys=1).values()) == {f"t-{fnv1a(b'key-0') % 6}"}
    assert set(partitions_of("murmur2_random", keys=1).values()) == {f"t-{murmur2(b'key-0') % 6}"}


def test_without_a_key_the_plain_partitioners_hash_nothing() -> None:
    assert set(partitions_of("consistent").values()) == {"t-0"}
    assert set(partitions_of("murmur2").values()) == {f"t-{murmur2(b'') % 6}"}
    assert set(partitions_of("fnv1a").values()) == {f"t-{fnv1a(b'') % 6}"}


def test_messages_without_a_key_stick_to_a_partition_for_some_time() -> None:
    """sticky.partitioning.linger.ms: by time, where Java counts bytes."""
    found = partitions_of("consistent_random", every="5ms", sticky_partitioning_linger_ms=50)
    runs = [number for number in range(1, 60) if found[number] != found[number - 1]]

    assert 2 <= len(runs) <= 6, "60 records in 300 ms"
    assert all((after - before) % 11 == 0 for before, after in itertools.pairwise(runs)), "every 55 ms, and the draw may give the same again"


def test_with_random_every_message_goes_where_chance_says() -> None:
    found = partitions_of("random", keys=1)

    assert len(set(found.values())) == 6
    assert sum(found[number] != found[number - 1] for number in range(1, 60)) > 30


def test_a_batch_holds_one_partitions_messages_only() -> None:
    run = simulate(Scenario(title="t", client="librdkafka", topics={"t": {"partitions": 3}}, workload=[{"topic": "t", "records": 90, "every": "1ms"}], seed=1))

    assert {fact.partition for _, fact in run.history.of(Sent)} == {"t-0", "t-1", "t-2"}
    assert run.verdict.records["ok"] == 90
