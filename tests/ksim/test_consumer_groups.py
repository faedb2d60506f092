"""Groups end to end: who reads what, what is read again after a failure, and which commits come too late."""

from __future__ import annotations

from itertools import pairwise

from group_stage import RECORDS, SYNC, commits, member, play, reads, times_read
from ksim_models.consumer_facts import PollFailed


def test_members_divide_the_partitions_and_every_record_is_read_once() -> None:
    run = play(member("r1"), member("r2"))
    last = {name: {fact.partition for at, fact in reads(run, name) if at > 5_000_000} for name in ("r1", "r2")}

    assert last == {"r1": {"payments-0", "payments-1"}, "r2": {"payments-2", "payments-3"}}
    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def test_what_was_not_committed_when_a_member_died_is_read_again_by_another() -> None:
    """At least once: the partitions move when its session is over."""
    run = play(member("r1"), member("r2"), fault='[[fault]]\nat = "4s"\ndo = "crash"\nwho = "r1"\n')
    again = [record for record, times in times_read(run).items() if times > 1]

    assert sorted(times_read(run)) == list(range(RECORDS))
    assert len(again) > 50
    taken_over = min(at for at, fact in reads(run, "r2") if fact.partition == "payments-0" and at > 4_000_000)
    assert 9_000_000 < taken_over < 11_500_000


def test_after_a_synchronous_commit_a_crash_repeats_only_the_poll_at_hand() -> None:
    run = play(member("r1", SYNC + '\nwork = "2ms"'), fault='[[fault]]\nat = "4s"\ndo = "crash"\nwho = "r1"\nfor = "1s"\n')
    again = [record for record, times in times_read(run).items() if times > 1]

    assert sorted(times_read(run)) == list(range(RECORDS))
    assert len(again) < 20


def test_who_commits_before_the_work_loses_what_it_had_not_done() -> None:
    """H-150: an automatic commit tells what poll() returned, not what was done with it. The crash comes behind the commit, in the middle of the work."""
    run = play(
        member("r1", 'config.auto.commit.interval.ms = 100\nconfig.max.poll.records = 10\nwork = "1ms"'),
        fault='[[fault]]\nat = "4s"\ndo = "crash"\nwho = "r1"\nfor = "1s"\n',
    )
    offsets = [dict(fact.offsets) for at, fact in commits(run) if at < 4_000_000 and not fact.error]

    assert offsets
    assert all(fact.base_offset + len(fact.records) >= offsets[-1][fact.partition] for _, fact in reads(run) if fact.base_offset >= offsets[-1][fact.partition])
    assert sorted(times_read(run)) == list(range(RECORDS))


def test_a_member_that_works_longer_than_max_poll_interval_ms_is_put_out_and_cannot_commit() -> None:
    """A zombie: the group has gone on without it."""
    slow = SYNC + '\nconfig.max.poll.interval.ms = 2000\nwork = "100ms"'
    run = play(member("r1", slow), records=60, fault='[tail]\nlimit = "30s"\n')
    failed = [fact.error for _, fact in commits(run, "r1") if fact.error]

    assert "CommitFailedException" in failed
    assert max(times_read(run).values()) > 1


def test_a_frozen_member_finds_its_group_gone_on_without_it() -> None:
    zombie = member("r1", SYNC + '\nwork = "18ms"')
    run = play(zombie, member("r2", SYNC), fault='[[fault]]\nat = "4s"\ndo = "pause"\nwho = "r1"\nfor = "15s"\n')
    late = [fact.error for at, fact in commits(run, "r1") if 19_000_000 <= at < 21_000_000 and fact.error]

    assert late[-1] == "CommitFailedException"  # The one that was under way may have been lost with its connection.
    assert sorted(times_read(run)) == list(range(RECORDS))


def test_a_consumer_that_is_closed_commits_and_leaves_and_the_others_take_over_at_once() -> None:
    run = play(member("r1"), member("r2"), fault='[[fault]]\nat = "4s"\ndo = "shutdown"\nwho = "r1"\n')
    taken_over = min(at for at, fact in reads(run, "r2") if fact.partition == "payments-0" and at > 4_000_000)

    assert taken_over < 5_500_000
    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def test_a_static_member_that_comes_back_within_its_session_disturbs_nobody() -> None:
    """KIP-345."""
    static = member("r1", 'config.group.instance.id = "i1"'), member("r2", 'config.group.instance.id = "i2"')
    run = play(*static, fault='[[fault]]\nat = "4s"\ndo = "crash"\nwho = "r1"\nfor = "1s"\n')
    of_others = [at for at, fact in reads(run, "r2") if 3_000_000 < at < 9_000_000]

    assert max(later - sooner for sooner, later in pairwise(of_others)) < 700_000
    assert {fact.partition for at, fact in reads(run, "r1") if at > 5_000_000} == {"payments-0", "payments-1"}
    assert sorted(times_read(run)) == list(range(RECORDS))


def test_a_group_outlives_its_coordinator() -> None:
    crash = '[[fault]]\nat = "{at}"\ndo = "crash"\nwho = "{who}"\nfor = "5s"\n'
    run = play(member("r1", SYNC), fault=crash.format(at="2s", who="broker-1") + crash.format(at="15s", who="broker-2"))

    assert sorted(times_read(run)) == list(range(RECORDS))
    assert not list(run.history.of(PollFailed))
    assert not [fact for at, fact in commits(run) if at > 30_000_000 and fact.error]


def test_a_session_time_out_that_the_broker_does_not_allow_ends_the_application() -> None:
    run = play(member("r1").replace("= 6000", "= 5000"))

    assert [fact.error for _, fact in run.history.of(PollFailed)] == ["InvalidSessionTimeoutException"]


def test_a_commit_whose_answer_is_lost_is_sent_again() -> None:
    """The offsets are where they should be, whichever of the two was written."""
    lost = '[[fault]]\nat = "3s"\nwhen = { response = "OffsetCommit", from = "r1" }\ndo = "lose-response"\n'
    run = play(member("r1", SYNC), fault=lost)
    outcomes = [(fact.error, fact.offsets) for _, fact in commits(run)]
    place = outcomes.index(next(outcome for outcome in outcomes if outcome[0]))

    assert outcomes[place][0] == "DisconnectException"
    assert outcomes[place + 1] == ("", outcomes[place][1])
    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def test_an_answer_that_the_offsets_are_unstable_makes_a_member_ask_again() -> None:
    """GC-5, whatever the isolation level."""
    answer = '[[fault]]\nwhen = { request = "OffsetFetch", times = 3 }\ndo = "answer"\nerror = "COORDINATOR_LOAD_IN_PROGRESS"\n'
    run = play(member("r1", SYNC), fault=answer)

    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)
    assert not list(run.history.of(PollFailed))
