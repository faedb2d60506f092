"""Every cell of the matrix of transactions ends as its scenario predicts, and the page says what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksim import Scenario, simulate
from loading import load

HERE = Path(__file__).parents[1] / "experiments" / "transactions"
matrix = load(HERE / "matrix.py")
cells = matrix.cells
CELLS = [cell for client in (cells.JAVA, cells.LIBRDKAFKA) for cell in cells.cells(client) if not cell.nothing]
PAGE = matrix.PAGE.read_text(encoding="utf-8")


def name_of(cell: Any) -> str:
    return f"{cell.client}-{cell.path.stem}"


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_a_cell_ends_as_predicted_and_as_the_page_says(cell: object) -> None:
    found = matrix.outcome(matrix.play(cell.path))  # type: ignore[attr-defined]

    assert found.met, found
    assert matrix.shown(cell, found) in PAGE


@pytest.mark.parametrize("path", [path for _, _, *both in cells.WEAKENED for path in both])
def test_a_setting_that_is_weakened_breaks_what_the_page_says_and_nothing_breaks_with_it(path: str) -> None:
    run = matrix.play(HERE / path)
    verdict = run.verdict

    assert matrix.outcome(run).met
    assert (verdict.verdict == "violated") is (path in [witness for _, _, witness, _ in cells.WEAKENED])


@pytest.mark.parametrize("cell", sorted(cells.STANDS_STILL, key=name_of), ids=name_of)
def test_where_librdkafka_waits_for_a_coordinator_that_is_gone_it_does_so_until_it_is_started_again(cell: Any) -> None:
    alone = cells.text(cell).replace(f"[[fault]]\n{cells.AGAIN}", "")
    (processing,) = simulate(Scenario.loads(alone)).verdict.processing

    assert processing.unprocessed > 200


def test_there_is_a_scenario_for_every_cell_and_no_other() -> None:
    assert {cell.path for cell in CELLS} == {*cells.SCENARIOS.rglob("*.toml")}
    assert [sum(cell.client == client for cell in CELLS) for client in (cells.JAVA, cells.LIBRDKAFKA)] == [120, 122]


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_a_scenario_is_what_its_moment_and_its_fault_make_of_it(cell: object) -> None:
    assert cell.path.read_text(encoding="utf-8") == cells.text(cell)  # type: ignore[attr-defined]


def test_the_page_has_a_row_for_each_moment_and_a_cell_for_each_fault() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| **")]

    assert len(rows) == 2 * len(cells.PHASES)
    assert all(row.count("|") == len(cells.FAULTS) + 2 for row in rows)
    assert "not as predicted" not in PAGE
