"""Settings of the coordinators of transactions and groups, and of the topics in which they keep what they know.

Kafka: TransactionLogConfig, TransactionStateManagerConfig, AddPartitionsToTxnConfig, GroupCoordinatorConfig.
"""

from __future__ import annotations

from ksim_models.profiles import Release
from ksim_models.settings import ALWAYS, INT_MAX, ConfigKey, Kind, Unit, playing_no_part

SHORT_MAX = 32_767


def _int(name: str, default: int, *, unit: Unit = Unit.NONE, low: int = 1, high: int = INT_MAX, since: Release = ALWAYS) -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, high, since=since)


COORDINATOR_KEYS = (
    _int("transaction.state.log.num.partitions", 50),
    _int("transaction.state.log.replication.factor", 3, high=SHORT_MAX),
    _int("transaction.state.log.min.isr", 2),
    _int("transaction.state.log.segment.bytes", 104_857_600, unit=Unit.BYTES),
    _int("offsets.topic.num.partitions", 50),
    _int("offsets.topic.replication.factor", 3, high=SHORT_MAX),
    _int("offsets.topic.segment.bytes", 104_857_600, unit=Unit.BYTES),
    _int("transaction.max.timeout.ms", 900_000, unit=Unit.MS),
    _int("transaction.abort.timed.out.transaction.cleanup.interval.ms", 10_000, unit=Unit.MS),
    _int("transaction.remove.expired.transaction.cleanup.interval.ms", 3_600_000, unit=Unit.MS),
    _int("transactional.id.expiration.ms", 604_800_000, unit=Unit.MS),
    ConfigKey("transaction.partition.verification.enable", Kind.BOOLEAN, ((ALWAYS, True),), since=(3, 6, 0)),
    _int("add.partitions.to.txn.retry.backoff.ms", 20, unit=Unit.MS, since=(4, 0, 0)),
    _int("add.partitions.to.txn.retry.backoff.max.ms", 100, unit=Unit.MS, low=0, since=(4, 0, 0)),
    _int("offsets.commit.timeout.ms", 5_000, unit=Unit.MS),
    _int("group.initial.rebalance.delay.ms", 3_000, unit=Unit.MS, low=0),
    _int("group.min.session.timeout.ms", 6_000, unit=Unit.MS, low=0),
    *(
        ConfigKey(f"group.consumer.{name}.ms", Kind.INT, ((ALWAYS, default),), Unit.MS, low, INT_MAX, since=since)
        for name, default, low, since in (
            ("session.timeout", 45_000, 1, (4, 0, 0)),
            ("min.session.timeout", 45_000, 1, (4, 0, 0)),
            ("max.session.timeout", 60_000, 1, (4, 0, 0)),
            ("heartbeat.interval", 5_000, 1, (4, 0, 0)),
            ("min.heartbeat.interval", 5_000, 1, (4, 0, 0)),
            ("max.heartbeat.interval", 15_000, 1, (4, 0, 0)),
            ("assignment.interval", 1_000, 0, (4, 3, 0)),
        )
    ),
    _int("group.max.session.timeout.ms", 1_800_000, unit=Unit.MS, low=0),
    *playing_no_part("a coordinator loads what it has to at once, whatever its size", "transaction.state.log.load.buffer.size", "offsets.load.buffer.size"),
    *playing_no_part("the topic's records have no codec here", "offsets.topic.compression.codec"),
)
