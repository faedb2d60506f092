"""What holds for every machine: a spurious wake changes no fact, and taking whole ranges of records is the same as taking them one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import Simulation
from ksim_models.accumulator import Accumulator
from ksim_models.facts import Ended
from ksim_models.producer import Producer
from ksim_models.units import ms
from strategies import MACHINES, scenarios

BETWEEN = 137
"""Microseconds: never in the same instant as something else, for there the order of speaking counts."""
wakes = st.lists(st.tuples(st.integers(-3_000, 20_000), st.sampled_from([*MACHINES, "controller-1", "p1"])), min_size=1, max_size=20)


def facts_of(simulation: Simulation) -> list[tuple[int, object]]:
    simulation.run()
    return [(at, fact) for at, fact in simulation.history if not isinstance(fact, Ended)]  # Which tells the number of events.


def until_the_earlier_end(one: Simulation, other: Simulation) -> tuple[list[tuple[int, object]], list[tuple[int, object]]]:
    """A run ends with the first event after all is quiet, and a spurious wake is an event: what comes at the end itself is left out."""
    facts, others = facts_of(one), facts_of(other)
    end = min(one.loop.now, other.loop.now)
    return [(at, fact) for at, fact in facts if at < end], [(at, fact) for at, fact in others if at < end]


def simulation_of(data: dict[str, Any]) -> Simulation:
    return Simulation(Scenario(**data).plan())


@settings(deadline=None, max_examples=60)
@given(scenarios(), wakes)
def test_a_spurious_wake_changes_no_fact(data: dict[str, Any], wakes: list[tuple[int, str]]) -> None:
    woken = simulation_of(data)
    for at, name in wakes:
        woken.loop.call_at(ms(at) + BETWEEN, lambda name=name: woken.loop.wake(name))  # type: ignore[misc]

    found, expected = until_the_earlier_end(woken, simulation_of(data))

    assert found == expected


@st.composite
def floods(draw: st.DrawFn) -> dict[str, Any]:
    """Small batches, a small buffer, senders that block and are refused."""
    data = draw(scenarios(buffer_memory=draw(st.sampled_from([2_000, 20_000, 33_554_432])), max_block_ms=draw(st.sampled_from([0, 30, 60_000]))))
    data["topics"]["t"]["partitions"] = 1
    data["workload"][0]["arrivals"] = draw(st.sampled_from(["steady", "poisson"])) if data["workload"][0]["every"] != "0ms" else "steady"
    if draw(st.booleans()):
        del data["workload"][0]["every"]
        data["workload"][0]["arrivals"] = {"burst": draw(st.integers(1, 40)), "every": draw(st.sampled_from(["3ms", "20ms", "200ms"]))}
    return data


def one_by_one(data: dict[str, Any]) -> Simulation:
    """Records of which the producer does not know that they are alike."""
    simulation = simulation_of(data)
    for thread in simulation.producers[0].sending.threads:
        thread.steady = False
    return simulation


@settings(deadline=None, max_examples=80)
@given(floods())
def test_taking_a_range_of_records_is_the_same_as_taking_them_one_by_one(data: dict[str, Any]) -> None:
    assert facts_of(simulation_of(data)) == facts_of(one_by_one(data))


def accumulator_of(simulation: Simulation) -> Accumulator:
    producer = simulation.producers[0]
    assert isinstance(producer, Producer)
    return producer.accumulator


@settings(deadline=None, max_examples=40)
@given(floods())
def test_the_buffers_memory_is_all_there_when_all_is_over(data: dict[str, Any]) -> None:
    """P6."""
    simulation = simulation_of(data)
    facts_of(simulation)
    accumulator = accumulator_of(simulation)

    assert accumulator.free_memory == accumulator.total_memory
    assert accumulator.waiters == 0


def test_a_forgotten_wake_would_show() -> None:
    """The checker turns red: a producer that forgets its linger sends only when something else wakes it."""
    data: dict[str, Any] = {
        "title": "planted",
        "seed": 1,
        "topics": {"t": {}},
        "producers": {"p1": {"config": {"linger.ms": 50}}},
        "workload": [{"topic": "t", "records": 5, "every": "100ms"}],
    }
    honest, forgetful = simulation_of(data), simulation_of(data)
    accumulator = accumulator_of(forgetful)
    look = accumulator.look
    accumulator.look = lambda now, leader_of: (*look(now, leader_of)[:2], 2**62)  # type: ignore[method-assign]
    forgetful.loop.call_at(ms(5_000), lambda: forgetful.loop.wake("p1"))

    assert facts_of(honest) != facts_of(forgetful)
