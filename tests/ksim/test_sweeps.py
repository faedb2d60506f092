"""Sweeps: one row per configuration and seed, the same for any number of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ksim.problems import ScenarioError
from ksim.scenario import Scenario
from ksim.sweeps import sweep, sweep_file

Over = dict[str | tuple[str, ...], Sequence[object]]
OVER: Over = {"producers.p1.config.acks": [0, 1, "all"], "producers.p1.config.enable.idempotence": [False, True]}


def test_the_rows_are_the_same_for_any_number_of_jobs_and_any_executor() -> None:
    scenario = Scenario.load("leader-crash-acks-1")
    alone = sweep(scenario, over=OVER, seeds=range(2))
    with ThreadPoolExecutor(2) as threads:
        assert sweep(scenario, over=OVER, seeds=range(2), executor=threads).rows == alone.rows

    assert sweep(scenario, over=OVER, seeds=range(2), jobs=2).rows == alone.rows
    assert len(alone.rows) == 12


def test_a_configuration_that_kafka_refuses_is_a_row_that_says_so() -> None:
    table = sweep(Scenario.load("leader-crash-acks-1"), over=OVER, seeds=[1])
    refused = [row for row in table.rows if row["status"] == "refused"]

    assert [row["producers.p1.config.acks"] for row in refused] == [0, 1]
    assert all("idempotent" in str(row["error"]) for row in refused)


def test_a_setting_that_is_not_simulated_is_a_row_that_says_so() -> None:
    scenario = Scenario.load("leader-crash-acks-1").override(client="librdkafka")
    rows = sweep(scenario, over={"producers.p1.config.queuing.strategy": ["fifo", "lifo"]}, seeds=[1]).rows

    assert [row["status"] for row in rows] == ["done", "refused"]
    assert "queuing.strategy = lifo is not simulated" in str(rows[1]["error"])


def test_a_ledger_gives_the_same_rows_without_running_again(tmp_path: Path) -> None:
    scenario = Scenario.load("lost-ack")
    first = sweep(scenario, over={"producers.p1.config.linger.ms": [0, 5]}, seeds=range(2), ledger=tmp_path / "sweep.db")

    assert sweep(scenario, over={"producers.p1.config.linger.ms": [0, 5]}, seeds=range(2), ledger=tmp_path / "sweep.db").rows == first.rows


def test_an_unknown_axis_is_a_mistake_that_names_the_nearest() -> None:
    with pytest.raises(ScenarioError):
        sweep(Scenario.load("lost-ack"), over={"producers.p9.config.acks": [1]}, seeds=[1])


def test_every_rate_has_an_interval_and_none_is_never_zero_percent() -> None:
    table = sweep(Scenario.load("leader-crash"), over={"producers.p1.config.linger.ms": [0, 5]}, seeds=range(3))

    assert all(rate.share_high > 0 for rate in table.rates(of="lost"))
    assert "0.0 %" not in table.summary()


AXES = """scenario = "leader-crash"
seeds = "0..1"
[sweep]
"""


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("producers.p1.config.akcs = [1]\nproducers.p9.config.acks = [1]\nworkload.5.rate = [1]\n", [(4, "acks"), (5, "p1"), (6, None)]),
        ('workload.0.rate = [1, "x"]\nnetwork.latency = ["1ms", "-1ms"]\n', [(4, None), (5, None)]),
        ('fault.leader-dies.at = ["1s", "soon"]\n', [(4, None)]),
        ("seed = [1, 2]\n", [(4, None)]),
        ('title = ["a"]\n', [(4, None)]),
    ],
    ids=["paths", "values", "a fault by name", "seed", "title"],
)
def test_a_mistake_in_an_axis_has_the_line_of_the_sweep_file(tmp_path: Path, axes: str, expected: list[tuple[int, str | None]]) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(AXES + axes)

    with pytest.raises(ScenarioError) as caught:
        sweep_file(path)

    assert [(problem.origin.file, problem.origin.line, problem.nearest) for problem in caught.value.problems] == [
        (str(path), line, nearest) for line, nearest in expected
    ]
