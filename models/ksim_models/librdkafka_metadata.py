"""What librdkafka knows of topics and leaders, and when its main thread asks again.

Kafka: rd_kafka_metadata_fast_leader_query, rd_kafka_metadata_leader_query_tmr_cb, rd_kafka_topic_metadata_update, rd_kafka_topic_scan_all; KIP-951.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.errors import ErrorCode
from ksim_models.facts import Learned
from ksim_models.librdkafka_consumer_config import AnyLibrdkafkaConfig
from ksim_models.machine import Dice, Effect, Note
from ksim_models.messages import NO_LEADER, MetadataResponse
from ksim_models.units import NEVER, Micros, ms

JITTER_PERCENT = 20


class LibrdkafkaMetadata:
    def __init__(self, client: str, config: AnyLibrdkafkaConfig, dice: Dice, born_at: Micros) -> None:
        self.client = client
        self.dice = dice
        self.backoff = ms(config.retry_backoff_ms)
        self.backoff_max = ms(config.retry_backoff_max_ms)
        self.fast_interval = ms(config.topic_metadata_refresh_fast_interval_ms)
        self.propagation = ms(config.topic_metadata_propagation_max_ms)
        self.refresh_every = ms(config.topic_metadata_refresh_interval_ms) if config.topic_metadata_refresh_interval_ms > 0 else NEVER
        self.wanted: dict[str, Micros] = {}
        """Topics that were produced to, with the moment at which they were first."""
        self.topics: dict[str, tuple[str, ...]] = {}
        """Those that the brokers know, with their partitions in the order of their numbers."""
        self.missing: dict[str, ErrorCode] = {}
        self.unavailable: dict[str, None] = {}
        """Topics of which a request failed for stale metadata (RD_KAFKA_TOPIC_F_LEADER_UNAVAIL)."""
        self.hinted: dict[str, None] = {}
        """Asked for on a new connection, not answered yet: other new connections do not ask again."""
        self.leaders: dict[str, tuple[str, int]] = {}
        self.topic_ids: dict[str, int] = {}
        self.query_at: Micros = NEVER
        """The timer of the fast leader query."""
        self.query_interval: Micros = 0
        self.queries = 0
        self.refresh_at: Micros = born_at + self.refresh_every if self.refresh_every != NEVER else NEVER

    def want(self, topic: str, now: Micros) -> None:
        self.wanted[topic] = now
        self.fast_query(now, force=True)

    def leader_of(self, partition: str) -> tuple[str, int]:
        return self.leaders.get(partition, (NO_LEADER, -1))

    # The timer.

    def fast_query(self, now: Micros, *, force: bool = False) -> None:
        """At once, unless the next query is near anyway."""
        if force or self.query_at == NEVER or self.query_at - now > self.fast_interval:
            self.query_at = now
            self.query_interval = 0

    def leader_unavailable(self, topic: str, now: Micros) -> None:
        self.unavailable[topic] = None
        self.fast_query(now)

    def due_topics(self) -> list[str]:
        """What the timer asks for: topics that failed or are not known. None: it stops."""
        return [topic for topic in self.wanted if topic not in self.missing and (topic in self.unavailable or topic not in self.topics)]

    def queried(self, now: Micros) -> None:
        """The next query: retry.backoff.ms later, doubled each time, +-20 %, up to retry.backoff.max.ms."""
        self.queries += 1
        self.query_interval *= 2
        percent = int(self.dice.at("leader-query", self.client, self.queries) * (2 * JITTER_PERCENT + 1)) - JITTER_PERCENT
        jitter = percent * self.query_interval // 100
        if self.query_interval + jitter < self.backoff:
            self.query_interval, jitter = self.backoff, 0
        elif self.query_interval + jitter > self.backoff_max:
            self.query_interval, jitter = self.backoff_max, 0
        self.query_at = now + self.query_interval + jitter

    def new_connection_asks(self) -> list[str]:
        """Topics that are not known, and that no other new connection has just asked for."""
        topics = [topic for topic in self.wanted if topic not in self.topics and topic not in self.hinted]
        self.hinted.update(dict.fromkeys(topics))
        return topics

    # Answers.

    def learn(self, response: MetadataResponse, now: Micros, out: list[Effect]) -> list[str]:
        """Take it in. Returns the topics that have become known, or missing for good."""
        settled = []
        for topic in response.topics:
            self.hinted.pop(topic.topic, None)
            if topic.error:
                if self._is_missing(topic.topic, topic.error, now):
                    settled.append(topic.topic)
                continue
            self.topic_ids[topic.topic] = topic.topic_id
            names = tuple(partition.partition for partition in topic.partitions)
            if len(names) > len(self.topics.get(topic.topic, ())):
                self.topics[topic.topic] = names
                self.missing.pop(topic.topic, None)
                settled.append(topic.topic)
            stale = False
            for partition in topic.partitions:
                known_leader, known_epoch = self.leader_of(partition.partition)
                if partition.leader_epoch < known_epoch:
                    stale = True
                elif (known_leader, known_epoch) != (partition.leader, partition.leader_epoch):
                    self._set_leader(partition.partition, partition.leader, partition.leader_epoch, out)
            if not stale and all(partition.leader != NO_LEADER for partition in topic.partitions):
                self.unavailable.pop(topic.topic, None)
        return settled

    def _is_missing(self, topic: str, error: ErrorCode, now: Micros) -> bool:
        """For a while the brokers may just not have heard of it yet (topic.metadata.propagation.max.ms)."""
        if error not in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_TOPIC_EXCEPTION, ErrorCode.UNKNOWN_TOPIC_ID) or topic not in self.wanted:
            return False
        if error is not ErrorCode.INVALID_TOPIC_EXCEPTION and now < self.wanted[topic] + self.propagation:
            return False
        self.topics.pop(topic, None)
        self.unavailable.pop(topic, None)
        self.missing[topic] = error
        return True

    def _set_leader(self, partition: str, leader: str, leader_epoch: int, out: list[Effect]) -> None:
        self.leaders[partition] = leader, leader_epoch
        out.append(Note(Learned(self.client, partition, leader, leader_epoch)))

    def take_hint(self, partition: str, leader: str, leader_epoch: int, brokers: Sequence[str], out: list[Effect]) -> bool:
        """KIP-951: the leader that a NOT_LEADER_OR_FOLLOWER answer names, if it is newer."""
        if leader in brokers and partition in self.leaders and leader_epoch > self.leaders[partition][1]:
            self._set_leader(partition, leader, leader_epoch, out)
            return True
        return False
