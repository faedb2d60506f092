"""What holds in the accumulator whatever happens: memory is never lost or won, and every record is in exactly one batch, after any splits too."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import Simulation
from ksim_models.application import Thread
from ksim_models.batch import Batch
from ksim_models.errors import ErrorCode
from ksim_models.facts import Ended
from ksim_models.lookahead import Lookahead
from ksim_models.partitioner_names import ROUND_ROBIN
from ksim_models.units import NEVER, Micros
from scripted import Client

ANSWERS = [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.INVALID_REQUEST]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.integers(1, 12), st.integers(1, 900)),
        st.tuples(st.just("answer"), st.sampled_from(ANSWERS)),
        st.tuples(st.just("wait"), st.sampled_from([1, 7, 300, 2_000])),
        st.tuples(st.just("disconnect")),
    ),
    min_size=3,
    max_size=40,
)
configs = st.fixed_dictionaries(
    {
        "kafka": st.sampled_from(["3.2", "3.9", "4.1.1", "4.3"]),
        "compression_type": st.sampled_from(["none", "gzip"]),
        "batch_size": st.sampled_from([1, 300, 1_000, 16_384]),
        "buffer_memory": st.sampled_from([20_000, 33_554_432]),
        "linger_ms": st.sampled_from([0, 5]),
        "enable_idempotence": st.booleans(),
        "max_in_flight_requests_per_connection": st.sampled_from([1, 5]),
        "retries": st.sampled_from([0, 3]),
    }
)


def alive(client: Client) -> list[Batch]:
    """All batches that wait or are under way."""
    producer = client.producer
    waiting = [batch for queue in producer.accumulator.queues.values() for batch in queue]
    flying = [batch for node in producer.network.nodes.values() for request in node.in_flight for batch in request.batches]
    return [*waiting, *flying]


def check(client: Client) -> None:
    batches = alive(client)
    accumulator = client.producer.accumulator
    assert accumulator.free_memory + sum(batch.held for batch in batches) == accumulator.total_memory
    where = Counter((batch.partition, record) for batch in batches for record in batch.records if not batch.done)
    assert all(count == 1 for count in where.values())


@settings(deadline=None, max_examples=150)
@given(configs, steps)
def test_memory_is_conserved_and_every_record_is_in_one_batch_and_has_one_outcome(config: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    """A19, A20, A23, A43."""
    client = Client(**config, request_timeout_ms=1_000, delivery_timeout_ms=5_000, max_block_ms=100)
    for step in steps:
        match step:
            case ("send", partition, count, size):
                client.calls[partition].size = size
                client.send(partition, count)
            case ("answer", error) if client.requests:
                client.answer(error, offset=0)
            case ("wait", time):
                client.at(client.now / 1_000 + time)
            case ("disconnect",):
                client.disconnect()
        check(client)
    while client.requests or client.producer.accumulator_holds():
        if client.requests:
            client.answer(offset=0)
        else:
            client.at(client.now / 1_000 + 50)
        check(client)

    outcomes = Counter(record for records, _ in client.outcomes() for record in records)
    assert all(count == 1 for count in outcomes.values())
    assert client.producer.accumulator.free_memory == client.producer.accumulator.total_memory


@st.composite
def spread_workloads(draw: st.DrawFn) -> dict[str, Any]:
    """Several partitions, and one or two open workloads over them."""
    config: dict[str, Any] = {
        "linger.ms": draw(st.sampled_from([0, 1, 5, 30])),
        "batch.size": draw(st.sampled_from([200, 1_000, 16_384])),
        "compression.type": draw(st.sampled_from(["none", "lz4"])),
        "buffer.memory": draw(st.sampled_from([20_000, 33_554_432])),
        "max.block.ms": draw(st.sampled_from([50, 60_000])),
    }
    if draw(st.booleans()):
        config["partitioner.class"] = ROUND_ROBIN
    workloads = []
    for _ in range(draw(st.integers(1, 2))):
        workload: dict[str, Any] = {"topic": "t", "records": draw(st.integers(1, 120)), "rate": draw(st.sampled_from([200, 900, 5_000]))}
        workload["arrivals"] = draw(st.sampled_from(["steady", "poisson"]))
        workload["compression_ratio"] = draw(st.sampled_from([0.2, 1.1]))
        workload |= draw(st.sampled_from([{}, {"key": "fixed"}, {"key": {"distinct": 30}}, {"partition": 1}]))
        workload |= draw(st.sampled_from([{}, {"size": 900}, {"size": {"mean": 300, "spread": 250}}]))
        workloads.append(workload)
    fault = draw(
        st.sampled_from(
            [
                [],
                [{"do": "reset", "between": ["p1", "brokers"], "at": "9ms"}],
                [{"do": "crash", "who": "leader(t-1)", "at": "11ms"}],
                [{"do": "answer", "error": "MESSAGE_TOO_LARGE", "when": {"request": "Produce", "nth": 2, "times": 3}}],
                [{"do": "answer", "error": "NOT_ENOUGH_REPLICAS", "when": {"request": "Produce", "nth": 1, "times": 2}}],
            ]
        )
    )
    return {
        "kafka": draw(st.sampled_from(["3.2", "3.9.1", "4.3"])),
        "seed": draw(st.integers(0, 5)),
        "topics": {"t": {"partitions": draw(st.integers(2, 6))}},
        "producers": {"p1": {"config": config}},
        "workload": workloads,
        "fault": fault,
    }


def each_by_itself(lookahead: Lookahead, threads: list[Thread], now: Micros, until: Micros, overdue_from: Micros) -> Micros:
    return min([thread.patience_ends if thread.blocked_on else thread.next_time() for thread in threads], default=NEVER)


def facts_of(data: dict[str, Any]) -> list[tuple[int, object]]:
    simulation = Simulation(Scenario(**data).plan())
    simulation.run()
    return [(at, fact) for at, fact in simulation.history if not isinstance(fact, Ended)]  # Which tells the number of events.


FOUND = {
    "kafka": "3.9.1",
    "seed": 0,
    "topics": {"t": {"partitions": 2}},
    "producers": {"p1": {"config": {"linger.ms": 1, "batch.size": 1000, "buffer.memory": 20000, "max.block.ms": 50}}},
    "workload": [{"topic": "t", "records": 5, "rate": 900, "arrivals": "poisson", "key": {"distinct": 30}}],
    "fault": [{"do": "reset", "between": ["p1", "brokers"], "at": "9ms"}],
}
"""A record that was handed over while another batch left opened a batch that no alarm stood for."""


@settings(deadline=None, max_examples=60)
@given(spread_workloads())
@example(FOUND)
def test_a_client_that_wakes_for_every_record_sees_the_same(data: dict[str, Any]) -> None:
    """Records over many partitions are handed over together, as if each had been in time."""
    found = facts_of(data)
    foreseen = Lookahead.next_difference
    Lookahead.next_difference = each_by_itself  # type: ignore[method-assign, assignment]
    try:
        expected = facts_of(data)
    finally:
        Lookahead.next_difference = foreseen  # type: ignore[method-assign]

    assert found == expected
