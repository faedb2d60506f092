"""Workloads: which records come when, how large, with which keys, and how many may wait for their acknowledgement.

Not Kafka's: the application in front of the producer (scenario.md section 1). Distances stay exact: 3 records per second are 1/3 s apart, not 333 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ksim.plan import Burst, Keys, ProducerPlan, WorkloadPlan
from ksim.problems import shown
from ksim.scenario_names import Names
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_shape import ARRIVALS, BREAKER, COMPRESSION_RATIO, OUTBOX, RECORD_KEY, RECORD_SIZE, WORKLOAD
from ksim.scenario_transactions import read_transaction
from ksim.scenario_values import COUNT, DURATION, MOST_RECORDS, NUMBER, POSITIVE_DURATION, RATE, RATIO, SIZE, SKEW
from ksim_models.arrivals import Outbox
from ksim_models.compression import DEFAULT_RATIO
from ksim_models.on_failure import REPORT, OnFailure, Reaction
from ksim_models.units import MILLISECOND, SECOND, Micros

DEFAULT_SIZE_BYTES = 100
ON_FAILURE = {reaction.value: reaction for reaction in (Reaction.REPORT, Reaction.RESEND, Reaction.STOP)}
EXAMPLE_OF_AN_OUTBOX = '{ every = "100ms", batch = 100 }'
DEFAULT_ROWS = 100
DEFAULT_MARK: Micros = MILLISECOND
EXAMPLE_OF_A_BURST = '{ burst = 50, every = "1s" }'
EXAMPLE_OF_A_BREAKER = '{ open_after = 5, half_open = "10s" }'


def read_workloads(reading: Reading, content: object, names: Names) -> list[WorkloadPlan]:
    tables = reading.array(("workload",), content)
    if not tables and not isinstance(content, str | int | float | dict):
        reading.problem(
            ("workload",),
            "the scenario has no [[workload]]: nothing would be sent.",
            given="nothing",
            possible='[[workload]] topic = "payments", records = 100, every = "5ms"',
        )
    workloads = []
    for number, (path, value) in enumerate(tables):
        table = reading.table(path, value, WORKLOAD)
        if table is not None:
            workloads.append(_workload(table, number, names))
    for workload in workloads:
        if workload.outbox is not None and any(other.producer == workload.producer for other in workloads if other is not workload):
            reading.problem(
                ("workload", workload.index, "outbox"),
                f"workload {workload.index + 1}: the relay of an outbox has a producer of its own, and {workload.producer} has another workload.",
                given="outbox",
                possible="producer = a producer without any other workload",
            )
    return workloads


@dataclass(frozen=True, slots=True)
class Arrivals:
    records: int
    gap: Fraction
    how: str | Burst


def _workload(table: Table, number: int, names: Names) -> WorkloadPlan:
    topic = _topic(table, names)
    arrivals = _arrivals(table)
    size, spread = _size(table)
    compression = _compression(table)
    if table.has("key") and table.has("partition"):
        table.problem("partition", "key and partition are both given: a record that names its partition needs no key.", possible="key or partition")
    return WorkloadPlan(
        index=number,
        producer=_producer(table, names),
        topic=topic,
        records=arrivals.records,
        start=table.take("start", DURATION) or 0,
        gap=arrivals.gap,
        arrivals=arrivals.how,
        size_bytes=size,
        size_spread=spread,
        keys=_keys(table),
        partition=_partition(table, topic, names),
        window=_window(table),
        compression_ratio=DEFAULT_RATIO if compression is None else compression[0],
        compression_spread=0 if compression is None else compression[1],
        compression_given=compression is not None,
        on_failure=_on_failure(table),
        transaction=read_transaction(table, table.take("start", DURATION) or 0),
        outbox=_outbox(table),
    )


def _producer(table: Table, names: Names) -> str:
    if table.has("producer"):
        return table.choose("producer", names.producers, "a producer of this scenario") or names.producers[0]
    if len(names.producers) > 1:
        table.problem(
            "", f"{name_of(table.path)}: there are {len(names.producers)} producers, so say which: producer = ...", given="no producer", names=names.producers
        )
    return names.producers[0]


def _topic(table: Table, names: Names) -> str:
    if not table.has("topic"):
        table.problem("", f"{name_of(table.path)}: topic is missing.", given="no topic", names=names.partitions)
    value = table.content.get("topic")
    if isinstance(value, str) and not names.partitions:
        table.problem("topic", f"there is no topic {shown(value)}: write [topics.{value}].", possible=f"[topics.{value}]")
        return ""
    return table.choose("topic", names.partitions, "a topic of this scenario") or ""


def _partition(table: Table, topic: str, names: Names) -> int | None:
    partition = table.take("partition", NUMBER)
    count = len(names.partitions.get(topic, ()))
    if partition is not None and count and partition >= count:  # Of a topic that does not exist yet nobody knows how many there will be.
        table.problem("partition", f"{topic} has no partition {partition}.", possible=f"0 to {count - 1}" if count > 1 else "0")
        return None
    return partition


def _arrivals(table: Table) -> Arrivals:
    nothing = Arrivals(0, Fraction(0), "steady")
    given = table.content.get("arrivals", "steady")
    counted = table.exactly_one("records", "for")
    records, lasting = table.take("records", COUNT), table.take("for", POSITIVE_DURATION)
    if burst := table.inner("arrivals", ARRIVALS, ARRIVALS, EXAMPLE_OF_A_BURST):
        size, every = burst.take("burst", COUNT), burst.take("every", POSITIVE_DURATION)
        if table.has("rate", "every"):
            key = "rate" if table.has("rate") else "every"
            table.problem(key, f"bursts come as arrivals says, so {key} has no place beside them.", possible="arrivals = { burst = 50, every = ... } alone")
            return nothing
        if size is None or every is None or not counted or (records is None and lasting is None):
            return nothing
        count = records if records is not None else _at_most(table, size * math.ceil(Fraction(lasting or 0, every)))
        return Arrivals(count, Fraction(every, size), Burst(size, every))
    if given not in ("steady", "poisson"):
        table.problem("arrivals", f"arrivals = {shown(given)} is not possible.", names=("steady", "poisson", EXAMPLE_OF_A_BURST))
    spaced = table.exactly_one("rate", "every")
    rate, every = table.take("rate", RATE), table.take("every", DURATION)
    if not counted or not spaced or (rate is None and every is None) or (records is None and lasting is None):
        return nothing
    gap = SECOND / rate if rate is not None else Fraction(every or 0)
    if gap == 0 and (lasting is not None or given == "poisson"):
        table.problem(
            "every",
            f'every = "0ms" gives records all at once: that does not go with {"for" if lasting is not None else "poisson arrivals"}.',
            possible="records = N, or a longer distance",
        )
        return nothing
    if records is None:
        assert lasting is not None
        records = _count_within(table, lasting, gap, poisson=given == "poisson")
    return Arrivals(records, gap, "poisson" if given == "poisson" else "steady")


def _count_within(table: Table, lasting: Micros, gap: Fraction, *, poisson: bool) -> int:
    """The arrivals at start <= t < start + for. Simplified: Poisson arrivals are as many as are expected, so that every seed offers equally many records."""
    if not poisson:
        return _at_most(table, math.ceil(lasting / gap))
    records = max(1, round(lasting / gap))
    table.reading.notes.append(
        f"{name_of(table.path)}: Poisson arrivals with `for` are {records} records, the expected number; when they come is drawn from the seed"
    )
    return _at_most(table, records)


def _at_most(table: Table, records: int) -> int:
    if records > MOST_RECORDS:
        table.problem("for", f"for: these are {records:_} records.", possible=f"at most {MOST_RECORDS:_} records")
        return MOST_RECORDS
    return records


def _size(table: Table) -> tuple[int, int]:
    sizes = table.inner("size", RECORD_SIZE, ["mean"], "{ mean = 1000, spread = 200 }")
    if sizes is None:
        size = table.take("size", SIZE)
        return DEFAULT_SIZE_BYTES if size is None else size, 0
    mean, spread = sizes.take("mean", SIZE), sizes.take("spread", SIZE) or 0
    if mean is not None and spread > mean:
        sizes.problem(
            "spread", f"size: the spread {spread} is larger than the mean {mean}: some records would be smaller than nothing.", possible=f"0 to {mean}"
        )
    return mean or 0, spread


def _compression(table: Table) -> tuple[int, int] | None:
    """(mean, spread) in millionths; None where nothing is said."""
    ratios = table.inner("compression_ratio", COMPRESSION_RATIO, ["mean"], "{ mean = 0.4, spread = 0.1 }")
    if ratios is None:
        ratio = table.take("compression_ratio", RATIO)
        return None if ratio is None else (ratio, 0)
    mean, spread = ratios.take("mean", RATIO), ratios.take("spread", RATIO) or 0
    if mean is not None and spread >= mean:
        problem = "compression_ratio: the spread is not smaller than the mean: some batches would be compressed to nothing."
        ratios.problem("spread", problem, possible=f"less than {shown(ratios.content['mean'])}")
    return mean or DEFAULT_RATIO, spread


def tell_of_compression(reading: Reading, workloads: Sequence[WorkloadPlan], producers: Sequence[ProducerPlan]) -> None:
    """A ratio that is assumed, or given for nothing, is worth a note."""
    codecs = {plan.name: plan.config.compression_type for plan in producers}
    for workload in workloads:
        codec, where = codecs.get(workload.producer, "none"), f"workload {workload.index + 1}"
        if codec != "none" and not workload.compression_given:
            reading.notes.append(
                f"{where}: {workload.producer} compresses ({codec}) and nothing says how well; records are taken to shrink to a half"
                f" (compression_ratio = {DEFAULT_RATIO / 1_000_000})"
            )
        elif codec == "none" and workload.compression_given:
            reading.notes.append(f"{where}: compression_ratio plays no part: {workload.producer} does not compress (compression.type = none)")


def _keys(table: Table) -> Keys:
    if keys := table.inner("key", RECORD_KEY, ["distinct"], "{ distinct = 50, skew = 1.0 }"):
        return Keys(keys.take("distinct", COUNT) or 1, keys.take("skew", SKEW) or Fraction(0))
    given = table.content.get("key", "none")
    if given not in ("none", "fixed"):
        table.problem("key", f"key = {shown(given)} is not possible.", names=("none", "fixed", "{ distinct = 50, skew = 1.0 }"))
    return Keys(1) if given == "fixed" else Keys()


def _window(table: Table) -> int | None:
    given = table.content.get("wait", "none")
    if isinstance(given, int) and not isinstance(given, bool):
        return table.take("wait", COUNT)
    if given not in ("none", "each"):
        table.problem("wait", f"wait = {shown(given)} is not possible.", names=("none", "each", "the most unacknowledged records, from 1"))
    return 1 if given == "each" else None


def _outbox(table: Table) -> Outbox | None:
    """The relay waits for each round as a whole, and a row that failed is in the next one."""
    inner = table.inner("outbox", OUTBOX, ["every"], EXAMPLE_OF_AN_OUTBOX)
    if inner is None:
        if table.has("outbox"):
            table.problem("outbox", "outbox is not a table.", possible=EXAMPLE_OF_AN_OUTBOX)
        return None
    for key, why in (
        ("wait", "it waits for all rows of a round"),
        ("on_failure", "a row whose send failed stays in the table, and is sent again"),
        ("transaction", "its rows are marked in the database, which takes no part in a transaction of Kafka"),
    ):
        if table.has(key):
            table.problem(key, f"{name_of(table.path)}: outbox and {key} do not go together: {why}.", possible=f"outbox without {key}")
    mark = inner.take("mark", DURATION)
    return Outbox(inner.take("every", POSITIVE_DURATION) or 1, inner.take("batch", COUNT) or DEFAULT_ROWS, DEFAULT_MARK if mark is None else mark)


def _on_failure(table: Table) -> OnFailure:
    if breaker := table.inner("on_failure", BREAKER, BREAKER, EXAMPLE_OF_A_BREAKER):
        open_after, half_open = breaker.take("open_after", COUNT), breaker.take("half_open", POSITIVE_DURATION)
        return OnFailure(Reaction.BREAK, open_after or 1, half_open or 1)
    given = table.content.get("on_failure", "report")
    if not isinstance(given, str) or given not in ON_FAILURE:
        table.problem("on_failure", f"on_failure = {shown(given)} is not possible.", names=(*ON_FAILURE, EXAMPLE_OF_A_BREAKER))
        return REPORT
    return OnFailure(ON_FAILURE[given])
