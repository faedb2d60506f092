"""What is committed with an experiment is what the code produces."""

from __future__ import annotations

import csv
from pathlib import Path

from ksim.scenario import Scenario
from ksim.simulation import simulate

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
