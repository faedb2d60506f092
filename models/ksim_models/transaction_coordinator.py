"""The transaction coordinator: producer ids and epochs by transactional id, partitions of transactions, their ends, and those that take too long.

Kafka: TransactionCoordinator (TC-20 to TC-64); KIP-98, KIP-360, KIP-588, KIP-890.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ksim_models.config import BrokerConfig
from ksim_models.coordinated_transaction import (
    EPOCH_PER_TRANSACTION,
    LAST_EPOCH,
    NO_EPOCH,
    State,
    Transaction,
    completed,
    decided,
    is_exhausted,
    with_new_id,
    with_next_epoch,
    with_partitions,
)
from ksim_models.errors import NONE, ErrorCode
from ksim_models.log_tasks import Task
from ksim_models.machine import Effect
from ksim_models.messages import NO_PRODUCER_ID, InitProducerIdRequest, InitProducerIdResponse
from ksim_models.profiles import BrokerProfile
from ksim_models.transaction_cache import Cache, Entry, TransactionCache
from ksim_models.transaction_markers import TransactionMarkers
from ksim_models.transaction_messages import EndTxnRequest, EndTxnResponse
from ksim_models.units import NEVER, Micros, ms

ENDING = (State.PREPARE_COMMIT, State.PREPARE_ABORT)
COMPLETE = {State.COMPLETE_COMMIT: True, State.COMPLETE_ABORT: False}
AT_REST = (State.EMPTY, *COMPLETE)
Initialized = Callable[[InitProducerIdResponse, Micros, list[Effect]], None]
Added = Callable[[ErrorCode, Micros, list[Effect]], None]
Ended = Callable[[EndTxnResponse, Micros, list[Effect]], None]
Partitions = tuple[str, ...]


class TransactionCoordinator:
    def __init__(
        self,
        profile: BrokerProfile,
        config: BrokerConfig,
        cache: TransactionCache,
        markers: TransactionMarkers,
        next_producer_id: Callable[[], int],
        booted_at: Micros,
    ) -> None:
        self.profile = profile
        self.config = config
        self.cache = cache
        self.markers = markers
        self.next_producer_id = next_producer_id
        every = ms(config.transaction_abort_timed_out_transaction_cleanup_interval_ms)
        self.aborting = Task(booted_at + every, every)
        every = ms(config.transaction_remove_expired_transaction_cleanup_interval_ms)
        self.expiring = Task(booted_at + every, every)
        self.unwritten: list[tuple[Transaction, int]] = []
        """Ends that could not be written, and in which coordinator epoch they were decided."""
        self.write_again_at: Micros = NEVER

    @property
    def wake_at(self) -> Micros:
        at = min(self.aborting.at, self.expiring.at, self.write_again_at)
        return min(at, self.cache.wake_at) if self.cache.loading else at

    def wake(self, now: Micros, out: list[Effect]) -> None:
        for partition in self.cache.finish_loading(now):
            self._take_over(self.cache.caches[partition], now, out)
        if self.aborting.at <= now:
            self._abort_what_took_too_long(now, out)
        if self.expiring.at <= now:
            self._expire(now, out)
        if self.write_again_at <= now:
            self.go_round(now, out)

    # Elections (TC-7, TC-8).

    def elected(self, partition: str, leader_epoch: int, now: Micros, out: list[Effect]) -> None:
        self._forget_markers(partition)
        self.cache.begin_loading(partition, leader_epoch, now)

    def resigned(self, partition: str, now: Micros, out: list[Effect]) -> None:
        self.cache.drop(partition)
        self._forget_markers(partition)

    def _forget_markers(self, partition: str) -> None:
        self.markers.forget(lambda name: self.cache.partition_of(name) == partition)

    def _take_over(self, cache: Cache, now: Micros, out: list[Effect]) -> None:
        """What was decided is carried out; what is open goes on, and its clock with it."""
        for entry in list(cache.entries.values()):
            if entry.now.state in ENDING:
                self._write_markers(entry, cache.coordinator_epoch, now, out)
            elif entry.now.state is State.ONGOING:
                self._watch(entry.now)
            else:
                self._watch_expiry(entry.now)

    # InitProducerId (TC-20 to TC-28).

    def init_producer_id(self, request: InitProducerIdRequest, told: Initialized, now: Micros, out: list[Effect]) -> None:
        def refuse(error: ErrorCode) -> None:
            told(InitProducerIdResponse(error, NO_PRODUCER_ID, NO_EPOCH), now, out)

        if not 0 < request.transaction_timeout_ms <= self.config.transaction_max_timeout_ms:
            refuse(ErrorCode.INVALID_TRANSACTION_TIMEOUT)  # TC-21
            return
        error, cache, entry = self.cache.find(request.transactional_id)
        if cache is None:
            refuse(error)
            return
        if entry is None:
            producer_id = self.next_producer_id()
            if producer_id == NO_PRODUCER_ID:
                refuse(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
                return
            made = Transaction(request.transactional_id, producer_id, request.transaction_timeout_ms, now // 1000)
            entry = cache.entries[request.transactional_id] = Entry(made)
        answer = self._next_epoch(entry, request, now)
        if isinstance(answer, ErrorCode):
            refuse(answer)
        elif answer.state is State.PREPARE_EPOCH_FENCE:

            def aborted(response: EndTxnResponse, now: Micros, out: list[Effect]) -> None:
                told(InitProducerIdResponse(response.error or ErrorCode.CONCURRENT_TRANSACTIONS, NO_PRODUCER_ID, NO_EPOCH), now, out)

            self._abort_as_coordinator(answer, aborted, now, out)
        else:

            def written(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
                if error:
                    told(InitProducerIdResponse(error, NO_PRODUCER_ID, NO_EPOCH), now, out)
                else:
                    self._watch_expiry(answer)
                    told(InitProducerIdResponse(NONE, answer.producer_id, answer.producer_epoch), now, out)

            self.cache.write(cache.coordinator_epoch, answer, written, now, out)

    def _next_epoch(self, entry: Entry, request: InitProducerIdRequest, now: Micros) -> Transaction | ErrorCode:
        """TC-23. The request may say who it believes to be (KIP-360)."""
        at = entry.now
        expected = request.producer_epoch if request.producer_id != NO_PRODUCER_ID else None
        if entry.pending is not None:
            return ErrorCode.CONCURRENT_TRANSACTIONS
        if expected is not None and not _may_be(request.producer_id, expected, at):
            return ErrorCode.PRODUCER_FENCED
        if at.state in ENDING:
            return ErrorCode.CONCURRENT_TRANSACTIONS
        if at.state is State.ONGOING:
            return self._fence(entry)
        timeout_ms, now_ms = request.transaction_timeout_ms, now // 1000
        if at.is_exhausted and expected in (None, at.producer_epoch):
            last = NO_EPOCH if expected is None else at.producer_epoch
            producer_id = self.next_producer_id()
            if producer_id == NO_PRODUCER_ID:
                return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            return entry.prepare(with_new_id(at, producer_id, last, timeout_ms, now_ms))
        if expected is None:
            return entry.prepare(with_next_epoch(at, at.producer_epoch + 1, NO_EPOCH, timeout_ms, now_ms))
        if at.producer_epoch in (NO_EPOCH, expected):
            return entry.prepare(with_next_epoch(at, at.producer_epoch + 1, at.producer_epoch, timeout_ms, now_ms))
        if expected == at.last_producer_epoch:
            return entry.prepare(with_next_epoch(at, at.producer_epoch, at.last_producer_epoch, timeout_ms, now_ms))
        return ErrorCode.PRODUCER_FENCED

    def _fence(self, entry: Entry) -> Transaction | ErrorCode:
        """The epoch under which the open transaction will be aborted: no client ever has it. Not written as such (TC-24, TC-25).

        Behind the last epoch there is none: up to 4.2 an exception, and the transaction stays open for ever (KAFKA-20090).
        """
        at = entry.now
        if at.producer_epoch == LAST_EPOCH and not self.profile.fence_changes_exhausted_id:
            return ErrorCode.UNKNOWN_SERVER_ERROR
        epoch = at.producer_epoch if entry.failed_epoch_fence or at.producer_epoch == LAST_EPOCH else at.producer_epoch + 1
        return entry.prepare(replace(at, state=State.PREPARE_EPOCH_FENCE, producer_epoch=epoch))

    def _abort_as_coordinator(self, fence: Transaction, told: Ended, now: Micros, out: list[Effect]) -> None:
        """In the cluster's own transaction version, whatever the client's."""
        request = EndTxnRequest(fence.transactional_id, fence.producer_id, fence.producer_epoch, False, self.profile.transaction_version)
        self._end(request, told, now, out, from_client=False)

    # Partitions (TC-30 to TC-33).

    def add_partitions(
        self, transactional_id: str, producer_id: int, epoch: int, partitions: Partitions, version: int, told: Added, now: Micros, out: list[Effect]
    ) -> None:
        """version: that of the request's form: 2 where a leader asks for a client of transaction version 2."""
        error, cache, entry = self.cache.find(transactional_id)
        if cache is None or entry is None:
            told(error or ErrorCode.INVALID_PRODUCER_ID_MAPPING, now, out)
            return
        at = entry.now
        pending = entry.pending is not None
        if pending and self.profile.pending_transition_first:
            told(ErrorCode.CONCURRENT_TRANSACTIONS, now, out)
        elif at.producer_id != producer_id:
            told(ErrorCode.INVALID_PRODUCER_ID_MAPPING, now, out)
        elif at.producer_epoch != epoch:
            told(ErrorCode.PRODUCER_FENCED, now, out)
        elif pending or at.state in ENDING:
            told(ErrorCode.CONCURRENT_TRANSACTIONS, now, out)
        elif at.state is State.ONGOING and all(partition in at.partitions for partition in partitions):
            told(NONE, now, out)
        else:
            after = entry.prepare(with_partitions(at, partitions, version, now // 1000))

            def written(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
                if not error:
                    self._watch(after)
                told(error, now, out)

            self.cache.write(cache.coordinator_epoch, after, written, now, out)

    def verify(self, transactional_id: str, producer_id: int, epoch: int, partitions: Partitions) -> tuple[tuple[str, ErrorCode], ...]:
        """TC-33: what is being written does not matter, as the log has the last word."""
        error, _, entry = self.cache.find(transactional_id)
        if not error:
            if entry is None or entry.now.producer_id != producer_id:
                error = ErrorCode.INVALID_PRODUCER_ID_MAPPING
            elif entry.now.producer_epoch != epoch:
                error = ErrorCode.PRODUCER_FENCED
            elif entry.now.state in ENDING:
                error = ErrorCode.CONCURRENT_TRANSACTIONS
            else:
                missing = ErrorCode.TRANSACTION_ABORTABLE if self.profile.transaction_abortable else ErrorCode.INVALID_TXN_STATE
                return tuple((partition, NONE if partition in entry.now.partitions else missing) for partition in partitions)
        return tuple((partition, error) for partition in partitions)

    # The end (TC-40 to TC-48).

    def end(self, request: EndTxnRequest, told: Ended, now: Micros, out: list[Effect]) -> None:
        self._end(request, told, now, out, from_client=True)

    def _end(self, request: EndTxnRequest, told: Ended, now: Micros, out: list[Effect], *, from_client: bool) -> None:
        error, cache, entry = self.cache.find(request.transactional_id)
        if cache is None or entry is None:
            told(EndTxnResponse(error or ErrorCode.INVALID_PRODUCER_ID_MAPPING), now, out)
            return
        at_call, fences = entry.now, entry.pending is State.PREPARE_EPOCH_FENCE
        bumps = request.transaction_version >= EPOCH_PER_TRANSACTION
        answer = judge_with_epochs(entry, request, from_client=from_client) if bumps else judge(entry, request, from_client=from_client)
        if isinstance(answer, ErrorCode):
            is_retry = answer is NONE and bumps  # The client hears what it has not heard.
            told(EndTxnResponse(answer, at_call.producer_id, at_call.producer_epoch) if is_retry else EndTxnResponse(answer), now, out)
            return
        after = self._decide(entry, request, answer, now)
        if isinstance(after, ErrorCode):
            told(EndTxnResponse(after), now, out)
            return
        coordinator_epoch = cache.coordinator_epoch

        def written(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
            """TC-41: the client is told as soon as the decision is replicated."""
            if not error:
                self._write_markers(entry, coordinator_epoch, now, out, told, tells_epoch=bumps)
                return
            if fences and (not bumps or self.profile.remembers_failed_fence) and self.cache.still_coordinates(request.transactional_id, coordinator_epoch):
                entry.failed_epoch_fence = True
            told(EndTxnResponse(error), now, out)

        self.cache.write(coordinator_epoch, after, written, now, out)

    def _decide(self, entry: Entry, request: EndTxnRequest, state: State, now: Micros) -> Transaction | ErrorCode:
        """An error where there is no epoch behind the last one; from 4.3 an abort does without (KAFKA-20090). And where no producer id is to be had."""
        bumps = request.transaction_version >= EPOCH_PER_TRANSACTION
        fences = entry.pending is State.PREPARE_EPOCH_FENCE
        next_producer_id = NO_PRODUCER_ID
        if bumps and entry.now.is_exhausted and (not fences or self.profile.fence_changes_exhausted_id):
            next_producer_id = self.next_producer_id()
            if next_producer_id == NO_PRODUCER_ID:
                return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        if fences:
            entry.pending = None
            if not bumps or self.profile.fence_takes_two_epochs:  # Else the step below raises the epoch, once (TC-24).
                entry.now = replace(entry.now, producer_epoch=request.producer_epoch, last_producer_epoch=NO_EPOCH)
        if bumps and entry.now.producer_epoch == LAST_EPOCH and not (self.profile.fence_changes_exhausted_id and state is State.PREPARE_ABORT):
            return ErrorCode.UNKNOWN_SERVER_ERROR
        return entry.prepare(decided(entry.now, state, request.transaction_version if bumps else 0, next_producer_id, now // 1000))

    def _write_markers(
        self, entry: Entry, coordinator_epoch: int, now: Micros, out: list[Effect], told: Ended | None = None, *, tells_epoch: bool = False
    ) -> None:
        """The last step is pending from now on, so that everybody else has to wait for the markers (TC-40, TC-57)."""
        prepared = entry.now
        complete = entry.prepare(completed(prepared, now // 1000))
        entry.failed_epoch_fence = False
        if told is not None:
            told(EndTxnResponse(NONE, complete.producer_id, complete.producer_epoch) if tells_epoch else EndTxnResponse(NONE), now, out)

        def done(now: Micros, out: list[Effect]) -> None:
            self._complete(complete, coordinator_epoch, now, out)

        self.markers.write(prepared, coordinator_epoch, done, now, out)

    def _complete(self, complete: Transaction, coordinator_epoch: int, now: Micros, out: list[Effect]) -> None:
        """TC-55: tried until it is written, or until somebody else coordinates."""

        def written(error: ErrorCode, now: Micros, out: list[Effect]) -> None:
            if error is ErrorCode.COORDINATOR_NOT_AVAILABLE:
                self.unwritten.append((complete, coordinator_epoch))
                self.write_again_at = min(self.write_again_at, now + ms(self.config.request_timeout_ms))
            elif not error:
                self._watch_expiry(complete)

        self.cache.write(coordinator_epoch, complete, written, now, out, keeps_pending=ErrorCode.COORDINATOR_NOT_AVAILABLE)

    def go_round(self, now: Micros, out: list[Effect]) -> None:
        """The markers' thread does this whenever something else happens to it, and at the latest after request.timeout.ms."""
        if self.unwritten:
            unwritten, self.unwritten, self.write_again_at = self.unwritten, [], NEVER
            for complete, coordinator_epoch in unwritten:
                self._complete(complete, coordinator_epoch, now, out)

    # Time (TC-60 to TC-63).

    def _watch(self, open_one: Transaction) -> None:
        self.aborting.wanted_from((open_one.start_ms + open_one.timeout_ms + 1) * 1000)

    def _watch_expiry(self, idle: Transaction) -> None:
        self.expiring.wanted_from((idle.update_ms + self.config.transactional_id_expiration_ms) * 1000)

    def _abort_what_took_too_long(self, now: Micros, out: list[Effect]) -> None:
        self.aborting.at, failed = NEVER, False
        for _, entry in self._entries():
            at = entry.now
            if at.state is State.ONGOING:
                if entry.pending is None and at.start_ms + at.timeout_ms < now // 1000 and not failed:
                    fence = self._fence(entry)
                    if isinstance(fence, ErrorCode):
                        failed = True  # The exception ends this round: who comes behind it waits for the next one, which ends in the same way.
                    else:
                        self._abort_as_coordinator(fence, _nobody, now, out)
                self.aborting.wanted_from(max(now + 1, (at.start_ms + at.timeout_ms + 1) * 1000))

    def _expire(self, now: Micros, out: list[Effect]) -> None:
        """TC-63: who has done nothing for so long is forgotten, if that can be written."""
        self.expiring.at = NEVER
        gone: dict[str, list[Entry]] = {}
        for partition, entry in self._entries():
            if entry.now.state in AT_REST:
                if entry.pending is None and entry.now.update_ms <= now // 1000 - self.config.transactional_id_expiration_ms:
                    entry.pending = State.DEAD
                    gone.setdefault(partition, []).append(entry)
                self.expiring.wanted_from(max(now + 1, (entry.now.update_ms + self.config.transactional_id_expiration_ms) * 1000))
        for partition, entries in gone.items():
            self.cache.bury(partition, entries, self.config.request_timeout_ms, now, out)

    def _entries(self) -> list[tuple[str, Entry]]:
        return [(partition, entry) for partition, cache in self.cache.caches.items() for entry in cache.entries.values()]

    @property
    def is_settled(self) -> bool:
        """No transaction is open, or on its way to its end."""
        return not self.cache.loading and all(entry.pending is None and entry.now.state in AT_REST for _, entry in self._entries())


def _nobody(response: EndTxnResponse, now: Micros, out: list[Effect]) -> None:
    """An abort by time-out: whoever it concerns finds out."""


def _may_be(producer_id: int, epoch: int, at: Transaction) -> bool:
    """Whether the one that asks may be who it says: the present one, or one that missed the answer in which its producer id changed."""
    return at.producer_epoch == NO_EPOCH or producer_id == at.producer_id or (producer_id == at.previous_producer_id and is_exhausted(epoch))


Answer = State | ErrorCode
"""Where an EndTxn leads: the state to write, or what it is told at once."""
WRONG = ErrorCode.INVALID_TXN_STATE
BUSY = ErrorCode.CONCURRENT_TRANSACTIONS

END: dict[tuple[State, bool], Answer] = {
    (State.ONGOING, True): State.PREPARE_COMMIT,
    (State.ONGOING, False): State.PREPARE_ABORT,
    (State.COMPLETE_COMMIT, True): NONE,
    (State.COMPLETE_COMMIT, False): WRONG,
    (State.COMPLETE_ABORT, True): WRONG,
    (State.COMPLETE_ABORT, False): NONE,
    (State.PREPARE_COMMIT, True): BUSY,
    (State.PREPARE_COMMIT, False): WRONG,
    (State.PREPARE_ABORT, True): WRONG,
    (State.PREPARE_ABORT, False): BUSY,
    (State.EMPTY, True): WRONG,
    (State.EMPTY, False): WRONG,
}
"""TC-40: (state, commit) of transaction versions 0 and 1."""

END_WITH_EPOCHS: dict[tuple[State, bool, bool], Answer] = {
    (State.ONGOING, True, False): State.PREPARE_COMMIT,
    (State.ONGOING, False, False): State.PREPARE_ABORT,
    (State.EMPTY, True, False): WRONG,
    (State.EMPTY, False, False): State.PREPARE_ABORT,
    (State.COMPLETE_COMMIT, True, True): NONE,
    (State.COMPLETE_COMMIT, True, False): WRONG,
    (State.COMPLETE_COMMIT, False, True): WRONG,
    (State.COMPLETE_COMMIT, False, False): State.PREPARE_ABORT,
    (State.COMPLETE_ABORT, True, True): WRONG,
    (State.COMPLETE_ABORT, True, False): WRONG,
    (State.COMPLETE_ABORT, False, True): NONE,
    (State.COMPLETE_ABORT, False, False): State.PREPARE_ABORT,
    (State.PREPARE_COMMIT, True, True): BUSY,
    (State.PREPARE_COMMIT, False, True): WRONG,
    (State.PREPARE_ABORT, True, True): WRONG,
    (State.PREPARE_ABORT, False, True): BUSY,
}
"""TC-42: (state, commit, the epoch is that of before) of transaction version 2. What is not here has another epoch: PRODUCER_FENCED."""


def judge(entry: Entry, request: EndTxnRequest, *, from_client: bool) -> Answer:
    at = entry.now
    if at.producer_id != request.producer_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if (from_client and request.producer_epoch != at.producer_epoch) or request.producer_epoch < at.producer_epoch:
        return ErrorCode.PRODUCER_FENCED
    if entry.pending not in (None, State.PREPARE_EPOCH_FENCE):
        return BUSY
    return END[at.state, request.committed]


def judge_with_epochs(entry: Entry, request: EndTxnRequest, *, from_client: bool) -> Answer:
    """The epoch tells a retry from the end of the next transaction; what is pending is waited for before anything else is looked at (TC-42, TC-45)."""
    at, epoch = entry.now, request.producer_epoch
    if entry.pending is State.PREPARE_EPOCH_FENCE:
        if at.producer_id != request.producer_id:
            return ErrorCode.INVALID_PRODUCER_ID_MAPPING
        if (from_client and epoch != at.producer_epoch) or epoch < at.producer_epoch:
            return ErrorCode.PRODUCER_FENCED
        return END_WITH_EPOCHS[at.state, request.committed, False]
    if entry.pending is not None:
        return BUSY
    after_new_id = at.previous_producer_id == request.producer_id and epoch == LAST_EPOCH - 1 and at.producer_epoch == 0
    if at.producer_id != request.producer_id and not after_new_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    retried = after_new_id or at.producer_epoch == epoch + 1
    if not retried and epoch != at.producer_epoch:
        return ErrorCode.PRODUCER_FENCED
    return END_WITH_EPOCHS.get((at.state, request.committed, retried), ErrorCode.PRODUCER_FENCED)
