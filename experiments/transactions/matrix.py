"""Every moment of a transaction x everything that can go wrong, for both protocols: `python experiments/transactions/matrix.py`.

Runs the scenarios and writes README.md. It fails where one does not end as it predicts. --write writes the scenarios anew first (see `cells`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cells
from cells import FAULTS, PHASES, Cell

from ksim import Run, Scenario, simulate
from ksim.report import report_on
from ksim_models.facts import Failed, PollFailed, Refused, Transaction

PAGE = cells.HERE / "README.md"


@dataclass(frozen=True, slots=True)
class Outcome:
    met: bool
    inconclusive: str
    effect: str
    """What became of the records, in words; the promise, where it was kept."""
    told: tuple[str, ...]
    """What the application was told: call and exception."""


def play(path: Path) -> Run:
    return simulate(Scenario.load(str(path)))


def outcome(run: Run) -> Outcome:
    found, verdict = report_on(run), run.verdict
    harm = [f"{verdict.records[name]} {name}" for name in (*cells.PROMISE, "reordered", "ghost") if verdict.records[name]]
    for one in verdict.processing:
        harm += [f"{count} {name}" for name in cells.PROMISE_END_TO_END if (count := getattr(one, name))]
    return Outcome(found.met, "; ".join(verdict.reasons), ", ".join(harm), tuple(dict.fromkeys(told(run))))


def told(run: Run) -> Iterator[str]:
    """Every exception that an application saw, in the order of time."""
    for _, fact in run.history.of(Transaction, Failed, Refused, PollFailed):
        if isinstance(fact, Transaction):
            if fact.phase == "failed":
                yield f"{fact.call}: {fact.error}"
        elif isinstance(fact, PollFailed):
            yield f"poll: {fact.error}"
        else:
            yield f"send: {fact.error}"


def main() -> int:
    for cell in cells.cells():
        if not cell.nothing and "--write" in sys.argv:
            cell.path.write_text(cells.text(cell), encoding="utf-8")
    wrong = 0
    for cell in cells.cells():
        if cell.nothing:
            continue
        found = outcome(play(cell.path))
        wrong += not found.met
        print(f"{cell.path.stem:36} {'ok ' if found.met else 'NOT'} {found.effect or '-':40} {'; '.join(found.told)} {found.inconclusive}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
