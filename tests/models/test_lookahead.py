"""Several workloads over several partitions: which record is the next to wake for, and that without others nothing is missed (A1, A6, A12, A17, A27)."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.arrivals import Arrivals
from ksim_models.batch import BATCH_OVERHEAD, Batch, record_bytes, upper_bound_bytes
from ksim_models.lookahead import Foreseen
from ksim_models.machine import Wake
from ksim_models.partitioner_names import ROUND_ROBIN
from ksim_models.producer import Producer
from ksim_models.units import Micros
from scripted import Calls, Client, Half, Script

LONG: dict[str, Any] = {"linger_ms": 20, "delivery_timeout_ms": 60_000, "request_timeout_ms": 10_000}


class Flow(Calls):
    """Records of one workload: their moments, sizes (one for all, or one each), partition, or keys by their hashes."""

    def __init__(self, times: list[Micros], *, to: int | None = None, sizes: int | list[int] = 100, keys: list[int] | None = None, topic: str = "t") -> None:
        super().__init__(0)
        self.topic, self.times, self.total, self.partition = topic, times, len(times), to
        self.sizes = sizes if isinstance(sizes, list) else [sizes] * len(times)
        self.size = sizes if isinstance(sizes, int) else None
        self.keys, self.keyed = keys or [], keys is not None
        self.compression_ratio = 400_000
        self.looks = 0

    def time_of(self, index: int) -> Micros:
        self.looks += 1
        return super().time_of(index)

    def step_of(self, index: int, count: int) -> Micros | None:
        steps = {later - earlier for earlier, later in zip(self.times[index : index + count], self.times[index + 1 : index + count])}
        return steps.pop() if len(steps) == 1 else None

    def size_of(self, index: int) -> int:
        return self.sizes[index]

    def key_hash_of(self, index: int) -> int:
        return self.keys[index]


class Chooser(Half):
    """Dice that fall otherwise at each throw, and the same for the same throw."""

    def at(self, *what: str | int) -> float:
        return sum(ordinal for ordinal in what if isinstance(ordinal, int)) * 0.37 % 1


def client_of(flows: list[Flow], partitions: int, config: dict[str, Any]) -> Client:
    client = Client(partitions=partitions, **LONG | config)
    machine = Producer("p1", client.producer.profile, client.config, ["b1", "b2"], list[Arrivals](flows), Chooser())
    leaders = client.leaders
    Script.__init__(client, flows, machine)
    client.producer, client.leaders = machine, leaders
    return client


def every(step: int, begin: int = 1_000, end: int = 60_000) -> list[Micros]:
    return list(range(begin, end, step))


ODD = every(900, 1_300)
BURSTS = [20_000 * burst + 3_000 for burst in range(3) for _ in range(10)]
SIZES = [40 + index * index * 7 % 300 for index in range(60)]
FULL = {"batch_size": 300, "max_in_flight_requests_per_connection": 1}
FULL_BY_BYTES = FULL | {"partitioner_adaptive_partitioning_enable": False}
FLOWS: dict[str, tuple[list[Flow], int, dict[str, Any]]] = {
    "two to one partition each": ([Flow(every(700), to=0), Flow(ODD, to=1)], 2, {"batch_size": 800}),
    "two to the same": ([Flow(every(700), to=0), Flow(ODD, to=0)], 2, {"batch_size": 800}),
    "two to a topic of one partition": ([Flow(every(700)), Flow(ODD)], 1, {"batch_size": 800}),
    "two to a topic of two partitions": ([Flow(every(700)), Flow(ODD)], 2, {"batch_size": 800}),
    "as large as may be": ([Flow(every(700), to=0)], 2, {"batch_size": 800, "max_request_size": upper_bound_bytes(100)}),
    "at the same moments": ([Flow(every(700), to=0, sizes=30), Flow(every(700), to=0, sizes=200)], 2, {"batch_size": 800}),
    "two to the built-in choice": ([Flow(every(700)), Flow(ODD)], 3, {"batch_size": 800}),
    "two by bytes alone": ([Flow(every(700)), Flow(ODD)], 3, {"batch_size": 800, "partitioner_adaptive_partitioning_enable": False}),
    "bursts and a stream": ([Flow(BURSTS), Flow(ODD, to=1)], 3, {"batch_size": 800}),
    "one behind the other": ([Flow(every(700, end=20_000)), Flow(every(700, 30_000))], 3, {"batch_size": 800}),
    "keys": ([Flow(every(700), keys=[index * index % 11 for index in range(90)])], 3, {"batch_size": 800}),
    "keys that do not place": ([Flow(every(700), keys=[index % 2 for index in range(90)])], 3, {"batch_size": 800, "partitioner_ignore_keys": True}),
    "keys and a stream": ([Flow(every(700), keys=[index % 5 for index in range(90)]), Flow(ODD)], 3, {"batch_size": 800}),
    "sizes": ([Flow(every(1_000), sizes=SIZES)], 3, {"batch_size": 900}),
    "sizes to a partition": ([Flow(every(1_000), to=1, sizes=SIZES)], 3, {"batch_size": 900}),
    "sizes, compressed": ([Flow(every(1_000), sizes=SIZES)], 3, {"batch_size": 900, "compression_type": "lz4"}),
    "one of them is too large": ([Flow(every(1_000), sizes=[50] * 10 + [400] + [50] * 48)], 3, {"max_request_size": 450}),
    "two to the same, exactly full": ([Flow(every(700), to=0), Flow(ODD, to=0)], 2, {"batch_size": BATCH_OVERHEAD + 4 * record_bytes(100, 0)}),
    "65 to a batch": ([Flow(every(200), to=0, sizes=[1] * 295)], 2, {"batch_size": BATCH_OVERHEAD + 64 * record_bytes(1, 0) + record_bytes(1, 64)}),
    "memory for two of three": ([Flow(every(700), keys=[index % 3 for index in range(90)])], 3, {"batch_size": 800, "buffer_memory": 1_600, "max_block_ms": 4}),
    "full ones wait": (
        [Flow(every(300))],
        3,
        FULL_BY_BYTES,
    ),
    "full ones wait, of all sizes": (
        [Flow(every(1_000), sizes=SIZES)],
        3,
        FULL_BY_BYTES,
    ),
    "full ones wait, and queues are counted": ([Flow(every(300))], 3, FULL),
    "without linger": ([Flow(every(700)), Flow(ODD, to=0)], 3, {"batch_size": 800, "linger_ms": 0}),
    "by batches": ([Flow(every(700)), Flow(ODD)], 3, {"batch_size": 800, "kafka": "3.2"}),
    "round robin": ([Flow(every(700)), Flow(ODD)], 3, {"batch_size": 800, "partitioner_class": ROUND_ROBIN}),
    "little memory": ([Flow(every(700)), Flow(ODD)], 3, {"batch_size": 800, "buffer_memory": 2_400, "max_block_ms": 4}),
    "little memory, and time to wait": ([Flow(every(700)), Flow(ODD, to=0)], 3, {"batch_size": 800, "buffer_memory": 1_600, "max_block_ms": 60_000}),
    "time-outs": ([Flow(every(700)), Flow(ODD, to=0)], 3, {"batch_size": 2_000, "request_timeout_ms": 9, "retry_backoff_ms": 3}),
    "compressed": ([Flow(every(300))], 3, {"batch_size": 900, "compression_type": "gzip"}),
    "compressed, by bytes alone": ([Flow(every(300))], 3, {"batch_size": 900, "compression_type": "gzip", "partitioner_adaptive_partitioning_enable": False}),
    "a partition that is not there": ([Flow(every(700)), Flow([9_000], to=3)], 3, {"batch_size": 800, "max_block_ms": 20}),
}
TABLE = pytest.mark.parametrize(("flows", "partitions", "config"), FLOWS.values(), ids=FLOWS)


def course(client: Client, flows: list[Flow], *, each: bool) -> tuple[list[Any], list[Any]]:
    """A request is answered every 7 ms. each: the client wakes for every record, and takes it by itself."""
    if each:
        for thread in client.producer.sending.threads:
            thread.steady = False
    moments = sorted({moment for flow in flows for moment in flow.times})
    for moment in sorted({*moments, *range(0, 200_000, 7_000)}):
        client.at(moment / 1_000)
        if each and moment in moments:
            client._handle(Wake())
        if moment % 7_000 == 0 and client.requests:
            client.answer(offset=0)
    return client.facts, client.sent


@TABLE
def test_what_is_handed_over_together_becomes_what_it_becomes_one_by_one(flows: list[Flow], partitions: int, config: dict[str, Any]) -> None:
    together, alone = (client_of(flows, partitions, config) for _ in range(2))

    assert course(together, flows, each=False) == course(alone, flows, each=True)
    assert len(together.facts) > 10


def wakes(client: Client, number: int) -> list[Micros]:
    """When its alarm rings, while no broker answers a Produce request."""
    client.at(0)
    found: list[Micros] = []
    while len(found) < number and (at := client.producer.wake_at) is not None:
        found.append(at)
        client.now = at
        client._handle(Wake())
    return found


@pytest.mark.parametrize(
    ("case", "moments"),
    [
        # A batch takes six: the first record of the next one sends it, whichever workload it is of.
        ("two to one partition each", [1_000, 5_200, 9_400, 13_600, 17_800, 22_000, 26_200]),
        ("two to the same", [1_000, 3_100, 5_800, 8_000, 10_300, 12_900, 15_000]),
        ("two to a topic of one partition", [1_000, 3_100, 5_800, 8_000, 10_300, 12_900, 15_000]),
        ("two to a topic of two partitions", [1_000, 3_100, 5_800, 8_000, 10_300, 10_800, 13_000]),
        ("as large as may be", [1_000, 5_200, 9_400, 13_600]),
        ("at the same moments", [1_000, 3_100, 5_200, 7_300, 9_400, 11_500, 13_600]),
        ("two by bytes alone", [1_000, 3_100, 5_800, 8_500, 11_200, 13_900, 16_600]),
        # The one that opens a batch behind a switch: by then the queues must have been counted (A48).
        ("two to the built-in choice", [1_000, 3_100, 5_800, 5_900, 8_500, 8_700, 11_200]),
        ("bursts and a stream", [1_300, 3_000, 3_100, 8_500, 13_900, 19_300, 23_000]),
        ("one behind the other", [1_000, 5_200, 9_400, 10_100, 14_300, 15_000, 19_200, 19_900, 33_500]),
        # Only batches that are full: lingering ends later. A key's partition needs no counting.
        ("keys", [1_000, 10_800, 19_900, 28_300, 37_400, 47_200, 57_000]),
        ("keys that do not place", [1_000, 5_200, 9_400, 10_100, 14_300, 15_000, 19_200]),
        ("keys and a stream", [1_000, 1_700, 2_400, 4_500, 5_200, 5_900, 8_000]),
        ("sizes to a partition", [1_000, 7_000, 10_000, 13_000, 17_000, 20_000, 25_000]),
        ("one of them is too large", [1_000, 11_000, 21_000, 22_000, 42_000, 43_000]),
        ("two to the same, exactly full", [1_000, 2_200, 3_800, 5_200, 6_700, 8_500, 10_100]),
        ("65 to a batch", [1_000, 13_800, 26_800, 39_800, 52_800]),
        ("memory for two of three", [1_000, 2_400, 6_400, 10_400, 14_400]),  # Blocked, refused, and blocked again: nobody gives memory back.
        ("by batches", [1_000, 3_100, 3_800, 5_900, 6_600, 8_700, 9_400]),
        ("round robin", [1_000, 8_000, 15_000, 22_000, 29_200, 36_400, 43_600]),
        ("little memory", [1_000, 3_100, 5_800, 5_900, 6_700, 9_900, 10_700]),
        ("compressed, by bytes alone", [1_000, 3_100, 5_200, 7_600, 10_000, 12_400, 14_800]),
        ("a partition that is not there", [1_000, 5_200, 9_000, 9_400, 10_100, 10_800, 11_500]),
    ],
)
def test_an_alarm_rings_for_what_is_sent_counted_blocked_or_refused_and_for_nothing_else(case: str, moments: list[Micros]) -> None:
    flows, partitions, config = FLOWS[case]

    assert wakes(client_of(flows, partitions, {"max_in_flight_requests_per_connection": 100} | config), len(moments)) == moments


def test_a_record_opens_a_batch_whose_linger_ends_before_the_next_one() -> None:
    """A27: seen in thought only, from the first wake on. A leader's partitions leave together (A31), so the second one has another."""
    flows = [Flow([1_000, 9_000, 17_000], to=0), Flow([3_000, 4_000], to=1), Flow([26_000], to=2)]
    client = client_of(flows, 3, {})
    client.leaders["t-1"] = ("b2", 100)

    assert wakes(client, 4) == [1_000, 21_000, 23_000, 46_000]
    assert client.records() == [[0, 3, 4], [1, 2], [5]]


def looks_at(flows: list[Flow], **config: Any) -> int:
    """How often the time of a record was asked for, while the client wakes every 2 ms for nothing and hands over all of them."""
    client = client_of(flows, 3, {"linger_ms": 50, "max_in_flight_requests_per_connection": 100} | config)
    for moment in range(0, 70, 2):
        client.at(moment)
        client._handle(Wake())
    assert client.producer.sending.is_done
    return sum(flow.looks for flow in flows)


def test_what_was_foreseen_is_not_looked_at_again() -> None:
    """Each record is looked at once in thought, and once when it is handed over; one more look finds that it is too early."""
    flows = [Flow(every(300, end=40_000)), Flow(every(400, end=40_000))]

    assert looks_at(flows) < 4 * sum(flow.total for flow in flows)


def test_records_that_are_alike_and_only_join_a_batch_are_not_looked_at_one_by_one() -> None:
    """Nor are they handed over one by one; what is left is a few looks for each batch, and two for each wake."""
    flow = Flow(every(10, end=40_000))

    assert looks_at([flow], batch_size=8_000, partitioner_adaptive_partitioning_enable=False) < flow.total / 5


@pytest.mark.parametrize("capacity", [100, 500, 1_000])
@pytest.mark.parametrize("estimate", [0, 400_000, 1_050_000, 1_300_000])
def test_what_is_foreseen_of_a_batch_is_what_becomes_of_it(capacity: int, estimate: int) -> None:
    """A12, A13: room, fullness and size, record by record and for many that are alike; past 64 records their offsets take a byte more."""
    batch, foreseen = Batch(0, "t-0", capacity, 0, estimate), Foreseen(capacity, BATCH_OVERHEAD, 0, estimate)
    for size in (30, 0, 200, 1, 1, 60, 5, 300, 17):
        has_room = bool(batch.room_for(size)[0])
        assert foreseen.add(size) is has_room
        if has_room:
            batch.add(0, 1, size)
        assert (foreseen.used, foreseen.count, foreseen.estimated, foreseen.is_full) == (batch.size_bytes, batch.count, batch.estimated_bytes, batch.is_full)

    for count in (2, 3):
        batch.add(0, count, 9)
        foreseen.add_alike(count, 9)
        assert (foreseen.used, foreseen.count, foreseen.estimated) == (batch.size_bytes, batch.count, batch.estimated_bytes)


def test_a_batch_is_full_to_the_byte() -> None:
    """A12: what makes it exactly as large as it may be has room; behind it nothing has."""
    exactly = Foreseen(BATCH_OVERHEAD + 2 * record_bytes(100, 0), BATCH_OVERHEAD, 0, 0)

    assert [exactly.add(100), exactly.add(100), exactly.is_full, exactly.add(0)] == [True, True, True, False]
