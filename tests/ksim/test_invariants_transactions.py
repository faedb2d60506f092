"""INV-11 where a coordinator dies: what its successor has read counts, and nothing else."""

from __future__ import annotations

import pytest

from ksim.invariants_transactions import TransactionInvariants
from ksim_models.coordinated_transaction import State, Transaction
from ksim_models.coordination_facts import TransactionState
from ksim_models.log import Log
from ksim_models.parked import own_batch
from ksim_models.transaction_messages import TRANSACTION_STATE

PARTITION = f"{TRANSACTION_STATE}-0"


def told(broker: str, state: State) -> TransactionState:
    return TransactionState(broker, "id", state.value, 7, 0, ("t-0",) if state in (State.ONGOING, State.PREPARE_ABORT) else ())


def read_by_the_next(*states: State, is_excused: bool = False, leads: bool = True) -> list[str]:
    """broker-1 tells of an abort and dies; broker-2 has these records in its log, and tells of the last of them. What is wrong with that?

    leads: nobody else has been elected meanwhile.
    """
    log = Log()
    for state in states:
        log.append_as_leader(own_batch(PARTITION, (Transaction("id", 7, 60_000, 0, state, 0),), 100, 0, None), 0)
    wrong: list[str] = []
    leader = log if leads else Log()
    invariants = TransactionInvariants(
        lambda name, what: wrong.append(name),
        lambda partition: leader if partition == PARTITION else None,
        lambda name: is_excused,
        lambda broker: {PARTITION: log},
    )
    for state in (State.ONGOING, State.PREPARE_ABORT):
        invariants.follow_coordinator(told("broker-1", state))
    invariants.follow_coordinator(told("broker-2", states[-1]))
    return wrong


def test_a_coordinator_that_dies_behind_its_last_record_has_completed_the_transaction() -> None:
    """Nobody was told of CompleteAbort; whoever loads the log knows it."""
    assert read_by_the_next(State.ONGOING, State.PREPARE_ABORT, State.COMPLETE_ABORT, State.ONGOING) == []


@pytest.mark.parametrize("states", [(State.ONGOING, State.PREPARE_ABORT, State.ONGOING), (State.ONGOING, State.PREPARE_ABORT, State.PREPARE_COMMIT)])
def test_a_decision_that_was_taken_back_is_seen(states: tuple[State, ...]) -> None:
    assert read_by_the_next(*states) == ["INV-11"]


def test_what_the_transaction_log_itself_has_lost_is_forgotten() -> None:
    assert read_by_the_next(State.ONGOING, State.ONGOING, is_excused=True) == []


def test_who_has_been_replaced_tells_late_of_what_its_successor_has_gone_on_from() -> None:
    assert read_by_the_next(State.ONGOING, State.PREPARE_ABORT, State.ONGOING, leads=False) == []
