"""What holds for consumers of librdkafka: a spurious wake changes no fact; what is committed behind the work is read at least once;
and where offsets are stored before it, the record in hand is all that a crash may take."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import Simulation, simulate
from ksim_models.consumer_facts import CommittedOffset, Read
from ksim_models.facts import Ended
from ksim_models.units import ms

RECORDS = 150
CLUSTER = """
kafka = "{kafka}"
seed = {seed}
[model]
costs = "none"
[cluster]
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = 2
[topics.orders]
partitions = 2
[producers.feed]
config.batch.size = 500
[[workload]]
topic = "orders"
records = 150
every = "10ms"
"""
MEMBER = """
[consumers.{name}]
client = "librdkafka"
topics = ["orders"]
config.group.id = "g"
config.auto.offset.reset = "earliest"
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
config.auto.commit.interval.ms = 300
config.fetch.wait.max.ms = 100
work = "{work}us"
{more}
"""
STORED_BEHIND = "config.enable.auto.offset.store = false"
"""The application stores an offset when it has done with its record; the timer commits what is stored."""
COMMITTED_BEHIND = 'config.enable.auto.commit = false\ncommit = "{how}"'
BEHIND = (STORED_BEHIND, COMMITTED_BEHIND.format(how="sync"), COMMITTED_BEHIND.format(how="async"))
RELEASES = st.sampled_from(["3.9", "4.3"])
MACHINES = ("broker-1", "broker-2", "broker-3", "controller-1", "r1", "r2")
BETWEEN = 137
"""Microseconds: never in the same instant as something else, for there the order of speaking counts."""
Strike = tuple[str, str, int, int]
"""What, whom, when, for how long (ms)."""


def strikes(what: tuple[str, ...], whom: tuple[str, ...]) -> st.SearchStrategy[list[Strike]]:
    return st.lists(st.tuples(st.sampled_from(what), st.sampled_from(whom), st.integers(100, 2_500), st.integers(1, 12_000)), min_size=1, max_size=3)


def told(struck: list[Strike]) -> str:
    faults = [
        f'[[fault]]\nname = "f{number}"\ndo = "{do}"\nwho = "{who}"\nat = "{at}ms"\nfor = "{lasts}ms"\n' for number, (do, who, at, lasts) in enumerate(struck)
    ]
    return "".join(faults)


def two(kafka: str, seed: int, work: int, more: str, struck: list[Strike]) -> Scenario:
    members = MEMBER.format(name="r1", work=work, more=more) + MEMBER.format(name="r2", work=work // 2, more=more)
    return Scenario.loads(CLUSTER.format(kafka=kafka, seed=seed) + members + told(struck))


@settings(deadline=None, max_examples=8)
@given(
    RELEASES,
    st.integers(0, 99),
    st.sampled_from(["", *BEHIND]),
    st.lists(st.tuples(st.integers(0, 9_000), st.sampled_from(MACHINES)), min_size=1, max_size=30),
    strikes(("crash", "pause", "shutdown"), ("r1", "broker-1", "broker-2")),
)
def test_a_spurious_wake_changes_no_fact(kafka: str, seed: int, more: str, wakes: list[tuple[int, str]], struck: list[Strike]) -> None:
    plan = two(kafka, seed, 700, more, struck).plan()
    plain, woken = Simulation(plan), Simulation(plan)
    for at, name in wakes:
        woken.loop.call_at(ms(at) + BETWEEN, lambda name=name: woken.loop.wake(name))  # type: ignore[misc]
    plain.run()
    woken.run()
    end = min(plain.loop.now, woken.loop.now)
    expected, found = ([one for one in run.history if one[0] < end and not isinstance(one[1], Ended)] for run in (plain, woken))

    assert found == expected


@settings(deadline=None, max_examples=12)
@given(
    RELEASES,
    st.integers(0, 99),
    st.integers(0, 5_000),
    st.sampled_from(["", *BEHIND]),
    strikes(("crash", "pause", "shutdown"), ("r1", "r2", "broker-1", "broker-2", "broker-3")),
)
def test_no_record_is_committed_before_it_was_handed_to_an_application(kafka: str, seed: int, work: int, more: str, struck: list[Strike]) -> None:
    run = simulate(two(kafka, seed, work, more, struck))
    handed: dict[str, set[int]] = {}
    for _, fact in run.history:
        match fact:
            case Read():
                handed.setdefault(fact.partition, set()).update(range(fact.base_offset, fact.base_offset + len(fact.records)))
            case CommittedOffset():
                for partition, offset in fact.offsets:
                    assert set(range(offset)) <= handed.get(partition, set())
            case _:
                pass

    assert {record for _, fact in run.history.of(Read) for record in fact.records} == set(range(RECORDS))


def dealt_with(run_of: Scenario, works: dict[str, int], struck: list[Strike]) -> tuple[set[int], set[int]]:
    """Records that somebody has done with, and those that were in hand when its process crashed."""
    done: set[int] = set()
    in_hand: set[int] = set()
    crashes = [(who, ms(at)) for _, who, at, _ in struck]
    for at, fact in simulate(run_of).history.of(Read):
        within = any(who == fact.consumer and at <= moment < at + works[fact.consumer] for who, moment in crashes)
        (in_hand if within else done).update(fact.records)
    return done, in_hand


@settings(deadline=None, max_examples=10)
@given(RELEASES, st.integers(0, 99), st.integers(1_000, 90_000), st.sampled_from(BEHIND), strikes(("crash",), ("r1", "r2")))
def test_what_is_stored_or_committed_behind_the_work_is_done_at_least_once(kafka: str, seed: int, work: int, more: str, struck: list[Strike]) -> None:
    done, _ = dealt_with(two(kafka, seed, work, more, struck), {"r1": work, "r2": work // 2}, struck)

    assert done == set(range(RECORDS))


@settings(deadline=None, max_examples=10)
@given(RELEASES, st.integers(0, 99), st.integers(1_000, 90_000), strikes(("crash",), ("r1", "r2")))
def test_with_offsets_stored_at_once_a_crash_takes_no_more_than_the_record_in_hand(kafka: str, seed: int, work: int, struck: list[Strike]) -> None:
    done, in_hand = dealt_with(two(kafka, seed, work, "", struck), {"r1": work, "r2": work // 2}, struck)

    assert set(range(RECORDS)) - done <= in_hand
    assert len(in_hand) <= len(struck)
