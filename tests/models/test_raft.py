"""The controllers' quorum: elections, pre-votes, the high watermark of a majority, resignation."""

from __future__ import annotations

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.machine import Close, Effect, Open, Send
from ksim_models.messages import LeaderChangeRecord, NoOpRecord
from ksim_models.profiles import broker_profile
from ksim_models.quorum_messages import (
    BeginQuorumEpochRequest,
    EndQuorumEpochRequest,
    MetadataEntry,
    RaftFetchRequest,
    RaftFetchResponse,
    VoteRequest,
    VoteResponse,
)
from ksim_models.raft import RaftVoter
from ksim_models.raft_log import RaftDisk, RaftLog
from ksim_models.raft_peers import Peers
from ksim_models.raft_roles import Role
from ksim_models.units import NEVER, ms, s
from lone_voter import FORMED, LoneVoter
from scripted import Half


class Nothing(Half):
    def at(self, *what: str | int) -> float:
        return 0.0


def test_a_follower_that_hears_no_leader_for_the_fetch_timeout_asks_before_it_stands_since_4_0() -> None:  # KC-85
    old, new = LoneVoter(version="3.9"), LoneVoter(version="4.1")

    for voter in (old, new):
        voter.poll(s(2) - 1)
        assert voter.raft.role is Role.FOLLOWER
        voter.poll(s(2))

    assert (old.raft.role, old.raft.epoch) == (Role.CANDIDATE, 2)
    assert (new.raft.role, new.raft.epoch) == (Role.PROSPECTIVE, 1)
    assert new.asked("c3") == VoteRequest("c2", 1, 1, 1, pre_vote=True)


def test_pre_votes_of_a_majority_make_a_candidate_and_votes_of_a_majority_a_leader() -> None:  # KC-85, KIP-996
    voter = LoneVoter()
    voter.poll(s(2))

    voter.vote("c3")
    assert (voter.raft.role, voter.raft.epoch, voter.disk.voted) == (Role.CANDIDATE, 2, "c2")
    voter.vote("c3")

    assert (voter.raft.role, voter.disk.leader) == (Role.LEADER, "c2")
    assert voter.raft.log.entries[-1] == MetadataEntry(2, LeaderChangeRecord("c2", 2))
    assert voter.asked("c3") == BeginQuorumEpochRequest("c2", 2)


def test_no_pre_vote_is_granted_against_a_leader_that_one_hears() -> None:  # KIP-996
    voter = LoneVoter()
    asks = VoteRequest("c3", 1, 1, 1, pre_vote=True)

    assert [answer.granted for answer in voter.ask(asks) if isinstance(answer, VoteResponse)] == [True]  # It has not fetched yet.
    voter.answer("c1", RaftFetchResponse(E.NONE, 1, "c1", (), 1))
    assert [answer.granted for answer in voter.ask(asks) if isinstance(answer, VoteResponse)] == [False]
    assert voter.raft.role is Role.FOLLOWER


def test_one_vote_per_epoch_and_none_for_a_log_that_lacks_something() -> None:
    voter = LoneVoter(entries=(*FORMED, MetadataEntry(1, NoOpRecord())))

    behind = voter.ask(VoteRequest("c3", 2, 1, 1, pre_vote=False))
    assert behind == [VoteResponse(E.NONE, 2, "", granted=False)]
    assert voter.ask(VoteRequest("c3", 3, 1, 2, pre_vote=False)) == [VoteResponse(E.NONE, 3, "", granted=True)]
    assert voter.ask(VoteRequest("c1", 3, 1, 2, pre_vote=False)) == [VoteResponse(E.NONE, 3, "", granted=False)]
    assert voter.ask(VoteRequest("c3", 3, 1, 2, pre_vote=False)) == [VoteResponse(E.NONE, 3, "", granted=True)]
    assert voter.ask(VoteRequest("c1", 2, 1, 2, pre_vote=False)) == [VoteResponse(E.FENCED_LEADER_EPOCH, 3, "", granted=False)]


def test_a_vote_outlives_the_process() -> None:
    voter = LoneVoter()
    voter.ask(VoteRequest("c3", 2, 1, 1, pre_vote=False))

    voter.raft.start(voter.now)

    assert voter.ask(VoteRequest("c1", 2, 1, 1, pre_vote=False)) == [VoteResponse(E.NONE, 2, "", granted=False)]


def test_a_record_is_committed_when_a_majority_has_it_and_first_one_of_the_new_epoch() -> None:  # KC-80
    voter = LoneVoter(entries=(*FORMED, MetadataEntry(1, NoOpRecord())))
    voter.lead()
    assert voter.raft.committed == -1

    voter.fetched_by("c3", 2)
    assert (voter.raft.committed, voter.raft.is_established) == (-1, False), "of an older epoch alone: not yet"
    voter.fetched_by("c3", 3)
    assert (voter.raft.committed, voter.raft.is_established) == (3, True)

    voter.raft.append([MetadataEntry(2, NoOpRecord())])
    assert voter.raft.committed == 3
    voter.fetched_by("c3", 4)
    assert voter.raft.committed == 4


def test_the_leader_of_the_start_has_all_of_its_epoch_committed_already() -> None:  # KC-80
    voter = LoneVoter("c1")
    voter.raft.append([MetadataEntry(1, NoOpRecord())])
    assert (voter.raft.is_established, voter.raft.committed) == (True, 1)
    voter.fetched_by("c2", 2)

    assert voter.raft.committed == 2


def test_a_follower_cuts_what_its_new_leader_does_not_have() -> None:
    follower = LoneVoter("c3", entries=(*FORMED, MetadataEntry(1, NoOpRecord())))
    follower.raft.high_watermark = 1
    leader = LoneVoter()
    leader.lead()

    follower.ask(BeginQuorumEpochRequest("c2", 2))
    request = follower.asked("c2")
    assert request == RaftFetchRequest("c3", 2, 2, 1, 1, "c2", ms(100))
    (divergence,) = leader.ask(request)
    assert divergence == RaftFetchResponse(E.NONE, 2, "c2", (), -1, (1, 1))
    follower.answer("c2", divergence)

    assert follower.raft.log.entries == [*FORMED]
    assert follower.asked("c2") == RaftFetchRequest("c3", 2, 1, 1, 1, "c2", ms(100))


@pytest.mark.parametrize(("version", "resigns"), [("3.6", False), ("3.7", True), ("4.1", True)])
def test_a_leader_that_no_majority_fetches_from_resigns_since_3_7(version: str, resigns: bool) -> None:  # KC-86, KAFKA-15489
    voter = LoneVoter(version=version)
    voter.lead()
    voter.fetched_by("c3", 1)
    heard = voter.now

    voter.poll(heard + s(3) - 1)
    assert voter.raft.leads
    voter.poll(heard + s(3))
    assert voter.raft.leads is not resigns


def test_the_successor_with_most_of_the_log_stands_at_once_and_the_next_one_later() -> None:
    first, second = LoneVoter("c2"), LoneVoter("c3")
    end = EndQuorumEpochRequest("c1", 1, ("c2", "c3"))

    for voter in (first, second):
        voter.ask(end)

    assert first.raft.role is Role.PROSPECTIVE
    assert (second.raft.role, second.raft.until) == (Role.FOLLOWER, ms(500))


def test_whoever_led_and_comes_back_resigns_that_no_offset_of_its_epoch_is_written_twice() -> None:
    voter = LoneVoter()
    voter.lead()

    voter.raft.start(voter.now)
    voter.poll()

    assert (voter.raft.role, voter.asked("c3")) == (Role.RESIGNED, EndQuorumEpochRequest("c2", 2, ()))
    assert voter.ask(VoteRequest("c3", 2, 2, 2, pre_vote=False)) == [VoteResponse(E.NONE, 2, "c2", granted=False)]


@pytest.mark.parametrize(("version", "commit_alone"), [("4.0", False), ("4.1", True)])
def test_a_parked_fetch_learns_of_a_commit_at_once_since_4_1(version: str, commit_alone: bool) -> None:  # KC-80, KIP-1166
    voter = LoneVoter(version=version)
    voter.lead()
    end = voter.raft.log.end_offset
    assert voter.ask(RaftFetchRequest("b1", 2, end, 2, 1)) == []
    voter.raft.ends["c3"] = end
    voter.raft._advance()

    out: list[Effect] = []
    voter.raft.serve_parked(voter.now, out)
    assert bool(out) is commit_alone
    voter.raft.poll(voter.now + ms(500), out)
    assert [effect.message for effect in out if isinstance(effect, Send)] == [RaftFetchResponse(E.NONE, 2, "c2", (), end)]


@pytest.mark.parametrize(("version", "pause_ms"), [("3.7", 50), ("3.9", 100), ("4.1", None)])
def test_a_candidate_that_lost_backs_off_and_from_4_1_waits_for_the_rest_of_its_time(version: str, pause_ms: int | None) -> None:  # KC-85
    voter = LoneVoter(version=version)
    voter.poll(s(2))
    if version == "4.1":
        voter.vote("c3")
    stood_until = voter.raft.until

    voter.vote("c3", granted=False)
    voter.poll(s(2) + ms(50))
    voter.poll(s(2) + ms(70))  # By now there is a connection to c1 again.
    voter.vote("c1", granted=False)

    assert voter.raft.role is Role.CANDIDATE
    assert voter.raft.until == (stood_until if pause_ms is None else voter.now + ms(pause_ms))


def test_whoever_could_be_told_nothing_new_waits_until_it_can_be_or_would_ask_another() -> None:
    """Kafka answers at once and is asked again at once (maybeHandleCommonResponse: no backoff): what is heard when is the same."""
    voter = LoneVoter()
    asks = RaftFetchRequest("b1", 1, 1, 1, 1, "c1", ms(100))
    assert voter.ask(asks) == []

    out: list[Effect] = []
    voter.raft.poll(ms(100) - 1, out)
    assert out == []
    voter.raft.poll(ms(100), out)
    assert [effect.message for effect in out if isinstance(effect, Send)] == [RaftFetchResponse(E.NOT_LEADER_OR_FOLLOWER, 1, "c1")]

    assert voter.ask(asks) == []
    voter.ask(BeginQuorumEpochRequest("c3", 2))
    out = []
    voter.raft.serve_parked(voter.now, out)
    assert [effect.message for effect in out if isinstance(effect, Send)] == [RaftFetchResponse(E.FENCED_LEADER_EPOCH, 2, "c3")]


def test_whoever_knows_less_is_told_at_once_who_leads() -> None:
    voter = LoneVoter()

    assert voter.ask(RaftFetchRequest("b1", 1, 1, 1, 1, "", ms(100))) == [RaftFetchResponse(E.NOT_LEADER_OR_FOLLOWER, 1, "c1")]


def test_whoever_waits_at_a_voter_that_is_elected_is_served_by_the_leader() -> None:
    voter = LoneVoter()
    voter.poll(s(2))
    voter.vote("c3")
    assert voter.ask(RaftFetchRequest("b1", 2, 1, 1, 1, "", ms(100))) == []
    voter.vote("c3")

    out: list[Effect] = []
    voter.raft.serve_parked(voter.now, out)

    assert [effect.message for effect in out if isinstance(effect, Send)] == [
        RaftFetchResponse(E.NONE, 2, "c2", (MetadataEntry(2, LeaderChangeRecord("c2", 2)),), -1)
    ]


def test_a_follower_whose_leader_is_away_asks_another_for_no_longer_than_until_it_can_try_the_leader_again() -> None:
    voter = LoneVoter()
    connection = voter.raft.peers.by_name["c1"].connection
    assert connection is not None

    voter.raft.peers.closed(connection, 0)
    voter.poll()

    asked = [request for request in (voter.asked("c1"), voter.asked("c3")) if isinstance(request, RaftFetchRequest)]
    assert [(request.leader, request.patience) for request in asked] == [("c1", ms(20))]


def test_a_question_to_a_lost_leader_fails_when_one_could_connect_again_and_only_the_next_connects() -> None:
    """InterBrokerSendThread.sendRequests polls for the connectionDelay, then checkDisconnects. Meanwhile an observer is deaf: one fetch at a time."""
    names = iter(range(1, 100))
    peers = Peers(("c1",), lambda peer: f"->{peer}#{next(names)}", ms(2_000), ms(20))
    out: list[Effect] = []
    peers.ask("c1", VoteRequest("c2", 1, 1, 1, pre_vote=True), 0, out)
    peers.closed("->c1#1", 0)
    assert not peers.is_ready("c1", ms(20) - 1)

    out.clear()
    peers.ask("c1", VoteRequest("c2", 1, 1, 1, pre_vote=True), ms(20), out)
    assert (out, peers.wake_at) == ([], ms(50))
    peers.time_out(ms(50), out)
    assert (out, peers.is_ready("c1", ms(70) - 1)) == ([], False)

    peers.ask("c1", VoteRequest("c2", 1, 1, 1, pre_vote=True), ms(70), out)
    assert out == [Open("->c1#2", "c1")]


def test_a_connection_that_stays_silent_is_closed_though_nobody_waits_for_its_answer_any_more() -> None:
    """NetworkClient.handleTimedOutRequests: one request at a time, so without it a machine that lost its power would hold up every later question."""
    peers = Peers(("c1",), lambda peer: f"->{peer}", ms(2_000), ms(20))
    out: list[Effect] = []
    peers.ask("c1", VoteRequest("c2", 1, 1, 1, pre_vote=True), 0, out)
    peers.opened("->c1", out)
    peers.forget_questions()
    peers.ask("c1", VoteRequest("c2", 2, 1, 1, pre_vote=True), ms(1_000), out)
    out.clear()

    assert peers.wake_at == ms(2_000)
    assert (peers.time_out(ms(2_000), out), out) == (["c1"], [Close("->c1")])


def test_a_lost_connection_is_tried_again_later_and_later_and_at_once_when_one_stood() -> None:
    """reconnect.backoff.ms of the quorum's clients: 50 ms, doubled up to 500."""
    names = iter(range(1, 100))
    peers = Peers(("c1", "c3"), lambda peer: f"->{peer}#{next(names)}", ms(2_000), ms(20))
    request = VoteRequest("c2", 1, 1, 1, pre_vote=True)
    out: list[Effect] = []
    pauses, now = [], 0
    for number in range(1, 7):
        peers.ask("c1", request, now, out)
        if number == 6:
            peers.opened("->c1#6", out)
        peers.closed(f"->c1#{number}", now)
        assert (peers.pause_ends(["c1", "c3"]), peers.unconnected_at("c3", now)) == (now + ms(20), now + ms(20))
        pauses.append(peers.by_name["c1"].reconnect_at - now)
        now = peers.by_name["c1"].reconnect_at

    assert pauses == [ms(pause) for pause in (50, 100, 200, 400, 500, 50)]
    peers.forget()
    assert (peers.wake_at, peers.pause_ends(["c1", "c3"]), peers.any_asked(), peers.by_connection) == (NEVER, NEVER, False, {})


def test_an_answer_that_nobody_waits_for_any_more_lets_the_next_question_go() -> None:
    """RequestManager, InterBrokerSendThread: one request is on the wire at a time."""
    peers = Peers(("c1",), lambda peer: f"->{peer}", ms(2_000), ms(20))
    first, second = (VoteRequest("c2", epoch, 1, 1, pre_vote=True) for epoch in (1, 2))
    out: list[Effect] = []
    peers.ask("c1", first, 0, out)
    peers.opened("->c1", out)
    peers.forget_questions()
    peers.ask("c1", second, ms(5), out)
    assert out == [Open("->c1", "c1"), Send("->c1", first)]

    assert peers.answered("->c1", out) is None
    assert out[2:] == [Send("->c1", second)]
    peer = peers.answered("->c1", out)
    assert (peer, peers.is_ready("c1", ms(5)), peers.wake_at) == (peers.by_name["c1"], True, NEVER)
    peers.closed("->c1", ms(9))
    assert peers.is_ready("c1", ms(9)), "nothing was asked, so nothing failed"


def test_a_candidate_whose_drawn_pause_is_none_stands_again_at_once() -> None:
    """binaryExponentialElectionBackoffMs draws from 0 on before 3.9."""
    voter = LoneVoter(version="3.3")
    voter.poll(s(2))
    voter.raft.dice = Nothing()

    voter.poll(voter.raft.until)

    assert (voter.raft.role, voter.raft.epoch, voter.raft.retries) == (Role.CANDIDATE, 3, 2)
    assert voter.raft.until > voter.now


@pytest.mark.parametrize("version", ["3.3", "3.9", "4.1"])
def test_an_only_voter_leads_at_once_when_it_starts_commits_what_it_appends_and_never_resigns(version: str) -> None:
    """KafkaRaftClient.initialize (isOnlyVoter); LeaderState.timeUntilCheckQuorumExpires: with one voter it should never get expired."""
    raft = RaftVoter("c1", ("c1",), broker_profile(version), BrokerConfig(), Half(), str, RaftDisk(RaftLog(FORMED), 1, "c1"))
    raft.start(0)

    assert (raft.role, raft.epoch, raft.is_established) == (Role.LEADER, 2, True)

    raft.append([MetadataEntry(2, NoOpRecord())])
    out: list[Effect] = []
    raft.poll(s(60), out)

    assert raft.committed == raft.log.end_offset == 3
    assert (raft.role, out) == (Role.LEADER, [])
