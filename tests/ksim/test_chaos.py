"""[[chaos]]: faults at random, drawn from the seed; each table counts as one, and what was drawn can be written out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ksim import Run, Scenario, simulate
from ksim.problems import ScenarioError
from ksim.report import report_on
from ksim_models.facts import Ended, Fault, Sent

CALM = """
kafka = "4.3"
seed = 7
[topics.t]
[producers.p1]
config.request.timeout.ms = 2000
config.delivery.timeout.ms = 6000
[[workload]]
topic = "t"
records = 400
every = "50ms"
"""
CRASHES = """
[[chaos]]
do = "crash"
who = "any-broker"
every = { mean = "4s" }
for = { mean = "2s" }
during = ["1s", "21s"]
"""
CUTS = """
[[chaos]]
name = "links"
do = "cut"
between = ["p1", "brokers"]
every = { mean = "3s" }
for = { mean = "500ms" }
during = ["0s", "20s"]
"""


def play(*tables: str, seed: int = 7) -> Run:
    return simulate(Scenario.loads(CALM + "".join(tables)), seed=seed)


def begun(run: Run) -> Iterator[tuple[int, Fault]]:
    return ((at, fact) for at, fact in run.history.of(Fault) if fact.phase == "begin")


def test_strikes_are_drawn_from_the_seed_within_their_time() -> None:
    plans = [Scenario.loads(CALM + CRASHES).plan(seed) for seed in range(50)]
    moments = [[fault.at for fault in plan.faults] for plan in plans]

    assert moments == [[fault.at for fault in Scenario.loads(CALM + CRASHES).plan(seed).faults] for seed in range(50)]
    assert len({tuple(one) for one in moments}) == 50
    assert all(1_000_000 <= at < 21_000_000 for of in moments for at in of if at is not None)


def test_strikes_come_as_often_and_last_as_long_as_their_means_say() -> None:
    """Of a Poisson process: 5 in 20 s at a mean distance of 4 s, whose number spreads like its root; and half of all last less than ln 2 of the mean."""
    plans = [Scenario.loads(CALM + CRASHES).plan(seed) for seed in range(400)]
    lengths = [fault.duration for plan in plans for fault in plan.faults if fault.duration is not None]
    counts = [len(plan.faults) for plan in plans]
    mean = sum(counts) / len(counts)

    assert 4.7 < mean < 5.3
    assert 4.2 < sum((count - mean) ** 2 for count in counts) / len(counts) < 5.8
    assert 1_850_000 < sum(lengths) / len(lengths) < 2_150_000
    assert 0.46 < sum(length < 1_386_294 for length in lengths) / len(lengths) < 0.54


def test_another_table_changes_nothing_of_the_first() -> None:
    alone, beside = (Scenario.loads(CALM + CRASHES + more).plan(7).faults for more in ("", CUTS))

    assert [(fault.at, fault.duration) for fault in alone] == [(fault.at, fault.duration) for fault in beside if fault.do == "crash"]


def test_a_table_counts_as_one_fault_with_all_its_strikes() -> None:
    run = play(CRASHES, CUTS)
    rows = {row["name"]: row for row in report_on(run).data["faults"]}  # type: ignore[attr-defined]
    strikes = [fact.name for _, fact in begun(run)]

    assert sorted(rows) == ["links", "random crash"]
    assert rows["links"]["strikes"] == strikes.count("links") > 1
    assert rows["random crash"]["strikes"] == strikes.count("random crash") > 1
    assert all(row["touched"] for row in rows.values())
    assert sum(fact.phase == "summary" for _, fact in run.history.of(Fault)) == 2


def test_a_strike_that_finds_nobody_is_told_and_makes_nothing_inconclusive_where_another_struck() -> None:
    always_down = CRASHES.replace("any-broker", "broker-1").replace('mean = "2s"', 'mean = "8s"').replace('mean = "4s"', 'mean = "1s"')
    run = play(always_down)
    phases = [fact.phase for _, fact in run.history.of(Fault)]

    assert "not-injected" in phases
    assert "begin" in phases
    assert run.verdict.reasons == ()


def test_a_table_that_never_strikes_makes_the_run_inconclusive() -> None:
    run = play(CRASHES.replace('mean = "4s"', 'mean = "9h"'))

    assert run.verdict.verdict == "inconclusive"
    assert run.verdict.reasons == ("fault random crash: never triggered",)


def test_what_was_drawn_can_be_written_out_and_is_the_same_run() -> None:
    scenario = Scenario.loads(CALM + CRASHES + CUTS + '[[fault]]\nat = "9s"\ndo = "pause"\nwho = "broker-2"\nfor = "1s"\n')
    plain = scenario.plain(11)
    one, other = simulate(scenario, seed=11), simulate(plain)

    assert "chaos" not in plain.data
    assert {str(fault["name"]) for fault in plain.data["fault"] if "name" in fault} >= {"random crash 1", "links 1"}  # type: ignore[attr-defined]
    assert [(at, fact.do, fact.phase, fact.resolved) for at, fact in one.history.of(Fault) if fact.phase != "summary"] == [
        (at, fact.do, fact.phase, fact.resolved) for at, fact in other.history.of(Fault) if fact.phase != "summary"
    ]
    assert list(one.history.of(Sent)) == list(other.history.of(Sent))
    assert one.verdict.records == other.verdict.records


def test_the_run_line_of_the_history_tells_what_was_drawn() -> None:
    run = play(CUTS)
    told = run.history.run["chaos"]
    assert isinstance(told, dict)

    assert [int(str(fault["at"]).removesuffix("us")) for fault in told["links"]] == [at for at, _ in begun(run)]
    assert all(fault["do"] == "cut" and str(fault["for"]).endswith("us") for fault in told["links"])


def test_the_heal_waits_for_the_end_of_during_and_mends_what_has_no_end() -> None:
    without_end = CRASHES.replace('for = { mean = "2s" }\n', "").replace('["1s", "21s"]', '["1s", "40s"]').replace("any-broker", "broker-3")
    run = play(without_end)
    (end,) = [at for at, _ in run.history.of(Ended)]

    assert end >= 40_000_000
    assert [fact.phase for _, fact in run.history.of(Fault)][-2:] == ["end", "summary"]


def test_a_sweep_can_turn_the_knobs_of_chaos() -> None:
    scenario = Scenario.loads(CALM + CUTS)

    assert scenario.at("chaos.links.every", {"mean": "1s"}).plan(7).chaos[0].every == 1_000_000
    assert scenario.at("chaos.0.during", ["0s", "1s"]).plan(7).chaos[0].end == 1_000_000


MISTAKES = [
    (CRASHES.replace('do = "crash"', 'do = "crush"'), "crush"),
    (CRASHES.replace('do = "crash"\n', ""), "do is missing"),
    (CRASHES.replace('who = "any-broker"\n', ""), "crash needs who"),
    (CRASHES.replace("any-broker", "broker-9"), "broker-9"),
    (CRASHES.replace('every = { mean = "4s" }\n', ""), "every is missing"),
    (CRASHES.replace('every = { mean = "4s" }', 'every = "4s"'), "how long is drawn"),
    (CRASHES.replace('every = { mean = "4s" }', "every = { }"), "mean is missing"),
    (CRASHES.replace('every = { mean = "4s" }', 'every = { mean = "0s" }'), "0s"),
    (CRASHES.replace('every = { mean = "4s" }', 'every = { mean = "1ms" }'), "strikes"),
    (CRASHES.replace('for = { mean = "2s" }', 'for = "2s"'), "how long is drawn"),
    (CRASHES.replace('during = ["1s", "21s"]', ""), "during is missing"),
    (CRASHES.replace('["1s", "21s"]', '"1s"'), "two moments"),
    (CRASHES.replace('["1s", "21s"]', '["1s", "1s"]'), "ends before it has begun"),
    (CRASHES.replace('["1s", "21s"]', '["1s", "soon"]'), "soon"),
    (CRASHES + 'at = "2s"\n', "at"),
    (CRASHES.replace('"crash"\nwho = "any-broker"', '"lose-response"'), "probability"),
    (CRASHES.replace('"crash"', '"restart"'), "does not happen at random"),
    (CRASHES.replace('"crash"\nwho = "any-broker"', '"alter"'), "does not happen at random"),
    (CUTS.replace('"cut"', '"reset"'), "reset has no for"),
    (CUTS.replace('do = "cut"', 'do = "cut"\nwho = "p1"'), "cut has no who"),
    (CUTS + CUTS, "another fault has the name"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_what_makes_no_chaos_is_refused_with_what_is_possible(text: str, words: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        Scenario.loads(CALM + text, "bad.toml")
    told = [problem for problem in refused.value.problems if words in problem.message]

    assert told, [problem.message for problem in refused.value.problems]
    assert all(problem.possible and problem.origin.line is not None for problem in told)
