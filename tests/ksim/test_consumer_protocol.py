"""Groups of the consumer protocol end to end (KIP-848): what moves, what is read twice, and which commits come too late."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from group_stage import GROUP, LOAD, RECORDS, SYNC, commits, reads, times_read
from ksim import Run, Scenario, ScenarioError, simulate
from ksim_models.consumer_facts import PollFailed

MEMBER = """
[consumers.{name}]
topics = ["payments"]
config.group.id = "g"
config.group.protocol = "consumer"
config.auto.offset.reset = "earliest"
{more}
"""
QUICK = """[cluster]
config.group.consumer.session.timeout.ms = 6000
config.group.consumer.min.session.timeout.ms = 6000
config.group.consumer.heartbeat.interval.ms = 1000
config.group.consumer.min.heartbeat.interval.ms = 1000"""
NEWCOMER = '[[fault]]\nat = "10ms"\ndo = "crash"\nwho = "r3"\nfor = "5s"\n'


def member(name: str, more: str = "") -> str:
    return MEMBER.format(name=name, more=more)


def play(*members: str, fault: str = "", records: int = RECORDS, kafka: str = "4.3") -> Run:
    group = GROUP.replace("[cluster]", QUICK).replace('"4.3"', f'"{kafka}"')
    return simulate(Scenario.loads(group + "".join(members) + LOAD.format(records=records) + fault))


def partitions_of(run: Run, consumer: str, first: int, last: int) -> set[str]:
    return {fact.partition for at, fact in reads(run, consumer) if first < at < last}


def longest_pause(run: Run, consumer: str, first: int, last: int) -> int:
    moments = [at for at, fact in reads(run, consumer) if first < at < last]
    return max(later - sooner for sooner, later in pairwise(moments))


@pytest.mark.parametrize("kafka", ["4.0", "4.3"])
@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_members_divide_the_partitions_and_every_record_is_read_once(kafka: str, assignor: str) -> None:
    more = f'config.group.remote.assignor = "{assignor}"'
    run = play(member("r1", more), member("r2", more), kafka=kafka)
    last = [partitions_of(run, name, 5_000_000, 20_000_000) for name in ("r1", "r2")]

    assert [len(one) for one in last] == [2, 2]
    assert not last[0] & last[1]
    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def test_what_a_member_that_died_had_is_another_members_when_the_brokers_session_is_over() -> None:
    run = play(member("r1"), member("r2"), fault='[[fault]]\nat = "4s"\ndo = "crash"\nwho = "r1"\n')
    had = partitions_of(run, "r1", 2_000_000, 4_000_000)
    taken_over = min(at for at, fact in reads(run, "r2") if fact.partition in had and at > 4_000_000)

    assert 9_000_000 < taken_over < 11_500_000
    assert sorted(times_read(run)) == list(range(RECORDS))


def test_nobody_waits_for_a_slow_member() -> None:
    """r2 is about to lose a partition and polls after five seconds: only that partition waits for it."""
    slow = member("r2", SYNC + '\nconfig.max.poll.records = 1\nwork = "5s"')
    run = play(member("r1", SYNC), slow, member("r3", SYNC), fault=NEWCOMER.replace("5s", "6500ms") + '[tail]\nlimit = "40s"\n', records=1500)

    assert longest_pause(run, "r1", 4_500_000, 14_900_000) < 1_600_000


def test_an_automatic_commit_comes_before_partitions_are_given_up_and_nothing_of_them_is_read_meanwhile() -> None:
    """Unlike a cooperative member of the classic protocol: nothing is read twice."""
    run = play(*(member(name) for name in ("r1", "r2", "r3")), fault=NEWCOMER)

    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)
    assert partitions_of(run, "r3", 6_000_000, 20_000_000)


def test_a_frozen_member_reads_on_until_it_hears_that_it_is_out_and_its_commit_fails() -> None:
    """It has no session of its own. Then it releases everything, and joins again under its own id."""
    zombie = member("r1", SYNC + '\nwork = "18ms"')
    run = play(zombie, member("r2", SYNC), fault='[[fault]]\nat = "4s"\ndo = "pause"\nwho = "r1"\nfor = "15s"\n', records=2500)
    late = [fact.error for at, fact in commits(run, "r1") if 19_000_000 <= at < 21_000_000 and fact.error]

    assert late[-1] == "CommitFailedException"
    assert sorted(times_read(run)) == list(range(2500))
    assert len(partitions_of(run, "r1", 22_000_000, 25_000_000)) == len(partitions_of(run, "r2", 22_000_000, 25_000_000)) == 2


@pytest.mark.parametrize(("others", "fails"), [((member("r2", SYNC),), True), ((), False)])
def test_a_member_that_works_longer_than_max_poll_interval_ms_leaves_and_may_not_commit_where_others_are_left(others: tuple[str, ...], fails: bool) -> None:
    """Out of the group it commits as one who belongs to none: an empty group takes that (GC-10)."""
    run = play(member("r1", SYNC + '\nconfig.max.poll.interval.ms = 2000\nwork = "300ms"'), *others, records=400, fault='[tail]\nlimit = "40s"\n')
    outcomes = [fact.error for _, fact in commits(run, "r1")]

    assert ("CommitFailedException" in outcomes) is fails
    assert (max(times_read(run).values()) > 1) is fails


def test_a_group_outlives_its_coordinator() -> None:
    crash = '[[fault]]\nat = "{at}"\ndo = "crash"\nwho = "{who}"\nfor = "5s"\n'
    run = play(member("r1", SYNC), member("r2", SYNC), fault=crash.format(at="2s", who="broker-1") + crash.format(at="15s", who="broker-2"), records=2000)

    assert sorted(times_read(run)) == list(range(2000))
    assert not list(run.history.of(PollFailed))


def test_a_static_member_that_is_closed_disturbs_nobody_while_it_is_away() -> None:
    static = member("r1", 'config.group.instance.id = "i1"'), member("r2", 'config.group.instance.id = "i2"')
    run = play(*static, fault='[[fault]]\nat = "4s"\ndo = "shutdown"\nwho = "r1"\nfor = "1s"\n')
    had = partitions_of(run, "r1", 2_000_000, 4_000_000)

    assert partitions_of(run, "r1", 5_500_000, 20_000_000) == had
    assert not partitions_of(run, "r2", 3_000_000, 20_000_000) & had
    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def test_a_static_member_that_crashed_cannot_come_back_before_its_session_is_over() -> None:
    """UNRELEASED_INSTANCE_ID ends it. With the classic protocol it would just go on."""
    static = member("r1", 'config.group.instance.id = "i1"')
    run = play(static, member("r2"), fault='[[fault]]\nat = "4s"\ndo = "crash"\nwho = "r1"\nfor = "1s"\n')

    assert [(fact.consumer, fact.error) for _, fact in run.history.of(PollFailed)] == [("r1", "UnreleasedInstanceIdException")]
    assert sorted(times_read(run)) == list(range(RECORDS))


def test_a_beat_whose_answer_is_lost_is_repeated_in_full() -> None:
    lost = '[[fault]]\nwhen = { response = "ConsumerGroupHeartbeat", from = "r1", nth = 2 }\ndo = "lose-response"\n'
    run = play(member("r1", SYNC), member("r2", SYNC), fault=lost)

    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def test_a_member_that_is_told_that_it_is_fenced_releases_everything_and_joins_again() -> None:
    answer = '[[fault]]\nat = "3s"\nwhen = {{ request = "ConsumerGroupHeartbeat", from = "r1" }}\ndo = "answer"\nerror = "{}"\n'
    run = play(member("r1", SYNC), member("r2", SYNC), fault=answer.format("FENCED_MEMBER_EPOCH"))

    assert partitions_of(run, "r1", 5_500_000, 20_000_000)
    assert sorted(times_read(run)) == list(range(RECORDS))
    assert not list(run.history.of(PollFailed))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((member("r1"), member("r2").replace('config.group.protocol = "consumer"\n', "")), "being migrated is not simulated"),
        ((member("r1"), member("r2").replace('["payments"]', '["payments", "others"]')), "uniform assignor is simulated for equal topics only"),
        ((member("r1", "config.session.timeout.ms = 6000"),), "session.timeout.ms cannot be set when group.protocol=CONSUMER"),
    ],
)
def test_what_is_not_simulated_or_not_possible_is_refused(members: tuple[str, ...], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        Scenario.loads(GROUP + "[topics.others]\n" + "".join(members) + LOAD.format(records=10))


def test_members_with_different_topics_go_by_range() -> None:
    by_range = 'config.group.remote.assignor = "range"'
    both = member("r1", by_range), member("r2", by_range).replace('["payments"]', '["payments", "others"]')
    run = play(*both, fault='[topics.others]\n[[workload]]\ntopic = "others"\nrecords = 50\nevery = "10ms"\n')

    assert {fact.partition for _, fact in reads(run, "r1")} <= {f"payments-{number}" for number in range(4)}
    assert "others-0" in {fact.partition for _, fact in reads(run, "r2")}


SCENARIOS = Path(__file__).parents[2] / "experiments" / "agreement" / "scenarios"


def without_a_place(release: str, name: str) -> tuple[list[int], Run]:
    """A member died with its offsets sent: until its transaction is over nobody is told where to read on (KIP-447)."""
    scenario = Scenario.load(str(SCENARIOS / f"{name}.toml")).at("kafka", {"brokers": "4.3", "clients": release})
    run = simulate(scenario)
    return [at for at, fact in reads(run, "reader-1") if 20_000_000 < at < 23_000_000], run


def test_a_partition_whose_offsets_are_pending_keeps_the_others_from_being_read() -> None:
    """Measured on 4.3.0: what came 8 s later to the partition that the survivor had all along was read with the other one."""
    before, run = without_a_place("4.1", "t-protocol-unstable")
    since, again = without_a_place("4.2", "t-protocol-unstable")

    assert len(before) > 50
    assert not since
    assert [(one.processed_once, one.unprocessed) for each in (run, again) for one in each.verdict.processing] == [(1400, 0)] * 2


def test_poll_throws_when_the_offsets_are_pending_for_longer_than_a_call_may_last() -> None:
    """Measured on 4.3.0: 60 s after the partition came."""
    _, before = without_a_place("4.1", "t-protocol-unstable-throws")
    _, since = without_a_place("4.2", "t-protocol-unstable-throws")
    (thrown,) = [(at, fact) for at, fact in since.history.of(PollFailed)]

    assert not list(before.history.of(PollFailed))
    assert before.verdict.processing[0].unprocessed == 0
    assert (thrown[1].consumer, thrown[1].error, thrown[1].message) == (
        "reader-1", "TimeoutException", "org.apache.kafka.common.errors.UnstableOffsetCommitException",
    )  # fmt: skip
    assert 70_000_000 < thrown[0] < 73_000_000
    assert since.verdict.processing[0].unprocessed > 300
