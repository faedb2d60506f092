"""Offsets that librdkafka commits: those that were stored, by a timer, when partitions are given up, or when the application says so.

Kafka: rd_kafka_cgrp_offsets_commit, rd_kafka_cgrp_op_handle_OffsetCommit, rd_kafka_handle_OffsetCommit_error, rd_kafka_cgrp_offset_commit_tmr_cb.
What was stored need not have been dealt with: with enable.auto.offset.store an offset is stored when its record is handed to the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ksim_models.consumer_commits import Commit
from ksim_models.consumer_facts import CommittedOffset
from ksim_models.errors import ErrorCode
from ksim_models.librdkafka_broker_thread import Request
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_errors import name_of
from ksim_models.librdkafka_group import Join, LibrdkafkaGroup, State
from ksim_models.librdkafka_toppar import NOWHERE, Toppar
from ksim_models.machine import Effect, Note
from ksim_models.transaction_messages import OffsetCommitRequest
from ksim_models.units import NEVER, Micros, ms

MOST_RETRIES = 2
"""RD_KAFKA_REQUEST_DEFAULT_RETRIES: on the same connection; then the error is final, but for a coordinator that is gone."""
RETRIED = (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.REQUEST_TIMED_OUT)
NOT_THE_COORDINATOR = (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR)
ANOTHER_TRY = (*RETRIED, *NOT_THE_COORDINATOR)
DEFERRED = ("_TRANSPORT", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR")
"""Once per commit it waits for the coordinator, for session.timeout.ms."""


class StoredCommit(Commit):
    __slots__ = ("retries", "waits_until")

    def __init__(self, offsets: tuple[tuple[str, int], ...], epochs: tuple[int, ...]) -> None:
        super().__init__(offsets, epochs)
        self.retries = 0
        self.waits_until: Micros = NEVER


class CommitRequest(Request):
    __slots__ = ("commit",)

    def __init__(self, message: object, deadline: Micros, commit: StoredCommit) -> None:
        super().__init__(message, deadline)
        self.commit = commit


class LibrdkafkaCommits:
    def __init__(self, name: str, config: LibrdkafkaConsumerConfig, group: LibrdkafkaGroup, toppars: Mapping[str, Toppar], born_at: Micros) -> None:
        self.name = name
        self.config = config
        self.group = group
        self.toppars = toppars
        self.under_way = 0
        """rk_consumer.wait_commit_cnt: nothing is asked of the group, and no partition begun, before they have ended."""
        self.waiting: list[StoredCommit] = []
        """For the coordinator."""
        self.interval = ms(config.auto_commit_interval_ms)
        self.auto_at: Micros = born_at + self.interval if config.enable_auto_commit and self.interval else NEVER
        self.ended: Callable[[Micros, list[Effect]], None] = _nothing
        """The last one that was under way has ended."""
        self.retry: Callable[[Request, int, Micros], None] = _nothing

    # Which offsets.

    def stored(self, assigned: Iterable[str]) -> StoredCommit:
        """Of the assignment, what was stored since the last commit."""
        found = [self.toppars[partition] for partition in assigned if self.toppars[partition].stored > self.toppars[partition].committed]
        return self._of(found)

    def given_up(self, removed: Iterable[str]) -> StoredCommit:
        """What was stored of them, committed or not."""
        return self._of([self.toppars[partition] for partition in removed if self.toppars[partition].stored != NOWHERE])

    def _of(self, toppars: list[Toppar]) -> StoredCommit:
        toppars = sorted(toppars, key=lambda one: one.partition)
        return StoredCommit(tuple((one.partition, one.stored[1]) for one in toppars), tuple(one.stored[0] for one in toppars))

    # A commit.

    def begin(self, commit: StoredCommit, now: Micros, out: list[Effect]) -> StoredCommit:
        if not commit.offsets:
            commit.end("_NO_OFFSET")
            return commit
        self.under_way += 1
        if self.group.lost:
            self._finish(commit, "_ASSIGNMENT_LOST", now, out)
        else:
            self._try_to_send(commit, now, out)
        return commit

    def _try_to_send(self, commit: StoredCommit, now: Micros, out: list[Effect]) -> None:
        group = self.group
        if group.fatal:
            self._finish(commit, "_FATAL", now, out)
        elif group.state is State.UP:
            commit.waits = False
            commit.request = OffsetCommitRequest(self.config.group_id, commit.offsets, group.member, group.generation, group.instance, commit.epochs)
            group.coordinator.enqueue(CommitRequest(commit.request, now + group.brokers.socket_timeout, commit))
        elif not self._defer(commit, now):
            self._finish(commit, "_WAIT_COORD", now, out)

    def _defer(self, commit: StoredCommit, now: Micros) -> bool:
        if commit.waits_until < NEVER:
            return False
        commit.waits, commit.waits_until = True, now + ms(self.config.session_timeout_ms)
        self.waiting.append(commit)
        return True

    def coordinator_came(self, now: Micros, out: list[Effect]) -> None:
        waiting, self.waiting = self.waiting, []
        for commit in waiting:
            self._try_to_send(commit, now, out)

    def answered(self, request: CommitRequest, error: ErrorCode, now: Micros, out: list[Effect]) -> None:
        commit, group = request.commit, self.group
        if error in NOT_THE_COORDINATOR:
            group.dead(now)
        elif error is ErrorCode.REQUEST_TIMED_OUT:
            group.query(now)
        elif error is ErrorCode.FENCED_INSTANCE_ID:
            group.become_fatal(error)
        if error in ANOTHER_TRY and commit.retries < MOST_RETRIES:
            commit.retries += 1
            self.retry(request, commit.retries, now)
            return
        self._end(commit, name_of(error) if error else "", now, out)

    def lost(self, request: CommitRequest, error: str, now: Micros, out: list[Effect]) -> None:
        """The connection is gone, or the time is over: _TRANSPORT makes the coordinator dead."""
        if error == "_TRANSPORT":
            self.group.dead(now)
        if request.commit.retries < MOST_RETRIES:
            request.commit.retries += request.sent
            self.retry(request, request.commit.retries, now)
            return
        self._end(request.commit, error, now, out)

    def _end(self, commit: StoredCommit, error: str, now: Micros, out: list[Effect]) -> None:
        group = self.group
        if error == "UNKNOWN_MEMBER_ID":
            group.member = ""
            group.revoke_all(now, lost=True, maybe=True)
        elif error == "ILLEGAL_GENERATION" and not group.is_rebalancing:
            group.generation = -1
            group.revoke_all(now, lost=True, maybe=True)
        elif error in DEFERRED and self._defer(commit, now):
            return
        self._finish(commit, error, now, out)

    def _finish(self, commit: StoredCommit, error: str, now: Micros, out: list[Effect]) -> None:
        self.under_way -= 1
        commit.end(error)
        out.append(Note(CommittedOffset(self.name, self.config.group_id, commit.offsets, error)))
        if not error:
            for (partition, offset), epoch in zip(commit.offsets, commit.epochs, strict=True):
                self.toppars[partition].committed = epoch, offset
        if not self.under_way:
            self.ended(now, out)

    # The clock.

    def look_at_the_clock(self, assigned: Iterable[str], now: Micros, out: list[Effect]) -> bool:
        seen = False
        for commit in [one for one in self.waiting if one.waits_until <= now]:
            seen = True
            self.waiting.remove(commit)
            self._finish(commit, "_WAIT_COORD", now, out)
        if self.auto_at <= now:
            seen = True
            self.auto_at += self.interval * (1 + (now - self.auto_at) // self.interval)
            if self.group.join_state is Join.STEADY and not self.group.lost:
                self.begin(self.stored(assigned), now, out)
        return seen

    @property
    def wake_at(self) -> Micros:
        return min([self.auto_at, *(one.waits_until for one in self.waiting)])


def _nothing(*_: object) -> None:
    raise AssertionError("nobody is told")
