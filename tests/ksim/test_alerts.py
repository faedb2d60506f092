"""Alert rules rehearsed: when each would have fired, how long after the first harm; or that it was blind."""

from __future__ import annotations

import json
from fractions import Fraction
from math import nan
from typing import Any

import pytest

from ksim.first_harm import HARMS, Harm, harms
from ksim.history import History
from ksim.metrics_alerts import fires_at, rehearse, watched
from ksim.metrics_series import Line
from ksim.plan import AlertPlan
from ksim.report import report, report_on
from ksim.report_text import text
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Acked, Appended, Became, Failed, FinalLog, LoggedBatch, Offered, PartitionChanged, Refused
from ksim_models.units import SECOND

MS = 1_000
CRASH_ACKS_1 = """
title = "acks=1 and a failover"
kafka = "4.3"
seed = 7
[topics.payments]
[producers.p1]
config.acks = 1
config.enable.idempotence = false
[[workload]]
topic = "payments"
for = "30s"
rate = 200
[[fault]]
at = "4900ms"
do = "cut"
between = ["leader(payments-0)", "brokers"]
for = "2s"
[[fault]]
at = "5s"
do = "crash"
who = "leader(payments-0)"
for = "15s"
"""


def alert(metric: str, limit: str, lasting: str = "") -> str:
    return f'[[alert]]\nmetric = "{metric}"\n{limit}\n' + (f'for = "{lasting}"\n' if lasting else "")


def line(*values: float, metric: str = "record-error-rate", client: str = "p1", topic: str = "", node: str = "") -> Line:
    return Line(metric, client, node, topic, tuple(range(0, 1000 * len(values), 1000)), values)


def rule(*, above: str | None = None, below: str | None = None, seconds: int = 0, metric: str = "record-error-rate") -> AlertPlan:
    return AlertPlan(metric, Fraction(above or below or "0"), above is not None, seconds * SECOND)


# The rule.


def test_an_alert_without_a_for_fires_at_the_first_look_that_finds_it_true() -> None:
    assert fires_at(rule(above="0"), line(0, 0, 0.5, 0), 3000) == 2000
    assert fires_at(rule(above="0.5"), line(0, 0, 0.5, 0), 3000) is None, "above is more than"
    assert fires_at(rule(below="1"), line(1, 1, 0.9), 2000) == 2000


def test_an_alert_with_a_for_fires_when_every_look_of_it_found_it_true() -> None:
    assert fires_at(rule(above="0", seconds=2), line(0, 1, 1, 0, 1, 1, 1, 1), 7000) == 6000
    assert fires_at(rule(above="0", seconds=4), line(0, 1, 1, 0, 1, 1, 1, 1), 7000) is None


def test_nan_is_neither_above_nor_below() -> None:
    assert fires_at(rule(above="-1"), line(nan, nan), 1000) is None
    assert fires_at(rule(below="1"), line(nan, nan), 1000) is None


def test_what_is_above_at_the_end_of_the_run_is_followed_and_what_is_below_or_begins_later_is_not() -> None:
    """The run ends at 2000; the readings go on."""
    assert fires_at(rule(above="0", seconds=3), line(0, 1, 1, 1, 1), 2000) == 4000
    assert fires_at(rule(above="0"), line(0, 0, 0, 1), 2000) is None
    assert fires_at(rule(below="1", seconds=3), line(1, 0, 0, 0, 0), 2000) is None
    assert fires_at(rule(below="1", seconds=1), line(1, 0, 0, 0, 0), 2000) == 2000


def test_a_clients_own_metric_is_watched_and_not_its_topics_besides() -> None:
    own, of_topic, of_broker = line(1), line(2, topic="payments"), line(3, metric="UnderReplicatedPartitions", client="", node="broker-1")

    assert watched([own, of_topic, of_broker], "record-error-rate") == [own]
    assert watched([own, of_topic, of_broker], "UnderReplicatedPartitions") == [of_broker]
    assert watched([line(2, metric="byte-rate", topic="payments")], "byte-rate") == [line(2, metric="byte-rate", topic="payments")]


def test_the_first_of_several_that_fires_is_named() -> None:
    lines = [line(0, 0, 1, client="p1"), line(0, 1, 1, client="p2")]
    (alarm,) = rehearse([rule(above="0")], lines, 2 * SECOND, None)

    assert (alarm.fired_at_ms, alarm.of, alarm.blind, alarm.after_harm_ms) == (1000, "p2", False, None)


def test_blind_is_harm_without_an_alarm() -> None:
    lost = Harm("lost", 500 * MS, 3)
    (alarm,) = rehearse([rule(above="0")], [line(0, 0)], SECOND, lost)
    (unread,) = rehearse([rule(above="0")], [], SECOND, lost)
    (early,) = rehearse([rule(above="0")], [line(1, 1)], SECOND, lost)

    assert (alarm.blind, alarm.read) == (True, True)
    assert (unread.blind, unread.read) == (False, False)
    assert (early.blind, early.after_harm_ms) == (False, -500)


# The first harm.


def history_of(*lines: Any) -> History:
    history = History({})
    for at, fact in lines:
        history.add(at * MS, fact)
    return history


def log(*batches: tuple[int, range], high_watermark: int = 100) -> FinalLog:
    told = tuple(LoggedBatch(offset, 0, "p1", records, -1, -1, -1) for offset, records in batches)
    return FinalLog("t-0", "broker-1", True, True, 0, high_watermark, high_watermark, 100, told)


def offered(count: int) -> tuple[int, Offered]:
    return 0, Offered("p1", range(count), 0, 0)


def acked(first: int, stop: int, offset: int) -> Acked:
    return Acked("p1", "t-0", range(first, stop), offset)


def appended(first: int, stop: int, offset: int) -> Appended:
    return Appended("broker-1", "t-0", "p1", range(first, stop), offset, 0)


def leads(broker: str, end: int) -> Became:
    return Became(broker, "t-0", "leader", 1, end, end)


def test_a_record_is_lost_when_somebody_leads_who_does_not_have_it() -> None:
    """Acknowledged at 10 ms at offsets 0 to 9; the leader of 500 ms has all, that of 900 ms has five."""
    history = history_of(offered(10), (10, acked(0, 10, 0)), (500, leads("broker-2", 10)), (900, leads("broker-3", 5)), (999, log((0, range(5)))))

    assert harms(history) == (Harm("lost", 900 * MS, 5),)


def test_a_record_that_was_never_there_is_lost_when_it_is_acknowledged() -> None:
    """acks=0, and a history without internal facts."""
    assert harms(history_of(offered(4), (10, acked(0, 4, -1)), (500, leads("broker-2", 0)), (999, log()))) == (Harm("lost", 10 * MS, 4),)
    assert harms(history_of(offered(4), (10, acked(0, 4, 0)), (999, log()))) == (Harm("lost", 10 * MS, 4),)


def test_a_record_is_duplicated_when_it_is_appended_again_and_reordered_when_it_is_appended_late() -> None:
    lines = [offered(4), (5, appended(2, 4, 0)), (20, appended(0, 2, 2)), (30, appended(0, 2, 4)), (40, acked(0, 4, 0))]
    found = harms(history_of(*lines, (999, log((0, range(2, 4)), (2, range(2)), (4, range(2))))))

    assert found == (Harm("reordered", 20 * MS, 2), Harm("duplicated", 30 * MS, 2))


def test_failed_refused_and_ghost_are_done_when_the_application_is_told() -> None:
    lines = [
        offered(3),
        (5, appended(0, 1, 0)),
        (7, Refused("p1", range(2, 3), "TimeoutException", "")),
        (9, Failed("p1", "t-0", range(2), "TimeoutException", "")),
    ]

    assert harms(history_of(*lines, (999, log((0, range(1)))))) == (Harm("refused", 7 * MS, 1), Harm("ghost", 9 * MS, 1), Harm("failed", 9 * MS, 2))


def test_no_harm_is_no_harm() -> None:
    assert harms(history_of(offered(2), (5, acked(0, 2, 0)), (999, log((0, range(2)))))) == ()
    assert set(HARMS) >= {"lost", "ghost", "duplicated", "reordered", "misrouted", "hidden", "failed", "refused"}


# In a run, and in its report.


@pytest.fixture(scope="module")
def failover() -> Run:
    rules = alert("record-error-rate", "above = 0") + alert("record-retry-rate", "above = 0") + alert("record-queue-time-max", "above = 5000", "10s")
    rules += alert("UnderReplicatedPartitions", "above = 0", "5s") + alert("record-send-rate", "below = 1", "10s")
    return simulate(Scenario.loads(CRASH_ACKS_1 + rules))


def test_record_error_rate_is_blind_to_what_acks_1_loses_in_a_failover(failover: Run) -> None:
    """H-170, claim 18: the records were acknowledged, so nothing failed. They are lost when the next leader takes over."""
    errors, retries, queue, replicas, sends = failover.alarms
    elected = next(at for at, fact in failover.history.of(PartitionChanged) if fact.leader not in ("broker-1", "") and at > 5 * SECOND)
    lost_at = next(at for at, fact in failover.history.of(Became) if fact.role == "leader" and at >= elected)

    assert errors.harm == Harm("lost", lost_at, failover.verdict.records["lost"])
    assert (errors.fired_at_ms, errors.blind) == (None, True)
    assert (sends.fired_at_ms, sends.blind) == (None, True), "a window of half a minute bridges ten seconds of nothing"
    assert retries.fired_at_ms is not None
    assert queue.fired_at_ms == -(-lost_at // SECOND) * 1000 + 1000 + 10_000
    assert replicas.fired_at_ms == -(-elected // SECOND) * 1000 + 5_000
    assert queue.after_harm_ms == queue.fired_at_ms - lost_at / MS


def test_the_report_says_when_and_how_long_after_the_first_harm(failover: Run) -> None:
    data = report(failover)
    rows: Any = data["alerts"]
    told = text(report_on(failover))

    assert [row["metric"] for row in rows] == [
        "record-error-rate",
        "record-retry-rate",
        "record-queue-time-max",
        "UnderReplicatedPartitions",
        "record-send-rate",
    ]
    assert rows[0] | {"first_harm": None} == {
        "metric": "record-error-rate",
        "above": 0,
        "for_ms": 0,
        "read": True,
        "fired_at_ms": None,
        "of": None,
        "first_harm": None,
        "after_first_harm_ms": None,
        "blind": True,
    }
    assert rows[0]["first_harm"]["name"] == "lost"
    assert (rows[3]["for_ms"], rows[4]["below"]) == (5000, 1)
    assert json.loads(json.dumps(data))["alerts"] == rows
    assert f"alert    record-error-rate above 0: BLIND: never fired, and the first record was lost at {rows[0]['first_harm']['at_ms']} ms\n" in told
    assert f"alert    UnderReplicatedPartitions above 0 for 5000 ms: fired at {rows[3]['fired_at_ms']} ms (broker-2), " in told


def test_an_alert_that_need_not_fire_says_so_and_one_that_need_not_have_too() -> None:
    rules = alert("record-error-rate", "above = 0") + alert("record-send-rate", "above = 0.1")
    run = simulate(Scenario.loads(CRASH_ACKS_1.partition("[[fault]]")[0] + rules))
    told = text(report_on(run))

    assert "alert    record-error-rate above 0: never fired; no harm was done\n" in told
    assert "alert    record-send-rate above 0.1: fired at 1000 ms (p1), and no harm was done\n" in told


def test_a_scenario_without_alerts_reports_none() -> None:
    run = simulate(Scenario.load("lost-ack"))

    assert run.alarms == ()
    assert "alerts" not in report(run)


def test_alerts_change_nothing_of_a_run() -> None:
    plain, watched_run = (simulate(Scenario.loads(CRASH_ACKS_1 + rules)) for rules in ("", alert("record-error-rate", "above = 0")))

    assert plain.history.digest == watched_run.history.digest


def test_of_a_live_run_an_alert_on_what_nobody_read_cannot_be_told(failover: Run) -> None:
    history = failover.history
    live = Run(failover.plan, history, 0, failover.simulated_us, 0.0)
    told = text(report_on(live))

    assert "alert    record-queue-time-max above 5000 for 10000 ms: cannot be told: nobody read this metric\n" in told
    assert "alert    record-error-rate above 0: BLIND" in told
