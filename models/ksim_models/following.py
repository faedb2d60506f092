"""What a broker does for the partitions it follows: fetch from the leader, append what comes, cut what diverged.

Kafka: AbstractFetcherThread, ReplicaFetcherThread; KIP-227, KIP-595 (truncation on fetch: the first fetch asks from the log end, RP-37).
One fetcher per leader broker, one fetch at a time for all its partitions (RP-1).
Simplified: one fetcher thread per leader (num.replica.fetchers = 1, the default).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ksim_models.config import BrokerConfig
from ksim_models.directories import Directories
from ksim_models.errors import ErrorCode
from ksim_models.facts import LogStartMoved, Replicated, Truncated
from ksim_models.machine import Close, Effect, Note, Open, Send
from ksim_models.messages import FetchedPartition, FetchPartition, FetchRequest, FetchResponse
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.units import NEVER, Micros, ms


class Fetcher:
    """The fetches of one follower broker from one leader broker."""

    __slots__ = ("asked_at", "asked_epochs", "connection", "delayed", "forgotten", "full", "leader", "open", "retry_at", "session", "to_name")

    def __init__(self, leader: str) -> None:
        self.leader = leader
        self.connection: str | None = None
        self.open = False
        self.full = True
        self.asked_at: Micros | None = None
        self.retry_at: Micros = -(2**62)
        self.asked_epochs: dict[str, int] = {}
        """Partition -> leader epoch under which it was last named; -1 before."""
        self.session: dict[str, int] = {}
        """Partition -> offset that it was last named with, until it is forgotten there too."""
        self.to_name: dict[str, None] = {}
        self.forgotten: dict[str, None] = {}
        self.delayed: dict[str, Micros] = {}
        """Partitions that wait out replica.fetch.backoff.ms after an error (RP-7)."""

    def disconnected(self, retry_at: Micros) -> None:
        self.connection, self.open, self.full, self.asked_at = None, False, True, None
        self.retry_at = retry_at
        self.forgotten.clear()
        self.session.clear()


class Following:
    def __init__(
        self,
        broker: str,
        profile: BrokerProfile,
        config: BrokerConfig,
        replicas: Mapping[str, Replica],
        name_connection: Callable[[str], str],
        directories: Directories,
    ) -> None:
        self.broker = broker
        self.directories = directories
        self.profile = profile
        self.backoff = ms(config.replica_fetch_backoff_ms)
        self.max_wait_ms = config.replica_fetch_wait_max_ms
        self.patience = ms(config.replica_socket_timeout_ms)
        self.replicas = replicas
        self.name_connection = name_connection
        self.fetchers: dict[str, Fetcher] = {}
        self.by_connection: dict[str, Fetcher] = {}

    @property
    def wake_at(self) -> Micros:
        at = NEVER
        for fetcher in self.fetchers.values():
            due = self._due(fetcher) if fetcher.asked_at is None else fetcher.asked_at + self.patience
            if due < at:
                at = due
        return at

    def _due(self, fetcher: Fetcher) -> Micros:
        """When this fetcher, which waits for no answer, has something to do by itself."""
        if not fetcher.asked_epochs or (fetcher.connection is not None and not fetcher.open):
            return NEVER
        if fetcher.connection is None or len(fetcher.delayed) < len(fetcher.asked_epochs):
            return fetcher.retry_at
        return max(fetcher.retry_at, min(fetcher.delayed.values()))

    def wake(self, broker_epoch: int, now: Micros, out: list[Effect]) -> None:
        for fetcher in self.fetchers.values():
            if fetcher.asked_at is not None and fetcher.asked_at + self.patience <= now:
                assert fetcher.connection is not None
                out.append(Close(fetcher.connection))
                self.closed(fetcher.connection, now)
            self._go_on(fetcher, broker_epoch, now, out)

    def _go_on(self, fetcher: Fetcher, broker_epoch: int, now: Micros, out: list[Effect]) -> None:
        """Connect, or send the next fetch: as soon as the last one is answered (RP-3)."""
        if fetcher.asked_at is not None:
            return
        goes_on = fetcher.open and not fetcher.delayed and fetcher.asked_epochs and fetcher.retry_at <= now  # As good as always: the last one is answered.
        if not goes_on and self._due(fetcher) > now:
            return
        if fetcher.connection is None:
            fetcher.connection = self.name_connection(fetcher.leader)
            self.by_connection[fetcher.connection] = fetcher
            out.append(Open(fetcher.connection, fetcher.leader))
            return
        if fetcher.delayed:
            for partition in [partition for partition, until in fetcher.delayed.items() if until <= now]:
                del fetcher.delayed[partition]
                fetcher.to_name[partition] = None
        for partition in fetcher.forgotten:
            fetcher.session.pop(partition, None)
        positions = []
        for partition in fetcher.to_name:
            if partition not in fetcher.delayed:  # A delayed one is named when its time has come.
                replica = self.replicas[partition]
                fetcher.asked_epochs[partition] = replica.leader_epoch
                fetcher.session[partition] = replica.log.log_end_offset
                positions.append(FetchPartition(partition, replica.log.log_end_offset, replica.leader_epoch, replica.log.epochs.latest, replica.topic_id))
        fetcher.to_name.clear()
        out.append(
            Send(fetcher.connection, FetchRequest(self.broker, broker_epoch, fetcher.full, tuple(positions), tuple(fetcher.forgotten), self.max_wait_ms))
        )
        fetcher.forgotten.clear()
        fetcher.full = False
        fetcher.asked_at = now

    def follow(self, partition: str, leader: str, broker_epoch: int, now: Micros, out: list[Effect]) -> None:
        """Fetch this partition from `leader` under the replica's present epoch (RP-72)."""
        self.stop(partition)
        fetcher = self.fetchers.get(leader)
        if fetcher is None:
            fetcher = self.fetchers[leader] = Fetcher(leader)
        fetcher.asked_epochs[partition] = -1
        fetcher.to_name[partition] = None
        fetcher.forgotten.pop(partition, None)
        self._go_on(fetcher, broker_epoch, now, out)

    def stop(self, partition: str) -> None:
        for fetcher in self.fetchers.values():
            if fetcher.asked_epochs.pop(partition, None) is not None:
                fetcher.to_name.pop(partition, None)
                fetcher.delayed.pop(partition, None)
                fetcher.forgotten[partition] = None

    def opened(self, connection: str, broker_epoch: int, now: Micros, out: list[Effect]) -> None:
        fetcher = self.by_connection[connection]
        fetcher.open = True
        fetcher.to_name = dict.fromkeys(fetcher.asked_epochs)  # A new session names all (KIP-227).
        self._go_on(fetcher, broker_epoch, now, out)

    def closed(self, connection: str, now: Micros) -> None:
        """An error of the whole request: all its partitions wait out the backoff (RP-3)."""
        self.by_connection.pop(connection).disconnected(now + self.backoff)

    def received(self, connection: str, response: FetchResponse, broker_epoch: int, now: Micros, out: list[Effect]) -> None:
        fetcher = self.by_connection.get(connection)
        if fetcher is None:
            return
        fetcher.asked_at = None
        for fetched in response.partitions:
            replica = self.replicas.get(fetched.partition)
            if replica is not None and self._counts(fetcher, replica):
                self._take(fetcher, replica, fetched, now, out)
        self._go_on(fetcher, broker_epoch, now, out)

    def _counts(self, fetcher: Fetcher, replica: Replica) -> bool:
        """RP-38, KAFKA-18991: an answer to a fetch of an older leader epoch is of another history. Before, the same leader and offset were enough."""
        partition = replica.partition
        if self.profile.matches_epochs_of_fetches:
            return fetcher.asked_epochs.get(partition) == replica.leader_epoch and partition not in fetcher.to_name
        return partition in fetcher.asked_epochs and partition not in fetcher.delayed and fetcher.session.get(partition) == replica.log.log_end_offset

    def _take(self, fetcher: Fetcher, replica: Replica, fetched: FetchedPartition, now: Micros, out: list[Effect]) -> None:
        """RP-4, RP-7."""
        log = replica.log
        before = log.log_end_offset
        if fetched.error is ErrorCode.OFFSET_OUT_OF_RANGE:
            self._meet_out_of_range(replica, fetched, now, out)
            fetcher.to_name[replica.partition] = None  # Met without a failure, it is not delayed.
        elif fetched.error:
            fetcher.delayed[replica.partition] = now + self.backoff
            fetcher.forgotten[replica.partition] = None  # The session does not hold it meanwhile.
            fetcher.asked_epochs[replica.partition] = -1
        elif self.directories.broken and self.directories.is_broken(replica.partition) and (fetched.batches or fetched.diverging_end_offset >= 0):
            self.directories.look_at = now
        elif fetched.diverging_end_offset >= 0:
            replica.truncate_where_diverging(fetched.diverging_epoch, fetched.diverging_end_offset, now)
            fetcher.to_name[replica.partition] = None
        else:
            for batch in fetched.batches:
                if batch.leader_epoch > replica.leader_epoch and self.profile.drops_newer_epoch_batches:
                    break  # RP-39
                if batch.base_offset < log.log_end_offset == log.log_start_offset:
                    log.make_room_for(batch)
                log.append_as_follower(batch, now)
            high_watermark = max(log.log_start_offset, min(fetched.high_watermark, log.log_end_offset))
            if high_watermark != log.high_watermark:  # Data and high watermark in one step (RP-4); it may also step back (RP-21).
                log.advance_high_watermark(high_watermark, now)
            if fetched.log_start_offset > log.log_start_offset:
                log.move_start(fetched.log_start_offset, now)
                out.append(Note(LogStartMoved(self.broker, replica.partition, log.log_start_offset, "leader")))
            if fetched.batches:
                fetcher.to_name[replica.partition] = None
                if not replica.is_internal:
                    out.append(Note(Replicated(self.broker, replica.partition, log.log_end_offset)))
        if log.log_end_offset < before:
            out.append(Note(Truncated(self.broker, replica.partition, log.log_end_offset, before)))

    def _meet_out_of_range(self, replica: Replica, fetched: FetchedPartition, now: Micros, out: list[Effect]) -> None:
        """RP-36. Simplified: where the leader's log starts and ends comes with the error; Kafka asks for it with ListOffsets, one or two round trips."""
        log = replica.log
        if fetched.log_end_offset < log.log_end_offset:
            log.truncate_to(fetched.log_end_offset, now)
        elif fetched.log_start_offset > log.log_end_offset:
            log.start_anew_at(fetched.log_start_offset)
            out.append(Note(LogStartMoved(self.broker, replica.partition, log.log_start_offset, "leader")))
