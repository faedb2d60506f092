"""Groups by assignor: what a rebalance costs its members, what is read twice for it, and who has what at any moment."""

from __future__ import annotations

from itertools import pairwise

import pytest

from group_stage import RECORDS, SYNC, member, play, reads, times_read
from ksim import Run
from ksim_models.consumer_facts import PollFailed
from ksim_models.consumer_keys import COOPERATIVE_ASSIGNOR, RANGE_ASSIGNOR, STICKY_ASSIGNOR

SLOW = 'config.max.poll.records = 1\nwork = "5s"'
"""A member that joins again late: whoever joins a group waits for it."""
NEWCOMER = '[[fault]]\nat = "10ms"\ndo = "crash"\nwho = "r3"\nfor = "5s"\n'
LATE = NEWCOMER.replace("5s", "6500ms")


def by(assignor: str, more: str = "") -> str:
    return f'config.partition.assignment.strategy = "{assignor}"\n{more}'


def longest_pause(run: Run, consumer: str, first: int, last: int) -> int:
    moments = [at for at, fact in reads(run, consumer) if first < at < last]
    return max(later - sooner for sooner, later in pairwise(moments))


def partitions_of(run: Run, consumer: str, first: int, last: int) -> set[str]:
    return {fact.partition for at, fact in reads(run, consumer) if first < at < last}


@pytest.mark.parametrize(("assignor", "stops"), [(COOPERATIVE_ASSIGNOR, False), (RANGE_ASSIGNOR, True), (STICKY_ASSIGNOR, True)])
def test_only_a_cooperative_member_reads_on_while_the_group_waits_for_others(assignor: str, stops: bool) -> None:
    """KIP-429. r3 comes at 6.5 s; r2 hears of that when it has done with its record."""
    members = member("r1", by(assignor, SYNC)), member("r2", by(assignor, SYNC + "\n" + SLOW)), member("r3", by(assignor, SYNC))
    run = play(*members, records=1500, fault=LATE + '[tail]\nlimit = "40s"\n')

    assert (longest_pause(run, "r1", 4_500_000, 14_900_000) > 1_600_000) is stops


@pytest.mark.parametrize("assignor", [COOPERATIVE_ASSIGNOR, STICKY_ASSIGNOR])
def test_a_sticky_group_moves_no_more_than_it_must(assignor: str) -> None:
    """r1 and r2 keep what they had when r3 comes and goes; with ranges everything would be dealt anew."""
    members = [member(name, by(assignor)) for name in ("r1", "r2", "r3")]
    run = play(*members, fault=NEWCOMER)
    before, after = [[partitions_of(run, name, *span) for name in ("r1", "r2")] for span in ((3_000_000, 5_000_000), (9_000_000, 10_000_000))]

    assert all(later <= sooner for sooner, later in zip(before, after, strict=True))
    assert sorted(times_read(run)) == list(range(RECORDS))


def test_what_a_cooperative_member_read_while_it_joined_of_a_partition_that_it_loses_is_read_again() -> None:
    """Its automatic commit comes before it joins; a commit in the midst of a rebalance is refused. An eager member reads nothing meanwhile."""
    cooperative, eager = [
        play(
            member("r1", by(one)),
            member("r2", by(one, SLOW)),
            member("r3", by(one)),
            member("r4", by(one)),
            records=1500,
            fault=LATE + LATE.replace("r3", "r4") + '[tail]\nlimit = "40s"\n',
        )
        for one in (COOPERATIVE_ASSIGNOR, RANGE_ASSIGNOR)
    ]
    again = [sum(times > 1 for record, times in times_read(run).items()) for run in (cooperative, eager)]

    assert again[0] > again[1] == 0


def test_the_default_list_is_eager() -> None:
    """Since 3.0: range and cooperative. A group changes over when all its members have the second alone."""
    plain, both, range_only = [play(member("r1", more), member("r2", more), fault=NEWCOMER.replace("r3", "r2")) for more in ("", *map(by, LISTS))]

    assert plain.history.digest == both.history.digest
    assert plain.verdict.records == range_only.verdict.records
    assert partitions_of(plain, "r1", 7_000_000, 10_000_000) == {"payments-0", "payments-1"}


LISTS = (f"{RANGE_ASSIGNOR},{COOPERATIVE_ASSIGNOR}", RANGE_ASSIGNOR)


def test_a_cooperative_member_that_the_group_has_given_up_has_lost_all_its_partitions() -> None:
    """onPartitionsLost: it was frozen for longer than its session."""
    members = [member(name, by(COOPERATIVE_ASSIGNOR, SYNC)) for name in ("r1", "r2")]
    run = play(*members, fault='[[fault]]\nat = "4s"\ndo = "pause"\nwho = "r1"\nfor = "15s"\n', records=2500)

    assert partitions_of(run, "r2", 11_000_000, 19_000_000) == {f"payments-{number}" for number in range(4)}
    assert partitions_of(run, "r1", 21_500_000, 25_000_000) | partitions_of(run, "r2", 21_500_000, 25_000_000) == {f"payments-{number}" for number in range(4)}
    assert not partitions_of(run, "r1", 21_500_000, 25_000_000) & partitions_of(run, "r2", 21_500_000, 25_000_000)
    assert sorted(times_read(run)) == list(range(2500))


def test_members_without_a_common_assignor_are_no_group() -> None:
    run = play(member("r1", by(STICKY_ASSIGNOR)), member("r2", by(COOPERATIVE_ASSIGNOR)), fault='[tail]\nlimit = "30s"\n')

    assert [fact.error for _, fact in run.history.of(PollFailed)] == ["InconsistentGroupProtocolException"]
