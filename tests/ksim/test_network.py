"""The network: what a link's latency and bandwidth make of what is sent one after another."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ksim.dice import Dice
from ksim.loop_connections import Cell, Connection, Wire
from ksim.network import FRAME_BYTES, LinkDelays, message_bytes
from ksim.plan import Latency, Link, NetworkPlan
from ksim_models.errors import ErrorCode
from ksim_models.machine import Closed, Effect, Event, Received
from ksim_models.messages import FetchedPartition, FetchResponse, MetadataRequest, ProduceRequest, RecordBatch
from ksim_models.transaction_messages import ConsumerFetchedPartition, ConsumerFetchResponse
from ksim_models.units import Micros

BYTE_A_MICROSECOND = Fraction(1)


class Idle:
    wake_at: Micros | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        return []


def connect(number: int = 0) -> Connection:
    return Connection(f"p1/{number}", Cell(Idle("p1"), is_client=True), Cell(Idle("broker-1")))


def network(bandwidth: Fraction | None = None, latency: Micros = 500, links: tuple[Link, ...] = ()) -> LinkDelays:
    return LinkDelays(NetworkPlan(Latency(latency, latency), bandwidth, links), Dice(1))


def frame(wire: Wire) -> Received:
    return Received(wire.connection.name, MetadataRequest(("t",)))


def test_without_bandwidth_everything_takes_the_latency_and_nobody_is_asked() -> None:
    delays, wire = network(), connect().forth

    assert delays.constant == 500
    assert [delays.arrival(wire, frame(wire), now) for now in (0, 0, 7)] == [500, 500, 507]


def test_a_message_leaves_when_all_that_was_sent_before_it_has_left() -> None:
    delays, wire = network(BYTE_A_MICROSECOND), connect().forth

    assert delays.constant is None
    assert [delays.arrival(wire, frame(wire), now) for now in (0, 10, 1000)] == [FRAME_BYTES + 500, 2 * FRAME_BYTES + 500, 1000 + FRAME_BYTES + 500]


def test_each_connection_and_each_direction_has_a_bandwidth_of_its_own() -> None:
    delays, one, other = network(BYTE_A_MICROSECOND), connect(0), connect(1)

    assert {delays.arrival(wire, frame(wire), 0) for wire in (one.forth, one.back, other.forth)} == {FRAME_BYTES + 500}


def test_the_end_of_a_connection_takes_no_room_but_leaves_behind_what_was_sent() -> None:
    delays, wire = network(BYTE_A_MICROSECOND), connect().forth
    delays.arrival(wire, frame(wire), 0)

    assert delays.arrival(wire, Closed(wire.connection.name), 0) == FRAME_BYTES + 500
    assert delays.arrival(wire, frame(wire), 0) == 2 * FRAME_BYTES + 500


def test_a_slow_path_replaces_the_bandwidth_in_its_direction_until_that_is_taken_back() -> None:
    delays, connection = network(BYTE_A_MICROSECOND), connect()
    delays.slow_down("p1", "broker-1", 0, Fraction(1, 10))

    assert delays.arrival(connection.forth, frame(connection.forth), 0) == 10 * FRAME_BYTES + 500
    assert delays.arrival(connection.back, frame(connection.back), 0) == FRAME_BYTES + 500

    delays.speed_up("p1", "broker-1", 0, Fraction(1, 10))

    assert delays.arrival(connection.forth, frame(connection.forth), 2000) == 2000 + FRAME_BYTES + 500


def test_of_several_slow_faults_the_narrowest_holds_and_their_latencies_add() -> None:
    delays = network()
    path = "p1", "broker-1"
    delays.slow_down(*path, 1000, Fraction(1, 10))
    delays.slow_down(*path, 2000, Fraction(1, 100))
    delays.slow_down(*path, 4000, None)

    assert (delays.bandwidth(path), delays.latency(path)) == (Fraction(1, 100), 7500)

    delays.speed_up(*path, 2000, Fraction(1, 100))

    assert (delays.bandwidth(path), delays.latency(path)) == (Fraction(1, 10), 5500)


@pytest.mark.parametrize("slowness", [(1000, None), (0, BYTE_A_MICROSECOND), (1000, BYTE_A_MICROSECOND)])
def test_when_no_path_is_slow_any_more_nobody_is_asked_for_each_message(slowness: tuple[Micros, Fraction | None]) -> None:
    delays = network()
    delays.slow_down("p1", "broker-1", *slowness)

    assert delays.constant is None

    delays.speed_up("p1", "broker-1", *slowness)

    assert delays.constant == 500


def test_records_take_their_room_in_requests_and_in_what_followers_and_consumers_fetch() -> None:
    records = RecordBatch("t-0", "p1", range(1), 1000)
    messages = [
        ProduceRequest(-1, 30_000, (records,)),
        FetchResponse((FetchedPartition("t-0", ErrorCode.NONE, batches=(records,)),)),
        ConsumerFetchResponse((ConsumerFetchedPartition("t-0", ErrorCode.NONE, batches=(records,)),)),
    ]

    assert {message_bytes(message) for message in messages} == {FRAME_BYTES + 1000}
