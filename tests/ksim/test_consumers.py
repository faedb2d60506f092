"""Consumers end to end: what they read of what was written, and what each of their settings and faults changes."""

from __future__ import annotations

import pytest

from ksim import Run, Scenario, ScenarioError, simulate
from ksim_models.consumer_facts import PollFailed, Read

WITH_READER = """
kafka = "4.3"
seed = 7
[topics.payments]
partitions = 2
[consumers.reader]
topics = ["payments"]
config.auto.offset.reset = "earliest"
[[workload]]
topic = "payments"
records = 400
every = "5ms"
"""


def run(text: str, check_every: int | None = None) -> Run:
    return simulate(Scenario.loads(text), check_every=check_every)


def read_by(run: Run, consumer: str = "reader") -> list[int]:
    return [record for _, fact in run.history.of(Read) if fact.consumer == consumer for record in fact.records]


def test_a_consumer_reads_every_record_once_in_the_order_of_each_partition() -> None:
    played = run(WITH_READER)

    facts = [fact for _, fact in played.history.of(Read)]
    assert sorted(read_by(played)) == list(range(400))
    for partition in ("payments-0", "payments-1"):
        offsets = [fact.base_offset + place for fact in facts if fact.partition == partition for place in range(len(fact.records))]
        assert offsets == list(range(len(offsets)))


def test_nothing_is_read_before_it_is_committed() -> None:
    """CV-1: the high watermark, not the log end, is where a consumer stops."""
    played = run(WITH_READER + '[[fault]]\nat = "1s"\ndo = "pause"\nwho = "followers(payments-0)"\nfor = "3s"\n')

    read = [(at, fact) for at, fact in played.history.of(Read) if fact.partition == "payments-0"]
    assert not [at for at, _ in read if 1_100_000 < at < 4_000_000]
    assert sorted(read_by(played)) == list(range(400))


def test_a_consumer_follows_its_partitions_to_another_leader() -> None:
    played = run(WITH_READER + '[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "leader(payments-0)"\nfor = "5s"\n')

    assert sorted(read_by(played)) == list(range(400))
    assert not list(played.history.of(PollFailed))


def test_a_consumer_that_begins_at_the_end_reads_only_what_comes_later() -> None:
    played = run(WITH_READER.replace('"earliest"', '"latest"').replace("[[workload]]", '[[workload]]\nstart = "0s"'))

    read = read_by(played)
    assert read == sorted(read)
    assert set(read) < set(range(400)) or len(read) == 400


def test_without_a_reset_policy_a_consumer_without_offsets_ends() -> None:
    """CV-7."""
    played = run(WITH_READER.replace('"earliest"', '"none"'))

    assert [fact.error for _, fact in played.history.of(PollFailed)] == ["NoOffsetForPartitionException"]
    assert read_by(played) == []


def test_an_application_that_works_on_each_record_polls_no_more_than_it_can() -> None:
    played = run(WITH_READER.replace("[[workload]]", "[[workload]]").replace('topics = ["payments"]', 'topics = ["payments"]\nwork = "10ms"'))

    assert sorted(read_by(played)) == list(range(400))
    assert played.simulated_us >= 4_000_000


def test_a_fetch_whose_answer_is_lost_is_sent_again() -> None:
    played = run(WITH_READER + '[[fault]]\nwhen = { response = "Fetch", from = "reader", nth = 5 }\ndo = "lose-response"\n')

    assert sorted(read_by(played)) == list(range(400))


@pytest.mark.parametrize("error", ["NOT_LEADER_OR_FOLLOWER", "UNKNOWN_LEADER_EPOCH", "KAFKA_STORAGE_ERROR", "UNKNOWN_TOPIC_OR_PARTITION"])
def test_what_a_fetch_may_be_answered_is_met_by_asking_again(error: str) -> None:
    """CV-10."""
    played = run(WITH_READER + f'[[fault]]\nwhen = {{ request = "Fetch", from = "reader", nth = 5 }}\ndo = "answer"\nerror = "{error}"\n')

    assert sorted(read_by(played)) == list(range(400))
    assert not list(played.history.of(PollFailed))


@pytest.mark.parametrize("who", ["reader", "broker-2"])
def test_a_fetch_that_is_told_an_error_in_the_place_of_its_answer_is_sent_again_by_a_consumer_and_by_a_follower(who: str) -> None:
    fault = f'[[fault]]\nwhen = {{ request = "Fetch", from = "{who}", nth = 5 }}\ndo = "answer"\nerror = "NOT_LEADER_OR_FOLLOWER"\nprocessed = true\n'
    played = run(WITH_READER + fault)

    assert sorted(read_by(played)) == list(range(400))
    assert played.verdict.verdict == "held"


UNCLEAN = """
kafka = "4.0"
seed = 7
[topics.payments]
config.unclean.leader.election.enable = true
config.min.insync.replicas = 1
[producers.p1]
config.acks = "1"
config.enable.idempotence = false
[consumers.reader]
topics = ["payments"]
config.auto.offset.reset = "{reset}"
[[workload]]
topic = "payments"
records = 400
every = "10ms"
[[workload]]
topic = "payments"
records = 50
every = "10ms"
start = "25s"
[[fault]]
at = "1s"
do = "crash"
who = ["broker-2", "broker-3"]
for = "15s"
[[fault]]
at = "13s"
do = "crash"
who = "broker-1"
for = "20s"
"""


def test_what_an_unclean_election_took_away_is_noticed_and_read_on_from_there() -> None:
    """CV-8: the position is held against the new leader's log, and goes back to where the two part."""
    played = run(UNCLEAN.format(reset="earliest"))
    read = [(at, fact.base_offset, fact.base_offset + len(fact.records)) for at, fact in played.history.of(Read)]
    before = max(stop for at, _, stop in read if at < 13_000_000)
    behind = [first for at, first, _ in read if at > 25_000_000]

    assert played.verdict.records["lost"] > 0
    assert before > min(behind)
    assert set(range(400, 450)) <= set(read_by(played))
    assert not list(played.history.of(PollFailed))


LATE_READER = WITH_READER.replace('"earliest"', '"{}"') + '[[fault]]\nat = "1ms"\ndo = "crash"\nwho = "reader"\nfor = "1500ms"\n'


@pytest.mark.parametrize(("policy", "oldest"), [("by_duration:PT0.5S", 180), ("by_duration:PT1H", 0), ("latest", 280)])
def test_a_consumer_may_begin_at_what_is_not_older_than_so_long(policy: str, oldest: int) -> None:
    """KIP-1106. It is there at 1.5 s, when 300 of 400 have been sent."""
    read = read_by(run(LATE_READER.format(policy)))

    assert oldest <= min(read) <= oldest + 40
    assert set(range(320, 400)) <= set(read)


def test_where_nothing_is_so_young_a_consumer_asks_again_after_request_timeout_ms_and_may_miss_what_came_meanwhile() -> None:
    """As Java does it: an offset that was not found is no error, and nobody tries it again before."""
    first = LATE_READER.format("by_duration:PT2S").replace('every = "5ms"', 'every = "5ms"\nstart = "2s"')
    later = '[[workload]]\ntopic = "payments"\nrecords = 100\nevery = "5ms"\nstart = "31s"\n'
    played = run(first + later)

    assert min(at for at, _ in played.history.of(Read)) > 31_000_000
    assert len(read_by(played)) == 100


def test_a_consumer_whose_position_fell_out_of_the_log_goes_on_at_once_from_where_its_policy_says() -> None:
    """CV-7: poll() goes round. Without a group nothing else would wake it before metadata.max.age.ms."""
    pause = '[[fault]]\nat = "200ms"\ndo = "pause"\nwho = "reader"\nfor = "1s"\n'
    deleted = '[[fault]]\nat = "1s"\ndo = "delete-records"\npartition = "payments-0"\nbefore = 150\n'
    played = run(WITH_READER.replace("partitions = 2", "partitions = 1") + pause + deleted)

    read = [(at, fact) for at, fact in played.history.of(Read)]
    assert read_by(played)[-250:] == list(range(150, 400))
    assert next(at for at, fact in read if fact.base_offset >= 150) < 1_220_000


def test_a_consumers_setting_may_be_given_on_the_command_line_and_be_an_axis() -> None:
    scenario = Scenario.loads(WITH_READER)
    (changed,) = scenario.override([("reader.auto.offset.reset", "latest")]).plan().consumers

    assert changed.config.auto_offset_reset == "latest"
    assert scenario.at("consumers.reader.config.max.poll.records", 7).plan().consumers[0].config.max_poll_records == 7


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [("redaer.auto.offset.reset", "reader"), ("reader.auto.ofset.reset", "auto.offset.reset")],
)
def test_a_consumers_setting_on_the_command_line_is_checked(setting: str, nearest: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.loads(WITH_READER).override([(setting, "latest")]).plan()

    assert [problem.nearest for problem in caught.value.problems] == [nearest]


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("consumers.raeder.work", "reader"),
        ("consumers.reader.wrk", "work"),
        ("consumers.reader.config.auto.ofset.reset", "auto.offset.reset"),
        ("model.apend", "append"),
        ("alert.0.above", None),
        ("applications.copy.reads", None),
    ],
)
def test_a_path_to_a_reader_a_cost_or_an_alert_that_is_not_there_is_refused(path: str, nearest: str | None) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.loads(WITH_READER).at(path, 1)

    (problem,) = caught.value.problems
    assert "leads nowhere" in problem.message
    assert problem.nearest == nearest
