"""Pictures: the same bytes each time."""

from __future__ import annotations

from pathlib import Path

from ksim.metrics_series import Line, Series
from ksim.plots import TITLE_WIDTH, save_rates, save_timeline, title_of
from ksim.plots_metrics import chosen, save_metrics
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.sweeps import sweep
from ksim_models.facts import Fault


def test_a_timeline_is_drawn_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save_timeline(simulate(Scenario.load("leader-crash")), tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "leader dies" in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_a_fault_that_strikes_several_frames_is_named_once(tmp_path: Path) -> None:
    fault = {"name": "gone", "do": "lose-request", "when": {"request": "Produce", "nth": 3, "times": 3}}
    run = simulate(Scenario(**{**Scenario.load("reorder").data, "fault": [fault], "expect": {}}))
    save_timeline(run, tmp_path / "one.svg")

    assert sum(one.phase == "hit" for _, one in run.history.of(Fault)) == 3
    assert (tmp_path / "one.svg").read_text(encoding="utf-8").count(" gone ") == 1


def test_partitions_with_new_leaders_at_one_moment_share_a_label(tmp_path: Path) -> None:
    scenario = 'title = "two"\nkafka = "4.3"\nseed = 5\n[topics.t]\npartitions = 4\n[[workload]]\ntopic = "t"\nrecords = 100\nevery = "10ms"\n'
    fault = '[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "leader(t-0)"\nfor = "12s"\n'
    save_timeline(simulate(Scenario.loads(scenario + fault)), tmp_path / "two.svg")

    assert " broker-2, broker-3 lead " in (tmp_path / "two.svg").read_text(encoding="utf-8")


def test_rates_are_drawn_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    table = sweep(Scenario.load("leader-crash-acks-1"), over={"producers.p1.config.acks": [0, 1, "all"]}, seeds=range(3))
    for name in ("one.svg", "two.svg"):
        save_rates(table, tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_metrics_are_drawn_with_the_same_bytes_each_time_and_the_faults_behind_them(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save_metrics(simulate(Scenario.load("leader-crash-acks-1")), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "leader dies" in drawn
    assert "UnderReplicatedPartitions broker-2" in drawn


def test_metrics_of_one_unit_share_a_panel_and_any_other_has_one_of_its_own() -> None:
    names = ("record-send-rate", "record-error-rate", "request-size-avg", "metadata-age")
    series = Series(tuple(Line(name, "p1", "", "", (0,), (1.0,)) for name in names), 1000)

    assert [
        (unit, [line.metric for line in lines]) for unit, lines in chosen(series, ["metadata-age", "record-error-rate", "record-send-rate", "request-size-avg"])
    ] == [
        ("per second", ["record-send-rate", "record-error-rate"]),
        ("metadata-age", ["metadata-age"]),
        ("request-size-avg", ["request-size-avg"]),
    ]


def test_a_long_title_takes_several_lines_of_the_pictures_width() -> None:
    lines = title_of(simulate(Scenario.load("outage-breaker"))).splitlines()

    assert len(lines) == 2
    assert max(len(line) for line in lines) <= TITLE_WIDTH
