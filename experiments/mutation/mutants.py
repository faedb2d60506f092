"""How many planted bugs do the tests of the rules catch? `make mutants`, or `make mutants ARGS="--group brokers"`, or `ARGS="--only batch,backoff"`.

mutmut changes one operator, constant or argument at a time; `planted.py` runs the tests that reach it. Rows of files that are not run again are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.format_utils import get_mutant_name
from planted import CAUGHT, SURVIVED

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
PAGE = HERE / "README.md"
GROUPS = {
    "producer": """
        accumulator backoff batch callbacks client_metadata client_network closing compression handover idempotence idempotence_setting identity lookahead
        on_failure outcomes partitioners polling producer producer_config reactions sending sequences splitting
    """.split(),
    "brokers": """
        broker broker_sessions checkpoint epoch_cache fetch_session follower_fetches following image isr leading log log_tasks page_cache parked
        producer_state replica retention roles
    """.split(),
    "controller": """
        active_controller commit_book controller controller_channel elections membership metadata_log periodic_elections quorum_controller
        quorum_membership raft raft_log raft_observer raft_peers replication_control
    """.split(),
    "transactions": """
        coordinated_transaction coordination marker_writing producer_transactions transaction_cache transaction_coordinator transaction_markers verification
    """.split(),
    "groups": "group_coordinator group_membership group_offsets groups".split(),
}
EQUIVALENT = (
    "- an attribute's first value that is set again before anything reads it, or another value as false or as far away as the one it stands for;",
    "- the text of an assert, and an assert that holds either way;",
    "- `<` for `<=` where both branches come to the same at the limit.",
)
SETTINGS = """
[tool.mutmut]
source_paths = ["ksim_models"]

[tool.pytest.ini_options]
pythonpath = ["tests", "."]
addopts = ["--import-mode=importlib"]
markers = ["slow: takes seconds", "live: needs Kafka"]
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=list(GROUPS), default="producer", help="the modules of one part of Kafka")
    parser.add_argument("--only", help="modules of ksim_models, separated by commas, instead of a group")
    parser.add_argument("--tests", default="tests/models,tests/kafka", help="files and folders of tests, separated by commas")
    parser.add_argument("--seconds", type=float, default=10.0, help="the quickest tests that reach a mutant, as many as take so long together")
    parser.add_argument("--every", type=int, default=1, help="a sample: each so-manyth mutant")
    parser.add_argument("--survivors", action="store_true", help="only those that lived last time, as the rules are the same and only tests are new")
    parser.add_argument("--folder", help="work here and leave it; ksim_models/NAME.py in it holds all mutants of a module")
    chosen = parser.parse_args(arguments)
    modules = chosen.only.split(",") if chosen.only else GROUPS[chosen.group]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(chosen.folder or scratch)
        mutants = _plant(folder, modules)[:: chosen.every]
        lived = {name for row in _results().values() for name in row["survivors"]}
        tried = [name for name in mutants if name in lived or not chosen.survivors]
        (folder / "planted.json").write_text(json.dumps({"mutants": tried, "seconds": chosen.seconds}), encoding="utf-8")
        plugins = ["-p", "planted", "-p", "no:xdist", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", "-q", *plugins, "--assert=plain", "-m", "not live", "--hypothesis-seed=0"]
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        ran = subprocess.run([*command, *chosen.tests.split(",")], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            print(f"The tests did not come to an end:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}", file=sys.stderr)
            return 1
        print(ran.stderr, end="", file=sys.stderr)
        fates = {name: int(fate) for name, fate in (line.split() for line in (folder / "fates.txt").read_text(encoding="utf-8").splitlines())}
    results = _results()  # Other rows may have come meanwhile.
    for module in modules:
        results[module] = _row({name: fates.get(name, CAUGHT) for name in mutants if name.startswith(f"ksim_models.{module}.")}, chosen.every)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join(_page(results)) + "\n", encoding="utf-8")
    print("\n".join(_table({module: results[module] for module in modules})))
    return 0


def _results() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return found


def _plant(folder: Path, modules: Sequence[str]) -> list[str]:
    """A copy with all mutants written into the chosen modules. mutmut names a module by its path, so the rules stand at the top here."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source, target in (("models/ksim_models", "ksim_models"), ("ksim", "ksim"), ("tests", "tests")):
        shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__", "live", "stories"))
    (folder / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    names = []
    with contextlib.chdir(folder):  # mutmut reads its settings from the folder it is in.
        for module in modules:
            path = Path("ksim_models") / f"{module}.py"
            mutated = mutate_file_contents(str(path), path.read_text(encoding="utf-8"))
            path.write_text(mutated.code, encoding="utf-8")
            names += [get_mutant_name(path, name) for name in mutated.mutant_names]
    return names


def _row(fates: dict[str, int], every: int) -> dict[str, Any]:
    survivors = sorted(name for name, fate in fates.items() if fate == SURVIVED)
    return {"date": date.today().isoformat(), "mutants": len(fates), "caught": len(fates) - len(survivors), "every": every, "survivors": survivors}


def _page(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# Planted bugs, and how many the tests catch"
    yield ""
    yield "Written by `make mutants`: mutmut changes the rules one operator, constant or argument at a time,"
    yield "and `planted.py` runs in a fork of one collected pytest session the tests that reach it,"
    yield "first the one that caught the last, then the quickest, until one fails or `--seconds` of them have passed."
    yield "So a share is a lower bound: slower tests, and those in other folders, may catch more. A mutant that runs for ever counts as caught."
    yield "Where it says so, only a sample was tried: every so-manyth mutant (`--every`)."
    yield "The names of the survivors stand in `results.json`; some of them change nothing (equivalent mutants):"
    yield from EQUIVALENT
    yield ""
    yield from _table(results)


def _table(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| module | mutants | caught | share | date |"
    yield "|---|---|---|---|---|"
    for module, row in sorted(results.items()):
        sampled = f" (1 of {row['every']})" if row.get("every", 1) > 1 else ""
        yield f"| {module} | {row['mutants']}{sampled} | {row['caught']} | {row['caught'] / row['mutants']:.0%} | {row['date']} |"
    mutants, caught = (sum(row[name] for row in results.values()) for name in ("mutants", "caught"))
    yield f"| all | {mutants} | {caught} | {caught / mutants:.0%} | |"


if __name__ == "__main__":
    sys.exit(main())
