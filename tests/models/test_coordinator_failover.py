"""Another coordinator takes over, another producer takes the id, something arrives late: what each protocol makes of it, in a small cluster."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode
from ksim_models.facts import TransactionState
from ksim_models.messages import InitProducerIdRequest
from ksim_models.transaction_messages import EndTxnRequest
from small_cluster import SmallCluster
from transactional_client import ID, Client, markers

NONE, CT, PF = ErrorCode.NONE, ErrorCode.CONCURRENT_TRANSACTIONS, ErrorCode.PRODUCER_FENCED
VERSIONS = [pytest.param(1, id="version 1"), pytest.param(2, id="version 2")]


def begun(version: int, *, kafka: str = "4.3", **config: Any) -> Client:
    """A client with an open transaction of one record in t-0; nothing of t is led or needed by its coordinator's broker."""
    cluster = SmallCluster(brokers=4, kafka=kafka, topics={"t": 4}, **config)
    client = Client(cluster, version=version)
    client.init()
    return client


def partition_away_from(client: Client) -> str:
    """One that the coordinator's broker does not lead."""
    return next(name for name in ("t-0", "t-1", "t-2", "t-3") if client.cluster.controller.leader_of(name) != client.coordinator)


def write(client: Client, partition: str) -> None:
    if client.version == 1:
        assert client.add(partition) == [NONE]
    assert client.produce(partition) is NONE


def fail_over(client: Client) -> str:
    """The coordinator's process is gone, and another one leads its partition; who it was."""
    former: str = client.coordinator
    client.cluster.crash(former)
    client.cluster.run_for(12_000)
    client.ask = next(name for name in client.cluster.names if name != former)
    assert client.coordinator != former
    client.cluster.run_for(100)
    return former


@pytest.mark.parametrize("version", VERSIONS)
def test_tc_7_an_idle_producer_goes_on_with_another_coordinator(version: int) -> None:
    client = begun(version)
    fail_over(client)

    write(client, partition_away_from(client))
    assert client.end() is NONE
    client.cluster.run_for(500)
    assert client.states()[-1] == "CompleteCommit"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("commit", [True, False])
def test_tc_7_an_open_transaction_goes_on_with_another_coordinator(version: int, commit: bool) -> None:
    client = begun(version)
    partition = partition_away_from(client)
    write(client, partition)
    fail_over(client)

    assert client.end(commit=commit) is NONE
    client.cluster.run_for(500)
    assert markers(client.cluster, partition) == [(1, commit, version - 1)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("commit", [True, False])
def test_tc_41_what_was_decided_stands_though_its_coordinator_dies_before_the_markers(version: int, commit: bool) -> None:
    client = begun(version)
    partition = partition_away_from(client)
    write(client, partition)
    client.cluster.loop.cut(client.coordinator, client.cluster.controller.leader_of(partition))

    assert client.end(commit=commit) is NONE
    client.cluster.run_for(500)
    assert markers(client.cluster, partition) == []
    fail_over(client)
    client.cluster.run_for(32_000)  # The cut has shrunk the ISR of the coordinator's partition too: its last write is tried again after 30 s (TC-55).

    assert markers(client.cluster, partition) == [(1, commit, version - 1)]
    assert client.states()[-1] == ("CompleteCommit" if commit else "CompleteAbort")


@pytest.mark.parametrize("version", VERSIONS)
def test_tc_48_an_end_that_nobody_has_copied_did_not_happen(version: int) -> None:
    """The transaction is open, and its producer may ask again."""
    client = begun(version)
    partition = partition_away_from(client)
    write(client, partition)
    coordinator = client.coordinator
    for name in client.cluster.names:
        if name != coordinator:
            client.cluster.loop.cut(name, coordinator)
    request = EndTxnRequest(ID, client.producer_id, client.epoch, True, version)
    client.cluster.send(client.cluster.connect(coordinator), request)
    client.cluster.run_for(50)
    fail_over(client)

    assert client.end() is NONE
    client.cluster.run_for(2_000)
    assert markers(client.cluster, partition) == [(1, True, version - 1)]


def test_tc_9_the_last_epoch_is_not_known_to_the_next_coordinator() -> None:
    """KIP-360: a producer whose answer was lost asks again, and is fenced where the coordinator has changed meanwhile."""
    client = begun(1)
    who = client.producer_id, client.epoch
    assert client.init(expected=True) is NONE
    client.producer_id, client.epoch = who
    assert client.init(expected=True) is NONE  # The same coordinator knows that it has raised the epoch for this producer.
    client.producer_id, client.epoch = who
    fail_over(client)

    assert client.init(expected=True) is PF


@pytest.mark.parametrize("version", VERSIONS)
def test_tc_27_a_producer_that_another_has_replaced_can_do_nothing_more(version: int) -> None:
    """Its open transaction is aborted, and its records with it."""
    old = begun(version)
    partition = partition_away_from(old)
    write(old, partition)
    new = Client(old.cluster, version=version, name="p2")

    assert new.init() is NONE
    assert new.epoch == old.epoch + 2  # TC-24
    assert markers(old.cluster, partition) == [(1, False, old.epoch + 1)]
    assert old.produce(partition) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert old.end() in (PF, ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    write(new, partition)
    assert new.end() is NONE


def test_tc_28_a_stale_instance_that_asks_for_the_next_epoch_ends_the_living_one() -> None:
    stale = begun(1)
    living = Client(stale.cluster, name="p2")
    living.init()
    partition = partition_away_from(living)
    write(living, partition)

    assert stale.init(expected=True) is PF
    assert living.end() is PF
    assert markers(stale.cluster, partition) == [(1, False, living.epoch + 1)]


@pytest.mark.parametrize(("version", "late"), [pytest.param(1, NONE, id="version 1"), pytest.param(2, PF, id="version 2")])
def test_tc_46_a_late_end_strikes_the_next_transaction_unless_it_has_an_epoch_of_its_own(version: int, late: ErrorCode) -> None:
    """KAFKA-17754."""
    client = begun(version)
    partition = partition_away_from(client)
    write(client, partition)
    late_one = EndTxnRequest(ID, client.producer_id, client.epoch, True, version)
    assert client.end(commit=False) is NONE
    client.cluster.run_for(500)
    write(client, partition)

    answer = client.cluster.ask(client.coordinator, late_one)

    assert answer.error is late
    client.cluster.run_for(500)
    assert [committed for _, committed, _ in markers(client.cluster, partition)] == ([False, True] if version == 1 else [False])


def test_tc_61_an_open_transaction_is_aborted_when_its_time_is_over() -> None:
    client = begun(1)
    client.timeout_ms = 5_000
    client.init()
    partition = partition_away_from(client)
    write(client, partition)
    client.cluster.run_for(16_000)

    assert markers(client.cluster, partition) == [(1, False, client.epoch + 1)]
    assert client.produce(partition) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert client.end() is PF


def test_tc_57_a_partition_below_min_isr_holds_up_the_id_and_its_readers() -> None:
    client = begun(1, min_insync_replicas=4)
    partition = partition_away_from(client)
    write(client, partition)
    leader = client.cluster.controller.leader_of(partition)
    lost = next(name for name in client.cluster.names if name not in (leader, client.coordinator))
    client.cluster.crash(lost)
    client.cluster.run_for(12_000)
    client.ask = leader

    assert client.end() is NONE
    client.cluster.run_for(3_000)
    assert client.add(partition) == [CT]
    assert client.cluster.ask(client.coordinator, InitProducerIdRequest(ID, 60_000)).error is CT
    log = client.cluster.brokers[leader].logs[partition]
    assert (log.last_stable_offset, log.log_end_offset) == (0, 1)

    client.cluster.loop.restart(lost)
    client.cluster.run_for(15_000)
    assert log.last_stable_offset == log.log_end_offset
    assert client.add(partition) == [NONE]


def test_tc_63_an_id_that_was_idle_for_long_is_unknown() -> None:
    client = begun(1, transactional_id_expiration_ms=10_000, transaction_remove_expired_transaction_cleanup_interval_ms=5_000)
    client.cluster.run_for(20_000)

    assert client.add("t-0") == [ErrorCode.INVALID_PRODUCER_ID_MAPPING]
    assert [fact.state for fact in client.cluster.all_facts(TransactionState)] == ["Empty"]
    fail_over(client)
    assert client.add("t-0") == [ErrorCode.INVALID_PRODUCER_ID_MAPPING]
