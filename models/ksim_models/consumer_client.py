"""A consumer's client: its connections, what it asks over them, where the answers go.

Kafka: ConsumerNetworkClient. What its application does is `consumer`'s affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork, Lost, throttle_of
from ksim_models.consumer_commits import Commits
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_fetching import Fetching
from ksim_models.consumer_group import GroupMember
from ksim_models.consumer_positions import Positions
from ksim_models.consumer_protocol_member import ConsumerProtocolMember
from ksim_models.machine import Dice, Effect
from ksim_models.messages import ApiVersionsResponse, MetadataRequest, MetadataResponse
from ksim_models.profiles import ClientProfile
from ksim_models.transaction_messages import (
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ConsumerGroupHeartbeatRequest,
    FindCoordinatorRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    SyncGroupRequest,
)
from ksim_models.units import NEVER, Micros


class ConsumerClient:
    def __init__(self, name: str, profile: ClientProfile, config: ConsumerConfig, bootstrap: Sequence[str], topics: Sequence[str], dice: Dice) -> None:
        self.name = name
        self.profile = profile
        self.config = config
        self.bootstrap = tuple(bootstrap)
        self.topics = tuple(topics)
        self.dice = dice
        self.connections_made = 0

    def _connect(self) -> None:
        """A new process knows nothing."""
        name, config, profile, dice = self.name, self.config, self.profile, self.dice
        self.network = ClientNetwork(name, config, profile, dice)
        self.network.connections_made = self.connections_made
        self.metadata = ClientMetadata(name, self.bootstrap, config, profile, dice)
        self.positions = Positions()
        self.fetching = Fetching(config, self.positions, self.network, self.metadata)
        self.group: GroupMember | ConsumerProtocolMember | None = None
        self.commits: Commits | None = None
        if config.group_id is not None:
            parts = name, self.topics, config, self.network, self.metadata, dice
            self.group = ConsumerProtocolMember(*parts) if config.group_protocol == "consumer" else GroupMember(*parts, profile)
            self.commits = Commits(name, profile, config, self.group, self.positions, self.network)
        self.looked_at: Micros = 0

    def _wants_a_node_at(self) -> Micros:
        """When a connection may be tried or used again: for metadata that is due, or for what could not be sent at the last turn."""
        metadata, looked_at = self.metadata, self.looked_at
        at = min(metadata.due_at if metadata.due_at > looked_at else NEVER, metadata.rebootstrap_at)
        nodes = [*self.fetching.waiting_for, *(metadata.nodes if metadata.due_at <= looked_at else ())]
        if self.group is not None:
            nodes += self.group.waiting_for
        for name in nodes:
            node = self.network.nodes.get(name)
            if node is not None and looked_at < (not_before := node.not_before()) < at:
                at = not_before
        return at

    def _on_response(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        node, request = self.network.answered(connection, now, throttle_of(message))
        match request.message, message:
            case ConsumerFetchRequest(), ConsumerFetchResponse():
                self.fetching.fetched(node, request.message, message, now, out)
            case MetadataRequest(), MetadataResponse():
                self.metadata.learn(message, now, out)
            case _, ApiVersionsResponse():
                self.network.checked(node, out)
            case ListOffsetsRequest(), ListOffsetsResponse():
                self.fetching.offsets_listed(request.message, message, now)
            case OffsetForLeaderEpochRequest(), OffsetForLeaderEpochResponse():
                self.fetching.epochs_came(request.message, message, now)
            case OffsetCommitRequest(), OffsetCommitResponse() if self.commits is not None:
                self.commits.answered(request.message, message, now, out)
            case OffsetFetchRequest(), OffsetFetchResponse() if self.commits is not None:
                self.commits.offsets_came(request.message, message, now)
            case (FindCoordinatorRequest() | ConsumerGroupHeartbeatRequest(), _) if self.group is not None:
                self.group.answered(request.message, message, now, out)
            case ((JoinGroupRequest() | SyncGroupRequest() | HeartbeatRequest() | LeaveGroupRequest()), _) if self.group is not None:
                self.group.answered(request.message, message, now, out)

    def _on_lost(self, lost: Lost, now: Micros, out: list[Effect]) -> None:
        """What was asked there is asked again; metadata first (N6)."""
        was_due = self.metadata.due_at <= now
        self.metadata.request_update()
        requests = [request.message for request in lost.requests]
        if any(isinstance(request, MetadataRequest) for request in requests) or (was_due and not self.metadata.asking):
            self.metadata.failed(now)
        self.fetching.lost(lost.node, requests, now)
        if self.group is not None and self.commits is not None:
            self.group.lost(lost.node, requests, now)
            self.commits.lost(requests, now, out)

    def _close_connections(self, now: Micros, out: list[Effect]) -> None:
        """To a coordinator that said it is none: whatever is under way there fails."""
        while self.group is not None and self.group.to_close:
            node, _ = self.group.to_close.popitem()
            for lost in self.network.close_all([node], now, out):
                self._on_lost(lost, now, out)
