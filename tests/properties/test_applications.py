"""The law of the population, whatever the application does about its failures and whatever fails."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Ended, Refused
from strategies import faults, lengths, moments

breakers = st.fixed_dictionaries({"open_after": st.integers(1, 5), "half_open": lengths})
reactions = st.sampled_from(["report", "resend", "stop"]) | breakers


@st.composite
def applications(draw: st.DrawFn) -> dict[str, Any]:
    """Two workloads of one producer, with small buffers and short patience, so that send() fails in every way it can."""
    client = draw(st.sampled_from(["java", "librdkafka"]))
    java = {
        "buffer.memory": draw(st.sampled_from([3000, 33554432])),
        "batch.size": draw(st.sampled_from([1, 300, 16384])),
        "max.block.ms": draw(st.sampled_from([0, 100, 60000])),
        "request.timeout.ms": 1000,
        "delivery.timeout.ms": draw(st.sampled_from([1005, 3000])),
    }
    librdkafka = {
        "queue.buffering.max.messages": draw(st.sampled_from([3, 100000])),
        "batch.size": draw(st.sampled_from([300, 1000000])),
        "message.timeout.ms": draw(st.sampled_from([1005, 3000])),
    }
    workloads = [
        {
            "topic": draw(st.sampled_from(["t", "t", "absent"])),
            "records": draw(st.integers(1, 60)),
            "every": draw(st.sampled_from(["0ms", "1ms", "20ms"])),
            "size": draw(st.sampled_from([10, 1000, 4000])),
            "wait": draw(st.sampled_from(["none", "each", 3])),
            "on_failure": draw(reactions),
        }
        for _ in range(2)
    ]
    struck = draw(st.lists(faults(), max_size=2))
    if draw(st.booleans()):
        struck.append({"do": draw(st.sampled_from(["unserializable", "oversize"])), "workload": draw(st.integers(0, 1)), "nth": 1})
    end = {"do": draw(st.sampled_from(["shutdown", "crash"])), "who": "p1", "at": draw(moments)}
    ends = [{}, {"for": draw(lengths)}, {"for": draw(lengths), **({"timeout": draw(lengths)} if end["do"] == "shutdown" else {})}]
    if draw(st.booleans()):
        struck.append(end | draw(st.sampled_from(ends)))
    return {
        "title": "drawn",
        "kafka": draw(st.sampled_from(["3.3", "3.9", "4.3"])) if client == "java" else "4.3",
        "client": client,
        "seed": draw(st.integers(0, 10**6)),
        "cluster": {"config": {"auto.create.topics.enable": draw(st.booleans())}},
        "topics": {"t": {}, "absent": {"exists": False}},
        "producers": {"p1": {"config": {"linger.ms": draw(st.sampled_from([0, 5])), **(java if client == "java" else librdkafka)}}},
        "workload": workloads,
        "fault": struck,
        "tail": {"limit": "70s"},  # Longer than the longest max.block.ms.
    }


@settings(deadline=None, max_examples=60)
@given(applications())
def test_offered_is_refused_and_accepted_and_accepted_is_acked_and_failed_and_unknown(data: dict[str, Any]) -> None:
    run = simulate(Scenario(**data))

    records, planned = run.verdict.records, sum(workload["records"] for workload in data["workload"])
    assert records["offered"] == records["refused"] + records["accepted"]
    assert records["accepted"] == records["acked"] + records["failed"] + records["unknown"]
    assert records["sends"] >= records["offered"]
    ends = any(fault["do"] in ("shutdown", "crash") and fault["who"] == "p1" for fault in data["fault"])
    if not ends and not any(workload["on_failure"] == "stop" for workload in data["workload"]):
        assert records["offered"] == planned
    if not ends and all(workload["on_failure"] != "resend" for workload in data["workload"]):
        assert records["unknown"] == 0, "the client's own time-outs end every send"
        assert records["sends"] == records["offered"]
    assert records["lost"] == 0, "acks=all, and processes that crash"


@settings(deadline=None, max_examples=25)
@given(applications())
def test_the_same_application_gives_the_same_bytes(data: dict[str, Any]) -> None:
    assert simulate(Scenario(**data)).history.digest == simulate(Scenario(**data)).history.digest


@settings(deadline=None, max_examples=25)
@given(applications())
def test_a_breaker_lets_nothing_through_that_it_refused(data: dict[str, Any]) -> None:
    """What it sheds stands in no log, and no run waits for it."""
    run = simulate(Scenario(**data))

    shed = sum(len(fact.records) for _, fact in run.history.of(Refused) if fact.error == "CircuitBreakerOpenException")
    assert shed == run.metrics.metrics.get("breaker-shed-total", 0)
    assert len(list(run.history.of(Ended))) == 1
