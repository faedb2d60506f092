"""A group of consumers as its coordinator knows it: members, generation, state.

Kafka: GroupMetadata, MemberMetadata (ClassicGroup, ClassicGroupMember since 4.0).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ksim_models.transaction_messages import JoinGroupRequest
from ksim_models.units import NEVER, Micros

NO_GENERATION = -1
UNKNOWN_MEMBER = ""


class GroupState(Enum):
    EMPTY = "no members; offsets may be there"
    PREPARING_REBALANCE = "members join"
    COMPLETING_REBALANCE = "all have joined, the leader assigns"
    STABLE = "every member has its partitions"
    DEAD = "another coordinator's, or deleted"


VALID_PREVIOUS_STATES: dict[GroupState, tuple[GroupState, ...]] = {
    GroupState.EMPTY: (GroupState.PREPARING_REBALANCE,),
    GroupState.PREPARING_REBALANCE: (GroupState.STABLE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY),
    GroupState.COMPLETING_REBALANCE: (GroupState.PREPARING_REBALANCE,),
    GroupState.STABLE: (GroupState.COMPLETING_REBALANCE,),
    GroupState.DEAD: (GroupState.STABLE, GroupState.PREPARING_REBALANCE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY, GroupState.DEAD),
}


class Member:
    __slots__ = (
        "assignment",
        "client",
        "expires_at",
        "held",
        "instance",
        "is_new",
        "joining",
        "member",
        "protocols",
        "rebalance_timeout_ms",
        "session_timeout_ms",
        "syncing",
        "topics",
    )

    def __init__(self, member: str, request: JoinGroupRequest) -> None:
        self.member = member
        self.client = request.client
        self.instance = request.instance
        self.is_new = True
        """Its first JoinGroup has not been answered."""
        self.joining: str | None = None
        """The connection on which its JoinGroup waits."""
        self.syncing: str | None = None
        """And its SyncGroup."""
        self.assignment: tuple[str, ...] = ()
        self.expires_at: Micros = NEVER
        """When it is taken for dead, unless it is heard of. Not while it waits for an answer."""
        self.update(request)

    def update(self, request: JoinGroupRequest) -> None:
        self.topics = request.topics
        self.protocols = request.protocols
        self.held = request.held
        self.session_timeout_ms = request.session_timeout_ms
        self.rebalance_timeout_ms = request.rebalance_timeout_ms

    def matches(self, request: JoinGroupRequest) -> bool:
        """Byte for byte: who says that it had partitions in another generation does not."""
        return (self.topics, self.protocols, self.held) == (request.topics, request.protocols, request.held)

    @property
    def waits(self) -> bool:
        return self.joining is not None or self.syncing is not None


class Group:
    __slots__ = (
        "given_ids",
        "generation",
        "initial_rest_ms",
        "is_initial",
        "join_until",
        "leader",
        "members",
        "name",
        "new_member_added",
        "pending",
        "protocol",
        "state",
        "static",
        "sync_until",
        "to_sync",
    )

    def __init__(self, name: str, state: GroupState = GroupState.EMPTY) -> None:
        self.name = name
        self.state = state
        self.generation = 0
        self.protocol = ""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self.static: dict[str, str] = {}
        """group.instance.id -> member."""
        self.pending: dict[str, Micros] = {}
        """Members that were given an id and have not joined with it (KIP-394), and until when they may."""
        self.join_until: Micros = NEVER
        """PREPARING_REBALANCE: who has not joined by then is out."""
        self.is_initial = False
        """The group was empty: nobody knows how many will come, so the time is waited out, and again where somebody new came meanwhile."""
        self.initial_rest_ms = 0
        self.new_member_added = False
        self.to_sync: dict[str, None] = {}
        """Members of this generation that have not sent SyncGroup yet."""
        self.sync_until: Micros = NEVER
        self.given_ids = 0

    def become(self, state: GroupState) -> None:
        assert self.state in VALID_PREVIOUS_STATES[state], f"{self.state} -> {state}"
        self.state = state

    def add(self, member: Member) -> None:
        if not self.members:
            self.leader = member.member
        self.members[member.member] = member
        self.pending.pop(member.member, None)
        if member.instance:
            self.static[member.instance] = member.member

    def remove(self, name: str) -> None:
        member = self.members.pop(name, None)
        if member is not None and member.instance and self.static.get(member.instance) == name:
            del self.static[member.instance]
        if self.leader == name:
            self.leader = next(iter(self.members), "")
        self.pending.pop(name, None)
        self.to_sync.pop(name, None)

    def replace_static(self, instance: str, old: str, new: str) -> Member:
        """The same instance, under another member id; what it was assigned stays its own. A SyncGroup that its old id owes is owed by nobody now, and
        when its time is over the group begins anew.
        """
        member = self.members.pop(old)
        member.member = new
        self.members[new] = member
        self.static[instance] = new
        if self.leader == old:
            self.leader = new
        return member

    @property
    def rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    @property
    def all_have_joined(self) -> bool:
        return not self.pending and all(member.joining is not None for member in self.members.values())

    def supports(self, protocols: Iterable[str]) -> bool:
        """Whether all members know one of these assignors."""
        return not self.members or any(all(protocol in member.protocols for member in self.members.values()) for protocol in protocols)

    def select_protocol(self) -> str:
        """Of those that all know, the one that most prefer; between equals the first voted for."""
        members = list(self.members.values())
        candidates = [protocol for protocol in members[0].protocols if all(protocol in member.protocols for member in members)]
        votes = [next(protocol for protocol in member.protocols if protocol in candidates) for member in members]
        return max(dict.fromkeys(votes), key=votes.count)

    def elect_a_leader_that_joined(self) -> bool:
        """False where nobody has joined."""
        if not self.leader:
            return False
        if self.members[self.leader].joining is None:
            joined = next((member.member for member in self.members.values() if member.joining is not None), None)
            if joined is None:
                return False
            self.leader = joined
        return True
