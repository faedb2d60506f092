"""Members of one group, played by hand against the coordinator of a small cluster."""

from __future__ import annotations

from typing import Any

from ksim_models.errors import ErrorCode
from ksim_models.transaction_messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    OffsetCommitRequest,
    OffsetFetchRequest,
    SyncGroupRequest,
    TxnOffsetCommitRequest,
)
from small_cluster import SmallCluster

GROUP = "g"
T0, T1 = "t-0", "t-1"


class Members:
    """Members of one group, played by hand on connections of their own."""

    def __init__(self, **config: Any) -> None:
        usual = {"group_initial_rebalance_delay_ms": 0, "offsets_topic_num_partitions": 3}
        usual |= {"transaction_partition_verification_enable": False}  # No coordinator knows the producers of these tests.
        self.cluster = SmallCluster(topics={"t": 2}, **(usual | config))
        self.coordinator = self.cluster.find("group", GROUP)
        self.cluster.run_for(1000)  # Up to 4.0 brokers learn of their leaderships at different moments.

    def ask(self, request: object) -> Any:
        return self.cluster.ask(self.coordinator, request)

    def send(self, request: object) -> str:
        """Without waiting for the answer."""
        connection = self.cluster.connect(self.coordinator)
        self.cluster.send(connection, request)
        self.cluster.run_for(5)
        return connection

    def answers(self, connection: str) -> list[Any]:
        self.cluster.run_for(5)
        return self.cluster.caller.answers[connection]

    def request(self, client: str, member: str = "", **more: Any) -> JoinGroupRequest:
        given: dict[str, Any] = {"instance": "", "topics": ("t",), "session_timeout_ms": 10_000, "rebalance_timeout_ms": 20_000} | more
        return JoinGroupRequest(GROUP, member, client, **given)

    def join(self, client: str, member: str = "", **more: Any) -> JoinGroupResponse:
        """With the id that the coordinator gives."""
        answer: JoinGroupResponse = self.ask(self.request(client, member, **more))
        return self.ask(self.request(client, answer.member, **more)) if answer.error is ErrorCode.MEMBER_ID_REQUIRED else answer

    def stable(self, client: str = "c1", **more: Any) -> JoinGroupResponse:
        """A group of one, which has its partitions."""
        joined = self.join(client, **more)
        assert self.sync(joined, {joined.member: (T0, T1)}).partitions == (T0, T1)
        return joined

    def sync(self, joined: JoinGroupResponse, assignments: dict[str, tuple[str, ...]] | None = None, **more: Any) -> Any:
        return self.ask(SyncGroupRequest(GROUP, joined.member, joined.generation, assignments=tuple((assignments or {}).items()), **more))

    def beat(self, joined: JoinGroupResponse) -> ErrorCode:
        answer: HeartbeatResponse = self.ask(HeartbeatRequest(GROUP, joined.member, joined.generation))
        return answer.error

    def commit(self, offset: int, member: str = "", generation: int = -1, *, group: str = GROUP, **more: Any) -> ErrorCode:
        error: ErrorCode = self.ask(OffsetCommitRequest(group, ((T0, offset),), member, generation, **more)).results[0][1]
        return error

    def fetch(self, *, stable: bool = True) -> Any:
        answer = self.ask(OffsetFetchRequest(GROUP, (T0,), stable))
        return answer.error or answer.results[0][1:3]

    def commit_in_transaction(self, offset: int, member: str = "", generation: int = -1, producer: int = 7, **more: Any) -> ErrorCode:
        request = TxnOffsetCommitRequest("x", GROUP, producer, 0, ((T0, offset),), member, generation, **more)
        error: ErrorCode = self.ask(request).results[0][1]
        return error
