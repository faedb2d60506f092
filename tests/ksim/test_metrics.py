"""The figures of a run: scenario.md section 3, and the totals of the client's rule book, section 6.2."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.history import History
from ksim.metrics import measure
from ksim_models.facts import Acked, Ended, Failed, Fault, Offered, Refused, Sent

MS = 1_000


def history_of(*lines: Any, how: Any = "simulated") -> Any:
    history = History({"how": how})
    for at, fact in lines:
        history.add(at * MS, fact)
    return history


def offered(count: Any, first: Any = 0, first_at: Any = 0, step: Any = 1, producer: Any = "p1") -> Any:
    return Offered(producer, range(first, first + count), first_at * MS, step * MS)


def acked(records: Any, producer: Any = "p1") -> Any:
    return Acked(producer, "payments-0", records, 0)


def failed(records: Any, error: Any = "TimeoutException") -> Any:
    return Failed("p1", "payments-0", records, error, "")


def ended(*living: Any) -> Any:
    return Ended(True, living, 0)


def test_latency_is_measured_per_record_from_its_offer_to_its_acknowledgement() -> None:
    """Ten records offered at 0 ... 9 ms, acknowledged in two batches at 10 and 20 ms."""
    found = measure(history_of((9, offered(10)), (10, acked(range(5))), (20, acked(range(5, 10))), (20, ended("p1"))))

    assert found.latency_ms == {"avg": 10.5, "p50": 10.0, "p95": 15.0, "p99": 15.0, "p999": 15.0, "max": 15.0}


def test_quantiles_are_those_of_the_nearest_rank() -> None:
    """100 records offered at once, record k acknowledged after k + 1 ms."""
    found = measure(history_of((0, offered(100, step=0)), *((k + 1, acked(range(k, k + 1))) for k in range(100)), (100, ended("p1"))))

    assert found.latency_ms == {"avg": 50.5, "p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 100.0, "max": 100.0}


@pytest.mark.parametrize("times", [(), tuple(range(0, 300_000, 7))])
def test_a_large_run_gives_the_same_figures_as_a_small_one(monkeypatch: Any, times: Any) -> None:
    records = range(len(times) or 30_000)
    history = history_of((300, Offered("p1", records, 0, 7, times)))
    for number, first in enumerate(range(0, len(records), 100)):
        history.add(300_000 + number * 31, acked(records[first : first + 100]))

    large = measure(history)
    monkeypatch.setattr("ksim.metrics.MANY", 10**9)

    assert large == measure(history)
    assert large.latency_ms["max"] > large.latency_ms["p50"] > 0


def test_the_average_is_rounded_to_the_microsecond() -> None:
    history = History({})
    history.add(0, offered(3, step=0))
    for number, at in enumerate((1, 1, 3)):
        history.add(at, acked(range(number, number + 1)))

    assert measure(history).latency_ms["avg"] == 0.002


def test_a_record_sent_again_is_measured_from_its_last_offer() -> None:
    found = measure(history_of((0, offered(1)), (5, failed(range(1))), (50, offered(1, first_at=50)), (53, acked(range(1))), (60, ended("p1"))))

    assert found.latency_ms["max"] == 3.0


def test_a_run_without_acknowledgement_has_no_latency() -> None:
    assert set(measure(history_of((0, offered(3)), (9, failed(range(3))))).latency_ms.values()) == {0.0}
    assert measure(history_of()).unavailable_ms == 0


def test_unavailable_is_the_longest_time_with_something_pending_and_no_acknowledgement() -> None:
    found = measure(history_of((0, offered(4)), (4, acked(range(2))), (90, acked(range(2, 3))), (100, acked(range(3, 4))), (500, ended("p1"))))

    assert found.unavailable_ms == 86.0


def test_a_producer_with_nothing_pending_is_not_unavailable() -> None:
    found = measure(history_of((0, offered(1)), (4, acked(range(1))), (900, offered(1, 1, first_at=900)), (907, acked(range(1, 2))), (999, ended("p1"))))

    assert found.unavailable_ms == 7.0


def test_a_failure_is_no_acknowledgement_while_the_next_record_is_pending() -> None:
    found = measure(history_of((0, offered(10, step=10)), *((10 * k + 10, failed(range(k, k + 1))) for k in range(10)), (100, ended("p1"))))

    assert found.unavailable_ms == 100.0


def test_one_producers_acknowledgements_do_not_help_another() -> None:
    lines = [(0, offered(1)), (0, offered(9, producer="p2")), *((k + 1, acked(range(k, k + 1), "p2")) for k in range(9)), (50, acked(range(1)))]

    assert measure(history_of(*lines, (60, ended("p1", "p2")))).unavailable_ms == 50.0


def test_what_is_still_pending_counts_to_the_end_or_to_the_death_of_its_producer() -> None:
    crash = (30, Fault("crash", "crash", "begin", ("p1",), 0))

    assert measure(history_of((0, offered(1)), (100, ended("p1")))).unavailable_ms == 100.0
    assert measure(history_of((0, offered(1)), crash, (100, ended()))).unavailable_ms == 30.0


def test_every_drained_batch_counts_as_sent_retries_included() -> Any:
    """Section 6.2."""

    def sent(count: Any, attempt: Any) -> Any:
        return Sent("p1", "payments-0", range(count), "broker-1", "c", attempt)

    lines = [(0, offered(9)), (1, sent(5, 1)), (2, sent(5, 2)), (3, sent(5, 3)), (4, acked(range(5))), (5, failed(range(5, 7)))]
    found = measure(history_of(*lines, (5, Refused("p1", range(7, 9), "BufferExhaustedException", ""))))

    assert found.metrics == {"record-send-total": 15, "record-retry-total": 10, "record-error-total": 4}
    assert found.errors == {"BufferExhaustedException": 2, "TimeoutException": 2}


def test_only_the_last_outcome_of_a_record_is_an_error_of_the_run() -> None:
    lines = [(0, offered(2)), (5, failed(range(2))), (50, offered(1, first_at=50)), (53, acked(range(1)))]
    found = measure(history_of(*lines))

    assert found.errors == {"TimeoutException": 1}
    assert found.metrics["record-error-total"] == 2


@pytest.mark.parametrize(("how", "silence"), [("simulated", 500.0), ("live", 1_002.0)])
def test_on_a_cluster_the_next_call_comes_a_moment_after_the_one_that_was_refused(how: Any, silence: Any) -> None:
    refused = [Refused("p1", range(number, number + 1), "TimeoutException", "") for number in (0, 1)]
    calls = [(0, offered(1)), (500, refused[0]), (502, offered(1, first=1, first_at=502)), (1_002, refused[1])]

    assert measure(history_of(*calls, (1_002, ended("p1")), how=how)).unavailable_ms == silence
