"""Section I of the behavioural vectors: whole stories composed from the rules, each simulated."""

from __future__ import annotations

from collections import Counter

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Acked, BrokerChanged, Deduplicated, FinalLog, HighWatermark, PartitionChanged, Rejected, Retried, TimedOut, Truncated

PLAIN = "config.enable.idempotence = false\n"
ONE_BY_ONE = "config.batch.size = 1\n"
SHORT_LAG = "[cluster]\nconfig.replica.lag.time.max.ms = 3000\n"


def run(faults: str, *, kafka: str = "4.3", producer: str = "", topic: str = "", cluster: str = "", workload: str = 'records = 1000\nevery = "10ms"\n') -> Run:
    head = f'title = "t"\nkafka = "{kafka}"\nseed = 2\n{cluster}[topics.t]\n{topic}[producers.p1]\n{producer}[[workload]]\ntopic = "t"\n{workload}'
    return simulate(Scenario.loads(head + faults))


def errors(found: Run) -> Counter[str]:
    return Counter(fact.error for _, fact in found.history.of(Retried))


def leaders(found: Run) -> list[str]:
    return [fact.leader for _, fact in found.history.of(PartitionChanged)]


def test_bv_331_with_acks_1_a_record_that_no_follower_has_fetched_is_lost_and_cut_from_the_old_leader() -> None:
    """BP-40, RP-33."""
    found = run(
        '[[fault]]\nat = "1s"\ndo = "cut"\nbetween = ["broker-1", ["broker-2", "broker-3"]]\nfor = "20s"\n'
        '[[fault]]\nat = "2s"\ndo = "crash"\nwho = "broker-1"\nfor = "5s"\n',
        producer=PLAIN + "config.acks = 1\n",
    )
    (cut,) = (fact for _, fact in found.history.of(Truncated) if fact.broker == "broker-1")

    assert found.verdict.records["lost"] == cut.from_offset - cut.to_offset
    assert 90 <= found.verdict.records["lost"] <= 110


@pytest.mark.parametrize(("unclean", "lost"), [("false", False), ("true", True)])
@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_bv_332_an_isr_of_one_writes_on_and_takes_it_all_along(kafka: str, unclean: str, lost: bool) -> None:
    """RP-50, KC-21, KC-43, KC-50: with min.insync.replicas=1 the ELR is empty, so it helps nobody."""
    found = run(
        '[[fault]]\nname = "lag"\nat = "100ms"\ndo = "pause"\nwho = ["broker-2", "broker-3"]\nfor = "11s"\n'
        '[[fault]]\nname = "death"\nat = "10600ms"\ndo = "crash"\nwho = "broker-1"\nfor = "14s"\n',
        kafka=kafka,
        cluster=SHORT_LAG,
        topic=f"config.unclean.leader.election.enable = {unclean}\n",
        workload='records = 50\nevery = "200ms"\n',
    )
    isrs = [fact.isr for _, fact in found.history.of(PartitionChanged)]

    assert isrs[0] == ("broker-1",) or isrs[1] == ("broker-1",)
    assert ("broker-2" in leaders(found)) is lost
    assert (found.verdict.records["lost"] > 30) is lost
    assert found.verdict.records["acked"] == 50


def test_bv_334_before_3_7_what_waits_is_committed_by_the_shrink_and_reported_failed_all_the_same() -> None:
    """BP-42, BP-46: with min.insync.replicas = 2; then every further attempt is refused."""
    found = run(
        '[[fault]]\nat = "1s"\ndo = "crash"\nwho = ["broker-2", "broker-3"]\nfor = "15s"\n',
        kafka="3.6",
        producer=PLAIN,
        topic="config.min.insync.replicas = 2\n",
        workload='records = 300\nevery = "10ms"\n',
    )
    shrunk = next(at for at, fact in found.history.of(PartitionChanged) if fact.isr == ("broker-1",))
    moved = [at for at, _ in found.history.of(HighWatermark) if at >= shrunk]

    assert errors(found)["NOT_ENOUGH_REPLICAS_AFTER_APPEND"] > 0
    assert min(at for at, fact in found.history.of(Retried) if fact.error == "NOT_ENOUGH_REPLICAS_AFTER_APPEND") - shrunk < 1_000_000
    assert moved[0] - shrunk < 1_000_000, "visible"
    assert {fact.error for at, fact in found.history.of(Rejected) if at > shrunk} == {"NOT_ENOUGH_REPLICAS"}
    assert found.verdict.records["duplicated"] > 0


CUT_OFF = '[[fault]]\nat = "2s"\ndo = "cut"\nbetween = ["broker-1", ["controller", "broker-2", "broker-3"]]\nfor = "60s"\n'
ONLY_THE_OLD_LEADER = '[[fault]]\nat = "2s"\ndo = "cut"\nbetween = ["p1", ["broker-2", "broker-3"]]\nfor = "59s"\nname = "client"\n'


def test_bv_335_a_leader_that_is_cut_off_commits_nothing() -> None:
    """KC-70, acks=all: the first requests time out, the last are answered NOT_LEADER_OR_FOLLOWER, all of it is cut."""
    found = run(
        CUT_OFF + ONLY_THE_OLD_LEADER,
        producer=PLAIN + 'config.delivery.timeout.ms = "240s"\nconfig.request.timeout.ms = "40s"\n',
        workload='records = 600\nevery = "100ms"\n',
    )
    frozen = [fact.offset for at, fact in found.history.of(HighWatermark) if fact.broker == "broker-1" and 2_500_000 < at < 62_000_000]

    assert {fact.error for _, fact in found.history.of(TimedOut)} <= {"REQUEST_TIMED_OUT"}
    assert errors(found)["NOT_LEADER_OR_FOLLOWER"] > 0
    assert frozen == [], "invisible to every consumer there"
    assert any(fact.broker == "broker-1" and fact.to_offset < fact.from_offset for _, fact in found.history.of(Truncated))
    assert found.verdict.records["lost"] == 0


def test_bv_336_with_acks_1_all_of_it_is_acknowledged_and_lost() -> None:
    """KC-70."""
    found = run(CUT_OFF + ONLY_THE_OLD_LEADER, producer=PLAIN + "config.acks = 1\n", workload='records = 500\nevery = "100ms"\n')
    (cut,) = (fact for _, fact in found.history.of(Truncated) if fact.broker == "broker-1")

    assert found.verdict.records["acked"] == 500
    assert found.verdict.records["lost"] == cut.from_offset - cut.to_offset > 400


def test_bv_337_a_retry_of_what_was_appended_is_answered_with_the_first_offset() -> None:
    """PS-10."""
    found = run('[[fault]]\ndo = "lose-response"\nwhen = { nth = 5 }\n', producer=ONE_BY_ONE, workload='records = 20\nevery = "50ms"\n')
    (known,) = (fact for _, fact in found.history.of(Deduplicated))
    acked = next(fact for _, fact in found.history.of(Acked) if fact.records == known.records)

    assert acked.offset == known.base_offset
    assert found.verdict.records["ok"] == 20


def test_bv_338_the_next_leader_knows_the_batch_by_its_copy() -> None:
    """PS-54: the response is lost and the leader dies in the same moment."""
    found = run(
        '[[fault]]\ndo = "lose-response"\nwhen = { nth = 5 }\n'
        '[[fault]]\ndo = "crash"\nwho = "leader(t-0)"\nwhen = { response = "Produce", nth = 5 }\nfor = "20s"\n',
        producer=ONE_BY_ONE,
        topic="config.min.insync.replicas = 2\n",
        workload='records = 20\nevery = "50ms"\n',
    )

    assert [fact.broker for _, fact in found.history.of(Deduplicated)][:1] == ["broker-2"]
    assert (found.verdict.records["ok"], found.verdict.records["duplicated"]) == (20, 0)


REFUSED_ONCE = '[[fault]]\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\nwhen = {{ nth = {nth} }}\n[network]\nlatency = "20ms"\n'
IN_FLIGHT = 'records = 10\narrivals = { burst = 5, every = "1s" }\n'


def order(found: Run) -> list[int]:
    (log,) = (fact for _, fact in found.history.of(FinalLog) if fact.leader)
    return [number for batch in log.batches for number in batch.records]


def test_bv_340_batches_behind_a_refused_one_are_out_of_order_and_come_again_in_order() -> None:
    """PS-13d: the partition knows the producer."""
    found = run(REFUSED_ONCE.format(nth=6), producer=ONE_BY_ONE, workload=IN_FLIGHT)

    assert {fact.error for _, fact in found.history.of(Rejected)} == {"OUT_OF_ORDER_SEQUENCE_NUMBER"}
    assert (order(found), found.verdict.verdict) == (list(range(10)), "held")


def test_bv_340_a_partition_that_knows_nothing_of_the_producer_takes_the_second_batch() -> None:
    """PS-13c: its first batch was refused, so the second is the first it hears of; the retry of the first is out of order."""
    found = run(REFUSED_ONCE.format(nth=1), producer=ONE_BY_ONE, workload=IN_FLIGHT)

    assert order(found)[0] == 1
    assert "OUT_OF_ORDER_SEQUENCE_NUMBER" in {fact.error for _, fact in found.history.of(Rejected)}


def test_bv_341_without_idempotence_the_refused_batch_stands_behind_the_others() -> None:
    """GB-9."""
    found = run(REFUSED_ONCE.format(nth=6), producer=ONE_BY_ONE + PLAIN, workload=IN_FLIGHT)

    assert order(found)[5:] == [6, 7, 8, 9, 5]
    assert found.verdict.records["reordered"] == 1


@pytest.mark.parametrize(("kafka", "at_most_s"), [("3.9", 9.0), ("4.0", 10.2), ("4.3", 10.2)])
def test_bv_347_a_broker_that_is_back_in_three_seconds_waits_for_its_own_old_session(kafka: str, at_most_s: float) -> None:
    """KC-13, KC-15, KC-2, KC-4."""
    found = run('[[fault]]\nat = "2s"\ndo = "crash"\nwho = "broker-1"\nfor = "500ms"\n', kafka=kafka)
    changes = {fact.state: at / 1_000_000 - 2 for at, fact in found.history.of(BrokerChanged) if fact.broker == "broker-1"}
    led_again = next(at for at, fact in found.history.of(PartitionChanged) if fact.leader == "broker-2") / 1_000_000 - 2

    assert 7 <= led_again <= at_most_s + 0.1
    assert changes["fenced"] - 0.1 <= changes["registered"] <= changes["fenced"] + 2.1
    assert found.verdict.records["lost"] == 0
