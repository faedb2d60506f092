"""Leaders that are cut off, die in silence, or find no controller: what a cluster does then, and when."""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Acked, Appended, HighWatermark, PartitionChanged, Rejected, TimedOut, Truncated
from ksim_models.units import Micros, ms, s

HEAD = 'title = "a test"\nkafka = "4.3"\nseed = 7\n[producers.p1]\nconfig.linger.ms = 0\n'
WORKLOAD = '[[workload]]\ntopic = "t"\nevery = "10ms"\n'


def run(faults: str, *, minimum: int = 2, records: int = 6_000, more: str = "", kafka: str = "4.3") -> Run:
    """broker-1 leads t-0, and is preferred."""
    topic = f"[topics.t]\nassignment = [[1, 2, 3]]\nconfig.min.insync.replicas = {minimum}\n"
    text = HEAD.replace("4.3", kafka) + topic + WORKLOAD + f"records = {records}\n" + faults + more
    return simulate(Scenario.loads(text), check_every=7)


def cut(one: str, other: str, at: str = "2s", lasts: str = "50s") -> str:
    return f'[[fault]]\nname = "{one} {other}"\ndo = "cut"\nbetween = ["{one}", "{other}"]\nat = "{at}"\nfor = "{lasts}"\n'


def changes(found: Run) -> list[tuple[Micros, str, tuple[str, ...]]]:
    return [(at, fact.leader, fact.isr) for at, fact in found.history.of(PartitionChanged)]


@pytest.mark.parametrize("minimum", [1, 2])
def test_kc_71_a_leader_that_reaches_only_the_controller_ends_alone_in_the_isr(minimum: int) -> None:
    """It keeps its session, and so its office. acks=all is one copy then, or refused."""
    found = run(cut("broker-1", "broker-2", lasts="100s") + cut("broker-1", "broker-3", lasts="100s"), minimum=minimum)
    alone_at = next(at for at, leader, isr in changes(found) if (leader, isr) == ("broker-1", ("broker-1",)))
    refused = [at for at, fact in found.history.of(Rejected) if fact.error == "NOT_ENOUGH_REPLICAS"]
    acked = [at for at, _ in found.history.of(Acked) if alone_at + s(1) < at < s(100)]

    assert s(32) <= alone_at <= s(48), "RP-50: one to one and a half times replica.lag.time.max.ms"
    assert {leader for at, leader, _ in changes(found) if at < s(100)} == {"broker-1"}
    assert (bool(refused), bool(acked)) == ((True, False) if minimum == 2 else (False, True))
    assert found.verdict.records["lost"] == 0


def test_kc_72_a_leader_that_lost_only_the_controller_commits_until_its_followers_leave_it_and_nothing_is_lost() -> None:
    found = run(cut("broker-1", "controller-1"))
    elected_at = next(at for at, leader, _ in changes(found) if leader != "broker-1")
    committed_by_the_old = [at for at, fact in found.history.of(HighWatermark) if fact.broker == "broker-1" and at < s(50)]
    appended_by_the_old = [at for at, fact in found.history.of(Appended) if fact.broker == "broker-1" and at < s(50)]

    assert s(2) + s(7) <= elected_at <= s(2) + ms(10_125), "KC-2"
    assert any(s(2) < at < elected_at for at, _ in found.history.of(Acked)), "nobody else noticed anything before"
    assert max(committed_by_the_old) < elected_at + ms(10)
    assert max(appended_by_the_old) > elected_at + s(20), "REQUEST_TIMED_OUT sends no client for new metadata"
    assert (found.verdict.records["lost"], found.verdict.records["duplicated"]) == (0, 0)


def test_kc_70_kc_74_a_leader_that_nobody_but_its_clients_reaches_acknowledges_acks_1_and_loses_it() -> None:
    """acks=all would wait in vain (RP-60); when it hears of the new epoch it cuts its own tail."""
    ends = ("controller-1", "broker-2", "broker-3")
    client = '[[fault]]\nname = "client"\ndo = "cut"\nbetween = ["p1", ["broker-2", "broker-3"]]\nat = "2s"\nfor = "30s"\n'
    faults = "".join(cut("broker-1", end, lasts="30s") for end in ends) + client
    text = "config.acks = 1\nconfig.enable.idempotence = false\n[topics.t]\nassignment = [[1, 2, 3]]\n" + WORKLOAD + "records = 2000\n"
    one = simulate(Scenario.loads(HEAD + text + faults))
    every = run(faults, records=2_000)

    assert one.verdict.records["lost"] > 1_000
    assert [fact.broker for _, fact in one.history.of(Truncated)] == ["broker-1"]
    assert every.verdict.records["lost"] == 0
    assert any(fact.error == "REQUEST_TIMED_OUT" for _, fact in every.history.of(TimedOut)) or every.metrics.errors == {}


@pytest.mark.parametrize(("kafka", "at_most"), [("3.9", 9_000), ("4.3", 10_125)])
def test_kc_4_a_partition_whose_leader_dies_in_silence_has_a_new_one_after_seven_to_ten_seconds(kafka: str, at_most: int) -> None:
    """The rest of the session since the last heartbeat, 25 ms for the commit, and up to 500 ms before 4.1 until the brokers know."""
    found = run('[[fault]]\nname = "dark"\ndo = "power-loss"\nwho = "broker-1"\nat = "5s"\nfor = "60s"\n', kafka=kafka)
    elected_at = next(at for at, leader, _ in changes(found) if leader not in ("broker-1", ""))

    assert s(5) + ms(7_000) <= elected_at <= s(5) + ms(at_most) + ms(25) + ms(1)


def test_kc_84_without_a_controller_nobody_is_elected_and_the_rest_goes_on() -> None:
    """The second topic keeps its leader; the first gets one when the controller is back, a session later (KC-3)."""
    two = "[topics.u]\nassignment = [[2, 3, 1]]\nconfig.min.insync.replicas = 1\n" + WORKLOAD.replace('"t"', '"u"') + "records = 5000\n"
    faults = '[[fault]]\nname = "c"\ndo = "crash"\nwho = "controller-1"\nat = "1s"\nfor = "29s"\n'
    faults += '[[fault]]\nname = "b"\ndo = "crash"\nwho = "broker-1"\nat = "2s"\nfor = "60s"\n'
    text = HEAD.replace("config.linger", "config.acks = 1\nconfig.enable.idempotence = false\nconfig.linger")
    text += "[topics.t]\nassignment = [[1, 2, 3]]\n" + two + WORKLOAD + "records = 5000\n" + faults
    found = simulate(Scenario.loads(text), check_every=7)
    meanwhile = {fact.partition for at, fact in found.history.of(Appended) if s(3) < at < s(30)}
    (first, *_) = [(at, fact.leader) for at, fact in found.history.of(PartitionChanged) if fact.partition == "t-0"]

    assert meanwhile == {"u-0"}
    assert [fact for at, fact in found.history.of(PartitionChanged) if at < s(30)] == []
    assert s(30) + s(9) <= first[0] <= s(30) + ms(10_125) + ms(30)


@pytest.mark.parametrize("controllers", [1, 3])
def test_a_leader_whose_words_to_the_controllers_vanish_leads_on_though_theirs_would_reach_it(controllers: int) -> None:
    """KC-80: it hears what it asks for, and a fetch of the metadata log is parked for 500 ms at most."""
    cuts = "".join(
        f'[[fault]]\nat = "3s"\ndo = "cut"\nbetween = ["leader(t-0)", "controller-{number}"]\none_way = true\nfor = "40s"\n'
        for number in range(1, controllers + 1)
    )
    cluster = f'kafka = "4.3"\nseed = 1\ncluster.controllers = {controllers}\n[topics.t]\nconfig.min.insync.replicas = 2\n'
    played = simulate(Scenario.loads(cluster + '[[workload]]\ntopic = "t"\nfor = "60s"\nrate = 5\n' + cuts))

    assert played.verdict.verdict == "held"
    assert 29_000 < played.metrics.unavailable_ms < 31_000, "until request.timeout.ms makes its producer look for another leader"
