"""What Kafka's own tests say of who grants a vote to whom: one row, one fact.

Kafka: KafkaRaftClientTest, KafkaRaftClientPreVoteTest, FollowerStateTest, UnattachedStateTest, ProspectiveStateTest,
CandidateStateTest, LeaderStateTest, ResignedStateTest.
"""

from __future__ import annotations

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.messages import LeaderChangeRecord, NoOpRecord
from ksim_models.quorum_messages import (
    BeginQuorumEpochRequest,
    EndQuorumEpochRequest,
    MetadataEntry,
    RaftFetchRequest,
    RaftFetchResponse,
    VoteRequest,
    VoteResponse,
)
from ksim_models.raft_roles import Role
from ksim_models.units import s
from lone_voter import FORMED, LoneVoter


def follower() -> LoneVoter:
    return LoneVoter()


def fetching_follower() -> LoneVoter:
    voter = LoneVoter()
    voter.answer("c1", RaftFetchResponse(E.NONE, 1, "c1", (), 1))
    return voter


def unattached() -> LoneVoter:
    """In epoch 2, without a vote: what c3 asked for with less of a log was refused."""
    voter = LoneVoter()
    assert voter.ask(VoteRequest("c3", 2, 0, 0, pre_vote=False)) == [VoteResponse(E.NONE, 2, "", granted=False)]
    assert voter.raft.role is Role.UNATTACHED
    return voter


def voted_for_c3() -> LoneVoter:
    voter = LoneVoter()
    assert voter.ask(VoteRequest("c3", 2, 1, 1, pre_vote=False)) == [VoteResponse(E.NONE, 2, "", granted=True)]
    return voter


def prospective() -> LoneVoter:
    voter = LoneVoter()
    voter.poll(s(2))
    assert (voter.raft.role, voter.raft.epoch, voter.raft.leader) == (Role.PROSPECTIVE, 1, "c1")
    return voter


def prospective_without_leader() -> LoneVoter:
    voter = unattached()
    voter.poll(voter.raft.until)
    assert (voter.raft.role, voter.raft.epoch, voter.raft.leader) == (Role.PROSPECTIVE, 2, "")
    return voter


def candidate() -> LoneVoter:
    voter = prospective()
    voter.vote("c3")
    assert (voter.raft.role, voter.raft.epoch) == (Role.CANDIDATE, 2)
    return voter


def leader() -> LoneVoter:
    voter = LoneVoter()
    voter.lead()
    assert voter.raft.epoch == 2
    return voter


def resigned() -> LoneVoter:
    voter = leader()
    voter.raft.end(voter.now)
    assert voter.raft.role is Role.RESIGNED
    return voter


PRE, STANDARD = True, False


@pytest.mark.parametrize(
    ("role", "pre_vote", "epoch", "granted"),
    [
        pytest.param(follower, PRE, 1, True, id="FollowerStateTest.testPreVoteIfHasNotFetchedFromLeaderYet"),
        pytest.param(fetching_follower, PRE, 1, False, id="FollowerStateTest.testPreVoteAfterSuccessfulFetchFromLeader"),
        pytest.param(follower, STANDARD, 1, False, id="FollowerStateTest.testGrantStandardVote: never in the epoch of its leader"),
        pytest.param(fetching_follower, STANDARD, 2, True, id="KafkaRaftClientTest.testHandleValidVoteRequestAsFollower: but in a later one"),
        pytest.param(unattached, PRE, 2, True, id="UnattachedStateTest: a pre-vote"),
        pytest.param(unattached, STANDARD, 2, True, id="UnattachedStateTest: the first that asks with enough of a log"),
        pytest.param(voted_for_c3, STANDARD, 2, False, id="KafkaRaftClientTest.testHandleVoteRequestAsFollowerWithVotedCandidate"),
        pytest.param(voted_for_c3, PRE, 2, True, id="UnattachedStateTest: a pre-vote binds nobody, nor does a vote bind it"),
        pytest.param(prospective, PRE, 1, True, id="ProspectiveStateTest: a pre-vote"),
        pytest.param(prospective, STANDARD, 1, False, id="ProspectiveStateTest: not where the leader of the epoch is known"),
        pytest.param(prospective_without_leader, STANDARD, 2, True, id="KafkaRaftClientTest.testHandleVoteRequestAsProspective"),
        pytest.param(candidate, PRE, 2, True, id="CandidateStateTest.testGrantVote: a pre-vote"),
        pytest.param(candidate, STANDARD, 2, False, id="KafkaRaftClientTest.testCandidateIgnoreVoteRequestOnSameEpoch"),
        pytest.param(leader, PRE, 2, False, id="LeaderStateTest.testGrantVote: a pre-vote"),
        pytest.param(leader, STANDARD, 2, False, id="KafkaRaftClientTest.testLeaderIgnoreVoteRequestOnSameEpoch"),
        pytest.param(leader, STANDARD, 3, True, id="and steps down for a later epoch"),
        pytest.param(resigned, PRE, 2, True, id="ResignedStateTest: a pre-vote"),
        pytest.param(resigned, STANDARD, 2, False, id="KafkaRaftClientTest.testRejectVotesFromSameEpochAfterResigningLeadership"),
        pytest.param(resigned, STANDARD, 3, True, id="KafkaRaftClientTest.testGrantVotesFromHigherEpochAfterResigningLeadership"),
        pytest.param(candidate, STANDARD, 1, False, id="KafkaRaftClientTest.testHandleInvalidVoteRequestWithOlderEpoch"),
    ],
)
def test_who_gets_a_vote(role: object, pre_vote: bool, epoch: int, granted: bool) -> None:
    """canGrantVote of each state, for c1, whose log is as long as the voter's."""
    voter = role()  # type: ignore[operator]
    before = voter.raft.epoch
    log = voter.raft.log
    (answer,) = voter.ask(VoteRequest("c1", epoch, log.last_epoch, log.end_offset, pre_vote=pre_vote))

    assert (answer.granted, answer.error) == (granted, E.NONE if epoch >= before else E.FENCED_LEADER_EPOCH)
    assert voter.raft.epoch == max(epoch, before)


@pytest.mark.parametrize(
    ("last_epoch", "end", "granted"),
    [(1, 2, True), (1, 1, False), (2, 1, True), (0, 9, False), (1, 3, True)],
    ids=["as long", "shorter", "of a later epoch, though shorter", "of an earlier epoch, though longer", "longer"],
)
@pytest.mark.parametrize("pre_vote", [True, False])
def test_a_log_must_be_as_far(pre_vote: bool, last_epoch: int, end: int, granted: bool) -> None:
    """KafkaRaftClientPreVoteTest.testPreVoteRequestOfDifferentLogs and the like: first the last epoch counts, then the length."""
    voter = LoneVoter(entries=(*FORMED, MetadataEntry(1, NoOpRecord())))
    (answer,) = voter.ask(VoteRequest("c3", 3, last_epoch, end, pre_vote=pre_vote))

    assert isinstance(answer, VoteResponse)
    assert answer.granted is granted


def test_a_high_watermark_needs_something_of_its_own_epoch_and_never_goes_back() -> None:
    """LeaderStateTest.testUpdateHighWatermarkQuorumSizeThree, testNonMonotonicHighWatermarkUpdate: the leader's own log is one of the majority."""
    voter = LoneVoter(entries=(*FORMED, MetadataEntry(1, NoOpRecord())))
    voter.lead()
    assert (voter.raft.log.end_offset, voter.raft.committed) == (3, -1)
    voter.fetched_by("c1", 2)
    assert voter.raft.committed == -1, "all of the older epoch, nothing of this one"
    voter.fetched_by("c1", 3)
    assert (voter.raft.committed, voter.raft.is_established) == (3, True)

    voter.fetched_by("c1", 2)
    assert voter.raft.committed == 3


def test_an_observers_fetch_commits_nothing() -> None:
    """LeaderStateTest.testNonFollowerAcknowledgement, KafkaRaftClientTest.testFetchShouldBeTreatedAsLeaderAcknowledgement."""
    voter = LoneVoter()
    voter.lead()
    voter.ask(RaftFetchRequest("b1", 2, voter.raft.log.end_offset, 2, 0))

    assert voter.raft.committed == -1


@pytest.mark.parametrize(
    ("fetched", "epoch", "answer"),
    [
        pytest.param(1, 1, (E.NONE, None), id="what both have"),
        pytest.param(2, 1, (E.NONE, (1, 1)), id="KafkaRaftClientTest.testLeaderImmediatelySendsDivergingEpoch: more of an older epoch than the leader has"),
        pytest.param(0, 0, (E.NONE, None), id="nothing yet"),
    ],
)
def test_a_leader_tells_at_once_where_a_follower_parted(fetched: int, epoch: int, answer: tuple[E, tuple[int, int] | None]) -> None:
    voter = LoneVoter()
    voter.lead()
    (told,) = voter.ask(RaftFetchRequest("c3", 2, fetched, epoch, 0))

    assert isinstance(told, RaftFetchResponse)
    assert (told.error, told.diverging) == answer
    assert bool(told.entries) is (answer[1] is None)


@pytest.mark.parametrize(
    ("request_", "role", "until_s"),
    [
        pytest.param(
            EndQuorumEpochRequest("c1", 1, ("c2", "c3")), Role.FOLLOWER, 0, id="KafkaRaftClientTest.testHandleEndQuorumRequest: the first stands at once"
        ),
        pytest.param(
            EndQuorumEpochRequest("c1", 1, ("c3", "c2")), Role.FOLLOWER, 0.5, id="testHandleEndQuorumRequestWithLowerPriorityToBecomeLeader: half the most"
        ),
        pytest.param(EndQuorumEpochRequest("c1", 0, ("c2", "c3")), Role.FOLLOWER, 2, id="testEndQuorumIgnoredAsLeaderIfOlderEpoch: an older epoch is ignored"),
        pytest.param(BeginQuorumEpochRequest("c3", 2), Role.FOLLOWER, 2, id="testHandleBeginQuorumRequest: a new leader"),
    ],
)
def test_what_a_leader_that_ends_or_begins_makes_of_a_follower(request_: EndQuorumEpochRequest | BeginQuorumEpochRequest, role: Role, until_s: float) -> None:
    voter = LoneVoter()
    out: list[object] = []
    voter.raft.serve("in", request_, 0, out)  # type: ignore[arg-type]

    assert (voter.raft.role, voter.raft.until) == (role, int(until_s * 1_000_000))
    assert voter.raft.leader == ("c3" if isinstance(request_, BeginQuorumEpochRequest) else "c1")


def test_an_elected_leaders_first_record_is_its_own() -> None:
    """KafkaRaftClientTest.testInitializeAsUnattachedAndBecomeLeader."""
    voter = unattached()
    voter.lead()

    assert voter.raft.log.entries[-1] == MetadataEntry(3, LeaderChangeRecord("c2", 3))


def of_a_dead_leader() -> LoneVoter:
    """It led, was killed and started again."""
    voter = leader()
    voter.raft.start(voter.now)
    return voter


@pytest.mark.parametrize(
    ("version", "role", "epoch"),
    [
        pytest.param("3.9", Role.CANDIDATE, 3, id="KafkaRaftClient.pollResigned: it stands"),
        pytest.param("4.0", Role.PROSPECTIVE, 3, id="4.0: in a new epoch, and what is left of its time is nothing, so it asks at once"),
    ],
)
def test_a_leader_that_resigned_stands_when_nobody_else_was_elected_in_time(version: str, role: Role, epoch: int) -> None:  # KC-85
    voter = LoneVoter(version=version)
    voter.lead()
    voter.raft.start(voter.now)
    voter.poll(voter.raft.until - 1)
    assert (voter.raft.role, voter.raft.epoch) == (Role.RESIGNED, 2)
    voter.poll(voter.raft.until)

    assert (voter.raft.role, voter.raft.epoch) == (role, epoch)
    assert voter.raft.peers.by_name["c3"].asked == VoteRequest("c2", 3, 2, 2, pre_vote=role is Role.PROSPECTIVE)


@pytest.mark.parametrize(
    ("role", "waits_on"),
    [
        pytest.param(unattached, True, id="unattached"),
        pytest.param(candidate, True, id="candidate"),
        pytest.param(prospective, True, id="prospective"),
        pytest.param(of_a_dead_leader, True, id="resigned, since 4.0"),
        pytest.param(fetching_follower, False, id="follower"),
        pytest.param(leader, False, id="leader"),
    ],
)
def test_who_waits_for_an_election_waits_no_longer_because_of_a_new_epoch(role: object, waits_on: bool) -> None:
    """QuorumState.transitionToUnattached; for a candidate whose log is too short."""
    voter = role()  # type: ignore[operator]
    until = voter.raft.until
    voter.now += 1_000
    voter.ask(VoteRequest("c3", 9, 0, 0, pre_vote=False))

    assert (voter.raft.role, voter.raft.epoch, voter.raft.leader) == (Role.UNATTACHED, 9, "")
    assert voter.raft.until == (until if waits_on else voter.now + s(1) + s(1) // 2)


def test_before_4_0_who_resigned_waits_anew_in_a_new_epoch() -> None:
    """QuorumState.transitionToUnattached."""
    voter = LoneVoter(version="3.9")
    voter.lead()
    voter.raft.start(voter.now)
    voter.now += 1_000
    voter.ask(VoteRequest("c3", 9, 0, 0, pre_vote=False))

    assert voter.raft.until == voter.now + s(1) + s(1) // 2


def refused(voter: LoneVoter) -> None:
    for peer in ("c1", "c3"):
        voter.raft.handle_response(peer, VoteResponse(E.NONE, voter.raft.epoch, voter.raft.leader, granted=False), voter.now)


@pytest.mark.parametrize(
    ("made", "loses", "role", "after_s"),
    [
        pytest.param(prospective, refused, Role.FOLLOWER, 2.0, id="testProspectiveWithLeaderTransitionsToFollower: enough said no"),
        pytest.param(prospective, None, Role.FOLLOWER, 2.0, id="testProspectiveWithLeaderTransitionsToFollower: its time is over"),
        pytest.param(prospective_without_leader, refused, Role.UNATTACHED, 1.5, id="testProspectiveTransitionsToUnattachedOnElectionFailure: enough said no"),
        pytest.param(prospective_without_leader, None, Role.PROSPECTIVE, 1.5, id="QuorumState.transitionToUnattached: no time is left, it asks again at once"),
    ],
)
def test_what_becomes_of_a_prospective_voter_that_is_not_wanted(made: object, loses: object, role: Role, after_s: float) -> None:  # KIP-996
    """Enough said no, or not enough said anything."""
    voter = made()  # type: ignore[operator]
    epoch = voter.raft.epoch
    if loses is None:
        voter.poll(voter.raft.until)
    else:
        loses(voter)  # type: ignore[operator]

    assert (voter.raft.role, voter.raft.epoch) == (role, epoch)
    assert voter.raft.until == voter.now + int(after_s * s(1))


@pytest.mark.parametrize(
    ("leader_", "voted", "role"),
    [
        pytest.param("c2", "c2", Role.RESIGNED, id="testInitializeAsResignedLeader: it led, and voted for itself"),
        pytest.param("", "c2", Role.CANDIDATE, id="testInitializeAsCandidate"),
        pytest.param("c1", "", Role.FOLLOWER, id="testInitializeAsFollower"),
        pytest.param("c1", "c3", Role.FOLLOWER, id="testInitializeAsFollower: that voted for another"),
        pytest.param("c3", "c2", Role.CANDIDATE, id="QuorumState.initialize: that lost, its own vote is looked at first (4.0)"),
        pytest.param("", "c3", Role.UNATTACHED, id="testInitializeAsVoted"),
        pytest.param("", "", Role.UNATTACHED, id="testInitializeAsUnattached"),
    ],
)
def test_what_a_voter_is_when_it_starts(leader_: str, voted: str, role: Role) -> None:
    """QuorumStateTest: as its file says."""
    voter = LoneVoter()
    voter.disk.leader, voter.disk.voted = leader_, voted
    voter.raft.start(s(9))

    assert (voter.raft.role, voter.raft.leader) == (role, "" if role is Role.CANDIDATE else leader_)
    assert voter.raft.until == s(9) + (s(2) if role is Role.FOLLOWER else s(1) + s(1) // 2)
    assert voter.raft.high_watermark == 0
    (answer,) = voter.ask(VoteRequest("c3", 1, 1, 1, pre_vote=True))
    assert isinstance(answer, VoteResponse)
    assert answer.granted, "it has heard of no leader since"


def test_before_4_0_a_candidate_that_lost_and_comes_back_follows() -> None:
    """FollowerState.election says nothing of its vote."""
    voter = LoneVoter(version="3.9")
    voter.disk.leader, voter.disk.voted = "c3", "c2"
    voter.raft.start(0)

    assert voter.raft.role is Role.FOLLOWER


@pytest.mark.parametrize(
    ("role", "after"),
    [
        pytest.param(leader, Role.RESIGNED, id="a leader resigns"),
        pytest.param(unattached, Role.UNATTACHED, id="pollUnattached"),
        pytest.param(candidate, Role.CANDIDATE, id="pollCandidate"),
        pytest.param(prospective_without_leader, Role.PROSPECTIVE, id="pollProspective"),
    ],
)
def test_who_is_to_end_waits_for_another_leader_and_stands_no_more(role: object, after: Role) -> None:
    """KafkaRaftClient.shutdown, maybeCompleteShutdown."""
    voter = role()  # type: ignore[operator]
    epoch = voter.raft.epoch
    voter.raft.end(voter.now)
    voter.poll(voter.now + s(4))

    assert (voter.raft.role, voter.raft.epoch, voter.raft.has_remote_leader) == (after, epoch, False)
    voter.ask(BeginQuorumEpochRequest("c3", epoch + 1))
    assert (voter.raft.role, voter.raft.has_remote_leader) == (Role.FOLLOWER, True)


@pytest.mark.parametrize(
    ("role", "answer", "handled", "epoch", "leader_"),
    [
        pytest.param(follower, (E.NONE, 1, "c1"), False, 1, "c1", id="of its own epoch: there is more in it"),
        pytest.param(follower, (E.NONE, 0, "c3"), True, 1, "c1", id="of an older epoch: nothing"),
        pytest.param(follower, (E.UNKNOWN_LEADER_EPOCH, 1, "c1"), True, 1, "c1", id="the other knows less"),
        pytest.param(follower, (E.FENCED_LEADER_EPOCH, 2, "c3"), True, 2, "c3", id="a newer epoch and its leader"),
        pytest.param(follower, (E.FENCED_LEADER_EPOCH, 2, ""), True, 2, "", id="a newer epoch without a leader"),
        pytest.param(follower, (E.NOT_LEADER_OR_FOLLOWER, 1, "c1"), True, 1, "c1", id="what it knows already"),
        pytest.param(unattached, (E.NOT_LEADER_OR_FOLLOWER, 2, "c3"), True, 2, "c3", id="who leads, from one that does not"),
        pytest.param(unattached, (E.NOT_LEADER_OR_FOLLOWER, 2, ""), True, 2, "", id="that nobody leads"),
        pytest.param(unattached, (E.NONE, 2, "c3"), False, 2, "c3", id="who leads, and more"),
        pytest.param(voted_for_c3, (E.FENCED_LEADER_EPOCH, 3, "c1"), True, 3, "c1", id="its vote was one of that epoch"),
    ],
)
def test_what_every_answer_says_of_the_epoch_and_its_leader(role: object, answer: tuple[E, int, str], handled: bool, epoch: int, leader_: str) -> None:
    """KafkaRaftClient.maybeHandleCommonResponse, maybeTransition."""
    voter = role()  # type: ignore[operator]
    error, of_epoch, of_leader = answer

    assert voter.raft._is_handled_as_any(VoteResponse(error, of_epoch, of_leader, granted=False), voter.now) is handled
    assert (voter.raft.epoch, voter.raft.leader) == (epoch, leader_)
    assert voter.raft.role is (Role.FOLLOWER if leader_ else Role.UNATTACHED)
    if epoch == 3:
        assert voter.disk.voted == ""
