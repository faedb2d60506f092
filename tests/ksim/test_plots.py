"""Pictures: the same bytes each time."""

from __future__ import annotations

from pathlib import Path

from ksim.plots import save_rates, save_timeline
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.sweeps import sweep


def test_a_timeline_is_drawn_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save_timeline(simulate(Scenario.load("leader-crash")), tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "leader dies" in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_rates_are_drawn_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    table = sweep(Scenario.load("leader-crash-acks-1"), over={"producers.p1.config.acks": [0, 1, "all"]}, seeds=range(3))
    for name in ("one.svg", "two.svg"):
        save_rates(table, tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
