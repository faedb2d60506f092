"""A consumer of librdkafka and the application above it: threads that fetch ahead, and one that polls, works, commits and polls again.

Kafka: rd_kafka_consumer_poll, rd_kafka_app_polled, rd_kafka_consumer_close in librdkafka; confluent-kafka's Consumer, whose rebalance callback always runs
inside poll(). poll() hands over one record at a time. All threads of the library are one machine here, as of its producer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.consumer_application import CLOSE_WITHIN, Does, Habits
from ksim_models.consumer_commits import Commit
from ksim_models.consumer_facts import PollFailed, Read
from ksim_models.librdkafka_client import LibrdkafkaClient
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_group import Join
from ksim_models.librdkafka_toppar import FetchState, Received
from ksim_models.machine import Crashed, Dice, Effect, Event, Exit, Note, Paused, Restarted, Resumed, Terminated
from ksim_models.units import NEVER, Micros

ENDING = ("_FATAL", "_AUTO_OFFSET_RESET")
"""What poll() may hand over that an application does not know what to do about. The other errors are for its log."""


class LibrdkafkaConsumer(LibrdkafkaClient):
    def __init__(self, name: str, config: LibrdkafkaConsumerConfig, bootstrap: Sequence[str], topics: Sequence[str], dice: Dice, habits: Habits) -> None:
        self.habits = habits
        super().__init__(name, config, bootstrap, topics, dice)

    def _be_born(self, now: Micros) -> None:
        super()._be_born(now)
        self.does = Does.POLLS
        self.ops: deque[tuple[str, tuple[str, ...]]] = deque()
        """What poll() has to serve before it hands over a record: "assign", "revoke", or the name and text of an error."""
        self.in_hand: Received | None = None
        """WORKS: of what."""
        self.place_in_hand = self.count_in_hand = 0
        self.busy_until: Micros = NEVER
        self.commit: Commit | None = None
        self.within: Micros | None = None
        """Asked to close, within so long."""
        self.gives_up_at: Micros = NEVER
        self.ends_for_good = False
        self.paused_at: Micros = now
        self.group.rebalance = self._on_rebalance
        self.group.report = self.fetching.report = lambda error, text: self.ops.append((error, (text,)))

    # Events.

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        if not self.alive:
            if isinstance(event, Restarted):
                self._be_born_again(now)
            return out
        match event:
            case Crashed():
                self.alive = False
                self.wake_at = None
                return out
            case Terminated():
                self.within = CLOSE_WITHIN if event.within is None else event.within
            case Paused():
                self.paused_at = now
            case Resumed() if self.does is Does.WORKS:
                self.busy_until += now - self.paused_at
            case _:
                pass
        if self.within is not None and (self.does is Does.ENDED or now < self.born_at):
            self._exit(out)
        elif now >= self.born_at and self.does is not Does.ENDED:
            self.meet(event, now, out)
            while not self._has_ended and (self.turn(now, out) or self._step(now, out)):
                pass
        self.wake_at = self._next_wake(now) if self.alive else None
        return out

    @property
    def _has_ended(self) -> bool:
        return self.does is Does.ENDED

    def _next_wake(self, now: Micros) -> Micros | None:
        if now < self.born_at:
            return self.born_at
        if self.does is Does.ENDED:
            return None
        at = min(self.client_wakes_at(now), self.busy_until, self.gives_up_at)
        return None if at >= NEVER else at

    # What the library wants the application to do, from within poll() or close().

    def _on_rebalance(self, what: str, partitions: tuple[str, ...]) -> None:
        self.assignment.pause()
        self.ops.append((what, partitions))

    def _serve_op(self, now: Micros, out: list[Effect]) -> None:
        what, told = self.ops.popleft()
        match what:
            case "assign" if not (self.group.closing or self.group.fatal):
                self.assignment.assign(told, now, out)
            case "assign" | "revoke":
                self.group.join_state = Join.WAIT_UNASSIGN
                self.assignment.unassign(now, out)
            case _ if what in ENDING and self.does is not Does.CLOSES:
                self._end(what, told[0], now, out)

    # The application's thread.

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
                return self._committing()
            case Does.CLOSES:
                return self._closing(now, out)
            case _ if self.within is not None:
                self._begin_to_close(now, now + self.within, out)
                return True
        return self._poll(now, out)

    def _poll(self, now: Micros, out: list[Effect]) -> bool:
        """Inside poll() max.poll.interval.ms does not count."""
        self.group.polled_at = NEVER
        if self.ops:
            self._serve_op(now, out)
            return True
        taken = self.fetching.queue.take(self._most())
        if taken is None:
            return False
        entry, first, count = taken
        toppar = entry.toppar
        last = first + count == max(1, len(entry.records))
        toppar.app = entry.epoch, entry.end if last and not entry.records else entry.base_offset + first + count
        self.group.polled_at = now
        if self.config.enable_auto_offset_store or not entry.records:
            toppar.stored = toppar.app
        if not entry.records:
            return True  # A control batch: its place counts, and nobody sees it.
        records = entry.records[first : first + count]
        if entry.producer and records[0] >= 0:  # Else of a warm-up, or nobody's.
            out.append(Note(Read(self.name, toppar.partition, entry.producer, records, entry.base_offset + first)))
        self.in_hand, self.place_in_hand, self.count_in_hand = entry, first + count, count
        self.does, self.busy_until = Does.WORKS, now + self.habits.work * count
        return True

    def _most(self) -> int:
        """As many in one instant as make no difference."""
        return 1 if self.habits.work or self.habits.commit in ("sync", "async") else 2**31

    def _worked(self, now: Micros, out: list[Effect]) -> None:
        entry, self.in_hand = self.in_hand, None
        assert entry is not None
        self.does = Does.POLLS
        if not self.config.enable_auto_offset_store and entry.toppar.partition in self.assignment.all:
            entry.toppar.stored = entry.epoch, entry.base_offset + self.place_in_hand
        if self.habits.commit == "none":
            return
        commit = self.commits.begin(self.commits.stored(self.assignment.all), now, out)
        if self.habits.commit == "sync" and not commit.done:
            self.does, self.commit = Does.COMMITS, commit

    def _committing(self) -> bool:
        """commit(asynchronous=False) waits without end; what it throws is a reason to poll() again."""
        if self.commit is None or not self.commit.done:
            return False
        self.commit, self.does = None, Does.POLLS
        return True

    # The end.

    def _begin_to_close(self, now: Micros, until: Micros, out: list[Effect]) -> None:
        self.does, self.gives_up_at, self.busy_until, self.in_hand = Does.CLOSES, until, NEVER, None
        self.group.close(now)
        if not self.group.waits_for_application:
            self.assignment.unassign(now, out)

    def _closing(self, now: Micros, out: list[Effect]) -> bool:
        if self.ops:
            self._serve_op(now, out)
            return True
        waits = self.group.waits_for_application or self.assignment.in_progress or self.group.leaving
        if waits and now < self.gives_up_at:
            return False
        self.gives_up_at = NEVER
        self.close_connections(now, out)
        if self.ends_for_good:
            self.does = Does.ENDED
        else:
            self._exit(out)
        return False

    def _exit(self, out: list[Effect]) -> None:
        self.does = Does.ENDED
        self.alive = False
        out.append(Exit())

    def _end(self, error: str, text: str, now: Micros, out: list[Effect]) -> None:
        """The application ends for this error, and closes its consumer; behind a fatal error close() tells nobody."""
        out.append(Note(PollFailed(self.name, error, text)))
        if error == "_FATAL":
            self.close_connections(now, out)
            self.does = Does.ENDED
        else:
            self.ends_for_good = True
            self._begin_to_close(now, NEVER, out)

    # For the simulation's own questions.

    @property
    def reads(self) -> bool:
        return self.alive and self.does is not Does.ENDED and not self.ends_for_good

    @property
    def is_idle(self) -> bool:
        """Inside poll(), with nothing of its own under way, and a member of its group."""
        return self.does is Does.POLLS and self.within is None and not self.ops and self.assignment.is_settled

    def has_read(self, partition: str, end: int) -> bool:
        toppar = self.fetching.toppars.get(partition)
        if toppar is None or partition not in self.assignment.all or toppar.state is not FetchState.ACTIVE:
            return False
        return toppar.fetch[1] >= end and not self.fetching.queue.holds(toppar)
