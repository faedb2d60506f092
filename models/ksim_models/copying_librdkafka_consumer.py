"""The consumer's half of a copying application whose consumer is librdkafka's: one record a poll(), rebalances inside poll(), and its own way back.

Kafka: librdkafka's examples/transactions.c and confluent-kafka's eos_transactions.py: partitions that are revoked are committed for, those that are lost
are not (rd_kafka_assignment_lost); rewind_consumer asks for the committed offsets, as long as it takes, and seeks to them (rd_kafka_committed,
rd_kafka_seek_partitions). What the library does by itself - heartbeats, fetches ahead - it goes on with while the producer's half has its turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.completed_fetch import Slice
from ksim_models.consumer_application import Does, Habits
from ksim_models.copying import IDLE, NO_USE, Copying, Then, Turn
from ksim_models.errors import NONE, ErrorCode
from ksim_models.librdkafka_broker_thread import Request
from ksim_models.librdkafka_commits import StoredCommit
from ksim_models.librdkafka_consumer import LibrdkafkaConsumer
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_group import State
from ksim_models.librdkafka_toppar import NOWHERE
from ksim_models.machine import Dice, Effect, Event, Restarted, Rouse
from ksim_models.transaction_messages import OffsetFetchRequest, OffsetFetchResponse
from ksim_models.units import LONG_AGO, NEVER, Micros

RETRIED = (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.REQUEST_TIMED_OUT)
NOT_THE_COORDINATOR = (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE)


class Committed(Request):
    """rd_kafka_committed: a call of the application's, so no rebalance makes its answer void."""

    __slots__ = ("retries",)

    def __init__(self, message: OffsetFetchRequest, deadline: Micros) -> None:
        super().__init__(message, deadline)
        self.retries = 0


class CopyingLibrdkafkaConsumer(LibrdkafkaConsumer):
    def __init__(
        self,
        name: str,
        config: LibrdkafkaConsumerConfig,
        bootstrap: Sequence[str],
        topics: Sequence[str],
        dice: Dice,
        habits: Habits,
        copying: Copying,
    ) -> None:
        self.copying = copying
        super().__init__(name, config, bootstrap, topics, dice, habits)

    def _be_born(self, now: Micros) -> None:
        super()._be_born(now)
        self.idle_at: Micros = NEVER
        """When poll() returns without anything, and what is open is ended."""
        self.goes_back = False
        """Inside committed(): what the group has committed is asked for, and then sought."""
        self.asked: Committed | None = None
        self.ask_at: Micros = LONG_AGO
        """A call that threw is made again, a little later."""

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if isinstance(event, Restarted) and not self.alive:
            self.copying.begin_anew()
        out = super().handle(event, now)
        if self.does is Does.WAITS:
            self._tell_place()
        return out

    def _next_wake(self, now: Micros) -> Micros | None:
        at = super()._next_wake(now)
        due = self.idle_at if self.does is Does.POLLS else self.ask_at if self.goes_back and self.asked is None else NEVER
        if now < due < NEVER:
            return due if at is None else min(at, due)
        return at

    # The thread.

    def _step(self, now: Micros, out: list[Effect]) -> bool:
        return self._waiting(now, out) if self.does is Does.WAITS else super()._step(now, out)

    def _most(self) -> int:
        """A poll() brings one record, and what is due is committed behind it; between two of them no time passes where nothing is worked on."""
        return 1 if self.habits.work else self.copying.habits.commit_every - self.copying.count

    def _worked(self, now: Micros, out: list[Effect]) -> None:
        entry, self.in_hand = self.in_hand, None
        assert entry is not None
        count = self.count_in_hand
        first = self.place_in_hand - count
        records = entry.records[first : first + count]
        read = Slice(entry.toppar.partition, entry.producer, records, entry.base_offset + first)
        self.copying.take([read], {read.partition: entry.epoch})
        self._hand_over(out)

    def _hand_over(self, out: list[Effect]) -> None:
        self.copying.group = self.config.group_id
        self.does, self.idle_at = Does.WAITS, NEVER
        self._tell_place()
        out.append(Rouse(self.copying.habits.producer))

    def _tell_place(self) -> None:
        """rd_kafka_consumer_group_metadata: as the main thread has it at the moment of the call, also behind a session that has timed out."""
        copying, group = self.copying, self.group
        copying.member, copying.generation, copying.instance = group.member, group.generation, group.instance

    def _waiting(self, now: Micros, out: list[Effect]) -> bool:
        copying = self.copying
        if self.goes_back:
            return self._go_back(now)
        if copying.turn is Turn.PRODUCER:
            return False
        then, copying.then = copying.then, Then.POLL
        self.does = Does.POLLS
        match then:
            case Then.COMMIT:
                offsets = tuple(sorted(copying.offsets.items()))
                commit = StoredCommit(offsets, tuple(copying.epochs.get(partition, -1) for partition, _ in offsets))
                self.does, self.commit = Does.COMMITS, self.commits.begin(commit, now, out)
            case Then.REWIND:
                copying.over()
                self.goes_back, self.does = bool(self.assignment.all), Does.WAITS
            case Then.END:
                self._end("KafkaException", NO_USE, now, out)
        return True

    def _committing(self) -> bool:
        """commit(offsets=...): where it failed the records are another member's, or will be read again."""
        if not super()._committing():
            return False
        self.copying.over()
        return True

    def _poll(self, now: Micros, out: list[Effect]) -> bool:
        if super()._poll(now, out):
            return True
        if self.does is not Does.POLLS or not self.copying.is_open:
            self.idle_at = NEVER
        elif self.idle_at == NEVER:
            self.idle_at = now + IDLE
        elif self.idle_at <= now:
            self.group.polled_at = now
            self._finish(out)
            return True
        return False

    def _finish(self, out: list[Effect]) -> None:
        self.copying.finish(lost=self.group.lost)
        self._hand_over(out)

    def _serve_op(self, now: Micros, out: list[Effect]) -> None:
        """on_revoke: what is open is committed first; on_lost: it is given up."""
        if self.ops[0][0] in ("assign", "revoke") and self.copying.is_open:
            self._finish(out)
        else:
            super()._serve_op(now, out)

    # Back to what is committed.

    def _go_back(self, now: Micros) -> bool:
        """committed(): asked of the coordinator, or of the next one; then seek(), and poll() again."""
        if self.asked is None and self.ask_at <= now and self.group.state is State.UP:
            message = OffsetFetchRequest(self.config.group_id, tuple(self.assignment.all), require_stable=self.config.read_committed)
            self.asked = Committed(message, now + self.brokers.socket_timeout)
            self.group.coordinator.enqueue(self.asked)
            return True
        return False

    def _on_offsets(self, request: Request, response: OffsetFetchResponse, now: Micros) -> None:
        assert isinstance(request, Committed)
        codes = {code for _, code, _, _ in response.results}
        if response.error in RETRIED or ErrorCode.UNSTABLE_OFFSET_COMMIT in codes:
            request.retries += 1
            self._retry(request, request.retries, now)
            return
        self.asked = None
        if response.error in NOT_THE_COORDINATOR:
            self.group.query(now)
        if response.error or codes != {NONE}:
            self.ask_at = now + IDLE
            return
        for partition, _, offset, epoch in response.results:
            if partition in self.assignment.all:
                self.fetching.seek(self.fetching.toppars[partition], (epoch, offset) if offset >= 0 else NOWHERE, now)
        self.goes_back, self.does = False, Does.POLLS

    def _give_up(self, request: Request, error: str, now: Micros, out: list[Effect]) -> None:
        super()._give_up(request, error, now, out)
        if request is self.asked:  # Lost with its connection, or timed out: rd_kafka_buf_retry, as of any OffsetFetch.
            request.retries += request.sent
            self._retry(request, request.retries, now)

    # The end.

    def _begin_to_close(self, now: Micros, until: Micros, out: list[Effect]) -> None:
        """The loop ends behind the turn at hand: what is open is ended too."""
        if self.copying.is_open:
            self._finish(out)
        else:
            super()._begin_to_close(now, until, out)

    def _end(self, error: str, text: str, now: Micros, out: list[Effect]) -> None:
        """Whatever was open is left to its time-out."""
        self.copying.over()
        super()._end(error, text, now, out)

    def _exit(self, out: list[Effect]) -> None:
        self.does = Does.ENDED
        if self.copying.reader_leaves(out):
            super()._exit(out)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self.copying.reader_may_rest
