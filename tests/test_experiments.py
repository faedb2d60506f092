"""What is committed with an experiment is what the code produces."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ksim.scenario import Scenario, names
from ksim.simulation import simulate
from loading import load

HERE = Path(__file__).resolve().parents[1] / "experiments" / "acks-and-idempotence"


def rows() -> list[dict[str, str]]:
    with open(HERE / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sample_of_the_rows_is_what_the_simulation_still_finds() -> None:
    scenario = Scenario.load(str(HERE / "scenario.toml"))
    for row in [row for row in rows() if row["status"] == "done" and row["seed"] in ("0", "31")]:
        acks, idempotence = row["producers.p1.config.acks"], row["producers.p1.config.enable.idempotence"].lower()
        found = simulate(scenario.override([("acks", acks), ("enable.idempotence", idempotence)], seed=int(row["seed"])))

        assert found.history.digest == row["digest"]


def test_the_pages_numbers_are_those_of_the_results() -> None:
    page = (HERE / "README.md").read_text(encoding="utf-8")
    lines = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in page.splitlines() if line.count("|") == 5}
    for acks, idempotence in (("0", "false"), ("1", "false"), ("all", "false"), ("all", "true")):
        of = [row for row in rows() if row["producers.p1.config.acks"] == acks and row["producers.p1.config.enable.idempotence"].lower() == idempotence]
        told = [f"{count} of 50" if (count := sum(int(row[name]) > 0 for row in of)) else "none, at most 5.8 %" for name in ("lost", "duplicated")]

        assert [cell.strip() for cell in lines[acks, idempotence].split("|")[3:5]] == told


METRICS = HERE.parent / "which-metric-moves"
which_metric_moves = load(METRICS / "run.py")
MOVES = json.loads((METRICS / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["lost-ack", "leader-crash-acks-0", "reorder", "h-024-acks-0-request-lost", "below-min-isr"])
def test_the_metrics_that_move_are_those_of_the_results(name: str) -> None:
    (row,) = [row for row in MOVES if row["scenario"] == name]

    assert which_metric_moves.measure(name, dict(which_metric_moves.scenarios())[name]) == row


def test_every_built_in_scenario_with_a_fault_is_in_the_results_and_the_page_is_made_of_them() -> None:
    there = {name for name, _ in which_metric_moves.scenarios()}

    assert {name for name, _ in names()} & there <= {row["scenario"] for row in MOVES} <= there
    assert (METRICS / "README.md").read_text(encoding="utf-8") == which_metric_moves.page(MOVES)


def test_claim_18_an_acknowledged_record_may_be_lost_while_all_three_of_the_handbooks_metrics_stand_still() -> None:
    """H-170, E18."""
    harms = [(row, {harm["name"] for harm in row["harms"]}) for row in MOVES]
    lost = [row for row, found in harms if "lost" in found and not found & {"failed", "refused"}]

    assert len(lost) >= 15
    assert all(row["moved_at_ms"]["record-error-rate"] is None for row in lost)
    assert which_metric_moves.silent(lost, which_metric_moves.HANDBOOK)
