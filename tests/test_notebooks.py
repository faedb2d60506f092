"""Every notebook runs from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in sorted((ROOT / "notebooks").glob("*.py"))])
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "models")]))
    notebook = jupytext.read(path)

    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    assert any(cell.get("outputs") for cell in notebook.cells)
