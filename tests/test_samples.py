"""The two samples of the scenario format run as they are written."""

from __future__ import annotations

from pathlib import Path

from ksim import Scenario, simulate
from ksim.report import report_on

SAMPLES = Path(__file__).parents[1] / "experiments" / "samples"


def test_the_first_sample_is_the_lost_acknowledgement() -> None:
    run = simulate(Scenario.load(str(SAMPLES / "lost-acknowledgement.toml")))

    assert report_on(run).exit_code == 0
    assert (run.verdict.records["lost"], run.verdict.records["duplicated"]) == (0, 2)


def test_the_second_sample_copies_although_the_leader_dies_and_skips_what_came_before_its_group() -> None:
    """H-151: auto.offset.reset is latest by default."""
    text = (SAMPLES / "copying-with-transactions.toml").read_text(encoding="utf-8")
    run = simulate(Scenario.load(str(SAMPLES / "copying-with-transactions.toml")))
    (copy,) = run.verdict.processing

    assert "enable.auto.commit" not in text
    assert sum("enable.auto.commit counts as false" in note for note in run.plan.notes) == 1
    assert (copy.inputs, copy.processed_twice, copy.unprocessed) == (2000, 0, 0)
    assert copy.witness == "orders-0@0"
    assert copy.processed_once + copy.skipped == 2000
    assert 0 < copy.skipped < 600
    assert run.verdict.records["torn"] == run.verdict.records["aborted_read"] == 0


def test_with_earliest_the_second_sample_keeps_its_promise() -> None:
    data = (SAMPLES / "copying-with-transactions.toml").read_text(encoding="utf-8")
    earliest = data.replace('config.group.id = "copy"', 'config.group.id = "copy"\nconfig.auto.offset.reset = "earliest"')
    properties = str(SAMPLES / "producer.properties")
    run = simulate(Scenario.loads(earliest.replace('"producer.properties"', f'"{properties}"')))
    (copy,) = run.verdict.processing

    assert (copy.inputs, copy.processed_once) == (2000, 2000)
    assert run.verdict.verdict == "held"
