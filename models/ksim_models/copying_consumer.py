"""The consumer's half of a copying application: it reads, hands over, and waits until the producer's half has done its part.

Not Kafka's. While it waits nobody polls: what takes longer than max.poll.interval.ms costs its place in the group.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.completed_fetch import Slice
from ksim_models.consumer import Consumer
from ksim_models.consumer_application import Does, Habits
from ksim_models.consumer_commits import Commit
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_coordinator import REBALANCING
from ksim_models.consumer_fetching import Thrown
from ksim_models.consumer_group import GroupMember
from ksim_models.copying import IDLE, NO_USE, Copying, Then, Turn
from ksim_models.machine import Dice, Effect, Event, Restarted, Rouse
from ksim_models.profiles import ClientProfile
from ksim_models.units import NEVER, Micros


class CopyingConsumer(Consumer):
    def __init__(
        self,
        name: str,
        profile: ClientProfile,
        config: ConsumerConfig,
        bootstrap: Sequence[str],
        topics: Sequence[str],
        dice: Dice,
        habits: Habits,
        copying: Copying,
    ) -> None:
        self.copying = copying
        self.idle_at: Micros = NEVER
        """When poll() returns without anything, and what is open is ended."""
        self.just_read: Sequence[Slice] = ()
        super().__init__(name, profile, config, bootstrap, topics, dice, habits)

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if isinstance(event, Restarted) and not self.alive:
            self.copying.begin_anew()
            self.idle_at = NEVER
        return super().handle(event, now)

    def _next_wake(self) -> Micros | None:
        at = super()._next_wake()
        if self.does is Does.POLLS and self.looked_at < self.idle_at < NEVER:
            return self.idle_at if at is None else min(at, self.idle_at)
        return at

    # The thread.

    def _work_on(self, taken: Sequence[Slice], now: Micros, out: list[Effect]) -> None:
        super()._work_on(taken, now, out)
        self.just_read = taken

    def _worked(self, now: Micros, out: list[Effect]) -> None:
        self.idle_at = NEVER
        epochs = {one.partition: one.offset_epoch for one in self.positions.all()}
        self.copying.take(self.just_read, epochs)
        self.just_read = ()
        self._hand_over(out)

    def _hand_over(self, out: list[Effect]) -> None:
        copying, group = self.copying, self.group
        copying.group = str(self.config.group_id)
        if group is not None:
            copying.member, copying.generation = group.metadata_told
            copying.instance = group.instance
        self.does = Does.WAITS
        out.append(Rouse(copying.habits.producer))

    def _waiting(self, now: Micros, out: list[Effect]) -> bool:
        copying = self.copying
        if copying.turn is Turn.PRODUCER:
            return False
        then, copying.then = copying.then, Then.POLL
        self.does = Does.POLLS
        match then:
            case Then.COMMIT:
                offsets = tuple(sorted(copying.offsets.items()))
                self.commit_sync(Commit(offsets, tuple(copying.epochs.get(partition, -1) for partition, _ in offsets)), now, out)
            case Then.REWIND:
                copying.over()
                self.positions.rewind()
            case Then.END:
                raise Thrown("KafkaException", NO_USE)
        return True

    def _committed(self, commit: Commit, now: Micros, out: list[Effect]) -> None:
        """Where it failed the records are another member's, or will be read again by this one.

        A cooperative member that may not commit in the midst of a rebalance has its partitions still: it tries again with what it reads next.
        """
        if commit.error == REBALANCING and self.group is not None and self.group.is_cooperative:
            self.copying.ends_now = False
        else:
            self.copying.over()
        super()._committed(commit, now, out)

    def _poll(self, now: Micros, out: list[Effect]) -> bool:
        if super()._poll(now, out):
            return True
        if self.does is not Does.POLLS or not self.copying.is_open:
            self.idle_at = NEVER
        elif self.idle_at == NEVER:
            self.idle_at = now + IDLE
        elif self.idle_at <= now:
            self._finish(out)
            return True
        return False

    def _finish(self, out: list[Effect]) -> None:
        self.idle_at = NEVER
        self.copying.finish(lost=self.group is None or self.group.has_lost_its_partitions)
        self._hand_over(out)

    def _give_up_partitions(self, now: Micros, out: list[Effect]) -> bool:
        """onPartitionsRevoked: what is open is committed first. onPartitionsLost: it is given up."""
        group = self.group
        assert isinstance(group, GroupMember)
        if self.copying.is_open and (not group.is_cooperative or group.has_lost_its_partitions):
            self._finish(out)
            return False
        return super()._give_up_partitions(now, out)

    def _on_revoked(self, now: Micros, out: list[Effect]) -> bool:
        if self.copying.is_open:
            self._finish(out)
            return False
        return super()._on_revoked(now, out)

    def _on_partitions_lost(self, now: Micros, out: list[Effect]) -> bool:
        return self._on_revoked(now, out)

    def _begin_to_close(self, now: Micros, out: list[Effect]) -> None:
        """The loop ends behind the turn at hand: what is open is ended too."""
        if self.copying.is_open:
            self._finish(out)
        else:
            super()._begin_to_close(now, out)

    def _exit(self, out: list[Effect]) -> None:
        self.does = Does.ENDED
        if self.copying.reader_leaves(out):
            super()._exit(out)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self.copying.reader_may_rest
