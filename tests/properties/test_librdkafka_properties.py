"""What holds for librdkafka's producer whatever happens: spurious wakes, the clock, the account of messages, and order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import Simulation, simulate
from ksim_models.facts import Ended
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.machine import Wake
from ksim_models.units import ms
from strategies import MACHINES, faults

BETWEEN = 137
"""Microseconds: never in the same instant as something else, for there the order of speaking counts."""


@st.composite
def scenarios(draw: st.DrawFn, /, *, fabricated: bool = True, **forced: Any) -> dict[str, Any]:
    idempotence = draw(st.booleans())
    config: dict[str, Any] = {
        "acks": "all" if idempotence else draw(st.sampled_from(["0", "1", "all"])),
        "enable.idempotence": idempotence,
        "linger.ms": draw(st.sampled_from([0, 5, 20])),
        "batch.num.messages": draw(st.sampled_from([1, 3, 10_000])),
        "max.in.flight": draw(st.sampled_from([1, 2, 5])),
        "socket.timeout.ms": draw(st.sampled_from([1_000, 5_000, 60_000])),
        "message.timeout.ms": draw(st.sampled_from([1_500, 6_000, 300_000])),
        "retries": draw(st.sampled_from([1, 2_147_483_647])),
        "queue.buffering.max.messages": draw(st.sampled_from([20, 100_000])),
        "queue.buffering.backpressure.threshold": 1 if idempotence else draw(st.sampled_from([1, 3])),
    } | forced
    workload: dict[str, Any] = {"topic": "t", "records": draw(st.integers(1, 120)), "size": draw(st.sampled_from([10, 100, 1000]))}
    workload |= draw(
        st.sampled_from(
            [
                *({"every": every} for every in ("0ms", "1ms", "5ms", "20ms")),
                {"arrivals": "poisson", "every": "5ms"},
                {"arrivals": {"burst": 7, "every": "20ms"}},
                {"every": "5ms", "wait": 2},
            ]
        )
    )
    return {
        "title": "drawn",
        "kafka": draw(st.sampled_from(["3.3", "3.9", "4.3"])),
        "client": "librdkafka",
        "seed": draw(st.integers(0, 10**6)),
        "topics": {"t": {"partitions": draw(st.integers(1, 3)), "config": {"min.insync.replicas": 2}}},
        "producers": {"p1": {"config": config}},
        "workload": [workload],
        "fault": draw(st.lists(faults(fabricated=fabricated), max_size=4)),
    }


def simulation_of(data: dict[str, Any]) -> Simulation:
    return Simulation(Scenario(**data).plan())


def facts_of(simulation: Simulation) -> list[tuple[int, object]]:
    simulation.run()
    return [(at, fact) for at, fact in simulation.history if not isinstance(fact, Ended)]


def producer_of(simulation: Simulation) -> LibrdkafkaProducer:
    producer = simulation.producers[0]
    assert isinstance(producer, LibrdkafkaProducer)
    return producer


@settings(deadline=None, max_examples=60)
@given(scenarios(), st.lists(st.tuples(st.integers(-3_000, 20_000), st.sampled_from([*MACHINES, "p1"])), min_size=1, max_size=20))
def test_a_spurious_wake_changes_no_fact(data: dict[str, Any], wakes: list[tuple[int, str]]) -> None:
    woken, undisturbed = simulation_of(data), simulation_of(data)
    for at, name in wakes:
        woken.loop.call_at(ms(at) + BETWEEN, lambda name=name: woken.loop.wake(name))  # type: ignore[misc]

    found, expected = facts_of(woken), facts_of(undisturbed)
    end = min(woken.loop.now, undisturbed.loop.now)  # What comes at the end itself is left out: a spurious wake is an event too.

    assert [(at, fact) for at, fact in found if at < end] == [(at, fact) for at, fact in expected if at < end]


@settings(deadline=None, max_examples=40)
@given(scenarios())
def test_after_a_wake_it_wants_to_be_woken_later(data: dict[str, Any]) -> None:
    simulation = simulation_of(data)
    producer = producer_of(simulation)
    handle = producer.handle

    def checked(event: Any, now: int) -> Any:
        effects = handle(event, now)
        assert not isinstance(event, Wake) or producer.wake_at is None or producer.wake_at > now
        return effects

    producer.handle = checked  # type: ignore[method-assign]
    simulation.run()


@settings(deadline=None, max_examples=60)
@given(scenarios())
def test_taking_records_when_they_matter_is_the_same_as_taking_them_one_by_one(data: dict[str, Any]) -> None:
    lazy, eager = simulation_of(data), simulation_of(data)
    for thread in producer_of(eager).sending.threads:
        thread.steady = False

    assert facts_of(lazy) == facts_of(eager)


@settings(deadline=None, max_examples=60)
@given(scenarios())
def test_what_is_held_in_the_queues_is_given_back_when_all_is_over(data: dict[str, Any]) -> None:
    simulation = simulation_of(data)
    simulation.run()
    producer = producer_of(simulation)

    if not simulation.over:
        assert (producer.sending.messages_held, producer.sending.bytes_held) == (0, 0)
        assert all(not queue.messages and not queue.in_flight and not queue.bytes for queue in producer.queues.values())


@settings(deadline=None, max_examples=80)
@given(scenarios(fabricated=False))
def test_whatever_goes_wrong_is_the_price_of_a_setting(data: dict[str, Any]) -> None:
    assert [anomaly for anomaly in simulate(Scenario(**data)).verdict.anomalies if not anomaly.allowed] == []


PATIENT = {"enable.idempotence": True, "acks": "all", "queue.buffering.backpressure.threshold": 1, "message.timeout.ms": 300_000, "retries": 2_147_483_647}


@settings(deadline=None, max_examples=80)
@given(scenarios(fabricated=False, **PATIENT))
def test_with_idempotence_nothing_is_lost_doubled_or_reordered(data: dict[str, Any]) -> None:
    """As long as no message is given up: then the epoch rises, and what is in doubt is sent again under the new one."""
    records = simulate(Scenario(**data)).verdict.records

    assert (records["lost"], records["duplicated"], records["reordered"]) == (0, 0, 0)
