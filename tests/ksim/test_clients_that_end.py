"""Clients that are closed, crash, and come back: what becomes of their records, with both clients. A50 to A54, I2."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Ended, ProducerId, Sent

BOTH = pytest.mark.parametrize("client", ["java", "librdkafka"])


def run(*faults: dict[str, Any], client: str = "java", producer: dict[str, Any] | None = None, **workload: Any) -> Run:
    return simulate(
        Scenario(
            title="ends",
            kafka="4.3",
            client=client,
            seed=3,
            topics={"t": {}},
            producers={"p1": {"config": {"enable.idempotence": True} | (producer or {})}},
            workload=[{"topic": "t", "records": 100, "every": "10ms"} | workload],
            fault=[{"who": "p1"} | fault for fault in faults],
        )
    )


@BOTH
def test_a_client_that_is_closed_delivers_what_it_took_and_takes_nothing_more(client: str) -> None:
    found = run({"do": "shutdown", "at": "500ms"}, client=client, producer={"linger.ms": 300})

    assert (found.verdict.records["offered"], found.verdict.records["ok"], found.verdict.records["unknown"]) == (51, 51, 0)
    assert [fact.living_producers for _, fact in found.history.of(Ended)] == [()]
    assert found.verdict.verdict == "held"


@BOTH
def test_a_client_that_is_closed_for_a_while_comes_back_as_another_producer(client: str) -> None:
    found = run({"do": "shutdown", "at": "500ms", "for": "200ms"}, client=client)

    assert (found.verdict.records["ok"], found.verdict.verdict) == (100, "held")
    ids = [fact.producer_id for _, fact in found.history.of(ProducerId) if fact.why == "InitProducerId"]
    assert len(ids) == len(set(ids)) == 2
    assert len({fact.connection for _, fact in found.history.of(Sent)}) == 2


@BOTH
@pytest.mark.parametrize("back", [{"for": "200ms"}, {}], ids=["for", "restart"])
def test_a_crashed_client_that_comes_back_does_not_know_what_it_had_sent(client: str, back: dict[str, Any]) -> None:
    """What had no outcome has none for ever, and nobody waits for it; the application goes on with its next record."""
    restart = [] if back else [{"do": "restart", "at": "1700ms"}]
    found = run({"do": "crash", "at": "1500ms"} | back, *restart, client=client, producer={"linger.ms": 100}, records=300)

    records = found.verdict.records
    assert (records["offered"], records["ok"]) == (300, 300 - records["unknown"])
    assert 1 <= records["unknown"] <= 11
    assert [fact.quiet for _, fact in found.history.of(Ended)] == [True]
    assert not any("pending" in reason for reason in found.verdict.reasons)


@BOTH
def test_the_heal_brings_no_client_back(client: str) -> None:
    found = run({"do": "crash", "at": "500ms"}, client=client)

    assert found.verdict.records["offered"] == 51


def test_librdkafka_does_not_wake_for_what_a_closed_application_would_have_sent() -> None:
    """The second record would have filled a batch while the first one waits for its answer."""
    found = run({"do": "shutdown", "at": "0ms"}, client="librdkafka", producer={"batch.size": 300, "linger.ms": 0}, every="1ms", size=1_000)

    assert (found.verdict.records["offered"], found.verdict.records["ok"]) == (1, 1)


def test_close_with_a_time_fails_what_has_no_answer_by_then() -> None:
    """A52: what the brokers make of it is another matter."""
    found = _cut_and_closed("java")

    assert set(found.metrics.errors) == {"KafkaException"}
    assert found.verdict.records["unknown"] == 0


def test_librdkafkas_application_hears_nothing_of_what_was_not_flushed_in_time() -> None:
    found = _cut_and_closed("librdkafka")

    assert found.metrics.errors == {}
    assert found.verdict.records["unknown"] > 0
    assert not any("pending" in reason for reason in found.verdict.reasons), "it lives no more"


def _cut_and_closed(client: str) -> Run:
    cut = {"do": "cut", "between": ["p1", "brokers"], "at": "300ms", "for": "5s"}
    shutdown = {"do": "shutdown", "who": "p1", "at": "500ms", "timeout": "1s"}
    workload = {"topic": "t", "records": 100, "every": "10ms"}
    return simulate(Scenario(title="cut", kafka="4.3", client=client, seed=3, topics={"t": {}}, workload=[workload], fault=[cut, shutdown]))


@BOTH
def test_a_restart_waits_until_the_old_process_is_gone(client: str) -> None:
    """close() takes as long as the cut lasts; the new process starts behind it."""
    cut = {"do": "cut", "between": ["p1", "brokers"], "at": "300ms", "for": "2s"}
    shutdown = {"do": "shutdown", "who": "p1", "at": "500ms", "for": "100ms"}
    workload = {"topic": "t", "records": 100, "every": "10ms"}
    found = simulate(Scenario(title="late", kafka="4.3", client=client, seed=3, topics={"t": {}}, workload=[workload], fault=[cut, shutdown]))

    assert (found.verdict.records["offered"], found.verdict.records["acked"]) == (100, 100)
    assert found.verdict.records["lost"] == 0


@BOTH
def test_who_gave_up_does_not_go_on_in_another_process(client: str) -> None:
    """`stop` is the application's decision."""
    found = _stopped(client)

    assert found.verdict.records["offered"] == 10


def _stopped(client: str) -> Run:
    workload = {"topic": "t", "records": 100, "every": "10ms", "on_failure": "stop"}
    faults = [{"do": "unserializable", "nth": 10}, {"do": "crash", "who": "p1", "at": "500ms", "for": "100ms"}]
    return simulate(Scenario(title="stop", kafka="4.3", client=client, seed=3, topics={"t": {}}, workload=[workload], fault=faults))
