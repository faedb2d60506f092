"""What the controllers of a quorum say to each other, and brokers that fetch the metadata log from them.

Kafka: Vote, BeginQuorumEpoch, EndQuorumEpoch and Fetch of the topic __cluster_metadata (KIP-595, KIP-996).
"""

from __future__ import annotations

from ksim_models.errors import ErrorCode
from ksim_models.machine import message
from ksim_models.messages import MetadataRecord
from ksim_models.units import Micros


@message
class MetadataEntry:
    """A record where it stands in the replicated metadata log, with the epoch of the leader that wrote it."""

    epoch: int
    record: MetadataRecord
    told: tuple[object, ...] = ()
    """Not Kafka's: the facts that the history is told once it is committed."""


@message
class VoteRequest:
    """A candidate asks for a vote in its epoch; with pre_vote a prospective one asks, before it takes a new epoch, whether it would get one (KIP-996)."""

    candidate: str
    epoch: int
    last_epoch: int
    end_offset: int
    pre_vote: bool


@message
class VoteResponse:
    error: ErrorCode
    epoch: int
    leader: str
    granted: bool


@message
class BeginQuorumEpochRequest:
    """The new leader makes itself known."""

    leader: str
    epoch: int


@message
class BeginQuorumEpochResponse:
    error: ErrorCode
    epoch: int
    leader: str


@message
class EndQuorumEpochRequest:
    """The leader resigns: who has most of its log is to stand first."""

    leader: str
    epoch: int
    preferred: tuple[str, ...]


@message
class EndQuorumEpochResponse:
    error: ErrorCode
    epoch: int
    leader: str


@message
class RaftFetchRequest:
    """A follower or an observer fetches the metadata log from `offset` on."""

    replica: str
    epoch: int
    offset: int
    last_epoch: int
    high_watermark: int
    leader: str = ""
    """Not Kafka's, as the next: who leads `epoch` as far as the asker knows."""
    patience: Micros = 0
    """So long may a voter that can tell it no more than it knows keep it waiting (RaftVoter)."""


@message
class RaftFetchResponse:
    error: ErrorCode
    epoch: int
    leader: str
    entries: tuple[MetadataEntry, ...] = ()
    high_watermark: int = -1
    """-1: the leader has committed nothing of its own epoch yet."""
    diverging: tuple[int, int] | None = None
    """(epoch, end offset) where the logs part: the follower has to cut its own."""


RaftRequest = VoteRequest | BeginQuorumEpochRequest | EndQuorumEpochRequest | RaftFetchRequest
RaftResponse = VoteResponse | BeginQuorumEpochResponse | EndQuorumEpochResponse | RaftFetchResponse
RAFT_REQUESTS = (VoteRequest, BeginQuorumEpochRequest, EndQuorumEpochRequest, RaftFetchRequest)
RAFT_RESPONSES = (VoteResponse, BeginQuorumEpochResponse, EndQuorumEpochResponse, RaftFetchResponse)
