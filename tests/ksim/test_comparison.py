"""Two runs side by side: where they agree, where they differ, and when nothing can be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ksim import Comparison, Run, Scenario, compare, simulate
from ksim.comparison import not_simulated
from ksim.comparison_leeway import MORE_SEEDS, NOISE, neighbours, noise, slowness
from ksim.history import History
from ksim_models.facts import Acked, Failed, Fault, FinalLog, LoggedBatch
from ksim_models.units import ms

PLAIN = """
format = 1
title = "Side by side"
kafka = "4.3"
seed = 3
[topics.t]
config.min.insync.replicas = 2
[producers.p1]
config.enable.idempotence = false
[[workload]]
topic = "t"
records = 40
every = "10ms"
"""
LOST = '[[fault]]\nwhen = { request = "Produce", nth = 3 }\ndo = "lose-response"\n'
CRASH = '[[fault]]\nname = "dies"\nat = "380ms"\ndo = "crash"\nwho = "leader(t-0)"\nfor = "12s"\n'


def run(text: str = PLAIN + LOST, seed: int | None = None) -> Run:
    return simulate(Scenario.loads(text), seed=seed)


def mutated(base: Run, change: Callable[[object], list[object]]) -> Run:
    """As if a cluster had told it so."""
    history = History(base.history.run | {"how": "live"})
    for at, fact in base.history:
        for other in change(fact):
            history.add(at, other)
    return Run(base.plan, history, 0, base.simulated_us, 1000.0)


def in_leaders_log(change: Callable[[tuple[LoggedBatch, ...]], tuple[LoggedBatch, ...]]) -> Callable[[object], list[object]]:
    return lambda fact: [replace(fact, batches=change(fact.batches))] if isinstance(fact, FinalLog) and fact.leader else [fact]


def first_copies(batches: tuple[LoggedBatch, ...]) -> tuple[LoggedBatch, ...]:
    return tuple(batch for place, batch in enumerate(batches) if batch.records not in [other.records for other in batches[:place]])


def row(found: Comparison, what: str) -> str:
    return next(row.agreement for row in found.rows if row.what == what)


def test_a_run_agrees_with_itself() -> None:
    found = compare(run(), run())

    assert found.agreement == "agree"
    assert found.exit_code == 0
    assert found.partings == ()


def test_a_run_under_another_seed_is_within_what_may_be() -> None:
    assert compare(run(PLAIN + CRASH), run(PLAIN + CRASH, seed=11)).agreement == "agree"


def test_where_three_seeds_differ_nine_more_are_looked_at() -> None:
    """In which phase of its heartbeats a broker dies is a race: what a few seeds show is not all that may be."""
    base, twin = run(PLAIN), mutated(run(PLAIN), in_leaders_log(lambda batches: batches[:-1]))

    few, many = compare(base, run(PLAIN)), compare(base, twin)

    assert (few.agreement, many.agreement) == ("agree", "differ")
    assert many.runs[0] == 4 * few.runs[0]
    assert [one.plan.seed for one in [*neighbours(base), *neighbours(base, seeds=MORE_SEEDS)]] == list(range(3, 15))


def test_a_process_is_struck_at_a_step_of_its_transaction_a_little_late_too() -> None:
    """Its library goes on meanwhile: frozen half a millisecond late it has asked for its partition, and is told to ask again, too late for its records."""
    scenario = Path(__file__).parents[2] / "experiments" / "agreement" / "scenarios" / "t-copy-zombie.toml"
    base = simulate(Scenario.load(str(scenario)).override([], client="librdkafka"))
    found = neighbours(base, seeds=range(1))

    assert [(one.plan.late, one.verdict.records["acked"], one.verdict.records["failed"]) for one in found] == [(0, 3020, 0), (500, 3000, 20), (2000, 3020, 0)]
    assert {one.verdict.records["ok"] for one in found} == {3000}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (in_leaders_log(lambda batches: batches[:-1]), "lost"),
        (in_leaders_log(lambda batches: (batches[0], *batches)), "duplicated"),
        (in_leaders_log(lambda batches: (batches[-1], *batches[:-1])), "reordered"),
        (lambda fact: [Failed(fact.producer, fact.partition, fact.records, "TimeoutException", "")] if isinstance(fact, Acked) else [fact], "acked"),
    ],
)
def test_a_planted_difference_is_found_and_told_with_both_stories(change: Callable[[object], list[object]], what: str) -> None:
    base = run(PLAIN + '[[fault]]\nwhen = { request = "Produce", nth = 3 }\ndo = "delay"\nby = "1ms"\n')
    found = compare(base, mutated(base, change))

    assert found.agreement == "differ"
    assert found.exit_code == 1
    assert row(found, what) == "differ"
    parting = next(parting for parting in found.partings if parting.name == what)
    assert parting.simulated.startswith("record ")
    assert parting.live.startswith("record ")
    assert f"{what}: they part at record {parting.record}" in str(found)


def test_a_fault_that_was_not_injected_makes_it_not_comparable() -> None:
    base = run(PLAIN + CRASH)
    not_there = mutated(base, lambda fact: [Fault("dies", "crash", "not-injected", (), 0, "no hooks")] if isinstance(fact, Fault) else [fact])
    found = compare(base, not_there)

    assert found.agreement == "not comparable"
    assert found.exit_code == 4
    assert found.reasons == ("fault dies was not injected on the cluster: no hooks",)


def test_a_log_that_could_not_be_read_makes_it_not_comparable() -> None:
    base = run()
    unread = mutated(base, lambda fact: [replace(fact, readable=False)] if isinstance(fact, FinalLog) else [fact])

    assert compare(base, unread).reasons == ("the final log of t-0 could not be read",)


def test_what_is_not_simulated_is_not_comparable() -> None:
    found = not_simulated([run()], "nobody knows how")

    assert found.exit_code == 4
    assert "not comparable: nobody knows how" in str(found)


def test_of_several_live_runs_one_that_shows_the_simulated_outcome_makes_it_a_race() -> None:
    base = run()
    clean = mutated(base, in_leaders_log(first_copies))
    once, twice = compare(base, clean), compare(base, [clean, base])

    assert row(once, "duplicated") == "differ"
    assert row(twice, "duplicated") == "agree"


def test_whether_a_crash_hit_any_record_at_all_may_be_a_race_but_what_one_exact_frame_did_is_not() -> None:
    """Of records offered every 10 ms, five are offered while the machine's noise lasts."""
    one_less = in_leaders_log(lambda batches: batches[:-1])
    crashed, hit = run(PLAIN + CRASH), run()

    assert row(compare(crashed, mutated(crashed, one_less)), "lost") == "agree"
    assert row(compare(hit, mutated(hit, one_less)), "lost") == "differ"


def test_a_cluster_that_was_far_behind_says_nothing_about_how_many_records_a_crash_should_have_hit() -> None:
    """Its followers were hundreds of milliseconds behind, so hundreds of records more were lost: neither agreement nor difference."""
    fast = PLAIN.replace("records = 40", "records = 600").replace('every = "10ms"', 'every = "1ms"') + CRASH
    fast = fast.replace("[producers.p1]", "[producers.p1]\nconfig.acks = 1")
    far = "".join(f'{{ from = "broker-1", to = "broker-{follower}", latency = "400ms" }},' for follower in (2, 3))
    found = compare([run(fast)], run(f"{fast}[network]\nlinks = [{far}]\n"))

    assert row(found, "lost") == "not comparable"
    assert "too slow for this workload" in str(found)
    assert row(compare([run(fast)], run(fast)), "lost") == "agree"


def test_the_latency_of_the_cluster_is_measured_before_anything_strikes_and_becomes_part_of_what_may_be() -> None:
    slow = PLAIN + CRASH + '[network]\nlatency = "20500us"\n'
    base, twin = run(PLAIN + CRASH), run(slow)

    quickest, usual = slowness(base, [twin])

    assert ms(19) <= quickest <= ms(21) < usual
    assert len(neighbours(base, [quickest, usual])) == 3 * len(neighbours(base))


def test_how_far_a_cluster_was_behind_is_the_age_of_the_oldest_record_that_not_every_replica_had() -> None:
    struck = PLAIN.replace("records = 40", "records = 100") + '[[fault]]\nname = "dies"\nat = "900ms"\ndo = "pause"\nwho = "broker-1"\nfor = "1s"\n'
    far = '[network]\nlinks = [{ from = "broker-1", to = "broker-2", latency = "80ms" }]\n'

    assert noise([run(struck)]) == NOISE
    assert ms(80) <= noise([run(struck), run(struck + far)]) <= ms(500)


def test_the_data_for_programs_says_the_same_as_the_table() -> None:
    found = compare(run(), run())
    data = found.as_data()

    assert data["agreement"] == found.agreement
    assert [entry["what"] for entry in data["guarantees"]] == [row.what for row in found.guarantees]  # type: ignore[attr-defined]
