"""What a voter of the controllers' quorum may be, and the fetches that wait at it.

Kafka: the states of org.apache.kafka.raft (UnattachedState, ProspectiveState, CandidateState, FollowerState, LeaderState, ResignedState).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ksim_models.quorum_messages import RaftFetchRequest
from ksim_models.units import Micros


class Role(Enum):
    """What a voter is in its epoch, and what it does when its patience ends."""

    UNATTACHED = "knows no leader of this epoch; may have voted"
    PROSPECTIVE = "asks whether it would be elected (KIP-996)"
    CANDIDATE = "stands in an epoch of its own"
    FOLLOWER = "fetches from the leader"
    LEADER = "leads this epoch"
    RESIGNED = "led this epoch, and leads no more"


@dataclass(slots=True)
class Parked:
    """A fetch waits for something to tell: of a leader at the end of its log, of another voter that knows no other leader than the asker."""

    request: RaftFetchRequest
    until: Micros
    at_a_leader: bool
