"""Every setting of the Java producer, release by release: when it came and went, its default, its range, and what a wrong value is told.

Source: `CONFIG = new ConfigDef()` in ProducerConfig.java, with the constants of CommonClientConfigs.java, read at every release tag from 2.8.0 to 4.3.0
(table 1.1 of the client's rule book). No range: `any`. "not checked": the client takes any number, and what is possible here is stricter.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

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
metadata.recovery.strategy                text     3.8 none, 4.0 rebootstrap   none rebootstrap
metadata.recovery.rebootstrap.trigger.ms  long     4.0 300000                  0..
transactional.id                          text     2.8 null
transaction.timeout.ms                    int      2.8 60000                   -2147483648..
transaction.two.phase.commit.enable       boolean  4.1 false
compression.type                          text     2.8 none                    none gzip snappy lz4 zstd
partitioner.ignore.keys                   boolean  3.3 false
partitioner.adaptive.partitioning.enable  boolean  3.3 true
partitioner.availability.timeout.ms       long     3.3 0                       0..
send.buffer.bytes                         int      2.8 131072                  -1..
receive.buffer.bytes                      int      2.8 32768                   -1..
"""

LIVES = """
enable.metrics.push              3.7 -
auto.include.jmx.reporter        3.4 4.0
compression.gzip.level           3.8 -
compression.lz4.level            3.8 -
compression.zstd.level           3.8 -
internal.auto.downgrade.txn.commit  - 3.0
client.rack                      4.4 -
partitioner.rack.aware           4.4 -
bootstrap.resolve.timeout.ms     4.4 -
metadata.cluster.check.enable    4.5 -
"""
"""Settings that play no part: since which release, until which."""

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
        assert key.stricter or key.not_yet or key.low == -1
    elif dots:
        assert (key.low, key.most) == (int(low), int(high) if high else {"int": 2**31 - 1, "long": 2**63 - 1}[made.kind])
    else:
        assert key.choices == tuple(made.possible.split())


def test_every_setting_that_has_a_value_here_is_in_the_table() -> None:
    assert {key.name for key in PRODUCER_KEYS.values() if key.kind is not Kind.ANYTHING} - {"partitioner.class"} == {made.name for made in ROWS}


@pytest.mark.parametrize("line", LIVES.strip().splitlines(), ids=lambda line: line.split()[0])
def test_what_plays_no_part_came_and_went_with_its_release(line: str) -> None:
    name, since, until = line.split()
    key = PRODUCER_KEYS[name]

    assert since == "-" or key.since == number(since)
    assert (until == "-" and key.until is None) or key.until == number(until)


@pytest.mark.parametrize("version", RELEASES)
def test_the_partitioner_of_a_release_is_its_own(version: str) -> None:
    """KIP-794: the built-in one since 3.3; before, DefaultPartitioner. Both are what nobody chose."""
    assert PRODUCER_KEYS["partitioner.class"].is_known(client_profile(version).release)
