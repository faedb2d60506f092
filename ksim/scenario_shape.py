"""The shape of a scenario file: every table, every key, what may stand behind it, in one place for the reader, the error messages and the JSON Schema.

Not Kafka's: the file is ksim's own. Keys that are part of the file but not yet of ksim are here too, so that they are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ksim import scenario_values as kinds
from ksim.breakers import BREAKER_FIGURES
from ksim.processing import FIGURES
from ksim.reading import READ_FIGURES
from ksim.scenario_values import Kind, Schema
from ksim_models.page_cache import PowerLossKeeps

T = TypeVar("T")

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Key:
    about: str
    schema: Schema


Shape = Mapping[str, Key]


def key(kind: Kind[T], about: str) -> Key:
    return Key(f"{about}: {kind.possible}.", kind.schema)


ANY_OF_SCALARS: Schema = {"type": ["string", "integer", "number", "boolean"]}
CONFIG = Key("Settings by Kafka's own dotted names.", {"type": "object"})
WHO: Schema = {"type": ["string", "array"], "items": {"type": "string"}}
PAIR: Schema = {"type": "array", "items": WHO, "minItems": 2, "maxItems": 2}

LATENCY: Shape = {
    "median": key(kinds.DURATION, "Half of the messages are faster"),
    "p99": key(kinds.DURATION, "99 % of the messages are faster"),
}
LINK: Shape = {
    "from": Key("The sender.", {"type": "string"}),
    "to": Key("The receiver.", {"type": "string"}),
    "latency": Key("Added to the general latency, one way.", {"type": ["string", "integer", "number", "object"]}),
}
NETWORK: Shape = {
    "latency": Key('One way: a duration, or { median = "0.5ms", p99 = "3ms" }.', {"type": ["string", "integer", "number", "object"]}),
    "bandwidth": key(kinds.BANDWIDTH, "Of each connection"),
    "links": Key("Links that differ from the others.", {"type": "array"}),
}
TAIL: Shape = {
    "heal": key(kinds.FLAG, "Repair all that is still wrong once everything was offered (default true)"),
    "limit": key(kinds.POSITIVE_DURATION, 'How long after the heal the run may last (default "300s")'),
    "warm": key(kinds.FLAG, "One warm-up record per producer and partition goes first (default false)"),
}
BROKER: Shape = {"config": CONFIG}
CLUSTER: Shape = {
    "brokers": key(kinds.whole(1, kinds.MOST_BROKERS), "How many brokers, broker-1 first (default 3)"),
    "controllers": key(kinds.whole(1, 9), "How many controllers (default 1)"),
    "racks": Key(
        "The rack of each broker, broker-1 first: replicas are spread over racks, and a fault can strike one.",
        {"type": "array", "items": {"type": "string"}},
    ),
    "features": Key('Feature levels, as { "transaction.version" = 2 } (default: what the release formats).', {"type": "object"}),
    "config": CONFIG,
}
TOPIC: Shape = {
    "partitions": key(kinds.whole(1, kinds.MOST_PARTITIONS), "How many partitions (default 1)"),
    "replication": key(kinds.whole(1, 32_767), "How many replicas (default 3, or as many as there are brokers)"),
    "assignment": Key("The brokers of each partition, the preferred leader first.", {"type": "array", "items": {"type": "array"}}),
    "exists": key(kinds.FLAG, "Whether the topic is there at time zero (default true); an absent one may be created on demand"),
    "config": CONFIG,
}
PRODUCER: Shape = {
    "file": key(kinds.TEXT, "A .properties file, read as Java reads it, relative to this file"),
    "client": key(kinds.TEXT, 'Its own client library, "java" or "librdkafka"'),
    "config": CONFIG,
}
CONSUMER: Shape = {
    "topics": Key("What it reads.", {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    "file": key(kinds.TEXT, "A .properties file, read as Java reads it, relative to this file"),
    "client": key(kinds.TEXT, 'Its own client library, "java" or "librdkafka"'),
    "config": CONFIG,
    "work": key(kinds.DURATION, "How long its application works on each record (default 0)"),
    "commit": key(
        kinds.choice("sync", "async", "none"),
        "How it commits when it has done with what a poll() returned (default sync for a member of a group that does not commit automatically, else none)",
    ),
}
APPLICATION: Shape = {
    "reads": key(kinds.TEXT, "The topic that it reads"),
    "writes": key(kinds.TEXT, "The topic that it writes: one record for each that it reads"),
    "consumer": key(kinds.TEXT, "One of [consumers]; may be left out when there is one"),
    "producer": key(kinds.TEXT, "One of [producers], which has no workload; may be left out when there is one such"),
    "producers": key(kinds.TEXT, 'How many: "one" (default), or "per-partition": of the settings of `producer` one for each partition that it reads'),
    "commit_every": Key("When it commits: { records = 100 } (default 1: after each poll() that brings any).", {"type": "object"}),
    "size": key(kinds.SIZE, "Bytes of key and value of what it writes (default 100)"),
    "group_metadata": key(kinds.FLAG, "Whether offsets in a transaction come with the consumer's place in its group, KIP-447 (default true)"),
    "leader_epochs": key(kinds.FLAG, "Whether committed offsets come with the leader epoch of the last record read, KIP-320 (default true)"),
}
COMMIT_EVERY: Shape = {"records": key(kinds.COUNT, "Once so many were read since the last commit")}
ARRIVALS: Shape = {
    "burst": key(kinds.COUNT, "Records that come at once"),
    "every": key(kinds.POSITIVE_DURATION, "From burst to burst"),
}
RECORD_SIZE: Shape = {
    "mean": key(kinds.SIZE, "The mean"),
    "spread": key(kinds.SIZE, "Half the width of a uniform distribution"),
}
COMPRESSION_RATIO: Shape = {
    "mean": key(kinds.RATIO, "The mean"),
    "spread": key(kinds.RATIO, "Half the width of a uniform distribution over batches"),
}
RECORD_KEY: Shape = {
    "distinct": key(kinds.COUNT, "How many different keys"),
    "skew": key(kinds.SKEW, "0: all equally often (default 0)"),
}
BREAKER: Shape = {
    "open_after": key(kinds.COUNT, "So many failures in a row open it"),
    "half_open": key(kinds.POSITIVE_DURATION, "So long it is open before one record is tried"),
}
TRANSACTION: Shape = {
    "records": key(kinds.COUNT, "How many records each has"),
    "end": Key('"commit" (default) or "abort".', {"enum": ["commit", "abort"]}),
    "abort_every": key(kinds.COUNT, "Every so-manyth is aborted all the same"),
    "think": key(kinds.DURATION, "What the application has to do between its last send and the end"),
}
WORKLOAD: Shape = {
    "producer": key(kinds.TEXT, "May be left out when there is one"),
    "topic": key(kinds.TEXT, "Where the records go"),
    "records": key(kinds.COUNT, "How many records; or `for`"),
    "for": key(kinds.POSITIVE_DURATION, "How long records come; or `records`"),
    "rate": key(kinds.RATE, "Records per second; or `every`"),
    "every": key(kinds.DURATION, "From record to record, 0ms for all at once; or `rate`"),
    "arrivals": Key('"steady" (default), "poisson", or { burst = 50, every = "1s" }.', {"type": ["string", "object"]}),
    "size": Key("Bytes of key and value, or { mean = 1000, spread = 200 } (default 100).", {"type": ["integer", "string", "object"]}),
    "compression_ratio": Key(
        "Compressed / uncompressed bytes where the producer compresses, such as 0.4, or { mean = 0.4, spread = 0.1 } over batches (default 0.5).",
        {"type": ["number", "object"]},
    ),
    "key": Key('"none" (default), "fixed", or { distinct = 50, skew = 1.0 }.', {"type": ["string", "object"]}),
    "partition": key(kinds.NUMBER, "The records name their partition themselves"),
    "wait": Key('"none" (default), "each" (send().get()), or the most unacknowledged records.', {"type": ["string", "integer"]}),
    "start": key(kinds.DURATION, "When the first record comes"),
    "on_failure": Key(
        'What the application does when a send fails: "report" (default), "resend", "stop", or a circuit breaker, { open_after = 5, half_open = "10s" }.',
        {"type": ["string", "object"]},
    ),
    "outbox": Key('Its records are rows of a table that is polled: { every = "100ms", batch = 100, mark = "1ms" }.', {"type": "object"}),
    "transaction": Key('Of a transactional producer: { records = 10, end = "commit", abort_every = 5, think = "2ms" }.', {"type": "object"}),
}
OUTBOX: Shape = {
    "every": key(kinds.POSITIVE_DURATION, "From the end of one round to the next look at the table"),
    "batch": key(kinds.COUNT, "So many rows at most in one round (default 100)"),
    "mark": key(kinds.DURATION, "How long the database takes to commit that they are sent (default 1ms)"),
}
FRAME_TRIGGER: Shape = {
    "request": Key('The API whose exchanges count (default "Produce").', {"type": "string"}),
    "response": Key("The same exchange, named by its answer.", {"type": "string"}),
    "from": Key("Only of this client.", {"type": "string"}),
    "to": Key("Only to this broker.", {"type": "string"}),
    "topic": key(kinds.TEXT, "Only exchanges that carry this topic"),
    "partition": key(kinds.TEXT, 'Only exchanges that carry this partition, "payments-0"'),
    "connection": key(kinds.TEXT, "Only on this connection"),
    "nth": key(kinds.COUNT, "The how-manyth exchange, from 1 (default 1)"),
    "times": key(kinds.COUNT, "It and the following ones"),
    "every": key(kinds.COUNT, "Every so-manyth exchange"),
    "probability": key(kinds.PROBABILITY, "Each exchange with this chance"),
    "after": key(kinds.DURATION, "Only from this moment on"),
}
TRANSACTION_PHASES = ("after-begin", "before-produce", "before-offsets", "before-commit", "after-commit-sent", "before-abort")
COUNT_TRIGGERS: Mapping[str, Shape] = {
    "acked": {"acked": key(kinds.COUNT, "The how-manyth acknowledged record")},
    "appended": {"appended": key(kinds.COUNT, "The leader's log end reaches this"), "partition": key(kinds.TEXT, "In this partition")},
    "transaction": {
        "transaction": key(kinds.COUNT, "The how-manyth transaction of a producer"),
        "phase": key(kinds.choice(*TRANSACTION_PHASES), "Which moment of it"),
        "from": Key("Only of this producer.", {"type": "string"}),
    },
    "isr": {"isr": key(kinds.NUMBER, "The ISR is at most this large"), "partition": key(kinds.TEXT, "Of this partition")},
}
FAULT: Shape = {
    "name": key(kinds.TEXT, "For the report"),
    "do": Key("What goes wrong.", {"type": "string"}),
    "at": key(kinds.DURATION, "When, from time zero"),
    "when": Key("What it waits for.", {"type": "object"}),
    "for": key(kinds.POSITIVE_DURATION, "Undone after this"),
    "who": Key("Whom it hits.", WHO),
    "between": Key("The two ends of the connections that it hits.", PAIR),
    "one_way": key(kinds.FLAG, "Only from the first end to the second"),
    "latency": key(kinds.POSITIVE_DURATION, "Added"),
    "bandwidth": key(kinds.BANDWIDTH, "Of each connection, while the fault lasts"),
    "by": key(kinds.POSITIVE_DURATION, "How late"),
    "factor": key(kinds.FACTOR, "So many times as long its work takes"),
    "error": key(kinds.TEXT, "Kafka's name of the error, such as NOT_ENOUGH_REPLICAS"),
    "processed": key(kinds.FLAG, "The work is done nevertheless (default false)"),
    "partition": key(kinds.TEXT, "Only this partition of the request; of elect, reassign and delete-records the partition"),
    "kind": Key('Of an election: "preferred" (default) or "unclean".', {"enum": ["preferred", "unclean"]}),
    "target": key(kinds.TEXT, 'What is altered: a topic, a broker, or "brokers"'),
    "config": CONFIG,
    "to": Key("The brokers that shall hold the partition, the preferred leader first.", {"type": "array", "items": {"type": ["integer", "string"]}}),
    "topic": key(kinds.TEXT, "The topic that is deleted and created again"),
    "before": key(kinds.whole(-1, kinds.MOST_RECORDS), "The offset at which the log is to start; -1: at the high watermark"),
    "timeout": key(kinds.DURATION, "What close() of a client may take (default: as long as it takes)"),
    "workload": key(kinds.NUMBER, "Of which workload a record is struck, from 0; may be left out when there is one"),
    "nth": key(kinds.COUNT, "Which of its records, from 1 (default 1)"),
    "size": key(kinds.SIZE, "Bytes of key and value of the record (default: as many as a request may have)"),
}
CHAOS: Shape = {
    **{
        name: key
        for name, key in FAULT.items()
        if name in ("name", "do", "who", "between", "one_way", "latency", "bandwidth", "factor", "partition", "kind", "before", "timeout")
    },
    "every": Key('From one strike to the next: { mean = "10s" }.', {"type": "object"}),
    "for": Key('How long each lasts: { mean = "2s" } (default: to the heal).', {"type": "object"}),
    "during": Key(
        'From when to when strikes may begin: ["0s", "60s"].', {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 2, "maxItems": 2}
    ),
}
MEAN: Shape = {"mean": key(kinds.POSITIVE_DURATION, "Of an exponential distribution")}
CHAOS_DEEDS = (
    *("crash", "power-loss", "shutdown", "pause", "cut", "reset", "slow"),
    *("disk-full", "disk-error", "slow-disk", "slow-cpu", "elect", "delete-records"),
)
"""What can happen again and again to whoever is there."""
MODEL: Shape = {
    "writeback": key(kinds.DURATION, 'How long a file may hold unsaved data until the system saves it (default "30s")'),
    "writeback_scan": key(kinds.DURATION, 'How often the system looks for such files (default "5s")'),
    "power_loss_keeps": key(kinds.choice(*(keeps.value for keeps in PowerLossKeeps)), "What a power loss leaves of the unsaved data"),
    "costs": key(
        kinds.choice("measured", "none"),
        "Of broker work that is not named here: as measured on real Kafka (the default), or nothing",
    ),
    "append": key(kinds.DURATION, "A broker appends a batch to a log"),
    "fetch": key(kinds.DURATION, "A leader reads what a fetch takes along"),
    "flush": key(kinds.DURATION, "What flush.messages asks for reaches the disk"),
    "request": key(kinds.DURATION, "A broker or controller handles a request, whatever it is"),
    "metadata": key(kinds.DURATION, "A broker applies metadata that was committed"),
    "load": key(kinds.DURATION, "A new coordinator reads a partition of __transaction_state or __consumer_offsets (default next to nothing)"),
}
ALERT: Shape = {
    "metric": key(kinds.TEXT, "By Kafka's name, of a producer or a broker"),
    "above": key(kinds.FIGURE, "It is true while the metric is larger; or `below`"),
    "below": key(kinds.FIGURE, "It is true while the metric is smaller; or `above`"),
    "for": key(kinds.DURATION, "It fires when it has been true so long (default 0)"),
}
SCENARIO: Shape = {
    "format": key(kinds.whole(1, FORMAT), "The version of this file's format"),
    "title": key(kinds.TEXT, "One sentence"),
    "kafka": Key('The release: "4.3", "3.9.1", or { brokers = "4.3", clients = "3.3" }.', {"type": ["string", "object"]}),
    "client": key(kinds.TEXT, 'The client library: "java", or "librdkafka", which only a replay on a real cluster can use'),
    "seed": key(kinds.SEED, "Of all chance"),
    "cluster": Key("Brokers and controllers.", {"type": "object"}),
    "topics": Key("Topics by name.", {"type": "object"}),
    "producers": Key("Producers by name (default: one, p1).", {"type": "object"}),
    "consumers": Key("Consumers by name.", {"type": "object"}),
    "applications": Key("Applications that consume, transform and produce, by name.", {"type": "object"}),
    "workload": Key("What is sent.", {"type": "array"}),
    "fault": Key("What goes wrong.", {"type": "array"}),
    "chaos": Key("What goes wrong at random.", {"type": "array"}),
    "network": Key("Latency and bandwidth.", {"type": "object"}),
    "model": Key("What only the simulation needs.", {"type": "object"}),
    "alert": Key("Alert rules to rehearse.", {"type": "array"}),
    "expect": Key("What the author predicts.", {"type": "object"}),
    "tail": Key("How the run ends.", {"type": "object"}),
}
VERSIONS: Shape = {
    "brokers": key(kinds.TEXT, "The release of the brokers"),
    "clients": key(kinds.TEXT, "The release of the clients"),
}

FAULT_ARGUMENTS: Mapping[str, frozenset[str]] = {
    "crash": frozenset({"who", "for"}),
    "power-loss": frozenset({"who", "for"}),
    "shutdown": frozenset({"who", "for", "timeout"}),
    "restart": frozenset({"who"}),
    "pause": frozenset({"who", "for"}),
    "cut": frozenset({"between", "one_way", "for"}),
    "reset": frozenset({"between"}),
    "slow": frozenset({"between", "one_way", "latency", "bandwidth", "for"}),
    "lose-request": frozenset({"for"}),
    "lose-response": frozenset({"for"}),
    "hang": frozenset({"for"}),
    "delay": frozenset({"by", "for"}),
    "answer": frozenset({"error", "processed", "partition", "for"}),
    "disk-full": frozenset({"who", "partition", "for"}),
    "disk-error": frozenset({"who", "partition", "for"}),
    "slow-disk": frozenset({"who", "factor", "for"}),
    "slow-cpu": frozenset({"who", "factor", "for"}),
    "elect": frozenset({"partition", "kind"}),
    "alter": frozenset({"target", "config"}),
    "reassign": frozenset({"partition", "to"}),
    "recreate-topic": frozenset({"topic"}),
    "delete-records": frozenset({"partition", "before"}),
    "unserializable": frozenset({"workload", "nth"}),
    "oversize": frozenset({"workload", "nth", "size"}),
}
"""Which arguments go with which fault, besides name, do, at and when."""
NEEDED_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "crash": ("who",),
    "power-loss": ("who",),
    "shutdown": ("who",),
    "restart": ("who",),
    "pause": ("who",),
    "cut": ("between",),
    "reset": ("between",),
    "slow": ("between",),
    "delay": ("by",),
    "answer": ("error",),
    "disk-full": ("who",),
    "disk-error": ("who",),
    "slow-disk": ("who", "factor"),
    "slow-cpu": ("who", "factor"),
    "alter": ("target", "config"),
    "reassign": ("to",),
    "delete-records": ("partition", "before"),
}
EXAMPLES: Mapping[str, str] = {
    "who": 'who = "leader(payments-0)"',
    "between": 'between = ["p1", "brokers"]',
    "latency": 'latency = "100ms"',
    "bandwidth": 'bandwidth = "1Mbit/s"',
    "by": 'by = "1s"',
    "factor": "factor = 100",
    "error": 'error = "NOT_ENOUGH_REPLICAS"',
    "target": 'target = "payments"',
    "config": "config.min.insync.replicas = 1",
    "to": "to = [2, 3, 1]",
    "partition": 'partition = "payments-0"',
    "before": "before = 100",
}
TO_CONTROLLERS = ("BrokerHeartbeat", "BrokerRegistration", "AlterPartition")
"""What brokers ask of the active controller."""
APIS = (
    *("Produce", "Metadata", "InitProducerId", "ApiVersions", "Fetch"),
    *("FindCoordinator", "AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "WriteTxnMarkers"),
    *("JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup", "ConsumerGroupHeartbeat", "OffsetCommit", "OffsetFetch", "ListOffsets", "OffsetForLeaderEpoch"),
    *TO_CONTROLLERS,
)
RECORDS = "offered refused accepted acked failed unknown sends ok absent lost ghost duplicated reordered misrouted hidden torn aborted_read removed".split()
METRICS = ("record-send-total", "record-retry-total", "record-error-total", *BREAKER_FIGURES)
LATENCIES = ("ack_avg_ms", "ack_p50_ms", "ack_p95_ms", "ack_p99_ms", "ack_p999_ms", "ack_max_ms")
VERDICTS = ("held", "violated", "inconclusive")
EXPECTED_NAMES = (*RECORDS, *METRICS, *dict.fromkeys((*FIGURES, *READ_FIGURES)), *LATENCIES, "unavailable_ms", "verdict")
