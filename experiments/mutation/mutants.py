"""How many planted bugs do the tests of the rules catch? `make mutants` (hours for all files), `make mutants ARGS="--only batch,backoff"` (minutes).

mutmut changes one operator, constant or argument at a time and runs the tests that reach it. Rows of files that are not run again are kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
PAGE = HERE / "README.md"
PRODUCER = (
    *("accumulator", "backoff", "batch", "callbacks", "client_metadata", "client_network", "closing", "compression", "handover", "idempotence"),
    *("idempotence_setting", "identity", "lookahead", "on_failure", "outcomes", "partitioners", "polling", "producer", "producer_config"),
    *("reactions", "sending", "sequences", "splitting"),
)
SURVIVED, UNREACHED = (0,), (5, 33)
SETTINGS = """
[tool.mutmut]
source_paths = ["ksim_models"]
only_mutate = [{files}]
also_copy = ["tests", "ksim", "ksim_models"]
pytest_add_cli_args_test_selection = ["tests/models", "tests/kafka"]
pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not live"]

[tool.pytest.ini_options]
pythonpath = ["tests", "."]
addopts = ["--import-mode=importlib"]
markers = ["slow: takes seconds", "live: needs Kafka"]
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PRODUCER), help="modules of ksim_models, separated by commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", help="work here and leave it, to look at a survivor with `mutmut show NAME`")
    chosen = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(chosen.folder or scratch)
        modules = chosen.only.split(",")
        _lay_out(folder, modules)
        with open(folder / "mutmut.log", "w", encoding="utf-8") as log:
            subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", str(chosen.jobs)], cwd=folder, stdout=log, stderr=log, check=False)
        for module in modules:
            meta = folder / "mutants" / "ksim_models" / f"{module}.py.meta"
            if not meta.exists():
                print(f"{module}: mutmut did not come to an end:\n{(folder / 'mutmut.log').read_text(encoding='utf-8')[-2000:]}", file=sys.stderr)
                return 1
            results[module] = _row(json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"])
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join(_page(results)) + "\n", encoding="utf-8")
    print("\n".join(_table({module: results[module] for module in modules})))
    return 0


def _lay_out(folder: Path, modules: Sequence[str]) -> None:
    """mutmut names a module by its path, so the rules stand at the top here."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in (("models/ksim_models", "ksim_models"), ("ksim", "ksim"), ("tests", "tests")):
        shutil.copytree(ROOT / source, folder / target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "live", "stories"))
    files = ", ".join(f'"ksim_models/{module}.py"' for module in modules)
    (folder / "pyproject.toml").write_text(SETTINGS.format(files=files), encoding="utf-8")


def _row(exit_codes: dict[str, int | None]) -> dict[str, Any]:
    survivors = sorted(name for name, code in exit_codes.items() if code in SURVIVED or code in UNREACHED or code is None)
    return {"date": date.today().isoformat(), "mutants": len(exit_codes), "caught": len(exit_codes) - len(survivors), "survivors": survivors}


def _page(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# Planted bugs, and how many the tests catch"
    yield ""
    yield "Written by `make mutants`: mutmut changes the rules one operator, constant or argument at a time,"
    yield "and runs the tests in `tests/models` and `tests/kafka`."
    yield "On a busy machine a row may have been measured with the tests of its module and some seconds of the others only: then more are caught than it says."
    yield "A mutant that runs for ever counts as caught. The names of the survivors stand in `results.json`; some of them change nothing (equivalent mutants)."
    yield ""
    yield from _table(results)


def _table(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| module | mutants | caught | share | date |"
    yield "|---|---|---|---|---|"
    for module, row in sorted(results.items()):
        yield f"| {module} | {row['mutants']} | {row['caught']} | {row['caught'] / row['mutants']:.0%} | {row['date']} |"
    mutants, caught = (sum(row[name] for row in results.values()) for name in ("mutants", "caught"))
    yield f"| all | {mutants} | {caught} | {caught / mutants:.0%} | |"


if __name__ == "__main__":
    sys.exit(main())
