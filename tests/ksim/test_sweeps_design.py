"""[sweep.design]: points spread over ranges, the same for ever."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ksim.cli import cli
from ksim.problems import ScenarioError
from ksim.scenario import Scenario
from ksim.sweeps import sweep, sweep_file
from ksim.sweeps_design import Range, read_design, read_range

LINGER, BATCH = "producers.p1.config.linger.ms", "producers.p1.config.batch.size"
SMALL = """format = 1
title = "a test"
kafka = "4.3"
seed = 7
[topics.t]
[[workload]]
topic = "t"
records = 5
every = "5ms"
"""
SCENARIO = Scenario.loads(SMALL)

# Sobol.


def test_the_first_points_of_sobol_are_the_well_known_ones() -> None:
    """Which end is where: neither scrambled nor shifted, in the order of the Gray code."""
    ends = [(LINGER, {"from": 0, "to": 3}), (BATCH, {"from": 0, "to": 3})]
    axis, _ = read_design({"kind": "sobol", "points": 4}, ends)

    assert axis is not None
    assert axis.values == ((0, 0), (2, 2), (3, 1), (1, 3))


def test_a_power_of_two_points_has_one_in_each_part_of_every_axis() -> None:
    axis, _ = read_design({"kind": "sobol", "points": 256}, [(str(number), {"from": 0, "to": 255}) for number in range(40)])

    assert axis is not None
    assert all(sorted(values) == list(range(256)) for values in zip(*axis.values))


def test_without_scipy_sobol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksim.sweeps_design.find_spec", lambda name: None)
    _, mistakes = read_design({"kind": "sobol", "points": 1}, [(LINGER, {"from": 0, "to": 1})])

    assert [(mistake.key, mistake.possible) for mistake in mistakes] == [("kind", "pip install 'ksim-kafka[sweep]', or kind = \"random\"")]


# Ranges.


def whole(low: int, high: int, *, log: bool = False) -> Range:
    return read_range({"from": low, "to": high, "log": log})


def test_every_whole_number_of_a_range_has_the_same_share_both_ends_included() -> None:
    found = [whole(1, 4).value(Fraction(place, 8)) for place in range(8)]

    assert found == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_logarithmic_range_has_the_same_share_for_each_order_of_magnitude() -> None:
    found = [whole(1, 99_999, log=True).value(Fraction(place, 10)) for place in range(10)]

    assert found == [1, 3, 10, 31, 100, 316, 1000, 3162, 10000, 31622]


@pytest.mark.parametrize(
    ("given", "middle"),
    [
        ({"from": 0.0, "to": 1}, 0.5),
        ({"from": 1.0, "to": 3, "log": True}, 1.73205),
        ({"from": "1ms", "to": "2s"}, "1001ms"),
        ({"from": "1.5ms", "to": "2ms"}, "1750us"),
        ({"from": 0, "to": "1s"}, "500ms"),
        ({"from": "1KiB", "to": "3KiB"}, 2048),
        ({"from": "1Mbit/s", "to": "100Mbit/s", "log": True}, "10000kbit/s"),
    ],
    ids=["a number", "a number by magnitude", "ms", "us", "a bare end", "bytes", "bits"],
)
def test_a_range_gives_values_of_the_kind_of_its_ends(given: dict[str, object], middle: object) -> None:
    assert read_range(given).value(Fraction(1, 2)) == middle


# Designs.


def test_the_points_of_a_design_move_together_and_equal_ones_are_one_configuration() -> None:
    axis, mistakes = read_design({"kind": "sobol", "points": 8}, [(LINGER, {"from": 0, "to": 1}), (BATCH, {"from": 1, "to": 2})])

    assert mistakes == []
    assert axis is not None
    assert axis.names == (LINGER, BATCH)
    assert sorted(str(values) for values in axis.values) == ["(0, 1)", "(0, 2)", "(1, 1)", "(1, 2)"]


def test_a_random_design_is_a_function_of_its_seed_and_the_names_of_its_axes() -> None:
    def drawn(seed: int, *names: str) -> list[object]:
        axis, _ = read_design({"kind": "random", "points": 5, "seed": seed}, [(name, {"from": 1, "to": 1_000_000}) for name in names])
        assert axis is not None
        return [values[axis.names.index(LINGER)] for values in axis.values]

    assert drawn(1, LINGER) == drawn(1, LINGER) == drawn(1, BATCH, LINGER)
    assert drawn(1, LINGER) != drawn(2, LINGER)


FILE = """scenario = "small.toml"
seeds = "0..1"
[sweep]
producers.p1.config.acks = [1, "all"]
network.latency = { from = "1ms", to = "9ms" }
[sweep.design]
kind = "sobol"
points = 4
producers.p1.config.linger.ms = { from = 1, to = 100, log = true }
"""


def test_a_sweep_file_crosses_its_design_with_its_grid(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(FILE)
    (tmp_path / "small.toml").write_text(SMALL)
    table = sweep_file(path)

    assert table.axes == ("producers.p1.config.acks", "network.latency", LINGER)
    assert [(row["network.latency"], row[LINGER]) for row in table.rows[:8:2]] == [("1ms", 1), ("5ms", 10), ("7ms", 3), ("3ms", 31)]
    assert [row["producers.p1.config.acks"] for row in table.rows] == [1] * 8 + ["all"] * 8
    assert {row["status"] for row in table.rows} == {"done"}


def test_python_takes_the_same_design() -> None:
    table = sweep(SCENARIO, seeds=[1], design={"kind": "sobol", "points": 2, LINGER: {"from_": 1, "to": 100, "log": True}})

    assert table.column(LINGER) == [1, 10]


def test_json_prints_one_object_per_row(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(FILE)
    (tmp_path / "small.toml").write_text(SMALL)
    rows: list[Any] = [json.loads(line) for line in CliRunner().invoke(cli, ["sweep", str(path), "--json"], standalone_mode=False).output.splitlines()]

    assert rows == [dict(row) for row in sweep_file(path)]


MISTAKES = [
    ("kind = 'sobl'\npoints = 4\nAXIS", 4, "sobol", "kind"),
    ("points = 4\nAXIS", 3, None, "needs a kind"),
    ("kind = 'sobol'\nAXIS", 3, None, "needs points"),
    ("kind = 'sobol'\npoints = 0\nAXIS", 5, None, "points = 0"),
    ("kind = 'sobol'\npoints = true\nAXIS", 5, None, "points = true"),
    ("kind = 'sobol'\npoints = 4\nseed = 1\nAXIS", 6, None, "no seed"),
    ("kind = 'random'\npoints = 4\nseed = -1\nAXIS", 6, None, "seed = -1"),
    ("kind = 'random'\npoints = 4\npoint = 1\nAXIS", 6, "points", "not a range"),
    ("kind = 'random'\npoints = 4", 3, None, "without an axis"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = ['1ms']", 6, None, "stands in [sweep]"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = '1ms', too = '5ms' }", 6, "to", "too"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = '1ms' }", 6, None, "has no to"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = '5ms', to = '1ms' }", 6, None, "must be smaller"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = '5ms', to = '1MB' }", 6, None, "two of a kind"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = '5', to = '10' }", 6, None, "two of a kind"),
    ("kind = 'random'\npoints = 4\nworkload.0.rate = { from = 1, to = inf }", 6, None, "two of a kind"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = 0, to = '1s', log = true }", 6, None, "above 0"),
    ("kind = 'random'\npoints = 4\nnetwork.latency = { from = '1ms', to = '1s', log = 1 }", 6, None, "neither true nor false"),
    ("kind = 'random'\npoints = 4\nworkload.0.size = { from = -9, to = -1 }", 6, None, "-"),
    ("kind = 'random'\npoints = 4\nproducers.p1.config.akcs = { from = 0, to = 1 }", 6, "acks", "akcs"),
    ("kind = 'random'\npoints = 4\ntitle = { from = 0, to = 1 }", 6, None, "no axis"),
]


@pytest.mark.parametrize(("text", "line", "nearest", "words"), MISTAKES, ids=[f"{words} {number}" for number, (_, _, _, words) in enumerate(MISTAKES)])
def test_a_mistake_in_a_design_has_its_line_and_says_what_is_possible(tmp_path: Path, text: str, line: int, nearest: str | None, words: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text("scenario = 'lost-ack'\nseeds = '0..1'\n[sweep.design]\n" + text.replace("AXIS", "network.latency = { from = '1ms', to = '5ms' }") + "\n")

    with pytest.raises(ScenarioError) as caught:
        sweep_file(path)

    (problem,) = caught.value.problems
    assert (problem.origin.file, problem.origin.line, problem.nearest) == (str(path), line, nearest)
    assert words in problem.message
    assert problem.given
    assert problem.possible


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ("[sweep]\nnetwork.latency = { from = '1ms', to = '5ms' }\n", "one of a design"),
        ("[[sweep.zip]]\nnetwork.latency = { from = '1ms', to = '5ms' }\n", "is not a list of values"),
        ("[sweep]\ndesign = 'sobol'\n", "is not a table"),
    ],
    ids=["without a design", "in a zip", "no table"],
)
def test_a_range_needs_a_design(tmp_path: Path, axes: str, words: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(f"scenario = 'lost-ack'\nseeds = '0..1'\n{axes}")

    with pytest.raises(ScenarioError) as caught:
        sweep_file(path)

    (problem,) = caught.value.problems
    assert problem.origin.line == 4
    assert words in problem.message


def test_a_mistake_of_python_names_the_nearest() -> None:
    with pytest.raises(ScenarioError) as caught:
        sweep(SCENARIO, seeds=[1], design={"kind": "sobl", "points": 2, LINGER: {"from": 1, "to": 100}})

    assert caught.value.problems[0].nearest == "sobol"
