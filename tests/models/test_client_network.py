"""A client's connections: when they may be used, how they end, and which broker is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.client_network import ClientNetwork, broker_of
from ksim_models.config import ProducerConfig
from ksim_models.facts import Connected, Disconnected
from ksim_models.machine import Close, Effect, Note, Open, Send
from ksim_models.messages import ApiVersionsRequest, MetadataRequest
from ksim_models.profiles import client_profile
from ksim_models.units import NEVER, ms
from scripted import Half, Recording


class Network:
    """A ClientNetwork and what it asked for."""

    def __init__(self, *, kafka: str = "4.3", **config: Any) -> None:
        self.out: list[Effect] = []
        self.network = ClientNetwork("p1", replace(ProducerConfig(), **config), client_profile(kafka), Half())

    def connect(self, name: str = "b1", now: int = 0) -> str:
        assert not self.network.ready(name, now, self.out)
        connection = self.network.nodes[name].connection
        assert connection is not None
        self.network.opened(connection, now, self.out)
        self.network.answered(connection, now)
        self.network.checked(name, self.out)
        return connection

    def send(self, name: str = "b1", now: int = 0) -> MetadataRequest:
        request = MetadataRequest(("t",))
        self.network.send(name, request, (), now, self.out)
        return request


def test_a_connection_is_made_then_checked_and_only_then_used() -> None:
    """N9, S6: TCP, then ApiVersions, then READY."""
    client = Network()
    assert not client.network.ready("b1", 0, client.out)
    assert [type(effect) for effect in client.out] == [Open]

    client.network.opened("p1->b1#1", ms(1), client.out)
    assert isinstance(client.out[-1], Send)
    assert client.out[-1].message == ApiVersionsRequest()
    assert not client.network.ready("b1", 0, client.out)
    client.network.answered("p1->b1#1", ms(1))
    client.network.checked("b1", client.out)
    assert client.out[-1:] == [Note(Connected("p1", "b1", "p1->b1#1"))]

    assert client.network.ready("b1", 0, client.out)


def test_no_more_than_max_in_flight_requests_of_any_kind() -> None:
    """N1."""
    client = Network(max_in_flight_requests_per_connection=2)
    connection = client.connect()
    client.send()
    assert client.network.ready("b1", 0, client.out)
    client.send()
    assert not client.network.ready("b1", 0, client.out)
    client.network.answered(connection, 0)
    assert client.network.ready("b1", 0, client.out)


def test_an_answer_belongs_to_the_oldest_request() -> None:
    """BP-1: responses come in the order of the requests."""
    client = Network()
    connection = client.connect()
    first, second = client.send(), client.send()

    assert client.network.answered(connection, 0)[1].message is first
    assert client.network.answered(connection, 0)[1].message is second


def test_a_request_time_out_ends_the_connection_and_all_its_requests() -> None:
    """N4, N14: strictly later than request.timeout.ms, so 1 ms after it; the younger ones are collateral, oldest first."""
    client = Network(request_timeout_ms=1000)
    client.connect()
    old = client.send(now=0)
    young = client.send(now=ms(900))

    assert client.network.wake_at == ms(1001)
    assert client.network.time_out(ms(1000), client.out) == []
    (lost,) = client.network.time_out(ms(1001), client.out)

    assert ([request.message for request in lost.requests], lost.timed_out) == ([old, young], True)
    assert any(isinstance(effect, Close) for effect in client.out)


def test_the_other_side_may_close_too() -> None:
    """N5: that is no time-out."""
    client = Network()
    connection = client.connect()
    request = client.send()

    lost = client.network.lost(connection, ms(5), "closed by the other side", client.out)

    assert ([given.message for given in lost.requests], lost.timed_out, lost.node) == ([request], False, "b1")
    assert client.out[-1] == Note(Disconnected("p1", "b1", connection, 1, "closed by the other side"))


def test_reconnecting_waits_longer_after_each_failure_until_it_succeeded() -> None:
    """N7."""
    client = Network(reconnect_backoff_ms=50, reconnect_backoff_max_ms=1000)
    waits, now = [], 0
    for _ in range(3):
        client.network.ready("b1", now, client.out)
        connection = client.network.nodes["b1"].connection
        assert connection is not None
        client.network.lost(connection, now, "refused", client.out)
        waits.append(client.network.nodes["b1"].retry_at - now)
        client.network.ready("b1", client.network.nodes["b1"].retry_at - 1, client.out)
        assert client.network.nodes["b1"].connection is None, "not before"
        now = client.network.nodes["b1"].retry_at
    connection = client.connect(now=now)
    client.network.lost(connection, now, "closed", client.out)

    assert waits == [ms(50), ms(100), ms(200)]
    assert client.network.nodes["b1"].retry_at - now == ms(50)


@pytest.mark.parametrize(("kafka", "waits"), [("3.2", [50, 50, 50]), ("3.3", [50, 100, 200])])
def test_a_port_that_answers_ends_the_growth_of_the_reconnect_backoff_before_3_3(kafka: str, waits: list[int]) -> None:
    """N7, KAFKA-13879: the connection is accepted each time, and closed before the broker said anything."""
    client = Network(kafka=kafka, reconnect_backoff_ms=50, reconnect_backoff_max_ms=1_000)
    now, found = 0, []
    for _ in range(3):
        assert not client.network.ready("b1", now, client.out)
        connection = client.network.nodes["b1"].connection
        assert connection is not None
        client.network.opened(connection, now, client.out)
        client.network.lost(connection, now, "closed", client.out)
        found.append((client.network.nodes["b1"].retry_at - now) // 1000)
        now = client.network.nodes["b1"].retry_at

    assert found == waits


def test_connection_set_up_has_a_time_out_of_its_own_that_grows() -> None:
    """N8."""
    client = Network(socket_connection_setup_timeout_ms=100, socket_connection_setup_timeout_max_ms=1000, reconnect_backoff_ms=0, reconnect_backoff_max_ms=0)
    client.network.ready("b1", 0, client.out)
    assert client.network.wake_at == ms(101)
    assert len(client.network.time_out(ms(101), client.out)) == 1

    client.network.ready("b1", ms(101), client.out)
    assert client.network.wake_at == ms(302)
    connection = client.network.nodes["b1"].connection
    assert connection is not None
    client.network.opened(connection, ms(110), client.out)
    client.network.answered(connection, 0)
    client.network.checked("b1", client.out)
    client.network.lost(connection, ms(120), "closed", client.out)
    client.network.ready("b1", ms(120), client.out)

    assert client.network.wake_at == ms(221), "N8: back to the first after an established connection"


@pytest.mark.parametrize(("kafka", "lasts"), [("4.3", [100, 200, 300, 300]), ("3.6", [100, 200, 300, 300])])
def test_each_set_up_that_timed_out_doubles_the_next_one_up_to_the_maximum(kafka: str, lasts: list[int]) -> None:
    """N8."""
    client = Network(
        kafka=kafka, socket_connection_setup_timeout_ms=100, socket_connection_setup_timeout_max_ms=300, reconnect_backoff_ms=0, reconnect_backoff_max_ms=0
    )
    found, now = [], 0
    for _ in lasts:
        client.network.ready("b1", now, client.out)
        found.append((client.network.wake_at - now) // 1_000 - 1)
        now = client.network.wake_at
        client.network.time_out(now, client.out)

    assert found == lasts


def test_a_connection_that_was_accepted_ends_the_growth_of_the_set_up_time_out() -> None:
    """N8, ClusterConnectionStates.disconnected: whatever became of it, its ApiVersions answer included."""
    client = Network(socket_connection_setup_timeout_ms=100, socket_connection_setup_timeout_max_ms=1000, reconnect_backoff_ms=0, reconnect_backoff_max_ms=0)
    client.network.ready("b1", 0, client.out)
    client.network.time_out(ms(101), client.out)
    client.network.ready("b1", ms(101), client.out)
    connection = client.network.nodes["b1"].connection
    assert connection is not None
    client.network.opened(connection, ms(110), client.out)
    client.network.lost(connection, ms(120), "closed before it was checked", client.out)
    client.network.ready("b1", ms(120), client.out)

    assert client.network.wake_at == ms(221)


def test_nothing_to_wait_for_is_no_moment() -> None:
    client = Network(connections_max_idle_ms=-1)
    client.connect()

    assert client.network.wake_at == NEVER


@pytest.mark.parametrize(
    ("states", "chosen"),
    [
        pytest.param({"b1": 1, "b2": 0, "b3": 2}, "b2", id="N12 ready and idle"),
        pytest.param({"b1": 2, "b2": 1, "b3": 2}, "b2", id="N12 else the least busy"),
        pytest.param({"b1": 5, "b2": "connecting", "b3": None}, "b2", id="N12 a full one is none; else one that connects"),
        pytest.param({"b1": "backoff", "b2": "backoff", "b3": None}, "b3", id="N12 else one that may connect"),
        pytest.param({"b1": "backoff", "b2": "backoff", "b3": "backoff"}, None, id="N12 else none"),
    ],
)
def test_which_node_is_the_least_loaded(states: dict[str, Any], chosen: str | None) -> None:
    client = Network()
    for name, state in states.items():
        if isinstance(state, int):
            client.connect(name)
            for _ in range(state):
                client.send(name)
        elif state is not None:
            client.network.ready(name, 0, client.out)
            if state == "backoff":
                connection = client.network.nodes[name].connection
                assert connection is not None
                client.network.lost(connection, 0, "refused", client.out)

    assert client.network.least_loaded(tuple(states), ms(1)) == chosen


@pytest.mark.parametrize("first", [0, 1, 2])
def test_among_those_that_may_connect_the_one_tried_longest_ago_is_chosen(first: int) -> None:
    """N12."""
    client = Network()
    for number, at in ((first, 1), ((first + 1) % 3, 2), ((first + 2) % 3, 3)):
        name = f"b{number}"
        client.network.ready(name, ms(at), client.out)
        connection = client.network.nodes[name].connection
        assert connection is not None
        client.network.lost(connection, ms(at), "refused", client.out)

    assert client.network.least_loaded(("b0", "b1", "b2"), ms(500)) == f"b{first}"


def test_a_look_that_led_to_nothing_leaves_no_trace() -> None:
    class Numbered:
        def at(self, *what: str | int) -> float:
            return int(what[-1]) * 7 % 10 / 10

    network = ClientNetwork("p1", ProducerConfig(), client_profile("4.3"), Numbered())

    assert len({network.least_loaded(("b1", "b2", "b3"), 0) for _ in range(10)}) == 1


def test_bootstrap_servers_are_nodes_of_their_own() -> None:
    assert broker_of("bootstrap/broker-1") == "broker-1"


def closed(client: Network) -> list[tuple[str, str]]:
    """(connection that was closed, why it is gone), where each Close comes right before its fact."""
    found = []
    for close, note in zip(client.out, client.out[1:], strict=False):
        if isinstance(close, Close):
            assert isinstance(note, Note)
            assert isinstance(note.fact, Disconnected)
            assert note.fact.connection == close.connection
            found.append((close.connection, note.fact.why))
    return found


def test_a_connection_that_ends_by_a_time_out_is_closed_and_says_which() -> None:
    """N4, N8, N10."""
    client = Network(request_timeout_ms=1_000, socket_connection_setup_timeout_ms=2_000, connections_max_idle_ms=5_000)
    client.connect("b1")
    client.send("b1")
    client.network.ready("b2", 0, client.out)
    client.network.time_out(ms(1_001), client.out)
    client.network.time_out(ms(2_001), client.out)
    client.connect("b3", ms(2_500))
    client.network.time_out(ms(7_501), client.out)

    assert closed(client) == [("p1->b1#1", "request timed out"), ("p1->b2#2", "connection set-up timed out"), ("p1->b3#3", "idle")]


def test_requests_are_timed_out_only_when_a_poll_ended_and_set_ups_at_once() -> None:
    """N14, N8."""
    client = Network(request_timeout_ms=1_000, socket_connection_setup_timeout_ms=1_000)
    client.connect("b1")
    client.send("b1")
    client.network.ready("b2", 0, client.out)

    assert [(lost.node, lost.timed_out) for lost in client.network.time_out(ms(1_001), client.out, poll_ended=False)] == [("b2", False)]
    assert [(lost.node, lost.timed_out) for lost in client.network.time_out(ms(1_001), client.out)] == [("b1", True)]


def test_the_connection_that_was_idle_longest_goes_first_and_only_after_more_than_its_time() -> None:
    """N10: connections.max.idle.ms after its last use, one that is still being checked included; answers are uses."""
    client = Network(connections_max_idle_ms=1_000)
    first, second = client.connect("b1"), client.connect("b2", ms(100))
    client.send("b1", ms(150))
    client.network.answered(first, ms(200))
    assert client.network.wake_at == ms(1_001)
    assert client.network.time_out(ms(1_100), client.out) == []
    assert client.network.wake_at == ms(1_101)
    assert [lost.node for lost in client.network.time_out(ms(1_101), client.out)] == ["b2"]
    assert client.network.wake_at == ms(1_201)
    assert client.network.time_out(ms(1_200), client.out) == []
    assert [lost.node for lost in client.network.time_out(ms(1_201), client.out)] == ["b1"]

    assert (client.network.wake_at, [connection for connection, _ in closed(client)]) == (NEVER, [second, first])


def test_several_connections_that_have_been_idle_for_too_long_go_together() -> None:
    """N10."""
    client = Network(connections_max_idle_ms=1_000)
    for name in ("b1", "b2"):
        client.connect(name)
    client.connect("b3", ms(900))

    assert [lost.node for lost in client.network.time_out(ms(1_500), client.out)] == ["b1", "b2"]


def test_where_nothing_may_be_idle_too_long_nothing_is_closed() -> None:
    """N10: connections.max.idle.ms = -1; and 0 closes what is not in use."""
    for idle, gone in ((-1, 0), (0, 1)):
        client = Network(connections_max_idle_ms=idle)
        client.connect()

        assert len(client.network.time_out(ms(10**9), client.out)) == gone


def test_a_throttled_connection_is_not_used_and_its_requests_have_as_much_more_time() -> None:
    """N11, KAFKA-16083; a shorter throttle later ends no longer one."""
    client = Network(request_timeout_ms=1_000, max_in_flight_requests_per_connection=5)
    connection = client.connect()
    client.send(now=ms(100))
    client.send(now=ms(200))
    client.send(now=ms(250))
    client.network.answered(connection, ms(300), 400)
    assert client.network.wake_at == ms(200 + 400 + 1_001)
    client.network.answered(connection, ms(310), 50)
    assert client.network.wake_at == ms(250 + 450 + 1_001)

    assert not client.network.ready("b1", ms(700) - 1, client.out)
    assert not client.network.any_ready(["b1"], ms(700) - 1)
    assert client.network.nodes["b1"].not_before() == ms(700)
    assert client.network.ready("b1", ms(700), client.out)
    assert client.network.any_ready(["b2", "b1"], ms(700))


def test_before_3_8_a_throttled_request_times_out_as_if_nobody_had_made_it_wait() -> None:
    """N11, H-037 (KAFKA-16083)."""
    client = Network(kafka="3.7", request_timeout_ms=1_000)
    connection = client.connect()
    client.send(now=ms(100))
    client.send(now=ms(200))
    client.network.answered(connection, ms(300), 400)

    assert client.network.wake_at == ms(1_201)


def test_each_request_makes_the_next_search_a_draw_of_its_own() -> None:
    """N12: what was sent counts, ApiVersions included."""
    dice = Recording()
    network = ClientNetwork("p1", ProducerConfig(), client_profile("4.3"), dice)
    network.ready("b1", 0, [])
    network.opened("p1->b1#1", 0, [])
    network.send("b1", MetadataRequest(("t",)), (), 0, [])
    network.least_loaded(("b1",), 0)
    network.send("b1", MetadataRequest(("t",)), (), 0, [], answered=False)
    network.least_loaded(("b1",), 0)

    assert dice.drawn[1:] == [("least-loaded", "p1", 1, 2), ("least-loaded", "p1", 1, 3)]


def test_a_node_that_is_throttled_is_not_asked() -> None:
    """N12: canSendRequest; from the moment at which the throttle ends it is."""
    client = Network()
    connection = client.connect()
    client.send()
    client.network.answered(connection, 0, 100)

    assert client.network.least_loaded(("b1",), ms(100) - 1) is None
    assert client.network.least_loaded(("b1",), ms(100)) == "b1"
    assert client.network.least_loaded((), 0) is None


def test_when_time_alone_makes_a_node_worth_another_look() -> None:
    """N7, N11: the end of its backoff or of its throttle; while it connects, only an answer helps."""
    client = Network(reconnect_backoff_ms=50, reconnect_backoff_max_ms=50)
    client.network.ready("b1", 0, client.out)
    assert client.network.nodes["b1"].not_before() == NEVER
    connection = client.network.nodes["b1"].connection
    assert connection is not None
    client.network.lost(connection, ms(7), "refused", client.out)

    assert client.network.nodes["b1"].not_before() == ms(57)


def test_beginning_again_closes_every_connection_there_is_and_cancels_what_was_asked() -> None:
    """M6 (ii), N5."""
    client = Network()
    client.connect("b1")
    request = client.send("b1")
    client.network.ready("b2", 0, client.out)
    gone = client.network.close_all(("b1", "b2", "b3"), ms(5), client.out)

    assert [(lost.node, [asked.message for asked in lost.requests], lost.timed_out) for lost in gone] == [("b1", [request], False), ("b2", [], False)]
    assert closed(client) == [("p1->b1#1", "rebootstrap"), ("p1->b2#2", "rebootstrap")]
    assert client.network.by_connection == {}


def test_every_chance_of_a_connection_has_a_draw_of_its_own() -> None:
    dice = Recording()
    out: list[Effect] = []
    network = ClientNetwork("p1", ProducerConfig(), client_profile("4.3"), dice)
    network.ready("bootstrap/b1", 0, out)
    network.lost("p1->b1#1", ms(10), "refused", out)
    network.ready("b2", ms(10), out)
    network.least_loaded(("b1", "b2"), 0)

    assert dice.drawn == [("setup", "p1", "bootstrap/b1", 1), ("reconnect", "p1", "bootstrap/b1", 1), ("setup", "p1", "b2", 2), ("least-loaded", "p1", 2, 0)]
    assert network.nodes["bootstrap/b1"].retry_at == ms(10 + 40), "the draw is the lowest: 0.8 of 50 ms"
    assert network.wake_at == ms(10 + 8_000 + 1), "and of 10 s"


@pytest.mark.parametrize(("draw", "chosen"), [(0.0, "b1"), (0.34, "b2"), (0.67, "b3"), (0.999, "b3")])
def test_the_search_for_the_least_loaded_begins_anywhere_and_goes_round(draw: float, chosen: str) -> None:
    """N12."""

    class Fixed:
        def at(self, *what: str | int) -> float:
            return draw

    network = ClientNetwork("p1", ProducerConfig(), client_profile("4.3"), Fixed())
    assert network.least_loaded(("b1", "b2", "b3"), 0) == chosen
    network.ready("b1", 0, [])

    assert network.least_loaded(("b1", "b2", "b3"), 0) == "b1", "one that connects is better than one that may"


@pytest.mark.parametrize(("kafka", "longest"), [("3.6", ms(59)), ("4.3", ms(50))])
def test_before_3_7_a_reconnect_may_wait_longer_than_its_maximum(kafka: str, longest: int) -> None:
    """N7."""

    class Highest:
        def at(self, *what: str | int) -> float:
            return 0.999_999

    settings = replace(ProducerConfig(), reconnect_backoff_ms=25, reconnect_backoff_max_ms=50)
    network = ClientNetwork("p1", settings, client_profile(kafka), Highest())
    waits = []
    for number in range(1, 4):
        network.ready("b1", ms(1_000 * number), [])
        network.lost(f"p1->b1#{number}", ms(1_000 * number), "refused", [])
        waits.append(network.nodes["b1"].retry_at - ms(1_000 * number))

    assert waits[2] == longest
