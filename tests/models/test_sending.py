"""send(): metadata, size, partition, memory; who waits, for how long, and who is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ksim_models.arrivals import Arrivals, Flaw
from ksim_models.batch import upper_bound_bytes
from ksim_models.closing import ClosableProducer
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Blocked, Fault, Offered, Refused
from ksim_models.flaws import UNSERIALIZABLE, UNSERIALIZABLE_TEXT
from ksim_models.machine import Terminated, Wake
from ksim_models.on_failure import OnFailure, Reaction
from ksim_models.partitioner_names import ROUND_ROBIN
from ksim_models.units import LONG_AGO, NEVER
from scripted import Client, Half, Script


def refusals(client: Client) -> list[tuple[int, str, str]]:
    return [(at // 1000, fact.error, fact.message) for at, fact in client.facts if isinstance(fact, Refused)]


def blocked(client: Client) -> list[tuple[int, str]]:
    return [(fact.record, fact.why) for _, fact in client.facts if isinstance(fact, Blocked)]


def unconnected(**config: Any) -> Client:
    client = Client(**config)
    client.refusing = ["b1", "b2"]
    return client


def test_send_waits_for_metadata_and_gives_up_after_max_block_ms() -> None:
    """A3, A4: counted from the call, not from when the thread noticed."""
    client = unconnected(max_block_ms=500, reconnect_backoff_ms=50)
    client.at(7)
    client.send()
    assert blocked(client) == [(0, "metadata")]
    client.at(506)
    assert refusals(client) == []
    client.at(508)

    assert refusals(client) == [(507, "TimeoutException", "Topic t not present in metadata after 500 ms.")]


def test_what_send_waited_for_metadata_is_part_of_what_it_may_wait_for_memory() -> None:
    """A4: one budget of max.block.ms for both."""
    client = unconnected(max_block_ms=500, buffer_memory=400, batch_size=300, delivery_timeout_ms=60_000)
    client.send()
    client.at(300)
    client.refusing = []
    client.at(400)
    assert client.records() == [[0]]
    client.send(1)
    client.at(899)
    assert refusals(client) == []
    client.at(901)

    assert [(at, error) for at, error, _ in refusals(client)] == [(900, "BufferExhaustedException")], "A22"


def test_a_record_whose_partition_does_not_exist_waits_like_one_whose_topic_does_not() -> None:
    """A6, A3."""
    client = Client(max_block_ms=100)
    client.calls[1].partition = 7
    client.send(1)
    client.at(101)

    assert refusals(client)[0][2] == "Partition 7 of topic t with partition count 2 is not present in metadata after 100 ms."


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_request_size": 150}, "the value of the max.request.size configuration."),
        ({"buffer_memory": 150, "batch_size": 100}, "the value of the buffer.memory configuration."),
    ],
    ids=["max.request.size", "buffer.memory"],
)
def test_a_record_too_large_is_refused_by_its_upper_bound(setting: dict[str, Any], message: str) -> None:
    """A7: `upper > limit`, before anything is appended."""
    assert upper_bound_bytes(64) == 150
    fits = Client(**setting)
    fits.calls[0].size = 64
    fits.send()
    fits.at(1)
    refused = Client(**setting)
    refused.calls[0].size = 65
    refused.send()
    refused.at(1)

    assert (fits.records(), refusals(fits)) == ([[0]], [])
    assert refusals(refused)[0][1:] == ("RecordTooLargeException", f"The message is 151 bytes when serialized which is larger than 150, which is {message}")
    assert any(isinstance(fact, Offered) for _, fact in refused.facts), "it was offered: the population counts it"


def test_senders_that_wait_for_memory_get_it_in_the_order_of_their_calls() -> None:
    """A21: fair; A25: while they wait nothing lingers."""
    client = Client(buffer_memory=300, batch_size=300, linger_ms=1000, delivery_timeout_ms=60_000)
    client.send(1)
    client.at(2)
    assert client.records() == [], "it lingers"
    client.send(0)
    assert client.records() == [[0]], "A25: memory pressure cancels linger"
    client.at(5)
    client.send(1)
    assert blocked(client)[-2:] == [(1, "memory"), (2, "memory")]
    client.answer(offset=0)
    assert client.records() == [[0], [1]]
    client.answer(offset=0)
    client.at(1005)

    assert client.records() == [[0], [1], [2]], "nobody waited behind it, so it lingered"


def test_a_batch_is_as_young_as_its_memory() -> None:
    """A16: what send() waited is no part of the delivery time-out."""
    client = Client(buffer_memory=300, batch_size=300, linger_ms=0, request_timeout_ms=3_000, delivery_timeout_ms=4_000)
    client.calls[0].size = 200
    client.send(count=2)
    client.at(2_000)
    client.answer(offset=0)
    assert client.records() == [[0], [1]]
    client.at(5_500)
    assert client.outcomes() == [([0], "acked")]
    client.at(6_000)

    assert client.outcomes() == [([0], "acked"), ([1], "TimeoutException")]


def test_a_new_batch_wakes_the_io_thread_and_a_record_that_joins_one_does_not() -> None:
    """A17, A1: seen in what is asked for when."""
    client = Client(linger_ms=100, delivery_timeout_ms=60_000)
    client.send()
    client.at(50)
    client.send()
    assert (client.producer.accumulator.newest_at, client.producer.sending.threads[0].next) == (0, 2)
    client.at(100)

    assert client.records() == [[0, 1]]


def test_a_small_record_does_not_overtake_a_large_one_that_waits_for_memory() -> None:
    """A21: what is given back is kept for the first, until it is enough."""
    client = Client(buffer_memory=900, batch_size=300, linger_ms=0, delivery_timeout_ms=60_000)
    client.send(0, count=1)
    client.calls[0].size = 200
    client.send(0, count=2)
    assert client.producer.accumulator.free_memory == 0
    client.calls[0].size = 600
    client.send(0)
    client.calls[1].size = 10
    client.send(1)
    assert blocked(client)[-2:] == [(3, "memory"), (4, "memory")]
    client.answer(offset=0)
    assert client.records() == [[0], [1], [2]]
    client.answer(offset=0)
    client.answer(offset=0)

    assert client.records()[3:] == [[3]], "and the small one has its turn when there is memory again"
    client.answer(offset=0)
    assert client.records()[4:] == [[4]]


def test_a_small_record_overtakes_a_large_one_that_nobody_has_woken_yet() -> None:
    """A21: there is no line for who finds enough; what it leaves wakes the first of those who wait, and is that one's."""
    client = Client(partitions=4, buffer_memory=1_000, batch_size=300, linger_ms=1000, delivery_timeout_ms=60_000, max_block_ms=500)
    client.send(0)
    client.calls[1].size = 700
    client.send(1)
    assert [blocked(client)[-1], client.producer.accumulator.free_memory] == [(1, "memory"), 700]
    client.at(1)
    client.send(2)
    assert [blocked(client)[-1], client.producer.accumulator.free_memory] == [(1, "memory"), 400], "it had room"
    client.send(3)
    assert blocked(client)[-1] == (3, "memory"), "the first one has been woken, and has taken what is left"
    client.at(600)

    text = "Failed to allocate 786 bytes within the configured max blocking time 500 ms. "
    text += "Total memory: 1000 bytes. Available memory: 0 bytes. Poolable size: 300 bytes"
    assert refusals(client) == [(500, "BufferExhaustedException", text)]
    assert [batch.first for batch in client.producer.accumulator.waiting()] == [3], "what it gives back is for the next one"


@pytest.mark.parametrize(
    ("kafka", "text"),
    [
        ("3.0", "Failed to allocate memory within the configured max blocking time 450 ms."),
        (
            "3.1",
            "Failed to allocate 786 bytes within the configured max blocking time 450 ms. "
            "Total memory: 1000 bytes. Available memory: 700 bytes. Poolable size: 300 bytes",
        ),
    ],
)
def test_a_send_that_waited_for_metadata_too_says_what_was_left_for_memory(kafka: str, text: str) -> None:
    """A4, A22: nobody has taken what there is."""
    client = unconnected(kafka=kafka, partitions=2, buffer_memory=1_000, batch_size=300, max_block_ms=500, delivery_timeout_ms=60_000)
    client.calls[1].size = 700
    client.send(0)
    client.send(1)
    client.refusing = []
    client.at(600)

    assert [(at, why) for at, _, why in refusals(client)] == [(500, text)]


@pytest.mark.parametrize("kafka", ["3.2", "3.9"])
def test_a_new_batch_switches_the_sticky_partition_before_3_3(kafka: str) -> None:
    """A47 (KIP-480): never to the same one, where there is another; from 3.3 on bytes decide (A46)."""
    client = Client(kafka=kafka, batch_size=250, linger_ms=1000, delivery_timeout_ms=60_000)
    client.calls[0].partition = None
    client.send(0, count=8)
    client.at(2000)
    partitions = [batch.partition for batch in sorted(client.sent, key=lambda batch: batch.records[0])]

    if kafka == "3.2":
        assert all(one != following for one, following in pairwise(partitions))
    else:
        assert partitions[0] == partitions[1]


def test_a_blocked_send_is_told_with_the_moment_in_which_it_gives_up() -> None:
    """A4: counted from the call."""
    client = unconnected(max_block_ms=500)
    client.at(7)
    client.send()

    assert [fact for _, fact in client.facts if isinstance(fact, Blocked)] == [Blocked("p1", 0, "metadata", 507_000)]


def test_every_blocked_send_has_a_time_of_its_own_and_the_last_one_is_looked_at_too() -> None:
    """A21, A22: three threads wait for the memory that one batch holds; it comes back between the second and the third end of patience."""
    client = Client(partitions=4, max_block_ms=500, buffer_memory=300, batch_size=300, delivery_timeout_ms=60_000)
    for partition in range(4):
        client.at(partition * 100)
        client.send(partition)
    assert (client.producer.sending.blocked, client.producer.accumulator.waiters) == (3, 3)
    client.at(750)
    client.answer(offset=0)

    text = "Failed to allocate 300 bytes within the configured max blocking time 500 ms. "
    text += "Total memory: 300 bytes. Available memory: 0 bytes. Poolable size: 300 bytes"
    assert refusals(client) == [(600, "BufferExhaustedException", text), (700, "BufferExhaustedException", text)]
    assert client.records() == [[0], [3]]
    assert (client.producer.sending.blocked, client.producer.accumulator.waiters) == (0, 0)


def test_who_waits_behind_the_first_gives_up_at_its_own_moment() -> None:
    """A22: seen where the first of them, whose call was later, is not done yet."""
    client = Client(partitions=3, max_block_ms=500, buffer_memory=300, batch_size=300, delivery_timeout_ms=60_000)
    client.send(0)
    client.at(1)
    client.send(1)
    client.producer.sending.threads[1].patience_ends = 900_000
    client.at(2)
    client.send(2)
    client.at(501.999)
    assert refusals(client) == []
    client.at(502)

    assert [(at, error) for at, error, _ in refusals(client)] == [(502, "BufferExhaustedException")]
    assert client.producer.sending.threads[2].free_at == 502_000


def test_only_who_waits_for_metadata_goes_on_when_memory_is_still_missing() -> None:
    """A21: the line of those who wait for memory is another one."""
    client = Client(partitions=2, max_block_ms=60_000, buffer_memory=300, batch_size=300, delivery_timeout_ms=120_000)
    client.leaders["t-0"] = ("b2", 100)
    client.send(1)
    client.answer(offset=0)  # So there is a connection for metadata that no Produce request stands in.
    client.send(0)
    client.send(0)
    client.leaders["t-2"] = ("b1", 100)
    client.calls[1].partition = 2
    client.send(1)

    assert blocked(client)[-2:] == [(2, "memory"), (3, "metadata")]
    assert [thread.blocked_on for thread in client.producer.sending.threads] == ["memory", "memory"]


@pytest.mark.parametrize("memory", [300, 299, 599, 600])
def test_the_alarm_rings_for_a_send_that_will_block_and_not_for_one_that_has_just_enough(memory: int) -> None:
    """A20: of a batch of 300 bytes."""
    client = Client(buffer_memory=memory, batch_size=150 if memory == 299 else 300, linger_ms=50, delivery_timeout_ms=60_000)
    client.at(1)
    client.calls[0].times, client.calls[0].total = [10_000], 1
    client.producer.metadata.want("t", 1_000)
    client._handle(Wake())
    client.at(9)

    assert client.producer.wake_at == 10_000 + 50_000


@pytest.mark.parametrize(("opens_at", "wakes_at"), [(7_999, 27_999), (8_000, 8_000), (8_001, 8_001)])
def test_once_a_request_is_overdue_the_record_that_opens_a_batch_is_one_to_wake_for(opens_at: int, wakes_at: int) -> None:
    """N14: from that moment on; one that comes earlier has its linger."""
    client = Client(linger_ms=20, delivery_timeout_ms=60_000)
    client.send()
    client.at(5)
    client.calls[0].times, client.calls[0].total = [0, opens_at], 2
    client.producer.accumulator.queues.clear()
    client.producer.sending.overdue_from = 8_000

    assert client.producer.sending.wake_at(5_000, NEVER) == wakes_at


def test_records_that_are_alike_are_taken_as_a_range_where_one_partition_is_theirs_alone() -> None:
    """Two workloads may meet in a batch, so each takes its turn, until one of them has nothing left."""
    client = Client(partitions=3, linger_ms=5)
    sending = client.producer.sending
    first, second, third = sending.threads
    client.at(0)
    for call in client.calls[:2]:
        call.times, call.total = [1_000], 1
    assert sending._only_partition(first) is None, "the topic is not known yet"
    client.at(1)
    client._handle(Wake())
    assert sending._only_partition(first) == "t-0", "nobody else has anything to send"
    client.calls[1].total = 2
    assert (sending._only_partition(first), sending._only_partition(second)) == (None, "t-1")
    third.stopped = second.stopped = True

    def partition_of(**changed: Any) -> str | None:
        for name, value in changed.items():
            setattr(first.arrivals, name, value)
        return sending._only_partition(first)

    assert partition_of(partition=2) == "t-2"
    assert partition_of(partition=3) is None, "there are only three"
    assert partition_of(partition=None) is None, "that is the partitioner's affair"
    client.producer.metadata.topics["t"] = ("t-0",)
    assert partition_of() == "t-0", "where there is no other it is not"
    assert partition_of(topic="u") is None
    first.arrivals.topic = "t"
    sending._zero_is_endless = True
    assert (partition_of(), partition_of(partition=0)) == (None, "t-0")
    sending.closed = True
    assert partition_of() is None


def flawed(do: str) -> Client:
    """The second of three records."""
    client = Client()
    client.calls[0].flaws = {1: Flaw("bad", do)}
    client.producer.sending.threads[0].one_by_one, client.producer.sending.threads[0].steady = True, False
    client.send(count=3)
    while client.requests:
        client.answer(offset=0)
    client.at(1)
    return client


@pytest.mark.parametrize(
    ("do", "refused", "sent"),
    [
        (UNSERIALIZABLE, [(0, "SerializationException", UNSERIALIZABLE_TEXT)], [0, 2]),
        ("oversize", [], [0, 1, 2]),  # Its size is the workload's affair.
    ],
)
def test_a5_a_record_that_cannot_be_serialized_is_refused_and_the_next_one_is_not(do: str, refused: list[Any], sent: list[int]) -> None:
    client = flawed(do)

    assert refusals(client) == refused
    assert [record for records in client.records() for record in records] == sent
    assert [fact for _, fact in client.facts if isinstance(fact, Fault)] == [Fault("bad", do, "hit", ("p1/1",), 1)]


def test_a_flawed_record_that_waits_for_metadata_is_struck_once() -> None:
    """A3, A5: metadata is asked for before anything is serialized."""
    client = unconnected(max_block_ms=2_000, reconnect_backoff_ms=50)
    client.calls[0].flaws = {0: Flaw("bad", UNSERIALIZABLE)}
    client.send()
    assert ([fact.phase for _, fact in client.facts if isinstance(fact, Fault)], refusals(client)) == (["hit"], [])
    client.refusing = []
    client.at(1_999)

    assert [error for _, error, _ in refusals(client)] == ["SerializationException"]
    assert [fact.phase for _, fact in client.facts if isinstance(fact, Fault)] == ["hit"]


def test_the_topics_last_use_is_that_of_the_latest_record_of_any_thread() -> None:
    """M1: what metadata.max.idle.ms counts from."""
    client = Client(partitions=3)
    client.calls[2].topic = "u"
    last_use = client.producer.sending.last_use
    assert last_use("t", 5_000) == LONG_AGO
    for call, times in zip(client.calls, ([1_000, 3_000], [2_000, 9_000], [4_000]), strict=True):
        call.times, call.total = times, len(times)

    assert [last_use("t", now) for now in (999, 1_000, 2_500, 8_000, 9_000, 10_000)] == [LONG_AGO, 1_000, 2_000, 3_000, 9_000, 9_000]
    assert [last_use(topic, 4_000) for topic in ("u", "v")] == [4_000, LONG_AGO]
    client.producer.sending.threads[0].blocked_on = "memory"
    assert [last_use(topic, 10_000) for topic in ("t", "u")] == [10_000, 4_000], "its send() has not returned"


def test_who_waits_at_its_window_goes_on_at_the_outcome_and_who_does_not_is_not_held_up() -> None:
    """wait = "each" and windows: the moment of the callback is that of the next send()."""
    client = Client(window=2, linger_ms=0)
    thread = client.producer.sending.threads[0]
    client.send()
    assert (thread.outstanding, thread.free_at) == (1, 0), "it had waited for metadata"
    client.at(1)
    client.answer(offset=0)
    assert (thread.outstanding, thread.free_at) == (0, 0), "there was room for another one all the time"
    client.send()
    client.send()
    client.at(2)
    client.answer(offset=1)
    assert (thread.outstanding, thread.free_at) == (1, 2_000)
    client.at(3)
    client.answer(offset=2)

    assert (thread.outstanding, thread.free_at) == (0, 2_000)


def test_a_batch_that_ends_before_it_was_closed_makes_what_was_foreseen_void() -> None:
    """A19: it will take no more."""
    client = unconnected(request_timeout_ms=300, delivery_timeout_ms=1_000, linger_ms=600)
    client.producer.metadata.topics["t"], client.producer.metadata.leaders["t-0"] = ("t-0",), ("b1", 100)
    client.send()
    before = client.producer.accumulator.closings
    client.at(1_001)
    assert client.outcomes() == [([0], "TimeoutException")]
    assert client.producer.accumulator.closings == before + 1
    client.send()
    client.at(2_002)

    assert client.producer.accumulator.closings == before + 2


def test_a_record_of_the_warm_up_goes_alone_and_at_once() -> None:
    client = Client(linger_ms=1_000, delivery_timeout_ms=60_000)
    client.calls[0].warm_up = True
    client.send(count=1)
    client.calls[1].partition = 0
    client.send(1)

    assert [list(batch.records) for batch in client.sent] == [[0]]
    assert [batch.producer for batch in client.sent] == [""]
    client.at(1_001)
    assert [(list(batch.records), batch.producer) for batch in client.sent[1:]] == [([0], "p1")]


def test_an_error_state_refuses_each_record_at_its_own_moment_with_the_text_of_kafka() -> None:
    """A8, T3."""
    client = Client(linger_ms=5)
    client.send()
    client.at(6)
    client.producer.sending.in_error_state = "KafkaException"
    client.calls[0].times += [9_000, 9_500]
    client.calls[0].total = 3
    client._handle(Wake())
    assert client.producer.wake_at == 9_000
    client.at(20)

    text = "Cannot execute transactional method because we are in an error state"
    assert [(at, fact.error, fact.message) for at, fact in client.facts if isinstance(fact, Refused)] == [
        (9_000, "KafkaException", text),
        (9_500, "KafkaException", text),
    ]


def test_a_topic_that_is_not_for_this_client_is_refused_by_name() -> None:
    """A3."""
    client = Client(max_block_ms=60_000)
    client.topic_error = E.TOPIC_AUTHORIZATION_FAILED
    client.send()
    client.at(1)

    assert refusals(client) == [(0, "TopicAuthorizationException", "Not authorized to access topics: [t]")]


def test_larger_than_the_buffer_is_refused_with_both_numbers() -> None:
    """C8."""
    client = Client(buffer_memory=1_000, batch_size=16_384)
    client.send()

    assert refusals(client)[0][2] == "Attempt to allocate 16384 bytes, but there is a hard limit of 1000 on memory allocations."


def with_breaker(**config: Any) -> Client:
    """One failure opens it, for a second."""
    client = Client(**{"retry_backoff_ms": 100, "retry_backoff_max_ms": 100} | config)
    for call in client.calls:
        call.on_failure = OnFailure(Reaction.BREAK, 1, 1_000_000)
    machine = ClosableProducer("p1", client.producer.profile, client.config, ["b1", "b2"], list[Arrivals](client.calls), Half())
    Script.__init__(client, client.calls, machine)
    client.producer = machine
    return client


def refused_after(what: str, client: Client) -> None:
    """What brings each refusal about, from 5 ms on."""
    match what:
        case "A2":
            client.producer.sending.closed = True
        case "A3 never described":
            client.topic_error = E.UNKNOWN_TOPIC_OR_PARTITION
        case "A3 invalid":
            client.topic_error = E.INVALID_TOPIC_EXCEPTION
        case "A3 not authorized" | "A54 waits for metadata":
            client.topic_error = E.TOPIC_AUTHORIZATION_FAILED if what[1] == "3" else E.UNKNOWN_TOPIC_OR_PARTITION
        case "A5":
            client.calls[0].flaws = {0: Flaw("bad", UNSERIALIZABLE)}
        case "A7":
            client.calls[0].size = 500
        case "A22" | "A54 waits for memory":
            client.send(1)
        case "T3":
            client.producer.sending.in_error_state = "KafkaException"
    client.at(5)
    client.send(0)
    if what[:3] == "A54":
        client.at(80)
        client._handle(Terminated(0))
    client.at(200)


@pytest.mark.parametrize(
    ("what", "config", "at", "error"),
    [
        ("A2", {}, 5, "IllegalStateException"),
        ("A3 never described", {}, 55, "TimeoutException"),
        ("A3 invalid", {}, 5, "InvalidTopicException"),
        ("A3 not authorized", {}, 5, "TopicAuthorizationException"),
        ("A5", {}, 5, "SerializationException"),
        ("A7", {"max_request_size": 200}, 5, "RecordTooLargeException"),
        ("A22", {"buffer_memory": 300, "batch_size": 300}, 55, "BufferExhaustedException"),
        ("A54 waits for memory", {"buffer_memory": 300, "batch_size": 300, "max_block_ms": 60_000}, 80, "KafkaException"),
        ("A54 waits for metadata", {"max_block_ms": 60_000}, 80, "KafkaException"),
        ("C8", {"buffer_memory": 1_000, "batch_size": 16_384}, 5, "IllegalArgumentException"),
        ("T3", {}, 5, "KafkaException"),
    ],
)
def test_each_refusal_is_a_failure_at_its_own_moment(what: str, config: dict[str, Any], at: int, error: str) -> None:
    """on_failure = "break": seen in when the breaker lets the next record through."""
    client = with_breaker(**{"max_block_ms": 50, "delivery_timeout_ms": 60_000} | config)
    refused_after(what, client)

    assert [(moment, told) for moment, told, _ in refusals(client)] == [(at, error)]
    breaker = client.producer.sending.threads[0].breaker
    assert breaker is not None
    assert (breaker.state.value, breaker.until) == ("open", at * 1_000 + 1_000_000)


def test_round_robin_waits_for_memory_with_the_partition_it_chose() -> None:
    """A6, A21: the choice is made once, so none is passed over."""
    client = Client(partitions=3, partitioner_class=ROUND_ROBIN, buffer_memory=300, batch_size=300, max_block_ms=60_000, delivery_timeout_ms=120_000)
    client.calls[0].partition, client.calls[0].size = None, 150
    client.send(0, count=6)
    for _ in range(5):
        client.answer(offset=0)

    partitions = [batch.partition for batch in client.sent]
    assert len(set(partitions[:3])) == 3
    assert partitions == partitions[:3] * 2


def test_batch_size_0_is_told_to_hang_in_the_partitioner() -> None:
    """H-014: what never returns is told like what blocks, with a name of its own."""
    client = Client(kafka="3.3.1", batch_size=0)
    client.calls[0].partition = None
    client.send(1)  # It names its partition.
    client.send()

    assert [(fact.record, fact.why, fact.until_us) for _, fact in client.facts if isinstance(fact, Blocked)][-1] == (1, "partitioner", NEVER)
    assert client.producer.wake_at is None or client.producer.wake_at > client.now
