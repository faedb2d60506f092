"""The controller: who lives, who leads, and who is in sync, written down in the metadata log.

Kafka: QuorumController with ClusterControlManager, BrokerHeartbeatManager and ReplicationControlManager, in KRaft mode.
While there is none nobody is elected, registered or taken out of an ISR, and the brokers go on with what they know (KC-84).
Simplified: a quorum of one voter, so a record is committed when its batch is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ksim_models.administration import Administration
from ksim_models.broker_sessions import BrokerSessions
from ksim_models.broker_states import BrokerState, BrokerStates
from ksim_models.broker_variants import RegistrationLeavesIsr
from ksim_models.config import BrokerConfig
from ksim_models.decisions import Decisions
from ksim_models.errors import ErrorCode
from ksim_models.facts import BrokerChanged
from ksim_models.machine import Asked, Closed, Crashed, Dice, Effect, Event, Exit, Note, Opened, Received, Restarted, Send, Terminated, Wake
from ksim_models.messages import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    BrokerHeartbeatRequest,
    BrokerHeartbeatResponse,
    BrokerRecord,
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    MetadataFetchRequest,
    MetadataFetchResponse,
    MetadataRecord,
    PartitionRecord,
    TopicRecord,
)
from ksim_models.metadata_log import MetadataLog
from ksim_models.periodic_elections import PeriodicElection
from ksim_models.profiles import BrokerProfile
from ksim_models.replication_control import ReplicationControl
from ksim_models.topic_creation import created
from ksim_models.units import NEVER, Micros, ms

PARKED_FETCH_WAIT: Micros = ms(500)  # KC-80: so long a fetch is parked; before 4.1 it may learn only then that records were committed.


@dataclass(frozen=True, slots=True)
class NewTopic:
    name: str
    assignment: tuple[tuple[str, ...], ...]
    """Per partition its replicas, the preferred leader first."""
    given: tuple[tuple[str, str], ...]
    """Topic settings that were set, by Kafka's names."""


@dataclass(slots=True)
class ParkedFetch:
    broker: str
    offset: int
    answer_at: Micros = NEVER
    """When there is something to tell."""
    until: Micros = NEVER
    """Then it is answered, with nothing."""


class Controller(Decisions):
    """At the start the cluster is already formed: every broker is registered and unfenced, every partition is led by its preferred replica with all in sync."""

    def __init__(
        self,
        name: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        dice: Dice,
        brokers: Sequence[str],
        topics: Sequence[NewTopic],
        *,
        first_contact: Mapping[str, Micros],
        active_since: Micros = 0,
    ) -> None:
        log = MetadataLog(formed_cluster(brokers, topics), config)
        self._take_office(name, profile, config, dice, log, {broker: first_contact[broker] for broker in brokers}, active_since)

    def _take_office(
        self, name: str, profile: BrokerProfile, config: BrokerConfig, dice: Dice, log: MetadataLog, contacts: Mapping[str, Micros], active_since: Micros
    ) -> None:
        self.name = name
        self._profile = profile
        self._dice = dice
        # Durable: the metadata log.
        self._log = log
        # Volatile: everything about the living, and who waits for an answer.
        self._replication = ReplicationControl(profile, self._log)
        self._administration = Administration(profile, self._log, self._replication)
        self._states = BrokerStates()
        self._sessions = BrokerSessions(ms(config.broker_session_timeout_ms), profile, contacts)
        self._answers: list[tuple[int, Send]] = []  # And how much must be committed before they are true.
        self._parked: dict[str, ParkedFetch] = {}  # By connection.
        self._running = True
        self.answers_idle_fetches = False
        """Whether a fetch is answered after a while though there is nothing to tell: it matters only to a broker whose next one would not come through."""
        self.answered = ErrorCode.NONE
        """The answer to an administrator's last request."""
        self._elections: list[PeriodicElection] = []
        if config.auto_leader_rebalance_enable:
            every = ms(1000 * config.leader_imbalance_check_interval_seconds)
            self._elections.append(PeriodicElection(every, profile.periodic_elections, lambda: bool(self._log.imbalanced), self._replication.balance))
        if profile.unclean_election_sweep:
            every = ms(config.unclean_leader_election_interval_ms)
            waits = self._replication.waits_for_unclean_election
            self._elections.append(PeriodicElection(every, profile.periodic_elections, waits, self._replication.elect_unclean_leaders))
        for election in self._elections:
            election.begin(active_since)

    @property
    def settled(self) -> bool:
        """Nothing waits to be committed, and no parked fetch waits to be told of a commit."""
        return not self._log.uncommitted and all(fetch.answer_at == NEVER for fetch in self._parked.values())

    # The machine.

    @property
    def wake_at(self) -> Micros | None:
        if not self._running:
            return None
        at = min(self._log.commit_at, self._sessions.next_check(self._log.unfenced()))
        for fetch in self._parked.values():
            at = min(at, fetch.answer_at, fetch.until)
        for election in self._elections:
            at = min(at, election.wake_at)
        return None if at == NEVER else at

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if self._running:
            for election in self._elections:
                election.turn(now)
        match event:
            case Wake():
                self._on_wake(now)
            case Received(connection, message):
                self._on_received(connection, message, now, out)
            case Closed(connection):
                self._on_closed(connection)
            case Crashed():
                self._on_crashed()
            case Terminated():
                self._on_crashed()  # It hands nothing over: there is no other one.
                out.append(Exit())
            case Restarted():
                self._on_restarted(now)
            case Asked(request):
                self.answered = self._administration.handle(request, now)
            case Opened():
                pass
        for election in self._elections:
            election.look(now)
        self._commit(now, out)
        self._answer_parked_fetches(now, out)
        return out

    def _on_received(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        if not self._running:
            return
        match message:
            case BrokerHeartbeatRequest():
                self._on_heartbeat(connection, message, now, out)
            case MetadataFetchRequest():
                self._on_metadata_fetch(connection, message, now)
            case AlterPartitionRequest():
                self._on_alter_partition(connection, message, now, out)
            case BrokerRegistrationRequest():
                self._on_registration(connection, message, now, out)
            case CreateTopicsRequest():
                for topic in (topic for topic in message.topics if topic not in self._log.topics):
                    for record, fact in created(topic, message, self._log.unfenced(), self._dice, self._log.end_offset):
                        self._log.append(record, () if fact is None else (fact,), now)
                self._answer(connection, CreateTopicsResponse(message.topics), out)
            case _:
                raise AssertionError(f"{self.name} is a controller and was sent {message!r}")

    def _on_closed(self, connection: str) -> None:
        self._parked.pop(connection, None)
        self._answers = [(needed, answer) for needed, answer in self._answers if answer.connection != connection]

    def _on_crashed(self) -> None:
        self._running = False
        self._log.forget_uncommitted()
        self._answers, self._parked = [], {}

    def _on_restarted(self, now: Micros) -> None:
        self._running = True
        self._states.forget()
        self._sessions.restart(self._log.unfenced(), now)
        for election in self._elections:
            election.begin(now)

    def _on_wake(self, now: Micros) -> None:
        while self._running and (broker := self._sessions.find_stale(self._log.unfenced(), now)) is not None:
            self._fence(broker, now)

    # Brokers: registration, heartbeats, fencing.

    def _on_registration(self, connection: str, request: BrokerRegistrationRequest, now: Micros, out: list[Effect]) -> None:
        """KC-10, KC-13. A repeated request of the same incarnation, whose answer was lost, is told what it has."""
        known = self._log.brokers.get(request.broker)
        if known is None or known.incarnation != request.incarnation:
            if known is not None and self._sessions.is_valid(request.broker, now, fenced=known.fenced):
                out.append(Send(connection, BrokerRegistrationResponse(ErrorCode.DUPLICATE_BROKER_REGISTRATION, -1)))
                return
            if known is not None:
                self._take_over_from(known, request, now)
            broker_epoch = self._log.end_offset + 1  # One more than the offset of the record, as for the brokers of the start.
            known = BrokerRecord(request.broker, broker_epoch, fenced=True, incarnation=request.incarnation)
            self._log.append(known, (BrokerChanged(request.broker, broker_epoch, "registered"),), now)
            self._states.fence(request.broker)
        self._sessions.heard_of(request.broker, now)
        self._answer(connection, BrokerRegistrationResponse(ErrorCode.NONE, known.broker_epoch), out)

    def _take_over_from(self, known: BrokerRecord, request: BrokerRegistrationRequest, now: Micros) -> None:
        """A new incarnation is not in sync because the old one was (KC-57); whether the old one stopped cleanly is in the request (KC-58)."""
        clean = request.previous_broker_epoch == known.broker_epoch
        leaves = self._profile.registration_leaves_isr
        if leaves is RegistrationLeavesIsr.NEW_INCARNATION or (leaves is RegistrationLeavesIsr.UNMATCHED and not clean):
            self._replication.broker_leaves(request.broker, f"registered {request.broker}", now, lost_records=not clean)

    def _on_heartbeat(self, connection: str, request: BrokerHeartbeatRequest, now: Micros, out: list[Effect]) -> None:
        """KC-12, KC-14, KC-17."""
        broker = request.broker
        if self._is_stale(broker, request.broker_epoch):
            out.append(Send(connection, BrokerHeartbeatResponse(ErrorCode.STALE_BROKER_EPOCH, is_caught_up=False, is_fenced=True)))
            return
        self._sessions.heard_of(broker, now)
        current = self._states.current(broker, fenced=self.is_fenced(broker))
        then = self._states.next(request, current, self._log.unfenced(), self._log.has_leaderships)
        if then is not current:
            match then:
                case BrokerState.UNFENCED:
                    self._unfence(broker, now)
                case BrokerState.CONTROLLED_SHUTDOWN:
                    self._begin_shutdown(broker, now)
                case BrokerState.FENCED:
                    self._fence(broker, now)
                case BrokerState.SHUTDOWN_NOW:
                    self._fence(broker, now, "shut-down")
        self._states.touch(broker, fenced=self.is_fenced(broker), metadata_offset=request.current_metadata_offset)
        if request.offline_replicas != self._log.brokers[broker].offline_replicas:
            self._replicas_go_offline(broker, request.offline_replicas, now)
        caught_up = request.current_metadata_offset >= request.broker_epoch - 1
        response = BrokerHeartbeatResponse(ErrorCode.NONE, caught_up, self.is_fenced(broker), should_shut_down=then is BrokerState.SHUTDOWN_NOW)
        self._answer(connection, response, out)

    def _is_stale(self, broker: str, broker_epoch: int) -> bool:
        known = self._log.brokers.get(broker)
        return known is None or known.broker_epoch != broker_epoch

    def _fence(self, broker: str, now: Micros, state: str = "fenced") -> None:
        """KC-20: first the partitions, then the fence."""
        self._replication.broker_leaves(broker, f"{state} {broker}", now)
        known = self._log.brokers[broker]
        record = replace(known, fenced=True)
        self._log.append(record, (BrokerChanged(broker, known.broker_epoch, state),), now)
        self._states.fence(broker)

    def _unfence(self, broker: str, now: Micros) -> None:
        """KC-20, KC-22: first the fence, then the elections."""
        known = self._log.brokers[broker]
        self._log.append(replace(known, fenced=False), (BrokerChanged(broker, known.broker_epoch, "unfenced"),), now)
        self._replication.broker_returns(broker, now)

    def _begin_shutdown(self, broker: str, now: Micros) -> None:
        """KC-23: first that it leaves, so that nothing is given to it any more, then its ISRs and leaderships."""
        known = self._log.brokers[broker]
        self._log.append(replace(known, in_controlled_shutdown=True), (BrokerChanged(broker, known.broker_epoch, "shutting-down"),), now)
        self._replication.broker_leaves(broker, f"shutting-down {broker}", now)
        self._states.begin_shutdown(broker, self._log.end_offset)

    def _replicas_go_offline(self, broker: str, partitions: tuple[str, ...], now: Micros) -> None:
        """KIP-858: first the elections, then the registration without the directory."""
        known = self._log.brokers[broker]
        self._replication.replicas_go_offline(broker, tuple(partition for partition in partitions if partition not in known.offline_replicas), now)
        self._log.append(replace(known, offline_replicas=partitions), (), now)

    def _on_alter_partition(self, connection: str, request: AlterPartitionRequest, now: Micros, out: list[Effect]) -> None:
        if self._is_stale(request.broker, request.broker_epoch):  # KC-60.
            out.append(Send(connection, AlterPartitionResponse(ErrorCode.STALE_BROKER_EPOCH, ())))
            return
        results = tuple(self._replication.alter_partition(request.broker, item, now) for item in request.items)
        self._answer(connection, AlterPartitionResponse(ErrorCode.NONE, results), out)

    # The metadata log.

    def _answer(self, connection: str, response: object, out: list[Effect]) -> None:
        """An answer may rest on records not yet committed, so it waits for whatever waits (QuorumController's deferred events)."""
        if self._log.uncommitted:
            self._answers.append((self._log.end_offset, Send(connection, response)))
        else:
            out.append(Send(connection, response))

    def _answer_what_is_committed(self, out: list[Effect]) -> None:
        committed = len(self._log.committed)
        out.extend(answer for needed, answer in self._answers if needed <= committed)
        self._answers = [waiting for waiting in self._answers if waiting[0] > committed]

    def _commit(self, now: Micros, out: list[Effect]) -> None:
        if self._log.commit_at > now:
            return
        out.extend(Note(fact) for fact in self._log.commit())
        self._answer_what_is_committed(out)
        for fetch in self._parked.values():
            if fetch.answer_at == NEVER:
                fetch.answer_at = now + self._parked_fetch_delay(fetch)

    def _parked_fetch_delay(self, fetch: ParkedFetch) -> Micros:
        if self._profile.parked_metadata_fetch_sees_commit:
            return 0
        return int(self._dice.at("metadata", fetch.broker, fetch.offset) * PARKED_FETCH_WAIT)

    def _on_metadata_fetch(self, connection: str, request: MetadataFetchRequest, now: Micros) -> None:
        answer_at = now if request.offset < len(self._log.committed) else NEVER
        until = now + PARKED_FETCH_WAIT if self.answers_idle_fetches else NEVER
        self._parked[connection] = ParkedFetch(request.broker, request.offset, answer_at, until)

    def _answer_parked_fetches(self, now: Micros, out: list[Effect]) -> None:
        committed = self._log.committed
        for connection, fetch in list(self._parked.items()):
            if min(fetch.answer_at, fetch.until) <= now:
                del self._parked[connection]
                out.append(Send(connection, MetadataFetchResponse(len(committed), tuple(committed[fetch.offset :]))))


def formed_cluster(brokers: Sequence[str], topics: Sequence[NewTopic]) -> Iterable[MetadataRecord]:
    for epoch, broker in enumerate(brokers, start=1):
        yield BrokerRecord(broker, epoch, fenced=False)
    for topic in topics:
        yield TopicRecord(topic.name, len(topic.assignment), topic.given)
        for number, replicas in enumerate(topic.assignment):
            yield PartitionRecord(
                partition=f"{topic.name}-{number}",
                replicas=replicas,
                isr=replicas,
                elr=(),
                last_known_elr=(),
                leader=replicas[0],
                leader_epoch=0,
                partition_epoch=0,
                recovering=False,
            )
