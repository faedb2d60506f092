"""Whom librdkafka's transactional requests go to, and how they are repeated: to the transaction's coordinator over a connection of its own, to the group's
over its broker's.

Kafka: librdkafka's rd_kafka_txn_coord_query, rd_kafka_txn_coord_set, rd_kafka_broker_set_nodename, rd_kafka_coord_req_fsm, rd_kafka_buf_retry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ksim_models.errors import ErrorCode
from ksim_models.librdkafka_answers import RETRY_JITTER_PERCENT
from ksim_models.librdkafka_broker_thread import BrokerThread, Request, State
from ksim_models.librdkafka_brokers import Brokers
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.machine import Dice, Effect
from ksim_models.transaction_messages import FindCoordinatorRequest, FindCoordinatorResponse, TxnOffsetCommitRequest
from ksim_models.transaction_pending import Group
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, SECOND, Micros, ms

TRANSACTION, GROUP = "transaction", "group"
QUERY_AGAIN: Micros = 500 * MILLISECOND
QUERY_SOON: Micros = 50 * MILLISECOND
COMMIT_AGAIN: Micros = 500 * MILLISECOND
QUERY_GROUP_EVERY: Micros = SECOND
GROUP_RETRIES = 2
"""RD_KAFKA_REQUEST_DEFAULT_RETRIES: so often a look-up that found no coordinator is repeated; then a connection that comes or goes must be waited for."""


@dataclass(slots=True, eq=False)
class OffsetCommit:
    """sendOffsets, from its call to its result."""

    group: Group
    offsets: tuple[tuple[str, int], ...]
    epochs: tuple[int, ...]
    until: Micros
    """The call has so long: transaction.timeout.ms."""
    due_at: Micros = NEVER
    """It is to be looked at again then, and not before."""
    waits_for: BrokerThread | None = None
    """The group's coordinator, whose connection is not there yet."""
    queried_at: Micros = LONG_AGO


class Transactions(Protocol):
    """What happens to a transaction when a coordinator is found, or cannot be."""

    def ask_for_id(self, now: Micros, out: list[Effect]) -> None: ...

    def offset_commit_of(self, commit: OffsetCommit) -> tuple[int, int] | None: ...

    def offsets_committed(self, commit: OffsetCommit, error: str, now: Micros, out: list[Effect]) -> None: ...

    def set_fatal(self, code: str, text: str, now: Micros, out: list[Effect]) -> None: ...


class Coordinators:
    def __init__(
        self, producer: str, config: LibrdkafkaConfig, brokers: Brokers, thread: BrokerThread, dice: Dice, drop: Callable[[Micros, list[Effect]], None]
    ) -> None:
        """thread: the connection to the transaction's coordinator; drop: closes it."""
        self.producer = producer
        self.transactional_id = config.transactional_id
        self.backoff_ms = config.retry_backoff_ms
        self.backoff_max = ms(config.retry_backoff_max_ms)
        self.brokers = brokers
        self.thread = thread
        self.dice = dice
        self.drop = drop
        self.transaction = ""
        """The transaction's coordinator; "": not known."""
        self.is_asked = False
        self.query_at: Micros = NEVER
        self.groups: dict[str, BrokerThread] = {}
        """Group -> its coordinator, as far as it is remembered (rk_coord_cache): also when metadata names that broker no longer, and its thread has ended."""
        self.commits: list[OffsetCommit] = []
        """Those that have not found their coordinator yet."""
        self.repeated: list[tuple[Micros, BrokerThread, Request]] = []
        """Requests that are sent again, when their backoff is over."""
        self.repeats = 0
        self.sent = 0
        """Requests that were made for the transaction's coordinator."""

    @property
    def is_up(self) -> bool:
        return self.thread.is_up

    @property
    def wake_at(self) -> Micros:
        return min([self.query_at, *(at for at, _, _ in self.repeated), *(commit.due_at for commit in self.commits)])

    def look_at_the_clock(self, transactions: Transactions, now: Micros, out: list[Effect]) -> bool:
        seen = False
        if self.query_at <= now:
            seen, self.query_at = True, NEVER
            self.query(now)
        for entry in [entry for entry in self.repeated if entry[0] <= now]:
            seen = True
            self.repeated.remove(entry)
            _, thread, request = entry
            request.deadline = now + self.brokers.socket_timeout
            thread.enqueue(request)
        for commit in [commit for commit in self.commits if commit.due_at <= now]:
            seen, commit.due_at = True, NEVER
            self._go_on(commit, transactions, now, out)
        return seen

    # Requests.

    def send(self, message: object, now: Micros, *, about: object = None) -> None:
        """To the transaction's coordinator; where its connection is not there, it waits for it, and is lost with an attempt that fails."""
        self.sent += 1
        self.thread.enqueue(Request(message, now + self.brokers.socket_timeout, about=about))

    def send_again(self, request: Request, now: Micros, thread: BrokerThread | None = None) -> None:
        """rd_kafka_buf_retry: without end, ever later; only what had left counts."""
        retries = request.retries + request.sent
        self.repeats += 1
        percent = 100 - RETRY_JITTER_PERCENT + int(self.dice.at("txn-retry", self.producer, self.repeats) * (2 * RETRY_JITTER_PERCENT + 1))
        backoff = min((self.backoff_ms << min(max(retries - 1, 0), 34)) * percent * 10, self.backoff_max)
        again = Request(request.message, NEVER, about=request.about)
        again.retries = retries
        self.repeated.append((now + backoff, thread or self.thread, again))

    # The transaction's coordinator.

    def query(self, now: Micros) -> None:
        """rd_kafka_txn_coord_query: of any broker that can be asked; one question at a time."""
        if self.is_asked:
            return
        up = [thread for thread in self.brokers if thread.is_up and not thread.is_logical]
        if not up:
            self.brokers.connect_any(now)
            self._query_at(now + QUERY_AGAIN)
            return
        request = Request(FindCoordinatorRequest(TRANSACTION, self.transactional_id), now + self.brokers.socket_timeout)
        self.brokers.choose("txn-coordinator", up).enqueue(request)
        self.is_asked = True

    def query_soon(self, now: Micros) -> None:
        self._query_at(now + QUERY_SOON)

    def _query_at(self, at: Micros) -> None:
        """A timer that runs already is left alone."""
        if self.query_at == NEVER:
            self.query_at = at

    def found(self, response: FindCoordinatorResponse, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        self.is_asked = False
        if response.error in (ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, ErrorCode.CLUSTER_AUTHORIZATION_FAILED):
            name = response.error.name
            transactions.set_fatal(name, f"Failed to find transaction coordinator: {name}", now, out)
            return
        node = "" if response.error else response.node
        if node and self.brokers.get(node) is None:
            self.brokers.ask_for([], now)
            node = ""
        self.set_transaction(node, transactions, now, out)

    def not_found(self, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        """The question was lost."""
        self.is_asked = False
        self.set_transaction("", transactions, now, out)

    def set_transaction(self, broker: str, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_txn_coord_set: a connection to another broker than before is closed, and one to the new one is made at once."""
        if broker == self.transaction:
            if not broker:
                self._query_at(now + QUERY_AGAIN)
            return
        self.transaction = broker
        if self.thread.connection is not None:
            self.drop(now, out)
        self.thread.broker = broker
        self.thread.set_state(State.INIT, now)
        self.thread.connect_at = NEVER
        self.thread.reconnect_at = LONG_AGO
        if broker:
            transactions.ask_for_id(now, out)
        else:
            self._query_at(now + QUERY_AGAIN)

    def went_down(self, now: Micros) -> None:
        """The connection is gone, or could not be made: perhaps another broker coordinates now."""
        self._query_at(now + QUERY_AGAIN)

    # The group's coordinator.

    def commit_offsets(self, commit: OffsetCommit, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        self.commits.append(commit)
        self._go_on(commit, transactions, now, out)

    def commit_offsets_later(self, commit: OffsetCommit, now: Micros) -> None:
        commit.due_at = now + COMMIT_AGAIN
        self.commits.append(commit)

    def forget_group(self, group: str) -> None:
        self.groups.pop(group, None)

    def _go_on(self, commit: OffsetCommit, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_coord_req_fsm: what waits for a connection is looked at again when one comes or goes, and else never."""
        thread = self.groups.get(commit.group.name)
        if thread is not None and thread.is_up:
            self._commit(commit, thread, transactions, now, out)
        elif thread is None:
            commit.waits_for = None
            self._query_group(commit, now)
        elif commit.waits_for is not thread:
            commit.waits_for = thread
        elif now - commit.queried_at > QUERY_GROUP_EVERY:
            commit.queried_at = now
            self._query_group(commit, now)

    def _commit(self, commit: OffsetCommit, thread: BrokerThread, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        self.commits.remove(commit)
        commit.waits_for = None
        numbers = transactions.offset_commit_of(commit)
        if numbers is None:
            transactions.offsets_committed(commit, "_STATE", now, out)
            return
        group = commit.group
        place = group.member, group.generation
        message = TxnOffsetCommitRequest(self.transactional_id, group.name, *numbers, commit.offsets, *place, instance=group.instance, epochs=commit.epochs)
        thread.enqueue(Request(message, now + self.brokers.socket_timeout, about=commit))

    def _query_group(self, commit: OffsetCommit, now: Micros) -> None:
        thread = self.brokers.usable(now)
        if thread is not None:  # Else a connection that comes up will bring it here again.
            thread.enqueue(Request(FindCoordinatorRequest(GROUP, commit.group.name), now + self.brokers.socket_timeout, about=commit))

    def found_group(self, request: Request, thread: BrokerThread, response: FindCoordinatorResponse, who: Transactions, now: Micros, out: list[Effect]) -> None:
        commit = request.about
        assert isinstance(commit, OffsetCommit)
        if commit not in self.commits or commit.due_at < NEVER:
            return
        match response.error:
            case ErrorCode.NONE:
                self.groups[commit.group.name] = self.brokers.meet(response.node, now)
                self._go_on(commit, who, now, out)
            case ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED | ErrorCode.CLUSTER_AUTHORIZATION_FAILED:
                self.commits.remove(commit)
                who.offsets_committed(commit, response.error.name, now, out)
            case ErrorCode.COORDINATOR_NOT_AVAILABLE if request.retries < GROUP_RETRIES:
                self.send_again(request, now, thread)
            case _:
                pass  # A connection that comes or goes will bring it here again.

    def connection_changed(self, transactions: Transactions, now: Micros, out: list[Effect]) -> None:
        """rd_kafka_coord_rkb_monitor_cb: some broker is there now, or is not there any more."""
        for commit in list(self.commits):
            if commit.due_at == NEVER:
                self._go_on(commit, transactions, now, out)

    @property
    def wanted_brokers(self) -> Sequence[BrokerThread]:
        """Whose connections are held up for a group's coordinator."""
        return [commit.waits_for for commit in self.commits if commit.waits_for is not None]
