"""A voter of the controllers' quorum alone: c2 of three, the others are played by hand."""

from __future__ import annotations

from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.machine import Effect, Send
from ksim_models.messages import LeaderChangeRecord
from ksim_models.profiles import broker_profile
from ksim_models.quorum_messages import MetadataEntry, RaftFetchRequest, RaftRequest, RaftResponse, VoteResponse
from ksim_models.raft import RaftVoter
from ksim_models.raft_log import RaftDisk, RaftLog
from ksim_models.raft_roles import Role
from ksim_models.units import Micros
from scripted import Half

VOTERS = ("c1", "c2", "c3")
FORMED = (MetadataEntry(1, LeaderChangeRecord("c1", 1)),)


class LoneVoter:
    """A voter alone, the others played by hand. Its connections stand at once."""

    def __init__(self, name: str = "c2", version: str = "4.1", *, entries: tuple[MetadataEntry, ...] = FORMED, config: BrokerConfig | None = None) -> None:
        self.names = 0
        self.disk = RaftDisk(RaftLog(entries), 1, "c1")
        self.raft = RaftVoter(name, VOTERS, broker_profile(version), config or BrokerConfig(), Half(), self._name_connection, self.disk)
        self.raft.begin_as_formed("c1", 0)
        self.now: Micros = 0
        self.poll()

    def _name_connection(self, peer: str) -> str:
        self.names += 1
        return f"->{peer}#{self.names}"

    def poll(self, at: Micros | None = None) -> list[Effect]:
        self.now = self.now if at is None else at
        out: list[Effect] = []
        self.raft.poll(self.now, out)
        self._connect(out)
        return out

    def _connect(self, out: list[Effect]) -> None:
        for connection, peer in list(self.raft.peers.by_connection.items()):
            if not peer.open:
                self.raft.peers.opened(connection, out)

    def ask(self, request: RaftRequest) -> list[RaftResponse]:
        out: list[Effect] = []
        self.raft.serve("in", request, self.now, out)
        answers = [effect.message for effect in out if isinstance(effect, Send) and effect.connection == "in"]
        self.poll()
        return answers  # type: ignore[return-value]

    def asked(self, peer: str) -> RaftRequest | None:
        return self.raft.peers.by_name[peer].under_way

    def answer(self, peer: str, response: RaftResponse) -> None:
        connection = self.raft.peers.by_name[peer].connection
        assert connection is not None
        out: list[Effect] = []
        self.raft.received(connection, response, self.now, out)
        self.poll()

    def vote(self, peer: str, granted: bool = True, error: E = E.NONE) -> None:
        self.answer(peer, VoteResponse(error, self.raft.epoch, self.raft.leader, granted))

    def lead(self) -> None:
        """Elected by c3."""
        self.poll(self.raft.until)
        while self.raft.role in (Role.PROSPECTIVE, Role.CANDIDATE):
            self.vote("c3")
        assert self.raft.leads

    def fetched_by(self, follower: str, offset: int, *, high_watermark: int = 0) -> list[RaftResponse]:
        epoch = self.raft.log.entries[offset - 1].epoch if offset else 0
        return self.ask(RaftFetchRequest(follower, self.raft.epoch, offset, epoch, high_watermark))
