"""The metrics by Kafka's names: which sensor feeds which of them, and how each is read.

Kafka: SenderMetricsRegistry, BufferPool, RecordAccumulator.registerMetrics, Selector.SelectorMetrics (section 6.2 and 6.3 of the client's rule book).
Brokers: ReplicaManager's and QuorumController's metrics. librdkafka: STATISTICS.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ksim.metrics_windows import AVG, COUNT_RATE, COUNT_TOTAL, MAX, MIN, PER_HOUR, RATE, RATIO, TOTAL, Make

Stats = Mapping[str, Make]


def meter(name: str) -> dict[str, Make]:
    return {f"{name}-rate": RATE, f"{name}-total": TOTAL}


def count(name: str) -> dict[str, Make]:
    return {f"{name}-rate": COUNT_RATE, f"{name}-total": COUNT_TOTAL}


def spread(name: str) -> dict[str, Make]:
    return {f"{name}-avg": AVG, f"{name}-max": MAX}


CLIENT: Mapping[str, Stats] = {
    "records-per-request": {**meter("record-send"), "records-per-request-avg": AVG},
    "record-retries": meter("record-retry"),
    "errors": meter("record-error"),
    "queue-time": spread("record-queue-time"),
    "request-time": spread("request-latency"),
    "batch-size": spread("batch-size"),
    "record-size": spread("record-size"),
    "compression-rate": {"compression-rate-avg": AVG},
    "batch-split-rate": meter("batch-split"),
    "produce-throttle-time": spread("produce-throttle-time"),
    "bufferpool-wait-time": {"bufferpool-wait-ratio": RATIO, "bufferpool-wait-time-ns-total": TOTAL},
    "buffer-exhausted-records": meter("buffer-exhausted"),
    "connections-created": meter("connection-creation"),
    "connections-closed": meter("connection-close"),
    "requests-sent": {**count("request"), **spread("request-size")},
    "bytes-sent": meter("outgoing-byte"),
    "responses-received": count("response"),
}
"""Group producer-metrics: sensor -> its metrics."""
TOPIC: Mapping[str, Stats] = {
    "topic.records-per-batch": meter("record-send"),
    "topic.bytes": meter("byte"),
    "topic.compression-rate": {"compression-rate": AVG},
    "topic.record-retries": meter("record-retry"),
    "topic.record-errors": meter("record-error"),
}
"""Group producer-topic-metrics: registered at the first drain of the topic, and deaf before (6.3)."""
NODE: Mapping[str, Stats] = {
    "node.requests-sent": {**count("request"), **spread("request-size")},
    "node.bytes-sent": meter("outgoing-byte"),
    "node.responses-received": count("response"),
    "node.latency": spread("request-latency"),
}
"""Group producer-node-metrics: registered when the connection first has something to do."""
CONSUMER: Mapping[str, Stats] = {
    "records-fetched": {**meter("records-consumed"), "records-per-request-avg": AVG},
    "fetch-latency": {**count("fetch"), **spread("fetch-latency")},
    "records-lag": {"records-lag-max": MAX},
    "records-lead": {"records-lead-min": MIN},
    "commit-latency": {**count("commit"), **spread("commit-latency")},
    "heartbeat-latency": {**count("heartbeat"), "heartbeat-response-time-max": MAX},
    "join-latency": {**count("join"), **spread("join-time")},
    "sync-latency": {**count("sync"), **spread("sync-time")},
    "rebalance-latency": {
        **spread("rebalance-latency"),
        "rebalance-latency-total": TOTAL,
        "rebalance-total": COUNT_TOTAL,
        "rebalance-rate-per-hour": PER_HOUR,
    },
    "failed-rebalance": {"failed-rebalance-total": COUNT_TOTAL, "failed-rebalance-rate-per-hour": PER_HOUR},
}
"""Groups consumer-fetch-manager-metrics and consumer-coordinator-metrics."""
CONSUMER_TOPIC: Mapping[str, Stats] = {"topic.records-fetched": {**meter("records-consumed"), "records-per-request-avg": AVG}}
CONSUMER_GAUGES = ("assigned-partitions",)
GAUGES = ("buffer-available-bytes", "buffer-total-bytes", "waiting-threads", "requests-in-flight", "connection-count", "metadata-age")

BROKER_GAUGES = ("UnderReplicatedPartitions", "UnderMinIsrPartitionCount", "OfflinePartitionsCount", "ActiveControllerCount")
BROKER_METERS = ("IsrShrinksPerSec", "IsrExpandsPerSec")
"""kafka.server:type=ReplicaManager and kafka.controller:type=KafkaController. A meter is read as its attribute OneMinuteRate."""

LIBRDKAFKA_GAUGES = ("msg_cnt", "outbuf_cnt", "waitresp_cnt")
LIBRDKAFKA_TOTALS = ("tx", "rx", "txmsgs", "connects", "disconnects")
LIBRDKAFKA_INTERVALS = ("rtt.avg", "rtt.max")
"""Names of its statistics; of one interval, which is the step of the series here (statistics.interval.ms)."""

JAVA_NAMES = (*dict.fromkeys(name for group in (CLIENT, TOPIC, NODE) for stats in group.values() for name in stats), *GAUGES)
BROKER_NAMES = (*BROKER_GAUGES, *BROKER_METERS)
CONSUMER_NAMES = (*dict.fromkeys(name for stats in CONSUMER.values() for name in stats), *CONSUMER_GAUGES)
LIBRDKAFKA_NAMES = (*LIBRDKAFKA_GAUGES, *LIBRDKAFKA_TOTALS, *LIBRDKAFKA_INTERVALS)
NAMES = tuple(dict.fromkeys((*JAVA_NAMES, *CONSUMER_NAMES, *BROKER_NAMES, *LIBRDKAFKA_NAMES)))
"""Everything that has a series, and may stand in [[alert]]."""
