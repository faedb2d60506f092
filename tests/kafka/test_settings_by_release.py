"""Every setting of the Java producer, release by release: when it came and went, its default, its range, and what a wrong value is told.

Source: `CONFIG = new ConfigDef()` in ProducerConfig.java, with the constants of CommonClientConfigs.java, read at every release tag from 2.8.0 to 4.3.0
(table 1.1 of the client's rule book). No range: `any`. "not checked": the client takes any number, and what is possible here is stricter.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.profiles import LAST_PATCH, Release, client_profile, parse_release
from ksim_models.settings import Kind

TABLE = """
acks                                      text     2.8 1, 3.0 all              all -1 0 1
enable.idempotence                        boolean  2.8 false, 3.0 true
retries                                   int      2.8 2147483647              0..2147483647
delivery.timeout.ms                       int      2.8 120000                  0..
request.timeout.ms                        int      2.8 30000                   0..
linger.ms                                 long     2.8 0, 4.0 5                0..
batch.size                                int      2.8 16384                   0..
buffer.memory                             long     2.8 33554432                0..
max.block.ms                              long     2.8 60000                   0..
max.request.size                          int      2.8 1048576                 0..
max.in.flight.requests.per.connection     int      2.8 5                       1..
retry.backoff.ms                          long     2.8 100                     0..
retry.backoff.max.ms                      long     3.7 1000                    0..
reconnect.backoff.ms                      long     2.8 50                      0..
reconnect.backoff.max.ms                  long     2.8 1000                    0..
socket.connection.setup.timeout.ms        long     2.8 10000                   not checked
socket.connection.setup.timeout.max.ms    long     2.8 30000                   not checked
connections.max.idle.ms                   long     2.8 540000                  not checked
metadata.max.age.ms                       long     2.8 300000                  0..
metadata.max.idle.ms                      long     2.8 300000                  5000..
metadata.recovery.strategy                text     3.8 none, 4.0 rebootstrap   rebootstrap none
metadata.recovery.rebootstrap.trigger.ms  long     4.0 300000                  0..
transactional.id                          text     2.8 null
transaction.timeout.ms                    int      2.8 60000                   -2147483648..
transaction.two.phase.commit.enable       boolean  4.1 false
compression.type                          text     2.8 none                    none gzip snappy lz4 zstd
compression.gzip.level                    int      3.8 -1                      -1..9
compression.lz4.level                     int      3.8 9                       1..17
compression.zstd.level                    int      3.8 3                       -131072..22
partitioner.ignore.keys                   boolean  3.3 false
partitioner.adaptive.partitioning.enable  boolean  3.3 true
partitioner.availability.timeout.ms       long     3.3 0                       0..
security.protocol                         text     2.8 plaintext               sasl_ssl plaintext ssl sasl_plaintext
send.buffer.bytes                         int      2.8 131072                  -1..
receive.buffer.bytes                      int      2.8 32768                   -1..
"""

LIVES = """
leader.imbalance.per.broker.percentage   - 4.0
controlled.shutdown.max.retries          - 4.0
inter.broker.protocol.version            - 4.0
log.message.format.version               - 4.0
log.message.downconversion.enable        - 4.0
message.format.version                   - 4.0
message.downconversion.enable            - 4.0
message.timestamp.difference.max.ms      - 4.0
message.timestamp.after.max.ms           3.6 -
unclean.leader.election.interval.ms      3.9 -
enable.metrics.push              3.7 -
auto.include.jmx.reporter        3.4 4.0
internal.auto.downgrade.txn.commit  - 3.0
client.rack                      4.4 -
partitioner.rack.aware           4.4 -
bootstrap.resolve.timeout.ms     4.4 -
metadata.cluster.check.enable    4.5 -
"""
"""Settings of producers, brokers and topics: since which release, until which."""

BROKER = """
min.insync.replicas                           int      1             1..
unclean.leader.election.enable                boolean  false
message.max.bytes                             int      1048588       0..
auto.create.topics.enable                     boolean  true
num.partitions                                int      1             1..
default.replication.factor                    int      1             not checked
replica.lag.time.max.ms                       long     30000         not checked
replica.fetch.wait.max.ms                     int      500           not checked
replica.fetch.min.bytes                       int      1             not checked
replica.fetch.backoff.ms                      int      1000          0..
replica.fetch.max.bytes                       int      1048576       0..
replica.fetch.response.max.bytes              int      10485760      0..
replica.socket.timeout.ms                     int      30000         not checked
replica.high.watermark.checkpoint.interval.ms long     5000          not checked
num.replica.fetchers                          int      1             1..
broker.heartbeat.interval.ms                  int      2000          not checked
broker.session.timeout.ms                     int      9000          not checked
controller.quorum.append.linger.ms            int      25            0..
controller.quorum.election.timeout.ms         int      1000          0..
controller.quorum.fetch.timeout.ms            int      2000          0..
controller.quorum.election.backoff.max.ms     int      1000          0..
metadata.max.idle.interval.ms                 int      500           0..
auto.leader.rebalance.enable                  boolean  true
leader.imbalance.check.interval.seconds       long     300           1..
unclean.leader.election.interval.ms           long     300000        1..
controlled.shutdown.enable                    boolean  true
producer.id.expiration.ms                     int      86400000      1..
producer.id.expiration.check.interval.ms      int      600000        1..
request.timeout.ms                            int      30000         not checked
connections.max.idle.ms                       long     600000        not checked
log.retention.ms                              long     null          not checked
log.retention.minutes                         int      null          not checked
log.retention.hours                           int      168           not checked
log.retention.bytes                           long     -1            not checked
log.cleanup.policy                            text     delete
log.segment.bytes                             int      1073741824    1048576..
compression.type                              text     producer
socket.request.max.bytes                      int      104857600     1..
max.connections                               int      2147483647    0..
max.connections.per.ip                        int      2147483647    0..
replica.selector.class                        text     null
"""
"""KafkaConfig.configDef() of 3.7.2, 3.9.2 and 4.3.0, which agree on all of these but the ranges of controller.quorum.* (since 4.1), num.replica.fetchers (4.2)
and log.segment.bytes (KIP-1030)."""

TOPIC = """
min.insync.replicas                           int      1             1..
unclean.leader.election.enable                boolean  false
max.message.bytes                             int      1048588       0..
cleanup.policy                                text     delete
retention.ms                                  long     604800000     -1..
retention.bytes                               long     -1            not checked
segment.bytes                                 int      1073741824    1048576..
compression.type                              text     producer
remote.storage.enable                         boolean  false
"""
"""LogConfig.configDefCopy() of the same."""

RELEASES = [f"{minor}.{patch}" for minor, last in LAST_PATCH.items() for patch in range(last + 1)]


@dataclass(frozen=True)
class Row:
    name: str
    kind: str
    defaults: tuple[tuple[Release, str], ...]
    possible: str

    def default(self, release: Release) -> str | None:
        """None: unknown to this release."""
        return next((value for since, value in reversed(self.defaults) if release >= since), None)


def number(version: str) -> Release:
    major, minor = version.split(".")
    return int(major), int(minor), 0


def row(line: str) -> Row:
    name, kind, rest = line.split(None, 2)
    defaults, _, possible = rest.partition("  ")
    steps = [step.split() for step in defaults.split(", ")]
    return Row(name, kind, tuple((number(since), value) for since, value in steps), possible.strip())


ROWS = [row(line) for line in TABLE.strip().splitlines()]


def plain(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("version", RELEASES)
def test_each_release_has_its_settings_and_their_defaults(version: str) -> None:
    """VP-1"""
    release = parse_release(version)
    found = {made.name: plain(PRODUCER_KEYS[made.name].default(release)) if PRODUCER_KEYS[made.name].is_known(release) else None for made in ROWS}

    assert found == {made.name: made.default(release) for made in ROWS}


@pytest.mark.parametrize("made", ROWS, ids=lambda made: made.name)
def test_a_setting_has_kafkas_type_and_range(made: Row) -> None:
    key = PRODUCER_KEYS[made.name]
    low, dots, high = made.possible.partition("..")

    assert {"text": Kind.TEXT, "boolean": Kind.BOOLEAN, "int": Kind.INT, "long": Kind.LONG}[made.kind] is key.kind
    if made.possible == "not checked":
        assert key.stricter or key.low == -(2**63)
    elif dots:
        assert (key.low, key.most) == (int(low), int(high) if high else {"int": 2**31 - 1, "long": 2**63 - 1}[made.kind])
    else:
        assert key.choices == tuple(made.possible.split())


def test_every_setting_that_has_a_value_here_is_in_the_table() -> None:
    assert {key.name for key in PRODUCER_KEYS.values() if key.kind is not Kind.ANYTHING} - {"partitioner.class"} == {made.name for made in ROWS}


@pytest.mark.parametrize("line", LIVES.strip().splitlines(), ids=lambda line: line.split()[0])
def test_a_setting_came_and_went_with_its_release(line: str) -> None:
    name, since, until = line.split()
    key = {**TOPIC_KEYS, **BROKER_KEYS, **PRODUCER_KEYS}[name]

    assert since == "-" or key.since == number(since)
    assert (until == "-" and key.until is None) or key.until == number(until)


@pytest.mark.parametrize("version", RELEASES)
def test_the_partitioner_of_a_release_is_its_own(version: str) -> None:
    """KIP-794: the built-in one since 3.3; before, DefaultPartitioner. Both are what nobody chose."""
    assert PRODUCER_KEYS["partitioner.class"].is_known(client_profile(version).release)


@pytest.mark.parametrize(
    ("whose", "line"),
    [(whose, line) for whose, table in (("broker", BROKER), ("topic", TOPIC)) for line in table.strip().splitlines()],
    ids=lambda part: part.split()[0],
)
def test_a_setting_of_brokers_and_topics_has_kafkas_type_default_and_range(whose: str, line: str) -> None:
    """Section 9 of the brokers' rule book"""
    name, kind, rest = line.split(None, 2)
    default, _, possible = rest.partition(" ")
    possible = possible.strip()
    key = {"broker": BROKER_KEYS, "topic": TOPIC_KEYS}[whose][name]

    assert plain(key.default(parse_release("4.3"))) == default
    assert {"text": Kind.TEXT, "boolean": Kind.BOOLEAN, "int": Kind.INT, "long": Kind.LONG}[kind] is key.kind
    if possible == "not checked":
        assert key.stricter or key.low == -(2**63)
    elif possible.endswith(".."):
        assert not key.stricter or name == "num.replica.fetchers"
        assert key.at(parse_release("4.3")).low == int(possible[:-2])


@pytest.mark.parametrize(("name", "last_without", "first_with"), [("log.segment.bytes", "3.9", "4.0.0"), ("segment.bytes", "4.0", "4.1.0")])
def test_a_segment_is_at_least_one_mib_since_kip_1030(name: str, last_without: str, first_with: str) -> None:
    """KIP-1030: of brokers since 4.0, of topics since 4.1."""
    key = {**BROKER_KEYS, **TOPIC_KEYS}[name]

    assert (key.at(parse_release(last_without)).low, key.at(parse_release(first_with)).low) == (14, 1_048_576)
