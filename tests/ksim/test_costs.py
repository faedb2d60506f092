"""What broker work costs, and machines that are slow: [model], slow-disk, slow-cpu."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ksim.live.world import NOT_HERE
from ksim.problems import ScenarioError
from ksim.report import report_on
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.transcript import story
from ksim_models.facts import Acked, Appended, Became, HighWatermark, Offered, PartitionChanged, Replicated, Sent
from ksim_models.units import Micros, ms, s

HEAD = 'title = "a test"\nkafka = "4.3"\nseed = 7\n'
TOPIC = "[topics.t]\nconfig.min.insync.replicas = 2\n"
PRODUCER = "[producers.p1]\nconfig.linger.ms = 0\n"
WORKLOAD = '[[workload]]\ntopic = "t"\nrecords = 200\nevery = "20ms"\n'
FREE = {"append": 0, "fetch": 0, "flush": 0, "request": 0, "metadata": 0}


def run(faults: str = "", *, topic: str = TOPIC, producer: str = PRODUCER, workload: str = WORKLOAD, **costs: str) -> Run:
    """Only what is named costs anything."""
    model = "".join(f'{name} = "{cost}"\n' for name, cost in {**FREE, **costs}.items())
    return simulate(Scenario.loads(HEAD + topic + producer + workload + f"[model]\n{model}" + faults))


def slow(do: str, who: str, factor: str) -> str:
    return f'[[fault]]\nname = "it"\ndo = "{do}"\nwho = "{who}"\nfactor = {factor}\nat = "1s"\nfor = "2s"\n'


def latencies(found: Run, begin: Micros = 100_000, end: Micros = 10_000_000) -> set[Micros]:
    """Of the records that were offered between the two moments."""
    offered = {number: fact.moment_of(number) for _, fact in found.history.of(Offered) for number in fact.records}
    return {at - offered[number] for at, fact in found.history.of(Acked) for number in fact.records if begin <= offered[number] < end}


USUAL = ms(2)
"""Four times the network: the request, the answer to a follower's fetch, its next fetch, the answer."""


@pytest.mark.parametrize(
    ("costs", "longer"),
    [
        ({}, 0),
        ({"append": "40us"}, 2 * 40),  # By the leader, then by a follower.
        ({"request": "100us"}, 2 * 100),  # Produce, then the fetch that says how far the follower is.
        ({"fetch": "30us"}, 30),
        ({"metadata": "50ms"}, 0),
        ({"flush": "1ms"}, 0),  # Nobody asks for it.
        ({"append": "40us", "request": "100us", "fetch": "30us", "flush": "1ms"}, 310),
    ],
)
def test_each_cost_is_paid_where_kafka_spends_that_time(costs: dict[str, str], longer: Micros) -> None:
    assert latencies(run(**costs)) == {USUAL + longer}


def test_acks_1_waits_for_the_leaders_work_alone() -> None:
    acks_1 = PRODUCER + "config.acks = 1\nconfig.enable.idempotence = false\n"

    assert latencies(run(producer=acks_1, append="40us", request="100us", fetch="30us")) == {ms(1) + 140}


@pytest.mark.parametrize(("every", "longer"), [(1, {2_000}), (2, {0, 2_000})])
def test_flush_messages_makes_every_so_manyth_append_wait_for_the_disk(every: int, longer: set[Micros]) -> None:
    """On the leader, and on the followers too."""
    found = run(topic=f"{TOPIC}config.flush.messages = {every}\n", flush="1ms")

    assert {latency - USUAL for latency in latencies(found)} == longer


def test_batches_of_several_partitions_in_one_request_are_appended_one_after_another() -> None:
    two = 'partition = 0\n[[workload]]\ntopic = "t"\nrecords = 200\nevery = "20ms"\npartition = 1\n'
    acks_1 = PRODUCER + "config.acks = 1\nconfig.enable.idempotence = false\n"
    found = run(topic="[topics.t]\npartitions = 2\nassignment = [[1, 2, 3], [1, 2, 3]]\n", producer=acks_1, workload=WORKLOAD + two, append="100us")

    assert latencies(found) == {ms(1) + 2 * 100}


def test_metadata_is_applied_some_time_after_it_was_committed() -> None:
    crash = '[[fault]]\ndo = "crash"\nwho = "leader(t-0)"\nat = "1s"\n'
    taken: list[Micros] = []
    for cost in ("0s", "50ms"):
        found = run(crash, metadata=cost)
        committed = next(at for at, fact in found.history.of(PartitionChanged) if fact.leader == "broker-2" and at > s(1))
        taken.append(next(at for at, fact in found.history.of(Became) if at > s(1) and fact.broker == "broker-2") - committed)

    assert taken[1] == taken[0] + ms(50)


def test_requests_of_one_connection_are_worked_off_in_order_and_one_at_a_time() -> None:
    """BP-1. Five are under way at once, and each answer comes a piece of work after the other."""
    acks_1 = PRODUCER + "config.acks = 1\nconfig.enable.idempotence = false\nconfig.batch.size = 1\n"
    at_once = '[[workload]]\ntopic = "t"\nrecords = 5\nevery = "0ms"\nstart = "1s"\n'
    found = run(producer=acks_1, workload=at_once, request="10ms")
    appended = [at for at, _ in found.history.of(Appended)]

    assert [after - before for before, after in pairwise(appended)] == [ms(10)] * 4


def test_what_costs_nothing_leaves_no_trace() -> None:
    """Its history is that of a run whose rules answer at once."""
    found = run()

    assert found.history.digest == run(metadata="0us").history.digest
    assert [at for at, _ in found.history.of(Appended)] == [at + 500 for at, _ in found.history.of(Sent)]


def test_a_slow_disk_of_one_follower_holds_up_acks_all_and_loses_nothing() -> None:
    """It stays in the ISR, so each acknowledgement waits for it; the other follower does not wait."""
    found = run(slow("slow-disk", "broker-3", "100"), append="100us")
    before, meanwhile, after = latencies(found, ms(100), ms(900)), latencies(found, ms(1_100), ms(2_900)), latencies(found, ms(3_100))
    copied = {fact.broker: at for at, fact in found.history.of(Replicated) if s(1) < at < ms(2_900)}

    assert before == after == {USUAL + 200}
    assert meanwhile == {USUAL + 100 + 10_000}
    assert copied["broker-2"] < copied["broker-3"]
    assert all(len(fact.isr) == 3 for at, fact in found.history.of(PartitionChanged) if at > 0)
    assert found.verdict.verdict == "held"
    assert found.verdict.records["ok"] == 200


def test_acks_1_does_not_notice_a_follower_whose_disk_is_slow() -> None:
    acks_1 = PRODUCER + "config.acks = 1\nconfig.enable.idempotence = false\n"

    assert latencies(run(slow("slow-disk", "broker-3", "100"), producer=acks_1, append="100us")) == {ms(1) + 100}


def test_a_slow_cpu_makes_every_request_of_its_broker_late() -> None:
    found = run(slow("slow-cpu", "broker-1", "2.5"), request="1ms")

    assert latencies(found, ms(100), ms(900)) == {USUAL + 2_000}
    assert latencies(found, ms(1_100), ms(2_900)) == {USUAL + 5_000}


def test_a_disk_that_is_slow_twice_is_slower_still() -> None:
    both = slow("slow-disk", "broker-3", "10") + slow("slow-disk", "broker-3", "5").replace('"it"', '"more"').replace('for = "2s"', 'for = "1s"')
    found = run(both, append="100us")

    assert latencies(found, ms(1_100), ms(1_900)) == {USUAL + 100 + 5_000}
    assert latencies(found, ms(2_100), ms(2_900)) == {USUAL + 100 + 1_000}
    assert latencies(found, ms(3_100)) == {USUAL + 200}


def touched(found: Run) -> object:
    faults = report_on(found).data["faults"]
    assert isinstance(faults, list)
    return faults[0]["touched"]


@pytest.mark.parametrize(
    ("fault", "costs", "batches"),
    [
        (slow("slow-disk", "broker-3", "10"), {"append": "100us"}, 100),  # 2 s, one batch each 20 ms.
        (slow("slow-disk", "leader(t-0)", "10"), {"append": "100us"}, 101),  # And one that is sent in the instant in which it ends.
        (slow("slow-cpu", "broker-1", "10"), {"request": "100us"}, 101),
        (slow("slow-cpu", "controller", "10"), {"request": "100us"}, 0),  # No batch waits for it.
        (slow("slow-disk", "broker-3", "10"), {"request": "100us"}, 0),  # Its disk has no work that takes time.
        (slow("slow-cpu", "broker-3", "10"), {"append": "100us"}, 0),
    ],
)
def test_a_batch_that_waited_for_the_slow_machine_is_touched(fault: str, costs: dict[str, str], batches: int) -> None:
    found = run(fault, **costs)

    assert touched(found) == batches
    assert (found.verdict.verdict == "inconclusive") == (batches == 0)


def test_the_story_tells_of_a_slow_disk() -> None:
    told = story(run(slow("slow-disk", "broker-3", "10"), append="100us").history)

    assert "the disk of broker-3 gets slower" in told
    assert "the disk of broker-3 is as quick as before" in told


def test_a_live_cluster_is_not_slowed_down() -> None:
    assert {"slow-disk", "slow-cpu"} <= set(NOT_HERE)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (slow("slow-disk", "p1", "2"), "p1 is a producer"),
        (slow("slow-disk", "controller-1", "2"), "controller-1 is a controller"),
        (slow("slow-cpu", "p1", "2"), "p1 is a producer"),
        (slow("slow-cpu", "broker-1", "1"), "factor: 1 is not possible"),
        (slow("slow-cpu", "broker-1", "nan"), "nan and inf are not possible"),
        (slow("slow-cpu", "broker-1", "2").replace("factor = 2\n", ""), "slow-cpu needs factor"),
    ],
)
def test_a_slowness_that_cannot_be_is_refused(fault: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        run(fault)


def test_high_watermarks_wait_for_the_slowest_of_the_isr() -> None:
    found = run(slow("slow-disk", "broker-3", "100"), append="100us")
    moved = [at for at, _ in found.history.of(HighWatermark) if ms(1_100) < at < ms(2_900)]
    copied = {at for at, fact in found.history.of(Replicated) if fact.broker == "broker-3"}

    assert moved
    assert all(at - 500 in copied for at in moved), "with its next fetch"
