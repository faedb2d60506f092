"""The verdict: every class of scenario.md section 3, what the configuration allows, and when a run proves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksim.history import History, HistoryError
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.verdict import Witness, classes, judge
from ksim_models.facts import (
    INTERNAL,
    Acked,
    Appended,
    Ended,
    Failed,
    Fault,
    FinalLog,
    HighWatermark,
    LoggedBatch,
    Offered,
    Refused,
    Replicated,
    Sent,
    Transaction,
)

SAFE = {"acks": "all", "enable.idempotence": True, "retries": 2147483647, "max.in.flight.requests.per.connection": 5}
PLAIN = SAFE | {"enable.idempotence": False}
TOPICS = {"payments": {"min.insync.replicas": 2, "unclean.leader.election.enable": False}}


def history_of(*facts: Any, producer: Any = SAFE, topics: Any = TOPICS, **run: Any) -> Any:
    history = History({"config": {"producers": {"p1": producer}, "topics": topics, "brokers": {}}} | run)
    for now, fact in enumerate(facts):
        history.add(now, fact)
    return history


def offered(count: Any, producer: Any = "p1", first: Any = 0) -> Any:
    return Offered(producer, range(first, first + count), 0, 1_000)


def sent(records: Any, partition: Any = "payments-0", producer: Any = "p1") -> Any:
    return Sent(producer, partition, records, "broker-1", "c", 1)


def acked(records: Any, offset: Any = 0, partition: Any = "payments-0", producer: Any = "p1") -> Any:
    return Acked(producer, partition, records, offset)


def failed(records: Any, partition: Any = "payments-0") -> Any:
    return Failed("p1", partition, records, "TimeoutException", "Expiring")


def log(
    *batches: Any,
    partition: Any = "payments-0",
    producer: Any = "p1",
    high_watermark: Any = None,
    start: Any = 0,
    readable: Any = True,
    leader: Any = True,
    replica: Any = "broker-1",
) -> Any:
    logged, offset = [], start
    for records in batches:
        logged.append(LoggedBatch(offset, 0, producer, records, -1, -1, -1))
        offset += len(records)
    end = offset if high_watermark is None else high_watermark
    return FinalLog(partition, replica, leader, readable, start, end, offset, offset, tuple(logged))


def ended(*living: Any, quiet: Any = True) -> Any:
    return Ended(quiet, living or ("p1", "p2"), 0)


def only(verdict: Any) -> Any:
    """The anomalies by name, with their numbers."""
    return {anomaly.name: anomaly.count for anomaly in verdict.anomalies}


def test_records_acknowledged_and_once_in_the_log_in_order_are_ok() -> None:
    verdict = judge(history_of(offered(5), sent(range(5)), acked(range(5)), log(range(5)), ended()))

    assert verdict.verdict == "held"
    assert verdict.records == {
        "offered": 5, "refused": 0, "accepted": 5, "acked": 5, "failed": 0, "unknown": 0, "sends": 5,
        "ok": 5, "absent": 0, "lost": 0, "ghost": 0, "duplicated": 0, "reordered": 0, "misrouted": 0, "hidden": 0, "torn": 0, "aborted_read": 0, "removed": 0,
    }  # fmt: skip
    assert verdict.anomalies == ()
    assert verdict.first_not_ok() is None


def test_an_acknowledged_record_that_is_not_in_the_leaders_final_log_is_lost() -> None:
    verdict = judge(history_of(offered(5), acked(range(5)), log(range(2)), log(range(5), leader=False, replica="broker-2"), ended()))

    assert only(verdict) == {"lost": 3}
    assert (verdict.verdict, verdict.records["ok"]) == ("violated", 2)
    assert verdict.anomalies[0].witness == Witness("2", "payments-0", ())
    assert verdict.anomalies[0].jepsen == "lost-write"
    assert verdict.first_not_ok() == "2"


def test_a_failed_or_refused_record_that_is_not_in_the_log_is_absent_and_no_anomaly() -> None:
    verdict = judge(history_of(offered(5), failed(range(1, 3)), Refused("p1", range(3, 5), "TimeoutException", ""), acked(range(1)), log(range(1)), ended()))

    assert (verdict.verdict, verdict.records["absent"], verdict.records["refused"], verdict.records["failed"]) == ("held", 4, 2, 2)
    assert verdict.records["accepted"] == 3
    assert verdict.first_not_ok() == "1"


def test_a_failed_record_that_is_in_the_log_is_a_ghost_and_every_configuration_allows_it() -> None:
    """S21."""
    verdict = judge(history_of(offered(3), failed(range(3)), log(range(3)), ended()))

    assert only(verdict) == {"ghost": 3}
    assert verdict.anomalies[0].allowed


def test_a_refused_record_that_was_never_sent_may_not_be_in_the_log() -> None:
    verdict = judge(history_of(offered(3), Refused("p1", range(3), "TimeoutException", ""), log(range(3)), ended()))

    assert verdict.records["ghost"] == 3
    assert not verdict.anomalies[0].allowed


def test_two_copies_of_a_record_count_as_one_duplicated_record() -> None:
    verdict = judge(history_of(offered(5), acked(range(5)), log(range(3), range(2, 5), range(2, 3)), ended(), producer=PLAIN))

    assert only(verdict) == {"duplicated": 1}
    assert verdict.anomalies[0].as_data() == {
        "name": "duplicated",
        "jepsen": "duplicate",
        "count": 1,
        "allowed": True,
        "because": "enable.idempotence=false",
        "witness": {"record": "p1/2", "partition": "payments-0", "offsets": [2, 3, 6]},
    }


@pytest.mark.parametrize(
    ("numbers", "duplicated", "reordered"),
    [
        pytest.param("0 1 2 3 4 5 6 8 7 6 5 4 9 10", 3, 1, id="live S1 Java burst"),
        pytest.param("0 1 2 3 4 5 6 4 5 6 7 8 9 10", 3, 0, id="live S1 rdk burst"),
        pytest.param("0 1 2 3 7 6 5 4 3 8 9 10", 1, 3, id="live S3 Java plain"),
        pytest.param("0 1 2 3 3 4 5", 1, 0, id="live S3 rdk plain"),
        pytest.param("4 0 1 2 3", 0, 4, id="one record ahead of all others"),
    ],
)
def test_a_record_whose_first_copy_stands_behind_a_later_one_is_reordered(numbers: Any, duplicated: Any, reordered: Any) -> None:
    written = [int(number) for number in numbers.split()]
    count = max(written) + 1

    as_batches = judge(history_of(offered(count), acked(range(count)), log(*(range(number, number + 1) for number in written)), ended()))
    as_one_batch = judge(history_of(offered(count), acked(range(count)), log(tuple(written)), ended()))

    assert (as_batches.records["duplicated"], as_batches.records["reordered"]) == (duplicated, reordered)
    assert as_one_batch.records == as_batches.records


def test_a_record_in_a_partition_it_was_never_bound_for_is_misrouted_and_lost_where_it_belongs() -> None:
    verdict = judge(history_of(offered(3), sent(range(3)), acked(range(3)), log(range(2)), log(range(2, 3), partition="payments-1"), ended(), producer=PLAIN))

    assert only(verdict) == {"lost": 1, "misrouted": 1}
    assert not verdict.anomalies[1].allowed


def test_a_record_without_outcome_is_bound_for_the_partition_it_was_sent_to() -> None:
    verdict = judge(history_of(offered(3), sent(range(3)), log(range(3)), ended("p2")))

    assert (verdict.verdict, verdict.records["unknown"], verdict.records["ok"]) == ("held", 3, 0)


def test_an_unknown_record_can_be_duplicated_but_neither_lost_nor_a_ghost() -> None:
    verdict = judge(history_of(offered(3), sent(range(3)), log(range(1), range(1)), ended("p2")))

    assert only(verdict) == {"duplicated": 1}


def test_an_acknowledged_record_above_the_high_watermark_is_hidden() -> None:
    facts = offered(5), acked(range(5)), log(range(2), range(2, 5), high_watermark=3), ended()

    verdict = judge(history_of(*facts))
    with_acks_1 = judge(history_of(*facts, producer=PLAIN | {"acks": "1"}))

    assert only(verdict) == {"hidden": 2}
    assert verdict.anomalies[0].witness == Witness("3", "payments-0", (3,))
    assert [verdict.anomalies[0].allowed, with_acks_1.anomalies[0].allowed] == [False, True]


def test_threads_of_one_producer_have_no_order_among_each_other() -> None:
    """A12, A20: one waits for memory, and the smaller record of another finds room in an open batch."""
    facts = offered(2), acked(range(2)), log(range(1, 2), range(1)), ended()
    alone, together = ([{"topic": "payments"}] * count for count in (1, 2))

    assert [judge(history_of(*facts, scenario={"workload": workload})).anomalies[0].allowed for workload in (alone, together)] == [False, True]


def test_what_is_hidden_only_because_the_run_was_cut_short_accuses_nobody() -> None:
    verdict = judge(history_of(offered(5), acked(range(5)), log(range(5), high_watermark=3), ended(quiet=False)))

    assert (verdict.verdict, only(verdict)) == ("violated", {"hidden": 2})
    assert verdict.anomalies[0].allowed
    assert "limit" in verdict.anomalies[0].because


def test_an_acknowledged_record_below_the_start_of_the_log_was_removed_not_lost() -> None:
    verdict = judge(history_of(offered(5), acked(range(5)), log(range(3, 5), start=3), ended()))

    assert only(verdict) == {"removed": 3}


def test_a_record_sent_again_by_the_application_stays_one_record_and_its_last_outcome_counts() -> None:
    verdict = judge(history_of(offered(3), failed(range(3)), offered(2), acked(range(2), offset=3), log(range(3), range(2)), ended()))

    assert (verdict.records["offered"], verdict.records["sends"], verdict.records["acked"], verdict.records["failed"]) == (3, 5, 2, 1)
    assert only(verdict) == {"ghost": 1, "duplicated": 2}
    assert [anomaly.because for anomaly in verdict.anomalies if anomaly.name == "duplicated"] == ["the application sent the record again"]


def test_a_record_sent_again_that_still_waits_has_no_outcome() -> None:
    verdict = judge(history_of(offered(3), failed(range(3)), offered(2), log(), ended("p2")))

    assert (verdict.records["failed"], verdict.records["unknown"]) == (1, 2)


def test_the_records_of_two_producers_are_told_apart() -> None:
    history = history_of(
        offered(3), offered(3, "p2"), acked(range(3)), acked(range(3), producer="p2", partition="payments-1"),
        log(range(3)), log(range(2), producer="p2", partition="payments-1"), ended(),
    )  # fmt: skip
    silent = {"producers": {"p1": SAFE, "p2": SAFE}}

    assert only(judge(history)) == {"lost": 1}
    assert judge(history).first_not_ok() == "p2/2"
    assert classes(history)["lost"] == {"p2": [(2, 3)]}
    assert judge(history_of(*LOST, config=silent)).first_not_ok() == "p1/2"


def test_records_that_do_not_follow_each_other_are_judged_like_those_that_do() -> None:
    even, odd = (0, 2, 4), (1, 3, 5)
    verdict = judge(history_of(offered(6), acked(even), acked(odd, partition="payments-1"), log(even), log(odd[:2], partition="payments-1"), ended()))

    assert (verdict.records["ok"], only(verdict)) == (5, {"lost": 1})


LOST = offered(5), acked(range(5)), log(range(2)), ended()
DUPLICATED = offered(5), acked(range(5)), log(range(5), range(2)), ended()
REORDERED = offered(2), acked(range(2)), log(range(1, 2), range(1)), ended()


@pytest.mark.parametrize(
    ("facts", "producer", "topic", "allowed"),
    [
        pytest.param(LOST, SAFE, {}, False, id="3.6 acks=all, min.insync.replicas=2"),
        pytest.param(LOST, PLAIN | {"acks": "1"}, {}, True, id="1.5 acks=1"),
        pytest.param(LOST, PLAIN | {"acks": 0}, {}, True, id="S22 acks=0"),
        pytest.param(LOST, SAFE, {"min.insync.replicas": "1"}, True, id="KC-56 min.insync.replicas=1"),
        pytest.param(LOST, SAFE, {"unclean.leader.election.enable": "true"}, True, id="1.5 unclean election"),
        pytest.param(DUPLICATED, SAFE, {}, False, id="3.6 idempotent"),
        pytest.param(DUPLICATED, PLAIN, {}, True, id="3.6 idempotence off"),
        pytest.param(DUPLICATED, PLAIN | {"retries": 0}, {}, False, id="3.6 retries=0"),
        pytest.param(DUPLICATED, PLAIN | {"acks": "0"}, {}, False, id="3.6 acks=0 does not duplicate"),
        pytest.param(REORDERED, SAFE, {}, False, id="3.6 idempotent keeps order"),
        pytest.param(REORDERED, PLAIN, {}, True, id="A42 in flight 5"),
        pytest.param(REORDERED, PLAIN | {"max.in.flight.requests.per.connection": 1}, {}, False, id="3.6 in flight 1"),
        pytest.param(REORDERED, PLAIN | {"max.in.flight.requests.per.connection": 1, "client": "librdkafka"}, {}, True, id="3.6 librdkafka in flight 1"),
        pytest.param(REORDERED, PLAIN | {"retries": 0}, {}, False, id="3.6 retries=0 leaves gaps, not permutations"),
    ],
)
def test_what_a_configuration_allows(facts: Any, producer: Any, topic: Any, allowed: Any) -> None:
    three = [log(leader=False, replica=f"broker-{number}") for number in (2, 3)]
    verdict = judge(history_of(*facts, *three, producer=producer, topics={"payments": TOPICS["payments"] | topic}))

    assert [anomaly.allowed for anomaly in verdict.anomalies] == [allowed]
    assert verdict.verdict == "violated"


GIVEN_UP = Failed("p1", "payments-0", range(1), "NetworkException", "Disconnected")
BEHIND = tuple(LoggedBatch(offset, 0, "p1", range(number, number + 1), -1, -1, -1) for offset, number in enumerate((1, 0)))


@pytest.mark.parametrize(
    ("config", "ends", "allowed"),
    [
        pytest.param({"retries": 0}, GIVEN_UP, True, id="given up, and served late"),
        pytest.param({"max.in.flight.requests.per.connection": 1}, GIVEN_UP, True, id="in flight 1"),
        pytest.param({"retries": 0}, acked(range(1)), False, id="acknowledged"),
        pytest.param({"enable.idempotence": True}, GIVEN_UP, False, id="3.6 out of sequence"),
    ],
)
def test_without_idempotence_a_failed_record_may_stand_behind_later_ones(config: Any, ends: Any, allowed: Any) -> None:
    """Client section 3.6: unread bytes of an old connection are served beside those of the new one."""
    final = FinalLog("payments-0", "broker-1", True, True, 0, 2, 2, 2, BEHIND)
    verdict = judge(history_of(offered(2), ends, acked(range(1, 2), 0), final, ended(), producer=PLAIN | config))

    assert [anomaly.allowed for anomaly in verdict.anomalies if anomaly.name == "reordered"] == [allowed]


ALTER = {"do": "alter", "target": "payments"}
ELECT = {"do": "elect", "partition": "payments-0"}


@pytest.mark.parametrize(
    ("fault", "because"),
    [
        pytest.param(ELECT | {"kind": "unclean"}, "an unclean election was asked for", id="KC-45"),
        pytest.param(ELECT | {"kind": "preferred"}, "", id="a clean election"),
        pytest.param(ELECT | {"kind": "unclean", "partition": "payments-1"}, "", id="of another partition"),
        pytest.param(ALTER | {"config": {"min": {"insync": {"replicas": 1}}}}, "min.insync.replicas=1", id="altered, as TOML has it"),
        pytest.param(ALTER | {"config": {"min.insync.replicas": 1}, "target": "brokers"}, "min.insync.replicas=1", id="of all brokers"),
        pytest.param(ALTER | {"config": {"min.insync.replicas": 1}, "target": "orders"}, "", id="of another topic"),
        pytest.param(ALTER | {"config": {"unclean.leader.election.enable": True}}, "unclean.leader.election.enable=true", id="enabled on the way"),
    ],
)
def test_what_an_administrator_does_on_the_way_counts_as_the_configuration(fault: Any, because: Any) -> None:
    three = [log(leader=False, replica=f"broker-{number}") for number in (2, 3)]
    topics = TOPICS | {"orders": TOPICS["payments"]}
    (anomaly,) = judge(history_of(*LOST, *three, topics=topics, scenario={"fault": [fault]})).anomalies

    assert (anomaly.allowed, anomaly.because if anomaly.allowed else "") == (bool(because), because)


@pytest.mark.parametrize(("expiration_ms", "allowed"), [(1_999, True), (2_000, False), (None, False)])
@pytest.mark.parametrize("facts", [DUPLICATED, REORDERED])
def test_ps_50_a_producer_that_a_broker_forgets_before_it_retries_is_not_protected(facts: Any, expiration_ms: Any, allowed: Any) -> None:
    brokers = {"broker-1": {} if expiration_ms is None else {"producer.id.expiration.ms": expiration_ms}}
    config = {"producers": {"p1": SAFE | {"delivery.timeout.ms": 2_000}}, "topics": TOPICS, "brokers": brokers}
    verdict = judge(history_of(*facts, config=config))

    assert [anomaly.allowed for anomaly in verdict.anomalies] == [allowed]


@pytest.mark.parametrize(
    ("client", "epochs", "allowed"),
    [
        pytest.param("librdkafka", (0, 1), True, id="a new epoch while the batch is in doubt, measured"),
        pytest.param("librdkafka", (0, 0), False, id="under one epoch a broker knows a batch again"),
        pytest.param("java", (0, 1), False, id="Java raises its epoch only after a failure"),
    ],
)
def test_a_duplicate_across_epochs_is_allowed_to_librdkafka(client: Any, epochs: Any, allowed: Any) -> None:
    twice = tuple(LoggedBatch(offset, 0, "p1", range(1), 7, epoch, 0) for offset, epoch in enumerate(epochs))
    final = FinalLog("payments-0", "broker-1", True, True, 0, 2, 2, 2, twice)
    verdict = judge(history_of(offered(1), acked(range(1)), final, ended(), producer=SAFE | {"client": client}))

    assert [(anomaly.name, anomaly.allowed) for anomaly in verdict.anomalies] == [("duplicated", allowed)]


REFUSED = Failed("p1", "payments-0", range(9, 10), "InvalidRecordException", "no")
EXPIRED = Failed("p1", "payments-0", range(9, 10), "TimeoutException", "Expiring 1 record(s) for payments-0:1500 ms has passed since batch creation")
SENT = Sent("p1", "payments-0", range(9, 10), "broker-1", "p1->broker-1#1", 1)
ELSEWHERE = Failed("p1", "payments-1", range(9, 10), "InvalidRecordException", "no")
LIE = Fault("lie", "answer", "hit", ("broker-1 -> p1",), 1)


@pytest.mark.parametrize(
    ("told", "epochs", "allowed"),
    [
        pytest.param(REFUSED, (0, 1), True, id="I12 I14 what was in flight behind a refused batch is sent again under the next epoch"),
        pytest.param(LIE, (0, 1), True, id="I8 a fabricated answer says that the sequences have a gap"),
        pytest.param(REFUSED, (0, 0), False, id="under one epoch a broker knows a batch again"),
        pytest.param(LIE, (0, 0), False, id="whatever it was answered"),
        pytest.param(EXPIRED, (0, 1), False, id="I15 expiry alone raises no epoch while something is in flight"),
        pytest.param((SENT, EXPIRED), (0, 1), True, id="S12 it was in flight, and an error that comes for it late is the failure of the batch"),
        pytest.param(ELSEWHERE, (0, 1), False, id="I13 another partition keeps its epoch"),
        pytest.param(acked(range(9, 10), 9), (0, 1), False, id="nothing failed"),
    ],
)
def test_when_a_duplicate_across_epochs_is_allowed_to_the_java_client(told: Any, epochs: Any, allowed: Any) -> None:
    twice = tuple(LoggedBatch(offset, 0, "p1", range(1), 7, epoch, 0) for offset, epoch in enumerate(epochs))
    final = FinalLog("payments-0", "broker-1", True, True, 0, 2, 2, 2, twice)
    verdict = judge(history_of(offered(10), acked(range(1)), *(told if isinstance(told, tuple) else (told,)), final, ended()))
    duplicated = [anomaly for anomaly in verdict.anomalies if anomaly.name == "duplicated"]

    assert [anomaly.allowed for anomaly in duplicated] == [allowed]


def test_a_topics_settings_come_from_the_brokers_where_it_has_none_of_its_own() -> None:
    config = {"producers": {"p1": SAFE}, "topics": {}, "brokers": {"broker-1": {"min.insync.replicas": 2}, "broker-2": {"min.insync.replicas": 1}}}
    followers = log(leader=False, replica="broker-2")

    assert judge(history_of(*LOST, followers, config=config)).anomalies[0].because == "min.insync.replicas=1"


def test_nothing_is_allowed_by_a_configuration_that_is_not_told() -> None:
    verdict = judge(history_of(*DUPLICATED, config={}))

    assert (verdict.anomalies[0].allowed, verdict.anomalies[0].because) == (False, "the history does not tell the configuration")


BEGIN, SUMMARY = Fault("cut", "cut", "begin", ("p1",), 0), Fault("cut", "cut", "summary", ("p1",), 0)


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ([Fault("cut", "cut", "not-injected", (), 0, "no leader")], "fault cut: not injected: no leader"),
        ([SUMMARY], "fault cut: never triggered"),
        ([BEGIN, SUMMARY], "fault cut: touched nothing"),
        ([BEGIN], "fault cut: the history does not tell what it touched"),
    ],
)
def test_a_fault_that_touched_nothing_makes_the_verdict_inconclusive(faults: Any, reason: Any) -> None:
    verdict = judge(history_of(offered(5), acked(range(5)), *faults, log(range(5)), ended()))

    assert (verdict.verdict, verdict.reasons) == ("inconclusive", (reason,))


def test_a_fault_that_touched_a_batch_leaves_the_verdict_as_it_is() -> None:
    touched = Fault("cut", "cut", "summary", ("p1",), 3)

    assert judge(history_of(offered(5), acked(range(5)), BEGIN, touched, log(range(5)), ended())).verdict == "held"


def test_a_send_of_a_living_client_that_is_pending_at_the_limit_makes_the_verdict_inconclusive() -> None:
    facts = offered(5), sent(range(5)), acked(range(3)), log(range(5))

    assert judge(history_of(*facts, ended("p1", quiet=False))).reasons == ("2 records of p1 are still pending at the limit",)
    assert judge(history_of(*facts, ended("p2"))).verdict == "held"


def test_a_producer_that_never_came_through_init_transactions_makes_the_verdict_inconclusive() -> None:
    """Nothing of its workload was offered, so nothing could go wrong."""
    stuck = Transaction("p1", 0, "failed", call="init", error="TimeoutException")

    assert judge(history_of(stuck, ended("p1", quiet=False))).verdict == "inconclusive"
    assert judge(history_of(stuck, Transaction("p1", 1, "begin"), ended("p1", quiet=False))).verdict == "held"
    assert judge(history_of(stuck, ended("p2", quiet=False))).verdict == "held", "it died"


@pytest.mark.parametrize("logs", [[], [log(range(5), readable=False)], [log(range(5), leader=False)]])
def test_a_partition_without_a_readable_leader_makes_the_verdict_inconclusive(logs: Any) -> None:
    verdict = judge(history_of(offered(5), acked(range(3)), failed(range(3, 5)), *logs, ended()))

    assert (verdict.verdict, verdict.reasons) == ("inconclusive", ("the final log of payments-0 could not be read",))
    assert [verdict.records[name] for name in ("ok", "lost", "absent", "ghost")] == [0, 0, 0, 0]


def test_a_history_without_an_end_is_inconclusive() -> None:
    assert judge(history_of(offered(1), acked(range(1)), log(range(1)))).verdict == "inconclusive"


def test_a_record_of_the_warm_up_is_outside_every_count() -> None:
    warm = LoggedBatch(0, 0, "", range(1), -1, -1, -1)
    own = LoggedBatch(1, 0, "p1", range(5), -1, -1, -1)
    verdict = judge(history_of(offered(5), acked(range(5), 1), FinalLog("payments-0", "broker-1", True, True, 0, 6, 6, 6, (warm, own)), ended()))

    assert (verdict.verdict, verdict.records["ok"]) == ("held", 5)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([offered(2), acked(range(3)), log(range(3)), ended()], "p1/2 has an outcome but was never offered"),
        ([offered(2), acked(range(2)), log(range(3)), ended()], "payments-0 holds p1/2, which was never offered"),
        ([offered(2), acked(range(2)), log(range(2), producer="p9"), ended()], "'p9', which offered none"),
        ([offered(2), log(range(2)), log(range(2), replica="broker-2"), ended()], "two leaders"),
        ([Offered("p1", range(3), 0, 0, (1, 2)), ended()], "3 records at 2 times"),
        ([Offered("p1", range(10**12), 0, 0), ended()], "no run is that long"),
        ([Offered("p1", range(3), 0, -1), ended()], "one each -1 us"),
    ],
)
def test_a_history_that_contradicts_itself_is_refused(facts: Any, told: Any) -> None:
    with pytest.raises(HistoryError, match=told):
        judge(history_of(*facts))


def test_the_judge_never_looks_at_internal_facts() -> None:
    lies = [
        Appended("broker-1", "payments-0", "p1", range(90, 99), 90, 0),
        Replicated("broker-2", "payments-0", 99),
        HighWatermark("broker-1", "payments-0", 99),
    ]
    assert all(isinstance(lie, INTERNAL) for lie in lies)

    assert judge(history_of(*lies, *LOST, *lies)) == judge(history_of(*LOST))


LIED_TO = """
format = 1
title = "A broker that appended says that it refused; behind it stands a batch whose answer is lost"
kafka = "4.3"
seed = 1
[topics.payments]
partitions = 1
[producers.p1]
config.linger.ms = 0
[[workload]]
topic = "payments"
records = 40
every = "200us"
size = 100
[[fault]]
do = "answer"
error = "INVALID_RECORD"
processed = true
when = { request = "Produce", nth = 3 }
[[fault]]
do = "lose-response"
when = { response = "Produce", nth = 4 }
"""


def test_an_idempotent_java_client_may_duplicate_when_it_raises_its_epoch() -> None:
    """I12, I14: TransactionManager rewrites all batches of the partition that are in flight, whether the broker has them or not."""
    found = simulate(Scenario.loads(LIED_TO))
    duplicated = next(anomaly for anomaly in found.verdict.anomalies if anomaly.name == "duplicated")

    assert (duplicated.allowed, duplicated.because.split(":")[0]) == (True, "a batch failed for good, so the client raised its epoch")


KILLED_LEADER = Path(__file__).parents[2] / "experiments" / "agreement" / "scenarios" / "killed-leader-remembers-one.toml"


@pytest.mark.parametrize("kafka", ["3.3", "3.9", "4.3"])
def test_a_killed_leader_knows_the_last_batch_of_a_producer_alone(kafka: str) -> None:
    """PS-52, PS-55: of five batches whose answers are lost the fifth is in the snapshot. On 3.9 and 4.3 real Kafka doubled the same five records."""
    scenario = Scenario.load(KILLED_LEADER).at("kafka", kafka)
    duplicated = next(anomaly for anomaly in simulate(scenario).verdict.anomalies if anomaly.name == "duplicated")
    alone = simulate(scenario.at("producers.p1.config.max.in.flight.requests.per.connection", 1))

    assert (duplicated.count, duplicated.allowed, duplicated.because.split(",")[0]) == (
        5,
        True,
        "a broker that was killed remembers one batch of each producer",
    )
    assert alone.verdict.records["duplicated"] == 0


@pytest.mark.parametrize(("do", "epoch", "allowed"), [("crash", 1, True), ("crash", 0, False), ("pause", 1, False), ("shutdown", 1, False)])
def test_only_who_was_killed_may_forget_and_only_under_a_new_epoch(do: str, epoch: int, allowed: bool) -> None:
    killed = Fault("f", do, "begin", ("broker-1",), 0), Fault("f", do, "summary", ("broker-1",), 1)
    logged = LoggedBatch(0, 0, "p1", range(1), 7, 0, 0), LoggedBatch(1, 1, "p1", range(1), 7, epoch, 0)
    told = history_of(
        Offered("p1", range(1), 0, 0), *killed, Acked("p1", "payments-0", range(1), 1), FinalLog("payments-0", "broker-1", True, True, 0, 2, 2, 2, logged)
    )
    (anomaly,) = judge(told).anomalies

    assert (anomaly.name, anomaly.allowed) == ("duplicated", allowed)
