"""The feature levels that a cluster is formatted with: [cluster] features.

Kafka: kafka-storage format --feature, KIP-584; VP-2. transaction.version says how producers that know it end their transactions (KIP-890).
"""

from __future__ import annotations

from dataclasses import replace

from ksim.scenario_reading import Reading, Table
from ksim_models.profiles import BrokerProfile

TRANSACTION_VERSION = "transaction.version"
KNOWN = (TRANSACTION_VERSION, "metadata.version", "kraft.version", "group.version", "eligible.leader.replicas.version", "share.version", "streams.version")
HIGHEST = 2


def read_features(reading: Reading, table: Table, profile: BrokerProfile) -> BrokerProfile:
    """The brokers of this cluster; as they are formatted by default where nothing is said."""
    content = table.content.get("features")
    path = ("cluster", "features")
    if content is None:
        return profile
    if not isinstance(content, dict):
        reading.problem(path, "features: a table of feature levels is wanted.", given=str(content), possible=f'{{ "{TRANSACTION_VERSION}" = 2 }}')
        return profile
    for name, level in flat(content).items():
        if name not in KNOWN:
            reading.problem((*path, name), f"features: there is no feature {name}.", given=name, names=KNOWN)
        elif name != TRANSACTION_VERSION:
            reading.problem((*path, name), f"features: {name} is not yet supported.", given=name, possible=TRANSACTION_VERSION)
        else:
            profile = _transactions(reading, level, profile)
    return profile


def _transactions(reading: Reading, level: object, profile: BrokerProfile) -> BrokerProfile:
    highest = HIGHEST if profile.release >= (4, 0, 0) else 0
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= highest:
        since = "" if highest else f": brokers of {profile.version} know no other"
        possible = f"0 to {highest}" if highest else "0"
        reading.problem(("cluster", "features", TRANSACTION_VERSION), f"features: {TRANSACTION_VERSION} = {level}{since}.", given=str(level), possible=possible)
        return profile
    return replace(profile, transaction_version=level)


def flat(content: dict[str, object], before: str = "") -> dict[str, object]:
    """Dots in a name that was not quoted have made tables of it."""
    found: dict[str, object] = {}
    for name, value in content.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found
