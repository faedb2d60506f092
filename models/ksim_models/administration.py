"""What an administrator may ask of the controller: elections, reassignments, settings, topics.

Kafka: ReplicationControlManager (electLeaders, alterPartitionReassignments, deleteTopics, createTopics), ConfigurationControlManager.
"""

from __future__ import annotations

from ksim_models.elections import Assignment, Election, without_elr
from ksim_models.errors import ErrorCode
from ksim_models.facts import TopicChanged
from ksim_models.messages import (
    AlterPartitionReassignmentsRequest,
    ClearElrRecord,
    ConfigRecord,
    CreateTopicRequest,
    DeleteTopicRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from ksim_models.metadata_log import MetadataLog
from ksim_models.profiles import BrokerProfile
from ksim_models.replication_control import ReplicationControl, change_of
from ksim_models.units import Micros

MIN_ISR = "min.insync.replicas"


class Administration:
    """Each request is answered at once, with NONE where it took effect; the records follow with the next commit."""

    def __init__(self, profile: BrokerProfile, log: MetadataLog, replication: ReplicationControl) -> None:
        self._profile = profile
        self._log = log
        self._replication = replication

    def handle(self, request: object, now: Micros) -> ErrorCode:
        match request:
            case ElectLeadersRequest():
                return self.elect(request.partition, Election(request.kind), now)
            case AlterPartitionReassignmentsRequest():
                return self.reassign(request.partition, request.replicas, now)
            case IncrementalAlterConfigsRequest():
                return self.alter(request, now)
            case DeleteTopicRequest():
                return self.delete_topic(request.topic, now)
            case CreateTopicRequest():
                return self.create_topic(request, now)
            case _:
                raise AssertionError(f"no administrator asks for {request!r}")

    def elect(self, partition: str, election: Election, now: Micros) -> ErrorCode:
        """KC-45."""
        state = self._log.partitions.get(partition)
        if state is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if state.leader == state.replicas[0] if election is Election.PREFERRED else bool(state.leader):
            return ErrorCode.ELECTION_NOT_NEEDED
        if self._replication.change(state, f"{election.value} election", now, election=election):
            return ErrorCode.NONE
        return ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE if election is Election.PREFERRED else ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE

    def reassign(self, partition: str, replicas: tuple[str, ...], now: Micros) -> ErrorCode:
        """KC-48, the first step; where nothing has to be waited for it is the last step too. An order alone is changed at once.

        In the middle of another reassignment: where nobody comes (or goes), those that the last one had coming (or going) still do. So one that is turned
        back in this way alone may never be complete: what it had added comes and goes.
        """
        state = self._log.partitions.get(partition)
        if state is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if not replicas or len(set(replicas)) < len(replicas) or any(replica not in self._log.brokers for replica in replicas):
            return ErrorCode.INVALID_REPLICA_ASSIGNMENT
        first = Assignment.towards(state.replicas, replicas)
        assignment = Assignment(first.replicas, first.adding or state.adding, first.removing or state.removing)
        self._replication.change(state, f"reassignment to {', '.join(replicas)}", now, assignment=assignment, election=Election.ANY)
        return ErrorCode.NONE

    def alter(self, request: IncrementalAlterConfigsRequest, now: Micros) -> ErrorCode:
        """KC-44 (elections follow with the next sweep), KC-59."""
        if request.kind == "topic" and request.name not in self._log.topics:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        changes_min_isr = self._profile.eligible_leader_replicas and any(name == MIN_ISR for name, _ in request.settings)
        if changes_min_isr and request.kind == "broker" and request.name:
            return ErrorCode.INVALID_CONFIG
        self._log.append(ConfigRecord(request.kind, request.name, request.settings), (), now)
        if changes_min_isr:
            topic = request.name if request.kind == "topic" else ""
            self._log.append(ClearElrRecord(topic), [change_of(state, MIN_ISR) for state in without_elr(self._log.partitions, topic).values()], now)
        return ErrorCode.NONE

    def delete_topic(self, topic: str, now: Micros) -> ErrorCode:
        record = self._log.topics.get(topic)
        if record is None:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        self._log.append(RemoveTopicRecord(topic, record.topic_id), (TopicChanged(topic, record.topic_id, "deleted"),), now)
        return ErrorCode.NONE

    def create_topic(self, request: CreateTopicRequest, now: Micros) -> ErrorCode:
        """KC-24: fenced brokers are not in the first ISR, and the first replica of it leads. A partition of which no replica lives cannot be created."""
        topic = request.topic
        if topic in self._log.topics:
            return ErrorCode.TOPIC_ALREADY_EXISTS
        first_isrs = [tuple(replica for replica in replicas if self._log.is_active(replica)) for replicas in request.assignment]
        if not all(first_isrs):
            return ErrorCode.INVALID_REPLICA_ASSIGNMENT
        topic_id = self._log.end_offset  # Never used before; those of the start have 0.
        created = TopicChanged(topic, topic_id, "created")
        self._log.append(TopicRecord(topic, len(request.assignment), request.settings, topic_id), (created,), now)
        for number, (replicas, isr) in enumerate(zip(request.assignment, first_isrs)):
            record = PartitionRecord(f"{topic}-{number}", replicas, isr, (), (), isr[0], 0, 0, recovering=False)
            self._replication.write(record, "created", now)
        return ErrorCode.NONE
