"""What the history is told of librdkafka's messages: when they were offered, which sending it is, what they wait for, what became of them."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Acked, Failed, Offered, Retried, Sent
from ksim_models.units import ms
from scripted import Librdkafka


def told(client: Librdkafka, *kinds: type) -> list[Any]:
    return [fact for _, fact in client.facts if isinstance(fact, kinds)]


@pytest.mark.parametrize(
    ("moments", "offered"),
    [
        pytest.param([2], Offered("p1", range(1), ms(2), 0), id="one"),
        pytest.param([2, 2, 2], Offered("p1", range(3), ms(2), 0), id="at the same moment"),
        pytest.param([2, 3, 4], Offered("p1", range(3), ms(2), ms(1)), id="equally far apart"),
        pytest.param([2, 3, 5], Offered("p1", range(3), ms(2), 0, (ms(2), ms(3), ms(5))), id="otherwise: each by itself"),
    ],
)
def test_records_are_offered_when_they_leave_the_queue_and_once_only(moments: list[int], offered: Offered) -> None:
    client = Librdkafka(linger_ms=20)
    for moment in moments:
        client.at(moment)
        client.send()
    assert told(client, Offered) == []
    client.at(22)
    assert told(client, Offered) == [offered]
    client.answer(E.NOT_ENOUGH_REPLICAS)
    client.at(500)

    assert len(client.sent) == 2
    assert told(client, Offered) == [offered]


def test_every_sending_has_its_number_and_every_wait_its_length_and_its_reason() -> None:
    client = Librdkafka()
    client.send(count=2)
    connection, _ = client.requests[0]
    for _ in range(2):
        client.answer(E.NOT_ENOUGH_REPLICAS)
        client.at(client.now / 1_000 + 300)
    client.answer(offset=7)

    assert told(client, Sent) == [Sent("p1", "t-0", range(2), "b1", connection, number) for number in (1, 2, 3)]
    assert told(client, Retried) == [Retried("p1", "t-0", range(2), "NOT_ENOUGH_REPLICAS", number, wait) for number, wait in ((1, ms(100)), (2, ms(200)))]
    assert told(client, Acked, Failed) == [Acked("p1", "t-0", range(2), 7)]


def test_a_failure_says_what_librdkafka_calls_it_and_gives_the_room_back() -> None:
    client = Librdkafka()
    client.send(count=2)
    assert (client.producer.sending.messages_held, client.producer.sending.bytes_held, client.producer.reports.failures) == (2, 200, 0)
    client.answer(E.MESSAGE_TOO_LARGE)

    assert told(client, Acked, Failed) == [Failed("p1", "t-0", range(2), "MSG_SIZE_TOO_LARGE", "Broker: Message size too large")]
    assert (client.producer.sending.messages_held, client.producer.sending.bytes_held, client.producer.reports.failures) == (0, 0, 2)
