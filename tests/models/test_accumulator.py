"""The accumulator: which batch a record joins, when a batch may leave, and what stops a node's drain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.accumulator import Accumulator
from ksim_models.batch import Batch, upper_bound_bytes
from ksim_models.config import ProducerConfig
from ksim_models.profiles import client_profile
from ksim_models.units import NEVER, ms
from scripted import Half


def leader(partition: str) -> tuple[str, int]:
    return "b1", 0


def accumulator(*, kafka: str = "4.3", **config: Any) -> Accumulator:
    settings: dict[str, Any] = {"linger_ms": 5, "batch_size": 1000} | config
    return Accumulator("p1", replace(ProducerConfig(), **settings), client_profile(kafka), Half())


def batch_in(queues: Accumulator, partition: str = "t-0", *, size: int = 100, at: int = 0) -> Batch:
    batch = queues.new_batch(partition, upper_bound_bytes(size), at)
    assert batch is not None
    batch.add(0, 1, size)
    return batch


def anything(batch: Batch) -> bool:
    return True


def test_records_join_the_last_batch_of_the_queue_and_a_new_one_closes_it() -> None:
    """A12."""
    queues = accumulator()
    first = batch_in(queues)
    assert queues.open_batch("t-0") is first

    second = batch_in(queues)

    assert (first.closed, first.room_for(1)) == (True, (0, 0))
    assert queues.open_batch("t-0") is second


@pytest.mark.parametrize(("record", "capacity"), [(10, 1000), (5000, upper_bound_bytes(5000))])
def test_a_batch_is_as_large_as_batch_size_or_as_its_first_record_needs(record: int, capacity: int) -> None:
    """A15, A13: one record larger than batch.size makes a batch of its own, and that is full."""
    queues = accumulator(buffer_memory=100_000)
    batch = batch_in(queues, size=record)

    assert (batch.capacity, queues.free_memory) == (capacity, 100_000 - capacity)


def test_without_memory_there_is_no_batch() -> None:
    """A20."""
    queues = accumulator(buffer_memory=1500)
    first = batch_in(queues)

    assert queues.new_batch("t-0", 200, 0) is None
    queues.release(first)
    assert queues.new_batch("t-0", 200, 0) is not None


@pytest.mark.parametrize(("kafka", "goes"), [("3.6.0", False), ("3.6.1", True), ("3.6.2", False), ("3.7.0", True), ("3.7.1", False), ("4.3", False)])
def test_a_lower_leader_epoch_skips_the_backoff_in_3_6_1_and_3_7_0_only(kafka: str, goes: bool) -> None:
    """A30, KAFKA-16226: the topic was created again, so its leader epochs begin anew."""
    queues = accumulator(kafka=kafka)
    batch = batch_in(queues)
    assert queues.look(ms(10), lambda partition: ("b1", 5))[0]
    queues.drain("b1", ["t-0"], ms(10), anything)
    queues.put_back(batch, ms(10))
    assert not queues.look(ms(11), lambda partition: ("b1", 5))[0], "the same epoch skips nothing in any release"

    assert bool(queues.look(ms(12), lambda partition: ("b2", 1))[0]) is goes
    assert batch.leader_epoch == (1 if goes else 5)


@pytest.mark.parametrize(
    ("what", "due"),
    [
        pytest.param("one record", ms(5), id="A27 it lingers"),
        pytest.param("a second batch", 0, id="A27 the first of two is full"),
        pytest.param("a waiting send()", 0, id="A25 memory pressure cancels linger"),
    ],
)
def test_a_batch_leaves_after_linger_or_at_once_where_something_presses(what: str, due: int) -> None:
    queues = accumulator()
    batch_in(queues)
    if what == "a second batch":
        batch_in(queues)
    queues.waiters = what == "a waiting send()"

    nodes, _, again = queues.look(0, leader)

    assert (list(nodes), again) == ((["b1"], NEVER) if due == 0 else ([], due))


def test_a_partition_without_a_leader_only_asks_for_metadata() -> None:
    """A26: and does not say when to look again."""
    queues = accumulator()
    batch_in(queues)

    assert queues.look(ms(60), lambda partition: ("", -1)) == ({}, True, NEVER)


def test_only_the_first_batch_of_a_queue_counts() -> None:
    """A26, A28: one that backs off holds the full ones behind it."""
    queues = accumulator(retry_backoff_ms=100, retry_backoff_max_ms=100)
    first = batch_in(queues)
    batch_in(queues)
    queues.look(0, leader)
    assert queues.drain("b1", ["t-0"], 0, anything) == [first]
    queues.put_back(first, ms(1))

    assert queues.look(ms(2), leader) == ({}, False, ms(101))
    assert queues.drain("b1", ["t-0"], ms(2), anything) == [], "A32"
    assert queues.drain("b1", ["t-0"], ms(101), anything) == [first]


def test_the_jitter_of_a_retry_is_drawn_once_per_attempt() -> None:
    """A29: asked often, it does not change; the next attempt draws anew."""

    class Counting:
        def at(self, *what: str | int) -> float:
            return (hash(what[-1]) * 37 % 100) / 100

    queues = Accumulator("p1", ProducerConfig(), client_profile("4.3"), Counting())
    batch = batch_in(queues)
    batch.attempts = 1
    waits = {queues.backoff_of(batch) for _ in range(5)}
    batch.attempts = 2

    assert len(waits) == 1
    assert queues.backoff_of(batch) not in waits


def test_a_drain_takes_one_batch_per_partition_and_begins_where_the_last_one_ended() -> None:
    """A31."""
    queues = accumulator(max_request_size=700)
    batches = [batch_in(queues, f"t-{number}", size=400) for number in range(3)]
    partitions = ["t-0", "t-1", "t-2"]

    assert queues.drain("b1", partitions, ms(9), anything) == [batches[0]], "A34: a second one would be too large"
    assert queues.drain("b1", partitions, ms(9), anything) == [batches[1]]
    assert queues.drain("b1", partitions, ms(9), anything) == [batches[2]]


def test_a_batch_that_may_not_go_ends_the_drain_of_its_node() -> None:
    """A33: a break, not a skip; the partitions behind it wait too."""
    queues = accumulator()
    held, other = batch_in(queues, "t-0"), batch_in(queues, "t-1")

    assert queues.drain("b1", ["t-0", "t-1"], ms(9), lambda batch: batch is not held) == []
    assert queues.drain("b1", ["t-0", "t-1"], ms(9), anything) == [held, other]


def test_a_muted_partition_is_neither_ready_nor_drained() -> None:
    """A36, A32: a skip, so the others go."""
    queues = accumulator()
    batch_in(queues, "t-0")
    other = batch_in(queues, "t-1")
    queues.muted["t-0"] = None

    assert queues.drain("b1", ["t-0", "t-1"], ms(9), anything) == [other]
    assert queues.look(ms(9), leader) == ({}, False, NEVER)
    assert queues.next_due("t-0", ms(9)) == NEVER


def test_expiry_looks_at_the_head_of_each_queue_first() -> None:
    """A37: an older batch behind a younger head waits for it."""
    queues = accumulator(delivery_timeout_ms=1000)
    old = batch_in(queues, at=0)
    young = batch_in(queues, at=ms(500))
    queues.queues["t-0"].reverse()

    assert queues.take_expired(ms(1000)) == []
    assert queues.take_expired(ms(1500)) == [young, old]


def test_the_next_expiry_is_the_earliest_head_or_first_in_flight() -> None:
    """A37."""
    queues = accumulator(delivery_timeout_ms=1000)
    batch_in(queues, at=ms(7))
    flying = Batch(9, "t-1", 1000, ms(3))

    assert queues.next_expiry({"t-1": [flying]}) == ms(1003)
    assert queues.next_expiry({}) == ms(1007)
