"""librdkafka's queue of a partition, and its thread for a broker, case by case (sections 7.1 to 7.3 of the client's rule book)."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.application import Thread
from ksim_models.batch import BATCH_OVERHEAD, record_bytes
from ksim_models.librdkafka_broker_thread import BrokerThread, Request, State
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_idempotence import LibrdkafkaIdempotence, Verdict
from ksim_models.librdkafka_queue import MESSAGE_OVERHEAD_AT_MOST, REQUEST_OVERHEAD, Message, MessageBatch, PartitionQueue
from ksim_models.units import NEVER, SECOND, ms
from scripted import Calls, Drawn, Half, Recording


def message(number: int, *, size: int = 100, at: int = 0, timeout: int = NEVER, backoff: int = 0, last_id: int = 0) -> Message:
    calls = Calls(0)
    calls.compression_ratio, calls.compression_spread = 500_000, 100_000
    made = Message(number, size, at, timeout, Thread(0, calls))
    made.backoff_until, made.last_id = backoff, last_id
    return made


def queue_of(*messages: Message, **config: Any) -> PartitionQueue:
    queue = PartitionQueue("t-0", LibrdkafkaConfig(**config))
    for one in messages:
        queue.put(one)
    return queue


def numbers(messages: Any) -> list[int]:
    return [one.number for one in messages]


@pytest.mark.parametrize(
    ("messages", "config", "at"),
    [
        pytest.param([], {}, NEVER, id="nothing waits"),
        pytest.param([message(0, at=5_000), message(1, at=9_000)], {}, 15_000, id="linger.ms from the first message on"),
        pytest.param([message(0, at=0), message(1, at=9_000)], {"linger_ms": 7}, 9_000, id="it is over"),
        pytest.param([message(0, at=9_000), message(1, at=9_000)], {"batch_num_messages": 2}, 9_000, id="batch.num.messages are there"),
        pytest.param([message(0, at=9_000), message(1, at=9_000)], {"batch_size": 200}, 9_000, id="batch.size bytes are there"),
        pytest.param([message(0, at=9_000), message(1, at=9_000)], {"batch_size": 201}, 19_000, id="a byte is missing"),
        pytest.param([message(0, at=0, backoff=40_000)], {"batch_num_messages": 1}, 40_000, id="L4: the first backs off"),
        pytest.param([message(0, at=9_000), message(1, backoff=40_000)], {}, 19_000, id="L4: one behind it does"),
        pytest.param([message(-1, at=9_000)], {}, 9_000, id="the warm-up is flushed"),
    ],
)
def test_when_a_batch_may_be_cut(messages: list[Message], config: dict[str, Any], at: int) -> None:
    """rd_kafka_msgq_allow_wakeup_at, rd_kafka_toppar_producer_serve."""
    assert queue_of(*messages, **{"linger_ms": 10} | config).ready_at(9_000) == at


TWO_OF_THREE = REQUEST_OVERHEAD + BATCH_OVERHEAD + record_bytes(100, 0) + MESSAGE_OVERHEAD_AT_MOST + 100


@pytest.mark.parametrize(
    ("messages", "config", "taken"),
    [
        pytest.param([message(0), message(1), message(2)], {}, [0, 1, 2], id="all that is there"),
        pytest.param([message(0), message(1), message(2)], {"batch_num_messages": 2}, [0, 1], id="batch.num.messages"),
        pytest.param([message(0), message(1), message(2)], {"batch_size": TWO_OF_THREE}, [0, 1], id="batch.size, to the byte"),
        pytest.param([message(0), message(1), message(2)], {"batch_size": TWO_OF_THREE - 1}, [0], id="a byte is missing"),
        pytest.param([message(0, size=2_000), message(1)], {"message_max_bytes": 1_000}, [0], id="one always fits"),
        pytest.param([message(0), message(1), message(2)], {"message_max_bytes": 1_000, "batch_num_messages": 2}, [0, 1], id="message.max.bytes is larger"),
        pytest.param([message(0), message(1, backoff=40_000), message(2)], {}, [0], id="L4: what backs off is not overtaken"),
        pytest.param([message(0), message(1, backoff=9_000), message(2)], {}, [0, 1, 2], id="L4: its backoff is over"),
        pytest.param([message(0, backoff=40_000)], {}, None, id="L4: the first backs off"),
        pytest.param([message(0, last_id=2), message(1), message(2)], {}, [0, 1], id="L5: a batch with sequences is built again as it was"),
        pytest.param([message(0), message(1, last_id=2), message(2)], {}, [0, 1, 2], id="L5: it is the first that says so"),
        pytest.param([message(-1), message(0)], {}, [-1], id="the warm-up is alone"),
    ],
)
def test_what_a_batch_takes(messages: list[Message], config: dict[str, Any], taken: list[int] | None) -> None:
    """rd_kafka_msgset_writer_write_msgq."""
    queue = queue_of(*messages, **config)
    batch = queue.take_batch(9_000)
    found = numbers(batch.messages) if batch is not None else None

    assert found == taken
    assert numbers(queue.messages) == numbers(messages)[len(taken or []) :]
    assert queue.bytes == sum(one.size for one in queue.messages)


@pytest.mark.parametrize(
    ("waiting", "back", "order"),
    [
        ([4, 5], [1, 2], [1, 2, 4, 5]),
        ([1, 2], [4, 5], [1, 2, 4, 5]),
        ([1, 4], [2, 3], [1, 2, 3, 4]),
        ([2, 3], [1, 4], [1, 2, 3, 4]),
        ([], [2, 3], [2, 3]),
        ([2], [], [2]),
    ],
)
def test_l4_what_comes_back_stands_at_its_place_by_id(waiting: list[int], back: list[int], order: list[int]) -> None:
    """rd_kafka_retry_msgq, rd_kafka_msgq_insert_msgq."""
    messages = {number: message(number, size=number) for number in [*waiting, *back]}
    for number, one in messages.items():
        one.id = number
    queue = queue_of(*(messages[number] for number in waiting))
    queue.give_back([messages[number] for number in back])

    assert (numbers(queue.messages), queue.bytes) == (order, sum(order))


def test_message_ids_begin_with_1_and_one_that_comes_back_keeps_its_own() -> None:
    queue = queue_of(message(7), message(8))
    first = queue.messages.popleft()
    queue.put(first)
    queue.put(message(9))

    assert [(one.number, one.id) for one in queue.messages] == [(8, 2), (7, 1), (9, 3)]


def test_what_runs_out_of_time_what_was_written_and_what_is_purged_leaves_from_the_head() -> None:
    queue = queue_of(*(message(number, timeout=number * 100) for number in range(1, 7)))

    assert numbers(queue.take_expired(200)) == [1, 2]
    assert numbers(queue.take_expired(200)) == []
    assert numbers(queue.take_acked(3)) == [3]
    assert numbers(queue.take_acked(3)) == []
    assert queue.bytes == 300
    assert (numbers(queue.take_all()), queue.bytes, len(queue.messages)) == ([4, 5, 6], 0, 0)


def test_l5_sequences_count_from_the_first_message_of_an_epoch_and_begin_again_after_2_to_the_31() -> None:
    queue = queue_of(*(message(number) for number in range(4)), batch_num_messages=2)
    queue.messages.popleft()  # Its id was 1, under another epoch.
    queue.next_ack_sequence = queue.next_error_sequence = 9
    queue.begin_epoch(4_000, 3)
    assert (queue.next_ack_sequence, queue.next_error_sequence) == (0, 0)
    for one in queue.messages:
        one.id += 2**31 - 1
    found = []
    while (batch := queue.take_batch(0) if queue.messages else None) is not None:
        queue.number(batch)
        found.append((batch.producer_id, batch.epoch, batch.first_sequence, batch.next_sequence))

    assert found == [(4_000, 3, 2**31 - 1, 1), (4_000, 3, 1, 2)]


@pytest.mark.parametrize(
    ("ratio", "draw", "left"),
    [
        pytest.param(500_000, 0.5, 0.5, id="half of it is left"),
        pytest.param(500_000, 0.0, 0.4, id="a tenth less, as its spread lets it"),
        pytest.param(1_100_000, 0.5, None, id="it would grow: it goes as it is"),
    ],
)
def test_a_batch_that_is_compressed_has_the_size_of_its_records_compressed_behind_a_plain_header(ratio: int, draw: float, left: float | None) -> None:
    """rd_kafka_msgset_writer_compress."""
    queue = queue_of(*map(message, range(3)))
    for one in queue.messages:
        one.thread.arrivals.compression_ratio = ratio
    batch = queue.take_batch(0)
    assert isinstance(batch, MessageBatch)
    plain = batch.size_bytes
    assert plain == BATCH_OVERHEAD + sum(record_bytes(100, delta) for delta in range(3))
    batch.compress(draw)
    on_wire = batch.on_wire("p1", transactional=False)

    expected = (plain, 0) if left is None else (BATCH_OVERHEAD + int((plain - BATCH_OVERHEAD) * left), plain)
    assert (on_wire.size_bytes, on_wire.raw_bytes) == expected


@pytest.mark.parametrize(
    ("error", "first", "expects_error_at", "retries", "verdict"),
    [
        pytest.param("DUPLICATE_SEQUENCE_NUMBER", 5, 5, 1, Verdict.DUPLICATE, id="it had been written"),
        pytest.param("OUT_OF_ORDER_SEQUENCE_NUMBER", 6, 5, 0, Verdict.BUMP_AND_RETRY, id="an earlier one in flight has failed"),
        pytest.param("OUT_OF_ORDER_SEQUENCE_NUMBER", 5, 5, 0, Verdict.FATAL, id="it is the first in flight"),
        pytest.param("OUT_OF_ORDER_SEQUENCE_NUMBER", 4, 5, 0, Verdict.FATAL, id="it was acknowledged before"),
        pytest.param("UNKNOWN_PRODUCER_ID", 5, 5, 0, Verdict.BUMP_AND_RETRY, id="all before it are acknowledged, and it is no retry"),
        pytest.param("UNKNOWN_PRODUCER_ID", 5, 5, 1, Verdict.FATAL, id="it may have been written"),
        pytest.param("UNKNOWN_PRODUCER_ID", 6, 5, 0, Verdict.FATAL, id="one before it has no outcome"),
        pytest.param("NOT_ENOUGH_REPLICAS", 5, 5, 1, Verdict.ORDINARY, id="another error"),
    ],
)
def test_l6_what_an_error_means_for_a_batch_with_a_sequence(error: str, first: int, expects_error_at: int, retries: int, verdict: Verdict) -> None:
    """rd_kafka_handle_idempotent_Produce_error: sequences 0 to 4 were acknowledged."""
    queue = queue_of(message(first))
    batch = queue.take_batch(0)
    assert batch is not None
    queue.next_ack_sequence, queue.next_error_sequence = 5, expects_error_at
    batch.first_sequence, batch.messages[0].retries = first, retries

    assert LibrdkafkaIdempotence(0).judge(batch, error) is verdict


@pytest.mark.parametrize(
    ("acked", "failed", "then"),
    [
        pytest.param(3, 3, (5, 5), id="as expected"),
        pytest.param(3, 5, (5, 5), id="an error was expected further on"),
        pytest.param(3, 9, (5, 9), id="and stays so"),
    ],
)
def test_l8_what_is_expected_behind_a_batch_that_succeeded(acked: int, failed: int, then: tuple[int, int]) -> None:
    """rd_kafka_handle_idempotent_Produce_success: the next error is expected where it was, unless nothing has failed."""
    queue = queue_of(message(0), message(1))
    batch = queue.take_batch(0)
    assert batch is not None
    queue.next_ack_sequence, queue.next_error_sequence, batch.first_sequence = acked, failed, 3
    LibrdkafkaIdempotence(0).succeeded(batch)

    assert (queue.next_ack_sequence, queue.next_error_sequence) == then


def test_a_producer_id_is_asked_for_half_a_second_after_birth_and_after_each_attempt_in_vain_and_its_last_epoch_is_followed_by_0() -> None:
    """rd_kafka_idemp_pid_timer_restart; rd_kafka_pid_bump."""
    one, queue = LibrdkafkaIdempotence(7), queue_of()
    assert (one.producer_id, one.epoch, one.wants_an_id, one.ask_at) == (-1, -1, True, 7 + SECOND // 2)
    one.asked()
    assert (one.wants_an_id, one.ask_at) == (False, NEVER)
    one.not_given(ms(900))
    assert (one.wants_an_id, one.ask_at) == (True, ms(1_400))
    one.given(4_000, 32_766)
    found = [(one.is_assigned, one.is_draining, one.epoch, one.is_stale(queue))]
    queue.producer_id, queue.epoch = 4_000, 32_766
    for _ in range(2):
        found.append((one.is_assigned, one.is_draining, one.epoch, one.is_stale(queue)))
        one.drain()
        found.append((one.is_assigned, one.is_draining, one.epoch, one.is_stale(queue)))
        one.bump()

    assert found == [
        (True, False, 32_766, True),
        (True, False, 32_766, False),
        (False, True, 32_766, False),
        (True, False, 32_767, True),
        (False, True, 32_767, True),
    ]
    assert (one.epoch, one.is_assigned) == (0, True)


@pytest.mark.parametrize(
    ("recorded", "named", "records"),
    [([3, 4, 5], "p1", range(3, 6)), ([3, 5, 6], "p1", (3, 5, 6)), ([-3, -2], "", range(2))],
    ids=["in a row", "with a gap", "of the warm-up, which belongs to nobody"],
)
def test_what_a_batch_says_of_its_records(recorded: list[int], named: str, records: Any) -> None:
    queue = queue_of(*(message(number, at=number) for number in recorded))
    batch = queue.take_batch(10)
    assert batch is not None
    on_wire = batch.on_wire("p1", transactional=True)

    assert (on_wire.partition, on_wire.producer, on_wire.records, on_wire.max_timestamp) == ("t-0", named, records, recorded[-1])
    assert (on_wire.producer_id, on_wire.producer_epoch, on_wire.base_sequence, on_wire.transactional) == (-1, -1, -1, True)


# A broker's thread.


def thread(*falls: float, now: int = 0, **config: Any) -> BrokerThread:
    return BrokerThread("b1", "b1", "p1", LibrdkafkaConfig(**config), Drawn(*falls) if falls else Half(), now, learned=True)


@pytest.mark.parametrize(
    ("moment", "noticed"),
    [(300, 300), (100, 300), (301, SECOND + 300), (SECOND + 300, SECOND + 300), (SECOND + 301, 2 * SECOND + 300), (NEVER, NEVER)],
)
def test_what_falls_due_is_noticed_at_the_next_full_second_since_the_state_changed(moment: int, noticed: int) -> None:
    """rd_kafka_broker_timeout_scan."""
    assert thread(now=300).look_at(moment) == noticed


@pytest.mark.parametrize(
    ("fall", "waits"),
    [
        pytest.param(0.0, [75, 150, 300, 600, 750, 750], id="a quarter less"),
        pytest.param(0.999, [150, 300, 600, 1_000, 1_000, 1_000], id="a half more, up to reconnect.backoff.max.ms"),
    ],
)
def test_a_reconnect_waits_for_a_backoff_that_doubles_and_varies(fall: float, waits: list[int]) -> None:
    """rd_kafka_broker_update_reconnect_backoff."""
    one = thread(*[fall] * 7, reconnect_backoff_ms=100, reconnect_backoff_max_ms=1_000)
    found = []
    for _ in range(6):
        now = max(one.reconnect_at, 0)
        one.back_off(now)
        found.append((one.reconnect_at - now) // 1_000)
    assert found == waits
    later = one.reconnect_at + ms(1_000) + 1

    one.back_off(later)

    assert one.reconnect_at - later == ms(waits[0]), "reconnect.backoff.max.ms after the last attempt was due it begins anew"


def test_every_thread_of_every_client_draws_its_waits_by_itself() -> None:
    dice = Recording()
    for name in ("b1", "b2"):
        one = BrokerThread(name, name, "p1", LibrdkafkaConfig(), dice, 0, learned=True)
        for _ in range(2):
            one.back_off(0)

    assert dice.drawn == [("reconnect", "p1", name, ordinal) for name in ("b1", "b2") for ordinal in (1, 2)]


def test_a_connection_is_tried_when_its_backoff_is_over_in_whole_milliseconds_and_given_up_by_the_second() -> None:
    """socket.connection.setup.timeout.ms counts from the attempt; it is looked at every second from then on."""
    one = thread(reconnect_backoff_ms=100, socket_connection_setup_timeout_ms=1_500)
    one.reconnect_at = 7_900
    one.try_connect(5_000)
    assert (one.state, one.connect_at, one.setup_ends_at) == (State.TRY_CONNECT, 7_000, NEVER)

    one.attempt("p1->b1#1", 7_000)

    assert (one.state, one.connection, one.connected_to, one.connects) == (State.CONNECT, "p1->b1#1", "b1", 1)
    assert (one.connect_at, one.setup_ends_at) == (NEVER, 7_000 + 2 * SECOND)
    one.set_state(State.APIVERSION_QUERY, 8_000)
    assert one.setup_ends_at == 8_000 + 2 * SECOND
    one.set_state(State.UP, 9_000)
    assert one.setup_ends_at == NEVER


def produce(queue: PartitionQueue, deadline: int) -> Request:
    return Request("Produce", deadline, MessageBatch(queue, [message(deadline)]))


def test_requests_that_carry_no_records_go_before_those_that_do_in_their_order() -> None:
    """rd_kafka_broker_buf_enq2: flash requests."""
    one, queue = thread(queue_buffering_backpressure_threshold=5), queue_of()
    for request in (produce(queue, 1), Request("Metadata", 2), produce(queue, 3), Request("InitProducerId", 4)):
        one.enqueue(request)

    assert [request.deadline for request in one.out] == [2, 4, 1, 3]
    assert one.room == 1


def test_max_in_flight_counts_what_somebody_still_waits_for() -> None:
    one, queue = thread(max_in_flight_requests_per_connection=2), queue_of()
    made = produce(queue, 9)
    one.enqueue(made)
    assert (made.sent, made.given_up, made.retries) == (False, False, 0)
    assert not one.can_send, "no connection"
    one.state = State.UP
    found = [one.can_send]
    for deadline in (5, 6):
        one.wait_for(produce(queue, deadline))
        found.append(one.can_send)
    one.waiting[0].give_up()  # socket.max.fails > 1: its answer is for nobody.
    found.append(one.can_send)
    one.out.clear()

    assert found == [True, True, False, True]
    assert not one.can_send, "nothing to send"


def test_the_next_deadline_is_the_earliest_of_what_was_sent_and_of_what_was_not() -> None:
    one, queue = thread(), queue_of()
    found = [one.next_deadline]
    for deadline in (500, 300, 400):
        one.enqueue(produce(queue, deadline))
        found.append(one.next_deadline)
    one.out.popleft()
    for deadline in (200, 250):
        one.wait_for(produce(queue, deadline))
        found.append(one.next_deadline)
    assert one.answered().deadline == 200
    found.append(one.next_deadline)

    assert found == [NEVER, 500, 300, 300, 200, 200, 250]
    assert [request.deadline for request in one.purge(queue)] == [300, 400]
    assert one.purge(queue) == []
    assert one.next_deadline == 250
    sent, made = one.take_all()
    assert ([request.deadline for request in sent], made, one.next_deadline) == ([250], [], NEVER)


def test_what_is_late_is_given_up_and_keeps_its_place_in_the_line_of_answers() -> None:
    one, queue = thread(), queue_of()
    sent, made = [produce(queue, deadline) for deadline in (200, 900)], [produce(queue, deadline) for deadline in (300, 800)]
    for request in sent:
        one.wait_for(request)
    for request in made:
        one.enqueue(request)

    assert one.take_late(300) == [sent[0], made[0]]
    assert (list(one.waiting), list(one.out), one.next_deadline) == (sent, made[1:], 800)
    assert one.take_late(300) == []
    assert one.take_all() == (sent[1:], made[1:])


def test_idle_seconds_count_from_what_was_sent_last_or_from_the_last_change() -> None:
    one = thread(now=500)
    found = [one.is_idle_for(500), one.is_idle_for(SECOND + 499), one.is_idle_for(SECOND + 500)]
    one.last_sent_at = SECOND

    assert [*found, one.is_idle_for(SECOND + 500), one.is_idle_for(3 * SECOND)] == [0, 0, 1, 0, 2]
