"""Offsets that a consumer commits, and those that it begins with.

Kafka: ConsumerCoordinator.commitOffsetsSync, commitOffsetsAsync, maybeAutoCommitOffsetsAsync, fetchCommittedOffsets, OffsetCommitResponseHandler.
A consumer always asks for stable offsets (KIP-447), whatever its isolation level.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.client_network import ClientNetwork
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_coordinator import COMMIT_FAILED, STALE
from ksim_models.consumer_facts import CommittedOffset
from ksim_models.consumer_fetching import Thrown
from ksim_models.consumer_group import GroupMember
from ksim_models.consumer_positions import FetchState, Positions
from ksim_models.consumer_protocol_member import ConsumerProtocolMember
from ksim_models.errors import NONE, ErrorCode
from ksim_models.machine import Effect, Note
from ksim_models.messages import NO_LEADER
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_messages import OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

RETRIABLE = "RetriableCommitFailedException"
DISCONNECTED = "DisconnectException"
AUTHORIZATION = (ErrorCode.GROUP_AUTHORIZATION_FAILED, ErrorCode.TOPIC_AUTHORIZATION_FAILED)


class Commit:
    """One commit, from the call to its outcome."""

    __slots__ = ("done", "epochs", "error", "is_sync", "offsets", "request", "retriable", "waits")

    def __init__(self, offsets: tuple[tuple[str, int], ...], epochs: tuple[int, ...]) -> None:
        self.offsets = offsets
        self.epochs = epochs
        self.request: OffsetCommitRequest | None = None
        self.waits = True
        """Not sent yet: the coordinator is not known, or cannot be sent to."""
        self.done = False
        self.error = ""
        """Kafka's class; empty for success."""
        self.retriable = False
        self.is_sync = False
        """commitSync() waits for it."""

    def end(self, error: str = "", *, retriable: bool = False) -> None:
        self.done, self.waits, self.error, self.retriable = True, False, error, retriable


class Commits:
    def __init__(
        self,
        name: str,
        profile: ClientProfile,
        config: ConsumerConfig,
        member: GroupMember | ConsumerProtocolMember,
        positions: Positions,
        network: ClientNetwork,
    ) -> None:
        self.name = name
        self.profile = profile
        self.config = config
        self.member = member
        self.positions = positions
        self.network = network
        self.under_way: list[Commit] = []
        self.auto: Commit | None = None
        self.auto_at: Micros = NEVER
        """When the next automatic commit is due."""
        self.fetching: OffsetFetchRequest | None = None
        self.fetch_at: Micros = LONG_AGO
        self.fetched_in_vain = 0
        self.looks_for: tuple[str, ...] = ()
        self.looks_until: Micros = NEVER
        """For the committed offsets of these partitions, default.api.timeout.ms long."""

    # Commits.

    def consumed(self) -> Commit:
        """Of all that poll() has returned."""
        positions = self.positions.consumed()
        return Commit(tuple((one.partition, one.offset) for one in positions), tuple(one.offset_epoch for one in positions))

    def begin(self, commit: Commit, now: Micros, out: list[Effect]) -> Commit:
        if not commit.offsets:
            commit.end()
            return commit
        self.under_way.append(commit)
        self._try_to_send(commit, now, out)
        return commit

    def go_on(self, now: Micros, out: list[Effect]) -> None:
        """Send what had to wait, and tell of what is done."""
        for commit in list(self.under_way):
            if commit.waits:
                self._try_to_send(commit, now, out)

    def _try_to_send(self, commit: Commit, now: Micros, out: list[Effect]) -> None:
        member = self.member
        if not member.knows_coordinator(now, out):
            if not member.looking_on and member.look_again_at > now:
                self._finish(commit, "GroupCoordinatorNotAvailableException", out, retriable=True)
        elif refusal := member.commit_refusal:
            self._finish(commit, refusal, out)
        elif member.may_send(now, out):
            commit.request = OffsetCommitRequest(member.group, commit.offsets, member.member, member.generation, member.instance, commit.epochs)
            commit.waits = False
            self.network.send(member.coordinator, commit.request, (), now, out)

    def _finish(self, commit: Commit, error: str, out: list[Effect], *, retriable: bool = False) -> None:
        self.under_way.remove(commit)
        if commit.is_sync and error == STALE:
            error = COMMIT_FAILED
        commit.end(error, retriable=retriable)
        out.append(Note(CommittedOffset(self.name, self.member.group, commit.offsets, error)))

    def answered(self, request: OffsetCommitRequest, response: OffsetCommitResponse, now: Micros, out: list[Effect]) -> None:
        commit = next((one for one in self.under_way if one.request is request), None)
        if commit is None:
            return
        error = next((error for _, error in response.results if error), NONE)
        match error:
            case ErrorCode.NONE:
                self._finish(commit, "", out)
            case ErrorCode.COORDINATOR_NOT_AVAILABLE | ErrorCode.NOT_COORDINATOR | ErrorCode.REQUEST_TIMED_OUT:
                self._finish(commit, error.exception, out, retriable=True)
                self.member.mark_unknown()
            case _:
                failure, retriable = self.member.commit_failure(request, error)
                self._finish(commit, failure, out, retriable=retriable)

    def lost(self, requests: Sequence[object], now: Micros, out: list[Effect]) -> None:
        for request in requests:
            if request is self.fetching:
                self._fetch_later(now, DISCONNECTED)
            for commit in [one for one in self.under_way if one.request is request]:
                self._finish(commit, DISCONNECTED, out, retriable=True)

    # Automatic commits.

    def joined(self, now: Micros) -> None:
        if self.config.enable_auto_commit:
            self.auto_at = now + ms(self.config.auto_commit_interval_ms)

    def maybe_auto_commit(self, now: Micros, out: list[Effect]) -> None:
        """Asked by every poll(): it commits what the polls before returned, whether the application has done with it or not (H-150)."""
        if self.auto is not None and self.auto.done:
            if self.auto.error and self.auto.retriable:
                self.auto_at = min(self.auto_at, now + ms(self.config.retry_backoff_ms))
            self.auto = None
        if self.auto_at <= now:
            self.auto_at = now + ms(self.config.auto_commit_interval_ms)
            self.auto = self.begin(self.consumed(), now, out)

    # Where to begin.

    @property
    def wanted(self) -> tuple[str, ...]:
        """Partitions of which the group is to tell where they are read from."""
        return tuple(sorted(one.partition for one in self.positions.in_state(FetchState.INITIALIZING) if not one.no_committed))

    @property
    def holds_fetches_up(self) -> bool:
        """The background thread asks for records when every position is there, however long that takes (ApplicationEventProcessor, AsyncPollEvent)."""
        return self.profile.fetches_wait_for_positions and isinstance(self.member, ConsumerProtocolMember) and bool(self.wanted)

    def find_positions(self, now: Micros, out: list[Effect]) -> None:
        wanted = self.wanted
        if wanted != self.looks_for:
            self.looks_for, self.looks_until = wanted, now + ms(self.config.default_api_timeout_ms)
        if not wanted or self.fetch_at > now or (self.fetching is not None and self.fetching.partitions == wanted):
            return
        member = self.member
        if member.may_send(now, out):
            self.fetching = OffsetFetchRequest(member.group, wanted, True, *member.place)
            self.network.send(member.coordinator, self.fetching, (), now, out)

    def offsets_came(self, request: OffsetFetchRequest, response: OffsetFetchResponse, now: Micros) -> None:
        if request is not self.fetching:
            return
        self.fetching = None
        partition, error = next(((name, error) for name, error, _, _ in response.results if error), ("", NONE))
        error = response.error or error
        if error in (ErrorCode.STALE_MEMBER_EPOCH, ErrorCode.UNKNOWN_MEMBER_ID) and isinstance(self.member, ConsumerProtocolMember):
            self._fetch_later(now, error.exception)  # Simplified: the next heartbeat tells more; Java throws UnknownMemberIdException.
            return
        if error in (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR):
            self.member.mark_unknown()
        if error in AUTHORIZATION:
            raise Thrown(error.exception, error.meaning)
        if error and not self._asks_again(error, of_the_group=bool(response.error)):
            raise Thrown("KafkaException", _unexpected("" if response.error else partition, error))
        if error:
            self._fetch_later(now, error.exception)
            return
        self.fetched_in_vain = 0
        for partition, _, offset, epoch in response.results:
            position = self.positions.get(partition)
            if position is None or position.state is not FetchState.INITIALIZING:
                continue
            if offset < 0:
                position.no_committed = True
            else:
                position.seek(offset, epoch, (NO_LEADER, -1))  # Held against its leader's log first, where its epoch is known.

    def _asks_again(self, error: ErrorCode, *, of_the_group: bool) -> bool:
        """Of single partitions a classic member knows one such error."""
        if not of_the_group:
            is_new = isinstance(self.member, ConsumerProtocolMember)
            return error is ErrorCode.UNSTABLE_OFFSET_COMMIT or (is_new and error in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID))
        if self.profile.offset_fetch_retries_all:
            return error.retriable
        return error in (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR)

    def _fetch_later(self, now: Micros, error: str) -> None:
        """Too late, the next poll() throws: a time-out that is wrapped is not taken for one (maybeCompleteAsyncPollEventExceptionally; measured on 4.3.0)."""
        self.fetching = None
        if self.looks_until <= now and self.holds_fetches_up:
            self.looks_for = ()
            self.member.thrown = Thrown("TimeoutException", f"org.apache.kafka.common.errors.{error}")
        self.fetch_at = now + self.member.backoff(self.fetched_in_vain, "fetch offsets")
        self.fetched_in_vain += 1

    def wake_after(self, looked_at: Micros) -> Micros:
        at = self.auto_at if self.auto_at > looked_at else NEVER
        return min(at, self.fetch_at) if self.fetch_at > looked_at else at


def _unexpected(partition: str, error: ErrorCode) -> str:
    """partition: "" where it is the whole group's error."""
    if partition and error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        return f"Topic or Partition {partition} does not exist"
    return f"Unexpected error in fetch offset response{f' for partition {partition}' if partition else ''}: {error.meaning}"
