"""What a client knows of the cluster, and when it asks again.

Kafka: Metadata, ProducerMetadata, NetworkClient.DefaultMetadataUpdater; KIP-580, KIP-899, KIP-951, KIP-1102.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ksim_models.backoff import exponential_backoff
from ksim_models.client_network import BOOTSTRAP, ClientNetwork, Lost
from ksim_models.errors import ErrorCode
from ksim_models.facts import Learned
from ksim_models.machine import Dice, Effect, Note
from ksim_models.messages import NO_LEADER, MetadataRequest, MetadataResponse, TopicMetadata
from ksim_models.profiles import ClientProfile
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, Micros, ms

UNKNOWN = (NO_LEADER, -1)


class MetadataSettings(Protocol):
    """Of a producer or a consumer."""

    @property
    def retry_backoff_ms(self) -> int: ...
    @property
    def retry_backoff_max_ms(self) -> int: ...
    @property
    def metadata_max_age_ms(self) -> int: ...
    @property
    def metadata_max_idle_ms(self) -> int: ...
    @property
    def metadata_recovery_strategy(self) -> str: ...
    @property
    def metadata_recovery_rebootstrap_trigger_ms(self) -> int: ...


class ClientMetadata:
    def __init__(self, client: str, bootstrap: Sequence[str], config: MetadataSettings, profile: ClientProfile, dice: Dice) -> None:
        self.client = client
        self.profile = profile
        self.dice = dice
        self.backoff_ms = config.retry_backoff_ms, config.retry_backoff_max_ms if profile.exponential_backoff else config.retry_backoff_ms
        self.max_age = ms(config.metadata_max_age_ms)
        self.max_idle = ms(config.metadata_max_idle_ms)
        self.rebootstraps = profile.rebootstraps and config.metadata_recovery_strategy == "rebootstrap"
        self.trigger: Micros = ms(config.metadata_recovery_rebootstrap_trigger_ms) if self.rebootstraps and profile.rebootstraps_after_trigger else NEVER
        self.bootstrap = tuple(BOOTSTRAP + broker for broker in bootstrap)
        self.nodes: tuple[str, ...] = self.bootstrap
        self.topics: dict[str, tuple[str, ...]] = {}
        """Topic -> its partitions in the order of their numbers; empty while the brokers do not know it."""
        self.errors: dict[str, ErrorCode] = {}
        """Topic -> why the last answer did not describe it."""
        self.leaders: dict[str, tuple[str, int]] = {}
        """Partition -> (leader, leader epoch), as the last answer about it said."""
        self.epochs: dict[str, int] = {}
        """Partition -> the highest leader epoch seen; remembered while its topic is not described (M4)."""
        self.topic_ids: tuple[tuple[str, int], ...] = ()
        """Of the topics that are described."""
        self.wanted: dict[str, Micros] = {}
        """Topic -> when it was last asked for."""
        self.last_use: Callable[[str, Micros], Micros] = lambda topic, now: now
        """When the application last sent to a topic."""
        self.new_topics: dict[str, None] = {}
        """Never answered yet: asked for at once (M2), and alone where nothing else is due (M3)."""
        self.update_requested = False
        self.asking = False
        self.asking_for_new_only = False
        self.retry_at: Micros = LONG_AGO
        """When the backoff after the last answer or failure ends (M2)."""
        self.refreshed_at: Micros = LONG_AGO
        """When it began."""
        self.looks = 0
        """How often its length was drawn."""
        self.succeeded_at: Micros = LONG_AGO
        self.tried_since: Micros = NEVER
        """Since when metadata has been due without an answer (M6)."""
        self.failures = 0
        self.equivalent = 0
        """Answers in a row that brought no change (M2, 3.7)."""
        self.refreshes = 0
        self.due_at: Micros = LONG_AGO
        """When the next Metadata request should go out; NEVER while one is under way."""
        self.learnt = 0
        """How often leaders, or the partitions of a topic, became known or changed."""
        self._led: dict[str, list[str]] = {}

    # What is asked for.

    def add(self, topic: str, now: Micros) -> None:
        """A topic is in use (ProducerMetadata.add): asked for at once if it is new, whatever was refreshed a moment ago."""
        if topic not in self.wanted:
            self.new_topics[topic] = None
            self.equivalent = 0
            self.retry_at = self.refreshed_at = LONG_AGO
            self._schedule()
        self.wanted[topic] = now

    def want(self, topic: str, now: Micros) -> None:
        """A send() waits for this topic (A3)."""
        self.add(topic, now)
        if topic not in self.new_topics:
            self.request_update()

    def request_update(self) -> None:
        if not self.update_requested:
            self.update_requested = True
            self._schedule()

    def leader_of(self, partition: str) -> tuple[str, int]:
        return self.leaders.get(partition, UNKNOWN)

    def partitions_led_by(self, node: str) -> list[str]:
        """In the order of topics and partitions; remembered until a leader changes."""
        known = self._led.get(node)
        if known is None:
            known = self._led[node] = [partition for topic in self.topics.values() for partition in topic if self.leader_of(partition)[0] == node]
        return known

    def _schedule(self) -> None:
        """M1, M2. Asked after each event, so it is kept and not computed."""
        if self.asking:
            self.due_at = NEVER
        elif self.update_requested or self.new_topics:
            self.due_at = self.retry_at
        else:
            self.due_at = max(self.retry_at, self.succeeded_at + self.max_age)

    def ask_if_due(self, network: ClientNetwork, on_lost: Callable[[Lost, Micros, list[Effect]], None], now: Micros, out: list[Effect]) -> None:
        """Metadata that is due is asked for before anything else is sent (N2); where no broker is left to ask, the bootstrap servers are (M6 i)."""
        if self.tried_since < NEVER and self.rebootstrap_at <= now:
            for lost in network.close_all(self.nodes, now, out):
                on_lost(lost, now, out)
            self.rebootstrap(now)
        if self.due_at > now:
            return
        if self.tried_since == NEVER:
            self.tried_since = now
        node = network.least_loaded(self.nodes, now)
        if node is None and self.rebootstraps and not network.any_ready(self.nodes, now):
            self.rebootstrap(now)
            node = network.least_loaded(self.nodes, now)
        if node is not None and network.ready(node, now, out):
            network.send(node, MetadataRequest(self.asked(now)), (), now, out)

    def asked(self, now: Micros) -> tuple[str, ...]:
        """The topics to ask for (M3). The brokers may create what is not there (allowAutoTopicCreation, auto.create.topics.enable)."""
        self.asking = True
        self._schedule()
        self.asking_for_new_only = not self.update_requested and now < self.succeeded_at + self.max_age
        if self.asking_for_new_only:
            return tuple(self.new_topics)
        if not self.update_requested:
            self.equivalent = 0  # The periodic refresh.
        self.update_requested = False
        return tuple(self.wanted)

    def failed(self, now: Micros) -> None:
        """N6: a request that was lost, or was due and could not be sent."""
        if not self.asking_for_new_only:
            self.update_requested = True
        self.asking = False
        self.failures += 1
        self.equivalent = 0
        self._back_off(now)

    def is_due_still(self, now: Micros) -> bool:
        """Whether a connection lost now counts as a failed update (N6).

        Java looks anew, and draws the length of the backoff anew (Metadata.timeToAllowUpdate): what was due a moment ago need not be. Then nothing has failed,
        and the next broker is asked as soon as a look finds it due, and so on, until none is left that could be (M6 i).
        """
        wanted = self.due_at == self.retry_at or self.succeeded_at + self.max_age <= now
        if not self.profile.exponential_backoff or self.asking or not wanted:
            return self.due_at <= now
        if self.refreshed_at + self._length() <= now:
            return True
        self.retry_at = self.refreshed_at + self._length()
        self._schedule()
        return False

    def _back_off(self, now: Micros) -> None:
        """Simplified: drawn anew only when a connection is lost; Java draws at each look, and for failures and equal answers apart."""
        self.refreshes += 1
        self.looks = 0
        self.refreshed_at = now
        self.retry_at = now + self._length()
        self._schedule()

    def _length(self) -> Micros:
        draw = self.dice.at("refresh", self.client, self.refreshes, *([self.looks] if self.looks else []))
        self.looks += 1
        return ms(exponential_backoff(*self.backoff_ms, max(self.failures - 1, self.equivalent - 1, 0), draw))

    # What is learnt.

    def learn(self, response: MetadataResponse, now: Micros, out: list[Effect]) -> None:
        """Take it in. Errors about a topic or a partition ask for another refresh where the metadata may be old (M1); no brokers: a failed update (M3)."""
        if response.error is ErrorCode.REBOOTSTRAP_REQUIRED and self.trigger < NEVER:
            self.asking = False
            self._schedule()
            self.tried_since = LONG_AGO  # M6 (iii): the trigger is taken for past.
            return
        if not response.brokers:
            self.failed(now)
            return
        self.asking = False
        self.failures = 0
        self.tried_since = NEVER
        self.nodes = response.brokers
        self.equivalent += 1
        if not self.asking_for_new_only:
            self.update_requested = False  # What was requested while this one was under way is answered by it (Metadata.update).
            self.succeeded_at = now
            self._forget({topic.topic for topic in response.topics}, now)
        for topic in response.topics:
            self.new_topics.pop(topic.topic, None)
            if topic.topic in self.wanted:
                self._learn_topic(topic, out)
        if not self.profile.equivalent_response_backoff:
            self.equivalent = 0
        self._back_off(now)

    def _forget(self, described: set[str], now: Micros) -> None:
        """A full answer replaces all that was known. A topic not sent to for metadata.max.idle.ms is asked for no more (M1)."""
        for topic in list(self.wanted):
            if topic not in self.new_topics and max(self.wanted[topic], self.last_use(topic, now)) + self.max_idle <= now:
                del self.wanted[topic]
        for topic in list(self.topics):
            if topic not in self.wanted:
                for partition in self._drop(topic):
                    del self.epochs[partition]
            elif topic not in described:
                self._drop(topic)

    def _drop(self, topic: str) -> tuple[str, ...]:
        partitions = self.topics.pop(topic, ())
        for partition in partitions:
            del self.leaders[partition]
        self.topic_ids = tuple(known for known in self.topic_ids if known[0] != topic)
        self._changed()
        return partitions

    def _learn_topic(self, topic: TopicMetadata, out: list[Effect]) -> None:
        """With an error nothing is known of the topic any more: its leaders are dropped (MetadataSnapshot holds only what the answer described)."""
        if topic.error:
            self.update_requested = self.update_requested or topic.error.invalid_metadata
            self.errors[topic.topic] = topic.error
            self._drop(topic.topic)
            self.topics[topic.topic] = ()
            return
        self.errors.pop(topic.topic, None)
        cached = self.topics.get(topic.topic, ())
        is_new = not cached
        is_another = self._is_another(topic)
        forgives = self.profile.unknown_topic_id_resets_epoch if is_new else is_another and self.profile.topic_id_resets_epoch
        taken = [  # M4. A topic not known any more has no id to compare.
            partition for partition in topic.partitions if forgives or partition.leader_epoch >= self.epochs.get(partition.partition, -1)
        ]
        known = {*cached, *(partition.partition for partition in taken)}
        names = tuple(partition.partition for partition in topic.partitions if partition.partition in known)
        if cached != names:  # Of what is older, that which was known before is kept: nothing, where the topic was not described meanwhile.
            self.topics[topic.topic] = names
            self._changed()
        for partition in topic.partitions:
            self.update_requested = self.update_requested or partition.error.invalid_metadata
        for partition in taken:
            if is_new or partition.leader_epoch > self.epochs.get(partition.partition, -1):
                self.equivalent = 0  # What brings a higher leader epoch, or an unknown topic, is no equal answer (M2).
            self._set_leader(partition.partition, partition.leader, partition.leader_epoch, out)

    def _is_another(self, topic: TopicMetadata) -> bool:
        """Remembers the id; True where it was another before."""
        known = dict(self.topic_ids)
        before = known.get(topic.topic)
        if before != topic.topic_id:
            known[topic.topic] = topic.topic_id
            self.topic_ids = tuple(known.items())
        return before not in (None, topic.topic_id)

    def _changed(self) -> None:
        self._led.clear()
        self.learnt += 1

    def take_hint(self, partition: str, leader: str, leader_epoch: int, out: list[Effect]) -> None:
        """M5: the leader that a NOT_LEADER_OR_FOLLOWER answer names, if it is newer. The answer names its address too, so it need not be a known broker.

        From 3.7 on (KIP-951), of a fetch as of a produce.
        """
        if not self.profile.leader_hint_in_produce:
            return
        if leader != NO_LEADER and partition in self.leaders and leader_epoch > self.epochs[partition]:
            if leader not in self.nodes:
                self.nodes = (*self.nodes, leader)
            self._set_leader(partition, leader, leader_epoch, out)

    def _set_leader(self, partition: str, leader: str, leader_epoch: int, out: list[Effect]) -> None:
        self.epochs[partition] = leader_epoch
        known = self.leaders.get(partition)
        if known != (leader, leader_epoch):
            self.leaders[partition] = (leader, leader_epoch)
            self._changed()
            out.append(Note(Learned(self.client, partition, leader, leader_epoch)))

    # Beginning again.

    @property
    def rebootstrap_at(self) -> Micros:
        """M6 (ii): strictly later than metadata.recovery.rebootstrap.trigger.ms after the first attempt without an answer."""
        return self.tried_since + self.trigger + MILLISECOND if self.tried_since < NEVER and self.trigger < NEVER else NEVER

    def rebootstrap(self, now: Micros) -> None:
        """M6: nothing is known any more but the bootstrap servers. Without it the last brokers that were learnt are tried for ever (M7)."""
        self.nodes = self.bootstrap
        for topic in list(self.topics):
            self._drop(topic)
        self.update_requested = True
        self._schedule()
        self.tried_since = now
