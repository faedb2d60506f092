"""Which partitions a consumer has: all of its topics, or what its group gives it, by either protocol; and what it does before it gives some up.

Kafka: KafkaConsumer.assign; ConsumerCoordinator.onJoinPrepare and onJoinComplete; AbstractMembershipManager.maybeReconcile (KIP-848).
"""

from __future__ import annotations

from ksim_models.consumer_client import ConsumerClient
from ksim_models.consumer_commits import Commit, Commits
from ksim_models.consumer_coordinator import STALE
from ksim_models.consumer_group import GroupMember
from ksim_models.consumer_protocol_member import ConsumerProtocolMember, Target
from ksim_models.errors import ErrorCode
from ksim_models.machine import Effect
from ksim_models.units import NEVER, Micros, ms


class Membership(ConsumerClient):
    def _belong_nowhere(self) -> None:
        """A new process."""
        self.giving_up: Commit | None = None
        """The automatic commit before partitions are given up."""
        self.give_up_until: Micros = NEVER
        self.give_up_again_at: Micros = NEVER
        self.reconciling: Target | None = None
        """What is to be had when that commit is done with."""
        self.metadata_seen = -1

    @property
    def group_comes_first(self) -> bool:
        """updateAssignmentMetadataIfNeeded: a cooperative member resets no position while it joins."""
        return isinstance(self.group, GroupMember) and self.group.is_cooperative and self.group.rejoins

    def _assign_all(self) -> None:
        """Without a group: all partitions of the topics, as metadata names them (assign())."""
        if self.metadata_seen != self.metadata.learnt:
            self.metadata_seen = self.metadata.learnt
            self.positions.assign(partition for topic in self.topics for partition in self.metadata.topics.get(topic, ()))

    def _update_group(self, now: Micros, out: list[Effect]) -> None:
        group, commits = self.group, self.commits
        assert group is not None
        assert commits is not None
        if group.thrown is not None:
            raise group.thrown
        group.entered_poll()
        if isinstance(group, ConsumerProtocolMember):
            if self._go_towards_the_target(group, now, out):
                commits.find_positions(now, out)
                commits.maybe_auto_commit(now, out)
            return
        group.notice_metadata()
        if not self._take_assignment(now, out):
            return
        if group.rejoins and group.knows_coordinator(now, out):
            if group.needs_prepare and not self._give_up_partitions(now, out):
                return
            group.owned = tuple(sorted(self.positions.by_partition)) if group.is_cooperative else ()
            group.join(now, out)
        if group.rejoins:
            return
        if group.belongs:
            commits.find_positions(now, out)
        commits.maybe_auto_commit(now, out)

    def _take_assignment(self, now: Micros, out: list[Effect]) -> bool:
        """onJoinComplete; False while the application still has to do with what it loses. What stays, stays as it is: position, buffer, fetches under way."""
        group, commits = self.group, self.commits
        assert isinstance(group, GroupMember)
        assert commits is not None
        if group.assignment is None:
            return True
        revoked = group.is_cooperative and any(partition not in group.assignment for partition in self.positions.by_partition)
        if revoked and not self._on_revoked(now, out):
            return False
        if not self._on_assigned(group.assignment, now, out):
            return False
        self.positions.assign(group.assignment)
        group.take_assignment(gives_up=revoked)
        commits.joined(now)
        return True

    def _on_assigned(self, partitions: tuple[str, ...], now: Micros, out: list[Effect]) -> bool:
        """onPartitionsAssigned, before any position is asked for; False while it has not returned."""
        return True

    def _on_revoked(self, now: Micros, out: list[Effect]) -> bool:
        """onPartitionsRevoked of a cooperative member. A plain application has no listener: what it read since its last commit is read again by another."""
        return True

    def _give_up_partitions(self, now: Micros, out: list[Effect]) -> bool:
        """onJoinPrepare: what was read is committed first, where that is automatic; True when it is done with.

        An eager member reads no further meanwhile. A cooperative one does, here and while it joins: of a partition that it is about to lose it may read
        more than is committed. Who has lost its place in the group has lost everything (onPartitionsLost).
        """
        group, commits = self.group, self.commits
        assert isinstance(group, GroupMember)
        assert commits is not None
        if self.profile.commits_over_and_over and self.config.enable_auto_commit and self.positions.by_partition:
            self._commit_over_and_over(group, commits, now, out)
            return False
        reads_on = group.is_cooperative or self.profile.reads_on_while_it_commits
        if not self._commit_before(() if reads_on else tuple(self.positions.by_partition), now, out):
            return False
        if not group.is_cooperative or group.has_lost_its_partitions:
            self.positions.assign(())
        group.needs_prepare = False
        return True

    def _commit_over_and_over(self, group: GroupMember, commits: Commits, now: Micros, out: list[Effect]) -> None:
        """3.2.0 looks at its commit in the moment in which it is sent. What an eager member has it gives up at once, and then has nothing to commit.

        Simplified: at the pace of the retry backoff, not with each round of poll().
        """
        if self.give_up_again_at == NEVER or self.give_up_again_at <= now:
            commits.begin(commits.consumed(), now, out)
            self.give_up_again_at = now + ms(self.config.retry_backoff_ms)
        if not group.is_cooperative or group.has_lost_its_partitions:
            self.positions.assign(())
            self.give_up_again_at = now

    @property
    def is_held_in_poll(self) -> bool:
        """Up to 3.1 poll() waits for the commit that comes before a JoinGroup."""
        return self.give_up_until != NEVER and isinstance(self.group, GroupMember) and not self.profile.returns_while_it_commits

    def _commit_before(self, revoked: tuple[str, ...], now: Micros, out: list[Effect]) -> bool:
        """What was read, where that is automatic: it is tried as long as the group may wait. Of what is given up nothing is read meanwhile."""
        commits = self.commits
        assert commits is not None
        if self.config.enable_auto_commit and self.positions.by_partition:
            if self.give_up_until == NEVER:
                self.give_up_until = now + ms(self.config.max_poll_interval_ms)
                self._stop_reading(revoked)
            if self.giving_up is None and (self.give_up_again_at == NEVER or self.give_up_again_at <= now):
                self.give_up_again_at = NEVER
                self.giving_up = commits.begin(commits.consumed(), now, out)
            if now < self.give_up_until:
                if self.giving_up is None or not self.giving_up.done:
                    return False
                if (self.giving_up.retriable and not self._is_of_no_use(self.giving_up)) or (
                    self.giving_up.error == STALE and self.group is not None and self.group.belongs
                ):
                    self.giving_up, self.give_up_again_at = None, now + ms(self.config.retry_backoff_ms)
                    return False
        self.giving_up, self.give_up_until, self.give_up_again_at = None, NEVER, NEVER
        return True

    def _is_of_no_use(self, commit: Commit) -> bool:
        """The consumer protocol takes the topic for deleted (KAFKA-16224)."""
        return isinstance(self.group, ConsumerProtocolMember) and commit.error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION.exception

    def _stop_reading(self, partitions: tuple[str, ...]) -> None:
        for partition in partitions:
            position = self.positions.get(partition)
            if position is not None:
                position.revoked = True

    # The consumer protocol.

    def _go_towards_the_target(self, group: ConsumerProtocolMember, now: Micros, out: list[Effect]) -> bool:
        """False while the application still has to do with what it loses. A kept partition is read on all the time."""
        if group.has_lost_its_partitions:
            self._forget_commit_before()
            if not self._on_partitions_lost(now, out):
                return False
            self.positions.assign(())
            group.released()
            group.beat(now, out)  # It joins.
            return True
        if self.reconciling is None:
            self.reconciling = group.to_reconcile
        if self.reconciling is None:
            return True
        target = self.reconciling
        revoked = tuple(partition for partition in self.positions.by_partition if partition not in target[1])
        self._stop_reading(revoked)
        if not self._commit_before(revoked, now, out):
            return True
        if group.to_reconcile is None:  # It has been told something else meanwhile, or has joined anew.
            self._forget_commit_before()
            return True
        if revoked and not self._on_revoked(now, out):
            return False
        if not self._on_assigned(target[1], now, out):
            return False
        self.positions.assign(target[1])
        self.reconciling = None
        group.reconciled(target)
        group.beat(now, out)
        return True

    def _forget_commit_before(self) -> None:
        self.giving_up, self.give_up_until, self.give_up_again_at, self.reconciling = None, NEVER, NEVER, None

    def _on_partitions_lost(self, now: Micros, out: list[Effect]) -> bool:
        """onPartitionsLost."""
        return True
