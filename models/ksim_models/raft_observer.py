"""Fetching the metadata log: who leads its epoch, what is committed, and what to do where the leader is silent. Observers (brokers) do this alone.

Kafka: KafkaRaftClient (pollFollowerAsObserver, maybeSendFetchToBestNode, handleFetchResponse, maybeHandleCommonResponse), FollowerState; KIP-595.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode
from ksim_models.machine import Dice, Effect
from ksim_models.profiles import BrokerProfile
from ksim_models.quorum_messages import RaftFetchRequest, RaftFetchResponse, RaftResponse
from ksim_models.raft_log import RaftDisk
from ksim_models.raft_peers import Peers
from ksim_models.units import NEVER, Micros, ms

ASKS_AGAIN_AFTER: Micros = ms(100)
"""Simplified: a voter that does not lead answers at once in Kafka, and is asked again at once, at the pace of round trips while there is no leader. Here it
answers when it can tell more than the asker knows, at most so much later: what changes is heard of in the same moment, without the questions in between."""


class RaftObserver:
    def __init__(
        self, name: str, voters: Sequence[str], profile: BrokerProfile, config: BrokerConfig, dice: Dice, name_connection: Callable[[str], str], disk: RaftDisk
    ) -> None:
        self.name = name
        self.others = [voter for voter in voters if voter != name]
        self.profile = profile
        self.dice = dice
        self.disk = disk
        self.log = disk.log
        self.fetch_timeout = ms(config.controller_quorum_fetch_timeout_ms)
        self.peers = Peers(self.others, name_connection, ms(config.controller_quorum_request_timeout_ms), ms(config.controller_quorum_retry_backoff_ms))
        self.draws = 0
        """How often chance was asked: the next time is another one."""
        self.high_watermark = 0
        """Up to here this one knows the log to be committed. Not on the disk."""
        self.until: Micros = NEVER
        """When its patience ends, with a silent leader (and of a voter, with an election)."""
        self.patient = True

    @property
    def epoch(self) -> int:
        return self.disk.epoch

    @property
    def leader(self) -> str:
        return self.disk.leader

    def draw(self, purpose: str, below: int) -> int:
        self.draws += 1
        return int(self.dice.at(purpose, self.name, self.draws) * below)

    # Time.

    @property
    def wake_at(self) -> Micros:
        at = min(self.until, self.peers.wake_at)
        return at if self.peers.any_asked() else min(at, self.peers.pause_ends(self.others))

    def start(self, now: Micros) -> None:
        """The process starts: it knows what is on its disk, and nothing of what is committed."""
        self.high_watermark = 0
        self.peers.forget()
        self.listen(now)

    def listen(self, now: Micros) -> None:
        """To the leader that is known."""
        self.patient, self.until = True, now + self.fetch_timeout if self.leader else NEVER

    def poll(self, now: Micros, out: list[Effect]) -> None:
        """What is to be done by itself (KafkaRaftClient.poll)."""
        late = self.peers.time_out(now, out)
        while self.until <= now:  # A drawn pause may be none at all.
            self.patience_ends(now)
        self.act(late, now, out)

    def patience_ends(self, now: Micros) -> None:
        """An observer asks whomever it finds, and goes on doing so until somebody answers."""
        self.patient, self.until = False, NEVER

    def act(self, late: list[str], now: Micros, out: list[Effect]) -> None:
        if self.leader and self.patient:
            self.fetch_from_the_best(late, now, out)
        else:
            self.fetch_from_any(now, out)

    # Asking.

    def fetch_from_the_best(self, late: list[str], now: Micros, out: list[Effect]) -> None:
        """The leader; another one while that has just failed, in order to hear of a change."""
        if self.leader not in late and self.peers.is_ready(self.leader, now):
            if not self.peers.any_asked():
                self._fetch(self.leader, now, out)
        elif self.peers.by_name[self.leader].asked is None:
            self.fetch_from_any(now, out)

    def fetch_from_any(self, now: Micros, out: list[Effect]) -> None:
        if self.peers.any_asked():
            return
        first = self.draw("fetch from", len(self.others)) if any(self.peers.is_ready(name, now) for name in self.others) else 0
        ready = [name for name in [*self.others[first:], *self.others[:first]] if self.peers.is_ready(name, now)]
        if ready:
            self._fetch(ready[0], now, out)

    def _fetch(self, whom: str, now: Micros, out: list[Effect]) -> None:
        patience = self._until_it_would_ask_another(whom, now) - now
        request = RaftFetchRequest(self.name, self.epoch, self.log.end_offset, self.log.last_epoch, self.high_watermark, self.leader, patience)
        self.peers.ask(whom, request, now, out)

    def _until_it_would_ask_another(self, whom: str, now: Micros) -> Micros:
        at = min(now + ASKS_AGAIN_AFTER, self.until)
        return at if whom == self.leader else min(at, self.peers.unconnected_at(whom, now))

    # Hearing.

    def received(self, connection: str, message: RaftResponse, now: Micros, out: list[Effect]) -> None:
        peer = self.peers.answered(connection, out)
        if peer is not None and not self._is_handled_as_any(message, now):
            self.handle_response(peer.name, message, now)

    def _is_handled_as_any(self, message: RaftResponse, now: Micros) -> bool:
        """maybeHandleCommonResponse: what every answer says about epoch and leader. False where there is more in it for the role at hand."""
        if message.epoch < self.epoch or message.error is ErrorCode.UNKNOWN_LEADER_EPOCH:
            return True
        if message.epoch > self.epoch or message.error in (ErrorCode.FENCED_LEADER_EPOCH, ErrorCode.NOT_LEADER_OR_FOLLOWER):
            self.hear_of(message.leader, message.epoch, now)
            return True
        if message.leader and not self.leader:
            self.follow(message.leader, message.epoch, now)
        return message.error is not ErrorCode.NONE

    def hear_of(self, leader: str, epoch: int, now: Micros) -> None:
        """maybeTransition."""
        if epoch > self.epoch:
            if leader:
                self.follow(leader, epoch, now)
            else:
                self.know_no_leader(epoch, now)
        elif leader and not self.leader:
            self.follow(leader, epoch, now)

    def handle_response(self, whom: str, message: RaftResponse, now: Micros) -> None:
        if isinstance(message, RaftFetchResponse) and self.leader:
            self.take(message, now)

    def take(self, message: RaftFetchResponse, now: Micros) -> None:
        """What the leader sent. Uncommitted records may have to go again, committed ones never."""
        if message.diverging is not None:
            self.log.truncate(message.diverging)
        else:
            self.log.entries.extend(message.entries)
            self.high_watermark = max(self.high_watermark, min(message.high_watermark, self.log.end_offset))
        self.listen(now)

    # Who leads.

    def follow(self, leader: str, epoch: int, now: Micros) -> None:
        if epoch > self.epoch:
            self.disk.voted = ""
        self.disk.epoch, self.disk.leader = epoch, leader
        self.peers.forget_questions()
        self.listen(now)

    def know_no_leader(self, epoch: int, now: Micros) -> None:
        self.disk.epoch, self.disk.leader, self.disk.voted = epoch, "", ""
        self.patient, self.until = True, NEVER
        self.peers.forget_questions()
