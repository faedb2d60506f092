"""Scenarios and faults for Hypothesis: plain data, so that a failure shrinks to the textbook case."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

MACHINES = ["broker-1", "broker-2", "broker-3"]
ERRORS = ["NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "REQUEST_TIMED_OUT", "NOT_LEADER_OR_FOLLOWER", "CORRUPT_MESSAGE", "LEADER_NOT_AVAILABLE"]
moments = st.integers(0, 3000).map(lambda number: f"{number}ms")
lengths = st.integers(1, 15000).map(lambda number: f"{number}ms")
frames = st.fixed_dictionaries({"request": st.just("Produce"), "nth": st.integers(1, 30)}, optional={"times": st.integers(1, 4)})


@st.composite
def faults(draw: st.DrawFn, /, *, fabricated: bool = True) -> dict[str, Any]:
    """Any fault that needs no special configuration; brokers crash as processes do, so their logs survive. fabricated: also answers that no broker gave."""
    administered = ["shutdown", "elect", "reassign"]
    do = draw(st.sampled_from([*administered, "crash", "pause", "cut", "reset", "lose-request", "lose-response", "delay", *(["answer"] if fabricated else [])]))
    match do:
        case "crash" | "pause" | "shutdown":
            who = draw(st.sampled_from([*MACHINES, "leader(t-0)", "followers(t-0)", "controller-1"]))
            return {"do": do, "who": who, "at": draw(moments), "for": draw(lengths)}
        case "cut":
            ends = draw(st.sampled_from([["p1", "leader(t-0)"], ["broker-1", "broker-2"], ["broker-1", "brokers"], ["broker-2", "controller-1"]]))
            return {"do": do, "between": ends, "one_way": draw(st.booleans()), "at": draw(moments), "for": draw(lengths)}
        case "elect":
            return {"do": do, "partition": "t-0", "kind": draw(st.sampled_from(["preferred", "unclean"])), "at": draw(moments)}
        case "reassign":
            return {"do": do, "partition": "t-0", "to": draw(st.permutations([1, 2, 3]))[: draw(st.integers(2, 3))], "at": draw(moments)}
        case "reset":
            return {"do": do, "between": draw(st.sampled_from([["p1", "brokers"], ["broker-1", "broker-2"]])), "at": draw(moments)}
        case "answer":
            return {"do": do, "error": draw(st.sampled_from(ERRORS)), "processed": draw(st.booleans()), "when": draw(frames)}
        case "delay":
            return {"do": do, "by": draw(lengths), "when": draw(frames)}
        case _:
            return {"do": do, "when": draw(frames)}


@st.composite
def scenarios(draw: st.DrawFn, /, *, fabricated: bool = True, **forced: Any) -> dict[str, Any]:
    """A producer on a healthy cluster of three, and up to four faults. `forced`: producer settings by Kafka's names with underscores."""
    producer: dict[str, Any] = {
        "linger.ms": draw(st.sampled_from([0, 5, 20])),
        "batch.size": draw(st.sampled_from([1, 300, 16384])),
        "max.in.flight.requests.per.connection": draw(st.integers(1, 5)),
        "request.timeout.ms": draw(st.sampled_from([1000, 5000, 30000])),
        "delivery.timeout.ms": draw(st.sampled_from([31000, 60000, 120000])),
    } | {name.replace("_", "."): value for name, value in forced.items()}
    return {
        "title": "drawn",
        "kafka": draw(st.sampled_from(["3.3", "3.6", "3.9", "4.0", "4.3"])),
        "seed": draw(st.integers(0, 10**6)),
        "topics": {"t": {"partitions": draw(st.integers(1, 3)), "config": {"min.insync.replicas": 2}}},
        "producers": {"p1": {"config": producer}},
        "workload": [
            {
                "topic": "t",
                "records": draw(st.integers(1, 150)),
                "every": draw(st.sampled_from(["0ms", "1ms", "5ms", "20ms"])),
                "size": draw(st.sampled_from([10, 100, 1000])),
            }
        ],
        "fault": draw(st.lists(faults(fabricated=fabricated), min_size=1, max_size=4)),
    }
