"""The parts of librdkafka's consumer, with answers made by hand: fetches ahead, resets, validation, aborted transactions, and a question nobody repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim_models.completed_fetch import CompletedFetch
from ksim_models.config import LibrdkafkaConsumerConfig
from ksim_models.consumer_application import Habits
from ksim_models.errors import NONE, ErrorCode
from ksim_models.librdkafka_assignment import CommittedQuery
from ksim_models.librdkafka_consumer import LibrdkafkaConsumer
from ksim_models.librdkafka_fetching import AboutToppar, FetchOf
from ksim_models.librdkafka_group import Join, State
from ksim_models.librdkafka_toppar import AbortedTransactions, ConsumerQueue, FetchState, Received, Toppar, read_batches
from ksim_models.messages import Marker, MetadataResponse, PartitionMetadata, RecordBatch, TopicMetadata
from ksim_models.transaction_messages import (
    ConsumerFetchedPartition,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from ksim_models.units import NEVER, ms
from scripted import Half

T0 = "t-0"
NOW = ms(1_000)


def batch(base: int, count: int = 1, *, producer_id: int = -1, marker: Marker | None = None, epoch: int = 0) -> RecordBatch:
    return RecordBatch(
        T0, "p", range(base, base + count), 100 * count, producer_id, base_offset=base, leader_epoch=epoch, transactional=producer_id >= 0, marker=marker
    )


class Alone:
    """A consumer of which nothing is simulated but what it makes of answers; one partition is read from offset 10 on."""

    def __init__(self, **settings: object) -> None:
        config = LibrdkafkaConsumerConfig(group_id="g", **{"auto_offset_reset": "earliest", **settings})  # type: ignore[arg-type]
        self.consumer = LibrdkafkaConsumer("c", config, ["b1", "b2"], ["t"], Half(), Habits())
        self.fetching = self.consumer.fetching
        self.led_by("b1", 0)
        self.toppar: Toppar = self.fetching.toppar(T0)
        self.fetching.start(self.toppar, (0, 10), NOW)

    def led_by(self, leader: str, epoch: int) -> None:
        topic = TopicMetadata("t", NONE, (PartitionMetadata(T0, NONE, leader, epoch),))
        response = MetadataResponse(("b1", "b2"), (topic,))
        self.consumer.brokers.learn(response.brokers, NOW)
        self.consumer.metadata.learn(response, NOW, [])
        self.fetching.leaders_came([T0], NOW)

    def fetched(self, *batches: RecordBatch, error: ErrorCode = NONE, aborted: tuple[tuple[int, int], ...] = (), asked_in: int | None = None) -> None:
        thread = self.consumer.brokers.threads[self.toppar.broker]
        version = self.toppar.version if asked_in is None else asked_in
        request = FetchOf(object(), NOW, thread.name, {T0: version})
        self.fetching.fetched(thread, request, ConsumerFetchResponse((ConsumerFetchedPartition(T0, error, 99, 99, 3, batches, aborted),)), NOW, [])

    def asked(self) -> list[object]:
        """What its threads are about to send, besides metadata."""
        self.fetching.look_at_the_clock(NOW + ms(500))
        threads = [*self.consumer.brokers.threads.values(), self.consumer.group.coordinator]
        return [request.message for thread in threads for request in thread.out]

    @property
    def errors(self) -> list[str]:
        return [what for what, _ in self.consumer.ops]


def test_it_fetches_on_while_the_queue_has_room() -> None:
    """rd_kafka_toppar_fetch_decide: queued.min.messages and queued.max.messages.kbytes, looked at again after fetch.queue.backoff.ms."""
    alone = Alone(queued_min_messages=5)
    alone.fetched(batch(10, 4))
    assert alone.fetching.decide(alone.toppar, NOW) == NOW
    alone.fetched(batch(14, 1))

    assert alone.fetching.decide(alone.toppar, NOW) == NOW + ms(1_000)
    alone.fetching.queue.take(5)
    assert alone.fetching.decide(alone.toppar, NOW + ms(999)) == NOW + ms(1_000), "the backoff that has begun is kept"
    assert alone.fetching.decide(alone.toppar, NOW + ms(1_000)) == NOW + ms(1_000)


def test_bytes_in_the_queue_count_too() -> None:
    alone = Alone(queued_max_messages_kbytes=1)
    alone.fetched(batch(10, 11))

    assert alone.fetching.decide(alone.toppar, NOW) > NOW


def test_a_pause_throws_away_what_was_fetched_and_goes_back_to_what_was_handed_over() -> None:
    """rd_kafka_toppar_pause_resume, behind every rebalance: the answer that is under way is of no use either."""
    alone = Alone()
    alone.fetched(batch(10, 4))
    before = alone.toppar.version
    alone.fetching.queue.take(2)
    alone.toppar.app = (0, 12)
    alone.fetching.pause(alone.toppar)
    alone.fetched(batch(14, 4), asked_in=before)

    assert alone.toppar.fetch == (0, 12)
    assert alone.fetching.queue.messages == 0


@pytest.mark.parametrize(
    ("error", "asks_who_leads", "told"),
    [
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, True, []),
        (ErrorCode.FENCED_LEADER_EPOCH, True, []),
        (ErrorCode.UNKNOWN_LEADER_EPOCH, True, []),
        (ErrorCode.OFFSET_NOT_AVAILABLE, True, []),
        (ErrorCode.KAFKA_STORAGE_ERROR, True, []),
        (ErrorCode.UNKNOWN_TOPIC_ID, True, []),
        (ErrorCode.TOPIC_AUTHORIZATION_FAILED, False, ["TOPIC_AUTHORIZATION_FAILED"]),
        (ErrorCode.UNKNOWN_SERVER_ERROR, False, ["UNKNOWN"]),
    ],
)
def test_what_an_error_of_a_fetch_leads_to(error: ErrorCode, asks_who_leads: bool, told: list[str]) -> None:
    """rd_kafka_fetch_reply_handle_partition_error: all of them wait fetch.error.backoff.ms; of few the application hears."""
    alone = Alone()
    alone.fetched(error=error)

    assert alone.toppar.backoff_until == NOW + ms(500)
    assert ("t" in alone.consumer.metadata.unavailable) is asks_who_leads
    assert alone.errors == told
    assert alone.toppar.state is FetchState.ACTIVE


def test_out_of_range_is_a_reset_to_the_end_that_is_asked_for_a_tenth_of_a_second_later() -> None:
    alone = Alone(auto_offset_reset="largest")
    alone.fetched(error=ErrorCode.OFFSET_OUT_OF_RANGE)

    assert alone.toppar.query_at == NOW + ms(100)
    assert ListOffsetsRequest(((T0, 0),), "latest", True) in alone.asked()


def test_a_reset_to_the_beginning_asks_nobody_where_an_answer_has_told_it() -> None:
    """rd_kafka_offset_reset: the cached log start offset, of the last answer without an error."""
    alone = Alone()
    alone.fetched(batch(10))
    alone.fetching.stop(alone.toppar)
    alone.fetching.start(alone.toppar, (-1, -1), NOW)

    assert alone.toppar.fetch == (-1, 3)


def test_a_committed_offset_is_begun_at_without_a_question() -> None:
    """rd_kafka_toppar_fetch_start, where Java holds it against the leader's log first (CV-8)."""
    alone = Alone()

    assert alone.toppar.state is FetchState.ACTIVE
    assert not [one for one in alone.asked() if isinstance(one, OffsetForLeaderEpochRequest)]


def validated(alone: Alone, epoch: int, end: int) -> None:
    """Another leader says where the epoch of the fetcher's place ended in its log."""
    alone.fetched(batch(10, 10))
    alone.led_by("b2", 1)
    assert OffsetForLeaderEpochRequest(((T0, 1, 0),)) in alone.asked()
    request = AboutToppar(object(), NOW, alone.toppar, "b2")
    alone.fetching.epoch_came(request, OffsetForLeaderEpochResponse(((T0, NONE, epoch, end),)), NOW)


def test_records_in_the_queue_beyond_the_new_leaders_log_are_thrown_away() -> None:
    """KIP-320: rd_kafka_toppar_handle_OffsetForLeaderEpoch seeks to where the log ends."""
    alone = Alone()
    validated(alone, 0, 15)

    assert alone.toppar.fetch == (0, 15)
    assert alone.fetching.queue.messages == 0


def test_a_log_that_holds_it_all_costs_a_question() -> None:
    alone = Alone()
    validated(alone, 0, 20)

    assert alone.toppar.fetch == (0, 20)
    assert alone.toppar.state is FetchState.ACTIVE
    assert alone.fetching.queue.messages == 10


def test_without_a_policy_a_truncated_log_is_an_error() -> None:
    alone = Alone(auto_offset_reset="error")
    validated(alone, 0, 15)

    assert alone.errors == ["_AUTO_OFFSET_RESET"]
    assert alone.toppar.state is FetchState.NONE


def test_an_answer_about_offsets_that_comes_late_is_asked_for_again() -> None:
    """rd_kafka_toppar_handle_Offset: outdated by a version, half a second later."""
    alone = Alone(auto_offset_reset="largest")
    alone.fetched(error=ErrorCode.OFFSET_OUT_OF_RANGE)
    alone.asked()
    request = AboutToppar(object(), NOW, alone.toppar, "b1")
    request.version -= 1
    alone.fetching.offset_listed(request, ListOffsetsResponse(((T0, NONE, 7, 0),)), NOW)

    assert alone.toppar.state is FetchState.OFFSET_QUERY
    assert alone.toppar.query_at == NOW + ms(500)


def test_a_control_batch_has_its_place_in_the_queue() -> None:
    """rd_kafka_op_handle_std: nobody sees it, and its offset is stored: the next commit is behind it."""
    alone = Alone()
    alone.fetched(batch(10, 2, producer_id=1), batch(12, producer_id=1, marker=Marker(True, 0)))
    alone.consumer._poll(NOW, [])
    alone.consumer._worked(NOW, [])
    alone.consumer._poll(NOW, [])

    assert alone.toppar.stored == (0, 13)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["data", "data", "commit", "abort"]), st.integers(1, 4)), max_size=25), st.integers(0, 12))
def test_what_was_aborted_is_left_out_as_the_java_client_leaves_it_out(written: list[tuple[int, str, int]], begins: int) -> None:
    """rdkafka_msgset_reader.c keeps a list of beginnings per producer, CompletedFetch a set of those whose transaction is aborted (CV-2)."""
    batches: list[RecordBatch] = []
    begun: dict[int, int] = {}
    aborted: list[tuple[int, int]] = []
    at = 0
    for producer_id, what, count in written:
        if what == "data":
            begun.setdefault(producer_id, at)
            batches.append(batch(at, count, producer_id=producer_id))
        else:
            first = begun.pop(producer_id, None)
            if what == "abort" and first is not None:
                aborted.append((producer_id, first))
            batches.append(batch(at, producer_id=producer_id, marker=Marker(what == "commit", 0)))
        at = batches[-1].next_offset
    there = tuple(one for one in batches if one.next_offset > begins)
    overlapping = tuple(one for one in aborted if any(b.marker is not None and b.producer_id == one[0] and b.base_offset >= begins for b in batches[1:]))
    data = ConsumerFetchedPartition(T0, NONE, at, at, 0, there, overlapping)
    toppar, queue = Toppar(T0), ConsumerQueue()
    toppar.fetch = (0, begins)
    read_batches(toppar, data, queue, read_committed=True)
    found = [offset for entry in queue.entries if entry.records for offset in range(entry.base_offset, entry.base_offset + len(entry.records))]

    expected = CompletedFetch(data, begins, read_committed=True).take(1_000)
    assert found == [offset for one in expected for offset in range(one.base_offset, one.base_offset + len(one.records))]


@pytest.mark.parametrize("error", [ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE])
def test_a_question_for_committed_offsets_that_is_refused_as_a_whole_is_not_asked_again(error: ErrorCode) -> None:
    """librdkafka #5586: its partitions stay among those that were asked for, and stand still until the next rebalance."""
    alone = Alone()
    consumer = alone.consumer
    consumer.group.state, consumer.group.join_state = State.UP, Join.WAIT_ASSIGN
    consumer.assignment.assign([T0], NOW, [])
    (question,) = [request for request in consumer.group.coordinator.out if isinstance(request.message, OffsetFetchRequest)]
    assert isinstance(question, CommittedQuery)
    consumer.assignment.offsets_came(question, OffsetFetchResponse(error), NOW, [])
    consumer.group.coordinator.out.clear()
    consumer.assignment.serve(NOW + ms(60_000), [])

    assert not consumer.group.coordinator.out
    assert not consumer.retries
    assert consumer.assignment.queried
    consumer.assignment.unassign(NOW, [])
    assert not consumer.assignment.queried


def test_a_coordinator_that_is_loading_is_asked_again() -> None:
    alone = Alone()
    consumer = alone.consumer
    consumer.group.state, consumer.group.join_state = State.UP, Join.WAIT_ASSIGN
    consumer.assignment.assign([T0], NOW, [])
    question = consumer.group.coordinator.out[0]
    assert isinstance(question, CommittedQuery)
    consumer.assignment.offsets_came(question, OffsetFetchResponse(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS), NOW, [])

    assert [request for _, request in consumer.retries] == [question]


def queue_of(*entries: tuple[Toppar, int, int]) -> ConsumerQueue:
    """(partition, how many records, bytes of each); 0 records: a control batch."""
    queue = ConsumerQueue()
    for toppar, count, each in entries:
        queue.add(Received(toppar, "p", range(count), 10, 10 + max(1, count), 0, each))
    return queue


def test_the_application_is_given_batch_by_batch_and_the_queue_knows_what_is_left() -> None:
    """rd_kafka_consume_batch_queue: a control batch takes a place of its own, and no bytes."""
    one, other = Toppar("t-0"), Toppar("t-1")
    queue = queue_of((one, 3, 100), (other, 0, 0), (one, 2, 50))
    found = [(queue.messages, queue.bytes)]
    taken = []
    while (part := queue.take(2)) is not None:
        entry, first, count = part
        taken.append((entry.toppar.partition, first, count))
        found.append((queue.messages, queue.bytes))

    assert taken == [("t-0", 0, 2), ("t-0", 2, 1), ("t-1", 0, 1), ("t-0", 0, 2)]
    assert found == [(6, 400), (4, 200), (3, 100), (2, 100), (0, 0)]


def test_what_is_thrown_away_of_one_partition_leaves_the_others() -> None:
    one, other, third = Toppar("t-0"), Toppar("t-1"), Toppar("t-2")
    queue = queue_of((one, 3, 100), (other, 2, 10), (one, 1, 100))
    queue.take(1)
    assert [queue.holds(toppar) for toppar in (one, other, third)] == [True, True, False]
    queue.purge(third)
    assert (queue.messages, queue.bytes) == (5, 320)

    queue.purge(one)

    assert [queue.holds(toppar) for toppar in (one, other)] == [False, True]
    assert (queue.messages, queue.bytes) == (2, 20)


@pytest.mark.parametrize(
    ("producer_id", "base", "aborted"),
    [(1, 9, False), (1, 10, True), (1, 11, True), (2, 19, False), (2, 20, True), (3, 10, False)],
)
def test_a_batch_is_aborted_from_the_first_offset_of_its_producers_next_aborted_transaction_on(producer_id: int, base: int, aborted: bool) -> None:
    """rd_kafka_aborted_txns_get_offset."""
    assert AbortedTransactions(((2, 20), (1, 30), (1, 10))).has(producer_id, base) is aborted


def test_an_abort_marker_ends_the_first_of_its_producers_aborted_transactions_unless_it_stands_before_it() -> None:
    """rd_kafka_aborted_txns_pop_offset: a marker of a transaction without records is listed nowhere."""
    transactions = AbortedTransactions(((1, 10), (1, 30)))
    found = []
    for marker in (9, 15, 15, 30):
        transactions.end(1, marker)
        transactions.end(2, marker)
        found.append([transactions.has(1, base) for base in (10, 29, 30)])

    assert found == [[True, True, True], [False, False, True], [False, False, True], [False, False, False]]


def test_what_stands_before_the_fetchers_place_is_left_out_of_the_queue() -> None:
    """rd_kafka_msgset_reader: a batch is answered whole; one that ends there is skipped, and bytes are shared out among all that it holds."""
    toppar, queue = Toppar(T0), ConsumerQueue()
    toppar.fetch = 0, 11
    read_batches(toppar, ConsumerFetchedPartition(T0, NONE, 99, 99, 3, (batch(9, 2), batch(11, 1), batch(12, 4, epoch=2))), queue, read_committed=False)

    assert [(entry.base_offset, len(entry.records), entry.end, entry.epoch, entry.bytes_each) for entry in queue.entries] == [
        (11, 1, 12, 0, 100),
        (12, 4, 16, 2, 100),
    ]
    assert toppar.fetch == (2, 16)
    toppar.fetch = 2, 14
    queue = ConsumerQueue()
    read_batches(toppar, ConsumerFetchedPartition(T0, NONE, 99, 99, 3, (batch(12, 4, epoch=2),)), queue, read_committed=False)

    assert [(entry.base_offset, list(entry.records), entry.end) for entry in queue.entries] == [(14, [14, 15], 16)]


def test_a_partition_that_is_sent_somewhere_forgets_what_it_was_about_to_ask() -> None:
    toppar = Toppar(T0)
    toppar.state, toppar.query_at = FetchState.OFFSET_WAIT, 5
    toppar.go_to((3, 40))

    assert (toppar.next_start, toppar.fetch, toppar.state, toppar.query_at) == ((3, 40), (3, 40), FetchState.ACTIVE, NEVER)
