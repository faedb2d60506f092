"""Kafka's behavioural vectors of KIP-890's verification (sections C and H): a leader alone, the transaction coordinator is played by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import NONE, ErrorCode
from ksim_models.machine import Closed, Received
from ksim_models.messages import Marker, PartitionRecord, ProduceRequest, RecordBatch, TopicRecord
from ksim_models.producer_state import ProducerState
from ksim_models.producer_transactions import PartitionTransactions
from ksim_models.transaction_messages import TRANSACTION_STATE, AddPartitionsToTxnBatchRequest, AddPartitionsToTxnBatchResponse
from lone_broker import BROKERS, LoneBroker, partition

ITS, PIM, OOS, IPE = (
    ErrorCode.INVALID_TXN_STATE,
    ErrorCode.INVALID_PRODUCER_ID_MAPPING,
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode.INVALID_PRODUCER_EPOCH,
)
CT, NER = ErrorCode.CONCURRENT_TRANSACTIONS, ErrorCode.NOT_ENOUGH_REPLICAS
ID = "x"
P = 7


class Leader:
    """b1 leads t-0 alone; the coordinator of every id is b2 (or nobody)."""

    def __init__(self, *, kafka: str = "4.3", coordinator: str = "b2", **config: Any) -> None:
        self.alone = LoneBroker(partition(isr=("b1",)), kafka=kafka, **config)
        coordinated = PartitionRecord(f"{TRANSACTION_STATE}-0", BROKERS, BROKERS, (), (), coordinator, 0, 0, False)
        self.alone.learn(TopicRecord(TRANSACTION_STATE, 1, ()), coordinated)
        self.clients = 0

    def produce(
        self, sequence: int, count: int = 1, *, epoch: int = 0, version: int = 1, knows_abortable: bool = True, transactional: bool = True, producer_id: int = P
    ) -> str:
        """On a connection of its own, where the answer is to be found."""
        self.clients += 1
        connection = self.alone.client(f"p{self.clients}")
        batch = RecordBatch("t-0", "p1", range(sequence, sequence + count), 100, producer_id, epoch, sequence, transactional=transactional)
        name = ID if transactional else ""
        request = ProduceRequest(1, 30_000, (batch,), transactional_id=name, transaction_version=version, knows_abortable=knows_abortable)
        self.alone.tell(Received(connection, request))
        self.alone.accept_opens()
        return connection

    @property
    def questions(self) -> list[AddPartitionsToTxnBatchRequest]:
        return self.alone.asked(AddPartitionsToTxnBatchRequest)

    def coordinator_says(self, error: ErrorCode) -> None:
        """To the newest question."""
        connection, question = next((to, said) for to, said in reversed(self.alone.sent) if isinstance(said, AddPartitionsToTxnBatchRequest))
        assert isinstance(question, AddPartitionsToTxnBatchRequest)
        results = tuple((one.transactional_id, tuple((name, error) for name in one.partitions)) for one in question.transactions)
        self.alone.tell(Received(connection, AddPartitionsToTxnBatchResponse(results)))

    def told(self, connection: str) -> ErrorCode | None:
        codes = self.alone.codes(connection)
        return codes[0] if codes else None

    def verified(self, sequence: int, count: int = 1, **how: Any) -> ErrorCode | None:
        connection = self.produce(sequence, count, **how)
        self.coordinator_says(NONE)
        return self.told(connection)

    @property
    def producers(self) -> ProducerState:
        return self.alone.replica.log.producers

    @property
    def transactions(self) -> PartitionTransactions:
        return self.producers.transactions

    @property
    def end(self) -> int:
        return self.alone.replica.log.log_end_offset

    def mark(self, *, commit: bool = True, epoch: int = 0) -> None:
        batch = RecordBatch("t-0", "", range(1), 78, P, epoch, -1, transactional=True, marker=Marker(commit, 0))
        self.alone.broker.leading.append_own((batch,), 1, 1_000, lambda results, now, out: None, self.alone.now, [])


def test_a_guard_is_used_again_until_the_transaction_begins() -> None:
    """BV-070, PS-3, PS-67."""
    leader = Leader()
    leader.produce(0)
    guard = leader.transactions.verifying[P]
    leader.coordinator_says(ErrorCode.NOT_COORDINATOR)

    connection = leader.produce(0)
    assert leader.transactions.verifying[P] is guard
    leader.coordinator_says(NONE)

    assert leader.told(connection) is NONE
    assert leader.transactions.verifying == {}


def test_a_guard_knows_the_lowest_sequence_of_the_newest_epoch() -> None:
    """BV-071, PS-62."""
    transactions = PartitionTransactions()
    guard = transactions.verify(P, 0, 1, 0, bumps_epoch=False)
    seen = []
    for epoch, sequence in ((0, 0), (1, 2), (0, 0)):
        assert transactions.verify(P, epoch, sequence, 0, bumps_epoch=False) is guard
        seen.append((guard.epoch, guard.lowest_sequence))

    assert seen == [(0, 0), (1, 2), (1, 2)]


@pytest.mark.parametrize(("waited", "kept"), [(43_200_000_000, True), (86_400_000_001, False)])
def test_a_guard_expires_with_the_producers(waited: int, kept: bool) -> None:
    """BV-073, PS-50: counted from its making."""
    producers = ProducerState()
    producers.transactions.verify(P, 0, 0, 0, bumps_epoch=False)
    producers.expire(waited, 86_400_000_000)

    assert (P in producers.transactions.verifying) is kept


def test_only_the_issued_guard_opens_a_partition() -> None:
    """BV-074, PS-11."""
    leader = Leader(transaction_partition_verification_enable=True)
    leader.produce(0, 3, transactional=False)
    batch = RecordBatch("t-0", "p1", range(3), 100, P, 0, 3, transactional=True)
    leading, now = leader.alone.broker.leading, leader.alone.now
    foreign = PartitionTransactions().verify(P, 0, 3, 0, bumps_epoch=False)
    guard = leader.transactions.verify(P, 0, 3, 0, bumps_epoch=False)

    answers = [leading._append(batch, 1, now, [], proof)[0] for proof in (None, foreign, guard, None)]
    behind = RecordBatch("t-0", "p1", range(1), 100, P, 0, 6, transactional=True)
    answers.append(leading._append(behind, 1, now, [], None)[0])

    assert answers == [ITS, ITS, NONE, NONE, NONE]
    assert leader.end == 7


def test_a_refused_transaction_may_begin_once_it_is_verified() -> None:
    """BV-076."""
    leader = Leader()
    first = leader.produce(6)
    leader.coordinator_says(ITS)
    guard = leader.transactions.verifying[P]
    assert (leader.told(first), leader.end) == (ITS, 0)

    second = leader.produce(6)
    assert leader.transactions.verifying[P] is guard
    leader.coordinator_says(NONE)

    assert (leader.told(second), leader.end, leader.transactions.open) == (NONE, 1, {P: 0})
    assert leader.transactions.verifying == {}


def test_a_later_batch_does_not_overtake_one_that_was_refused() -> None:
    """BV-077, PS-13b."""
    leader = Leader()
    first = leader.produce(0)
    leader.coordinator_says(PIM)

    assert leader.told(first) is PIM
    assert leader.verified(1) is OOS
    assert P in leader.transactions.verifying


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "error",
    [ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, None, CT],
    ids=lambda error: "BV-079 the connection goes" if error is None else f"BV-079 {error.name}" if isinstance(error, ErrorCode) else "",
)
def test_what_a_producer_may_repeat_is_told_as_too_few_replicas(error: ErrorCode | None, version: int) -> None:
    """BV-079, PS-64, PS-65, PS-68: transaction version 2 asks again itself while the transaction before is not over, for 100 ms, and then says so."""
    leader = Leader()
    connection = leader.produce(0, version=version)
    if error is None:
        asked_on = next(to for to, said in leader.alone.sent if isinstance(said, AddPartitionsToTxnBatchRequest))
        leader.alone.tell(Closed(asked_on))
    else:
        leader.coordinator_says(error)
    if error is CT and version == 2:
        for _ in range(5):
            assert leader.told(connection) is None
            leader.alone.until(leader.alone.now + 20_000)
            leader.coordinator_says(CT)
        assert len(leader.questions) == 6

    assert leader.told(connection) is (CT if error is CT and version == 2 else NER)
    assert leader.end == 0


@pytest.mark.parametrize(("kafka", "told"), [("3.6", ErrorCode.NETWORK_EXCEPTION), ("3.7.0", ErrorCode.NETWORK_EXCEPTION), ("3.7.1", NER)])
def test_ps_65_a_lost_question_is_told_as_too_few_replicas_since_3_7_1(kafka: str, told: ErrorCode) -> None:
    """KAFKA-16386."""
    leader = Leader(kafka=kafka)
    connection = leader.produce(0)
    leader.alone.tell(Closed(next(to for to, said in leader.alone.sent if isinstance(said, AddPartitionsToTxnBatchRequest))))

    assert leader.told(connection) is told


def test_the_previous_transaction_ends_while_the_leader_asks_again() -> None:
    """PS-68."""
    leader = Leader()
    connection = leader.produce(0, version=2)
    leader.coordinator_says(CT)
    leader.alone.until(leader.alone.now + 20_000)
    leader.coordinator_says(NONE)

    assert leader.told(connection) is NONE


@pytest.mark.parametrize(
    ("version", "kafka", "verify_only"),
    [pytest.param(1, "3.9", True, id="PS-63 verify"), pytest.param(2, "4.3", False, id="PS-68 add")],
)
def test_what_is_asked(version: int, kafka: str, verify_only: bool) -> None:
    leader = Leader(kafka=kafka)
    leader.produce(3, epoch=2, version=version)

    (one,) = leader.questions[0].transactions
    assert (one.transactional_id, one.producer_id, one.producer_epoch, one.partitions, one.verify_only) == (ID, P, 2, ("t-0",), verify_only)


def test_two_producers_in_one_request_are_refused_unasked() -> None:
    """BV-080, PS-66."""
    leader = Leader()
    connection = leader.alone.client()
    batches = tuple(RecordBatch(f"t-{number}", "p1", range(1), 100, P + number, 0, 0, transactional=True) for number in range(2))
    leader.alone.tell(Received(connection, ProduceRequest(1, 30_000, batches, transactional_id=ID)))

    assert leader.alone.codes(connection) == [PIM, PIM]
    assert leader.questions == []


@pytest.mark.parametrize(("knows", "error"), [(True, ErrorCode.TRANSACTION_ABORTABLE), (False, ITS)])
def test_ps_65_who_does_not_know_transaction_abortable_is_told_otherwise(knows: bool, error: ErrorCode) -> None:
    leader = Leader()
    connection = leader.produce(0, knows_abortable=knows)
    leader.coordinator_says(ErrorCode.TRANSACTION_ABORTABLE)

    assert leader.told(connection) is error


def test_ps_65_who_is_fenced_is_told_of_its_epoch() -> None:
    leader = Leader()
    connection = leader.produce(0)
    leader.coordinator_says(ErrorCode.PRODUCER_FENCED)

    assert leader.told(connection) is IPE


def test_an_answer_behind_a_marker_cannot_be_used() -> None:
    """BV-083, PS-67."""
    leader = Leader()
    connection = leader.produce(0)
    leader.mark()
    assert (leader.transactions.open, leader.transactions.verifying) == ({}, {})
    leader.coordinator_says(NONE)

    assert leader.told(connection) is ITS


def test_ps_62_an_open_transaction_needs_no_question() -> None:
    leader = Leader()
    leader.verified(0)
    connection = leader.produce(1)

    assert leader.told(connection) is NONE
    assert len(leader.questions) == 1


@pytest.mark.parametrize(("kafka", "asked"), [("4.0", 1), ("4.1", 0)])
def test_ps_62_an_old_epoch_is_refused_unasked_since_4_1(kafka: str, asked: int) -> None:
    leader = Leader(kafka=kafka)
    leader.mark(epoch=3)
    connection = leader.produce(0, epoch=2)
    if asked:
        leader.coordinator_says(NONE)

    assert leader.told(connection) in ((IPE,) if kafka == "4.1" else (ITS, IPE))
    assert len(leader.questions) == asked


def test_ps_61_who_does_not_lead_asks_nobody() -> None:
    leader = Leader()
    leader.alone.learn(partition("b2", epoch=1, partition_epoch=1))
    connection = leader.produce(0)

    assert leader.told(connection) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert leader.questions == []


@pytest.mark.parametrize(
    ("kafka", "enabled", "version", "asked"),
    [
        pytest.param("3.5", True, 1, 0, id="PS-60 3.5"),
        pytest.param("3.6", True, 1, 1, id="PS-60 3.6"),
        pytest.param("4.3", False, 1, 0, id="PS-60 switched off"),
        pytest.param("4.3", False, 2, 1, id="PS-60 switched off, version 2"),
    ],
)
def test_when_the_coordinator_is_asked(kafka: str, enabled: bool, version: int, asked: int) -> None:
    leader = Leader(kafka=kafka, transaction_partition_verification_enable=enabled)
    connection = leader.produce(0, version=version)
    if asked:
        leader.coordinator_says(NONE)

    assert leader.told(connection) is NONE
    assert len(leader.questions) == asked


def test_of_one_id_only_the_newest_question_waits() -> None:
    """BV-315, PS-64: while a question is under way, epochs 0, 0, 1 and 0 come."""
    leader = Leader()
    leader.produce(0, epoch=0)
    waiting = [leader.produce(0, epoch=epoch) for epoch in (0, 0, 1, 0)]
    assert [leader.told(connection) for connection in waiting] == [NER, IPE, None, IPE]  # NETWORK_EXCEPTION in disguise.

    leader.coordinator_says(ErrorCode.NOT_COORDINATOR)

    assert [one.producer_epoch for one in leader.questions[1].transactions] == [1]


@pytest.mark.parametrize("coordinator", ["", "b9"])
def test_nobody_to_ask(coordinator: str) -> None:
    """BV-316: no leader, or one that is not alive."""
    leader = Leader(coordinator=coordinator)
    connection = leader.produce(0)

    assert leader.told(connection) is NER
    assert leader.questions == []


def test_no_topic_to_ask() -> None:
    """BV-316: there is no __transaction_state."""
    leader = Leader()
    del leader.alone.broker.image.topics[TRANSACTION_STATE], leader.alone.broker.image.partitions[f"{TRANSACTION_STATE}-0"]

    assert leader.told(leader.produce(0)) is NER
