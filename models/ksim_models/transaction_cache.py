"""What a transaction coordinator holds in memory, one partition of __transaction_state at a time, and the one road on which it changes.

Kafka: TransactionStateManager: a change is decided, written, replicated, and only then applied (TC-3 to TC-8).
Simplified: to load a partition takes the same time, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ksim_models.coordinated_transaction import BEFORE, State, Tombstone, Transaction, as_loaded, size_of
from ksim_models.errors import NONE, ErrorCode
from ksim_models.facts import TransactionState
from ksim_models.internal_topics import InternalTopics
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.machine import Effect, Note
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.transaction_messages import TRANSACTION_STATE
from ksim_models.units import NEVER, Micros, ms

LOADING_TAKES: Micros = ms(1)
"""Unless it is said otherwise."""

UNAVAILABLE = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.REQUEST_TIMED_OUT,
)
MOVED = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.KAFKA_STORAGE_ERROR)
OVERSIZED = (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE)

Told = Callable[[ErrorCode, Micros, list[Effect]], None]


def as_told(error: ErrorCode) -> ErrorCode:
    """An append's error in a coordinator's words (TC-4)."""
    if error in UNAVAILABLE:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    if error in MOVED:
        return ErrorCode.NOT_COORDINATOR
    return ErrorCode.UNKNOWN_SERVER_ERROR if error in OVERSIZED else error


class Entry:
    """One transactional id. `pending`: the state that is being written; meanwhile nothing else may begin."""

    __slots__ = ("failed_epoch_fence", "now", "pending")

    def __init__(self, now: Transaction) -> None:
        self.now = now
        self.pending: State | None = None
        self.failed_epoch_fence = False
        """A fence was not written, its epoch is in `now` all the same (TC-25)."""

    def prepare(self, after: Transaction) -> Transaction:
        assert self.pending is None, f"{self.now.transactional_id} is on its way to {self.pending}"
        assert self.now.state in BEFORE[after.state], f"{self.now.transactional_id} cannot go from {self.now.state} to {after.state}"
        self.pending = after.state
        return after


class Cache:
    """Of one partition."""

    __slots__ = ("coordinator_epoch", "entries")

    def __init__(self, coordinator_epoch: int, entries: dict[str, Entry]) -> None:
        self.coordinator_epoch = coordinator_epoch
        self.entries = entries


class TransactionCache:
    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        topics: InternalTopics,
        replicas: Mapping[str, Replica],
        leading: Leading,
        loading_takes: Micros = LOADING_TAKES,
    ) -> None:
        self.broker = broker
        self.profile = profile
        self.topics = topics
        self.replicas = replicas
        self.leading = leading
        self.loading_takes = loading_takes
        self.caches: dict[str, Cache] = {}
        """By partition."""
        self.loading: dict[str, tuple[Micros, int]] = {}
        """Partition -> when it is loaded, and in which leader epoch."""

    @property
    def wake_at(self) -> Micros:
        return min(at for at, _ in self.loading.values()) if self.loading else NEVER

    # Who is here.

    def partition_of(self, transactional_id: str) -> str:
        return self.topics.partition_of(TRANSACTION_STATE, transactional_id)

    def find(self, transactional_id: str) -> tuple[ErrorCode, Cache | None, Entry | None]:
        """TC-6: an error where this broker does not coordinate it, or not yet."""
        partition = self.partition_of(transactional_id)
        if partition in self.loading:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, None, None
        cache = self.caches.get(partition)
        if cache is None:
            return ErrorCode.NOT_COORDINATOR, None, None
        return NONE, cache, cache.entries.get(transactional_id)

    def still_coordinates(self, transactional_id: str, coordinator_epoch: int) -> bool:
        _, cache, _ = self.find(transactional_id)
        return cache is not None and cache.coordinator_epoch == coordinator_epoch

    # Elections.

    def begin_loading(self, partition: str, leader_epoch: int, now: Micros) -> None:
        """A load that is under way in an older epoch is overtaken (TC-8)."""
        self.loading[partition] = now + self.loading_takes, leader_epoch

    def drop(self, partition: str) -> None:
        self.loading.pop(partition, None)
        self.caches.pop(partition, None)

    def finish_loading(self, now: Micros) -> list[str]:
        """Which partitions are loaded now: to the log end, not only what is committed (TC-7)."""
        done = [partition for partition, (at, _) in self.loading.items() if at <= now]
        for partition in done:
            _, coordinator_epoch = self.loading.pop(partition)
            replica = self.replicas.get(partition)
            self.caches[partition] = Cache(coordinator_epoch, self._read(replica.log) if replica is not None else {})
        return done

    def _read(self, log: Log) -> dict[str, Entry]:
        """The last record of an id wins, a tombstone removes it."""
        found: dict[str, Entry] = {}
        profile = self.profile
        for batch in log.batches:
            for record in batch.payload:
                if isinstance(record, Tombstone):
                    found.pop(record.transactional_id, None)
                else:
                    assert isinstance(record, Transaction)
                    found[record.transactional_id] = Entry(as_loaded(record, profile.transaction_version, other_ids_written=profile.writes_other_producer_ids))
        return found

    # Changes.

    def write(self, coordinator_epoch: int, after: Transaction, told: Told, now: Micros, out: list[Effect], *, keeps_pending: ErrorCode = NONE) -> None:
        """TC-3. keeps_pending: with this error the caller tries again, and nothing else may come in between."""
        if not self.still_coordinates(after.transactional_id, coordinator_epoch):
            told(self._why_not(after.transactional_id), now, out)
            return

        def appended(error: ErrorCode, offset: int, now: Micros, out: list[Effect]) -> None:
            answer = self._apply(coordinator_epoch, after, as_told(error), keeps_pending, now, out)
            if answer is not None:
                told(answer, now, out)

        partition = self.partition_of(after.transactional_id)
        self.leading.append_internal(partition, (after,), size_of(after), acks=-1, timeout_ms=after.timeout_ms, then=appended, now=now, out=out)

    def _why_not(self, transactional_id: str) -> ErrorCode:
        error, _, _ = self.find(transactional_id)
        return error or ErrorCode.NOT_COORDINATOR

    def _apply(
        self, coordinator_epoch: int, after: Transaction, error: ErrorCode, keeps_pending: ErrorCode, now: Micros, out: list[Effect]
    ) -> ErrorCode | None:
        """TC-4, TC-5. A record that failed may be in the log all the same, and be what the next coordinator loads.

        None, and nobody is told: it was loaded anew in between, in the same epoch, and is not on the way there (an IllegalStateException; KAFKA-15468).
        """
        _, cache, entry = self.find(after.transactional_id)
        if cache is None or entry is None or cache.coordinator_epoch != coordinator_epoch:
            return error or self._why_not(after.transactional_id)
        if error:
            if error is not keeps_pending:
                entry.pending = None
            return error
        if entry.pending is not after.state:
            assert not self.profile.loads_only_when_elected, f"{after.transactional_id}: {after.state} was written while {entry.pending} was pending"
            return None
        entry.pending = None
        entry.now = after
        out.append(Note(TransactionState(self.broker, after.transactional_id, after.state.value, after.producer_id, after.producer_epoch, after.partitions)))
        return NONE

    def bury(self, partition: str, entries: list[Entry], timeout_ms: int, now: Micros, out: list[Effect]) -> None:
        """TC-63. Who could not be buried lives on."""
        coordinator_epoch = self.caches[partition].coordinator_epoch
        tombstones = tuple(Tombstone(entry.now.transactional_id) for entry in entries)

        def appended(error: ErrorCode, offset: int, now: Micros, out: list[Effect]) -> None:
            cache = self.caches.get(partition)
            if cache is None or cache.coordinator_epoch != coordinator_epoch:
                return
            for entry in entries:
                entry.pending = None
                if not error:
                    del cache.entries[entry.now.transactional_id]

        size = sum(size_of(tombstone) for tombstone in tombstones)
        self.leading.append_internal(partition, tombstones, size, acks=-1, timeout_ms=timeout_ms, then=appended, now=now, out=out)
