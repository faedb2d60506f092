"""A controller of a quorum: it decides while it leads, what it decided counts when a majority has it, and the others refuse."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ksim_models.commit_book import CommitBook
from ksim_models.config import BrokerConfig
from ksim_models.controller import NewTopic, formed_cluster
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import BrokerChanged, ControllerChanged
from ksim_models.machine import Asked, Closed, Crashed, Event, Exit, Note, Open, Opened, Received, Restarted, Send, Terminated, Wake
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    ElectLeadersRequest,
    NoOpRecord,
)
from ksim_models.profiles import broker_profile
from ksim_models.quorum_controller import QuorumController
from ksim_models.quorum_messages import (
    BeginQuorumEpochRequest,
    BeginQuorumEpochResponse,
    EndQuorumEpochRequest,
    RaftFetchRequest,
    RaftFetchResponse,
    RaftRequest,
    RaftResponse,
    VoteRequest,
    VoteResponse,
)
from ksim_models.raft_roles import Role
from ksim_models.units import Micros, ms, s
from scripted import Half

VOTERS = ("c1", "c2", "c3")
BROKERS = ("1", "2", "3")


class LoneQuorumController:
    """One of three; the other voters and the brokers are played by hand. c1 leads at first. Its connections stand at once."""

    def __init__(self, name: str, version: str = "4.1", config: BrokerConfig | None = None) -> None:
        self.settings = config or BrokerConfig()
        book = CommitBook(formed_cluster(BROKERS, [NewTopic("t", (BROKERS,), ())]), "c1", self.settings)
        contact: dict[str, Micros] = dict.fromkeys(BROKERS, 0)
        self.machine = QuorumController(name, VOTERS, broker_profile(version), self.settings, Half(), book, first_contact=contact, now=0)
        self.formed_end = self.machine.disk.log.end_offset
        self.now: Micros = 0
        self.sent: list[tuple[str, object]] = []
        self.facts: list[object] = []
        self.exited = False
        self.tell(Wake())

    def tell(self, event: Event) -> None:
        for effect in self.machine.handle(event, self.now):
            match effect:
                case Send():
                    self.sent.append((effect.connection, effect.message))
                case Note():
                    self.facts.append(effect.fact)
                case Open():
                    self.tell(Opened(effect.connection, effect.peer, False))
                case Exit():
                    self.exited = True

    def until(self, now: Micros) -> None:
        while (at := self.machine.wake_at) is not None and at <= now:
            self.now = max(self.now, at)
            self.tell(Wake())
        self.now = now

    def ask(self, who: str, message: object) -> None:
        self.tell(Received(f"{who}->", message))

    def told(self, who: str) -> list[object]:
        return [message for connection, message in self.sent if connection == f"{who}->"]

    def asked(self, voter: str) -> list[object]:
        """What this one has asked of another voter."""
        return [message for connection, message in self.sent if f"->{voter}#" in connection]

    def answer(self, voter: str, response: RaftResponse) -> None:
        connection = self.machine.raft.peers.by_name[voter].connection
        assert connection is not None
        self.tell(Received(connection, response))

    def has_all(self, voter: str) -> None:
        """This follower has fetched what the log holds now."""
        log, epoch = self.machine.disk.log, self.machine.raft.epoch
        self.ask(voter, RaftFetchRequest(voter, epoch, log.end_offset, log.last_epoch, 0))

    def be_elected(self) -> None:
        """By c3, when the leader is silent."""
        for _ in range(20):
            self.until(self.now + ms(200))
            requests: Sequence[object] = self.asked("c3")[-1:]
            if self.machine.raft.leads:
                break
            if requests and isinstance(requests[0], VoteRequest):
                self.answer("c3", VoteResponse(E.NONE, self.machine.raft.epoch, "", granted=True))
        assert self.machine.raft.leads


HEARTBEAT = BrokerHeartbeatRequest("1", 1, 99, want_fence=False)
WANTS_FENCE = BrokerHeartbeatRequest("1", 1, 99, want_fence=True)
REQUESTS = {
    "heartbeat": (WANTS_FENCE, BrokerHeartbeatResponse(E.NOT_CONTROLLER, is_caught_up=False, is_fenced=True)),
    "registration": (BrokerRegistrationRequest("4", 0, -1), BrokerRegistrationResponse(E.NOT_CONTROLLER, -1)),
    "alter partition": (AlterPartitionRequest("1", 1, ()), AlterPartitionResponse(E.NOT_CONTROLLER, ())),
    "create topics": (CreateTopicsRequest(("u",), 1, 1), CreateTopicsResponse(("u",), E.NOT_CONTROLLER)),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_who_is_not_the_active_controller_says_so(request_: str) -> None:  # KC-84
    message, refusal = REQUESTS[request_]
    idle = LoneQuorumController("c2")
    idle.ask("1", message)
    idle.tell(Asked(ElectLeadersRequest("t-0", "preferred")))

    assert idle.told("1") == [refusal]
    assert idle.machine.answered is E.NOT_CONTROLLER


@pytest.mark.parametrize("request_", REQUESTS)
def test_who_waits_for_a_controller_that_is_deposed_is_told_that_it_is_none(request_: str) -> None:
    """QuorumController.renounce: whether it comes true is another one's affair."""
    message, refusal = REQUESTS[request_]
    active = LoneQuorumController("c1")
    active.ask("2", BrokerHeartbeatRequest("2", 2, 99, want_fence=True))
    active.ask("1", message)
    assert active.told("1") == [], "its answer may rest on what is not committed"
    active.ask("c2", BeginQuorumEpochRequest("c2", 2))
    active.until(ms(100))

    assert active.told("1") == [refusal]
    assert active.facts == [ControllerChanged("c1", 1, "resigned")]
    active.ask("1", HEARTBEAT)
    assert active.told("1")[1:] == [REQUESTS["heartbeat"][1]]


def test_what_the_active_controller_decides_counts_when_a_majority_has_it() -> None:
    """KC-80, KC-84: it lingers for 25 ms, then one of two followers must fetch it."""
    active = LoneQuorumController("c1")
    active.ask("1", WANTS_FENCE)
    active.until(ms(25) - 1)
    assert active.machine.disk.log.end_offset == active.formed_end
    active.until(ms(25))
    assert active.machine.disk.log.end_offset > active.formed_end
    assert (active.told("1"), active.facts) == ([], [])
    active.has_all("b9")
    assert active.told("1") == [], "an observer is no voter"
    active.has_all("c3")

    assert active.told("1") == [BrokerHeartbeatResponse(E.NONE, is_caught_up=True, is_fenced=True)]
    assert BrokerChanged("1", 1, "fenced") in active.facts


def test_an_administrator_is_answered_by_the_active_controller() -> None:
    active = LoneQuorumController("c1")
    active.tell(Asked(ElectLeadersRequest("t-0", "preferred")))

    assert active.machine.answered is E.ELECTION_NOT_NEEDED


@pytest.mark.parametrize(("interval_ms", "no_ops"), [(500, [500, 1_000]), (400, [400, 800]), (0, [])])
def test_an_idle_active_controller_writes_a_no_op_record_now_and_then(interval_ms: int, no_ops: list[int]) -> None:
    """KIP-835, metadata.max.idle.interval.ms."""
    active = LoneQuorumController("c1", config=BrokerConfig(metadata_max_idle_interval_ms=interval_ms))
    written = []
    for at in range(0, 1_100, 25):
        before = active.machine.disk.log.end_offset
        active.until(ms(at))
        written += [at for entry in active.machine.disk.log.entries[before:] if isinstance(entry.record, NoOpRecord)]

    assert written == [at + 25 for at in no_ops]


def test_a_new_leader_is_active_when_its_first_record_is_committed_and_gives_everybody_a_new_session() -> None:
    """KC-3, KC-84: what was committed before is committed again with it."""
    heir = LoneQuorumController("c2")
    heir.be_elected()
    assert heir.facts == []
    heir.ask("1", HEARTBEAT)
    assert heir.told("1") == [REQUESTS["heartbeat"][1]]
    heir.until(heir.now + ms(100))
    heir.has_all("c3")
    claimed = heir.now

    assert heir.facts == [ControllerChanged("c2", 2, "active")]
    heir.ask("1", HEARTBEAT)
    assert heir.told("1")[1:] == [BrokerHeartbeatResponse(E.NONE, is_caught_up=True, is_fenced=False)]
    for _ in range(93):
        heir.has_all("c3")
        heir.until(heir.now + ms(100))
        heir.has_all("c3")
        if any(isinstance(fact, BrokerChanged) for fact in heir.facts):
            break
    assert s(9) <= heir.now - claimed <= s(9) + ms(200)


def test_a_crash_takes_the_office_but_not_the_log() -> None:
    active = LoneQuorumController("c1")
    active.ask("1", WANTS_FENCE)
    active.until(ms(50))
    end = active.machine.disk.log.end_offset
    active.tell(Crashed())
    active.ask("1", HEARTBEAT)
    assert (active.machine.wake_at, active.told("1")) == (None, [])
    active.tell(Restarted())

    assert active.machine.raft.role is Role.RESIGNED
    assert active.machine.disk.log.end_offset == end > active.formed_end
    active.ask("1", HEARTBEAT)
    assert active.told("1") == [REQUESTS["heartbeat"][1]]


def test_nobody_is_told_on_a_connection_that_is_gone() -> None:
    active = LoneQuorumController("c1")
    active.ask("1", WANTS_FENCE)
    active.tell(Closed("1->"))
    active.until(ms(50))
    active.has_all("c2")

    assert active.told("1") == []
    assert BrokerChanged("1", 1, "fenced") in active.facts


def test_an_answer_of_another_voter_that_comes_behind_its_closing_is_nobodys() -> None:
    follower = LoneQuorumController("c2")
    sent = list(follower.sent)
    follower.tell(Received("->c1#0", RaftFetchResponse(E.NONE, 1, "c1", (), 1)))

    assert follower.sent == sent


@pytest.mark.parametrize(
    ("name", "event", "exits_at"),
    [
        pytest.param("c2", None, 0, id="a follower at once"),
        pytest.param("c1", BeginQuorumEpochRequest("c2", 2), ms(300), id="a leader when another leads"),
        pytest.param("c1", VoteRequest("c2", 2, 1, 99, pre_vote=False), s(5), id="a leader that has only voted: after 5 s"),
        pytest.param("c1", None, s(5), id="a leader that nobody follows: after 5 s"),
    ],
)
def test_when_a_controller_that_shuts_down_goes(name: str, event: RaftRequest | None, exits_at: Micros) -> None:
    """KafkaRaftManager.shutdown, KafkaRaftClient.maybeCompleteShutdown."""
    leaving = LoneQuorumController(name)
    if name == "c1":
        leaving.answer("c2", BeginQuorumEpochResponse(E.NONE, 1, "c1"))
    leaving.tell(Terminated())
    if name == "c1":
        assert leaving.asked("c2")[1:] == [EndQuorumEpochRequest("c1", 1, ("c2", "c3"))]
        assert leaving.facts == [ControllerChanged("c1", 1, "resigned")]
    if event is not None:
        leaving.until(ms(300))
        leaving.ask("c2", event)
    else:
        leaving.until(0)
    if exits_at > leaving.now:
        leaving.until(exits_at - 1)
        assert not leaving.exited
        leaving.until(exits_at)

    assert leaving.exited
    assert leaving.machine.wake_at is None
    leaving.tell(Restarted())
    assert leaving.machine.wake_at is not None
