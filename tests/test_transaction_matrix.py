"""Every cell of the matrix of transactions ends as its scenario predicts, and the page says what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from loading import load

HERE = Path(__file__).parents[1] / "experiments" / "transactions"
matrix = load(HERE / "matrix.py")
cells = matrix.cells
CELLS = [cell for cell in cells.cells() if not cell.nothing]
PAGE = matrix.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.path.stem)
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


def test_there_is_a_scenario_for_every_cell_and_no_other() -> None:
    assert {cell.path for cell in CELLS} == {*cells.SCENARIOS.glob("*.toml")}
    assert len(CELLS) == 120


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.path.stem)
def test_a_scenario_is_what_its_moment_and_its_fault_make_of_it(cell: object) -> None:
    assert cell.path.read_text(encoding="utf-8") == cells.text(cell)  # type: ignore[attr-defined]


def test_the_page_has_a_row_for_each_moment_and_a_cell_for_each_fault() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| **")]

    assert len(rows) == len(cells.PHASES)
    assert all(row.count("|") == len(cells.FAULTS) + 2 for row in rows)
    assert "not as predicted" not in PAGE
