"""Published delivery failures as scenarios: `python experiments/hazards/hazards.py` runs them all and writes README.md.

It fails where one does not end as its scenario predicts.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ksim import Scenario, ScenarioError, simulate
from ksim.report import report_on

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
COUNTS = ("refused", "failed", "unknown", "lost", "ghost", "duplicated", "reordered", "misrouted", "hidden", "torn", "aborted_read", "removed")


def catalogue() -> dict[str, dict[str, Any]]:
    return tomllib.loads((HERE / "catalogue.toml").read_text(encoding="utf-8"))


def scenarios(hazard: str) -> list[Path]:
    return sorted((HERE / "scenarios").glob(f"{hazard.lower()}-*.toml"))


def hazard_of(path: Path) -> str:
    """h-030-isolated-leader.toml shows H-030, kafka-13834-starved.toml KAFKA-13834."""
    return "-".join(path.stem.split("-")[:2]).upper()


def refusal(config: dict[str, object]) -> str:
    """What is said to a producer configured so; empty if nothing."""
    try:
        Scenario(kafka="4.3", topics={"t": {}}, producers={"p1": {"config": config}}, workload=[{"topic": "t", "records": 1, "every": 0}])
    except ScenarioError as error:
        return str(error)
    return ""


def outcome(path: Path, blind: Sequence[str] = ()) -> tuple[bool, str]:
    """Whether the run was as its author predicts, and what became of the records that are not ok.

    blind: the metrics whose alerts never fire, though harm is done; all others of the scenario do.
    """
    run = simulate(Scenario.load(str(path)))
    records = run.verdict.records
    told = f"{records['ok']:,} of {records['offered']:,} ok"
    if counts := ", ".join(f"{records[name]:,} {name}" for name in COUNTS if records[name]):
        told += f"; {counts}"
    for one in run.verdict.processing:
        told += f"; of {one.inputs:,} inputs {one.processed_once:,} once, {one.processed_twice:,} twice, {one.skipped:,} skipped"
    for alarm in run.alarms:
        told += f"; {alarm.rule.metric} {'never fired' if alarm.blind else 'fired'}"
    return report_on(run).met and [alarm.rule.metric for alarm in run.alarms if alarm.blind] == list(blind), told


def page() -> Iterator[str]:
    yield "# Published delivery failures, each as a scenario"
    yield ""
    yield "Written by `python experiments/hazards/hazards.py`, which fails where a run does not end as its scenario predicts."
    yield "Run one yourself, or ask what happened to a record:"
    yield ""
    yield "```sh"
    yield "ksim run experiments/hazards/scenarios/h-030-isolated-leader-acks-1.toml"
    yield "ksim explain experiments/hazards/scenarios/h-030-isolated-leader-acks-1.toml"
    yield "```"
    yield ""
    yield "| hazard | what happens | scenario: outcome |"
    yield "|---|---|---|"
    entries = sorted(catalogue().items())
    yield from (_row(hazard, entry) for hazard, entry in entries if hazard.startswith("H-"))
    yield ""
    yield "## Others, by the number of their issue"
    yield ""
    yield "KAFKA: issues.apache.org. The others are issues of the GitHub repository that `where` names."
    yield ""
    yield "| issue | what happens | scenario: outcome |"
    yield "|---|---|---|"
    yield from (_row(hazard, entry) for hazard, entry in entries if not hazard.startswith("H-"))


def _row(hazard: str, entry: dict[str, Any]) -> str:
    where = f" ({entry['where']})" if "where" in entry else ""
    return f"| {hazard} | {entry['what']}{where} | {'<br>'.join(_shown(hazard, entry))} |"


def _shown(hazard: str, entry: dict[str, Any]) -> Iterator[str]:
    for path in scenarios(hazard):
        met, told = outcome(path, entry.get("blind", ()))
        yield f"[{path.stem[len(hazard) + 1 :]}](scenarios/{path.name}): {told}" + ("" if met else " - **not as predicted**")
    for one in entry.get("refused", ()):
        yield f"`{', '.join(f'{key}={value}' for key, value in one['config'].items())}` is refused".replace("True", "true")
    for other in entry.get("see", ()):
        yield f"see `{other}`"
    if "left_out" in entry:
        yield f"left out: {entry['left_out']}"


def main() -> int:
    text = "\n".join(page()) + "\n"
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    return int("not as predicted" in text)


if __name__ == "__main__":
    sys.exit(main())
