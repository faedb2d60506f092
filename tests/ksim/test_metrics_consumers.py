"""A consumer's metrics over time, by Kafka's names; and those of clients that come back."""

from __future__ import annotations

from itertools import pairwise
from math import isnan

import pytest

from ksim import Run, Scenario, simulate
from ksim.metrics_names import CONSUMER_GAUGES, CONSUMER_NAMES
from ksim.metrics_series import Line, Series
from ksim.problems import ScenarioError
from ksim_models.consumer_facts import CommittedOffset, Read

GROUP = """
kafka = "4.3"
seed = 7
[cluster]
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = 1
[model]
costs = "none"
[topics.payments]
partitions = 2
[producers.p1]
{producer}
[consumers.reader]
topics = ["payments"]
config.group.id = "g"
config.auto.offset.reset = "earliest"
config.enable.auto.commit = false
config.heartbeat.interval.ms = 1000
config.session.timeout.ms = 6000
{consumer}
[[workload]]
topic = "payments"
records = 1000
every = "10ms"
"""
ALERT = '[[alert]]\nmetric = "{}"\nabove = {}\n'
CRASH = '[[fault]]\nat = "{}"\ndo = "crash"\nwho = "{}"\nfor = "3s"\n'
SECOND = '[consumers.other]\ntopics = ["payments"]\nconfig.group.id = "g"\nconfig.auto.offset.reset = "earliest"\nconfig.enable.auto.commit = false\n'


def play(*more: str, consumer: str = "", producer: str = "") -> Run:
    return simulate(Scenario.loads(GROUP.format(consumer=consumer, producer=producer) + "".join(more)), measured=True)


def line(series: Series, metric: str, client: str = "reader", topic: str = "") -> Line:
    return series.line(metric, client=client, topic=topic)


def read(run: Run, consumer: str = "reader") -> int:
    return sum(len(fact.records) for _, fact in run.history.of(Read) if fact.consumer == consumer)


def test_what_poll_returned_is_consumed_and_nothing_is_behind_in_the_end() -> None:
    run = play()
    series = run.series("1s")

    assert line(series, "records-consumed-total").values[-1] == read(run) == 1000
    assert line(series, "records-consumed-total", topic="payments").values[-1] == 1000
    assert line(series, "records-consumed-rate").at(9_000) == pytest.approx(1000 * 0.9 / 39, rel=0.05)
    assert line(series, "records-lead-min").values[-1] >= 1


def test_a_consumer_that_works_too_long_falls_behind() -> None:
    """The lag is what is behind the position once poll() has returned, by the high watermark that came with the fetch."""
    slow, fast = (play(consumer=f'config.max.poll.records = 5\nwork = "{work}"').series("1s") for work in ("20ms", "1ms"))
    most = [max(value for value in line(series, "records-lag-max").values if not isnan(value)) for series in (slow, fast)]

    assert most[0] > 100
    assert most[1] < 60  # What had come before it was a member.


def test_each_fetch_is_measured_until_its_answer_and_waits_for_data_at_most_so_long() -> None:
    run = play(consumer="config.fetch.max.wait.ms = 300", producer="config.linger.ms = 900")
    series = run.series("1s")

    assert 290 <= line(series, "fetch-latency-max").values[-1] <= 310
    assert line(series, "fetch-total").values[-1] > line(series, "records-consumed-total").values[-1] / 1000


def test_every_commit_counts() -> None:
    run = play()
    commits = [fact for _, fact in run.history.of(CommittedOffset) if not fact.error]
    series = run.series("1s")

    assert line(series, "commit-total").values[-1] == len(commits) > 5
    assert line(series, "commit-latency-avg").values[-1] >= 1


def test_joins_and_rebalances_are_counted_and_the_member_id_that_is_required_is_a_failed_one() -> None:
    """AbstractCoordinator: the first JoinGroup is refused with MEMBER_ID_REQUIRED (KIP-394), and its future fails."""
    series = play(SECOND).series("1s")
    totals = {name: line(series, name).values[-1] for name in ("join-total", "sync-total", "rebalance-total", "failed-rebalance-total")}

    assert totals["join-total"] >= totals["sync-total"] == totals["rebalance-total"] >= 1
    assert totals["failed-rebalance-total"] >= 1
    assert line(series, "assigned-partitions").values[-1] + line(series, "assigned-partitions", "other").values[-1] == 2
    assert line(series, "rebalance-rate-per-hour").values[-1] > 0
    assert line(series, "heartbeat-total").values[-1] > 5


def test_a_coordinator_that_dies_shows_as_failed_heartbeats_and_no_rebalance() -> None:
    series = play(CRASH.format("3s", "coordinator(g)")).series("1s")

    assert line(series, "rebalance-total").values[-1] == 1


def test_every_name_has_a_series_and_measuring_changes_no_fact() -> None:
    run = play()
    series = run.series("1s")

    assert {one.metric for one in series.lines if one.client == "reader"} == set(CONSUMER_NAMES)
    assert set(CONSUMER_GAUGES) <= set(CONSUMER_NAMES)
    assert run.history.digest == simulate(run.plan).history.digest


@pytest.mark.parametrize(("who", "metric"), [("reader", "records-consumed-total"), ("p1", "record-send-total")])
def test_of_a_client_that_crashed_and_came_back_the_totals_begin_at_nothing(who: str, metric: str) -> None:
    one = line(play(CRASH.format("4s", who)).series("500ms"), metric, who)
    gaps = [(earlier, later) for earlier, later in pairwise(one.at_ms) if later - earlier > 500]
    (gap,) = gaps

    assert gap == (3500, 7000)
    assert one.at(3500) > 100
    assert one.at(7000) < one.at(3500)
    assert one.values[-1] > one.at(7000)


def test_librdkafkas_statistics_begin_anew_too() -> None:
    text = GROUP.format(consumer="", producer='client = "librdkafka"') + CRASH.format("4s", "p1")
    sent = line(simulate(Scenario.loads(text), measured=True).series("500ms"), "txmsgs", "p1")

    assert sent.at(7000) < sent.at(3500)
    assert 7500 in sent.at_ms
    assert 5000 not in sent.at_ms


def test_a_client_that_is_closed_and_does_not_come_back_ends_its_series_with_its_process() -> None:
    series = play('[[fault]]\nat = "4s"\ndo = "shutdown"\nwho = "reader"\n').series("500ms")

    assert line(series, "fetch-total").at_ms[-1] == 3500


def test_an_alert_can_watch_a_consumer() -> None:
    run = play(ALERT.format("records-lag-max", 50), consumer='config.max.poll.records = 5\nwork = "20ms"')
    (alarm,) = run.alarms

    assert alarm.fired_at_ms is not None
    assert alarm.of == "reader"


def test_an_alert_on_a_consumer_that_is_not_there_is_refused() -> None:
    text = 'kafka = "4.3"\nseed = 7\n[topics.t]\n[[workload]]\ntopic = "t"\nrecords = 1\nevery = "1ms"\n' + ALERT.format("records-lag-max", 1)
    with pytest.raises(ScenarioError, match="is a metric of a consumer, and there is none here"):
        Scenario.loads(text)
