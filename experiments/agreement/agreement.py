"""Where the simulation and real Kafka agree: every scenario, on two releases, with both clients.

    python experiments/agreement/agreement.py                       all of it, into results.json and README.md
    python experiments/agreement/agreement.py --versions 4.3.0 --clients java --only lost-ack,s1-burst --runs 3

Rows that are not run again keep what was measured before, so a run that was interrupted is taken up where it ended.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ksim import Live, LiveError, Scenario, ScenarioError, simulate
from ksim.comparison import Comparison, compare, not_simulated
from ksim.report import report_on
from ksim.runs import Run
from ksim.scenario import names

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE / "README.md"
EXPLAINED = HERE / "disagreements.md"
VERSIONS = ("4.3.0", "3.9.1")
CLIENTS = ("java", "librdkafka")
NEWEST = "4.3"
RUNS = 3
COUNTS = ("ok", "absent", "lost", "ghost", "duplicated", "reordered", "hidden")


def scenarios() -> dict[str, str]:
    """Name -> what `Scenario.load` takes: the built-in ones, those of the measured facts, and the published failures."""
    built_in = {name: name for name, _ in names()}
    files = [*sorted((HERE / "scenarios").glob("*.toml")), *sorted((HERE.parent / "hazards" / "scenarios").glob("*.toml"))]
    return built_in | {path.stem: str(path) for path in files}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", default=",".join(VERSIONS))
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--only", default="", help="names of scenarios, separated by commas")
    parser.add_argument("--runs", type=int, default=RUNS, help="live runs of each")
    parser.add_argument("--page", action="store_true", help="write the page from the results that are there")
    chosen = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if not chosen.page:
        wanted = {name: source for name, source in scenarios().items() if not chosen.only or name in chosen.only.split(",")}
        for version in chosen.versions.split(","):
            with Live(f"kraft:{version}", say=_say) as live:
                for key, row in _measured(live, version, chosen.clients.split(","), wanted, chosen.runs):
                    results[key] = row
                    RESULTS.write_text(written(results), encoding="utf-8")
    PAGE.write_text("\n".join(_page(results)).rstrip() + "\n", encoding="utf-8")
    return 0


def _measured(live: Live, version: str, clients: Sequence[str], wanted: dict[str, str], runs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, source in _grouped(wanted):
        for client in clients:
            began = time.monotonic()
            scenario = _on(Scenario.load(source), version, client)
            try:
                twins = [live.replay(scenario) for _ in range(runs)]
                row = _row(_compared(scenario, twins), twins)
            except (LiveError, ScenarioError) as problem:
                row = {"agreement": "failed", "why": str(problem).splitlines()[0]}
            _say(f"{name} on {version} with {client}: {row['agreement']} ({time.monotonic() - began:.0f} s)")
            yield f"{name} | {version} | {client}", {"date": date.today().isoformat(), "machine": platform.machine(), **row}


def _on(scenario: Scenario, version: str, client: str) -> Scenario:
    """With brokers of this release; the client is of the same one, unless the scenario is about another."""
    given = scenario.data.get("kafka")
    if client != "java" or not isinstance(given, Mapping) or "clients" not in given or given["clients"] == NEWEST:
        return scenario.override([], kafka=version, client=client)
    return scenario.at("kafka", {"brokers": version, "clients": given["clients"]}).override([], client=client)


def _grouped(wanted: dict[str, str]) -> list[tuple[str, str]]:
    """Scenarios that can share a cluster stand together: it is started anew for other broker settings."""
    return sorted(wanted.items(), key=lambda item: (str(Scenario.load(item[1]).data.get("cluster", "")), item[0]))


def _compared(scenario: Scenario, twins: Sequence[Run]) -> Comparison:
    try:
        return compare(simulate(scenario), twins)
    except ScenarioError as reason:
        return not_simulated(twins, reason.problems[0].message)


def _row(found: Comparison, twins: Sequence[Run]) -> dict[str, Any]:
    reports = [report_on(twin) for twin in twins]
    return {
        "agreement": found.agreement,
        "reasons": list(found.reasons),
        "differ": [row.what for row in found.rows if row.agreement == "differ"],
        "races": [row.what for row in found.classes if row.why.startswith("a race")],
        "expected": [report.met for report in reports] if reports[0].data["expect"] else [],
        "live": {name: sorted(twin.verdict.records[name] for twin in twins) for name in COUNTS},
        "simulated": {row.what: row.simulated for row in found.classes},
        "timing": {row.what: [row.simulated, row.live, row.agreement] for row in found.timing},
        "partings": found.as_data()["partings"],
        "speed": round(found.wall_ms[1] / found.wall_ms[0]) if found.wall_ms[0] else None,
    }


def written(results: dict[str, dict[str, Any]]) -> str:
    """A line per row, so that a difference shows which rows were measured again."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(row, sort_keys=True)}" for key, row in sorted(results.items())) + "\n}\n"


# The page.


def _page(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    dates = sorted({row["date"] for row in results.values()}) or ["never"]
    yield "# Where the simulation and real Kafka agree"
    yield ""
    yield "Written by `make agreement`: each scenario is simulated (with neighbouring seeds, its faults a little earlier and later)"
    yield "and carried out on a real cluster,"
    yield f"one controller and three brokers on one machine, several times. Measured {dates[0]} to {dates[-1]}."
    yield "Tolerances: `ksim/comparison.py` and `ksim/comparison_leeway.py`."
    yield ""
    yield "Per cell: agree, differ (in what), or - where there is nothing to compare with;"
    yield "then what became of the records on the cluster, smallest and largest count of the runs."
    yield ""
    columns = [(version, client) for version in _versions(results) for client in CLIENTS]
    yield "| scenario | " + " | ".join(f"{version}, {client}" for version, client in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in dict.fromkeys(key.split(" | ")[0] for key in results):
        yield f"| {name} | " + " | ".join(_cell(results.get(f"{name} | {version} | {client}")) for version, client in columns) + " |"
    yield ""
    rows = [row for row in results.values() if row["agreement"] in ("agree", "differ")]
    speeds = sorted(row["speed"] for row in rows if row["speed"])
    if rows:
        agreeing = sum(row["agreement"] == "agree" for row in rows)
        faster = f"{speeds[0]:,} to {speeds[-1]:,} times faster than the live run, {speeds[len(speeds) // 2]:,} in the median"
        yield f"{agreeing} of {len(rows)} comparisons agree. A simulation is {faster}."
        yield ""
    if EXPLAINED.exists():
        yield EXPLAINED.read_text(encoding="utf-8").rstrip()


def _versions(results: dict[str, dict[str, Any]]) -> list[str]:
    return sorted({key.split(" | ")[1] for key in results}, reverse=True)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["agreement"] == "failed":
        return f"failed: {row['why']}"
    counts = ", ".join(f"{name} {_range(row['live'][name])}" for name in COUNTS if row["live"][name][-1])
    verdict = {"agree": "agree", "differ": f"**differ**: {', '.join(row['differ'])}", "not comparable": "-"}[row["agreement"]]
    return f"{verdict}<br>{counts}"


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]}..{values[-1]}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
