"""What crosses the network for transactions, consumers and their groups.

Kafka: the request and response schemas of clients/src/main/resources/common/message. As in `messages`: only fields that decide something,
partitions and brokers by their names, no correlation ids. A response without `error` has none.
"""

from __future__ import annotations

from ksim_models.errors import ErrorCode
from ksim_models.machine import message
from ksim_models.messages import NO_PRODUCER_ID, RecordBatch

TRANSACTION_STATE = "__transaction_state"
CONSUMER_OFFSETS = "__consumer_offsets"
NO_TOPIC_ID = -1
"""Of a topic that is named only."""


# Any client, and the broker that may know.


@message
class FindCoordinatorRequest:
    """kind: "transaction" or "group"; key: the transactional id, or the group's."""

    kind: str
    key: str


@message
class FindCoordinatorResponse:
    error: ErrorCode
    node: str
    throttle_ms: int = 0


# A transactional producer and its coordinator. `transaction_version`: 2 where the request has the form of KIP-890 part 2 (T42), else 1.


@message
class AddPartitionsToTxnRequest:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: tuple[str, ...]
    verify_only: bool = False
    """A partition's leader asks whether they are in the transaction (KIP-890 part 1)."""


@message
class AddPartitionsToTxnResponse:
    results: tuple[tuple[str, ErrorCode], ...]
    throttle_ms: int = 0


@message
class AddPartitionsToTxnBatchRequest:
    """Version 4 and later, from a broker: several producers' transactions at once (PS-63)."""

    transactions: tuple[AddPartitionsToTxnRequest, ...]


@message
class AddPartitionsToTxnBatchResponse:
    results: tuple[tuple[str, tuple[tuple[str, ErrorCode], ...]], ...]
    """(transactional id, results)."""


@message
class AddOffsetsToTxnRequest:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    group: str


@message
class AddOffsetsToTxnResponse:
    error: ErrorCode
    throttle_ms: int = 0


@message
class EndTxnRequest:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    committed: bool
    transaction_version: int = 1


@message
class EndTxnResponse:
    error: ErrorCode
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = -1
    """Version 5: what the client is from now on."""
    throttle_ms: int = 0


@message
class TxnOffsetCommitRequest:
    """offsets: (partition, next offset to read). An empty member id with generation -1 is fenced by nobody (GC-3)."""

    transactional_id: str
    group: str
    producer_id: int
    producer_epoch: int
    offsets: tuple[tuple[str, int], ...]
    member: str = ""
    generation: int = -1
    transaction_version: int = 1
    instance: str = ""
    epochs: tuple[int, ...] = ()
    """Of the last record read of each partition, -1 where it is not known; none: of no partition."""


@message
class TxnOffsetCommitResponse:
    results: tuple[tuple[str, ErrorCode], ...]
    throttle_ms: int = 0


# A coordinator and the leaders of partitions.


@message
class TxnMarker:
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    committed: bool
    partitions: tuple[str, ...]
    transaction_version: int = 1


@message
class WriteTxnMarkersRequest:
    markers: tuple[TxnMarker, ...]


@message
class WriteTxnMarkersResponse:
    results: tuple[tuple[int, str, ErrorCode], ...]
    """(producer id, partition, error)."""


# A consumer and the leaders of partitions.


@message
class ConsumerFetchPartition:
    partition: str
    fetch_offset: int
    current_leader_epoch: int
    topic_id: int = NO_TOPIC_ID


@message
class ConsumerFetchRequest:
    """A consumer's fetch names all that it wants."""

    partitions: tuple[ConsumerFetchPartition, ...]
    read_committed: bool
    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    max_partition_bytes: int


@message
class ConsumerFetchedPartition:
    partition: str
    error: ErrorCode
    high_watermark: int = -1
    last_stable_offset: int = -1
    log_start_offset: int = -1
    batches: tuple[RecordBatch, ...] = ()
    """Control batches among them; the client leaves out what it must not see (CV-2)."""
    aborted: tuple[tuple[int, int], ...] = ()
    """read_committed: (producer id, first offset) of the aborted transactions that overlap."""
    leader: str = ""
    leader_epoch: int = -1
    """With NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH: the leader this broker knows (KIP-951)."""


@message
class ConsumerFetchResponse:
    partitions: tuple[ConsumerFetchedPartition, ...]
    throttle_ms: int = 0


@message
class ListOffsetsRequest:
    """at: "earliest", "latest" (the high watermark, or with read_committed the last stable offset), or "since": the first record not older than `since`."""

    partitions: tuple[tuple[str, int], ...]
    """(partition, current leader epoch)."""
    at: str
    read_committed: bool
    since: int = 0


@message
class ListOffsetsResponse:
    results: tuple[tuple[str, ErrorCode, int, int], ...]
    """(partition, error, offset, leader epoch)."""
    throttle_ms: int = 0


@message
class OffsetForLeaderEpochRequest:
    """KIP-320: does the log still hold what the consumer has read?"""

    partitions: tuple[tuple[str, int, int], ...]
    """(partition, current leader epoch, epoch of the position)."""


@message
class OffsetForLeaderEpochResponse:
    results: tuple[tuple[str, ErrorCode, int, int], ...]
    """(partition, error, leader epoch, end offset)."""
    throttle_ms: int = 0


# A consumer and the coordinator of its group (classic protocol).


@message
class Held:
    """What a member tells whoever assigns of the partitions that it has: a part of its subscription, and of what its sticky assignors add to that."""

    partitions: tuple[str, ...] = ()
    """With the cooperative protocol: those that it keeps while it joins."""
    generation: int = -1
    """In which it got them (KIP-792)."""
    sticky: tuple[str, ...] | None = None
    """What the sticky assignor had given it last, and when."""
    sticky_generation: int = -1
    cooperative_generation: int = -1
    """When the cooperative one had."""


@message
class JoinGroupRequest:
    group: str
    member: str
    """Empty at first: the coordinator gives one (MEMBER_ID_REQUIRED, KIP-394)."""
    client: str
    instance: str
    """group.instance.id, or empty."""
    topics: tuple[str, ...]
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[str, ...] = ("range",)
    """Assignors, the preferred one first."""
    held: Held = Held()


@message
class JoinGroupResponse:
    error: ErrorCode
    generation: int = -1
    leader: str = ""
    member: str = ""
    members: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """For the leader only: (member, its group.instance.id or empty, topics)."""
    protocol: str = ""
    """The assignor that all members know and most prefer."""
    skip_assignment: bool = False
    """A static leader that came back to a stable group: nothing is to be assigned (KIP-814)."""
    held: tuple[Held, ...] = ()
    """For the leader only: of each member."""
    throttle_ms: int = 0


@message
class SyncGroupRequest:
    group: str
    member: str
    generation: int
    instance: str = ""
    assignments: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """From the leader only: (member, partitions)."""


@message
class SyncGroupResponse:
    error: ErrorCode
    partitions: tuple[str, ...] = ()
    throttle_ms: int = 0


@message
class HeartbeatRequest:
    group: str
    member: str
    generation: int
    instance: str = ""


@message
class HeartbeatResponse:
    error: ErrorCode
    throttle_ms: int = 0


@message
class LeaveGroupRequest:
    group: str
    member: str
    instance: str = ""


@message
class LeaveGroupResponse:
    error: ErrorCode
    throttle_ms: int = 0


# The consumer protocol (KIP-848): one request for everything.


@message
class ConsumerGroupHeartbeatRequest:
    """epoch: 0 joins, -1 leaves, -2 leaves for a while. What has not changed since the last request is left out."""

    group: str
    member: str
    """A member names itself (KIP-1082)."""
    epoch: int
    instance: str = ""
    rebalance_timeout_ms: int = -1
    topics: tuple[str, ...] | None = None
    assignor: str = ""
    owned: tuple[str, ...] | None = None


@message
class ConsumerGroupHeartbeatResponse:
    error: ErrorCode
    epoch: int = -1
    interval_ms: int = 0
    assignment: tuple[str, ...] | None = None
    """What it may have now; None where that is as before."""
    throttle_ms: int = 0


@message
class OffsetCommitRequest:
    group: str
    offsets: tuple[tuple[str, int], ...]
    member: str = ""
    generation: int = -1
    instance: str = ""
    epochs: tuple[int, ...] = ()
    """Of the last record read of each partition; none: not known."""


@message
class OffsetCommitResponse:
    results: tuple[tuple[str, ErrorCode], ...]
    throttle_ms: int = 0


@message
class OffsetFetchRequest:
    group: str
    partitions: tuple[str, ...]
    require_stable: bool
    member: str = ""
    epoch: int = -1
    """Of a member of a group of the consumer protocol."""


@message
class OffsetFetchResponse:
    """error: of the whole request. An offset of -1: nobody has committed any."""

    error: ErrorCode
    results: tuple[tuple[str, ErrorCode, int, int], ...] = ()
    """(partition, error, offset, leader epoch of the last record read or -1)."""
    throttle_ms: int = 0
