"""A consumer and the application above it: poll(), work, commit, poll() again.

Kafka: ClassicKafkaConsumer, ConsumerNetworkClient. One thread: while the application works nobody polls, but the answers that come are taken in,
and a member of a group goes on beating.
Simplified: while the coordinator is not known, poll() returns what there is at once; Java waits for the coordinator first, as long as the call may last.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.completed_fetch import Slice
from ksim_models.consumer_application import CLOSE_WITHIN, Does, Habits
from ksim_models.consumer_commits import Commit
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_facts import CommittedOffset, PollFailed, Read
from ksim_models.consumer_fetching import Thrown
from ksim_models.consumer_membership import Membership
from ksim_models.consumer_positions import FetchState
from ksim_models.machine import Closed, Crashed, Dice, Effect, Event, Exit, Note, Opened, Paused, Received, Restarted, Resumed, Terminated
from ksim_models.profiles import ClientProfile
from ksim_models.units import NEVER, Micros, ms

CONSTRUCTED_AT: Micros = 0


class Consumer(Membership):
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
        self._belong_nowhere()
        self.busy_until: Micros = NEVER
        """When the work is done."""
        self.retry_at: Micros = NEVER
        """When a commit that failed is tried again."""
        self.gives_up_at: Micros = NEVER
        """COMMITS: default.api.timeout.ms; CLOSES: what close() may take."""
        self.commit: Commit | None = None
        """COMMITS, CLOSES: what is waited for."""
        self.attempts = 0
        self.closing: Micros | None = None
        """Asked to close, within so long."""
        self.paused_at: Micros = at
        self.looked_at: Micros = at - 1
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
            if self.does is not Does.POLLS or self.is_held_in_poll:
                return False  # A callback of its rebalance has not returned; or the commit before it is not answered.
        if not self.group_comes_first:
            self.fetching.update_positions(now, out)
        taken = self.fetching.collect()
        if self.fetching.fell_out and not taken and not self.group_comes_first:
            self.fetching.update_positions(now, out)  # poll() goes round.
        if taken or self.commits is None or not self.commits.holds_fetches_up:
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
        commit.is_sync = True
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
                again = Commit(commit.offsets, commit.epochs)
                again.is_sync = commit.is_sync
                self.commit = self.commits.begin(again, now, out)
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
        return self.group.is_settled and not self.commits.under_way

    def has_read(self, partition: str, end: int) -> bool:
        """Everything below `end` of this partition, and its application has done with it."""
        position = self.positions.get(partition)
        if end == 0 and position is not None and self.config.resets_to == "since":
            return True  # An empty partition has nothing so young: it has no position there.
        return position is not None and position.state is FetchState.FETCHING and position.offset >= end
