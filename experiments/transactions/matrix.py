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
from ksim_models.consumer_facts import PollFailed
from ksim_models.facts import Failed, Refused, Transaction

PAGE = cells.HERE / "README.md"


INTRODUCTION = """\
# What a transaction survives

Every moment of a transaction x everything that can go wrong. Written by `python experiments/transactions/matrix.py`,
which fails where a scenario does not end as it predicts. Each cell is one: run it, change it, ask what happened.

```sh
ksim run experiments/transactions/scenarios/tv1-commit-time-out.toml
ksim run experiments/transactions/scenarios/tv1-commit-time-out.toml --story
```

An application reads 300 records of one topic, and writes one for each to another, 20 or so per transaction; the offsets of what it has read are in
the transaction.
The fault strikes in the fourth (that many are committed by then); it strikes the application's process, the transaction coordinator, the leader of
the partition that is
written, or the one request that belongs to the moment. A *time-out*: the application or its request is four seconds late, and
`transaction.timeout.ms` is two.
A *zombie*: the process stands still for fifteen seconds, its group gives its partitions to another one, and then it goes on (in the first row: two
processes with one
`transactional.id`). Its second column is the pattern from before KIP-447: a producer for each input partition, whose `transactional.id` belongs to the
partition, and offsets
without the member's place in its group. The last row is a producer that aborts every fourth of its transactions on its own account.

**TV1** is Kafka 3.9; **TV2** is 4.3, with KIP-890 part 2: no requests of its own add partitions, and every transaction has an epoch of its own.

*once*: each of the 300 inputs took effect exactly once. *whole*: every transaction is visible with all of its records, or with none.
In both cases nothing is lost, torn, doubled, hidden, and no consumer that reads what is committed was given anything else.
Behind it stands what the application was told: nothing, or the exceptions of its calls. *Ends*: the producer is of no use any more; the application
ends, and somebody has to start it again.
"""

WITH_LIBRDKAFKA = """\
## The same with librdkafka

The application is one of confluent-kafka, its consumer and its producer librdkafka's
([what it does](../../docs/reference/consumers.md#an-application-of-librdkafka)), with brokers of **3.9** and of **4.3**: it speaks TV1 with both.
Who writes the input is idempotent, which is not librdkafka's default.
A producer for each input partition is simulated with the Java client only.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    met: bool
    reasons: str
    """Why the run would prove nothing."""
    harm: str
    told: tuple[str, ...]
    """Who was told which exception by which call."""
    ended: bool
    """An application."""


def play(path: Path) -> Run:
    return simulate(Scenario.load(str(path)))


def outcome(run: Run) -> Outcome:
    found, verdict = report_on(run), run.verdict
    harm = [f"{verdict.records[name]} {name}" for name in cells.PROMISE if verdict.records[name]]
    for one in verdict.processing:
        harm += [f"{count} {name}" for name in cells.PROMISE_END_TO_END if (count := getattr(one, name))]
    ended = any(True for _ in run.history.of(PollFailed))
    return Outcome(found.met, "; ".join(verdict.reasons), ", ".join(harm), tuple(dict.fromkeys(told(run))), ended)


def told(run: Run) -> Iterator[str]:
    """Every exception that an application saw, in the order of time. What an abort does to records is no news to whoever asked for it."""
    for _, fact in run.history.of(Transaction, Failed, Refused):
        error = fact.error.removesuffix("Exception")
        if isinstance(fact, Transaction):
            if fact.phase == "failed":
                yield f"{_whose(fact.producer)}{fact.call}: {error}"
        elif error != "TransactionAborted":
            yield f"{_whose(fact.producer)}send: {error}"


def _whose(producer: str) -> str:
    return {"spare-copier": "spare: ", "twin-copier": "twin: ", "p2": "successor: "}.get(producer, "")


def shown(cell: Cell, found: Outcome) -> str:
    word = found.harm or ("once" if cell.copies else "whole")
    text = f"{cell.label} [{word}]({cell.path.relative_to(cells.HERE)})"
    if found.told:
        text += f" {', '.join(found.told)}"
    if found.ended:
        text += " - ends"
    if cell in cells.STANDS_STILL:
        text += " - stands still until it is started again"
    if found.reasons:
        text += f" ({found.reasons})"
    return text + ("" if found.met else " **not as predicted**")


def page(found: dict[Cell, Outcome]) -> str:
    lines = [INTRODUCTION, *table(cells.JAVA, found), "", WITH_LIBRDKAFKA, *table(cells.LIBRDKAFKA, found)]
    return "\n".join([*lines, "", *remarks()]) + "\n"


def table(client: str, found: dict[Cell, Outcome]) -> Iterator[str]:
    yield "| | " + " | ".join(FAULTS.values()) + " |"
    yield "|---|" + "---|" * len(FAULTS)
    for phase, what in PHASES.items():
        row = []
        for fault in FAULTS:
            here = [Cell(protocol, phase, fault, client) for protocol in cells.PROTOCOLS]
            row.append("<br>".join(f"{cell.label} - {cell.nothing}" if cell.nothing else shown(cell, found[cell]) for cell in here))
        yield f"| **{what}** | " + " | ".join(row) + " |"


def remarks() -> Iterator[str]:
    """What is not as one would think, with the rule."""
    yield "## What may surprise"
    yield ""
    for what, why in cells.SURPRISES.items():
        yield f"- **{what}**: {why}"
    yield ""
    yield "## Why each setting is needed"
    yield ""
    yield "Each is weakened alone; the witness predicts what breaks, and beside it stands the same with the setting as it should be."
    yield ""
    yield "| setting | what breaks | witness | as it should be |"
    yield "|---|---|---|---|"
    for setting, breaks, witness, sound in cells.WEAKENED:
        yield f"| {setting} | {breaks} | [{Path(witness).stem}]({witness}) | [{Path(sound).stem}]({sound}) |"


def main() -> int:
    found = {}
    for cell in [*cells.cells(), *cells.cells(cells.LIBRDKAFKA)]:
        if cell.nothing:
            continue
        if "--write" in sys.argv:
            cell.path.write_text(cells.text(cell), encoding="utf-8")
        one = found[cell] = outcome(play(cell.path))
        print(f"{cell.path.relative_to(cells.SCENARIOS).with_suffix('')!s:44} {'ok ' if one.met else 'NOT'} {shown(cell, one)}", flush=True)
    PAGE.write_text(page(found), encoding="utf-8")
    return int(any(not one.met for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
