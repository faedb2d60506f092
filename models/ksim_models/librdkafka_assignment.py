"""The partitions that librdkafka's application has: given up with a last commit, begun at their committed offsets.

Kafka: rdkafka_assignment.c, rd_kafka_cgrp_assign, rd_kafka_cgrp_unassign in librdkafka.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim_models.errors import NONE, ErrorCode
from ksim_models.librdkafka_broker_thread import Request
from ksim_models.librdkafka_commits import LibrdkafkaCommits
from ksim_models.librdkafka_consumer_config import LibrdkafkaConsumerConfig
from ksim_models.librdkafka_errors import name_of
from ksim_models.librdkafka_fetching import LibrdkafkaFetching
from ksim_models.librdkafka_group import Join, LibrdkafkaGroup, State
from ksim_models.librdkafka_toppar import NOWHERE, Place
from ksim_models.machine import Effect
from ksim_models.transaction_messages import OffsetFetchRequest, OffsetFetchResponse
from ksim_models.units import Micros


class Assignment:
    def __init__(self, config: LibrdkafkaConsumerConfig, group: LibrdkafkaGroup, commits: LibrdkafkaCommits, fetching: LibrdkafkaFetching) -> None:
        self.config = config
        self.group = group
        self.commits = commits
        self.fetching = fetching
        self.all: dict[str, None] = {}
        self.pending: dict[str, Place | None] = {}
        """To be begun; None: the committed offset is not known."""
        self.queried: dict[str, None] = {}
        self.removed: dict[str, None] = {}
        self.version = 0
        self.retry: Callable[[Request, int, Micros], None] = _nobody

    # The application's two answers to a rebalance.

    def assign(self, partitions: Sequence[str], now: Micros, out: list[Effect]) -> None:
        self._clear()
        self.serve(now, out)
        self.version += 1
        for partition in sorted(partitions):
            toppar = self.fetching.toppar(partition)
            toppar.stored = NOWHERE
            self.all[partition] = None
            self.pending[partition] = None
        self.group.assigned(now)
        self.serve(now, out)

    def unassign(self, now: Micros, out: list[Effect]) -> None:
        self._clear()
        self.group.unassigning()
        self.serve(now, out)

    def _clear(self) -> None:
        self.pending.clear()
        self.queried.clear()
        self.removed.update(self.all)
        self.all.clear()
        self.version += 1

    def pause(self) -> None:
        """Until the application has answered, it is given nothing more."""
        for partition in self.all:
            self.fetching.pause(self.fetching.toppars[partition])

    # One step further.

    @property
    def in_progress(self) -> bool:
        return bool(self.commits.under_way or self.pending or self.queried or self.removed)

    def serve(self, now: Micros, out: list[Effect]) -> None:
        if self.removed:
            self._serve_removals(now, out)
        if self.commits.under_way:
            return
        if self.pending:
            self._serve_pending(now)
        if not self.pending and not self.queried:
            self.group.unassigned(now)

    def _serve_removals(self, now: Micros, out: list[Effect]) -> None:
        """With enable.auto.commit their stored offsets are committed, unless they are lost to this member."""
        removed, self.removed = self.removed, {}
        commit = self.commits.given_up(removed)
        for partition in removed:
            toppar = self.fetching.toppars[partition]
            self.fetching.stop(toppar)
            toppar.stored = NOWHERE
        if self.config.enable_auto_commit and not self.group.lost:
            self.commits.begin(commit, now, out)

    def _serve_pending(self, now: Micros) -> None:
        """Committed offsets are asked for when no commit and no other question is under way."""
        asks = self.group.state is State.UP and not self.queried
        for partition, place in list(self.pending.items()):
            if place is not None:
                self.fetching.start(self.fetching.toppars[partition], place, now)
            elif asks:
                self.queried[partition] = None
            else:
                continue
            del self.pending[partition]
        if asks and self.queried:
            message = OffsetFetchRequest(self.config.group_id, tuple(self.queried), require_stable=self.config.read_committed)
            self.group.coordinator.enqueue(CommittedQuery(message, now + self.group.brokers.socket_timeout, self.version))

    def offsets_came(self, request: CommittedQuery, response: OffsetFetchResponse, now: Micros, out: list[Effect]) -> None:
        """Where the whole request is refused, nobody asks again before the next rebalance: its partitions stand still (librdkafka #5586)."""
        error = response.error
        unstable = any(code is ErrorCode.UNSTABLE_OFFSET_COMMIT for _, code, _, _ in response.results)
        if error in (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE):
            self.group.query(now)
        if (error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS or error is ErrorCode.REQUEST_TIMED_OUT or unstable) and request.version == self.version:
            request.retries += 1
            self.retry(request, request.retries, now)
            return
        if error:
            text = f'Failed to fetch committed offsets for 0 partition(s) in group "{self.config.group_id}": {error.meaning}'
            self.group.report(name_of(error), text)
            return
        for partition, code, offset, epoch in response.results:
            if partition not in self.queried:
                continue
            del self.queried[partition]
            if code is ErrorCode.UNSTABLE_OFFSET_COMMIT:
                self.pending[partition] = None
            elif code is not NONE:
                self.group.report(name_of(code), f"Failed to fetch committed offset of {partition}: {code.meaning}")
            else:
                place = self.pending[partition] = (epoch, offset) if offset >= 0 else NOWHERE
                self.fetching.toppars[partition].committed = place
        self.serve(now, out)

    def query_lost(self, request: CommittedQuery, now: Micros) -> None:
        if request.version == self.version:
            request.retries += request.sent
            self.retry(request, request.retries, now)

    @property
    def is_settled(self) -> bool:
        return self.group.join_state is Join.STEADY and not self.in_progress


class CommittedQuery(Request):
    __slots__ = ("retries", "version")

    def __init__(self, message: object, deadline: Micros, version: int) -> None:
        super().__init__(message, deadline)
        self.version = version
        self.retries = 0


def _nobody(*_: object) -> None:
    raise AssertionError("nobody is told")
