"""Consumers of librdkafka, end to end: where what they read and commit differs from the Java client's. Sources are librdkafka's own (2.16)."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from group_stage import commits, reads, times_read
from ksim import Run, Scenario, ScenarioError, simulate
from ksim.cli import cli
from ksim_models.consumer_facts import PollFailed

CLUSTER = """
kafka = "4.3"
seed = 7
[model]
costs = "none"
[cluster]
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = 4
[topics.payments]
partitions = 2
[producers.p1]
config.batch.size = 500
"""
MEMBER = """
[consumers.{name}]
client = "{client}"
topics = ["payments"]
config.group.id = "g"
{reset}
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
{more}
"""
LOAD = """
[[workload]]
topic = "payments"
records = {records}
every = "{every}"
"""
EARLIEST = 'config.auto.offset.reset = "earliest"'


def member(more: str = "", *, name: str = "reader", client: str = "librdkafka", reset: str = EARLIEST) -> str:
    return MEMBER.format(name=name, client=client, more=more, reset=reset)


def play(*members: str, fault: str = "", records: int = 300, every: str = "10ms", load: str = "", cluster: str = CLUSTER) -> Run:
    return simulate(Scenario.loads(cluster + "".join(members) + (load or LOAD.format(records=records, every=every)) + fault))


def fault(do: str, who: str, at: str, lasts: str = "") -> str:
    return f'[[fault]]\ndo = "{do}"\nwho = "{who}"\nat = "{at}"\n' + (f'for = "{lasts}"\n' if lasts else "")


# The scenario.


def test_a_whole_client_librdkafka_has_librdkafka_consumers_and_one_may_say_its_own() -> None:
    whole = 'client = "librdkafka"\n' + CLUSTER + MEMBER.replace('client = "{client}"\n', "").format(name="a", more="", reset="")
    plan = Scenario.loads(whole + member(name="b", client="java") + LOAD.format(records=1, every="1ms")).plan()

    assert [(one.name, one.client, one.config.isolation_level) for one in plan.consumers] == [
        ("a", "librdkafka", "read_committed"),
        ("b", "java", "read_uncommitted"),
    ]


def test_a_setting_of_the_other_client_is_refused_with_its_own_name() -> None:
    with pytest.raises(ScenarioError, match=r"the Java client's name: librdkafka's is fetch\.wait\.max\.ms"):
        Scenario.loads(CLUSTER + member("config.fetch.max.wait.ms = 5") + LOAD.format(records=1, every="1ms")).check()


def test_a_consumer_without_a_group_is_refused_where_it_stands() -> None:
    text = CLUSTER + '[consumers.reader]\nclient = "librdkafka"\ntopics = ["payments"]\n' + LOAD.format(records=1, every="1ms")
    with pytest.raises(ScenarioError, match=r"group\.id must be set") as refusal:
        Scenario.loads(text).check()
    (problem,) = refusal.value.problems

    assert problem.origin.line == text.splitlines().index("[consumers.reader]") + 1


def test_ksim_config_shows_the_settings_of_the_client_that_a_consumer_has(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "readers.toml"  # type: ignore[operator]
    path.write_text(CLUSTER + member() + member(name="other", client="java", reset="") + LOAD.format(records=1, every="1ms"))
    shown = CliRunner().invoke(cli, ["config", str(path)]).output
    librdkafka, java = shown[shown.index("consumer reader: librdkafka") :].split("consumer other: Java client")

    assert "queued.min.messages" in librdkafka
    assert "max.poll.records" not in librdkafka.replace("max.poll.records=", "")
    assert "max.poll.records" in java
    assert "enable.auto.offset.store" not in java


# What it reads.


def test_by_default_it_reads_only_what_is_committed() -> None:
    """isolation.level: rdkafka_conf.c's default is read_committed, Java's read_uncommitted."""
    cluster = CLUSTER.replace("config.batch.size = 500", 'config.transactional.id = "t"')
    load = LOAD.format(records=60, every="10ms") + "transaction = { records = 10, abort_every = 2 }\n"
    run = play(member(), member(name="java", client="java").replace('group.id = "g"', 'group.id = "h"'), load=load, cluster=cluster)
    by = {name: {record for _, fact in reads(run, name) for record in fact.records} for name in ("reader", "java")}

    committed = {record for record in range(60) if record // 10 % 2 == 0}
    assert by["reader"] == committed
    assert committed < by["java"]


@pytest.mark.parametrize(("reset", "first"), [("largest", False), ("END", False), ("smallest", True), ("beginning", True)])
def test_where_it_begins_without_a_committed_offset(reset: str, first: bool) -> None:
    """rd_kafka_offset_reset."""
    run = play(member(reset=f'config.auto.offset.reset = "{reset}"'), records=500)

    assert (0 in times_read(run)) is first
    assert 499 in times_read(run)


def test_error_as_a_reset_ends_the_application() -> None:
    """_AUTO_OFFSET_RESET: RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET from rd_kafka_offset_reset, handed over by poll()."""
    run = play(member(reset='config.auto.offset.reset = "error"'), records=100)
    ((_, failed),) = run.history.of(PollFailed)

    assert failed.error == "_AUTO_OFFSET_RESET"
    assert not reads(run)


def test_a_leader_that_dies_costs_no_record_and_repeats_none() -> None:
    run = play(member(), fault=fault("crash", "leader(payments-0)", "1s", "5s"))

    assert set(times_read(run)) == set(range(300))
    assert set(times_read(run).values()) == {1}


# What it commits.


def in_hand_at(run: Run, moment: int) -> int:
    """The record that the application had been given last."""
    return [fact for at, fact in reads(run) if at <= moment][-1].records[-1]


@pytest.mark.parametrize(("more", "again"), [("", 0), ("config.enable.auto.offset.store = false", 1)])
def test_an_offset_that_is_stored_when_its_record_is_handed_over_is_lost_with_a_crash(more: str, again: int) -> None:
    """rd_kafka_fetch_op_app_prepare stores, rd_kafka_cgrp_offset_commit_tmr_cb commits, whatever the application does meanwhile: at most once."""
    slow = f'work = "1s"\nconfig.auto.commit.interval.ms = 100\n{more}'
    run = play(member(slow), records=8, every="100ms", fault=fault("crash", "reader", "4050ms", "1s"))
    record = in_hand_at(run, 4_050_000)

    assert times_read(run)[record] == 1 + again
    assert set(times_read(run)) == set(range(8))


def test_java_commits_what_a_poll_returned_only_with_the_next_poll() -> None:
    """The same crash, and the record in hand comes again (H-150)."""
    run = play(member('work = "1s"\nconfig.auto.commit.interval.ms = 100\nconfig.max.poll.records = 1', client="java"), records=8, every="100ms")
    struck = play(
        member('work = "1s"\nconfig.auto.commit.interval.ms = 100\nconfig.max.poll.records = 1', client="java"),
        records=8,
        every="100ms",
        fault=fault("crash", "reader", "4050ms", "1s"),
    )

    assert set(times_read(run).values()) == {1}
    assert times_read(struck)[in_hand_at(struck, 4_050_000)] == 2


def test_the_timer_commits_only_what_has_come_since() -> None:
    run = play(member("config.auto.commit.interval.ms = 500"), records=100)
    told = [fact.offsets for _, fact in commits(run)]

    assert len(told) == len(set(told))
    assert all(not fact.error for _, fact in commits(run))


def test_poll_hands_over_one_record_so_a_commit_behind_it_is_one_for_each() -> None:
    run = play(member('config.enable.auto.commit = false\ncommit = "sync"'), records=50)

    assert len(commits(run)) == 50
    assert [len(fact.records) for _, fact in reads(run)] == [1] * 50


def test_what_was_stored_is_committed_when_partitions_are_given_up() -> None:
    """rd_kafka_assignment_serve_removals, before it joins again: nothing is read twice by the member that comes later."""
    run = play(
        member("config.auto.commit.interval.ms = 60000"),
        member("config.auto.commit.interval.ms = 60000", name="late"),
        records=500,
        fault=fault("pause", "late", "1ms", "2s"),
    )

    assert {fact.consumer for _, fact in reads(run)} == {"reader", "late"}
    assert set(times_read(run).values()) == {1}
    assert any(at < 4_000_000 for at, fact in commits(run, "reader"))


def test_close_commits_leaves_the_group_and_the_other_goes_on_at_once() -> None:
    """rd_kafka_cgrp_terminate0: revoke, last commit, LeaveGroup."""
    run = play(member(), member(name="other"), records=500, fault=fault("shutdown", "other", "2s"))

    assert set(times_read(run)) == set(range(500))
    assert set(times_read(run).values()) == {1}
    assert any(2_000_000 <= at < 2_100_000 for at, _ in commits(run, "other"))


def test_a_member_that_does_not_poll_in_time_leaves_and_commits_nothing_of_what_it_lost() -> None:
    """rd_kafka_cgrp_max_poll_interval_check_tmr_cb: twice a second, from the last poll() on. Measured with 2.16.0: "not committing assigned offsets:
    assignment lost"."""
    slow = 'work = "20s"\nconfig.max.poll.interval.ms = 7000\nconfig.auto.commit.interval.ms = 60000'
    run = play(member(slow), member(name="other"), records=200)

    assert commits(run, "reader") == []
    assert set(times_read(run)) == set(range(200))
    assert times_read(run)[reads(run, "reader")[0][1].records[0]] == 2


def test_a_commit_of_what_is_lost_is_refused_by_the_library_itself() -> None:
    """rd_kafka_cgrp_offsets_commit: RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST."""
    slow = 'work = "20s"\nconfig.max.poll.interval.ms = 7000\nconfig.enable.auto.commit = false\ncommit = "sync"'
    run = play(member(slow), member(name="other"), records=200)

    assert {fact.error for _, fact in commits(run, "reader")} == {"_ASSIGNMENT_LOST"}
    assert set(times_read(run)) == set(range(200))


def test_a_commit_waits_for_a_coordinator_that_is_gone() -> None:
    """rd_kafka_cgrp_defer_offset_commit: for session.timeout.ms, once."""
    run = play(
        member("config.session.timeout.ms = 45000").replace("config.session.timeout.ms = 6000\n", ""),
        records=800,
        fault=fault("crash", "coordinator(g)", "3s", "2s"),
    )

    assert all(not fact.error for _, fact in commits(run))
    assert set(times_read(run).values()) == {1}
    assert not any(3_100_000 < at < 5_000_000 for at, _ in commits(run))


def test_a_static_member_that_comes_back_has_its_partitions_and_no_rebalance_disturbs_the_other() -> None:
    """KIP-345: close() of a static member sends no LeaveGroup."""
    statically = 'config.group.instance.id = "{name}"'
    members = [member(statically.format(name=name), name=name) for name in ("one", "two")]
    run = play(*members, records=500, fault=fault("shutdown", "two", "2s", "2s"))

    assert set(times_read(run)) == set(range(500))
    assert set(times_read(run).values()) == {1}
    assert len({fact.partition for _, fact in reads(run, "one")}) == 1


def test_java_and_librdkafka_divide_a_group_between_them() -> None:
    """Both know the range assignor (range,roundrobin; RangeAssignor first)."""
    run = play(member(), member(name="java", client="java"), records=500)

    assert {fact.consumer for _, fact in reads(run)} == {"reader", "java"}
    assert set(times_read(run)) == set(range(500))


# Held against the real client: librdkafka 2.16.0 in confluent-kafka 2.16.1, brokers 4.3.0.


def test_a_program_that_is_always_too_slow_goes_round_as_often_as_the_real_one() -> None:
    """Measured: it reads the three records 7, 7 and 13 times. Only when the timer strikes while it is a member is anything committed."""
    slow = 'work = "9s"\nconfig.max.poll.interval.ms = 7000\nconfig.auto.commit.interval.ms = 60000'
    run = play(member(slow), records=3, every="50ms", cluster=CLUSTER.replace("partitions = 2", "partitions = 1"))

    assert times_read(run) == {0: 7, 1: 7, 2: 13}
    assert [(fact.offsets, fact.error) for _, fact in commits(run)] == [((("payments-0", offset),), "") for offset in (1, 2, 3)]


def test_the_record_in_hand_is_lost_as_it_was_to_the_real_one() -> None:
    """Measured: twelve records of 400 ms each, a crash at 2 s, and none is read twice: the one in hand was committed 100 ms before."""
    slow = 'work = "400ms"\nconfig.auto.commit.interval.ms = 100'
    run = play(member(slow), records=12, every="50ms", fault=fault("crash", "reader", "2s", "1s"))

    assert set(times_read(run).values()) == {1}
    assert max(at for at, _ in reads(run) if at < 2_000_000) + 400_000 > 2_000_000, "it was at work when it was struck"
