"""A controller of several: a voter, and while it leads the quorum the active controller.

Kafka: KafkaRaftManager with QuorumController as its listener; ControllerServer (startup, shutdown). KC-84 to KC-86.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksim_models.active_controller import ActiveController, ReplicatedMetadataLog, refusal
from ksim_models.commit_book import CommitBook
from ksim_models.config import BrokerConfig
from ksim_models.errors import ErrorCode
from ksim_models.facts import ControllerChanged
from ksim_models.machine import Asked, Closed, Crashed, Dice, Effect, Event, Exit, Note, Opened, Received, Restarted, Send, Terminated, Wake
from ksim_models.profiles import BrokerProfile
from ksim_models.quorum_messages import RAFT_REQUESTS, RAFT_RESPONSES, MetadataEntry
from ksim_models.raft import RaftVoter
from ksim_models.raft_log import RaftDisk, RaftLog
from ksim_models.raft_thread import RaftThread
from ksim_models.units import NEVER, Micros, ms

SHUTDOWN_AT_MOST: Micros = ms(5_000)
"""KafkaRaftManager.shutdown: so long a voter waits until another one leads before it goes."""


class QuorumController:
    def __init__(
        self,
        name: str,
        voters: Sequence[str],
        profile: BrokerProfile,
        config: BrokerConfig,
        dice: Dice,
        book: CommitBook,
        *,
        first_contact: Mapping[str, Micros],
        now: Micros,
    ) -> None:
        """At the start the quorum stands: the first voter leads its first epoch and has heard of every broker, all have the whole log."""
        self.name = name
        self._profile = profile
        self._config = config
        self._dice = dice
        self._book = book
        self._connections_made = 0
        self.disk = RaftDisk(RaftLog(book.entries), book.entries[-1].epoch, voters[0])
        self.raft = RaftVoter(name, voters, profile, config, dice, self._name_connection, self.disk)
        self.running = True
        self.active: ActiveController | None = None
        self.answered = ErrorCode.NONE
        """The answer to an administrator's last request."""
        self._exit_at: Micros = NEVER
        """When it is about to end: then at the latest."""
        self.raft.begin_as_formed(voters[0], now)
        self.thread = RaftThread(self.raft)
        if self.raft.leads:
            log = ReplicatedMetadataLog([entry.record for entry in book.entries], config)
            self.active = ActiveController(name, profile, config, dice, log, first_contact, now)
            self._active_epoch = self.raft.epoch
        self._poll_at: Micros = now
        """The first turn."""

    def _name_connection(self, peer: str) -> str:
        self._connections_made += 1
        return f"{self.name}->{peer}#{self._connections_made}"

    @property
    def wake_at(self) -> Micros | None:
        if not self.running:
            return None
        at = min(self.thread.wake_at, self._exit_at, self._poll_at)
        wanted = None if self.active is None else self.active.wake_at
        at = at if wanted is None else min(at, wanted)
        return None if at == NEVER else at

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        match event:
            case Received(connection, message) if self.running:
                self._on_received(connection, message, event, now, out)
            case Opened(connection) if not event.accepted and connection in self.raft.peers.by_connection:
                self.raft.peers.opened(connection, out)
            case Closed(connection):
                self._on_closed(connection, now, out)
            case Crashed():
                self.running, self.active = False, None
            case Restarted():
                self.running, self._exit_at = True, NEVER
                self.thread.start(now)
            case Terminated() if self.running:
                self._exit_at = now + SHUTDOWN_AT_MOST
            case Asked(request):
                self._on_asked(request, now, out)
            case Wake() if self.active is not None:
                out.extend(self.active.handle(event, now))
            case _:
                pass
        if self.running:
            self._poll_at = NEVER
            self._turn(now, out)
        return out

    def _on_received(self, connection: str, message: object, event: Received, now: Micros, out: list[Effect]) -> None:
        if connection in self.raft.peers.by_connection:
            self.thread.received(connection, message, now, out)  # type: ignore[arg-type]
        elif isinstance(message, RAFT_REQUESTS):
            self.thread.serve(connection, message, now, out)
        elif isinstance(message, RAFT_RESPONSES):
            pass  # It came behind our own closing.
        elif self.active is None:
            out.append(Send(connection, refusal(message)))
        else:
            out.extend(self.active.handle(event, now))

    def _on_closed(self, connection: str, now: Micros, out: list[Effect]) -> None:
        ours = connection in self.raft.peers.by_connection
        self.thread.closed(connection, now)
        if self.active is not None and not ours:
            out.extend(self.active.handle(Closed(connection), now))

    def _on_asked(self, request: object, now: Micros, out: list[Effect]) -> None:
        if self.active is None:
            self.answered = ErrorCode.NOT_CONTROLLER
            return
        out.extend(self.active.handle(Asked(request), now))
        self.answered = self.active.answered

    def _turn(self, now: Micros, out: list[Effect]) -> None:
        """What has changed in the quorum is carried to the controller, and what it has decided to the quorum."""
        ends = self._exit_at < NEVER
        if ends:
            self.raft.end(now)
        self._follow_the_leadership(now, out)
        self.thread.poll(now, out)
        self._follow_the_leadership(now, out)
        if self.active is not None:
            self.raft.append([MetadataEntry(self.raft.epoch, record, tuple(told)) for record, told in self.active.drain(now)])
            if not self.raft.others:
                self._follow_the_leadership(now, out)  # What the only voter appends is committed.
        self.thread.serve_parked(now, out)
        if ends and (self._exit_at <= now or self.raft.has_remote_leader or not self.raft.others):  # KafkaRaftClient.maybeCompleteShutdown
            self.running, self.active = False, None
            out.append(Exit())

    def _follow_the_leadership(self, now: Micros, out: list[Effect]) -> None:
        raft = self.raft
        if self.active is not None and not (raft.leads and raft.epoch == self._active_epoch):
            self.active.renounce(out)
            self.active = None
            out.append(Note(ControllerChanged(self.name, self._active_epoch, "resigned")))
        if raft.leads:
            out.extend(Note(fact) for fact in self._book.learn(raft.log.entries, raft.committed))
        if self.active is not None:
            self.active.commit_to(raft.committed, out)
        elif raft.is_established:
            records = [entry.record for entry in raft.log.entries[: raft.committed]]
            self.active = ActiveController.claim(self.name, self._profile, self._config, self._dice, records, now)
            self._active_epoch = raft.epoch
            out.append(Note(ControllerChanged(self.name, raft.epoch, "active")))
