"""Leader changes, backoff, connections and metadata of the Java client: section 2 of the vectors. (PV-029 to PV-032 belong to the accumulator.)"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.client_network import ClientNetwork
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Disconnected
from ksim_models.machine import Closed, Effect, Received
from ksim_models.messages import ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest
from ksim_models.profiles import client_profile
from ksim_models.units import ms
from scripted import Client, Half, Lines

S_SET: dict[str, Any] = {"request_timeout_ms": 5_000, "delivery_timeout_ms": 60_000, "max_in_flight_requests_per_connection": 100}
BACKOFF: dict[str, Any] = {"retry_backoff_ms": 10, "retry_backoff_max_ms": 100}
THREE = ("append p0", ""), ("append p1", ""), ("send p2", "sent 0; sent 1; sent 2")


@pytest.mark.parametrize(
    ("kafka", "script"),
    [
        pytest.param(
            "4.3",
            [
                ("send", "sent 0"),
                ("at 500", ""),
                ("leader t-0 b1 101", ""),
                ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0"),
                ("answer 0 NOT_LEADER_OR_FOLLOWER", ""),
                ("at 509", ""),
                ("at 700", "sent 0"),
                ("answer 0 NONE 999", "acked 0 at 999"),
            ],
            id="PV-025 PV-026 a higher leader epoch skips the backoff, once",
        ),
        pytest.param(
            "3.6.0",
            [
                ("send", "sent 0"),
                ("at 500", ""),
                ("leader t-0 b1 101", ""),
                ("answer 0 NOT_LEADER_OR_FOLLOWER", ""),
                ("at 509", ""),
                ("at 510", "sent 0"),
            ],
            id="PV-025 before 3.6.1 it does not",
        ),
        pytest.param(
            "4.3",
            [
                *THREE,
                ("at 500", ""),
                ("answer 0 NOT_LEADER_OR_FOLLOWER, 1 NOT_LEADER_OR_FOLLOWER, 2 NONE 100", "acked 2 at 100"),
                ("at 509", ""),
                ("at 510", "sent 0; sent 1"),
            ],
            id="PV-027 an answer without a leader: the cached ones stay, and the backoff is waited for",
        ),
        pytest.param(
            "4.3",
            [
                *THREE,
                ("at 500", ""),
                (
                    "answer 0 NOT_LEADER_OR_FOLLOWER leader=b8/101, 1 NOT_LEADER_OR_FOLLOWER leader=b9/201, 2 NONE 100",
                    "acked 2 at 100; sent 0 to b8; sent 1 to b9",
                ),
            ],
            id="PV-028 the leaders that the answer names get the retries at once",
        ),
        pytest.param(
            "3.6",
            [
                *THREE,
                ("at 500", ""),
                ("answer 0 NOT_LEADER_OR_FOLLOWER leader=b8/101, 1 NOT_LEADER_OR_FOLLOWER leader=b9/201, 2 NONE 100", "acked 2 at 100"),
                ("at 510", "sent 0; sent 1"),
            ],
            id="PV-028 before 3.7 they are not read",
        ),
    ],
)
def test_a_leader_changes(kafka: str, script: Lines) -> None:
    """KIP-951, KAFKA-15415."""
    client = Client(kafka=kafka, partitions=3, **S_SET | BACKOFF | ({"retry_backoff_max_ms": 10} if kafka < "3.7" else {}))
    client.play(script)


def test_pv_027_pv_028_an_update_is_asked_for_in_any_case() -> None:
    client = Client(partitions=3, **S_SET | BACKOFF)
    client.play([*THREE, ("at 500", "")])
    client.holding = (ProduceRequest, MetadataRequest)
    client._do("answer 0 NOT_LEADER_OR_FOLLOWER, 1 NOT_LEADER_OR_FOLLOWER leader=b9/201, 2 NONE 100")

    assert any(isinstance(request, MetadataRequest) for _, request in client.pending)
    assert (client.producer.metadata.leader_of("t-0"), client.producer.metadata.leader_of("t-1")) == (("b1", 100), ("b9", 201))


@pytest.mark.parametrize(("kafka", "error"), [("4.3", "TimeoutException"), ("3.4", "NetworkException")])
def test_pv_034_a_request_time_out_closes_the_connection_and_asks_for_metadata(kafka: str, error: str) -> None:
    """N4, N6."""
    client = Client(kafka=kafka, request_timeout_ms=1_000, delivery_timeout_ms=60_000, retries=0)
    client.send()
    asked = client.asked_for_metadata
    client.at(1_000)
    assert client.outcomes() == [], "strictly more than the time-out must have passed"

    client.at(1_101)

    assert client.outcomes() == [([0], error)]
    assert client.asked_for_metadata > asked


class Connection:
    """One connection of a client, with requests on it."""

    def __init__(self, *, kafka: str = "4.3", **config: Any) -> None:
        self.out: list[Effect] = []
        self.network = ClientNetwork("p1", replace(ProducerConfig(), **config), client_profile(kafka), Half())
        self.network.ready("b1", 0, self.out)
        self.name = self.network.nodes["b1"].connection or ""
        self.network.opened(self.name, 0, self.out)
        self.network.answered(self.name, 0)
        self.network.checked("b1", self.out)

    def send(self) -> MetadataRequest:
        request = MetadataRequest(("t",))
        self.network.send("b1", request, (), 0, self.out)
        return request

    def is_ready(self, at: int) -> bool:
        return self.network.ready("b1", ms(at), self.out)


def test_pv_035_requests_of_a_closed_connection_are_cancelled_oldest_first() -> None:
    """N5: and they are not timed out."""
    client = Connection()
    requests = [client.send(), client.send()]
    (lost,) = client.network.close_all(["b1"], 0, client.out)

    assert [request.message for request in lost.requests] == requests
    assert all(mine is yours.message for mine, yours in zip(requests, lost.requests, strict=True))
    assert not lost.timed_out


def test_pv_037_a_throttled_connection_is_not_ready_until_its_time_is_over() -> None:
    """N11."""
    client = Connection()
    client.send()
    client.network.answered(client.name, 0, throttle_ms=100)

    assert [client.is_ready(at) for at in (0, 50, 99, 100)] == [False, False, False, True]
    assert client.network.nodes["b1"].not_before() == ms(100)


def test_n11_the_end_of_a_quota_never_regresses_and_outlives_the_connection() -> None:
    client = Connection()
    client.send()
    client.send()
    client.network.answered(client.name, 0, throttle_ms=100)
    client.network.answered(client.name, 0, throttle_ms=20)
    client.network.lost(client.name, 0, "closed", client.out)

    assert client.network.nodes["b1"].throttled_until == ms(100)


@pytest.mark.parametrize(("kafka", "alive_until"), [("3.7", 1_000), ("3.8", 2_000)])
def test_pv_038_a_throttled_request_has_as_much_longer_time(kafka: str, alive_until: int) -> None:
    """KAFKA-16083, H-037: before 3.8 the client takes the broker's quota for a time-out."""
    client = Connection(kafka=kafka, request_timeout_ms=1_000)
    client.send()
    client.send()
    client.network.answered(client.name, 0, throttle_ms=1_000)

    assert client.network.time_out(ms(alive_until), client.out) == []
    assert len(client.network.time_out(ms(alive_until + 1), client.out)) == 1


@pytest.mark.parametrize("throttled", [100, 0])
def test_n11_a_batch_waits_for_the_end_of_a_quota(throttled: int) -> None:
    client = Client(**S_SET)
    client.send()
    client.answer(offset=0, throttle_ms=throttled)
    client.send()
    assert client.records() == ([[0]] if throttled else [[0], [1]])

    client.at(99)
    assert client.records() == ([[0]] if throttled else [[0], [1]])
    client.at(100)
    assert client.records() == [[0], [1]]


def test_n11_every_api_may_throttle() -> None:
    """PV-020 samples them all."""
    client = Client(**S_SET)
    client._answer_at_once = lambda message: ApiVersionsResponse(throttle_ms=400)  # type: ignore[method-assign]
    client.holding = (ProduceRequest, MetadataRequest)
    client.send()
    client.at(399)
    assert client.pending == []

    client.at(400)

    assert [type(request) for _, request in client.pending] == [MetadataRequest]


def rebootstraps(client: Client) -> int:
    return sum(isinstance(fact, Disconnected) and fact.why == "rebootstrap" for _, fact in client.facts)


def test_pv_040_without_metadata_the_client_begins_again_from_its_bootstrap_servers() -> None:
    """M6 (ii), (iii). In Kafka's test the error code is handed over outside a poll; a poll that brings it begins again at its end."""
    client = Client(
        **S_SET | {"request_timeout_ms": 60_000}, metadata_recovery_strategy="rebootstrap", metadata_recovery_rebootstrap_trigger_ms=1_000, retry_backoff_ms=50
    )
    client.send()
    client.answer(offset=0)
    client.holding = (ProduceRequest, MetadataRequest)
    client.at(500)
    client._do("refresh")
    client.at(1_500)
    assert rebootstraps(client) == 0
    client.at(1_501)
    assert (rebootstraps(client), client.producer.metadata.nodes, client.producer.metadata.topics) == (1, ("bootstrap/b1", "bootstrap/b2"), {})
    client.at(2_400)
    assert rebootstraps(client) == 1
    client.at(2_502)
    assert rebootstraps(client) == 2

    connection, _ = next(one for one in client.pending if isinstance(one[1], MetadataRequest))
    client.pending = []
    client._handle(Received(connection, MetadataResponse(("b1", "b2"), (), E.REBOOTSTRAP_REQUIRED)))

    assert rebootstraps(client) == 3


@pytest.mark.parametrize(
    ("kafka", "strategy", "again"),
    [
        pytest.param("4.3", "rebootstrap", True, id="M6 (i) nobody left to ask: the bootstrap servers"),
        pytest.param("3.9", "rebootstrap", True, id="M6 (i) since 3.8"),
        pytest.param("4.3", "none", False, id="M7 the last brokers for ever"),
        pytest.param("3.7", "rebootstrap", False, id="M7 before 3.8 in any case"),
    ],
)
def test_when_every_broker_is_gone(kafka: str, strategy: str, again: bool) -> None:
    """And then no topic is known any more: send() waits for metadata, up to max.block.ms, instead of filling the queue."""
    client = Client(kafka=kafka, **S_SET, metadata_recovery_strategy=strategy, reconnect_backoff_ms=1_000)
    client.play([("send", "sent 0"), ("answer 0 NONE 0", "acked 0 at 0"), ("down b1 b2", "")])
    for connection in list(client.producer.network.by_connection):
        client._handle(Closed(connection))
    client.at(300)

    assert client.producer.metadata.nodes == (("bootstrap/b1", "bootstrap/b2") if again else ("b1", "b2"))
    client.send()
    assert client.producer.sending.blocked == again
    client.play([("up b1 b2", ""), ("at 3000", "sent 1"), ("answer 1 NONE 1", "acked 1 at 1")])


@pytest.mark.parametrize(("kafka", "required"), [("3.9", False), ("4.0", True)])
def test_m6_a_broker_may_demand_it_since_4_0(kafka: str, required: bool) -> None:
    """KIP-1102. An older client takes what the answer describes."""
    client = Client(kafka=kafka, **S_SET, metadata_recovery_strategy="rebootstrap")
    client.send()
    metadata = client.producer.metadata
    metadata.asked(0)
    metadata.learn(MetadataResponse(("b1", "b2"), (), E.REBOOTSTRAP_REQUIRED), 0, [])

    assert (metadata.rebootstrap_at <= 0) is required


def test_pv_041_a_full_connection_is_no_reason_to_begin_again() -> None:
    client = Client(**S_SET | {"max_in_flight_requests_per_connection": 1}, metadata_recovery_strategy="rebootstrap")
    client.brokers = ("b1",)
    client.send()
    client._do("refresh")
    network = client.producer.network

    assert (network.least_loaded(("b1",), client.now), network.any_ready(("b1",), client.now)) == (None, True)
    assert client.producer.metadata.nodes == ("b1",)
    assert client.producer.metadata.topics != {}


def test_n10_an_idle_connection_is_closed_and_metadata_asked_for() -> None:
    """N6. The longest idle one; what is used stays."""
    client = Client(**S_SET, connections_max_idle_ms=1_000, metadata_max_age_ms=600_000)
    client.play([("leader t-1 b2 100", ""), ("send p1", "sent 0 to b2"), ("answer 0 NONE 0", "acked 0 at 0"), ("send", "sent 1")])
    asked = client.asked_for_metadata
    client.play([("answer 1 NONE 0", "acked 1 at 0"), ("at 900", ""), ("send", "sent 2"), ("answer 2 NONE 1", "acked 2 at 1"), ("at 1000", "")])
    assert [fact for _, fact in client.facts if isinstance(fact, Disconnected)] == []

    client.at(1_001)

    closed = [fact for _, fact in client.facts if isinstance(fact, Disconnected) and fact.why == "idle"]
    assert [fact.broker for fact in closed] == ["b2", "b2"], "the one to a bootstrap server, and that to the broker"
    assert client.asked_for_metadata > asked


def test_n2_metadata_that_is_due_goes_first() -> None:
    client = Client(**S_SET, metadata_max_age_ms=1_000)
    client.send()
    client.answer(offset=0)
    client.holding = (ProduceRequest, MetadataRequest)
    client.at(999)
    client.calls[0].times.append(ms(1_000))
    client.calls[0].total += 1
    client.at(1_000)

    assert [type(request) for _, request in client.pending] == [MetadataRequest, ProduceRequest]


def test_n3_every_answer_is_taken_in_by_itself() -> None:
    """What two answers of one poll do in Java, two answers of one moment do here."""
    client = Client(**S_SET)
    client.play([("send", "sent 0"), ("send p1", "sent 1"), ("answer 0 NONE 0", "acked 0 at 0"), ("answer 1 NONE 0", "acked 1 at 0")])


@pytest.mark.parametrize("attempt", range(4))
def test_pv_031_the_backoff_doubles(attempt: int) -> None:
    """A28. The dice fall in the middle here: exactly 100, 200, 400, 800 ms."""
    client = Client(retry_backoff_ms=100, retry_backoff_max_ms=1_000)
    client.send()
    for _ in range(attempt):
        client.answer(E.NOT_ENOUGH_REPLICAS)
        client.at(client.now / 1000 + 2_000)
    client.answer(E.NOT_ENOUGH_REPLICAS)
    began, sent = client.now / 1000, len(client.sent)

    client.at(began + 100 * 2**attempt - 1)
    assert len(client.sent) == sent
    client.at(began + 100 * 2**attempt)
    assert len(client.sent) == sent + 1


def test_pv_032_another_node_without_a_higher_epoch_does_not_skip_the_backoff() -> None:
    """A30."""
    client = Client(retry_backoff_ms=100, retry_backoff_max_ms=1_000)
    client.play([("send", "sent 0"), ("leader t-0 b2 100", ""), ("at 500", ""), ("answer 0 NOT_LEADER_OR_FOLLOWER", ""), ("at 598", "")])


INEXPRESSIBLE: dict[str, str] = {}
