"""Many records at once are handed over, and waited for, as if each send() had run by itself at its own moment."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.arrivals import Arrivals
from ksim_models.facts import Refused
from ksim_models.machine import Wake
from ksim_models.producer import Producer
from ksim_models.units import Micros
from scripted import Calls, Client, Half, Script

LONG = {"linger_ms": 20, "delivery_timeout_ms": 60_000, "request_timeout_ms": 10_000}


class Alike(Calls):
    """Records at these moments, in microseconds; as a rule all equally far apart."""

    def __init__(self, times: list[Micros], partition: int | None, size: int, ratio: int) -> None:
        super().__init__(0, size)
        self.partition, self.times, self.total = partition, times, len(times)
        self.compression_ratio = ratio

    def step_of(self, index: int, count: int) -> Micros | None:
        steps = {later - earlier for earlier, later in zip(self.times[index : index + count], self.times[index + 1 : index + count])}
        return steps.pop() if len(steps) == 1 else None


def client_of(times: list[Micros], partition: int | None, size: int, ratio: int, config: dict[str, Any]) -> Client:
    client = Client(partitions=3, **config)
    calls = [Alike(times, partition, size, ratio)]
    machine = Producer("p1", client.producer.profile, client.config, ["b1", "b2"], list[Arrivals](calls), Half())
    leaders = client.leaders
    Script.__init__(client, calls, machine)
    client.producer, client.leaders = machine, leaders
    return client


def course(client: Client, times: list[Micros], *, each: bool) -> tuple[list[Any], list[Any]]:
    """A request is answered every 7 ms. each: the client wakes for every record, and takes it by itself."""
    if each:
        client.producer.sending.threads[0].steady = False
    for moment in sorted({*times, *range(0, 200_000, 7_000)}):
        client.at(moment / 1_000)
        if each and moment in times:
            client._handle(Wake())
        if moment % 7_000 == 0 and client.requests:
            client.answer(offset=0)
    return client.facts, client.sent


EVEN = [1_000 + index * 700 for index in range(60)]
BURSTS = [20_000 * burst for burst in range(4) for _ in range(12)]
UNEVEN = [1_000 + index * index * 40 for index in range(60)]
CASES = {
    "even": (EVEN, 0, 100, {}),
    "uneven": (UNEVEN, 0, 100, {}),
    "bursts": (BURSTS, 0, 100, {}),
    "batches of nine": (EVEN, 0, 100, {"batch_size": 1_030}),
    "batches that are exactly full": (EVEN, 0, 100, {"batch_size": 61 + 4 * 109}),
    "one byte less than that": (EVEN, 0, 100, {"batch_size": 60 + 4 * 109}),
    "a batch for each record": (EVEN, 0, 100, {"batch_size": 1}),
    "larger than a batch": (BURSTS, 0, 700, {"batch_size": 300}),
    "no linger": (EVEN, 0, 100, {"linger_ms": 0, "max_in_flight_requests_per_connection": 1}),
    "bursts without linger": (BURSTS, 0, 100, {"linger_ms": 0, "batch_size": 600}),
    "memory for two batches": (BURSTS, 0, 100, {"batch_size": 500, "buffer_memory": 1_100, "max_block_ms": 5}),
    "memory comes back while send() waits": (EVEN, 0, 100, {"batch_size": 500, "buffer_memory": 1_100, "max_block_ms": 60_000}),
    "memory comes back late in uneven distances": (UNEVEN, 0, 100, {"batch_size": 500, "buffer_memory": 1_100, "max_block_ms": 60_000}),
    "too large for max.request.size": (EVEN, 0, 100, {"max_request_size": 185}),
    "just not too large": (EVEN, 0, 100, {"max_request_size": 187}),
    "too large for buffer.memory": (EVEN, 0, 100, {"buffer_memory": 185, "batch_size": 100}),
    "compressed well": (EVEN, 0, 100, {"compression_type": "lz4", "batch_size": 600}),
    "compressed, in bursts": (BURSTS, 0, 100, {"compression_type": "gzip", "batch_size": 600}),
    "the built-in choice": (EVEN, None, 100, {"batch_size": 600}),
    "the built-in choice in bursts": (BURSTS, None, 100, {"batch_size": 600}),
    "the built-in choice by bytes alone": (EVEN, None, 100, {"batch_size": 600, "partitioner_adaptive_partitioning_enable": False}),
    "the built-in choice, compressed": (BURSTS, None, 100, {"batch_size": 600, "compression_type": "lz4"}),
    "the built-in choice, out of memory": (BURSTS, None, 100, {"batch_size": 500, "buffer_memory": 1_600, "max_block_ms": 5}),
    "the built-in choice without linger": (BURSTS, None, 100, {"batch_size": 600, "linger_ms": 0}),
    "by batches": (EVEN, None, 100, {"batch_size": 600, "kafka": "3.2"}),
    "a time-out on the way": (EVEN, 0, 100, {"request_timeout_ms": 5, "max_in_flight_requests_per_connection": 1, "retry_backoff_ms": 3}),
    "a time-out of the built-in choice": (EVEN, None, 100, {"request_timeout_ms": 5, "batch_size": 300, "retry_backoff_ms": 3}),
}


@pytest.mark.parametrize(("times", "partition", "size", "config"), CASES.values(), ids=CASES)
def test_records_taken_together_become_what_they_become_one_by_one(times: list[Micros], partition: int | None, size: int, config: dict[str, Any]) -> None:
    """A1, A12, A15, A17, A20, A22, A27, A46: the facts, their moments, and what goes over the wire are the same."""
    together, alone = (client_of(times, partition, size, 400_000, LONG | config) for _ in range(2))

    assert course(together, times, each=False) == course(alone, times, each=True)
    assert len(together.facts) > 10


def wakes(client: Client, until: Micros) -> list[Micros]:
    """When its alarm rings, while no broker answers a Produce request."""
    found: list[Micros] = []
    while (at := client.producer.wake_at) is not None and at <= until:
        assert at > client.now or not found, "an alarm that rings for nothing rings for ever"
        found.append(at)
        client.now = at
        client._handle(Wake())
    return found


@pytest.mark.parametrize(
    ("case", "moments"),
    [
        ("even", [1_000, 21_000, 41_300]),
        ("uneven", [1_000, 21_000, 42_160]),
        ("bursts", [20_000, 60_000]),
        ("batches of nine", list(range(1_000, 58_000, 5_600))[:8]),
        ("batches that are exactly full", [1_000, 3_100, 5_900, 8_700, 11_500, 14_300]),
        ("one byte less than that", list(range(1_000, 60_000, 2_100))[:6]),
        ("memory comes back late in uneven distances", [1_000, 1_640, 3_560]),
        ("just not too large", [1_000, 21_000, 41_300]),
        ("too large for max.request.size", EVEN),
        ("compressed well", list(range(1_000, 60_000, 2_800))[:6]),
        ("the built-in choice", list(range(1_000, 60_000, 2_800))[:6]),
        ("the built-in choice by bytes alone", list(range(1_000, 60_000, 2_800))[:6]),
        ("the built-in choice in bursts", [20_000, 40_000, 60_000]),
        ("by batches", [1_000, 3_800, 4_500, 7_300, 8_000]),
    ],
)
def test_a_client_wakes_for_records_that_make_a_difference_and_for_no_others(case: str, moments: list[Micros]) -> None:
    """A12, A17, A27: the first of a batch begins its linger, which is foreseen; the one that fills it or finds no room in it sends it."""
    times, partition, size, config = CASES[case]
    client = client_of(times, partition, size, 400_000, LONG | config)

    assert wakes(client, moments[-1]) == [0, *moments]


def test_a7_a_record_too_large_is_refused_though_another_workload_left_a_batch_with_room_for_it() -> None:
    client = Client(linger_ms=20, delivery_timeout_ms=60_000, max_request_size=150)
    client.calls[1].partition, client.calls[1].size = 0, 100
    client.calls[0].size = 10
    client.send(0)
    client.at(1)
    client.send(1)
    client.at(50)

    assert client.records() == [[0]]
    assert [(at, list(fact.records), fact.error) for at, fact in client.facts if isinstance(fact, Refused)] == [(1_000, [1], "RecordTooLargeException")]
