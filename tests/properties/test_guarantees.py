"""What each configuration promises, whatever processes and paths fail: drawn scenarios, run to the end and judged."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Ended, FinalLog
from strategies import scenarios


def run(data: dict[str, Any]) -> Run:
    return simulate(Scenario(**data))


def final_logs(run: Run) -> dict[str, list[FinalLog]]:
    logs: dict[str, list[FinalLog]] = {}
    for _, log in run.history.of(FinalLog):
        logs.setdefault(log.partition, []).append(log)
    return logs


@settings(deadline=None, max_examples=60)
@given(scenarios())
def test_every_run_ends_quietly_and_every_record_of_a_living_client_has_an_outcome(data: dict[str, Any]) -> None:
    found = run(data)

    assert [fact.quiet for _, fact in found.history.of(Ended)] == [True]
    assert found.verdict.records["unknown"] == 0


@settings(deadline=None, max_examples=60)
@given(scenarios(fabricated=False, acks="all", enable_idempotence=True))
def test_idempotence_in_one_session_leaves_no_duplicate_and_no_permutation(data: dict[str, Any]) -> None:
    records = run(data).verdict.records

    assert (records["duplicated"], records["reordered"]) == (0, 0)


@settings(deadline=None, max_examples=60)
@given(scenarios(acks="all"))
def test_acks_all_with_two_in_sync_replicas_loses_nothing_to_process_crashes(data: dict[str, Any]) -> None:
    """INV-8."""
    assert run(data).verdict.records["lost"] == 0


@settings(deadline=None, max_examples=40)
@given(scenarios(acks="all", enable_idempotence=False, max_in_flight_requests_per_connection=1))
def test_one_request_in_flight_keeps_the_order_even_without_idempotence(data: dict[str, Any]) -> None:
    """P4."""
    assert run(data).verdict.records["reordered"] == 0


@settings(deadline=None, max_examples=40)
@given(scenarios(acks=0, enable_idempotence=False))
def test_acks_0_never_reports_a_failure_of_the_broker(data: dict[str, Any]) -> None:
    """S22: what the client does not hear it cannot report."""
    assert set(run(data).metrics.errors) <= {"TimeoutException"}


@settings(deadline=None, max_examples=60)
@given(scenarios())
def test_at_the_end_all_replicas_hold_the_same_log(data: dict[str, Any]) -> None:
    """INV-4, after the heal."""
    for logs in final_logs(run(data)).values():
        assert all(log.batches == logs[0].batches for log in logs)
        assert all(0 <= log.log_start_offset <= log.high_watermark <= log.log_end_offset for log in logs)
        assert sum(log.leader for log in logs) == 1


@settings(deadline=None, max_examples=25)
@given(scenarios())
def test_the_same_scenario_and_seed_give_the_same_bytes(data: dict[str, Any]) -> None:
    assert run(data).history.digest == run(data).history.digest
