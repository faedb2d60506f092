"""What a producer is configured with, once every default is filled in and every conflict is settled or refused.

Kafka: ProducerConfig.postProcessParsedConfig and KafkaProducer's constructor (sections 1.1 to 1.3 of the client's rule book), in their order (C1):
backoffs, idempotence and transactions while the settings are parsed (ConfigException); the delivery time-out when the producer is made (KafkaException, whose
cause is the ConfigException). Not checked, by neither: transaction.timeout.ms against the other time-outs (C6), max.request.size and buffer.memory against
batch.size (C7, C8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.idempotence_setting import check_in_flight_at_construction, settle_idempotence
from ksim_models.partitioner_names import KNOWN, REMOVED_IN_4_0
from ksim_models.producer_keys import CONSUMER_FAMILIES, LIBRDKAFKA_NAMES, PRODUCER_FAMILIES, PRODUCER_KEYS, WITHOUT_TRANSACTIONS
from ksim_models.profiles import ClientProfile
from ksim_models.quantities import show_given
from ksim_models.settings import INT_MAX, Catalogue, Effective, Problem, Reading, Setting, nearest_of, read_settings

ACKS_ALL = -1


@dataclass(frozen=True, slots=True)
class ProducerConfig:
    """The settings that play a part, by Kafka's names, in Kafka's units; the defaults are those of 4.3."""

    acks: int = ACKS_ALL
    """0, 1, or -1 for all."""
    enable_idempotence: bool = True
    """As resolved (section 1.3), not as written. False: there is no transaction manager at all (C11)."""
    retries: int = INT_MAX
    """How often a batch may be sent again. Failed connections do not count."""
    delivery_timeout_ms: int = 120_000
    """From the creation of the batch to acked or failed, at most. At least linger_ms + request_timeout_ms (C3)."""
    request_timeout_ms: int = 30_000
    """The client's wait for a response, and the broker's wait for the ISR with acks=all."""
    compression_type: str = "none"
    partitioner_class: str | None = None
    """Its full name; None: the built-in choice (3.3 and later)."""
    partitioner_ignore_keys: bool = False
    partitioner_adaptive_partitioning_enable: bool = True
    partitioner_availability_timeout_ms: int = 0
    """0: no broker is left out for being slow (A46b)."""
    linger_ms: int = 5
    batch_size: int = 16_384
    buffer_memory: int = 33_554_432
    max_block_ms: int = 60_000
    max_request_size: int = 1_048_576
    max_in_flight_requests_per_connection: int = 5
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000
    """Equal to retry_backoff_ms for clients before 3.7, which do not know the setting: their backoff is constant."""
    reconnect_backoff_ms: int = 50
    reconnect_backoff_max_ms: int = 1_000
    socket_connection_setup_timeout_ms: int = 10_000
    socket_connection_setup_timeout_max_ms: int = 30_000
    connections_max_idle_ms: int = 540_000
    """-1: never closed for idleness."""
    metadata_max_age_ms: int = 300_000
    metadata_max_idle_ms: int = 300_000
    metadata_recovery_strategy: str = "rebootstrap"
    """"none" or "rebootstrap" (M6)."""
    metadata_recovery_rebootstrap_trigger_ms: int = 300_000
    transactional_id: str = ""
    """Empty: the producer is not transactional."""
    transaction_timeout_ms: int = 60_000
    """After so long its coordinator aborts a transaction by itself."""

    @property
    def guarantees_message_order(self) -> bool:
        """C13: one request in flight, so a partition is muted while its batch is on the way."""
        return self.max_in_flight_requests_per_connection == 1


@dataclass(frozen=True, slots=True)
class ProducerResolution:
    """A configuration without gaps, or None and every problem there is."""

    config: ProducerConfig | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    effective: tuple[Effective, ...]


def resolve_producer(settings: Sequence[Setting], profile: ClientProfile) -> ProducerResolution:
    """Settle a producer's settings, weakest first, as this client would when it is constructed. Never raises. The first problem is the one Kafka stops at."""
    reading = read_settings(settings, PRODUCER, profile.release, profile.version)
    _check_retry_backoff(reading, profile)
    _check_reconnect_backoff(reading, profile)
    _check_partitioner(reading, profile)
    settle_idempotence(profile.idempotence_rule, reading)
    _check_two_phase_commit(reading)
    _check_delivery_timeout(reading)
    check_in_flight_at_construction(profile.idempotence_rule, reading)
    if reading.can_compare("buffer.memory", "batch.size") and reading.number("buffer.memory") < reading.number("batch.size"):
        reading.notes.append("buffer.memory is smaller than batch.size: the client starts, but every send() throws IllegalArgumentException (C8).")
    if "transaction.timeout.ms" in reading.written and "transactional.id" not in reading.written:
        reading.notes.append(f"transaction.timeout.ms plays no part: {WITHOUT_TRANSACTIONS}.")
    problems, notes = tuple(reading.problems), tuple(reading.notes)
    return ProducerResolution(None if problems else _config(reading), problems, notes, reading.effective())


def _config(reading: Reading) -> ProducerConfig:
    fields: dict[str, Any] = {key.field: reading.value(key.name) for key in PRODUCER_KEYS.values() if key.field in ProducerConfig.__slots__}
    fields["transactional_id"] = fields["transactional_id"] or ""
    fields["acks"] = ACKS_ALL if fields["acks"] == "all" else int(fields["acks"])
    return ProducerConfig(**fields)


def _check_delivery_timeout(reading: Reading) -> None:
    """C3: the time for one sending, its wait in the batch included, must fit (KIP-91)."""
    given = reading.number("delivery.timeout.ms")
    need = min(min(reading.number("linger.ms"), INT_MAX) + reading.number("request.timeout.ms"), INT_MAX)
    if given >= need or not reading.can_compare("delivery.timeout.ms", "linger.ms", "request.timeout.ms"):
        return
    if "delivery.timeout.ms" in reading.written:
        reading.refuse(
            "delivery.timeout.ms",
            f"at least {need}, or a smaller linger.ms or request.timeout.ms",
            f"delivery.timeout.ms = {given} is less than linger.ms + request.timeout.ms = {need}, so not even one sending would fit (C3, KIP-91)."
            " Kafka refuses it: Failed to construct kafka producer:"
            " delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms."
            f" Choose at least {need}.",
        )
    else:
        reading.force("delivery.timeout.ms", need, "linger.ms + request.timeout.ms", "C3, KIP-91")
        reading.notes.append(
            f"delivery.timeout.ms, not set, is raised from {given} to linger.ms + request.timeout.ms = {need}, as the Java client does (C3, KIP-91)."
        )


def _check_two_phase_commit(reading: Reading) -> None:
    """C12: since 4.1, with a transactional.id or without."""
    flag, patience = "transaction.two.phase.commit.enable", "transaction.timeout.ms"
    if reading.written.get(flag) is True and patience in reading.written:
        reading.refuse(
            patience,
            f"leave out {patience}, or {flag} = false",
            f"{patience} does not go with {flag} = true: nobody but its coordinator ends such a transaction (C12, KIP-939)."
            f" Kafka refuses it: Cannot set {patience} when {flag} is set to true. Transactions will not expire with two-phase commit enabled."
            f" Leave out {patience}, or choose {flag} = false.",
        )


def _check_retry_backoff(reading: Reading, profile: ClientProfile) -> None:
    base, most = reading.number("retry.backoff.ms"), reading.number("retry.backoff.max.ms")
    if not profile.exponential_backoff:
        reading.force("retry.backoff.max.ms", base, f"the client of {profile.version}", "A28, KIP-580: constant before 3.7")
    elif base > most and reading.can_compare("retry.backoff.ms", "retry.backoff.max.ms"):
        reading.notes.append(
            f"retry.backoff.ms = {base} is larger than retry.backoff.max.ms = {most}: every retry waits {most} ms, without jitter (C4, KIP-580)."
        )


def _check_reconnect_backoff(reading: Reading, profile: ClientProfile) -> None:
    base, written = reading.number("reconnect.backoff.ms"), reading.written
    if "reconnect.backoff.ms" in written and "reconnect.backoff.max.ms" not in written:
        reading.force("reconnect.backoff.max.ms", base, "reconnect.backoff.ms", "C5")
        reading.notes.append(f"reconnect.backoff.max.ms, not set, becomes reconnect.backoff.ms = {base}: every reconnect waits the same, without jitter (C5).")
    elif base > reading.number("reconnect.backoff.max.ms") and reading.can_compare("reconnect.backoff.ms", "reconnect.backoff.max.ms"):
        lasts = reading.number("reconnect.backoff.max.ms") if profile.backoff_is_capped else base
        reading.notes.append(f"reconnect.backoff.ms = {base} is larger than its .max.ms: every reconnect waits {lasts} ms, without jitter (C5, KIP-580).")
    first, most = reading.number("socket.connection.setup.timeout.ms"), reading.number("socket.connection.setup.timeout.max.ms")
    if first > most:
        reading.notes.append(
            f"socket.connection.setup.timeout.ms = {first} is larger than its .max.ms = {most}:"
            f" every connection attempt lasts {most if profile.backoff_is_capped else first} ms at most (C5, KIP-580)."
        )


NOT_OF_ANY_CLIENT = {
    "replication.factor": "it is a topic's; write it as replication under [topics.NAME]",
    "partitions": "it is a topic's; write it as partitions under [topics.NAME]",
    "block.on.buffer.full": "it went with Kafka 0.11 (KIP-19); max.block.ms says how long send() may wait for memory",
    "metadata.fetch.timeout.ms": "it went with Kafka 0.11 (KIP-19); max.block.ms says how long send() may wait for metadata",
    "timeout.ms": "it went with Kafka 0.11 (KIP-19); request.timeout.ms is the broker's patience too",
    "producer.type": "it was the Scala producer's, which went with Kafka 2.0; linger.ms = 0 sends at once",
    "serializer.class": "it was the Scala producer's, which went with Kafka 2.0; leave it out, records have sizes here",
    "queue.enqueue.timeout.ms": "it was the Scala producer's, which went with Kafka 2.0; max.block.ms says how long send() may wait",
}
"""What people write for a topic, and settings of producers long gone, which old files and old answers on the web still have."""


def _check_partitioner(reading: Reading, profile: ClientProfile) -> None:
    """Kafka's own classes only: what another one would choose is not known here."""
    name = "partitioner.class"
    given = reading.written.get(name)
    if given is None:
        return
    gone = given in REMOVED_IN_4_0 and profile.release >= (4, 0, 0)
    if given in KNOWN and not gone:
        if profile.release >= (3, 3, 0):
            ignored = [key for key in reading.written if key.startswith("partitioner.") and key != name]
            if ignored:
                reading.notes.append(f"{', '.join(ignored)}: with {name} the class alone decides, so this is ignored (KIP-794).")
        return
    known = [cls for cls in KNOWN if profile.release < (4, 0, 0) or cls not in REMOVED_IN_4_0]
    nearest = None if gone else next((cls for cls in known if cls.rpartition(".")[2] == given), nearest_of(str(given), known))
    if gone:
        why = f"the client of {profile.version} has it no longer: it was removed in 4.0 (KIP-794)"
    else:
        why = "no class of Kafka's own has this name, and what another class would choose is not known here"
    possible = f"leave it out, or {', '.join(known)}; records may also name their partition themselves (partition in [[workload]])"
    hint = f" Did you mean {nearest}?" if nearest else ""
    reading.refuse(name, possible, f"{name} = {show_given(given)} is not possible: {why}. Possible: {possible}.{hint}", nearest)


def settings_of_others(known: Collection[str]) -> Mapping[str, str]:
    """Topic and broker settings in a producer's place: Java would ignore them, and their author would think them in force."""
    named = dict.fromkeys(BROKER_KEYS, "it is a broker's; write it under [cluster] config")
    named.update(dict.fromkeys(TOPIC_KEYS, "it is a topic's or a broker's; write it under [topics.NAME] config"))
    return {name: advice for name, advice in named.items() if name not in known}


PRODUCER = Catalogue(
    whose="producer",
    keys=PRODUCER_KEYS,
    no_part_prefixes=PRODUCER_FAMILIES + CONSUMER_FAMILIES,
    elsewhere={**settings_of_others({*PRODUCER_KEYS, *LIBRDKAFKA_NAMES}), **NOT_OF_ANY_CLIENT},
    other_names=LIBRDKAFKA_NAMES,
    unknown="The Java client would log that it does not know it, and run without it.",
    foreign="a name that no Kafka client knows is left to the rest of the program",
)
