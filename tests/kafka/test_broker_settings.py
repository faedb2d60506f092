"""Section 9 of the broker's rule book (CFG-1, CFG-2), read again in KafkaConfig and LogConfig of 3.9 and 4.3: names, defaults, smallest values."""

from __future__ import annotations

import pytest

from ksim_models.broker_config import resolve_broker
from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.profiles import broker_profile
from ksim_models.settings import INT_MAX, LONG_MAX, Origin, Setting

OLD, NEW = (3, 9, 2), (4, 3, 0)
UNLIMITED = LONG_MAX

BROKER = """
min.insync.replicas                                   1            1
default.replication.factor                            1            1
replica.lag.time.max.ms                               30000        0
replica.fetch.wait.max.ms                             500          0
replica.fetch.min.bytes                               1            0
replica.fetch.backoff.ms                              1000         0
replica.fetch.max.bytes                               1048576      0
replica.fetch.response.max.bytes                      10485760     0
replica.socket.timeout.ms                             30000        0
num.replica.fetchers                                  1            1
replica.high.watermark.checkpoint.interval.ms         5000         0
log.flush.interval.messages                           UNLIMITED    1
log.flush.interval.ms                                 null         0
log.flush.offset.checkpoint.interval.ms               60000        0
log.flush.start.offset.checkpoint.interval.ms         60000        0
log.segment.bytes                                     1073741824   14:1048576
log.roll.hours                                        168          1
log.retention.hours                                   168          -1
log.retention.bytes                                   -1           -1
message.max.bytes                                     1048588      0
log.message.timestamp.after.max.ms                    UNLIMITED:3600000  0
log.message.timestamp.before.max.ms                   UNLIMITED    0
producer.id.expiration.ms                             86400000     1
producer.id.expiration.check.interval.ms              600000       1
request.timeout.ms                                    30000        0
num.io.threads                                        8            1
num.network.threads                                   3            1
queued.max.requests                                   500          1
background.threads                                    10           1
connections.max.idle.ms                               600000       -9223372036854775808
socket.request.max.bytes                              104857600    1
broker.heartbeat.interval.ms                          2000         1
broker.session.timeout.ms                             9000         1
num.recovery.threads.per.data.dir                     1:2          1
initial.broker.registration.timeout.ms                60000        0
controller.quorum.election.timeout.ms                 1000         0
controller.quorum.fetch.timeout.ms                    2000         0
controller.quorum.election.backoff.max.ms             1000         0
controller.quorum.append.linger.ms                    25           0
metadata.max.idle.interval.ms                         500          0
leader.imbalance.check.interval.seconds               300          1
unclean.leader.election.interval.ms                   300000       1
log.dir.failure.timeout.ms                            30000        1
max.incremental.fetch.session.cache.slots             1000         0
fetch.max.bytes                                       57671680     1024
"""
"""Default, smallest; "3.9's:4.3's" where they differ."""
SWITCHES = {
    "unclean.leader.election.enable": False,
    "controlled.shutdown.enable": True,
    "auto.leader.rebalance.enable": True,
    "auto.create.topics.enable": True,
}
ZOOKEEPER_AGE = {"controlled.shutdown.max.retries": 3, "controlled.shutdown.retry.backoff.ms": 5000, "leader.imbalance.per.broker.percentage": 10}
TOPIC = """
min.insync.replicas                                   1            1
max.message.bytes                                     1048588      0
segment.bytes                                         1073741824   14:1048576
segment.ms                                            604800000    1
retention.ms                                          604800000    -1
retention.bytes                                       -1           -1
flush.messages                                        UNLIMITED    1
flush.ms                                              UNLIMITED    0
message.timestamp.after.max.ms                        UNLIMITED:3600000  0
"""
CASES = [(keys, *line.split()) for keys, table in ((BROKER_KEYS, BROKER), (TOPIC_KEYS, TOPIC)) for line in table.strip().splitlines()]


def values(text: str) -> list[int | None]:
    old, _, new = text.partition(":")
    return [None if value == "null" else UNLIMITED if value == "UNLIMITED" else int(value) for value in (old, new or old)]


@pytest.mark.parametrize(("keys", "name", "default", "low"), CASES, ids=[f"CFG-1 {case[1]}" for case in CASES])
def test_a_setting_has_kafkas_default_and_range(keys: dict[str, object], name: str, default: str, low: str) -> None:
    key = (BROKER_KEYS if keys is BROKER_KEYS else TOPIC_KEYS)[name]

    assert [key.default(release) for release in (OLD, NEW)] == values(default)
    assert [key.at(release).low for release in (OLD, NEW)] == values(low)


def test_what_is_true_or_false() -> None:
    assert {name: BROKER_KEYS[name].default(NEW) for name in SWITCHES} == SWITCHES


def test_what_went_with_zookeeper_went_with_4_0() -> None:
    assert {name: BROKER_KEYS[name].default(OLD) for name in ZOOKEEPER_AGE} == ZOOKEEPER_AGE
    assert [BROKER_KEYS[name].is_known(release) for name in ZOOKEEPER_AGE for release in (OLD, NEW)] == [True, False] * 3


def problems(**settings: object) -> list[str]:
    given = [Setting(name.replace("_", "."), value, Origin("a test")) for name, value in settings.items()]
    return [problem.message for problem in resolve_broker(given, broker_profile("4.3")).problems]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_io_threads": 0}, 1),
        ({"queued_max_requests": -1}, 1),
        ({"fetch_max_bytes": 1023}, 1),
        ({"log_message_timestamp_type": "Yesterday"}, 1),
        ({"num_network_threads": INT_MAX + 1}, 1),
        ({"replica_fetch_wait_max_ms": 40_000}, 2),
        ({"replica_socket_timeout_ms": 499}, 1),
    ],
)
def test_cfg_2_what_kafka_refuses_is_refused_though_it_would_change_nothing(settings: dict[str, object], told: int) -> None:
    assert len(problems(**settings)) == told


def test_cfg_2_equal_waits_are_possible() -> None:
    assert problems(replica_fetch_wait_max_ms=500, replica_socket_timeout_ms=500, replica_lag_time_max_ms=500) == []
