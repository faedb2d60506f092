"""close(), flush() and what comes behind them, moment by moment, for both clients (A18, A50 to A54, I2, T10)."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableLibrdkafka, ClosableProducer
from ksim_models.config import LibrdkafkaConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Acked, Blocked, Offered, Refused
from ksim_models.machine import Crashed, Exit, Restarted, Terminated, Wake
from ksim_models.units import Micros
from scripted import Calls, Client, Half, Librdkafka, Script
from scripted_transactions import Transactional


class Closable(Client):
    kind = ClosableProducer

    @property
    def machine_(self) -> ClosableProducer:
        assert isinstance(self.producer, ClosableProducer)
        return self.producer


def close(client: Script, within_ms: int | None = None) -> None:
    client._handle(Terminated(None if within_ms is None else within_ms * 1_000))


def come(client: Script, *times: Micros) -> None:
    """Records of the first workload, at these moments."""
    client.calls[0].times.extend(times)
    client.calls[0].total += len(times)


LINGERING: dict[str, Any] = {"linger_ms": 10_000, "delivery_timeout_ms": 60_000}


def test_every_flush_hurries_until_it_is_over_and_so_does_close() -> None:
    """A27, A50."""
    client = Closable(**LINGERING)
    client.leaders["t-1"] = ("b2", 100)
    client.send()
    flushes = [client.machine_.flush()]
    client.send(1)
    flushes.append(client.machine_.flush())
    assert client.producer.accumulator.hurried == 2
    close(client)
    assert (client.producer.accumulator.hurried, client.records()) == (3, [[0], [1]])
    client.answer(offset=0)
    assert ([flush.is_over for flush in flushes], client.producer.accumulator.hurried) == ([True, False], 2)
    client.answer(offset=0)

    assert ([flush.is_over for flush in flushes], client.producer.accumulator.hurried) == ([True, True], 1)


def test_a_flush_with_nothing_to_wait_for_is_over_at_once_and_hurries_nobody() -> None:
    """A50."""
    client = Closable(**LINGERING)
    client.at(0)

    assert (client.machine_.flush().is_over, client.producer.accumulator.hurried) == (True, 0)


def test_who_waits_for_itself_in_a_callback_goes_on_handing_over_and_nothing_else() -> None:
    """H-016: up to 4.0 the I/O thread is lost; the application's threads find out when the memory is gone."""
    client = Closable(kafka="4.0", buffer_memory=300, batch_size=300, max_block_ms=100, delivery_timeout_ms=60_000)
    client.send()
    client.machine_.flush(in_callback=True)
    come(client, 5_000)
    client.answer(offset=0)
    assert client.producer.wake_at == 5_000
    client.at(5)
    assert [fact for _, fact in client.facts if isinstance(fact, Blocked)][1:] == [Blocked("p1", 1, "memory", 105_000)]
    client.at(104.999)
    assert client.outcomes() == []
    client.at(105)
    assert [(at, fact.error) for at, fact in client.facts if isinstance(fact, Refused)] == [(105_000, "BufferExhaustedException")]
    assert client.outcomes() == []
    client._handle(Crashed())

    assert not client.producer.alive


def test_from_4_1_on_a_flush_in_a_callback_throws_and_nobody_waits() -> None:
    """A50 (KAFKA-10790): the I/O thread goes on, as if flush() had not been called."""
    client = Closable(kafka="4.1", **LINGERING)
    client.at(0)
    client.calls[0].times, client.calls[0].total = [0], 1
    client._handle(Wake())
    flush = client.machine_.flush(in_callback=True)

    assert flush.error == "KafkaProducer.flush() invocation inside a callback is not permitted because it may lead to deadlock."
    assert (flush.is_over, client.machine_.waits_for_itself, client.producer.accumulator.hurried) == (True, False, 0)


def test_what_the_application_sends_in_the_moment_of_close_still_counts() -> None:
    """Within one instant it comes first, with all that is told of it."""
    client = Closable(max_request_size=200, delivery_timeout_ms=60_000)
    client.send()
    client.at(5)
    client.calls[0].size = 500
    come(client, 5_000)
    client.calls[1].times, client.calls[1].total = [5_000], 1
    close(client)

    assert [fact.error for _, fact in client.facts if isinstance(fact, Refused)] == ["RecordTooLargeException"]
    assert client.records() == [[0], [2]]


def test_close_is_called_once_and_the_dead_hear_nothing() -> None:
    client = Closable(delivery_timeout_ms=60_000)
    client.send()
    client.at(100)
    close(client, 1_000)
    client.at(200)
    close(client, 60_000)
    client.at(1_100)
    assert client.outcomes() == [([0], "KafkaException")], "the first one's time holds"

    come(client, 1_200_000)
    effects = [client.producer.handle(event, 2_000_000) for event in (Wake(), Terminated(None), Crashed())]

    assert (effects, client.producer.alive) == ([[], [], []], False)


def test_close_with_a_time_wakes_for_its_end_and_for_whatever_comes_before() -> None:
    """A52."""
    client = Closable(delivery_timeout_ms=1_000, request_timeout_ms=500, retries=0)
    client.send()
    close(client, 300)
    assert client.producer.wake_at == 300_000
    client = Closable(delivery_timeout_ms=1_000, request_timeout_ms=200, retries=0)
    client.send()
    close(client, 300)
    client.at(250)

    assert client.outcomes() == [([0], "TimeoutException")]
    assert not client.producer.alive


def test_a_process_ends_with_its_exit_and_its_books_closed() -> None:
    client = Closable(max_block_ms=60_000, retry_backoff_ms=100, retry_backoff_max_ms=100)
    client.topic_error = E.UNKNOWN_TOPIC_OR_PARTITION
    client.send()
    effects = client.producer.handle(Terminated(0), client.now)

    assert isinstance(effects[-1], Exit)
    assert client.producer.wake_at is None
    assert (client.producer.alive, client.producer.is_done) == (False, True)


AUTHORIZATION = "TransactionalIdAuthorizationException"
FIRST = [("send p0", "AddPartitions t-0"), ("reply AddPartitions", "sent 0 e1s0")]
REFUSED = "reply AddPartitions TRANSACTIONAL_ID_AUTHORIZATION_FAILED", f"failed 0 {AUTHORIZATION}; exits; [FATAL_ERROR: {AUTHORIZATION}]"
ABORTED = "EndTxn abort; [ABORTING_TRANSACTION]"
CLOSED: list[Any] = [
    pytest.param(
        [FIRST[0], ("close", ""), FIRST[1], ("answer 0 NONE 0", f"acked 0; {ABORTED}")],
        [("reply EndTxn", "exits; [READY]")],
        id="T10 what waits is sent, and what is under way answered, before the abort",
    ),
    pytest.param(
        [*FIRST, ("answer 0 NONE 0", "acked 0"), ("close", ABORTED)],
        [("reply EndTxn", "exits; [READY]")],
        id="T10 an open transaction is aborted at once",
    ),
    pytest.param(
        [
            FIRST[0],
            ("close", ""),
            ("reply AddPartitions TRANSACTIONAL_ID_AUTHORIZATION_FAILED", f"failed 0 {AUTHORIZATION}; exits; [FATAL_ERROR: {AUTHORIZATION}]"),
        ],
        [],
        id="A51 behind a fatal error nobody waits",
    ),
    pytest.param(
        [*FIRST, ("answer 0 NONE 0", "acked 0"), ("abort", ABORTED), ("close", "")],
        [("reply EndTxn", "exits; abort returns; [READY]")],
        id="A51 an abort that is under way is waited for",
    ),
    pytest.param(
        [*FIRST, ("answer 0 NONE 0", "acked 0"), ("close", ABORTED)],
        [
            ("pass 1000", ""),
            ("pass 100", "FindCoordinator transaction"),
            ("reply FindCoordinator b2", ""),
            ("pass 100", "EndTxn abort"),
            ("reply EndTxn", "exits; [READY]"),
        ],
        id="A51 the abort is asked for again when its answer stays out",
    ),
    pytest.param(
        [("send-offsets t-0=5", "AddOffsets g"), ("reply AddOffsets COORDINATOR_LOAD_IN_PROGRESS", ""), ("close", "")],
        [
            ("pass 100", "AddOffsets g"),
            ("reply AddOffsets", "FindCoordinator group"),
            ("reply FindCoordinator b2", ""),
            ("pass 100", "TxnOffsetCommit t-0=5"),
            ("reply TxnOffsetCommit", "EndTxn abort; send-offsets returns; [ABORTING_TRANSACTION]"),
            ("reply EndTxn", "exits; [READY]"),
        ],
        id="A51 offsets whose turn has not come are sent before the abort",
    ),
]


@pytest.mark.parametrize(("script", "end"), CLOSED)
def test_close_brings_a_transaction_to_its_end(script: list[tuple[str, str]], end: list[tuple[str, str]]) -> None:
    client = Transactional()
    client.play([("start", ""), *script])
    assert client.producer.alive is bool(end)
    if end:
        assert client.manager.is_closed
        assert client.producer.wake_at is not None
        client.play([("begin", "begin throws IllegalStateException"), *end])

    assert not client.producer.alive


def test_a_forced_close_says_so_to_whoever_waits_for_the_transaction() -> None:
    """PV-199: TransactionManager.close has a text of its own."""
    client = Transactional()
    client.play([("start", ""), ("send p0", "AddPartitions t-0"), ("commit", "[COMMITTING_TRANSACTION]")])
    (call,) = client.calls_made
    client._do("close 0")
    call.look(client.now, [])

    assert call.failure is not None
    assert (call.failure.exception, call.failure.text) == ("KafkaException", "The producer closed forcefully")


def test_a_client_that_comes_back_begins_like_a_new_one_at_that_moment() -> None:
    """I2: what fell due meanwhile is handed over now; the numbers of records, connections, batches and calls go on, so that a history can tell them apart."""
    client = Closable(enable_idempotence=True, delivery_timeout_ms=60_000)
    client.send()
    before = client.producer.network.connections_made, client.producer.accumulator.batches_made
    assert min(before) > 0
    client._handle(Crashed())
    client.pending.clear()
    come(client, 2_000, 9_000)
    client.at(5)
    effects = client.producer.handle(Restarted(), 5_000)

    assert effects, "it connects at once"
    assert client.producer.sending.begun
    assert (client.producer.sending.offered, client.producer.sending.threads[0].free_at) == (2, 5_000)
    assert client.producer.sending.threads[0].sent_at == 5_000
    assert client.producer.network.connections_made > before[0]
    assert client.producer.accumulator.batches_made == before[1]


def test_the_calls_of_a_transactional_client_go_on_counting_in_another_process() -> None:
    client = Transactional()
    client.play([("start", "")])
    client.manager.number = 7
    client.producer.handle(Crashed(), client.now)
    client.producer.handle(Restarted(), client.now)

    assert client.producer.transactions is not None
    assert (client.producer.transactions is client.manager, client.producer.transactions.number) == (False, 7)


class ClosableC(Librdkafka):
    """librdkafka, as `Librdkafka`, and it can be closed."""

    def __init__(self, **config: Any) -> None:
        calls = Calls(0), Calls(1)
        self.producer = ClosableLibrdkafka("p1", LibrdkafkaConfig(**({"linger_ms": 0} | config)), ["b1", "b2"], list[Arrivals](calls), Half())
        Script.__init__(self, calls, self.producer)
        self.producer.sending.topic_of("t", 0)
        self._handle(Wake())


def test_librdkafka_flushes_without_linger_what_was_there_and_what_has_no_partition_yet() -> None:
    """rd_kafka_flush: from its call on queues do not linger; partitions that a topic gets meanwhile do not either."""
    client = ClosableC(linger_ms=10_000)
    client.send()
    client.at(1)
    assert client.records() == []
    close(client)
    assert client.records() == [[0]]
    assert [queue.linger for queue in client.producer.queues.values()] == [0] * len(client.producer.queues)
    client.producer._delegate("t-0", client.now, [])
    assert client.producer.queues["t-0"].linger == 0
    client.answer(offset=0)

    assert [(list(fact.records), fact.offset) for _, fact in client.facts if isinstance(fact, Acked)] == [([0], 0)]
    assert (client.producer.alive, client.producer.wake_at) == (False, None)


def test_librdkafka_gives_up_when_the_time_of_its_flush_is_over_and_not_before() -> None:
    """What has no report by then is offered and has no outcome; what the application handed over in that moment, and never left the queue, is among it."""
    client = ClosableC(linger_ms=0, max_in_flight_requests_per_connection=1)
    client.send()
    client.at(100)
    come(client, 100_000)
    close(client, 50)
    assert client.producer.sending.offered == 2
    client.at(149)
    assert client.producer.alive
    client.at(150)

    assert (client.producer.alive, client.producer.wake_at, client.outcomes()) == (False, None, [])
    assert [list(fact.records) for _, fact in client.facts if isinstance(fact, Offered)] == [[0], [1]]


def test_librdkafka_reports_while_it_flushes_and_ends_with_the_last_report() -> None:
    """rd_kafka_flush: long before its time is over, where message.timeout.ms is shorter."""
    client = ClosableC(linger_ms=0, delivery_timeout_ms=1_000)
    client.silent.extend(["b1", "b2"])
    client.disconnect()
    client.send()
    client.at(100)
    close(client, 60_000)
    client.at(3_000)

    assert [error for _, error in client.outcomes()] == ["_MSG_TIMED_OUT"]
    assert not client.producer.alive


def test_librdkafka_refuses_in_the_moment_of_close_what_it_refuses_at_any_other() -> None:
    """Within one instant the application sends first, with all that is told of it."""
    client = ClosableC(linger_ms=0, message_max_bytes=1_000)
    client.at(100)
    client.calls[0].size = 2_000
    come(client, 100_000)
    close(client, 50)

    assert [fact.error for _, fact in client.facts if isinstance(fact, Refused)] == ["MSG_SIZE_TOO_LARGE"]


def test_a_closed_librdkafka_hears_nothing_and_is_closed_once() -> None:
    client = ClosableC(linger_ms=0)
    client.send()
    close(client, 50)
    close(client, 5_000)
    client.at(51)
    assert not client.producer.alive
    come(client, 60_000)

    assert [client.producer.handle(event, 70_000) for event in (Wake(), Terminated(None))] == [[], []]


def test_librdkafka_comes_back_with_nothing_but_its_application() -> None:
    client = ClosableC(linger_ms=0)
    client.send()
    connections = client.producer.brokers.connections_made
    client._handle(Crashed())
    client.pending.clear()
    come(client, 2_000)
    client.at(5)
    client._handle(Restarted())
    client.at(300)

    assert client.records() == [[0], [1]]
    assert client.producer.brokers.connections_made > connections
    assert client.producer.sending.offered == 2
