"""What crosses the network: requests and responses, with the fields that decide something.

Kafka: the request and response schemas of clients/src/main/resources/common/message.
A partition is named by its topic and number ("payments-0"), a broker by its machine ("broker-1").
A response carries no correlation id: a broker answers the requests of a connection in order (BP-1), so the sender knows which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.errors import ErrorCode
from ksim_models.machine import message

Records = Sequence[int]
"""Record numbers of one producer, in the order they stand in the batch. A `range` where they are consecutive, else a tuple."""

NO_PRODUCER_ID = -1
NO_SEQUENCE = -1
NO_OFFSET = -1
NO_LEADER = ""


def topic_of(partition: str) -> str:
    return partition.rpartition("-")[0]


@message
class Marker:
    """The end of a transaction on one partition (KIP-98)."""

    committed: bool
    coordinator_epoch: int


@message
class RecordBatch:
    """Records sent together. A leader stamps `base_offset` and `leader_epoch` when it appends."""

    partition: str
    producer: str
    records: Records
    size_bytes: int
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = -1
    base_sequence: int = NO_SEQUENCE
    base_offset: int = NO_OFFSET
    leader_epoch: int = -1
    max_timestamp: int = 0
    """Of its newest record, as the client set it when the record was handed to send(), in microseconds."""
    raw_bytes: int = 0
    """Its size without the compression that it has; 0 where it has none."""
    transactional: bool = False
    marker: Marker | None = None
    """A control batch: one offset, no record of anybody's, no sequence (PS-33)."""
    payload: tuple[object, ...] = ()
    """What the records of an internal topic say, one entry per record: they belong to no producer."""

    @property
    def next_offset(self) -> int:
        return self.base_offset + len(self.records)


# Client and broker.


@message
class ApiVersionsRequest:
    """The first exchange on every client connection (N9)."""


@message
class ApiVersionsResponse:
    """What the broker speaks. `throttle_ms`, here and below: for so long the client shall send nothing, its quota is used up (N11)."""

    throttle_ms: int = 0
    transaction_version: int = 0
    """Of the cluster's finalized features (KIP-584): 2 lets a client that can speak transaction version 2 (T42)."""
    features_epoch: int = -1
    """Of those features; the newest counts (T40)."""


@message
class MetadataRequest:
    topics: tuple[str, ...]


@message
class PartitionMetadata:
    partition: str
    error: ErrorCode
    leader: str
    leader_epoch: int


@message
class TopicMetadata:
    topic: str
    error: ErrorCode
    partitions: tuple[PartitionMetadata, ...]
    """In the order of their numbers."""
    topic_id: int = 0
    """Another one for every topic of this name."""


@message
class MetadataResponse:
    brokers: tuple[str, ...]
    topics: tuple[TopicMetadata, ...]
    error: ErrorCode = ErrorCode.NONE
    """REBOOTSTRAP_REQUIRED, or none (M6)."""
    throttle_ms: int = 0


@message
class InitProducerIdRequest:
    """A producer asks for its producer id (I1); with a transactional id, its coordinator (T30); one that has an id and an epoch, for the next epoch (T31)."""

    transactional_id: str = ""
    transaction_timeout_ms: int = 0
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = -1


@message
class InitProducerIdResponse:
    error: ErrorCode
    producer_id: int
    producer_epoch: int
    throttle_ms: int = 0


@message
class ProduceRequest:
    """At most one batch per partition (A31). acks: 0, 1, or -1 for all. The broker waits at most `timeout_ms` for acks=all (BP-44).

    No leader epoch goes with it: a leader that was deposed cannot see that the producer knows a newer one (BP-12).
    """

    acks: int
    timeout_ms: int
    batches: tuple[RecordBatch, ...]
    topic_ids: tuple[tuple[str, int], ...] = ()
    """4.1 (Produce v13, BP-16): the ids that the client means by its topics; none: it names them only."""
    transactional_id: str = ""
    transaction_version: int = 1
    """2: Produce v12 or later of a transactional producer, which adds its partitions to the transaction by itself (T42, T43)."""
    knows_abortable: bool = True
    """Produce v11 or later (3.8): the client understands TRANSACTION_ABORTABLE."""


@message
class ProduceResult:
    partition: str
    error: ErrorCode
    base_offset: int = NO_OFFSET
    log_start_offset: int = -1
    leader: str = NO_LEADER
    """With NOT_LEADER_OR_FOLLOWER: the leader this broker knows (KIP-951), with its epoch."""
    leader_epoch: int = -1
    error_message: str | None = None
    record_errors: tuple[tuple[int, str | None], ...] = ()
    """Records that the broker's validation refused, by their place in the batch, and why (KIP-467, S16)."""


@message
class ProduceResponse:
    results: tuple[ProduceResult, ...]
    throttle_ms: int = 0


@message
class DeleteRecordsRequest:
    """An administrator lets the log of this partition start at `before`; -1: at the high watermark. The followers hear of it as they fetch."""

    partition: str
    before: int


# Follower and leader.


@message
class FetchPartition:
    partition: str
    fetch_offset: int
    current_leader_epoch: int
    last_fetched_epoch: int
    """Epoch of the follower's last batch, -1 for an empty log (KIP-595 truncation on fetch)."""
    topic_id: int = 0


@message
class FetchRequest:
    """A follower's fetch, in a fetch session (KIP-227): names only the partitions that moved. A new session (`full`) names all."""

    replica: str
    broker_epoch: int
    full: bool
    partitions: tuple[FetchPartition, ...]
    forgotten: tuple[str, ...]
    max_wait_ms: int


@message
class FetchedPartition:
    partition: str
    error: ErrorCode
    high_watermark: int = -1
    log_start_offset: int = -1
    batches: tuple[RecordBatch, ...] = ()
    diverging_epoch: int = -1
    diverging_end_offset: int = -1
    log_end_offset: int = -1
    """With OFFSET_OUT_OF_RANGE only: what the follower asks for next, by ListOffsets, comes with the error (RP-36)."""


@message
class FetchResponse:
    """Names only partitions with something to say: data, a new high watermark, an error, a divergence."""

    partitions: tuple[FetchedPartition, ...]


# An administrator and the controller.


@message
class ElectLeadersRequest:
    partition: str
    kind: str
    """"preferred" or "unclean"."""


@message
class AlterPartitionReassignmentsRequest:
    partition: str
    replicas: tuple[str, ...]
    """The preferred leader first."""


@message
class IncrementalAlterConfigsRequest:
    """Sets settings; `kind` and `name` as in ConfigRecord."""

    kind: str
    name: str
    settings: tuple[tuple[str, str], ...]


@message
class DeleteTopicRequest:
    topic: str


@message
class CreateTopicRequest:
    topic: str
    assignment: tuple[tuple[str, ...], ...]
    settings: tuple[tuple[str, str], ...]


# Broker and controller.


@message
class BrokerRegistrationRequest:
    broker: str
    incarnation: int
    previous_broker_epoch: int
    """The epoch in the clean-shutdown file, -1 after a crash (KC-58)."""


@message
class BrokerRegistrationResponse:
    error: ErrorCode
    broker_epoch: int


@message
class BrokerHeartbeatRequest:
    broker: str
    broker_epoch: int
    current_metadata_offset: int
    want_fence: bool
    want_shut_down: bool = False
    offline_replicas: tuple[str, ...] = ()
    """Simplified: Kafka's names the failed directories, and the controller knows by AssignReplicasToDirs what stands in them (KIP-858)."""


@message
class BrokerHeartbeatResponse:
    error: ErrorCode
    is_caught_up: bool
    is_fenced: bool
    should_shut_down: bool = False


@message
class AlterPartitionItem:
    partition: str
    leader_epoch: int
    partition_epoch: int
    new_isr: tuple[tuple[str, int], ...]
    """(broker, broker epoch as its last fetch gave it, or -1), in replica order."""
    recovering: bool
    topic_id: int = 0


@message
class AlterPartitionRequest:
    broker: str
    broker_epoch: int
    items: tuple[AlterPartitionItem, ...]


@message
class AlterPartitionResult:
    partition: str
    error: ErrorCode
    leader: str = NO_LEADER
    leader_epoch: int = -1
    isr: tuple[str, ...] = ()
    recovering: bool = False
    partition_epoch: int = -1


@message
class AlterPartitionResponse:
    """A request-level error (STALE_BROKER_EPOCH, NOT_CONTROLLER) comes without results."""

    error: ErrorCode
    results: tuple[AlterPartitionResult, ...]


@message
class MetadataFetchRequest:
    """A broker asks the controller for the metadata records from `offset` on; parked until there are some."""

    broker: str
    offset: int


@message
class CreateTopicsRequest:
    """A broker asks for topics that a client named and nobody has created, or that a coordinator needs."""

    topics: tuple[str, ...]
    partitions: int
    replication: int
    settings: tuple[tuple[str, str], ...] = ()


@message
class CreateTopicsResponse:
    topics: tuple[str, ...]
    error: ErrorCode = ErrorCode.NONE


@message
class BrokerRecord:
    """A broker's registration, or a change of its fencing, or that it is leaving."""

    broker: str
    broker_epoch: int
    fenced: bool
    in_controlled_shutdown: bool = False
    offline_replicas: tuple[str, ...] = ()
    """Partitions whose log stands in a directory that has failed (3.7, KIP-858)."""
    incarnation: int = 0
    """Which life of the broker's process it is (KC-10)."""


@message
class TopicRecord:
    topic: str
    partitions: int
    config: tuple[tuple[str, str], ...]
    """Topic settings that were set, by Kafka's names."""
    topic_id: int = 0
    """Another one whenever a topic of this name is created again."""


@message
class RemoveTopicRecord:
    topic: str
    topic_id: int


@message
class ConfigRecord:
    """Settings of a topic, of one broker, or ("") of all brokers, that were changed while the cluster runs."""

    kind: str
    """"topic" or "broker"."""
    name: str
    settings: tuple[tuple[str, str], ...]
    """Those that were changed, by Kafka's names."""


@message
class ClearElrRecord:
    """KC-59: another min.insync.replicas says nothing about who left before; "" for every topic."""

    topic: str


@message
class PartitionRecord:
    partition: str
    replicas: tuple[str, ...]
    isr: tuple[str, ...]
    elr: tuple[str, ...]
    last_known_elr: tuple[str, ...]
    leader: str
    leader_epoch: int
    partition_epoch: int
    recovering: bool
    adding: tuple[str, ...] = ()
    removing: tuple[str, ...] = ()
    """Replicas on their way in and out: they are among `replicas` until the reassignment is complete (KC-48)."""


@message
class LeaderChangeRecord:
    """The first record of a new epoch of the metadata log: with it all that stands before can be committed (KIP-595)."""

    leader: str
    epoch: int


@message
class NoOpRecord:
    """An idle controller keeps the metadata log moving (KIP-835)."""


MetadataRecord = BrokerRecord | TopicRecord | PartitionRecord | RemoveTopicRecord | ConfigRecord | ClearElrRecord | LeaderChangeRecord | NoOpRecord


@message
class MetadataFetchResponse:
    """Committed records; `offset` is the one after the last of them."""

    offset: int
    records: tuple[MetadataRecord, ...]
