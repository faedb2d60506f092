"""Broker and topic settings: who wins, what is refused (section 9, CFG-2), and what a topic takes from its broker."""

from __future__ import annotations

import pytest

from ksim_models.config import BrokerConfig, Origin, Setting, TopicConfig, resolve_broker, resolve_topic, topic_config
from ksim_models.profiles import broker_profile

NEWEST_BROKERS = broker_profile("4.3")


def written(values: dict[str, object]) -> list[Setting]:
    return [Setting(name, value, Origin("scenario.toml", line)) for line, (name, value) in enumerate(values.items(), start=1)]


def test_a_brokers_own_setting_wins_over_the_clusters() -> None:
    cluster = Setting("replica.lag.time.max.ms", "10s", Origin("scenario.toml", 3))
    own = Setting("replica.lag.time.max.ms", 3_000, Origin("scenario.toml", 9))

    resolution = resolve_broker([cluster, own], NEWEST_BROKERS)

    assert resolution.config == BrokerConfig(replica_lag_time_max_ms=3_000)


BROKER_MISTAKES: list[tuple[dict[str, object], str | None, str]] = [
    ({"min.insync.replicas": 0}, None, "out of range"),
    ({"min.insync.replica": 2}, "min.insync.replicas", "Did you mean min.insync.replicas?"),
    ({"unclean.leader.election.enable": "maybe"}, None, "no boolean"),
    ({"max.message.bytes": 5}, None, "a broker's name for it is message.max.bytes"),
    ({"acks": "all"}, None, "[producers.NAME]"),
    ({"retention.ms": 5}, None, "[topics.NAME]"),
    ({"log.retention.hours": -2}, None, "out of range"),
    ({"log.segment.bytes": "10KiB"}, None, "an integer from 1048576"),
    ({"log.cleanup.policy": "compact"}, None, "compaction: not yet supported"),
    ({"replica.lag.time.max.ms": 400}, None, "(CFG-2)"),
    ({"replica.fetch.wait.max.ms": "40s"}, None, "(CFG-2)"),
    ({"replica.socket.timeout.ms": 400}, None, "(CFG-2)"),
    ({"group.consumer.session.timeout.ms": 6_000}, None, "group.consumer.min.session.timeout.ms = 45000 is larger"),
    ({"group.consumer.heartbeat.interval.ms": 20_000}, None, "is larger than group.consumer.max.heartbeat.interval.ms"),
    ({"group.consumer.min.session.timeout.ms": 4_000, "group.consumer.session.timeout.ms": 4_000}, None, "is not less than group.consumer.session.timeout.ms"),
    ({"leader.imbalance.check.interval.seconds": "500ms"}, None, "no whole number of s"),
]


@pytest.mark.parametrize(("values", "nearest", "sentence"), BROKER_MISTAKES)
def test_a_mistake_in_a_brokers_settings_is_told(values: dict[str, object], nearest: str | None, sentence: str) -> None:
    resolution = resolve_broker(written(values), NEWEST_BROKERS)

    assert resolution.config is None
    assert resolution.problems[0].nearest == nearest
    assert sentence in resolution.problems[0].message


def test_a_fetch_wait_as_long_as_the_lag_and_the_socket_timeout_is_legal() -> None:
    """CFG-2: equality is legal."""
    values: dict[str, object] = dict.fromkeys(("replica.fetch.wait.max.ms", "replica.lag.time.max.ms", "replica.socket.timeout.ms"), "2s")

    assert resolve_broker(written(values), NEWEST_BROKERS).problems == ()


def test_a_production_brokers_file_runs_with_notes() -> None:
    values: dict[str, object] = {
        "node.id": "1",
        "process.roles": "broker",
        "listeners": "PLAINTEXT://:9092",
        "log.dirs": "logs",
        "num.io.threads": "8",
        "ssl.keystore.type": "JKS",
        "log.retention.hours": "168",
        "log.segment.bytes": "1073741824",
        "offsets.topic.replication.factor": "3",
        "socket.send.buffer.bytes": "102400",
        "transaction.state.log.min.isr": "2",
        "group.initial.rebalance.delay.ms": "0",
        "min.insync.replicas": "2",
    }

    resolution = resolve_broker(written(values), NEWEST_BROKERS)

    assert resolution.config == BrokerConfig(min_insync_replicas=2, log_dirs="logs", group_initial_rebalance_delay_ms=0)
    assert any("num.io.threads plays no part" in note for note in resolution.notes)


TOPIC_MISTAKES: list[tuple[dict[str, object], str | None, str]] = [
    ({"min.insync.replicas": "two"}, None, "no integer"),
    ({"min.in.sync.replicas": 2}, "min.insync.replicas", "Did you mean"),
    ({"message.max.bytes": 5}, None, "a topic's name for it is max.message.bytes"),
    ({"replication.factor": 3}, None, "write it as replication"),
    ({"linger.ms": 3}, None, "[producers.NAME]"),
    ({"replica.lag.time.max.ms": 3}, None, "[cluster]"),
    ({"cleanup.policy": "compact"}, None, "compaction: not yet supported"),
    ({"retention.ms": -2}, None, "out of range"),
    ({"segment.bytes": "10KiB"}, None, "an integer from 1048576"),
]


@pytest.mark.parametrize(("values", "nearest", "sentence"), TOPIC_MISTAKES)
def test_a_mistake_in_a_topics_settings_is_told(values: dict[str, object], nearest: str | None, sentence: str) -> None:
    resolution = resolve_topic(written(values), NEWEST_BROKERS)

    assert resolution.given == ()
    assert [problem.nearest for problem in resolution.problems] == [nearest]
    assert sentence in resolution.problems[0].message


def test_a_topic_names_only_what_was_set_and_takes_the_rest_from_the_broker() -> None:
    topic = resolve_topic(written({"min.insync.replicas": "2", "unclean.leader.election.enable": True, "compression.type": "uncompressed"}), NEWEST_BROKERS)
    broker = BrokerConfig(min_insync_replicas=3, message_max_bytes=500)

    assert topic.given == (("min.insync.replicas", "2"), ("unclean.leader.election.enable", "true"), ("compression.type", "uncompressed"))
    assert topic_config(topic.given, broker) == TopicConfig(
        min_insync_replicas=2, unclean_leader_election_enable=True, max_message_bytes=500, compression_type="uncompressed"
    )
    assert topic_config((), broker) == TopicConfig(min_insync_replicas=3, max_message_bytes=500)


@pytest.mark.parametrize(("codec", "noted"), [("producer", False), ("uncompressed", False), ("zstd", True)])
def test_a_codec_of_the_brokers_own_is_taken_with_a_note(codec: str, noted: bool) -> None:
    """What comes uncompressed keeps its size here."""
    topic = resolve_topic(written({"compression.type": codec}), NEWEST_BROKERS)
    brokers = resolve_broker(written({"compression.type": codec}), NEWEST_BROKERS)

    assert brokers.config is not None
    assert topic_config((), brokers.config).compression_type == topic_config(topic.given, BrokerConfig()).compression_type == codec
    assert [any("keeps its size here" in note for note in found.notes) for found in (topic, brokers)] == [noted, noted]


def test_what_kraft_ignores_is_noted() -> None:
    """KC-46: the share of misplaced leaders counted with ZooKeeper only. 4.0 does not know it any more."""
    resolution = resolve_broker(written({"leader.imbalance.per.broker.percentage": 5}), broker_profile("3.9"))

    assert resolution.config is not None
    assert any("KC-46" in note for note in resolution.notes)


@pytest.mark.parametrize(
    ("broker", "retention_ms"),
    [
        ({}, 604_800_000),
        ({"log.retention.hours": 1}, 3_600_000),
        ({"log.retention.hours": 1, "log.retention.minutes": 1}, 60_000),
        ({"log.retention.minutes": 1, "log.retention.ms": 5}, 5),
        ({"log.retention.hours": -1}, -1),
        ({"log.retention.ms": -1, "log.retention.hours": 1}, -1),
    ],
)
def test_the_finest_unit_of_a_brokers_retention_wins(broker: dict[str, object], retention_ms: int) -> None:
    config = resolve_broker(written(broker), NEWEST_BROKERS).config

    assert config is not None
    assert topic_config((), config).retention_ms == retention_ms
    assert topic_config((("retention.ms", "7"),), config).retention_ms == 7


def test_a_flush_interval_without_somebody_who_looks_is_noted() -> None:
    """LR-1: log.flush.scheduler.interval.ms is never, by default."""
    alone = resolve_broker(written({"log.flush.interval.ms": 1000}), NEWEST_BROKERS)
    looked_at = resolve_broker(written({"log.flush.interval.ms": 1000, "log.flush.scheduler.interval.ms": 1000}), NEWEST_BROKERS)

    assert any("or nothing is flushed" in note for note in alone.notes)
    assert looked_at.notes == ()


@pytest.mark.parametrize(("kafka", "possible"), [("3.9", True), ("4.0", True), ("4.1", False)])
def test_small_segments_are_refused_to_topics_from_4_1_on(kafka: str, possible: bool) -> None:
    """Section 9: a mebibyte at least; what tests need is internal.segment.bytes."""
    assert (resolve_topic(written({"segment.bytes": 1000}), broker_profile(kafka)).problems == ()) == possible
    assert topic_config((("internal.segment.bytes", "1000"), ("segment.bytes", "2000000")), BrokerConfig()).segment_bytes == 1000
