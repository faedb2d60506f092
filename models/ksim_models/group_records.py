"""What a coordinator of groups writes into __consumer_offsets, and what it reads there when it is elected.

Kafka: GroupMetadataValue, OffsetCommitValue, and the records of groups of the consumer protocol; GroupCoordinatorShard.replay.
"""

from __future__ import annotations

from ksim_models.consumer_groups import ConsumerGroup, ConsumerGroupRecord, as_written
from ksim_models.group_offsets import GroupOffsets, OffsetRecord
from ksim_models.groups import Group, GroupState, Member
from ksim_models.internal_topics import written
from ksim_models.log import Log
from ksim_models.machine import message
from ksim_models.transaction_messages import Held, JoinGroupRequest
from ksim_models.units import Micros

OFFSET_BYTES = 120
MEMBER_BYTES = 250
"""About what a record takes in the log."""


@message
class MemberRecord:
    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    protocols: tuple[str, ...]
    session_timeout_ms: int
    rebalance_timeout_ms: int
    assignment: tuple[str, ...]
    held: Held


@message
class GroupRecord:
    """A record of __consumer_offsets: a generation of a group, complete with what its members were assigned."""

    group: str
    generation: int
    protocol: str
    leader: str
    members: tuple[MemberRecord, ...]


class Shard:
    """What the coordinator knows of one partition of __consumer_offsets."""

    __slots__ = ("consumer_groups", "epoch", "groups", "offsets")

    def __init__(self, epoch: int, *, visible_at_once: bool) -> None:
        self.epoch = epoch
        self.groups: dict[str, Group] = {}
        self.consumer_groups: dict[str, ConsumerGroup] = {}
        """Those of the consumer protocol."""
        self.offsets = GroupOffsets(visible_at_once=visible_at_once)

    def read(self, log: Log, now: Micros, session: Micros) -> None:
        """To its end: the last record of each key counts. Simplified: read at once, when `[model] load` is over."""
        told: dict[str, GroupRecord] = {}
        for base_offset, batch in written(log):
            if batch.marker is not None:
                self.offsets.end(batch.producer_id, committed=batch.marker.committed)
            for place, record in enumerate(batch.payload):
                match record:
                    case OffsetRecord() if batch.transactional:
                        self.offsets.hold(batch.producer_id, record, base_offset + place)
                    case OffsetRecord():
                        self.offsets.put(record, base_offset + place)
                    case GroupRecord():
                        told[record.group] = record
                    case ConsumerGroupRecord():
                        self.consumer_groups[record.group] = as_written(record, now, session)
        for name in dict.fromkeys([*told, *(group for group, _ in self.offsets.committed)]):
            self.groups[name] = _as_written(told[name]) if name in told else Group(name)


def _as_written(record: GroupRecord) -> Group:
    """Whatever rebalance was under way is over: members are told so when they ask."""
    group = Group(record.group, GroupState.STABLE if record.members else GroupState.EMPTY)
    group.generation, group.protocol = record.generation, record.protocol
    for one in record.members:
        request = JoinGroupRequest(
            record.group, one.member, one.client, one.instance, one.topics, one.session_timeout_ms, one.rebalance_timeout_ms, one.protocols, one.held
        )
        member = Member(one.member, request)
        member.is_new, member.assignment = False, one.assignment
        group.add(member)
    group.leader = record.leader
    return group
