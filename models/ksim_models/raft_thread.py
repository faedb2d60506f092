"""The one thread of a voter: while it waits for the disk it does nothing else. What comes meanwhile waits for it, and so does what it has to say.

Kafka: KafkaRaftClientDriver; QuorumState.durableTransitionTo (FileQuorumStateStore syncs), KafkaRaftClient.appendAsFollower (a voter flushes).
It decides elections: a candidate asks for votes when its own is on the disk, and another that loses patience before the question comes stands as well.
A prospective voter (KIP-996) writes nothing before it asks. KC-85.
Simplified: what a leader appends is on its disk at once, as it answers fetches before it flushes; a broker's quorum-state, too.
"""

from __future__ import annotations

from ksim_models.machine import Effect
from ksim_models.quorum_messages import RaftRequest, RaftResponse
from ksim_models.raft import RaftVoter
from ksim_models.units import LONG_AGO, Micros

WRITTEN_IN_US = (4_000, 24_000)
"""From when to when a write is over, as measured (experiments/controller-failover)."""


class RaftThread:
    def __init__(self, voter: RaftVoter) -> None:
        self.voter = voter
        self.until: Micros = LONG_AGO
        """It stands still up to here, while `writes`."""
        self.writes = False
        self._waiting: list[tuple[str, RaftRequest | None, RaftResponse | None]] = []
        """What came meanwhile, with the connection it came on."""
        self._held: list[Effect] = []
        """What is to be said then."""
        voter.writes = 0

    @property
    def wake_at(self) -> Micros:
        return self.until if self.writes else self.voter.wake_at

    def start(self, now: Micros) -> None:
        self.until, self.writes, self._waiting, self._held = LONG_AGO, False, [], []
        self.voter.start(now)
        self.voter.writes = 0

    def closed(self, connection: str, now: Micros) -> None:
        """Nothing more comes on it, and nothing goes out."""
        self._waiting = [waiting for waiting in self._waiting if waiting[0] != connection]
        self._held = [effect for effect in self._held if getattr(effect, "connection", "") != connection]
        if connection in self.voter.peers.by_connection:
            self.voter.peers.closed(connection, now)
        else:
            self.voter.closed(connection)

    def serve(self, connection: str, request: RaftRequest, now: Micros, out: list[Effect]) -> None:
        self._take(connection, request, None, now, out)

    def received(self, connection: str, response: RaftResponse, now: Micros, out: list[Effect]) -> None:
        self._take(connection, None, response, now, out)

    def _take(self, connection: str, request: RaftRequest | None, response: RaftResponse | None, now: Micros, out: list[Effect]) -> None:
        if now < self.until:
            self._waiting.append((connection, request, response))
            return
        said: list[Effect] = []
        if request is not None:
            self.voter.serve(connection, request, now, said)
        elif response is not None and connection in self.voter.peers.by_connection:
            self.voter.received(connection, response, now, said)
        self._write(said, now, out)

    def poll(self, now: Micros, out: list[Effect]) -> None:
        """KafkaRaftClient.poll: what the state asks for, then one message, and again."""
        while now >= self.until:
            out.extend(self._held)
            self.writes, self._held = False, []
            said: list[Effect] = []
            self.voter.poll(now, said)
            self._write(said, now, out)
            if not self._waiting or now < self.until:
                break
            self._take(*self._waiting.pop(0), now, out)

    def serve_parked(self, now: Micros, out: list[Effect]) -> None:
        if now >= self.until:
            self.voter.serve_parked(now, out)

    def _write(self, said: list[Effect], now: Micros, out: list[Effect]) -> None:
        if not self.voter.writes:
            out.extend(said)
            return
        least, most = WRITTEN_IN_US
        for _ in range(self.voter.writes):
            self.until = max(now, self.until) + least + self.voter.draw("written", most - least)
        self.voter.writes, self.writes = 0, True
        self._held.extend(said)
