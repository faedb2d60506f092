"""What a producer is configured with, once every default is filled in and every conflict is settled.

Kafka: ProducerConfig and KafkaProducer's constructor (section 1 of the client's rule book).
"""

from __future__ import annotations

from dataclasses import dataclass

INT_MAX = 2_147_483_647
ACKS_ALL = -1


@dataclass(frozen=True, slots=True)
class ProducerConfig:
    """The settings that play a part, by Kafka's names, in Kafka's units; the defaults are those of 4.3."""

    acks: int = ACKS_ALL
    """0, 1, or -1 for all."""
    enable_idempotence: bool = True
    """As resolved (section 1.3), not as written."""
    retries: int = INT_MAX
    """How often a batch may be sent again. Failed connections do not count."""
    delivery_timeout_ms: int = 120_000
    """From the creation of the batch to acked or failed, at most. At least linger_ms + request_timeout_ms (C3)."""
    request_timeout_ms: int = 30_000
    """The client's wait for a response, and the broker's wait for the ISR with acks=all."""
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

    @property
    def guarantees_message_order(self) -> bool:
        """C13: one request in flight, so a partition is muted while its batch is on the way."""
        return self.max_in_flight_requests_per_connection == 1
