"""What holds for consumers and applications: a spurious wake changes no fact, and what is promised holds wherever they are struck."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ksim.scenario import Scenario
from ksim.simulation import Simulation, simulate
from ksim_models.consumer import Consumer
from ksim_models.consumer_facts import PollFailed, Read
from ksim_models.facts import Ended
from ksim_models.machine import Event
from ksim_models.units import ms
from orders import orders

MEMBER = """
[consumers.{name}]
topics = ["orders"]
config.group.id = "{group}"
config.auto.offset.reset = "earliest"
config.enable.auto.commit = false
work = "{work}us"
{how}
"""
APPLICATION = """
[producers.{name}-writer]
config.transactional.id = "{name}"
[applications.{name}]
reads = "orders"
writes = "payments"
consumer = "{name}-reader"
producer = "{name}-writer"
commit_every = {{ records = {records} }}
"""
MACHINES = ("broker-1", "broker-2", "broker-3", "controller-1", "r1", "r2", "copy-reader", "copy-writer")
MADE_AND_NOT_SENT = '[[fault]]\nat = "211ms"\ndo = "crash"\nwho = "one"\nfor = "1ms"\n'
"""Two of three records that a poll gave were made and wait for the first: the next life makes their numbers of other inputs."""
BETWEEN = 137
"""Microseconds: never in the same instant as something else, for there the order of speaking counts."""


CLASSIC = "config.session.timeout.ms = 6000\nconfig.heartbeat.interval.ms = 1000\n"
STRATEGY = CLASSIC + 'config.partition.assignment.strategy = "org.apache.kafka.clients.consumer.{}"\n'
STICKY, COOPERATIVE = STRATEGY.format("StickyAssignor"), STRATEGY.format("CooperativeStickyAssignor")
CONSUMER = 'config.group.protocol = "consumer"\n'
BY_RANGE = CONSUMER + 'config.group.remote.assignor = "range"\n'
HOW = st.sampled_from(
    [(kafka, how) for kafka in ("3.6", "3.9", "4.0", "4.3") for how in (CLASSIC, STICKY, COOPERATIVE)]
    + [(kafka, how) for kafka in ("4.0", "4.3") for how in (CONSUMER, BY_RANGE)]
)
"""A release, and how the members of its groups come to their partitions: eager, sticky, cooperative, KIP-848."""
SESSIONS = "".join(
    f"config.group.consumer.{which}{what}.ms = {value}\n" for which in ("", "min.") for what, value in (("session.timeout", 6000), ("heartbeat.interval", 1000))
)


def cluster(kafka: str, seed: int) -> str:
    return orders(kafka, seed=seed, records=150, internal=2, cluster=SESSIONS if kafka >= "4" else "")


def application(name: str, records: int, work: int, how: str) -> str:
    return MEMBER.format(name=f"{name}-reader", group="copy", work=work, how=how) + APPLICATION.format(name=name, records=records)


@st.composite
def faults(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    """Crashes and stops of these, each undone."""
    told = ""
    for number in range(draw(st.integers(1, 3))):
        do, who = draw(st.sampled_from(["crash", "pause", "shutdown"])), draw(st.sampled_from(names))
        at, lasts = draw(st.integers(100, 1_800)), draw(st.integers(1, 12_000))
        told += f'[[fault]]\nname = "f{number}"\nat = "{at}ms"\ndo = "{do}"\nwho = "{who}"\nfor = "{lasts}ms"\n'
    return told


def facts_of(simulation: Simulation) -> list[tuple[int, object]]:
    simulation.run()
    return [(at, fact) for at, fact in simulation.history if not isinstance(fact, Ended)]


@settings(deadline=None, max_examples=10)
@given(HOW, st.integers(0, 99), st.lists(st.tuples(st.integers(0, 9_000), st.sampled_from(MACHINES)), min_size=1, max_size=30), faults(("r1", "copy")))
def test_a_spurious_wake_of_a_reader_changes_no_fact(how: tuple[str, str], seed: int, wakes: list[tuple[int, str]], struck: str) -> None:
    members = "".join(MEMBER.format(name=name, group="g", work=500, how=how[1]) for name in ("r1", "r2"))
    plan = Scenario.loads(cluster(how[0], seed) + members + application("copy", 20, 300, how[1]) + struck).plan()
    plain, woken = Simulation(plan), Simulation(plan)
    for at, name in wakes:
        woken.loop.call_at(ms(at) + BETWEEN, lambda name=name: woken.loop.wake(name))  # type: ignore[misc]
    found, expected = facts_of(woken), facts_of(plain)
    end = min(plain.loop.now, woken.loop.now)

    assert [one for one in found if one[0] < end] == [one for one in expected if one[0] < end]


@settings(deadline=None, max_examples=14)
@given(HOW, st.integers(0, 99), st.sampled_from([1, 20, 1000]), st.integers(0, 5_000), faults(("one", "two", "broker-1", "broker-2", "broker-3")))
@example(("4.3", CLASSIC), 40, 1, 0, MADE_AND_NOT_SENT)
def test_with_transactions_every_input_takes_effect_once(how: tuple[str, str], seed: int, records: int, work: int, struck: str) -> None:
    both = application("one", records, work, how[1]) + application("two", 20, 0, how[1])
    run = simulate(Scenario.loads(cluster(how[0], seed) + both + struck))
    (processing,) = run.verdict.processing

    assert (processing.processed_twice, processing.skipped) == (0, 0)
    assert processing.unprocessed == 0 or list(run.history.of(PollFailed))
    assert run.verdict.records["torn"] == run.verdict.records["aborted_read"] == 0


@settings(deadline=None, max_examples=8)
@given(HOW, st.integers(0, 99), st.sampled_from([1, 20, 1000]), st.integers(0, 5_000), faults(("one", "two", "broker-1", "broker-2", "broker-3")))
def test_without_transactions_every_input_takes_effect_at_least_once(how: tuple[str, str], seed: int, records: int, work: int, struck: str) -> None:
    plain = application("one", records, work, how[1]) + application("two", 20, 0, how[1])
    plain = "".join(line for line in plain.splitlines(keepends=True) if "transactional.id" not in line)
    run = simulate(Scenario.loads(cluster(how[0], seed) + plain + struck))
    (processing,) = run.verdict.processing

    assert processing.skipped == 0
    assert processing.unprocessed == 0 or list(run.history.of(PollFailed))


@settings(deadline=None, max_examples=14)
@given(HOW, st.integers(0, 99), st.integers(0, 5_000), faults(("r1", "r2", "broker-1", "broker-2", "broker-3")))
def test_members_that_commit_behind_their_work_read_everything_at_least_once(how: tuple[str, str], seed: int, work: int, struck: str) -> None:
    members = MEMBER.format(name="r1", group="g", work=work, how=how[1]) + MEMBER.format(name="r2", group="g", work=0, how=how[1])
    simulation = Simulation(Scenario.loads(cluster(how[0], seed) + members + struck).plan())
    owners = watch_owners(simulation)
    simulation.run()
    read = {record for _, fact in simulation.history.of(Read) for record in fact.records}

    assert read == set(range(150))
    assert [fact.quiet for _, fact in simulation.history.of(Ended)] == [True]
    assert owners
    assert all(len(of_one) == 1 for of_one in owners.values()), "no partition is owned by two members of one generation"


def watch_owners(simulation: Simulation) -> dict[tuple[str, int], dict[str, None]]:
    """Who has had this partition in this generation of the group, looked at after every event of a consumer."""
    owners: dict[tuple[str, int], dict[str, None]] = {}
    for consumer in simulation.consumers:
        assert isinstance(consumer, Consumer)

        def watched(event: Event, now: int, consumer: Consumer = consumer, handle: Any = consumer.handle) -> Any:
            effects = handle(event, now)
            if consumer.alive and consumer.group is not None:
                for partition in consumer.positions.by_partition:
                    owners.setdefault((partition, consumer.group.metadata_told[1]), {})[consumer.name] = None
            return effects

        consumer.handle = watched  # type: ignore[method-assign]
    return owners
