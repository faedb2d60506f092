"""What a member of a group has to do with its coordinator, whatever the protocol: it looks for it, and sends to it.

Kafka: AbstractCoordinator of the classic client, CoordinatorRequestManager of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ksim_models.backoff import exponential_backoff
from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import COORDINATOR, ClientNetwork, State
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_fetching import Thrown
from ksim_models.errors import ErrorCode
from ksim_models.machine import Dice, Effect
from ksim_models.transaction_messages import FindCoordinatorRequest, FindCoordinatorResponse
from ksim_models.units import LONG_AGO, NEVER, Micros, ms

NO_GENERATION = -1
REBALANCING = "RebalanceInProgressException"
COMMIT_FAILED = "CommitFailedException"
STALE = "StaleMemberEpochException"
"""commitSync() makes a CommitFailedException of it."""
COMMIT_REFUSALS = (
    ErrorCode.GROUP_AUTHORIZATION_FAILED,
    ErrorCode.TOPIC_AUTHORIZATION_FAILED,
    ErrorCode.OFFSET_METADATA_TOO_LARGE,
    ErrorCode.INVALID_COMMIT_OFFSET_SIZE,
)
"""Errors of a commit that are told by their own names."""


class MemberState(Enum):
    UNJOINED = "not part of the group"
    PREPARING_REBALANCE = "JoinGroup is under way"
    COMPLETING_REBALANCE = "SyncGroup is under way"
    STABLE = "it has its partitions"


class CoordinatorClient:
    def __init__(self, name: str, topics: Sequence[str], config: ConsumerConfig, network: ClientNetwork, metadata: ClientMetadata, dice: Dice) -> None:
        assert config.group_id is not None
        self.name = name
        self.topics = tuple(topics)
        self.config = config
        self.group = config.group_id
        self.instance = config.group_instance_id or ""
        self.network = network
        self.metadata = metadata
        self.dice = dice
        self.coordinator = ""
        """The node, once it is known."""
        self.looking_on = ""
        """The node that was asked for it."""
        self.look_again_at: Micros = LONG_AGO
        self.looked_in_vain = 0
        self.member = ""
        self.metadata_told = "", NO_GENERATION
        """What groupMetadata() answers, whatever became of the member since (KIP-447)."""
        self.owned: tuple[str, ...] = ()
        """Partitions that it has, as it tells of them."""
        self.session_until: Micros = NEVER
        self.poll_until: Micros = NEVER
        """max.poll.interval.ms, while the application is outside poll()."""
        self.thrown: Thrown | None = None
        """What the heartbeat thread met: the next poll() throws it."""
        self.waiting_for: dict[str, None] = {}
        self.to_close: dict[str, None] = {}
        """Nodes whose connections the consumer shall close."""

    def knows_coordinator(self, now: Micros, out: list[Effect]) -> bool:
        """Asks for it where it is not known. A connection that cannot be used now makes it unknown."""
        if self.coordinator:
            node = self.network.node(self.coordinator)
            if node.state is State.DISCONNECTED and node.retry_at > now:
                self.coordinator = ""
            else:
                return True
        if not self.looking_on and self.look_again_at <= now:
            node_name = self.network.least_loaded(self.metadata.nodes, now)
            if node_name is not None and self.network.ready(node_name, now, out):
                self.looking_on = node_name
                self.network.send(node_name, FindCoordinatorRequest("group", self.group), (), now, out)
            elif node_name is not None:
                self.waiting_for[node_name] = None
            else:
                self.waiting_for.update(dict.fromkeys(self.metadata.nodes))
        return False

    def _found(self, response: FindCoordinatorResponse, now: Micros) -> None:
        self.looking_on = ""
        if response.error:
            if not response.error.retriable:
                raise Thrown(response.error.exception, response.error.meaning)
            self._look_later(now)
            return
        self.looked_in_vain = 0
        self.coordinator = COORDINATOR + response.node
        if self.session_until < NEVER:
            self.session_until = now + ms(self.config.session_timeout_ms)

    def _look_later(self, now: Micros) -> None:
        self.look_again_at = now + self.backoff(self.looked_in_vain, "find")
        self.looked_in_vain += 1
        self.metadata.request_update()

    def backoff(self, attempts: int, what: str) -> Micros:
        draw = self.dice.at(what, self.name, self.network.requests_made)
        return ms(exponential_backoff(self.config.retry_backoff_ms, self.config.retry_backoff_max_ms, attempts, draw))

    def mark_unknown(self) -> None:
        """An answer said that it is not the coordinator, or not available: the connection is closed, and whatever is under way there is lost."""
        if self.coordinator:
            self.to_close[self.coordinator] = None
            self.coordinator = ""

    def may_send(self, now: Micros, out: list[Effect]) -> bool:
        """To the coordinator. False: it is looked for, or its connection is waited for."""
        if not self.knows_coordinator(now, out):
            return False
        if self.network.ready(self.coordinator, now, out):
            return True
        self.waiting_for[self.coordinator] = None
        return False

    def _send(self, request: object, now: Micros, out: list[Effect], patience: Micros = 0) -> None:
        self.network.send(self.coordinator, request, (), now, out)
        if patience:
            self.network.nodes[self.coordinator].in_flight[-1].sent_at += patience - self.network.request_timeout

    def lost(self, node: str, requests: Sequence[object], now: Micros) -> None:
        """The connection is gone. That of the coordinator makes it unknown."""
        if node == self.looking_on and any(isinstance(request, FindCoordinatorRequest) for request in requests):
            self.looking_on = ""
            self._look_later(now)
        if node == self.coordinator and requests:
            self.coordinator = ""

    def looks_at(self, looked_at: Micros) -> Micros:
        """When it may look for its coordinator again."""
        return self.look_again_at if not self.coordinator and not self.looking_on and looked_at < self.look_again_at else NEVER

    # The application's thread.

    def left_poll(self, now: Micros) -> None:
        """The application has to come back within max.poll.interval.ms."""
        self.poll_until = now + ms(self.config.max_poll_interval_ms)

    def entered_poll(self) -> None:
        self.poll_until = NEVER
