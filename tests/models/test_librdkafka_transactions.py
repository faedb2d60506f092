"""librdkafka's transactional producer: its states, what each error of each request means, and what the application hears (L1, L5, L9)."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.arrivals import Arrivals, InTransactions
from ksim_models.config import LibrdkafkaConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Acked, Failed, ProducerId, Refused, Transaction
from ksim_models.librdkafka_calls import LibrdkafkaCall
from ksim_models.librdkafka_transaction_states import IGNORED, LEGAL, State, normalized
from ksim_models.librdkafka_transactional import CallingLibrdkafka
from ksim_models.machine import Closed, Received, Wake
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse, ProduceRequest
from ksim_models.transaction_messages import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from ksim_models.transaction_pending import Group
from ksim_models.transactional_calls import Next
from ksim_models.units import MILLISECOND, ms
from scripted import Calls, Half, Script

TXN = "TxnCoordinator"
LATER = 10**6
OPEN = 1_201, LATER
"""The transaction waits for its second record."""
ID = 13131


class Coordinated(Script):
    """b1 leads everything, b2 coordinates. What the coordinators are asked is answered at once, unless `errors` has something else to say."""

    def __init__(self, *, records: int = 2, due: tuple[int, ...] = (1_201, 1_201), abort_every: int = 0, ready: bool = True, **config: Any) -> None:
        """due: when the application has its records, in ms."""
        calls = Calls(0), Calls(1)
        calls[0].times, calls[0].total = [ms(at) for at in due], len(due)
        calls[0].transaction = InTransactions(records, True, abort_every, 0, 0)
        settings: dict[str, Any] = {"linger_ms": 0, "enable_idempotence": True, "transactional_id": "t", "max_in_flight_requests_per_connection": 5} | config
        self.client = CallingLibrdkafka("p1", LibrdkafkaConfig(**settings), ["b1", "b2"], list[Arrivals](calls[:1]), Half())
        super().__init__(calls[:1], self.client)
        self.errors: dict[type, list[E]] = {}
        self.asked: list[object] = []
        self.epoch = 0
        self.client.sending.topic_of("t", 0)
        if ready:
            self.at(1_200)

    def _answer_at_once(self, message: object) -> object:
        error = next(iter(self.errors.get(type(message), ())), E.NONE)
        if error:
            self.errors[type(message)].pop(0)
        if type(message) in TOLD:
            self.asked.append(message)
        match message:
            case FindCoordinatorRequest():
                return FindCoordinatorResponse(error, "" if error else "b2")
            case InitProducerIdRequest():
                self.epoch = message.producer_epoch + 1
                return InitProducerIdResponse(error, -1 if error else ID, -1 if error else self.epoch)
            case AddPartitionsToTxnRequest():
                return AddPartitionsToTxnResponse(tuple((partition, error) for partition in message.partitions))
            case AddOffsetsToTxnRequest():
                return AddOffsetsToTxnResponse(error)
            case TxnOffsetCommitRequest():
                return TxnOffsetCommitResponse(tuple((partition, error) for partition, _ in message.offsets))
            case EndTxnRequest():
                return EndTxnResponse(error)
            case _:
                return super()._answer_at_once(message)

    # What a test looks at.

    @property
    def state(self) -> State:
        assert self.client.transactions is not None
        return self.client.transactions.state

    def was_asked(self) -> list[str]:
        return [TOLD[type(message)] for message in self.asked]

    def steps(self) -> list[str]:
        """The application's, with the error where a call failed."""
        told = [fact for _, fact in self.facts if isinstance(fact, Transaction)]
        return [f"{step.call}: {step.error}" if step.phase == "failed" else step.phase for step in told]

    def outcomes_of(self, kind: type[Acked] | type[Failed] | type[Refused]) -> list[tuple[list[int], str]]:
        return [(list(fact.records), "" if isinstance(fact, Acked) else fact.error) for _, fact in self.facts if isinstance(fact, kind)]

    # What happens.

    def coordinator_breaks_off(self) -> None:
        thread = self.client.brokers.get(TXN)
        assert thread is not None
        assert thread.connection is not None
        self.pending = [request for request in self.pending if request[0] != thread.connection]
        self._handle(Closed(thread.connection))

    def call(self, name: str, **more: Any) -> LibrdkafkaCall:
        """One that the application above does not make by itself. Every moment is looked at, as its thread does."""
        assert self.client.client is not None
        return LibrdkafkaCall(self.client.client.transactions, self.client.client.flushing, name, self.now, **more)

    def look(self, call: LibrdkafkaCall, milliseconds: float = 0) -> str:
        """Its error's code, "" where it returned, "..." where it waits."""
        until = self.now + int(milliseconds * 1000)
        while True:
            out: list[Any] = []
            if call.look(self.now, out):
                return call.error.code if call.error is not None else ""
            for effect in out:
                self._carry_out(effect)
            self._handle(Wake())
            if call.look(self.now, []):
                return call.error.code if call.error is not None else ""
            if self.now >= until:
                return "..."
            self.at(min(until, self.now + MILLISECOND) / 1000)


TOLD: dict[type, str] = {
    FindCoordinatorRequest: "FindCoordinator",
    InitProducerIdRequest: "InitProducerId",
    AddPartitionsToTxnRequest: "AddPartitions",
    AddOffsetsToTxnRequest: "AddOffsets",
    TxnOffsetCommitRequest: "TxnOffsetCommit",
    EndTxnRequest: "EndTxn",
}


# States.


def test_every_state_is_reached_from_somewhere_and_the_fatal_one_is_never_left() -> None:
    """rd_kafka_txn_state_transition_is_valid."""
    assert {target for target, sources in LEGAL.items() if not sources} == {State.INIT}
    assert all(target is State.FATAL_ERROR or State.FATAL_ERROR not in sources for target, sources in LEGAL.items())
    assert set(IGNORED) == {State.ABORTABLE_ERROR}
    assert not IGNORED[State.ABORTABLE_ERROR] & LEGAL[State.ABORTABLE_ERROR]


@pytest.mark.parametrize(
    ("error", "told"), [("INVALID_PRODUCER_EPOCH", "_FENCED"), ("PRODUCER_FENCED", "_FENCED"), ("_TIMED_OUT_QUEUE", "_TIMED_OUT"), ("_STATE", "_STATE")]
)
def test_errors_that_mean_the_same_have_one_name(error: str, told: str) -> None:
    """rd_kafka_txn_normalize_err."""
    assert normalized(error) == told


# The course of a transaction.


def test_a_producer_finds_its_coordinator_and_gets_its_id_over_a_connection_of_its_own() -> None:
    """L9: InitProducerId goes to the coordinator."""
    client = Coordinated(due=(LATER,))

    assert client.was_asked() == ["FindCoordinator", "InitProducerId"]
    assert client.state is State.READY
    assert [fact.producer_id for _, fact in client.facts if isinstance(fact, ProducerId)] == [ID]


def test_a_message_leaves_when_its_partition_is_registered_and_the_transaction_ends_when_all_have_their_reports() -> None:
    """TV1, whatever the broker speaks: AddPartitionsToTxn, Produce v10, EndTxn v1 (L9)."""
    client = Coordinated()
    client.at(1_210)

    request = client.requests[0][1]
    assert isinstance(request, ProduceRequest)
    assert request.batches[0].transactional
    assert (request.transactional_id, request.transaction_version, request.knows_abortable) == ("t", 1, False)
    assert client.was_asked()[2:] == ["AddPartitions"], "the end waits"
    client.answer(offset=0)
    client.at(1_220)

    assert client.was_asked()[2:] == ["AddPartitions", "EndTxn"]
    assert client.steps() == ["begin", "commit", "commit-sent", "committed"]
    assert client.asked[-1] == EndTxnRequest("t", ID, 0, True)


def test_a_commit_lets_nothing_linger() -> None:
    """rd_kafka_flush."""
    client = Coordinated(linger_ms=500)
    client.at(1_210)

    assert client.records() == [[0, 1]]


def test_an_empty_transaction_is_nobodys_affair() -> None:
    """H-142: fixed in 1.8."""
    client = Coordinated(due=(LATER,))
    assert client.client.transactions is not None
    client.client.transactions.current.name = "begin"
    client.client.transactions.begin_transaction(client.now, [])
    client.client.transactions.current.take()
    client.client.transactions.current.end()

    assert client.look(client.call("commit"), 5) == ""
    assert client.was_asked()[2:] == []
    assert client.state is State.READY


def test_an_abort_throws_away_what_waits_and_leaves_no_gap_in_the_sequences() -> None:
    """RD_KAFKA_PURGE_F_ABORT_TXN."""
    client = Coordinated(abort_every=3, due=(1_201, 1_201, 2_000, 2_000))
    assert client.client.transactions is not None
    client.client.transactions.number = 2  # So the first one here is aborted.
    client.errors[AddPartitionsToTxnRequest] = [E.COORDINATOR_LOAD_IN_PROGRESS]  # And nothing has left by then.
    client.at(1_220)
    assert client.outcomes_of(Failed) == [([0, 1], "_PURGE_QUEUE")]
    client.at(2_100)

    assert client.bases() == [(0, 0)], "the next transaction's"


# What goes wrong: what each error of each request means, (request, error) -> the application's steps and the state it ends in.

ABORTED = ["abort", "aborted"]
ERRORS = [
    ("AddPartitionsToTxn: retried 20 ms later", AddPartitionsToTxnRequest, E.CONCURRENT_TRANSACTIONS, [], State.READY),
    ("AddPartitionsToTxn: retried half a second later", AddPartitionsToTxnRequest, E.COORDINATOR_LOAD_IN_PROGRESS, [], State.READY),
    ("AddPartitionsToTxn: another coordinator", AddPartitionsToTxnRequest, E.NOT_COORDINATOR, [], State.READY),
    ("AddPartitionsToTxn: fenced", AddPartitionsToTxnRequest, E.PRODUCER_FENCED, ["commit: _FENCED"], State.FATAL_ERROR),
    ("AddPartitionsToTxn: wrong state", AddPartitionsToTxnRequest, E.INVALID_TXN_STATE, ["commit: INVALID_TXN_STATE"], State.FATAL_ERROR),
    (
        "AddPartitionsToTxn: of one partition",
        AddPartitionsToTxnRequest,
        E.TOPIC_AUTHORIZATION_FAILED,
        ["commit: TOPIC_AUTHORIZATION_FAILED", *ABORTED],
        State.READY,
    ),
    (
        "AddPartitionsToTxn: the id is gone",
        AddPartitionsToTxnRequest,
        E.INVALID_PRODUCER_ID_MAPPING,
        ["commit: INVALID_PRODUCER_ID_MAPPING", *ABORTED],
        State.READY,
    ),
    ("EndTxn: retried", EndTxnRequest, E.CONCURRENT_TRANSACTIONS, [], State.READY),
    ("EndTxn: another coordinator", EndTxnRequest, E.COORDINATOR_NOT_AVAILABLE, [], State.READY),
    ("EndTxn: fenced", EndTxnRequest, E.INVALID_PRODUCER_EPOCH, ["commit: _FENCED"], State.FATAL_ERROR),
    ("EndTxn: the id is gone", EndTxnRequest, E.UNKNOWN_PRODUCER_ID, ["commit: UNKNOWN_PRODUCER_ID", *ABORTED], State.READY),
    ("EndTxn: abortable", EndTxnRequest, E.TRANSACTION_ABORTABLE, ["commit: TRANSACTION_ABORTABLE", *ABORTED], State.READY),
]


@pytest.mark.parametrize(("request_", "error", "steps", "state"), [pytest.param(*row, id=name) for name, *row in ERRORS])
def test_what_an_error_of_the_coordinator_means(request_: type, error: E, steps: list[str], state: State) -> None:
    """L9: the three classes of errors."""
    client = Coordinated()
    client.errors[request_] = [error]
    for milliseconds in range(1_210, 3_500, 10):
        client.at(milliseconds)
        if client.requests:
            client.answer(offset=0)

    committed = [] if steps else ["committed"]
    told = [step for step in client.steps() if step not in ("begin", "commit", "commit-sent")]
    assert told == [*steps, *committed]
    assert client.state is state


@pytest.mark.parametrize(
    ("error", "code", "fatal"),
    [
        (E.INVALID_TRANSACTION_TIMEOUT, "INVALID_TRANSACTION_TIMEOUT", True),
        (E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", True),
        (E.COORDINATOR_LOAD_IN_PROGRESS, "", False),
        (E.NOT_COORDINATOR, "", False),
    ],
)
def test_without_an_id_the_producer_asks_again_every_half_second_or_never(error: E, code: str, fatal: bool) -> None:
    """rd_kafka_idemp_check_error; rd_kafka_idemp_request_pid_failed."""
    client = Coordinated(ready=False, due=(LATER,))
    client.errors[InitProducerIdRequest] = [error]
    client.at(4_000)

    assert client.state is (State.FATAL_ERROR if fatal else State.READY)
    assert client.steps() == ([f"init: {code}"] if fatal else [])
    assert client.was_asked().count("InitProducerId") == (1 if fatal else 2)


PRODUCE_ERRORS = [
    ("for good: the transaction is aborted, without another epoch", E.INVALID_RECORD, "INVALID_RECORD", State.READY, 0),
    ("the id is not known: the coordinator raises the epoch behind the abort", E.UNKNOWN_PRODUCER_ID, "UNKNOWN_PRODUCER_ID", State.READY, 1),
    ("fenced", E.INVALID_PRODUCER_EPOCH, "_FENCED", State.FATAL_ERROR, 0),
    ("out of order, at the head of the line", E.OUT_OF_ORDER_SEQUENCE_NUMBER, "OUT_OF_ORDER_SEQUENCE_NUMBER", State.FATAL_ERROR, 0),
]


@pytest.mark.parametrize(("error", "code", "state", "epoch"), [pytest.param(*row, id=name) for name, *row in PRODUCE_ERRORS])
def test_what_an_error_of_a_batch_means_for_the_transaction(error: E, code: str, state: State, epoch: int) -> None:
    """L5, L9; KIP-360: the epoch rises behind the abort, never in the middle of a transaction (H-142)."""
    client = Coordinated()
    client.at(1_210)
    client.answer(error)
    client.at(2_000)

    assert f"commit: {code}" in client.steps()
    assert client.state is state
    assert client.client.idempotence is not None
    assert client.client.idempotence.epoch == epoch
    order = client.was_asked()[2:]
    assert order == (["AddPartitions"] if state is State.FATAL_ERROR else ["AddPartitions", "EndTxn", *(["InitProducerId"] if epoch else [])])


def test_a_message_that_times_out_costs_the_transaction_and_another_epoch() -> None:
    """L1: message.timeout.ms is at most transaction.timeout.ms."""
    client = Coordinated(delivery_timeout_ms=2_000, transaction_timeout_ms=2_000, socket_timeout_ms=1_900)
    client.refusing = ["b1"]
    for connection, thread in list(client.client.brokers.by_connection.items()):
        if thread.broker == "b1":
            client._handle(Closed(connection))
    client.at(8_000)

    assert client.outcomes_of(Failed) == [([0, 1], "_MSG_TIMED_OUT")]
    assert client.steps()[1:] == ["commit", "commit: _TIMED_OUT", *ABORTED]
    assert client.epoch == 1


def test_a_failed_message_forbids_the_commit_even_where_the_transaction_itself_is_well() -> None:
    """txn_dr_fails."""
    client = Coordinated(retries=1)
    client.at(1_210)
    for milliseconds in (1_400, 1_900):
        client.answer(E.NOT_ENOUGH_REPLICAS)
        client.at(milliseconds)

    assert client.steps()[1:] == ["commit", "commit: _INCONSISTENT", *ABORTED]


def test_after_a_fatal_error_everything_is_refused() -> None:
    """L7."""
    client = Coordinated(due=(1_201, 1_201, 1_400, 1_400, 1_400))
    client.errors[EndTxnRequest] = [E.PRODUCER_FENCED]
    client.at(1_210)
    client.answer(offset=0)
    client.at(1_300)
    client.at(1_500)

    assert client.outcomes_of(Acked) == [([0, 1], "")]
    assert client.outcomes_of(Refused) == [([number], "_FATAL") for number in (2, 3, 4)]


# The coordinator's connection.


def test_an_end_whose_answer_is_lost_is_asked_for_again_over_the_next_connection() -> None:
    client = Coordinated()
    client.holding = (ProduceRequest, EndTxnRequest)
    client.at(1_210)
    client.answer(offset=0)
    client.at(1_220)
    client.coordinator_breaks_off()
    client.holding = (ProduceRequest,)
    client.at(3_000)

    assert client.steps()[-1] == "committed"
    assert client.was_asked()[2:] == ["AddPartitions", "FindCoordinator", "EndTxn"]


def test_partitions_wait_for_a_coordinator_that_cannot_be_reached_and_are_registered_when_it_can() -> None:
    """rd_kafka_txn_coord_monitor_cb."""
    client = Coordinated()
    client.refusing = ["b2"]
    client.coordinator_breaks_off()
    client.at(3_000)
    assert client.records() == []
    client.refusing = []
    client.at(15_000)

    assert client.records() == [[0, 1]]


def test_the_coordinator_is_looked_for_again_half_a_second_after_its_connection_was_lost() -> None:
    client = Coordinated()
    client.coordinator_breaks_off()
    before = client.was_asked().count("FindCoordinator")
    client.at(client.now / 1000 + 499)
    assert client.was_asked().count("FindCoordinator") == before
    client.at(client.now / 1000 + 1)

    assert client.was_asked().count("FindCoordinator") == before + 1


# Calls.


def test_init_transactions_gives_up_after_twice_the_transactions_time_and_goes_on_where_it_was() -> None:
    """confluent-kafka's default time-out, -1."""
    client = Coordinated(ready=False, due=(LATER,), transaction_timeout_ms=1_000, delivery_timeout_ms=1_000, socket_timeout_ms=900)
    client.refusing = ["b1", "b2"]
    client.at(2_100)
    assert client.steps() == ["init: _TIMED_OUT"]
    client.refusing = []
    client.at(20_000)

    assert client.state is State.READY


def test_a_call_whose_time_is_over_keeps_the_others_out_until_it_is_made_again() -> None:
    """rd_kafka_txn_curr_api_begin."""
    client = Coordinated(due=OPEN)
    client.at(1_210)
    commit = client.call("commit", timeout_ms=50)
    assert client.look(commit, 100) == "_TIMED_OUT"
    assert commit.next is Next.REPEAT
    other = client.call("abort")
    assert client.look(other) == "_CONFLICT"
    client.answer(offset=0)

    assert client.look(client.call("commit"), 20) == ""
    assert client.state is State.READY


@pytest.mark.parametrize("name", ["commit", "abort", "send-offsets"])
def test_a_call_that_is_not_for_the_state_says_which_it_is(name: str) -> None:
    client = Coordinated(due=(LATER,))
    call = client.call(name, offsets={"in-0": 5}, group=Group("g")) if name == "send-offsets" else client.call(name)

    assert client.look(call) == "_STATE"
    assert call.error is not None
    assert call.error.text == "Operation not valid in state Ready"
    assert call.next is Next.END


OFFSETS = [
    ("in the transaction", {}, "", ["AddOffsets", "FindCoordinator", "TxnOffsetCommit"]),
    (
        "retried half a second later",
        {TxnOffsetCommitRequest: [E.COORDINATOR_LOAD_IN_PROGRESS]},
        "",
        ["AddOffsets", "FindCoordinator", *["TxnOffsetCommit"] * 2],
    ),
    (
        "the group has another coordinator",
        {TxnOffsetCommitRequest: [E.NOT_COORDINATOR]},
        "",
        ["AddOffsets", "FindCoordinator", "TxnOffsetCommit", "FindCoordinator", "TxnOffsetCommit"],
    ),
    ("the member was given up", {TxnOffsetCommitRequest: [E.ILLEGAL_GENERATION]}, "ILLEGAL_GENERATION", ["AddOffsets", "FindCoordinator", "TxnOffsetCommit"]),
    ("fenced", {AddOffsetsToTxnRequest: [E.INVALID_PRODUCER_EPOCH]}, "_FENCED", ["AddOffsets"]),
    ("retried", {AddOffsetsToTxnRequest: [E.CONCURRENT_TRANSACTIONS]}, "", ["AddOffsets", "AddOffsets", "FindCoordinator", "TxnOffsetCommit"]),
    ("not allowed", {AddOffsetsToTxnRequest: [E.GROUP_AUTHORIZATION_FAILED]}, "GROUP_AUTHORIZATION_FAILED", ["AddOffsets"]),
]


@pytest.mark.parametrize(("errors", "told", "asked"), [pytest.param(*row, id=name) for name, *row in OFFSETS])
def test_offsets_go_to_the_groups_coordinator_when_the_transactions_knows_of_them(errors: dict[type, list[E]], told: str, asked: list[str]) -> None:
    """send_offsets_to_transaction: AddOffsetsToTxn, then TxnOffsetCommit (KIP-447)."""
    client = Coordinated(due=OPEN)
    client.at(1_210)
    client.errors = {kind: list(of) for kind, of in errors.items()}
    before = len(client.was_asked())

    assert client.look(client.call("send-offsets", offsets={"in-0": 5}, group=Group("g", "m", 3)), 1_200) == told
    assert client.was_asked()[before:] == asked
    if not told:
        assert client.asked[-1] == TxnOffsetCommitRequest("t", "g", ID, 0, (("in-0", 5),), "m", 3, epochs=(-1,))


def test_offsets_have_the_transactions_time_and_can_be_sent_again_behind_it() -> None:
    client = Coordinated(due=OPEN, transaction_timeout_ms=2_000, delivery_timeout_ms=2_000, socket_timeout_ms=1_900)
    client.at(1_210)
    client.errors[AddOffsetsToTxnRequest] = [E.CONCURRENT_TRANSACTIONS] * 1_000
    call = client.call("send-offsets", offsets={"in-0": 5}, group=Group("g"))

    assert client.look(call, 6_000) == "CONCURRENT_TRANSACTIONS"
    assert call.next is Next.REPEAT


def test_an_answer_to_the_registering_of_partitions_that_comes_behind_the_abort_is_out_of_date() -> None:
    """RD_KAFKA_RESP_ERR__OUTDATED: it no longer counts as something that the coordinator knows of."""
    client = Coordinated(abort_every=1)
    client.holding = (ProduceRequest, AddPartitionsToTxnRequest)
    client.at(1_220)
    assert client.state is State.ABORTING_TRANSACTION
    connection, message = next(request for request in client.pending if isinstance(request[1], AddPartitionsToTxnRequest))
    client.pending.remove((connection, message))
    client.holding = (ProduceRequest,)
    client._handle(Received(connection, AddPartitionsToTxnResponse((("t-0", E.NONE),))))
    client.at(1_300)

    assert client.steps() == ["begin", "abort", "aborted"]
    assert client.client.transactions is not None
    assert client.client.transactions.registered == {}
