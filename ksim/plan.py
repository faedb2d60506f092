"""A plan: a scenario with every default filled in, every name resolved and every mistake already refused.

`ksim.scenario` makes it from a file or from Python objects; the simulation and the live twin carry it out. Times are Micros counted from time zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from ksim_models.arrivals import InTransactions, Outbox
from ksim_models.compression import DEFAULT_RATIO
from ksim_models.config import BrokerConfig, ConsumerConfig, LibrdkafkaConfig, LibrdkafkaConsumerConfig, ProducerConfig
from ksim_models.copying import CopyHabits
from ksim_models.errors import ErrorCode
from ksim_models.on_failure import REPORT, OnFailure
from ksim_models.page_cache import PageCache, PowerLossKeeps
from ksim_models.profiles import BrokerProfile, ClientProfile
from ksim_models.units import Micros


@dataclass(frozen=True, slots=True)
class TopicPlan:
    name: str
    assignment: tuple[tuple[str, ...], ...]
    """Per partition: the brokers that hold a replica, the preferred leader first."""
    exists: bool
    given: tuple[tuple[str, str], ...]
    """Topic settings that were set, by Kafka's own names; for the others each broker's own settings hold (`ksim_models.config.topic_config`)."""

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{number}" for number in range(len(self.assignment)))


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    name: str
    config: BrokerConfig
    given: tuple[tuple[str, str], ...] = ()
    """What was set, in Kafka's own names and spelling: what a real broker is started with."""
    rack: str = ""


@dataclass(frozen=True, slots=True)
class ProducerPlan:
    name: str
    client: str
    """"java" or "librdkafka"."""
    profile: ClientProfile
    """The Java client's release; it says nothing about librdkafka."""
    config: ProducerConfig
    """Of librdkafka: what a judge sees of its settings."""
    given: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What was set, in the client's own names and spelling: what a real client is started with. May hold secrets: never for a history or a report."""
    client_version: str = ""
    """"2.16" where librdkafka of that version was asked for."""
    librdkafka: LibrdkafkaConfig | None = None
    """Its own settings."""

    def bootstrap(self, brokers: int) -> list[int]:
        """The numbers of its bootstrap servers among so many brokers: those it names; all, where it names anything else ("localhost:9092") or nothing."""
        told = dict(self.given).get("bootstrap.servers", "")
        named = {re.fullmatch(r"broker-([1-9][0-9]{0,3})(:[0-9]+)?", one.strip()) for one in told.split(",")}
        numbers = sorted({int(one[1]) for one in named if one is not None})
        return numbers if None not in named and numbers[-1] <= brokers else list(range(1, brokers + 1))


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    name: str
    profile: ClientProfile
    config: ConsumerConfig
    topics: tuple[str, ...]
    work: Micros = 0
    """How long its application works on each record."""
    commit: str = "none"
    """What it does after the work: "sync", "async" or "none"."""
    given: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """As of a producer."""
    client: str = "java"
    """"java" or "librdkafka": then `config` is what a judge sees of its settings."""
    client_version: str = ""
    librdkafka: LibrdkafkaConsumerConfig | None = None
    """Its own settings."""


@dataclass(frozen=True, slots=True)
class Keys:
    """How records get their keys. distinct 0: no key. Key k of n is drawn with weight 1 / (k+1)^skew."""

    distinct: int = 0
    skew: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Burst:
    """`size` records at once, every `every`."""

    size: int
    every: Micros


@dataclass(frozen=True, slots=True)
class WorkloadPlan:
    index: int
    """Position in the file, from 0."""
    producer: str
    topic: str
    records: int
    start: Micros
    gap: Fraction
    """Mean distance of two records in microseconds: `every`, or 1/rate."""
    arrivals: str | Burst
    """"steady", "poisson", or bursts."""
    size_bytes: int
    """Mean bytes of key + value."""
    size_spread: int
    """Half width of a uniform distribution, 0 for records of one size."""
    keys: Keys
    partition: int | None
    """The record names its partition itself."""
    window: int | None
    """`wait`: at most so many unacknowledged records (1 = send().get()); None: no limit."""
    compression_ratio: int = DEFAULT_RATIO
    """Compressed / uncompressed bytes in the mean, in millionths. Plays a part where the producer compresses."""
    compression_spread: int = 0
    """Half width of a uniform distribution over batches, in millionths."""
    compression_given: bool = False
    """False: the ratio is the default."""
    on_failure: OnFailure = REPORT
    transaction: InTransactions | None = None
    outbox: Outbox | None = None


@dataclass(frozen=True, slots=True)
class Who:
    """Names one or more machines; resolved at the instant when the fault begins.

    kind: "machine" (argument = its name), "leader", "followers", "isr" (argument = partition), "replica" (partition and index), "controller", "any-broker",
    "brokers", "rack" (argument), "coordinator" (argument: a transactional id or a group).
    """

    kind: str
    argument: str = ""
    index: int = 0

    def __str__(self) -> str:
        if self.kind == "machine":
            return self.argument
        if self.kind == "replica":
            return f"replica({self.argument}, {self.index})"
        return f"{self.kind}({self.argument})" if self.argument else self.kind


@dataclass(frozen=True, slots=True)
class FrameTrigger:
    """Which exchanges of an API count, and which of those fire. Matching exchanges are counted from 1, retries included."""

    api: str
    """"Produce", "Metadata", "InitProducerId", "ApiVersions" or "Fetch"."""
    side: str
    """"request" or "response": as written; `do` decides which frame is hit, this decides when the exchange is counted for other faults."""
    sender: Who | None = None
    receiver: Who | None = None
    topic: str | None = None
    partition: str | None = None
    connection: str | None = None
    nth: int = 1
    times: int | None = None
    """None: once for `nth`, without end for `every` and `probability`."""
    every: int | None = None
    probability: float | None = None
    after: Micros = 0


@dataclass(frozen=True, slots=True)
class CountTrigger:
    """kind "acked": the count-th acknowledged record of all producers. "appended": the leader's log end of `partition` reaches count.

    "isr": its committed ISR is at most count, after having been larger. "transaction": `phase` of the count-th transaction of `producer`, or of any.
    """

    kind: str
    count: int
    partition: str = ""
    phase: str = ""
    producer: str = ""


FRAME_FAULTS = ("lose-request", "lose-response", "hang", "delay", "answer")
RECORD_FAULTS = ("unserializable", "oversize")
DISK_FAULTS = ("disk-full", "disk-error")
DISK, CPU = "disk", "cpu"
SLOW_PARTS = {"slow-disk": DISK, "slow-cpu": CPU}
"""Which part of a machine these faults slow down."""
DEADLY = ("crash", "power-loss", "shutdown")
"""These end a machine's process."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    index: int
    name: str
    do: str
    at: Micros | None
    when: FrameTrigger | CountTrigger | None
    duration: Micros | None
    """`for`: undone after this; None: at the heal."""
    who: tuple[Who, ...] = ()
    between: tuple[tuple[Who, ...], tuple[Who, ...]] = ((), ())
    one_way: bool = False
    error: ErrorCode | None = None
    processed: bool = False
    partition: str | None = None
    """`answer`: only this partition of the request."""
    by: Micros = 0
    """`delay`: how late."""
    latency: Micros = 0
    """`slow`: added."""
    bandwidth: Fraction | None = None
    """`slow`: of each connection, in bytes per microsecond, in place of the network's."""
    factor: Fraction = Fraction(1)
    """`slow-disk`, `slow-cpu`: how many times as long the work takes."""
    kind: str = ""
    """`elect`: "preferred" or "unclean"."""
    to: tuple[str, ...] = ()
    """`reassign`: the replicas that the partition shall have, the preferred leader first."""
    topic: str = ""
    """`recreate-topic`, or `alter` of a topic."""
    settings: tuple[tuple[str, str], ...] = ()
    """`alter`: in Kafka's own names and spelling. `who` names the brokers; none: the topic's, or what holds for all brokers."""
    before: int = 0
    """`delete-records`: where the log is to start; -1: at the high watermark."""
    timeout: Micros | None = None
    """`shutdown` of a client: what close() may take; None: as long as it takes."""
    workload: int = -1
    """`unserializable`, `oversize`: the record is the nth of this workload."""
    nth: int = 1
    size_bytes: int = 0
    """`oversize`: its key and value."""
    random: bool = False
    """A strike of a [[chaos]] table, whose name it has."""


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """One [[chaos]] table."""

    fault: FaultPlan
    """What each of its strikes is; it has no moment, and an index below 0."""
    every: Micros
    """From one strike to the next, in the mean."""
    lasting: Micros | None
    """How long each lasts, in the mean; None: to the heal."""
    begin: Micros
    end: Micros
    """From when to when strikes may begin."""


@dataclass(frozen=True, slots=True)
class Latency:
    """One way. p99 == median: constant."""

    median: Micros
    p99: Micros


@dataclass(frozen=True, slots=True)
class Link:
    """Extra latency from any of `sender` to any of `receiver`, one way."""

    sender: str
    receiver: str
    latency: Latency


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    latency: Latency
    bandwidth: Fraction | None = None
    """Bytes per microsecond; None: unlimited."""
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Costs:
    """Of broker work, each once."""

    append: Micros = 0
    """A batch into a leader's log, or what one fetch brought of a partition into a follower's: into the page cache (UnifiedLog.append)."""
    fetch: Micros = 0
    """A leader reads what a fetch takes along, beyond handling the request (ReplicaManager.fetchMessages)."""
    flush: Micros = 0
    """What flush.messages asks for: the append returns when the disk has it (UnifiedLog.flush)."""
    request: Micros = 0
    """Any request of a broker or controller is read, decoded, checked and answered (SocketServer, KafkaApis)."""
    metadata: Micros = 0
    """From the moment when a broker has committed metadata until it has applied it (MetadataLoader, BrokerMetadataPublisher)."""

    def of(self, part: str) -> Micros:
        """All that the disk does, or the cpu."""
        return self.append + self.flush if part == DISK else self.fetch + self.request + self.metadata


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What only the simulation needs to be told: how the machines under the brokers behave."""

    costs: Costs = field(default_factory=Costs)
    calibrated_on: str = ""
    """Where costs are as measured (`ksim.calibration`): on what, and when."""
    page_cache: PageCache = field(default_factory=PageCache)
    power_loss_keeps: PowerLossKeeps = PowerLossKeeps.NOTHING
    load: Micros | None = None
    """How long a broker reads a partition of __transaction_state or __consumer_offsets before it coordinates. None: next to nothing."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line of [expect]: `got` (a number or text of the report) compared with `operator` to `low` (and `high` for "..")."""

    key: str
    wanted: str
    """As written."""
    operator: str
    low: Fraction | str
    high: Fraction | None = None


@dataclass(frozen=True, slots=True)
class AlertPlan:
    """One [[alert]]: a metric that stands above, or below, a number for some time."""

    metric: str
    limit: Fraction
    above: bool
    lasting: Micros


@dataclass(frozen=True, slots=True)
class Plan:
    title: str
    seed: int
    broker_version: str
    client_version: str
    broker_profile: BrokerProfile
    brokers: tuple[BrokerPlan, ...]
    controllers: tuple[str, ...]
    topics: tuple[TopicPlan, ...]
    producers: tuple[ProducerPlan, ...]
    workloads: tuple[WorkloadPlan, ...]
    faults: tuple[FaultPlan, ...]
    """Those of the file, and behind them the strikes that were drawn."""
    network: NetworkPlan
    expect: tuple[Expectation, ...]
    heal: bool
    limit: Micros
    warm: bool
    model: ModelPlan = field(default_factory=ModelPlan)
    notes: tuple[str, ...] = ()
    """What the reader should know: settings that play no part, defaults taken, idempotence switched off silently ..."""
    alerts: tuple[AlertPlan, ...] = ()
    consumers: tuple[ConsumerPlan, ...] = ()
    applications: tuple[CopyHabits, ...] = ()
    """Those that consume, transform and produce."""
    chaos: tuple[ChaosPlan, ...] = ()
    data: dict[str, object] = field(default_factory=dict)
    """The scenario as data, for the run line of the history."""
    late: Micros = 0
    """A fault at a step of a transaction strikes so much later, and an application takes no other step meanwhile: as a process is struck from outside."""

    @property
    def told_faults(self) -> tuple[FaultPlan, ...]:
        """Each counts as one: a fault of the file, or a [[chaos]] table with all its strikes."""
        return (*(fault for fault in self.faults if not fault.random), *(chaos.fault for chaos in self.chaos))
