"""A consumer and the application above it: poll(), work, commit, poll() again.

Kafka: ClassicKafkaConsumer, ConsumerNetworkClient. One thread: while the application works nobody polls, but the answers that come are taken in,
and a member of a group goes on beating.
Simplified: while the coordinator is not known, poll() returns what there is at once; Java waits for the coordinator first, as long as the call may last.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.completed_fetch import Slice
from ksim_models.consumer_application import CLOSE_WITHIN, Does, Habits
from ksim_models.consumer_client import ConsumerClient
from ksim_models.consumer_commits import Commit
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_facts import CommittedOffset, PollFailed, Read
from ksim_models.consumer_fetching import Thrown
from ksim_models.consumer_group import MemberState
from ksim_models.consumer_positions import FetchState
from ksim_models.machine import Closed, Crashed, Dice, Effect, Event, Exit, Note, Opened, Paused, Received, Restarted, Resumed, Terminated
from ksim_models.profiles import ClientProfile
from ksim_models.units import NEVER, Micros, ms

CONSTRUCTED_AT: Micros = 0


class Consumer(ConsumerClient):
    def __init__(
        self, name: str, profile: ClientProfile, config: ConsumerConfig, bootstrap: Sequence[str], topics: Sequence[str], dice: Dice, habits: Habits
    ) -> None:
        super().__init__(name, profile, config, bootstrap, topics, dice)
        self.habits = habits
        self._construct(CONSTRUCTED_AT)

    def _construct(self, at: Micros) -> None:
        self.alive = True
        self.begun = False
        self.constructed_at = at
        self.does = Does.POLLS
        self._connect()
        self.busy_until: Micros = NEVER
        """When the work is done."""
        self.retry_at: Micros = NEVER
        """When a commit that failed is tried again."""
        self.gives_up_at: Micros = NEVER
        """COMMITS: default.api.timeout.ms; CLOSES: what close() may take."""
        self.commit: Commit | None = None
        """COMMITS, CLOSES: what is waited for."""
        self.attempts = 0
        self.giving_up: Commit | None = None
        """The automatic commit before partitions are given up."""
        self.give_up_until: Micros = NEVER
        self.give_up_again_at: Micros = NEVER
        self.closing: Micros | None = None
        """Asked to close, within so long."""
        self.paused_at: Micros = at
        self.looked_at: Micros = at - 1
        self.metadata_seen = -1
        self.wake_at: Micros | None = at

    # The clock.

    def _next_wake(self) -> Micros | None:
        if not self.begun:
            return self.constructed_at
        if self.does is Does.ENDED:
            return None
        looked_at = self.looked_at
        at = min(self.network.wake_at, self._wants_a_node_at())
        for due in (self.busy_until, self.retry_at, self.gives_up_at, self.give_up_until, self.give_up_again_at):
            if looked_at < due < at:
                at = due
        if self.does is Does.POLLS:
            at = min(at, self.fetching.wake_after(looked_at))
        if self.group is not None and self.commits is not None:
            at = min(at, self.group.wake_after(looked_at, polls=self.does is Does.POLLS))
            if self.does is Does.POLLS:
                at = min(at, self.commits.wake_after(looked_at))
        return None if at >= NEVER else at

    # Events.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if not self.alive:
            if isinstance(event, Restarted):
                self.connections_made = self.network.connections_made
                self._construct(now)
            return out
        if now >= self.constructed_at and not self.begun:
            self.begun = True
            for topic in self.topics:
                self.metadata.add(topic, now)
        try:
            self._meet(event, now, out)
            if self.alive and self.begun and self.does is not Does.ENDED:
                self._go_on(now, out)
            elif self.alive and self.closing is not None:
                self._exit(out)  # It had ended, or not begun.
        except Thrown as thrown:
            self._end(thrown, now, out)
        self._close_connections(now, out)
        self.wake_at = self._next_wake() if self.alive else None
        return out

    def _meet(self, event: Event, now: Micros, out: list[Effect]) -> None:
        match event:
            case Received():
                if event.connection in self.network.by_connection:
                    self._on_response(event.connection, event.message, now, out)
            case Opened():
                if event.connection in self.network.by_connection:
                    self.network.opened(event.connection, now, out)
            case Closed():
                if event.connection in self.network.by_connection:
                    self._on_lost(self.network.lost(event.connection, now, "closed by the other side", out), now, out)
            case Crashed():
                self.alive = False
                return
            case Terminated():
                self.closing = CLOSE_WITHIN if event.within is None else event.within
            case Paused():
                self.paused_at = now
            case Resumed():
                if self.does is Does.WORKS:
                    self.busy_until += now - self.paused_at
        for lost in self.network.time_out(now, out):
            self._on_lost(lost, now, out)

    # The application's thread.

    def _go_on(self, now: Micros, out: list[Effect]) -> None:
        self.looked_at = now
        self.fetching.turned()
        if self.group is not None and self.commits is not None:
            self.group.waiting_for.clear()
            self.group.beat(now, out)
            self.commits.go_on(now, out)
        self.metadata.ask_if_due(self.network, self._on_lost, now, out)
        while self.does is not Does.ENDED and self._step(now, out):
            pass

    def _step(self, now: Micros, out: list[Effect]) -> bool:
        """True if there is more to do at once."""
        match self.does:
            case Does.WORKS:
                if self.busy_until > now:
                    return False
                self.busy_until = NEVER
                self._worked(now, out)
                return True
            case Does.COMMITS:
                return self._committing(now, out)
            case Does.WAITS:
                return self._waiting(now, out)
            case Does.CLOSES:
                return self._closing(now, out)
            case _ if self.closing is not None:
                self._begin_to_close(now, out)
                return True
        return self._poll(now, out)

    def _poll(self, now: Micros, out: list[Effect]) -> bool:
        """True if it returned records."""
        if self.group is None:
            self._assign_all()
        else:
            self._update_group(now, out)
        if self.group is None or not self.group.is_cooperative or not self.group.rejoins:  # updateAssignmentMetadataIfNeeded: the group comes first.
            self.fetching.update_positions(now, out)
        taken = self.fetching.collect()
        self.fetching.send_fetches(now, out)
        if not taken:
            return False
        for one in taken:
            if one.records[0] >= 0 and one.producer:  # Else of a warm-up, or nobody's.
                out.append(Note(Read(self.name, one.partition, one.producer, one.records, one.base_offset)))
        if self.group is not None:
            self.group.left_poll(now)
        self._work_on(taken, now, out)
        return True

    def _work_on(self, taken: Sequence[Slice], now: Micros, out: list[Effect]) -> None:
        self.does, self.busy_until = Does.WORKS, now + self.habits.work * sum(len(one.records) for one in taken)

    def _worked(self, now: Micros, out: list[Effect]) -> None:
        self.does = Does.POLLS
        if self.commits is not None and self.habits.commit == "async":
            self.commits.begin(self.commits.consumed(), now, out)
        elif self.commits is not None and self.habits.commit == "sync":
            self.commit_sync(self.commits.consumed(), now, out)

    def _waiting(self, now: Micros, out: list[Effect]) -> bool:
        raise AssertionError("a plain consumer has no other part to wait for")

    # commitSync().

    def commit_sync(self, commit: Commit, now: Micros, out: list[Effect]) -> None:
        assert self.commits is not None
        self.does, self.gives_up_at, self.attempts = Does.COMMITS, now + ms(self.config.default_api_timeout_ms), 0
        self.commit = self.commits.begin(commit, now, out)

    def _committing(self, now: Micros, out: list[Effect]) -> bool:
        """Retriable errors are tried again until default.api.timeout.ms; the others are thrown."""
        commit = self.commit
        assert commit is not None
        if not self._settled(commit, now, out):
            return False
        self._committed(commit, now, out)
        return True

    def _settled(self, commit: Commit, now: Micros, out: list[Effect]) -> bool:
        """Done for good, or given up."""
        assert self.commits is not None
        timed_out = now >= self.gives_up_at
        if not commit.done and not timed_out:
            return False
        if commit.done and commit.retriable and not timed_out:
            if self.retry_at == NEVER:
                self.retry_at = now + self.commits.member.backoff(self.attempts, "commit")
                self.attempts += 1
            elif self.retry_at <= now:
                self.retry_at = NEVER
                self.commit = self.commits.begin(Commit(commit.offsets, commit.epochs), now, out)
            return False
        if timed_out and (not commit.done or commit.retriable):
            commit.error = "TimeoutException"
            out.append(Note(CommittedOffset(self.name, str(self.config.group_id), commit.offsets, commit.error)))
        self.retry_at = self.gives_up_at = NEVER
        return True

    def _committed(self, commit: Commit, now: Micros, out: list[Effect]) -> None:
        """The application takes a failed commit for a reason to poll() again; only to be fenced ends it."""
        self.commit, self.does = None, Does.POLLS
        if commit.error == "FencedInstanceIdException":
            raise Thrown(commit.error, "Another member has taken over this static instance id.")

    # Where it belongs.

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
        if group.state is MemberState.STABLE:
            commits.find_positions(now, out)
        commits.maybe_auto_commit(now, out)

    def _take_assignment(self, now: Micros, out: list[Effect]) -> bool:
        """onJoinComplete; False while the application still has to do with what it loses. What stays, stays as it is: position, buffer, fetches under way."""
        group, commits = self.group, self.commits
        assert group is not None
        assert commits is not None
        if group.assignment is None:
            return True
        revoked = group.is_cooperative and any(partition not in group.assignment for partition in self.positions.by_partition)
        if revoked and not self._on_revoked(now, out):
            return False
        self.positions.assign(group.assignment)
        group.take_assignment(gives_up=revoked)
        commits.joined(now)
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
        assert group is not None
        assert commits is not None
        if self.config.enable_auto_commit and self.positions.by_partition:
            if self.give_up_until == NEVER:
                self.give_up_until = now + ms(self.config.max_poll_interval_ms)
                for position in self.positions.all() if not group.is_cooperative else ():
                    position.revoked = True
            if self.giving_up is None and (self.give_up_again_at == NEVER or self.give_up_again_at <= now):
                self.give_up_again_at = NEVER
                self.giving_up = commits.begin(commits.consumed(), now, out)
            if now < self.give_up_until:
                if self.giving_up is None or not self.giving_up.done:
                    return False
                if self.giving_up.retriable:
                    self.giving_up, self.give_up_again_at = None, now + ms(self.config.retry_backoff_ms)
                    return False
        self.giving_up, self.give_up_until, self.give_up_again_at = None, NEVER, NEVER
        if not group.is_cooperative or group.has_lost_its_partitions:
            self.positions.assign(())
        group.needs_prepare = False
        return True

    # The end.

    def _begin_to_close(self, now: Micros, out: list[Effect]) -> None:
        """close(): what was read is committed, where that is automatic, and the group is left."""
        assert self.closing is not None
        self.does, self.gives_up_at, self.busy_until, self.attempts = Does.CLOSES, now + self.closing, NEVER, 0
        self.retry_at = NEVER
        self.commit = None
        if self.commits is not None and self.config.enable_auto_commit:
            self.commit = self.commits.begin(self.commits.consumed(), now, out)

    def _closing(self, now: Micros, out: list[Effect]) -> bool:
        if self.commit is not None and not self._settled(self.commit, now, out):
            return False
        if self.group is not None:
            self.group.leave(now, out)
        self._exit(out)
        return False

    def _exit(self, out: list[Effect]) -> None:
        self.does = Does.ENDED
        self.alive = False
        out.append(Exit())

    def _end(self, thrown: Thrown, now: Micros, out: list[Effect]) -> None:
        """An exception that the application does not know what to do about: it closes its consumer, and ends."""
        out.append(Note(PollFailed(self.name, thrown.error, thrown.text)))
        if self.group is not None:
            self.group.leave(now, out)
        self.does = Does.ENDED

    # For the simulation's own questions.

    @property
    def reads(self) -> bool:
        """It has not ended, and nothing keeps it from reading but what it waits for."""
        return self.alive and self.does is not Does.ENDED

    @property
    def is_idle(self) -> bool:
        """Inside poll(), with nothing of its own under way, and a member of its group if it has one."""
        if self.does is not Does.POLLS or self.closing is not None:
            return False
        if self.group is None or self.commits is None:
            return True
        return self.group.state is MemberState.STABLE and not self.group.rejoins and self.group.assignment is None and not self.commits.under_way

    def has_read(self, partition: str, end: int) -> bool:
        """Everything below `end` of this partition, and its application has done with it."""
        position = self.positions.get(partition)
        return position is not None and position.state is FetchState.FETCHING and position.offset >= end
