"""The controller: who lives, who leads, and who is in sync, written down in the metadata log.

Kafka: QuorumController with ClusterControlManager, BrokerHeartbeatManager and ReplicationControlManager, in KRaft mode.
Simplified: a quorum of one voter, so a record is committed when its batch is written. No controlled shutdown, no reassignment, no preferred-leader balance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ksim_models.broker_sessions import BrokerSessions
from ksim_models.config import BrokerConfig, TopicConfig, topic_config
from ksim_models.elections import Election, PartitionChangeBuilder, PartitionState
from ksim_models.errors import ErrorCode
from ksim_models.facts import BrokerChanged, PartitionChanged
from ksim_models.machine import Closed, Crashed, Dice, Effect, Event, Note, Opened, Received, Restarted, Send, Wake
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResult,
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
from ksim_models.profiles import BrokerProfile, RegistrationLeavesIsr
from ksim_models.topic_creation import created
from ksim_models.units import NEVER, Micros, ms

PARKED_FETCH_WAIT: Micros = ms(500)  # KC-80: before 4.1 a parked fetch may wait so long until it learns that records were committed.


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
    """Until there is something to tell."""


class Controller:
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
    ) -> None:
        self.name = name
        self._profile = profile
        self._config = config
        self._dice = dice
        # Durable: the metadata log, and in it the incarnation of every registration, by its broker epoch.
        self._log: list[MetadataRecord] = [*_formed_cluster(brokers, topics)]
        self._incarnations: dict[int, int] = {}
        # Volatile: the newest records by name (with those that wait for their commit), and everything about the living.
        self._brokers: dict[str, BrokerRecord] = {}
        self._topics: dict[str, TopicConfig] = {}
        self._partitions: dict[str, PartitionState] = {}
        self._uncommitted: list[tuple[MetadataRecord, BrokerChanged | PartitionChanged | None]] = []
        self._commit_at: Micros = NEVER
        self._answers: list[Send] = []  # They state what is not yet committed.
        self._parked: dict[str, ParkedFetch] = {}  # By connection.
        self._sessions = BrokerSessions(ms(config.broker_session_timeout_ms), profile, {broker: first_contact[broker] for broker in brokers})
        self._running = True
        self._replay()

    # What the simulation may ask. Changes count at once, as in the controller's own decisions.

    @property
    def metadata_log(self) -> Sequence[MetadataRecord]:
        """What is committed."""
        return self._log

    def state_of(self, partition: str) -> PartitionState:
        return self._partitions[partition]

    def leader_of(self, partition: str) -> str:
        return self._partitions[partition].leader

    def isr_of(self, partition: str) -> tuple[str, ...]:
        return self._partitions[partition].isr

    def partitions_of(self, topic: str) -> list[str]:
        """Of a topic that was created on demand, too."""
        return [partition for partition in self._partitions if partition.rpartition("-")[0] == topic]

    def is_fenced(self, broker: str) -> bool:
        return self._brokers[broker].fenced

    @property
    def settled(self) -> bool:
        """Nothing waits to be committed, and no parked fetch waits to be told of a commit."""
        return not self._uncommitted and all(fetch.answer_at == NEVER for fetch in self._parked.values())

    # The machine.

    @property
    def wake_at(self) -> Micros | None:
        if not self._running:
            return None
        at = min(self._commit_at, self._sessions.next_check(self._unfenced()))
        for fetch in self._parked.values():
            if fetch.answer_at < at:
                at = fetch.answer_at
        return None if at == NEVER else at

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        match event:
            case Wake():
                self._on_wake(now)
            case Received(connection, message):
                self._on_received(connection, message, now, out)
            case Closed(connection):
                self._on_closed(connection)
            case Crashed():
                self._on_crashed()
            case Restarted():
                self._on_restarted(now)
            case Opened():
                pass
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
                for topic in message.topics:
                    for record, fact in created(topic, message, self._unfenced(), self._dice) if topic not in self._topics else ():
                        self._append(record, fact, now)
                self._answer(connection, CreateTopicsResponse(message.topics), out)
            case _:
                raise AssertionError(f"{self.name} is a controller and was sent {message!r}")

    def _on_closed(self, connection: str) -> None:
        self._parked.pop(connection, None)
        self._answers = [answer for answer in self._answers if answer.connection != connection]

    def _on_crashed(self) -> None:
        """What was committed stands in the log; the rest is as if it had never been asked for."""
        self._running = False
        self._uncommitted, self._commit_at, self._answers = [], NEVER, []
        self._parked = {}
        self._replay()

    def _on_restarted(self, now: Micros) -> None:
        self._running = True
        self._sessions.restart(self._unfenced(), now)

    def _on_wake(self, now: Micros) -> None:
        while self._running and (broker := self._sessions.find_stale(self._unfenced(), now)) is not None:
            self._fence(broker, now)

    # Brokers: registration, heartbeats, fencing.

    def _on_registration(self, connection: str, request: BrokerRegistrationRequest, now: Micros, out: list[Effect]) -> None:
        """KC-10, KC-13. A repeated request of the same incarnation, whose answer was lost, is told what it has."""
        known = self._brokers.get(request.broker)
        if known is None or self._incarnations.get(known.broker_epoch) != request.incarnation:
            if known is not None and self._sessions.is_valid(request.broker, now, fenced=known.fenced):
                out.append(Send(connection, BrokerRegistrationResponse(ErrorCode.DUPLICATE_BROKER_REGISTRATION, -1)))
                return
            if known is not None:
                self._take_over_from(known, request, now)
            broker_epoch = len(self._log) + len(self._uncommitted) + 1  # One more than the offset of the record, as for the brokers of the start.
            self._incarnations[broker_epoch] = request.incarnation
            known = BrokerRecord(request.broker, broker_epoch, fenced=True)
            self._append(known, BrokerChanged(request.broker, broker_epoch, "registered"), now)
        self._sessions.heard_of(request.broker, now)
        self._answer(connection, BrokerRegistrationResponse(ErrorCode.NONE, known.broker_epoch), out)

    def _take_over_from(self, known: BrokerRecord, request: BrokerRegistrationRequest, now: Micros) -> None:
        """A new incarnation is not in sync because the old one was (KC-57); whether the old one stopped cleanly is in the request (KC-58)."""
        clean = request.previous_broker_epoch == known.broker_epoch
        leaves = self._profile.registration_leaves_isr
        if leaves is RegistrationLeavesIsr.NEW_INCARNATION or (leaves is RegistrationLeavesIsr.UNMATCHED and not clean):
            self._leave(request.broker, f"registered {request.broker}", now, lost_records=not clean)

    def _on_heartbeat(self, connection: str, request: BrokerHeartbeatRequest, now: Micros, out: list[Effect]) -> None:
        """KC-12, KC-14, KC-17."""
        if self._is_stale(request.broker, request.broker_epoch):
            out.append(Send(connection, BrokerHeartbeatResponse(ErrorCode.STALE_BROKER_EPOCH, is_caught_up=False, is_fenced=True)))
            return
        self._sessions.heard_of(request.broker, now)
        registration_offset = request.broker_epoch - 1
        caught_up = request.current_metadata_offset >= registration_offset
        fenced = self.is_fenced(request.broker)
        if fenced and caught_up and not request.want_fence:
            self._unfence(request.broker, now)
        elif not fenced and request.want_fence:
            self._fence(request.broker, now)
        self._answer(connection, BrokerHeartbeatResponse(ErrorCode.NONE, caught_up, self.is_fenced(request.broker)), out)

    def _is_stale(self, broker: str, broker_epoch: int) -> bool:
        known = self._brokers.get(broker)
        return known is None or known.broker_epoch != broker_epoch

    def _fence(self, broker: str, now: Micros) -> None:
        """KC-20: first the partitions, then the fence."""
        self._leave(broker, f"fenced {broker}", now)
        broker_epoch = self._brokers[broker].broker_epoch
        self._append(BrokerRecord(broker, broker_epoch, fenced=True), BrokerChanged(broker, broker_epoch, "fenced"), now)

    def _unfence(self, broker: str, now: Micros) -> None:
        """KC-20, KC-22: first the fence, then elections where nobody leads. Into the ISR it comes by its leaders' AlterPartition."""
        broker_epoch = self._brokers[broker].broker_epoch
        self._append(BrokerRecord(broker, broker_epoch, fenced=False), BrokerChanged(broker, broker_epoch, "unfenced"), now)
        for state in [state for state in self._partitions.values() if not state.leader]:
            self._change(state, f"unfenced {broker}", now)

    def _leave(self, broker: str, why: str, now: Micros, *, lost_records: bool = False) -> None:
        """Out of every ISR, and out of the ELR too where it may have lost records (KC-20, KC-54)."""
        for state in list(self._partitions.values()):
            if broker in state.isr or (lost_records and broker in state.elr):
                target_isr = tuple(replica for replica in state.isr if replica != broker)
                self._change(state, why, now, target_isr=target_isr, leaving=broker, lost_records=lost_records)

    # Partitions.

    def _change(
        self,
        state: PartitionState,
        why: str,
        now: Micros,
        *,
        target_isr: tuple[str, ...] | None = None,
        recovering: bool | None = None,
        leaving: str = "",
        lost_records: bool = False,
    ) -> None:
        config = self._topics[state.partition.rpartition("-")[0]]
        change = PartitionChangeBuilder(
            partition=state,
            profile=self._profile,
            is_acceptable=lambda replica: replica != leaving and self._is_active(replica),
            min_insync_replicas=config.min_insync_replicas,
            election=Election.UNCLEAN if config.unclean_leader_election_enable else Election.ANY,  # KC-44.
            target_isr=target_isr,
            unclean_shutdown=(leaving,) if lost_records else (),
            recovering=recovering,
        ).build()
        if change is None:
            return
        new = change.state
        fact = PartitionChanged(new.partition, new.leader, new.leader_epoch, new.isr, new.elr, new.partition_epoch, change.unclean, why)
        self._append(new, fact, now)

    def _unfenced(self) -> list[str]:
        return [name for name, broker in self._brokers.items() if not broker.fenced]

    def _is_active(self, broker: str) -> bool:
        return broker in self._brokers and not self._brokers[broker].fenced

    def _on_alter_partition(self, connection: str, request: AlterPartitionRequest, now: Micros, out: list[Effect]) -> None:
        if self._is_stale(request.broker, request.broker_epoch):  # KC-60.
            out.append(Send(connection, AlterPartitionResponse(ErrorCode.STALE_BROKER_EPOCH, ())))
            return
        results = tuple(self._alter_partition(request.broker, item, now) for item in request.items)
        self._answer(connection, AlterPartitionResponse(ErrorCode.NONE, results), out)

    def _alter_partition(self, sender: str, item: AlterPartitionItem, now: Micros) -> AlterPartitionResult:
        """KC-65 (NEW_LEADER_ELECTED) needs a reassignment: without one the leader that asks is alive and in the new ISR, so it stays leader."""
        state = self._partitions.get(item.partition)
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if state is None else self._refusal(state, sender, item)
        if state is None or error is not ErrorCode.NONE:
            return AlterPartitionResult(item.partition, error)
        self._change(state, f"AlterPartition by {sender}", now, target_isr=tuple(replica for replica, _ in item.new_isr), recovering=item.recovering)
        new = self._partitions[item.partition]
        return AlterPartitionResult(item.partition, ErrorCode.NONE, new.leader, new.leader_epoch, new.isr, new.recovering, new.partition_epoch)

    def _refusal(self, state: PartitionState, sender: str, item: AlterPartitionItem) -> ErrorCode:
        """KC-61 to KC-64, in this order; NONE where the change is welcome."""
        members = [replica for replica, _ in item.new_isr]
        if item.leader_epoch > state.leader_epoch or item.partition_epoch > state.partition_epoch:
            return ErrorCode.NOT_CONTROLLER  # The broker knows more than this controller, which must be an old one.
        if item.leader_epoch < state.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if sender != state.leader:
            return ErrorCode.INVALID_REQUEST
        if item.partition_epoch < state.partition_epoch:
            return ErrorCode.INVALID_UPDATE_VERSION
        if any(replica not in state.replicas for replica in members) or state.leader not in members:
            return ErrorCode.INVALID_REQUEST
        if item.recovering and (len(members) > 1 or not state.recovering):
            return ErrorCode.INVALID_REQUEST
        if not all(self._is_active(replica) and epoch in (-1, self._brokers[replica].broker_epoch) for replica, epoch in item.new_isr):
            return ErrorCode.INELIGIBLE_REPLICA
        return ErrorCode.NONE

    # The metadata log.

    def _append(self, record: MetadataRecord, fact: BrokerChanged | PartitionChanged | None, now: Micros) -> None:
        """Changes within the linger are committed together (KC-1, KC-80)."""
        self._apply(record)
        self._uncommitted.append((record, fact))
        if self._commit_at == NEVER:
            self._commit_at = now + ms(self._config.controller_quorum_append_linger_ms)

    def _answer(self, connection: str, response: object, out: list[Effect]) -> None:
        """An answer may rest on records not yet committed, so it waits for whatever waits (QuorumController's deferred events)."""
        if self._uncommitted:
            self._answers.append(Send(connection, response))
        else:
            out.append(Send(connection, response))

    def _commit(self, now: Micros, out: list[Effect]) -> None:
        if self._commit_at > now:
            return
        self._log.extend(record for record, _ in self._uncommitted)
        out.extend(Note(fact) for _, fact in self._uncommitted if fact is not None)
        out.extend(self._answers)
        self._uncommitted, self._commit_at, self._answers = [], NEVER, []
        for fetch in self._parked.values():
            if fetch.answer_at == NEVER:
                fetch.answer_at = now + self._parked_fetch_delay(fetch)

    def _parked_fetch_delay(self, fetch: ParkedFetch) -> Micros:
        if self._profile.parked_metadata_fetch_sees_commit:
            return 0
        return int(self._dice.at("metadata", fetch.broker, fetch.offset) * PARKED_FETCH_WAIT)

    def _on_metadata_fetch(self, connection: str, request: MetadataFetchRequest, now: Micros) -> None:
        self._parked[connection] = ParkedFetch(request.broker, request.offset, now if request.offset < len(self._log) else NEVER)

    def _answer_parked_fetches(self, now: Micros, out: list[Effect]) -> None:
        for connection, fetch in list(self._parked.items()):
            if fetch.answer_at <= now:
                del self._parked[connection]
                out.append(Send(connection, MetadataFetchResponse(len(self._log), tuple(self._log[fetch.offset :]))))

    def _replay(self) -> None:
        self._brokers, self._topics, self._partitions = {}, {}, {}
        for record in self._log:
            self._apply(record)

    def _apply(self, record: MetadataRecord) -> None:
        match record:
            case BrokerRecord():
                self._brokers[record.broker] = record
            case PartitionRecord():
                self._partitions[record.partition] = record
            case TopicRecord():
                self._topics[record.topic] = topic_config(record.config, self._config)


def _formed_cluster(brokers: Sequence[str], topics: Sequence[NewTopic]) -> Iterable[MetadataRecord]:
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
