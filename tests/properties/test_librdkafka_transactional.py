"""Exactly-once with librdkafka: whatever breaks, what was committed is there once, and of what was aborted nothing is read."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Ended
from strategies import faults

CONSUMER = {"topics": ["t"], "config": {"group.id": "g", "isolation.level": "read_committed", "auto.offset.reset": "earliest"}}


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """No abort is planned: only an abort may give a batch in doubt's numbers away (t-numbers-used-again), and only within an epoch."""
    transaction = {"records": draw(st.sampled_from([1, 5, 20])), "think": draw(st.sampled_from(["0ms", "50ms"]))}
    config = {"transactional.id": "pay-1", "transaction.timeout.ms": draw(st.sampled_from([5_000, 60_000])), "linger.ms": draw(st.sampled_from([0, 5]))}
    return {
        "title": "drawn",
        "kafka": draw(st.sampled_from(["3.9", "4.3"])),
        "client": "librdkafka",
        "seed": draw(st.integers(0, 10**6)),
        "topics": {"t": {"partitions": draw(st.integers(1, 3)), "config": {"min.insync.replicas": 2}}},
        "producers": {"p1": {"config": config}},
        "consumers": {"c1": CONSUMER | {"client": "java"}},
        "workload": [{"topic": "t", "records": draw(st.integers(1, 80)), "every": draw(st.sampled_from(["1ms", "20ms"])), "transaction": transaction}],
        "fault": draw(st.lists(faults(fabricated=False), max_size=3)),
    }


@settings(deadline=None, max_examples=8)
@given(scenarios())
def test_what_was_committed_is_there_once_and_what_was_aborted_is_not_read(data: dict[str, Any]) -> None:
    run = simulate(Scenario(**data))

    records = run.verdict.records
    assert records["lost"] == records["duplicated"] == records["torn"] == records["aborted_read"] == records["misrouted"] == 0
    assert all(fact.quiet for _, fact in run.history.of(Ended))
