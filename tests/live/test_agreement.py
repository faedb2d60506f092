"""The simulation and real Kafka say the same of these scenarios: a short selection of experiments/agreement.

Outcomes are asserted, moments are not: a test must not fail because a machine is slow.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim import Comparison, Live, Run, Scenario, compare, simulate
from ksim.report import report_on

SCENARIOS = Path(__file__).resolve().parents[2] / "experiments" / "agreement" / "scenarios"
JAVA = (
    *("s1-burst", "s2-burst", "s3-burst", "overtaking", "s6c-after-append", "s6c-after-append-idempotent", "s1d-delayed-response"),
    *("below-min-isr-retries-3", "leader-crash-lagging-followers", "cut-producer-leader"),
)
LIBRDKAFKA = ("s1-burst", "s2-burst", "s3-burst")


def load(name: str) -> Scenario:
    file = SCENARIOS / f"{name}.toml"
    return Scenario.load(file if file.exists() else name)


def outcomes_that_differ(found: Comparison, twin: Run) -> str:
    """ "" where none do; else everything there is to say."""
    return str(found) if found.reasons or any(row.agreement == "differ" for row in (*found.guarantees, *found.classes)) else ""


@pytest.mark.parametrize("name", JAVA)
def test_the_java_client_and_its_model_agree(live: Live, name: str) -> None:
    scenario = load(name)
    twin = live.replay(scenario)

    assert outcomes_that_differ(compare(simulate(scenario), twin), twin) == ""
    assert twin.verdict.reasons == ()


@pytest.mark.parametrize("name", LIBRDKAFKA)
def test_what_was_measured_of_librdkafka_is_seen_again(live: Live, name: str) -> None:
    measured = {"s1-burst": {"duplicated": 3, "reordered": 0}, "s2-burst": {"duplicated": 0, "reordered": 0}, "s3-burst": {"duplicated": 1, "reordered": 0}}
    twin = live.replay(load(name).override([], client="librdkafka"))

    assert {kind: twin.verdict.records[kind] for kind in measured[name]} == measured[name]
    assert report_on(twin).data["client"] != "java"
