"""How a consumer gets its records: fetches, one under way per broker; positions that are reset, or held against another leader's log.

Kafka: AbstractFetch, FetchCollector, OffsetFetcher, OffsetsForLeaderEpochClient; CV-6 to CV-10.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.completed_fetch import CompletedFetch, Slice
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_positions import FetchState, Position, Positions
from ksim_models.errors import ErrorCode
from ksim_models.machine import Effect
from ksim_models.messages import NO_LEADER, topic_of
from ksim_models.transaction_messages import (
    NO_TOPIC_ID,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from ksim_models.units import NEVER, Micros, ms

REFRESHING = (
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.REPLICA_NOT_AVAILABLE,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.OFFSET_NOT_AVAILABLE,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.INCONSISTENT_TOPIC_ID,
)
"""Errors of a fetch after which metadata is asked for, and the fetch tried again (CV-10)."""
REPEATED = (ErrorCode.UNKNOWN_LEADER_EPOCH, ErrorCode.UNKNOWN_SERVER_ERROR)
"""After which it is just tried again. Whatever else there is, poll() throws."""


class Thrown(Exception):
    """What poll() throws: Kafka's class and text. The application above ends for it, unless it knows better."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(error, text)
        self.error = error
        self.text = text


Logged = tuple[str, int, str, int]
"""What happened ("answer", "drained", "lag", "lead"), to which answer, of which partition, and how many."""


class Fetching:
    def __init__(self, config: ConsumerConfig, positions: Positions, network: ClientNetwork, metadata: ClientMetadata) -> None:
        self.config = config
        self.positions = positions
        self.network = network
        self.metadata = metadata
        self.buffer: deque[CompletedFetch] = deque()
        self.next_in_line: CompletedFetch | None = None
        self.asked: dict[str, None] = {}
        """Nodes with a fetch under way."""
        self.in_group = config.group_id is not None
        self.reset_policy = config.resets_to
        self.retry_after: Micros = ms(config.retry_backoff_ms)
        self.patience: Micros = ms(config.request_timeout_ms)
        self.waiting_for: dict[str, None] = {}
        """Nodes that could not be sent to at the last turn."""
        self.fell_out = False
        """A position was found out of range since positions were looked at."""
        self.log: list[Logged] | None = None
        """Where it is measured: what its sensors are to be told."""
        self.answers = 0
        self.thrown: Thrown | None = None
        """What an answer about a position has met: the next poll() throws it."""

    def turned(self) -> None:
        """A new turn begins."""
        self.waiting_for.clear()

    def wake_after(self, looked_at: Micros) -> Micros:
        """When the next backoff ends."""
        at = NEVER
        for position in self.positions.all():
            if looked_at < position.asked_until < at and position.state is not FetchState.FETCHING and position.leader_known:
                at = position.asked_until
        return at

    # Positions.

    def update_positions(self, now: Micros, out: list[Effect]) -> None:
        """Hold positions against leaders that are new, and ask where logs begin or end where a position has to be reset."""
        self.fell_out = False
        if self.thrown is not None:
            thrown, self.thrown = self.thrown, None
            raise thrown
        for position in self.positions.all():
            position.meet_leader(self.metadata.leader_of(position.partition))
        for position in self.positions.in_state(FetchState.INITIALIZING):
            if self.in_group and not position.no_committed:
                continue
            if position.rewound:
                position.request_reset("earliest")
                continue
            if self.reset_policy == "none":
                text = f"Undefined offset with no reset policy for partitions: [{position.partition}]"
                raise Thrown("NoOffsetForPartitionException", text)
            position.request_reset(self.reset_policy)
        self._ask_for_offsets(now, out)
        self._ask_for_epochs(now, out)

    def _by_leader(self, state: FetchState, now: Micros) -> dict[str, list[Position]]:
        """Those that may be asked about now."""
        found: dict[str, list[Position]] = {}
        for position in self.positions.in_state(state):
            leader = self.metadata.leader_of(position.partition)[0]
            position.leader_known = leader != NO_LEADER
            if not position.leader_known:
                self.metadata.request_update()
            elif position.asked_until <= now:
                found.setdefault(leader, []).append(position)
        return found

    def _ask_for_offsets(self, now: Micros, out: list[Effect]) -> None:
        for node, positions in self._by_leader(FetchState.AWAIT_RESET, now).items():
            if self.is_ready(node, now, out):
                for to in ("earliest", "latest", "since"):
                    asked = tuple((one.partition, self.metadata.leader_of(one.partition)[1]) for one in positions if one.reset_to == to)
                    if asked:
                        since = now - self.config.resets_back if to == "since" else 0
                        self.network.send(node, ListOffsetsRequest(asked, to, self.config.read_committed, since), (), now, out)
                for position in positions:
                    position.asked_until = now + self.patience

    def _ask_for_epochs(self, now: Micros, out: list[Effect]) -> None:
        for node, positions in self._by_leader(FetchState.AWAIT_VALIDATION, now).items():
            if self.is_ready(node, now, out):
                asked = tuple((one.partition, one.leader_epoch, one.offset_epoch) for one in positions)
                self.network.send(node, OffsetForLeaderEpochRequest(asked), (), now, out)
                for position in positions:
                    position.asked_until = now + self.patience

    def is_ready(self, node: str, now: Micros, out: list[Effect]) -> bool:
        ready = self.network.ready(node, now, out)
        if not ready:
            self.waiting_for[node] = None
        return ready

    def offsets_listed(self, request: ListOffsetsRequest, response: ListOffsetsResponse, now: Micros) -> None:
        for partition, error, offset, _ in response.results:
            position = self.positions.get(partition)
            if position is None or position.state is not FetchState.AWAIT_RESET or position.reset_to != request.at:
                continue
            if error:
                self._refused(position, error, now)
            elif offset >= 0:  # Else nothing is so young: Java asks again after request.timeout.ms.
                position.seek(offset, -1, self.metadata.leader_of(partition))

    def epochs_came(self, request: OffsetForLeaderEpochRequest, response: OffsetForLeaderEpochResponse, now: Micros) -> None:
        """CV-8. An answer about a position that has moved on meanwhile is of no use."""
        asked = {partition: (leader_epoch, epoch) for partition, leader_epoch, epoch in request.partitions}
        for partition, error, epoch, end in response.results:
            position = self.positions.get(partition)
            if position is None or position.state is not FetchState.AWAIT_VALIDATION or (position.leader_epoch, position.offset_epoch) != asked[partition]:
                continue
            if error:
                self._refused(position, error, now)
            elif end < 0 or epoch < 0:
                if self.reset_policy == "none":
                    raise Thrown("LogTruncationException", f"Detected log truncation for partition {partition} with no reset policy")
                position.request_reset(self.reset_policy)
            elif end < position.offset:
                if self.reset_policy == "none":
                    raise Thrown("LogTruncationException", f"Truncated partition {partition} at offset {end}: it was read up to {position.offset}")
                position.seek(end, epoch, (position.leader, position.leader_epoch))
            else:
                position.state = FetchState.FETCHING

    def _refused(self, position: Position, error: ErrorCode, now: Micros) -> None:
        if error is ErrorCode.TOPIC_AUTHORIZATION_FAILED:
            self.thrown = _unauthorized(position.partition)
        self._try_later(position, now)

    def _try_later(self, position: Position, now: Micros) -> None:
        position.asked_until = now + self.retry_after
        self.metadata.request_update()

    def lost(self, node: str, requests: Sequence[object], now: Micros) -> None:
        """A connection is gone, and with it what was asked there."""
        for request in requests:
            match request:
                case ConsumerFetchRequest():
                    self.asked.pop(node, None)
                case ListOffsetsRequest():
                    for partition, _ in request.partitions:
                        self._asked_in_vain(partition, FetchState.AWAIT_RESET, now)
                case OffsetForLeaderEpochRequest():
                    for partition, _, _ in request.partitions:
                        self._asked_in_vain(partition, FetchState.AWAIT_VALIDATION, now)

    def _asked_in_vain(self, partition: str, state: FetchState, now: Micros) -> None:
        position = self.positions.get(partition)
        if position is not None and position.state is state:
            self._try_later(position, now)

    # Fetches.

    def send_fetches(self, now: Micros, out: list[Effect]) -> None:
        """For every partition that may be fetched and of which nothing is buffered; a broker with a fetch under way waits."""
        buffered = dict.fromkeys(one.partition for one in self.buffer)
        if self.next_in_line is not None and not self.next_in_line.drained:
            buffered[self.next_in_line.partition] = None
        wanted: dict[str, list[Position]] = {}
        for position in self.positions.in_state(FetchState.FETCHING):
            if position.revoked or position.partition in buffered:
                continue
            leader = self.metadata.leader_of(position.partition)[0]
            if leader == NO_LEADER:
                self.metadata.request_update()
            elif leader not in self.asked:
                wanted.setdefault(leader, []).append(position)
        for node, positions in wanted.items():
            if self.is_ready(node, now, out):
                self._fetch(node, positions, now, out)

    def _fetch(self, node: str, positions: list[Position], now: Micros, out: list[Effect]) -> None:
        ids = dict(self.metadata.topic_ids)
        named = tuple(ConsumerFetchPartition(one.partition, one.offset, one.leader_epoch, ids.get(topic_of(one.partition), NO_TOPIC_ID)) for one in positions)
        config = self.config
        limits = config.fetch_max_wait_ms, config.fetch_min_bytes, config.fetch_max_bytes, config.max_partition_fetch_bytes
        self.network.send(node, ConsumerFetchRequest(named, config.read_committed, *limits), (), now, out)
        self.asked[node] = None

    def fetched(self, node: str, request: ConsumerFetchRequest, response: ConsumerFetchResponse, now: Micros, out: list[Effect]) -> None:
        """Into the buffer. Partitions without anything to say are not in Kafka's answer (an incremental session): here they are left out."""
        self.asked.pop(node, None)
        offsets = {position.partition: position.fetch_offset for position in request.partitions}
        self.answers += 1
        if self.log is not None and response.partitions:
            self.log.append(("answer", self.answers, "", len(response.partitions)))
        for data in response.partitions:
            if data.error or data.batches:
                self.buffer.append(CompletedFetch(data, offsets[data.partition], read_committed=self.config.read_committed, answer=self.answers))
            elif self.log is not None:
                self.log.append(("drained", self.answers, data.partition, 0))
            if data.leader and self.metadata.profile.leader_hint_in_produce:
                self.metadata.take_hint(data.partition, data.leader, data.leader_epoch, out)

    def collect(self) -> list[Slice]:
        """What poll() returns: at most max.poll.records. Raises Thrown where the application must hear of an error."""
        taken: list[Slice] = []
        room = self.config.max_poll_records
        while room > 0:
            if self.next_in_line is None or self.next_in_line.drained:
                if not self.buffer:
                    break
                coming = self.buffer[0]
                try:
                    usable = coming.initialized or self._initialize(coming)
                except Thrown:
                    if taken:
                        break  # First what came before; the next poll() throws.
                    self.buffer.popleft()
                    self._measure(coming, drained=True)
                    raise
                self.buffer.popleft()
                self.next_in_line = coming if usable else None
                if not usable:
                    self._measure(coming, drained=True)
                continue
            found = self._take(self.next_in_line, room)
            self._measure(self.next_in_line, drained=self.next_in_line.drained, records=sum(len(one.records) for one in found))
            room -= sum(len(one.records) for one in found)
            taken += found
        return taken

    def _measure(self, fetch: CompletedFetch, *, drained: bool, records: int | None = None) -> None:
        """FetchCollector.fetchRecords: how far behind it is each time that it was read, what it had when it is read to its end."""
        if self.log is None:
            return
        fetch.read += records or 0
        position = self.positions.get(fetch.partition)
        if records is not None and position is not None and position.has_valid_position and position.offset == fetch.next_offset:
            end = fetch.data.last_stable_offset if self.config.read_committed else fetch.data.high_watermark
            self.log.append(("lag", fetch.answer, fetch.partition, end - position.offset))
            self.log.append(("lead", fetch.answer, fetch.partition, position.offset - fetch.data.log_start_offset))
        if drained:
            self.log.append(("drained", fetch.answer, fetch.partition, fetch.read))

    def _take(self, fetch: CompletedFetch, room: int) -> list[Slice]:
        position = self.positions.get(fetch.partition)
        if position is None or not position.has_valid_position or position.offset != fetch.next_offset:
            fetch.drained = True  # No longer assigned, being reset, or of an obsolete request.
            return []
        found = fetch.take(room)
        if fetch.next_offset > position.offset:
            position.offset, position.offset_epoch = fetch.next_offset, fetch.last_epoch
        if fetch.drained:
            self.positions.move_to_end(fetch.partition)
        return found

    def _initialize(self, fetch: CompletedFetch) -> bool:
        """Whether it is of any use: errors are met here, when their turn comes."""
        if fetch.error:
            self.positions.move_to_end(fetch.partition)
        position = self.positions.get(fetch.partition)
        if position is None or position.state is not FetchState.FETCHING:
            return False
        if not fetch.error:
            fetch.initialized = True
            return position.offset == fetch.fetch_offset
        if fetch.error in REFRESHING:
            self.metadata.request_update()
        elif fetch.error is ErrorCode.OFFSET_OUT_OF_RANGE and position.offset == fetch.fetch_offset:  # CV-7
            if self.reset_policy == "none":
                raise Thrown("OffsetOutOfRangeException", f"Fetch position {position.offset} is out of range for partition {fetch.partition}")
            position.request_reset(self.reset_policy)
            self.fell_out = True
        elif fetch.error is ErrorCode.TOPIC_AUTHORIZATION_FAILED:
            raise _unauthorized(fetch.partition)
        elif fetch.error is ErrorCode.CORRUPT_MESSAGE:
            raise Thrown("KafkaException", f"Encountered corrupt message when fetching offset {fetch.fetch_offset} for topic-partition {fetch.partition}")
        elif fetch.error is not ErrorCode.OFFSET_OUT_OF_RANGE and fetch.error not in REPEATED:
            text = f"Unexpected error code {fetch.error.value} while fetching at offset {fetch.fetch_offset} from topic-partition {fetch.partition}"
            raise Thrown("IllegalStateException", text)
        return False


def _unauthorized(partition: str) -> Thrown:
    return Thrown("TopicAuthorizationException", f"Not authorized to access topics: [{topic_of(partition)}]")
