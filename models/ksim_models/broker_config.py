"""What a broker and a topic are configured with, once every default is filled in.

Kafka: KafkaConfig, ReplicationConfigs, KRaftConfigs, TopicConfig (section 9 of the broker's rule book).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """The settings that play a part in what becomes of a record, by Kafka's names, in Kafka's units; the defaults are those of 4.3."""

    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False
    message_max_bytes: int = 1_048_588
    auto_create_topics_enable: bool = True
    num_partitions: int = 1
    default_replication_factor: int = 1
    replica_lag_time_max_ms: int = 30_000
    """A follower that has not caught up for this long leaves the ISR (RP-50)."""
    replica_fetch_wait_max_ms: int = 500
    replica_fetch_min_bytes: int = 1
    replica_fetch_backoff_ms: int = 1_000
    replica_fetch_max_bytes: int = 1_048_576
    replica_fetch_response_max_bytes: int = 10_485_760
    replica_socket_timeout_ms: int = 30_000
    replica_high_watermark_checkpoint_interval_ms: int = 5_000
    num_replica_fetchers: int = 1
    broker_heartbeat_interval_ms: int = 2_000
    broker_session_timeout_ms: int = 9_000
    """The controller fences a broker it has not heard of for this long (KC-2)."""
    controller_quorum_append_linger_ms: int = 25
    controller_quorum_election_timeout_ms: int = 1_000
    controller_quorum_fetch_timeout_ms: int = 2_000
    controller_quorum_election_backoff_max_ms: int = 1_000
    metadata_max_idle_interval_ms: int = 500
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_seconds: int = 300
    unclean_leader_election_interval_ms: int = 300_000
    controlled_shutdown_enable: bool = True
    producer_id_expiration_ms: int = 86_400_000
    producer_id_expiration_check_interval_ms: int = 600_000
    request_timeout_ms: int = 30_000
    connections_max_idle_ms: int = 600_000
    """-1: never closed for idleness."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic's own settings; what was not set there is the broker's."""

    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False
    max_message_bytes: int = 1_048_588
