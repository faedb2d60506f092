"""The report: the contract's object key by key, what was expected, the exit code, and what a person reads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ksim.history import History, HistoryError
from ksim.report import Report, combined_exit_code, report, report_on, report_on_history
from ksim.report_text import seed_line, show, text, verdict_line
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Acked, Ended, Failed, Fault, FinalLog, LoggedBatch, Offered

KEYS = [
    *"schema ksim scenario seed digest kafka client how verdict records anomalies errors latency_ms unavailable_ms".split(),
    *"metrics faults expect simulated_ms wall_ms events".split(),
]
RECORDS = "offered refused accepted acked failed unknown sends ok absent lost ghost duplicated reordered misrouted hidden torn aborted_read removed".split()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def history_of(*facts: tuple[int, object], expect: dict[str, object] | None = None, copies: int = 1, fault: bool = True) -> History:
    """Two records, acknowledged; `copies` of the first one are in the log."""
    run: dict[str, Any] = {
        "title": "A title",
        "seed": 7,
        "kafka": "4.3",
        "client": "java",
        "how": "simulated",
        "scenario": {} if expect is None else {"expect": expect},
        "config": {"producers": {"p1": {"acks": "all", "enable.idempotence": False}}, "topics": {}, "brokers": {}},
    }
    history = History(run)
    history.add(5_000, Offered("p1", range(2), 0, 1_000))
    for at, fact in facts:
        history.add(at, fact)
    history.add(11_000, Acked("p1", "payments-0", range(2), 0))
    batches = tuple(LoggedBatch(0 if place == 0 else 1 + place, 0, "p1", range(2) if place == 0 else range(1), -1, -1, -1) for place in range(copies))
    history.add(20_500, FinalLog("payments-0", "broker-1", True, True, 0, 9, 9, 9, batches))
    if fault:
        history.add(20_500, Fault("lost", "lose-response", "summary", ("broker-1 -> p1",), 1))
    history.add(20_500, Ended(True, ("p1",), 42))
    return history


HIT = (9_500, Fault("lost", "lose-response", "hit", ("broker-1 -> p1",), 1))


@pytest.fixture(scope="module")
def lost_ack() -> Report:
    return report_on(simulate(Scenario.load("lost-ack").at("workload.0.records", 20)))


def test_the_object_has_the_keys_of_the_contract_in_its_order(lost_ack: Report) -> None:
    data: dict[str, Any] = lost_ack.data

    assert [key for key in data if key != "calibrated"] == KEYS  # That is of a simulation alone.
    assert list(data["records"]) == RECORDS
    assert list(data["latency_ms"]) == ["avg", "p50", "p95", "p99", "p999", "max"]
    assert list(data["metrics"]) == ["record-send-total", "record-retry-total", "record-error-total"]
    assert list(data["anomalies"][0]) == ["name", "jepsen", "count", "allowed", "because", "witness"]
    assert list(data["faults"][0]) == ["name", "do", "at_ms", "resolved", "touched", "injected"]
    assert data == json.loads(json.dumps(data))


def test_everything_but_the_wall_time_is_a_function_of_scenario_and_seed(lost_ack: Report) -> None:
    again = report(simulate(Scenario.load("lost-ack").at("workload.0.records", 20)))

    assert {**again, "wall_ms": 0} == {**lost_ack.data, "wall_ms": 0}


def test_the_witness_names_its_producer_for_machines_and_the_bare_number_for_people(lost_ack: Report) -> None:
    data: dict[str, Any] = lost_ack.data
    number = data["anomalies"][0]["witness"]["record"].removeprefix("p1/")

    assert data["anomalies"][0]["witness"]["record"] == f"p1/{number}"
    assert f"  witness: record {number}, at offsets " in text(lost_ack)


def test_the_object_of_a_small_history_is_what_it_says() -> None:
    data = report_on_history(history_of(HIT, copies=2)).data

    assert {key: data[key] for key in KEYS if key not in ("ksim", "digest", "records")} == {
        "schema": 1, "scenario": "A title", "seed": 7, "kafka": "4.3", "client": "java", "how": "simulated", "verdict": "violated",
        "anomalies": [{
            "name": "duplicated", "jepsen": "duplicate", "count": 1, "allowed": True, "because": "enable.idempotence=false",
            "witness": {"record": "p1/0", "partition": "payments-0", "offsets": [0, 2]},
        }],
        "errors": {}, "latency_ms": {"avg": 10.5, "p50": 10, "p95": 11, "p99": 11, "p999": 11, "max": 11}, "unavailable_ms": 11,
        "metrics": {"record-send-total": 0, "record-retry-total": 0, "record-error-total": 0},
        "faults": [{"name": "lost", "do": "lose-response", "at_ms": 9.5, "resolved": ["broker-1 -> p1"], "touched": 1, "injected": True}],
        "expect": {}, "simulated_ms": 20.5, "wall_ms": None, "events": 42,
    }  # fmt: skip


def test_a_fault_that_never_struck_has_no_moment() -> None:
    told = report_on_history(history_of())

    assert told.data["faults"] == [{"name": "lost", "do": "lose-response", "at_ms": None, "resolved": [], "touched": 1, "injected": False}]
    assert "fault    lost: lose-response never struck\n" in text(told)


def test_a_history_without_faults_has_no_faults() -> None:
    assert report_on_history(history_of(fault=False)).data["faults"] == []


@pytest.mark.parametrize(
    ("key", "wanted", "got", "met"),
    [
        ("duplicated", 1, 1, True),
        ("duplicated", ">= 2", 1, False),
        ("duplicated", "!= 1", 1, False),
        ("duplicated", "0..1", 1, True),
        ("duplicated", "2..3", 1, False),
        ("duplicated", "< 1", 1, False),
        ("duplicated", "<= 1", 1, True),
        ("duplicated", "> 0", 1, True),
        ("verdict", "violated", "violated", True),
        ("verdict", "!= violated", "violated", False),
        ("ack_avg_ms", 10.5, 10.5, True),
        ("ack_max_ms", "<= 11", 11, True),
        ("unavailable_ms", "> 11", 11, False),
        ("record-error-total", 0, 0, True),
        ("errors.TimeoutException", 0, 0, True),
        ("errors.TimeoutException", 1, 0, False),
    ],
)
def test_what_was_expected_stands_beside_what_came(key: str, wanted: object, got: object, met: bool) -> None:
    told = report_on_history(history_of(HIT, copies=2, expect={key: wanted}))
    written = wanted if isinstance(wanted, str) else str(wanted)

    assert told.data["expect"] == {key: {"wanted": written, "got": got, "met": met}}
    assert told.exit_code == (0 if met else 1)


@pytest.mark.parametrize(
    ("copies", "hit", "expect", "code"),
    [
        pytest.param(1, True, None, 0, id="held"),
        pytest.param(2, True, None, 1, id="violated"),
        pytest.param(1, False, None, 4, id="inconclusive"),
        pytest.param(2, False, None, 1, id="violated before inconclusive"),
        pytest.param(2, True, {"duplicated": 1}, 0, id="violated as expected"),
        pytest.param(1, True, {"duplicated": 1}, 1, id="held and not as expected"),
        pytest.param(2, False, {"duplicated": 1}, 4, id="as expected, but a fault never struck"),
        pytest.param(1, False, {"duplicated": 1}, 1, id="not met before inconclusive"),
    ],
)
def test_the_exit_code_is_that_of_the_contract(copies: int, hit: bool, expect: dict[str, object] | None, code: int) -> None:
    facts = [HIT] if hit else []

    assert report_on_history(history_of(*facts, copies=copies, expect=expect)).exit_code == code


@pytest.mark.parametrize(("codes", "code"), [([0, 0], 0), ([0, 4, 0], 4), ([4, 1, 0], 1), ([], 0)])
def test_many_seeds_have_one_exit_code(codes: list[int], code: int) -> None:
    assert combined_exit_code(codes) == code


def test_a_prediction_in_a_history_that_nobody_can_read_is_a_mistake_in_the_history() -> None:
    with pytest.raises(HistoryError, match="lots"):
        report_on_history(history_of(expect={"lost": "lots"}))


def test_the_errors_are_counted_per_exception() -> None:
    history = history_of((6_000, Offered("p1", range(2, 4), 0, 0)), (7_000, Failed("p1", "payments-0", range(2, 4), "TimeoutException", "Expiring")))

    told = report_on_history(history)

    assert told.data["errors"] == {"TimeoutException": 2}
    assert "error    TimeoutException: 2 records\n" in text(told)


def test_the_verdict_is_the_last_line() -> None:
    told = report_on_history(history_of(HIT, copies=2, expect={"duplicated": 2}))

    assert text(told).splitlines()[-1] == "verdict: violated, NOT as expected" == verdict_line(told)


def test_what_makes_a_run_inconclusive_is_said() -> None:
    assert "inconclusive because fault lost: never triggered\nverdict: inconclusive\n" in text(report_on_history(history_of()))


def test_an_anomaly_says_whether_the_configuration_allows_it() -> None:
    assert "duplicated (Jepsen: duplicate): 1 record; allowed: enable.idempotence=false\n" in text(report_on_history(history_of(HIT, copies=2)))


def test_the_latency_has_the_fields_of_kafka_producer_perf_test_in_its_order(lost_ack: Report) -> None:
    (line,) = [line for line in text(lost_ack).splitlines() if line.startswith("latency")]
    fields = ["records sent", "records/sec", "MB/sec", "ms avg latency", "ms max latency", "ms 50th", "ms 95th", "ms 99th", "ms 99.9th"]

    assert [line.index(field) for field in fields] == sorted(line.index(field) for field in fields)
    assert line.startswith("latency  20 records sent, ")


def test_a_seed_is_one_line() -> None:
    told = report_on_history(history_of(HIT, copies=2))

    assert seed_line(told).startswith("seed      7  violated                      offered 2, ok 1, duplicated 1  [")


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    told = report_on_history(history_of(HIT))
    plain, terminal = io.StringIO(), Terminal()

    show(told, plain)
    show(told, terminal)

    assert plain.getvalue() == text(told)
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()

    show(report_on_history(history_of(HIT)), terminal)

    assert "\x1b[3" not in terminal.getvalue()  # Bold is no colour.


def test_a_title_cannot_move_the_cursor() -> None:
    history = history_of(HIT)
    history.run["title"] = "up\x1b[2Aand\rover"

    assert text(report_on_history(history)).splitlines()[0] == "up?[2Aand?over"


def test_a_written_history_gives_the_same_report(tmp_path: Path) -> None:
    run = simulate(Scenario.load("leader-crash"))
    run.history.write(tmp_path / "run.jsonl")

    again = report_on_history(History.read(tmp_path / "run.jsonl"))

    assert {**again.data, "wall_ms": 0} == {**report(run), "wall_ms": 0}
