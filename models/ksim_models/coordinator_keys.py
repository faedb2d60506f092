"""Settings of the coordinators of transactions and groups, and of the topics in which they keep what they know.

Kafka: TransactionLogConfig, TransactionStateManagerConfig, AddPartitionsToTxnConfig, GroupCoordinatorConfig.
"""

from __future__ import annotations

from ksim_models.settings import ALWAYS, INT_MAX, ConfigKey, Kind, Unit, playing_no_part

SHORT_MAX = 32_767


def _int(name: str, default: int, *, unit: Unit = Unit.NONE, low: int = 1, high: int = INT_MAX) -> ConfigKey:
    return ConfigKey(name, Kind.INT, ((ALWAYS, default),), unit, low, high)


COORDINATOR_KEYS = (
    _int("transaction.state.log.num.partitions", 50),
    _int("transaction.state.log.replication.factor", 3, high=SHORT_MAX),
    _int("transaction.state.log.min.isr", 2),
    _int("transaction.state.log.segment.bytes", 104_857_600, unit=Unit.BYTES),
    _int("offsets.topic.num.partitions", 50),
    _int("offsets.topic.replication.factor", 3, high=SHORT_MAX),
    _int("offsets.topic.segment.bytes", 104_857_600, unit=Unit.BYTES),
    *playing_no_part("a coordinator loads what it has to at once, whatever its size", "transaction.state.log.load.buffer.size", "offsets.load.buffer.size"),
    *playing_no_part("the topic's records have no codec here", "offsets.topic.compression.codec"),
)
