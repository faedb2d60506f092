"""Elections: from a partition's state and what happened to its replicas, to the next state.

Kafka: PartitionChangeBuilder of the KRaft controller; KIP-966 (eligible leader replicas). Pure: nothing here knows a broker, a log or the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from ksim_models.broker_variants import ReassignmentNeeds
from ksim_models.messages import NO_LEADER, PartitionRecord, topic_of
from ksim_models.profiles import BrokerProfile

PartitionState = PartitionRecord
"""The newest record of a partition is its state: every record carries all of it."""


def without_elr(partitions: Mapping[str, PartitionState], topic: str) -> dict[str, PartitionState]:
    """KC-59: those of this topic, or of all for "", that have something to forget, as they are then: it is a change with a partition epoch of its own."""
    return {
        name: replace(state, elr=(), last_known_elr=(), partition_epoch=state.partition_epoch + 1)
        for name, state in partitions.items()
        if (state.elr or state.last_known_elr) and topic in ("", topic_of(name))
    }


class Election(Enum):
    ANY = "any"
    """Only a replica that has every committed record, or the last known leader (KC-41)."""
    PREFERRED = "preferred"
    """The first of the assignment if it is valid, whoever leads now (KC-42)."""
    UNCLEAN = "unclean"
    """As ANY, and any living replica where nobody else is left (KC-41, unclean.leader.election.enable)."""


@dataclass(frozen=True, slots=True)
class PartitionChange:
    state: PartitionState
    unclean: bool
    """The new leader may lack committed records (KC-43, KC-55)."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition's replicas, and which of them are on their way in or out."""

    replicas: tuple[str, ...]
    """Those that leave stand at the end."""
    adding: tuple[str, ...] = ()
    removing: tuple[str, ...] = ()

    @staticmethod
    def towards(present: tuple[str, ...], wanted: tuple[str, ...]) -> Assignment:
        """The first step of a reassignment: all that come and all that go (PartitionReassignmentReplicas)."""
        removing = tuple(sorted(set(present) - set(wanted), key=_number))
        adding = tuple(sorted(set(wanted) - set(present), key=_number))
        return Assignment((*wanted, *removing), adding, removing)

    def completed(self, isr: tuple[str, ...], needs: ReassignmentNeeds) -> tuple[Assignment, tuple[str, ...]]:
        """The last step, as soon as the ISR allows it (KC-48), with the ISR after it; else as it is."""
        if not (self.adding or self.removing):
            return self, isr
        staying = tuple(replica for replica in isr if replica not in self.removing)
        target = tuple(replica for replica in self.replicas if replica not in self.removing)
        all_there = all(replica in staying for replica in target)
        come = all(replica in staying for replica in self.adding)
        match needs:
            case ReassignmentNeeds.ADDED:
                enough = come
            case ReassignmentNeeds.ALL:
                enough = all_there
            case ReassignmentNeeds.ALL_WHERE_FEWER:
                enough = come and (all_there or len(self.adding) >= len(self.removing))
        return (Assignment(target), staying) if enough and staying and target else (self, isr)


def _number(broker: str) -> tuple[int, str]:
    """Brokers stand in the order of their numbers, as in Kafka's sorted sets."""
    digits = broker.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else 0), broker


@dataclass(frozen=True, slots=True)
class PartitionChangeBuilder:
    """One change of one partition: who leaves the ISR, who may lead, and what follows from it."""

    partition: PartitionState
    profile: BrokerProfile
    is_acceptable: Callable[[str], bool]
    """KC-40: registered, not fenced, not just leaving."""
    min_insync_replicas: int
    """At most the replicas that the topic's first partition has (KC-50)."""
    election: Election = Election.ANY
    target_isr: tuple[str, ...] | None = None
    """None: as it is."""
    unclean_shutdown: tuple[str, ...] = ()
    """Replicas that may have lost what they had: none of them stays in the ELR (KC-54)."""
    recovering: bool | None = None
    """None: as it is."""
    assignment: Assignment | None = None
    """None: as it is."""

    def build(self) -> PartitionChange | None:
        """The next state, or None where nothing changes (BV-197)."""
        was = self.partition
        isr = was.isr if self.target_isr is None else self.target_isr
        assignment, isr = (self.assignment or Assignment(was.replicas, was.adding, was.removing)).completed(isr, self.profile.reassignment_needs)
        replicas = assignment.replicas
        elr = self._target_elr(isr)
        recovering = was.recovering if self.recovering is None else self.recovering
        leader, unclean = self._elect(isr, elr, replicas)
        bumps = self.profile.epoch_bump_on_isr_shrink and any(replica not in isr for replica in was.isr)  # By the target, also where the ISR cannot follow it.
        if unclean:  # KC-43: the others will truncate to it.
            isr, elr, recovering = (leader,), (), True
        elif leader != NO_LEADER and leader not in isr:  # KC-53: elected out of the ELR, so it had every committed record.
            isr, elr = (leader,), tuple(replica for replica in elr if replica != leader)
        elif not isr and not self.profile.eligible_leader_replicas:  # KC-21: the last replica standing stays, whatever it loses (KC-56). Else KC-52.
            isr = was.isr
        last_known_elr = self._last_known_elr(leader)
        same_assignment = (replicas, assignment.adding, assignment.removing) == (was.replicas, was.adding, was.removing)
        same_state = (leader, isr, elr, last_known_elr, recovering) == (was.leader, was.isr, was.elr, was.last_known_elr, was.recovering)
        if same_assignment and same_state and not bumps:
            return None
        loses_replicas = replicas is not was.replicas and any(replica not in replicas for replica in was.replicas)
        new_epoch = leader != was.leader or unclean or loses_replicas or bumps  # KC-47.
        state = PartitionState(
            partition=was.partition,
            replicas=replicas,
            isr=isr,
            elr=elr,
            last_known_elr=last_known_elr,
            leader=leader,
            leader_epoch=was.leader_epoch + 1 if new_epoch else was.leader_epoch,
            partition_epoch=was.partition_epoch + 1,
            recovering=recovering,
            adding=assignment.adding,
            removing=assignment.removing,
        )
        return PartitionChange(state, unclean)

    def _target_elr(self, isr: tuple[str, ...]) -> tuple[str, ...]:
        """KC-50: those who left while the ISR was too small for the high watermark to move still have every committed record (KC-51).

        Also those that a reassignment has just taken the replica from: they keep the last known leader from being elected.
        """
        was = self.partition
        if not self.profile.eligible_leader_replicas or len(isr) >= self.min_insync_replicas:
            return ()
        left = [replica for replica in dict.fromkeys((*was.elr, *was.isr)) if replica not in isr and replica not in self.unclean_shutdown]
        return tuple(sorted(left, key=_number))

    def _elect(self, isr: tuple[str, ...], elr: tuple[str, ...], replicas: tuple[str, ...]) -> tuple[str, bool]:
        """The leader after this change, and whether it may lack committed records (KC-40 to KC-42)."""
        was = self.partition
        candidates = isr or elr  # The ELR counts only where the ISR is empty.
        preferred = replicas[:1] if self.election is Election.PREFERRED else ()
        for replica in (*preferred, was.leader, *replicas):
            if replica in candidates and self.is_acceptable(replica):
                return replica, False
        # KC-55 reads the value stored before this change. In 4.0 the test whether that broker is alive had no effect.
        if self.profile.eligible_leader_replicas and not candidates and len(was.last_known_elr) == 1:
            last_known = was.last_known_elr[0]
            if self.is_acceptable(last_known) or not self.profile.last_known_leader_needs_acceptable:
                return last_known, True
        if self.election is Election.UNCLEAN:
            for replica in replicas:
                if self.is_acceptable(replica):
                    return replica, True
        return NO_LEADER, False

    def _last_known_elr(self, leader: str) -> tuple[str, ...]:
        """KC-50: the leader that went when nobody followed it, until somebody leads again."""
        was = self.partition
        if leader != NO_LEADER or not self.profile.eligible_leader_replicas:
            return ()
        return was.last_known_elr if was.leader == NO_LEADER else (was.leader,)
