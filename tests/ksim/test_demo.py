"""The demonstration: its point is made whatever else changes, and its picture is the same each time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ksim.demo import VARIANTS, Outcome, outcomes, table
from ksim.demo_picture import save
from ksim.scenario import Scenario
from ksim.simulation import simulate


@pytest.fixture(scope="module")
def found() -> list[Outcome]:
    return outcomes()


def test_acks_1_loses_all_without_idempotence_duplicates_and_with_it_is_exactly_once(found: list[Outcome]) -> None:
    """Client section 3.6, broker section 1.5."""
    told = [{name: outcome.counts[name] > 0 for name in ("lost", "duplicated", "reordered")} for outcome in found]

    assert told[0] == {"lost": True, "duplicated": False, "reordered": False}
    assert told[1] == {"lost": False, "duplicated": True, "reordered": False}
    assert told[2] == {"lost": False, "duplicated": False, "reordered": False}
    assert found[2].counts["ok"] == 120


def test_in_all_three_every_record_was_acknowledged(found: list[Outcome]) -> None:
    assert [outcome.counts["acked"] for outcome in found] == [120, 120, 120]


def test_the_anomalies_are_the_price_of_the_setting_that_is_named(found: list[Outcome]) -> None:
    told = [[(anomaly.name, anomaly.allowed, anomaly.because) for anomaly in outcome.run.verdict.anomalies] for outcome in found]

    assert told == [[("lost", True, "acks=1")], [("duplicated", True, "enable.idempotence=false")], []]


@pytest.mark.parametrize("seed", range(5))
def test_the_point_does_not_hang_on_one_seed(seed: int) -> None:
    runs = [simulate(Scenario.load("demo", check=False).override(variant.settings), seed=seed) for variant in VARIANTS]

    assert [sorted(anomaly.name for anomaly in run.verdict.anomalies) for run in runs] == [["lost"], ["duplicated"], []]


def test_the_copies_are_those_of_the_final_log(found: list[Outcome]) -> None:
    assert [(outcome.copies.count(0), outcome.copies.count(2)) for outcome in found] == [
        (outcome.counts["lost"], outcome.counts["duplicated"]) for outcome in found
    ]


def test_the_table_lines_up(found: list[Outcome]) -> None:
    lines = list(table(found))

    assert [line.split()[-1] for line in lines] == ["once", *(str(outcome.counts["ok"]) for outcome in found)]
    assert len({len(line) for line in lines}) == 1


def test_the_picture_is_the_same_bytes_each_time(found: list[Outcome], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    save(found, str(tmp_path / "one.svg"))
    save(outcomes(), str(tmp_path / "other.svg"))

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_the_picture_is_drawn_without_pyplot(found: list[Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)

    save(found, str(tmp_path / "one.png"))

    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
