"""The world in which applications copy: orders come in two partitions, payments go out, coordinators have few partitions and groups form at once."""

from __future__ import annotations


def orders(kafka: str = "4.3", *, seed: int = 7, client: str = "java", records: int = 400, internal: int = 4, cluster: str = "") -> str:
    """The beginning of a scenario's text. internal: partitions of either internal topic; cluster: more lines of [cluster]."""
    return f"""
kafka = "{kafka}"
client = "{client}"
seed = {seed}
[cluster]
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = {internal}
config.transaction.state.log.num.partitions = {internal}
{cluster}
[topics.orders]
partitions = 2
[topics.payments]
[producers.feed]
config.batch.size = 500
[[workload]]
producer = "feed"
topic = "orders"
records = {records}
every = "10ms"
"""
