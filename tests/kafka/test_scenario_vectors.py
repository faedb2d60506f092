"""Derived scenarios as integration expectations: vectors BV-331 to BV-347 (section I), and the truncations of H-054 and H-055 under the rules of today."""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import (
    Acked,
    BrokerChanged,
    Deduplicated,
    Failed,
    FinalLog,
    HighWatermark,
    PartitionChanged,
    Rejected,
    Retried,
    TimedOut,
    Truncated,
)
from ksim_models.units import ms, s


def scenario(
    faults: str, *, kafka: str = "4.3", acks: str = '"all"', min_isr: int = 2, producer: str = "", topic: str = "", records: int = 1000, every: str = "20ms"
) -> Scenario:
    text = f'title = "a vector"\nkafka = "{kafka}"\nseed = 7\n[topics.t]\nconfig.min.insync.replicas = {min_isr}\n{topic}'
    text += f'[producers.p1]\nconfig.acks = {acks}\nconfig.linger.ms = 0\n{producer}[[workload]]\ntopic = "t"\nrecords = {records}\nevery = "{every}"\n'
    return Scenario.loads(text + faults)


def fault(name: str, do: str, at: str, more: str) -> str:
    return f'[[fault]]\nname = "{name}"\ndo = "{do}"\nat = "{at}"\n{more}\n'


def run(*arguments: str, **named: object) -> Run:
    return simulate(scenario(*arguments, **named))  # type: ignore[arg-type]


def changes(found: Run) -> list[tuple[int, PartitionChanged]]:
    return list(found.history.of(PartitionChanged))


def final_leader(found: Run) -> FinalLog:
    return next(log for _, log in found.history.of(FinalLog) if log.leader)


NO_IDEMPOTENCE = "config.enable.idempotence = false\n"


def test_bv_331_acks_1_loses_what_no_follower_had_fetched_and_the_old_leader_cuts_it() -> None:
    found = simulate(Scenario.load("leader-crash-acks-1"))
    (cut,) = (fact for _, fact in found.history.of(Truncated))

    assert found.verdict.records["lost"] == cut.from_offset - cut.to_offset > 0
    assert cut.broker == "broker-1"


HANGS = fault("no replication", "cut", "2s", 'between = ["broker-1", "followers(t-0)"]\nfor = "300s"')


@pytest.mark.parametrize("unclean", [False, True])
def test_bv_332_with_min_isr_1_the_leader_goes_on_alone_and_takes_what_it_acknowledged_with_it(unclean: bool) -> None:
    """RP-50, KC-21, KC-43, KC-50: out of the ISR 30 to 45 s after the last fetch; the ELR is empty, as the ISR was never below its minimum."""
    dies = fault("dies", "power-loss", "80s", 'who = "broker-1"\nfor = "100s"')
    topic = f"config.unclean.leader.election.enable = {str(unclean).lower()}\n"
    found = run(HANGS + dies, min_isr=1, topic=topic, records=7000)
    alone = next((at, fact) for at, fact in changes(found) if fact.isr == ("broker-1",))
    after = [fact for at, fact in changes(found) if s(80) < at < s(100)]

    assert s(30) <= alone[0] - s(2) <= s(46)
    assert alone[1].elr == ()
    assert any(at > alone[0] for at, _ in found.history.of(Acked))
    assert (after[-1].leader != "", any(fact.unclean for fact in after)) == (unclean, unclean)
    assert found.verdict.records["lost"] > 0, "with its machine goes what only it had: by the new leader's truncation, or out of its own page cache"


@pytest.mark.parametrize(("kafka", "before"), [("4.3", "REQUEST_TIMED_OUT"), ("3.6", "NOT_ENOUGH_REPLICAS_AFTER_APPEND")])
def test_bv_334_what_a_shrink_below_the_minimum_does_to_waiting_writes(kafka: str, before: str) -> None:
    """BP-42, BP-46: from 3.7 on the high watermark stands still, so they time out; before, it moves on, and they are reported failed though committed."""
    found = run(
        fault("two die", "crash", "2s", 'who = ["broker-2", "broker-3"]\nfor = "60s"'),
        kafka=kafka,
        records=2500,
        producer="config.delivery.timeout.ms = 300000\n",
    )
    shrunk = next(at for at, fact in changes(found) if fact.isr == ("broker-1",))
    told = {fact.error for at, fact in found.history.of(Retried) if at < shrunk + s(31)}
    timed_out = {fact.error for _, fact in found.history.of(TimedOut)}

    assert before in told | timed_out
    assert {fact.error for at, fact in found.history.of(Rejected) if shrunk < at < s(60)} == {"NOT_ENOUGH_REPLICAS"}


ZOMBIE = fault("from the controller", "cut", "2s", 'between = ["broker-1", "controller-1"]\nfor = "60s"') + fault(
    "from the followers", "cut", "2s", 'between = ["broker-1", "followers(t-0)"]\nfor = "60s"'
)
ONLY_THE_ZOMBIE = fault("from the others", "cut", "1900ms", 'between = ["p1", "followers(t-0)"]\nfor = "60s"')


def test_bv_335_a_zombie_leader_acknowledges_nothing_to_acks_all_and_nothing_of_it_is_ever_visible() -> None:
    """KC-70, RP-60: REQUEST_TIMED_OUT after 30 s, NOT_LEADER_OR_FOLLOWER when it learns of the new epoch; what it appended is cut."""
    found = run(ZOMBIE + ONLY_THE_ZOMBIE, records=3000, producer="config.delivery.timeout.ms = 300000\n")
    seen = [fact.offset for at, fact in found.history.of(HighWatermark) if fact.broker == "broker-1" and s(2) + ms(10) < at < s(62)]

    assert [fact for at, fact in found.history.of(Acked) if s(2) + ms(10) < at < s(61)] == []
    assert seen == []
    assert {fact.error for _, fact in found.history.of(TimedOut)} == {"REQUEST_TIMED_OUT"}
    assert any(fact.broker == "broker-1" for _, fact in found.history.of(Truncated))
    assert (found.verdict.records["lost"], found.verdict.records["duplicated"]) == (0, 0)


def test_bv_336_a_zombie_leader_acknowledges_everything_to_acks_1_and_all_of_it_is_lost() -> None:
    found = run(ZOMBIE + ONLY_THE_ZOMBIE, acks="1", producer=NO_IDEMPOTENCE, records=3000)
    acked = sum(len(fact.records) for at, fact in found.history.of(Acked) if s(2) + ms(10) < at < s(61))
    seen = [fact.offset for at, fact in found.history.of(HighWatermark) if fact.broker == "broker-1" and s(2) + ms(10) < at < s(62)]
    (cut,) = (fact for _, fact in found.history.of(Truncated))

    assert acked > 2500
    assert seen == []
    assert found.verdict.records["lost"] == cut.from_offset - cut.to_offset > 2500


def test_bv_337_a_retry_within_five_batches_leaves_one_copy_at_its_first_offset() -> None:
    """PS-10."""
    found = simulate(Scenario.load("lost-ack-idempotent"))
    known = [fact for _, fact in found.history.of(Deduplicated)]

    assert found.verdict.records["ok"] == found.verdict.records["offered"]
    assert known
    for fact in known:
        assert any(acked.offset == fact.base_offset and acked.records == fact.records for _, acked in found.history.of(Acked))


def test_bv_338_the_new_leader_knows_the_batch_that_it_has_replicated() -> None:
    """PS-54."""
    lost = '[[fault]]\nname = "lost"\nwhen = { response = "Produce", nth = 20 }\ndo = "lose-response"\n'
    dies = '[[fault]]\nname = "dies"\nwhen = { response = "Produce", nth = 20 }\ndo = "crash"\nwho = "broker-1"\nfor = "20s"\n'
    found = run(lost + dies, records=100)
    known = [fact.broker for _, fact in found.history.of(Deduplicated)]

    assert known
    assert "broker-1" not in known
    assert (found.verdict.records["ok"], found.verdict.records["duplicated"]) == (100, 0)


REJECTED = '[[fault]]\nname = "rejected"\nwhen = { request = "Produce", nth = 6 }\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\n'
PIPELINE = '[network]\nlatency = "20ms"\n'


def test_bv_340_a_rejected_batch_is_not_overtaken_by_those_behind_it() -> None:
    """PS-13d: they are out of order, and the client sends them again in order."""
    found = run(REJECTED + PIPELINE, records=200, every="5ms")

    assert "OUT_OF_ORDER_SEQUENCE_NUMBER" in {fact.error for _, fact in found.history.of(Rejected)}
    assert (found.verdict.records["ok"], found.verdict.records["reordered"]) == (200, 0)


def test_bv_341_without_idempotence_they_pass_it() -> None:
    """GB-9."""
    found = run(REJECTED + PIPELINE, records=200, every="5ms", producer=NO_IDEMPOTENCE)

    assert found.verdict.records["reordered"] > 0


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_bv_347_a_quick_restart_waits_for_its_own_old_session(kafka: str) -> None:
    """KC-13, KC-15, KC-2: registered 7 to 9 s after the kill at the earliest, and up to 2 s later; unavailable 7 to 10.1 s, and what it takes to be told."""
    found = run(fault("dies", "crash", "5s", 'who = "broker-1"\nfor = "500ms"'), kafka=kafka, records=600)
    registered = next(at for at, fact in found.history.of(BrokerChanged) if fact.state == "registered")

    assert s(7) <= registered - s(5) <= s(12)
    assert 6_000 <= found.metrics.unavailable_ms <= 12_000


# H-054 and H-055: how KIP-101 ends them.


def test_h_054_a_follower_that_restarts_does_not_cut_back_to_its_high_watermark() -> None:
    """RP-37: it did before 0.11 (KIP-101), and then its leader died. What is committed is on it, and stays."""
    restart = fault("the follower restarts", "crash", "3s", 'who = "broker-2"\nfor = "100ms"')
    found = run(restart + fault("then the leader dies", "crash", "20s", 'who = "broker-1"\nfor = "15s"'), records=2000)

    assert [fact.broker for _, fact in found.history.of(Truncated) if fact.broker == "broker-2"] == []
    assert (found.verdict.records["lost"], found.verdict.records["ok"]) == (0, 2000)


def test_h_055_after_a_power_cut_logs_that_went_different_ways_are_one_again() -> None:
    """Both lose power, the one with less leads and appends; leader epochs tell the other where to cut (RP-33). The records are lost, the logs agree."""
    cut = fault("all lose power", "power-loss", "40s", 'who = "brokers"\nfor = "3s"')
    drawn = '[model]\npower_loss_keeps = "drawn"\n'
    found = run(cut + drawn, records=3000)
    logs = [log for _, log in found.history.of(FinalLog)]

    assert len({log.batches for log in logs}) == 1
    assert final_leader(found).high_watermark == final_leader(found).log_end_offset
    assert found.verdict.records["lost"] > 0
    assert [fact for _, fact in found.history.of(Failed)] == []


INEXPRESSIBLE = {"BV-343, BV-344, BV-346": "a transaction coordinator: transactions are not yet simulated"}
