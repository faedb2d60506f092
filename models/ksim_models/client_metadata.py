"""What a client knows of the cluster, and when it asks again.

Kafka: Metadata, ProducerMetadata, NetworkClient.DefaultMetadataUpdater; KIP-580, KIP-951.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.backoff import exponential_backoff
from ksim_models.client_network import BOOTSTRAP
from ksim_models.config import ProducerConfig
from ksim_models.facts import Learned
from ksim_models.machine import Dice, Effect, Note
from ksim_models.messages import NO_LEADER, MetadataResponse
from ksim_models.profiles import ClientProfile
from ksim_models.units import Micros, ms

LONG_AGO: Micros = -(2**60)


class ClientMetadata:
    def __init__(self, client: str, bootstrap: Sequence[str], config: ProducerConfig, profile: ClientProfile, dice: Dice) -> None:
        self.client = client
        self.profile = profile
        self.dice = dice
        self.backoff_ms = config.retry_backoff_ms, config.retry_backoff_max_ms if profile.exponential_backoff else config.retry_backoff_ms
        self.max_age = ms(config.metadata_max_age_ms)
        self.bootstrap = tuple(BOOTSTRAP + broker for broker in bootstrap)
        self.nodes: tuple[str, ...] = self.bootstrap
        self.topics: dict[str, tuple[str, ...]] = {}
        """Topic -> its partitions in the order of their numbers; empty while the brokers do not know it."""
        self.leaders: dict[str, tuple[str, int]] = {}
        """Partition -> (leader, leader epoch)."""
        self.topic_ids: tuple[tuple[str, int], ...] = ()
        """As the brokers last said it."""
        self.wanted: dict[str, None] = {}
        self.new_topics: dict[str, None] = {}
        """Never answered yet: asked for at once (M2)."""
        self.update_requested = False
        self.asking = False
        self.retry_at: Micros = LONG_AGO
        """When the backoff after the last answer or failure ends (M2)."""
        self.succeeded_at: Micros = LONG_AGO
        self.failures = 0
        self.equivalent = 0
        """Answers in a row that brought no change (M2, 3.7)."""
        self.refreshes = 0
        self._led: dict[str, list[str]] = {}

    def add(self, topic: str) -> None:
        if topic not in self.wanted:
            self.wanted[topic] = None
            self.new_topics[topic] = None
            self.equivalent = 0

    def request_update(self) -> None:
        self.update_requested = True

    def leader_of(self, partition: str) -> tuple[str, int]:
        return self.leaders.get(partition, (NO_LEADER, -1))

    def partitions_led_by(self, node: str) -> list[str]:
        """In the order of topics and partitions; remembered until a leader changes."""
        known = self._led.get(node)
        if known is None:
            known = self._led[node] = [partition for topic in self.topics.values() for partition in topic if self.leader_of(partition)[0] == node]
        return known

    @property
    def due_at(self) -> Micros:
        """When the next Metadata request should go out (M1, M2)."""
        if self.asking:
            return 2**62
        if self.new_topics:
            return LONG_AGO
        if not self.update_requested:
            return self.succeeded_at + self.max_age
        return self.retry_at

    def asked(self) -> tuple[str, ...]:
        if not self.update_requested:
            self.equivalent = 0  # The periodic refresh, or a new topic.
        self.asking = True
        self.update_requested = False
        self.new_topics.clear()
        return tuple(self.wanted)

    def failed(self, now: Micros) -> None:
        """N6: a request that was lost, or was due and could not be sent."""
        self.asking = False
        self.update_requested = True
        self.failures += 1
        self.equivalent = 0
        self._back_off(now)

    def _back_off(self, now: Micros) -> None:
        self.refreshes += 1
        draw = self.dice.at("refresh", self.client, self.refreshes)
        self.retry_at = now + ms(exponential_backoff(*self.backoff_ms, max(self.failures - 1, self.equivalent - 1, 0), draw))

    def learn(self, response: MetadataResponse, now: Micros, out: list[Effect]) -> None:
        """Take it in; a lower leader epoch than the one known is ignored, unless the topic is another (M4). An error asks for another refresh (M1)."""
        if not response.brokers:
            self.failed(now)
            return
        self.asking = self.update_requested = False  # What was requested while this one was under way is answered by it (Metadata.update).
        self.failures = 0
        self.succeeded_at = now
        self.nodes = response.brokers
        changed = False
        for topic in response.topics:
            if topic.error:
                self.topics.setdefault(topic.topic, ())
                self.update_requested = True
                continue
            names = tuple(partition.partition for partition in topic.partitions)
            if self.topics.get(topic.topic) != names:
                self.topics[topic.topic] = names
                self._led.clear()
                changed = True
            recreated = self._is_another(topic.topic, topic.topic_id) and self.profile.topic_id_resets_epoch
            for partition in topic.partitions:
                self.update_requested = self.update_requested or bool(partition.error)
                _, known_epoch = self.leader_of(partition.partition)
                if recreated or partition.leader_epoch >= known_epoch:
                    changed = self._set_leader(partition.partition, partition.leader, partition.leader_epoch, out) or changed
        self.equivalent = 0 if changed or not self.profile.equivalent_response_backoff else self.equivalent + 1
        self._back_off(now)

    def _is_another(self, topic: str, topic_id: int) -> bool:
        """Remembers the id; True where it was another before."""
        known = dict(self.topic_ids)
        before = known.get(topic)
        if before != topic_id:
            known[topic] = topic_id
            self.topic_ids = tuple(known.items())
        return before not in (None, topic_id)

    def take_hint(self, partition: str, leader: str, leader_epoch: int, out: list[Effect]) -> None:
        """M5: the leader that a NOT_LEADER_OR_FOLLOWER answer names, if it is newer. The answer names its address too, so it need not be a known broker."""
        if leader != NO_LEADER and partition in self.leaders and leader_epoch > self.leaders[partition][1]:
            if leader not in self.nodes:
                self.nodes = (*self.nodes, leader)
            self._set_leader(partition, leader, leader_epoch, out)

    def _set_leader(self, partition: str, leader: str, leader_epoch: int, out: list[Effect]) -> bool:
        """True where the leader epoch rose."""
        known = self.leaders.get(partition)
        if known == (leader, leader_epoch):
            return False
        self.leaders[partition] = (leader, leader_epoch)
        self._led.clear()
        out.append(Note(Learned(self.client, partition, leader, leader_epoch)))
        return known is None or leader_epoch > known[1]
