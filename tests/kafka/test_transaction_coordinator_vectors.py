"""Kafka's behavioural vectors of the transaction coordinator (section H), on the coordinator alone: its log is played by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.coordinated_transaction import LAST_EPOCH, State, Tombstone, Transaction, completed, decided, with_next_epoch, with_partitions
from ksim_models.errors import NONE, ErrorCode
from ksim_models.facts import TransactionState
from ksim_models.image import Image
from ksim_models.internal_topics import InternalTopics, place_of
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.machine import Effect, Note
from ksim_models.messages import BrokerRecord, InitProducerIdRequest, InitProducerIdResponse, PartitionRecord, RecordBatch, TopicRecord
from ksim_models.peers import Peers
from ksim_models.producer_ids import ProducerIds
from ksim_models.profiles import broker_profile
from ksim_models.replica import Replica
from ksim_models.transaction_cache import Entry, TransactionCache
from ksim_models.transaction_coordinator import TransactionCoordinator
from ksim_models.transaction_markers import TransactionMarkers
from ksim_models.transaction_messages import TRANSACTION_STATE, EndTxnRequest, EndTxnResponse, TxnMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse
from ksim_models.units import Micros

CT, PF, PIM, ITS = ErrorCode.CONCURRENT_TRANSACTIONS, ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_PRODUCER_ID_MAPPING, ErrorCode.INVALID_TXN_STATE
ID = "x"
PARTITION = f"{TRANSACTION_STATE}-{place_of(ID, 50)}"
P, E = 9, 10
OLD = "3.9"
Then = Callable[[ErrorCode, int, Micros, list[Effect]], None]


class Paper:
    """A log that waits until the test says what becomes of each append."""

    def __init__(self) -> None:
        self.appends: list[tuple[tuple[object, ...], Then]] = []
        self.written: list[object] = []

    def append_internal(self, partition: str, payload: tuple[object, ...], size_bytes: int, *, then: Then, **how: Any) -> None:
        assert partition == PARTITION
        assert how["acks"] == -1  # TC-3
        self.appends.append((payload, then))


class Post:
    """Requests to other brokers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, WriteTxnMarkersRequest, Any]] = []

    def send(self, broker: str, request: WriteTxnMarkersRequest, told: Any, now: Micros, out: list[Effect]) -> None:
        self.sent.append((broker, request, told))


class Desk:
    """The coordinator of ID, in leader epoch 1."""

    def __init__(self, *, kafka: str = "4.3", version: int | None = None, replicas: Mapping[str, Replica] | None = None, **config: Any) -> None:
        profile, settings = broker_profile(kafka), replace(BrokerConfig(), **config)
        profile = profile if version is None else replace(profile, transaction_version=version)
        self.image = Image()
        self.image.apply([BrokerRecord("b1", 1, False), BrokerRecord("b2", 2, False), TopicRecord("t", 2, ())])
        self.image.apply([PartitionRecord(f"t-{number}", ("b1", "b2"), ("b1",), (), (), leader, 0, 0, False) for number, leader in enumerate(("b1", "b2"))])
        self.paper, self.post = Paper(), Post()
        self.controller_is_there = True
        topics = InternalTopics(settings, self.image, lambda request, out: None)
        self.cache = TransactionCache("b1", profile, topics, replicas or {}, cast(Leading, self.paper))
        markers = TransactionMarkers(profile, self.image, cast(Peers, self.post), self.cache)
        self.coordinator = TransactionCoordinator(profile, settings, self.cache, markers, ProducerIds(1, 0, lambda: self.controller_is_there).next, 0)
        self.now: Micros = 1_000_000
        self.out: list[Effect] = []
        self.told: list[Any] = []
        if replicas is None:
            self.elect()

    def elect(self, epoch: int = 1) -> None:
        self.coordinator.elected(PARTITION, epoch, self.now, self.out)
        self.now += 1_000
        self.coordinator.wake(self.now, self.out)

    def put(self, state: State, epoch: int = E, producer_id: int = P, *, pending: State | None = None, **more: Any) -> Entry:
        known = Transaction(ID, producer_id, 60_000, self.now // 1000, state, epoch, previous_producer_id=producer_id)
        if state in (State.ONGOING, State.PREPARE_COMMIT, State.PREPARE_ABORT):
            known = replace(known, partitions=("t-0",), start_ms=self.now // 1000)
        entry = self.cache.caches[PARTITION].entries[ID] = Entry(replace(known, **more))
        entry.pending = pending
        return entry

    @property
    def entry(self) -> Entry:
        return self.cache.caches[PARTITION].entries[ID]

    @property
    def known(self) -> tuple[State, int, int]:
        at = self.entry.now
        return at.state, at.producer_id, at.producer_epoch

    def is_in(self, state: State) -> bool:
        return self.entry.now.state is state

    def _last(self) -> Any:
        return self.told.pop() if self.told else None

    def init(self, expected: tuple[int, int] = (-1, -1), timeout_ms: int = 60_000) -> Any:
        """The response, None while it waits for its append."""
        self.coordinator.init_producer_id(InitProducerIdRequest(ID, timeout_ms, *expected), self._hear, self.now, self.out)
        return self._last()

    def add(self, *partitions: str, epoch: int = E, producer_id: int = P, version: int = 1) -> Any:
        def told(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
            self.told.append(error)

        self.coordinator.add_partitions(ID, producer_id, epoch, partitions or ("t-0",), version, told, self.now, self.out)
        return self._last()

    def end(self, *, commit: bool, epoch: int = E, producer_id: int = P, version: int = 1) -> Any:
        self.coordinator.end(EndTxnRequest(ID, producer_id, epoch, commit, version), self._hear, self.now, self.out)
        return self._last()

    def _hear(self, response: Any, now: Micros, out: list[Effect]) -> None:
        self.told.append(response)

    def appended(self) -> list[object]:
        """What waits to be written."""
        return [record for payload, _ in self.paper.appends for record in payload]

    def log(self, error: ErrorCode = NONE) -> Any:
        """The oldest append succeeds, or fails; what is then told."""
        payload, then = self.paper.appends.pop(0)
        if not error:
            self.paper.written.extend(payload)
        then(error, 0 if not error else -1, self.now, self.out)
        return self._last()

    def mark(self, error: ErrorCode = NONE) -> None:
        """All markers on their way are answered."""
        sent, self.post.sent = self.post.sent, []
        for _, request, told in sent:
            results = tuple((marker.producer_id, partition, error) for marker in request.markers for partition in marker.partitions)
            told(WriteTxnMarkersResponse(results), self.now, self.out)

    def markers(self) -> list[TxnMarker]:
        return [marker for _, request, _ in self.post.sent for marker in request.markers]

    def states(self) -> list[str]:
        return [effect.fact.state for effect in self.out if isinstance(effect, Note) and isinstance(effect.fact, TransactionState)]

    def pass_time(self, milliseconds: int) -> None:
        end = self.now + milliseconds * 1000
        while self.coordinator.wake_at <= end:
            self.now = max(self.now, self.coordinator.wake_at)
            self.coordinator.wake(self.now, self.out)
        self.now = end


def ids(response: Any) -> tuple[ErrorCode, int, int]:
    assert isinstance(response, InitProducerIdResponse | EndTxnResponse)
    return response.error, response.producer_id, response.producer_epoch


# InitProducerId.


def test_a_new_id_gets_a_producer_id_and_epoch_0() -> None:
    """BV-251, TC-22."""
    desk = Desk()

    assert desk.init() is None
    assert ids(desk.log()) == (NONE, 1000, 0)
    assert desk.known == (State.EMPTY, 1000, 0)


@pytest.mark.parametrize("state", [None, State.EMPTY, State.ONGOING])
def test_without_a_controller_there_is_no_new_producer_id(state: State | None) -> None:
    """KIP-730, KAFKA-14417: for a new id, for one whose epochs are used up, and for the end of its last transaction. All are to be asked again."""
    desk = Desk()
    desk.controller_is_there = False
    if state is not None:
        desk.put(state, LAST_EPOCH - 1)

    def ask() -> Any:
        return desk.end(commit=True, epoch=LAST_EPOCH - 1, version=2) if state is State.ONGOING else desk.init()

    assert ask().error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert desk.appended() == []
    desk.controller_is_there = True
    assert ask() is None
    assert desk.log().error is NONE


def test_an_exhausted_epoch_changes_the_producer_id() -> None:
    """BV-253, TC-10."""
    desk = Desk()
    desk.put(State.EMPTY, LAST_EPOCH - 1)
    desk.init()

    assert ids(desk.log()) == (NONE, 1000, 0)


@pytest.mark.parametrize(("timeout_ms", "valid"), [(1, True), (-1, False), (0, False), (900_000, True), (900_001, False)])
def test_a_time_out_is_positive_and_not_above_the_brokers_maximum(timeout_ms: int, valid: bool) -> None:
    """BV-254, TC-21."""
    answer = Desk().init(timeout_ms=timeout_ms)

    assert answer is None if valid else answer.error is ErrorCode.INVALID_TRANSACTION_TIMEOUT


@pytest.mark.parametrize("state", [State.EMPTY, State.COMPLETE_ABORT, State.COMPLETE_COMMIT])
def test_an_id_without_a_transaction_gets_the_next_epoch(state: State) -> None:
    """BV-256, TC-23."""
    desk = Desk()
    desk.put(state)
    desk.init(timeout_ms=7_000)

    assert ids(desk.log()) == (NONE, P, E + 1)
    assert desk.entry.now.timeout_ms == 7_000


@pytest.mark.parametrize("state", [State.PREPARE_COMMIT, State.PREPARE_ABORT])
def test_who_comes_while_a_transaction_ends_has_to_wait(state: State) -> None:
    """BV-257."""
    desk = Desk()
    desk.put(state)

    assert ids(desk.init())[0] is CT


def test_who_comes_while_a_transaction_is_open_aborts_it_and_has_to_come_again() -> None:
    """TC-23, TC-24: E becomes E + 2, the epoch between is nobody's."""
    desk = Desk()
    desk.put(State.ONGOING)
    assert desk.init() is None

    assert ids(desk.log())[0] is CT
    assert desk.known == (State.PREPARE_ABORT, P, E + 1)
    assert [(marker.producer_epoch, marker.committed) for marker in desk.markers()] == [(E + 1, False)]
    desk.mark()
    desk.log()
    desk.init()
    assert ids(desk.log()) == (NONE, P, E + 2)


@pytest.mark.parametrize(
    ("kafka", "version", "epochs", "flags"),
    [
        pytest.param(OLD, 0, [E + 1, E + 1, E + 1], [True, True, False], id="BV-260 version 0"),
        pytest.param("4.0.0", 2, [E + 1, E + 1, E + 2], [True, True, False], id="BV-260 4.0.0"),
        pytest.param("4.3", 2, [E, E, E + 1], [False, False, False], id="BV-260 version 2"),
    ],
)
def test_a_fence_that_is_not_written_is_not_counted_twice(kafka: str, version: int, epochs: list[int], flags: list[bool]) -> None:
    """TC-4, TC-25."""
    desk = Desk(kafka=kafka, version=version)
    desk.put(State.ONGOING)
    answers, seen, flagged = [], [], []
    for error in (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.NOT_ENOUGH_REPLICAS, NONE):
        desk.init()
        answers.append(ids(desk.log(error))[0])
        seen.append(desk.known[2])
        flagged.append(desk.entry.failed_epoch_fence)

    assert answers == [ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.COORDINATOR_NOT_AVAILABLE, CT]
    assert seen == epochs
    assert flagged == flags


@pytest.mark.parametrize(
    ("kafka", "takeover"),
    [pytest.param("4.0.0", E + 2, id="4.0.0"), pytest.param("4.0.1", E + 1, id="4.0.1"), pytest.param("4.3", E + 1, id="4.3")],
)
def test_tc_24_a_fence_takes_one_epoch_but_for_4_0_0(kafka: str, takeover: int) -> None:
    desk = Desk(kafka=kafka)
    desk.put(State.ONGOING)
    desk.init()
    desk.log()

    assert desk.known == (State.PREPARE_ABORT, P, takeover)


def test_a_request_that_is_repeated_is_answered_as_before() -> None:
    """BV-262, KIP-360."""
    desk = Desk()
    desk.put(State.EMPTY, 10, last_producer_epoch=9)
    desk.init((P, 10))

    assert ids(desk.log()) == (NONE, P, 11)
    desk.init((P, 10))
    assert ids(desk.log()) == (NONE, P, 11)


def test_who_was_overtaken_is_fenced() -> None:
    """BV-263."""
    desk = Desk()
    desk.put(State.EMPTY, 10, last_producer_epoch=9)
    desk.init()

    assert ids(desk.log()) == (NONE, P, 11)
    assert ids(desk.init((P, 10)))[0] is PF


def test_another_producer_id_is_fenced() -> None:
    """BV-265."""
    desk = Desk()
    desk.put(State.EMPTY, E, P + 1, previous_producer_id=P)

    assert ids(desk.init((P, E)))[0] is PF


def test_who_missed_the_answer_with_its_new_producer_id_is_told_again() -> None:
    """BV-266."""
    desk = Desk()
    desk.put(State.EMPTY, LAST_EPOCH - 1)
    desk.init((P, LAST_EPOCH - 1))

    assert ids(desk.log()) == (NONE, 1000, 0)
    desk.init((P, LAST_EPOCH - 1))
    assert ids(desk.log()) == (NONE, 1000, 0)


@pytest.mark.parametrize(
    ("before", "expected", "epochs"),
    [
        pytest.param((-1, -1), None, (0, -1), id="BV-268 new"),
        pytest.param((735, -1), None, (736, -1), id="BV-268"),
        pytest.param((735, 734), 735, (736, 735), id="BV-269 the current"),
        pytest.param((735, 734), 734, (735, 734), id="BV-269 the last"),
        pytest.param((735, 734), 733, None, id="BV-269 an older one"),
    ],
)
def test_which_epoch_comes_next(before: tuple[int, int], expected: int | None, epochs: tuple[int, int] | None) -> None:
    desk = Desk()
    desk.put(State.EMPTY, before[0], last_producer_epoch=before[1])
    answer = desk.init((-1, -1) if expected is None else (P, expected))
    if epochs is None:
        assert ids(answer)[0] is PF
    else:
        desk.log()
        assert (desk.entry.now.producer_epoch, desk.entry.now.last_producer_epoch) == epochs


def test_who_comes_while_something_is_being_written_raises_no_epoch() -> None:
    """BV-317."""
    desk = Desk()
    desk.put(State.ONGOING, 10)
    desk.end(commit=True, epoch=10)

    assert ids(desk.init((P, 10)))[0] is CT
    assert desk.known[2] == 10


@pytest.mark.parametrize(("change", "error"), [({"producer_epoch": E + 1}, PF), ({"producer_id": P + 1}, PIM)])
@pytest.mark.parametrize("version", [0, 2])
def test_an_epoch_that_was_raised_meanwhile_ends_the_abort(version: int, change: dict[str, int], error: ErrorCode) -> None:
    """BV-259: the step that aborts finds a newer epoch, or another producer id."""
    desk = Desk(version=version)
    desk.put(State.ONGOING, E + 2, pending=State.PREPARE_EPOCH_FENCE)
    fence = replace(desk.entry.now, **change)  # type: ignore[arg-type]
    desk.coordinator._abort_as_coordinator(fence, desk._hear, desk.now, desk.out)

    assert desk.told.pop().error is error


@pytest.mark.parametrize(
    ("since", "error"),
    [
        pytest.param("resigned", ErrorCode.NOT_COORDINATOR, id="TC-5 another broker coordinates"),
        pytest.param("loading", ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, id="TC-6 it was elected again, and reads still"),
        pytest.param("loaded", ErrorCode.NOT_COORDINATOR, id="TC-5 it was elected again, under another epoch"),
    ],
)
@pytest.mark.parametrize("when", ["before", "behind"])
def test_what_was_decided_in_another_coordinator_epoch_is_not_written_or_does_not_count(since: str, error: ErrorCode, when: str) -> None:
    """before: its append; behind it, when the log answers."""
    desk = Desk()
    after = desk.put(State.EMPTY).prepare(replace(desk.entry.now, state=State.ONGOING))
    told: list[ErrorCode] = []

    def write() -> None:
        desk.cache.write(1, after, lambda error, now, out: told.append(error), desk.now, desk.out)

    if when == "behind":
        write()
    desk.coordinator.resigned(PARTITION, desk.now, desk.out)
    if since != "resigned":
        desk.coordinator.elected(PARTITION, 2, desk.now, desk.out)
    if since == "loaded":
        desk.now += 1_000
        desk.coordinator.wake(desk.now, desk.out)
    if when == "behind":
        desk.log()
    else:
        write()

    assert (told, desk.paper.appends) == ([error], [])


@pytest.mark.parametrize("loses_it", [True, False])
def test_an_id_that_has_expired_is_gone_when_its_tombstone_is_written(loses_it: bool) -> None:
    """TC-63: unless another coordinates by then, who reads it."""
    desk = Desk()
    entry = desk.put(State.EMPTY)
    desk.cache.bury(PARTITION, [entry], 30_000, desk.now, desk.out)
    assert desk.appended() == [Tombstone(ID)]
    if loses_it:
        desk.coordinator.resigned(PARTITION, desk.now, desk.out)
        desk.elect(2)
        desk.put(State.EMPTY)
    desk.log()

    assert (ID in desk.cache.caches[PARTITION].entries) is loses_it


# AddPartitionsToTxn.


@pytest.mark.parametrize(("known", "asks"), [(False, P), (True, P + 1)], ids=["BV-271 unknown", "BV-271 another producer id"])
def test_only_a_known_id_may_add_partitions(known: bool, asks: int) -> None:
    desk = Desk()
    if known:
        desk.put(State.EMPTY)

    assert desk.add(producer_id=asks) is PIM


@pytest.mark.parametrize("epoch", [E - 1, E + 1])
def test_tc_30_only_the_current_epoch_may_add_partitions(epoch: int) -> None:
    desk = Desk()
    desk.put(State.EMPTY)

    assert desk.add(epoch=epoch) is PF


@pytest.mark.parametrize("state", [State.PREPARE_COMMIT, State.PREPARE_ABORT])
def test_nothing_is_added_while_a_transaction_ends(state: State) -> None:
    """BV-274."""
    desk = Desk()
    desk.put(state)

    assert desk.add() is CT


@pytest.mark.parametrize(("kafka", "error"), [(OLD, PF), ("4.3", CT)])
def test_tc_30_what_is_being_written_is_waited_for_first_since_4_0(kafka: str, error: ErrorCode) -> None:
    desk = Desk(kafka=kafka)
    desk.put(State.ONGOING, pending=State.PREPARE_COMMIT)

    assert desk.add(epoch=E - 1) is error


@pytest.mark.parametrize("state", [State.EMPTY, State.ONGOING, State.COMPLETE_COMMIT, State.COMPLETE_ABORT])
def test_a_new_partition_is_written_first(state: State) -> None:
    """BV-275."""
    desk = Desk()
    before = desk.put(state).now

    assert desk.add("t-1") is None
    assert desk.log() is NONE
    assert desk.known == (State.ONGOING, P, E)
    assert desk.entry.now.partitions == (*before.partitions, "t-1")


def test_a_partition_that_is_there_already_needs_no_writing() -> None:
    """BV-276."""
    desk = Desk()
    desk.put(State.ONGOING)

    assert desk.add("t-0") is NONE
    assert desk.appended() == []


def test_the_clock_of_a_transaction_starts_with_its_first_partition() -> None:
    """BV-277, TC-60: also where the clock goes back."""
    empty = Transaction(ID, P, 60_000, 1_000, State.EMPTY, E, start_ms=1_000)
    first = with_partitions(empty, ("t-0",), 1, 999)
    second = with_partitions(first, ("t-1",), 1, 998)

    assert (first.start_ms, second.start_ms, second.update_ms) == (999, 999, 998)


@pytest.mark.parametrize(("kafka", "error"), [("3.7", ITS), ("3.8", ErrorCode.TRANSACTION_ABORTABLE)])
def test_a_question_is_answered_partition_by_partition(kafka: str, error: ErrorCode) -> None:
    """BV-082, TC-33: whatever the state, and whatever is being written."""
    desk = Desk(kafka=kafka)
    desk.put(State.EMPTY, partitions=("t-0",), pending=State.ONGOING)

    assert desk.coordinator.verify(ID, P, E, ("t-0", "t-1")) == (("t-0", NONE), ("t-1", error))


@pytest.mark.parametrize(
    ("state", "producer_id", "epoch", "error"),
    [(State.ONGOING, P + 1, E, PIM), (State.ONGOING, P, E - 1, PF), (State.ONGOING, P, E + 1, PF), (State.PREPARE_COMMIT, P, E, CT)],
)
def test_tc_33_a_question_needs_the_right_id_and_epoch_and_no_end_under_way(state: State, producer_id: int, epoch: int, error: ErrorCode) -> None:
    desk = Desk()
    desk.put(state)

    assert desk.coordinator.verify(ID, producer_id, epoch, ("t-0",)) == (("t-0", error),)


# EndTxn.


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("known", "asks"), [(False, P), (True, P + 1)], ids=["BV-278 unknown", "BV-278 another producer id"])
def test_only_a_known_id_may_end_a_transaction(known: bool, asks: int, version: int) -> None:
    desk = Desk()
    if known:
        desk.put(State.ONGOING)

    assert desk.end(commit=True, producer_id=asks, version=version).error is PIM


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("commit", [True, False])
def test_an_open_transaction_is_decided_and_the_client_told_before_the_markers(version: int, commit: bool) -> None:
    """BV-280, TC-41, TC-43: with version 2 the epoch rises with the decision."""
    desk = Desk()
    desk.put(State.ONGOING)
    epoch = E + 1 if version == 2 else E

    assert desk.end(commit=commit, version=version) is None
    told = desk.log()
    assert ids(told) == ((NONE, P, epoch) if version == 2 else (NONE, -1, -1))
    assert desk.known == (State.PREPARE_COMMIT if commit else State.PREPARE_ABORT, P, epoch)
    assert [(marker.producer_epoch, marker.committed, marker.coordinator_epoch) for marker in desk.markers()] == [(epoch, commit, 1)]
    desk.mark()
    desk.log()
    assert desk.known == (State.COMPLETE_COMMIT if commit else State.COMPLETE_ABORT, P, epoch)


A, B = True, False
NEXT = "the next epoch"


@pytest.mark.parametrize(
    ("version", "state", "commit", "epoch", "answer"),
    [
        pytest.param(1, State.COMPLETE_COMMIT, A, E, NONE, id="BV-281 commit"),
        pytest.param(1, State.COMPLETE_COMMIT, B, E, ITS, id="BV-281 abort"),
        pytest.param(1, State.COMPLETE_ABORT, B, E, NONE, id="BV-282 abort"),
        pytest.param(1, State.COMPLETE_ABORT, A, E, ITS, id="BV-282 commit"),
        pytest.param(1, State.PREPARE_COMMIT, A, E, CT, id="BV-283 version 0"),
        pytest.param(2, State.PREPARE_COMMIT, A, E - 1, CT, id="BV-283 version 2"),
        pytest.param(1, State.PREPARE_ABORT, A, E, CT, id="BV-284 version 0"),
        pytest.param(2, State.PREPARE_ABORT, A, E - 1, CT, id="BV-284 version 2"),
        pytest.param(2, State.PREPARE_ABORT, A, E + 7, CT, id="BV-284 any epoch"),
        pytest.param(1, State.COMPLETE_COMMIT, A, E - 1, PF, id="BV-286 version 0, BV-295 commit"),
        pytest.param(2, State.COMPLETE_COMMIT, A, E - 2, PF, id="BV-286 version 2"),
        pytest.param(1, State.PREPARE_COMMIT, A, E - 1, PF, id="BV-287 prepare"),
        pytest.param(1, State.COMPLETE_COMMIT, B, E - 1, PF, id="BV-295 abort"),
        pytest.param(2, State.COMPLETE_COMMIT, A, E - 1, NONE, id="TC-42 a retried commit"),
        pytest.param(2, State.COMPLETE_COMMIT, A, E, ITS, id="TC-42 a second commit"),
        pytest.param(2, State.COMPLETE_COMMIT, B, E - 1, ITS, id="BV-292 retried"),
        pytest.param(2, State.COMPLETE_COMMIT, B, E, NEXT, id="BV-292 of nothing"),
        pytest.param(2, State.COMPLETE_ABORT, B, E - 1, NONE, id="BV-293 retried"),
        pytest.param(2, State.COMPLETE_ABORT, B, E, NEXT, id="BV-293 of nothing"),
        pytest.param(2, State.COMPLETE_ABORT, A, E - 1, ITS, id="TC-42 a commit of what was aborted"),
        pytest.param(2, State.COMPLETE_ABORT, A, E, ITS, id="TC-42 a commit behind an abort"),
        pytest.param(1, State.EMPTY, B, E, ITS, id="BV-296"),
        pytest.param(2, State.EMPTY, B, E, NEXT, id="TC-42 an abort of nothing"),
        pytest.param(2, State.EMPTY, B, E - 1, PF, id="TC-42 an older abort of nothing"),
        pytest.param(2, State.EMPTY, A, E, ITS, id="TC-42 a commit of nothing"),
        pytest.param(2, State.ONGOING, A, E - 1, PF, id="TC-42, TC-46 a late commit"),
        pytest.param(2, State.ONGOING, B, E - 1, PF, id="TC-42, TC-46 a late abort"),
        pytest.param(1, State.ONGOING, A, E + 1, PF, id="TC-40 a newer epoch"),
    ],
)
def test_what_an_end_is_answered(version: int, state: State, commit: bool, epoch: int, answer: object) -> None:
    """TC-40, TC-42, TC-45. While a decision is carried out its completion is pending."""
    desk = Desk()
    desk.put(state, pending={State.PREPARE_COMMIT: State.COMPLETE_COMMIT, State.PREPARE_ABORT: State.COMPLETE_ABORT}.get(state))
    told = desk.end(commit=commit, epoch=epoch, version=version)
    if answer == NEXT:
        assert told is None
        assert desk.entry.pending is State.PREPARE_ABORT
        assert ids(desk.log()) == (NONE, P, E + 1)
        assert (desk.entry.now.start_ms, desk.entry.now.partitions) == (desk.now // 1000, ())
    else:
        assert told.error is answer
        assert desk.appended() == []
        assert ids(told)[1:] == ((P, E) if answer is NONE and version == 2 else (-1, -1))


def test_epochs_that_are_used_up_change_the_producer_id_with_the_end() -> None:
    """BV-289, BV-290, BV-298, TC-43."""
    desk = Desk()
    desk.put(State.ONGOING, LAST_EPOCH - 1)
    desk.end(commit=True, epoch=LAST_EPOCH - 1, version=2)

    assert ids(desk.log()) == (NONE, 1000, 0)
    assert desk.known == (State.PREPARE_COMMIT, P, LAST_EPOCH)
    assert desk.end(commit=True, epoch=LAST_EPOCH - 1, version=2).error is CT
    assert desk.add(producer_id=1000, epoch=0, version=2) is CT
    desk.mark()
    desk.log()
    assert desk.known == (State.COMPLETE_COMMIT, 1000, 0)
    assert ids(desk.end(commit=True, epoch=LAST_EPOCH - 1, version=2)) == (NONE, 1000, 0)
    assert desk.add(producer_id=1000, epoch=0, version=2) is None
    assert desk.log() is NONE


@pytest.mark.parametrize(("kafka", "next_id"), [("4.2", -1), ("4.3", 1000)])
def test_tc_43_a_fence_that_uses_up_the_epochs_changes_the_producer_id_since_4_3(kafka: str, next_id: int) -> None:
    desk = Desk(kafka=kafka)
    desk.put(State.ONGOING, LAST_EPOCH - 1)
    desk.init()
    desk.log()

    assert (desk.entry.now.producer_epoch, desk.entry.now.next_producer_id) == (LAST_EPOCH, next_id)


@pytest.mark.parametrize("late", ["an abort", "an InitProducerId"])
def test_who_was_aborted_by_time_out_in_the_last_epoch_of_its_id_goes_on_with_the_next_one(late: str) -> None:
    """TC-43, KAFKA-20090: shouldHandleTimeoutAtEpochOverflowBoundaryCorrectlyAndLateClientAbortRequestTV2, ...AndRetryInitProducerIdTV2."""
    desk = Desk()
    desk.put(State.ONGOING, LAST_EPOCH - 1)
    desk.coordinator._watch(desk.entry.now)
    desk.pass_time(200_000)
    desk.log()
    assert (desk.known, desk.entry.now.next_producer_id) == ((State.PREPARE_ABORT, P, LAST_EPOCH), 1000)
    desk.mark()
    desk.log()
    assert desk.known == (State.COMPLETE_ABORT, 1000, 0)

    answer = desk.end(commit=False, epoch=LAST_EPOCH - 1, version=2) if late == "an abort" else desk.init((P, LAST_EPOCH - 1))
    assert ids(answer or desk.log()) == (NONE, 1000, 0)


def test_a_transaction_that_is_aborted_by_time_out_in_the_last_epoch_leaves_the_producer_there_before_4_3() -> None:
    """KAFKA-20090, TransactionsTest.testRecoveryFromEpochOverflow: its late abort is taken for a retry, it goes on in epoch 32767, and never ends again."""
    desk = Desk(kafka="4.2")
    desk.put(State.ONGOING, LAST_EPOCH - 1)
    desk.coordinator._watch(desk.entry.now)
    desk.pass_time(200_000)
    desk.log()
    desk.mark()
    desk.log()

    assert ids(desk.end(commit=False, epoch=LAST_EPOCH - 1, version=2)) == (NONE, P, LAST_EPOCH)
    assert desk.add(epoch=LAST_EPOCH, version=2) is None
    assert desk.log() is NONE
    assert desk.end(commit=True, epoch=LAST_EPOCH, version=2).error is ErrorCode.UNKNOWN_SERVER_ERROR
    assert desk.init().error is ErrorCode.UNKNOWN_SERVER_ERROR


@pytest.mark.parametrize("kafka", ["4.0.0", "4.2"])
def test_a_transaction_in_the_last_epoch_never_ends_before_4_3(kafka: str) -> None:
    """KAFKA-20090, H-129: neither its producer, nor the next one, nor its time-out ends it; and who comes behind it is not aborted by its time-out either."""
    desk = Desk(kafka=kafka)
    desk.put(State.ONGOING, LAST_EPOCH)
    behind = desk.cache.caches[PARTITION].entries["x2"] = Entry(replace(desk.entry.now, transactional_id="x2", producer_epoch=1))

    for answer in (desk.end(commit=True, epoch=LAST_EPOCH, version=2), desk.end(commit=False, epoch=LAST_EPOCH, version=2), desk.init()):
        assert answer.error is ErrorCode.UNKNOWN_SERVER_ERROR
    desk.coordinator._watch(desk.entry.now)
    desk.pass_time(200_000)
    assert (desk.known, desk.entry.pending) == ((State.ONGOING, P, LAST_EPOCH), None)
    assert (behind.now.state, behind.pending) == (State.ONGOING, None)
    assert desk.appended() == []


@pytest.mark.parametrize("how", ["its producer", "the next one", "its time-out"])
def test_a_transaction_in_the_last_epoch_is_aborted_and_changes_the_producer_id_since_4_3(how: str) -> None:
    """KAFKA-20090. Committed it is not: that epoch was no client's to have."""
    desk = Desk()
    desk.put(State.ONGOING, LAST_EPOCH)
    assert desk.end(commit=True, epoch=LAST_EPOCH, version=2).error is ErrorCode.UNKNOWN_SERVER_ERROR
    if how == "its producer":
        desk.end(commit=False, epoch=LAST_EPOCH, version=2)
    elif how == "the next one":
        desk.init()
    else:
        desk.coordinator._watch(desk.entry.now)
        desk.pass_time(200_000)
    desk.log()

    assert desk.known == (State.PREPARE_ABORT, P, LAST_EPOCH)
    assert desk.entry.now.next_producer_id >= 1000


@pytest.mark.parametrize(
    ("epoch", "next_id", "prepared", "after"),
    [
        pytest.param(10, -1, (P, 11), (P, 11), id="BV-297"),
        pytest.param(LAST_EPOCH - 1, 9893, (P, LAST_EPOCH), (9893, 0), id="BV-298"),
    ],
)
def test_the_epochs_of_an_end(epoch: int, next_id: int, prepared: tuple[int, int], after: tuple[int, int]) -> None:
    open_one = Transaction(ID, P, 60_000, 0, State.ONGOING, epoch, start_ms=0)
    first = decided(open_one, State.PREPARE_COMMIT, 2, next_id, 1)
    second = completed(first, 2)

    assert (first.producer_id, first.producer_epoch, first.last_producer_epoch) == (*prepared, epoch)
    assert (second.producer_id, second.producer_epoch) == after


# Appends that fail.


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        pytest.param(ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR, id="BV-307"),
        (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR),
        pytest.param(ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.UNKNOWN_SERVER_ERROR, id="BV-308"),
        pytest.param(ErrorCode.RECORD_LIST_TOO_LARGE, ErrorCode.UNKNOWN_SERVER_ERROR, id="BV-308 a list"),
        (ErrorCode.CORRUPT_MESSAGE, ErrorCode.CORRUPT_MESSAGE),
    ],
)
def test_what_a_client_is_told_of_an_append_that_failed(error: ErrorCode, told: ErrorCode) -> None:
    """TC-4: and everything is as before."""
    desk = Desk()
    desk.put(State.ONGOING)
    desk.end(commit=True)

    assert desk.log(error).error is told
    assert (desk.known, desk.entry.pending) == ((State.ONGOING, P, E), None)


@pytest.mark.parametrize("how", ["resigned", "re-elected", "forgotten"])
def test_who_coordinates_no_more_when_the_append_succeeds_says_so(how: str) -> None:
    """BV-307, BV-310, TC-5."""
    desk = Desk()
    desk.put(State.ONGOING)
    desk.end(commit=True)
    if how == "resigned":
        desk.coordinator.resigned(PARTITION, desk.now, desk.out)
    elif how == "re-elected":
        desk.elect(2)
    else:
        del desk.cache.caches[PARTITION].entries[ID]

    assert desk.log().error is ErrorCode.NOT_COORDINATOR
    assert desk.states() == []


# Markers.


def test_markers_go_to_every_leader_and_completion_waits_for_the_last() -> None:
    """TC-51, TC-52, TC-55."""
    desk = Desk()
    desk.put(State.ONGOING, partitions=("t-0", "t-1"))
    desk.end(commit=True)
    desk.log()
    (one, request, told), other = desk.post.sent
    desk.post.sent = [other]

    told(WriteTxnMarkersResponse(((P, "t-0", NONE),)), desk.now, desk.out)

    assert (one, request.markers[0].partitions) == ("b1", ("t-0",))
    assert desk.is_in(State.PREPARE_COMMIT)
    desk.mark()
    desk.log()
    assert desk.is_in(State.COMPLETE_COMMIT)


@pytest.mark.parametrize(
    "error", [ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.REQUEST_TIMED_OUT, None]
)
def test_a_marker_that_failed_is_sent_again_at_once(error: ErrorCode | None) -> None:
    """TC-52, TC-53: None is a connection that went."""
    desk = Desk()
    desk.put(State.ONGOING)
    desk.end(commit=True)
    desk.log()
    if error is None:
        _, _, told = desk.post.sent.pop()
        told(None, desk.now, desk.out)
    else:
        desk.mark(error)

    assert len(desk.markers()) == 1
    assert desk.add() is CT  # TC-34, TC-57
    desk.mark()
    assert desk.appended() != []


@pytest.mark.parametrize("error", [ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTION_COORDINATOR_FENCED])
def test_tc_52_a_marker_that_is_fenced_is_given_up(error: ErrorCode) -> None:
    desk = Desk()
    desk.put(State.ONGOING)
    desk.end(commit=True)
    desk.log()
    desk.mark(error)

    assert (desk.markers(), desk.appended()) == ([], [])
    assert desk.is_in(State.PREPARE_COMMIT)
    assert desk.entry.pending is State.COMPLETE_COMMIT


def test_tc_50_a_partition_without_a_leader_waits_and_one_that_is_gone_does_not() -> None:
    desk = Desk()
    gone = PartitionRecord("t-1", ("b1", "b2"), ("b2",), (), (), "", 1, 1, False)
    desk.image.apply([gone])
    desk.put(State.ONGOING, partitions=("t-1", "deleted-0"))
    desk.end(commit=True)
    desk.log()
    assert desk.markers() == []

    desk.image.apply([replace(gone, leader="b1", leader_epoch=2, partition_epoch=2)])
    desk.coordinator.markers.metadata_changed(desk.now, desk.out)

    assert [marker.partitions for marker in desk.markers()] == [("t-1",)]
    desk.mark()
    assert desk.appended() != []


def test_tc_55_an_end_that_cannot_be_written_is_written_later() -> None:
    desk = Desk()
    desk.put(State.ONGOING)
    desk.end(commit=True)
    desk.log()
    desk.mark()

    desk.log(ErrorCode.NOT_ENOUGH_REPLICAS)
    assert (desk.known[0], desk.entry.pending) == (State.PREPARE_COMMIT, State.COMPLETE_COMMIT)
    desk.pass_time(30_000)
    desk.log()
    assert desk.is_in(State.COMPLETE_COMMIT)


# Time.


@pytest.mark.parametrize(
    ("kafka", "version", "epoch"),
    [
        pytest.param(OLD, 0, E + 1, id="BV-299"),
        pytest.param("4.3", 2, E + 1, id="BV-299 version 2"),
        pytest.param("4.0.0", 2, E + 2, id="BV-299 4.0.0"),
    ],
)
def test_an_open_transaction_is_aborted_when_its_time_is_over(kafka: str, version: int, epoch: int) -> None:
    """TC-60, TC-61: within ten seconds, under an epoch that its producer does not have."""
    desk = Desk(kafka=kafka, version=version)
    desk.put(State.EMPTY)
    desk.add()
    desk.log()
    desk.pass_time(60_000)
    assert desk.appended() == []

    desk.pass_time(10_000)
    desk.log()

    assert desk.known == (State.PREPARE_ABORT, P, epoch)
    assert desk.add(epoch=E) in (CT, PF)


def test_what_is_being_written_is_not_aborted() -> None:
    """BV-301, TC-62."""
    desk = Desk()
    desk.put(State.EMPTY)
    desk.add()
    desk.log()
    desk.end(commit=True)
    desk.pass_time(100_000)

    assert [cast(Transaction, record).state for record in desk.appended()] == [State.PREPARE_COMMIT]


@pytest.mark.parametrize(
    ("kafka", "version", "epochs"),
    [pytest.param(OLD, 0, [E + 1, E + 1], id="BV-302"), pytest.param("4.3", 2, [E, E + 1], id="BV-302 version 2")],
)
def test_an_abort_that_could_not_be_written_is_tried_again(kafka: str, version: int, epochs: list[int]) -> None:
    desk = Desk(kafka=kafka, version=version)
    desk.put(State.EMPTY)
    desk.add()
    desk.log()
    desk.pass_time(71_000)
    desk.log(ErrorCode.NOT_ENOUGH_REPLICAS)
    seen = [desk.known[2]]
    desk.pass_time(10_000)
    desk.log()

    assert [*seen, desk.known[2]] == epochs
    assert desk.is_in(State.PREPARE_ABORT)


def test_tc_61_who_was_aborted_by_time_out_may_survive_with_version_2() -> None:
    """Its own abort looks like a retry, and it goes on with the next epoch; its commit is INVALID_TXN_STATE."""
    desk = Desk()
    desk.put(State.EMPTY)
    desk.add(version=2)
    desk.log()
    desk.pass_time(71_000)
    desk.log()
    assert desk.end(commit=False, version=2).error is CT
    desk.mark()
    desk.log()

    assert ids(desk.end(commit=False, version=2)) == (NONE, P, E + 1)
    assert desk.end(commit=True, version=2).error is ITS


WEEK_MS = 604_800_000


@pytest.mark.parametrize("state", [State.COMPLETE_COMMIT, State.COMPLETE_ABORT, State.EMPTY])
@pytest.mark.parametrize("works", [True, False])
def test_an_id_that_was_idle_for_a_week_is_forgotten_if_that_can_be_written(state: State, works: bool) -> None:
    """BV-304, TC-63."""
    desk = Desk()
    desk.put(state)
    desk.coordinator._watch_expiry(desk.entry.now)
    desk.pass_time(WEEK_MS + 3_600_000)

    assert desk.appended() == [Tombstone(ID)]
    desk.log(NONE if works else ErrorCode.NOT_ENOUGH_REPLICAS)
    assert (ID in desk.cache.caches[PARTITION].entries) is not works
    assert desk.add() in ((PIM,) if works else (None,))


@pytest.mark.parametrize("state", [State.ONGOING, State.PREPARE_ABORT, State.PREPARE_COMMIT])
def test_an_id_with_a_transaction_is_not_forgotten(state: State) -> None:
    """BV-305."""
    desk = Desk(transaction_max_timeout_ms=2_000_000_000)
    desk.put(state, timeout_ms=2_000_000_000)
    desk.coordinator._watch_expiry(desk.entry.now)
    desk.pass_time(2 * WEEK_MS)

    assert not any(isinstance(record, Tombstone) for record in desk.appended())


INEXPRESSIBLE = {"BV-272": "a request without a transactional id is another request here: nobody can send one"}


# Another coordinator.


def log_of(*records: object) -> Mapping[str, Replica]:
    log = Log()
    for record in records:
        log.append_as_leader(RecordBatch(PARTITION, "", range(1), 100, payload=(record,)), 0)
    return {PARTITION: Replica(PARTITION, log, ("b1",), log.config, min_isr_capped=True)}


def step(name: str, state: State, *partitions: str, epoch: int = E, **more: Any) -> Transaction:
    return replace(Transaction(name, P, 60_000, 1, state, epoch, partitions=partitions, start_ms=1, client_version=2), **more)


def test_a_new_coordinator_knows_what_the_log_says_to_its_end() -> None:
    """BV-311, TC-6, TC-7: id1 is carried out, id2 is idle, id3 was forgotten."""
    records = [
        step(ID, State.ONGOING, "t-0"),
        step(ID, State.ONGOING, "t-0", "t-1"),
        step(ID, State.PREPARE_COMMIT, "t-0", "t-1"),
        step("x2", State.ONGOING, "t-0"),
        step("x2", State.PREPARE_ABORT, "t-0"),
        step("x2", State.COMPLETE_ABORT),
        step("x2", State.EMPTY, last_producer_epoch=E - 1, previous_producer_id=P),
        step("x3", State.EMPTY),
        Tombstone("x3"),
    ]
    desk = Desk(replicas=log_of(*records))
    assert desk.init().error is ErrorCode.NOT_COORDINATOR

    desk.coordinator.elected(PARTITION, 4, desk.now, desk.out)
    assert desk.init().error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    desk.now += 1_000
    desk.coordinator.wake(desk.now, desk.out)

    assert list(desk.cache.caches[PARTITION].entries) == [ID, "x2"]
    assert [(marker.coordinator_epoch, marker.committed, marker.partitions) for marker in desk.markers()] == [(4, True, ("t-0",)), (4, True, ("t-1",))]
    assert desk.cache.caches[PARTITION].entries["x2"].now.last_producer_epoch == -1  # TC-9
    desk.coordinator.resigned(PARTITION, desk.now, desk.out)
    assert desk.init().error is ErrorCode.NOT_COORDINATOR


@pytest.mark.parametrize(("kafka", "state"), [("3.7", State.PREPARE_COMMIT), ("3.8", State.COMPLETE_COMMIT)])
def test_a_late_answer_of_an_older_epoch_stops_the_markers_of_a_newer_one_before_3_8(kafka: str, state: State) -> None:
    """KAFKA-16352, shouldNotLoseTxnCompletionAfterLoad: the transaction waits for ever, though all its markers are written."""
    desk = Desk(kafka=kafka, replicas=log_of(step(ID, State.PREPARE_COMMIT, "t-0", client_version=0)))
    desk.elect(1)
    late, desk.post.sent = desk.post.sent, []
    desk.elect(2)
    newer, desk.post.sent = desk.post.sent, late
    desk.mark()
    desk.post.sent = newer
    desk.mark()
    if desk.paper.appends:
        desk.log()

    assert desk.known == (state, P, E)


def test_a_coordinator_that_loads_anew_never_answers_what_it_was_writing_before_3_8() -> None:
    """KAFKA-15468, testAppendTransactionToLogWhilePendingStateChanged: the change took effect all the same."""
    replicas = dict(log_of(step(ID, State.ONGOING, "t-0", client_version=0)))
    desk = Desk(kafka="3.7", replicas=replicas)
    desk.elect(1)
    assert desk.add("t-1") is None
    (record,) = desk.appended()
    replicas[PARTITION].log.append_as_leader(RecordBatch(PARTITION, "", range(1), 100, payload=(record,)), 0)
    desk.elect(1)

    assert desk.log() is None
    assert (desk.entry.now.partitions, desk.entry.pending) == (("t-0", "t-1"), None)
    assert desk.add("t-1") is NONE


def test_while_it_loads_anew_what_it_was_writing_is_to_be_asked_again_before_3_8() -> None:
    """KAFKA-15468."""
    desk = Desk(kafka="3.7", replicas=log_of(step(ID, State.ONGOING, "t-0", client_version=0)))
    desk.elect(1)
    desk.add("t-1")
    desk.coordinator.elected(PARTITION, 1, desk.now, desk.out)

    assert desk.log() is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


@pytest.mark.parametrize("state", [State.PREPARE_COMMIT, State.PREPARE_ABORT])
def test_what_was_decided_is_carried_out_by_the_next_coordinator(state: State) -> None:
    """BV-313."""
    desk = Desk(replicas=log_of(step(ID, state, "t-0")))
    desk.elect(2)

    assert [marker.committed for marker in desk.markers()] == [state is State.PREPARE_COMMIT]


def test_who_resigns_forgets_everything() -> None:
    """BV-314, TC-8."""
    desk = Desk()
    desk.put(State.ONGOING)
    desk.end(commit=True)
    desk.log()
    desk.coordinator.resigned(PARTITION, desk.now, desk.out)

    assert desk.coordinator.markers.endings == {}
    assert desk.cache.caches == {}
    desk.mark()
    assert desk.appended() == []


@pytest.mark.parametrize(
    ("kafka", "version", "known"),
    [("4.3", 0, (-1, -1, 0)), ("4.2", 2, (-1, -1, 2)), ("4.3", 1, (P, 7, 2)), ("4.3", 2, (P, 7, 2))],
)
def test_tc_9_other_producer_ids_are_written_since_4_3_with_version_1(kafka: str, version: int, known: tuple[int, int, int]) -> None:
    """KAFKA-20310."""
    desk = Desk(kafka=kafka, replicas=log_of(step(ID, State.PREPARE_COMMIT, "t-0", previous_producer_id=P, next_producer_id=7)), version=version)
    desk.elect()
    at = desk.entry.now

    assert (at.previous_producer_id, at.next_producer_id, at.client_version) == known


@pytest.mark.parametrize(("kafka", "told"), [("4.2", (ErrorCode.INVALID_PRODUCER_ID_MAPPING, P, LAST_EPOCH)), ("4.3", (NONE, 1000, 0))])
def test_a_new_producer_id_is_lost_with_its_coordinator_before_4_3(kafka: str, told: tuple[ErrorCode, int, int]) -> None:
    """KAFKA-20310, H-129: the producer was told 1000 already. Its next transaction is nobody's."""
    desk = Desk(kafka=kafka, replicas=log_of(step(ID, State.PREPARE_COMMIT, "t-0", epoch=LAST_EPOCH, previous_producer_id=P, next_producer_id=1000)))
    desk.elect()
    desk.mark()
    desk.log()
    error = desk.add(producer_id=1000, epoch=0, version=2)

    assert desk.known == (State.COMPLETE_COMMIT, *told[1:])
    assert (desk.log() if error is None else error) is told[0]


def test_the_next_epoch_of_an_idle_id_begins_with_no_partition() -> None:
    again = with_next_epoch(step(ID, State.COMPLETE_COMMIT), E + 1, -1, 5_000, 9)

    assert (again.state, again.partitions, again.start_ms, again.timeout_ms) == (State.EMPTY, (), -1, 5_000)
