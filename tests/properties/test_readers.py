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

CLUSTER = """
kafka = "{kafka}"
seed = {seed}
[cluster]
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = 2
config.transaction.state.log.num.partitions = 2
[topics.orders]
partitions = 2
[topics.payments]
[producers.feed]
config.batch.size = 500
[[workload]]
producer = "feed"
topic = "orders"
records = 150
every = "10ms"
"""
MEMBER = """
[consumers.{name}]
topics = ["orders"]
config.group.id = "{group}"
config.auto.offset.reset = "earliest"
config.enable.auto.commit = false
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
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
RELEASES = st.sampled_from(["3.6", "3.9", "4.0", "4.3"])
MACHINES = ("broker-1", "broker-2", "broker-3", "controller-1", "r1", "r2", "copy-reader", "copy-writer")
MADE_AND_NOT_SENT = '[[fault]]\nat = "211ms"\ndo = "crash"\nwho = "one"\nfor = "1ms"\n'
"""Two of three records that a poll gave were made and wait for the first: the next life makes their numbers of other inputs."""
BETWEEN = 137
"""Microseconds: never in the same instant as something else, for there the order of speaking counts."""


CLASSES = "org.apache.kafka.clients.consumer."
HOW = st.sampled_from(["", *(f'config.partition.assignment.strategy = "{CLASSES}{name}"' for name in ("StickyAssignor", "CooperativeStickyAssignor"))])
"""Eager by default, sticky, cooperative."""


def application(name: str, records: int, work: int, how: str = "") -> str:
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


@settings(deadline=None, max_examples=8)
@given(
    RELEASES, st.integers(0, 99), HOW, st.lists(st.tuples(st.integers(0, 9_000), st.sampled_from(MACHINES)), min_size=1, max_size=30), faults(("r1", "copy"))
)
def test_a_spurious_wake_of_a_reader_changes_no_fact(kafka: str, seed: int, how: str, wakes: list[tuple[int, str]], struck: str) -> None:
    members = "".join(MEMBER.format(name=name, group="g", work=500, how=how) for name in ("r1", "r2"))
    plan = Scenario.loads(CLUSTER.format(kafka=kafka, seed=seed) + members + application("copy", 20, 300, how) + struck).plan()
    plain, woken = Simulation(plan), Simulation(plan)
    for at, name in wakes:
        woken.loop.call_at(ms(at) + BETWEEN, lambda name=name: woken.loop.wake(name))  # type: ignore[misc]
    found, expected = facts_of(woken), facts_of(plain)
    end = min(plain.loop.now, woken.loop.now)

    assert [one for one in found if one[0] < end] == [one for one in expected if one[0] < end]


@settings(deadline=None, max_examples=10)
@given(RELEASES, st.integers(0, 99), HOW, st.sampled_from([1, 20, 1000]), st.integers(0, 5_000), faults(("one", "two", "broker-1", "broker-2", "broker-3")))
@example("4.3", 40, "", 1, 0, MADE_AND_NOT_SENT)
def test_with_transactions_every_input_takes_effect_once(kafka: str, seed: int, how: str, records: int, work: int, struck: str) -> None:
    both = application("one", records, work, how) + application("two", 20, 0, how)
    run = simulate(Scenario.loads(CLUSTER.format(kafka=kafka, seed=seed) + both + struck))
    (processing,) = run.verdict.processing

    assert (processing.processed_twice, processing.skipped) == (0, 0)
    assert processing.unprocessed == 0 or list(run.history.of(PollFailed))
    assert run.verdict.records["torn"] == run.verdict.records["aborted_read"] == 0


@settings(deadline=None, max_examples=10)
@given(RELEASES, st.integers(0, 99), HOW, st.integers(0, 5_000), faults(("r1", "r2", "broker-1", "broker-2", "broker-3")))
def test_members_that_commit_behind_their_work_read_everything_at_least_once(kafka: str, seed: int, how: str, work: int, struck: str) -> None:
    members = MEMBER.format(name="r1", group="g", work=work, how=how) + MEMBER.format(name="r2", group="g", work=0, how=how)
    simulation = Simulation(Scenario.loads(CLUSTER.format(kafka=kafka, seed=seed) + members + struck).plan())
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
