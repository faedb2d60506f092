"""Applications that consume, transform and produce: which consumer, which producer, when they commit.

Not Kafka's; KIP-98 and KIP-447 for what is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ksim.plan import ConsumerPlan, ProducerPlan, WorkloadPlan
from ksim.scenario_producers import check_name
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_shape import APPLICATION, COMMIT_EVERY
from ksim.scenario_values import COUNT, FLAG, SIZE
from ksim_models.copying import CopyHabits

EXAMPLE = "{ records = 100 }"


def read_by_applications(content: object, consumers: object) -> dict[str, str]:
    """Consumer -> what its application reads: such a consumer need not say so itself."""
    found: dict[str, str] = {}
    for application in content.values() if isinstance(content, Mapping) else ():
        if isinstance(application, Mapping) and isinstance(application.get("reads"), str):
            names = [application["consumer"]] if "consumer" in application else [*consumers] if isinstance(consumers, Mapping) else []
            found.update({name: application["reads"] for name in names if isinstance(name, str)})
    return found


def read_applications(
    reading: Reading,
    content: object,
    consumers: Sequence[ConsumerPlan],
    producers: Sequence[ProducerPlan],
    workloads: Sequence[WorkloadPlan],
    topics: Sequence[str],
) -> list[CopyHabits]:
    found: list[CopyHabits] = []
    at_work = [workload.producer for workload in workloads]
    taken = [*(one.name for one in consumers), *(one.name for one in producers)]
    for name, (path, value) in reading.tables(("applications",), content).items():
        check_name(reading, path, name, "an application", taken, "another machine")
        table = reading.table(path, value, APPLICATION) or Table(reading, path, {}, APPLICATION)
        consumer = _part(table, "consumer", [one.name for one in consumers])
        producer = _part(table, "producer", [one.name for one in producers if one.name not in at_work])
        topics_of = [_topic(table, key, topics) for key in ("reads", "writes")]
        if consumer is None or producer is None or "" in topics_of:
            continue
        _check(table, consumer, producer, topics_of[0], consumers, producers, found)
        found.append(
            CopyHabits(
                name,
                topics_of[0],
                topics_of[1],
                consumer,
                producer,
                commit_every=_commit_every(table),
                size=table.take("size", SIZE) or 100,
                transactional=bool(next(one for one in producers if one.name == producer).config.transactional_id),
                group_metadata=table.take("group_metadata", FLAG) is not False,
                leader_epochs=table.take("leader_epochs", FLAG) is not False,
            )
        )
    return found


def _part(table: Table, key: str, names: Sequence[str]) -> str | None:
    if table.has(key):
        what = "a consumer of this scenario" if key == "consumer" else "a producer of this scenario without a workload"
        return table.choose(key, names, what)
    if len(names) == 1:
        return names[0]
    many = f"there are {len(names)} that could be it, so say which" if names else "there is none that could be it"
    what = "[consumers.NAME]" if key == "consumer" else "[producers.NAME] that no workload uses"
    table.problem("", f"{name_of(table.path)}: {key} is missing: {many}.", given=f"no {key}", possible=", ".join(names) or what, names=names)
    return None


def _topic(table: Table, key: str, topics: Sequence[str]) -> str:
    if not table.has(key):
        table.problem("", f"{name_of(table.path)}: {key} is missing.", given=f"no {key}", names=topics)
        return ""
    return table.choose(key, topics, "a topic of this scenario") or ""


def _commit_every(table: Table) -> int:
    inner = table.inner("commit_every", COMMIT_EVERY, ["records"], EXAMPLE)
    if inner is None:
        if table.has("commit_every"):
            table.problem("commit_every", "commit_every is not a table.", possible=EXAMPLE)
        return 1
    return inner.take("records", COUNT) or 1


def _check(
    table: Table,
    consumer: str,
    producer: str,
    reads: str,
    consumers: Sequence[ConsumerPlan],
    producers: Sequence[ProducerPlan],
    others: Sequence[CopyHabits],
) -> None:
    where = name_of(table.path)
    its = next(one for one in consumers if one.name == consumer)
    writer = next(one for one in producers if one.name == producer)
    if its.config.group_id is None:
        table.problem(
            "consumer", f"{where}: {consumer} has no group.id, so there are no offsets to commit.", possible=f"[consumers.{consumer}] config.group.id"
        )
    if writer.librdkafka is not None:
        table.problem("producer", f"{where}: applications with librdkafka are not simulated yet.", given=producer, possible='client = "java"')
    if reads not in its.topics:
        table.problem("reads", f"{where}: {consumer} does not read {reads}.", given=reads, names=its.topics)
    for key, mine in (("consumer", consumer), ("producer", producer)):
        if any(mine in (other.consumer, other.producer) for other in others):
            table.problem(key, f"{where}: {mine} is part of another application already.", given=mine, possible=f"a {key} of its own")
