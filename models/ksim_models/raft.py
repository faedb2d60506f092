"""A voter of the controllers' quorum: elections, the leader's epoch, what a majority has. Followers fetch; a record is committed when a majority has it.

Kafka: KafkaRaftClient, QuorumState and the states it is made of; KIP-595, KIP-996 (pre-vote), KAFKA-15489 (check quorum). KC-84 to KC-86.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ksim_models.backoff import succession_backoff_ms
from ksim_models.broker_variants import ElectionBackoff
from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode
from ksim_models.machine import Dice, Effect, Send
from ksim_models.messages import LeaderChangeRecord
from ksim_models.profiles import BrokerProfile
from ksim_models.quorum_messages import (
    BeginQuorumEpochRequest,
    BeginQuorumEpochResponse,
    EndQuorumEpochRequest,
    EndQuorumEpochResponse,
    MetadataEntry,
    RaftFetchRequest,
    RaftFetchResponse,
    RaftRequest,
    RaftResponse,
    VoteRequest,
    VoteResponse,
)
from ksim_models.raft_log import RaftDisk
from ksim_models.raft_observer import RaftObserver
from ksim_models.raft_roles import Parked, Role
from ksim_models.units import NEVER, Micros, ms

MAX_FETCH_WAIT: Micros = ms(500)  # KC-80
ELECTION_BACKOFF_BASE_MS = 50
NOTICED_WITHIN_US = 8_000
"""So much later than the leader's answer may a follower's thread get to it, and with it to its patience: two that are answered together stand some ms apart."""


class RaftVoter(RaftObserver):
    def __init__(
        self, name: str, voters: Sequence[str], profile: BrokerProfile, config: BrokerConfig, dice: Dice, name_connection: Callable[[str], str], disk: RaftDisk
    ) -> None:
        super().__init__(name, voters, profile, config, dice, name_connection, disk)
        self.majority = len(voters) // 2 + 1
        self.election_timeout_ms = config.controller_quorum_election_timeout_ms
        self.election_backoff_max_ms = config.controller_quorum_election_backoff_max_ms
        self.role = Role.UNATTACHED
        self.retries = 0
        """Elections in a row that came to nothing."""
        self.votes: dict[str, bool] = {}
        """Who has answered to this candidature, and how."""
        self.backing_off = False
        self.ending = False
        """A graceful shutdown has begun."""
        self.has_fetched = False
        """From the leader of this epoch: then it is alive, and no pre-vote is granted against it (KIP-996)."""
        self.parked: dict[str, Parked] = {}
        """By connection."""
        self.writes = 0
        """What waits for the disk: a new state (quorum-state), records that were fetched. RaftThread takes the time for it."""
        self._lead_nothing()

    def _lead_nothing(self) -> None:
        self.ends: dict[str, int] = {}
        """How far each follower has come in this leader's epoch."""
        self.fetched: dict[str, None] = {}
        """Who has fetched since the last time that a majority had."""
        self.epoch_start = 0
        self.committed = -1
        """This leader's high watermark; -1 until something of its own epoch is committed."""
        self.begin_at: Micros = NEVER
        self.unacknowledged: list[str] = []
        """Who has not answered to the beginning, or the end, of the epoch."""
        self.preferred: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        return self.role is Role.LEADER

    @property
    def is_established(self) -> bool:
        """It leads, and all that older epochs had committed is committed in its own: now it may be the active controller."""
        return self.leads and self.committed > self.epoch_start

    # Start, and time.

    def begin_as_formed(self, leader: str, now: Micros) -> None:
        """The quorum stood before the run, everything is committed everywhere."""
        self.high_watermark = self.log.end_offset
        if leader == self.name:
            self._take_the_lead(now)
            self.epoch_start, self.committed = self.log.end_offset - 1, self.log.end_offset
            self.ends = dict.fromkeys(self.others, self.log.end_offset)
            self.unacknowledged = []
        else:
            self.follow(leader, self.epoch, now)

    def start(self, now: Micros) -> None:
        """QuorumState.initialize: whoever led resigns, so that no offset of that epoch is written twice; whoever stood stands on."""
        super().start(now)
        self.parked, self.votes, self.backing_off, self.ending, self.retries = {}, {}, False, False, 0
        self._lead_nothing()
        if not self.others:
            self._stand(now)  # Nobody to wait for: it leads at once.
        elif self.leader == self.name:
            self.role, self.until = Role.RESIGNED, now + self._election_timeout()
            self.unacknowledged = [*self.others]
        elif self.disk.voted == self.name and (self.profile.pre_vote or not self.leader):  # The file keeps the vote beside the leader since 4.0.
            self.role, self.retries, self.votes, self.disk.leader = Role.CANDIDATE, 1, {self.name: True}, ""
            self.until = now + self._election_timeout()
        elif self.leader:
            self.role, self.has_fetched = Role.FOLLOWER, False
        else:
            self.role, self.until = Role.UNATTACHED, now + self._election_timeout()

    def _election_timeout(self) -> Micros:
        """KC-85: from once to twice the setting, so that not all stand at once."""
        return ms(self.election_timeout_ms + self.draw("election", self.election_timeout_ms))

    @property
    def wake_at(self) -> Micros:
        at = min(self.until, self.peers.wake_at, self.begin_at)
        for fetch in self.parked.values():
            at = min(at, fetch.until)
        return min(at, self.peers.pause_ends(self._to_be_asked()))

    def poll(self, now: Micros, out: list[Effect]) -> None:
        super().poll(now, out)
        for connection in [connection for connection, fetch in self.parked.items() if fetch.until <= now]:
            out.append(Send(connection, self._fetched(self.parked.pop(connection).request)))

    def patience_ends(self, now: Micros) -> None:
        if self.ending:  # It waits for another leader, or for the end of its time (pollResigned, pollUnattached, pollCandidate).
            self.until = NEVER
            return
        match self.role:
            case Role.UNATTACHED | Role.FOLLOWER:
                self._stand(now)
            case Role.CANDIDATE if self.profile.election_backoff is ElectionBackoff.NONE or (self.backing_off or self.profile.pre_vote):
                self._stand(now)
            case Role.CANDIDATE:
                self._back_off(now)
            case Role.PROSPECTIVE:
                self._is_not_wanted(now)
            case Role.LEADER:
                self._resign(now)  # KC-86: no majority has fetched for too long.
            case Role.RESIGNED if self.profile.pre_vote:
                self._be_unattached(self.epoch + 1, now)  # And asks at once: it has waited long enough.
            case Role.RESIGNED:
                self._stand(now)

    def act(self, late: list[str], now: Micros, out: list[Effect]) -> None:
        match self.role:
            case Role.FOLLOWER if self._looks_elsewhere:
                self.fetch_from_the_best(late, now, out)
            case Role.FOLLOWER if self.peers.is_ready(self.leader, now):
                self._fetch(self.leader, now, out)
            case Role.UNATTACHED if self._looks_elsewhere:
                self.fetch_from_any(now, out)
            case Role.LEADER:
                self._make_known(now, out)
            case Role.PROSPECTIVE | Role.CANDIDATE | Role.RESIGNED:
                for name in self._to_be_asked():
                    if self.peers.is_ready(name, now):
                        self.peers.ask(name, self._question(), now, out)

    def _to_be_asked(self) -> list[str]:
        match self.role:
            case Role.FOLLOWER if not self._looks_elsewhere:
                return [self.leader]
            case Role.FOLLOWER | Role.UNATTACHED:
                return self.others if self._looks_elsewhere and not self.peers.any_asked() else []
            case Role.PROSPECTIVE | Role.CANDIDATE:
                return [] if self._is_rejected() or self.backing_off else [name for name in self.others if name not in self.votes]
            case Role.LEADER if self.profile.begin_quorum_epoch_repeats:
                return []  # By its own timer.
            case Role.LEADER | Role.RESIGNED:
                return self.unacknowledged

    @property
    def _looks_elsewhere(self) -> bool:
        return self.profile.voters_look_elsewhere and not self.ending

    def _question(self) -> RaftRequest:
        if self.role is Role.RESIGNED:
            return EndQuorumEpochRequest(self.name, self.epoch, self.preferred)
        return VoteRequest(self.name, self.epoch, self.log.last_epoch, self.log.end_offset, pre_vote=self.role is Role.PROSPECTIVE)

    # Elections.

    def _stand(self, now: Micros) -> None:
        """With KIP-996 it asks first; so nobody who is cut off drives the epochs up."""
        self.peers.forget_questions()
        self.retries = self.retries + 1 if self.role is Role.CANDIDATE else 1
        if self.profile.pre_vote:
            self.role = Role.PROSPECTIVE
        else:
            self._enter_an_epoch_of_its_own()
        self.votes, self.backing_off, self.until = {self.name: True}, False, now + self._election_timeout()
        self._count(now)

    def _enter_an_epoch_of_its_own(self) -> None:
        self.role = Role.CANDIDATE
        self.disk.epoch, self.disk.leader, self.disk.voted = self.epoch + 1, "", self.name
        self.writes += 1

    def _count(self, now: Micros) -> None:
        if sum(self.votes.values()) < self.majority:
            return
        self.peers.forget_questions()
        if self.role is Role.CANDIDATE:
            self._take_the_lead(now)
            self.append([MetadataEntry(self.epoch, LeaderChangeRecord(self.name, self.epoch))])
        else:
            self._enter_an_epoch_of_its_own()
            self.votes, self.until = {self.name: True}, now + self._election_timeout()
            if not self.others:
                self._count(now)

    def _is_rejected(self) -> bool:
        return len(self.votes) - sum(self.votes.values()) > len(self.others) + 1 - self.majority

    def _vote_came(self, whom: str, granted: bool, now: Micros) -> None:
        self.votes[whom] = granted
        if granted:
            self._count(now)
        elif self._is_rejected() and self.role is Role.PROSPECTIVE:
            self._is_not_wanted(now)
        elif self._is_rejected() and not self.backing_off and self.profile.election_backoff is not ElectionBackoff.NONE:
            self._back_off(now)

    def _back_off(self, now: Micros) -> None:
        """binaryExponentialElectionBackoffMs. From 4.1 a candidate that has lost waits for the rest of its time instead (KAFKA-18345)."""
        base, most = ELECTION_BACKOFF_BASE_MS, self.election_backoff_max_ms
        if self.profile.election_backoff is ElectionBackoff.JITTERED:
            pause = min(base * (1 + self.draw("backoff", 2 << min(10, self.retries - 1))), most + self.draw("jitter", base))
        else:
            pause = min(base * self.draw("backoff", 2 << min(20, self.retries - 1)), most)
        self.backing_off, self.until = True, now + ms(pause)

    def _is_not_wanted(self, now: Micros) -> None:
        """Back to where it was: to a leader that the others still hear of, or to wait."""
        if self.leader:
            self.follow(self.leader, self.epoch, now)
        else:
            self.writes += 1
            self.role = Role.UNATTACHED
            if self._is_rejected():  # Else its time is over, and it asks again at once.
                self.until = now + self._election_timeout()
            self.peers.forget_questions()

    def _may_have_vote(self, request: VoteRequest) -> bool:
        """The states' canGrantVote, as a table."""
        fits = self.log.is_up_to_date(request.last_epoch, request.end_offset)
        if request.pre_vote:
            return fits and self.role is not Role.LEADER and not (self.role is Role.FOLLOWER and self.has_fetched)
        if self.role not in (Role.UNATTACHED, Role.PROSPECTIVE):
            return False
        return self.disk.voted == request.candidate if self.disk.voted else fits and not self.leader

    def _vote_for(self, candidate: str, now: Micros) -> None:
        """And give it the time to be elected."""
        if self.disk.voted != candidate:
            self.disk.voted, self.until = candidate, now + self._election_timeout()
            self.votes = {self.name: True}
            self.writes += 1

    # Who leads.

    def follow(self, leader: str, epoch: int, now: Micros) -> None:
        self.role, self.has_fetched = Role.FOLLOWER, False
        self._lead_nothing()
        self.writes += 1
        super().follow(leader, epoch, now)

    def know_no_leader(self, epoch: int, now: Micros) -> None:
        self._be_unattached(epoch, now)

    def _be_unattached(self, epoch: int, now: Micros) -> None:
        """Who was waiting for an election waits on for as long as it would have (QuorumState.transitionToUnattached)."""
        waits_on = self.role in (Role.CANDIDATE, Role.UNATTACHED, Role.PROSPECTIVE) or (self.role is Role.RESIGNED and self.profile.pre_vote)
        until = self.until
        self.role = Role.UNATTACHED
        self._lead_nothing()
        self.writes += 1
        super().know_no_leader(epoch, now)
        self.until = until if waits_on else now + self._election_timeout()

    def take(self, message: RaftFetchResponse, now: Micros) -> None:
        self.has_fetched = True
        super().take(message, now)
        self.until += self.draw("noticed", NOTICED_WITHIN_US)
        self.writes += bool(message.entries)

    def _take_the_lead(self, now: Micros) -> None:
        self.role, self.retries = Role.LEADER, 0
        self.disk.leader = self.name
        self.writes += 1
        self._lead_nothing()
        self.ends = dict.fromkeys(self.others, -1)
        self.epoch_start = self.log.end_offset
        self.unacknowledged = [*self.others]
        self.begin_at = now
        self._count_on_a_majority(now)

    def _count_on_a_majority(self, now: Micros) -> None:
        """KC-86. Before 3.7 a leader that nobody hears leads on."""
        self.fetched = {}
        self.until = now + self.fetch_timeout * 3 // 2 if self.profile.check_quorum and self.others else NEVER  # The only voter always has one.

    def _make_known(self, now: Micros, out: list[Effect]) -> None:
        """BeginQuorumEpoch: to whoever has not answered; from 3.9 to all, again and again."""
        if self.profile.begin_quorum_epoch_repeats:
            if self.begin_at > now:
                return
            self.begin_at, names = now + self.fetch_timeout // 2, self.others
        else:
            self.begin_at, names = NEVER, self.unacknowledged
        for name in names:
            if self.peers.is_ready(name, now):
                self.peers.ask(name, BeginQuorumEpochRequest(self.name, self.epoch), now, out)

    def end(self, now: Micros) -> None:
        """It is to end, and leads no more."""
        self.ending = True
        if self.leads:
            self._resign(now)

    @property
    def has_remote_leader(self) -> bool:
        return self.leader not in ("", self.name)

    def _resign(self, now: Micros) -> None:
        preferred = tuple(sorted(self.others, key=lambda name: -self.ends[name]))
        self.role = Role.RESIGNED
        self._lead_nothing()
        self.unacknowledged, self.preferred = [*self.others], preferred
        self.peers.forget_questions()
        self.until = now + self._election_timeout()

    # What the leader has.

    def append(self, entries: Iterable[MetadataEntry]) -> None:
        self.log.entries.extend(entries)
        self._advance()

    def _advance(self) -> None:
        """A majority has it, the leader counted; but nothing of older epochs alone (KIP-595)."""
        held = sorted([self.log.end_offset, *self.ends.values()], reverse=True)[self.majority - 1]
        if held > max(self.epoch_start, self.committed):
            self.committed = held
            self.high_watermark = max(self.high_watermark, held)

    def serve_parked(self, now: Micros, out: list[Effect]) -> None:
        """Whom there is something to tell. Before 4.1 a commit alone is no reason (KC-80)."""
        for connection, fetch in list(self.parked.items()):
            if fetch.at_a_leader is not self.leads:
                del self.parked[connection]
                self._serve_fetch(connection, fetch.request, now, out)
            elif self._has_news(fetch.request):
                del self.parked[connection]
                out.append(Send(connection, self._fetched(fetch.request)))

    def _has_news(self, request: RaftFetchRequest) -> bool:
        if not self.leads or request.epoch != self.epoch:
            return request.epoch < self.epoch or (request.epoch == self.epoch and bool(self.leader) and not request.leader)
        return request.offset < self.log.end_offset or (self.profile.parked_metadata_fetch_sees_commit and request.high_watermark < self.committed)

    # Requests.

    def serve(self, connection: str, request: RaftRequest, now: Micros, out: list[Effect]) -> None:
        match request:
            case VoteRequest():
                error = self._refusal(request.epoch)
                if error is ErrorCode.NONE and request.epoch > self.epoch:
                    self._be_unattached(request.epoch, now)
                granted = error is ErrorCode.NONE and self._may_have_vote(request)
                if granted and not request.pre_vote:
                    self._vote_for(request.candidate, now)
                out.append(Send(connection, VoteResponse(error, self.epoch, self.leader, granted)))
            case BeginQuorumEpochRequest():
                error = self._refusal(request.epoch)
                if error is ErrorCode.NONE:
                    self.hear_of(request.leader, request.epoch, now)
                out.append(Send(connection, BeginQuorumEpochResponse(error, self.epoch, self.leader)))
            case EndQuorumEpochRequest():
                error = self._refusal(request.epoch)
                if error is ErrorCode.NONE:
                    self.hear_of(request.leader, request.epoch, now)
                    if self.role is Role.FOLLOWER and self.leader == request.leader:
                        self.until = now + self._succession_pause(request.preferred)
                out.append(Send(connection, EndQuorumEpochResponse(error, self.epoch, self.leader)))
            case RaftFetchRequest():
                self._serve_fetch(connection, request, now, out)

    def _refusal(self, epoch: int) -> ErrorCode:
        return ErrorCode.FENCED_LEADER_EPOCH if epoch < self.epoch else ErrorCode.NONE

    def _succession_pause(self, preferred: tuple[str, ...]) -> Micros:
        place = preferred.index(self.name) if self.name in preferred else -1
        return ms(succession_backoff_ms(place, len(preferred), self.election_backoff_max_ms))

    def _serve_fetch(self, connection: str, request: RaftFetchRequest, now: Micros, out: list[Effect]) -> None:
        response = self._fetched(request)
        if response.error is ErrorCode.NONE and response.diverging is None:
            if request.replica in self.ends:
                self._follower_has(request.replica, request.offset, now)
                response = self._fetched(request)
            if not response.entries and not self._has_news(request):
                self.parked[connection] = Parked(request, now + MAX_FETCH_WAIT, at_a_leader=True)
                return
        elif response.error is not ErrorCode.NONE and request.patience > 0 and not self._has_news(request):
            self.parked[connection] = Parked(request, now + request.patience, at_a_leader=self.leads)
            return
        out.append(Send(connection, response))

    def _follower_has(self, follower: str, offset: int, now: Micros) -> None:
        self.ends[follower] = offset
        self._advance()
        self.fetched[follower] = None
        if len(self.fetched) >= self.majority - 1:
            self._count_on_a_majority(now)

    def _fetched(self, request: RaftFetchRequest) -> RaftFetchResponse:
        error = self._refusal(request.epoch)
        if error is ErrorCode.NONE:
            error = ErrorCode.UNKNOWN_LEADER_EPOCH if request.epoch > self.epoch else ErrorCode.NONE if self.leads else ErrorCode.NOT_LEADER_OR_FOLLOWER
        if error is not ErrorCode.NONE:
            return RaftFetchResponse(error, self.epoch, self.leader)
        diverging = self.log.diverges(request.offset, request.last_epoch)
        entries = tuple(self.log.entries[request.offset :]) if diverging is None else ()
        return RaftFetchResponse(error, self.epoch, self.leader, entries, self.committed, diverging)

    def handle_response(self, whom: str, message: RaftResponse, now: Micros) -> None:
        match message:
            case VoteResponse() if self.role in (Role.PROSPECTIVE, Role.CANDIDATE):
                self._vote_came(whom, message.granted, now)
            case RaftFetchResponse() if self.role is Role.FOLLOWER:
                self.take(message, now)
            case BeginQuorumEpochResponse() | EndQuorumEpochResponse():  # In the role that asked: another has forgotten its questions.
                self.unacknowledged = [name for name in self.unacknowledged if name != whom]

    def closed(self, connection: str) -> None:
        """Somebody who had asked is gone."""
        self.parked.pop(connection, None)
