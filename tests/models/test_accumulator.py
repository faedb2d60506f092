"""The accumulator: which batch a record joins, when a batch may leave, and what stops a node's drain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.accumulator import Accumulator
from ksim_models.batch import Batch, upper_bound_bytes
from ksim_models.config import ProducerConfig
from ksim_models.messages import topic_of
from ksim_models.profiles import client_profile
from ksim_models.units import NEVER, ms
from scripted import Half, Recording


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


def test_every_wait_and_every_compression_has_a_draw_of_its_own() -> None:
    """A28, A14: by the batch and its attempt; the parts of a batch compress as the whole would."""
    dice = Recording()
    queues = Accumulator("p1", replace(ProducerConfig(), linger_ms=0, compression_type="gzip", retry_backoff_ms=100), client_profile("4.3"), dice)
    batch = batch_in(queues)
    batch.compresses(109, 500_000, 100_000)
    batch.content = 7
    for _ in range(2):
        assert queues.drain("b1", ["t-0"], ms(9_000), anything) == [batch]
        queues.put_back(batch, ms(10))

    assert dice.drawn == [("compression", "p1", 7), ("retry", "p1", 1, 1), ("retry", "p1", 1, 2)]
    assert (batch.retry_at, batch.size_bytes) == (ms(10 + 160), 61 + 43), "0.8 of 200 ms, and 0.4 of 109 bytes: the lowest draw"
    assert queues.ratios.of("t") == 990_000, "each closing counts"


def test_a_batch_that_comes_back_stands_in_front_or_by_its_sequence() -> None:
    """A42."""
    queues = accumulator()
    waiting = batch_in(queues)
    plain, first, third = (Batch(number, "t-0", 1000, 0) for number in (7, 8, 9))
    first.base_sequence, third.base_sequence = 0, 5
    queues.put_back(third, ms(3))
    queues.put_back(first, ms(4))
    assert list(queues.queues["t-0"]) == [first, third, waiting]
    queues.put_back(plain, ms(5))

    assert queues.queues["t-0"][0] is plain
    assert (plain.attempts, plain.last_attempt_at, plain.retried) == (1, ms(5), True)


@pytest.mark.parametrize(
    ("queued", "back", "place"),
    [([0, 5, 10, -1], 7, 2), ([0, 5], 0, 0), ([5], 0, 0), ([0], 5, 1), ([0, 5, 10], 15, 3), ([-1, 20], 5, 0), ([], 5, 0)],
)
def test_a_batch_with_a_sequence_goes_behind_the_lower_ones_and_before_what_has_none(queued: list[int], back: int, place: int) -> None:
    """A42: the first sequence of all is one too."""
    queues = accumulator()
    for number, base in enumerate([*queued, back]):
        batch = Batch(number, "t-0", 1000, 0)
        batch.base_sequence = base
        if number < len(queued):
            queues._queue("t-0").append(batch)
    queues.insert(batch)

    assert queues.queues["t-0"].index(batch) == place


def test_before_3_7_every_retry_waits_equally_long() -> None:
    """A28, KIP-580."""
    for kafka, waits in (("3.6", [100, 100, 100]), ("3.7", [100, 200, 400])):
        queues = accumulator(kafka=kafka, retry_backoff_ms=100, retry_backoff_max_ms=1_000)
        batch = Batch(1, "t-0", 1000, 0)
        found = []
        for attempt in (1, 2, 3):
            batch.attempts = attempt
            found.append(queues.backoff_of(batch) // 1_000)

        assert found == waits


def test_nothing_queued_and_nothing_in_flight_expires_never() -> None:
    """A37: nor does what has left."""
    queues = accumulator()
    assert queues.next_expiry({"t-0": []}) == NEVER
    batch_in(queues)
    queues.queues["t-0"].clear()
    assert queues.next_expiry({}) == NEVER


def test_memory_is_lent_per_batch_and_told_to_who_measures() -> None:
    """A15, A23."""
    queues = accumulator(buffer_memory=5_000)
    queues.memory_log = []
    batch = batch_in(queues, at=ms(3))
    assert (queues.free_memory, queues.memory_taken, queues.newest_at, batch.held, batch.number) == (4_000, 1_000, ms(3), 1_000, 1)
    for number in (2, 3):
        another = batch_in(queues, at=ms(3))
        assert (another.number, queues.memory_taken) == (number, number * 1_000)
        queues.release(another)
    del queues.memory_log[1:]
    queues.release(batch)
    queues.release(batch)

    assert (queues.free_memory, batch.held) == (5_000, 0)
    assert queues.memory_log == [(ms(3), -1_000), (None, 1_000), (None, 0)]


def test_a_flush_makes_everything_due_at_once() -> None:
    """A27, A50."""
    queues = accumulator()
    batch_in(queues)
    queues.hurried = 1

    assert queues.look(0, leader) == ({"b1": None}, False, NEVER)


def test_the_next_look_is_when_the_first_of_all_queues_has_lingered() -> None:
    """A26: a partition without a leader does not end the look, nor does an empty queue; a node is named once."""
    queues = accumulator()
    for number, at in enumerate((ms(4), ms(2), ms(3), 0)):
        batch_in(queues, f"t-{number}", at=at)
    queues.queues["t-3"].clear()
    assert queues.look(ms(4), lambda partition: ("", -1) if partition == "t-0" else ("b1", 0)) == ({}, True, ms(7))
    assert queues.filled == [0, 1, 2]

    assert queues.look(ms(8), leader) == ({"b1": None}, False, ms(9))


def test_behind_a_batch_that_left_the_next_one_is_due_by_itself() -> None:
    """A31, A27: what is due and when, after the drain; a retry takes another look."""
    queues = accumulator()
    batch_in(queues, at=0)
    second = batch_in(queues, at=ms(2))
    queues.drain("b1", ["t-0"], ms(3), anything)
    assert queues.next_due("t-0", ms(3)) == ms(7)
    second.attempts = 1
    assert queues.next_due("t-0", ms(3)) == ms(3)
    queues.drain("b1", ["t-0"], ms(8), anything)

    assert queues.next_due("t-0", ms(8)) == NEVER


def test_an_emptied_queue_takes_its_old_place_among_the_others() -> None:
    """Our own bookkeeping: the order in which queues came to be is the order of expiry and of the look."""
    queues = accumulator()
    for name in ("t-0", "t-1", "t-2"):
        batch_in(queues, name)
    queues.drain("b1", ["t-1", "t-0"], ms(9), anything)
    queues.look(ms(9), leader)
    assert queues.filled == [2]
    for name in ("t-1", "t-2", "t-0"):
        batch_in(queues, name)

    assert queues.filled == [0, 1, 2]


def test_a_batch_closed_by_its_drain_counts_once_as_closed_early() -> None:
    queues = accumulator()
    batch_in(queues, "t-0")
    full = batch_in(queues, "t-1")
    full.closed = True
    queues.drain("b1", ["t-0", "t-1"], ms(9), anything)

    assert queues.closings == 1


def test_without_batch_size_every_record_is_a_batch_of_its_own() -> None:
    """A15: batch.size = 0 counts as 1."""
    queues = accumulator(batch_size=0)

    assert queues.batch_size == 1
    assert batch_in(queues, size=10).capacity == upper_bound_bytes(10)


def test_the_name_of_a_topic_may_hold_what_stands_before_the_number_of_a_partition() -> None:
    """A14: the estimate is per topic."""
    assert topic_of("my-topic-12") == "my-topic"


def test_a_node_is_slow_once_it_has_taken_nothing_for_more_than_its_time() -> None:
    """A46b: `readyTime - drainTime > partitioner.availability.timeout.ms`; from its first look on, and not while it takes something."""
    queues = accumulator(partitioner_availability_timeout_ms=100)
    queues.node_looked_at("b1", ms(10), drains=False)
    queues.node_looked_at("b2", ms(10), drains=True)
    assert queues.node_times == {"b1": (ms(10), ms(10)), "b2": (ms(10), ms(10))}
    for node, drains in (("b1", False), ("b2", True)):
        queues.node_looked_at(node, ms(110), drains=drains)
    assert queues.slow_nodes == frozenset()
    queues.node_looked_at("b1", ms(111), drains=False)

    assert queues.slow_nodes == frozenset({"b1"})
    queues.node_looked_at("b1", ms(112), drains=True)
    assert queues.slow_nodes == frozenset()


def test_a_drain_of_several_partitions_goes_round_from_the_one_it_stopped_at() -> None:
    """A31, A34: the index is that of the last partition examined, so a full circle ends one before its beginning."""
    queues = accumulator(max_request_size=1_000)
    names = ["t-0", "t-1", "t-2", "t-3"]
    for name in names:
        for _ in range(3):
            batch_in(queues, name, size=400)
    rounds = [[batch.partition for batch in queues.drain("b1", names, ms(9), anything)] for _ in range(3)]
    other = [batch.partition for batch in queues.drain("b2", names, ms(9), anything)]

    assert rounds == [["t-0", "t-1"], ["t-2", "t-3"], ["t-0", "t-1"]]
    assert other == ["t-0", "t-1"], "each node has a place of its own"


def test_a_full_circle_begins_again_with_the_last_one_examined() -> None:
    """A31."""
    queues = accumulator()
    names = ["t-0", "t-1", "t-2"]
    order = []
    for _ in range(3):
        for name in names:
            batch_in(queues, name)
        order.append([batch.partition for batch in queues.drain("b1", names, ms(9), anything)])

    assert order == [["t-0", "t-1", "t-2"], ["t-2", "t-0", "t-1"], ["t-1", "t-2", "t-0"]]


def test_a_drain_looks_at_its_own_partitions_only_however_few_or_many_wait() -> None:
    """A31: with more queues than the node leads partitions, and with fewer."""
    queues = accumulator()
    for name in ("t-0", "t-1", "t-2", "t-3"):
        batch_in(queues, name)

    assert [batch.partition for batch in queues.drain("b1", ["t-1", "t-3"], ms(9), anything)] == ["t-1", "t-3"]
    assert [batch.partition for batch in queues.drain("b2", ["t-2"], ms(9), anything)] == ["t-2"]
    assert queues.drain("b2", ["t-9"], ms(9), anything) == []
    assert [batch.partition for batch in queues.drain("b3", ["t-5", "t-6", "t-7", "t-8", "t-9", "t-0"], ms(9), anything)] == ["t-0"]


@pytest.mark.parametrize(("kafka", "taken"), [("3.2", ["t-0", "t-0", "t-0"]), ("3.3", ["t-0", "t-1", "t-0"])])
def test_a_partition_for_which_a_request_had_no_room_comes_first_in_the_next_one(kafka: str, taken: list[str]) -> None:
    """KAFKA-13834: before 3.3 the next drain began behind it, so of two busy partitions one was never sent."""
    queues = accumulator(kafka=kafka, max_request_size=600)
    for name in ("t-0", "t-0", "t-0", "t-1", "t-1"):
        batch_in(queues, name, size=436).closed = True

    assert [batch.partition for _ in taken for batch in queues.drain("b1", ["t-0", "t-1"], ms(9), anything)] == taken


@pytest.mark.parametrize(("kafka", "first"), [("3.2", "t-3"), ("3.3", "t-2")])
def test_before_3_3_all_nodes_shared_the_place_where_a_drain_begins(kafka: str, first: str) -> None:
    """KAFKA-13834: one node's drain moved the others along."""
    queues = accumulator(kafka=kafka, max_request_size=1_012)
    for name in ("t-0", "t-1", "t-4", "t-2", "t-3"):
        batch_in(queues, name, size=436)
    queues.drain("b1", ["t-5", "t-6", "t-0", "t-1", "t-4"], ms(9), anything)  # Breaks off at the fifth.
    queues.drain("b3", ["t-0", "t-1", "t-4"], ms(9), lambda batch: False)  # Breaks off where it begins.

    assert queues.drain("b2", ["t-2", "t-3"], ms(9), anything)[0].partition == first


@pytest.mark.parametrize("more", [[], ["u-0", "u-1", "u-2"]], ids=["few queues", "many queues"])
def test_a_drain_that_begins_in_the_middle_takes_the_others_in_their_order(more: list[str]) -> None:
    """A31: from the index on and round, empty partitions stepped over."""
    queues = accumulator()
    names = ["t-0", "t-1", "t-2", "t-3", "t-4"]
    for name in [*names[:3], names[4], *more]:
        batch_in(queues, name)
    queues.drain_index["b1"] = 2

    assert [batch.partition for batch in queues.drain("b1", names, ms(9), anything)] == ["t-2", "t-4", "t-0", "t-1"]


def test_a_batch_that_is_drained_goes_out_with_the_numbers_it_has_now() -> None:
    """I8: rewritten while it was on the wire, until it is sent again."""
    queues = accumulator()
    batch_in(queues).rewritten = True

    assert [batch.rewritten for batch in queues.drain("b1", ["t-0"], ms(9), anything)] == [False]


def test_one_request_takes_no_more_bytes_than_max_request_size() -> None:
    """A34: `size + head > max.request.size` breaks; exactly that much goes."""
    for limit, taken in ((1_011, 1), (1_012, 2)):
        queues = accumulator(max_request_size=limit)
        batches = [batch_in(queues, name, size=436) for name in ("t-0", "t-1")]
        assert [batch.size_bytes for batch in batches] == [506, 506]

        assert len(queues.drain("b1", ["t-0", "t-1"], ms(9), anything)) == taken


def test_a_newer_leader_ends_the_backoff_of_the_attempt_that_is_due_and_of_no_later_one() -> None:
    """A30, A28, A32: from 3.6.1 on; the same epoch with another node is no news."""
    for kafka, skips in (("3.6.0", False), ("3.6.1", True)):
        queues = accumulator(kafka=kafka, retry_backoff_ms=100, retry_backoff_max_ms=100)
        batch = batch_in(queues)
        queues.look(ms(9), lambda partition: ("b1", 5))
        queues.drain("b1", ["t-0"], ms(9), anything)
        queues.put_back(batch, ms(10))
        assert queues.look(ms(11), lambda partition: ("b2", 5))[0] == {}

        assert queues.look(ms(11), lambda partition: ("b2", 6))[0] == ({"b2": None} if skips else {})
        assert (queues.drain("b2", ["t-0"], ms(11), anything) == [batch]) is skips
        if skips:
            queues.put_back(batch, ms(12))
            assert queues.look(ms(13), lambda partition: ("b2", 6)) == ({}, False, ms(112))


def test_a_partition_that_backs_off_or_is_empty_or_muted_holds_up_no_other() -> None:
    """A32, A36, A26: all of them are skipped, in the look and in the drain."""
    queues = accumulator(retry_backoff_ms=100, retry_backoff_max_ms=100)
    for name in ("t-0", "t-1", "t-2", "t-3"):
        batch_in(queues, name)
    queues.queues["t-0"].clear()
    queues.muted["t-1"] = None
    queues.look(0, leader)
    [retried] = queues.drain("b1", ["t-2"], 0, anything)
    queues.put_back(retried, ms(8))

    assert queues.look(ms(9), leader) == ({"b1": None}, False, ms(108))
    assert [batch.partition for batch in queues.drain("b1", ["t-0", "t-1", "t-2", "t-3"], ms(9), anything)] == ["t-3"]


def test_who_is_in_a_hurry_counts_and_may_stop_hurrying() -> None:
    """A27, A50: two at once, of which one is over."""
    queues = accumulator()
    batch_in(queues)
    queues.hurry(1)
    queues.hurry(1)
    queues.hurry(-1)
    assert queues.look(0, leader) == ({"b1": None}, False, NEVER)
    queues.hurry(-1)

    assert queues.look(0, leader) == ({}, False, ms(5))


def test_every_batch_that_left_early_counts() -> None:
    """Our own foresight: each of them makes it void."""
    queues = accumulator()
    for count in (1, 2):
        batch_in(queues)
        queues.drain("b1", ["t-0"], ms(9), anything)

        assert queues.closings == count
