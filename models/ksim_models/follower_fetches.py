"""What a leader tells its followers: their fetch sessions, the gates before a read, the answers.

Kafka: ReplicaManager.fetchMessages, Partition.fetchRecords, DelayedFetch, FetchSession.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ksim_models.config import BrokerConfig
from ksim_models.consumer_fetch import Readers
from ksim_models.directories import Directories
from ksim_models.errors import NONE, ErrorCode
from ksim_models.fetch_session import FetchSession
from ksim_models.image import Image
from ksim_models.messages import FetchedPartition, FetchPartition, FetchResponse
from ksim_models.peers import Told
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.units import NEVER


class FollowerFetches:
    def __init__(self, profile: BrokerProfile, config: BrokerConfig, replicas: Mapping[str, Replica], image: Image, directories: Directories) -> None:
        self.directories = directories
        self.profile = profile
        self.fetch_limit_bytes = config.replica_fetch_max_bytes
        self.response_limit_bytes = config.replica_fetch_response_max_bytes
        self.replicas = replicas
        self.image = image
        self.sessions: dict[str, FetchSession] = {}
        self.answers: list[tuple[str, object]] = []
        """(connection, response): the broker sends them and unmutes the connection (BP-1)."""
        self.own: dict[str, Told] = {}
        self.own_calls = 0
        self.readers: Readers | None = None
        """The consumers that read here, once there was one."""

    def call_itself(self, told: Told) -> str:
        """What stands for the connection of a request of the broker to itself. The answer is one among those to others, and told in its turn."""
        self.own_calls += 1
        name = f"itself#{self.own_calls}"
        self.own[name] = told
        return name

    def tell_all(self, partition: str) -> None:
        """Another role, another epoch, or no replica any more."""
        self.tell_followers((partition,))
        if self.readers is not None:
            self.readers.tell(partition)

    def read(self) -> Readers:
        """A consumer has come."""
        if self.readers is None:

            def answer(connection: str, response: object) -> None:
                self.answers.append((connection, response))

            self.readers = Readers(self.replicas, self.image, self.absence, answer, names_leaders=self.profile.leader_hint_in_produce)
        return self.readers

    def absence(self, partition: str) -> ErrorCode:
        """Of a partition that is not led here: another broker may, or this one knows no such partition (BP-11, BP-22), or its log is offline (BP-30)."""
        if self.directories.is_offline(partition):
            return ErrorCode.KAFKA_STORAGE_ERROR
        return ErrorCode.NOT_LEADER_OR_FOLLOWER if partition in self.image.partitions else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def tell_followers(self, partitions: Iterable[str]) -> None:
        """Something happened to them that their followers' fetches may be waiting for: data, a new role or epoch (RP-80).

        Of all that a request appended they hear at once: Kafka completes fetches when the request has been handled (ReplicaManager.tryCompleteActions).
        """
        for session in self.sessions.values():
            news = [partition for partition in partitions if partition in session.positions]
            if news:
                session.news.update(dict.fromkeys(news))
                if session.parked_until < NEVER:
                    answer = self._read(session)
                    if answer is not None:
                        self._answer_fetch(session, answer)

    def tell_with_next_answer(self, partition: str) -> None:
        """The high watermark or the log start moved: no reason for an answer, but told with the next one (RP-5)."""
        for session in self.sessions.values():
            if partition in session.positions:
                session.high_watermarks[partition] = None

    def _read(self, session: FetchSession) -> list[FetchedPartition] | None:
        """What there is to tell this follower; None if nothing that would wake its fetch."""
        told = []
        room = self.response_limit_bytes
        for partition in session.news:
            position = session.positions[partition]
            replica = self.replicas.get(partition)
            if replica is None:
                told.append(FetchedPartition(partition, self.absence(partition)))
                continue
            log = replica.log
            error = self._fetch_error(replica, session, position)
            in_step = position.last_fetched_epoch == log.epochs.latest and log.log_start_offset <= position.fetch_offset <= log.log_end_offset  # Nearly always.
            diverging = None if error or in_step else replica.diverges(position.last_fetched_epoch, position.fetch_offset)
            if diverging == (-1, -1):
                error = ErrorCode.OFFSET_OUT_OF_RANGE
            if error:
                told.append(FetchedPartition(partition, error, -1, log.log_start_offset, log_end_offset=log.log_end_offset))
            elif diverging is not None:
                told.append(FetchedPartition(partition, NONE, log.high_watermark, log.log_start_offset, (), *diverging))
            elif position.fetch_offset < log.log_end_offset and (room > 0 or not told):
                batches = log.read(position.fetch_offset, min(room, self.fetch_limit_bytes))
                for batch in batches:
                    room -= batch.size_bytes
                told.append(FetchedPartition(partition, NONE, log.high_watermark, log.log_start_offset, batches))
        return told or None

    def _fetch_error(self, replica: Replica, session: FetchSession, position: FetchPartition) -> ErrorCode:
        """The gates before a read, in Kafka's order (RP-10, RP-11, RP-12), behind that of the topic's id. A Produce meets none of them (KC-73)."""
        if position.topic_id != replica.topic_id:
            return ErrorCode.INCONSISTENT_TOPIC_ID
        if position.current_leader_epoch < replica.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if position.current_leader_epoch > replica.leader_epoch:
            return ErrorCode.UNKNOWN_LEADER_EPOCH
        if replica.leadership is None:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER
        if session.follower not in replica.leadership.followers:
            return ErrorCode.UNKNOWN_LEADER_EPOCH
        beyond = not replica.log.log_start_offset <= position.fetch_offset <= replica.log.log_end_offset
        stale = self.profile.refuses_stale_fetches and -1 < session.broker_epoch < self.image.broker_epochs.get(session.follower, -1)
        if (beyond or stale) and replica.diverges(position.last_fetched_epoch, position.fetch_offset) is None:
            return ErrorCode.OFFSET_OUT_OF_RANGE if beyond else ErrorCode.NOT_LEADER_OR_FOLLOWER  # Its state is behind the read of the log.
        return NONE

    def _answer_fetch(self, session: FetchSession, told: list[FetchedPartition] | None) -> None:
        """Say what there is, and with it every high watermark that moved."""
        answer = told or []
        for entry in answer:  # They tell all there is about these partitions.
            session.news.pop(entry.partition, None)
            session.high_watermarks.pop(entry.partition, None)
        for partition in session.high_watermarks:
            replica = self.replicas.get(partition)
            if replica is not None and replica.leadership is not None:
                answer.append(FetchedPartition(partition, NONE, replica.log.high_watermark, replica.log.log_start_offset))
        session.high_watermarks.clear()
        if session.news:
            session.news = {partition: None for partition in session.news if self._is_behind(session, partition)}  # What found no room.
        session.parked_until = NEVER
        self.answers.append((session.connection, FetchResponse(tuple(answer))))

    def _is_behind(self, session: FetchSession, partition: str) -> bool:
        replica = self.replicas.get(partition)
        return replica is not None and session.positions[partition].fetch_offset < replica.log.log_end_offset

    def forget(self, connection: str) -> bool:
        """A connection is gone; True if a follower fetched over it, whose session ends with it."""
        return self.sessions.pop(connection, None) is not None
