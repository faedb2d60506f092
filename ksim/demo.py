"""The demonstration: one failure under three configurations, side by side. Lost, duplicated, exactly once.

Kafka: what acks=1, acks=all without idempotence, and acks=all with idempotence promise when a leader dies (client section 3.6, broker section 1.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ksim.ranges import runs_of
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import FinalLog

SCENARIO = "demo"


@dataclass(frozen=True, slots=True)
class Variant:
    """One configuration: the line that makes the difference, and why."""

    line: str
    settings: tuple[tuple[str, str], ...]
    why: str

    @property
    def command(self) -> str:
        """Of `ksim run`, to look closer."""
        return " ".join([f"ksim run {SCENARIO}", *(f"-X {name}={value}" for name, value in self.settings)])


VARIANTS = (
    Variant(
        "acks=1",
        (("acks", "1"), ("enable.idempotence", "false")),
        "The leader alone acknowledged: the new leader never had the last records.",
    ),
    Variant(
        "acks=all, enable.idempotence=false",
        (("enable.idempotence", "false"),),
        "The followers had the records, their acknowledgement died with the leader: sent again, appended again.",
    ),
    Variant(
        "acks=all, enable.idempotence=true",
        (),
        "The new leader knew the sequence numbers: it acknowledged the retry and appended nothing.",
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    variant: Variant
    run: Run
    copies: tuple[int, ...]
    """Per record: how many stand in the final log."""

    @property
    def counts(self) -> dict[str, int]:
        return self.run.verdict.records


def outcomes() -> list[Outcome]:
    """All three under one seed: they meet the same world."""
    return [_outcome(variant) for variant in VARIANTS]


def _outcome(variant: Variant) -> Outcome:
    run = simulate(Scenario.load(SCENARIO, check=False).override(variant.settings))
    copies = [0] * run.verdict.records["offered"]
    for _, log in run.history.of(FinalLog):
        if log.leader:
            for batch in log.batches:
                for first, stop in runs_of(batch.records):
                    for number in range(first, stop):
                        copies[number] += 1
    return Outcome(variant, run, tuple(copies))


COLUMNS = ("acknowledged", "lost", "duplicated", "exactly once")


def table(found: Sequence[Outcome]) -> Iterator[str]:
    """Plain text, the same on every machine."""
    width = max(len(outcome.variant.line) for outcome in found)
    yield "  ".join([f"{'what makes the difference':<{width}}", *COLUMNS])
    for outcome in found:
        counts = outcome.counts
        numbers = (counts["acked"], counts["lost"], counts["duplicated"], counts["ok"])
        yield "  ".join([f"{outcome.variant.line:<{width}}", *(f"{number:>{len(name)}}" for number, name in zip(numbers, COLUMNS))])
