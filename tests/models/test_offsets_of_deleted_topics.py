"""A topic that is deleted takes the offsets that groups have committed for it along: OffsetMetadataManagerTest.testOnTopicsDeleted..., testReplay."""

from __future__ import annotations

from itertools import pairwise

import pytest

from group_members import Members
from group_stage import GROUP, LOAD, SYNC, member, reads
from ksim import Scenario, simulate
from ksim_models.errors import NONE, ErrorCode
from ksim_models.machine import Asked
from ksim_models.messages import DeleteTopicRequest

KAFKAS = pytest.mark.parametrize("kafka", ["3.9", "4.3"])
NOTHING = (NONE, -1)


def delete(members: Members) -> None:
    loop = members.cluster.loop
    loop.tell(loop.cells["controller-1"], Asked(DeleteTopicRequest("t")), loop.now)
    assert members.cluster.controller.answered is NONE
    members.cluster.run_for(2000)


def fail_over(members: Members) -> None:
    former = members.coordinator
    members.cluster.crash(former)
    members.cluster.run_for(12_000)
    members.coordinator = members.cluster.find("group", "g", ask=next(name for name in members.cluster.names if name != former))
    members.cluster.run_for(1000)


@KAFKAS
def test_committed_offsets_of_a_topic_go_with_it_for_the_next_coordinator_too(kafka: str) -> None:
    """BrokerMetadataPublisher, GroupCoordinator.handleDeletedPartitions, OffsetMetadataManager.onTopicsDeleted: tombstones are written."""
    members = Members(kafka=kafka)
    assert members.commit(5) is NONE
    delete(members)

    assert (members.fetch(stable=False), members.fetch()) == (NOTHING, NOTHING)
    fail_over(members)
    assert members.fetch() == NOTHING
    assert members.commit(2) is NONE
    assert members.fetch() == (NONE, 2)


@pytest.mark.parametrize(("kafka", "later"), [("3.9", (ErrorCode.UNSTABLE_OFFSET_COMMIT, -1)), ("4.3", NOTHING)])
def test_so_do_those_that_a_transaction_has_pending_but_up_to_3_9_the_next_coordinator_finds_them_again(kafka: str, later: object) -> None:
    """testReplayWithTombstoneAndPendingTransactionalOffsets; GroupMetadataManager.loadGroupsAndOffsets takes a tombstone for committed offsets only."""
    members = Members(kafka=kafka)
    assert members.commit(5) is NONE
    assert members.commit_in_transaction(9) is NONE
    delete(members)

    assert members.fetch() == NOTHING
    fail_over(members)
    assert members.fetch() == later


def test_a_member_that_comes_back_reads_the_new_topic_from_where_its_reset_says_not_from_an_offset_of_the_old_one() -> None:
    """ "t" holds more than was committed of the old one when r1 is back: with that offset it would skip what came before."""
    faults = '[[fault]]\nat = "2s"\ndo = "crash"\nwho = "r1"\nfor = "16s"\n[[fault]]\nat = "4s"\ndo = "recreate-topic"\ntopic = "payments"\n'
    run = simulate(Scenario.loads(GROUP + member("r1", SYNC) + LOAD.format(records=1500) + faults))
    lowest: dict[str, int] = {}
    for at, fact in reads(run):
        if at > 18_000_000:
            lowest[fact.partition] = min(lowest.get(fact.partition, fact.base_offset), fact.base_offset)

    assert lowest == dict.fromkeys([f"payments-{number}" for number in range(4)], 0)
    assert all(before <= after for before, after in pairwise(at for at, _ in reads(run)))
