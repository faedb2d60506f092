"""Accumulator, buffer, compression, splits and partitioners: vectors PV-019, PV-029 to PV-032, PV-083 and PV-241 to PV-275 (section 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from ksim_models.accumulator import Accumulator
from ksim_models.batch import Batch, upper_bound_bytes
from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import Split
from ksim_models.partitioners import BuiltIn, frequencies
from ksim_models.profiles import client_profile
from ksim_models.splitting import split
from ksim_models.units import ms
from scripted import Client, Half

INEXPRESSIBLE = {
    "PV-247": "flush() of an accumulator alone: nobody calls it here",
    "PV-248": "a thread that is interrupted: the application's threads have no interruption",
    "PV-250": "abortUndrainedBatches: only a transaction that is aborted does that",
    "PV-268": "threads that are interrupted while they wait for memory",
    "PV-269": "a closed buffer pool: closing is the producer's",
}

A_SET: dict[str, Any] = {"delivery_timeout_ms": 3_200, "retry_backoff_ms": 100, "retry_backoff_max_ms": 1_000}
S_SET: dict[str, Any] = {"request_timeout_ms": 3_000, "delivery_timeout_ms": 3_000, "compression_type": "gzip"}
LEADERS = {"t-0": "node-1", "t-1": "node-1", "t-2": "node-2", "t-3": "node-2"}
NODE_1, NODE_2 = ["t-0", "t-1"], ["t-2", "t-3"]

Dice = Callable[..., float]


class Falls:
    """Dice that fall as the test says, by the names of the draw."""

    def __init__(self, fall: Dice) -> None:
        self.at = fall


def accumulator(*, kafka: str = "4.3", **config: Any) -> Accumulator:
    return Accumulator("p1", replace(ProducerConfig(), **(A_SET | config)), client_profile(kafka), Half())


def fill(queues: Accumulator, partition: str, *, size: int = 100, at: int = 0) -> Batch:
    """One record as a batch of its own."""
    batch = queues.new_batch(partition, upper_bound_bytes(size), at)
    assert batch is not None
    batch.add(0, 1, size)
    return batch


def anything(batch: Batch) -> bool:
    return True


def leader(epoch: int = 0) -> Callable[[str], tuple[str, int]]:
    return lambda partition: (LEADERS[partition], epoch)


def drained(queues: Accumulator, node: list[str], at: int, name: str = "node-1") -> list[str]:
    return [batch.partition for batch in queues.drain(name, node, at, anything)]


def is_ready(queues: Accumulator, at: int, epoch: int = 0) -> bool:
    return bool(queues.look(at, leader(epoch))[0])


def built_in(dice: Dice, leaders: Mapping[str, str], **config: Any) -> BuiltIn:
    settings = replace(ProducerConfig(), **config)
    metadata = ClientMetadata("p1", ["broker-1"], settings, client_profile("4.3"), Half())
    metadata.topics["t"] = tuple(leaders)
    metadata.leaders = {partition: (name, 0) for partition, name in leaders.items()}
    return BuiltIn("p1", settings, metadata, Falls(dice))


# Nodes and leaders.


def test_pv_019_a_node_is_slow_by_the_time_for_which_it_had_something_ready_and_took_nothing() -> None:
    """A46b: (ready, drained)."""
    queues = accumulator(partitioner_availability_timeout_ms=42)
    t1 = ms(1_000)
    seen = []
    for at, drains in ((t1, True), (t1 + ms(10), False), (t1 + ms(20), False), (t1 + ms(120), True)):
        queues.node_looked_at("node-1", at, drains=drains)
        seen.append(queues.node_times["node-1"])

    assert seen == [(t1, t1), (t1 + ms(10), t1), (t1 + ms(20), t1), (t1 + ms(120), t1 + ms(120))]


def test_pv_019_without_the_timeout_nothing_is_remembered() -> None:
    queues = accumulator()
    queues.node_looked_at("node-1", 0, drains=False)

    assert (queues.node_times, queues.slow_nodes) == ({}, frozenset())


def test_pv_029_a_retry_to_a_newer_leader_is_told_from_one_to_the_same() -> None:
    """A30: only the retry during which the epoch rose, and an unknown epoch is none."""
    queues = accumulator()
    batch = fill(queues, "t-0")
    changed, remembered, steps = [], [], [-1, 100, "again", 101, 101, "again", 101, 100, -1]
    for step in steps:
        if step == "again":
            queues.drain("node-1", ["t-0"], ms(5_000), anything)
            queues.put_back(batch, 0)
            continue
        assert isinstance(step, int)
        queues.look(0, leader(step))
        changed.append(batch.attempts >= 1 and batch.attempts == batch.attempts_at_leader_change)
        remembered.append(batch.attempts_at_leader_change)

    assert changed == [False, False, True, True, False, False, False]
    assert remembered == [0, 0, 1, 1, 1, 1, 1]
    assert batch.leader_epoch == 101


def test_pv_030_a_new_leader_ends_the_backoff_and_the_old_one_does_not() -> None:
    """A30; seen in the look and in the drain behind it."""
    queues = accumulator(linger_ms=10)
    t = ms(10_000)
    batch = fill(queues, "t-0", at=t - ms(10))
    found: list[Any] = []

    def try_at(at: int, epoch: int) -> None:
        found.append((is_ready(queues, at, epoch), drained(queues, ["t-0"], at), batch.attempts_at_leader_change))

    try_at(t, 100)
    queues.put_back(batch, t)
    try_at(t + ms(1), 100)
    try_at(t + ms(2), 101)
    queues.put_back(batch, t + ms(2))
    try_at(t + ms(2_002), 101)
    queues.put_back(batch, t + ms(2_002))
    try_at(t + ms(4_002), 102)

    assert found == [(True, ["t-0"], 0), (False, [], 0), (True, ["t-0"], 1), (True, ["t-0"], 1), (True, ["t-0"], 3)]


@pytest.mark.parametrize("attempt", range(4), ids=lambda attempt: f"PV-031 re-enqueued {attempt + 1}")
@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_pv_031_the_backoff_doubles_within_its_jitter(attempt: int, draw: float) -> None:
    """A28."""
    queues = Accumulator("p1", replace(ProducerConfig(), **A_SET), client_profile("4.3"), Falls(lambda *what: draw))
    batch = fill(queues, "t-0")
    assert is_ready(queues, ms(60_000))
    for _ in range(attempt + 1):
        queues.drain("node-1", ["t-0"], ms(60_000), anything)
        queues.put_back(batch, 0)
    wait = 100 * 2**attempt

    assert not is_ready(queues, ms(int(wait * 0.8) - 1))
    assert is_ready(queues, min(ms(int(wait * 1.2) + 1), ms(1_000)))


def test_pv_032_another_node_without_a_known_epoch_does_not_skip_the_backoff() -> None:
    """A30."""
    queues = accumulator()
    batch = fill(queues, "t-0")
    queues.drain("node-1", ["t-0"], ms(50), anything)
    for _ in range(3):
        queues.put_back(batch, 0)
        queues.drain("node-1", ["t-0"], ms(60_000), anything)
    queues.put_back(batch, 0)

    assert not queues.look(ms(700), lambda partition: ("node-2", -1))[0]
    assert queues.look(ms(1_000), lambda partition: ("node-2", -1))[0] == {"node-2": None}


# Append and drain.


@pytest.mark.parametrize("codec", ["none", "gzip"], ids=lambda codec: f"PV-241 {codec}")
def test_pv_241_a_record_larger_than_batch_size_is_a_batch_of_its_own_and_goes_at_once(codec: str) -> None:
    client = Client(batch_size=1_024, compression_type=codec)
    client.calls[0].size = 2_048
    client.send(count=2)

    assert client.records() == [[0], [1]]


def test_pv_242_the_first_record_fits_whatever_its_size_and_nothing_behind_it() -> None:
    """A12."""
    batch = Batch(1, "t-0", 1_024, 0)
    assert batch.room_for(4_096)[0] == 1
    batch.add(0, 1, 4_096)

    assert (batch.room_for(4_096)[0], batch.room_for(1)[0]) == (0, 0)


def test_pv_244_one_request_takes_as_many_batches_as_fit() -> None:
    """A34."""
    queues = accumulator(max_request_size=1_024, batch_size=1_024, linger_ms=10)
    for partition in NODE_1:
        fill(queues, partition, size=900)

    assert is_ready(queues, ms(10))
    assert drained(queues, NODE_1, ms(10)) == ["t-0"]


def test_pv_245_each_node_goes_round_its_partitions_and_steps_over_muted_ones() -> None:
    """A31, A32, A34."""
    queues = accumulator(max_request_size=400, batch_size=400, linger_ms=0)

    def refill(*partitions: str) -> None:
        for partition in partitions:
            fill(queues, partition, size=300)

    def both() -> list[str]:
        return drained(queues, NODE_1, ms(1)) + drained(queues, NODE_2, ms(1), "node-2")

    refill(*LEADERS)
    first, second = both(), both()
    refill(*LEADERS)
    third = both()
    refill("t-0", "t-2")
    queues.muted["t-3"] = None
    fourth = both()
    refill("t-1", "t-2")
    queues.muted.clear()
    queues.max_request_size = 10_000

    assert (first, second, third, fourth) == (["t-0", "t-2"], ["t-1", "t-3"], ["t-0", "t-2"], ["t-1", "t-2"])
    assert sorted(both()) == list(LEADERS)


@pytest.mark.parametrize("muted", [False, True], ids=["PV-251", "PV-251 muted"])
def test_pv_251_a_batch_expires_exactly_at_its_delivery_timeout(muted: bool) -> None:
    """A37."""
    queues = accumulator(linger_ms=300)
    batch = fill(queues, "t-0")
    if muted:
        queues.muted["t-0"] = None

    assert (queues.take_expired(ms(300)), queues.take_expired(ms(3_199))) == ([], [])
    assert queues.take_expired(ms(3_200)) == [batch]
    assert not is_ready(queues, ms(9_999))


@pytest.mark.parametrize(("muted", "expired"), [(True, 1), (False, 0)], ids=["PV-253 muted", "PV-253 not muted"])
def test_pv_253_a_batch_that_came_back_keeps_its_age(muted: bool, expired: int) -> None:
    queues = accumulator(linger_ms=3_000)
    batch = fill(queues, "t-0")
    assert drained(queues, ["t-0"], ms(3_000)) == ["t-0"]
    queues.put_back(batch, ms(4_000))
    if muted:
        queues.muted["t-0"] = None
    drained(queues, ["t-0"], ms(6_200))

    assert len(queues.take_expired(ms(6_200))) == expired


def test_pv_254_a_muted_partition_is_neither_ready_nor_drained() -> None:
    """A36."""
    queues = accumulator(linger_ms=0)
    fill(queues, "t-0")
    queues.muted["t-0"] = None
    held = is_ready(queues, ms(1)), drained(queues, NODE_1, ms(1))
    queues.muted.clear()

    assert held == (False, [])
    assert (is_ready(queues, ms(1)), drained(queues, NODE_1, ms(1))) == (True, ["t-0"])


def test_pv_260_a_node_without_partitions_gives_nothing() -> None:
    assert accumulator().drain("node-3", [], 0, anything) == []


@pytest.mark.parametrize(("age", "expired"), [(-2, False), (10_239, False), (10_240, True)], ids=lambda value: f"PV-262 {value}")
def test_pv_262_a_batch_is_as_old_as_the_clock_says(age: int, expired: bool) -> None:
    queues = accumulator(delivery_timeout_ms=10_240)
    fill(queues, "t-0", at=ms(50))

    assert bool(queues.take_expired(ms(50 + age))) is expired


def test_pv_263_a_clock_that_goes_back_expires_nothing() -> None:
    queues = accumulator(delivery_timeout_ms=10_240)
    batch = fill(queues, "t-0", at=ms(50))
    queues.drain("node-1", ["t-0"], ms(60), anything)
    queues.put_back(batch, ms(60))

    assert queues.take_expired(ms(48)) == []


# Memory.


def test_pv_265_there_is_no_more_memory_than_there_is() -> None:
    """A20."""
    queues = accumulator(buffer_memory=1_024, batch_size=1)

    assert queues.new_batch("t-0", 1_025, 0) is None
    assert queues.new_batch("t-0", 1_024, 0) is not None


def test_pv_266_send_blocks_until_memory_is_given_back() -> None:
    """A20, A21, A23."""
    client = Client(buffer_memory=5_120, batch_size=1_024, linger_ms=0, delivery_timeout_ms=60_000)
    client.send()
    client.calls[1].size = 5_000
    client.send(1)
    client.at(1_000)
    assert client.records() == [[0]]
    client.answer(offset=0)

    assert client.records() == [[0], [1]]


# Compression and splits.


def test_pv_083_the_parts_of_a_split_batch_share_its_sequence_numbers() -> None:
    """A43, A44: guaranteeOrder, so they go one after another."""
    client = Client(
        enable_idempotence=True,
        max_in_flight_requests_per_connection=1,
        retries=1,
        request_timeout_ms=3_000,
        delivery_timeout_ms=3_000,
        compression_type="gzip",
    )
    client.producer.accumulator.ratios.by_topic["t"] = 200_000
    client.calls[0].size = 8_192
    client.send(count=2)
    assert (client.records(), client.bases(), client.numbers().next_sequence) == ([[0, 1]], [(0, 0)], 2)

    client.answer(ErrorCode.MESSAGE_TOO_LARGE)
    assert client.bases() == [(0, 0), (0, 0)], "the second part waits for the first"
    client.answer(offset=0)
    client.answer(offset=1)

    assert client.records() == [[0, 1], [0], [1]]
    assert client.bases()[1:] == [(0, 0), (0, 1)]
    assert (client.numbers().next_sequence, client.numbers().in_flight) == (2, [])
    assert client.outcomes() == [([0], "acked"), ([1], "acked")]
    assert [fact.counts for _, fact in client.facts if isinstance(fact, Split)] == [(1, 1)]


def test_pv_256_the_parts_of_a_batch_take_no_memory() -> None:
    """A23: gzip was expected to reach 0.1, and these records do not compress."""
    queues = accumulator(batch_size=1_024, buffer_memory=3_072, compression_type="gzip", linger_ms=0)
    queues.ratios.by_topic["t"] = 100_000
    batch = queues.new_batch("t-0", upper_bound_bytes(100), 0)
    assert batch is not None
    count = batch.room_for(100)[0]
    batch.add(0, count, 100)
    batch.compresses(batch.size_bytes - 61, 1_000_000, 0)
    assert drained(queues, ["t-0"], 0) == ["t-0"]
    fact = split(batch, queues, None)
    parts = [queues.drain("node-1", ["t-0"], 0, anything)[0] for _ in fact.counts]

    assert len(parts) > 1
    assert sum(part.count for part in parts) == count
    assert queues.free_memory == queues.total_memory == 3_072


@pytest.mark.parametrize("good", range(0, 101, 20), ids=lambda good: f"PV-257 {good} % compress well")
def test_pv_257_few_batches_have_to_be_split(good: int) -> None:
    """A14: the estimate follows bad news at once, so fewer than one batch in ten is larger than batch.size."""
    queues = accumulator(batch_size=1_024, compression_type="gzip", linger_ms=0)
    too_large = made = 0
    for number in range(600):
        batch = queues.new_batch("t-0", upper_bound_bytes(100), 0)
        assert batch is not None
        while batch.room_for(100)[0]:
            before, ratio = batch.size_bytes, 150_000 if (number * 31 + batch.count * 17) % 101 < good else 900_000
            batch.add(batch.count, 1, 100)
            batch.compresses(batch.size_bytes - before, ratio, 0)
        drained(queues, ["t-0"], 0)
        queues.release(batch)
        made += 1
        if batch.size_bytes > 1_024:
            too_large += 1
            split(batch, queues, None)
            while queues.look(0, leader())[0]:
                drained(queues, ["t-0"], 0)

    assert too_large * 10 < made


# Partitioners.


def test_pv_271_short_queues_get_more_and_slow_nodes_nothing() -> None:
    """A46a, A46b."""
    draw = [0.0]
    leaders = {"t-0": "node-1", "t-1": "node-1", "t-2": "node-2"}
    partitioner = built_in(lambda *what: draw[0], leaders, partitioner_availability_timeout_ms=100)
    queues = accumulator(partitioner_availability_timeout_ms=100, linger_ms=0)
    queues.partitioner = partitioner
    partitioner.choose("t", tuple(leaders))
    for partition, count in zip(leaders, (1, 7, 2), strict=True):
        for _ in range(count):
            fill(queues, partition)

    def chosen() -> Counter[str]:
        queues.look(ms(300), lambda partition: (leaders[partition], 0))
        found: Counter[str] = Counter()
        for number in range(14):
            draw[0] = (number + 0.5) / 14
            partitioner.appended("t", 10**9, tuple(leaders), last_is_full=True)
            found[partitioner.choose("t", tuple(leaders))] += 1
        return found

    assert chosen() == {"t-0": 7, "t-1": 1, "t-2": 6}
    for node, drains in (("node-1", 0), ("node-2", 200)):
        queues.node_looked_at(node, ms(drains), drains=True)
        queues.node_looked_at(node, ms(200), drains=False)
    assert chosen() == {"t-2": 14}


@pytest.mark.parametrize(
    ("sizes", "count", "weights"),
    [
        pytest.param([5, 0, 3, 0, 1], 5, [1, 6, 3, 6, 5], id="PV-272"),
        pytest.param([0, 3, 1], 3, [4, 1, 3], id="PV-272 as in Kafka's own comment"),
        pytest.param([2, 2, 2], 3, None, id="PV-272 all alike"),
        pytest.param([2, 2, 2], 2, [1, 1], id="PV-272 all alike, but one is left out"),
        pytest.param([7], 1, None, id="PV-272 one partition"),
        pytest.param([1, 2], 0, None, id="PV-272 none available"),
    ],
)
def test_pv_272_weights_are_the_longest_queue_plus_one_minus_ones_own(sizes: list[int], count: int, weights: list[int] | None) -> None:
    """A46a."""
    found = frequencies(sizes, [f"t-{number}" for number in range(len(sizes))], count)

    assert (found and [high - low for low, high in zip([0, *found[0]], found[0], strict=False)]) == weights


def test_pv_273_records_stick_for_batch_size_bytes() -> None:
    """A46: a draw may repeat the partition."""
    partitions = {"t-0": "node-1", "t-1": "node-1", "t-2": "node-2"}
    partitioner = built_in(lambda *what: (what[-1] % 3) / 3 + 0.01, partitions, batch_size=3)
    chosen = []
    for _ in range(9):
        chosen.append(partitioner.choose("t", tuple(partitions)))
        partitioner.appended("t", 1, tuple(partitions), last_is_full=True)

    assert chosen == ["t-0"] * 3 + ["t-1"] * 3 + ["t-2"] * 3


@pytest.mark.parametrize(
    ("leaders", "choices"),
    [
        ({"t-0": "node-1", "t-1": "", "t-2": "node-2"}, {"t-0", "t-2"}),
        ({"t-0": "", "t-1": "node-1"}, {"t-1"}),
        ({"t-0": ""}, {"t-0"}),
    ],
    ids=["PV-274 one without leader", "PV-274 one with leader", "PV-274 none with leader"],
)
def test_pv_274_only_partitions_with_a_leader_are_chosen_if_there_are_any(leaders: dict[str, str], choices: set[str]) -> None:
    """A46."""
    partitioner = built_in(lambda *what: (what[-1] % 7) / 7, leaders, batch_size=1)
    chosen = set()
    for _ in range(7):
        chosen.add(partitioner.choose("t", tuple(leaders)))
        partitioner.appended("t", 1, tuple(leaders), last_is_full=True)

    assert chosen == choices


def test_pv_275_no_switch_leaves_a_fraction_of_a_batch_behind() -> None:
    """A46: a switch that is due while the batch is not full waits until it has left."""
    client = Client(batch_size=512, linger_ms=10, delivery_timeout_ms=60_000)
    client.calls[0].partition = None
    client.calls[0].size = 90
    client.producer.sending.partitioner.dice = Falls(lambda *what: what[-1] % 2 / 2)
    partitions = []
    for cycle in range(30):
        before = len(client.sent)
        client.send(count=3)
        client.at(20 * (cycle + 1))
        (batch,) = client.sent[before:]
        partitions.append(batch.partition)
        assert 256 < batch.size_bytes < 512
        while client.requests:
            client.answer(offset=0)

    assert partitions == ["t-0", "t-0", "t-1", "t-1"] * 7 + ["t-0", "t-0"], "after two batches there were batch.size bytes"


def test_a_switch_waits_until_the_batch_is_full_and_each_large_record_then_goes_to_the_next_partition() -> None:
    """testUniformBuiltInPartitioner: a small record, then four of batch.size; nothing is sent meanwhile."""
    client = Client(partitions=3, batch_size=1_024, delivery_timeout_ms=60_000)
    client.silent = ["b1"]
    client.calls[0].partition = None
    client.producer.sending.partitioner.dice = Falls(lambda *what: what[-1] % 3 / 3 + 0.01)
    chosen = []
    for size in (5, 1_024, 1_024, 1_024, 1_024):
        client.calls[0].size = size
        client.send()
        client.at(client.now / 1000 + 200)  # Until it is in a batch.
        number = client.calls[0].total - 1
        chosen += [batch.partition for batch in client.producer.accumulator.waiting() if number in batch.records]

    assert chosen == ["t-0", "t-0", "t-1", "t-2", "t-0"], "the first large one exceeds what sticks, while the batch is not full"


def test_the_next_look_is_at_what_lingers_least_and_a_full_batch_is_looked_at_now() -> None:
    """testNextReadyCheckDelay, testFull, testLinger (A26, A27)."""
    leaders = {"t-0": "node-1", "t-1": "node-1", "t-2": "node-2"}
    queues = accumulator(linger_ms=10, batch_size=1_024)
    fill(queues, "t-0", at=0)
    assert queues.look(0, lambda partition: (leaders[partition], 0)) == ({}, False, ms(10))
    fill(queues, "t-2", at=5)
    assert queues.look(ms(5), lambda partition: (leaders[partition], 0)) == ({}, False, ms(10))
    fill(queues, "t-1", at=5)
    fill(queues, "t-1", at=5)
    assert queues.look(ms(5), lambda partition: (leaders[partition], 0)) == ({"node-1": None}, False, ms(10))
    assert queues.look(ms(10), lambda partition: (leaders[partition], 0))[0] == {"node-1": None}
    assert queues.look(ms(15), lambda partition: (leaders[partition], 0))[0] == {"node-1": None, "node-2": None}
