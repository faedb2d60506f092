"""The defaults of [model] are what was measured on real Kafka, and a report says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ksim.calibration import CALIBRATED_ON, MEASURED
from ksim.history import History
from ksim.plan import Costs
from ksim.report import report_on, report_on_history
from ksim.report_text import text
from ksim.runs import run_line
from ksim.scenario import Scenario
from ksim.simulation import simulate
from loading import load

HERE = Path(__file__).parents[2] / "experiments" / "calibration"
calibrate = load(HERE / "calibrate.py")
RESULTS: dict[str, Any] = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
BEST = RESULTS["measurements"][0]
HEAD = 'title = "a test"\nkafka = "4.3"\nseed = 7\n[topics.t]\n[producers.p1]\n[[workload]]\ntopic = "t"\nrecords = 100\nevery = "10ms"\n'
SLOW = '[[fault]]\ndo = "slow-disk"\nwho = "broker-3"\nfactor = 10\nat = "100ms"\nfor = "500ms"\n'


def rounded(us: float) -> int:
    """To two figures: the spread is far wider than the rest."""
    return int(float(f"{us:.2g}"))


def test_the_defaults_are_the_medians_of_the_quietest_measurement() -> None:
    assert asdict(MEASURED) == {cost: rounded(of["median"]) for cost, of in BEST["costs_us"].items()}
    assert min(RESULTS["measurements"], key=calibrate.noise) == BEST


def test_the_report_names_the_machine_the_release_and_the_day_of_that_measurement() -> None:
    assert [str(BEST[what]) for what in ("cpu", "kafka", "date") if str(BEST[what]) not in CALIBRATED_ON] == []


def test_the_page_is_made_of_the_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == "\n".join(calibrate.page(RESULTS)) + "\n"


def test_every_measurement_says_how_often_and_how_far_apart() -> None:
    for one in RESULTS["measurements"]:
        for of in (*one["costs_us"].values(), *one["round_trips_us"].values()):
            assert of["n"] >= 200
            assert of["p5"] <= of["median"] <= of["p95"]


def test_a_difference_is_taken_round_by_round() -> None:
    """A neighbour that slows down both round trips of a round cancels out."""
    trips = {kind: [100.0, 900.0, 100.0] for kind in ("echo", "produce-refused", "produce-1", "fetch", "fetch-refused", "produce-flushed")}
    trips["produce-1"] = [130.0, 930.0, 130.0]
    found: Mapping[str, Any] = calibrate.summary(trips, [1.0, 2.0, 3.0])

    assert found["costs_us"]["append"] == {"n": 3, "p5": 30.0, "median": 30.0, "p95": 30.0}
    assert found["costs_us"]["metadata"]["median"] == 2.0


def costs(more: str) -> Costs:
    return Scenario.loads(HEAD + more).plan().model.costs


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", MEASURED),
        ('[model]\nwriteback = "10s"\n', MEASURED),
        ('[model]\ncosts = "measured"\n', MEASURED),
        ('[model]\nappend = "40us"\n', replace(MEASURED, append=40)),
        ('[model]\ncosts = "none"\nappend = "40us"\n', Costs(append=40)),
        ('[model]\ncosts = "none"\n' + SLOW, Costs()),
    ],
)
def test_what_is_not_named_is_as_measured(more: str, expected: Costs) -> None:
    assert costs(more) == expected


def test_a_report_says_what_it_is_calibrated_on_and_promises_nothing() -> None:
    run = simulate(Scenario.loads(HEAD))
    report = report_on(run)

    assert report.data["calibrated"] == CALIBRATED_ON
    assert f"calibrated on {CALIBRATED_ON}: no promise" in text(report)


def test_a_recorded_history_says_it_too_and_a_live_one_does_not() -> None:
    run = simulate(Scenario.loads(HEAD))
    line = run_line(run.plan, how="live")
    live = History(line)
    for at, fact in run.history:
        live.add(at, fact)

    assert report_on_history(run.history).data["calibrated"] == CALIBRATED_ON
    assert "calibrated" not in report_on_history(live).data


@pytest.mark.parametrize("more", ['[model]\ncosts = "none"\n', '[model]\ncosts = "none"\nappend = "40us"\n'])
def test_nothing_is_called_calibrated_that_somebody_made_up(more: str) -> None:
    assert "calibrated" not in report_on(simulate(Scenario.loads(HEAD + more))).data
