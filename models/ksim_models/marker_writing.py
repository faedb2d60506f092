"""A leader asked to mark the end of transactions on its partitions: one append for each producer, one answer when the last is done.

Kafka: KafkaApis.handleWriteTxnMarkersRequest (TC-51, TC-54, TC-58, TC-59).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ksim_models.config import BrokerConfig
from ksim_models.errors import NONE, ErrorCode
from ksim_models.leading import Leading
from ksim_models.machine import Effect
from ksim_models.messages import NO_SEQUENCE, Marker, ProduceResponse, ProduceResult, RecordBatch, topic_of
from ksim_models.profiles import BrokerProfile
from ksim_models.replica import Replica
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TxnMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse
from ksim_models.units import Micros

MARKER_BYTES = 78
"""A batch of its own with one control record."""

Answer = Callable[[WriteTxnMarkersResponse, Micros, list[Effect]], None]


class PendingOffsets(Protocol):
    """The group coordinator, as far as markers concern it: offsets that wait for the end of a transaction (GC-4)."""

    loading: dict[str, tuple[Micros, int]]
    """Partitions that it reads still."""

    def transaction_ended(self, partition: str, producer_id: int, *, committed: bool) -> None: ...


class MarkerWriting:
    def __init__(self, profile: BrokerProfile, config: BrokerConfig, replicas: Mapping[str, Replica], leading: Leading, groups: PendingOffsets) -> None:
        self.profile = profile
        self.replicas = replicas
        self.leading = leading
        self.config = config
        self.groups = groups

    def write(self, request: WriteTxnMarkersRequest, answer: Answer, now: Micros, out: list[Effect]) -> None:
        results: list[tuple[int, str, ErrorCode]] = []
        appends = [(marker, *append) for marker in request.markers for append in self._appends(marker, results)]
        waiting = len(appends)

        def done(marker: TxnMarker, told: tuple[ProduceResult, ...], now: Micros, out: list[Effect]) -> None:
            nonlocal waiting
            for result in told:
                results.append((marker.producer_id, result.partition, result.error))
                if result.error is NONE and topic_of(result.partition) == CONSUMER_OFFSETS:
                    self.groups.transaction_ended(result.partition, marker.producer_id, committed=marker.committed)
            waiting -= 1
            if not waiting:
                answer(WriteTxnMarkersResponse(tuple(results)), now, out)

        for marker, acks, timeout_ms, partitions in appends:  # None is told of before this is over (Leading.append_own).
            self._append(marker, acks, timeout_ms, partitions, done, now, out)
        if not appends:
            answer(WriteTxnMarkersResponse(tuple(results)), now, out)

    def _appends(self, marker: TxnMarker, results: list[tuple[int, str, ErrorCode]]) -> list[tuple[int, int, list[str]]]:
        """(acks, time-out, partitions). What is not online here is UNKNOWN_TOPIC_OR_PARTITION, whoever leads it (TC-51)."""
        ordinary: list[str] = []
        offsets: list[str] = []
        for partition in marker.partitions:
            if partition not in self.replicas:
                results.append((marker.producer_id, partition, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
            elif self.profile.offsets_append_acks_1 and topic_of(partition) == CONSUMER_OFFSETS:
                if partition in self.groups.loading:
                    results.append((marker.producer_id, partition, ErrorCode.NOT_LEADER_OR_FOLLOWER))  # TC-58
                else:
                    offsets.append(partition)
            else:
                ordinary.append(partition)
        appends = [(-1, self.config.request_timeout_ms, ordinary)] if ordinary else []
        return [*appends, *((1, self.config.offsets_commit_timeout_ms, [partition]) for partition in offsets)]

    def _append(
        self,
        marker: TxnMarker,
        acks: int,
        timeout_ms: int,
        partitions: list[str],
        done: Callable[[TxnMarker, tuple[ProduceResult, ...], Micros, list[Effect]], None],
        now: Micros,
        out: list[Effect],
    ) -> None:
        batches = tuple(
            RecordBatch(
                partition,
                "",
                range(1),
                MARKER_BYTES,
                marker.producer_id,
                marker.producer_epoch,
                NO_SEQUENCE,
                max_timestamp=now,
                transactional=True,
                marker=Marker(marker.committed, marker.coordinator_epoch),
            )
            for partition in partitions
        )

        def told(response: object, now: Micros, out: list[Effect]) -> None:
            assert isinstance(response, ProduceResponse)
            done(marker, response.results, now, out)

        strictly = self.profile.strict_marker_epoch and marker.transaction_version >= 2
        self.leading.append_own(batches, acks, timeout_ms, told, now, out, strictly=strictly)
