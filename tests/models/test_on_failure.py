"""What the application does about a failed send: report, send again, stop, or a circuit breaker; with both clients, with and without waiting."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.arrivals import Arrivals
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Acked, BreakerChanged, Failed, Offered, Refused
from ksim_models.held_up import HeldUp
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.machine import Crashed
from ksim_models.on_failure import REPORT, Breaker, OnFailure, Reaction
from ksim_models.profiles import client_profile
from ksim_models.units import s
from scripted import Calls, Client, Half, Librdkafka, Script

RESEND, STOP = OnFailure(Reaction.RESEND), OnFailure(Reaction.STOP)


def breaker(open_after: int = 2, half_open_s: int = 10) -> OnFailure:
    return OnFailure(Reaction.BREAK, open_after, s(half_open_s))


def java(on_failure: OnFailure, *, window: int | None = None, other: OnFailure | None = None, **config: Any) -> Client:
    """As `Client`, with an application that reacts; the second workload as `other` says, if it does."""
    client = Client(**{"retries": 0} | config)
    calls = _calls(on_failure, window)
    calls[1].on_failure = other or on_failure
    machine = HeldUp("p1", client.producer.profile, client.config, ["b1", "b2"], list[Arrivals](calls), Half())
    Script.__init__(client, calls, machine)
    client.producer = machine
    return client


def librdkafka(on_failure: OnFailure, *, window: int | None = None, **config: Any) -> Librdkafka:
    client = Librdkafka()
    calls = _calls(on_failure, window)
    machine = LibrdkafkaProducer("p1", LibrdkafkaConfig(**({"linger_ms": 0, "retries": 0} | config)), ["b1", "b2"], list[Arrivals](calls), Half())
    Script.__init__(client, calls, machine)
    client.producer = machine
    machine.sending.topic_of("t", 0)
    client.at(0)
    return client


def _calls(on_failure: OnFailure, window: int | None) -> tuple[Calls, Calls]:
    calls = Calls(0), Calls(1)
    for call in calls:
        call.on_failure, call.window = on_failure, window
    return calls


BOTH = pytest.mark.parametrize("make", [java, librdkafka])


def told(client: Script, *kinds: type) -> list[Any]:
    return [fact for _, fact in client.facts if isinstance(fact, kinds)]


def refused(client: Script) -> list[tuple[int, str]]:
    return [(at // 1000, fact.error) for at, fact in client.facts if isinstance(fact, Refused)]


def states(client: Script) -> list[tuple[int, str, int]]:
    return [(at // 1000, fact.state, fact.failures) for at, fact in client.facts if isinstance(fact, BreakerChanged)]


# Resend.


@BOTH
def test_a_failed_record_is_sent_again_by_its_callback_and_stays_one_record(make: Any) -> None:
    client = make(RESEND)
    client.send()
    client.answer(E.INVALID_RECORD)
    client.at(500)
    client.answer(offset=7)

    assert client.records() == [[0], [0]]
    assert [type(fact) for fact in told(client, Offered, Failed, Acked)] == [Offered, Failed, Offered, Acked], "its last outcome is the last word"
    assert client.producer.sending.offered == 1


@BOTH
def test_a_record_sent_again_stands_behind_those_that_were_sent_meanwhile(make: Any) -> None:
    client = make(RESEND)
    client.send()
    client.send()
    client.answer(E.INVALID_RECORD)
    client.at(500)
    while client.requests:
        client.answer(offset=0)

    assert client.records() == [[0], [1], [0]]


def test_a_record_sent_again_stands_behind_those_of_another_workload_that_nobody_woke_for() -> None:
    """S18: its callback comes with the answer; what was handed over before that is in the batch already."""
    client = java(RESEND, other=REPORT, linger_ms=20, delivery_timeout_ms=60_000)
    client.calls[1].partition = 0
    client.send(0)
    client.calls[1].times, client.calls[1].total = [25_000, 30_000], 2
    client.at(31)
    client.answer(E.INVALID_RECORD)
    client.at(60)

    assert client.records() == [[0], [1, 2, 0]]


@BOTH
def test_who_waits_for_each_sends_a_failed_one_again_before_its_next_one(make: Any) -> None:
    client = make(RESEND, window=1)
    client.send(count=2)
    client.answer(E.INVALID_RECORD)
    client.at(500)
    client.answer(offset=0)
    client.at(1000)

    assert client.records() == [[0], [0], [1]]


@BOTH
def test_a_window_counts_a_record_that_is_sent_again_once(make: Any) -> None:
    client = make(RESEND, window=2)
    client.send(count=3)
    for _ in range(3):
        client.answer(E.INVALID_RECORD)
        client.at(client.now / 1000 + 200)
    while client.requests:
        client.answer(offset=0)
        client.at(client.now / 1000 + 200)

    assert sorted({record for fact in told(client, Acked) for record in fact.records}) == [0, 1, 2]
    assert client.producer.sending.threads[0].outstanding == 0


def test_a_refused_record_is_not_sent_again() -> None:
    client = java(RESEND, max_request_size=150)
    client.send()
    client.at(10)

    assert refused(client) == [(0, "RecordTooLargeException")]
    assert client.records() == []


def test_a_callback_that_waits_for_memory_holds_the_io_thread_up_until_max_block_ms() -> None:
    """S13: the failed batch gives its memory back only behind its callbacks, so nobody can help the callback; A22."""
    client = java(RESEND, max_block_ms=300, buffer_memory=300, batch_size=300, delivery_timeout_ms=60_000)
    client.send()
    client.answer(E.INVALID_RECORD)
    client.at(10)
    client.send(1)
    client.at(299)
    assert (refused(client), client.records()) == ([], [[0]]), "meanwhile the application's own threads wait for memory too"
    client.at(320)

    assert refused(client) == [(300, "BufferExhaustedException")]
    assert client.records() == [[0], [1]], "behind the callback the memory is free"


def test_what_comes_while_a_callback_waits_is_read_behind_it() -> None:
    client = java(RESEND, max_block_ms=300, buffer_memory=600, batch_size=300, delivery_timeout_ms=60_000)
    client.send()
    client.send(1)
    client.calls[0].size = 400
    client.answer(E.INVALID_RECORD)
    client.at(10)
    client.answer(offset=5)
    assert client.outcomes() == [([0], "InvalidRecordException")]
    client.at(320)

    assert client.outcomes()[1:] == [([1], "acked")]


def test_a_crash_while_a_callback_waits_leaves_its_record_without_an_outcome() -> None:
    client = java(RESEND, max_block_ms=300, buffer_memory=300, batch_size=300, delivery_timeout_ms=60_000)
    client.send()
    client.answer(E.INVALID_RECORD)
    client._handle(Crashed())

    assert [type(fact) for fact in told(client, Offered, Failed, Refused)] == [Offered, Failed, Offered]


def test_callbacks_that_wait_for_memory_wait_one_after_another_each_for_max_block_ms() -> None:
    """S18, A22: they run on one thread, and the memory of their batch is behind them."""
    client = java(RESEND, max_block_ms=300, buffer_memory=300, batch_size=300, delivery_timeout_ms=60_000, linger_ms=5)
    client.send(count=3)
    client.at(5)
    client.answer(E.INVALID_RECORD)
    client.at(2_000)

    assert client.records() == [[0, 1]], "the third record found no room; its own send() gave up before the callbacks did"
    assert refused(client) == [(300, "BufferExhaustedException"), (305, "BufferExhaustedException"), (605, "BufferExhaustedException")]
    assert client.producer.accumulator.free_memory == 300


def test_a_crash_finds_a_callback_that_waits_and_those_behind_it_not_called_yet() -> None:
    """S18."""
    client = java(RESEND, max_block_ms=300, buffer_memory=300, batch_size=300, delivery_timeout_ms=60_000, linger_ms=5)
    client.send(count=2)
    client.at(5)
    client.answer(E.INVALID_RECORD)
    client._handle(Crashed())

    assert [list(fact.records) for fact in told(client, Offered)] == [[0, 1], [0]]


def test_librdkafkas_report_meets_a_full_queue_while_its_own_message_still_counts() -> None:
    """S18: one report after another. rd_kafka_msg_destroy comes behind the callback:
    of a full queue's messages the first is refused, the others find the place of the one before.
    """
    client = librdkafka(RESEND, queue_buffering_max_messages=3)
    client.send(count=3)
    client.at(500)
    while client.requests:
        client.answer(E.INVALID_RECORD)
        if told(client, Refused):
            break

    assert refused(client)[0][1] == "_QUEUE_FULL"
    assert len(refused(client)) == 1


# Stop.


@BOTH
def test_who_stops_offers_nothing_more_after_the_first_failure(make: Any) -> None:
    client = make(STOP)
    client.send()
    client.send()
    client.answer(E.INVALID_RECORD)
    client.send(count=5)
    client.at(500)
    client.answer(offset=0)

    assert [list(fact.records) for fact in told(client, Offered)] == [[0], [1]], "what was under way has its outcome, the rest is never offered"
    assert client.producer.sending.all_offered
    assert client.outcomes() == [([0], client.outcomes()[0][1]), ([1], "acked")]


def test_a_refusal_is_a_failure_too_for_who_stops() -> None:
    client = java(STOP, max_request_size=150)
    client.send(count=3)
    client.at(10)

    assert [error for _, error in refused(client)] == ["RecordTooLargeException"]
    assert client.producer.is_done


# The circuit breaker.


@BOTH
def test_a_breaker_opens_after_failures_in_a_row_and_tries_one_record_when_it_is_half_open(make: Any) -> None:
    client = make(breaker(open_after=2, half_open_s=10))
    for _ in range(2):
        client.send()
        client.answer(E.INVALID_RECORD)
    client.at(9_000)
    client.send()
    client.at(10_500)
    client.send(count=3)
    client.at(10_600)
    assert client.records()[2:] == [[3]], "one trial; what comes beside it is refused"
    client.answer(offset=0)
    client.send()
    client.at(10_700)

    assert [error for _, error in refused(client)] == ["CircuitBreakerOpenException"] * 3
    assert [(state, failures) for _, state, failures in states(client)] == [("open", 2), ("half-open", 2), ("closed", 0)]
    assert client.records()[3:] == [[6]]


@BOTH
def test_a_trial_that_fails_opens_the_breaker_again_for_as_long(make: Any) -> None:
    client = make(breaker(open_after=1, half_open_s=1))
    client.send()
    client.answer(E.INVALID_RECORD)
    client.at(1_200)
    client.send()
    client.answer(E.INVALID_RECORD)
    client.at(2_000)
    client.send()
    client.at(2_500)
    client.send()

    assert [(state, failures) for _, state, failures in states(client)] == [("open", 1), ("half-open", 1), ("open", 2), ("half-open", 2)]
    assert [error for _, error in refused(client)] == ["CircuitBreakerOpenException"]


@BOTH
def test_a_success_in_between_makes_the_breaker_count_from_nothing(make: Any) -> None:
    client = make(breaker(open_after=2))
    for error in (E.INVALID_RECORD, E.NONE, E.INVALID_RECORD):
        client.send()
        client.answer(error, offset=0)

    assert states(client) == []


@BOTH
def test_what_was_sent_before_the_breaker_opened_does_not_decide_a_trial(make: Any) -> None:
    client = make(breaker(open_after=1, half_open_s=1))
    client.send()
    client.send(1)
    client.answer(E.INVALID_RECORD)
    client.answer(offset=0)

    assert [state for _, state, _ in states(client)] == ["open"]


def test_refusals_of_the_client_count_for_the_breaker_and_its_own_do_not() -> None:
    client = java(breaker(open_after=2, half_open_s=1), max_request_size=150)
    client.send(count=5)
    client.at(10)

    assert [error for _, error in refused(client)] == ["RecordTooLargeException"] * 2 + ["CircuitBreakerOpenException"] * 3
    assert [failures for _, _, failures in states(client)] == [2]


def test_without_a_reaction_nothing_is_kept() -> None:
    client = java(REPORT)
    client.send()

    assert client.producer.sending.reactions.kept == {}
    assert not client.producer.sending.reactions.wanted
    assert client_profile("4.3").version == "4.3"


def test_a_breaker_tells_whose_it_is_and_tries_one_record_from_the_end_of_its_time_on() -> None:
    out: list[Any] = []
    circuit = Breaker("p1", 3, OnFailure(Reaction.BREAK, 1, 1_000))
    circuit.failed(5, 100, out)
    passed = [circuit.lets_through(number, at, out) for number, at in ((6, 1_099), (7, 1_100), (8, 1_101))]
    circuit.succeeded(5, out)  # Sent before it opened: it decides nothing any more.
    circuit.failed(6, 1_102, out)
    assert len(out) == 2
    circuit.succeeded(7, out)

    assert passed == [False, True, False]
    assert [effect.fact for effect in out] == [BreakerChanged("p1", 3, state, failures) for state, failures in (("open", 1), ("half-open", 1), ("closed", 0))]
    assert circuit.lets_through(9, 1_103, out)
