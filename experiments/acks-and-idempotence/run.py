"""Rebuild results.csv and figure.svg: `python experiments/acks-and-idempotence/run.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from ksim.plots import save_rates
from ksim.sweeps import sweep_file

HERE = Path(__file__).parent

if __name__ == "__main__":
    table = sweep_file(HERE / "sweep.toml", jobs=2)
    table.to_csv(HERE / "results.csv")
    save_rates(table, HERE / "figure.svg", of=("lost", "duplicated", "reordered"))
    sys.stdout.write(table.summary() + "\n")
