"""What a broker does for the partitions it leads: append, replicate, commit, acknowledge.

Kafka: ReplicaManager, Partition, DelayedProduce, DelayedFetch.
Append and producer state are one step; so are a follower's state, the ISR and the high watermark. No answer waits for a disk, on any replica (LR-2).
A leader that was deposed and has not heard of it goes on: acks=1 succeeds, acks=all waits for followers that went away (KC-70, KC-72).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from ksim_models.config import BrokerConfig
from ksim_models.directories import Directories
from ksim_models.errors import NONE, ErrorCode
from ksim_models.facts import Appended, Deduplicated, HighWatermark, LogStartMoved, MarkerWritten, Rejected, TimedOut
from ksim_models.fetch_session import FetchSession
from ksim_models.follower_fetches import FollowerFetches
from ksim_models.image import Image
from ksim_models.isr import Follower
from ksim_models.log import bytes_in_log
from ksim_models.machine import Effect, Note
from ksim_models.messages import (
    NO_LEADER,
    NO_OFFSET,
    DeleteRecordsRequest,
    FetchPartition,
    FetchRequest,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
    RecordBatch,
    topic_of,
)
from ksim_models.parked import OwnAppend, ParkedProduce, own_batch
from ksim_models.peers import Told
from ksim_models.producer_state import Answer
from ksim_models.producer_transactions import Checked, Verification
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.topic_creation import INTERNAL_TOPICS
from ksim_models.transaction_admission import judge
from ksim_models.units import MILLISECOND, NEVER, Micros, ms

REFUSALS = {
    Answer.OUT_OF_ORDER: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    Answer.OLD_EPOCH: ErrorCode.INVALID_PRODUCER_EPOCH,
    Answer.OLD_COORDINATOR: ErrorCode.TRANSACTION_COORDINATOR_FENCED,
    Answer.WRONG_TRANSACTION: ErrorCode.INVALID_TXN_STATE,
}

WITHOUT_LOG_START = (
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.MESSAGE_TOO_LARGE,
    ErrorCode.RECORD_LIST_TOO_LARGE,
    ErrorCode.INVALID_REQUIRED_ACKS,
    ErrorCode.INVALID_TOPIC_EXCEPTION,
)

ThenOfOne = Callable[[ErrorCode, int, Micros, list[Effect]], None]
"""Told error and base offset."""


def _told_of_one(then: ThenOfOne) -> Told:
    def told(response: object, now: Micros, out: list[Effect]) -> None:
        assert isinstance(response, ProduceResponse)
        then(response.results[0].error, response.results[0].base_offset, now, out)

    return told


class Leading(FollowerFetches):
    def __init__(
        self, broker: str, profile: BrokerProfile, config: BrokerConfig, replicas: Mapping[str, Replica], image: Image, directories: Directories
    ) -> None:
        super().__init__(profile, config, replicas, image, directories)
        self.broker = broker
        self.lag_limit = ms(config.replica_lag_time_max_ms)
        self.parked: dict[str, ParkedProduce] = {}
        self.committing: dict[str, deque[tuple[int, ParkedProduce]]] = {}
        """Per partition: parked requests by the offset they need, in order of appending."""
        self.proposals: list[Replica] = []
        """Replicas whose leadership wants its ISR changed: the broker tells the controller."""
        self.short: dict[str, Replica] = {}
        """Led partitions with a replica outside the ISR: each fetch of that follower may bring it back (RP-53)."""
        self.appended: list[str] = []
        """Partitions to which the request at hand has written."""
        self.verifies = False

    @property
    def wake_at(self) -> Micros:
        at = NEVER
        for parked in self.parked.values():
            if parked.deadline < at:
                at = parked.deadline
        for session in self.sessions.values():
            if session.parked_until < at:
                at = session.parked_until
        return at if self.readers is None else min(at, self.readers.wake_at)

    def wake(self, now: Micros, out: list[Effect]) -> None:
        for parked in [parked for parked in self.parked.values() if parked.deadline <= now]:
            self._time_out(parked, out)
        for session in self.sessions.values():
            if session.parked_until <= now:
                self._answer_fetch(session, self._read(session))
        if self.readers is not None:
            self.readers.wake(now)

    # Produce.

    def produce(self, connection: str, request: ProduceRequest, now: Micros, out: list[Effect], checked: Checked | None = None) -> ProduceResponse | None:
        """Append what may be appended (BP-23: each partition by itself), answer acks=0 and 1 at once (BP-40). None: parked, the answer comes later."""
        parked = ParkedProduce(connection, request, now + request.timeout_ms * MILLISECOND)
        unknown = self._unknown_topics(request) if self.image.knows_deletions and request.topic_ids else ()
        for batch in request.batches:
            if unknown and topic_of(batch.partition) in unknown:
                error, base_offset = ErrorCode.UNKNOWN_TOPIC_ID, NO_OFFSET
            elif not -1 <= request.acks <= 1 and batch.partition in self.image.partitions:
                error, base_offset = ErrorCode.INVALID_REQUIRED_ACKS, NO_OFFSET  # BP-20
            elif batch.partition.startswith("__") and batch.partition in self.image.partitions and topic_of(batch.partition) in INTERNAL_TOPICS:
                error, base_offset = ErrorCode.INVALID_TOPIC_EXCEPTION, NO_OFFSET  # BP-21
            elif checked is not None:
                error, base_offset = self._append_checked(batch, request, checked, now, out)
            else:
                error, base_offset = self._append(batch, request.acks, now, out)
            if error:
                if error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and topic_of(batch.partition) in self._unknown_topics(request):
                    error = ErrorCode.UNKNOWN_TOPIC_ID  # This broker has not heard of it yet.
                out.append(Note(Rejected(self.broker, batch.partition, batch.producer, batch.records, error.name)))
                parked.results[batch.partition] = self._refusal(batch.partition, error)
            elif request.acks == -1:
                parked.waiting[batch.partition] = base_offset, self.replicas[batch.partition].log.log_start_offset
            else:
                parked.results[batch.partition] = ProduceResult(batch.partition, error, base_offset, self.replicas[batch.partition].log.log_start_offset)
        self._tell_of_appends()
        self._wait(parked)
        if not parked.waiting:
            return parked.response()
        self._park(parked, now, out)
        return None

    def _append_checked(self, batch: RecordBatch, request: ProduceRequest, checked: Checked, now: Micros, out: list[Effect]) -> tuple[ErrorCode, int]:
        if error := checked.errors.get(batch.partition):
            return error, NO_OFFSET
        return self._append(batch, request.acks, now, out, checked.proofs.get(batch.partition))

    def append_internal(
        self,
        partition: str,
        payload: tuple[object, ...],
        size_bytes: int,
        *,
        acks: int,
        timeout_ms: int,
        then: ThenOfOne,
        now: Micros,
        out: list[Effect],
        producer: tuple[int, int] | None = None,
        proof: Verification | None = None,
    ) -> None:
        """Records of an internal topic that this broker leads. `then` is told (error, base offset) when they are committed, refused, or have waited too long:
        always after this call. What has waited too long is in the log all the same, and may yet be committed (TC-4).

        acks: -1, or 1: no minimum of the ISR counts, but the commit is waited for all the same (GC-9).
        producer: id and epoch, where they are part of a transaction; proof: that its coordinator allowed it.
        """

        self.append_own((own_batch(partition, payload, size_bytes, now, producer),), acks, timeout_ms, _told_of_one(then), now, out, proof)

    def await_commit(self, partition: str, timeout_ms: int, then: ThenOfOne, now: Micros, out: list[Effect]) -> None:
        """Until all that stands in a partition that this broker leads is committed, or has waited too long."""
        own = self._own_append(1, timeout_ms, (RecordBatch(partition, "", range(0), 0),), _told_of_one(then), now)
        log = self.replicas[partition].log
        own.waiting[partition] = log.log_end_offset, log.log_start_offset
        self._wait(own)
        self._park(own, now, out)

    def append_own(
        self,
        batches: tuple[RecordBatch, ...],
        acks: int,
        timeout_ms: int,
        told: Told,
        now: Micros,
        out: list[Effect],
        proof: Verification | None = None,
        *,
        strictly: bool = False,
    ) -> None:
        """Records that no client sends: a coordinator's, or the marks of a transaction's end. `told` of a ProduceResponse when all partitions are settled."""
        own = self._own_append(acks, timeout_ms, batches, told, now)
        for batch in batches:
            error, base_offset = self._append(batch, acks, now, out, proof, strictly=strictly)
            if error:
                own.refuse(batch.partition, error)
            else:
                own.waiting[batch.partition] = base_offset, self.replicas[batch.partition].log.log_start_offset
        self._tell_of_appends()
        self._wait(own)
        self._park(own, now, out)

    def _own_append(self, acks: int, timeout_ms: int, batches: tuple[RecordBatch, ...], told: Told, now: Micros) -> OwnAppend:
        return OwnAppend(self.call_itself(told), ProduceRequest(acks, timeout_ms, batches), now + timeout_ms * MILLISECOND)

    def _tell_of_appends(self) -> None:
        self.tell_followers(self.appended)
        self.appended.clear()

    def _wait(self, parked: ParkedProduce) -> None:
        """For the commit of what was appended, where it is not committed already."""
        for batch in parked.request.batches:
            if batch.partition in parked.waiting:
                required = parked.waiting[batch.partition][0] + len(batch.records)  # For a duplicate: the end of the original (BP-27).
                replica = self.replicas[batch.partition]
                if replica.log.high_watermark >= required:
                    parked.settle(batch.partition, self._committed_code(replica))
                else:
                    self._wait_for_commit(batch.partition, required, parked)

    def _park(self, parked: ParkedProduce, now: Micros, out: list[Effect]) -> None:
        self.parked[parked.connection] = parked
        if not parked.waiting:
            self._answer_produce(parked)
        elif parked.deadline <= now:
            self._time_out(parked, out)  # timeout_ms = 0: it never waits.

    def _unknown_topics(self, request: ProduceRequest) -> tuple[str, ...]:
        """BP-16: topics that are known here under another id."""
        topics = self.image.topics
        return tuple(name for name, topic_id in request.topic_ids if name not in topics or topics[name].topic_id != topic_id)

    def _wait_for_commit(self, partition: str, required: int, parked: ParkedProduce) -> None:
        """In the order of offsets: a retry that was recognised as a duplicate needs less than what was appended since."""
        queue = self.committing.setdefault(partition, deque())
        position = len(queue)
        while position and queue[position - 1][0] > required:
            position -= 1
        queue.insert(position, (required, parked))

    def _append(
        self, batch: RecordBatch, acks: int, now: Micros, out: list[Effect], proof: Verification | None = None, *, strictly: bool = False
    ) -> tuple[ErrorCode, int]:
        """BP-22, BP-24, BP-28, BP-29: in this order. The size of the ISR concerns acks=all only (BP-25). proof, strictly: see `ProducerState`."""
        replica = self.replicas.get(batch.partition)
        leadership = replica.leadership if replica is not None else None
        error: ErrorCode = NONE
        if replica is None or leadership is None:
            error = self.absence(batch.partition)
        elif self.directories.broken and self.directories.is_broken(batch.partition):
            error, self.directories.look_at = ErrorCode.KAFKA_STORAGE_ERROR, now
        elif acks == -1 and len(leadership.committed) < replica.min_isr:
            error = ErrorCode.NOT_ENOUGH_REPLICAS
        elif batch.size_bytes > replica.config.max_message_bytes or (written := bytes_in_log(batch, replica.config)) > replica.config.max_message_bytes:
            error = ErrorCode.MESSAGE_TOO_LARGE  # As it came, and again as it is to be written (UnifiedLog.append).
        elif written > replica.config.segment_bytes:
            error = ErrorCode.RECORD_LIST_TOO_LARGE
        elif batch.producer_id >= 0:
            producers = replica.log.producers
            answer, known_offset = (
                judge(producers, batch, proof, self.profile, verifies=self.verifies, strictly=strictly) if batch.transactional else producers.judge(batch)
            )
            if answer is Answer.DUPLICATE:
                out.append(Note(Deduplicated(self.broker, batch.partition, batch.producer, batch.records, known_offset)))
                return NONE, known_offset
            error = REFUSALS.get(answer, NONE)
        if error or replica is None or leadership is None:
            return error, NO_OFFSET
        log = replica.log
        for session in self.sessions.values():
            follower = leadership.followers.get(session.follower)
            if follower is not None and follower.log_end_offset == log.log_end_offset:
                position = session.positions.get(batch.partition)
                if position is not None and position.current_leader_epoch == replica.leader_epoch:  # Else what it fetches is refused.
                    follower.idled(log.log_end_offset, session.fetched_at)
        stamped = log.append_as_leader(batch, replica.leader_epoch, now)
        if batch.marker is not None:
            marker = MarkerWritten(self.broker, batch.partition, batch.producer_id, batch.producer_epoch, batch.marker.committed, stamped.base_offset)
            out.append(Note(marker))
        elif not batch.payload:  # Else it is no record of anybody's.
            out.append(Note(Appended(self.broker, batch.partition, batch.producer, batch.records, stamped.base_offset, stamped.leader_epoch)))
        if not 1 < len(leadership.maximal) == len(replica.replicas):
            self.advance(replica, now, out)  # Else all the others are in the ISR, and none has fetched it yet.
        self.appended.append(batch.partition)
        return NONE, stamped.base_offset

    def _refusal(self, partition: str, error: ErrorCode) -> ProduceResult:
        """Where the log starts is told with what the log itself refused, and with too small an ISR (BP-49)."""
        log_start = -1 if error in WITHOUT_LOG_START or partition not in self.replicas else self.replicas[partition].log.log_start_offset
        return ProduceResult(partition, error, NO_OFFSET, log_start, *self._leader_hint(partition, error))

    def _leader_hint(self, partition: str, error: ErrorCode) -> tuple[str, int]:
        """BP-14, KIP-951: the leader this broker knows goes with every NOT_LEADER_OR_FOLLOWER, also where the request had been parked."""
        if error is not ErrorCode.NOT_LEADER_OR_FOLLOWER or not self.profile.leader_hint_in_produce:
            return NO_LEADER, -1
        known = self.image.partitions[partition]
        return known.leader, known.leader_epoch

    def _time_out(self, parked: ParkedProduce, out: list[Effect]) -> None:
        """BP-44: what is still pending is answered REQUEST_TIMED_OUT, base offset filled in; the records stay in the log."""
        for batch in parked.request.batches:
            if batch.partition in parked.waiting:
                if batch.producer:  # Else it is the broker's own.
                    out.append(Note(TimedOut(self.broker, batch.partition, batch.producer, batch.records, ErrorCode.REQUEST_TIMED_OUT.name)))
                parked.settle(batch.partition, ErrorCode.REQUEST_TIMED_OUT)
        self._answer_produce(parked)

    def _answer_produce(self, parked: ParkedProduce) -> None:
        del self.parked[parked.connection]
        self.answers.append((parked.connection, parked.response()))

    # Commit.

    def _committed_code(self, replica: Replica) -> ErrorCode:
        """BP-42: committed by the high watermark, yet reported failed if the maximal ISR is too small by now; a shrink under way does not count (BP-46)."""
        assert replica.leadership is not None
        return NONE if len(replica.leadership.maximal) >= replica.min_isr else ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND

    def advance(self, replica: Replica, now: Micros, out: list[Effect]) -> None:
        """Move the high watermark as far as the replicas allow (RP-20, RP-24; alone to the log end, RP-28), and acknowledge what it passes (RP-25)."""
        leadership = replica.leadership
        assert leadership is not None
        if self.profile.hw_frozen_below_min_isr and len(leadership.committed) < replica.min_isr:
            return  # RP-23
        log = replica.log
        to = leadership.committable(
            log.log_end_offset, now, self.lag_limit, self._eligible(leadership.followers) if len(leadership.maximal) < len(replica.replicas) else {}
        )
        if to <= log.high_watermark:
            return
        log.advance_high_watermark(to, now)
        if not replica.is_internal:
            out.append(Note(HighWatermark(self.broker, replica.partition, to)))
        if self.readers is not None:
            self.readers.tell(replica.partition)
        self.tell_with_next_answer(replica.partition)
        self._acknowledge(replica)

    def _eligible(self, followers: Mapping[str, Follower]) -> dict[str, bool]:
        if not self.profile.hw_waits_only_for_eligible:
            return dict.fromkeys(followers, True)
        return {name: self.image.is_isr_eligible(name, follower.broker_epoch) for name, follower in followers.items()}

    def _acknowledge(self, replica: Replica) -> None:
        waiting = self.committing.get(replica.partition)
        while waiting and waiting[0][0] <= replica.log.high_watermark:
            _, parked = waiting.popleft()
            if replica.partition in parked.waiting and parked.settle(replica.partition, self._committed_code(replica)):
                self._answer_produce(parked)

    def abandon(self, replica: Replica) -> None:
        """Leadership is lost, also by shutting down: every request that waits is answered NOT_LEADER_OR_FOLLOWER (BP-47, BP-48). Its records may survive."""
        error = self.absence(replica.partition)
        hint = self._leader_hint(replica.partition, error)
        for _, parked in self.committing.pop(replica.partition, ()):
            if replica.partition in parked.waiting and parked.settle(replica.partition, error, *hint):
                self._answer_produce(parked)
        self.short.pop(replica.partition, None)

    def watch(self, replica: Replica) -> None:
        """The committed ISR changed: remember whether somebody is missing."""
        assert replica.leadership is not None
        if len(replica.leadership.committed) < len(replica.replicas):
            self.short[replica.partition] = replica
        else:
            self.short.pop(replica.partition, None)

    def delete_records(self, request: DeleteRecordsRequest, now: Micros, out: list[Effect]) -> bool:
        """DeleteRecords: the log starts at `before` from now on; False where it does already, or where that is not committed (OFFSET_OUT_OF_RANGE)."""
        replica = self.replicas.get(request.partition)
        if replica is None or replica.leadership is None:
            return False
        log = replica.log
        before = log.high_watermark if request.before == -1 else request.before
        if not log.log_start_offset < before <= log.high_watermark:
            return False
        log.move_start(before, now)
        out.append(Note(LogStartMoved(self.broker, request.partition, before, "delete-records")))
        self.tell_with_next_answer(request.partition)
        return True

    # Followers.

    def fetch(self, connection: str, request: FetchRequest, now: Micros, out: list[Effect]) -> None:
        session = self.sessions.get(connection)
        if session is None:
            session = self.sessions[connection] = FetchSession(connection, request)
        session.take(request, now)
        answer = self._read(session)  # Before the follower's state moves: the answer carries the high watermark from before this fetch (RP-5, RP-13).
        refused = [told.partition for told in answer if told.error or told.diverging_end_offset >= 0] if answer else ()
        for position in request.partitions:
            if position.partition not in refused:
                self._note_progress(session, position, now, out)
        if self.short:
            for replica in list(self.short.values()):
                at = session.positions.get(replica.partition)
                if at is not None and at.current_leader_epoch == replica.leader_epoch and replica.partition not in refused:
                    self._maybe_expand(replica, session.follower)
        if answer is None:
            session.parked_until = now + request.max_wait_ms * MILLISECOND
        else:
            self._answer_fetch(session, answer)

    def _note_progress(self, session: FetchSession, position: FetchPartition, now: Micros, out: list[Effect]) -> None:
        """RP-15, then the ISR, then the high watermark, as Partition.updateFollowerFetchState. A failed or diverging read changes nothing (RP-14)."""
        replica = self.replicas[position.partition]
        assert replica.leadership is not None
        follower = replica.leadership.followers[session.follower]
        moved = follower.log_end_offset != position.fetch_offset
        broker_epoch = session.broker_epoch if self.profile.broker_epoch_in_fetch else -1
        follower.fetched(position.fetch_offset, replica.log.log_end_offset, now, broker_epoch)
        if replica.partition in self.short:
            self._maybe_expand(replica, session.follower)
        if moved:
            self.advance(replica, now, out)

    def _maybe_expand(self, replica: Replica, name: str) -> None:
        leadership = replica.leadership
        if leadership is None or name not in leadership.followers or not leadership.may_expand(name, replica.log.high_watermark):
            return
        if self.image.is_isr_eligible(name, leadership.followers[name].broker_epoch):
            leadership.propose_expand(name)
            self.proposals.append(replica)

    def check_isr(self, now: Micros) -> None:
        """RP-50: once per half lag limit, followers that fell behind are proposed out: who reaches only the controller ends alone in the ISR (KC-71)."""
        for replica in self.replicas.values():
            if replica.leadership is not None:
                out_of_sync = replica.leadership.out_of_sync(replica.log.log_end_offset, now, self.lag_limit)
                if out_of_sync:
                    replica.leadership.propose_shrink(out_of_sync)
                    self.proposals.append(replica)
