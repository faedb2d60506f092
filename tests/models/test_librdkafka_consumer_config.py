"""The settings of librdkafka's consumer: its own names, defaults and conflicts, held against CONFIGURATION.md's table and the library itself."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ksim_models import settings
from ksim_models.config import LibrdkafkaConsumerConfig, LibrdkafkaConsumerResolution, Origin, Setting, resolve_librdkafka_consumer
from ksim_models.consumer_keys import CONSUMER_KEYS
from ksim_models.librdkafka_consumer_config import LIBRDKAFKA_CONSUMER
from ksim_models.librdkafka_consumer_keys import CONSUMER_ALIASES, JAVA_CONSUMER_NAMES, LIBRDKAFKA_CONSUMER_KEYS
from ksim_models.settings import Kind

HERE = Origin("test")

CONFIGURATION = (
    # Name, lowest, highest, default: CONFIGURATION.md of librdkafka 2.16.
    ("session.timeout.ms", 1, 3_600_000, 45_000),
    ("heartbeat.interval.ms", 1, 3_600_000, 3_000),
    ("coordinator.query.interval.ms", 1, 3_600_000, 600_000),
    ("max.poll.interval.ms", 1, 86_400_000, 300_000),
    ("auto.commit.interval.ms", 0, 86_400_000, 5_000),
    ("queued.min.messages", 1, 10_000_000, 100_000),
    ("queued.max.messages.kbytes", 1, 2_097_151, 65_536),
    ("fetch.wait.max.ms", 0, 300_000, 500),
    ("fetch.queue.backoff.ms", 0, 300_000, 1_000),
    ("max.partition.fetch.bytes", 1, 1_000_000_000, 1_048_576),
    ("fetch.max.bytes", 0, 2_147_483_135, 52_428_800),
    ("fetch.min.bytes", 1, 100_000_000, 1),  # The narrower range is rd_kafka_conf_finalize's.
    ("fetch.error.backoff.ms", 0, 300_000, 500),
    ("receive.message.max.bytes", 1_000, 2_147_483_647, 100_000_000),
    ("socket.timeout.ms", 10, 300_000, 60_000),
    ("retry.backoff.ms", 1, 300_000, 100),
)
CHOICES = (
    ("isolation.level", "read_committed", ("read_uncommitted", "read_committed")),
    ("auto.offset.reset", "largest", ("smallest", "earliest", "beginning", "largest", "latest", "end", "error")),
    ("enable.auto.commit", True, ()),
    ("enable.auto.offset.store", True, ()),
    ("partition.assignment.strategy", "range,roundrobin", ("range", "roundrobin", "range,roundrobin", "roundrobin,range", "cooperative-sticky")),
)


def resolve(**settings: object) -> LibrdkafkaConsumerResolution:
    written = [Setting(name.replace("_", "."), value, HERE) for name, value in settings.items()]
    return resolve_librdkafka_consumer(written, HERE)


def own(**settings: object) -> LibrdkafkaConsumerConfig:
    found = resolve(group_id="g", **settings)
    assert found.own is not None, found.problems
    return found.own


def problem(**settings: object) -> str:
    (only,) = resolve(**settings).problems
    return only.message


@pytest.mark.parametrize(("name", "low", "high", "default"), CONFIGURATION)
def test_numbers_have_librdkafkas_ranges_and_defaults(name: str, low: int, high: int, default: int) -> None:
    key = LIBRDKAFKA_CONSUMER_KEYS[name]

    assert (key.low, key.high, key.default((2, 16, 0))) == (low, high, default)


@pytest.mark.parametrize(("name", "default", "choices"), CHOICES)
def test_choices_have_librdkafkas_values_and_defaults(name: str, default: object, choices: tuple[str, ...]) -> None:
    key = LIBRDKAFKA_CONSUMER_KEYS[name]

    assert (key.default((2, 16, 0)), key.choices) == (default, choices)


def test_by_default_only_what_is_committed_is_read_and_reading_begins_at_the_end() -> None:
    """Where the Java client reads what is not committed too."""
    made = own()

    assert made == LibrdkafkaConsumerConfig(group_id="g")
    assert made.read_committed
    assert made.reset_to == "latest"
    assert made.assignors == ("range", "roundrobin")


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("smallest", "earliest"), ("Beginning", "earliest"), ("largest", "latest"), ("END", "latest"), ("latest", "latest"), ("error", "none")],
)
def test_a_reset_has_many_names(word: str, meaning: str) -> None:
    assert own(auto_offset_reset=word).reset_to == meaning


def test_fetch_message_max_bytes_is_another_name() -> None:
    assert own(fetch_message_max_bytes="2MiB").max_partition_fetch_bytes == 2 * 1024 * 1024


def test_fetch_max_bytes_keeps_to_the_queue_and_to_one_message() -> None:
    """rd_kafka_conf_finalize: max(min(fetch.max.bytes, queued.max.messages.kbytes), message.max.bytes)."""
    assert own(queued_max_messages_kbytes=2_000).fetch_max_bytes == 2_048_000
    assert own(queued_max_messages_kbytes=1).fetch_max_bytes == 1_000_000


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "group.id must be set"),
        ({"group_id": "g", "session_timeout_ms": 400_000}, "`max.poll.interval.ms`must be >= `session.timeout.ms`"),
        ({"group_id": "g", "fetch_max_bytes": 10}, "`fetch.max.bytes` must be >= `message.max.bytes`"),
        ({"group_id": "g", "receive_message_max_bytes": 1_000}, "`receive.message.max.bytes` must be >= `fetch.max.bytes` + 512"),
        ({"group_id": "g", "reconnect_backoff_ms": 20_000}, "`reconnect.backoff.max.ms` must be >= `reconnect.backoff.ms`"),
        ({"group_id": "g", "partition_assignment_strategy": "rangee"}, "Unsupported partition.assignment.strategy: rangee"),
        ({"group_id": "g", "partition_assignment_strategy": "cooperative-sticky"}, "not yet supported"),
        ({"group_id": "g", "group_protocol": "consumer"}, "not yet supported"),
        ({"group_id": "g", "auto_offset_reset": "none"}, "Did you mean error?"),
        ({"group_id": "g", "fetch_max_wait_ms": 5}, "the Java client's name: librdkafka's is fetch.wait.max.ms"),
        ({"group_id": "g", "fetch_mesage_max_bytes": 5}, "Did you mean fetch.message.max.bytes?"),
        ({"group_id": "g", "enable_auto_offset_stroe": False}, "Did you mean enable.auto.offset.store?"),
        ({"group_id": "g", "allow_auto_create_topic": True}, "Did you mean allow.auto.create.topics?"),
        ({"group_id": "g", "opaque": "f"}, "a function of its own"),
        ({"group_id": "g", "min_insync_replicas": 2}, "topic's or a broker's"),
        ({"group_id": "g", "exclude_internal_topics": True}, "librdkafka has nothing like it"),
    ],
)
def test_what_librdkafka_refuses_is_refused_with_the_nearest_of_its_own_names(settings: dict[str, Any], words: str) -> None:
    assert words in problem(**settings)


@pytest.mark.parametrize("name", ["acks", "linger_ms", "max_poll_records", "auto_commit_enable", "security_protocol", "check_crcs"])
def test_what_plays_no_part_is_said(name: str) -> None:
    found = resolve(group_id="g", **{name: "1"})

    assert found.problems == ()
    assert any("plays no part" in note for note in found.notes)


def test_no_name_is_known_in_two_ways() -> None:
    keys = {*LIBRDKAFKA_CONSUMER_KEYS}

    assert not keys & {*CONSUMER_ALIASES}
    assert not keys & {*JAVA_CONSUMER_NAMES}
    assert {*CONSUMER_ALIASES.values(), *JAVA_CONSUMER_NAMES.values()} <= keys
    assert {*LIBRDKAFKA_CONSUMER.elsewhere} >= {*CONSUMER_KEYS} - keys - {*JAVA_CONSUMER_NAMES} - {"group.remote.assignor"}


def test_the_library_knows_every_name_default_and_end_of_a_range() -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")

    def refusal(**settings: object) -> str:
        try:
            confluent_kafka.Consumer({"group.id": "g", "log_level": 0, "bootstrap.servers": "127.0.0.1:1", **settings}).close()
        except (confluent_kafka.KafkaException, ValueError) as why:
            return str(why)
        return ""

    told = {name: key for name, key in LIBRDKAFKA_CONSUMER_KEYS.items() if key.kind is not Kind.ANYTHING and key.default((2, 16, 0)) is not None}
    assert refusal(**{name: key.default((2, 16, 0)) for name, key in told.items()}) == ""
    for name, key in told.items():
        if key.kind is Kind.INT:
            assert f"outside allowed range {key.low}.." in refusal(**{name: key.low - 1}) or name == "fetch.min.bytes", name
    assert "must be >= `session.timeout.ms`" in refusal(**{"session.timeout.ms": 400_000})
    assert "must be >= `message.max.bytes`" in refusal(**{"fetch.max.bytes": 10})
    assert "Unsupported partition.assignment.strategy: rangee" in refusal(**{"partition.assignment.strategy": "rangee"})


def test_every_field_is_a_setting_of_librdkafkas_and_is_read_by_its_machine() -> None:
    names = {field.name for field in fields(LibrdkafkaConsumerConfig)}
    sources = Path(settings.__file__).parent.glob("librdkafka_*.py")
    read = {node.attr for source in sources for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)}

    assert names <= {key.field for key in LIBRDKAFKA_CONSUMER_KEYS.values()}
    assert names <= read
