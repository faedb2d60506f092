"""A run as Python shows it, and what the functions of the Python interface take in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ksim import Live, LiveError, Run, Scenario, compare, explain, judge, simulate, sweep

TABLES: dict[str, Any] = {
    "title": "a <test>",
    "kafka": "4.3",
    "topics": {"t": {}},
    "producers": {"p1": {"config": {"enable.idempotence": False}}},
    "workload": [{"topic": "t", "records": 5, "every": "5ms"}],
    "fault": [{"do": "lose-response", "when": {"request": "Produce", "from_": "p1"}}],
}
FILE = """title = "a <test>"
kafka = "4.3"
[topics.t]
[producers.p1]
config.enable.idempotence = false
[[workload]]
topic = "t"
records = 5
every = "5ms"
[[fault]]
do = "lose-response"
when = { request = "Produce", from = "p1" }
"""
WRONG: Any = 3


def run() -> Run:
    return simulate(TABLES, seed=7)


def test_a_run_says_what_it_was_and_what_the_verdict_is() -> None:
    assert repr(run()) == "<Run: a <test> (Kafka 4.3, client java, seed 7, simulated), violated>"


def test_a_notebook_shows_what_became_of_the_records() -> None:
    shown = run()._repr_html_()

    assert "a &lt;test&gt;" in shown
    assert "<td>offered</td><td>5</td>" in shown
    assert "<td>duplicated</td><td>3</td><td>enable.idempotence=false</td><td>record 0</td>" in shown
    assert "<td>hidden</td>" not in shown, "what is nothing and no headline is left out"
    assert run().history.digest in shown


def test_a_scenario_may_be_an_object_a_dict_a_name_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text(FILE)
    digests = {simulate(given, seed=7).history.digest for given in (Scenario(**TABLES), TABLES, path, str(path))}

    assert len(digests) == 1
    assert simulate("lost-ack").plan.title == Scenario.load("lost-ack").data["title"]
    assert str(explain({**TABLES, "seed": 7})) == str(explain(run()))
    assert len(sweep(TABLES, seeds=[7])) == 1


def test_judge_takes_the_path_of_a_history(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    run().history.write(path)

    assert judge(path) == judge(str(path)) == judge(run().history)
    assert json.loads(path.read_text().splitlines()[0])["seed"] == 7


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: simulate(WRONG), "int is no scenario"),
        (lambda: explain(WRONG), "int is no scenario"),
        (lambda: sweep(WRONG, seeds=[1]), "int is no scenario"),
        (lambda: judge(WRONG), "int is no history"),
        (lambda: compare(run(), WRONG), "compare() takes runs"),
        (lambda: compare([], run()), "compare() takes runs"),
    ],
    ids=["simulate", "explain", "sweep", "judge", "compare", "compare nothing"],
)
def test_what_is_no_scenario_history_or_run_is_refused_by_what_it_is(call: Callable[[], object], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()

    assert words in str(caught.value)


def test_a_cluster_that_is_no_text_is_refused_as_one_that_is_nonsense() -> None:
    with pytest.raises(LiveError, match="Possible: HOST:PORT"):
        Live(WRONG)
