"""A copying application with one transactional producer for each input partition: the way to exactly-once before KIP-447.

Not Kafka's; Kafka Streams did so as "exactly_once" (StreamThread, TaskManager, StreamsProducer; KIP-129). The transactional.id belongs to the partition:
whoever is assigned the partition constructs a producer with it, and initTransactions() fences the one that had it before, wherever that stands still.
All of that in onPartitionsAssigned, before the group's offsets are asked for; in onPartitionsRevoked what is open is committed, and the producers closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ksim_models.arrivals import Arrivals
from ksim_models.closing import ClosableProducer
from ksim_models.completed_fetch import Slice
from ksim_models.config import ProducerConfig
from ksim_models.consumer import Consumer
from ksim_models.consumer_application import Does, Habits
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_coordinator import MemberState
from ksim_models.consumer_fetching import Thrown
from ksim_models.consumer_group import GroupMember
from ksim_models.copying import NO_USE, CopyHabits, Copying, Then, Turn
from ksim_models.copying_consumer import CopyingConsumer
from ksim_models.copying_producer import CopyingProducer
from ksim_models.machine import Crashed, Dice, Effect, Event, Exit, Restarted, Rouse, Terminated, Wake
from ksim_models.profiles import ClientProfile
from ksim_models.transactional_calls import At
from ksim_models.units import Micros


class Share(Copying):
    """One input partition, and what its producer is to do."""

    def __init__(self, habits: CopyHabits, workload: int, partition: str) -> None:
        self.partition = partition
        super().__init__(habits, workload)

    def begin_anew(self) -> None:
        super().begin_anew()
        self.is_wanted = False
        """The partition is assigned: its producer is to be there."""
        self.is_there = False
        """It has been constructed, and initTransactions() has returned."""
        self.is_closing = False

    @property
    def is_settled(self) -> bool:
        return self.is_there if self.is_wanted else not self.is_there and not self.is_closing


class Shares(Copying):
    """What the consumer has to do with: all of them. The process has one thread, so one producer after another has its turn."""

    def __init__(self, habits: CopyHabits, first_workload: int) -> None:
        self.shares = {
            partition: Share(replace(habits, producer=writer, per_partition=()), first_workload + number, partition)
            for number, (partition, writer) in enumerate(habits.per_partition)
        }
        super().__init__(habits, first_workload)

    def begin_anew(self) -> None:
        super().begin_anew()
        self.waiting: deque[Share] = deque()
        """Their turn is to come."""
        self.at_work: Share | None = None
        for share in self.shares.values():
            share.begin_anew()

    def all(self) -> list[Share]:
        return list(self.shares.values())

    @property
    def is_open(self) -> bool:
        return any(share.is_open for share in self.all())

    def take(self, read: Sequence[Slice], epochs: dict[str, int]) -> None:
        for share in self.all():
            if own := [one for one in read if one.partition == share.partition]:
                share.take(own, {share.partition: epochs[share.partition]})
                self._wait(share)

    def finish(self, *, lost: bool) -> None:
        for share in self.all():
            if share.is_open:
                share.finish(lost=lost)
                self._wait(share)

    def _wait(self, share: Share) -> None:
        share.turn, self.turn = Turn.CONSUMER, Turn.PRODUCER
        self.waiting.append(share)

    def want(self, partitions: Sequence[str]) -> list[Share]:
        """These are assigned, and no others. Who has to do something about it."""
        for share in self.all():
            share.is_wanted = share.partition in partitions
            if not share.is_wanted:
                share.over()  # close() aborts what is open.
        return [share for share in self.all() if not share.is_settled]


class SharingConsumer(CopyingConsumer):
    """The thread: it hands over to one producer after another, and constructs and closes them as partitions come and go."""

    def __init__(
        self,
        name: str,
        profile: ClientProfile,
        config: ConsumerConfig,
        bootstrap: Sequence[str],
        topics: Sequence[str],
        dice: Dice,
        habits: Habits,
        copying: Shares,
    ) -> None:
        self.shares = copying
        self.ends_with: Thrown | None = None
        """The application ends: its producers are closed first."""
        super().__init__(name, profile, config, bootstrap, topics, dice, habits, copying)

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if isinstance(event, Restarted) and not self.alive:
            self.ends_with = None
        return super().handle(event, now)

    def _hand_over(self, out: list[Effect]) -> None:
        assert self.group is not None
        for share in self.shares.all():
            share.group, share.instance = self.group.group, self.group.instance
            share.member, share.generation = self.group.metadata_told
        self.does = Does.WAITS
        self._next(out)

    def _next(self, out: list[Effect]) -> None:
        """The turn of the next one."""
        if self.shares.at_work is None and self.shares.waiting:
            share = self.shares.at_work = self.shares.waiting.popleft()
            share.turn = Turn.PRODUCER
            out.append(Rouse(share.habits.producer))

    def _waiting(self, now: Micros, out: list[Effect]) -> bool:
        copying = self.shares
        share = copying.at_work
        if share is not None and share.turn is Turn.PRODUCER:
            return False
        if share is not None:
            copying.at_work = None
            if share.then is Then.REWIND:
                self.positions.rewind(share.partition)
        if self.ends_with is None and any(share.then is Then.END for share in copying.all()):
            self.ends_with = Thrown("KafkaException", NO_USE)
            copying.waiting.clear()
            self._want((), out)
        for one in copying.all():
            one.then = Then.POLL
        self._next(out)
        if copying.at_work is not None or not all(share.is_settled for share in copying.all()):
            return False
        copying.turn, self.does = Turn.CONSUMER, Does.POLLS
        if self.ends_with is not None:
            raise self.ends_with
        return True

    def _want(self, partitions: Sequence[str], out: list[Effect]) -> bool:
        """True: there are producers to wait for."""
        unsettled = self.shares.want(partitions)
        if unsettled:
            self.shares.turn, self.does = Turn.PRODUCER, Does.WAITS
            out += [Rouse(share.habits.producer) for share in unsettled]
        return bool(unsettled)

    def _on_assigned(self, partitions: tuple[str, ...], now: Micros, out: list[Effect]) -> bool:
        assert self.group is not None
        if self._want(partitions, out):
            self.group.left_poll(now)  # Whoever stays in there too long has left the group.
            return False
        return True

    def _give_up_partitions(self, now: Micros, out: list[Effect]) -> bool:
        """onPartitionsRevoked: what is open is committed, then the producers are closed. onPartitionsLost: they are closed."""
        assert isinstance(self.group, GroupMember)
        if self.group.is_cooperative and not self.group.has_lost_its_partitions:
            return Consumer._give_up_partitions(self, now, out)
        if self.shares.is_open and self.group.state is not MemberState.UNJOINED:
            self._finish(out)
            return False
        if self._want((), out):
            return False
        return Consumer._give_up_partitions(self, now, out)

    def _begin_to_close(self, now: Micros, out: list[Effect]) -> None:
        if self.shares.is_open:
            self._finish(out)
        elif not self._want((), out):
            super()._begin_to_close(now, out)

    def _exit(self, out: list[Effect]) -> None:
        shares = self.shares.all()
        for share in shares:
            share.reader_closed = True
        self.shares.writer_closed = all(share.writer_closed for share in shares)
        if self.shares.writer_closed:
            Consumer._exit(self, out)
            return
        self.does = Does.ENDED
        out += [Rouse(share.habits.producer) for share in shares if not share.writer_closed]


class PartitionProducer(CopyingProducer):
    """Constructed when its partition is assigned, closed when it is given up: each time another producer with the same transactional.id."""

    def __init__(self, name: str, profile: ClientProfile, config: ProducerConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        super().__init__(name, profile, config, bootstrap, workloads, dice)
        self.alive = False
        self.wake_at = None
        share = self.copying_session.copying
        assert isinstance(share, Share)
        self.share = share

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        share = self.share
        if isinstance(event, Terminated):
            self.process.asked_to_end, event = event, Wake()
        out: list[Effect] = []
        if isinstance(event, Restarted):
            share.fed.forget_after(self.sending.threads[-1].next)
            share.begin_anew()
            self.process.asked_to_end = None
        elif self.alive:
            out = self._go_on(event, now)
        elif share.is_wanted and not isinstance(event, Crashed):
            out = self._construct(now)
        if self.process.asked_to_end is not None and share.reader_closed and not self.alive:
            share.writer_closed = True
            out += [Rouse(share.habits.consumer), Exit()]
        return out

    def _construct(self, now: Micros) -> list[Effect]:
        share, asked = self.share, self.process.asked_to_end
        share.fed.forget_after(self.sending.threads[-1].next)
        self._begin_again(now)
        self.alive, self.process.asked_to_end = True, asked
        return self._go_on(Wake(), now)

    def _go_on(self, event: Event, now: Micros) -> list[Effect]:
        share = self.share
        if not share.is_wanted and not share.is_closing and not isinstance(event, Crashed):
            share.is_closing = True
            event = Terminated(None)
        out = self._closable(event, now)
        if isinstance(event, Crashed):
            return out
        if not self.alive and share.is_closing:
            out = [effect for effect in out if not isinstance(effect, Exit)]  # The process goes on.
            self.network.close_all(list(self.network.nodes), now, out, "closed with its client")
            share.is_there = share.is_closing = False
            out.append(Rouse(share.habits.consumer))
        elif self.copying_session.at is At.WAITING and share.is_wanted and not share.is_there:
            share.is_there = True
            out.append(Rouse(share.habits.consumer))
        return out

    def _closable(self, event: Event, now: Micros) -> list[Effect]:
        out = ClosableProducer.handle(self, event, now)
        self.process.notice_failures(self, out)
        return out
