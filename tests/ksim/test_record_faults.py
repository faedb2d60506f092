"""Faults of single records: one that cannot be serialized, one that is larger than the others; with both clients."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.report import report
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Fault


def run(*faults: dict[str, Any], client: str = "java", **workload: Any) -> Run:
    record = {"topic": "t", "records": 10, "every": "1ms"} | workload
    return simulate(Scenario(title="flaws", kafka="4.3", client=client, seed=1, topics={"t": {}}, workload=[record], fault=list(faults)))


@pytest.mark.parametrize(("client", "error"), [("java", "SerializationException"), ("librdkafka", "_VALUE_SERIALIZATION")])
def test_a_record_that_cannot_be_serialized_is_refused_and_the_others_are_not(client: str, error: str) -> None:
    """A5, H-002."""
    found = run({"do": "unserializable", "nth": 3}, client=client)

    assert found.metrics.errors == {error: 1}
    assert (found.verdict.records["refused"], found.verdict.records["ok"], found.verdict.verdict) == (1, 9, "held")
    assert [(fact.resolved, fact.touched) for _, fact in found.history.of(Fault) if fact.phase == "summary"] == [(("p1/2",), 1)]


@pytest.mark.parametrize(("client", "error"), [("java", "RecordTooLargeException"), ("librdkafka", "MSG_SIZE_TOO_LARGE")])
def test_an_oversize_record_is_as_large_as_a_request_may_be_unless_its_size_is_given(client: str, error: str) -> None:
    """A7, H-001: by its upper bound it is larger than max.request.size then."""
    too_large, fits = run({"do": "oversize", "nth": 3}, client=client), run({"do": "oversize", "nth": 3, "size": 5000}, client=client)

    assert too_large.metrics.errors == {error: 1}
    assert (fits.metrics.errors, fits.verdict.records["ok"]) == ({}, 10)


def test_with_several_workloads_the_fault_names_its_own() -> None:
    two = [{"topic": "t", "records": 10, "every": "1ms"}, {"topic": "t", "records": 10, "every": "1ms", "start": "100us"}]
    data: dict[str, Any] = {"title": "two", "kafka": "4.3", "seed": 1, "topics": {"t": {}}, "workload": two, "tail": {"warm": True}}
    found = simulate(Scenario(**data, fault=[{"do": "unserializable", "workload": 1, "nth": 2}]))

    assert [fact.resolved for _, fact in found.history.of(Fault) if fact.phase == "hit"] == [("p1/3",)]
    rows: Any = report(found)["faults"]
    assert [(row["at_ms"], row["injected"], row["touched"]) for row in rows] == [(1.1, True, 1)]


def test_a_record_that_is_never_handed_over_was_never_struck() -> None:
    """The application stops before: the fault proves nothing."""
    found = run({"do": "unserializable", "nth": 1}, {"do": "oversize", "nth": 5}, on_failure="stop")

    assert (found.verdict.records["offered"], found.verdict.verdict) == (1, "inconclusive")
    assert "oversize: never triggered" in found.verdict.reasons[0]
